/* SPDX-License-Identifier: ISC */
/* fuzz_state.c: the reader of saved states. First byte even: the rest is a file. Odd: a valid file of
 * a whole machine, damaged by a list of {u24 place, u8 value} inside of its sections, whose checksums
 * are then made right again, so that the values reach the devices; the machine is used after. */
#include "tests/lib/state_rig.h"

#define CAP (1u << 20)
#define TAG 64 /* section header */

static uint8_t good[CAP], work[CAP];
static size_t good_len;

static void make_good(void)
{
	struct srig_file f = {.buf = good, .cap = CAP};
	struct state_stream st;
	struct vm *vm = srig_build();

	if (state_open(&st, &srig_io, &f, false))
		abort();
	srig_clock(&st);
	if (vm_state_save(vm, &st) || state_finish(&st))
		abort();
	state_close(&st);
	vm_destroy(vm);
	good_len = f.len;
}

/* tag, version, length, checksum, name; see doc/state-format.md */
static void fix_checksums(void)
{
	for (size_t at = 16; at + TAG <= good_len;) {
		uint32_t len, crc;

		memcpy(&len, work + at + 8, 4);
		crc = crc32c(0, work + at + 16, 48);
		crc = crc32c(crc, work + at + 4, 4);
		crc = crc32c(crc, work + at + 8, 4);
		crc = crc32c(crc, work + at + TAG, len);
		memcpy(work + at + 12, &crc, 4);
		at += TAG + len;
	}
}

/* Is this place in a body? */
static bool in_body(size_t place)
{
	for (size_t at = 16; at + TAG <= good_len;) {
		uint32_t len;

		memcpy(&len, work + at + 8, 4);
		if (place < at + TAG)
			return false;
		if (place < at + TAG + len)
			return true;
		at += TAG + len;
	}
	return false;
}

static void load_and_use(size_t len)
{
	struct srig_file f = {.buf = work, .len = len, .cap = CAP};
	struct state_stream st;
	struct vm *vm = srig_build();
	int err = state_open(&st, &srig_io, &f, true);

	if (!err)
		err = vm_state_load(vm, &st);
	state_close(&st);
	if (!err) {
		for (struct dev *dev = vm->devs; dev; dev = dev->next)
			if (dev->cls->freeze && dev->cls->freeze(dev, false))
				abort();
		for (unsigned port = 0; port < 0x700; port++)
			bus_read(&vm->pio, 0, port, 1);
		for (unsigned off = 0; off < 0x400; off += 16)
			bus_read(&vm->mmio, 0, 0xfee00000 + off, 4);
		fake_advance(100000000);
	}
	vm_destroy(vm);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fake_reset();
	if (!size || size > CAP)
		return 0;
	if (!good_len)
		make_good();
	if (!(data[0] & 1)) {
		memcpy(work, data + 1, size - 1);
		load_and_use(size - 1);
		return 0;
	}
	memcpy(work, good, good_len);
	for (size_t i = 1; i + 4 <= size; i += 4) {
		size_t place = (data[i] | data[i + 1] << 8 | data[i + 2] << 16) % good_len;

		if (in_body(place))
			work[place] = data[i + 3];
	}
	fix_checksums();
	load_and_use(good_len);
	return 0;
}
