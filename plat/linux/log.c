/* SPDX-License-Identifier: ISC */
/* log.c: messages for people. Any thread; a line is one write(), so that lines do not mix. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "plat/linux/log.h"

struct log_state {
	_Atomic int level; /* -1: not looked up yet */
	char name[64];
	void (*hook)(void *arg, enum log_level level, const char *line);
	void *hook_arg;
};

static struct log_state state = {.level = -1};

static const struct {
	const char *word;   /* in VIGIA_LOG */
	const char *label;  /* before the message */
	const char *colour; /* of the label */
} levels[] = {
	[LOG_ERROR] = {"error", "error: ", "\033[1;31m"},
	[LOG_WARN] = {"warn", "warning: ", "\033[1;33m"},
	[LOG_INFO] = {"info", "", ""},
	[LOG_DEBUG] = {"debug", "debug: ", "\033[2m"},
};

static int current_level(void)
{
	int level = atomic_load_explicit(&state.level, memory_order_relaxed);
	const char *env;

	if (level >= 0)
		return level;
	level = LOG_INFO;
	env = getenv("VIGIA_LOG");
	for (int i = 0; env && i < (int)ARRAY_SIZE(levels); i++) {
		if (str_eq(env, levels[i].word))
			level = i;
	}
	atomic_store_explicit(&state.level, level, memory_order_relaxed);
	return level;
}

void plat_log_set_level(enum log_level level)
{
	atomic_store_explicit(&state.level, (int)level, memory_order_relaxed);
}

void plat_log_set_name(const char *name)
{
	str_copy(state.name, sizeof(state.name), name ? name : "");
}

void plat_log_set_hook(void (*hook)(void *arg, enum log_level level, const char *line), void *arg)
{
	state.hook = hook;
	state.hook_arg = arg;
}

static void write_all(const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(STDERR_FILENO, buf, len);

		if (n <= 0)
			return; /* there is nobody left to tell */
		buf += n;
		len -= (size_t)n;
	}
}

void plat_log_stderr(enum log_level level, const char *line)
{
	const char *no_colour = getenv("NO_COLOR");
	bool colour = isatty(STDERR_FILENO) && !(no_colour && *no_colour) && *levels[level].label;
	char buf[1200];
	int n;

	n = str_format(buf, sizeof(buf), "vigia%s%s%s: %s%s%s%s\n", state.name[0] ? "[" : "",
		       state.name, state.name[0] ? "]" : "", colour ? levels[level].colour : "",
		       levels[level].label, colour ? "\033[0m" : "", line);
	if (n >= (int)sizeof(buf)) {
		n = (int)sizeof(buf) - 1;
		buf[n - 1] = '\n';
	}
	write_all(buf, (size_t)n);
}

void plat_log(enum log_level level, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	if ((int)level > current_level())
		return;
	va_start(ap, fmt);
	str_vformat(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (state.hook)
		state.hook(state.hook_arg, level, line);
	else
		plat_log_stderr(level, line);
}

void plat_bug(const char *file, int line, const char *what)
{
	plat_log(LOG_ERROR,
		 "this is a bug of vigia: %s (%s:%d); please report it with what you did", what,
		 file, line);
	abort();
}

int err_trace(int err, const char *file, int line)
{
	if (unlikely(current_level() >= LOG_DEBUG))
		plat_log(LOG_DEBUG, "%s:%d: %s", file, line, err_str(err));
	return err;
}
