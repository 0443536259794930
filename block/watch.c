/* SPDX-License-Identifier: ISC */
/* watch.c: see watch.h. A request that rules redirect in part is cut into parts, each told for itself:
 *
 *	redirect disk write sectors 0-7 -> scratch
 *	write sectors 0-15		parts 0-7 (to the scratch file) and 8-15 (to the disk)
 *	read sectors 0-15		one part; what the scratch file has is laid over what was read
 *
 * A bit for each sector says whether the scratch file has it. Any thread. */
#include "block/watch.h"

#include "base/str.h"
#include "plat/plat.h"

struct watch_block;

struct part {
	struct block_req req;
	struct whole *whole;
	uint64_t begun;
	uint32_t rule;
	uint8_t verdict, flags;
	bool silent, overlaid;
};

/* Of a request of the guest's. */
struct whole {
	struct watch_block *w;
	struct block_req *orig;
	_Atomic unsigned left; /* parts that are not done, and one while parts are made */
	_Atomic int err;
	bool first_used;
	struct part first; /* requests that no rule cuts have only this one */
};

#define WHOLES 128 /* in flight without an allocation */

struct watch_block {
	struct block b;
	struct block *back;
	struct monitor *mon;
	const struct block_targets *targets;
	uint16_t index;
	struct block_scratch *scratch;      /* NULL: there is none */
	uint64_t *_Atomic map;              /* NULL: nothing is in the scratch file */
	_Atomic uint32_t used;              /* BIT(image) that has been written */
	struct plat_mutex lock;             /* RANK_BACKEND: of the map's creation */
	_Atomic uint64_t free[WHOLES / 64]; /* a bit for each of pool */
	struct whole pool[WHOLES];
};

/* ---- the scratch file --------------------------------------------------------------------------- */

static uint64_t *map_make(struct watch_block *w)
{
	size_t size = ALIGN_UP(w->b.size / BLOCK_SECTOR / 8 + 8, PAGE_SIZE);
	uint64_t *map;

	plat_mutex_lock(&w->lock);
	map = atomic_load(&w->map);
	if (!map) {
		map = plat_pages_alloc(size);
		atomic_store(&w->map, map);
	}
	plat_mutex_unlock(&w->lock);
	return map;
}

static bool map_has(const uint64_t *map, uint64_t sector)
{
	return __atomic_load_n(&map[sector / 64], __ATOMIC_ACQUIRE) >> (sector % 64) & 1;
}

static void map_set(uint64_t *map, uint64_t off, uint64_t len, bool there)
{
	for (uint64_t s = off / BLOCK_SECTOR; s < (off + len) / BLOCK_SECTOR; s++) {
		if (there)
			__atomic_fetch_or(&map[s / 64], BIT64(s % 64), __ATOMIC_ACQ_REL);
		else
			__atomic_fetch_and(&map[s / 64], ~BIT64(s % 64), __ATOMIC_ACQ_REL);
	}
}

/* Moves [off, off + len) of a request between its vectors and the scratch file. */
static int scratch_io(struct watch_block *w, const struct block_req *req, uint64_t off,
		      uint64_t len, bool write)
{
	uint64_t at = req->offset;
	int err = 0;

	for (unsigned i = 0; i < req->n_vec && !err; at += req->vec[i++].len) {
		uint64_t from = MAX(at, off), to = MIN(at + req->vec[i].len, off + len);

		if (from < to)
			err = w->scratch->io(w->scratch, write, from,
					     (uint8_t *)req->vec[i].base + (from - at), to - from);
	}
	return err;
}

static int scratch_zero(struct watch_block *w, uint64_t off, uint64_t len)
{
	static const uint8_t zeros[BLOCK_SECTOR];
	int err = 0;

	while (len && !err) {
		size_t n = MIN(len, (uint64_t)sizeof(zeros));

		err = w->scratch->io(w->scratch, true, off, (void *)(uintptr_t)zeros, n);
		off += n;
		len -= n;
	}
	return err;
}

static int scratch_write(struct watch_block *w, const struct block_req *req)
{
	uint64_t *map;
	int err;

	if (!w->scratch)
		return ERR_IO;
	map = map_make(w);
	if (!map)
		return ERR_NOMEM;
	switch (req->op) {
	case BLOCK_WRITE:
		err = scratch_io(w, req, req->offset, req->len, true);
		break;
	case BLOCK_ZERO:
		err = scratch_zero(w, req->offset, req->len);
		break;
	default: /* a flush of what nobody keeps, a discard that changes nothing */
		return 0;
	}
	if (!err)
		map_set(map, req->offset, req->len, true);
	return err;
}

/* What the disk has given is old where the scratch file has something. */
static int overlay(struct watch_block *w, const struct block_req *req)
{
	const uint64_t *map = atomic_load(&w->map);
	uint64_t end = (req->offset + req->len) / BLOCK_SECTOR;
	int err = 0;

	for (uint64_t s = req->offset / BLOCK_SECTOR, first; map && s < end && !err; s++) {
		if (!map_has(map, s))
			continue;
		for (first = s; s < end && map_has(map, s); s++)
			;
		err = scratch_io(w, req, first * BLOCK_SECTOR, (s - first) * BLOCK_SECTOR, false);
	}
	return err;
}

/* ---- the pool ------------------------------------------------------------------------------------- */

/* Beyond the pool's room from the heap; NULL: there is no memory. */
static struct whole *whole_get(struct watch_block *w)
{
	for (unsigned i = 0; i < WHOLES / 64; i++) {
		uint64_t bits = atomic_load_explicit(&w->free[i], memory_order_relaxed);

		while (bits) {
			uint64_t bit = bits & -bits;

			bits = atomic_fetch_and_explicit(&w->free[i], ~bit, memory_order_acquire);
			if (bits & bit)
				return &w->pool[64 * i + (unsigned)__builtin_ctzll(bit)];
		}
	}
	return plat_alloc(sizeof(struct whole));
}

static void whole_free(struct whole *wh)
{
	struct watch_block *w = wh->w;
	size_t i = (size_t)(wh - w->pool);

	if (wh < w->pool || wh >= w->pool + WHOLES)
		plat_free(wh);
	else
		atomic_fetch_or_explicit(&w->free[i / 64], BIT64(i % 64), memory_order_release);
}

static void part_free(struct part *p)
{
	if (p != &p->whole->first)
		plat_free(p);
}

/* ---- completion ----------------------------------------------------------------------------------- */

static void whole_put(struct whole *wh)
{
	struct block_req *orig = wh->orig;
	int err;

	if (atomic_fetch_sub(&wh->left, 1) > 1)
		return;
	err = atomic_load(&wh->err);
	whole_free(wh);
	orig->done(orig, err);
}

static void tell(struct watch_block *w, const struct part *p, int err)
{
	struct mon_event ev = {
		.cls = MON_DISK,
		.op = (uint8_t)p->req.op,
		.size = w->index,
		.vcpu = -1,
		.addr = p->req.offset,
		.value = p->req.len,
		.lasted = p->begun ? plat_now() - p->begun : 0,
		.result = (int8_t)err,
		.verdict = p->verdict,
		.flags = p->flags,
		.rule = p->rule,
	};

	mon_tell(w->mon, &ev);
}

static void part_done(struct block_req *req, int err)
{
	struct part *p = container_of(req, struct part, req);
	struct whole *wh = p->whole;

	if (!err && p->overlaid)
		err = overlay(wh->w, req);
	if (!p->silent)
		tell(wh->w, p, err);
	if (err)
		atomic_store(&wh->err, err);
	part_free(p);
	whole_put(wh);
}

/* ---- submission ------------------------------------------------------------------------------------ */

/* The vectors of [off, off + len) of a request. */
static unsigned slice(const struct block_req *req, uint64_t off, uint64_t len,
		      struct block_vec *out)
{
	uint64_t at = req->offset;
	unsigned n = 0;

	for (unsigned i = 0; i < req->n_vec; at += req->vec[i++].len) {
		uint64_t from = MAX(at, off), to = MIN(at + req->vec[i].len, off + len);

		if (from < to)
			out[n++] = (struct block_vec){(uint8_t *)req->vec[i].base + (from - at),
						      to - from};
	}
	return n;
}

static struct part *part_new(struct whole *wh, uint64_t off, uint64_t len)
{
	const struct block_req *orig = wh->orig;
	bool all = len == orig->len;
	struct part *p = &wh->first;
	struct block_vec *vec;

	/* a piece's vectors lie behind it */
	if (!all || wh->first_used)
		p = plat_alloc(sizeof(*p) + (all ? 0 : orig->n_vec * sizeof(*vec)));
	if (!p)
		return NULL;
	if (p == &wh->first)
		wh->first_used = true;
	vec = (struct block_vec *)(p + 1);
	*p = (struct part){.whole = wh};
	p->req = (struct block_req){.op = orig->op,
				    .unmap = orig->unmap,
				    .offset = off,
				    .len = len,
				    .vec = all ? orig->vec : vec,
				    .n_vec = all ? orig->n_vec : slice(orig, off, len, vec),
				    .done = part_done};
	if (mon_listens(wh->w->mon, MON_DISK))
		p->begun = plat_now();
	return p;
}

/* Submits a part to where its verdict says. */
static void part_go(struct watch_block *w, struct part *p, const struct mon_target *to)
{
	uint64_t *map = atomic_load(&w->map);
	struct block *target = w->back;

	if (p->verdict == MON_DENY) {
		part_done(&p->req, ERR_ACCES);
		return;
	}
	if (p->verdict == MON_REDIRECT && to->kind == TARGET_SCRATCH && p->req.op != BLOCK_READ) {
		part_done(&p->req, scratch_write(w, &p->req));
		return;
	}
	if (p->verdict == MON_REDIRECT && to->kind == TARGET_IMAGE) {
		target = w->targets && to->slot < BLOCK_IMAGES ? w->targets->image[to->slot] : NULL;
		if (!target || p->req.offset + p->req.len > target->size ||
		    (target->read_only && p->req.op != BLOCK_READ && p->req.op != BLOCK_FLUSH)) {
			part_done(&p->req, ERR_IO); /* the image is shorter, or cannot be written */
			return;
		}
		atomic_fetch_or(&w->used, BIT(to->slot));
	} else if (map && p->req.op == BLOCK_READ) {
		p->overlaid = true;
	} else if (map && p->req.op != BLOCK_FLUSH) {
		map_set(map, p->req.offset, p->req.len, false);
	}
	block_submit(target, &p->req);
}

/* What went to images shall be as safe as what went to the disk. */
static void flush_images(struct watch_block *w, struct whole *wh)
{
	uint32_t used = atomic_load(&w->used);

	for (unsigned i = 0; i < BLOCK_IMAGES; i++) {
		struct part *p = used & BIT(i) ? part_new(wh, 0, 0) : NULL;

		if (!p) {
			if (used & BIT(i))
				atomic_store(&wh->err, ERR_NOMEM);
			continue;
		}
		p->silent = true;
		atomic_fetch_add(&wh->left, 1);
		block_submit(w->targets->image[i], &p->req);
	}
}

static void watch_submit(struct block *b, struct block_req *req)
{
	struct watch_block *w = container_of(b, struct watch_block, b);
	bool rules = mon_rules(w->mon, MON_DISK);
	uint64_t at = req->offset, end = at + req->len;
	struct whole *wh;

	if (!rules && !mon_listens(w->mon, MON_DISK) && !atomic_load(&w->map) &&
	    !atomic_load(&w->used)) {
		block_submit(w->back, req);
		return;
	}
	wh = whole_get(w);
	if (!wh) {
		req->done(req, ERR_NOMEM);
		return;
	}
	wh->w = w;
	wh->orig = req;
	wh->first_used = false;
	atomic_store_explicit(&wh->err, 0, memory_order_relaxed);
	atomic_store_explicit(&wh->left, 1, memory_order_relaxed);
	do {
		struct mon_event ev = {.cls = MON_DISK,
				       .op = (uint8_t)req->op,
				       .size = w->index,
				       .unit = (uint8_t)w->index,
				       .vcpu = -1,
				       .addr = at,
				       .value = end - at};
		enum mon_verdict v = rules ? mon_ask(w->mon, &ev) : MON_PROVIDE;
		struct part *p = part_new(wh, at, ev.value);

		if (!p) {
			atomic_store(&wh->err, ERR_NOMEM);
			break;
		}
		p->verdict = (uint8_t)v;
		p->rule = ev.rule;
		p->flags = ev.flags;
		at += ev.value;
		atomic_fetch_add(&wh->left, 1);
		part_go(w, p, ev.target);
	} while (at < end);
	if (req->op == BLOCK_FLUSH && atomic_load(&w->used))
		flush_images(w, wh);
	whole_put(wh);
}

/* ---- life ------------------------------------------------------------------------------------------- */

static void watch_close(struct block *b)
{
	struct watch_block *w = container_of(b, struct watch_block, b);
	uint64_t *map = atomic_load(&w->map);

	w->back->ops->close(w->back);
	if (map)
		plat_pages_free(map, ALIGN_UP(b->size / BLOCK_SECTOR / 8 + 8, PAGE_SIZE));
	if (w->scratch)
		w->scratch->close(w->scratch);
	plat_free(w);
}

/* What rules have redirected is no part of it, as it is of no saved state. */
static int watch_snapshot(struct block *b, const struct block_snapshot *s, char *err,
			  size_t err_size)
{
	struct block *back = container_of(b, struct watch_block, b)->back;

	return back->ops->snapshot ? back->ops->snapshot(back, s, err, err_size) : ERR_NOSYS;
}

static const struct block_ops watch_ops = {"watch", watch_submit, watch_close, watch_snapshot};

int block_watch_open(struct block *take_back, struct monitor *mon, unsigned index,
		     const struct block_targets *targets, struct block_scratch *take_scratch,
		     struct block **out)
{
	struct watch_block *w = plat_alloc(sizeof(*w));

	if (!w) {
		take_back->ops->close(take_back);
		if (take_scratch)
			take_scratch->close(take_scratch);
		return err_here(ERR_NOMEM);
	}
	w->scratch = take_scratch;
	w->b = *take_back;
	w->b.ops = &watch_ops;
	w->back = take_back;
	w->mon = mon;
	w->index = (uint16_t)index;
	w->targets = targets;
	for (unsigned i = 0; i < WHOLES / 64; i++)
		atomic_store(&w->free[i], UINT64_MAX);
	plat_mutex_init(&w->lock, RANK_BACKEND);
	*out = &w->b;
	return 0;
}
