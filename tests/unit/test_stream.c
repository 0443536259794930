/* SPDX-License-Identifier: ISC */
/* test_stream.c: saved states: fields of all kinds, a whole machine that is loaded and saved again to
 * the same bytes, and files that are cut, damaged or lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "tests/lib/state_rig.h"
#include "x86/cpuid.h"

#define CAP (1u << 20)

struct thing {
	uint8_t small;
	bool flag;
	uint16_t list[3];
	uint64_t when, stamp, offset;
	char text[5];
};
static const struct st_field fields[] = {
	ST_UMAX(struct thing, small, 9),
	ST_B(struct thing, flag),
	ST_A(struct thing, list),
	ST_T(struct thing, when),
	ST_F(struct thing, stamp, ST_STAMP, 0),
	ST_F(struct thing, offset, ST_OFFSET, 0),
	ST_RAW(struct thing, text),
};

static struct srig_file *file_new(void)
{
	static uint8_t buf[3][CAP];
	static struct srig_file files[3];
	static unsigned n;
	struct srig_file *f = &files[n % 3];

	*f = (struct srig_file){.buf = buf[n++ % 3], .cap = CAP};
	return f;
}

static void write_thing(struct srig_file *f, const struct thing *t)
{
	struct state_stream st;

	assert_int_equal(state_open(&st, &srig_io, f, false), 0);
	st.clock = (struct state_clock){.ns = 1000, .tsc = 5000};
	state_begin(&st, "thing", 1);
	st_save(&st, "t", 3, fields, ARRAY_SIZE(fields), t);
	assert_int_equal(state_end(&st), 0);
	assert_int_equal(state_finish(&st), 0);
	state_close(&st);
}

static int read_thing(struct srig_file *f, struct thing *t, char *why)
{
	struct state_stream st;
	int err;

	f->at = 0;
	err = state_open(&st, &srig_io, f, true);
	st.clock = (struct state_clock){.ns = 7000, .tsc = 100};
	if (!err)
		err = state_next(&st);
	if (!err)
		err = state_expect(&st, "thing", 1);
	if (!err)
		err = st_load(&st, "t", 3, fields, ARRAY_SIZE(fields), t);
	if (!err)
		err = state_leave(&st);
	if (!err)
		err = state_next(&st);
	if (!err && strcmp(st.section, "end") != 0)
		err = ERR_FORMAT;
	if (why)
		strcpy(why, st.why);
	state_close(&st);
	return err;
}

static const struct thing sample = {.small = 9,
				    .flag = true,
				    .list = {1, 2, 65535},
				    .when = 1300,
				    .stamp = 4000,
				    .offset = 70,
				    .text = "abcd"};

static void test_fields(void **state)
{
	struct srig_file *f = file_new();
	struct thing t = {0};

	fake_reset();
	write_thing(f, &sample);
	assert_int_equal(read_thing(f, &t, NULL), 0);
	assert_int_equal(t.small, 9);
	assert_true(t.flag);
	assert_int_equal(t.list[2], 65535);
	assert_int_equal(t.when, 7300);                    /* 300 ns from now, as it was */
	assert_int_equal(t.stamp, (uint64_t)(100 - 1000)); /* 1000 ticks ago */
	assert_int_equal(t.offset + 100, 5070);            /* the guest's TSC goes on */
	assert_string_equal(t.text, "abcd");

	struct thing never = sample;
	never.when = PLAT_FOREVER;
	f = file_new();
	write_thing(f, &never);
	assert_int_equal(read_thing(f, &t, NULL), 0);
	assert_true(t.when == PLAT_FOREVER);
}

static void test_cut_and_damaged(void **state)
{
	struct srig_file *f = file_new();
	struct thing t;
	size_t len;

	fake_reset();
	write_thing(f, &sample);
	len = f->len;
	for (size_t i = 0; i < len; i++) {
		f->len = i;
		assert_int_not_equal(read_thing(f, &t, NULL), 0);
	}
	f->len = len;
	for (size_t i = 0; i < len * 8; i++) {
		f->buf[i / 8] ^= (uint8_t)(1u << i % 8);
		assert_int_not_equal(read_thing(f, &t, NULL), 0);
		f->buf[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	assert_int_equal(read_thing(f, &t, NULL), 0);
}

static void test_ranges(void **state)
{
	struct thing bad = sample, t;
	struct srig_file *f = file_new();
	char why[200];

	fake_reset();
	bad.small = 10;
	write_thing(f, &bad);
	assert_int_equal(read_thing(f, &t, why), ERR_FORMAT);
	assert_non_null(strstr(why, "small is out of its range"));
}

/* Bytes that every section of this version begins with: an older file must stay readable. */
static void test_fixture(void **state)
{
	static const uint8_t v1[] = {
		'v', 'i', 'g', 'i', 'a', 's', 't', '\n', 1, 0, 0, 0,
	};
	struct srig_file *f = file_new();

	fake_reset();
	write_thing(f, &sample);
	assert_memory_equal(f->buf, v1, sizeof(v1));
	assert_memory_equal(f->buf + 16, "SECT", 4);
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283); /* RFC 3720's check value */
	uint8_t many[256];
	uint32_t slow = 0;
	for (unsigned i = 0; i < sizeof(many); i++)
		many[i] = (uint8_t)(i * 7);
	for (unsigned i = 0; i < sizeof(many); i++)
		slow = crc32c(slow, many + i, 1);
	assert_int_equal(crc32c(0, many, sizeof(many)), slow);
}

/* ---- a machine ------------------------------------------------------------------------------- */

static void save_vm(struct vm *vm, struct srig_file *f)
{
	struct state_stream st;

	assert_int_equal(state_open(&st, &srig_io, f, false), 0);
	srig_clock(&st);
	if (vm_state_save(vm, &st))
		fail_msg("%s", st.why);
	assert_int_equal(state_finish(&st), 0);
	state_close(&st);
}

static int load_vm(struct vm *vm, struct srig_file *f, char *why)
{
	struct state_stream st;
	int err;

	f->at = 0;
	err = state_open(&st, &srig_io, f, true);
	srig_clock(&st);
	if (!err)
		err = vm_state_load(vm, &st);
	strcpy(why, st.why);
	state_close(&st);
	return err;
}

static void out(struct vm *vm, unsigned port, unsigned v)
{
	bus_write(&vm->pio, 0, port, 1, v);
}

/* A guest that has come some way */
static void use(struct vm *vm)
{
	static const uint8_t pic[][2] = {
		{0x20, 0x11}, {0x21, 0x20}, {0x21, 4}, {0x21, 1}, {0x21, 0xfe}};
	struct x86_state *s = vm->vcpu[0]->state;

	for (unsigned i = 0; i < ARRAY_SIZE(pic); i++)
		out(vm, pic[i][0], pic[i][1]);
	out(vm, 0x43, 0x34);
	out(vm, 0x40, 0x9c);
	out(vm, 0x40, 0x2e);
	out(vm, 0x70, 0x0b);
	out(vm, 0x71, 0x42);
	out(vm, 0x3fb, 3);
	out(vm, 0x3f9, 2);
	out(vm, 0x61, 3);
	bus_write(&vm->mmio, 0, 0xfee000f0, 4, 0x1ff);
	bus_write(&vm->mmio, 0, 0xfee00320, 4, 0x20040);
	bus_write(&vm->mmio, 0, 0xfee00380, 4, 1000000);
	bus_write(&vm->pio, 0, 0xcf8, 4, 0x80000804);
	bus_write(&vm->pio, 0, 0xcfc, 2, 6);
	bus_write(&vm->pio, 0, 0x70, 1, 0x0a); /* RTC without a rate */
	bus_write(&vm->pio, 0, 0x71, 1, 0x20);
	(void)vm->vcpu[0]->msr_write(vm->vcpu[0], 0x4b564d01, 0x1001);
	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = i * UINT64_C(0x123456789abcdef);
	s->tsc_offset = 12345;
	s->activity = ACT_HLT;
	fake_advance(30000000);
}

static void test_machine(void **state)
{
	struct srig_file *one = file_new(), *two = file_new();
	struct vm *a, *b;
	char why[200];

	fake_reset();
	a = srig_build();
	b = srig_build();
	use(a);
	save_vm(a, one);
	if (load_vm(b, one, why))
		fail_msg("%s", why);
	save_vm(b, two);
	assert_int_equal(one->len, two->len);
	assert_memory_equal(one->buf, two->buf, one->len);
	assert_int_equal(b->vcpu[0]->state->gpr[15], a->vcpu[0]->state->gpr[15]);
	/* and the timers run on: the PIT ticks */
	assert_true(fake_next_timer() != PLAT_FOREVER);
	vm_destroy(a);
	vm_destroy(b);
}

/* What a guest may do that the saved one had not done: scribble over all ports and chips. */
static void use_otherwise(struct vm *vm)
{
	uint32_t v = 12345;

	for (unsigned port = 0; port < 0x700; port++)
		for (unsigned i = 0; i < 3; i++, v = v * 1664525 + 1013904223)
			if (port != 0xcf9 && (port & ~1u) != 0x64) /* resets */
				bus_write(&vm->pio, 0, port, 1, v >> 24);
	for (unsigned off = 0; off < 0x400; off += 16, v = v * 1664525 + 1013904223)
		bus_write(&vm->mmio, 0, 0xfee00000 + off, 4, off == 0x300 ? 0 : v);
	for (unsigned i = 0; i < 16; i++)
		vm->vcpu[0]->state->gpr[i] = ~(uint64_t)i;
	fake_advance(50000000);
}

/* Into a VM that has run, once it is cleared: the same as into a new one. */
static void test_over_another(void **state)
{
	struct srig_file *one = file_new(), *two = file_new();
	struct vm *a, *b;
	char why[200];

	fake_reset();
	a = srig_build();
	b = srig_build();
	use_otherwise(b);
	use(a);
	save_vm(a, one);
	vm_state_clear(b);
	if (load_vm(b, one, why))
		fail_msg("%s", why);
	save_vm(b, two);
	assert_int_equal(one->len, two->len);
	for (size_t i = 0; i < one->len; i++)
		if (one->buf[i] != two->buf[i])
			fail_msg("byte %zu of %zu differs", i, one->len);
	vm_destroy(a);
	vm_destroy(b);
}

/* A machine of another shape refuses. */
static void test_other_shape(void **state)
{
	struct srig_file *one = file_new();
	struct vm *a, *b;
	char why[200];

	fake_reset();
	a = srig_build();
	b = srig_build();
	save_vm(a, one);
	b->n_vcpus = 1;
	assert_int_equal(load_vm(b, one, why), ERR_INVAL);
	assert_non_null(strstr(why, "2 CPUs"));
	b->n_vcpus = 2;
	vm_destroy(a);
	vm_destroy(b);
}

/* State that the host's XRSTOR would fault on */
static void test_impossible_cpu(void **state)
{
	struct srig_file *one = file_new();
	struct vm *a, *b;
	char why[200];

	fake_reset();
	a = srig_build();
	b = srig_build();
	a->vcpu[1]->state->xsave.bytes[27] = 0x80; /* MXCSR bit 31 */
	save_vm(a, one);
	assert_int_equal(load_vm(b, one, why), ERR_FORMAT);
	assert_non_null(strstr(why, "CPU 1 is impossible"));
	vm_destroy(a);
	vm_destroy(b);
}

/* Vector registers go through Intel's layout, whatever the host's is; AVX-512 where there is some. */
static void test_vectors(void **state)
{
	/* SDM vol. 1, 13.4 */
	static const struct {
		uint16_t bit, at, size;
	} parts[] = {{XCR0_AVX, 576, 256},
		     {XCR0_OPMASK, 1088, 64},
		     {XCR0_ZMM_HI, 1152, 512},
		     {XCR0_HI_ZMM, 1664, 1024}};
	struct srig_file *one = file_new();
	struct x86_xsave here, saved;
	struct vm *a, *b;
	struct x86_state *s;
	char why[200];

	fake_reset();
	a = srig_build();
	b = srig_build();
	s = a->vcpu[0]->state;
	a->model = b->model = x86_model_find("host-avx512");
	s->xcr0 = x86_model_xcr0(a->model);
	for (unsigned n = 0; n < ARRAY_SIZE(parts); n++) {
		if (!(s->xcr0 & parts[n].bit))
			continue;
		s->xsave.bytes[512] |= (uint8_t)parts[n].bit;
		for (unsigned i = 0; i < parts[n].size; i++)
			s->xsave.bytes[parts[n].at + i] = (uint8_t)(i * 7 + n);
	}
	saved = s->xsave;
	x86_xsave_move(&s->xsave, true);
	here = s->xsave;
	save_vm(a, one);
	assert_memory_equal(&s->xsave, &here, sizeof(here)); /* a goes on */
	assert_non_null(memmem(one->buf, one->len, &saved, sizeof(saved)));
	if (load_vm(b, one, why))
		fail_msg("%s", why);
	assert_memory_equal(&b->vcpu[0]->state->xsave, &here, sizeof(here));
	vm_destroy(a);
	vm_destroy(b);
}

/* A guest that uses what is not here, and one that has switched off what it used */
static void test_components(void **state)
{
	struct srig_file *one = file_new(), *two = file_new();
	struct x86_state *s;
	struct vm *a, *b;
	char why[200];

	fake_reset();
	a = srig_build();
	b = srig_build();
	s = a->vcpu[0]->state;
	s->xcr0 = x86_model_xcr0(NULL) & 7;
	s->xsave.bytes[512] = (uint8_t)s->xcr0;
	s->xcr0 &= 3;
	save_vm(a, one);
	if (load_vm(b, one, why))
		fail_msg("%s", why);
	s->xcr0 = 3 | BIT64(17); /* AMX: in no model */
	save_vm(a, two);
	assert_int_equal(load_vm(b, two, why), ERR_NOSYS);
	assert_non_null(strstr(why, "XCR0 is 20003"));
	vm_destroy(a);
	vm_destroy(b);
}

/* Makes the machine's section one of version 3, which had no width of addresses. */
static void without_width(struct srig_file *f)
{
	const uint32_t version = 3, gone = 3 + 5 + 4 + 3 + 6 + 4 + 1; /* record, then integer */
	uint8_t *head = memmem(f->buf, f->len, "machine", 7);
	uint8_t *at = memmem(f->buf, f->len, "\7\0\5width", 8);
	uint32_t len, crc;

	assert_non_null(head);
	assert_non_null(at);
	head -= 16;
	memmove(at, at + gone, f->len - (size_t)(at - f->buf) - gone);
	f->len -= gone;
	memcpy(&len, head + 8, 4);
	len -= gone;
	memcpy(head + 4, &version, 4);
	memcpy(head + 8, &len, 4);
	crc = crc32c(0, head + 16, 48);
	crc = crc32c(crc, head + 4, 8);
	crc = crc32c(crc, head + 64, len);
	memcpy(head + 12, &crc, 4);
}

/* A machine keeps the width of physical addresses that it was saved with. */
static void test_width(void **state)
{
	static const struct {
		uint8_t was, is;
		bool old;
	} rows[] = {{X86_MAXPHY, X86_MAXPHY, false}, {46, 46, false}, {52, 52, false},
		    {X86_MAXPHY, 46, true},          {53, 0, false},  {X86_MAXPHY - 1, 0, false}};
	struct srig_file *f = file_new();
	char why[200];

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vm *a, *b;
		int err;

		fake_reset();
		a = srig_build();
		b = srig_build();
		assert_int_equal(b->vcpu[1]->state->maxphy, X86_MAXPHY);
		a->maxphy = rows[i].was;
		f->len = 0;
		save_vm(a, f);
		if (rows[i].old)
			without_width(f);
		err = load_vm(b, f, why);
		assert_int_equal(err, rows[i].is ? 0 : ERR_FORMAT);
		for (unsigned n = 0; n < 2 && rows[i].is; n++)
			assert_int_equal(b->vcpu[n]->state->maxphy, rows[i].is);
		vm_destroy(a);
		vm_destroy(b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),      cmocka_unit_test(test_cut_and_damaged),
		cmocka_unit_test(test_ranges),      cmocka_unit_test(test_fixture),
		cmocka_unit_test(test_machine),     cmocka_unit_test(test_over_another),
		cmocka_unit_test(test_other_shape), cmocka_unit_test(test_impossible_cpu),
		cmocka_unit_test(test_vectors),     cmocka_unit_test(test_components),
		cmocka_unit_test(test_width),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
