/* SPDX-License-Identifier: ISC */
/* fuzz_unpack.c: Linux kernels that the host unpacks. Byte 0: whether the rest is what is packed or, bit 0, the ELF file,
 * which is packed first, or, bit 2, changes to a sound one; bit 3: by gzip, else zstd; bit 1: moved at random; bit 4: what is packed
 * changes, too, by the last four bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "ctl/unpack.h"
#include "plat/linux/log.h"
#include "tests/lib/kernel_elf.h"
#include "tests/lib/no_engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RAM = 4 * 1024 * 1024, LOAD = 1024 * 1024, MOST = 1024 * 1024 };

/* Where (the headers, the section's, the lists, anywhere), how many bytes, the first of them; or how long the file is */
static void patch(const uint8_t *p, size_t left)
{
	for (; left >= 4; p += 4, left -= 4) {
		const size_t at[] = {p[0] % 0xb0u, SECTIONS + p[0] % 64u, LISTS + p[0] % 64u,
				     (p[0] | (p[1] >> 3) << 8) % (sizeof(elf) - 8)};

		if ((p[1] & 7) == 4)
			elf_size = LISTS + p[2] % 64u * 4 + (p[3] < 16 ? p[3] % 4 : 0);
		for (unsigned i = 0; i <= p[2] % 8u && (p[1] & 7) < 4; i++)
			elf[at[p[1] & 3] + i] = (uint8_t)(p[3] + i / 7);
	}
}

static size_t pack(uint8_t *to, size_t room, const uint8_t *from, size_t n, bool gzip)
{
	z_stream z = {.next_in = (uint8_t *)(uintptr_t)from,
		      .avail_in = (uInt)n,
		      .next_out = to,
		      .avail_out = (uInt)room};

	if (!gzip) {
		size_t size = ZSTD_compress(to, room, from, n, 1);

		if (ZSTD_isError(size))
			abort();
		return size;
	}
	if (deflateInit2(&z, 1, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
	    deflate(&z, Z_FINISH) != Z_STREAM_END || deflateEnd(&z) != Z_OK)
		abort();
	return z.total_out;
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
		vm = bare_vm(RAM);
	if (!size || size > MOST)
		return 0;
	if (*data & 4) {
		kernel_elf();
		patch(data + 1, size - 1);
		k.size = pack(packed, sizeof(packed), elf, elf_size, *data & 8);
	} else if (*data & 1) {
		k.size = pack(packed, sizeof(packed), data + 1, size - 1, *data & 8);
	} else {
		k.size = size - 1;
		memcpy(packed, data + 1, k.size);
	}
	if (*data & 0x10 && size > 4 && k.size)
		packed[(data[size - 4] | data[size - 3] << 8) % k.size] ^= data[size - 1];
	k.move = *data & 2;
	if (unpack_linux(NULL, vm, &k, &out) && (out.entry < LOAD || out.entry >= RAM))
		abort();
	return 0;
}
