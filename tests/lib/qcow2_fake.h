/* SPDX-License-Identifier: ISC */
/* qcow2_fake.h: qcow2 clusters said to be compressed, by a method that changes nothing. */
#ifndef TESTS_QCOW2_FAKE_H
#define TESTS_QCOW2_FAKE_H

#include "block/bfile.h"
#include "block/qcow2_fmt.h"

/* As qcow2_opts.unzip */
static int fake_unzip(unsigned type, const void *in, size_t in_len, void *out, size_t out_len)
{
	assert_int_equal(in_len, out_len);
	memcpy(out, in, out_len);
	return 0;
}

/* Of the clusters that are the image's own, those for which take() says so. now: the file's bytes */
static void fake_compressed(struct bfile *f, uint8_t *now, bool (*take)(void))
{
	unsigned cb = be32_get(now + QH_CLUSTER_BITS), x = 62 - (cb - 8);
	uint64_t l1 = be64_get(now + QH_L1_OFF), cs = BIT64(cb);

	for (uint32_t i = 0; i < be32_get(now + QH_L1_SIZE); i++) {
		uint64_t e = be64_get(now + l1 + i * 8), l2 = e & QE_OFFSET;

		for (uint64_t k = 0; l2 && (e & QE_COPIED) && k < cs / 8; k++) {
			uint8_t *p = now + l2 + k * 8;
			uint64_t v = be64_get(p), host = v & QE_OFFSET;

			if (!host || !(v & QE_COPIED) || (v & 1) || !take())
				continue;
			be64_put(p, QE_COMPRESSED | (cs / 512 - 1) << x | host);
			bfile_grew(f, host + cs);
		}
	}
}

#endif
