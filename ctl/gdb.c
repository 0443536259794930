/* SPDX-License-Identifier: ISC */
/* gdb.c: gdb's remote serial protocol (GDB manual, appendix E): all-stop, a thread a vCPU.
 *
 * A client that connects says nothing at first and stops nothing; its first packet stops the guest. It
 * goes on when told so, when the client detaches, or when its connection breaks while it runs. A client
 * that leaves a stopped guest behind (gdb's "disconnect") finds it so when it comes back.
 *
 * Packets are looked up in a table; each handler reads its text to the end or is malformed. */
#include "ctl/gdb.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/rundir.h"

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

static void ok(struct gdb *g)
{
	gdb_puts(&g->out, "OK");
}

static void error(struct gdb *g, int number)
{
	gdb_begin(&g->out);
	gdb_printf(&g->out, "E%02x", number);
}

static void malformed(struct gdb *g)
{
	g->stats.malformed++;
	error(g, EINVAL);
}

/* ---- stops ------------------------------------------------------------------------------------ */

/* Where RIP is not the linear address, gdb would take a named breakpoint for one that has gone. */
static bool breaks_at_rip(struct gdb *g)
{
	const struct cpu *cpu = debug_load(g->debug, g->stop_cpu);

	return cpu && code_gva(cpu) == cpu->s.rip;
}

static void put_stop(struct gdb *g)
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
	put_stop(g);
	finish(g);
}

/* A 32-bit system is described as such; what may still become a 64-bit one is not. */
static enum gdb_arch choose_arch(struct gdb *g)
{
	const struct cpu *cpu = debug_load(g->debug, 0);

	if (g->want_arch >= 0)
		return (enum gdb_arch)g->want_arch;
	return cpu && (cpu->s.cr0 & CR0_PG) && !(cpu->s.efer & EFER_LMA) ? GDB_I386 : GDB_X86_64;
}

/* The first packet of a client. */
static bool attach(struct gdb *g)
{
	debug_attach(g->debug);
	if (!stop_all(g))
		return false;
	if (g->stop.why != DEBUG_CRASHED) {
		g->stop.why = DEBUG_NOTHING;
		g->stop_signal = SIGNAL_TRAP;
	}
	g->attached = true;
	g->arch = choose_arch(g);
	g->xml_len = gdb_target_xml(g->arch, g->xml, sizeof(g->xml));
	g->stats.sessions++;
	g->ops->note(g->ctx, "a debugger has attached");
	return true;
}

static void resume(struct gdb *g, const struct debug_action *action)
{
	g->running = true;
	if (!debug_resume(g->debug, action))
		tell_stop(g);
}

static void set_actions(struct debug_action *action, struct debug_action all)
{
	for (unsigned i = 0; i < VM_MAX_VCPUS; i++)
		action[i] = all;
}

static struct debug_action go_step(const struct gdb *g)
{
	return (struct debug_action){.what = DEBUG_GO_STEP, .no_irq = g->sstep & GDB_SSTEP_NO_IRQ};
}

/* ---- threads ---------------------------------------------------------------------------------- */

/* -1: all, 0: any, else one more than the vCPU's number. */
static bool take_thread(struct gdb *g, struct gdb_text *t, int *id)
{
	uint64_t v;

	if (gdb_take_word(t, "-1")) {
		*id = -1;
		return true;
	}
	if (!gdb_take_hex(t, &v) || v > g->vm->n_vcpus)
		return false;
	*id = (int)v;
	return true;
}

static void cmd_thread(struct gdb *g, struct gdb_text *t)
{
	bool cont = gdb_take(t, 'c');
	int id;

	if ((!cont && !gdb_take(t, 'g')) || !take_thread(g, t, &id) || !gdb_at_end(t)) {
		malformed(g);
		return;
	}
	if (cont)
		g->cont_cpu = id - 1 < 0 ? -1 : id - 1;
	else if (id > 0)
		g->cpu = (unsigned)id - 1;
	ok(g);
}

static void cmd_alive(struct gdb *g, struct gdb_text *t)
{
	int id;

	if (!take_thread(g, t, &id) || !gdb_at_end(t))
		malformed(g);
	else
		ok(g);
}

static void cmd_current_thread(struct gdb *g, struct gdb_text *t)
{
	gdb_printf(&g->out, "QC%x", g->cpu + 1);
}

static void cmd_first_threads(struct gdb *g, struct gdb_text *t)
{
	gdb_puts(&g->out, "m1");
	for (unsigned i = 1; i < g->vm->n_vcpus; i++)
		gdb_printf(&g->out, ",%x", i + 1);
}

static void cmd_more_threads(struct gdb *g, struct gdb_text *t)
{
	gdb_puts(&g->out, "l");
}

static void cmd_thread_info(struct gdb *g, struct gdb_text *t)
{
	static const char *const activity[] = {
		[ACT_RUN] = "running", [ACT_HLT] = "halted", [ACT_WAIT_SIPI] = "waits for SIPI"};
	char text[64];
	unsigned act;
	int id;

	if (!gdb_take(t, ',') || !take_thread(g, t, &id) || id < 1 || !gdb_at_end(t)) {
		malformed(g);
		return;
	}
	act = g->vm->vcpu[id - 1]->state->activity;
	snprintf(text, sizeof(text), "CPU#%d [%s]", id - 1,
		 act < ARRAY_SIZE(activity) && activity[act] ? activity[act] : "shut down");
	gdb_put_hex(&g->out, text, strlen(text));
}

/* ---- going on --------------------------------------------------------------------------------- */

/* c, s, C sig, S sig: with an address to go on at. Signals mean nothing to a machine. */
static void cmd_go(struct gdb *g, struct gdb_text *t)
{
	char what = t->p[-1];
	bool step = what == 's' || what == 'S';
	struct debug_action action[VM_MAX_VCPUS];
	unsigned who = g->cont_cpu >= 0 ? (unsigned)g->cont_cpu : g->cpu;
	uint64_t v, at;
	bool has_at;

	if ((what == 'C' || what == 'S') && !gdb_take_hex(t, &v)) {
		malformed(g);
		return;
	}
	if (what == 'C' || what == 'S')
		has_at = gdb_take(t, ';');
	else
		has_at = !gdb_at_end(t);
	if ((has_at && !gdb_take_hex(t, &at)) || !gdb_at_end(t)) {
		malformed(g);
		return;
	}
	if (has_at) {
		struct cpu *cpu = debug_load(g->debug, who);

		if (cpu)
			cpu->s.rip = at;
		if (!cpu || debug_store(g->debug)) {
			error(g, EIO);
			return;
		}
	}
	set_actions(action, (struct debug_action){.what = DEBUG_GO});
	if (step)
		action[who] = go_step(g);
	resume(g, action);
}

/* One action of vCont. */
static bool take_action(struct gdb *g, struct gdb_text *t, struct debug_action *a)
{
	uint64_t sig;

	if (gdb_take(t, 'c') || (gdb_take(t, 'C') && gdb_take_hex(t, &sig))) {
		*a = (struct debug_action){.what = DEBUG_GO};
		return true;
	}
	if (gdb_take(t, 't')) {
		*a = (struct debug_action){.what = DEBUG_HOLD};
		return true;
	}
	*a = go_step(g);
	if (gdb_take(t, 's') || (gdb_take(t, 'S') && gdb_take_hex(t, &sig)))
		return true;
	return gdb_take(t, 'r') && gdb_take_hex(t, &a->from) && gdb_take(t, ',') &&
	       gdb_take_hex(t, &a->to);
}

/* vCont;ACTION[:THREAD]…: for each thread the first action that names it. */
static void cmd_vcont(struct gdb *g, struct gdb_text *t)
{
	struct debug_action action[VM_MAX_VCPUS];
	uint32_t named = 0;
	bool moves = false;

	set_actions(action, (struct debug_action){.what = DEBUG_HOLD});
	while (gdb_take(t, ';')) {
		struct debug_action a;
		int id = -1;

		if (!take_action(g, t, &a) || (gdb_take(t, ':') && !take_thread(g, t, &id))) {
			malformed(g);
			return;
		}
		if (id == 0)
			id = (int)g->cpu + 1;
		for (unsigned i = 0; i < g->vm->n_vcpus; i++) {
			if ((id > 0 && i != (unsigned)id - 1) || named >> i & 1)
				continue;
			action[i] = a;
			named |= BIT(i);
			moves |= a.what != DEBUG_HOLD;
		}
	}
	if (!gdb_at_end(t) || !moves)
		malformed(g);
	else
		resume(g, action);
}

static void cmd_vcont_ask(struct gdb *g, struct gdb_text *t)
{
	gdb_puts(&g->out, "vCont;c;C;s;S;t;r");
}

static void cmd_why(struct gdb *g, struct gdb_text *t)
{
	put_stop(g);
}

static void cmd_detach(struct gdb *g, struct gdb_text *t)
{
	debug_detach(g->debug);
	g->attached = false;
	g->ops->note(g->ctx, "the debugger has detached");
	g->closing = true;
	ok(g);
}

static void cmd_kill(struct gdb *g, struct gdb_text *t)
{
	g->ops->note(g->ctx, "the debugger has killed the guest");
	g->ops->kill(g->ctx);
	g->replied = g->in.text[0] == 'k'; /* which wants none */
	ok(g);
}

/* ---- registers -------------------------------------------------------------------------------- */

static struct cpu *load_flat(struct gdb *g)
{
	struct cpu *cpu = debug_load(g->debug, g->cpu);

	if (cpu)
		cpu_fpu_flatten(cpu);
	else
		error(g, EIO);
	return cpu;
}

static void put_reg(struct gdb *g, struct cpu *cpu, unsigned n)
{
	uint8_t buf[GDB_REG_MAX];

	gdb_reg_get(cpu, g->arch, n, buf);
	gdb_put_hex(&g->out, buf, gdb_reg_size(g->arch, n));
}

static void cmd_regs_get(struct gdb *g, struct gdb_text *t)
{
	struct cpu *cpu = load_flat(g);

	for (unsigned n = 0; cpu && gdb_reg_size(g->arch, n); n++)
		put_reg(g, cpu, n);
}

static void cmd_reg_get(struct gdb *g, struct gdb_text *t)
{
	struct cpu *cpu = load_flat(g);
	uint64_t n;

	if (!gdb_take_hex(t, &n) || !gdb_at_end(t) || n > UINT16_MAX ||
	    !gdb_reg_size(g->arch, (unsigned)n))
		malformed(g);
	else if (cpu)
		put_reg(g, cpu, (unsigned)n);
}

static void set_reg(struct gdb *g, unsigned n, const uint8_t *buf, int *err)
{
	int e = gdb_reg_set(g->debug, g->cpu, g->arch, n, buf);

	*err = *err ? *err : e;
}

static void cmd_regs_set(struct gdb *g, struct gdb_text *t)
{
	uint8_t buf[GDB_REG_MAX];
	int err = 0;

	for (unsigned n = 0; gdb_reg_size(g->arch, n); n++) {
		if (!gdb_take_bytes(t, buf, gdb_reg_size(g->arch, n))) {
			malformed(g);
			return;
		}
		set_reg(g, n, buf, &err);
	}
	if (!gdb_at_end(t))
		malformed(g);
	else if (err)
		error(g, EINVAL);
	else
		ok(g);
}

static void cmd_reg_set(struct gdb *g, struct gdb_text *t)
{
	uint8_t buf[GDB_REG_MAX];
	int err = 0;
	uint64_t n;

	if (!gdb_take_hex(t, &n) || n > UINT16_MAX || !gdb_reg_size(g->arch, (unsigned)n) ||
	    !gdb_take(t, '=') || !gdb_take_bytes(t, buf, gdb_reg_size(g->arch, (unsigned)n)) ||
	    !gdb_at_end(t)) {
		malformed(g);
		return;
	}
	set_reg(g, (unsigned)n, buf, &err);
	if (err)
		error(g, EINVAL);
	else
		ok(g);
}

/* ---- memory ----------------------------------------------------------------------------------- */

static bool take_range(struct gdb_text *t, uint64_t *addr, uint64_t *len)
{
	return gdb_take_hex(t, addr) && gdb_take(t, ',') && gdb_take_hex(t, len);
}

static void cmd_mem_read(struct gdb *g, struct gdb_text *t)
{
	uint8_t buf[GDB_PACKET_MAX / 2 - 16];
	uint64_t addr, len;
	size_t n;

	if (!take_range(t, &addr, &len) || !gdb_at_end(t)) {
		malformed(g);
		return;
	}
	n = debug_read(g->debug, g->cpu, addr, buf, (size_t)MIN(len, (uint64_t)sizeof(buf)),
		       g->by_phys);
	if (!n && len)
		error(g, EFAULT);
	else
		gdb_put_hex(&g->out, buf, n);
}

static void write_memory(struct gdb *g, uint64_t addr, const void *buf, size_t len)
{
	if (debug_write(g->debug, g->cpu, addr, buf, len, g->by_phys) < len)
		error(g, EFAULT);
	else
		ok(g);
}

static void cmd_mem_write(struct gdb *g, struct gdb_text *t)
{
	uint8_t buf[GDB_PACKET_MAX / 2];
	uint64_t addr, len;

	if (!take_range(t, &addr, &len) || !gdb_take(t, ':') || len > sizeof(buf) ||
	    !gdb_take_bytes(t, buf, (size_t)len) || !gdb_at_end(t))
		malformed(g);
	else
		write_memory(g, addr, buf, (size_t)len);
}

static void cmd_mem_write_binary(struct gdb *g, struct gdb_text *t)
{
	uint64_t addr, len;

	if (!take_range(t, &addr, &len) || !gdb_take(t, ':') || len != (size_t)(t->end - t->p))
		malformed(g);
	else
		write_memory(g, addr, t->p, (size_t)len);
}

/* Z and z: kind,addr,length or size of the instruction */
static void cmd_point(struct gdb *g, struct gdb_text *t)
{
	bool set = t->p[-1] == 'Z';
	uint64_t kind, addr, len;
	int err;

	if (!gdb_take_hex(t, &kind) || !gdb_take(t, ',') || !take_range(t, &addr, &len) ||
	    !gdb_at_end(t)) {
		malformed(g);
		return;
	}
	if (kind >= DEBUG_KINDS)
		return; /* not supported */
	err = debug_point(g->debug, set, (enum debug_kind)kind, addr, len);
	if (err)
		error(g, err == ERR_NOMEM ? ENOSPC : EINVAL);
	else
		ok(g);
}

/* ---- questions -------------------------------------------------------------------------------- */

static void cmd_supported(struct gdb *g, struct gdb_text *t)
{
	gdb_printf(&g->out,
		   "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;swbreak+;hwbreak+;"
		   "vContSupported+",
		   GDB_PACKET_MAX);
}

static void cmd_no_ack(struct gdb *g, struct gdb_text *t)
{
	g->no_ack_next = true;
	ok(g);
}

static void cmd_xfer(struct gdb *g, struct gdb_text *t)
{
	uint64_t off, len;

	if (!gdb_take_word(t, ":features:read:"))
		return; /* not supported */
	if (!gdb_take_word(t, "target.xml:") || !take_range(t, &off, &len) || !gdb_at_end(t)) {
		malformed(g);
		return;
	}
	off = MIN(off, (uint64_t)g->xml_len);
	len = MIN(len, (uint64_t)GDB_PACKET_MAX / 2);
	gdb_puts(&g->out, off + len < g->xml_len ? "m" : "l");
	gdb_put(&g->out, g->xml + off, (size_t)MIN(len, g->xml_len - off));
}

static void cmd_attached(struct gdb *g, struct gdb_text *t)
{
	gdb_puts(&g->out, "1"); /* a gdb that quits detaches, and does not kill */
}

static void cmd_monitor(struct gdb *g, struct gdb_text *t)
{
	char line[256];
	size_t n = (size_t)(t->end - t->p) / 2;

	if (n >= sizeof(line) || !gdb_take_bytes(t, (uint8_t *)line, n) || !gdb_at_end(t) ||
	    memchr(line, 0, n)) {
		malformed(g);
		return;
	}
	line[n] = 0;
	gdb_monitor(g, line, &g->out);
}

/* ---- what QEMU's users know ------------------------------------------------------------------- */

static void cmd_qemu_supported(struct gdb *g, struct gdb_text *t)
{
	gdb_puts(&g->out, "sstepbits;sstep;PhyMemMode");
}

static void cmd_sstep_bits(struct gdb *g, struct gdb_text *t)
{
	gdb_printf(&g->out, "ENABLE=%x,NOIRQ=%x", GDB_SSTEP_ENABLE, GDB_SSTEP_NO_IRQ);
}

static void cmd_sstep(struct gdb *g, struct gdb_text *t)
{
	gdb_printf(&g->out, "0x%x", g->sstep);
}

static void cmd_sstep_set(struct gdb *g, struct gdb_text *t)
{
	uint64_t v;

	if (!gdb_take(t, '=') || !gdb_take_hex(t, &v) || !gdb_at_end(t) ||
	    v & ~(uint64_t)(GDB_SSTEP_ENABLE | GDB_SSTEP_NO_IRQ)) {
		malformed(g);
		return;
	}
	g->sstep = (unsigned)v;
	ok(g);
}

static void cmd_phys(struct gdb *g, struct gdb_text *t)
{
	gdb_puts(&g->out, g->by_phys ? "1" : "0");
}

static void cmd_phys_set(struct gdb *g, struct gdb_text *t)
{
	uint64_t v;

	if (!gdb_take(t, ':') || !gdb_take_hex(t, &v) || !gdb_at_end(t) || v > 1) {
		malformed(g);
		return;
	}
	g->by_phys = v;
	ok(g);
}

/* ---- dispatch --------------------------------------------------------------------------------- */

/* How a packet goes on behind its name */
enum rest {
	NOTHING,
	WORD, /* nothing, or one of ":;,=" and more */
	TEXT,
};

static const struct {
	const char *name;
	void (*fn)(struct gdb *g, struct gdb_text *t);
	enum rest rest;
} commands[] = {
	{"qSupported", cmd_supported, WORD},
	{"QStartNoAckMode", cmd_no_ack, NOTHING},
	{"qXfer", cmd_xfer, WORD},
	{"qAttached", cmd_attached, WORD},
	{"qC", cmd_current_thread, NOTHING},
	{"qfThreadInfo", cmd_first_threads, NOTHING},
	{"qsThreadInfo", cmd_more_threads, NOTHING},
	{"qThreadExtraInfo", cmd_thread_info, WORD},
	{"qRcmd,", cmd_monitor, TEXT},
	{"qqemu.Supported", cmd_qemu_supported, NOTHING},
	{"qqemu.sstepbits", cmd_sstep_bits, NOTHING},
	{"qqemu.sstep", cmd_sstep, NOTHING},
	{"Qqemu.sstep", cmd_sstep_set, WORD},
	{"qqemu.PhyMemMode", cmd_phys, NOTHING},
	{"Qqemu.PhyMemMode", cmd_phys_set, WORD},
	{"vCont?", cmd_vcont_ask, NOTHING},
	{"vCont", cmd_vcont, WORD},
	{"vKill", cmd_kill, WORD},
	{"?", cmd_why, NOTHING},
	{"D", cmd_detach, WORD},
	{"k", cmd_kill, NOTHING},
	{"H", cmd_thread, TEXT},
	{"T", cmd_alive, TEXT},
	{"c", cmd_go, TEXT},
	{"C", cmd_go, TEXT},
	{"s", cmd_go, TEXT},
	{"S", cmd_go, TEXT},
	{"g", cmd_regs_get, NOTHING},
	{"G", cmd_regs_set, TEXT},
	{"p", cmd_reg_get, TEXT},
	{"P", cmd_reg_set, TEXT},
	{"m", cmd_mem_read, TEXT},
	{"M", cmd_mem_write, TEXT},
	{"X", cmd_mem_write_binary, TEXT},
	{"Z", cmd_point, TEXT},
	{"z", cmd_point, TEXT},
};

static bool goes_on(const struct gdb_text *t, enum rest rest)
{
	switch (rest) {
	case NOTHING:
		return gdb_at_end(t);
	case WORD:
		return gdb_at_end(t) || memchr(":;,=", *t->p, 4);
	default:
		return true;
	}
}

/* Handlers write into an open packet. An empty one says that we do not know what was asked. */
static void packet(struct gdb *g)
{
	g->stats.packets++;
	g->replied = false;
	gdb_begin(&g->out);
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
		struct gdb_text t = {g->in.text, g->in.text + g->in.len};

		if (gdb_take_word(&t, commands[i].name) && goes_on(&t, commands[i].rest)) {
			commands[i].fn(g, &t);
			break;
		}
	}
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
