/* SPDX-License-Identifier: ISC */
/* pci.h: one conventional PCI bus (PCI Local Bus 3.0): host bridge, functions, their configuration
 * space, base addresses and interrupts. Registers of the header have their specified offsets.
 *
 * Who creates a function embeds a struct pci_dev, describes it with pci_dev_init(), pci_bar_add(),
 * pci_cap_add() and pci_msix_add(), and puts it on the bus with pci_attach(). All of that is done
 * before vCPUs run; afterwards only the guest moves things. */
#ifndef DEV_PCI_PCI_H
#define DEV_PCI_PCI_H

#include "base/def.h"
#include "base/err.h"
#include "plat/plat.h"
#include "vm/bus.h"
#include "vm/irq.h"

struct vm;
struct pci_host;
struct pci_dev;

enum pci_reg {
	PCI_VENDOR = 0x00,
	PCI_DEVICE = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_REVISION = 0x08,
	PCI_CLASS = 0x09, /* 3 bytes: interface, subclass, class */
	PCI_HEADER_TYPE = 0x0e,
	PCI_BAR0 = 0x10,
	PCI_SUBSYS_VENDOR = 0x2c,
	PCI_SUBSYS = 0x2e,
	PCI_ROM = 0x30,
	PCI_CAP_PTR = 0x34,
	PCI_INT_LINE = 0x3c,
	PCI_INT_PIN = 0x3d,
	PCI_CAPS = 0x40, /* capabilities start here */
	PCI_CFG_SIZE = 0x100,
};

#define PCI_CMD_IO           0x0001
#define PCI_CMD_MEM          0x0002
#define PCI_CMD_MASTER       0x0004
#define PCI_CMD_PARITY       0x0040
#define PCI_CMD_SERR         0x0100
#define PCI_CMD_INTX_DISABLE 0x0400
#define PCI_STS_INTX         0x0008
#define PCI_STS_CAPS         0x0010

#define PCI_CAP_MSI  0x05
#define PCI_CAP_VNDR 0x09
#define PCI_CAP_MSIX 0x11

#define PCI_SLOTS     32
#define PCI_FUNCS     8
#define PCI_BARS      6
#define PCI_ROM_BAR   PCI_BARS /* index of the expansion ROM's among struct pci_dev's */
#define PCI_ANY_SLOT  (-1)
#define PCI_MSIX_MAX  64 /* vectors a function */
#define PCI_MSIX_SIZE 0x1000
#define PCI_MSIX_PBA  0x800

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64, PCI_BAR_ROM };

struct pci_bar {
	enum pci_bar_kind kind;
	bool prefetch;
	uint64_t size; /* bytes, a power of two: ≥ 4 for ports, ≥ 16 for memory */
	const struct bus_region *region; /* region->len ≤ size */
	void *ctx;                       /* the region's device */
	/* under host->lock */
	uint64_t preset; /* address after reset; 0: none */
	bool mapped;
	uint64_t mapped_at;
};

struct pci_id {
	const char *name;
	uint16_t vendor, device, subsys_vendor, subsys;
	uint8_t revision;
	uint32_t cls; /* class << 16 | subclass << 8 | interface */
	uint8_t pin;  /* interrupt pin: 0 none, 1 INTA# … 4 INTD# */
};

/* Message-signalled interrupts; under host->irq_lock. */
struct pci_msix {
	uint8_t cap; /* offset of the capability, 0: none */
	uint16_t n;
	bool enabled, masked;
	struct {
		uint64_t addr;
		uint32_t data, ctrl; /* ctrl bit 0: masked */
	} entry[PCI_MSIX_MAX];
	uint64_t pending;
};

struct pci_msi {
	uint8_t cap;
	uint8_t n; /* messages offered, a power of two */
	bool enabled;
	uint8_t log2_enabled;
	uint64_t addr;
	uint16_t data;
	uint32_t mask, pending;
};

struct pci_dev {
	struct pci_host *host;
	const char *name;
	uint8_t devfn;
	uint8_t pin;
	uint8_t cap_end; /* first free byte */
	/* under host->lock: the configuration space, its state after reset, its writable bits and
	 * those that a written one clears */
	uint8_t cfg[PCI_CFG_SIZE], init[PCI_CFG_SIZE];
	uint8_t wmask[PCI_CFG_SIZE], w1c[PCI_CFG_SIZE];
	struct pci_bar bar[PCI_BARS + 1];
	/* the ROM; constant */
	struct bus_region rom_region;
	const uint8_t *rom;
	uint32_t rom_len, rom_ids; /* where its first image says whose it is; 0: as it should be */
	uint8_t rom_sum;           /* its checksum's byte then */
	/* under host->irq_lock */
	struct pci_msix msix;
	struct pci_msi msi;
	bool intx_wanted; /* the device holds its pin */
	bool intx_driven; /* and it reaches the bus */
	/* written under host->lock; DMA and messages are for bus masters only */
	_Atomic bool master;
	/* Function's own view of accesses to its configuration space, without locks held; NULL: not
	 * interested. before_read may pci_cfg_poke(); after_write sees what was stored. */
	void (*before_read)(struct pci_dev *pd, unsigned off, unsigned size);
	void (*after_write)(struct pci_dev *pd, unsigned off, unsigned size);
	void (*irq_changed)(struct pci_dev *pd); /* its MSI-X table was written to */
	void *ctx; /* for these hooks, where the function is not embedded in its device */
};

struct state_stream;

struct pci_window {
	uint64_t base, size; /* size 0: none */
};

struct pci_host_wiring {
	uint16_t vendor, device; /* of the bridge itself, 00:00.0; 0: a plain one */
	uint64_t ecam;           /* address of the 1 MiB of MMCONFIG for bus 0; 0: none */
	/* Where base addresses may lie; told to the guest by the board (ACPI _CRS). mem is below
	 * 4 GiB; mem64 may be empty. */
	struct pci_window io, mem, mem64;
	/* No firmware will do it: functions come out of reset with addresses, and decoding them. */
	bool preassign;
	/* INTx: pin p of slot s drives pirq[(s + p - 1) % 4]; int_line goes to INTERRUPT_LINE. */
	struct irq_line pirq[4];
	uint8_t int_line[4];
};

/* Host bridge with configuration mechanism #1 at ports CF8H…CFFH and ECAM. It answers the byte port
 * CF9H too (reset control register, as in the south bridges), since that lies in its range. */
int pci_host_create(struct vm *vm, const struct pci_host_wiring *w,
		    struct pci_host **out) attr_must_check;
struct vm *pci_host_vm(struct pci_host *host);
struct pci_dev *pci_host_find(struct pci_host *host, unsigned devfn);

/* ---- making a function ------------------------------------------------------------------ */

void pci_dev_init(struct pci_dev *pd, const struct pci_id *id);
/* A 64-bit one takes idx and idx + 1. ERR_INVAL, ERR_EXIST. */
int pci_bar_add(struct pci_dev *pd, unsigned idx, const struct pci_bar *bar) attr_must_check;
/* An expansion ROM (6.2.5.2, 6.3), also of a function that is on the bus already. Where its first image is for processors of
 * PCs and for another function, it says that it is for this one, or firmware would not run it. data is kept by the caller. ERR_INVAL where it is
 * empty or larger than 16 MiB. */
int pci_rom_add(struct pci_dev *pd, const void *data, size_t len) attr_must_check;
/* Appends a capability of len bytes (header included), zeroed and read-only; *off gets its place.
 * ERR_NOMEM when the space is full. */
int pci_cap_add(struct pci_dev *pd, uint8_t id, unsigned len, uint8_t *off) attr_must_check;
/* n vectors; table and pending bits in BAR idx of its own, PCI_MSIX_SIZE bytes. */
int pci_msix_add(struct pci_dev *pd, unsigned n, unsigned idx) attr_must_check;
/* n messages: 1 2 4 8 16 32. */
int pci_msi_add(struct pci_dev *pd, unsigned n) attr_must_check;
/* slot: 0 … 31 or PCI_ANY_SLOT; func: 0 … 7. Gives addresses where the board wants it. ERR_EXIST,
 * ERR_NOMEM when a window is full. */
int pci_attach(struct pci_host *host, struct pci_dev *pd, int slot, unsigned func) attr_must_check;
/* Takes it off the bus: its regions are unmapped. */
void pci_detach(struct pci_dev *pd);

/* ---- running ------------------------------------------------------------------------------ */

/* size 1 2 4, within an aligned doubleword. Absent functions read all ones. */
uint32_t pci_cfg_read(struct pci_host *host, unsigned devfn, unsigned off, unsigned size);
void pci_cfg_write(struct pci_host *host, unsigned devfn, unsigned off, unsigned size,
		   uint32_t value);
/* The function's own accesses: no masks, no hooks. size ≤ 4, any alignment. */
uint32_t pci_cfg_peek(struct pci_dev *pd, unsigned off, unsigned size);
void pci_cfg_poke(struct pci_dev *pd, unsigned off, unsigned size, uint32_t value);
/* Saved state of a function: configuration space, messages, pin; both directions. */
int pci_dev_state(struct pci_dev *pd, struct state_stream *st);
/* Puts a function into the state after reset. */
void pci_dev_reset(struct pci_dev *pd);

/* Interrupts, from any thread; a lock of rank RANK_DEVICE or RANK_BACKEND may be held. */
void pci_intx(struct pci_dev *pd, bool level);
bool pci_msix_enabled(struct pci_dev *pd);
bool pci_msi_enabled(struct pci_dev *pd);
void pci_msix_send(struct pci_dev *pd, unsigned vector);
/* What pci_msix_send() would send at once; false: it would not. */
bool pci_msix_message(struct pci_dev *pd, unsigned vector, uint64_t *addr, uint32_t *data);
void pci_msi_send(struct pci_dev *pd, unsigned message);
/* A guest withdraws a message that is still pending. */
void pci_msix_clear(struct pci_dev *pd, unsigned vector);

/* Little-endian accesses to byte arrays, for tables like configuration spaces. */
static inline uint32_t pci_get(const uint8_t *p, unsigned size)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (uint32_t)p[i] << (8 * i);
	return v;
}

static inline void pci_put(uint8_t *p, unsigned size, uint64_t v)
{
	for (unsigned i = 0; i < size; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

#endif
