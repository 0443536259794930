/* SPDX-License-Identifier: ISC */
/* cpu.h: one virtual processor as the manuals define it, and its reference interpreter.
 *
 * A struct cpu belongs to one thread at a time. What the processor stands on (RAM, buses, the
 * local APIC, time) is reached through cpu_ops, which the engine fills in. */
#ifndef X86_CPU_H
#define X86_CPU_H

#include "base/def.h"
#include "base/err.h"
#include "x86/debug.h"
#include "x86/insn.h"
#include "x86/kind.h"
#include "x86/state.h"

struct cpu;
struct x86_model; /* cpuid.h */

enum cpu_access { ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH };

/* Where a linear address leads. */
struct cpu_xlate {
	gpa_t gpa;
	hva_t hva; /* host address of the byte at gpa, or NULL: not plain RAM for this access */
	bool user, writable, executable, global; /* as the page tables have it, all levels joined */
	bool accessed, dirty;                    /* A is set at all levels, D in the leaf */
	uint8_t page_shift;                      /* 12, 21, 22 or 30 */
	uint8_t key;                             /* protection key of a user page; 0 without */
};

enum cpu_flush {
	FLUSH_PAGE,      /* INVLPG gva: also global, also paging-structure caches */
	FLUSH_NONGLOBAL, /* MOV to CR3, pcid: the new one; gva: 0, or BIT64(63) where the guest said
			   * that the new PCID's entries stay valid (only with CR4.PCIDE) */
	FLUSH_ALL,       /* CR4.PGE and the like toggled, INVPCID type 2 */
	FLUSH_ALL_NONGLOBAL, /* INVPCID type 3: every PCID, but not global entries */
	FLUSH_PCID,          /* gva unused; one PCID's non-global entries */
	FLUSH_PCID_PAGE,     /* INVPCID type 0 */
};

/* All of them run on the CPU's own thread. Physical accesses never fail: absent memory reads as
 * ones. gpa_t arguments are below 1 << MAXPHYADDR with A20 applied. */
struct cpu_ops {
	/* Host address of the byte at gpa for plain RAM (ROM too unless write), else NULL. With
	 * write the page is about to be modified by this CPU: translations of it are dropped,
	 * it is noted as dirty. */
	hva_t (*ram)(struct cpu *cpu, gpa_t gpa, bool write);
	/* Not RAM: size 1 2 4 8, not crossing its own alignment's 8 bytes necessarily. */
	uint64_t (*mmio_read)(struct cpu *cpu, gpa_t gpa, unsigned size);
	void (*mmio_write)(struct cpu *cpu, gpa_t gpa, unsigned size, uint64_t value);
	uint32_t (*pio_read)(struct cpu *cpu, uint16_t port, unsigned size);
	void (*pio_write)(struct cpu *cpu, uint16_t port, unsigned size, uint32_t value);
	/* Optional cache in front of cpu_walk(); same contract. NULL: walk each time. */
	int (*xlate)(struct cpu *cpu, gva_t gva, enum cpu_access acc, bool user,
		     struct cpu_xlate *out);
	void (*flush)(struct cpu *cpu, enum cpu_flush kind, gva_t gva, unsigned pcid);
	/* CR0, CR4, EFER, CS, CPL, RFLAGS.AC/TF, DR7, XCR0 … changed in a way that may alter how
	 * code is translated. Cheap: called often. NULL: not of interest. */
	void (*mode_changed)(struct cpu *cpu);
	/* MSRs that are not in x86_state: local APIC base and x2APIC, TSC deadline, paravirtual
	 * clocks. 0, or ERR_NOENT: #GP(0). msr.c asks here for what its table does not hold. */
	int (*msr_read)(struct cpu *cpu, uint32_t index, uint64_t *value);
	int (*msr_write)(struct cpu *cpu, uint32_t index, uint64_t value);
	uint64_t (*tsc)(struct cpu *cpu); /* before tsc_offset: the host's, at the guest's rate */
	uint8_t (*cr8_read)(struct cpu *cpu);
	void (*cr8_write)(struct cpu *cpu, uint8_t value);
	void (*pause)(struct cpu *cpu); /* PAUSE executed: others may want the host CPU */
	/* Between the two calls no other CPU accesses memory; devices may (split.c). NULL: the host's atomic
	 * instructions do, and nobody else makes one over two pages. */
	void (*alone)(struct cpu *cpu, bool alone);
	/* FERR#: an x87 error waits to be reported, and CR0.NE is clear. True: the processor shall
	 * stand still until an interrupt comes. NULL, false: it passes over it. */
	bool (*ferr)(struct cpu *cpu);
	/* CPUID leaf that depends on the machine (APIC id, topology, hypervisor leaves): may alter
	 * r[0..3] = EAX EBX ECX EDX that the model gave. */
	void (*cpuid)(struct cpu *cpu, uint32_t leaf, uint32_t sub, uint32_t r[4]);
	/* An MSR is about to be read or written; NULL: not of interest. 0: go on, perhaps with
	 * another *value to write; 1: *value is what is read, or nothing is written; ERR_NOENT:
	 * #GP(0), as if it were not there. */
	int (*msr_asked)(struct cpu *cpu, uint32_t index, bool write, uint64_t *value);
	/* Something for the history has happened: enum cpu_told. NULL: not of interest. */
	void (*told)(struct cpu *cpu, unsigned what, uint64_t value);
};

/* What is told; value: what was written, of exceptions the error code. */
enum cpu_told {
	TOLD_CR = 0, /* + the control register's number */
	TOLD_GDTR = 0x20,
	TOLD_IDTR,
	TOLD_LDTR,
	TOLD_TR,
	TOLD_HLT = 0x30,
	TOLD_INVLPG,
	TOLD_DR,
	TOLD_XCR0,
	TOLD_EXC = 0x40, /* + the vector */
};

/* An exception that an instruction has raised, not yet delivered. */
struct cpu_exc {
	uint8_t vector;
	bool has_error;
	uint32_t error;
	uint64_t cr2; /* #PF: becomes CR2 at delivery */
	uint64_t dr6; /* #DB: bits to set in DR6 */
};

/* What the interpreter keeps beside the state. Nothing in it is guest-visible, except that pending
 * holds debug traps between two instructions. */
#define CPU_ICACHE 512 /* decoded instructions, checked against the bytes at each use */
#define CPU_TLB    64  /* used only where ops->xlate is NULL */
#define CPU_SLOTS  112 /* stubs in native code memory */

struct cpu_tlbe {
	uint64_t tag; /* page address, context in bits 1-2, bit 0: valid */
	uint64_t era; /* valid while tlb_era is this: to empty all is one addition */
	gpa_t gpa;    /* of the page */
	hva_t hva;    /* of the page, or NULL */
};

/* The last I/O instruction, for SMIs that it brings about */
#define IO_READ   BIT(0)
#define IO_STRING BIT(1)
#define IO_REP    BIT(2)
#define IO_IMM    BIT(3)
struct cpu_io {
	uint64_t rip, rcx, rsi, rdi;
	gva_t mem; /* INS, OUTS */
	uint16_t port;
	uint8_t size, kind;
	bool smi; /* the engine has seen an SMI during its access */
};

struct cpu_slot {
	uint8_t bytes[INSN_MAX];
	uint8_t mode; /* 0: empty */
	uint8_t mem_reg, rsp_reg, len;
};

struct cpu_interp {
	bool ready;        /* cpu_init() has run */
	bool amd;          /* vendor: AMD (and Hygon) rules where the manuals differ */
	bool whole_stores; /* AMD since Zen 5: insn_touches_all() goes for all stores under a mask */
	bool host_xsave, host_avx;
	uint16_t xs_image;            /* components that live in s.xsave: XCR0_* */
	bool native_ready;            /* native memory is prepared */
	uint16_t xs_at[CPU_XS_PARTS]; /* in the standard form, as the host has it */
	uint32_t vendor[3];           /* struct x86_kind */
	uint32_t signature;
	uint32_t brand[3][4], cache[2][4];
	uint8_t shadow; /* what the current instruction leaves in s.shadow */
	bool no_step;   /* the current instruction swallows its single-step trap */
	bool fetch;     /* ops->ram() is asked for code */
	struct cpu_io io;
	bool implicit;    /* accesses are the processor's own: SMAP whatever AC says */
	uint32_t dr6;     /* breakpoints that the current instruction has hit */
	uint32_t keys;    /* protection keys of user pages that a TLB may hold */
	uint32_t pending; /* debug traps held off by MOV SS */
	uint64_t next_rip;
	uint64_t feat[CPU_FEAT_WORDS]; /* bit n: enum x86_feature n */
	/* feat as CPUID has it: of words_of, which feat may have left since */
	uint64_t words_of[CPU_FEAT_WORDS];
	struct x86_word word[X86_WORDS];
	unsigned n_words;
	uint64_t tlb_era;
	struct cpu_tlbe tlb[3][CPU_TLB];
	struct cpu_slot slot[CPU_SLOTS];
	struct insn icache[CPU_ICACHE];
};

struct cpu {
	struct x86_state s; /* first: engines address it by offset */
	const struct cpu_ops *ops;
	void *owner; /* the engine's */
	const struct x86_model *model;
	const struct x86_kind *kind; /* NULL: the model's on this host. Looked at by cpu_init() */
	unsigned index;              /* 0: bootstrap processor */

	struct cpu_exc exc; /* set where a function returned CPU_FAULT */

	/* A debugger outside of the guest: what it wants to hear of, set before the CPU runs, and what
	 * it shall hear, which the engine takes and clears after each step. */
	const struct debug_set *debug; /* NULL: none */
	uint8_t debug_step;            /* enum debug_step */
	gva_t debug_skip;              /* the first time, no breakpoint here */
	struct debug_hit hit;

	/* Scratch code memory for native.c, one page of plat_code for this CPU alone. */
	uint8_t *native_rw;
	uint8_t *native_rx;
	size_t native_size;

	struct cpu_interp i;
};

/* Prepares the interpreter: features of the model, caches. After ops and model are set; done by
 * itself at the first step otherwise. */
void cpu_init(struct cpu *cpu);
/* The owner has changed s or memory mappings from outside (restored, other engine ran): forgets
 * what the interpreter has cached of them. Not needed for changes to guest RAM. */
void cpu_state_changed(struct cpu *cpu);
/* The n bytes at RIP, if they can be fetched and are in one page. Nothing is raised. */
bool cpu_code_at_rip(struct cpu *cpu, uint8_t *buf, unsigned n);
/* CPUID has feature f (enum x86_feature) for this CPU. Fast; after cpu_init(). */
static inline bool cpu_has(const struct cpu *cpu, unsigned f)
{
	return (cpu->i.feat[f >> 6] >> (f & 63)) & 1;
}

/* What internal functions return: 0 went well, CPU_FAULT: cpu->exc is to be delivered; guest
 * registers (and memory, except where the manual says otherwise) are unchanged. */
#define CPU_FAULT 1

enum cpu_step {
	STEP_OK,       /* one instruction done, or an exception was delivered to the guest */
	STEP_HALT,     /* HLT: state.activity says so, RIP is after it */
	STEP_SHUTDOWN, /* triple fault */
	STEP_REP,      /* a repeated string instruction did a part; RIP is still at it */
};

/* Where RIP is in linear space */
gva_t code_gva(const struct cpu *cpu);

/* Executes the instruction at RIP with everything that belongs to it: fetch, decode, #UD by
 * CPUID, code breakpoints, TF, shadows, exceptions delivered. External interrupts are the
 * caller's: cpu_can_interrupt() and cpu_interrupt() between steps. s.xsave must be current. */
enum cpu_step cpu_step(struct cpu *cpu);
/* The same for an instruction that the caller has already decoded from RIP (checks of decode and
 * fetch done). */
enum cpu_step cpu_exec(struct cpu *cpu, const struct insn *in);
/* insn_decode() for this vendor's processors; cpu_init() has been called. */
enum decode_result cpu_decode(const struct cpu *cpu, const uint8_t *p, size_t avail, unsigned mode,
			      struct insn *in);

/* Delivery through the IDT/IVT of the current mode, double and triple fault rules included. */
enum cpu_step cpu_raise(struct cpu *cpu, const struct cpu_exc *exc); /* fault of current insn */
enum cpu_step cpu_interrupt(struct cpu *cpu, uint8_t vector);        /* external */
enum cpu_step cpu_nmi(struct cpu *cpu);
/* SMI, taken between instructions, outside of SMM, without a shadow. */
void cpu_smi(struct cpu *cpu);
bool cpu_can_interrupt(const struct cpu *cpu); /* IF set, no shadow */

/* In the current width of linear addresses, 48 or 57 bits (SDM vol. 1, 3.3.7.1) */
static inline bool is_canonical(const struct cpu *cpu, uint64_t va)
{
	unsigned n = cpu->s.cr4 & CR4_LA57 ? 7 : 16;

	return (uint64_t)((int64_t)(va << n) >> n) == va;
}

/* Page walk for a linear address in the current mode and at CPL (user: CPL 3 rules; false with
 * CPL 3: implicit supervisor access). Sets A, and D for writes, atomically. 0 or CPU_FAULT. */
int cpu_walk(struct cpu *cpu, gva_t gva, enum cpu_access acc, bool user, struct cpu_xlate *out);
/* Without faults and without setting A/D, for debuggers; ERR_NOENT where nothing is mapped. */
int cpu_walk_probe(struct cpu *cpu, gva_t gva, struct cpu_xlate *out);
/* Would cpu_walk() succeed? */
bool cpu_walk_may(struct cpu *cpu, gva_t gva, enum cpu_access acc, bool user);

/* Components of s.xsave that are in their initial state are written out, for readers of its bytes. */
void cpu_fpu_flatten(struct cpu *cpu);
/* The tag word of FNSTENV, from s.xsave; and back to that of FXSAVE, a bit a register. */
unsigned cpu_x87_tags(const struct cpu *cpu);
unsigned cpu_x87_abridge(unsigned tags);

/* Linear accesses at CPL's (user=false: supervisor's) rights, any size up to 4096, crossing pages
 * right: no byte is written unless all may be. 0 or CPU_FAULT. */
int cpu_read(struct cpu *cpu, gva_t gva, void *buf, size_t size, bool user);
int cpu_write(struct cpu *cpu, gva_t gva, const void *buf, size_t size, bool user);

/* Effective address of in's memory operand, truncated, and its linear address with segment checks
 * (limit, canonical, type) for an access of size bytes. 0 or CPU_FAULT (#GP or #SS). */
uint64_t cpu_ea(const struct cpu *cpu, const struct insn *in);
int cpu_linear(struct cpu *cpu, unsigned sreg, uint64_t ea, unsigned size, enum cpu_access acc,
	       gva_t *out);

/* Control and model-specific registers with all checks and side effects. 0 or CPU_FAULT. */
int cpu_cr_write(struct cpu *cpu, unsigned cr, uint64_t value);
int cpu_msr_read(struct cpu *cpu, uint32_t index, uint64_t *value);
int cpu_msr_write(struct cpu *cpu, uint32_t index, uint64_t value);
uint64_t cpu_tsc(struct cpu *cpu); /* as the guest's RDTSC sees it */

/* Runs a CLS_COPY instruction natively: general registers, flags and (for FP/SIMD rows) s.xsave go
 * in and out; the memory operand, if any, is at mem (at least its size, 64-byte aligned).
 * 0 or CPU_FAULT (#DE, #MF, #XM). Needs native_rw. */
int cpu_native(struct cpu *cpu, const struct insn *in, void *mem);

#endif
