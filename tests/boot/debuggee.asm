; SPDX-License-Identifier: ISC
; debuggee.asm: a guest to be debugged: from 32-bit protected mode to 64-bit mode, a second CPU from real mode,
; a timer that interrupts, and a loop that counts. Its addresses are at `table`, behind a mark.
%include "elf.inc"
PML4	equ 0x200000
PDPT	equ 0x201000
PD	equ 0x202000			; four of them: 4 GiB in 2-MiB pages
LAPIC	equ 0xfee00000
AP	equ 0x8000			; where the second CPU starts
CODE64	equ 8
DATA	equ 16
CODE32	equ 24

start:	mov esp, stack
pm:	xor eax, eax
	mov edi, PML4
	mov ecx, 0x6000 / 4
	rep stosd
	mov dword [PML4], PDPT | 7
	mov edi, PDPT
	mov eax, PD | 7
	mov ecx, 4
.pdpt:	mov [edi], eax
	add eax, 0x1000
	add edi, 8
	loop .pdpt
	mov edi, PD
	mov eax, 0x87
	mov ecx, 2048
.pd:	mov [edi], eax
	add eax, 0x200000
	add edi, 8
	loop .pd
	lgdt [gdtr]
	mov esi, ap_start
	mov edi, AP
	mov ecx, ap_end - ap_start
	rep movsb
	call long_mode
	jmp CODE64:bsp

long_mode:				; on either CPU
	mov eax, cr4
	or eax, 0x620			; PAE, OSFXSR, OSXMMEXCPT
	mov cr4, eax
	mov eax, PML4
	mov cr3, eax
	mov ecx, 0xc0000080
	rdmsr
	or eax, 0x100
	wrmsr
	mov eax, cr0
	or eax, 0x80000000
	mov cr0, eax
	ret

	BITS 16
ap_start:
	cli
	mov ax, cs
	mov ds, ax
ap_real:
	nop
	lgdt [cs:ap_gdtr - ap_start]
	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp dword CODE32:ap_pm
ap_gdtr: dw gdt_end - gdt - 1
	dd gdt
ap_end:
	BITS 32
ap_pm:	mov eax, DATA
	mov ds, eax
	mov ss, eax
	mov esp, ap_stack
	call long_mode
	jmp CODE64:ap_long

	BITS 64
ap_long: mov rax, 0x0123456789abcdef
%ifndef NO_SSE				; which an emulating KVM may not know
	movq xmm1, rax
%endif
ap_loop: inc qword [rel ap_count]
	pause
	jmp ap_loop

bsp:	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov eax, on_timer		; its gate
	mov ecx, idt + 0x20 * 16
	mov [rcx], ax
	mov dword [rcx + 2], 0x8e00 << 16 | CODE64
	shr eax, 16
	mov [rcx + 6], ax
	lidt [rel idtr]
	mov ecx, 0xc0000100		; FS base
	mov eax, 0x11223344
	mov edx, 0x55
	wrmsr
	mov ebx, LAPIC
	mov dword [rbx + 0xf0], 0x1ff
	mov dword [rbx + 0x3e0], 0xb	; by 1
	mov dword [rbx + 0x320], 0x20020 ; periodic, vector 20H
	mov dword [rbx + 0x380], 200000
	mov dword [rbx + 0x310], 1 << 24
	mov dword [rbx + 0x300], 0x4500	; INIT
	mov dword [rbx + 0x300], 0x4600 | AP >> 12 ; SIPI
	sti
%ifdef AVX512
	mov rax, cr4
	or eax, 0x40000			; OSXSAVE
	mov cr4, rax
	xor ecx, ecx
	xor edx, edx
	mov eax, 0xe7
	xsetbv
	mov rax, 0x1122334455667788
	vpbroadcastq zmm3, rax
	vpbroadcastq zmm17, rax
	mov eax, 0x5a
	kmovw k3, eax
loop:	kmovq r15, k3			; what gdb has written
	vextracti32x4 xmm5, zmm3, 3
	vextracti32x4 xmm6, zmm17, 0
	vextracti32x4 xmm7, zmm17, 1
	vextracti32x4 xmm8, zmm17, 3
%else
loop:
%endif
	call work
	jmp loop

work:	inc qword [rel count]
read:	mov rax, [rel secret]
	lea rdi, [rel buffer]
	mov ecx, 4
fill:	rep stosb
	mov eax, ss
shadow:	mov ss, eax
after:	nop
	ret

on_timer:
	push rax
	inc qword [rel ticks]
	mov eax, LAPIC
	mov dword [rax + 0xb0], 0
	pop rax
	iretq

section .data
gdt:	dq 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
gdt_end:
gdtr:	dw gdt_end - gdt - 1
	dd gdt
idtr:	dw 0x21 * 16 - 1
	dq idt
table:	db "DEBUGGEE"
	dq pm, work, read, fill, shadow, after, on_timer, ap_real - ap_start + AP, ap_loop
	dq count, secret, buffer, ticks, ap_count
secret:	dq 0x5ec2e7
count:	dq 0
ticks:	dq 0
ap_count: dq 0
buffer:	times 64 db 0
	align 16
idt:	times 0x21 * 16 db 0
	align 16
	times 1024 db 0
stack:	times 1024 db 0
ap_stack:
