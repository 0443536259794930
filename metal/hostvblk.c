/* SPDX-License-Identifier: ISC */
/* hostvblk.c: the machine's virtio disks (virtio 1.2, 5.2). One queue; its descriptors are dealt out to the tags once and for
 * all, a chain of equal length to each: header, data, status. Header and status of a tag have a place of their
 * own, too. Entered through hostdisk.c, under the disk's lock. */
#include "base/str.h"
#include "metal/hostdisk_drivers.h"
#include "metal/hostvirtio.h"
#include "metal/iommu.h"

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8 };
enum { F_SIZE_MAX = 1, F_SEG_MAX = 2, F_RO = 5, F_BLK_SIZE = 6, F_FLUSH = 9 };
enum { CFG_CAPACITY = 0, CFG_SIZE_MAX = 8, CFG_SEG_MAX = 12, CFG_BLK_SIZE = 20 };

#define TYPE_BLOCK  2u
#define QUEUE_MAX   512u
#define CHAIN_MIN   16u /* descriptors a tag */
#define ID_WAIT     NS_PER_SEC
#define ID_LEN      20u
#define MAX_SECTORS 2048u

struct vblk_talk { /* of a tag, read and written by the device */
	uint32_t type, reserved;
	uint64_t sector;
	uint8_t status;
	uint8_t id[ID_LEN];
	uint8_t rest[27];
};
_Static_assert(sizeof(struct vblk_talk) == 64, "a line");

struct vblk {
	struct hostdisk d;
	struct hostvirtio v;
	struct hostvq q;
	struct vblk_talk *talk; /* a page */
	unsigned chain;         /* descriptors a tag */
};

static struct vblk *to_vblk(struct hostdisk *d)
{
	return container_of(d, struct vblk, d);
}

static void describe(struct vblk *k, unsigned at, uint64_t pa, size_t len, unsigned flags)
{
	k->q.desc[at] = (struct vq_desc){pa, (uint32_t)len, (uint16_t)flags, (uint16_t)(at + 1)};
}

static void vblk_start(struct hostdisk *d, unsigned tag, const struct hostdisk_cmd *c)
{
	struct vblk *k = to_vblk(d);
	struct vblk_talk *t = &k->talk[tag];
	unsigned at = tag * k->chain, head = at;

	t->type = c->op == BLOCK_FLUSH ? T_FLUSH : c->op == BLOCK_READ ? T_IN : T_OUT;
	t->sector = c->op == BLOCK_FLUSH ? 0 : c->sector;
	t->status = 0xff;
	describe(k, at++, plat_phys(t), offsetof(struct vblk_talk, status), VQ_NEXT);
	for (unsigned i = 0; i < c->n_seg; i++)
		describe(k, at++, c->seg[i].pa, c->seg[i].len,
			 VQ_NEXT | (c->op == BLOCK_READ ? VQ_WRITE : 0));
	describe(k, at, plat_phys(&t->status), 1, VQ_WRITE);
	hostvq_post(&k->q, (uint16_t)head);
}

static void vblk_kick(struct hostdisk *d)
{
	hostvq_kick(&to_vblk(d)->q);
}

static void vblk_poll(struct hostdisk *d)
{
	struct vblk *k = to_vblk(d);
	uint16_t head;
	uint32_t len;

	while (hostvq_take(&k->q, &head, &len)) {
		unsigned tag = head / k->chain;

		if (tag < d->tags)
			hostdisk_end(d, tag, k->talk[tag].status ? ERR_IO : 0);
	}
}

static void vblk_cut(struct hostdisk *d)
{
	hostpci_disable(d->pci);
}

static const struct hostdisk_driver vblk_driver = {vblk_start, vblk_kick, vblk_poll, vblk_cut};

/* ---- set-up ---- */

/* Its serial number, if it answers; before anything else is asked of it. */
static void get_id(struct vblk *k)
{
	struct vblk_talk *t = k->talk;
	uint64_t end = plat_now() + ID_WAIT;
	uint16_t head;
	uint32_t len;

	t->type = T_GET_ID;
	describe(k, 0, plat_phys(t), offsetof(struct vblk_talk, status), VQ_NEXT);
	describe(k, 1, plat_phys(t->id), ID_LEN, VQ_NEXT | VQ_WRITE);
	describe(k, 2, plat_phys(&t->status), 1, VQ_WRITE);
	hostvq_post(&k->q, 0);
	hostvq_kick(&k->q);
	while (!hostvq_take(&k->q, &head, &len)) {
		if (plat_now() > end)
			return;
		hostpci_pause();
	}
	if (!t->status)
		memcpy(k->d.serial, t->id, ID_LEN);
}

static void on_irq(void *arg)
{
	hostdisk_irq(&((struct vblk *)arg)->d);
}

static uint64_t config(const struct vblk *k, unsigned feature, unsigned off, uint64_t without)
{
	uint64_t v = k->v.features & BIT64(feature) ? hostvirtio_config(&k->v, off, 4) : 0;

	return v ? v : without;
}

static void limits(struct vblk *k)
{
	struct hostdisk *d = &k->d;

	d->driver = &vblk_driver;
	d->sectors = hostvirtio_config(&k->v, CFG_CAPACITY, 8);
	d->read_only = k->v.features & BIT64(F_RO);
	d->cache = k->v.features & BIT64(F_FLUSH);
	d->tags = MAX(MIN(k->q.size / CHAIN_MIN, HOSTDISK_TAGS), 1u);
	k->chain = k->q.size / d->tags;
	d->max_sectors = MAX_SECTORS;
	d->max_seg = (uint32_t)MIN(config(k, F_SIZE_MAX, CFG_SIZE_MAX, MIB), MIB);
	d->max_segs = MIN((unsigned)MIN(config(k, F_SEG_MAX, CFG_SEG_MAX, 1), HOSTDISK_SEGS),
			  k->chain - 2);
	d->align = 1;
	d->pa_end = UINT64_MAX;
	str_copy(d->model, sizeof(d->model), "virtio disk");
}

static int open(struct vblk *k)
{
	int err = hostvirtio_open(&k->v, k->d.pci,
				  BIT64(F_SIZE_MAX) | BIT64(F_SEG_MAX) | BIT64(F_RO) |
					  BIT64(F_BLK_SIZE) | BIT64(F_FLUSH),
				  k->d.irq);

	if (!err)
		err = hostvq_open(&k->v, 0, QUEUE_MAX, &k->q);
	if (err)
		return err;
	limits(k);
	k->talk = iommu_pages_alloc(k->d.pci, PAGE_SIZE);
	if (!k->talk)
		return err_here(ERR_NOMEM);
	if (k->q.size < 4 || k->d.max_seg < PAGE_SIZE ||
	    config(k, F_BLK_SIZE, CFG_BLK_SIZE, BLOCK_SECTOR) != BLOCK_SECTOR)
		return err_here(ERR_NOSYS);
	hostvirtio_ready(&k->v);
	get_id(k);
	return hostdisk_add(&k->d);
}

void hostvblk_probe(struct hostpci *f, unsigned *n)
{
	struct vblk *k;
	int err = ERR_NOMEM;

	if (!hostvirtio_is(f, TYPE_BLOCK))
		return;
	k = plat_alloc(sizeof(*k));
	if (k) {
		k->d.pci = f;
		k->d.irq = !hostpci_irq(f, on_irq, k);
		str_format(k->d.name, sizeof(k->d.name), "virtio%u", (*n)++);
		f->driver = k->d.name;
		err = open(k);
	}
	if (err)
		hostdisk_refused(f, err);
}
