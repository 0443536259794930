/* SPDX-License-Identifier: ISC */
/* piix_smi.c: APM ports and global power management registers of the 82371AB (290562, 7.2 and 7.3).
 *
 * A write to B2H is a request to firmware: SMI to the processor that wrote, where DEVACTB and GLBCTL
 * allow it. Entered by any vCPU thread; smi->lock serialises. */
#include "dev/pc/piix_smi.h"

#include "vm/stream.h"
#include "vm/vm.h"

/* From the block of power management ports on */
#define GLB_FIRST 0x18u
#define GLB_LEN   0x18u
#define GLBSTS    0x18u
#define GLBEN     0x20u
#define GLBCTL    0x28u
#define DEVCTL    0x2cu
#define APM_STS   BIT(5)
#define STS_VALID 0x0fe5u /* ones clear */
#define SMI_EN    BIT(0)
#define APMC      0xb2u

static uint64_t apm_read(void *dev, int vcpu, uint64_t off, unsigned size)
{
	struct piix_smi *smi = dev;
	uint8_t v;

	plat_mutex_lock(&smi->lock);
	v = off ? smi->apms : smi->apmc;
	plat_mutex_unlock(&smi->lock);
	return v;
}

static void apm_write(void *dev, int vcpu, uint64_t off, unsigned size, uint64_t value)
{
	struct piix_smi *smi = dev;
	bool fire = false;

	plat_mutex_lock(&smi->lock);
	if (off) {
		smi->apms = (uint8_t)value;
	} else {
		smi->apmc = (uint8_t)value;
		if (smi->apmc_en) {
			smi->glbsts |= APM_STS;
			fire = smi->glbctl & SMI_EN;
		}
	}
	plat_mutex_unlock(&smi->lock);
	if (fire)
		vcpu_smi(smi->vm->vcpu[vcpu < 0 ? 0 : vcpu]);
}

static const struct bus_region apm_region = {
	.name = "apm",
	.base = APMC,
	.len = 2,
	.min = 1,
	.max = 1,
	.read_by = apm_read,
	.write_by = apm_write,
};

/* The register that holds a byte, and which of its bytes that is */
static uint32_t glb_get(const struct piix_smi *smi, unsigned at)
{
	switch (at & ~3u) {
	case GLBSTS:
		return smi->glbsts;
	case GLBEN:
		return smi->glben;
	case GLBCTL:
		return smi->glbctl;
	case DEVCTL:
		return smi->devctl;
	default:
		return 0;
	}
}

static uint64_t glb_read(void *dev, uint64_t off, unsigned size)
{
	struct piix_smi *smi = dev;
	unsigned at = GLB_FIRST + (unsigned)off;
	uint8_t v;

	plat_mutex_lock(&smi->lock);
	v = (uint8_t)(glb_get(smi, at) >> 8 * (at & 3));
	plat_mutex_unlock(&smi->lock);
	return v;
}

static void glb_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct piix_smi *smi = dev;
	unsigned at = GLB_FIRST + (unsigned)off, shift = 8 * (at & 3);
	uint32_t v = (uint32_t)(value & 0xff) << shift, keep = ~(0xffu << shift);

	plat_mutex_lock(&smi->lock);
	switch (at & ~3u) {
	case GLBSTS:
		smi->glbsts &= (uint16_t) ~(v & STS_VALID);
		break;
	case GLBEN:
		smi->glben = (uint16_t)((smi->glben & keep) | v);
		break;
	case GLBCTL:
		smi->glbctl = (smi->glbctl & keep) | v;
		break;
	case DEVCTL:
		smi->devctl = (smi->devctl & keep) | v;
		break;
	default:
		break;
	}
	plat_mutex_unlock(&smi->lock);
}

static const struct bus_region glb_region = {
	.name = "piix4_smi",
	.len = GLB_LEN,
	.min = 1,
	.max = 1,
	.read = glb_read,
	.write = glb_write,
};

int piix_smi_move(struct piix_smi *smi, uint16_t pm_base)
{
	uint16_t base = pm_base ? (uint16_t)(pm_base + GLB_FIRST) : 0;
	int err = 0;

	if (base == smi->base)
		return 0;
	if (smi->base)
		bus_unmap(&smi->vm->pio, &glb_region, smi);
	smi->base = 0;
	if (base)
		err = bus_map_at(&smi->vm->pio, base, &glb_region, smi);
	if (!err)
		smi->base = base;
	return err;
}

void piix_smi_enable(struct piix_smi *smi, bool apmc_en)
{
	smi->apmc_en = apmc_en;
}

void piix_smi_reset(struct piix_smi *smi)
{
	plat_mutex_lock(&smi->lock);
	smi->apmc = smi->apms = 0;
	smi->glbsts = smi->glben = 0;
	smi->glbctl = smi->devctl = 0;
	plat_mutex_unlock(&smi->lock);
}

static const struct st_field smi_fields[] = {
	ST_U(struct piix_smi, apmc),  ST_U(struct piix_smi, apms),   ST_U(struct piix_smi, glbsts),
	ST_U(struct piix_smi, glben), ST_U(struct piix_smi, glbctl), ST_U(struct piix_smi, devctl),
};

int piix_smi_state(struct piix_smi *smi, struct state_stream *st)
{
	plat_mutex_lock(&smi->lock);
	ST_SYNC(st, "smi", 0, smi_fields, smi);
	plat_mutex_unlock(&smi->lock);
	return st->err;
}

int piix_smi_init(struct piix_smi *smi, struct vm *vm)
{
	smi->vm = vm;
	return bus_map(&vm->pio, &apm_region, smi);
}
