/* SPDX-License-Identifier: ISC */
/* e1000_nvm.c: what stands beside the 82540EM's controller: the EEPROM (64 words behind a Microwire bus that
 * drivers drive bit by bit, or EERD), and the PHY's registers behind MDIC. Under the card's lock. */
#include "base/str.h"
#include "dev/nic/e1000_impl.h"

#define EE_SK   BIT(0)
#define EE_CS   BIT(1)
#define EE_DI   BIT(2)
#define EE_DO   BIT(3)
#define EE_REQ  BIT(6)
#define EE_GNT  BIT(7)
#define EE_PRES BIT(8)

#define EE_SUM 0xbaba

void e1000_nvm_init(struct e1000 *e)
{
	static const struct {
		uint8_t at;
		uint16_t word;
	} words[] = {
		{0x03, 0x0000}, {0x04, 0xffff}, {0x05, 0xffff}, {0x08, 0xffff},
		{0x09, 0xffff}, {0x0a, 0x4408}, /* initialization control 1 */
		{0x0b, 0x1100}, {0x0c, 0x1af4}, {0x0d, 0x100e}, {0x0e, 0x8086},
		{0x0f, 0x3040}, {0x10, 0x0008}, {0x21, 0x7061}, /* control 2 and 3 */
	};
	uint16_t sum = 0;

	memset(e->eeprom, 0, sizeof(e->eeprom));
	for (unsigned i = 0; i < 3; i++)
		e->eeprom[i] = (uint16_t)(e->mac[2 * i] | e->mac[2 * i + 1] << 8);
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		e->eeprom[words[i].at] = words[i].word;
	for (unsigned i = 0; i < MICROWIRE_WORDS - 1; i++)
		sum = (uint16_t)(sum + e->eeprom[i]);
	e->eeprom[MICROWIRE_WORDS - 1] = (uint16_t)(EE_SUM - sum);
}

/* ---- EEPROM -------------------------------------------------------------------------------------- */

void e1000_eecd(struct e1000 *e, uint32_t v)
{
	uint32_t old = *e_reg(e, E_EECD);

	*e_reg(e, E_EECD) = v & (EE_SK | EE_CS | EE_DI | EE_REQ);
	if (!(v & EE_CS)) {
		microwire_reset(&e->mw);
	} else if ((v & EE_SK) && !(old & EE_SK)) {
		microwire_clock(&e->mw, e->eeprom, v & EE_DI);
	}
}

uint32_t e1000_eecd_read(struct e1000 *e)
{
	uint32_t v = *e_reg(e, E_EECD);

	return v | EE_PRES | (v & EE_REQ ? EE_GNT : 0) | (e->mw.dout ? EE_DO : 0);
}

void e1000_eerd(struct e1000 *e, uint32_t v)
{
	unsigned at = v >> 8 & 0xff;

	*e_reg(e, E_EERD) = v & 0xff00;
	if (v & 1)
		*e_reg(e, E_EERD) |= BIT(4) /* done */ |
				     (uint32_t)(at < MICROWIRE_WORDS ? e->eeprom[at] : 0xffff)
					     << 16;
}

/* ---- PHY ----------------------------------------------------------------------------------------------- */

#define PHY_ADDR     1
#define PHY_CTRL     0
#define PHY_CTRL_RST 0x8000
#define PHY_CTRL_AN  0x0200 /* restart of negotiation */

#define PHY_STATUS        1
#define PHY_STATUS_LINK   0x0004
#define PHY_SPECIFIC      17
#define PHY_SPECIFIC_LINK 0x0400

/* Writable bits; the others are as after reset. */
static const uint16_t phy_mask[32] = {
	[0] = 0x7d00,  [4] = 0xffff,  [7] = 0xffff,  [9] = 0xff00, [16] = 0xffff,
	[18] = 0xffff, [20] = 0xffff, [29] = 0xffff, [30] = 0xffff};

void e1000_phy_reset(struct e1000 *e)
{
	static const uint16_t reset[32] = {
		[0] = 0x1140,                /* negotiates, 1000 Mbit/s, full duplex */
		[1] = 0x796d,                /* what it can; link up, negotiated */
		[2] = 0x0141,  [3] = 0x0c20, /* 88E1011 */
		[4] = 0x0de1,  [5] = 0x45e1, /* what both offer */
		[6] = 0x0003,  [9] = 0x0f00,  [10] = 0x3c00,
		[15] = 0x3000, [16] = 0x0368, [17] = 0xac00, /* 1000 Mbit/s, full duplex, link */
		[20] = 0x0d60};

	memcpy(e->phy, reset, sizeof(reset));
	e1000_link_bits(e);
}

static void put_bits(uint16_t *reg, uint16_t bits, bool on)
{
	*reg = (uint16_t)(on ? *reg | bits : *reg & ~bits);
}

void e1000_link_bits(struct e1000 *e)
{
	uint32_t *status = e_reg(e, E_STATUS);

	*status = e->unplugged ? *status & ~STATUS_LU : *status | STATUS_LU;
	put_bits(&e->phy[PHY_STATUS], PHY_STATUS_LINK, !e->unplugged);
	put_bits(&e->phy[PHY_SPECIFIC], PHY_SPECIFIC_LINK, !e->unplugged);
}

void e1000_set_link(void *dev, bool up)
{
	struct e1000 *e = dev;

	plat_mutex_lock(&e->lock);
	if (e->unplugged == up || !(*e_reg(e, E_STATUS) & STATUS_LU) == up) {
		e->unplugged = !up;
		e1000_link_bits(e);
		e1000_cause(e, ICR_LSC);
	}
	plat_mutex_unlock(&e->lock);
}

void e1000_mdic(struct e1000 *e, uint32_t v)
{
	unsigned n = v >> 16 & 31, op = v >> 26 & 3;
	uint32_t answer = (v & 0x03ff0000) | (v & BIT(29)) | BIT(28); /* ready */

	if ((v >> 21 & 31) != PHY_ADDR || (op != 1 && op != 2)) {
		answer |= BIT(30) | (v & 0xffff);
	} else if (op == 2) {
		answer |= BIT(27) | e->phy[n];
	} else {
		answer |= BIT(26) | (v & 0xffff);
		e->phy[n] = (uint16_t)((e->phy[n] & ~phy_mask[n]) | (v & phy_mask[n]));
		if (n == PHY_CTRL && (v & PHY_CTRL_RST))
			e1000_phy_reset(e);
		if (n == PHY_CTRL && (v & (PHY_CTRL_RST | PHY_CTRL_AN)))
			e1000_cause(e, ICR_LSC);
	}
	*e_reg(e, E_MDIC) = answer;
	if (v & BIT(29))
		e1000_cause(e, ICR_MDAC);
}
