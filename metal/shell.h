/* SPDX-License-Identifier: ISC */
/* shell.h: commands of whoever sits at the console. */
#ifndef METAL_SHELL_H
#define METAL_SHELL_H

/* Carries out one line; changes text. The console's thread. */
void shell_line(char *text);

#endif
