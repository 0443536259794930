/* SPDX-License-Identifier: ISC */
/* fuzz_net.c: frames of a hostile guest into the user network. Input: frames, each behind its length
 * (two bytes, little-endian). The network is restricted: nothing leaves the process. */
#include "base/str.h"
#include "net/open.h"
#include "plat/linux/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool take(void *dev, const void *frame, size_t len)
{
	(void)dev;
	(void)frame;
	return len % 16; /* a card that is full now and then */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct plat_loop *loop;
	static const struct net_client client = {.receive = take};
	char err[200];
	struct net *n;

	if (!loop) {
		plat_log_set_level(LOG_ERROR);
		if (plat_loop_create(&loop))
			return 0;
	}
	if (net_open(loop, "user,restrict=on", &n, err, sizeof(err)))
		return 0;
	net_attach(n, &client);
	while (size >= 2) {
		size_t len = MIN((size_t)(data[0] | data[1] << 8), size - 2);
		struct net_vec vec[2] = {{data + 2, len / 2}, {data + 2 + len / 2, len - len / 2}};

		n->ops->send(n, vec, 2);
		n->ops->rx_ready(n);
		data += 2 + len;
		size -= 2 + len;
	}
	net_close(n);
	return 0;
}
