/* SPDX-License-Identifier: ISC */
/* newfile.c: a file that appears under its name when it is complete, or not at all. It has no name
 * meanwhile, where the file system can do that, so that nothing is left when the process dies. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/newfile.h"

static int fail_errno(char *err, size_t err_size, const char *what)
{
	int e = errno;

	snprintf(err, err_size, "%s%s", what, strerror(e));
	return err_here(file_error(e));
}

/* The folder of path, as a path. */
static void folder_of(const char *path, char *out, size_t size)
{
	const char *slash = strrchr(path, '/');

	snprintf(out, size, "%.*s", slash ? (int)(slash - path) + 1 : 2, slash ? path : "./");
}

/* A name beside the final one. */
static bool name_beside(struct newfile *n, char *out, size_t size)
{
	const char *slash = strrchr(n->final, '/'), *base = slash ? slash + 1 : n->final;
	int len = snprintf(out, size, "%.*s.%.200s-XXXXXX", (int)(base - n->final), n->final, base);

	return len > 0 && (size_t)len < size;
}

static int make(struct newfile *n, char *err, size_t err_size)
{
	char dir[PATH_MAX];
	mode_t mask;

	folder_of(n->final, dir, sizeof(dir));
	n->fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
	if (n->fd >= 0) {
		snprintf(n->path, sizeof(n->path), "/proc/self/fd/%d", n->fd);
		return 0;
	}
	if (errno != EOPNOTSUPP && errno != EISDIR)
		return fail_errno(err, err_size, "cannot be made: ");
	if (!name_beside(n, n->path, sizeof(n->path)))
		return (snprintf(err, err_size, "is too long a path"), err_here(ERR_RANGE));
	n->fd = mkostemp(n->path, O_CLOEXEC);
	if (n->fd < 0)
		return fail_errno(err, err_size, "cannot be made: ");
	n->named = true;
	mask = umask(0);
	umask(mask);
	if (fchmod(n->fd, 0666 & ~mask))
		return fail_errno(err, err_size, "cannot be made: ");
	return 0;
}

int newfile_open(struct newfile *n, const char *path, bool overwrite, char *err, size_t err_size)
{
	const struct file_opts fo = {0};
	struct stat st;
	int e;

	*n = (struct newfile){.fd = -1};
	if ((size_t)snprintf(n->final, sizeof(n->final), "%s", path) >= sizeof(n->final)) {
		snprintf(err, err_size, "is too long a path");
		return err_here(ERR_RANGE);
	}
	if (!lstat(path, &st)) {
		if (!overwrite || !S_ISREG(st.st_mode)) {
			snprintf(err, err_size, "exists already%s",
				 S_ISREG(st.st_mode) ? " (--force replaces it)"
						     : " and is no ordinary file");
			return err_here(ERR_EXIST);
		}
		e = file_open(NULL, path, &fo, &n->old, err, err_size);
		if (e)
			return e;
	}
	e = make(n, err, err_size);
	if (e)
		newfile_abort(n);
	return e;
}

void newfile_abort(struct newfile *n)
{
	if (n->named)
		unlink(n->path);
	if (n->fd >= 0)
		close(n->fd);
	if (n->old)
		n->old->ops->close(n->old);
	n->old = NULL;
	n->named = false;
	n->fd = -1;
}

/* Gives what has no name yet one beside the final one. */
static int give_name(struct newfile *n, char *err, size_t err_size)
{
	char name[PATH_MAX];
	int fd;

	if (!name_beside(n, name, sizeof(name)))
		return (snprintf(err, err_size, "is too long a path"), err_here(ERR_RANGE));
	fd = mkostemp(name, O_CLOEXEC); /* finds a name that is free */
	if (fd < 0)
		return fail_errno(err, err_size, "cannot be made: ");
	close(fd);
	unlink(name);
	if (linkat(AT_FDCWD, n->path, AT_FDCWD, name, AT_SYMLINK_FOLLOW))
		return fail_errno(err, err_size, "cannot be given its name: ");
	snprintf(n->path, sizeof(n->path), "%s", name);
	n->named = true;
	return 0;
}

int newfile_commit(struct newfile *n, char *err, size_t err_size)
{
	char dir[PATH_MAX];
	int e = 0, fd;

	if (fsync(n->fd))
		e = fail_errno(err, err_size, "cannot be written: ");
	if (!e && !n->named)
		e = give_name(n, err, err_size);
	if (!e && rename(n->path, n->final))
		e = fail_errno(err, err_size, "cannot be given its name: ");
	if (!e) {
		n->named = false;
		folder_of(n->final, dir, sizeof(dir));
		fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0) {
			(void)!fsync(fd);
			close(fd);
		}
	}
	newfile_abort(n);
	return e;
}
