; SPDX-License-Identifier: ISC
; cpuid.asm: for each byte on the serial port says what CPUID tells now, and what it told at the start: lines
; "now" and "was" of leaf 1 (EAX ECX EDX), 7 (EBX ECX EDX), 0DH.1 (EAX), 80000001H (ECX EDX), 80000008H (EAX), then the
; brand. It has switched on XSAVE for x87 and SSE alone. t_state_versions.py.
%include "elf.inc"
%include "flat.inc"
STACK	equ 0x300000
WORDS	equ 10

start:	flat STACK
	mov eax, 1
	cpuid
	test ecx, 1 << 26
	jz .look
	mov eax, 1 << 18		; OSXSAVE
	mov cr4, eax
	xor ecx, ecx
	xor edx, edx
	mov eax, 3
	xsetbv
.look:	mov edi, was
	call look
	mov esi, s_ready
	call print
.wait:	mov dx, 0x3fd
	in al, dx
	test al, 1
	jz .wait
	mov dx, 0x3f8
	in al, dx
	mov edi, now
	call look
	mov esi, s_now
	mov edi, now
	call say
	mov esi, s_was
	mov edi, was
	call say
	mov esi, now + 4 * WORDS
	call print
	mov esi, s_end
	call print
	jmp .wait

look:	mov eax, 1
	cpuid
	stosd
	mov eax, ecx
	stosd
	mov eax, edx
	stosd
	mov eax, 7
	xor ecx, ecx
	cpuid
	mov eax, ebx
	stosd
	mov eax, ecx
	stosd
	mov eax, edx
	stosd
	mov eax, 0xd
	mov ecx, 1
	cpuid
	stosd
	mov eax, 0x80000001
	cpuid
	mov eax, ecx
	stosd
	mov eax, edx
	stosd
	mov eax, 0x80000008
	cpuid
	stosd
	mov ebp, 0x80000002
.brand:	mov eax, ebp
	cpuid
	stosd
	mov eax, ebx
	stosd
	mov eax, ecx
	stosd
	mov eax, edx
	stosd
	inc ebp
	cmp ebp, 0x80000005
	jne .brand
	ret
say:	call print
	mov ecx, WORDS
.word:	mov eax, [edi]
	add edi, 4
	call hex
	loop .word
	mov esi, s_end
	jmp print
%include "print32.inc"
section .data
s_ready: db "ready", 13, 10, 0
s_now:	db "now", 0
s_was:	db "was", 0
s_end:	db ";", 13, 10, 0
align 8
now:	times WORDS + 13 dd 0
was:	times WORDS + 13 dd 0
