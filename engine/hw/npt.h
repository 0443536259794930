/* SPDX-License-Identifier: ISC */
/* npt.h: nested page tables: guest-physical to physical. The caller serialises changes; processors walk
 * meanwhile. */
#ifndef ENGINE_HW_NPT_H
#define ENGINE_HW_NPT_H

#include "base/def.h"
#include "base/err.h"

struct npt {
	uint64_t *root; /* NULL: not there */
};

int npt_init(struct npt *n) attr_must_check;
void npt_fini(struct npt *n);
/* Page multiples. Large pages where both addresses allow. ERR_NOMEM; ERR_EXIST: something is mapped
 * there already. */
int npt_map(struct npt *n, gpa_t gpa, uint64_t pa, uint64_t size, bool writable) attr_must_check;
/* Changes what is mapped; splits large pages. TLBs are the caller's business. */
int npt_protect(struct npt *n, gpa_t gpa, uint64_t size, bool writable) attr_must_check;
/* Where gpa leads; false: nowhere. */
bool npt_lookup(const struct npt *n, gpa_t gpa, uint64_t *pa, bool *writable);

#endif
