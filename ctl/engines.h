/* SPDX-License-Identifier: ISC */
/* engines.h: the engines there are, and which to take. Hosted. */
#ifndef CTL_ENGINES_H
#define CTL_ENGINES_H

#include "ctl/msg.h"
#include "vm/vcpu_ops.h"

struct engine_row {
	const char *name;
	const struct engine_ops *ops; /* NULL: not in this version */
	int (*probe)(struct engine_probe *out);
	const char *what; /* one phrase */
};
/* In order of preference for "auto". */
extern const struct engine_row engine_table[];
extern const unsigned engine_count;

/* name: NULL, "auto" or an engine's name. */
int engine_choose(const char *name, const struct engine_ops **out, struct msg *msg);

struct vm;
/* A profile of where the time goes, and the environment's wishes for tests, VIGIA_SOFT_*, to an engine. */
int engine_tune(struct vm *vm, bool profile, struct msg *msg);

#endif
