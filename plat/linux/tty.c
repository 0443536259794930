/* SPDX-License-Identifier: ISC */
/* tty.c: the terminal in raw mode, and back on every way out. Signal handlers enter, so all of it is
 * async-signal-safe; plat_tty_raw() and _release() are for one thread. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "plat/linux/tty.h"

struct tty_state {
	_Atomic int fd; /* -1: none taken */
	_Atomic bool raw;
	struct termios cooked;
};

static struct tty_state tty = {.fd = -1};

bool plat_tty_in_foreground(int fd)
{
	pid_t group = tcgetpgrp(fd);

	/* a terminal that is not our controlling one does not stop us */
	return group < 0 || group == getpgrp();
}

static void make_raw(void)
{
	int fd = atomic_load(&tty.fd);
	struct termios t = tty.cooked;

	if (fd < 0 || !plat_tty_in_foreground(fd))
		return;
	t.c_iflag &= ~(tcflag_t)(BRKINT | ICRNL | INLCR | IGNCR | INPCK | ISTRIP | IXON | PARMRK);
	t.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN | ISIG);
	t.c_cflag = (t.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
	t.c_cc[VMIN] = 1;
	t.c_cc[VTIME] = 0;
	atomic_store(&tty.raw, true);
	tcsetattr(fd, TCSANOW, &t);
}

void plat_tty_restore(void)
{
	int saved = errno, fd = atomic_load(&tty.fd);

	if (fd >= 0 && atomic_exchange(&tty.raw, false) && plat_tty_in_foreground(fd))
		tcsetattr(fd, TCSANOW, &tty.cooked);
	errno = saved;
}

void plat_tty_release(void)
{
	plat_tty_restore();
	atomic_store(&tty.fd, -1);
}

/* ---- signals ----------------------------------------------------------------------------- */

static void on_signal(int sig)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL}, own;
	int saved = errno;
	sigset_t set;

	plat_tty_restore();
	/* the default action now, at once: it ends or stops the process */
	sigaction(sig, &dfl, &own);
	sigemptyset(&set);
	sigaddset(&set, sig);
	raise(sig);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	/* here after a stop */
	sigaction(sig, &own, NULL);
	make_raw();
	errno = saved;
}

static void on_continue(int sig)
{
	int saved = errno;

	make_raw();
	errno = saved;
}

static void take_signal(int sig, void (*fn)(int))
{
	struct sigaction sa = {.sa_handler = fn, .sa_flags = SA_RESTART | SA_ONSTACK}, old;

	sigfillset(&sa.sa_mask);
	if (!sigaction(sig, NULL, &old) && !(old.sa_flags & SA_SIGINFO) &&
	    old.sa_handler == SIG_DFL)
		sigaction(sig, &sa, NULL);
}

int plat_tty_raw(int fd)
{
	static const int fatal[] = {SIGHUP, SIGINT,  SIGQUIT, SIGILL,  SIGTRAP, SIGABRT, SIGBUS,
				    SIGFPE, SIGSEGV, SIGTERM, SIGXCPU, SIGSYS,  SIGTSTP, SIGTTIN};
	static bool hooked;
	int none = -1;

	if (atomic_load(&tty.fd) >= 0)
		return err_here(ERR_BUSY);
	if (tcgetattr(fd, &tty.cooked))
		return err_here(ERR_INVAL);
	if (!atomic_compare_exchange_strong(&tty.fd, &none, fd))
		return err_here(ERR_BUSY);
	if (!hooked)
		atexit(plat_tty_restore);
	hooked = true;
	for (size_t i = 0; i < ARRAY_SIZE(fatal); i++)
		take_signal(fatal[i], on_signal);
	take_signal(SIGCONT, on_continue);
	make_raw();
	return 0;
}
