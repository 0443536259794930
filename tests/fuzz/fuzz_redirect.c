/* SPDX-License-Identifier: ISC */
/* fuzz_redirect.c: frames that rules redirect. Input: what is to be done with a frame (a byte), its length
 * (two bytes, little-endian) and the frame. What comes out is a frame, and translation changes no
 * length. */
#include "base/str.h"
#include "net/answer.h"
#include "net/nat.h"
#include "plat/linux/loop_fd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct plat_mutex lock;
static volatile uint8_t sink;

static void on_frame(void *arg, const uint8_t *frame, size_t len)
{
	(void)arg;
	BUG_ON(len < 14 || len > 1514);
	for (size_t i = 0; i < len; i++)
		sink ^= frame[i];
}

static void destroy(void *a)
{
	answers_destroy(a);
}

static void one(struct nat *nat, struct answers *a, uint8_t what, uint8_t *frame, size_t len)
{
	struct mon_target to = {.kind = what & 4 ? TARGET_ADDR : TARGET_ANSWER,
				.slot = what >> 3 & 1,
				.port = what & 0x10 ? 8080 : 0,
				.has_addr = what & 0x20,
				.by_name = what & 0x40,
				.is_v6 = what & 0x80,
				.v4 = {10, 0, 2, 2},
				.v6 = {0xfe, 0xc0, [15] = 2}};

	plat_mutex_lock(&lock);
	switch (what & 3) {
	case 0:
		nat_out(nat, frame, len, &to, what);
		break;
	case 1:
		nat_in(nat, frame, len, what);
		break;
	case 2:
		answers_frame(a, frame, len, &to);
		break;
	case 3:
		answers_dns(a, frame, len, &to);
		break;
	}
	plat_mutex_unlock(&lock);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t page[5000] = "HTTP/1.0 200 OK\r\n\r\n";
	static const struct net_targets targets = {.answer[0] = {page, sizeof(page)}};
	static struct plat_loop *loop;
	static struct nat nat;
	struct answers *a;

	if (!loop) {
		plat_mutex_init(&lock, RANK_BACKEND);
		if (plat_loop_create(&loop))
			return 0;
	}
	memset(&nat, 0, sizeof(nat));
	a = answers_create(loop, &targets, &lock, on_frame, NULL);
	if (!a)
		return 0;
	while (size >= 3) {
		size_t len = MIN((size_t)(data[1] | data[2] << 8), size - 3);
		uint8_t *frame = plat_alloc(len ? len : 1); /* its own, so that ASan sees its end */

		if (!frame)
			break;
		memcpy(frame, data + 3, len);
		one(&nat, a, data[0], frame, len);
		plat_free(frame);
		data += 3 + len;
		size -= 3 + len;
	}
	plat_loop_call(loop, destroy, a);
	return 0;
}
