/* SPDX-License-Identifier: ISC */
/* futex.h: the futex system call without libc, for files that may touch general registers only.
 * The kernel keeps SIMD registers over a system call. Any thread. */
#ifndef PLAT_LINUX_FUTEX_H
#define PLAT_LINUX_FUTEX_H

#include "base/def.h"

struct futex_time { /* the kernel's struct timespec */
	int64_t sec;
	int64_t nsec;
};

enum {
	FUTEX_OP_WAKE_PRIVATE = 1 | 128,
	FUTEX_OP_WAIT_BITSET_PRIVATE = 9 | 128, /* with an absolute time on CLOCK_MONOTONIC */
};

static inline long futex_call(_Atomic uint32_t *word, long op, uint32_t val,
			      const struct futex_time *time)
{
	register const struct futex_time *r10 __asm__("r10") = time;
	register void *r8 __asm__("r8") = NULL;
	register uint64_t r9 __asm__("r9") = UINT32_MAX; /* any bit */
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(202L), "D"(word), "S"(op), "d"((uint64_t)val), "r"(r10), "r"(r8),
			   "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

/* Sleeps while *word == val, until woken, a signal, or the deadline (NULL: none). */
static inline long futex_wait(_Atomic uint32_t *word, uint32_t val, const struct futex_time *until)
{
	return futex_call(word, FUTEX_OP_WAIT_BITSET_PRIVATE, val, until);
}

static inline void futex_wake(_Atomic uint32_t *word, uint32_t n)
{
	futex_call(word, FUTEX_OP_WAKE_PRIVATE, n, NULL);
}

#endif
