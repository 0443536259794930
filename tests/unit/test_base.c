/* SPDX-License-Identifier: ISC */
/* test_base.c: memory functions against a byte-wise model at all small sizes, offsets and overlaps;
 * str_format() against libc's printf; error texts. */
#include <limits.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/str.h"

#define SEED 20240229

static uint32_t rnd_state = SEED;

static uint32_t rnd(void)
{
	rnd_state = rnd_state * 1664525 + 1013904223;
	return rnd_state >> 8;
}

static void fill(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)rnd();
}

static void model_move(uint8_t *d, const uint8_t *s, size_t n)
{
	uint8_t *tmp = malloc(n + 1);

	for (size_t i = 0; i < n; i++)
		tmp[i] = s[i];
	for (size_t i = 0; i < n; i++)
		d[i] = tmp[i];
	free(tmp);
}

static void expect_same(const uint8_t *a, const uint8_t *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(a[i], b[i]);
}

static void test_copy(void **state)
{
	uint8_t src[2000], got[2000], want[2000];

	for (size_t n = 0; n < 1300; n = n < 600 ? n + 1 : n + 37) {
		size_t so = rnd() % 64, d = rnd() % 64;

		fill(src, sizeof(src));
		fill(got, sizeof(got));
		model_move(want, got, sizeof(got));
		model_move(want + d, src + so, n);
		assert_ptr_equal(memcpy(got + d, src + so, n), got + d);
		expect_same(got, want, sizeof(got));
	}
}

static void test_move_overlap(void **state)
{
	uint8_t got[3000], want[3000];

	for (size_t n = 0; n < 1300; n = n < 100 ? n + 1 : n + 61) {
		for (int gap = -600; gap <= 600; gap = abs(gap) < 40 ? gap + 1 : gap + 13) {
			size_t s = 700, d = (size_t)(700 + gap);

			fill(got, sizeof(got));
			model_move(want, got, sizeof(got));
			model_move(want + d, want + s, n);
			assert_ptr_equal(memmove(got + d, got + s, n), got + d);
			expect_same(got, want, sizeof(got));
		}
	}
}

static void test_set(void **state)
{
	uint8_t got[2000], want[2000];

	for (size_t n = 0; n < 1300; n++) {
		size_t d = rnd() % 64;
		int c = (int)rnd();

		fill(got, sizeof(got));
		model_move(want, got, sizeof(got));
		for (size_t i = 0; i < n; i++)
			want[d + i] = (uint8_t)c;
		assert_ptr_equal(memset(got + d, c, n), got + d);
		expect_same(got, want, sizeof(got));
	}
}

static void test_is_zero(void **state)
{
	uint8_t a[100] = {0};

	for (size_t n = 1; n < sizeof(a); n++) {
		a[n] = 1; /* behind it */
		assert_true(mem_is_zero(a, n));
		a[n] = 0;
		for (size_t i = 0; i < n; i++) {
			a[i] = (uint8_t)(1u << i % 8);
			assert_false(mem_is_zero(a, n));
			a[i] = 0;
		}
	}
	memset(a, 1, sizeof(a)); /* all alike is not zero */
	assert_false(mem_is_zero(a, sizeof(a)));
}

static void test_compare(void **state)
{
	uint8_t a[100], b[100];

	for (size_t n = 0; n < 90; n++) {
		fill(a, sizeof(a));
		model_move(b, a, sizeof(a));
		assert_int_equal(memcmp(a, b, n), 0);
		for (size_t i = 0; i < n; i++) {
			/* later bytes differ the other way: the first must decide */
			b[i] = (uint8_t)(a[i] + 1);
			if (i + 1 < n)
				b[i + 1] = (uint8_t)(a[i + 1] - 1);
			assert_int_equal(memcmp(a, b, n) < 0, a[i] < b[i]);
			assert_int_equal(memcmp(b, a, n) < 0, b[i] < a[i]);
			b[i] = a[i];
			if (i + 1 < n)
				b[i + 1] = a[i + 1];
		}
	}
}

static void test_strings(void **state)
{
	char buf[4] = "zzz";

	assert_int_equal(str_len(""), 0);
	assert_int_equal(str_len("abc"), 3);
	assert_true(str_eq("a", "a"));
	assert_true(str_eq("", ""));
	assert_false(str_eq("a", "ab"));
	assert_false(str_eq("ab", "a"));
	assert_true(str_copy(buf, sizeof(buf), "abc"));
	assert_string_equal(buf, "abc");
	assert_false(str_copy(buf, sizeof(buf), "abcd"));
	assert_string_equal(buf, "abc");
	assert_false(str_copy(buf, 1, "a"));
	assert_string_equal(buf, "");
	assert_true(str_copy(buf, 1, ""));
	assert_false(str_copy(buf, 0, ""));
}

/* All characters as encoded, each cut short, and what is none. */
static void test_utf8(void **state)
{
	static const char *const bad[] = {
		"\x80",     "\xc0\xaf",     "\xc1\xbf",         "\xe0\x9f\xbf",
		"\xff",     "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
		"\xc3\x28", "\xe2\x82\x28", "\xf5\x80\x80\x80"};
	uint32_t code;

	for (uint32_t c = 0; c <= 0x10ffff; c++) {
		unsigned n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
		char s[4] = {(char)c};

		for (unsigned i = n - 1; n > 1 && i; i--)
			s[i] = (char)(0x80 | (c >> (6 * (n - 1 - i)) & 0x3f));
		if (n > 1)
			s[0] = (char)((0xf00u >> n & 0xff) | c >> (6 * (n - 1)));
		if (c >= 0xd800 && c < 0xe000) {
			assert_int_equal(str_utf8(s, n, &code), 0);
			continue;
		}
		assert_int_equal(str_utf8(s, n, &code), n);
		assert_int_equal(code, c);
		assert_int_equal(str_utf8_rest(s, n), 0);
		for (unsigned k = 1; k < n; k++) {
			assert_int_equal(str_utf8(s, k, &code), 0);
			assert_int_equal(str_utf8_rest(s, k), k);
		}
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(str_utf8(bad[i], str_len(bad[i]), &code), 0);
	assert_int_equal(str_utf8_rest("", 0), 0);
	assert_int_equal(str_utf8_rest("\x80\x80\x80\x80", 4), 0);
}

/* Both must give the same text and length, in buffers of any size. */
#define SAME(...)                                                               \
	do {                                                                    \
		char got[200], want[200];                                       \
		int n = str_format(got, sizeof(got), __VA_ARGS__);              \
		assert_int_equal(n, snprintf(want, sizeof(want), __VA_ARGS__)); \
		assert_string_equal(got, want);                                 \
		assert_int_equal(str_format(got, 5, __VA_ARGS__), n);           \
		want[4] = 0;                                                    \
		assert_string_equal(got, want);                                 \
	} while (0)

static void test_format(void **state)
{
	const char *volatile null = NULL; /* unknown to the compiler's checks */
	char got[32];

	SAME("plain");
	SAME("%d %i %u", -42, INT_MIN, UINT_MAX);
	SAME("%ld %lld %zu", LONG_MIN, LLONG_MAX, SIZE_MAX);
	SAME("%lu %llu %lx %llX", ULONG_MAX, ULLONG_MAX, 0xdeadbeefcafeul, 0xABCDull);
	SAME("%hhx %hx %hhd %hd", (unsigned char)0xfe, (unsigned short)0xfedc, (signed char)-3,
	     (short)-300);
	SAME("[%5d] [%-5d] [%05d] [%+d] [% d]", 42, 42, -42, 42, 42);
	SAME("[%08x] [%#x] [%#010x] [%-10x] [%#x]", 0xbeef, 0xbeef, 0xbeef, 0xbeef, 0);
	SAME("[%.3d] [%8.3d] [%-8.3d] [%.0d]", 7, 7, 7, 0);
	SAME("[%s] [%10s] [%-10s] [%.2s] [%10.2s] [%.0s]", "abc", "abc", "abc", "abc", "abc", "x");
	SAME("[%*d] [%-*d] [%*d] [%.*s]", 6, 1, 6, 2, -6, 3, 2, "abc");
	SAME("%c%c %%", 'a', 'b');
	SAME("[%3c] [%-3c]", 'x', 'y');
	SAME("%p", (void *)0x1234);
	SAME("%s", null);
	for (int i = 0; i < 20000; i++) {
		uint64_t v = ((uint64_t)rnd() << 40 ^ (uint64_t)rnd() << 20 ^ rnd()) >> rnd() % 64;
		int width = (int)(rnd() % 30);

		SAME("%*ld %0*lx %-*lu", width, (long)v, 20, v, width, v);
	}

	/* what is not in the subset stays visible, and a lone % at the end is harmless */
	assert_int_equal(str_format(got, sizeof(got), "%s", ""), 0);
	assert_int_equal(str_format(NULL, 0, "%d", 12345), 5);
	str_format(got, 1, "abc");
	assert_string_equal(got, "");
}

static void test_errors(void **state)
{
	for (int e = ERR_TIMEOUT; e <= 0; e++) {
		assert_non_null(err_str(e));
		assert_false(str_eq(err_str(e), "unknown error"));
	}
	assert_string_equal(err_str(1), "unknown error");
	assert_string_equal(err_str(ERR_TIMEOUT - 1), "unknown error");
	assert_string_equal(err_str(INT_MIN), "unknown error");
	assert_int_equal(err_here(ERR_BUSY), ERR_BUSY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy),    cmocka_unit_test(test_move_overlap),
		cmocka_unit_test(test_set),     cmocka_unit_test(test_compare),
		cmocka_unit_test(test_strings), cmocka_unit_test(test_format),
		cmocka_unit_test(test_utf8),    cmocka_unit_test(test_errors),
		cmocka_unit_test(test_is_zero),
	};

	print_message("seed %d\n", SEED);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
