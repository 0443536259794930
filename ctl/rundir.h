/* SPDX-License-Identifier: ISC */
/* rundir.h: the folder where running VMs have their control sockets. Hosted. */
#ifndef CTL_RUNDIR_H
#define CTL_RUNDIR_H

#include "ctl/msg.h"

#define RUNDIR_NAME_MAX 64

/* Opens (create: and makes) $XDG_RUNTIME_DIR/vigia, /run/user/UID/vigia or /tmp/vigia-UID: a folder
 * of ours that nobody else may enter. Gives a descriptor, or ERR_*; ERR_NOENT without a message
 * where create is false and there is none. path: for messages. */
int rundir_open(bool create, char *path, size_t size, struct msg *msg);

/* The name is ours until rundir_release() or this process's end: NAME.lock. ERR_EXIST where a VM of that name runs.
 * One that is ending is waited for, as its disks may still be written to: at most ms, then ERR_BUSY. Gives a
 * descriptor. */
int rundir_claim(int dir, const char *name, unsigned ms, struct msg *msg);
void rundir_release(int dir, const char *name, int lock);
/* Listens on NAME.sock. Takes over a socket that a dead process left; ERR_EXIST where a VM of that
 * name runs. Gives the descriptor. */
int rundir_listen(int dir, const char *name, struct msg *msg);
/* Connects to NAME.sock; ERR_NOENT where no such VM runs. Gives a descriptor. */
int rundir_connect(int dir, const char *name, struct msg *msg);
void rundir_remove(int dir, const char *name);
/* Removes NAME.sock if nobody listens there, and NAME.lock if nobody has it. */
void rundir_sweep(int dir, const char *name);

/* Calls fn for the name of each socket, in alphabetical order. */
int rundir_each(int dir, void (*fn)(void *arg, const char *name), void *arg);

/* True where the other end of a connected socket is a process of this user or root. */
bool rundir_peer_trusted(int fd);

#endif
