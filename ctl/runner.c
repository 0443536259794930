/* SPDX-License-Identifier: ISC */
/* runner.c: one VM in the foreground. The main thread sets up, then sleeps in poll() on signals, the
 * control socket and the VM's end; a thread of its own waits for the latter. Ends by the power
 * button first, hard when the guest does not answer. */
#include "ctl/runner_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "ctl/engines.h"
#include "ctl/hugepages.h"
#include "ctl/media.h"
#include "ctl/profile.h"
#include "ctl/release.h"
#include "ctl/rundir.h"
#include "ctl/sandbox.h"
#include "ctl/snapshot.h"
#include "plat/linux/log.h"
#include "vm/save.h"
#include "x86/cpuid.h"

/* What a VM may take to end once it has been stopped: its disks are flushed. */
#define ENDING_MS 30000

/* After the start: what the guest's first instructions need is not taken from under them. */
#define RELEASE_NS (NS_PER_SEC / 10)

/* What a guest takes to come back from S3, before it is asked to power off. */
#define WAKING_NS (5 * NS_PER_SEC)

/* ---- stopping ------------------------------------------------------------------------------ */

void runner_stop_hard(struct runner *r)
{
	vm_stop(r->vm, VM_STOPPED, 0);
}

void runner_stop(struct runner *r, unsigned seconds)
{
	if (r->stop_deadline || !r->vm->power_button || !seconds) {
		runner_stop_hard(r);
		return;
	}
	plat_log(LOG_INFO,
		 "asking the guest to power off (hard stop in %u s, or now with a second "
		 "signal)",
		 seconds);
	r->stop_deadline = plat_now() + seconds * NS_PER_SEC;
	r->src.stopping = true;
	if (r->user_paused) {
		r->user_paused = false;
		vm_resume(r->vm);
	}
	if (vm_is_asleep(r->vm)) /* that only wakes it */
		r->press_again = plat_now() + WAKING_NS;
	r->vm->power_button(r->vm);
}

/* Keys behind Ctrl-A, on the event loop's thread. */
static void key_leave(void *arg)
{
	watch_note(&((struct runner *)arg)->watch, MON_OPERATOR, OPERATOR_KEY, 0, "leave");
	runner_stop_hard(arg);
}

static void key_power(void *arg)
{
	struct runner *r = arg;
	uint64_t one = 1;

	if (write(r->button_fd, &one, sizeof(one)) < 0)
		plat_log(LOG_WARN, "the power button is stuck");
}

static const struct chr_stdio_key runner_keys[] = {
	{'x', "leave: stop the VM at once", key_leave, NULL},
	{'b', "press the guest's power button", key_power, NULL},
};

/* ---- control socket -------------------------------------------------------------------------- */

void runner_leave_list(struct runner *r)
{
	if (r->control.listen_fd < 0)
		return;
	rundir_remove(r->rundir, r->def->name);
	control_deaf(&r->control);
}

static int open_control(struct runner *r, struct msg *msg)
{
	char path[4096];
	int fd;

	if (r->def->no_control)
		return 0;
	r->rundir = rundir_open(true, path, sizeof(path), msg);
	if (r->rundir < 0)
		return r->rundir;
	r->name_lock = fd = rundir_claim(r->rundir, r->def->name, ENDING_MS, msg);
	if (fd >= 0)
		fd = rundir_listen(r->rundir, r->def->name, msg);
	if (fd < 0) {
		if (r->name_lock >= 0)
			rundir_release(r->rundir, r->def->name, r->name_lock);
		close(r->rundir);
		r->rundir = -1;
		return fd;
	}
	control_init(&r->control, fd, &runner_requests, r);
	return 0;
}

/* Who waits for the end, or wants the name, waits until the disks are closed, too. */
static void close_control(struct runner *r)
{
	if (r->rundir >= 0) {
		rundir_release(r->rundir, r->def->name, r->name_lock);
		close(r->rundir);
	}
	control_fini(&r->control);
}

/* ---- the debugger ---------------------------------------------------------------------------- */

static void debugger_note(void *ctx, const char *text)
{
	watch_note(&((struct runner *)ctx)->watch, MON_OPERATOR, OPERATOR_DEBUG, 0, "%s", text);
}

static void debugger_kill(void *ctx)
{
	runner_stop_hard(ctx);
}

static const struct gdb_ops gdb_ops = {debugger_note, debugger_kill};

/* ---- set-up ------------------------------------------------------------------------------------ */

/* Before any thread starts, so that all of them block these and only signal_fd hears them. */
static int open_events(struct runner *r, struct msg *msg)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	/* A write beyond the file size limit shall fail like one on a full disk, not kill. */
	signal(SIGXFSZ, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return msg_fail(msg, ERR_IO, "cannot block signals: %s", strerror(errno));
	r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	r->ended_fd = eventfd(0, EFD_CLOEXEC);
	r->button_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (unsigned i = 0; i < ARRAY_SIZE(runner_keys); i++) {
		r->keys[i] = runner_keys[i];
		r->keys[i].arg = r;
	}
	if (r->signal_fd < 0 || r->ended_fd < 0 || r->button_fd < 0)
		return msg_fail(msg, ERR_NOMEM, "no file descriptors: %s", strerror(errno));
	return 0;
}

const struct x86_model *runner_model(const struct vm_def *def, struct msg *msg)
{
	const struct x86_model *m = def->cpu ? x86_model_find(def->cpu) : x86_model_default();

	if (!m)
		(void)msg_fail(msg, ERR_INVAL,
			       "--cpu %s: there is x86-64-v1, x86-64-v2, x86-64-v3, "
			       "x86-64-v4, host, host-avx2 and host-la57",
			       def->cpu);
	return m;
}

static int create_vm(struct runner *r, struct msg *msg)
{
	static const enum vm_chips chips[] = {[CHIPS_AUTO] = CHIPS_MAY_LEND,
					      [CHIPS_FULL] = CHIPS_LEND_ALL,
					      [CHIPS_SPLIT] = CHIPS_MUST_LEND,
					      [CHIPS_OFF] = CHIPS_OURS};
	static const enum vm_bells bells[] = {
		[RINGS_AUTO] = BELLS_AUTO, [RINGS_ON] = BELLS_ON, [RINGS_OFF] = BELLS_OFF};
	const struct vm_def *def = r->def;
	struct vm_config cfg = {
		.name = def->name,
		.cpus = def->cpus,
		.memory = ALIGN_DOWN(watch_memory(&r->watch, def->memory),
				     def->hugepages ? HUGEPAGE : MIB),
		.low_end = vm_def_is_pc(def) ? PC_LOW_END : MICRO_LOW_END,
		.pc_low = vm_def_is_pc(def),
		.reserved_pages = def->hugepages,
		.chips = def->chips == CHIPS_AUTO && vm_def_is_pc(def) ? CHIPS_OURS
								       : chips[def->chips],
		.bells = bells[def->rings],
		.at_once = def->kvm_at_once,
		.dirty_rings = def->kvm_rings,
	};
	struct x86_kind kind;
	bool any = !def->engine || !strcmp(def->engine, "auto");
	int err = engine_choose(any && def->gdb ? "soft" : def->engine, &cfg.engine, msg);

	if (err)
		return err;
	cfg.model = runner_model(def, msg);
	if (!cfg.model)
		return err_here(ERR_INVAL);
	if (!x86_model_usable(cfg.model))
		return msg_fail(
			msg, ERR_NOSYS,
			"--cpu %s: this host's processor cannot execute it: leave --cpu out",
			def->cpu ? def->cpu : "");
	if (r->restore) {
		err = state_file_kind(r->restore, &kind, &cfg.tsc_hz, msg);
		if (err)
			return err;
		cfg.kind = &kind;
	}
	err = def->hugepages ? hugepages_check(cfg.memory, msg) : 0;
	if (err)
		return err;
	err = vm_create(&cfg, &r->vm);
	if (!err)
		r->vm->may_lack = r->may_lack;
	if (!err) /* while files may be opened: for a move later */
		r->vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (err)
		return msg_fail(msg, err, "cannot create the VM: %s%s", err_str(err),
				err == ERR_NOMEM ? ": give less --memory" : "");
	if (r->vm->tsc.ratio)
		plat_log(LOG_INFO, "its TSC goes at %llu MHz, the host's at %llu",
			 (unsigned long long)(r->vm->tsc_hz / 1000000),
			 (unsigned long long)(r->vm->tsc_host_hz / 1000000));
	return engine_tune(r->vm, r->def->profile, msg);
}

static int create_pc(struct runner *r, struct msg *msg)
{
	struct pc_config cfg;
	char err_text[256] = "";
	int err;

	backends_wire_pc(&r->be, r->def, &cfg);
	err = pc_create(r->vm, &cfg, err_text, sizeof(err_text));
	if (err)
		msg_fail(msg, err, "cannot set up the PC: %s",
			 err_text[0] ? err_text : err_str(err));
	return err;
}

static int create_board(struct runner *r, struct msg *msg)
{
	struct micro_config cfg;
	char err_text[256] = "";
	int err;

	backends_wire(&r->be, r->def, &cfg);
	cfg.no_load = r->restore;
	err = micro_create(r->vm, &cfg, err_text, sizeof(err_text));
	if (!err)
		return 0;
	if (err_text[0] && (err == ERR_FORMAT || err == ERR_NOMEM || err == ERR_INVAL))
		return msg_fail(msg, err, "the kernel %s %s", r->def->kernel, err_text);
	return msg_fail(msg, err, "cannot set up the machine: %s",
			err_text[0] ? err_text : err_str(err));
}

static int restore(struct runner *r, struct msg *msg)
{
	int err = state_file_load(r->restore, r->vm, msg);

	if (!err)
		vm_thaw(r->vm, false); /* what was asked of devices before is looked at */
	return err;
}

/* All threads: those that are made from now on have it from this one. */
static int pin(const struct vm_def *def, struct msg *msg)
{
	cpu_set_t set;

	if (!def->pin)
		return 0;
	CPU_ZERO(&set);
	for (unsigned i = 0; i < 64; i++)
		if (def->pin & BIT64(i))
			CPU_SET(i, &set);
	return sched_setaffinity(0, sizeof(set), &set)
		       ? msg_fail(msg, ERR_INVAL,
				  "--pin: this host has none of these processors, or not for us")
		       : 0;
}

static int set_up(struct runner *r, struct msg *msg)
{
	int err = pin(r->def, msg);

	if (!err)
		err = open_events(r, msg);

	if (!err)
		err = open_control(r, msg);
	if (!err && !r->restore)
		err = snapshots_recover_for(r->def, r->rundir, msg);
	if (!err)
		err = watch_prepare(&r->watch, r->def, msg);
	if (!err)
		err = create_vm(r, msg);
	r->be.watch = &r->watch;
	if (!err)
		r->be.mon = &r->vm->mon;
	if (!err && plat_loop_create(&r->loop))
		err = msg_fail(msg, ERR_NOMEM, "cannot start a thread");
	if (!err)
		err = backends_open(&r->be, r->def, r->loop, r->keys, ARRAY_SIZE(r->keys), msg);
	if (!err)
		err = vm_def_is_pc(r->def) ? create_pc(r, msg) : create_board(r, msg);
	if (!err && r->restore)
		err = restore(r, msg);
	if (!err)
		err = backends_listen(&r->be, msg);
	if (err)
		return err;
	err = watch_open(&r->watch, r->vm, r->def, r->be.mux, &r->be.display, r->loop, msg);
	if (!err && r->def->gdb)
		err = gdb_open(&r->gdb, r->def->gdb, r->vm, &gdb_ops, r, msg);
	if (err)
		return err;
	backends_trim(&r->be);
	r->src = (struct report_source){
		.vm = r->vm,
		.started = plat_now(),
		.screen = r->be.vnc ? vnc_address(r->be.vnc) : NULL,
		.statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC),
	};
	watch_devices(&r->watch, r->be.net, r->be.n_nets, r->be.n_disks, !r->def->no_rng);
	err = r->def->no_sandbox ? 0 : sandbox_enter(msg);
	return err ? err : watch_start(&r->watch, msg);
}

/* ---- running ------------------------------------------------------------------------------------ */

static void wait_thread(void *arg)
{
	struct runner *r = arg;
	uint64_t one = 1;

	vm_wait(r->vm);
	if (write(r->ended_fd, &one, sizeof(one)) < 0)
		plat_log(LOG_ERROR, "cannot tell the VM's end");
}

static void take_signals(struct runner *r)
{
	struct signalfd_siginfo si;
	uint64_t presses;

	if (read(r->button_fd, &presses, sizeof(presses)) == sizeof(presses) && r->vm->power_button)
		r->vm->power_button(r->vm);
	while (read(r->signal_fd, &si, sizeof(si)) == sizeof(si)) {
		watch_note(&r->watch, MON_OPERATOR, OPERATOR_SIGNAL, 0,
			   "signal %u from uid %u pid %u", si.ssi_signo, si.ssi_uid, si.ssi_pid);
		runner_stop(r, r->def->stop_timeout);
	}
}

static int poll_timeout(const struct runner *r)
{
	uint64_t now = plat_now(), at = r->stop_deadline;

	if (r->release_at)
		at = MIN(at ? at : UINT64_MAX, r->release_at);
	if (!at)
		return -1;
	if (r->press_again)
		at = MIN(at, r->press_again);
	return now >= at ? 0 : (int)MIN((at - now) / 1000000 + 1, (uint64_t)60000);
}

static void run(struct runner *r)
{
	struct pollfd pfd[3 + GDB_POLL_MAX + CONTROL_POLL_MAX];

	for (;;) {
		unsigned n = 0, n_gdb = r->gdb.debug ? gdb_poll(&r->gdb, pfd + 3) : 0;
		struct pollfd *control = pfd + 3 + n_gdb;

		pfd[0] = (struct pollfd){.fd = r->ended_fd, .events = POLLIN};
		pfd[1] = (struct pollfd){.fd = r->signal_fd, .events = POLLIN};
		pfd[2] = (struct pollfd){.fd = r->button_fd, .events = POLLIN};
		if (r->rundir >= 0)
			n = control_poll(&r->control, control);
		if (poll(pfd, 3 + n_gdb + n, poll_timeout(r)) < 0 && errno != EINTR)
			break;
		if (pfd[0].revents)
			break;
		if (pfd[1].revents || pfd[2].revents)
			take_signals(r);
		if (n_gdb)
			gdb_serve(&r->gdb, pfd + 3, n_gdb);
		if (r->rundir >= 0)
			control_serve(&r->control, control, n);
		if (r->release_at && plat_now() >= r->release_at) {
			r->release_at = 0;
			release_start();
		}
		if (r->press_again && plat_now() >= r->press_again) {
			r->press_again = 0;
			r->vm->power_button(r->vm);
		}
		if (r->stop_deadline && plat_now() >= r->stop_deadline) {
			plat_log(LOG_WARN, "the guest did not power off: stopping it");
			runner_stop_hard(r);
			r->stop_deadline = UINT64_MAX / 2;
		}
	}
}

/* The report goes into the history too, in pieces. */
static void note_crash(struct runner *r)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return;
	report_crash(f, r->vm, &r->watch.rec);
	fclose(f);
	for (size_t at = 0; at < len; at += RING_TEXT_MAX)
		mon_core_note(
			&r->watch.core,
			&(struct mon_event){.cls = MON_LIFECYCLE,
					    .op = LIFE_CRASH,
					    .value = at,
					    .data = text + at,
					    .len = (uint32_t)MIN(len - at, (size_t)RING_TEXT_MAX)});
	free(text);
}

static const char *end_text(enum vm_end end)
{
	static const char *const texts[] = {
		[VM_RUNNING] = "never started",
		[VM_POWEROFF] = "the guest powered off",
		[VM_CRASHED] = "the guest crashed",
		[VM_STOPPED] = "stopped by the operator",
		[VM_FAILED] = "the host failed",
		[VM_EXITED] = "the guest wrote to the exit port",
	};

	return (unsigned)end < ARRAY_SIZE(texts) && texts[end] ? texts[end] : "ended";
}

static void show_profile(const struct runner *r)
{
	json_t *stats = json_object();

	report_stats(&r->src, stats);
	profile_print(stderr, stats);
	json_decref(stats);
}

static int ended(struct runner *r)
{
	if (r->def->profile)
		show_profile(r);
	watch_note(&r->watch, MON_LIFECYCLE, LIFE_END, r->vm->end == VM_FAILED ? ERR_IO : 0, "%s",
		   end_text(r->vm->end));
	switch (r->vm->end) {
	case VM_POWEROFF:
	case VM_STOPPED:
		return EXIT_OK;
	case VM_CRASHED:
		fprintf(stderr, "vigia: the guest crashed (triple fault)\n");
		report_crash(stderr, r->vm, &r->watch.rec);
		note_crash(r);
		return EXIT_CRASHED;
	case VM_EXITED:
		return r->vm->exit_code & 0xff;
	default:
		fprintf(stderr, "vigia: the VM was stopped because the host failed: see above\n");
		return EXIT_HOST;
	}
}

/* How to connect. Viewers take ADDRESS::PORT, and a WebSocket is known by how it begins. */
static void say_screen(struct runner *r)
{
	const char *at = vnc_address(r->be.vnc), *port = strrchr(at, ':');
	char host[160];

	if (!strncmp(at, "unix:", 5)) {
		plat_log(LOG_INFO, "the screen: vncviewer %s", at + 5);
		return;
	}
	snprintf(host, sizeof(host), "%.*s", (int)(port - at), at);
	plat_log(LOG_INFO, "the screen: vncviewer %s%s:%s, or a browser's client at %s://%s",
		 vnc_has_tls(r->be.vnc) ? "-SecurityTypes=X509Vnc,X509None " : "", host, port,
		 vnc_has_tls(r->be.vnc) ? "wss" : "ws", at);
}

static int start_and_run(struct runner *r, struct msg *msg)
{
	const char *kernel = r->def->kernel;
	struct plat_thread *waiter;
	int err = plat_thread_create("wait", wait_thread, r, &waiter);

	if (err)
		return msg_fail(msg, err, "cannot start a thread: %s", err_str(err));
	watch_note(&r->watch, MON_LIFECYCLE, LIFE_START, 0,
		   "%s: engine %s, %u CPUs of model %s, %llu MiB, %s %s%s%s", r->def->name,
		   r->vm->engine->name, r->vm->n_vcpus, x86_model_name(r->vm->model),
		   (unsigned long long)(r->vm->ram.size / MIB), kernel ? "kernel" : "firmware",
		   kernel             ? kernel
		   : r->def->firmware ? r->def->firmware
				      : "bios",
		   r->def->append ? ", " : "", r->def->append ? r->def->append : "");
	if (r->def->gdb_wait)
		gdb_hold(&r->gdb);
	err = vm_start(r->vm);
	r->release_at = plat_now() + RELEASE_NS;
	if (!err && r->be.vnc)
		say_screen(r);
	if (err)
		msg_fail(msg, err, "cannot start the virtual CPUs: %s", err_str(err));
	else
		run(r);
	plat_thread_join(waiter);
	return err;
}

int runner_main(const struct vm_def *def, const struct runner_start *start)
{
	struct runner *r = calloc(1, sizeof(*r));
	struct msg msg = {""};
	int status = EXIT_SETUP;

	if (!r) {
		fprintf(stderr, "vigia: out of memory\n");
		return EXIT_HOST;
	}
	r->def = def;
	r->origin = (struct state_origin){start->argc, start->argv, getcwd(NULL, 0)};
	r->restore = start->restore;
	r->may_lack = start->may_lack;
	r->rundir = r->signal_fd = r->ended_fd = r->button_fd = r->src.statm_fd =
		r->control.listen_fd = r->gdb.listen_fd = r->gdb.fd = r->gdb.event_fd = -1;
	control_init(&r->control, -1, &runner_requests, r);
	plat_log_set_name(def->name);
	if (!set_up(r, &msg) && !start_and_run(r, &msg))
		status = ended(r);
	gdb_ended(&r->gdb, status);
	/* Devices wait for their requests, then disks are flushed and closed; the terminal last. */
	runner_leave_list(r);
	backends_quiet(&r->be);
	if (r->vm && r->vm->kvm_fd > 0)
		close(r->vm->kvm_fd);
	gdb_close(&r->gdb);
	if (r->vm)
		vm_destroy(r->vm);
	watch_detach(&r->watch);
	backends_close(&r->be);
	watch_close(&r->watch);
	if (r->loop)
		plat_loop_destroy(r->loop);
	close_control(r);
	if (msg.text[0])
		fprintf(stderr, "vigia: %s\n", msg.text);
	media_forget(&r->origin, r->origin_owned);
	free(r->origin.cwd);
	free(r);
	return status;
}
