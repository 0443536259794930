/* SPDX-License-Identifier: ISC */
/* amdvi.c: AMD's IOMMU (AMD I/O Virtualization Technology, revision 3.x, chapters 2 and 3). All units share one device table,
 * whose entries are all there from the start and lead to a page table that maps nothing. Commands go through a ring, the
 * caller waits for their end; what is refused stands in another. Messages are let through as they are. */
#include "base/str.h"
#include "metal/hostpci.h"
#include "metal/iommu_kind.h"
#include "plat/metal/mem.h"
#include "plat/plat.h"

enum {
	R_TABLE = 0x00,
	R_COMMANDS = 0x08,
	R_EVENTS = 0x10,
	R_CONTROL = 0x18,
	R_CMD_HEAD = 0x2000,
	R_CMD_TAIL = 0x2008,
	R_EVT_HEAD = 0x2010,
	R_EVT_TAIL = 0x2018,
	R_STATUS = 0x2020,
};
#define REG_SIZE      (16 * KIB)
#define CTL_ON        BIT64(0)
#define CTL_EVENTS    BIT64(2)
#define CTL_EVENT_IRQ BIT64(3)
#define CTL_COHERENT  BIT64(10)
#define CTL_COMMANDS  BIT64(12)
#define STATUS_EVENTS 3u /* there are some; some were lost */
#define RING_256      (UINT64_C(8) << 56)
#define RING_BYTES    4096u
#define ENTRY         16u
#define CMD(op)       ((uint64_t)(op) << 60)
enum { CMD_WAIT = 1, CMD_DEVICE = 2, CMD_PAGES = 3 };
#define WAIT_STORE  BIT64(0)
#define PAGES_ALL   UINT64_C(0x7ffffffffffff003) /* every address, and the tables on the way */
#define EVT_FAULT   2u
#define EVT_WRITE   BIT(21) /* of its second word */
#define TABLE_BYTES (2 * MIB)
#define DTE_WORDS   4u
#define DTE_VALID   3u /* the entry, and what it says of translation */
#define DTE_RW      (BIT64(61) | BIT64(62))
#define LEVELS      4u
#define ANSWER_MAX  NS_PER_SEC

struct unit {
	volatile uint8_t *reg;
	uint64_t *commands;
	volatile uint64_t *events;
	uint64_t waits; /* the number of the last wait, which it stores */
	volatile uint64_t *done;
	bool dead;
};

static struct {
	const struct ivrs *ivrs;
	struct unit unit[IVRS_UNITS];
	unsigned n;
	uint64_t *table;
	uint64_t nothing; /* a page table that maps nothing: physical */
} all;

static uint64_t get(const struct unit *u, unsigned reg)
{
	return *(volatile uint64_t *)(u->reg + reg);
}

static void put(const struct unit *u, unsigned reg, uint64_t v)
{
	*(volatile uint64_t *)(u->reg + reg) = v;
}

/* ---- commands ---- */

static void command(struct unit *u, uint64_t low, uint64_t high)
{
	uint64_t tail = get(u, R_CMD_TAIL);

	u->commands[tail / 8] = low;
	u->commands[tail / 8 + 1] = high;
	atomic_thread_fence(memory_order_seq_cst);
	put(u, R_CMD_TAIL, (tail + ENTRY) % RING_BYTES);
}

/* Until it has carried out all that came before. */
static void wait(struct unit *u)
{
	uint64_t end = plat_now() + ANSWER_MAX;

	u->waits++;
	command(u, CMD(CMD_WAIT) | plat_phys((const void *)u->done) | WAIT_STORE, u->waits);
	while (!u->dead && *u->done != u->waits) {
		u->dead = plat_now() > end;
		cpu_relax();
	}
	if (u->dead)
		plat_log(LOG_ERROR, "iommu: it does not answer");
}

static void amd_flush(uint16_t bdf, unsigned id)
{
	atomic_thread_fence(memory_order_seq_cst);
	for (unsigned i = 0; i < all.n; i++) {
		struct unit *u = &all.unit[i];

		if (u->dead || !(get(u, R_CONTROL) & CTL_ON))
			continue;
		command(u, CMD(CMD_DEVICE) | bdf, 0);
		command(u, CMD(CMD_PAGES) | (uint64_t)id << 32, PAGES_ALL);
		wait(u);
	}
}

/* ---- tables ---- */

/* The second half first: it must never be seen with the first one's new state. */
static void set_device(uint16_t bdf, uint64_t root, unsigned id)
{
	volatile uint64_t *e = all.table + (size_t)bdf * DTE_WORDS;

	e[1] = id;
	atomic_thread_fence(memory_order_seq_cst);
	e[0] = root | (uint64_t)LEVELS << 9 | DTE_VALID | DTE_RW;
}

static int amd_prepare(uint16_t bdf, struct iopt *t)
{
	*t = (struct iopt){.format = &iopt_amd, .levels = LEVELS, .large = true};
	return 0;
}

static int amd_attach(uint16_t bdf, const struct iopt *t, unsigned id)
{
	if (id > UINT16_MAX)
		return err_here(ERR_NOMEM);
	set_device(bdf, plat_phys(t->root), id);
	amd_flush(bdf, id);
	return 0;
}

static uint16_t amd_source(uint16_t bdf)
{
	return ivrs_source(all.ivrs, bdf);
}

static bool amd_region(unsigned n, uint16_t bdf, uint64_t *pa, uint64_t *end, bool *its)
{
	if (n >= all.ivrs->n_regions)
		return false;
	*pa = all.ivrs->region[n].pa;
	*end = all.ivrs->region[n].end;
	*its = all.ivrs->region[n].first <= bdf && bdf <= all.ivrs->region[n].last;
	return true;
}

/* ---- set-up ---- */

static int open_unit(struct unit *u, uint64_t base)
{
	uint8_t *room = plat_pages_alloc(3 * RING_BYTES);

	u->reg = paging_map(base, REG_SIZE, MAP_W | MAP_UC);
	if (!u->reg || !room)
		return err_here(ERR_NOMEM);
	u->commands = (void *)room;
	u->events = (void *)(room + RING_BYTES);
	u->done = (void *)(room + 2 * RING_BYTES);
	return 0;
}

static int amd_open(const struct acpi_info *acpi, unsigned *n)
{
	void *nothing = plat_pages_alloc(PAGE_SIZE);
	int err = acpi->ivrs_err;

	all.ivrs = &acpi->ivrs;
	all.table = err ? NULL : plat_pages_alloc(TABLE_BYTES);
	if (!err && (!all.table || !nothing))
		err = err_here(ERR_NOMEM);
	if (err)
		return err;
	all.nothing = plat_phys(nothing);
	for (unsigned bdf = 0; bdf < TABLE_BYTES / 8 / DTE_WORDS; bdf++)
		set_device((uint16_t)bdf, all.nothing, 0);
	for (unsigned i = 0; i < all.ivrs->n_units && !err; i++) {
		err = open_unit(&all.unit[i], all.ivrs->unit[i].base);
		all.n += !err;
	}
	*n = all.n;
	return err;
}

static const struct hostpci *function(uint16_t bdf)
{
	const struct hostpci *f;

	for (unsigned i = 0; (f = hostpci_at(i)); i++)
		if (f->bdf == bdf)
			return f;
	return NULL;
}

static void start_unit(struct unit *u)
{
	put(u, R_CONTROL, 0);
	put(u, R_TABLE, plat_phys(all.table) | (TABLE_BYTES / 4096 - 1));
	put(u, R_COMMANDS, plat_phys(u->commands) | RING_256);
	put(u, R_EVENTS, plat_phys((const void *)u->events) | RING_256);
	put(u, R_CMD_HEAD, 0);
	put(u, R_CMD_TAIL, 0);
	put(u, R_EVT_HEAD, 0);
	put(u, R_EVT_TAIL, 0);
	put(u, R_CONTROL, CTL_COMMANDS | CTL_EVENTS | CTL_EVENT_IRQ | CTL_COHERENT);
	put(u, R_CONTROL, CTL_COMMANDS | CTL_EVENTS | CTL_EVENT_IRQ | CTL_COHERENT | CTL_ON);
}

/* Without an interrupt, faults are not told. */
static int amd_start(void (*fn)(void *arg), void *arg)
{
	for (unsigned i = 0; i < all.n; i++) {
		const struct hostpci *f = function(all.ivrs->unit[i].bdf);

		if (!f || hostpci_irq(f, fn, arg))
			plat_log(LOG_WARN, "iommu: its faults are not told");
		start_unit(&all.unit[i]);
		wait(&all.unit[i]);
		if (all.unit[i].dead)
			return err_here(ERR_TIMEOUT);
	}
	return 0;
}

static bool amd_fault(struct iommu_fault *out)
{
	for (unsigned i = 0; i < all.n; i++) {
		struct unit *u = &all.unit[i];
		uint64_t head = get(u, R_EVT_HEAD) % RING_BYTES, e[2];

		if (head == get(u, R_EVT_TAIL) % RING_BYTES) {
			put(u, R_STATUS, STATUS_EVENTS);
			continue;
		}
		e[0] = u->events[head / 8];
		e[1] = u->events[head / 8 + 1];
		put(u, R_EVT_HEAD, (head + ENTRY) % RING_BYTES);
		*out = (struct iommu_fault){.bdf = (uint16_t)e[0],
					    .pa = e[0] >> 60 == EVT_FAULT ? e[1] & ~PAGE_MASK : 0,
					    .reason = (uint8_t)(e[0] >> 60),
					    .write = e[0] >> 32 & EVT_WRITE};
		return true;
	}
	return false;
}

const struct iommu_kind iommu_amd = {
	.open = amd_open,
	.start = amd_start,
	.source = amd_source,
	.prepare = amd_prepare,
	.attach = amd_attach,
	.flush = amd_flush,
	.fault = amd_fault,
	.region = amd_region,
};
