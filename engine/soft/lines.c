/* SPDX-License-Identifier: ISC */
/* lines.c: where jumps may lie.
 *
 * Intel's Skylake family decodes a line of 32 bytes anew each time it runs if a jump in it crosses or
 * ends at the line's end ("Mitigations for Jump Conditional Code Erratum", Intel 2019): that takes
 * twice the time of a short loop. So hot jumps begin the next line instead, together with the
 * comparison that the processor fuses with them. */
#include "base/str.h"
#include "engine/soft/emit.h"

#define LINE 32u

static bool host_minds(void)
{
	static const uint8_t models[] = {0x4e, 0x55, 0x5e, 0x8e, 0x9e, 0xa5, 0xa6, 0xae};
	struct plat_cpuid id;
	unsigned family, model;

	plat_cpuid(0, 0, &id);
	if (id.ebx != 0x756e6547) /* Genu */
		return false;
	plat_cpuid(1, 0, &id);
	family = id.eax >> 8 & 15;
	model = (id.eax >> 4 & 15) | (id.eax >> 12 & 0xf0);
	for (unsigned i = 0; i < ARRAY_SIZE(models); i++)
		if (family == 6 && model == models[i])
			return true;
	return false;
}

bool lines_matter(enum soft_lines how)
{
	return how == SOFT_LINES_HOST ? host_minds() : how == SOFT_LINES_ALWAYS;
}

/* n bytes that do nothing, in as few instructions as decode quickly */
static void nops(struct asm_buf *a, unsigned n)
{
	static const uint8_t nop[9][9] = {
		{0x90},
		{0x66, 0x90},
		{0x0f, 0x1f, 0x00},
		{0x0f, 0x1f, 0x40, 0x00},
		{0x0f, 0x1f, 0x44, 0x00, 0x00},
		{0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00},
		{0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00},
		{0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
		{0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
	};

	while (n) {
		unsigned now = MIN(n, 9u);

		memcpy(a->p, nop[now - 1], now);
		a->p += now;
		n -= now;
	}
}

static bool in_line(const struct tr *t, unsigned pad, unsigned len)
{
	return !t->sv->lines || (((uintptr_t)t->a.p + pad) & (LINE - 1)) + len < LINE;
}

void line_jump(struct tr *t, unsigned len)
{
	if (!in_line(t, 0, len))
		nops(&t->a, LINE - ((uintptr_t)t->a.p & (LINE - 1)));
}

void line_begin(struct tr *t)
{
	nops(&t->a, -(unsigned)(uintptr_t)t->a.p & 63);
}

void line_patched_jump(struct tr *t, unsigned before, unsigned opcode)
{
	unsigned pad = -(unsigned)((uintptr_t)t->a.p + before + opcode) & 3;

	while (!in_line(t, pad, before + opcode + 4))
		pad += 4;
	nops(&t->a, pad);
}
