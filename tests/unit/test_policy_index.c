/* SPDX-License-Identifier: ISC */
/* test_policy_index.c: random net rules decide random flows as each of them by itself, asked one after the other, would;
 * and sixty thousand of them cost little more than one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* order matters */
#include <cmocka.h>

#include "monitor/policy.h"
#include "plat/plat.h"

#define RULES 200
#define FLOWS 2000

#include "tests/lib/rules.h"

/* Few of each, so that they meet. */
static const char *const names[] = {
	"a.example",  "b.example",     "x.a.example", "y.x.a.example", "example", "aexample",
	".a.example", "a.example.org", "other.thing", "a..b.example",  "x"};

static const char *name(void)
{
	return names[rnd(ARRAY_SIZE(names))];
}

static struct frame_addr address(void)
{
	struct frame_addr a = {{0}};

	if (rnd(3)) {
		a.b[10] = a.b[11] = 0xff;
		a.b[12] = (uint8_t)(10 + rnd(2));
	} else {
		a.b[0] = 0x20;
		a.b[7] = (uint8_t)rnd(2);
	}
	a.b[14] = (uint8_t)rnd(3);
	a.b[15] = (uint8_t)rnd(8);
	return a;
}

/* Another verdict and line for each would make no difference: which one decides is what the line says. */
static size_t random_rule(char *s, size_t size)
{
	static const char *const protos[] = {"", " tcp", " udp", " icmp", " arp"};
	static const char *const dirs[] = {"", "", " in", " out"};
	struct frame_addr a = address();
	bool v6 = !a.b[10];
	char net[FRAME_ADDR_TEXT + 8] = "", port[24] = "", host[64] = "", card[16] = "";
	size_t n;

	if (rnd(4)) {
		frame_addr_format(&a, net + 1);
		net[0] = ' ';
		n = strlen(net);
		if (rnd(3))
			snprintf(net + n, sizeof(net) - n, "/%u", v6 ? rnd(129) : rnd(33));
	}
	if (rnd(2))
		snprintf(port, sizeof(port), rnd(3) ? " port %u" : " port %u-90", 77 + rnd(8));
	if (!rnd(5))
		snprintf(host, sizeof(host), " name %s%s", rnd(3) ? "" : "*.", name());
	else if (!rnd(50))
		snprintf(host, sizeof(host), " name *");
	if (!rnd(3))
		snprintf(card, sizeof(card), " net%u", rnd(3));
	return (size_t)snprintf(s, size, "%s net%s%s%s%s%s%s any\n", rnd(2) ? "provide" : "deny",
				card, dirs[rnd(4)], protos[rnd(5)], net, port, host);
}

/* A DNS answer to the guest: the name has that address. */
static size_t answer(uint8_t *f, const char *of, const struct frame_addr *a)
{
	uint8_t *dns = f + 42, *q = dns + 12;
	bool v6 = !a->b[10];
	unsigned size = v6 ? 16 : 4;

	memset(f, 0, 300);
	memset(f, 2, 12);
	f[12] = 8;
	f[14] = 0x45;
	f[23] = 17;
	f[26] = f[30] = 10;
	f[29] = 99;
	f[35] = 53;
	dns[2] = 0x80;
	dns[5] = dns[7] = 1;
	while (*of) {
		size_t n = strcspn(of, ".");

		*q = (uint8_t)n;
		memcpy(q + 1, of, n);
		q += 1 + n;
		of += n + (of[n] == '.');
	}
	q[2] = v6 ? 28 : 1;
	q += 5; /* the root, type and class */
	q[-1] = 1;
	*q++ = 0xc0;
	*q++ = 12;
	q[1] = v6 ? 28 : 1;
	q[3] = 1;
	q[9] = (uint8_t)size;
	memcpy(q + 10, a->b + 16 - size, size);
	return (size_t)(q + 10 + size - f);
}

static void learn_some(void)
{
	for (unsigned i = 0; i < 12; i++) {
		struct frame_addr a = address();
		struct frame_info fi;
		uint8_t f[300];
		size_t n = answer(f, name(), &a);
		struct mon_event ev = frame_event(NET_RECEIVE, 0, f, n, n, &fi);

		policy_decide(all, &ev);
		for (unsigned k = 0; k < RULES; k++) {
			ev = frame_event(NET_RECEIVE, 0, f, n, n, &fi);
			policy_decide(one[k], &ev);
		}
	}
}

static void check_flow(unsigned *decided)
{
	static const uint8_t protos[] = {6, 17, 1, 47, 254};
	struct policy_flow f = {.proto = protos[rnd(5)],
				.unit = (uint8_t)rnd(3),
				.outward = rnd(2),
				.port = (uint16_t)(77 + rnd(16)),
				.remote = address(),
				.name = rnd(4) ? NULL : name()};
	uint32_t line = 0, want = 0;
	enum mon_verdict v = policy_decide_flow(all, &f, &line), by = MON_PROVIDE;

	for (unsigned i = 0; i < RULES && !want; i++) {
		by = policy_decide_flow(one[i], &f, &want);
		want = want ? i + 1 : 0;
	}
	if (line != want || v != by)
		fail_msg("line %u decides, not %u: %s", line, want, want ? text[want - 1] : "none");
	*decided += want > 0;
}

static void test_random(void **state)
{
	unsigned decided = 0;

	rules_seed();
	for (unsigned round = 0; round < 20; round++) {
		make_all(random_rule);
		learn_some();
		for (unsigned i = 0; i < FLOWS / 20; i++)
			check_flow(&decided);
		free_all();
	}
	assert_in_range(decided, FLOWS / 4, FLOWS);
}

/* A block list. To walk it would take 30 s and more. */
static void test_many(void **state)
{
	enum { N = 60000 };
	char *s = malloc(N * 64ull), *at = s;
	struct policy *p;
	uint64_t begun;
	uint32_t line;

	assert_non_null(s);
	for (unsigned i = 0; i < N; i++)
		at += i % 2 ? sprintf(at, "deny net 10.%u.%u.0/24 port 80\n", i >> 8, i & 255)
			    : sprintf(at, "deny net name *.ads%u.example\n", i);
	p = make(s, (size_t)(at - s));
	begun = plat_now();
	for (unsigned i = 0; i < 200000; i++) {
		char host[64];
		struct policy_flow f = {
			.proto = 6, .port = 80, .remote = {{[10] = 0xff, [11] = 0xff, [12] = 10}}};
		unsigned k = i % N;

		f.remote.b[13] = (uint8_t)(k >> 8);
		f.remote.b[14] = (uint8_t)k;
		if (k % 2 == 0) {
			snprintf(host, sizeof(host), "www.x.ads%u.example", k);
			f.name = host;
			f.port = 53;
		}
		assert_int_equal(policy_decide_flow(p, &f, &line), MON_DENY);
		assert_int_equal(line, k + 1);
	}
	assert_true(plat_now() - begun < 10 * NS_PER_SEC);
	policy_free(p);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
