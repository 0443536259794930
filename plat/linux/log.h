/* SPDX-License-Identifier: ISC */
/* log.h: where plat_log()'s lines go, for the hosted programs. Call before threads start. */
#ifndef PLAT_LINUX_LOG_H
#define PLAT_LINUX_LOG_H

#include "plat/plat.h"

/* Lines of a lower importance than level are dropped; at first LOG_INFO, or what the environment
 * variable VIGIA_LOG (error, warn, info, debug) says. */
void plat_log_set_level(enum log_level level);
/* A VM's name to show before each line; copied; NULL: none. */
void plat_log_set_name(const char *name);
/* Takes every line of the wanted levels instead of stderr. NULL: stderr again. Any thread calls it;
 * line: terminated, without newline, valid during the call. */
void plat_log_set_hook(void (*hook)(void *arg, enum log_level level, const char *line), void *arg);
/* The default: one line on stderr, in colour if that is a terminal and NO_COLOR is not set. */
void plat_log_stderr(enum log_level level, const char *line);

#endif
