/* SPDX-License-Identifier: ISC */
/* hugepages.c: how many huge pages of 2 MiB the host has reserved, and what to do where they are too few (Linux,
 * Documentation/admin-guide/mm/hugetlbpage.rst). Main thread. */
#include "ctl/hugepages.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/err.h"
#include "ctl/def.h"

#define FOLDER "/sys/kernel/mm/hugepages/hugepages-2048kB/"

/* 0 where there is no such file: a kernel without them. */
static uint64_t read_count(const char *path)
{
	FILE *f = fopen(path, "re");
	uint64_t n = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%" SCNu64, &n) != 1)
		n = 0;
	fclose(f);
	return n;
}

int hugepages_check(uint64_t bytes, struct msg *msg)
{
	uint64_t want = bytes / HUGEPAGE, all = read_count(FOLDER "nr_hugepages");
	uint64_t unused = read_count(FOLDER "free_hugepages");
	uint64_t promised = read_count(FOLDER "resv_hugepages");
	uint64_t have = unused > promised ? unused - promised : 0;

	if (have >= want)
		return 0;
	return msg_fail(msg, ERR_NOMEM,
			"--hugepages on: the VM takes %" PRIu64
			" huge pages of 2 MiB, of the host's %" PRIu64 " %" PRIu64
			" are free: sudo sysctl vm.nr_hugepages=%" PRIu64
			", or leave --hugepages out",
			want, all, have, all - have + want);
}
