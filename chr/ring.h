/* SPDX-License-Identifier: ISC */
/* ring.h: a ring of bytes that forgets the oldest. The caller locks. */
#ifndef CHR_RING_H
#define CHR_RING_H

#include "base/def.h"
#include "base/str.h"

struct chr_ring {
	uint8_t *buf;
	size_t size;      /* bytes, a power of two */
	size_t head, len; /* first byte's place; bytes in it */
};

/* The first stretch of bytes in one piece; 0: empty. */
static inline size_t ring_peek(const struct chr_ring *r, const uint8_t **p)
{
	*p = r->buf + r->head;
	return MIN(r->len, r->size - r->head);
}

static inline void ring_drop(struct chr_ring *r, size_t n)
{
	r->head = (r->head + n) & (r->size - 1);
	r->len -= n;
}

/* Adds n bytes; returns how many old (or too many new) ones were lost. */
static inline size_t ring_put(struct chr_ring *r, const void *data, size_t n)
{
	const uint8_t *p = data;
	size_t lost = 0, tail, first;

	if (n > r->size) {
		lost = n - r->size;
		p += lost;
		n = r->size;
	}
	if (n > r->size - r->len) {
		size_t old = n - (r->size - r->len);

		lost += old;
		ring_drop(r, old);
	}
	tail = (r->head + r->len) & (r->size - 1);
	first = MIN(n, r->size - tail);
	memcpy(r->buf + tail, p, first);
	memcpy(r->buf, p + first, n - first);
	r->len += n;
	return lost;
}

#endif
