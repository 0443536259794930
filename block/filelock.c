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

/* How often has process pid the file open? */
static unsigned n_open(const char *pid, const struct stat *want)
{
	char dir[64], path[400];
	struct dirent *e;
	struct stat st;
	unsigned n = 0;
	DIR *d;

	snprintf(dir, sizeof(dir), "/proc/%.20s/fd", pid);
	d = opendir(dir);
	if (!d)
		return 0;
	while ((e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		n += e->d_name[0] != '.' && !stat(path, &st) && st.st_dev == want->st_dev &&
		     st.st_ino == want->st_ino;
	}
	closedir(d);
	return n;
}

/* "NAME (process 123)" of a process that has the file open (besides fd), as far as we may see. */
static bool find_user(int fd, char *out, size_t size)
{
	bool found = false;
	char path[64], name[32] = "";
	struct dirent *e;
	struct stat st;
	DIR *d = opendir("/proc");

	str_copy(out, size, "another process");
	while (d && !fstat(fd, &st) && (e = readdir(d))) {
		FILE *f;

		if (!isdigit((unsigned char)e->d_name[0]) ||
		    n_open(e->d_name, &st) <= (atoi(e->d_name) == getpid()))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/comm", e->d_name);
		f = fopen(path, "re");
		if (f && fscanf(f, "%31[^\n]", name) == 1)
			snprintf(out, size, "%s (process %.20s)", name, e->d_name);
		if (f)
			fclose(f);
		found = true;
		break;
	}
	if (d)
		closedir(d);
	return found;
}

static bool conflict(int fd, bool write)
{
	return taken(fd, REFUSES + P_READ) || taken(fd, USES + P_WRITE) ||
	       taken(fd, USES + P_RESIZE) ||
	       (write && (taken(fd, REFUSES + P_WRITE) || taken(fd, REFUSES + P_RESIZE)));
}

int file_lock(int fd, bool write, char *err, size_t err_size)
{
	static const off_t writer[] = {USES + P_READ, USES + P_WRITE, USES + P_RESIZE,
				       REFUSES + P_WRITE, REFUSES + P_RESIZE};
	static const off_t reader[] = {USES + P_READ, REFUSES + P_WRITE, REFUSES + P_RESIZE};
	const off_t *own = write ? writer : reader;
	size_t i, n = write ? ARRAY_SIZE(writer) : ARRAY_SIZE(reader);
	unsigned tries;
	char who[80];

	for (i = 0; i < n; i++)
		if (lock_byte(fd, own[i]))
			return 0; /* the file system has no locks: nobody takes exclusive ones */
	/* I/O of a process that was killed may hold a file for a moment longer than it lives. */
	for (tries = 0; conflict(fd, write); tries++) {
		if (find_user(fd, who, sizeof(who)) || tries == 100) {
			str_format(err, err_size, "is in use by %s", who);
			return err_here(ERR_BUSY);
		}
		usleep(20000);
	}
	return 0;
}
