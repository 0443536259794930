/* SPDX-License-Identifier: ISC */
/* stream.h: the two halves of a character stream over file descriptors, from which the back ends of
 * this folder are made.
 *
 * Output: a serial port writes bytes one by one, and a system call for each would cost more than the
 * guest's work. So the first byte after a pause is written at once (a key's echo), what follows
 * within two milliseconds is collected. A reader that stalls costs the oldest bytes, never time.
 *
 * Input: is read when the device has taken all that came before. */
#ifndef CHR_STREAM_H
#define CHR_STREAM_H

#include "chr/chr.h"
#include "chr/ring.h"
#include "plat/linux/loop_fd.h"

#define CHR_OUT_BUFFER (64 * 1024)
#define CHR_IN_BUFFER  4096

struct chr_out {
	struct plat_loop *loop;
	struct plat_timer timer;
	struct plat_mutex lock; /* RANK_BACKEND: all that follows */
	int fd;                 /* -1: nobody listens, bytes are lost */
	bool socket;
	bool blocked;  /* the other side is full: wait for EPOLLOUT */
	bool waiting;  /* the timer is armed */
	uint64_t last; /* when it was written last */
	uint64_t lost; /* bytes */
	struct chr_ring ring;
	struct plat_fd watch;
};

int chr_out_init(struct chr_out *o, struct plat_loop *loop) attr_must_check;
/* Loop's thread, or nobody else uses it. Writes for a short while, then frees and closes. */
void chr_out_fini(struct chr_out *o);
/* Takes over a descriptor, which must not block (or be a file). The loop's thread, or before use. */
int chr_out_set_fd(struct chr_out *o, int take_fd) attr_must_check;
void chr_out_drop_fd(struct chr_out *o); /* closes it, forgets what is not written. Loop's thread */
void chr_out_write(struct chr_out *o, const void *buf, size_t len); /* any thread */

struct chr_in {
	struct plat_loop *loop;
	struct chr *chr;   /* whose client gets it */
	int fd;            /* -1: none. Not owned */
	bool always_ready; /* a file: not in the loop's set */
	struct plat_fd watch;
	struct plat_task pump;
	struct plat_timer retry;
	uint32_t pos, len; /* bytes not yet taken, in buf */
	/* NULL, or what looks at each batch first: changes it in place, returns what is left. */
	size_t (*filter)(void *arg, uint8_t *buf, size_t len);
	/* NULL, or false where reading is out of place now: asked again half a second later. */
	bool (*may_read)(void *arg);
	/* NULL, or called once at the end of input. It may call chr_in_clear(). */
	void (*end)(void *arg);
	void *arg;
	uint8_t buf[CHR_IN_BUFFER];
};

/* Zeroed storage, with filter, may_read, end and arg set. */
void chr_in_init(struct chr_in *in, struct plat_loop *loop, struct chr *chr);
int chr_in_set_fd(struct chr_in *in, int fd) attr_must_check; /* loop's thread, or before use */
void chr_in_clear(struct chr_in *in);                         /* loop's thread */
void chr_in_rx_ready(struct chr_in *in);                      /* any thread */

/* Ends a stream from any thread: stop(arg) runs on the loop's thread, and later, when no task of the
 * stream can be queued any more, free(arg) does. task: embedded in the stream. */
void chr_end(struct plat_loop *loop, struct plat_task *task, void (*stop)(void *arg),
	     void (*free)(void *arg), void *arg);

#endif
