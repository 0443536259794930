/* SPDX-License-Identifier: ISC */
/* test_board.c: ACPI tables (checksums, iasl where it is installed), kernel loaders on good and on
 * damaged images. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "board/acpi.h"
#include "board/boot.h"
#include "board/smbios.h"
#include "tests/lib/kernels.h"
#include "vm/vm.h"

static unsigned test_gsi(unsigned slot, unsigned pin)
{
	return 16 + (slot + pin) % 8;
}

static const struct acpi_config acpi = {
	.cpus = 4,
	.lapic_base = 0xfee00000,
	.ioapic_base = 0xfec00000,
	.sci_gsi = 9,
	.pm1a_evt = 0x600,
	.pm1a_cnt = 0x604,
	.pm_timer = 0x608,
	.gpe0 = 0x620,
	.gpe0_len = 4,
	.s5_type = 5,
	.s3_type = 1,
	.s4_type = 2,
	.kbd_gpe = 8,
	.has_ps2 = true,
	.reset_port = 0xcf9,
	.reset_value = 6,
	.hpet_base = 0xfed00000,
	.hpet_id = 0x8086a301,
	.ecam_base = 0xe0000000,
	.pci_io_first = 0xc000,
	.pci_io_last = 0xffff,
	.pci_mem_first = 0xc0000000,
	.pci_mem_last = 0xdfffffff,
	.pci_gsi = test_gsi,
	.has_serial = true,
	.has_rtc = true,
	.has_floppy = true,
	.has_parallel = true,
};

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s = (uint8_t)(s + *p++);
	return s;
}

static const uint8_t *table_at(const uint8_t *buf, size_t size, uint64_t gpa)
{
	uint32_t len;

	assert_in_range(gpa, 0xe0000, 0xe0000 + size - 36);
	memcpy(&len, buf + (gpa - 0xe0000) + 4, 4);
	assert_in_range(len, 36, size - (gpa - 0xe0000));
	return buf + (gpa - 0xe0000);
}

/* iasl must be able to read the table back. */
static void disassemble(const uint8_t *table, uint32_t len)
{
	char dir[] = "/tmp/vigia-acpi-XXXXXX", cmd[256];
	FILE *f;

	if (system("command -v iasl >/dev/null")) {
		print_message("iasl is not installed: DSDT not disassembled\n");
		return;
	}
	assert_non_null(mkdtemp(dir));
	snprintf(cmd, sizeof(cmd), "%s/t.dat", dir);
	f = fopen(cmd, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(table, 1, len, f), len);
	fclose(f);
	snprintf(cmd, sizeof(cmd),
		 "cd %s && iasl -d t.dat >log 2>&1 && iasl -we t.dsl >>log 2>&1 || "
		 "{ cat log; exit 1; }",
		 dir);
	assert_int_equal(system(cmd), 0);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	assert_int_equal(system(cmd), 0);
}

/* Ports, IRQ 6 and DMA channel 2 of the floppy controller are in the DSDT in this form. */
static void check_floppy(const uint8_t *t, uint32_t len)
{
	static const uint8_t resources[] = {0x47, 1, 0xf0, 3, 0xf0, 3,    1, 6,    0x47, 1, 0xf7, 3,
					    0xf7, 3, 1,    1, 0x22, 0x40, 0, 0x2a, 4,    0, 0x79};
	uint32_t i = 0;

	while (i + sizeof(resources) <= len && memcmp(t + i, resources, sizeof(resources)))
		i++;
	assert_true(i + sizeof(resources) <= len);
}

static void test_acpi(void **state)
{
	static uint8_t buf[0x4000];
	uint64_t xsdt, entry, dsdt;
	uint32_t rsdt, len32;
	const uint8_t *y;
	const uint8_t *x, *t;
	uint32_t len, n;
	unsigned seen = 0;

	assert_int_equal(acpi_build(&acpi, 0xe0000, buf, sizeof(buf)), 0);
	assert_memory_equal(buf, "RSD PTR ", 8);
	assert_int_equal(sum(buf, 20), 0);
	assert_int_equal(sum(buf, 36), 0);
	memcpy(&xsdt, buf + 24, 8);
	x = table_at(buf, sizeof(buf), xsdt);
	assert_memory_equal(x, "XSDT", 4);
	/* the same tables for 32-bit systems */
	memcpy(&rsdt, buf + 16, 4);
	y = table_at(buf, sizeof(buf), rsdt);
	assert_memory_equal(y, "RSDT", 4);
	memcpy(&len, x + 4, 4);
	memcpy(&len32, y + 4, 4);
	assert_int_equal(sum(y, len32), 0);
	assert_int_equal((len - 36) / 8, (len32 - 36) / 4);
	for (unsigned i = 0; i < (len - 36) / 8; i++)
		assert_memory_equal(x + 36 + 8 * i, y + 36 + 4 * i, 4);
	memcpy(&len, x + 4, 4);
	assert_int_equal(sum(x, len), 0);
	n = (len - 36) / 8;
	assert_int_equal(n, 4);
	for (uint32_t i = 0; i < n; i++) {
		memcpy(&entry, x + 36 + 8 * i, 8);
		t = table_at(buf, sizeof(buf), entry);
		memcpy(&len, t + 4, 4);
		assert_int_equal(sum(t, len), 0);
		if (!memcmp(t, "FACP", 4)) {
			seen |= 1;
			assert_int_equal(len, 276);
			memcpy(&dsdt, t + 140, 8);
			t = table_at(buf, sizeof(buf), dsdt);
			memcpy(&len, t + 4, 4);
			assert_memory_equal(t, "DSDT", 4);
			assert_int_equal(sum(t, len), 0);
			check_floppy(t, len);
			disassemble(t, len);
		} else if (!memcmp(t, "APIC", 4)) {
			seen |= 2;
		} else if (!memcmp(t, "MCFG", 4)) {
			seen |= 4;
		} else if (!memcmp(t, "HPET", 4)) {
			seen |= 8;
			assert_int_equal(len, 56);
		}
	}
	assert_int_equal(seen, 15);
	/* Too small a buffer is an error, never an overrun. */
	memcpy(&len, x + 4, 4);
	for (size_t size = 0; size < xsdt - 0xe0000 + len; size += 61)
		assert_int_not_equal(acpi_build(&acpi, 0xe0000, buf, size), 0);
}

/* A VM of 16 MiB with one vCPU and no engine. */
static struct x86_state cpu_state;
static struct vcpu vcpu = {.state = &cpu_state};

static struct vm *make_vm(void)
{
	struct vm *vm = plat_alloc(sizeof(*vm));

	assert_non_null(vm);
	assert_int_equal(plat_ram_alloc(16 * MIB, RAM_SHARED, &vm->ram), 0);
	assert_int_equal(mem_add(vm, 0, 16 * MIB, vm->ram.hva, 0, false), 0);
	vm->vcpu[0] = &vcpu;
	vm->n_vcpus = 1;
	return vm;
}

static void drop_vm(struct vm *vm)
{
	plat_free((void *)vm->mem.slot[0].flags);
	plat_ram_free(&vm->ram);
	plat_free(vm);
}

static struct boot_source source(const void *kernel, size_t size)
{
	struct boot_source s = {.kernel = kernel,
				.kernel_size = size,
				.cmdline = "quiet",
				.low_end = 16 * MIB,
				.e820 = {{0, 0x9fc00, E820_RAM}, {MIB, 15 * MIB, E820_RAM}},
				.n_e820 = 2};
	return s;
}

/* Three, the first and second of no whole words: one initrd, with zeros between, whatever was there. */
static void linux_modules(struct vm *vm, struct boot_source *s, const uint8_t *k)
{
	const uint8_t *at = vm->ram.hva + 16 * MIB - PAGE_SIZE;
	uint32_t where, size;
	char err[200];

	for (unsigned i = 0; i < 3; i++)
		s->module[i] = (struct boot_file){k + i, 5 + i, ""};
	s->n_modules = 3;
	memset(vm->ram.hva + 16 * MIB - PAGE_SIZE, 0xff, PAGE_SIZE);
	assert_int_equal(boot_load(vm, s, err, sizeof(err)), 0);
	memcpy(&where, vm->ram.hva + BOOT_PARAMS_AT + 0x218, 4);
	memcpy(&size, vm->ram.hva + BOOT_PARAMS_AT + 0x21c, 4);
	assert_true(where == 16 * MIB - PAGE_SIZE && size == 8 + 8 + 7);
	assert_memory_equal(at, k, 5);
	assert_memory_equal(at + 5, "\0\0", 3);
	assert_memory_equal(at + 8, k + 1, 6);
	assert_memory_equal(at + 14, "\0", 2);
	assert_memory_equal(at + 16, k + 2, 7);
	s->module[2].text = "x";
	assert_int_equal(boot_load(vm, s, err, sizeof(err)), ERR_INVAL);
}

static void test_linux(void **state)
{
	static uint8_t k[1024 + 4096];
	struct vm *vm = make_vm();
	struct boot_source s = source(k, sizeof(k));
	char err[200];

	make_bzimage(k, sizeof(k));
	assert_int_equal(boot_load(vm, &s, err, sizeof(err)), 0);
	assert_true(cpu_state.rip == MIB + 0x200);
	assert_true(cpu_state.efer == (EFER_LME | EFER_LMA));
	assert_int_equal(vm->ram.hva[MIB], 0x90);
	assert_string_equal((char *)vm->ram.hva + BOOT_CMDLINE_AT, "quiet");
	s.module[0] = (struct boot_file){k, sizeof(k), ""};
	s.n_modules = 1;
	assert_int_equal(boot_load(vm, &s, err, sizeof(err)), 0);
	assert_memory_equal(vm->ram.hva + 16 * MIB - 8192, k, sizeof(k));
	/* Larger than memory, at a place outside of it, truncated at each length. */
	s.module[0].size = 15 * MIB;
	assert_int_equal(boot_load(vm, &s, err, sizeof(err)), ERR_NOMEM);
	linux_modules(vm, &s, k);
	s.n_modules = 0;
	le(k + 0x260, 4, 0x7fffffff);
	assert_int_equal(boot_load(vm, &s, err, sizeof(err)), ERR_NOMEM);
	make_bzimage(k, sizeof(k));
	/* A preferred address that is absurd: relocated. */
	le(k + 0x258, 8, ~UINT64_C(0) - 4096);
	assert_int_equal(boot_load(vm, &s, err, sizeof(err)), 0);
	assert_true(cpu_state.rip == MIB + 0x200);
	make_bzimage(k, sizeof(k));
	for (size_t n = 0; n < sizeof(k) - 16; n += 7) {
		s.kernel_size = n;
		assert_int_equal(boot_load(vm, &s, err, sizeof(err)), ERR_FORMAT);
	}
	drop_vm(vm);
}

static void test_pvh(void **state)
{
	static uint8_t k[512];
	struct vm *vm = make_vm();
	struct boot_source s = source(k, sizeof(k));
	unsigned seed = 1;
	char err[200];

	make_elf(k, sizeof(k));
	assert_int_equal(boot_load(vm, &s, err, sizeof(err)), 0);
	assert_true(cpu_state.rip == 2 * MIB + 256);
	assert_true(cpu_state.cr0 == (CR0_PE | CR0_ET));
	assert_memory_equal(vm->ram.hva + 2 * MIB, k, sizeof(k));
	for (size_t n = 4; n < 196; n++) {
		s.kernel_size = n;
		assert_int_not_equal(boot_load(vm, &s, err, sizeof(err)), 0);
	}
	/* Random damage must never touch memory outside of the guest's (run under ASan). */
	s.kernel_size = sizeof(k);
	for (unsigned i = 0; i < 20000; i++) {
		make_elf(k, sizeof(k));
		for (int j = 0; j < 3; j++)
			k[(unsigned)rand_r(&seed) % 196] = (uint8_t)rand_r(&seed);
		if (boot_load(vm, &s, err, sizeof(err)))
			assert_int_not_equal(err[0], 0);
	}
	drop_vm(vm);
}

/* Where texts end the room for information, and modules the memory; what the guest sees is boot t_modules'. */
static void multiboot_modules(struct vm *vm, struct boot_source *s)
{
	static char text[0x2000];
	unsigned fit = 0;
	char err[200];

	s->n_modules = 2;
	s->module[0] = s->module[1] = (struct boot_file){s->kernel, s->kernel_size, text};
	for (size_t n = 0; n < sizeof(text) - 1; n += 61) {
		memset(text, 'x', n);
		vm->ram.hva[BOOT_GDT_AT] = vm->ram.hva[BOOT_GDT_AT + 8 * 4] = 0xa5;
		if (!boot_load(vm, s, err, sizeof(err)))
			fit++;
		assert_int_equal(vm->ram.hva[BOOT_GDT_AT], 0);
		assert_int_equal(vm->ram.hva[BOOT_GDT_AT + 8 * 4], 0xa5);
	}
	assert_in_range(fit, 40, 70); /* of 135: half of the room each */
	memset(text, 0, sizeof(text));
	s->module[1].size = 15 * MIB;
	assert_int_equal(boot_load(vm, s, err, sizeof(err)), ERR_NOMEM);
	s->n_modules = 0;
}

static void test_multiboot(void **state)
{
	static uint8_t k[512];
	struct vm *vm = make_vm();
	struct boot_source s = source(k, sizeof(k));
	unsigned seed = 1, loaded = 0;
	uint32_t info;
	char err[200];

	for (unsigned version = 1; version <= 2; version++) {
		make_multiboot(k, sizeof(k), version);
		memset(vm->ram.hva + 2 * MIB, 0xff, PAGE_SIZE);
		assert_int_equal(boot_load(vm, &s, err, sizeof(err)), 0);
		assert_true(cpu_state.rip == 2 * MIB + 100);
		assert_true(cpu_state.gpr[RAX] == (version == 1 ? 0x2badb002 : 0x36d76289));
		assert_memory_equal(vm->ram.hva + 2 * MIB, k, sizeof(k));
		assert_int_equal(vm->ram.hva[2 * MIB + sizeof(k)], 0);
		assert_int_equal(vm->ram.hva[2 * MIB + sizeof(k) + 64], 0xff);
		memcpy(&info, vm->ram.hva + cpu_state.gpr[RBX], 4);
		assert_true(version == 1 ? (info & 0x45) == 0x45 : info > 64 && info < 0x2000);
		multiboot_modules(vm, &s);
		for (size_t n = 0; n < sizeof(k); n++) {
			s.kernel_size = n;
			assert_int_not_equal(boot_load(vm, &s, err, sizeof(err)), 0);
		}
		s.kernel_size = sizeof(k);
		/* Damage behind the checksum, or one that keeps it right. */
		for (unsigned i = 0; i < 20000; i++) {
			make_multiboot(k, sizeof(k), version);
			for (int j = 0; j < 3; j++)
				k[20 + (unsigned)rand_r(&seed) % 60] = (uint8_t)rand_r(&seed);
			if (boot_load(vm, &s, err, sizeof(err)))
				assert_int_not_equal(err[0], 0);
			else
				loaded++;
		}
	}
	assert_in_range(loaded, 1, 39999);
	drop_vm(vm);
}

/* Walks the structures: from each to the next over its strings, each handle once, an end. */
static void walk_smbios(unsigned cpus, uint64_t ram)
{
	static const uint8_t uuid[16] = {0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1,
					 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8};
	static const uint8_t stored[16] = {0x10, 0xb8, 0xa7, 0x6b, 0xad, 0x9d, 0xd1, 0x11,
					   0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8};
	struct smbios_identity id = {.serial = "S-42"};
	const struct smbios_config cfg = {&id, cpus, ram, 3 * GIB};
	uint8_t anchor[SMBIOS_ANCHOR_SIZE], *t = malloc(SMBIOS_TABLES_SIZE);
	unsigned count[128] = {0}, n = 0, largest = 0;
	uint64_t mapped = 0;
	uint32_t len, at = 0, first, last;
	uint16_t w[3];

	memcpy(id.uuid, uuid, 16);
	assert_int_equal(smbios_build(&cfg, 0xf0020, anchor, t, &len), 0);
	assert_memory_equal(anchor, "_SM_", 4);
	assert_int_equal(sum(anchor, sizeof(anchor)), 0);
	assert_int_equal(sum(anchor + 16, 15), 0);
	while (at < len) {
		const uint8_t *s = t + at;
		uint32_t strings = at + s[1];

		assert_in_range(s[1], 4, len - at - 2);
		assert_in_range(s[0], 0, 127);
		count[s[0]]++;
		for (at = strings; t[at] || t[at + 1]; at++)
			assert_in_range(at, 0, len - 3);
		at += 2;
		largest = MAX(largest, (unsigned)(t + at - s));
		n++;
		if (s[0] == 1) {
			assert_memory_equal(s + 8, stored, 16);
			assert_int_equal(s[7], 3); /* the last of three strings */
			assert_string_equal((const char *)t + at - 6, "S-42");
		} else if (s[0] == 19) {
			memcpy(&first, s + 4, 4);
			memcpy(&last, s + 8, 4);
			mapped += last + UINT64_C(1) - first;
		} else if (s[0] == 127) {
			assert_int_equal(at, len);
		}
	}
	memcpy(&w[0], anchor + 0x08, 2);
	memcpy(&w[1], anchor + 0x16, 2);
	memcpy(&w[2], anchor + 0x1c, 2);
	assert_int_equal(w[0], largest);
	assert_int_equal(w[1], len);
	assert_int_equal(w[2], n);
	assert_int_equal(mapped, ram / KIB);
	assert_int_equal(count[4], cpus);
	assert_int_equal(count[19], ram > 3 * GIB ? 2 : 1);
	for (const uint8_t *type = (const uint8_t *)"\x01\x03\x10\x11\x20\x7f"; *type; type++)
		assert_int_equal(count[*type], 1);
	assert_int_equal(count[0], 1);
	free(t);
}

static void test_smbios(void **state)
{
	(void)state;
	walk_smbios(1, 512 * MIB);
	walk_smbios(32, 1024 * GIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_multiboot), cmocka_unit_test(test_acpi),
		cmocka_unit_test(test_smbios),    cmocka_unit_test(test_linux),
		cmocka_unit_test(test_pvh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
