/* SPDX-License-Identifier: ISC */
/* fuzz_switch.c: frames of hostile guests into two switches of four ports. Input: frames, each behind two bytes:
 * port and length. A frame comes out of its own switch only, whole, once at each port and never where it
 * came from, and nobody gets one whose source is another card's address. */
#include <stdlib.h>
#include <string.h>

#include "net/switch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
	const uint8_t *frame;
	size_t len;
	unsigned from, got; /* BIT(port) */
} now;

static const uint8_t mac[6] = {0x52, 0x54};

static bool take(void *dev, const void *frame, size_t len)
{
	unsigned at = (unsigned)(uintptr_t)dev;
	const uint8_t *src = (const uint8_t *)frame + 6;

	if (len != now.len || memcmp(frame, now.frame, len) || at / 4 != now.from / 4 ||
	    at == now.from || now.got & BIT(at) || len < 14)
		abort();
	if (src[0] & 1 || (!memcmp(src, mac, 5) && src[5] % 4 != 3 && src[5] < 8 &&
			   src[5] / 4 == now.from / 4 && src[5] != now.from))
		abort();
	now.got |= BIT(at);
	return len % 16;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct net_switch *s[2];
	struct net *port[8];

	for (unsigned i = 0; i < 8; i++) {
		uint8_t own[6] = {0x52, 0x54, 0, 0, 0, (uint8_t)i};
		struct net_client client = {take, (void *)(uintptr_t)i};

		if ((i % 4 == 0 && net_switch_create("x", &s[i / 4])) ||
		    net_switch_port(s[i / 4], i % 4 == 3 ? NULL : own, &port[i]))
			abort();
		net_attach(port[i], &client);
	}
	while (size >= 2) {
		size_t len = MIN((size_t)data[1], size - 2);
		struct net_vec vec[2] = {{data + 2, len / 2}, {data + 2 + len / 2, len - len / 2}};

		now.frame = data + 2;
		now.len = len;
		now.from = data[0] % 8;
		now.got = 0;
		port[now.from]->ops->send(port[now.from], vec, 2);
		if (data[0] >= 0xf8)
			port[now.from]->ops->close(port[now.from]);
		data += 2 + len;
		size -= 2 + len;
	}
	net_switch_destroy(s[0]);
	net_switch_destroy(s[1]);
	return 0;
}
