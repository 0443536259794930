/* SPDX-License-Identifier: ISC */
/* disk.c: see disk.h. disk_submit() enters from vCPU threads and completions, the completion from any
 * thread, the timer from the event loop. */
#include "dev/disk.h"

#include "base/str.h"
#include "vm/vm.h"

#define RETRY_NS   NS_PER_SEC
#define QUIESCE_NS (20 * NS_PER_SEC)

static void request_done(struct block_req *req, int err)
{
	struct disk_req *r = container_of(req, struct disk_req, req);
	struct disk *d = r->disk;
	bool resume = false, keep;

	plat_mutex_lock(&d->lock);
	keep = err == ERR_NOSPC && !d->closing;
	if (keep) {
		r->next = d->stalled;
		d->stalled = r;
	} else if (d->holds_pause && !d->stalled && !err) {
		d->holds_pause = false;
		resume = true;
	}
	plat_mutex_unlock(&d->lock);
	if (keep) {
		plat_timer_arm(&d->timer, plat_now() + RETRY_NS);
		return;
	}
	if (resume)
		vm_resume(d->vm);
	r->done(r, err);
	plat_mutex_lock(&d->lock);
	if (!--d->in_flight)
		plat_event_set(&d->idle);
	plat_mutex_unlock(&d->lock);
}

/* The host's disk was full a moment ago: the guest waits, and the requests are tried again. */
static void retry(void *arg)
{
	struct disk *d = arg;
	struct disk_req *r, *next;
	bool pause;

	plat_mutex_lock(&d->lock);
	r = d->stalled;
	d->stalled = NULL;
	pause = r && !d->holds_pause && !d->closing;
	d->holds_pause |= pause;
	plat_mutex_unlock(&d->lock);
	if (pause) {
		plat_log(LOG_WARN, "%s: the host's disk is full: the VM waits until there is room",
			 d->block->name);
		vm_pause(d->vm, "the host's disk is full");
	}
	for (; r; r = next) {
		next = r->next;
		block_submit(d->block, &r->req);
	}
}

void disk_submit(struct disk *d, struct disk_req *r)
{
	r->disk = d;
	r->req.done = request_done;
	plat_mutex_lock(&d->lock);
	d->in_flight++;
	plat_event_clear(&d->idle);
	plat_mutex_unlock(&d->lock);
	block_submit(d->block, &r->req);
}

void disk_init(struct disk *d, struct vm *vm, struct block *block)
{
	d->vm = vm;
	d->block = block;
	plat_mutex_init(&d->lock, RANK_BACKEND);
	plat_timer_init(&d->timer, vm->loop, retry, d);
}

int disk_quiesce(struct disk *d)
{
	uint64_t deadline = plat_now() + QUIESCE_NS;
	unsigned n;

	for (;;) {
		plat_mutex_lock(&d->lock);
		n = d->in_flight;
		if (n)
			plat_event_clear(&d->idle);
		plat_mutex_unlock(&d->lock);
		if (!n)
			return 0;
		if (!plat_event_wait(&d->idle, deadline))
			return err_here(ERR_TIMEOUT);
	}
}

void disk_fini(struct disk *d)
{
	unsigned n;

	plat_mutex_lock(&d->lock);
	d->closing = true;
	plat_mutex_unlock(&d->lock);
	retry(d); /* the VM's loop has ended: what is stalled fails now */
	do {
		plat_mutex_lock(&d->lock);
		n = d->in_flight;
		plat_mutex_unlock(&d->lock);
		if (n)
			plat_event_wait(&d->idle, plat_now() + NS_PER_SEC / 10);
	} while (n);
}

void disk_dma(struct vm *vm, gpa_t gpa, void *buf, size_t len, bool to_guest)
{
	uint8_t *p = buf;

	while (len) {
		struct mem_slot *s = mem_slot(vm, gpa);
		size_t n = MIN(len, (size_t)(PAGE_SIZE - (gpa & PAGE_MASK)));
		hva_t at;

		if (s)
			n = MAX(n, (size_t)MIN((uint64_t)len, s->size - (gpa - s->gpa)));
		at = s ? mem_ptr(vm, gpa, n, to_guest) : NULL;
		if (!at) { /* pages that are protected lie among others that are not */
			n = MIN(len, (size_t)(PAGE_SIZE - (gpa & PAGE_MASK)));
			at = mem_ptr(vm, gpa, n, to_guest);
		}
		if (at && to_guest) {
			memcpy(at, p, n);
			mem_written(vm, gpa, n);
		} else if (at) {
			memcpy(p, at, n);
		} else if (!to_guest) {
			memset(p, 0xff, n);
		}
		p += n;
		gpa += n;
		len -= n;
	}
}
