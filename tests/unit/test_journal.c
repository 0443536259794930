/* SPDX-License-Identifier: ISC */
/* test_journal.c: sectors of a history on a disk: what was sealed is found, and nothing that is damaged, moved or another's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "block/journal.h"

static void test_sealed(void **state)
{
	uint8_t s[JOURNAL_SECTOR];
	uint64_t number;
	uint32_t len;

	memset(s, 0xcc, sizeof(s));
	memcpy(s + JOURNAL_HEAD, "one\ntwo\n", 8);
	journal_seal(s, 18, 8);
	assert_true(journal_check(s, 7, 10, &number, &len));
	assert_true(number == 18 && len == 8);
	assert_false(memchr(s, 0xcc, sizeof(s))); /* what stood there before */
	assert_false(journal_check(s, 8, 10, &number, &len));
	assert_false(journal_check(s, 7, 11, &number, &len));
	journal_seal(s, 1, JOURNAL_TEXT);
	assert_true(journal_check(s, 0, 1, &number, &len) && len == JOURNAL_TEXT);
}

static void test_damaged(void **state)
{
	uint8_t s[JOURNAL_SECTOR] = {0};
	uint64_t number;
	uint32_t len;

	assert_false(journal_check(s, 0, 10, &number, &len));
	memcpy(s + JOURNAL_HEAD, "one\n", 4);
	journal_seal(s, 1, 4);
	for (unsigned bit = 0; bit < 8 * sizeof(s); bit++) {
		s[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(journal_check(s, 0, 10, &number, &len));
		s[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_true(journal_check(s, 0, 10, &number, &len));
	journal_seal(s, 0, 4); /* there is no sector 0 */
	assert_false(journal_check(s, 9, 10, &number, &len));
	journal_seal(s, 1, 0);
	assert_false(journal_check(s, 0, 10, &number, &len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sealed),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
