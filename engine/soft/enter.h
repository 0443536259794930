/* SPDX-License-Identifier: ISC */
/* enter.h: the trampolines between C and translated code. */
#ifndef ENGINE_SOFT_ENTER_H
#define ENGINE_SOFT_ENTER_H

#include "engine/soft/layout.h"

/* Runs translated code at host address code until it leaves. The guest's FP state must be live. */
void soft_enter(struct soft_vcpu *v, const uint8_t *code);
/* The address that makes soft_enter() return. */
const uint8_t *soft_leave_code(struct soft_vcpu *v);

#endif
