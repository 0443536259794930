/* SPDX-License-Identifier: ISC */
/* state.c: saved VMs as files: sections, the memory's image behind them (state_ram.c). Reading never trusts a
 * length; see vm/stream.h. Main thread. */
#include "ctl/state_impl.h"

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

#define ORIGIN_MAX (128 * 1024u)
#define ARGS_MAX   256

static int stream_failed(const struct state_stream *st, const struct state_fd *f, struct msg *msg)
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

/* ---- the mark ------------------------------------------------------------------------------------------ */

static const char mark_text[] = "disks are being reverted";

int state_mark(int fd, bool set, struct msg *msg)
{
	char text[sizeof(mark_text)] = "";
	ssize_t n;

	if (set)
		memcpy(text, mark_text, sizeof(text));
	do
		n = pwrite(fd, text, sizeof(text), STATE_MARK_AT);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(text) || fdatasync(fd))
		return msg_fail(msg, ERR_IO, "the snapshot's file cannot be written: %s",
				strerror(errno));
	return 0;
}

bool state_marked(int fd)
{
	char text[sizeof(mark_text)];

	return pread(fd, text, sizeof(text), STATE_MARK_AT) == sizeof(text) &&
	       !memcmp(text, mark_text, sizeof(text));
}

/* ---- saving ---------------------------------------------------------------------------------------- */

int state_write(int fd, struct vm *vm, const struct state_origin *origin, bool compress,
		struct state_ahead *ahead, uint64_t *end, struct msg *msg)
{
	struct state_fd f = {.fd = fd};
	struct state_stream st;
	int err = state_open(&st, &state_file_io, &f, false);

	if (!err)
		err = put_origin(&st, origin, vm->name);
	if (!err)
		err = state_ram_write(&st, &f, vm, compress, ahead);
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
	struct state_fd f = {.fd = fd};
	struct state_stream st;
	struct vm_def def;
	int err = state_open(&st, &state_file_io, &f, true);

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
	struct state_fd file = {.fd = f->fd};
	struct state_stream st;
	int err = state_open(&st, &state_file_io, &file, true);

	if (!err)
		err = get_origin(&st, f);
	if (!err)
		err = state_ram_read(&st, &file, verify ? RAM_VERIFY : RAM_LOOK, NULL);
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
	struct state_fd file = {.fd = fd};
	struct state_stream st;
	int err = state_open(&st, &state_file_io, &file, true);

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
static int open_at_machine(const struct state_file *f, struct state_fd *file,
			   struct state_stream *st)
{
	int err;

	*file = (struct state_fd){.fd = f->fd};
	err = state_open(st, &state_file_io, file, true);
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
	struct state_fd file;
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

/* Opens a stream and has the memory's image used; what stands before it is known by now. */
static int open_with_ram(const struct state_file *f, enum ram_use use, void *to,
			 struct state_fd *file, struct state_stream *st)
{
	struct state_file again = {.fd = -1};
	int err;

	*file = (struct state_fd){.fd = f->fd};
	err = state_open(st, &state_file_io, file, true);
	if (!err)
		err = get_origin(st, &again);
	if (!err)
		err = state_ram_read(st, file, use, to);
	state_file_close(&again);
	return err;
}

int state_file_load(const struct state_file *f, struct vm *vm, struct msg *msg)
{
	struct state_stream st;
	struct state_fd file;
	int err = open_with_ram(f, RAM_TAKE, vm, &file, &st);

	if (!err && vm->engine->memory_replaced)
		vm->engine->memory_replaced(vm);
	if (!err)
		err = vm_state_load(vm, &st);
	if (err)
		err = stream_failed(&st, &file, msg);
	state_close(&st);
	return err;
}

int state_file_parts(const struct state_file *f, struct state_parts *out, struct msg *msg)
{
	struct state_stream st;
	struct state_fd file;
	int err;

	*out = (struct state_parts){0};
	err = open_with_ram(f, RAM_COPY, out, &file, &st);
	while (!err && strcmp(st.section, "end") != 0)
		err = state_next(&st);
	if (!err) {
		out->len = file.at;
		out->sections = malloc(out->len);
		err = out->sections ? state_read_at(&file, out->sections, out->len, 0) : ERR_NOMEM;
		if (err)
			state_fail(&st, err, "cannot read");
	}
	if (err) {
		err = stream_failed(&st, &file, msg);
		state_parts_free(out);
	}
	state_close(&st);
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
static int open_machine(const struct state_file *f, struct state_fd *file, struct state_stream *st)
{
	int err = open_at_machine(f, file, st);

	while (!err && strcmp(st->section, "machine") != 0)
		err = state_next(st);
	return err;
}

int state_file_kind(const struct state_file *f, struct x86_kind *out, uint64_t *tsc_hz,
		    struct msg *msg)
{
	struct state_stream st;
	struct state_fd file;
	int err = open_machine(f, &file, &st);

	if (!err)
		err = vm_state_kind(&st, out, tsc_hz);
	if (err)
		err = stream_failed(&st, &file, msg);
	state_close(&st);
	return err;
}

int state_file_fits(const struct state_file *f, struct vm *vm, struct msg *msg)
{
	struct state_stream st;
	struct state_fd file;
	int err = open_machine(f, &file, &st);

	if (!err)
		err = vm_state_fits(vm, &st);
	if (err)
		err = stream_failed(&st, &file, msg);
	state_close(&st);
	return err;
}
