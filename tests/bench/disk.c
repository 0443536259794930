/* SPDX-License-Identifier: ISC */
/* disk.c: requests of 4 KiB at random places of /dev/vda, past the page cache, 32 at a time, as fio does with libaio. For
 * paired.py, in the guest; measure.h has its arguments. Hosted. */
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "measure.h"

#define DEPTH 32
#define SIZE  4096

static struct {
	int fd;
	aio_context_t ctx;
	uint64_t blocks, seed;
	char *buf;
} disk;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void disk_open(void)
{
	uint64_t bytes = 0;

	if (disk.ctx)
		return;
	/* its driver may be about to find it */
	for (int i = 0; i < 100; i++) {
		disk.fd = open("/dev/vda", O_RDWR | O_DIRECT);
		if (disk.fd >= 0)
			break;
		usleep(50000);
	}
	if (disk.fd < 0 || ioctl(disk.fd, BLKGETSIZE64, &bytes) ||
	    syscall(SYS_io_setup, DEPTH, &disk.ctx) ||
	    posix_memalign((void **)&disk.buf, SIZE, DEPTH * SIZE) || bytes < SIZE)
		fail("/dev/vda");
	disk.blocks = bytes / SIZE;
	disk.seed = 88172645463325252;
}

static void submit(unsigned slot, unsigned opcode)
{
	struct iocb cb = {.aio_lio_opcode = (uint16_t)opcode,
			  .aio_fildes = (uint32_t)disk.fd,
			  .aio_buf = (uintptr_t)disk.buf + slot * SIZE,
			  .aio_nbytes = SIZE,
			  .aio_data = slot};
	struct iocb *one = &cb;

	disk.seed ^= disk.seed << 13;
	disk.seed ^= disk.seed >> 7;
	disk.seed ^= disk.seed << 17;
	cb.aio_offset = (int64_t)(disk.seed % disk.blocks * SIZE);
	if (syscall(SYS_io_submit, disk.ctx, 1, &one) != 1)
		fail("io_submit");
}

static uint64_t requests(uint64_t n, unsigned opcode)
{
	struct io_event done[DEPTH];
	uint64_t begun = 0, ended = 0;

	disk_open();
	while (ended < n) {
		long k;

		for (; begun < n && begun < DEPTH; begun++)
			submit((unsigned)begun, opcode);
		k = syscall(SYS_io_getevents, disk.ctx, 1, DEPTH, done, NULL);
		for (long i = 0; i < k; i++, ended++) {
			if (done[i].res != SIZE)
				fail("a request");
			if (begun == n)
				continue;
			submit((unsigned)done[i].data, opcode);
			begun++;
		}
	}
	return n;
}

static uint64_t read4k(uint64_t n)
{
	return requests(n, IOCB_CMD_PREAD);
}

static uint64_t write4k(uint64_t n)
{
	return requests(n, IOCB_CMD_PWRITE);
}

static const struct row rows[] = {
	{"read4k", "io", read4k, 64, NULL, 0},
	{"write4k", "io", write4k, 64, NULL, 0},
};

int main(int argc, char **argv)
{
	return measure_main(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
