; SPDX-License-Identifier: ISC
; trouble.asm: a guest that makes trouble: multiboot 1, 16 MiB. Which, the assembler is told:
;	-DLOOP	loops with interrupts off
;	-DCRASH	overwrites all of its memory, itself too
;	-DTRIPLE a triple fault at once
;	-DNOTABLES	has its page tables where no memory is, -DNOIDT its interrupts', -DNOGDT its segments', -DNOTSS its task's
;	-DNOISE	reads and writes ports, MSRs and memory beyond its own at random, with hypercalls of both makers between
;		them; the one port that it leaves out is the serial port's data, by which it says how often it has
%include "multiboot.inc"

start:	mov esp, stack
	mov esi, text
	call say
%ifdef LOOP
	cli
	jmp $
%elifdef TRIPLE
	lidt [none]
	int3
%elifdef NOTABLES
	mov eax, OUTSIDE
	mov cr3, eax
	mov eax, cr0
	bts eax, 31
	mov cr0, eax
	jmp $
%elifdef NOIDT
	lidt [outside]
	int3
	jmp $
%elifdef NOGDT
	lidt [none]
	lgdt [outside]
	push ss			; all ones: no data segment
	pop ss
	jmp $
%elifdef NOTSS
	lgdt [gdtr]
	lidt [none]
	mov eax, 24
	ltr ax
	jmp 32:0
	align 8
gdt:	dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x2000890000000067, 0x2000890010000067	; TSSs at OUTSIDE
gdtr:	dw 39
	dd gdt
%elifdef CRASH
	mov edi, end
	mov ecx, ((15 << 20) - (end - header)) / 4
	mov eax, 0xcccccccc
	rep stosd
	xor edi, edi
	mov ecx, (0x100000 + end - header) / 4
	rep stosd
	jmp $
%else
	; all exceptions lead to "next": the stack is not unwound
	mov ecx, 32
	mov edi, idt
.gate:	mov eax, next
	mov [edi], ax
	mov word [edi + 2], cs
	mov word [edi + 4], 0x8e00
	shr eax, 16
	mov [edi + 6], ax
	add edi, 8
	loop .gate
	lidt [idtr]
	rdtsc
	or eax, 1
	mov [seed], eax
next:	mov esp, stack
	inc dword [count]
	test dword [count], 0x3fff
	jnz .what
	mov esi, did
	call say
.what:	call random
	mov ebx, eax
	and ebx, 7
	jmp [acts + ebx * 4]

; edx: a port; eax: anything
port:	call random
	movzx edx, ax
	cmp edx, 0x3f8
	je port
	jmp random
port_in:
	call port
	in al, dx
	in ax, dx
	in eax, dx
	jmp next
port_out:
	call port
	out dx, al
	jmp next
port_out4:
	call port
	and edx, 0xfffc
	cmp edx, 0x3f8
	je next
	out dx, ax
	out dx, eax
	jmp next
; ecx: an MSR: one of three regions, and now and then any
msr:	call random
	mov ecx, eax
	test eax, 0x3000000
	jz .any
	and ecx, 0x1fff
	test eax, 0x1000000
	jz .any
	or ecx, 0xc0000000
	test eax, 0x4000000
	jz .any
	or ecx, 0x10000
.any:	call random
	mov edx, eax
	jmp random
msr_read:
	call msr
	rdmsr
	jmp next
msr_write:
	call msr
	cmp ecx, 0xc0000080	; without long mode it would go on elsewhere
	je next
	wrmsr
	jmp next
memory:	call random
	or eax, 0x1000000	; beyond 16 MiB
	mov edi, eax
	call random
	mov [edi], eax
	mov eax, [edi]
	mov [edi], ax
	mov [edi], al
	jmp next
hypercall:
	call random
	mov ebx, eax
	call random
	mov ecx, eax
	call random
	mov edx, eax
	call random
	mov edi, eax
	call random
	test eax, 0x10000
	jnz .intel
	and eax, 0xff
	vmmcall
	jmp next
.intel:	and eax, 0xff
	vmcall
	jmp next
again:	rdtsc			; leaves the path of the generator
	xor [seed], eax
	or dword [seed], 1
	jmp next

random:	mov eax, [seed]
	mov ebp, eax
	shl ebp, 13
	xor eax, ebp
	mov ebp, eax
	shr ebp, 17
	xor eax, ebp
	mov ebp, eax
	shl ebp, 5
	xor eax, ebp
	mov [seed], eax
	ret
	align 4
acts:	dd port_in, port_out, port_out4, msr_read, msr_write, memory, hypercall, again
seed:	dd 0
count:	dd 0
idtr:	dw 32 * 8 - 1
	dd idt
	align 8
idt:	times 32 dq 0
%endif

%include "say.inc"
text:	db "trouble begins", 10, 0
did:	db 10, "trouble goes on", 10, 0
none:	dw 0
	dd 0
OUTSIDE	equ 0x20000000
outside: dw 0xffff
	dd OUTSIDE
	times 512 db 0
stack:
end:
