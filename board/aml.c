/* SPDX-License-Identifier: ISC */
/* aml.c: an ACPI machine language writer (ACPI 6.4, sections 6.4 and 20). Used at creation only. */
#include "board/aml.h"

#include "base/str.h"

enum {
	OP_NAME = 0x08,
	OP_BYTE = 0x0a,
	OP_WORD = 0x0b,
	OP_DWORD = 0x0c,
	OP_STRING = 0x0d,
	OP_QWORD = 0x0e,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_METHOD = 0x14,
	OP_EXT = 0x5b,
	OP_EXT_DEVICE = 0x82,
	OP_NOTIFY = 0x86,
};

void aml_bytes(struct aml *a, const void *p, size_t n)
{
	if (n > a->size - a->len) {
		a->overflow = true;
		return;
	}
	memcpy(a->buf + a->len, p, n);
	a->len += n;
}

static void aml_byte(struct aml *a, uint8_t b)
{
	aml_bytes(a, &b, 1);
}

void aml_le(struct aml *a, unsigned bytes, uint64_t value)
{
	for (unsigned i = 0; i < bytes; i++)
		aml_byte(a, (uint8_t)(value >> (8 * i)));
}

void aml_int(struct aml *a, uint64_t value)
{
	if (value <= 1) {
		aml_byte(a, (uint8_t)value); /* ZeroOp, OneOp */
	} else if (value <= 0xff) {
		aml_byte(a, OP_BYTE);
		aml_le(a, 1, value);
	} else if (value <= 0xffff) {
		aml_byte(a, OP_WORD);
		aml_le(a, 2, value);
	} else if (value <= 0xffffffff) {
		aml_byte(a, OP_DWORD);
		aml_le(a, 4, value);
	} else {
		aml_byte(a, OP_QWORD);
		aml_le(a, 8, value);
	}
}

void aml_string(struct aml *a, const char *s)
{
	aml_byte(a, OP_STRING);
	aml_bytes(a, s, str_len(s) + 1);
}

void aml_eisaid(struct aml *a, const char *id)
{
	/* Three letters of five bits and four hexadecimal digits, big-endian (6.1.5). */
	uint32_t v = (uint32_t)(id[0] - 0x40) << 26 | (uint32_t)(id[1] - 0x40) << 21 |
		     (uint32_t)(id[2] - 0x40) << 16;

	for (unsigned i = 0; i < 4; i++)
		v |= (uint32_t)hex_digit(id[3 + i]) << (12 - 4 * i);
	aml_byte(a, OP_DWORD);
	aml_le(a, 4, __builtin_bswap32(v));
}

void aml_name(struct aml *a, const char *name)
{
	aml_byte(a, OP_NAME);
	aml_bytes(a, name, 4);
}

/* Package lengths are written in their three-byte form, so that they can be filled in later. */
static size_t open_length(struct aml *a)
{
	size_t mark = a->len;

	aml_le(a, 3, 0);
	return mark;
}

void aml_close(struct aml *a, size_t mark)
{
	size_t n = a->len - mark;

	if (a->overflow)
		return;
	a->buf[mark] = (uint8_t)(0x80 | (n & 15)); /* two more bytes, low nibble here */
	a->buf[mark + 1] = (uint8_t)(n >> 4);
	a->buf[mark + 2] = (uint8_t)(n >> 12);
}

size_t aml_open_scope(struct aml *a, const char *path)
{
	size_t mark;

	aml_byte(a, OP_SCOPE);
	mark = open_length(a);
	aml_bytes(a, path, str_len(path));
	return mark;
}

size_t aml_open_device(struct aml *a, const char *name)
{
	size_t mark;

	aml_byte(a, OP_EXT);
	aml_byte(a, OP_EXT_DEVICE);
	mark = open_length(a);
	aml_bytes(a, name, 4);
	return mark;
}

size_t aml_open_package(struct aml *a, uint8_t elements)
{
	size_t mark;

	aml_byte(a, OP_PACKAGE);
	mark = open_length(a);
	aml_byte(a, elements);
	return mark;
}

size_t aml_open_method(struct aml *a, const char *name)
{
	size_t mark;

	aml_byte(a, OP_METHOD);
	mark = open_length(a);
	aml_bytes(a, name, 4);
	aml_byte(a, 0);
	return mark;
}

void aml_notify(struct aml *a, const char *path, uint8_t value)
{
	aml_byte(a, OP_NOTIFY);
	aml_bytes(a, path, str_len(path));
	aml_int(a, value);
}

void aml_buffer(struct aml *a, const void *p, size_t n)
{
	size_t mark;

	aml_byte(a, OP_BUFFER);
	mark = open_length(a);
	aml_int(a, n);
	aml_bytes(a, p, n);
	aml_close(a, mark);
}

void aml_res_io(struct aml *r, uint16_t base, uint8_t len)
{
	aml_byte(r, 0x47); /* I/O port descriptor, 7 bytes */
	aml_byte(r, 1);    /* decodes 16 bits */
	aml_le(r, 2, base);
	aml_le(r, 2, base);
	aml_byte(r, 1);
	aml_byte(r, len);
}

void aml_res_irq(struct aml *r, unsigned irq)
{
	aml_byte(r, 0x22); /* IRQ descriptor without flags */
	aml_le(r, 2, 1u << irq);
}

static void res_word_space(struct aml *r, uint8_t type, uint8_t flags, uint16_t first,
			   uint16_t last)
{
	aml_byte(r, 0x88);
	aml_le(r, 2, 13);
	aml_byte(r, type);
	aml_byte(r, 0x0c); /* minimum and maximum fixed, positive decode */
	aml_byte(r, flags);
	aml_le(r, 2, 0);
	aml_le(r, 2, first);
	aml_le(r, 2, last);
	aml_le(r, 2, 0);
	aml_le(r, 2, (uint64_t)last - first + 1);
}

void aml_res_dma(struct aml *r, unsigned channel)
{
	aml_le(r, 1, 0x2a);
	aml_le(r, 1, 1u << channel);
	aml_le(r, 1, 0);
}

void aml_res_bus(struct aml *r, uint16_t first, uint16_t last)
{
	res_word_space(r, 2, 0, first, last);
}

void aml_res_io_window(struct aml *r, uint16_t first, uint16_t last)
{
	res_word_space(r, 1, 3, first, last);
}

void aml_res_mem_window(struct aml *r, uint32_t first, uint32_t last)
{
	aml_byte(r, 0x87);
	aml_le(r, 2, 23);
	aml_byte(r, 0);
	aml_byte(r, 0x0c);
	aml_byte(r, 1); /* read-write, not cacheable */
	aml_le(r, 4, 0);
	aml_le(r, 4, first);
	aml_le(r, 4, last);
	aml_le(r, 4, 0);
	aml_le(r, 4, (uint64_t)last - first + 1);
}

void aml_res_mem_fixed(struct aml *r, uint32_t base, uint32_t len)
{
	aml_byte(r, 0x86);
	aml_le(r, 2, 9);
	aml_byte(r, 1);
	aml_le(r, 4, base);
	aml_le(r, 4, len);
}

void aml_res_end(struct aml *r)
{
	aml_byte(r, 0x79);
	aml_byte(r, 0);
}
