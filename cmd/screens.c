/* SPDX-License-Identifier: ISC */
/* screens.c: the pictures of a screen that a history has, as files. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cmd/report.h"
#include "monitor/core.h"

struct album {
	const char *folder;
	unsigned n;
	int error; /* errno */
};

static void put_picture(void *arg, const struct history_row *r)
{
	struct album *a = arg;
	time_t s = (time_t)(r->t / (int64_t)NS_PER_SEC);
	char path[4096], when[32] = "";
	struct tm tm;
	FILE *f;

	if (a->error || r->op != CONSOLE_SCREEN || !r->text)
		return;
	if (gmtime_r(&s, &tm))
		strftime(when, sizeof(when), "%Y%m%dT%H%M%S", &tm);
	if (snprintf(path, sizeof(path), "%s/%" PRId64 "-%s.png", a->folder, r->seq, when) >=
	    (int)sizeof(path)) {
		a->error = ENAMETOOLONG;
		return;
	}
	f = fopen(path, "we");
	if (!f || fwrite(r->text, 1, r->len, f) != r->len)
		a->error = errno;
	if (f && fclose(f))
		a->error = errno;
	a->n++;
}

int report_screens(sqlite3 *db, const struct history_filter *f, const char *folder, struct msg *msg)
{
	struct history_filter pictures = *f;
	struct album a = {folder, 0, 0};
	char err[300] = "";
	int e;

	if (mkdir(folder, 0777) && errno != EEXIST)
		return msg_fail(msg, ERR_ACCES, "--screens %s: %s", folder, strerror(errno));
	pictures.cls = "console";
	e = history_each(db, &pictures, put_picture, &a, err, sizeof(err));
	if (e)
		return msg_fail(msg, e, "%s", err);
	if (a.error)
		return msg_fail(msg, ERR_IO, "--screens %s: %s", folder, strerror(a.error));
	printf("%u pictures\n", a.n);
	return 0;
}
