; SPDX-License-Identifier: ISC
; bootsect.asm: a boot sector that tries the BIOS's services and says what it finds, on the screen
; (which goes to COM1 where there is none). t_pc_bios.py puts it on disks and CDs and reads along.
; Sector 1 holds a text; sector 2 is overwritten; port F4H ends the machine.
bits 16
org 0x7c00
%ifndef SECTOR
%define SECTOR 512
%endif

start:	jmp 0:begin
begin:	xor ax, ax
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov sp, 0x7c00
	cld
	sti
	mov [drive], dl
	mov si, t_boot
	call print
	mov al, [drive]
	call hex

	int 0x12		; conventional memory, KiB
	mov si, t_low
	call word_of

	mov ax, 0xe801		; above 16 MiB, in 64 KiB
	xor cx, cx
	xor dx, dx
	int 0x15
	jc fail
	mov ax, bx
	mov si, t_high
	call word_of

	xor ebx, ebx		; the memory map: MiB that are RAM
	xor ebp, ebp
.map:	mov eax, 0xe820
	mov edx, 'PAMS'
	mov ecx, 20
	mov di, 0x8000
	int 0x15
	jc fail
	cmp byte [di + 16], 1
	jne .other
	add ebp, [di + 8]
.other:	test ebx, ebx
	jnz .map
	shr ebp, 20
	xchg ax, bp
	mov si, t_map
	call word_of

%ifdef FLOPPY
	mov ax, 0x0201		; two sides and the far end of the first track
	mov bx, 0x8000
	mov cx, FLOPPY
	mov dh, 1
	mov dl, [drive]
	int 0x13
	jc fail
	mov ax, 0x0201
	mov cx, 2
	xor dh, dh
	mov dl, [drive]
	int 0x13
%else
	mov si, dap		; a sector by its number
	mov ah, 0x42
	mov dl, [drive]
	int 0x13
%endif
	jc fail
	mov si, t_text
	call print
	mov si, 0x8000
	call print

%if SECTOR = 512
	mov ax, 0x0201		; the same by cylinder, head and sector
	mov bx, 0x8400
	mov cx, 2
	xor dh, dh
	mov dl, [drive]
	int 0x13
	jc fail
	mov si, 0x8000
	mov di, 0x8400
	mov cx, 256
	repe cmpsw
	jne fail
%ifdef FLOPPY
	mov ax, 0x0301		; and written to the next one
	mov cx, 3
	mov dl, [drive]
	int 0x13
	jc fail
%else
	mov word [dap + 8], 2	; and written to the next one
	mov si, dap
	mov ax, 0x4300
	mov dl, [drive]
	int 0x13
	jc fail
%endif
%endif

	mov ax, 0x2401		; A20 on: 1 MiB away is not the same
	int 0x15
	jc fail
	mov ax, 0xffff
	mov fs, ax
	mov word [0x0600], 0x1234
	mov word [fs:0x0610], 0x4321
	cmp word [0x0600], 0x1234
	jne fail

	xor ah, ah		; two ticks of the clock
	int 0x1a
	mov bx, dx
.tick:	hlt
	xor ah, ah
	int 0x1a
	sub dx, bx
	cmp dx, 2
	jb .tick

	mov si, t_ok
	call print
	mov al, 0x10
	out 0xf4, al
stop:	hlt
	jmp stop
fail:	mov si, t_bad
	call print
	mov al, 0x11
	out 0xf4, al
	jmp stop

word_of: push ax
	call print
	pop ax
	push ax
	mov al, ah
	call hex
	pop ax
hex:	push ax			; AL
	shr al, 4
	call .digit
	pop ax
	and al, 15
.digit:	add al, '0'
	cmp al, '9'
	jbe putc
	add al, 7
putc:	mov ah, 0x0e
	mov bx, 7
	int 0x10
	ret
print:	lodsb
	test al, al
	jz .end
	call putc
	jmp print
.end:	ret

t_boot:	db "BOOT drive=", 0
t_low:	db " low=", 0
t_high:	db " high=", 0
t_map:	db " map=", 0
t_text:	db " sector=", 0
t_ok:	db " services ok", 13, 10, 0
t_bad:	db " failed", 13, 10, 0
drive:	db 0
	align 4
dap:	db 16, 0
	dw 1, 0x8000, 0
%if SECTOR = 512
	dq 1
%else
	dq 21
%endif
	times 510 - ($ - $$) db 0
	dw 0xaa55
