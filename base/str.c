/* SPDX-License-Identifier: ISC */
/* str.c: strings and a printf subset without libc. No state; any thread. */
#include "base/str.h"

size_t str_len(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

bool str_eq(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

bool str_copy(char *dst, size_t size, const char *src)
{
	size_t i = 0;

	if (!size)
		return false;
	for (; src[i] && i + 1 < size; i++)
		dst[i] = src[i];
	dst[i] = 0;
	return !src[i];
}

/* Bytes that a character has by its first one; 0: that is no first one. */
static unsigned utf8_length(uint8_t first)
{
	return first < 0x80   ? 1
	       : first < 0xc2 ? 0
	       : first < 0xe0 ? 2
	       : first < 0xf0 ? 3
	       : first < 0xf5 ? 4
			      : 0;
}

unsigned str_utf8(const char *s, size_t n, uint32_t *code)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const uint8_t *p = (const uint8_t *)s;
	unsigned len = utf8_length(p[0]);
	uint32_t c = p[0];

	if (!len || len > n)
		return 0;
	if (len > 1)
		c &= 0x7fu >> len;
	for (unsigned i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	*code = c;
	return c < least[len] || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff ? 0 : len;
}

unsigned str_utf8_rest(const char *s, size_t n)
{
	for (unsigned k = 1; k <= 3 && k <= n; k++) {
		uint8_t c = (uint8_t)s[n - k];

		if ((c & 0xc0) != 0x80)
			return utf8_length(c) > k ? k : 0;
	}
	return 0;
}

int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

uint8_t sum_bytes(const void *p, size_t n)
{
	const uint8_t *at = p;
	uint8_t sum = 0;

	while (n--)
		sum = (uint8_t)(sum + *at++);
	return sum;
}

/* ---- formatting ------------------------------------------------------------------------- */

struct out {
	char *buf;
	size_t size;
	size_t len; /* what it would have been */
};

struct spec {
	bool left, zero, plus, space, alt;
	unsigned width;
	int precision;  /* -1: none */
	unsigned bytes; /* of the integer argument */
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

static void put_padded(struct out *o, const struct spec *sp, const char *s, size_t n)
{
	size_t pad = sp->width > n ? sp->width - n : 0;

	for (; !sp->left && pad; pad--)
		put(o, ' ');
	for (size_t i = 0; i < n; i++)
		put(o, s[i]);
	for (; pad; pad--)
		put(o, ' ');
}

static void put_number(struct out *o, const struct spec *sp, uint64_t v, unsigned base, bool upper,
		       const char *prefix)
{
	char digits[24];
	size_t n = 0, prefix_len = str_len(prefix), zeros = 0, pad;

	while (v) {
		digits[n++] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[v % base];
		v /= base;
	}
	if (!n && sp->precision != 0)
		digits[n++] = '0';
	if (sp->precision >= 0)
		zeros = (size_t)sp->precision > n ? (size_t)sp->precision - n : 0;
	else if (sp->zero && !sp->left && sp->width > n + prefix_len)
		zeros = sp->width - n - prefix_len;
	pad = n + zeros + prefix_len;
	pad = sp->width > pad ? sp->width - pad : 0;

	for (; !sp->left && pad; pad--)
		put(o, ' ');
	for (; *prefix; prefix++)
		put(o, *prefix);
	for (; zeros; zeros--)
		put(o, '0');
	while (n)
		put(o, digits[--n]);
	for (; pad; pad--)
		put(o, ' ');
}

static const char *parse_number(const char *f, unsigned *out)
{
	unsigned v = 0;

	for (; *f >= '0' && *f <= '9'; f++)
		v = v < 100000 ? v * 10 + (unsigned)(*f - '0') : v;
	*out = v;
	return f;
}

static const char *parse_flags(const char *f, struct spec *sp)
{
	for (;; f++) {
		if (*f == '-')
			sp->left = true;
		else if (*f == '0')
			sp->zero = true;
		else if (*f == '+')
			sp->plus = true;
		else if (*f == ' ')
			sp->space = true;
		else if (*f == '#')
			sp->alt = true;
		else
			return f;
	}
}

static const char *parse_length(const char *f, struct spec *sp)
{
	sp->bytes = sizeof(int);
	switch (*f) {
	case 'h':
		sp->bytes = f[1] == 'h' ? 1 : 2;
		return f + sp->bytes % 2 + 1;
	case 'l':
		sp->bytes = 8;
		return f[1] == 'l' ? f + 2 : f + 1;
	case 'z':
	case 'j':
	case 't':
		sp->bytes = 8;
		return f + 1;
	default:
		return f;
	}
}

/* va_list is an array type: passed as a parameter it would be another type, hence the box. */
struct args {
	va_list ap;
};

static uint64_t arg_unsigned(struct args *a, unsigned bytes)
{
	if (bytes == 8)
		return va_arg(a->ap, uint64_t);
	return va_arg(a->ap, unsigned) & (UINT64_MAX >> (64 - bytes * 8));
}

static void put_signed(struct out *o, const struct spec *sp, struct args *a)
{
	int64_t v = sp->bytes == 8 ? va_arg(a->ap, int64_t) : va_arg(a->ap, int);
	uint64_t u;

	if (sp->bytes == 2)
		v = (int16_t)v;
	else if (sp->bytes == 1)
		v = (int8_t)v;
	u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
	put_number(o, sp, u, 10, false, v < 0 ? "-" : sp->plus ? "+" : sp->space ? " " : "");
}

static void put_string(struct out *o, const struct spec *sp, const char *s)
{
	size_t n = 0;

	if (!s)
		s = "(null)";
	/* with a precision, s need not be terminated */
	while ((sp->precision < 0 || n < (size_t)sp->precision) && s[n])
		n++;
	put_padded(o, sp, s, n);
}

static void put_conversion(struct out *o, const struct spec *sp, char conv, struct args *a)
{
	uint64_t v;
	char c;

	switch (conv) {
	case 'd':
	case 'i':
		put_signed(o, sp, a);
		break;
	case 'u':
		put_number(o, sp, arg_unsigned(a, sp->bytes), 10, false, "");
		break;
	case 'x':
	case 'X':
		v = arg_unsigned(a, sp->bytes);
		put_number(o, sp, v, 16, conv == 'X',
			   !sp->alt || !v ? ""
			   : conv == 'X'  ? "0X"
					  : "0x");
		break;
	case 'p':
		put_number(o, sp, (uintptr_t)va_arg(a->ap, void *), 16, false, "0x");
		break;
	case 'c':
		c = (char)va_arg(a->ap, int);
		put_padded(o, sp, &c, 1);
		break;
	case 's':
		put_string(o, sp, va_arg(a->ap, const char *));
		break;
	case '%':
		put(o, '%');
		break;
	default: /* not in the subset: shown as it is */
		put(o, '%');
		put(o, conv);
	}
}

static const char *parse_spec(const char *f, struct spec *sp, struct args *a)
{
	unsigned n;

	f = parse_flags(f, sp);
	if (*f == '*') {
		int w = va_arg(a->ap, int);

		sp->left |= w < 0;
		sp->width = w < 0 ? 0 - (unsigned)w : (unsigned)w;
		f++;
	} else {
		f = parse_number(f, &sp->width);
	}
	if (*f == '.' && f[1] == '*') {
		sp->precision = va_arg(a->ap, int);
		f += 2;
	} else if (*f == '.') {
		f = parse_number(f + 1, &n);
		sp->precision = (int)n;
	}
	return parse_length(f, sp);
}

int str_vformat(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct out o = {.buf = buf, .size = size};
	struct args a;

	va_copy(a.ap, ap);
	while (*fmt) {
		struct spec sp = {.precision = -1};

		if (*fmt != '%') {
			put(&o, *fmt++);
			continue;
		}
		fmt = parse_spec(fmt + 1, &sp, &a);
		if (!*fmt)
			break;
		put_conversion(&o, &sp, *fmt++, &a);
	}
	va_end(a.ap);
	if (size)
		buf[MIN(o.len, size - 1)] = 0;
	return (int)MIN(o.len, (size_t)INT32_MAX);
}

int str_format(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = str_vformat(buf, size, fmt, ap);
	va_end(ap);
	return n;
}
