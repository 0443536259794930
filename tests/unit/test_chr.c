/* SPDX-License-Identifier: ISC */
/* test_chr.c: character streams on the real event loop: output order and loss, input held back until
 * the device takes it, sockets with replay, pseudo-terminals, the terminal's keys and its way back. */
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/str.h"
#include "chr/mux.h"
#include "chr/open.h"
#include "chr/ring.h"
#include "chr/stdio.h"
#include "plat/linux/log.h"

#define WAIT_NS (10 * NS_PER_SEC)

/* ---- a device that takes at most `room` bytes --------------------------------------------- */

struct device {
	_Atomic size_t len, room;
	uint8_t buf[256 * 1024];
};

static size_t device_receive(void *dev, const uint8_t *buf, size_t len)
{
	struct device *d = dev;
	size_t n = MIN(len, atomic_load(&d->room)), at = atomic_load(&d->len);

	memcpy(d->buf + at, buf, n);
	atomic_fetch_sub(&d->room, n);
	atomic_store(&d->len, at + n);
	return n;
}

static struct device *device_new(struct chr *c, size_t room)
{
	struct device *d = calloc(1, sizeof(*d));
	const struct chr_client client = {.receive = device_receive, .dev = d};

	atomic_store(&d->room, room);
	chr_attach(c, &client);
	return d;
}

static bool wait_len(struct device *d, size_t len)
{
	uint64_t end = plat_now() + WAIT_NS;

	while (atomic_load(&d->len) < len && plat_now() < end)
		usleep(200);
	return atomic_load(&d->len) == len;
}

/* Reads until n bytes or a second of silence. */
static size_t read_n(int fd, void *buf, size_t n)
{
	size_t got = 0;

	while (got < n) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t r;

		if (poll(&p, 1, 1000) <= 0)
			break;
		r = read(fd, (char *)buf + got, n - got);
		if (r <= 0)
			break;
		got += (size_t)r;
	}
	return got;
}

static struct plat_loop *loop;
static char dir[] = "/tmp/test_chr.XXXXXX";
static char path[128], err[256];

static int setup(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	plat_log_set_level(LOG_WARN);
	if (!mkdtemp(dir))
		return -1;
	str_format(path, sizeof(path), "%s/x", dir);
	return plat_loop_create(&loop);
}

static int teardown(void **state)
{
	plat_loop_destroy(loop);
	return rmdir(dir);
}

/* ---- ring -------------------------------------------------------------------------------- */

static void test_ring(void **state)
{
	uint8_t storage[16], model[4096];
	struct chr_ring r = {.buf = storage, .size = sizeof(storage)};
	size_t from = 0, to = 0;
	uint32_t rnd = 99;

	for (int i = 0; i < 100000; i++) {
		uint8_t data[40];
		const uint8_t *p;
		size_t n, first;

		rnd = rnd * 1664525 + 1013904223;
		n = (rnd >> 10) % (rnd >> 28 ? 8 : 40);
		for (size_t k = 0; k < n; k++)
			data[k] = model[(to + k) % sizeof(model)] = (uint8_t)(rnd + k);
		assert_int_equal(ring_put(&r, data, n),
				 to + n - from > 16 ? to + n - from - 16 : 0);
		to += n;
		from = MAX(from, to < 16 ? 0 : to - 16);
		assert_int_equal(r.len, to - from);
		first = ring_peek(&r, &p);
		for (size_t k = 0; k < r.len; k++)
			assert_int_equal(k < first ? p[k] : r.buf[k - first],
					 model[(from + k) % sizeof(model)]);
		n = MIN((rnd >> 20) % 8, r.len);
		ring_drop(&r, n);
		from += n;
	}
}

/* ---- files and sockets ------------------------------------------------------------------- */

static void test_bad_specs(void **state)
{
	static const char *const bad[] = {"",
					  "stdi",
					  "file",
					  "file:",
					  "unix:",
					  "ptyx",
					  "file:/nonexistent/dir/x",
					  "none:",
					  "unix:/nonexistent/dir/x"};
	char longest[300];
	struct chr *c;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		err[0] = 0;
		assert_true(chr_open(loop, bad[i], &c, err, sizeof(err)) < 0);
		assert_true(str_len(err) > 10);
	}
	memset(longest, 'a', sizeof(longest));
	memcpy(longest, "unix:/tmp/", 10);
	longest[sizeof(longest) - 1] = 0;
	assert_int_equal(chr_open(loop, longest, &c, err, sizeof(err)), ERR_INVAL);
}

static void test_none(void **state)
{
	struct chr *c;

	assert_int_equal(chr_open(loop, "none", &c, err, sizeof(err)), 0);
	chr_write(c, "abc", 3);
	chr_rx_ready(c);
	chr_close(c);
}

static void test_file(void **state)
{
	char spec[140], buf[70000];
	struct chr *c;
	size_t n = 0;
	FILE *f;

	str_format(spec, sizeof(spec), "file:%s", path);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(chr_open(loop, spec, &c, err, sizeof(err)), 0);
		/* bytes one by one as a serial port does, from the start again in round 2 */
		for (int i = 0; i < 50000; i++) {
			char ch = (char)('a' + (i + round) % 26);

			chr_write(c, &ch, 1);
		}
		chr_close(c);
		f = fopen(path, "r");
		n = fread(buf, 1, sizeof(buf), f);
		fclose(f);
		assert_int_equal(n, 50000);
		for (int i = 0; i < 50000; i++)
			assert_int_equal(buf[i], 'a' + (i + round) % 26);
	}
	unlink(path);
}

struct watcher {
	_Atomic unsigned gone;
};

static void on_gone(void *arg, struct chr *c)
{
	atomic_fetch_add(&((struct watcher *)arg)->gone, 1);
	chr_close(c); /* allowed on the loop's thread */
}

static void test_fd(void **state)
{
	struct watcher w = {0};
	uint8_t *big = malloc(100000), *back = malloc(200000);
	struct device *d;
	struct chr *c;
	int s[2];
	size_t n;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	for (size_t i = 0; i < 100000; i++)
		big[i] = (uint8_t)(i * 7 + i / 256);

	/* input comes before there is a device, and the device has little room */
	assert_int_equal(write(s[1], big, 10000), 10000);
	assert_int_equal(chr_fd_open(loop, s[0], on_gone, &w, &c), 0);
	usleep(5000);
	d = device_new(c, 100);
	assert_true(wait_len(d, 100));
	usleep(5000);
	assert_int_equal(atomic_load(&d->len), 100);
	for (size_t want = 600; want <= 10100; want += 500) {
		atomic_store(&d->room, 500);
		chr_rx_ready(c);
		chr_rx_ready(c);
		assert_true(wait_len(d, MIN(want, (size_t)10000)));
	}
	assert_memory_equal(d->buf, big, 10000);

	/* output in pieces of every size */
	n = 0;
	for (size_t k = 1; n + k < 60000; n += k, k = k * 3 / 2 + 1)
		chr_write(c, big + n, k);
	assert_int_equal(read_n(s[1], back, n), n);
	assert_memory_equal(back, big, n);

	/* a reader that stalls: the newest 64 KiB survive, and the writer never waits */
	for (int i = 0; i < 40; i++)
		chr_write(c, big, 100000);
	n = 0;
	for (size_t got; (got = read_n(s[1], back, 100000)) > 0; n += got) {
		if (got >= 1000)
			continue;
	}
	assert_true(n >= 64 * 1024);
	assert_true(n < 40 * 100000);

	close(s[1]);
	for (uint64_t end = plat_now() + WAIT_NS; !atomic_load(&w.gone) && plat_now() < end;)
		usleep(200);
	assert_int_equal(atomic_load(&w.gone), 1);
	free(d);
	free(big);
	free(back);
}

static int connect_to(const char *name)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	str_copy(a.sun_path, sizeof(a.sun_path), name);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		close(fd);
		return -1;
	}
	return fd;
}

static void test_unix(void **state)
{
	char spec[140], *buf = calloc(1, 200000), *text = malloc(100000);
	struct chr *c, *c2;
	struct device *d;
	struct stat st;
	int fd, fd2;

	str_format(spec, sizeof(spec), "unix:%s", path);
	assert_int_equal(chr_open(loop, spec, &c, err, sizeof(err)), 0);
	d = device_new(c, 10000);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(chr_open(loop, spec, &c2, err, sizeof(err)), ERR_IO);
	assert_non_null(strstr(err, "in use"));

	/* what was written with nobody there is replayed, the last 64 KiB of it */
	for (int i = 0; i < 100000; i++)
		text[i] = (char)('0' + i % 77);
	chr_write(c, text, 100000);
	fd = connect_to(path);
	assert_int_equal(read_n(fd, buf, 65536), 65536);
	assert_memory_equal(buf, text + 100000 - 65536, 65536);
	chr_write(c, "live", 4);
	assert_int_equal(read_n(fd, buf, 4), 4);
	assert_memory_equal(buf, "live", 4);
	assert_int_equal(write(fd, "input", 5), 5);
	assert_true(wait_len(d, 5));

	/* a second client is told so; after the first has left another may come */
	fd2 = connect_to(path);
	assert_true(read_n(fd2, buf, 7) == 7 && !memcmp(buf, "Another", 7));
	close(fd2);
	close(fd);
	for (int i = 0; i < 100; i++) {
		usleep(2000);
		fd = connect_to(path);
		assert_int_equal(read_n(fd, buf, 7), 7);
		if (memcmp(buf, "Another", 7))
			break;
		close(fd);
	}
	assert_int_equal(write(fd, "again", 5), 5);
	assert_true(wait_len(d, 10));
	assert_memory_equal(d->buf, "inputagain", 10);
	chr_close(c);
	close(fd);
	assert_int_equal(stat(path, &st), -1);

	/* a killed process leaves its socket file; it does not hinder the next */
	{
		struct sockaddr_un a = {.sun_family = AF_UNIX};
		int dead = socket(AF_UNIX, SOCK_STREAM, 0);

		str_copy(a.sun_path, sizeof(a.sun_path), path);
		assert_int_equal(bind(dead, (struct sockaddr *)&a, sizeof(a)), 0);
		close(dead);
	}
	assert_int_equal(chr_open(loop, spec, &c, err, sizeof(err)), 0);
	chr_close(c);
	free(d);
	free(buf);
	free(text);
}

static void test_pty(void **state)
{
	struct device *d;
	struct chr *c;
	char buf[16];
	int fd;

	assert_int_equal(chr_open(loop, "pty", &c, err, sizeof(err)), 0);
	d = device_new(c, 1000);
	for (int round = 1; round <= 2; round++) {
		fd = open(chr_pty_name(c), O_RDWR | O_NOCTTY);
		assert_true(fd >= 0);
		chr_write(c, "a\nb", 3);
		assert_int_equal(read_n(fd, buf, 3), 3);
		assert_memory_equal(buf, "a\nb", 3); /* raw: as it is */
		assert_int_equal(write(fd, "\003\r", 2), 2);
		assert_true(wait_len(d, (size_t)round * 2));
		close(fd); /* and it can be opened again */
	}
	assert_memory_equal(d->buf, "\003\r\003\r", 4);
	chr_close(c);
	free(d);
}

/* ---- mux --------------------------------------------------------------------------------- */

static void test_mux(void **state)
{
	struct chr *mux, *part[3];
	int s[3][2];
	char buf[100];
	struct device *d;

	assert_int_equal(chr_mux_create(&mux), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s[i]), 0);
		assert_int_equal(chr_fd_open(loop, s[i][0], NULL, NULL, &part[i]), 0);
	}
	chr_write(mux, "boot ", 5);
	assert_int_equal(chr_mux_attach(mux, part[0], false), 0);
	assert_int_equal(chr_mux_attach(mux, part[1], true), 0);
	assert_int_equal(write(s[0][1], "0", 1), 1); /* before there is a device */
	chr_write(mux, "login", 5);
	assert_int_equal(read_n(s[0][1], buf, 5), 5);
	assert_memory_equal(buf, "login", 5);
	assert_int_equal(read_n(s[1][1], buf, 10), 10);
	assert_memory_equal(buf, "boot login", 10);
	assert_int_equal(chr_mux_attach(mux, part[2], true), 0);
	assert_int_equal(read_n(s[2][1], buf, 10), 10);

	d = device_new(mux, 3);
	assert_true(wait_len(d, 1));
	for (int i = 0; i < 3; i++)
		assert_int_equal(write(s[i][1], "xyz", 3), 3);
	assert_true(wait_len(d, 3));
	atomic_store(&d->room, 100);
	chr_rx_ready(mux);
	assert_true(wait_len(d, 10));

	chr_mux_detach(mux, part[1]);
	chr_write(mux, "!", 1);
	assert_int_equal(read_n(s[0][1], buf, 1), 1);
	assert_int_equal(recv(s[1][1], buf, 1, MSG_DONTWAIT), -1);
	for (int i = 0; i < 3; i++) {
		chr_mux_detach(mux, part[i]);
		chr_close(part[i]);
		close(s[i][1]);
	}
	chr_close(mux);
	free(d);
}

/* ---- stdio: each in a child of its own, on a pipe or a terminal ---------------------------- */

static size_t echo(void *dev, const uint8_t *buf, size_t len)
{
	chr_write(dev, buf, len);
	return len;
}

static void key_q(void *arg)
{
	_exit(17);
}

static const struct chr_stdio_key keys[] = {{'q', "quit the test", key_q, NULL}};

/* What `vigia run` would be: the guest echoes. */
static void child_main(void)
{
	struct plat_loop *l;
	struct chr *c;

	if (plat_loop_create(&l) || chr_stdio_open(l, keys, 1, &c, err, sizeof(err)))
		_exit(99);
	chr_write(c, "ready\n", 6);
	chr_attach(c, &(struct chr_client){.receive = echo, .dev = c});
	usleep(50000);
	for (;;) {
		if (getenv("CHILD_ENDS")) {
			usleep(300000);
			chr_close(c);
			exit(0);
		}
		if (getenv("CHILD_CRASHES")) {
			usleep(100000);
			raise(SIGSEGV);
		}
		pause();
	}
}

static void test_stdio_pipe(void **state)
{
	int in[2], out[2], status;
	char buf[100] = "";
	pid_t pid;

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	/* Ctrl-A is not special on a pipe; the end of input comes at once */
	assert_int_equal(write(in[1], "abc\001qdef", 8), 8);
	close(in[1]);
	pid = fork();
	if (!pid) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		setenv("CHILD_ENDS", "1", 1);
		execl("/proc/self/exe", "test_chr", "child", NULL);
		_exit(98);
	}
	close(out[1]);
	assert_int_equal(read_n(out[0], buf, 14), 14);
	assert_memory_equal(buf, "ready\nabc\001qdef", 14);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	close(in[0]);
	close(out[0]);
}

static void exec_child(const char *env)
{
	/* sanitizers would handle crashes themselves */
	setenv("ASAN_OPTIONS", "handle_segv=0:handle_abort=0", 1);
	setenv("TSAN_OPTIONS", "handle_segv=0:handle_abort=0", 1);
	if (env)
		setenv(env, "1", 1);
	execl("/proc/self/exe", "test_chr", "child", NULL);
	_exit(98);
}

/* Starts the child on a new terminal; its controlling one. */
static pid_t child_on_tty(int *master, const char *env)
{
	pid_t pid = forkpty(master, NULL, NULL, NULL);

	if (!pid) {
		/* a shell's background jobs inherit them ignored, and so they would stay */
		signal(SIGINT, SIG_DFL);
		signal(SIGQUIT, SIG_DFL);
		exec_child(env);
	}
	return pid;
}

/* Likewise, but below a shell, without which nothing can be stopped; *shell is to be waited for. */
static pid_t child_below_shell(int *master, pid_t *shell)
{
	int tell[2], status;
	pid_t pid;

	assert_int_equal(pipe2(tell, O_CLOEXEC), 0);
	*shell = forkpty(master, NULL, NULL, NULL);
	if (!*shell) {
		pid = fork();
		if (!pid) {
			setpgid(0, 0);
			signal(SIGTTOU, SIG_IGN);
			tcsetpgrp(0, getpid());
			signal(SIGTTOU, SIG_DFL);
			exec_child(NULL);
		}
		if (write(tell[1], &pid, sizeof(pid)) != sizeof(pid))
			_exit(97);
		do {
			waitpid(pid, &status, WUNTRACED);
		} while (!WIFEXITED(status) && !WIFSIGNALED(status));
		_exit(WEXITSTATUS(status));
	}
	assert_int_equal(read_n(tell[0], &pid, sizeof(pid)), sizeof(pid));
	close(tell[0]);
	close(tell[1]);
	return pid;
}

static bool wait_stopped(pid_t pid)
{
	char name[64], text[512];

	str_format(name, sizeof(name), "/proc/%d/stat", pid);
	for (int i = 0; i < 2000; i++) {
		FILE *f = fopen(name, "r");
		size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

		if (f)
			fclose(f);
		text[n] = 0;
		if (strstr(text, ") T "))
			return true;
		usleep(1000);
	}
	return false;
}

static bool is_raw(int fd)
{
	struct termios t;

	assert_int_equal(tcgetattr(fd, &t), 0);
	return !(t.c_lflag & (ICANON | ECHO | ISIG));
}

static bool wait_raw(int fd, bool raw)
{
	for (int i = 0; i < 2000 && is_raw(fd) != raw; i++)
		usleep(1000);
	return is_raw(fd) == raw;
}

static void expect_text(int fd, const char *text)
{
	char buf[4000];
	size_t n = 0;

	for (uint64_t end = plat_now() + WAIT_NS; plat_now() < end;) {
		n += read_n(fd, buf + n, 1);
		buf[n] = 0;
		if (strstr(buf, text))
			return;
	}
	fail_msg("'%s' did not come, but: %s", text, buf);
}

static void test_stdio_tty(void **state)
{
	int fd, status;
	pid_t shell, pid = child_below_shell(&fd, &shell);

	expect_text(fd, "ready");
	assert_true(wait_raw(fd, true));
	assert_int_equal(write(fd, "ab\003c\r", 5), 5); /* Ctrl-C is the guest's */
	expect_text(fd, "ab\003c\r");
	assert_int_equal(write(fd, "\001h", 2), 2);
	expect_text(fd, "quit the test");
	expect_text(fd, "send Ctrl-A");
	assert_int_equal(write(fd, "\001\001z", 3), 3);
	expect_text(fd, "\001z");

	/* stopped: the shell gets a sane terminal; continued: raw again */
	kill(pid, SIGTSTP);
	assert_true(wait_stopped(pid));
	assert_false(is_raw(fd));
	kill(pid, SIGCONT);
	assert_true(wait_raw(fd, true));
	assert_int_equal(write(fd, "still", 5), 5);
	expect_text(fd, "still");

	assert_int_equal(write(fd, "\001q", 2), 2);
	assert_int_equal(waitpid(shell, &status, 0), shell);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 17);
	close(fd);
}

/* However it ends, the terminal is as before. */
static void test_stdio_restore(void **state)
{
	static const int sigs[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGABRT};
	int fd, slave, status;
	pid_t pid;

	for (size_t i = 0; i < ARRAY_SIZE(sigs) + 3; i++) {
		bool ends = i == ARRAY_SIZE(sigs), crashes = i == ARRAY_SIZE(sigs) + 1;

		pid = child_on_tty(&fd, ends ? "CHILD_ENDS" : crashes ? "CHILD_CRASHES" : NULL);
		slave = open(ptsname(fd), O_RDWR | O_NOCTTY);
		expect_text(fd, "ready");
		assert_true(wait_raw(fd, true));
		if (i < ARRAY_SIZE(sigs))
			kill(pid, sigs[i]);
		else if (!ends && !crashes)
			assert_int_equal(write(fd, "\001x", 2), 2);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (i < ARRAY_SIZE(sigs))
			assert_int_equal(WTERMSIG(status), sigs[i]);
		assert_false(is_raw(slave));
		close(slave);
		close(fd);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring),
		cmocka_unit_test(test_bad_specs),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_fd),
		cmocka_unit_test(test_unix),
		cmocka_unit_test(test_pty),
		cmocka_unit_test(test_mux),
		cmocka_unit_test(test_stdio_pipe),
		cmocka_unit_test(test_stdio_tty),
		cmocka_unit_test(test_stdio_restore),
	};

	signal(SIGHUP, SIG_DFL); /* nohup's children ignore it, as they should */
	if (argc == 2 && str_eq(argv[1], "child"))
		child_main();
	return cmocka_run_group_tests(tests, setup, teardown);
}
