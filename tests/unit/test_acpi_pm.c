/* SPDX-License-Identifier: ISC */
/* test_acpi_pm.c: ACPI fixed hardware, reset registers, keyboard controller, debug exit. */
#include "tests/unit/pc_rig.h"

#include "dev/pc/acpi_pm.h"
#include "dev/pc/debugexit.h"
#include "dev/pc/i8042.h"

#define PM 0x600

static struct rig_line line[3]; /* SCI, IRQ 1, A20 */
static struct acpi_pm *pm;

static struct vm *start(bool timer32)
{
	struct acpi_pm_wiring w = {.base = PM,
				   .s5_type = ACPI_S5_TYPE,
				   .s3_type = 1,
				   .s4_type = 2,
				   .sci = {rig_line_set, line, 0},
				   .timer32 = timer32,
				   .cf9 = true};
	struct vm *vm = rig_vm(1);

	memset(line, 0, sizeof(line));
	assert_int_equal(acpi_pm_create(vm, &w, &pm), 0);
	return vm;
}

static uint16_t inw(struct vm *vm, uint16_t port)
{
	return (uint16_t)bus_read(&vm->pio, 0, port, 2);
}

static void outw(struct vm *vm, uint16_t port, uint16_t v)
{
	bus_write(&vm->pio, 0, port, 2, v);
}

static uint32_t timer(struct vm *vm)
{
	return (uint32_t)bus_read(&vm->pio, 0, PM + ACPI_PM_TMR, 4);
}

static void test_timer(void **state)
{
	struct vm *vm = start(false);
	uint32_t a = timer(vm);

	fake_advance(NS_PER_SEC);
	assert_in_range(timer(vm) - a, 3579544, 3579546);
	fake_advance(NS_PER_SEC * 4);
	assert_in_range(timer(vm), 3579545 * 5 - (1 << 24) - 1, 3579545 * 5 - (1 << 24) + 1);
	/* its highest bit has changed: status without interrupt */
	assert_int_equal(inw(vm, PM) & 1, 1);
	outw(vm, PM, 1);
	assert_int_equal(inw(vm, PM) & 1, 0);
	outw(vm, PM + 2, 1);
	assert_false(line[0].level);
	fake_advance(NS_PER_SEC * 5 / 2);
	assert_true(line[0].level);
	outw(vm, PM, 1);
	assert_false(line[0].level);
	fake_advance(NS_PER_SEC * 5 / 2);
	assert_int_equal(line[0].rises, 2);
	rig_end(vm);
	vm = start(true);
	fake_advance(NS_PER_SEC * 5);
	assert_in_range(timer(vm), 3579545 * 5 - 1, 3579545 * 5 + 1);
	assert_int_equal(inw(vm, PM) & 1, 0);
	rig_end(vm);
}

static void test_power_button(void **state)
{
	struct vm *vm = start(true);

	assert_non_null(vm->power_button);
	vm->power_button(vm);
	assert_int_equal(inw(vm, PM), 0x100);
	assert_false(line[0].level);
	outw(vm, PM + 2, 0x100);
	assert_true(line[0].level);
	outb(vm, PM + 1, 0x01); /* byte-wise, too */
	assert_int_equal(inw(vm, PM), 0);
	assert_false(line[0].level);
	vm->power_button(vm);
	assert_true(line[0].level);
	vm->devs->cls->reset(vm->devs);
	assert_false(line[0].level);
	assert_int_equal(inw(vm, PM + 2), 0);
	rig_end(vm);
}

static void test_gpe(void **state)
{
	struct vm *vm = start(true);

	acpi_pm_gpe(pm, 3);
	acpi_pm_gpe(pm, 16);
	assert_int_equal(inw(vm, PM + ACPI_GPE0), 0x08);
	assert_false(line[0].level);
	outw(vm, PM + ACPI_GPE0 + 2, 0xffff);
	assert_true(line[0].level);
	outw(vm, PM + ACPI_GPE0, 0x08);
	assert_false(line[0].level);
	rig_end(vm);
}

static void test_sleep(void **state)
{
	struct vm *vm = start(true);

	assert_int_equal(inw(vm, PM + ACPI_PM1A_CNT), 1); /* SCI_EN */
	outw(vm, PM + ACPI_PM1A_CNT, 3 << 10 | 1 << 13);  /* a state that is not there */
	assert_int_equal(vm->end, VM_RUNNING);
	assert_false(vm_is_asleep(vm));
	assert_int_equal(inw(vm, PM + ACPI_PM1A_CNT), 1 | 3 << 10);
	outw(vm, PM + ACPI_PM1A_CNT, ACPI_S5_TYPE << 10);
	assert_int_equal(vm->end, VM_RUNNING);
	outw(vm, PM + ACPI_PM1A_CNT, ACPI_S5_TYPE << 10 | 1 << 13);
	assert_int_equal(vm->end, VM_POWEROFF);
	rig_end(vm);
	vm = start(true);
	outw(vm, PM + ACPI_PM1A_CNT, 2 << 10 | 1 << 13); /* suspend to disk */
	assert_int_equal(vm->end, VM_POWEROFF);
	rig_end(vm);
}

static void suspend(struct vm *vm)
{
	outw(vm, PM + ACPI_PM1A_CNT, 1 << 10 | 1 << 13);
}

/* The reset that ends a sleep, as the bootstrap processor's thread carries it out. */
static void end_sleep(struct vm *vm)
{
	assert_false(vm_is_asleep(vm));
	assert_true(vm->reset_wanted && vm->waking);
	assert_int_equal(vm->paused, 1);
	vm->devs->cls->reset(vm->devs);
	vm->reset_wanted = vm->waking = false;
	vm->paused = 0;
}

static void test_suspend(void **state)
{
	struct vm *vm = start(true);

	/* what is not enabled does not wake; the button always does */
	acpi_pm_wake(pm, 3); /* awake: it does not count */
	suspend(vm);
	assert_true(vm_is_asleep(vm));
	assert_int_equal(vm->paused, 1);
	acpi_pm_wake(pm, 3);
	acpi_pm_wake(pm, ACPI_WAKE_RTC);
	fake_advance(1);
	assert_true(vm_is_asleep(vm));
	vm->power_button(vm);
	end_sleep(vm);
	assert_int_equal(inw(vm, PM), 0x8500); /* WAK_STS, RTC_STS, PWRBTN_STS */
	assert_int_equal(inw(vm, PM + ACPI_GPE0), 0);
	outw(vm, PM, 0xffff);
	assert_int_equal(inw(vm, PM), 0);
	/* a general-purpose event */
	outw(vm, PM + ACPI_GPE0 + 2, 0x08);
	suspend(vm);
	acpi_pm_wake(pm, 4);
	fake_advance(1);
	assert_true(vm_is_asleep(vm));
	acpi_pm_wake(pm, 3);
	fake_advance(1);
	end_sleep(vm);
	assert_int_equal(inw(vm, PM), 0x8000);
	assert_int_equal(inw(vm, PM + ACPI_GPE0), 0x08);
	assert_int_equal(inw(vm, PM + ACPI_GPE0 + 2), 0);
	outw(vm, PM + ACPI_GPE0, 0xffff);
	outw(vm, PM, 0xffff);
	/* the clock; one that stands when sleep begins ends it at once */
	outw(vm, PM + 2, 0x400);
	acpi_pm_wake(pm, ACPI_WAKE_RTC);
	fake_advance(1);
	assert_true(line[0].level); /* awake, it is an interrupt */
	suspend(vm);
	end_sleep(vm);
	assert_int_equal(inw(vm, PM), 0x8400);
	assert_false(line[0].level);
	/* another reset ends it too, and is no waking */
	suspend(vm);
	vm_request_reset(vm);
	assert_false(vm_is_asleep(vm));
	assert_false(vm->waking);
	assert_int_equal(vm->paused, 1);
	vm->devs->cls->reset(vm->devs);
	assert_int_equal(inw(vm, PM), 0);
	vm->power_button(vm);
	assert_false(vm->waking);
	rig_end(vm);
}

static void test_reset_registers(void **state)
{
	struct vm *vm = start(true);

	outb(vm, PM + ACPI_RESET, 0x77);
	assert_false(vm->reset_wanted);
	outb(vm, PM + ACPI_RESET, ACPI_RESET_VALUE);
	assert_true(vm->reset_wanted);
	rig_end(vm);
	vm = start(true);
	outb(vm, 0xcf9, 0x02);
	assert_int_equal(inb(vm, 0xcf9), 0x02);
	assert_false(vm->reset_wanted);
	outb(vm, 0xcf9, 0x06);
	assert_true(vm->reset_wanted);
	rig_end(vm);
}

static void test_debugexit(void **state)
{
	struct debugexit_wiring w = {.base = 0xf4};
	struct debugexit *d;
	struct vm *vm = rig_vm(1);

	assert_int_equal(debugexit_create(vm, &w, &d), 0);
	assert_int_equal(vm->end, VM_RUNNING);
	outb(vm, 0xf4, 0x10);
	assert_int_equal(vm->end, VM_EXITED);
	assert_int_equal(vm->exit_code, 0x21);
	rig_end(vm);
}

static struct vm *start_kbc(void)
{
	struct i8042_wiring w = {.irq = {rig_line_set, line, 1}, .a20 = {rig_line_set, line, 2}};
	struct i8042 *kbc;
	struct vm *vm = rig_vm(1);

	memset(line, 0, sizeof(line));
	line[2].level = true;
	assert_int_equal(i8042_create(vm, &w, &kbc), 0);
	return vm;
}

static int kbc_command(struct vm *vm, uint8_t cmd)
{
	outb(vm, 0x64, cmd);
	return inb(vm, 0x64) & 1 ? inb(vm, 0x60) : -1;
}

static void test_i8042(void **state)
{
	struct vm *vm = start_kbc();

	assert_int_equal(inb(vm, 0x64) & 0x03, 0);
	assert_int_equal(kbc_command(vm, 0xaa), 0x55);
	assert_int_equal(kbc_command(vm, 0xab), 0x00);
	assert_int_not_equal(kbc_command(vm, 0xa9), 0x00); /* no mouse port */
	assert_int_equal(kbc_command(vm, 0xa8), -1);
	outb(vm, 0x64, 0x60);
	outb(vm, 0x60, 0x45);
	assert_int_equal(kbc_command(vm, 0x20), 0x65);
	outb(vm, 0x64, 0xd3);
	outb(vm, 0x60, 0x5a);
	assert_int_equal(inb(vm, 0x64) & 0x21, 0x01); /* not from a mouse */
	assert_int_equal(inb(vm, 0x60), 0x5a);
	/* the keyboard does not answer, which is known at once */
	line[1].rises = 0;
	outb(vm, 0x60, 0xf2);
	assert_int_equal(inb(vm, 0x64) & 0x41, 0x41);
	assert_true(line[1].level);
	assert_int_equal(inb(vm, 0x60), 0xfe);
	assert_false(line[1].level);
	assert_int_equal(inb(vm, 0x64) & 0x41, 0);
	rig_end(vm);
}

static void test_a20_and_reset(void **state)
{
	struct vm *vm = start_kbc();

	assert_int_equal(kbc_command(vm, 0xd0) & 3, 3);
	outb(vm, 0x64, 0xd1);
	outb(vm, 0x60, 0xdd);
	assert_false(line[2].level);
	assert_int_equal(inb(vm, 0x92) & 2, 0);
	outb(vm, 0x92, 0x02);
	assert_true(line[2].level);
	assert_int_equal(kbc_command(vm, 0xd0) & 3, 3);
	outb(vm, 0x64, 0xff); /* pulses nothing */
	assert_false(vm->reset_wanted);
	outb(vm, 0x64, 0xfe);
	assert_true(vm->reset_wanted);
	rig_end(vm);
	vm = start_kbc();
	outb(vm, 0x92, 0x03);
	assert_true(vm->reset_wanted);
	rig_end(vm);
	vm = start_kbc();
	outb(vm, 0x64, 0xd1);
	outb(vm, 0x60, 0x02);
	assert_true(vm->reset_wanted);
	vm->devs->cls->reset(vm->devs);
	rig_end(vm);
}

static void test_garbage(void **state)
{
	static const struct rig_range ports[] = {{PM, ACPI_PM_LEN}, {0xcf9, 1}};
	static const struct rig_range kbc[] = {{0x60, 1}, {0x64, 1}, {0x92, 1}};
	struct rig_random r = rig_random();
	struct vm *vm = start(false);

	rig_garbage(vm, &vm->pio, ports, 2, 200000, &r);
	rig_end(vm);
	vm = start_kbc();
	rig_garbage(vm, &vm->pio, kbc, 3, 200000, &r);
	rig_end(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timer),         cmocka_unit_test(test_power_button),
		cmocka_unit_test(test_gpe),           cmocka_unit_test(test_sleep),
		cmocka_unit_test(test_suspend),       cmocka_unit_test(test_reset_registers),
		cmocka_unit_test(test_debugexit),     cmocka_unit_test(test_i8042),
		cmocka_unit_test(test_a20_and_reset), cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
