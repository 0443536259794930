/* SPDX-License-Identifier: ISC */
/* snapshot.c: the folder of a VM's snapshots; see snapshot.h. Main thread, of a command. */
#include "ctl/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/control.h"
#include "ctl/rundir.h"
#include "ctl/state.h"
#include "ctl/watch.h"

#define TMP          ".tmp"
#define CURRENT      "current"
#define FOLDER       ".snapshots"
#define DISK_SECONDS 600

/* ---- names ---------------------------------------------------------------------------------------- */

static bool ends(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n > m && !strcmp(s + n - m, end);
}

/* "2.1.vigia-0123456789abcdef.name.state" */
static bool parse(const char *file, struct snapshot *out)
{
	int at = 0;
	size_t len;

	*out = (struct snapshot){0};
	if (!ends(file, SNAPSHOT_STATE) ||
	    sscanf(file, "%9u.%9u.%22[a-z0-9-].%n", &out->number, &out->parent, out->tag, &at) !=
		    3 ||
	    !at)
		return false;
	len = strlen(file) - (size_t)at - strlen(SNAPSHOT_STATE);
	if (len >= sizeof(out->name) || strlen(file) >= sizeof(out->file))
		return false;
	memcpy(out->name, file + at, len);
	strcpy(out->file, file);
	return out->number && vm_name_valid(out->name);
}

static void name_file(const struct snapshot *s, const char *end, char *out, size_t size)
{
	snprintf(out, size, "%u.%u.%s.%s%s", s->number, s->parent, s->tag, s->name, end);
}

static int by_number(const void *a, const void *b)
{
	const struct snapshot *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

/* ---- the folder ------------------------------------------------------------------------------------- */

static int read_folder(struct snapshots *s, struct msg *msg)
{
	int fd = fcntl(s->dir, F_DUPFD_CLOEXEC, 0);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	struct stat sb;

	s->s = calloc(SNAPSHOTS_MAX, sizeof(*s->s));
	if (!d || !s->s) {
		if (d)
			closedir(d);
		return msg_fail(msg, ERR_NOMEM, "%s: %s", s->folder, strerror(errno));
	}
	rewinddir(d);
	s->n = 0;
	while ((e = readdir(d)) && s->n < SNAPSHOTS_MAX) {
		struct snapshot *at = &s->s[s->n];

		if (!parse(e->d_name, at) || fstatat(s->dir, e->d_name, &sb, 0))
			continue;
		at->bytes = (uint64_t)sb.st_blocks * 512;
		at->when = sb.st_mtime;
		s->n++;
	}
	closedir(d);
	qsort(s->s, s->n, sizeof(*s->s), by_number);
	return 0;
}

static void read_current(struct snapshots *s)
{
	int fd = openat(s->dir, CURRENT, O_RDONLY | O_CLOEXEC);
	char text[16] = "";

	if (fd < 0)
		return;
	if (read(fd, text, sizeof(text) - 1) > 0)
		s->current = (unsigned)strtoul(text, NULL, 10);
	close(fd);
}

int snapshots_open(const char *vm, bool create, struct snapshots *s, struct msg *msg)
{
	char history[4096];
	int err;

	*s = (struct snapshots){.dir = -1};
	if (!vm_name_valid(vm))
		return msg_fail(msg, ERR_INVAL, "%s is not a VM's name: see vigia list", vm);
	snprintf(s->vm, sizeof(s->vm), "%s", vm);
	err = watch_path(vm, create, history, sizeof(history), msg);
	if (err)
		return err;
	snprintf(s->folder, sizeof(s->folder), "%.*s" FOLDER,
		 (int)(strlen(history) - strlen(".history")), history);
	if (create && mkdir(s->folder, 0700) && errno != EEXIST)
		return msg_fail(msg, ERR_ACCES, "cannot make the folder %s: %s", s->folder,
				strerror(errno));
	s->dir = open(s->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir < 0 && errno == ENOENT)
		return 0;
	if (s->dir < 0 || flock(s->dir, LOCK_EX))
		err = msg_fail(msg, ERR_ACCES, "%s: %s", s->folder, strerror(errno));
	if (!err)
		err = read_folder(s, msg);
	if (err)
		snapshots_close(s);
	else
		read_current(s);
	return err;
}

void snapshots_close(struct snapshots *s)
{
	if (s->dir >= 0)
		close(s->dir);
	free(s->s);
	*s = (struct snapshots){.dir = -1};
}

const struct snapshot *snapshots_find(const struct snapshots *s, const char *which, struct msg *msg)
{
	bool number = which[strspn(which, "0123456789")] == 0;

	for (unsigned i = 0; i < s->n; i++)
		if (number ? s->s[i].number == strtoul(which, NULL, 10)
			   : !strcmp(s->s[i].name, which))
			return &s->s[i];
	msg_fail(msg, ERR_NOENT, "%s has no snapshot %s: see vigia snapshot list %s", s->vm, which,
		 s->vm);
	return NULL;
}

static int sync_folder(const struct snapshots *s, struct msg *msg)
{
	return fsync(s->dir) ? msg_fail(msg, ERR_IO, "%s: %s", s->folder, strerror(errno)) : 0;
}

static int rename_in(const struct snapshots *s, const char *from, const char *to, struct msg *msg)
{
	return renameat(s->dir, from, s->dir, to) ? msg_fail(msg, ERR_IO, "cannot name %s/%s: %s",
							     s->folder, to, strerror(errno))
						  : 0;
}

int snapshots_set_current(struct snapshots *s, unsigned number, struct msg *msg)
{
	int fd = openat(s->dir, CURRENT TMP, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char text[16];
	int n = snprintf(text, sizeof(text), "%u\n", number);
	bool ok = fd >= 0 && write(fd, text, (size_t)n) == n && !fsync(fd);

	if (fd >= 0)
		close(fd);
	if (!ok)
		return msg_fail(msg, ERR_IO, "%s/" CURRENT ": %s", s->folder, strerror(errno));
	s->current = number;
	return rename_in(s, CURRENT TMP, CURRENT, msg);
}

/* ---- new ones --------------------------------------------------------------------------------------- */

static int choose_name(const struct snapshots *s, const char *name, struct snapshot *out,
		       struct msg *msg)
{
	if (!name) {
		snprintf(out->name, sizeof(out->name), "s%u", out->number);
		return 0;
	}
	if (!vm_name_valid(name) || name[strspn(name, "0123456789")] == 0)
		return msg_fail(msg, ERR_INVAL,
				"a snapshot's name has at most 63 letters, digits, dots, dashes "
				"and underscores, begins with a letter or digit, and is no number");
	for (unsigned i = 0; i < s->n; i++)
		if (!strcmp(s->s[i].name, name))
			return msg_fail(msg, ERR_EXIST,
					"%s has a snapshot %s: vigia snapshot delete %s %s, or "
					"take another name",
					s->vm, name, s->vm, name);
	snprintf(out->name, sizeof(out->name), "%s", name);
	return 0;
}

int snapshots_begin(struct snapshots *s, const char *name, struct snapshot *out, struct msg *msg)
{
	uint64_t random;
	int fd, err;

	*out = (struct snapshot){.number = s->n ? s->s[s->n - 1].number + 1 : 1};
	for (unsigned i = 0; i < s->n; i++)
		if (s->s[i].number == s->current)
			out->parent = s->current;
	err = choose_name(s, name, out, msg);
	if (err)
		return err;
	if (s->n == SNAPSHOTS_MAX)
		return msg_fail(msg, ERR_NOSPC, "%s has %u snapshots, which is the most", s->vm,
				s->n);
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return msg_fail(msg, ERR_IO, "no random number: %s", strerror(errno));
	snprintf(out->tag, sizeof(out->tag), "vigia-%016llx", (unsigned long long)random);
	name_file(out, TMP, out->file, sizeof(out->file));
	fd = openat(s->dir, out->file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd < 0 ? msg_fail(msg, ERR_ACCES, "cannot write %s/%s: %s", s->folder, out->file,
				 strerror(errno))
		      : fd;
}

int snapshots_commit(struct snapshots *s, const struct snapshot *new, struct msg *msg)
{
	char to[sizeof(new->file)];
	int err;

	name_file(new, SNAPSHOT_STATE, to, sizeof(to));
	err = rename_in(s, new->file, to, msg);
	return err ? err : sync_folder(s, msg);
}

/* ---- disks -------------------------------------------------------------------------------------------- */

/* Of a VM that does not run. */
static int on_disks(const struct vm_def *def, enum block_snapshot_op op, const char *tag,
		    struct msg *msg)
{
	const struct block_snapshot s = {.op = op, .name = tag, .resize = true};
	char why[600];
	int err = 0;

	for (unsigned i = 0; i < def->n_disks; i++) {
		const struct disk_def *d = &def->disk[i];
		int e;

		if (!d->path || d->read_only || d->snapshot || d->cdrom)
			continue;
		e = block_snapshot_file(d->path, &s, why, sizeof(why));
		if (e == ERR_NOENT && op == BLOCK_SNAPSHOT_DELETE)
			continue;
		if (e) {
			err = msg_fail(msg, e, "%s", why);
			if (op != BLOCK_SNAPSHOT_DELETE)
				break;
		}
	}
	return err;
}

/* The definition that a state was made with. fd: its file, which need not be complete. */
static int definition(int fd, struct vm_def *def, struct msg *msg)
{
	struct state_origin origin;
	bool help = false;
	int err;

	vm_def_init(def);
	err = state_read_origin(fd, &origin, msg);
	if (err)
		return err;
	if (origin.cwd[0] && chdir(origin.cwd))
		err = msg_fail(msg, ERR_NOENT, "cannot go to %s, where the VM was started: %s",
			       origin.cwd, strerror(errno));
	if (!err)
		err = vm_def_parse(def, origin.argc, origin.argv, &help, msg);
	state_free_origin(&origin);
	return err;
}

static int ask_delete(int sock, const char *tag, struct msg *msg)
{
	json_t *answer;
	int err = control_call(
		sock, json_pack("{s:s,s:s,s:s}", "do", "snapshot", "op", "delete", "tag", tag),
		DISK_SECONDS, &answer, msg);

	if (!err)
		json_decref(answer);
	return err;
}

/* The file goes last, as it says what there is to do. */
static int remove_file(struct snapshots *s, const char *file, const char *tag, int sock,
		       struct msg *msg)
{
	struct vm_def def;
	int fd, err = 0;

	if (sock >= 0) {
		err = ask_delete(sock, tag, msg);
	} else {
		fd = openat(s->dir, file, O_RDONLY | O_CLOEXEC);
		/* One that does not even say of what it is has nothing in the disks. */
		if (fd >= 0 && !definition(fd, &def, msg))
			err = on_disks(&def, BLOCK_SNAPSHOT_DELETE, tag, msg);
		if (fd >= 0) {
			vm_def_fini(&def);
			close(fd);
		}
	}
	if (!err && unlinkat(s->dir, file, 0))
		err = msg_fail(msg, ERR_IO, "cannot remove %s/%s: %s", s->folder, file,
			       strerror(errno));
	return err;
}

int snapshots_unname(struct snapshots *s, const struct snapshot *old, struct msg *msg)
{
	char to[sizeof(old->file)];
	int err = 0;

	for (unsigned i = 0; i < s->n && !err; i++) {
		struct snapshot child = s->s[i];

		if (child.parent != old->number)
			continue;
		child.parent = old->parent;
		name_file(&child, SNAPSHOT_STATE, to, sizeof(to));
		err = rename_in(s, child.file, to, msg);
	}
	name_file(old, TMP, to, sizeof(to));
	if (!err)
		err = rename_in(s, old->file, to, msg);
	if (!err && s->current == old->number)
		err = snapshots_set_current(s, old->parent, msg);
	return err ? err : sync_folder(s, msg);
}

int snapshots_remove(struct snapshots *s, const struct snapshot *old, int sock, struct msg *msg)
{
	char file[sizeof(old->file)];

	name_file(old, TMP, file, sizeof(file));
	return remove_file(s, file, old->tag, sock, msg);
}

static int revert(struct snapshots *s, const struct snapshot *to, int fd, struct msg *msg)
{
	struct vm_def def;
	int err = definition(fd, &def, msg);

	if (!err)
		err = on_disks(&def, BLOCK_SNAPSHOT_FIND, to->tag, msg);
	if (!err)
		err = state_mark(fd, true, msg);
	if (!err)
		err = on_disks(&def, BLOCK_SNAPSHOT_REVERT, to->tag, msg);
	if (!err)
		err = state_mark(fd, false, msg);
	vm_def_fini(&def);
	return err ? err : snapshots_set_current(s, to->number, msg);
}

int snapshots_open_state(const struct snapshots *s, const struct snapshot *of, struct msg *msg)
{
	int fd = openat(s->dir, of->file, O_RDWR | O_CLOEXEC);

	return fd < 0 ? msg_fail(msg, ERR_ACCES, "%s/%s: %s", s->folder, of->file, strerror(errno))
		      : fd;
}

int snapshots_revert(struct snapshots *s, const struct snapshot *to, struct msg *msg)
{
	int fd = snapshots_open_state(s, to, msg), err;

	if (fd < 0)
		return fd;
	err = revert(s, to, fd, msg);
	close(fd);
	return err;
}

/* ---- what was interrupted -------------------------------------------------------------------------- */

static int recover_tmp(struct snapshots *s, int sock, struct msg *msg)
{
	int fd = fcntl(s->dir, F_DUPFD_CLOEXEC, 0), err = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	if (!d)
		return msg_fail(msg, ERR_NOMEM, "%s: %s", s->folder, strerror(errno));
	rewinddir(d);
	while ((e = readdir(d)) && !err) {
		unsigned number, parent;
		char tag[SNAPSHOT_TAG];

		if (!ends(e->d_name, TMP))
			continue;
		if (sscanf(e->d_name, "%9u.%9u.%22[a-z0-9-].", &number, &parent, tag) == 3)
			err = remove_file(s, e->d_name, tag, sock, msg);
	}
	closedir(d);
	return err;
}

static int recover_mark(struct snapshots *s, const struct snapshot *of, struct msg *msg)
{
	int fd = snapshots_open_state(s, of, msg), err = 0;

	if (fd < 0)
		return fd;
	if (state_marked(fd)) {
		err = revert(s, of, fd, msg);
		if (err)
			msg_prefix(msg, "the disks are half on their way back to a snapshot");
		else
			fprintf(stderr,
				"vigia: going back to snapshot %s had been interrupted: the disks "
				"are as they were then\n",
				of->name);
	}
	close(fd);
	return err;
}

int snapshots_recover(struct snapshots *s, int sock, struct msg *msg)
{
	int err = 0;

	for (unsigned i = 0; s->dir >= 0 && sock < 0 && i < s->n && !err; i++)
		err = recover_mark(s, &s->s[i], msg);
	return s->dir < 0 || err ? err : recover_tmp(s, sock, msg);
}

static int recover_marks(const char *vm, struct msg *msg)
{
	struct snapshots s;
	int err = snapshots_open(vm, false, &s, msg);

	for (unsigned i = 0; !err && i < s.n; i++)
		err = recover_mark(&s, &s.s[i], msg);
	snapshots_close(&s);
	return err;
}

/* The disks that a VM is about to write to */
struct disks {
	unsigned n;
	struct stat sb[DEF_MAX_DISKS];
};

static void disks_of(const struct vm_def *def, struct disks *d)
{
	*d = (struct disks){0};
	for (unsigned i = 0; i < def->n_disks; i++)
		if (def->disk[i].path && !stat(def->disk[i].path, &d->sb[d->n]))
			d->n++;
}

/* Is a file that has the mark of a VM with one of these disks? Goes to that VM's folder. */
static bool concerns(int fd, const struct disks *ours)
{
	struct vm_def def;
	struct disks theirs;
	struct msg ignored;
	bool any = false;

	if (!definition(fd, &def, &ignored)) {
		disks_of(&def, &theirs);
		for (unsigned i = 0; i < ours->n; i++)
			for (unsigned j = 0; j < theirs.n; j++)
				any |= ours->sb[i].st_dev == theirs.sb[j].st_dev &&
				       ours->sb[i].st_ino == theirs.sb[j].st_ino;
	}
	vm_def_fini(&def);
	return any;
}

/* Without the folder's lock, which somebody may hold for long. */
static bool folder_concerns(int dir, const struct disks *ours)
{
	int fd = fcntl(dir, F_DUPFD_CLOEXEC, 0);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	bool any = false;

	while (d && !any && (e = readdir(d))) {
		struct snapshot s;
		int file = parse(e->d_name, &s) ? openat(dir, e->d_name, O_RDONLY | O_CLOEXEC) : -1;

		if (file < 0)
			continue;
		any = state_marked(file) && concerns(file, ours);
		close(file);
	}
	if (d)
		closedir(d);
	return any;
}

/* Another VM's, unless it runs and sees to it. */
static int recover_other(const char *vm, int rundir, struct msg *msg)
{
	struct msg ignored;
	int err, lock = rundir < 0 ? -1 : rundir_claim(rundir, vm, 0, &ignored);

	if (lock < 0 && rundir >= 0)
		return 0;
	err = recover_marks(vm, msg);
	if (lock >= 0)
		rundir_release(rundir, vm, lock);
	return err;
}

static int recover_others(DIR *d, const struct vm_def *def, int rundir, struct msg *msg)
{
	const struct dirent *e;
	struct disks ours;
	int err = 0;

	disks_of(def, &ours);
	while (ours.n && !err && (e = readdir(d))) {
		size_t len = strlen(e->d_name);
		char vm[64];
		int dir;

		if (!ends(e->d_name, FOLDER) || len - strlen(FOLDER) >= sizeof(vm))
			continue;
		snprintf(vm, sizeof(vm), "%.*s", (int)(len - strlen(FOLDER)), e->d_name);
		if (!strcmp(vm, def->name) || !vm_name_valid(vm))
			continue;
		dir = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dir < 0)
			continue;
		if (folder_concerns(dir, &ours))
			err = recover_other(vm, rundir, msg);
		close(dir);
	}
	return err;
}

int snapshots_recover_for(const struct vm_def *def, int rundir, struct msg *msg)
{
	char *cwd = getcwd(NULL, 0), path[4096];
	struct msg ignored;
	DIR *d = NULL;
	int err = 0;

	if (!watch_path(def->name, false, path, sizeof(path), &ignored) && strrchr(path, '/')) {
		*strrchr(path, '/') = 0;
		d = opendir(path);
	}
	if (d) {
		err = recover_marks(def->name, msg);
		/* definitions are looked at from their folders; ours are from here */
		if (!err && cwd && !chdir(cwd))
			err = recover_others(d, def, rundir, msg);
		closedir(d);
	}
	if (!err && cwd && chdir(cwd))
		err = msg_fail(msg, ERR_NOENT, "%s: %s", cwd, strerror(errno));
	free(cwd);
	return err;
}
