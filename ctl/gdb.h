/* SPDX-License-Identifier: ISC */
/* gdb.h: a server for gdb ("target remote"), as an option of vigia run. One client at a time. Hosted.
 *
 * Everything runs on the main thread, from its poll loop: so requests on the control socket and the
 * debugger never get in each other's way. */
#ifndef CTL_GDB_H
#define CTL_GDB_H

#include <jansson.h>
#include <poll.h>

#include "ctl/gdb_packet.h"
#include "ctl/gdb_regs.h"
#include "ctl/msg.h"
#include "vm/vm.h"

/* What the server wants from its owner. */
struct gdb_ops {
	void (*note)(void *ctx, const char *text); /* for the history */
	void (*kill)(void *ctx);                   /* end the VM */
};

struct gdb_stats {
	uint64_t sessions, packets, malformed;
};

struct gdb {
	const struct gdb_ops *ops;
	void *ctx;
	struct vm *vm;
	struct debug *debug;
	int listen_fd, fd; /* -1: none */
	int event_fd;      /* a vCPU has stopped */
	bool local;        /* listens on a Unix socket: peers are checked */
	char path[108];    /* of that socket */
	struct gdb_stats stats;

	/* the session */
	bool attached; /* it has said something: the guest is ours */
	bool running;  /* the client waits for a stop */
	bool no_ack;
	bool no_ack_next; /* from the next packet on */
	bool by_phys;     /* addresses of memory packets are physical */
	bool closing;
	unsigned sstep;   /* GDB_SSTEP_* */
	unsigned cpu;     /* of Hg */
	int cont_cpu;     /* of Hc; -1: all */
	unsigned mon_cpu; /* of "monitor" */
	int want_arch;    /* enum gdb_arch, or -1: by the guest's mode */
	struct gdb_form form;
	unsigned stop_cpu; /* who stopped last, and why */
	int stop_signal;
	struct debug_stop stop;
	struct gdb_in in;
	struct gdb_out out; /* the last packet, kept for a retransmission */
	size_t sent;        /* bytes of it */
	bool replied;       /* to the packet at hand, or it wants no reply */
	char xml[GDB_XML_MAX];
	size_t xml_len;
};

#define GDB_SSTEP_ENABLE BIT(0)
#define GDB_SSTEP_NO_IRQ BIT(1)

#define GDB_POLL_MAX 3

/* spec: unix:PATH or tcp:[HOST]:PORT, behind it perhaps ,arch=auto|x86-64|i386|i8086. Listens. */
int gdb_open(struct gdb *g, const char *spec, struct vm *vm, const struct gdb_ops *ops, void *ctx,
	     struct msg *msg);
/* Before the vCPUs start: they wait for a debugger. */
void gdb_hold(struct gdb *g);
/* The VM has ended: a client is told how. */
void gdb_ended(struct gdb *g, int status);
void gdb_close(struct gdb *g);
/* A stop without a debugger, or with one that is lost, ends. False: there is none. */
bool gdb_release(struct gdb *g);

unsigned gdb_poll(const struct gdb *g, struct pollfd *pfd);
void gdb_serve(struct gdb *g, const struct pollfd *pfd, unsigned n);
void gdb_report(const struct gdb *g, json_t *out);

/* For tests: a client that is connected already. */
int gdb_init(struct gdb *g, struct vm *vm, const struct gdb_ops *ops, void *ctx) attr_must_check;
void gdb_take_client(struct gdb *g, int take_fd);

/* gdb_monitor.c: a line of "monitor"; the answer is put in hex. */
void gdb_monitor(struct gdb *g, const char *line, struct gdb_out *out);

#endif
