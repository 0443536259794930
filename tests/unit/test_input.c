/* SPDX-License-Identifier: ISC */
/* test_input.c: which device gets what, names of keys, and the typist's pace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "plat/fake/fake.h"
#include "ui/keys.h"
#include "ui/typist.h"

#define MS UINT64_C(1000000)

struct kbd {
	bool live, busy;
	char log[512];
};

static void log_key(void *dev, unsigned key, bool down)
{
	struct kbd *k = dev;
	size_t n = strlen(k->log);

	snprintf(k->log + n, sizeof(k->log) - n, "%c%x ", down ? '+' : '-', key);
}

static void log_move(void *dev, int dx, int dy, int dz, unsigned buttons)
{
	struct kbd *k = dev;
	size_t n = strlen(k->log);

	snprintf(k->log + n, sizeof(k->log) - n, "m%d,%d,%d,%x ", dx, dy, dz, buttons);
}

static bool is_live(void *dev)
{
	return ((struct kbd *)dev)->live;
}

static bool is_busy(void *dev)
{
	return ((struct kbd *)dev)->busy;
}

static struct input in;
static struct kbd ps2, virt;

static int setup(void **state)
{
	fake_reset();
	memset(&ps2, 0, sizeof(ps2));
	memset(&virt, 0, sizeof(virt));
	input_init(&in);
	input_add(&in, &(struct input_device){INPUT_KEYBOARD, 0, &ps2, NULL, is_busy, log_key});
	input_add(&in, &(struct input_device){INPUT_KEYBOARD, 1, &virt, is_live, NULL, log_key});
	input_add(&in, &(struct input_device){INPUT_MOUSE, 0, &ps2, NULL, is_busy, NULL, log_move,
					      NULL});
	return 0;
}

static void test_choice(void **state)
{
	input_key(&in, 0x1e, true);
	virt.live = true;
	input_key(&in, 0x1f, true);
	input_key(&in, 0x1f, true);
	input_key(&in, 0x1e, false); /* to who has seen it go down */
	virt.live = false;
	input_key(&in, 0x1f, false);
	input_key(&in, 0x1f, false);
	input_key(&in, 99999, true);
	assert_string_equal(ps2.log, "+1e -1e ");
	assert_string_equal(virt.log, "+1f -1f ");
	assert_false(input_point(&in, 0, 0, 0, 0));
	virt.live = true;
	input_key(&in, 0x1f, true);
	input_remove(&in, &virt);
	input_key(&in, 0x1f, false); /* nobody is there any more */
	input_key(&in, 0x1f, true);
	assert_string_equal(ps2.log, "+1e -1e +1f ");
}

static void test_keys(void **state)
{
	unsigned key[KEYS_COMBO_MAX];
	const char *bad;
	size_t len;
	bool shift;
	int s;

	assert_int_equal(keys_combo("ctrl-alt-del", key, &bad, &len), 3);
	assert_int_equal(key[0], KEY_LCTRL);
	assert_int_equal(key[1], KEY_LALT);
	assert_int_equal(key[2], KEY_E0 | 0x53);
	assert_int_equal(keys_combo("CTRL--", key, &bad, &len), 2);
	assert_int_equal(key[1], 0x0c);
	assert_int_equal(keys_combo("-", key, &bad, &len), 1);
	assert_int_equal(keys_combo("F12", key, &bad, &len), 1);
	assert_int_equal(key[0], 0x58);
	assert_true(keys_combo("", key, &bad, &len) < 0);
	assert_true(keys_combo("ctrl-", key, &bad, &len) < 0);
	assert_true(keys_combo("a-b-c-d-e-f-g-h-i", key, &bad, &len) < 0);
	assert_true(keys_combo("ctrl-wrong-a", key, &bad, &len) < 0);
	assert_int_equal(len, 5);
	assert_memory_equal(bad, "wrong", 5);
	assert_true(keys_combo("!", key, &bad, &len) < 0); /* that takes Shift: say so */

	/* every character that can be typed has one key, and back */
	for (unsigned c = 0x20; c < 0x7f; c++) {
		unsigned k = keys_of_char((unsigned char)c, &shift);

		assert_true(k > 0 && k < 0x40);
		assert_int_equal(keys_of_keysym(c, &s), k);
		assert_true(s == -1 || s == shift);
	}
	assert_int_equal(keys_of_char(0xe9, &shift), KEYS_NONE);
	assert_int_equal(keys_of_char(0, &shift), KEYS_NONE);
	assert_int_equal(keys_of_keysym(0, &s), KEYS_NONE);
	assert_int_equal(keys_of_keysym(0xffffffff, &s), KEYS_NONE);
	assert_int_equal(keys_of_keysym(0xff0d, &s), 0x1c);
	assert_int_equal(keys_of_keysym(0xff8d, &s), KEY_E0 | 0x1c);
}

static void test_typist(void **state)
{
	static const struct typist_event ev[] = {
		{TYPE_KEY, 0x1e, 1, 0}, {TYPE_KEY, 0x1e, 0, 0}, {TYPE_MOVE, -3, 4, BUTTON_LEFT}};
	struct plat_loop *loop;
	struct typist t;

	assert_int_equal(plat_loop_create(&loop), 0);
	fake_fail_alloc(1);
	assert_int_equal(typist_init(&t, &in, loop), ERR_NOMEM);
	typist_fini(&t);
	assert_int_equal(typist_init(&t, &in, loop), 0);
	ps2.busy = true;
	assert_int_equal(typist_add(&t, ev, 3), 0);
	fake_advance(100 * MS);
	assert_string_equal(ps2.log, "+1e "); /* not taken */
	assert_int_equal(typist_left(&t), 3);
	ps2.busy = false;
	fake_advance(100 * MS);
	assert_string_equal(ps2.log, "+1e -1e m-3,4,0,1 ");
	assert_int_equal(typist_left(&t), 0);
	assert_int_equal(fake_next_timer(), PLAT_FOREVER);
	/* a guest that does not listen is not waited for for ever */
	ps2.busy = true;
	assert_int_equal(typist_add(&t, ev, 2), 0);
	fake_advance(1100 * MS);
	assert_int_equal(typist_left(&t), 0);
	for (unsigned i = 0; i < TYPIST_MAX / 2; i++)
		assert_int_equal(typist_add(&t, ev, 2), 0);
	assert_int_equal(typist_add(&t, ev, 1), ERR_NOMEM);
	typist_fini(&t);
	assert_int_equal(fake_next_timer(), PLAT_FOREVER);
	plat_loop_destroy(loop);
	assert_int_equal(fake_alloc_live(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_choice, setup),
		cmocka_unit_test_setup(test_keys, setup),
		cmocka_unit_test_setup(test_typist, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
