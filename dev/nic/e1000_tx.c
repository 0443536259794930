/* SPDX-License-Identifier: ISC */
/* e1000_tx.c: sending (8254x manual, 3.3): legacy, context and data descriptors, checksums, TCP and
 * UDP segmentation, VLAN tags.
 *
 * One thread at a time empties the ring; a doorbell that rings meanwhile is seen by it. A frame is copied
 * out of guest memory under the lock and given to the back end without it, which may answer at once. */
#include "base/str.h"
#include "dev/disk.h"
#include "dev/nic/e1000_impl.h"

#define TCTL_EN BIT(1)

#define CMD_EOP    0x01
#define CMD_IC     0x04
#define CMD_TSE    0x04 /* the same bit in data and context descriptors */
#define CMD_RS     0x08
#define CMD_RPS    0x10
#define CMD_DEXT   0x20
#define CMD_VLE    0x40
#define TUCMD_TCP  0x01
#define TUCMD_IP   0x02
#define POPTS_IXSM 0x01
#define POPTS_TXSM 0x02

struct tx_desc {
	uint32_t lo, hi;  /* address, or offsets */
	uint32_t cmd;     /* length, type, command */
	uint32_t options; /* status and more */
};
_Static_assert(sizeof(struct tx_desc) == 16, "transmit descriptor");

/* What a driver asks for goes out as a frame, or several, without the lock. */
static void out(void *arg, const uint8_t *frame, size_t len)
{
	struct e1000 *e = arg;

	nic_send(e->net, frame, len);
}

/* ---- descriptors, with the lock ------------------------------------------------------------------------ */

static void context(struct e1000 *e, const struct tx_desc *d)
{
	uint8_t tucmd = (uint8_t)(d->cmd >> 24);
	struct nic_ctx *c = tucmd & CMD_TSE ? &e->ctx_seg : &e->ctx;

	*c = (struct nic_ctx){
		.ipcss = (uint8_t)d->lo,
		.ipcso = (uint8_t)(d->lo >> 8),
		.ipcse = (uint16_t)(d->lo >> 16),
		.tucss = (uint8_t)d->hi,
		.tucso = (uint8_t)(d->hi >> 8),
		.tucse = (uint16_t)(d->hi >> 16),
		.hdrlen = (uint8_t)(d->options >> 8),
		.mss = (uint16_t)(d->options >> 16),
		.tcp = tucmd & TUCMD_TCP,
		.ip4 = tucmd & TUCMD_IP,
	};
}

/* The first descriptor of a frame says what is to be done with it. */
static void frame_begin(struct e1000 *e, const struct tx_desc *d, bool extended)
{
	struct nic_frame *t = &e->tx;
	uint8_t cmd = (uint8_t)(d->cmd >> 24);

	*t = (struct nic_frame){.begun = true};
	if (!extended)
		return;
	t->segment = cmd & CMD_TSE;
	t->ip_sum = d->options >> 8 & POPTS_IXSM;
	t->tu_sum = d->options >> 8 & POPTS_TXSM;
	t->ctx = t->segment ? e->ctx_seg : e->ctx;
}

/* true: the frame is complete. */
static bool data(struct e1000 *e, const struct tx_desc *d, bool extended)
{
	struct nic_frame *t = &e->tx;
	uint8_t cmd = (uint8_t)(d->cmd >> 24);
	uint32_t len = d->cmd & (extended ? 0xfffff : 0xffff);

	if (!t->begun)
		frame_begin(e, d, extended);
	if (len > NET_FRAME_MAX - t->len)
		t->skip = true;
	if (!t->skip) {
		disk_dma(e->dev.vm, d->lo | (uint64_t)d->hi << 32, e->buf + t->len, len, false);
		t->len += len;
	}
	if (!(cmd & CMD_EOP))
		return false;
	t->vlan = (cmd & CMD_VLE) && (*e_reg(e, E_CTRL) & CTRL_VME);
	t->vet = (uint16_t)*e_reg(e, E_VET);
	t->tag = (uint16_t)(d->options >> 16);
	if (!extended && (cmd & CMD_IC)) {
		t->sum = true;
		t->sum_off = (uint8_t)(d->cmd >> 16);
		t->sum_start = (uint8_t)(d->options >> 8);
	}
	return true;
}

/* Takes one descriptor; true: a frame is to be sent. */
static bool next(struct e1000 *e, uint32_t n)
{
	uint32_t *head = e_reg(e, E_TDH);
	gpa_t at = ((*e_reg(e, E_TDBAL) & ~15u) | (uint64_t)*e_reg(e, E_TDBAH) << 32) +
		   (uint64_t)*head * sizeof(struct tx_desc);
	struct tx_desc d;
	bool extended, whole = false;

	disk_dma(e->dev.vm, at, &d, sizeof(d), false);
	extended = d.cmd >> 24 & CMD_DEXT;
	if (extended && !(d.cmd >> 20 & 15))
		context(e, &d);
	else
		whole = data(e, &d, extended);
	if (d.cmd >> 24 & (CMD_RS | CMD_RPS)) {
		d.options |= 1; /* DD */
		disk_dma(e->dev.vm, at + 12, &d.options, 4, true);
		e1000_cause(e, ICR_TXDW);
	}
	if (++*head == n)
		*head = 0;
	return whole;
}

static bool more(struct e1000 *e, uint32_t n)
{
	uint32_t head = *e_reg(e, E_TDH), tail = *e_reg(e, E_TDT);

	return (*e_reg(e, E_TCTL) & TCTL_EN) && !e->frozen && head != tail && head < n &&
	       tail < n && atomic_load_explicit(&e->pd.master, memory_order_acquire);
}

void e1000_transmit(struct e1000 *e)
{
	uint32_t n;
	bool any = false;

	plat_mutex_lock(&e->lock);
	if (e->sending) {
		plat_mutex_unlock(&e->lock);
		return;
	}
	e->sending = true;
	while (n = *e_reg(e, E_TDLEN) / sizeof(struct tx_desc), more(e, n)) {
		struct nic_frame t;

		any = true;
		if (!next(e, n))
			continue;
		t = e->tx;
		e->tx.begun = false;
		e->tx.len = 0;
		e1000_count(e, E_TPT, 1);
		e1000_count(e, E_GPTC, 1);
		e1000_count(e, E_GOTCL, t.len);
		plat_mutex_unlock(&e->lock);
		nic_frame_send(&t, e->buf, e->segment, out, e);
		plat_mutex_lock(&e->lock);
	}
	e->sending = false;
	if (any)
		e1000_cause(e, ICR_TXQE);
	plat_event_set(&e->idle);
	plat_mutex_unlock(&e->lock);
}
