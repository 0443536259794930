/* SPDX-License-Identifier: ISC */
/* test_i8042.c: the keyboard controller with keyboard and mouse, by the sequences of their manuals:
 * what comes out of port 60H for keys and movements, commands, saved state, and a garbage run. */
#include "tests/unit/pc_rig.h"

#include "dev/pc/i8042.h"
#include "dev/pc/ps2kbd.h"
#include "dev/pc/ps2mouse.h"
#include "tests/lib/state_rig.h"
#include "ui/input.h"

#define MS UINT64_C(1000000)

static struct rig_line line[16];
static struct input in;

static struct vm *start(void)
{
	struct i8042_wiring w = {.irq = {rig_line_set, line, 1},
				 .irq_aux = {rig_line_set, line, 12},
				 .a20 = {rig_line_set, line, 2},
				 .input = &in};
	struct i8042 *kbc;
	struct vm *vm = rig_vm(1);

	memset(line, 0, sizeof(line));
	input_init(&in);
	assert_int_equal(i8042_create(vm, &w, &kbc), 0);
	return vm;
}

static void ctr(struct vm *vm, uint8_t v)
{
	outb(vm, 0x64, 0x60);
	outb(vm, 0x60, v);
}

/* Bytes that come, by interrupt, until none comes for 5 ms; -1 ends. */
static void expect(struct vm *vm, bool aux, const int *want)
{
	for (unsigned i = 0;; i++) {
		uint8_t st;

		fake_advance(5 * MS);
		st = inb(vm, 0x64);
		if (want[i] < 0) {
			assert_int_equal(st & 1, 0);
			return;
		}
		assert_int_equal(st & 0x21, aux ? 0x21 : 0x01);
		assert_true(line[aux ? 12 : 1].level);
		assert_false(line[aux ? 1 : 12].level);
		assert_int_equal(inb(vm, 0x60), want[i]);
		assert_false(line[aux ? 12 : 1].level);
	}
}
#define KBD(...)   expect(vm, false, (const int[]){__VA_ARGS__, -1})
#define AUX(...)   expect(vm, true, (const int[]){__VA_ARGS__, -1})
#define KBD_NONE() expect(vm, false, (const int[]){-1})
#define AUX_NONE() expect(vm, true, (const int[]){-1})

static void aux_write(struct vm *vm, uint8_t v)
{
	outb(vm, 0x64, 0xd4);
	outb(vm, 0x60, v);
}

static void press(unsigned key)
{
	input_key(&in, key, true);
	input_key(&in, key, false);
}

static void test_sets(void **state)
{
	struct vm *vm = start();

	ctr(vm, 0x43); /* both interrupts, translation */
	press(0x1e);
	KBD(0x1e, 0x9e);
	press(KEY_E0 | 0x48);
	KBD(0xe0, 0x48, 0xe0, 0xc8);
	press(0x41); /* F7, whose code in set 2 is above 80H */
	KBD(0x41, 0xc1);
	press(KEY_PAUSE);
	KBD(0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5);
	press(KEY_PRINT);
	KBD(0xe0, 0x2a, 0xe0, 0x37, 0xe0, 0xb7, 0xe0, 0xaa);
	input_key(&in, KEY_LALT, true);
	press(KEY_PRINT);
	input_key(&in, KEY_LALT, false);
	KBD(0x38, 0x54, 0xd4, 0xb8);
	input_key(&in, KEY_LCTRL, true);
	press(KEY_PAUSE);
	input_key(&in, KEY_LCTRL, false);
	KBD(0x1d, 0xe0, 0x46, 0xe0, 0xc6, 0x9d);

	ctr(vm, 0x03); /* as the keyboard says it: set 2 */
	press(0x1e);
	KBD(0x1c, 0xf0, 0x1c);
	press(KEY_E0 | 0x48);
	KBD(0xe0, 0x75, 0xe0, 0xf0, 0x75);
	press(0x41);
	KBD(0x83, 0xf0, 0x83);
	press(KEY_PAUSE);
	KBD(0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77);

	outb(vm, 0x60, 0xf0);
	KBD(0xfa);
	outb(vm, 0x60, 0);
	KBD(0xfa, 2);
	outb(vm, 0x60, 0xf0);
	outb(vm, 0x60, 1);
	KBD(0xfa, 0xfa);
	press(KEY_E0 | 0x48);
	KBD(0xe0, 0x48, 0xe0, 0xc8);

	outb(vm, 0x60, 0xf0);
	KBD(0xfa);
	outb(vm, 0x60, 3);
	KBD(0xfa);
	press(0x1e); /* repeats, and is not said to be released */
	KBD(0x1c);
	press(KEY_LSHIFT);
	KBD(0x12, 0xf0, 0x12);
	press(0x3b);
	KBD(0x07);
	outb(vm, 0x60, 0xfc); /* make and break for A */
	KBD(0xfa);
	outb(vm, 0x60, 0x1c);
	KBD(0xfa);
	outb(vm, 0x60, 0xf4);
	KBD(0xfa);
	press(0x1e);
	KBD(0x1c, 0xf0, 0x1c);
	outb(vm, 0x60, 0xfa); /* all for all */
	KBD(0xfa);
	press(0x3b);
	KBD(0x07, 0xf0, 0x07);
	rig_end(vm);
}

/* Every key of set 1 comes back through set 2 and the controller as itself. */
static void test_translation(void **state)
{
	struct vm *vm = start();

	ctr(vm, 0x43);
	for (unsigned key = 1; key <= 0x58; key++) {
		if (key >= 0x54 && key < 0x56)
			continue;
		press(key);
		KBD((int)key, (int)key | 0x80);
		if (key != (KEY_PRINT & 0x7f)) {
			press(KEY_E0 | key);
			KBD(0xe0, (int)key, 0xe0, (int)key | 0x80);
		}
	}
	rig_end(vm);
}

static void test_keyboard_commands(void **state)
{
	struct vm *vm = start();
	unsigned n, last = 0;

	ctr(vm, 0x43);
	outb(vm, 0x60, 0xff);
	KBD(0xfa, 0xaa);
	outb(vm, 0x60, 0xfe);
	KBD(0xaa);
	outb(vm, 0x60, 0xf2);
	KBD(0xfa, 0xab, 0x41); /* translated, as every system knows it */
	outb(vm, 0x60, 0xee);
	KBD(0xee);
	outb(vm, 0x60, 0xef);
	KBD(0xfe);
	outb(vm, 0x60, 0xed);
	KBD(0xfa);
	outb(vm, 0x60, 7);
	KBD(0xfa);
	outb(vm, 0x60, 0xf0);
	KBD(0xfa);
	outb(vm, 0x60, 4);
	KBD(0xfe);
	outb(vm, 0x60, 0xf5);
	KBD(0xfa);
	press(0x1e);
	KBD_NONE();
	outb(vm, 0x60, 0xf4);
	KBD(0xfa);
	/* an answer overtakes keys that nobody has read */
	outb(vm, 0x64, 0xad);
	press(0x1e);
	KBD_NONE();
	outb(vm, 0x60, 0xee);
	KBD(0xee, 0x1e, 0x9e);
	/* too many: the last one says so */
	for (unsigned i = 0; i < 20; i++)
		press(0x1e);
	for (n = 0; inb(vm, 0x64) & 1; n++) {
		last = inb(vm, 0x60);
		fake_advance(2 * MS);
	}
	assert_int_equal(last, 0xff);
	assert_in_range(n, 11, 13); /* 16 bytes, of which prefixes are not seen */
	rig_end(vm);
}

static void test_typematic(void **state)
{
	struct vm *vm = start();

	ctr(vm, 0x43);
	input_key(&in, 0x1e, true);
	KBD(0x1e);
	input_key(&in, 0x1e, true); /* the viewer repeats too: no news */
	KBD_NONE();
	fake_advance(480 * MS);
	assert_int_equal(inb(vm, 0x64) & 1, 0);
	fake_advance(20 * MS);
	KBD(0x1e);
	fake_advance(87 * MS); /* 10.9 a second */
	KBD(0x1e);
	input_key(&in, 0x1f, true); /* the last one repeats */
	KBD(0x1f);
	fake_advance(500 * MS);
	KBD(0x1f);
	input_key(&in, 0x1e, false); /* … and goes on */
	KBD(0x9e);
	fake_advance(92 * MS);
	KBD(0x1f);
	outb(vm, 0x60, 0xf3);
	KBD(0xfa);
	outb(vm, 0x60, 0x00); /* 250 ms, 30 a second */
	KBD(0xfa);
	input_key(&in, 0x1f, false);
	KBD(0x9f);
	fake_advance(2000 * MS);
	assert_int_equal(inb(vm, 0x64) & 1, 0);
	input_key(&in, 0x1f, true);
	KBD(0x1f);
	fake_advance(245 * MS);
	KBD(0x1f);
	fake_advance(30 * MS);
	KBD(0x1f);
	rig_end(vm);
}

/* A program that hooks the keyboard reads a byte, and the BIOS behind it the same again. */
static void test_pace(void **state)
{
	struct vm *vm = start();

	ctr(vm, 0x43);
	press(0x1e);
	assert_int_equal(line[1].rises, 1);
	assert_int_equal(inb(vm, 0x60), 0x1e);
	assert_int_equal(inb(vm, 0x60), 0x1e);
	assert_int_equal(inb(vm, 0x64) & 1, 0);
	fake_advance(MS);
	assert_int_equal(line[1].rises, 2); /* by the timer */
	assert_int_equal(inb(vm, 0x60), 0x9e);
	/* disabled, it waits; enabled, it comes */
	outb(vm, 0x64, 0xad);
	press(0x1e);
	fake_advance(10 * MS);
	assert_int_equal(inb(vm, 0x64) & 1, 0);
	outb(vm, 0x64, 0xae);
	KBD(0x1e, 0x9e);
	assert_int_equal(fake_next_timer(), PLAT_FOREVER); /* idle costs nothing */
	rig_end(vm);
}

static void test_controller(void **state)
{
	struct vm *vm = start();

	ctr(vm, 0x43);
	outb(vm, 0x64, 0xa9);
	assert_int_equal(inb(vm, 0x60), 0);
	outb(vm, 0x64, 0xa7);
	outb(vm, 0x64, 0x20);
	assert_int_equal(inb(vm, 0x60) & 0x20, 0x20);
	outb(vm, 0x64, 0xa8);
	outb(vm, 0x64, 0x20);
	assert_int_equal(inb(vm, 0x60) & 0x20, 0);
	outb(vm, 0x64, 0xd3); /* loop, by which Linux finds the mouse's port and interrupt */
	outb(vm, 0x60, 0x5a);
	AUX(0x5a);
	outb(vm, 0x64, 0xd2);
	outb(vm, 0x60, 0x1e);
	KBD(0x1e);
	outb(vm, 0x64, 0xd0);
	assert_int_equal(inb(vm, 0x60) & 0x33, 0x03); /* A20, no reset, nothing in the buffer */
	rig_end(vm);
}

static void test_mouse(void **state)
{
	struct vm *vm = start();

	ctr(vm, 0x43);
	aux_write(vm, 0xff);
	AUX(0xfa, 0xaa, 0x00);
	aux_write(vm, 0xf2);
	AUX(0xfa, 0x00);
	input_move(&in, 5, 5, 0, 0); /* not enabled: forgotten */
	AUX_NONE();
	aux_write(vm, 0xf4);
	AUX(0xfa);
	input_move(&in, 3, 5, 9, BUTTON_LEFT);
	AUX(0x29, 3, 0xfb); /* rows count upwards; no wheel */
	input_move(&in, -300, 0, 0, 0);
	fake_advance(20 * MS);
	AUX(0x18, 0x01, 0x00, 0x18, 0xd3, 0x00);
	/* a click within one sample: both ends are seen */
	input_move(&in, 0, 0, 0, BUTTON_RIGHT | BUTTON_MIDDLE);
	input_move(&in, 0, 0, 0, 0);
	fake_advance(20 * MS);
	AUX(0x0e, 0, 0, 0x08, 0, 0);
	input_move(&in, 0, 0, 0, BUTTON_LEFT);
	AUX(0x09, 0, 0);
	aux_write(vm, 0xe9);
	AUX(0xfa, 0x24, 2, 100);
	input_move(&in, 0, 0, 0, 0);
	AUX(0x08, 0, 0);

	aux_write(vm, 0xe8);
	aux_write(vm, 3);
	AUX(0xfa, 0xfa);
	aux_write(vm, 0xe7);
	AUX(0xfa);
	input_move(&in, 4, -20, 0, 0);
	AUX(0x08, 6, 40);
	aux_write(vm, 0xe9);
	AUX(0xfa, 0x30, 3, 100);
	aux_write(vm, 0xe6);
	AUX(0xfa);
	aux_write(vm, 0xf3);
	AUX(0xfa);
	aux_write(vm, 77);
	AUX(0xfe);
	aux_write(vm, 0xe1);
	AUX(0xfe);

	aux_write(vm, 0xf0); /* on demand */
	AUX(0xfa);
	input_move(&in, 7, 0, 0, 0);
	AUX_NONE();
	aux_write(vm, 0xeb);
	AUX(0xfa, 0x08, 7, 0);
	aux_write(vm, 0xee);
	AUX(0xfa);
	aux_write(vm, 0xf4);
	AUX(0xf4);
	aux_write(vm, 0xec);
	AUX(0xfa);
	aux_write(vm, 0xf6);
	AUX(0xfa);
	aux_write(vm, 0xe9);
	AUX(0xfa, 0, 2, 100);
	rig_end(vm);
}

static void knock(struct vm *vm, uint8_t a, uint8_t b, uint8_t c)
{
	const uint8_t rate[] = {a, b, c};

	for (unsigned i = 0; i < 3; i++) {
		aux_write(vm, 0xf3);
		AUX(0xfa);
		aux_write(vm, rate[i]);
		AUX(0xfa);
	}
	aux_write(vm, 0xf2);
}

static void test_wheel(void **state)
{
	struct vm *vm = start();

	ctr(vm, 0x43);
	knock(vm, 200, 100, 80);
	AUX(0xfa, 3);
	aux_write(vm, 0xf4);
	AUX(0xfa);
	input_move(&in, 1, 0, -1, BUTTON_SIDE);
	AUX(0x08, 1, 0, 0xff);
	input_move(&in, 0, 0, 10, 0);
	fake_advance(20 * MS);
	AUX(0x08, 0, 0, 7, 0x08, 0, 0, 3);
	knock(vm, 200, 200, 80);
	AUX(0xfa, 4);
	input_move(&in, 0, 0, 1, BUTTON_SIDE);
	AUX(0x08, 0, 0, 0x11);
	input_move(&in, 0, 0, -1, BUTTON_EXTRA);
	AUX(0x08, 0, 0, 0x2f);
	aux_write(vm, 0xff);
	AUX(0xfa, 0xaa, 0);
	aux_write(vm, 0xf2);
	AUX(0xfa, 0);
	rig_end(vm);
}

static uint8_t file[1 << 16];

static void test_state(void **state)
{
	struct srig_file f = {.buf = file, .cap = sizeof(file)};
	struct state_stream st;
	struct vm *vm = start();
	struct dev *dev = vm->devs;

	ctr(vm, 0x43);
	knock(vm, 200, 100, 80);
	AUX(0xfa, 3);
	aux_write(vm, 0xf4);
	AUX(0xfa);
	input_key(&in, KEY_E0 | 0x48, true);
	dev->cls->freeze(dev, true);
	assert_int_equal(fake_next_timer(), PLAT_FOREVER);
	assert_int_equal(state_open(&st, &srig_io, &f, false), 0);
	state_begin(&st, "kbc", 1);
	assert_int_equal(dev->cls->state(dev, &st), 0);
	assert_int_equal(state_end(&st), 0);
	assert_int_equal(state_finish(&st), 0);
	state_close(&st);
	rig_end(vm);

	vm = start();
	dev = vm->devs;
	assert_int_equal(state_open(&st, &srig_io, &f, true), 0);
	assert_int_equal(state_next(&st), 0);
	assert_int_equal(dev->cls->state(dev, &st), 0);
	assert_int_equal(state_leave(&st), 0);
	state_close(&st);
	dev->cls->freeze(dev, false);
	KBD(0xe0, 0x48);
	fake_advance(2000 * MS); /* the key is nobody's now */
	KBD_NONE();
	input_move(&in, 2, 0, 0, 0);
	AUX(0x08, 2, 0, 0);
	rig_end(vm);
}

static void test_no_memory(void **state)
{
	struct i8042_wiring w = {.input = &in};
	struct vm *vm = rig_vm(1);
	struct i8042 *kbc;

	input_init(&in);
	fake_fail_alloc(1);
	assert_int_equal(i8042_create(vm, &w, &kbc), ERR_NOMEM);
	press(0x1e); /* goes nowhere */
	rig_end(vm);
}

static void test_garbage(void **state)
{
	static const struct rig_range ports[] = {{0x60, 1}, {0x64, 1}, {0x60, 5}, {0x92, 1}};
	struct rig_random r = rig_random();
	struct vm *vm = start();

	for (unsigned i = 0; i < 4000; i++) {
		rig_garbage(vm, &vm->pio, ports, ARRAY_SIZE(ports), 20, &r);
		input_key(&in, (unsigned)(rig_next(&r) % (KEY_COUNT + 9)), rig_next(&r) & 1);
		input_move(&in, (int)rig_next(&r), (int)rig_next(&r), (int)rig_next(&r),
			   (unsigned)rig_next(&r));
		if (rig_next(&r) % 64 == 0)
			vm->devs->cls->reset(vm->devs);
	}
	/* whatever state that has left, a reset makes it well */
	vm->devs->cls->reset(vm->devs);
	for (unsigned key = 0; key < KEY_COUNT; key++)
		input_key(&in, key, false);
	vm->devs->cls->reset(vm->devs);
	ctr(vm, 0x43);
	press(0x1e);
	KBD(0x1e, 0x9e);
	rig_end(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sets),
		cmocka_unit_test(test_translation),
		cmocka_unit_test(test_keyboard_commands),
		cmocka_unit_test(test_typematic),
		cmocka_unit_test(test_pace),
		cmocka_unit_test(test_controller),
		cmocka_unit_test(test_mouse),
		cmocka_unit_test(test_wheel),
		cmocka_unit_test(test_state),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
