; SPDX-License-Identifier: ISC
; ferr32.asm: x87 errors with CR0.NE clear, on a board whose guests come without firmware: FERR# is IRQ 13, of the PIC and of the
; I/O APIC; a write to port F0H takes it back, and IGNNE# is there until the error is not (SDM vol. 1, 8.7.2; 82371AB).
; With CR0.NE set it is #MF, and neither.
CPUS	equ 1
%include "smp32.inc"
%include "verdict32.inc"
VEC	equ 0x75			; the PIC's IRQ 13; the I/O APIC's pin 13 has it, too
%include "idt32.inc"
IOAPIC	equ 0xfec00000
MF	equ 16

%macro OUTS 2-*				; port, bytes
	%assign port %1
	%rep %0 - 1
	%rotate 1
	mov al, %1
	out port, al
	%endrep
%endmacro

main:	HANDLER VEC, on_irq13
	HANDLER MF, on_mf
	lidt [idtr]
	mov eax, cr0
	and eax, ~0x2e			; MP EM TS NE
	mov cr0, eax
	OUTS 0x20, 0x11
	OUTS 0x21, 0x20, 4, 1, 0xfb	; from 20H on; the second PIC alone
	OUTS 0xa0, 0x11
	OUTS 0xa1, 0x70, 2, 1, 0xdf	; IRQ 13 alone
	mov dword [LAPIC + 0x350], 0x700
	sti

	mov byte [clears], 1
	call divide
	fnstsw ax
	fnstcw [control]
	movzx eax, word [irqs]		; those do not wait
	VERDICT "no IRQ 13 at instructions that do not wait", 0
	fwait
at_wait: mov eax, [where]
	VERDICT "IRQ 13 at one that does", at_wait - 1
	movzx eax, word [irqs]
	VERDICT "once", 1
	call divide
	fnop
	movzx eax, word [irqs]
	VERDICT "and again, once the error was cleared", 2

	mov byte [clears], 0
	call divide
	fnop
	fnop
	fwait
	fnstsw ax
	and eax, 0x8080
	VERDICT "IGNNE#: passed over, the error is still there", 0x8080
	movzx eax, word [irqs]
	VERDICT "by one interrupt", 3
	fnclex
	mov byte [clears], 1
	call divide
	fwait
	movzx eax, word [irqs]
	VERDICT "no IGNNE# once the error was cleared", 4

	OUTS 0xa1, 0xff			; from here by the I/O APIC: its pin 13, edges
	mov byte [apic], 1
	mov dword [IOAPIC], 0x10 + 2 * 13 + 1
	mov dword [IOAPIC + 0x10], 0
	mov dword [IOAPIC], 0x10 + 2 * 13
	mov dword [IOAPIC + 0x10], VEC
	mov word [irqs], 0
	call divide
	fwait
	call divide
	fwait
	movzx eax, word [irqs]
	VERDICT "the same by the I/O APIC", 2

	mov eax, cr0
	or eax, 0x20
	mov cr0, eax
	call divide
	fwait
	movzx eax, word [irqs]
	shl eax, 16
	mov ax, [mfs]
	VERDICT "with CR0.NE set: #MF and no interrupt", 0x20001
	jmp summary

other:	hlt				; there is none
	jmp other

; 1 / 0, which is not masked
divide:	fninit
	fldcw [unmasked]
	fld1
	fldz
	fdivp
	ret

on_irq13:
	push eax
	mov eax, [esp + 4]
	mov [where], eax
	inc word [irqs]
	xor eax, eax
	out 0xf0, al
	cmp byte [clears], 0
	je .kept
	fnclex
.kept:	cmp byte [apic], 0
	je .pic
	mov dword [LAPIC + 0xb0], 0
	jmp .out
.pic:	mov al, 0x20
	out 0xa0, al
	out 0x20, al
.out:	pop eax
	iret
on_mf:	inc word [mfs]
	fnclex
	iret

section .data
unmasked: dw 0x37b
control: dw 0
irqs:	dw 0
mfs:	dw 0
clears:	db 0
apic:	db 0
	align 4
where:	dd 0
