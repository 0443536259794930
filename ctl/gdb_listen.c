/* SPDX-License-Identifier: ISC */
/* gdb_listen.c: where the server for gdb listens: unix:PATH or tcp:[HOST]:PORT. Without a HOST that is
 * this computer alone: who reaches the port has the guest. Main thread, before the sandbox. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "chr/open.h"
#include "ctl/gdb.h"
#include "ctl/opt.h"

struct spec {
	char *address; /* unix:… or tcp:… */
	int arch;
};

static int take_key(struct spec *sp, const char *field, struct msg *msg)
{
	sp->arch = strncmp(field, "arch=", 5) ? -2 : gdb_arch_find(field + 5);
	return sp->arch >= -1 ? 0
			      : msg_fail(msg, ERR_INVAL,
					 "--gdb: %s is not known: arch=auto, x86-64, i386 or i8086",
					 field);
}

/* Begins with unix: or tcp:, as ctl/def.c has seen to. */
static int parse(const char *text, struct spec *sp, struct msg *msg)
{
	int err = 0;
	char *field;

	*sp = (struct spec){.address = opt_field(&text), .arch = -1};
	while (!err && (field = opt_field(&text))) {
		err = take_key(sp, field, msg);
		free(field);
	}
	return err;
}

static int listen_unix(struct gdb *g, const char *path, struct msg *msg)
{
	struct sockaddr_un addr;
	char text[256];
	int fd = unix_listen(path, &addr, text, sizeof(text));

	if (fd < 0)
		return msg_fail(msg, fd, "--gdb unix:%s: %s", path, text);
	snprintf(g->path, sizeof(g->path), "%s", path);
	g->local = true;
	return fd;
}

/* The first address of the name that can be had. */
static int listen_at(const struct addrinfo *ai)
{
	int fd = -1, one = 1;

	for (; ai; ai = ai->ai_next) {
		fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) &&
		    !bind(fd, ai->ai_addr, ai->ai_addrlen) && !listen(fd, 1))
			break;
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	return fd;
}

/* [HOST]:PORT, an IPv6 HOST in brackets */
static int listen_tcp(char *at, struct msg *msg)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *ai;
	char *port = strrchr(at, ':'), *host = at, *end;
	uint64_t number;
	int fd;

	if (!port)
		return msg_fail(msg, ERR_INVAL, "--gdb tcp:%s: give tcp::PORT or tcp:HOST:PORT",
				at);
	*port++ = 0;
	if (opt_u64(port, 1, 65535, "--gdb: the port", &number, msg))
		return ERR_INVAL;
	end = host + strlen(host) - 1;
	if (host[0] == '[' && *end == ']') {
		*end = 0;
		host++;
	}
	if (getaddrinfo(*host ? host : "127.0.0.1", port, &hints, &ai))
		return msg_fail(msg, ERR_INVAL, "--gdb: there is no address of this computer %s",
				host);
	fd = listen_at(ai);
	freeaddrinfo(ai);
	return fd < 0 ? msg_fail(msg, ERR_IO, "--gdb: cannot listen on port %s: %s", port,
				 strerror(errno))
		      : fd;
}

int gdb_open(struct gdb *g, const char *text, struct vm *vm, const struct gdb_ops *ops, void *ctx,
	     struct msg *msg)
{
	struct spec sp;
	int err = gdb_init(g, vm, ops, ctx);

	if (err == ERR_NOSYS)
		return msg_fail(msg, err,
				"--gdb: guests cannot be debugged on the engine %s: use "
				"--engine soft",
				vm->engine->name);
	if (err)
		return msg_fail(msg, err, "--gdb: %s", err_str(err));
	err = parse(text, &sp, msg);
	if (!err) {
		g->want_arch = sp.arch;
		err = g->listen_fd = !strncmp(sp.address, "unix:", 5)
					     ? listen_unix(g, sp.address + 5, msg)
					     : listen_tcp(sp.address + 4, msg);
	}
	free(sp.address);
	return MIN(err, 0);
}
