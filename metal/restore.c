/* SPDX-License-Identifier: ISC */
/* restore.c: reads what vigia pack has put into the module of a file of vigia save (doc/state-format.md): its sections, and
 * the pages of memory that are not zeros. Devices, processors and time are vm/save.c's. On the keeper's thread. */
#include "metal/restore.h"

#include "base/str.h"
#include "vm/save.h"

struct source {
	const struct fleet_file *f;
	size_t at;
};

static int source_read(void *ctx, void *buf, size_t len)
{
	struct source *s = ctx;

	if (len > s->f->size - s->at)
		return ERR_FORMAT;
	memcpy(buf, s->f->data + s->at, len);
	s->at += len;
	return 0;
}

static const struct state_io source_io = {.read = source_read};

/* Behind section "memory", and what may belong to it. */
static int open_stream(const struct fleet_vm *d, struct source *s, struct state_stream *st)
{
	int err;

	*s = (struct source){&d->state, 0};
	err = state_open(st, &source_io, s, true);
	while (!err && !str_eq(st->section, "memory"))
		err = state_next(st);
	if (!err && st->version > 1) /* how it was compressed */
		err = state_next(st);
	return err;
}

static int failed(struct state_stream *st, int e, char *err, size_t err_size)
{
	str_format(err, err_size, "the saved state: %s", st->why[0] ? st->why : err_str(e));
	return e;
}

bool restore_wanted(const struct fleet_vm *d)
{
	return d->state.data;
}

int restore_kind(const struct fleet_vm *d, struct x86_kind *out, uint64_t *tsc_hz, char *err,
		 size_t err_size)
{
	struct state_stream st;
	struct source s;
	int e = open_stream(d, &s, &st);

	if (!e)
		e = state_next(&st);
	if (!e)
		e = vm_state_kind(&st, out, tsc_hz);
	if (e)
		e = failed(&st, e, err, err_size);
	state_close(&st);
	return e;
}

static int take_memory(const struct fleet_vm *d, struct vm *vm)
{
	struct fleet_run run;
	size_t at = 0;
	int err;

	memset(vm->ram.hva, 0, vm->ram.size); /* what the board has put there */
	while (fleet_run_next(&d->contents, &at, vm->ram.size, &run, &err))
		memcpy((uint8_t *)vm->ram.hva + run.offset, run.data, run.size);
	return err;
}

int restore_load(const struct fleet_vm *d, struct vm *vm, char *err, size_t err_size)
{
	struct state_stream st;
	struct source s;
	int e = open_stream(d, &s, &st);

	if (!e && take_memory(d, vm))
		e = state_fail(&st, ERR_FORMAT, "its memory does not fit");
	if (!e && vm->engine->memory_replaced)
		vm->engine->memory_replaced(vm);
	vm->may_lack = d->may_lack;
	if (!e)
		e = vm_state_load(vm, &st);
	if (e)
		e = failed(&st, e, err, err_size);
	state_close(&st);
	if (!e)
		vm_thaw(vm, false);
	return e;
}
