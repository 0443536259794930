/* SPDX-License-Identifier: ISC */
/* npt.h: nested page tables, AMD's and Intel's: guest-physical to physical. The caller serialises changes;
 * processors walk meanwhile. */
#ifndef ENGINE_HW_NPT_H
#define ENGINE_HW_NPT_H

#include "base/def.h"
#include "base/err.h"

struct npt {
	uint64_t *root; /* NULL: not there */
	uint64_t leaf;
};

/* leaf: bits that entries have which lead to pages, beside rights. */
#define NPT_LEAF_AMD 0
#define NPT_LEAF_EPT (UINT64_C(6) << 3) /* memory type: write-back */
int npt_init(struct npt *n, uint64_t leaf) attr_must_check;
void npt_fini(struct npt *n);
/* Page multiples. Large pages where both addresses allow. ERR_NOMEM; ERR_EXIST: something is mapped
 * there already. */
int npt_map(struct npt *n, gpa_t gpa, uint64_t pa, uint64_t size, bool writable) attr_must_check;
/* Changes what is mapped; splits large pages. TLBs are the caller's business. */
int npt_protect(struct npt *n, gpa_t gpa, uint64_t size, bool writable) attr_must_check;
/* Where gpa leads; false: nowhere. */
bool npt_lookup(const struct npt *n, gpa_t gpa, uint64_t *pa, bool *writable);

#endif
