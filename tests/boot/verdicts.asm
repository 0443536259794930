; SPDX-License-Identifier: ISC
; verdicts.asm: tries what rules of t_verdicts.py provide, redirect and deny, says what it got as lines NAME=HEX on
; the serial port, writes 6000 more bytes there and leaves by port F4H.
%include "elf.inc"
STACK	equ 0x300000

; TRY NAME, instructions that leave what was seen in EAX; a #GP leaves 0BAD13H
%macro TRY 2+
	mov ebx, %%gp
	%2
	jmp %%say
%%gp:	mov eax, 0xbad13
%%say:	mov esi, %%name
	call say
	[section .data]
%%name:	db %1, "=", 0
	__?SECT?__
%endmacro
%macro RDMSR 1
	mov ecx, %1
	rdmsr
%endmacro
%macro INB 1
	mov dx, %1
	xor eax, eax
	in al, dx
%endmacro
%macro OUTB 2
	mov dx, %1
	mov al, %2
	out dx, al
%endmacro

start:	cld
	mov esp, STACK
	lgdt [gdtr]
	lidt [idtr]
	jmp 0x08:.cs
.cs:	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	OUTB 0x3fb, 3			; 8 bits
	TRY "port-limit-1", INB 0x3fb
	TRY "port-limit-2", INB 0x3fb
	TRY "port-limit-3", INB 0x3fb
	TRY "port-redirect-read", INB 0x3ff
	OUTB 0x3f9, 1
	TRY "port-redirect-write", INB 0x3f9
	TRY "port-deny-read", INB 0x3fe
	OUTB 0x3fc, 0x0b
	TRY "port-deny-write", INB 0x3fc

	TRY "mmio-limit-1", mov eax, [0xfee000f0]
	TRY "mmio-limit-2", mov eax, [0xfee000f0]
	TRY "mmio-limit-3", mov eax, [0xfee000f0]
	TRY "mmio-redirect-read", mov eax, [0xfee00030]
	mov dword [0xfee00080], 0x10
	TRY "mmio-redirect-write", mov eax, [0xfee00080]
	TRY "mmio-deny-read", mov eax, [0xfee00020]
	mov dword [0xfee003e0], 0x0b
	TRY "mmio-deny-write", mov eax, [0xfee003e0]

	TRY "msr-limit-1", RDMSR 0x277
	TRY "msr-limit-2", RDMSR 0x277
	TRY "msr-limit-3", RDMSR 0x277
	TRY "msr-redirect-read", RDMSR 0x174
	mov ecx, 0x176
	mov eax, 0x1111
	xor edx, edx
	wrmsr
	TRY "msr-redirect-write", RDMSR 0x176
	TRY "msr-deny-read", RDMSR 0x175
	mov edx, 0
	TRY "msr-deny-write", call wr277

	TRY "cpuid-limit-1", call leaf0
	TRY "cpuid-limit-2", call leaf0
	TRY "cpuid-limit-3", call leaf0
	TRY "cpuid-redirect", call edx1
	TRY "cpuid-deny", call ebx7

	TRY "console-in", call typed
	mov esi, s_rest
	call print
	mov edi, 6000
.more:	mov al, 'x'
	call put
	dec edi
	jnz .more
	mov al, 0
	out 0xf4, al
.stop:	hlt
	jmp .stop

wr277:	mov ecx, 0x277
	mov eax, 0x00070406
	mov edx, eax
	wrmsr
	ret
leaf0:	push ebx
	xor eax, eax
	xor ecx, ecx
	cpuid
	pop ebx
	ret
edx1:	push ebx
	mov eax, 1
	xor ecx, ecx
	cpuid
	mov eax, edx
	pop ebx
	ret
ebx7:	push ebx
	mov eax, 7
	xor ecx, ecx
	cpuid
	mov eax, ebx
	pop ebx
	ret
; what somebody types within two seconds or so (of the time-stamp counter), or 0
typed:	mov esi, s_type
	call print
	rdtsc
	mov edi, edx
	add edi, 2			; of 2^32
.wait:	mov dx, 0x3fd
	in al, dx
	test al, 1
	jnz .got
	rdtsc
	cmp edx, edi
	jb .wait
	xor eax, eax
	ret
.got:	INB 0x3f8
	ret

; name in ESI, value in EAX
say:	push eax
	call print
	pop edx
	mov ecx, 8
.digit:	rol edx, 4
	mov al, dl
	and al, 15
	cmp al, 10
	jb .put
	add al, 'a' - '0' - 10
.put:	add al, '0'
	push edx
	call put
	pop edx
	loop .digit
	mov esi, s_line
print:	lodsb
	test al, al
	jz .ret
	call put
	jmp print
.ret:	ret
put:	mov dx, 0x3f8
	out dx, al
	ret

gp:	add esp, 4
	mov [esp], ebx
	iretd

section .data
s_line:	db 13, 10, 0
s_rest:	db "rest", 13, 10, 0
s_type:	db "type", 13, 10, 0
align 8
gdt:	dq 0
	dq 0x00cf9a000000ffff
	dq 0x00cf92000000ffff
gdtr:	dw $ - gdt - 1
	dd gdt
idt:	times 13 dq 0
	dw gp - BASE, 0x08		; 13 #GP
	db 0, 0x8e
	dw BASE >> 16
idtr:	dw $ - idt - 1
	dd idt
