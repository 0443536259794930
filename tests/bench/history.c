/* SPDX-License-Identifier: ISC */
/* history.c: how fast records go into a history, and how fast questions are answered.
 *
 *	ninja -C BUILD tests/bench/bench_history && BUILD/tests/bench/bench_history FILE [EVENTS]
 *
 * One thread tells events of three classes in the lossless tier; then the file is asked by time and class. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "history/history.h"
#include "history/query.h"

static double cpu_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double seconds(void)
{
	return (double)plat_now() / 1e9;
}

static void ask(sqlite3 *db, const char *what, const char *sql)
{
	double best = 1e9;
	long long n = 0;

	for (unsigned i = 0; i < 3; i++) {
		double t = seconds();
		sqlite3_stmt *st;

		if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK) {
			printf("%s: %s\n", what, sqlite3_errmsg(db));
			return;
		}
		if (sqlite3_step(st) == SQLITE_ROW)
			n = sqlite3_column_int64(st, 0);
		sqlite3_finalize(st);
		t = seconds() - t;
		best = t < best ? t : best;
	}
	printf("%-40s %8.1f ms (%lld)\n", what, best * 1e3, n);
}

struct reading {
	double begun, first; /* s: until the first row came */
	long long n;
};

static void row_came(void *arg, const struct history_row *r)
{
	struct reading *g = arg;

	g->first = g->n++ ? g->first : seconds() - g->begun;
}

/* As vigia history asks: until the first row comes, and until the last has. */
static void read_timeline(sqlite3 *db, const char *what, const struct history_filter *f)
{
	struct reading best = {0};
	double all = 1e9;
	char err[200];

	for (unsigned i = 0; i < 3; i++) {
		struct reading g = {.begun = seconds()};
		double took;

		if (history_each(db, f, row_came, &g, err, sizeof(err))) {
			printf("%s: %s\n", what, err);
			return;
		}
		took = seconds() - g.begun;
		best = took < all ? g : best;
		all = took < all ? took : all;
	}
	printf("%-40s %8.1f ms, the first after %.1f ms (%lld)\n", what, all * 1e3,
	       best.first * 1e3, best.n);
}

/* The time of the record at that part of all. */
static int64_t time_at(sqlite3 *db, double part)
{
	sqlite3_stmt *st;
	int64_t t = 0;

	if (sqlite3_prepare_v2(
		    db,
		    "SELECT t FROM event WHERE seq>=(SELECT min(seq)+(max(seq)-min(seq))*? FROM "
		    "event) LIMIT 1",
		    -1, &st, NULL) != SQLITE_OK)
		return 0;
	sqlite3_bind_double(st, 1, part);
	if (sqlite3_step(st) == SQLITE_ROW)
		t = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return t;
}

static void read_times(sqlite3 *db)
{
	struct history_filter f = {.device = -1, .space = -1};

	f.since = time_at(db, 0.5);
	f.until = time_at(db, 0.501);
	read_timeline(db, "all of a thousandth of the time", &f);
	f.until = 0;
	f.since = time_at(db, 0.999);
	read_timeline(db, "all since the last thousandth of the time", &f);
	f.since = 0;
	f.until = time_at(db, 0.001);
	read_timeline(db, "all until the first thousandth", &f);
	f.until = 0;
	f.limit = 100;
	read_timeline(db, "the last 100", &f);
	f.limit = 0;
	read_timeline(db, "all", &f);
}

int main(int argc, char **argv)
{
	unsigned long events = argc > 2 ? strtoul(argv[2], NULL, 0) : 1000000;
	struct monitor mon = {0};
	struct mon_core *core = calloc(1, sizeof(*core));
	struct history_config cfg = {.path = argc > 1 ? argv[1] : "",
				     .name = "bench",
				     .engine = "none",
				     .cpu = "",
				     .version = "",
				     .max_bytes = 64 * GIB};
	static const uint8_t classes[3] = {MON_PORT, MON_MMIO, MON_DISK};
	struct history *h;
	char err[200] = "";
	double wall, cpu;
	sqlite3 *db;

	if (!core || mon_core_init(core, &mon, 1, true) ||
	    history_open(&cfg, core, &h, err, sizeof(err)) || history_start(h)) {
		printf("cannot write %s: %s\n", cfg.path, err);
		return 1;
	}
	for (unsigned i = 0; i < 3; i++)
		mon_core_set_tier(core, (enum mon_class)classes[i], MON_LOSSLESS);
	wall = seconds();
	cpu = cpu_seconds();
	for (unsigned long i = 0; i < events; i++) {
		struct mon_event ev = {.cls = classes[i % 3],
				       .op = i & 1,
				       .size = 4,
				       .addr = i % 97 * 8,
				       .value = i};

		mon_tell(&mon, &ev);
	}
	history_close(h);
	printf("%lu events: %.0f a second, %.2f us of CPU each, %llu lost\n", events,
	       (double)events / (seconds() - wall), (cpu_seconds() - cpu) * 1e6 / (double)events,
	       (unsigned long long)mon_core_dropped(core));
	mon_core_fini(core);
	free(core);
	if (history_read(cfg.path, &db, err, sizeof(err)))
		return 1;
	ask(db, "rows of one class in 1 % of the time",
	    "SELECT count(*) FROM event WHERE cls=7 AND t BETWEEN (SELECT t FROM event WHERE seq="
	    "(SELECT max(seq)/2 FROM event)) AND (SELECT t FROM event WHERE seq=(SELECT "
	    "max(seq)*51/100 FROM event))");
	ask(db, "the last 100 rows of a class",
	    "SELECT sum(value) FROM (SELECT value FROM event WHERE cls=2 ORDER BY t DESC LIMIT 100)");
	ask(db, "all rows of a class in the first second",
	    "SELECT count(*) FROM event WHERE cls=3 AND t<(SELECT min(started) FROM run)+1000000000");
	read_times(db);
	sqlite3_close(db);
	return 0;
}
