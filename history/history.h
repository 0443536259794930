/* SPDX-License-Identifier: ISC */
/* history.h: writes what a VM's monitor records into one SQLite file. Hosted. */
#ifndef HISTORY_HISTORY_H
#define HISTORY_HISTORY_H

#include "base/def.h"
#include "base/err.h"
#include "monitor/core.h"

#define HISTORY_MAX_BYTES (1 * GIB)
#define HISTORY_MAX_DAYS  30

struct history;

struct history_config {
	const char *path;
	uint64_t max_bytes; /* oldest batches go beyond it */
	unsigned max_days;
	/* of this run; all but name and path are constants of the program */
	const char *name, *engine, *cpu, *version;
	unsigned cpus;
	uint64_t memory, tsc_hz;
	/* Tables are made by the writer's thread: what fails then is told by a warning, and tried again. */
	bool later;
	/* called by the writer's thread twice a second, before it drains; may be NULL */
	void (*tick)(void *arg);
	void *arg;
};

/* Opens or makes the file and does all that needs to open files: nothing is opened later. core: whose
 * records it will take. err: a message for people when it fails. */
int history_open(const struct history_config *cfg, struct mon_core *core, struct history **out,
		 char *err, size_t size) attr_must_check;
/* From tick only: a record that is too long for a ring; ev->data and len are its text or bytes. */
void history_add(struct history *h, const struct mon_event *ev);
int history_start(struct history *h) attr_must_check; /* its thread */
/* Writes what there is and closes the file. No producer runs any more. */
void history_close(struct history *h);

struct history_stats {
	uint64_t records, batches, dropped, failures;
};
void history_stats(struct history *h, struct history_stats *out); /* any thread */

#endif
