/* SPDX-License-Identifier: ISC */
/* gdb.c: gdb's remote serial protocol (GDB manual, appendix E): all-stop, a thread a vCPU.
 *
 * A client that connects says nothing at first and stops nothing; its first packet stops the guest. It
 * goes on when told so, when the client detaches, or when its connection breaks while it runs. A client
 * that leaves a stopped guest behind (gdb's "disconnect") finds it so when it comes back.
 *
 * What packets say is gdb_cmd.c's. */
#include "ctl/gdb_impl.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/rundir.h"
#include "x86/feature.h"

#define SIGNAL_INT  2
#define SIGNAL_TRAP 5
#define SIGNAL_SEGV 11

/* ---- sending ---------------------------------------------------------------------------------- */

static void drop_client(struct gdb *g, const char *why);

static void flush(struct gdb *g)
{
	while (g->fd >= 0 && g->sent < g->out.len) {
		ssize_t n = send(g->fd, g->out.buf + g->sent, g->out.len - g->sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			drop_client(g, "lost");
			return;
		}
		g->sent += (size_t)n;
	}
	if (g->closing)
		drop_client(g, "left");
}

static void finish(struct gdb *g)
{
	gdb_end(&g->out);
	g->sent = 0;
	g->replied = true;
	flush(g);
}

static void ack(struct gdb *g, char c)
{
	if (!g->no_ack && g->fd >= 0 && send(g->fd, &c, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
		drop_client(g, "lost");
}

void gdb_ok(struct gdb *g)
{
	gdb_puts(&g->out, "OK");
}

void gdb_error(struct gdb *g, int number)
{
	gdb_begin(&g->out);
	gdb_printf(&g->out, "E%02x", number);
}

void gdb_malformed(struct gdb *g)
{
	g->stats.malformed++;
	gdb_error(g, EINVAL);
}

/* ---- stops ------------------------------------------------------------------------------------ */

/* Where RIP is not the linear address, gdb would take a named breakpoint for one that has gone. */
static bool breaks_at_rip(struct gdb *g)
{
	const struct cpu *cpu = debug_load(g->debug, g->stop_cpu);

	return cpu && code_gva(cpu) == cpu->s.rip;
}

void gdb_put_stop(struct gdb *g)
{
	static const char *const reasons[DEBUG_KINDS] = {
		[DEBUG_SOFT_BREAK] = "swbreak", [DEBUG_HARD_BREAK] = "hwbreak",
		[DEBUG_WATCH_WRITE] = "watch",  [DEBUG_WATCH_READ] = "rwatch",
		[DEBUG_WATCH_BOTH] = "awatch",
	};

	gdb_printf(&g->out, "T%02xthread:%x;", g->stop_signal, g->stop_cpu + 1);
	if (g->stop.why != DEBUG_POINT)
		return;
	if (g->stop.kind > DEBUG_HARD_BREAK)
		gdb_printf(&g->out, "%s:%llx;", reasons[g->stop.kind],
			   (unsigned long long)g->stop.addr);
	else if (breaks_at_rip(g))
		gdb_printf(&g->out, "%s:;", reasons[g->stop.kind]);
}

/* All stop, and why is noted. False: the VM has ended. */
static bool stop_all(struct gdb *g)
{
	if (!debug_stop(g->debug))
		return false;
	g->stop = (struct debug_stop){.why = DEBUG_NOTHING};
	g->stop_signal = SIGNAL_INT;
	if (debug_take(g->debug, &g->stop_cpu, &g->stop))
		g->stop_signal = g->stop.why == DEBUG_CRASHED ? SIGNAL_SEGV : SIGNAL_TRAP;
	g->cpu = g->mon_cpu = g->stop_cpu;
	return true;
}

/* The guest has stopped, and the client waits for that. */
static void tell_stop(struct gdb *g)
{
	if (!stop_all(g))
		return; /* gdb_ended() is next */
	g->running = false;
	gdb_begin(&g->out);
	gdb_put_stop(g);
	finish(g);
}

/* A 32-bit system is described as such; what may still become a 64-bit one is not. */
static struct gdb_form choose_form(struct gdb *g)
{
	const struct cpu *cpu = debug_load(g->debug, 0);
	bool narrow = cpu && (cpu->s.cr0 & CR0_PG) && !(cpu->s.efer & EFER_LMA);

	return (struct gdb_form){
		.arch = g->want_arch >= 0 ? (enum gdb_arch)g->want_arch
			: narrow          ? GDB_I386
					  : GDB_X86_64,
		.avx512 = cpu && cpu_has(cpu, X_FEAT_AVX512F),
	};
}

/* The first packet of a client. */
static bool attach(struct gdb *g)
{
	debug_attach(g->debug);
	do {
		if (!stop_all(g))
			return false;
	} while (g->stop.why != DEBUG_NOTHING && g->stop.why != DEBUG_CRASHED);
	if (g->stop.why == DEBUG_NOTHING)
		g->stop_signal = SIGNAL_TRAP;
	g->attached = true;
	g->form = choose_form(g);
	g->xml_len = gdb_target_xml(g->form, g->xml, sizeof(g->xml));
	g->stats.sessions++;
	g->ops->note(g->ctx, "a debugger has attached");
	return true;
}

void gdb_resume(struct gdb *g, const struct debug_action *action)
{
	g->running = true;
	if (!debug_resume(g->debug, action))
		tell_stop(g);
}

/* ---- receiving -------------------------------------------------------------------------------- */

static void packet(struct gdb *g)
{
	g->stats.packets++;
	g->replied = false;
	gdb_begin(&g->out);
	gdb_command(g);
	if (!g->running && !g->replied && g->fd >= 0)
		finish(g);
}

static void event(struct gdb *g, enum gdb_event ev)
{
	switch (ev) {
	case GDB_MORE:
	case GDB_ACK:
		break;
	case GDB_NAK:
		g->sent = 0;
		flush(g);
		break;
	case GDB_BAD:
		g->stats.malformed++;
		ack(g, '-');
		break;
	case GDB_INTERRUPT:
		if (g->attached && g->running)
			tell_stop(g);
		break;
	case GDB_PACKET:
		ack(g, '+');
		if (g->fd < 0)
			break;
		if (g->running) { /* nothing to be said until it stops */
			g->stats.malformed++;
			break;
		}
		if (g->attached || attach(g))
			packet(g);
		g->no_ack |= g->no_ack_next;
		break;
	}
}

/* ---- the connection --------------------------------------------------------------------------- */

static void drop_client(struct gdb *g, const char *why)
{
	char text[96];

	if (g->fd < 0)
		return;
	close(g->fd);
	g->fd = -1;
	if (!g->attached)
		return;
	g->attached = false;
	if (g->running) {
		g->running = false;
		debug_detach(g->debug);
	} else if (g->vm->end == VM_RUNNING) {
		debug_points_clear(g->debug);
		plat_log(LOG_WARN, "the debugger has gone, the guest stays stopped: attach again, "
				   "or vigia resume");
	}
	snprintf(text, sizeof(text), "the debugger's connection: %s", why);
	g->ops->note(g->ctx, text);
}

void gdb_take_client(struct gdb *g, int take_fd)
{
	g->fd = take_fd;
	g->attached = g->running = g->no_ack = g->no_ack_next = g->by_phys = g->closing = false;
	g->sstep = GDB_SSTEP_ENABLE | GDB_SSTEP_NO_IRQ;
	g->cpu = g->stop_cpu = 0;
	g->cont_cpu = -1;
	g->in.state = GDB_BETWEEN;
	g->out.len = g->sent = 0;
}

static void on_connect(struct gdb *g)
{
	int fd = accept4(g->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), one = 1;

	if (fd < 0)
		return;
	if (g->local ? !rundir_peer_trusted(fd)
		     : setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		close(fd);
	else
		gdb_take_client(g, fd);
}

static void on_input(struct gdb *g)
{
	uint8_t buf[4096];
	ssize_t n = recv(g->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop_client(g, "closed");
		return;
	}
	for (ssize_t i = 0; i < n && g->fd >= 0; i++)
		event(g, gdb_in_byte(&g->in, buf[i]));
}

unsigned gdb_poll(const struct gdb *g, struct pollfd *pfd)
{
	bool busy = g->sent < g->out.len;

	/* One client at a time; the next one waits in the queue of the listening socket. */
	pfd[0] = (struct pollfd){.fd = g->fd < 0 ? g->listen_fd : -1, .events = POLLIN};
	pfd[1] = (struct pollfd){.fd = g->fd, .events = busy ? POLLOUT : POLLIN};
	pfd[2] = (struct pollfd){.fd = g->event_fd, .events = POLLIN};
	return GDB_POLL_MAX;
}

void gdb_serve(struct gdb *g, const struct pollfd *pfd, unsigned n)
{
	uint64_t count;

	if (n < GDB_POLL_MAX)
		return;
	if (pfd[2].revents && read(g->event_fd, &count, sizeof(count)) == sizeof(count) &&
	    g->running && debug_is_stopped(g->debug))
		tell_stop(g);
	if (g->fd >= 0 && pfd[1].revents & POLLOUT)
		flush(g);
	else if (g->fd >= 0 && pfd[1].revents)
		on_input(g);
	if (pfd[0].revents)
		on_connect(g);
}

bool gdb_release(struct gdb *g)
{
	if (!g->debug || g->attached || !debug_is_stopped(g->debug))
		return false;
	debug_detach(g->debug);
	return true;
}

/* ---- life ------------------------------------------------------------------------------------- */

static void on_stopped(void *arg)
{
	struct gdb *g = arg;
	uint64_t one = 1;

	if (write(g->event_fd, &one, sizeof(one)) < 0)
		plat_log(LOG_WARN, "gdb: a stop cannot be told: %s", strerror(errno));
}

int gdb_init(struct gdb *g, struct vm *vm, const struct gdb_ops *ops, void *ctx)
{
	int err;

	g->ops = ops;
	g->ctx = ctx;
	g->vm = vm;
	g->listen_fd = g->fd = -1;
	g->want_arch = -1;
	g->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (g->event_fd < 0)
		return err_here(ERR_NOMEM);
	err = debug_create(vm, on_stopped, g, &g->debug);
	if (err) {
		close(g->event_fd);
		g->event_fd = -1;
	}
	return err;
}

void gdb_hold(struct gdb *g)
{
	debug_hold(g->debug);
}

void gdb_ended(struct gdb *g, int status)
{
	if (g->fd < 0 || !g->attached)
		return;
	gdb_begin(&g->out);
	gdb_printf(&g->out, "W%02x", (unsigned)status & 0xff);
	g->running = false;
	g->attached = false;
	finish(g);
}

void gdb_close(struct gdb *g)
{
	if (g->fd >= 0)
		close(g->fd);
	if (g->listen_fd >= 0)
		close(g->listen_fd);
	if (g->path[0])
		unlink(g->path); /* in the sandbox it stays, and the next one takes its place */
	if (g->event_fd >= 0)
		close(g->event_fd);
	g->fd = g->listen_fd = g->event_fd = -1;
	if (g->debug)
		debug_destroy(g->debug);
	g->debug = NULL;
}

void gdb_report(const struct gdb *g, json_t *out)
{
	json_t *gdb = json_pack(
		"{s:b, s:b, s:I, s:I, s:I}", "attached", g->attached, "stopped",
		debug_is_stopped(g->debug), "sessions", (json_int_t)g->stats.sessions, "packets",
		(json_int_t)g->stats.packets, "malformed", (json_int_t)g->stats.malformed);

	json_object_set_new(out, "gdb", gdb);
}
