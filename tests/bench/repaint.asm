; SPDX-License-Identifier: ISC
; repaint.asm: a boot sector that paints the whole of 1024 by 768 in 32 bits again and again, each time in
; another colour, some 70 times a second: it waits for the timer's next tick, of which there are 72.
	bits	16
	org	0x7c00
	jmp	0:begin
begin:	xor	ax, ax
	mov	ds, ax
	mov	ss, ax
	mov	sp, 0x7c00
	mov	ax, 0x4f02
	mov	bx, 0x4144		; with its linear frame buffer
	int	0x10
	mov	al, 0x34		; counter 0, mode 2: 72 Hz
	out	0x43, al
	mov	ax, 16572
	out	0x40, al
	mov	al, ah
	out	0x40, al
	mov	si, text
	mov	dx, 0x3f8
say:	lodsb
	out	dx, al
	test	al, al
	jnz	say
	cli				; flat ES: a limit survives the way back to real mode
	lgdt	[gdtr]
	mov	eax, cr0
	or	al, 1
	mov	cr0, eax
	jmp	$ + 2
	mov	bx, 8
	mov	es, bx
	and	al, 0xfe
	mov	cr0, eax
	sti
	cld
	xor	ebx, ebx
frame:	hlt
	add	ebx, 0x010307
	mov	eax, ebx
	mov	edi, 0xfd000000
	mov	ecx, 1024 * 768
	a32 rep	stosd
	jmp	frame
text:	db	"PAINTING", 10, 0
	align	4
gdtr:	dw	15
	dd	gdt
gdt:	dq	0
	dq	0x00cf93000000ffff
	times	510 - ($ - $$) db 0
	dw	0xaa55
