/* SPDX-License-Identifier: ISC */
/* release.h: memory that a start has needed, and the guest's run does not. */
#ifndef CTL_RELEASE_H
#define CTL_RELEASE_H

/* Once all is set up. Takes some microseconds; what is still needed comes back by itself. Any thread. */
void release_start(void);

#endif
