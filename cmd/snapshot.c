/* SPDX-License-Identifier: ISC */
/* snapshot.c: vigia snapshot: a VM's memory and disks of one moment. The VM's process, which opens no files,
 * writes and reads the state through a descriptor that is passed to it. */
#include "ctl/snapshot.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "ctl/control.h"
#include "ctl/rundir.h"
#include "ctl/runner.h"
#include "ctl/state.h"

#define SECONDS 3600
#define NAME_MS 30000 /* for a VM that is ending */

struct job {
	struct snapshots s;
	int sock;         /* -1: the VM does not run */
	int rundir, lock; /* its name is ours meanwhile; -1: it runs */
	const struct cmd_opts *o;
	const char *which; /* NULL: not given */
};

static int not_running(const struct job *j, struct msg *msg)
{
	return msg_fail(msg, ERR_NOENT,
			"no VM %s runs: a snapshot is one of a running VM (of its disks alone: "
			"vigia image create NEW --backing DISK)",
			j->s.vm);
}

static int ask(const struct job *j, const char *op, const char *tag, int fd, json_t **answer,
	       struct msg *msg)
{
	return control_call_fd(j->sock,
			       json_pack("{s:s,s:s,s:s,s:b}", "do", "snapshot", "op", op, "tag",
					 tag, "compress", j->o->compress),
			       fd, SECONDS, answer, msg);
}

/* ---- save --------------------------------------------------------------------------------------- */

static int fill(struct job *j, const struct snapshot *new, int fd, struct msg *msg)
{
	json_t *answer;
	uint64_t end;
	int err = ask(j, "save", new->tag, fd, &answer, msg);

	if (err)
		return err;
	end = (uint64_t)json_integer_value(json_object_get(answer, "end"));
	json_decref(answer);
	err = state_seal(fd, end, true, msg);
	return err ? err : snapshots_commit(&j->s, new, msg);
}

static int save(struct job *j, struct msg *msg)
{
	struct snapshot new;
	int fd, err;

	if (j->sock < 0)
		return not_running(j, msg);
	fd = snapshots_begin(&j->s, j->which, &new, msg);
	if (fd < 0)
		return fd;
	err = fill(j, &new, fd, msg);
	close(fd);
	if (err) { /* a message of its own would hide why */
		struct msg ignored = {""};

		(void)snapshots_remove(&j->s, &new, j->sock, &ignored);
		return err;
	}
	printf("snapshot %u: %s\n", new.number, new.name);
	return snapshots_set_current(&j->s, new.number, msg);
}

/* ---- list --------------------------------------------------------------------------------------- */

static bool is_root(const struct snapshots *s, const struct snapshot *x)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->s[i].number == x->parent)
			return false;
	return true;
}

static void print_one(const struct snapshots *s, const struct snapshot *x, unsigned depth)
{
	char when[32] = "", label[160];
	struct tm tm;

	if (localtime_r(&x->when, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(label, sizeof(label), "%*s%s", (int)MIN(2 * depth, 60u), "", x->name);
	printf("%c %4u  %-32s %s  %6" PRIu64 " MiB\n", x->number == s->current ? '*' : ' ',
	       x->number, label, when, x->bytes / MIB);
}

/* Children come after their parents, so the tree has no circles to get lost in. */
static void print_under(const struct snapshots *s, unsigned parent, unsigned depth)
{
	for (unsigned i = 0; i < s->n; i++) {
		const struct snapshot *x = &s->s[i];

		if (depth ? x->parent != parent || x->number <= parent : !is_root(s, x))
			continue;
		print_one(s, x, depth);
		print_under(s, x->number, depth + 1);
	}
}

static void print_json(const struct snapshots *s)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < s->n; i++) {
		const struct snapshot *x = &s->s[i];

		json_array_append_new(list, json_pack("{s:i,s:s,s:i,s:I,s:I,s:b}", "number",
						      (int)x->number, "name", x->name, "parent",
						      (int)x->parent, "time", (json_int_t)x->when,
						      "bytes", (json_int_t)x->bytes, "current",
						      x->number == s->current));
	}
	json_dumpf(list, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(list);
}

static int list(struct job *j, struct msg *msg)
{
	if (j->o->json) {
		print_json(&j->s);
	} else if (j->s.n) {
		printf("     #  %-32s %-19s  %10s\n", "NAME", "TAKEN", "FILE");
		print_under(&j->s, 0, 0);
	}
	return 0;
}

/* ---- restore ------------------------------------------------------------------------------------ */

static int in_place(struct job *j, const struct snapshot *to, const char *path, struct msg *msg)
{
	struct state_file f;
	json_t *answer;
	int err = state_file_open(path, false, &f, msg);

	if (err)
		return err;
	state_file_close(&f);
	f.fd = snapshots_open_state(&j->s, to, msg);
	if (f.fd < 0)
		return f.fd;
	err = ask(j, "restore", to->tag, f.fd, &answer, msg);
	close(f.fd);
	if (err)
		return err;
	json_decref(answer);
	return snapshots_set_current(&j->s, to->number, msg);
}

/* A VM that does not run, or not any more, shall not start while we are at its disks. */
static int take_name(struct job *j, unsigned ms, struct msg *msg)
{
	char path[4096];

	if (j->sock >= 0)
		return 0;
	j->rundir = rundir_open(true, path, sizeof(path), msg);
	if (j->rundir < 0)
		return j->rundir;
	j->lock = rundir_claim(j->rundir, j->s.vm, ms, msg);
	return j->lock < 0 ? j->lock : 0;
}

static void give_name(struct job *j)
{
	if (j->lock >= 0)
		rundir_release(j->rundir, j->s.vm, j->lock);
	if (j->rundir >= 0)
		close(j->rundir);
	j->lock = j->rundir = -1;
}

/* Gives the VM's exit status. */
static int start(struct job *j, const struct snapshot *to, const char *path)
{
	struct state_file f;
	struct msg msg = {""};
	struct vm_def def;
	bool help = false;
	int status, err = state_file_open(path, false, &f, &msg);

	if (err)
		return cmd_fail(&cmd_snapshot, &msg);
	vm_def_init(&def);
	err = vm_def_parse(&def, f.origin.argc, f.origin.argv, &help, &msg);
	if (!err && j->o->engine) {
		free(def.engine);
		def.engine = strdup(j->o->engine);
	}
	if (!err)
		err = snapshots_revert(&j->s, to, &msg);
	give_name(j);
	snapshots_close(&j->s); /* not locked for as long as the VM runs */
	snprintf(def.name, sizeof(def.name), "%s", f.name);
	status = err ? cmd_fail(&cmd_snapshot, &msg)
		     : runner_main(&def, &(struct runner_start){f.origin.argc, f.origin.argv, &f});
	vm_def_fini(&def);
	state_file_close(&f);
	return status;
}

static int restore(struct job *j, int *status, struct msg *msg)
{
	const struct snapshot *to = snapshots_find(&j->s, j->which, msg);
	char path[sizeof(j->s.folder) + sizeof(to->file) + 1];

	if (!to)
		return ERR_NOENT;
	snprintf(path, sizeof(path), "%s/%s", j->s.folder, to->file);
	if (j->sock >= 0)
		return in_place(j, to, path, msg);
	*status = start(j, to, path);
	return 0;
}

/* ---- delete ------------------------------------------------------------------------------------- */

static int delete (struct job *j, struct msg *msg)
{
	const struct snapshot *old = snapshots_find(&j->s, j->which, msg);
	int err;

	if (!old)
		return ERR_NOENT;
	err = snapshots_unname(&j->s, old, msg);
	return err ? err : snapshots_remove(&j->s, old, j->sock, msg);
}

/* ---- all ------------------------------------------------------------------------------------------ */

enum verb { SAVE, LIST, RESTORE, DELETE, VERBS };

static int run_verb(struct job *j, enum verb verb, int *status, struct msg *msg)
{
	int err = j->sock >= 0 || j->lock >= 0 ? snapshots_recover(&j->s, j->sock, msg) : 0;

	if (err && verb != LIST)
		return err;
	switch (verb) {
	case SAVE:
		return save(j, msg);
	case RESTORE:
		return restore(j, status, msg);
	case DELETE:
		return delete (j, msg);
	default:
		return list(j, msg);
	}
}

static enum verb find_verb(const char *name)
{
	static const char *const names[VERBS] = {"save", "list", "restore", "delete"};
	enum verb v = SAVE;

	while (v < VERBS && strcmp(names[v], name))
		v++;
	return v;
}

int snapshot_main(int argc, char **argv)
{
	struct cmd_opts o = {.timeout = -1};
	struct job j = {.sock = -1, .o = &o, .rundir = -1, .lock = -1};
	struct opt_args args;
	struct msg msg = {""}, ignored;
	int status = EXIT_OK, err;
	enum verb verb;

	if (opt_parse(&cmd_snapshot, argc, argv, &o, &args, &msg))
		return cmd_fail(&cmd_snapshot, &msg);
	if (args.help) {
		opt_print_help(&cmd_snapshot);
		return EXIT_OK;
	}
	verb = find_verb(args.arg[0]);
	j.which = args.n > 2 ? args.arg[2] : NULL;
	if (verb == VERBS)
		err = msg_fail(&msg, ERR_INVAL, "%s: say save, list, restore or delete",
			       args.arg[0]);
	else if (!j.which && verb >= RESTORE)
		err = msg_fail(&msg, ERR_INVAL, "which one? vigia snapshot list %s shows them",
			       args.arg[1]);
	else
		err = snapshots_open(args.arg[1], verb == SAVE, &j.s, &msg);
	if (!err) {
		j.sock = cmd_connect(args.arg[1], &ignored);
		err = take_name(&j, verb == LIST ? 0 : NAME_MS, &msg);
		if (!err || verb == LIST)
			err = run_verb(&j, verb, &status, &msg);
		give_name(&j);
		if (j.sock >= 0)
			close(j.sock);
		snapshots_close(&j.s);
	}
	return err ? cmd_fail(&cmd_snapshot, &msg) : status;
}
