/* SPDX-License-Identifier: ISC */
/* bus.c: dispatch of port and memory-mapped accesses to devices.
 *
 * Readers are vCPU threads and never lock: the sorted table is guarded by a sequence counter, and
 * an entry is copied out before its device is called. Writers (BARs that move) are rare. */
#include "vm/bus.h"

#include "monitor/monitor.h"
#include "vm/vm.h"

void bus_init(struct bus *bus, struct vm *vm, uint8_t mon_class)
{
	bus->vm = vm;
	bus->mon_class = mon_class;
	bus->n = 0;
	plat_mutex_init(&bus->lock, RANK_BUS);
}

/* Index of the first entry that ends above addr. */
static uint32_t bus_search(const struct bus *bus, uint64_t addr)
{
	uint32_t lo = 0, hi = __atomic_load_n(&bus->n, __ATOMIC_RELAXED);

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (__atomic_load_n(&bus->entry[mid].end, __ATOMIC_RELAXED) <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void entry_copy(struct bus_entry *dst, const struct bus_entry *src)
{
	dst->base = __atomic_load_n(&src->base, __ATOMIC_RELAXED);
	dst->end = __atomic_load_n(&src->end, __ATOMIC_RELAXED);
	dst->region = __atomic_load_n(&src->region, __ATOMIC_RELAXED);
	dst->dev = __atomic_load_n(&src->dev, __ATOMIC_RELAXED);
}

static void entry_store(struct bus_entry *dst, const struct bus_entry *src)
{
	__atomic_store_n(&dst->base, src->base, __ATOMIC_RELAXED);
	__atomic_store_n(&dst->end, src->end, __ATOMIC_RELAXED);
	__atomic_store_n(&dst->region, src->region, __ATOMIC_RELAXED);
	__atomic_store_n(&dst->dev, src->dev, __ATOMIC_RELAXED);
}

static bool bus_find(struct bus *bus, uint64_t addr, struct bus_entry *out)
{
	for (;;) {
		uint32_t seq = atomic_load_explicit(&bus->seq, memory_order_acquire);
		bool hit = false;

		if (likely(!(seq & 1))) {
			uint32_t i = bus_search(bus, addr);

			if (i < __atomic_load_n(&bus->n, __ATOMIC_RELAXED) && i < BUS_MAX_ENTRIES) {
				entry_copy(out, &bus->entry[i]);
				hit = addr >= out->base && addr < out->end;
			}
			atomic_thread_fence(memory_order_acquire);
			if (atomic_load_explicit(&bus->seq, memory_order_relaxed) == seq)
				return hit;
		}
		cpu_relax();
	}
}

static void bus_change_begin(struct bus *bus)
{
	atomic_fetch_add_explicit(&bus->seq, 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
}

static void bus_change_end(struct bus *bus)
{
	atomic_fetch_add_explicit(&bus->seq, 1, memory_order_release);
}

int bus_map_at(struct bus *bus, uint64_t base, const struct bus_region *region, void *dev)
{
	struct bus_entry e = {base, base + region->len, region, dev};
	uint32_t i;
	int err = 0;

	if (!region->len || e.end < base)
		return err_here(ERR_INVAL);
	plat_mutex_lock(&bus->lock);
	i = bus_search(bus, base);
	if (bus->n == BUS_MAX_ENTRIES) {
		err = ERR_NOMEM;
	} else if (i < bus->n && bus->entry[i].base < e.end) {
		err = ERR_EXIST;
	} else {
		bus_change_begin(bus);
		for (uint32_t k = bus->n; k > i; k--)
			entry_store(&bus->entry[k], &bus->entry[k - 1]);
		entry_store(&bus->entry[i], &e);
		__atomic_store_n(&bus->n, bus->n + 1, __ATOMIC_RELAXED);
		bus_change_end(bus);
	}
	plat_mutex_unlock(&bus->lock);
	return err;
}

int bus_map(struct bus *bus, const struct bus_region *region, void *dev)
{
	return bus_map_at(bus, region->base, region, dev);
}

void bus_unmap(struct bus *bus, const struct bus_region *region, void *dev)
{
	plat_mutex_lock(&bus->lock);
	for (uint32_t i = 0; i < bus->n; i++) {
		if (bus->entry[i].region != region || bus->entry[i].dev != dev)
			continue;
		bus_change_begin(bus);
		for (uint32_t k = i; k + 1 < bus->n; k++)
			entry_store(&bus->entry[k], &bus->entry[k + 1]);
		__atomic_store_n(&bus->n, bus->n - 1, __ATOMIC_RELAXED);
		bus_change_end(bus);
		break;
	}
	plat_mutex_unlock(&bus->lock);
}

static inline uint64_t ones(unsigned size)
{
	return ~UINT64_C(0) >> (64 - 8 * size);
}

static uint64_t entry_read(const struct bus_entry *e, int vcpu, uint64_t off, unsigned size)
{
	const struct bus_region *r = e->region;

	if (r->read_by)
		return r->read_by(e->dev, vcpu, off, size) & ones(size);
	return r->read ? r->read(e->dev, off, size) & ones(size) : ones(size);
}

static void entry_write(const struct bus_entry *e, int vcpu, uint64_t off, unsigned size,
			uint64_t value)
{
	const struct bus_region *r = e->region;

	if (r->write_by)
		r->write_by(e->dev, vcpu, off, size, value & ones(size));
	else if (r->write)
		r->write(e->dev, off, size, value & ones(size));
}

static uint64_t region_read(const struct bus_entry *e, int vcpu, uint64_t addr, unsigned size)
{
	const struct bus_region *r = e->region;
	uint64_t off = addr - e->base, v = 0;

	if (size < r->min) {
		uint64_t aligned = ALIGN_DOWN(off, (uint64_t)r->min);

		return entry_read(e, vcpu, aligned, r->min) >> (8 * (off - aligned)) & ones(size);
	}
	if (size <= r->max)
		return entry_read(e, vcpu, off, size);
	for (unsigned i = 0; i < size; i += r->max)
		v |= entry_read(e, vcpu, off + i, r->max) << (8 * i);
	return v;
}

static void region_write(const struct bus_entry *e, int vcpu, uint64_t addr, unsigned size,
			 uint64_t value)
{
	const struct bus_region *r = e->region;
	uint64_t off = addr - e->base;

	if (size < r->min)
		return;
	if (size <= r->max) {
		entry_write(e, vcpu, off, size, value);
		return;
	}
	for (unsigned i = 0; i < size; i += r->max)
		entry_write(e, vcpu, off + i, r->max, value >> (8 * i));
}

/* An access that leaves its region is done byte by byte, each where it belongs. */
static uint64_t bus_read_split(struct bus *bus, int vcpu, uint64_t addr, unsigned size)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= bus_read(bus, vcpu, addr + i, 1) << (8 * i);
	return v;
}

uint64_t bus_read(struct bus *bus, int vcpu, uint64_t addr, unsigned size)
{
	struct mon_event ev = {
		.cls = bus->mon_class, .op = 0, .size = (uint16_t)size, .vcpu = vcpu, .addr = addr};
	struct bus_entry e;

	ev.value = ones(size);
	switch (mon_ask(&bus->vm->mon, &ev)) {
	case MON_PROVIDE:
		if (!bus_find(bus, addr, &e))
			break;
		if (addr + size > e.end)
			return bus_read_split(bus, vcpu, addr, size);
		ev.value = region_read(&e, vcpu, addr, size);
		break;
	case MON_REDIRECT: /* the rule gave the value */
		break;
	case MON_DENY: /* as if nothing were there */
		ev.value = ones(size);
		break;
	}
	mon_tell(&bus->vm->mon, &ev);
	return ev.value;
}

void bus_write(struct bus *bus, int vcpu, uint64_t addr, unsigned size, uint64_t value)
{
	struct mon_event ev = {.cls = bus->mon_class,
			       .op = 1,
			       .size = (uint16_t)size,
			       .vcpu = vcpu,
			       .addr = addr,
			       .value = value};
	struct bus_entry e;
	enum mon_verdict verdict;

	verdict = mon_ask(&bus->vm->mon, &ev);
	mon_tell(&bus->vm->mon, &ev);
	if (verdict == MON_REDIRECT)
		value = ev.value;
	if (verdict == MON_DENY || !bus_find(bus, addr, &e))
		return;
	if (addr + size > e.end) {
		for (unsigned i = 0; i < size; i++)
			bus_write(bus, vcpu, addr + i, 1, value >> (8 * i) & 0xff);
		return;
	}
	region_write(&e, vcpu, addr, size, value);
}

bool bus_is_bell(struct bus *bus, uint64_t addr, unsigned size, uint64_t value)
{
	const struct bus_bells *b;
	struct bus_entry e;

	if (value >= 32 || !bus_find(bus, addr, &e))
		return false;
	b = e.region->bells;
	return b && size == b->size && addr - e.base == b->first + value * b->stride &&
	       b->which(e.dev) & BIT(value);
}

bool bus_late(struct bus *bus, uint64_t addr, unsigned size, uint64_t *base, uint32_t *len)
{
	const struct bus_late *l;
	struct bus_entry e;

	if (!bus_find(bus, addr, &e) || !e.region->late)
		return false;
	l = e.region->late;
	*base = e.base + l->first;
	*len = l->len;
	return addr >= *base && size <= l->len && addr - *base <= l->len - size;
}

void bus_ring(struct bus *bus, int vcpu, uint64_t addr, unsigned size, uint64_t value,
	      uint64_t times)
{
	const struct mon_event ev = {.cls = bus->mon_class,
				     .op = 1,
				     .size = (uint16_t)size,
				     .vcpu = vcpu,
				     .addr = addr,
				     .value = value};

	for (; times > 1; times--) {
		if (mon_rules(&bus->vm->mon, bus->mon_class)) /* only just in force */
			bus_write(bus, vcpu, addr, size, value);
		else
			mon_tell(&bus->vm->mon, &ev);
	}
	bus_write(bus, vcpu, addr, size, value);
}
