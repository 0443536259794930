/* SPDX-License-Identifier: ISC */
/* test_fleet.c: boot modules of the bare-metal hypervisor: what a good one gives, and that a broken one
 * is refused with a reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "metal/fleet.h"

static uint8_t module[8192];
static size_t size;

static void put(const char *name, const char *text)
{
	size_t len = strlen(text);

	size += (size_t)sprintf(
		(char *)module + size, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		1, 0100644, 0, 0, 1, 0, (unsigned)len, 0, 0, 0, 0, (unsigned)strlen(name) + 1, 0);
	strcpy((char *)module + size, name);
	size = ALIGN_UP(size + strlen(name) + 1, (size_t)4);
	memcpy(module + size, text, len);
	size = ALIGN_UP(size + len, (size_t)4);
}

static void make(const char *conf)
{
	memset(module, 0, sizeof(module));
	size = 0;
	put("k", "kernel");
	put("d", "disk!");
	put("fleet.conf", conf);
	put("TRAILER!!!", "");
}

static int parse(const char *conf, struct fleet *f, char *err)
{
	make(conf);
	return fleet_parse(module, size, f, err, 128);
}

static void test_good(void **state)
{
	struct fleet f;
	char err[128];

	assert_int_equal(
		parse("# two\npoweroff-when-idle\nuplink dmz\nvm a\nmemory 64M\ncpus 2\nkernel k\n"
		      "weight 512\ncap 25\npin 8000000000000005\n"
		      "append x=1  y\ntarget d\ntarget host:x,ro\ndisk d,ro\ndisk host:nvme0/2,ro\nnet lan 52:54:00:00:00:0f\n"
		      "vm b\nkernel k\ninitrd d\ninitrd k root=/ x\nmanual\nstate k\ncontents d\ncpu x86-64-v2\nmay-lack\nnet dmz 52:54:00:00:00:01\n"
		      "net lan 52:54:00:00:00:02",
		      &f, err),
		0);
	assert_int_equal(f.n, 2);
	assert_true(f.poweroff);
	assert_string_equal(f.vm[0].name, "a");
	assert_int_equal(f.vm[0].memory, 64 * MIB);
	assert_int_equal(f.vm[0].cpus, 2);
	assert_int_equal(f.vm[0].kernel.size, 6);
	assert_memory_equal(f.vm[0].kernel.data, "kernel", 6);
	assert_string_equal(f.vm[0].append, "x=1  y");
	assert_true(f.vm[0].n_disks == 2 && f.vm[0].disk[0].read_only && !f.vm[0].manual);
	assert_memory_equal(f.vm[0].disk[0].image.data, "disk!", 5);
	assert_string_equal(f.vm[0].disk[0].host, "");
	assert_true(f.vm[0].n_targets == 2 && f.vm[0].target[0].image.size == 5 &&
		    f.vm[0].target[1].read_only && !f.vm[1].n_targets);
	assert_string_equal(f.vm[0].target[1].host, "x");
	assert_string_equal(f.vm[0].disk[1].host, "nvme0/2");
	assert_true(f.vm[0].disk[1].read_only && !f.vm[0].disk[1].image.data);
	assert_true(f.vm[1].state.size == 6 && f.vm[1].contents.size == 5 && f.vm[1].may_lack);
	assert_string_equal(f.vm[1].cpu, "x86-64-v2");
	assert_true(f.vm[1].manual && f.vm[1].initrd[0].size == 5 && !f.vm[1].n_disks);
	assert_true(f.vm[1].n_initrds == 2 && f.vm[1].initrd[1].size == 6);
	assert_string_equal(f.vm[1].text, "");
	assert_string_equal(f.vm[1].text + 1, "root=/ x");
	assert_true(f.vm[0].weight == 512 && f.vm[0].cap == 25 &&
		    f.vm[0].pin == 0x8000000000000005);
	assert_true(f.vm[1].weight == 1024 && f.vm[1].cap == 100 && f.vm[1].pin == UINT64_MAX);
	assert_int_equal(f.vm[1].memory, 256 * MIB);
	assert_true(f.n_uplinks == 1 && !strcmp(f.net[f.uplink[0]], "dmz"));
	assert_true(f.n_nets == 2 && f.vm[0].n_nics == 1 && f.vm[1].n_nics == 2);
	assert_string_equal(f.net[f.vm[0].nic[0].net], "lan");
	assert_string_equal(f.net[f.vm[1].nic[0].net], "dmz");
	assert_int_equal(f.vm[1].nic[1].net, f.vm[0].nic[0].net);
	assert_memory_equal(f.vm[0].nic[0].mac, "\x52\x54\0\0\0\x0f", 6);
}

static void test_runs(void **state)
{
	static struct {
		uint64_t offset, size;
		uint8_t data[PAGE_SIZE];
	} image[2] = {{0, PAGE_SIZE, {1}}, {3 * PAGE_SIZE, PAGE_SIZE, {2}}};
	struct fleet_file f = {(const uint8_t *)image, sizeof(image)};
	struct fleet_run run;
	size_t at = 0;
	int err;

	assert_true(fleet_run_next(&f, &at, 4 * PAGE_SIZE, &run, &err));
	assert_true(!run.offset && run.size == PAGE_SIZE && *run.data == 1);
	assert_true(fleet_run_next(&f, &at, 4 * PAGE_SIZE, &run, &err));
	assert_true(run.offset == 3 * PAGE_SIZE && run.size == PAGE_SIZE && *run.data == 2);
	assert_false(fleet_run_next(&f, &at, 4 * PAGE_SIZE, &run, &err));
	assert_int_equal(err, 0);
	at = sizeof(image[0]); /* the machine has less */
	assert_false(fleet_run_next(&f, &at, 3 * PAGE_SIZE, &run, &err));
	assert_int_equal(err, ERR_FORMAT);
	f.size--; /* cut short */
	at = sizeof(image[0]);
	assert_false(fleet_run_next(&f, &at, 4 * PAGE_SIZE, &run, &err));
	assert_int_equal(err, ERR_FORMAT);
	f.size = 17;
	at = 0;
	assert_false(fleet_run_next(&f, &at, 4 * PAGE_SIZE, &run, &err));
	assert_int_equal(err, ERR_FORMAT);
	image[0].offset = 1;
	f.size = sizeof(image);
	at = 0;
	assert_false(fleet_run_next(&f, &at, 4 * PAGE_SIZE, &run, &err));
	assert_int_equal(err, ERR_FORMAT);
}

#define I4   "initrd d\ninitrd d\ninitrd d\ninitrd d\n"
#define T64  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define T256 T64 T64 T64 T64

static void test_bad(void **state)
{
	static const struct {
		const char *conf, *says;
	} bad[] = {
		{"kernel k\n", "before the first vm"},
		{"vm a\n", "no kernel"},
		{"vm a\nkernel nothing\n", "no such file"},
		{"vm a\nkernel k\nvm a\nkernel k\n", "two VMs"},
		{"vm a\nmemory 1000\nkernel k\n", "whole MiB"},
		{"vm a\nmemory 99999999999999999999G\nkernel k\n", "whole MiB"},
		{"vm a\nmemory 0\nkernel k\n", "whole MiB"},
		{"vm a\ncpus 33\nkernel k\n", "1 to 32"},
		{"vm a\nweight x\nkernel k\n", "1 to 65536"},
		{"vm a\ncap 0\nkernel k\n", "1 to 100"},
		{"vm a\ncap 101\nkernel k\n", "1 to 100"},
		{"vm a\npin 0000000000000000\nkernel k\n", "mask"},
		{"vm a\npin 3\nkernel k\n", "mask"},
		{"vm a\nkernal k\n", "unknown keyword"},
		{"vm a\nkernel k\ndisk host:\n", "no such file"},
		{"vm a\nkernel k\ntarget x\n", "no such file"},
		{"vm a\nkernel k\ntarget d\ntarget d\ntarget d\ntarget d\ntarget d\n",
		 "more targets"},
		{"vm a\nkernel k\n" I4 I4 I4 I4 "initrd d\n", "more initrds"},
		{"vm a\nkernel k\ninitrd d " T256 T256 "\n", "longer than 512"},
		{"vm a\nkernel k\ninitrd d " T256 "\ninitrd d " T256 "\n", "longer than 512"},
		{"vm a\nkernel k\ninitrd x y\n", "no such file"},
		{"vm \nkernel k\n", "needs a name"},
		{"vm a\nkernel k\nnet lan\n", "not a card's address"},
		{"vm a\nkernel k\nnet lan 53:54:00:00:00:01\n", "not a card's address"},
		{"vm a\nkernel k\nnet lan 52:54:00:00:00:01:02\n", "not a card's address"},
		{"vm a\nkernel k\nnet  52:54:00:00:00:01\n", "1 to 15"},
		{"vm a\nkernel k\nnet 0123456789abcdef 52:54:00:00:00:01\n", "1 to 15"},
	};
	struct fleet f;
	char err[128];

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(parse(bad[i].conf, &f, err), ERR_FORMAT);
		assert_non_null(strstr(err, bad[i].says));
	}
}

/* Cut anywhere, it is refused or (once all that matters is there) the same. */
static void test_cut(void **state)
{
	struct fleet f;
	char err[128];

	make("vm a\nkernel k\n");
	for (size_t n = 0; n < size; n++) {
		int r = fleet_parse(module, n, &f, err, sizeof(err));

		assert_true(r == ERR_FORMAT || (r == 0 && f.n == 1 && f.vm[0].kernel.size == 6));
	}
	memset(module + 54, 'f', 8); /* a file of 4 GiB */
	assert_int_equal(fleet_parse(module, size, &f, err, sizeof(err)), ERR_FORMAT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
