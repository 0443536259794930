; SPDX-License-Identifier: ISC
; hyperv32.asm: what Windows uses of Hyper-V's interface (TLFS 6.0b; chapters in brackets) on two processors: leaves of CPUID
; (2.4), the hypercall page (3.13), processor index (7.8), the APIC's registers as MSRs and the assist page (10.2, 10.3), reference
; time by its MSR and by the TSC page (12.6, 12.7). The synthetic timers and interrupt controller are stimer.asm's.
CPUS	equ 2
%include "smp32.inc"
%include "verdict32.inc"
VEC	equ 0x50
%include "idt32.inc"
UD	equ 6
GP	equ 13
PMTMR	equ 0x608
OS_ID	equ 0x40000000
HYPERCALL equ 0x40000001
VP_INDEX equ 0x40000002
REF_TIME equ 0x40000020
TSC_PAGE equ 0x40000021
APIC_HZ	equ 0x40000023
EOI	equ 0x40000070
ICR	equ 0x40000071
TPR	equ 0x40000072
ASSIST	equ 0x40000073
%ifdef SLOW				; each MSR access may take a tenth of a millisecond
ROUNDS	equ 200
SPAN	equ 20000000			; reference time: 100 ns
NEAR_BY	equ 5000
%else
ROUNDS	equ 20000
SPAN	equ 2000000
NEAR_BY	equ 500
%endif
CODE	equ 0xa00000			; pages
ASSISTS	equ 0xa01000			; one for each processor
TIME	equ 0xa03000
LOWCODE	equ 0x60000			; where real mode comes to
LOWEND	equ 0x100			; in the page: where a call returns to that ought not to
REAL	equ 0x9000
PML4	equ 0xa04000			; and two more

%macro WRITE 2-3 0			; MSR, lower half, upper half
	mov ecx, %1
	mov eax, %2
	mov edx, %3
	wrmsr
%endmacro
%macro READ 1
	mov ecx, %1
	rdmsr
%endmacro
%macro ON_1 1				; processor 1 does it
	mov dword [job], %1
	call wait_job
%endmacro
%macro FROM 1				; EAX: the fault that has led back
	mov ebp, esp
	sub ebp, 4
	mov [back], ebp
	call %1
%endmacro
%macro FAULTS 3				; name, MSR, instruction
	mov dword [faults], 0
	mov ecx, %2
	xor eax, eax
	xor edx, edx
	%3
	mov eax, [faults]
	VERDICT %1, 1
%endmacro

main:	mov al, 0xff			; no interrupts of the PIC
	out 0x21, al
	out 0xa1, al
	HANDLER VEC, on_vec
	HANDLER GP, on_gp
	HANDLER UD, on_ud
	lgdt [modes_gdtr]
	mov eax, tss
	mov [tss_desc + 2], ax
	shr eax, 16
	mov [tss_desc + 4], al
	mov [tss_desc + 7], ah
	mov eax, 0x28
	ltr ax
	lidt [idtr]
	call leaves
	call hypercalls
	call modes
	call apic
	call clocks
	FAULTS "WRMSR of the processor's index: #GP", VP_INDEX, wrmsr
	FAULTS "WRMSR of reference time: #GP", REF_TIME, wrmsr
	FAULTS "RDMSR of EOI: #GP", EOI, rdmsr
	FAULTS "an MSR that is not offered: #GP", 0x40000010, rdmsr
	jmp summary

other:	lidt [idtr]
	sti
.wait:	pause
	mov eax, [job]
	test eax, eax
	jz .wait
	call eax
	mov dword [job], 0
	jmp .wait
wait_job: pause
	cmp dword [job], 0
	jne wait_job
	ret

on_ud:	push dword UD
	jmp land
on_gp:	cmp dword [back], 0
	je .msr
	push dword GP
	jmp land
.msr:	inc dword [faults]		; RDMSR and WRMSR have two bytes
	add dword [esp + 4], 2
	add esp, 4
	iret
on_vec:	lock inc dword [hits]
	push eax
	push ecx
	push edx
	mov eax, [LAPIC + 0x100 + (VEC / 32) * 0x10]
	shr eax, VEC % 32
	mov [in_service], eax
	WRITE EOI, 0
	mov eax, [LAPIC + 0x100 + (VEC / 32) * 0x10]
	shr eax, VEC % 32
	mov [after_eoi], eax
	pop edx
	pop ecx
	pop eax
	iret

; ---- CPUID ----
leaves:	mov eax, 1
	cpuid
	shr ecx, 31
	mov eax, ecx
	VERDICT "CPUID says that there is a hypervisor", 1
	mov eax, 0x40000000
	cpuid
	push edx
	push ecx
	push ebx
	cmp eax, 0x40000005
	setae al
	movzx eax, al
	VERDICT "leaves up to 40000005H at least", 1
	pop eax
	VERDICT "its name: Micr", "Micr"
	pop eax
	VERDICT "osof", "osof"
	pop eax
	VERDICT "t Hv", "t Hv"
	mov eax, 0x40000001
	cpuid
	VERDICT "the interface: Hv#1", "Hv#1"
	mov eax, 0x40000003
	cpuid
	and eax, 0xafe
	VERDICT "reference time, SynIC, timers, APIC, hypercall, index, reset, TSC page, frequencies", 0xafe
	READ VP_INDEX
	VERDICT "the index of processor 0", 0
	ON_1 index
	mov eax, [result]
	VERDICT "the index of processor 1", 1
	ret
index:	READ VP_INDEX
	mov [result], eax
	ret

; ---- the hypercall page ----
hypercalls:
	WRITE HYPERCALL, CODE | 1
	READ HYPERCALL
	VERDICT "no hypercall page before the guest has said what it is", CODE
	WRITE OS_ID, 0, 0x81000000
	WRITE HYPERCALL, CODE | 1
	READ HYPERCALL
	VERDICT "then there is one", CODE | 1
	mov ebp, CODE
	call hypercall
	VERDICT "a hypercall that is not known: status 2", 2
	mov eax, [result + 4]
	VERDICT "and nothing in the upper half", 0
	ON_1 hypercall_1
	mov eax, [result]
	VERDICT "the same on processor 1", 2
	WRITE OS_ID, 0
	READ HYPERCALL
	VERDICT "none any more when the guest takes back what it said", CODE
	xor ebp, ebp
	ret
hypercall_1:
	push ebp
	mov ebp, CODE
	call hypercall
	pop ebp
	ret
hypercall:				; HvCallPostMessage, say, by the page at EBP
	mov eax, 0x5c
	mov edx, -1
	xor ebx, ebx
	xor ecx, ecx
	xor edi, edi
	xor esi, esi
	call ebp
	mov [result], eax
	mov [result + 4], edx
	ret

; ---- where hypercalls may not come from ----
; Each goes there, calls the page, and is back by the first fault: EAX is its vector, 13 if the call has returned.
modes:	mov esi, real
	mov edi, REAL
	mov ecx, real_end - real
	rep movsb
	WRITE OS_ID, 0, 0x81000000
	WRITE HYPERCALL, LOWCODE | 1
	mov word [LOWCODE + LOWEND], 0x0dcd ; INT 13, in ring 3 and virtual-8086 mode #GP
	FROM ring3
	VERDICT "a hypercall from ring 3: #UD", UD
	FROM v86
	VERDICT "from virtual-8086 mode: #UD", UD
	FROM to_real
	VERDICT "from real mode: #UD", UD
	mov ebp, LOWCODE
	call hypercall
	VERDICT "and from ring 0 as before", 2
	call long_mode
	mov eax, [result]
	VERDICT "from 64-bit code: status 2", 2
	mov eax, [result + 4]
	VERDICT "in all of RAX", 0
	mov eax, [result + 8]
	and eax, [result + 12]
	VERDICT "and RDX as it was", -1
	WRITE OS_ID, 0
	xor ebp, ebp
	ret

ring3:	push dword 0x23
	push dword ring3_stack
	push dword 2
	push dword 0x1b
	push dword LOWCODE
	mov dword [ring3_stack], LOWCODE + LOWEND
	iret
v86:	mov eax, LOWCODE >> 4
	push eax			; GS FS DS ES
	push eax
	push eax
	push eax
	push eax
	push dword 0xffe		; SS:SP
	push dword 0x20002		; VM
	push eax
	push dword 0
	mov word [LOWCODE + 0xffe], LOWEND
	iret
to_real: mov word [LOWCODE + 0xffe], LOWEND
	mov dword [UD * 4], REAL + real.ud - real
	mov dword [GP * 4], REAL + real.gp - real
	lidt [real_idtr]
	jmp 0x30:REAL

land:	pop eax
	mov edx, 0x10
	mov ds, edx
	mov es, edx
	mov ss, edx
	mov esp, [back]
	mov dword [back], 0
	lidt [idtr]
	ret
	BITS 16
real:	mov ax, 0x38
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov eax, cr0
	and al, 0xfe
	mov cr0, eax
	jmp 0:REAL + .real - real
.real:	mov ax, LOWCODE >> 4
	mov ss, ax
	mov sp, 0xffe
	jmp LOWCODE >> 4:0
.ud:	mov ebx, UD
	jmp .up
.gp:	mov ebx, GP
.up:	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp dword 8:up
real_end:
	BITS 32
up:	mov edx, 0x10
	mov ds, edx
	mov ss, edx
	mov esp, [back]
	push ebx
	jmp land

; Calls the page with RAX and RDX all ones.
long_mode:
	mov edi, PML4
	xor eax, eax
	mov ecx, 0x3000 / 4
	rep stosd
	mov dword [PML4], PML4 + 0x1003
	mov dword [PML4 + 0x1000], PML4 + 0x2003
	mov eax, 0x83			; 2 MiB each
.fill:	mov [PML4 + 0x2000 + ecx * 8], eax
	add eax, 0x200000
	inc ecx
	cmp ecx, 8
	jb .fill
	mov eax, cr4
	or eax, 0x20
	mov cr4, eax
	mov eax, PML4
	mov cr3, eax
	WRITE 0xc0000080, 0x100
	mov eax, cr0
	or eax, 0x80000000
	mov cr0, eax
	call 0x40:call64
	mov eax, cr0
	and eax, ~0x80000000
	mov cr0, eax
	WRITE 0xc0000080, 0
	mov eax, cr4
	and eax, ~0x20
	mov cr4, eax
	ret
	BITS 64
call64:	mov rax, -1
	mov rdx, rax
	mov ebx, LOWCODE
	call rbx
	mov ebx, result
	mov [rbx], rax
	mov [rbx + 8], rdx
	retf
	BITS 32

; ---- the APIC ----
apic:	mov dword [ASSISTS], -1
	mov dword [ASSISTS + 0x1000], -1
	WRITE ASSIST, ASSISTS | 1
	ON_1 assist
	mov eax, [ASSISTS]
	VERDICT "assist page: an EOI is always needed", 0
	mov eax, [ASSISTS + 0x1000]
	VERDICT "assist page of processor 1", 0
	READ ASSIST
	VERDICT "each has its own", ASSISTS | 1
	WRITE TPR, 0x40
	mov eax, [LAPIC + 0x80]
	VERDICT "TPR by MSR", 0x40
	mov dword [LAPIC + 0x80], 0x20
	READ TPR
	VERDICT "TPR as the register has it", 0x20
	WRITE TPR, 0
	cli
	WRITE ICR, 0x4000 | VEC		; to itself
	READ ICR
	VERDICT "ICR as it was written", 0x4000 | VEC
	mov eax, [hits]
	VERDICT "an interrupt by ICR waits for IF", 0
	sti
	nop
	cli
	mov eax, [hits]
	VERDICT "and comes", 1
	mov eax, [in_service]
	and eax, 1
	VERDICT "is in service", 1
	mov eax, [after_eoi]
	and eax, 1
	VERDICT "until EOI by MSR", 0
	WRITE ICR, 0x4000 | VEC, 1 << 24
	mov ecx, 100000000
.wait:	pause
	cmp dword [hits], 2
	loopne .wait
	mov eax, [hits]
	VERDICT "an interrupt by ICR to processor 1", 2
	READ APIC_HZ
	VERDICT "the APIC's frequency: 1 GHz", 1000000000
	ret
assist:	WRITE ASSIST, (ASSISTS + 0x1000) | 1
	ret

; ---- time ----
clocks:	WRITE TSC_PAGE, TIME | 1
	mov eax, [TIME]
	test eax, eax
	setnz al
	movzx eax, al
	VERDICT "TSC page: its sequence number says that it is valid", 1
	call between
	VERDICT "reference time by the page is between two by the MSR", 0
	ON_1 between
	mov eax, [result]
	VERDICT "on processor 1, too", 0
	call rate
	VERDICT "it goes as the PM timer does, within 1000 ppm", 1
	ret

; EAX, [result]: how often it was not, of ROUNDS
between: push ebp
	sub esp, 16
	mov ebp, ROUNDS
	mov dword [result], 0
.loop:	READ REF_TIME
	mov [esp], eax
	mov [esp + 4], edx
	call page_time
	mov [esp + 8], eax
	mov [esp + 12], edx
	sub eax, [esp]
	sbb edx, [esp + 4]
	jc .wrong
	READ REF_TIME
	sub eax, [esp + 8]
	sbb edx, [esp + 12]
	jnc .good
.wrong:	inc dword [result]
.good:	dec ebp
	jnz .loop
	add esp, 16
	pop ebp
	mov eax, [result]
	ret

; EDX:EAX = (TSC * scale >> 64) + offset
page_time:
	rdtsc
	mov ebx, eax			; lower halves: only what they carry
	mov edi, edx
	mul dword [TIME + 8]
	mov ecx, edx
	mov eax, edi
	mul dword [TIME + 8]
	add ecx, eax
	adc edx, 0
	mov esi, edx			; ESI:ECX, at bit 32
	mov eax, ebx
	mul dword [TIME + 12]
	add ecx, eax
	adc esi, edx
	mov eax, edi
	mov edi, 0
	adc edi, 0
	mul dword [TIME + 12]
	add eax, esi
	adc edx, edi
	add eax, [TIME + 16]
	adc edx, [TIME + 20]
	ret

; EAX = 1, if PM timer and reference time agree
rate:	call both
	mov [result], eax
	mov [result + 4], edx
.wait:	call both
	sub eax, [result]
	sub edx, [result + 4]
	and edx, 0xffffff
	cmp eax, SPAN
	jb .wait
	mov ebx, eax
	mov eax, edx			; as reference time: ticks * 10^7 / 3579545
	mov ecx, 10000000
	mul ecx
	mov ecx, 3579545
	div ecx
	sub eax, ebx
	jns .plus
	neg eax
.plus:	mov ecx, 1000
	mul ecx
	cmp eax, ebx
	setb al
	movzx eax, al
	ret
; EAX: reference time, EDX: PM timer, within NEAR_BY
both:	READ REF_TIME
	mov esi, eax
	mov edx, PMTMR
	in eax, dx
	mov edi, eax
	READ REF_TIME
	sub eax, esi
	cmp eax, NEAR_BY
	ja both
	mov eax, esi
	mov edx, edi
	ret

section .data
	align 4
job:	dd 0
result:	dd 0, 0, 0, 0
back:	dd 0				; ESP of who waits to be back, or 0
	times 4 dd 0
ring3_stack: dd 0
real_idtr: dw 0x3ff
	dd 0
	align 8
modes_gdt: dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff	; as smp32.inc's
	dq 0x00cffb000000ffff, 0x00cff3000000ffff	; ring 3
tss_desc: dq 0x0000890000000067
	dq 0x00009b000000ffff, 0x000093000000ffff	; 16 bits
	dq 0x00af9b000000ffff		; 64 bits; the limit is for QEMU, which looks at it
	dw 0
modes_gdtr: dw 0x47
	dd modes_gdt
	align 8
tss:	dd 0, STACKS + 0x800, 0x10	; ESP0 below what processor 0 is at
	times 0x68 - 12 db 0
faults:	dd 0
hits:	dd 0
in_service: dd 0
after_eoi: dd 0
