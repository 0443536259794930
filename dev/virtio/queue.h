/* SPDX-License-Identifier: ISC */
/* queue.h: split virtqueues, the device's side (virtio 1.2, 2.7).
 *
 * Everything in a ring is the guest's and may change while it is read: each field is read once,
 * checked, and used from its copy. No function here locks; the owner's lock is held. */
#ifndef DEV_VIRTIO_QUEUE_H
#define DEV_VIRTIO_QUEUE_H

#include "base/def.h"
#include "base/err.h"
#include "plat/plat.h"

struct vm;

#define VIRTQ_MAX_SIZE 1024 /* descriptors of a ring */
#define VIRTQ_MAX_SEGS 1024 /* pieces of host memory in a chain */

/* A piece of guest memory. Same shape as block_vec and net_vec. */
struct virtq_vec {
	void *base;
	size_t len;
};

/* What one descriptor chain describes: n_out pieces to read, then n_in pieces to write. The owner
 * gives the arrays. Those who take from its front or end move vec[first] and the counts. */
struct virtq_chain {
	uint16_t head;
	unsigned max;             /* entries of vec and gpa */
	unsigned first;           /* out pieces before it are used up */
	unsigned n_out;           /* out pieces: vec[first … n_out - 1] */
	unsigned n;               /* in pieces: vec[n_out … n - 1] */
	uint64_t out_len, in_len; /* bytes, of what is left */
	struct virtq_vec *vec;
	gpa_t *gpa; /* where each piece is, for mem_written() */
};

struct virtq {
	struct vm *vm;
	/* set by the transport */
	uint16_t index; /* of the queue in its device */
	uint16_t size, max_size;
	bool enabled;
	uint16_t vector;
	gpa_t desc_gpa, avail_gpa, used_gpa;
	/* ring features in force */
	bool event_idx, indirect;
	/* translated when enabled */
	const uint8_t *desc;
	const uint8_t *avail;
	uint8_t *used;
	/* progress */
	uint16_t next_avail; /* free-running index of the next chain to take */
	uint16_t seen_avail; /* guest's index as last read */
	uint16_t next_used;
	uint16_t in_use; /* taken and not yet given back */
	/* owner's: see virtio.c */
	bool running, again;
	struct plat_task more;
};

/* Translates and checks the ring addresses. ERR_RANGE: not in RAM; ERR_INVAL: misaligned or a size
 * that is not a power of two. The ring starts at index 0. */
int virtq_enable(struct virtq *q) attr_must_check;
void virtq_reset(struct virtq *q); /* disabled, addresses and size as after reset */

/* Takes the next chain: 1, or 0 when there is none. ERR_FORMAT: the guest broke the rules, the
 * device must ask for a reset; the chain is not taken. */
int virtq_pop(struct virtq *q, struct virtq_chain *c) attr_must_check;
/* Gives the last n popped chains back to the ring, as if never taken. */
void virtq_unpop(struct virtq *q, unsigned n);
/* Without taking: are there chains? */
bool virtq_pending(struct virtq *q);

/* Puts a chain on the used ring at place ahead from the next one; the guest sees it with
 * virtq_publish(). written: bytes, from the start of the in pieces. */
void virtq_fill(struct virtq *q, unsigned ahead, uint16_t head, uint32_t written);
/* Shows n filled ones; true when the guest wants an interrupt for them. */
bool virtq_publish(struct virtq *q, unsigned n) attr_must_check;

/* Asks the guest to notify when it adds to what has been seen of the ring (all of it: every chain
 * taken or not). True when it has already added more. */
bool virtq_listen(struct virtq *q);
/* Asks it not to; best effort. */
void virtq_unlisten(struct virtq *q);

/* Storage for chains of at most max pieces, pages that cost nothing before they are used. */
int virtq_chain_init(struct virtq_chain *c, unsigned max) attr_must_check;
void virtq_chain_fini(struct virtq_chain *c);

/* Copies up to len bytes off the front of the out pieces, which shrink; returns how many. */
size_t virtq_read(struct virtq_chain *c, void *buf, size_t len);
/* Cuts the last byte off the in pieces; NULL when there is none. */
uint8_t *virtq_cut_last(struct virtq_chain *c, gpa_t *gpa);
/* Copies into the in pieces from byte off on, and reports the write; returns how many fitted. */
size_t virtq_write(struct virtq *q, const struct virtq_chain *c, size_t off, const void *buf,
		   size_t len);
/* Reports that the first len bytes of the in pieces were written. */
void virtq_written(struct virtq *q, const struct virtq_chain *c, uint64_t len);

#endif
