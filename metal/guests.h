/* SPDX-License-Identifier: ISC */
/* guests.h: the virtual machines of the fleet, started and stopped. */
#ifndef METAL_GUESTS_H
#define METAL_GUESTS_H

#include "base/def.h"
#include "base/err.h"
#include "metal/fleet.h"

struct boot_info;
struct guest;

/* Starts the fleet. VMs with disks of the machine wait for disks_start(). */
void guests_start(const struct boot_info *boot);

/* For the shell; its thread only. */
struct guest *guest_at(unsigned n); /* NULL: no more */
struct guest *guest_find(const char *name);
const struct fleet_vm *guest_def(const struct guest *g);
const char *guest_state(const struct guest *g);   /* one word, or how it ended */
int guest_start(struct guest *g) attr_must_check; /* ERR_BUSY: it runs */
/* ERR_INVAL: it does not run, is paused already, or not. */
int guest_stop(struct guest *g) attr_must_check; /* presses its power button */
int guest_kill(struct guest *g) attr_must_check;
int guest_pause(struct guest *g) attr_must_check;
int guest_resume(struct guest *g) attr_must_check;
struct guest_stats {
	uint64_t cpu_ns;
	uint64_t waited_ns; /* the longest that a vCPU waited for a processor */
	uint64_t began;     /* ns since the entry: its first instruction */
	uint64_t entries, flushes, pio, mmio, halts;
};
bool guest_get_stats(struct guest *g, struct guest_stats *out); /* false: it does not run */
void guests_kill_all(void);                                     /* and waits until they are gone */

#endif
