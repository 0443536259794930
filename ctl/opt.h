/* SPDX-License-Identifier: ISC */
/* opt.h: command-line options as tables. One table of a command drives parsing, --help, the man
 * page's synopsis, shell completion and the keys of a definition file. Hosted. */
#ifndef CTL_OPT_H
#define CTL_OPT_H

#include "ctl/msg.h"

#define OPT_MULTI BIT(0) /* may be given several times; a list in a definition file */
#define OPT_FILE  BIT(1) /* the value is, or begins with, a file name: for completion */
#define OPT_DEF   BIT(2) /* is also a key of a definition file */
#define OPT_LATER BIT(3) /* known, but not in this version: help says what to do instead */

struct opt {
	const char *name; /* without the dashes */
	const char *arg;  /* name of the value in help; NULL: a flag */
	const char *help;
	const char *choices; /* "a|b|c": the values there are; NULL: set() decides */
	unsigned flags;
	/* value: NULL for flags. Copies what it keeps. */
	int (*set)(void *target, const char *value, struct msg *msg);
	char letter; /* -o; 0: none */
};

struct command {
	const char *name;
	const char *args;    /* "[NAME|FILE.yaml]", "" */
	const char *summary; /* one phrase */
	const char *text;    /* more, for --help; may be NULL */
	const struct opt *opts;
	unsigned n_opts;
	unsigned min_args, max_args;
};

#define OPT_MAX_ARGS 4
struct opt_args {
	unsigned n;
	const char *arg[OPT_MAX_ARGS];
	bool help; /* --help was given: nothing else has been looked at */
};

struct opt_given {
	const struct opt *opt;
	const char *value;
};

/* Reads argv[1…] by the table. Options and arguments mix; "--" ends the options; --o=V is --o V.
 * Fills given (in order, at most max) and args without calling set(). */
int opt_scan(const struct command *cmd, int argc, char *const *argv, struct opt_given *given,
	     unsigned max, unsigned *n_given, struct opt_args *args, struct msg *msg);
/* Checks a value against choices and calls set(). */
int opt_set(const struct opt *opt, const char *value, void *target, struct msg *msg);
/* Both in one, for commands whose options go straight into a struct. */
int opt_parse(const struct command *cmd, int argc, char *const *argv, void *target,
	      struct opt_args *args, struct msg *msg);

void opt_print_help(const struct command *cmd);

/* Name that is nearest to a mistyped one, or NULL where none is near. */
const char *opt_nearest(const char *name, const char *const *names, unsigned n);

/* ---- values ---------------------------------------------------------------------------- */

/* Decimal or 0x; the whole string. */
int opt_u64(const char *s, uint64_t min, uint64_t max, const char *what, uint64_t *out,
	    struct msg *msg);
/* Bytes: 512M, 2G, 1T, 4096K; without a suffix MiB. */
int opt_size(const char *s, const char *what, uint64_t *out, struct msg *msg);

/* One field of "value,key=value,flag": ends at a comma; two commas stand for one in it. Gives a
 * malloc'd copy and moves *s behind; NULL at the end. */
char *opt_field(const char **s);

#endif
