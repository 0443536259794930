/* SPDX-License-Identifier: ISC */
/* clock.h: --rtc: what a VM's real-time clock shows. */
#ifndef CTL_CLOCK_H
#define CTL_CLOCK_H

#include "ctl/msg.h"

/* spec: "utc", "localtime", "zone:Europe/Lisbon" or a date in UTC, "2005-04-01" or
 * "2005-04-01T12:30:00". *offset: seconds to add to the host's UTC, now. Not while other threads
 * look at the time zone. */
int clock_offset(const char *spec, int64_t *offset, struct msg *msg);

#endif
