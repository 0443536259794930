/* SPDX-License-Identifier: ISC */
/* plat.h: the only boundary between the freestanding core and what lies beneath.
 *
 * plat/linux implements it for processes, plat/metal for bare metal, plat/fake for tests, with
 * failures on demand. All functions may be called from any thread unless they say otherwise. */
#ifndef PLAT_PLAT_H
#define PLAT_PLAT_H

#include "base/def.h"
#include "base/err.h"

/* ---- memory ---------------------------------------------------------------------------- */

/* Zeroed, 64-byte aligned; NULL when there is none. For creation time, not for running guests. */
void *plat_alloc(size_t size);
void plat_free(void *p);
/* Zeroed, page-aligned, committed on first touch; large tables. size: bytes, a page multiple. */
void *plat_pages_alloc(size_t size);
void plat_pages_free(void *p, size_t size);
/* Gives the pages back to the host; they read as zeros afterwards. Page-aligned. */
void plat_pages_discard(void *p, size_t size);
/* Has anybody else use for them? Where not, discarding only clears them. */
bool plat_takes_back(void);
/* The same of what is mapped more than once: windows' first parts, code. */
void plat_shared_discard(void *p, size_t size);

/* n windows of shared + own bytes each: the first shared bytes are the same memory in all of them,
 * the rest is each one's. Zeroed, committed on first touch. Arrays of a size lie from one offset of the shared part
 * to another, and from the start of each one's own to an offset: where they are folded, there is only so much memory
 * of each, seen again and again. All are page multiples. */
struct plat_windows {
	size_t shared, own;
	unsigned n;
	size_t array, from, to, own_to; /* to and own_to from where the part begins */
	size_t folded; /* bytes, a divisor of array; 0: all of each array is there */
};
int plat_windows_alloc(const struct plat_windows *w, uint8_t **window) attr_must_check;
void plat_windows_free(const struct plat_windows *w, uint8_t **window);

/* Guest RAM: zeroed, committed on first touch. */
enum plat_ram_kind {
	RAM_SHARED, /* its pages can be mapped again (a memfd on Linux): plat_mirrors_alloc() */
	RAM_LARGE, /* in large pages as the host has them: where KVM maps it, one exit a large page */
	RAM_RESERVED, /* in large pages that the host keeps for such use; ERR_NOMEM: it has too few */
};
struct plat_ram {
	hva_t hva;
	size_t size;
	int fd; /* -1 where there is none */
	enum plat_ram_kind kind;
};
int plat_ram_alloc(size_t size, enum plat_ram_kind kind, struct plat_ram *out) attr_must_check;
void plat_ram_free(struct plat_ram *ram);

/* Address space for pages of guest RAM to be seen in another order; NULL where there is no such thing, or for RAM
 * that is not RAM_SHARED, or without fd. plat_pages_free() takes it back. */
hva_t plat_mirrors_alloc(const struct plat_ram *ram, size_t size);
/* Page at, of such address space, becomes the page of guest RAM, instead of what it was. */
int plat_mirror_page(hva_t at, hva_t page) attr_must_check;

/* Address space at a place of the caller's choice, all or nothing: ERR_NOSYS where some of it is taken, or RAM's pages cannot be
 * mapped there. Then guest RAM from offset off on there, to be read, or written too; and nothing again. */
int plat_fixed_alloc(const struct plat_ram *ram, uint64_t at, uint64_t size) attr_must_check;
void plat_fixed_free(uint64_t at, uint64_t size);
int plat_fixed_map(const struct plat_ram *ram, uint64_t at, uint64_t off, uint64_t size,
		   bool write) attr_must_check;
int plat_fixed_unmap(uint64_t at, uint64_t size) attr_must_check;

/* Code memory: one region seen through two mappings, never writable and executable through one. */
struct plat_code {
	uint8_t *rw;
	uint8_t *rx;
	size_t size;
};
int plat_code_alloc(size_t size, struct plat_code *out) attr_must_check;
void plat_code_free(struct plat_code *code);

/* ---- locks ----------------------------------------------------------------------------- */

/* Ranks: a thread that holds a lock takes only locks of a higher rank. Checked in debug builds. */
enum lock_rank {
	RANK_VM = 1,  /* vm lifecycle */
	RANK_LATE,    /* an engine's writes that come late, in their order */
	RANK_PCI,     /* configuration space, BARs */
	RANK_BUS,     /* bus maps */
	RANK_DEVICE,  /* one device */
	RANK_DMA,     /* the DMA controller that devices call */
	RANK_MUX,     /* chr/mux: stands on back ends */
	RANK_BACKEND, /* block, net, chr */
	RANK_INTX,    /* PCI interrupt pins, MSI tables */
	RANK_ROUTER,  /* PIRQ router */
	RANK_LINE,    /* levels of lines whose chips an engine may have */
	RANK_IRQ,     /* pic, ioapic, msi routes */
	RANK_LAPIC,   /* one local APIC */
	RANK_VCPU,    /* run state of a vCPU */
	RANK_ALONE,   /* a vCPU alone with the guest's memory */
	RANK_ENGINE,  /* translation cache, TLB bookkeeping */
	RANK_TIMER,   /* timer queue */
	RANK_LOOP,    /* event loop */
	RANK_LEAF,    /* takes nothing else */
};

/* Zero-initialised storage plus plat_mutex_init. Small: may be embedded. Not recursive.
 * Compiled with general registers only: may be taken while guest FPU state is live. */
struct plat_mutex {
	_Atomic uint32_t word;
	uint32_t rank;
};
void plat_mutex_init(struct plat_mutex *m, enum lock_rank rank);
void plat_mutex_lock(struct plat_mutex *m);
void plat_mutex_unlock(struct plat_mutex *m);

/* A binary event on which one or more threads wait. set() before wait() is not lost. */
struct plat_event {
	_Atomic uint32_t word;
};
#define PLAT_FOREVER UINT64_MAX
void plat_event_set(struct plat_event *ev);
void plat_event_clear(struct plat_event *ev);
/* Waits until set or until plat_now() >= deadline (ns); true when set. Does not clear. */
bool plat_event_wait(struct plat_event *ev, uint64_t deadline);

/* ---- threads --------------------------------------------------------------------------- */

struct plat_thread;
int plat_thread_create(const char *name, void (*fn)(void *), void *arg,
		       struct plat_thread **out) attr_must_check;
void plat_thread_join(struct plat_thread *t); /* and frees it */
void plat_yield(void);

/* ---- faults of translated code ------------------------------------------------------------ */

/* A hardware exception (page or protection fault, divide error, FP) of the calling thread. */
struct plat_fault {
	uint64_t pc, flags;
	uint64_t gpr[16]; /* in the order of enum x86_gpr */
	uint64_t addr;    /* faulting address, where there is one */
	bool page, write; /* a page fault, of a write */
};
/* Prepares the calling thread for running translated code, whose stack pointer may hold anything:
 * exceptions are handled on a stack of their own, asynchronous signals are kept off the thread,
 * and the base of GS is set. fn looks at a fault and returns true after having changed pc or
 * registers to go on with; false: it is the host's bug. fn may call nothing of plat. Cheap when the
 * thread's last call was for the same ctx, unless first is set. */
int plat_guest_thread(bool (*fn)(void *ctx, struct plat_fault *f), void *ctx, void *gs_base,
		      bool first) attr_must_check;
/* Sets the base of GS on such a thread. */
void plat_gs_set(void *base);

/* ---- hardware virtualization: bare metal alone has these (and plat/fake plat_phys()) --------- */

/* Physical address of memory that plat_pages_alloc(), plat_ram_alloc() or plat_alloc() gave. */
uint64_t plat_phys(const void *p);
void *plat_virt(uint64_t pa); /* the inverse */
/* Before running a guest, interrupts off: true if the calling thread called this last on this CPU, and
 * was the last to do so here, so that registers which only guests use are as it left them. The CPU tells
 * translations apart by a tag; tags: how many it has. tag: the thread's here, from 1 on. fresh: it has none of that
 * tag yet: what the CPU has with it is another's, or old. */
bool plat_guest_claim(uint32_t tags, uint32_t *tag, bool *fresh);
/* Interrupts the CPU that t runs on, unless that is the caller's: a guest leaves. */
void plat_thread_poke(struct plat_thread *t);
/* From now on fn(arg, false) comes whenever the calling thread is about to lose its CPU, at its end for the
 * last time, and fn(arg, true) when it has one again: interrupts off, no call of plat but plat_phys(). */
void plat_thread_on_switch(void (*fn)(void *arg, bool runs), void *arg);

/* ---- clocks ---------------------------------------------------------------------------- */

uint64_t plat_now(void);      /* ns, monotonic, from an arbitrary start */
uint64_t plat_realtime(void); /* ns since 1970, UTC */
/* Frequency of the host's TSC in Hz, measured or told; constant for the process. */
uint64_t plat_tsc_hz(void);

/* ---- event loop: one per VM, one thread of its own ---------------------------------------- */

struct plat_loop;
int plat_loop_create(struct plat_loop **out) attr_must_check; /* starts its thread */
void plat_loop_destroy(struct plat_loop *loop);               /* stops and joins it */

/* Timers: the callback runs on the loop's thread with no lock held. Embedded, zeroed storage. */
struct plat_timer {
	struct plat_loop *loop;
	void (*fn)(void *arg);
	void *arg;
	uint64_t deadline; /* PLAT_FOREVER: not armed */
	uint32_t slot;     /* place in the queue */
};
void plat_timer_init(struct plat_timer *t, struct plat_loop *loop, void (*fn)(void *), void *arg);
void plat_timer_arm(struct plat_timer *t,
		    uint64_t deadline); /* re-arms; ns on plat_now()'s clock */
/* After return the callback neither runs nor will run, unless called from the callback itself. */
void plat_timer_cancel(struct plat_timer *t);

/* Runs fn(arg) on the loop's thread, soon. Embedded, zeroed storage; posting twice runs once. */
struct plat_task {
	struct plat_task *next;
	void (*fn)(void *arg);
	void *arg;
	_Atomic bool queued;
};
void plat_loop_post(struct plat_loop *loop, struct plat_task *task);

/* ---- host CPU --------------------------------------------------------------------------- */

struct plat_cpuid {
	uint32_t eax, ebx, ecx, edx;
};
void plat_cpuid(uint32_t leaf, uint32_t sub, struct plat_cpuid *out);
void plat_random(void *buf, size_t len); /* cryptographic quality */

/* ---- messages ---------------------------------------------------------------------------- */

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
/* One line for people, without its newline. Formats of base/str.h (a printf subset). */
void plat_log(enum log_level level, const char *fmt, ...) attr_printf(2, 3);
/* Our own bug: logs and ends the process (hosted) or the VM (bare metal). */
attr_noreturn void plat_bug(const char *file, int line, const char *what);
#define BUG_ON(c)                                         \
	do {                                              \
		if (unlikely(c))                          \
			plat_bug(__FILE__, __LINE__, #c); \
	} while (0)

#endif
