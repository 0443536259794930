/* SPDX-License-Identifier: ISC */
/* runner.h: runs one VM in this process, from its definition to its end. */
#ifndef CTL_RUNNER_H
#define CTL_RUNNER_H

#include "ctl/def.h"

struct x86_model;

/* Exit statuses of vigia run (and of all commands: EXIT_SETUP for what cannot be done). */
enum exit_status {
	EXIT_OK = 0,      /* the guest powered off, or was stopped as asked */
	EXIT_SETUP = 1,   /* usage or set-up error */
	EXIT_CRASHED = 2, /* triple fault, panic device */
	EXIT_HOST = 3,    /* the host or the engine failed */
};

/* One VM a process, on the main thread, which must be the only one: signals are blocked here. A
 * message is printed for whatever went wrong. Gives the exit status. */
struct state_file;
struct runner_start {
	int argc;                         /* how it was started; argv[0] is the command */
	char **argv;                      /* for a saved state */
	const struct state_file *restore; /* NULL: boot */
	bool may_lack;                    /* struct vm */
};
int runner_main(const struct vm_def *def, const struct runner_start *start);

/* The processor model that the definition names, or the usual one. NULL: there is none of that name; msg says which there are. */
const struct x86_model *runner_model(const struct vm_def *def, struct msg *msg);

#endif
