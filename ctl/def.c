/* SPDX-License-Identifier: ISC */
/* def.c: the options of `vigia run`, which are the keys of a definition file too, and what they
 * put into a struct vm_def. Called by the main thread. */
#include "ctl/def.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "ctl/clock.h"
#include "ctl/drive.h"
#include "vm/vm.h"

#define MEMORY_MIN (16 * MIB)
#define MEMORY_MAX (1024 * GIB)

bool vm_name_valid(const char *name)
{
	size_t n = strlen(name);

	if (!n || n > 63 || !isalnum((unsigned char)name[0]))
		return false;
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && !strchr("._-", *name))
			return false;
	return true;
}

static int set_string(char **p, const char *value, struct msg *msg)
{
	char *s = strdup(value);

	if (!s)
		return msg_fail(msg, ERR_NOMEM, "out of memory");
	free(*p);
	*p = s;
	return 0;
}

#define STRING_SETTER(field)                                                      \
	static int set_##field(void *target, const char *value, struct msg *msg)  \
	{                                                                         \
		return set_string(&((struct vm_def *)target)->field, value, msg); \
	}
STRING_SETTER(engine)
STRING_SETTER(board)
STRING_SETTER(cpu)
STRING_SETTER(kernel)
STRING_SETTER(initrd)
STRING_SETTER(append)
STRING_SETTER(serial)
STRING_SETTER(history)
STRING_SETTER(policy)
STRING_SETTER(firmware)
STRING_SETTER(vars)

static int set_rtc(void *target, const char *value, struct msg *msg)
{
	int64_t offset;
	int err = clock_offset(value, &offset, msg);

	return err ? err : set_string(&((struct vm_def *)target)->rtc, value, msg);
}

static int set_uuid(void *target, const char *value, struct msg *msg)
{
	static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	static const uint8_t zeros[16];
	uint8_t uuid[16] = {0};
	unsigned n = 0;
	bool good = strlen(value) == sizeof(shape) - 1;

	for (const char *p = value, *s = shape; good && *p; p++, s++) {
		int digit = hex_digit(*p);

		good = *s == '-' ? *p == '-' : digit >= 0;
		if (!good || *s == '-')
			continue;
		uuid[n / 2] = (uint8_t)(uuid[n / 2] << 4 | digit);
		n++;
	}
	if (!good || !memcmp(uuid, zeros, 16))
		return msg_fail(msg, ERR_INVAL,
				"--uuid %s: give 32 hexadecimal digits, not all zeros, such as "
				"6ba7b810-9dad-11d1-80b4-00c04fd430c8",
				value);
	memcpy(((struct vm_def *)target)->uuid, uuid, sizeof(uuid));
	return 0;
}

static int set_serial_number(void *target, const char *value, struct msg *msg)
{
	struct vm_def *def = target;
	size_t n = strlen(value);
	bool good = n && n < sizeof(def->serial_number);

	for (const char *p = value; *p; p++)
		good = good && *p >= ' ' && *p <= '~';
	if (!good)
		return msg_fail(msg, ERR_INVAL,
				"--serial-number: give 1 to 63 printable ASCII characters");
	memcpy(def->serial_number, value, n + 1);
	return 0;
}

static int set_console(void *target, const char *value, struct msg *msg)
{
	struct vm_def *def = target;

	if (strcmp(value, "none"))
		return set_string(&def->console, value, msg);
	free(def->console);
	def->console = NULL;
	return 0;
}

static int set_parallel(void *target, const char *value, struct msg *msg)
{
	struct vm_def *def = target;

	if (!strcmp(value, "stdio"))
		return msg_fail(msg, ERR_INVAL,
				"--parallel: give none, file:FILE, unix:SOCKET or pty");
	if (strcmp(value, "none"))
		return set_string(&def->parallel, value, msg);
	free(def->parallel);
	def->parallel = NULL;
	return 0;
}

static int set_name(void *target, const char *value, struct msg *msg)
{
	struct vm_def *def = target;

	if (!vm_name_valid(value))
		return msg_fail(msg, ERR_INVAL,
				"--name %s: use at most 63 letters, digits, dots, "
				"dashes and underscores, and begin with a letter or digit",
				value);
	strcpy(def->name, value);
	strcpy(def->identity, value);
	return 0;
}

static int set_cpus(void *target, const char *value, struct msg *msg)
{
	uint64_t v;
	int err = opt_u64(value, 1, VM_MAX_VCPUS, "--cpus", &v, msg);

	if (!err)
		((struct vm_def *)target)->cpus = (unsigned)v;
	return err;
}

/* "0,2-3" */
static int set_pin(void *target, const char *value, struct msg *msg)
{
	uint64_t mask = 0;
	const char *s = value;

	for (;;) {
		char *end;
		unsigned long from = strtoul(s, &end, 10), to = from;
		bool digits = *s >= '0' && *s <= '9';

		if (digits && *end == '-' && end[1] >= '0' && end[1] <= '9')
			to = strtoul(end + 1, &end, 10);
		if (!digits || (*end && *end != ',') || from > to || to > 63)
			return msg_fail(msg, ERR_INVAL,
					"--pin %s: give processors from 0 to 63, such as 0,2-3",
					value);
		for (; from <= to; from++)
			mask |= BIT64(from);
		if (!*end)
			break;
		s = end + 1;
	}
	((struct vm_def *)target)->pin = mask;
	return 0;
}

static int set_memory(void *target, const char *value, struct msg *msg)
{
	struct vm_def *def = target;
	uint64_t v;
	int err = opt_size(value, "--memory", &v, msg);

	if (err)
		return err;
	if (v < MEMORY_MIN || v > MEMORY_MAX || !IS_ALIGNED(v, MIB))
		return msg_fail(msg, ERR_INVAL, "--memory %s: give whole MiB from %u to %u", value,
				(unsigned)(MEMORY_MIN / MIB), (unsigned)(MEMORY_MAX / MIB));
	def->memory = v;
	return 0;
}

static int set_exit_port(void *target, const char *value, struct msg *msg)
{
	uint64_t v;
	int err = opt_u64(value, 1, 0xffff, "--exit-port", &v, msg);

	if (!err)
		((struct vm_def *)target)->exit_port = (uint16_t)v;
	return err;
}

static int set_stop_timeout(void *target, const char *value, struct msg *msg)
{
	uint64_t v;
	int err = opt_u64(value, 0, 86400, "--stop-timeout", &v, msg);

	if (!err)
		((struct vm_def *)target)->stop_timeout = (unsigned)v;
	return err;
}

static int set_unpack(void *target, const char *value, struct msg *msg)
{
	(void)msg;
	((struct vm_def *)target)->no_unpack = !strcmp(value, "off");
	return 0;
}

static int set_rng(void *target, const char *value, struct msg *msg)
{
	((struct vm_def *)target)->no_rng = !strcmp(value, "off");
	return 0;
}

static int set_gdb(void *target, const char *value, struct msg *msg)
{
	if (strncmp(value, "unix:", 5) && strncmp(value, "tcp:", 4))
		return msg_fail(msg, ERR_INVAL,
				"--gdb %s: give unix:PATH, tcp::PORT or tcp:HOST:PORT", value);
	return set_string(&((struct vm_def *)target)->gdb, value, msg);
}

static int set_gdb_wait(void *target, const char *value, struct msg *msg)
{
	((struct vm_def *)target)->gdb_wait = !value || !strcmp(value, "on");
	return 0;
}

static int set_profile(void *target, const char *value, struct msg *msg)
{
	((struct vm_def *)target)->profile = true;
	return 0;
}

static int set_sandbox(void *target, const char *value, struct msg *msg)
{
	((struct vm_def *)target)->no_sandbox = !strcmp(value, "off");
	return 0;
}

static int set_control(void *target, const char *value, struct msg *msg)
{
	((struct vm_def *)target)->no_control = !strcmp(value, "off");
	return 0;
}

static int set_input(void *target, const char *value, struct msg *msg)
{
	((struct vm_def *)target)->virtio_input = !strcmp(value, "virtio");
	((struct vm_def *)target)->usb_tablet = !strcmp(value, "usb");
	return 0;
}

static int set_virtio(void *target, const char *value, struct msg *msg)
{
	((struct vm_def *)target)->virtio_legacy = !strcmp(value, "transitional");
	return 0;
}

static int set_graphics(void *target, const char *value, struct msg *msg)
{
	((struct vm_def *)target)->virtio_gpu = !strcmp(value, "virtio");
	return 0;
}

static int set_hugepages(void *target, const char *value, struct msg *msg)
{
	((struct vm_def *)target)->hugepages = !strcmp(value, "on");
	return 0;
}

static int set_kvm_irqchip(void *target, const char *value, struct msg *msg)
{
	static const char *const names[] = {
		[CHIPS_AUTO] = "auto", [CHIPS_SPLIT] = "split", [CHIPS_OFF] = "off"};
	struct vm_def *def = target;

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		def->chips = (enum chips_def)i;
		if (!strcmp(value, names[i]))
			return 0;
	}
	return msg_fail(msg, ERR_INVAL, "--kvm-irqchip %s: expected auto, split or off", value);
}

static int set_paravirt(void *target, const char *value, struct msg *msg)
{
	((struct vm_def *)target)->hyperv = !strcmp(value, "hyper-v");
	return 0;
}

static int set_display(void *target, const char *value, struct msg *msg)
{
	struct vm_def *def = target;
	bool vnc = !strncmp(value, "vnc:", 4);

	if (strcmp(value, "none") && strcmp(value, "vga") && !vnc)
		return msg_fail(msg, ERR_INVAL,
				"--display %s: there is none, vga and vnc:ADDRESS, such as "
				"vnc:127.0.0.1",
				value);
	def->screen = strcmp(value, "none");
	if (vnc)
		return set_string(&def->vnc, value + 4, msg);
	free(def->vnc);
	def->vnc = NULL;
	return 0;
}

/* One key of a disk's specification. */
static int disk_key(struct disk_def *d, const char *key, const char *value, struct msg *msg)
{
	if (!strcmp(key, "ro") && !value) {
		d->read_only = true;
	} else if (!strcmp(key, "snapshot") && !value) {
		d->snapshot = true;
	} else if (!strcmp(key, "format") && value) {
		static const char *const formats[] = {"auto", "raw", "qcow2", "vmdk",
						      "vdi",  "vhd", "vhdx"};
		unsigned i = 0;

		while (i < ARRAY_SIZE(formats) && strcmp(value, formats[i]))
			i++;
		if (i == ARRAY_SIZE(formats))
			return msg_fail(msg, ERR_INVAL,
					"--disk: format %s is not known: raw, qcow2, vmdk, vdi, "
					"vhd or vhdx; qemu-img convert turns others into these",
					value);
		return set_string(&d->format, value, msg);
	} else if (!strcmp(key, "serial") && value) {
		if (strlen(value) > 20)
			return msg_fail(msg, ERR_INVAL, "--disk: serial %s is longer than 20",
					value);
		strcpy(d->serial, value);
	} else if (!strcmp(key, "if") && value) {
		static const char *const names[] = {"virtio", "ide", "ahci", "nvme"};
		unsigned i = 0;

		while (i < ARRAY_SIZE(names) && strcmp(value, names[i]))
			i++;
		if (i == ARRAY_SIZE(names))
			return msg_fail(msg, ERR_INVAL,
					"--disk: if=%s is not known: virtio, ide, ahci or nvme",
					value);
		d->iface = (enum disk_if)i;
	} else {
		return msg_fail(msg, ERR_INVAL,
				"--disk: %s is not known: if=, format=, serial=, ro, "
				"snapshot; write a comma in a file name twice",
				key);
	}
	return 0;
}

static void disk_def_fini(struct disk_def *d)
{
	free(d->path);
	free(d->format);
	*d = (struct disk_def){0};
}

/* Adds FILE[,KEY…] to the disks; d holds what is not said. */
static int add_disk(struct vm_def *def, struct disk_def d, const char *value, struct msg *msg)
{
	const char *option = d.cdrom ? "--cdrom" : "--disk";
	char *field;
	int err;

	if (def->n_disks >= DEF_MAX_DISKS)
		return msg_fail(msg, ERR_INVAL, "%s %s: at most %u disks and drives", option, value,
				DEF_MAX_DISKS);
	d.path = opt_field(&value);
	err = set_string(&d.format, d.cdrom ? "raw" : "auto", msg);
	if (!err && (!d.path || !d.path[0]))
		err = msg_fail(msg, ERR_INVAL, "%s: the file name is missing", option);
	while (!err && (field = opt_field(&value))) {
		char *eq = strchr(field, '=');

		if (eq)
			*eq++ = 0;
		if (d.cdrom && strcmp(field, "if"))
			err = msg_fail(msg, ERR_INVAL,
				       "--cdrom: %s is not known: if=ide or if=ahci; write a comma "
				       "in a file name twice",
				       field);
		else
			err = disk_key(&d, field, eq, msg);
		free(field);
	}
	if (!err && d.cdrom && d.iface != DISK_IDE && d.iface != DISK_AHCI)
		err = msg_fail(msg, ERR_INVAL, "--cdrom %s: CD drives are if=ide or if=ahci",
			       d.path);
	if (err) {
		disk_def_fini(&d);
		return err;
	}
	if (d.cdrom && !strcmp(d.path, "none")) {
		free(d.path);
		d.path = NULL;
	}
	def->disk[def->n_disks++] = d;
	return 0;
}

static int set_disk(void *target, const char *value, struct msg *msg)
{
	return add_disk(target, (struct disk_def){0}, value, msg);
}

static int set_cdrom(void *target, const char *value, struct msg *msg)
{
	return add_disk(target,
			(struct disk_def){.read_only = true, .iface = DISK_IDE, .cdrom = true},
			value, msg);
}

static int set_medium(void *target, const char *value, struct msg *msg)
{
	return drive_define(target, value, msg);
}

static int set_floppy(void *target, const char *value, struct msg *msg)
{
	struct vm_def *def = target;

	if (def->n_floppies >= DEF_MAX_FLOPPIES)
		return msg_fail(msg, ERR_INVAL, "--floppy %s: at most %u drives", value,
				DEF_MAX_FLOPPIES);
	return set_string(&def->floppy[def->n_floppies++], value, msg);
}

/* disk,cdrom,floppy,net,menu in the order in which they are tried. */
static int set_boot(void *target, const char *value, struct msg *msg)
{
	static const struct {
		const char *name;
		char letter;
	} names[] = {{"disk", 'd'}, {"cdrom", 'c'}, {"floppy", 'f'}, {"net", 'n'}, {"menu", 0}};
	struct vm_def *def = target;
	unsigned n = 0, i;
	char *field;

	def->boot_menu = false;
	memset(def->boot, 0, sizeof(def->boot));
	while ((field = opt_field(&value))) {
		for (i = 0; i < ARRAY_SIZE(names) && strcmp(field, names[i].name); i++)
			;
		if (i == ARRAY_SIZE(names) || n == DEF_MAX_BOOT ||
		    (names[i].letter && strchr(def->boot, names[i].letter))) {
			msg_fail(msg, ERR_INVAL,
				 "--boot: %s: give disk, cdrom, floppy, net, each once, and menu",
				 field);
			free(field);
			return ERR_INVAL;
		}
		if (names[i].letter)
			def->boot[n++] = names[i].letter;
		else
			def->boot_menu = true;
		free(field);
	}
	return 0;
}

static const char *const nic_names[] = {"virtio", "e1000", "rtl8139", "rtl8139d", "ne2k_pci"};

/* Takes model=NAME out of a network's specification; the rest is the back end's. */
static int take_model(char *spec, enum nic_model *model, struct msg *msg)
{
	char *at = strstr(spec, ",model="), *name, *end;
	unsigned i = 0;

	if (!at)
		return 0;
	name = at + strlen(",model=");
	end = name + strcspn(name, ",");
	while (i < ARRAY_SIZE(nic_names) && (strlen(nic_names[i]) != (size_t)(end - name) ||
					     strncmp(nic_names[i], name, (size_t)(end - name))))
		i++;
	if (i == ARRAY_SIZE(nic_names))
		return msg_fail(msg, ERR_INVAL,
				"--net: model=%.*s is not known: virtio, e1000, rtl8139, "
				"rtl8139d or ne2k_pci",
				(int)(end - name), name);
	*model = (enum nic_model)i;
	memmove(at, end, strlen(end) + 1);
	return 0;
}

static int set_net(void *target, const char *value, struct msg *msg)
{
	struct vm_def *def = target;
	unsigned n = def->n_nets;
	int err;

	def->net_given = true;
	if (!strcmp(value, "none"))
		return 0;
	if (n >= DEF_MAX_NETS)
		return msg_fail(msg, ERR_INVAL, "--net %s: at most %u network cards", value,
				DEF_MAX_NETS);
	err = set_string(&def->net[n], value, msg);
	if (!err)
		err = take_model(def->net[n], &def->nic[n], msg);
	if (!err) {
		def->n_nets++;
	} else {
		free(def->net[n]);
		def->net[n] = NULL;
	}
	return err;
}

/* clang-format off */
static const struct opt run_opts[] = {
	{"name", "NAME", "name of the VM for vigia list, stop, console … (vm-PID)", NULL,
	 OPT_DEF, set_name},
	{"engine", "auto|soft|kvm", "what executes the guest (auto)", "auto|soft|kvm", OPT_DEF,
	 set_engine},
	{"kvm-irqchip", "auto|split|off", "on the engine kvm: local APICs in the host's kernel, which is faster, but hides "
	 "them from history and rules; auto: with --board micro, where this KVM has them (auto)", "auto|split|off", OPT_DEF,
	 set_kvm_irqchip},
	{"board", "micro|pc", "the machine: micro has virtio devices only and boots a kernel, pc is "
	 "a full PC with firmware (micro with --kernel, else pc)", "micro|pc", OPT_DEF, set_board},
	{"cpu", "MODEL", "x86-64-v1, x86-64-v2, x86-64-v3, x86-64-v4 (AVX-512), host (what the host can "
	 "execute), host-avx2 (the same without AVX-512) or host-la57 (like that, with 5-level paging)", NULL, OPT_DEF, set_cpu},
	{"cpus", "N", "virtual processors, 1 to 32 (1)", NULL, OPT_DEF, set_cpus},
	{"pin", "LIST", "processors of the host that the VM runs on, such as 0,2-3 (any)", NULL, OPT_DEF, set_pin},
	{"memory", "SIZE", "RAM, such as 512M or 2G; without a suffix MiB (512M)", NULL, OPT_DEF,
	 set_memory},
	{"hugepages", "on|off", "RAM in huge pages of 2 MiB that the host has reserved (vm.nr_hugepages); off: as "
	 "the host gives them (off)", "on|off", OPT_DEF, set_hugepages},
	{"kernel", "FILE", "Linux bzImage or PVH ELF to boot", NULL, OPT_DEF | OPT_FILE, set_kernel},
	{"initrd", "FILE", "initial RAM disk for the kernel", NULL, OPT_DEF | OPT_FILE, set_initrd},
	{"append", "TEXT", "the kernel's command line (console=ttyS0)", NULL, OPT_DEF, set_append},
	{"firmware", "bios|uefi|FILE", "what starts the pc: SeaBIOS, OVMF or a ROM image (bios)", NULL,
	 OPT_DEF | OPT_FILE, set_firmware},
	{"vars", "FILE", "where UEFI firmware keeps its variables; made when it is not there "
	 "(they are forgotten)", NULL, OPT_DEF | OPT_FILE, set_vars},
	{"boot", "LIST", "what the pc boots from, in order: disk,cdrom,floppy,net; also menu "
	 "(floppy,cdrom,disk,net)", NULL, OPT_DEF, set_boot},
	{"cdrom", "FILE|none[,if=ide|ahci]", "a CD drive with this image, or empty", NULL,
	 OPT_DEF | OPT_MULTI | OPT_FILE, set_cdrom},
	{"floppy", "FILE|none", "a floppy drive with this disk of 160 KiB to 2.88 MiB, or empty", NULL,
	 OPT_DEF | OPT_MULTI | OPT_FILE, set_floppy},
	{"medium", "DRIVE=FILE", "what is in the drive cd0, cd1 … or fd0, fd1 in place of what --cdrom or "
	 "--floppy said; none: nothing. vigia insert adds it for vigia restore", NULL,
	 OPT_DEF | OPT_MULTI | OPT_FILE, set_medium},
	{"disk", "FILE[,…]", "a disk: FILE[,if=virtio|ide|ahci|nvme][,format=raw|qcow2|…][,serial=S]"
	 "[,ro][,snapshot]; with snapshot FILE is not changed; vmdk, vdi, vhd and vhdx images are only read", NULL, OPT_DEF | OPT_MULTI | OPT_FILE,
	 set_disk},
	{"net", "SPEC", "a network card: user[,forward=tcp:127.0.0.1:2222:22], tap:INTERFACE, "
	 "none, or for vigia pack switch:NETWORK; user with ,bootfile=URL or ,tftp=FOLDER,bootfile=FILE for --boot net; with ,model=virtio|e1000|rtl8139|rtl8139d|ne2k_pci (user)", NULL, OPT_DEF | OPT_MULTI, set_net},
	{"serial", "SPEC", "the serial port: stdio, none, file:FILE, unix:SOCKET or pty (stdio)",
	 NULL, OPT_DEF, set_serial},
	{"parallel", "SPEC", "the pc's parallel port, at which a printer takes everything: file:FILE, "
	 "unix:SOCKET, pty or none (none)", NULL, OPT_DEF, set_parallel},
	{"console", "SPEC", "a virtio console (hvc0) too, as --serial (none)", NULL, OPT_DEF,
	 set_console},
	{"display", "none|vga|vnc:…", "a screen, which needs the PC: vga for vigia screenshot only, "
	 "vnc:ADDRESS[:PORT] or vnc:unix:SOCKET for viewers too, with [,password=FILE][,cert=FILE[,key=FILE]] (none)",
	 NULL, OPT_DEF, set_display},
	{"graphics", "vga|virtio", "what is behind the screen: a VGA for all systems, or a virtio graphics device, which UEFI "
	 "and Linux have drivers for; a BIOS's text then goes to the serial port (vga)", "vga|virtio", OPT_DEF, set_graphics},
	{"input", "ps2|usb|virtio", "the PC's keyboard and mouse; usb: a USB tablet too, virtio: a virtio "
	 "keyboard and tablet, which a guest with drivers for them uses (ps2)", "ps2|usb|virtio", OPT_DEF,
	 set_input},
	{"virtio", "modern|transitional", "what virtio devices of the PC are: transitional ones serve drivers from before "
	 "virtio 1.0, too (Windows XP's, FreeBSD 12's, Linux 2.6's) (modern)", "modern|transitional", OPT_DEF, set_virtio},
	{"paravirt", "kvm|hyper-v", "what the guest may know of being one: KVM's clock, which Linux and BSDs use; or "
	 "Hyper-V's clock, interrupt and reset registers, for Windows 7 and later on the PC (kvm)", "kvm|hyper-v", OPT_DEF,
	 set_paravirt},
	{"uuid", "UUID", "the machine's UUID, as the guest's SMBIOS tables show it (from --name; without "
	 "a name none)", NULL, OPT_DEF, set_uuid},
	{"serial-number", "TEXT", "the machine's serial number in the SMBIOS tables (none)", NULL,
	 OPT_DEF, set_serial_number},
	{"rtc", "SPEC", "what the clock shows: utc, localtime, zone:Europe/Lisbon, or from a date in UTC on, "
	 "2005-04-01T12:30:00 (utc)", NULL, OPT_DEF, set_rtc},
	{"unpack", "on|off", "the host unpacks a Linux kernel, and places it at random unless the "
	 "command line has nokaslr; what it unpacks is kept in ~/.cache/vigia; off: the guest does (on)", "on|off", OPT_DEF, set_unpack},
	{"rng", "on|off", "virtio entropy device (on)", "on|off", OPT_DEF, set_rng},
	{"exit-port", "PORT", "a write of v to this I/O port ends the VM with exit status (v<<1)|1",
	 NULL, OPT_DEF, set_exit_port},
	{"stop-timeout", "SECONDS", "from the power button to a hard stop (10)", NULL, OPT_DEF,
	 set_stop_timeout},
	{"gdb", "SPEC", "let gdb connect: unix:PATH or tcp:[HOST]:PORT, such as tcp::1234; with "
	 ",arch=i386 or i8086 for code of 32 or 16 bits (nobody can)", NULL, OPT_DEF, set_gdb},
	{"gdb-wait", "on|off", "do not start before gdb has connected and says so (off)", "on|off",
	 OPT_DEF, set_gdb_wait},
	{"profile", NULL, "sample where the time goes: vigia stats --profile shows it, and so do the last "
	 "lines (engine soft)", NULL, 0, set_profile},
	{"sandbox", "on|off", "give up privileges and unneeded system calls before the guest runs "
	 "(on)", "on|off", OPT_DEF, set_sandbox},
	{"control", "on|off", "control socket for vigia list, stop, console … (on)", "on|off",
	 OPT_DEF, set_control},
	{"history", "FILE|none", "what happens in the VM goes into this file "
	 "(~/.local/state/vigia/NAME.history)", NULL, OPT_DEF | OPT_FILE, set_history},
	{"policy", "FILE", "rules over what the guest may have (everything is provided)", NULL,
	 OPT_DEF | OPT_FILE, set_policy},
	/* Known from the design, for later versions. */
};
/* clang-format on */

const struct command cmd_run = {
	.name = "run",
	.args = "[NAME|FILE.yaml]",
	.summary = "run one VM in the foreground",
	.text = "Ends with the guest. Exit status: 0 the guest powered off or was stopped, 1 usage "
		"or set-up\nerror, 2 the guest crashed, 3 the host failed; with --exit-port the "
		"guest's own.\nA FILE.yaml holds the same options as keys (memory: 512M); disk and net "
		"are lists.\nA NAME stands for NAME.yaml in ~/.config/vigia. On the terminal Ctrl-A x "
		"leaves, Ctrl-A h helps.",
	.opts = run_opts,
	.n_opts = ARRAY_SIZE(run_opts),
	.max_args = 1,
};

void vm_def_init(struct vm_def *def)
{
	*def = (struct vm_def){.cpus = 1, .memory = 512 * MIB, .stop_timeout = 10};
	snprintf(def->name, sizeof(def->name), "vm-%d", (int)getpid());
}

void vm_def_fini(struct vm_def *def)
{
	char **strings[] = {&def->rtc,       &def->history,  &def->policy, &def->engine,
			    &def->board,     &def->cpu,      &def->kernel, &def->initrd,
			    &def->append,    &def->vnc,      &def->serial, &def->console,
			    &def->parallel,  &def->firmware, &def->vars,   &def->floppy[0],
			    &def->floppy[1], &def->gdb};

	for (unsigned i = 0; i < ARRAY_SIZE(strings); i++)
		free(*strings[i]);
	for (unsigned i = 0; i < def->n_disks; i++)
		disk_def_fini(&def->disk[i]);
	for (unsigned i = 0; i < def->n_nets; i++)
		free(def->net[i]);
	*def = (struct vm_def){0};
}

/* FILE.yaml as it is; NAME from the user's folder of definitions. */
static int load_named(struct vm_def *def, const char *arg, struct msg *msg)
{
	const char *dot = strrchr(arg, '.'), *base = getenv("XDG_CONFIG_HOME"), *home;
	char path[4096];

	if (strchr(arg, '/') || (dot && (!strcmp(dot, ".yaml") || !strcmp(dot, ".yml"))))
		return vm_def_load(def, arg, msg);
	if (!vm_name_valid(arg))
		return msg_fail(msg, ERR_INVAL, "%s is neither a FILE.yaml nor a VM's name", arg);
	home = getenv("HOME");
	if (base && base[0] == '/')
		snprintf(path, sizeof(path), "%s/vigia/%s.yaml", base, arg);
	else
		snprintf(path, sizeof(path), "%s/.config/vigia/%s.yaml", home ? home : "", arg);
	if (access(path, F_OK))
		return msg_fail(msg, ERR_NOENT,
				"no VM %s is defined: write %s, or name a FILE.yaml", arg, path);
	strcpy(def->name, arg);
	strcpy(def->identity, arg); /* unless the file has a name of its own */
	return vm_def_load(def, path, msg);
}

int vm_def_parse(struct vm_def *def, int argc, char *const *argv, bool *help, struct msg *msg)
{
	struct opt_given given[64];
	struct opt_args args;
	unsigned n;
	int err = opt_scan(&cmd_run, argc, argv, given, ARRAY_SIZE(given), &n, &args, msg);

	*help = args.help;
	if (err || args.help)
		return err;
	/* The file first: options add to it or win over it. */
	if (args.n)
		err = load_named(def, args.arg[0], msg);
	for (unsigned i = 0; i < n && !err; i++)
		err = opt_set(given[i].opt, given[i].value, def, msg);
	return err ? err : vm_def_check(def, msg);
}

bool vm_def_is_pc(const struct vm_def *def)
{
	if (def->board)
		return !strcmp(def->board, "pc");
	return !def->kernel && (def->firmware || def->n_disks || def->n_floppies || def->boot[0]);
}

static int check_pc(const struct vm_def *def, struct msg *msg)
{
	if (def->kernel)
		return msg_fail(msg, ERR_INVAL,
				"--board pc starts its firmware, not a kernel: leave --kernel out, "
				"or use --board micro");
	if (def->chips == CHIPS_SPLIT)
		return msg_fail(
			msg, ERR_INVAL,
			"--kvm-irqchip split needs --board micro: system management mode and "
			"A20 of a PC are not KVM's");
	for (unsigned i = 0; i < def->n_nets; i++)
		if (strstr(def->net[i], ",tftp=") && !def->no_sandbox)
			return msg_fail(
				msg, ERR_INVAL,
				"--net tftp= opens files when the guest asks for them, which the "
				"sandbox forbids: add --sandbox off, or let bootfile= be a URL, "
				"such as http://10.0.2.2:8000/boot.ipxe");
	if (def->vars && (!def->firmware || !strcmp(def->firmware, "bios")))
		return msg_fail(msg, ERR_INVAL, "--vars is for UEFI: add --firmware uefi");
	return 0;
}

static int check_micro(const struct vm_def *def, struct msg *msg)
{
	if (def->screen)
		return msg_fail(msg, ERR_INVAL, "--display needs a PC: add --board pc");
	if (!def->kernel)
		return msg_fail(msg, ERR_INVAL,
				"no kernel to boot: give --kernel FILE (a Linux bzImage or PVH "
				"ELF), or a --disk or --cdrom for a PC to boot from; see vigia run "
				"--help");
	if (def->virtio_input || def->usb_tablet)
		return msg_fail(msg, ERR_INVAL, "--input %s needs a PC: add --board pc",
				def->usb_tablet ? "usb" : "virtio");
	if (def->virtio_gpu)
		return msg_fail(msg, ERR_INVAL, "--graphics virtio needs a PC: add --board pc");
	if (def->virtio_legacy)
		return msg_fail(msg, ERR_INVAL, "--virtio transitional needs a PC: add --board pc");
	if (def->hyperv)
		return msg_fail(msg, ERR_INVAL, "--paravirt hyper-v needs a PC: add --board pc");
	if (def->parallel)
		return msg_fail(msg, ERR_INVAL, "--parallel needs a PC: add --board pc");
	if (def->firmware || def->n_floppies || def->boot[0] || def->boot_menu || def->vars)
		return msg_fail(msg, ERR_INVAL,
				"--firmware, --vars, --boot and --floppy need a PC: use --board pc "
				"and no --kernel");
	for (unsigned i = 0; i < def->n_disks; i++)
		if (def->disk[i].iface != DISK_VIRTIO)
			return msg_fail(msg, ERR_INVAL,
					"%s %s: the board micro has virtio disks only: use --disk "
					"FILE,ro or --board pc",
					def->disk[i].cdrom ? "--cdrom" : "--disk",
					def->disk[i].path ? def->disk[i].path : "none");
	for (unsigned i = 0; i < def->n_nets; i++)
		if (def->nic[i] != NIC_VIRTIO)
			return msg_fail(msg, ERR_INVAL,
					"--net: the board micro has virtio cards only: leave "
					"model=%s out, or use --board pc",
					nic_names[def->nic[i]]);
	return 0;
}

int vm_def_check(const struct vm_def *def, struct msg *msg)
{
	int err;

	if (def->board && strcmp(def->board, "micro") && strcmp(def->board, "pc"))
		return msg_fail(msg, ERR_INVAL, "--board %s: there is micro and pc", def->board);
	err = vm_def_is_pc(def) ? check_pc(def, msg) : check_micro(def, msg);
	if (err)
		return err;
	if (def->hugepages && !IS_ALIGNED(def->memory, HUGEPAGE))
		return msg_fail(msg, ERR_INVAL,
				"--hugepages on: --memory is no multiple of 2M: round it up");
	if (def->gdb_wait && !def->gdb)
		return msg_fail(msg, ERR_INVAL, "--gdb-wait: for whom? add --gdb tcp::1234");
	if (def->initrd && !def->initrd[0])
		return msg_fail(msg, ERR_INVAL, "--initrd: the file name is empty");
	if (def->console && def->serial && !strcmp(def->console, "stdio") &&
	    !strcmp(def->serial, "stdio"))
		return msg_fail(msg, ERR_INVAL,
				"--serial and --console cannot both be stdio: give one "
				"of them pty or file:FILE");
	if (def->console && !def->serial && !strcmp(def->console, "stdio"))
		return msg_fail(msg, ERR_INVAL,
				"--console stdio: the serial port has the terminal: add "
				"--serial none");
	return 0;
}

uint64_t vm_def_hash(const struct vm_def *def, uint64_t hash)
{
	for (const char *p = def->identity; *p; p++)
		hash = (hash ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
	return hash;
}

void vm_def_mac(const struct vm_def *def, unsigned n, uint8_t mac[6])
{
	uint64_t hash;
	uint32_t low;

	_Static_assert(DEF_MAX_NETS <= 4, "two bits tell cards apart");
	if (!def->identity[0]) {
		mac[5] = (uint8_t)(mac[5] + n);
		return;
	}
	hash = vm_def_hash(def, UINT64_C(0xcbf29ce484222325));
	low = (uint32_t)(hash >> 32 ^ hash) << 2 | n;
	mac[3] = (uint8_t)(low >> 16);
	mac[4] = (uint8_t)(low >> 8);
	mac[5] = (uint8_t)low;
}
