/* SPDX-License-Identifier: ISC */
/* rtl8139_impl.h: what the files of the RTL8139 share: rtl8139.c (registers, interrupts, PCI), rtl8139_rx.c,
 * rtl8139_tx.c. Everything under lock unless said otherwise. */
#ifndef DEV_NIC_RTL8139_IMPL_H
#define DEV_NIC_RTL8139_IMPL_H

#include "dev/nic/microwire.h"
#include "dev/nic/nic.h"
#include "dev/nic/offload.h"
#include "dev/nic/rtl8139.h"
#include "dev/pci/pci.h"
#include "vm/dev.h"
#include "vm/vm.h"

/* Registers (RTL8139C and RTL8139C+ data sheets) */
enum {
	R_IDR = 0x00,
	R_MAR = 0x08,
	R_TSD = 0x10,   /* four */
	R_DTCCR = 0x10, /* C+ mode has this in their place */
	R_TSAD = 0x20,  /* four */
	R_TNPDS = 0x20, /* likewise */
	R_THPDS = 0x28,
	R_RBSTART = 0x30,
	R_CR = 0x37,
	R_CAPR = 0x38,
	R_CBR = 0x3a,
	R_IMR = 0x3c,
	R_ISR = 0x3e,
	R_TCR = 0x40,
	R_RCR = 0x44,
	R_TCTR = 0x48,
	R_MPC = 0x4c,
	R_9346CR = 0x50,
	R_CONFIG0 = 0x51,
	R_CONFIG1 = 0x52,
	R_TIMERINT = 0x54,
	R_MSR = 0x58,
	R_CONFIG3 = 0x59,
	R_CONFIG4 = 0x5a,
	R_MULINT = 0x5c,
	R_RERID = 0x5e,
	R_TSAD_ALL = 0x60,
	R_BMCR = 0x62,
	R_BMSR = 0x64,
	R_ANAR = 0x66,
	R_ANLPAR = 0x68,
	R_ANER = 0x6a,
	R_CSCR = 0x74,
	R_PHY_PARM = 0x78,
	R_CPLUS = 0xd8, /* from here on C+ only, but CONFIG5 */
	R_CONFIG5 = 0xd8,
	R_TPPOLL = 0xd9,
	R_CPCR = 0xe0,
	R_RDSAR = 0xe4,
	R_ETTHR = 0xec,
	R_END = 0x100,
};

#define CR_BUFE BIT(0)
#define CR_TE   BIT(2)
#define CR_RE   BIT(3)
#define CR_RST  BIT(4)

#define ISR_ROK     BIT(0)
#define ISR_TOK     BIT(2)
#define ISR_RDU     BIT(4) /* no receive descriptor */
#define ISR_LINK    BIT(5)
#define ISR_TDU     BIT(7) /* no transmit descriptor any more */
#define ISR_SWINT   BIT(8)
#define ISR_TIMEOUT BIT(14)

#define CPCR_TX    BIT(0)
#define CPCR_RX    BIT(1)
#define CPCR_RXSUM BIT(5)
#define CPCR_VLAN  BIT(6)

#define TPPOLL_SWINT  BIT(0)
#define TPPOLL_NORMAL BIT(6)
#define TPPOLL_HIGH   BIT(7)

/* Descriptors of the C+ mode: a ring has at most so many. */
#define RTL_RING 64
#define RTL_OWN  BIT(31)
#define RTL_EOR  BIT(30)
#define RTL_FS   BIT(29)
#define RTL_LS   BIT(28)

struct rtl_desc {
	uint32_t opts1, opts2;
	uint64_t addr;
};
_Static_assert(sizeof(struct rtl_desc) == 16, "descriptor");

#define RTL_RX_MAX 8192 /* bytes of a frame that is received, with its checksum */

/* What DTCCR dumps, in this order and these widths. */
struct rtl_counters {
	uint64_t tx_ok, rx_ok, tx_err;
	uint32_t rx_err;
	uint16_t missed, align;
	uint32_t tx_1col, tx_mcol;
	uint64_t rx_phys, rx_bcast;
	uint32_t rx_mcast;
	uint16_t tx_abort, tx_under;
};
_Static_assert(sizeof(struct rtl_counters) == 64, "tally counters");

struct rtl8139 {
	struct dev dev;
	struct pci_dev pd;
	struct net *net;
	bool attached, plain;
	struct plat_timer timer; /* TIMERINT */
	struct plat_timer retry; /* for frames that wait */
	struct plat_event idle;  /* !sending */

	struct plat_mutex lock; /* RANK_DEVICE: all below */
	uint8_t reg[R_END];     /* as they are read, but for those of reg_read() */
	uint16_t eeprom[MICROWIRE_WORDS];
	struct microwire mw;
	uint64_t timer_base; /* when TCTR was 0 */
	struct rtl_counters count;

	uint8_t tx_next;    /* of TSD0…3 */
	uint8_t tx_at[2];   /* place in the rings of C+ mode: normal, high priority */
	uint8_t tx_left[2]; /* descriptors that may be there still, of a doorbell */
	uint8_t rx_at;

	bool pin;
	bool reminding; /* retry is armed for frames in the buffer */
	/* Frames for the guest are refused: the back end waits. */
	bool stalled, frozen;

	/* sending: one thread at a time; buf is its own while sending is set, without the lock too */
	bool sending;
	struct nic_frame tx;
	uint8_t *buf;     /* NET_FRAME_MAX */
	uint8_t *segment; /* likewise: one frame of many */
	uint8_t *rx;      /* RTL_RX_MAX */
};

static inline uint32_t rtl_get(const struct rtl8139 *r, unsigned off, unsigned size)
{
	return pci_get(r->reg + off, size);
}

static inline gpa_t rtl_ring(const struct rtl8139 *r, unsigned off)
{
	return rtl_get(r, off, 4) | (uint64_t)rtl_get(r, off + 4, 4) << 32;
}

static inline bool rtl_cplus(const struct rtl8139 *r, uint8_t bit)
{
	return r->reg[R_CPCR] & bit;
}

/* rtl8139.c: causes of ISR become set. */
void rtl8139_cause(struct rtl8139 *r, uint16_t bits);

/* rtl8139_rx.c */
bool rtl8139_receive(void *dev, const void *frame, size_t len);
/* The guest has made room, or disabled the receiver; true: the back end is to be told. */
bool rtl8139_rx_ready(struct rtl8139 *r);
/* Tells the guest again that there are frames. */
void rtl8139_remind(struct rtl8139 *r);
/* It has written to ISR. */
void rtl8139_acknowledged(struct rtl8139 *r);
/* The buffer of the old mode holds nothing. */
bool rtl8139_rx_empty(const struct rtl8139 *r);

/* rtl8139_tx.c: sends what the guest has queued. Takes the lock itself. */
void rtl8139_transmit(struct rtl8139 *r);

#endif
