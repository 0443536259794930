/* SPDX-License-Identifier: ISC */
/* debugcon.c: firmware's debug port. Lines go to the history as its stages, and to the log at level debug,
 * bounded in length and, for guests that write without end, in number a second. Entered by any vCPU thread. */
#include "dev/pc/debugcon.h"

#include "vm/dev.h"
#include "vm/vm.h"

#define LINE_MAX_LEN     120
#define LINES_PER_SECOND 500

struct debugcon {
	struct dev dev;
	struct vm *vm;
	uint8_t ident;
	struct plat_mutex lock; /* RANK_DEVICE: all below */
	char line[LINE_MAX_LEN + 1];
	unsigned len;
	uint64_t second; /* start of the current one, ns */
	unsigned lines;  /* in it */
};

static void flush(struct debugcon *d)
{
	const struct mon_event ev = {.cls = MON_LIFECYCLE,
				     .op = LIFE_FIRMWARE,
				     .vcpu = -1,
				     .data = d->line,
				     .len = d->len};
	uint64_t now = plat_now();

	d->line[d->len] = 0;
	d->len = 0;
	if (now - d->second > NS_PER_SEC) {
		d->second = now;
		d->lines = 0;
	}
	if (d->lines++ >= LINES_PER_SECOND)
		return;
	if (ev.len)
		mon_tell(&d->vm->mon, &ev);
	plat_log(LOG_DEBUG, "firmware: %s", d->line);
}

static uint64_t debugcon_read(void *dev, uint64_t off, unsigned size)
{
	return ((struct debugcon *)dev)->ident;
}

static void debugcon_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct debugcon *d = dev;
	char c = (char)value;

	plat_mutex_lock(&d->lock);
	if (c == '\n')
		flush(d);
	else if (c >= ' ' && c < 0x7f)
		d->line[d->len++] = c;
	if (d->len == LINE_MAX_LEN)
		flush(d);
	plat_mutex_unlock(&d->lock);
}

static const struct bus_region debugcon_region = {
	.name = "debugcon",
	.len = 1,
	.min = 1,
	.max = 1,
	.read = debugcon_read,
	.write = debugcon_write,
};

static void debugcon_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct debugcon, dev));
}

static const struct dev_class debugcon_class = {
	.name = "debugcon",
	.stateless = true,
	.destroy = debugcon_destroy,
};

int debugcon_create(struct vm *vm, const struct debugcon_wiring *w, struct debugcon **out)
{
	struct debugcon *d = plat_alloc(sizeof(*d));
	int err;

	if (!d)
		return err_here(ERR_NOMEM);
	d->vm = vm;
	d->ident = w->ident;
	plat_mutex_init(&d->lock, RANK_DEVICE);
	err = bus_map_at(&vm->pio, w->base, &debugcon_region, d);
	if (err) {
		plat_free(d);
		return err;
	}
	vm_add_dev(vm, &d->dev, &debugcon_class);
	*out = d;
	return 0;
}
