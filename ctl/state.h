/* SPDX-License-Identifier: ISC */
/* state.h: files of saved VMs (doc/state-format.md). Hosted, main thread. */
#ifndef CTL_STATE_H
#define CTL_STATE_H

#include "ctl/msg.h"

struct vm;
struct x86_kind;
struct vm_def;

/* How a VM was started: what `vigia run` was given, and where. */
struct state_origin {
	int argc;
	char **argv; /* argv[0] is the command's name */
	char *cwd;
};

/* The memory of a VM that runs, written ahead to an empty file, so that once it is frozen only what it has changed
 * meanwhile is left for state_write(). *out: NULL where the engine cannot say what that is. */
struct state_ahead;
int state_ahead(int fd, struct vm *vm, struct state_ahead **out, struct msg *msg);
void state_ahead_end(struct state_ahead *a); /* in any case; NULL: nothing */

/* Writes a frozen VM to an empty file and flushes it: everything but the seal. ahead: what was written of it before;
 * NULL: nothing. compress: its memory, which is then read before it runs again, and not written ahead. *end: where the
 * seal goes. */
int state_write(int fd, struct vm *vm, const struct state_origin *origin, bool compress,
		struct state_ahead *ahead, uint64_t *end, struct msg *msg);

/* Writes the last sections, once the VM has ended: the disks as they are then, so that a restore
 * notices when somebody has used them meanwhile. kept: the VM goes on. */
int state_seal(int fd, uint64_t at, bool kept, struct msg *msg);

/* A file that is being restored */
struct state_file {
	int fd;
	char name[64];
	struct state_origin origin; /* the file's */
};
/* Opens and checks all of it but the memory's contents; verify: these too. Goes to the folder where
 * the VM was started. */
int state_file_open(const char *path, bool verify, struct state_file *out, struct msg *msg);
/* The same with a file that is open, which stays the caller's; goes nowhere. */
int state_file_from(int fd, struct state_file *out, struct msg *msg);
void state_file_close(struct state_file *f);
/* The kind of its processors and the rate of its TSC, for a VM to be created with; an error where this host cannot be
 * one. */
int state_file_kind(const struct state_file *f, struct x86_kind *out, uint64_t *tsc_hz,
		    struct msg *msg);
/* Is it of a machine like this one? */
int state_file_fits(const struct state_file *f, struct vm *vm, struct msg *msg);
/* Have its disks been changed since? */
int state_file_check_disks(const struct state_file *f, const struct vm_def *def, struct msg *msg);
/* Into a VM that was just created, or one that is frozen, which becomes another then: memory is mapped
 * from the file and read when it is used, or decompressed now. */
int state_file_load(const struct state_file *f, struct vm *vm, struct msg *msg);

/* What a file holds, for a host that has none: the sections as they lie in it, and the memory, unpacked. */
struct state_parts {
	void *sections;
	size_t len;
	uint8_t *ram;
	uint64_t ram_size;
};
int state_file_parts(const struct state_file *f, struct state_parts *out, struct msg *msg);
void state_parts_free(struct state_parts *p);

/* Of a file that need not be complete: how its VM was started. */
int state_read_origin(int fd, struct state_origin *out, struct msg *msg);
void state_free_origin(struct state_origin *o);

/* A mark in the file: its snapshot's disks are being made what they were. */
int state_mark(int fd, bool set, struct msg *msg);
bool state_marked(int fd);

#endif
