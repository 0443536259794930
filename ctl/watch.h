/* SPDX-License-Identifier: ISC */
/* watch.h: history and policy of one VM in this process: the monitor's core, the writer, the console's
 * tap, and rules that are changed while it runs. Hosted. */
#ifndef CTL_WATCH_H
#define CTL_WATCH_H

#include <stdio.h>

#include "chr/chr.h"
#include "ctl/def.h"
#include "ctl/pictures.h"
#include "ctl/recorder.h"
#include "ctl/redirect.h"
#include "history/history.h"
#include "monitor/core.h"
#include "net/net.h"
#include "vm/vm.h"

#define WATCH_POLICY_MAX (4 * 1024 * 1024) /* bytes of rules */

struct watch_tap {
	struct chr chr; /* a part of the console's mux */
	struct mon_core *core;
	struct plat_mutex lock; /* the rest */
	size_t n;
	char buf[RING_TEXT_MAX];
};

#define WATCH_DENIED 32

/* Devices that rules unplug while the VM runs */
enum watch_kind { KIND_DISK, KIND_NET, KIND_RNG, WATCH_KINDS };

struct watch_denied {
	char name[16];
	uint32_t line;
};

struct watch {
	struct mon_core core;
	struct recorder rec;
	struct redirects redirects;
	struct vm *vm;        /* NULL: there is none, or no more */
	struct policy *first; /* from watch_prepare() to watch_open() */
	char *first_text;
	struct watch_tap tap;
	struct pictures pictures;
	struct chr *mux;                          /* NULL: the tap is not attached */
	struct history *history;                  /* NULL: none */
	char path[4096];                          /* of the history */
	struct watch_denied denied[WATCH_DENIED]; /* devices, for the history to tell */
	unsigned n_denied;
	/* what may be unplugged: those that are there */
	struct net *net[DEF_MAX_NETS];
	unsigned n_nets, n_disks;
	bool rng;
	uint64_t unplugged[WATCH_KINDS]; /* a bit for each */
	struct policy *retired;          /* until the next one, or the end */
	char *policy_text;               /* in force; NULL: none */
	char *upload;                    /* of a new policy, in parts */
	size_t upload_len;
};

/* Reads the rules that the VM starts with. Before there is a VM. */
int watch_prepare(struct watch *w, const struct vm_def *def, struct msg *msg);
/* As much memory as the rules let a VM have. */
uint64_t watch_memory(const struct watch *w, uint64_t wanted);
/* May the guest see this device? NULL rules: yes. */
bool watch_device(struct watch *w, const char *kind, unsigned index);
/* Everything that opens files. mux: the console. screen: may have no picture. */
int watch_open(struct watch *w, struct vm *vm, const struct vm_def *def, struct chr *mux,
	       struct display *screen, struct plat_loop *loop, struct msg *msg);
/* The vCPUs' state is somewhere else now: another engine has it. They do not run. */
void watch_places(struct watch *w);
/* All disks and nets, whether they are there or not. Before watch_start(). */
void watch_devices(struct watch *w, struct net *const *net, unsigned n_nets, unsigned n_disks,
		   bool rng);
int watch_start(struct watch *w, struct msg *msg); /* before the vCPUs */
/* The devices have another state, in which cables may be where they are not now. */
void watch_cables(struct watch *w);
/* The VM has gone, the console not yet. */
void watch_detach(struct watch *w);
/* Back ends have gone too. Writes the rest. */
void watch_close(struct watch *w);

/* Records; fmt as for printf. Any thread of ours (not guest threads). */
void watch_note(struct watch *w, enum mon_class cls, uint8_t op, int result, const char *fmt, ...)
	attr_printf(5, 6);
/* The same, of what a rule has decided: class, op, value, result, verdict and rule are ev's. */
void watch_note_rule(struct watch *w, const struct mon_event *ev, const char *fmt, ...)
	attr_printf(3, 4);
/* Takes parts of a policy's text; the last one puts all in force. */
int watch_policy_part(struct watch *w, const char *text, bool last, struct msg *msg);
/* "class=full,disk=lossless,port=always,mmio=off" */
int watch_record(struct watch *w, const char *spec, struct msg *msg);

/* Where the history of a VM of that name is. ERR_NOENT with a message where there is no home. */
int watch_path(const char *name, bool create, char *path, size_t size, struct msg *msg);
/* For who reads: a VM's, else a file of that name. */
int watch_find(const char *name, char *path, size_t size, struct msg *msg);
/* Compiles a file with its includes, for messages: "FILE:LINE:COLUMN: text". bare: for a bare machine. */
int watch_compile(const char *file, bool bare, struct policy **out, char **text, struct msg *msg);

#endif
