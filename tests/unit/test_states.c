/* SPDX-License-Identifier: ISC */
/* test_states.c: states of a PC with all its chips, as programs of each version of sections wrote them
 * (tests/unit/states/vN.zst, whole files by state_rig.h of that day's after prepare() below), are read today. Devices
 * that the machine of that day had not yet, or in another slot, keep what today's file says of them.
 *
 *	test_states FOLDER            the test
 *	test_states --write FILE      a fixture of today's version, for when a section's version is raised: before that */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <zstd.h>

#include "tests/lib/state_rig.h"
#include "vm/processor.h"

#define CAP   (1u << 20)
#define FIRST 16 /* the file's header */
#define HEAD  64 /* a section's */
#define LAST  10 /* version that there is a fixture of */

static const char *folder;
static uint8_t bytes[4][CAP];

static void out(struct vm *vm, unsigned port, unsigned size, uint32_t v)
{
	bus_write(&vm->pio, 0, port, size, v);
}

static uint32_t in(struct vm *vm, unsigned port, unsigned size)
{
	return (uint32_t)bus_read(&vm->pio, 0, port, size);
}

static void select_cfg(struct vm *vm, unsigned devfn, unsigned reg)
{
	out(vm, 0xcf8, 4, 0x80000000u | devfn << 8 | (reg & 0xfc));
}

/* What a guest did before it was saved. Ports: size, value; the last ones are read back. */
static const struct {
	uint16_t port, size, value;
} done[] = {{0x20, 1, 0x11},   {0x21, 1, 0x20},  {0x21, 1, 4},    {0x21, 1, 1},    {0x43, 1, 0x34},
	    {0x40, 1, 0x9c},   {0x40, 1, 0x2e},  {0x70, 1, 0x0b}, {0x71, 1, 0x42}, {0x70, 1, 0x0a},
	    {0x3fb, 1, 3},     {0x604, 2, 1},    {0x71, 1, 0x26}, {0x21, 1, 0xfe}, {0x3f9, 1, 2},
	    {0x602, 2, 0x521}, {0x378, 1, 0x55}, {0x1f2, 1, 7},   {0x1f3, 1, 9}};
#define READ_BACK 7
static const struct {
	uint8_t devfn, reg, value;
} cfg[] = {{0, 0x59, 0x30}, {0, 0x5a, 0x13}, {8, 0x60, 0x0b}};
static const struct {
	uint32_t index;
	uint64_t value;
} msr[] = {{0x40000000, 0x8100000000001}, {0x40000021, 0x3001}};

static void prepare(struct vm *vm)
{
	struct x86_state *s = vm->vcpu[0]->state;

	for (unsigned i = 0; i < ARRAY_SIZE(done); i++)
		out(vm, done[i].port, done[i].size, done[i].value);
	for (unsigned i = 0; i < ARRAY_SIZE(cfg); i++) {
		select_cfg(vm, cfg[i].devfn, cfg[i].reg);
		out(vm, 0xcfc + (cfg[i].reg & 3), 1, cfg[i].value);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(msr); i++)
		(void)vm->vcpu[0]->msr_write(vm->vcpu[0], msr[i].index, msr[i].value);
	bus_write(&vm->mmio, 0, 0xfee000f0, 4, 0x1ff);
	bus_write(&vm->mmio, 0, 0xfee00320, 4, 0x20040);
	bus_write(&vm->mmio, 0, 0xfee00380, 4, 1000000);
	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = i * UINT64_C(0x123456789abcdef);
	s->activity = ACT_HLT;
	fake_advance(30000000);
}

static void save(struct vm *vm, struct srig_file *f)
{
	struct state_stream st;

	f->len = 0;
	assert_int_equal(state_open(&st, &srig_io, f, false), 0);
	srig_clock(&st);
	if (vm_state_save(vm, &st))
		fail_msg("%s", st.why);
	assert_int_equal(state_finish(&st), 0);
	state_close(&st);
}

/* As a restore: the VM is made with the state's kind of processors, if it has one. */
static void load(struct vm *vm, struct srig_file *f)
{
	struct state_stream st;
	struct x86_kind kind;
	uint64_t tsc_hz;

	f->at = 0;
	assert_int_equal(state_open(&st, &srig_io, f, true), 0);
	assert_int_equal(state_next(&st), 0);
	if (st.version >= PROCESSOR_SINCE) {
		if (vm_state_kind(&st, &kind, &tsc_hz))
			fail_msg("%s", st.why);
		vm->kind = kind;
	}
	state_close(&st);
	f->at = 0;
	assert_int_equal(state_open(&st, &srig_io, f, true), 0);
	srig_clock(&st);
	if (vm_state_load(vm, &st))
		fail_msg("%s", st.why);
	state_close(&st);
}

static void read_fixture(struct srig_file *f, unsigned version)
{
	static uint8_t packed[CAP];
	char path[512];
	size_t len, n;
	FILE *file;

	snprintf(path, sizeof(path), "%s/v%u.zst", folder, version);
	file = fopen(path, "rb");
	if (!file)
		fail_msg("%s is missing", path);
	n = fread(packed, 1, sizeof(packed), file);
	fclose(file);
	len = ZSTD_decompress(f->buf, f->cap, packed, n);
	assert_false(ZSTD_isError(len));
	f->len = len;
}

static uint32_t body_len(const uint8_t *section)
{
	uint32_t len;

	memcpy(&len, section + 8, 4);
	return len;
}

/* The section of that name; NULL. */
static const uint8_t *section(const struct srig_file *f, const char *name)
{
	for (size_t at = FIRST; at + HEAD <= f->len; at += HEAD + body_len(f->buf + at))
		if (!strncmp((const char *)f->buf + at + 16, name, HEAD - 16))
			return f->buf + at;
	return NULL;
}

/* Device and function whose configuration space a section has: its record's index; UINT32_MAX: none. */
static uint32_t slot(const uint8_t *section)
{
	static const uint8_t record[] = "\7\0\5space";
	const uint8_t *at = memmem(section + HEAD, body_len(section), record, sizeof(record) - 1);
	uint32_t devfn = UINT32_MAX;

	if (at)
		memcpy(&devfn, at + sizeof(record) - 1, 4);
	return devfn;
}

/* Today's order of sections, the old ones where there are such; without: but for that of this name, or NULL. */
static unsigned splice(struct srig_file *to, const struct srig_file *now,
		       const struct srig_file *old, const char *without)
{
	unsigned n = 0;

	memcpy(to->buf, now->buf, FIRST);
	to->len = FIRST;
	for (size_t at = FIRST; at + HEAD <= now->len; at += HEAD + body_len(now->buf + at)) {
		const char *name = (const char *)now->buf + at + 16;
		const uint8_t *s = without && !strcmp(name, without) ? NULL : section(old, name);

		if (s && slot(s) != slot(now->buf + at))
			s = NULL;
		n += s != NULL;
		s = s ? s : now->buf + at;
		memcpy(to->buf + to->len, s, HEAD + body_len(s));
		to->len += HEAD + body_len(s);
	}
	return n;
}

/* Was it made where processors have more than here? Then it is refused, and says so. */
static bool is_beyond_host(struct srig_file *f)
{
	struct state_stream st;
	struct x86_kind kind;
	uint64_t tsc_hz;
	bool beyond = false;

	f->at = 0;
	assert_int_equal(state_open(&st, &srig_io, f, true), 0);
	assert_int_equal(state_next(&st), 0);
	if (st.version >= PROCESSOR_SINCE && vm_state_kind(&st, &kind, &tsc_hz)) {
		beyond = strstr(st.why, "which this host has not");
		assert_true(beyond);
	}
	state_close(&st);
	return beyond;
}

static void check(struct vm *vm, const struct srig_file *old, bool processors)
{
	uint64_t v;

	for (unsigned i = ARRAY_SIZE(done) - READ_BACK; i < ARRAY_SIZE(done); i++)
		if (done[i].port != 0x378 || section(old, "parport.0"))
			assert_int_equal(in(vm, done[i].port, done[i].size), done[i].value);
	for (unsigned i = 0; i < ARRAY_SIZE(cfg); i++) {
		select_cfg(vm, cfg[i].devfn, cfg[i].reg);
		assert_int_equal(in(vm, 0xcfc + (cfg[i].reg & 3), 1), cfg[i].value);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(msr) && section(old, "hyperv.0"); i++) {
		assert_int_equal(vm->vcpu[0]->msr_read(vm->vcpu[0], msr[i].index, &v), 0);
		assert_int_equal(v, msr[i].value);
	}
	if (processors) {
		assert_int_equal(vm->vcpu[0]->state->gpr[15], 15 * UINT64_C(0x123456789abcdef));
		assert_int_equal(vm->vcpu[0]->state->activity, ACT_HLT);
	}
	assert_int_equal(vm->paused, 0);
	assert_true(fake_next_timer() != PLAT_FOREVER); /* the PIT ticks on */
}

static void test_versions(void **state)
{
	for (unsigned version = 1; version <= LAST; version++) {
		struct srig_file old = {.buf = bytes[0], .cap = CAP},
				 now = {.buf = bytes[1], .cap = CAP},
				 both = {.buf = bytes[2], .cap = CAP},
				 again = {.buf = bytes[3], .cap = CAP};
		struct vm *a, *b, *c;
		const uint8_t *s;
		uint32_t v;
		bool beyond;

		fake_reset();
		a = srig_build();
		b = srig_build();
		c = srig_build();
		read_fixture(&old, version);
		save(a, &now);
		assert_in_range(splice(&both, &now, &old, NULL), 16, 100);
		beyond = is_beyond_host(&both);
		if (beyond) /* its devices are read all the same */
			splice(&both, &now, &old, "machine");
		s = section(&both, "i440fx.0");
		assert_non_null(s);
		memcpy(&v, s + 4, 4);
		assert_int_equal(v, version);
		load(b, &both);
		check(b, &old, !beyond);
		save(b, &again);
		load(c, &again);
		check(c, &old, !beyond);
		vm_destroy(a);
		vm_destroy(b);
		vm_destroy(c);
	}
}

static int write_fixture(const char *path)
{
	static uint8_t packed[CAP];
	struct srig_file f = {.buf = bytes[0], .cap = CAP};
	FILE *file = fopen(path, "wb");
	struct vm *vm;
	size_t len;

	fake_reset();
	vm = srig_build();
	prepare(vm);
	save(vm, &f);
	vm_destroy(vm);
	len = ZSTD_compress(packed, sizeof(packed), f.buf, f.len, 19);
	if (!file || ZSTD_isError(len) || fwrite(packed, 1, len, file) != len || fclose(file)) {
		fprintf(stderr, "test_states: cannot write %s\n", path);
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_versions)};

	if (argc == 3 && !strcmp(argv[1], "--write"))
		return write_fixture(argv[2]);
	if (argc != 2) {
		fprintf(stderr, "test_states FOLDER | --write FILE\n");
		return 1;
	}
	folder = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
