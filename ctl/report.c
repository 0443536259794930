/* SPDX-License-Identifier: ISC */
/* report.c: crash reports, status and statistics. Main thread. */
#include "ctl/report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/soft/soft.h"
#include "monitor/core.h"

static const char *const gpr_names[16] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
					  "R8",  "R9",  "R10", "R11", "R12", "R13", "R14", "R15"};
static const char *const sreg_names[SREG_COUNT] = {"ES", "CS", "SS", "DS", "FS", "GS"};

static const char *const exit_names[EXIT_KINDS] = {
	[EXIT_NONE] = "kick",   [EXIT_HLT] = "hlt",   [EXIT_SHUTDOWN] = "shutdown",
	[EXIT_PIO] = "pio",     [EXIT_MMIO] = "mmio", [EXIT_ERROR] = "error",
	[EXIT_DEBUG] = "debug",
};

static void print_seg(FILE *f, const char *name, const struct x86_seg *s)
{
	fprintf(f, "  %-4s %04x base %016" PRIx64 " limit %08x attr %04x\n", name, s->sel, s->base,
		s->limit, s->attr);
}

static void report_registers(FILE *f, const struct x86_state *s)
{
	for (unsigned i = 0; i < 16; i++)
		fprintf(f, "%s%-3s %016" PRIx64 "%s", i % 4 ? " " : "  ", gpr_names[i], s->gpr[i],
			i % 4 == 3 ? "\n" : "");
	fprintf(f, "  RIP %016" PRIx64 " RFLAGS %08" PRIx64 " CPL %u\n", s->rip, s->rflags,
		x86_cpl(s));
	fprintf(f,
		"  CR0 %08" PRIx64 " CR2 %016" PRIx64 " CR3 %016" PRIx64 " CR4 %08" PRIx64
		" EFER %04" PRIx64 "\n",
		s->cr0, s->cr2, s->cr3, s->cr4, s->efer);
	for (unsigned i = 0; i < SREG_COUNT; i++)
		print_seg(f, sreg_names[i], &s->seg[i]);
	print_seg(f, "LDTR", &s->ldtr);
	print_seg(f, "TR", &s->tr);
	fprintf(f, "  GDTR %016" PRIx64 " %04x  IDTR %016" PRIx64 " %04x\n", s->gdtr.base,
		s->gdtr.limit, s->idtr.base, s->idtr.limit);
}

void report_crash(FILE *f, const struct vm *vm, const struct recorder *rec)
{
	struct mon_event last[32];
	unsigned n = recorder_last(rec, last, ARRAY_SIZE(last));
	unsigned i = vm->crashed_vcpu < vm->n_vcpus ? vm->crashed_vcpu : 0;

	fprintf(f, "registers of CPU %u at the crash:\n", i);
	report_registers(f, vm->vcpu[i]->state);
	fprintf(f, "exits so far:");
	for (unsigned k = 0; k < EXIT_KINDS; k++)
		fprintf(f, " %s %" PRIu64, exit_names[k], atomic_load(&vm->vcpu[i]->exits[k]));
	fprintf(f, "\nlast exits to devices (oldest first):%s\n", n ? "" : " none");
	for (unsigned k = 0; k < n; k++)
		fprintf(f, "  CPU %d %-8s %-5s %08" PRIx64 " size %u value %" PRIx64 "\n",
			last[k].vcpu, mon_class_name(last[k].cls), last[k].op ? "write" : "read",
			last[k].addr, last[k].size, last[k].value);
}

const char *report_state(const struct report_source *src)
{
	if (src->vm->end != VM_RUNNING)
		return "ended";
	if (vm_is_asleep(src->vm) && src->vm->paused == 1)
		return "asleep";
	if (src->vm->paused)
		return "paused";
	return src->stopping ? "stopping" : "running";
}

void report_status(const struct report_source *src, json_t *out)
{
	struct vm *vm = src->vm;
	uint64_t up = plat_now() - src->started;
	char reason[sizeof(vm->pause_reason)];

	plat_mutex_lock(&vm->lock);
	memcpy(reason, vm->pause_reason, sizeof(reason));
	plat_mutex_unlock(&vm->lock);
	json_object_set_new(out, "name", json_string(vm->name));
	json_object_set_new(out, "state", json_string(report_state(src)));
	if (vm->paused && reason[0])
		json_object_set_new(out, "reason", json_string(reason));
	json_object_set_new(out, "pid", json_integer(getpid()));
	json_object_set_new(out, "engine", json_string(vm->engine->name));
	json_object_set_new(out, "cpus", json_integer(vm->n_vcpus));
	json_object_set_new(out, "memory", json_integer((json_int_t)vm->ram.size));
	if (src->screen)
		json_object_set_new(out, "screen", json_string(src->screen));
	json_object_set_new(out, "uptime", json_integer((json_int_t)(up / NS_PER_SEC)));
}

static uint64_t resident_bytes(int fd)
{
	unsigned long long size, rss;
	char buf[128];
	ssize_t n = fd >= 0 ? pread(fd, buf, sizeof(buf) - 1, 0) : -1;

	if (n <= 0)
		return 0;
	buf[n] = 0;
	if (sscanf(buf, "%llu %llu", &size, &rss) != 2)
		return 0;
	return rss * (uint64_t)sysconf(_SC_PAGESIZE);
}

static json_t *named(const struct soft_named *rows, unsigned n)
{
	json_t *out = json_object();

	for (unsigned i = 0; i < n; i++)
		json_object_set_new(out, rows[i].name, json_integer((json_int_t)rows[i].n));
	return out;
}

static void report_soft(struct vm *vm, json_t *out)
{
	struct soft_named rows[24];
	json_t *soft = json_object();
	struct soft_stats st;
	unsigned n;

	soft_stats_read(vm, &st);
#define S(id, text) json_object_set_new(soft, #id, json_integer((json_int_t)st.id));
	SOFT_STATS(S)
#undef S
	json_object_set_new(out, "soft", soft);
	n = soft_stats_exec(vm, rows, ARRAY_SIZE(rows));
	json_object_set_new(out, "interpreted", named(rows, n));
	n = soft_profile_read(vm, rows, ARRAY_SIZE(rows));
	if (!n)
		return;
	json_object_set_new(out, "profile", named(rows, n));
	n = soft_profile_exec(vm, rows, ARRAY_SIZE(rows));
	json_object_set_new(out, "profile_interpreted", named(rows, n));
}

void report_stats(const struct report_source *src, json_t *out)
{
	struct vm *vm = src->vm;
	json_t *cpus = json_array();
	struct rusage ru;

	report_status(src, out);
	if (!getrusage(RUSAGE_SELF, &ru)) {
		json_object_set_new(
			out, "cpu_seconds",
			json_real((double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
				  (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6));
	}
	json_object_set_new(out, "resident",
			    json_integer((json_int_t)resident_bytes(src->statm_fd)));
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		json_t *exits = json_object();

		for (unsigned k = 0; k < EXIT_KINDS; k++)
			json_object_set_new(
				exits, exit_names[k],
				json_integer((json_int_t)atomic_load(&vm->vcpu[i]->exits[k])));
		json_array_append_new(cpus, json_pack("{s:i, s:o}", "cpu", (int)i, "exits", exits));
	}
	json_object_set_new(out, "vcpus", cpus);
	json_object_set_new(out, "doorbells",
			    json_integer((json_int_t)atomic_load(&vm->bells_heard)));
	json_object_set_new(out, "late-writes",
			    json_integer((json_int_t)atomic_load(&vm->late_writes)));
	if (vm->engine == &engine_soft)
		report_soft(vm, out);
}
