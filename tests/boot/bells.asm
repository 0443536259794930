; SPDX-License-Identifier: ISC
; bells.asm: a driver of a virtio disk that rings its doorbell, for tests of who hears it: multiboot 1, 16 MiB. 200 requests one by one,
; each waited for; then the doorbell moves (BAR 4), and 100 more; then it says "rang 300" and leaves by port F4H. With a
; command line of more than the program's name it goes on for ever instead: eight requests at a time, each
; rung for, a dot each 64. One that is not answered in time is LOST.
	bits 32
	org 0x100000
MAGIC	equ 0x1badb002
FLAGS	equ 0x00010000
header:	dd MAGIC, FLAGS, -(MAGIC + FLAGS), header, header, end, end, start

DESC	equ 0x400000
AVAIL	equ 0x401000
USED	equ 0x402000
REQ	equ 0x403000			; type, sector
STATE	equ 0x403100			; a byte for each request
DATA	equ 0x404000
AWAY	equ 0xf0000000			; where BAR 4 goes
BURST	equ 8

start:	mov esp, stack
%include "plus.inc"
	call find
	call reset
	mov ecx, 200
	call rounds
	; the doorbell moves
	mov ecx, 4
	call config
	and eax, ~2
	out dx, eax
	mov ecx, [bar]
	call config
	mov eax, AWAY
	out dx, eax
	mov ecx, [bar]
	add ecx, 4
	call config
	xor eax, eax
	out dx, eax
	mov ecx, 4
	call config
	or eax, 6
	out dx, eax
	call find
	call reset
	mov ecx, 100
	call rounds
	mov esi, rang
	call say
	cmp byte [forever], 0
	jne bursts
	mov al, 0x10
	out 0xf4, al
	hlt
	jmp $

rounds:	push ecx
	mov ecx, 1
	call burst
	pop ecx
	dec ecx
	jnz rounds
	ret

bursts:	mov ecx, BURST
	call burst
	inc dword [count]
	test dword [count], 7
	jnz bursts
	mov al, '.'
	call char
	jmp bursts

; ecx requests, each rung for at once; then all are waited for
burst:	push ebp
	mov [n], ecx
	mov edi, STATE
	mov al, 0xee
	rep stosb
	xor ebp, ebp
.next:	movzx eax, word [AVAIL + 2]
	and eax, [mask]
	lea edx, [ebp + ebp * 2]
	mov [AVAIL + 4 + eax * 2], dx
	inc word [AVAIL + 2]
	mov ebx, [notify]
	mov word [ebx], 0
	inc ebp
	cmp ebp, [n]
	jb .next
	mov ecx, 30000000
.wait:	mov ax, [USED + 2]
	cmp ax, [AVAIL + 2]
	je .used
	pause
	dec ecx
	jnz .wait
	mov esi, lost
	call say
	mov al, 0x20
	out 0xf4, al
	hlt
.used:	mov esi, STATE
	mov ecx, [n]
.state:	lodsb
	test al, al
	jnz .bad
	loop .state
	pop ebp
	ret
.bad:	mov esi, failed
	call say
	mov al, 0x30
	out 0xf4, al
	hlt

reset:	call reset_disk
	mov word [ebx + Q_ON], 1
	mov byte [ebx + STATUS], 15
	; chains of three, each a read of its sector: header, data, status
	xor ecx, ecx
	mov edi, DESC
.chain:	mov eax, ecx
	shl eax, 4
	mov [REQ + eax + 8], ecx
	add eax, REQ
	stosd
	xor eax, eax
	stosd
	mov eax, 16
	stosd
	lea eax, [ecx + ecx * 2 + 1]
	shl eax, 16
	or eax, 1
	stosd
	mov eax, ecx
	shl eax, 9
	add eax, DATA
	stosd
	xor eax, eax
	stosd
	mov eax, 512
	stosd
	lea eax, [ecx + ecx * 2 + 2]
	shl eax, 16
	or eax, 3
	stosd
	lea eax, [ecx + STATE]
	stosd
	xor eax, eax
	stosd
	inc eax
	stosd
	mov eax, 2
	stosd
	inc ecx
	cmp ecx, BURST
	jb .chain
	ret

%include "virtiodisk.inc"
%include "say.inc"

rang:	db "rang 300", 10, 0
lost:	db "LOST", 10, 0
failed:	db "a request FAILED", 10, 0
forever: db 0
n:	dd 0
count:	dd 0
	times 512 db 0
stack:
end:
