/* SPDX-License-Identifier: ISC */
/* pcap.c: recorded frames as a capture file (pcapng, draft-ietf-opsawg-pcapng), which Wireshark and
 * tcpdump read. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd/report.h"
#include "monitor/core.h"

enum { SECTION = 0x0a0d0d0a, INTERFACE = 1, PACKET = 6 };
enum { ETHERNET = 1, OPT_TSRESOL = 9, OPT_FLAGS = 2 };

struct capture {
	FILE *f;
	uint64_t n;
};

static void put16(FILE *f, unsigned v)
{
	putc((int)(v & 0xff), f);
	putc((int)(v >> 8 & 0xff), f);
}

static void put32(FILE *f, uint32_t v)
{
	put16(f, v & 0xffff);
	put16(f, v >> 16);
}

static void put_heads(FILE *f)
{
	put32(f, SECTION);
	put32(f, 28);
	put32(f, 0x1a2b3c4d); /* the order of bytes */
	put16(f, 1);
	put16(f, 0);
	put32(f, UINT32_MAX); /* the section's length is not told */
	put32(f, UINT32_MAX);
	put32(f, 28);

	put32(f, INTERFACE);
	put32(f, 32);
	put16(f, ETHERNET);
	put16(f, 0);
	put32(f, 0); /* no limit of a frame's length */
	put16(f, OPT_TSRESOL);
	put16(f, 1);
	put32(f, 9); /* nanoseconds */
	put32(f, 0);
	put32(f, 32);
}

static void put_frame(void *arg, const struct history_row *r)
{
	struct capture *c = arg;
	uint32_t pad, total;

	if (r->cls != MON_NET || (r->op != NET_SEND && r->op != NET_RECEIVE) || !r->text || !r->len)
		return;
	pad = (uint32_t)(-r->len & 3);
	total = 32 + (uint32_t)r->len + pad + 12;
	put32(c->f, PACKET);
	put32(c->f, total);
	put32(c->f, 0); /* the interface */
	put32(c->f, (uint32_t)((uint64_t)r->t >> 32));
	put32(c->f, (uint32_t)r->t);
	put32(c->f, (uint32_t)r->len);
	put32(c->f, (uint32_t)MAX((uint64_t)r->size, (uint64_t)r->len));
	fwrite(r->text, 1, r->len, c->f);
	fwrite("\0\0\0", 1, pad, c->f);
	put16(c->f, OPT_FLAGS);
	put16(c->f, 4);
	put32(c->f, r->op == NET_SEND ? 2 : 1); /* outbound, inbound */
	put32(c->f, 0);
	put32(c->f, total);
	c->n++;
}

int report_pcap(sqlite3 *db, const struct history_filter *f, const char *path, struct msg *msg)
{
	struct history_filter frames = *f;
	struct capture c = {fopen(path, "we"), 0};
	char err[300] = "";
	int e;

	if (!c.f)
		return msg_fail(msg, ERR_ACCES, "--pcap %s: %s", path, strerror(errno));
	frames.cls = "net";
	put_heads(c.f);
	e = history_each(db, &frames, put_frame, &c, err, sizeof(err));
	if (fclose(c.f) && !e)
		return msg_fail(msg, ERR_IO, "--pcap %s: cannot be written", path);
	if (e)
		return msg_fail(msg, e, "%s", err);
	if (!c.n)
		fprintf(stderr, "vigia: no frames: record them first: vigia history NAME --record "
				"net=full\n");
	return 0;
}
