/* SPDX-License-Identifier: ISC */
/* state.c: saved VMs as files. Sections come first, the memory's image stands at a fixed place behind
 * them, zero pages being holes: one mmap() restores it, and pages are read when the guest uses them.
 * Reading never trusts a length; see vm/stream.h. Main thread. */
#include "ctl/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "ctl/def.h"
#include "vm/save.h"

#define RAM_OFFSET (64 * MIB) /* sections, video memory too, are before it */
#define MARK_AT    (RAM_OFFSET - PAGE_SIZE)
#define CHUNK      (2 * MIB) /* has a checksum, is compressed by itself */
#define ZIP_LEVEL  1
#define CHUNKS_MAX (STATE_SECTION_MAX / 4 - 64)
#define ORIGIN_MAX (128 * 1024u)
#define ARGS_MAX   256

/* ---- file under a stream -------------------------------------------------------------------- */

struct file {
	int fd;
	uint64_t at;
	int error; /* errno */
};

static int file_write(void *ctx, const void *buf, size_t len)
{
	struct file *f = ctx;

	if (f->at + len > MARK_AT)
		return ERR_NOMEM;
	while (len) {
		ssize_t n = pwrite(f->fd, buf, len, (off_t)f->at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			f->error = n ? errno : ENOSPC;
			return ERR_IO;
		}
		buf = (const char *)buf + n;
		len -= (size_t)n;
		f->at += (uint64_t)n;
	}
	return 0;
}

/* At f->at, which stays. */
static int read_at(struct file *f, void *buf, size_t len)
{
	uint64_t at = f->at;

	while (len) {
		ssize_t n = pread(f->fd, buf, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			f->error = n ? errno : 0;
			return n ? ERR_IO : ERR_FORMAT;
		}
		buf = (char *)buf + n;
		len -= (size_t)n;
		at += (uint64_t)n;
	}
	return 0;
}

static int file_read(void *ctx, void *buf, size_t len)
{
	struct file *f = ctx;
	int err = f->at + len > MARK_AT ? ERR_FORMAT : read_at(f, buf, len);

	f->at += err ? 0 : len;
	return err;
}

static const struct state_io file_io = {file_write, file_read};

static int stream_failed(const struct state_stream *st, const struct file *f, struct msg *msg)
{
	return msg_fail(msg, st->err, "%s%s%s", st->why, f->error ? ": " : "",
			f->error ? strerror(f->error) : "");
}

/* ---- how it was started ----------------------------------------------------------------------- */

static int put_origin(struct state_stream *st, const struct state_origin *o, const char *name)
{
	char *args = malloc(ORIGIN_MAX);
	uint32_t len = 0;

	if (!args)
		return state_fail(st, ERR_NOMEM, "out of memory");
	for (int i = 0; i < o->argc; i++) {
		size_t n = strlen(o->argv[i]) + 1;

		if (n > ORIGIN_MAX - len) {
			state_fail(st, ERR_NOMEM, "the command line is too long");
			break;
		}
		memcpy(args + len, o->argv[i], n);
		len += (uint32_t)n;
	}
	state_begin(st, "definition", 1);
	st_put_bytes(st, "name", name, (uint32_t)strlen(name));
	st_put_bytes(st, "folder", o->cwd, (uint32_t)strlen(o->cwd));
	st_put_bytes(st, "arguments", args, len);
	free(args);
	return state_end(st);
}

static int get_string(struct state_stream *st, const char *what, char *buf, uint32_t size)
{
	uint32_t len = size - 1;

	if (!st_get_bytes(st, what, buf, &len))
		buf[len] = 0;
	return st->err;
}

static int split_args(struct state_stream *st, char *args, uint32_t len, struct state_origin *o)
{
	o->argv = calloc(ARGS_MAX + 1, sizeof(char *));
	if (!o->argv)
		return state_fail(st, ERR_NOMEM, "out of memory");
	for (char *p = args; p < args + len; p += strlen(p) + 1) {
		if (o->argc == ARGS_MAX)
			return state_fail(st, ERR_FORMAT, "more than %u arguments", ARGS_MAX);
		o->argv[o->argc] = strdup(p);
		if (!o->argv[o->argc])
			return state_fail(st, ERR_NOMEM, "out of memory");
		o->argc++;
	}
	return 0;
}

static int get_origin(struct state_stream *st, struct state_file *f)
{
	char *args = malloc(ORIGIN_MAX + 1), folder[4096] = "";
	uint32_t len = ORIGIN_MAX;

	if (!args)
		return state_fail(st, ERR_NOMEM, "out of memory");
	if (!state_next(st) && !state_expect(st, "definition", 1)) {
		get_string(st, "name", f->name, sizeof(f->name));
		get_string(st, "folder", folder, sizeof(folder));
		if (!st_get_bytes(st, "arguments", args, &len)) {
			args[len] = 0;
			split_args(st, args, len, &f->origin);
		}
	}
	free(args);
	f->origin.cwd = strdup(folder);
	return state_leave(st);
}

/* ---- memory ------------------------------------------------------------------------------------- */

struct ram_record {
	uint64_t offset, size;
	uint32_t chunk;
	bool zip; /* not in the file: the section's version */
};
static const struct st_field ram_fields[] = {
	ST_U(struct ram_record, offset),
	ST_U(struct ram_record, size),
	ST_U(struct ram_record, chunk),
};
#define RAM_MAPPED 1 /* versions of the section */
#define RAM_ZIPPED 2 /* a section "frames" follows */

static bool is_zero(const uint8_t *p)
{
	return !p[0] && !memcmp(p, p + 1, PAGE_SIZE - 1);
}

static int write_pages(struct file *f, const uint8_t *p, size_t len, uint64_t at)
{
	while (len) {
		ssize_t n = pwrite(f->fd, p, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			f->error = n ? errno : ENOSPC;
			return ERR_IO;
		}
		p += n;
		len -= (size_t)n;
		at += (uint64_t)n;
	}
	return 0;
}

/* Writes what is not zero; *crc: of the whole chunk, 0 where all of it is zero. */
static int write_chunk(struct file *f, const uint8_t *p, uint64_t len, uint64_t at, uint32_t *crc)
{
	uint64_t start = 0;
	bool in_run = false, any = false;
	int err = 0;

	for (uint64_t i = 0; i <= len && !err; i += PAGE_SIZE) {
		bool data = i < len && !is_zero(p + i);

		if (data && !in_run)
			start = i;
		else if (!data && in_run)
			err = write_pages(f, p + start, i - start, at + start);
		in_run = data;
		any |= data;
	}
	*crc = any ? crc32c(0, p, len) : 0;
	return err;
}

/* The next place at or behind at that the guest has ever touched. */
static uint64_t next_data(const struct vm *vm, uint64_t at)
{
	off_t next;

	if (vm->ram.fd < 0)
		return at;
	next = lseek(vm->ram.fd, (off_t)at, SEEK_DATA);
	if (next < 0)
		return errno == ENXIO ? vm->ram.size : at;
	return (uint64_t)next;
}

/* Compresses one chunk after another. */
struct zip {
	ZSTD_CCtx *ctx;
	uint8_t *buf;
	size_t room;
	uint64_t at;   /* where the next frame goes */
	uint32_t *len; /* of each; 0: zeros */
};

static int zip_open(struct zip *z, uint64_t chunks)
{
	*z = (struct zip){.ctx = ZSTD_createCCtx(),
			  .room = ZSTD_compressBound(CHUNK),
			  .at = RAM_OFFSET,
			  .len = calloc(chunks, sizeof(*z->len))};
	z->buf = malloc(z->room);
	return z->ctx && z->buf && z->len ? 0 : ERR_NOMEM;
}

static void zip_close(struct zip *z)
{
	ZSTD_freeCCtx(z->ctx);
	free(z->buf);
	free(z->len);
}

static int zip_chunk(struct file *f, struct zip *z, const uint8_t *p, uint64_t len, uint64_t chunk,
		     uint32_t *crc)
{
	bool any = false;
	size_t n;
	int err;

	for (uint64_t i = 0; i < len && !any; i += PAGE_SIZE)
		any = !is_zero(p + i);
	*crc = any ? crc32c(0, p, len) : 0;
	if (!any)
		return 0;
	n = ZSTD_compressCCtx(z->ctx, z->buf, z->room, p, len, ZIP_LEVEL);
	if (ZSTD_isError(n))
		return ERR_NOMEM;
	err = write_pages(f, z->buf, n, z->at);
	z->at += n;
	z->len[chunk] = (uint32_t)n;
	return err;
}

/* zip: NULL: as it is, at its place. */
static int write_chunks(struct file *f, struct vm *vm, struct zip *zip, uint32_t *crc)
{
	uint64_t size = vm->ram.size;
	int err = 0;

	for (uint64_t at = 0; at < size && !err; at += CHUNK) {
		const uint8_t *p;
		uint64_t len;

		at = ALIGN_DOWN(next_data(vm, at), CHUNK);
		if (at >= size)
			break;
		p = vm->ram.hva + at;
		len = MIN(CHUNK, size - at);
		err = zip ? zip_chunk(f, zip, p, len, at / CHUNK, &crc[at / CHUNK])
			  : write_chunk(f, p, len, RAM_OFFSET + at, &crc[at / CHUNK]);
	}
	return err;
}

static void put_ram(struct state_stream *st, struct ram_record *r, const uint32_t *crc,
		    const uint32_t *frames, uint64_t n)
{
	state_begin(st, "memory", frames ? RAM_ZIPPED : RAM_MAPPED);
	ST_SYNC(st, "memory", 0, ram_fields, r);
	st_put_bytes(st, "checksums", crc, (uint32_t)(n * sizeof(*crc)));
	state_end(st);
	if (!frames)
		return;
	state_begin(st, "frames", 1);
	st_put_bytes(st, "lengths", frames, (uint32_t)(n * sizeof(*frames)));
	state_end(st);
}

static int write_ram(struct state_stream *st, struct file *f, struct vm *vm, bool compress)
{
	struct ram_record r = {.offset = RAM_OFFSET, .size = vm->ram.size, .chunk = CHUNK};
	uint64_t n = (r.size + CHUNK - 1) / CHUNK;
	uint32_t *crc = n <= CHUNKS_MAX ? calloc(n, sizeof(*crc)) : NULL;
	struct zip zip = {0};
	int err = 0;

	if (!crc)
		return state_fail(st, ERR_NOMEM, "too much memory");
	if (compress)
		err = zip_open(&zip, n);
	if (!err)
		err = write_chunks(f, vm, compress ? &zip : NULL, crc);
	if (!err && ftruncate(f->fd, (off_t)(compress ? zip.at : RAM_OFFSET + r.size))) {
		f->error = errno;
		err = ERR_IO;
	}
	if (err)
		state_fail(st, err, "cannot write");
	else
		put_ram(st, &r, crc, compress ? zip.len : NULL, n);
	zip_close(&zip);
	free(crc);
	return st->err;
}

static int verify_ram(struct state_stream *st, struct file *f, const struct ram_record *r,
		      const uint32_t *crc)
{
	uint8_t *p = mmap(NULL, r->size, PROT_READ, MAP_PRIVATE, f->fd, RAM_OFFSET);

	if (p == MAP_FAILED)
		return state_fail(st, ERR_NOMEM, "out of memory");
	for (uint64_t at = 0; at < r->size && !st->err; at += CHUNK) {
		uint64_t len = MIN(CHUNK, r->size - at);
		bool zero = true;

		for (uint64_t i = 0; i < len && zero; i += PAGE_SIZE)
			zero = is_zero(p + at + i);
		if ((zero ? 0 : crc32c(0, p + at, len)) != crc[at / CHUNK])
			state_fail(st, ERR_FORMAT, "the memory at %llu MiB is damaged (checksum)",
				   (unsigned long long)(at / MIB));
	}
	munmap(p, r->size);
	return st->err;
}

/* Frames of the memory to where they belong, or nowhere (ram NULL): all are checked. */
static int unzip_ram(struct state_stream *st, struct file *f, const struct ram_record *r,
		     const uint32_t *crc, const uint32_t *frame, uint8_t *ram)
{
	size_t room = ZSTD_compressBound(CHUNK);
	uint8_t *in = malloc(room), *out = malloc(CHUNK);
	ZSTD_DCtx *ctx = ZSTD_createDCtx();
	struct file src = {.fd = f->fd, .at = r->offset};

	if (!in || !out || !ctx)
		state_fail(st, ERR_NOMEM, "out of memory");
	for (uint64_t at = 0; at < r->size && !st->err; at += CHUNK) {
		uint64_t i = at / CHUNK, len = MIN(CHUNK, r->size - at);
		uint8_t *to = ram ? ram + at : out;
		bool ok = frame[i] <= room;

		if (!frame[i])
			continue;
		ok = ok && !read_at(&src, in, frame[i]);
		src.at += frame[i];
		ok = ok && ZSTD_decompressDCtx(ctx, to, len, in, frame[i]) == len;
		if (!ok || crc32c(0, to, len) != crc[i])
			state_fail(st, ERR_FORMAT, "the memory at %llu MiB is damaged (checksum)",
				   (unsigned long long)(at / MIB));
	}
	ZSTD_freeDCtx(ctx);
	free(in);
	free(out);
	return st->err;
}

static bool ram_ok(const struct ram_record *r, const struct file *f, const uint32_t *frame)
{
	uint64_t chunks = (r->size + CHUNK - 1) / CHUNK, len = frame ? 0 : r->size;
	struct stat sb;

	for (uint64_t i = 0; frame && i < chunks; i++)
		len += frame[i];
	return !fstat(f->fd, &sb) && (uint64_t)sb.st_size == r->offset + len;
}

static bool ram_makes_sense(const struct ram_record *r)
{
	return r->offset == RAM_OFFSET && r->size && r->size % MIB == 0 && r->chunk == CHUNK &&
	       r->size <= (uint64_t)CHUNKS_MAX * CHUNK;
}

enum ram_use { RAM_LOOK, RAM_VERIFY, RAM_TAKE, RAM_COPY };

static int map_ram(const struct file *f, struct vm *vm, const struct ram_record *r,
		   struct state_stream *st);

static int copy_ram(struct state_stream *st, struct file *f, const struct ram_record *r,
		    const uint32_t *crc, const uint32_t *frame, struct state_parts *out)
{
	struct file src = {.fd = f->fd, .at = r->offset};
	void *p = mmap(NULL, r->size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return state_fail(st, ERR_NOMEM, "out of memory");
	out->ram = p;
	out->ram_size = r->size;
	if (r->zip)
		return unzip_ram(st, f, r, crc, frame, p);
	return read_at(&src, p, r->size) ? state_fail(st, ERR_IO, "cannot read") : st->err;
}

/* to: RAM_TAKE's struct vm, RAM_COPY's struct state_parts */
static int use_ram(struct state_stream *st, struct file *f, const struct ram_record *r,
		   const uint32_t *crc, const uint32_t *frame, enum ram_use use, void *to)
{
	struct vm *vm = to;

	if (use == RAM_COPY)
		return copy_ram(st, f, r, crc, frame, to);
	if (use == RAM_LOOK)
		return st->err;
	if (use == RAM_VERIFY)
		return r->zip ? unzip_ram(st, f, r, crc, frame, NULL) : verify_ram(st, f, r, crc);
	if (r->size != vm->ram.size)
		return state_fail(st, ERR_INVAL, "the state is of %llu MiB, the VM has %llu MiB",
				  (unsigned long long)(r->size / MIB),
				  (unsigned long long)(vm->ram.size / MIB));
	if (!r->zip)
		return map_ram(f, vm, r, st);
	plat_pages_discard(vm->ram.hva, vm->ram.size);
	return unzip_ram(st, f, r, crc, frame, vm->ram.hva);
}

/* Reads the section; checks that the image is there, and does with what it holds what use says. */
static int read_ram(struct state_stream *st, struct file *f, enum ram_use use, void *to)
{
	uint32_t *crc = malloc(STATE_SECTION_MAX), *frame = malloc(STATE_SECTION_MAX);
	uint32_t len = STATE_SECTION_MAX, frames = STATE_SECTION_MAX;
	struct ram_record r = {0};
	uint64_t want;

	if (!crc || !frame) {
		free(crc);
		free(frame);
		return state_fail(st, ERR_NOMEM, "out of memory");
	}
	if (!state_next(st) && !state_expect(st, "memory", RAM_ZIPPED)) {
		r.zip = st->version == RAM_ZIPPED;
		ST_SYNC(st, "memory", 0, ram_fields, &r);
		st_get_bytes(st, "checksums", crc, &len);
		state_leave(st);
	}
	if (r.zip && !state_next(st) && !state_expect(st, "frames", 1)) {
		st_get_bytes(st, "lengths", frame, &frames);
		state_leave(st);
	}
	want = (r.size + CHUNK - 1) / CHUNK * sizeof(*crc);
	if (!st->err && (!ram_makes_sense(&r) || len != want || (r.zip && frames != want)))
		state_fail(st, ERR_FORMAT, "section memory makes no sense");
	if (!st->err && !ram_ok(&r, f, r.zip ? frame : NULL))
		state_fail(st, ERR_FORMAT, "the memory's image is cut short");
	if (!st->err)
		use_ram(st, f, &r, crc, frame, use, to);
	free(crc);
	free(frame);
	return st->err;
}

/* ---- the mark ------------------------------------------------------------------------------------------ */

static const char mark_text[] = "disks are being reverted";

int state_mark(int fd, bool set, struct msg *msg)
{
	char text[sizeof(mark_text)] = "";
	ssize_t n;

	if (set)
		memcpy(text, mark_text, sizeof(text));
	do
		n = pwrite(fd, text, sizeof(text), MARK_AT);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(text) || fdatasync(fd))
		return msg_fail(msg, ERR_IO, "the snapshot's file cannot be written: %s",
				strerror(errno));
	return 0;
}

bool state_marked(int fd)
{
	char text[sizeof(mark_text)];

	return pread(fd, text, sizeof(text), MARK_AT) == sizeof(text) &&
	       !memcmp(text, mark_text, sizeof(text));
}

/* ---- saving ---------------------------------------------------------------------------------------- */

int state_write(int fd, struct vm *vm, const struct state_origin *origin, bool compress,
		uint64_t *end, struct msg *msg)
{
	struct file f = {.fd = fd};
	struct state_stream st;
	int err = state_open(&st, &file_io, &f, false);

	if (!err)
		err = put_origin(&st, origin, vm->name);
	if (!err)
		err = write_ram(&st, &f, vm, compress);
	if (!err)
		err = vm_state_save(vm, &st);
	if (err)
		err = stream_failed(&st, &f, msg);
	state_close(&st);
	*end = f.at;
	return err;
}

struct disk_mark {
	uint64_t size, mtime_ns, inode;
};
static const struct st_field mark_fields[] = {
	ST_U(struct disk_mark, size),
	ST_U(struct disk_mark, mtime_ns),
	ST_U(struct disk_mark, inode),
};
struct marks {
	uint32_t n;
	bool kept;
};
static const struct st_field marks_fields[] = {
	ST_UMAX(struct marks, n, DEF_MAX_DISKS),
	ST_B(struct marks, kept),
};

static void mark_disk(const struct disk_def *d, struct disk_mark *m)
{
	struct stat sb;

	*m = (struct disk_mark){0};
	/* A disk that nobody writes to, or whose writes are thrown away, may be shared. */
	if (d->read_only || d->snapshot || stat(d->path, &sb))
		return;
	m->size = (uint64_t)sb.st_size;
	m->inode = sb.st_ino;
	m->mtime_ns = (uint64_t)sb.st_mtim.tv_sec * NS_PER_SEC + (uint64_t)sb.st_mtim.tv_nsec;
}

static int parse_origin(const struct state_origin *o, struct vm_def *def, struct msg *msg)
{
	bool help = false;

	vm_def_init(def);
	if (o->cwd[0] && chdir(o->cwd))
		return msg_fail(msg, ERR_NOENT, "cannot go to %s, where the VM was started: %s",
				o->cwd, strerror(errno));
	return vm_def_parse(def, o->argc, o->argv, &help, msg);
}

int state_seal(int fd, uint64_t at, bool kept, struct msg *msg)
{
	struct state_file sf = {.fd = fd};
	struct file f = {.fd = fd};
	struct state_stream st;
	struct vm_def def;
	int err = state_open(&st, &file_io, &f, true);

	if (!err)
		err = get_origin(&st, &sf);
	if (err) {
		err = stream_failed(&st, &f, msg);
		state_close(&st);
		return err;
	}
	err = parse_origin(&sf.origin, &def, msg);
	f.at = at;
	st.loading = false;
	if (!err) {
		struct marks marks = {.n = def.n_disks, .kept = kept};

		state_begin(&st, "disks", 1);
		ST_SYNC(&st, "disks", 0, marks_fields, &marks);
		for (unsigned i = 0; i < def.n_disks; i++) {
			struct disk_mark m;

			mark_disk(&def.disk[i], &m);
			ST_SYNC(&st, "disk", i, mark_fields, &m);
		}
		state_end(&st);
		if (state_finish(&st))
			err = stream_failed(&st, &f, msg);
	}
	if (!err && fsync(fd))
		err = msg_fail(msg, ERR_IO, "cannot write: %s", strerror(errno));
	vm_def_fini(&def);
	state_close(&st);
	sf.fd = -1;
	state_file_close(&sf);
	return err;
}

/* ---- restoring --------------------------------------------------------------------------------------- */

/* Reads all sections, so that a damaged file is refused before anything is set up. */
static int scan(struct state_file *f, bool verify, struct msg *msg)
{
	struct file file = {.fd = f->fd};
	struct state_stream st;
	int err = state_open(&st, &file_io, &file, true);

	if (!err)
		err = get_origin(&st, f);
	if (!err)
		err = read_ram(&st, &file, verify ? RAM_VERIFY : RAM_LOOK, NULL);
	while (!err && strcmp(st.section, "end") != 0)
		err = state_next(&st);
	if (err)
		err = stream_failed(&st, &file, msg);
	state_close(&st);
	return err;
}

int state_file_open(const char *path, bool verify, struct state_file *out, struct msg *msg)
{
	int err;

	*out = (struct state_file){.fd = open(path, O_RDONLY | O_CLOEXEC)};
	if (out->fd < 0)
		return msg_fail(msg, ERR_NOENT, "cannot read %s: %s", path, strerror(errno));
	err = scan(out, verify, msg);
	if (!err && out->origin.cwd[0] && chdir(out->origin.cwd))
		err = msg_fail(msg, ERR_NOENT, "cannot go to %s, where the VM was started: %s",
			       out->origin.cwd, strerror(errno));
	if (err)
		msg_prefix(msg, path);
	if (err)
		state_file_close(out);
	return err;
}

int state_read_origin(int fd, struct state_origin *out, struct msg *msg)
{
	struct state_file f = {.fd = -1};
	struct file file = {.fd = fd};
	struct state_stream st;
	int err = state_open(&st, &file_io, &file, true);

	if (!err)
		err = get_origin(&st, &f);
	if (err)
		err = stream_failed(&st, &file, msg);
	state_close(&st);
	*out = f.origin;
	if (err)
		state_free_origin(out);
	return err;
}

void state_free_origin(struct state_origin *o)
{
	for (int i = 0; i < o->argc; i++)
		free(o->argv[i]);
	free(o->argv);
	free(o->cwd);
	*o = (struct state_origin){0};
}

int state_file_from(int fd, struct state_file *out, struct msg *msg)
{
	int err;

	*out = (struct state_file){.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)};
	if (out->fd < 0)
		return msg_fail(msg, ERR_NOMEM, "%s", strerror(errno));
	err = scan(out, false, msg);
	if (err)
		state_file_close(out);
	return err;
}

void state_file_close(struct state_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	state_free_origin(&f->origin);
	*f = (struct state_file){.fd = -1};
}

/* Opens a stream that stands behind the section "memory". */
static int open_at_machine(const struct state_file *f, struct file *file, struct state_stream *st)
{
	int err;

	*file = (struct file){.fd = f->fd};
	err = state_open(st, &file_io, file, true);
	while (!err && strcmp(st->section, "memory") != 0)
		err = state_next(st);
	return err;
}

static int check_mark(struct state_stream *st, const struct disk_def *d, unsigned i,
		      struct msg *msg)
{
	struct disk_mark was, is;

	if (ST_SYNC(st, "disk", i, mark_fields, &was))
		return st->err;
	mark_disk(d, &is);
	if (was.size == is.size && was.mtime_ns == is.mtime_ns)
		return 0;
	return msg_fail(msg, ERR_INVAL,
			"the disk %s has been changed since the VM was saved: the guest would "
			"damage it; --force restores nevertheless",
			d->path);
}

int state_file_check_disks(const struct state_file *f, const struct vm_def *def, struct msg *msg)
{
	struct marks marks = {0};
	struct state_stream st;
	struct file file;
	int err = open_at_machine(f, &file, &st);

	while (!err && strcmp(st.section, "disks") != 0)
		err = state_next(&st);
	if (!err)
		err = ST_SYNC(&st, "disks", 0, marks_fields, &marks);
	if (!err && marks.n != def->n_disks)
		err = state_fail(&st, ERR_INVAL, "the VM was saved with %u disks", marks.n);
	if (err)
		err = stream_failed(&st, &file, msg);
	for (unsigned i = 0; i < def->n_disks && !err; i++) {
		const struct disk_def *d = &def->disk[i];

		if (marks.kept && !d->read_only)
			err = msg_fail(msg, ERR_INVAL,
				       "the VM went on after it was saved, so that its disk %s has "
				       "changed: --force restores nevertheless",
				       d->path);
		else
			err = check_mark(&st, d, i, msg);
	}
	state_close(&st);
	return err;
}

static int map_ram(const struct file *f, struct vm *vm, const struct ram_record *r,
		   struct state_stream *st)
{
	void *p = mmap(vm->ram.hva, r->size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, f->fd, RAM_OFFSET);

	if (p == MAP_FAILED)
		return state_fail(st, ERR_NOMEM, "cannot map the memory: %s", strerror(errno));
	madvise(p, r->size, MADV_DONTDUMP);
	/* What was behind it until now is not needed any more. */
	if (vm->ram.fd >= 0)
		close(vm->ram.fd);
	vm->ram.fd = -1;
	return 0;
}

int state_file_load(const struct state_file *f, struct vm *vm, struct msg *msg)
{
	struct file file = {.fd = f->fd};
	struct state_file again = {.fd = -1};
	struct state_stream st;
	int err = state_open(&st, &file_io, &file, true);

	if (!err)
		err = get_origin(&st, &again);
	if (!err)
		err = read_ram(&st, &file, RAM_TAKE, vm);
	if (!err && vm->engine->memory_replaced)
		vm->engine->memory_replaced(vm);
	if (!err)
		err = vm_state_load(vm, &st);
	if (err)
		err = stream_failed(&st, &file, msg);
	state_close(&st);
	state_file_close(&again);
	return err;
}

int state_file_parts(const struct state_file *f, struct state_parts *out, struct msg *msg)
{
	struct file file = {.fd = f->fd}, start = {.fd = f->fd};
	struct state_file again = {.fd = -1};
	struct state_stream st;
	int err = state_open(&st, &file_io, &file, true);

	*out = (struct state_parts){0};
	if (!err)
		err = get_origin(&st, &again);
	if (!err)
		err = read_ram(&st, &file, RAM_COPY, out);
	while (!err && strcmp(st.section, "end") != 0)
		err = state_next(&st);
	if (!err) {
		out->len = file.at;
		out->sections = malloc(out->len);
		err = out->sections ? read_at(&start, out->sections, out->len) : ERR_NOMEM;
		if (err)
			state_fail(&st, err, "cannot read");
	}
	if (err) {
		err = stream_failed(&st, &file, msg);
		state_parts_free(out);
	}
	state_close(&st);
	state_file_close(&again);
	return err;
}

void state_parts_free(struct state_parts *p)
{
	free(p->sections);
	if (p->ram)
		munmap(p->ram, p->ram_size);
	*p = (struct state_parts){0};
}

/* Finds the section "machine". */
static int open_machine(const struct state_file *f, struct file *file, struct state_stream *st)
{
	int err = open_at_machine(f, file, st);

	while (!err && strcmp(st->section, "machine") != 0)
		err = state_next(st);
	return err;
}

int state_file_kind(const struct state_file *f, struct x86_kind *out, struct msg *msg)
{
	struct state_stream st;
	struct file file;
	int err = open_machine(f, &file, &st);

	if (!err)
		err = vm_state_kind(&st, out);
	if (err)
		err = stream_failed(&st, &file, msg);
	state_close(&st);
	return err;
}

int state_file_fits(const struct state_file *f, struct vm *vm, struct msg *msg)
{
	struct state_stream st;
	struct file file;
	int err = open_machine(f, &file, &st);

	if (!err)
		err = vm_state_fits(vm, &st);
	if (err)
		err = stream_failed(&st, &file, msg);
	state_close(&st);
	return err;
}
