; SPDX-License-Identifier: ISC
; a20.asm: a boot sector that masks address bit 20 by port 92H and looks where memory is; also while
; interrupts come. Its verdict goes to port F4H.
	org 0x7c00
	bits 16
LOW	equ 0x600			; 0:600H, and FFFFH:610H a MiB above
HIGH	equ 0x610
TICKS	equ 0x46c

start:	xor ax, ax
	mov ds, ax
	mov ss, ax
	mov sp, 0x7c00
	dec ax
	mov fs, ax

	call off
	mov word [LOW], 0x1234
	mov word [fs:HIGH], 0x4321
	cmp word [LOW], 0x4321
	jne bad
	sti
	mov cx, 3			; the BIOS counts on
.tick:	mov ax, [TICKS]
.wait:	hlt
	cmp ax, [TICKS]
	je .wait
	loop .tick

	call on
	mov word [fs:HIGH], 0x5678
	cmp word [LOW], 0x4321
	jne bad
	call off
	cmp word [fs:HIGH], 0x4321
	jne bad
	mov si, LOW			; string instructions, too
	mov di, HIGH
	push ds
	push fs
	pop es
	mov word [LOW], 0x9abc
	movsw
	pop ds
	call on
	cmp word [fs:HIGH], 0x5678
	jne bad
	cmp word [LOW], 0x9abc
	jne bad
	mov al, 0x10
	out 0xf4, al
bad:	mov al, 0x11
	out 0xf4, al
stop:	hlt
	jmp stop

off:	in al, 0x92
	and al, 0xfc
	out 0x92, al
	ret
on:	in al, 0x92
	and al, 0xfe
	or al, 2
	out 0x92, al
	ret

	times 510 - ($ - $$) db 0
	dw 0xaa55
