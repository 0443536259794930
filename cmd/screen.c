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

static int picture(int sock, const struct cmd_opts *o, const struct opt_args *args, struct msg *msg)
{
	const char *path = args->arg[1];
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
	return cmd_on_vm(&cmd_screenshot, argc, argv, picture);
}
