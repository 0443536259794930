/* SPDX-License-Identifier: ISC */
/* filelock.c: one writer or several readers of an image. The locks are those that QEMU's programs
 * take, so that each respects the others: a shared lock on byte 100 + p says "I use permission p",
 * one on 200 + p "I do not let others use p", with p 0: read, 1: write, 3: resize. Everybody takes
 * their own and then looks whether somebody else's stand against them. */

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "block/file.h"
#include "plat/plat.h"

enum { USES = 100, REFUSES = 200, P_READ = 0, P_WRITE = 1, P_RESIZE = 3 };

static int lock_byte(int fd, off_t byte)
{
	struct flock l = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	return fcntl(fd, F_OFD_SETLK, &l) ? -errno : 0;
}

static bool taken(int fd, off_t byte)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	return !fcntl(fd, F_OFD_GETLK, &l) && l.l_type != F_UNLCK;
}

/* Has process pid the file open? */
static bool has_open(const char *pid, const struct stat *want)
{
	char dir[64], path[400];
	struct dirent *e;
	struct stat st;
	bool found = false;
	DIR *d;

	snprintf(dir, sizeof(dir), "/proc/%.20s/fd", pid);
	d = opendir(dir);
	if (!d)
		return false;
	while (!found && (e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		found = e->d_name[0] != '.' && !stat(path, &st) && st.st_dev == want->st_dev &&
			st.st_ino == want->st_ino;
	}
	closedir(d);
	return found;
}

/* "NAME (process 123)" of another process that has the file open, as far as we may see. */
static void find_user(int fd, char *out, size_t size)
{
	char path[64], name[32] = "";
	struct dirent *e;
	struct stat st;
	DIR *d = opendir("/proc");

	str_copy(out, size, "another process");
	while (d && !fstat(fd, &st) && (e = readdir(d))) {
		FILE *f;

		if (!isdigit((unsigned char)e->d_name[0]) || atoi(e->d_name) == getpid() ||
		    !has_open(e->d_name, &st))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/comm", e->d_name);
		f = fopen(path, "re");
		if (f && fscanf(f, "%31[^\n]", name) == 1)
			snprintf(out, size, "%s (process %.20s)", name, e->d_name);
		if (f)
			fclose(f);
		break;
	}
	if (d)
		closedir(d);
}

int file_lock(int fd, bool write, char *err, size_t err_size)
{
	static const off_t writer[] = {USES + P_READ, USES + P_WRITE, USES + P_RESIZE,
				       REFUSES + P_WRITE, REFUSES + P_RESIZE};
	static const off_t reader[] = {USES + P_READ, REFUSES + P_WRITE, REFUSES + P_RESIZE};
	const off_t *own = write ? writer : reader;
	size_t i, n = write ? ARRAY_SIZE(writer) : ARRAY_SIZE(reader);
	char who[80];
	int e = 0;

	for (i = 0; !e && i < n; i++)
		e = lock_byte(fd, own[i]);
	if (e && e != -EAGAIN && e != -EACCES)
		return 0; /* the file system has no locks */
	if (!e && !taken(fd, REFUSES + P_READ) && !taken(fd, USES + P_WRITE) &&
	    !taken(fd, USES + P_RESIZE) &&
	    (!write || (!taken(fd, REFUSES + P_WRITE) && !taken(fd, REFUSES + P_RESIZE))))
		return 0;
	find_user(fd, who, sizeof(who));
	str_format(err, err_size, "is in use by %s", who);
	return err_here(ERR_BUSY);
}
