/* SPDX-License-Identifier: ISC */
/* disks.c: which disks there are, and the way from a name in the fleet's definition to a slice. Tables are read with the
 * disk's own requests, each time they are asked for, on the asker's thread. */
#include "metal/disks.h"

#include "base/str.h"
#include "block/volume.h"
#include "metal/hostdisk_drivers.h"
#include "metal/iommu.h"
#include "metal/part.h"

#define NAME_MAX 64

static struct {
	struct plat_event found; /* all have been looked at */
	struct plat_thread *thread;
} all;

static void (*const probes[])(struct hostpci *f, unsigned *n) = {
	hostvblk_probe,
	hostahci_probe,
	hostnvme_probe,
	hostide_probe,
};

static void look(void *arg)
{
	unsigned n[ARRAY_SIZE(probes)] = {0};
	struct hostpci *f;

	for (unsigned i = 0; (f = hostpci_at(i)); i++)
		for (unsigned k = 0; k < ARRAY_SIZE(probes) && !f->driver; k++)
			probes[k](f, &n[k]);
	plat_event_set(&all.found);
}

int disks_start(void)
{
	return plat_thread_create("disks", look, NULL, &all.thread);
}

void hostdisk_refused(const struct hostpci *f, int err)
{
	plat_log(LOG_WARN, "%s: not used: %s", f->driver ? f->driver : "a disk", err_str(err));
}

/* ---- reading tables ---- */

struct reader {
	const struct hostdisk *disk;
	struct block *b; /* the whole disk, shared */
	uint8_t *page;   /* devices write there */
	struct part_source source;
};

static int read_sector(void *ctx, uint64_t sector, void *buf)
{
	struct reader *r = ctx;
	int err = block_rw_sync(r->b, BLOCK_READ, sector * BLOCK_SECTOR, r->page, BLOCK_SECTOR);

	if (!err)
		memcpy(buf, r->page, BLOCK_SECTOR);
	return err;
}

static void reader_close(struct reader *r)
{
	if (!hostdisk_lost(r->b))
		iommu_pages_free(r->disk->pci, r->page, PAGE_SIZE);
	block_close(r->b);
}

static int reader_open(struct hostdisk *d, struct reader *r)
{
	const struct hostdisk_extent whole = {0, d->sectors};

	r->source = (struct part_source){read_sector, r, d->sectors};
	r->disk = d;
	r->page = iommu_pages_alloc(d->pci, PAGE_SIZE);
	if (!r->page)
		return err_here(ERR_NOMEM);
	if (!hostdisk_slice(d, &whole, 1, true, true, &r->b))
		return 0;
	iommu_pages_free(d->pci, r->page, PAGE_SIZE);
	return err_here(ERR_NOMEM);
}

int disks_parts(struct hostdisk *d, bool (*each)(void *ctx, const struct part *p), void *ctx)
{
	struct reader r;
	int err = reader_open(d, &r);

	if (err)
		return err;
	err = part_walk(&r.source, each, ctx);
	reader_close(&r);
	return err;
}

/* ---- names ---- */

/* The next component of the path; false: it is too long. */
static bool component(const char **at, char *name)
{
	size_t n = 0;

	while ((*at)[n] && (*at)[n] != '/')
		n++;
	if (n >= NAME_MAX)
		return false;
	memcpy(name, *at, n);
	name[n] = 0;
	*at += n + ((*at)[n] == '/');
	return true;
}

struct wish {
	char disk[NAME_MAX], part[NAME_MAX], image[NAME_MAX];
	bool read_only;
	char *err;
	size_t err_size;
};

static int wrong(const struct wish *w, int e, const char *what, const char *name)
{
	str_format(w->err, w->err_size, "%s %s: %s", what, name, err_str(e));
	return e;
}

/* The newer of the directory's copies in the part, if one holds; dir: room for it. */
static int read_directory(struct reader *r, const struct hostdisk_extent *part, uint8_t *dir,
			  uint8_t *page)
{
	uint64_t generation, newest = 0;
	int err = ERR_FORMAT;

	for (unsigned i = 0; i < VOLUME_COPIES && part->sectors >= VOLUME_DATA; i++) {
		int e = block_rw_sync(r->b, BLOCK_READ,
				      part->sector * BLOCK_SECTOR + i * VOLUME_DIR, page,
				      VOLUME_DIR);

		if (!e)
			e = volume_check(page, part->sectors, &generation);
		if (e || (!err && generation <= newest))
			continue;
		memcpy(dir, page, VOLUME_DIR);
		newest = generation;
		err = 0;
	}
	return err;
}

/* The image's extents, on the disk. */
static int find_image(struct reader *r, const struct hostdisk_extent *part, const char *name,
		      struct volume_image *image)
{
	uint8_t *room = iommu_pages_alloc(r->disk->pci, 2 * (size_t)VOLUME_DIR);
	int err;

	if (!room)
		return err_here(ERR_NOMEM);
	err = read_directory(r, part, room, room + VOLUME_DIR);
	if (!err && !volume_find(room, name, image))
		err = ERR_NOENT;
	if (!hostdisk_lost(r->b))
		iommu_pages_free(r->disk->pci, room, 2 * (size_t)VOLUME_DIR);
	for (unsigned i = 0; i < image->n && !err; i++)
		image->extent[i].sector += part->sector;
	return err;
}

_Static_assert(sizeof(struct volume_extent) == sizeof(struct hostdisk_extent) &&
		       offsetof(struct volume_extent, sectors) ==
			       offsetof(struct hostdisk_extent, sectors),
	       "extents are the same thing under two names");

static int open_part(const struct wish *w, struct hostdisk *d, struct reader *r, struct block **out)
{
	struct hostdisk_extent e = {0, d->sectors};
	struct volume_image image = {.n = 1};
	struct part p;
	int err = 0;

	if (w->part[0])
		err = part_find(&r->source, w->part, &p);
	if (err)
		return wrong(w, err, "partition", w->part);
	if (w->part[0])
		e = (struct hostdisk_extent){p.sector, p.sectors};
	image.extent[0] = (struct volume_extent){e.sector, e.sectors};
	if (w->image[0])
		err = find_image(r, &e, w->image, &image);
	if (err)
		return wrong(w, err, "image", w->image);
	err = hostdisk_slice(d, (const void *)image.extent, image.n, w->read_only, false, out);
	return err ? wrong(w, err, "disk", w->disk) : 0;
}

int disks_open(const char *spec, bool read_only, struct block **out, char *err, size_t err_size)
{
	struct wish w = {.read_only = read_only, .err = err, .err_size = err_size};
	struct hostdisk *d;
	struct reader r;
	int e;

	if (!component(&spec, w.disk) || !component(&spec, w.part) || !component(&spec, w.image))
		return wrong(&w, ERR_RANGE, "disk", spec);
	plat_event_wait(&all.found, PLAT_FOREVER);
	d = hostdisk_find(w.disk);
	if (!d)
		return wrong(&w, ERR_NOENT, "disk", w.disk);
	if (d->dead)
		return wrong(&w, ERR_IO, "disk", w.disk);
	e = reader_open(d, &r);
	if (e)
		return wrong(&w, e, "disk", w.disk);
	e = open_part(&w, d, &r, out);
	reader_close(&r);
	return e;
}

int disks_check_iommu(struct hostdisk *d)
{
	const struct hostdisk_extent whole = {0, d->sectors};
	uint8_t *page = plat_pages_alloc(PAGE_SIZE);
	struct block *b;
	bool touched = false;
	int err;

	if (!page)
		return err_here(ERR_NOMEM);
	memset(page, 0xa5, PAGE_SIZE);
	err = hostdisk_slice(d, &whole, 1, true, true, &b);
	if (!err) {
		err = block_rw_sync(b, BLOCK_READ, 0, page, BLOCK_SECTOR);
		plat_log(LOG_INFO, "%s: the read of the check: %s", d->name,
			 err ? err_str(err) : "done");
		block_close(b);
		err = 0;
	}
	for (unsigned i = 0; i < PAGE_SIZE; i++)
		touched |= *(volatile uint8_t *)&page[i] != 0xa5;
	plat_pages_free(page, PAGE_SIZE);
	return touched ? err_here(ERR_ACCES) : err;
}
