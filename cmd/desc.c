/* SPDX-License-Identifier: ISC */
/* desc.c: what each command takes. Help, man pages and completion come from here. */
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "cmd/watch_opts.h"
#include "ctl/def.h"

static int set_profile(void *target, const char *value, struct msg *msg)
{
	((struct cmd_opts *)target)->profile = true;
	return 0;
}

static int set_json(void *target, const char *value, struct msg *msg)
{
	((struct cmd_opts *)target)->json = true;
	return 0;
}

static int set_timeout(void *target, const char *value, struct msg *msg)
{
	struct cmd_opts *o = target;
	uint64_t v;
	int err = opt_u64(value, 0, 86400, "--timeout", &v, msg);

	if (!err) {
		o->timeout = (int)v;
	}
	return err;
}

static int set_wait(void *target, const char *value, struct msg *msg)
{
	((struct cmd_opts *)target)->wait = true;
	return 0;
}

#define FLAG_SETTER(field)                                                       \
	static int set_##field(void *target, const char *value, struct msg *msg) \
	{                                                                        \
		((struct cmd_opts *)target)->field = true;                       \
		return 0;                                                        \
	}
FLAG_SETTER(keep)
FLAG_SETTER(verify)
FLAG_SETTER(force)
FLAG_SETTER(drop)
FLAG_SETTER(enter)
FLAG_SETTER(relative)
FLAG_SETTER(compress)

static int set_name(void *target, const char *value, struct msg *msg)
{
	((struct cmd_opts *)target)->name = value;
	return 0;
}

static int set_engine(void *target, const char *value, struct msg *msg)
{
	((struct cmd_opts *)target)->engine = value;
	return 0;
}

static int set_output(void *target, const char *value, struct msg *msg)
{
	((struct pack_opts *)target)->output = value;
	return 0;
}

static int set_hypervisor(void *target, const char *value, struct msg *msg)
{
	((struct pack_opts *)target)->hypervisor = value;
	return 0;
}

static int set_uplink(void *target, const char *value, struct msg *msg)
{
	struct pack_opts *o = target;

	if (!*value || strlen(value) > 15 || strpbrk(value, " ,\n"))
		return msg_fail(msg, ERR_INVAL,
				"--uplink %s: give a network's name, at most 15 characters", value);
	if (o->n_uplinks == ARRAY_SIZE(o->uplink))
		return msg_fail(msg, ERR_INVAL, "--uplink %s: at most 16", value);
	o->uplink[o->n_uplinks++] = value;
	return 0;
}

static int set_pack_drop(void *target, const char *value, struct msg *msg)
{
	((struct pack_opts *)target)->drop = true;
	return 0;
}

static int set_state(void *target, const char *value, struct msg *msg)
{
	struct pack_opts *o = target;
	const char *eq = strchr(value, '=');

	if (!eq || eq == value || !eq[1])
		return msg_fail(msg, ERR_INVAL,
				"--state %s: give a VM's name and a file of vigia save: NAME=FILE",
				value);
	if (o->n_states == ARRAY_SIZE(o->state))
		return msg_fail(msg, ERR_INVAL, "--state %s: at most 16", value);
	o->state[o->n_states++] = value;
	return 0;
}

static int set_history_area(void *target, const char *value, struct msg *msg)
{
	if (strncmp(value, "host:", 5) || strlen(value) <= 5 || strlen(value) > 68 ||
	    strchr(value, '\n'))
		return msg_fail(
			msg, ERR_INVAL,
			"--history %s: give a disk of the machine, a partition or an image on it: "
			"host:nvme0/2, host:nvme0//history",
			value);
	((struct pack_opts *)target)->history = value;
	return 0;
}

static int set_poweroff(void *target, const char *value, struct msg *msg)
{
	((struct pack_opts *)target)->poweroff = true;
	return 0;
}

/* clang-format off */
static const struct opt save_opts[] = {
	{"keep", NULL, "let the VM go on; its disks then change, and restoring wants --force", NULL, 0,
	 set_keep},
	{"compress", NULL, "compress the memory: a smaller file, but restoring reads all of it first", NULL,
	 0, set_compress},
};
static const struct opt snapshot_opts[] = {
	{"compress", NULL, "save: compress the memory; going back then reads all of it first", NULL, 0,
	 set_compress},
	{"json", NULL, "list: print JSON", NULL, 0, set_json},
	{"engine", "auto|soft|kvm", "restore, of a VM that does not run: what executes the guest (as then)",
	 "auto|soft|kvm", 0, set_engine},
};
static const struct opt restore_opts[] = {
	{"name", "NAME", "another name for the VM", NULL, 0, set_name},
	{"engine", "auto|soft|kvm", "what executes the guest (as when it was started)",
	 "auto|soft|kvm", 0, set_engine},
	{"verify", NULL, "check all of the memory before the VM starts", NULL, 0, set_verify},
	{"force", NULL, "restore though disks have changed: the guest may damage them", NULL, 0,
	 set_force},
	{"drop-features", NULL, "go on though the engine lacks processor features that the guest has: "
	 "it must not use them", NULL, 0, set_drop},
};
static const struct opt move_opts[] = {
	{"engine", "auto|soft|kvm", "what executes the guest from now on (auto)", "auto|soft|kvm", 0,
	 set_engine},
	{"drop-features", NULL, "go on though the engine lacks processor features that the guest has: "
	 "it must not use them", NULL, 0, set_drop},
};
static const struct opt type_opts[] = {
	{"enter", NULL, "press Enter at the end", NULL, 0, set_enter},
};
static const struct opt mouse_opts[] = {
	{"relative", NULL, "move by X and Y, not to them", NULL, 0, set_relative},
};
static const struct opt json_opts[] = {
	{"json", NULL, "print JSON", NULL, 0, set_json},
};
static const struct opt stats_opts[] = {
	{"json", NULL, "print JSON", NULL, 0, set_json},
	{"profile", NULL, "say where the guest's time goes (time itself: of a VM run with --profile)", NULL, 0,
	 set_profile},
};
static const struct opt stop_opts[] = {
	{"timeout", "SECONDS", "hard stop after that time (the VM's --stop-timeout)", NULL, 0,
	 set_timeout},
	{"wait", NULL, "return when the VM has ended", NULL, 0, set_wait},
};
static const struct opt kill_opts[] = {
	{"wait", NULL, "return when the VM has ended", NULL, 0, set_wait},
};

const struct command cmd_doctor = {
	"doctor", "", "say what this host offers, what is missing and how to get it",
	"Tries each engine by running a small guest. Exit status 1 where VMs cannot run.",
	json_opts, ARRAY_SIZE(json_opts), 0, 0};
const struct command cmd_list = {
	"list", "", "list the running VMs", NULL, json_opts, ARRAY_SIZE(json_opts), 0, 0};
const struct command cmd_stop = {
	"stop", "NAME", "press a VM's power button",
	"A guest that does not power off in time is stopped hard; its disks are flushed.",
	stop_opts, ARRAY_SIZE(stop_opts), 1, 1};
const struct command cmd_kill = {
	"kill", "NAME", "stop a VM at once",
	"As pulling the plug: the guest is not asked. What it has flushed is on its disks.",
	kill_opts, ARRAY_SIZE(kill_opts), 1, 1};
const struct command cmd_pause = {
	"pause", "NAME", "hold a VM's processors", NULL, NULL, 0, 1, 1};
const struct command cmd_resume = {
	"resume", "NAME", "let a paused VM go on", NULL, NULL, 0, 1, 1};
const struct command cmd_wake = {
	"wake", "NAME", "press the power button of a VM whose guest sleeps (S3)", NULL, NULL, 0, 1, 1};
const struct command cmd_stats = {
	"stats", "NAME", "show what a VM uses and what its engine does", NULL,
	stats_opts, ARRAY_SIZE(stats_opts), 1, 1};
const struct command cmd_console = {
	"console", "NAME", "join a VM's console",
	"Several may join; all see the same. Ctrl-A x leaves the console, the VM goes on; Ctrl-A Ctrl-A "
	"sends Ctrl-A.", NULL, 0, 1, 1};
const struct command cmd_move = {
	"move", "NAME", "let a running VM go on with another engine",
	"Its processors stop for some milliseconds; nothing else changes.",
	move_opts, ARRAY_SIZE(move_opts), 1, 1};
static const struct opt pack_opts[] = {
	{"output", "FILE", "what to make: FILE.iso, a bootable image, or FILE.cpio, the boot module alone (also -o)",
	 NULL, OPT_FILE, set_output, 'o'},
	{"hypervisor", "FILE", "another vigia.elf than the one that was installed with this program", NULL,
	 OPT_FILE, set_hypervisor},
	{"uplink", "NETWORK", "the machine's first network card (again: the next one) leads out of that network", NULL,
	 OPT_MULTI, set_uplink},
	{"state", "NAME=FILE", "that VM starts from what vigia save wrote into the file", NULL, OPT_MULTI, set_state},
	{"drop-features", NULL, "such a VM's processors may lose what the machine has not: for guests that do not use it", NULL, 0, set_pack_drop},
	{"history", "host:DISK", "the history goes to this area of the machine's disk, too, which is that alone's", NULL, 0, set_history_area},
	{"poweroff", NULL, "the machine switches itself off once no VM runs any more", NULL, 0, set_poweroff},
};
const struct command cmd_pack = {
	"pack", "FLEET.yaml -o FILE", "make an image that runs VMs on a bare machine",
	"FLEET.yaml is a list of definitions as vigia run takes them. The image holds the hypervisor, kernels,\n"
	"initial RAM disks and disks, and starts by GRUB on BIOS and UEFI.",
	pack_opts, ARRAY_SIZE(pack_opts), 1, 1};
const struct command cmd_screenshot = {
	"screenshot", "NAME FILE", "write a picture of a VM's screen",
	"FILE becomes a PNG file. The VM must have a screen: vigia run --display vga.",
	NULL, 0, 2, 2};
static const struct opt media_opts[] = {
	{"force", NULL, "even if the guest has locked the drive's door", NULL, 0, set_force},
};
const struct command cmd_insert = {
	"insert", "NAME DRIVE FILE", "put a disc or disk into a drive of a running VM",
	"DRIVE is cd0 for the first --cdrom, fd0 for the first --floppy, and so on. What is in it comes out.\n"
	"A floppy disk is written to if FILE may be. vigia restore finds FILE in the drive again.",
	media_opts, ARRAY_SIZE(media_opts), 3, 3};
const struct command cmd_eject = {
	"eject", "NAME DRIVE", "take out what is in a drive of a running VM",
	"DRIVE is cd0 for the first --cdrom, fd0 for the first --floppy, and so on.",
	media_opts, ARRAY_SIZE(media_opts), 2, 2};
const struct command cmd_type = {
	"type", "NAME TEXT", "type on a VM's keyboard",
	"TEXT is what a US keyboard has; - stands for standard input. Returns when the guest has taken it.",
	type_opts, ARRAY_SIZE(type_opts), 2, 2};
const struct command cmd_key = {
	"key", "NAME COMBO…", "press keys on a VM's keyboard",
	"COMBO is a key or several with dashes between them: ctrl-alt-del, f2, shift-a, enter, alt-f4.",
	NULL, 0, 2, OPT_MAX_ARGS};
const struct command cmd_mouse = {
	"mouse", "NAME X Y [click|double|right|middle]", "move a VM's pointer, and click",
	"X and Y are dots of the screen. They are exact where the guest has a tablet (vigia run --input\n"
	"virtio); a mouse is moved into the upper left corner first, and the guest may accelerate it.",
	mouse_opts, ARRAY_SIZE(mouse_opts), 3, 4};
const struct command cmd_save = {
	"save", "NAME FILE", "save a running VM to a file and end it",
	"FILE is replaced only once the new one is complete and on the disk. Disks are not in it: they\n"
	"must stay as they are until vigia restore FILE.", save_opts, ARRAY_SIZE(save_opts), 2, 2};
const struct command cmd_restore = {
	"restore", "FILE", "let a saved VM go on, in the foreground",
	"Ends as vigia run does. The VM's memory is read from FILE while it is used: FILE must stay.",
	restore_opts, ARRAY_SIZE(restore_opts), 1, 1};
const struct command cmd_snapshot = {
	"snapshot", "save|list|restore|delete NAME [SNAPSHOT]", "snapshots of a VM's memory and disks together",
	"save NAME [SNAPSHOT]     take one of a running VM, which goes on; its disks must be qcow2 images\n"
	"list NAME                the tree of its snapshots; * is the one that it came from\n"
	"restore NAME SNAPSHOT    go back: a running VM at once, one that does not run is started, in the\n"
	"                         foreground, as by vigia run\n"
	"delete NAME SNAPSHOT     it goes, those that came from it stay\n"
	"SNAPSHOT is a name or a number of the list.",
	snapshot_opts, ARRAY_SIZE(snapshot_opts), 2, 3};
/* clang-format on */

const struct command *const cmd_all[] = {
	&cmd_run,     &cmd_history,    &cmd_policy, &cmd_list,    &cmd_stop,   &cmd_kill,
	&cmd_pause,   &cmd_resume,     &cmd_stats,  &cmd_console, &cmd_doctor, &cmd_save,
	&cmd_restore, &cmd_screenshot, &cmd_move,   &cmd_type,    &cmd_key,    &cmd_mouse,
	&cmd_pack,    &cmd_image,      &cmd_volume, &cmd_insert,  &cmd_eject,  &cmd_snapshot,
};
const unsigned cmd_all_count = ARRAY_SIZE(cmd_all);
