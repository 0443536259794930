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

#include "ctl/def.h"
#include "vm/save.h"

#define RAM_OFFSET (64 * MIB) /* sections, video memory too, are before it */
#define CHUNK      (2 * MIB)  /* has a checksum */
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

	if (f->at + len > RAM_OFFSET)
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

static int file_read(void *ctx, void *buf, size_t len)
{
	struct file *f = ctx;

	if (f->at + len > RAM_OFFSET)
		return ERR_FORMAT;
	while (len) {
		ssize_t n = pread(f->fd, buf, len, (off_t)f->at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			f->error = n ? errno : 0;
			return n ? ERR_IO : ERR_FORMAT;
		}
		buf = (char *)buf + n;
		len -= (size_t)n;
		f->at += (uint64_t)n;
	}
	return 0;
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
};
static const struct st_field ram_fields[] = {
	ST_U(struct ram_record, offset),
	ST_U(struct ram_record, size),
	ST_U(struct ram_record, chunk),
};

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

static int write_ram(struct state_stream *st, struct file *f, struct vm *vm)
{
	struct ram_record r = {.offset = RAM_OFFSET, .size = vm->ram.size, .chunk = CHUNK};
	uint64_t n = (r.size + CHUNK - 1) / CHUNK;
	uint32_t *crc = n <= CHUNKS_MAX ? calloc(n, sizeof(*crc)) : NULL;
	int err = 0;

	if (!crc)
		return state_fail(st, ERR_NOMEM, "too much memory");
	if (ftruncate(f->fd, (off_t)(RAM_OFFSET + r.size))) {
		f->error = errno;
		err = ERR_IO;
	}
	for (uint64_t at = 0; at < r.size && !err;) {
		at = ALIGN_DOWN(next_data(vm, at), CHUNK);
		if (at < r.size)
			err = write_chunk(f, vm->ram.hva + at, MIN(CHUNK, r.size - at),
					  RAM_OFFSET + at, &crc[at / CHUNK]);
		at += CHUNK;
	}
	if (err) {
		state_fail(st, err, "cannot write");
	} else {
		state_begin(st, "memory", 1);
		ST_SYNC(st, "memory", 0, ram_fields, &r);
		st_put_bytes(st, "checksums", crc, (uint32_t)(n * sizeof(*crc)));
		state_end(st);
	}
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

/* Reads the section; checks that the image is there, and with verify what it holds. */
static int read_ram(struct state_stream *st, struct file *f, struct ram_record *r, bool verify)
{
	uint32_t *crc = malloc(STATE_SECTION_MAX), len = STATE_SECTION_MAX;
	struct stat sb;

	if (!crc)
		return state_fail(st, ERR_NOMEM, "out of memory");
	*r = (struct ram_record){0};
	if (!state_next(st) && !state_expect(st, "memory", 1)) {
		ST_SYNC(st, "memory", 0, ram_fields, r);
		st_get_bytes(st, "checksums", crc, &len);
		state_leave(st);
	}
	if (!st->err && (r->offset != RAM_OFFSET || !r->size || r->size % MIB ||
			 r->chunk != CHUNK || r->size > (uint64_t)CHUNKS_MAX * CHUNK ||
			 len != (r->size + CHUNK - 1) / CHUNK * sizeof(*crc)))
		state_fail(st, ERR_FORMAT, "section memory makes no sense");
	if (!st->err && (fstat(f->fd, &sb) || (uint64_t)sb.st_size != r->offset + r->size))
		state_fail(st, ERR_FORMAT, "the memory's image is cut short");
	if (!st->err && verify)
		verify_ram(st, f, r, crc);
	free(crc);
	return st->err;
}

/* ---- saving ---------------------------------------------------------------------------------------- */

int state_write(int fd, struct vm *vm, const struct state_origin *origin, uint64_t *end,
		struct msg *msg)
{
	struct file f = {.fd = fd};
	struct state_stream st;
	int err = state_open(&st, &file_io, &f, false);

	if (!err)
		err = put_origin(&st, origin, vm->name);
	if (!err)
		err = write_ram(&st, &f, vm);
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
	struct ram_record ram;
	int err = state_open(&st, &file_io, &file, true);

	if (!err)
		err = get_origin(&st, f);
	if (!err)
		err = read_ram(&st, &file, &ram, verify);
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

void state_file_close(struct state_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	for (int i = 0; i < f->origin.argc; i++)
		free(f->origin.argv[i]);
	free(f->origin.argv);
	free(f->origin.cwd);
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

static int map_ram(const struct state_file *f, struct vm *vm, const struct ram_record *r,
		   struct state_stream *st)
{
	void *p;

	if (r->size != vm->ram.size)
		return state_fail(st, ERR_INVAL, "the state is of %llu MiB, the VM has %llu MiB",
				  (unsigned long long)(r->size / MIB),
				  (unsigned long long)(vm->ram.size / MIB));
	p = mmap(vm->ram.hva, r->size, PROT_READ | PROT_WRITE,
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
	struct ram_record ram;
	int err = state_open(&st, &file_io, &file, true);

	if (!err)
		err = get_origin(&st, &again);
	if (!err)
		err = read_ram(&st, &file, &ram, false);
	if (!err)
		err = map_ram(f, vm, &ram, &st);
	if (!err)
		err = vm_state_load(vm, &st);
	if (err)
		err = stream_failed(&st, &file, msg);
	state_close(&st);
	state_file_close(&again);
	return err;
}
