/* SPDX-License-Identifier: ISC */
/* save.h: the state of a whole VM but its memory's contents: vCPUs, time, devices; and the change
 * of its engine while it runs. */
#ifndef VM_SAVE_H
#define VM_SAVE_H

#include "vm/stream.h"
#include "vm/vm.h"

/* Pauses and waits until nothing changes the VM any more: vCPUs parked, devices frozen. ERR_TIMEOUT
 * where requests in flight are not answered; the VM then goes on as before. Not on a vCPU's or a
 * back end's thread, nor on the VM's loop. */
int vm_freeze(struct vm *vm, const char *reason) attr_must_check;
/* resume: vCPUs too; false leaves them paused, as vm_pause() does. */
void vm_thaw(struct vm *vm, bool resume);

/* The sections of vCPUs and devices. Frozen. */
int vm_state_save(struct vm *vm, struct state_stream *st) attr_must_check;
/* Makes a frozen VM as if it had just been created, for a load. */
void vm_state_clear(struct vm *vm);
/* Into a VM that was just created with the same shape, not started, or was cleared. On errors it is good for
 * nothing but vm_destroy(). Starts at the section after the present one, stops behind its last. */
int vm_state_load(struct vm *vm, struct state_stream *st) attr_must_check;
/* In section "machine": the kind of its processors and their TSCs' rate. ERR_NOSYS: this host or this Vigia has not all
 * of the kind. */
int vm_state_kind(struct state_stream *st, struct x86_kind *out, uint64_t *tsc_hz) attr_must_check;
/* In section "machine": is the state of a machine like this one? */
int vm_state_fits(struct vm *vm, struct state_stream *st) attr_must_check;

/* Gives a frozen VM another engine. On errors it keeps its old one. *lacks: where that is why, a feature of its
 * processors that the new one lacks; vm->may_lack: no reason. */
int vm_set_engine(struct vm *vm, const struct engine_ops *engine,
		  const char **lacks) attr_must_check;

#endif
