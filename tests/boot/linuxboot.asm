; SPDX-License-Identifier: ISC
; linuxboot.asm: a boot sector that loads Linux by the boot protocol (Documentation/x86/boot.rst) with
; INT 13h and INT 15h AH=87h. Sector 1 is a table that tests/lib/linuxdisk.py writes: setup, kernel and
; initrd as first sector and number of sectors, the initrd's bytes, and from byte 64 on the command line.
	bits	16
	org	0x7c00
%define TABLE	0x7e00
%define BUFFER	0x10000
%define INITRD	0x06000000
	jmp	0:begin
begin:	xor	ax, ax
	mov	ds, ax
	mov	es, ax
	mov	ss, ax
	mov	sp, 0x7c00
	cld
	sti
	mov	[drive], dl
	mov	eax, 1			; the table
	mov	dword [dap + 4], TABLE	; offset and segment
	mov	dx, 1
	call	read
	mov	dword [dap + 4], 0x90000000
	mov	eax, [TABLE]
	mov	dx, [TABLE + 4]
	call	read
	mov	dword [dap + 4], BUFFER << 12
	mov	eax, [TABLE + 8]
	mov	ecx, [TABLE + 12]
	mov	edi, 0x100000
	call	load
	mov	eax, [TABLE + 16]
	mov	ecx, [TABLE + 20]
	mov	edi, INITRD
	call	load

	mov	ax, 0x9000
	mov	es, ax
	mov	byte [es:0x210], 0xff	; type_of_loader
	or	byte [es:0x211], 0x80	; heap_end_ptr is valid
	mov	word [es:0x224], 0xde00
	mov	dword [es:0x218], INITRD
	mov	eax, [TABLE + 24]
	mov	[es:0x21c], eax
	mov	dword [es:0x228], 0x9e000
	mov	si, TABLE + 64
	mov	di, 0xe000
	mov	cx, 448
	rep	movsb
	mov	ax, es
	cli
	mov	ds, ax
	mov	fs, ax
	mov	gs, ax
	mov	ss, ax
	mov	sp, 0xe000
	jmp	0x9020:0

; eax: first sector, dx: how many, to where the packet says
read:	pushad
	mov	[dap + 2], dx
	mov	[dap + 8], eax
	mov	si, dap
	mov	ah, 0x42
	mov	dl, [drive]
	int	0x13
	jc	failed
	popad
	ret

; eax: first sector, ecx: how many, edi: physical address
load:	mov	edx, 64
	cmp	ecx, edx
	jae	.part
	mov	edx, ecx
.part:	test	edx, edx
	jz	.done
	call	read
	pushad
	mov	[dest + 2], di
	shr	edi, 16
	mov	ax, di
	mov	[dest + 4], al
	mov	[dest + 7], ah
	shl	dx, 8
	mov	cx, dx			; words
	mov	si, gdt
	mov	ah, 0x87
	int	0x15
	jc	failed
	popad
	add	eax, edx
	sub	ecx, edx
	shl	edx, 9
	add	edi, edx
	jmp	load
.done:	ret

failed:	mov	ax, 0x0e21		; !
	int	0x10
	hlt
	jmp	failed

drive:	db	0
	align	4
dap:	db	16, 0
	dw	0			; sectors
	dw	0, 0			; to
	dq	0			; first
gdt:	times	16 db 0
	dw	0xffff, BUFFER & 0xffff	; from
	db	BUFFER >> 16, 0x93, 0, 0
dest:	dw	0xffff, 0
	db	0, 0x93, 0, 0
	times	16 db 0
	times	510 - ($ - $$) db 0
	dw	0xaa55
