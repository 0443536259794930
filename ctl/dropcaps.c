/* SPDX-License-Identifier: ISC */
/* dropcaps.c: capset(2) in every thread. The kernel knows capabilities of threads only; a thread that was
 * started before main dropped its own would keep them. So each is sent a signal whose handler
 * drops them, and is looked at afterwards. Main thread. */
#include "ctl/dropcaps.h"

#include <dirent.h>
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Most threads wait for something and answer at once. */
#define PAUSE_FIRST 20000u /* ns, then twice as much … */
#define PAUSE_LAST  1000000u
#define WAIT_NS     2000000000u

/* In a handler: system calls alone. */
static void drop_own(int sig)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2];
	int saved = errno;

	memset(none, 0, sizeof(none));
	syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	syscall(SYS_capset, &head, none);
	errno = saved;
}

static bool has_caps(const char *tid)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3,
						.pid = atoi(tid)};
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &head, d))
		return errno != ESRCH; /* it has ended meanwhile */
	return (d[0].permitted | d[1].permitted | d[0].effective | d[1].effective |
		d[0].inheritable | d[1].inheritable) != 0;
}

/* Calls each thread that has capabilities; gives their number, or -1. */
static int call_others(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *d;
	int n = 0;

	if (!dir)
		return -1;
	while ((d = readdir(dir))) {
		if (d->d_name[0] == '.' || !has_caps(d->d_name))
			continue;
		n++;
		syscall(SYS_tgkill, getpid(), atoi(d->d_name), SIGRTMAX);
	}
	closedir(dir);
	return n;
}

int dropcaps(struct msg *msg)
{
	struct timespec pause = {.tv_nsec = PAUSE_FIRST};
	struct sigaction sa = {.sa_handler = drop_own, .sa_flags = SA_RESTART | SA_ONSTACK};
	int left = 1;

	sigfillset(&sa.sa_mask);
	/* The handler stays: a thread may be called again before it has run for the first time, and
	 * what arrives late must not end the process. */
	if (sigaction(SIGRTMAX, &sa, NULL))
		return msg_fail(msg, ERR_IO, "cannot drop capabilities: %s", strerror(errno));
	drop_own(0);
	for (uint64_t waited = 0; waited < WAIT_NS && left > 0; waited += (uint64_t)pause.tv_nsec) {
		left = call_others();
		if (left > 0)
			nanosleep(&pause, NULL);
		pause.tv_nsec = MIN(2 * pause.tv_nsec, (long)PAUSE_LAST);
	}
	return left ? msg_fail(
			      msg, ERR_NOSYS,
			      "cannot drop the capabilities of all threads; --sandbox off goes on without")
		    : 0;
}
