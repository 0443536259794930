/* SPDX-License-Identifier: ISC */
/* test_keymap.c: what a keyboard's codes are in a terminal's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "metal/keyboard.h"

/* What a row of codes gives */
static const struct {
	const char *codes, *text;
	unsigned focus;
} rows[] = {
	{"\x1e\x9e\x30\xb0", "ab", 0},
	{"\x2a\x1e\x9e\xaa\x1e", "Aa", 0},
	{"\x36\x02\x82\xb6\x02", "!1", 0},
	{"\x3a\xba\x1e\x02\x2a\x1e\xaa\x3a\x1e", "A1aa", 0}, /* Caps Lock, also with Shift */
	{"\x1d\x1e\x9e\x9d\x1e",
	 "\x01"
	 "a",
	 0},
	{"\x1d\x1a\x2b", "\x1b\x1c", 0}, /* Ctrl-[ and Ctrl-\ */
	{"\x1c\x0e\x0f\x39\x01", "\r\x7f\t \x1b", 0},
	{"\xe0\x48\xe0\xc8\xe0\x4d", "\x1b[A\x1b[C", 0},
	{"\xe0\x2a\xe0\x53\xe0\xd3\xe0\xaa\x1e", "\x1b[3~a", 0}, /* with the shifts that are none */
	{"\xe0\x1c\xe0\x35", "\r/", 0},
	{"\x38\x3b", "", 1},
	{"\x38\x3c\xbc\x44", "", 10},
	{"\x38\xb8\x3b", "", 0}, /* F1 alone */
	{"\x5b\x7f\x45", "", 0},
};

static void test_keys(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct keyboard k = {0};
		char got[32] = "";
		size_t n = 0;
		unsigned focus = 0;

		for (const char *c = rows[i].codes; *c; c++)
			n += keyboard_decode(&k, (uint8_t)*c, got + n, &focus);
		assert_string_equal(got, rows[i].text);
		assert_int_equal(focus, rows[i].focus);
	}
}

static void test_any(void **state)
{
	struct keyboard k = {0};
	char out[KEYBOARD_MAX];
	unsigned focus;
	uint32_t x = 1;

	for (unsigned i = 0; i < 100000; i++) {
		x = x * 1664525 + 1013904223;
		assert_in_range(keyboard_decode(&k, (uint8_t)(x >> 24), out, &focus), 0,
				KEYBOARD_MAX);
		assert_in_range(focus, 0, 10);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_any),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
