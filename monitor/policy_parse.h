/* SPDX-License-Identifier: ISC */
/* policy_parse.h: what the files of the compiler of rules share: policy_parse.c has texts and their lines,
 * policy_rule.c one rule, policy_value.c single words, policy_target.c what is redirected to. */
#ifndef MONITOR_POLICY_PARSE_H
#define MONITOR_POLICY_PARSE_H

#include "monitor/rules.h"

#define WORDS_MAX 2048
#define VARS_MAX  64
#define VAR_WORDS 1024

struct word {
	const char *s;
	uint32_t len, column;
};

struct var {
	struct word name;
	uint32_t first, n; /* in pool */
};

struct parser {
	struct policy *p;
	struct policy_error *err;
	const struct policy_source *src; /* of all */
	const char *file;
	unsigned line, depth;
	unsigned flat; /* the line, were there no includes: what rules are known by */
	struct word word[WORDS_MAX + 1];
	unsigned n;
	struct var var[VARS_MAX];
	unsigned n_vars;
	struct word pool[VAR_WORDS];
	unsigned n_pool;
};

/* False for the end of the line, too. */
bool word_is(const struct word *w, const char *s);
/* Says what was expected at that word, or behind the last one; gives ERR_FORMAT. */
attr_printf(3, 4) int parse_fail(struct parser *ps, unsigned at, const char *fmt, ...);
/* The words of a line, which are one rule, or with lists several. */
int parse_rule(struct parser *ps);

/* ---- values: true where the word is one --------------------------------------------------------------- */

/* A decimal or hexadecimal number at the start; *used: its characters. */
bool value_part(const char *s, uint32_t len, uint64_t *out, uint32_t *used);
bool value_number(const struct word *w, uint64_t *out);
bool value_range(const struct word *w, uint64_t *lo, uint64_t *hi); /* N or N-M */
bool value_v4(const char *s, uint32_t len, uint8_t out[4]);
bool value_v6(const char *s, uint32_t len, uint8_t out[16]);
bool value_net(const struct word *w, struct rule *r); /* ADDRESS or ADDRESS/BITS */
int value_ports(struct rule *r, const struct word *w);
bool value_window(const struct word *w, struct rule *r); /* HH:MM-HH:MM */
bool value_percent(const struct word *w, uint64_t most, uint64_t *out);

/* ---- targets: words behind "->", from word at; *used: how many ----------------------------------------- */

int target_net(struct parser *ps, unsigned at, struct rule *r, unsigned *used);
int target_disk(struct parser *ps, unsigned at, struct rule *r, unsigned *used);
int target_time(struct parser *ps, unsigned at, struct rule *r, unsigned *used);
int target_seed(struct parser *ps, unsigned at, struct rule *r, unsigned *used);
int target_number(struct parser *ps, unsigned at, struct rule *r, unsigned *used);

#endif
