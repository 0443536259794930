/* SPDX-License-Identifier: ISC */
/* dirty.c: which pages vCPUs have written to (KVM_MEM_LOG_DIRTY_PAGES), as PGF_DIRTY in the map of memory, where devices
 * and the interpreter note theirs. From bitmaps, one a slot, or where that is asked for (--kvm-dirty-ring) from rings, one a
 * vCPU, in which KVM puts page after page (KVM_CAP_DIRTY_LOG_RING).
 *
 * KVM leaves the guest before a ring is full. The development machine's, which emulates many instructions before it looks, does
 * not, and loses pages: a ring that has nevertheless become full makes all pages count as written, each time, but that
 * does not show all that is lost there. So bitmaps are what is used unless somebody chooses.
 *
 * A slot that goes while pages are logged (a PC's shadow memory) may take with it what nobody has read: all of it counts
 * as written. Main thread, and any vCPU's whose ring is full or whose slots change; kv->lock serialises. */
#include "engine/kvm/kvm.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define RESETS       16u
#define RING_ENTRIES 4096u
#define RING_BYTES   (RING_ENTRIES * sizeof(struct kvm_dirty_gfn))

static void mark(struct vm *vm, gpa_t gpa)
{
	struct mem_slot *s = mem_slot(vm, gpa);

	if (!s && mem_is_screen(&vm->mem, gpa))
		s = &vm->mem.screen;
	if (s)
		atomic_fetch_or_explicit(&s->flags[(gpa - s->gpa) >> PAGE_SHIFT], PGF_DIRTY,
					 memory_order_relaxed);
}

void kvm_dirty_all(struct vm *vm, const struct kvm_slot *s)
{
	for (uint64_t at = 0; at < s->size; at += PAGE_SIZE)
		mark(vm, s->gpa + at);
}

/* ---- the interpreter --------------------------------------------------------------------------- */

/* It keeps where pages are, and writes to them later: they are noted when it is done. */
void kvm_dirty_later(struct kvm_vcpu *v, gpa_t gpa)
{
	gpa = ALIGN_DOWN(gpa, PAGE_SIZE);
	if (v->n_wrote && v->wrote[(v->n_wrote - 1) % KVM_WROTE] == gpa)
		return;
	v->wrote[v->n_wrote++ % KVM_WROTE] = gpa;
}

void kvm_dirty_now(struct kvm_vcpu *v)
{
	struct vm *vm = v->vcpu->vm;
	struct kvm_vm *kv = v->kv;

	if (likely(!v->n_wrote))
		return;
	for (unsigned i = 0; i < MIN(v->n_wrote, KVM_WROTE); i++)
		mark(vm, v->wrote[i]);
	plat_mutex_lock(&kv->lock);
	for (unsigned i = 0; i < KVM_SLOTS && v->n_wrote > KVM_WROTE && kv->logs; i++)
		kvm_dirty_all(vm, &kv->slot[i]); /* too many to know */
	plat_mutex_unlock(&kv->lock);
	v->n_wrote = 0;
}

/* ---- rings -------------------------------------------------------------------------------------- */

/* Before there are vCPUs, and for good. */
void kvm_dirty_init(const struct vm *vm, struct kvm_vm *kv)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_DIRTY_LOG_RING, .args = {RING_BYTES}};
	int most = !vm->dirty_rings || !kvm_has(kv, HAS_DIRTY_RING)
			   ? 0
			   : ioctl(kv->fd, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING);

	kv->dirty_rings = most >= (int)RING_BYTES && !ioctl(kv->fd, KVM_ENABLE_CAP, &cap);
}

void kvm_dirty_vcpu_fini(struct kvm_vcpu *v)
{
	if (v->dirty)
		munmap(v->dirty, RING_BYTES);
	v->dirty = NULL;
}

static int map_ring(struct kvm_vcpu *v)
{
	void *p;

	if (v->dirty)
		return 0;
	p = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd,
		 (off_t)(KVM_DIRTY_LOG_PAGE_OFFSET * PAGE_SIZE));
	if (p == MAP_FAILED)
		return kvm_host_err("a ring of written pages");
	v->dirty = p;
	v->dirty_next = 0;
	return 0;
}

/* Lock held. */
static unsigned read_ring(struct kvm_vcpu *v)
{
	struct kvm_vm *kv = v->kv;
	unsigned n = 0;

	for (;; n++, v->dirty_next++) {
		struct kvm_dirty_gfn *e = &v->dirty[v->dirty_next % RING_ENTRIES];

		if (__atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY)
			return n;
		if ((e->slot & 0xffff) < KVM_SLOTS)
			mark(v->vcpu->vm,
			     kv->slot[e->slot & 0xffff].gpa + (e->offset << PAGE_SHIFT));
		__atomic_store_n(&e->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
	}
}

static int read_rings(struct vm *vm, struct kvm_vm *kv)
{
	unsigned n = 0, reset = 0;
	int r = 1;

	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		struct kvm_vcpu *v = vm->vcpu[i]->engine_data;
		unsigned k = v->dirty ? read_ring(v) : 0;

		kv->dirty_lost |= k >= RING_ENTRIES;
		n += k;
	}
	/* A signal ends it before the end. */
	for (unsigned i = 0; i < RESETS && reset < n && r >= 0; i++) {
		r = ioctl(kv->fd, KVM_RESET_DIRTY_RINGS, 0);
		reset += r > 0 ? (unsigned)r : 0;
		r = r < 0 && errno == EINTR ? 0 : r;
	}
	if (r < 0)
		return kvm_host_err("KVM_RESET_DIRTY_RINGS");
	kv->dirty_lost |= reset < n;
	return 0;
}

int kvm_dirty_full(struct kvm_vcpu *v)
{
	int err;

	plat_mutex_lock(&v->kv->lock);
	err = read_rings(v->vcpu->vm, v->kv);
	plat_mutex_unlock(&v->kv->lock);
	return err;
}

/* ---- bitmaps ------------------------------------------------------------------------------------ */

static int read_bitmap(struct vm *vm, struct kvm_vm *kv, unsigned i, uint64_t *bits)
{
	const struct kvm_slot *s = &kv->slot[i];
	struct kvm_dirty_log log = {.slot = i, .dirty_bitmap = bits};

	if (ioctl(kv->fd, KVM_GET_DIRTY_LOG, &log))
		return kvm_host_err("KVM_GET_DIRTY_LOG");
	for (uint64_t w = 0; w < ALIGN_UP(s->size >> PAGE_SHIFT, 64) / 64; w++)
		for (uint64_t left = bits[w]; left; left &= left - 1)
			mark(vm,
			     s->gpa + ((w * 64 + (unsigned)__builtin_ctzll(left)) << PAGE_SHIFT));
	return 0;
}

static int read_bitmaps(struct vm *vm, struct kvm_vm *kv)
{
	uint64_t most = 0, *bits;
	int err = 0;

	for (unsigned i = 0; i < KVM_SLOTS; i++)
		most = MAX(most, kv->slot[i].size >> PAGE_SHIFT);
	bits = plat_alloc(ALIGN_UP(most, 64) / 8);
	if (!bits)
		return err_here(ERR_NOMEM);
	for (unsigned i = 0; i < KVM_SLOTS && !err; i++)
		if (kv->slot[i].size && !kv->slot[i].ro)
			err = read_bitmap(vm, kv, i, bits);
	plat_free(bits);
	return err;
}

/* ---- the log ------------------------------------------------------------------------------------ */

static int log_slots(struct kvm_vm *kv, bool on)
{
	int err = 0;

	kv->logs = on;
	for (unsigned i = 0; i < KVM_SLOTS && !err; i++)
		if (kv->slot[i].size && !kv->slot[i].ro)
			err = kvm_slot_tell(kv, i, &kv->slot[i]);
	return err;
}

static int start(struct vm *vm, struct kvm_vm *kv)
{
	int err = 0;

	kv->dirty_lost = false;
	for (unsigned i = 0; i < vm->n_vcpus && kv->dirty_rings && !err; i++)
		err = map_ring(vm->vcpu[i]->engine_data);
	return err ? err : log_slots(kv, true);
}

static int take(struct vm *vm, struct kvm_vm *kv)
{
	int err = kv->dirty_rings ? read_rings(vm, kv) : read_bitmaps(vm, kv);

	for (unsigned i = 0; i < KVM_SLOTS && kv->dirty_lost; i++)
		kvm_dirty_all(vm, &kv->slot[i]);
	return err;
}

int kvm_dirty(struct vm *vm, enum dirty_op op)
{
	struct kvm_vm *kv = vm->engine_data;
	int err;

	plat_mutex_lock(&kv->lock);
	switch (op) {
	case DIRTY_START:
		err = start(vm, kv);
		break;
	case DIRTY_TAKE:
		err = kv->logs ? take(vm, kv) : err_here(ERR_INVAL);
		break;
	default:
		err = log_slots(kv, false);
		if (!err && kv->dirty_rings) /* for the next one, nothing must be left in them */
			err = read_rings(vm, kv);
	}
	plat_mutex_unlock(&kv->lock);
	return err;
}
