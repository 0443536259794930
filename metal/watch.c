/* SPDX-License-Identifier: ISC */
/* watch.c: what stands behind each VM's struct monitor here: the rules that vigia pack has compiled decide, and what
 * they decided, what operators did and what the console said goes into bounded rings. Created once; entered by
 * any thread, guest FPU state being live. */
#include "metal/watch.h"

#include "base/str.h"
#include "block/watch.h"
#include "metal/console.h"
#include "metal/network.h"
#include "monitor/frame.h"
#include "monitor/policy.h"
#include "monitor/policy_image.h"
#include "monitor/recent.h"
#include "net/nat.h"
#include "net/neighbour.h"
#include "net/switch.h"
#include "vm/vm.h"

struct flows {
	struct nat nat;
	struct neighbours neighbours;
};

struct watch;
struct card {
	struct watch *w;
	unsigned unit;
};

struct watch {
	const struct fleet_vm *def;
	struct policy *rules; /* NULL: everything is provided, or they are broken */
	struct recent recent;
	struct plat_mutex lock; /* RANK_BACKEND: of flows */
	struct flows *flows;    /* that rules redirect; NULL: none does */
	struct card card[FLEET_MAX_NICS];
	_Atomic uint64_t denied, redirected;
	char line[RECENT_TEXT]; /* of the console, so far */
	unsigned line_len;
};

static struct {
	struct watch *vm;
	unsigned n;
} all;

/* ---- what a VM does --------------------------------------------------------------------------- */

static void record(struct watch *w, const struct mon_event *ev)
{
	bool fresh = recent_put(&w->recent, ev);

	if (ev->verdict == MON_DENY)
		atomic_fetch_add_explicit(&w->denied, 1, memory_order_relaxed);
	else if (ev->verdict == MON_REDIRECT)
		atomic_fetch_add_explicit(&w->redirected, 1, memory_order_relaxed);
	if (fresh && ev->flags & MON_F_NOTIFY)
		plat_log(LOG_WARN, "%s: the rule of line %u applies: see history", w->def->name,
			 ev->rule);
}

static void tell(struct monitor *mon, const struct mon_event *ev)
{
	if (ev->verdict != MON_PROVIDE || ev->flags)
		record(mon->priv, ev);
}

static enum mon_verdict ask(struct monitor *mon, struct mon_event *ev)
{
	return policy_decide(((struct watch *)mon->priv)->rules, ev);
}

static size_t redirect(struct watch *w, uint8_t *frame, size_t len, const struct mon_target *to)
{
	uint64_t now = plat_now();
	size_t out = 0;

	plat_mutex_lock(&w->lock);
	if (nat_out(&w->flows->nat, frame, len, to, now))
		out = to->has_addr ? neighbours_send(&w->flows->neighbours, frame, len, to->v4, now)
				   : len;
	plat_mutex_unlock(&w->lock);
	return out;
}

/* What comes of a redirected flow looks as if from where the guest has sent to. */
static void direct_back(struct watch *w, uint8_t *frame, size_t len)
{
	plat_mutex_lock(&w->lock);
	neighbours_look(&w->flows->neighbours, frame, len);
	if (w->flows->nat.n)
		nat_in(&w->flows->nat, frame, len, plat_now());
	plat_mutex_unlock(&w->lock);
}

/* The switch's question: may this frame leave the VM, or come to it? */
static size_t frame_passes(void *arg, bool out, uint8_t *frame, size_t len)
{
	const struct card *card = arg;
	struct watch *w = card->w;
	struct frame_info fi;
	struct mon_event ev;

	if (!out && w->flows)
		direct_back(w, frame, len);
	ev = frame_event(out ? NET_SEND : NET_RECEIVE, card->unit, frame, len, len, &fi);
	if (policy_decide(w->rules, &ev) == MON_PROVIDE && !ev.flags)
		return len;
	ev.data = NULL;
	record(w, &ev);
	if (out && ev.verdict == MON_REDIRECT && ev.target)
		return redirect(w, frame, len, ev.target);
	return ev.verdict != MON_DENY ? len : 0;
}

void watch_console(unsigned n, const char *buf, size_t len)
{
	struct watch *w = &all.vm[n];

	for (size_t i = 0; i < len; i++) {
		bool end = buf[i] == '\n' || buf[i] == '\r';

		if (end || w->line_len == sizeof(w->line)) {
			if (w->line_len)
				recent_put(&w->recent, &(struct mon_event){.cls = MON_CONSOLE,
									   .op = CONSOLE_OUT,
									   .data = w->line,
									   .len = w->line_len});
			w->line_len = 0;
		}
		if (!end)
			w->line[w->line_len++] = buf[i];
	}
}

/* ---- what is done to it ------------------------------------------------------------------------- */

void watch_note(unsigned n, enum mon_class cls, uint8_t op, const char *fmt, ...)
{
	char text[RECENT_TEXT + 1];
	va_list ap;

	va_start(ap, fmt);
	str_vformat(text, sizeof(text), fmt, ap);
	va_end(ap);
	recent_put(&all.vm[n].recent, &(struct mon_event){.cls = (uint8_t)cls,
							  .op = op,
							  .data = text,
							  .len = (uint32_t)str_len(text)});
}

static void note_denied(struct watch *w, enum mon_class cls, const char *what, uint32_t line)
{
	recent_put(&w->recent, &(struct mon_event){.cls = (uint8_t)cls,
						   .verdict = MON_DENY,
						   .rule = line,
						   .data = what,
						   .len = (uint32_t)str_len(what)});
}

bool watch_device(unsigned n, const char *kind, unsigned index)
{
	struct watch *w = &all.vm[n];
	char name[16];
	uint32_t line;

	str_format(name, sizeof(name), "%s%u", kind, index);
	if (!w->rules || policy_device(w->rules, name, &line))
		return true;
	note_denied(w, MON_DEVICE, name, line);
	return false;
}

#define SCRATCH_MOST (64 * MIB) /* of a disk, what rules redirect there */

int watch_disk(unsigned n, unsigned index, struct monitor *mon, const struct block_targets *targets,
	       struct block **disk)
{
	const struct policy *p = all.vm[n].rules;
	struct block_scratch *scratch;

	if (!p || !(policy_mask(p) & BIT(MON_DISK)))
		return 0;
	scratch = block_scratch_memory((*disk)->size, SCRATCH_MOST);
	return block_watch_open(*disk, mon, index, targets, scratch, disk);
}

uint64_t watch_memory(unsigned n, uint64_t wanted)
{
	const struct policy *p = all.vm[n].rules;

	return p ? MIN(wanted, ALIGN_DOWN(policy_memory(p), MIB)) : wanted;
}

bool watch_operator(unsigned n, enum mon_request what)
{
	static const char *const names[] = {
#define R(name) #name,
		MON_REQUESTS(R)
#undef R
	};
	struct watch *w = &all.vm[n];
	struct mon_event ev = {.cls = MON_OPERATOR, .op = (uint8_t)what, .vcpu = -1};
	bool may = !w->rules || policy_decide(w->rules, &ev) != MON_DENY;

	if (may)
		watch_note(n, MON_OPERATOR, OPERATOR_REQUEST, "%s", names[what]);
	else
		note_denied(w, MON_OPERATOR, names[what], ev.rule);
	return may;
}

/* ---- life ----------------------------------------------------------------------------------------- */

int watch_ready(unsigned n)
{
	const struct watch *w = &all.vm[n];

	return w->def->policy.data && !w->rules ? err_here(ERR_FORMAT) : 0;
}

void watch_attach(unsigned n, struct vm *vm)
{
	struct watch *w = &all.vm[n];

	if (!w->rules)
		return;
	vm->mon.priv = w;
	vm->mon.tell = tell;
	vm->mon.ask = ask;
	atomic_store(&vm->mon.tell_mask, policy_mask(w->rules));
	atomic_store(&vm->mon.ask_mask, policy_mask(w->rules));
	vm_set_calendar(vm, policy_time_offset(w->rules), policy_time_rate(w->rules));
}

static int filter_net(struct watch *w, unsigned n)
{
	plat_mutex_init(&w->lock, RANK_BACKEND);
	if (policy_redirects(w->rules, MON_NET)) {
		w->flows = plat_pages_alloc(ALIGN_UP(sizeof(*w->flows), PAGE_SIZE));
		if (!w->flows)
			return err_here(ERR_NOMEM);
	}
	for (unsigned k = 0; k < w->def->n_nics; k++) {
		w->card[k] = (struct card){w, k};
		net_switch_filter(network_port(n, k), frame_passes, &w->card[k]);
	}
	return 0;
}

int watch_init(const struct fleet *fleet)
{
	all.n = fleet->n;
	all.vm = plat_pages_alloc(ALIGN_UP(MAX(fleet->n, 1u) * sizeof(*all.vm), PAGE_SIZE));
	if (!all.vm)
		return err_here(ERR_NOMEM);
	for (unsigned i = 0; i < all.n; i++) {
		struct watch *w = &all.vm[i];
		const struct fleet_file *f = &fleet->vm[i].policy;

		w->def = &fleet->vm[i];
		recent_init(&w->recent);
		if (!f->data)
			continue;
		if (policy_image_load(f->data, f->size, &w->rules))
			plat_log(LOG_ERROR, "%s: its rules are broken", w->def->name);
		else if (policy_mask(w->rules) & BIT(MON_NET) && filter_net(w, i))
			return err_here(ERR_NOMEM);
	}
	return 0;
}

/* ---- for the shell -------------------------------------------------------------------------------- */

bool watch_next(struct watch_at *at, unsigned n, uint64_t *t, const char **name,
		char line[RECENT_LINE])
{
	struct recent_record rec, best = {0};
	int from = -1;

	for (unsigned i = 0; i < all.n; i++)
		if ((n >= all.n || n == i) &&
		    recent_peek(&all.vm[i].recent, &at->vm[i], &rec, false) &&
		    (from < 0 || rec.t < best.t)) {
			best = rec;
			from = (int)i;
		}
	if (from < 0)
		return false;
	recent_peek(&all.vm[from].recent, &at->vm[from], &rec, true);
	recent_format(&best, line);
	*t = best.t;
	*name = all.vm[from].def->name;
	return true;
}

uint64_t watch_lost(const struct watch_at *at)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < all.n; i++)
		n += at->vm[i].lost;
	return n;
}

void watch_print_history(unsigned n)
{
	static struct watch_at at;
	char line[RECENT_LINE];
	const char *name;
	uint64_t t;

	memset(&at, 0, sizeof(at));
	while (watch_next(&at, n, &t, &name, line))
		console_print("%6llu.%03llu %-10s %s", (unsigned long long)(t / NS_PER_SEC),
			      (unsigned long long)(t / 1000000 % 1000), name, line);
}

void watch_print_policy(unsigned n)
{
	struct watch *w = &all.vm[n];

	if (w->rules)
		console_print("%-16s %u rules: denied %llu, redirected %llu; CPU at most %u%%, "
			      "weight %u%%",
			      w->def->name, policy_count(w->rules),
			      (unsigned long long)atomic_load(&w->denied),
			      (unsigned long long)atomic_load(&w->redirected),
			      policy_cpu_percent(w->rules), policy_cpu_weight(w->rules));
	else
		console_print("%-16s %s", w->def->name,
			      w->def->policy.data ? "broken rules: it does not start"
						  : "no rules: everything is provided");
}
