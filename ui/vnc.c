/* SPDX-License-Identifier: ISC */
/* vnc.c: where viewers connect: addresses, passwords, and the list of those who look. Each viewer has a
 * thread and a library screen of its own (vnc_viewer.c), so that one that stalls or sends garbage stalls
 * nobody else; without viewers there is no thread. Set-up on the main thread, then the loop's. */
#include "ui/vnc.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ui/vnc_impl.h"

#define BACKLOG    64
#define PORT_FIRST 5900u
#define PORT_LAST  5999u
#define PORT_NONE  65536u /* not given: the first one that is free */

/* What stands behind the address; NULL: not given */
struct options {
	const char *password, *cert, *key;
};

/* ---- options ---------------------------------------------------------------------------------------------- */

/* "NAME=VALUE,NAME=VALUE", which is cut up. */
static int split_options(char *list, struct options *o, char *errbuf, size_t size)
{
	const struct {
		const char *name;
		const char **value;
	} known[] = {{"password=", &o->password}, {"cert=", &o->cert}, {"key=", &o->key}};

	while (list) {
		char *next = strchr(list, ',');
		unsigned i = 0;

		if (next)
			*next++ = 0;
		while (i < ARRAY_SIZE(known) &&
		       strncmp(list, known[i].name, strlen(known[i].name)) != 0)
			i++;
		if (i == ARRAY_SIZE(known)) {
			str_format(errbuf, size,
				   "%s: there are password=FILE, cert=FILE and key=FILE", list);
			return err_here(ERR_INVAL);
		}
		*known[i].value = list + strlen(known[i].name);
		list = next;
	}
	if (o->key && !o->cert) {
		str_format(errbuf, size, "key=%s: give its certificate, too, by cert=FILE", o->key);
		return err_here(ERR_INVAL);
	}
	return 0;
}

/* ---- password ---------------------------------------------------------------------------------------- */

static int read_password(struct vnc *v, const char *path, char *errbuf, size_t size)
{
	FILE *f = fopen(path, "r");
	char line[128];

	if (!f) {
		str_format(errbuf, size, "the password file %s: %s", path, strerror(errno));
		return err_here(ERR_ACCES);
	}
	if (!fgets(line, sizeof(line), f))
		line[0] = 0;
	fclose(f);
	line[strcspn(line, "\r\n")] = 0;
	if (!line[0] || !str_copy(v->password, sizeof(v->password), line)) {
		str_format(errbuf, size,
			   "the password file %s: its first line is to have 1 to %u characters, "
			   "which is all that VNC takes",
			   path, VNC_PASSWORD_MAX);
		return err_here(ERR_INVAL);
	}
	v->passwords[0] = v->password;
	return 0;
}

static int take_options(struct vnc *v, char *list, char *errbuf, size_t size)
{
	struct options o = {0};
	int err = split_options(list, &o, errbuf, size);

	if (!err && o.password)
		err = read_password(v, o.password, errbuf, size);
	if (!err && o.cert)
		err = vnc_tls_load(o.cert, o.key ? o.key : o.cert, o.password, &v->tls, errbuf,
				   size);
	return err;
}

/* ---- addresses ----------------------------------------------------------------------------------------- */

/* "ADDRESS:PORT", "[V6]:PORT" or without a port. */
static bool split_address(char *spec, const char **host, unsigned *port)
{
	char *colon = strrchr(spec, ':'), *end;
	unsigned long p;

	*host = spec;
	*port = PORT_NONE;
	if (spec[0] == '[') {
		char *close = strchr(spec, ']');

		if (!close || (close[1] && close[1] != ':'))
			return false;
		*host = spec + 1;
		*close = 0;
		colon = close[1] ? close + 1 : NULL;
	}
	if (!colon)
		return true;
	*colon = 0;
	p = strtoul(colon + 1, &end, 10);
	*port = (unsigned)p;
	return colon[1] >= '0' && colon[1] <= '9' && !*end && p <= 65535;
}

static void set_port(struct addrinfo *ai, unsigned port)
{
	if (ai->ai_family == AF_INET)
		((struct sockaddr_in *)(void *)ai->ai_addr)->sin_port = htons((uint16_t)port);
	else
		((struct sockaddr_in6 *)(void *)ai->ai_addr)->sin6_port = htons((uint16_t)port);
}

static bool is_loopback(const struct addrinfo *ai)
{
	const struct sockaddr_in *a4 = (const void *)ai->ai_addr;
	const struct sockaddr_in6 *a6 = (const void *)ai->ai_addr;

	return ai->ai_family == AF_INET ? ntohl(a4->sin_addr.s_addr) >> 24 == 127
					: IN6_IS_ADDR_LOOPBACK(&a6->sin6_addr);
}

static int bind_port(int fd, struct addrinfo *ai, unsigned port)
{
	unsigned first = port == PORT_NONE ? PORT_FIRST : port;
	unsigned last = port == PORT_NONE ? PORT_LAST : port;

	for (unsigned p = first; p <= last; p++) {
		set_port(ai, p);
		if (!bind(fd, ai->ai_addr, ai->ai_addrlen) && !listen(fd, BACKLOG))
			return 0;
		if (errno != EADDRINUSE)
			break;
	}
	return -1;
}

static void note_address(struct vnc *v, const char *host)
{
	struct sockaddr_in6 sa;
	socklen_t len = sizeof(sa);

	/* The port stands at the same place for both families. */
	if (getsockname(v->listen_fd, (struct sockaddr *)&sa, &len))
		return;
	str_format(v->address, sizeof(v->address), strchr(host, ':') ? "[%s]:%u" : "%s:%u", host,
		   ntohs(sa.sin6_port));
}

static int listen_inet(struct vnc *v, char *spec, char *errbuf, size_t size)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *ai;
	const char *host;
	unsigned port;
	int on = 1, err = 0;

	if (!split_address(spec, &host, &port)) {
		str_format(errbuf, size, "give ADDRESS, ADDRESS:PORT, [IPV6]:PORT or unix:PATH");
		return err_here(ERR_INVAL);
	}
	if (!strcmp(host, "localhost"))
		host = "127.0.0.1";
	if (getaddrinfo(host, "0", &hints, &ai)) {
		str_format(errbuf, size, "%s is no address: give a numeric one, such as 127.0.0.1",
			   host[0] ? host : "nothing");
		return err_here(ERR_INVAL);
	}
	if (!is_loopback(ai) && !v->passwords[0]) {
		str_format(errbuf, size,
			   "whoever reaches %s could use the VM: add ,password=FILE, or listen on "
			   "127.0.0.1 or a unix: socket and let viewers come through ssh",
			   host);
		freeaddrinfo(ai);
		return err_here(ERR_INVAL);
	}
	v->listen_fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	setsockopt(v->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (v->listen_fd < 0 || bind_port(v->listen_fd, ai, port)) {
		str_format(errbuf, size, "cannot listen on %s: %s", host, strerror(errno));
		err = err_here(ERR_IO);
	} else {
		note_address(v, host);
	}
	freeaddrinfo(ai);
	return err;
}

static int listen_unix(struct vnc *v, const char *path, char *errbuf, size_t size)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct stat st;
	mode_t old;
	int err;

	if (!*path || !str_copy(sa.sun_path, sizeof(sa.sun_path), path)) {
		str_format(errbuf, size, "a socket's name has 1 to %zu characters: %s",
			   sizeof(sa.sun_path) - 1, path);
		return err_here(ERR_INVAL);
	}
	v->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (v->listen_fd < 0) {
		str_format(errbuf, size, "no socket: %s", strerror(errno));
		return err_here(ERR_IO);
	}
	/* One that a dead process has left refuses connections. */
	if (!lstat(path, &st) && S_ISSOCK(st.st_mode) &&
	    connect(v->listen_fd, (struct sockaddr *)&sa, sizeof(sa)) && errno == ECONNREFUSED)
		unlink(path);
	old = umask(0177);
	err = bind(v->listen_fd, (struct sockaddr *)&sa, sizeof(sa)) ||
	      listen(v->listen_fd, BACKLOG);
	umask(old);
	if (err) {
		str_format(errbuf, size, "cannot listen on %s: %s", path, strerror(errno));
		return err_here(ERR_IO);
	}
	str_copy(v->path, sizeof(v->path), path);
	str_format(v->address, sizeof(v->address), "unix:%s", path);
	return 0;
}

/* ---- viewers ----------------------------------------------------------------------------------------------- */

/* On the loop's thread. */
static void on_connect(void *arg, uint32_t events)
{
	struct vnc *v = arg;
	int fd = accept4(v->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	unsigned i = 0;

	if (fd < 0)
		return;
	while (i < VNC_VIEWERS && !vnc_viewer_free(v->viewer[i]))
		i++;
	if (i == VNC_VIEWERS) {
		close(fd);
		return;
	}
	vnc_viewer_end(v->viewer[i]);
	if (vnc_viewer_start(v->viewer[i], fd))
		plat_log(LOG_WARN, "a viewer was turned away: no thread, or no descriptor");
}

static int make_place(struct vnc *v, unsigned i, char *errbuf, size_t size)
{
	int err = vnc_viewer_create(v, &v->viewer[i]);

	if (err)
		str_format(errbuf, size, "out of memory");
	return err;
}

const char *vnc_address(const struct vnc *v)
{
	return v->address;
}

static void stop_listening(void *arg)
{
	plat_fd_remove(&((struct vnc *)arg)->listener);
}

bool vnc_has_tls(const struct vnc *v)
{
	return v->tls;
}

void vnc_close(struct vnc *v)
{
	plat_loop_call(v->loop, stop_listening, v);
	atomic_store(&v->stop, true);
	for (unsigned i = 0; i < VNC_VIEWERS && v->viewer[i]; i++)
		vnc_viewer_end(v->viewer[i]);
	for (unsigned i = 0; i < VNC_VIEWERS && v->viewer[i]; i++)
		vnc_viewer_destroy(v->viewer[i]);
	if (v->listen_fd >= 0)
		close(v->listen_fd);
	if (v->path[0])
		unlink(v->path); /* refused in the sandbox; the next one to listen there removes it */
	vnc_tls_free(v->tls);
	plat_free(v->lib);
	plat_free(v);
}

int vnc_open(struct plat_loop *loop, const char *spec, const char *name, struct display *display,
	     struct typist *typist, struct vnc **out, char *errbuf, size_t size)
{
	struct vnc *v = plat_alloc(sizeof(*v));
	char *copy = strdup(spec), *comma;
	int err = 0;

	if (!v || !copy) {
		str_format(errbuf, size, "out of memory");
		plat_free(v);
		free(copy);
		return err_here(ERR_NOMEM);
	}
	v->loop = loop;
	v->display = display;
	v->typist = typist;
	v->listen_fd = -1;
	str_format(v->title, sizeof(v->title), "%s - vigia", name);
	comma = strchr(copy, ',');
	if (comma) {
		*comma++ = 0;
		err = take_options(v, comma, errbuf, size);
	}
	if (!err)
		err = !strncmp(copy, "unix:", 5) ? listen_unix(v, copy + 5, errbuf, size)
						 : listen_inet(v, copy, errbuf, size);
	free(copy);
	if (!err)
		err = vnc_lib_load(v, errbuf, size);
	for (unsigned i = 0; i < VNC_VIEWERS && !err; i++)
		err = make_place(v, i, errbuf, size);
	if (!err) {
		err = plat_fd_add(&v->listener, loop, v->listen_fd, EPOLLIN, on_connect, v);
		if (err)
			str_format(errbuf, size, "%s", err_str(err));
	}
	if (err)
		vnc_close(v);
	else
		*out = v;
	return err;
}
