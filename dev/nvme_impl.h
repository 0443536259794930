/* SPDX-License-Identifier: ISC */
/* nvme_impl.h: what the files of the NVMe controller share: nvme.c (registers, queues, interrupts, the device),
 * nvme_io.c (reading and writing), nvme_admin.c (the administrative commands). Everything under lock unless said
 * otherwise. */
#ifndef DEV_NVME_IMPL_H
#define DEV_NVME_IMPL_H

#include "dev/disk.h"
#include "dev/nvme.h"
#include "dev/pci/pci.h"
#include "vm/dev.h"
#include "vm/vm.h"

#define NVME_QUEUES 8    /* I/O pairs; admin is number 0 */
#define QUEUE_MAX   256  /* entries (CAP.MQES + 1) */
#define QUEUE_ROOM  4096 /* the admin queues may be larger */
#define REQUESTS    64
#define MDTS        8 /* log2 of pages: 1 MiB a command */
#define SEGMENTS    (BIT(MDTS) + 1)
#define SECTOR      512u
#define DOORBELLS   0x1000
#define REGS_SIZE   0x2000
#define BAR_REGS    0
#define BAR_MSIX    4

/* Status codes: type << 8 | code */
enum {
	SC_OK = 0x00,
	SC_OPCODE = 0x01,
	SC_FIELD = 0x02,
	SC_TRANSFER = 0x04,
	SC_NAMESPACE = 0x0b,
	SC_PRP = 0x13,
	SC_RANGE = 0x80,
	SC_CQ = 0x100,
	SC_QID = 0x101,
	SC_QSIZE = 0x102,
	SC_AER_LIMIT = 0x105,
	SC_VECTOR = 0x108,
	SC_DELETE = 0x10c,
	SC_WRITE = 0x280,
	SC_READ = 0x281,
};
#define DNR 0x4000 /* do not retry */

struct nvme_cmd {
	uint8_t op, flags;
	uint16_t cid;
	uint32_t nsid;
	uint64_t reserved, mptr;
	uint64_t prp1, prp2;
	uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
_Static_assert(sizeof(struct nvme_cmd) == 64, "submission queue entry");

struct nvme_cqe {
	uint32_t dw0, reserved;
	uint16_t sq_head, sq_id, cid, status;
};
_Static_assert(sizeof(struct nvme_cqe) == 16, "completion queue entry");

struct sq {
	uint64_t base;
	uint32_t size; /* 0: not there */
	uint32_t head, tail;
	uint16_t cq;
};

struct cq {
	uint64_t base;
	uint32_t size;
	uint32_t head, tail;
	uint32_t inflight; /* entries that are promised */
	bool phase, irq;
	uint16_t vector;
};

struct nvme_req {
	struct disk_req disk;
	struct nvme *nvme;
	struct nvme_req *next;
	uint32_t epoch;
	uint16_t sq, cid;
	bool write;
	unsigned n_seg;
	struct block_vec vec[SEGMENTS];
	gpa_t gpa[SEGMENTS];
};

struct nvme {
	struct dev dev;
	struct pci_dev pd;
	struct disk disk;
	uint64_t blocks;
	char serial[21];

	struct plat_mutex lock; /* RANK_DEVICE: all below */
	uint32_t cc, csts, aqa, intms;
	uint64_t asq, acq;
	struct sq sq[NVME_QUEUES + 1];
	struct cq cq[NVME_QUEUES + 1];
	uint32_t epoch; /* of the controller's life; answers from earlier ones are dropped */
	struct nvme_req *free;
	struct nvme_req *todo, *todo_last; /* to be submitted */
	bool draining;
	struct nvme_req *req;
	bool pin;
	unsigned aers; /* asynchronous event requests: kept without an answer */
	uint8_t page[4096];
};

/* nvme.c */
void nvme_pin_update(struct nvme *n);
/* The queue has room: submissions are taken only as long as it has. */
void nvme_complete(struct nvme *n, uint16_t sqid, uint16_t cid, uint16_t status, uint32_t dw0);
/* Takes what the guest has put into its submission queues, as far as there is room. */
void nvme_ring(struct nvme *n);

/* nvme_io.c */
/* SC_* for an answer at once; -1: it will come. */
int nvme_io_command(struct nvme *n, uint16_t sqid, const struct nvme_cmd *c);
/* Hands prepared requests to the disk. Without the lock. */
void nvme_drain(struct nvme *n);

/* nvme_admin.c */
/* SC_* for an answer at once; -1: none will come. */
int nvme_admin_command(struct nvme *n, const struct nvme_cmd *c, uint32_t *dw0);

#endif
