/* SPDX-License-Identifier: ISC */
/* memo.h: pages that accesses of busy code found last (memo.c). */
#ifndef ENGINE_SOFT_MEMO_H
#define ENGINE_SOFT_MEMO_H

#include "engine/soft/layout.h"

struct tr;

#define MEMOS_MAX 24u /* in a block: their code is long */

/* A probe; one with a memo until its stub is emitted */
struct tr_memo {
	int8_t base; /* the linear address: base + disp. T0: itself */
	bool user, write;
	bool spares;   /* the flags: then it has none */
	bool counts;   /* its uses */
	int8_t source; /* of the flags, or -1 where they are dead */
	uint16_t id;
	uint8_t kind; /* enum stub_kind: where to go when the TLB has nothing either */
	uint32_t arg;
	int32_t disp;
	uint32_t size; /* bytes */
	uint32_t site; /* as STUB_SLOW's */
	uint8_t *miss, *back;
};

/* May the current instruction's next probe, which m describes, have one? */
bool memo_wanted(const struct tr *t, const struct tr_memo *m);
/* Emits the probe. T1 is the addend then, T0 is lost unless it is the base. */
void memo_probe(struct tr *t, const struct tr_memo *memo);
/* For how many bytes there are memos that are good for so many */
uint32_t memo_size(uint32_t size);
/* The same in pieces. memo_take(): the probe with a memo. memo_check() leaves the offset in it in T1; back is to be set.
 * Then memo_room(): T0 is how far the address may go on, or, down, back; T1 stays. memo_addend(): T1 is the addend. */
struct tr_memo *memo_take(struct tr *t, const struct tr_memo *memo);
void memo_check(struct tr *t, struct tr_memo *m);
void memo_room(struct tr *t, const struct tr_memo *m, bool down);
void memo_addend(struct tr *t, const struct tr_memo *m);
void memo_stub(struct tr *t, unsigned n);

/* Something leaves the view's TLB, or, NULL, the kernel's, of entries for reads or for writes. */
void soft_memos_end(struct soft_vcpu *v, struct soft_view *view, bool write);
void soft_memos_end_all(struct soft_vcpu *v,
			bool reads); /* of all; for writes, and for reads too */

#endif
