/* SPDX-License-Identifier: ISC */
/* calendar.c: date arithmetic by 400-year eras that begin on 1 March, so that the leap day is the
 * last of its year. */
#include "dev/pc/calendar.h"

#define DAY_SECONDS 86400
#define ERA_DAYS    146097
#define EPOCH_DAYS  719468 /* from 1 March of year 0 to 1 January 1970 */

static int64_t floor_div(int64_t a, int64_t b)
{
	int64_t q = a / b;

	return a % b < 0 ? q - 1 : q;
}

/* Days before month m (0 is March) in a year from March on: 31 30 31 30 31 | 31 30 31 30 31 | 31 */
static int32_t month_days(int32_t m)
{
	return (153 * m + 2) / 5;
}

int64_t calendar_seconds(const struct calendar *c)
{
	int32_t m = (c->month + 11) % 12; /* 0 is January */
	int64_t y = c->year + (c->month > 12 ? 1 : 0), era, day;

	if (m < 2)
		y--;
	era = floor_div(y, 400);
	y -= era * 400;
	day = y * 365 + y / 4 - y / 100 + month_days((m + 10) % 12) + c->day - 1;
	day += era * ERA_DAYS - EPOCH_DAYS;
	return day * DAY_SECONDS + c->hour * 3600 + c->minute * 60 + c->second;
}

void calendar_date(int64_t seconds, struct calendar *out)
{
	int64_t days = floor_div(seconds, DAY_SECONDS);
	int32_t left = (int32_t)(seconds - days * DAY_SECONDS);
	int64_t era = floor_div(days + EPOCH_DAYS, ERA_DAYS);
	int32_t day = (int32_t)(days + EPOCH_DAYS - era * ERA_DAYS); /* in the era */
	/* Leap days are taken out first: the year follows from what is left. */
	int32_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	int32_t yday = day - (year * 365 + year / 4 - year / 100);
	int32_t m = (5 * yday + 2) / 153;

	out->day = (uint8_t)(yday - month_days(m) + 1);
	out->month = (uint8_t)(m < 10 ? m + 3 : m - 9);
	out->year = (int32_t)(era * 400) + year + (out->month <= 2);
	out->hour = (uint8_t)(left / 3600);
	out->minute = (uint8_t)(left / 60 % 60);
	out->second = (uint8_t)(left % 60);
	out->weekday = (uint8_t)(days + 4 - floor_div(days + 4, 7) * 7);
}
