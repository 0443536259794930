/* SPDX-License-Identifier: ISC */
/* dev.h: what every device has in common. */
#ifndef VM_DEV_H
#define VM_DEV_H

#include "base/def.h"
#include "base/err.h"

struct dev;
struct state_stream; /* vm/stream.h, to come with saved state */

struct dev_class {
	const char *name;
	void (*reset)(struct dev *dev); /* machine reset; vCPUs are stopped */
	int (*save)(struct dev *dev, struct state_stream *st);
	int (*load)(struct dev *dev, struct state_stream *st);
	void (*destroy)(struct dev *dev); /* frees; back ends are the board's */
};

/* First member of each device's own struct; linked to its VM by vm_add_dev(). */
struct dev {
	const struct dev_class *cls;
	struct vm *vm;
	struct dev *next;
};

#endif
