/* SPDX-License-Identifier: ISC */
/* gdb_packet.h: the frames of gdb's remote serial protocol (GDB manual, appendix E): $text#sum, and
 * their text. What comes from the other side is taken as hostile. */
#ifndef CTL_GDB_PACKET_H
#define CTL_GDB_PACKET_H

#include "base/def.h"

#define GDB_PACKET_MAX 16384u /* bytes of text, either way */

enum gdb_event {
	GDB_MORE,      /* nothing complete yet */
	GDB_PACKET,    /* text, len */
	GDB_INTERRUPT, /* Ctrl-C */
	GDB_ACK,
	GDB_NAK,
	GDB_BAD, /* a packet whose sum is wrong, or too long, or bytes between packets */
};

struct gdb_in {
	enum { GDB_BETWEEN, GDB_TEXT, GDB_ESCAPE, GDB_SUM1, GDB_SUM2 } state;
	bool too_long;
	uint8_t sum, want;
	size_t len;
	char text[GDB_PACKET_MAX + 1]; /* unescaped; terminated, may hold zeros */
};

enum gdb_event gdb_in_byte(struct gdb_in *in, uint8_t c);

/* A reader over a packet's text. Each function moves behind what it took; false: it is not there. */
struct gdb_text {
	const char *p, *end;
};
bool gdb_take(struct gdb_text *t, char c);
bool gdb_take_word(struct gdb_text *t, const char *word);
bool gdb_take_hex(struct gdb_text *t, uint64_t *v);              /* 1 to 16 digits */
bool gdb_take_bytes(struct gdb_text *t, uint8_t *buf, size_t n); /* 2 digits each */
static inline bool gdb_at_end(const struct gdb_text *t)
{
	return t->p == t->end;
}

/* A packet under construction. */
struct gdb_out {
	uint8_t sum;
	bool full; /* something was left out */
	size_t len;
	char buf[2 * GDB_PACKET_MAX + 8]; /* with frame and escapes */
};
void gdb_begin(struct gdb_out *o);
void gdb_put(struct gdb_out *o, const void *bytes, size_t n); /* escapes */
void gdb_puts(struct gdb_out *o, const char *s);
void gdb_put_hex(struct gdb_out *o, const void *bytes, size_t n);
void gdb_printf(struct gdb_out *o, const char *fmt, ...) attr_printf(2, 3); /* short texts */
void gdb_end(struct gdb_out *o);

#endif
