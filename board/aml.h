/* SPDX-License-Identifier: ISC */
/* aml.h: writes ACPI machine language (ACPI 6.4, section 20). A scope, device, package or buffer is
 * opened, filled and closed; a buffer that is too small only sets overflow. */
#ifndef BOARD_AML_H
#define BOARD_AML_H

#include "base/def.h"

struct aml {
	uint8_t *buf;
	size_t size, len;
	bool overflow;
};

void aml_bytes(struct aml *a, const void *p, size_t n);
void aml_le(struct aml *a, unsigned bytes, uint64_t value); /* little-endian field */
void aml_int(struct aml *a, uint64_t value);
void aml_string(struct aml *a, const char *s);
void aml_eisaid(struct aml *a, const char *id); /* "PNP0A03" */
/* Name(NAME, …): the object follows. name: four characters. */
void aml_name(struct aml *a, const char *name);

/* They return a mark for aml_close(). path: \-prefixed root or four characters. */
size_t aml_open_scope(struct aml *a, const char *path);
size_t aml_open_device(struct aml *a, const char *name);
size_t aml_open_package(struct aml *a, uint8_t elements);
size_t aml_open_method(struct aml *a, const char *name); /* without arguments */
void aml_close(struct aml *a, size_t mark);
/* Notify(path, value); path in the form of the byte code, as of aml_open_scope(). */
void aml_notify(struct aml *a, const char *path, uint8_t value);
/* A buffer object with the given contents. */
void aml_buffer(struct aml *a, const void *p, size_t n);

/* Resource descriptors for a _CRS buffer (section 6.4), appended to a plain aml used as storage. */
void aml_res_io(struct aml *r, uint16_t base, uint8_t len);
void aml_res_irq(struct aml *r, unsigned irq);     /* edge, active high, exclusive */
void aml_res_dma(struct aml *r, unsigned channel); /* 8 bits, at ISA's speed */
void aml_res_bus(struct aml *r, uint16_t first, uint16_t last);
void aml_res_io_window(struct aml *r, uint16_t first, uint16_t last);
void aml_res_mem_window(struct aml *r, uint32_t first, uint32_t last);
void aml_res_mem_fixed(struct aml *r, uint32_t base, uint32_t len);
void aml_res_end(struct aml *r);

#endif
