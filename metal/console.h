/* SPDX-License-Identifier: ISC */
/* console.h: one serial port and screen for all: the shell and each VM's console. */
#ifndef METAL_CONSOLE_H
#define METAL_CONSOLE_H

#include "base/def.h"
#include "base/err.h"
#include "metal/acpi.h"

struct chr;

/* From then on messages go here. Before the scheduler's other threads. */
void console_init(const struct acpi_info *acpi);
/* Reads keys, for ever: a thread's function. line: what was typed into the shell. */
attr_noreturn void console_run(void (*line)(char *text));

/* A VM's console, for its serial port; lives for ever, VMs come and go. */
int console_add(const char *name, struct chr **out) attr_must_check;
/* Whose keys and output the port has from now on; NULL: the shell's. False: no VM of that name. */
bool console_focus(const char *name);
/* In the shell, whether lines of the VMs are shown, too, each behind its VM's name. */
void console_watch(bool on);
/* The shell's output. */
void console_print(const char *fmt, ...) attr_printf(1, 2);
void console_show_log(void);

#endif
