/* SPDX-License-Identifier: ISC */
/* gdb_monitor.c: what gdb's "monitor" does, a row a command. Main thread, the guest stopped. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/gdb.h"

#define TEXT_MAX 2048u

struct answer {
	struct gdb *g;
	size_t len;
	char text[TEXT_MAX];
};

static void say(struct answer *a, const char *fmt, ...) attr_printf(2, 3);
static void say(struct answer *a, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(a->text + a->len, sizeof(a->text) - a->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		a->len = MIN(a->len + (size_t)n, sizeof(a->text) - 1);
}

static bool number(const char *text, uint64_t *v)
{
	char *end;

	errno = 0;
	*v = strtoull(text, &end, 0);
	return *text && !*end && !errno;
}

static bool do_xlate(struct answer *a, const char *arg)
{
	uint64_t gva;
	gpa_t gpa;

	if (!number(arg, &gva))
		return false;
	if (debug_translate(a->g->debug, a->g->mon_cpu, gva, &gpa))
		say(a, "0x%llx is not mapped\n", (unsigned long long)gva);
	else
		say(a, "0x%llx is at physical 0x%llx%s\n", (unsigned long long)gva,
		    (unsigned long long)gpa, mem_slot(a->g->vm, gpa) ? "" : ", which is no memory");
	return true;
}

static bool do_msr(struct answer *a, const char *arg)
{
	struct cpu *cpu = debug_load(a->g->debug, a->g->mon_cpu);
	uint64_t index, v;

	if (!number(arg, &index) || index > UINT32_MAX)
		return false;
	if (!cpu || cpu_msr_read(cpu, (uint32_t)index, &v))
		say(a, "there is no MSR 0x%llx\n", (unsigned long long)index);
	else
		say(a, "0x%llx\n", (unsigned long long)v);
	return true;
}

static bool do_phys(struct answer *a, const char *arg)
{
	if (*arg && strcmp(arg, "on") && strcmp(arg, "off"))
		return false;
	if (*arg)
		a->g->by_phys = !strcmp(arg, "on");
	say(a, "gdb's addresses are %s\n", a->g->by_phys ? "physical" : "virtual");
	return true;
}

static bool do_arch(struct answer *a, const char *arg)
{
	int arch = gdb_arch_find(arg);

	if (arch < -1)
		return false;
	a->g->want_arch = arch;
	say(a, "%s, from the next connection on\n", arg);
	return true;
}

static bool do_nmi(struct answer *a, const char *arg)
{
	vcpu_request(a->g->vm->vcpu[a->g->mon_cpu], REQ_NMI);
	say(a, "CPU %u gets an NMI when it goes on\n", a->g->mon_cpu);
	return !*arg;
}

static unsigned pauses(struct vm *vm)
{
	unsigned n;

	plat_mutex_lock(&vm->lock);
	n = vm->paused;
	plat_mutex_unlock(&vm->lock);
	return n;
}

/* The bootstrap processor's thread does it, parked; until then the request holds a pause of its own. */
static bool do_reset(struct answer *a, const char *arg)
{
	struct vm *vm = a->g->vm;
	uint64_t deadline = plat_now() + 5 * NS_PER_SEC;
	unsigned before = pauses(vm);

	vm_request_reset(vm);
	while (pauses(vm) > before && vm->end == VM_RUNNING && plat_now() < deadline)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	say(a, pauses(vm) > before
		       ? "the guest does not come to rest\n"
		       : "reset; gdb sees it after \"maintenance flush register-cache\"\n");
	return !*arg;
}

static bool do_powerdown(struct answer *a, const char *arg)
{
	if (a->g->vm->power_button)
		a->g->vm->power_button(a->g->vm);
	say(a, a->g->vm->power_button ? "the guest sees it when it goes on\n"
				      : "there is no power button\n");
	return !*arg;
}

static bool do_quit(struct answer *a, const char *arg)
{
	a->g->ops->kill(a->g->ctx);
	return !*arg;
}

static bool do_cpu(struct answer *a, const char *arg)
{
	uint64_t n = a->g->mon_cpu;

	if (*arg && (!number(arg, &n) || n >= a->g->vm->n_vcpus))
		return false;
	a->g->mon_cpu = (unsigned)n;
	say(a, "CPU %u\n", a->g->mon_cpu);
	return true;
}

static bool do_help(struct answer *a, const char *arg);

static const struct {
	const char *name, *args, *help;
	bool (*fn)(struct answer *a, const char *arg);
} commands[] = {
	{"help", "", "this list", do_help},
	{"cpu", "[N]", "which CPU the commands here mean; at first the one that has stopped",
	 do_cpu},
	{"xlate", "ADDRESS", "where a virtual address leads", do_xlate},
	{"phys", "[on|off]", "read and write memory by physical addresses", do_phys},
	{"msr", "INDEX", "read a model-specific register", do_msr},
	{"nmi", "", "send an NMI", do_nmi},
	{"arch", "auto|x86-64|i386|i8086", "what gdb is told to be talking to", do_arch},
	{"system_reset", "", "reset the machine", do_reset},
	{"system_powerdown", "", "press the power button", do_powerdown},
	{"quit", "", "end the VM", do_quit},
};

static bool do_help(struct answer *a, const char *arg)
{
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		say(a, "%-16s %-24s %s\n", commands[i].name, commands[i].args, commands[i].help);
	return true;
}

void gdb_monitor(struct gdb *g, const char *line, struct gdb_out *out)
{
	size_t n = strcspn(line, " ");
	const char *arg = line + n + strspn(line + n, " ");
	struct answer a = {.g = g};
	bool good = false;

	for (unsigned i = 0; i < ARRAY_SIZE(commands) && !good; i++)
		if (strlen(commands[i].name) == n && !memcmp(commands[i].name, line, n))
			good = commands[i].fn(&a, arg);
	if (!good)
		say(&a, "not understood: monitor help lists what there is\n");
	if (a.len)
		gdb_put_hex(out, a.text, a.len);
	else
		gdb_puts(out, "OK");
}
