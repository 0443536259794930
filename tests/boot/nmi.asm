; SPDX-License-Identifier: ISC
; nmi.asm: has an NMI, whose handler says ! and halts: the NMI that has come ends no HLT. If it goes on, it leaves by port F4H.
; (Without IRET, which a KVM that emulates may leave to the interpreter, and all that comes then.)
%include "elf.inc"
%include "flat.inc"
APIC	equ 0xfee00000

start:	flat 0x300000
	lidt [idtr]
	mov dword [APIC + 0xf0], 0x1ff
	mov dword [APIC + 0x310], 0
	mov dword [APIC + 0x300], 0x4400
.wait:	jmp .wait

NMI	equ BASE + nmi - $$
nmi:	mov al, '!'
	mov dx, 0x3f8
	out dx, al
	hlt
	mov al, 1
	out 0xf4, al
idt:	dq 0, 0
	dw NMI & 0xffff, 8, 0x8e00, NMI >> 16
idtr:	dw 23
	dd idt
