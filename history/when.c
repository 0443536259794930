/* SPDX-License-Identifier: ISC */
/* when.c: times as people say them: "10 min ago", "yesterday 18:00", "2026-11-20 12:30", "2026-11-20T12:30:00+01:00".
 * Where no zone is said it is the one of the machine (TZ, /etc/localtime), as for what the timeline shows. A reader's own
 * thread. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "history/query.h"

#define SECONDS_MAX (INT64_MAX / (int64_t)NS_PER_SEC - 1) /* since 1970 that are a number as ns */

static const char *skip_blanks(const char *s)
{
	while (*s == ' ')
		s++;
	return s;
}

/* Is the word of n letters this one, but for capitals? */
static bool is_word(const char *s, size_t n, const char *word)
{
	return n == strlen(word) && !strncasecmp(s, word, n);
}

static size_t letters(const char *s)
{
	size_t n = 0;

	while (isalpha((unsigned char)s[n]))
		n++;
	return n;
}

/* ---- before now ----------------------------------------------------------------------------------------- */

/* 0: no unit of time is called so. */
static int64_t unit_seconds(const char *s, size_t n)
{
	static const struct {
		const char *name;
		int64_t s;
	} units[] = {
		{"s", 1},        {"sec", 1},       {"second", 1},     {"seconds", 1},
		{"m", 60},       {"min", 60},      {"mins", 60},      {"minute", 60},
		{"minutes", 60}, {"h", 3600},      {"hr", 3600},      {"hour", 3600},
		{"hours", 3600}, {"d", 86400},     {"day", 86400},    {"days", 86400},
		{"w", 604800},   {"week", 604800}, {"weeks", 604800},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(units); i++)
		if (is_word(s, n, units[i].name))
			return units[i].s;
	return 0;
}

/* "10m", "1h 30min", "2 days ago", "-5m" */
static bool read_ago(const char *s, int64_t now, int64_t *out)
{
	int64_t all = 0;
	bool some = false;

	for (s += *s == '-'; isdigit((unsigned char)*s); some = true) {
		char *end;
		long long v = strtoll(s, &end, 10); /* what is no number is the most */
		size_t n;
		int64_t unit;

		s = skip_blanks(end);
		n = letters(s);
		unit = unit_seconds(s, n);
		if (!unit)
			return false;
		all = v < (SECONDS_MAX - all) / unit ? all + v * unit : SECONDS_MAX;
		s = skip_blanks(s + n);
	}
	if (is_word(s, letters(s), "ago"))
		s = skip_blanks(s + 3);
	if (!some || *s)
		return false;
	*out = all < now / (int64_t)NS_PER_SEC ? now - all * (int64_t)NS_PER_SEC : 1;
	return true;
}

/* "@1796064290", or without; not the number of a year. */
static bool read_seconds(const char *s, int64_t *out)
{
	bool at = *s == '@';
	char *end;
	long long v;

	if (!isdigit((unsigned char)s[at]))
		return false;
	v = strtoll(s + at, &end, 10);
	if (*end || v < (at ? 1 : 100000000) || v >= SECONDS_MAX)
		return false;
	*out = v * (int64_t)NS_PER_SEC;
	return true;
}

/* ---- days and clocks ------------------------------------------------------------------------------------ */

/* ".084850" as nanoseconds */
static const char *read_fraction(const char *s, int64_t *ns)
{
	int64_t unit = NS_PER_SEC;

	*ns = 0;
	if (*s != '.' || !isdigit((unsigned char)s[1]))
		return s;
	for (s++; isdigit((unsigned char)*s); s++)
		*ns += (*s - '0') * (unit /= 10);
	return s;
}

struct zone {
	bool given;
	int64_t east; /* seconds */
};

/* "Z", " UTC", "+01:00", "-0530" */
static const char *read_zone(const char *s, struct zone *z)
{
	const char *word = skip_blanks(s);
	unsigned h = 0, m = 0;
	int used = 0;

	if (*s == 'Z' || is_word(word, letters(word), "UTC")) {
		*z = (struct zone){true, 0};
		return *s == 'Z' ? s + 1 : word + 3;
	}
	if (*s != '+' && *s != '-')
		return s;
	if ((sscanf(s + 1, "%2u:%2u%n", &h, &m, &used) != 2 &&
	     sscanf(s + 1, "%2u%2u%n", &h, &m, &used) != 2) ||
	    h > 23 || m > 59)
		return s;
	*z = (struct zone){true, (int64_t)(h * 60 + m) * (*s == '-' ? -60 : 60)};
	return s + 1 + used;
}

/* "12:30", "12:30:00.25Z"; NULL: it is none. */
static const char *read_clock(const char *s, struct tm *tm, int64_t *ns, struct zone *z)
{
	const char *p = isdigit((unsigned char)*s) ? strptime(s, "%H:%M", tm) : NULL;

	if (p && *p == ':')
		p = strptime(p, ":%S", tm);
	return p ? read_zone(read_fraction(p, ns), z) : NULL;
}

static void broken_down(int64_t ns, bool utc, struct tm *tm)
{
	time_t s = (time_t)(ns / (int64_t)NS_PER_SEC);

	if (utc)
		gmtime_r(&s, tm);
	else
		localtime_r(&s, tm);
}

/* The day's beginning: "2026-11-20", "yesterday"; where none is said, today's. NULL: there is no such day. */
static const char *read_day(const char *s, int64_t now, bool utc, struct tm *tm)
{
	static const char *const words[] = {"yesterday", "today", "tomorrow"};
	struct tm day = {.tm_mday = 1}, back;
	const char *p = strptime(s, "%Y-%m-%d", &day);
	size_t n = letters(s);

	if (p) {
		back = day;
		timegm(&back);
		*tm = day;
		/* 30 February */
		return back.tm_mday == day.tm_mday ? p : NULL;
	}
	broken_down(now, utc, tm);
	tm->tm_hour = tm->tm_min = tm->tm_sec = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		if (!is_word(s, n, words[i]))
			continue;
		tm->tm_mday += (int)i - 1;
		return s + n;
	}
	return n ? NULL : s;
}

static int date_time(const char *s, int64_t now, bool utc, int64_t *out)
{
	struct zone z = {.given = utc};
	struct tm tm;
	const char *p = read_day(s, now, utc, &tm);
	int64_t ns = 0, sec;

	if (p && p != s && *p && (*p != ' ' && *p != 'T'))
		return ERR_INVAL;
	if (p && *p)
		p = read_clock(p + (p != s), &tm, &ns, &z);
	if (!p || *p || p == s || tm.tm_sec > 59)
		return ERR_INVAL;
	tm.tm_isdst = -1;
	sec = z.given ? (int64_t)timegm(&tm) - z.east : (int64_t)mktime(&tm);
	if (sec < 0 || sec > SECONDS_MAX) /* ns cannot count far ones */
		return ERR_INVAL;
	*out = MAX(sec * (int64_t)NS_PER_SEC + ns, INT64_C(1)); /* 0: no bound */
	return 0;
}

int history_time(const char *s, int64_t now, bool utc, int64_t *out)
{
	s = skip_blanks(s);
	if (!strcasecmp(s, "now")) {
		*out = now;
		return 0;
	}
	return read_ago(s, now, out) || read_seconds(s, out) ? 0 : date_time(s, now, utc, out);
}

void history_time_text(int64_t t, bool utc, char *buf, size_t size)
{
	struct tm tm;
	size_t n;

	broken_down(t, utc, &tm);
	n = strftime(buf, size, "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(buf + n, size - n, ".%06u", (unsigned)(t % (int64_t)NS_PER_SEC / 1000));
}
