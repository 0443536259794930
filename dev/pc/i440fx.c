/* SPDX-License-Identifier: ISC */
/* i440fx.c: 82441FX (Intel 290549), 82371SB PIIX3 (290550), 82371AB PIIX4 function 3 (290562).
 *
 * Shadow memory: in each area of C0000H…FFFFFH, PAM0-6 say for reads and for writes whether they go to RAM or to PCI, where
 * the BIOS's ROM is, or nothing. What the guest's page shows is what reads give: the ROM's bytes are copied there while
 * reads go to PCI, and the RAM's kept in chip->ram meanwhile. Pages are writable only where both go to RAM; other writes come
 * by the bus. Entered by any vCPU thread; host->lock covers the
 * configuration spaces, chip->lock what follows from them, chip->router_lock the PIRQ router. */
#include "dev/pc/i440fx.h"

#include "base/str.h"
#include "dev/pc/acpi_pm.h"
#include "dev/pc/piix_smi.h"
#include "dev/pci/pci.h"
#include "vm/dev.h"
#include "vm/stream.h"
#include "vm/vm.h"

/* 82441FX */
#define PAM0       0x59
#define PAM_COUNT  7
#define PAM_RE     0x1u
#define PAM_WE     0x2u
#define SHADOW     0xc0000u
#define SHADOW_LEN 0x40000u
#define BIOS       0xf0000u /* PAM0's area; the others are smaller */
#define AREA_LEN   0x4000u
#define SMRAM      0x72
#define D_OPEN     0x40u
#define D_CLS      0x20u
#define D_LCK      0x10u
#define G_SMRAME   0x08u
#define SMRAM_BITS (D_OPEN | D_CLS | D_LCK | G_SMRAME)
#define SMRAM_INIT 0x02u
/* 82371SB */
#define PIRQRC    0x60 /* four */
#define PIRQ_OFF  0x80
#define PIRQ_IRQS 0xdef8u /* 3-7, 9-12, 14, 15 */
#define XBCS      0x4e
/* 82371AB function 3 */
#define PMBA      0x40
#define PMBA_MASK 0xffc0u
#define DEVACTB   0x58
#define APMC_EN   BIT(25) /* SMI on a write to B2H, if GLBCTL lets it */
#define PMREGMISC 0x80
#define PMIOSE    BIT(0)
#define SMBBA     0x90
#define SMBHSTCFG 0xd2
#define SCI_IRQ   9

struct i440fx {
	struct dev dev;
	struct i440fx_wiring w;
	struct pci_dev *bridge;
	struct pci_dev isa, pm;
	struct plat_mutex lock;  /* RANK_PCI, as the host bridge's: neither within the other */
	uint8_t pam[PAM_COUNT];  /* in force */
	uint8_t ram[SHADOW_LEN]; /* behind the ROM, where reads go to PCI */
	uint8_t smram;
	struct piix_smi smi;

	struct plat_mutex router_lock; /* RANK_ROUTER: all below */
	bool level[4];                 /* of the PIRQ wires */
	uint8_t route[4];
	uint16_t irqs; /* levels that are driven */
};

/* ---- shadow memory ----------------------------------------------------------------------------- */

/* A nibble of a PAM register governs one area: PAM0's high one is F0000H…FFFFFH, the others 16 KiB
 * each from C0000H on, low nibble first. */
static gpa_t area_base(unsigned reg, unsigned high)
{
	return reg ? SHADOW + (2 * (reg - 1) + high) * AREA_LEN : BIOS;
}

static uint64_t area_len(unsigned reg)
{
	return reg ? AREA_LEN : MIB - BIOS;
}

/* The nibble for gpa. */
static unsigned area_bits(const struct i440fx *chip, gpa_t gpa)
{
	unsigned n = (unsigned)((gpa - SHADOW) / AREA_LEN);

	return gpa >= BIOS ? chip->pam[0] >> 4 : chip->pam[1 + n / 2] >> 4 * (n % 2);
}

/* The page shows what PCI has. keep: the RAM was to be seen. */
static void show_rom(struct i440fx *chip, gpa_t gpa, uint64_t len, bool keep)
{
	gpa_t rom = MIB - chip->w.rom_size, from = MAX(gpa, rom);
	hva_t at = mem_ptr(chip->dev.vm, gpa, len, false);

	if (!at)
		return;
	if (keep)
		memcpy(chip->ram + (gpa - SHADOW), at, len);
	memset(at, 0xff, len);
	if (from < gpa + len)
		memcpy(at + (from - gpa), chip->w.rom + (from - rom), gpa + len - from);
	mem_written(chip->dev.vm, gpa, len);
}

static void show_ram(struct i440fx *chip, gpa_t gpa, uint64_t len)
{
	hva_t at = mem_ptr(chip->dev.vm, gpa, len, false);

	if (!at)
		return;
	memcpy(at, chip->ram + (gpa - SHADOW), len);
	mem_written(chip->dev.vm, gpa, len);
}

/* What the pages show is right already: only who may write. */
static void pam_protect(struct i440fx *chip, unsigned reg, uint8_t value)
{
	for (unsigned high = !reg; high < 2; high++)
		mem_protect(chip->dev.vm, area_base(reg, high), area_len(reg),
			    (value >> 4 * high & (PAM_RE | PAM_WE)) != (PAM_RE | PAM_WE));
	chip->pam[reg] = value;
}

static void pam_apply(struct i440fx *chip, unsigned reg, uint8_t value)
{
	uint8_t diff = value ^ chip->pam[reg];

	for (unsigned high = !reg; high < 2; high++)
		if (!(diff >> 4 * high & PAM_RE))
			continue;
		else if (value >> 4 * high & PAM_RE)
			show_ram(chip, area_base(reg, high), area_len(reg));
		else
			show_rom(chip, area_base(reg, high), area_len(reg), true);
	pam_protect(chip, reg, value);
}

/* A write that the page does not take: for RAM that is not to be seen, or for nobody. */
static void shadow_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct i440fx *chip = dev;

	plat_mutex_lock(&chip->lock);
	for (unsigned i = 0; i < size && off + i < SHADOW_LEN; i++)
		if ((area_bits(chip, SHADOW + off + i) & (PAM_RE | PAM_WE)) == PAM_WE)
			chip->ram[off + i] = (uint8_t)(value >> 8 * i);
	plat_mutex_unlock(&chip->lock);
}

static uint64_t shadow_read(void *dev, uint64_t off, unsigned size)
{
	return UINT64_MAX; /* only in the moment in which an engine moves the page */
}

static const struct bus_region shadow_region = {
	.name = "shadow",
	.base = SHADOW,
	.len = SHADOW_LEN,
	.min = 1,
	.max = 8,
	.read = shadow_read,
	.write = shadow_write,
};

/* A0000H…BFFFFH: whose it is, the screen's or SMM's. Once locked it stays so until a reset. */
static void smram_apply(struct i440fx *chip, uint8_t value)
{
	uint8_t who = 0;

	plat_mutex_lock(&chip->lock);
	if (chip->smram & D_LCK)
		value = (uint8_t)((chip->smram & ~D_CLS) | (value & D_CLS));
	if (value & D_LCK)
		value &= (uint8_t)~D_OPEN;
	chip->smram = value;
	if (value & G_SMRAME) {
		who = SMRAM_SMM | (value & D_CLS ? SMRAM_CODE : 0);
		if (value & D_OPEN && !(value & D_CLS))
			who |= SMRAM_OPEN;
	}
	chip->bridge->wmask[SMRAM] = value & D_LCK ? D_CLS : SMRAM_BITS;
	atomic_store(&chip->dev.vm->mem.smram, who);
	plat_mutex_unlock(&chip->lock);
	pci_cfg_poke(chip->bridge, SMRAM, 1, value);
}

static void bridge_written(struct pci_dev *pd, unsigned off, unsigned size)
{
	struct i440fx *chip = pd->ctx;

	if (off <= SMRAM && off + size > SMRAM)
		smram_apply(chip, (uint8_t)pci_cfg_peek(pd, SMRAM, 1));
	for (unsigned r = MAX(off, (unsigned)PAM0); r < MIN(off + size, PAM0 + PAM_COUNT); r++) {
		uint8_t v = (uint8_t)pci_cfg_peek(pd, r, 1);

		plat_mutex_lock(&chip->lock);
		pam_apply(chip, r - PAM0, v);
		plat_mutex_unlock(&chip->lock);
	}
}

/* ---- PIRQ router ------------------------------------------------------------------------------- */

/* Each ISA interrupt is the OR of the PIRQ wires that are routed to it. */
static void router_update(struct i440fx *chip)
{
	uint16_t irqs = 0, diff;

	for (unsigned i = 0; i < 4; i++)
		if (chip->level[i] && !(chip->route[i] & PIRQ_OFF))
			irqs |= (uint16_t)(BIT(chip->route[i] & 15) & PIRQ_IRQS);
	diff = irqs ^ chip->irqs;
	chip->irqs = irqs;
	for (unsigned n = 0; n < 16; n++)
		if (diff & BIT(n))
			gsi_set(chip->dev.vm, n, irqs & BIT(n));
}

static void pirq_set(void *sink, unsigned n, bool level)
{
	struct i440fx *chip = sink;

	plat_mutex_lock(&chip->router_lock);
	chip->level[n & 3] = level;
	router_update(chip);
	plat_mutex_unlock(&chip->router_lock);
}

struct irq_line i440fx_pirq(struct i440fx *chip, unsigned n)
{
	/* INTA# of slot 1 is PIRQA: the bus counts from slot 0. */
	return (struct irq_line){pirq_set, chip, (n + 3) & 3};
}

static void isa_written(struct pci_dev *pd, unsigned off, unsigned size)
{
	struct i440fx *chip = pd->ctx;
	uint32_t v = pci_cfg_peek(pd, PIRQRC, 4);

	if (off + size <= PIRQRC || off >= PIRQRC + 4)
		return;
	plat_mutex_lock(&chip->router_lock);
	for (unsigned i = 0; i < 4; i++)
		chip->route[i] = (uint8_t)(v >> (8 * i));
	router_update(chip);
	plat_mutex_unlock(&chip->router_lock);
}

/* ---- power management --------------------------------------------------------------------------- */

static void pm_written(struct pci_dev *pd, unsigned off, unsigned size)
{
	struct i440fx *chip = pd->ctx;
	uint16_t base = 0;

	piix_smi_enable(&chip->smi, pci_cfg_peek(pd, DEVACTB, 4) & APMC_EN);
	if (off + size <= PMBA || (off >= PMBA + 4 && off != PMREGMISC))
		return;
	if (pci_cfg_peek(pd, PMREGMISC, 1) & PMIOSE)
		base = pci_cfg_peek(pd, PMBA, 2) & PMBA_MASK;
	plat_mutex_lock(&chip->lock);
	if (acpi_pm_move(chip->w.pm, base) || piix_smi_move(&chip->smi, base))
		plat_log(LOG_WARN, "the guest moved power management to port 0x%x, which is taken",
			 base);
	plat_mutex_unlock(&chip->lock);
}

/* ---- the chip set ------------------------------------------------------------------------------- */

static void init_bridge(struct i440fx *chip)
{
	struct pci_dev *pd = chip->bridge;

	/* what firmware for virtual machines recognises them by */
	pci_put(pd->init + PCI_SUBSYS_VENDOR, 2, 0x1af4);
	pci_put(pd->init + PCI_SUBSYS, 2, 0x1100);
	pd->init[PCI_REVISION] = 0x02;
	pd->wmask[PAM0] = 0xf0;
	memset(pd->wmask + PAM0 + 1, 0xff, PAM_COUNT - 1);
	pd->init[SMRAM] = chip->smram = SMRAM_INIT;
	pd->wmask[SMRAM] = SMRAM_BITS;
	pd->ctx = chip;
	pd->after_write = bridge_written;
}

static void init_isa(struct i440fx *chip)
{
	static const struct pci_id id = {.name = "PIIX3 ISA bridge",
					 .vendor = I440FX_VENDOR,
					 .device = 0x7000,
					 .subsys_vendor = 0x1af4,
					 .subsys = 0x1100,
					 .cls = 0x060100};
	struct pci_dev *pd = &chip->isa;

	pci_dev_init(pd, &id);
	pd->init[PCI_COMMAND] = PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER;
	pci_put(pd->init + 0x4c, 4, 0x0003004d); /* I/O recovery; X-Bus chip select */
	pci_put(pd->wmask + 0x4c, 4, 0x03ff00ff);
	memset(pd->init + PIRQRC, PIRQ_OFF, 4);
	memset(pd->wmask + PIRQRC, 0x8f, 4);
	pd->wmask[0x69] = 0xfe; /* top of memory */
	pd->wmask[0x82] = 0x0f; /* deterministic latency */
	pd->ctx = chip;
	pd->after_write = isa_written;
}

static void init_pm(struct i440fx *chip)
{
	static const struct pci_id id = {.name = "PIIX4 power management",
					 .vendor = I440FX_VENDOR,
					 .device = 0x7113,
					 .subsys_vendor = 0x1af4,
					 .subsys = 0x1100,
					 .revision = 3,
					 .cls = 0x068000};
	struct pci_dev *pd = &chip->pm;

	pci_dev_init(pd, &id);
	pd->init[PCI_INT_LINE] = SCI_IRQ;
	pd->init[PCI_INT_PIN] = 1;
	/* Enabled from the start: firmware that finds it so keeps the address, which the ACPI tables
	 * tell too. */
	pci_put(pd->init + PMBA, 4, chip->w.pm_base | 1u);
	pci_put(pd->wmask + PMBA, 2, PMBA_MASK);
	pd->init[PMREGMISC] = PMIOSE;
	pd->wmask[PMREGMISC] = PMIOSE;
	pci_put(pd->init + DEVACTB, 4, APMC_EN);
	pci_put(pd->wmask + DEVACTB, 4, 0x0fffffff);
	pci_put(pd->init + SMBBA, 4, 1);
	pci_put(pd->wmask + SMBBA, 2, 0xfff0);
	pd->wmask[SMBHSTCFG] = 0x0f; /* there is no host controller behind it */
	pd->ctx = chip;
	pd->after_write = pm_written;
}

/* The host bridge resets the configuration spaces. What says whose the low memory is is powered as the memory is, and
 * survives a sleep: firmware wakes in the copy of itself that knows what it has done. So does the PIRQ router, which neither
 * firmware nor a system (the links' _SRS does nothing) sets again then. */
static void i440fx_reset(struct dev *dev)
{
	struct i440fx *chip = container_of(dev, struct i440fx, dev);
	bool waking = dev->vm->waking;

	plat_mutex_lock(&chip->lock);
	for (unsigned r = 0; r < PAM_COUNT; r++) {
		if (!waking)
			pam_apply(chip, r, 0);
		chip->bridge->init[PAM0 + r] = chip->pam[r];
	}
	plat_mutex_unlock(&chip->lock);
	plat_mutex_lock(&chip->router_lock);
	if (!waking)
		memset(chip->route, PIRQ_OFF, sizeof(chip->route));
	memcpy(chip->isa.init + PIRQRC, chip->route, sizeof(chip->route));
	router_update(chip);
	plat_mutex_unlock(&chip->router_lock);
	piix_smi_reset(&chip->smi);
	if (!waking) {
		chip->smram = SMRAM_INIT;
		smram_apply(chip, SMRAM_INIT);
	}
	chip->bridge->init[SMRAM] = chip->smram;
	if (chip->w.pm && (acpi_pm_move(chip->w.pm, chip->w.pm_base) ||
			   piix_smi_move(&chip->smi, chip->w.pm_base)))
		plat_log(LOG_WARN, "power management could not go back to port 0x%x",
			 chip->w.pm_base);
}

static const struct st_field pam_fields[] = {ST_RAW(struct i440fx, pam)};

static const struct st_field shadow_fields[] = {ST_RAW(struct i440fx, ram)};

static const struct st_field smram_fields[] = {ST_U(struct i440fx, smram)};

/* The wires' levels come back with the functions that drive them. */
static int i440fx_state(struct dev *dev, struct state_stream *st)
{
	struct i440fx *chip = container_of(dev, struct i440fx, dev);

	plat_mutex_lock(&chip->lock);
	ST_SYNC(st, "pam", 0, pam_fields, chip);
	for (unsigned r = 0; r < PAM_COUNT && st->loading && !st->err; r++)
		pam_protect(chip, r, chip->pam[r]);
	/* Before, there was one content for both, which is the ROM's until the guest's memory is loaded. */
	if (!st->loading || st->version >= 7)
		ST_SYNC(st, "shadow", 0, shadow_fields, chip);
	else if (mem_read(dev->vm, SHADOW, chip->ram, SHADOW_LEN))
		state_fail(st, err_here(ERR_FORMAT), "no shadow memory");
	plat_mutex_unlock(&chip->lock);
	if (!st->loading || st->version >= 2) {
		ST_SYNC(st, "smram", 0, smram_fields, chip);
		piix_smi_state(&chip->smi, st);
		if (st->loading && !st->err)
			smram_apply(chip, chip->smram);
	}
	if (!st->err && !pci_dev_state(&chip->isa, st) && !pci_dev_state(&chip->pm, st) &&
	    st->loading) {
		isa_written(&chip->isa, PIRQRC, 4);
		pm_written(&chip->pm, PMBA, 4);
	}
	return st->err;
}

static void i440fx_destroy(struct dev *dev)
{
	plat_free(container_of(dev, struct i440fx, dev));
}

static const struct dev_class i440fx_class = {
	.name = "i440fx",
	.reset = i440fx_reset,
	.state = i440fx_state,
	.destroy = i440fx_destroy,
};

int i440fx_create(struct vm *vm, struct i440fx **out)
{
	struct i440fx *chip = plat_alloc(sizeof(*chip));

	if (!chip)
		return err_here(ERR_NOMEM);
	plat_mutex_init(&chip->lock, RANK_PCI);
	plat_mutex_init(&chip->router_lock, RANK_ROUTER);
	plat_mutex_init(&chip->smi.lock, RANK_DEVICE);
	memset(chip->route, PIRQ_OFF, sizeof(chip->route));
	vm_add_dev(vm, &chip->dev, &i440fx_class);
	*out = chip;
	return 0;
}

int i440fx_attach(struct i440fx *chip, const struct i440fx_wiring *w)
{
	int err;

	chip->w = *w;
	chip->bridge = pci_host_find(w->host, 0);
	init_bridge(chip);
	pci_dev_reset(chip->bridge);
	init_isa(chip);
	init_pm(chip);
	err = pci_attach(w->host, &chip->isa, PIIX_SLOT, PIIX_ISA_FN);
	if (!err)
		err = pci_attach(w->host, &chip->pm, PIIX_SLOT, PIIX_PM_FN);
	if (!err)
		err = piix_smi_init(&chip->smi, chip->dev.vm);
	if (!err)
		err = piix_smi_move(&chip->smi, w->pm_base);
	piix_smi_enable(&chip->smi, true);
	if (!err)
		err = bus_map(&chip->dev.vm->mmio, &shadow_region, chip);
	show_rom(chip, SHADOW, SHADOW_LEN, false);
	for (unsigned r = 0; r < PAM_COUNT; r++)
		pam_protect(chip, r, 0);
	return err;
}
