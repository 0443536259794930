/* SPDX-License-Identifier: ISC */
/* def_spec.c: options that have parts: disks and drives, what is booted from, network cards. Called by the main thread. */
#include <stdlib.h>
#include <string.h>

#include "ctl/def_impl.h"
#include "ctl/drive.h"

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
		return def_string(&d->format, value, msg);
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

void disk_def_fini(struct disk_def *d)
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
	err = def_string(&d.format, d.cdrom ? "raw" : "auto", msg);
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

int def_set_disk(void *target, const char *value, struct msg *msg)
{
	return add_disk(target, (struct disk_def){0}, value, msg);
}

int def_set_cdrom(void *target, const char *value, struct msg *msg)
{
	return add_disk(target,
			(struct disk_def){.read_only = true, .iface = DISK_IDE, .cdrom = true},
			value, msg);
}

int def_set_medium(void *target, const char *value, struct msg *msg)
{
	return drive_define(target, value, msg);
}

int def_set_floppy(void *target, const char *value, struct msg *msg)
{
	struct vm_def *def = target;

	if (def->n_floppies >= DEF_MAX_FLOPPIES)
		return msg_fail(msg, ERR_INVAL, "--floppy %s: at most %u drives", value,
				DEF_MAX_FLOPPIES);
	return def_string(&def->floppy[def->n_floppies++], value, msg);
}

/* disk,cdrom,floppy,net,menu in the order in which they are tried. */
int def_set_boot(void *target, const char *value, struct msg *msg)
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

const char *const nic_names[] = {"virtio", "e1000", "rtl8139", "rtl8139d", "ne2k_pci"};

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

int def_set_net(void *target, const char *value, struct msg *msg)
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
	err = def_string(&def->net[n], value, msg);
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
