/* SPDX-License-Identifier: ISC */
/* fuzz_unpack.c: Linux kernels that the host unpacks. Byte 0: whether the rest is what is packed or, bit 0, the ELF file,
 * which zstd packs first, or, bit 2, changes to a sound one; bit 1: moved at random. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "ctl/unpack.h"
#include "plat/linux/log.h"
#include "tests/lib/kernel_elf.h"
#include "tests/lib/no_engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RAM = 4 * 1024 * 1024, LOAD = 1024 * 1024, MOST = 1024 * 1024 };

static struct vm *make(void)
{
	struct vm_config cfg = {
		.name = "fuzz", .engine = &no_engine, .cpus = 1, .memory = RAM, .low_end = RAM};
	struct vm *vm;

	if (vm_create(&cfg, &vm))
		abort();
	return vm;
}

/* Where, how many bytes, the first of them */
static void patch(const uint8_t *p, size_t left)
{
	for (; left >= 4; p += 4, left -= 4)
		for (unsigned i = 0; i <= p[2] % 8u; i++)
			elf[(p[0] | p[1] << 8) % (sizeof(elf) - 8) + i] = (uint8_t)(p[3] + i / 7);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t packed[MOST + 4096];
	static struct vm *vm;
	struct boot_unpacked out;
	struct boot_packed k = {.data = packed,
				.load = LOAD,
				.room = RAM - LOAD,
				.prefers = PREFERS,
				.align = 0x200000};

	if (!vm)
		vm = make();
	if (!size || size > MOST)
		return 0;
	if (*data & 4) {
		kernel_elf();
		patch(data + 1, size - 1);
		k.size = ZSTD_compress(packed, sizeof(packed), elf, elf_size, 1);
	} else if (*data & 1) {
		k.size = ZSTD_compress(packed, sizeof(packed), data + 1, size - 1, 1);
	} else {
		k.size = size - 1;
		memcpy(packed, data + 1, k.size);
	}
	if (ZSTD_isError(k.size))
		abort();
	k.move = *data & 2;
	if (unpack_linux(NULL, vm, &k, &out) && (out.entry < LOAD || out.entry >= RAM))
		abort();
	return 0;
}
