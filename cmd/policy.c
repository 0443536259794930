/* SPDX-License-Identifier: ISC */
/* policy.c: rules of a running VM; policy_past.c has what they would have done in the past of one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/policy_past.h"
#include "cmd/watch_opts.h"
#include "ctl/control.h"
#include "ctl/runner.h"
#include "ctl/watch.h"
#include "monitor/policy.h"

#define PART 2000 /* bytes of rules in one line of the protocol, which may double as JSON */

/* ---- a running VM ------------------------------------------------------------------------------- */

static int policy_show(const char *name, struct msg *msg)
{
	int fd = cmd_connect(name, msg), err = fd < 0 ? fd : 0;
	json_int_t from = 0, size = 1;

	while (!err && from < size) {
		json_t *answer;

		err = control_call(fd, json_pack("{s:s,s:I}", "do", "rules", "from", from), 10,
				   &answer, msg);
		if (err)
			break;
		fputs(json_string_value(json_object_get(answer, "text")), stdout);
		from += (json_int_t)json_string_length(json_object_get(answer, "text"));
		size = json_integer_value(json_object_get(answer, "size"));
		json_decref(answer);
	}
	if (fd >= 0)
		close(fd);
	if (!err && !size)
		printf("# no rules: everything is provided\n");
	return err;
}

/* Compiled here first: includes are resolved on this side, and errors name files. */
static int policy_set(const char *name, const char *file, struct msg *msg)
{
	struct policy *p;
	char *text;
	int err = watch_compile(file, false, &p, &text, msg), fd;
	size_t len, at = 0;

	if (err)
		return err;
	policy_free(p);
	fd = cmd_connect(name, msg);
	err = fd < 0 ? fd : 0;
	len = strlen(text);
	while (!err && (at < len || !len)) {
		size_t n = MIN(len - at, (size_t)PART);
		json_t *answer, *req = json_object();

		/* parts end at a character's end */
		while (n > 1 && at + n < len && ((unsigned char)text[at + n] & 0xc0) == 0x80)
			n--;
		json_object_set_new(req, "do", json_string("policy"));
		json_object_set_new(req, "text", json_stringn(text + at, n));
		json_object_set_new(req, "more", json_boolean(at + n < len));
		err = control_call(fd, req, 10, &answer, msg);
		if (!err)
			json_decref(answer);
		at += n;
		if (!len)
			break;
	}
	if (fd >= 0)
		close(fd);
	free(text);
	return err;
}

static int policy_check(const char *file, struct msg *msg)
{
	struct policy *p;
	int err = watch_compile(file, false, &p, NULL, msg);

	if (err)
		return err;
	printf("%s: %u rules\n", file, policy_count(p));
	policy_free(p);
	return 0;
}

/* ---- the command -------------------------------------------------------------------------------------- */

int policy_main(int argc, char **argv)
{
	struct watch_opts o = {.history = NULL};
	struct opt_args args;
	struct msg msg = {""};
	const char *verb;
	int err;

	if (opt_parse(&cmd_policy, argc, argv, &o, &args, &msg))
		return cmd_fail(&cmd_policy, &msg);
	if (args.help) {
		opt_print_help(&cmd_policy);
		return EXIT_OK;
	}
	verb = args.arg[0];
	if (!strcmp(verb, "show") && args.n == 2)
		err = policy_show(args.arg[1], &msg);
	else if (!strcmp(verb, "set") && args.n == 3)
		err = policy_set(args.arg[1], args.arg[2], &msg);
	else if (!strcmp(verb, "check") && args.n == 2)
		err = policy_check(args.arg[1], &msg);
	else if (!strcmp(verb, "test") && args.n == 2 && !o.history)
		err = msg_fail(&msg, ERR_INVAL,
			       "test RULES --history NAME: the history is missing");
	else if (!strcmp(verb, "test") && args.n == 2)
		err = policy_test(args.arg[1], o.history, &msg);
	else if (!strcmp(verb, "suggest") && args.n == 2)
		err = policy_suggest(args.arg[1], &msg);
	else
		err = msg_fail(&msg, ERR_INVAL,
			       "expected show NAME, set NAME RULES, check RULES, test RULES "
			       "--history NAME or suggest NAME");
	return err ? cmd_fail(&cmd_policy, &msg) : EXIT_OK;
}
