/* SPDX-License-Identifier: ISC */
/* policy.h: rules over what a guest may have. doc/policy.md describes the language; a text is compiled
 * to tables once, and decides without allocating. */
#ifndef MONITOR_POLICY_H
#define MONITOR_POLICY_H

#include "base/def.h"
#include "base/err.h"
#include "monitor/frame.h"
#include "monitor/monitor.h"

struct policy;

struct policy_error {
	char file[128];
	unsigned line, column; /* from 1 */
	char text[160];        /* "expected a verb: provide, redirect or deny" */
};

struct policy_source {
	const char *name; /* for messages */
	const char *text; /* not terminated necessarily */
	size_t len;
	/* Gives the text of an included file, or an error; NULL: there are no includes. The text is
	 * needed until policy_compile() has returned. */
	int (*include)(void *arg, const char *from, const char *name, const char **text,
		       size_t *len);
	void *arg;
};

/* Nothing is left behind when it fails: ERR_FORMAT with *err filled, or ERR_NOMEM. */
int policy_compile(const struct policy_source *src, struct policy **out,
		   struct policy_error *err) attr_must_check;
void policy_free(struct policy *p); /* NULL: nothing */
/* BIT(class) of those that have rules. */
uint32_t policy_mask(const struct policy *p);
unsigned policy_count(const struct policy *p); /* rules, lists multiplied out */

/* First match decides. Sets ev->verdict, rule, flags and for redirections value. Any thread. */
enum mon_verdict policy_decide(struct policy *p, struct mon_event *ev);

/* A flow without its frames, for looking at the past. rport: the service's. name: DNS, or NULL. */
struct policy_flow {
	uint8_t proto;
	bool outward; /* the guest begins */
	uint16_t port;
	struct frame_addr remote;
	const char *name;
};
enum mon_verdict policy_decide_flow(struct policy *p, const struct policy_flow *f, uint32_t *line);

#endif
