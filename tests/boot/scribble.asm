; SPDX-License-Identifier: ISC
; scribble.asm: writes to memory all the time, for tests of what is saved of it while it runs: multiboot 1, 32 MiB. Each of 4096
; pages from 4 MiB on has a counter at a place that changes, and its complement beside it; pages are visited at random, each
; visit finds what the last one left and adds one; a dot each 65536. What is not as it was left is WRONG.
%include "multiboot.inc"
PAGES	equ 4096
FIRST	equ 0x400000
COUNT	equ 0x300000			; of visits of each page

start:	cld
	mov esp, stack
	mov edi, COUNT
	mov ecx, PAGES
	xor eax, eax
	rep stosd
	mov ebp, 1
	xor esi, esi
.next:	imul ebp, ebp, 1103515245	; a page
	add ebp, 12345
	mov ebx, ebp
	shr ebx, 12
	and ebx, PAGES - 1
	mov ecx, [COUNT + ebx * 4]
	mov edi, ebx
	shl edi, 12
	add edi, FIRST
	test ecx, ecx
	jz .write
	call place			; where the last visit was
	cmp [edi + edx], ecx
	jne wrong
	mov eax, ecx
	not eax
	cmp [edi + edx + 4], eax
	jne wrong
.write:	inc ecx
	mov [COUNT + ebx * 4], ecx
	call place
	mov [edi + edx], ecx
	mov eax, ecx
	not eax
	mov [edi + edx + 4], eax
	inc esi
	test esi, 0xffff
	jnz .next
	mov al, '.'
	call char
	jmp .next

; edx: in the page, by the count in ecx
place:	mov edx, ecx
	imul edx, edx, 56
	and edx, 0xff8
	ret

wrong:	mov esi, bad
	call say
	mov al, 0x20
	out 0xf4, al
	hlt

%include "say.inc"

bad:	db "WRONG", 10, 0
	times 512 db 0
stack:
end:
