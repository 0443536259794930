/* SPDX-License-Identifier: ISC */
/* doctor.h: what this host offers a hypervisor. */
#ifndef CTL_DOCTOR_H
#define CTL_DOCTOR_H

#include <jansson.h>
#include <stdbool.h>

enum doctor_grade { DOCTOR_GOOD, DOCTOR_NOTE, DOCTOR_BAD };

struct doctor_row {
	const char *group; /* "engine", "processor" … */
	char name[32];
	enum doctor_grade grade; /* BAD: VMs cannot run; NOTE: they run, with less */
	char found[96];
	char advice[160]; /* what the user can do; "" */
};

#define DOCTOR_MAX_ROWS 64
struct doctor {
	unsigned n;
	struct doctor_row row[DOCTOR_MAX_ROWS];
};

/* Looks at everything; a second or less. */
void doctor_examine(struct doctor *d);
json_t *doctor_json(const struct doctor *d);
/* Programs may use RDFSBASE and its like. */
bool doctor_fsgsbase(void);
bool doctor_usable(const struct doctor *d); /* no row is BAD */

#endif
