/* SPDX-License-Identifier: ISC */
/* test_soft.c: the software engine on hand-made guests: control flow, memory, faults, code that
 * changes itself, tiny and always-flushed code caches, hot code. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plat/linux/log.h"
#include "engine/soft/block.h"
#include "engine/soft/tlb.h"
#include "tests/lib/soft_rig.h"

static const struct soft_config configs[] = {
	{.interp = true},
	{.cache_bytes = 0},
	{.cache_bytes = SOFT_CACHE_MIN},
	{.flush_every = 1},
	{.flush_every = 7},
	{.hot = SOFT_HOT_ALWAYS},
	{.hot = SOFT_HOT_NEVER},
	{.lines = SOFT_LINES_ALWAYS},
	{.lines = SOFT_LINES_NEVER},
	{.profile = true},
	{.tables = SOFT_TABLES_MIN},
	{.tables = 32 * KIB, .cache_bytes = SOFT_CACHE_MIN},
};

/* sum of 1…n in a loop, then HLT */
static void loops(void **state)
{
	static const uint8_t prog[] = {
		0x31, 0xc0,                   /* xor eax, eax */
		0xb9, 0xe8, 0x03, 0x00, 0x00, /* mov ecx, 1000 */
		0x48, 0x01, 0xc8,             /* 1: add rax, rcx */
		0x49, 0x89, 0xc2,             /* mov r10, rax */
		0xff, 0xc9,                   /* dec ecx */
		0x75, 0xf6,                   /* jnz 1b */
		0xf4,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(configs); i++) {
		struct rig r;

		assert_int_equal(rig_open(&r, &configs[i]), 0);
		rig_code(&r, RIG_CODE, prog, sizeof(prog));
		assert_int_equal(rig_run(&r), EXIT_HLT);
		assert_int_equal(r.s->gpr[RAX], 500500);
		assert_int_equal(r.s->gpr[R10], 500500);
		assert_int_equal(r.s->rip, RIG_CODE + sizeof(prog));
		rig_close(&r);
	}
}

/* Real mode: the handler of a fault has, in its segment, the offset of the instruction behind the one that faults. */
static void same_offset(void **state)
{
	static const uint8_t prog[] = {
		0x41,             /* inc cx */
		0xa1, 0xff, 0xff, /* mov ax, [0xffff]: #GP */
		0x42,             /* 4: inc dx */
		0xf4,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(configs); i++) {
		struct rig r;

		assert_int_equal(rig_open(&r, &configs[i]), 0);
		rig_code(&r, 0x10100, prog, sizeof(prog));
		r.ram[0x20104] = 0xf4;
		memcpy(r.ram + 13 * 4, "\x04\x01\x00\x20", 4);
		x86_state_reset(r.s, true);
		r.s->seg[CS].sel = 0x1000;
		r.s->seg[CS].base = 0x10000;
		r.s->rip = 0x100;
		r.s->gpr[RCX] = r.s->gpr[RDX] = 0;
		r.s->gpr[RSP] = 0x8000;
		r.vm->engine->set_state(r.vcpu);
		for (unsigned k = 0; k < 2; k++) {
			assert_int_equal(rig_run(&r), EXIT_HLT);
			assert_int_equal(r.s->gpr[RCX], k + 1);
			assert_int_equal(r.s->gpr[RDX], 0);
			assert_int_equal(r.s->seg[CS].base, 0x20000);
			assert_int_equal(r.s->rip, 0x105);
			r.s->seg[CS].sel = 0x1000;
			r.s->seg[CS].base = 0x10000;
			r.s->rip = 0x100;
			r.vm->engine->set_state(r.vcpu);
		}
		rig_close(&r);
	}
}

/* fib(20), or fib(10), by recursion: calls, returns, stack, across a page boundary */
static void calls(void **state)
{
	static const uint8_t prog[] = {
		0xbf, 0x14, 0x00, 0x00, 0x00, /* mov edi, 20 */
		0xe8, 0x01, 0x00, 0x00, 0x00, /* call fib */
		0xf4, 0x83, 0xff, 0x02,       /* fib: cmp edi, 2 */
		0x89, 0xf8,                   /* mov eax, edi */
		0x72, 0x17,                   /* jb done */
		0x53,                         /* push rbx */
		0x57,                         /* push rdi */
		0xff, 0xcf,                   /* dec edi */
		0xe8, 0xf0, 0xff, 0xff, 0xff, /* call fib */
		0x5f,                         /* pop rdi */
		0x89, 0xc3,                   /* mov ebx, eax */
		0x83, 0xef, 0x02,             /* sub edi, 2 */
		0xe8, 0xe5, 0xff, 0xff, 0xff, /* call fib */
		0x01, 0xd8,                   /* add eax, ebx */
		0x5b,                         /* pop rbx */
		0xc3,                         /* done: ret */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(configs); i++)
		for (unsigned shift = 0; shift < 48; shift += 5) {
			gva_t at = RIG_CODE + 4096 - shift;
			struct rig r;

			bool slow = configs[i].flush_every == 1; /* each jump translates */

			assert_int_equal(rig_open(&r, &configs[i]), 0);
			rig_code(&r, at, prog, sizeof(prog));
			r.ram[at + 1] = slow ? 10 : 20;
			r.s->rip = at;
			assert_int_equal(rig_run(&r), EXIT_HLT);
			assert_int_equal(r.s->gpr[RAX], slow ? 55 : 6765);
			assert_int_equal(r.s->gpr[RSP], RIG_STACK);
			rig_close(&r);
		}
}

/* A loop that rewrites the immediate of one of its own instructions */
static void self_modifying(void **state)
{
	static const uint8_t prog[] = {
		0x31, 0xc0,                         /* xor eax, eax */
		0xb9, 0x64, 0x00, 0x00, 0x00,       /* mov ecx, 100 */
		0x05, 0x00, 0x00, 0x00, 0x00,       /* 1: add eax, imm (at 8) */
		0x89, 0x0d, 0xf6, 0xff, 0xff, 0xff, /* mov [rip - 10], ecx */
		0xff, 0xc9,                         /* dec ecx */
		0x75, 0xf1,                         /* jnz 1b */
		0xf4,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(configs); i++) {
		struct rig r;

		assert_int_equal(rig_open(&r, &configs[i]), 0);
		rig_code(&r, RIG_CODE, prog, sizeof(prog));
		assert_int_equal(rig_run(&r), EXIT_HLT);
		/* 0 first, then 100, 99 … 2 */
		assert_int_equal(r.s->gpr[RAX], 5049);
		rig_close(&r);
	}
}

/* A page table that is a device's: to ask it, the FP registers are put aside in the middle of a block. */
static uint64_t table_read(void *dev, uint64_t off, unsigned size)
{
	return RIG_DATA | 0x67;
}

static void table_write(void *dev, uint64_t off, unsigned size, uint64_t v)
{
}

static void table_of_a_device(void **state)
{
	static const struct bus_region region = {.name = "table",
						 .base = 0xfe000000,
						 .len = 4096,
						 .min = 1,
						 .max = 8,
						 .read = table_read,
						 .write = table_write};
	static const uint8_t prog[] = {
		0x66, 0x48, 0x0f, 0x6e, 0xc0, /* movq xmm0, rax */
		0x48, 0x8b, 0x19,             /* mov rbx, [rcx] */
		0x48, 0x8b, 0x71, 0x08,       /* mov rsi, [rcx + 8] */
		0x66, 0x48, 0x0f, 0x7e, 0xc2, /* movq rdx, xmm0 */
		0xf4,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(configs); i++) {
		struct rig r;

		assert_int_equal(rig_open(&r, &configs[i]), 0);
		assert_int_equal(bus_map(&r.vm->mmio, &region, NULL), 0);
		rig_put64(&r, RIG_PD + 8 * 8, region.base | 0x27);
		rig_put64(&r, RIG_DATA, 0x1234);
		rig_code(&r, RIG_CODE, prog, sizeof(prog));
		r.s->gpr[RAX] = 0x5678;
		r.s->gpr[RCX] = 0x1000000;
		assert_int_equal(rig_run(&r), EXIT_HLT);
		assert_int_equal(r.s->gpr[RBX], 0x1234);
		assert_int_equal(r.s->gpr[RDX], 0x5678);
		rig_close(&r);
	}
}

/* A device that keeps what is written to it. */
static uint64_t kept[512];

static uint64_t kept_read(void *dev, uint64_t off, unsigned size)
{
	return kept[off / 8];
}

static void kept_write(void *dev, uint64_t off, unsigned size, uint64_t v)
{
	kept[off / 8] = v;
}

/* Calls, returns and jumps to what follows them, by a stack that the interpreter accesses for them: a device's, one
 * beside the code. Behind each of them is no code that one could go on with. */
static void to_what_follows(void **state)
{
	static const struct bus_region region = {.name = "kept",
						 .base = 0xfe000000,
						 .len = sizeof(kept),
						 .min = 8,
						 .max = 8,
						 .read = kept_read,
						 .write = kept_write};
	static const uint8_t prog[] = {
		0xe8, 0x00, 0x00, 0x00, 0x00,             /* call 1f */
		0x58,                                     /* 1: pop rax */
		0x48, 0x8d, 0x1d, 0x02, 0x00, 0x00, 0x00, /* lea rbx, [2f] */
		0x53,                                     /* push rbx */
		0xc3,                                     /* ret */
		0x48, 0x8d, 0x1d, 0x04, 0x00, 0x00, 0x00, /* 2: lea rbx, [3f] */
		0x53,                                     /* push rbx */
		0xff, 0x24, 0x24,                         /* jmp [rsp] */
		0x48, 0x8d, 0x1d, 0x04, 0x00, 0x00, 0x00, /* 3: lea rbx, [4f] */
		0x53,                                     /* push rbx */
		0xff, 0x14, 0x24,                         /* call [rsp] */
		0xf4,                                     /* 4: */
	};
	static const gva_t stacks[] = {0x1000800, RIG_CODE + 0x800};

	for (unsigned i = 0; i < ARRAY_SIZE(configs) * 2; i++) {
		gva_t stack = stacks[i & 1];
		struct rig r;

		assert_int_equal(rig_open(&r, &configs[i / 2]), 0);
		assert_int_equal(bus_map(&r.vm->mmio, &region, NULL), 0);
		rig_put64(&r, RIG_PD + 8 * 8, region.base | 0xe7);
		rig_code(&r, RIG_CODE, prog, sizeof(prog));
		for (unsigned k = 0; k < 3; k++) {
			r.s->rip = RIG_CODE;
			r.s->gpr[RSP] = stack;
			r.vm->engine->set_state(r.vcpu);
			assert_int_equal(rig_run(&r), EXIT_HLT);
			assert_int_equal(r.s->rip, RIG_CODE + sizeof(prog));
			assert_int_equal(r.s->gpr[RSP], stack - 24);
			assert_int_equal(r.s->gpr[RAX], RIG_CODE + 5);
		}
		rig_close(&r);
	}
}

/* Divide error, page fault, misaligned MOVAPS: precise frames */
static void faults(void **state)
{
	static const uint8_t div[] = {0xff, 0xc3, 0xf7, 0xf1, 0xff, 0xc3}; /* inc ebx; div ecx */
	static const uint8_t pf[] = {0xff, 0xc3, 0x48, 0x8b, 0x01};        /* mov rax, [rcx] */
	static const uint8_t movaps[] = {0xff, 0xc3, 0x0f, 0x28, 0x42, 0x01};
	static const struct {
		const uint8_t *bytes;
		unsigned len, vector, skip;
	} tests[] = {
		{div, sizeof(div), VEC_DE, 2},
		{pf, sizeof(pf), VEC_PF, 2},
		{movaps, sizeof(movaps), VEC_GP, 2},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(configs); i++)
		for (unsigned k = 0; k < ARRAY_SIZE(tests); k++) {
			struct rig r;

			assert_int_equal(rig_open(&r, &configs[i]), 0);
			rig_code(&r, RIG_CODE, tests[k].bytes, tests[k].len);
			r.s->gpr[RCX] = tests[k].vector == VEC_PF ? 0x12345678000 : 0;
			r.s->gpr[RDX] = RIG_DATA;
			r.s->gpr[R11] = 0x1111;
			r.s->gpr[R15] = 0x1515;
			assert_int_equal(rig_run(&r), EXIT_HLT);
			assert_int_equal(r.s->rip, RIG_HANDLER + tests[k].vector * 16 + 1);
			assert_int_equal(r.s->gpr[RBX], 1);
			assert_int_equal(r.s->gpr[R11], 0x1111);
			assert_int_equal(r.s->gpr[R15], 0x1515);
			unsigned err = tests[k].vector == VEC_DE ? 0 : 8;
			uint64_t rip;

			assert_int_equal(r.s->gpr[RSP], RIG_IST - 40 - err);
			memcpy(&rip, r.ram + r.s->gpr[RSP] + err, 8);
			assert_int_equal(rip, RIG_CODE + tests[k].skip);
			if (tests[k].vector == VEC_PF)
				assert_int_equal(r.s->cr2, 0x12345678000);
			rig_close(&r);
		}
}

/* User code runs at two linear addresses of the same page: what it computes from RIP differs. */
static void mapped_twice(void **state)
{
	static const uint8_t prog[] = {
		0x48, 0x8d, 0x05, 0x00, 0x00, 0x00, 0x00, /* lea rax, [rip] */
		0xe8, 0x02, 0x00, 0x00, 0x00,             /* call 1f */
		0xcc, 0x90,                               /* int3 */
		0x48, 0x8b, 0x1c, 0x24,                   /* 1: mov rbx, [rsp] */
		0x48, 0x8b, 0x15, 0xe7, 0x0f, 0x00, 0x00, /* mov rdx, [rip + 0xfe7]: next page */
		0xc3,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(configs); i++) {
		struct rig r;
		gva_t at[2] = {RIG_CODE, 0x500000};

		assert_int_equal(rig_open(&r, &configs[i]), 0);
		rig_code(&r, RIG_CODE, prog, sizeof(prog));
		*rig_pte(&r, 0x500000) = RIG_CODE | 0x67;
		rig_put64(&r, RIG_CODE + 0x1000, 111);
		rig_put64(&r, 0x501000, 222);
		for (unsigned n = 0; n < 6; n++) {
			rig_reset(&r, true);
			r.s->rip = at[n % 2];
			assert_int_equal(rig_run(&r), EXIT_HLT);
			assert_int_equal(r.s->rip, RIG_HANDLER + VEC_BP * 16 + 1);
			assert_int_equal(r.s->gpr[RAX], at[n % 2] + 7);
			assert_int_equal(r.s->gpr[RBX], at[n % 2] + 12);
			assert_int_equal(r.s->gpr[RDX], n % 2 ? 222 : 111);
		}
		rig_close(&r);
	}
}

/* The first address that runs a page has code for itself, all others share theirs; when there is none left, the next
 * one is the first. */
static void first_address(void **state)
{
	static const struct soft_config cfg = {0};
	static const uint8_t prog[] = {0x48, 0x8d, 0x05, 0,
				       0,    0,    0,    0xcc}; /* lea rax, [rip]; int3 */
	static const struct {
		gva_t at;
		bool translates, changes;
	} runs[] = {
		{RIG_CODE, true, false},  {0x500000, true, false},  {0x580000, false, false},
		{RIG_CODE, false, true},  {0x580000, true, false},  {RIG_CODE, true, false},
		{0x500000, false, false}, {0x580000, false, false},
	};
	struct soft_stats was, st;
	struct rig r;

	assert_int_equal(rig_open(&r, &cfg), 0);
	rig_code(&r, RIG_CODE, prog, sizeof(prog));
	*rig_pte(&r, 0x500000) = *rig_pte(&r, 0x580000) = RIG_CODE | 0x67;
	for (unsigned n = 0; n < ARRAY_SIZE(runs); n++) {
		rig_reset(&r, true);
		r.s->rip = runs[n].at;
		soft_stats_read(r.vm, &was);
		assert_int_equal(rig_run(&r), EXIT_HLT);
		soft_stats_read(r.vm, &st);
		assert_int_equal(r.s->gpr[RAX], runs[n].at + 7);
		assert_int_equal(st.blocks > was.blocks, runs[n].translates);
		if (runs[n].changes)
			r.vm->engine->memory_changed(r.vm, RIG_CODE, sizeof(prog));
	}
	rig_close(&r);
}

/* What interrupts say about code on one processor holds for the other. */
static void busy_for_all(void **state)
{
	static const struct soft_config cfg = {0};
	static const uint8_t prog[] = {0x48, 0x8b, 0x03, 0xcc}; /* mov rax, [rbx]; int3 */
	struct soft_stats was, st;
	struct soft_vcpu *v[2];
	struct rig r[2];

	assert_int_equal(rig_open_cpus(&r[0], &cfg, 2), 0);
	r[1] = r[0];
	r[1].vcpu = r[1].vm->vcpu[1];
	r[1].s = r[1].vcpu->state;
	rig_code(&r[0], RIG_CODE, prog, sizeof(prog));
	for (unsigned i = 0; i < 2; i++)
		v[i] = soft_of(rig_cpu(&r[i]));
	for (unsigned run = 0; run < 3; run++) {
		rig_reset(&r[0], true);
		soft_refresh_mode(v[0]);
		if (run == 2)
			soft_sample(v[0]);
		r[0].s->gpr[RBX] = RIG_DATA;
		soft_stats_read(r[0].vm, &was);
		assert_int_equal(rig_run(&r[0]), EXIT_HLT);
		soft_stats_read(r[0].vm, &st);
		assert_int_equal(r[0].s->rip, RIG_HANDLER + VEC_BP * 16 + 1);
		assert_int_equal(st.blocks > was.blocks, run != 2);
		rig_reset(&r[1], true);
		soft_refresh_mode(v[1]);
		for (unsigned i = 0; i < 6; i++)
			soft_sample(v[1]);
		assert_true(soft_hot_mode(v[1], RIG_CODE, RIG_CODE) & MODE_BUSY);
	}
	rig_close(&r[0]);
}

/* A page that is mapped at 80 places, called at each, changed by a store to one, and called again at each: old code is
 * nowhere. */
static void changed_everywhere(void **state)
{
	static const uint8_t prog[] = {
		0x31, 0xc0,                               /* xor eax, eax */
		0xba, 0x02, 0x00, 0x00, 0x00,             /* mov edx, 2 */
		0xb9, 0x50, 0x00, 0x00, 0x00,             /* 1: mov ecx, 80 */
		0xbe, 0x00, 0x00, 0x50, 0x00,             /* mov esi, 500000h */
		0xff, 0xd6,                               /* 2: call rsi */
		0x81, 0xc6, 0x00, 0x10, 0x00, 0x00,       /* add esi, 1000h */
		0xff, 0xc9, 0x75, 0xf4,                   /* dec ecx; jnz 2b */
		0xc6, 0x86, 0x02, 0xf0, 0xff, 0xff, 0x03, /* mov byte [rsi - 1000h + 2], 3 */
		0xff, 0xca, 0x75, 0xdf,                   /* dec edx; jnz 1b */
		0xcc,
	};
	static const uint8_t function[] = {0x83, 0xc0, 0x01, 0xc3}; /* add eax, 1; ret */

	for (unsigned i = 0; i < ARRAY_SIZE(configs); i++) {
		struct rig r;

		assert_int_equal(rig_open(&r, &configs[i]), 0);
		rig_code(&r, RIG_CODE, prog, sizeof(prog));
		rig_code(&r, 0x440000, function, sizeof(function));
		for (gva_t va = 0x500000; va < 0x550000; va += PAGE_SIZE)
			*rig_pte(&r, va) = 0x440000 | 0x67;
		rig_reset(&r, true);
		assert_int_equal(rig_run(&r), EXIT_HLT);
		assert_int_equal(r.s->rip, RIG_HANDLER + VEC_BP * 16 + 1);
		assert_int_equal(r.s->gpr[RAX], 80 * 1 + 80 * 3);
		rig_close(&r);
	}
}

/* Two targets that share an entry of the jump cache, one of which reads the flags: the other must not
 * have changed them when it finds that it is not meant. */
static void conflicts(void **state)
{
	static const uint8_t prog[] = {
		0xb9, 0x64, 0x00, 0x00, 0x00, /* mov ecx, 100 */
		0x31, 0xc0,                   /* xor eax, eax */
		0xff, 0xd6,                   /* 1: call rsi */
		0x39, 0xd2,                   /* cmp edx, edx: ZF */
		0xff, 0xd7,                   /* call rdi */
		0xff, 0xc9,                   /* dec ecx */
		0x75, 0xf6,                   /* jnz 1b */
		0xcc,                         /* int3 */
	};
	static const uint8_t writes[] = {0x83, 0xc8, 0x00, 0xc3};      /* or eax, 0; ret */
	static const uint8_t reads[] = {0x75, 0x02, 0xff, 0xc0, 0xc3}; /* jne +2; inc eax; ret */

	for (unsigned i = 0; i < ARRAY_SIZE(configs); i++) {
		struct rig r;

		assert_int_equal(rig_open(&r, &configs[i]), 0);
		rig_code(&r, RIG_CODE, prog, sizeof(prog));
		rig_code(&r, 0x440080, writes, sizeof(writes));
		rig_code(&r, 0x480080, reads, sizeof(reads));
		for (unsigned user = 0; user < 2; user++) {
			rig_reset(&r, user);
			r.s->gpr[RSI] = 0x440080;
			r.s->gpr[RDI] = 0x480080;
			assert_int_equal(rig_run(&r), EXIT_HLT);
			assert_int_equal(r.s->gpr[RAX], 100);
		}
		rig_close(&r);
	}
}

/* Flags that the next block writes first are dead at a block's end, until that block reads them instead. */
static void ahead_modified(void **state)
{
	static const uint8_t prog[] = {
		0x31, 0xd2,             /* 1: xor edx, edx */
		0xf8,                   /* clc */
		0x52, 0x5a,             /* push rdx; pop rdx: a probe's comparison sets CF */
		0xeb, 0x00,             /* jmp 2f */
		0x83, 0xc2, 0x00,       /* 2: add edx, 0; later adc */
		0xff, 0xce,             /* dec esi */
		0x74, 0x06,             /* jz 3f */
		0x40, 0xc6, 0x07, 0xd2, /* mov byte [rdi], d2h */
		0xeb, 0xec,             /* jmp 1b */
		0xcc,                   /* 3: int3 */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(configs); i++) {
		struct rig r;

		assert_int_equal(rig_open(&r, &configs[i]), 0);
		for (unsigned user = 0; user < 2; user++) {
			rig_code(&r, RIG_CODE, prog, sizeof(prog));
			rig_reset(&r, user);
			r.s->gpr[RDI] = RIG_CODE + 8;
			r.s->gpr[RSI] = 2;
			r.s->gpr[RSP] = RIG_STACK - 64; /* not at a page's end */
			assert_int_equal(rig_run(&r), EXIT_HLT);
			assert_int_equal(r.s->gpr[RSI], 0);
			assert_int_equal(r.s->gpr[RDX], 0);
		}
		rig_close(&r);
	}
}

/* Code for which the cache is too small at first, run again and again: in the end all of it is there. With a bound
 * of its own the cache stays as it is. When the processor has been idle half of it is gone. */
static void growth(void **state)
{
	enum { LOADS = 300000 };
	static const struct soft_config cfg[] = {{.cache_bytes = 0},
						 {.cache_bytes = SOFT_CACHE_DEFAULT}};
	static uint8_t prog[LOADS * 3 + 9];
	uint8_t *p = prog;
	struct soft_stats was, st;

	for (unsigned i = 0; i < LOADS; i++, p += 3)
		memcpy(p, (const uint8_t[]){0x48, 0x8b, 0x36}, 3); /* mov rsi, [rsi] */
	memcpy(p, (const uint8_t[]){0xff, 0xc9, 0x0f, 0x85}, 4);   /* dec ecx; jnz prog */
	p += 4;
	memcpy(p, &(int32_t){-(int32_t)(p + 4 - prog)}, 4);
	p[4] = 0xf4;
	for (unsigned i = 0; i < ARRAY_SIZE(cfg); i++) {
		struct rig r;

		assert_int_equal(rig_open(&r, &cfg[i]), 0);
		rig_code(&r, 0x400000, prog, sizeof(prog));
		rig_put64(&r, RIG_DATA, RIG_DATA);
		for (unsigned run = 0; run < 2; run++) {
			soft_stats_read(r.vm, &was);
			rig_reset(&r, false);
			r.s->rip = 0x400000;
			r.s->gpr[RSI] = RIG_DATA;
			r.s->gpr[RCX] = run ? 1 : 6;
			assert_int_equal(rig_run(&r), EXIT_HLT);
			assert_int_equal(r.s->gpr[RCX], 0);
			assert_int_equal(r.s->gpr[RSI], RIG_DATA);
		}
		soft_stats_read(r.vm, &st);
		assert_true(st.flushes > 8);
		if (!i)
			assert_int_equal(st.blocks, was.blocks);
		else
			assert_true(st.blocks > was.blocks);
		r.vcpu->idle.idle = true;
		r.vm->engine->idle(r.vcpu);
		rig_reset(&r, false);
		r.s->rip = 0x400000;
		r.s->gpr[RSI] = RIG_DATA;
		r.s->gpr[RCX] = 3;
		assert_int_equal(rig_run(&r), EXIT_HLT);
		assert_int_equal(r.s->gpr[RCX], 0);
		assert_int_equal(r.s->gpr[RSI], RIG_DATA);
		soft_stats_read(r.vm, &was);
		assert_true(was.blocks > st.blocks);
		rig_close(&r);
	}
}

/* More blocks than the index has places at first: it grows, and still knows all of them. */
static void many_blocks(void **state)
{
	enum { JUMPS = 150000 };
	static uint8_t prog[JUMPS * 2 + 1];
	struct soft_stats was = {0}, st = {0};
	struct rig r;

	for (unsigned i = 0; i < JUMPS; i++)
		memcpy(prog + i * 2, (const uint8_t[]){0xeb, 0x00}, 2); /* jmp to the next */
	prog[JUMPS * 2] = 0xf4;
	assert_int_equal(rig_open(&r, &(struct soft_config){.cache_bytes = 0}), 0);
	rig_code(&r, 0x400000, prog, sizeof(prog));
	for (unsigned run = 0; run < 20 && (!run || st.blocks > was.blocks); run++) {
		was = st;
		rig_reset(&r, false);
		r.s->rip = 0x400000;
		assert_int_equal(rig_run(&r), EXIT_HLT);
		assert_int_equal(r.s->rip, 0x400000 + sizeof(prog));
		soft_stats_read(r.vm, &st);
	}
	assert_int_equal(st.blocks, was.blocks);
	assert_true(st.blocks > JUMPS);
	rig_close(&r);
}

/* Runs the loop again and again until it was found n times at what it does. */
static void profile_of(const uint8_t *prog, size_t len, enum soft_doing what, uint64_t n,
		       struct rig *r)
{
	static const struct soft_config cfg = {.profile = true};
	struct soft_named rows[DOING_COUNT];

	assert_int_equal(rig_open(r, &cfg), 0);
	rig_code(r, RIG_CODE, prog, len);
	for (unsigned i = 0; i < 20000; i++) {
		r->s->rip = RIG_CODE;
		assert_int_equal(rig_run(r), EXIT_HLT);
		assert_int_equal(soft_profile_read(r->vm, rows, ARRAY_SIZE(rows)), DOING_COUNT);
		if (rows[what].n >= n)
			return;
	}
	fail_msg("%s: only %u samples", rows[what].name, (unsigned)rows[what].n);
}

/* Samples say what the time goes to. */
static void profile(void **state)
{
	static const uint8_t counting[] = {
		0xb9, 0x40, 0x42, 0x0f, 0x00, /* mov ecx, 1000000 */
		0xff, 0xc9, 0x75, 0xfc, 0xf4, /* 1: dec ecx; jnz 1b; hlt */
	};
	static const uint8_t asking[] = {
		0xbe, 0xe8, 0x03, 0x00, 0x00, /* mov esi, 1000 */
		0x31, 0xc0, 0x0f, 0xa2,       /* 1: xor eax, eax; cpuid */
		0xff, 0xce, 0x75, 0xf8, 0xf4, /* dec esi; jnz 1b; hlt */
	};
	struct soft_named top;
	struct rig r;

	profile_of(counting, sizeof(counting), DOING_KERNEL, 3, &r);
	if (soft_profile_exec(r.vm, &top, 1)) /* the host let it wait there */
		assert_string_equal(top.name, "HLT");
	rig_close(&r);
	profile_of(asking, sizeof(asking), DOING_EXEC, 20, &r);
	assert_int_equal(soft_profile_exec(r.vm, &top, 1), 1);
	assert_string_equal(top.name, "CPUID");
	assert_true(top.n >= 10);
	assert_int_equal(soft_stats_exec(r.vm, &top, 1), 1);
	assert_string_equal(top.name, "CPUID");
	assert_true(top.n >= 1000);
	rig_close(&r);
	assert_int_equal(rig_open(&r, &(struct soft_config){.cache_bytes = 0}), 0);
	assert_int_equal(soft_profile_read(r.vm, &top, 1), 0);
	rig_close(&r);
}

static void spoil(void *arg, enum log_level level, const char *line)
{
	*(unsigned *)arg += level == LOG_DEBUG && !strncmp(line, "block ", 6);
	__asm__ volatile("pcmpeqd %%xmm0, %%xmm0" : : : "xmm0");
}

/* The log of translations costs the guest no register: what writes it has its own use for XMM0. */
static void logged(void **state)
{
	static const struct soft_config cfg = {.log_blocks = true};
	static const uint8_t prog[] = {
		0xb9, 0x2a, 0x00, 0x00, 0x00, /* mov ecx, 42 */
		0x66, 0x0f, 0x6e, 0xc1,       /* movd xmm0, ecx */
		0xeb, 0x00,                   /* jmp 1f */
		0x66, 0x0f, 0x7e, 0xc0, 0xf4, /* 1: movd eax, xmm0; hlt */
	};
	unsigned n = 0;
	struct rig r;

	plat_log_set_hook(spoil, &n);
	plat_log_set_level(LOG_DEBUG);
	assert_int_equal(rig_open(&r, &cfg), 0);
	rig_code(&r, RIG_CODE, prog, sizeof(prog));
	assert_int_equal(rig_run(&r), EXIT_HLT);
	plat_log_set_level(LOG_WARN);
	plat_log_set_hook(NULL, NULL);
	assert_int_equal(n, 2);
	assert_int_equal(r.s->gpr[RAX], 42);
	rig_close(&r);
}

/* In folded tables the first page shares its entries with others: what they leave there when they go is not a tag of the
 * first page's, nor of one that an access over the end of the address space comes to. */
static void first_page(void **state)
{
	static const uint8_t prog[] = {
		0x48, 0x8b, 0x04, 0x25, 0x00, 0x00, 0x20, 0x00, /* mov rax, [200000H] */
		0x48, 0x89, 0x04, 0x25, 0x00, 0x00, 0x20, 0x00, /* mov [200000H], rax */
		0x0f, 0x01, 0x3c, 0x25, 0x00, 0x00, 0x20, 0x00, /* invlpg [200000H] */
		0x48, 0x8b, 0x04, 0x25, 0x00, 0xf0, 0x3f, 0x00, /* mov rax, [3ff000H] */
		0x0f, 0x01, 0x3c, 0x25, 0x00, 0xf0, 0x3f, 0x00, /* invlpg [3ff000H] */
		0xf4,
	};
	const struct soft_config cfg = {.tables = SOFT_TABLES_MIN};
	struct soft_vcpu *v;
	struct rig r;

	assert_int_equal(rig_open(&r, &cfg), 0);
	v = r.vcpu->engine_data;
	rig_code(&r, RIG_CODE, prog, sizeof(prog));
	assert_int_equal(rig_run(&r), EXIT_HLT);
	assert_int_equal(r.s->rip, RIG_CODE + sizeof(prog));
	for (unsigned write = 0; write < 2; write++) {
		assert_null(soft_tlb_peek(v, 0x10, write));
		assert_null(soft_tlb_peek(v, (gva_t)-PAGE_SIZE, write));
		/* as translated code reads them: entry 0, and the last */
		assert_int_not_equal(*(uint64_t *)(void *)((uint8_t *)v + GS_NTAG(0, write)), 0);
		assert_int_not_equal(
			*(uint64_t *)(void *)((uint8_t *)v + GS_NTAG(0, write) + TLB_BYTES - 8), 0);
	}
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loops),           cmocka_unit_test(calls),
		cmocka_unit_test(to_what_follows), cmocka_unit_test(same_offset),
		cmocka_unit_test(self_modifying),  cmocka_unit_test(table_of_a_device),
		cmocka_unit_test(faults),          cmocka_unit_test(mapped_twice),
		cmocka_unit_test(first_address),   cmocka_unit_test(changed_everywhere),
		cmocka_unit_test(conflicts),       cmocka_unit_test(ahead_modified),
		cmocka_unit_test(growth),          cmocka_unit_test(many_blocks),
		cmocka_unit_test(busy_for_all),    cmocka_unit_test(profile),
		cmocka_unit_test(first_page),      cmocka_unit_test(logged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
