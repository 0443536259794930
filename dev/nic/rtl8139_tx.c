/* SPDX-License-Identifier: ISC */
/* rtl8139_tx.c: sending: the four buffers of the old mode in turn, or the two rings of descriptors of the C+
 * mode with checksums, TCP segmentation and VLAN tags (RTL8139C+ data sheet, 8 and 9).
 *
 * One thread at a time sends; a doorbell that rings meanwhile is seen by it. A frame is copied out of
 * guest memory under the lock and given to the back end without it, which may answer at once. */
#include "dev/disk.h"
#include "dev/nic/rtl8139_impl.h"

#define TSD_OWN  BIT(13)
#define TSD_TOK  BIT(15)
#define TSD_SIZE 0x1fffu

#define TCR_LOOPBACK 0x60000u /* both bits */
#define TCR_CRC      BIT(16)  /* the guest's frames end with their checksum */

#define TX_LGSEN BIT(27)
#define TX_IPCS  BIT(18)
#define TX_UDPCS BIT(17)
#define TX_TCPCS BIT(16)
#define TX_MSS   0x7ffu
#define TX_TAGC  BIT(17) /* in opts2 */
#define TX_KEPT  (RTL_EOR | RTL_FS | RTL_LS | 0xffffu)

static void to_wire(void *arg, const uint8_t *frame, size_t len)
{
	struct rtl8139 *r = arg;

	nic_send(r->net, frame, len);
}

static void to_itself(void *arg, const uint8_t *frame, size_t len)
{
	rtl8139_receive(arg, frame, len); /* what there is no room for is lost */
}

/* ---- old mode ---------------------------------------------------------------------------------------- */

static bool next_buffer(struct rtl8139 *r, struct nic_frame *t)
{
	unsigned at = R_TSD + 4u * r->tx_next;
	uint32_t tsd = rtl_get(r, at, 4);

	if (tsd & TSD_OWN)
		return false;
	*t = (struct nic_frame){.len = tsd & TSD_SIZE};
	disk_dma(r->dev.vm, rtl_get(r, R_TSAD + 4u * r->tx_next, 4), r->buf, t->len, false);
	pci_put(r->reg + at, 4, tsd | TSD_OWN | TSD_TOK);
	r->tx_next = (uint8_t)((r->tx_next + 1) & 3);
	return true;
}

/* ---- C+ mode ----------------------------------------------------------------------------------------- */

/* The first descriptor of a frame says what is to be done with it. */
static void frame_begin(struct rtl8139 *r, const struct rtl_desc *d)
{
	bool segment = d->opts1 & TX_LGSEN;

	r->tx = (struct nic_frame){
		.begun = true,
		.segment = segment,
		.ip_sum = segment || (d->opts1 & TX_IPCS),
		.tu_sum = segment || (d->opts1 & (TX_UDPCS | TX_TCPCS)),
		.ctx.mss = segment ? d->opts1 >> 16 & TX_MSS : 0,
	};
}

/* true: the frame is complete. */
static bool fragment(struct rtl8139 *r, const struct rtl_desc *d)
{
	struct nic_frame *t = &r->tx;
	uint32_t len = d->opts1 & 0xffff;

	if (d->opts1 & RTL_FS)
		frame_begin(r, d);
	if (!t->begun) /* the rest of nothing */
		return false;
	if (len > NET_FRAME_MAX - t->len)
		t->skip = true;
	if (!t->skip) {
		disk_dma(r->dev.vm, d->addr, r->buf + t->len, len, false);
		t->len += len;
	}
	t->vlan = d->opts2 & TX_TAGC;
	t->vet = 0x8100;
	t->tag = __builtin_bswap16((uint16_t)d->opts2);
	return d->opts1 & RTL_LS;
}

/* Takes descriptors of ring q up to the end of a frame; false: there is none. */
static bool next_in_ring(struct rtl8139 *r, unsigned q, struct nic_frame *t)
{
	while (r->tx_left[q]) {
		gpa_t at =
			rtl_ring(r, q ? R_THPDS : R_TNPDS) + r->tx_at[q] * sizeof(struct rtl_desc);
		struct rtl_desc d;

		disk_dma(r->dev.vm, at, &d, sizeof(d), false);
		if (!(d.opts1 & RTL_OWN)) {
			r->tx_left[q] = 0;
			rtl8139_cause(r, ISR_TDU);
			break;
		}
		r->tx_left[q]--;
		r->tx_at[q] = (uint8_t)(d.opts1 & RTL_EOR ? 0 : (r->tx_at[q] + 1) % RTL_RING);
		*t = (struct nic_frame){0};
		if (fragment(r, &d)) {
			*t = r->tx;
			r->tx = (struct nic_frame){0};
		}
		d.opts1 &= TX_KEPT;
		disk_dma(r->dev.vm, at, &d.opts1, 4, true);
		if (t->begun)
			return true;
	}
	return false;
}

static bool next_frame(struct rtl8139 *r, struct nic_frame *t)
{
	if (r->frozen || !(r->reg[R_CR] & CR_TE) ||
	    !atomic_load_explicit(&r->pd.master, memory_order_acquire))
		return false;
	if (!rtl_cplus(r, CPCR_TX))
		return next_buffer(r, t);
	/* A frame that is begun is finished before one of the other ring. */
	for (unsigned i = 0; i < 2; i++)
		if (next_in_ring(r, 1 - i, t))
			return true;
	return false;
}

void rtl8139_transmit(struct rtl8139 *r)
{
	struct nic_frame t;
	bool loop;

	plat_mutex_lock(&r->lock);
	if (r->sending) {
		plat_mutex_unlock(&r->lock);
		return;
	}
	r->sending = true;
	while (next_frame(r, &t)) {
		r->count.tx_ok++;
		rtl8139_cause(r, ISR_TOK);
		if ((rtl_get(r, R_TCR, 4) & TCR_CRC) && t.len >= 4)
			t.len -= 4;
		loop = (rtl_get(r, R_TCR, 4) & TCR_LOOPBACK) == TCR_LOOPBACK;
		plat_mutex_unlock(&r->lock);
		if ((t.ip_sum || t.tu_sum) && !nic_frame_headers(&t, r->buf))
			t.skip = t.segment, t.ip_sum = t.tu_sum = false;
		nic_frame_send(&t, r->buf, r->segment, loop ? to_itself : to_wire, r);
		plat_mutex_lock(&r->lock);
	}
	r->sending = false;
	plat_event_set(&r->idle);
	plat_mutex_unlock(&r->lock);
}
