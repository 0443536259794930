/* SPDX-License-Identifier: ISC */
/* e1000_tx.c: sending (8254x manual, 3.3): legacy, context and data descriptors, checksums, TCP and
 * UDP segmentation, VLAN tags.
 *
 * One thread at a time empties the ring; a doorbell that rings meanwhile is seen by it. A frame is copied
 * out of guest memory under the lock and given to the back end without it, which may answer at once. */
#include "base/str.h"
#include "dev/disk.h"
#include "dev/nic/e1000_impl.h"
#include "dev/nic/netcsum.h"

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

static void set16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

/* ---- a whole frame, without the lock ---------------------------------------------------------------- */

/* The checksum of [start, end] at off; end 0: to the frame's end. What makes no sense is not done. */
static void put_sum(uint8_t *f, uint32_t len, uint32_t start, uint32_t off, uint32_t end)
{
	if (!end || end >= len)
		end = len - 1;
	if (start <= end && off + 2 <= len && off >= start)
		netcsum_complete(f, end + 1, start, off - start);
}

static void finish_frame(struct e1000 *e, const struct e1000_tx *t, uint8_t *f, uint32_t len)
{
	const struct e1000_ctx *c = &t->ctx;

	if (t->sum)
		put_sum(f, len, t->sum_start, t->sum_off, 0);
	if (t->tu_sum)
		put_sum(f, len, c->tucss, c->tucso, c->tucse);
	if (t->ip_sum)
		put_sum(f, len, c->ipcss, c->ipcso, c->ipcse);
	if (t->vlan && len >= 12 && len + 4 <= NET_FRAME_MAX) {
		memmove(f + 16, f + 12, len - 12);
		set16(f + 12, t->vet);
		set16(f + 14, t->tag);
		len += 4;
	}
	nic_send(e->net, f, len);
}

/* Headers of one segment (3.5.7): n bytes of data from at on. */
static void segment_headers(const struct e1000_tx *t, uint8_t *f, uint32_t index, uint32_t at,
			    uint32_t n, bool last)
{
	const struct e1000_ctx *c = &t->ctx;
	uint32_t len = c->hdrlen + n, sum;

	if (c->ip4 && c->ipcss + 20u <= c->hdrlen) {
		set16(f + c->ipcss + 2, len - c->ipcss);
		set16(f + c->ipcss + 4, get16(f + c->ipcss + 4) + index);
	} else if (!c->ip4 && c->ipcss + 40u <= c->hdrlen) {
		set16(f + c->ipcss + 4, len - c->ipcss - 40);
	}
	if (c->tcp && c->tucss + 20u <= c->hdrlen) {
		uint32_t seq = get32(f + c->tucss + 4) + at;

		set16(f + c->tucss + 4, seq >> 16);
		set16(f + c->tucss + 6, seq);
		if (!last)
			f[c->tucss + 13] &= (uint8_t)~0x09; /* PSH, FIN */
	} else if (!c->tcp && c->tucss + 8u <= c->hdrlen) {
		set16(f + c->tucss + 4, len - c->tucss);
	}
	/* The sum of the pseudo header stands there, without the length. */
	if (t->tu_sum && c->tucso + 2u <= c->hdrlen) {
		sum = get16(f + c->tucso) + len - c->tucss;
		set16(f + c->tucso, (sum & 0xffff) + (sum >> 16));
	}
}

static void send_frame(struct e1000 *e, const struct e1000_tx *t)
{
	const struct e1000_ctx *c = &t->ctx;
	uint32_t data, index = 0;

	if (t->skip || t->len < NIC_FRAME_MIN)
		return;
	if (!t->segment) {
		finish_frame(e, t, e->buf, t->len);
		return;
	}
	if (!c->mss || c->hdrlen < NIC_FRAME_MIN || t->len <= c->hdrlen)
		return;
	data = t->len - c->hdrlen;
	for (uint32_t at = 0; at < data; at += c->mss, index++) {
		uint32_t n = MIN(data - at, (uint32_t)c->mss);

		if (c->hdrlen + n > NET_FRAME_MAX - 4)
			return;
		memcpy(e->segment, e->buf, c->hdrlen);
		memcpy(e->segment + c->hdrlen, e->buf + c->hdrlen + at, n);
		segment_headers(t, e->segment, index, at, n, at + n == data);
		finish_frame(e, t, e->segment, c->hdrlen + n);
	}
}

/* ---- descriptors, with the lock ------------------------------------------------------------------------ */

static void context(struct e1000 *e, const struct tx_desc *d)
{
	uint8_t tucmd = (uint8_t)(d->cmd >> 24);
	struct e1000_ctx *c = tucmd & CMD_TSE ? &e->ctx_seg : &e->ctx;

	*c = (struct e1000_ctx){
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
	struct e1000_tx *t = &e->tx;
	uint8_t cmd = (uint8_t)(d->cmd >> 24);

	*t = (struct e1000_tx){.begun = true};
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
	struct e1000_tx *t = &e->tx;
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
		struct e1000_tx t;

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
		send_frame(e, &t);
		plat_mutex_lock(&e->lock);
	}
	e->sending = false;
	if (any)
		e1000_cause(e, ICR_TXQE);
	plat_event_set(&e->idle);
	plat_mutex_unlock(&e->lock);
}
