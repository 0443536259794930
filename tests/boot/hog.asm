; SPDX-License-Identifier: ISC
; hog.asm: a guest that only computes: multiboot 1. HALT defined: one that halts, and wakes 100 times a second
; for a moment (the PIT, mode 2).
%include "multiboot.inc"
start:	mov esp, stack
	mov esi, text
	call say
%ifdef HALT
	; the timer's vector is 20H, the only one that is not masked
	mov eax, tick
	mov [idt + 0x20 * 8], ax
	mov word [idt + 0x20 * 8 + 2], cs
	mov word [idt + 0x20 * 8 + 4], 0x8e00
	shr eax, 16
	mov [idt + 0x20 * 8 + 6], ax
	lidt [idtr]
	mov al, 0x11
	out 0x20, al
	mov al, 0x20
	out 0x21, al
	mov al, 4
	out 0x21, al
	mov al, 1
	out 0x21, al
	mov al, 0xfe
	out 0x21, al
	mov al, 0x34
	out 0x43, al
	mov al, 11932 & 0xff
	out 0x40, al
	mov al, 11932 >> 8
	out 0x40, al
	sti
.wait:	hlt
	mov ecx, 20000
.work:	dec ecx
	jnz .work
	jmp .wait
tick:	push eax
	mov al, 0x20
	out 0x20, al
	pop eax
	iretd
idtr:	dw 0x21 * 8 - 1
	dd idt
	align 8
idt:	times 0x21 dq 0
%else
	jmp $
%endif
%include "say.inc"
text:	db "computes", 10, 0
	times 512 db 0
stack:
end:
