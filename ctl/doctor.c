/* SPDX-License-Identifier: ISC */
/* doctor.c: examines the host: engines by running a guest, processor features that the translator
 * wants, memory, limits, and what disks and networks stand on. Main thread. */
#include "ctl/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <net/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "ctl/engines.h"
#include "ctl/rundir.h"
#include "engine/kvm/caps.h"
#include "net/vhost.h"
#include "plat/plat.h"
#include "x86/cpuid.h"

static struct doctor_row *add(struct doctor *d, const char *group, const char *name,
			      enum doctor_grade grade, const char *advice)
{
	struct doctor_row *row = &d->row[MIN(d->n, DOCTOR_MAX_ROWS - 1)];

	d->n = MIN(d->n + 1, DOCTOR_MAX_ROWS);
	*row = (struct doctor_row){.group = group, .grade = grade};
	snprintf(row->name, sizeof(row->name), "%s", name);
	snprintf(row->advice, sizeof(row->advice), "%s", advice ? advice : "");
	return row;
}

#define found(row, ...) snprintf((row)->found, sizeof((row)->found), __VA_ARGS__)

static void examine_engines(struct doctor *d)
{
	for (unsigned i = 0; i < engine_count; i++) {
		const struct engine_row *e = &engine_table[i];
		struct engine_probe p = {.usable = false};
		int err = e->probe(&p);
		struct doctor_row *row = add(d, "engine", e->name,
					     p.usable                   ? DOCTOR_GOOD
					     : !strcmp(e->name, "soft") ? DOCTOR_BAD
									: DOCTOR_NOTE,
					     p.advice);

		if (err)
			found(row, "failed: %s", err_str(err));
		else if (p.ips)
			found(row, "%s, %llu million instructions/s", p.verdict,
			      (unsigned long long)(p.ips / 1000000));
		else
			found(row, "%s", p.verdict ? p.verdict : "");
	}
}

/* What the host's KVM can do for the engine; nothing where there is none. */
static void examine_kvm(struct doctor *d)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	union kvm_cpuid_list cpuid = {.head = {0}};
	uint32_t has;

	if (fd < 0)
		return;
	has = kvm_caps_cpuid(fd, &cpuid) ? 0 : kvm_caps_ask(fd, &cpuid);
	for (unsigned i = 0; i < HAS_COUNT; i++) {
		const struct kvm_cap *c = &kvm_caps[i];
		bool yes = has & BIT(i);

		found(add(d, "kvm", c->name, yes ? DOCTOR_GOOD : DOCTOR_NOTE,
			  yes ? NULL : c->without),
		      "%s",
		      yes         ? "yes"
		      : c->needed ? "no: the engine kvm needs it"
				  : "no");
	}
	close(fd);
}

/* ---- processor ------------------------------------------------------------------------------ */

static const struct {
	const char *name;
	uint32_t leaf, sub;
	unsigned reg; /* EAX EBX ECX EDX */
	unsigned bit;
	const char *without;
} cpu_features[] = {
	{"BMI2", 7, 0, 1, 8, "translated memory accesses are slower; nothing to be done"},
	{"AVX2", 7, 0, 1, 5, "guests get no AVX2"},
	{"AES", 1, 0, 2, 25, "guests get no AES instructions"},
	{"XSAVE", 1, 0, 2, 26, "guests get no XSAVE and no AVX"},
	{"invariant TSC", 0x80000007, 0, 3, 8, "guests keep time less exactly"},
};

static void examine_cpu(struct doctor *d)
{
	char brand[49] = "";
	struct plat_cpuid r;
	cpu_set_t set;

	for (uint32_t i = 0; i < 3; i++) {
		plat_cpuid(0x80000002 + i, 0, &r);
		memcpy(brand + 16 * i, &r, 16);
	}
	found(add(d, "processor", "model", DOCTOR_GOOD, NULL), "%s", brand + strspn(brand, " "));
	if (!sched_getaffinity(0, sizeof(set), &set))
		found(add(d, "processor", "CPUs", DOCTOR_GOOD, NULL), "%d", CPU_COUNT(&set));
	for (unsigned i = 0; i < ARRAY_SIZE(cpu_features); i++) {
		uint32_t regs[4];
		bool has;

		plat_cpuid(cpu_features[i].leaf, cpu_features[i].sub, &r);
		memcpy(regs, &r, sizeof(regs));
		has = regs[cpu_features[i].reg] & BIT(cpu_features[i].bit);
		found(add(d, "processor", cpu_features[i].name, has ? DOCTOR_GOOD : DOCTOR_NOTE,
			  has ? NULL : cpu_features[i].without),
		      "%s", has ? "yes" : "no");
	}
	/* The kernel says by this bit that programs may use the instructions. */
	{
		bool has = doctor_fsgsbase();

		found(add(d, "processor", "FSGSBASE", has ? DOCTOR_GOOD : DOCTOR_NOTE,
			  has ? NULL
			      : "thread switches in guests are slower; Linux 5.9 or later "
				"allows it"),
		      "%s", has ? "yes" : "no");
	}
}

/* ---- host ------------------------------------------------------------------------------------ */

static void examine_memory(struct doctor *d)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0;
	char line[128];
	struct doctor_row *row;
	struct rlimit rl;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	row = add(d, "memory", "available", kib >= 640 * 1024 ? DOCTOR_GOOD : DOCTOR_NOTE,
		  kib >= 640 * 1024 ? NULL : "give VMs less --memory, or end other programs");
	found(row, "%llu MiB", kib / 1024);
	if (!getrlimit(RLIMIT_AS, &rl)) {
		bool ok = rl.rlim_cur == RLIM_INFINITY || rl.rlim_cur >= 8 * GIB;

		row = add(d, "memory", "address space", ok ? DOCTOR_GOOD : DOCTOR_BAD,
			  ok ? NULL : "ulimit -v unlimited");
		if (rl.rlim_cur == RLIM_INFINITY)
			found(row, "unlimited");
		else
			found(row, "%llu MiB", (unsigned long long)(rl.rlim_cur / MIB));
	}
}

static void examine_limits(struct doctor *d)
{
	struct rlimit rl;

	if (!getrlimit(RLIMIT_NOFILE, &rl))
		found(add(d, "limits", "open files", rl.rlim_cur >= 256 ? DOCTOR_GOOD : DOCTOR_NOTE,
			  rl.rlim_cur >= 256 ? NULL : "ulimit -n 1024"),
		      "%llu", (unsigned long long)rl.rlim_cur);
}

static void examine_code_memory(struct doctor *d)
{
	struct plat_code code;
	int err = plat_code_alloc(PAGE_SIZE * 16, &code);

	found(add(d, "memory", "code memory", err ? DOCTOR_BAD : DOCTOR_GOOD,
		  err ? "let memfd_create memory be mapped executable: mount options or a security "
			"module forbid it"
		      : NULL),
	      "%s", err ? err_str(err) : "maps twice, W^X");
	if (!err)
		plat_code_free(&code);
}

static void examine_io(struct doctor *d)
{
	struct io_uring ring;
	struct doctor_row *row;
	const char *lacks;
	int err = io_uring_queue_init(8, &ring, 0);
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	int fd;

	row = add(
		d, "disk", "io_uring", err ? DOCTOR_NOTE : DOCTOR_GOOD,
		err ? "threads are used instead; sysctl kernel.io_uring_disabled=0, or a container's "
		      "filter, allows it"
		    : NULL);
	found(row, "%s", err ? strerror(-err) : "yes");
	if (!err)
		io_uring_queue_exit(&ring);

	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	/* Without a name the kernel makes a new interface, which goes with the descriptor. */
	err = fd < 0 || ioctl(fd, TUNSETIFF, &ifr) ? errno : 0;
	row = add(
		d, "network", "tap", err ? DOCTOR_NOTE : DOCTOR_GOOD,
		err ? "--net user needs nothing; for --net tap:IF make one: ip tuntap add IF mode tap "
		      "user $USER"
		    : NULL);
	found(row, "%s", err ? strerror(err) : "may be created");
	if (fd >= 0)
		close(fd);
	lacks = vhost_lacks();
	row = add(d, "network", "vhost-net", lacks ? DOCTOR_NOTE : DOCTOR_GOOD,
		  lacks ? "frames of tap networks go through the VM's process" : NULL);
	found(row, "%s", lacks ? lacks : "yes");
	found(add(d, "network", "user", DOCTOR_GOOD, NULL), "always");
}

static void examine_rundir(struct doctor *d)
{
	char path[4096];
	struct msg msg = {""};
	int fd = rundir_open(true, path, sizeof(path), &msg);

	found(add(d, "control", "sockets", fd < 0 ? DOCTOR_NOTE : DOCTOR_GOOD,
		  fd < 0 ? msg.text : NULL),
	      "%.90s", fd < 0 ? "no folder" : path);
	if (fd >= 0)
		close(fd);
}

void doctor_examine(struct doctor *d)
{
	struct utsname u;

	d->n = 0;
	examine_engines(d);
	examine_kvm(d);
	examine_cpu(d);
	found(add(d, "processor", "guest model", DOCTOR_GOOD, NULL), "%s",
	      x86_model_name(x86_model_default()));
	examine_memory(d);
	examine_code_memory(d);
	examine_limits(d);
	examine_io(d);
	examine_rundir(d);
	if (!uname(&u))
		found(add(d, "host", "kernel", DOCTOR_GOOD, NULL), "%.40s %.50s", u.sysname,
		      u.release);
}

static const char *const grade_names[] = {"good", "note", "bad"};

json_t *doctor_json(const struct doctor *d)
{
	json_t *rows = json_array();

	for (unsigned i = 0; i < d->n; i++) {
		const struct doctor_row *r = &d->row[i];

		json_array_append_new(rows,
				      json_pack("{s:s, s:s, s:s, s:s, s:s}", "group", r->group,
						"name", r->name, "grade", grade_names[r->grade],
						"found", r->found, "advice", r->advice));
	}
	return json_pack("{s:b, s:o}", "usable", doctor_usable(d), "rows", rows);
}

bool doctor_usable(const struct doctor *d)
{
	for (unsigned i = 0; i < d->n; i++)
		if (d->row[i].grade == DOCTOR_BAD)
			return false;
	return true;
}
