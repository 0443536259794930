/* SPDX-License-Identifier: ISC */
/* vnc_tls.c: TLS for viewers, by GnuTLS, which libvncserver brings along.
 *
 * The library's server encrypts WebSockets only, and opens the key's file for each. So a relay stands before it,
 * one thread a viewer: towards the client TLS, towards the library a socket pair. Clients come in two ways:
 *
 *	browsers   TLS from the first byte; what is inside, the library takes for a WebSocket (wss://)
 *	viewers    wait for the server's first word: RFB's security type 19, VeNCrypt 0.2, in the clear, with the
 *	           one subtype X509None or X509Vnc; then TLS, in which the library's own security type is begun
 *	           by the relay, as the client has chosen already. From its answer on all is passed on.
 *
 * Clients that want neither are refused. The handshake runs on the viewer's thread, the relay on its own. */
#include "ui/vnc_tls.h"

#include <gnutls/gnutls.h>

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "plat/plat.h"

#define SPEAKS_FIRST_MS 200   /* browsers do */
#define TLS_HANDSHAKE   0x16  /* a TLS record's type */
#define PART            16384 /* bytes of one record */
#define LAST_WORDS_NS   UINT64_C(2000000000)

/* RFC 6143, 7.1.2; VeNCrypt is 19 in its registry */
#define SECURITY_NONE     1
#define SECURITY_VNC      2
#define SECURITY_VENCRYPT 19
#define VENCRYPT_X509NONE 260
#define VENCRYPT_X509VNC  261

/* What is used of the library. */
/* clang-format off */
#define TLS_LIB(F)                               \
	F(gnutls_certificate_allocate_credentials) \
	F(gnutls_certificate_free_credentials)     \
	F(gnutls_certificate_set_x509_key_file)    \
	F(gnutls_init)                             \
	F(gnutls_deinit)                           \
	F(gnutls_set_default_priority)             \
	F(gnutls_credentials_set)                  \
	F(gnutls_transport_set_int2)               \
	F(gnutls_handshake)                        \
	F(gnutls_record_recv)                      \
	F(gnutls_record_send)                      \
	F(gnutls_record_check_pending)             \
	F(gnutls_record_get_direction)             \
	F(gnutls_error_is_fatal)                   \
	F(gnutls_bye)                              \
	F(gnutls_strerror)
/* clang-format on */
struct vnc_tls {
#define F(name) __typeof__(&name) name;
	TLS_LIB(F)
#undef F
	gnutls_certificate_credentials_t cred;
	bool password;
};

struct part {
	uint8_t b[PART];
	size_t at, len; /* what is left of it */
};

struct vnc_relay {
	struct vnc_tls *t;
	gnutls_session_t session;
	struct plat_thread *thread;
	int client, inner;
	bool websocket;
	uint8_t version[12];    /* the client's */
	struct part in, out;    /* from the client, from the library */
	_Atomic uint64_t until; /* PLAT_FOREVER: as long as both are there */
};

/* ---- exactly so many bytes, in the clear ------------------------------------------------------------- */

static bool wait_for(int fd, short events, uint64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = events};
	uint64_t now = plat_now();

	return now < deadline && poll(&p, 1, (int)((deadline - now) / 1000000) + 1) > 0;
}

static bool get(int fd, void *buf, size_t len, uint64_t deadline)
{
	uint8_t *p = buf;

	while (len && wait_for(fd, POLLIN, deadline)) {
		ssize_t n = recv(fd, p, len, MSG_DONTWAIT);

		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		p += MAX(n, 0);
		len -= (size_t)MAX(n, 0);
	}
	return !len;
}

/* Few enough for any socket's buffer. */
static bool put(int fd, const void *buf, size_t len)
{
	return send(fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
}

/* ---- handshake ------------------------------------------------------------------------------------------ */

/* 3.7 and 3.8 have a list of security types. */
static bool good_version(const uint8_t *b)
{
	return !memcmp(b, "RFB 003.00", 10) && (b[10] == '7' || b[10] == '8') && b[11] == '\n';
}

static bool vencrypt(struct vnc_relay *r, uint64_t deadline)
{
	const unsigned subtype = r->t->password ? VENCRYPT_X509VNC : VENCRYPT_X509NONE;
	const uint8_t offer[5] = {1, 0, 0, (uint8_t)(subtype >> 8), (uint8_t)subtype};
	int fd = r->client;
	uint8_t b[4];

	if (!put(fd, "RFB 003.008\n", 12) || !get(fd, r->version, 12, deadline) ||
	    !good_version(r->version))
		return false;
	if (!put(fd, (const uint8_t[]){1, SECURITY_VENCRYPT}, 2) || !get(fd, b, 1, deadline) ||
	    b[0] != SECURITY_VENCRYPT)
		return false;
	if (!put(fd, "\0\2", 2) || !get(fd, b, 2, deadline))
		return false;
	if (memcmp(b, "\0\2", 2)) {
		(void)put(fd, "\xff", 1);
		return false;
	}
	if (!put(fd, "\0", 1) || !put(fd, offer, sizeof(offer)) || !get(fd, b, 4, deadline))
		return false;
	if (memcmp(b, offer + 1, 4)) {
		(void)put(fd, "\0", 1);
		return false;
	}
	return put(fd, "\1", 1);
}

static bool browser(struct vnc_relay *r)
{
	struct pollfd p = {.fd = r->client, .events = POLLIN};
	uint8_t first;

	return poll(&p, 1, SPEAKS_FIRST_MS) > 0 &&
	       recv(r->client, &first, 1, MSG_PEEK | MSG_DONTWAIT) == 1 && first == TLS_HANDSHAKE;
}

static bool shake_hands(struct vnc_relay *r, uint64_t deadline)
{
	struct vnc_tls *t = r->t;
	int err = t->gnutls_init(&r->session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);

	if (err < 0) {
		r->session = NULL;
		return false;
	}
	if (t->gnutls_set_default_priority(r->session) < 0 ||
	    t->gnutls_credentials_set(r->session, GNUTLS_CRD_CERTIFICATE, t->cred) < 0)
		return false;
	t->gnutls_transport_set_int2(r->session, r->client, r->client);
	while ((err = t->gnutls_handshake(r->session)) < 0) {
		short what = t->gnutls_record_get_direction(r->session) ? POLLOUT : POLLIN;

		if (t->gnutls_error_is_fatal(err) || !wait_for(r->client, what, deadline))
			return false;
	}
	return true;
}

/* ---- relay ----------------------------------------------------------------------------------------------- */

/* The library is told what the client has agreed to. */
static bool begin_inside(struct vnc_relay *r, uint64_t deadline)
{
	const uint8_t type = r->t->password ? SECURITY_VNC : SECURITY_NONE;
	uint8_t b[256], n;

	return get(r->inner, b, 12, deadline) && put(r->inner, r->version, 12) &&
	       get(r->inner, &n, 1, deadline) && get(r->inner, b, n, deadline) &&
	       memchr(b, type, n) && put(r->inner, &type, 1);
}

/* False: the client has gone. */
static bool from_client(struct vnc_relay *r)
{
	ssize_t n = r->t->gnutls_record_recv(r->session, r->in.b, PART);

	if (n == 0 || (n < 0 && r->t->gnutls_error_is_fatal((int)n)))
		return false;
	r->in.at = 0;
	r->in.len = (size_t)MAX(n, 0);
	return true;
}

static bool to_client(struct vnc_relay *r)
{
	ssize_t n = r->t->gnutls_record_send(r->session, r->out.b + r->out.at, r->out.len);

	if (n < 0)
		return !r->t->gnutls_error_is_fatal((int)n);
	r->out.at += (size_t)n;
	r->out.len -= (size_t)n;
	return true;
}

/* False: the library has closed, and has said nothing more. */
static bool from_library(struct vnc_relay *r)
{
	ssize_t n = recv(r->inner, r->out.b, PART, MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		return false;
	r->out.at = 0;
	r->out.len = (size_t)MAX(n, 0);
	return true;
}

static void to_library(struct vnc_relay *r)
{
	ssize_t n = send(r->inner, r->in.b + r->in.at, r->in.len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		n = (ssize_t)r->in.len; /* nobody reads any more; from_library() says so */
	r->in.at += (size_t)MAX(n, 0);
	r->in.len -= (size_t)MAX(n, 0);
}

static int patience(const struct vnc_relay *r)
{
	uint64_t until = atomic_load(&r->until), now = plat_now();

	if (until == PLAT_FOREVER)
		return (int)(LAST_WORDS_NS / 1000000);
	return now < until ? (int)((until - now) / 1000000) + 1 : -1;
}

static bool step(struct vnc_relay *r)
{
	bool pending = !r->in.len && r->t->gnutls_record_check_pending(r->session);
	int ms = patience(r);
	struct pollfd p[2] = {
		{.events = (short)((r->in.len ? 0 : POLLIN) | (r->out.len ? POLLOUT : 0))},
		{.events = (short)((r->out.len ? 0 : POLLIN) | (r->in.len ? POLLOUT : 0))},
	};

	/* Who is asked nothing is not looked at: a hang-up would be told again and again. */
	p[0].fd = p[0].events ? r->client : -1;
	p[1].fd = p[1].events ? r->inner : -1;
	if (ms < 0 || (poll(p, 2, pending ? 0 : ms) < 0 && errno != EINTR))
		return false;
	if (!r->in.len && (pending || p[0].revents) && !from_client(r))
		return false;
	if (r->in.len)
		to_library(r);
	if (!r->out.len && p[1].revents && !from_library(r))
		return false;
	return !r->out.len || to_client(r);
}

static void relay_thread(void *arg)
{
	struct vnc_relay *r = arg;

	if (r->websocket || begin_inside(r, plat_now() + VNC_TLS_NS))
		while (step(r))
			;
	(void)r->t->gnutls_bye(r->session, GNUTLS_SHUT_WR);
	shutdown(r->inner, SHUT_RDWR);
	shutdown(r->client, SHUT_RDWR);
}

static void relay_free(struct vnc_relay *r)
{
	if (r->session)
		r->t->gnutls_deinit(r->session);
	if (r->inner >= 0)
		close(r->inner);
	plat_free(r);
}

int vnc_tls_accept(struct vnc_tls *t, int fd, struct vnc_relay **out, int *plain)
{
	struct vnc_relay *r = plat_alloc(sizeof(*r));
	uint64_t deadline = plat_now() + VNC_TLS_NS;
	int pair[2], err;

	if (!r)
		return err_here(ERR_NOMEM);
	r->t = t;
	r->client = fd;
	r->inner = -1;
	r->until = PLAT_FOREVER;
	r->websocket = browser(r);
	if ((!r->websocket && !vencrypt(r, deadline)) || !shake_hands(r, deadline) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)) {
		relay_free(r);
		return err_here(ERR_IO);
	}
	r->inner = pair[0];
	err = plat_thread_create("viewer-tls", relay_thread, r, &r->thread);
	if (err) {
		close(pair[1]);
		relay_free(r);
		return err;
	}
	*plain = pair[1];
	*out = r;
	return 0;
}

void vnc_relay_end(struct vnc_relay *r)
{
	atomic_store(&r->until, plat_now() + LAST_WORDS_NS);
	plat_thread_join(r->thread);
	relay_free(r);
}

/* ---- certificates ------------------------------------------------------------------------------------------ */

static bool load_lib(struct vnc_tls *t)
{
	void *so = dlopen("libgnutls.so.30", RTLD_NOW | RTLD_LOCAL);
	bool all = so;

#define F(name)  \
	if (all) \
		all = (t->name = (__typeof__(&name))dlsym(so, #name)) != NULL;
	TLS_LIB(F)
#undef F
	return all;
}

int vnc_tls_load(const char *cert, const char *key, bool password, struct vnc_tls **out,
		 char *errbuf, size_t size)
{
	struct vnc_tls *t = plat_alloc(sizeof(*t));
	int err;

	if (!t || !load_lib(t)) {
		str_format(errbuf, size, t ? "install the package libgnutls30" : "out of memory");
		plat_free(t);
		return err_here(t ? ERR_NOSYS : ERR_NOMEM);
	}
	t->password = password;
	err = t->gnutls_certificate_allocate_credentials(&t->cred);
	if (err >= 0)
		err = t->gnutls_certificate_set_x509_key_file(t->cred, cert, key,
							      GNUTLS_X509_FMT_PEM);
	else
		t->cred = NULL;
	if (err < 0) {
		str_format(
			errbuf, size,
			"the certificate %s with the key %s: %s; openssl req -x509 -newkey rsa:3072 "
			"-nodes -keyout KEY -out CERT makes such a pair",
			cert, key, t->gnutls_strerror(err));
		vnc_tls_free(t);
		return err_here(ERR_INVAL);
	}
	*out = t;
	return 0;
}

void vnc_tls_free(struct vnc_tls *t)
{
	if (t && t->cred)
		t->gnutls_certificate_free_credentials(t->cred);
	plat_free(t);
}
