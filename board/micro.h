/* SPDX-License-Identifier: ISC */
/* micro.h: the small board: virtio over PCI, a serial port, and just enough of a PC for Linux. */
#ifndef BOARD_MICRO_H
#define BOARD_MICRO_H

#include "base/def.h"
#include "base/err.h"
#include "board/boot.h"
#include "board/smbios.h"

struct vm;
struct block;
struct net;
struct chr;

#define MICRO_LOW_END   UINT64_C(0xc0000000) /* RAM below 4 GiB ends here */
#define MICRO_MAX_DISKS 8
#define MICRO_MAX_NICS  4

struct micro_config {
	/* Kept by the caller until the VM is destroyed: read again at each reset. */
	const void *kernel;
	size_t kernel_size;
	/* As boot_source.unpack */
	bool (*unpack)(void *ctx, struct vm *vm, const struct boot_packed *k,
		       struct boot_unpacked *out);
	void *unpack_ctx;
	struct boot_file module[BOOT_MAX_FILES];
	unsigned n_modules;
	const char *cmdline; /* NULL: empty */

	struct chr *serial;  /* COM1; NULL: none */
	struct chr *console; /* virtio console; NULL: none */
	struct {
		struct block *block;
		char serial[21];
	} disk[MICRO_MAX_DISKS];
	unsigned n_disks;
	struct {
		struct net *net;
		uint8_t mac[6];
	} nic[MICRO_MAX_NICS];
	unsigned n_nics;
	struct smbios_identity identity;
	bool rng;
	int64_t rtc_offset; /* seconds that the clock is ahead of the host's UTC */
	bool no_load;       /* memory and vCPUs come from a saved state */
	uint16_t exit_port; /* debug exit, as QEMU's isa-debug-exit; 0: none */
};

/* Wires a freshly created VM and loads its kernel. On errors err holds one line for people that
 * continues "the kernel FILE …" where code is ERR_FORMAT, ERR_NOMEM or ERR_INVAL. */
int micro_create(struct vm *vm, const struct micro_config *cfg, char *err,
		 size_t err_size) attr_must_check;

#endif
