/* SPDX-License-Identifier: ISC */
/* rundir.c: control sockets in a private folder. Sockets are reached through the folder's
 * descriptor, so that a long path fits into a sockaddr_un and a folder that is swapped under us is
 * not followed. Called by the main thread. */
#include "ctl/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CLAIM_MS 10 /* between looks whether the other one has gone */

static bool is_folder(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISDIR(st.st_mode) && !access(path, W_OK | X_OK);
}

static void rundir_path(char *path, size_t size)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	unsigned uid = (unsigned)geteuid();
	char base[64];

	snprintf(base, sizeof(base), "/run/user/%u", uid);
	if (xdg && xdg[0] == '/' && is_folder(xdg))
		snprintf(path, size, "%s/vigia", xdg);
	else if (is_folder(base))
		snprintf(path, size, "%s/vigia", base);
	else
		snprintf(path, size, "/tmp/vigia-%u", uid);
}

int rundir_open(bool create, char *path, size_t size, struct msg *msg)
{
	struct stat st;
	int fd;

	rundir_path(path, size);
	if (create && mkdir(path, 0700) && errno != EEXIST)
		return msg_fail(msg, ERR_ACCES, "cannot make the folder %s: %s", path,
				strerror(errno));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && !create)
		return ERR_NOENT;
	if (fd < 0)
		return msg_fail(msg, ERR_ACCES,
				"cannot open the folder %s: %s; set XDG_RUNTIME_DIR "
				"to a folder of yours",
				path, strerror(errno));
	if (fstat(fd, &st) || st.st_uid != geteuid() || (st.st_mode & 077)) {
		close(fd);
		return msg_fail(msg, ERR_ACCES,
				"the folder %s is not yours alone: remove it, or set "
				"XDG_RUNTIME_DIR to a folder of yours",
				path);
	}
	return fd;
}

static int socket_address(int dir, const char *name, struct sockaddr_un *sa)
{
	int n;

	*sa = (struct sockaddr_un){.sun_family = AF_UNIX};
	n = snprintf(sa->sun_path, sizeof(sa->sun_path), "/proc/self/fd/%d/%s.sock", dir, name);
	return n < (int)sizeof(sa->sun_path) ? 0 : ERR_INVAL;
}

int rundir_connect(int dir, const char *name, struct msg *msg)
{
	struct sockaddr_un sa;
	int fd, e;

	if (socket_address(dir, name, &sa))
		return msg_fail(msg, ERR_INVAL, "the name %s is too long", name);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return msg_fail(msg, ERR_NOMEM, "no socket: %s", strerror(errno));
	if (!connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		if (rundir_peer_trusted(fd))
			return fd;
		close(fd);
		return msg_fail(msg, ERR_ACCES, "the VM %s belongs to somebody else", name);
	}
	e = errno;
	close(fd);
	if (e == ECONNREFUSED || e == ENOENT)
		return msg_fail(msg, ERR_NOENT, "no VM %s runs: see vigia list", name);
	return msg_fail(msg, ERR_ACCES, "cannot reach the VM %s: %s", name, strerror(e));
}

void rundir_remove(int dir, const char *name)
{
	char file[RUNDIR_NAME_MAX + 8];

	snprintf(file, sizeof(file), "%s.sock", name);
	unlinkat(dir, file, 0);
}

static int already(const char *name, struct msg *msg)
{
	return msg_fail(msg, ERR_EXIST,
			"a VM %s runs already: choose another --name, or stop "
			"it with vigia stop %s",
			name, name);
}

static void lock_file(const char *name, char *file, size_t size)
{
	snprintf(file, size, "%s.lock", name);
}

/* Gives the descriptor with the lock, or ERR_BUSY and the process that has it. Who goes removes the file, so that
 * what was locked may be another one than what is there. */
static int try_claim(int dir, const char *file, char *pid, size_t size, struct msg *msg)
{
	for (;;) {
		int fd = openat(dir, file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		struct stat ours, there;
		ssize_t n;

		if (fd < 0)
			return msg_fail(msg, ERR_IO, "cannot make %s: %s", file, strerror(errno));
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			n = pread(fd, pid, size - 1, 0);
			pid[n > 0 ? n : 0] = 0;
			close(fd);
			return ERR_BUSY;
		}
		if (!fstat(fd, &ours) && !fstatat(dir, file, &there, AT_SYMLINK_NOFOLLOW) &&
		    ours.st_ino == there.st_ino)
			return fd;
		close(fd);
	}
}

int rundir_claim(int dir, const char *name, unsigned ms, struct msg *msg)
{
	const struct timespec nap = {.tv_nsec = CLAIM_MS * 1000000};
	char file[RUNDIR_NAME_MAX + 8], pid[16] = "";
	struct msg ignored = {""};
	int fd, other;

	lock_file(name, file, sizeof(file));
	for (;; ms -= CLAIM_MS) {
		fd = try_claim(dir, file, pid, sizeof(pid), msg);
		if (fd >= 0)
			break;
		if (fd != ERR_BUSY)
			return fd;
		other = rundir_connect(dir, name, &ignored);
		if (other >= 0) {
			close(other);
			return already(name, msg);
		}
		if (ms < CLAIM_MS)
			return msg_fail(
				msg, ERR_BUSY,
				"the VM %s has been stopped, but its process (%s) still closes "
				"its disks: try again later, or choose another --name",
				name, pid);
		nanosleep(&nap, NULL);
	}
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	if (ftruncate(fd, 0) || pwrite(fd, pid, strlen(pid), 0) < 0)
		return fd; /* messages will lack it */
	return fd;
}

void rundir_release(int dir, const char *name, int lock)
{
	char file[RUNDIR_NAME_MAX + 8];

	lock_file(name, file, sizeof(file));
	unlinkat(dir, file, 0);
	close(lock);
}

static int bind_locked(int dir, int fd, const char *name, struct msg *msg)
{
	struct sockaddr_un sa;
	struct msg ignored = {""};
	int other, err = socket_address(dir, name, &sa);

	if (err)
		return msg_fail(msg, err, "the name %s is too long", name);
	if (!bind(fd, (struct sockaddr *)&sa, sizeof(sa)))
		return 0;
	if (errno != EADDRINUSE)
		return msg_fail(msg, ERR_IO, "cannot make a control socket: %s", strerror(errno));
	other = rundir_connect(dir, name, &ignored);
	if (other >= 0)
		close(other);
	if (other != ERR_NOENT)
		return already(name, msg);
	rundir_remove(dir, name); /* a dead process left it */
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)))
		return msg_fail(msg, ERR_IO, "cannot make a control socket: %s", strerror(errno));
	return 0;
}

int rundir_listen(int dir, const char *name, struct msg *msg)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t old;
	int err;

	if (fd < 0)
		return msg_fail(msg, ERR_NOMEM, "no socket: %s", strerror(errno));
	/* The lock keeps two starting VMs of one name from removing each other's socket, and is held
	 * until the socket listens: before, it looks like a dead one. */
	if (flock(dir, LOCK_EX)) {
		err = msg_fail(msg, ERR_IO, "cannot lock the folder of sockets: %s",
			       strerror(errno));
		close(fd);
		return err;
	}
	old = umask(0177);
	err = bind_locked(dir, fd, name, msg);
	umask(old);
	if (!err && listen(fd, 16))
		err = msg_fail(msg, ERR_IO, "cannot listen: %s", strerror(errno));
	flock(dir, LOCK_UN);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

void rundir_sweep(int dir, const char *name)
{
	struct msg ignored = {""};
	int fd, lock;

	/* Locked: a VM that starts has its socket bound for a moment before it listens. */
	if (flock(dir, LOCK_EX))
		return;
	fd = rundir_connect(dir, name, &ignored);
	if (fd >= 0)
		close(fd);
	else if (fd == ERR_NOENT)
		rundir_remove(dir, name);
	flock(dir, LOCK_UN);
	/* In the sandbox a VM can remove neither. */
	lock = fd == ERR_NOENT ? rundir_claim(dir, name, 0, &ignored) : -1;
	if (lock >= 0)
		rundir_release(dir, name, lock);
}

static int is_socket_name(const struct dirent *d)
{
	size_t n = strlen(d->d_name);

	return n > 5 && n < RUNDIR_NAME_MAX + 5 && !strcmp(d->d_name + n - 5, ".sock");
}

int rundir_each(int dir, void (*fn)(void *arg, const char *name), void *arg)
{
	struct dirent **list;
	int n = scandirat(dir, ".", &list, is_socket_name, alphasort);

	if (n < 0)
		return ERR_IO;
	for (int i = 0; i < n; i++) {
		list[i]->d_name[strlen(list[i]->d_name) - 5] = 0;
		fn(arg, list[i]->d_name);
		free(list[i]);
	}
	free(list);
	return 0;
}

bool rundir_peer_trusted(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return false;
	return cred.uid == geteuid() || cred.uid == 0;
}
