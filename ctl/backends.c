/* SPDX-License-Identifier: ISC */
/* backends.c: opens and closes the host's side of a VM. Main thread, but for clients of the console,
 * which come and go on the event loop's. */
#include "ctl/backends.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block.h"
#include "chr/mux.h"
#include "block/watch.h"
#include "chr/open.h"
#include "ctl/clock.h"
#include "ctl/unpack.h"
#include "ctl/watch.h"
#include "dev/pc/i82078.h"
#include "net/open.h"
#include "net/watch.h"
#include "plat/linux/loop_fd.h"

/* ---- files in memory ------------------------------------------------------------------------- */

static int map_file(const char *what, const char *path, struct mapped_file *out, struct msg *msg)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
	struct stat st;

	if (fd < 0)
		return msg_fail(msg, ERR_NOENT, "cannot read the %s %s: %s", what, path,
				strerror(errno));
	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		err = msg_fail(msg, ERR_INVAL, "the %s %s is not a regular file", what, path);
	else if (!st.st_size)
		err = msg_fail(msg, ERR_FORMAT, "the %s %s is empty: fetch or build it again", what,
			       path);
	if (!err) {
		out->data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		out->size = (size_t)st.st_size;
		if (out->data == MAP_FAILED) {
			out->data = NULL;
			err = msg_fail(msg, ERR_IO, "cannot read the %s %s: %s", what, path,
				       strerror(errno));
		}
	}
	close(fd);
	return err;
}

static void unmap_file(struct mapped_file *f)
{
	if (f->data)
		munmap(f->data, f->size);
	f->data = NULL;
}

void backends_trim(struct backends *be)
{
	if (be->kernel.data)
		madvise(be->kernel.data, be->kernel.size, MADV_DONTNEED);
	for (unsigned i = 0; i < DEF_MAX_INITRDS && be->initrd[i].data; i++)
		madvise(be->initrd[i].data, be->initrd[i].size, MADV_DONTNEED);
}

/* ---- disks and network ------------------------------------------------------------------------- */

static int open_disk(struct backends *be, const struct disk_def *def, struct msg *msg)
{
	const struct block_open_opts opts = {
		.path = def->path,
		.format = block_format_of(def->format),
		.read_only = def->read_only,
		.snapshot = def->snapshot,
	};
	char text[400] = "";
	unsigned n = be->n_disks;
	int err;

	if (!def->path) { /* an empty drive */
		be->disk[be->n_disks++] = NULL;
		return 0;
	}
	err = block_open(be->loop, &opts, &be->disk[n], text, sizeof(text));
	if (err)
		return msg_fail(msg, err, "the disk %s%s", text[0] ? text : def->path,
				text[0] ? "" : " cannot be opened");
	if (block_watch_open(be->disk[n], be->mon, n, &be->watch->redirects.disk,
			     block_scratch_file(), &be->disk[n]))
		return msg_fail(msg, ERR_NOMEM, "no temporary file for the disk %s: set TMPDIR",
				def->path);
	be->n_disks++;
	return 0;
}

/* ---- firmware ------------------------------------------------------------------------------------ */

/* Where Debian's packages put them; the first that is there is taken. The larger OVMF is the one that
 * newer packages still have. */
static const char *const bios_files[] = {"/usr/share/seabios/bios-256k.bin"};
static const struct {
	const char *code, *vars;
} uefi_files[] = {
	{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
	{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
};

/* A new file of variables: a copy of the template. */
static int make_vars(const char *path, const char *template, struct msg *msg)
{
	int in = open(template, O_RDONLY | O_CLOEXEC), out, err = 0;
	char buf[65536];
	ssize_t n;

	if (in < 0)
		return msg_fail(msg, ERR_NOENT, "cannot read %s: %s", template, strerror(errno));
	out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0) {
		err = msg_fail(msg, ERR_ACCES, "--vars %s: cannot be made: %s", path,
			       strerror(errno));
		close(in);
		return err;
	}
	while (!err && (n = read(in, buf, sizeof(buf))) != 0)
		if (n < 0 || write(out, buf, (size_t)n) != n)
			err = msg_fail(msg, ERR_IO, "--vars %s: cannot be written: %s", path,
				       strerror(errno));
	close(in);
	if (close(out) && !err)
		err = msg_fail(msg, ERR_IO, "--vars %s: cannot be written: %s", path,
			       strerror(errno));
	if (err)
		unlink(path);
	return err;
}

static int open_vars(struct backends *be, const struct vm_def *def, const char *template,
		     struct msg *msg)
{
	struct block_open_opts opts = {
		.path = def->vars ? def->vars : template,
		.format = BLOCK_RAW,
		.snapshot = !def->vars,
		.read_only = false,
	};
	char text[400] = "";
	int err = 0;

	if (def->vars && access(def->vars, F_OK))
		err = make_vars(def->vars, template, msg);
	if (!err && block_open(be->loop, &opts, &be->vars, text, sizeof(text)))
		err = msg_fail(msg, ERR_IO, "the UEFI variables %s%s", text[0] ? text : opts.path,
			       text[0] ? "" : " cannot be opened");
	return err;
}

/* A ROM image of the user's. New variables begin as those of the template beside it, which packages name
 * alike: VARS in place of CODE. */
static int open_firmware_file(struct backends *be, const struct vm_def *def, struct msg *msg)
{
	const char *path = def->firmware, *slash = strrchr(path, '/');
	char *template = strdup(path), *code = NULL;
	int err = map_file("firmware", path, &be->firmware, msg);

	if (template)
		code = strstr(template + (slash ? slash + 1 - path : 0), "CODE");
	if (code)
		memcpy(code, "VARS", 4);
	if (!err && def->vars && access(def->vars, F_OK) && !(code && !access(template, R_OK)))
		err = msg_fail(
			msg, ERR_NOENT,
			"--vars %s is not there, and no template lies beside the firmware %s: "
			"make it as a copy of the variables that came with the firmware",
			def->vars, path);
	else if (!err && def->vars)
		err = open_vars(be, def, template, msg);
	free(template);
	return err;
}

/* Variables that are there already go with the firmware that made them, whose template has their size. */
static bool vars_fit(const char *path, const char *template)
{
	struct stat have, want;

	return !path || stat(path, &have) ||
	       (!stat(template, &want) && have.st_size == want.st_size);
}

static int open_uefi(struct backends *be, const struct vm_def *def, struct msg *msg)
{
	bool any = false;

	for (unsigned i = 0; i < ARRAY_SIZE(uefi_files); i++) {
		if (access(uefi_files[i].code, R_OK) || access(uefi_files[i].vars, R_OK))
			continue;
		any = true;
		if (!vars_fit(def->vars, uefi_files[i].vars))
			continue;
		if (map_file("firmware", uefi_files[i].code, &be->firmware, msg))
			return ERR_IO;
		return open_vars(be, def, uefi_files[i].vars, msg);
	}
	if (any)
		return msg_fail(msg, ERR_FORMAT,
				"--vars %s: its size is not that of the variables of any OVMF here",
				def->vars);
	return msg_fail(msg, ERR_NOENT,
			"%s is not there: install the package ovmf, or give --firmware FILE",
			uefi_files[0].code);
}

static int open_firmware(struct backends *be, const struct vm_def *def, struct msg *msg)
{
	const char *what = def->firmware ? def->firmware : "bios";

	if (!strcmp(what, "bios")) {
		for (unsigned i = 0; i < ARRAY_SIZE(bios_files); i++)
			if (!access(bios_files[i], R_OK))
				return map_file("firmware", bios_files[i], &be->firmware, msg);
		return msg_fail(msg, ERR_NOENT,
				"%s is not there: install the package seabios, or give --firmware "
				"FILE",
				bios_files[0]);
	}
	return strcmp(what, "uefi") ? open_firmware_file(be, def, msg) : open_uefi(be, def, msg);
}

static int open_floppy(struct backends *be, const char *path, unsigned n, struct msg *msg)
{
	const struct block_open_opts opts = {
		.path = path, .format = BLOCK_RAW, .read_only = access(path, W_OK) != 0};
	char text[400] = "";
	int err;

	if (!strcmp(path, "none")) /* an empty drive */
		return 0;
	err = block_open(be->loop, &opts, &be->floppy[n], text, sizeof(text));
	if (err)
		return msg_fail(msg, err, "the floppy %s%s", text[0] ? text : path,
				text[0] ? "" : " cannot be opened");
	if (!i82078_size_ok(be->floppy[n]->size))
		return msg_fail(
			msg, ERR_FORMAT,
			"%s is no image of a floppy disk: its size must be 160, 180, 320, 360, "
			"720, 1200, 1440, 1680, 1722 or 2880 KiB",
			path);
	return 0;
}

#define VGA_BIOS "/usr/share/seabios/vgabios-stdvga.bin"

/* What firmware needs to boot from a network card: iPXE for its model, for BIOS and UEFI, which has its own for virtio. */
static int open_boot_rom(struct backends *be, unsigned n, enum nic_model model, struct msg *msg)
{
	static const char *const names[] = {[NIC_VIRTIO] = "pxe-virtio",
					    [NIC_E1000] = "efi-e1000",
					    [NIC_RTL8139] = "efi-rtl8139",
					    [NIC_RTL8139D] = "efi-rtl8139",
					    [NIC_NE2K] = "efi-ne2k_pci"};
	char path[64];

	snprintf(path, sizeof(path), "/usr/lib/ipxe/qemu/%s.rom", names[model]);
	if (access(path, R_OK))
		return msg_fail(msg, ERR_NOENT,
				"--boot net: %s is not there: install the package ipxe-qemu", path);
	return map_file("boot ROM", path, &be->boot_rom[n], msg);
}

static int open_pc(struct backends *be, const struct vm_def *def, struct msg *msg)
{
	int err = open_firmware(be, def, msg);

	if (!err && def->screen && !def->virtio_gpu && !be->vars)
		err = map_file("VGA BIOS", VGA_BIOS, &be->vga_bios, msg);
	for (unsigned i = 0; i < MAX(def->n_nets, def->net_given ? 0u : 1u) && !err; i++)
		if ((!be->vars || def->nic[i] != NIC_VIRTIO) && strchr(def->boot, 'n'))
			err = open_boot_rom(be, i, def->nic[i], msg);
	for (unsigned i = 0; i < def->n_floppies && !err; i++)
		err = open_floppy(be, def->floppy[i], i, msg);
	return err;
}

static int open_vnc(struct backends *be, const struct vm_def *def, struct msg *msg)
{
	char text[400] = "";
	int err = vnc_open(be->loop, def->vnc, def->name, &be->display, &be->typist, &be->vnc, text,
			   sizeof(text));

	return err ? msg_fail(msg, err, "--display vnc:%s: %s", def->vnc, text) : 0;
}

/* The machine's UUID is the given one, or comes from its name, by a way of our own (version 8 of
 * RFC 9562). */
static struct smbios_identity machine_identity(const struct vm_def *def)
{
	static const uint8_t none[16];
	struct smbios_identity id = {0};
	uint64_t half;

	memcpy(id.uuid, def->uuid, sizeof(id.uuid));
	memcpy(id.serial, def->serial_number, sizeof(id.serial));
	if (memcmp(id.uuid, none, sizeof(none)) || !def->identity[0])
		return id;
	for (unsigned i = 0; i < 2; i++) {
		half = vm_def_hash(def, UINT64_C(0xcbf29ce484222325) + i);
		half = (half ^ half >> 32) * UINT64_C(0x9e3779b97f4a7c15);
		half ^= half >> 29;
		memcpy(id.uuid + 8 * i, &half, 8);
	}
	id.uuid[6] = (uint8_t)(0x80 | (id.uuid[6] & 0x0f));
	id.uuid[8] = (uint8_t)(0x80 | (id.uuid[8] & 0x3f));
	return id;
}

/* Frames of a card whose queues the host's kernel runs may be wanted here now. */
static void look_again(void *arg)
{
	struct backends *be = arg;

	for (unsigned i = 0; i < be->n_nets; i++)
		net_recall(be->net[i]);
}

static int open_net(struct backends *be, const struct vm_def *def, const char *spec,
		    struct msg *msg)
{
	char text[400] = "";
	int err = net_open(be->loop, spec, &be->net[be->n_nets], text, sizeof(text));

	if (err)
		return msg_fail(msg, err, "--net %s: %s", spec, text[0] ? text : err_str(err));
	if (!be->net[be->n_nets]->mac_chosen)
		vm_def_mac(def, be->n_nets, be->net[be->n_nets]->mac);
	err = net_watch_open(be->loop, be->net[be->n_nets], be->n_nets, be->mon,
			     &be->watch->redirects.net, &be->net[be->n_nets]);
	if (err)
		return msg_fail(msg, err, "--net %s: out of memory", spec);
	be->n_nets++;
	be->mon->changed_arg = be;
	be->mon->changed = look_again;
	return 0;
}

/* ---- character streams -------------------------------------------------------------------------- */

static int open_chr(struct backends *be, const char *option, const char *spec,
		    const struct chr_stdio_key *keys, unsigned n_keys, struct chr **out,
		    struct msg *msg)
{
	char text[400] = "";
	int err = chr_open(be->loop, spec, out, text, sizeof(text));

	if (err)
		return msg_fail(msg, err, "--%s %s: %s", option, spec,
				text[0] ? text : err_str(err));
	if (!strcmp(spec, "stdio"))
		chr_stdio_set_keys(*out, keys, n_keys);
	return 0;
}

static int open_consoles(struct backends *be, const struct vm_def *def,
			 const struct chr_stdio_key *keys, unsigned n_keys, struct msg *msg)
{
	const char *serial = def->serial ? def->serial : "stdio";
	bool none = !strcmp(serial, "none");
	int err = 0;

	/* The main console, which clients of the control socket may join, is the serial port, unless
	 * it is said to go nowhere and there is another. */
	be->mux_is_serial = !none || !def->console;
	if (!none)
		err = open_chr(be, "serial", serial, keys, n_keys, &be->serial, msg);
	if (!err && def->console)
		err = open_chr(be, "console", def->console, keys, n_keys, &be->console, msg);
	if (!err && def->parallel)
		err = open_chr(be, "parallel", def->parallel, keys, n_keys, &be->parallel, msg);
	if (!err && chr_mux_create(&be->mux))
		err = msg_fail(msg, ERR_NOMEM, "out of memory");
	return err;
}

int backends_listen(struct backends *be, struct msg *msg)
{
	struct chr *main = be->mux_is_serial ? be->serial : be->console;

	/* What the devices have said meanwhile is said now. */
	return main && chr_mux_attach(be->mux, main, true)
		       ? msg_fail(msg, ERR_NOMEM, "out of memory")
		       : 0;
}

/* On the loop's thread: the client has hung up. */
static void client_gone(void *arg, struct chr *c)
{
	struct backends *be = arg;

	chr_mux_detach(be->mux, c);
	for (unsigned i = 0; i < BACKENDS_MAX_CLIENTS; i++)
		if (be->client[i] == c)
			be->client[i] = NULL;
	chr_close(c);
}

struct new_client {
	struct backends *be;
	int fd;
	const char *early;
	size_t len;
	int err;
};

static void add_client(void *arg)
{
	struct new_client *nc = arg;
	struct backends *be = nc->be;
	struct chr *c;
	unsigned i;
	int fd;

	nc->err = ERR_NOMEM;
	for (i = 0; i < BACKENDS_MAX_CLIENTS && be->client[i]; i++)
		;
	if (i == BACKENDS_MAX_CLIENTS)
		return;
	/* The stream owns its descriptor on failure too; the caller's copy stays the caller's. */
	fd = fcntl(nc->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0 || chr_fd_open(be->loop, fd, client_gone, be, &c))
		return;
	if (chr_mux_attach(be->mux, c, true)) {
		chr_close(c);
		return;
	}
	be->client[i] = c;
	if (nc->len)
		chr_receive(c, (const uint8_t *)nc->early, nc->len);
	nc->err = 0;
}

int backends_console(struct backends *be, int fd, const char *early, size_t len)
{
	struct new_client nc = {.be = be, .fd = fd, .early = early, .len = len};

	plat_loop_call(be->loop, add_client, &nc);
	if (!nc.err)
		close(fd);
	return nc.err;
}

static void drop_clients(void *arg)
{
	struct backends *be = arg;

	for (unsigned i = 0; i < BACKENDS_MAX_CLIENTS; i++) {
		if (!be->client[i])
			continue;
		chr_mux_detach(be->mux, be->client[i]);
		chr_close(be->client[i]);
		be->client[i] = NULL;
	}
}

/* ---- all together ------------------------------------------------------------------------------- */

int backends_open(struct backends *be, const struct vm_def *def, struct plat_loop *loop,
		  const struct chr_stdio_key *keys, unsigned n_keys, struct msg *msg)
{
	int err;

	be->loop = loop;
	unpack_cache_open(&be->unpacked);
	display_init(&be->display);
	input_init(&be->input);
	if (typist_init(&be->typist, &be->input, loop))
		return msg_fail(msg, ERR_NOMEM, "out of memory");
	if (vm_def_is_pc(def))
		err = open_pc(be, def, msg);
	else
		err = map_file("kernel", def->kernel, &be->kernel, msg);
	for (unsigned i = 0; i < def->n_initrds && !err; i++)
		err = map_file("initrd", def->initrd[i].path, &be->initrd[i], msg);
	for (unsigned i = 0; i < def->n_disks && !err; i++)
		err = open_disk(be, &def->disk[i], msg);
	if (!err && !def->net_given)
		err = open_net(be, def, "user", msg);
	for (unsigned i = 0; i < def->n_nets && !err; i++)
		err = open_net(be, def, def->net[i], msg);
	if (!err && def->vnc)
		err = open_vnc(be, def, msg);
	/* The terminal last: messages before this find it as it was. */
	return err ? err : open_consoles(be, def, keys, n_keys, msg);
}

/* Checked when it was set. */
static int64_t rtc_offset(const struct vm_def *def)
{
	struct msg unused;
	int64_t offset = 0;

	return def->rtc && clock_offset(def->rtc, &offset, &unused) ? 0 : offset;
}

void backends_wire(struct backends *be, const struct vm_def *def, struct micro_config *cfg)
{
	*cfg = (struct micro_config){
		.kernel = be->kernel.data,
		.kernel_size = be->kernel.size,
		.unpack = def->no_unpack ? NULL : unpack_linux,
		.unpack_ctx = &be->unpacked,
		.n_modules = def->n_initrds,
		.cmdline = def->append ? def->append : "console=ttyS0",
		.serial = be->mux_is_serial ? be->mux : be->serial,
		.console = be->mux_is_serial ? be->console : be->mux,
		.rng = !def->no_rng && watch_device(be->watch, "rng", 0),
		.exit_port = def->exit_port,
		.rtc_offset = rtc_offset(def),
		.identity = machine_identity(def),
	};
	_Static_assert(DEF_MAX_INITRDS <= BOOT_MAX_FILES, "a definition's files are modules");
	for (unsigned i = 0; i < def->n_initrds; i++)
		cfg->module[i] =
			(struct boot_file){.data = be->initrd[i].data,
					   .size = be->initrd[i].size,
					   .text = def->initrd[i].text ? def->initrd[i].text : ""};
	for (unsigned i = 0; i < be->n_disks; i++) {
		unsigned at = cfg->n_disks;

		if (!watch_device(be->watch, "disk", i))
			continue;
		cfg->n_disks++;
		cfg->disk[at].block = be->disk[i];
		memcpy(cfg->disk[at].serial, def->disk[i].serial, sizeof(cfg->disk[at].serial));
	}
	for (unsigned i = 0; i < be->n_nets; i++) {
		unsigned at = cfg->n_nics;

		if (!watch_device(be->watch, "net", i))
			continue;
		cfg->n_nics++;
		cfg->nic[at].net = be->net[i];
		memcpy(cfg->nic[at].mac, be->net[i]->mac, sizeof(cfg->nic[at].mac));
	}
}

static enum pc_boot boot_code(char letter)
{
	switch (letter) {
	case 'd':
		return PC_BOOT_DISK;
	case 'c':
		return PC_BOOT_CDROM;
	case 'f':
		return PC_BOOT_FLOPPY;
	case 'n':
		return PC_BOOT_NET;
	default:
		return PC_BOOT_NONE;
	}
}

void backends_wire_pc(struct backends *be, const struct vm_def *def, struct pc_config *cfg)
{
	*cfg = (struct pc_config){
		.firmware = be->firmware.data,
		.firmware_size = be->firmware.size,
		.vars = be->vars,
		.boot_menu = def->boot_menu,
		.serial_text = !def->screen || def->virtio_gpu,
		.display =
			def->screen && watch_device(be->watch, "screen", 0) ? &be->display : NULL,
		.virtio_gpu = def->virtio_gpu,
		.vga_bios = be->vga_bios.data,
		.vga_bios_size = be->vga_bios.size,
		.input = &be->input,
		.virtio_input = def->virtio_input,
		.virtio_legacy = def->virtio_legacy,
		.usb_tablet = def->usb_tablet,
		.hyperv = def->hyperv,
		.parallel = be->parallel,
		.serial = be->mux_is_serial ? be->mux : be->serial,
		.console = be->mux_is_serial ? be->console : be->mux,
		.rng = !def->no_rng && watch_device(be->watch, "rng", 0),
		.exit_port = def->exit_port,
		.rtc_offset = rtc_offset(def),
		.identity = machine_identity(def),
	};
	for (unsigned i = 0; i < PC_BOOT_MAX; i++)
		cfg->boot[i] = boot_code((def->boot[0] ? def->boot : "fcdn")[i]);
	for (unsigned i = 0; i < def->n_floppies; i++) {
		cfg->floppy[i].present = true;
		cfg->floppy[i].block = be->floppy[i];
	}
	for (unsigned i = 0; i < be->n_disks; i++) {
		unsigned at = cfg->n_disks;

		if (!watch_device(be->watch, "disk", i))
			continue;
		cfg->n_disks++;
		cfg->disk[at].block = be->disk[i];
		cfg->disk[at].iface = (enum pc_disk_if)def->disk[i].iface;
		cfg->disk[at].cdrom = def->disk[i].cdrom;
		memcpy(cfg->disk[at].serial, def->disk[i].serial, sizeof(cfg->disk[at].serial));
	}
	for (unsigned i = 0; i < be->n_nets; i++) {
		unsigned at = cfg->n_nics;

		if (!watch_device(be->watch, "net", i))
			continue;
		cfg->n_nics++;
		cfg->nic[at].net = be->net[i];
		cfg->nic[at].model = (enum pc_nic)def->nic[i];
		cfg->nic[at].rom = be->boot_rom[i].data;
		cfg->nic[at].rom_size = be->boot_rom[i].size;
		memcpy(cfg->nic[at].mac, be->net[i]->mac, sizeof(cfg->nic[at].mac));
	}
}

void backends_quiet(struct backends *be)
{
	if (be->vnc)
		vnc_close(be->vnc);
	be->vnc = NULL;
	typist_fini(&be->typist);
}

void backends_close(struct backends *be)
{
	if (be->loop)
		unpack_cache_close(&be->unpacked);
	for (unsigned i = 0; i < be->n_disks; i++)
		if (be->disk[i])
			block_close(be->disk[i]);
	for (unsigned i = 0; i < DEF_MAX_FLOPPIES; i++)
		if (be->floppy[i])
			block_close(be->floppy[i]);
	if (be->vars)
		block_close(be->vars);
	for (unsigned i = 0; i < be->n_nets; i++)
		net_close(be->net[i]);
	if (be->mux) {
		plat_loop_call(be->loop, drop_clients, be);
		if (be->serial && be->mux_is_serial)
			chr_mux_detach(be->mux, be->serial);
		if (be->console && !be->mux_is_serial)
			chr_mux_detach(be->mux, be->console);
		chr_close(be->mux);
	}
	if (be->serial)
		chr_close(be->serial);
	if (be->console)
		chr_close(be->console);
	if (be->parallel)
		chr_close(be->parallel);
	unmap_file(&be->kernel);
	for (unsigned i = 0; i < DEF_MAX_INITRDS; i++)
		unmap_file(&be->initrd[i]);
	unmap_file(&be->firmware);
	unmap_file(&be->vga_bios);
	for (unsigned i = 0; i < DEF_MAX_NETS; i++)
		unmap_file(&be->boot_rom[i]);
	be->n_disks = be->n_nets = 0;
	be->mux = be->serial = be->console = be->parallel = NULL;
}
