/* SPDX-License-Identifier: ISC */
/* gdb_packet.c: frames and texts of gdb's remote serial protocol. No state but its arguments'. */
#include "ctl/gdb_packet.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

/* ---- in --------------------------------------------------------------------------------------- */

static enum gdb_event between(struct gdb_in *in, uint8_t c)
{
	switch (c) {
	case '$':
		in->state = GDB_TEXT;
		in->len = 0;
		in->sum = 0;
		in->too_long = false;
		return GDB_MORE;
	case '+':
		return GDB_ACK;
	case '-':
		return GDB_NAK;
	case 3:
		return GDB_INTERRUPT;
	default:
		return GDB_BAD;
	}
}

static void text_byte(struct gdb_in *in, uint8_t c)
{
	if (in->len == GDB_PACKET_MAX)
		in->too_long = true;
	else
		in->text[in->len++] = (char)c;
}

enum gdb_event gdb_in_byte(struct gdb_in *in, uint8_t c)
{
	int digit = hex_digit((char)c);

	switch (in->state) {
	case GDB_BETWEEN:
		return between(in, c);
	case GDB_TEXT:
		if (c == '#') {
			in->state = GDB_SUM1;
			return GDB_MORE;
		}
		if (c == '$') { /* the rest of the last one was lost */
			between(in, c);
			return GDB_BAD;
		}
		in->sum = (uint8_t)(in->sum + c);
		if (c == '}')
			in->state = GDB_ESCAPE;
		else
			text_byte(in, c);
		return GDB_MORE;
	case GDB_ESCAPE:
		in->sum = (uint8_t)(in->sum + c);
		in->state = GDB_TEXT;
		text_byte(in, c ^ 0x20);
		return GDB_MORE;
	case GDB_SUM1:
		in->want = (uint8_t)((unsigned)digit << 4);
		in->state = digit < 0 ? GDB_BETWEEN : GDB_SUM2;
		return digit < 0 ? GDB_BAD : GDB_MORE;
	case GDB_SUM2:
		in->state = GDB_BETWEEN;
		in->want |= (uint8_t)digit;
		in->text[in->len] = 0;
		return digit < 0 || in->want != in->sum || in->too_long ? GDB_BAD : GDB_PACKET;
	}
	return GDB_BAD;
}

/* ---- texts ------------------------------------------------------------------------------------ */

bool gdb_take(struct gdb_text *t, char c)
{
	if (t->p == t->end || *t->p != c)
		return false;
	t->p++;
	return true;
}

bool gdb_take_word(struct gdb_text *t, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(t->end - t->p) < n || memcmp(t->p, word, n))
		return false;
	t->p += n;
	return true;
}

bool gdb_take_hex(struct gdb_text *t, uint64_t *v)
{
	unsigned n = 0;

	*v = 0;
	while (t->p < t->end && hex_digit(*t->p) >= 0) {
		if (++n > 16)
			return false;
		*v = *v << 4 | (uint64_t)hex_digit(*t->p++);
	}
	return n;
}

bool gdb_take_bytes(struct gdb_text *t, uint8_t *buf, size_t n)
{
	if ((size_t)(t->end - t->p) < 2 * n)
		return false;
	for (; n; n--, t->p += 2) {
		int hi = hex_digit(t->p[0]), lo = hex_digit(t->p[1]);

		if (hi < 0 || lo < 0)
			return false;
		*buf++ = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

/* ---- out -------------------------------------------------------------------------------------- */

void gdb_begin(struct gdb_out *o)
{
	o->buf[0] = '$';
	o->len = 1;
	o->sum = 0;
	o->full = false;
}

static void put_raw(struct gdb_out *o, char c)
{
	o->buf[o->len++] = c;
	o->sum = (uint8_t)(o->sum + (uint8_t)c);
}

void gdb_put(struct gdb_out *o, const void *bytes, size_t n)
{
	const char *p = bytes;

	for (; n; n--, p++) {
		bool special = memchr("$#}*", *p, 4);

		if (o->len + 5 > sizeof(o->buf)) {
			o->full = true;
			return;
		}
		if (special)
			put_raw(o, '}');
		put_raw(o, special ? *p ^ 0x20 : *p);
	}
}

void gdb_puts(struct gdb_out *o, const char *s)
{
	gdb_put(o, s, strlen(s));
}

void gdb_put_hex(struct gdb_out *o, const void *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *p = bytes;

	for (; n; n--, p++)
		gdb_put(o, (char[]){digits[*p >> 4], digits[*p & 15]}, 2);
}

void gdb_printf(struct gdb_out *o, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	gdb_puts(o, text);
}

void gdb_end(struct gdb_out *o)
{
	o->len += (size_t)snprintf(o->buf + o->len, 4, "#%02x", o->sum);
}
