/* SPDX-License-Identifier: ISC */
/* chain.c: the hash over a file's batches, each of which has the one before in it: how it is made, and the check that
 * all of it fits. The writer's thread; a reader's own, whose file is hostile: that somebody has changed it is what the
 * check is for. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "history/query.h"
#include "history/span.h"

/* ---- making it ---------------------------------------------------------------------------------- */

static void put64(uint8_t *p, int64_t v)
{
	for (unsigned i = 0; i < 8; i++)
		p[i] = (uint8_t)((uint64_t)v >> (8 * i));
}

void chain_begin(struct sha256 *s, const uint8_t prev[SHA256_SIZE])
{
	sha256_init(s);
	sha256_update(s, prev, SHA256_SIZE);
}

void chain_row(struct sha256 *s, const struct history_row *r)
{
	const int64_t v[] = {r->seq,    r->t,       r->run,   r->cls,
			     r->op,     r->vcpu,    r->rip,   r->addr,
			     r->value,  r->size,    r->count, r->sum,
			     r->result, r->verdict, r->rule,  r->text ? (int64_t)r->len : -1};
	uint8_t buf[sizeof(v)];

	for (unsigned i = 0; i < ARRAY_SIZE(v); i++)
		put64(buf + 8 * i, v[i]);
	sha256_update(s, buf, sizeof(buf));
	if (r->text)
		sha256_update(s, r->text, r->len);
	put64(buf, r->root);
	if (r->rooted)
		sha256_update(s, buf, 8);
	put64(buf, r->tsc);
	if (r->timed)
		sha256_update(s, buf, 8);
}

void chain_end(struct sha256 *s, int64_t first, int64_t last, int64_t t, int64_t dropped,
	       uint8_t out[SHA256_SIZE])
{
	const int64_t v[] = {first, last, t, dropped};
	uint8_t buf[sizeof(v)];

	for (unsigned i = 0; i < ARRAY_SIZE(v); i++)
		put64(buf + 8 * i, v[i]);
	sha256_update(s, buf, sizeof(buf));
	sha256_final(s, out);
}

/* ---- checking it -------------------------------------------------------------------------------- */

static int broken(struct history_check *out, int64_t batch, const char *what)
{
	snprintf(out->text, sizeof(out->text), "batch %" PRId64 ": %s", batch, what);
	return ERR_FORMAT;
}

struct checker {
	sqlite3_stmt *batch, *rows, *spans; /* spans: NULL: the file has none */
	struct span span;
	int64_t next;
	struct history_check *out;
};

/* What says which times are where: else records could be hidden from whoever asks for a time. */
static bool time_is_known(struct checker *c, const struct history_row *r)
{
	struct span *s = &c->span;

	if (!c->spans)
		return true;
	if (s->id != SPAN_OF(r->seq)) {
		*s = (struct span){SPAN_OF(r->seq), INT64_MAX, INT64_MIN};
		sqlite3_bind_int64(c->spans, 1, s->id);
		if (sqlite3_step(c->spans) == SQLITE_ROW) {
			s->from = sqlite3_column_int64(c->spans, 0);
			s->to = sqlite3_column_int64(c->spans, 1);
		}
		sqlite3_reset(c->spans);
	}
	return r->t >= s->from && r->t <= s->to;
}

static int hash_rows(struct checker *c, int64_t first, int64_t last, struct sha256 *s,
		     int64_t batch)
{
	struct history_check *out = c->out;
	int64_t want = first; /* at most last + 1, which is a number */
	int e = 0;

	sqlite3_bind_int64(c->rows, 1, first);
	sqlite3_bind_int64(c->rows, 2, last);
	while (!e && sqlite3_step(c->rows) == SQLITE_ROW) {
		struct history_row r;

		schema_read_row(c->rows, &r);
		if (r.seq != want)
			e = broken(out, batch, "a row is missing");
		else if (r.odd) /* which hashes as what it is read as */
			e = broken(out, batch, "a row has values of another kind");
		else if (!time_is_known(c, &r))
			e = broken(out, batch, "the table span lacks a row's time");
		want++;
		chain_row(s, &r);
		out->rows++;
	}
	sqlite3_reset(c->rows);
	if (!e && want != last + 1)
		e = broken(out, batch, "rows at its end are missing");
	return e;
}

static int check_batch(struct checker *c)
{
	sqlite3_stmt *st = c->batch;
	struct history_check *out = c->out;
	int64_t id = sqlite3_column_int64(st, 0), first = sqlite3_column_int64(st, 1);
	int64_t last = sqlite3_column_int64(st, 2), t = sqlite3_column_int64(st, 3);
	int64_t dropped = sqlite3_column_int64(st, 4);
	uint8_t hash[SHA256_SIZE];
	struct sha256 s;
	int e;

	if (sqlite3_column_bytes(st, 5) != SHA256_SIZE ||
	    sqlite3_column_bytes(st, 6) != SHA256_SIZE)
		return broken(out, id, "its hashes have the wrong size");
	if (!out->batches)
		out->pruned = first > 1;
	else if (memcmp(sqlite3_column_blob(st, 5), out->head, SHA256_SIZE))
		return broken(out, id, "it does not follow the one before");
	if (out->batches ? first != c->next : false)
		return broken(out, id, "records before it are missing");
	if (first < 1 || last < first - 1 || last == INT64_MAX)
		return broken(out, id, "its numbers make no sense");
	chain_begin(&s, sqlite3_column_blob(st, 5));
	e = hash_rows(c, first, last, &s, id);
	if (e)
		return e;
	chain_end(&s, first, last, t, dropped, hash);
	if (memcmp(hash, sqlite3_column_blob(st, 6), SHA256_SIZE))
		return broken(out, id, "its rows were changed");
	memcpy(out->head, hash, sizeof(hash));
	c->next = last + 1;
	out->batches++;
	out->dropped += (uint64_t)dropped;
	return 0;
}

/* Rows that no batch has. */
static int check_strays(sqlite3 *db, int64_t next, struct history_check *out)
{
	sqlite3_stmt *st;
	int64_t n = 0;

	if (sqlite3_prepare_v2(db,
			       "SELECT count(*) FROM event WHERE seq>=?1 OR seq<(SELECT min(first) "
			       "FROM batch)",
			       -1, &st, NULL) != SQLITE_OK)
		return ERR_IO;
	sqlite3_bind_int64(st, 1, next);
	if (sqlite3_step(st) == SQLITE_ROW)
		n = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return n ? broken(out, (int64_t)out->batches, "there are rows that belong to no batch") : 0;
}

int history_verify(sqlite3 *db, struct history_check *out)
{
	struct checker c = {.span.id = -1, .next = 1, .out = out};
	int e = 0, rc;

	*out = (struct history_check){.batches = 0};
	/* one view of the file, whatever is written meanwhile */
	sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
	if (sqlite3_prepare_v2(db,
			       "SELECT id,first,last,t,dropped,prev,hash FROM batch ORDER BY id",
			       -1, &c.batch, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(db,
			       "SELECT " HISTORY_COLUMNS
			       " FROM event WHERE seq BETWEEN ? AND ? ORDER BY seq",
			       -1, &c.rows, NULL) != SQLITE_OK ||
	    (schema_version(db) > 4 &&
	     sqlite3_prepare_v2(db, "SELECT t0,t1 FROM main.span WHERE id=?", -1, &c.spans, NULL) !=
		     SQLITE_OK))
		e = ERR_IO;
	while (!e && (rc = sqlite3_step(c.batch)) != SQLITE_DONE)
		e = rc == SQLITE_ROW ? check_batch(&c) : ERR_IO;
	if (!e)
		e = check_strays(db, c.next, out);
	if (e == ERR_IO) {
		snprintf(out->text, sizeof(out->text), "%s", sqlite3_errmsg(db));
		history_printable(out->text, true);
	}
	sqlite3_finalize(c.batch);
	sqlite3_finalize(c.rows);
	sqlite3_finalize(c.spans);
	sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return e;
}
