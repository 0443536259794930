; SPDX-License-Identifier: ISC
; sys32.asm: system instructions in protected mode without long mode (32-bit and 16-bit code) and in
; virtual-8086 mode, against the manuals (SDM vol. 2 and 3). rig32.inc says how a row reads.
%include "rig32.inc"

; ---- privilege ----
%macro PRIV 2+
	ROW {%1, ", ring 3"}, U32, GP, 0
	GO
	AT
	%2
	END
	ROW {%1, ", ring 3, 16-bit"}, U16, GP, 0
	GO
	AT
	%2
	END
	ROW {%1, ", virtual-8086"}, V86, GP, 0
	GO
	AT
	%2
	END
%endmacro
PRIV "HLT", hlt
PRIV "CLTS", clts
PRIV "INVD", invd
PRIV "WBINVD", wbinvd
PRIV "RDMSR", rdmsr
PRIV "WRMSR", wrmsr
PRIV "LMSW", lmsw ax
PRIV "LGDT", lgdt [bx]
PRIV "LIDT", lidt [bx]
PRIV "INVLPG", invlpg [bx]
PRIV "MOV from CR0", mov eax, cr0
PRIV "MOV to CR0", mov cr0, eax
PRIV "MOV to CR3", mov cr3, eax
PRIV "MOV from CR4", mov eax, cr4
PRIV "MOV from DR0", mov eax, dr0
PRIV "MOV to DR7", mov dr7, eax
PRIV "RDPMC", rdpmc
%macro IOPL_ 2+
	ROW {%1, ", ring 3, IOPL 0"}, U32, GP, 0
	GO
	AT
	%2
	END
	ROW {%1, ", ring 3, IOPL 3"}, U32, NONE, ANY
	mov dword [row_flags], 0x3002
	GO
	%2
	END
%endmacro
IOPL_ "CLI", cli
IOPL_ "STI", sti
IOPL_ "IN", in al, 0x80
IOPL_ "OUT DX", out dx, al
%macro V86UD 2+
	ROW {%1, ", virtual-8086"}, V86, UD, 0
	GO
	AT
	%2
	END
%endmacro
V86UD "LLDT", lldt ax
V86UD "LTR", ltr ax
V86UD "SLDT", sldt ax
V86UD "STR", str ax
V86UD "LAR", lar ax, ax
V86UD "LSL", lsl ax, ax
V86UD "VERR", verr ax
V86UD "VERW", verw ax
V86UD "ARPL", arpl ax, ax
V86UD "SYSENTER-like: UD2", ud2
V86UD "LOCK NOP", db 0xf0, 0x90
V86UD "VEX", db 0xc5, 0xf8, 0x77
%macro V86GP 2+
	ROW {%1, ", virtual-8086, IOPL 0"}, V86, GP, 0
	mov dword [row_flags], 2
	GO
	AT
	%2
	END
%endmacro
V86GP "CLI", cli
V86GP "STI", sti
V86GP "PUSHF", pushf
V86GP "POPF", popf
V86GP "INT n", int 0x21
V86GP "IRET", iret
V86GP "PUSHFD", pushfd
V86GP "IRETD", iretd
ROW "IN AL, virtual-8086: the bitmap decides, whatever IOPL", V86, GP, 0
	GO
AT
	in al, 0x80
END
ROW "INT3, virtual-8086, IOPL 0", V86, BP_, ANY
	mov dword [row_flags], 2
	GO
	int3
AT
END
ROW "CLI, STI, PUSHF, POPF, virtual-8086, IOPL 3", V86, NONE, ANY, 0x3202
	GO
	sti
	pushf
	pop ax
	push ax
	popf
	cli
	xor edx, edx
	movzx eax, ax
END
ROW "segment arithmetic, virtual-8086", V86, NONE, ANY, 0x1234
	mov word [V86DATA + 0x54], 0x1234
	GO
	mov ax, 0x6005
	mov ds, ax
	movzx eax, word [4]
END
ROW "word at FFFFH, virtual-8086: #GP", V86, GP, 0
	GO
	mov si, 0xffff
AT
	mov ax, [si]
END
ROW "word at SS:FFFFH, virtual-8086: #SS", V86, SS_, 0
	GO
	mov bp, 0xffff
AT
	mov ax, [bp]
END
ROW "dword at FFFDH, virtual-8086: #GP", V86, GP, 0
	GO
	mov si, 0xfffd
AT
	mov eax, [si]
END
ROW "32-bit offset above FFFFH, virtual-8086: #GP", V86, GP, 0
	GO
	mov esi, 0x10000
AT
	mov al, [esi]
END
ROW "16-bit addresses wrap, virtual-8086", V86, NONE, ANY, 0x77
	mov byte [V86DATA + 4], 0x77
	GO
	mov si, 0xfff0
	movzx eax, byte [si + 0x14]
END
ROW "PUSH at SP 0 wraps, virtual-8086", V86, NONE, ANY, 0xfffe
	GO
	xor sp, sp
	push ax
	movzx eax, sp
END
ROW "PUSH at SP 1, virtual-8086: #SS", V86, SS_, 0
	GO
	mov sp, 1
AT
	push ax
END
ROW "far JMP, virtual-8086", V86, NONE, ANY, 0x6ff0
	GO
	jmp 0x6ff0:0x105
	mov ax, cs
	movzx eax, ax
END
ROW "VME: CLI clears VIF", V86, GP, 0
	mov eax, cr4
	or al, 1
	mov cr4, eax
	mov dword [row_flags], 0x80002
	GO
	cli
	pushf
	pop ax
	test ah, 2
	jnz bad_%[rn]
AT
	hlt
bad_%[rn]:	nop
END
ROW "VME: STI sets VIF, PUSHF shows it as IF with IOPL 3", V86, GP, 0
	mov eax, cr4
	or al, 1
	mov cr4, eax
	mov dword [row_flags], 2
	GO
	sti
	pushf
	pop ax
	and ax, 0x3200
	cmp ax, 0x3200
	jne bad_%[rn]
AT
	hlt
bad_%[rn]:	nop
END
ROW "VME: STI with VIP is #GP", V86, GP, 0
	mov eax, cr4
	or al, 1
	mov cr4, eax
	mov dword [row_flags], 0x100002
	GO
AT
	sti
END
ROW "VME: POPF with TF is #GP", V86, GP, 0
	mov eax, cr4
	or al, 1
	mov cr4, eax
	mov dword [row_flags], 2
	GO
	push 0x100
AT
	popf
END
ROW "VME: PUSHFD is #GP", V86, GP, 0
	mov eax, cr4
	or al, 1
	mov cr4, eax
	mov dword [row_flags], 2
	GO
AT
	pushfd
END
; INT n in virtual-8086 mode with VME: the map below the I/O map says which go to the task's own vector
; table, at 0 (SDM vol. 3, table 21-2). Bit of vector 40H set, so that END leaves.
%macro VME 2				; flags, handler of 21H in the row's code
	mov eax, cr4
	or al, 1
	mov cr4, eax
	mov byte [tss + 0x48 + NONE / 8], 1 << (NONE & 7)
	mov byte [tss + 0x48 + 0x21 / 8], 0
	mov dword [0x21 * 4], (V86CODE >> 4) << 16
	mov word [0x21 * 4], %2 - .go
	mov dword [row_flags], %1
	GO
.go:
%endmacro
%macro RET_TO 2				; flags, where
	push %1
	push cs
	push %2 - .go
%endmacro
ROW "VME: INT to the task's handler, IOPL 3: pushed flags, IF clear", V86, NONE, ANY, 0x32023002
	VME 0x3202, .handler
	int 0x21
.handler:
	pushf
	pop cx
	pop ax
	pop ax
	pop ax
	shl eax, 16
	mov ax, cx
END
ROW "VME: INT to the task's handler, IOPL 0: IF is VIF, IOPL shows 3", V86, GP, 0, 0x32023002
	VME 0x80002, .handler
	int 0x21
.handler:
	pushf
	pop cx
	pop ax
	pop ax
	pop ax
	shl eax, 16
	mov ax, cx
AT
	hlt
END
ROW "VME: INT to the task's handler pushes IP and CS", V86, NONE, ANY, 0x70000002
	VME 0x3002, .handler
	int 0x21
.handler:
	pop ax
	pop cx
	shl ecx, 16
	or eax, ecx
END
ROW "VME: INT with its bit set, IOPL 0: #GP", V86, GP, 0
	VME 2, .go
AT
	int NONE
END
ROW "VME: INT with its bit set, IOPL 3: the gate", V86, NONE, ANY
	VME 0x3002, .handler
	int NONE
.handler:
END
ROW "VME: INT3 goes through the gate", V86, BP_, ANY
	VME 0x3002, .go
	int3
AT
END
ROW "VME: IRET, IOPL 0: IF goes to VIF", V86, GP, 0, 0x3202
	VME 2, .to
	RET_TO 0x202, .to
	iret
.to:	pushf
	pop ax
	movzx eax, ax
AT
	hlt
END
ROW "VME: IRET, IOPL 0, clears VIF", V86, GP, 0, 0x3002
	VME 0x80002, .to
	RET_TO 2, .to
	iret
.to:	pushf
	pop ax
	movzx eax, ax
AT
	hlt
END
ROW "VME: IRET to IF with VIP: #GP", V86, GP, 0
	VME 0x100002, .go
	RET_TO 0x202, .go
AT
	iret
END
ROW "VME: IRET with TF, IOPL 0: #GP", V86, GP, 0
	VME 2, .go
	RET_TO 0x102, .go
AT
	iret
END
ROW "VME: IRETD, IOPL 0: #GP", V86, GP, 0
	VME 2, .go
	push dword 2
	push dword V86CODE >> 4
	push dword 0
AT
	iretd
END
ROW "VME: POPF, IOPL 0: IF goes to VIF, IOPL stays", V86, GP, 0, 0x3202
	VME 2, .to
	push 0x1202
	popf
.to:	pushf
	pop ax
	movzx eax, ax
AT
	hlt
END
ROW "VME: POPF to IF with VIP: #GP", V86, GP, 0
	VME 0x100002, .go
	push 0x202
AT
	popf
END
ROW "VME: CLI with VIP is allowed", V86, GP, 0
	VME 0x180002, .to
	cli
.to:
AT
	hlt
END
ROW "PVI: CLI in ring 3 works on VIF", U32, NONE, ANY, 2
	mov eax, cr4
	or al, 2
	mov cr4, eax
	mov dword [row_flags], 0x80002
	GO
	cli
	pushf
	pop eax
	and eax, 0x80002
END

; ---- opcodes ----
%macro BYTES 3+
	ROW {"#UD: ", %1}, %2, UD, 0
	GO
	AT
	db %3
	END
%endmacro
%assign m 0
%rep 4
BYTES "UD0", m, 0x0f, 0xff, 0xc0
BYTES "UD2", m, 0x0f, 0x0b
BYTES "MOV CS", m, 0x8e, 0xc8
BYTES "LEA register", m, 0x8d, 0xc0
BYTES "LES register", m, 0xc4, 0xc0
BYTES "far JMP register", m, 0xff, 0xe8
BYTES "FF /7", m, 0xff, 0xf8
BYTES "LOCK ADD register", m, 0xf0, 1, 0xc0
BYTES "LOCK MOV", m, 0xf0, 0x89, 7
BYTES "SYSCALL-less SWAPGS", m, 0x0f, 1, 0xf8
BYTES "RSM", m, 0x0f, 0xaa
BYTES "MOV CR1", m, 0x0f, 0x20, 0xc8
BYTES "BOUND register is EVEX or #UD", m, 0x62, 0xc0
%assign m m + 1
%endrep
%macro VALUE 5+				; name, mode, EAX before, after
	ROW {%1}, %2, NONE, ANY, %4
	mov dword [go_ax], %3
	GO
	%5
	END
%endmacro
VALUE "DAA", U32, 0x9a, 0x100, db 0x27, 0x0f, 0xb6, 0xc0, 0x0f, 0x92, 0xc4
VALUE "DAS", U32, 0x1b, 0x15, das
VALUE "AAA", U32, 0x0f, 0x105, aaa
VALUE "AAS", U32, 0x20f, 0x109, aas
VALUE "AAM", U32, 0x37, 0x505, aam
VALUE "AAD", U32, 0x505, 0x37, aad
VALUE "SALC with CF", U32, 0, 0xff, db 0xf9, 0xd6
VALUE "SALC without CF", U32, 0x12, 0, db 0xf8, 0xd6
VALUE "INC r32 (40)", U32, 0xffffffff, 0, inc eax
VALUE "16-bit operand by prefix", U32, 0x1ffff, 0x10000, inc ax
VALUE "32-bit operand by prefix in 16-bit code", K16, 0x1ffff, 0x20000, inc eax
VALUE "PUSHA POPA", U32, 0x1234, 0x1234, db 0x60, 0x31, 0xc0, 0x61
VALUE "82 is 80", U32, 5, 7, db 0x82, 0xc0, 2
VALUE "XLAT", U32, 0x10, 0xcc, db 0x89, 0xfb, 0xc6, 0x43, 0x10, 0xcc, 0xd7

; ---- loading segment registers ----
%macro LOADSEG 7			; type (bit 4: S), DPL, P, RPL, ring, register (0 SS, 1 DS, 2 GS), mode
	%assign vec NONE
	%assign err ANY
	%if %6 == 0
		%if %4 != %5 || %2 != %5 || (%1 & 0x1a) != 0x12
			%assign vec GP
		%elif !%3
			%assign vec SS_
		%endif
	%else
		%if !(%1 & 0x10) || (%1 & 0x0a) == 8
			%assign vec GP
		%elif (%1 & 0x0c) != 0x0c && (%4 > %2 || %5 > %2)
			%assign vec GP
		%elif !%3
			%assign vec NP
		%endif
	%endif
	%if vec != NONE
		%assign err SLOT
	%endif
	ROW {"load seg: type ", '0' + %1 / 10, '0' + %1 % 10, " DPL ", '0' + %2, " P ", '0' + %3, \
		" RPL ", '0' + %4, " ring ", '0' + %5, " reg ", '0' + %6}, %7, vec, err
	mov dword [gdt + SLOT], 0
	mov dword [gdt + SLOT + 4], 0xc00000 | (%1 | %2 << 5 | %3 << 7) << 8
	%if (%1 & 0x14) != 0x14		; expand-down: limit 0
	mov word [gdt + SLOT], 0xffff
	or byte [gdt + SLOT + 6], 0xf
	%endif
	mov dword [go_ax], SLOT + %4
	GO
	%if vec != NONE
	AT
	%endif
	%if %6 == 0
	mov ss, ax
	%elif %6 == 1
	mov ds, ax
	%else
	mov gs, ax
	%endif
	END
%endmacro
%assign t 0
%rep 32
%assign c 0
%rep 32
	%assign ring (c & 1) * 3
	%assign dpl (c >> 1 & 1) * 3
	%assign rpl (c >> 2 & 1) * 3
	%assign p c >> 3 & 1
	%assign mode (c & 1) + (t & 1) * 2
	%assign reg 0
	%if !(c & 16)
	%assign reg 1 + (t & 1)
	%endif
	LOADSEG t, dpl, p, rpl, ring, reg, mode
	%assign c c + 1
%endrep
%assign t t + 1
%endrep
%macro SEGSEL 6
ROW {"load seg: ", %1}, %2, %3, %4
	mov dword [go_ax], %5
	GO
	%if %3 != NONE
	AT
	%endif
	mov %6, ax
END
%endmacro
%assign m 0
%rep 4
SEGSEL "null DS", m, NONE, ANY, 0, ds
SEGSEL "null with RPL 3 ES", m, NONE, ANY, 3, es
SEGSEL "null SS", m, GP, 0, 0, ss
SEGSEL "null SS with RPL 3", m, GP, 0, 3, ss
SEGSEL "beyond the GDT", m, GP, GDT_END, GDT_END + 3, ds
SEGSEL "LDT, none loaded", m, GP, 0xc, 0xf, es
%assign m m + 1
%endrep

; ---- VERR VERW LAR LSL ----
%macro VERIFY 5				; type, DPL, RPL, ring, mode
	%assign can_see 1
	%if (%1 & 0x1c) != 0x1c && (%3 > %2 || %4 > %2)
		%assign can_see 0
	%endif
	%assign can_lar can_see
	%assign can_lsl can_see
	%if !(%1 & 0x10)
		%assign can_lar can_see * ((1 << %1 & 0x1a3e) != 0)
		%assign can_lsl can_see * ((1 << %1 & 0x0a0e) != 0)
	%endif
	%assign can_rd can_see
	%if !(%1 & 0x10) || (%1 & 0xa) == 8
		%assign can_rd 0
	%endif
	%assign can_wr can_see
	%if (%1 & 0x1a) != 0x12
		%assign can_wr 0
	%endif
	ROW {"VERR VERW LAR LSL: type ", '0' + %1 / 10, '0' + %1 % 10, " DPL ", '0' + %2, \
		" RPL ", '0' + %3, " ring ", '0' + %4}, %5, NONE, ANY, can_lar | can_lsl << 1 | can_rd << 2 | can_wr << 3
	mov dword [gdt + SLOT], 0xffff
	mov dword [gdt + SLOT + 4], (%1 | %2 << 5 | 0x80) << 8
	mov dword [go_ax], SLOT + %3
	GO
	lar ecx, ax
	sete dl
	lsl ecx, ax
	sete dh
	shl dh, 1
	or dl, dh
	verr ax
	sete dh
	shl dh, 2
	or dl, dh
	verw ax
	sete dh
	shl dh, 3
	or dl, dh
	movzx eax, dl
	END
%endmacro
%assign t 0
%rep 32
%assign c 0
%rep 8
	%assign dpl (c & 1) * 3
	%assign rpl (c >> 1 & 1) * 3
	%assign ring (c >> 2) * 3
	%assign mode (c >> 2) + (t & 1) * 2
	VERIFY t, dpl, rpl, ring, mode
	%assign c c + 1
%endrep
%assign t t + 1
%endrep
%macro ARPL_ 4
ROW {"ARPL ", '0' + %1, " with ", '0' + %2}, U32, NONE, ANY, %3 | (%4) << 16
	mov dword [go_ax], 0x20 + %1
	GO
	mov ecx, 0x30 + %2
	arpl ax, cx
	setz cl
	movzx ecx, cl
	shl ecx, 16
	or eax, ecx
END
%endmacro
ARPL_ 0, 3, 0x23, 1
ARPL_ 3, 0, 0x23, 0
ARPL_ 1, 1, 0x21, 0
ARPL_ 2, 3, 0x23, 1

; ---- segment limits: expand up and down, G, B, sizes at the edge ----
%macro LIMIT 7				; down, G, B, limit field, offset, size, ok
	%assign sz %6
	%if %7
	ROW {"limit: down ", '0' + %1, " G", '0' + %2, " B", '0' + %3, " size ", '0' + %6, " good"}, U32, NONE, ANY
	%else
	ROW {"limit: down ", '0' + %1, " G", '0' + %2, " B", '0' + %3, " size ", '0' + %6, " bad"}, U32, GP, 0
	%endif
	mov dword [gdt + SLOT], %4 & 0xffff
	mov dword [gdt + SLOT + 4], 0xf300 | %1 << 10 | (%4 & 0xf0000) | %2 << 23 | %3 << 22
	mov dword [go_ax], SLOT + 3
	GO
	mov es, ax
	mov ebx, %5
	%if !%7
	AT
	%endif
	%if %6 == 1
	mov al, [es:ebx]
	%elif %6 == 2
	mov ax, [es:ebx]
	%else
	mov eax, [es:ebx]
	%endif
	END
%endmacro
LIMIT 0, 0, 1, 0xfff, 0xfff, 1, 1
LIMIT 0, 0, 1, 0xfff, 0x1000, 1, 0
LIMIT 0, 0, 1, 0xfff, 0xffe, 2, 1
LIMIT 0, 0, 1, 0xfff, 0xfff, 2, 0
LIMIT 0, 0, 1, 0xfff, 0xffc, 4, 1
LIMIT 0, 0, 1, 0xfff, 0xffd, 4, 0
LIMIT 0, 0, 1, 0xfff, 0xffffffff, 1, 0
LIMIT 0, 0, 1, 0xfff, 0xfffffffd, 4, 0
LIMIT 0, 1, 1, 1, 0x1fff, 1, 1
LIMIT 0, 1, 1, 1, 0x1ffd, 4, 0
LIMIT 0, 1, 1, 0, 0xffc, 4, 1
LIMIT 0, 1, 0, 0xff, 0xfffff, 1, 1
LIMIT 0, 0, 0, 0, 0, 1, 1
LIMIT 0, 0, 0, 0, 0, 2, 0
LIMIT 1, 0, 1, 0xfff, 0xfff, 1, 0
LIMIT 1, 0, 1, 0xfff, 0x1000, 1, 1
LIMIT 1, 0, 1, 0xfff, 0xffe, 4, 0
LIMIT 1, 0, 0, 0xfff, 0xffff, 1, 1
LIMIT 1, 0, 0, 0xfff, 0xffff, 2, 0
LIMIT 1, 0, 0, 0xfff, 0x10000, 1, 0
LIMIT 1, 1, 1, 0, 0xfff, 1, 0
LIMIT 1, 1, 1, 0, 0x1000, 4, 1
ROW "stack segment limit: #SS", U32, SS_, 0
	mov dword [gdt + SLOT], 0xfff
	mov dword [gdt + SLOT + 4], 0x40f300
	mov dword [go_ax], SLOT + 3
	GO
	mov ss, ax
AT
	push eax
END
ROW "write to a code segment", U32, GP, 0
	GO
AT
	mov [cs:edi], eax
END
ROW "read of an execute-only segment", U32, GP, 0
	mov dword [gdt + SLOT], 0xffff
	mov dword [gdt + SLOT + 4], 0xcff800
	GO
	jmp SLOT + 3:x_%[rn]
x_%[rn]:
AT
	mov eax, [cs:edi]
END
ROW "write to read-only data", U32, GP, 0
	mov dword [gdt + SLOT], 0xffff
	mov dword [gdt + SLOT + 4], 0xcff000
	mov dword [go_ax], SLOT + 3
	GO
	mov ds, ax
AT
	mov [edi], eax
END
ROW "null DS", U32, GP, 0
	GO
	mov ds, ax
AT
	mov eax, [edi]
END
ROW "16-bit stack keeps the upper half of ESP", K32, NONE, ANY, 0x1230fffe
	GO
	mov ax, SD16
	mov ss, ax
	mov esp, 0x12300000
	push ax
	mov eax, esp
	mov cx, SKD
	mov ss, cx
	mov esp, STACK
END

; ---- x87 operands over the end of a segment and of a page: neither memory nor stack has changed ----
%macro X87 6				; name, size, write, step, operand size 16 (2: has none), bytes
	%assign m 0
	%rep 4
	X87AT {%1}, %2, %3, %4, ((%5) ^ (m >> 1)) & ((%5) < 2), {%6}, m
	%assign m m + 1
	%endrep
%endmacro
%macro X87AT 7
	%xdefine mode %7
	%assign by %4
	%assign pby %4
	%if %4 == 16			; what FXSAVE writes here ends at 288
	%assign pby 512 - 288 + 16
	%endif
	X87END {%1, ": the segment's last byte"}, mode, NONE, ANY, 0x26, 0x1000 - (%2), %5, {%6}
	X87END {%1, ": over the segment's end"}, mode, GP, 0, 0x26, 0x1000 - (%2) + by, %5, {%6}
	%if mode & 1
	X87END {%1, ": over the stack segment's end"}, mode, SS_, 0, 0x36, 0x1000 - (%2) + by, %5, {%6}
	%endif
	X87PAGE {%1, ": over a page's end"}, mode, (%3) * 2 | (mode & 1) * 4, 0, VT + 0x1000 - (%2) + pby, %5, {%6}
	%if (%3) && (mode & 1)
	X87PAGE {%1, ": over a page's end, read-only"}, mode, 7, FRAME2 + 5, VT + 0x1000 - (%2) + pby, %5, {%6}
	%endif
%endmacro
%macro X87ROW 5				; mode, segment prefix, offset, 66H?, bytes
	%if %1 >= 2
	db 0x67
	%endif
	%if %2
	db %2
	%endif
	%if %4
	db 0x66
	%endif
	db %5
%endmacro
%macro X87END 8				; name, mode, vector, error, segment prefix, offset, 66H, bytes
ROW {%1}, %2, %3, %4
	mov dword [gdt + SLOT], 0x0fff | (FRAME & 0xffff) << 16
	mov dword [gdt + SLOT + 4], 0x40f300 | FRAME >> 16 & 0xff
	mov dword [go_ax], SLOT + 3 * ((%2) & 1)
	fld1
	%if %3 != NONE
	mov dword [FRAME + 0xff8], KEPT
	mov dword [kept_at], FRAME + 0xff8
	%endif
	GO
	%if %5 == 0x36
	mov ss, ax
	%else
	mov es, ax
	%endif
	mov ebx, %6
	%if %3 != NONE
	AT
	%endif
	X87ROW %2, %5, %6, %7, {%8}
	%if %5 == 0x36
	mov ebx, SUD
	mov ss, bx
	%endif
	END
%endmacro
%macro X87PAGE 7			; name, mode, error, second PTE, address, 66H, bytes
ROW {%1}, %2, PF, %3, VT + 0x1000
	mov dword [PT_TEST], FRAME + 7
	mov dword [PT_TEST + 4], %4
	fld1
	mov dword [FRAME + 0xff8], KEPT
	mov dword [kept_at], FRAME + 0xff8
	call paging_on
	GO
	mov ebx, %5
	AT
	X87ROW %2, 0, %5, %6, {%7}
	END
%endmacro
%define M(r) ((r) << 3 | 3)			; [EBX]
X87 "FLD m80", 10, 0, 2, 2, {0xdb, M(5)}
X87 "FSTP m80", 10, 1, 2, 2, {0xdb, M(7)}
X87 "FBLD", 10, 0, 2, 2, {0xdf, M(4)}
X87 "FBSTP", 10, 1, 2, 2, {0xdf, M(6)}
X87 "FNSTENV, 14 bytes", 14, 1, 2, 1, {0xd9, M(6)}
X87 "FNSTENV, 28 bytes", 28, 1, 2, 0, {0xd9, M(6)}
X87 "FLDENV, 14 bytes", 14, 0, 2, 1, {0xd9, M(4)}
X87 "FLDENV, 28 bytes", 28, 0, 2, 0, {0xd9, M(4)}
X87 "FNSAVE, 94 bytes", 94, 1, 2, 1, {0xdd, M(6)}
X87 "FNSAVE, 108 bytes", 108, 1, 2, 0, {0xdd, M(6)}
X87 "FRSTOR, 94 bytes", 94, 0, 2, 1, {0xdd, M(4)}
X87 "FRSTOR, 108 bytes", 108, 0, 2, 0, {0xdd, M(4)}
X87 "FXSAVE", 512, 1, 16, 2, {0x0f, 0xae, M(0)}
X87 "FXRSTOR", 512, 0, 16, 2, {0x0f, 0xae, M(1)}

; ---- far transfers ----
%macro FARCODE 7			; how, type, DPL, RPL, P, ring, mode
	%assign vec NONE
	%assign err ANY
	%assign conf (%2 & 0x1c) == 0x1c
	%assign codeseg (%2 & 0x18) == 0x18
	%if !codeseg
		%assign vec GP
	%elif %1 < 2
		%if conf && %3 > %6
			%assign vec GP
		%elif !conf && (%4 > %6 || %3 != %6)
			%assign vec GP
		%endif
	%else
		%if %4 < %6
			%assign vec GP
		%elif conf && %3 > %4
			%assign vec GP
		%elif !conf && %3 != %4
			%assign vec GP
		%endif
	%endif
	%if vec == NONE && !%5
		%assign vec NP
	%endif
	%if vec != NONE
		%assign err SLOT
	%endif
	ROW {"far ", 'J' * (%1 == 0) + 'C' * (%1 == 1) + 'R' * (%1 == 2) + 'I' * (%1 == 3), ": type ", '0' + %2 / 10, \
		'0' + %2 % 10, " DPL ", '0' + %3, " RPL ", '0' + %4, " P ", '0' + %5, " ring ", '0' + %6}, %7, vec, err
	mov dword [gdt + SLOT], 0xffff
	mov dword [gdt + SLOT + 4], 0xcf0000 | (%2 | %3 << 5 | %5 << 7) << 8
	GO
	%if %1 < 2
	mov dword [edi], %%to
	mov word [edi + 4], SLOT + %4
	%if vec != NONE
	AT
	%endif
	%if %1 == 0
	jmp far dword [edi]
	%else
	call far dword [edi]
	%endif
	%elif %1 == 2
	%if %4 > %6
	push dword SUD
	push dword STACK
	%endif
	push dword SLOT + %4
	push dword %%to
	%if vec != NONE
	AT
	%endif
	o32 retf
	%else
	%if %4 > %6
	push dword SUD
	push dword STACK
	%endif
	push dword 2
	push dword SLOT + %4
	push dword %%to
	%if vec != NONE
	AT
	%endif
	iretd
	%endif
	%%to:
	BITS 32
	END
%endmacro
%assign h 0
%rep 4
%assign t 17
%rep 15
%assign c 0
%rep 16
	%assign dpl (c >> 1 & 1) * 3
	%assign rpl (c >> 2 & 1) * 3
	%assign ring (c & 1) * 3
	%assign p c >> 3
	%assign mode (c & 1)
	FARCODE h, t, dpl, rpl, p, ring, mode
	%assign c c + 1
%endrep
%assign t t + 1
%endrep
%assign h h + 1
%endrep
%macro FARTO 5				; name, mode, vector, error, selector
ROW {"far JMP: ", %1}, %2, %3, %4
	GO
AT
	jmp %5:dword 0x100000
END
%endmacro
FARTO "null", U32, GP, 0, 0
FARTO "null with RPL", U32, GP, 0, 3
FARTO "beyond the GDT", K32, GP, GDT_END, GDT_END
FARTO "LDT, none loaded", K32, GP, 0xc, 0xc
ROW "far JMP beyond the limit", U32, GP, 0
	mov dword [gdt + SLOT], 0xffff
	mov dword [gdt + SLOT + 4], 0x40fb00
	GO
AT
	jmp SLOT + 3:dword 0x10000
END
ROW "far CALL pushes CS and EIP", U32, NONE, ANY, SU32
	GO
	call SU32:to_%[rn]
to_%[rn]:	pop eax
	pop eax
END
ROW "RETF n to ring 3 pops from both stacks", K32, NONE, ANY, STACK - 0x100 + 8
	GO
	push dword 0
	push dword 0
	push dword SUD
	push dword STACK - 0x100
	push dword 0
	push dword 0
	push dword SU32
	push dword to_%[rn]
	retf 8
to_%[rn]:	mov eax, esp
END
ROW "RETF to ring 3 makes ring 0 data segments null", K32, NONE, ANY, 0
	GO
	push dword SUD
	push dword STACK - 0x100
	push dword SU32
	push dword to_%[rn]
	retf
to_%[rn]:	mov ax, ds
	movzx eax, ax
END

; ---- system descriptors as targets of CALL ----
%macro FARSYS 4				; type, DPL, ring, P
	%assign vec GP
	%assign err SLOT
	%if %2 >= %3 && (%1 == 12 || %1 == 4 || %1 == 5 || %1 == 9)
		%if %4
			%assign vec NONE
			%assign err ANY
		%else
			%assign vec NP
		%endif
	%endif
	%assign mode %3 != 0
ROW {"far CALL, system type ", '0' + %1 / 10, '0' + %1 % 10, " DPL ", '0' + %2, " ring ", '0' + %3, " P ", '0' + %4}, mode, vec, err
	%if %1 == 9 || %1 == 11
	mov eax, [gdt + STSSB]
	mov [gdt + SLOT], eax
	mov eax, [gdt + STSSB + 4]
	and eax, 0xff0000ff
	or eax, (%1 | %2 << 5 | %4 << 7) << 8
	mov [gdt + SLOT + 4], eax
	%elif %1 == 5
	mov dword [gdt + SLOT], STSSB << 16
	mov dword [gdt + SLOT + 4], (%1 | %2 << 5 | %4 << 7) << 8
	%elif %1 == 4
	mov dword [gdt + SLOT], gate_to16 - BASE + (SK16L * 0x10000)
	mov dword [gdt + SLOT + 4], (%1 | %2 << 5 | %4 << 7) << 8
	%else
	mov eax, %%in
	movzx ecx, ax
	or ecx, SK32 << 16
	mov [gdt + SLOT], ecx
	and eax, 0xffff0000
	or eax, (%1 | %2 << 5 | %4 << 7) << 8
	mov [gdt + SLOT + 4], eax
	%endif
	GO
	%if vec != NONE
	AT
	%endif
	call SLOT:dword 0
	%%in:
END
%endmacro
%assign t 0
%rep 16
%assign c 0
%rep 8
	%assign dpl (c & 1) * 3
	%assign ring (c >> 1 & 1) * 3
	%assign p c >> 2
	%if t != 1
	FARSYS t, dpl, ring, p
	%endif
	%assign c c + 1
%endrep
%assign t t + 1
%endrep
%macro GATE 4				; selector, parameters, DPL, offset label
	mov eax, %4
	movzx ecx, ax
	or ecx, %1 << 16
	mov [gdt + SLOT], ecx
	and eax, 0xffff0000
	or eax, 0x8c00 | %3 << 13 | %2
	mov [gdt + SLOT + 4], eax
%endmacro
ROW "call gate to ring 0: parameters are copied", U32, NONE, ANY, 0x1234
	GATE SK32, 2, 3, in_%[rn]
	GO
	push dword 0x1234
	push dword 0x5678
	call SLOT:dword 0
in_%[rn]:	mov eax, [esp + 12]
END
ROW "call gate to ring 0: stack of the TSS", U32, NONE, ANY, STACK0 - 16 - 8
	GATE SK32, 2, 3, in_%[rn]
	GO
	push dword 0x1234
	push dword 0x5678
	call SLOT:dword 0
in_%[rn]:	mov eax, esp
END
ROW "call gate and RETF n back", U32, NONE, ANY, STACK
	GATE SK32, 2, 3, in_%[rn]
	GO
	push dword 0x1234
	push dword 0x5678
	call SLOT:dword 0
	mov eax, esp
	jmp out_%[rn]
in_%[rn]:	retf 8
out_%[rn]:
END
%macro TSTASK 0			; #TS is a task, too
	mov dword [idt + TS_ * 8], STSSD << 16
	mov dword [idt + TS_ * 8 + 4], 0x8500
	mov dword [tssd + 0x20], ts_task
%endmacro
%macro GATEBAD 4+
ROW {"call gate: ", %1}, U32, %2, %3
	GATE SK32, 0, 3, 0x100000
	%4
	%if %2 == TS_			; on a stack that is there
	TSTASK
	%endif
	GO
	AT
	call SLOT:dword 0
END
%endmacro
GATEBAD "CS null", GP, 0, mov word [gdt + SLOT + 2], 0
GATEBAD "CS is data", GP, SKD, mov word [gdt + SLOT + 2], SKD
GATEBAD "CS beyond the table", GP, GDT_END, mov word [gdt + SLOT + 2], GDT_END
GATEBAD "SS0 null", TS_, 0, mov dword [tss + 8], 0
GATEBAD "SS0 with RPL 3", TS_, SUD & 0xfc, mov dword [tss + 8], SUD
GATEBAD "SS0 is code", TS_, SK32, mov dword [tss + 8], SK32
GATEBAD "SS0 beyond the table", TS_, GDT_END, mov dword [tss + 8], GDT_END

; ---- tasks ----
ROW "far CALL of a TSS: link, NT, TS, EAX from it", K32, NONE, ANY, 0x10000 | 0x100000 | STSS
	GO
	call STSSB:dword 0
END
%macro TASKIN 4+			; name, mode, back link + flags, code
ROW {"task: ", %1}, %2, NONE, ANY, %3
	GO
	%4
END
%endmacro
TASKIN "far JMP of a TSS: no link", K32, 0x100000, jmp STSSB:dword 0
TASKIN "far CALL of a task gate", U32, 0x110000 | STSS, call STASK + 3:dword 0
TASKIN "INT through a task gate", U32, 0x110000 | STSS, int 0x48
TASKIN "far JMP of a 16-bit TSS", K32, 0xb16, jmp STSS16:dword 0
ROW "task: CALL marks both TSSs busy, IRET frees the inner one", K32, NONE, ANY, 0x898b
	mov dword [tssb + 0x20], task_iret
	GO
	call STSSB:dword 0
	clts
	mov al, [gdt + STSS + 5]
	mov ah, [gdt + STSSB + 5]
	movzx eax, ax
END
task_iret:
	iretd
ROW "task: JMP frees the old TSS", K32, NONE, ANY, 0x8b89
	mov dword [tssb + 0x20], in_%[rn]
	GO
	jmp STSSB:dword 0
in_%[rn]:	mov al, [gdt + STSS + 5]
	mov ah, [gdt + STSSB + 5]
	movzx eax, ax
END
ROW "task: JMP to a busy TSS", K32, GP, STSS
	GO
AT
	jmp STSS:dword 0
END
ROW "task: TSS not present", K32, NP, STSSB
	and byte [gdt + STSSB + 5], 0x7f
	GO
AT
	call STSSB:dword 0
END
ROW "task: TSS too short", K32, TS_, STSSB
	mov word [gdt + STSSB], 0x66
	GO
AT
	call STSSB:dword 0
END
ROW "task: gate to a busy TSS", K32, GP, STSSB
	or byte [gdt + STSSB + 5], 2
	GO
AT
	call STASK:dword 0
END
ROW "task: INT through a gate to data", K32, GP, SKD
	GO
AT
	int 0x49
END
ROW "task: IRET with NT and a link that is no busy TSS", K32, TS_, STSSB
	mov word [tss], STSSB
	GO
	pushf
	or word [esp], 0x4000
	popf
AT
	iretd
END
ROW "task: new CS is data: #TS in the new task", K32, TS_, SKD
	mov dword [tssb + 0x4c], SKD
	TSTASK
	GO
	call STSSB:dword 0
END
ROW "task: new SS is null: #TS in the new task", K32, TS_, 0
	mov dword [tssb + 0x50], 0
	TSTASK
	GO
	call STSSB:dword 0
END
ROW "task: T bit traps", K32, DB_, ANY, 0x8000
	mov word [tssb + 0x64], 1
	GO
	call STSSB:dword 0
END
ROW "LTR of a busy TSS", K32, GP, STSS
	mov dword [go_ax], STSS
	GO
AT
	ltr ax
END
ROW "LTR of null", K32, GP, 0
	GO
AT
	ltr ax
END
ROW "LTR not present", K32, NP, STSSB
	and byte [gdt + STSSB + 5], 0x7f
	mov dword [go_ax], STSSB
	GO
AT
	ltr ax
END
ROW "LLDT of a TSS", K32, GP, STSSB
	mov dword [go_ax], STSSB
	GO
AT
	lldt ax
END
ROW "LLDT not present", K32, NP, SLDT_
	and byte [gdt + SLDT_ + 5], 0x7f
	mov dword [go_ax], SLDT_
	GO
AT
	lldt ax
END

; ---- INT and gates ----
%macro INTN 5
ROW {"INT: ", %1}, %3, %4, %5
	GO
	%if %4 != %2 && %4 != NONE
	AT
	%endif
	int %2
	%if %4 == %2
	AT
	%endif
END
%endmacro
%assign m 0
%rep 5
INTN "gate type 12", 0x43, m, GP, 0x43 * 8 + 2
INTN "not present", 0x42, m, NP, 0x42 * 8 + 2
INTN "null CS", 0x44, m, GP, 0
INTN "CS is data", 0x45, m, GP, SKD
INTN "CS beyond the table", 0x4a, m, GP, GDT_END
INTN "gate type 8", 0x4c, m, GP, 0x4c * 8 + 2
INTN "beyond the IDT", 0x50, m, GP, 0x50 * 8 + 2
INTN "trap gate", 0x47, m, 0x47, ANY
ROW {"INT3"}, m, BP_, ANY
	GO
	int3
AT
END
ROW {"INTO taken"}, m, OF_, ANY
	GO
	mov al, 0x7f
	inc al
	into
AT
END
ROW {"INTO not taken"}, m, NONE, ANY
	GO
	test al, al
	into
END
ROW {"BOUND outside"}, m, BR, ANY
	GO
	mov ax, 1
AT
	%if m < 2
	o16 bound ax, [edi]
	%elif m < 4
	bound ax, [edi]
	%else
	bound ax, [di]
	%endif
END
ROW {"ICEBP"}, m, DB_, ANY
	GO
	db 0xf1
AT
END
ROW {"DIV by zero"}, m, DE, 0
	GO
AT
	div cx
END
%assign m m + 1
%endrep
INTN "gate of ring 0 from ring 3", 0x41, U32, GP, 0x41 * 8 + 2
INTN "CS of ring 3 from ring 0", 0x46, K32, GP, SU32 & 0xfc
ROW "INT: 16-bit gate", K32, 0x4b, ANY
	GO
	int 0x4b
END
ROW "delivery: SS0 null is #TS, then all is lost but the #DF task", U32, DF, 0
	mov dword [tss + 8], 0
	GO
	hlt
END
ROW "delivery: #GP with an absent gate is #DF", U32, DF, 0
	and byte [idt + GP * 8 + 5], 0x7f
	GO
AT
	hlt
END
ROW "delivery: #UD with an absent gate is #NP", U32, NP, UD * 8 + 3
	and byte [idt + UD * 8 + 5], 0x7f
	GO
AT
	ud2
END
ROW "delivery: #DE with an absent gate is #DF", V86, DF, 0
	and byte [idt + DE * 8 + 5], 0x7f
	GO
	div cx
END
ROW "delivery: stack limit of ring 0 is #DF", K32, DF, 0
	mov dword [gdt + SLOT], 0xfff
	mov dword [gdt + SLOT + 4], 0x409300
	GO
	mov ax, SLOT
	mov ss, ax
	mov esp, 0x4000
	mov ax, 1
	mov ds, ax
	mov eax, [0]
END

; ---- IRET ----
%macro IRETBAD 6			; name, vector, error, SS, CS, flags
ROW {"IRET: ", %1}, K32, %2, %3
	GO
	push dword %4
	push dword STACK
	push dword %6
	push dword %5
	push dword 0x100000
	AT
	iretd
END
%endmacro
IRETBAD "CS null", GP, 0, SUD, 0, 2
IRETBAD "CS is data", GP, SKD, SUD, SKD, 2
IRETBAD "CS beyond the table", GP, GDT_END, SUD, GDT_END, 2
IRETBAD "SS null", GP, 0, 0, SU32, 2
IRETBAD "SS of ring 0", GP, SKD, SKD + 3, SU32, 2
IRETBAD "SS is code", GP, SU32 & 0xfc, SU32, SU32, 2
IRETBAD "SS with another RPL", GP, SUD & 0xfc, SUD & 0xfc, SU32, 2
ROW "IRET to V86: flags and selectors", K32, NONE, ANY, 0x5555
	GO
	push dword 0
	push dword 0
	push dword 0x5555
	push dword 0
	push dword 0x6000
	push dword 0x1000
	push dword 0x23002
	push dword V86CODE >> 4
	push dword 0
	mov dword [V86CODE], 0x40cdd88c	; MOV AX,DS; INT 40H
	xor eax, eax
	iretd
END
ROW "IRET in ring 3 does not take VM", U32, NONE, ANY, 2
	GO
	push dword 0x20002
	push dword SU32
	push dword to_%[rn]
	iretd
to_%[rn]:	pushf
	pop eax
END
ROW "POPFD in ring 0 does not take VM", K32, NONE, ANY, 2
	GO
	push dword 0x20002
	popf
	pushf
	pop eax
END

; ---- control registers ----
%macro CRGP 4
ROW {%1}, K32, GP, 0
	mov eax, %2
	or eax, %3
	and eax, ~(%4)
	mov [go_ax], eax
	GO
	AT
	mov %2, eax
END
%endmacro
CRGP "CR0.PG without PE", cr0, 0x80000000, 1
CRGP "CR0.NW without CD", cr0, 0x20000000, 0
CRGP "CR4 bit 15", cr4, 0x8000, 0
CRGP "CR4.PCIDE outside of long mode", cr4, 0x20000, 0
ROW "PAE: PDPTE reserved bit at MOV CR3", K32, GP, 0
	call pae_on
	mov dword [PDPT + 8], 0x7
	mov dword [go_ax], PDPT
	GO
AT
	mov cr3, eax
END
; The four registers of PAE (SDM vol. 3, 4.4.1): what CR3 leads to counts when it is loaded.
%macro TOGGLE 2
	mov eax, %1
	xor eax, %2
	mov %1, eax
%endmacro
%macro PDPTE 4				; name, what VT has then, register, bits that change
ROW {"PAE: PDPTE changed, ", %1}, K32, NONE, ANY, %2
	call two_pds
	GO
	mov eax, [ebx]
	mov dword [PDPT + 16], PD3 + 1
	TOGGLE %3, %4
	%if %4 = 1 << 31		; off; and on again
	TOGGLE %3, %4
	%endif
	invlpg [ebx]
	movzx eax, word [ebx]
END
%endmacro
PDPTE "INVLPG", 0x40cd, cr0, 0
PDPTE "CR0.WP", 0x40cd, cr0, 1 << 16
PDPTE "CR0.TS", 0x40cd, cr0, 8
PDPTE "CR4.OSFXSR", 0x40cd, cr4, 1 << 9
PDPTE "MOV to CR3", 0x40ce, cr3, 0
PDPTE "CR4.PGE", 0x40ce, cr4, 1 << 7
PDPTE "CR4.PSE", 0x40ce, cr4, 1 << 4
PDPTE "CR0.CD", 0x40ce, cr0, 1 << 30
PDPTE "CR0.PG", 0x40ce, cr0, 1 << 31
ROW "PAE: a walk leaves the PDPTE as it is", K32, NONE, ANY, 0
	call two_pds
	GO
	mov eax, [ebx]
	mov eax, [PDPT + 16]
	and eax, 0x20
END
ROW "PAE: a PDPTE that is gone holds", K32, NONE, ANY, 0x40cd
	call two_pds
	GO
	mov dword [PDPT + 16], 0
	invlpg [ebx]
	movzx eax, word [ebx]
END
ROW "PAE: a PDPTE that is gone, and CR3 loaded", K32, PF, 0, VT
	call two_pds
	GO
	mov dword [PDPT + 16], 0
	mov eax, cr3
	mov cr3, eax
AT
	mov eax, [ebx]
END
ROW "PAE: a PDPTE with a reserved bit is not looked at", K32, NONE, ANY, 0x40cd
	call two_pds
	GO
	mov dword [PDPT + 16], PD3 + 3
	TOGGLE cr0, 1 << 16
	invlpg [ebx]
	movzx eax, word [ebx]
END
%macro PDPTEGP 3
ROW {"PAE: PDPTE reserved bit at MOV ", %1}, K32, GP, 0
	call two_pds
	mov dword [PDPT + 8], 0x21
	mov eax, %2
	xor eax, %3
	mov [go_ax], eax
	GO
AT
	mov %2, eax
END
%endmacro
PDPTEGP "CR4, PGE", cr4, 1 << 7
PDPTEGP "CR4, PSE", cr4, 1 << 4
PDPTEGP "CR0, CD", cr0, 1 << 30
ROW "PAE: a task with the same CR3 loads no PDPTE", K32, NONE, ANY, 0x40cd
	call two_pds
	mov dword [tssb + 0x20], in_%[rn]
	GO
	mov dword [PDPT + 16], PD3 + 1
	jmp STSSB:dword 0
in_%[rn]:	movzx eax, word [VT]
END
ROW "PAE: a task with another CR3 loads PDPTEs", K32, NONE, ANY, 0x40ce
	call two_pds
	mov dword [tssb + 0x20], in_%[rn]
	mov dword [tssb + 0x1c], PDPT3
	GO
	jmp STSSB:dword 0
in_%[rn]:	movzx eax, word [VT]
END
ROW "PAE: back from a task with another CR3", K32, NONE, ANY, 0x40cd
	call two_pds
	mov dword [tssb + 0x20], task_iret
	mov dword [tssb + 0x1c], PDPT3
	mov dword [tss + 0x1c], PDPT
	GO
	call STSSB:dword 0
	movzx eax, word [VT]
END
ROW "SMSW", U32, NONE, ANY, 0x33
	GO
	smsw ax
	movzx eax, ax
END

; ---- paging: legacy and PAE, every right ----
%macro PAGE 9				; PAE, P W U, access (0 R 1 W), ring 3?, WP, PDE W, PDE U
	%assign w %3 & %8
	%assign u %4 & %9
	%assign bad 0
	%if !%2
		%assign bad 1
	%elif %6
		%if !u || (%5 && !w)
			%assign bad 1
		%endif
	%elif %5 && !w && %7
		%assign bad 1
	%endif
	%assign err %2 | %5 << 1 | %6 << 2
	%assign vec PF
	%if !bad
		%assign vec NONE
		%assign err ANY
	%endif
	%if bad
	ROW {"page: PAE ", '0' + %1, " P", '0' + %2, " W", '0' + %3, " U", '0' + %4, " access ", '0' + %5, \
		" user ", '0' + %6, " WP", '0' + %7, " PDE W", '0' + %8, " U", '0' + %9}, %6, vec, err, VT + 0x123
	%else
	ROW {"page: PAE ", '0' + %1, " P", '0' + %2, " W", '0' + %3, " U", '0' + %4, " access ", '0' + %5, \
		" user ", '0' + %6, " WP", '0' + %7, " PDE W", '0' + %8, " U", '0' + %9}, %6, vec, err
	%endif
	mov dword [PT_TEST], FRAME | %2 | %3 << 1 | %4 << 2
	%if %1
	mov dword [PD2], PT_TEST + 1 + %8 * 2 + %9 * 4
	call pae_on
	%else
	mov dword [PD + 0x800], PT_TEST + 1 + %8 * 2 + %9 * 4
	call paging_on
	%endif
	%if !%7
	mov eax, cr0
	btr eax, 16
	mov cr0, eax
	%endif
	GO
	%if bad
	AT
	%endif
	%if %5
	mov [ebx + 0x123], eax
	%else
	mov eax, [ebx + 0x123]
	%endif
	END
%endmacro
%assign c 0
%rep 512
	%assign p1 c & 1
	%assign p2 c >> 1 & 1
	%assign p3 c >> 2 & 1
	%assign p4 c >> 3 & 1
	%assign p5 c >> 4 & 1
	%assign p6 c >> 5 & 1
	%assign p7 c >> 6 & 1
	%assign p8 c >> 7 & 1
	%assign p9 c >> 8 & 1
	PAGE p1, p2, p3, p4, p5, p6, p7, p8, p9
	%assign c c + 1
%endrep
ROW "legacy paging: A and D", U32, NONE, ANY, 0x6727
	mov dword [PT_TEST], FRAME + 7
	call paging_on
	GO
	mov eax, [ebx]
	mov al, [PT_TEST]
	mov [ebx], edx
	mov ah, [PT_TEST]
	movzx eax, ax
END
ROW "PSE: 4 MiB page, bits 13-20 are the address above 4 GiB", K32, NONE, ANY, 0x40cd
	call paging_on
	mov dword [PD + 0x800], (FRAME & 0xffc00000) + 0x87
	GO
	movzx eax, word [ebx + (FRAME & 0x3fffff)]
END
ROW "PSE: reserved bit 21", K32, PF, 9, VT
	call paging_on
	mov dword [PD + 0x800], 0x200087
	GO
AT
	mov eax, [ebx]
END
ROW "PAE: reserved bit 62 of a PTE without NXE", K32, PF, 9, VT
	call pae_on
	mov dword [PT_TEST], FRAME + 7
	mov dword [PT_TEST + 4], 0x80000000
	GO
AT
	mov eax, [ebx]
END
ROW "addresses wrap at 4 GiB", K32, NONE, ANY, 0x33
	mov dword [gdt + SLOT], 0x0000ffff
	mov dword [gdt + SLOT + 4], 0x80cf9300
	mov byte [DATA], 0x33
	GO
	mov ax, SLOT
	mov es, ax
	mov ebx, DATA + 0x80000000
	movzx eax, byte [es:ebx]
END

; ---- 16-bit code ----
ROW "16-bit: LOOP counts CX", K16, NONE, ANY, 0x10000
	GO
	mov ecx, 0x10001
	db 0xe2, 0xfe
	mov eax, ecx
END
ROW "16-bit: REP STOSB counts CX, DI wraps", K16, NONE, ANY, 0x60000000 | 1
	GO
	mov ax, SD16
	mov es, ax
	mov edi, 0x6000ffff
	mov ecx, 0xabc0002
	mov al, 0
	rep stosb
	mov eax, edi
END
ROW "16-bit: address size 32 by prefix", K16, NONE, ANY, 0x40cd
	GO
	movzx eax, word [dword FRAME]
END
ROW "16-bit: PUSH imm8 pushes a word", K16, NONE, ANY, STACK - 2
	GO
	push 5
	mov eax, esp
	add esp, 2
END
ROW "16-bit operand far RET reads words", K16, NONE, ANY, 0
	GO
	xor eax, eax
END
ROW "16-bit limit: IP beyond 64 KiB", K32, GP, 0
	GO
AT
	jmp SK16L:dword 0x10000
END

section .rows
table_end:
