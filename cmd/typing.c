/* SPDX-License-Identifier: ISC */
/* typing.c: vigia type, key and mouse. The VM queues what it is to do; these commands return when the
 * guest has taken it, so that a screenshot afterwards shows what it made of it. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "ctl/control.h"
#include "ctl/runner.h"

#define ANSWER_SECONDS 10
#define CHUNK          512
#define POLL_MS        20

static int call(int sock, json_t *take_request, struct msg *msg)
{
	json_t *answer = NULL;
	int err = control_call(sock, take_request, ANSWER_SECONDS, &answer, msg);

	if (!err)
		json_decref(answer);
	return err;
}

static int wait_taken(int sock, struct msg *msg)
{
	const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
	json_int_t left = 1;

	for (;;) {
		json_t *answer = NULL;
		int err = control_call(sock, json_pack("{s:s}", "do", "typing"), ANSWER_SECONDS,
				       &answer, msg);

		if (err == ERR_IO) /* what was pressed has ended the VM */
			return 0;
		if (err)
			return err;
		left = json_integer_value(json_object_get(answer, "left"));
		json_decref(answer);
		if (!left)
			return 0;
		nanosleep(&pause, NULL);
	}
}

static int ask(int sock, json_t *take_request, struct msg *msg)
{
	int err = call(sock, take_request, msg);

	return err ? err : wait_taken(sock, msg);
}

static int type_part(int sock, const char *text, size_t n, struct msg *msg)
{
	json_t *req = json_pack("{s:s, s:s%}", "do", "type", "text", text, n);

	return req ? ask(sock, req, msg)
		   : msg_fail(msg, ERR_INVAL, "the text is not UTF-8 without zeros");
}

static int do_type(int sock, const struct cmd_opts *o, const struct opt_args *args, struct msg *msg)
{
	const char *text = args->arg[1];
	size_t left = strlen(text);
	char buf[CHUNK];
	int err = 0;

	if (!strcmp(text, "-")) {
		while (!err && (left = fread(buf, 1, sizeof(buf), stdin)) > 0)
			err = type_part(sock, buf, left, msg);
		left = 0;
	}
	while (left && !err) {
		size_t n = MIN(left, (size_t)CHUNK);

		err = type_part(sock, text, n, msg);
		text += n;
		left -= n;
	}
	return err || !o->enter ? err : type_part(sock, "\n", 1, msg);
}

static int do_key(int sock, const struct cmd_opts *o, const struct opt_args *args, struct msg *msg)
{
	json_t *keys = json_array();

	for (unsigned i = 1; i < args->n; i++)
		json_array_append_new(keys, json_string(args->arg[i]));
	return ask(sock, json_pack("{s:s, s:o}", "do", "key", "keys", keys), msg);
}

static int do_mouse(int sock, const struct cmd_opts *o, const struct opt_args *args,
		    struct msg *msg)
{
	int x, y;
	char end;

	if (sscanf(args->arg[1], "%d%c", &x, &end) != 1 ||
	    sscanf(args->arg[2], "%d%c", &y, &end) != 1)
		return msg_fail(msg, ERR_INVAL, "give X and Y as numbers (negative ones after --)");
	return ask(sock,
		   json_pack("{s:s, s:i, s:i, s:b, s:s}", "do", "mouse", "x", x, "y", y, "relative",
			     (int)o->relative, "press", args->n > 3 ? args->arg[3] : ""),
		   msg);
}

int type_main(int argc, char **argv)
{
	return cmd_on_vm(&cmd_type, argc, argv, do_type);
}

int key_main(int argc, char **argv)
{
	return cmd_on_vm(&cmd_key, argc, argv, do_key);
}

int mouse_main(int argc, char **argv)
{
	return cmd_on_vm(&cmd_mouse, argc, argv, do_mouse);
}
