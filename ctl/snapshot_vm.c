/* SPDX-License-Identifier: ISC */
/* snapshot_vm.c: snapshots, in the process of the VM, which may open no files. Main thread.
 *
 * While one is made or gone back to, the VM is frozen: nothing is in flight, so that memory and disks are
 * of one moment. */
#include "ctl/snapshot.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/backends.h"
#include "ctl/state.h"
#include "ctl/watch.h"
#include "vm/save.h"

#define TEXT 300

static int freeze(const struct snapshot_vm *v, const char *why, struct msg *msg)
{
	int err = vm_freeze(v->vm, why);

	return err ? msg_fail(msg, err, "the VM does not come to rest: %s: see vigia list",
			      err_str(err))
		   : 0;
}

/* The disks that a snapshot has a part in. */
static bool has_part(const struct snapshot_vm *v, unsigned i)
{
	return v->be->disk[i] && !v->be->disk[i]->read_only;
}

/* op: FIND: all are to have it; SAVE: none. */
static int check_disk(const struct snapshot_vm *v, unsigned i, const struct block_snapshot *s,
		      bool want, struct msg *msg)
{
	const char *path = v->def->disk[i].path;
	char why[TEXT];
	int err;

	if (v->def->disk[i].snapshot)
		return msg_fail(msg, ERR_INVAL,
				"what is written to the disk %s is thrown away at the end: start "
				"the VM without its \"snapshot\"",
				path);
	err = block_snapshot(v->be->disk[i], s, why, sizeof(why));
	if (err == ERR_NOSYS)
		return msg_fail(msg, err,
				"the disk %s is a raw image, which has no snapshots: stop the VM, "
				"vigia image convert %s NEW.qcow2, and start it with NEW.qcow2",
				path, path);
	if (want && err)
		return msg_fail(msg, err, "the disk %s %s", path, why);
	if (!want && err != ERR_NOENT)
		return msg_fail(msg, err ? err : ERR_EXIST, "the disk %s %s", path,
				err ? why : "has this snapshot already");
	return 0;
}

static int check_disks(const struct snapshot_vm *v, const char *tag, bool want, struct msg *msg)
{
	const struct block_snapshot s = {.op = BLOCK_SNAPSHOT_FIND, .name = tag};
	int err = 0;

	for (unsigned i = 0; i < v->be->n_disks && !err; i++)
		if (has_part(v, i))
			err = check_disk(v, i, &s, want, msg);
	for (unsigned i = 0; i < DEF_MAX_FLOPPIES && !err; i++)
		if (v->be->floppy[i] && !v->be->floppy[i]->read_only)
			err = msg_fail(msg, ERR_INVAL,
				       "the floppy disk in fd%u is a raw image that is written to: "
				       "vigia eject %s fd%u, or make the file read-only",
				       i, v->def->name, i);
	return err;
}

static int disk_op(const struct snapshot_vm *v, unsigned i, enum block_snapshot_op op,
		   const char *tag, struct msg *msg)
{
	const struct block_snapshot s = {.op = op, .name = tag, .time = (uint64_t)time(NULL)};
	char why[TEXT];
	int err = block_snapshot(v->be->disk[i], &s, why, sizeof(why));

	return err ? msg_fail(msg, err, "the disk %s %s", v->def->disk[i].path, why) : 0;
}

/* ---- saving ------------------------------------------------------------------------------------------ */

static int save_disks(const struct snapshot_vm *v, const char *tag, struct msg *msg)
{
	struct msg ignored;
	unsigned i;
	int err = 0;

	for (i = 0; i < v->be->n_disks; i++) {
		err = has_part(v, i) ? disk_op(v, i, BLOCK_SNAPSHOT_SAVE, tag, msg) : 0;
		if (err)
			break;
	}
	while (err && i--)
		if (has_part(v, i) && disk_op(v, i, BLOCK_SNAPSHOT_DELETE, tag, &ignored))
			plat_log(LOG_WARN, "%s", ignored.text);
	return err;
}

int snapshot_vm_save(const struct snapshot_vm *v, const char *tag, int fd, bool compress,
		     uint64_t *end, struct msg *msg)
{
	struct state_ahead *ahead = NULL;
	int err = check_disks(v, tag, false, msg);

	if (!err && !compress && !v->paused)
		err = state_ahead(fd, v->vm, &ahead, msg);
	if (!err)
		err = freeze(v, "a snapshot is taken", msg);
	if (err) {
		state_ahead_end(ahead);
		return err;
	}
	err = state_write(fd, v->vm, v->origin, compress, ahead, end, msg);
	state_ahead_end(ahead);
	/* What is in a disk only counts with a file that says which disks there are. */
	if (!err && fdatasync(fd))
		err = msg_fail(msg, ERR_IO, "cannot write: %s", strerror(errno));
	if (!err)
		err = save_disks(v, tag, msg);
	vm_thaw(v->vm, true);
	return err;
}

int snapshot_vm_delete(const struct snapshot_vm *v, const char *tag, struct msg *msg)
{
	int err = freeze(v, "a snapshot is deleted", msg);

	if (err)
		return err;
	for (unsigned i = 0; i < v->be->n_disks; i++) {
		int e = has_part(v, i) ? disk_op(v, i, BLOCK_SNAPSHOT_DELETE, tag, msg) : 0;

		if (e && e != ERR_NOENT && e != ERR_NOSYS)
			err = e;
	}
	vm_thaw(v->vm, true);
	return err;
}

/* ---- going back -------------------------------------------------------------------------------------- */

/* A machine that was put together in another way cannot become this one. */
static int check_origin(const struct snapshot_vm *v, const struct state_origin *was,
			struct msg *msg)
{
	bool same = was->argc == v->origin->argc;

	for (int i = 1; i < was->argc && same; i++)
		same = !strcmp(was->argv[i], v->origin->argv[i]);
	if (same && !strcmp(was->cwd, v->origin->cwd ? v->origin->cwd : ""))
		return 0;
	return msg_fail(msg, ERR_INVAL,
			"the VM was started with other options then, or has another disc in a "
			"drive now: stop it, and vigia snapshot restore starts it as it was");
}

static int check_restore(const struct snapshot_vm *v, const char *tag, const struct state_file *f,
			 struct msg *msg)
{
	int err = check_origin(v, &f->origin, msg);

	if (!err)
		err = state_file_fits(f, v->vm, msg);
	return err ? err : check_disks(v, tag, true, msg);
}

static int revert_disks(const struct snapshot_vm *v, const char *tag, int fd, struct msg *msg)
{
	int err = state_mark(fd, true, msg);

	for (unsigned i = 0; i < v->be->n_disks && !err; i++)
		if (has_part(v, i))
			err = disk_op(v, i, BLOCK_SNAPSHOT_REVERT, tag, msg);
	return err ? err : state_mark(fd, false, msg);
}

int snapshot_vm_restore(const struct snapshot_vm *v, const char *tag, int fd, struct msg *msg)
{
	struct state_file f;
	int err = state_file_from(fd, &f, msg);

	if (err)
		return err;
	err = check_restore(v, tag, &f, msg);
	if (!err)
		err = freeze(v, "goes back to a snapshot", msg);
	if (err) {
		state_file_close(&f);
		return err;
	}
	err = revert_disks(v, tag, fd, msg);
	if (!err) {
		vm_state_clear(v->vm);
		err = state_file_load(&f, v->vm, msg);
		watch_cables(v->be->watch);
	}
	state_file_close(&f);
	if (err) /* neither the one nor the other any more; the mark says what to do with the disks */
		vm_stop(v->vm, VM_FAILED, 0);
	vm_thaw(v->vm, true);
	return err;
}
