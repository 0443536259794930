; SPDX-License-Identifier: ISC
; screen.asm: a boot sector that draws and says so on COM1. MODE 3: text, 4, 5, 6: CGA's, 0Dh, 0Eh, 10h, 12h: 16
; colours in planes, 13h: 256 colours; with X: unchained, from another line and dot on, with a split screen.
; 144h: VBE 1024x768 in 32 bits, the first bank through the window.
%ifndef X
%define X 0
%endif
%define PLANE 0xffff
%define START (80 * 10 + 5)
%define PAN 2
%define SPLIT 299
	bits	16
	org	0x7c00
	xor	ax, ax
	mov	ds, ax
	mov	ss, ax
	mov	sp, 0x7c00
	cld
%if MODE < 0x100
	mov	ax, MODE
	int	0x10
%else
	mov	ax, 0x4f02
	mov	bx, MODE
	int	0x10
	cmp	ax, 0x004f
	jne	stop
%endif
%if MODE == 3
	mov	ah, 1			; no cursor
	mov	cx, 0x2000
	int	0x10
	mov	ax, 0xb800
	mov	es, ax
	mov	ax, 0x1fdb		; full blocks, white
	mov	di, 160 * 5 + 20 * 2
	mov	cx, 10
	rep	stosw
%elif MODE >= 4 && MODE <= 6
	mov	ax, 0xb800		; a byte is its address, times 5
	mov	es, ax
	xor	di, di
	mov	cx, 0x4000
.byte:	mov	ax, di
	mov	ah, 5
	mul	ah
	stosb
	loop	.byte
%elif MODE < 0x13
	mov	ax, 0xa000		; plane p: a byte is its address, times p * 2 + 1
	mov	es, ax
	mov	bx, 0x0101		; mask of planes, factor
.plane:	mov	dx, 0x3c4
	mov	al, 2
	mov	ah, bl
	out	dx, ax
	xor	di, di
	mov	cx, PLANE
.byte:	mov	ax, di
	mul	bh
	stosb
	loop	.byte
	add	bh, 2
	add	bl, bl
	cmp	bl, 16
	jne	.plane
%elif X
	mov	dx, 0x3c4
	mov	ax, 0x0604		; memory mode: neither chained nor odd and even
	out	dx, ax
	mov	dx, 0x3d4
	mov	ax, 0x0014		; underline: no doublewords
	out	dx, ax
	mov	ax, 0xe317		; mode control: bytes
	out	dx, ax
	mov	ax, 0xa000
	mov	es, ax
	mov	bx, 0x0001		; plane p: a byte is address * 4 + address / 256 + p, of which four bits
.plane:	mov	dx, 0x3c4
	mov	al, 2
	mov	ah, bl
	out	dx, ax
	xor	di, di
	mov	cx, 0xffff
.byte:	mov	ax, di
	add	al, al
	add	al, al
	add	al, bh
	mov	dx, di
	add	al, dh
	and	al, 15
	stosb
	loop	.byte
	inc	bh
	add	bl, bl
	cmp	bl, 16
	jne	.plane
	mov	dx, 0x3d4
	mov	ax, (START >> 8) << 8 | 0x0c
	out	dx, ax
	mov	ax, (START & 0xff) << 8 | 0x0d
	out	dx, ax
	mov	ax, (SPLIT & 0xff) << 8 | 0x18
	out	dx, ax
	mov	al, 7			; bit 8 of the line where the screen splits, then bit 9
	out	dx, al
	inc	dx
	in	al, dx
	and	al, 0xef
	or	al, (SPLIT >> 8 & 1) << 4
	out	dx, al
	dec	dx
	mov	al, 9
	out	dx, al
	inc	dx
	in	al, dx
	and	al, 0xbf
	out	dx, al
	mov	dx, 0x3da
	in	al, dx
	mov	dx, 0x3c0
	mov	al, 0x33		; panning, of the part above the split alone
	out	dx, al
	mov	al, PAN * 2
	out	dx, al
	mov	al, 0x30
	out	dx, al
	inc	dx
	in	al, dx
	dec	dx
	or	al, 0x20
	out	dx, al
%elif MODE == 0x13
	mov	ax, 0xa000
	mov	es, ax
	xor	di, di
	mov	cx, 64000
.dot:	mov	ax, di			; the colour is the low byte of the address, of which 0 to 15
	and	al, 15			; are the colours of old
	stosb
	loop	.dot
%else
	mov	ax, 0xa000
	mov	es, ax
	xor	di, di
	mov	cx, 16384
.px:	mov	eax, 0x00204060
	add	ax, di
	stosd
	loop	.px
%endif
	mov	si, text
say:	lodsb
	test	al, al
	jz	stop
	mov	dx, 0x3f8
	out	dx, al
	jmp	say
stop:	hlt
	jmp	stop
text:	db	"DRAWN", 13, 10, 0
	times	510 - ($ - $$) db 0
	dw	0xaa55
