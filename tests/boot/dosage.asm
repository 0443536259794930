; SPDX-License-Identifier: ISC
; dosage.asm: what programs of DOS' age do, from a hard disk under SeaBIOS with a floppy drive beside: they hear the
; sound port's counter, read a floppy by its controller and the DMA chip without the BIOS, and run the BIOS in
; virtual-8086 mode under a monitor, as EMM386 does. Says how each went; port F4H ends the machine, 33: well.
SECTORS	equ 16
PAGES	equ 0x50000		; page directory, page table, TSS with a map of ports, ring 0's stack
TSS	equ PAGES + 0x2000
STACK0	equ PAGES + 0x8000
IDT	equ 0x60000
BUFFER	equ 0x70000		; not over 64 KiB of DMA
FLAG_IF	equ 0x200
STUB	equ 12			; bytes of a stub

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
	mov ax, 0x0200 | (SECTORS - 1)
	mov bx, 0x7e00
	mov cx, 2
	mov dh, 0
	int 0x13
	jc fail
	jmp rest

fail:	mov si, t_fail
	call print
	mov al, 1
	out 0xf4, al
	hlt

print:	lodsb
	test al, al
	jz .done
	mov ah, 0x0e
	xor bx, bx
	int 0x10
	jmp print
.done:	ret

drive:	db 0
t_fail:	db "FAILED", 13, 10, 0
	times 510 - ($ - $$) db 0
	dw 0xaa55

; ---- sound: counter 2 at 1 kHz, heard in bit 5 of port 61H while a tick of 54.9 ms lasts ----
rest:	mov al, 0xb6
	out 0x43, al
	mov al, 1193 & 0xff
	out 0x42, al
	mov al, 1193 >> 8
	out 0x42, al
	in al, 0x61
	and al, 0xfc
	or al, 1		; the gate, without the speaker
	out 0x61, al
	mov bp, 8		; a busy host may bring a tick late
.ticks:	call tick
	call edges
	cmp cx, 130		; 109.9; or not let us hear all of them
	jbe .heard
	dec bp
	jnz .ticks
	jmp fail
.heard:	xor bp, bp		; rounds in which it was high
	xor di, di		; and low
	mov cx, 4000
.hear:	call latch
	mov si, bx
	mov dh, ah
	in al, 0x61
	mov dl, al
	call latch
	cmp ah, dh		; between two looks at the counter that have not seen it turn
	jne .hear
	cmp bx, si
	ja .hear
	test ah, 0x80
	jz .low
	inc bp
	test dl, 0x20
	jnz .both
	inc word [wrong]
	jmp .both
.low:	inc di
	test dl, 0x20
	jz .both
	inc word [wrong]
.both:	loop .hear
	cmp word [wrong], 200	; where the host was away between the looks a whole period may have gone by
	ja fail
	cmp bp, 500
	jb fail
	cmp di, 500
	jb fail
	in al, 0x61		; the gate closed: the output stays high
	and al, 0xfe
	out 0x61, al
	call tick
	call edges
	test cx, cx
	jnz fail
	in al, 0x61
	test al, 0x20
	jz fail
	mov si, t_sound
	call print

; ---- floppy: motor, recalibrate, seek to track 3, read sector 5 of side 1 by channel 2 ----
	mov word [0x0e * 4], irq6
	mov word [0x0e * 4 + 2], 0
	in al, 0x21
	and al, 0xbf
	out 0x21, al
	mov byte [came], 0
	mov dx, 0x3f2		; reset, and out of it; motor of drive 0
	mov al, 0x18
	out dx, al
	call tick
	mov al, 0x1c
	out dx, al
	call wait6
	mov dx, 0x3f7		; 500 kbit/s
	mov al, 0
	out dx, al
	mov cx, 4
.sense:	mov al, 8		; four drives have something to say after a reset
	call send
	call recv
	call recv
	loop .sense
	mov al, 3		; SPECIFY: by DMA
	call send
	mov al, 0xdf
	call send
	mov al, 2
	call send
	mov al, 7		; RECALIBRATE
	call send
	mov al, 0
	call send
	call sense
	mov al, 0x0f		; SEEK
	call send
	mov al, 4
	call send
	mov al, 3
	call send
	call sense
	cmp bl, 3
	jne fail
	mov al, 6		; the DMA chip: channel 2, from the device, 512 bytes
	out 0x0a, al
	out 0x0c, al
	mov al, BUFFER & 0xff
	out 0x04, al
	mov al, BUFFER >> 8 & 0xff
	out 0x04, al
	mov al, BUFFER >> 16
	out 0x81, al
	mov al, 511 & 0xff
	out 0x05, al
	mov al, 511 >> 8
	out 0x05, al
	mov al, 0x46
	out 0x0b, al
	mov al, 2
	out 0x0a, al
	mov si, read
	mov cx, 9
.cmd:	lodsb
	call send
	loop .cmd
	call wait6
	call recv
	test al, 0xc0
	jnz fail
	mov cx, 6
.res:	call recv
	loop .res
	in al, 0x08		; the chip counted to its end
	test al, 4
	jz fail
	push ds
	mov ax, BUFFER >> 4
	mov ds, ax
	mov ax, [0]
	pop ds
	cmp ax, (3 * 2 + 1) * 18 + 4	; each sector begins with its number
	jne fail
	mov si, t_floppy
	call print
	jmp v86

read:	db 0xe6, 4, 3, 1, 5, 2, 18, 0x1b, 0xff

irq6:	push ax
	mov byte [cs:came], 1
	mov al, 0x20
	out 0x20, al
	pop ax
	iret

wait6:	cmp byte [came], 1
	jne wait6
	mov byte [came], 0
	ret

sense:	call wait6
	mov al, 8
	call send
	call recv
	test al, 0xc0
	jnz fail
	call recv
	mov bl, al
	ret

send:	push ax			; data register, when it wants it
	mov dx, 0x3f4
.busy:	in al, dx
	and al, 0xc0
	cmp al, 0x80
	jne .busy
	pop ax
	inc dx
	out dx, al
	ret

recv:	mov dx, 0x3f4
.busy:	in al, dx
	and al, 0xc0
	cmp al, 0xc0
	jne .busy
	inc dx
	in al, dx
	ret

tick:	mov ax, [0x46c]		; until the next one
.same:	cmp ax, [0x46c]
	je .same
	ret

edges:	mov bx, [0x46c]		; CX: changes of bit 5 until the next tick
	xor cx, cx
	in al, 0x61
	mov ah, al
.next:	in al, 0x61
	xor ah, al
	test ah, 0x20
	mov ah, al
	jz .still
	inc cx
.still:	cmp bx, [0x46c]
	je .next
	ret

latch:	mov al, 0xc8		; status and count of counter 2: AH, BX
	out 0x43, al
	in al, 0x42
	mov ah, al
	in al, 0x42
	mov bl, al
	in al, 0x42
	mov bh, al
	ret

came:	db 0
wrong:	dw 0
t_sound: db "sound ok", 13, 10, 0
t_floppy: db "floppy ok", 13, 10, 0
t_v86:	db "v86 ok", 13, 10, 0

; ---- the monitor: paging, a TSS with all ports open, IOPL 0, so that what concerns interrupts traps ----
v86:	cli
	lgdt [gdtr]
	lidt [idtr]
	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp 8:protected

bits 32
protected:
	mov ax, 0x10
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov esp, STACK0
	mov edi, PAGES
	mov ecx, 0x8000 / 4
	xor eax, eax
	rep stosd
	mov dword [PAGES], PAGES + 0x1000 + 7
	mov edi, PAGES + 0x1000
	mov eax, 7
	mov ecx, 1024
.page:	stosd
	add eax, 0x1000
	loop .page
	mov edi, IDT
	mov ebx, stubs
	mov ecx, 256
.gate:	mov eax, ebx
	and eax, 0xffff
	or eax, 8 << 16
	stosd
	mov eax, 0x8e00		; interrupt gate of ring 0
	stosd
	add ebx, STUB
	loop .gate
	mov dword [TSS + 4], STACK0
	mov dword [TSS + 8], 0x10
	mov word [TSS + 102], 104
	mov byte [TSS + 104 + 0x2000], 0xff
	mov eax, PAGES
	mov cr3, eax
	mov eax, cr0
	or eax, 0x80000000
	mov cr0, eax
	mov ax, 0x18
	ltr ax
	xor eax, eax
	push eax		; GS, FS, DS, ES
	push eax
	push eax
	push eax
	push eax		; SS:SP
	push dword 0x7c00
	push dword 0x20202	; VM, IF
	push eax
	push dword inside
	iretd

stubs:
%assign v 0
%rep 256
%if v != 13			; the others come from the interrupt controllers, or there is a bug
	push byte 0
%else
	nop			; an error code is there
	nop
%endif
	push strict dword v
	jmp near entry
%assign v v + 1
%endrep

; offsets behind PUSHAD
VEC	equ 32
EIP	equ 40
CS_	equ 44
FLAGS	equ 48
ESP_	equ 52
SS_	equ 56

entry:	pushad
	mov ax, 0x10
	mov ds, ax
	mov es, ax
	mov ebp, esp
	test dword [ebp + FLAGS], 0x20000
	jz bug
	mov eax, [ebp + VEC]
	cmp eax, 13
	je trap
	call reflect
back:	popad
	add esp, 8
	iretd

bug:	mov al, 3
	out 0xf4, al
	hlt

; EAX: a vector, to be served by the handler of the vector table
reflect:
	mov edx, [eax * 4]
	mov cx, [ebp + FLAGS]
	call push16
	mov cx, [ebp + CS_]
	call push16
	mov cx, [ebp + EIP]
	call push16
	movzx ecx, dx
	mov [ebp + EIP], ecx
	shr edx, 16
	mov [ebp + CS_], edx
	and dword [ebp + FLAGS], ~(FLAG_IF | 0x100)
	ret

push16:	sub word [ebp + ESP_], 2
	call stack
	mov [ebx], cx
	ret
pop16:	call stack
	movzx ecx, word [ebx]
	add word [ebp + ESP_], 2
	ret
stack:	movzx ebx, word [ebp + SS_]	; EBX: where it is
	shl ebx, 4
	movzx esi, word [ebp + ESP_]
	add ebx, esi
	ret

; An instruction that IOPL 0 forbids in virtual-8086 mode
trap:	inc dword [traps]
	xor edi, edi		; 1: with an operand size of 32 bits
.fetch:	movzx ebx, word [ebp + CS_]
	shl ebx, 4
	movzx esi, word [ebp + EIP]
	mov al, [ebx + esi]
	inc word [ebp + EIP]
	cmp al, 0x66
	jne .which
	inc edi
	jmp .fetch
.which:	cmp al, 0xfa
	je .cli
	cmp al, 0xfb
	je .sti
	cmp al, 0x9c
	je .pushf
	cmp al, 0x9d
	je .popf
	cmp al, 0xcf
	je .iret
	cmp al, 0xcd
	je .int
	cmp al, 0xf4
	je back			; HLT: no harm in going on
	jmp bug
.cli:	and dword [ebp + FLAGS], ~FLAG_IF
	jmp back
.sti:	or dword [ebp + FLAGS], FLAG_IF
	jmp back
.int:	movzx eax, byte [ebx + esi + 1]
	inc word [ebp + EIP]
	call reflect
	jmp back
.pushf:	test edi, edi
	jz .low
	xor ecx, ecx
	call push16
.low:	mov cx, [ebp + FLAGS]
	call push16
	jmp back
.iret:	call pop16
	mov [ebp + EIP], ecx
	test edi, edi
	jz .cs
	call pop16
.cs:	call pop16
	mov [ebp + CS_], ecx
	test edi, edi
	jz .popf
	call pop16
.popf:	call pop16
	and ecx, 0x0dd5 | FLAG_IF
	mov eax, [ebp + FLAGS]
	and eax, ~(0x0dd5 | FLAG_IF)
	or eax, ecx
	mov [ebp + FLAGS], eax
	test edi, edi
	jz back
	call pop16
	jmp back

traps:	dd 0

; ---- in virtual-8086 mode: the BIOS' screen, disk and clock, flags ----
bits 16
inside:	pushf			; what CLI and STI do is seen
	pop ax
	test ax, FLAG_IF
	jz fail
	cli
	pushf
	pop ax
	test ax, FLAG_IF
	jnz fail
	pushf
	sti
	popf
	pushf
	pop ax
	test ax, FLAG_IF
	jnz fail
	pushfd
	pop eax
	test eax, 0x20000	; a program does not see VM
	jnz fail
	sti
	call tick		; interrupts reach the BIOS
	call tick
	mov ah, 0
	int 0x1a
	cmp dx, [0x46c]
	jne fail
	mov ax, 0x8000		; the disk, all of what is here again
	mov es, ax
	mov ax, 0x0200 | SECTORS
	xor bx, bx
	mov cx, 1
	mov dh, 0
	mov dl, [drive]
	int 0x13
	jc fail
	mov si, begin
	mov di, begin - start
	mov cx, drive - begin
	repe cmpsb
	jne fail
	mov si, rest
	mov di, rest - start
	mov cx, came - rest
	repe cmpsb
	jne fail
	cmp dword [traps], 20	; there was a monitor, indeed
	jb fail
	mov si, t_v86
	call print
	call tick		; the serial port says the last of it
	call tick
	mov al, 0x10
	out 0xf4, al
	hlt

align 8
gdt:	dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
	dw 0x2069, TSS & 0xffff, 0x8900 | TSS >> 16 & 0xff, 0
gdtr:	dw gdtr - gdt - 1
	dd gdt
idtr:	dw 256 * 8 - 1
	dd IDT
	times 512 * SECTORS - ($ - $$) db 0
