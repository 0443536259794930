; SPDX-License-Identifier: ISC
; pam.asm: a boot sector that goes through what PAM0 and PAM3 of the 82441FX (290549, 3.2.18) say of D0000H and F0000H:
; whether reads and writes are RAM's or the ROM's. Says the number of the first step that fails (1…) as status n * 2 + 1 by
; port F4H; 33 (10H) is success.
	bits	16
	org	0x7c00
	jmp	0:begin
begin:	xor	ax, ax
	mov	ds, ax
	mov	ss, ax
	mov	sp, 0x7c00
	cld
	cli
	mov	ax, 0xd000
	mov	es, ax
	; both RAM's
	mov	cl, 0x33
	call	pam3
	mov	byte [es:0x123], 0x5a
	mov	byte [es:0x3fff], 0xa5
	mov	al, 1
	cmp	byte [es:0x123], 0x5a
	jne	bad
	; both PCI's, where nothing is: reads all ones, and writes are lost
	mov	cl, 0x30
	call	pam3
	inc	ax
	cmp	word [es:0x123], 0xffff
	jne	bad
	mov	byte [es:0x123], 0x77
	inc	ax
	cmp	byte [es:0x123], 0xff
	jne	bad
	; reads RAM's: it has what it had; writes are lost
	mov	cl, 0x31
	call	pam3
	inc	ax
	cmp	byte [es:0x123], 0x5a
	jne	bad
	mov	byte [es:0x123], 0x77
	inc	ax
	cmp	byte [es:0x123], 0x5a
	jne	bad
	; writes RAM's, reads PCI's
	mov	cl, 0x32
	call	pam3
	mov	byte [es:0x123], 0x33
	mov	dword [es:0x3ffe], 0x44556677	; the last two bytes are the next area's, which is open
	inc	ax
	cmp	byte [es:0x123], 0xff
	jne	bad
	inc	ax
	cmp	word [es:0x4000], 0x4455
	jne	bad
	or	byte [es:0x200], 0		; writes back what it has read: all ones
	mov	cl, 0x31
	call	pam3
	inc	ax
	cmp	byte [es:0x123], 0x33
	jne	bad
	inc	ax
	cmp	word [es:0x3ffe], 0x6677
	jne	bad
	inc	ax
	cmp	byte [es:0x200], 0xff
	jne	bad
	; F0000H: the BIOS's ROM shows, then the copy that it has made and works in, as it was
	mov	cx, 0xf000
	mov	es, cx
	mov	cl, 0x10
	call	pam0
	mov	ebx, [es:0xfff0]		; the jump at the reset vector
	mov	cl, 0x30
	call	pam0
	mov	ch, [es:0xff00]
	not	ch
	mov	[es:0xff00], ch			; RAM differs from ROM here
	mov	cl, 0
	call	pam0
	inc	ax
	cmp	[es:0xfff0], ebx
	jne	bad
	inc	ax
	cmp	[es:0xff00], ch
	je	bad
	mov	byte [es:0xff00], 0		; lost
	mov	cl, 0x10
	call	pam0
	inc	ax
	cmp	[es:0xff00], ch
	jne	bad
	; code there is the one that shows: RETF in RAM, another byte in ROM is not run
	mov	cl, 0x30
	call	pam0
	mov	byte [es:0xff00], 0xcb
	call	0xf000:0xff00
	mov	byte [es:0xff00], 0x40		; INC AX; RETF
	mov	byte [es:0xff01], 0xcb
	call	0xf000:0xff00
	inc	ax
	cmp	al, 15
	jne	bad
	mov	al, 0x10
bad:	out	0xf4, al
	hlt
	jmp	bad

pam3:	mov	edx, 0x8000005c
	call	select
	out	dx, al
	pop	eax
	ret
pam0:	mov	edx, 0x80000059 & ~3
	call	select
	inc	dx
	out	dx, al
	pop	eax
	ret
; to the caller: EAX of before below its return address; AL is CL, DX the data port
select:	pop	bp
	push	eax
	mov	eax, edx
	mov	dx, 0xcf8
	out	dx, eax
	mov	dx, 0xcfc
	mov	al, cl
	jmp	bp
	times	510 - ($ - $$) db 0
	dw	0xaa55
