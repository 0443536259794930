/* SPDX-License-Identifier: ISC */
/* tty.h: the terminal of the process in raw mode, and back on every way out. */
#ifndef PLAT_LINUX_TTY_H
#define PLAT_LINUX_TTY_H

#include "plat/plat.h"

/* Puts the terminal fd into raw mode (output keeps turning \n into \r\n) and sees that it comes back:
 * at exit(), and on every fatal or stopping signal that has its default action at the time of the
 * call; SIGCONT makes it raw again. Who installs handlers of his own for such signals later calls
 * plat_tty_restore() where they end the process. One terminal at a time: ERR_BUSY.
 * 0 also where the process is in the background: the terminal is left alone until it is not. */
int plat_tty_raw(int fd) attr_must_check;
/* Gives the terminal back. Safe in signal handlers, any number of times, in any thread. */
void plat_tty_restore(void);
/* Raw again, after plat_tty_restore(), for another plat_tty_raw() or for good. */
void plat_tty_release(void);
/* False: reading it now would stop the process (it is in the background). */
bool plat_tty_in_foreground(int fd);

#endif
