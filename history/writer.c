/* SPDX-License-Identifier: ISC */
/* writer.c: the thread that empties a monitor's rings into SQLite. Twice a second, or when a ring fills
 * up, what has been drained goes into one transaction with one link of the hash chain. Where that
 * fails (a full disk), the batch stays in memory and is tried again; rings fill up and count what
 * they lose, which the next batch that succeeds tells: the gap.
 *
 * The process is under a system call filter when the thread runs: all files are open by then. Making tables
 * takes milliseconds that a guest's start need not wait for: the thread makes them (history_config.later). */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "history/history.h"
#include "history/query.h"
#include "history/schema.h"
#include "history/span.h"

#define BATCH_MAX    32768
#define TEXT_MAX     (32 * 1024 * 1024)
#define TICK_NS      (NS_PER_SEC / 2)
#define PERIOD_NS    NS_PER_SEC
#define LATER_NS     (NS_PER_SEC / 20)
#define DAY_NS       (86400 * NS_PER_SEC)
#define PRUNE_ROWS   4096             /* at least so many at once … */
#define PRUNE_PERIOD 5                /* … and so many seconds apart */
#define STEP_NS      (NS_PER_SEC / 2) /* of the host's clock that are told */

struct item {
	struct mon_record rec;
	uint32_t text, len; /* in texts */
};

struct history {
	struct mon_core *core;
	void (*tick)(void *arg);
	void *arg;
	uint64_t max_bytes, max_age;
	int lock_fd;
	sqlite3 *db;
	sqlite3_stmt *insert, *insert_batch, *begin, *commit, *rollback, *pages, *free_pages,
		*page_size, *oldest, *aged, *origin, *prune_events, *prune_batches, *put_span,
		*prune_spans;
	struct plat_thread *thread;
	struct plat_event wake; /* only for stopping: the core has its own */
	_Atomic bool stop;
	bool failing;
	bool ready;                /* tables are there, and this run among them */
	bool timed;                /* the run has its tsc */
	struct history_config cfg; /* of this run */
	char name[64];
	int dir_fd; /* of the folder of a new file, until that entry is on the disk */
	int64_t run, seq;
	struct span span; /* of the last records */
	int64_t pruned;   /* seq when it was last looked at the bounds */
	uint64_t wall;    /* what makes plat_now() the time since 1970 */
	uint64_t started; /* since 1970, too */
	uint64_t dropped_told;
	uint8_t hash[SHA256_SIZE]; /* of the last batch */
	struct item *item;
	char *texts;
	unsigned n;
	uint32_t n_text;
	_Atomic uint64_t records, batches, failures;
};

/* ---- a batch ----------------------------------------------------------------------------------- */

static bool is_frame(const struct mon_record *m)
{
	return schema_has_bytes(m->cls, m->op);
}

static void row_of(const struct history *h, const struct item *it, int64_t seq,
		   struct history_row *r)
{
	const struct mon_record *m = &it->rec;
	/* of a frame the length and the card: the length is more than a record's size holds */
	bool frame = is_frame(m) && m->cls == MON_NET;

	*r = (struct history_row){
		.seq = seq,
		.t = (int64_t)(m->t + h->wall),
		.run = h->run,
		.cls = m->cls,
		.op = m->op,
		.vcpu = m->vcpu,
		.rip = (int64_t)m->rip,
		.addr = (int64_t)m->addr,
		.value = (int64_t)m->value,
		.size = frame ? (int64_t)m->sum : m->size,
		.count = m->count,
		.sum = frame && !(m->verdict & MON_R_COUNTED) ? m->size : (int64_t)m->sum,
		.result = m->result,
		.verdict = m->verdict & (MON_R_VERDICT | MON_R_COUNTED),
		.rule = m->rule,
		.root = (int64_t)m->root,
		.rooted = true,
		.tsc = (int64_t)m->tsc,
		.timed = true,
		.frame = is_frame(m),
		.text = it->len ? h->texts + it->text : NULL,
		.len = it->len,
	};
}

/* What a rule is to say at once, in the timeline's words, but that it says who has decided first. */
static void notify(const struct history *h, const struct item *it)
{
	static const char *const verdicts[] = {"provided", "redirected", "denied", "?"};
	struct history_row r;
	char text[300];

	row_of(h, it, 0, &r);
	r.rule = 0;
	history_describe(&r, text, sizeof(text));
	plat_log(LOG_WARN, "policy: rule in line %u %s: %s %s %s", it->rec.rule,
		 verdicts[it->rec.verdict & MON_R_VERDICT], mon_class_name(it->rec.cls),
		 schema_op_name(it->rec.cls, it->rec.op), text);
}

static void take_record(void *arg, const struct mon_record *rec, const char *text, size_t len)
{
	struct history *h = arg;
	struct item *it = &h->item[h->n];

	if (h->n == BATCH_MAX) {
		/* only counters come unasked beyond the room */
		atomic_fetch_add(&h->core->producer[0].ring.dropped, 1);
		return;
	}
	*it = (struct item){.rec = *rec};
	if (len && h->n_text + len <= TEXT_MAX) {
		it->text = h->n_text;
		it->len = (uint32_t)len;
		memcpy(h->texts + h->n_text, text, len);
		h->n_text += (uint32_t)len;
	}
	h->n++;
	if (rec->verdict & MON_R_NOTIFY)
		notify(h, it);
}

void history_add(struct history *h, const struct mon_event *ev)
{
	const struct mon_record rec = {.t = plat_now(),
				       .tsc = mon_core_tsc(h->core),
				       .value = ev->value,
				       .count = 1,
				       .cls = ev->cls,
				       .op = ev->op,
				       .vcpu = -1};

	take_record(h, &rec, ev->data, ev->len);
}

static int step(sqlite3_stmt *st)
{
	int rc = sqlite3_step(st);

	sqlite3_reset(st);
	return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : ERR_IO;
}

static int insert_row(struct history *h, const struct history_row *r)
{
	const int64_t v[] = {r->seq,   r->t,   r->run,    r->cls,     r->op,
			     r->vcpu,  r->rip, r->addr,   r->value,   r->size,
			     r->count, r->sum, r->result, r->verdict, r->rule};
	int n = (int)ARRAY_SIZE(v);

	for (int i = 0; i < n; i++)
		sqlite3_bind_int64(h->insert, i + 1, v[i]);
	if (r->text && r->frame)
		sqlite3_bind_blob(h->insert, n + 1, r->text, (int)r->len, SQLITE_STATIC);
	else if (r->text)
		sqlite3_bind_text(h->insert, n + 1, r->text, (int)r->len, SQLITE_STATIC);
	else
		sqlite3_bind_null(h->insert, n + 1);
	sqlite3_bind_int64(h->insert, n + 2, r->root);
	sqlite3_bind_int64(h->insert, n + 3, r->tsc);
	return step(h->insert);
}

static int insert_batch_row(struct history *h, int64_t last, int64_t t, int64_t dropped,
			    const uint8_t hash[SHA256_SIZE])
{
	sqlite3_stmt *st = h->insert_batch;

	sqlite3_bind_int64(st, 1, h->seq + 1);
	sqlite3_bind_int64(st, 2, last);
	sqlite3_bind_int64(st, 3, t);
	sqlite3_bind_int64(st, 4, dropped);
	sqlite3_bind_blob(st, 5, h->hash, SHA256_SIZE, SQLITE_STATIC);
	sqlite3_bind_blob(st, 6, hash, SHA256_SIZE, SQLITE_STATIC);
	return step(st);
}

/* Texts of the guest may be anything; the file has UTF-8 only, and of what controls terminals ESC. */
static void clean_text(char *s, size_t n)
{
	unsigned len;

	for (; n; s += len, n -= len) {
		uint32_t c = 0;

		len = str_utf8(s, n, &c);
		if (!len) {
			*s = '?';
			len = 1;
		} else if ((c < ' ' && c != '\n' && c != '\t' && c != '\r' && c != 27) ||
			   (c >= 0x7f && c < 0xa0)) {
			memset(s, '?', len);
		}
	}
}

static void clean_texts(struct history *h)
{
	for (unsigned k = 0; k < h->n; k++)
		if (!is_frame(&h->item[k].rec))
			clean_text(h->texts + h->item[k].text, h->item[k].len);
}

static int put_span(struct history *h, const struct span *s)
{
	sqlite3_bind_int64(h->put_span, 1, s->id);
	sqlite3_bind_int64(h->put_span, 2, s->from);
	sqlite3_bind_int64(h->put_span, 3, s->to);
	return step(h->put_span);
}

static int write_rows(struct history *h, int64_t dropped, uint8_t hash[SHA256_SIZE])
{
	int64_t t = (int64_t)(plat_now() + h->wall);
	int64_t last = h->seq + h->n;
	struct span span = h->span;
	struct sha256 s;
	int err = step(h->begin);

	chain_begin(&s, h->hash);
	for (unsigned i = 0; i < h->n && !err; i++) {
		struct history_row r;

		row_of(h, &h->item[i], h->seq + 1 + i, &r);
		chain_row(&s, &r);
		err = insert_row(h, &r);
		span_add(&span, r.seq, r.t);
		if (!err && (span_ends(r.seq) || i + 1 == h->n))
			err = put_span(h, &span);
	}
	chain_end(&s, h->seq + 1, last, t, dropped, hash);
	if (!err)
		err = insert_batch_row(h, last, t, dropped, hash);
	if (!err)
		err = step(h->commit);
	if (err && !sqlite3_get_autocommit(h->db))
		step(h->rollback);
	else if (!err)
		h->span = span;
	return err;
}

/* What the guest's time counts from */
static void note_origin(struct history *h)
{
	for (unsigned i = 0; i < h->n && !h->timed; i++) {
		if (!h->item[i].rec.tsc)
			continue;
		sqlite3_bind_int64(h->origin, 1, (int64_t)h->item[i].rec.tsc);
		sqlite3_bind_int64(h->origin, 2, h->run);
		h->timed = !step(h->origin);
		break;
	}
}

/* ---- the tables, and this run among them ---------------------------------------------------------- */

static int fail(struct history *h, char *err, size_t size)
{
	snprintf(err, size, "%s", h->db ? sqlite3_errmsg(h->db) : "out of memory");
	return ERR_IO;
}

static const struct {
	size_t place;
	const char *sql;
} statements[] = {
	{offsetof(struct history, insert),
	 "INSERT INTO event(" HISTORY_COLUMNS ") VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"},
	{offsetof(struct history, insert_batch),
	 "INSERT INTO batch(first,last,t,dropped,prev,hash) VALUES(?,?,?,?,?,?)"},
	{offsetof(struct history, begin), "BEGIN IMMEDIATE"},
	{offsetof(struct history, commit), "COMMIT"},
	{offsetof(struct history, rollback), "ROLLBACK"},
	{offsetof(struct history, pages), "PRAGMA page_count"},
	{offsetof(struct history, free_pages), "PRAGMA freelist_count"},
	{offsetof(struct history, page_size), "PRAGMA page_size"},
	{offsetof(struct history, oldest), "SELECT last,t FROM batch ORDER BY id LIMIT 1"},
	{offsetof(struct history, aged), "SELECT max(last) FROM batch WHERE t<?"},
	{offsetof(struct history, origin), "UPDATE run SET tsc=? WHERE id=?"},
	{offsetof(struct history, prune_events),
	 "DELETE FROM event WHERE seq<=(SELECT max(last) FROM batch WHERE last<=?)"},
	{offsetof(struct history, prune_batches), "DELETE FROM batch WHERE last<=?"},
	{offsetof(struct history, put_span), "INSERT OR REPLACE INTO span VALUES(?,?,?)"},
	{offsetof(struct history, prune_spans),
	 "DELETE FROM span WHERE id<(SELECT min(seq)>>13 FROM event)"},
};

static sqlite3_stmt **statement_at(struct history *h, unsigned i)
{
	return (sqlite3_stmt **)(void *)((char *)h + statements[i].place);
}

static int prepare_all(struct history *h, char *err, size_t size)
{
	for (unsigned i = 0; i < ARRAY_SIZE(statements); i++)
		if (!*statement_at(h, i) &&
		    sqlite3_prepare_v3(h->db, statements[i].sql, -1, SQLITE_PREPARE_PERSISTENT,
				       statement_at(h, i), NULL) != SQLITE_OK)
			return fail(h, err, size);
	return 0;
}

/* Where an earlier run has ended. */
static int read_end(struct history *h, char *err, size_t size)
{
	sqlite3_stmt *st;
	int rc;

	if (sqlite3_prepare_v2(h->db, "SELECT last, hash FROM batch ORDER BY id DESC LIMIT 1", -1,
			       &st, NULL) != SQLITE_OK)
		return fail(h, err, size);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW && sqlite3_column_bytes(st, 1) == SHA256_SIZE) {
		h->seq = h->pruned = sqlite3_column_int64(st, 0);
		memcpy(h->hash, sqlite3_column_blob(st, 1), SHA256_SIZE);
	}
	if (h->seq < 0 || h->seq > SPAN_SEQ_MAX) {
		snprintf(err, size, "its last batch ends with a number that makes no sense");
		sqlite3_finalize(st);
		return ERR_FORMAT;
	}
	sqlite3_finalize(st);
	if ((rc != SQLITE_ROW && rc != SQLITE_DONE) || span_read(h->db, h->seq, &h->span))
		return fail(h, err, size);
	return 0;
}

static int add_run(struct history *h, char *err, size_t size)
{
	const struct history_config *cfg = &h->cfg;
	sqlite3_stmt *st;
	int rc;

	if (sqlite3_prepare_v2(h->db,
			       "INSERT INTO run(name,started,tsc_hz,pid,engine,cpu,cpus,memory,"
			       "version) VALUES(?,?,?,?,?,?,?,?,?)",
			       -1, &st, NULL) != SQLITE_OK)
		return fail(h, err, size);
	sqlite3_bind_text(st, 1, h->name, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 2, (int64_t)h->started);
	sqlite3_bind_int64(st, 3, (int64_t)cfg->tsc_hz);
	sqlite3_bind_int64(st, 4, getpid());
	sqlite3_bind_text(st, 5, cfg->engine, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 6, cfg->cpu, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 7, cfg->cpus);
	sqlite3_bind_int64(st, 8, (int64_t)cfg->memory);
	sqlite3_bind_text(st, 9, cfg->version, -1, SQLITE_STATIC);
	rc = sqlite3_step(st);
	sqlite3_finalize(st);
	h->run = sqlite3_last_insert_rowid(h->db);
	return rc == SQLITE_DONE ? 0 : fail(h, err, size);
}

/* What the folder says of a new file, where SQLite has been told not to wait for it. */
static void settle_entry(struct history *h)
{
	if (h->dir_fd < 0)
		return;
	(void)fsync(h->dir_fd);
	close(h->dir_fd);
	h->dir_fd = -1;
}

/* All that opens no files: the thread's work, but where somebody wants to know before that it succeeds. */
static int make_ready(struct history *h, char *err, size_t size)
{
	static const char setup[] = "PRAGMA synchronous=NORMAL; PRAGMA temp_store=MEMORY;"
				    "PRAGMA journal_size_limit=16777216; PRAGMA cache_size=-4096;"
				    "PRAGMA wal_autocheckpoint=2000;";
	int e;

	if (h->ready)
		return 0;
	settle_entry(h);
	if (sqlite3_exec(h->db, setup, NULL, NULL, NULL) != SQLITE_OK)
		return fail(h, err, size);
	e = schema_create(h->db, err, size);
	if (!e)
		e = prepare_all(h, err, size);
	if (!e)
		e = read_end(h, err, size);
	if (!e)
		e = add_run(h, err, size);
	if (!e)
		sqlite3_wal_checkpoint_v2(h->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	h->ready = !e;
	return e;
}

/* ---- writing ------------------------------------------------------------------------------------- */

static void failed(struct history *h, const char *why)
{
	if (!h->failing)
		plat_log(LOG_WARN, "the history cannot be written: %s; the guest goes on", why);
	h->failing = true;
	atomic_fetch_add(&h->failures, 1);
}

static void write_batch(struct history *h)
{
	uint64_t dropped = mon_core_dropped(h->core);
	uint8_t hash[SHA256_SIZE];
	char err[300] = "";

	if (!h->n && dropped == h->dropped_told)
		return;
	if (make_ready(h, err, sizeof(err))) {
		failed(h, err);
		return;
	}
	clean_texts(h);
	note_origin(h);
	if (write_rows(h, (int64_t)(dropped - h->dropped_told), hash)) {
		failed(h, sqlite3_errmsg(h->db));
		return;
	}
	if (h->failing)
		plat_log(LOG_INFO, "the history is written again; %llu records are missing",
			 (unsigned long long)(dropped - h->dropped_told));
	h->failing = false;
	memcpy(h->hash, hash, sizeof(hash));
	h->dropped_told = dropped;
	h->seq += h->n;
	atomic_fetch_add(&h->records, h->n);
	atomic_fetch_add(&h->batches, 1);
	h->n = 0;
	h->n_text = 0;
}

/* ---- bounds ------------------------------------------------------------------------------------- */

static int64_t one(sqlite3_stmt *st, int64_t *second)
{
	int64_t v = -1;

	if (sqlite3_step(st) == SQLITE_ROW) {
		v = sqlite3_column_int64(st, 0);
		if (second)
			*second = sqlite3_column_int64(st, 1);
	}
	sqlite3_reset(st);
	return v;
}

/* Removes whole batches from the oldest end: twice as many rows as have come since the last time. */
static void prune(struct history *h)
{
	int64_t used = (one(h->pages, NULL) - one(h->free_pages, NULL)) * one(h->page_size, NULL);
	int64_t t = 0, last = one(h->oldest, &t);
	int64_t upto = last + MAX(2 * (h->seq - h->pruned), (int64_t)PRUNE_ROWS);
	int64_t limit = (int64_t)(plat_now() + h->wall - h->max_age);

	h->pruned = h->seq;
	if (last < 0)
		return;
	if (used <= (int64_t)h->max_bytes) { /* what is not too old stays */
		if (t >= limit)
			return;
		sqlite3_bind_int64(h->aged, 1, limit);
		upto = MIN(upto, one(h->aged, NULL));
	}
	if (upto >= h->seq)
		return;
	sqlite3_bind_int64(h->prune_events, 1, upto);
	sqlite3_bind_int64(h->prune_batches, 1, upto);
	if (step(h->begin))
		return;
	if (step(h->prune_events) || step(h->prune_batches) || step(h->prune_spans) ||
	    step(h->commit))
		step(h->rollback);
}

/* The host's clock is set, or goes on after the host has slept, which plat_now() does not count: from now on times are
 * its again. What was drained already keeps its own. */
static void look_at_clock(struct history *h)
{
	int64_t by = (int64_t)(plat_realtime() - plat_now() - h->wall);
	char text[80];

	if (by > -(int64_t)STEP_NS && by < (int64_t)STEP_NS)
		return;
	snprintf(text, sizeof(text), "the host's clock went %s by %.1f s",
		 by < 0 ? "back" : "forward", (double)llabs(by) / 1e9);
	write_batch(h);
	h->wall += (uint64_t)by;
	history_add(h, &(struct mon_event){.cls = MON_LIFECYCLE,
					   .op = LIFE_NOTE,
					   .data = text,
					   .len = (uint32_t)strlen(text)});
}

/* ---- the thread ---------------------------------------------------------------------------------- */

static void writer_thread(void *arg)
{
	struct history *h = arg;
	const struct mon_drain to = {take_record, h};
	uint64_t next = plat_now() + TICK_NS, period = plat_now() + PERIOD_NS;
	uint64_t pruned = plat_now();
	char err[300] = "";

	/* the processors belong to those who start the guest */
	if (!h->ready)
		plat_event_wait(&h->core->wake, plat_now() + LATER_NS);
	if (make_ready(h, err, sizeof(err)))
		failed(h, err);
	while (!atomic_load(&h->stop)) {
		uint64_t now;
		bool due, early = plat_event_wait(&h->core->wake, next);

		plat_event_clear(&h->core->wake);
		now = plat_now();
		due = !early || now >= next;
		if (due) {
			next = now + TICK_NS;
			if (h->tick)
				h->tick(h->arg);
		}
		do {
			mon_core_drain(h->core, &to, BATCH_MAX - h->n);
			if (h->n == BATCH_MAX || due)
				write_batch(h);
		} while (h->n == BATCH_MAX && !h->failing && !atomic_load(&h->stop));
		/* where nothing can be written, counters go on counting: they lose nothing */
		if (now >= period && h->n)
			write_batch(h);
		if (now >= period && !h->failing) {
			period = now + PERIOD_NS;
			look_at_clock(h);
			mon_core_period(h->core, &to, false);
		}
		if (now - pruned > PRUNE_PERIOD * NS_PER_SEC && !h->failing) {
			prune(h);
			pruned = now;
		}
	}
}

int history_start(struct history *h)
{
	return plat_thread_create("history", writer_thread, h, &h->thread);
}

static void drain_rest(struct history *h)
{
	const struct mon_drain to = {take_record, h};
	char err[300] = "";

	if (make_ready(h, err, sizeof(err)))
		failed(h, err);
	if (h->tick)
		h->tick(h->arg);
	for (unsigned i = 0; i < 64; i++) {
		unsigned n = mon_core_drain(h->core, &to, BATCH_MAX - h->n);

		write_batch(h);
		if (!n || h->failing)
			break;
	}
	mon_core_period(h->core, &to, true);
	mon_core_drain(h->core, &to, BATCH_MAX - h->n);
	write_batch(h);
	/* many runs may all be short */
	if (!h->failing)
		prune(h);
}

/* ---- opening and closing ----------------------------------------------------------------------------- */

/* Two VMs that write one chain would break it. */
static int lock_file(struct history *h, const char *path, char *err, size_t size)
{
	char name[4096];

	if (snprintf(name, sizeof(name), "%s-lock", path) >= (int)sizeof(name)) {
		snprintf(err, size, "the name is too long");
		return ERR_INVAL;
	}
	h->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (h->lock_fd < 0 || flock(h->lock_fd, LOCK_EX | LOCK_NB)) {
		snprintf(err, size, "%s",
			 errno == EWOULDBLOCK ? "another VM writes it" : strerror(errno));
		return ERR_BUSY;
	}
	return 0;
}

/* What SQLite would find in the file, by its header ("Database File Format", 1.3). */
enum found { EMPTY, IN_WAL, OTHER };

static enum found look_at(const char *path)
{
	uint8_t head[20];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd < 0 ? 0 : pread(fd, head, sizeof(head), 0);

	if (fd >= 0)
		close(fd);
	return !n ? EMPTY : n == sizeof(head) && head[18] == 2 && head[19] == 2 ? IN_WAL : OTHER;
}

static int open_folder(const char *path)
{
	char dir[4096];
	char *slash;

	str_copy(dir, sizeof(dir), path);
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = 0;
	return open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* A new file has nothing to lose before its tables are there: nobody waits for a disk. */
static int open_db(struct history *h, const char *path, char *err, size_t size)
{
	static const char *const setup[] = {
		[EMPTY] =
			"PRAGMA page_size=4096; PRAGMA synchronous=OFF; PRAGMA journal_mode=MEMORY; PRAGMA journal_mode=WAL;",
		[IN_WAL] = "",
		[OTHER] = "PRAGMA journal_mode=WAL;",
	};
	int on = 1;
	mode_t old = umask(0077);
	enum found found = look_at(path);
	int rc = sqlite3_open_v2(path, &h->db,
				 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
				 NULL);

	umask(old);
	if (rc != SQLITE_OK)
		return fail(h, err, size);
	sqlite3_busy_timeout(h->db, 2000);
	schema_harden(h->db);
	/* The sandbox lets no file be removed: the journal stays, emptied. */
	sqlite3_file_control(h->db, "main", SQLITE_FCNTL_PERSIST_WAL, &on);
	if (found == EMPTY)
		h->dir_fd = open_folder(path);
	/* the second opens the journal */
	if (sqlite3_exec(h->db, setup[found], NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(h->db, "PRAGMA user_version", NULL, NULL, NULL) != SQLITE_OK)
		return fail(h, err, size);
	return schema_known(h->db, err, size);
}

int history_open(const struct history_config *cfg, struct mon_core *core, struct history **out,
		 char *err, size_t size)
{
	struct history *h = calloc(1, sizeof(*h));
	int e = 0;

	if (!h)
		return ERR_NOMEM;
	h->core = core;
	h->tick = cfg->tick;
	h->arg = cfg->arg;
	h->lock_fd = h->dir_fd = -1;
	h->max_bytes = cfg->max_bytes ? cfg->max_bytes : HISTORY_MAX_BYTES;
	h->max_age = (cfg->max_days ? cfg->max_days : HISTORY_MAX_DAYS) * (uint64_t)DAY_NS;
	h->wall = plat_realtime() - plat_now();
	h->started = plat_now() + h->wall;
	h->cfg = *cfg;
	str_copy(h->name, sizeof(h->name), cfg->name ? cfg->name : "");
	h->item = calloc(BATCH_MAX, sizeof(*h->item));
	h->texts = malloc(TEXT_MAX);
	if (!h->item || !h->texts) {
		snprintf(err, size, "out of memory");
		e = ERR_NOMEM;
	}
	if (!e)
		e = lock_file(h, cfg->path, err, size);
	if (!e)
		e = open_db(h, cfg->path, err, size);
	if (!e && !cfg->later)
		e = make_ready(h, err, size);
	if (e) {
		h->core = NULL;
		history_close(h);
		return e;
	}
	*out = h;
	return 0;
}

void history_close(struct history *h)
{
	if (!h)
		return;
	atomic_store(&h->stop, true);
	if (h->thread) {
		plat_event_set(&h->core->wake);
		plat_thread_join(h->thread);
	}
	if (h->core && h->db)
		drain_rest(h);
	for (unsigned i = 0; i < ARRAY_SIZE(statements); i++)
		sqlite3_finalize(*statement_at(h, i));
	sqlite3_close(h->db);
	settle_entry(h);
	if (h->lock_fd >= 0)
		close(h->lock_fd);
	free(h->item);
	free(h->texts);
	free(h);
}

void history_stats(struct history *h, struct history_stats *out)
{
	*out = (struct history_stats){
		.records = atomic_load(&h->records),
		.batches = atomic_load(&h->batches),
		.dropped = mon_core_dropped(h->core),
		.failures = atomic_load(&h->failures),
	};
}
