; SPDX-License-Identifier: ISC
; smm.asm: system management mode, against the manuals (SDM vol. 3, chapter 32; APM vol. 2, chapter
; 10; 82441FX and 82371AB for SMRAM and the APM port). One processor.
;
; The handler lies at SMBASE + 8000H and does what `order` says. WANT name, what, value is a row.
%include "elf.inc"
%include "print32.inc"
%include "verdict32.inc"

LOW	equ 0x30000			; SMBASE after a reset
MOVED	equ 0x40000
SMRAM	equ 0xa0000
STACK	equ 0x900000
NMIV	equ 2
SSTACK	equ 0x910000			; of the handler
PD	equ 0x800000
PML4	equ 0x801000
PDPT	equ 0x802000
PD64	equ 0x803000
LAPIC	equ 0xfee00000
AGAIN	equ 0x9000			; where the BIOS goes on after an INIT
AGAIN_FRAME equ 0xfffa			; of an NMI at its first instruction: SS:SP is 0:0

; what the handler does, besides noting
O_NOTHING equ 0
O_BASE	equ 1				; SMBASE := operand
O_RAX	equ 2				; saved RAX := operand
O_RIP	equ 3				; saved RIP := operand
O_AGAIN	equ 4				; I/O restart, the first time
O_GOON	equ 5				; no halt after RSM
O_HALT	equ 6				; halt once more, goes on the second time
O_NMI	equ 7				; sends itself an NMI
O_SMI	equ 8				; asks for an SMI, the first time
O_CLOSE	equ 9				; D_CLS while it looks at its own bytes
O_IRET	equ 10				; an NMI after IRET
O_INIT	equ 11				; sends itself an INIT
O_INIT_NMI equ 12			; and then an NMI
O_NMI_INIT equ 13			; the NMI first

%macro WANT 3
	mov eax, %2
	mov edx, %3
	mov esi, %%name
	call verdict
	section .names
%%name:	db %1, 0
	section .text
%endmacro
%macro ASK 1				; order; AL = 5aH
	mov dword [order], %1
	mov dword [n_smi], 0
	mov al, 0x5a
	out 0xb2, al
%%next:	mov dword [rip_next], %%next
%endmacro

%macro RESETS 1				; order that ends in an INIT; CMOS 0FH: the BIOS jumps by 40:67
	mov dword [init_to], %%on
	mov dword [in_smm], 0
	mov dword [resets], 0
	mov al, 0x0f
	out 0x70, al
	mov al, 0x0a
	out 0x71, al
	mov dword [0x467], AGAIN >> 4 << 16
	mov dword [NMIV * 4], (AGAIN >> 4 << 16) + nmi16 - again
	mov byte [AGAIN + nmi16_count - again], 0
	ASK %1
	call settle
%%on:
%endmacro

	BITS 32
start:	cld
	mov esp, STACK
	lgdt [gdtr]
	jmp 8:.cs
.cs:	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov edi, PD
	mov ecx, 0x1000
	xor eax, eax
	rep stosd
	mov ecx, 6
	call gate_ud
	mov ecx, 2
	mov eax, on_nmi
	call gate
	mov ecx, 13
	mov eax, on_gp
	call gate
	lidt [idtr]
	xor eax, eax
	cpuid
	cmp ebx, "Genu"
	jne .amd
	mov esi, intel
	mov edi, places
	mov ecx, at_words
	rep movsd
.amd:	mov edi, LOW + 0x8000
	call put_handler
	mov edi, MOVED + 0x8000
	call put_handler

	; ---- RSM elsewhere ----
	mov dword [ud_to], .ud
	rsm
	mov dword [n_ud], 99
.ud:	WANT "RSM outside of SMM: #UD", [n_ud], 1

	; ---- the APM port ----
	mov eax, 0x80000b40		; PMBA
	mov dx, 0xcf8
	out dx, eax
	mov dx, 0xcfc
	in eax, dx
	and eax, 0xffc0
	mov [pm], eax
	ASK O_NOTHING
	WANT "B2H without SMI_EN: no SMI", [n_smi], 0
	in al, 0xb2
	movzx eax, al
	WANT "B2H keeps its value", eax, 0x5a
	mov edx, [pm]
	add edx, 0x28
	mov al, 1
	out dx, al
	mov edx, [pm]
	add edx, 0x18
	mov ax, 0x20
	out dx, ax
	in ax, dx
	and eax, 0x20
	WANT "APM_STS: ones clear", eax, 0
	mov eax, 0xff00ff5a
	mov ebx, 0x22222222
	mov ecx, 0x33333333
	mov ebp, 0x55555555
	mov edi, 0x77777777
	std
	stc
	ASK O_NOTHING
	pushf
	pop dword [flags]
	cld
	mov [regs], eax
	mov [regs + 4], ebx
	mov [regs + 8], ecx
	mov [regs + 12], ebp
	mov [regs + 16], edi
	WANT "B2H: one SMI, before the next instruction", [n_smi], 1
	WANT "EAX after RSM", [regs], 0xff00ff5a
	WANT "EBX", [regs + 4], 0x22222222
	WANT "ECX", [regs + 8], 0x33333333
	WANT "EBP", [regs + 12], 0x55555555
	WANT "EDI", [regs + 16], 0x77777777
	mov ecx, [flags]
	and ecx, 0x401
	WANT "CF and DF after RSM", ecx, 0x401
	mov edx, [pm]
	add edx, 0x18
	in ax, dx
	and eax, 0x20
	WANT "APM_STS after B2H", eax, 0x20

	; ---- what the handler runs in ----
	WANT "CS: SMBASE / 16", [env_cs], LOW >> 4
	WANT "DS: 0", [env_ds], 0
	WANT "SS: 0", [env_ss], 0
	WANT "EFLAGS: 2", [env_flags], 2
	mov ecx, [env_cr0]
	and ecx, 0x8000000d
	WANT "CR0: PE EM TS PG clear", ecx, 0
	WANT "CR4: 0", [env_cr4], 0
	WANT "EFER: 0", [env_efer], 0
	WANT "DR7: 400H", [env_dr7], 0x400
	WANT "EIP: 8000H", [env_ip], 0x8000

	; ---- what is in the map ----
	mov ecx, [rev]
	shr ecx, 16
	WANT "revision: I/O restart, SMBASE relocation", ecx, 3
	WANT "SMBASE in the map", [map_base], LOW
	WANT "RIP in the map: after OUT", [map_rip], [rip_next]
	WANT "RAX in the map", [map_rax], 0xff00ff5a
	mov ecx, [map_flags]
	and ecx, 0x401
	WANT "RFLAGS in the map", ecx, 0x401
	mov ecx, [map_cr0]
	and ecx, 1
	WANT "CR0 in the map", ecx, 1
	WANT "halt restart: 0", [map_halt], 0
	mov ecx, [map_io]
	and ecx, [io_mask]
	WANT "I/O in the map: OUT 0B2H, AL", ecx, [io_want]

	; ---- changed in the map ----
	mov dword [operand], 0xcafe
	ASK O_RAX
	mov [regs], eax
	WANT "RAX changed in the map", [regs], 0xcafe
	mov dword [operand], .elsewhere
	mov ecx, 1
	ASK O_RIP
	xor ecx, ecx
.elsewhere:
	WANT "RIP changed in the map", ecx, 1
	ASK O_AGAIN
	WANT "I/O restart: OUT once more", [n_smi], 2

	; ---- other ways to an SMI ----
	mov dword [n_smi], 0
	mov dword [order], O_NOTHING
	mov dword [LAPIC + 0xf0], 0x1ff
	mov dword [LAPIC + 0x310], 0
	mov dword [LAPIC + 0x300], 0x4200
	call settle
	WANT "SMI by IPI", [n_smi], 1
	WANT "SMI by IPI: no I/O in the map", [map_io], 0

	; ---- HLT: the PIC's INTR as SMI through LINT0 ----
	mov dword [LAPIC + 0x350], 0x200
	call pit_starts
	mov dword [n_smi], 0
	mov dword [order], O_GOON
	hlt
	WANT "HLT: halt restart in the map", [map_halt], 1
	WANT "HLT: goes on when the handler says so", [n_smi], 1
	call pit_starts
	mov dword [n_smi], 0
	mov dword [order], O_HALT
	hlt
	WANT "HLT: halts again after RSM", [n_smi], 2
	mov al, 0xff
	out 0x21, al
	mov dword [LAPIC + 0x350], 0x10700

	; ---- within SMM ----
	ASK O_NMI
	WANT "NMI waits for RSM", [in_smm], 0
	WANT "NMI after RSM", [n_nmi], 1
	ASK O_SMI
	WANT "SMI within SMM waits for RSM", [in_smm], 1
	WANT "SMI within SMM comes after RSM", [n_smi], 2
	mov dword [n_nmi], 0
	ASK O_IRET
	WANT "IRET in SMM lets NMIs through", [in_smm], 1

	; ---- INIT within SMM ----
	mov esi, again
	mov edi, AGAIN
	mov ecx, again_end - again
	rep movsb
	RESETS O_INIT
	WANT "INIT within SMM waits for RSM", [in_smm], 1
	WANT "INIT within SMM comes after RSM", [resets], 1
	mov word [AGAIN_FRAME], 0
	RESETS O_INIT_NMI
	WANT "INIT, NMI within SMM: INIT", [resets], 1
	movzx ecx, byte [AGAIN + nmi16_count - again]
	WANT "INIT, NMI within SMM: then the NMI", ecx, 1
	movzx ecx, word [AGAIN_FRAME]
	WANT "INIT, NMI within SMM: before the first instruction", ecx, 0xfff0
	RESETS O_NMI_INIT
	WANT "NMI, INIT within SMM: INIT", [resets], 1
	movzx ecx, byte [AGAIN + nmi16_count - again]
	WANT "NMI, INIT within SMM: no NMI", ecx, 0

	; ---- paging ----
	mov dword [PD], 0x83
	mov dword [PD + 4], 0x400083
	mov dword [PD + 8], 0x800083
	mov dword [PD + 0x800], 0x83	; 80000000H: 0
	mov dword [PD + 0xfec], 0xfec00083
	mov eax, 0x10
	mov cr4, eax
	mov eax, PD
	mov cr3, eax
	mov eax, cr0
	or eax, 0x80000000
	mov cr0, eax
	mov ecx, [0x80000000 + LOW + 0x8000]
	ASK O_NOTHING
	mov ebx, [0x80000000 + LOW + 0x8000]
	mov eax, cr0
	shr eax, 31
	mov [regs], eax
	mov eax, cr4
	mov [regs + 4], eax
	WANT "paging: SMI", [n_smi], 1
	WANT "paging: on again", [regs], 1
	WANT "paging: CR4 again", [regs + 4], 0x10
	WANT "paging: mapped as before", ebx, ecx
	mov eax, cr0
	and eax, 0x7fffffff
	mov cr0, eax

	; ---- long mode ----
	mov dword [PML4], PDPT + 3
	mov dword [PDPT], PD64 + 3
	mov dword [PD64], 0x83
	mov dword [PD64 + 8], 0x200083
	mov eax, 0x20
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
	mov dword [order], O_NOTHING
	mov dword [n_smi], 0
	jmp 0x18:wide
	BITS 64
wide:	mov rax, 0x123456789abcdef0
	mov r8, rax
	not rax
	mov r15, rax
	mov ecx, 0xc0000100
	mov eax, 0x89abcdef
	mov edx, 0x1234
	wrmsr
	mov al, 0x5a
	out 0xb2, al
	mov [regs], r8
	mov [regs + 8], r15
	rdmsr
	mov [regs + 16], eax
	mov [regs + 20], edx
	mov ecx, 0xc0000080
	rdmsr
	mov [regs + 24], eax
	mov ax, cs
	movzx eax, ax
	mov [regs + 28], eax
	jmp far dword [out64]
	BITS 32
out64:	dd .legacy
	dw 8
.legacy:
	mov eax, 0x10
	mov ds, eax
	mov ss, eax
	mov eax, cr0
	and eax, 0x7fffffff
	mov cr0, eax
	mov ecx, 0xc0000080
	rdmsr
	and eax, ~0x100
	wrmsr
	WANT "long mode: SMI", [n_smi], 1
	WANT "long mode: R8, low", [regs], 0x9abcdef0
	WANT "long mode: R8, high", [regs + 4], 0x12345678
	WANT "long mode: R15, high", [regs + 12], ~0x12345678
	WANT "long mode: FS.base, low", [regs + 16], 0x89abcdef
	WANT "long mode: FS.base, high", [regs + 20], 0x1234
	mov ecx, [regs + 24]
	and ecx, 0x500
	WANT "long mode: EFER.LME and LMA", ecx, 0x500
	WANT "long mode: CS", [regs + 28], 0x18
	WANT "long mode: EFER is 0 in SMM", [env_efer], 0

	; ---- SMBASE and SMRAM ----
	mov dword [operand], MOVED
	ASK O_BASE
	ASK O_NOTHING
	WANT "SMBASE: the handler elsewhere", [env_cs], MOVED >> 4
	WANT "SMBASE: the map too", [map_base], MOVED
	mov dword [operand], SMRAM
	ASK O_BASE
	mov ecx, 0x4a			; D_OPEN, G_SMRAME
	call smram
	mov edi, SMRAM + 0x8000
	call put_handler
	mov ecx, 0x0a
	call smram
	mov dword [SMRAM + 0x8000], 0xf4f4f4f4
	mov ecx, 0x4a
	call smram
	mov ebx, [SMRAM + 0x8000]
	WANT "D_OPEN: RAM behind the screen", ebx, [handler]
	mov ecx, 0x0a
	call smram
	mov ebx, [SMRAM + 0x8000]
	xor eax, eax
	cmp ebx, [handler]
	sete al
	WANT "closed: the screen", eax, 0
	ASK O_NOTHING
	WANT "SMM in SMRAM", [n_smi], 1
	WANT "SMM in SMRAM: CS", [env_cs], SMRAM >> 4
	WANT "SMM in SMRAM: the map", [map_base], SMRAM
	mov ebx, [SMRAM + 0x8000]
	xor eax, eax
	cmp ebx, [handler]
	sete al
	WANT "after RSM: the screen", eax, 0
	ASK O_CLOSE
	WANT "D_CLS: data is the screen's, code is not", [in_smm], 0
	mov ecx, 0x1a			; D_LCK
	call smram
	mov ecx, 0x4a
	call smram
	call smram_is
	WANT "D_LCK: no D_OPEN any more", ecx, 0x1a
	mov ecx, 0x02
	call smram
	call smram_is
	WANT "D_LCK: stays", ecx, 0x1a
	ASK O_NOTHING
	WANT "D_LCK: SMM goes on", [n_smi], 1

	jmp summary

; ---- after an INIT, from the BIOS ----
	BITS 16
again:	cli
	xor ax, ax
	mov ds, ax
	o32 lgdt [AGAIN + .gdtr - again]
	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp dword 8:again32
.gdtr:	dw 31
	dd gdt
nmi16:	inc byte [cs:nmi16_count - again]
	iret
nmi16_count: db 0
again_end:
	BITS 32
again32: mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov esp, STACK
	lidt [idtr]
	mov dword [LAPIC + 0xf0], 0x1ff
	inc dword [resets]
	jmp [init_to]

; ---- helpers ----

settle:	mov ecx, 100
.loop:	pause
	loop .loop
	ret
put_handler:
	mov esi, handler
	mov ecx, handler_end - handler
	rep movsb
	ret
smram:	call smram_at
	mov al, cl
	out dx, al
	ret
smram_is:
	call smram_at
	in al, dx
	movzx ecx, al
	ret
smram_at:
	mov eax, 0x80000070
	mov dx, 0xcf8
	out dx, eax
	mov dx, 0xcfe
	ret
pit_starts:				; IRQ 0 once, in 8 ms
	mov al, 0x30			; one shot; the BIOS's ticks end before the PIC forgets them
	out 0x43, al
	mov al, 0xff
	out 0x21, al
	mov al, 0x11
	out 0x20, al
	mov al, 0x20
	out 0x21, al
	mov al, 4
	out 0x21, al
	mov al, 1
	out 0x21, al
	mov al, 0
	out 0x40, al
	mov al, 0x27
	out 0x40, al
	mov al, 0xfe
	out 0x21, al
	ret
gate_ud:
	mov eax, on_ud
gate:	mov [idt + ecx * 8], ax
	mov word [idt + ecx * 8 + 2], 8
	shr eax, 16
	mov [idt + ecx * 8 + 6], ax
	mov word [idt + ecx * 8 + 4], 0x8e00
	ret
on_ud:	inc dword [n_ud]
	push eax
	mov eax, [ud_to]
	mov [esp + 4], eax
	pop eax
	iretd
on_nmi:	inc dword [n_nmi]
	iretd
on_gp:	mov esi, s_gp
	call print
	mov al, 7
	out 0xf4, al

; ---- the handler: 16-bit, at SMBASE + 8000H ----
	BITS 16
handler:
	mov esp, SSTACK
	pushfd
	pop dword [dword env_flags]
	call .here
.here:	pop ax
	movzx eax, ax
	sub eax, .here - handler
	mov [dword env_ip], eax
	mov eax, cr0
	mov [dword env_cr0], eax
	mov eax, cr4
	mov [dword env_cr4], eax
	mov eax, dr7
	mov [dword env_dr7], eax
	mov [dword env_cs], cs
	mov [dword env_ds], ds
	mov [dword env_ss], ss
	mov ecx, 0xc0000080
	rdmsr
	mov [dword env_efer], eax
	inc dword [dword n_smi]
	xor ebx, ebx			; the map, by CS
	mov bx, cs
	shl ebx, 4
%macro FROM 2
	mov esi, [dword %2]
	mov eax, [ebx + esi]
	mov [dword %1], eax
%endmacro
	FROM rev, at_rev
	FROM map_base, at_base
	FROM map_rip, at_rip
	FROM map_rax, at_rax
	FROM map_flags, at_flags
	FROM map_cr0, at_cr0
	FROM map_io, at_io
	mov esi, [dword at_halt]
	movzx eax, byte [ebx + esi]
	mov [dword map_halt], eax
	mov edx, [dword operand]
	mov al, [dword order]
	mov esi, [dword at_base]
	cmp al, O_BASE
	je .store
	mov esi, [dword at_rax]
	cmp al, O_RAX
	je .store
	mov esi, [dword at_rip]
	cmp al, O_RIP
	je .store
	cmp al, O_AGAIN
	je .again
	cmp al, O_GOON
	je .goon
	cmp al, O_HALT
	je .halt
	cmp al, O_NMI
	je .nmi
	cmp al, O_SMI
	je .smi
	cmp al, O_CLOSE
	je .close
	cmp al, O_IRET
	je .iret
	mov edx, 0x4500
	cmp al, O_INIT
	je .init
	cmp al, O_INIT_NMI
	je .init_nmi
	cmp al, O_NMI_INIT
	je .nmi_init
	rsm
.store:	mov [ebx + esi], edx
	rsm
.again:	cmp dword [dword n_smi], 1
	jne .rsm
	mov esi, [dword at_again]
	mov byte [ebx + esi], 0xff
	rsm
.halt:	cmp dword [dword n_smi], 1
	jne .goon
	mov al, 0xff			; INTR once more
	out 0x21, al
	mov al, 0xfe
	out 0x21, al
	rsm
.goon:	mov esi, [dword at_halt]
	mov byte [ebx + esi], 0
	rsm
.nmi:	mov eax, LAPIC
	mov dword [eax + 0x310], 0
	mov dword [eax + 0x300], 0x4400
	mov cx, 100
.wait:	loop .wait
	mov eax, [dword n_nmi]
	mov [dword in_smm], eax
	rsm
.init_nmi:
	call .send
	mov edx, 0x4400
	jmp .init
.nmi_init:
	mov edx, 0x4400
	call .send
	mov edx, 0x4500
.init:	call .send
	mov cx, 1000
.wait3:	loop .wait3
	inc dword [dword in_smm]
	rsm
.send:	mov eax, LAPIC
	mov dword [eax + 0x310], 0
	mov [eax + 0x300], edx
	mov cx, 100
.wait4:	loop .wait4
	ret
.smi:	cmp dword [dword n_smi], 1
	jne .rsm
	mov al, 1
	out 0xb2, al
	nop
	mov eax, [dword n_smi]
	mov [dword in_smm], eax
	rsm
.close:	mov eax, 0x80000070
	mov dx, 0xcf8
	out dx, eax
	mov dx, 0xcfe
	mov al, 0x2a
	out dx, al
	mov ecx, [ebx + 0x8000]
	mov al, 0x0a
	out dx, al
	xor eax, eax
	cmp ecx, [dword handler]
	sete al
	mov [dword in_smm], eax
	rsm
.iret:	mov eax, cs			; NMI's vector leads back here
	shl eax, 16
	call .here2
.here2:	pop ax
	add ax, .caught - .here2
	mov [dword 8], eax
	lidt [dword ivt]
	pushf
	push cs
	call .iretd			; the IP that IRET takes
	mov dword [dword in_smm], 0
	mov eax, LAPIC
	mov dword [eax + 0x310], 0
	mov dword [eax + 0x300], 0x4400
	mov cx, 1000
.wait2:	loop .wait2
	jmp .done
.iretd:	iret
.caught:
	mov dword [dword in_smm], 1
.done:	lidt [dword idtr]
.rsm:	rsm
handler_end:
	BITS 32

section .data
	align 8
gdt:	dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
	dw 0
gdtr:	dw 31
	dd gdt
	dw 0
idtr:	dw 14 * 8 - 1
	dd idt
	dw 0
ivt:	dw 0x3ff
	dd 0
	align 8
idt:	times 14 dq 0
; where things are in the map: AMD's, copied over by Intel's
places:
at_rev:	dd 0xfefc
at_base: dd 0xff00
at_rip:	dd 0xff78
at_rax:	dd 0xfff8
at_flags: dd 0xff70
at_cr0:	dd 0xff58
at_halt: dd 0xfec9
at_again: dd 0xfec8
at_io:	dd 0xfec0
io_mask: dd -1
io_want: dd 0x00b20012			; 8 bits, valid, write
at_words equ ($ - places) / 4
intel:	dd 0xfefc, 0xfef8, 0xffd8, 0xff5c, 0xffe8, 0xfff8, 0xff02, 0xff00, 0xffa4, -1
	dd 0x00b20083			; OUT imm8, a byte, SMI
order:	dd 0
operand: dd 0
pm:	dd 0
rip_next: dd 0
n_smi:	dd 0
n_ud:	dd 0
n_nmi:	dd 0
ud_to:	dd 0
in_smm:	dd 0
init_to: dd 0
resets:	dd 0
flags:	dd 0
env_flags: dd 0
env_ip:	dd 0
env_cr0: dd 0
env_cr4: dd 0
env_dr7: dd 0
env_efer: dd 0
env_cs:	dd 0
env_ds:	dd 0
env_ss:	dd 0
rev:	dd 0
map_base: dd 0
map_rip: dd 0
map_rax: dd 0
map_flags: dd 0
map_cr0: dd 0
map_io:	dd 0
map_halt: dd 0
regs:	times 8 dd 0
s_gp:	db "unexpected #GP", 13, 10, 0
section .text
