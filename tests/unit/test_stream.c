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
	x86_kind_of(x86_model_find("host-avx512"), &a->kind);
	b->kind = a->kind;
	s->xcr0 = x86_kind_xcr0(&a->kind);
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
	s->xcr0 = x86_kind_xcr0(&a->kind) & 7;
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

/* The first record of that name at or behind at: type, 0, length of the name, name */
static uint8_t *record(const struct srig_file *f, uint8_t *at, const char *name)
{
	uint8_t head[STATE_NAME] = {ST_RECORD, 0, (uint8_t)strlen(name)};

	memcpy(head + 3, name, head[2]);
	at = memmem(at, f->len - (size_t)(at - f->buf), head, head[2] + 3u);
	assert_non_null(at);
	return at;
}

/* Takes the record from, and what follows up to the record to (NULL: gone bytes), out of the machine's
 * section, which is of that version then. */
static size_t older(struct srig_file *f, uint32_t version, const char *from, const char *to,
		    size_t gone)
{
	uint8_t *head = memmem(f->buf, f->len, "machine", 7), *at = record(f, f->buf, from);
	uint8_t *end = to ? record(f, at, to) : at + gone;
	uint32_t len, crc;

	assert_non_null(head);
	gone = (size_t)(end - at);
	memmove(at, end, f->len - (size_t)(end - f->buf));
	f->len -= gone;
	head -= 16;
	memcpy(&len, head + 8, 4);
	len -= (uint32_t)gone;
	memcpy(head + 4, &version, 4);
	memcpy(head + 8, &len, 4);
	crc = crc32c(0, head + 16, 48);
	crc = crc32c(crc, head + 4, 8);
	crc = crc32c(crc, head + 64, len);
	memcpy(head + 12, &crc, 4);
	return gone;
}

/* Up to version 9 PAE's registers were memory's, up to version 8 there was no kind, up to version 3 no width of
 * addresses. */
static void make_older(struct srig_file *f, uint32_t version)
{
	older(f, version, "pae", NULL, older(f, version, "pae", "cpu", 0));
	older(f, version, "processor", "cpu", 0);
	if (version < 4)
		older(f, version, "width", "cpu", 0);
	if (version < 2)
		older(f, version, "smm", NULL, older(f, version, "smm", "cpu", 0));
}

/* PAE's registers are what was loaded, whatever memory has by now; an older state has none, and one with reserved
 * bits set is none. */
static void test_pae(void **state)
{
	static const struct {
		uint64_t pdpte;
		bool loaded, old, good;
	} rows[] = {{0x801, true, false, true},
		    {0x801, true, true, true},
		    {0x802, true, false, true},
		    {0x803, true, false, false},
		    {0x803, false, false, true}};
	struct srig_file *f = file_new();
	char why[200];

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct x86_state *s;
		struct vm *a, *b;

		fake_reset();
		f->len = 0;
		a = srig_build();
		b = srig_build();
		s = a->vcpu[1]->state;
		s->pdpte[3] = rows[i].pdpte;
		s->pdptes_loaded = s->ignne = rows[i].loaded;
		save_vm(a, f);
		if (rows[i].old)
			make_older(f, 8);
		assert_int_equal(load_vm(b, f, why), rows[i].good ? 0 : ERR_FORMAT);
		s = b->vcpu[1]->state;
		if (rows[i].good)
			assert_int_equal(s->pdptes_loaded, rows[i].loaded && !rows[i].old);
		if (rows[i].good)
			assert_int_equal(s->ignne, s->pdptes_loaded);
		if (rows[i].good && s->pdptes_loaded)
			assert_int_equal(s->pdpte[3], rows[i].pdpte);
		vm_destroy(a);
		vm_destroy(b);
	}
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
			make_older(f, 3);
		err = load_vm(b, f, why);
		assert_int_equal(err, rows[i].is ? 0 : ERR_FORMAT);
		for (unsigned n = 0; n < 2 && rows[i].is; n++)
			assert_int_equal(b->vcpu[n]->state->maxphy, rows[i].is);
		vm_destroy(a);
		vm_destroy(b);
	}
}

/* ---- kinds ------------------------------------------------------------------------------------ */

static int read_kind(struct srig_file *f, struct x86_kind *kind, char *why)
{
	struct state_stream st;
	uint64_t tsc_hz;
	int err;

	f->at = 0;
	err = state_open(&st, &srig_io, f, true);
	if (!err)
		err = state_next(&st);
	if (!err)
		err = vm_state_kind(&st, kind, &tsc_hz);
	strcpy(why, st.why);
	state_close(&st);
	return err;
}

/* A processor that lacks what its model has here stays one, through a file and a VM that is made for it. */
static void test_kind(void **state)
{
	struct srig_file *one = file_new(), *two = file_new();
	struct x86_kind kind;
	struct vm *a, *b;
	char why[200];

	fake_reset();
	a = srig_build();
	b = srig_build();
	x86_kind_drop(&a->kind, X_FEAT_POPCNT);
	memcpy(a->kind.vendor, "NobodyInside", 12);
	memcpy(a->kind.brand, "none", 5);
	a->kind.cache[1][2] = 77;
	a->kind.signature = 12345;
	save_vm(a, one);
	if (read_kind(one, &kind, why))
		fail_msg("%s", why);
	assert_true(x86_kind_same(&kind, &a->kind));
	assert_false(x86_kind_has(&kind, X_FEAT_POPCNT));
	assert_int_equal(load_vm(b, one, why), ERR_INVAL);
	assert_non_null(strstr(why, "do not have POPCNT"));
	b->kind = kind;
	if (load_vm(b, one, why))
		fail_msg("%s", why);
	save_vm(b, two);
	assert_int_equal(one->len, two->len);
	assert_memory_equal(one->buf, two->buf, one->len);
	x86_kind_drop(&b->kind, X_FEAT_CX16);
	assert_int_equal(load_vm(b, one, why), ERR_INVAL);
	assert_non_null(strstr(why, "have CX16"));
	b->kind = kind;
	b->kind.signature++;
	assert_int_equal(load_vm(b, one, why), ERR_INVAL);
	assert_non_null(strstr(why, "are others"));
	vm_destroy(a);
	vm_destroy(b);
}

static struct vm *vm_of_rate(const struct engine_ops *engine, uint64_t hz)
{
	const struct vm_config cfg = {.name = "rate",
				      .engine = engine,
				      .cpus = 1,
				      .memory = SRIG_RAM,
				      .low_end = SRIG_RAM,
				      .tsc_hz = hz};
	struct vm *vm;

	assert_int_equal(vm_create(&cfg, &vm), 0);
	return vm;
}

static int init_with_rate(struct vm *vm)
{
	vm->tsc_hz = 12345;
	return 0;
}

/* An engine that knows its rate spares a start the milliseconds that finding the host's takes. */
static void test_rate_told(void **state)
{
	struct engine_ops tells = no_engine;
	struct vm *vm;

	fake_reset();
	tells.vm_init = init_with_rate;
	vm = vm_of_rate(&tells, 0);
	assert_int_equal(vm->tsc_hz, 12345);
	assert_int_equal(fake_tsc_asked(), 0);
	vm_destroy(vm);
	vm = vm_of_rate(&no_engine, 0);
	assert_int_equal(fake_tsc_asked(), 1);
	vm_destroy(vm);
}

/* The rate of a state's TSC is the guest's where the engine can scale; what is no rate is not taken, nor a hardly different one. */
static void test_rates(void **state)
{
	static const struct {
		uint64_t hz;
		bool taken;
	} rows[] = {
		{0, false},
		{1, true},
		{2, true},
		{FAKE_TSC_HZ, false},
		{FAKE_TSC_HZ + FAKE_TSC_HZ / 1001, false},
		{FAKE_TSC_HZ - FAKE_TSC_HZ / 1001, false},
		{FAKE_TSC_HZ + FAKE_TSC_HZ / 999, true},
		{FAKE_TSC_HZ / 3, true},
		{FAKE_TSC_HZ * 7 / 5, true},
		{FAKE_TSC_HZ * 256 - 1, true},
		{FAKE_TSC_HZ * 256, false},
		{INT64_MAX, false},
		{UINT64_MAX, false},
	};
	struct engine_ops scales = no_engine;
	struct srig_file *f;
	char why[200];

	fake_reset();
	scales.scales = TSC_FRACTION;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t hz = rows[i].taken ? rows[i].hz : FAKE_TSC_HZ, hour = FAKE_TSC_HZ * 3600;
		struct vm *a = vm_of_rate(&scales, rows[i].hz),
			  *b = vm_of_rate(&scales, rows[i].hz);
		struct vm *other = vm_of_rate(&no_engine, rows[i].hz);

		assert_int_equal(a->tsc_hz, hz);
		assert_int_equal(a->tsc.ratio != 0, rows[i].taken);
		assert_int_equal(other->tsc_hz, FAKE_TSC_HZ);
		assert_int_equal(other->tsc.ratio, 0);
		/* in an hour: less than a tick for each 2^48 of the host's too few */
		assert_in_range(hz * 3600 - vm_tsc(a, hour), 0, (hour >> TSC_FRACTION) + 1);
		/* The guest's TSC goes on from where it was: srig_clock() is both times the same. */
		a->vcpu[0]->state->tsc_offset = 12345;
		f = file_new();
		save_vm(a, f);
		if (load_vm(b, f, why))
			fail_msg("%s", why);
		assert_int_equal(b->vcpu[0]->state->tsc_offset, 12345);
		/* … and is taken over by one at the host's rate */
		if (load_vm(other, f, why))
			fail_msg("%s", why);
		assert_int_equal(other->vcpu[0]->state->tsc_offset + (1u << 30),
				 12345 + vm_tsc(a, 1u << 30));
		vm_destroy(a);
		vm_destroy(b);
		vm_destroy(other);
	}
}

static void set_feature(struct x86_kind *kind, enum x86_feature f)
{
	kind->feat[f >> 6] |= BIT64(f & 63);
}

/* What is not here is named. */
static void test_kind_missing(void **state)
{
	struct srig_file *f = file_new();
	struct x86_kind kind;
	char why[200];
	struct vm *a;

	fake_reset();
	a = srig_build();
	kind = a->kind;
	set_feature(&a->kind, X_FEAT_SVM); /* some hosts have it, no guest */
	save_vm(a, f);
	assert_int_equal(read_kind(f, &kind, why), ERR_NOSYS);
	assert_non_null(strstr(why, "have SVM, which this host has not"));
	x86_kind_of(NULL, &a->kind);
	if (x86_kind_xcr0(&a->kind) & XCR0_AVX) {
		a->kind.xs_at[XS_PART_AVX] += 64;
		f->len = 0;
		save_vm(a, f);
		assert_int_equal(read_kind(f, &kind, why), ERR_NOSYS);
		assert_non_null(strstr(why, "layout"));
	}
	x86_kind_of(NULL, &a->kind);
	x86_kind_drop(&a->kind, X_FEAT_FPU);
	f->len = 0;
	save_vm(a, f);
	assert_int_equal(read_kind(f, &kind, why), ERR_FORMAT);
	vm_destroy(a);
}

/* What "host" meant to older builds: by version, and by what the guest uses. */
static void test_kind_older(void **state)
{
	static const struct {
		uint32_t version;
		uint64_t xcr0;
		bool osxsave, pku, xsaves, avx512;
	} rows[] = {
		{1, 3, true, false, false, false},
		{1, 3 | XCR0_PKRU, true, true, false, false},
		{2, 3, true, true, false, false},
		{3, 3, true, true, true, false},
		{7, 1, false, true, true, false},
		{8, 7, true, true, true, false},
		{8, 1, false, true, true, true}, /* has not looked at XSAVE */
		{8, 7 | XCR0_AVX512, true, true, true, true},
		{9, 3, true, true, true, true},
	};
	static const enum x86_feature avx512[] = {X_FEAT_AVX512F, X_FEAT_AVX512VL,
						  X_FEAT_AVX512VNNI};
	struct x86_kind here, kind;
	char why[200];
	struct vm *a;

	fake_reset();
	a = srig_build();
	a->model = x86_model_find("host");
	x86_kind_of(a->model, &here);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct srig_file *f = file_new();
		struct x86_state *s = a->vcpu[1]->state;

		a->kind = here;
		s->xcr0 = rows[i].xcr0;
		s->cr4 = rows[i].osxsave ? CR4_OSXSAVE : 0;
		save_vm(a, f);
		if (rows[i].version < 9)
			make_older(f, rows[i].version);
		if (read_kind(f, &kind, why))
			fail_msg("row %u: %s", i, why);
		assert_int_equal(x86_kind_has(&kind, X_FEAT_PKU),
				 rows[i].pku && x86_kind_has(&here, X_FEAT_PKU));
		assert_int_equal(x86_kind_has(&kind, X_FEAT_XSAVES),
				 rows[i].xsaves && x86_kind_has(&here, X_FEAT_XSAVES));
		for (unsigned n = 0; n < ARRAY_SIZE(avx512); n++)
			assert_int_equal(x86_kind_has(&kind, avx512[n]),
					 rows[i].avx512 && x86_kind_has(&here, avx512[n]));
		assert_true(x86_kind_has(&kind, X_FEAT_SSE42) == x86_kind_has(&here, X_FEAT_SSE42));
		if (here.signature == X86_AMD_SIGNATURE)
			assert_int_equal(kind.signature, rows[i].version < 9 ? X86_AMD_SIGNATURE_WAS
									     : X86_AMD_SIGNATURE);
	}
	vm_destroy(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),      cmocka_unit_test(test_cut_and_damaged),
		cmocka_unit_test(test_ranges),      cmocka_unit_test(test_fixture),
		cmocka_unit_test(test_machine),     cmocka_unit_test(test_over_another),
		cmocka_unit_test(test_other_shape), cmocka_unit_test(test_impossible_cpu),
		cmocka_unit_test(test_vectors),     cmocka_unit_test(test_components),
		cmocka_unit_test(test_pae),         cmocka_unit_test(test_width),
		cmocka_unit_test(test_kind),        cmocka_unit_test(test_kind_missing),
		cmocka_unit_test(test_kind_older),  cmocka_unit_test(test_rate_told),
		cmocka_unit_test(test_rates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
