; SPDX-License-Identifier: ISC
; screen.asm: a boot sector that draws and says so on COM1. MODE 3: text, 13h: 256 colours, 144h: VBE
; 1024x768 in 32 bits, the first bank through the window.
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
