; SPDX-License-Identifier: ISC
; golden.asm: does a known number of things that the history tells, and leaves by port F4H. t_golden.py has
; the numbers.
%include "elf.inc"
PD	equ 0x200000			; page directory, 4 MiB pages
STACK	equ 0x300000
STACK3	equ 0x310000

start:	cld
	mov esp, STACK
	lgdt [gdtr]
	lidt [idtr]
	jmp 0x08:.cs
.cs:	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov eax, 0x28
	ltr ax
	; paging: 0-16 MiB and the local APIC at their own addresses
	mov edi, PD
	xor eax, eax
	mov ecx, 1024
	rep stosd
	mov dword [PD], 0x87
	mov dword [PD + 4], 0x400087
	mov dword [PD + 0xfee00000 / 0x400000 * 4], 0xfec00093
	mov eax, 0x10			; PSE
	mov cr4, eax
	mov eax, PD
	mov cr3, eax
	mov eax, 0x80000011
	mov cr0, eax
	; CPUID 3 times, MSRs read twice and written once
	mov esi, 3
.cpuid:	mov eax, 0x40000000
	xor ecx, ecx
	cpuid
	dec esi
	jnz .cpuid
	mov ecx, 0x174
	mov eax, 0x08
	xor edx, edx
	wrmsr
	rdmsr
	rdmsr
	; ports: 5 writes, 2 reads
	mov al, 0x11
	mov ecx, 5
.out:	out 0x80, al
	inc eax
	loop .out
	in al, 0x84
	in al, 0x84
	; device memory: 2 reads
	mov eax, [0xfee00020]
	mov eax, [0xfee00020]
	; exceptions: 3 #UD, 1 #DE, 2 #PF, 1 #GP; handlers go on at EBX
	mov edx, 3
.ud:	mov ebx, .ud_on
	ud2
.ud_on:	dec edx
	jnz .ud
	mov ebx, .de_on
	xor ecx, ecx
	div ecx
.de_on:	mov edx, 2
.pf:	mov ebx, .pf_on
	mov eax, [0x20000000]
.pf_on:	dec edx
	jnz .pf
	mov ebx, .gp_on
	mov eax, 0x7ff8
	mov ds, eax
.gp_on:	; instructions: 4 INVLPG, 1 to DR0
	invlpg [0x1000]
	invlpg [0x2000]
	invlpg [0x3000]
	invlpg [0x4000]
	xor eax, eax
	mov dr0, eax
	; ring 3 for a while
	push dword 0x23
	push dword STACK3
	push dword 0x2
	push dword 0x1b
	push dword .ring3
	iretd
.ring3:	mov ecx, 30000000
.spin:	dec ecx
	jnz .spin
	int 0x30
back:	mov al, 0
	out 0xf4, al
.stop:	hlt
	jmp .stop

with_code:
	add esp, 4
without:
	mov [esp], ebx
	iretd

section .data
align 8
gdt:	dq 0
	dq 0x00cf9a000000ffff		; 08 code, 10 data, ring 0
	dq 0x00cf92000000ffff
	dq 0x00cffa000000ffff		; 18 code, 20 data, ring 3
	dq 0x00cff2000000ffff
	dw 103, tss - BASE		; 28 TSS at BASE + …
	db 0x10, 0x89, 0, 0
gdtr:	dw $ - gdt - 1
	dd gdt
tss:	dd 0, STACK, 0x10
	times 23 dd 0
%macro GATE 2				; handler, DPL
	dw %1 - BASE, 0x08
	db 0, 0x8e | (%2 << 5)
	dw BASE >> 16
%endmacro
idt:	GATE without, 0			; 0 #DE
	times 5 dq 0
	GATE without, 0			; 6 #UD
	times 6 dq 0
	GATE with_code, 0		; 13 #GP
	GATE with_code, 0		; 14 #PF
	times 33 dq 0
	GATE back, 3			; 30H
idtr:	dw $ - idt - 1
	dd idt
