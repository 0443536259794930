/* SPDX-License-Identifier: ISC */
/* journal.c: see journal.h. A thread of its own takes over once a second what the VMs' rings have got, as lines, and writes
 * them behind what earlier runs have left (block/journal.h); so guests wait for no disk, and what comes faster than the
 * rings hold is lost, and counted. */
#include "metal/journal.h"

#include "base/str.h"
#include "block/block.h"
#include "block/journal.h"
#include "metal/disks.h"
#include "metal/hostdisk.h"
#include "metal/watch.h"
#include "plat/plat.h"

#define ROOM     (64 * KIB)        /* the sector, and for the search at the start */
#define SYNC_MAX (10 * NS_PER_SEC) /* disks may still be looked for */
#define LINE     (RECENT_LINE + 128)
_Static_assert(LINE <= JOURNAL_TEXT, "a line fits");

static struct {
	const char *area;
	struct block *b;
	uint8_t *room;
	uint64_t sectors, number; /* the one that is being filled: from 1 */
	uint32_t len;
	bool dirty;
	struct watch_at at;
	uint64_t lost; /* that have been told */
	struct plat_event wake, done;
	_Atomic bool dead; /* the disk is not there, or refuses */
	struct plat_thread *thread;
} j;

/* ---- lines ---- */

/* Year, month and day of a day since 1970; years begin in March here. */
static void date(uint64_t days, unsigned *y, unsigned *m, unsigned *d)
{
	uint64_t from_0 = days + 719468, era = from_0 / 146097, of_era = from_0 % 146097;
	uint64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	unsigned day = (unsigned)(of_era - (year * 365 + year / 4 - year / 100));
	unsigned month = (5 * day + 2) / 153;

	*d = day - (month * 153 + 2) / 5 + 1;
	*m = month < 10 ? month + 3 : month - 9;
	*y = (unsigned)(era * 400 + year) + (*m <= 2);
}

static int write_sector(void)
{
	uint64_t at = (j.number - 1) % j.sectors * JOURNAL_SECTOR;

	if (!j.dirty)
		return 0;
	j.dirty = false;
	journal_seal(j.room, j.number, j.len);
	return block_rw_sync(j.b, BLOCK_WRITE, at, j.room, JOURNAL_SECTOR);
}

static int append(const char *line, uint32_t len)
{
	int err = 0;

	if (j.len + len > JOURNAL_TEXT) {
		err = write_sector();
		j.number++;
		j.len = 0;
	}
	memcpy(j.room + JOURNAL_HEAD + j.len, line, len);
	j.len += len;
	j.dirty = true;
	return err;
}

/* t: on plat_now()'s clock */
static int write_line(uint64_t t, const char *name, const char *text)
{
	uint64_t when = plat_realtime() - (plat_now() - t), s = when / NS_PER_SEC % 86400;
	char line[LINE];
	unsigned y, m, d;

	date(when / NS_PER_SEC / 86400, &y, &m, &d);
	str_format(line, sizeof(line), "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ %s %s\n", y, m, d,
		   (unsigned)(s / 3600), (unsigned)(s / 60 % 60), (unsigned)(s % 60),
		   (unsigned)(when / 1000000 % 1000), name, text);
	return append(line, (uint32_t)str_len(line));
}

static int take_over(void)
{
	char text[RECENT_LINE];
	const char *name;
	uint64_t t, lost;
	int err = 0;

	while (!err && watch_next(&j.at, UINT32_MAX, &t, &name, text))
		err = write_line(t, name, text);
	lost = watch_lost(&j.at);
	if (!err && lost > j.lost) {
		str_format(text, sizeof(text), "%llu records came too fast and are lost",
			   (unsigned long long)(lost - j.lost));
		err = write_line(plat_now(), "vigia", text);
		j.lost = lost;
	}
	if (err || !j.dirty)
		return err;
	err = write_sector();
	return err ? err : block_flush_sync(j.b);
}

/* ---- the thread ---- */

/* Behind the last sector that earlier runs have written. */
static int find_end(void)
{
	uint64_t number;
	uint32_t len;

	for (uint64_t i = 0; i < j.sectors;) {
		size_t n = (size_t)MIN(j.sectors - i, (uint64_t)ROOM / JOURNAL_SECTOR);
		int err = block_rw_sync(j.b, BLOCK_READ, i * JOURNAL_SECTOR, j.room,
					n * JOURNAL_SECTOR);

		if (err)
			return err;
		for (size_t k = 0; k < n; k++, i++)
			if (journal_check(j.room + k * JOURNAL_SECTOR, i, j.sectors, &number, &len))
				j.number = MAX(j.number, number);
	}
	j.number++;
	return 0;
}

static int begin(char *text, size_t size)
{
	int err = disks_open(j.area, false, &j.b, text, size);

	if (!err)
		err = hostdisk_allow(j.b, j.room, ROOM);
	j.sectors = err ? 0 : j.b->size / JOURNAL_SECTOR;
	if (!err && j.b->read_only)
		err = err_here(ERR_ROFS);
	if (!err)
		err = find_end();
	if (!err)
		err = write_line(0, "vigia", "the hypervisor has started");
	return err;
}

static void journal_thread(void *arg)
{
	char text[128] = "";
	int err = begin(text, sizeof(text));

	while (!err) {
		bool asked = plat_event_wait(&j.wake, plat_now() + NS_PER_SEC);

		plat_event_clear(&j.wake);
		err = take_over();
		if (asked)
			plat_event_set(&j.done);
	}
	atomic_store(&j.dead, true);
	plat_event_set(&j.done);
	plat_log(LOG_ERROR, "history: not on %s any more: %s%s%s", j.area, err_str(err),
		 text[0] ? ": " : "", text);
}

int journal_start(const char *area)
{
	if (!*area)
		return 0;
	j.area = area;
	j.room = plat_pages_alloc(ROOM);
	if (!j.room)
		return err_here(ERR_NOMEM);
	return plat_thread_create("journal", journal_thread, NULL, &j.thread);
}

void journal_sync(void)
{
	if (!j.thread || atomic_load(&j.dead))
		return;
	plat_event_clear(&j.done);
	plat_event_set(&j.wake);
	plat_event_wait(&j.done, plat_now() + SYNC_MAX);
}
