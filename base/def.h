/* SPDX-License-Identifier: ISC */
/* def.h: types, attributes and small macros that every file uses. Freestanding. */
#ifndef BASE_DEF_H
#define BASE_DEF_H

#include <stdalign.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t gpa_t; /* guest-physical address */
typedef uint64_t gva_t; /* guest-virtual (linear) address */
typedef uint8_t *hva_t; /* host-virtual address of guest memory */

#define ARRAY_SIZE(a)                 (sizeof(a) / sizeof((a)[0]))
#define BIT(n)                        (1u << (n))
#define BIT64(n)                      (UINT64_C(1) << (n))
#define MIN(a, b)                     ((a) < (b) ? (a) : (b))
#define MAX(a, b)                     ((a) > (b) ? (a) : (b))
#define ALIGN_DOWN(x, a)              ((x) & ~((a)-1)) /* a: power of two of x's type */
#define ALIGN_UP(x, a)                ALIGN_DOWN((x) + (a)-1, (a))
#define IS_ALIGNED(x, a)              (((x) & ((a)-1)) == 0)
#define container_of(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))

#define likely(x)         __builtin_expect(!!(x), 1)
#define unlikely(x)       __builtin_expect(!!(x), 0)
#define attr_packed       __attribute__((packed))
#define attr_aligned(n)   __attribute__((aligned(n)))
#define attr_printf(f, a) __attribute__((format(printf, f, a)))
#define attr_must_check   __attribute__((warn_unused_result))
#define attr_noreturn     __attribute__((noreturn))
#define attr_unused       __attribute__((unused))
#define attr_noinline     __attribute__((noinline))
#define attr_fallthrough  __attribute__((fallthrough))
#define attr_misaligned   __attribute__((no_sanitize("alignment"))) /* meant so: guest memory */
#define barrier()         __asm__ volatile("" ::: "memory")
#define cpu_relax()       __asm__ volatile("pause" ::: "memory")

#define PAGE_SHIFT 12
#define LINE_SIZE  UINT64_C(64) /* of a cache */
#define PAGE_SIZE  UINT64_C(4096)
#define PAGE_MASK  (PAGE_SIZE - 1) /* the offset in a page */
#define KIB        UINT64_C(1024)
#define MIB        (KIB * 1024)
#define GIB        (MIB * 1024)
#define NS_PER_SEC UINT64_C(1000000000)

#endif
