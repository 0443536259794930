/* SPDX-License-Identifier: ISC */
/* hostdisk.c: requests of VMs become commands of a disk. A request gets a tag, or waits for one in the order of
 * arrival, and is done in pieces, one at a time: a piece ends where an extent ends, where a command can take no more,
 * or where the memory is not such as the device wants; if then not even a sector is left, it goes through a page of
 * the tag's own. So a guest may scatter its buffers as it likes, and costs only itself.
 *
 * Commands are started on the thread that submits, a vCPU's, which does not wait; they end on the disk's thread, woken
 * by its interrupt (or, without one, every millisecond while commands are under way). A disk that leaves a command
 * for its timeout is cut off: its DMA is stopped, and all of its requests fail. */
#include "metal/hostdisk.h"
#include "metal/iommu.h"

#include "base/str.h"

#define TIMEOUT_USUAL (30 * NS_PER_SEC)
#define LOOK          (2 * NS_PER_SEC) /* at timeouts */
#define DISKS         16
#define BOUNCE        PAGE_SIZE
#define COMPLAINTS    8 /* a disk */

struct hostdisk_slice {
	struct block b;
	struct hostdisk *disk;
	struct hostdisk_slice *next; /* under disk->lock */
	bool shared;
	_Atomic bool lost; /* the disk was cut off with a command of it under way */
	unsigned n;
	struct hostdisk_extent extent[];
};

static struct {
	struct hostdisk *disk[DISKS];
	_Atomic uint32_t n;
	const uint8_t *zeros; /* a page */
} all;

/* ---- pieces ---- */

/* The sector at a byte of the slice, and how many bytes follow it on the disk. */
static uint64_t place(const struct hostdisk_slice *s, uint64_t at, uint64_t *room)
{
	const struct hostdisk_extent *e = s->extent;

	at /= BLOCK_SECTOR;
	for (; at >= e->sectors; e++)
		at -= e->sectors;
	*room = (e->sectors - at) * BLOCK_SECTOR;
	return e->sector + at;
}

/* Adds memory to the command; false: it does not go with what is there. */
static bool add_seg(const struct hostdisk *d, struct hostdisk_cmd *c, uint64_t pa, uint64_t len)
{
	struct hostdisk_seg *last = c->n_seg ? &c->seg[c->n_seg - 1] : NULL;

	if ((pa | len) & (d->align - 1) || pa + len > d->pa_end)
		return false;
	if (last && last->pa + last->len == pa && last->len + len <= d->max_seg) {
		last->len += (uint32_t)len;
		return true;
	}
	if (c->n_seg == d->max_segs ||
	    (d->pages && last && (pa | (last->pa + last->len)) & PAGE_MASK))
		return false;
	c->seg[c->n_seg++] = (struct hostdisk_seg){pa, (uint32_t)len};
	return true;
}

/* Takes the last bytes away again. */
static void trim(struct hostdisk_cmd *c, uint64_t n)
{
	while (n) {
		struct hostdisk_seg *last = &c->seg[c->n_seg - 1];
		uint32_t cut = (uint32_t)MIN(n, last->len);

		last->len -= cut;
		n -= cut;
		if (!last->len)
			c->n_seg--;
	}
}

/* Up to room bytes of the request's vectors; gives how many, whole sectors. */
static uint64_t gather(const struct hostdisk *d, const struct hostdisk_flight *f,
		       struct hostdisk_cmd *c, uint64_t room)
{
	const struct block_req *r = f->req;
	size_t at = f->vec_at;
	uint64_t n = 0;

	for (unsigned i = f->vec; i < r->n_vec && n < room; at = 0, i++) {
		while (at < r->vec[i].len && n < room) {
			uint64_t len = MIN(MIN(r->vec[i].len - at, room - n), d->max_seg);

			if (!add_seg(d, c, plat_phys((uint8_t *)r->vec[i].base + at), len))
				goto out;
			at += len;
			n += len;
		}
	}
out:
	trim(c, n % BLOCK_SECTOR);
	return n - n % BLOCK_SECTOR;
}

static uint64_t gather_zeros(const struct hostdisk *d, struct hostdisk_cmd *c, uint64_t room)
{
	uint64_t n = 0;

	for (; n < room && c->n_seg < d->max_segs; n += c->seg[c->n_seg++].len)
		c->seg[c->n_seg] = (struct hostdisk_seg){plat_phys(all.zeros),
							 (uint32_t)MIN(PAGE_SIZE, room - n)};
	return n;
}

/* The next n bytes of the request's memory: copied from or to buf, or (NULL) passed by. */
static void walk(struct hostdisk_flight *f, uint8_t *buf, uint64_t n, bool to_vec)
{
	unsigned vec = f->vec;
	size_t vec_at = f->vec_at;

	while (n && vec < f->req->n_vec) {
		const struct block_vec *v = &f->req->vec[vec];
		size_t len = MIN(n, v->len - vec_at);

		if (buf) {
			memcpy(to_vec ? (uint8_t *)v->base + vec_at : buf,
			       to_vec ? buf : (uint8_t *)v->base + vec_at, len);
			buf += len;
		}
		n -= len;
		vec_at += len;
		if (vec_at == v->len) {
			vec++;
			vec_at = 0;
		}
	}
	if (!buf) {
		f->vec = vec;
		f->vec_at = vec_at;
	}
}

static void start_piece(struct hostdisk *d, unsigned tag)
{
	struct hostdisk_flight *f = &d->flight[tag];
	const struct block_req *r = f->req;
	struct hostdisk_cmd *c = &d->cmd;
	uint64_t room;

	c->op = r->op == BLOCK_ZERO ? BLOCK_WRITE : r->op;
	c->n_seg = 0;
	f->piece = 0;
	f->bounced = false;
	if (r->op != BLOCK_FLUSH) {
		c->sector = place(r->priv, r->offset + f->done, &room);
		room = MIN(room, MIN(r->len - f->done, (uint64_t)d->max_sectors * BLOCK_SECTOR));
		f->piece = r->op == BLOCK_ZERO ? gather_zeros(d, c, room) : gather(d, f, c, room);
		if (!f->piece) {
			f->bounced = true;
			f->piece = MIN(room, BOUNCE);
			c->seg[0] = (struct hostdisk_seg){plat_phys(f->bounce), (uint32_t)f->piece};
			c->n_seg = 1;
			if (r->op == BLOCK_WRITE)
				walk(f, f->bounce, f->piece, false);
		}
		c->sectors = (uint32_t)(f->piece / BLOCK_SECTOR);
	}
	f->since = plat_now();
	d->busy |= BIT(tag);
	d->driver->start(d, tag, c);
}

/* Gives tags to those that wait. */
static void pump(struct hostdisk *d)
{
	while (d->first && d->free) {
		unsigned tag = (unsigned)__builtin_ctz(d->free);
		struct hostdisk_flight *f = &d->flight[tag];

		f->req = d->first;
		d->first = f->req->next;
		if (!d->first)
			d->last = &d->first;
		f->done = 0;
		f->vec = 0;
		f->vec_at = 0;
		d->free &= ~BIT(tag);
		start_piece(d, tag);
	}
	if (d->driver->kick && d->busy)
		d->driver->kick(d);
}

static void request_end(struct hostdisk *d, struct block_req *r, int err)
{
	if (err && d->errors++ < COMPLAINTS)
		plat_log(LOG_WARN, "%s: a %s fails", d->name,
			 r->op == BLOCK_READ ? "read" : "write");
	r->priv = (void *)(intptr_t)err;
	r->next = d->ended;
	d->ended = r;
}

void hostdisk_end(struct hostdisk *d, unsigned tag, int err)
{
	struct hostdisk_flight *f;

	if (tag >= MIN(d->tags, (unsigned)ARRAY_SIZE(d->flight)) || !(d->busy & BIT(tag)))
		return; /* the device says it twice, or of nothing that it was given */
	f = &d->flight[tag];
	d->busy &= ~BIT(tag);
	if (!err && f->bounced && f->req->op == BLOCK_READ)
		walk(f, f->bounce, f->piece, true);
	walk(f, NULL, f->piece, false);
	f->done += f->piece;
	if (!err && f->done < f->req->len) {
		start_piece(d, tag);
		return;
	}
	d->free |= BIT(tag);
	request_end(d, f->req, err);
}

/* ---- the disk's thread ---- */

static void cut(struct hostdisk *d)
{
	plat_log(LOG_ERROR, "%s does not answer: it is cut off, and its disks fail", d->name);
	d->driver->cut(d);
	d->dead = true;
	for (unsigned tag = 0; tag < d->tags; tag++)
		if (d->busy & BIT(tag))
			atomic_store(&((struct hostdisk_slice *)d->flight[tag].req->priv)->lost,
				     true);
	for (unsigned tag = 0; tag < d->tags; tag++)
		hostdisk_end(d, tag, ERR_IO);
	for (struct block_req *r; (r = d->first); request_end(d, r, ERR_IO))
		d->first = r->next;
	d->last = &d->first;
}

static bool late(const struct hostdisk *d)
{
	uint64_t now = plat_now();

	for (unsigned tag = 0; tag < d->tags; tag++)
		if (d->busy & BIT(tag) && now > d->flight[tag].since + d->timeout)
			return true;
	return false;
}

static void disk_thread(void *arg)
{
	struct hostdisk *d = arg;

	for (;;) {
		struct block_req *list;
		bool busy;

		plat_event_clear(&d->event);
		plat_mutex_lock(&d->lock);
		if (d->busy)
			d->driver->poll(d);
		if (late(d))
			cut(d);
		if (!d->dead)
			pump(d);
		list = d->ended;
		d->ended = NULL;
		busy = d->busy;
		plat_mutex_unlock(&d->lock);
		while (list) {
			struct block_req *r = list;

			list = r->next;
			r->done(r, (int)(intptr_t)r->priv);
		}
		plat_event_wait(&d->event, d->irq ? plat_now() + LOOK
					   : busy ? plat_now() + HOSTPCI_POLL
						  : PLAT_FOREVER);
	}
}

void hostdisk_irq(struct hostdisk *d)
{
	plat_event_set(&d->event);
}

int hostdisk_add(struct hostdisk *d)
{
	uint32_t n = atomic_load(&all.n);
	int err;

	if (!all.zeros)
		all.zeros = plat_pages_alloc(PAGE_SIZE);
	if (n == DISKS || !all.zeros)
		return err_here(ERR_NOMEM);
	if (iommu_allow(d->pci, all.zeros, PAGE_SIZE))
		return err_here(ERR_NOMEM);
	for (unsigned i = 0; i < d->tags; i++) {
		d->flight[i].bounce = iommu_pages_alloc(d->pci, BOUNCE);
		if (!d->flight[i].bounce)
			return err_here(ERR_NOMEM);
	}
	plat_mutex_init(&d->lock, RANK_BACKEND);
	d->timeout = d->timeout ? d->timeout : TIMEOUT_USUAL;
	d->free = (uint32_t)(BIT64(d->tags) - 1);
	d->last = &d->first;
	err = plat_thread_create(d->name, disk_thread, d, &d->thread);
	if (err)
		return err;
	all.disk[n] = d;
	atomic_store(&all.n, n + 1);
	plat_log(LOG_INFO, "%s: %s, serial number %s, %llu MiB%s", d->name, d->model,
		 d->serial[0] ? d->serial : "none",
		 (unsigned long long)(d->sectors / (MIB / BLOCK_SECTOR)), d->irq ? "" : ", polled");
	return 0;
}

struct hostdisk *hostdisk_at(unsigned n)
{
	return n < atomic_load(&all.n) ? all.disk[n] : NULL;
}

struct hostdisk *hostdisk_find(const char *name)
{
	struct hostdisk *d;

	for (unsigned i = 0; (d = hostdisk_at(i)); i++)
		if (str_eq(d->name, name) || (*name && str_eq(d->serial, name)))
			return d;
	return NULL;
}

/* ---- slices ---- */

static int check(const struct block *b, const struct block_req *r)
{
	if (r->op == BLOCK_FLUSH)
		return 0;
	if ((r->offset | r->len) % BLOCK_SECTOR || r->offset > b->size ||
	    r->len > b->size - r->offset)
		return err_here(ERR_RANGE);
	return r->op != BLOCK_READ && b->read_only ? err_here(ERR_ROFS) : 0;
}

static void slice_submit(struct block *b, struct block_req *r)
{
	struct hostdisk_slice *s = container_of(b, struct hostdisk_slice, b);
	struct hostdisk *d = s->disk;
	int err = check(b, r);

	/* A hint that is not passed on; a cache that is not there */
	if (err || r->op == BLOCK_DISCARD || (r->op == BLOCK_FLUSH ? !d->cache : !r->len)) {
		r->done(r, err);
		return;
	}
	r->priv = s;
	r->next = NULL;
	plat_mutex_lock(&d->lock);
	if (!d->dead) {
		*d->last = r;
		d->last = &r->next;
		*(r->op == BLOCK_READ ? &d->reads : &d->writes) += 1;
		pump(d);
	}
	err = d->dead ? ERR_IO : 0;
	plat_mutex_unlock(&d->lock);
	if (err)
		r->done(r, err);
	else if (!d->irq)
		plat_event_set(&d->event);
}

static void slice_close(struct block *b)
{
	struct hostdisk_slice *s = container_of(b, struct hostdisk_slice, b);
	struct hostdisk_slice **link = &s->disk->slices;

	plat_mutex_lock(&s->disk->lock);
	while (*link && *link != s)
		link = &(*link)->next;
	if (*link)
		*link = s->next;
	plat_mutex_unlock(&s->disk->lock);
	plat_free(s);
}

static const struct block_ops slice_ops = {"hostdisk", slice_submit, slice_close};

static bool overlap(const struct hostdisk_slice *a, const struct hostdisk_slice *b)
{
	for (unsigned i = 0; i < a->n; i++)
		for (unsigned k = 0; k < b->n; k++)
			if (a->extent[i].sector < b->extent[k].sector + b->extent[k].sectors &&
			    b->extent[k].sector < a->extent[i].sector + a->extent[i].sectors)
				return true;
	return false;
}

/* Puts it on the list if it may be. */
static int claim(struct hostdisk_slice *s)
{
	struct hostdisk *d = s->disk;
	int err = 0;

	plat_mutex_lock(&d->lock);
	for (const struct hostdisk_slice *o = d->slices; o && !err; o = o->next)
		if (!(o->b.read_only && s->b.read_only) && overlap(o, s))
			err = ERR_BUSY;
	if (!err) {
		s->next = d->slices;
		d->slices = s;
	}
	plat_mutex_unlock(&d->lock);
	return err;
}

int hostdisk_slice(struct hostdisk *d, const struct hostdisk_extent *e, unsigned n, bool read_only,
		   bool shared, struct block **out)
{
	struct hostdisk_slice *s = plat_alloc(sizeof(*s) + n * sizeof(*e));
	int err = 0;

	if (!s)
		return err_here(ERR_NOMEM);
	s->b.ops = &slice_ops;
	s->b.read_only = read_only || shared || d->read_only;
	str_copy(s->b.name, sizeof(s->b.name), d->name);
	s->disk = d;
	for (unsigned i = 0; i < n; i++) {
		if (!e[i].sectors || e[i].sector > d->sectors ||
		    e[i].sectors > d->sectors - e[i].sector)
			err = err_here(ERR_RANGE);
		s->extent[s->n++] = e[i];
		s->b.size += e[i].sectors * BLOCK_SECTOR;
	}
	if (!err && !shared)
		err = claim(s);
	if (err)
		plat_free(s);
	else
		*out = &s->b;
	return err;
}

bool hostdisk_lost(const struct block *b)
{
	return b->ops == &slice_ops &&
	       atomic_load(&container_of(b, const struct hostdisk_slice, b)->lost);
}

static const struct hostpci *disk_of(const struct block *b)
{
	return b->ops == &slice_ops ? container_of(b, const struct hostdisk_slice, b)->disk->pci
				    : NULL;
}

int hostdisk_allow(const struct block *b, const void *p, size_t size)
{
	return disk_of(b) ? iommu_allow(disk_of(b), p, size) : 0;
}

void hostdisk_deny(const struct block *b, const void *p, size_t size)
{
	if (disk_of(b))
		iommu_deny(disk_of(b), p, size);
}
