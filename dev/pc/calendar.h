/* SPDX-License-Identifier: ISC */
/* calendar.h: proleptic Gregorian calendar: seconds since 1970 to date and time, and back. */
#ifndef DEV_PC_CALENDAR_H
#define DEV_PC_CALENDAR_H

#include "base/def.h"

struct calendar {
	int32_t year;       /* such as 2024 */
	uint8_t month, day; /* 1…12, 1…31 */
	uint8_t hour, minute, second;
	uint8_t weekday; /* 0 is Sunday; not read by calendar_seconds() */
};

void calendar_date(int64_t seconds, struct calendar *out);
/* Fields out of their ranges carry over into the next: 25 h is 1 h of the next day. */
int64_t calendar_seconds(const struct calendar *c);

#endif
