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
	/* Gets each line with includes in their places, which is what the lines of rules count; or NULL. */
	void (*line)(void *arg, const char *text, size_t len);
	/* For a bare machine: what needs a host is an error. */
	bool bare;
};

/* Nothing is left behind when it fails: ERR_FORMAT with *err filled, or ERR_NOMEM. */
int policy_compile(const struct policy_source *src, struct policy **out,
		   struct policy_error *err) attr_must_check;
void policy_free(struct policy *p); /* NULL: nothing */
/* BIT(class) of those that have rules. */
uint32_t policy_mask(const struct policy *p);
unsigned policy_count(const struct policy *p); /* rules, lists multiplied out */

/* Files and programs that rules redirect to, which somebody has to open. */
struct policy_file {
	uint8_t kind; /* enum mon_target_kind */
	char path[200];
};
unsigned policy_n_files(const struct policy *p);
const struct policy_file *policy_file(const struct policy *p, unsigned i);
bool policy_redirects(const struct policy *p, enum mon_class cls);
/* Says in which slots they are open; before the policy is in force. slot[i]: of policy_file(i). */
void policy_bind(struct policy *p, const uint8_t *slot);

/* What rules say of the VM as a whole. */
unsigned policy_cpu_percent(const struct policy *p); /* of each vCPU; 100: no limit */
uint64_t policy_memory(const struct policy *p);      /* bytes; UINT64_MAX: no limit */
unsigned policy_cpu_weight(const struct policy *p);  /* beside others, percent; 100: as they */
int64_t policy_time_offset(const struct policy *p);  /* ns */
unsigned policy_time_rate(const struct policy *p);   /* percent; 100: as the host\'s */
uint32_t policy_line(const struct policy *p, enum mon_class cls); /* of the rule that says so */
/* A device by name ("disk0", "net1", "rng"): may the guest see it? line: of the rule, or 0. */
bool policy_device(const struct policy *p, const char *name, uint32_t *line);
/* From now on all requests of denied disks, nets and rng are denied, as those of a device that was unplugged;
 * their events say which it is (unit). Before the policy is in force. */
void policy_unplug(struct policy *p);

/* From now on it is that time, in ns since 1970, for times of the day and for rates: of the past. */
void policy_set_time(struct policy *p, uint64_t ns);
/* Some rule of the class has a limit: alike requests may fare differently. */
bool policy_limits(const struct policy *p, enum mon_class cls);

/* First match decides. Sets ev->verdict, rule, flags and for redirections
 * value and target. Of a disk request that only begins under a rule that redirects, or ends under
 * another, value becomes the length of the part that the verdict is about. Any thread. */
enum mon_verdict policy_decide(struct policy *p, struct mon_event *ev);

/* A flow without its frames, for looking at the past. rport: the service's. name: DNS, or NULL. */
struct policy_flow {
	uint8_t proto;
	uint8_t unit; /* the card */
	bool outward; /* the guest begins */
	uint16_t port;
	struct frame_addr remote;
	const char *name;
	uint64_t packets, bytes; /* that are taken from a quota; 0: of one that begins */
};
enum mon_verdict policy_decide_flow(struct policy *p, const struct policy_flow *f, uint32_t *line);

#endif
