/* SPDX-License-Identifier: ISC */
/* str.h: strings and formatting without libc. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include "base/def.h"

/* The four that compilers call by themselves; base/mem.c gives them to freestanding code, compiled
 * with general registers only, so that guest SIMD state survives them. */
void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);

/* n is not 0. */
static inline bool mem_is_zero(const void *p, size_t n)
{
	const unsigned char *b = p;

	return !b[0] && !memcmp(b, b + 1, n - 1);
}

size_t str_len(const char *s);
bool str_eq(const char *a, const char *b);
/* Copies at most size - 1 bytes and terminates; true when all fitted. */
bool str_copy(char *dst, size_t size, const char *src);

int hex_digit(char c); /* its value, or -1 */

/* Bytes of the UTF-8 character (RFC 3629) that n bytes, at least one, begin with, and its code; 0: it is none, or not
 * whole. */
unsigned str_utf8(const char *s, size_t n, uint32_t *code);
/* How many of the last bytes are the beginning of a character that is not whole. */
unsigned str_utf8_rest(const char *s, size_t n);

/* Of all bytes, modulo 256: what firmware tables, EDID and ATA logs make zero. */
uint8_t sum_bytes(const void *p, size_t n);

/* A printf subset: %d %i %u %x %X %c %s %p %% with l, ll, z, width, precision for %s, 0 and -.
 * Always terminates; returns the length that it would have had. */
int str_format(char *buf, size_t size, const char *fmt, ...) attr_printf(3, 4);
int str_vformat(char *buf, size_t size, const char *fmt, va_list ap);

#endif
