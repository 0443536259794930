; SPDX-License-Identifier: ISC
; tpr.asm: a guest of 64 bits that works with the task priority by CR8 (SDM vol. 3, 11.8.6), as some systems do thousands of times a
; second: what it holds off, that it and the local APIC's register are one, and an interrupt that comes when it has gone
; down without anybody's notice. Then ROUNDS of up and down.
%include "long.inc"
APIC	equ 0xfee00000
VECTOR	equ 0x41
%ifndef ROUNDS
%define ROUNDS 100000
%endif

; cr8 VALUE
%macro cr8 1
	mov eax, %1
	mov cr8, rax
%endmacro

begin:	gate VECTOR, irq
	mov ebx, APIC
	mov dword [rbx + 0xf0], 0x1ff
	sti

	attempt "CR8 is the register's upper half", NONE
	mov dword [rbx + 0x80], 0x35
	mov rax, cr8
	expect rax, 3
	cr8 3				; and clears the lower one
	expect dword [rbx + 0x80], 0x30
	mov dword [rbx + 0x80], 0x05
	cr8 0
	expect dword [rbx + 0x80], 0
	cr8 15
	expect dword [rbx + 0x80], 0xf0
	mov rax, cr8
	expect rax, 15
	cr8 0
	done
%ifndef TCG				; QEMU's (7.2) takes no more than the lower bits
	attempt "more than 15", GP
	cr8 16
	done
%endif
	attempt "an interrupt of its class is held off", NONE
	call none
	cr8 4
	call self
	expect dword [count], 0
	mov rax, cr8
	expect rax, 4
	cr8 3
	nop
	expect dword [count], 1
	cr8 0
	done
	attempt "one of a higher class is not", NONE
	call none
	cr8 3
	call self
	expect dword [count], 1
	cr8 0
	done
	attempt "one that CR8 has let in stays off until IF", NONE
	call none
	cr8 15
	call self
	cli
	cr8 0
	nop
	expect dword [count], 0
	sti
	nop
	expect dword [count], 1
	done
	; CR8 is up when an exit shows it, goes down without one, and the timer's interrupt comes while no exit does
	attempt "the timer's, when CR8 has gone down unseen", NONE
	call none
	cr8 9
	mov dword [rbx + 0x3e0], 3	; by 16
	mov dword [rbx + 0x320], VECTOR
	mov dword [rbx + 0x380], 2000000 / 16
	cr8 0
	mov ecx, 2000000000
.wait:	cmp dword [count], 1
	je .came
	dec ecx
	jnz .wait
	jmp broken
.came:
	done
	; CR8 is up when the timer's interrupt comes, which is far off, as this machine may be away in between; and goes down much later
	attempt "the timer's, when CR8 was up", NONE
	call none
	cr8 0
	mov dword [rbx + 0x380], 100000000 / 16
	cr8 9
.poll:	cmp dword [rbx + 0x390], 0
	jne .poll
	mov ecx, 1000000
.spin:	dec ecx
	jnz .spin
	expect dword [count], 0
	cr8 3
	nop
	expect dword [count], 1
	cr8 0
	done
	attempt "up and down", NONE
	mov ecx, ROUNDS
.round:	cr8 2
	mov rax, cr8
	expect rax, 2
	cr8 0
	dec ecx
	jnz .round
	done
	call outcome
	hlt
	jmp $

none:	mov dword [count], 0
	sti			; exceptions have cleared it
	ret
self:	mov dword [rbx + 0x310], 0
	mov dword [rbx + 0x300], 0x44000 | VECTOR	; fixed, to itself
	nop
	ret
irq:	inc dword [count]
	mov dword [rbx + 0xb0], 0
	iretq
	align 4
count:	dd 0
end:
