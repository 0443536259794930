; SPDX-License-Identifier: ISC
; lpt.asm: a boot sector that prints a text by INT 17H, then one by its own hands and interrupt 7, and ends the VM
; by port F4H: 33 well, 35 the BIOS reports an error, 37 an interrupt did not come.
bits 16
org 0x7c00
	xor ax, ax
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov sp, 0x7c00
	xor dx, dx
	mov ah, 1		; reset the printer
	int 0x17
	mov si, text
.bios:
	lodsb
	test al, al
	jz .own
	xor ah, ah
	int 0x17
	test ah, 0x29		; out of paper, error, time is over
	mov bl, 35 >> 1
	jnz end
	jmp .bios
.own:
	mov word [0x0f * 4], isr
	mov word [0x0f * 4 + 2], 0
	in al, 0x21
	and al, 0x7f
	out 0x21, al
	sti
.next:
	lodsb
	test al, al
	mov bl, 33 >> 1
	jz end
	mov byte [seen], 0
	mov dx, 0x378
	out dx, al
	mov dx, 0x37a
	mov al, 0x1d
	out dx, al
	mov al, 0x1c
	out dx, al
	mov cx, 0xffff
.wait:
	cmp byte [seen], 1
	je .next
	loop .wait
	mov bl, 37 >> 1
end:
	mov al, bl
	out 0xf4, al
	hlt

isr:
	push ax
	mov byte [seen], 1
	mov al, 0x20
	out 0x20, al
	pop ax
	iret

text:	db 'printed by the BIOS', 10, 0, 'printed by hand', 10, 0
seen:	db 0
	times 510 - ($ - $$) db 0
	dw 0xaa55
