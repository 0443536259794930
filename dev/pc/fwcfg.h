/* SPDX-License-Identifier: ISC */
/* fwcfg.h: how a virtual machine tells its firmware what it is made of: numbered items and a
 * directory of named files (QEMU, docs/specs/fw_cfg), ports 510H…51BH. */
#ifndef DEV_PC_FWCFG_H
#define DEV_PC_FWCFG_H

#include "base/def.h"
#include "base/err.h"

#define FWCFG_UUID      0x02
#define FWCFG_RAM_SIZE  0x03
#define FWCFG_NOGRAPHIC 0x04
#define FWCFG_CPUS      0x05
#define FWCFG_BOOT_MENU 0x0e
#define FWCFG_MAX_CPUS  0x0f

#define FWCFG_MAX_FILES 32
#define FWCFG_MAX_NAME  56

struct vm;
struct fwcfg;

int fwcfg_create(struct vm *vm, struct fwcfg **out) attr_must_check;
/* Before vCPUs run. data stays the caller's and must outlive the VM's devices. A file of a name that
 * is there takes its place. ERR_NOMEM: too many; ERR_INVAL: name too long, or key out of range. */
int fwcfg_add(struct fwcfg *fw, unsigned key, const void *data, uint32_t len) attr_must_check;
int fwcfg_add_file(struct fwcfg *fw, const char *name, const void *data,
		   uint32_t len) attr_must_check;
/* A little-endian number of 2, 4 or 8 bytes; copied. */
int fwcfg_add_int(struct fwcfg *fw, unsigned key, uint64_t value, unsigned bytes) attr_must_check;

#endif
