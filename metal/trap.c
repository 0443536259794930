/* SPDX-License-Identifier: ISC */
/* trap.c: GDT, TSS and IDT of each CPU (APM vol. 2, chapters 4 and 8), interrupts, and the panic
 * screen: an exception in the hypervisor is its own bug, and ends everything, but one in translated code.
 * Handlers run with interrupts off on the thread's stack (trap.S). */
#include "metal/trap.h"

#include "base/str.h"
#include "metal/screen.h"
#include "metal/serial.h"
#include "plat/metal/apic.h"
#include "plat/metal/mem.h"
#include "plat/metal/msr.h"
#include "plat/metal/sched.h"

#define MSR_FS_BASE 0xc0000100u
#define SEL_CODE    0x08
#define SEL_DATA    0x10
#define SEL_TSS     0x18
#define IST_STACK   (8 * KIB)
#define IST_OTHERS  4

struct trap_frame {
	uint64_t rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

struct tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3, iomap;
} attr_packed;
_Static_assert(sizeof(struct tss) == 104, "TSS");
_Static_assert(sizeof(struct trap_frame) == 176 && offsetof(struct trap_frame, vector) == 120 &&
		       offsetof(struct trap_frame, rip) == 136 &&
		       offsetof(struct trap_frame, rsp) == 160,
	       "trap.S");

struct cpu_tables {
	uint64_t gdt[5];
	struct tss tss;
};

struct gate {
	uint16_t offset_low, sel;
	uint8_t ist, type;
	uint16_t offset_mid;
	uint32_t offset_high, reserved;
};
_Static_assert(sizeof(struct gate) == 16, "gate");

struct table_ptr {
	uint16_t limit;
	uint64_t base;
} attr_packed;

extern const uint8_t trap_entries[]; /* 16 bytes each */

static struct gate idt[256] attr_aligned(16);
static void (*irq_handler[256])(uint8_t vector);

/* ---- tables ---- */

static void idt_build(void)
{
	/* Vector, IST: what may come while the others' is in use */
	static const uint8_t own_stack[][2] = {{2, 1}, {8, 2}, {18, 3}};

	for (unsigned v = 0; v < 256; v++) {
		uint64_t at = (uint64_t)(trap_entries + 16 * v);

		idt[v] = (struct gate){.offset_low = (uint16_t)at,
				       .sel = SEL_CODE,
				       .ist = IST_OTHERS,
				       .type = 0x8e,
				       .offset_mid = (uint16_t)(at >> 16),
				       .offset_high = (uint32_t)(at >> 32)};
	}
	for (unsigned i = 0; i < ARRAY_SIZE(own_stack); i++)
		idt[own_stack[i][0]].ist = own_stack[i][1];
}

static int tables_create(struct pcpu *cpu)
{
	struct cpu_tables *t = plat_alloc(sizeof(*t));
	uint64_t tss;

	if (!t)
		return err_here(ERR_NOMEM);
	for (unsigned i = 0; i < IST_OTHERS; i++) {
		uint64_t pa = phys_alloc(IST_STACK, PAGE_SIZE);
		uint8_t *stack = pa ? paging_map(pa, IST_STACK, MAP_W) : NULL;

		if (!stack)
			return err_here(ERR_NOMEM);
		t->tss.ist[i] = (uint64_t)stack + IST_STACK;
	}
	t->tss.iomap = sizeof(struct tss);
	tss = (uint64_t)&t->tss;
	t->gdt[1] = UINT64_C(0x00af9b000000ffff);
	t->gdt[2] = UINT64_C(0x00cf93000000ffff);
	t->gdt[3] = UINT64_C(0x0000890000000000) | (sizeof(struct tss) - 1) |
		    (tss & 0xffffff) << 16 | (tss >> 24 & 0xff) << 56;
	t->gdt[4] = tss >> 32;
	cpu->tables = t;
	return 0;
}

int trap_init_cpu(struct pcpu *cpu)
{
	struct table_ptr gdtr, idtr = {sizeof(idt) - 1, (uint64_t)idt};
	struct cpu_tables *t;

	if (!idt[0].sel)
		idt_build();
	if (!cpu->tables) {
		int err = tables_create(cpu);

		if (err)
			return err;
	}
	t = cpu->tables;
	cpu->self = cpu;
	msr_write(MSR_FS_BASE, (uint64_t)cpu);
	t->gdt[3] &= ~BIT64(41); /* not busy */
	gdtr = (struct table_ptr){sizeof(t->gdt) - 1, (uint64_t)t->gdt};
	__asm__ volatile("lgdt %0; lidt %1; mov %w2, %%ss; mov %w2, %%ds; mov %w2, %%es\n"
			 "push %3; lea 1f(%%rip), %%rax; push %%rax; lretq\n1: ltr %w4"
			 :
			 : "m"(gdtr), "m"(idtr), "r"(SEL_DATA), "i"(SEL_CODE), "r"(SEL_TSS)
			 : "rax", "memory");
	return 0;
}

void trap_set_irq(uint8_t vector, void (*fn)(uint8_t vector))
{
	irq_handler[vector] = fn;
}

/* ---- the end ---- */

static void say(const char *text)
{
	serial_write(text, str_len(text));
	screen_write(text, str_len(text));
}

attr_noreturn static void halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* Only the first CPU that panics speaks. */
static void panic_begin(void)
{
	static _Atomic bool begun;

	__asm__ volatile("cli");
	if (atomic_exchange(&begun, true))
		halt();
	apic_ipi_others(IRQ_HALT);
	screen_panic();
	say("\r\n*** vigia: panic: ");
}

void panic(const char *text)
{
	panic_begin();
	say(text);
	say("\r\n*** All virtual machines are stopped. Reset the machine.\r\n");
	halt();
}

attr_noreturn static void panic_trap(const struct trap_frame *f)
{
	static const char *const names[] = {"divide error",
					    "debug",
					    "NMI",
					    "breakpoint",
					    "overflow",
					    "bound",
					    "invalid opcode",
					    "no FPU",
					    "double fault",
					    "",
					    "invalid TSS",
					    "no segment",
					    "stack fault",
					    "general protection",
					    "page fault",
					    "",
					    "x87 error",
					    "alignment",
					    "machine check",
					    "SIMD error"};
	const uint64_t *r = &f->rax;
	static const char *const reg[] = {"rax", "rcx", "rdx", "rbx", "rbp", "rsi", "rdi", "r8",
					  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
	char line[160];
	uint64_t cr2;

	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	panic_begin();
	str_format(line, sizeof(line), "exception %u (%s) error 0x%llx\r\n", (unsigned)f->vector,
		   f->vector < ARRAY_SIZE(names) ? names[f->vector] : "",
		   (unsigned long long)f->error);
	say(line);
	str_format(line, sizeof(line), "rip %016llx rsp %016llx flags %llx cr2 %016llx\r\n",
		   (unsigned long long)f->rip, (unsigned long long)f->rsp,
		   (unsigned long long)f->rflags, (unsigned long long)cr2);
	say(line);
	for (unsigned i = 0; i < ARRAY_SIZE(reg); i++) {
		str_format(line, sizeof(line), "%-3s %016llx%s", reg[i], (unsigned long long)r[i],
			   i % 4 == 3 || i == ARRAY_SIZE(reg) - 1 ? "\r\n" : "  ");
		say(line);
	}
	/* Last: whose CPU this is may be what is wrong. */
	if (pcpu() && current_thread()) {
		str_format(line, sizeof(line), "on CPU %u in %s\r\n", pcpu()->index,
			   sched_name(current_thread()));
		say(line);
	}
	say("*** All virtual machines are stopped. Reset the machine.\r\n");
	halt();
}

/* In the order of enum x86_gpr, where the frame has its RSP elsewhere */
static uint64_t *frame_reg(struct trap_frame *f, unsigned i)
{
	return i == 4 ? &f->rsp : &f->rax + i - (i > 4);
}

/* NMI, double fault and machine check are nobody's but ours. */
static bool is_code_fault(const struct trap_frame *f)
{
	return paging_is_code(f->rip) && f->vector < 32 && f->vector != 2 && f->vector != 8 &&
	       f->vector != 18;
}

static bool code_fault(struct trap_frame *f)
{
	struct plat_fault p = {.pc = f->rip, .flags = f->rflags};

	for (unsigned i = 0; i < ARRAY_SIZE(p.gpr); i++)
		p.gpr[i] = *frame_reg(f, i);
	if (f->vector == 14)
		__asm__ volatile("mov %%cr2, %0" : "=r"(p.addr));
	if (!sched_fault(&p))
		return false;
	f->rip = p.pc;
	f->rflags = p.flags;
	for (unsigned i = 0; i < ARRAY_SIZE(p.gpr); i++)
		*frame_reg(f, i) = p.gpr[i];
	return true;
}

void trap(struct trap_frame *f);
void trap(struct trap_frame *f)
{
	if (is_code_fault(f) && code_fault(f))
		return;
	if (f->vector < 32)
		panic_trap(f);
	if (f->vector == IRQ_HALT)
		halt();
	if (f->vector == IRQ_SPURIOUS)
		return;
	apic_eoi();
	if (irq_handler[f->vector])
		irq_handler[f->vector]((uint8_t)f->vector);
	sched_interrupt();
}
