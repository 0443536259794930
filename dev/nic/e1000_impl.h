/* SPDX-License-Identifier: ISC */
/* e1000_impl.h: what the files of the 82540EM share: e1000.c (registers, interrupts, PCI), e1000_rx.c,
 * e1000_tx.c (descriptors), e1000_nvm.c (EEPROM, PHY). Everything under lock unless said otherwise. */
#ifndef DEV_NIC_E1000_IMPL_H
#define DEV_NIC_E1000_IMPL_H

#include "dev/nic/e1000.h"
#include "dev/nic/microwire.h"
#include "dev/nic/nic.h"
#include "dev/nic/offload.h"
#include "dev/pci/pci.h"
#include "vm/dev.h"
#include "vm/vm.h"

/* Registers (8254x software developer's manual, chapter 13) */
enum {
	E_CTRL = 0x0000,
	E_STATUS = 0x0008,
	E_EECD = 0x0010,
	E_EERD = 0x0014,
	E_CTRL_EXT = 0x0018,
	E_MDIC = 0x0020,
	E_FCAL = 0x0028,
	E_FCAH = 0x002c,
	E_FCT = 0x0030,
	E_VET = 0x0038,
	E_ICR = 0x00c0,
	E_ITR = 0x00c4,
	E_ICS = 0x00c8,
	E_IMS = 0x00d0,
	E_IMC = 0x00d8,
	E_RCTL = 0x0100,
	E_FCTTV = 0x0170,
	E_TXCW = 0x0178,
	E_TCTL = 0x0400,
	E_TIPG = 0x0410,
	E_AIFS = 0x0458,
	E_LEDCTL = 0x0e00,
	E_PBA = 0x1000,
	E_FCRTL = 0x2160,
	E_FCRTH = 0x2168,
	E_RDBAL = 0x2800,
	E_RDBAH = 0x2804,
	E_RDLEN = 0x2808,
	E_RDH = 0x2810,
	E_RDT = 0x2818,
	E_RDTR = 0x2820,
	E_RADV = 0x282c,
	E_TDBAL = 0x3800,
	E_TDBAH = 0x3804,
	E_TDLEN = 0x3808,
	E_TDH = 0x3810,
	E_TDT = 0x3818,
	E_TADV = 0x382c,
	E_STATS = 0x4000,
	E_MPC = 0x4010,  /* missed packets */
	E_GPRC = 0x4074, /* good packets received */
	E_BPRC = 0x4078,
	E_MPRC = 0x407c,
	E_GPTC = 0x4080,
	E_GORCL = 0x4088, /* good octets, 64 bits */
	E_GOTCL = 0x4090,
	E_TPR = 0x40d0,
	E_TPT = 0x40d4,
	E_STATS_END = 0x4100,
	E_RXCSUM = 0x5000,
	E_MTA = 0x5200,
	E_RA = 0x5400,
	E_VFTA = 0x5600,
	E_WUC = 0x5800,
	E_MANC = 0x5820,
	E_END = 0x5a00,
};

#define CTRL_VME BIT(30)
#define CTRL_RST BIT(26)

#define STATUS_LU BIT(1)

#define ICR_TXDW   BIT(0)
#define ICR_TXQE   BIT(1)
#define ICR_LSC    BIT(2) /* the link came or went */
#define ICR_RXDMT0 BIT(4)
#define ICR_RXO    BIT(6)
#define ICR_RXT0   BIT(7)
#define ICR_MDAC   BIT(9)
#define ICR_ALL    0x0001ffffu

#define E_RX_MAX 16384 /* bytes of a frame that is received, with its checksum */

struct e1000 {
	struct dev dev;
	struct pci_dev pd;
	struct net *net;
	bool attached;
	struct plat_timer throttle;
	struct plat_event idle; /* !sending */

	struct plat_mutex lock; /* RANK_DEVICE: all below */
	uint32_t reg[E_END / 4];
	uint32_t ioaddr;
	uint16_t phy[32];
	uint16_t eeprom[MICROWIRE_WORDS];
	uint8_t mac[6]; /* of the card: what a reset loads */

	struct microwire mw; /* in front of eeprom */

	/* interrupts */
	bool pin;
	uint64_t next_irq; /* not before */
	/* Frames for the guest are refused: the back end waits. */
	bool stalled, frozen;
	bool unplugged; /* the cable: not the card's state */

	/* sending: one thread at a time; buf is its own while sending is set, without the lock too */
	bool sending;
	struct nic_ctx ctx, ctx_seg;
	struct nic_frame tx;
	uint8_t *buf;     /* NET_FRAME_MAX */
	uint8_t *segment; /* likewise: one frame of many */
	uint8_t *rx;      /* E_RX_MAX, on the back end's thread */
};

static inline uint32_t *e_reg(struct e1000 *e, unsigned off)
{
	return &e->reg[off / 4];
}

/* e1000.c: causes of ICR become set. */
void e1000_cause(struct e1000 *e, uint32_t bits);
/* A statistics counter, which stays at its greatest value. */
void e1000_count(struct e1000 *e, unsigned off, uint32_t n);

/* e1000_rx.c */
bool e1000_receive(void *dev, const void *frame, size_t len);
/* The guest has given descriptors, or enabled the receiver; true: the back end is to be told. */
bool e1000_rx_ready(struct e1000 *e);

/* e1000_tx.c: sends what the guest has queued. Takes the lock itself. */
void e1000_transmit(struct e1000 *e);

/* e1000_nvm.c */
void e1000_nvm_init(struct e1000 *e);
void e1000_phy_reset(struct e1000 *e);
/* Brings the registers that say so in line with the cable. */
void e1000_link_bits(struct e1000 *e);
/* Takes the lock itself. */
void e1000_set_link(void *dev, bool up);
void e1000_mdic(struct e1000 *e, uint32_t v);
void e1000_eecd(struct e1000 *e, uint32_t v);
uint32_t e1000_eecd_read(struct e1000 *e);
void e1000_eerd(struct e1000 *e, uint32_t v);

#endif
