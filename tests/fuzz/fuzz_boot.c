/* SPDX-License-Identifier: ISC */
/* fuzz_boot.c: kernels of each kind that the micro board boots, and what is loaded beside them. Byte 0: the kind, or any bytes;
 * byte 1: how many modules; byte 2: how long their texts are; then for each two bytes, its length; what follows changes the kernel,
 * four bytes each: where (two), the first of up to eight new ones, how many. A copy of its own of each has an end that ASan sees. */
#include <stdlib.h>
#include <string.h>

#include "board/boot.h"
#include "tests/lib/kernels.h"
#include "tests/lib/no_engine.h"
#include "vm/vm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RAM = 4 * 1024 * 1024, KERNEL = 6 * 1024 };

/* Gives the kernel's length. */
static size_t make_kernel(uint8_t *k, unsigned kind, const uint8_t **data, size_t *size)
{
	size_t len = kind < 4 ? KERNEL : MIN(*size, (size_t)KERNEL);

	switch (kind) {
	case 0:
		make_bzimage(k, KERNEL);
		break;
	case 1:
		make_elf(k, KERNEL);
		break;
	case 2:
	case 3:
		make_multiboot(k, KERNEL, kind - 1);
		break;
	default:
		memcpy(k, *data, len);
		*data += len;
		*size -= len;
	}
	for (; *size >= 4; *data += 4, *size -= 4)
		for (unsigned i = 0; i <= (*data)[3] % 8u && len > 8; i++)
			k[((*data)[0] | (*data)[1] << 8) % (len - 8) + i] =
				(uint8_t)((*data)[2] + i / 3);
	/* And cut, where there is a byte left. */
	return *size ? len - len * **data / 256 : len;
}

static void *copy(const void *from, size_t n)
{
	void *p = malloc(n ? n : 1);

	if (!p)
		abort();
	memcpy(p, from, n);
	return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t kernel[KERNEL], module[UINT16_MAX];
	static char text[256];
	static struct vm *vm;
	struct boot_source s = {.cmdline = "quiet",
				.rsdp = 0xe0000,
				.low_end = RAM,
				.e820 = {{0, 0x9fc00, E820_RAM}, {MIB, RAM - MIB, E820_RAM}},
				.n_e820 = 2};
	unsigned kind;
	char err[200] = "";

	if (!vm)
		vm = bare_vm(RAM);
	if (size < 3)
		return 0;
	kind = data[0] % 5;
	s.n_modules = data[1] % (BOOT_MAX_FILES + 1);
	memset(text, 'x', sizeof(text) - 1);
	text[data[2]] = 0;
	data += 3;
	size -= 3;
	for (unsigned i = 0; i < s.n_modules; i++) {
		size_t len = size < 2 ? 1 : (size_t)(data[0] | data[1] << 8);

		s.module[i] = (struct boot_file){copy(module, len), len, kind > 1 ? text : ""};
		data += MIN(size, (size_t)2);
		size -= MIN(size, (size_t)2);
	}
	s.kernel_size = make_kernel(kernel, kind, &data, &size);
	s.kernel = copy(kernel, s.kernel_size);
	if (boot_load(vm, &s, err, sizeof(err)) && !err[0])
		abort();
	free((void *)(uintptr_t)s.kernel);
	for (unsigned i = 0; i < s.n_modules; i++)
		free((void *)(uintptr_t)s.module[i].data);
	return 0;
}
