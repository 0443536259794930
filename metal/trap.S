/* SPDX-License-Identifier: ISC */
/* trap.S: the 256 entries of the interrupt table. Each pushes its vector (and a zero where the
 * processor pushes no error code), then all go to trap(struct trap_frame *). */
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
	mov %rsp, %rdi
	mov %rsp, %rbp
	and $-16, %rsp
	call trap
	mov %rbp, %rsp
	pop %rax; pop %rcx; pop %rdx; pop %rbx; pop %rbp; pop %rsi; pop %rdi
	pop %r8; pop %r9; pop %r10; pop %r11; pop %r12; pop %r13; pop %r14; pop %r15
	add $16, %rsp
	iretq

	.section .note.GNU-stack, "", @progbits
