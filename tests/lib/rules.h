/* SPDX-License-Identifier: ISC */
/* rules.h: random rules, all together and each by itself, for tests that compare what they decide. RULES says how many. */
#ifndef TESTS_LIB_RULES_H
#define TESTS_LIB_RULES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/policy.h"

static unsigned rnd(unsigned n)
{
	return (unsigned)rand() % n;
}

/* So that a failure can be had again: VIGIA_SEED */
static void rules_seed(void)
{
	const char *s = getenv("VIGIA_SEED");
	unsigned seed = (unsigned)(s ? atoi(s) : 20261130);

	printf("seed %u\n", seed);
	srand(seed);
}

static struct policy *make(const char *text, size_t len)
{
	const struct policy_source src = {.name = "rules", .text = text, .len = len};
	struct policy_error e;
	struct policy *p = NULL;

	if (policy_compile(&src, &p, &e))
		fail_msg("%u:%u: %s: %s", e.line, e.column, e.text, text);
	return p;
}

static struct policy *all, *one[RULES];
static char text[RULES][160];

/* random_rule: writes a line, and gives its length */
static void make_all(size_t (*random_rule)(char *s, size_t size))
{
	static char whole[RULES * 160];
	size_t at = 0;

	for (unsigned i = 0; i < RULES; i++) {
		size_t n = random_rule(text[i], sizeof(text[i]));

		one[i] = make(text[i], n);
		memcpy(whole + at, text[i], n);
		at += n;
	}
	all = make(whole, at);
}

static void free_all(void)
{
	policy_free(all);
	for (unsigned i = 0; i < RULES; i++)
		policy_free(one[i]);
}

#endif
