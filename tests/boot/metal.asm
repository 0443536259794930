; SPDX-License-Identifier: ISC
; metal.asm: a small guest for the bare-metal hypervisor: multiboot 1. Says how long it counts, five
; times, on the serial port, then triple-faults. Before, it looks whether its memory is zeros, and after, it has none such.
%include "multiboot.inc"
start:	mov esp, stack
	mov edi, 2 << 20		; up to 16 MiB
	mov ecx, (14 << 20) / 4
	xor eax, eax
	repe scasd
	je .zeros
	mov esi, dirty
	call say
.zeros:	xor ebx, ebx
again:	mov esi, text
	call say
	lea eax, [ebx + '0']
	call char
	mov al, 10
	call char
	mov ecx, 2000000
.wait:	dec ecx
	jnz .wait
	inc ebx
	cmp ebx, 5
	jb again
	mov esi, bye
	call say
	mov edi, 2 << 20
	mov ecx, (14 << 20) / 4
	mov eax, 0x5aa55aa5
	rep stosd
	lidt [none]
	int3
%include "say.inc"
text:	db "small guest counts ", 0
bye:	db "small guest ends here", 10, 0
dirty:	db "small guest has memory that is not zeros", 10, 0
none:	dw 0
	dd 0
	times 256 db 0
stack:
end:
