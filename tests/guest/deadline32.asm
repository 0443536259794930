; SPDX-License-Identifier: ISC
; deadline32.asm: TSC deadlines of the local APIC's timer, after the guest has set its TSC or its TSC_ADJUST
; (SDM vol. 3, 18.17.3): an interrupt comes once, not before its time by this very TSC, and soon after it.
CPUS	equ 1
%include "smp32.inc"
%include "verdict32.inc"
VEC	equ 0x40
%include "idt32.inc"
PMTMR	equ 0x608
LONGEST	equ 3579545 * 2			; two seconds of the PM timer
%ifndef MOMENT
%define MOMENT 200000000		; cycles, more than some exits of an emulator that stands in for KVM
%endif

main:	HANDLER VEC, on_timer
	lidt [idtr]
	mov dword [LAPIC + 0x320], 0x40000 + VEC
	mov esi, s_first
	call row
	mov esi, s_again
	call row

	mov ecx, 0x10
	xor eax, eax
	xor edx, edx
	wrmsr
	mov esi, s_zero
	call row
	mov ecx, 0x10
	mov eax, 12345
	mov edx, 0x1000
	wrmsr
	mov esi, s_ahead
	call row
	mov ecx, 0x10
	xor eax, eax
	mov edx, 1
	wrmsr
	mov esi, s_back
	call row

	mov eax, 7			; TSC_ADJUST
	xor ecx, ecx
	cpuid
	test bl, 2
	jz .end
	mov ecx, 0x3b
	rdmsr
	add edx, 0x200
	wrmsr
	mov esi, s_adjust
	call row
	mov ecx, 0x3b
	rdmsr
	sub edx, 0x1ff
	wrmsr
	mov esi, s_adjust_back
	call row
.end:	jmp summary
other:	hlt				; nobody comes here
	jmp other

; A deadline in a moment. EAX as wanted: interrupts in 7:0, 100H: not before its time.
row:	mov dword [hits], 0
	rdtsc
	add eax, MOMENT
	adc edx, 0
	mov [until], eax
	mov [until + 4], edx
	mov ecx, 0x6e0
	wrmsr
	sti
	mov dx, PMTMR
	in eax, dx
	mov ebx, eax
.wait:	pause
	cmp dword [hits], 0
	jne .come
	in eax, dx
	sub eax, ebx
	and eax, 0xffffff
	cmp eax, LONGEST
	jb .wait
.come:	mov ecx, 20000			; and no second one
.more:	pause
	loop .more
	cli
	mov eax, [came]
	mov edx, [came + 4]
	sub eax, [until]
	sbb edx, [until + 4]
	setnc ah
	movzx eax, ah
	shl eax, 8
	or eax, [hits]
	mov edx, 0x101
	jmp verdict

on_timer:
	push eax
	push edx
	rdtsc
	mov [came], eax
	mov [came + 4], edx
	inc dword [hits]
	mov dword [LAPIC + 0xb0], 0
	pop edx
	pop eax
	iretd

section .data
until:	dq 0
came:	dq 0
hits:	dd 0
s_first: db "a deadline", 0
s_again: db "the next one", 0
s_zero:	db "TSC set to 0", 0
s_ahead: db "TSC set far ahead", 0
s_back:	db "TSC set back", 0
s_adjust: db "TSC_ADJUST ahead", 0
s_adjust_back: db "TSC_ADJUST back", 0
section .text
