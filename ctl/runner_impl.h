/* SPDX-License-Identifier: ISC */
/* runner_impl.h: what runner.c, which has the VM's life, and requests.c share. The main thread's. */
#ifndef CTL_RUNNER_IMPL_H
#define CTL_RUNNER_IMPL_H

#include "ctl/backends.h"
#include "ctl/control.h"
#include "ctl/gdb.h"
#include "ctl/report.h"
#include "ctl/runner.h"
#include "ctl/state.h"
#include "ctl/watch.h"
#include "vm/vm.h"

struct runner {
	const struct vm_def *def;
	struct state_origin origin;
	bool origin_owned;                /* argv is a copy */
	bool may_lack;                    /* struct vm */
	const struct state_file *restore; /* NULL: boot */
	struct vm *vm;
	struct plat_loop *loop; /* the back ends': outlives the VM's own */
	struct backends be;
	struct watch watch;
	struct control control;
	struct gdb gdb; /* .debug NULL: not asked for */
	struct report_source src;
	int rundir;    /* -1: no control socket */
	int name_lock; /* rundir_claim() */
	int signal_fd;
	int ended_fd;  /* eventfd, written once the VM has ended */
	int button_fd; /* eventfd, written for each press of the power button */
	struct chr_stdio_key keys[2];
	uint64_t stop_deadline; /* 0: nobody has asked to stop */
	uint64_t
		press_again; /* the guest slept when it was asked to: once it is awake. 0: it did not */
	uint64_t release_at; /* 0: done */
	bool user_paused;
};

void runner_stop_hard(struct runner *r);
/* Presses the power button and gives the guest time; the second time ends it. */
void runner_stop(struct runner *r, unsigned seconds);
/* Nobody is told any more that this VM runs. */
void runner_leave_list(struct runner *r);

/* requests.c: ctx is the runner. */
extern const struct control_ops runner_requests;

#endif
