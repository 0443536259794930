/* SPDX-License-Identifier: ISC */
/* pflash.c: byte-wide NOR flash with the Intel command set (CFI publication 100; Intel 28F640J3 data
 * sheet: read array, status, identifier, query, byte and buffer program, block erase).
 *
 * The contents are in memory; dirty sectors go to the block one after another while the guest runs.
 * Entered by vCPU threads and completions; f->lock serialises. A failed write is logged: the flash
 * goes on from memory. */
#include "dev/pc/pflash.h"

#include "base/str.h"
#include "dev/disk.h"
#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

#define SECTORS (PFLASH_MAX / PFLASH_SECTOR)
#define BUFFER  64u /* bytes of a buffered write */

#define STATUS_READY 0x80
#define STATUS_SEQ   0x30 /* erase and program error: bad command sequence */

enum {
	CMD_PROGRAM_ALT = 0x40,
	CMD_PROGRAM = 0x10,
	CMD_ERASE = 0x20,
	CMD_CLEAR = 0x50,
	CMD_STATUS = 0x70,
	CMD_ID = 0x90,
	CMD_QUERY = 0x98,
	CMD_CONFIRM = 0xd0,
	CMD_BUFFER = 0xe8,
	CMD_ARRAY = 0xff,
};

struct pflash {
	struct dev dev;
	struct bus_region region;
	struct disk disk;
	uint32_t size;
	uint8_t *data;

	struct plat_mutex lock; /* RANK_DEVICE: all below */
	uint8_t mode;           /* what reads give: CMD_ARRAY, CMD_STATUS, CMD_ID, CMD_QUERY */
	uint8_t pending;        /* command that waits for its next write; 0: none */
	uint8_t status;
	uint32_t left; /* bytes of a buffered write still to come; UINT32_MAX: their number */
	uint8_t dirty[SECTORS / 8];
	bool busy, complained;
	uint32_t next; /* sector to look at next */
	struct disk_req req;
	struct block_vec vec;
	struct plat_event done;
};

/* ---- to the block -------------------------------------------------------------------------------- */

/* Takes a dirty sector; false: none. */
static bool take_dirty(struct pflash *f, uint32_t *sector)
{
	uint32_t n = f->size / PFLASH_SECTOR;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t s = (f->next + i) % n;

		if (!(f->dirty[s / 8] >> (s % 8) & 1))
			continue;
		f->dirty[s / 8] &= (uint8_t)~BIT(s % 8);
		f->next = s + 1;
		*sector = s;
		return true;
	}
	return false;
}

static void write_done(struct disk_req *r, int err);

/* Unlocks, and starts to write what is dirty unless that goes on already. */
static void unlock(struct pflash *f)
{
	uint32_t sector = 0;
	bool start =
		!f->busy && f->disk.block && !f->disk.block->read_only && take_dirty(f, &sector);

	if (start) {
		f->busy = true;
		f->vec = (struct block_vec){f->data + sector * PFLASH_SECTOR, PFLASH_SECTOR};
		f->req.req = (struct block_req){.op = BLOCK_WRITE,
						.offset = (uint64_t)sector * PFLASH_SECTOR,
						.len = PFLASH_SECTOR,
						.vec = &f->vec,
						.n_vec = 1};
		f->req.done = write_done;
		f->req.ctx = f;
	}
	plat_mutex_unlock(&f->lock);
	if (start)
		disk_submit(&f->disk, &f->req);
}

static void write_done(struct disk_req *r, int err)
{
	struct pflash *f = r->ctx;

	plat_mutex_lock(&f->lock);
	f->busy = false;
	if (err && !f->complained) {
		f->complained = true;
		plat_log(LOG_ERROR, "%s: firmware variables cannot be written: %s",
			 f->disk.block->name, err_str(err));
	}
	unlock(f);
}

static void read_done(struct disk_req *r, int err)
{
	struct pflash *f = r->ctx;

	f->left = (uint32_t)-err;
	plat_event_set(&f->done);
}

static int load(struct pflash *f)
{
	f->vec = (struct block_vec){f->data, f->size};
	f->req = (struct disk_req){
		.req = {.op = BLOCK_READ, .len = f->size, .vec = &f->vec, .n_vec = 1},
		.done = read_done,
		.ctx = f};
	disk_submit(&f->disk, &f->req);
	plat_event_wait(&f->done, PLAT_FOREVER);
	int err = -(int)f->left;

	f->left = 0;
	return err;
}

/* ---- commands -------------------------------------------------------------------------------------- */

static void touch(struct pflash *f, uint32_t off)
{
	uint32_t s = off / PFLASH_SECTOR;

	f->dirty[s / 8] |= (uint8_t)BIT(s % 8);
}

/* Programming only clears bits. */
static void program(struct pflash *f, uint32_t off, uint8_t v)
{
	f->data[off] &= v;
	touch(f, off);
}

static void erase(struct pflash *f, uint32_t off)
{
	off = ALIGN_DOWN(off, PFLASH_SECTOR);
	memset(f->data + off, 0xff, PFLASH_SECTOR);
	touch(f, off);
}

static void command(struct pflash *f, uint8_t cmd)
{
	switch (cmd) {
	case CMD_PROGRAM:
	case CMD_PROGRAM_ALT:
	case CMD_ERASE:
		f->pending = cmd;
		f->mode = CMD_STATUS;
		break;
	case CMD_BUFFER:
		f->pending = cmd;
		f->left = UINT32_MAX;
		f->mode = CMD_STATUS;
		f->status |= STATUS_READY;
		break;
	case CMD_CLEAR:
		f->status = 0;
		f->mode = CMD_STATUS;
		break;
	case CMD_STATUS:
	case CMD_ID:
	case CMD_QUERY:
		f->mode = cmd;
		break;
	default:
		f->mode = CMD_ARRAY;
	}
}

/* A write that belongs to the command before. */
static void go_on(struct pflash *f, uint32_t off, uint8_t v)
{
	switch (f->pending) {
	case CMD_ERASE:
		f->pending = 0;
		if (v == CMD_CONFIRM)
			erase(f, off);
		else
			f->status |= STATUS_SEQ;
		break;
	case CMD_BUFFER:
		if (f->left == UINT32_MAX) {
			f->left = MIN(v + 1u, BUFFER);
		} else if (f->left) {
			program(f, off, v);
			f->left--;
		} else {
			f->pending = 0;
			if (v != CMD_CONFIRM)
				f->status |= STATUS_SEQ;
		}
		break;
	default:
		f->pending = 0;
		program(f, off, v);
	}
	f->status |= STATUS_READY;
}

static uint8_t query(struct pflash *f, uint32_t off)
{
	unsigned log2 = 31 - (unsigned)__builtin_clz(f->size), blocks = f->size / PFLASH_SECTOR - 1;

	switch (off & 0xff) {
	case 0x10:
		return 'Q';
	case 0x11:
		return 'R';
	case 0x12:
		return 'Y';
	case 0x13: /* Intel/Sharp extended */
		return 0x01;
	case 0x15: /* extended table */
		return 0x31;
	case 0x1b:
		return 0x45;
	case 0x1c:
		return 0x55;
	case 0x1f:
		return 0x07;
	case 0x21:
		return 0x0a;
	case 0x27:
		return (uint8_t)log2;
	case 0x2a: /* buffer, log2 */
		return 6;
	case 0x2c: /* one region: blocks, and their size in 256 bytes */
		return 1;
	case 0x2d:
		return (uint8_t)blocks;
	case 0x2e:
		return (uint8_t)(blocks >> 8);
	case 0x2f:
		return (uint8_t)(PFLASH_SECTOR >> 8);
	case 0x31:
		return 'P';
	case 0x32:
		return 'R';
	case 0x33:
		return 'I';
	default:
		return 0;
	}
}

static uint64_t pflash_read(void *dev, uint64_t off, unsigned size)
{
	struct pflash *f = dev;
	uint64_t v = 0;

	plat_mutex_lock(&f->lock);
	for (unsigned i = 0; i < size; i++) {
		uint32_t at = (uint32_t)off + i;
		uint8_t b;

		if (f->mode == CMD_ARRAY)
			b = at < f->size ? f->data[at] : 0xff;
		else if (f->mode == CMD_STATUS)
			b = f->status;
		else if (f->mode == CMD_QUERY)
			b = query(f, at);
		else
			b = (at & 0xff) == 0 ? 0x89 : (at & 0xff) == 1 ? 0x18 : 0;
		v |= (uint64_t)b << (8 * i);
	}
	plat_mutex_unlock(&f->lock);
	return v;
}

static void pflash_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct pflash *f = dev;

	plat_mutex_lock(&f->lock);
	if (f->pending)
		for (unsigned i = 0; i < size && off + i < f->size; i++)
			go_on(f, (uint32_t)off + i, (uint8_t)(value >> (8 * i)));
	else
		command(f, (uint8_t)value);
	unlock(f);
}

/* ---- the device -------------------------------------------------------------------------------------- */

static void pflash_reset(struct dev *dev)
{
	struct pflash *f = container_of(dev, struct pflash, dev);

	plat_mutex_lock(&f->lock);
	f->mode = CMD_ARRAY;
	f->pending = 0;
	f->status = STATUS_READY;
	unlock(f);
}

static const struct st_field pflash_fields[] = {
	ST_U(struct pflash, mode),
	ST_U(struct pflash, pending),
	ST_U(struct pflash, status),
	ST_U(struct pflash, left),
};

/* Takes a sector of the saved contents; the file gets what differs from it. */
static void load_sector(struct pflash *f, struct state_stream *st, uint32_t off, uint8_t *buf)
{
	uint32_t len = PFLASH_SECTOR;

	if (st_get_bytes(st, "sector", buf, &len))
		return;
	if (len != PFLASH_SECTOR) {
		state_fail(st, err_here(ERR_FORMAT), "flash: sectors of another size");
	} else if (memcmp(f->data + off, buf, PFLASH_SECTOR)) {
		memcpy(f->data + off, buf, PFLASH_SECTOR);
		touch(f, off);
	}
}

static int pflash_state(struct dev *dev, struct state_stream *st)
{
	struct pflash *f = container_of(dev, struct pflash, dev);
	uint8_t *buf = plat_pages_alloc(ALIGN_UP(PFLASH_SECTOR, PAGE_SIZE));

	if (!buf)
		return state_fail(st, err_here(ERR_NOMEM), "out of memory");
	plat_mutex_lock(&f->lock);
	ST_SYNC(st, "flash", 0, pflash_fields, f);
	if (st->loading && f->left > BUFFER && f->left != UINT32_MAX)
		state_fail(st, err_here(ERR_FORMAT), "flash: an impossible buffer");
	for (uint32_t off = 0; off < f->size && !st->err; off += PFLASH_SECTOR) {
		if (st->loading)
			load_sector(f, st, off, buf);
		else
			st_put_bytes(st, "sector", f->data + off, PFLASH_SECTOR);
	}
	unlock(f);
	plat_pages_free(buf, ALIGN_UP(PFLASH_SECTOR, PAGE_SIZE));
	return st->err;
}

static int pflash_freeze(struct dev *dev, bool on)
{
	return on ? disk_quiesce(&container_of(dev, struct pflash, dev)->disk) : 0;
}

static void pflash_destroy(struct dev *dev)
{
	struct pflash *f = container_of(dev, struct pflash, dev);

	disk_fini(&f->disk); /* completions write what is left */
	if (f->data)
		plat_pages_free(f->data, f->size);
	plat_free(f);
}

static const struct dev_class pflash_class = {
	.name = "pflash",
	.reset = pflash_reset,
	.state = pflash_state,
	.freeze = pflash_freeze,
	.destroy = pflash_destroy,
};

int pflash_create(struct vm *vm, const struct pflash_wiring *w, struct pflash **out)
{
	uint64_t size = w->block->size;
	struct pflash *f;
	int err;

	if (!size || size > PFLASH_MAX || !IS_ALIGNED(size, (uint64_t)PFLASH_SECTOR))
		return err_here(ERR_INVAL);
	f = plat_alloc(sizeof(*f));
	if (!f)
		return err_here(ERR_NOMEM);
	f->size = (uint32_t)size;
	f->mode = CMD_ARRAY;
	f->status = STATUS_READY;
	plat_mutex_init(&f->lock, RANK_DEVICE);
	disk_init(&f->disk, vm, w->block);
	/* From here on the VM owns it, on errors too. */
	vm_add_dev(vm, &f->dev, &pflash_class);
	f->data = plat_pages_alloc(size);
	if (!f->data)
		return err_here(ERR_NOMEM);
	err = load(f);
	if (err)
		return err;
	f->region = (struct bus_region){.name = "pflash",
					.len = size,
					.min = 1,
					.max = 8,
					.read = pflash_read,
					.write = pflash_write};
	*out = f;
	return bus_map_at(&vm->mmio, w->end - size, &f->region, f);
}
