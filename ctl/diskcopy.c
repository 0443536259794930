/* SPDX-License-Identifier: ISC */
/* diskcopy.c: reads a disk through its format's driver. The main thread. */
#include "ctl/diskcopy.h"

#include <errno.h>
#include <string.h>

#include "block/block.h"

#define STEP 65536u

static int open_disk(const struct disk_def *d, struct block **b, struct msg *msg)
{
	struct block_open_opts o = {.path = d->path, .read_only = true};
	char err_text[256] = "";
	int err;

	if (d->cdrom || !d->path)
		return msg_fail(msg, ERR_NOSYS, "CDs cannot be packed: give them as disks");
	if (d->format && !strcmp(d->format, "raw"))
		o.format = BLOCK_RAW;
	else if (d->format && !strcmp(d->format, "qcow2"))
		o.format = BLOCK_QCOW2;
	err = block_open(NULL, &o, b, err_text, sizeof(err_text));
	return err ? msg_fail(msg, err, "%s", err_text) : 0;
}

int diskcopy_size(const struct disk_def *d, uint64_t *size, struct msg *msg)
{
	struct block *b;
	int err = open_disk(d, &b, msg);

	if (err)
		return err;
	*size = b->size;
	block_close(b);
	return 0;
}

int diskcopy_write(const struct disk_def *d, FILE *out, struct msg *msg)
{
	uint8_t buf[STEP];
	struct block *b;
	int err = open_disk(d, &b, msg);

	if (err)
		return err;
	for (uint64_t at = 0; at < b->size && !err; at += STEP) {
		size_t n = (size_t)MIN(b->size - at, (uint64_t)STEP);

		if (block_rw_sync(b, BLOCK_READ, at, buf, n))
			err = msg_fail(msg, ERR_IO, "%s cannot be read", d->path);
		else if (fwrite(buf, 1, n, out) != n)
			err = msg_fail(msg, ERR_IO, "cannot write: %s", strerror(errno));
	}
	block_close(b);
	return err;
}
