; SPDX-License-Identifier: ISC
; keys.asm: a boot sector that shows what is typed, and says each key (scan code and character) and
; each packet of the mouse on COM1, by the BIOS's services: INT 16h and INT 15h C2h. F10 ends the
; machine by port F4H.
	bits	16
	org	0x7c00
	jmp	0:begin
begin:	xor	ax, ax
	mov	ds, ax
	mov	es, ax
	mov	ss, ax
	mov	sp, 0x7c00
	cld
	sti
	mov	ax, 3
	int	0x10
	mov	ax, 0xc205		; packets of three bytes
	mov	bh, 3
	int	0x15
	jc	nomouse
	mov	ax, 0xc207
	mov	bx, packet
	int	0x15
	jc	nomouse
	mov	ax, 0xc200
	mov	bh, 1
	int	0x15
	jc	nomouse
	mov	si, t_mouse
	call	say
nomouse:
	mov	si, t_ready
	call	say
next:	mov	ah, 1
	int	0x16
	jnz	key
	hlt
	jmp	next
key:	xor	ah, ah
	int	0x16
	push	ax
	mov	al, 'K'
	call	out1
	pop	ax
	push	ax
	mov	al, ah
	call	hex
	pop	ax
	push	ax
	call	hex
	mov	al, 10
	call	out1
	pop	ax
	cmp	ah, 0x44		; F10
	je	end
	cmp	ah, 0x3f		; F5
	jne	.f6
	mov	ax, 0x13
	int	0x10
	jmp	next
.f6:	cmp	ah, 0x40
	je	draw
	test	al, al
	jz	next
	mov	ah, 0x0e
	mov	bx, 7
	int	0x10
	cmp	al, 13
	jne	next
	mov	ax, 0x0e0a
	int	0x10
	jmp	next
end:	mov	al, 0x10
	out	0xf4, al
	hlt

draw:	push	es
	push	0xa000
	pop	es
.frame:	inc	bx
	mov	al, bl
	xor	di, di
	mov	cx, 64000
	rep	stosb
	mov	ah, 1
	int	0x16
	jz	.frame
	pop	es
	jmp	next

; Called far by the BIOS: status, x, y, z are words on the stack.
packet:	push	bp
	mov	bp, sp
	pusha
	mov	al, 'M'
	call	out1
	mov	al, [bp + 12]
	call	hex
	mov	al, [bp + 10]
	call	hex
	mov	al, [bp + 8]
	call	hex
	mov	al, 10
	call	out1
	popa
	pop	bp
	retf

hex:	push	ax
	shr	al, 4
	call	.one
	pop	ax
	and	al, 15
.one:	add	al, '0'
	cmp	al, '9'
	jbe	out1
	add	al, 7
out1:	push	dx
	push	ax
	mov	dx, 0x3fd
.wait:	in	al, dx
	test	al, 0x20
	jz	.wait
	mov	dx, 0x3f8
	pop	ax
	out	dx, al
	pop	dx
	ret
say:	lodsb
	test	al, al
	jz	.done
	call	out1
	jmp	say
.done:	ret
t_mouse: db	"MOUSE", 10, 0
t_ready: db	"READY", 10, 0
	times	510 - ($ - $$) db 0
	dw	0xaa55
