/* SPDX-License-Identifier: ISC */
/* def.h: the definition of a VM, as command line and YAML files give it. Hosted. */
#ifndef CTL_DEF_H
#define CTL_DEF_H

#include "ctl/opt.h"

#define DEF_MAX_DISKS 8
#define DEF_MAX_NETS  4

struct disk_def {
	char *path;
	char *format; /* "auto", "raw", "qcow2", "vmdk" …: names of block_format_of() */
	char serial[21];
	bool read_only;
	bool snapshot; /* writes go to a temporary overlay */
	enum disk_if { DISK_VIRTIO, DISK_IDE, DISK_AHCI, DISK_NVME } iface;
	bool cdrom; /* path NULL: an empty drive */
};

#define DEF_MAX_FLOPPIES 2
#define DEF_MAX_INITRDS  16
#define DEF_MAX_BOOT     4 /* letters of --boot */

struct vm_def {
	char name[64];
	char identity[64]; /* the name that was given, from which addresses come; "": none was */
	char *engine;
	enum chips_def { CHIPS_AUTO, CHIPS_FULL, CHIPS_SPLIT, CHIPS_OFF } chips; /* --kvm-irqchip */
	enum rings_def { RINGS_AUTO, RINGS_ON, RINGS_OFF } rings; /* --kvm-ioeventfd */
	bool kvm_rings;                                           /* --kvm-dirty-ring on */
	bool kvm_at_once;                                         /* --kvm-coalesced off */
	char *board;
	char *cpu; /* model; NULL: the best that the host can execute */
	unsigned cpus;
	uint64_t memory; /* bytes */
	bool hugepages;  /* in pages that the host has reserved */
	uint64_t pin;    /* BIT64(processor of the host): it runs on these only; 0: on any */
	char *kernel, *append;
	unsigned n_initrds;
	struct initrd_def {
		char *path, *text; /* text: a Multiboot module's; NULL: none */
	} initrd[DEF_MAX_INITRDS];
	char *firmware; /* "bios", "uefi" or a file; NULL: bios where the board has a ROM */
	char *vars;     /* file of UEFI variables; NULL: they are forgotten */
	char boot[DEF_MAX_BOOT + 1]; /* 'd' disk, 'c' CD, 'f' floppy, 'n' network, in that order */
	bool boot_menu;
	char *floppy[DEF_MAX_FLOPPIES];
	unsigned n_floppies;
	unsigned n_disks;
	struct disk_def disk[DEF_MAX_DISKS];
	unsigned n_nets;
	char *net[DEF_MAX_NETS]; /* specification for net_open(); none of them "none" */
	enum nic_model {
		NIC_VIRTIO,
		NIC_E1000,
		NIC_RTL8139,
		NIC_RTL8139D,
		NIC_NE2K
	} nic[DEF_MAX_NETS];
	bool net_given;
	uint8_t uuid[16]; /* zeros: from identity */
	char serial_number[64];
	char *rtc; /* for clock_offset(); NULL: utc */
	char *serial;
	char *parallel; /* NULL: none */
	char *console;  /* virtio console; NULL: none */
	char *history;  /* file; NULL: the usual place; "none" */
	char *policy;   /* file; NULL: everything is provided */
	char *gdb;      /* where a debugger may connect; NULL: nowhere */
	bool gdb_wait;  /* for it, before the guest starts */
	bool profile;   /* sample where the time goes */
	bool no_rng;
	bool no_unpack;
	bool screen; /* a VGA, or: */
	bool virtio_gpu;
	char *vnc;          /* where viewers connect, for vnc_open(); NULL: nowhere */
	bool virtio_input;  /* keyboard and tablet */
	bool virtio_legacy; /* transitional devices */
	bool usb_tablet;
	bool hyperv;
	uint16_t exit_port;    /* 0: none */
	unsigned stop_timeout; /* seconds from a polite stop to a hard one */
	bool no_sandbox;
	bool no_control;
};

extern const struct command cmd_run; /* options of vigia run; target: struct vm_def */

#define HUGEPAGE (2 * MIB)

void vm_def_init(struct vm_def *def);
void vm_def_fini(struct vm_def *def);
/* Reads a definition file: its keys are the options that have OPT_DEF. */
int vm_def_load(struct vm_def *def, const char *path, struct msg *msg);
/* Reads a file that is a list of definitions. On errors too, *n of them are to be finished. */
int vm_fleet_load(struct vm_def *defs, unsigned max, unsigned *n, const char *path,
		  struct msg *msg);
/* Command line of `vigia run`, a definition file that it names included. help: print help only. */
int vm_def_parse(struct vm_def *def, int argc, char *const *argv, bool *help, struct msg *msg);
/* The board is the full PC: said so, or something to boot from but no kernel is given. */
bool vm_def_is_pc(const struct vm_def *def);
/* What can be said without opening anything. */
int vm_def_check(const struct vm_def *def, struct msg *msg);

/* FNV-1a of the VM's name. */
uint64_t vm_def_hash(const struct vm_def *def, uint64_t hash);
/* The same card of the same VM has the same address at each start: first half as QEMU's cards, then 22
 * bits from the VM's name and two for which of its cards it is. A VM without a name keeps what is
 * proposed: the usual one on a network of its own, a random one else. */
void vm_def_mac(const struct vm_def *def, unsigned n, uint8_t mac[6]);

/* 1 … 63 of letters, digits, and . _ - but not first. */
bool vm_name_valid(const char *name);

#endif
