/* SPDX-License-Identifier: ISC */
/* fault.c: hardware exceptions of translated code.
 *
 * Translated code keeps the guest's stack pointer in RSP, so that handlers must run on a stack of
 * their own. SS_AUTODISARM matters: without it the kernel compares RSP with the bounds of the
 * alternate stack, and a guest could point its RSP there. Each thread enters for itself; the
 * handlers run on the thread that faulted. */
#include <asm/prctl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "plat/plat.h"

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

#define ALT_STACK_SIZE (64 * KIB) /* frames hold the AVX-512 state: more than MINSIGSTKSZ */

static _Thread_local struct {
	bool (*fn)(void *ctx, struct plat_fault *f);
	void *ctx;
	void *stack;
} self;

static const int fault_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t stack_key;

/* mcontext's order for the architecture's register numbers */
static const uint8_t reg_of[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
				   REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
				   REG_R12, REG_R13, REG_R14, REG_R15};

static void on_fault(int sig, siginfo_t *info, void *uc)
{
	mcontext_t *mc = &((ucontext_t *)uc)->uc_mcontext;
	struct plat_fault f;

	f.pc = (uint64_t)mc->gregs[REG_RIP];
	f.flags = (uint64_t)mc->gregs[REG_EFL];
	f.addr = (uint64_t)info->si_addr;
	f.page = sig == SIGSEGV && mc->gregs[REG_TRAPNO] == 14;
	f.write = f.page && mc->gregs[REG_ERR] & 2;
	for (int i = 0; i < 16; i++)
		f.gpr[i] = (uint64_t)mc->gregs[reg_of[i]];
	if (!self.fn || !self.fn(self.ctx, &f)) {
		/* Not translated code: let the fault happen again without us. */
		signal(sig, SIG_DFL);
		return;
	}
	mc->gregs[REG_RIP] = (greg_t)f.pc;
	mc->gregs[REG_EFL] = (greg_t)f.flags;
	for (int i = 0; i < 16; i++)
		mc->gregs[reg_of[i]] = (greg_t)f.gpr[i];
}

static void free_stack(void *stack)
{
	stack_t off = {.ss_flags = SS_DISABLE};

	sigaltstack(&off, NULL);
	munmap(stack, ALT_STACK_SIZE);
}

static void make_key(void)
{
	pthread_key_create(&stack_key, free_stack);
}

/* Each time: test frameworks and sanitizers install handlers of their own. */
static void install(void)
{
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	sigemptyset(&sa.sa_mask);
	for (unsigned i = 0; i < ARRAY_SIZE(fault_signals); i++)
		sigaction(fault_signals[i], &sa, NULL);
}

void plat_gs_set(void *base)
{
	/* Linux says by bit 1 that it lets us use the instruction. */
	if (getauxval(AT_HWCAP2) & 2)
		__asm__ volatile("wrgsbase %0" : : "r"(base) : "memory");
	else
		syscall(SYS_arch_prctl, ARCH_SET_GS, base);
}

int plat_guest_thread(bool (*fn)(void *ctx, struct plat_fault *f), void *ctx, void *gs_base,
		      bool first)
{
	sigset_t block;

	if (!first && self.ctx == ctx && self.fn == fn)
		return 0;
	pthread_once(&once, make_key);
	install();
	if (!self.stack) {
		stack_t ss = {.ss_size = ALT_STACK_SIZE, .ss_flags = (int)SS_AUTODISARM};

		ss.ss_sp = mmap(NULL, ALT_STACK_SIZE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (ss.ss_sp == MAP_FAILED)
			return err_here(ERR_NOMEM);
		if (sigaltstack(&ss, NULL)) {
			munmap(ss.ss_sp, ALT_STACK_SIZE);
			return err_here(ERR_NOSYS);
		}
		self.stack = ss.ss_sp;
		pthread_setspecific(stack_key, self.stack);
	}
	sigfillset(&block);
	for (unsigned i = 0; i < ARRAY_SIZE(fault_signals); i++)
		sigdelset(&block, fault_signals[i]);
	sigdelset(&block, SIGTRAP);
	sigdelset(&block, SIGABRT);
	pthread_sigmask(SIG_BLOCK, &block, NULL);
	if (syscall(SYS_arch_prctl, ARCH_SET_GS, gs_base))
		return err_here(ERR_NOSYS);
	self.fn = fn;
	self.ctx = ctx;
	return 0;
}
