; SPDX-License-Identifier: ISC
; sixteen.asm: a guest of 16 bits: multiboot 1 starts it, it goes to real mode and stays there. The PIT interrupts 100 times a
; second, through the table at 0; between interrupts it computes with real-mode segments. Says each second which it is.
%include "multiboot.inc"
LOW	equ 0x8000			; where the 16-bit part is moved to
%define AT(x) ((x) - real + LOW)

start:	cli
	mov esi, real
	mov edi, LOW
	mov ecx, end - real
	rep movsb
	lgdt [gdtr]
	jmp 8:AT(half)
	align 8
gdt:	dq 0, 0x00009b000000ffff, 0x000093000000ffff	; 16-bit code and data
gdtr:	dw 23
	dd gdt

	bits 16
real:
half:	mov ax, 16			; segments as real mode has them
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov eax, cr0
	and al, 0xfe
	mov cr0, eax
	jmp 0:AT(on)
on:	xor ax, ax
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov sp, LOW
	mov word [8 * 4], AT(tick)
	mov word [8 * 4 + 2], 0
	lidt [AT(idtr)]
	mov al, 0x11			; PIC: vectors from 8 on, the timer alone
	out 0x20, al
	mov al, 8
	out 0x21, al
	mov al, 4
	out 0x21, al
	mov al, 1
	out 0x21, al
	mov al, 0xfe
	out 0x21, al
	mov al, 0x34			; PIT: 100 Hz
	out 0x43, al
	mov al, 11932 & 0xff
	out 0x40, al
	mov al, 11932 >> 8
	out 0x40, al
	sti
.wait:	hlt
	mov cx, 1000
	mov bx, 0x1000
	mov es, bx
	xor di, di
.work:	mov ax, cx			; 2000 bytes in a segment of their own, written and read
	stosw
	loop .work
	cmp word [es:di - 2], 1
	jne .bad
	cmp word [AT(ticks)], 100
	jb .wait
	sub word [AT(ticks)], 100
	inc word [AT(seconds)]
	mov si, AT(text)
	call say
	mov ax, [AT(seconds)]
	call number
	mov al, 10
	call char
	jmp .wait
.bad:	mov si, AT(broken)
	call say
	jmp $

tick:	push ax
	inc word [cs:AT(ticks)]
	mov al, 0x20
	out 0x20, al
	pop ax
	iret
number:	xor dx, dx
	mov bx, 10
	div bx
	push dx
	test ax, ax
	jz .digit
	call number
.digit:	pop ax
	add al, '0'
	jmp char
%include "say.inc"
ticks:	dw 0
seconds: dw 0
idtr:	dw 0x3ff
	dd 0
text:	db "sixteen second ", 0
broken:	db "sixteen BROKEN", 10, 0
end:
