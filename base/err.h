/* SPDX-License-Identifier: ISC */
/* err.h: error codes. Functions that can fail return 0 or one of these, negative. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/def.h"

enum err {
	ERR_NOMEM = -1,  /* out of memory or of a fixed-size resource */
	ERR_INVAL = -2,  /* an argument is out of its range */
	ERR_NOENT = -3,  /* no such thing */
	ERR_EXIST = -4,  /* is there already; overlaps */
	ERR_IO = -5,     /* the host's device failed */
	ERR_NOSPC = -6,  /* the host's disk is full: try again when there is room */
	ERR_ACCES = -7,  /* the host refuses */
	ERR_FORMAT = -8, /* the data is not of the format it claims */
	ERR_NOSYS = -9,  /* not supported here */
	ERR_BUSY = -10,  /* in use */
	ERR_AGAIN = -11, /* nothing now, later perhaps */
	ERR_RANGE = -12, /* outside of the object */
	ERR_ROFS = -13,  /* read-only */
	ERR_TIMEOUT = -14,
};

/* One short English phrase for a code, for messages. Never NULL. */
const char *err_str(int err);

/* Gives back err, unchanged; where tracing is on, logs where an error was born. */
int err_trace(int err, const char *file, int line);
#define err_here(err) err_trace((err), __FILE__, __LINE__)

#endif
