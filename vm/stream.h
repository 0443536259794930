/* SPDX-License-Identifier: ISC */
/* stream.h: the saved state: named, checksummed sections of named fields, little-endian. The format
 * is in doc/state-format.md. What is saved is a table of fields; the same table loads it.
 *
 * One thread uses a stream. Errors stick: after the first one all calls do nothing and give it
 * again, and why holds a line for people. Nothing in a file makes the reader allocate. */
#ifndef VM_STREAM_H
#define VM_STREAM_H

#include "base/crc32c.h"
#include "base/def.h"
#include "base/err.h"

#define STATE_VERSION     1
#define STATE_NAME        48         /* of a section, with its terminator */
#define STATE_SECTION_MAX (1u << 20) /* bytes of a section's body */
#define STATE_SECTIONS    1024       /* of a file */

enum st_type {
	ST_INT = 1, /* 1 2 4 8 bytes */
	ST_BOOL,    /* 0 or 1 */
	ST_TIME,    /* on plat_now()'s clock; kept relative to the moment of saving */
	ST_STAMP,   /* of the host's TSC, likewise */
	ST_OFFSET,  /* guest TSC minus host TSC; kept as the guest's TSC */
	ST_BYTES,
	ST_RECORD,
};

struct st_field {
	const char *name;
	uint32_t off;   /* in the object */
	uint8_t type;   /* enum st_type */
	uint8_t size;   /* bytes of an element */
	uint32_t count; /* elements */
	uint64_t max;   /* greatest value that is accepted; 0: any */
};

/* Fields of struct s. SV gives the greatest value that a file may hold, SA is an array. */
#define ST_F(s, m, t, lim) ST_NAMED(#m, s, m, t, lim)
#define ST_NAMED(name, s, m, t, lim)                                 \
	{                                                            \
		name, offsetof(s, m), t, sizeof(((s *)0)->m), 1, lim \
	}
#define ST_U(s, m)         ST_F(s, m, ST_INT, 0)
#define ST_UMAX(s, m, lim) ST_F(s, m, ST_INT, lim)
#define ST_B(s, m)         ST_F(s, m, ST_BOOL, 1)
#define ST_T(s, m)         ST_F(s, m, ST_TIME, 0)
#define ST_A(s, m)         ST_ARRAY(s, m, ST_INT, 0)
#define ST_ABOOL(s, m)     ST_ARRAY(s, m, ST_BOOL, 1)
#define ST_ARRAY(s, m, t, l)                                            \
	{                                                               \
#m, offsetof(s, m), t, sizeof(((s *)0)->m[0]),          \
			sizeof(((s *)0)->m) / sizeof(((s *)0)->m[0]), l \
	}
#define ST_RAW(s, m)                                                    \
	{                                                               \
#m, offsetof(s, m), ST_BYTES, 1, sizeof(((s *)0)->m), 0 \
	}

struct state_clock {
	uint64_t ns;       /* plat_now() */
	uint64_t tsc;      /* of the host */
	uint64_t realtime; /* plat_realtime() */
};

struct state_io {
	int (*write)(void *ctx, const void *buf, size_t len); /* all of it, or ERR_* */
	/* All of it, or ERR_*; ERR_FORMAT where the file is shorter. */
	int (*read)(void *ctx, void *buf, size_t len);
};

struct state_stream {
	const struct state_io *io;
	void *ctx;
	bool loading;
	struct state_clock clock; /* of this moment: saving or loading */
	int err;
	char why[200];

	char section[STATE_NAME]; /* the present one; "": between sections */
	uint32_t version;         /* of the section */
	uint32_t sections;        /* so far */
	uint8_t *buf;             /* its body */
	uint32_t len, pos;
};

/* Takes the time and allocates the section's buffer. Saving writes the file's header, loading reads
 * and checks it. */
int state_open(struct state_stream *st, const struct state_io *io, void *ctx,
	       bool loading) attr_must_check;
void state_close(struct state_stream *st);

/* Saving: a section from begin to end. */
void state_begin(struct state_stream *st, const char *name, uint32_t version);
int state_end(struct state_stream *st);
/* The last section: what lacks it is no complete state. */
int state_finish(struct state_stream *st);

/* Loading: reads and verifies the next section; st->section names it, "end" is the last. */
int state_next(struct state_stream *st) attr_must_check;
/* The present section must have this name and at most this version. */
int state_expect(struct state_stream *st, const char *name, uint32_t version);
/* All of the present section has been read. */
int state_leave(struct state_stream *st);

/* A record: its name, its index among those of that name, its fields. Loading, what the table has
 * must be there, in its order; fields may be left out from the end of a record of an older section
 * version only by the caller's using a shorter table. */
int st_save(struct state_stream *st, const char *record, uint32_t index,
	    const struct st_field *fields, unsigned n, const void *obj);
int st_load(struct state_stream *st, const char *record, uint32_t index,
	    const struct st_field *fields, unsigned n, void *obj);
/* The one or the other, by st->loading. */
int st_sync(struct state_stream *st, const char *record, uint32_t index,
	    const struct st_field *fields, unsigned n, void *obj);
#define ST_SYNC(st, record, index, fields, obj) \
	st_sync(st, record, index, fields, ARRAY_SIZE(fields), obj)

/* Bytes of any length up to a section's. get: *len holds the room, then the length. */
int st_put_bytes(struct state_stream *st, const char *name, const void *buf, uint32_t len);
int st_get_bytes(struct state_stream *st, const char *name, void *buf, uint32_t *len);

/* Notes an error of the caller's; the first one stays. Gives it back. */
int state_fail(struct state_stream *st, int err, const char *fmt, ...) attr_printf(3, 4);

uint64_t state_host_tsc(void);

#endif
