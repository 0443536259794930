/* SPDX-License-Identifier: ISC */
/* misc.c: what is left of plat.h: messages, CPUID, random numbers. */
#include "base/str.h"
#include "plat/metal/log.h"

static void (*sink)(enum log_level level, const char *line);
static void (*panic)(const char *text);

void log_set_sink(void (*fn)(enum log_level level, const char *line))
{
	sink = fn;
}

void log_set_panic(void (*fn)(const char *text))
{
	panic = fn;
}

void plat_log(enum log_level level, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	if (!sink || level > LOG_INFO)
		return;
	va_start(ap, fmt);
	str_vformat(line, sizeof(line), fmt, ap);
	va_end(ap);
	sink(level, line);
}

void plat_bug(const char *file, int line, const char *what)
{
	char text[256];

	str_format(text, sizeof(text), "%s:%d: %s", file, line, what);
	if (panic)
		panic(text);
	for (;;)
		__asm__ volatile("cli; hlt");
}

void plat_cpuid(uint32_t leaf, uint32_t sub, struct plat_cpuid *out)
{
	__asm__ volatile("cpuid"
			 : "=a"(out->eax), "=b"(out->ebx), "=c"(out->ecx), "=d"(out->edx)
			 : "0"(leaf), "2"(sub));
}

/* ---- random numbers: RDRAND's, each mixed with what the time says ---- */

static uint64_t mix(uint64_t v)
{
	v ^= v >> 30;
	v *= UINT64_C(0xbf58476d1ce4e5b9);
	v ^= v >> 27;
	v *= UINT64_C(0x94d049bb133111eb);
	return v ^ v >> 31;
}

static bool rdrand(uint64_t *v)
{
	bool ok = false;

	for (unsigned i = 0; i < 10 && !ok; i++)
		__asm__ volatile("rdrand %0; setc %1" : "=r"(*v), "=qm"(ok) : : "cc");
	return ok;
}

void plat_random(void *buf, size_t len)
{
	static _Atomic uint64_t jitter;
	struct plat_cpuid id;
	uint8_t *p = buf;

	plat_cpuid(1, 0, &id);
	for (size_t n; len; p += n, len -= n) {
		uint64_t v = 0, t = plat_now();

		/* Without RDRAND there is only the jitter of the clock, gathered over all calls. */
		if (!(id.ecx & BIT(30)) || !rdrand(&v))
			v = mix(atomic_fetch_add(&jitter, mix(t)) + t);
		v ^= mix(atomic_fetch_add(&jitter, t | 1));
		n = MIN(len, sizeof(v));
		memcpy(p, &v, n);
	}
}
