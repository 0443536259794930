/* SPDX-License-Identifier: ISC */
/* console.c: the multiplexer. One of shell and VMs has the keys and the port; what the other VMs say is
 * kept for when they are looked at, and shown line by line in the shell. Ctrl-A and a key switches.
 * con.lock guards all output; it is a leaf, since messages come from anywhere. */
#include "metal/console.h"

#include "base/str.h"
#include "chr/chr.h"
#include "metal/fleet.h"
#include "metal/ioapic.h"
#include "metal/keyboard.h"
#include "metal/screen.h"
#include "metal/serial.h"
#include "metal/trap.h"
#include "metal/watch.h"
#include "plat/metal/apic.h"
#include "plat/metal/log.h"

#define KEPT     (16 * KIB) /* of a VM's output, and of messages */
#define LINE_MAX 200
#define LINE     256
#define TYPED    4096 /* a guest that is slow, or stopped, gets all of what is pasted */
#define PREFIX   1    /* Ctrl-A */
#define TICK     (NS_PER_SEC / 50) /* a guest that takes no input now is asked again */

struct ring {
	char buf[KEPT];
	uint64_t end; /* bytes that were ever put */
};

struct vm_console {
	struct chr chr;
	char name[64];
	unsigned index; /* in the fleet, too */
	struct ring kept;
	char line[LINE_MAX]; /* for the shell: what has come since the last line's end */
	unsigned line_len;
	uint8_t typed[TYPED]; /* not yet taken by the guest; the console thread's */
	unsigned n_typed;
};

static struct {
	struct plat_mutex lock; /* RANK_LEAF */
	struct vm_console *vm[FLEET_MAX_VMS];
	unsigned n;
	struct vm_console *focus; /* NULL: the shell */
	bool watch;
	bool prefix; /* the last key was Ctrl-A */
	struct ring log;
	char line[LINE]; /* the shell's input */
	unsigned len;
	void (*on_line)(char *text);
	struct plat_event key;
	struct keyboard keyboard;
} con;

/* ---- output ---- */

static void out(const char *buf, size_t len)
{
	serial_write(buf, len);
	screen_write(buf, len);
}

static void out_text(const char *text)
{
	out(text, str_len(text));
}

static void ring_put(struct ring *r, const char *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		r->buf[r->end++ % KEPT] = buf[i];
}

static void ring_out(const struct ring *r)
{
	for (uint64_t i = r->end > KEPT ? r->end - KEPT : 0; i < r->end; i++)
		out(&r->buf[i % KEPT], 1);
}

static void prompt(void)
{
	out_text("vigia> ");
	out(con.line, con.len);
}

/* Something in between, while the shell's line is being typed. */
static void shell_line(const char *before, const char *text, size_t len)
{
	out_text("\r\033[K");
	out_text(before);
	out(text, len);
	out_text("\r\n");
	if (con.on_line)
		prompt();
}

static void line_char(struct vm_console *v, char c)
{
	char before[72];

	if (c != '\n' && c != '\r' && v->line_len < LINE_MAX) {
		v->line[v->line_len++] = c;
		return;
	}
	if (v->line_len && !con.focus && con.watch) {
		str_format(before, sizeof(before), "%s| ", v->name);
		shell_line(before, v->line, v->line_len);
	}
	v->line_len = 0;
	if (c != '\n' && c != '\r')
		v->line[v->line_len++] = c;
}

static void vm_write(struct chr *c, const void *buf, size_t len)
{
	struct vm_console *v = container_of(c, struct vm_console, chr);
	const char *p = buf;

	watch_console(v->index, p, len);
	plat_mutex_lock(&con.lock);
	ring_put(&v->kept, p, len);
	if (con.focus == v)
		out(p, len);
	else
		for (size_t i = 0; i < len; i++)
			line_char(v, p[i]);
	plat_mutex_unlock(&con.lock);
}

static void vm_rx_ready(struct chr *c)
{
	plat_event_set(&con.key);
}

static void vm_close(struct chr *c)
{
}

static const struct chr_ops vm_ops = {"console", vm_write, vm_rx_ready, vm_close};

static void on_log(enum log_level level, const char *line)
{
	static const char *const mark[] = {"error: ", "warning: ", "", ""};

	plat_mutex_lock(&con.lock);
	ring_put(&con.log, mark[level], str_len(mark[level]));
	ring_put(&con.log, line, str_len(line));
	ring_put(&con.log, "\r\n", 2);
	if (!con.focus)
		shell_line(mark[level], line, str_len(line));
	plat_mutex_unlock(&con.lock);
}

void console_print(const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	str_vformat(line, sizeof(line), fmt, ap);
	va_end(ap);
	plat_mutex_lock(&con.lock);
	out_text(line);
	out_text("\r\n");
	plat_mutex_unlock(&con.lock);
}

void console_show_log(void)
{
	plat_mutex_lock(&con.lock);
	ring_out(&con.log);
	plat_mutex_unlock(&con.lock);
}

/* ---- who has the port ---- */

static void focus(struct vm_console *v)
{
	plat_mutex_lock(&con.lock);
	con.focus = v;
	out_text("\r\n");
	if (v) {
		out_text("[");
		out_text(v->name);
		out_text(": Ctrl-A 0 goes back to the shell]\r\n");
		ring_out(&v->kept);
		v->line_len = 0;
	} else {
		prompt();
	}
	plat_mutex_unlock(&con.lock);
}

bool console_focus(const char *name)
{
	for (unsigned i = 0; i < con.n; i++) {
		if (!str_eq(con.vm[i]->name, name))
			continue;
		focus(con.vm[i]);
		return true;
	}
	return false;
}

void console_watch(bool on)
{
	con.watch = on;
}

static void help(void)
{
	console_print("\r\nCtrl-A 0: the shell; 1 to 9: a VM; n: the next; Ctrl-A: sends Ctrl-A");
}

static void next(void)
{
	unsigned i = 0;

	while (i < con.n && con.vm[i] != con.focus)
		i++;
	i = con.focus ? i + 1 : 0;
	focus(i < con.n ? con.vm[i] : NULL);
}

/* ---- input: the console thread's ---- */

static void type_into(struct vm_console *v, uint8_t key)
{
	if (v->n_typed < TYPED)
		v->typed[v->n_typed++] = key;
}

static void shell_key(uint8_t key)
{
	if (key == '\r' || key == '\n') {
		con.line[con.len] = 0;
		con.len = 0;
		console_print("%s", "");
		con.on_line(con.line);
		plat_mutex_lock(&con.lock);
		if (!con.focus)
			prompt();
		plat_mutex_unlock(&con.lock);
		return;
	}
	plat_mutex_lock(&con.lock);
	if ((key == 8 || key == 127) && con.len) {
		con.len--;
		out_text("\b \b");
	} else if (key >= ' ' && key < 127 && con.len + 1 < sizeof(con.line)) {
		con.line[con.len++] = (char)key;
		out((const char *)&key, 1);
	}
	plat_mutex_unlock(&con.lock);
}

static void command_key(uint8_t key)
{
	if (key == PREFIX && con.focus)
		type_into(con.focus, key);
	else if (key == '0' || key == 'x')
		focus(NULL);
	else if (key >= '1' && key <= '9' && key - '1' < (int)con.n)
		focus(con.vm[key - '1']);
	else if (key == 'n')
		next();
	else
		help();
}

static void on_key(uint8_t key)
{
	if (con.prefix) {
		con.prefix = false;
		command_key(key);
	} else if (key == PREFIX) {
		con.prefix = true;
	} else if (con.focus) {
		type_into(con.focus, key);
	} else {
		shell_key(key);
	}
}

/* Alt-F1: the shell, Alt-F2 and so on the VMs. */
static void on_scan_code(uint8_t code)
{
	char text[KEYBOARD_MAX];
	unsigned to, n = keyboard_decode(&con.keyboard, code, text, &to);

	for (unsigned i = 0; i < n; i++)
		on_key((uint8_t)text[i]);
	if (to && to - 1 <= con.n)
		focus(to > 1 ? con.vm[to - 2] : NULL);
}

static bool feed(struct vm_console *v)
{
	ptrdiff_t n = v->n_typed ? chr_receive(&v->chr, v->typed, v->n_typed) : 0;

	if (n > 0 && n <= (ptrdiff_t)v->n_typed) {
		v->n_typed -= (unsigned)n;
		memmove(v->typed, v->typed + n, v->n_typed);
	}
	return !v->n_typed;
}

static void on_input(uint8_t vector)
{
	plat_event_set(&con.key);
}

void console_run(void (*line)(char *text))
{
	con.on_line = line;
	focus(NULL);
	serial_enable_irq();
	for (;;) {
		bool fed = true;
		int key;

		plat_event_clear(&con.key);
		while ((key = serial_read()) >= 0)
			on_key((uint8_t)key);
		while ((key = keyboard_read()) >= 0)
			on_scan_code((uint8_t)key);
		for (unsigned i = 0; i < con.n; i++)
			fed &= feed(con.vm[i]);
		plat_event_wait(&con.key, plat_now() + (fed ? NS_PER_SEC / 4 : TICK));
	}
}

/* ---- set-up ---- */

int console_add(const char *name, struct chr **out)
{
	struct vm_console *v;

	if (con.n == FLEET_MAX_VMS)
		return err_here(ERR_NOMEM);
	v = plat_alloc(sizeof(*v));
	if (!v)
		return err_here(ERR_NOMEM);
	v->chr.ops = &vm_ops;
	str_copy(v->name, sizeof(v->name), name);
	v->index = con.n;
	con.vm[con.n++] = v;
	*out = &v->chr;
	return 0;
}

void console_init(const struct acpi_info *acpi)
{
	plat_mutex_init(&con.lock, RANK_LEAF);
	con.watch = true;
	log_set_sink(on_log);
	trap_set_irq(IRQ_SERIAL, on_input);
	keyboard_init(acpi, on_input);
	ioapic_route(acpi->com1_gsi, IRQ_SERIAL, apic_id(), acpi->com1_low, acpi->com1_level);
}
