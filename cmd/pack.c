/* SPDX-License-Identifier: ISC */
/* pack.c: vigia pack. Writes the boot module that metal/fleet.c reads (a cpio archive, format "newc",
 * with fleet.conf in it) and has grub-mkrescue make an image of it and vigia.elf. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "ctl/def.h"
#include "ctl/diskcopy.h"
#include "ctl/runner.h"
#include "ctl/state.h"
#include "ctl/watch.h"
#include "monitor/policy_image.h"

#define MAX_VMS     16 /* as metal/fleet.h has them */
#define MAX_TEXTS   512u
#define MAX_TARGETS 4u
#define MAX_SHARED  32u

struct pack {
	const struct pack_opts *opts;
	struct vm_def def[MAX_VMS];
	unsigned n;
	FILE *out; /* the archive */
	unsigned inode;
	struct {
		dev_t dev;
		ino_t ino;
		char name[128]; /* in the archive */
	} shared[MAX_SHARED];
	unsigned n_shared;
	char conf[MAX_VMS * 4096];
	size_t conf_len;
	uint64_t total;
	struct msg *msg;
};

/* ---- the archive ---- */

static int cannot_write(struct pack *p)
{
	return msg_fail(p->msg, ERR_IO, "cannot write the boot module: %s", strerror(errno));
}

static int put_header(struct pack *p, const char *name, uint64_t size)
{
	static const char zeros[4];
	size_t len = strlen(name) + 1, pad = -(110 + len) & 3;

	if (size > UINT32_MAX)
		return msg_fail(p->msg, ERR_RANGE, "%s: a file of the boot module is at most 4 GiB",
				name);
	if (fprintf(p->out, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		    ++p->inode, 0100644, 0, 0, 1, 0, (unsigned)size, 0, 0, 0, 0, (unsigned)len,
		    0) < 0 ||
	    fwrite(name, 1, len, p->out) != len || fwrite(zeros, 1, pad, p->out) != pad)
		return cannot_write(p);
	return 0;
}

static int put_padding(struct pack *p, uint64_t size)
{
	static const char zeros[4];
	size_t pad = -size & 3;

	return fwrite(zeros, 1, pad, p->out) == pad ? 0 : cannot_write(p);
}

static void say_size(struct pack *p, const char *name, uint64_t size)
{
	printf("%10.1f KiB  %s\n", (double)size / 1024, name);
	p->total += size;
}

static int put_bytes(struct pack *p, const char *name, const void *data, size_t size)
{
	int err = put_header(p, name, size);

	if (!err && fwrite(data, 1, size, p->out) != size)
		err = cannot_write(p);
	return err ? err : put_padding(p, size);
}

static int put_file(struct pack *p, const char *name, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is not waited for */
	FILE *f = fd < 0 ? NULL : fdopen(fd, "rb");
	struct stat st = {0};
	char buf[65536];
	uint64_t done = 0;
	size_t n;
	int err;

	if (!f || fstat(fileno(f), &st))
		err = msg_fail(p->msg, ERR_NOENT, "cannot read %s: %s", path, strerror(errno));
	else if (!S_ISREG(st.st_mode) || !st.st_size)
		err = msg_fail(p->msg, ERR_INVAL, "%s is %s", path,
			       S_ISREG(st.st_mode) ? "empty" : "not a regular file");
	else
		err = put_header(p, name, (uint64_t)st.st_size);
	while (!err && done < (uint64_t)st.st_size && (n = fread(buf, 1, sizeof(buf), f)) > 0) {
		if (fwrite(buf, 1, n, p->out) != n)
			err = cannot_write(p);
		done += n;
	}
	if (!err && done != (uint64_t)st.st_size)
		err = msg_fail(p->msg, ERR_IO, "%s changes while it is read", path);
	if (f)
		fclose(f);
	if (!err)
		err = put_padding(p, done);
	if (!err)
		say_size(p, name, done);
	return err;
}

/* A kernel or an initrd, which nobody changes: one that several VMs have is there once. name becomes what it is called there. */
static int put_shared(struct pack *p, char *name, size_t size, const char *path)
{
	struct stat st;
	bool known = !stat(path, &st);
	int err;

	for (unsigned i = 0; known && i < p->n_shared; i++)
		if (p->shared[i].dev == st.st_dev && p->shared[i].ino == st.st_ino) {
			printf("%10s      %s is %s\n", "", name, p->shared[i].name);
			snprintf(name, size, "%s", p->shared[i].name);
			return 0;
		}
	err = put_file(p, name, path);
	if (!err && known && p->n_shared < MAX_SHARED) {
		p->shared[p->n_shared].dev = st.st_dev;
		p->shared[p->n_shared].ino = st.st_ino;
		snprintf(p->shared[p->n_shared++].name, sizeof(p->shared[0].name), "%s", name);
	}
	return err;
}

/* One of the machine's own, of which the image has only the name */
static bool is_host_disk(const struct disk_def *d)
{
	return d->path && !strncmp(d->path, "host:", 5);
}

static int put_disk(struct pack *p, const char *name, const struct disk_def *d)
{
	uint64_t size;
	int err = diskcopy_size(d, &size, p->msg);

	if (!err)
		err = put_header(p, name, size);
	if (!err)
		err = diskcopy_write(d, p->out, p->msg);
	if (!err)
		err = put_padding(p, size);
	if (!err)
		say_size(p, name, size);
	return err;
}

/* ---- the definitions ---- */

attr_printf(2, 3) static int conf(struct pack *p, const char *fmt, ...)
{
	size_t room = sizeof(p->conf) - p->conf_len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(p->conf + p->conf_len, room, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= room)
		return msg_fail(p->msg, ERR_NOMEM, "the definitions are too long");
	p->conf_len += (size_t)n;
	return 0;
}

/* What has no place on a bare machine yet. */
static int refuse(struct pack *p, const struct vm_def *d)
{
	size_t texts = 0;

	for (unsigned i = 0; i < p->n; i++)
		if (d > &p->def[i] && !strcmp(d->name, p->def[i].name))
			return msg_fail(p->msg, ERR_EXIST, "two VMs have the name %s", d->name);
	if (vm_def_is_pc(d))
		return msg_fail(p->msg, ERR_NOSYS,
				"%s: there is only --board micro on a bare machine: give a kernel",
				d->name);
	if (!runner_model(d, p->msg))
		return err_here(ERR_INVAL);
	if (d->append && (strlen(d->append) > 1000 || strchr(d->append, '\n')))
		return msg_fail(p->msg, ERR_RANGE, "%s: append is longer than 1000 characters",
				d->name);
	for (unsigned i = 0; i < d->n_initrds; i++) {
		const char *text = d->initrd[i].text ? d->initrd[i].text : "";

		texts += strlen(text) + 1;
		if (texts > MAX_TEXTS || strchr(text, '\n'))
			return msg_fail(p->msg, ERR_RANGE,
					"%s: the texts of --initrd have more than a line, or than "
					"%u characters",
					d->name, MAX_TEXTS);
	}
	if (d->memory % MIB)
		return msg_fail(p->msg, ERR_RANGE, "%s: memory must be whole MiB", d->name);
	return 0;
}

/* A disk, or what rules redirect one to: in the archive, or by the name that the machine's own has. */
static int add_storage(struct pack *p, const struct vm_def *d, const char *key, const char *name,
		       const struct disk_def *disk)
{
	bool host = is_host_disk(disk);
	int err = 0;

	if (host && (disk->snapshot || strlen(disk->path) > 5 + 63 || strchr(disk->path, '\n')))
		return msg_fail(p->msg, ERR_INVAL,
				"%s: %s %s: host:DISK[/PARTITION[/IMAGE]][,ro], at most 63 "
				"characters, without snapshot",
				d->name, key, disk->path);
	if (p->opts->history && !strcmp(disk->path, p->opts->history))
		return msg_fail(p->msg, ERR_BUSY, "%s: %s %s is the history's", d->name, key,
				disk->path);
	if (!host)
		err = put_disk(p, name, disk);
	return err ? err
		   : conf(p, "%s %s%s\n", key, host ? disk->path : name,
			  disk->read_only ? ",ro" : "");
}

/* Compiled rules, for monitor/policy_image.c; what they say of the CPU is the scheduler's. */
static int put_rules(struct pack *p, const struct vm_def *d, const struct policy *rules)
{
	size_t size = policy_image_size(rules);
	void *image = malloc(size);
	char name[128];
	int err;

	if (!image)
		return msg_fail(p->msg, ERR_NOMEM, "%s: out of memory", d->name);
	policy_image_write(rules, image);
	snprintf(name, sizeof(name), "%s/policy", d->name);
	err = put_bytes(p, name, image, size);
	free(image);
	if (err)
		return err;
	say_size(p, name, size);
	return conf(p, "policy %s\nweight %u\ncap %u\n", name,
		    MAX(policy_cpu_weight(rules) * 1024 / 100, 1u),
		    MIN(policy_cpu_percent(rules), 100u));
}

/* What rules redirect disks to: the compiler counts them, and their slots are these. */
static int add_targets(struct pack *p, const struct vm_def *d, const struct policy *rules)
{
	char path[sizeof(policy_file(rules, 0)->path)], name[128];
	int err = 0;

	if (policy_n_files(rules) > MAX_TARGETS)
		return msg_fail(p->msg, ERR_RANGE,
				"%s: %s: on a bare machine rules redirect to at most %u images",
				d->name, d->policy, MAX_TARGETS);
	for (unsigned i = 0; i < policy_n_files(rules) && !err; i++) {
		snprintf(path, sizeof(path), "%s", policy_file(rules, i)->path);
		snprintf(name, sizeof(name), "%s/target%u", d->name, i);
		err = add_storage(p, d, "target", name, &(struct disk_def){.path = path});
	}
	return err;
}

static int add_share(struct pack *p, const struct vm_def *d)
{
	struct policy *rules = NULL;
	int err = d->policy ? watch_compile(d->policy, true, &rules, NULL, p->msg) : 0;

	if (!err && rules && policy_count(rules))
		err = put_rules(p, d, rules);
	if (!err && rules)
		err = add_targets(p, d, rules);
	if (!err && d->pin)
		err = conf(p, "pin %016llx\n", (unsigned long long)d->pin);
	policy_free(rules);
	return err;
}

/* switch:NETWORK[,mac=ADDRESS] */
static int add_net(struct pack *p, const struct vm_def *d, unsigned n)
{
	uint8_t mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
	char name[16], given[18], more;
	int got = sscanf(d->net[n], "switch:%15[^, \n],mac=%17[0-9a-fA-F:]%c", name, given, &more);

	if ((got != 1 || strlen(d->net[n]) != 7 + strlen(name)) && got != 2)
		return msg_fail(
			p->msg, ERR_INVAL,
			"%s: net: %s: on a bare machine a network is "
			"switch:NAME[,mac=ADDRESS], the name of at most 15 characters, or none",
			d->name, d->net[n]);
	if (got == 2)
		return conf(p, "net %s %s\n", name, given);
	vm_def_mac(d, n, mac);
	return conf(p, "net %s %02x:%02x:%02x:%02x:%02x:%02x\n", name, mac[0], mac[1], mac[2],
		    mac[3], mac[4], mac[5]);
}

/* ---- states ---- */

static const char *state_of(const struct pack *p, const struct vm_def *d)
{
	size_t n = strlen(d->name);

	for (unsigned i = 0; i < p->opts->n_states; i++)
		if (!strncmp(p->opts->state[i], d->name, n) && p->opts->state[i][n] == '=')
			return p->opts->state[i] + n + 1;
	return NULL;
}

/* Each names a VM of the fleet. */
static int check_states(const struct pack *p)
{
	for (unsigned i = 0; i < p->opts->n_states; i++) {
		bool found = false;

		for (unsigned k = 0; k < p->n; k++)
			found |= state_of(p, &p->def[k]) == strchr(p->opts->state[i], '=') + 1;
		if (!found)
			return msg_fail(
				p->msg, ERR_NOENT,
				"--state %s: no VM has that name, or it has another state already",
				p->opts->state[i]);
	}
	return 0;
}

/* Memory without its pages of zeros, as metal/fleet.h has it; gives the bytes. out NULL: counts them only. */
static uint64_t put_runs(const struct state_parts *s, FILE *out)
{
	uint64_t total = 0;

	for (uint64_t at = 0, end; at < s->ram_size; at = end) {
		uint64_t head[2];

		end = at + PAGE_SIZE;
		if (mem_is_zero(s->ram + at, PAGE_SIZE))
			continue;
		while (end < s->ram_size && !mem_is_zero(s->ram + end, PAGE_SIZE))
			end += PAGE_SIZE;
		head[0] = at;
		head[1] = end - at;
		total += sizeof(head) + head[1];
		if (out && (fwrite(head, sizeof(head), 1, out) != 1 ||
			    fwrite(s->ram + at, 1, head[1], out) != head[1]))
			return 0;
	}
	return total;
}

static int put_ram(struct pack *p, const char *name, const struct state_parts *s)
{
	uint64_t size = put_runs(s, NULL);
	int err = put_header(p, name, size);

	if (!err && put_runs(s, p->out) != size)
		err = cannot_write(p);
	if (!err)
		say_size(p, name, size);
	return err ? err : put_padding(p, size);
}

static int add_state(struct pack *p, const struct vm_def *d, const char *path)
{
	struct state_parts s;
	struct state_file f;
	char name[128];
	int err, fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return msg_fail(p->msg, ERR_NOENT, "cannot read %s: %s", path, strerror(errno));
	err = state_file_from(fd, &f, p->msg);
	close(fd);
	if (err)
		return msg_prefix(p->msg, path), err;
	err = state_file_parts(&f, &s, p->msg);
	state_file_close(&f);
	if (err)
		return msg_prefix(p->msg, path), err;
	snprintf(name, sizeof(name), "%s/state", d->name);
	err = put_bytes(p, name, s.sections, s.len);
	if (!err)
		err = conf(p, "state %s\n", name);
	if (!err)
		say_size(p, name, s.len);
	snprintf(name, sizeof(name), "%s/memory", d->name);
	if (!err)
		err = put_ram(p, name, &s);
	if (!err)
		err = conf(p, "contents %s\n%s", name, p->opts->drop ? "may-lack\n" : "");
	state_parts_free(&s);
	return err;
}

static int add_initrd(struct pack *p, const struct vm_def *d, unsigned i)
{
	const char *text = d->initrd[i].text ? d->initrd[i].text : "";
	char name[128];
	int err;

	snprintf(name, sizeof(name), i ? "%s/initrd%u" : "%s/initrd", d->name, i);
	err = put_shared(p, name, sizeof(name), d->initrd[i].path);
	return err ? err : conf(p, "initrd %s%s%s\n", name, *text ? " " : "", text);
}

static int add_vm(struct pack *p, const struct vm_def *d)
{
	char name[128];
	int err = refuse(p, d);

	if (!err)
		err = conf(p, "vm %s\nmemory %lluM\ncpus %u\n", d->name,
			   (unsigned long long)(d->memory / MIB), d->cpus);
	if (!err && d->cpu)
		err = conf(p, "cpu %s\n", d->cpu);
	if (!err)
		err = add_share(p, d);
	if (!err && d->append)
		err = conf(p, "append %s\n", d->append);
	snprintf(name, sizeof(name), "%s/kernel", d->name);
	if (!err)
		err = put_shared(p, name, sizeof(name), d->kernel);
	if (!err)
		err = conf(p, "kernel %s\n", name);
	for (unsigned i = 0; i < d->n_initrds && !err; i++)
		err = add_initrd(p, d, i);
	if (!err && state_of(p, d))
		err = add_state(p, d, state_of(p, d));
	for (unsigned i = 0; i < d->n_nets && !err; i++)
		err = add_net(p, d, i);
	for (unsigned i = 0; i < d->n_disks && !err; i++) {
		snprintf(name, sizeof(name), "%s/disk%u", d->name, i);
		err = add_storage(p, d, "disk", name, &d->disk[i]);
	}
	return err;
}

static int write_parts(struct pack *p)
{
	int err = check_states(p);

	if (p->opts->poweroff && !err)
		err = conf(p, "poweroff-when-idle\n");
	if (p->opts->history && !err)
		err = conf(p, "history %s\n", p->opts->history);
	for (unsigned i = 0; i < p->opts->n_uplinks && !err; i++)
		err = conf(p, "uplink %s\n", p->opts->uplink[i]);
	for (unsigned i = 0; i < p->n && !err; i++)
		err = add_vm(p, &p->def[i]);
	if (!err)
		err = put_bytes(p, "fleet.conf", p->conf, p->conf_len);
	if (!err)
		err = put_bytes(p, "TRAILER!!!", "", 0);
	return err;
}

/* Under its name only when it is complete: what was there before stays until then. */
static int write_module(struct pack *p, const char *path)
{
	char part[4096];
	int err;

	snprintf(part, sizeof(part), "%s.part", path);
	p->out = fopen(part, "wb");
	if (!p->out)
		return msg_fail(p->msg, ERR_ACCES, "cannot write %s: %s", part, strerror(errno));
	err = write_parts(p);
	if (fclose(p->out) && !err)
		err = cannot_write(p);
	if (!err && rename(part, path))
		err = cannot_write(p);
	if (err)
		unlink(part);
	return err;
}

/* ---- the image ---- */

/* Given, or beside this program in its build directory, or installed. */
static int find_hypervisor(const struct pack *p, char *path, size_t size)
{
	char self[3072];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (p->opts->hypervisor) {
		snprintf(path, size, "%s", p->opts->hypervisor);
	} else {
		self[n > 0 ? n : 0] = 0;
		if (strrchr(self, '/'))
			*strrchr(self, '/') = 0;
		snprintf(path, size, "%s/../metal/vigia.elf", self);
		if (access(path, R_OK))
			snprintf(path, size, "%s/vigia.elf", VIGIA_LIBDIR);
	}
	return access(path, R_OK)
		       ? msg_fail(p->msg, ERR_NOENT,
				  "no hypervisor %s: build it, or give --hypervisor FILE", path)
		       : 0;
}

static int run(struct pack *p, char *const *argv)
{
	pid_t pid = fork();
	int status = -1;

	if (!pid) {
		if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
			_exit(126);
		execvp(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return msg_fail(p->msg, ERR_IO, "%s: %s", argv[0], strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return msg_fail(p->msg, ERR_NOENT,
				"%s is missing: apt-get install grub-common grub-pc-bin "
				"grub-efi-amd64-bin xorriso mtools",
				argv[0]);
	return status ? msg_fail(p->msg, ERR_IO, "%s fails: run it by hand to see why", argv[0])
		      : 0;
}

static int write_text(struct pack *p, const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	bool bad = !f || fputs(text, f) < 0;

	if (f && fclose(f))
		bad = true;
	return bad ? msg_fail(p->msg, ERR_IO, "cannot write %s: %s", path, strerror(errno)) : 0;
}

static int make_image(struct pack *p, const char *dir, const char *elf)
{
	char boot[64], grub[64], cfg[80], to[80], module[80];
	struct stat st;
	int err;

	snprintf(boot, sizeof(boot), "%s/boot", dir);
	snprintf(grub, sizeof(grub), "%s/boot/grub", dir);
	snprintf(cfg, sizeof(cfg), "%s/grub.cfg", grub);
	snprintf(to, sizeof(to), "%s/vigia.elf", boot);
	snprintf(module, sizeof(module), "%s/fleet.cpio", boot);
	if (mkdir(boot, 0700) || mkdir(grub, 0700))
		return msg_fail(p->msg, ERR_IO, "cannot make %s: %s", grub, strerror(errno));
	err = write_text(
		p, cfg,
		"set timeout=0\n"
		"serial --unit=0 --speed=115200\n"
		"terminal_output console serial\n"
		"if [ \"$grub_platform\" = efi ]; then insmod all_video; fi\n"
		"menuentry Vigia {\n"
		"\tmultiboot2 /boot/vigia.elf\n"
		"\tmodule2 /boot/fleet.cpio\n"
		/* Behind what asks for a frame buffer: on a BIOS text does, and is faster. */
		"\tif [ \"$grub_platform\" = pc ]; then set gfxpayload=text; fi\n"
		"}\n");
	if (!err)
		err = write_module(p, module);
	/* Without what is for debuggers. */
	if (!err)
		err = run(p, (char *[]){"objcopy", "--strip-all", (char *)elf, to, NULL});
	if (!err && !stat(to, &st))
		say_size(p, "hypervisor", (uint64_t)st.st_size);
	if (!err)
		err = run(p, (char *[]){"grub-mkrescue", "-o", (char *)p->opts->output, (char *)dir,
					NULL});
	if (!err && !stat(p->opts->output, &st))
		printf("%10.1f KiB  %s, of which the boot loader %.1f KiB\n",
		       (double)st.st_size / 1024, p->opts->output,
		       ((double)st.st_size - (double)p->total) / 1024);
	unlink(cfg);
	unlink(to);
	unlink(module);
	rmdir(grub);
	rmdir(boot);
	return err;
}

static int pack(struct pack *p, const char *file)
{
	const char *dot = p->opts->output ? strrchr(p->opts->output, '.') : NULL;
	char dir[] = "/tmp/vigia-pack-XXXXXX", elf[4096];
	int err = vm_fleet_load(p->def, MAX_VMS, &p->n, file, p->msg);

	if (err)
		return err;
	if (!p->n)
		return msg_fail(p->msg, ERR_INVAL, "%s: there are no VMs in it", file);
	if (!dot || (strcmp(dot, ".iso") && strcmp(dot, ".img") && strcmp(dot, ".cpio")))
		return msg_fail(
			p->msg, ERR_INVAL,
			"say what to make: -o FILE.iso or FILE.img, or FILE.cpio for the boot module");
	if (!strcmp(dot, ".cpio"))
		return write_module(p, p->opts->output);
	err = find_hypervisor(p, elf, sizeof(elf));
	if (err)
		return err;
	if (!mkdtemp(dir))
		return msg_fail(p->msg, ERR_IO, "cannot make %s: %s", dir, strerror(errno));
	err = make_image(p, dir, elf);
	rmdir(dir);
	return err;
}

int pack_main(int argc, char **argv)
{
	static struct pack p;
	struct pack_opts opts = {0};
	struct opt_args args;
	struct msg msg = {""};
	int err;

	if (opt_parse(&cmd_pack, argc, argv, &opts, &args, &msg))
		return cmd_fail(&cmd_pack, &msg);
	if (args.help) {
		opt_print_help(&cmd_pack);
		return EXIT_OK;
	}
	p.opts = &opts;
	p.msg = &msg;
	err = pack(&p, args.arg[0]);
	for (unsigned i = 0; i < p.n; i++)
		vm_def_fini(&p.def[i]);
	return err ? cmd_fail(&cmd_pack, &msg) : EXIT_OK;
}
