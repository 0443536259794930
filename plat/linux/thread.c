/* SPDX-License-Identifier: ISC */
/* thread.c: threads of the process. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "plat/plat.h"

struct plat_thread {
	pthread_t id;
	char name[16]; /* the kernel's limit */
	void (*fn)(void *arg);
	void *arg;
};

static void *thread_main(void *p)
{
	struct plat_thread *t = p;

	pthread_setname_np(pthread_self(), t->name);
	t->fn(t->arg);
	return NULL;
}

int plat_thread_create(const char *name, void (*fn)(void *), void *arg, struct plat_thread **out)
{
	/* What people and other programs send goes to the main thread; what an instruction of the
	 * thread itself causes, and the user signals, stay. */
	static const int to_main[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGTSTP,
				      SIGCONT, SIGCHLD, SIGALRM, SIGPIPE, SIGWINCH};
	struct plat_thread *t = calloc(1, sizeof(*t));
	sigset_t block, before;
	int err;

	if (!t)
		return err_here(ERR_NOMEM);
	str_copy(t->name, sizeof(t->name), name);
	t->fn = fn;
	t->arg = arg;
	sigemptyset(&block);
	for (size_t i = 0; i < ARRAY_SIZE(to_main); i++)
		sigaddset(&block, to_main[i]);
	pthread_sigmask(SIG_BLOCK, &block, &before);
	err = pthread_create(&t->id, NULL, thread_main, t);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err) {
		plat_log(LOG_ERROR, "the host gives no thread for %s: %s", name, strerror(err));
		free(t);
		return err_here(ERR_NOMEM);
	}
	*out = t;
	return 0;
}

void plat_thread_join(struct plat_thread *t)
{
	if (!t)
		return;
	pthread_join(t->id, NULL);
	free(t);
}

void plat_yield(void)
{
	sched_yield();
}
