; SPDX-License-Identifier: ISC
; late.asm: index registers whose writes may come late: multiboot 1, 16 MiB. 200 rounds: what the clock's memory and the I/O APIC have at a
; changing index must be what was put there, whichever wrong indices were written before it, and whoever asks. Then it says
; "sound" and leaves by port F4H; with a command line of more than the program's name it goes on for ever instead, a
; dot each 64 rounds. What is not as it should be is WRONG.
%include "multiboot.inc"
IOAPIC	equ 0xfec00000

start:	mov esp, stack
%include "plus.inc"
	xor ebp, ebp
.round:	mov ebx, ebp			; clock: 32 bytes from 50H
	and ebx, 31
	add ebx, 0x50
	mov al, 0x0e			; another index before
	out 0x70, al
	mov eax, ebx
	out 0x70, al
	mov eax, ebp
	not al
	out 0x71, al
	mov al, 0x0f
	out 0x70, al
	mov eax, ebx
	out 0x70, al
	in al, 0x71
	mov edx, ebp
	not dl
	cmp al, dl
	jne wrong
	; I/O APIC: the high half of pin's entry
	mov eax, ebp
	xor edx, edx
	mov ecx, 24
	div ecx
	lea ebx, [edx * 2 + 0x11]
	mov dword [IOAPIC], 1
	mov [IOAPIC], ebx
	mov eax, ebp
	shl eax, 24
	mov [IOAPIC + 0x10], eax
	mov dword [IOAPIC], 0
	mov dword [IOAPIC], 0x10
	mov [IOAPIC], ebx
	cmp [IOAPIC], ebx		; the index itself
	jne wrong
	cmp [IOAPIC + 0x10], eax
	jne wrong
	inc ebp
	test ebp, 63
	jnz .more
	cmp byte [forever], 0
	je .more
	mov al, '.'
	call char
.more:	cmp byte [forever], 0
	jne .round
	cmp ebp, 200
	jb .round
	mov esi, sound
	call say
	mov al, 0x10
	out 0xf4, al
	hlt
wrong:	mov esi, bad
	call say
	mov al, 0x20
	out 0xf4, al
	hlt

%include "say.inc"

sound:	db "sound", 10, 0
bad:	db "WRONG", 10, 0
forever: db 0
	times 512 db 0
stack:
end:
