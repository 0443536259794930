/* SPDX-License-Identifier: ISC */
/* memmap.c: guest-physical memory. The slots are fixed once vCPUs run, so nothing locks here. */
#include "vm/memmap.h"

#include "base/str.h"
#include "vm/vm.h"

int mem_add(struct vm *vm, gpa_t gpa, uint64_t size, hva_t hva, uint64_t file_offset, bool rom)
{
	struct memmap *m = &vm->mem;
	unsigned i = 0;

	if (!size || !IS_ALIGNED(gpa | size, PAGE_SIZE) || gpa + size < gpa)
		return err_here(ERR_INVAL);
	if (m->n == MEM_MAX_SLOTS)
		return err_here(ERR_NOMEM);
	while (i < m->n && m->slot[i].gpa < gpa)
		i++;
	if ((i > 0 && m->slot[i - 1].gpa + m->slot[i - 1].size > gpa) ||
	    (i < m->n && gpa + size > m->slot[i].gpa))
		return err_here(ERR_EXIST);
	_Atomic uint8_t *flags = plat_alloc(size >> PAGE_SHIFT);
	if (!flags)
		return err_here(ERR_NOMEM);
	memmove(&m->slot[i + 1], &m->slot[i], (m->n - i) * sizeof(m->slot[0]));
	m->slot[i] = (struct mem_slot){gpa, size, hva, file_offset, flags, rom, false};
	m->n++;
	return 0;
}

struct mem_slot *mem_slot(struct vm *vm, gpa_t gpa)
{
	struct memmap *m = &vm->mem;

	for (unsigned i = 0; i < m->n; i++)
		if (gpa - m->slot[i].gpa < m->slot[i].size)
			return &m->slot[i];
	return NULL;
}

static bool is_protected(struct mem_slot *s, uint64_t off, uint64_t len)
{
	for (uint64_t p = off >> PAGE_SHIFT; p << PAGE_SHIFT < off + len; p++)
		if (atomic_load_explicit(&s->flags[p], memory_order_relaxed) & PGF_RO)
			return true;
	return false;
}

hva_t mem_ptr(struct vm *vm, gpa_t gpa, uint64_t len, bool write)
{
	struct mem_slot *s = mem_slot(vm, gpa);

	if (!s || len > s->size - (gpa - s->gpa) || (write && s->rom))
		return NULL;
	if (unlikely(write && s->protectable && is_protected(s, gpa - s->gpa, len)))
		return NULL;
	return s->hva + (gpa - s->gpa);
}

void mem_written(struct vm *vm, gpa_t gpa, uint64_t len)
{
	struct mem_slot *s = mem_slot(vm, gpa);
	bool code = false;

	if (!s || !len)
		return;
	uint64_t first = (gpa - s->gpa) >> PAGE_SHIFT;
	uint64_t last = MIN(gpa - s->gpa + len - 1, s->size - 1) >> PAGE_SHIFT;

	for (uint64_t p = first; p <= last; p++) {
		uint8_t fl = atomic_load_explicit(&s->flags[p], memory_order_relaxed);

		if (!(fl & PGF_DIRTY))
			fl |= atomic_fetch_or_explicit(&s->flags[p], PGF_DIRTY,
						       memory_order_relaxed);
		code |= fl & PGF_CODE;
	}
	if (unlikely(code) && vm->engine->memory_changed)
		vm->engine->memory_changed(vm, gpa, len);
}

void mem_protect(struct vm *vm, gpa_t gpa, uint64_t len, bool ro)
{
	struct mem_slot *s = mem_slot(vm, gpa);
	bool changed = false;

	if (!s || !len || len > s->size - (gpa - s->gpa))
		return;
	s->protectable |= ro;
	for (uint64_t p = (gpa - s->gpa) >> PAGE_SHIFT, end = p + (len >> PAGE_SHIFT); p < end; p++)
		if (ro)
			changed |= !(atomic_fetch_or(&s->flags[p], PGF_RO) & PGF_RO);
		else
			changed |= atomic_fetch_and(&s->flags[p], (uint8_t)~PGF_RO) & PGF_RO;
	if (changed && vm->engine->memory_protected)
		vm->engine->memory_protected(vm, gpa, len);
}

/* ---- what was written ------------------------------------------------------------------------ */

/* bits: NULL: nobody wants to know. */
static void take_slot(struct vm *vm, struct mem_slot *s, uint64_t *bits)
{
	uint64_t first = (uint64_t)(s->hva - vm->ram.hva);

	if (!s->size || s->rom || first >= vm->ram.size)
		return;
	first >>= PAGE_SHIFT;
	for (uint64_t p = 0; p < s->size >> PAGE_SHIFT; p++) {
		if (!(atomic_load_explicit(&s->flags[p], memory_order_relaxed) & PGF_DIRTY))
			continue;
		/* before the page is read: what is written from here on is noted again */
		atomic_fetch_and(&s->flags[p], (uint8_t)~PGF_DIRTY);
		if (bits)
			bits[(first + p) / 64] |= BIT64((first + p) % 64);
	}
}

static void take_slots(struct vm *vm, uint64_t *bits)
{
	for (unsigned i = 0; i < vm->mem.n; i++)
		take_slot(vm, &vm->mem.slot[i], bits);
	take_slot(vm, &vm->mem.screen, bits);
}

int mem_dirty_start(struct vm *vm)
{
	int err = ERR_NOSYS;

	atomic_store(&vm->dirty_noted, true);
	if (vm->engine->dirty && !atomic_load(&vm->lifted)) {
		take_slots(vm, NULL);
		err = vm->engine->dirty(vm, DIRTY_START);
	}
	if (err)
		atomic_store(&vm->dirty_noted, false);
	return err;
}

int mem_dirty_take(struct vm *vm, uint64_t *bits)
{
	int err = vm->engine->dirty(vm, DIRTY_TAKE);

	if (!err)
		take_slots(vm, bits);
	return err;
}

void mem_dirty_stop(struct vm *vm)
{
	if (vm->engine->dirty(vm, DIRTY_STOP))
		plat_log(LOG_ERROR, "what the guest writes to is noted on, at some cost");
	atomic_store(&vm->dirty_noted, false);
}

int mem_read(struct vm *vm, gpa_t gpa, void *buf, uint64_t len)
{
	hva_t p = mem_ptr(vm, gpa, len, false);

	if (!p)
		return ERR_RANGE;
	memcpy(buf, p, len);
	return 0;
}

int mem_write(struct vm *vm, gpa_t gpa, const void *buf, uint64_t len)
{
	hva_t p = mem_ptr(vm, gpa, len, true);

	if (!p)
		return ERR_RANGE;
	memcpy(p, buf, len);
	mem_written(vm, gpa, len);
	return 0;
}
