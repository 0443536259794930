/* SPDX-License-Identifier: ISC */
/* synic.c: Hyper-V's synthetic interrupt controller and timers (TLFS 6.0b, chapters 11 and 12.4).
 *
 * Of the messages and events that hypervisors send there are only those of the timers: messages into the guest's message page,
 * and an interrupt by the SINT's vector; in direct mode only an interrupt. Where a message's place is taken it waits until the
 * guest writes EOM. MSRs enter on the processor's own thread, expiries on the loop; s->lock serialises. */
#include "dev/pc/synic.h"

#include "base/str.h"
#include "dev/irq/lapic.h"
#include "vm/stream.h"
#include "vm/vm.h"

enum {
	MSR_SCONTROL = 0x40000080,
	MSR_SVERSION,
	MSR_SIEFP,
	MSR_SIMP,
	MSR_EOM,
	MSR_SINT = 0x40000090,   /* …9FH */
	MSR_STIMER = 0x400000b0, /* …B7H: configuration, count of each */
};

#define VERSION 1
#define ON      BIT64(0) /* SCONTROL, SIEFP, SIMP */
#define ADDR    (~UINT64_C(0xfff))

/* SINT */
#define SINT_VECTOR   0xffu
#define SINT_MASKED   BIT64(16)
#define SINT_AUTO_EOI BIT64(17)
#define SINT_POLLING  BIT64(18) /* messages without interrupts */
#define SINT_BITS     (SINT_VECTOR | SINT_MASKED | SINT_AUTO_EOI | SINT_POLLING)

/* STIMER configuration; a lazy one may be late, which none needs to be */
#define ENABLE    BIT64(0)
#define PERIODIC  BIT64(1)
#define LAZY      BIT64(2)
#define AUTO      BIT64(3) /* a count enables it */
#define VECTOR(c) ((uint8_t)((c) >> 4))
#define DIRECT    BIT64(12)
#define SINT(c)   ((unsigned)((c) >> 16) & 15)
#define CONFIG    UINT64_C(0xf1fff)

#define FIRST_VECTOR 16   /* lower ones are exceptions' */
#define PERIOD_MIN   1000 /* 100 us: what is shorter would only keep the host busy */
#define FAR          (UINT64_C(36000000000)) /* an hour */

struct message {
	uint32_t type; /* 0: the place is free */
	uint8_t size, flags;
	uint16_t reserved;
	uint64_t sender;
	uint32_t timer, reserved2;
	uint64_t expired, delivered;
};
_Static_assert(sizeof(struct message) == 40, "HV_MESSAGE with a timer's payload");
#define MESSAGE_LEN   256
#define TIMER_EXPIRED 0x80000010u
#define PAYLOAD       24
#define PENDING       BIT(0) /* flags: another waits; write EOM */

/* ---- interrupts and messages -------------------------------------------------------------------- */

static void interrupt(struct synic *s, uint8_t vector)
{
	if (vector >= FIRST_VECTOR)
		msi_send(s->vcpu->vm, LAPIC_BASE | s->vcpu->index << 12, vector);
}

/* False: its place is taken. What cannot be delivered at all is lost. */
static bool message_put(struct synic *s, unsigned sint, const struct message *m)
{
	struct vm *vm = s->vcpu->vm;
	gpa_t at = (s->messages & ADDR) + sint * MESSAGE_LEN;
	hva_t place = mem_ptr(vm, at, sizeof(*m), true);
	_Atomic uint32_t *type = (void *)place;

	if (!(s->control & ON) || !(s->messages & ON) || !place)
		return true;
	if (atomic_load(type)) {
		/* The guest takes the message, then looks at the flag. */
		atomic_fetch_or((_Atomic uint8_t *)(place + offsetof(struct message, flags)),
				PENDING);
		mem_written(vm, at, sizeof(*m));
		if (atomic_load(type))
			return false;
	}
	memcpy(place + 4, (const uint8_t *)m + 4, sizeof(*m) - 4);
	atomic_store(type, m->type);
	mem_written(vm, at, sizeof(*m));
	if (!(s->sint[sint] & (SINT_MASKED | SINT_POLLING)))
		interrupt(s, s->sint[sint] & SINT_VECTOR);
	return true;
}

static void auto_eoi(struct synic *s)
{
	uint64_t map[4] = {0};

	for (unsigned i = 0; i < SYNIC_SINTS; i++)
		if ((s->sint[i] & (SINT_AUTO_EOI | SINT_MASKED)) == SINT_AUTO_EOI)
			map[(s->sint[i] & SINT_VECTOR) / 64] |= BIT64(s->sint[i] & 63);
	if (s->vcpu->intc_chip)
		lapic_auto_eoi(s->vcpu->intc_chip, map);
}

/* ---- timers -------------------------------------------------------------------------------------- */

static void deliver(struct synic *s, unsigned n, uint64_t now)
{
	struct stimer *t = &s->timer[n];
	const struct message m = {.type = TIMER_EXPIRED,
				  .size = PAYLOAD,
				  .timer = n,
				  .expired = t->expired,
				  .delivered = now};

	t->waits = false;
	if (t->config & DIRECT)
		interrupt(s, VECTOR(t->config));
	else
		t->waits = !message_put(s, SINT(t->config), &m);
}

static void expire(struct synic *s, unsigned n, uint64_t now)
{
	struct stimer *t = &s->timer[n];
	uint64_t period = MAX(t->count, (uint64_t)PERIOD_MIN);

	t->expired = t->due;
	if (t->config & PERIODIC)
		t->due += (now - t->due) / period * period + period; /* late ones are left out */
	else
		t->config &= ~ENABLE;
	deliver(s, n, now);
}

static void settle(struct synic *s)
{
	uint64_t now = s->now(s->ctx), next = UINT64_MAX;

	if (s->frozen)
		return;
	for (unsigned n = 0; n < SYNIC_TIMERS; n++) {
		struct stimer *t = &s->timer[n];

		if (t->waits)
			deliver(s, n, now);
		if (!t->waits && (t->config & ENABLE) && now >= t->due)
			expire(s, n, now);
		if (!t->waits && (t->config & ENABLE))
			next = MIN(next, t->due);
	}
	plat_timer_arm(&s->host, next == UINT64_MAX
					 ? PLAT_FOREVER
					 : plat_now() + (MIN(next - now, FAR) + 1) * 100);
}

static void on_host(void *arg)
{
	struct synic *s = arg;

	plat_mutex_lock(&s->lock);
	settle(s);
	plat_mutex_unlock(&s->lock);
}

/* With what configuration and count say now. */
static void start(struct synic *s, struct stimer *t)
{
	uint64_t now = s->now(s->ctx);

	t->waits = false;
	if (!t->count || (!(t->config & DIRECT) && !SINT(t->config)))
		t->config &= ~ENABLE;
	t->due = t->count;
	if (t->config & PERIODIC)
		t->due = now + MAX(t->count, (uint64_t)PERIOD_MIN);
	if (t->due < now && t->config & PERIODIC) /* beyond the end of time */
		t->due = UINT64_MAX;
}

static void timer_write(struct synic *s, unsigned reg, uint64_t value)
{
	struct stimer *t = &s->timer[reg / 2];

	if (reg % 2) {
		t->count = value;
		if (value && t->config & AUTO)
			t->config |= ENABLE;
	} else {
		t->config = value & CONFIG;
	}
	start(s, t);
}

/* ---- MSRs ------------------------------------------------------------------------------------------- */

int synic_read(struct synic *s, uint32_t index, uint64_t *value)
{
	int err = 0;

	plat_mutex_lock(&s->lock);
	if (index - MSR_SINT < SYNIC_SINTS)
		*value = s->sint[index - MSR_SINT];
	else if (index - MSR_STIMER < 2 * SYNIC_TIMERS)
		*value = index % 2 ? s->timer[(index - MSR_STIMER) / 2].count
				   : s->timer[(index - MSR_STIMER) / 2].config;
	else if (index == MSR_SCONTROL)
		*value = s->control;
	else if (index == MSR_SVERSION)
		*value = VERSION;
	else if (index == MSR_SIEFP)
		*value = s->events;
	else if (index == MSR_SIMP)
		*value = s->messages;
	else if (index == MSR_EOM)
		*value = 0;
	else
		err = ERR_NOENT;
	plat_mutex_unlock(&s->lock);
	return err;
}

/* Pages begin empty. Not RAM: the guest's mistake. */
static void page_write(struct synic *s, uint64_t *page, uint64_t value)
{
	static const uint8_t zeros[PAGE_SIZE];

	if ((value & ON) && value != *page &&
	    mem_write(s->vcpu->vm, value & ADDR, zeros, sizeof(zeros)))
		plat_log(LOG_DEBUG, "hyperv: a page at %llx", (unsigned long long)value);
	*page = value;
}

static int sint_write(struct synic *s, unsigned n, uint64_t value)
{
	if (!(value & SINT_MASKED) && (value & SINT_VECTOR) < FIRST_VECTOR)
		return ERR_NOENT;
	s->sint[n] = value & SINT_BITS;
	auto_eoi(s);
	return 0;
}

int synic_write(struct synic *s, uint32_t index, uint64_t value)
{
	int err = 0;

	plat_mutex_lock(&s->lock);
	if (index - MSR_SINT < SYNIC_SINTS)
		err = sint_write(s, index - MSR_SINT, value);
	else if (index - MSR_STIMER < 2 * SYNIC_TIMERS)
		timer_write(s, index - MSR_STIMER, value);
	else if (index == MSR_SCONTROL)
		s->control = value;
	else if (index == MSR_SIEFP)
		page_write(s, &s->events, value);
	else if (index == MSR_SIMP)
		page_write(s, &s->messages, value);
	else if (index != MSR_EOM)
		err = ERR_NOENT;
	if (!err)
		settle(s);
	plat_mutex_unlock(&s->lock);
	return err;
}

/* ---- life ------------------------------------------------------------------------------------------- */

void synic_reset(struct synic *s)
{
	plat_mutex_lock(&s->lock);
	s->control = s->events = s->messages = 0;
	for (unsigned i = 0; i < SYNIC_SINTS; i++)
		s->sint[i] = SINT_MASKED;
	memset(s->timer, 0, sizeof(s->timer));
	auto_eoi(s);
	settle(s);
	plat_mutex_unlock(&s->lock);
}

void synic_freeze(struct synic *s, bool on)
{
	plat_mutex_lock(&s->lock);
	s->frozen = on;
	settle(s);
	plat_mutex_unlock(&s->lock);
}

static const struct st_field synic_fields[] = {
	ST_U(struct synic, control),
	ST_U(struct synic, events),
	ST_U(struct synic, messages),
	ST_A(struct synic, sint),
};
static const struct st_field stimer_fields[] = {
	ST_U(struct stimer, config),  ST_U(struct stimer, count), ST_U(struct stimer, due),
	ST_U(struct stimer, expired), ST_B(struct stimer, waits),
};

/* Reference time goes on with the guest's TSC, so that what is due stays so. */
int synic_state(struct synic *s, unsigned n, struct state_stream *st)
{
	plat_mutex_lock(&s->lock);
	ST_SYNC(st, "synic", n, synic_fields, s);
	for (unsigned i = 0; i < SYNIC_TIMERS; i++)
		ST_SYNC(st, "stimer", n * SYNIC_TIMERS + i, stimer_fields, &s->timer[i]);
	for (unsigned i = 0; i < SYNIC_SINTS && st->loading && !st->err; i++)
		if (sint_write(s, i, s->sint[i]))
			state_fail(st, err_here(ERR_FORMAT), "SINT%u has an impossible vector", i);
	plat_mutex_unlock(&s->lock);
	return st->err;
}

void synic_init(struct synic *s, struct vcpu *vcpu, uint64_t (*now)(void *ctx), void *ctx)
{
	*s = (struct synic){.vcpu = vcpu, .now = now, .ctx = ctx};
	plat_mutex_init(&s->lock, RANK_DEVICE);
	plat_timer_init(&s->host, vcpu->vm->loop, on_host, s);
	for (unsigned i = 0; i < SYNIC_SINTS; i++)
		s->sint[i] = SINT_MASKED;
}
