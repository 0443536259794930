/* SPDX-License-Identifier: ISC */
/* test_recent.c: the history in memory: order, counting, what pushes out what; and rules as an image. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "monitor/policy_image.h"
#include "monitor/recent.h"
#include "monitor/rules.h"
#include "plat/fake/fake.h"

static struct recent recent;

static bool put(enum mon_class cls, uint64_t addr, const char *text)
{
	fake_advance(1000);
	return recent_put(&recent, &(struct mon_event){.cls = (uint8_t)cls,
						       .op = 1,
						       .addr = addr,
						       .verdict = text ? MON_PROVIDE : MON_DENY,
						       .rule = text ? 0 : 7,
						       .data = text,
						       .len = text ? (uint32_t)strlen(text) : 0});
}

static unsigned lines(char out[][RECENT_LINE], unsigned max)
{
	struct recent_at at = {0};
	struct recent_record rec;
	unsigned n = 0;

	while (recent_peek(&recent, &at, &rec, true) && n < max)
		recent_format(&rec, out[n++]);
	return n;
}

static void test_order(void **state)
{
	static char line[8][RECENT_LINE];

	recent_init(&recent);
	assert_true(put(MON_LIFECYCLE, 0, "started"));
	assert_true(put(MON_PORT, 0x60, NULL));
	assert_true(put(MON_OPERATOR, 0, "pause"));
	assert_false(put(MON_PORT, 0x60, NULL)); /* once more: the same record, now the last */
	assert_true(put(MON_CONSOLE, 0, "a\033[2Jb"));
	assert_int_equal(lines(line, 8), 4);
	assert_string_equal(line[0], "lifecycle started");
	assert_string_equal(line[1], "operator  pause");
	assert_string_equal(line[2], "port      write 0x60 value 0x0: denied by line 7, 2 times");
	assert_string_equal(line[3], "console   a?[2Jb");
}

/* Who looks on now and then is told what came and went in between. */
static void test_lost(void **state)
{
	struct recent_at at = {0};
	struct recent_record rec;

	recent_init(&recent);
	put(MON_PORT, 0, NULL);
	assert_true(recent_peek(&recent, &at, &rec, true));
	for (unsigned i = 1; i <= RECENT_MAX + 5; i++)
		put(MON_PORT, i, NULL);
	assert_true(recent_peek(&recent, &at, &rec, false));
	assert_true(recent_peek(&recent, &at, &rec, true));
	assert_true(rec.addr == 6 && at.lost == 5);
	while (recent_peek(&recent, &at, &rec, true))
		;
	assert_true(rec.addr == RECENT_MAX + 5 && at.lost == 5);
}

/* A guest that does many things pushes out only what it did itself. */
static void test_flood(void **state)
{
	static char line[2 * RECENT_MAX][RECENT_LINE];
	char text[300];

	recent_init(&recent);
	put(MON_LIFECYCLE, 0, "started");
	for (unsigned i = 0; i < 10000; i++)
		put(MON_PORT, i, NULL);
	memset(text, 'x', sizeof(text));
	text[299] = 0;
	put(MON_CONSOLE, 0, text);
	assert_int_equal(lines(line, 2 * RECENT_MAX), RECENT_MAX + 1);
	assert_string_equal(line[0], "lifecycle started");
	assert_non_null(strstr(line[1], "0x2691 ")); /* 10000 - 127 + ... */
	assert_int_equal(strlen(line[RECENT_MAX]), 10 + RECENT_TEXT);
}

/* ---- rules as an image ---------------------------------------------------------------------------- */

static struct policy *compile(const char *text)
{
	struct policy_source src = {.name = "rules", .text = text, .len = strlen(text)};
	struct policy_error e;
	struct policy *p;

	assert_int_equal(policy_compile(&src, &p, &e), 0);
	return p;
}

static enum mon_verdict decide(struct policy *p, enum mon_class cls, uint8_t op, uint64_t addr)
{
	struct mon_event ev = {.cls = (uint8_t)cls,
			       .op = op,
			       .addr = addr,
			       .value = cls == MON_DISK ? 512 : 0,
			       .size = 1};

	return policy_decide(p, &ev);
}

static const char rules[] = "deny port write 0x70-0x71\n"
			    "redirect cpuid 0x40000000 ebx -> 0x1234\n"
			    "provide cpu any limit 25%\n"
			    "provide cpu any weight 50%\n"
			    "deny operator kill\n"
			    "deny device disk1\n"
			    "redirect disk write sectors 8-15 -> scratch\n"
			    "deny disk write sectors 0-7\n"
			    "provide memory any limit 64MB\n"
			    "redirect disk read sectors 100-107 -> image other.img\n"
			    "redirect net out udp port 53 -> 10.0.0.1:5353\n";

static void test_image(void **state)
{
	struct policy *p = compile(rules), *q;
	size_t size = policy_image_size(p);
	uint8_t *image = malloc(size);
	struct mon_event cut;
	uint32_t line;

	assert_int_equal(policy_image_refuses(p), 0);
	policy_image_write(p, image);
	assert_int_equal(policy_image_load(image, size, &q), 0);
	assert_int_equal(policy_mask(q), policy_mask(p));
	assert_int_equal(policy_count(q), policy_count(p));
	assert_int_equal(decide(q, MON_PORT, 1, 0x71), MON_DENY);
	assert_int_equal(decide(q, MON_PORT, 0, 0x71), MON_PROVIDE);
	assert_int_equal(decide(q, MON_CPUID, 1, 0x40000000), MON_REDIRECT);
	assert_int_equal(decide(q, MON_OPERATOR, REQUEST_kill, 0), MON_DENY);
	assert_int_equal(policy_cpu_percent(q), policy_cpu_percent(p));
	assert_int_equal(policy_memory(q), policy_memory(p));
	assert_int_equal(decide(q, MON_DISK, 1, 512), MON_DENY);
	cut = (struct mon_event){.cls = MON_DISK, .op = 1, .addr = 8 * 512, .value = 64 * 512};
	assert_int_equal(policy_decide(q, &cut), MON_REDIRECT);
	assert_int_equal(cut.value, 8 * 512);
	assert_int_equal(cut.target->kind, TARGET_SCRATCH);
	cut = (struct mon_event){.cls = MON_DISK, .op = 0, .addr = 100 * 512, .value = 512};
	assert_int_equal(policy_decide(q, &cut), MON_REDIRECT);
	assert_true(cut.target->kind == TARGET_IMAGE && !cut.target->slot);
	assert_true(policy_redirects(q, MON_NET) && !policy_redirects(q, MON_MSR));
	assert_false(policy_device(q, "disk1", &line));
	assert_int_equal(line, 6);
	policy_free(q);
	/* cut, or with any one byte of the header or of a bool or selector wrong */
	for (size_t n = 0; n < size; n++)
		assert_int_equal(policy_image_load(image, n, &q), ERR_FORMAT);
	for (unsigned i = 0; i < 20; i++) {
		image[i] ^= 0x80;
		assert_int_equal(policy_image_load(image, size, &q), ERR_FORMAT);
		image[i] ^= 0x80;
	}
	image[24 + offsetof(struct rule, cls)] = MON_CLASSES;
	assert_int_equal(policy_image_load(image, size, &q), ERR_FORMAT);
	image[24 + offsetof(struct rule, cls)] = MON_DISK;
	image[24 + offsetof(struct rule, verb)] = MON_REDIRECT; /* to a value */
	assert_int_equal(policy_image_load(image, size, &q), ERR_FORMAT);
	image[24 + offsetof(struct rule, verb)] = MON_DENY;
	image[24 + offsetof(struct rule, cls)] = MON_PORT;
	image[24 + offsetof(struct rule, limited)] = 2;
	assert_int_equal(policy_image_load(image, size, &q), ERR_FORMAT);
	image[24 + offsetof(struct rule, limited)] = 0;
	for (unsigned i = 1; i <= 3; i++) {
		fake_fail_alloc(i);
		assert_int_equal(policy_image_load(image, size, &q), ERR_NOMEM);
	}
	free(image);
	policy_free(p);
}

static void test_refused(void **state)
{
	static const char *const bad[] = {
		"deny port 1\nredirect net out tcp port 80 -> answer file\n",
		"deny port 1\nredirect net out tcp port 80 -> program file\n",
		"deny port 1\nredirect net out tcp port 80 -> fec0::1\n",
		"deny port 1\nredirect net out udp name a.b -> 10.0.0.1\n",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct policy *p = compile(bad[i]), *q;
		size_t size = policy_image_size(p);
		uint8_t *image = malloc(size);

		assert_int_equal(policy_image_refuses(p), 2);
		policy_image_write(p, image);
		assert_int_equal(policy_image_load(image, size, &q), ERR_FORMAT);
		free(image);
		policy_free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),   cmocka_unit_test(test_lost),
		cmocka_unit_test(test_flood),   cmocka_unit_test(test_image),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
