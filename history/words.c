/* SPDX-License-Identifier: ISC */
/* words.c: a record as a line of text. The file is hostile, and so was the guest: what comes out are printable
 * characters, in their order. Pure functions. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "history/query.h"
#include "monitor/core.h"

/* Controls of terminals, C1's too, and what makes a line look like another one: invisible characters, and those that
 * turn the direction (Unicode, chapter 23.2; UAX 9). */
static bool is_control(uint32_t c)
{
	static const struct {
		uint32_t from, to;
	} rows[] = {{0, 0x1f},        {0x7f, 0x9f},     {0xad, 0xad},      {0x61c, 0x61c},
		    {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f},  {0xfeff, 0xfeff},
		    {0xfff0, 0xfffb}, {0xe000, 0xf8ff}, {0xe0000, 0xe0fff}};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if (c >= rows[i].from && c <= rows[i].to)
			return true;
	return false;
}

void history_printable(char *s, bool ascii)
{
	size_t left = strlen(s);
	unsigned len;

	for (; left; s += len, left -= len) {
		uint32_t c = 0;

		len = str_utf8(s, left, &c);
		if (len == 1 && (c == '\n' || c == '\r' || c == '\t'))
			*s = ' ';
		else if (!len || is_control(c) || (ascii && len > 1))
			memset(s, '.', len = len ? len : 1);
	}
}

static int describe_disk(const struct history_row *r, char *s, size_t n)
{
	if (r->verdict & MON_R_COUNTED)
		return snprintf(s, n, "%" PRId64 " more, %" PRId64 " bytes", r->count, r->sum);
	return snprintf(s, n,
			"disk%" PRId64 " %" PRId64 " bytes at sector %" PRIu64 ", %" PRIu64 " us%s",
			r->size, r->value, (uint64_t)r->addr / 512, (uint64_t)r->sum / 1000,
			r->result ? ", failed" : "");
}

static int describe_register(const struct history_row *r, char *s, size_t n)
{
	int k;

	if (r->addr == -1)
		k = snprintf(s, n, "others");
	else
		k = snprintf(s, n, "0x%" PRIx64 " = 0x%" PRIx64, (uint64_t)r->addr,
			     (uint64_t)r->value);
	if (r->count > 1 && k < (int)n)
		k += snprintf(s + k, n - (size_t)k, "  (%" PRId64 " times)", r->count);
	return k;
}

static int describe_cpu(const struct history_row *r, char *s, size_t n)
{
	int k;

	if (r->op == CPU_SHARE && r->text)
		return snprintf(s, n, "%s", r->text);
	if ((r->op == CPU_SPACE || r->op == CPU_USER) && r->verdict & MON_R_COUNTED)
		return snprintf(s, n, "root 0x%" PRIx64 ": %" PRId64 " times, %" PRId64 " us",
				(uint64_t)r->addr, r->count, r->sum / 1000);
	k = snprintf(s, n, "= 0x%" PRIx64, (uint64_t)r->value);
	if (r->count > 1 && k < (int)n)
		k += snprintf(s + k, n - (size_t)k, "  (%" PRId64 " times)", r->count);
	return k;
}

static int describe_life(const struct history_row *r, char *s, size_t n)
{
	static const char *const modes[] = {"real mode", "protected mode without paging",
					    "protected mode with paging", "long mode"};

	if (r->op == LIFE_MODE)
		return r->count == 1 ? snprintf(s, n, "%s", modes[r->addr & 3])
				     : snprintf(s, n, "%s  (%" PRId64 " times)", modes[r->addr & 3],
						r->count);
	if (r->op == LIFE_RULES)
		return snprintf(s, n, "from line %" PRId64 ": %.*s", r->value, (int)MIN(r->len, n),
				r->text ? r->text : "");
	return snprintf(s, n, "%.*s", (int)MIN(r->len, n), r->text ? r->text : "");
}

static int describe_bytes(const struct history_row *r, char *s, size_t n)
{
	return snprintf(s, n, "%" PRId64 " bytes%s", r->verdict & MON_R_COUNTED ? r->sum : r->value,
			r->count > 1 ? " in all" : "");
}

static int describe_console(const struct history_row *r, char *s, size_t n)
{
	if (r->frame)
		return snprintf(s, n, "%u x %u, a picture of %zu bytes",
				(unsigned)((uint64_t)r->value >> 32), (unsigned)r->value, r->len);
	if (!r->text)
		return snprintf(s, n, "%" PRId64 " bytes",
				r->verdict & MON_R_COUNTED ? r->sum : r->value);
	return snprintf(s, n, "%.*s", (int)MIN(r->len, n), r->text);
}

#define MAC_FORMAT "%02x:%02x:%02x:%02x:%02x:%02x"
#define MAC_OF(v)                                                                              \
	(unsigned)((v) >> 40 & 255), (unsigned)((v) >> 32 & 255), (unsigned)((v) >> 24 & 255), \
		(unsigned)((v) >> 16 & 255), (unsigned)((v) >> 8 & 255), (unsigned)((v)&255)

/* Its card is said where it is not the first. */
static int describe_net(const struct history_row *r, char *s, size_t n)
{
	int64_t card = r->op == NET_RECEIVE || r->op == NET_SEND ? r->sum : r->size;
	int k = 0;

	if (card > 0 && !(r->verdict & MON_R_COUNTED))
		k = snprintf(s, n, "net%" PRId64 "  ", card);
	s += k;
	n -= (size_t)k;
	if (r->text && r->op == NET_FLOW_CLOSE)
		return k + snprintf(s, n,
				    "%s  %" PRId64 " packets, %" PRId64 " bytes out, %" PRId64
				    " in",
				    r->text, r->count, r->value, r->sum);
	if (r->verdict & MON_R_COUNTED)
		return k + snprintf(s, n, "%" PRId64 " more, %" PRId64 " bytes", r->count, r->sum);
	if (r->frame)
		return k + snprintf(s, n,
				    "%" PRId64 " bytes from " MAC_FORMAT " to " MAC_FORMAT
				    ", type 0x%04x",
				    r->size, MAC_OF(r->value), MAC_OF(r->addr),
				    (unsigned)((uint64_t)r->value >> 48));
	return k + snprintf(s, n, "%s", r->text ? r->text : "");
}

const char *history_op_name(int64_t cls, int64_t op)
{
	return cls >= 0 && cls < MON_CLASSES && op >= 0 && op < 256
		       ? schema_op_name((uint8_t)cls, (uint8_t)op)
		       : "";
}

void history_describe(const struct history_row *r, char *s, size_t n)
{
	static const char *const verdicts[] = {"", "  REDIRECTED", "  DENIED", ""};
	int k;

	switch (r->cls) {
	case MON_DISK:
		k = describe_disk(r, s, n);
		break;
	case MON_NET:
		k = describe_net(r, s, n);
		break;
	case MON_CPU:
		k = describe_cpu(r, s, n);
		break;
	case MON_CONSOLE:
		k = describe_console(r, s, n);
		break;
	case MON_LIFECYCLE:
		k = describe_life(r, s, n);
		break;
	case MON_ENTROPY:
		k = describe_bytes(r, s, n);
		break;
	case MON_OPERATOR:
	case MON_TIME:
	case MON_MEMORY:
	case MON_DEVICE:
		k = snprintf(s, n, "%.*s", (int)MIN(r->len, n), r->text ? r->text : "");
		break;
	default:
		k = describe_register(r, s, n);
	}
	if (k < (int)n && r->rule)
		k += snprintf(s + k, n - (size_t)k, "%s by line %" PRId64, verdicts[r->verdict & 3],
			      r->rule);
	history_printable(s, false);
}
