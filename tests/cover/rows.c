/* SPDX-License-Identifier: ISC */
/* rows.c: lists the rows of the instruction table in the order of their numbers, for report.py: mnemonic,
 * where the row is, class, feature. */
#include <stdio.h>

#include "x86/feature.h"
#include "x86/optab.h"

/* clang-format off */
static const char *const where[] = {
	"",
#define L(map, op, pp, m, ...)		#map " " #op " " #pp " " #m,
#define G(grp, pp, m, reg, ...)		#grp "/" #reg " " #pp " " #m,
#define V(map, op, pp, m, w, l, ...)	"VEX " #map " " #op " " #pp " " #m " " #w " " #l,
#define EV(map, op, pp, m, w, ...)	"EVEX " #map " " #op " " #pp " " #m " " #w,
#define XM(op, reg, ...)		#op "/" #reg " M",
#define XR(op, reg, rm, rm_last, ...)	#op "/" #reg "/" #rm,
#define SM(pp, reg, ...)		"0F 01/" #reg " " #pp " M",
#define SR(pp, reg, rm, rm_last, ...)	"0F 01/" #reg "/" #rm " " #pp,
#define ALTROW(id, mn, ...)		"ALT " #id " " #mn,
#include "x86/insn.def"
};
/* clang-format on */

static const char *const features[] = {"-",
#define F(name, leaf, sub, reg, bit) #name,
				       X86_FEATURES(F)
#undef F
};

int main(void)
{
	for (unsigned i = 1; i < optab_row_count; i++) {
		const struct insn_row *r = &optab_rows[i].r;

		printf("%u\t%s\t%s\t%u\t%s\n", i, r->name, where[i], r->cls, features[r->feature]);
	}
	return 0;
}
