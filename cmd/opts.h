/* SPDX-License-Identifier: ISC */
/* opts.h: values of the options that the small commands share. */
#ifndef CMD_OPTS_H
#define CMD_OPTS_H

#include "base/def.h"

struct cmd_opts {
	bool json;
	bool wait;
	bool keep, verify, force, drop, enter, relative, profile, compress;
	const char *name, *engine; /* of argv */
	int timeout;               /* seconds; -1: not given */
};

struct pack_opts {
	const char *output, *hypervisor; /* of argv; NULL: not given */
	bool poweroff, drop;
	const char *history;    /* "host:…"; NULL: in memory alone */
	const char *uplink[16]; /* networks */
	unsigned n_uplinks;
	const char *state[16]; /* NAME=FILE */
	unsigned n_states;
};

struct volume_opts {
	const char *from; /* of argv; NULL: not given */
	bool force;
};

struct image_opts {
	const char *from, *format, *backing, *compress; /* of argv; NULL: not given */
	bool json, force, repair, shrink;
};

#endif
