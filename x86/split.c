/* SPDX-License-Identifier: ISC */
/* split.c: LOCK, or XCHG, on an operand over the end of a cache line or a page (SDM vol. 3, 9.1.2.2). No atomic access of
 * the host can stand for it: the second page may lie anywhere, and systems that detect split locks let each cost
 * milliseconds. Where the engine can do that, the CPU is alone with the memory meanwhile (ops->alone); elsewhere the host's
 * processor does what is inside of a page.
 *
 * Devices go on. For their sake each half is replaced only as it was read: an operand 00FFFFFFH whose first two bytes are at
 * the end of a line, and LOCK INC, is the halves FFFFH and 00FFH. The first becomes 0000H by compare and exchange, then
 * the second 0100H. If a device has written there since, the first becomes FFFFH again, unless it has been written, too, and
 * all is done once more with what is there now: as if the device had been first. CPU's own thread only. */
#include "base/str.h"
#include "x86/interp.h"

/* The aligned words that have the operand's two parts: the end of the first, the beginning of the second */
struct split {
	hva_t word[2];
	unsigned first, size; /* bytes of the first part, of both */
	bool in_page;
};

static void join(const struct split *s, const uint64_t v[2], uint8_t *operand)
{
	memcpy(operand, (const uint8_t *)&v[0] + 8 - s->first, s->first);
	memcpy(operand + s->first, &v[1], s->size - s->first);
}

static void divide(const struct split *s, uint64_t v[2], const uint8_t *operand)
{
	memcpy((uint8_t *)&v[0] + 8 - s->first, operand, s->first);
	memcpy(&v[1], operand + s->first, s->size - s->first);
}

/* False: it is not v any more. */
static bool replace(hva_t word, uint64_t v, uint64_t by)
{
	return __atomic_compare_exchange_n((uint64_t *)(void *)word, &v, by, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

static int exchange(struct cpu *cpu, const struct insn *in, const struct split *s)
{
	uint64_t gpr[ARRAY_SIZE(cpu->s.gpr)], rflags = cpu->s.rflags, was[2], is[2];
	uint8_t operand[8] attr_aligned(8);

	memcpy(gpr, cpu->s.gpr, sizeof(gpr));
	for (;;) {
		for (unsigned i = 0; i < 2; i++)
			was[i] = is[i] = host_load(s->word[i], 8);
		join(s, was, operand);
		if (copy_run(cpu, in, operand))
			return CPU_FAULT;
		divide(s, is, operand);
		if (replace(s->word[0], was[0], is[0])) {
			if (replace(s->word[1], was[1], is[1]))
				return 0;
			(void)!replace(s->word[0], is[0], was[0]);
		}
		memcpy(cpu->s.gpr, gpr, sizeof(gpr));
		cpu->s.rflags = rflags;
	}
}

/* s->word: NULL: that part is no RAM */
static int find(struct cpu *cpu, gva_t gva, unsigned size, struct split *s)
{
	struct cpu_xlate x[2];
	gva_t last;

	s->size = size;
	s->first = (unsigned)(LINE_SIZE - (gva & (LINE_SIZE - 1)));
	s->in_page = (gva & PAGE_MASK) + size <= PAGE_SIZE;
	last = s->in_page ? gva : next_page(cpu, gva);
	if (lin_xlate(cpu, gva, ACCESS_WRITE, at_user(cpu), &x[0]) ||
	    lin_xlate(cpu, last, ACCESS_WRITE, at_user(cpu), &x[1]))
		return CPU_FAULT;
	s->word[0] = x[0].hva ? x[0].hva + s->first - 8 : NULL;
	s->word[1] = x[1].hva && s->in_page ? x[1].hva + s->first : x[1].hva;
	return 0;
}

int split_run(struct cpu *cpu, const struct insn *in, const struct insn_opnd *m, gva_t gva)
{
	bool alone = cpu->ops->alone;
	struct split s;
	int r = find(cpu, gva, m->size, &s);

	if (r)
		return r;
	if (!s.word[0] || !s.word[1])
		return copy_run_buffered(cpu, in, m, gva);
	if (!alone && s.in_page)
		return copy_run(cpu, in, s.word[1] - s.first);
	if (alone) {
		cpu->ops->alone(cpu, true);
		r = find(cpu, gva, m->size, &s); /* somebody else's code by now, say */
	}
	if (!r)
		r = s.word[0] && s.word[1] ? exchange(cpu, in, &s)
					   : copy_run_buffered(cpu, in, m, gva);
	if (alone)
		cpu->ops->alone(cpu, false);
	return r;
}
