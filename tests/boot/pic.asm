; SPDX-License-Identifier: ISC
; pic.asm: counts the PIC's timer interrupts, which come by LINT0 of its local APIC, and writes a dot for each 64.
; One that is lost is never ended: there is no other after it.
%include "elf.inc"
%include "flat.inc"
APIC	equ 0xfee00000

start:	flat 0x300000
	lidt [idtr]
	mov dword [APIC + 0xf0], 0x1ff
	mov dword [APIC + 0x350], 0x700	; ExtINT
	mov esi, setup
.next:	lodsw
	movzx edx, ax
	lodsb
	out dx, al
	cmp esi, setup_end
	jb .next
	sti
.wait:	hlt
	jmp .wait

TICK	equ BASE + tick - $$
tick:	push eax
	push edx
	inc byte [ticks]
	test byte [ticks], 63
	jnz .end
	mov al, '.'
	mov dx, 0x3f8
	out dx, al
.end:	mov al, 0x20
	out 0x20, al
	pop edx
	pop eax
	iret

%macro PORT 2
	dw %1
	db %2
%endmacro
section .data
ticks:	db 0
setup:	PORT 0x20, 0x11
	PORT 0x21, 0x20
	PORT 0x21, 4
	PORT 0x21, 1
	PORT 0xa0, 0x11
	PORT 0xa1, 0x28
	PORT 0xa1, 2
	PORT 0xa1, 1
	PORT 0x21, 0xfe
	PORT 0xa1, 0xff
	PORT 0x43, 0x34			; counter 0, mode 2, 1193: 1 kHz, as a KVM that emulates needs most of a millisecond
	PORT 0x40, 0xa9
	PORT 0x40, 4
setup_end:
idtr:	dw 0x21 * 8 - 1
	dd idt
	align 8
idt:	times 0x20 dq 0
	dw TICK & 0xffff, 8, 0x8e00, TICK >> 16
