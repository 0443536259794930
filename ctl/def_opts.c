/* SPDX-License-Identifier: ISC */
/* def_opts.c: the options of `vigia run`, which are the keys of a definition file too: a row each, and how their values go into
 * a struct vm_def. Those that have parts are in def_spec.c. Called by the main thread. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "ctl/clock.h"
#include "ctl/def_impl.h"
#include "ctl/initrd.h"
#include "vm/vm.h"

#define MEMORY_MIN (16 * MIB)
#define MEMORY_MAX (1024 * GIB)

int def_string(char **p, const char *value, struct msg *msg)
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
		return def_string(&((struct vm_def *)target)->field, value, msg); \
	}
STRING_SETTER(engine)
STRING_SETTER(board)
STRING_SETTER(cpu)
STRING_SETTER(kernel)
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

	return err ? err : def_string(&((struct vm_def *)target)->rtc, value, msg);
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
		return def_string(&def->console, value, msg);
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
		return def_string(&def->parallel, value, msg);
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
	return def_string(&((struct vm_def *)target)->gdb, value, msg);
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
	static const char *const names[] = {[CHIPS_AUTO] = "auto",
					    [CHIPS_FULL] = "full",
					    [CHIPS_SPLIT] = "split",
					    [CHIPS_OFF] = "off"};
	struct vm_def *def = target;

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		def->chips = (enum chips_def)i;
		if (!strcmp(value, names[i]))
			return 0;
	}
	return msg_fail(msg, ERR_INVAL, "--kvm-irqchip %s: expected auto, full, split or off",
			value);
}

static int set_kvm_ioeventfd(void *target, const char *value, struct msg *msg)
{
	((struct vm_def *)target)->rings = !strcmp(value, "on")    ? RINGS_ON
					   : !strcmp(value, "off") ? RINGS_OFF
								   : RINGS_AUTO;
	return 0;
}

static int set_kvm_coalesced(void *target, const char *value, struct msg *msg)
{
	((struct vm_def *)target)->kvm_at_once = !strcmp(value, "off");
	return 0;
}

static int set_kvm_dirty_ring(void *target, const char *value, struct msg *msg)
{
	((struct vm_def *)target)->kvm_rings = !strcmp(value, "on");
	return 0;
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
		return def_string(&def->vnc, value + 4, msg);
	free(def->vnc);
	def->vnc = NULL;
	return 0;
}

static int set_initrd(void *target, const char *value, struct msg *msg)
{
	return initrd_define(target, value, msg);
}

/* clang-format off */
static const struct opt run_opts[] = {
	{"name", "NAME", "name of the VM for vigia list, stop, console … (vm-PID)", NULL,
	 OPT_DEF, set_name},
	{"engine", "auto|soft|kvm", "what executes the guest (auto)", "auto|soft|kvm", OPT_DEF,
	 set_engine},
	{"kvm-irqchip", "auto|full|split|off", "on the engine kvm: local APICs in the host's kernel, which is faster, but hides "
	 "them from history and rules; full: I/O APIC and PIC, too; auto: as split with --board micro, where this KVM has them (auto)",
	 "auto|full|split|off", OPT_DEF, set_kvm_irqchip},
	{"kvm-ioeventfd", "auto|on|off", "on the engine kvm: who runs a virtio queue that the guest notifies, a thread beside its processor or the "
	 "processor itself; auto: a thread, where that takes longer than to wake one (auto)", "auto|on|off", OPT_DEF, set_kvm_ioeventfd},
	{"kvm-coalesced", "on|off", "on the engine kvm: writes to registers that only keep an index come with the next access that leaves the guest, "
	 "unless rules or a complete record want to see each; off: each leaves it (on)", "on|off", OPT_DEF, set_kvm_coalesced},
	{"kvm-dirty-ring", "on|off", "on the engine kvm: while the VM is saved, the kernel tells which pages it writes to by rings, where it can, "
	 "of which a KVM that emulates guests loses a page in about one of 100 saves; off: by bitmaps (off)", "on|off", OPT_DEF, set_kvm_dirty_ring},
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
	{"kernel", "FILE", "Linux bzImage, PVH ELF or Multiboot kernel to boot", NULL, OPT_DEF | OPT_FILE, set_kernel},
	{"initrd", "FILE[,FILE…]", "initial RAM disks for the kernel, one behind the other; for a Multiboot kernel its modules, "
	 "each with a text: FILE[,text=TEXT]", NULL, OPT_DEF | OPT_FILE, set_initrd},
	{"append", "TEXT", "the kernel's command line (console=ttyS0)", NULL, OPT_DEF, set_append},
	{"firmware", "bios|uefi|FILE", "what starts the pc: SeaBIOS, OVMF or a ROM image (bios)", NULL,
	 OPT_DEF | OPT_FILE, set_firmware},
	{"vars", "FILE", "where UEFI firmware keeps its variables; made when it is not there "
	 "(they are forgotten)", NULL, OPT_DEF | OPT_FILE, set_vars},
	{"boot", "LIST", "what the pc boots from, in order: disk,cdrom,floppy,net; also menu "
	 "(floppy,cdrom,disk,net)", NULL, OPT_DEF, def_set_boot},
	{"cdrom", "FILE|none[,if=ide|ahci]", "a CD drive with this image, or empty", NULL,
	 OPT_DEF | OPT_MULTI | OPT_FILE, def_set_cdrom},
	{"floppy", "FILE|none", "a floppy drive with this disk of 160 KiB to 2.88 MiB, or empty", NULL,
	 OPT_DEF | OPT_MULTI | OPT_FILE, def_set_floppy},
	{"medium", "DRIVE=FILE", "what is in the drive cd0, cd1 … or fd0, fd1 in place of what --cdrom or "
	 "--floppy said; none: nothing. vigia insert adds it for vigia restore", NULL,
	 OPT_DEF | OPT_MULTI | OPT_FILE, def_set_medium},
	{"disk", "FILE[,…]", "a disk: FILE[,if=virtio|ide|ahci|nvme][,format=raw|qcow2|…][,serial=S]"
	 "[,ro][,snapshot]; with snapshot FILE is not changed; vmdk, vdi, vhd and vhdx images are only read", NULL, OPT_DEF | OPT_MULTI | OPT_FILE,
	 def_set_disk},
	{"net", "SPEC", "a network card: user[,forward=tcp:127.0.0.1:2222:22], tap:INTERFACE[,vhost=auto|on|off], "
	 "none, or for vigia pack switch:NETWORK; user with ,bootfile=URL or ,tftp=FOLDER,bootfile=FILE for --boot net; with ,model=virtio|e1000|rtl8139|rtl8139d|ne2k_pci (user)", NULL, OPT_DEF | OPT_MULTI, def_set_net},
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
