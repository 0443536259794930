/* SPDX-License-Identifier: ISC */
/* clock.c: --rtc: what a VM's real-time clock shows. On the main thread. */
#include "ctl/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ZONES "/usr/share/zoneinfo/"

/* How far the zone of this process is ahead of UTC now: seconds. */
static int64_t zone_offset(void)
{
	time_t now = time(NULL);
	struct tm tm;

	return localtime_r(&now, &tm) ? tm.tm_gmtoff : 0;
}

static int offset_of_zone(const char *zone, int64_t *offset, struct msg *msg)
{
	char path[256], *old = getenv("TZ");

	if (strstr(zone, "..") || !zone[0] || zone[0] == '/' ||
	    (size_t)snprintf(path, sizeof(path), ZONES "%s", zone) >= sizeof(path) ||
	    access(path, R_OK))
		return msg_fail(msg, ERR_INVAL,
				"--rtc zone:%s: there is no such time zone in " ZONES
				" (package tzdata)",
				zone);
	old = old ? strdup(old) : NULL;
	setenv("TZ", zone, 1);
	tzset();
	*offset = zone_offset();
	if (old)
		setenv("TZ", old, 1);
	else
		unsetenv("TZ");
	tzset();
	free(old);
	return 0;
}

/* Seconds since 1970, or false. */
static bool parse_date(const char *s, time_t *out)
{
	static const char *const forms[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"};

	for (unsigned i = 0; i < ARRAY_SIZE(forms); i++) {
		struct tm tm = {.tm_mday = 1}, same;
		const char *end = strptime(s, forms[i], &tm);

		if (!end || *end || tm.tm_year < 70 || tm.tm_year > 8099)
			continue;
		same = tm;
		*out = timegm(&same); /* which turns February 30 into March 2 */
		return same.tm_mday == tm.tm_mday;
	}
	return false;
}

int clock_offset(const char *spec, int64_t *offset, struct msg *msg)
{
	time_t date;

	*offset = 0;
	if (!strcmp(spec, "utc"))
		return 0;
	if (!strcmp(spec, "localtime")) {
		*offset = zone_offset();
		return 0;
	}
	if (!strncmp(spec, "zone:", 5))
		return offset_of_zone(spec + 5, offset, msg);
	if (!parse_date(spec, &date))
		return msg_fail(msg, ERR_INVAL,
				"--rtc %s: give utc, localtime, zone:Europe/Lisbon or a date such "
				"as 2005-04-01T12:30:00",
				spec);
	*offset = (int64_t)(date - time(NULL));
	return 0;
}
