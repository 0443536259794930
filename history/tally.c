/* SPDX-License-Identifier: ISC */
/* tally.c: see tally.h. SQLite would sort ten million rows for each question of a summary; here each row is looked at
 * once, and goes to a hash table of the kinds that there are. The file is hostile: numbers may be any, sums wrap, and of
 * kinds there are at most KINDS_MAX, beyond which addresses and roots are not told apart. A reader's own thread. */
#include "history/tally.h"

#include <stdlib.h>
#include <string.h>

#include "monitor/core.h"

#define KINDS_MIN  1024
#define KINDS_MAX  (1u << 20)
#define PAGE_FLAGS INT64_C(0xfff) /* of CR3: PCID, PWT, PCD */

static const char *const whats[] = {"class", "device", "disk", "space", "exception", "verdict"};
enum what { CLASS, DEVICE, DISK, SPACE, EXCEPTION, VERDICT };

struct kind {
	bool used;
	enum what what;
	int64_t key[4];
	uint64_t n, sum, part;
	int64_t most;
};

struct tally {
	struct kind *kind;
	uint32_t n, room; /* a power of two */
	bool failed;
	int64_t from, width; /* of a bucket, ns */
	int64_t buckets;
};

/* ---- kinds ---------------------------------------------------------------------------------------------- */

static struct kind *place_of(const struct tally *t, enum what what, const int64_t key[4])
{
	uint64_t h = what;
	struct kind *k;

	for (unsigned i = 0; i < 4; i++)
		h = (h ^ (uint64_t)key[i]) * UINT64_C(0x9e3779b97f4a7c15), h ^= h >> 29;
	for (;; h++) {
		k = &t->kind[h & (t->room - 1)];
		if (!k->used || (k->what == what && !memcmp(k->key, key, sizeof(k->key))))
			return k;
	}
}

static bool grow(struct tally *t)
{
	struct tally more = {.room = t->room ? 2 * t->room : KINDS_MIN};

	more.kind = calloc(more.room, sizeof(*more.kind));
	if (!more.kind)
		return false;
	for (uint32_t i = 0; i < t->room; i++)
		if (t->kind[i].used)
			*place_of(&more, t->kind[i].what, t->kind[i].key) = t->kind[i];
	free(t->kind);
	t->kind = more.kind;
	t->room = more.room;
	return true;
}

static void add(struct tally *t, enum what what, const int64_t key[4], const struct history_row *r,
		uint64_t sum, uint64_t part)
{
	struct kind *k;

	if (t->n >= t->room / 2 && t->room < KINDS_MAX && !grow(t)) {
		t->failed = true;
		return;
	}
	k = place_of(t, what, key);
	if (!k->used) {
		if (t->n >= KINDS_MAX / 4 * 3)
			return; /* a guest, or who has made the file, has seen to that */
		k->used = true;
		k->what = what;
		memcpy(k->key, key, sizeof(k->key));
		t->n++;
	}
	k->n += (uint64_t)r->count;
	k->sum += sum;
	k->part += part;
	k->most = r->verdict & MON_R_COUNTED ? k->most : MAX(k->most, r->sum);
}

/* ---- rows ----------------------------------------------------------------------------------------------- */

#define DEVICES  (BIT(MON_PORT) | BIT(MON_MMIO) | BIT(MON_MSR) | BIT(MON_CPUID) | BIT(MON_IRQ))
#define KEY(...) ((const int64_t[4]){__VA_ARGS__})

static void add_cpu(struct tally *t, const struct history_row *r)
{
	const int64_t *root = KEY(r->run, r->addr & ~PAGE_FLAGS);
	struct history_row user = *r;

	user.count = 0;
	if (r->op >= 0x40)
		add(t, EXCEPTION, KEY(r->run, r->op), r, 0, 0);
	else if (r->op == CPU_SPACE && r->verdict & MON_R_COUNTED)
		add(t, SPACE, root, r, (uint64_t)r->sum, 0);
	else if (r->op == CPU_USER && r->verdict & MON_R_COUNTED)
		add(t, SPACE, root, &user, 0, (uint64_t)r->sum);
}

static void add_row(struct tally *t, const struct history_row *r)
{
	uint64_t since = (uint64_t)r->t - (uint64_t)t->from;
	int64_t bucket = (int64_t)(since / (uint64_t)t->width);

	if (r->cls < 0 || r->cls >= MON_CLASSES)
		return;
	if (bucket >= 0 && bucket < t->buckets)
		add(t, CLASS, KEY(r->cls, bucket), r, 1, 0);
	if (BIT(r->cls) & DEVICES)
		add(t, DEVICE, KEY(r->cls, r->op, r->addr), r, 0, 0);
	else if (r->cls == MON_CPU)
		add_cpu(t, r);
	else if (r->cls == MON_DISK)
		add(t, DISK, KEY(r->run, r->size, r->op), r,
		    (uint64_t)(r->verdict & MON_R_COUNTED ? r->sum : r->value), 0);
	if (r->verdict & MON_R_VERDICT || r->rule)
		add(t, VERDICT, KEY(r->cls, r->op, r->verdict & MON_R_VERDICT, r->rule), r, 0, 0);
}

static int read_rows(sqlite3 *db, struct tally *t)
{
	struct history_row r = {.seq = 0};
	int64_t *const to[] = {&r.t,     &r.cls, &r.op,      &r.addr, &r.value, &r.size,
			       &r.count, &r.sum, &r.verdict, &r.rule, &r.run};
	sqlite3_stmt *st;
	int rc;

	if (sqlite3_prepare_v2(
		    db, "SELECT t,cls,op,addr,value,size,count,sum,verdict,rule,run FROM event", -1,
		    &st, NULL) != SQLITE_OK)
		return ERR_IO;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		for (unsigned i = 0; i < ARRAY_SIZE(to); i++)
			*to[i] = sqlite3_column_int64(st, (int)i);
		add_row(t, &r);
	}
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? 0 : ERR_IO;
}

/* ---- the table ------------------------------------------------------------------------------------------ */

static int put_kinds(sqlite3 *db, const struct tally *t)
{
	sqlite3_stmt *st;
	int rc = sqlite3_exec(db,
			      "DROP TABLE IF EXISTS temp.tally;"
			      "CREATE TEMP TABLE tally(what,a,b,c,d,n,sum,part,most)",
			      NULL, NULL, NULL);

	if (rc != SQLITE_OK ||
	    sqlite3_prepare_v2(db, "INSERT INTO temp.tally VALUES(?,?,?,?,?,?,?,?,?)", -1, &st,
			       NULL) != SQLITE_OK)
		return ERR_IO;
	sqlite3_exec(db, "SAVEPOINT tally", NULL, NULL, NULL);
	for (uint32_t i = 0; i < t->room && (rc == SQLITE_OK || rc == SQLITE_DONE); i++) {
		const struct kind *k = &t->kind[i];

		if (!k->used)
			continue;
		sqlite3_bind_text(st, 1, whats[k->what], -1, SQLITE_STATIC);
		for (int m = 0; m < 4; m++)
			sqlite3_bind_int64(st, 2 + m, k->key[m]);
		sqlite3_bind_int64(st, 6, (int64_t)k->n);
		sqlite3_bind_int64(st, 7, (int64_t)k->sum);
		sqlite3_bind_int64(st, 8, (int64_t)k->part);
		sqlite3_bind_int64(st, 9, k->most);
		rc = sqlite3_step(st);
		sqlite3_reset(st);
	}
	sqlite3_finalize(st);
	sqlite3_exec(db, "RELEASE tally", NULL, NULL, NULL);
	return rc == SQLITE_OK || rc == SQLITE_DONE ? 0 : ERR_IO;
}

void history_span(sqlite3 *db, int64_t *from, int64_t *to)
{
	sqlite3_stmt *st;

	*from = *to = 0;
	/* by class: that is what there is an index for */
	if (sqlite3_prepare_v2(
		    db,
		    "SELECT min((SELECT min(t) FROM event WHERE cls=id)), max((SELECT max(t) FROM "
		    "event WHERE cls=id)) FROM class",
		    -1, &st, NULL) != SQLITE_OK)
		return;
	if (sqlite3_step(st) == SQLITE_ROW) {
		*from = sqlite3_column_int64(st, 0);
		*to = sqlite3_column_int64(st, 1);
	}
	sqlite3_finalize(st);
}

int history_tally(sqlite3 *db, unsigned buckets, char *err, size_t size)
{
	struct tally t = {.buckets = buckets};
	int64_t to;
	int e;

	history_span(db, &t.from, &to);
	/* times of a file that somebody has changed may be any numbers */
	t.width = (int64_t)(((uint64_t)to - (uint64_t)t.from) / buckets % INT64_MAX) + 1;
	e = grow(&t) ? read_rows(db, &t) : ERR_NOMEM;
	if (!e && !t.failed)
		e = put_kinds(db, &t);
	if (e == ERR_IO) {
		snprintf(err, size, "%s", sqlite3_errmsg(db));
		history_printable(err, true);
	} else if (e || t.failed) {
		snprintf(err, size, "out of memory");
		e = ERR_NOMEM;
	}
	free(t.kind);
	return e;
}
