/* SPDX-License-Identifier: ISC */
/* screen.c: vigia screenshot. The VM writes the picture into a file that is opened here. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "ctl/control.h"
#include "ctl/runner.h"

#define ANSWER_SECONDS 10

static int picture(int sock, const char *path, struct msg *msg)
{
	json_t *answer = NULL;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	int err;

	if (fd < 0)
		return msg_fail(msg, ERR_ACCES, "cannot write %s: %s", path, strerror(errno));
	err = control_call_fd(sock, json_pack("{s:s}", "do", "screenshot"), fd, ANSWER_SECONDS,
			      &answer, msg);
	if (!err)
		json_decref(answer);
	if (close(fd) && !err)
		err = msg_fail(msg, ERR_IO, "cannot write %s: %s", path, strerror(errno));
	if (err)
		unlink(path);
	return err;
}

int screenshot_main(int argc, char **argv)
{
	struct opt_args args;
	struct msg msg = {""};
	int sock, err;

	if (opt_parse(&cmd_screenshot, argc, argv, NULL, &args, &msg))
		return cmd_fail(&cmd_screenshot, &msg);
	if (args.help) {
		opt_print_help(&cmd_screenshot);
		return EXIT_OK;
	}
	sock = cmd_connect(args.arg[0], &msg);
	if (sock < 0)
		return cmd_fail(&cmd_screenshot, &msg);
	err = picture(sock, args.arg[1], &msg);
	close(sock);
	return err ? cmd_fail(&cmd_screenshot, &msg) : EXIT_OK;
}
