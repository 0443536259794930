/* SPDX-License-Identifier: ISC */
/* vigia.c: finds the command and runs it. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "cmd/watch_opts.h"
#include "ctl/def.h"
#include "ctl/rundir.h"
#include "ctl/runner.h"
#include "ctl/snapshot.h"

const struct cmd cmd_table[] = {
	{&cmd_run, run_main},
	{&cmd_list, list_main},
	{&cmd_stop, stop_main},
	{&cmd_kill, kill_main},
	{&cmd_pause, pause_main},
	{&cmd_resume, resume_main},
	{&cmd_wake, wake_main},
	{&cmd_stats, stats_main},
	{&cmd_console, console_main},
	{&cmd_doctor, doctor_main},
	{&cmd_history, history_main},
	{&cmd_policy, policy_main},
	{&cmd_save, save_main},
	{&cmd_restore, restore_main},
	{&cmd_screenshot, screenshot_main},
	{&cmd_move, move_main},
	{&cmd_type, type_main},
	{&cmd_key, key_main},
	{&cmd_mouse, mouse_main},
	{&cmd_pack, pack_main},
	{&cmd_image, image_main},
	{&cmd_volume, volume_main},
	{&cmd_insert, insert_main},
	{&cmd_eject, eject_main},
	{&cmd_snapshot, snapshot_main},
};
const unsigned cmd_count = ARRAY_SIZE(cmd_table);

int cmd_fail(const struct command *desc, const struct msg *msg)
{
	fprintf(stderr, "vigia %s: %s\n", desc->name, msg->text);
	return EXIT_SETUP;
}

int cmd_connect(const char *name, struct msg *msg)
{
	char path[4096];
	int dir, fd;

	if (!vm_name_valid(name))
		return msg_fail(msg, ERR_INVAL, "%s is not a VM's name: see vigia list", name);
	dir = rundir_open(false, path, sizeof(path), msg);
	if (dir < 0)
		return msg_fail(msg, dir, "no VM %s runs: see vigia list", name);
	fd = rundir_connect(dir, name, msg);
	close(dir);
	return fd;
}

int cmd_on_vm(const struct command *desc, int argc, char **argv,
	      int (*fn)(int sock, const struct cmd_opts *o, const struct opt_args *args,
			struct msg *msg))
{
	struct cmd_opts o = {.timeout = -1, .engine = "auto"};
	struct opt_args args;
	struct msg msg = {""};
	int sock, err;

	if (opt_parse(desc, argc, argv, &o, &args, &msg))
		return cmd_fail(desc, &msg);
	if (args.help) {
		opt_print_help(desc);
		return EXIT_OK;
	}
	sock = cmd_connect(args.arg[0], &msg);
	if (sock < 0)
		return cmd_fail(desc, &msg);
	err = fn(sock, &o, &args, &msg);
	close(sock);
	return err ? cmd_fail(desc, &msg) : EXIT_OK;
}

int run_main(int argc, char **argv)
{
	struct vm_def def;
	struct msg msg = {""};
	bool help = false;
	int status;

	vm_def_init(&def);
	if (vm_def_parse(&def, argc, argv, &help, &msg))
		status = cmd_fail(&cmd_run, &msg);
	else if (help)
		opt_print_help(&cmd_run), status = EXIT_OK;
	else
		status = runner_main(&def, &(struct runner_start){argc, argv, NULL});
	vm_def_fini(&def);
	return status;
}

static void print_usage(FILE *f)
{
	fprintf(f, "usage: vigia COMMAND [options] [arguments]\n\ncommands:\n");
	for (unsigned i = 0; i < cmd_count; i++)
		fprintf(f, "  %-10s %s\n", cmd_table[i].desc->name, cmd_table[i].desc->summary);
	fprintf(f, "\nvigia COMMAND --help says more.\n");
}

int main(int argc, char **argv)
{
	const char *names[ARRAY_SIZE(cmd_table)], *near;

	if (argc < 2) {
		print_usage(stderr);
		return EXIT_SETUP;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		print_usage(stdout);
		return EXIT_OK;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("vigia %s\n", VIGIA_VERSION);
		return EXIT_OK;
	}
	for (unsigned i = 0; i < cmd_count; i++) {
		if (!strcmp(cmd_table[i].desc->name, argv[1]))
			return cmd_table[i].run(argc - 1, argv + 1);
		names[i] = cmd_table[i].desc->name;
	}
	near = opt_nearest(argv[1], names, cmd_count);
	if (near)
		fprintf(stderr, "vigia: unknown command %s: did you mean vigia %s?\n", argv[1],
			near);
	else
		fprintf(stderr, "vigia: unknown command %s: see vigia --help\n", argv[1]);
	return EXIT_SETUP;
}
