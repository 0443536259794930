/* SPDX-License-Identifier: ISC */
/* doctor.c: prints what ctl/doctor finds. */
#include "ctl/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "ctl/runner.h"

static void print_rows(const struct doctor *d)
{
	static const char *const marks[] = {"  ok  ", " note ", "  BAD "};
	static const char *const colours[] = {"\033[32m", "\033[33m", "\033[31m"};
	bool colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
	const char *group = "";

	for (unsigned i = 0; i < d->n; i++) {
		const struct doctor_row *r = &d->row[i];

		if (strcmp(group, r->group))
			printf("%s%s\n", i ? "\n" : "", r->group);
		group = r->group;
		printf("%s%s%s %-16s %s\n", colour ? colours[r->grade] : "", marks[r->grade],
		       colour ? "\033[0m" : "", r->name, r->found);
		if (r->advice[0])
			printf("%24s%s\n", "-> ", r->advice);
	}
	printf("\n%s\n", doctor_usable(d) ? "VMs can run here."
					  : "VMs cannot run here: see the rows marked BAD.");
}

int doctor_main(int argc, char **argv)
{
	struct cmd_opts o = {.timeout = -1};
	struct doctor *d;
	struct opt_args args;
	struct msg msg = {""};
	bool usable;

	if (opt_parse(&cmd_doctor, argc, argv, &o, &args, &msg))
		return cmd_fail(&cmd_doctor, &msg);
	if (args.help) {
		opt_print_help(&cmd_doctor);
		return EXIT_OK;
	}
	d = calloc(1, sizeof(*d));
	if (!d)
		return EXIT_HOST;
	doctor_examine(d);
	usable = doctor_usable(d);
	if (o.json) {
		json_t *json = doctor_json(d);

		json_dumpf(json, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(json);
	} else {
		print_rows(d);
	}
	free(d);
	return usable ? EXIT_OK : EXIT_SETUP;
}
