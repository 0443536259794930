/* SPDX-License-Identifier: ISC */
/* open.c: network back ends by name, as the command line and VM definitions give them. */
#include <arpa/inet.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "net/backend.h"
#include "net/open.h"

#define MAX_SPEC 4096
#define MTU_MIN  576   /* what every IPv4 host takes (RFC 791) */
#define MTU_MAX  65521 /* libslirp's limit */

struct spec {
	struct net_user_config user;
	bool is_user;
	enum net_vhost vhost;
	bool have_mac;
	uint8_t mac[6];
	char *errbuf;
	size_t size;
};

/* What follows word and the separator; NULL where text begins otherwise. */
static char *after(char *text, const char *word, char sep)
{
	size_t n = str_len(word);

	return strncmp(text, word, n) || text[n] != sep ? NULL : text + n + 1;
}

/* ---- numbers and addresses --------------------------------------------------------------- */

static bool parse_uint(const char *s, unsigned max, unsigned *out)
{
	unsigned v = 0;

	if (!*s)
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return false;
		v = v * 10 + (unsigned)(*s - '0');
		if (v > max)
			return false;
	}
	*out = v;
	return true;
}

static bool parse_mac(const char *s, uint8_t mac[6])
{
	for (int i = 0; i < 6; i++, s += 3) {
		int hi = hex_digit(s[0]), lo = hi < 0 ? -1 : hex_digit(s[1]);

		if (lo < 0 || s[2] != (i < 5 ? ':' : 0))
			return false;
		mac[i] = (uint8_t)(hi << 4 | lo);
	}
	return !(mac[0] & 1); /* a group address is nobody's own */
}

/* Cuts the next piece off a forward at a colon, minding [brackets]; NULL: there is none. */
static char *next_piece(char **rest)
{
	char *piece = *rest, *end;

	if (!piece)
		return NULL;
	if (*piece == '[') {
		end = strchr(piece, ']');
		if (!end || (end[1] && end[1] != ':'))
			return NULL;
		*end++ = 0;
		piece++;
		*rest = *end ? end + 1 : NULL;
		return piece;
	}
	end = strchr(piece, ':');
	*rest = end ? end + 1 : NULL;
	if (end)
		*end = 0;
	return piece;
}

static bool parse_addr(const char *text, const char *fallback, union net_addr *a)
{
	if (!*text)
		text = fallback;
	if (inet_pton(AF_INET, text, &a->v4.sin_addr) == 1)
		a->v4.sin_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &a->v6.sin6_addr) == 1)
		a->v6.sin6_family = AF_INET6;
	else
		return false;
	return true;
}

static bool parse_port(const char *text, union net_addr *a)
{
	unsigned port;

	if (!parse_uint(text, 65535, &port) || !port)
		return false;
	if (a->any.sa_family == AF_INET)
		a->v4.sin_port = htons((uint16_t)port);
	else
		a->v6.sin6_port = htons((uint16_t)port);
	return true;
}

/* PROTO:[HOSTADDR]:HOSTPORT:[GUESTADDR:]GUESTPORT; text is cut up. False: wrong. */
static bool parse_forward(char *text, struct net_forward *f)
{
	char *rest = text, *piece[5] = {0};
	unsigned n = 0;

	while (rest && n < 5) {
		piece[n] = next_piece(&rest);
		if (!piece[n++])
			return false;
	}
	if (rest || n < 4)
		return false;
	if (!str_eq(piece[0], "tcp") && !str_eq(piece[0], "udp"))
		return false;
	f->udp = piece[0][0] == 'u';
	/* a guest's IPv6 address is its own choice: it must be given */
	return parse_addr(piece[1], "127.0.0.1", &f->host) && parse_port(piece[2], &f->host) &&
	       parse_addr(n == 5 ? piece[3] : "", "10.0.2.15", &f->guest) &&
	       parse_port(piece[n - 1], &f->guest) &&
	       f->host.any.sa_family == f->guest.any.sa_family;
}

/* ---- options ----------------------------------------------------------------------------- */

static int bad(struct spec *sp, const char *why, const char *what)
{
	char text[300];

	str_format(text, sizeof(text), "%s", what);
	str_format(sp->errbuf, sp->size, "%s%s", why, text);
	return err_here(ERR_INVAL);
}

static int opt_forward(struct spec *sp, char *value)
{
	struct net_user_config *u = &sp->user;
	char whole[256];

	str_copy(whole, sizeof(whole), value);
	if (u->n_forwards == NET_MAX_FORWARDS)
		return bad(sp, "too many forwards, at: ", whole);
	if (!parse_forward(value, &u->forward[u->n_forwards]))
		return bad(sp,
			   "a forward is PROTO:[HOSTADDR]:HOSTPORT:[GUESTADDR:]GUESTPORT, such as "
			   "tcp:127.0.0.1:2222:22, not ",
			   whole);
	u->n_forwards++;
	return 0;
}

static int opt_mtu(struct spec *sp, char *value)
{
	unsigned mtu;

	if (!parse_uint(value, MTU_MAX, &mtu) || mtu < MTU_MIN)
		return bad(sp, "mtu is a number from 576 to 65521, not ", value);
	sp->user.mtu = mtu;
	return 0;
}

static int opt_bool(struct spec *sp, const char *value, bool *out)
{
	*out = str_eq(value, "on");
	return *out || str_eq(value, "off") ? 0 : bad(sp, "it is on or off, not ", value);
}

static int opt_restrict(struct spec *sp, char *value)
{
	return opt_bool(sp, value, &sp->user.restricted);
}

static int opt_ipv6(struct spec *sp, char *value)
{
	return opt_bool(sp, value, &sp->user.ipv6);
}

static int opt_vhost(struct spec *sp, char *value)
{
	static const char *const names[] = {
		[NET_VHOST_AUTO] = "auto", [NET_VHOST_ON] = "on", [NET_VHOST_OFF] = "off"};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		sp->vhost = (enum net_vhost)i;
		if (str_eq(value, names[i]))
			return 0;
	}
	return bad(sp, "vhost is auto, on or off, not ", value);
}

static int opt_mac(struct spec *sp, char *value)
{
	sp->have_mac = parse_mac(value, sp->mac);
	return sp->have_mac ? 0 : bad(sp, "no usable hardware address: ", value);
}

static int opt_bootfile(struct spec *sp, char *value)
{
	return str_copy(sp->user.bootfile, sizeof(sp->user.bootfile), value)
		       ? 0
		       : bad(sp, "a boot file's name has at most 127 characters, not ", value);
}

static int opt_tftp(struct spec *sp, char *value)
{
	struct stat st;

	if (!str_copy(sp->user.tftp, sizeof(sp->user.tftp), value) || stat(value, &st) ||
	    !S_ISDIR(st.st_mode))
		return bad(sp, "tftp wants a folder, not ", value);
	return 0;
}

static const struct {
	const char *name;
	enum { ANY_KIND, USER_ONLY, TAP_ONLY } kind;
	int (*parse)(struct spec *sp, char *value);
} options[] = {
	{"forward", USER_ONLY, opt_forward},
	{"mtu", USER_ONLY, opt_mtu},
	{"restrict", USER_ONLY, opt_restrict},
	{"ipv6", USER_ONLY, opt_ipv6},
	{"mac", ANY_KIND, opt_mac},
	{"bootfile", USER_ONLY, opt_bootfile},
	{"tftp", USER_ONLY, opt_tftp},
	{"vhost", TAP_ONLY, opt_vhost},
};

static int parse_option(struct spec *sp, char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		char *value = after(text, options[i].name, '=');

		if (value && options[i].kind != (sp->is_user ? TAP_ONLY : USER_ONLY))
			return options[i].parse(sp, value);
	}
	return bad(sp, "unknown network option: ", text);
}

/* ---- opening ----------------------------------------------------------------------------- */

/* The first half as QEMU's cards have it; a user network is alone on its wire, others need more. */
static void propose_mac(const struct spec *sp, struct net *n)
{
	static const uint8_t usual[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

	n->mac_chosen = sp->have_mac;
	memcpy(n->mac, sp->have_mac ? sp->mac : usual, 6);
	if (!sp->have_mac && !sp->is_user)
		plat_random(n->mac + 3, 3);
}

static int open_kind(struct plat_loop *loop, struct spec *sp, char *kind, struct net **out)
{
	char *name = after(kind, "tap", ':');

	if (sp->is_user)
		return net_slirp_open(loop, &sp->user, out, sp->errbuf, sp->size);
	if (name)
		return net_tap_open(loop, name, sp->vhost, out, sp->errbuf, sp->size);
	if (!str_eq(kind, "none"))
		return bad(
			sp,
			after(kind, "switch", ':')
				? "only a bare machine (vigia pack) has this network between VMs: "
				: "a network is user, tap:INTERFACE or none, not ",
			kind);
	str_format(sp->errbuf, sp->size, "out of memory");
	return net_none_open(out);
}

int net_open(struct plat_loop *loop, const char *spec, struct net **out, char *errbuf, size_t size)
{
	struct spec sp = {
		.user = {.mtu = 1500, .ipv6 = true},
		.errbuf = errbuf,
		.size = size,
	};
	char text[MAX_SPEC], *next, *option;
	int err = 0;

	if (!str_copy(text, sizeof(text), spec))
		return bad(&sp, "the network's description is too long: ", spec);
	next = strchr(text, ',');
	if (next)
		*next++ = 0;
	sp.is_user = str_eq(text, "user");
	while (next && !err) {
		option = next;
		next = strchr(option, ',');
		if (next)
			*next++ = 0;
		err = parse_option(&sp, option);
	}
	if (!err)
		err = open_kind(loop, &sp, text, out);
	if (!err)
		propose_mac(&sp, *out);
	return err;
}
