; SPDX-License-Identifier: ISC
; smp64.asm: four processors in long mode: INIT and SIPI, interrupts between them in every delivery
; mode, priorities, the timer of the local APIC, interrupt shadows, memory that they share and the
; order in which they see it (SDM vol. 3, chapters 9 and 11), and clocks that agree.
;
; A row is a routine of processor 0 that leaves in RAX what it has found; the table says what it must
; be. The other processors wait with interrupts on for work: a routine's address in their `job`.
; Each handler counts in its processor's `hits`, by vector. -DTRACE says number and name of each row before it runs.
%include "elf.inc"
CPUS	equ 4
%ifndef SLOW				; the TSC of a machine that is slower by this power of two than most
%define SLOW 0
%endif
%ifndef FENCED				; in how many rounds two processors wait for each other, with fences and without: fewer
%define FENCED 3000			; where they share one of the host's that lets each run for milliseconds
%endif
%ifndef UNFENCED
%define UNFENCED 20000
%endif
PML4	equ 0x800000
PDPT	equ 0x801000
PD	equ 0x802000			; four of them: 4 GiB, each at its own address
TRAMP	equ 0x8000			; SIPI vector 08H
STACKS	equ 0x900000			; 64 KiB each, upwards
APIC	equ 0x70000000			; where they are mapped: below 2 GiB, for short addresses
HPET	equ 0x70300000
TURNS	equ 0x60000000			; a page that leads here and there
TURNS_PDE equ PD + 0x1000 + 0x100 * 8
PMTMR	equ 0x608
NMIV	equ 2
SPUR	equ 0xff
LOG0	equ 0xb00000			; what two readers have seen
LOG3	equ 0xc00000
PAGE_END equ 0xd00ffc
FRESH	equ 0xe00000			; pages of code that changes
BP_GATE	equ idt + 3 * 16
CODE64	equ 0x08
DATAS	equ 0x10

%assign rn 0
%macro ROW 2				; name, what RAX must be
	%assign rn rn + 1
	section .rows
	dq name_%[rn], code_%[rn], %2
	section .names
	name_%[rn]: db %1, 0
	section .text
	code_%[rn]:
%endmacro
%macro CPU 1				; this processor's number
	mov %1, [gs:0]
%endmacro
%macro HITS 3				; register, processor, vector
	mov %1, [hits + (%2 * 256 + %3) * 4]
%endmacro
%macro SETICR 2				; destination field, lower half
	mov edi, %1
	mov esi, %2
	call ipi
%endmacro
%macro AWAIT 3				; processor, vector, count: up to a second
	mov edi, (%1 * 256 + %2) * 4
	mov esi, %3
	call await
%endmacro

section .rows
table:
section .text
; ---- start ----
	BITS 32
start:	cld
	mov esp, STACKS + 0x10000
	mov edi, PML4
	mov ecx, 0x6000 / 4
	xor eax, eax
	rep stosd
	mov dword [PML4], PDPT + 3
	mov eax, PD + 3
	mov edi, PDPT
.dirs:	mov [edi], eax
	add edi, 8
	add eax, 0x1000
	cmp eax, PD + 0x4003
	jb .dirs
	xor ecx, ecx
	mov eax, 0x83
.map:	mov [PD + ecx * 8], eax
	add eax, 0x200000
	inc ecx
	cmp ecx, 2048
	jb .map
	mov dword [PD + 0x1000 + 0x180 * 8], 0xfee00093
	mov dword [PD + 0x1000 + 0x181 * 8], 0xfec00093
	mov esi, tramp			; where a SIPI starts them
	mov edi, TRAMP
	mov ecx, tramp_end - tramp
	rep movsb
	xor ebp, ebp
	jmp to_long

	BITS 16
tramp:	cli
	xor ax, ax
	mov ds, ax
	o32 lgdt [TRAMP + (.gdtr - tramp)]
	mov eax, 0x11
	mov cr0, eax
	jmp dword 0x18:ap32
.gdtr:	dw gdt_end - gdt - 1
	dd gdt
nmi16:	inc byte [cs:nmi16_count - tramp]
	iret
nmi16_count: db 0
tramp_end:
	BITS 32
ap32:	mov eax, DATAS
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov ebp, [0xfee00020]		; its number is its id
	shr ebp, 24
	mov esp, ebp
	shl esp, 16
	add esp, STACKS + 0x10000
to_long: mov eax, PML4
	mov cr3, eax
	mov eax, 0x620
	mov cr4, eax
	mov ecx, 0xc0000080
	mov eax, 0x900
	xor edx, edx
	wrmsr
	mov eax, 0x80010033
	mov cr0, eax
	lgdt [gdtr]
	jmp CODE64:.long
	BITS 64
.long:	mov eax, DATAS
	mov ds, eax
	mov es, eax
	mov ss, eax
	lidt [idtr]
	mov ecx, 0xc0000101		; GS: what is this processor's
	mov eax, ebp
	shl eax, 6
	add eax, percpu
	xor edx, edx
	wrmsr
	mov [gs:0], ebp
	mov dword [APIC + 0xf0], 0x100 | SPUR
	mov dword [APIC + 0xe0], 0xffffffff
	mov eax, [APIC + 0x20]
	mov [gs:8], eax			; its id, in its place
	mov ecx, ebp
	mov eax, 0x1000000		; logical id: a bit each
	shl eax, cl
	mov [APIC + 0xd0], eax
	test ebp, ebp
	jz boot
	lock inc dword [alive]
	sti
; others: jobs
work:	pause
	mov rax, [gs:16]
	test rax, rax
	jz work
	call rax
	mov qword [gs:16], 0
	jmp work

boot:	xor ecx, ecx			; gates
	mov rdi, idt
.gate:	lea rax, [rcx + rcx * 2]
	lea rax, [rax * 4 + stubs]
	mov [rdi], ax
	mov word [rdi + 2], CODE64
	mov word [rdi + 4], 0x8e00
	shr rax, 16
	mov [rdi + 6], ax
	mov qword [rdi + 8], 0
	add rdi, 16
	inc ecx
	cmp ecx, 256
	jb .gate
	mov eax, special_nmi
	mov [idt + NMIV * 16], ax
	shr eax, 16
	mov [idt + NMIV * 16 + 6], ax
	sti
	mov rbx, table
rows:	cmp rbx, table_end
	jae done
	mov dword [APIC + 0x80], 0
	push rbx
%ifdef TRACE
	mov eax, [ran]
	call number
	mov rsi, s_space
	call print
	mov rsi, [rbx]
	call print
	mov rsi, s_nl
	call print
%endif
	mov rdi, hits
	mov ecx, CPUS * 256
	xor eax, eax
	rep stosd
	mov rdi, shared
	mov ecx, (shared_end - shared) / 4
	rep stosd
	call [rbx + 8]
	pop rbx
	sti
	inc dword [ran]
	cmp rax, [rbx + 16]
	je .next
	inc dword [failed]
	push rax
	mov rsi, s_fail
	call print
	mov rsi, [rbx]
	call print
	mov rsi, s_want
	call print
	mov rax, [rbx + 16]
	call hex
	mov rsi, s_got
	call print
	pop rax
	call hex
	mov rsi, s_nl
	call print
.next:	add rbx, 24
	jmp rows
done:	mov eax, [ran]
	call number
	mov rsi, s_rows
	call print
	mov eax, [failed]
	call number
	mov rsi, s_failed
	call print
	mov eax, [failed]
	test eax, eax
	setnz al
	out 0xf4, al
.stop:	hlt
	jmp .stop

; ---- helpers ----
ipi:	; EDI: destination (the id, in xAPIC's 8 bits), ESI: lower half
	shl edi, 24
	mov [APIC + 0x310], edi
	mov [APIC + 0x300], esi
	ret

; RAX = hits at byte EDI when they have reached ESI, or after a second
await:	rdtsc
	shl rdx, 32
	or rax, rdx
	mov r8, rax
.again:	pause
	mov eax, [hits + rdi]
	cmp eax, esi
	jae .ret
	rdtsc
	shl rdx, 32
	or rax, rdx
	sub rax, r8
	shr rax, 32 - SLOW		; 2^32 cycles
	jz .again
	mov eax, [hits + rdi]
.ret:	ret

; Long enough for anything that could still come.
settle:	mov ecx, 20000
.loop:	pause
	dec ecx
	jnz .loop
	ret

; Processor EDI begins job RSI.
begin:	shl edi, 6
	mov [percpu + rdi + 16], rsi
	ret
; Waits for all.
join:	xor ecx, ecx
.cpu:	mov edx, ecx
	shl edx, 6
.wait:	pause
	cmp qword [percpu + rdx + 16], 0
	jne .wait
	inc ecx
	cmp ecx, CPUS
	jb .cpu
	ret
; All others begin job RSI.
begin_all:
	mov ecx, 1
.cpu:	mov edi, ecx
	call begin
	inc ecx
	cmp ecx, CPUS
	jb .cpu
	ret

; All processors have done something since, several times: what was sent has arrived.
rounds:	push rsi
	mov r8d, 4
.round:	mov rsi, nothing
	call begin_all
	call settle
	call join
	dec r8d
	jnz .round
	pop rsi
	ret
nothing: ret

; A mask of the processors that vector ESI has hit exactly once; bits 8 on: hit more often
who:	call rounds
	xor eax, eax
	xor ecx, ecx
.cpu:	mov edx, ecx
	shl edx, 8
	add edx, esi
	mov edx, [hits + rdx * 4]
	cmp edx, 1
	jb .next
	je .once
	bts eax, 8
.once:	bts eax, ecx
.next:	inc ecx
	cmp ecx, CPUS
	jb .cpu
	ret

; Handlers: count, EOI for those of the local APIC.
%macro STUB 1
%%at:	push %1
	jmp near handler
	times 12 - ($ - %%at) nop
%endmacro
stubs:
%assign v 0
%rep 256
	STUB v
	%assign v v + 1
%endrep
handler: push rax
	push rcx
	push rdx
	mov eax, [rsp + 24]
	and eax, 0xff
	cmp eax, 32
	jb fault
	CPU ecx
	shl ecx, 8
	add ecx, eax
	lock inc dword [hits + rcx * 4]
	mov edx, 1			; the order of arrival
	lock xadd [order_n], edx
	and edx, 15
	mov [order + rdx], al
	cmp eax, SPUR
	je .out
	cmp byte [no_eoi], al
	je .out
	cmp eax, 0x50			; TLB shoot-down
	jne .eoi
	invlpg [TURNS]
.eoi:	mov dword [APIC + 0xb0], 0	; goes nowhere in x2APIC mode
	cmp byte [gs:24], 0
	je .out
	mov ecx, 0x80b
	xor eax, eax
	xor edx, edx
	wrmsr
.out:	pop rdx
	pop rcx
	pop rax
	add rsp, 8
	iretq
fault:	mov rsi, s_fault
	push rax
	call print
	pop rax
	call hex
	mov rax, [rsp + 32]
	call hex
	mov al, 3
	out 0xf4, al
	hlt

; NMI: asks for one more while it is blocked, notes how deep it is.
special_nmi:
	push rax
	push rcx
	CPU ecx
	shl ecx, 8
	lock inc dword [hits + rcx * 4 + NMIV * 4]
	inc dword [nmi_depth]
	mov eax, [nmi_depth]
	cmp eax, [nmi_deepest]
	jbe .not
	mov [nmi_deepest], eax
.not:	cmp dword [nmi_again], 0
	je .out
	dec dword [nmi_again]
	mov eax, [gs:8]
	mov [APIC + 0x310], eax
	mov dword [APIC + 0x300], 0x4400
	mov ecx, 1000
.spin:	pause
	dec ecx
	jnz .spin
.out:	dec dword [nmi_depth]
	pop rcx
	pop rax
	iretq

; ---- INIT and SIPI ----
ROW "INIT, SIPI to all but the sender: all start", CPUS - 1
	SETICR 0, 0xc4500
	call settle
	SETICR 0, 0xc4608
	mov r9d, 4000000
.wait:	pause
	mov eax, [alive]
	cmp eax, CPUS - 1
	je .up
	dec r9d
	jnz .wait
.up:	ret
ROW "a second SIPI is ignored", CPUS - 1
	SETICR 0, 0xc4608
	call settle
	call settle
	mov eax, [alive]
	ret

; Processor 3 starts again. What comes of it: NMIs taken and starts before the last SIPI, NMIs and starts
; after it, a byte each. In the trampoline an NMI goes by the vector table.
%macro AGAIN 2-*			; name, what it must be, what is sent at once
ROW {%1}, %2
	call again_begin
	%rotate 2
	%rep %0 - 2
	SETICR 3, %1
	%rotate 1
	%endrep
	jmp again_end
%endmacro
AGAIN "INIT, SIPI", 0x0001, 0x4500
AGAIN "NMI while it waits for SIPI: held until after that", 0x0101, 0x4500, 0x4400
AGAIN "two of them: one is kept", 0x0101, 0x4500, 0x4400, 0x4400
AGAIN "NMI, INIT: none after the SIPI", 0x0001, 0x4400, 0x4500
AGAIN "SIPI, INIT: it waits for another", 0x0001, 0x4608, 0x4500
again_begin:
	mov dword [NMIV * 4], (TRAMP >> 4 << 16) + nmi16 - tramp
	mov byte [TRAMP + nmi16_count - tramp], 0
	mov dword [alive], 0
	ret
again_end:
	call settle
	movzx r9d, byte [TRAMP + nmi16_count - tramp]
	shl r9d, 8
	or r9d, [alive]
	SETICR 3, 0x4608
	mov ecx, 4000000
.wait:	pause
	cmp dword [alive], 1
	jae .up
	dec ecx
	jnz .wait
.up:	movzx eax, byte [TRAMP + nmi16_count - tramp]
	shl eax, 8
	or eax, [alive]
	shl r9d, 16
	or eax, r9d
	ret

; ---- delivery modes ----
%macro FROM 4				; name, destination, lower half, who
ROW {%1}, %4
	SETICR %2, %3
	mov esi, (%3) & 0xff
	jmp who
%endmacro
FROM "fixed, physical", 2, 0x4040, 4
FROM "fixed, physical, to itself", 0, 0x4041, 1
FROM "fixed, physical, to nobody", 0x20, 0x4042, 0
FROM "fixed, physical, broadcast", 0xff, 0x4043, 0xf
FROM "shorthand: self", 0, 0x44044, 1
FROM "shorthand: all", 0, 0x84045, 0xf
FROM "shorthand: all but self", 0, 0xc4046, 0xe
FROM "logical, flat: one", 2, 0x4847, 2
FROM "logical, flat: three", 0xb, 0x4848, 0xb
FROM "logical, flat: all", 0xff, 0x4849, 0xf
FROM "logical, flat: none", 0xf0, 0x484a, 0
FROM "NMI to one", 3, 0x4400 | NMIV, 8
FROM "NMI to all but self", 0, 0xc4400 | NMIV, 0xe
ROW "NMI ignores its vector", 1
	SETICR 1, 0x4477
	AWAIT 1, NMIV, 1
	ret
ROW "lowest priority: the one with the least TPR", 8
	mov rsi, tpr_high
	mov edi, 1
	call begin
	mov rsi, tpr_high
	mov edi, 2
	call begin
	call join
	mov dword [APIC + 0x80], 0x60
	SETICR 0xf, 0x494b
	mov esi, 0x4b
	call who
	push rax
	mov dword [APIC + 0x80], 0
	mov rsi, tpr_low
	call begin_all
	call join
	pop rax
	ret
tpr_high:
	mov dword [APIC + 0x80], 0x70
	ret
tpr_low:
	mov dword [APIC + 0x80], 0
	ret
ROW "lowest priority: exactly one of four", 1
	SETICR 0xf, 0x494c
	mov esi, 0x4c
	call who
	popcnt eax, eax
	ret
ROW "logical, cluster: a member, a cluster, all clusters", 0x0f0302
	mov rsi, to_cluster		; members 1 and 2 of clusters 0 (0, 1) and 1 (2, 3)
	call begin_all
	call to_cluster
	call join
	SETICR 0x02, 0x484d
	mov esi, 0x4d
	call who
	mov r9d, eax
	SETICR 0x03, 0x484e
	mov esi, 0x4e
	call who
	shl eax, 8
	or r9d, eax
	SETICR 0xff, 0x484f
	mov esi, 0x4f
	call who
	shl eax, 16
	or r9d, eax
	push r9
	mov rsi, to_flat
	call begin_all
	call to_flat
	call join
	pop rax
	ret
to_cluster:
	mov dword [APIC + 0xe0], 0x0fffffff
	CPU ecx
	mov eax, ecx
	and ecx, 1
	mov edx, 1
	shl edx, cl
	shr eax, 1
	shl eax, 4
	or eax, edx
	shl eax, 24
	mov [APIC + 0xd0], eax
	ret
to_flat:
	mov dword [APIC + 0xe0], 0xffffffff
	CPU ecx
	mov eax, 0x1000000
	shl eax, cl
	mov [APIC + 0xd0], eax
	ret
ROW "fixed with vector below 16: error, nothing sent", 0x20
	mov dword [APIC + 0x280], 0
	SETICR 0, 0x4400f		; vector 0FH to itself
	mov dword [APIC + 0x280], 0
	mov eax, [APIC + 0x280]
	ret

; ---- priorities ----
ROW "TPR holds an interrupt of its class, lets the next pass", 0x010001
	mov dword [APIC + 0x80], 0x4f
	SETICR 0, 0x4404f
	SETICR 0, 0x44051
	call settle
	HITS r9d, 0, 0x4f		; 0
	HITS eax, 0, 0x51		; 1
	shl r9d, 8
	or r9d, eax
	mov dword [APIC + 0x80], 0
	AWAIT 0, 0x4f, 1
	shl eax, 16
	or eax, r9d
	ret
ROW "CR8 is TPR", 0x50
	mov eax, 5
	mov cr8, rax
	mov eax, [APIC + 0x80]
	ret
ROW "TPR is CR8", 0xa
	mov dword [APIC + 0x80], 0xa7
	mov rax, cr8
	ret
ROW "higher vectors first", 0x51617181
	mov qword [order], 0
	cli
	SETICR 0, 0x44061
	SETICR 0, 0x44081
	SETICR 0, 0x44051
	SETICR 0, 0x44071
	mov dword [order_n], 0
	sti
	call settle
	mov eax, [order]
	ret
ROW "what is in service holds its class; PPR says so", 0x70007001
	mov byte [no_eoi], 0x72
	SETICR 0, 0x44072
	AWAIT 0, 0x72, 1
	mov r9d, [APIC + 0xa0]
	shl r9d, 24
	SETICR 0, 0x4407f
	call settle
	HITS eax, 0, 0x7f		; 0
	shl eax, 16
	or r9d, eax
	mov eax, [APIC + 0xa0]
	shl eax, 8
	or r9d, eax
	mov byte [no_eoi], 0
	mov dword [APIC + 0xb0], 0
	AWAIT 0, 0x7f, 1
	or eax, r9d
	ret
ROW "IRR holds one of a vector", 1
	cli
	SETICR 0, 0x44073
	SETICR 0, 0x44073
	SETICR 0, 0x44073
	sti
	call settle
	HITS eax, 0, 0x73
	ret

; ---- interrupt shadows, NMI ----
ROW "STI: the next instruction is executed before a pending interrupt", 0x0101
	cli
	SETICR 0, 0x44074
	call settle
	sti
	mov eax, [hits + 0x74 * 4]	; 0
	HITS ecx, 0, 0x74		; 1
	shl ecx, 8
	lea eax, [rax + rcx + 1]
	ret
ROW "STI, CLI: nothing is let in", 0
	cli
	SETICR 0, 0x44074
	call settle
	sti
	cli
	HITS eax, 0, 0x74
	sti
	ret
ROW "POPF: a pending interrupt comes at once", 1
	cli
	SETICR 0, 0x44074
	call settle
	pushfq
	or dword [rsp], 0x200
	popfq
	HITS eax, 0, 0x74
	ret
ROW "STI, HLT: woken by what was pending", 1
	cli
	SETICR 0, 0x44075
	sti
	hlt
	HITS eax, 0, 0x75
	ret
ROW "NMI is blocked until IRET, one is kept", 0x0201
	mov dword [nmi_deepest], 0
	mov dword [nmi_again], 1
	SETICR 0, 0x4400
	AWAIT 0, NMIV, 2
	call settle
	HITS eax, 0, NMIV
	shl eax, 8
	or eax, [nmi_deepest]
	ret
ROW "NMI comes in with IF clear", 1
	cli
	SETICR 0, 0x4400
	AWAIT 0, NMIV, 1
	ret
ROW "HLT with IF clear: woken by NMI", 1
	cli
	mov rsi, nmi_later
	mov edi, 1
	call begin
	hlt
	mov dword [shared], 1
	xor eax, eax
	cmp dword [hits + NMIV * 4], 0
	setne al
	sti
	push rax
	call join
	pop rax
	ret
nmi_later:				; again and again: one may come before HLT
	call settle
	mov dword [APIC + 0x310], 0
	mov dword [APIC + 0x300], 0x4400
	cmp dword [shared], 0
	je nmi_later
	ret

; ---- timer ----
ROW "timer, one-shot: once", 0x0001
	mov dword [APIC + 0x3e0], 0xb
	mov dword [APIC + 0x320], 0x90
	mov dword [APIC + 0x380], 100000
	AWAIT 0, 0x90, 1
	call settle
	mov eax, [APIC + 0x390]
	shl eax, 8
	HITS ecx, 0, 0x90
	or eax, ecx
	ret
ROW "timer, periodic: five times", 1
	mov dword [APIC + 0x320], 0x20091
	mov dword [APIC + 0x380], 500000
	AWAIT 0, 0x91, 5
	mov dword [APIC + 0x380], 0
	cmp eax, 5
	setae al
	movzx eax, al
	ret
ROW "timer stopped: no more of it", 0
	mov dword [APIC + 0x320], 0x20092
	mov dword [APIC + 0x380], 500000
	AWAIT 0, 0x92, 1
	mov dword [APIC + 0x380], 0
	HITS r9d, 0, 0x92
	mov ecx, 100
.more:	push rcx
	call settle
	pop rcx
	dec ecx
	jnz .more
	HITS eax, 0, 0x92
	sub eax, r9d
	cmp eax, 1			; one may have been on its way
	ja .ret
	xor eax, eax
.ret:	ret
ROW "timer, masked: counts, no interrupt", 0
	mov dword [APIC + 0x320], 0x10093
	mov dword [APIC + 0x380], 1000
	call settle
	mov eax, [APIC + 0x390]
	HITS ecx, 0, 0x93
	or eax, ecx
	ret
ROW "timer, TSC deadline: not before", 0x0101
	mov dword [APIC + 0x320], 0x40094
	mfence
	rdtsc
	shl rdx, 32
	or rax, rdx
	add rax, 3000000
	mov r10, rax
	mov rdx, rax
	shr rdx, 32
	mov ecx, 0x6e0
	wrmsr
	AWAIT 0, 0x94, 1
	mov r9d, eax
	rdtsc
	shl rdx, 32
	or rax, rdx
	cmp rax, r10
	setae al
	movzx eax, al
	shl eax, 8
	or eax, r9d
	mov dword [APIC + 0x320], 0x10094
	ret
ROW "the MSR is 0 when the deadline is over", 0
	mov dword [APIC + 0x320], 0x40095
	mov ecx, 0x6e0
	mov eax, 1
	xor edx, edx
	wrmsr
	AWAIT 0, 0x95, 1
	mov ecx, 0x6e0
	rdmsr
	mov dword [APIC + 0x320], 0x10094
	ret

; ---- memory that is shared ----
ROW "LOCK INC by four: none is lost", 80000
	mov rsi, count_lock
	call begin_all
	call count_lock
	call join
	mov eax, [shared]
	ret
count_lock:
	mov ecx, 20000
.loop:	lock inc dword [shared]
	dec ecx
	jnz .loop
	ret
ROW "LOCK ADD across a cache line", 40000
	mov rsi, count_split
	call begin_all
	call count_split
	call join
	mov rax, [shared + 60]
	ret
count_split:
	mov ecx, 10000
.loop:	lock inc qword [shared + 60]
	dec ecx
	jnz .loop
	ret
ROW "LOCK ADD across a page, carries included", 0x100000000 + 40000
	mov dword [PAGE_END], 0xffffffff
	mov dword [PAGE_END + 4], 0
	inc qword [PAGE_END]
	mov rsi, count_page
	call begin_all
	call count_page
	call join
	mov rax, [PAGE_END]
	ret
count_page:
	mov ecx, 10000
.loop:	lock add qword [PAGE_END], 1
	dec ecx
	jnz .loop
	ret
; Three add to the lower half, for 2^30 cycles, while the fourth increments the upper one without LOCK: it
; alone writes there, but for the same value again by those who add.
%macro PLAIN 2				; name, where
ROW {%1}, 0
	mov edi, %2
	jmp plain_half
%endmacro
PLAIN "LOCK ADD across a cache line, plain increments of one half", shared + 60
PLAIN "LOCK ADD across a page, plain increments of one half", PAGE_END
plain_half:
	mov qword [rdi], 0
	mov [shared + 256], rdi
	push rdi
	mov rsi, add_low
	call begin_all
	pop rdi
	xor esi, esi
	rdtsc
	shl rdx, 32
	or rax, rdx
	lea r8, [rax + (0x40000000 >> SLOW)]
.loop:	mov ecx, 1000
.some:	inc dword [rdi + 4]
	dec ecx
	jnz .some
	add esi, 1000
	rdtsc
	shl rdx, 32
	or rax, rdx
	cmp rax, r8
	jb .loop
	mov dword [shared + 320], 1
	call join
	mov rdi, [shared + 256]
	mov eax, [rdi]			; must be what they say that they added
	sub eax, [shared + 384]
	mov ecx, [rdi + 4]
	sub ecx, esi
	shl rcx, 32
	or rax, rcx
	ret
add_low:
	mov rdi, [shared + 256]
	xor ecx, ecx
.loop:	lock add qword [rdi], 1
	inc ecx
	cmp dword [shared + 320], 0
	je .loop
	lock add [shared + 384], ecx
	ret
; Processor 1 clears A and D of a mapping and changes a bit of it that is left to programs, by LOCK, while three store there
; after INVLPG, so that their walks set A and D: its bit must never go back, and A and D must come again.
ROW "A and D are set by walks without a change by LOCK being lost", 0x100
	mov qword [TURNS_PDE], 0x400083
	mov rsi, marks_pages
	call begin_all
	call marks_pages
	call join
	mov qword [TURNS_PDE], 0x60000083
	invlpg [TURNS]
	mov eax, [shared]
	cmp dword [shared + 64], 0	; how often they had come
	je .ret
	bts eax, 8
.ret:	ret
marks_pages:
	CPU ecx
	cmp ecx, 1
	je .clear
.mark:	invlpg [TURNS]
	mov [TURNS + 0x100000 + rcx * 4], ecx
	cmp dword [shared + 128], 0
	je .mark
	ret
.clear:	xor ecx, ecx			; bit 9 as it must be
	rdtsc
	shl rdx, 32
	or rax, rdx
	mov r8, rax
.loop:	mov eax, [TURNS_PDE]
	mov esi, eax
	and esi, 0x200
	cmp esi, ecx
	je .kept
	inc dword [shared]
	mov ecx, esi
.kept:	and eax, 0x60
	cmp eax, 0x60
	jne .not
	inc dword [shared + 64]
.not:	lock and dword [TURNS_PDE], ~0x60
	lock xor dword [TURNS_PDE], 0x200
	xor ecx, 0x200
	rdtsc
	shl rdx, 32
	or rax, rdx
	sub rax, r8
	shr rax, 31 - SLOW		; 2^31 cycles
	jz .loop
	mov dword [shared + 128], 1
	ret

ROW "CMPXCHG16B by four", 20000
	mov rsi, count_16
	call begin_all
	call count_16
	call join
	mov rax, [shared]
	cmp rax, [shared + 8]
	je .ret
	mov eax, -1
.ret:	ret
count_16:
	push rbx
	mov esi, 5000
.loop:	mov rax, [shared]
	mov rdx, [shared + 8]
.again:	lea rbx, [rax + 1]
	lea rcx, [rdx + 1]
	lock cmpxchg16b [shared]
	jnz .again
	dec esi
	jnz .loop
	pop rbx
	ret
ROW "XCHG as a lock, plain increments under it", 40000
	mov rsi, count_xchg
	call begin_all
	call count_xchg
	call join
	mov eax, [shared + 64]
	ret
count_xchg:
	mov ecx, 10000
.loop:	mov eax, 1
.spin:	xchg eax, [shared]
	test eax, eax
	jz .got
	pause
	jmp .spin
.got:	inc dword [shared + 64]
	mov dword [shared], 0
	dec ecx
	jnz .loop
	ret
ROW "message passing: never data from before the flag", 0
	mov rsi, mp_writer
	mov edi, 1
	call begin
	xor eax, eax			; out of order
	mov ecx, 300000
.loop:	mov edx, [shared + 128]		; flag, then data
	mov esi, [shared]
	cmp esi, edx
	jae .good
	inc eax
.good:	dec ecx
	jnz .loop
	mov dword [shared + 192], 1
	push rax
	call join
	pop rax
	ret
mp_writer:
	xor ecx, ecx
.loop:	inc ecx
	mov [shared], ecx		; data, then flag
	mov [shared + 128], ecx
	cmp dword [shared + 192], 0
	je .loop
	ret
ROW "independent writes: two readers agree on their order", 0
	mov edi, 1
	mov rsi, iriw_x
	call begin
	mov edi, 2
	mov rsi, iriw_y
	call begin
	mov edi, 3
	mov rsi, iriw_reader		; reads Y, X
	call begin
	mov ecx, 50000			; reads X, Y
	mov rdi, LOG0
.loop:	mov eax, [shared]
	mov edx, [shared + 64]
	mov [rdi], eax
	mov [rdi + 4], edx
	add rdi, 8
	dec ecx
	jnz .loop
	mov dword [shared + 192], 1
	call join
	; Forbidden: here X = a, then Y = b; there Y = b' > b, then X = a' < a. Both logs only grow:
	; for each pair here find the first there with Y > b.
	xor eax, eax
	mov rsi, LOG0
	mov rdi, LOG3
	mov ecx, 50000
.pair:	mov r8d, [rsi]			; a
	mov r9d, [rsi + 4]		; b
.find:	cmp rdi, LOG3 + 50000 * 8
	jae .end
	cmp [rdi + 4], r9d
	ja .there
	add rdi, 8
	jmp .find
.there:	cmp [rdi], r8d
	jae .good
	inc eax
.good:	add rsi, 8
	dec ecx
	jnz .pair
.end:	ret
iriw_x:	inc dword [shared]
	cmp dword [shared + 192], 0
	je iriw_x
	ret
iriw_y:	inc dword [shared + 64]
	cmp dword [shared + 192], 0
	je iriw_y
	ret
iriw_reader:
	mov ecx, 50000
	mov rdi, LOG3
.loop:	mov edx, [shared + 64]
	mov eax, [shared]
	mov [rdi], eax
	mov [rdi + 4], edx
	add rdi, 8
	dec ecx
	jnz .loop
	ret
ROW "store buffering with MFENCE: never both old", 0
	xor r9d, r9d
	mov edi, 1
	mov rsi, sb_other
	call begin
	mov ecx, 1
.loop:	mov [shared], ecx
	mfence
	mov eax, [shared + 64]
	mov [shared + 128], eax		; what was seen of the other
	mov [shared + 256], ecx		; ready
.wait:	pause
	cmp [shared + 320], ecx
	jne .wait
	cmp eax, ecx			; I have not seen it
	jae .fine
	cmp [shared + 192], ecx		; nor has it seen me
	jae .fine
	inc r9d
.fine:	mov [shared + 384], ecx		; judged
	inc ecx
	cmp ecx, FENCED
	jbe .loop
	push r9
	call join
	pop rax
	ret
sb_other:
	mov ecx, 1
.loop:	mov [shared + 64], ecx
	mfence
	mov eax, [shared]
	mov [shared + 192], eax
	mov [shared + 320], ecx
.wait:	pause
	cmp [shared + 384], ecx
	jne .wait
	inc ecx
	cmp ecx, FENCED
	jbe .loop
	ret
; Without a fence both may be old; but each sees its own store at once, and the other's as it was or is.
ROW "store buffering without a fence: own stores at once, none out of thin air", 0
	mov edi, 1
	mov rsi, sb_plain_other
	call begin
	mov ecx, 1
.loop:	mov [shared], ecx
	mov edx, [shared]
	mov eax, [shared + 64]
	call sb_judge
	mov [shared + 256], ecx		; done
.wait:	pause
	cmp [shared + 320], ecx
	jne .wait
	mov [shared + 384], ecx		; the next
	inc ecx
	cmp ecx, UNFENCED
	jbe .loop
	call join
	mov eax, [shared + 448]
	ret
sb_plain_other:
	mov ecx, 1
.loop:	mov [shared + 64], ecx
	mov edx, [shared + 64]
	mov eax, [shared]
	call sb_judge
.done:	pause
	cmp [shared + 256], ecx
	jne .done
	mov [shared + 320], ecx
.wait:	pause
	cmp [shared + 384], ecx
	jne .wait
	inc ecx
	cmp ecx, UNFENCED
	jbe .loop
	ret
sb_judge:				; ECX: the round, EDX: of itself, EAX: of the other
	cmp edx, ecx
	jne .wrong
	mov edx, ecx
	sub edx, eax
	cmp edx, 1
	jbe .fine
.wrong:	lock inc dword [shared + 448]
.fine:	ret
ROW "TLB shoot-down by an interrupt", 0
	mov rsi, tlb_reader
	mov edi, 1
	xor r10d, r10d
	mov dword [0x500000], 1
	mov dword [0x700000], 2
	mov qword [TURNS_PDE], 0x400083	; frames of 2 MiB in turns
	invlpg [TURNS]
	call begin
	mov r11d, 100
.loop:	mov rax, [TURNS_PDE]
	xor rax, 0x200000		; 400000H, 600000H
	mov [TURNS_PDE], rax
	invlpg [TURNS]
	mov r9d, [TURNS + 0x100000]
	HITS esi, 1, 0x50
	inc esi
	push rsi
	SETICR 1, 0x4050
	pop rsi
	mov edi, (256 + 0x50) * 4
	call await
	mov edi, [shared + 64]		; it reads twice more, from now on the new frame
	add edi, 2
.wait:	pause
	cmp [shared + 64], edi
	jb .wait
	cmp [shared], r9d
	je .same
	inc r10d
.same:	dec r11d
	jnz .loop
	mov dword [shared + 128], 1
	call join
	mov qword [TURNS_PDE], 0x60000083
	invlpg [TURNS]
	mov eax, r10d
	ret
tlb_reader:
	mov eax, [TURNS + 0x100000]
	mov [shared], eax
	inc dword [shared + 64]
	pause
	cmp dword [shared + 128], 0
	je tlb_reader
	ret
ROW "another processor's code is changed under it", 0
	xor r10d, r10d
	mov byte [patched + 1], 0
	mov rsi, code_runner
	mov edi, 1
	call begin
	mov r11d, 1
.loop:	mov [patched + 1], r11b		; MOV EAX,imm: one byte of it
	mfence
	mov edi, [shared + 64]
	add edi, 2
.wait:	pause
	cmp [shared + 64], edi
	jb .wait
	cmp [shared], r11d
	je .same
	inc r10d
.same:	inc r11d
	cmp r11d, 200
	jb .loop
	mov dword [shared + 128], 1
	call join
	mov eax, r10d
	ret
code_runner:
	call patched
	mov [shared], eax
	cpuid				; serialises (9.1.3)
	inc dword [shared + 64]
	cmp dword [shared + 128], 0
	je code_runner
	ret
	align 64
patched: mov eax, 0
	ret

; Code that processor 0 changes as fast as it can, and three run all the time: MOV EAX,n << 16; SHR
; EAX,16; RET. [shared]: what all must get after they serialise; [shared + 64]: what some may get.
ROW "code is changed by plain stores, three run it after CPUID", 0
	mov edi, FRESH
	call plain_stores
	ret
ROW "the same, one instruction on two pages", 0
	mov edi, FRESH + 0xffd
	call plain_stores
	ret
ROW "code is changed behind an INT3, with an interrupt at each step", 0
	mov edi, FRESH + 0x2000
	mov eax, special_bp
	mov [BP_GATE], ax
	shr eax, 16
	mov [BP_GATE + 6], ax
	mov rsi, runner_waits
	call change_begin
.loop:	inc r11d
	mov [shared + 64], r11d
	mov byte [rdi], 0xcc
	call interrupt_all
	mov [rdi + 3], r11w
	call interrupt_all
	mov byte [rdi], 0xb8
	call interrupt_all
	mov [shared], r11d
	call change_time
	jb .loop
	jmp change_end

; The page gets code while processor 0, which may store there, is in the middle of a block.
ROW "a page gets code between two stores of another processor", 0
	mov edi, FRESH + 0x3000
	mov rsi, runner_turns
	call change_begin
	jmp between_stores

plain_stores:
	mov rsi, runner_cpuid
	call change_begin
.loop:	inc r11d
	mov [shared + 64], r11d
	mov [rdi + 3], r11w
	mov [shared], r11d
	mov ecx, r11d
	and ecx, 63
.wait:	pause
	dec ecx
	jns .wait
	call change_time
	jb .loop
	jmp change_end

	align 4096			; no jump to another page
between_stores:
	fninit
	fldpi
.loop:	inc r11d			; from here to the second store: one block
	mov [rdi + 3], r11w
	mov [rdi + 0x800], r11d
	mov [shared + 64], r11d
	inc r11d
	%rep 50				; processor 1 runs what was stored
	fsin
	%endrep
	mov [rdi + 3], r11w
	mov [shared], r11d
	mov ecx, r11d			; and once more
.wait:	pause
	cmp [shared + 384], ecx
	jne .wait
	call change_time
	jb .loop
	jmp change_end
runner_turns:
	lock inc dword [shared + 256]
	CPU eax
	cmp eax, 1
	jne .out
	mov r13, [shared + 128]
.first:	pause
	cmp dword [shared + 192], 0
	jne .out
	mov r14d, [shared + 64]
	test r14d, 1
	jz .first
	cmp r14d, r15d
	je .first
	mov r15d, r14d
	call r13
	inc r14d
.second: pause
	cmp [shared], r14d
	jne .second
	xor eax, eax
	cpuid
	call r13
	cmp eax, r14d
	je .same
	inc dword [shared + 320]
.same:	mov [shared + 384], r14d
	jmp .first
.out:	ret

; EDI: the code, RSI: who runs it. R11: rounds, R12: when it began.
change_begin:
	mov dword [rdi], 0xb8
	mov dword [rdi + 4], 0x10e8c100
	mov byte [rdi + 8], 0xc3
	mov [shared + 128], rdi
	push rdi
	call begin_all
	pop rdi
.up:	pause
	cmp dword [shared + 256], CPUS - 1
	jb .up
	xor r11d, r11d
	rdtsc
	shl rdx, 32
	or rax, rdx
	mov r12, rax
	ret
; Carry: go on, up to 20000 rounds or 2^31 cycles, but 20 rounds at least
change_time:
	rdtsc
	shl rdx, 32
	or rax, rdx
	sub rax, r12
	shr rax, 31 - SLOW
	cmp eax, 1
	jb .more
	cmp r11d, 20
	ret
.more:	cmp r11d, 20000
	ret
change_end:
	mov dword [shared + 192], 1
	call join
	mov eax, [shared + 320]
	ret
interrupt_all:
	push rdi
	mov rdi, hits
	mov dword [rdi + 0x51 * 4 + 1024], 0
	mov dword [rdi + 0x51 * 4 + 2048], 0
	mov dword [rdi + 0x51 * 4 + 3072], 0
	SETICR 0, 0xc4051
.wait:	pause
	mov eax, [hits + 0x51 * 4 + 1024]
	add eax, [hits + 0x51 * 4 + 2048]
	add eax, [hits + 0x51 * 4 + 3072]
	cmp eax, 3
	jb .wait
	pop rdi
	ret
special_bp:				; as if MOV were done
	mov eax, [shared + 64]
	shl eax, 16
	add qword [rsp], 4
	iretq

runner_cpuid:
	lock inc dword [shared + 256]
	mov r13, [shared + 128]
.loop:	mov r14d, [shared]
	xor eax, eax
	cpuid
	call r13
	call run_judge
	je .loop
	ret
runner_waits:
	lock inc dword [shared + 256]
	mov r13, [shared + 128]
.loop:	mov r14d, [shared]
	call r13
	call run_judge
	je .loop
	ret
; EAX: what was run, R14: what was due
run_judge:
	cmp eax, r14d
	jb .wrong
	cmp eax, [shared + 64]
	jbe .fine
.wrong:	lock inc dword [shared + 320]
.fine:	cmp dword [shared + 192], 0
	ret

; ---- clocks ----
ROW "TSC: never backwards from one processor to the next", 0
	mov rsi, tsc_turns
	call begin_all
	call tsc_turns
	call join
	mov eax, [shared + 128]
	ret
tsc_turns:
	mov ecx, 4000
.loop:	mov eax, 1
.spin:	xchg eax, [shared]
	test eax, eax
	jz .got
	pause
	jmp .spin
.got:	lfence
	rdtsc
	shl rdx, 32
	or rax, rdx
	cmp rax, [shared + 64]
	jae .good
	inc dword [shared + 128]
.good:	mov [shared + 64], rax
	mov dword [shared], 0
	dec ecx
	jnz .loop
	ret
ROW "TSC_ADJUST moves the TSC of its processor, and back", 1
	mov ecx, 0x3b
	rdmsr
	mov r8d, eax
	mov r9d, edx
	rdtsc
	shl rdx, 32
	or rax, rdx
	mov r10, rax
	mov eax, r8d
	lea edx, [r9 + 0x100]
	mov ecx, 0x3b
	wrmsr
	rdtsc
	shl rdx, 32
	or rax, rdx
	sub rax, r10
	shr rax, 40
	mov r11d, eax
	mov eax, r8d
	mov edx, r9d
	mov ecx, 0x3b
	wrmsr
	mov eax, r11d
	ret
; Two seconds by the HPET: the PM timer and the TSC, each against it, in millionths.
ROW "HPET and PM timer agree within 100 ppm", 1
	mov dword [HPET + 0x10], 1
	call clocks
	mov r8, rax			; HPET
	mov r9d, edx			; PM timer
	mov r10, rcx			; TSC
.wait:	pause
	mov rax, [HPET + 0xf0]
	sub rax, r8
	cmp rax, 200000000
	jb .wait
	call clocks
	sub rax, r8
	sub edx, r9d
	sub rcx, r10
	mov [tsc_gone], rcx
	mov [hpet_gone], rax
	mov ecx, edx			; PM ticks * 10^8 / 3579545 = HPET ticks
	imul rcx, rcx, 100000000
	push rax
	mov rax, rcx
	xor edx, edx
	mov ecx, 3579545
	div rcx
	pop rcx
	jmp agree
; RAX and RCX differ by less than 1/10000
agree:	mov r8, rax
	sub r8, rcx
	jns .plus
	neg r8
.plus:	imul r8, r8, 10000
	cmp r8, rcx
	setb al
	movzx eax, al
	ret
; RAX HPET, EDX PM timer, RCX TSC, at one moment: the closest of some tries
clocks:	push rbx
	push rbp
	mov rbp, -1
	mov edi, 20
.try:	rdtsc
	shl rdx, 32
	or rax, rdx
	mov rcx, rax
	mov rsi, [HPET + 0xf0]
	mov edx, PMTMR
	in eax, dx
	mov ebx, eax
	rdtsc
	shl rdx, 32
	or rax, rdx
	sub rax, rcx
	cmp rax, rbp
	jae .worse
	mov rbp, rax
	mov [best], rsi
	mov [best + 8], ebx
	shr rax, 1
	add rcx, rax
	mov [best + 16], rcx
.worse:	dec edi
	jnz .try
	mov rax, [best]
	mov edx, [best + 8]
	mov rcx, [best + 16]
	pop rbp
	pop rbx
	ret
; The rate of the TSC is not told by anything exact: it must be the same in the next second.
ROW "HPET and TSC keep step within 100 ppm", 1
	call clocks
	mov r8, rax
	mov r10, rcx
.wait:	pause
	mov rax, [HPET + 0xf0]
	sub rax, r8
	cmp rax, 100000000
	jb .wait
	call clocks
	sub rax, r8
	sub rcx, r10			; TSC * hpet_gone / tsc_gone = HPET
	push rax
	mov rax, rcx
	mul qword [hpet_gone]
	div qword [tsc_gone]
	pop rcx
	jmp agree
ROW "RDTSCP gives TSC_AUX", 0x1234
	mov ecx, 0xc0000103
	mov eax, 0x1234
	xor edx, edx
	wrmsr
	rdtscp
	mov eax, ecx
	ret

; ---- x2APIC; nothing goes back from here ----
%macro X2 4				; name, destination, lower half, who
ROW {%1}, %4
	mov edx, %2
	mov eax, %3
	mov ecx, 0x830
	wrmsr
	mov esi, (%3) & 0xff
	jmp who
%endmacro
ROW "x2APIC: all go over; ids and logical ids", 0x00080003
	mov rsi, x2_on
	call begin_all
	call x2_on
	call join
	mov eax, [shared + 3 * 8]	; of processor 3's id: 1 << id
	shl eax, 16
	or eax, [shared + 3 * 8 + 4]
	ret
x2_on:	mov ecx, 0x1b
	rdmsr
	or eax, 0xc00
	wrmsr
	mov ecx, 0x80d
	rdmsr
	mov r8d, eax
	mov ecx, 0x802
	rdmsr
	mov [shared + rax * 8], r8d
	mov [shared + rax * 8 + 4], eax
	mov byte [gs:24], 1
	ret
X2 "x2APIC: physical", 2, 0xa0, 4
X2 "x2APIC: broadcast", -1, 0xa1, 0xf
X2 "x2APIC: logical, two of cluster 0", 0xa, 0x8a2, 0xa
X2 "x2APIC: logical, cluster 1 has nobody", 0x1000f, 0x8a3, 0
X2 "x2APIC: FFH is a single id", 0xff, 0xa4, 0
X2 "x2APIC: shorthand all but self", 0, 0xc00a5, 0xe
ROW "x2APIC: SELF IPI", 1
	mov ecx, 0x83f
	mov eax, 0xa6
	xor edx, edx
	wrmsr
	mov esi, 0xa6
	jmp who

%include "print64.inc"
section .rows
table_end:
section .data
s_fail:	db "FAIL ", 0
s_want:	db ": want", 0
s_got:	db "; got", 0
s_fault: db "fault", 0
s_nl:	db 13, 10, 0
s_space: db " ", 0
s_rows:	db " rows, ", 0
s_failed: db " failed, 0 skipped", 13, 10, 0
	align 16
gdt:	dq 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
gdt_end:
gdtr:	dw gdt_end - gdt - 1
	dq gdt
idtr:	dw 256 * 16 - 1
	dq idt
	align 64
percpu:	times CPUS * 64 db 0		; number; id as in the register; job; x2APIC?
shared:	times 512 db 0
shared_end:
hits:	times CPUS * 256 dd 0
idt:	times 256 * 2 dq 0
order:	times 16 db 0
best:	dq 0, 0, 0
tsc_gone: dq 0
hpet_gone: dq 0
order_n: dd 0
alive:	dd 0
ran:	dd 0
failed:	dd 0
nmi_depth: dd 0
nmi_deepest: dd 0
nmi_again: dd 0
no_eoi:	db 0
