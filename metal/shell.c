/* SPDX-License-Identifier: ISC */
/* shell.c: management without a host: a table of commands. On the console's thread. */
#include "metal/shell.h"

#include "base/str.h"
#include "metal/console.h"
#include "metal/disks.h"
#include "metal/guests.h"
#include "metal/hostdisk.h"
#include "metal/hostpci.h"
#include "metal/iommu.h"
#include "metal/journal.h"
#include "metal/network.h"
#include "metal/part.h"
#include "metal/power.h"
#include "metal/watch.h"
#include "net/switch.h"
#include "plat/metal/mem.h"
#include "plat/metal/sched.h"

static unsigned percent(uint64_t part, uint64_t whole)
{
	return whole ? (unsigned)(part * 100 / whole) : 0;
}

static void cmd_list(char *arg)
{
	struct guest *g;

	console_print("  %-16s %-14s %4s %9s %6s %4s", "NAME", "STATE", "CPUS", "MEMORY", "WEIGHT",
		      "CAP");
	for (unsigned i = 0; (g = guest_at(i)); i++) {
		const struct fleet_vm *d = guest_def(g);

		console_print("%u %-16s %-14s %4u %5llu MiB %6u %3u%%", i + 1, d->name,
			      guest_state(g), d->cpus, (unsigned long long)(d->memory / MIB),
			      d->weight, d->cap);
	}
}

static void cmd_stats(char *arg)
{
	uint64_t total, free, now = plat_now();
	struct guest_stats s;
	struct guest *g;

	phys_stats(&total, &free);
	console_print("up %llu s, %u CPUs, memory %llu of %llu MiB free, own %llu KiB",
		      (unsigned long long)(now / NS_PER_SEC), sched_cpus(),
		      (unsigned long long)(free / MIB), (unsigned long long)(total / MIB),
		      (unsigned long long)(mem_own_bytes() / KIB));
	for (unsigned i = 0; i < sched_cpus(); i++)
		console_print("CPU %u %u%% idle", i, percent(sched_idle_ns(i), now));
	for (unsigned i = 0; (g = guest_at(i)); i++)
		if (guest_get_stats(g, &s))
			console_print(
				"%-16s cpu %llu ms, waited %llu us at most, entries %llu (%llu without its TLB), port %llu, "
				"mmio %llu, halts %llu, began at %llu us",
				guest_def(g)->name, (unsigned long long)(s.cpu_ns / 1000000),
				(unsigned long long)(s.waited_ns / 1000),
				(unsigned long long)s.entries, (unsigned long long)s.flushes,
				(unsigned long long)s.pio, (unsigned long long)s.mmio,
				(unsigned long long)s.halts, (unsigned long long)(s.began / 1000));
}

static void cmd_pci(char *arg)
{
	const struct hostpci *f;

	for (unsigned i = 0; (f = hostpci_at(i)); i++)
		console_print("%02x:%02x.%x %04x:%04x class %06x %s", f->bdf >> 8, f->bdf >> 3 & 31,
			      f->bdf & 7, f->vendor, f->device, f->cls,
			      f->driver ? f->driver : "-");
}

static void check_iommu(const char *name)
{
	struct hostdisk *d = hostdisk_find(name);
	uint64_t before = iommu_faults();
	int err;

	if (!d || !iommu_works()) {
		console_print(d ? "there is no IOMMU" : "no disk %s: see disks", name);
		return;
	}
	err = disks_check_iommu(d);
	/* the fault is told by a thread of its own */
	for (unsigned i = 0; i < 100 && iommu_faults() == before; i++)
		plat_event_wait(&(struct plat_event){0}, plat_now() + NS_PER_SEC / 100);
	console_print("%s: %s, %llu refused", name,
		      err ? err_str(err) : "what is not its own it does not reach",
		      (unsigned long long)(iommu_faults() - before));
}

static void cmd_iommu(char *arg)
{
	static const char check[] = "check ";
	size_t n = sizeof(check) - 1;
	uint64_t bytes, faults;
	uint16_t bdf;

	if (str_len(arg) > n && !memcmp(arg, check, n)) {
		check_iommu(arg + n);
		return;
	}
	console_print("%u units, %llu accesses refused", iommu_units(),
		      (unsigned long long)iommu_faults());
	for (unsigned i = 0; iommu_at(i, &bdf, &bytes, &faults); i++)
		console_print("%02x:%02x.%x reaches %llu KiB, %llu refused", bdf >> 8,
			      bdf >> 3 & 31, bdf & 7, (unsigned long long)(bytes / KIB),
			      (unsigned long long)faults);
}

static void print_port(const char *name, unsigned net, const struct net *port)
{
	struct net_switch_stats s;

	net_switch_stats(port, &s);
	console_print("%-16s %-15s %02x:%02x:%02x:%02x:%02x:%02x %10llu %10llu %8llu %8llu", name,
		      network_name(net), port->mac[0], port->mac[1], port->mac[2], port->mac[3],
		      port->mac[4], port->mac[5], (unsigned long long)s.sent,
		      (unsigned long long)s.received, (unsigned long long)s.lost,
		      (unsigned long long)s.refused);
}

static void cmd_net(char *arg)
{
	const struct net *port;
	struct guest *g;
	unsigned net;

	console_print("%-16s %-15s %-17s %10s %10s %8s %8s", "NAME", "NETWORK", "ADDRESS", "SENT",
		      "RECEIVED", "LOST", "REFUSED");
	for (unsigned v = 0; (g = guest_at(v)); v++)
		for (unsigned i = 0; i < guest_def(g)->n_nics; i++)
			print_port(guest_def(g)->name, guest_def(g)->nic[i].net,
				   network_port(v, i));
	for (unsigned i = 0; (port = network_uplink(i, &net)); i++)
		print_port("(uplink)", net, port);
}

/* arg: a VM's name, or none for all */
static void each_named(char *arg, void (*fn)(unsigned n))
{
	struct guest *g;
	bool any = false;

	for (unsigned i = 0; (g = guest_at(i)); i++)
		if (!*arg || str_eq(guest_def(g)->name, arg)) {
			fn(i);
			any = true;
		}
	if (!any)
		console_print("no VM %s: see list", arg);
}

static void cmd_history(char *arg)
{
	if (*arg)
		each_named(arg, watch_print_history);
	else
		watch_print_history(UINT32_MAX);
}

static void cmd_policy(char *arg)
{
	each_named(arg, watch_print_policy);
}

static bool print_part(void *ctx, const struct part *p)
{
	console_print("  /%-3u %10llu MiB  %s", p->number,
		      (unsigned long long)(p->sectors / (MIB / PART_SECTOR)), p->label);
	return false;
}

static void cmd_disks(char *arg)
{
	struct hostdisk *d;

	for (unsigned i = 0; (d = hostdisk_at(i)); i++) {
		console_print("%-8s %7llu MiB  %s, %s: %llu reads, %llu writes, %llu errors%s",
			      d->name, (unsigned long long)(d->sectors / (MIB / PART_SECTOR)),
			      d->model, d->serial, (unsigned long long)d->reads,
			      (unsigned long long)d->writes, (unsigned long long)d->errors,
			      d->dead ? ", cut off" : "");
		if (!d->dead && disks_parts(d, print_part, NULL))
			console_print("  no partitions");
	}
}

static void cmd_log(char *arg)
{
	console_show_log();
}

static void cmd_watch(char *arg)
{
	if (!str_eq(arg, "on") && !str_eq(arg, "off")) {
		console_print("watch on, or watch off");
		return;
	}
	console_watch(str_eq(arg, "on"));
}

static void cmd_console(char *arg)
{
	if (!console_focus(arg))
		console_print("no VM %s: see list", arg);
}

static void on_guest(char *arg, int (*fn)(struct guest *g), const char *refused)
{
	struct guest *g = guest_find(arg);
	int err;

	if (!g) {
		console_print("no VM %s: see list", arg);
		return;
	}
	err = fn(g);
	if (err == ERR_INVAL || err == ERR_BUSY)
		console_print("%s %s", arg, refused);
	else if (err)
		console_print("%s: %s", arg, err == ERR_ACCES ? "its rules deny it" : err_str(err));
}

static void cmd_start(char *arg)
{
	on_guest(arg, guest_start, "runs already");
}

static void cmd_stop(char *arg)
{
	on_guest(arg, guest_stop, "does not run");
}

static void cmd_kill(char *arg)
{
	on_guest(arg, guest_kill, "does not run");
}

static void cmd_pause(char *arg)
{
	on_guest(arg, guest_pause, "does not run, or is paused already");
}

static void cmd_resume(char *arg)
{
	on_guest(arg, guest_resume, "is not paused");
}

static void cmd_poweroff(char *arg)
{
	guests_kill_all();
	journal_sync();
	console_print("powering off");
	power_off();
	console_print("the machine does not power off: switch it off");
}

static void cmd_reboot(char *arg)
{
	guests_kill_all();
	journal_sync();
	console_print("rebooting");
	power_reboot();
}

static void cmd_help(char *arg);

static const struct {
	const char *name, *arg, *help;
	void (*fn)(char *arg);
} commands[] = {
	{"list", "", "the VMs", cmd_list},
	{"start", "NAME", "start a VM", cmd_start},
	{"stop", "NAME", "press a VM's power button", cmd_stop},
	{"kill", "NAME", "stop a VM at once", cmd_kill},
	{"pause", "NAME", "hold a VM's processors", cmd_pause},
	{"resume", "NAME", "let a paused VM go on", cmd_resume},
	{"console", "NAME", "go to a VM's console; Ctrl-A 0 comes back", cmd_console},
	{"watch", "on|off", "show the VMs' lines here, too", cmd_watch},
	{"stats", "", "what the VMs and the machine have done", cmd_stats},
	{"disks", "", "the machine's disks and their partitions", cmd_disks},
	{"pci", "", "the machine's PCI functions, and who drives them", cmd_pci},
	{"iommu", "",
	 "what devices may reach; iommu check DISK: whether that holds (may cut it off)",
	 cmd_iommu},
	{"net", "", "the VMs' network cards, and what went through them", cmd_net},
	{"history", "", "what happened last; history NAME: in one VM", cmd_history},
	{"policy", "", "the VMs' rules, and what they decided", cmd_policy},
	{"log", "", "messages since the start", cmd_log},
	{"poweroff", "", "stop all VMs at once and switch the machine off", cmd_poweroff},
	{"reboot", "", "stop all VMs at once and restart the machine", cmd_reboot},
	{"help", "", "this list", cmd_help},
};

static void cmd_help(char *arg)
{
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		console_print("  %-8s %-7s %s", commands[i].name, commands[i].arg,
			      commands[i].help);
	console_print("Ctrl-A h: keys that switch between consoles");
}

void shell_line(char *text)
{
	char *arg = text;

	while (*text == ' ')
		text++;
	for (arg = text; *arg && *arg != ' ';)
		arg++;
	if (*arg)
		*arg++ = 0;
	while (*arg == ' ')
		arg++;
	if (!*text)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!str_eq(commands[i].name, text))
			continue;
		if (commands[i].arg[0] && !*arg)
			console_print("%s %s", text, commands[i].arg);
		else
			commands[i].fn(arg);
		return;
	}
	console_print("unknown command %s: see help", text);
}
