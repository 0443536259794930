/* SPDX-License-Identifier: ISC */
/* rows.c: lists the rows of the instruction table in the order of their numbers, for report.py: mnemonic,
 * where the row is, and whether this host has it. */
#include <stdio.h>
#include <string.h>

#include "x86/cpu.h"
#include "x86/cpuid.h"
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

int main(void)
{
	static const struct cpu_ops no_ops;
	static struct cpu cpu = {.ops = &no_ops};

	cpu.model = x86_model_find("host-avx512");
	cpu_init(&cpu);
	for (unsigned i = 1; i < optab_row_count; i++) {
		const struct insn_row *r = &optab_rows[i].r;
		/* VAES and the like are also there without AVX-512 */
		bool has = cpu_has(&cpu, r->feature) &&
			   (strncmp(where[i], "EVEX ", 5) || cpu_has(&cpu, X_FEAT_AVX512F));

		printf("%u\t%s\t%s\t%d\n", i, insn_name(r), where[i], has);
	}
	return 0;
}
