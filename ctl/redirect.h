/* SPDX-License-Identifier: ISC */
/* redirect.h: what rules redirect to: images, recorded answers, programs. Opened before the sandbox
 * closes; rules that come later may name these again, and no others. */
#ifndef CTL_REDIRECT_H
#define CTL_REDIRECT_H

#include "block/watch.h"
#include "ctl/msg.h"
#include "monitor/policy.h"
#include "net/answer.h"
#include "plat/plat.h"

#define REDIRECTS 16

struct redirects {
	struct block_targets disk;
	struct net_targets net;
	struct policy_file file[REDIRECTS]; /* by slot */
	unsigned n;
	int programs;           /* socket of the process that starts programs; -1: none */
	struct plat_mutex lock; /* RANK_LEAF: of the conversation on it */
};

void redirects_init(struct redirects *r);
/* Opens what the policy names, and binds it. Before the sandbox. */
int redirects_open(struct redirects *r, struct plat_loop *loop, struct policy *p, struct msg *msg);
/* Binds a policy to what is open; ERR_NOENT where it names something else. */
int redirects_bind(const struct redirects *r, struct policy *p, struct msg *msg);
void redirects_close(struct redirects *r);

#endif
