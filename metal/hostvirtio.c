/* SPDX-License-Identifier: ISC */
/* hostvirtio.c: see hostvirtio.h. Queues are three areas in pages of their own. Event indices are not negotiated:
 * with a message each interrupt costs the device's side more than ours. */
#include "metal/hostvirtio.h"
#include "metal/iommu.h"

#include "plat/plat.h"

enum cap { CAP_CFG_TYPE = 3, CAP_BAR = 4, CAP_OFFSET = 8, CAP_LENGTH = 12, CAP_STEP = 16 };
enum cfg_type { CFG_COMMON = 1, CFG_NOTIFY = 2, CFG_DEVICE = 4 };
enum common {
	C_OFFER_SELECT = 0x00,
	C_OFFER = 0x04,
	C_ACCEPT_SELECT = 0x08,
	C_ACCEPT = 0x0c,
	C_MSIX = 0x10,
	C_STATUS = 0x14,
	C_QUEUE = 0x16,
	C_SIZE = 0x18,
	C_QUEUE_MSIX = 0x1a,
	C_ENABLE = 0x1c,
	C_NOTIFY_OFF = 0x1e,
	C_DESC = 0x20,
	C_AVAIL = 0x28,
	C_USED = 0x30,
};
enum status { ST_ACK = 1, ST_DRIVER = 2, ST_DRIVER_OK = 4, ST_FEATURES_OK = 8 };

#define VENDOR_VIRTIO 0x1af4u
#define F_VERSION_1   BIT64(32)
#define F_PLATFORM    BIT64(33) /* DMA as other devices do it */
#define NO_VECTOR     0xffffu
#define RESET_MAX     (NS_PER_SEC / 2)
#define AVAIL_RING    2u /* in 16-bit words: flags, index, then the ring */
#define USED_RING     2u
#define USED_WORDS    4u /* an entry: le32 head, le32 length */

static volatile uint8_t *find(const struct hostpci *f, unsigned type, unsigned *at)
{
	for (*at = 0; (*at = hostpci_cap(f, HOSTPCI_CAP_VENDOR, *at));)
		if (hostpci_read(f, *at + CAP_CFG_TYPE, 1) == type)
			return hostpci_map(f, hostpci_read(f, *at + CAP_BAR, 1),
					   hostpci_read(f, *at + CAP_OFFSET, 4),
					   hostpci_read(f, *at + CAP_LENGTH, 4));
	return NULL;
}

bool hostvirtio_is(const struct hostpci *f, unsigned type)
{
	/* Transitional devices count from 1000H on: network, block, balloon … */
	return f->vendor == VENDOR_VIRTIO &&
	       (f->device == 0x1040 + type || (type <= 2 && f->device == 0xfff + type));
}

/* ---- registers: each is accessed in its own width ---- */

static uint16_t get16(const struct hostvirtio *v, unsigned reg)
{
	return *(volatile uint16_t *)(v->common + reg);
}

static void put16(const struct hostvirtio *v, unsigned reg, uint16_t value)
{
	*(volatile uint16_t *)(v->common + reg) = value;
}

static void put32(const struct hostvirtio *v, unsigned reg, uint32_t value)
{
	*(volatile uint32_t *)(v->common + reg) = value;
}

static void put64(const struct hostvirtio *v, unsigned reg, uint64_t value)
{
	put32(v, reg, (uint32_t)value);
	put32(v, reg + 4, (uint32_t)(value >> 32));
}

static void add_status(const struct hostvirtio *v, uint8_t bits)
{
	v->common[C_STATUS] |= bits;
}

uint64_t hostvirtio_config(const struct hostvirtio *v, unsigned off, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; v->device && i < size; i++)
		value |= (uint64_t)v->device[off + i] << 8 * i;
	return value;
}

void hostvirtio_reset(const struct hostvirtio *v)
{
	uint64_t end = plat_now() + RESET_MAX;

	v->common[C_STATUS] = 0;
	while (v->common[C_STATUS] && plat_now() < end)
		cpu_relax();
}

/* ---- set-up ---- */

static uint64_t offered(const struct hostvirtio *v)
{
	uint64_t f;

	put32(v, C_OFFER_SELECT, 0);
	f = *(volatile uint32_t *)(v->common + C_OFFER);
	put32(v, C_OFFER_SELECT, 1);
	return f | (uint64_t) * (volatile uint32_t *)(v->common + C_OFFER) << 32;
}

int hostvirtio_open(struct hostvirtio *v, struct hostpci *f, uint64_t wanted, bool irq)
{
	unsigned at, notify_at;

	*v = (struct hostvirtio){.pci = f, .irq = irq};
	hostpci_enable(f);
	v->common = find(f, CFG_COMMON, &at);
	v->notify = find(f, CFG_NOTIFY, &notify_at);
	v->device = find(f, CFG_DEVICE, &at);
	if (!v->common || !v->notify)
		return err_here(ERR_NOSYS);
	v->notify_step = hostpci_read(f, notify_at + CAP_STEP, 4);
	hostvirtio_reset(v);
	add_status(v, ST_ACK);
	add_status(v, ST_DRIVER);
	v->features = offered(v) & (wanted | F_VERSION_1 | F_PLATFORM);
	if (iommu_works() && !(v->features & F_PLATFORM))
		plat_log(
			LOG_WARN,
			"iommu: the virtio device %02x:%02x.%x goes past it, and reaches all memory",
			f->bdf >> 8, f->bdf >> 3 & 31, f->bdf & 7);
	for (uint32_t i = 0; i < 2; i++) {
		put32(v, C_ACCEPT_SELECT, i);
		put32(v, C_ACCEPT, (uint32_t)(v->features >> 32 * i));
	}
	add_status(v, ST_FEATURES_OK);
	if (v->features & F_VERSION_1 && v->common[C_STATUS] & ST_FEATURES_OK)
		return 0;
	hostvirtio_reset(v);
	return err_here(ERR_NOSYS);
}

int hostvq_open(const struct hostvirtio *v, unsigned index, unsigned max, struct hostvq *q)
{
	uint8_t *area[3];

	put16(v, C_QUEUE, (uint16_t)index);
	*q = (struct hostvq){.index = (uint16_t)index,
			     .size = (uint16_t)MIN(get16(v, C_SIZE), max)};
	if (!q->size || q->size & (q->size - 1))
		return err_here(ERR_NOENT);
	for (unsigned i = 0; i < ARRAY_SIZE(area); i++) {
		area[i] = iommu_pages_alloc(v->pci,
					    ALIGN_UP((size_t)q->size * 16, (size_t)PAGE_SIZE));
		if (!area[i])
			return err_here(
				ERR_NOMEM); /* what it has is lost: at the start there is more */
	}
	q->desc = (void *)area[0];
	q->avail = (void *)area[1];
	q->used = (void *)area[2];
	q->notify = (void *)(v->notify + (uint64_t)get16(v, C_NOTIFY_OFF) * v->notify_step);
	put16(v, C_SIZE, q->size);
	put16(v, C_QUEUE_MSIX, v->irq ? 0 : NO_VECTOR);
	put64(v, C_DESC, plat_phys(area[0]));
	put64(v, C_AVAIL, plat_phys(area[1]));
	put64(v, C_USED, plat_phys(area[2]));
	put16(v, C_ENABLE, 1);
	return 0;
}

void hostvirtio_ready(const struct hostvirtio *v)
{
	put16(v, C_MSIX, NO_VECTOR); /* changes of the configuration are not heard of */
	add_status(v, ST_DRIVER_OK);
}

/* ---- running ---- */

void hostvq_post(struct hostvq *q, uint16_t head)
{
	q->avail[AVAIL_RING + (q->posted & (q->size - 1))] = head;
	q->posted++;
	__atomic_store_n(&q->avail[1], q->posted, __ATOMIC_RELEASE);
}

void hostvq_kick(struct hostvq *q)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (!(q->used[0] & 1)) /* VIRTQ_USED_F_NO_NOTIFY */
		*q->notify = q->index;
}

bool hostvq_take(struct hostvq *q, uint16_t *head, uint32_t *len)
{
	const volatile uint16_t *e = q->used + USED_RING + (q->taken & (q->size - 1)) * USED_WORDS;

	if (__atomic_load_n(&q->used[1], __ATOMIC_ACQUIRE) == q->taken)
		return false;
	*head = e[0] & (uint16_t)(q->size - 1);
	*len = e[2] | (uint32_t)e[3] << 16;
	q->taken++;
	return true;
}
