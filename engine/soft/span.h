/* SPDX-License-Identifier: ISC */
/* span.h: several pages that one REP of the host may run over. */
#ifndef ENGINE_SOFT_SPAN_H
#define ENGINE_SOFT_SPAN_H

#include "engine/soft/layout.h"

/* A REP of the host has at most that many bytes; interrupts wait for its end. */
#define RUN_MAX (64 * KIB)

/* Bytes from va on, at most want (not 0), that one REP may run over from *host on. On entry that is where va is
 * (soft_tlb_host()); it may become the same memory at another address. */
uint64_t soft_span(struct soft_vcpu *v, gva_t va, bool write, uint64_t want, hva_t *host);
/* Pages around va that the TLB has, and that follow each other in the host, maybe in a mirror: from there on for so
 * many bytes; where that is in the host. NULL: not even va's own. */
hva_t soft_extent(struct soft_vcpu *v, gva_t va, bool write, gva_t *from, uint64_t *bytes);
/* Something leaves the TLBs, or others take their place. */
void soft_spans_end(struct soft_vcpu *v);
void soft_mirrors_free(struct soft_vcpu *v);
void soft_mirrors_drop(struct soft_vcpu *v); /* its vCPU is parked */

#endif
