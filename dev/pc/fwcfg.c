/* SPDX-License-Identifier: ISC */
/* fwcfg.c: firmware configuration device: selector at 510H, data at 511H, and the DMA interface at
 * 514H, big-endian (QEMU, docs/specs/fw_cfg). Read-only: a guest cannot change an item.
 *
 * Entered by any vCPU thread; fw->lock serialises. */
#include "dev/pc/fwcfg.h"

#include "base/str.h"
#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

#define KEY_SIGNATURE 0x00
#define KEY_ID        0x01
#define KEY_DIRECTORY 0x19
#define KEY_FILES     0x20
#define KEYS          (KEY_FILES + FWCFG_MAX_FILES)
#define KEY_MASK      0x3fffu /* bits 14 and 15: write channel, architecture */
#define KEY_ARCH      0x8000u

#define ID_DMA 0x3 /* traditional interface and DMA */

/* Control of a DMA request */
#define DMA_ERROR  BIT(0)
#define DMA_READ   BIT(1)
#define DMA_SKIP   BIT(2)
#define DMA_SELECT BIT(3)
#define DMA_WRITE  BIT(4)

#define MAX_INTS 8

struct dir_entry {
	uint32_t size;   /* big-endian */
	uint16_t select; /* big-endian */
	uint16_t reserved;
	char name[FWCFG_MAX_NAME];
};
_Static_assert(sizeof(struct dir_entry) == 64, "directory entry");

struct fwcfg {
	struct dev dev;
	struct {
		const uint8_t *data;
		uint32_t len;
	} item[KEYS];
	struct {
		uint32_t count; /* big-endian */
		struct dir_entry entry[FWCFG_MAX_FILES];
	} dir;
	unsigned n_files, n_ints;
	uint64_t ints[MAX_INTS];

	struct plat_mutex lock; /* RANK_DEVICE: all below */
	uint16_t key;
	uint32_t at;
	uint64_t dma_addr;
};

static uint32_t be32(uint32_t v)
{
	return __builtin_bswap32(v);
}

/* ---- reading ----------------------------------------------------------------------------------- */

/* Takes up to len bytes of the item from the current place; what is beyond reads as zeros. */
static uint32_t take(struct fwcfg *fw, uint32_t len, const uint8_t **data)
{
	unsigned key = fw->key & KEY_MASK;
	uint32_t have = 0;

	if (key < KEYS && !(fw->key & KEY_ARCH) && fw->at < fw->item[key].len) {
		have = MIN(len, fw->item[key].len - fw->at);
		*data = fw->item[key].data + fw->at;
		fw->at += have;
	}
	return have;
}

static void select_item(struct fwcfg *fw, uint16_t key)
{
	fw->key = key;
	fw->at = 0;
}

/* Writes to guest memory page by page, so that a request may span what is not contiguous for us.
 * False: some of it is no RAM. */
static bool put(struct vm *vm, gpa_t gpa, const uint8_t *data, uint32_t len)
{
	static const uint8_t zeros[256];

	while (len) {
		uint32_t n = MIN(len, (uint32_t)(PAGE_SIZE - (gpa & PAGE_MASK)));

		if (!data)
			n = MIN(n, (uint32_t)sizeof(zeros));
		if (mem_write(vm, gpa, data ? data : zeros, n))
			return false;
		gpa += n;
		len -= n;
		if (data)
			data += n;
	}
	return true;
}

static void dma(struct fwcfg *fw)
{
	struct vm *vm = fw->dev.vm;
	struct {
		uint32_t control, len; /* big-endian */
		uint64_t addr;
	} req;
	gpa_t at = fw->dma_addr, addr;
	uint32_t control, len, have;
	const uint8_t *data = NULL;
	bool ok = true;

	fw->dma_addr = 0;
	if (mem_read(vm, at, &req, sizeof(req)))
		return;
	control = be32(req.control);
	len = be32(req.len);
	addr = __builtin_bswap64(req.addr);
	if (control & DMA_SELECT)
		select_item(fw, (uint16_t)(control >> 16));
	if (control & DMA_READ) {
		/* What does not exist is bounded too: nothing is larger than memory. */
		have = take(fw, len, &data);
		ok = put(vm, addr, data, have);
		if (ok && len > have)
			ok = len - have <= MIB && put(vm, addr + have, NULL, len - have);
	} else if (control & DMA_WRITE) {
		ok = false;
	} else if (control & DMA_SKIP) {
		take(fw, len, &data);
	}
	req.control = ok ? 0 : be32(DMA_ERROR);
	if (mem_write(vm, at, &req.control, 4))
		return;
}

/* ---- ports ------------------------------------------------------------------------------------- */

static uint64_t fwcfg_read(void *dev, uint64_t off, unsigned size)
{
	static const uint8_t signature[8] = "QEMU CFG";
	struct fwcfg *fw = dev;
	const uint8_t *data = NULL;
	uint64_t v = 0;

	if (off == 1) {
		plat_mutex_lock(&fw->lock);
		if (take(fw, 1, &data))
			v = *data;
		plat_mutex_unlock(&fw->lock);
	} else if (off >= 4) {
		for (unsigned i = 0; i < size && off - 4 + i < sizeof(signature); i++)
			v |= (uint64_t)signature[off - 4 + i] << (8 * i);
	}
	return v;
}

static void fwcfg_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct fwcfg *fw = dev;

	plat_mutex_lock(&fw->lock);
	if (off == 0 && size == 2) {
		select_item(fw, (uint16_t)value);
	} else if (off == 4 && size == 4) {
		fw->dma_addr = (fw->dma_addr & UINT32_MAX) | (uint64_t)be32((uint32_t)value) << 32;
	} else if (off == 8 && size == 4) {
		fw->dma_addr = (fw->dma_addr & ~(uint64_t)UINT32_MAX) | be32((uint32_t)value);
		dma(fw);
	}
	plat_mutex_unlock(&fw->lock);
}

static const struct bus_region fwcfg_region = {
	.name = "fwcfg",
	.base = 0x510,
	.len = 12,
	.min = 1,
	.max = 4,
	.read = fwcfg_read,
	.write = fwcfg_write,
};

/* ---- board side -------------------------------------------------------------------------------- */

int fwcfg_add(struct fwcfg *fw, unsigned key, const void *data, uint32_t len)
{
	if (key >= KEYS)
		return err_here(ERR_INVAL);
	fw->item[key].data = data;
	fw->item[key].len = len;
	return 0;
}

int fwcfg_add_int(struct fwcfg *fw, unsigned key, uint64_t value, unsigned bytes)
{
	if (fw->n_ints == MAX_INTS)
		return err_here(ERR_NOMEM);
	fw->ints[fw->n_ints] = value;
	return fwcfg_add(fw, key, &fw->ints[fw->n_ints++], bytes);
}

int fwcfg_add_file(struct fwcfg *fw, const char *name, const void *data, uint32_t len)
{
	unsigned n = 0;
	struct dir_entry *e = fw->dir.entry;

	while (n < fw->n_files && !str_eq(e->name, name))
		e = &fw->dir.entry[++n];
	if (n == FWCFG_MAX_FILES)
		return err_here(ERR_NOMEM);
	if (!str_copy(e->name, sizeof(e->name), name))
		return err_here(ERR_INVAL);
	e->size = be32(len);
	e->select = __builtin_bswap16((uint16_t)(KEY_FILES + n));
	fw->n_files = MAX(fw->n_files, n + 1);
	fw->dir.count = be32(fw->n_files);
	fw->item[KEY_DIRECTORY].len = (uint32_t)(4 + fw->n_files * sizeof(*e));
	return fwcfg_add(fw, KEY_FILES + n, data, len);
}

static void fwcfg_reset(struct dev *dev)
{
	struct fwcfg *fw = container_of(dev, struct fwcfg, dev);

	plat_mutex_lock(&fw->lock);
	select_item(fw, 0);
	fw->dma_addr = 0;
	plat_mutex_unlock(&fw->lock);
}

static const struct st_field fwcfg_fields[] = {
	ST_U(struct fwcfg, key),
	ST_U(struct fwcfg, at),
	ST_U(struct fwcfg, dma_addr),
};

static int fwcfg_state(struct dev *dev, struct state_stream *st)
{
	struct fwcfg *fw = container_of(dev, struct fwcfg, dev);

	plat_mutex_lock(&fw->lock);
	ST_SYNC(st, "selector", 0, fwcfg_fields, fw);
	plat_mutex_unlock(&fw->lock);
	return st->err;
}

static void fwcfg_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct fwcfg, dev));
}

static const struct dev_class fwcfg_class = {
	.name = "fwcfg",
	.reset = fwcfg_reset,
	.state = fwcfg_state,
	.destroy = fwcfg_destroy,
};

int fwcfg_create(struct vm *vm, struct fwcfg **out)
{
	static const uint8_t signature[4] = {'Q', 'E', 'M', 'U'}, id[4] = {ID_DMA};
	struct fwcfg *fw = plat_alloc(sizeof(*fw));
	int err;

	if (!fw)
		return err_here(ERR_NOMEM);
	plat_mutex_init(&fw->lock, RANK_DEVICE);
	fw->item[KEY_SIGNATURE].data = signature;
	fw->item[KEY_SIGNATURE].len = sizeof(signature);
	fw->item[KEY_ID].data = id;
	fw->item[KEY_ID].len = sizeof(id);
	fw->item[KEY_DIRECTORY].data = (const uint8_t *)&fw->dir;
	fw->item[KEY_DIRECTORY].len = 4;
	err = bus_map(&vm->pio, &fwcfg_region, fw);
	if (err) {
		plat_free(fw);
		return err;
	}
	vm_add_dev(vm, &fw->dev, &fwcfg_class);
	*out = fw;
	return 0;
}
