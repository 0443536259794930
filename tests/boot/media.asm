; SPDX-License-Identifier: ISC
; media.asm: a boot sector that reads the first sector of floppy and CD over and over, through the BIOS,
; and says "fd TEXT" and "cd TEXT" with its first 8 bytes when that changes ("none" where nothing can be
; read). The keys l and u, which SeaBIOS takes from the
; serial port too, lock and unlock the CD drive's door (PREVENT ALLOW MEDIUM REMOVAL,
; by ports, on the secondary channel).
bits 16
org 0x7c00
COM1	equ 0x3f8
ATA	equ 0x170
start:	jmp 0:begin
begin:	xor ax, ax
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov sp, 0x7c00
	cld
	sti
	mov si, t_ready
	call print

round:	call keys
	xor ax, ax		; floppy: reset, then sector 1 of track 0
	xor dx, dx
	int 0x13
	mov di, t_fd
	mov ax, 0x0201
	mov bx, 0x8000
	mov cx, 1
	xor dx, dx
	int 0x13
	call tell
	mov word [dap + 2], 1
	mov si, dap
	mov di, t_cd
	mov ah, 0x42
	mov dl, 0xe0		; SeaBIOS's first CD
	int 0x13
	call tell
	jmp round

; CF: nothing was read. di: name, then what was said last
tell:	mov si, 0x8000
	jnc .have
	mov si, t_none
.have:	push si
	push di
	add di, 4
	mov cx, 8
	repe cmpsb
	pop di
	pop si
	je .same
	push si
	push di
	add di, 4
	mov cx, 8
	rep movsb
	pop si
	call print
	pop si
.same:	ret

keys:	mov ah, 1
	int 0x16
	jz .end
	xor ah, ah
	int 0x16
	mov byte [packet + 4], 1
	cmp al, 'l'
	je prevent
	mov byte [packet + 4], 0
	cmp al, 'u'
	je prevent
.end:	ret
prevent:
	mov dx, ATA + 6
	mov al, 0xa0
	out dx, al
	call ready
	mov dx, ATA + 7
	mov al, 0xa0
	out dx, al
	call ready
	mov si, packet
	mov cx, 6
	mov dx, ATA
.out:	lodsw
	out dx, ax
	loop .out
	call ready
	mov si, t_door
	jmp print
ready:	mov dx, ATA + 7
.wait:	in al, dx
	test al, 0x80
	jnz .wait
	ret

; up to 14 bytes or a zero
print:	mov cx, 14
.next:	lodsb
	test al, al
	jz .end
	push cx
	push ax
	mov dx, COM1 + 5
.full:	in al, dx
	test al, 0x20
	jz .full
	pop ax
	mov dx, COM1
	out dx, al
	pop cx
	loop .next
.end:	ret

t_ready: db "ready", 13, 10, 0
t_door:	db "door", 13, 10, 0
t_fd:	db "fd ", '='
	times 8 db '?'
	db 13, 10, 0
t_cd:	db "cd ", '='
	times 8 db '?'
	db 13, 10, 0
t_none:	db "none    "
packet:	db 0x1e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
	align 4
dap:	db 16, 0
	dw 1, 0x8000, 0
	dq 0
	times 510 - ($ - $$) db 0
	dw 0xaa55
