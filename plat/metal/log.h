/* SPDX-License-Identifier: ISC */
/* log.h: where messages go on bare metal. */
#ifndef PLAT_METAL_LOG_H
#define PLAT_METAL_LOG_H

#include "plat/plat.h"

/* Each message, as one line without its end. Before this is set they are lost. */
void log_set_sink(void (*fn)(enum log_level level, const char *line));
/* What plat_bug() does in the end. */
void log_set_panic(void (*fn)(const char *text));

#endif
