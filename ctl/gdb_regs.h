/* SPDX-License-Identifier: ISC */
/* gdb_regs.h: a vCPU's registers as gdb knows them, by number, and the target description that says
 * so. Hosted. */
#ifndef CTL_GDB_REGS_H
#define CTL_GDB_REGS_H

#include "vm/debug.h"
#include "x86/cpu.h"

/* gdb has one description for a connection: which registers there are and how wide, and how code is read.
 * GDB_I8086 is for 16-bit code: "set architecture" alone does not make gdb read it. */
enum gdb_arch { GDB_X86_64, GDB_I386, GDB_I8086, GDB_ARCHES };

struct gdb_form {
	enum gdb_arch arch;
	bool avx512; /* the model has it: ZMM and opmask registers */
};

/* The description of that name, "auto": -1; or -2. */
int gdb_arch_find(const char *name);

#define GDB_REG_MAX 32u /* bytes of the largest */
#define GDB_XML_MAX 24576u

unsigned gdb_regs_count(struct gdb_form form);
/* Bytes; 0: there is no such register. */
unsigned gdb_reg_size(struct gdb_form form, unsigned n);
/* cpu: from debug_load(), its FP state flattened. */
void gdb_reg_get(struct cpu *cpu, struct gdb_form form, unsigned n, uint8_t *buf);
/* Into the vCPU. ERR_INVAL: the processor would refuse that value, or the register is read-only. */
int gdb_reg_set(struct debug *d, unsigned vcpu, struct gdb_form form, unsigned n,
		const uint8_t *buf) attr_must_check;
/* The target description; its length. */
size_t gdb_target_xml(struct gdb_form form, char *buf, size_t size);

#endif
