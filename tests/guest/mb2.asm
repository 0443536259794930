; SPDX-License-Identifier: ISC
; mb2.asm: an ELF Multiboot 2 kernel checks what it is started with.
%include "mb.inc"
BASE	equ 0x100000
	BITS 32
	org BASE
section .text
	db 0x7f, "ELF", 1, 1, 1, 0
	times 8 db 0
	dw 2, 3
	dd 1, start, phdrs - BASE, 0, 0
	dw 52, 32, 1, 0, 0, 0
phdrs:	dd 1, 0, BASE, BASE, image_end - BASE, image_end - BASE + 0x2000, 7, 4096
	align 8
head:	dd 0xe85250d6, 0, head_end - head, -(0xe85250d6 + (head_end - head))
	dw 1, 0				; information that is required
	dd 8 + 12, 1, 4, 6, 0
	dw 6, 0
	dd 8
	dw 99, 1			; unknown, but optional
	dd 8
	dw 0, 0
	dd 8
head_end:
start:	STATE 0x36d76289
	CHECK jz, test ebp, 7
	mov edi, ebp
	add edi, [ebp]
	CHECK je, cmp dword [ebp + 4], 0
	lea esi, [ebp + 8]
	xor ebx, ebx
.tag:	mov eax, [esi]
	test eax, eax
	jz .end
	cmp eax, 31
	ja .next
	bts ebx, eax
	cmp eax, 1
	je .cmdline
	cmp eax, 4
	je .memory
	cmp eax, 15
	je .acpi
.next:	mov eax, [esi + 4]
	add eax, 7
	and eax, ~7
	add esi, eax
	cmp esi, edi
	jb .tag
	jmp .end
.cmdline:
	mov [tags], esi
	jmp .next
.memory:
	mov [tags + 4], esi
	jmp .next
.acpi:	mov [tags + 8], esi
	jmp .next
.end:	lea esi, [esi + 8]
	CHECK je, cmp esi, edi
	and ebx, 0x8056
	CHECK je, cmp ebx, 0x8056	; command line, name, memory, map, ACPI
	mov esi, [tags]
	CHECK je, cmp dword [esi + 8], "vigi"
	mov esi, [tags + 4]
	CHECK je, cmp dword [esi + 12], 63 * 1024
	mov esi, [tags + 8]
	CHECK je, cmp dword [esi + 8], "RSD "
	FINISH
section .data follows=.text align=4
tags:	dd 0, 0, 0
section .end follows=.data align=4
image_end:
zeros	equ image_end + 0x10
stack_top equ image_end + 0x1ff0
