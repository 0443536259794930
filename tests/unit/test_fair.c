/* SPDX-License-Identifier: ISC */
/* test_fair.c: the bare-metal scheduler's decisions on processors and a clock that are made up: who gets how much,
 * how long anybody waits, and that no processor idles while somebody could run there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "plat/metal/fair.h"

#define MS    (NS_PER_SEC / 1000)
#define US    (NS_PER_SEC / 1000000)
#define TASKS 48
#define CPUS  8

static struct sim {
	struct fair fair;
	struct fair_task idle[CPUS];
	uint64_t timer[CPUS];
	bool look[CPUS]; /* an interrupt is on its way */
	struct {
		struct fair_task task;
		uint64_t run, sleep; /* of each turn; sleep 0: it never does */
		uint64_t left;       /* of this turn */
	} t[TASKS];
	unsigned n;
	uint64_t now;
	uint64_t rng;
} sim;

static uint64_t rnd(uint64_t below)
{
	sim.rng = sim.rng * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (sim.rng >> 33) % below;
}

static void begin(unsigned cpus)
{
	memset(&sim, 0, sizeof(sim));
	sim.now = NS_PER_SEC;
	sim.fair.n_cpus = cpus;
	for (unsigned i = 0; i < cpus; i++) {
		sim.idle[i] = (struct fair_task){.idle = true,
						 .cpu = i,
						 .weight = FAIR_WEIGHT,
						 .allowed = FAIR_ANY,
						 .since = sim.now,
						 .state = FAIR_RUNNING};
		sim.fair.current[i] = &sim.idle[i];
		sim.timer[i] = UINT64_MAX;
	}
}

static void kick(struct fair_task *t)
{
	int cpu = fair_kick(&sim.fair, t, sim.now);

	if (cpu >= 0)
		sim.look[cpu] = true;
}

/* sleep 0: it computes for ever */
static unsigned add(unsigned weight, uint64_t allowed, uint64_t run, uint64_t sleep)
{
	unsigned n = sim.n++;

	sim.t[n].task = (struct fair_task){.weight = weight, .allowed = allowed};
	sim.t[n].run = sim.t[n].left = run;
	sim.t[n].sleep = sleep;
	fair_add(&sim.fair, &sim.t[n].task, sim.now);
	kick(&sim.t[n].task);
	return n;
}

static bool is_idle(unsigned cpu)
{
	return sim.fair.current[cpu]->idle;
}

/* What the current task of a CPU has left of its turn. */
static uint64_t *left(unsigned cpu)
{
	for (unsigned i = 0; i < sim.n; i++)
		if (&sim.t[i].task == sim.fair.current[cpu])
			return sim.t[i].sleep ? &sim.t[i].left : NULL;
	return NULL;
}

static void end_turn(unsigned cpu)
{
	for (unsigned i = 0; i < sim.n; i++) {
		if (&sim.t[i].task != sim.fair.current[cpu])
			continue;
		sim.t[i].left = 1 + rnd(2 * sim.t[i].run);
		sim.t[i].task.state = FAIR_BLOCKED;
		sim.t[i].task.deadline = sim.now + 1 + rnd(2 * sim.t[i].sleep);
	}
}

static void schedule(unsigned cpu)
{
	struct fair_task *to;
	struct fair_look look;

	sim.look[cpu] = false;
	to = fair_next(&sim.fair, cpu, &sim.idle[cpu], sim.now, &look);
	sim.timer[cpu] = look.timer;
	assert_ptr_equal(to, sim.fair.current[cpu]);
	assert_true(to->state == FAIR_RUNNING && to->cpu == cpu && to->allowed & BIT64(cpu));
	for (unsigned i = 0; i < sim.fair.n_cpus; i++)
		sim.look[i] |= look.kick >> i & 1;
	for (unsigned i = 0; i < sim.fair.n_cpus; i++)
		assert_true(i == cpu || sim.fair.current[i] != to);
}

/* Nobody who could run stands beside an idle CPU, unless one is about to look. */
static void check_idle(void)
{
	for (unsigned i = 0; i < sim.n; i++) {
		bool idle = false, looks = false;

		for (unsigned c = 0; c < sim.fair.n_cpus; c++) {
			if (!(sim.t[i].task.allowed & BIT64(c)))
				continue;
			idle |= is_idle(c);
			looks |= sim.look[c];
		}
		assert_false(sim.t[i].task.state == FAIR_RUNNABLE && idle && !looks);
	}
}

static void step(uint64_t end)
{
	uint64_t next = end;

	for (unsigned c = 0; c < sim.fair.n_cpus; c++) {
		uint64_t *l = left(c);

		next = MIN(next, sim.look[c] ? sim.now + 2 * US : sim.timer[c]);
		if (l)
			next = MIN(next, sim.now + *l);
	}
	next = MAX(next, sim.now);
	for (unsigned c = 0; c < sim.fair.n_cpus; c++) {
		uint64_t *l = left(c);

		if (l)
			*l -= MIN(*l, next - sim.now);
	}
	sim.now = next;
	for (unsigned c = 0; c < sim.fair.n_cpus; c++) {
		uint64_t *l = left(c);
		bool ends = l && !*l;

		if (ends)
			end_turn(c);
		if (ends || sim.look[c] || sim.timer[c] <= sim.now)
			schedule(c);
	}
	check_idle();
}

static void run(uint64_t ns)
{
	uint64_t end = sim.now + ns;

	while (sim.now < end)
		step(end);
	for (unsigned c = 0; c < sim.fair.n_cpus; c++)
		schedule(c); /* all time is accounted */
}

static void near(uint64_t got, uint64_t want)
{
	if (got < want * 95 / 100 || got > want * 105 / 100)
		fail_msg("%llu ms, not about %llu", (unsigned long long)(got / MS),
			 (unsigned long long)(want / MS));
}

static void nobody_waits_longer(uint64_t ns)
{
	for (unsigned i = 0; i < sim.n; i++)
		if (sim.t[i].task.waited_most > ns)
			fail_msg("task %u waited %llu us", i,
				 (unsigned long long)(sim.t[i].task.waited_most / US));
}

static void test_equal(void **state)
{
	for (unsigned n = 1; n <= 20; n++) {
		begin(1);
		for (unsigned i = 0; i < n; i++)
			add(FAIR_WEIGHT, FAIR_ANY, 0, 0);
		run(2 * NS_PER_SEC);
		for (unsigned i = 0; i < n; i++)
			near(sim.t[i].task.ran, 2 * NS_PER_SEC / n);
		nobody_waits_longer(FAIR_LATENCY);
	}
	begin(2); /* three share two */
	for (unsigned i = 0; i < 3; i++)
		add(FAIR_WEIGHT, FAIR_ANY, 0, 0);
	run(3 * NS_PER_SEC);
	for (unsigned i = 0; i < 3; i++)
		near(sim.t[i].task.ran, 2 * NS_PER_SEC);
	nobody_waits_longer(FAIR_LATENCY);
	assert_true(sim.idle[0].ran + sim.idle[1].ran < MS);
}

static void test_weights(void **state)
{
	begin(1);
	add(FAIR_WEIGHT, FAIR_ANY, 0, 0);
	add(FAIR_WEIGHT / 2, FAIR_ANY, 0, 0);
	add(FAIR_WEIGHT / 10, FAIR_ANY, 0, 0);
	run(16 * NS_PER_SEC);
	near(sim.t[0].task.ran, 10 * NS_PER_SEC);
	near(sim.t[1].task.ran, 5 * NS_PER_SEC);
	near(sim.t[2].task.ran, 1 * NS_PER_SEC);
}

/* Two that wait for each other, beside one that computes: a yield leads to another at once, also of one that is behind;
 * who computes has its third. */
static void test_yield(void **state)
{
	unsigned turns[3] = {0};

	begin(1);
	for (unsigned i = 0; i < 3; i++)
		add(FAIR_WEIGHT, FAIR_ANY, 0, 0);
	schedule(0);
	for (unsigned n = 0; n < 30000; n++) {
		struct fair_task *t = sim.fair.current[0];
		bool computes = t == &sim.t[2].task;

		turns[t == &sim.t[0].task ? 0 : t == &sim.t[1].task ? 1 : 2]++;
		sim.now += computes ? MS : US;
		if (!computes)
			fair_yield(&sim.fair, 0);
		schedule(0);
		assert_true(computes || sim.fair.current[0] != t);
	}
	near(turns[2] * MS, (turns[0] + turns[1] + turns[2] * 1000) * US / 3);
	nobody_waits_longer(FAIR_LATENCY);
	/* One that yields ten times a millisecond, beside a light one that computes: it keeps its ten elevenths. */
	begin(1);
	add(FAIR_WEIGHT, FAIR_ANY, 0, 0);
	add(FAIR_WEIGHT / 10, FAIR_ANY, 0, 0);
	schedule(0);
	for (unsigned n = 0; n < 30000; n++) {
		sim.now += MS / 10;
		if (sim.fair.current[0] == &sim.t[0].task)
			fair_yield(&sim.fair, 0);
		schedule(0);
	}
	assert_true(sim.t[0].task.ran > 80 * (sim.t[0].task.ran + sim.t[1].task.ran) / 100);
	/* alone: it goes on */
	begin(1);
	add(FAIR_WEIGHT, FAIR_ANY, 0, 0);
	schedule(0);
	sim.now += MS;
	fair_yield(&sim.fair, 0);
	schedule(0);
	assert_ptr_equal(sim.fair.current[0], &sim.t[0].task);
}

static void test_pinned(void **state)
{
	begin(2);
	add(FAIR_WEIGHT, 1, 0, 0);
	add(FAIR_WEIGHT, 1, 0, 0);
	add(FAIR_WEIGHT, 2, 0, 0);
	add(FAIR_WEIGHT, 1, 3 * MS, 7 * MS); /* wakes where virtual time goes slowly */
	run(6 * NS_PER_SEC);
	near(sim.t[2].task.ran, 6 * NS_PER_SEC);
	near(sim.t[0].task.ran, sim.t[1].task.ran);
	assert_true(sim.t[3].task.ran > 6 * NS_PER_SEC * 20 / 100);
	nobody_waits_longer(FAIR_LATENCY);
	/* One that may be anywhere, with a past on the fast side, and newcomers */
	add(FAIR_WEIGHT, FAIR_ANY, 0, 0);
	run(NS_PER_SEC);
	add(FAIR_WEIGHT, 2, 0, 0);
	run(4 * NS_PER_SEC);
	nobody_waits_longer(FAIR_LATENCY);
	assert_true(sim.t[5].task.ran > 12 * NS_PER_SEC / 10);
}

/* A halted CPU is woken for whoever comes, and one that comes does not wait for a CPU that computes. */
static void test_idle(void **state)
{
	begin(4);
	for (unsigned i = 0; i < 3; i++)
		add(FAIR_WEIGHT, FAIR_ANY, 1 * MS, 9 * MS);
	run(4 * NS_PER_SEC);
	nobody_waits_longer(10 * US);
	assert_true(sim.idle[0].ran + sim.idle[1].ran + sim.idle[2].ran + sim.idle[3].ran >
		    14 * NS_PER_SEC);
	begin(1);
	add(FAIR_WEIGHT, FAIR_ANY, 0, 0);
	add(FAIR_WEIGHT, FAIR_ANY, 100 * US, 20 * MS);
	run(4 * NS_PER_SEC);
	nobody_waits_longer(MS);
}

/* Any mix of those that compute and those that wake often, pinned and not, at equal weight. */
static void test_mixes(void **state)
{
	for (unsigned round = 0; round < 300; round++) {
		unsigned cpus = 1 + round % CPUS, n = 0;

		begin(cpus);
		sim.rng = round;
		n = 1 + (unsigned)rnd(MIN(cpus * 12, (unsigned)TASKS));
		for (unsigned i = 0; i < n; i++) {
			uint64_t cpu = rnd(cpus), all = BIT64(cpus) - 1;
			uint64_t allowed = rnd(3) ? FAIR_ANY : (BIT64(cpu) | rnd(256)) & all;
			bool hog = !rnd(3);

			/* at most a CPU's worth of pinned ones on each */
			if (allowed != FAIR_ANY && i > 12)
				allowed = FAIR_ANY;
			add(FAIR_WEIGHT, allowed, 10 * US + rnd(8 * MS),
			    hog ? 0 : 1 + rnd(20 * MS));
			if (!rnd(4))
				run(rnd(50 * MS) + 1);
		}
		run(NS_PER_SEC / 2);
		nobody_waits_longer(FAIR_LATENCY);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal), cmocka_unit_test(test_weights),
		cmocka_unit_test(test_yield), cmocka_unit_test(test_pinned),
		cmocka_unit_test(test_idle),  cmocka_unit_test(test_mixes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
