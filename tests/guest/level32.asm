; SPDX-License-Identifier: ISC
; level32.asm: a level-triggered pin of the I/O APIC (the serial port's, whose transmitter is empty) at either of two
; processors: an interrupt for each time that it is asserted, another one after an EOI that left it asserted,
; none while it is masked, and one that has waited for that (82093AA 3.2.4, SDM vol. 3, 11.8.5).
CPUS	equ 2
%include "smp32.inc"
%include "verdict32.inc"
IOAPIC	equ 0xfec00000
PIN	equ 4
VEC	equ 0x50
%include "idt32.inc"
LEVEL	equ 0x8000
MASKED	equ 0x10000

%macro ROW 2
	mov eax, %2
	call await
	mov eax, [hits]
	VERDICT %1, %2
%endmacro

main:	HANDLER VEC, on_serial
	lidt [idtr]
	mov dx, 0x3fc			; OUT2 lets its interrupts out
	mov al, 8
	out dx, al
	mov dword [go], 1
	sti
	xor ebx, ebx			; the processor that has it
	call rows
	mov ebx, 1
	call rows
	jmp summary

other:	pause
	cmp dword [go], 0
	je other
	lidt [idtr]
	sti
.wait:	hlt
	jmp .wait

rows:	mov edi, VEC | LEVEL
	call route
	call enable
	ROW "asserted once", 1
	mov edi, 2
.more:	call send
	mov eax, edi
	call await
	inc edi
	cmp edi, 52
	jb .more
	ROW "and fifty times", 51
	call disable

	mov dword [hits], 0
	mov dword [spare], 3
	call enable
	ROW "EOIs that leave it asserted", 4
	call disable

	mov dword [hits], 0
	mov edi, VEC | LEVEL | MASKED
	call route
	call enable
	ROW "masked", 0
	mov edi, VEC | LEVEL
	call route
	ROW "unmasked while asserted", 1
	call disable

	mov dword [hits], 0		; an EOI while it is masked counts, too
	mov dword [hide], 1
	call enable
	ROW "masked by its handler", 1
	mov dword [hide], 0
	mov edi, VEC | LEVEL
	call route
	ROW "unmasked after that, asserted", 2
	call send
	ROW "and again", 3
	call disable
	mov edi, MASKED
	call route
	mov dword [hits], 0
	ret

; EDI: the lower half of the pin's entry; EBX: its processor
route:	mov dword [IOAPIC], 0x10 + 2 * PIN + 1
	mov eax, ebx
	shl eax, 24
	mov [IOAPIC + 0x10], eax
	mov dword [IOAPIC], 0x10 + 2 * PIN
	mov [IOAPIC + 0x10], edi
	ret
enable:	mov dx, 0x3f9			; transmitter empty
	mov al, 2
	out dx, al
	jmp settle
disable:
	mov dx, 0x3f9
	mov al, 0
	out dx, al
	jmp settle
send:	mov dx, 0x3f8
	mov al, ' '
	out dx, al
	ret
; Until there were EAX interrupts, or long enough, and whether there are more.
await:	mov esi, 100
.wait:	call settle
	cmp [hits], eax
	jae settle
	dec esi
	jnz .wait
	ret
settle:	mov ecx, 20000
.wait:	pause
	loop .wait
	ret

on_serial:
	push eax
	push edx
	cmp dword [hide], 0
	je .seen
	mov dword [IOAPIC], 0x10 + 2 * PIN
	mov dword [IOAPIC + 0x10], VEC | LEVEL | MASKED
	jmp .eoi
.seen:	cmp dword [spare], 0
	je .read
	dec dword [spare]
	jmp .eoi
.read:	mov dx, 0x3fa			; takes it back
	in al, dx
.eoi:	lock inc dword [hits]		; main goes on
	mov dword [LAPIC + 0xb0], 0
	pop edx
	pop eax
	iretd

section .data
go:	dd 0
hits:	dd 0
spare:	dd 0
hide:	dd 0
section .text
