/* SPDX-License-Identifier: ISC */
/* guests.c: each VM of the fleet has a keeper: a thread that makes the VM from its definition, waits for
 * its end, says how it ended, and gives its memory back. So a VM that crashes takes nothing along.
 * g->lock guards what shell and keeper share. */
#include "metal/guests.h"

#include "base/str.h"
#include "block/block.h"
#include "block/watch.h"
#include "board/micro.h"
#include "metal/bootinfo.h"
#include "metal/console.h"
#include "metal/disks.h"
#include "metal/engine.h"
#include "metal/hostdisk.h"
#include "metal/journal.h"
#include "metal/network.h"
#include "metal/power.h"
#include "metal/ramdisk.h"
#include "metal/restore.h"
#include "metal/trap.h"
#include "metal/watch.h"
#include "net/net.h"
#include "plat/metal/mem.h"
#include "plat/metal/sched.h"
#include "vm/vm.h"
#include "x86/cpuid.h"

struct guest {
	const struct fleet_vm *def;
	struct chr *chr;
	struct plat_mutex lock; /* RANK_VM: vm, paused, why */
	struct vm *vm;          /* NULL: does not run */
	bool paused;
	const char *why;            /* how it ended the last time; "" never ran */
	struct plat_thread *keeper; /* the shell's; joined before the next start */
	_Atomic bool busy;          /* the keeper lives */
	_Atomic bool ending;        /* ... but its VM has ended */
	/* Its disks, and what rules redirect to; of disks top is what the guest has: with its rules between. */
	struct block *disk[FLEET_MAX_DISKS + FLEET_MAX_TARGETS];
	struct block *top[FLEET_MAX_DISKS + FLEET_MAX_TARGETS];
	struct block_targets targets; /* the latter again */
	struct plat_ram ram;          /* that the disks reach */
};

static struct {
	struct fleet fleet;
	const struct engine_ops *engine;
	struct guest guest[FLEET_MAX_VMS];
	_Atomic uint32_t running;
	bool quiet; /* do not power off by itself */
} all;

/* ---- the keeper ---- */

static unsigned number(const struct guest *g)
{
	return (unsigned)(g - all.guest);
}

/* A module is memory that nobody else has: the guest's to write. */
static int open_disk(struct guest *g, const struct fleet_disk *d, unsigned i, char *err,
		     size_t err_size)
{
	int r = d->host[0] ? disks_open(d->host, d->read_only, &g->disk[i], err, err_size)
			   : ramdisk_create(g->def->name, (uint8_t *)(uintptr_t)d->image.data,
					    d->image.size, d->read_only, &g->disk[i]);

	g->top[i] = g->disk[i];
	return r;
}

static int open_targets(struct guest *g, char *msg, size_t size)
{
	int err = 0;

	for (unsigned i = 0; i < g->def->n_targets && !err; i++) {
		struct block **b = &g->disk[FLEET_MAX_DISKS + i];

		err = open_disk(g, &g->def->target[i], FLEET_MAX_DISKS + i, msg, size);
		if (!err)
			err = hostdisk_allow(*b, g->ram.hva, g->ram.size);
		g->targets.image[i] = *b;
	}
	return err;
}

/* The machine's disks reach the VM's memory: from here to close_disks(), by when it is gone already. */
static int open_disks(struct guest *g, struct micro_config *cfg, struct vm *vm, char *msg,
		      size_t size)
{
	const struct fleet_vm *d = g->def;
	int err = open_targets(g, msg, size);

	for (unsigned i = 0; i < d->n_disks && !err; i++) {
		unsigned n = cfg->n_disks;

		if (!watch_device(number(g), "disk", i))
			continue;
		err = open_disk(g, &d->disk[i], i, msg, size);
		if (err)
			break;
		err = watch_disk(number(g), i, &vm->mon, &g->targets, &g->top[i]);
		if (err)
			g->disk[i] = NULL; /* it is closed */
		else
			err = hostdisk_allow(g->disk[i], g->ram.hva, g->ram.size);
		if (err)
			break;
		cfg->disk[n].block = g->top[i];
		str_format(cfg->disk[n].serial, sizeof(cfg->disk[n].serial), "%s%u",
			   d->disk[i].host[0] ? "host" : "ram", i);
		cfg->n_disks++;
	}
	return err;
}

static void close_disks(struct guest *g)
{
	for (unsigned i = 0; i < ARRAY_SIZE(g->disk); i++)
		if (g->disk[i]) {
			hostdisk_deny(g->disk[i], g->ram.hva, g->ram.size);
			g->top[i]->ops->close(g->top[i]);
		}
	memset(g->disk, 0, sizeof(g->disk));
	memset(g->top, 0, sizeof(g->top));
	memset(&g->targets, 0, sizeof(g->targets));
}

/* Before the VM's memory is given back. */
static void keep_lost(struct guest *g)
{
	bool lost = false;

	for (unsigned i = 0; i < ARRAY_SIZE(g->disk); i++)
		lost |= g->disk[i] && hostdisk_lost(g->disk[i]);
	if (!lost)
		return;
	plat_log(LOG_WARN, "%s: its memory stays taken, as a disk has not given it back",
		 g->def->name);
	mem_keep(g->ram.hva);
}

static int load(struct vm *vm, const struct micro_config *cfg, char *err, size_t err_size)
{
	static const char what[] = "the kernel ";
	size_t n = sizeof(what) - 1;
	int r = micro_create(vm, cfg, err + n, err_size - n);

	if (r && err[n])
		memcpy(err, what, n);
	return r;
}

static void plug_in(struct guest *g, struct micro_config *cfg)
{
	const struct fleet_vm *d = g->def;

	for (unsigned i = 0; i < d->n_nics; i++) {
		unsigned n = cfg->n_nics;

		if (!watch_device(number(g), "net", i))
			continue;
		cfg->nic[n].net = network_port(number(g), i);
		memcpy(cfg->nic[n].mac, d->nic[i].mac, sizeof(d->nic[i].mac));
		cfg->n_nics++;
	}
}

/* The switch forgets what it has learnt behind the cards. */
static void unplug(struct guest *g)
{
	for (unsigned i = 0; i < g->def->n_nics; i++) {
		struct net *port = network_port(number(g), i);

		port->ops->close(port);
	}
}

static int make(const struct vm_config *cfg, struct vm **out, char *err, size_t err_size)
{
	int r = vm_create(cfg, out);
	uint64_t total, free;

	if (r == ERR_NOMEM) {
		phys_stats(&total, &free);
		str_format(err, err_size, "it is to have %llu MiB, and %llu are free",
			   (unsigned long long)(cfg->memory / MIB),
			   (unsigned long long)(free / MIB));
	} else if (!r && (*out)->tsc.ratio) {
		plat_log(LOG_INFO, "%s: its TSC goes at %llu MHz, the machine's at %llu", cfg->name,
			 (unsigned long long)((*out)->tsc_hz / 1000000),
			 (unsigned long long)((*out)->tsc_host_hz / 1000000));
	}
	return r;
}

static int create(struct guest *g, struct vm **out, char *err, size_t err_size)
{
	const struct fleet_vm *d = g->def;
	struct micro_config micro = {.kernel = d->kernel.data,
				     .kernel_size = d->kernel.size,
				     .n_modules = d->n_initrds,
				     .cmdline = d->append,
				     .serial = g->chr,
				     .no_load = restore_wanted(d),
				     .rng = watch_device(number(g), "rng", 0)};
	struct x86_kind kind;
	struct vm_config cfg = {.name = d->name,
				.engine = all.engine,
				.model = d->cpu[0] ? x86_model_find(d->cpu) : x86_model_default(),
				.cpus = d->cpus,
				.memory = watch_memory(number(g), d->memory),
				.low_end = MICRO_LOW_END};
	int r = watch_ready(number(g));

	err[0] = 0;
	if (!r && (!cfg.model || !x86_model_usable(cfg.model))) {
		str_format(err, err_size, "this processor cannot be a %s", d->cpu);
		r = ERR_NOSYS;
	}
	if (!r && restore_wanted(d)) {
		r = restore_kind(d, &kind, &cfg.tsc_hz, err, err_size);
		cfg.kind = &kind;
	}
	if (!r)
		r = make(&cfg, out, err, err_size);
	if (r)
		return r;
	for (unsigned i = 0, at = 0; i < d->n_initrds; i++) {
		micro.module[i] =
			(struct boot_file){d->initrd[i].data, d->initrd[i].size, d->text + at};
		at += (unsigned)str_len(d->text + at) + 1;
	}
	watch_attach(number(g), *out);
	plug_in(g, &micro);
	g->ram = (*out)->ram;
	r = open_disks(g, &micro, *out, err, err_size);
	if (!r)
		r = load(*out, &micro, err, err_size);
	if (!r && restore_wanted(d))
		r = restore_load(d, *out, err, err_size);
	if (r)
		vm_destroy(*out);
	return r;
}

static const char *const end_text[] = {
	[VM_RUNNING] = "running", [VM_POWEROFF] = "powered off", [VM_CRASHED] = "crashed",
	[VM_STOPPED] = "killed",  [VM_FAILED] = "failed",        [VM_EXITED] = "exited",
};

static void say_end(unsigned n, struct vm *vm, enum vm_end end)
{
	const struct x86_state *s = vm->vcpu[vm->crashed_vcpu]->state;

	if (end == VM_CRASHED)
		plat_log(LOG_WARN, "%s: triple fault of vCPU %u at rip 0x%llx cr3 0x%llx", vm->name,
			 vm->crashed_vcpu, (unsigned long long)s->rip, (unsigned long long)s->cr3);
	plat_log(LOG_INFO, "%s: %s", vm->name, end_text[end]);
	watch_note(n, MON_LIFECYCLE, end == VM_CRASHED ? LIFE_CRASH : LIFE_END, "%s at rip 0x%llx",
		   end_text[end], (unsigned long long)s->rip);
}

static void set_vm(struct guest *g, struct vm *vm, const char *why)
{
	plat_mutex_lock(&g->lock);
	g->vm = vm;
	g->paused = false;
	g->why = why;
	plat_mutex_unlock(&g->lock);
}

static void keeper(void *arg)
{
	struct guest *g = arg;
	struct vm *vm = NULL;
	enum vm_end end = VM_FAILED;
	char err[128];
	int r;

	sched_set_share(g->def->weight, g->def->pin);
	r = create(g, &vm, err, sizeof(err));
	if (!r) {
		set_vm(g, vm, "running");
		plat_log(LOG_INFO, "%s: started", g->def->name);
		watch_note(number(g), MON_LIFECYCLE, LIFE_START, "started");
		vm_set_cpu_limit(vm, g->def->cap);
		r = vm_start(vm);
		end = vm_wait(vm);
		atomic_store(&g->ending, true);
		set_vm(g, NULL, end_text[end]);
		say_end(number(g), vm, end);
		keep_lost(g);
		vm_destroy(vm);
	} else {
		set_vm(g, NULL, "not startable");
		watch_note(number(g), MON_LIFECYCLE, LIFE_NOTE, "not startable: %s", err_str(r));
		plat_log(LOG_ERROR, "%s: %s%s%s", g->def->name, err_str(r), err[0] ? ": " : "",
			 err);
	}
	close_disks(g);
	unplug(g);
	atomic_store(&g->busy, false);
	if (atomic_fetch_sub(&all.running, 1) == 1 && all.fleet.poweroff && !all.quiet) {
		plat_log(LOG_INFO, "no VM runs any more: powering off");
		journal_sync();
		power_off();
	}
}

/* ---- for the shell ---- */

struct guest *guest_at(unsigned n)
{
	return n < all.fleet.n ? &all.guest[n] : NULL;
}

struct guest *guest_find(const char *name)
{
	for (unsigned i = 0; i < all.fleet.n; i++)
		if (str_eq(all.fleet.vm[i].name, name))
			return &all.guest[i];
	return NULL;
}

const struct fleet_vm *guest_def(const struct guest *g)
{
	return g->def;
}

const char *guest_state(const struct guest *g)
{
	return g->vm && g->paused ? "paused" : g->why;
}

int guest_start(struct guest *g)
{
	int err;

	/* One that has ended is started again, as soon as its keeper is through. */
	if (atomic_load(&g->busy) && !atomic_load(&g->ending))
		return err_here(ERR_BUSY);
	if (g->keeper)
		plat_thread_join(g->keeper);
	g->keeper = NULL;
	atomic_store(&g->ending, false);
	atomic_store(&g->busy, true);
	atomic_fetch_add(&all.running, 1);
	err = plat_thread_create(g->def->name, keeper, g, &g->keeper);
	if (err) {
		atomic_store(&g->busy, false);
		atomic_fetch_sub(&all.running, 1);
	}
	return err;
}

static int with_vm(struct guest *g, int (*fn)(struct guest *g))
{
	int err = ERR_INVAL;

	plat_mutex_lock(&g->lock);
	if (g->vm)
		err = fn(g);
	plat_mutex_unlock(&g->lock);
	return err;
}

static int asked(struct guest *g, enum mon_request what, int (*fn)(struct guest *g))
{
	return watch_operator(number(g), what) ? with_vm(g, fn) : err_here(ERR_ACCES);
}

static int do_stop(struct guest *g)
{
	if (g->paused) {
		g->paused = false;
		vm_resume(g->vm);
	}
	if (g->vm->power_button)
		g->vm->power_button(g->vm);
	return 0;
}

static int do_kill(struct guest *g)
{
	vm_stop(g->vm, VM_STOPPED, 0);
	return 0;
}

static int do_pause(struct guest *g)
{
	if (g->paused)
		return ERR_INVAL;
	g->paused = true;
	vm_pause(g->vm, "paused by the operator");
	return 0;
}

static int do_resume(struct guest *g)
{
	if (!g->paused)
		return ERR_INVAL;
	g->paused = false;
	vm_resume(g->vm);
	return 0;
}

int guest_stop(struct guest *g)
{
	return asked(g, REQUEST_stop, do_stop);
}

int guest_kill(struct guest *g)
{
	return asked(g, REQUEST_kill, do_kill);
}

int guest_pause(struct guest *g)
{
	return asked(g, REQUEST_pause, do_pause);
}

int guest_resume(struct guest *g)
{
	return asked(g, REQUEST_resume, do_resume);
}

bool guest_get_stats(struct guest *g, struct guest_stats *out)
{
	struct engine_counts counts;
	bool there;

	memset(out, 0, sizeof(*out));
	plat_mutex_lock(&g->lock);
	there = g->vm;
	for (unsigned i = 0; there && i < g->vm->n_vcpus; i++) {
		const struct vcpu *v = g->vm->vcpu[i];

		if (v->thread) {
			out->cpu_ns += sched_cpu_ns(v->thread);
			out->waited_ns = MAX(out->waited_ns, sched_waited_ns(v->thread));
		}
		counts = engine_count(v);
		out->entries += counts.entries;
		out->flushes += counts.flushes;
		if (!i)
			out->began = counts.began;
		out->pio += atomic_load(&v->exits[EXIT_PIO]);
		out->mmio += atomic_load(&v->exits[EXIT_MMIO]);
		out->halts += atomic_load(&v->exits[EXIT_HLT]);
	}
	plat_mutex_unlock(&g->lock);
	return there;
}

void guests_kill_all(void)
{
	struct guest *g;

	all.quiet = true;
	for (unsigned i = 0; (g = guest_at(i)); i++)
		while (atomic_load(&g->busy)) {
			/* again, as one may be about to start */
			if (with_vm(g, do_kill)) /* whatever rules say */
				plat_yield();
			plat_event_wait(&(struct plat_event){0}, plat_now() + NS_PER_SEC / 100);
		}
}

/* ---- set-up ---- */

/* The first module that is a fleet. */
static void find_fleet(const struct boot_info *boot)
{
	char err[128] = "the boot loader gave no module";

	for (unsigned i = 0; i < boot->n_modules; i++)
		if (!fleet_parse(phys_ptr(boot->module[i].pa), boot->module[i].size, &all.fleet,
				 err, sizeof(err)))
			return;
	all.fleet.n = 0;
	plat_log(LOG_WARN, "there are no VMs: %s (vigia pack makes a module)", err);
}

void guests_start(const struct boot_info *boot)
{
	const char *missing;

	all.engine = engine_choose(&missing);
	find_fleet(boot);
	if (!all.engine)
		plat_log(LOG_ERROR,
			 "this processor cannot run VMs here: %s. Only the shell works; see "
			 "the firmware's settings (SVM mode, VT-x), or use vigia run on Linux",
			 missing);
	else if (missing)
		plat_log(
			LOG_WARN,
			"this processor cannot run VMs here: %s. They are translated, which is slower",
			missing);
	if (network_init(&all.fleet) || watch_init(&all.fleet) || journal_start(all.fleet.history))
		panic("not enough memory for the fleet");
	for (unsigned i = 0; i < all.fleet.n; i++) {
		struct guest *g = &all.guest[i];

		g->def = &all.fleet.vm[i];
		g->why = "";
		plat_mutex_init(&g->lock, RANK_VM);
		if (console_add(g->def->name, &g->chr))
			panic("not enough memory for consoles");
	}
	for (unsigned i = 0; all.engine && i < all.fleet.n; i++)
		if (!all.fleet.vm[i].manual && guest_start(&all.guest[i]))
			plat_log(LOG_ERROR, "%s: cannot be started", all.fleet.vm[i].name);
}
