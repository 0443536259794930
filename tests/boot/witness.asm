; SPDX-License-Identifier: ISC
; witness.asm: a guest beside others: multiboot 1, 16 MiB. Has a number of its own, by the assembler's -DNUMBER, in all of its memory, and
; looks again and again whether it is still there.
%include "multiboot.inc"
%include "say.inc"
start:	mov esp, stack
	mov edi, 2 << 20
	mov ecx, (14 << 20) / 4
.fill:	mov eax, edi
	xor eax, NUMBER
	stosd
	loop .fill
	mov esi, text
.round:	call say
	mov edi, 2 << 20
	mov ecx, (14 << 20) / 4
.look:	mov eax, edi
	xor eax, NUMBER
	scasd
	jne .lost
	loop .look
	mov esi, dot
	jmp .round
.lost:	mov esi, broken
	call say
	hlt
	jmp $
text:	db "begins", 10, 0
dot:	db "all is as it was", 10, 0
broken:	db "SOMETHING HAS WRITTEN TO IT", 10, 0
	times 512 db 0
stack:
end:
