/* SPDX-License-Identifier: ISC */
/* gen-cli.c: makes man pages and shell completion from the option tables. Runs at build time.
 *	gen-cli man COMMAND TEMPLATE	replaces the lines @NAME@, @SYNOPSIS@, @OPTIONS@, @COMMANDS@
 *	gen-cli bash			prints a completion script
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"

/* Text for roff: backslashes, dashes and leading dots are its own. */
static void print_roff(const char *s)
{
	for (; *s; s++) {
		if (*s == '\\')
			fputs("\\e", stdout);
		else if (*s == '-')
			fputs("\\-", stdout);
		else
			putchar(*s);
	}
}

static void man_name(const struct command *c)
{
	printf(".SH NAME\nvigia\\-%s \\- ", c->name);
	print_roff(c->summary);
	printf("\n");
}

static void man_synopsis(const struct command *c)
{
	printf(".SH SYNOPSIS\n.B vigia %s\n", c->name);
	for (unsigned i = 0; i < c->n_opts; i++) {
		const struct opt *o = &c->opts[i];

		if (o->flags & OPT_LATER)
			continue;
		printf("[\\fB\\-\\-");
		print_roff(o->name);
		printf("\\fR");
		if (o->arg) {
			printf(" \\fI");
			print_roff(o->arg);
			printf("\\fR");
		}
		printf("]%s\n", o->flags & OPT_MULTI ? "..." : "");
	}
	print_roff(c->args);
	printf("\n");
}

static void man_options(const struct command *c)
{
	printf(".SH OPTIONS\n");
	for (unsigned i = 0; i < c->n_opts; i++) {
		const struct opt *o = &c->opts[i];

		if (o->flags & OPT_LATER)
			continue;
		printf(".TP\n\\fB\\-\\-");
		print_roff(o->name);
		printf("\\fR");
		if (o->arg) {
			printf(" \\fI");
			print_roff(o->arg);
			printf("\\fR");
		}
		printf("\n");
		print_roff(o->help);
		printf(".\n");
	}
	printf(".TP\n\\fB\\-\\-help\\fR\nPrint a short explanation.\n");
}

static void man_commands(void)
{
	printf(".SH COMMANDS\n");
	for (unsigned i = 0; i < cmd_all_count; i++) {
		printf(".TP\n\\fBvigia\\-%s\\fR(1)\n", cmd_all[i]->name);
		print_roff(cmd_all[i]->summary);
		printf(".\n");
	}
}

static int man(const char *name, const char *template)
{
	const struct command *c = NULL;
	FILE *f = fopen(template, "r");
	char line[1024];

	for (unsigned i = 0; i < cmd_all_count; i++)
		if (!strcmp(cmd_all[i]->name, name))
			c = cmd_all[i];
	if (!f) {
		perror(template);
		return 1;
	}
	while (fgets(line, sizeof(line), f)) {
		if (!strcmp(line, "@NAME@\n") && c)
			man_name(c);
		else if (!strcmp(line, "@SYNOPSIS@\n") && c)
			man_synopsis(c);
		else if (!strcmp(line, "@OPTIONS@\n") && c)
			man_options(c);
		else if (!strcmp(line, "@COMMANDS@\n"))
			man_commands();
		else
			fputs(line, stdout);
	}
	fclose(f);
	return 0;
}

static void bash_command(const struct command *c)
{
	printf("\t%s)\n\t\topts='", c->name);
	for (unsigned i = 0; i < c->n_opts; i++)
		if (!(c->opts[i].flags & OPT_LATER))
			printf("--%s ", c->opts[i].name);
	printf("--help'\n\t\tcase $prev in\n");
	for (unsigned i = 0; i < c->n_opts; i++) {
		const struct opt *o = &c->opts[i];

		if (!o->arg || (o->flags & OPT_LATER))
			continue;
		printf("\t\t--%s) ", o->name);
		if (o->flags & OPT_FILE)
			printf("COMPREPLY=($(compgen -f -- \"$cur\"))");
		else if (o->choices) {
			printf("COMPREPLY=($(compgen -W '");
			for (const char *p = o->choices; *p; p++)
				putchar(*p == '|' ? ' ' : *p);
			printf("' -- \"$cur\"))");
		} else {
			printf("COMPREPLY=()");
		}
		printf("; return ;;\n");
	}
	printf("\t\tesac\n\t\t%s\n\t\t;;\n",
	       !strncmp(c->args, "NAME", 4)
		       ? "names=$(vigia list 2>/dev/null | awk 'NR > 1 {print $1}')"
	       : strstr(c->args, "FILE") ? "names=$(compgen -f -X '!*.y*ml' -- \"$cur\")"
					 : "names=");
}

static int bash(void)
{
	printf("# Completion of vigia's commands and options for bash. Made by tools/gen-cli.\n"
	       "_vigia() {\n\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} opts names\n"
	       "\tif [ \"$COMP_CWORD\" = 1 ]; then\n\t\tCOMPREPLY=($(compgen -W '");
	for (unsigned i = 0; i < cmd_all_count; i++)
		printf("%s ", cmd_all[i]->name);
	printf("--help --version' -- \"$cur\"))\n\t\treturn\n\tfi\n\tcase ${COMP_WORDS[1]} in\n");
	for (unsigned i = 0; i < cmd_all_count; i++)
		bash_command(cmd_all[i]);
	printf("\t*) return ;;\n\tesac\n\tcase $cur in\n"
	       "\t-*) COMPREPLY=($(compgen -W \"$opts\" -- \"$cur\")) ;;\n"
	       "\t*) COMPREPLY=($(compgen -W \"$names\" -- \"$cur\")) ;;\n\tesac\n}\n"
	       "complete -o filenames -F _vigia vigia\n");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "man"))
		return man(argv[2], argv[3]);
	if (argc == 2 && !strcmp(argv[1], "bash"))
		return bash();
	fprintf(stderr, "usage: gen-cli man COMMAND TEMPLATE | gen-cli bash\n");
	return 1;
}
