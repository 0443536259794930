/* SPDX-License-Identifier: ISC */
/* serial.h: COM1 of the machine itself. */
#ifndef METAL_SERIAL_H
#define METAL_SERIAL_H

#include "base/def.h"

void serial_init(void);
/* Waits until it is out; a port that is not there swallows it. Any CPU, panics too. */
void serial_write(const char *buf, size_t len);
/* -1: nothing has come. */
int serial_read(void);
/* Lets input interrupt. */
void serial_enable_irq(void);

#endif
