; SPDX-License-Identifier: ISC
; tsc32.asm: four processors (-DCPUS=) read the TSC in turns, under a lock, for ever; it may never be less than what
; another has read before. Processor 0 tells, a few times a second: `tick`, how often it was, the fewest
; turns of a processor since the last time, then the counts of TSC (high, low), PM timer and HPET as they are
; at one moment. tests/boot/t_tsc.py and tests/long/t_time.py pause, save and judge.
%ifndef CPUS
%define CPUS 4
%endif
%include "smp32.inc"
HPET	equ 0xfed00000
PMTMR	equ 0x608
%ifndef TURN
%define TURN (1 << 28)			; cycles from tick to tick
%endif
%ifndef NEAR
%define NEAR 20000			; at most so many while the clocks are read
%endif

%macro OPEN_UP 0			; -DOPEN: interrupts are on, though none comes
%ifdef OPEN
	mov al, 0xff
	out 0x21, al
	out 0xa1, al
	sti
%endif
%endmacro

main:	OPEN_UP
	mov dword [HPET + 0x10], 1
	mov dword [go], 1
	rdtsc
	add eax, TURN
	adc edx, 0
	mov [next], eax
	mov [next + 4], edx
.loop:	call turn
	rdtsc
	sub eax, [next]
	sbb edx, [next + 4]
	js .loop
	call tick
	rdtsc
	add eax, TURN
	adc edx, 0
	mov [next], eax
	mov [next + 4], edx
	jmp .loop

other:	OPEN_UP
.wait:	pause
	cmp dword [go], 0
	je .wait
.loop:	call turn
	jmp .loop

turn:	mov al, 1
	xchg al, [lock_]
	test al, al
	jz .mine
	pause
	jmp turn
.mine:	rdtsc
	mov ebx, eax
	mov ecx, edx
	sub eax, [last]
	sbb edx, [last + 4]
	jnc .well
	inc dword [backwards]
.well:	mov [last], ebx
	mov [last + 4], ecx
	mov byte [lock_], 0
	inc dword [turns + ebp * 4]
	ret

; The clocks between two readings of the TSC that are near each other: an interruption by the host in
; between would be taken for a difference.
tick:	mov esi, 1000
.again:	rdtsc
	mov [tsc], eax
	mov [tsc + 4], edx
	mov dx, PMTMR
	in eax, dx
	mov [pm], eax
	mov eax, [HPET + 0xf0]
	mov [hpet], eax
	rdtsc
	sub eax, [tsc]
	cmp eax, NEAR
	jb .near
	dec esi
	jnz .again
.near:	mov esi, s_tick
	call print
	mov eax, [backwards]
	call hex
	mov ebx, -1
	xor ecx, ecx
.cpu:	xor eax, eax
	xchg eax, [turns + ecx * 4]
	cmp eax, ebx
	cmovb ebx, eax
	inc ecx
	cmp ecx, CPUS
	jb .cpu
	mov eax, ebx
	call hex
	mov eax, [tsc + 4]
	call hex
	mov eax, [tsc]
	call hex
	mov eax, [pm]
	call hex
	mov eax, [hpet]
	call hex
	mov esi, s_nl
	jmp print

section .data
	align 8
last:	dq 0
next:	dq 0
tsc:	dq 0
pm:	dd 0
hpet:	dd 0
lock_:	dd 0
go:	dd 0
backwards: dd 0
turns:	times CPUS dd 0
s_tick:	db "tick", 0
s_nl:	db 13, 10, 0
section .text
