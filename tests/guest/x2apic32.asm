; SPDX-License-Identifier: ISC
; x2apic32.asm: 32 processors in x2APIC mode: two clusters of logical ids (SDM vol. 3, 11.12.10), every
; destination and delivery mode. A row is what was hit: processors 0 to 31 as bits, once each.
CPUS	equ 32
%include "smp32.inc"
%include "verdict32.inc"
VEC	equ 0x40

; ROW name, destination, lower half of the ICR, who
%macro ROW 4
	mov dword [want], %4
	mov esi, %%name
	mov edx, %2
	mov eax, %3
	call row
	section .names
%%name:	db %1, 0
	section .text
%endmacro

main:	xor ecx, ecx			; gates
.gate:	mov eax, on_other
	mov [idt + ecx * 8], ax
	mov word [idt + ecx * 8 + 2], 8
	mov word [idt + ecx * 8 + 4], 0x8e00
	shr eax, 16
	mov [idt + ecx * 8 + 6], ax
	inc ecx
	cmp ecx, 0x50
	jb .gate
	mov word [idt + VEC * 8], on_vec - BASE
	mov word [idt + VEC * 8 + 6], BASE >> 16
	mov word [idt + 2 * 8], on_nmi - BASE
	mov word [idt + 2 * 8 + 6], BASE >> 16
	mov dword [go], 1
	call mine
.all:	pause
	cmp dword [ready], CPUS
	jb .all
	xor edx, edx			; logical ids, as the processors have read them
	mov esi, s_ids
	mov eax, [bad_ids]
	call verdict
	ROW "physical: 0", 0, 0x4000 + VEC, 1
	ROW "physical: 17", 17, 0x4000 + VEC, 1 << 17
	ROW "physical: 31", 31, 0x4000 + VEC, 1 << 31
	ROW "physical: nobody", 32, 0x4000 + VEC, 0
	ROW "physical: broadcast", -1, 0x4000 + VEC, -1
	ROW "logical: cluster 0, member 0", 0x00000001, 0x4800 + VEC, 1
	ROW "logical: cluster 0, member 15", 0x00008000, 0x4800 + VEC, 1 << 15
	ROW "logical: cluster 0, all", 0x0000ffff, 0x4800 + VEC, 0xffff
	ROW "logical: cluster 1, member 0", 0x00010001, 0x4800 + VEC, 1 << 16
	ROW "logical: cluster 1, members 3 and 15", 0x00018008, 0x4800 + VEC, 0x80080000
	ROW "logical: cluster 1, all", 0x0001ffff, 0x4800 + VEC, 0xffff0000
	ROW "logical: cluster 2: nobody", 0x0002ffff, 0x4800 + VEC, 0
	ROW "logical: no members", 0x00010000, 0x4800 + VEC, 0
	ROW "logical: broadcast", -1, 0x4800 + VEC, -1
	ROW "shorthand: self", 5, 0x44000 + VEC, 1
	ROW "shorthand: all", 5, 0x84000 + VEC, -1
	ROW "shorthand: all but self", 5, 0xc4000 + VEC, -2
	ROW "NMI: physical", 30, 0x4400, 1 << 30
	ROW "NMI: cluster 1", 0x0001ffff, 0x4c00, 0xffff0000
	ROW "NMI: all but self", 0, 0xc4400, -2
	mov dword [self], 1
	ROW "SELF IPI", 0, VEC, 1
	mov dword [self], 0
	mov dword [lowest], 1
	ROW "lowest priority: one of cluster 1", 0x0001ffff, 0x4900 + VEC, 1
	ROW "lowest priority: one of cluster 0", 0x0000ff00, 0x4900 + VEC, 1
	ROW "lowest priority: the only one", 0x00010020, 0x4900 + VEC, 1
	mov dword [lowest], 0

	jmp summary

other:	pause
	cmp dword [go], 0
	je other
	call mine
.wait:	hlt
	jmp .wait

; This processor's way into x2APIC mode, and its ids.
mine:	lidt [idtr]
	mov ecx, 0x1b
	rdmsr
	or eax, 0xc00
	wrmsr
	mov ecx, 0x80f
	mov eax, 0x1ff
	xor edx, edx
	wrmsr
	mov ecx, 0x802
	rdmsr
	cmp eax, ebp
	jne .bad
	mov ecx, 0x80d			; cluster, and a bit of sixteen
	rdmsr
	mov edx, ebp
	shr edx, 4
	shl edx, 16
	mov ecx, ebp
	and ecx, 15
	bts edx, ecx
	cmp eax, edx
	je .good
.bad:	lock inc dword [bad_ids]
.good:	sti
	lock inc dword [ready]
	ret

row:	mov edi, hits
	push eax
	xor eax, eax
	mov ecx, CPUS
	rep stosd
	pop eax
	mov ecx, 0x830
	cmp dword [self], 0
	je .icr
	xor edx, edx
	mov ecx, 0x83f
.icr:	wrmsr
	rdtsc				; until it is as it should be, or half a minute is over: 32
	lea ebx, [edx + 16]		; processors on two of a busy host wait long for their turn
.again:	mov ecx, 20000
.pause:	pause
	loop .pause
	call who
	cmp eax, [want]
	je .sure
	rdtsc
	cmp edx, ebx
	jb .again
.sure:	mov ecx, 20000			; and nothing more comes
.more:	pause
	loop .more
	call who
	mov edx, [want]
	jmp verdict

; EAX: who was hit once; more than once: not as anybody wants it. With `lowest`: how many.
who:	xor eax, eax
	xor ecx, ecx
.cpu:	mov edx, [hits + ecx * 4]
	test edx, edx
	jz .next
	cmp edx, 1
	jne .bad
	cmp dword [lowest], 0
	je .bit
	inc eax
	jmp .next
.bit:	bts eax, ecx
.next:	inc ecx
	cmp ecx, CPUS
	jb .cpu
	ret
.bad:	mov eax, 0xbadbad
	ret

on_vec:	push eax
	push ecx
	push edx
	lock inc dword [hits + ebp * 4]
	mov ecx, 0x80b
	xor eax, eax
	xor edx, edx
	wrmsr
	pop edx
	pop ecx
	pop eax
	iretd
on_nmi:	lock inc dword [hits + ebp * 4]
	iretd
on_other:
	mov esi, s_other
	call print
	mov al, 7
	out 0xf4, al

section .data
	dw 0
idtr:	dw 0x50 * 8 - 1
	dd idt
	align 8
idt:	times 0x50 dq 0
hits:	times CPUS dd 0
go:	dd 0
ready:	dd 0
bad_ids: dd 0
want:	dd 0
self:	dd 0
lowest:	dd 0
s_ids:	db "ids and logical ids", 0
s_other: db "an exception", 13, 10, 0
section .text
