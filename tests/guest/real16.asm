; SPDX-License-Identifier: ISC
; real16.asm: real mode against the manuals (SDM vol. 2, "Real-Address Mode Exceptions", and vol. 3,
; chapter 21). rig16.inc says how a row reads.
%include "rig16.inc"

; ---- offsets, limits, wraps ----
ROW "BX+SI wraps at 64 KiB", NONE, 0x77
	mov byte [4], 0x77
	mov bx, 0xffff
	mov si, 5
	mov al, [bx + si]
END
ROW "BP+DI wraps in SS", NONE, 0x66
	mov byte [ss:4], 0x66
	mov bp, 0xffff
	mov di, 5
	mov al, [bp + di]
END
ROW "byte at FFFFH", NONE, 0x55
	mov byte [0xffff], 0x55
	mov al, [0xffff]
END
%macro EDGE 3+				; name, vector
ROW %1, %2
	mov si, 0xffff
	mov bp, si
	mov esi, 0xffff
AT
	%3
END
%endmacro
EDGE "word at DS:FFFFH", GP, mov ax, [si]
EDGE "word at ES:FFFFH", GP, mov ax, [es:si]
EDGE "word at FS:FFFFH", GP, mov ax, [fs:si]
EDGE "word at CS:FFFFH", GP, mov ax, [cs:si]
EDGE "word at SS:FFFFH", SS_, mov ax, [bp]
EDGE "word at SS:FFFFH by override", SS_, mov ax, [ss:si]
EDGE "word at DS:FFFFH with BP", GP, mov ax, [ds:bp]
EDGE "store of a word at FFFFH", GP, mov [si], ax
EDGE "ADD to a word at FFFFH", GP, add [si], ax
EDGE "dword at FFFDH", GP, mov eax, [si - 2]
EDGE "qword at FFF9H", GP, fld qword [si - 6]
EDGE "offset 10000H", GP, mov al, [esi + 1]
EDGE "offset 10000H in SS", SS_, mov al, [ss:esi + 1]
EDGE "LDS at FFFDH", GP, lds ax, [si - 2]
EDGE "CALL near at FFFFH", GP, call [si]
EDGE "CMPXCHG8B at FFFCH", GP, cmpxchg8b [si - 3]
EDGE "LGDT at FFFCH", GP, lgdt [si - 3]
; x87 operands: the last place that is good, and 2 or 16 bytes on; TOP stays, nothing is written
%macro X87 4+				; name, size, step, code: at [si] or [bp]
ROW {%1, ": the segment's last byte"}, NONE
	fninit
	fld1
	mov si, (0x10000 - (%2)) & 0xffff
	%define R si
	%4
END
ROW {%1, " over the segment's end: #GP"}, GP
	fninit
	fld1
	mov si, (0x10000 - (%2) + (%3)) & 0xffff
	AT
	%4
END
ROW {%1, " over the stack segment's end: #SS"}, SS_
	fninit
	fld1
	mov bp, (0x10000 - (%2) + (%3)) & 0xffff
	%define R bp
	AT
	%4
END
ROW {%1, " ...: nothing has changed"}, NONE, 0x5ac33800
	fninit
	fld1
	mov word [cs:O(fix_ip)], O(.done%[rn])
	mov si, (0x10000 - (%2) + (%3)) & 0xffff
	mov word [0xfff8], 0x5ac3
	call hook_gp
	%define R si
	%4
.done%[rn]:
	mov eax, [0xfff8]
	shl eax, 16
	fnstsw ax
END
	%undef R			; or it would be expanded in the next call's code
%endmacro
X87 "FLD m80", 10, 2, fld tword [R]
X87 "FSTP m80", 10, 2, fstp tword [R]
X87 "FBLD", 10, 2, fbld [R]
X87 "FBSTP", 10, 2, fbstp [R]
X87 "FNSTENV, 14 bytes", 14, 2, fnstenv [R]
X87 "FNSTENV, 28 bytes", 28, 2, o32 fnstenv [R]
X87 "FLDENV, 14 bytes", 14, 2, fldenv [R]
X87 "FLDENV, 28 bytes", 28, 2, o32 fldenv [R]
X87 "FNSAVE, 94 bytes", 94, 2, fnsave [R]
X87 "FNSAVE, 108 bytes", 108, 2, o32 fnsave [R]
X87 "FRSTOR, 94 bytes", 94, 2, frstor [R]
X87 "FRSTOR, 108 bytes", 108, 2, o32 frstor [R]
X87 "FXSAVE", 512, 16, fxsave [R]
X87 "FXRSTOR", 512, 16, fxrstor [R]
; Parts of an operand are addressed one by one and wrap one by one: seen on processors.
ROW "LDS at FFFEH: the selector is at 0", NONE, 0x30011234
	mov word [0xfffe], 0x1234
	mov word [0], DATA + 1
	lds ax, [cs:O(.zero)]
	mov ax, DATA
	mov ds, ax
	mov si, 0xfffe
	lds cx, [si]
	mov ax, ds
	shl eax, 16
	mov ax, cx
	jmp .end
.zero:	dd 0
.end:
END
ROW "BOUND at FFFEH: the upper bound is at 0", BR
	mov word [0xfffe], 1
	mov word [0], 2
	mov ax, 3
	mov si, 0xfffe
AT
	bound ax, [si]
END
ROW "JMP FAR at FFFEH", NONE, 7
	mov word [0xfffe], O(.to)
	mov word [0], CODE
	mov si, 0xfffe
	jmp far [si]
.to:	mov al, 7
END
ROW "offset 10000H of ESP: #SS", SS_
	mov ecx, 0x10000
AT
	mov al, [esp + ecx]
END
ROW "XLAT wraps", NONE, 0x44
	mov byte [4], 0x44
	mov bx, 0xffff
	mov al, 5
	xlatb
END
ROW "LODSB from FFFFH, SI wraps", NONE, 0
	mov si, 0xffff
	lodsb
	movzx eax, si
END
ROW "REP MOVSB over the end of both segments", NONE, 0x20003
	mov byte [0xffff], 1
	mov byte [2], 2
	mov si, 0xfffe
	mov di, 0x10
	mov cx, 5
	rep movsb
	movzx eax, byte [0x14]
	shl eax, 16
	mov ax, si
END
ROW "REP STOSW at FFFDH: the part before the end is done", GP, 0x12342001
	mov di, 0xfffd
	mov cx, 0x2002
	mov eax, 0x12342001
AT
	rep stosw
END
ROW "... with CX and DI there", NONE, 0x2001ffff
	mov word [cs:O(fix_ip)], O(.done)
	mov di, 0xfffd
	mov cx, 0x2002
	call hook_gp
	rep stosw
.done:	movzx eax, cx
	shl eax, 16
	mov ax, di
END
ROW "LODSD at FFFDH", GP
	mov si, 0xfffd
AT
	lodsd
END

; ---- IP ----
ROW "near JMP wraps IP", NONE, 0x99
	push SPARE
	pop es
	mov dword [es:0xfff0], 0x99b866	; MOV EAX, 99H
	mov word [es:0xfff4], 0
	mov byte [es:0xfff6], 0xcd	; INT NONE
	mov byte [es:0xfff7], NONE
	mov byte [es:0x10], 0xe9	; JMP -23H
	mov word [es:0x11], -0x23
	jmp SPARE:0x10
END
ROW "IP runs past FFFFH", GP
	push SPARE
	pop es
	mov byte [es:0xffff], 0x90
	jmp SPARE:0xffff
END
ROW "instruction over FFFFH", GP
	push SPARE
	pop es
	mov byte [es:0xffff], 0xb0
at_%[rn] equ 0xffff
	%assign have_at 1
	jmp SPARE:0xffff
END
ROW "JMP with a 32-bit offset above FFFFH", GP
AT
	jmp dword 0x10000
END
ROW "JMP EAX above FFFFH", GP, 0x12345
	mov eax, 0x12345
AT
	jmp eax
END
ROW "far JMP with a 32-bit offset above FFFFH", GP
AT
	jmp dword CODE:0x10000
END
ROW "far CALL with a 32-bit offset above FFFFH", GP
AT
	call dword CODE:0x10000
END
ROW "RET, 32-bit, above FFFFH", GP
	push dword 0x10000
AT
	o32 ret
END
ROW "RETF, 32-bit, above FFFFH", GP
	push dword CODE
	push dword 0x10000
AT
	o32 retf
END
ROW "IRETD above FFFFH", GP
	push dword 2
	push dword CODE
	push dword 0x10000
AT
	iretd
END
ROW "instruction of 16 bytes", GP
AT
	times 15 db 0x2e
	nop
END
ROW "instruction of 15 bytes", NONE
	times 14 db 0x2e
	nop
END

; ---- faults of instructions ----
ROW "DIV by 0", DE
AT
	div cx
END
ROW "DIV overflow", DE
	mov dx, 2
	mov cx, 2
AT
	div cx
END
ROW "IDIV overflow: 8000H / -1", DE
	mov ax, 0x8000
	cwd
	mov cx, -1
AT
	idiv cx
END
ROW "AAM 0", DE
AT
	aam 0
END
ROW "AAM 10", NONE, 0x0403
	mov al, 43
	aam
END
ROW "BOUND below", BR
	mov dword [0x10], 0x00050002
	mov ax, 1
AT
	bound ax, [0x10]
END
ROW "BOUND above", BR
	mov dword [0x10], 0x00050002
	mov ax, 6
AT
	bound ax, [0x10]
END
ROW "BOUND within", NONE
	mov dword [0x10], 0x00050002
	mov ax, 5
	bound ax, [0x10]
END
ROW "BOUND, signed", NONE
	mov dword [0x10], 0x0005fffe
	mov ax, -1
	bound ax, [0x10]
END
ROW "INTO with OF", OF_
	mov al, 0x7f
	inc al
	into
AT
END
ROW "INTO without OF", NONE
	into
END
ROW "INT3: IP after it", BP_
	int3
AT
END
ROW "INT 41H: IP after it", 0x41
	int 0x41
AT
END
ROW "F1: INT1", DB_
	db 0xf1
AT
END
ROW "UD2", UD
AT
	ud2
END
%macro ISUD 2+
ROW %1, UD
AT
	%2
END
%endmacro
ISUD "LOCK NOP", db 0xf0, 0x90
ISUD "LOCK ADD to a register", db 0xf0, 0x01, 0xc0
ISUD "LOCK MOV", db 0xf0, 0x89, 0x07
ISUD "LOCK CMP", db 0xf0, 0x39, 0x07
ISUD "LLDT", lldt ax
ISUD "LTR", ltr ax
ISUD "SLDT", sldt ax
ISUD "STR", str ax
ISUD "LAR", lar ax, ax
ISUD "LSL", lsl ax, ax
ISUD "VERR", verr ax
ISUD "VERW", verw ax
ISUD "ARPL", arpl ax, ax
ISUD "MOV to CS", db 0x8e, 0xc8
ISUD "MOV from segment register 6", db 0x8c, 0xf0
ISUD "MOV from CR1", db 0x0f, 0x20, 0xc8
ISUD "LES with a register", db 0xc4, 0xc0
ISUD "BOUND with a register", db 0x62, 0xc0
ISUD "LEA with a register", db 0x8d, 0xc0
ISUD "FF /7", db 0xff, 0xf8
ISUD "RSM", rsm
ISUD "SYSCALL without EFER.SCE", syscall
ISUD "MOVAPS without OSFXSR", movaps xmm0, xmm0
ROW "LOCK ADD to memory", NONE, 0x12
	mov al, 0x12
	lock add [0x10], ax
	mov ax, [0x10]
END
ROW "SYSENTER: #GP", GP
AT
	sysenter
END
ROW "SYSEXIT: #GP", GP
AT
	sysexit
END
ROW "MOV to CR0: PG without PE", GP
	mov eax, 0x80000010
AT
	mov cr0, eax
END
ROW "MOV to CR0: NW without CD", GP
	mov eax, 0x20000010
AT
	mov cr0, eax
END
ROW "MOV to CR4: reserved", GP
	mov eax, 0x80000000
AT
	mov cr4, eax
END
ROW "RDMSR of none", GP
	mov ecx, 0x12345678
AT
	rdmsr
END
ROW "privileged ones are allowed: CLTS INVD LMSW LIDT INVLPG", NONE, 0x10
	clts
	wbinvd
	smsw ax
	lmsw ax
	invlpg [si]
	mov eax, cr0
END
ROW "ESC with EM", NM
	mov eax, 0x14
	mov cr0, eax
AT
	fldz
END
ROW "ESC with TS", NM
	mov eax, 0x18
	mov cr0, eax
AT
	fldz
END
ROW "WAIT with MP and TS", NM
	mov eax, 0x1a
	mov cr0, eax
AT
	fwait
END
ROW "#MF with NE", MF
	mov eax, 0x30
	mov cr0, eax
	push word 0x37b			; ZE not masked
	fldcw [esp]
	fld1
	fldz
	fdivp
AT
	fwait
END
ROW "MOVAPS, misaligned", GP
	mov eax, 0x200
	mov cr4, eax
AT
	movaps xmm0, [0x11]
END
ROW "VEX is LDS here", NONE, 0x1234
	mov dword [0x20], 0x30001234
	db 0xc5, 0x06			; LDS AX, [20H]
	dw 0x20
	movzx eax, ax
END

; ---- stack ----
ROW "PUSH at SP 0 goes to FFFEH", NONE, 0x1111fffe
	mov sp, 0
	push word 0x1111
	mov bx, sp
	movzx eax, word [ss:bx]
	shl eax, 16
	mov ax, sp
	mov sp, 0x1000
END
ROW "PUSH SP: the old value", NONE, 0x1000
	push sp
	pop ax
END
ROW "POP at FFFFH: #SS", SS_
	mov sp, 0xffff
AT
	pop ax
END
ROW "POPA over the end: #SS", SS_
	mov sp, 0xfff3
AT
	popa
END
ROW "POPA wraps at even SP", NONE, 0x5aa5000a
	mov word [ss:8], 0x5aa5		; AX
	mov sp, 0xfffa
	popa
	shl eax, 16
	mov ax, sp
	mov sp, 0x1000
END
ROW "PUSHA wraps", NONE, 0x0008fff8
	mov ax, 0x4321
	mov sp, 8
	pusha
	mov bx, sp
	movzx eax, word [ss:0xfffe]	; SP as it was
	shl eax, 16
	mov ax, sp
	mov sp, 0x1000
END
ROW "POPA leaves SP alone", NONE, 0x1000
	pusha
	mov bx, sp
	mov word [ss:bx + 6], 0xdead
	popa
	movzx eax, sp
END
ROW "PUSHAD, POPAD", NONE, 0x12345678
	mov eax, 0x12345678
	pushad
	xor eax, eax
	popad
END
ROW "ENTER 4, 0; LEAVE", NONE, 0x0ffe0ffa
	enter 4, 0
	mov ax, bp
	shl eax, 16
	mov ax, sp
	leave
END
ROW "ENTER 0, 2 copies a frame pointer", NONE, 0xbeef
	mov bp, 0x800
	mov word [ss:0x7fe], 0xbeef
	enter 0, 2
	movzx eax, word [bp - 2]
END
ROW "CALL near pushes IP", NONE, 2
	call .here
.here:	pop ax
	sub ax, O(.here) - 2
END
ROW "far CALL, RETF 2", NONE, 0x1000
	push word 1
	call CODE:O(.far)
	movzx eax, sp
	jmp .end
.far:	retf 2
.end:
END
ROW "far CALL pushes CS", NONE, CODE
	call CODE:O(.far)
.far:	pop ax
	pop ax
	movzx eax, ax
END
ROW "far CALL, 32-bit: 8 bytes", NONE, 0xff8
	call dword CODE:O(.far)
.far:	movzx eax, sp
END
ROW "far JMP loads CS's base", NONE, CODE + 1
	jmp CODE + 1:O(.near) - 16
.near:	mov ax, cs
	movzx eax, ax
END

; ---- flags ----
ROW "POPF: IOPL and NT can be set", NONE, 0x7002
	push word 0x7002
	popf
	pushf
	pop ax
	push word 2
	popf
END
ROW "PUSHF: bit 15 is 0, bit 1 is 1", NONE, 2
	push word 0x8000
	popf
	pushf
	pop ax
END
ROW "POPFD: AC and ID, not VM, RF, VIF, VIP", NONE, 0x240002
	push dword 0x3f0002
	popfd
	pushfd
	pop eax
END
ROW "IRET: IOPL and NT", NONE, 0x7002
	push word 0x7002
	push cs
	push word O(.to)
	iret
.to:	pushf
	pop ax
	push word 2
	popf
END
ROW "IRETD: VM, VIF, VIP stay", NONE, 0x40002
	push dword 0x1e0002
	push dword CODE
	push dword O(.to)
	iretd
.to:	pushfd
	pop eax
END
ROW "INT clears IF and TF, keeps IOPL", NONE, 0x32023002
	mov word [cs:O(.at)], O(.to)
	push word 0x3202
	popf
	push fs
	push word IVT >> 4
	pop fs
	mov bx, O(.to)
	xchg bx, [fs:0x42 * 4]
	int 0x42
.to:	pushf
	pop ax
	mov cx, ax
	pop dx				; IP
	pop dx				; CS
	pop ax				; FLAGS
	mov [fs:0x42 * 4], bx
	shl eax, 16
	mov ax, cx
	push word 2
	popf
	jmp .end
.at:	dw 0
.end:
END
ROW "CLI and STI whatever IOPL", NONE, 0x202
	sti
	pushf
	cli
	pop ax
END

; ---- the vector table ----
ROW "INT beyond IDTR.limit", GP
	o32 lidt [cs:O(.short)]
AT
	int 0x20
.short:	dw 0x7f
	dd IVT
END
ROW "INT whose entry just fits", 0x20
	o32 lidt [cs:O(.short)]
	int 0x20
AT
.short:	dw 0x83
	dd IVT
END
ROW "INT whose entry lacks a byte", GP
	o32 lidt [cs:O(.short)]
AT
	int 0x20
.short:	dw 0x82
	dd IVT
END
ROW "LIDT with 16-bit operand size takes 24 bits of base", NONE, 0x1000
	lidt [cs:O(.table)]
	sidt [0x10]
	mov eax, [0x12]
	jmp .end
.table:	dw 0x3ff
	dd 0xff000000 + IVT
.end:
END
ROW "SGDT stores 32 bits of base", NONE, (CODE << 4) + O(gdt)
	sgdt [0x10]
	mov eax, [0x12]
END

; ---- segments that protected mode leaves behind ----
ROW "unreal: 4 GiB behind DS", NONE, 0x600df00d
	mov bx, 0x18
	xor ax, ax
	call ds_from
	mov esi, 0x200000
	mov dword [esi], 0x600df00d
	mov eax, [esi]
END
ROW "unreal: the limit outlives MOV to DS", NONE, 0x600df00e
	mov bx, 0x18
	xor ax, ax
	call ds_from
	mov ax, DATA
	mov ds, ax
	mov esi, 0x200000
	mov dword [esi], 0x600df00e
	mov eax, [esi]
END
ROW "unreal: and an interrupt", NONE, 0x600df00f
	mov bx, 0x18
	xor ax, ax
	call ds_from
	call hook_gp
	mov word [cs:O(fix_ip)], O(.back)
	int 13
.back:	mov esi, 0x200000
	mov dword [esi], 0x600df00f
	mov eax, [esi]
END
ROW "unreal: word over FFFFH", NONE, 0x4321
	mov bx, 0x18
	mov ax, DATA
	call ds_from
	mov word [dword 0xffff], 0x4321
	mov si, 0xffff
	movzx eax, word [si]
	mov byte [dword 0x10000], 0
END
ROW "unreal: REP STOSD with ECX and EDI", NONE, 0x210000
	mov bx, 0x18
	xor ax, ax
	call ds_from
	mov ax, 0
	mov ecx, cr0
	or cl, 1
	mov cr0, ecx
	mov bx, 0x18
	mov es, bx
	and cl, 0xfe
	mov cr0, ecx
	mov es, ax
	mov edi, 0x200000
	mov ecx, 0x4000
	a32 rep stosd
	mov eax, edi
END
ROW "a limit of 4 KiB outlives protected mode", GP
	mov bx, 0x20
	mov ax, DATA
	call ds_from
AT
	mov al, [0x1000]
END
ROW "... and lets what is below through", NONE, 0
	mov bx, 0x20
	mov ax, DATA
	call ds_from
	movzx eax, byte [0xfff]
END

; ---- A20 ----
%macro HIGH 1				; FS: FFFFH, GS: 0; [GS:500H] and what is 1 MiB above it
	mov ax, 0xffff
	mov fs, ax
	xor ax, ax
	mov gs, ax
	mov dword [gs:0x500], 0x11111111
	mov dword [fs:0x510], 0x22222222
	%1
%endmacro
%macro A20 1				; by port 92H
	mov al, %1
	out 0x92, al
%endmacro
ROW "A20 passes: two places", NONE, 0x11111111
	HIGH nop
	mov eax, [gs:0x500]
END
ROW "A20 masked: one place", NONE, 0x22222222
	HIGH A20 0
	mov dword [fs:0x510], 0x22222222
	mov eax, [gs:0x500]
END
ROW "A20 masked: reads", NONE, 0x11111111
	HIGH A20 0
	mov eax, [fs:0x510]
END
ROW "A20 passes again", NONE, 0x22222222
	HIGH A20 0
	mov ecx, [fs:0x510]
	A20 2
	mov eax, [fs:0x510]
END
ROW "A20 by the keyboard controller", NONE, 0x11111111
	HIGH nop
	mov al, 0xd1
	out 0x64, al
	mov al, 0xdd
	out 0x60, al
	mov ecx, 1000
.wait:	mov eax, [fs:0x510]
	cmp eax, 0x11111111
	loopne .wait
	mov ebx, eax
	mov al, 0xd1
	out 0x64, al
	mov al, 0xdf
	out 0x60, al
	mov eax, ebx
END
ROW "A20 masked: 3 MiB is 2 MiB", NONE, 0x33333333
	mov bx, 0x18
	xor ax, ax
	call ds_from
	mov esi, 0x200000
	mov dword [esi], 0x33333333
	mov dword [esi + 0x100000], 0x44444444
	A20 0
	mov ebx, [esi + 0x100000]
	A20 2
	mov eax, ebx
END
ROW "A20 masked: code", NONE, 0x51
	xor ax, ax
	mov gs, ax
	mov dword [gs:0x600], 0x51b866	; MOV EAX, 51H; INT NONE
	mov word [gs:0x604], 0
	mov word [gs:0x606], 0xcd + (NONE << 8)
	mov ax, 0xffff
	mov fs, ax
	mov dword [fs:0x610], 0xccccccc
	A20 0
	jmp 0xffff:0x610
END
ROW "A20 masked: a string over 1 MiB", NONE, 0x77
	mov ax, 0xffff
	mov es, ax
	xor ax, ax
	mov gs, ax
	mov byte [gs:0], 0
	A20 0
	mov di, 0xe
	mov cx, 4
	mov al, 0x77
	rep stosb
	A20 2
	movzx eax, byte [gs:1]
END

; ---- debugging ----
ROW "TF: trap after the next instruction", DB_, 0x4000
	push word 0x102
	popf
	nop
AT
	nop
END
ROW "TF: MOV SS holds it off", DB_, 0x4000
	mov dx, ss
	push word 0x102
	popf
	mov ss, dx
	nop
AT
	nop
END
ROW "TF: INT does not trap", 0x43
	push word 0x102
	popf
	int 0x43
AT
END
ROW "data breakpoint: linear address", DB_, 1
	mov eax, (DATA << 4) + 0x20
	mov dr0, eax
	mov eax, 0x000d0001
	mov dr7, eax
	mov byte [0x20], 1
AT
	nop
END
ROW "code breakpoint: before the instruction", DB_, 1
	mov eax, (CODE << 4) + O(.here)
	mov dr0, eax
	mov eax, 1
	mov dr7, eax
AT
.here:	ud2
END
ROW "GD", DB_, 0x2000
	mov eax, 0x2000
	mov dr7, eax
AT
	mov eax, dr0
END

; ---- widths ----
ROW "LOOP counts CX", NONE, 0x10000
	mov ecx, 0x10002
.loop:	loop .loop
	mov eax, ecx
END
ROW "LOOP with 67H counts ECX", NONE, 0
	mov ecx, 0x10002
.loop:	a32 loop .loop
	mov eax, ecx
END
ROW "JCXZ, JECXZ", NONE, 1
	mov ecx, 0x10000
	jcxz .one
	jmp .end
.one:	jecxz .end
	mov al, 1
.end:
END
ROW "LSS SP loads both", NONE, 0x800
	mov dword [0x10], STACK << 16 | 0x800
	lss sp, [0x10]
	movzx eax, sp
END
ROW "RDTSC, CPUID, RDMSR", NONE, 0
	mov ecx, 0x1b
	rdmsr
	cpuid
	rdtsc
	xor eax, eax
END

; x87 errors with CR0.NE clear (SDM vol. 1, 8.7.2; 82371AB): FERR# is IRQ 13, after a write to port F0H IGNNE# is there
; until the error is not. [10H]: where the interrupt came, [12H]: how often, [14H]: the control word.
%macro IRQ13 0
	mov ax, O(on_irq13)
	call hook_irq13
	call divide
	sti
	nop
%endmacro
%macro IRQ13_END 0
	cli
	mov bx, [0x12]
	shl ebx, 16
	movzx eax, ax
	or eax, ebx
	mov ebx, eax
	mov al, 0xff
	out 0x21, al
	out 0xa1, al
	mov eax, ebx
	END
%endmacro
ROW "FERR#: IRQ 13 at the instruction that waits", NONE, 0x10000
	IRQ13
	fnop
at_irq13:
	mov ax, [0x10]
	sub ax, O(at_irq13 - 2)
IRQ13_END
ROW "FERR#: IRQ 13 at WAIT, not at those that do not", NONE, 0x10000
	IRQ13
	fnstsw ax
	fnstcw [0x20]
	wait
at_wait:
	mov ax, [0x10]
	sub ax, O(at_wait - 1)
IRQ13_END
ROW "FERR#: IRQ 13 again, once the error was cleared", NONE, 0x20000
	IRQ13
	fnop
	fnclex
	call divide
	fnop
	xor ax, ax
IRQ13_END
ROW "IGNNE#: passed over until the error is cleared", NONE, 0x18084
	mov word [0x14], 1
	IRQ13
	fnop
	fnop
	fld1
	wait
	fnstsw ax
	and ax, 0x80ff
IRQ13_END
ROW "port F0H without an error: no IGNNE#", NONE, 0x10000
	mov ax, O(on_irq13)
	call hook_irq13
	out 0xf0, al
	call divide
	sti
	nop
	fnop
	xor ax, ax
IRQ13_END
ROW "FERR#: IRQ 13 masked: stands still until another interrupt", 8
	push word IVT >> 4
	pop es
	mov eax, [es:8 * 4]
	mov [cs:O(old_irq0)], eax
	mov word [es:8 * 4], O(on_irq0)
	mov al, 0xff
	out 0xa1, al
	mov al, 0xfe
	out 0x21, al
	sti
	hlt				; one tick: the next is far
	call divide
AT
	fnop
	jmp $
END

old_irq0: dd 0
on_irq0:
	push eax
	push es
	push word IVT >> 4
	pop es
	mov eax, [cs:O(old_irq0)]
	mov [es:8 * 4], eax
	mov al, 0x20
	out 0x20, al
	pop es
	pop eax
	iret
; IRQ 13 goes to AX, alone.
hook_irq13:
	push es
	push word IVT >> 4
	pop es
	mov [es:0x75 * 4], ax
	mov [es:0x75 * 4 + 2], cs
	pop es
	mov al, 0xdf
	out 0xa1, al
	mov al, 0xfb
	out 0x21, al
	ret
; 1 / 0, which is not masked
divide:	fninit
	mov word [0x16], 0x37b
	fldcw [0x16]
	fld1
	fldz
	fdivp
	ret
on_irq13:
	push bp
	push ax
	mov bp, sp
	mov ax, [bp + 4]
	mov [0x10], ax
	inc word [0x12]
	out 0xf0, al
	mov al, 0x20
	out 0xa0, al
	out 0x20, al
	cmp word [0x14], 0
	jne .keep
	fnclex
.keep:	pop ax
	pop bp
	iret

; The next #GP goes on at fix_ip.
hook_gp:
	push gs
	push ax
	push word IVT >> 4
	pop gs
	mov ax, [gs:13 * 4]
	mov [cs:O(old_gp)], ax
	mov word [gs:13 * 4], O(on_gp)
	pop ax
	pop gs
	ret
on_gp:	push gs
	push ax
	push word IVT >> 4
	pop gs
	mov ax, [cs:O(old_gp)]
	mov [gs:13 * 4], ax
	mov ax, [cs:O(fix_ip)]
	push bp
	mov bp, sp
	mov [bp + 6], ax
	pop bp
	pop ax
	pop gs
	iret
fix_ip:	dw 0
old_gp:	dw 0
ROWS_END
