/* SPDX-License-Identifier: ISC */
/* gdb_cmd.c: the packets of gdb's protocol (GDB manual, appendix E), a row of a table each. A handler
 * reads its text to the end, or the packet is malformed. Main thread, the guest stopped. */
#include "ctl/gdb_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

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
		gdb_malformed(g);
		return;
	}
	if (cont)
		g->cont_cpu = id - 1 < 0 ? -1 : id - 1;
	else if (id > 0)
		g->cpu = (unsigned)id - 1;
	gdb_ok(g);
}

static void cmd_alive(struct gdb *g, struct gdb_text *t)
{
	int id;

	if (!take_thread(g, t, &id) || !gdb_at_end(t))
		gdb_malformed(g);
	else
		gdb_ok(g);
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
		gdb_malformed(g);
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
		gdb_malformed(g);
		return;
	}
	if (what == 'C' || what == 'S')
		has_at = gdb_take(t, ';');
	else
		has_at = !gdb_at_end(t);
	if ((has_at && !gdb_take_hex(t, &at)) || !gdb_at_end(t)) {
		gdb_malformed(g);
		return;
	}
	if (has_at) {
		struct cpu *cpu = debug_load(g->debug, who);

		if (cpu)
			cpu->s.rip = at;
		if (!cpu || debug_store(g->debug)) {
			gdb_error(g, EIO);
			return;
		}
	}
	set_actions(action, (struct debug_action){.what = DEBUG_GO});
	if (step)
		action[who] = go_step(g);
	gdb_resume(g, action);
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
			gdb_malformed(g);
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
		gdb_malformed(g);
	else
		gdb_resume(g, action);
}

static void cmd_vcont_ask(struct gdb *g, struct gdb_text *t)
{
	gdb_puts(&g->out, "vCont;c;C;s;S;t;r");
}

static void cmd_why(struct gdb *g, struct gdb_text *t)
{
	gdb_put_stop(g);
}

static void cmd_detach(struct gdb *g, struct gdb_text *t)
{
	debug_detach(g->debug);
	g->attached = false;
	g->ops->note(g->ctx, "the debugger has detached");
	g->closing = true;
	gdb_ok(g);
}

static void cmd_kill(struct gdb *g, struct gdb_text *t)
{
	g->ops->note(g->ctx, "the debugger has killed the guest");
	g->ops->kill(g->ctx);
	g->replied = g->in.text[0] == 'k'; /* which wants none */
	gdb_ok(g);
}

/* ---- registers -------------------------------------------------------------------------------- */

static struct cpu *load_flat(struct gdb *g)
{
	struct cpu *cpu = debug_load(g->debug, g->cpu);

	if (cpu)
		cpu_fpu_flatten(cpu);
	else
		gdb_error(g, EIO);
	return cpu;
}

static void put_reg(struct gdb *g, struct cpu *cpu, unsigned n)
{
	uint8_t buf[GDB_REG_MAX];

	gdb_reg_get(cpu, g->form, n, buf);
	gdb_put_hex(&g->out, buf, gdb_reg_size(g->form, n));
}

static void cmd_regs_get(struct gdb *g, struct gdb_text *t)
{
	struct cpu *cpu = load_flat(g);

	for (unsigned n = 0; cpu && gdb_reg_size(g->form, n); n++)
		put_reg(g, cpu, n);
}

static void cmd_reg_get(struct gdb *g, struct gdb_text *t)
{
	struct cpu *cpu = load_flat(g);
	uint64_t n;

	if (!gdb_take_hex(t, &n) || !gdb_at_end(t) || n > UINT16_MAX ||
	    !gdb_reg_size(g->form, (unsigned)n))
		gdb_malformed(g);
	else if (cpu)
		put_reg(g, cpu, (unsigned)n);
}

static void set_reg(struct gdb *g, unsigned n, const uint8_t *buf, int *err)
{
	int e = gdb_reg_set(g->debug, g->cpu, g->form, n, buf);

	*err = *err ? *err : e;
}

static void cmd_regs_set(struct gdb *g, struct gdb_text *t)
{
	uint8_t buf[GDB_REG_MAX];
	int err = 0;

	for (unsigned n = 0; gdb_reg_size(g->form, n); n++) {
		if (!gdb_take_bytes(t, buf, gdb_reg_size(g->form, n))) {
			gdb_malformed(g);
			return;
		}
		set_reg(g, n, buf, &err);
	}
	if (!gdb_at_end(t))
		gdb_malformed(g);
	else if (err)
		gdb_error(g, EINVAL);
	else
		gdb_ok(g);
}

static void cmd_reg_set(struct gdb *g, struct gdb_text *t)
{
	uint8_t buf[GDB_REG_MAX];
	int err = 0;
	uint64_t n;

	if (!gdb_take_hex(t, &n) || n > UINT16_MAX || !gdb_reg_size(g->form, (unsigned)n) ||
	    !gdb_take(t, '=') || !gdb_take_bytes(t, buf, gdb_reg_size(g->form, (unsigned)n)) ||
	    !gdb_at_end(t)) {
		gdb_malformed(g);
		return;
	}
	set_reg(g, (unsigned)n, buf, &err);
	if (err)
		gdb_error(g, EINVAL);
	else
		gdb_ok(g);
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
		gdb_malformed(g);
		return;
	}
	n = debug_read(g->debug, g->cpu, addr, buf, (size_t)MIN(len, (uint64_t)sizeof(buf)),
		       g->by_phys);
	if (!n && len)
		gdb_error(g, EFAULT);
	else
		gdb_put_hex(&g->out, buf, n);
}

static void write_memory(struct gdb *g, uint64_t addr, const void *buf, size_t len)
{
	if (debug_write(g->debug, g->cpu, addr, buf, len, g->by_phys) < len)
		gdb_error(g, EFAULT);
	else
		gdb_ok(g);
}

static void cmd_mem_write(struct gdb *g, struct gdb_text *t)
{
	uint8_t buf[GDB_PACKET_MAX / 2];
	uint64_t addr, len;

	if (!take_range(t, &addr, &len) || !gdb_take(t, ':') || len > sizeof(buf) ||
	    !gdb_take_bytes(t, buf, (size_t)len) || !gdb_at_end(t))
		gdb_malformed(g);
	else
		write_memory(g, addr, buf, (size_t)len);
}

static void cmd_mem_write_binary(struct gdb *g, struct gdb_text *t)
{
	uint64_t addr, len;

	if (!take_range(t, &addr, &len) || !gdb_take(t, ':') || len != (size_t)(t->end - t->p))
		gdb_malformed(g);
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
		gdb_malformed(g);
		return;
	}
	if (kind >= DEBUG_KINDS)
		return; /* not supported */
	err = debug_point(g->debug, set, (enum debug_kind)kind, addr, len);
	if (err)
		gdb_error(g, err == ERR_NOMEM ? ENOSPC : EINVAL);
	else
		gdb_ok(g);
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
	gdb_ok(g);
}

static void cmd_xfer(struct gdb *g, struct gdb_text *t)
{
	uint64_t off, len;

	if (!gdb_take_word(t, ":features:read:"))
		return; /* not supported */
	if (!gdb_take_word(t, "target.xml:") || !take_range(t, &off, &len) || !gdb_at_end(t)) {
		gdb_malformed(g);
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
		gdb_malformed(g);
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
		gdb_malformed(g);
		return;
	}
	g->sstep = (unsigned)v;
	gdb_ok(g);
}

static void cmd_phys(struct gdb *g, struct gdb_text *t)
{
	gdb_puts(&g->out, g->by_phys ? "1" : "0");
}

static void cmd_phys_set(struct gdb *g, struct gdb_text *t)
{
	uint64_t v;

	if (!gdb_take(t, ':') || !gdb_take_hex(t, &v) || !gdb_at_end(t) || v > 1) {
		gdb_malformed(g);
		return;
	}
	g->by_phys = v;
	gdb_ok(g);
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

void gdb_command(struct gdb *g)
{
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
		struct gdb_text t = {g->in.text, g->in.text + g->in.len};

		if (gdb_take_word(&t, commands[i].name) && goes_on(&t, commands[i].rest)) {
			commands[i].fn(g, &t);
			return;
		}
	}
}
