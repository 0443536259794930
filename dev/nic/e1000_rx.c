/* SPDX-License-Identifier: ISC */
/* e1000_rx.c: receiving (8254x manual, 3.2): filters, descriptors, checksums. Frames come on the back
 * end's thread, one at a time; where there is no descriptor for one, the back end keeps it. */
#include "base/str.h"
#include "dev/disk.h"
#include "dev/nic/e1000_impl.h"
#include "dev/nic/netcsum.h"

#define RCTL_EN    BIT(1)
#define RCTL_UPE   BIT(3)
#define RCTL_MPE   BIT(4)
#define RCTL_LPE   BIT(5)
#define RCTL_BAM   BIT(15)
#define RCTL_VFE   BIT(18)
#define RCTL_BSEX  BIT(25)
#define RCTL_SECRC BIT(26)
#define LONGEST    1522 /* without RCTL_LPE */

#define RXCSUM_TUOFL BIT(9)

#define RXD_DD    0x01
#define RXD_EOP   0x02
#define RXD_IXSM  0x04
#define RXD_VP    0x08
#define RXD_TCPCS 0x20
#define RXD_IPCS  0x40
#define RXD_PIF   0x80

struct rx_desc {
	uint64_t addr;
	uint16_t len, csum;
	uint8_t status, errors;
	uint16_t special;
};
_Static_assert(sizeof(struct rx_desc) == 16, "receive descriptor");

/* ---- filters ------------------------------------------------------------------------------------- */

static bool exact_match(struct e1000 *e, const uint8_t *dst)
{
	for (unsigned i = 0; i < 16; i++) {
		const uint32_t *ra = e_reg(e, E_RA + 8 * i);

		if ((ra[1] & BIT(31)) &&
		    ra[0] == (dst[0] | dst[1] << 8 | dst[2] << 16 | (uint32_t)dst[3] << 24) &&
		    (ra[1] & 0xffff) == (uint32_t)(dst[4] | dst[5] << 8))
			return true;
	}
	return false;
}

static bool hash_match(struct e1000 *e, const uint8_t *dst)
{
	static const uint8_t shift[4] = {4, 3, 2, 0};
	unsigned h = (unsigned)(dst[4] | dst[5] << 8) >> shift[*e_reg(e, E_RCTL) >> 12 & 3] & 0xfff;

	return *e_reg(e, E_MTA + h / 32 * 4) >> h % 32 & 1;
}

/* pif: passed by the hash only, so that software has to look again. */
static bool address_passes(struct e1000 *e, const uint8_t *dst, bool *pif)
{
	uint32_t rctl = *e_reg(e, E_RCTL);
	bool multicast = dst[0] & 1;

	if (rctl & (multicast ? RCTL_MPE : RCTL_UPE))
		return true;
	if ((rctl & RCTL_BAM) && memcmp(dst, "\xff\xff\xff\xff\xff\xff", 6) == 0)
		return true;
	if (exact_match(e, dst))
		return true;
	*pif = multicast && hash_match(e, dst);
	return *pif;
}

static bool is_vlan(struct e1000 *e, const uint8_t *frame, size_t len)
{
	return len >= 18 && (uint32_t)(frame[12] << 8 | frame[13]) == (*e_reg(e, E_VET) & 0xffff);
}

static bool vlan_passes(struct e1000 *e, const uint8_t *frame, size_t len)
{
	unsigned id = (unsigned)(frame[14] << 8 | frame[15]) & 0xfff;

	if (!(*e_reg(e, E_RCTL) & RCTL_VFE) || !is_vlan(e, frame, len))
		return true;
	return *e_reg(e, E_VFTA + id / 32 * 4) >> id % 32 & 1;
}

/* ---- descriptors ----------------------------------------------------------------------------------- */

static uint32_t buffer_size(uint32_t rctl)
{
	static const uint16_t small[4] = {2048, 1024, 512, 256},
			      large[4] = {16384, 16384, 8192, 4096};

	return (rctl & RCTL_BSEX ? large : small)[rctl >> 16 & 3];
}

static uint32_t ring_size(struct e1000 *e)
{
	return *e_reg(e, E_RDLEN) / sizeof(struct rx_desc);
}

/* Descriptors that the card may use. */
static uint32_t available(struct e1000 *e)
{
	uint32_t n = ring_size(e), head = *e_reg(e, E_RDH), tail = *e_reg(e, E_RDT);

	return n && head < n && tail < n ? (tail + n - head) % n : 0;
}

bool e1000_rx_ready(struct e1000 *e)
{
	bool ready = e->stalled && !e->frozen && (available(e) || !(*e_reg(e, E_RCTL) & RCTL_EN));

	if (ready)
		e->stalled = false;
	return ready;
}

/* What the descriptor says of checksums. */
static uint8_t checksum_bits(struct e1000 *e, const uint8_t *frame, size_t len)
{
	if (!(*e_reg(e, E_RXCSUM) & RXCSUM_TUOFL))
		return RXD_IXSM;
	return netcsum_valid(frame, len) ? RXD_TCPCS | RXD_IPCS : RXD_IXSM;
}

/* Writes len bytes of e->rx into as many descriptors as they take; they are there. */
static void fill(struct e1000 *e, uint32_t len, struct rx_desc proto)
{
	uint64_t base = (*e_reg(e, E_RDBAL) & ~15u) | (uint64_t)*e_reg(e, E_RDBAH) << 32;
	uint32_t size = buffer_size(*e_reg(e, E_RCTL)), done = 0, *head = e_reg(e, E_RDH);

	while (done < len) {
		gpa_t at = base + (uint64_t)*head * sizeof(proto);
		uint32_t n = MIN(size, len - done);
		struct rx_desc d;

		disk_dma(e->dev.vm, at, &d, sizeof(d), false);
		disk_dma(e->dev.vm, d.addr, e->rx + done, n, true);
		done += n;
		proto.addr = d.addr;
		proto.len = (uint16_t)n;
		d = proto;
		d.status = (uint8_t)(proto.status | RXD_DD | (done == len ? RXD_EOP : 0));
		disk_dma(e->dev.vm, at, &d, sizeof(d), true);
		if (++*head == ring_size(e))
			*head = 0;
	}
}

static void count(struct e1000 *e, const uint8_t *dst, uint32_t len)
{
	e1000_count(e, E_TPR, 1);
	e1000_count(e, E_GPRC, 1);
	e1000_count(e, E_GORCL, len);
	if (dst[0] & 1)
		e1000_count(e, memcmp(dst, "\xff\xff\xff\xff\xff\xff", 6) == 0 ? E_BPRC : E_MPRC,
			    1);
}

/* Puts the frame as the guest will see it into e->rx; its length. */
static uint32_t shape(struct e1000 *e, const uint8_t *frame, size_t len, struct rx_desc *d)
{
	uint32_t n = nic_pad(e->rx, frame, len), crc = nic_crc(e->rx, n);

	if ((*e_reg(e, E_CTRL) & CTRL_VME) && is_vlan(e, frame, len)) {
		d->special = (uint16_t)(frame[14] << 8 | frame[15]);
		d->status |= RXD_VP;
		memmove(e->rx + 12, e->rx + 16, n - 16);
		n -= 4;
	}
	if (!(*e_reg(e, E_RCTL) & RCTL_SECRC)) {
		memcpy(e->rx + n, &crc, 4);
		n += 4;
	}
	return n;
}

static bool receive_locked(struct e1000 *e, const uint8_t *frame, size_t len)
{
	uint32_t rctl = *e_reg(e, E_RCTL), n, left;
	struct rx_desc d = {0};
	bool pif = false;

	if (e->frozen)
		return false;
	if (!(rctl & RCTL_EN) || !atomic_load_explicit(&e->pd.master, memory_order_acquire) ||
	    len + 4 > (rctl & RCTL_LPE ? E_RX_MAX : LONGEST) || !ring_size(e) ||
	    !address_passes(e, frame, &pif) || !vlan_passes(e, frame, len))
		return true;
	d.status = (uint8_t)(checksum_bits(e, frame, len) | (pif ? RXD_PIF : 0));
	n = shape(e, frame, len, &d);
	left = available(e);
	if ((uint64_t)left * buffer_size(rctl) < n) {
		/* more than the whole ring will never fit */
		if ((uint64_t)(ring_size(e) - 1) * buffer_size(rctl) >= n)
			return false;
		e1000_count(e, E_MPC, 1);
		e1000_cause(e, ICR_RXO);
		return true;
	}
	d.csum = (uint16_t)netcsum_add(0, e->rx + MIN(*e_reg(e, E_RXCSUM) & 0xff, n),
				       n - MIN(*e_reg(e, E_RXCSUM) & 0xff, n));
	fill(e, n, d);
	count(e, frame, n);
	left = available(e);
	e1000_cause(e, ICR_RXT0 | (left <= ring_size(e) >> (1 + (rctl >> 8 & 3)) ? ICR_RXDMT0 : 0));
	return true;
}

bool e1000_receive(void *dev, const void *frame, size_t len)
{
	struct e1000 *e = dev;
	bool taken;

	if (len < NIC_FRAME_MIN || len > NET_FRAME_MAX)
		return true;
	plat_mutex_lock(&e->lock);
	taken = receive_locked(e, frame, len);
	if (!taken)
		e->stalled = true;
	plat_mutex_unlock(&e->lock);
	return taken;
}
