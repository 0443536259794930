; SPDX-License-Identifier: ISC
; stimer.asm: a boot sector that uses Hyper-V's synthetic timers and interrupt controller (TLFS 6.0b, 11 and 12.4), by MSRs
; alone: a periodic timer and a single one in direct mode, a timer's message, and one that waits for the place of another.
; Says the number of the first step that fails (1…) as status n * 2 + 1 by port F4H; 33 (10H) is success.
	bits	16
	org	0x7c00
DIRECT	equ	0x50
SINT2	equ	0x51
PAGE	equ	0x9000
	jmp	0:begin
begin:	xor	ax, ax
	mov	ds, ax
	mov	es, ax
	mov	ss, ax
	mov	sp, 0x7c00
	cld
	cli
	mov	word [DIRECT * 4], direct
	mov	[DIRECT * 4 + 2], ax
	mov	word [SINT2 * 4], sint
	mov	[SINT2 * 4 + 2], ax
	in	al, 0x21		; no interrupts of the PIC
	mov	al, 0xff
	out	0x21, al
	out	0xa1, al
	mov	ecx, 0x1b		; x2APIC, enabled by software
	rdmsr
	or	ax, 0xc00
	wrmsr
	mov	ecx, 0x80f
	mov	eax, 0x1ff
	cdq
	wrmsr
	sti
	; 20 periods of a millisecond take at least 19
	call	now
	lea	esi, [eax + 190000]
	mov	eax, 10000
	mov	ecx, 0x400000b1
	call	write
	mov	eax, 0x1003 | DIRECT << 4
	dec	cx
	call	write
ticks:	hlt
	cmp	byte [directs], 20
	jb	ticks
	xor	eax, eax
	call	write
	call	now
	inc	byte [step]		; 1
	cmp	eax, esi
	jb	bad
	; once, enabled by its count: not early, and off afterwards
	mov	byte [directs], 0
	mov	ecx, 0x400000b2
	mov	eax, 0x1008 | DIRECT << 4
	call	write
	call	now
	lea	esi, [eax + 50000]
	mov	ecx, 0x400000b3
	mov	eax, esi
	call	write
once:	hlt
	cmp	byte [directs], 1
	jb	once
	call	now
	inc	byte [step]		; 2
	cmp	eax, esi
	jb	bad
	mov	ecx, 0x400000b2
	rdmsr
	inc	byte [step]		; 3
	test	al, 1
	jnz	bad
	; a message
	mov	ecx, 0x40000080
	mov	eax, 1
	call	write
	mov	cl, 0x83
	mov	eax, PAGE | 1
	call	write
	mov	cl, 0x92
	mov	eax, SINT2
	call	write
	call	soon
	inc	byte [step]		; 4
	mov	bx, PAGE + 2 * 256
	cmp	dword [bx], 0x80000010
	jne	bad
	inc	byte [step]		; 5
	cmp	byte [bx + 4], 24
	jne	bad
	inc	byte [step]		; 6
	cmp	dword [bx + 16], 3
	jne	bad
	mov	eax, [bx + 32]		; delivered not before it expired
	inc	byte [step]		; 7
	cmp	eax, [bx + 24]
	jb	bad
	; another, whose place is taken: flagged, and delivered after EOM
	mov	edi, [bx + 24]
	call	fire
	mov	ecx, 100000
wait1:	test	byte [bx + 5], 1
	jnz	flagged
	push	ecx
	call	now
	pop	ecx
	loop	wait1, ecx
	inc	byte [step]		; 8
	jmp	bad
flagged:
	mov	byte [step], 9
	cmp	byte [sints], 1
	jne	bad
	mov	dword [bx], 0
	xor	eax, eax
	mov	ecx, 0x40000084
	call	write
	nop
	inc	byte [step]		; 10
	cmp	byte [sints], 2
	jne	bad
	inc	byte [step]		; 11
	cmp	[bx + 24], edi
	je	bad
	mov	byte [step], 16
bad:	mov	al, [step]
	out	0xf4, al
	hlt
	jmp	bad

; timer 3, SINT 2, a millisecond from now; soon waits for its interrupt
fire:	call	now
	add	eax, 10000
	mov	ecx, 0x400000b7
	call	write
	mov	eax, 2 << 16 | 1
	dec	cx
	jmp	write
soon:	call	fire
.wait:	hlt
	cmp	byte [sints], 0
	je	.wait
	ret
; EAX: reference time's lower half, which takes seven minutes to wrap
now:	mov	ecx, 0x40000020
	rdmsr
	ret
write:	xor	edx, edx
	wrmsr
	ret

direct:	inc	byte [directs]
	jmp	eoi
sint:	inc	byte [sints]
eoi:	pushad
	xor	eax, eax
	mov	ecx, 0x40000070
	call	write
	popad
	iret
directs	db	0
sints	db	0
step	db	0
	times	510 - ($ - $$) db 0
	dw	0xaa55
