; SPDX-License-Identifier: ISC
; apicv.asm: a guest of 64 bits in x2APIC mode (SDM vol. 3, 11.12): interrupts, priorities and their end as the manuals say
; whoever does it, the processor or the hypervisor. Then ROUNDS of an interrupt to itself, whose end is an MSR write.
%include "long.inc"
LOW	equ 0x41
HIGH	equ 0x81
COM1	equ 0x51			; the serial port's, level-triggered
IOAPIC	equ 0xfec00000
%ifndef ROUNDS
%define ROUNDS 10000
%endif

; wr MSR, VALUE
%macro wr 2
	mov ecx, %1
	mov eax, %2
	xor edx, edx
	wrmsr
%endmacro
; rd MSR
%macro rd 1
	mov ecx, %1
	rdmsr
%endmacro
; self VECTOR
%macro self 1
	wr 0x830, 0x44000 | %1
	nop
%endmacro

begin:	gate LOW, low
	gate HIGH, high
	gate COM1, serial
	rd 0x1b
	or eax, 0xc00
	wrmsr
	wr 0x80f, 0x1ff
	sti

	attempt "an interrupt to itself, and its end", NONE
	call none
	self LOW
	expect dword [lows], 1
	rd 0x812			; ISR, vectors 40H to 5FH
	expect eax, 0
	self LOW
	expect dword [lows], 2
	done
	attempt "TPR by its MSR and by CR8", NONE
	call none
	wr 0x808, 0x53
	mov rax, cr8
	expect rax, 5
	mov eax, 4
	mov cr8, rax
	rd 0x808
	expect eax, 0x40
	self LOW			; of class 4
	expect dword [lows], 0
	rd 0x822			; IRR, vectors 40H to 5FH
	expect eax, 1 << (LOW - 0x40)
	self HIGH
	expect dword [highs], 1
	wr 0x808, 0x30
	nop
	expect dword [lows], 1
	wr 0x808, 0
	done
	attempt "bits of TPR that there are not", GP
	wr 0x808, 0x100
	done
	attempt "an end of interrupt that is not 0", GP
	wr 0x80b, 1
	done
	attempt "a register that cannot be read", GP
	rd 0x80b
	done
	attempt "IF holds off, STI lets in behind the next instruction", NONE
	call none
	cli
	self HIGH
	self LOW
	expect dword [highs], 0
	rd 0x822
	expect eax, 1 << (LOW - 0x40)
	sti
	mov eax, [highs]
	mov ebx, [highs]
	nop
	expect eax, 0
	expect ebx, 1
	expect dword [lows], 1
	done
	attempt "one in service holds off its class and those below", NONE
	call none
	mov dword [nest], LOW		; high sends low to itself, with interrupts on
	self HIGH
	expect dword [highs], 1
	expect dword [lows], 1
	expect dword [during], 0	; lows before the end of high
	done
	attempt "one of a higher class comes between", NONE
	call none
	mov dword [nest], 0
	mov dword [within], HIGH	; low sends high
	self LOW
	expect dword [lows], 1
	expect dword [highs], 1
	expect dword [during], 1	; highs before the end of low
	done
	attempt "an end of interrupt with none in service", NONE
	wr 0x80b, 0
	rd 0x814
	expect eax, 0
	done
	; its line stays up until the handler has read why, and it comes again only when the I/O APIC has heard of the end
	attempt "a level-triggered one, again and again", NONE
	call none
	mov esi, IOAPIC
	mov dword [rsi], 0x11 + 2 * 4
	mov dword [rsi + 0x10], 0
	mov dword [rsi], 0x10 + 2 * 4
	mov dword [rsi + 0x10], 0x8000 | COM1
	mov dx, 0x3fc
	mov al, 8
	out dx, al
	mov ebx, 3
.again:	mov edi, [serials]
	mov dx, 0x3f9
	mov al, 0
	out dx, al
	mov al, 2			; it has sent all: an interrupt
	out dx, al
	mov ecx, 100000000
.wait:	cmp [serials], edi
	jne .came
	dec ecx
	jnz .wait
	jmp broken
.came:	dec ebx
	jnz .again
	mov dx, 0x3f9
	mov al, 0
	out dx, al
	rd 0x812
	expect eax, 0
	done
	attempt "the timer's, by its deadline", NONE
	call none
	wr 0x832, 0x40000 | LOW
	rdtsc
	shl rdx, 32
	or rax, rdx
	add rax, 1000000
	mov rdx, rax
	shr rdx, 32
	mov ecx, 0x6e0
	wrmsr
	mov ecx, 2000000000
.time:	cmp dword [lows], 1
	je .up
	dec ecx
	jnz .time
	jmp broken
.up:
	done
	attempt "HLT ends by one", NONE
	call none
	cli
	rdtsc
	shl rdx, 32
	or rax, rdx
	add rax, 3000000
	mov rdx, rax
	shr rdx, 32
	mov ecx, 0x6e0
	wrmsr
	sti
	hlt
	expect dword [lows], 1
	done
	attempt "many to itself", NONE
	call none
	mov ebx, ROUNDS
.round:	self LOW
	dec ebx
	jnz .round
	expect dword [lows], ROUNDS
	done
	call outcome
	hlt
	jmp $

none:	xor eax, eax
	mov [lows], eax
	mov [highs], eax
	mov [nest], eax
	mov [within], eax
	mov [during], eax
	sti			; exceptions have cleared it
	ret

%macro enter_handler 0
	push rax
	push rcx
	push rdx
%endmacro
%macro leave_handler 0
	wr 0x80b, 0
	pop rdx
	pop rcx
	pop rax
	iretq
%endmacro

; in_handler VECTOR, COUNT: if there is a vector, it is sent to itself; how many of the other kind came meanwhile
%macro in_handler 2
	cmp dword [%1], 0
	je .end
	mov eax, [%1]
	or eax, 0x44000
	xor edx, edx
	mov ecx, 0x830
	sti
	wrmsr
	nop
	cli
	mov eax, [%2]
	mov [during], eax
%endmacro

low:	enter_handler
	inc dword [lows]
	in_handler within, highs
.end:	leave_handler
high:	enter_handler
	inc dword [highs]
	in_handler nest, lows
.end:	leave_handler
serial:	enter_handler
	mov dx, 0x3fa
	in al, dx			; why: that ends it
	inc dword [serials]
	leave_handler
	align 4
lows:	dd 0
highs:	dd 0
nest:	dd 0
within:	dd 0
during:	dd 0
serials: dd 0
end:
