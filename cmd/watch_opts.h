/* SPDX-License-Identifier: ISC */
/* watch_opts.h: options of vigia history and vigia policy, as they were given. */
#ifndef CMD_WATCH_OPTS_H
#define CMD_WATCH_OPTS_H

#include "ctl/opt.h"

/* NULL: not given */
struct watch_opts {
	const char *since, *until, *cls, *op, *device, *process, *net, *text, *run, *limit, *sql,
		*record, *history, *html, *pcap, *screens;
	bool json, summary, verify, follow, utc;
};

extern const struct command cmd_history, cmd_policy;

#endif
