/* SPDX-License-Identifier: ISC */
/* media.c: vigia insert and vigia eject. The file is opened here: the VM is in its sandbox. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "ctl/control.h"
#include "ctl/runner.h"

#define ANSWER_SECONDS 20

/* A floppy disk is written to where that is permitted. */
static int open_medium(const char *path, const char *drive, bool *read_only, struct msg *msg)
{
	bool writable = !strncmp(drive, "fd", 2);
	int fd = writable ? open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK) : -1;

	*read_only = fd < 0;
	if (fd < 0)
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? msg_fail(msg, ERR_NOENT, "%s: %s", path, strerror(errno)) : fd;
}

static int insert(int sock, const struct cmd_opts *o, const struct opt_args *args, struct msg *msg)
{
	const char *drive = args->arg[1], *path = args->arg[2];
	char *full = realpath(path, NULL);
	json_t *answer = NULL;
	bool read_only;
	int fd, err;

	if (!full)
		return msg_fail(msg, ERR_NOENT, "%s: %s", path, strerror(errno));
	fd = open_medium(full, drive, &read_only, msg);
	if (fd < 0) {
		free(full);
		return fd;
	}
	err = control_call_fd(sock,
			      json_pack("{s:s,s:s,s:s,s:b,s:b}", "do", "insert", "drive", drive,
					"file", full, "ro", read_only, "force", o->force),
			      fd, ANSWER_SECONDS, &answer, msg);
	json_decref(answer);
	close(fd);
	free(full);
	return err;
}

static int eject(int sock, const struct cmd_opts *o, const struct opt_args *args, struct msg *msg)
{
	json_t *answer = NULL;
	int err = control_call(
		sock,
		json_pack("{s:s,s:s,s:b}", "do", "eject", "drive", args->arg[1], "force", o->force),
		ANSWER_SECONDS, &answer, msg);

	json_decref(answer);
	return err;
}

int insert_main(int argc, char **argv)
{
	return cmd_on_vm(&cmd_insert, argc, argv, insert);
}

int eject_main(int argc, char **argv)
{
	return cmd_on_vm(&cmd_eject, argc, argv, eject);
}
