/* SPDX-License-Identifier: ISC */
/* hostvirtio.h: the driver's side of modern virtio devices over PCI (virtio 1.2, chapters 2.7, 3.1 and 4.1),
 * for drivers of the machine's own. One split queue has one owner, who serialises; descriptors are the owner's to fill. */
#ifndef METAL_HOSTVIRTIO_H
#define METAL_HOSTVIRTIO_H

#include "base/def.h"
#include "base/err.h"
#include "metal/hostpci.h"

struct hostvirtio {
	struct hostpci *pci;
	volatile uint8_t *common, *notify, *device; /* device: its own configuration; may be NULL */
	uint32_t notify_step;
	bool irq;          /* queues interrupt with the function's vector 0 */
	uint64_t features; /* agreed */
};

#define VQ_NEXT  1u
#define VQ_WRITE 2u /* the device writes */

struct vq_desc {
	uint64_t pa;
	uint32_t len;
	uint16_t flags, next;
};
_Static_assert(sizeof(struct vq_desc) == 16, "virtio 1.2, 2.7.5");

struct hostvq {
	uint16_t size, posted, taken;
	uint16_t index;
	struct vq_desc *desc;
	uint16_t *avail;
	volatile uint16_t *used, *notify;
};

/* Whether f is a modern (or transitional) device of this type: 1 network, 2 block … */
bool hostvirtio_is(const struct hostpci *f, unsigned type);
/* Resets it and agrees on those of wanted that it offers, and VIRTIO_F_VERSION_1; ERR_NOSYS: it is no modern
 * one, or refuses. irq: hostpci_irq() went well for it. */
int hostvirtio_open(struct hostvirtio *v, struct hostpci *f, uint64_t wanted,
		    bool irq) attr_must_check;
/* At most max descriptors, a power of two; between open and ready. ERR_NOENT: no such queue. */
int hostvq_open(const struct hostvirtio *v, unsigned index, unsigned max,
		struct hostvq *q) attr_must_check;
void hostvirtio_ready(const struct hostvirtio *v);
void hostvirtio_reset(const struct hostvirtio *v); /* and it stays so: no DMA any more */
uint64_t hostvirtio_config(const struct hostvirtio *v, unsigned off, unsigned size);

/* Makes the chain at head available; hostvq_kick() tells the device of all that were. */
void hostvq_post(struct hostvq *q, uint16_t head);
void hostvq_kick(struct hostvq *q);
/* A chain that the device has used, and how much it has written; false: none. What the device says is the
 * caller's to check, but that head is below the queue's size. */
bool hostvq_take(struct hostvq *q, uint16_t *head, uint32_t *len);

#endif
