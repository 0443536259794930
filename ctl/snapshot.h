/* SPDX-License-Identifier: ISC */
/* snapshot.h: snapshots of a VM: its state as a file (state.h) in a folder of the VM's, and a snapshot
 * within each of its writable disks, which bears the file's tag. The file's name says all:
 *
 *	NUMBER.PARENT.TAG.NAME.state	a snapshot; PARENT 0: none
 *	….tmp				one that is being made or deleted: what is of it goes
 *
 * So a rename makes it and unmakes it. Going back puts a mark into the file until all disks are
 * what they were; whoever finds the mark, and the VM not running, carries it on. */
#ifndef CTL_SNAPSHOT_H
#define CTL_SNAPSHOT_H

#include <time.h>

#include "block/block.h"
#include "ctl/def.h"

struct vm;
struct backends;
struct state_origin;

#define SNAPSHOT_TAG   24
#define SNAPSHOTS_MAX  1024
#define SNAPSHOT_STATE ".state"

struct snapshot {
	unsigned number, parent; /* parent 0, or one that is not there: a root */
	char tag[SNAPSHOT_TAG];
	char name[64];
	char file[200];
	uint64_t bytes; /* that it takes on the host */
	time_t when;
};

struct snapshots {
	char vm[64];
	char folder[4200];
	int dir;             /* locked; -1: there is no folder */
	unsigned n, current; /* current: whose state the VM's came from; 0: none */
	struct snapshot *s;  /* by number */
};

/* Looks into the VM's folder, which nobody else then does until it is closed. */
int snapshots_open(const char *vm, bool create, struct snapshots *out, struct msg *msg);
void snapshots_close(struct snapshots *s);
/* By name or number; NULL with msg. */
const struct snapshot *snapshots_find(const struct snapshots *s, const char *which,
				      struct msg *msg);
/* Its file, to be written to. Gives a descriptor. */
int snapshots_open_state(const struct snapshots *s, const struct snapshot *of, struct msg *msg);
int snapshots_set_current(struct snapshots *s, unsigned number, struct msg *msg);
/* A file for a new one, not yet there. name: NULL: any. Gives a descriptor. */
int snapshots_begin(struct snapshots *s, const char *name, struct snapshot *out, struct msg *msg);
int snapshots_commit(struct snapshots *s, const struct snapshot *new, struct msg *msg);
/* Hangs its children on its parent, and takes its name away. */
int snapshots_unname(struct snapshots *s, const struct snapshot *old, struct msg *msg);
/* What was interrupted. sock: of the VM, or -1: it does not run. */
int snapshots_recover(struct snapshots *s, int sock, struct msg *msg);
/* Before a VM starts: what was interrupted of its own snapshots, and of those of VMs that do not run, whatever
 * their names, which have a disk of its. rundir: as rundir_open() gives it, or -1. */
int snapshots_recover_for(const struct vm_def *def, int rundir, struct msg *msg);
/* Deletes one without a name. */
int snapshots_remove(struct snapshots *s, const struct snapshot *old, int sock, struct msg *msg);
/* All disks of a VM that does not run become what they were. */
int snapshots_revert(struct snapshots *s, const struct snapshot *to, struct msg *msg);

/* ---- in the VM's process (snapshot_vm.c) ----------------------------------------------------- */

struct snapshot_vm {
	struct vm *vm;
	struct backends *be;
	const struct vm_def *def;
	const struct state_origin *origin;
	bool paused; /* stays so */
};

/* fd: an empty file. */
int snapshot_vm_save(const struct snapshot_vm *v, const char *tag, int fd, bool compress,
		     uint64_t *end, struct msg *msg);
/* fd: the state. Where it fails late, the VM has ended. */
int snapshot_vm_restore(const struct snapshot_vm *v, const char *tag, int fd, struct msg *msg);
int snapshot_vm_delete(const struct snapshot_vm *v, const char *tag, struct msg *msg);

#endif
