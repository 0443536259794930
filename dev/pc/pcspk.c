/* SPDX-License-Identifier: ISC */
/* pcspk.c: system control port B of a PC (NMI status and control register in the 82371SB).
 *
 * Entered by any vCPU thread; one byte of state, in an atomic. */
#include "dev/pc/pcspk.h"

#include "dev/pc/i8254.h"
#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

#define SPK_GATE2   BIT(0)
#define SPK_DATA    BIT(1)
#define SPK_NMI_OFF (BIT(2) | BIT(3)) /* parity and channel check: nothing raises them */
#define SPK_REFRESH BIT(4)            /* toggles with each refresh, every 15 µs */
#define SPK_OUT2    BIT(5)
#define REFRESH_NS  15085

struct pcspk {
	struct dev dev;
	struct i8254 *pit;
	_Atomic uint8_t bits;
};

static uint64_t spk_read(void *dev, uint64_t off, unsigned size)
{
	struct pcspk *spk = dev;
	unsigned v = spk->bits & (SPK_DATA | SPK_NMI_OFF);

	if (i8254_gate2(spk->pit))
		v |= SPK_GATE2;
	if (i8254_out2(spk->pit))
		v |= SPK_OUT2;
	if (plat_now() / REFRESH_NS & 1)
		v |= SPK_REFRESH;
	return v;
}

static void spk_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct pcspk *spk = dev;

	spk->bits = (uint8_t)value & (SPK_DATA | SPK_NMI_OFF);
	i8254_set_gate2(spk->pit, value & SPK_GATE2);
}

static const struct bus_region spk_region = {
	.name = "pcspk",
	.base = 0x61,
	.len = 1,
	.min = 1,
	.max = 1,
	.read = spk_read,
	.write = spk_write,
};

static void pcspk_reset(struct dev *dev)
{
	struct pcspk *spk = container_of(dev, struct pcspk, dev);

	spk->bits = 0;
	i8254_set_gate2(spk->pit, false);
}

static void pcspk_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct pcspk, dev));
}

static const struct st_field spk_fields[] = {ST_U(struct pcspk, bits)};

static int pcspk_state(struct dev *dev, struct state_stream *st)
{
	return ST_SYNC(st, "pcspk", 0, spk_fields, container_of(dev, struct pcspk, dev));
}

static const struct dev_class pcspk_class = {
	.name = "pcspk",
	.reset = pcspk_reset,
	.state = pcspk_state,
	.destroy = pcspk_destroy,
};

int pcspk_create(struct vm *vm, const struct pcspk_wiring *w, struct pcspk **out)
{
	struct pcspk *spk = plat_alloc(sizeof(*spk));
	int err;

	if (!spk)
		return err_here(ERR_NOMEM);
	spk->pit = w->pit;
	err = bus_map(&vm->pio, &spk_region, spk);
	if (err) {
		plat_free(spk);
		return err;
	}
	vm_add_dev(vm, &spk->dev, &pcspk_class);
	*out = spk;
	return 0;
}
