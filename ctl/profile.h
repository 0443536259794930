/* SPDX-License-Identifier: ISC */
/* profile.h: what report_stats() gave, told as where a guest's time goes. */
#ifndef CTL_PROFILE_H
#define CTL_PROFILE_H

#include <jansson.h>
#include <stdio.h>

void profile_print(FILE *f, const json_t *stats);

#endif
