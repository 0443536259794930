/* SPDX-License-Identifier: ISC */
/* rules.h: compiled rules, between the compiler and the evaluator: policy.c with policy_range.c, of net rules policy_net.c
 * with policy_index.c. */
#ifndef MONITOR_RULES_H
#define MONITOR_RULES_H

#include "monitor/policy.h"
#include "plat/plat.h"

#define RULES_MAX  65536
#define NAME_MAX_  96
#define FLOW_CACHE 4096 /* a power of two */
#define LEARNT_MAX 512
#define FILES_MAX  16

enum rule_dir { DIR_ANY, DIR_IN, DIR_OUT };

struct rule {
	uint8_t verb; /* enum mon_verdict */
	uint8_t cls;
	uint8_t flags; /* MON_F_* */
	uint8_t proto; /* net; 0: any, PROTO_ARP */
	uint8_t dir;
	uint8_t prefix; /* bits of net that count */
	uint8_t unit;   /* disk, net: which one, + 1; 0: each */
	bool has_net, has_name, limited, per_bytes, quota, windowed;
	uint16_t from, until; /* minutes of the day (UTC), where windowed; until is outside */
	uint16_t port_lo, port_hi;
	uint32_t ops; /* BIT(op) */
	uint32_t line;
	uint32_t next;      /* of its class: index + 1; 0: the last */
	uint64_t lo, hi;    /* of addr, inclusive */
	uint64_t target;    /* value, or time offset in ns */
	uint32_t time_rate; /* percent */
	uint8_t weight;     /* of the VM, percent; 0: not said */
	struct mon_target to;
	uint64_t rate, burst; /* a second; or with quota: the total in rate */
	struct frame_addr net;
	char name[NAME_MAX_];
	/* under the policy's lock; part: millionths of a token */
	uint64_t tokens, refilled, part;
};

#define RATE_MAX (UINT64_C(1) << 43) /* a second: a millionth of it, times a second, is a number */

#define PROTO_ARP 254

struct flow_verdict {
	bool used;
	uint8_t proto, unit;
	uint16_t gport, rport;
	struct frame_addr g, r;
	uint32_t rule; /* index + 1; 0: no rule */
	uint64_t last; /* its last frame's number among all */
};

struct learnt {
	struct frame_addr addr;
	uint32_t rule;
};

struct policy {
	struct rule *rule;
	uint32_t n, room;
	uint32_t mask;
	uint32_t unplugs; /* BIT(class): rules about devices decide their requests, too */
	uint32_t first[MON_CLASSES]; /* index + 1 */
	bool names;                  /* some rule is about names */
	bool splits;                 /* disk requests end where rules do */
	struct policy_file file[FILES_MAX];
	unsigned n_files;
	struct plat_mutex lock;    /* RANK_LEAF: buckets and what follows */
	struct flow_verdict *flow; /* NULL where there are no net rules */
	struct net_index *index;   /* likewise */
	struct range_index *ranges;
	uint64_t frames;
	struct learnt learnt[LEARNT_MAX];
	uint32_t n_learnt;
	uint64_t past; /* ns since 1970 that it is taken to be; 0: it is now */
};

/* Is it the time of the rule? */
bool rule_in_window(const struct policy *p, const struct rule *r);
/* Lock held. True where cost is within the rule's limit, and taken from it. */
bool rule_take(struct rule *r, uint64_t cost, uint64_t now);
/* What a rule says of this request; a limit that is used up denies. Lock held where limited. */
enum mon_verdict rule_apply(const struct policy *p, struct rule *r, struct mon_event *ev,
			    uint64_t cost);
enum mon_verdict net_decide(struct policy *p, struct mon_event *ev);

/* In all but operation and range. */
bool rule_matches(const struct policy *p, const struct rule *r, const struct mon_event *ev);

int range_index_make(struct policy *p) attr_must_check; /* once, of all rules */
/* Index + 1 of the first rule that an access from ev->addr to last falls under, or 0: of no frames. */
uint32_t range_index_first(const struct policy *p, const struct mon_event *ev, uint64_t last);
/* The first byte of a disk beyond addr where a rule that redirects begins, or one has ended; UINT64_MAX: none. */
uint64_t range_index_cut(const struct policy *p, uint64_t addr);

int net_index_make(struct policy *p) attr_must_check; /* once, of all rules */
/* Index + 1 of the first rule that the flow falls under, or 0. Lock held. */
uint32_t net_index_first(const struct policy *p, const struct policy_flow *f);
/* Each rule (index + 1) about the name. */
void net_index_named(const struct policy *p, const char *name, void (*fn)(void *arg, uint32_t rule),
		     void *arg);
/* An answer has given the rule's (index + 1) name this address. Lock held. */
bool net_is_learnt(const struct policy *p, uint32_t rule, const struct frame_addr *a);

/* Links the rules of each class, and makes what deciding needs: once, when all are there. */
int policy_finish(struct policy *p) attr_must_check;

#endif
