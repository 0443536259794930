; SPDX-License-Identifier: ISC
; steal.asm: asks for steal time (KVM's MSR 4B564D03H) and computes until it has had some, or for so long. Says then on its serial
; port whether CPUID offers it, whether the MSR reads as it was written, and what there is. For a byte it says so again.
%include "elf.inc"
PAGE	equ 0x200000

start:	cld
	mov esp, 0x300000
	mov ecx, 16
	mov edi, PAGE
	xor eax, eax
	rep stosd
	mov eax, 0x40000001
	xor ecx, ecx
	cpuid
	bt eax, 5
	jc .offered
	mov esi, absent
	call say
	jmp .ask
.offered: mov esi, offered
	call say
.ask:	mov ecx, 0x4b564d03
	mov eax, PAGE | 1
	xor edx, edx
	wrmsr
	rdmsr
	cmp eax, PAGE | 1
	jne .more
	mov esi, kept
	call say
	; half a second of computing and a port now and then, or until there is some
.more:	mov ecx, 4000
.spin:	mov eax, 10000
.down:	dec eax
	jnz .down
	in al, 0x84
	cmp dword [PAGE], 0
	jne .some
	dec ecx
	jnz .spin
.some:	mov esi, stolen
	call say
	mov eax, [PAGE + 4]
	call hex
	mov eax, [PAGE]
	call hex
	mov esi, version
	call say
	mov eax, [PAGE + 8]
	call hex
	mov esi, preempted
	call say
	movzx eax, byte [PAGE + 16]
	call hex
	mov al, 10
	call char
.wait:	mov dx, 0x3fd
	in al, dx
	test al, 1
	jz .wait
	mov dx, 0x3f8
	in al, dx
	mov ecx, 0x4b564d03
	rdmsr
	cmp eax, PAGE | 1
	jne .more
	mov esi, kept
	call say
	jmp .more

hex:	mov ecx, 8
.digit:	rol eax, 4
	push eax
	and al, 15
	cmp al, 10
	sbb al, 0x69
	das
	call char
	pop eax
	loop .digit
	ret
%include "say.inc"

section .data
offered: db "offered ", 0
absent:	db "not offered ", 0
kept:	db "kept ", 0
stolen:	db "stolen ", 0
version: db " version ", 0
preempted: db " preempted ", 0
