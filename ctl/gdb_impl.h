/* SPDX-License-Identifier: ISC */
/* gdb_impl.h: between gdb.c, the connection, and gdb_cmd.c, what is said on it. */
#ifndef CTL_GDB_IMPL_H
#define CTL_GDB_IMPL_H

#include "ctl/gdb.h"

/* gdb_cmd.c: the packet in g->in; the reply goes into g->out, which is open: an empty one says that we do
 * not know what was asked. */
void gdb_command(struct gdb *g);

/* Replies. Errors take the place of what was said before; numbers are errno's. */
void gdb_ok(struct gdb *g);
void gdb_error(struct gdb *g, int number);
void gdb_malformed(struct gdb *g); /* counted */
void gdb_put_stop(struct gdb *g);  /* who stopped last, and why */

/* Lets the guest go on; the reply comes when it stops. */
void gdb_resume(struct gdb *g, const struct debug_action *action);

#endif
