/* SPDX-License-Identifier: ISC */
/* crc32c.c: CRC-32C (RFC 3720, appendix B.4), by the processor's instruction where it has it. */

#include "base/crc32c.h"

static uint32_t crc_byte(uint32_t crc, uint8_t v)
{
	crc ^= v;
	for (unsigned i = 0; i < 8; i++)
		crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
	return crc;
}

static bool has_crc32(void)
{
	uint32_t eax = 1, ebx, ecx = 0, edx;

	__asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	return ecx & BIT(20); /* SSE4.2 */
}

uint32_t crc32c(uint32_t crc, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	uint64_t c = ~crc, v;

	if (len >= 64 && has_crc32())
		for (; len >= 64; len -= 64, p += 64)
#pragma GCC unroll 8
			for (unsigned i = 0; i < 64; i += 8) {
				__builtin_memcpy(&v, p + i, sizeof(v));
				/* works on general registers, whatever CPUID files it under */
				__asm__("crc32q %1, %0" : "+r"(c) : "rm"(v));
			}
	while (len--)
		c = crc_byte((uint32_t)c, *p++);
	return ~(uint32_t)c;
}
