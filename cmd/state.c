/* SPDX-License-Identifier: ISC */
/* state.c: vigia save, restore and move. The file is written without a name in its own folder (replace.c) by
 * the VM's process, which cannot open files, through a descriptor that is passed to it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "cmd/replace.h"
#include "ctl/control.h"
#include "ctl/runner.h"
#include "ctl/state.h"

#define SAVE_SECONDS 3600

static void sync_folder(const char *path)
{
	char *copy = strdup(path);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	/* Where this fails the file is there all the same, perhaps under its old name after a crash. */
	if (fd >= 0 && fsync(fd))
		fprintf(stderr, "vigia save: cannot flush the folder of %s: %s\n", path,
			strerror(errno));
	if (fd >= 0)
		close(fd);
	free(copy);
}

/* Lets the VM write; gives where the seal goes. */
static int ask_save(int sock, int fd, const struct cmd_opts *o, uint64_t *at, struct msg *msg)
{
	json_t *answer;
	int err = control_call_fd(sock,
				  json_pack("{s:s, s:b, s:b}", "do", "save", "keep", o->keep,
					    "compress", o->compress),
				  fd, SAVE_SECONDS, &answer, msg);

	if (err)
		return err;
	*at = (uint64_t)json_integer_value(json_object_get(answer, "end"));
	if (o->keep)
		printf("saved; the guest stood still for %lld ms\n",
		       (long long)json_integer_value(json_object_get(answer, "stood_ms")));
	json_decref(answer);
	return 0;
}

static void end_vm(int sock)
{
	struct msg msg = {""};
	json_t *answer;
	char buf[256];

	if (!control_call(sock, json_pack("{s:s}", "do", "kill"), 10, &answer, &msg))
		json_decref(answer);
	while (recv(sock, buf, sizeof(buf), 0) > 0)
		;
}

/* Sealed as that of a VM that went on, until its disks are closed: should we be killed in between,
 * the state is there, though it wants --force. */
static int save_to(int sock, struct replacement *r, const struct cmd_opts *o, bool *done,
		   struct msg *msg)
{
	uint64_t at;
	int err = ask_save(sock, r->fd, o, &at, msg);

	if (!err)
		err = state_seal(r->fd, at, true, msg);
	if (!err)
		err = replace_commit(r, msg);
	*done = !err;
	if (err)
		return err;
	sync_folder(r->path);
	if (o->keep)
		return 0;
	end_vm(sock);
	return state_seal(r->fd, at, false, msg);
}

/* The VM was paused for us and shall go on. */
static void go_on(const char *name)
{
	struct msg msg = {""};
	int sock = cmd_connect(name, &msg);
	json_t *answer;

	if (sock < 0)
		return;
	if (!control_call(sock, json_pack("{s:s}", "do", "resume"), 10, &answer, &msg))
		json_decref(answer);
	close(sock);
}

static char *absolute(const char *path)
{
	char *cwd = path[0] == '/' ? NULL : getcwd(NULL, 0), *out = NULL;

	if (asprintf(&out, "%s%s%s", cwd ? cwd : "", cwd ? "/" : "", path) < 0)
		out = NULL;
	free(cwd);
	return out;
}

int save_main(int argc, char **argv)
{
	struct cmd_opts o = {.timeout = -1};
	struct opt_args args;
	struct msg msg = {""};
	struct replacement file;
	bool done = false;
	char *path;
	int sock, err;

	if (opt_parse(&cmd_save, argc, argv, &o, &args, &msg))
		return cmd_fail(&cmd_save, &msg);
	if (args.help) {
		opt_print_help(&cmd_save);
		return EXIT_OK;
	}
	sock = cmd_connect(args.arg[0], &msg);
	if (sock < 0)
		return cmd_fail(&cmd_save, &msg);
	/* Sealing goes to the VM's folder. */
	path = absolute(args.arg[1]);
	if (!path) {
		msg_fail(&msg, ERR_NOMEM, "out of memory");
		return cmd_fail(&cmd_save, &msg);
	}
	err = replace_begin(&file, path, &msg);
	if (!err) {
		err = save_to(sock, &file, &o, &done, &msg);
		if (!done && !o.keep)
			go_on(args.arg[0]);
	}
	replace_end(&file);
	close(sock);
	free(path);
	return err ? cmd_fail(&cmd_save, &msg) : EXIT_OK;
}

int restore_main(int argc, char **argv)
{
	struct cmd_opts o = {.timeout = -1};
	struct state_file file;
	struct opt_args args;
	struct msg msg = {""};
	struct vm_def def;
	bool help = false;
	int status, err;

	if (opt_parse(&cmd_restore, argc, argv, &o, &args, &msg))
		return cmd_fail(&cmd_restore, &msg);
	if (args.help) {
		opt_print_help(&cmd_restore);
		return EXIT_OK;
	}
	if (state_file_open(args.arg[0], o.verify, &file, &msg))
		return cmd_fail(&cmd_restore, &msg);
	vm_def_init(&def);
	err = vm_def_parse(&def, file.origin.argc, file.origin.argv, &help, &msg);
	if (!err && !vm_name_valid(o.name ? o.name : file.name))
		err = msg_fail(&msg, ERR_INVAL, "%s is not a VM's name",
			       o.name ? o.name : file.name);
	if (!err)
		snprintf(def.name, sizeof(def.name), "%s", o.name ? o.name : file.name);
	if (!err && o.engine) {
		free(def.engine);
		def.engine = strdup(o.engine);
	}
	if (!err && !o.force)
		err = state_file_check_disks(&file, &def, &msg);
	if (err)
		status = cmd_fail(&cmd_restore, &msg);
	else
		status = runner_main(&def, &(struct runner_start){file.origin.argc,
								  file.origin.argv, &file, o.drop});
	vm_def_fini(&def);
	state_file_close(&file);
	return status;
}

static int move(int sock, const struct cmd_opts *o, const struct opt_args *args, struct msg *msg)
{
	json_t *answer;
	int err = control_call(
		sock,
		json_pack("{s:s, s:s, s:b}", "do", "move", "engine", o->engine, "drop", o->drop),
		60, &answer, msg);

	if (err)
		return err;
	printf("moved; the guest waited %.1f ms\n",
	       (double)json_integer_value(json_object_get(answer, "pause_us")) / 1000);
	json_decref(answer);
	return 0;
}

int move_main(int argc, char **argv)
{
	return cmd_on_vm(&cmd_move, argc, argv, move);
}
