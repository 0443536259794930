/* SPDX-License-Identifier: ISC */
/* unpack_cache.c: unpacking a kernel takes longer than booting it, and each start of a VM would do it again: xz needs half
 * a second. So what comes out is kept, in a file that is named by what went in; the last few stay.
 *
 * Files are the user's own, complete from the moment they have their name, and have a checksum at their end.
 * What is wrong with them, or with their folder, only costs time. Before the sandbox, and at resets. */
#include "ctl/unpack_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "ctl/fdio.h"

#define KEEP 4u /* kernels, some 60 MiB each */

struct tail {
	char magic[8];
	uint32_t crc, zero;
};
static const char magic[8] = "vigiakrn";

/* ---- the folder ----------------------------------------------------------------------------- */

/* What others could write to is none of ours. */
static bool is_ours(int fd)
{
	struct stat sb;

	return !fstat(fd, &sb) && sb.st_uid == geteuid() && !(sb.st_mode & (S_IWGRP | S_IWOTH));
}

static int enter(int at, const char *name)
{
	int fd;

	if (mkdirat(at, name, 0700) && errno != EEXIST)
		fd = -1;
	else
		fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (at >= 0)
		close(at);
	return fd;
}

void unpack_cache_open(struct unpack_cache *c)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int fd = -1;

	*c = (struct unpack_cache){.dir = -1, .fd = -1};
	if (cache && cache[0] == '/') {
		fd = enter(AT_FDCWD, cache);
	} else if (home && home[0] == '/') {
		fd = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		fd = fd < 0 ? -1 : enter(fd, ".cache");
	}
	fd = fd < 0 ? -1 : enter(fd, "vigia");
	fd = fd < 0 ? -1 : enter(fd, "kernels");
	if (fd >= 0 && !is_ours(fd)) {
		close(fd);
		fd = -1;
	}
	c->dir = fd;
}

void unpack_cache_close(struct unpack_cache *c)
{
	if (c->dir >= 0)
		close(c->dir);
	if (c->fd >= 0)
		close(c->fd);
	*c = (struct unpack_cache){.dir = -1, .fd = -1};
}

/* The one that was used least lately, if there are more than are kept; by its time of change. */
static bool find_oldest(int dir, char *name, size_t size)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct timespec oldest = {.tv_sec = INT64_MAX};
	const struct dirent *e;
	unsigned n = 0;

	while (d && (e = readdir(d))) {
		struct stat sb;

		if (e->d_name[0] == '.' || strlen(e->d_name) >= size ||
		    fstatat(dir, e->d_name, &sb, AT_SYMLINK_NOFOLLOW) || !S_ISREG(sb.st_mode))
			continue;
		n++;
		if (sb.st_mtim.tv_sec > oldest.tv_sec ||
		    (sb.st_mtim.tv_sec == oldest.tv_sec && sb.st_mtim.tv_nsec >= oldest.tv_nsec))
			continue;
		oldest = sb.st_mtim;
		snprintf(name, size, "%s", e->d_name);
	}
	if (d)
		closedir(d);
	else if (fd >= 0)
		close(fd);
	return n > KEEP;
}

static void sweep(int dir)
{
	char name[256];

	while (find_oldest(dir, name, sizeof(name)))
		if (unlinkat(dir, name, 0))
			return;
}

/* ---- files -------------------------------------------------------------------------------------- */

/* By what nobody can make another kernel for: a hostile one's content must not be taken for another's. */
static void name_it(struct unpack_cache *c, const struct boot_packed *k)
{
	uint8_t sum[BLAKE2BP_SIZE];

	blake2bp(k->data, (size_t)k->size, sum);
	for (unsigned i = 0; i < BLAKE2BP_SIZE; i++)
		snprintf(c->name + 2 * i, 3, "%02x", sum[i]);
}

/* Bytes, or 0: it is no file of ours, or a damaged one. */
static size_t read_file(int fd, const struct boot_packed *k, uint8_t *to)
{
	struct tail t;
	struct stat sb;
	size_t size;

	if (!is_ours(fd) || fstat(fd, &sb) || !S_ISREG(sb.st_mode) ||
	    sb.st_size <= (off_t)sizeof(t) || (uint64_t)sb.st_size - sizeof(t) > k->room)
		return 0;
	size = (size_t)sb.st_size - sizeof(t);
	if (fd_read_at(fd, to, size, 0) || fd_read_at(fd, &t, sizeof(t), size) ||
	    memcmp(t.magic, magic, sizeof(magic)) || t.crc != crc32c(0, to, size))
		return 0;
	return size;
}

size_t unpack_cache_get(struct unpack_cache *c, const struct boot_packed *k, uint8_t *to)
{
	size_t size;

	if (c->fd >= 0) /* a reset: the same kernel */
		return read_file(c->fd, k, to);
	if (c->dir < 0)
		return 0;
	name_it(c, k);
	c->fd = openat(c->dir, c->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	size = c->fd < 0 ? 0 : read_file(c->fd, k, to);
	if (size) {
		(void)!utimensat(c->dir, c->name, NULL, 0); /* is in use: stays */
		return size;
	}
	if (c->fd >= 0) {
		close(c->fd);
		c->fd = -1;
		unlinkat(c->dir, c->name, 0);
	}
	return 0;
}

void unpack_cache_put(struct unpack_cache *c, const struct boot_packed *k, const uint8_t *from,
		      size_t size)
{
	struct tail t = {.crc = crc32c(0, from, size)};
	char temp[32];
	int fd;

	if (c->dir < 0 || c->fd >= 0)
		return;
	memcpy(t.magic, magic, sizeof(magic));
	snprintf(temp, sizeof(temp), ".new-%d", (int)getpid());
	fd = openat(c->dir, temp, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	if (!fd_write_at(fd, from, size, 0) && !fd_write_at(fd, &t, sizeof(t), size) &&
	    !renameat(c->dir, temp, c->dir, c->name)) {
		c->fd = fd;
		sweep(c->dir);
		return;
	}
	unlinkat(c->dir, temp, 0);
	close(fd);
}
