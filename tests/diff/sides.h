/* SPDX-License-Identifier: ISC */
/* sides.h: one instruction of ring 3 on the processor underneath and on the interpreter, with the same registers, at the same
 * addresses of code and data.
 *
 * The native side is entered and left through signal frames: a handler of SIGUSR1 writes the wanted state into its frame and
 * returns into the instruction, which is followed by INT3; the handler of SIGTRAP (or of the fault's signal) takes the state
 * out and longjmps back. */
#ifndef TESTS_DIFF_SIDES_H
#define TESTS_DIFF_SIDES_H

#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

#include "tests/unit/cpu_rig.h"
#include "x86/interp.h"

#define CODE      0x20000000u
#define CODE_AT   (CODE + 0x800u)
#define DATA      0x20010000u
#define DATA_SIZE 0x4000u
#define HOLE      (DATA + DATA_SIZE) /* not mapped on either side */
#define GPA_CODE  0x100000u
#define GPA_DATA  0x110000u
#define GPA_PT    0x120000u
#define IMAGE     X86_XSAVE_SIZE

struct regs {
	uint64_t gpr[16], rip, flags;
	uint8_t fp[IMAGE] __attribute__((aligned(64)));
	int vector; /* -1: none */
	uint64_t error;
};

static struct rig *rig;

/* Components of the FP image that are tried, and where they are */
static inline unsigned parts(void)
{
	return rig->cpu.i.xs_image;
}

static inline unsigned part_at(unsigned n)
{
	return rig->cpu.i.xs_at[n];
}

/* ---- the native side ---- */

static sigjmp_buf back;
static struct regs *native;
static volatile int stage; /* 1: SIGUSR1 is to enter; 2: inside */
static unsigned host_mode;

static const int greg_of[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
				REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
				REG_R12, REG_R13, REG_R14, REG_R15};

static inline void enter(ucontext_t *uc)
{
	greg_t *g = uc->uc_mcontext.gregs;
	uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
	uint64_t bv;

	for (unsigned i = 0; i < 16; i++)
		g[greg_of[i]] = (greg_t)native->gpr[i];
	g[REG_RIP] = (greg_t)native->rip;
	g[REG_EFL] = (greg_t)(native->flags | 0x202);
	if (host_mode == 4)
		g[REG_CSGSFS] = (g[REG_CSGSFS] & ~(greg_t)0xffff) | SEL_CODE3C;
	memcpy(fp, native->fp, 28);
	memcpy(fp + FX_ST, native->fp + FX_ST, 128 + 256);
	for (unsigned i = 0; i < XS_PART_PKRU; i++)
		if (parts() & xs_parts[i].bit)
			memcpy(fp + part_at(i), native->fp + part_at(i), xs_parts[i].size);
	memcpy(&bv, fp + XS_BV, 8);
	bv |= parts();
	memcpy(fp + XS_BV, &bv, 8);
}

static inline void leave(ucontext_t *uc, int sig)
{
	greg_t *g = uc->uc_mcontext.gregs;
	uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
	uint64_t bv;

	for (unsigned i = 0; i < 16; i++)
		native->gpr[i] = (uint64_t)g[greg_of[i]];
	native->rip = (uint64_t)g[REG_RIP];
	native->flags = (uint64_t)g[REG_EFL];
	native->vector = -1;
	native->error = (uint64_t)g[REG_ERR];
	if (sig == SIGTRAP && g[REG_TRAPNO] == 3)
		native->rip--;
	else
		native->vector = (int)g[REG_TRAPNO];
	memcpy(&bv, fp + XS_BV, 8);
	memcpy(native->fp, fp, 28);
	memcpy(native->fp + FX_ST, fp + FX_ST, 128 + 256);
	if (!(bv & 1)) {
		memset(native->fp, 0, 24);
		memset(native->fp + FX_ST, 0, 128);
		native->fp[0] = 0x7f;
		native->fp[1] = 3;
	}
	if (!(bv & 2))
		memset(native->fp + FX_XMM, 0, 256);
	for (unsigned i = 0; i < XS_PART_PKRU; i++) {
		memset(native->fp + part_at(i), 0, xs_parts[i].size);
		if (bv & parts() & xs_parts[i].bit)
			memcpy(native->fp + part_at(i), fp + part_at(i), xs_parts[i].size);
	}
}

static inline void handler(int sig, siginfo_t *si, void *ctx)
{
	ucontext_t *uc = ctx;

	if (stage == 1) {
		stage = 2;
		enter(uc);
		return;
	}
	if (stage != 2) {
		signal(sig, SIG_DFL);
		return;
	}
	leave(uc, sig);
	stage = 0;
	siglongjmp(back, 1);
}

static inline void run_native(struct regs *r)
{
	native = r;
	stage = 1;
	if (!sigsetjmp(back, 1))
		raise(SIGUSR1);
}

static inline void host_setup(void)
{
	static uint8_t stack[1 << 16];
	static const int sigs[] = {SIGUSR1, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	/* 32-bit code uses them */
	__asm__ volatile("mov %0, %%ds; mov %0, %%es" ::"r"(SEL_DATA3));
	sigaltstack(&ss, NULL);
	sigfillset(&sa.sa_mask);
	for (unsigned i = 0; i < ARRAY_SIZE(sigs); i++)
		sigaction(sigs[i], &sa, NULL);
	if (mmap((void *)(uintptr_t)CODE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED ||
	    mmap((void *)(uintptr_t)DATA, DATA_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		abort();
}

/* ---- the interpreter's side ---- */

static uint8_t before[DATA_SIZE];

static inline void guest_setup(void)
{
	uint64_t pd = CODE >> 21;

	rig = rig_new();
	rig_long(rig, 3);
	rig->cpu.s.xcr0 = parts();
	/* ring 3 may reach CODE and DATA only */
	for (unsigned i = 0; i < 512; i++)
		rig_put64(rig, RIG_PD + i * 8, rig_get64(rig, RIG_PD + i * 8) & ~UINT64_C(4));
	rig_put64(rig, RIG_PD + (pd & 511) * 8, GPA_PT | 7);
	memset(rig->ram + GPA_PT, 0, 4096);
	rig_put64(rig, GPA_PT, GPA_CODE | 7);
	for (unsigned i = 0; i < DATA_SIZE / 4096; i++)
		rig_put64(rig, GPA_PT + 8 * (DATA - CODE) / 4096 + i * 8,
			  (GPA_DATA + i * 4096) | 7);
}

static inline void run_guest(struct regs *r, unsigned mode)
{
	struct x86_state *s = &rig->cpu.s;

	memcpy(s->gpr, r->gpr, sizeof(s->gpr));
	s->rip = r->rip;
	s->rflags = r->flags | FL_ONE | FL_IF;
	rig_seg(rig, CS, mode == 8 ? SEL_CODE3 : SEL_CODE3C);
	rig_seg(rig, SS, SEL_DATA3);
	memset(s->xsave.bytes, 0, sizeof(s->xsave.bytes));
	memcpy(s->xsave.bytes, r->fp, IMAGE);
	fx_put64(&rig->cpu, XS_BV, parts());
	fx_put64(&rig->cpu, XS_COMP, 0);
	s->cr2 = 0;
	for (unsigned i = 0; i < 100 && cpu_step(&rig->cpu) == STEP_REP; i++)
		;
	s->rflags &= ~FL_RF;
	fpu_sync(&rig->cpu, parts());
	r->vector = -1;
	r->error = 0;
	if (x86_cpl(s) == 0) { /* an exception: what was pushed is the interrupted state */
		unsigned at = RIG_STACK0;

		r->vector = rig_vector(rig);
		if (r->vector == 8 || (r->vector >= 10 && r->vector <= 14) || r->vector == 17)
			r->error = rig_get64(rig, at - 48);
		r->rip = rig_get64(rig, at - 40);
		r->flags = rig_get64(rig, at - 24) & ~FL_RF;
		s->gpr[RSP] = rig_get64(rig, at - 16);
	} else {
		r->rip = s->rip;
		r->flags = s->rflags;
	}
	memcpy(r->gpr, s->gpr, sizeof(r->gpr));
	memcpy(r->fp, s->xsave.bytes, IMAGE);
}

#endif
