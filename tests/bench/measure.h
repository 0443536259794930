/* SPDX-License-Identifier: ISC */
/* measure.h: how compute.c and events.c time their rows. Prints "BENCH name class value unit checksum";
 * checksums must agree everywhere. Arguments: names (all if none); -t MS each (default 300); -p MS: pieces of the first
 * row named, of about so long each and all alike, "PIECE" behind each, without end. Hosted. */
#ifndef TESTS_BENCH_MEASURE_H
#define TESTS_BENCH_MEASURE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct row {
	const char *name;
	const char *class;               /* what the goals are about */
	uint64_t (*fn)(uint64_t n);      /* does it n times; the result depends on n only */
	uint64_t fixed;                  /* times for the checksum */
	double (*cost)(uint64_t budget); /* in place of fn: measures by itself, nanoseconds */
	int avx2;                        /* needs it */
};

static inline uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Set by a function whose preparations do not count: what does */
static uint64_t counted;

static inline uint64_t time_of(const struct row *r, uint64_t n)
{
	uint64_t start = now();

	counted = 0;
	r->fn(n);
	return counted ? counted : now() - start;
}

/* As many times as take a tenth of the budget, then the best of five */
static inline double measure_best(const struct row *r, uint64_t budget)
{
	uint64_t n = 1, best = time_of(r, n);

	while (best < budget / 10) {
		n *= 2;
		best = time_of(r, n);
	}
	for (int i = 0; i < 5; i++) {
		uint64_t t = time_of(r, n);

		if (t < best)
			best = t;
	}
	return (double)best / (double)n;
}

static inline void measure(const struct row *r, uint64_t budget)
{
	uint64_t sum = r->fn ? r->fn(r->fixed) : 0;
	double ns = r->fn ? measure_best(r, budget) : r->cost(budget);

	printf("BENCH %s %s %.4f ns %016llx\n", r->name, r->class, ns, (unsigned long long)sum);
	fflush(stdout);
}

/* One that somebody else's work came into does not count. */
static inline int is_shorter(const struct row *r, uint64_t n, uint64_t ns)
{
	for (int i = 0; i < 5; i++)
		if (time_of(r, n) < ns)
			return 1;
	return 0;
}

static inline void pieces(const struct row *r, uint64_t ns)
{
	uint64_t n = 1;

	while (is_shorter(r, n, ns / 2))
		n *= 2;
	for (;;) {
		r->fn(n);
		puts("PIECE");
		fflush(stdout);
	}
}

static inline int measure_main(int argc, char **argv, const struct row *rows, unsigned n)
{
	uint64_t budget = 300000000, piece = 0;
	int named = 0;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "-t") && i + 1 < argc)
			budget = (uint64_t)atoi(argv[++i]) * 1000000u;
		else if (!strcmp(argv[i], "-p") && i + 1 < argc)
			piece = (uint64_t)atoi(argv[++i]) * 1000000u;
		else
			named = 1;
	}
	for (unsigned k = 0; k < n; k++) {
		int wanted = !named;

		for (int i = 1; i < argc; i++)
			wanted |= !strcmp(argv[i], rows[k].name);
		if (wanted && piece && rows[k].fn)
			pieces(&rows[k], piece);
		if (wanted && (!rows[k].avx2 || __builtin_cpu_supports("avx2")))
			measure(&rows[k], budget);
	}
	return 0;
}

#endif
