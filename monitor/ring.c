/* SPDX-License-Identifier: ISC */
/* ring.c: bounded queue after the well-known scheme of a sequence number in each slot: slot i is free
 * for position p when seq == p, holds its record when seq == p + 1, and is free for p + size when the
 * consumer has set that. A record with text takes several slots in a row: the consumer frees in
 * order, therefore the last one's being free says that all are. seq is kept without the slot's number, so that
 * fresh memory is a ring that costs nothing until it is used.
 *
 * Producers are any threads, guest FPU state being live; the consumer is one thread. */
#include "monitor/ring.h"

#include "base/str.h"
#include "plat/plat.h"

#define LEN_BITS 11
_Static_assert(RING_TEXT_MAX < 1 << LEN_BITS && RING_SIZE_MAX << LEN_BITS < 1 << 16, "size");

int ring_init(struct ring *r, uint32_t slots)
{
	*r = (struct ring){.size = slots};
	BUG_ON(slots < 16 || (slots & (slots - 1)));
	r->slot = plat_pages_alloc(sizeof(*r->slot) * slots);
	return r->slot ? 0 : err_here(ERR_NOMEM);
}

void ring_fini(struct ring *r)
{
	if (r->slot)
		plat_pages_free(r->slot, sizeof(*r->slot) * r->size);
	r->slot = NULL;
}

static struct ring_slot *slot_at(const struct ring *r, uint64_t pos)
{
	return &r->slot[pos & (r->size - 1)];
}

static uint64_t seq_at(const struct ring *r, uint64_t pos)
{
	return atomic_load_explicit(&slot_at(r, pos)->seq, memory_order_acquire) +
	       (pos & (r->size - 1));
}

/* What was written to the slot before is there for who sees it. */
static void seq_set(const struct ring *r, uint64_t pos, uint64_t seq)
{
	atomic_store_explicit(&slot_at(r, pos)->seq, seq - (pos & (r->size - 1)),
			      memory_order_release);
}

bool ring_try_push(struct ring *r, const struct mon_record *rec, const void *text, size_t len)
{
	size_t n = MIN(len, (size_t)RING_TEXT_MAX);
	unsigned more = (unsigned)((n + sizeof(r->slot->text) - 1) / sizeof(r->slot->text));
	uint64_t pos = atomic_load_explicit(&r->tail, memory_order_relaxed);
	struct ring_slot *s;

	for (;;) {
		uint64_t last = pos + more;

		if ((int64_t)(seq_at(r, last) - last) < 0) {
			uint64_t now = atomic_load_explicit(&r->tail, memory_order_relaxed);

			if (now == pos)
				return false;
			pos = now;
			continue;
		}
		if (atomic_compare_exchange_weak_explicit(
			    &r->tail, &pos, last + 1, memory_order_relaxed, memory_order_relaxed))
			break;
	}
	for (unsigned i = 0; i < more; i++) {
		size_t off = i * sizeof(s->text);

		s = slot_at(r, pos + 1 + i);
		memcpy(s->text, (const char *)text + off, MIN(n - off, sizeof(s->text)));
		seq_set(r, pos + 1 + i, pos + 2 + i);
	}
	s = slot_at(r, pos);
	s->rec = *rec;
	s->rec.slots = (uint8_t)more;
	/* where there is text, its length shares the record's place for a size */
	if (n)
		s->rec.size = (uint16_t)(n | (unsigned)MIN(rec->size, RING_SIZE_MAX) << LEN_BITS);
	seq_set(r, pos, pos + 1);
	return true;
}

bool ring_push(struct ring *r, const struct mon_record *rec, const void *text, size_t len)
{
	if (likely(ring_try_push(r, rec, text, len)))
		return true;
	atomic_fetch_add_explicit(&r->dropped, 1, memory_order_relaxed);
	return false;
}

uint32_t ring_used(const struct ring *r)
{
	return (uint32_t)(atomic_load_explicit(&r->tail, memory_order_relaxed) -
			  __atomic_load_n(&r->head, __ATOMIC_RELAXED));
}

const struct mon_record *ring_peek(const struct ring *r)
{
	return seq_at(r, r->head) == r->head + 1 ? &slot_at(r, r->head)->rec : NULL;
}

int ring_take(struct ring *r, struct mon_record *rec, char *text)
{
	const struct mon_record *first = ring_peek(r);
	uint64_t pos = r->head;
	size_t n;

	if (!first)
		return -1;
	*rec = *first;
	n = rec->slots ? rec->size & (BIT(LEN_BITS) - 1) : 0;
	for (unsigned i = 0; i < rec->slots; i++) {
		size_t off = i * sizeof(r->slot->text);

		memcpy(text + off, slot_at(r, pos + 1 + i)->text,
		       MIN(n - off, sizeof(r->slot->text)));
	}
	for (unsigned i = 0; i <= rec->slots; i++)
		seq_set(r, pos + i, pos + i + r->size);
	__atomic_store_n(&r->head, pos + 1 + rec->slots, __ATOMIC_RELAXED);
	if (rec->slots)
		rec->size >>= LEN_BITS;
	return (int)n;
}
