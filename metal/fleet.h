/* SPDX-License-Identifier: ISC */
/* fleet.h: the virtual machines that a boot module describes. */
#ifndef METAL_FLEET_H
#define METAL_FLEET_H

#include "base/def.h"
#include "base/err.h"

#define FLEET_MAX_VMS     16
#define FLEET_MAX_DISKS   8
#define FLEET_MAX_TARGETS 4
#define FLEET_MAX_NICS    4
#define FLEET_MAX_NETS    16
#define FLEET_MAX_INITRDS 16

struct fleet_file {
	const uint8_t *data; /* in the module; NULL: none */
	size_t size;
};

struct fleet_disk {
	struct fleet_file image;
	char host[64]; /* a disk of the machine's own, for disks_open(); "": image */
	bool read_only;
};

struct fleet_vm {
	char name[64];
	uint64_t memory; /* bytes, a multiple of 1 MiB */
	unsigned cpus, weight;
	unsigned cap;  /* percent of a processor that each of its own may use; 100: all */
	uint64_t pin;  /* BIT64(processor) where it runs; all: anywhere */
	bool may_lack; /* a saved VM's processors may lose what there is not here */
	char cpu[32];  /* its processors' model; "": the usual one */
	bool manual;   /* is not started by itself */
	struct fleet_file kernel, initrd[FLEET_MAX_INITRDS];
	unsigned n_initrds;
	char text[512]; /* the initrds', one behind the other, each with its NUL */
	size_t text_len;
	struct fleet_file policy;          /* compiled rules: monitor/policy_image.h */
	struct fleet_file state, contents; /* of a saved VM: sections, memory: fleet_run_next() */
	char append[1024];
	struct fleet_disk disk[FLEET_MAX_DISKS];
	unsigned n_disks;
	struct fleet_disk target[FLEET_MAX_TARGETS]; /* that rules redirect to, by slot */
	unsigned n_targets;
	struct {
		unsigned net; /* of the fleet's */
		uint8_t mac[6];
	} nic[FLEET_MAX_NICS];
	unsigned n_nics;
};

struct fleet {
	struct fleet_vm vm[FLEET_MAX_VMS];
	unsigned n;
	char net[FLEET_MAX_NETS][16]; /* names of the networks */
	unsigned n_nets;
	unsigned uplink
		[FLEET_MAX_NETS]; /* networks that the machine's cards are for, in their order */
	unsigned n_uplinks;
	char history[64]; /* a disk area for it, for disks_open(); "": none */
	bool poweroff;    /* once no VM runs any more */
};

/* module: a cpio archive ("newc") whose file fleet.conf names its other files. Nothing is copied. On
 * errors err holds one line for people. */
int fleet_parse(const uint8_t *module, size_t size, struct fleet *out, char *err,
		size_t err_size) attr_must_check;

/* What is in a saved VM's memory: runs of pages, each behind its place and length; all others are zeros. *at: 0 at first.
 * False: the end. ERR_FORMAT in *err: it is not such. */
struct fleet_run {
	uint64_t offset, size;
	const uint8_t *data;
};
bool fleet_run_next(const struct fleet_file *f, size_t *at, uint64_t memory, struct fleet_run *out,
		    int *err);

#endif
