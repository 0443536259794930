/* SPDX-License-Identifier: ISC */
/* report.h: what a VM does, for people and programs. */
#ifndef CTL_REPORT_H
#define CTL_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "ctl/recorder.h"
#include "vm/vm.h"

/* Registers of the CPU that crashed and the last accesses of the guest. All vCPUs have ended. */
void report_crash(FILE *f, const struct vm *vm, const struct recorder *rec);

struct report_source {
	struct vm *vm;
	uint64_t started;   /* plat_now() */
	const char *screen; /* where viewers connect; NULL: nowhere */
	int statm_fd;       /* /proc/self/statm, opened before the sandbox closes /proc; or -1 */
	bool stopping;
};
/* "starting", "running", "asleep", "paused", "stopping", "ended" */
const char *report_state(const struct report_source *src);
void report_status(const struct report_source *src, json_t *out);
void report_stats(const struct report_source *src, json_t *out);

#endif
