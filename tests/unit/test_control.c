/* SPDX-License-Identifier: ISC */
/* test_control.c: the control socket: requests, garbage, slow and vanishing clients, stale sockets,
 * two VMs of one name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/control.h"
#include "ctl/rundir.h"

#define NAME "test-vm"

struct rig {
	char top[64];
	int dir;
	struct control control;
	unsigned requests, consoles;
	int console_fd;
	int lock;
};

static int on_request(void *ctx, const char *what, json_t *args, json_t *answer, struct msg *msg)
{
	struct rig *rig = ctx;

	rig->requests++;
	if (!strcmp(what, "fail"))
		return msg_fail(msg, ERR_INVAL, "as you wish");
	json_object_set_new(answer, "echo", json_string(what));
	return 0;
}

static int take_console(void *ctx, int fd, const char *early, size_t len)
{
	struct rig *rig = ctx;

	rig->consoles++;
	rig->console_fd = fd;
	return 0;
}

static const struct control_ops ops = {.request = on_request, .take_console = take_console};

static int set_up(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct msg msg = {""};
	char path[4096];
	int fd;

	strcpy(rig->top, "/tmp/vigia-test-XXXXXX");
	assert_non_null(mkdtemp(rig->top));
	setenv("XDG_RUNTIME_DIR", rig->top, 1);
	rig->dir = rundir_open(true, path, sizeof(path), &msg);
	assert_true(rig->dir >= 0);
	fd = rundir_listen(rig->dir, NAME, &msg);
	assert_true(fd >= 0);
	control_init(&rig->control, fd, &ops, rig);
	*state = rig;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;
	char command[128];

	control_fini(&rig->control);
	close(rig->dir);
	snprintf(command, sizeof(command), "rm -rf %s", rig->top);
	assert_int_equal(system(command), 0);
	free(rig);
	return 0;
}

static int dial(struct rig *rig)
{
	struct msg msg = {""};
	int fd = rundir_connect(rig->dir, NAME, &msg);

	assert_true(fd >= 0);
	return fd;
}

/* Serves until nothing is ready. */
static void serve(struct rig *rig)
{
	struct pollfd pfd[CONTROL_POLL_MAX];

	for (unsigned k = 0; k < 1000; k++) {
		unsigned n = control_poll(&rig->control, pfd);

		if (poll(pfd, n, 0) <= 0)
			return;
		control_serve(&rig->control, pfd, n);
	}
	fail_msg("the server never rests");
}

/* Sends, serves, and reads what comes; -1 where the connection is closed without an answer. */
static ssize_t talk(struct rig *rig, int fd, const void *data, size_t len, char *answer,
		    size_t size)
{
	ssize_t n;

	assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
	serve(rig);
	n = recv(fd, answer, size - 1, MSG_DONTWAIT);
	answer[n > 0 ? n : 0] = 0;
	return n;
}

static void test_requests(void **state)
{
	struct rig *rig = *state;
	static const char two[] = "{\"do\":\"a\"}\n{\"do\":\"b\"}\n";
	static const char half[] = "{\"do\":";
	char buf[4096];
	int fd = dial(rig);

	talk(rig, fd, two, sizeof(two) - 1, buf, sizeof(buf));
	assert_string_equal(buf, "{\"ok\":true,\"echo\":\"a\"}\n{\"ok\":true,\"echo\":\"b\"}\n");
	assert_int_equal(talk(rig, fd, half, sizeof(half) - 1, buf, sizeof(buf)), -1);
	talk(rig, fd, "\"c\"}\n", 5, buf, sizeof(buf));
	assert_string_equal(buf, "{\"ok\":true,\"echo\":\"c\"}\n");
	talk(rig, fd, "{\"do\":\"fail\"}\n", 14, buf, sizeof(buf));
	assert_string_equal(buf, "{\"ok\":false,\"error\":\"as you wish\"}\n");
	assert_int_equal(rig->requests, 4);
	close(fd);
	serve(rig);
}

static void test_console(void **state)
{
	struct rig *rig = *state;
	char buf[4096];
	int fd = dial(rig);

	talk(rig, fd, "{\"do\":\"console\"}\nhello", 22, buf, sizeof(buf));
	assert_string_equal(buf, "{\"ok\":true}\n");
	assert_int_equal(rig->consoles, 1);
	close(rig->console_fd);
	close(fd);
}

static void test_garbage(void **state)
{
	struct rig *rig = *state;
	static const char *const lines[] = {"\n",         "hello\n",
					    "[1,2]\n",    "{\"do\":1}\n",
					    "{}\n",       "{\"do\":\"x\",\"do\":\"y\"}\n",
					    "\xff\xfe\n", "nul\\u0000\n"};
	char *big = calloc(1, CONTROL_LINE_MAX + 1), buf[4096];

	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
		int fd = dial(rig);

		assert_true(talk(rig, fd, lines[i], strlen(lines[i]) + 1, buf, sizeof(buf)) > 0);
		assert_non_null(strstr(buf, "\"ok\":false"));
		assert_int_equal(recv(fd, buf, sizeof(buf), 0), 0); /* and closed */
		close(fd);
	}
	/* A line without an end. */
	memset(big, '[', CONTROL_LINE_MAX);
	{
		int fd = dial(rig);

		assert_true(talk(rig, fd, big, CONTROL_LINE_MAX, buf, sizeof(buf)) > 0);
		assert_non_null(strstr(buf, "too long"));
		close(fd);
	}
	free(big);
	/* Random bytes. */
	srand(20261120);
	printf("seed 20261120\n");
	for (unsigned k = 0; k < 300; k++) {
		int fd = dial(rig);

		for (unsigned i = 0; i < 600; i++)
			buf[i] = (char)(rand() % 7 ? "{}\"do:[]\n,1e"[rand() % 12] : rand());
		send(fd, buf, 600, MSG_NOSIGNAL);
		serve(rig);
		close(fd);
		serve(rig);
	}
	assert_int_equal(rig->consoles, 0);
}

/* A client that asks and never reads must not make the server's memory grow, nor block it. */
static void test_deaf_client(void **state)
{
	struct rig *rig = *state;
	static const char req[] = "{\"do\":\"a\"}\n";
	int fd = dial(rig), flags = fcntl(fd, F_GETFL);

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	for (unsigned i = 0; i < 200000; i++) {
		if (send(fd, req, sizeof(req) - 1, MSG_NOSIGNAL) < 0) {
			serve(rig);
			if (send(fd, req, sizeof(req) - 1, MSG_NOSIGNAL) < 0)
				break;
		}
	}
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++)
		assert_true(rig->control.client[i].out_len <= CONTROL_OUT_MAX);
	close(fd);
	serve(rig);
}

static void test_many_clients(void **state)
{
	struct rig *rig = *state;
	int fd[CONTROL_MAX_CLIENTS + 8];
	char buf[256];

	for (unsigned i = 0; i < ARRAY_SIZE(fd) - 1; i++) {
		fd[i] = i < 16 + CONTROL_MAX_CLIENTS ? dial(rig) : -1;
		serve(rig);
	}
	close(fd[0]);
	serve(rig);
	/* There is room again for the one who waits longest. */
	assert_true(talk(rig, fd[CONTROL_MAX_CLIENTS], "{\"do\":\"a\"}\n", 11, buf, sizeof(buf)) >
		    0);
	for (unsigned i = 1; i < ARRAY_SIZE(fd) - 1; i++)
		close(fd[i]);
	serve(rig);
}

static void test_names(void **state)
{
	struct rig *rig = *state;
	struct msg msg = {""};
	int fd;

	/* The same name again. */
	assert_int_equal(rundir_listen(rig->dir, NAME, &msg), ERR_EXIST);
	assert_non_null(strstr(msg.text, "runs already"));
	serve(rig);
	/* Somebody listens: stays. */
	rundir_sweep(rig->dir, NAME);
	close(dial(rig));
	serve(rig);
	/* Left by a dead process: taken over. */
	close(rig->control.listen_fd);
	rig->control.listen_fd = -1;
	msg.text[0] = 0;
	fd = rundir_listen(rig->dir, NAME, &msg);
	assert_true(fd >= 0);
	rig->control.listen_fd = fd;
	close(dial(rig));
	serve(rig);
	rundir_sweep(rig->dir, NAME);
	close(dial(rig));
	serve(rig);
	close(rig->control.listen_fd);
	rig->control.listen_fd = -1;
	rundir_sweep(rig->dir, NAME);
	assert_int_equal(faccessat(rig->dir, NAME ".sock", F_OK, 0), -1);
	msg.text[0] = 0;
	assert_int_equal(rundir_connect(rig->dir, "nobody", &msg), ERR_NOENT);
}

static void *let_go(void *arg)
{
	struct rig *rig = arg;

	usleep(100000);
	rundir_release(rig->dir, "ending", rig->lock);
	return NULL;
}

/* A VM that has been stopped has no socket any more, but its name until it has gone. */
static void test_claim(void **state)
{
	struct rig *rig = *state;
	struct msg msg = {""};
	pthread_t thread;
	char text[32];
	int lock;

	rig->lock = rundir_claim(rig->dir, "ending", 0, &msg);
	assert_true(rig->lock >= 0);
	assert_int_equal(rundir_claim(rig->dir, "ending", 30, &msg), ERR_BUSY);
	snprintf(text, sizeof(text), "its process (%d)", (int)getpid());
	assert_non_null(strstr(msg.text, text));
	assert_int_equal(pthread_create(&thread, NULL, let_go, rig), 0);
	lock = rundir_claim(rig->dir, "ending", 10000, &msg);
	assert_true(lock >= 0);
	pthread_join(thread, NULL);
	/* The file is the new one's. */
	assert_int_equal(faccessat(rig->dir, "ending.lock", F_OK, 0), 0);
	assert_int_equal(rundir_claim(rig->dir, "ending", 0, &msg), ERR_BUSY);
	rundir_release(rig->dir, "ending", lock);
	assert_int_equal(faccessat(rig->dir, "ending.lock", F_OK, 0), -1);
	/* One that listens runs, and is not waited for. */
	lock = rundir_claim(rig->dir, NAME, 0, &msg);
	assert_true(lock >= 0);
	assert_int_equal(rundir_claim(rig->dir, NAME, 10000, &msg), ERR_EXIST);
	serve(rig);
	rundir_release(rig->dir, NAME, lock);
}

static void test_folder(void **state)
{
	struct rig *rig = *state;
	struct msg msg = {""};
	char path[4096];

	snprintf(path, sizeof(path), "%s/vigia", rig->top);
	assert_int_equal(chmod(path, 0755), 0);
	assert_int_equal(rundir_open(true, path, sizeof(path), &msg), ERR_ACCES);
	assert_non_null(strstr(msg.text, "not yours alone"));
	chmod(path, 0700);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_requests),     T(test_console), T(test_garbage), T(test_deaf_client),
		T(test_many_clients), T(test_names),   T(test_folder),  T(test_claim),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
