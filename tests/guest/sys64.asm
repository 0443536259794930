; SPDX-License-Identifier: ISC
; sys64.asm: system instructions in 64-bit and compatibility mode against the manuals (SDM vol. 2 and
; 3, APM vol. 2 and 3): privilege, control registers, MSRs, segment loads, far transfers, gates,
; paging, canonical form, debug, floating-point switches. rig64.inc says how a row reads.
%include "rig64.inc"

; ---- privilege: #GP(0) outside of ring 0, in both modes of ring 3 ----
%macro PRIV 2+
	ROW {%1, ", ring 3, 64-bit"}, U64, GP, 0
	GO
	AT
	%2
	END
	ROW {%1, ", ring 3, compatibility"}, U32, GP, 0
	GO
	AT
	%2
	END
%endmacro
PRIV "HLT", hlt
PRIV "CLI", cli
PRIV "STI", sti
PRIV "CLTS", clts
PRIV "INVD", invd
PRIV "WBINVD", wbinvd
PRIV "RDMSR", rdmsr
PRIV "WRMSR", wrmsr
PRIV "LMSW", lmsw ax
PRIV "LGDT", lgdt [edi]
PRIV "LIDT", lidt [edi]
PRIV "LLDT", lldt ax
PRIV "LTR", ltr ax
PRIV "INVLPG", invlpg [edi]
PRIV "IN AL,imm", in al, 0x80
PRIV "IN EAX,DX", in eax, dx
PRIV "OUT imm,AL", out 0x80, al
PRIV "OUT DX,AX", out dx, ax
PRIV "INSB", insb
PRIV "OUTSB", outsb
PRIV "RDPMC", rdpmc
NEED F_AVX
PRIV "XSETBV", xsetbv
NEED F_XSAVES
PRIV "XSAVES", xsaves [edi]
NEED F_XSAVES
PRIV "XRSTORS", xrstors [edi]
NEED F_INVPCID
ROW "INVPCID, ring 3", U64, GP, 0
	GO
AT
	invpcid rax, [rdi]
END
%macro PRIVCR 2
ROW {"MOV CR", '0' + %1, " read, ring 3"}, U64, GP, 0
	GO
AT
	mov rax, cr%1
END
ROW {"MOV CR", '0' + %1, " write, ring 3"}, %2, GP, 0
	GO
AT
	db 0x0f, 0x22, 0xc0 + %1 * 8
END
%endmacro
PRIVCR 0, U64
PRIVCR 2, U64
PRIVCR 3, U32
PRIVCR 4, U32
ROW "MOV CR8 read, ring 3", U64, GP, 0
	GO
AT
	mov rax, cr8
END
%assign n 0
%rep 8
ROW {"MOV DR", '0' + n, " read, ring 3"}, U64, GP, 0
	GO
AT
	db 0x0f, 0x21, 0xc0 + n * 8
END
ROW {"MOV DR", '0' + n, " write, ring 3"}, U32, GP, 0
	GO
AT
	db 0x0f, 0x23, 0xc0 + n * 8
END
%assign n n + 1
%endrep
ROW "SWAPGS, ring 3", U64, GP, 0
	GO
AT
	swapgs
END
ROW "SYSRET, ring 3", U64, GP, 0
	GO
AT
	o64 sysret
END
NEED F_INTEL
ROW "SYSEXIT, ring 3", U64, GP, 0
	GO
AT
	sysexit
END
NEED F_AMD
ROW "SYSENTER, AMD in long mode", U64, UD, 0
	GO
AT
	sysenter
END
NEED F_AMD
ROW "SYSEXIT, AMD in long mode", K64, UD, 0
	GO
AT
	sysexit
END
ROW "RDTSC, CR4.TSD, ring 3", U64, GP, 0
	mov rax, cr4
	or al, 4
	mov cr4, rax
	GO
AT
	rdtsc
END
NEED F_RDTSCP
ROW "RDTSCP, CR4.TSD, ring 3", U64, GP, 0
	mov rax, cr4
	or al, 4
	mov cr4, rax
	GO
AT
	rdtscp
END
ROW "RDTSC, CR4.TSD, ring 0", K64, NONE, ANY
	mov rax, cr4
	or al, 4
	mov cr4, rax
	GO
	rdtsc
END
ROW "RDTSC, ring 3", U64, NONE, ANY
	GO
	rdtsc
END
ROW "CLI, IOPL 3, ring 3", U64, NONE, ANY
	mov dword [row_flags], 0x3202
	GO
	cli
	sti
END
ROW "IN, IOPL 3, ring 3", U64, NONE, ANY, 0x1ff
	mov dword [row_flags], 0x3002
	mov eax, 0x100
	GO
	in al, 0x80
END
; I/O permission bitmap: at TSS base + 68H, here in the LDT that follows
%macro IOMAP 6				; name, byte of the map, byte 2, limit, port, vector
ROW {"I/O bitmap: ", %1}, U32, %6, 0
	mov byte [tss + 0x68 + 16], %2
	mov byte [tss + 0x68 + 17], %3
	mov word [gdt_tss], %4
	mov byte [gdt_tss + 5], 0x89
	mov ax, STSS
	ltr ax
	GO
	%if %6 != NONE
	AT
	%endif
	in ax, %5
END
%endmacro
IOMAP "both ports allowed", 0, 0, 0x68 + 17, 0x80, NONE
IOMAP "first denied", 1, 0, 0x68 + 17, 0x80, GP
IOMAP "second denied", 2, 0, 0x68 + 17, 0x80, GP
IOMAP "third denied", 4, 0, 0x68 + 17, 0x80, NONE
IOMAP "second in the next byte, denied", 0, 1, 0x68 + 17, 0x87, GP
IOMAP "second in the next byte, allowed", 0x7f, 0xfe, 0x68 + 17, 0x87, NONE
IOMAP "limit one byte short", 0, 0, 0x68 + 16, 0x80, GP
ROW "I/O bitmap base beyond the limit", U64, GP, 0
	mov word [tss + 0x66], 0xffff
	GO
AT
	in al, 0x80
END

; ---- UMIP, FSGSBASE ----
%macro UMIP 2+
	NEED F_UMIP
	ROW {"UMIP: ", %1, ", ring 3"}, U64, GP, 0
	mov rax, cr4
	or ah, 8
	mov cr4, rax
	GO
	AT
	%2
	END
	NEED F_UMIP
	ROW {"UMIP: ", %1, ", ring 0"}, K64, NONE, ANY
	mov rax, cr4
	or ah, 8
	mov cr4, rax
	GO
	%2
	END
	ROW {%1, ", ring 3 without UMIP"}, U64, NONE, ANY
	GO
	%2
	END
%endmacro
UMIP "SGDT", sgdt [rdi]
UMIP "SIDT", sidt [rdi]
UMIP "SLDT r", sldt eax
UMIP "SLDT m", sldt [rdi]
UMIP "STR", str eax
UMIP "SMSW", smsw eax
ROW "STR gives TR", U64, NONE, ANY, STSS
	GO
	str eax
END
ROW "SMSW r64 gives all of CR0", U64, NONE, ANY, 0x80010033
	GO
	smsw rax
END
ROW "SGDT stores ten bytes", U64, NONE, ANY, GDT_END - 1
	GO
	sgdt [rdi]
	movzx eax, word [rdi]
END
%macro FSGS 2+
	NEED F_FSGS
	ROW {%1, " without CR4.FSGSBASE"}, U64, UD, 0
	GO
	AT
	%2
	END
	NEED F_FSGS
	ROW {%1, ", ring 3"}, U64, NONE, ANY
	mov rax, cr4
	bts rax, 16
	mov cr4, rax
	xor eax, eax
	GO
	%2
	END
	NEED F_FSGS
	ROW {%1, ", compatibility mode"}, U32, UD, 0
	mov rax, cr4
	bts rax, 16
	mov cr4, rax
	xor eax, eax
	GO
	AT
	db 0xf3, 0x0f, 0xae, 0xc0	; RDFSBASE
	END
%endmacro
FSGS "RDFSBASE", rdfsbase rax
FSGS "RDGSBASE", rdgsbase rax
FSGS "WRFSBASE", wrfsbase rax
FSGS "WRGSBASE", wrgsbase rax
NEED F_FSGS
ROW "WRFSBASE, not canonical", U64, GP, 0
	mov rax, cr4
	bts rax, 16
	mov cr4, rax
	mov rax, 0x800000000000
	GO
AT
	wrfsbase rax
END
NEED F_FSGS
ROW "WRFSBASE r32 zero-extends", U64, NONE, ANY, 0xfffffff0
	mov rax, cr4
	bts rax, 16
	mov cr4, rax
	mov rax, 0x12345fffffff0
	GO
	wrfsbase eax
	rdfsbase rax
END

; ---- opcodes that do not exist ----
%macro BYTES 3+				; name, mode
	ROW {"#UD: ", %1}, %2, UD, 0
	GO
	AT
	db %3
	END
%endmacro
%macro NOTIN64 1+
	BYTES {"not in 64-bit mode: ", %1}, U64, %1
%endmacro
%assign n 0
%rep 3
BYTES "UD0", n, 0x0f, 0xff, 0xc0
BYTES "UD1", n, 0x0f, 0xb9, 0xc0
BYTES "UD2", n, 0x0f, 0x0b
BYTES "MOV CS", n, 0x8e, 0xc8
BYTES "MOV to Sreg 6", n, 0x8e, 0xf0
BYTES "MOV from Sreg 7", n, 0x8c, 0xf8
BYTES "MOV CR1", n, 0x0f, 0x20, 0xc8
BYTES "MOV CR5", n, 0x0f, 0x20, 0xe8
BYTES "MOV CR7", n, 0x0f, 0x22, 0xf8
BYTES "LEA register", n, 0x8d, 0xc0
BYTES "LGDT register", n, 0x0f, 0x01, 0xd6
BYTES "BOUND/EVEX register or LES r", n, 0xc5, 0xf8
BYTES "FE /2", n, 0xfe, 0xd0
BYTES "FF /7", n, 0xff, 0xf8
BYTES "C6 /1", n, 0xc6, 0xc8, 0
BYTES "8F /1", n, 0x8f, 0xc8
BYTES "0F C7 /0", n, 0x0f, 0xc7, 0x07
BYTES "0F BA /0", n, 0x0f, 0xba, 0xc0, 0
BYTES "RSM outside of SMM", n, 0x0f, 0xaa
BYTES "LFS register", n, 0x0f, 0xb4, 0xc0
BYTES "far JMP register", n, 0xff, 0xe8
BYTES "far CALL register", n, 0xff, 0xd8
BYTES "INVLPG register", n, 0x0f, 0x01, 0xfd
BYTES "LOCK NOP", n, 0xf0, 0x90
BYTES "LOCK ADD register", n, 0xf0, 0x01, 0xc0
BYTES "LOCK MOV", n, 0xf0, 0x89, 0x07
BYTES "LOCK CMP", n, 0xf0, 0x39, 0x07
BYTES "LOCK ADD r,m", n, 0xf0, 0x03, 0x07
BYTES "LOCK BT", n, 0xf0, 0x0f, 0xa3, 0x07
BYTES "LOCK TEST", n, 0xf0, 0x85, 0x07
BYTES "LOCK XADD register", n, 0xf0, 0x0f, 0xc1, 0xc0
BYTES "LOCK JMP", n, 0xf0, 0xeb, 0
BYTES "LOCK IMUL", n, 0xf0, 0x0f, 0xaf, 0x07
BYTES "LOCK PUSH", n, 0xf0, 0x50
BYTES "LOCK CPUID", n, 0xf0, 0x0f, 0xa2
%assign n n + 1
%endrep
%macro EACH64 1-*
	%rep %0
	BYTES {"in 64-bit mode"}, U64, %1
	BYTES {"in 64-bit mode, ring 0"}, K64, %1
	%rotate 1
	%endrep
%endmacro
EACH64 {6}, {7}, {0xe}, {0x16}, {0x17}, {0x1e}, {0x1f}, {0x27}, {0x2f}, {0x37}, {0x3f}, {0x60}, {0x61}
EACH64 {0x82, 0xc0, 0}, {0x9a, 0, 0, 0, 0, 0, 0}, {0xce}, {0xd4, 10}, {0xd5, 10}, {0xd6}
EACH64 {0xea, 0, 0, 0, 0, 0, 0}, {0xc4, 0x07}, {0x62, 0x07}
%assign n 0
%rep 13
%assign mode n % 3
ROW {"LOCK allowed in memory, group ", 'A' + n}, mode, NONE, ANY
	GO
	%if n % 3 == 2
	%define q edi
	%else
	%define q rdi
	%endif
	%if n < 7
	db 0xf0, 0x80, n * 8 + 7, 1	; 80 /n
	%elif n == 7
	lock bts dword [q], 2
	%elif n == 8
	lock cmpxchg [q], ecx
	%elif n == 9
	lock inc dword [q]
	%elif n == 10
	lock not dword [q]
	%elif n == 11
	lock xadd [q], eax
	%else
	lock cmpxchg8b [q]
	%endif
END
%assign n n + 1
%endrep
ROW "15 bytes are an instruction", U64, NONE, ANY
	GO
	times 14 db 0x66
	nop
END
ROW "16 bytes are #GP(0)", U64, GP, 0
	GO
AT
	times 15 db 0x66
	nop
END
ROW "prefixes over the page's end, then 16 bytes: #GP(0)", K64, GP, 0
	GO
AT
	times 17 db 0x2e
	nop
END

; ---- control registers ----
%macro CRGP 4				; name, CR, set, clear
ROW {%1}, K64, GP, 0
	mov rax, %2
	mov rcx, %3
	or rax, rcx
	mov rcx, ~(%4)
	and rax, rcx
	GO
	AT
	mov %2, rax
END
%endmacro
CRGP "CR0.PG without PE", cr0, 0, 1
CRGP "CR0.NW without CD", cr0, 1 << 29, 0
CRGP "CR0 bit 32", cr0, 1 << 32, 0
CRGP "CR0 bit 63", cr0, 1 << 63, 0
CRGP "CR0.PG off in 64-bit code", cr0, 0, 1 << 31
CRGP "CR4.PAE off in long mode", cr4, 0, 1 << 5
CRGP "CR4 bit 15", cr4, 1 << 15, 0
CRGP "CR4 bit 19", cr4, 1 << 19, 0
CRGP "CR4 bit 31", cr4, 1 << 31, 0
CRGP "CR4 bit 32", cr4, 1 << 32, 0
CRGP "CR4 bit 63", cr4, 1 << 63, 0
CRGP "CR4.LA57 changed in long mode", cr4, 1 << 12, 0
CRGP "CR3 bit 63 without PCIDE", cr3, 1 << 63, 0
CRGP "CR3 bit 52", cr3, 1 << 52, 0
ROW "CR8 above 15", K64, GP, 0
	mov eax, 16
	GO
AT
	mov cr8, rax
END
ROW "CR8 keeps its value", K64, NONE, ANY, 11
	mov eax, 11
	GO
	mov cr8, rax
	xor eax, eax
	mov rax, cr8
END
ROW "CR0 reserved bits read as zero, ET as one", K64, NONE, ANY, 0x80010033
	GO
	mov rax, cr0
	mov ecx, 0x1ffaffc0
	or rax, rcx
	and al, 0xef
	mov cr0, rax
	mov rax, cr0
END
ROW "LMSW cannot clear PE", K64, NONE, ANY, 0x8001003b
	GO
	mov eax, 0xa
	lmsw ax
	mov rax, cr0
END
ROW "CLTS", K64, NONE, ANY, 0x80010033
	GO
	mov rax, cr0
	or al, 8
	mov cr0, rax
	clts
	mov rax, cr0
END
NEED F_PCID
ROW "CR4.PCIDE with CR3[11:0]", K64, GP, 0
	mov rax, cr3
	or al, 0x18
	mov cr3, rax
	mov rax, cr4
	bts rax, 17
	GO
AT
	mov cr4, rax
END
NEED F_PCID
ROW "CR3 bit 63 with PCIDE reads as zero", K64, NONE, ANY, PML4 + 5
	mov rax, cr4
	bts rax, 17
	mov cr4, rax
	mov rax, cr3
	bts rax, 63
	or al, 5
	GO
	mov cr3, rax
	mov rax, cr3
END
NEED F_PCID
ROW "CR0.PG off with PCIDE, compatibility mode", K32, GP, 0
	mov rax, cr4
	bts rax, 17
	mov cr4, rax
	mov rax, cr0
	btr rax, 31
	GO
AT
	mov cr0, eax
END
ROW "MOV CR ignores mod and REP", K64, NONE, ANY, 0x80010033
	GO
	db 0x0f, 0x20, 0x00		; mod 0: still RAX
END

; ---- MSRs ----
%macro WRGP 4				; name, index, value, need
NEED %4
ROW {"WRMSR ", %1}, K64, GP, 0
	mov ecx, %2
	mov rdx, %3
	mov eax, edx
	shr rdx, 32
	GO
	AT
	wrmsr
END
%endmacro
%macro WROK 4				; name, index, value, need
NEED %4
ROW {"WRMSR ", %1}, K64, NONE, ANY, %3
	mov ecx, %2
	rdmsr
	mov r12, rax
	shl rdx, 32
	or r12, rdx
	mov [DATA + 0x80], r12
	mov rdx, %3
	mov eax, edx
	shr rdx, 32
	GO
	wrmsr
	rdmsr
	shl rdx, 32
	or rax, rdx
	mov r12, rax
	mov rdx, [DATA + 0x80]
	mov eax, edx
	shr rdx, 32
	wrmsr
	mov rax, r12
END
%endmacro
%define NC 0x800000000000
WRGP "EFER bit 1", 0xc0000080, 0xd03, 0
WRGP "EFER bit 32", 0xc0000080, 0x100000d01, 0
WRGP "EFER.LME off with paging", 0xc0000080, 0xc01, 0
WRGP "FS base, not canonical", 0xc0000100, NC, 0
WRGP "GS base, not canonical", 0xc0000101, NC, 0
WRGP "kernel GS base, not canonical", 0xc0000102, NC, 0
WRGP "LSTAR, not canonical", 0xc0000082, NC, 0
WRGP "CSTAR, not canonical", 0xc0000083, NC, 0
WRGP "SYSENTER_ESP, not canonical", 0x175, NC, F_INTEL
WRGP "SYSENTER_EIP, not canonical", 0x176, NC, F_INTEL
WRGP "SFMASK above 32 bits", 0xc0000084, 1 << 32, F_AMD
WRGP "TSC_AUX above 32 bits", 0xc0000103, 1 << 32, F_RDTSCP
WRGP "PAT type 2", 0x277, 0x0007040600070402, 0
WRGP "PAT type 3", 0x277, 0x0307040600070406, 0
WRGP "PAT type 8", 0x277, 0x0007040600080406, 0
WRGP "MTRRdefType bit 8", 0x2ff, 0x100, 0
WRGP "MTRRdefType type 2", 0x2ff, 0xc02, 0
WRGP "MTRRdefType type 7", 0x2ff, 0xc07, 0
WRGP "MTRRphysBase0 type 3", 0x200, 3, 0
WRGP "MTRRphysBase0 bit 8", 0x200, 0x100, 0
WRGP "MTRRphysBase0 above MAXPHYADDR", 0x200, 1 << 52, 0
WRGP "MTRRphysMask0 bit 10", 0x201, 0x400, 0
WRGP "MTRRphysMask0 above MAXPHYADDR", 0x201, 1 << 52, 0
WRGP "MTRRfix64K type 2", 0x250, 0x0606020606060606, 0
WRGP "MTRRfix4K type 9", 0x26f, 0x0906060606060606, 0
WRGP "MTRRCAP", 0xfe, 0x508, 0
WRGP "no such MSR", 0x12345, 0, 0
WRGP "APIC base reserved bits", 0x1b, 0xfee00901, 0
WRGP "APIC base: x2APIC without enable", 0x1b, 0xfee00500, 0
ROW "RDMSR of no MSR", K64, GP, 0
	mov ecx, 0x12345
	GO
AT
	rdmsr
END
ROW "RDMSR looks at ECX only", K64, NONE, ANY, 0xd01
	mov rcx, 0x1c0000080
	GO
	rdmsr
END
WROK "FS base", 0xc0000100, 0xffff800000001000, 0
WROK "GS base", 0xc0000101, 0x00007ffffffff000, 0
WROK "kernel GS base", 0xc0000102, 0xffffffffffffffff, 0
WROK "LSTAR", 0xc0000082, 0xffffffff81000000, 0
WROK "STAR", 0xc0000081, 0x123456789abcdef0, 0
WROK "SFMASK", 0xc0000084, 0x47700, 0
WROK "SYSENTER_CS", 0x174, 0x10, 0
WROK "PAT", 0x277, 0x0105040600070406, 0
WROK "MTRRdefType", 0x2ff, 0xc06, 0
WROK "MTRRphysBase0", 0x200, 0x80000000, 0
WROK "MTRRphysMask0", 0x201, 0xff80000800, 0
WROK "MTRRfix16K", 0x258, 0x0606060606060606, 0
WROK "TSC_AUX", 0xc0000103, 0x12345678, F_RDTSCP
WROK "TSC_ADJUST", 0x3b, 0x1000, F_TSCADJ

; ---- canonical form, and #SS against #GP ----
%macro CANON 4+				; name, mode, vector, code
ROW {"not canonical: ", %1}, %2, %3, 0
	GO
	mov rax, NC
	AT
	%4
END
%endmacro
%assign m 0
%rep 2
CANON "MOV [RAX]", m, GP, mov ecx, [rax]
CANON "store [RAX]", m, GP, mov [rax], ecx
CANON "ADD [RAX]", m, GP, add [rax], ecx
CANON "SS:[RAX]", m, GP, db 0x36, 0x8b, 0x08
CANON "JMP RAX", m, GP, jmp rax
CANON "CALL RAX", m, GP, call rax
CANON "JMP [RAX]", m, GP, jmp [rax]
CANON "MOVUPS [RAX]", m, GP, movups xmm0, [rax]
CANON "FLD [RAX]", m, GP, fld qword [rax]
CANON "LOCK XADD [RAX]", m, GP, lock xadd [rax], ecx
CANON "PUSH [RAX]", m, GP, push qword [rax]
CANON "8 bytes over the edge", m, GP, mov rcx, [rax - 4]
%assign m m + 1
%endrep
%macro CANONR 4+
ROW {"not canonical: ", %1}, %2, %3, 0
	GO
	mov rax, NC
	xchg rax, %4
	AT
%endmacro
%assign m 0
%rep 2
CANONR "[RBP]", m, SS_, rbp
	mov ecx, [rbp]
END
CANONR "[RBP+RBX]", m, SS_, rbp
	mov [rbp + rcx], rcx
END
CANONR "[RSP]", m, SS_, rsp
	mov ecx, [rsp]
END
CANONR "DS:[RBP] is still SS", m, SS_, rbp
	db 0x3e, 0x8b, 0x4d, 0
END
CANONR "[R13] is DS", m, GP, r13
	mov ecx, [r13 + 8]
END
CANONR "[RBP*1] is DS", m, GP, rbp
	mov ecx, [nosplit rbp * 2 + 0]
END
CANONR "[R12] is DS", m, GP, r12
	mov ecx, [r12]
END
ROW {"not canonical: PUSH"}, m, SS_, 0
	GO
	mov rsp, NC + 8
AT
	push rax
END
ROW {"not canonical: POP"}, m, SS_, 0
	GO
	mov rsp, NC
AT
	pop rax
END
ROW {"not canonical: CALL's push"}, m, SS_, 0
	GO
	mov rsp, NC + 8
AT
	call $
END
ROW {"not canonical: RET's pop"}, m, SS_, 0
	GO
	mov rsp, NC
AT
	ret
END
ROW {"not canonical: LEAVE"}, m, SS_, 0
	GO
	mov rbp, NC
AT
	leave
END
ROW {"not canonical: ENTER"}, m, SS_, 0
	GO
	mov rsp, NC + 8
AT
	enter 16, 0
END
ROW {"not canonical: PUSHF"}, m, SS_, 0
	GO
	mov rsp, NC + 8
AT
	pushf
END
ROW {"not canonical: RET to it"}, m, GP, 0
	GO
	mov rax, NC
	push rax
AT
	ret
END
ROW {"not canonical: POP [RSP] form"}, m, GP, 0
	GO
	mov rax, NC
	push rcx
AT
	pop qword [rax]
END
ROW {"GS base wraps"}, m, NONE, ANY, 0x77
	mov dword [DATA], 0x77
	mov ecx, 0xc0000101
	mov eax, 0xffffff00
	mov edx, -1
	wrmsr
	GO
	mov eax, [gs:rdi + 0x100]
END
%assign m m + 1
%endrep
ROW "IRET not canonical", K64, SS_, 0
	GO
	mov rsp, NC
AT
	iretq
END

; ---- loading segment registers: type × DPL × present × RPL × register × ring ----
; The manual's rules, SDM vol. 2 MOV: exceptions and pseudo-code.
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
	mov rax, 0xc00f000000ffff & ~0xff0000000000 | (%1 | %2 << 5 | %3 << 7) << 40 | 0xf000000000000
	mov [gdt + SLOT], rax
	mov qword [gdt + SLOT + 8], 0
	mov eax, SLOT + %4
	GO
	%if vec != NONE
	AT
	%endif
	%if %6 == 0
	mov ss, eax
	%elif %6 == 1
	mov ds, eax
	%else
	mov gs, eax
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
%macro SEGSEL 6				; name, mode, vector, error, selector, register
ROW {"load seg: ", %1}, %2, %3, %4
	mov eax, %5
	GO
	%if %3 != NONE
	AT
	%endif
	mov %6, eax
END
%endmacro
%assign m 0
%rep 4
SEGSEL "null DS", m, NONE, ANY, 0, ds
SEGSEL "null with RPL 3 ES", m, NONE, ANY, 3, es
SEGSEL "null FS", m, NONE, ANY, 1, fs
SEGSEL "beyond the GDT", m, GP, GDT_END, GDT_END + 3, ds
SEGSEL "far beyond the GDT", m, GP, 0xfff8, 0xfffb, gs
SEGSEL "LDT, none loaded", m, GP, 0xc, 0xf, es
SEGSEL "SS beyond the GDT", m, GP, GDT_END, GDT_END + 3, ss
%assign m m + 1
%endrep
SEGSEL "null SS, ring 0, 64-bit", K64, NONE, ANY, 0, ss
SEGSEL "null SS with RPL 3, ring 0, 64-bit", K64, GP, 0, 3, ss
SEGSEL "null SS, ring 0, compatibility", K32, GP, 0, 0, ss
SEGSEL "null SS, ring 3, 64-bit", U64, GP, 0, 3, ss
SEGSEL "null SS, ring 3, compatibility", U32, GP, 0, 3, ss
ROW "LDT selector", U64, NONE, ANY, 0xf
	mov eax, SLDT_
	lldt ax
	GO
	mov eax, 0xf
	mov ds, eax
	xor eax, eax
	mov ax, ds
END
ROW "LDT selector beyond its limit", U64, GP, 0x24
	mov eax, SLDT_
	lldt ax
	GO
	mov eax, 0x27
AT
	mov ds, eax
END
ROW "segment load sets the accessed bit", K64, NONE, ANY, 0xc0f30000ffff0001 & 0xff | 0xf3
	mov rax, 0x00cff2000000ffff
	mov [gdt + SLOT], rax
	GO
	mov eax, SLOT + 3
	mov ds, eax
	movzx eax, byte [gdt + SLOT + 5]
END
ROW "data access through null DS, compatibility mode", U32, GP, 0
	GO
	xor eax, eax
	mov ds, eax
AT
	mov eax, [edi]
END
ROW "data access through null DS, 64-bit mode", U64, NONE, ANY, 0
	GO
	xor eax, eax
	mov ds, eax
	mov eax, [rdi]
END
ROW "write through read-only DS, compatibility mode", U32, GP, 0
	mov rax, 0x00cff0000000ffff
	mov [gdt + SLOT], rax
	GO
	mov eax, SLOT + 3
	mov ds, eax
AT
	mov [edi], eax
END
ROW "read through code DS, compatibility mode", U32, NONE, ANY, 0
	GO
	mov eax, SU32
	mov ds, eax
	mov eax, [edi]
END
ROW "write through code CS, compatibility mode", U32, GP, 0
	GO
AT
	mov [cs:edi], eax
END
ROW "limit, compatibility mode", U32, GP, 0
	mov rax, 0x00cff30000000fff & ~(0xff << 48) | 0x40 << 48
	mov [gdt + SLOT], rax
	GO
	mov eax, SLOT + 3
	mov es, eax
AT
	mov eax, [es:0xffd]
END
ROW "expand-down, below the limit, compatibility mode", U32, GP, 0
	mov rax, 0x0040f70000000fff
	mov [gdt + SLOT], rax
	GO
	mov eax, SLOT + 3
	mov es, eax
AT
	mov al, [es:0xfff]
END
ROW "expand-down, above the limit, compatibility mode", U32, PF, 4, 0x1000 + 0x60000000
	mov rax, 0x6040f70000000fff
	mov [gdt + SLOT], rax
	GO
	mov eax, SLOT + 3
	mov es, eax
AT
	mov al, [es:0x1000]
END
ROW "stack limit: #SS, compatibility mode", U32, SS_, 0
	mov rax, 0x0040f30000000fff
	mov [gdt + SLOT], rax
	GO
	mov eax, SLOT + 3
	mov ss, eax
AT
	mov eax, [ebp]
END

; ---- VERR VERW LAR LSL: type × DPL × RPL × ring ----
%macro VERIFY 5				; type, DPL, RPL, ring, mode
	%assign can_see 1
	%if (%1 & 0x1c) != 0x1c && (%3 > %2 || %4 > %2)
		%assign can_see 0
	%endif
	%assign can_lar can_see
	%assign can_lsl can_see
	%if !(%1 & 0x10)
		%if %1 != 2 && %1 != 9 && %1 != 0xb && %1 != 0xc
			%assign can_lar 0
		%endif
		%if %1 != 2 && %1 != 9 && %1 != 0xb
			%assign can_lsl 0
		%endif
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
	mov rax, 0x000000000000ffff | (%1 | %2 << 5 | 0x80) << 40
	mov [gdt + SLOT], rax
	mov qword [gdt + SLOT + 8], 0
	GO
	xor edx, edx
	mov eax, SLOT + %3
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
	%assign ring (c >> 2) * 3
	%assign mode (c >> 2) + (t & 1) * 2
	%assign dpl (c & 1) * 3
	%assign rpl (c >> 1 & 1) * 3
	VERIFY t, dpl, rpl, ring, mode
	%assign c c + 1
%endrep
%assign t t + 1
%endrep
ROW "LAR's value", U64, NONE, ANY, 0xcff300
	GO
	mov eax, SUD
	lar eax, ax
END
ROW "LSL's value, scaled", U64, NONE, ANY, 0xffffffff
	GO
	mov eax, SUD
	lsl rax, ax
END
ROW "LAR of null", U64, NONE, ANY, 5
	GO
	mov eax, 5
	xor ecx, ecx
	lar eax, cx
	mov ecx, 6
	cmovz eax, ecx
END

; ---- far transfers to code segments: type × DPL × RPL × L/D × present, RETF, JMP, CALL ----
; SDM vol. 2: JMP, CALL, RET; vol. 3, 5.8.
%macro FARCODE 8			; how (0 JMP 1 CALL 2 RETF 3 IRET), type, DPL, RPL, P, ring, LD (0 D, 1 L, 2 both), mode
	%assign vec NONE
	%assign err ANY
	%assign conf (%2 & 0x1c) == 0x1c
	%assign code (%2 & 0x18) == 0x18
	%if !code
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
	%if vec == NONE && %7 == 2
		%assign vec GP
	%endif
	%if vec == NONE && !%5
		%assign vec NP
	%endif
	%if vec != NONE
		%assign err SLOT
	%endif
	ROW {"far ", 'J' * (%1 == 0) + 'C' * (%1 == 1) + 'R' * (%1 == 2) + 'I' * (%1 == 3), ": type ", '0' + %2 / 10, \
		'0' + %2 % 10, " DPL ", '0' + %3, " RPL ", '0' + %4, " P ", '0' + %5, " ring ", \
		'0' + %6, " LD ", '0' + %7}, %8, vec, err
	mov rax, 0x000f00000000ffff | (%2 | %3 << 5 | %5 << 7) << 40 | (0x80 + 0x40 * (%7 != 1) + 0x20 * (%7 != 0)) << 48
	mov [gdt + SLOT], rax
	mov qword [gdt + SLOT + 8], 0
	GO
	lea rcx, [rel %%to]
	%if %1 < 2
	mov [rdi], ecx
	mov word [rdi + 4], SLOT + %4
	%if vec != NONE
	AT
	%endif
	%if %1 == 0
	jmp far dword [rdi]
	%else
	call far dword [rdi]
	%endif
	%elif %1 == 2
	mov rax, rsp
	%if %4 > %6
	push SUD
	mov edx, STACK + UA
	push rdx
	lea rcx, [rcx + UA]
	%endif
	push SLOT + %4
	push rcx
	%if vec != NONE
	AT
	%endif
	o64 retf
	%else
	mov eax, ss
	%if %4 > %6
	mov eax, SUD
	lea rcx, [rcx + UA]
	%endif
	mov rdx, rsp
	%if %4 > %6
	mov edx, STACK + UA
	%endif
	push rax
	push rdx
	push 2
	push SLOT + %4
	push rcx
	%if vec != NONE
	AT
	%endif
	iretq
	%endif
	%%to:
	END
%endmacro
%assign h 0
%rep 4
%assign t 0
%rep 18
%assign c 0
%rep 16
	%assign ty t + 14
	%if t == 0
	%assign ty 0x12
	%elif t == 1
	%assign ty 0x13
	%endif
	%assign ld (t + c) % 3
	%assign p c >> 3
	%if h == 2 || h == 3
	%if ((c & 1) == 1) || ((c >> 2 & 1) == 0)
	%if ty >= 16
	%assign dpl (c >> 1 & 1) * 3
	%assign rpl (c >> 2 & 1) * 3
	%assign ring (c & 1) * 3
	%assign mode c & 1
	FARCODE h, ty, dpl, rpl, p, ring, ld, mode
	%endif
	%else
	%if ty >= 16
	%assign dpl (c >> 1 & 1) * 3
	%assign rpl (c >> 2 & 1) * 3
	%assign ring (c & 1) * 3
	%assign mode c & 1
	FARCODE h, ty, dpl, rpl, p, ring, ld, mode
	%endif
	%endif
	%elif ty >= 16
	%assign dpl (c >> 1 & 1) * 3
	%assign rpl (c >> 2 & 1) * 3
	%assign ring (c & 1) * 3
	%assign mode c & 1
	FARCODE h, ty, dpl, rpl, p, ring, ld, mode
	%endif
	%assign c c + 1
%endrep
%assign t t + 1
%endrep
%assign h h + 1
%endrep
; ---- system descriptors as targets ----
%macro FARSYS 4				; type, DPL, ring, P
	%assign vec GP
	%assign err SLOT
	%if %1 == 12 && %2 >= %3
		%if %4
			%assign vec NONE
			%assign err ANY
		%else
			%assign vec NP
		%endif
	%endif
ROW {"far CALL, system type ", '0' + %1 / 10, '0' + %1 % 10, " DPL ", '0' + %2, " ring ", '0' + %3, " P ", '0' + %4}, \
	%3 != 0, vec, err
	mov eax, %%in
	mov edx, eax
	and eax, 0xffff
	mov ecx, SK64 << 16
	or rax, rcx
	and edx, 0xffff0000
	shl rdx, 32
	or rax, rdx
	mov rdx, (%1 | %2 << 5 | %4 << 7) << 40
	or rax, rdx
	mov [gdt + SLOT], rax
	mov qword [gdt + SLOT + 8], 0
	GO
	mov word [rdi + 4], SLOT
	%if vec != NONE
	AT
	%endif
	call far dword [rdi]
	%%in:
END
%endmacro
%assign t 0
%rep 16
%assign c 0
%rep 8
	%assign p c >> 2
	FARSYS t, (c & 1) * 3, (c >> 1 & 1) * 3, p
	%assign c c + 1
%endrep
%assign t t + 1
%endrep
ROW "call gate to ring 0 switches to RSP0 and pushes 32 bytes", U64, NONE, ANY, STACK0 - 32
	mov rax, 0x0000ec0000080000
	mov ecx, gate_in
	movzx edx, cx
	or rax, rdx
	and ecx, 0xffff0000
	shl rcx, 32
	or rax, rcx
	mov [gdt + SLOT], rax
	mov qword [gdt + SLOT + 8], 0
	GO
	mov word [rdi + 4], SLOT
	call far dword [rdi]
gate_in:
	mov rax, rsp
END
ROW "call gate: SS becomes null with RPL 0", U64, NONE, ANY, 0
	mov rax, 0x0000ec0000080000
	mov ecx, gate_in2
	movzx edx, cx
	or rax, rdx
	and ecx, 0xffff0000
	shl rcx, 32
	or rax, rcx
	mov [gdt + SLOT], rax
	mov qword [gdt + SLOT + 8], 0
	GO
	mov word [rdi + 4], SLOT
	call far dword [rdi]
gate_in2:
	xor eax, eax
	mov ax, ss
END
%macro GATEBAD 4+			; name, vector, error, setup
ROW {"call gate: ", %1}, U64, %2, %3
	mov rax, 0x0010ec0000080000
	mov [gdt + SLOT], rax
	mov qword [gdt + SLOT + 8], 0
	%4
	%if %3 == 0x78
	mov word [gdt + SLOT + 2], 0x78
	%endif
	GO
	mov word [rdi + 4], SLOT
	AT
	call far dword [rdi]
END
%endmacro
GATEBAD "CS null", GP, 0, mov word [gdt + SLOT + 2], 0
GATEBAD "CS is data", GP, SKD, mov word [gdt + SLOT + 2], SKD
GATEBAD "CS is 32-bit", GP, SK32, mov word [gdt + SLOT + 2], SK32
GATEBAD "CS beyond the table", GP, GDT_END, mov word [gdt + SLOT + 2], GDT_END
GATEBAD "CS not present", NP, 0x78, mov dword [gdt + 0x78 + 4], 0x00201b00
GATEBAD "target not canonical", GP, 0, mov dword [gdt + SLOT + 8], 0x8000
GATEBAD "upper type not 0", GP, SLOT, mov dword [gdt + SLOT + 12], 0x900
GATEBAD "RSP0 not canonical", SS_, 0, mov dword [tss + 8], 0x8000

; ---- INT and gates ----
%macro INTN 5				; name, n, mode, vector, error
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
%rep 4
INTN "gate type 12", 0x43, m, GP, 0x43 * 8 + 2
INTN "not present", 0x42, m, NP, 0x42 * 8 + 2
INTN "null CS", 0x44, m, GP, 0
INTN "CS is data", 0x45, m, GP, SKD
INTN "CS is 32-bit", 0x46, m, GP, SK32
INTN "16-bit gate", 0x4a, m, GP, 0x4a * 8 + 2
INTN "task gate", 0x4b, m, GP, 0x4b * 8 + 2
INTN "CS beyond the table", 0x4c, m, GP, GDT_END
INTN "not canonical", 0x49, m, GP, 0
INTN "beyond the IDT", 0x50, m, GP, 0x50 * 8 + 2
INTN "255", 0xff, m, GP, 0xff * 8 + 2
INTN "interrupt gate on RSP0", 0x47, m, 0x47, ANY
INTN "trap gate on RSP0", 0x48, m, 0x48, ANY
INTN "INT 3 by CD", 3, m, 3, ANY
ROW {"INT3"}, m, BP_, ANY
	GO
	int3
AT
END
%assign m m + 1
%endrep
INTN "gate of ring 0 from ring 3", 0x41, U64, GP, 0x41 * 8 + 2
INTN "gate of ring 0 from ring 3, compatibility", 0x41, U32, GP, 0x41 * 8 + 2
INTN "gate of ring 0 from ring 0", 0x41, K64, 0x41, ANY
ROW "INTO, overflow, compatibility mode", U32, OF_, ANY
	GO
	mov al, 0x7f
	inc al
	into
AT
END
ROW "INTO, no overflow, compatibility mode", U32, NONE, ANY
	GO
	xor eax, eax
	into
END
ROW "BOUND outside, compatibility mode", U32, BR, ANY
	GO
	mov dword [edi + 4], 5
	mov eax, 6
AT
	bound eax, [edi]
END
ROW "BOUND inside, compatibility mode", U32, NONE, ANY
	GO
	mov dword [edi + 4], 5
	mov eax, 5
	bound eax, [edi]
END
ROW "RSP aligned to 16 on a gate", K64, 0x47, ANY
	GO
	mov esp, STACK - 3
	int 0x47
AT
END

; ---- exceptions in delivery: table 6-5 ----
; First exception's gate is made bad in a way that gives the second one.
%macro DOUBLE 5+			; name, first's vector, vector, error, code
ROW {"delivery: ", %1}, U64, %3, %4
	and byte [idt + %2 * 16 + 5], 0x7f
	GO
	%5
END
%endmacro
DOUBLE "#UD with an absent gate is #NP", UD, NP, UD * 8 + 3, ud2
DOUBLE "#DE with an absent gate is #DF", DE, DF, 0, db 0x31, 0xc9, 0xf7, 0xf1
DOUBLE "#GP with an absent gate is #DF", GP, DF, 0, hlt
DOUBLE "#PF with an absent gate is #DF", PF, DF, 0, mov eax, [rbx]
DOUBLE "#BP with an absent gate is #NP without EXT", BP_, NP, BP_ * 8 + 2, int3
DOUBLE "ICEBP with an absent gate is #NP", DB_, NP, DB_ * 8 + 3, db 0xf1
ROW "delivery: #UD through a gate to data is #GP", U64, GP, SKD + 1
	mov word [idt + UD * 16 + 2], SKD
	GO
AT
	ud2
END
ROW "delivery: #SS through a gate to data is #DF", U64, DF, 0
	mov word [idt + SS_ * 16 + 2], SKD
	GO
	mov rax, NC
	mov rbp, rax
	mov eax, [rbp]
END
ROW "delivery: #UD on an absent stack is #PF", K64, PF, 2, VT + 0x100000 - 8
	mov byte [idt + UD * 16 + 4], 0
	GO
	mov rsp, VT + 0x100000
AT
	ud2
END
ROW "delivery: #GP on an absent stack is #PF: no double fault", K64, PF, 2, VT + 0x100000 - 8
	mov byte [idt + GP * 16 + 4], 0
	GO
	mov rsp, VT + 0x100000
	mov ecx, 0x12345
AT
	rdmsr
END
ROW "delivery: #PF on an absent stack is #DF", K64, DF, 0
	mov byte [idt + PF * 16 + 4], 0
	GO
	mov rsp, VT + 0x100000
	push rax
END
ROW "delivery: #UD on a stack that is not canonical is #SS", K64, SS_, 1
	mov byte [idt + UD * 16 + 4], 0
	GO
	mov rsp, NC + 16
AT
	ud2
END
ROW "delivery: #UD, RSP0 not canonical, is #SS", U64, SS_, 1
	mov byte [idt + UD * 16 + 4], 0
	mov dword [tss + 8], 0x8000
	GO
AT
	ud2
END
ROW "delivery: #UD on IST 7 beyond the TSS is #TS", U64, TS_, STSS + 1
	mov byte [idt + UD * 16 + 4], 7
	mov word [gdt_tss], 0x40
	mov byte [gdt_tss + 5], 0x89
	mov ax, STSS
	ltr ax
	GO
AT
	ud2
END
; ---- IRET, SYSCALL, SYSRET ----
ROW "IRET with NT in long mode", K64, GP, 0
	GO
	pushf
	or word [rsp], 0x4000
	popf
AT
	iretq
END
ROW "IRET to ring 3 with null SS", K64, GP, 0
	GO
	push 0
	push STACK + UA
	push 2
	push SU64
	push 0
AT
	iretq
END
ROW "IRET to ring 3, SS of ring 0", K64, GP, SKD
	GO
	push SKD + 3
	push STACK + UA
	push 2
	push SU64
	push 0
AT
	iretq
END
ROW "IRET to ring 3, SS not present", K64, SS_, SLOT
	mov rax, 0x00cf73000000ffff
	mov [gdt + SLOT], rax
	GO
	push SLOT + 3
	push STACK + UA
	push 2
	push SU64
	push 0
AT
	iretq
END
ROW "IRET to ring 3, SS read-only", K64, GP, SLOT
	mov rax, 0x00cff1000000ffff
	mov [gdt + SLOT], rax
	GO
	push SLOT + 3
	push STACK + UA
	push 2
	push SU64
	push 0
AT
	iretq
END
ROW "IRET inside ring 0 with null SS is good", K64, NONE, ANY
	GO
	mov rax, rsp
	push 0
	push rax
	push 2
	push SK64
	push iret_null
	iretq
iret_null:
END
ROW "IRET not to a canonical address", K64, GP, 0
	GO
	push SUD
	push STACK + UA
	push 2
	push SU64
	mov rax, NC
	push rax
AT
	iretq
END
ROW "IRET to a compatibility segment beyond its limit", K64, GP, 0
	mov rax, 0x0040fb000000ffff
	mov [gdt + SLOT], rax
	GO
	push SUD
	push STACK + UA
	push 2
	push SLOT + 3
	push 0x10000
AT
	iretq
END
ROW "IRET to ring 3 makes ring 0 data segments null", K64, NONE, ANY, 0
	GO
	push SUD
	push STACK + UA
	push 2
	push SU64
	push iret_drop + UA
	iretq
iret_drop:
	mov eax, ds
END
ROW "IRET in ring 3 keeps IF and IOPL", U64, NONE, ANY, 0x202
	mov dword [row_flags], 0x202
	GO
	mov ecx, ss
	mov rdx, rsp
	push rcx
	push rdx
	push 0x3002
	mov ecx, cs
	push rcx
	lea rcx, [rel iret_keep]
	push rcx
	iretq
iret_keep:
	pushf
	pop rax
END
ROW "POPF in ring 3 keeps IF and IOPL", U64, NONE, ANY, 0x202
	mov dword [row_flags], 0x202
	GO
	push 0x3002
	popf
	pushf
	pop rax
END
ROW "POPF ignores VM, clears RF in what PUSHF shows", K64, NONE, ANY, 2
	GO
	push 0x30002
	popf
	pushf
	pop rax
END
ROW "POPF in ring 0 takes ID, AC, NT, IOPL", K64, NONE, ANY, 0x247002
	GO
	push 0x247002
	popf
	pushf
	pop rax
	push 2
	popf
END
ROW "SYSCALL without SCE", U64, UD, 0
	mov ecx, 0xc0000080
	rdmsr
	and al, 0xfe
	wrmsr
	GO
AT
	syscall
END
ROW "SYSCALL arrives, RCX is after it", U64, 0x41, ANY, 0x55
	GO
	mov eax, 0x55
	syscall
AT
END
NEED F_AMD
ROW "SYSCALL from compatibility mode goes to CSTAR, AMD", U32, 0x41, ANY
	mov ecx, 0xc0000083
	xor edx, edx
	mov eax, sys_stub
	wrmsr
	GO
	syscall
AT
END
NEED F_INTEL
ROW "SYSCALL in compatibility mode, Intel", U32, UD, 0
	GO
AT
	syscall
END
ROW "SYSRET without SCE", K64, UD, 0
	mov ecx, 0xc0000080
	rdmsr
	and al, 0xfe
	wrmsr
	GO
AT
	o64 sysret
END
ROW "SYSRET to 64-bit code", K64, NONE, ANY, SU64 | SUD << 16
	GO
	mov ecx, sysret_here + UA
	mov r11d, 2
	mov esp, STACK + UA
	o64 sysret
sysret_here:
	mov eax, ss
	shl eax, 16
	mov ecx, cs
	or eax, ecx
END
ROW "SYSRET to compatibility mode", K64, NONE, ANY, SU32
	GO
	mov ecx, sysret_here32 + UA
	mov r11d, 2
	mov esp, STACK + UA
	o32 sysret
	BITS 32
sysret_here32:
	mov eax, cs
	BITS 64
END
NEED F_INTEL
ROW "SYSRET not to a canonical address, Intel", K64, GP, 0
	GO
	mov rcx, NC
	mov r11d, 2
AT
	o64 sysret
END
ROW "SYSCALL masks by SFMASK", U64, 0x41, ANY
	GO
	std
	syscall
END
ROW "SWAPGS", K64, NONE, ANY, 0x12345000
	mov ecx, 0xc0000102
	mov eax, 0x12345000
	xor edx, edx
	wrmsr
	GO
	swapgs
	mov ecx, 0xc0000101
	rdmsr
END

; ---- protection keys: a page with key 5, against the manual's rule (SDM vol. 3, 4.6.2) ----
%macro PKEY 5				; AD WD of key 5, write?, ring 3?, WP
	%assign bad %1 || (%2 && %3 && (%4 || %5))
	%assign err ANY
	%assign vec NONE
	%if bad
		%assign err 0x21 | %3 << 1 | %4 << 2
		%assign vec PF
	%endif
	NEED F_PKU
	%if bad
	ROW {"key: AD", '0' + %1, " WD", '0' + %2, " write ", '0' + %3, " user ", '0' + %4, " WP", '0' + %5}, \
		%4, vec, err, VT + 0x123
	%else
	ROW {"key: AD", '0' + %1, " WD", '0' + %2, " write ", '0' + %3, " user ", '0' + %4, " WP", '0' + %5}, \
		%4, vec, err
	%endif
	mov rax, FRAME | 7 | 5 << 59
	mov [PT_TEST], rax
	pkey_on %1 << 10 | %2 << 11
	%if !%5
	mov rax, cr0
	btr rax, 16
	mov cr0, rax
	%endif
	GO
	%if bad
	AT
	%endif
	%if %3
	mov [rbx + 0x123], al
	%else
	mov al, [rbx + 0x123]
	%endif
END
%endmacro
%macro pkey_on 1
	mov rax, cr4
	bts rax, 22
	mov cr4, rax
	mov eax, %1
	xor ecx, ecx
	xor edx, edx
	wrpkru
%endmacro
%assign n 0
%rep 32
	%assign b0 n & 1
	%assign b1 n >> 1 & 1
	%assign b2 n >> 2 & 1
	%assign b3 n >> 3 & 1
	%assign b4 n >> 4 & 1
	PKEY b0, b1, b2, b3, b4
	%assign n n + 1
%endrep
NEED F_PKU
ROW "key: fetches are not denied", U64, NONE, ANY
	mov rax, FRAME | 7 | 5 << 59
	mov [PT_TEST], rax
	pkey_on 0xc00
	GO
	jmp rbx
END
NEED F_PKU
ROW "key: a supervisor page has none", K64, NONE, ANY
	mov rax, FRAME | 3 | 5 << 59
	mov [PT_TEST], rax
	pkey_on 0xc00
	GO
	mov al, [rbx]
END
NEED F_PKU
ROW "key: WRPKRU takes effect at once", U64, PF, 0x25, VT
	mov rax, FRAME | 7 | 5 << 59
	mov [PT_TEST], rax
	pkey_on 0
	mov eax, 0x400
	GO
	mov ecx, [rbx]
	mov [rbx], ecx
	xor ecx, ecx
	wrpkru
AT
	mov al, [rbx]
END
NEED F_PKU
ROW "key: WRPKRU back", U64, NONE, ANY
	mov rax, FRAME | 7 | 5 << 59
	mov [PT_TEST], rax
	pkey_on 0x400
	xor eax, eax
	GO
	wrpkru
	mov al, [rbx]
END
NEED F_PKU
ROW "RDPKRU", U64, NONE, ANY, 0x5a5a1234
	pkey_on 0x5a5a1234
	mov rax, -1
	mov rdx, -1
	GO
	rdpkru
END
%macro PKUBAD 5				; name, vector, ECX, EDX, instruction
NEED F_PKU
ROW %1, U64, %2, 0
	%if %2 == GP
	pkey_on 0
	%endif
	mov ecx, %3
	mov edx, %4
	GO
	AT
	%5
END
%endmacro
PKUBAD "RDPKRU without CR4.PKE", UD, 0, 0, rdpkru
PKUBAD "WRPKRU without CR4.PKE", UD, 0, 0, wrpkru
PKUBAD "RDPKRU with ECX", GP, 1, 0, rdpkru
PKUBAD "WRPKRU with ECX", GP, 1, 0, wrpkru
PKUBAD "WRPKRU with EDX", GP, 0, 1, wrpkru

; ---- paging: rights of a 4 KiB page, all of them against the manual's rule (SDM vol. 3, 4.6) ----
%macro PAGE 10				; P W U NX, access (0 R 1 W 2 X), ring 3?, WP, SMEP, SMAP, AC
	%assign err 0
	%assign bad 0
	%if !%1
		%assign bad 1
	%else
		%if %6
			%if !%3
				%assign bad 1
			%endif
			%if %5 == 1 && !%2
				%assign bad 1
			%endif
		%else
			%if %5 == 1 && !%2 && %7
				%assign bad 1
			%endif
			%if %5 < 2 && %3 && %9 && !%10
				%assign bad 1
			%endif
			%if %5 == 2 && %3 && %8
				%assign bad 1
			%endif
		%endif
		%if %5 == 2 && %4
			%assign bad 1
		%endif
		%assign err 1
	%endif
	%assign err err | (%5 == 1) * 2 | %6 * 4 | (%5 == 2) * 16
	%if %8 || %9
		NEED F_SMEP | F_SMAP
	%endif
	%if bad
		%assign vec PF
		%assign off (%5 < 2) * 0x123
	%else
		%assign vec NONE
		%assign err ANY
	%endif
	%if bad
	ROW {"page: P", '0' + %1, " W", '0' + %2, " U", '0' + %3, " NX", '0' + %4, " access ", '0' + %5, \
		" user ", '0' + %6, " WP", '0' + %7, " SMEP", '0' + %8, " SMAP", '0' + %9, " AC", '0' + %10}, %6, vec, err, VT + off
	%else
	ROW {"page: P", '0' + %1, " W", '0' + %2, " U", '0' + %3, " NX", '0' + %4, " access ", '0' + %5, \
		" user ", '0' + %6, " WP", '0' + %7, " SMEP", '0' + %8, " SMAP", '0' + %9, " AC", '0' + %10}, %6, vec, err
	%endif
	mov rax, FRAME | %1 | %2 << 1 | %3 << 2 | %4 << 63
	mov [PT_TEST], rax
	%if !%7
	mov rax, cr0
	btr rax, 16
	mov cr0, rax
	%endif
	%if %8 || %9
	mov rax, cr4
	or rax, %8 << 20 | %9 << 21
	mov cr4, rax
	%endif
	%if %10
	mov dword [row_flags], 0x40002
	%endif
	GO
	%if %5 == 0
	%if bad
	AT
	%endif
	mov eax, [rbx + 0x123]
	%elif %5 == 1
	%if bad
	AT
	%endif
	mov [rbx + 0x123], eax
	%else
	jmp rbx
	%endif
	END
%endmacro
%assign c 0
%rep 1536
	%assign acc c % 3
	%assign q c / 3
	%if (q >> 9) == 0
	%assign p1 q & 1 ^ 1
	%assign p2 q >> 1 & 1
	%assign p3 q >> 2 & 1
	%assign p4 q >> 3 & 1
	%assign p6 q >> 4 & 1
	%assign p7 q >> 5 & 1
	%assign p8 q >> 6 & 1
	%assign p9 q >> 7 & 1
	%assign p10 q >> 8 & 1
	PAGE p1, p2, p3, p4, acc, p6, p7, p8, p9, p10
	%endif
	%assign c c + 1
%endrep

; Rights are the least of all levels.
%macro LEVEL 5				; name, address of the entry, mask of bits taken away, ring 3?, error
ROW {"page: ", %1}, %4, PF, %5, VT
	mov qword [PT_TEST], FRAME + 7
	mov rax, ~(%3)
	and [%2], rax
	mov rax, cr3
	mov cr3, rax
	GO
	AT
	mov [rbx], eax
END
%endmacro
LEVEL "PDE not writable", PD_TEST, 2, U64, 7
LEVEL "PDPTE not writable", PDPT + 16, 2, U64, 7
LEVEL "PDE of the supervisor", PD_TEST, 4, U64, 7
LEVEL "PDPTE of the supervisor", PDPT + 16, 4, U64, 7
LEVEL "PDE not present", PD_TEST, 1, U64, 6
LEVEL "PDPTE not present", PDPT + 16, 1, K64, 2
LEVEL "PDE not writable, ring 0", PD_TEST, 2, K64, 3
%macro RSVD 4				; name, entry, value to set, need
NEED %4
ROW {"page: reserved bit, ", %1}, U64, PF, 13, VT
	mov qword [PT_TEST], FRAME + 7
	mov rax, %3
	or [%2], rax
	mov rax, cr3
	mov cr3, rax
	GO
	AT
	mov eax, [rbx]
END
%endmacro
RSVD "PTE bit 51", PT_TEST, 1 << 51, 0
RSVD "PDE bit 51", PD_TEST, 1 << 51, 0
RSVD "PDPTE bit 51", PDPT + 16, 1 << 51, 0
RSVD "2 MiB page bit 13", PD_TEST, 1 << 13 | 0x80, 0
RSVD "1 GiB page bit 13", PDPT + 16, 1 << 13 | 0x80, F_1G
ROW "page: reserved bit comes before rights", U64, PF, 13, VT
	mov rax, FRAME + 1 + (1 << 51)
	mov [PT_TEST], rax
	GO
AT
	mov eax, [rbx]
END
ROW "page: PML4E bit 7 is reserved", K64, PF, 9, 0x8000000000
	mov qword [PML4 + 8], PDPT + 0x87
	GO
	mov rax, 0x8000000000
AT
	mov eax, [rax]
END
ROW "page: NX without EFER.NXE is reserved", K64, PF, 9, VT
	mov rax, FRAME + 7 + (1 << 63)
	mov [PT_TEST], rax
	mov ecx, 0xc0000080
	rdmsr
	and ah, 0xf7
	wrmsr
	GO
AT
	mov eax, [rbx]
END
ROW "page: bits 52-58 of a PTE are the guest's", U64, NONE, ANY
	mov rax, FRAME + 7 + (0x7f << 52)
	mov [PT_TEST], rax
	GO
	mov eax, [rbx]
END
%macro ADBITS 4+			; name, expected low byte of PTE, expected PDE A, code
ROW {"A/D: ", %1}, U64, NONE, ANY, %2 | %3 << 8
	mov qword [PT_TEST], FRAME + 7
	GO
	%4
	mov ecx, PT_TEST + UA
	movzx eax, byte [rcx]
	mov ecx, PD_TEST + UA
	mov dl, [rcx]
	mov ah, dl
END
%endmacro
ADBITS "no access", 7, 7, nop
ADBITS "read", 0x27, 0x27, mov eax, [rbx]
ADBITS "write", 0x67, 0x27, mov [rbx], eax
ADBITS "ADD to memory", 0x67, 0x27, add [rbx], eax
ADBITS "CMPXCHG that fails writes", 0x67, 0x27, lock cmpxchg [rbx], esi
ADBITS "LEA", 7, 7, lea rax, [rbx]
ADBITS "CMP to memory", 0x27, 0x27, cmp [rbx], eax
ADBITS "TEST to memory", 0x27, 0x27, test [rbx], eax
ADBITS "REP MOVSB of 0", 7, 7, db 0x31, 0xc9, 0xf3, 0xa4
ADBITS "MOVUPS store", 0x67, 0x27, movups [rbx], xmm0
ADBITS "BTS", 0x67, 0x27, bts dword [rbx], 3
ADBITS "XADD", 0x67, 0x27, xadd [rbx], eax
ADBITS "BT", 0x27, 0x27, bt dword [rbx], 3
ROW "A/D: write after read sets D", U64, NONE, ANY, 0x6727
	mov qword [PT_TEST], FRAME + 7
	GO
	mov eax, [rbx]
	mov ecx, PT_TEST + UA
	mov al, [rcx]
	mov [rbx], edx
	mov ah, [rcx]
	movzx eax, ax
END
ROW "A/D: denied write sets no D", U64, PF, 7, VT
	mov qword [PT_TEST], FRAME + 5
	GO
	mov eax, [rbx]
AT
	mov [rbx], eax
END
ROW "page crossing: second page absent, nothing is written", K64, PF, 2, VT + 0x1000
	mov qword [PT_TEST], FRAME + 7
	GO
	lea rax, [rbx + 0xffc]
AT
	mov [rax], rdx
END
ROW "page crossing: first page absent", K64, PF, 0, VT + 0xffc
	mov qword [PT_TEST + 8], FRAME + 7
	GO
	lea rax, [rbx + 0xffc]
AT
	mov rdx, [rax]
END
ROW "page crossing: both there", K64, NONE, ANY, 0x4000112233
	mov qword [PT_TEST], FRAME + 7
	mov qword [PT_TEST + 8], FRAME2 + 7
	mov dword [FRAME + 0xffd], 0x112233
	GO
	mov rax, [rbx + 0xffd]
	mov rcx, 0xffffffffff
	and rax, rcx
END
ROW "instruction over two pages, second absent", K64, PF, 16, VT + 0x1000
	mov qword [PT_TEST], FRAME + 7
	mov byte [FRAME + 0xfff], 0xb8
	GO
	lea rax, [rbx + 0xfff]
	jmp rax
END
ROW "more permissive entry needs no INVLPG", K64, NONE, ANY
	mov qword [PT_TEST], 0
	GO
	mov qword [PT_TEST], FRAME + 7
	mov eax, [rbx]
END
ROW "INVLPG makes a changed entry seen", K64, NONE, ANY, 0x77
	mov qword [PT_TEST], FRAME + 7
	mov dword [FRAME2 + 8], 0x77
	GO
	mov eax, [rbx + 8]
	mov qword [PT_TEST], FRAME2 + 7
	invlpg [rbx]
	mov eax, [rbx + 8]
END
ROW "INVLPG of an address that is not canonical does nothing", K64, NONE, ANY
	GO
	mov rax, NC
	invlpg [rax]
END
ROW "MOV CR3 makes a changed entry seen", K64, PF, 0, VT
	mov qword [PT_TEST], FRAME + 7
	GO
	mov eax, [rbx]
	mov qword [PT_TEST], 0
	mov rax, cr3
	mov cr3, rax
AT
	mov eax, [rbx]
END
ROW "2 MiB page", K64, NONE, ANY, 0x40cd
	mov qword [PD_TEST], (FRAME & ~0x1fffff) + 0x83
	GO
	movzx eax, word [rbx + (FRAME & 0x1fffff)]
END
NEED F_1G
ROW "1 GiB page", K64, NONE, ANY, 0x40cd
	mov qword [PDPT + 24], 0x83
	GO
	mov ecx, 0xc0000000 + FRAME
	movzx eax, word [rcx]
END
NEED F_SMAP
ROW "SMAP: CLAC, STAC", K64, PF, 1, VT
	mov qword [PT_TEST], FRAME + 7
	mov rax, cr4
	bts rax, 21
	mov cr4, rax
	GO
	stac
	mov eax, [rbx]
	clac
AT
	mov eax, [rbx]
END
NEED F_SMAP
ROW "STAC in ring 3", U64, UD, 0
	GO
AT
	stac
END
NEED F_SMAP
ROW "SMAP: implicit access ignores AC", K64, PF, 1, VT + 8
	mov qword [PT_TEST], FRAME + 7
	mov rax, cr4
	bts rax, 21
	mov cr4, rax
	mov dword [row_flags], 0x40002
	mov word [gdt + SLDT_ + 2], 0	; LDT at VT
	mov byte [gdt + SLDT_ + 4], 0
	mov byte [gdt + SLDT_ + 7], VT >> 24
	mov eax, SLDT_
	lldt ax
	GO
	mov eax, 0xc
AT
	mov fs, eax
END
%include "tlb64.inc"
%macro INVP 4				; name, type, first quadword, second
NEED F_INVPCID
ROW {"INVPCID: ", %1}, K64, GP, 0
	GO
	mov rax, %2
	mov rcx, %3
	mov [rdi], rcx
	mov rcx, %4
	mov [rdi + 8], rcx
	AT
	invpcid rax, [rdi]
END
%endmacro
INVP "type 4", 4, 0, 0
INVP "type 2^32", 1 << 32, 0, 0
INVP "reserved bits of the descriptor", 0, 0x1000, 0
INVP "not canonical", 0, 0, NC
INVP "PCID without CR4.PCIDE, type 0", 0, 1, 0
INVP "PCID without CR4.PCIDE, type 1", 1, 1, 0
NEED F_INVPCID
ROW "INVPCID: all", K64, NONE, ANY
	GO
	mov eax, 2
	invpcid rax, [rdi]
	inc eax
	invpcid rax, [rdi]
END

; ---- random numbers: CF when there is one, no other flag; twice the same of 64 bits means something is wrong ----
%macro RANDOM 2				; instruction, feature
NEED %2
ROW {"random numbers: 64 bits"}, U64, NONE, ANY, 1
	GO
%%again_a:
	%1 rax
	jnc %%again_a
	pushf
	pop rcx
%%other:
	%1 rdx
	jnc %%other
	cmp rax, rdx
	mov eax, 0xbad
	je %%same
	mov eax, ecx
	and eax, 0x8d5
%%same:
END
NEED %2
ROW {"random numbers: 32 bits, the upper half is zero"}, U64, NONE, ANY, 0
	GO
%%again_b:
	mov rax, -1
	%1 eax
	jnc %%again_b
	shr rax, 32
END
NEED %2
ROW {"random numbers: 16 bits, the rest stays"}, U64, NONE, ANY, 0x112233445566
	GO
%%again_c:
	mov rax, 0x1122334455667788
	%1 ax
	jnc %%again_c
	shr rax, 16
END
%endmacro
RANDOM rdrand, F_RDRAND
RANDOM rdseed, F_RDSEED
%include "prio64.inc"
; ---- debug ----
%macro DR 5				; name, mode, DR7, address in DR0, DR6
ROW {"#DB: ", %1}, %2, DB_, ANY, %5
	mov rax, %4
	%if %2 & 1
	add rax, UA
	%endif
	mov dr0, rax
	mov eax, %3
	mov dr7, rax
	mov eax, 0
	GO
%endmacro
%assign m 0
%rep 2
ROW "#DB: TF traps after the next instruction", m, DB_, ANY, 0x4000
	GO
	pushf
	or byte [rsp + 1], 1
	popf
	nop
AT
	nop
END
ROW "#DB: TF after a taken jump", m, DB_, ANY, 0x4000
	mov dword [row_flags], 0x102
	GO
	jmp tf_to_%[m]
	ud2
tf_to_%[m]:
AT
	nop
END
DR "write breakpoint", m, 0x000d0001, DATA, 1
	mov [rdi], eax
AT
END
DR "write breakpoint, part of an access", m, 0x000d0001, DATA + 4, 1
	mov [rdi], rax
AT
END
DR "read-write breakpoint on a read", m, 0x000f0001, DATA, 1
	mov eax, [rdi]
AT
END
DR "read-write breakpoint, one byte", m, 0x00030001, DATA + 3, 1
	mov eax, [rdi]
AT
END
DR "8 bytes", m, 0x000b0001, DATA, 1
	mov al, [rdi + 7]
AT
END
DR "by global enable", m, 0x000d0002, DATA, 1
	mov [rdi], eax
AT
END
DR "push", m, 0x000d0001, STACK - 8, 1
	push rax
AT
END
DR "both TF and data", m, 0x000d0001, DATA, 0x4001
	pushf
	or byte [rsp + 1], 1
	popf
	mov [rdi], eax
AT
END
DR "SSE store", m, 0x000d0001, DATA + 12, 1
	movups [rdi], xmm0
AT
END
DR "string store", m, 0x000d0001, DATA, 1
	stosb
AT
END
ROW "write breakpoint, not on a read", m, NONE, ANY
	mov rax, DATA + UA * (m & 1)
	mov dr0, rax
	mov eax, 0x000d0001
	mov dr7, rax
	GO
	mov eax, [rdi]
END
ROW "breakpoint, off", m, NONE, ANY
	mov rax, DATA + UA * (m & 1)
	mov dr0, rax
	mov eax, 0x000d0000
	mov dr7, rax
	GO
	mov [rdi], eax
END
ROW "breakpoint, beside it", m, NONE, ANY
	mov rax, DATA + UA * (m & 1) + 4
	mov dr0, rax
	mov eax, 0x000d0001
	mov dr7, rax
	GO
	mov [rdi], eax
END
DR "code breakpoint is a fault", m, 0x00000001, bp_%[m], 1
	nop
bp_%[m]:
AT
	ud2
END
DR "code breakpoint before #GP and #UD", m, 0x00000001, bpx_%[m], 1
	nop
bpx_%[m]:
AT
	hlt
END
ROW "RF holds off a code breakpoint once", m, NONE, ANY
	mov rax, bpr_%[m] + UA * (m & 1)
	mov dr0, rax
	mov eax, 1
	mov dr7, rax
	GO
	mov ecx, ss
	mov rdx, rsp
	push rcx
	push rdx
	push 0x10002
	mov ecx, cs
	push rcx
	lea rcx, [rel bpr_%[m]]
	push rcx
	iretq
bpr_%[m]:
	nop
END
ROW "ICEBP", m, DB_, ANY
	GO
	db 0xf1
AT
END
%assign m m + 1
%endrep
DR "I/O breakpoint", K64, 0x00020001, 0x80, 1
	mov rax, cr4
	or al, 8
	mov cr4, rax
	out 0x80, al
AT
END
ROW "MOV DR with GD", K64, DB_, ANY, 0x2000
	mov eax, 0x2000
	mov dr7, rax
	GO
AT
	mov rax, dr0
END
ROW "MOV DR4 with CR4.DE", K64, UD, 0
	mov rax, cr4
	or al, 8
	mov cr4, rax
	GO
AT
	db 0x0f, 0x21, 0xe0
END
ROW "MOV DR4 without DE is DR6", K64, NONE, ANY, 0xffff0ff0
	GO
	db 0x0f, 0x21, 0xe0
END
ROW "MOV DR5 without DE is DR7", K64, NONE, ANY, 0x400
	GO
	db 0x0f, 0x21, 0xe8
END
ROW "DR0: any address, canonical or not", K64, NONE, ANY, 0x800000000000
	GO
	mov rax, 0x800000000000
	mov dr0, rax
	xor eax, eax
	mov rax, dr0
END
ROW "DR6 above 32 bits", K64, GP, 0
	mov rax, 1 << 32
	GO
AT
	mov dr6, rax
END
ROW "DR7 above 32 bits", K64, GP, 0
	mov rax, 1 << 32
	GO
AT
	mov dr7, rax
END
ROW "DR6 fixed bits", K64, NONE, ANY, 0xffff0ff0
	GO
	xor eax, eax
	mov dr6, rax
	mov rax, dr6
	or eax, 0x800			; bus-lock bit: one where it is not supported
END
ROW "DR7 fixed bits", K64, NONE, ANY, 0x400
	GO
	mov eax, 0xd000
	mov dr7, rax
	mov rax, dr7
END
ROW "MOV SS holds off TF for one instruction", K64, DB_, ANY, 0x4000
	GO
	mov ecx, ss
	pushf
	or byte [rsp + 1], 1
	popf
	mov ss, ecx
	nop
AT
	nop
END
ROW "MOV SS holds off a data breakpoint", K64, DB_, ANY, 1
	mov word [DATA], SKD
	mov eax, DATA
	mov dr0, rax
	mov eax, 0x000f0001
	mov dr7, rax
	GO
	mov ss, [rdi]
	nop
AT
	nop
END
ROW "SYSCALL with TF: FMASK clears it", U64, 0x41, ANY
	mov dword [row_flags], 2
	GO
	pushf
	or byte [rsp + 1], 1
	popf
	syscall
AT
END

; ---- alignment ----
%macro ALIGN_ 5+			; name, mode, vector, AC, code
ROW {"alignment: ", %1}, %2, %3, 0
	mov rax, cr0
	bts rax, 18
	mov cr0, rax
	mov dword [row_flags], 2 + (%4 << 18)
	GO
	%if %3 != NONE
	AT
	%endif
	%5
END
%endmacro
ALIGN_ "4 bytes, ring 3, AC", U64, AC_, 1, mov eax, [rdi + 1]
ALIGN_ "2 bytes, ring 3, AC", U64, AC_, 1, mov ax, [rdi + 1]
ALIGN_ "8 bytes at 4, ring 3, AC", U64, AC_, 1, mov rax, [rdi + 4]
ALIGN_ "store, ring 3, AC", U32, AC_, 1, mov [edi + 2], eax
ALIGN_ "aligned, ring 3, AC", U64, NONE, 1, mov rax, [rdi + 8]
ALIGN_ "byte, ring 3, AC", U64, NONE, 1, mov al, [rdi + 1]
ALIGN_ "ring 3, no AC", U64, NONE, 0, mov eax, [rdi + 1]
ALIGN_ "ring 0, AC", K64, NONE, 1, mov eax, [rdi + 1]
ALIGN_ "FLD m64, ring 3, AC", U64, AC_, 1, fld qword [rdi + 4]
%macro MISAL 2+
ROW {"misaligned: ", %1}, U64, GP, 0
	GO
	AT
	%2
END
%endmacro
MISAL "MOVAPS", movaps xmm0, [rdi + 8]
MISAL "MOVAPS store", movaps [rdi + 8], xmm0
MISAL "ADDPS", addps xmm0, [rdi + 4]
MISAL "MOVNTDQ", movntdq [rdi + 8], xmm0
MISAL "FXSAVE", fxsave [rdi + 8]
MISAL "FXRSTOR", fxrstor [rdi + 8]
NEED F_CX16
MISAL "CMPXCHG16B", cmpxchg16b [rdi + 8]
NEED F_AVX
MISAL "XSAVE", xsave [rdi + 32]
NEED F_AVX
MISAL "XRSTOR", xrstor [rdi + 32]
NEED F_AVX
MISAL "VMOVAPS ymm", vmovaps ymm0, [rdi + 16]
NEED F_AVX
ROW "VADDPS needs no alignment", U64, NONE, ANY
	GO
	vaddps ymm0, ymm1, [rdi + 1]
END
NEED F_AVX
ROW "XRSTOR: XSTATE_BV beyond XCR0", U64, GP, 0
	GO
	mov byte [rdi + 513], 0x80
	mov eax, -1
	mov edx, -1
AT
	xrstor [rdi]
END
NEED F_AVX
ROW "XRSTOR: reserved header bytes", U64, GP, 0
	GO
	mov byte [rdi + 512 + 24], 1
	mov eax, -1
	mov edx, -1
AT
	xrstor [rdi]
END
ROW "FXRSTOR: MXCSR reserved bits", U64, GP, 0
	GO
	mov dword [rdi + 24], 0x80000000
AT
	fxrstor [rdi]
END
ROW "LDMXCSR reserved bits", U64, GP, 0
	GO
	mov dword [rdi], 0x10000
AT
	ldmxcsr [rdi]
END
%macro XSETBV 4
NEED F_AVX
ROW {"XSETBV: ", %1}, K64, GP, 0
	mov eax, %2
	mov edx, %3
	mov ecx, %4
	GO
	AT
	xsetbv
END
%endmacro
XSETBV "without x87", 6, 0, 0
XSETBV "AVX without SSE", 5, 0, 0
XSETBV "bit 62", 7, 0x40000000, 0
XSETBV "XCR1", 7, 0, 1
XSETBV "opmask without ZMM", 0x27, 0, 0
XSETBV "ZMM without AVX", 0xe3, 0, 0
XSETBV "ZMM16 to 31 alone", 0x87, 0, 0
NEED F_XSAVES
ROW "XRSTORS of the standard form", K64, GP, 0
	GO
	mov eax, 7
	xor edx, edx
	xsave [rdi]
AT
	xrstors [rdi]
END
NEED F_XSAVES
ROW "XSAVES and XRSTORS", K64, NONE, ANY
	GO
	mov eax, 7
	xor edx, edx
	mov qword [rdi + 512 + 16], 0
	mov qword [rdi + 512 + 24], 0
	mov qword [rdi + 512 + 32], 0
	mov qword [rdi + 512 + 40], 0
	mov qword [rdi + 512 + 48], 0
	mov qword [rdi + 512 + 56], 0
	xsaves [rdi]
	xrstors [rdi]
END
NEED F_XSAVES
ROW "XSAVES, misaligned", K64, GP, 0
	GO
	mov eax, 7
	xor edx, edx
AT
	xsaves [rdi + 32]
END
NEED F_XSAVES
ROW "XSAVES without OSXSAVE", K64, UD, 0
	mov rax, cr4
	btr rax, 18
	mov cr4, rax
	GO
AT
	xsaves [rdi]
END
NEED F_AVX
ROW "XGETBV of no XCR", U64, GP, 0
	mov ecx, 5
	GO
AT
	xgetbv
END

; ---- floating-point switches: CR0.EM MP TS, CR4.OSFXSR, OSXSAVE, XCR0 ----
%macro FPSW 4				; kind (0 x87 1 FWAIT 2 MMX 3 SSE 4 AVX), CR0 bits, OSFXSR, mode
	%assign vec NONE
	%assign em (%2) >> 2 & 1
	%assign ts (%2) >> 3 & 1
	%assign mp (%2) >> 1 & 1
	%if %1 == 0
		%if em || ts
			%assign vec NM
		%endif
	%elif %1 == 1
		%if mp && ts
			%assign vec NM
		%endif
	%elif %1 == 2
		%if em
			%assign vec UD
		%elif ts
			%assign vec NM
		%endif
	%elif %1 == 3
		%if em || !%3
			%assign vec UD
		%elif ts
			%assign vec NM
		%endif
	%elif %1 == 4
		NEED F_AVX
		%if ts
			%assign vec NM
		%endif
	%endif
ROW {"FP switches: kind ", '0' + %1, " EM", '0' + em, " TS", '0' + ts, " MP", '0' + mp, " OSFXSR", '0' + %3}, %4, vec, ANY
	mov rax, cr4
	%if !%3
	and ah, 0xfd
	mov cr4, rax
	%endif
	mov rax, cr0
	and al, 0xf1
	or al, %2
	mov cr0, rax
	GO
	%if vec != NONE
	AT
	%endif
	%if %1 == 0
	fld1
	%elif %1 == 1
	fwait
	%elif %1 == 2
	pxor mm0, mm0
	%elif %1 == 3
	pxor xmm0, xmm0
	%else
	vpxor xmm0, xmm0, xmm0
	%endif
	END
%endmacro
%assign c 0
%rep 80
	%assign kind c % 5
	%assign sw (c / 5 & 7) << 1
	%assign fxsr c / 40
	%assign mode c / 5 & 1
	FPSW kind, sw, fxsr, mode
	%assign c c + 1
%endrep
NEED F_AVX
ROW "AVX without OSXSAVE", U64, UD, 0
	mov rax, cr4
	btr rax, 18
	mov cr4, rax
	GO
AT
	vpxor xmm0, xmm0, xmm0
END
NEED F_AVX
ROW "AVX without XCR0.AVX", U64, UD, 0
	mov eax, 3
	xor edx, edx
	xor ecx, ecx
	xsetbv
	GO
AT
	vpxor xmm0, xmm0, xmm0
END
%macro ZMM_ON 0
	mov eax, 0xe7
	xor edx, edx
	xor ecx, ecx
	xsetbv
%endmacro
NEED F_AVX512
ROW "EVEX without XCR0's AVX-512", U64, UD, 0
	GO
AT
	vpaddd zmm0, zmm1, zmm2
END
NEED F_AVX512
ROW "opmasks without XCR0's AVX-512", U64, UD, 0
	GO
AT
	kmovw k1, eax
END
NEED F_AVX512
ROW "EVEX", U64, NONE, ANY
	ZMM_ON
	GO
	vpternlogd zmm31, zmm31, zmm31, 0xff
	kmovw k1, eax
	vmovdqu32 [rdi + 1]{k1}, zmm31
	vmovdqu32 xmm16{k1}{z}, [rdi + 1]
END
NEED F_AVX512
ROW "EVEX with TS", K64, NM, ANY
	ZMM_ON
	mov rax, cr0
	or al, 8
	mov cr0, rax
	GO
AT
	vpaddd zmm0, zmm1, zmm2
END
NEED F_AVX512
ROW "VMOVDQA64, misaligned", U64, GP, 0
	ZMM_ON
	GO
AT
	vmovdqa64 zmm0, [rdi + 32]
END
NEED F_AVX512
ROW "load under an opmask, nothing chosen", U64, NONE, ANY
	ZMM_ON
	GO
	kxorw k1, k1, k1
	mov rax, 0x8000000000000000
	vmovdqu32 zmm0{k1}, [rax]
END
NEED F_AVX512
ROW "load under an opmask, one chosen", U64, GP, 0
	ZMM_ON
	GO
	mov eax, 0x80
	kmovw k1, eax
	mov rax, 0x8000000000000000
AT
	vmovdqu32 zmm0{k1}, [rax]
END
NEED F_INTEL | F_AVX512
ROW "VEXTRACTI32X4 under an opmask, nothing chosen", U64, GP, 0
	ZMM_ON
	GO
	kxorw k1, k1, k1
	mov rax, 0x8000000000000000
AT
	vextracti32x4 [rax]{k1}, zmm0, 1
END
ROW "XSAVE without OSXSAVE", U64, UD, 0
	mov rax, cr4
	btr rax, 18
	mov cr4, rax
	GO
AT
	xsave [rdi]
END
ROW "#MF at the next waiting instruction", U64, MF, 0
	GO
	mov word [rdi], 0x37b
	fldcw [rdi]
	fld1
	fldz
	fdivp st1, st0
	nop
AT
	fwait
END
ROW "#MF not at FNSTSW", U64, NONE, ANY, 0xb084
	GO
	mov word [rdi], 0x37b
	fldcw [rdi]
	fld1
	fldz
	fdivp st1, st0
	xor eax, eax
	fnstsw ax
END
ROW "#MF at an MMX instruction", U64, MF, 0
	GO
	mov word [rdi], 0x37b
	fldcw [rdi]
	fld1
	fldz
	fdivp st1, st0
AT
	pxor mm0, mm0
END
ROW "#XM", U64, XM, 0
	GO
	mov dword [rdi], 0x1d80
	ldmxcsr [rdi]
	xorps xmm0, xmm0
	mov eax, 0x3f800000
	movd xmm1, eax
AT
	divss xmm1, xmm0
END
ROW "#UD instead of #XM without OSXMMEXCPT", U64, UD, 0
	mov rax, cr4
	and ah, 0xfb
	mov cr4, rax
	GO
	mov dword [rdi], 0x1d80
	ldmxcsr [rdi]
	xorps xmm0, xmm0
	mov eax, 0x3f800000
	movd xmm1, eax
AT
	divss xmm1, xmm0
END
ROW "DIV by zero", U64, DE, 0
	GO
	xor ecx, ecx
AT
	div ecx
END
ROW "IDIV overflow", U64, DE, 0
	GO
	mov eax, 0x80000000
	cdq
	mov ecx, -1
AT
	idiv ecx
END
ROW "DIV r64 overflow", K64, DE, 0
	GO
	mov edx, 1
	mov ecx, 1
AT
	div rcx
END
ROW "AAM 0, compatibility mode", U32, DE, 0
	GO
AT
	aam 0
END

; ---- precise state ----
ROW "PUSH that faults leaves RSP", K64, PF, 2, VT + 0xff8
	GO
	lea rsp, [rbx + 0x1000]
AT
	push rax
END
ROW "POP to absent memory leaves RSP", K64, PF, 2, VT
	GO
	push rax
AT
	pop qword [rbx]
END
ROW "REP MOVSB stops where it faults: RCX", K64, PF, 2, VT + 0x1000
	mov qword [PT_TEST], FRAME + 7
	GO
	lea rdi, [rbx + 0xff0]
	mov ecx, 32
AT
	rep movsb
END
ROW "flags before a fault are the old ones", U64, PF, 6, VT
	GO
	xor ecx, ecx
AT
	add [rbx], rax
END
ROW "CMPXCHG8B without write permission", U64, PF, 7, VT
	mov qword [PT_TEST], FRAME + 5
	GO
AT
	cmpxchg8b [rbx]
END
ROW "XCHG asks for write permission first", U64, PF, 7, VT
	mov qword [PT_TEST], FRAME + 5
	GO
AT
	xchg [rbx], eax
END
ROW "ENTER touches the new top of the stack", K64, PF, 2, VT + 0xff0
	mov qword [PT_TEST + 8], FRAME + 7
	GO
	mov rsp, VT + 0x1000 + 8
AT
	enter 16, 0
END

section .rows
table_end:
