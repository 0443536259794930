; SPDX-License-Identifier: ISC
; pair.asm: two processors that give each other a token ROUNDS times, each waiting for it with PAUSE. Says how many thousands of the TSC's
; ticks that has taken.
%define CPUS 2
%include "smp32.inc"
ROUNDS	equ 1000

main:	rdtsc
	mov [begun], eax
	mov [begun + 4], edx
	xor ecx, ecx			; even: ours
.ours:	cmp [token], ecx
	je .give
	pause
	jmp .ours
.give:	inc ecx
	mov [token], ecx
	inc ecx
	cmp ecx, 2 * ROUNDS
	jb .ours
	rdtsc
	sub eax, [begun]
	sbb edx, [begun + 4]
	shrd eax, edx, 10
	mov esi, said
	push eax
	call print
	pop eax
	call number
	mov esi, line
	call print
.halt:	hlt
	jmp .halt

other:	mov ecx, 1
.theirs: cmp [token], ecx
	je .back
	pause
	jmp .theirs
.back:	inc ecx
	mov [token], ecx
	inc ecx
	jmp .theirs

section .data
said:	db "token: kiloticks", 0
line:	db 10, 0
	align 8
begun:	dq 0
token:	dd 0
