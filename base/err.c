/* SPDX-License-Identifier: ISC */
/* err.c: what error codes mean, in words. Any thread. */
#include "base/err.h"

static const char *const err_text[] = {
	[0] = "no error",
	[-ERR_NOMEM] = "out of memory",
	[-ERR_INVAL] = "invalid argument",
	[-ERR_NOENT] = "not found",
	[-ERR_EXIST] = "exists already",
	[-ERR_IO] = "input/output error on the host",
	[-ERR_NOSPC] = "no space left on the host's disk",
	[-ERR_ACCES] = "permission denied by the host",
	[-ERR_FORMAT] = "wrong format",
	[-ERR_NOSYS] = "not supported",
	[-ERR_BUSY] = "in use",
	[-ERR_AGAIN] = "not ready, try again later",
	[-ERR_RANGE] = "out of range",
	[-ERR_ROFS] = "read-only",
	[-ERR_TIMEOUT] = "timed out",
};

const char *err_str(int err)
{
	/* Of positive values and unknown codes nothing is known, INT_MIN included. */
	if (err > 0 || err <= -(int)ARRAY_SIZE(err_text))
		return "unknown error";
	return err_text[-err];
}

/* The platform's message code overrides it with one that can log; freestanding tests of a single
 * library do without. */
__attribute__((weak)) int err_trace(int err, const char *file, int line)
{
	(void)file;
	(void)line;
	return err;
}
