/* SPDX-License-Identifier: ISC */
/* test_encode.c: insn_encode() on cases made by hand: each rule of encode.h once. Random ones, and
 * libzydis's opinion, are in tests/diff/zydis.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "x86/encode.h"

static size_t from_hex(const char *hex, uint8_t *out)
{
	size_t n = 0;

	for (; hex[0] && hex[1]; hex += 2) {
		char two[3] = {hex[0], hex[1], 0};

		out[n++] = (uint8_t)strtoul(two, NULL, 16);
	}
	return n;
}

static struct insn_subst identity(void)
{
	struct insn_subst s = {.base = -1, .index = -1};

	for (unsigned i = 0; i < 16; i++)
		s.gpr[i] = (uint8_t)i;
	return s;
}

static enum encode_result encode(const char *hex, unsigned mode, const struct insn_subst *s,
				 char *text)
{
	uint8_t b[32] = {0}, out[INSN_MAX];
	struct insn in;
	unsigned len;
	enum encode_result res;

	from_hex(hex, b);
	assert_int_equal(insn_decode(b, INSN_MAX, mode, &in), DECODE_OK);
	res = insn_encode(&in, s, out, &len);
	*text = 0;
	for (unsigned i = 0; res == ENCODE_OK && i < len; i++)
		sprintf(text + 2 * i, "%02x", out[i]);
	return res;
}

static void expect(const char *hex, unsigned mode, const struct insn_subst *s, const char *want)
{
	char text[64];

	if (encode(hex, mode, s, text) != ENCODE_OK || strcmp(text, want))
		fail_msg("%s (mode %u): '%s', not '%s'", hex, mode, text, want);
}

static void refuse(const char *hex, unsigned mode, const struct insn_subst *s,
		   enum encode_result want)
{
	char text[64];

	if (encode(hex, mode, s, text) != want)
		fail_msg("%s (mode %u): '%s'", hex, mode, text);
}

static void test_registers(void **state)
{
	struct insn_subst s = identity();

	(void)state;
	expect("01c8", 8, &s, "01c8");
	s.gpr[RAX] = R8;
	expect("01c8", 8, &s, "4101c8"); /* add r8d,ecx */
	expect("4801c8", 8, &s, "4901c8");
	expect("6601c8", 8, &s, "664101c8");
	expect("00c8", 8, &s, "4100c8");
	expect("0401", 8, &s, "0401"); /* implicit: stays */
	expect("b812345678", 8, &s, "41b812345678");
	expect("0fc8", 8, &s, "410fc8");
	expect("c4e2f0f2c1", 8, &s, "c462f0f2c1"); /* andn r8,rcx,rcx */
	s = identity();
	s.gpr[RCX] = RSI;
	expect("88c8", 8, &s, "4088f0"); /* SIL needs a REX */
	s.gpr[RCX] = R9;
	expect("c5fb2cc9", 8, &s, "c57b2cc9");     /* vcvttsd2si r9d,xmm1 */
	expect("c5fb2ac1", 8, &s, "c4c17b2ac1");   /* VEX2 becomes VEX3: the r/m is extended */
	expect("c4e2e8f7c1", 8, &s, "c4c2e8f7c1"); /* bextr rax,r9,rdx */
	s.gpr[RDX] = R10;
	expect("c4e2e8f7c1", 8, &s, "c4c2a8f7c1"); /* vvvv */
	s = identity();
	s.gpr[R8] = RAX;
	s.gpr[RAX] = R8;
	expect("4190", 8, &s, "87c0"); /* XCHG r8d,eax must not become a NOP */
}

static void test_high8(void **state)
{
	struct insn_subst s = identity();

	(void)state;
	expect("00e0", 8, &s, "00e0"); /* add al,ah */
	s.gpr[RCX] = R9;
	refuse("00e1", 8, &s, ENCODE_HIGH8); /* add cl,ah: R9B needs a REX */
	s = identity();
	s.gpr[RAX] = RDX;
	refuse("00e1", 8, &s, ENCODE_HIGH8); /* renamed */
	s = identity();
	s.base = RBX;
	expect("0027", 8, &s, "0023"); /* add [..],ah */
	s.base = R12;
	refuse("0027", 8, &s, ENCODE_HIGH8);
	s.base = -1;
	s.seg = 0x65;
	s.disp = 0x40;
	s.rm_to_mem = true;
	expect("00c4", 8, &s, "6500042541000000"); /* AH is the home's second byte */
	expect("b412", 8, &s, "65c604254100000012");
}

static void test_memory(void **state)
{
	struct insn_subst s = identity();

	(void)state;
	s.base = RBX;
	expect("488b4708", 8, &s, "488b03");
	s.disp = 8;
	expect("488b07", 8, &s, "488b4308");
	s.disp = 128;
	expect("488b07", 8, &s, "488b8380000000");
	s.disp = -128;
	expect("488b07", 8, &s, "488b4380");
	s.disp = 0;
	s.base = RBP;
	expect("488b07", 8, &s, "488b4500");
	s.base = R13;
	expect("488b07", 8, &s, "498b4500");
	s.base = RSP;
	expect("488b07", 8, &s, "488b0424");
	s.base = R12;
	expect("488b07", 8, &s, "498b0424");
	s.index = R14;
	expect("488b07", 8, &s, "4b8b0434");
	s.base = -1;
	expect("488b07", 8, &s, "4a8b043500000000");
	s.index = -1;
	s.seg = 0x65;
	s.disp = 0x1234;
	expect("488b07", 8, &s, "65488b042534120000");
	expect("488b0500000000", 8, &s, "65488b042534120000"); /* was RIP-relative */
	expect("2667668b07", 8, &s, "65668b042534120000");     /* old prefixes are gone */
	expect("f0480fb10a", 8, &s, "65f0480fb10c2534120000");
	s.base = RSP;
	s.index = RSP;
	refuse("488b07", 8, &s, ENCODE_NO);
	s = identity();
	s.base = R9; /* a gather keeps its index */
	expect("c482e990448610", 8, &s, "c482e9900481");
}

static void test_rm_to_mem(void **state)
{
	struct insn_subst s = identity();

	(void)state;
	s.rm_to_mem = true;
	s.seg = 0x65;
	s.disp = 0x50;
	expect("4d01ca", 8, &s, "654c010c2550000000"); /* add r10,r9 */
	expect("49b8ffffffffffffffff", 8, &s, "6548c7042550000000ffffffff");
	refuse("49b8ffffffff00000000", 8, &s, ENCODE_NO);
	expect("4187ca", 8, &s, "65870c2550000000");
	expect("4991", 8, &s, "654887042550000000");
	refuse("410fca", 8, &s, ENCODE_NO);   /* bswap */
	refuse("490fa3ca", 8, &s, ENCODE_NO); /* bt r10,rcx */
	expect("490fbae205", 8, &s, "65480fba24255000000005");
	refuse("0f12c1", 8, &s, ENCODE_NO); /* movhlps */
	expect("f30f58c1", 8, &s, "65f30f58042550000000");
	refuse("0f50c1", 8, &s, ENCODE_NO);
}

static void test_other_modes(void **state)
{
	struct insn_subst s = identity();

	(void)state;
	expect("40", 4, &s, "ffc0");
	expect("6640", 4, &s, "66ffc0");
	expect("4b", 2, &s, "66ffcb");
	expect("664b", 2, &s, "ffcb");
	expect("01c8", 2, &s, "6601c8");
	expect("6601c8", 2, &s, "01c8");
	expect("0f58c1", 2, &s, "0f58c1"); /* no 66 where it would mean something else */
	expect("660f58c1", 2, &s, "660f58c1");
	expect("82c005", 4, &s, "80c005");
	expect("98", 2, &s, "6698");
	expect("0fc9", 4, &s, "0fc9");
	expect("c4e2f8f2c1", 4, &s, "c4e278f2c1"); /* VEX.W does not count */
	expect("c4e3fd00c11b", 4, &s, "c4e3fd00c11b");
	expect("c4e36d4ac1b0", 4, &s, "c4e36d4ac130"); /* nor does is4's top bit */
	s.base = RBX;
	expect("8b00", 2, &s, "668b03");
	refuse("37", 4, &s, ENCODE_NO);
	refuse("d40a", 4, &s, ENCODE_NO);
	refuse("c40410", 4, &s, ENCODE_NO);
	refuse("63c1", 4, &s, ENCODE_NO); /* ARPL */
	refuse("e800000000", 8, &s, ENCODE_NO);
	refuse("a10000000000000000", 8, &s, ENCODE_NO);
	s.gpr[RAX] = RBX;
	s.gpr[RBX] = RAX;
	expect("93", 4, &s, "87c0"); /* must not become 90 */
}

static void test_prefixes(void **state)
{
	struct insn_subst s = identity();

	(void)state;
	expect("f20fbcc1", 8, &s, "0fbcc1"); /* must not become TZCNT */
	expect("f30fbcc1", 8, &s, "f30fbcc1");
	expect("66f30fb8c1", 8, &s, "66f30fb8c1");
	expect("f2660f38f1c1", 8, &s, "66f20f38f1c1");
	expect("f30f1efa", 8, &s, "0f1efa"); /* a NOP is enough */
	expect("f390", 8, &s, "f390");
	expect("f20f1f00", 8, &(struct insn_subst){.base = RAX, .index = -1}, "0f1f00");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registers),   cmocka_unit_test(test_high8),
		cmocka_unit_test(test_memory),      cmocka_unit_test(test_rm_to_mem),
		cmocka_unit_test(test_other_modes), cmocka_unit_test(test_prefixes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
