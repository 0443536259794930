/* SPDX-License-Identifier: ISC */
/* test_opt.c: command lines, definition files, and the messages that wrong ones get. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/def.h"

#define MAX_ARGV 24

/* Parses "run …", split at spaces. */
static int parse(struct vm_def *def, const char *line, struct msg *msg)
{
	static char buf[2048];
	char *argv[MAX_ARGV];
	bool help;
	int argc = 0;

	snprintf(buf, sizeof(buf), "run %s", line);
	for (char *p = strtok(buf, " "); p && argc < MAX_ARGV; p = strtok(NULL, " "))
		argv[argc++] = p;
	vm_def_init(def);
	msg->text[0] = 0;
	return vm_def_parse(def, argc, argv, &help, msg);
}

static void test_good_lines(void **state)
{
	struct vm_def def;
	struct msg msg;

	assert_int_equal(
		parse(&def,
		      "--kernel k --memory 2G --cpus=4 --pin 0,2-4,63 --disk a,,b.img,format=raw,ro "
		      "--disk c.qcow2,if=virtio,snapshot,serial=X1 --net none --exit-port 0xf4",
		      &msg),
		0);
	assert_string_equal(def.kernel, "k");
	assert_int_equal(def.memory, 2 * GIB);
	assert_int_equal(def.cpus, 4);
	assert_true(def.pin == (BIT64(63) | 0x1d));
	assert_int_equal(def.n_disks, 2);
	assert_string_equal(def.disk[0].path, "a,b.img");
	assert_string_equal(def.disk[0].format, "raw");
	assert_true(def.disk[0].read_only && !def.disk[0].snapshot);
	assert_true(def.disk[1].snapshot && !def.disk[1].read_only);
	assert_string_equal(def.disk[1].serial, "X1");
	assert_int_equal(def.n_nets, 0);
	assert_true(def.net_given);
	assert_int_equal(def.exit_port, 0xf4);
	vm_def_fini(&def);
	assert_int_equal(
		parse(&def, "--kernel k --memory 64 --net user,forward=tcp::2222:22 --net tap:t0",
		      &msg),
		0);
	assert_int_equal(def.memory, 64 * MIB);
	assert_int_equal(def.n_nets, 2);
	assert_string_equal(def.net[0], "user,forward=tcp::2222:22");
	vm_def_fini(&def);
}

/* A line, and a part of the message that it must give. */
static const struct {
	const char *line, *expect;
} bad_lines[] = {
	{"", "--kernel"},
	{"--kernl k", "did you mean --kernel"},
	{"--frobnicate", "unknown option --frobnicate"},
	{"-k", "unknown option -k"},
	{"--kernel", "wants a value"},
	{"--kernel k --memory", "wants a value"},
	{"--kernel k --memory lots", "give a size"},
	{"--kernel k --memory 1", "from 16"},
	{"--kernel k --memory 100000000T", "give a size"},
	{"--kernel k --memory 17000K", "whole MiB"},
	{"--kernel k --memory -5M", "give a size"},
	{"--kernel k --uuid 6ba7b810-9dad-11d1-80b4-00c04fd430c", "32 hexadecimal digits"},
	{"--kernel k --uuid 6ba7b810-9dad-11d1-80b4-00c04fd430cg", "32 hexadecimal digits"},
	{"--kernel k --uuid 6ba7b810x9dad-11d1-80b4-00c04fd430c8", "32 hexadecimal digits"},
	{"--kernel k --uuid 00000000-0000-0000-0000-000000000000", "not all zeros"},
	{"--kernel k --serial-number s\033[2J", "printable"},
	{"--kernel k --serial-number 0123456789012345678901234567890123456789012345678901234567890123",
	 "1 to 63"},
	{"--kernel k --rtc noon", "zone:Europe/Lisbon"},
	{"--kernel k --rtc 2005-02-30", "give utc"},
	{"--kernel k --rtc 2005-02-03x", "give utc"},
	{"--kernel k --rtc 1812-06-24", "give utc"},
	{"--kernel k --rtc zone:../../etc/passwd", "no such time zone"},
	{"--cdrom a.iso --medium cd1=b.iso", "no drive cd1"},
	{"--cdrom a.iso --medium fd0=b", "no drive fd0"},
	{"--cdrom a.iso --medium cd0", "DRIVE=FILE"},
	{"--kernel k --cpus 0", "from 1 to 32"},
	{"--kernel k --cpus 33", "from 1 to 32"},
	{"--kernel k --cpus 1x", "from 1 to 32"},
	{"--kernel k --pin 64", "from 0 to 63"},
	{"--kernel k --pin 3-2", "from 0 to 63"},
	{"--kernel k --pin 1,", "from 0 to 63"},
	{"--kernel k --pin 1-", "from 0 to 63"},
	{"--kernel k --engine turbo", "auto|soft|kvm"},
	{"--kernel k --board pc", "leave --kernel out"},
	{"--kernel k --board toaster", "there is only micro|pc"},
	{"--kernel k --firmware bios", "need a PC"},
	{"--kernel k --cdrom c.iso", "virtio disks only"},
	{"--board pc --boot disk,disk", "each once"},
	{"--board pc --boot tape", "each once"},
	{"--board pc --vars v", "add --firmware uefi"},
	{"--floppy a --floppy b --floppy c", "at most 2"},
	{"--kernel k --floppy a", "need a PC"},
	{"--kernel k --net user,model=e1000", "virtio cards only"},
	{"--board pc --net user,model=ne3000", "rtl8139d or ne2k_pci"},
	{"--cdrom c,if=nvme", "if=ide or if=ahci"},
	{"--cdrom c,ro", "ro is not known"},
	{"--kernel k --display vnc:127.0.0.1", "needs a PC"},
	{"--board pc --display sdl", "vnc:ADDRESS"},
	{"--kernel k --input virtio", "needs a PC"},
	{"--kernel k --input usb", "needs a PC"},
	{"--kernel k --paravirt hyper-v", "needs a PC"},
	{"--board pc --net user,tftp=/tmp,bootfile=x", "--sandbox off"},
	{"--kernel k --parallel pty", "needs a PC"},
	{"--board pc --parallel stdio", "unix:SOCKET or pty"},
	{"--kernel k --disk d,if=nvme", "virtio disks only"},
	{"--kernel k --disk d,if=scsi", "virtio, ide, ahci or nvme"},
	{"--kernel k --disk d,format=qed", "qemu-img convert"},
	{"--kernel k --disk d,colour=red", "colour is not known"},
	{"--kernel k --disk ,ro", "file name is missing"},
	{"--kernel k --disk d,serial=123456789012345678901", "longer than 20"},
	{"--kernel k --name ../x", "letters"},
	{"--kernel k --name -x", "letters"},
	{"--kernel k --exit-port 70000", "from 1 to 65535"},
	{"--kernel k --rng maybe", "on|off"},
	{"--kernel k a.yaml b.yaml", "one argument too many"},
	{"--kernel k /nonexistent/a.yaml", "cannot read"},
	{"--console stdio --kernel k", "--serial none"},
};

static void test_bad_lines(void **state)
{
	struct vm_def def;
	struct msg msg;

	for (unsigned i = 0; i < ARRAY_SIZE(bad_lines); i++) {
		int err = parse(&def, bad_lines[i].line, &msg);

		if (!err || !strstr(msg.text, bad_lines[i].expect) || strchr(msg.text, '\n'))
			fail_msg("'%s': err %d, message '%s', expected '%s'", bad_lines[i].line,
				 err, msg.text, bad_lines[i].expect);
		vm_def_fini(&def);
	}
}

static int parse_yaml(struct vm_def *def, const char *text, const char *options, struct msg *msg)
{
	char path[] = "/tmp/vigia-test-XXXXXX.yaml", line[256];
	int fd = mkstemps(path, 5), err;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	snprintf(line, sizeof(line), "%s %s", path, options);
	err = parse(def, line, msg);
	unlink(path);
	return err;
}

/* All options of a definition are keys. */
static void test_yaml_keys(void **state)
{
	for (unsigned i = 0; i < cmd_run.n_opts; i++) {
		bool key = cmd_run.opts[i].flags & OPT_DEF;
		struct vm_def def;
		struct msg msg = {0};
		char text[128];

		snprintf(text, sizeof(text), "%s: {}\n", cmd_run.opts[i].name);
		assert_int_not_equal(parse_yaml(&def, text, "", &msg), 0);
		if (!strstr(msg.text, "Unexpected key") != key)
			fail_msg("%s: %s", cmd_run.opts[i].name, msg.text);
		vm_def_fini(&def);
	}
}

static void test_yaml(void **state)
{
	struct vm_def def;
	struct msg msg;

	assert_int_equal(
		parse_yaml(&def,
			   "kernel: /boot/vmlinuz\nmemory: 1G\ncpus: 2\nappend: root=/dev/vda rw\n"
			   "disk:\n  - a.qcow2,snapshot\n  - b.raw,ro\nnet: [user]\nrng: off\n",
			   "--cpus 3 --disk c", &msg),
		0);
	assert_string_equal(def.append, "root=/dev/vda rw");
	assert_int_equal(def.cpus, 3); /* the command line wins */
	assert_int_equal(def.n_disks, 3);
	assert_string_equal(def.disk[2].path, "c");
	assert_true(def.no_rng);
	vm_def_fini(&def);
}

/* A VM that is run by its name is the same at each start, whether or not its file repeats the name. */
static void test_named(void **state)
{
	char dir[] = "/tmp/vigia-test-XXXXXX", path[64];
	struct vm_def def;
	struct msg msg;
	FILE *f;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/vigia", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(setenv("XDG_CONFIG_HOME", dir, 1), 0);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/vigia/ann.yaml", dir);
		f = fopen(path, "w");
		assert_non_null(f);
		fputs(i ? "kernel: k\nname: bob\n" : "kernel: k\n", f);
		fclose(f);
		assert_int_equal(parse(&def, "ann", &msg), 0);
		assert_string_equal(def.name, i ? "bob" : "ann");
		assert_string_equal(def.identity, i ? "bob" : "ann");
		vm_def_fini(&def);
	}
	unlink(path);
	snprintf(path, sizeof(path), "%s/vigia", dir);
	rmdir(path);
	rmdir(dir);
}

static const struct {
	const char *text, *expect;
} bad_yaml[] = {
	{"kernel: k\nmemroy: 1G\n", "memroy"},
	{"kernel: k\nmemory: lots\n", "give a size"},
	{"kernel: [a, b]\n", "line"},
	{"disk: a\nkernel: k\n", "line"},
	{"kernel: k\n\tcpus: 2\n", ""},
	{"kernel: \"unfinished\n", ""},
	{"- a\n- b\n", ""},
	{"", ""},
	{"\x01\x02\xff\xfe", ""},
};

static void test_bad_yaml(void **state)
{
	struct vm_def def;
	struct msg msg;

	for (unsigned i = 0; i < ARRAY_SIZE(bad_yaml); i++) {
		int err = parse_yaml(&def, bad_yaml[i].text, "", &msg);

		if (!err || !msg.text[0] || !strstr(msg.text, bad_yaml[i].expect) ||
		    strchr(msg.text, '\n'))
			fail_msg("yaml %u: err %d, message '%s', expected '%s'", i, err, msg.text,
				 bad_yaml[i].expect);
		vm_def_fini(&def);
	}
}

static void test_nearest(void **state)
{
	static const char *const names[] = {"run", "list", "console"};

	assert_string_equal(opt_nearest("lst", names, 3), "list");
	assert_string_equal(opt_nearest("consoel", names, 3), "console");
	assert_null(opt_nearest("frobnicate", names, 3));
	assert_null(opt_nearest("", names, 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_lines), cmocka_unit_test(test_bad_lines),
		cmocka_unit_test(test_yaml_keys),  cmocka_unit_test(test_yaml),
		cmocka_unit_test(test_bad_yaml),   cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
