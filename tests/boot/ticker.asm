; SPDX-License-Identifier: ISC
; ticker.asm: a boot sector that reads sectors 1 to 63 of its disk over and over, compares them with
; what the test has put there (each word is the sector's number), writes a counter to sector 64 and
; reads it back, and says so each half second of the clock. t_save_pc.py saves it amidst of that.
bits 16
org 0x7c00
start:	jmp 0:begin
begin:	xor ax, ax
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov sp, 0x7c00
	cld
	sti
	mov [drive], dl

round:	mov word [dap + 8], 1
.next:	mov ah, 0x42
	call disk
	mov di, 0x8000
	mov ax, [dap + 8]
	mov cx, 256
	repe scasw
	jne bad
	inc word [dap + 8]
	cmp word [dap + 8], 64
	jb .next

	inc word [count]
	mov ax, [count]
	mov di, 0x8000
	mov cx, 256
	rep stosw
	mov ax, 0x4300
	call disk
	mov word [0x8000], 0
	mov ah, 0x42
	call disk
	mov ax, [count]
	cmp [0x8000], ax
	jne bad

	xor ah, ah
	int 0x1a
	sub dx, [last]
	cmp dx, 9
	jb round
	add [last], dx
	mov si, t_alive
	call print
	mov ax, [count]
	xchg al, ah
	call hex
	mov al, ah
	call hex
	jmp round

disk:	mov si, dap
	mov dl, [drive]
	int 0x13
	jc bad
	ret
bad:	mov si, t_bad
	call print
.stop:	hlt
	jmp .stop
hex:	push ax
	shr al, 4
	call .digit
	pop ax
	push ax
	and al, 15
	call .digit
	pop ax
	ret
.digit:	add al, '0'
	cmp al, '9'
	jbe .put
	add al, 7
.put:	push ax
	mov ah, 0x0e
	mov bx, 7
	int 0x10
	pop ax
	ret
print:	lodsb
	test al, al
	jz .end
	mov ah, 0x0e
	mov bx, 7
	int 0x10
	jmp print
.end:	ret

t_alive: db 13, 10, "alive ", 0
t_bad:	db 13, 10, "WRONG", 0
drive:	db 0
	align 4
count:	dw 0
last:	dw 0
dap:	db 16, 0
	dw 1, 0x8000, 0
	dq 1
	times 510 - ($ - $$) db 0
	dw 0xaa55
