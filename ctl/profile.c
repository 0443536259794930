/* SPDX-License-Identifier: ISC */
/* profile.c: where a guest's time goes, for people: shares of what vCPUs were found at, the interpreter's
 * instructions by time and number, misses of the TLB by cause, exits by kind, invalidations. */
#include "ctl/profile.h"

#include "base/def.h"
#include "engine/soft/soft.h"

static json_int_t sum_of(json_t *rows)
{
	json_int_t sum = 0;
	const char *key;
	json_t *v;

	json_object_foreach(rows, key, v)
	{
		sum += json_integer_value(v);
	}
	return sum;
}

/* Samples as shares of whole */
static void print_shares(FILE *f, json_t *rows, json_int_t whole)
{
	const char *key;
	json_t *v;

	json_object_foreach(rows, key, v)
	{
		if (json_integer_value(v))
			fprintf(f, "  %5.1f %%  %s\n",
				100.0 * (double)json_integer_value(v) / (double)whole, key);
	}
}

static void print_counts(FILE *f, json_t *rows)
{
	const char *key;
	json_t *v;

	json_object_foreach(rows, key, v)
	{
		if (json_integer_value(v))
			fprintf(f, "  %12" JSON_INTEGER_FORMAT "  %s\n", json_integer_value(v),
				key);
	}
}

static void print_time(FILE *f, const json_t *stats)
{
	json_t *rows = json_object_get(stats, "profile");
	json_t *exec = json_object_get(stats, "profile_interpreted");
	json_int_t whole = sum_of(rows);

	if (!rows) {
		fprintf(f, "time: not sampled: vigia run --profile does\n");
		return;
	}
	fprintf(f, "time, %" JSON_INTEGER_FORMAT " samples:\n", whole);
	print_shares(f, rows, whole);
	if (!sum_of(exec))
		return;
	fprintf(f, "of it, executed by the interpreter:\n");
	print_shares(f, exec, whole);
}

static void print_exits(FILE *f, const json_t *stats)
{
	json_t *cpu;
	size_t i;

	json_array_foreach(json_object_get(stats, "vcpus"), i, cpu)
	{
		fprintf(f, "exits of CPU %zu:\n", i);
		print_counts(f, json_object_get(cpu, "exits"));
	}
}

void profile_print(FILE *f, const json_t *stats)
{
	static const struct {
		const char *key, *text;
	} counters[] = {
#define S(id, text) {#id, text},
		SOFT_STATS(S)
#undef S
	};
	json_t *soft = json_object_get(stats, "soft");

	print_time(f, stats);
	fprintf(f, "counters:\n");
	for (unsigned i = 0; i < ARRAY_SIZE(counters); i++)
		fprintf(f, "  %12" JSON_INTEGER_FORMAT "  %s\n",
			json_integer_value(json_object_get(soft, counters[i].key)),
			counters[i].text);
	fprintf(f, "executed by the interpreter for translated code, times:\n");
	print_counts(f, json_object_get(stats, "interpreted"));
	print_exits(f, stats);
}
