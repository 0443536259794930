/* SPDX-License-Identifier: ISC */
/* test_vnc.c: viewers on a display and an input of the test's own, by the bytes of RFC 6143: what they
 * are sent, what arrives of what they send, and every way to end. Runs in the sanitizers' builds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "ui/vnc.h"

#define W 64u
#define H 48u

static struct display display;
static struct input in;
static struct typist typist;
static struct plat_loop *loop;
static struct vnc *vnc;
static uint32_t pixels[2 * W * H];
static _Atomic unsigned wanted_height; /* of the next picture */
static _Atomic uint32_t colour;        /* of its last row */
static _Atomic unsigned keys, last_key, moves, lost, early;
static _Atomic bool slow, full; /* the keyboard: nobody fetches the last key yet, or has */
static _Atomic int x_sum, x_press;
static char path[108];

static void refresh(void *dev, struct display *d)
{
	unsigned h = wanted_height;

	if (d->height != h) {
		d->width = W;
		d->height = h;
		d->resized = true;
	}
	for (unsigned x = 0; x < W; x++) {
		if (pixels[(h - 1) * W + x] != colour)
			d->row_dirty[h - 1] = 1;
		pixels[(h - 1) * W + x] = colour;
	}
}

static bool is_busy(void *dev)
{
	return full;
}

static void on_key(void *dev, unsigned key, bool down)
{
	lost += full;
	full = slow;
	last_key = key | (down ? 0x1000u : 0);
	keys++;
}

static void on_move(void *dev, int dx, int dy, int dz, unsigned buttons)
{
	early += full; /* before a key that was typed first has been taken */
	x_sum += dx;
	if (buttons && !x_press)
		x_press = x_sum;
	moves++;
}

static int setup(void **state)
{
	char err[200], spec[128];

	memset(pixels, 0, sizeof(pixels));
	keys = moves = lost = early = 0;
	slow = full = false;
	x_sum = x_press = 0;
	wanted_height = H;
	colour = 0x112233;
	display_init(&display);
	display.refresh = refresh;
	display.pixels = pixels;
	input_init(&in);
	input_add(&in,
		  &(struct input_device){.kind = INPUT_KEYBOARD, .busy = is_busy, .key = on_key});
	input_add(&in, &(struct input_device){.kind = INPUT_MOUSE, .move = on_move});
	assert_int_equal(plat_loop_create(&loop), 0);
	assert_int_equal(typist_init(&typist, &in, loop), 0);
	snprintf(path, sizeof(path), "/tmp/vigia-vnc-%d.sock", (int)getpid());
	snprintf(spec, sizeof(spec), "unix:%s", path);
	assert_int_equal(vnc_open(loop, spec, "test", &display, &typist, &vnc, err, sizeof(err)),
			 0);
	return 0;
}

static int teardown(void **state)
{
	if (vnc)
		vnc_close(vnc);
	typist_fini(&typist);
	plat_loop_destroy(loop);
	assert_int_equal(access(path, F_OK), -1);
	return 0;
}

static void put(int fd, const void *buf, size_t len)
{
	assert_int_equal(send(fd, buf, len, MSG_NOSIGNAL), len);
}

static void get(int fd, void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len) {
		ssize_t n = recv(fd, p, len, 0);

		assert_true(n > 0);
		p += n;
		len -= (size_t)n;
	}
}

static int call(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = 20};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(sa.sun_path, path);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

/* Protocol 3.8, no password, raw; the name is "test - vigia". */
static int join(void)
{
	static const uint8_t encodings[] = {2, 0, 0, 2, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x21};
	int fd = call();
	uint8_t b[64];

	get(fd, b, 12);
	assert_memory_equal(b, "RFB 003.008\n", 12);
	put(fd, b, 12);
	get(fd, b, 2);
	assert_memory_equal(b, "\1\1", 2);
	put(fd, "\1", 1);
	get(fd, b, 4);
	assert_memory_equal(b, "\0\0\0\0", 4);
	put(fd, "\1", 1);
	get(fd, b, 24 + 12);
	assert_memory_equal(b, "\0\x40\0\x30\x20\x18\0", 7);
	assert_memory_equal(b + 8, "\0\xff\0\xff\0\xff\x10\x08\0", 9);
	assert_memory_equal(b + 24, "test - vigia", 12);
	put(fd, encodings, sizeof(encodings));
	return fd;
}

static void ask(int fd, bool incremental)
{
	const uint8_t b[] = {3, incremental, 0, 0, 0, 0, 0, W, 0, 2 * H};

	put(fd, b, sizeof(b));
}

struct rect {
	unsigned x, y, w, h;
	int32_t encoding;
};

/* One update of one rectangle; its first dot. */
static uint32_t update(int fd, struct rect *r)
{
	static uint32_t dots[2 * W * H];
	uint8_t b[16];

	get(fd, b, 16);
	assert_memory_equal(b, "\0\0\0\1", 4);
	r->x = b[4] << 8 | b[5];
	r->y = b[6] << 8 | b[7];
	r->w = b[8] << 8 | b[9];
	r->h = b[10] << 8 | b[11];
	r->encoding = (int32_t)((uint32_t)b[12] << 24 | b[13] << 16 | b[14] << 8 | b[15]);
	if (r->encoding)
		return 0;
	assert_true(r->w * r->h <= 2 * W * H);
	get(fd, dots, r->w * r->h * sizeof(uint32_t));
	return dots[0];
}

static void wait_for(_Atomic unsigned *what, unsigned n)
{
	for (unsigned i = 0; *what < n && i < 20000; i++)
		usleep(1000);
	assert_int_equal(*what, n);
}

static void test_picture(void **state)
{
	int a = join(), b = join();
	struct rect r;

	ask(a, false);
	update(a, &r);
	assert_int_equal(r.w * r.h, W * H);
	/* nothing has changed: nothing comes; then one row, to both */
	ask(a, true);
	ask(b, false);
	update(b, &r);
	assert_int_equal(r.h, H);
	ask(b, true);
	usleep(150000);
	assert_int_equal(recv(a, &r, 1, MSG_DONTWAIT), -1);
	colour = 0xabcdef;
	assert_int_equal(update(a, &r), 0xabcdef);
	assert_int_equal(r.y, H - 1);
	assert_int_equal(r.h, 1);
	assert_int_equal(update(b, &r), 0xabcdef);
	/* another size */
	ask(a, true);
	wanted_height = 2 * H;
	update(a, &r);
	assert_int_equal(r.encoding, -223);
	assert_int_equal(r.h, 2 * H);
	ask(a, false);
	update(a, &r);
	assert_int_equal(r.h, 2 * H);
	close(a);
	close(b);
}

static void key(int fd, bool down, uint16_t sym)
{
	const uint8_t b[] = {4, down, 0, 0, 0, 0, (uint8_t)(sym >> 8), (uint8_t)sym};

	put(fd, b, sizeof(b));
}

static void test_input(void **state)
{
	static const uint8_t to[] = {5, 0, 0, 10, 0, 20}, back[] = {5, 1, 0, 4, 0, 20};
	int fd = join();
	uint8_t rest[64];

	key(fd, true, 'a');
	wait_for(&keys, 1);
	assert_int_equal(last_key, 0x101e);
	key(fd, false, 'a');
	wait_for(&keys, 2);
	key(fd, true, 0xeeee); /* no key of ours */
	key(fd, true, '@');    /* without Shift, which it takes: four events */
	wait_for(&keys, 5);
	put(fd, to, sizeof(to));
	put(fd, back, sizeof(back));
	wait_for(&moves, 2);
	assert_int_equal(x_sum, 4);
	/* who goes lets go, and is let go */
	shutdown(fd, SHUT_WR);
	while (recv(fd, rest, sizeof(rest), 0) > 0)
		;
	assert_int_equal(recv(fd, rest, 1, 0), 0);
	close(fd);
	wait_for(&keys, 6);
	assert_int_equal(last_key, 3);
	wait_for(&moves, 3);
}

/* A viewer that pastes, and a guest that fetches each key late: none is lost. */
static void test_paste(void **state)
{
	int fd = join();

	slow = true;
	for (unsigned i = 0; i < 40; i++)
		key(fd, i % 2 == 0, (uint16_t)('a' + i / 2));
	for (unsigned i = 1; i <= 40; i++) {
		while (keys < i)
			usleep(1000);
		slow = i < 10;
		full = false;
	}
	assert_int_equal(lost, 0);
	assert_int_equal(last_key, 0x14); /* t */
	close(fd);
}

/* A click behind keys that a guest fetches late comes to what they have led to; movements become one. */
static void test_click_waits(void **state)
{
	static const uint8_t to[] = {5, 0, 0, 10, 0, 20}, on[] = {5, 0, 0, 30, 0, 20},
			     click[] = {5, 1, 0, 30, 0, 20}, away[] = {5, 1, 0, 40, 0, 20};
	int fd = join();

	slow = true;
	key(fd, true, 'a');
	key(fd, false, 'a');
	wait_for(&keys, 1);
	put(fd, to, sizeof(to));
	put(fd, on, sizeof(on));
	put(fd, click, sizeof(click));
	put(fd, away, sizeof(away));
	key(fd, true, 'b');
	usleep(100000);
	assert_int_equal(moves, 0);
	slow = full = false;
	wait_for(&keys, 3);
	wait_for(&moves, 3);
	assert_int_equal(x_press, 30);
	assert_int_equal(x_sum, 40);
	assert_int_equal(early, 0);
	assert_int_equal(last_key, 0x1030);
	/* who leaves lets go of the button, too */
	close(fd);
	wait_for(&moves, 4);
}

/* The end while viewers wait, stall and are in the middle of things. */
static void test_end(void **state)
{
	int fd[10];
	struct rect r;

	for (unsigned i = 0; i < 8; i++)
		fd[i] = join();
	/* one too many is turned away */
	fd[8] = call();
	assert_int_equal(recv(fd[8], &r, 1, 0), 0);
	ask(fd[0], false);
	ask(fd[1], true);
	put(fd[2], "\6\0\0\0", 4); /* and the rest never comes */
	key(fd[3], true, 'a');
	wait_for(&keys, 1);
	vnc_close(vnc);
	vnc = NULL;
	wait_for(&keys, 2);
	assert_int_equal(last_key, 0x1e);
	for (unsigned i = 0; i < 9; i++)
		close(fd[i]);
}

/* Clients that say part of a word, and no more: their places become free, and the end waits for none. */
static void test_half_words(void **state)
{
	int fd[VNC_VIEWERS];

	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < VNC_VIEWERS; i++)
			fd[i] = call();
		usleep(30000); /* the library waits for the first bytes */
		for (unsigned i = 0; i < VNC_VIEWERS; i++) {
			/* who was too late for the server's patience has been hung up on already */
			(void)!send(fd[i], "RFB", 1 + i % 3, MSG_NOSIGNAL);
			if (i % 2)
				close(fd[i]);
		}
		usleep(100000);
		if (round) {
			vnc_close(vnc);
			vnc = NULL;
		} else {
			sleep(3);
			close(join());
		}
		for (unsigned i = 0; i < VNC_VIEWERS; i += 2)
			close(fd[i]);
	}
}

/* Who has no screen sees a blank one. */
static void test_no_screen(void **state)
{
	display.refresh = NULL;
	int fd = call();
	uint8_t b[32];

	get(fd, b, 12);
	put(fd, b, 12);
	get(fd, b, 2);
	put(fd, "\1", 1);
	get(fd, b, 4);
	put(fd, "\1", 1);
	get(fd, b, 24);
	assert_memory_equal(b, "\x02\x80\x01\xe0", 4);
	close(fd);
}

static void test_left_behind(void **state)
{
	char err[200], spec[128];
	struct stat st;
	struct vnc *v;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	snprintf(spec, sizeof(spec), "unix:%s", path);
	assert_true(vnc_open(loop, spec, "x", &display, &typist, &v, err, sizeof(err)) <
		    0); /* in use */
	assert_non_null(strstr(err, "cannot listen"));
	assert_int_equal(access(path, F_OK), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_picture, setup, teardown),
		cmocka_unit_test_setup_teardown(test_input, setup, teardown),
		cmocka_unit_test_setup_teardown(test_paste, setup, teardown),
		cmocka_unit_test_setup_teardown(test_click_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_half_words, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_screen, setup, teardown),
		cmocka_unit_test_setup_teardown(test_left_behind, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
