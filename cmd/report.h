/* SPDX-License-Identifier: ISC */
/* report.h: a history as one page for a browser, and its frames as a capture file. */
#ifndef CMD_REPORT_H
#define CMD_REPORT_H

#include "ctl/msg.h"
#include "history/query.h"

/* One HTML file that needs nothing else. */
int report_html(sqlite3 *db, const char *name, const char *path, struct msg *msg);
/* Pictures of the screen, into a folder. */
int report_screens(sqlite3 *db, const struct history_filter *f, const char *folder,
		   struct msg *msg);
/* Frames that were recorded in full (--record net=full), as pcapng. */
int report_pcap(sqlite3 *db, const struct history_filter *f, const char *path, struct msg *msg);

#endif
