/* SPDX-License-Identifier: ISC */
/* policy_value.c: what single words of a rule mean: numbers, ranges, addresses, times of the day, shares. Pure
 * functions; any bytes may come in, which need not end with a zero. */
#include "base/str.h"
#include "monitor/policy_parse.h"

bool value_part(const char *s, uint32_t len, uint64_t *out, uint32_t *used)
{
	uint64_t v = 0;
	uint32_t i = 0, base = 10;

	if (len > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
		base = 16;
		i = 2;
	}
	for (*used = 0; i < len; i++) {
		char c = s[i] >= 'A' && s[i] <= 'F' ? (char)(s[i] | 0x20) : s[i];
		uint32_t d = c >= '0' && c <= '9'                 ? (uint32_t)(c - '0')
			     : base == 16 && c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
								  : 99;

		if (d == 99)
			break;
		if (v > (UINT64_MAX - d) / base)
			return false;
		v = v * base + d;
		*used = i + 1;
	}
	*out = v;
	return *used > 0;
}

bool value_number(const struct word *w, uint64_t *out)
{
	uint32_t used;

	return w->s && value_part(w->s, w->len, out, &used) && used == w->len;
}

/* N or N-M */
bool value_range(const struct word *w, uint64_t *lo, uint64_t *hi)
{
	uint32_t used, more;

	if (!w->s || !value_part(w->s, w->len, lo, &used))
		return false;
	*hi = *lo;
	if (used == w->len)
		return true;
	return w->s[used] == '-' && value_part(w->s + used + 1, w->len - used - 1, hi, &more) &&
	       used + 1 + more == w->len && *hi >= *lo;
}

bool value_v4(const char *s, uint32_t len, uint8_t out[4])
{
	for (unsigned i = 0; i < 4; i++) {
		uint64_t v;
		uint32_t used;

		if (!len || !value_part(s, MIN(len, 3u), &v, &used) || v > 255)
			return false;
		out[i] = (uint8_t)v;
		s += used;
		len -= used;
		if (i < 3) {
			if (!len || *s != '.')
				return false;
			s++;
			len--;
		}
	}
	return !len;
}

static bool hex_group(const char *s, uint32_t len, uint16_t *out)
{
	uint32_t v = 0;

	if (!len || len > 4)
		return false;
	for (uint32_t i = 0; i < len; i++) {
		char c = (char)(s[i] | 0x20);

		if (s[i] >= '0' && s[i] <= '9')
			v = v << 4 | (uint32_t)(s[i] - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint32_t)(c - 'a' + 10);
		else
			return false;
	}
	*out = (uint16_t)v;
	return true;
}

/* Groups with at most one "::" */
bool value_v6(const char *s, uint32_t len, uint8_t out[16])
{
	uint16_t g[8];
	unsigned n = 0, gap = 9;

	for (uint32_t i = 0; i < len;) {
		uint32_t end = i;

		if (i + 1 < len && s[i] == ':' && s[i + 1] == ':') {
			if (gap != 9)
				return false;
			gap = n;
			i += 2;
			continue;
		}
		if (i && s[i] == ':' && s[i - 1] != ':')
			i++, end++;
		while (end < len && s[end] != ':')
			end++;
		if (n == 8 || !hex_group(s + i, end - i, &g[n++]))
			return false;
		i = end;
		if (i + 1 == len)
			return false;
	}
	if (gap == 9 ? n != 8 : n > 7)
		return false;
	memset(out, 0, 16);
	for (unsigned i = 0; i < n; i++) {
		unsigned at = i < gap ? i : 8 - n + i;

		out[2 * at] = (uint8_t)(g[i] >> 8);
		out[2 * at + 1] = (uint8_t)g[i];
	}
	return true;
}

/* ADDRESS or ADDRESS/BITS */
bool value_net(const struct word *w, struct rule *r)
{
	uint32_t len = 0, used;
	uint64_t bits = 128, most = 128;

	while (len < w->len && w->s[len] != '/')
		len++;
	memset(r->net.b, 0, 16);
	if (value_v4(w->s, len, r->net.b + 12)) {
		r->net.b[10] = r->net.b[11] = 0xff;
		bits = most = 32;
	} else if (!value_v6(w->s, len, r->net.b)) {
		return false;
	}
	if (len < w->len && (!value_part(w->s + len + 1, w->len - len - 1, &bits, &used) ||
			     used != w->len - len - 1 || bits > most))
		return false;
	r->prefix = (uint8_t)(most == 32 ? bits + 96 : bits);
	r->has_net = true;
	return true;
}

int value_ports(struct rule *r, const struct word *w)
{
	uint64_t lo, hi;

	if (!value_range(w, &lo, &hi) || hi > 0xffff)
		return 0;
	r->port_lo = (uint16_t)lo;
	r->port_hi = (uint16_t)hi;
	return 1;
}

/* HH:MM */
static bool parse_clock(const char *s, uint32_t len, uint16_t *minutes)
{
	uint64_t h, m;
	uint32_t used;

	if (len != 5 || s[2] != ':' || !value_part(s, 2, &h, &used) || used != 2 ||
	    !value_part(s + 3, 2, &m, &used) || used != 2 || m > 59 || h * 60 + m > 24 * 60)
		return false;
	*minutes = (uint16_t)(h * 60 + m);
	return true;
}

bool value_window(const struct word *w, struct rule *r)
{
	r->windowed = true;
	return w->s && w->len == 11 && w->s[5] == '-' && parse_clock(w->s, 5, &r->from) &&
	       parse_clock(w->s + 6, 5, &r->until);
}

/* "50%" */
bool value_percent(const struct word *w, uint64_t most, uint64_t *out)
{
	uint32_t used;

	return w->s && value_part(w->s, w->len, out, &used) && used + 1 == w->len &&
	       w->s[used] == '%' && *out && *out <= most;
}
