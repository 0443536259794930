/* SPDX-License-Identifier: ISC */
/* vm.c: commands that send one request to a running VM, or to all. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "ctl/control.h"
#include "ctl/profile.h"
#include "ctl/rundir.h"
#include "ctl/runner.h"

#define ANSWER_SECONDS 10

/* The connection ends when the VM has, and its disks are closed. */
static void wait_end(int fd)
{
	char buf[256];

	while (recv(fd, buf, sizeof(buf), 0) > 0)
		;
}

/* print: gets the answer; may be NULL. */
static int request(int sock, const struct cmd_opts *o, const char *what,
		   void (*print)(const struct cmd_opts *o, json_t *answer), struct msg *msg)
{
	json_t *req = json_pack("{s:s}", "do", what), *answer;
	int err;

	if (o->timeout >= 0)
		json_object_set_new(req, "timeout", json_integer(o->timeout));
	err = control_call(sock, req, ANSWER_SECONDS, &answer, msg);
	if (err)
		return err;
	if (print)
		print(o, answer);
	json_decref(answer);
	if (o->wait)
		wait_end(sock);
	return 0;
}

static int do_stop(int sock, const struct cmd_opts *o, const struct opt_args *args, struct msg *msg)
{
	return request(sock, o, "stop", NULL, msg);
}

int stop_main(int argc, char **argv)
{
	return cmd_on_vm(&cmd_stop, argc, argv, do_stop);
}

static int do_kill(int sock, const struct cmd_opts *o, const struct opt_args *args, struct msg *msg)
{
	return request(sock, o, "kill", NULL, msg);
}

int kill_main(int argc, char **argv)
{
	return cmd_on_vm(&cmd_kill, argc, argv, do_kill);
}

static int do_pause(int sock, const struct cmd_opts *o, const struct opt_args *args,
		    struct msg *msg)
{
	return request(sock, o, "pause", NULL, msg);
}

int pause_main(int argc, char **argv)
{
	return cmd_on_vm(&cmd_pause, argc, argv, do_pause);
}

static int do_resume(int sock, const struct cmd_opts *o, const struct opt_args *args,
		     struct msg *msg)
{
	return request(sock, o, "resume", NULL, msg);
}

int resume_main(int argc, char **argv)
{
	return cmd_on_vm(&cmd_resume, argc, argv, do_resume);
}

static int do_wake(int sock, const struct cmd_opts *o, const struct opt_args *args, struct msg *msg)
{
	return request(sock, o, "wake", NULL, msg);
}

int wake_main(int argc, char **argv)
{
	return cmd_on_vm(&cmd_wake, argc, argv, do_wake);
}

/* ---- stats ------------------------------------------------------------------------------------ */

static void print_value(const char *key, const json_t *v)
{
	if (json_is_integer(v))
		printf("%-16s %" JSON_INTEGER_FORMAT "\n", key, json_integer_value(v));
	else if (json_is_real(v))
		printf("%-16s %.2f\n", key, json_real_value(v));
	else if (json_is_string(v))
		printf("%-16s %s\n", key, json_string_value(v));
	else if (json_is_boolean(v))
		printf("%-16s %s\n", key, json_is_true(v) ? "yes" : "no");
}

static void print_stats(const struct cmd_opts *o, json_t *answer)
{
	const char *key;
	json_t *v, *sub;
	size_t i;

	json_object_del(answer, "ok");
	if (o->json) {
		json_dumpf(answer, stdout, JSON_INDENT(2));
		putchar('\n');
		return;
	}
	if (o->profile) {
		profile_print(stdout, answer);
		return;
	}
	json_object_foreach(answer, key, v)
	{
		print_value(key, v);
	}
	json_array_foreach(json_object_get(answer, "vcpus"), i, v)
	{
		printf("CPU %zu exits:", i);
		json_object_foreach(json_object_get(v, "exits"), key, sub)
		{
			printf(" %s %" JSON_INTEGER_FORMAT, key, json_integer_value(sub));
		}
		putchar('\n');
	}
	if (json_object_get(answer, "gdb"))
		puts("debugger:");
	json_object_foreach(json_object_get(answer, "gdb"), key, v)
	{
		print_value(key, v);
	}
	json_object_foreach(json_object_get(answer, "soft"), key, v)
	{
		print_value(key, v);
	}
}

static int do_stats(int sock, const struct cmd_opts *o, const struct opt_args *args,
		    struct msg *msg)
{
	return request(sock, o, "stats", print_stats, msg);
}

int stats_main(int argc, char **argv)
{
	return cmd_on_vm(&cmd_stats, argc, argv, do_stats);
}

/* ---- list ------------------------------------------------------------------------------------- */

struct listing {
	int dir;
	json_t *vms;
};

static void list_one(void *arg, const char *name)
{
	struct listing *l = arg;
	struct msg msg = {""};
	json_t *answer = NULL;
	int fd = rundir_connect(l->dir, name, &msg);

	if (fd < 0) {
		/* Left by a process that has ended: a VM in its sandbox cannot remove it. */
		if (fd == ERR_NOENT)
			rundir_sweep(l->dir, name);
		return;
	}
	if (!control_call(fd, json_pack("{s:s}", "do", "status"), 2, &answer, &msg)) {
		json_object_del(answer, "ok");
		json_array_append_new(l->vms, answer);
	} else {
		json_array_append_new(l->vms, json_pack("{s:s, s:s, s:s}", "name", name, "state",
							"silent", "reason", msg.text));
	}
	close(fd);
}

static void print_list(const json_t *vms)
{
	json_t *vm;
	size_t i;

	printf("%-20s %-9s %8s %-7s %4s %9s %9s\n", "NAME", "STATE", "PID", "ENGINE", "CPUS",
	       "MEMORY", "UPTIME");
	json_array_foreach(vms, i, vm)
	{
		const char *engine = json_string_value(json_object_get(vm, "engine"));
		const char *reason = json_string_value(json_object_get(vm, "reason"));

		printf("%-20s %-9s %8" JSON_INTEGER_FORMAT " %-7s %4" JSON_INTEGER_FORMAT
		       " %5" JSON_INTEGER_FORMAT " MiB %7" JSON_INTEGER_FORMAT " s%s%s\n",
		       json_string_value(json_object_get(vm, "name")),
		       json_string_value(json_object_get(vm, "state")),
		       json_integer_value(json_object_get(vm, "pid")), engine ? engine : "",
		       json_integer_value(json_object_get(vm, "cpus")),
		       json_integer_value(json_object_get(vm, "memory")) / (json_int_t)MIB,
		       json_integer_value(json_object_get(vm, "uptime")), reason ? "  " : "",
		       reason ? reason : "");
	}
}

int list_main(int argc, char **argv)
{
	struct cmd_opts o = {.timeout = -1};
	struct listing l = {.vms = json_array()};
	struct opt_args args;
	struct msg msg = {""};
	char path[4096];

	if (opt_parse(&cmd_list, argc, argv, &o, &args, &msg))
		return cmd_fail(&cmd_list, &msg);
	if (args.help) {
		opt_print_help(&cmd_list);
		return EXIT_OK;
	}
	l.dir = rundir_open(false, path, sizeof(path), &msg);
	if (l.dir < 0 && l.dir != ERR_NOENT)
		return cmd_fail(&cmd_list, &msg);
	if (l.dir >= 0) {
		rundir_each(l.dir, list_one, &l);
		close(l.dir);
	}
	if (o.json) {
		json_dumpf(l.vms, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		print_list(l.vms);
	}
	json_decref(l.vms);
	return EXIT_OK;
}
