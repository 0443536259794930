/* SPDX-License-Identifier: ISC */
/* unpack.c: a bzImage holds an ELF file, packed by gzip, xz or zstd, and code that unpacks it. Here the host does it,
 * which without hardware virtualization is three times as fast, and then what that code does besides: moves the
 * segments to their places and, unless the guest says nokaslr, the kernel to a random address (Documentation/arch/x86/boot.rst
 * and arch/x86/boot/compressed/misc.c of the kernel). What is not understood completely is left to the guest.
 *
 * The file is unpacked into the guest's memory where the kernel will be; the set-up header says that there is
 * room. Behind the ELF file, at its end, are lists of addresses in the kernel, each after a zero:
 * of 64-bit values, of 32-bit differences to subtract from (until Linux 6.14), of 32-bit values to add to. */
#include "ctl/unpack.h"

#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "board/elf.h"
#include "ctl/unpack_cache.h"
#include "ctl/xz.h"
#include "plat/plat.h"
#include "vm/vm.h"

/* Where Linux maps itself (__START_KERNEL_map), and how much there is (KERNEL_IMAGE_SIZE) */
#define MAP_START UINT64_C(0xffffffff80000000)
#define MAP_SIZE  GIB

/* ---- unpacking: bytes written, or 0 --------------------------------------------------------------- */

static size_t from_gzip(const struct boot_packed *k, uint8_t *to)
{
	z_stream z = {.next_in = (uint8_t *)(uintptr_t)k->data, /* zlib does not write there */
		      .avail_in = (uInt)k->size,
		      .next_out = to,
		      .avail_out = (uInt)k->room};
	size_t n = 0;

	if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
		return 0;
	if (inflate(&z, Z_FINISH) == Z_STREAM_END)
		n = z.total_out;
	inflateEnd(&z);
	return n;
}

static size_t from_xz(const struct boot_packed *k, uint8_t *to)
{
	return xz_unpack(k->data, (size_t)k->size, to, (size_t)k->room);
}

static size_t from_zstd(const struct boot_packed *k, uint8_t *to)
{
	size_t frame = ZSTD_findFrameCompressedSize(k->data, k->size);
	size_t n = ZSTD_isError(frame) ? 0 : ZSTD_decompress(to, k->room, k->data, frame);

	return ZSTD_isError(n) ? 0 : n;
}

static size_t unpack(const struct boot_packed *k, uint8_t *to)
{
	static const struct {
		uint8_t n, magic[6];
		size_t (*from)(const struct boot_packed *k, uint8_t *to);
	} formats[] = {
		{3, {0x1f, 0x8b, 8}, from_gzip},
		{6, {0xfd, '7', 'z', 'X', 'Z', 0}, from_xz},
		{4, {0x28, 0xb5, 0x2f, 0xfd}, from_zstd},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++)
		if (k->size > formats[i].n && !memcmp(k->data, formats[i].magic, formats[i].n))
			return formats[i].from(k, to);
	return 0;
}

/* ---- relocation ------------------------------------------------------------------------------------ */

/* Lists of addresses, as the kernel's sign-extended 32 bits */
struct lists {
	const uint8_t *at;
	size_t n;         /* words, with the zeroes before each */
	unsigned n_lists; /* 2 or 3 */
};

static uint32_t word(const struct lists *l, size_t i)
{
	uint32_t w;

	memcpy(&w, l->at + i * 4, 4);
	return w;
}

static bool find_lists(const uint8_t *file, size_t size, struct lists *l)
{
	uint64_t sections, end;
	uint16_t entry, n;

	memcpy(&sections, file + 0x28, 8);
	memcpy(&entry, file + 0x3a, 2);
	memcpy(&n, file + 0x3c, 2);
	if (sections > size || (uint64_t)entry * n > size - sections)
		return false;
	end = sections + (uint64_t)entry * n;
	*l = (struct lists){.at = file + end, .n = (size - end) / 4};
	for (size_t i = 0; i < l->n; i++)
		l->n_lists += !word(l, i);
	return !((size - end) % 4) && l->n && !word(l, 0) && (l->n_lists == 2 || l->n_lists == 3);
}

/* A value of the kernel changes, by so much. False: it is not one of the kernel's. */
static bool change(uint8_t *kernel, size_t size, uint64_t at, unsigned bytes, uint64_t by)
{
	uint64_t v = 0;

	if (at > size || bytes > size - at)
		return false;
	memcpy(&v, kernel + at, bytes);
	v += by;
	memcpy(kernel + at, &v, bytes);
	return true;
}

static bool relocate(const struct boot_packed *k, uint8_t *kernel, size_t size,
		     const struct lists *l, uint64_t by)
{
	unsigned list = 0;

	for (size_t i = 0; i < l->n; i++) {
		uint32_t w = word(l, i);
		uint64_t at = (uint64_t)(int32_t)w - MAP_START - k->prefers;
		bool subtract = list == 2 && l->n_lists == 3;

		if (!w)
			list++;
		else if (!change(kernel, size, at, list == 1 ? 8 : 4, subtract ? -by : by))
			return false;
	}
	return true;
}

/* How far to move the kernel: at random where it fits */
static uint64_t choose(const struct boot_packed *k)
{
	uint64_t places = (MAP_SIZE - k->prefers - k->room) / k->align, random;

	plat_random(&random, sizeof(random));
	return random % places * k->align;
}

/* ---- the whole ------------------------------------------------------------------------------------- */

/* Down, by 16 bytes: the program's own memmove() is for code without SIMD. */
static void move_down(uint8_t *to, const uint8_t *from, size_t n)
{
	uint8_t part[16];
	size_t i = 0;

	if (to == from)
		return;
	for (; i + sizeof(part) <= n; i += sizeof(part)) {
		memcpy(part, from + i, sizeof(part));
		memcpy(to + i, part, sizeof(part));
	}
	for (; i < n; i++)
		to[i] = from[i];
}

/* Moves the segments down to their places. Gives the bytes from the kernel's start to its end, or 0. */
static size_t place(const struct boot_packed *k, const struct elf *e, uint8_t *kernel)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < e->n; i++) {
		const struct elf_segment *s = &e->seg[i];
		uint64_t to = s->paddr - k->prefers;

		if (s->type != ELF_PT_LOAD)
			continue;
		if (to < end || to > s->offset || s->memsz > k->room - to)
			return 0;
		move_down(kernel + to, kernel + s->offset, s->filesz);
		memset(kernel + to + s->filesz, 0, s->memsz - s->filesz);
		end = to + s->memsz;
	}
	return end;
}

static bool sensible(const struct boot_packed *k)
{
	return k->align && !(k->align & (k->align - 1)) && k->room < MAP_SIZE / 2 &&
	       k->prefers < MAP_SIZE / 4 && k->align <= MAP_SIZE / 4 && k->size < UINT32_MAX;
}

static size_t unpack_once(const struct boot_packed *k, uint8_t *kernel, struct unpack_cache *c)
{
	size_t size = c ? unpack_cache_get(c, k, kernel) : 0;

	if (size)
		return size;
	size = unpack(k, kernel);
	if (c && size)
		unpack_cache_put(c, k, kernel, size);
	return size;
}

static bool unpack_to(const struct boot_packed *k, uint8_t *kernel, struct unpack_cache *c,
		      struct boot_unpacked *out)
{
	size_t size = unpack_once(k, kernel, c), end;
	struct lists lists = {.n = 0};
	struct elf e;
	uint64_t by;

	if (elf_parse(kernel, size, &e) || !e.is64 || e.entry < k->prefers)
		return false;
	if (k->move && !find_lists(kernel, size, &lists))
		return false;
	end = place(k, &e, kernel);
	out->entry = k->load + (e.entry - k->prefers);
	out->moved = k->move;
	if (!end || e.entry - k->prefers >= end)
		return false;
	if (!k->move)
		return true;
	by = choose(k);
	return lists.at >= kernel + end && relocate(k, kernel, end, &lists, by);
}

bool unpack_linux(void *ctx, struct vm *vm, const struct boot_packed *k, struct boot_unpacked *out)
{
	uint8_t *kernel = sensible(k) ? mem_ptr(vm, k->load, k->room, true) : NULL;
	bool done;

	if (!kernel)
		return false;
	done = unpack_to(k, kernel, ctx, out);
	if (!done)
		memset(kernel, 0, k->room);
	mem_written(vm, k->load, k->room);
	return done;
}
