/* SPDX-License-Identifier: ISC */
/* ring.h: bounded queue of records, many producers, one consumer. Producers never wait and never
 * allocate; what does not fit is counted. */
#ifndef MONITOR_RING_H
#define MONITOR_RING_H

#include "base/def.h"
#include "base/err.h"

/* One thing that has happened, or several alike that were counted. */
struct mon_record {
	uint64_t t;    /* ns, plat_now(); the first one's where count > 1 */
	uint64_t rip;  /* of the guest instruction; 0: not known */
	uint64_t root; /* page-table root of the vCPU at that time; 0: not known */
	uint64_t
		tsc; /* of the guest at that time: the vCPU's, else the first one's; 0: not known */
	uint64_t addr; /* as in struct mon_event */
	uint64_t value;
	uint64_t sum; /* ns that it lasted; where counted: bytes, or ns for MON_CPU */
	uint32_t count;
	uint32_t rule;
	uint8_t cls, op;
	uint8_t verdict; /* enum mon_verdict | MON_R_* */
	uint8_t slots;   /* the ring's: of the text behind it */
	uint16_t size;
	int8_t vcpu;
	int8_t result;
};
_Static_assert(sizeof(struct mon_record) == 72, "record");

#define MON_R_VERDICT 0x03
#define MON_R_COUNTED 0x40 /* count of them in the time since the last count, addr alike */
#define MON_R_NOTIFY  0x80

#define RING_TEXT_MAX 1600 /* bytes of text, or of a frame, behind a record */
#define RING_SIZE_MAX 31   /* a record with text has a size of at most that */

struct ring_slot {
	_Atomic uint64_t seq;
	union {
		struct mon_record rec;
		char text[72];
	};
};
_Static_assert(sizeof(struct ring_slot) == 80, "slot");

struct ring {
	struct ring_slot *slot;
	uint32_t size; /* a power of two */
	uint64_t head; /* the consumer's */
	alignas(64) _Atomic uint64_t tail;
	_Atomic uint64_t dropped;
};

/* slots: a power of two of at least 16. */
int ring_init(struct ring *r, uint32_t slots) attr_must_check;
void ring_fini(struct ring *r);
/* Any thread. text: at most RING_TEXT_MAX bytes go along. False, and counted, when it is full. */
bool ring_push(struct ring *r, const struct mon_record *rec, const void *text, size_t len);
/* The same, but the caller counts or waits. */
bool ring_try_push(struct ring *r, const struct mon_record *rec, const void *text, size_t len);
/* Slots in use, about. */
uint32_t ring_used(const struct ring *r);
/* The consumer's: the oldest record, or NULL. It stays in place until ring_take(). */
const struct mon_record *ring_peek(const struct ring *r);
/* Takes the oldest record; text: RING_TEXT_MAX bytes. Gives the length of its text, or -1. */
int ring_take(struct ring *r, struct mon_record *rec, char *text);

#endif
