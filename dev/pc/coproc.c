/* SPDX-License-Identifier: ISC */
/* coproc.c: the numeric coprocessor's error (82371AB, 290562, "coprocessor error register"; SDM vol. 1,
 * 8.7.2). FERR# of a processor with an error that CR0.NE does not report is IRQ 13. The handler writes to
 * port F0H: the interrupt goes away, and IGNNE# lets the processor pass over the error until it is cleared.
 *
 * Entered by any vCPU thread; all state is the processors' and the line's. */
#include "dev/pc/coproc.h"

#include "vm/dev.h"
#include "vm/vm.h"

#define COPROC_ERR 0xf0u

struct coproc {
	struct dev dev;
	struct irq_line irq;
	struct vm *vm;
};

static uint64_t coproc_read(void *dev, int vcpu, uint64_t off, unsigned size)
{
	return 0xff;
}

static void coproc_write(void *dev, int vcpu, uint64_t off, unsigned size, uint64_t value)
{
	struct coproc *c = dev;
	struct x86_state *s = vcpu < 0 ? NULL : c->vm->vcpu[vcpu]->state;

	irq_set(&c->irq, false);
	if (s)
		s->ignne = !(s->cr0 & CR0_NE) && x86_x87_error(s);
}

static const struct bus_region coproc_region = {
	.name = "coproc",
	.base = COPROC_ERR,
	.len = 1,
	.min = 1,
	.max = 1,
	.read_by = coproc_read,
	.write_by = coproc_write,
};

static void coproc_reset(struct dev *dev)
{
	irq_set(&container_of(dev, struct coproc, dev)->irq, false);
}

static void coproc_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct coproc, dev));
}

static const struct dev_class coproc_class = {
	.name = "coproc",
	.stateless = true,
	.reset = coproc_reset,
	.destroy = coproc_destroy,
};

int coproc_create(struct vm *vm, const struct coproc_wiring *w, struct coproc **out)
{
	struct coproc *c = plat_alloc(sizeof(*c));
	int err;

	if (!c)
		return err_here(ERR_NOMEM);
	c->irq = w->irq;
	c->vm = vm;
	err = bus_map(&vm->pio, &coproc_region, c);
	if (err) {
		plat_free(c);
		return err;
	}
	vm->ferr = w->irq;
	vm->ferr_port = COPROC_ERR;
	vm_add_dev(vm, &c->dev, &coproc_class);
	*out = c;
	return 0;
}
