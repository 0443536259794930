/* SPDX-License-Identifier: ISC */
/* replace.c: files are written without a name (O_TMPFILE), so that nothing is left of one whose writer
 * is killed, and get a temporary name only for the moment of the rename(). Where the file system
 * cannot do that they are FILE.tmp.PID from the start; flock() tells those that are being written, by
 * whoever has the descriptor, from those that were left. */
#include "cmd/replace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static bool is_temp_of(const char *name, const char *base)
{
	size_t n = strlen(base);

	if (strncmp(name, base, n) || strncmp(name + n, ".tmp.", 5))
		return false;
	name += n + 5;
	return *name && name[strspn(name, "0123456789")] == 0;
}

static void remove_left(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0)
		return;
	if (!flock(fd, LOCK_EX | LOCK_NB))
		unlinkat(dir, name, 0);
	close(fd);
}

static void sweep(const char *folder, const char *base)
{
	DIR *d = opendir(folder);
	const struct dirent *e;

	while (d && (e = readdir(d)))
		if (is_temp_of(e->d_name, base))
			remove_left(dirfd(d), e->d_name);
	if (d)
		closedir(d);
}

int replace_begin(struct replacement *r, const char *path, struct msg *msg)
{
	char *a = strdup(path), *b = strdup(path), *folder = a ? dirname(a) : NULL;

	*r = (struct replacement){.path = path, .fd = -1};
	if (!a || !b || asprintf(&r->temp, "%s.tmp.%d", path, (int)getpid()) < 0) {
		r->temp = NULL;
		free(a);
		free(b);
		return msg_fail(msg, ERR_NOMEM, "out of memory");
	}
	sweep(folder, basename(b));
	r->fd = open(folder, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	if (r->fd < 0) {
		r->fd = open(r->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		r->named = r->fd >= 0;
	}
	free(a);
	free(b);
	if (r->fd < 0)
		return msg_fail(msg, ERR_ACCES, "cannot write %s: %s", path, strerror(errno));
	/* Without a lock it could be taken for left: no more than a save that fails. */
	if (flock(r->fd, LOCK_EX | LOCK_NB) && errno != ENOLCK && errno != EOPNOTSUPP)
		return msg_fail(msg, ERR_IO, "cannot lock %s: %s", r->temp, strerror(errno));
	return 0;
}

int replace_commit(struct replacement *r, struct msg *msg)
{
	char self[64];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", r->fd);
	if (!r->named && linkat(AT_FDCWD, self, AT_FDCWD, r->temp, AT_SYMLINK_FOLLOW))
		return msg_fail(msg, ERR_IO, "cannot name the file %s: %s", r->temp,
				strerror(errno));
	r->named = true;
	if (rename(r->temp, r->path))
		return msg_fail(msg, ERR_IO, "cannot name the file %s: %s", r->path,
				strerror(errno));
	r->named = false;
	return 0;
}

void replace_end(struct replacement *r)
{
	if (r->named)
		unlink(r->temp);
	if (r->fd >= 0)
		close(r->fd);
	free(r->temp);
	*r = (struct replacement){.fd = -1};
}
