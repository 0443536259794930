/* SPDX-License-Identifier: ISC */
/* queue.c: split virtqueues (virtio 1.2, 2.7), device's side.
 *
 * Layout: 16 bytes a descriptor {le64 addr, le32 len, le16 flags, le16 next}; avail {le16 flags, le16
 * idx, le16 ring[size], le16 used_event}; used {le16 flags, le16 idx, {le32 id, le32 len}
 * ring[size], le16 avail_event}. Indices run freely modulo 2^16.
 *
 * The ring is read with acquire where an index covers entries, and written with release. Between
 * "write what the other side looks at" and "look at what it wrote" stands a full fence, on both
 * sides: without it a notification can be lost. Called under the owner's lock. */
#include "dev/virtio/queue.h"

#include "base/str.h"
#include "vm/memmap.h"
#include "vm/vm.h"

#define DESC_NEXT      0x1
#define DESC_WRITE     0x2
#define DESC_INDIRECT  0x4
#define AVAIL_NO_INTR  0x1
#define USED_NO_NOTIFY 0x1
#define DESC_SIZE      16
#define AVAIL_BYTES(n) (6 + 2 * (uint64_t)(n))
#define USED_BYTES(n)  (6 + 8 * (uint64_t)(n))
#define AVAIL_RING     4
#define USED_RING      4
#define USED_ENTRY     8

struct desc { /* a guest's indirect table may lie anywhere: no alignment */
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
} attr_packed;
_Static_assert(sizeof(struct desc) == DESC_SIZE, "descriptor");

static uint16_t get16(const uint8_t *p)
{
	return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE);
}

static void put16(uint8_t *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)(void *)p, v, __ATOMIC_RELEASE);
}

/* One read of each field: the guest may write at the same time. */
static struct desc desc_get(const uint8_t *table, unsigned i)
{
	const volatile struct desc *d = (const volatile void *)(table + (size_t)i * DESC_SIZE);

	return (struct desc){d->addr, d->len, d->flags, d->next};
}

void virtq_reset(struct virtq *q)
{
	q->size = q->max_size;
	q->enabled = false;
	q->vector = UINT16_MAX;
	q->desc_gpa = q->avail_gpa = q->used_gpa = 0;
	q->desc = q->avail = NULL;
	q->used = NULL;
	q->in_use = 0;
	q->again = false;
}

int virtq_enable(struct virtq *q)
{
	uint64_t desc_bytes = (uint64_t)q->size * DESC_SIZE;

	if (!q->size || q->size > q->max_size || q->size & (q->size - 1) || (q->desc_gpa & 15) ||
	    (q->avail_gpa & 1) || (q->used_gpa & 3))
		return err_here(ERR_INVAL);
	q->desc = mem_ptr(q->vm, q->desc_gpa, desc_bytes, false);
	q->avail = mem_ptr(q->vm, q->avail_gpa, AVAIL_BYTES(q->size), false);
	q->used = mem_ptr(q->vm, q->used_gpa, USED_BYTES(q->size), true);
	if (!q->desc || !q->avail || !q->used)
		return err_here(ERR_RANGE);
	q->next_avail = q->seen_avail = q->next_used = 0;
	q->in_use = 0;
	q->enabled = true;
	return 0;
}

/* ---- taking chains ------------------------------------------------------------------------- */

/* Adds [gpa, gpa + len) as host memory; a piece a memory slot. */
static int chain_add(struct virtq *q, struct virtq_chain *c, gpa_t gpa, uint64_t len, bool write)
{
	while (len) {
		uint64_t part = len;
		hva_t p = mem_ptr(q->vm, gpa, len, write);

		if (unlikely(!p)) { /* on a boundary of slots, or nowhere */
			struct mem_slot *s = mem_slot(q->vm, gpa);

			if (!s || (write && s->rom))
				return err_here(ERR_FORMAT);
			part = s->size - (gpa - s->gpa);
			p = s->hva + (gpa - s->gpa);
			if (part >= len)
				return err_here(ERR_FORMAT);
		}
		if (c->n == c->max)
			return err_here(ERR_FORMAT);
		c->vec[c->n] = (struct virtq_vec){p, part};
		c->gpa[c->n++] = gpa;
		if (write) {
			c->in_len += part;
		} else {
			c->out_len += part;
			c->n_out = c->n;
		}
		gpa += part;
		len -= part;
	}
	return 0;
}

/* Follows a table of n descriptors from entry i. depth 0: the ring's own. */
static int chain_walk(struct virtq *q, struct virtq_chain *c, const uint8_t *table, uint32_t n,
		      uint32_t i, unsigned depth)
{
	/* each step is a descriptor: more of them than there are is a loop */
	for (uint32_t steps = 0; steps < n && steps < VIRTQ_MAX_SEGS; steps++) {
		struct desc d;
		int err;

		if (i >= n)
			return err_here(ERR_FORMAT);
		d = desc_get(table, i);
		if (d.flags & DESC_INDIRECT) {
			const uint8_t *inner;

			/* ends the chain; not inside of another; a whole number of entries */
			if (depth || !q->indirect || (d.flags & DESC_NEXT) || !d.len ||
			    d.len % DESC_SIZE)
				return err_here(ERR_FORMAT);
			inner = mem_ptr(q->vm, d.addr, d.len, false);
			if (!inner)
				return err_here(ERR_FORMAT);
			return chain_walk(q, c, inner, d.len / DESC_SIZE, 0, 1);
		}
		if (!(d.flags & DESC_WRITE) && c->n > c->n_out)
			return err_here(ERR_FORMAT); /* readable ones come first */
		err = chain_add(q, c, d.addr, d.len, d.flags & DESC_WRITE);
		if (err)
			return err;
		if (!(d.flags & DESC_NEXT))
			return 0;
		i = d.next;
	}
	return err_here(ERR_FORMAT);
}

/* How many chains wait, or ERR_FORMAT. */
static int avail_count(struct virtq *q)
{
	uint16_t n = (uint16_t)(q->seen_avail - q->next_avail);

	if (!n) {
		q->seen_avail = get16(q->avail + 2);
		n = (uint16_t)(q->seen_avail - q->next_avail);
	}
	return n > q->size ? err_here(ERR_FORMAT) : n;
}

int virtq_pop(struct virtq *q, struct virtq_chain *c)
{
	uint16_t head;
	int n;

	if (!q->enabled)
		return 0;
	n = avail_count(q);
	if (n <= 0)
		return n;
	if (q->in_use >= q->size) /* more chains than descriptors */
		return err_here(ERR_FORMAT);
	head = get16(q->avail + AVAIL_RING + 2 * (size_t)(q->next_avail & (q->size - 1)));
	c->head = head;
	c->first = c->n_out = c->n = 0;
	c->out_len = c->in_len = 0;
	n = chain_walk(q, c, q->desc, q->size, head, 0);
	if (n)
		return n;
	q->next_avail++;
	q->in_use++;
	return 1;
}

void virtq_unpop(struct virtq *q, unsigned n)
{
	q->next_avail = (uint16_t)(q->next_avail - n);
	q->in_use = (uint16_t)(q->in_use - n);
}

bool virtq_pending(struct virtq *q)
{
	return q->enabled && avail_count(q) != 0;
}

/* ---- giving them back ----------------------------------------------------------------------- */

void virtq_fill(struct virtq *q, unsigned ahead, uint16_t head, uint32_t written)
{
	uint16_t slot = (uint16_t)(q->next_used + ahead) & (uint16_t)(q->size - 1);
	volatile uint32_t *e = (volatile void *)(q->used + USED_RING + slot * (size_t)USED_ENTRY);

	e[0] = head;
	e[1] = written;
	mem_written(q->vm, q->used_gpa + USED_RING + slot * (uint64_t)USED_ENTRY, USED_ENTRY);
}

/* Has the guest's event index been passed by going from old to now? (2.7.10) */
static bool event_passed(uint16_t event, uint16_t now, uint16_t old)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

bool virtq_publish(struct virtq *q, unsigned n)
{
	uint16_t old = q->next_used;

	q->next_used = (uint16_t)(old + n);
	q->in_use = (uint16_t)(q->in_use - MIN(n, (unsigned)q->in_use));
	put16(q->used + 2, q->next_used);
	mem_written(q->vm, q->used_gpa + 2, 2);
	atomic_thread_fence(memory_order_seq_cst);
	if (!q->event_idx)
		return !(get16(q->avail) & AVAIL_NO_INTR);
	return event_passed(get16(q->avail + AVAIL_RING + 2 * (size_t)q->size), q->next_used, old);
}

/* ---- notifications --------------------------------------------------------------------------- */

bool virtq_listen(struct virtq *q)
{
	if (!q->enabled)
		return false;
	if (q->event_idx) {
		uint64_t at = USED_RING + (uint64_t)USED_ENTRY * q->size;

		put16(q->used + at, q->seen_avail);
		mem_written(q->vm, q->used_gpa + at, 2);
	} else if (get16(q->used) & USED_NO_NOTIFY) {
		put16(q->used, 0);
		mem_written(q->vm, q->used_gpa, 2);
	}
	atomic_thread_fence(memory_order_seq_cst);
	return get16(q->avail + 2) != q->seen_avail;
}

void virtq_unlisten(struct virtq *q)
{
	/* with event indices an old index already keeps the guest silent */
	if (!q->enabled || q->event_idx)
		return;
	put16(q->used, USED_NO_NOTIFY);
	mem_written(q->vm, q->used_gpa, 2);
}

/* ---- contents -------------------------------------------------------------------------------- */

static size_t chain_bytes(unsigned max)
{
	return ALIGN_UP((size_t)max * (sizeof(struct virtq_vec) + sizeof(gpa_t)), PAGE_SIZE);
}

int virtq_chain_init(struct virtq_chain *c, unsigned max)
{
	c->vec = plat_pages_alloc(chain_bytes(max));
	if (!c->vec)
		return err_here(ERR_NOMEM);
	c->gpa = (gpa_t *)(void *)(c->vec + max);
	c->max = max;
	return 0;
}

void virtq_chain_fini(struct virtq_chain *c)
{
	if (c->vec)
		plat_pages_free(c->vec, chain_bytes(c->max));
	c->vec = NULL;
}

size_t virtq_read(struct virtq_chain *c, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len && c->first < c->n_out) {
		struct virtq_vec *v = &c->vec[c->first];
		size_t part = MIN(len - done, v->len);

		memcpy((uint8_t *)buf + done, v->base, part);
		done += part;
		v->base = (uint8_t *)v->base + part;
		v->len -= part;
		c->gpa[c->first] += part;
		if (!v->len)
			c->first++;
	}
	c->out_len -= done;
	return done;
}

uint8_t *virtq_cut_last(struct virtq_chain *c, gpa_t *gpa)
{
	struct virtq_vec *v;

	if (c->n == c->n_out)
		return NULL;
	v = &c->vec[c->n - 1];
	v->len--;
	c->in_len--;
	*gpa = c->gpa[c->n - 1] + v->len;
	if (!v->len)
		c->n--;
	return (uint8_t *)v->base + v->len;
}

size_t virtq_write(struct virtq *q, const struct virtq_chain *c, size_t off, const void *buf,
		   size_t len)
{
	size_t done = 0;

	for (unsigned i = c->n_out; i < c->n && done < len; i++) {
		const struct virtq_vec *v = &c->vec[i];
		size_t part;

		if (off >= v->len) {
			off -= v->len;
			continue;
		}
		part = MIN(v->len - off, len - done);
		memcpy((uint8_t *)v->base + off, (const uint8_t *)buf + done, part);
		mem_written(q->vm, c->gpa[i] + off, part);
		done += part;
		off = 0;
	}
	return done;
}

void virtq_written(struct virtq *q, const struct virtq_chain *c, uint64_t len)
{
	for (unsigned i = c->n_out; i < c->n && len; i++) {
		uint64_t part = MIN((uint64_t)c->vec[i].len, len);

		mem_written(q->vm, c->gpa[i], part);
		len -= part;
	}
}
