/* SPDX-License-Identifier: ISC */
/* desc_image.c: what vigia image and vigia volume take. */
#include "cmd/cmd.h"
#include "cmd/opts.h"

#define TEXT_SETTER(field)                                                       \
	static int set_##field(void *target, const char *value, struct msg *msg) \
	{                                                                        \
		((struct image_opts *)target)->field = value;                    \
		return 0;                                                        \
	}
TEXT_SETTER(from)
TEXT_SETTER(format)
TEXT_SETTER(backing)
TEXT_SETTER(compress)

#define FLAG_SETTER(field)                                                       \
	static int set_##field(void *target, const char *value, struct msg *msg) \
	{                                                                        \
		((struct image_opts *)target)->field = true;                     \
		return 0;                                                        \
	}
FLAG_SETTER(json)
FLAG_SETTER(force)
FLAG_SETTER(repair)
FLAG_SETTER(shrink)

static int set_volume_from(void *target, const char *value, struct msg *msg)
{
	((struct volume_opts *)target)->from = value;
	return 0;
}

static int set_volume_force(void *target, const char *value, struct msg *msg)
{
	((struct volume_opts *)target)->force = true;
	return 0;
}

/* clang-format off */
static const struct opt image_opts[] = {
	{"json", NULL, "info, check: print JSON", NULL, 0, set_json},
	{"from", "FORMAT", "info, convert, resize: what FILE is (found out)",
	 "auto|raw|qcow2|vmdk|vdi|vhd|vhdx", 0, set_from},
	{"format", "raw|qcow2", "create, convert: what to make (raw where the name ends in .raw, .img or "
	 ".bin, else qcow2)", "raw|qcow2", 0, set_format},
	{"compress", "zlib|zstd", "convert: compress what goes into a qcow2 image", "zlib|zstd", 0,
	 set_compress},
	{"backing", "FILE", "create: the new image has what FILE has, until it is written; FILE must then "
	 "stay as it is. Relative to the new image", NULL, OPT_FILE, set_backing},
	{"force", NULL, "create, convert: replace a file that is there", NULL, 0, set_force},
	{"repair", NULL, "check: put right what can be", NULL, 0, set_repair},
	{"shrink", NULL, "resize: cut off the end of a raw image, with what is there", NULL, 0, set_shrink},
};
const struct command cmd_image = {
	"image", "info|create|convert|check|resize FILE …", "look at disk images, make and change them",
	"info FILE               what it is and what it takes\n"
	"create FILE [SIZE]      an empty disk, or one over --backing\n"
	"convert FILE NEW        a raw or qcow2 image with what FILE has, which may also be VMDK, VDI, VHD\n"
	"                        or VHDX\n"
	"check FILE              is the qcow2 image sound? Status 2: no; 3: only room is wasted\n"
	"resize FILE [+]SIZE     another size, or so much more\n"
	"SIZE is as 512M, 20G; without a suffix MiB. Images that a running VM has are left alone.",
	image_opts, ARRAY_SIZE(image_opts), 2, 3};
static const struct opt volume_opts[] = {
	{"from", "FILE", "add: the image has what this disk image has, of any format", NULL, OPT_FILE, set_volume_from},
	{"force", NULL, "format: though there is a volume already", NULL, 0, set_volume_force},
};
const struct command cmd_volume = {
	"volume", "format|list|history|add|remove FILE …", "keep several disk images on one disk, for bare machines",
	"format FILE             make FILE, a raw image, disk or partition, an empty volume\n"
	"list FILE [NAME]        the images in it, and where they are\n"
	"history FILE [NAME]     what the hypervisor has written there (vigia pack --history)\n"
	"add FILE NAME [SIZE]    one more, of zeros, or (--from) with what another image has\n"
	"remove FILE NAME        its room is free again\n"
	"VMs of vigia pack have them as host:DISK/PARTITION/NAME. SIZE is as 512M, 20G; without a suffix MiB.",
	volume_opts, ARRAY_SIZE(volume_opts), 2, 4};
/* clang-format on */
