/* SPDX-License-Identifier: ISC */
/* test_decode.c: the decoder's contract where libzydis (tests/diff/zydis.c) has no say: lengths,
 * truncation, what engines rely on, the table's own consistency. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "x86/feature.h"
#include "x86/insn.h"
#include "x86/optab.h"

static size_t from_hex(const char *hex, uint8_t *out)
{
	size_t n = 0;

	for (; hex[0] && hex[1]; hex += 2) {
		char two[3] = {hex[0], hex[1], 0};

		out[n++] = (uint8_t)strtoul(two, NULL, 16);
	}
	return n;
}

static enum decode_result decode(const char *hex, unsigned mode, struct insn *in)
{
	uint8_t b[32] = {0};

	from_hex(hex, b);
	return insn_decode(b, INSN_MAX, mode, in);
}

static struct insn good(const char *hex, unsigned mode)
{
	struct insn in;

	if (decode(hex, mode, &in) != DECODE_OK)
		fail_msg("%s does not decode", hex);
	assert_int_equal(in.len, strlen(hex) / 2);
	return in;
}

/* ---- bytes to what insn_format() says; NULL: #UD ---- */

static const struct {
	unsigned mode;
	const char *hex, *text;
} texts[] = {
	{8, "4889d8", "mov rax,rbx"},
	{8, "88e0", "mov al,ah"},
	{8, "4088e0", "mov al,spl"},
	{8, "8b0500000000", "mov eax,dword [rel 0x1006]"},
	{8, "678b0500000000", "mov eax,dword [rel 0x1007]"},
	{8, "648b042508000000", "mov eax,dword fs:[0x8]"},
	{8, "652e8b01", "mov eax,dword gs:[rcx]"}, /* null prefixes change nothing */
	{8, "26648b01", "mov eax,dword fs:[rcx]"},
	{8, "a1efcdab8967452301", "mov eax,dword [0x123456789abcdef]"},
	{8, "48b8efcdab8967452301", "mov rax,0x123456789abcdef"},
	{8, "67428b04a5f0ffffff", "mov eax,dword [r12d*4-0x10]"},
	{8, "90", "nop"},
	{8, "f390", "pause"},
	{8, "4190", "xchg r8d,eax"},
	{8, "f34190", "xchg r8d,eax"},
	{8, "f30f1efa", "endbr64"},
	{8, "4863c1", "movsxd rax,ecx"},
	{4, "63c1", "arpl cx,ax"},
	{4, "40", "inc eax"},
	{2, "40", "inc ax"},
	{2, "6640", "inc eax"},
	{2, "8b4702", "mov ax,word [bx+0x2]"},
	{2, "8b42fe", "mov ax,word [bp+si-0x2]"},
	{2, "8b060080", "mov ax,word [0x8000]"},
	{4, "678b060080", "mov eax,dword [0x8000]"},
	{4, "c40410", "les eax,fword [eax+edx]"},
	{4, "c5f877", "vzeroupper"},
	{4, "ea1122334455aa", "jmp 0x44332211,0xaa55"},
	{8, "ea1122334455aa", NULL},
	{8, "f348a5", "rep movsq es:[rdi],ds:[rsi]"},
	{8, "f266a7", "repne cmpsw ds:[rsi],es:[rdi]"},
	{8, "64ac", "lodsb al,fs:[rsi]"},
	{8, "6e", "outsb dx,ds:[rsi]"},
	{8, "66eb05", "jmp 0x1008"}, /* Intel's rule: 66 does not matter */
	{8, "66e900000000", "jmp 0x1006"},
	{4, "66e90000", "jmp 0x1004"},
	{8, "c8100002", "enter 0x10,0x2"},
	{8, "f0480fb10a", "lock cmpxchg qword [rdx],rcx"},
	{8, "480fc70e", "cmpxchg16b xmmword [rsi]"},
	{8, "0fc70e", "cmpxchg8b qword [rsi]"},
	{8, "66f30fb8c1", "popcnt ax,cx"},
	{8, "f20fbcc1", "bsf eax,ecx"},
	{8, "f30fbcc1", "tzcnt eax,ecx"},
	{8, "660f38f001", "movbe ax,word [rcx]"},
	{8, "660f38f0c1", NULL},
	{8, "66f20f38f1c1", "crc32 eax,cx"},
	{8, "66f30f10c1", "movss xmm0,xmm1"},
	{8, "c4e2e990440810", "vpgatherdq xmm0,qword [rax+xmm1+0x10],xmm2"},
	{8, "c4e2ed90448810", "vpgatherdq ymm0,qword [rax+xmm1*4+0x10],ymm2"},
	{8, "c4e2f990440810", NULL}, /* mask = destination */
	{8, "c4e36d4ac130", "vblendvps ymm0,ymm2,ymm1,ymm3"},
	{4, "c4e36d4ac1b0", "vblendvps ymm0,ymm2,ymm1,ymm3"},
	{8, "440f22c0", "mov cr8,rax"},
	{4, "0f22c0", "mov cr0,eax"},
	{8, "0f2000", "mov rax,cr0"}, /* mod is ignored */
	{8, "0f22c8", NULL},          /* CR1 */
	{8, "8ec8", NULL},            /* MOV CS */
	{8, "8ef0", NULL},            /* no such segment register */
	{8, "d9c3", "fld st0,st3"},
	{8, "9b", "fwait"},
	{8, "06", NULL},
	{8, "f0cc", NULL},     /* LOCK on anything */
	{8, "f04801c8", NULL}, /* LOCK with a register */
	{8, "f0483901", NULL}, /* LOCK CMP */
	{8, "f0480301", NULL}, /* LOCK with memory as the source */
	{8, "66c5f877", NULL}, /* prefixes that VEX replaces */
	{8, "48c5f877", NULL},
	{8, "f0c5f877", NULL},
	{8, "2ec5f877", "vzeroupper"},
	{8, "c5f058c1", "vaddps xmm0,xmm1,xmm1"},
	{8, "c5f028c1", NULL}, /* vvvv must be 1111 */
	{8, "c5f828c1", "vmovaps xmm0,xmm1"},
	{8, "62f17c4858c1", "vaddps zmm0,zmm0,zmm1"},
	{8, "62f17c6858c1", NULL}, /* L'L 3 */
	{8, "62f17cc858c1", NULL}, /* zeroing without an opmask */
	{8, "62f97c4858c1", NULL}, /* reserved bit */
	{8, "62f1784858c1", NULL}, /* the bit that must be 1 */
	{8, "62f17cdb58c1", "vaddps zmm0{k3}{z}{b},zmm0,zmm1"},
	{8, "62f17c4b584001", "vaddps zmm0{k3},zmm0,zmmword [rax+0x40]"}, /* disp8 of vectors */
	{8, "62f17c5b584001", "vaddps zmm0{k3}{b},zmm0,dword [rax+0x4]"}, /* of elements */
	{8, "62f27d4989400f", "vpexpandd zmm0{k1},zmmword [rax+0x3c]"},
	{8, "62f17ccb2900", NULL}, /* zeroing of memory */
	{8, "62817c4058c1", "vaddps zmm16,zmm16,zmm25"},
	{4, "62f17c4058c1", NULL}, /* no registers above 7 here */
	{8, "62e27d4992440a01", "vgatherdps zmm16{k1},dword [rdx+zmm1+0x4]"},
	{8, "62e27d4892440a01", NULL}, /* without an opmask */
	{8, "62f27d4992440201", NULL}, /* destination = index */
	{8, "c5f041c2", NULL},         /* KAND is L1 */
	{8, "c5f541c2", "kandb k0,k1,k2"},
	{8, "c57541c2", NULL},   /* opmask 8 */
	{8, "c4e27916c0", NULL}, /* VPERMPS: L1 only */
};

static void test_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct insn in;
		char text[96];
		enum decode_result res = decode(texts[i].hex, texts[i].mode, &in);

		if (!texts[i].text) {
			if (res != DECODE_UD)
				fail_msg("%s decodes", texts[i].hex);
			continue;
		}
		if (res != DECODE_OK || in.len != strlen(texts[i].hex) / 2)
			fail_msg("%s: result %d, length %u", texts[i].hex, res, in.len);
		insn_format(&in, 0x1000, text, sizeof(text));
		if (strcmp(text, texts[i].text))
			fail_msg("%s: '%s', not '%s'", texts[i].hex, text, texts[i].text);
		/* Never past the end of a small buffer */
		for (size_t size = 0; size < 8; size++) {
			char small[9];

			memset(small, '#', sizeof(small));
			insn_format(&in, 0x1000, small, size);
			assert_int_equal(small[size], '#');
			assert_true(!size || memchr(small, 0, size));
		}
	}
}

/* ---- lengths ---- */

static void test_truncated(void **state)
{
	static const char *const cases[] = {
		"66480fc70e",
		"f066428184a5785634121122",
		"c8100002",
		"e811223344",
		"48b8efcdab8967452301",
		"a1efcdab8967452301",
		"c5f058c1",
		"c4e36d4a441030f0",
		"0f01f8",
		"660f3a0f04250000000010",
		"0f05",
		"f390",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t b[32];
		size_t n = from_hex(cases[i], b);
		struct insn in;

		for (size_t avail = 0; avail < n; avail++) {
			/* Of its own, so that a sanitizer sees reading beyond */
			uint8_t *exact = malloc(avail ? avail : 1);

			memcpy(exact, b, avail);
			if (insn_decode(exact, avail, 8, &in) != DECODE_MORE)
				fail_msg("%s, %zu bytes: not DECODE_MORE", cases[i], avail);
			free(exact);
		}
		assert_int_equal(insn_decode(b, n, 8, &in), DECODE_OK);
		assert_int_equal(in.len, n);
	}
}

static void test_too_long(void **state)
{
	uint8_t b[40];
	struct insn in;

	(void)state;
	memset(b, 0x66, sizeof(b));
	assert_int_equal(insn_decode(b, sizeof(b), 8, &in), DECODE_TOO_LONG);
	assert_int_equal(insn_decode(b, 14, 8, &in), DECODE_MORE);
	b[14] = 0x90;
	assert_int_equal(insn_decode(b, sizeof(b), 8, &in), DECODE_OK);
	assert_int_equal(in.len, 15);
	b[14] = 0xb8; /* MOV AX,Iw: 17 bytes */
	assert_int_equal(insn_decode(b, sizeof(b), 8, &in), DECODE_TOO_LONG);
	b[12] = 0xb8;
	assert_int_equal(insn_decode(b, sizeof(b), 8, &in), DECODE_OK);
	assert_int_equal(in.len, 15);
}

/* ---- what engines read ---- */

static void test_operands(void **state)
{
	struct insn in;

	(void)state;
	in = good("480fb10a", 8); /* cmpxchg [rdx],rcx */
	assert_int_equal(in.opnd[0].kind, OP_MEM);
	assert_int_equal(in.opnd[0].acc, ACC_RW);
	assert_int_equal(in.opnd[0].size, 8);
	assert_int_equal(in.opnd[1].acc, ACC_R);
	assert_int_equal(in.row->gpr_read, BIT(RAX));
	assert_int_equal(in.row->gpr_write, BIT(RAX));
	assert_int_equal(in.row->fl_write, FL_ARITH);
	in = good("0f44c1", 8); /* cmove: the upper half is cleared in any case */
	assert_int_equal(in.opnd[0].acc, ACC_RW);
	assert_int_equal(in.row->fl_read, FL_ZF);
	assert_int_equal(in.row->fl_write, 0);
	in = good("f7e1", 8); /* mul ecx */
	assert_int_equal(in.row->gpr_read, BIT(RAX) | BIT(RDX));
	assert_int_equal(in.row->gpr_write, BIT(RAX) | BIT(RDX));
	assert_int_equal(in.row->fl_undef, FL_ARITH & ~(FL_CF | FL_OF));
	in = good("d3e0", 8); /* shl eax,cl: flags may stay */
	assert_int_equal(in.row->fl_read, FL_ARITH);
	assert_int_equal(in.row->gpr_read, BIT(RCX));
	in = good("c1e003", 8);
	assert_int_equal(in.row->fl_read, 0);
	assert_int_equal(in.row->fl_write, FL_ARITH);
	in = good("c1e020", 8); /* 32 is 0 for 32 bits */
	assert_int_equal(in.row->fl_write, 0);
	in = good("48c1e020", 8);
	assert_int_equal(in.row->fl_write, FL_ARITH);
	in = good("48c0e020", 8); /* byte operands mask to five bits whatever REX.W says */
	assert_int_equal(in.row->fl_write, 0);
	in = good("f3a4", 8);
	assert_int_equal(in.row->cls, CLS_STRING);
	assert_false(in.has_mem);
	assert_int_equal(in.opnd[0].kind, OP_MEM);
	assert_int_equal(in.opnd[0].size, 1);
	assert_int_equal(in.rep, 0xf3);
	assert_int_equal(in.mem.seg, DS);
	assert_int_equal(in.mem.addr_size, 8);
	in = good("6765a5", 8);
	assert_int_equal(in.mem.seg, GS);
	assert_int_equal(in.mem.addr_size, 4);
	in = good("8b4500", 8); /* rBP and rSP: SS */
	assert_int_equal(in.mem.seg, SS);
	in = good("8b0424", 8);
	assert_int_equal(in.mem.seg, SS);
	in = good("418b4500", 8); /* R13 is not */
	assert_int_equal(in.mem.seg, DS);
	in = good("50", 8);
	assert_int_equal(in.op_size, 8);
	in = good("6650", 8);
	assert_int_equal(in.op_size, 2);
	in = good("ffd0", 8);
	assert_int_equal(in.op_size, 8);
	in = good("d930", 2); /* fnstenv [bx+si] */
	assert_int_equal(in.opnd[0].size, 14);
	in = good("660f6f01", 8);
	assert_true(in.row->attr & AT_ALIGN);
	in = good("0fa301", 8);
	assert_true(in.row->attr & AT_BITSTR);
	in = good("83c0ff", 8);
	assert_true(in.imm == ~UINT64_C(0));
	in = good("cd80", 8);
	assert_true(in.imm == 0x80);
}

/* ---- the table ---- */

static void test_table(void **state)
{
	static uint8_t used[4096], has_row[I_COUNT];

	(void)state;
	assert_true(optab_row_count <= sizeof(used));
	for (size_t i = 0; i < SLOT_COUNT; i++) {
		assert_true(optab_index[i] < optab_row_count);
		assert_int_equal(optab_at((unsigned)i), optab_index[i]);
		used[optab_index[i]] = 1;
	}
	for (unsigned n = 1; n < optab_row_count; n++) {
		const struct optab_row *row = &optab_rows[n];
		unsigned alt = ALT_OF(row->r.attr);

		if (!used[n])
			fail_msg("row %u (%s) is in no slot", n, insn_name(&row->r));
		if (alt)
			used[n + 1] = 1;
		if (alt == ALT_NOP)
			used[n + 2] = 1;
		has_row[row->r.mnem] = 1;
		assert_true(row->r.feature < X_FEAT_COUNT);
		assert_int_equal(row->r.fl_undef & ~row->r.fl_write, 0);
		assert_int_equal(row->ops[4], OPC_END);
		/* Implicit operands are in the masks */
		for (unsigned i = 0; i < 4; i++) {
			const struct op_spec *sp = &optab_spec[row->ops[i]];
			unsigned acc = row->acc >> i * 2 & ACC_RW;

			if (row->ops[i] == OPC_END || sp->how != HOW_GPR)
				continue;
			if ((acc & ACC_R && !(row->r.gpr_read & BIT(sp->val))) ||
			    (acc & ACC_W && !(row->r.gpr_write & BIT(sp->val))))
				fail_msg("%s: implicit operand not in masks", insn_name(&row->r));
		}
	}
	for (unsigned m = 1; m < I_COUNT; m++)
		if (!has_row[m])
			fail_msg("mnemonic %u has no row", m);
	assert_int_equal(I_JG - I_JO, 15);
	assert_int_equal(I_SETG - I_SETO, 15);
	assert_int_equal(I_CMOVG - I_CMOVO, 15);
	assert_int_equal(I_CMP - I_ADD, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),     cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_too_long), cmocka_unit_test(test_operands),
		cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
