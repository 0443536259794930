/* SPDX-License-Identifier: ISC */
/* nic.c: see nic.h. */
#include "dev/nic/nic.h"

#include "base/str.h"

#define QUIESCE_NS (5 * NS_PER_SEC)

void nic_send(struct net *net, const uint8_t *frame, size_t len)
{
	const struct net_vec v = {frame, len};

	if (len >= NIC_FRAME_MIN && len <= NET_FRAME_MAX)
		net->ops->send(net, &v, 1);
}

uint32_t nic_crc(const uint8_t *p, size_t len)
{
	/* four bits at a time */
	static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
					   0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
					   0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
					   0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc = crc >> 4 ^ table[(crc ^ p[i]) & 15];
		crc = crc >> 4 ^ table[(crc ^ p[i] >> 4) & 15];
	}
	return ~crc;
}

uint32_t nic_pad(uint8_t *out, const uint8_t *frame, size_t len)
{
	memcpy(out, frame, len);
	if (len >= NIC_WIRE_MIN)
		return (uint32_t)len;
	memset(out + len, 0, NIC_WIRE_MIN - len);
	return NIC_WIRE_MIN;
}

unsigned nic_hash(const uint8_t *dst)
{
	uint32_t crc = ~nic_crc(dst, 6);
	unsigned hash = 0;

	/* the register of the chips shifts the other way */
	for (unsigned i = 0; i < 6; i++)
		hash = hash << 1 | (crc >> i & 1);
	return hash;
}

int nic_quiesce(struct plat_mutex *lock, const bool *sending, struct plat_event *idle)
{
	uint64_t deadline = plat_now() + QUIESCE_NS;
	bool busy;

	for (;;) {
		plat_mutex_lock(lock);
		plat_event_clear(idle);
		busy = *sending;
		plat_mutex_unlock(lock);
		if (!busy)
			return 0;
		if (!plat_event_wait(idle, deadline))
			return err_here(ERR_TIMEOUT);
	}
}
