/* SPDX-License-Identifier: ISC */
/* synic.h: a virtual processor's synthetic interrupt controller and its four synthetic timers, as Hyper-V has them (TLFS
 * 6.0b, chapters 11 and 12.4). dev/pc/hyperv owns it. */
#ifndef DEV_PC_SYNIC_H
#define DEV_PC_SYNIC_H

#include "base/def.h"
#include "base/err.h"
#include "plat/plat.h"

#define SYNIC_MSR_FIRST 0x40000080u
#define SYNIC_MSR_LAST  0x400000bfu
#define SYNIC_SINTS     16
#define SYNIC_TIMERS    4

struct vcpu;
struct state_stream;

struct stimer {
	uint64_t config, count;
	uint64_t due;     /* reference time of the next expiry, while enabled */
	uint64_t expired; /* of the last one */
	bool waits;       /* its message, for the one before to be taken */
};

struct synic {
	struct vcpu *vcpu;
	uint64_t (*now)(void *ctx); /* reference time, 100 ns */
	void *ctx;
	struct plat_mutex lock; /* RANK_DEVICE: all below */
	uint64_t control, events, messages;
	uint64_t sint[SYNIC_SINTS];
	struct stimer timer[SYNIC_TIMERS];
	bool frozen; /* the VM is being saved */
	struct plat_timer host;
};

void synic_init(struct synic *s, struct vcpu *vcpu, uint64_t (*now)(void *ctx), void *ctx);
void synic_reset(struct synic *s);
void synic_freeze(struct synic *s, bool on);
int synic_state(struct synic *s, unsigned n, struct state_stream *st);
/* MSRs SYNIC_MSR_FIRST to _LAST, on the processor's own thread. ERR_NOENT: #GP. */
int synic_read(struct synic *s, uint32_t index, uint64_t *value);
int synic_write(struct synic *s, uint32_t index, uint64_t value);

#endif
