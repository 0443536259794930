/* SPDX-License-Identifier: ISC */
/* trap.S: the 256 entries of the interrupt table. Each pushes its vector (and a zero where the
 * processor pushes no error code), then all go to trap(struct trap_frame *).
 *
 * All come on a stack of the processor's, as translated code's stack pointer is its guest's. What may lead to another
 * thread, and every exception of translated code, goes to the thread's own stack first: behind what was
 * interrupted there, or, where that was translated code, to the stack that the thread has for this. So the
 * processor's is free again. An exception of the hypervisor itself stays: its stack may be what is wrong. */
#define PCPU_CODE_STACK 24
#define FRAME		176	/* struct trap_frame: 22 words */
#define FRAME_VECTOR	120
#define FRAME_RIP	136
#define FRAME_RSP	160
	.text
	.balign 16
	.globl trap_entries
trap_entries:
	.set vector, 0
	.rept 256
	.balign 16
	.if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
	push $0
	.endif
	push $vector
	jmp common
	.set vector, vector + 1
	.endr

common:
	push %r15; push %r14; push %r13; push %r12; push %r11; push %r10; push %r9; push %r8
	push %rdi; push %rsi; push %rbp; push %rbx; push %rdx; push %rcx; push %rax
	cld
	mov %rsp, %rsi
	mov FRAME_RIP(%rsi), %rax
	shr $44, %rax
	cmp $0xffffe, %eax		/* CODE_BASE */
	jne 1f
	mov %fs:PCPU_CODE_STACK, %rdi
	test %rdi, %rdi
	jnz 2f
1:	cmpq $32, FRAME_VECTOR(%rsi)
	jb 3f
	mov FRAME_RSP(%rsi), %rdi
2:	and $-16, %rdi
	sub $FRAME, %rdi
	mov %rdi, %rsp
	mov $FRAME / 8, %ecx
	rep movsq
3:	mov %rsp, %rdi
	mov %rsp, %rbp
	and $-16, %rsp
	call trap
	mov %rbp, %rsp
	pop %rax; pop %rcx; pop %rdx; pop %rbx; pop %rbp; pop %rsi; pop %rdi
	pop %r8; pop %r9; pop %r10; pop %r11; pop %r12; pop %r13; pop %r14; pop %r15
	add $16, %rsp
	iretq

	.section .note.GNU-stack, "", @progbits
