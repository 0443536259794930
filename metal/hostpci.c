/* SPDX-License-Identifier: ISC */
/* hostpci.c: enumeration of the machine's PCI functions (PCI Local Bus 3.0, chapter 6; PCI Express Base,
 * 7.2: ECAM; MSI and MSI-X). Configuration space through the window that MCFG names, of segment 0, where it
 * shows what ports CF8H and CFCH show, else through those. Firmware's addresses stay. The scan runs
 * once; what follows may run on any thread. */
#include "metal/hostpci.h"

#include "metal/acpi.h"
#include "metal/iommu.h"
#include "metal/trap.h"
#include "plat/metal/apic.h"
#include "plat/metal/mem.h"
#include "plat/metal/msr.h"
#include "plat/metal/spin.h"
#include "plat/plat.h"

#define CF8 0xcf8
#define CFC 0xcfc

enum {
	REG_ID = 0x00,
	REG_COMMAND = 0x04,
	REG_STATUS = 0x06,
	REG_CLASS = 0x08,
	REG_HEADER = 0x0e,
	REG_BAR = 0x10,
	REG_BUSES = 0x18, /* of a bridge: primary, secondary, subordinate */
	REG_CAPS = 0x34,
};
#define CMD_MEM      BIT(1)
#define CMD_MASTER   BIT(2)
#define CMD_INTX_OFF BIT(10)
#define STATUS_CAPS  BIT(4)
#define ID_NONE      0xffffffffu

#define MSI_ENABLE    BIT(0)
#define MSI_COUNT     (7u << 4) /* messages in use, as power of two */
#define MSI_64        BIT(7)
#define MSIX_ENABLE   BIT(15)
#define MSIX_MASK_ALL BIT(14)
#define MSIX_ENTRY    16u
#define ROOT_SLOTS    8u /* where a bus that no bridge leads to has its first function, if it is one */
#define ECAM_BUS      MIB
#define MAX_CAPS      48 /* that fit in the space: a loop ends */

static struct {
	struct spin lock; /* CF8H and CFCH belong together */
	volatile uint8_t *ecam;
	unsigned buses;
	struct hostpci fn[HOSTPCI_MAX];
	unsigned n;
	uint32_t target; /* APIC id to which messages go */
	struct {
		void (*fn)(void *arg);
		void *arg;
	} irq[IRQ_PCI_COUNT];
	_Atomic uint32_t n_irqs;
} pci;

/* ---- configuration space ---- */

static uint32_t ports_read(uint16_t bdf, unsigned reg)
{
	uint64_t flags = spin_lock(&pci.lock);
	uint32_t v;

	out32(CF8, BIT(31) | (uint32_t)bdf << 8 | (reg & 0xfc));
	v = in32(CFC);
	spin_unlock(&pci.lock, flags);
	return v;
}

static void ports_write(uint16_t bdf, unsigned reg, unsigned size, uint32_t v)
{
	uint64_t flags = spin_lock(&pci.lock);
	uint16_t port = (uint16_t)(CFC + (reg & 3));

	out32(CF8, BIT(31) | (uint32_t)bdf << 8 | (reg & 0xfc));
	if (size == 1)
		out8(port, (uint8_t)v);
	else if (size == 2)
		out16(port, (uint16_t)v);
	else
		out32(port, v);
	spin_unlock(&pci.lock, flags);
}

static uint32_t cfg_read(uint16_t bdf, unsigned reg, unsigned size)
{
	volatile uint8_t *at = pci.ecam + ((uint64_t)bdf << 12) + reg;
	uint32_t v = ID_NONE;

	if (pci.ecam)
		v = size == 1   ? *at
		    : size == 2 ? *(volatile uint16_t *)at
				: *(volatile uint32_t *)at;
	else if (reg < 0x100)
		v = ports_read(bdf, reg) >> 8 * (reg & 3);
	return size < 4 ? v & (BIT(8 * size) - 1) : v;
}

uint32_t hostpci_read(const struct hostpci *f, unsigned reg, unsigned size)
{
	return cfg_read(f->bdf, reg, size);
}

void hostpci_write(const struct hostpci *f, unsigned reg, unsigned size, uint32_t v)
{
	volatile uint8_t *at = pci.ecam + ((uint64_t)f->bdf << 12) + reg;

	if (!pci.ecam) {
		if (reg < 0x100)
			ports_write(f->bdf, reg, size, v);
	} else if (size == 1) {
		*at = (uint8_t)v;
	} else if (size == 2) {
		*(volatile uint16_t *)at = (uint16_t)v;
	} else {
		*(volatile uint32_t *)at = v;
	}
}

unsigned hostpci_cap(const struct hostpci *f, unsigned id, unsigned after)
{
	unsigned at;

	if (!(hostpci_read(f, REG_STATUS, 2) & STATUS_CAPS))
		return 0;
	at = hostpci_read(f, after ? after + 1 : REG_CAPS, 1) & 0xfc;
	for (unsigned n = 0; at >= 0x40 && n < MAX_CAPS; n++) {
		uint32_t v = hostpci_read(f, at, 2);

		if ((v & 0xff) == id)
			return at;
		at = v >> 8 & 0xfc;
	}
	return 0;
}

/* ---- registers and interrupts of a function ---- */

bool hostpci_buses(const struct hostpci *f, uint8_t *first, uint8_t *last)
{
	uint32_t v = hostpci_read(f, REG_BUSES, 4);

	*first = (uint8_t)(v >> 8);
	*last = (uint8_t)(v >> 16);
	return (hostpci_read(f, REG_HEADER, 1) & 0x7f) == 1;
}

void hostpci_enable(const struct hostpci *f)
{
	if (iommu_attach(f)) {
		plat_log(LOG_WARN, "iommu: %02x:%02x.%x is not driven: it has no IOMMU",
			 f->bdf >> 8, f->bdf >> 3 & 31, f->bdf & 7);
		return;
	}
	hostpci_write(f, REG_COMMAND, 2,
		      hostpci_read(f, REG_COMMAND, 2) | CMD_MEM | CMD_MASTER | CMD_INTX_OFF);
}

void hostpci_disable(const struct hostpci *f)
{
	hostpci_write(f, REG_COMMAND, 2, hostpci_read(f, REG_COMMAND, 2) & ~CMD_MASTER);
}

/* Writes ones to a BAR to see its size; nobody uses the function meanwhile. */
static uint64_t bar_size(const struct hostpci *f, unsigned reg, bool wide)
{
	uint32_t command = hostpci_read(f, REG_COMMAND, 2), low = hostpci_read(f, reg, 4), high = 0;
	uint64_t mask;

	hostpci_write(f, REG_COMMAND, 2, command & ~CMD_MEM);
	hostpci_write(f, reg, 4, ID_NONE);
	mask = UINT64_C(0xffffffff00000000) | (hostpci_read(f, reg, 4) & ~15u);
	hostpci_write(f, reg, 4, low);
	if (wide) {
		high = hostpci_read(f, reg + 4, 4);
		hostpci_write(f, reg + 4, 4, ID_NONE);
		mask = (uint64_t)hostpci_read(f, reg + 4, 4) << 32 | (uint32_t)mask;
		hostpci_write(f, reg + 4, 4, high);
	}
	hostpci_write(f, REG_COMMAND, 2, command);
	return -mask;
}

volatile void *hostpci_map(const struct hostpci *f, unsigned bar, uint64_t offset, uint64_t size)
{
	unsigned reg = REG_BAR + 4 * bar;
	uint32_t low = bar < 6 ? hostpci_read(f, reg, 4) : 1;
	bool wide = (low & 6) == 4 && bar < 5;
	uint64_t pa = low & ~15u, whole;

	if (low & 1)
		return NULL;
	if (wide)
		pa |= (uint64_t)hostpci_read(f, reg + 4, 4) << 32;
	whole = bar_size(f, reg, wide);
	if (!size)
		size = whole - offset;
	if (!pa || offset >= whole || size > whole - offset)
		return NULL;
	return paging_map(pa + offset, size, MAP_W | MAP_UC);
}

static void on_irq(uint8_t vector)
{
	unsigned i = vector - IRQ_PCI;

	pci.irq[i].fn(pci.irq[i].arg);
}

static void use_msi(const struct hostpci *f, unsigned at, uint8_t vector)
{
	uint32_t control = hostpci_read(f, at + 2, 2);

	hostpci_write(f, at + 4, 4, MSI_ADDRESS | pci.target << 12);
	if (control & MSI_64)
		hostpci_write(f, at + 8, 4, 0);
	hostpci_write(f, at + (control & MSI_64 ? 12 : 8), 2, vector);
	hostpci_write(f, at + 2, 2, (control & ~MSI_COUNT) | MSI_ENABLE);
}

static bool use_msix(const struct hostpci *f, unsigned at, uint8_t vector)
{
	uint32_t control = hostpci_read(f, at + 2, 2), table = hostpci_read(f, at + 4, 4);
	volatile uint32_t *entry = hostpci_map(f, table & 7, table & ~7u, MSIX_ENTRY);

	if (!entry)
		return false;
	hostpci_enable(f);
	hostpci_write(f, at + 2, 2, control | MSIX_ENABLE | MSIX_MASK_ALL);
	entry[0] = MSI_ADDRESS | pci.target << 12;
	entry[1] = 0;
	entry[2] = vector;
	entry[3] = 0;
	hostpci_write(f, at + 2, 2, (control & ~MSIX_MASK_ALL) | MSIX_ENABLE);
	return true;
}

int hostpci_irq(const struct hostpci *f, void (*fn)(void *arg), void *arg)
{
	unsigned msix = hostpci_cap(f, HOSTPCI_CAP_MSIX, 0);
	unsigned msi = hostpci_cap(f, HOSTPCI_CAP_MSI, 0);
	uint32_t i;

	if (!msi && !msix)
		return ERR_NOSYS;
	i = atomic_fetch_add(&pci.n_irqs, 1);
	if (i >= IRQ_PCI_COUNT)
		return err_here(ERR_NOMEM);
	pci.irq[i].fn = fn;
	pci.irq[i].arg = arg;
	trap_set_irq((uint8_t)(IRQ_PCI + i), on_irq);
	if (msix && use_msix(f, msix, (uint8_t)(IRQ_PCI + i)))
		return 0;
	if (!msi)
		return err_here(ERR_NOSYS);
	use_msi(f, msi, (uint8_t)(IRQ_PCI + i));
	return 0;
}

void hostpci_pause(void)
{
	struct plat_event never = {0};

	plat_event_wait(&never, plat_now() + HOSTPCI_POLL);
}

/* ---- the scan ---- */

struct hostpci *hostpci_at(unsigned n)
{
	return n < pci.n ? &pci.fn[n] : NULL;
}

static void add(uint16_t bdf, uint32_t id)
{
	if (pci.n < HOSTPCI_MAX)
		pci.fn[pci.n++] = (struct hostpci){.bdf = bdf,
						   .vendor = (uint16_t)id,
						   .device = (uint16_t)(id >> 16),
						   .cls = cfg_read(bdf, REG_CLASS, 4) >> 8};
}

/* Bits of reached: buses that a bridge leads to. */
static bool scan_slot(unsigned bus, unsigned slot, uint64_t reached[4])
{
	unsigned n = 1;

	for (unsigned i = 0; i < n; i++) {
		uint16_t bdf = (uint16_t)(bus << 8 | slot << 3 | i);
		uint32_t id = cfg_read(bdf, REG_ID, 4), type;

		if (id == ID_NONE || !id) {
			if (!i)
				return false;
			continue;
		}
		add(bdf, id);
		type = cfg_read(bdf, REG_HEADER, 1);
		if (!i && type & 0x80)
			n = 8;
		if ((type & 0x7f) == 1) {
			uint32_t to = cfg_read(bdf, REG_BUSES, 4) >> 8 & 0xff;

			reached[to / 64] |= BIT64(to % 64);
		}
	}
	return true;
}

/* Buses of a second root are found by their first functions. */
static void scan(void)
{
	uint64_t reached[4] = {1};

	for (unsigned bus = 0; bus < pci.buses; bus++) {
		unsigned slots = reached[bus / 64] & BIT64(bus % 64) ? 32 : ROOT_SLOTS;

		for (unsigned slot = 0; slot < slots; slot++)
			if (scan_slot(bus, slot, reached))
				slots = 32;
	}
}

static void use_ecam(uint64_t base, unsigned buses)
{
	uint32_t id = ports_read(0, REG_ID);

	pci.ecam = base ? paging_map(base, buses * ECAM_BUS, MAP_W | MAP_UC) : NULL;
	if (pci.ecam && id != ID_NONE && cfg_read(0, REG_ID, 4) != id)
		pci.ecam = NULL;
	pci.buses = pci.ecam ? buses : 256;
}

void hostpci_init(const struct acpi_info *acpi)
{
	pci.target = apic_id();
	use_ecam(acpi->ecam, acpi->ecam_buses);
	scan();
}
