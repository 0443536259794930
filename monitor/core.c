/* SPDX-License-Identifier: ISC */
/* core.c: where events go. Each class has a row that says whether it is hot (counted by address,
 * the first of a period in full) or rare (each one, until a budget is used up). No path of a producer
 * allocates or waits, but for classes that the operator wants lossless.
 *
 * core_tell() and core_ask(): any thread, guest FPU state being live, locks below RANK_LEAF held.
 * mon_core_drain() and mon_core_period(): the consumer's thread. */
#include "monitor/core.h"

#include "base/str.h"
#include "monitor/policy.h"

#define RING_SLOTS 16384
#define WAIT_NS    (10 * NS_PER_SEC) /* a consumer that is stuck for so long loses records */
/* What a report of a crash shows, where nothing is recorded */
#define LAST_MASK (BIT(MON_PORT) | BIT(MON_MMIO) | BIT(MON_MSR) | BIT(MON_IRQ) | BIT(MON_DISK))

typedef void class_teller(struct mon_core *c, struct mon_producer *p, const struct mon_event *ev,
			  uint8_t tier);
static class_teller tell_life, tell_cpu, tell_hot, tell_rare, tell_disk, tell_net;

struct class_row {
	const char *name;
	class_teller *tell;
	bool sum_value;  /* counters add up value: bytes */
	uint32_t budget; /* records of a period and producer, where not hot */
};

static const struct class_row rows[MON_CLASSES] = {
	[MON_LIFECYCLE] = {"lifecycle", tell_life, false, 16}, /* modes; texts as they come */
	[MON_CPU] = {"cpu", tell_cpu, false, 64},
	[MON_PORT] = {"port", tell_hot, false, 0},
	[MON_MMIO] = {"mmio", tell_hot, false, 0},
	[MON_MSR] = {"msr", tell_hot, false, 0},
	[MON_CPUID] = {"cpuid", tell_hot, false, 0},
	[MON_IRQ] = {"irq", tell_hot, false, 0},
	[MON_DISK] = {"disk", tell_disk, true, 1000},
	[MON_NET] = {"net", tell_net, true, 1000},
	[MON_CONSOLE] = {"console", tell_rare, true, 1000},
	[MON_TIME] = {"time", tell_hot, false, 0},
	[MON_ENTROPY] = {"entropy", tell_hot, true, 0},
	[MON_OPERATOR] = {"operator", tell_rare, false, 1000},
	[MON_MEMORY] = {"memory", tell_rare, false, 1000},
	[MON_DEVICE] = {"device", tell_rare, false, 1000},
};

const char *mon_class_name(uint8_t cls)
{
	return cls < MON_CLASSES ? rows[cls].name : "?";
}

int mon_class_find(const char *name, size_t len)
{
	for (unsigned i = 0; i < MON_CLASSES; i++)
		if (str_len(rows[i].name) == len && !memcmp(rows[i].name, name, len))
			return (int)i;
	return -1;
}

static struct mon_producer *producer_of(struct mon_core *c, int vcpu)
{
	return &c->producer[(unsigned)(vcpu + 1) < c->n ? (unsigned)(vcpu + 1) : 0];
}

/* ---- recording --------------------------------------------------------------------------------- */

static void push(struct mon_core *c, struct mon_producer *p, const struct mon_record *rec,
		 const char *text, size_t len)
{
	if (atomic_load_explicit(&c->tier[rec->cls], memory_order_relaxed) == MON_LOSSLESS) {
		uint64_t deadline = 0;

		while (!ring_try_push(&p->ring, rec, text, len)) {
			uint64_t now = plat_now();

			deadline = deadline ? deadline : now + WAIT_NS;
			if (now > deadline) {
				atomic_fetch_add(&p->ring.dropped, 1);
				break;
			}
			atomic_fetch_add_explicit(&c->waited, 1, memory_order_relaxed);
			plat_event_set(&c->wake);
			plat_yield();
		}
	} else {
		ring_push(&p->ring, rec, text, len);
	}
	if (unlikely(ring_used(&p->ring) > p->ring.size / 2 &&
		     !atomic_load_explicit(&c->wake.word, memory_order_relaxed)))
		plat_event_set(&c->wake);
}

static struct tsc_scale scale_of(const struct mon_core *c)
{
	return (struct tsc_scale){atomic_load_explicit(&c->tsc_ratio, memory_order_relaxed),
				  atomic_load_explicit(&c->tsc_base, memory_order_relaxed)};
}

/* That of the first vCPU, as it was when that last told something: it may have ended. */
static struct mon_clock first_clock(const struct mon_core *c)
{
	return (struct mon_clock){atomic_load_explicit(&c->tsc_offset, memory_order_relaxed),
				  scale_of(c), c->timed};
}

uint64_t mon_core_tsc(const struct mon_core *c)
{
	return mon_clock_now(first_clock(c));
}

static struct mon_clock clock_of(struct mon_core *c, const struct mon_producer *p)
{
	uint64_t offset;

	if (!p->tsc)
		return first_clock(c);
	offset = __atomic_load_n(p->tsc, __ATOMIC_RELAXED);
	if (p == &c->producer[1] &&
	    offset != atomic_load_explicit(&c->tsc_offset, memory_order_relaxed))
		atomic_store_explicit(&c->tsc_offset, offset, memory_order_relaxed);
	return (struct mon_clock){offset, scale_of(c), true};
}

static struct mon_place place_of(struct mon_core *c, const struct mon_producer *p)
{
	struct mon_place at = {.clock = clock_of(c, p)};

	if (p->rip) {
		at.rip = __atomic_load_n(p->rip, __ATOMIC_RELAXED);
		at.root = __atomic_load_n(p->root, __ATOMIC_RELAXED);
	}
	return at;
}

static void push_text(struct mon_core *c, struct mon_producer *p, const struct mon_event *ev)
{
	struct mon_record rec = {.t = plat_now(),
				 .tsc = mon_clock_now(clock_of(c, p)),
				 .value = ev->value,
				 .count = 1,
				 .cls = ev->cls,
				 .op = ev->op,
				 .vcpu = (int8_t)ev->vcpu};

	push(c, p, &rec, ev->data, ev->len);
}

static void push_event(struct mon_core *c, struct mon_producer *p, const struct mon_event *ev)
{
	const struct mon_place at = place_of(c, p);
	struct mon_record rec = {
		.t = plat_now(),
		.rip = at.rip,
		.root = at.root,
		.tsc = mon_clock_now(at.clock),
		.addr = ev->addr,
		.value = ev->value,
		.sum = ev->lasted,
		.count = 1,
		.rule = ev->rule,
		.cls = ev->cls,
		.op = ev->op,
		.verdict = (uint8_t)(ev->verdict | (ev->flags & MON_F_NOTIFY ? MON_R_NOTIFY : 0)),
		.size = ev->size,
		.vcpu = (int8_t)ev->vcpu,
		.result = ev->result,
	};

	/* frames in full are what a capture is made of */
	if (ev->cls == MON_NET) {
		rec.sum = ev->size;
		rec.size = ev->unit;
	}
	if (ev->frame &&
	    (ev->flags & MON_F_FULL ||
	     atomic_load_explicit(&c->tier[MON_NET], memory_order_relaxed) >= MON_FULL))
		push(c, p, &rec, ev->data, ev->len);
	else
		push(c, p, &rec, NULL, 0);
}

static void count(struct mon_core *c, struct mon_producer *p, const struct mon_event *ev,
		  uint64_t sum, uint64_t part)
{
	struct count_entry *first = counts_add(&p->counts, ev, sum, part);

	if (unlikely(first))
		counts_first(first, ev, place_of(c, p));
}

/* The time that a page-table root was in use is the sum of its counter. At each switch of tasks: the clock is read only
 * where the engine does not tell rings, and then it is what has passed, halted or not. */
static void count_space(struct mon_core *c, struct mon_producer *p, const struct mon_event *ev)
{
	struct mon_event old = {.cls = MON_CPU, .op = CPU_SPACE, .vcpu = ev->vcpu};
	uint64_t kernel = ev->addr, user = ev->lasted;
	uint64_t now = kernel || user ? 0 : plat_now();
	struct count_entry *first;

	old.addr = p->space;
	old.value = ev->value;
	if (now && p->space_since)
		kernel = now - p->space_since;
	if (likely(atomic_load_explicit(&p->space_known, memory_order_relaxed))) {
		first = counts_add(&p->counts, &old, kernel + user, user);
		if (unlikely(first)) {
			struct mon_place at = place_of(c, p);

			at.root = p->space;
			counts_first(first, &old, at);
		}
	}
	p->space = ev->value & ~BIT64(63); /* which says to flush nothing */
	atomic_store_explicit(&p->space_known, true, memory_order_relaxed);
	p->space_since = now;
}

struct teller {
	struct mon_core *c;
	uint32_t rule; /* of the frame; 0: none */
	uint8_t unit;  /* its card */
};

static void flow_tell(void *arg, uint8_t op, const struct flow *f, uint8_t verdict,
		      const char *text)
{
	const struct teller *t = arg;
	struct mon_core *c = t->c;
	struct mon_record rec = {.t = plat_now(),
				 .tsc = mon_core_tsc(c),
				 .count = 1,
				 .cls = MON_NET,
				 .op = op,
				 .verdict = verdict,
				 .size = f ? f->unit : t->unit,
				 .vcpu = -1};

	/* a flow that makes way for another has ended by no rule */
	if (op != NET_FLOW_CLOSE && op != NET_ARP)
		rec.rule = t->rule;
	if (f) {
		rec.addr = f->id;
		rec.value = f->bytes_out;
		rec.sum = f->bytes_in;
		rec.count = (uint32_t)MIN(f->packets, (uint64_t)UINT32_MAX);
	}
	/* Never waits: the flows' lock is held, which the consumer wants too. */
	ring_push(&c->producer[0].ring, &rec, text, str_len(text));
}

static bool within_budget(struct mon_producer *p, uint8_t cls)
{
	uint32_t left = atomic_load_explicit(&p->budget[cls], memory_order_relaxed);

	/* Two threads of producer 0 may both take the last one: so be it. */
	if (!left)
		return false;
	atomic_store_explicit(&p->budget[cls], left - 1, memory_order_relaxed);
	return true;
}

/* ---- of each class ------------------------------------------------------------------------------- */

static void tell_life(struct mon_core *c, struct mon_producer *p, const struct mon_event *ev,
		      uint8_t tier)
{
	if (ev->data)
		push_text(c, p, ev);
	else if (within_budget(p, ev->cls))
		push_event(c, p, ev);
	else
		count(c, p, ev, 0, 0);
}

static void tell_hot(struct mon_core *c, struct mon_producer *p, const struct mon_event *ev,
		     uint8_t tier)
{
	if (tier >= MON_FULL || ev->flags & MON_F_FULL)
		push_event(c, p, ev);
	else
		count(c, p, ev, rows[ev->cls].sum_value ? ev->value : 0, 0);
}

static void tell_rare(struct mon_core *c, struct mon_producer *p, const struct mon_event *ev,
		      uint8_t tier)
{
	if (tier >= MON_FULL || ev->flags & MON_F_FULL || within_budget(p, ev->cls))
		push_event(c, p, ev);
	else
		count(c, p, ev, rows[ev->cls].sum_value ? ev->value : 0, 0);
}

static void tell_cpu(struct mon_core *c, struct mon_producer *p, const struct mon_event *ev,
		     uint8_t tier)
{
	if (ev->op == CPU_SPACE) {
		count_space(c, p, ev);
		if (tier >= MON_FULL || ev->flags & MON_F_FULL)
			push_event(c, p, ev);
	} else if (ev->op >= CPU_HOT) {
		tell_hot(c, p, ev, tier);
	} else {
		tell_rare(c, p, ev, tier);
	}
}

/* Beyond the budget by operation and bytes, not by sector. */
static void tell_disk(struct mon_core *c, struct mon_producer *p, const struct mon_event *ev,
		      uint8_t tier)
{
	struct mon_event all = *ev;

	all.addr = UINT64_MAX;
	if (tier >= MON_FULL || ev->flags & MON_F_FULL || within_budget(p, ev->cls))
		push_event(c, p, ev);
	else
		count(c, p, &all, ev->value, 0);
}

/* Frames belong to flows, and are recorded where somebody wants each, or has denied them. */
static void tell_net(struct mon_core *c, struct mon_producer *p, const struct mon_event *ev,
		     uint8_t tier)
{
	struct teller t = {c, ev->rule, ev->unit};
	struct mon_event all = *ev;

	if (ev->frame && tier != MON_OFF)
		flows_frame(&c->flows, ev, &(const struct flow_sink){flow_tell, &t});
	all.addr = UINT64_MAX;
	if (tier >= MON_FULL || ev->flags & MON_F_FULL)
		push_event(c, p, ev);
	else if (ev->frame && !ev->flags && ev->verdict != MON_DENY)
		return;
	else if (within_budget(p, ev->cls))
		push_event(c, p, ev);
	else
		count(c, p, &all, ev->size, 0);
}

static void core_tell(struct monitor *mon, const struct mon_event *ev)
{
	struct mon_core *c = mon->priv;
	uint8_t tier = atomic_load_explicit(&c->tier[ev->cls], memory_order_relaxed);

	if (c->also)
		c->also(c->also_arg, ev);
	if (c->draining && (tier != MON_OFF || ev->flags || ev->verdict != MON_PROVIDE))
		rows[ev->cls].tell(c, producer_of(c, ev->vcpu), ev, tier);
}

void mon_core_place(struct mon_core *c, unsigned vcpu, const uint64_t *rip, const uint64_t *root,
		    const uint64_t *tsc_offset)
{
	if (vcpu + 1 >= MON_PRODUCERS)
		return;
	if (!vcpu) { /* what belongs to none has the time of the first one */
		atomic_store(&c->tsc_offset, *tsc_offset);
		c->timed = true;
	}
	c->producer[vcpu + 1].tsc = tsc_offset;
	c->producer[vcpu + 1].root = root;
	c->producer[vcpu + 1].rip = rip;
}

void mon_core_scale(struct mon_core *c, struct tsc_scale scale)
{
	atomic_store(&c->tsc_ratio, scale.ratio);
	atomic_store(&c->tsc_base, scale.base);
}

void mon_core_note(struct mon_core *c, const struct mon_event *ev)
{
	struct mon_record rec = {.t = plat_now(),
				 .tsc = mon_core_tsc(c),
				 .value = ev->value,
				 .count = 1,
				 .rule = ev->rule,
				 .cls = ev->cls,
				 .op = ev->op,
				 .verdict = ev->verdict,
				 .vcpu = -1,
				 .result = ev->result};

	if (!c->draining)
		return;
	if (!ring_push(&c->producer[0].ring, &rec, ev->data, ev->len) ||
	    ring_used(&c->producer[0].ring) > RING_SLOTS / 2)
		plat_event_set(&c->wake);
}

/* ---- policy ------------------------------------------------------------------------------------- */

static enum mon_verdict core_ask(struct monitor *mon, struct mon_event *ev)
{
	struct mon_core *c = mon->priv;
	struct policy *p = atomic_load_explicit(&c->policy, memory_order_acquire);

	return p ? policy_decide(p, ev) : MON_PROVIDE;
}

struct policy *mon_core_set_policy(struct mon_core *c, struct policy *take_policy)
{
	struct policy *old = atomic_exchange(&c->policy, take_policy);

	if (c->mon) {
		atomic_store(&c->mon->ask_mask, take_policy ? policy_mask(take_policy) : 0);
		/* verdicts are recorded where a class is off */
		if (take_policy && c->draining)
			atomic_fetch_or(&c->mon->tell_mask, policy_mask(take_policy));
		if (c->mon->changed)
			c->mon->changed(c->mon->changed_arg);
	}
	return old;
}

/* ---- the consumer ------------------------------------------------------------------------------- */

unsigned mon_core_drain(struct mon_core *c, const struct mon_drain *to, unsigned max)
{
	char text[RING_TEXT_MAX];
	unsigned n;

	for (n = 0; n < max; n++) {
		struct ring *first = NULL;
		struct mon_record rec;
		uint64_t t = UINT64_MAX;
		int len;

		for (unsigned i = 0; i < c->n; i++) {
			const struct mon_record *r = ring_peek(&c->producer[i].ring);

			if (r && r->t < t) {
				t = r->t;
				first = &c->producer[i].ring;
			}
		}
		if (!first)
			break;
		len = ring_take(first, &rec, text);
		to->record(to->arg, &rec, text, (size_t)len);
	}
	return n;
}

struct turn {
	const struct mon_drain *to;
	int8_t vcpu;
};

static void turn_record(void *arg, const struct mon_record *rec)
{
	const struct turn *t = arg;
	struct mon_record r = *rec;

	r.vcpu = t->vcpu;
	t->to->record(t->to->arg, &r, NULL, 0);
}

static void refill(struct mon_producer *p)
{
	for (unsigned k = 0; k < MON_CLASSES; k++)
		atomic_store_explicit(&p->budget[k], rows[k].budget, memory_order_relaxed);
}

void mon_core_period(struct mon_core *c, const struct mon_drain *to, bool end)
{
	struct teller all = {c, 0, 0};
	const struct flow_sink sink = {flow_tell, &all};

	for (unsigned i = 0; i < c->n; i++) {
		struct turn t = {to, (int8_t)((int)i - 1)};

		refill(&c->producer[i]);
		counts_turn(&c->producer[i].counts, turn_record, &t);
		if (end) /* nobody adds any more: the other table too */
			counts_turn(&c->producer[i].counts, turn_record, &t);
	}
	flows_sweep(&c->flows, end, &sink);
}

uint64_t mon_core_dropped(const struct mon_core *c)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < c->n; i++)
		n += atomic_load_explicit(&c->producer[i].ring.dropped, memory_order_relaxed);
	return n;
}

/* ---- life ---------------------------------------------------------------------------------------- */

void mon_core_set_tier(struct mon_core *c, enum mon_class cls, enum mon_tier tier)
{
	/* since when the present root is in use is not known */
	for (unsigned i = 0; cls == MON_CPU && atomic_load(&c->tier[cls]) == MON_OFF && i < c->n;
	     i++)
		atomic_store(&c->producer[i].space_known, false);
	atomic_store(&c->tier[cls], (uint8_t)tier);
	if (tier >= MON_FULL)
		atomic_fetch_or(&c->mon->full_mask, BIT(cls));
	else
		atomic_fetch_and(&c->mon->full_mask, ~BIT(cls));
	/* what nobody records costs a bit's test, unless a report of a crash or a rule may want it */
	if (tier == MON_OFF && !((c->also ? LAST_MASK : 0) & BIT(cls)) &&
	    !(atomic_load(&c->mon->ask_mask) & BIT(cls)))
		atomic_fetch_and(&c->mon->tell_mask, ~BIT(cls));
	else if (tier != MON_OFF)
		atomic_fetch_or(&c->mon->tell_mask, BIT(cls));
	if (c->mon->changed)
		c->mon->changed(c->mon->changed_arg);
}

int mon_core_init(struct mon_core *c, struct monitor *mon, unsigned vcpus, bool drained)
{
	int err = 0;

	*c = (struct mon_core){.mon = mon, .draining = drained};
	c->n = MIN(vcpus + 1, (unsigned)MON_PRODUCERS);
	for (unsigned i = 0; i < c->n && !err && drained; i++) {
		refill(&c->producer[i]);
		err = ring_init(&c->producer[i].ring, RING_SLOTS);
		if (!err)
			err = counts_init(&c->producer[i].counts,
					  i > 0); /* a vCPU's thread is one */
	}
	if (!err && drained)
		err = flows_init(&c->flows);
	if (err) {
		mon_core_fini(c);
		return err;
	}
	for (unsigned k = 0; k < MON_CLASSES; k++)
		c->tier[k] = drained ? MON_ALWAYS : MON_OFF;
	mon->priv = c;
	mon->tell = core_tell;
	mon->ask = core_ask;
	atomic_store(&mon->tell_mask, drained ? BIT(MON_CLASSES) - 1 : LAST_MASK);
	return 0;
}

void mon_core_detach(struct mon_core *c)
{
	c->mon = NULL;
}

void mon_core_fini(struct mon_core *c)
{
	if (c->mon) {
		atomic_store(&c->mon->tell_mask, 0);
		atomic_store(&c->mon->ask_mask, 0);
	}
	for (unsigned i = 0; i < c->n; i++) {
		ring_fini(&c->producer[i].ring);
		counts_fini(&c->producer[i].counts);
	}
	flows_fini(&c->flows);
}
