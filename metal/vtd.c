/* SPDX-License-Identifier: ISC */
/* vtd.c: Intel Virtualization Technology for Directed I/O, revision 3.x, chapters 9 to 11, in its legacy mode:
 * root table, context tables, second-level page tables; invalidation by registers, always of everything, as
 * mappings change when VMs start and end only. The caller serialises. */
#include "metal/vtd.h"

#include "metal/iommu_kind.h"
#include "plat/metal/apic.h"
#include "plat/metal/mem.h"
#include "plat/plat.h"

enum {
	R_CAP = 0x08,
	R_ECAP = 0x10,
	R_GCMD = 0x18,
	R_GSTS = 0x1c,
	R_RTADDR = 0x20,
	R_CCMD = 0x28,
	R_FSTS = 0x34,
	R_FECTL = 0x38,
	R_FEDATA = 0x3c,
	R_FEADDR = 0x40,
	R_FEUADDR = 0x44,
};
#define REG_SIZE       (16 * KIB)
#define CAP_RWBF       BIT64(4)
#define CAP_3_LEVELS   BIT64(9)
#define CAP_4_LEVELS   BIT64(10)
#define CAP_LARGE      BIT64(34)
#define ECAP_COHERENT  BIT64(0)
#define G_TRANSLATE    BIT(31)
#define G_ROOT         BIT(30)
#define G_WRITE_BUFFER BIT(27)
#define G_QUEUE        BIT(26)     /* invalidation by a queue: then not by registers */
#define G_KEEP         0x96ffffffu /* of the status: what a command has to say again */
#define CCMD_ALL       (BIT64(63) | BIT64(61))
#define IOTLB_REG      8u
#define IOTLB_ALL \
	(BIT64(63) | BIT64(60) | BIT64(49) | BIT64(48)) /* with pending reads and writes */
#define FSTS_OVERFLOW BIT(0)
#define FECTL_MASK    BIT(31)
#define RECORD_SIZE   16u
#define RECORD_VALID  BIT(31) /* of its last word */
#define RECORD_READ   BIT(30)
#define CTX_PRESENT   BIT64(0)
#define ANSWER_MAX    NS_PER_SEC

static uint32_t get32(const struct vtd *v, unsigned reg)
{
	return *(volatile uint32_t *)(v->reg + reg);
}

static void put32(const struct vtd *v, unsigned reg, uint32_t value)
{
	*(volatile uint32_t *)(v->reg + reg) = value;
}

static uint64_t get64(const struct vtd *v, unsigned reg)
{
	return *(volatile uint64_t *)(v->reg + reg);
}

static void put64(const struct vtd *v, unsigned reg, uint64_t value)
{
	*(volatile uint64_t *)(v->reg + reg) = value;
}

static void flush_line(const struct vtd *v, volatile void *p)
{
	if (v->flush)
		__asm__ volatile("clflush %0; sfence" : "+m"(*(volatile char *)p) : : "memory");
}

/* Until the bits of a 32-bit register are as wanted. */
static bool await(struct vtd *v, unsigned reg, uint32_t bits, uint32_t want)
{
	for (uint64_t end = plat_now() + ANSWER_MAX; !v->dead && (get32(v, reg) & bits) != want;) {
		v->dead = plat_now() > end;
		cpu_relax();
	}
	if (v->dead)
		plat_log(LOG_ERROR, "iommu: it does not answer (register 0x%x)", reg);
	return !v->dead;
}

static bool command(struct vtd *v, uint32_t clear, uint32_t set)
{
	uint32_t now = (get32(v, R_GSTS) & G_KEEP & ~clear) | set;

	put32(v, R_GCMD, now);
	return await(v, R_GSTS, set | clear, set == G_WRITE_BUFFER ? 0 : set);
}

int vtd_open(struct vtd *v, uint64_t base)
{
	uint64_t cap, ecap;

	*v = (struct vtd){.reg = paging_map(base, REG_SIZE, MAP_W | MAP_UC)};
	if (!v->reg)
		return err_here(ERR_NOMEM);
	cap = get64(v, R_CAP);
	ecap = get64(v, R_ECAP);
	v->levels = cap & CAP_4_LEVELS ? 4 : 3;
	v->large = cap & CAP_LARGE;
	v->flush = !(ecap & ECAP_COHERENT);
	v->write_buffer = cap & CAP_RWBF;
	v->iotlb = (unsigned)(ecap >> 8 & 0x3ff) * 16 + IOTLB_REG;
	v->records = (unsigned)(cap >> 24 & 0x3ff) * 16;
	v->n_records = (unsigned)(cap >> 40 & 0xff) + 1;
	v->n_domains = 1u << (4 + 2 * (cap & 7));
	if (!(cap & (CAP_3_LEVELS | CAP_4_LEVELS)) || v->iotlb + 8 > REG_SIZE ||
	    v->records + v->n_records * RECORD_SIZE > REG_SIZE)
		return err_here(ERR_NOSYS);
	v->root = plat_pages_alloc(PAGE_SIZE);
	return v->root ? 0 : err_here(ERR_NOMEM);
}

int vtd_attach(struct vtd *v, uint16_t bdf, uint64_t root, unsigned id)
{
	uint64_t *bus = &v->root[(bdf >> 8) * 2], *ctx;

	if (id >= v->n_domains)
		return err_here(ERR_NOMEM);
	if (!*bus) {
		ctx = plat_pages_alloc(PAGE_SIZE);
		if (!ctx)
			return err_here(ERR_NOMEM);
		for (unsigned i = 0; i < PAGE_SIZE / 8; i += 8)
			flush_line(v, &ctx[i]);
		*bus = plat_phys(ctx) | CTX_PRESENT;
		flush_line(v, bus);
	}
	ctx = (uint64_t *)plat_virt(*bus & ~PAGE_MASK) + (bdf & 0xff) * 2;
	ctx[1] = (uint64_t)id << 8 | (v->levels - 2);
	atomic_thread_fence(memory_order_seq_cst);
	ctx[0] = root | CTX_PRESENT;
	flush_line(v, ctx);
	vtd_flush(v);
	return 0;
}

void vtd_flush(struct vtd *v)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (v->dead || (v->write_buffer && !command(v, 0, G_WRITE_BUFFER)))
		return;
	put64(v, R_CCMD, CCMD_ALL);
	if (!await(v, R_CCMD + 4, BIT(31), 0))
		return;
	put64(v, v->iotlb, IOTLB_ALL);
	await(v, v->iotlb + 4, BIT(31), 0);
}

int vtd_start(struct vtd *v, uint32_t apic_id, uint8_t vector)
{
	put32(v, R_FEDATA, vector);
	put32(v, R_FEADDR, MSI_ADDRESS | apic_id << 12);
	put32(v, R_FEUADDR, 0);
	put32(v, R_FECTL, 0);
	for (unsigned i = 0; i < PAGE_SIZE / 8; i += 8)
		flush_line(v, &v->root[i]);
	if (get32(v, R_GSTS) & G_QUEUE && !command(v, G_QUEUE, 0))
		return err_here(ERR_IO);
	put64(v, R_RTADDR, plat_phys(v->root));
	if (!command(v, 0, G_ROOT))
		return err_here(ERR_IO);
	vtd_flush(v);
	return command(v, 0, G_TRANSLATE) ? 0 : err_here(ERR_IO);
}

bool vtd_fault(struct vtd *v, struct iommu_fault *out)
{
	for (unsigned i = 0; i < v->n_records; i++) {
		unsigned at = v->records + i * RECORD_SIZE;
		uint32_t last = get32(v, at + 12);

		if (!(last & RECORD_VALID))
			continue;
		*out = (struct iommu_fault){.bdf = (uint16_t)get32(v, at + 8),
					    .pa = get64(v, at) & ~PAGE_MASK,
					    .reason = (uint8_t)last,
					    .write = !(last & RECORD_READ)};
		put32(v, at + 12, RECORD_VALID);
		return true;
	}
	put32(v, R_FSTS, FSTS_OVERFLOW);
	return false;
}
