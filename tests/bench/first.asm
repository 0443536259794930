; SPDX-License-Identifier: ISC
; first.asm: says a character with its first instructions, for what a start takes (start.py).
%include "elf.inc"
start:	mov al, '!'
	mov dx, 0x3f8
	out dx, al
.wait:	cli
	hlt
	jmp .wait
