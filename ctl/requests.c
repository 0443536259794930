/* SPDX-License-Identifier: ISC */
/* requests.c: what others ask of a running VM over its control socket: a function each. The policy's
 * class operator says who may, and the history who did. On the main thread, between other things. */
#include "ctl/runner_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "block/block.h"
#include "ctl/engines.h"
#include "ctl/media.h"
#include "ctl/snapshot.h"
#include "ctl/typing.h"
#include "ui/png.h"
#include "vm/save.h"

static int req_status(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	report_status(&r->src, answer);
	return 0;
}

static int req_stats(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	report_stats(&r->src, answer);
	if (r->gdb.debug)
		gdb_report(&r->gdb, answer);
	return 0;
}

static int req_stop(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	const json_t *t = json_object_get(args, "timeout");
	json_int_t seconds = json_is_integer(t) ? json_integer_value(t) : r->def->stop_timeout;

	if (seconds < 0 || seconds > 86400)
		return msg_fail(msg, ERR_INVAL, "timeout: give 0 to 86400 seconds");
	/* Asked twice for the same is not asked for a hard stop, as two signals are: that is kill. */
	if (!r->stop_deadline)
		runner_stop(r, (unsigned)seconds);
	return 0;
}

static int req_kill(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	runner_leave_list(r);
	runner_stop_hard(r);
	return 0;
}

static int req_pause(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	if (r->user_paused)
		return msg_fail(msg, ERR_BUSY, "it is paused already");
	r->user_paused = true;
	vm_pause_sync(r->vm, "paused by the operator");
	return 0;
}

static int req_resume(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	if (!r->user_paused && gdb_release(&r->gdb))
		return 0;
	if (!r->user_paused)
		return msg_fail(msg, ERR_INVAL,
				vm_is_asleep(r->vm) ? "its guest sleeps: see vigia wake"
						    : "nobody has paused it: see vigia list");
	r->user_paused = false;
	vm_resume(r->vm);
	return 0;
}

static int req_wake(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	if (!vm_is_asleep(r->vm) || !r->vm->power_button)
		return msg_fail(msg, ERR_INVAL, "its guest does not sleep");
	r->vm->power_button(r->vm);
	return 0;
}

/* Another engine, while the guest waits. */
static int req_move(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	const char *name = json_string_value(json_object_get(args, "engine"));
	const struct engine_ops *engine = NULL;
	uint64_t started = plat_now();
	const char *lacks = NULL;
	int err = engine_choose(name ? name : "auto", &engine, msg);

	if (err)
		return err;
	if (engine == r->vm->engine)
		return msg_fail(msg, ERR_INVAL, "it is on the engine %s already", engine->name);
	if (r->gdb.debug && !engine->debug_changed)
		return msg_fail(msg, ERR_NOSYS,
				"guests cannot be debugged on the engine %s: start the VM without "
				"--gdb to move it",
				engine->name);
	if (r->vm->debug_set && engine->debug_can && !engine->debug_can(r->vm, r->vm->debug_set))
		return msg_fail(msg, ERR_NOSYS,
				"the debugger has more breakpoints than the engine %s can do with: "
				"delete some",
				engine->name);
	if (engine == &engine_soft && !r->def->no_sandbox)
		return msg_fail(msg, ERR_NOSYS,
				"the sandbox lets no new code in, which soft would translate: "
				"start the VM with --sandbox off to move it, or vigia save and "
				"vigia restore --engine soft");
	err = vm_freeze(r->vm, "moves to another engine");
	if (err)
		return msg_fail(msg, err, "the VM does not come to rest: %s: see vigia list",
				err_str(err));
	r->vm->may_lack = json_is_true(json_object_get(args, "drop"));
	err = vm_set_engine(r->vm, engine, &lacks);
	/* State lives in its engine. */
	if (!err)
		watch_places(&r->watch);
	vm_thaw(r->vm, true);
	if (lacks)
		return msg_fail(msg, err,
				"the engine %s has not %s, which the guest's processors have: "
				"--drop-features moves a guest that does not use it",
				engine->name, lacks);
	if (err == ERR_RANGE && r->vm->tsc.ratio)
		return msg_fail(
			msg, err,
			"the guest's TSC does not go at this host's rate, as its state comes "
			"from another one, and the engine %s cannot scale it here: it goes on "
			"as before",
			engine->name);
	if (err)
		return msg_fail(msg, err,
				"the engine %s does not take the VM: %s; it goes on as before",
				engine->name, err_str(err));
	json_object_set_new(answer, "pause_us",
			    json_integer((json_int_t)((plat_now() - started) / 1000)));
	return 0;
}

/* Writes the state to the file that came along. The VM then stays paused, for its client to end it
 * once the file is safe, or goes on ("keep"). */
static int req_save(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	bool keep = json_is_true(json_object_get(args, "keep"));
	bool compress = json_is_true(json_object_get(args, "compress"));
	uint64_t end = 0, started = plat_now(), stood;
	struct state_ahead *ahead = NULL;
	int fd = r->control.passed;
	int err;

	if (fd < 0)
		return msg_fail(msg, ERR_INVAL, "save: no file was passed along");
	err = compress || r->user_paused ? 0 : state_ahead(fd, r->vm, &ahead, msg);
	if (err)
		return err;
	stood = plat_now();
	err = vm_freeze(r->vm, "saved");
	if (err) {
		state_ahead_end(ahead);
		return msg_fail(msg, err, "the VM does not come to rest: %s: see vigia list",
				err_str(err));
	}
	for (unsigned i = 0; i < r->be.n_disks && !err; i++)
		if (r->be.disk[i] && !r->be.disk[i]->read_only && block_flush_sync(r->be.disk[i]))
			err = msg_fail(msg, ERR_IO, "the disk %s cannot be flushed",
				       r->be.disk[i]->name);
	if (!err)
		err = state_write(fd, r->vm, &r->origin, compress, ahead, &end, msg);
	state_ahead_end(ahead);
	/* Paused already, or going on: our own pause ends. */
	vm_thaw(r->vm, err || keep || r->user_paused);
	stood = plat_now() - stood;
	if (err)
		return err;
	r->user_paused = !keep || r->user_paused;
	json_object_set_new(answer, "end", json_integer((json_int_t)end));
	json_object_set_new(answer, "ms",
			    json_integer((json_int_t)((plat_now() - started) / 1000000)));
	json_object_set_new(answer, "stood_ms", json_integer((json_int_t)(stood / 1000000)));
	return 0;
}

/* Memory and disks together. The descriptor is the state's file. */
static int req_snapshot(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	const struct snapshot_vm v = {r->vm, &r->be, r->def, &r->origin, r->user_paused};
	const char *op = json_string_value(json_object_get(args, "op"));
	const char *tag = json_string_value(json_object_get(args, "tag"));
	bool compress = json_is_true(json_object_get(args, "compress"));
	uint64_t end = 0, started = plat_now();
	int fd = r->control.passed, err;

	if (!op || !tag || (fd < 0 && strcmp(op, "delete")))
		return msg_fail(msg, ERR_INVAL, "snapshot: op, tag or the file is missing");
	if (!strcmp(op, "save"))
		err = snapshot_vm_save(&v, tag, fd, compress, &end, msg);
	else if (!strcmp(op, "restore"))
		err = snapshot_vm_restore(&v, tag, fd, msg);
	else if (!strcmp(op, "delete"))
		err = snapshot_vm_delete(&v, tag, msg);
	else
		err = msg_fail(msg, ERR_INVAL, "snapshot: save, restore or delete");
	if (err)
		return err;
	json_object_set_new(answer, "end", json_integer((json_int_t)end));
	json_object_set_new(answer, "ms",
			    json_integer((json_int_t)((plat_now() - started) / 1000000)));
	return 0;
}

/* A PNG file of what the screen shows, into the file that came along. */
static int req_screenshot(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	struct display *d = &r->be.display;
	uint8_t *file = NULL;
	size_t len = 0, done = 0;
	ssize_t n = 1;
	int err;

	if (r->control.passed < 0)
		return msg_fail(msg, ERR_INVAL, "screenshot: no file was passed along");
	if (!display_begin(d))
		return msg_fail(msg, ERR_NOENT, "it has no screen: start it with --display vga");
	err = png_make(d->pixels, d->width, d->height, &file, &len);
	display_done(d);
	if (err)
		return msg_fail(msg, err, "screenshot: %s", err_str(err));
	while (done < len && n > 0) {
		n = write(r->control.passed, file + done, len - done);
		done += n > 0 ? (size_t)n : 0;
	}
	free(file);
	return done < len
		       ? msg_fail(msg, ERR_IO, "the picture cannot be written: %s", strerror(errno))
		       : 0;
}

static int req_type(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	return typing_text(&r->be, args, msg);
}

static int req_key(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	return typing_keys(&r->be, args, msg);
}

static int req_mouse(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	return typing_mouse(&r->be, args, msg);
}

static int req_typing(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	return typing_left(&r->be, answer);
}

static int change_medium(struct runner *r, json_t *args, bool insert, struct msg *msg)
{
	const struct media_change m = {
		.drive = json_string_value(json_object_get(args, "drive")),
		.file = insert ? json_string_value(json_object_get(args, "file")) : NULL,
		.fd = r->control.passed,
		.read_only = json_is_true(json_object_get(args, "ro")),
		.force = json_is_true(json_object_get(args, "force")),
	};
	int err;

	if (!m.drive || (insert && (!m.file || m.fd < 0)))
		return msg_fail(msg, ERR_INVAL, "drive, file or its descriptor is missing");
	err = media_change(r->vm, &r->be, r->def, &m, msg);
	return err ? err : media_remember(&r->origin, &r->origin_owned, &m, msg);
}

static int req_insert(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	return change_medium(r, args, true, msg);
}

static int req_eject(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	return change_medium(r, args, false, msg);
}

/* Rules come in parts, as lines of the protocol are short. */
static int req_policy(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	const char *text = json_string_value(json_object_get(args, "text"));

	if (!text)
		return msg_fail(msg, ERR_INVAL, "policy: text is missing");
	return watch_policy_part(&r->watch, text, !json_is_true(json_object_get(args, "more")),
				 msg);
}

/* The text in force, in parts too. */
static int req_rules(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	const char *text = r->watch.policy_text ? r->watch.policy_text : "";
	json_int_t from = json_integer_value(json_object_get(args, "from"));
	size_t len = strlen(text);

	if (from < 0 || (size_t)from > len)
		return msg_fail(msg, ERR_INVAL, "rules: from is outside of the text");
	len = MIN(len - (size_t)from, (size_t)8192);
	json_object_set_new(answer, "text", json_stringn_nocheck(text + from, len));
	json_object_set_new(answer, "size", json_integer((json_int_t)strlen(text)));
	return 0;
}

static int req_record(struct runner *r, json_t *args, json_t *answer, struct msg *msg)
{
	const char *spec = json_string_value(json_object_get(args, "classes"));

	if (!spec)
		return msg_fail(msg, ERR_INVAL, "record: classes is missing");
	return watch_record(&r->watch, spec, msg);
}

static const struct {
	const char *name;
	int (*fn)(struct runner *r, json_t *args, json_t *answer, struct msg *msg);
	bool question;
} requests[] = {
	{"policy", req_policy},
	{"rules", req_rules, true},
	{"record", req_record},
	{"status", req_status, true},
	{"stats", req_stats, true},
	{"stop", req_stop},
	{"kill", req_kill},
	{"pause", req_pause},
	{"resume", req_resume},
	{"wake", req_wake},
	{"screenshot", req_screenshot, true},
	{"save", req_save},
	{"move", req_move},
	{"snapshot", req_snapshot},
	{"type", req_type},
	{"key", req_key},
	{"mouse", req_mouse},
	{"typing", req_typing, true},
	{"insert", req_insert},
	{"eject", req_eject},
};

/* Who asks for what, and what came of it. Mere questions are not noted. */
static void note_request(struct runner *r, const char *what, json_t *args, uint32_t denied_by,
			 int err, const struct msg *msg)
{
	struct ucred who = {.pid = -1};
	socklen_t len = sizeof(who);
	char *text = json_dumps(args, JSON_COMPACT);

	getsockopt(r->control.peer_fd, SOL_SOCKET, SO_PEERCRED, &who, &len);
	watch_note_rule(&r->watch,
			&(struct mon_event){.cls = MON_OPERATOR,
					    .op = OPERATOR_REQUEST,
					    .result = (int8_t)err,
					    .rule = denied_by,
					    .verdict = denied_by ? MON_DENY : MON_PROVIDE},
			"%s by uid %d pid %d: %.200s%s%s", what, (int)who.uid, (int)who.pid,
			text ? text : "", err ? ": " : "", err ? msg->text : "");
	free(text);
}

/* The line of the rule that denies who asks what is asked; 0: none does. */
static uint32_t denied(struct runner *r, const char *what)
{
	static const char *const names[] = {
#define R(name) #name,
		MON_REQUESTS(R)
#undef R
	};
	struct mon_event ev = {.cls = MON_OPERATOR, .vcpu = -1};
	struct ucred who = {.uid = (uid_t)-1};
	socklen_t len = sizeof(who);

	while (ev.op < REQUESTS && strcmp(names[ev.op], what))
		ev.op++;
	getsockopt(r->control.peer_fd, SOL_SOCKET, SO_PEERCRED, &who, &len);
	ev.addr = who.uid;
	return mon_ask(&r->vm->mon, &ev) == MON_DENY ? ev.rule : 0;
}

/* May it be asked for? 0, or ERR_ACCES, which is noted. */
static int ask(struct runner *r, const char *what, json_t *args, struct msg *msg)
{
	uint32_t line = denied(r, what);

	if (!line)
		return 0;
	msg_fail(msg, ERR_ACCES, "the policy of this VM denies it (line %u)", line);
	note_request(r, what, args, line, ERR_ACCES, msg);
	return ERR_ACCES;
}

static int on_request(void *ctx, const char *what, json_t *args, json_t *answer, struct msg *msg)
{
	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
		int err;

		if (strcmp(requests[i].name, what))
			continue;
		err = ask(ctx, what, args, msg);
		if (err)
			return err;
		err = requests[i].fn(ctx, args, answer, msg);
		if (!requests[i].question)
			note_request(ctx, what, args, 0, err, msg);
		return err;
	}
	return msg_fail(
		msg, ERR_INVAL,
		"unknown request: status, stats, stop, kill, pause, resume, "
		"save, snapshot, move, screenshot, type, key, mouse, insert, eject or console");
}

static int may_console(void *ctx, struct msg *msg)
{
	return ask(ctx, "console", NULL, msg);
}

static int on_console(void *ctx, int fd, const char *early, size_t len)
{
	struct msg msg = {"no more terminals than these"};
	int err = backends_console(&((struct runner *)ctx)->be, fd, early, len);

	note_request(ctx, "console", NULL, 0, err, &msg);
	return err;
}

const struct control_ops runner_requests = {on_request, may_console, on_console};
