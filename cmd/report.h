/* SPDX-License-Identifier: ISC */
/* report.h: a history as one page for a browser, and its frames as a capture file. */
#ifndef CMD_REPORT_H
#define CMD_REPORT_H

#include <jansson.h>

#include "ctl/msg.h"
#include "history/query.h"

/* What is to be JSON: a text, with question marks for what is no UTF-8; a column, bytes as base64. Never NULL. */
json_t *report_text(const char *s, size_t n);
json_t *report_cell(sqlite3_stmt *st, int i);

/* One HTML file that needs nothing else. */
int report_html(sqlite3 *db, const char *name, const char *path, struct msg *msg);
/* Pictures of the screen, into a folder. */
int report_screens(sqlite3 *db, const struct history_filter *f, const char *folder,
		   struct msg *msg);
/* Frames that were recorded in full (--record net=full), as pcapng. */
int report_pcap(sqlite3 *db, const struct history_filter *f, const char *path, struct msg *msg);

#endif
