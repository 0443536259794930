/* SPDX-License-Identifier: ISC */
/* watch.h: history and rules of each VM of the fleet. VMs come and go; these stay. */
#ifndef METAL_WATCH_H
#define METAL_WATCH_H

#include "metal/fleet.h"
#include "monitor/monitor.h"
#include "monitor/recent.h"

struct vm;
struct block;

/* Once, before VMs start. */
int watch_init(const struct fleet *fleet) attr_must_check;
/* Of VM number n in the fleet. ERR_FORMAT: its rules are broken: it must not start. */
int watch_ready(unsigned n) attr_must_check;
void watch_attach(unsigned n, struct vm *vm); /* before it runs */
/* What its rules leave of a device ("disk", 0), of memory; whether an operator may. */
bool watch_device(unsigned n, const char *kind, unsigned index);
/* Has its rules decide requests of a disk: *disk becomes one that asks, if there are any, and is closed with it. targets
 * stay as long. */
struct block_targets;
int watch_disk(unsigned n, unsigned index, struct monitor *mon, const struct block_targets *targets,
	       struct block **disk) attr_must_check;
uint64_t watch_memory(unsigned n, uint64_t wanted);
bool watch_operator(unsigned n, enum mon_request what);

attr_printf(4, 5) void watch_note(unsigned n, enum mon_class cls, uint8_t op, const char *fmt, ...);
/* What its console says: bytes, by one thread at a time. */
void watch_console(unsigned n, const char *buf, size_t len);
/* To go through the records of all VMs by time, and on as there are more: zeroed at first. */
struct watch_at {
	struct recent_at vm[FLEET_MAX_VMS];
};
/* The next one, when it was (ns, plat_now()) and whose; false: no more so far. n: of this VM alone; UINT_MAX: of all. */
bool watch_next(struct watch_at *at, unsigned n, uint64_t *t, const char **name,
		char line[RECENT_LINE]);
uint64_t watch_lost(
	const struct watch_at *at); /* records that were pushed out before they were looked at */
/* Of all, one printed line each, oldest first; n: UINT_MAX for all VMs. */
void watch_print_history(unsigned n);
void watch_print_policy(unsigned n);

#endif
