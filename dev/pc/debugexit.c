/* SPDX-License-Identifier: ISC */
/* debugexit.c: ends the VM with a status that the guest gives. Entered by any vCPU thread. */
#include "dev/pc/debugexit.h"

#include "vm/dev.h"
#include "vm/vm.h"

struct debugexit {
	struct dev dev;
};

static uint64_t exit_read(void *dev, uint64_t off, unsigned size)
{
	return 0;
}

static void exit_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct debugexit *d = dev;

	vm_stop(d->dev.vm, VM_EXITED, (int)((uint32_t)value << 1 | 1));
}

static const struct bus_region exit_region = {
	.name = "debugexit",
	.len = 4,
	.min = 1,
	.max = 4,
	.read = exit_read,
	.write = exit_write,
};

static void debugexit_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct debugexit, dev));
}

static const struct dev_class debugexit_class = {
	.name = "debugexit",
	.stateless = true,
	.destroy = debugexit_destroy,
};

int debugexit_create(struct vm *vm, const struct debugexit_wiring *w, struct debugexit **out)
{
	struct debugexit *d = plat_alloc(sizeof(*d));
	int err;

	if (!d)
		return err_here(ERR_NOMEM);
	err = bus_map_at(&vm->pio, w->base, &exit_region, d);
	if (err) {
		plat_free(d);
		return err;
	}
	vm_add_dev(vm, &d->dev, &debugexit_class);
	*out = d;
	return 0;
}
