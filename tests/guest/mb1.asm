; SPDX-License-Identifier: ISC
; mb1.asm: a flat Multiboot 1 kernel (address field) checks what it is started with.
%include "mb.inc"
	BITS 32
	org 0x100000 - 0x20
section .text
	times 0x20 db 0xcc		; is not loaded
load:
	align 4
head:	dd 0x1badb002, 0x10003, -(0x1badb002 + 0x10003)
	dd head, load, file_end, bss_end, start
start:	STATE 0x2badb002
	mov edi, [ebp]
	CHECK jnz, test edi, 1
	CHECK je, cmp dword [ebp + 4], 640
	CHECK je, cmp dword [ebp + 8], 63 * 1024
	CHECK jnz, test edi, 4
	mov esi, [ebp + 16]
	CHECK je, cmp dword [esi], "vigi"
	CHECK je, cmp dword [ebp + 20], 0
	CHECK jnz, test edi, 0x40
	mov ecx, [ebp + 44]
	mov esi, [ebp + 48]
	xor eax, eax
.map:	cmp dword [esi + 20], 1		; RAM
	jne .other
	add eax, [esi + 12]
.other:	mov edx, [esi]
	lea esi, [esi + edx + 4]
	sub ecx, edx
	sub ecx, 4
	ja .map
	CHECK je, test ecx, ecx
	CHECK ja, cmp eax, 63 * 1024 * 1024
	CHECK jbe, cmp eax, 64 * 1024 * 1024
	FINISH
section .data follows=.text align=4
file_end equ tail
section .end follows=.data align=4
tail:
	db 0xff, 0xff, 0xff, 0xff	; is not loaded, either
section .bss follows=.end align=4
zeros:	resd 1
	resb 4096
stack_top:
bss_end:
