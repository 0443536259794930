/* SPDX-License-Identifier: ISC */
/* opt.c: command-line options by tables. Called by the main thread. */
#include "ctl/opt.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELP_COLUMN 26
#define HELP_WIDTH  78

const char *opt_nearest(const char *name, const char *const *names, unsigned n)
{
	const char *best = NULL;
	unsigned best_d = 3;
	size_t len = strlen(name);

	if (len > 31)
		return NULL;
	for (unsigned k = 0; k < n; k++) {
		unsigned row[33], diag, up;
		size_t m = strlen(names[k]);

		for (size_t j = 0; j <= len; j++)
			row[j] = (unsigned)j;
		for (size_t i = 1; i <= m; i++) {
			diag = row[0];
			row[0] = (unsigned)i;
			for (size_t j = 1; j <= len; j++) {
				up = row[j];
				row[j] = MIN(MIN(row[j - 1], up) + 1,
					     diag + (names[k][i - 1] != name[j - 1]));
				diag = up;
			}
		}
		if (row[len] < best_d && row[len] < m) {
			best_d = row[len];
			best = names[k];
		}
	}
	return best;
}

static const struct opt *find_opt(const struct command *cmd, const char *name, size_t len)
{
	for (unsigned i = 0; i < cmd->n_opts; i++)
		if (strlen(cmd->opts[i].name) == len && !memcmp(cmd->opts[i].name, name, len))
			return &cmd->opts[i];
	return NULL;
}

static const struct opt *find_letter(const struct command *cmd, const char *arg)
{
	for (unsigned i = 0; i < cmd->n_opts && !arg[2]; i++)
		if (cmd->opts[i].letter == arg[1])
			return &cmd->opts[i];
	return NULL;
}

static int unknown(const struct command *cmd, const char *arg, struct msg *msg)
{
	const char *names[64], *near;
	char name[32];
	unsigned n = 0;

	for (unsigned i = 0; i < cmd->n_opts && n < ARRAY_SIZE(names); i++)
		if (!(cmd->opts[i].flags & OPT_LATER))
			names[n++] = cmd->opts[i].name;
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(arg, "="), arg);
	near = strncmp(name, "--", 2) ? NULL : opt_nearest(name + 2, names, n);
	if (near)
		return msg_fail(msg, ERR_INVAL, "unknown option %s: did you mean --%s?", name,
				near);
	return msg_fail(msg, ERR_INVAL, "unknown option %s: see vigia %s --help", name, cmd->name);
}

int opt_scan(const struct command *cmd, int argc, char *const *argv, struct opt_given *given,
	     unsigned max, unsigned *n_given, struct opt_args *args, struct msg *msg)
{
	bool only_args = false;

	*n_given = 0;
	*args = (struct opt_args){0};
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i], *value = NULL;
		const struct opt *opt;

		if (only_args || a[0] != '-' || !a[1]) {
			if (args->n >= cmd->max_args)
				return msg_fail(msg, ERR_INVAL,
						"%s is one argument too many: "
						"see vigia %s --help",
						a, cmd->name);
			args->arg[args->n++] = a;
			continue;
		}
		if (!strcmp(a, "--")) {
			only_args = true;
			continue;
		}
		if (!strcmp(a, "--help") || !strcmp(a, "-h")) {
			args->help = true;
			return 0;
		}
		if (strncmp(a, "--", 2))
			opt = find_letter(cmd, a);
		else
			opt = find_opt(cmd, a + 2, strcspn(a + 2, "="));
		if (!opt)
			return unknown(cmd, a, msg);
		if (a[1] == '-' && strchr(a, '='))
			value = strchr(a, '=') + 1;
		if (opt->arg && !value) {
			if (++i >= argc)
				return msg_fail(msg, ERR_INVAL, "--%s wants a value: --%s %s",
						opt->name, opt->name, opt->arg);
			value = argv[i];
		}
		if (!opt->arg && value)
			return msg_fail(msg, ERR_INVAL, "--%s takes no value: leave out =%s",
					opt->name, value);
		if (*n_given >= max)
			return msg_fail(msg, ERR_INVAL, "too many options: at most %u", max);
		given[(*n_given)++] = (struct opt_given){opt, value};
	}
	if (args->n < cmd->min_args)
		return msg_fail(msg, ERR_INVAL, "an argument is missing: vigia %s %s", cmd->name,
				cmd->args);
	return 0;
}

static bool is_choice(const char *choices, const char *value)
{
	size_t len = strlen(value);

	for (const char *p = choices; *p;) {
		size_t n = strcspn(p, "|");

		if (n == len && !memcmp(p, value, n))
			return true;
		p += n + (p[n] == '|');
	}
	return false;
}

int opt_set(const struct opt *opt, const char *value, void *target, struct msg *msg)
{
	if (opt->flags & OPT_LATER)
		return msg_fail(msg, ERR_NOSYS, "--%s is not in this version yet: %s", opt->name,
				opt->help);
	if (opt->choices && value && !is_choice(opt->choices, value))
		return msg_fail(msg, ERR_INVAL, "--%s %s: there is only %s", opt->name, value,
				opt->choices);
	return opt->set(target, value, msg);
}

int opt_parse(const struct command *cmd, int argc, char *const *argv, void *target,
	      struct opt_args *args, struct msg *msg)
{
	struct opt_given given[32];
	unsigned n = 0;
	int err = opt_scan(cmd, argc, argv, given, ARRAY_SIZE(given), &n, args, msg);

	for (unsigned i = 0; i < n && !err && !args->help; i++)
		err = opt_set(given[i].opt, given[i].value, target, msg);
	return err;
}

/* Prints text in the column of explanations, broken at spaces. */
static void print_wrapped(const char *text, unsigned column, unsigned used)
{
	unsigned width = HELP_WIDTH - column;

	if (used + 1 > column) {
		putchar('\n');
		used = 0;
	}
	for (;;) {
		size_t n = strlen(text);

		if (n > width) {
			for (n = width; n && text[n] != ' '; n--)
				;
			if (!n)
				n = width;
		}
		printf("%*s%.*s\n", (int)(column - used), "", (int)n, text);
		used = 0;
		text += n;
		while (*text == ' ')
			text++;
		if (!*text)
			return;
	}
}

void opt_print_help(const struct command *cmd)
{
	printf("usage: vigia %s%s%s%s\n\n", cmd->name, cmd->n_opts ? " [options]" : "",
	       cmd->args[0] ? " " : "", cmd->args);
	printf("%c%s.\n", toupper((unsigned char)cmd->summary[0]), cmd->summary + 1);
	if (cmd->text)
		printf("\n%s\n", cmd->text);
	if (cmd->n_opts)
		printf("\noptions:\n");
	for (unsigned i = 0; i < cmd->n_opts; i++) {
		const struct opt *o = &cmd->opts[i];
		int n;

		if (o->flags & OPT_LATER)
			continue;
		n = printf("  --%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
		print_wrapped(o->help, HELP_COLUMN, (unsigned)n);
	}
}

int opt_u64(const char *s, uint64_t min, uint64_t max, const char *what, uint64_t *out,
	    struct msg *msg)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = isdigit((unsigned char)s[0]) ? strtoull(s, &end, 0) : 0;
	if (!isdigit((unsigned char)s[0]) || *end || errno || v < min || v > max)
		return msg_fail(msg, ERR_INVAL, "%s %s: give a number from %llu to %llu", what, s,
				(unsigned long long)min, (unsigned long long)max);
	*out = v;
	return 0;
}

int opt_size(const char *s, const char *what, uint64_t *out, struct msg *msg)
{
	static const char suffixes[] = "KMGT";
	unsigned long long v = 0;
	unsigned shift = 20;
	char *end = NULL;

	errno = 0;
	if (isdigit((unsigned char)s[0]))
		v = strtoull(s, &end, 10);
	if (end && *end) {
		const char *p = strchr(suffixes, toupper((unsigned char)*end));

		if (p && !end[1])
			shift = 10 + 10 * (unsigned)(p - suffixes);
		else
			end = NULL;
	}
	if (!end || errno || v > (UINT64_MAX >> shift))
		return msg_fail(msg, ERR_INVAL, "%s %s: give a size such as 512M or 2G", what, s);
	*out = v << shift;
	return 0;
}

char *opt_field(const char **s)
{
	const char *p = *s;
	char *out, *o;

	if (!*p)
		return NULL;
	out = o = malloc(strlen(p) + 1);
	if (!out)
		return NULL;
	for (; *p && (*p != ',' || p[1] == ','); p++) {
		if (*p == ',')
			p++;
		*o++ = *p;
	}
	*o = 0;
	*s = *p ? p + 1 : p;
	return out;
}
