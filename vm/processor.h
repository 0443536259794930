/* SPDX-License-Identifier: ISC */
/* processor.h: the kind of a VM's processors in saved states. */
#ifndef VM_PROCESSOR_H
#define VM_PROCESSOR_H

#include "vm/stream.h"
#include "vm/vm.h"
#include "x86/kind.h"

/* Since this version of the section "machine" the kind is in it. */
#define PROCESSOR_SINCE 9

/* Saves it, or loads it into *kind, which an older state leaves as it is. */
int processor_sync(struct state_stream *st, struct x86_kind *kind);
/* kind: of the state's model on this host. Makes it what the model's name meant to those who saved states
 * of that version, of processors that use at least xcr0; osxsave: its system has looked at XSAVE. */
void processor_was(struct x86_kind *kind, const char *model, uint32_t version, uint64_t xcr0,
		   bool osxsave);
/* What the engine had to leave out of vm->kind, the guest has never seen. */
void processor_settle(struct vm *vm);
/* The first feature of vm->kind that the vCPU's engine could not give it, or NULL */
const char *processor_lacks(const struct vcpu *vcpu);
/* vm->kind has what the state's has, and the engine gives all of it; else says what differs. */
int processor_check(struct vm *vm, struct state_stream *st, const struct x86_kind *want);

#endif
