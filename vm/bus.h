/* SPDX-License-Identifier: ISC */
/* bus.h: port and memory-mapped I/O. Regions are const data; the bus validates and splits widths,
 * tells and asks the monitor, and calls the device. Handlers run on any vCPU thread, without
 * locks held: a device locks itself. Unmapped reads give all ones, writes are lost. */
#ifndef VM_BUS_H
#define VM_BUS_H

#include "base/def.h"
#include "base/err.h"
#include "plat/plat.h"

struct vm;

/* Registers of a device where a write of n, size bytes wide, at first + n * stride only says that there is work:
 * it may arrive late, on another thread, and several as one. */
struct bus_bells {
	uint32_t first, stride;
	uint8_t size;
	uint32_t (*which)(void *dev); /* n for which that is so, as bits. Any thread */
};

/* Registers of a device where a write has no effect but that its next access finds it: it may arrive late, before any
 * other access of a vCPU. Written as a whole or in parts; wider writes leave it. */
struct bus_late {
	uint32_t first, len;
};

struct bus_region {
	const char *name; /* chip's name for logs and history */
	uint64_t base;    /* default address; bus_map_at() gives another */
	uint64_t len;     /* bytes */
	uint8_t min, max; /* access widths that the handlers take: 1 2 4 8. Narrower ones are read
			   * (and for writes not done: min is for devices that really need it);
			   * wider ones are split into max, low address first */
	/* off: from the region's start. size: min..max. */
	uint64_t (*read)(void *dev, uint64_t off, unsigned size);
	void (*write)(void *dev, uint64_t off, unsigned size, uint64_t value);
	/* In place of the two above where it matters who accesses (the local APIC's page). vcpu:
	 * index, or -1. */
	uint64_t (*read_by)(void *dev, int vcpu, uint64_t off, unsigned size);
	void (*write_by)(void *dev, int vcpu, uint64_t off, unsigned size, uint64_t value);
	const struct bus_bells *bells; /* NULL: it has none */
	const struct bus_late *late;   /* NULL: it has none */
};

struct bus_entry {
	uint64_t base, end; /* end: exclusive */
	const struct bus_region *region;
	void *dev;
};

#define BUS_MAX_ENTRIES 256
struct bus {
	struct vm *vm;
	uint8_t mon_class;      /* MON_PORT or MON_MMIO */
	struct plat_mutex lock; /* writers */
	_Atomic uint32_t seq;   /* readers: even and unchanged, or again */
	uint32_t n;
	struct bus_entry entry[BUS_MAX_ENTRIES]; /* sorted by base, disjoint */
};

void bus_init(struct bus *bus, struct vm *vm, uint8_t mon_class);
/* ERR_EXIST where it overlaps, ERR_NOMEM where the bus is full. */
int bus_map(struct bus *bus, const struct bus_region *region, void *dev) attr_must_check;
int bus_map_at(struct bus *bus, uint64_t base, const struct bus_region *region,
	       void *dev) attr_must_check;
void bus_unmap(struct bus *bus, const struct bus_region *region, void *dev);
/* size: 1 2 4 8. vcpu: index for the monitor, -1 none. */
uint64_t bus_read(struct bus *bus, int vcpu, uint64_t addr, unsigned size);
void bus_write(struct bus *bus, int vcpu, uint64_t addr, unsigned size, uint64_t value);
/* Is such a write one to a doorbell? */
bool bus_is_bell(struct bus *bus, uint64_t addr, unsigned size, uint64_t value);
/* May such a write be late? Where the registers are for which that is so, and how many bytes. */
bool bus_late(struct bus *bus, uint64_t addr, unsigned size, uint64_t *base, uint32_t *len);
/* So many writes (at least one) to a doorbell: each is told and asked about, the device hears one. */
void bus_ring(struct bus *bus, int vcpu, uint64_t addr, unsigned size, uint64_t value,
	      uint64_t times);

#endif
