/* SPDX-License-Identifier: ISC */
/* rtl8139_rx.c: receiving: filters; the ring of bytes of the old mode, or the descriptors of the C+ mode
 * (RTL8139C+ data sheet, 7 and 9). Frames come on the back end's thread, or from the sender in loopback; where
 * there is no room for one, the back end keeps it. */
#include "base/str.h"
#include "dev/disk.h"
#include "dev/nic/netcsum.h"
#include "dev/nic/rtl8139_impl.h"

#define RCR_AAP  BIT(0)
#define RCR_APM  BIT(1)
#define RCR_AM   BIT(2)
#define RCR_AB   BIT(3)
#define RCR_WRAP BIT(7) /* a frame goes on behind the ring, not at its start */

/* Header of a frame in the old mode */
#define RX_ROK BIT(0)
#define RX_BAR BIT(13)
#define RX_PAM BIT(14)
#define RX_MAR BIT(15)

/* opts1 of a descriptor; MAR, PAM, BAR: those of the header, 11 higher */
#define RXD_PID_TCP BIT(16)
#define RXD_PID_UDP BIT(17)
#define RXD_PID_IP  (BIT(16) | BIT(17))
#define RXD_IPF     BIT(15)
#define RXD_SIZE    0x1fffu
#define RXD_TAVA    BIT(16) /* in opts2 */

#define LEFT_OVER_NS (NS_PER_SEC / 1000)
#define STALLED_NS   (NS_PER_SEC / 100)

/* Which filter the frame passes; 0: none. */
static uint32_t accepted(struct rtl8139 *r, const uint8_t *dst)
{
	uint32_t rcr = rtl_get(r, R_RCR, 4);
	unsigned h = nic_hash(dst);

	if (memcmp(dst, "\xff\xff\xff\xff\xff\xff", 6) == 0)
		return rcr & RCR_AB ? RX_BAR : 0;
	if (dst[0] & 1)
		return (rcr & RCR_AM) && (r->reg[R_MAR + h / 8] >> h % 8 & 1) ? RX_MAR : 0;
	if (memcmp(dst, r->reg + R_IDR, 6) == 0)
		return rcr & (RCR_APM | RCR_AAP) ? RX_PAM : 0;
	return rcr & RCR_AAP ? RX_ROK : 0;
}

static void missed(struct rtl8139 *r)
{
	r->count.missed++;
	pci_put(r->reg + R_MPC, 3, rtl_get(r, R_MPC, 3) + 1);
}

static void counted(struct rtl8139 *r, uint32_t filter)
{
	r->count.rx_ok++;
	r->count.rx_bcast += filter == RX_BAR;
	r->count.rx_mcast += filter == RX_MAR;
	r->count.rx_phys += filter == RX_PAM;
	rtl8139_cause(r, ISR_ROK);
}

/* ---- old mode ---------------------------------------------------------------------------------------- */

static uint32_t buffer_size(const struct rtl8139 *r)
{
	return 8192u << (rtl_get(r, R_RCR, 4) >> 11 & 3);
}

/* Bytes that the guest has read, of which one may not be filled: full would look like empty. */
static uint32_t room(const struct rtl8139 *r)
{
	uint32_t size = buffer_size(r),
		 n = (rtl_get(r, R_CAPR, 2) + 16 - rtl_get(r, R_CBR, 2)) & (size - 1);

	return n ? n : size;
}

bool rtl8139_rx_empty(const struct rtl8139 *r)
{
	return room(r) == buffer_size(r);
}

static bool to_buffer(struct rtl8139 *r, uint32_t len, uint32_t filter)
{
	uint32_t size = buffer_size(r), at = rtl_get(r, R_CBR, 2) & (size - 4);
	uint32_t head = RX_ROK | filter | len << 16, need = ALIGN_UP(len + 4, 4u), n = len;
	gpa_t base = rtl_get(r, R_RBSTART, 4);

	if (need >= room(r)) {
		if (!rtl8139_rx_empty(r))
			return false;
		missed(r);
		return true;
	}
	disk_dma(r->dev.vm, base + at, &head, 4, true);
	if (!(rtl_get(r, R_RCR, 4) & RCR_WRAP) || size == 64 * KIB)
		n = MIN(len, size - at - 4);
	disk_dma(r->dev.vm, base + at + 4, r->rx, n, true);
	disk_dma(r->dev.vm, base, r->rx + n, len - n, true);
	pci_put(r->reg + R_CBR, 2, (at + need) & (size - 1));
	counted(r, filter);
	return true;
}

/* ---- C+ mode ----------------------------------------------------------------------------------------- */

static gpa_t rx_desc(struct rtl8139 *r, unsigned at, struct rtl_desc *d)
{
	gpa_t gpa = (rtl_ring(r, R_RDSAR) & ~UINT64_C(255)) + at * sizeof(*d);

	disk_dma(r->dev.vm, gpa, d, sizeof(*d), false);
	return gpa;
}

static unsigned rx_next(unsigned at, const struct rtl_desc *d)
{
	return d->opts1 & RTL_EOR ? 0 : (at + 1) % RTL_RING;
}

/* Are there descriptors for len bytes? never: not in all of the ring either. */
static bool rx_room(struct rtl8139 *r, uint32_t len, bool *never)
{
	uint32_t have = 0;
	unsigned at = r->rx_at;

	*never = false;
	do {
		struct rtl_desc d;

		rx_desc(r, at, &d);
		if (!(d.opts1 & RTL_OWN))
			return false;
		have += d.opts1 & RXD_SIZE;
		if (have >= len)
			return true;
		at = rx_next(at, &d);
	} while (at != r->rx_at);
	*never = true;
	return false;
}

/* What the chip says of an IPv4 packet: whose sums are right, or that it has not looked. */
static uint32_t checksum_bits(struct rtl8139 *r, uint32_t len)
{
	const uint8_t *f = r->rx, *ip = f + 14;
	uint32_t head = (ip[0] & 15u) * 4, bits = RXD_PID_IP;

	if (!rtl_cplus(r, CPCR_RXSUM) || f[12] != 8 || f[13] || ip[0] >> 4 != 4 || head < 20 ||
	    14 + head > len)
		return 0;
	if (netcsum_valid(f, len))
		bits = ip[9] == 6 ? RXD_PID_TCP : RXD_PID_UDP;
	return netcsum_add(0, ip, head) == 0xffff ? bits : bits | RXD_IPF;
}

static bool to_ring(struct rtl8139 *r, uint32_t len, uint32_t filter, uint32_t opts2)
{
	uint32_t done = 0, flags = RTL_FS | (filter & (RX_MAR | RX_PAM | RX_BAR)) << 11 |
				   checksum_bits(r, len - 4);
	bool never;

	if (!rx_room(r, len, &never)) {
		if (never)
			missed(r);
		return never;
	}
	while (done < len) {
		struct rtl_desc d;
		gpa_t at = rx_desc(r, r->rx_at, &d);
		uint32_t n = MIN(d.opts1 & RXD_SIZE, len - done);

		disk_dma(r->dev.vm, d.addr, r->rx + done, n, true);
		r->rx_at = (uint8_t)rx_next(r->rx_at, &d);
		done += n;
		d.opts1 = (d.opts1 & RTL_EOR) | flags | (done == len ? RTL_LS | len : n);
		d.opts2 = opts2;
		disk_dma(r->dev.vm, at + 4, &d.opts2, 4, true);
		disk_dma(r->dev.vm, at, &d.opts1, 4, true);
		flags &= ~RTL_FS;
		if (!n && !(d.opts1 & RTL_LS)) /* another CPU has taken it away */
			break;
	}
	counted(r, filter);
	return true;
}

/* ---- a frame ----------------------------------------------------------------------------------------- */

static bool receive_locked(struct rtl8139 *r, const uint8_t *frame, size_t len)
{
	uint32_t filter, n, crc, opts2 = 0;

	if (r->frozen)
		return false;
	if (!(r->reg[R_CR] & CR_RE) || !atomic_load_explicit(&r->pd.master, memory_order_acquire))
		return true;
	filter = accepted(r, frame);
	if (!filter)
		return true;
	n = nic_pad(r->rx, frame, len);
	crc = nic_crc(r->rx, n);
	if (rtl_cplus(r, CPCR_VLAN) && r->rx[12] == 0x81 && !r->rx[13]) {
		opts2 = RXD_TAVA | r->rx[14] | (uint32_t)r->rx[15] << 8;
		memmove(r->rx + 12, r->rx + 16, n - 16);
		n -= 4;
	}
	memcpy(r->rx + n, &crc, 4);
	n += 4;
	return rtl_cplus(r, CPCR_RX) ? to_ring(r, n, filter, opts2)
				     : to_buffer(r, n, filter & ~RX_ROK);
}

/* A driver may acknowledge its last interrupt with frames left over, and count on the next frame to tell it
 * again. That may be late: ours come in bursts, and wait for the guest. */
void rtl8139_remind(struct rtl8139 *r)
{
	bool cplus = rtl_cplus(r, CPCR_RX);

	if (!(r->reg[R_CR] & CR_RE) || r->frozen)
		return;
	if (r->stalled) {
		if (!r->reminding)
			plat_timer_arm(&r->retry, plat_now() + STALLED_NS);
		rtl8139_cause(r, cplus ? ISR_RDU : ISR_ROK);
	} else if (!cplus && !rtl8139_rx_empty(r)) {
		rtl8139_cause(r, ISR_ROK);
	}
}

void rtl8139_acknowledged(struct rtl8139 *r)
{
	if (r->reminding || rtl_cplus(r, CPCR_RX) || !(r->reg[R_CR] & CR_RE) ||
	    (r->reg[R_ISR] & ISR_ROK) || rtl8139_rx_empty(r))
		return;
	r->reminding = true;
	plat_timer_arm(&r->retry, plat_now() + LEFT_OVER_NS);
}

bool rtl8139_receive(void *dev, const void *frame, size_t len)
{
	struct rtl8139 *r = dev;
	bool taken;

	if (len < NIC_FRAME_MIN || len > RTL_RX_MAX - 4)
		return true;
	plat_mutex_lock(&r->lock);
	taken = receive_locked(r, frame, len);
	if (!taken) {
		r->stalled = true;
		rtl8139_remind(r);
	}
	plat_mutex_unlock(&r->lock);
	return taken;
}

bool rtl8139_rx_ready(struct rtl8139 *r)
{
	struct rtl_desc d;
	bool ready;

	if (!r->stalled || r->frozen)
		return false;
	if (!(r->reg[R_CR] & CR_RE)) {
		ready = true;
	} else if (rtl_cplus(r, CPCR_RX)) {
		rx_desc(r, r->rx_at, &d);
		ready = d.opts1 & RTL_OWN;
	} else {
		ready = room(r) > 2048 || rtl8139_rx_empty(r);
	}
	if (ready)
		r->stalled = false;
	return ready;
}
