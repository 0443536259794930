/* SPDX-License-Identifier: ISC */
/* virtio.h: what virtio devices have in common (virtio 1.2, chapter 2), between a transport (pci.c)
 * and the devices (blk.c, net.c …). A device is a struct virtio_ops and, for each queue, a struct
 * virtio_queue_ops; the core keeps status, features and rings, and runs the queues.
 *
 * Two kinds of queue. A drained one has handle(): on a notification the core takes chain after
 * chain and calls handle() for each, on the notifying vCPU's thread, without the lock. A filled one
 * has filled() instead: the device takes its chains itself, when it has something to put in.
 *
 * Reset is asynchronous: while operations touch guest memory (virtio_begin … virtio_end) the status
 * register does not read 0 yet; drivers wait for it (2.4.2). */
#ifndef DEV_VIRTIO_VIRTIO_H
#define DEV_VIRTIO_VIRTIO_H

#include "base/def.h"
#include "base/err.h"
#include "dev/virtio/queue.h"
#include "plat/plat.h"
#include "vm/dev.h"

struct virtio_dev;
struct pci_host;

enum virtio_id {
	VIRTIO_ID_NET = 1,
	VIRTIO_ID_BLOCK = 2,
	VIRTIO_ID_CONSOLE = 3,
	VIRTIO_ID_RNG = 4,
	VIRTIO_ID_BALLOON = 5,
	VIRTIO_ID_GPU = 16,
	VIRTIO_ID_INPUT = 18,
};

#define VIRTIO_F_INDIRECT_DESC BIT64(28)
#define VIRTIO_F_EVENT_IDX     BIT64(29)
#define VIRTIO_F_VERSION_1     BIT64(32)

#define VIRTIO_S_ACKNOWLEDGE 0x01
#define VIRTIO_S_DRIVER      0x02
#define VIRTIO_S_DRIVER_OK   0x04
#define VIRTIO_S_FEATURES_OK 0x08
#define VIRTIO_S_NEEDS_RESET 0x40
#define VIRTIO_S_FAILED      0x80

#define VIRTIO_NO_VECTOR  0xffff
#define VIRTIO_MAX_QUEUES 8

#define VIRTIO_LATER INT64_C(-1) /* handle(): virtio_complete() will come */

struct virtio_queue_ops {
	uint16_t size; /* descriptors offered: a power of two */
	bool bell; /* its notification may come late: the driver does not spin for what it asks */
	/* Drained queues. get: where the next chain is put, under the lock; NULL: no room, the device
	 * calls virtio_kick() when there is. handle: bytes written, and the chain is given back; or
	 * VIRTIO_LATER. */
	struct virtq_chain *(*get)(struct virtio_dev *vd);
	/* The chain is done with, or there was none; under the lock. May be NULL. */
	void (*unget)(struct virtio_dev *vd, struct virtq_chain *c);
	int64_t (*handle)(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *c);
	/* Filled queues: buffers were added. No lock held. */
	void (*filled)(struct virtio_dev *vd, struct virtq *q);
};

struct virtio_ops {
	enum virtio_id id;
	uint32_t pci_class;
	uint64_t features; /* offered, besides VERSION_1, EVENT_IDX and INDIRECT_DESC */
	unsigned n_queues;
	const struct virtio_queue_ops *queue;
	unsigned config_len;
	/* Device configuration, under the lock; [off, off + len) is inside of config_len. Without
	 * config_write it is read-only. */
	void (*config_read)(struct virtio_dev *vd, unsigned off, uint8_t *buf, unsigned len);
	void (*config_write)(struct virtio_dev *vd, unsigned off, const uint8_t *buf, unsigned len);
	/* Under the lock, each may be NULL. ready: DRIVER_OK. cancel: a reset begins: end what can be
	 * ended at once. reset: nothing is in flight, forget the driver. */
	void (*ready)(struct virtio_dev *vd);
	void (*cancel)(struct virtio_dev *vd);
	/* Devices whose queues the host's kernel may run (vd->may_lift). lift: a queue is rung, it might take them now. rung:
	 * by a queue that it has. recall: what it has comes back. vectors: where they interrupt has changed. */
	void (*lift)(struct virtio_dev *vd);
	void (*rung)(struct virtio_dev *vd, struct virtq *q);
	void (*recall)(struct virtio_dev *vd);
	void (*vectors)(struct virtio_dev *vd);
	void (*reset)(struct virtio_dev *vd);
	/* Saved state of the device's own, both directions; lock held; may be NULL. */
	void (*state)(struct virtio_dev *vd, struct state_stream *st);
	/* No lock, may be NULL: leaves its back end, whose thread calls it no more. */
	void (*detach)(struct virtio_dev *vd);
	void (*destroy)(struct virtio_dev *vd); /* frees the device's own things */
};

/* Called with the device's lock held. */
struct virtio_transport {
	void (*interrupt)(void *ctx, uint16_t vector, bool config);
	void (*reset)(void *ctx);   /* forget interrupt status */
	void (*destroy)(void *ctx); /* frees the transport; no lock */
	bool (*dma_allowed)(void *ctx);
	/* The message of a vector that could be sent now. */
	bool (*message)(void *ctx, uint16_t vector, uint64_t *addr, uint32_t *data);
	int (*state)(void *ctx, struct state_stream *st); /* saved state; no lock */
};

/* First member of each device's own struct. */
struct virtio_dev {
	struct dev dev;
	const struct virtio_ops *ops;
	const struct virtio_transport *transport;
	void *transport_ctx;
	uint64_t offered;
	bool transitional; /* drivers from before virtio 1.0 may use it, too */
	bool may_lift;     /* its back end has a kernel that may run queues */

	struct plat_mutex lock; /* RANK_DEVICE: all below */
	uint64_t features;      /* driver's */
	uint8_t status;
	uint8_t generation; /* of the configuration */
	bool legacy;        /* such a driver does */
	bool resetting;
	bool closing;         /* being destroyed: the event loop is gone */
	bool frozen;          /* nothing is begun: the VM is being saved */
	uint32_t busy;        /* operations that touch guest memory */
	uint32_t lifted;      /* queues that the host's kernel runs now, as bits */
	uint32_t selector[2]; /* device_feature_select, driver_feature_select */
	uint16_t queue_select;
	uint16_t config_vector;
	struct plat_event idle; /* set when a machine reset may go on */
	struct virtq vq[VIRTIO_MAX_QUEUES];
};

/* ---- for devices ---------------------------------------------------------------------------- */

/* extra: features to offer besides ops->features. */
void virtio_init(struct virtio_dev *vd, struct vm *vm, const struct dev_class *cls,
		 const struct virtio_ops *ops, uint64_t extra);
/* Puts it on the bus and lists it with its VM; when that fails, destroys it. slot: PCI slot, -1: any. */
int virtio_plug(struct virtio_dev *vd, struct pci_host *host, int slot) attr_must_check;
/* The reset and destroy members of a virtio device's dev_class. Both wait for what is in flight, so
 * they must not run on the thread that back ends complete on. */
void virtio_machine_reset(struct dev *dev);
void virtio_destroy(struct dev *dev);
/* The state and freeze members. */
int virtio_state(struct dev *dev, struct state_stream *st);
int virtio_freeze(struct dev *dev, bool on);

static inline bool virtio_has(const struct virtio_dev *vd, uint64_t feature)
{
	return vd->features & feature;
}

/* The features decide how rings are used: to be called when they have changed. Lock held. */
void virtio_features_settle(struct virtio_dev *vd);
/* Lock held: queues that the host's kernel runs come back. */
void virtio_recall(struct virtio_dev *vd);
/* Lock held: driver is up, rings may be used. */
bool virtio_live(struct virtio_dev *vd);
/* Lock held: around every operation that touches guest memory without the lock. */
void virtio_begin(struct virtio_dev *vd);
void virtio_end(struct virtio_dev *vd);
/* Lock held: the guest broke the protocol; the device asks for a reset and does nothing more. */
void virtio_broken(struct virtio_dev *vd, const char *what);
/* Lock held: n filled entries become visible; interrupts as the guest wants. */
void virtio_publish(struct virtio_dev *vd, struct virtq *q, unsigned n);
/* Gives a chain back and ends the operation that VIRTIO_LATER left. Takes the lock. */
void virtio_complete(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *c,
		     uint32_t written);
/* Runs a queue as a notification does. No lock held. */
void virtio_kick(struct virtio_dev *vd, struct virtq *q);
/* The configuration has changed. Lock held. */
void virtio_config_changed(struct virtio_dev *vd);

/* Little-endian, for configuration structures. */
static inline void virtio_put(uint8_t *p, unsigned size, uint64_t v)
{
	for (unsigned i = 0; i < size; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static inline uint64_t virtio_get(const uint8_t *p, unsigned size)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

/* ---- for transports --------------------------------------------------------------------------- */

void virtio_notify(struct virtio_dev *vd, unsigned queue);
/* Queues of which that may come late, as bits. */
uint32_t virtio_bells(const struct virtio_dev *vd);
void virtio_kick_all(struct virtio_dev *vd);
/* Vectors, or whether DMA is allowed, may have changed; no lock held. */
void virtio_wiring_changed(struct virtio_dev *vd);
/* Registers by their place in struct virtio_pci_common_cfg (4.1.4.3); take the lock. */
uint64_t virtio_common_read(struct virtio_dev *vd, unsigned off, unsigned size);
void virtio_common_write(struct virtio_dev *vd, unsigned off, unsigned size, uint64_t value);
uint64_t virtio_config_read(struct virtio_dev *vd, unsigned off, unsigned size);
void virtio_config_write(struct virtio_dev *vd, unsigned off, unsigned size, uint64_t value);
#define VIRTIO_COMMON_LEN 56

/* Registers by their place in the legacy header, up to 24 with the vectors (4.1.4.8), without the interrupt status. A
 * write of status 0 returns when nothing is in flight. */
uint32_t virtio_legacy_read(struct virtio_dev *vd, unsigned off, unsigned size);
void virtio_legacy_write(struct virtio_dev *vd, unsigned off, unsigned size, uint32_t value);
#define VIRTIO_LEGACY_LEN 24
/* Resets, and waits until no back end touches guest memory any more. False: not by then. */
bool virtio_drain(struct virtio_dev *vd, uint64_t deadline);

/* ---- PCI ---------------------------------------------------------------------------------------- */

/* Puts a device on the bus. slot: 1 … 31 or PCI_ANY_SLOT (-1). */
int virtio_pci_attach(struct virtio_dev *vd, struct pci_host *host, int slot) attr_must_check;

#endif
