; SPDX-License-Identifier: ISC
; modes.asm: a boot sector that comes through modes of the screen, two seconds each and two of one size among them, lets a
; text screen with its cursor stand still, changes it once a second, and ends by a triple fault with BADCAFEH in EBX.
	bits	16
	org	0x7c00
	xor	ax, ax
	mov	ds, ax
	mov	ss, ax
	mov	sp, 0x7c00
	cld
	mov	si, modes
next:	lodsb
	xor	ah, ah
	cmp	al, 0xff
	je	still
	int	0x10
	mov	bp, 2
	call	pause
	jmp	next
still:	mov	al, 's'
	call	say
	mov	bp, 24
	call	pause
	mov	al, 'c'
	call	say
	mov	bx, 24			; the whole screen, another letter each second
change:	mov	ax, 0xb800
	mov	es, ax
	xor	di, di
	mov	cx, 2000
	mov	ax, bx
	add	ax, 0x1f40
	rep	stosw
	mov	bp, 1
	call	pause
	dec	bx
	jnz	change
	mov	al, 'e'
	call	say
	mov	ebx, 0xbadcafe
	lidt	[none]
	int3

; bp seconds, by the BIOS' ticks
pause:	mov	cx, 18
.tick:	mov	al, [0x46c]
.same:	hlt
	cmp	al, [0x46c]
	je	.same
	loop	.tick
	dec	bp
	jnz	pause
	ret

say:	mov	dx, 0x3f8
	out	dx, al
	ret

none:	dw	0
	dd	0
modes:	db	0x13, 4, 0x12, 3, 0xff
	times	510 - ($ - $$) db 0
	dw	0xaa55
