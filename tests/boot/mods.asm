; SPDX-License-Identifier: ISC
; mods.asm: a guest that says which modules it is started with, for t_modules.py: Multiboot 1, or 2 with -DSECOND. Of each a line:
; its number of bytes, how far from a page its first one is, both in hexadecimal digits, its first four characters, and its text.
; Then "order" where each lies behind the one before, "end", and a triple fault.
%ifdef SECOND
	bits 32
	org 0x100000
	align 8
header:	dd 0xe85250d6, 0, behind - header, -(0xe85250d6 + (behind - header))
	dw 2, 0				; the addresses
	dd 24, header, header, end, end
	dw 3, 0				; the entry
	dd 12, start, 0
	dw 6, 0				; modules on pages
	dd 8
	dw 0, 0
	dd 8
behind:
%else
%include "multiboot.inc"
%endif
start:	mov esp, stack
	mov ebp, ebx
%ifdef SECOND
	lea esi, [ebp + 8]
.tag:	mov eax, [esi]
	test eax, eax
	jz over
	cmp eax, 3
	jne .next
	push esi
	lea ebx, [esi + 8]
	lea edx, [esi + 16]
	call module
	pop esi
.next:	mov eax, [esi + 4]
	add eax, 7
	and eax, ~7
	add esi, eax
	jmp .tag
%else
	mov ecx, [ebp + 20]
	mov ebx, [ebp + 24]
	test dword [ebp], 8
	jz over
.next:	jecxz over
	push ecx
	mov edx, [ebx + 8]
	call module
	pop ecx
	add ebx, 16
	dec ecx
	jmp .next
%endif
over:	cmp byte [disorder], 0
	jne .not
	mov esi, order
	call say
.not:	mov esi, bye
	call say
	lidt [none]
	int3
; Its first byte and end at EBX, its text at EDX.
module:	mov eax, [ebx]
	cmp eax, [last]
	jae .behind
	mov byte [disorder], 1
.behind:
	mov esi, [ebx + 4]
	mov [last], esi
	mov esi, head
	call say
	mov eax, [ebx + 4]
	sub eax, [ebx]
	call hex
	mov eax, [ebx]
	and eax, 0xfff
	call hex
	mov esi, [ebx]
	mov ecx, 4
.first:	lodsb
	call char
	loop .first
	mov al, ' '
	call char
	mov esi, edx
	call say
	mov al, 10
	jmp char
hex:	mov ecx, 8
.digit:	rol eax, 4
	push eax
	and al, 15
	add al, '0'
	cmp al, '9'
	jbe .low
	add al, 'a' - '9' - 1
.low:	call char
	pop eax
	loop .digit
	mov al, ' '
	jmp char
%include "say.inc"
head:	db "module ", 0
order:	db "order", 10, 0
bye:	db "end of modules", 10, 0
none:	dw 0
	dd 0
last:	dd 0
disorder:
	db 0
	times 256 db 0
stack:
end:
