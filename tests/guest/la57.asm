; SPDX-License-Identifier: ISC
; la57.asm: 5-level paging (SDM vol. 3, chapter 4; CR4.LA57: 2.5): rights, reserved and accessed bits of PML5
; entries, addresses of 57 bits, what is canonical, and what may not be changed. rig64.inc says how a row
; reads; entry 0 of the PML5 table leads to what the rig has.
%define LA57
%include "rig64.inc"
X	equ 1 << 48 | VT		; by entry 1 of PML5, PML4T, and VT's tables
XN	equ 0xffff000000000000 | VT	; by entry 511
NC	equ 1 << 56			; not canonical
WAS_NC	equ 1 << 47			; canonical now

%macro CHAIN 1				; bits of the entry for X; RBX = X after GO
	mov qword [PT_TEST], FRAME + 7
	mov qword [PML4T], PDPT + 7
	mov rax, %1
	mov [ROOT + 8], rax
%endmacro

; ---- rights: P W U NX of the PML5 entry, access (0 R 1 W 2 X), ring 3?, WP (SDM vol. 3, 4.6) ----
%macro TOP 7
	%assign bad %1 == 0 || (%6 && !%3) || (%5 == 1 && !%2 && (%6 || %7)) || (%5 == 2 && %4)
	%assign err %1 | (%5 == 1) * 2 | %6 * 4 | (%5 == 2) * 16
	%defstr what P%1 W%2 U%3 NX%4 access %5 user %6 WP%7
	%if bad
	ROW {"PML5E: ", what}, %6, PF, err, X
	%else
	ROW {"PML5E: ", what}, %6, NONE, ANY
	%endif
	CHAIN PML4T | %1 | %2 << 1 | %3 << 2 | %4 << 63
	%if !%7
	mov rax, cr0
	btr rax, 16
	mov cr0, rax
	%endif
	GO
	mov rbx, X
	%if bad && %5 < 2
	AT
	%endif
	%if %5 == 0
	mov eax, [rbx]
	%elif %5 == 1
	mov [rbx], word 0x40cd
	%else
	jmp rbx
	%endif
	END
%endmacro
%assign c 0
%rep 192
	%assign acc c % 3
	%assign q c / 3
	%assign p1 q & 1 ^ 1
	%assign p2 q >> 1 & 1
	%assign p3 q >> 2 & 1
	%assign p4 q >> 3 & 1
	%assign p6 q >> 4 & 1
	%assign p7 q >> 5 & 1
	TOP p1, p2, p3, p4, acc, p6, p7
	%assign c c + 1
%endrep

; Rights are the least of five levels.
%macro LEVEL 2				; name, address of the entry
	LESS {%1, " absent, ring 3"}, %2, 1, U64, 6
	LESS {%1, " absent, ring 0"}, %2, 1, K64, 2
	LESS {%1, " not writable, ring 3"}, %2, 2, U64, 7
	LESS {%1, " not writable, ring 0"}, %2, 2, K64, 3
	LESS {%1, " of the supervisor"}, %2, 4, U64, 7
%endmacro
%macro LESS 5				; name, entry, mask of bits taken away, mode, error
ROW {%1}, %4, PF, %5, X + 8
	CHAIN PML4T + 7
	and qword [%2], ~(%3)
	mov rax, cr3
	mov cr3, rax
	GO
	mov rbx, X + 8
	AT
	mov [rbx], eax
END
%endmacro
LEVEL "PML5E", ROOT + 8
LEVEL "PML4E", PML4T
LEVEL "PDPTE", PDPT + 16
LEVEL "PDE", PD_TEST
LEVEL "PTE", PT_TEST

; ---- reserved bits, bits of the guest ----
%macro RSVD 3				; name, entry, bit
ROW {"reserved: ", %1}, U64, PF, 13, X
	CHAIN PML4T + 7
	bts qword [%2], %3
	GO
	mov rbx, X
	AT
	mov eax, [rbx]
END
%endmacro
RSVD "PML5E bit 7", ROOT + 8, 7
RSVD "PML5E bit 51", ROOT + 8, 51
RSVD "PML4E bit 7", PML4T, 7
RSVD "PML4E bit 51", PML4T, 51
ROW "reserved: before rights", U64, PF, 15, X
	CHAIN PML4T + 0x81
	GO
	mov rbx, X
AT
	mov [rbx], eax
END
ROW "PML5E: NX without EFER.NXE is reserved", K64, PF, 9, X
	CHAIN PML4T + 7 | 1 << 63
	mov ecx, 0xc0000080
	rdmsr
	and ah, 0xf7
	wrmsr
	GO
	mov rbx, X
AT
	mov eax, [rbx]
END
ROW "PML5E: bits 8 to 11 and 52 to 62 are the guest's", U64, NONE, ANY, 0x40cd
	CHAIN PML4T + 0xf07 | 0x7ff << 52
	GO
	mov rbx, X
	movzx eax, word [rbx]
END

; ---- accessed and dirty: PML5E, PML4E, PTE, a byte each ----
%macro ADBITS 3+			; name, expected, code
ROW {"A/D: ", %1}, U64, NONE, ANY, %2
	CHAIN PML4T + 7
	GO
	mov rbx, X
	%3
	mov ecx, UA + PT_TEST
	movzx eax, byte [rcx]
	shl eax, 8
	mov al, [rcx + PML4T - PT_TEST]
	shl eax, 8
	mov al, [rcx + ROOT + 8 - PT_TEST]
END
%endmacro
ADBITS "no access", 0x070707, nop
ADBITS "read", 0x272727, mov eax, [rbx]
ADBITS "write", 0x672727, mov [rbx], eax
ADBITS "CMP", 0x272727, cmp [rbx], eax
ADBITS "LOCK CMPXCHG", 0x672727, lock cmpxchg [rbx], esi
ROW "A/D: none where the PML5E denies", U64, PF, 5, X
	CHAIN PML4T + 3
	GO
	mov rbx, X
AT
	mov eax, [rbx]
END

; ---- addresses ----
ROW "both halves: entry 511", U64, NONE, ANY, 0x7788
	CHAIN PML4T + 7
	mov qword [ROOT + 511 * 8], PML4T + 7
	GO
	mov rax, XN
	mov rbx, X
	mov word [rax + 4], 0x7788
	movzx eax, word [rbx + 4]
END
ROW "addresses that differ in bit 49 only are two", U64, PF, 4, X ^ 3 << 48
	CHAIN PML4T + 7
	GO
	mov rbx, X
	mov rax, X ^ 3 << 48
	mov ecx, [rbx]
AT
	mov ecx, [rax]
END
ROW "addresses of the two halves are two", K64, PF, 2, XN
	CHAIN PML4T + 7
	GO
	mov rbx, X
	mov rax, XN
	mov [rbx], ecx
AT
	mov [rax], ecx
END
ROW "a page's end: the next by another PML5E, absent", U64, PF, 6, 1 << 48
	mov qword [PT_TEST + 511 * 8], FRAME + 7
	mov qword [PD_TEST + 511 * 8], PT_TEST + 7
	mov qword [PDPT + 511 * 8], PD_TEST + 7
	mov qword [PML4 + 511 * 8], PDPT + 7
	GO
	mov rbx, (1 << 48) - 4
	mov ecx, [rbx]
AT
	mov [rbx], rcx
END
%macro COMES 2+				; name, code that ends at X
ROW {%1, " with 57 bits"}, K64, NONE, ANY
	CHAIN PML4T + 7
	GO
	mov rax, X
	%2
END
%endmacro
COMES "JMP", jmp rax
COMES "CALL", call rax
ROW "RET with 57 bits", U64, NONE, ANY
	CHAIN PML4T + 7
	GO
	mov rax, X
	push rax
	ret
END
ROW "IRET with 57 bits", K64, NONE, ANY
	CHAIN PML4T + 7
	GO
	mov rax, X
	mov rcx, rsp
	push SKD
	push rcx
	push 2
	push SK64
	push rax
	iretq
END
ROW "SYSRET with 57 bits", K64, NONE, ANY
	CHAIN PML4T + 7
	GO
	mov rcx, X
	mov r11d, 2
	o64 sysret
END
NEED F_INTEL
ROW "SYSRET not to a canonical address, Intel", K64, GP, 0
	GO
	mov rcx, NC
AT
	o64 sysret
END
ROW "stack with 57 bits", U64, NONE, ANY, 0x99
	CHAIN PML4T + 7
	GO
	mov rsp, X + 0x800
	push 0x99
	pop rax
END
%macro MSR57 2
ROW {%1, ", 57 bits"}, K64, NONE, ANY, 1
	mov ecx, %2
	mov edx, 0x00ff0000
	mov eax, 1
	wrmsr
	rdmsr
	GO
END
ROW {%1, ", not canonical"}, K64, GP, 0
	GO
	mov ecx, %2
	mov edx, 0x01000000
	xor eax, eax
AT
	wrmsr
END
%endmacro
MSR57 "FS base", 0xc0000100
MSR57 "GS base", 0xc0000101
MSR57 "kernel GS base", 0xc0000102
MSR57 "LSTAR", 0xc0000082

; ---- CR4, CR3, INVLPG ----
ROW "CR4.LA57 cleared in 64-bit mode", K64, GP, 0
	mov rax, cr4
	btr rax, 12
	GO
AT
	mov cr4, rax
END
ROW "CR4.LA57 cleared in compatibility mode", K32, GP, 0
	mov rax, cr4
	btr rax, 12
	GO
AT
	mov cr4, eax
END
ROW "CR4.PAE cleared", K64, GP, 0
	mov rax, cr4
	btr rax, 5
	GO
AT
	mov cr4, rax
END
ROW "CR4.LA57 as it is", K64, NONE, ANY
	mov rax, cr4
	GO
	mov cr4, rax
END
ROW "CPUID 80000008H: 57 bits", K64, NONE, ANY, 57
	mov eax, 0x80000008
	cpuid
	movzx eax, ah
	GO
END
%macro SEEN 2+				; name, code that must let the change be seen
ROW {"a PML5E taken away: ", %1}, K64, PF, 0, X
	CHAIN PML4T + 7
	GO
	mov rbx, X
	mov eax, [rbx]
	mov qword [ROOT + 8], 0
	%2
	AT
	mov eax, [rbx]
END
%endmacro
SEEN "INVLPG", invlpg [rbx]
SEEN "INVLPG elsewhere in the page", invlpg [rbx + 0xfff]
ROW "a PML5E taken away: MOV CR3", K64, PF, 0, X
	CHAIN PML4T + 7
	GO
	mov rbx, X
	mov eax, [rbx]
	mov qword [ROOT + 8], 0
	mov rax, cr3
	mov cr3, rax
AT
	mov eax, [rbx]
END
ROW "a PML5E that leads elsewhere: INVLPG", K64, NONE, ANY, 0x66
	CHAIN PML4T + 7
	mov qword [PT_TEST + 8], FRAME2 + 7
	mov word [FRAME2 + 8], 0x66
	GO
	mov rbx, X
	mov eax, [rbx + 8]
	mov dword [ROOT + 8], PML4 + 7		; and VT's tables another page
	mov qword [PT_TEST], FRAME2 + 7
	invlpg [rbx]
	movzx eax, word [rbx + 8]
END
ROW "INVLPG of an address that is not canonical does nothing", K64, NONE, ANY
	GO
	mov rax, NC
	invlpg [rax]
END

; ---- canonical form, and #SS against #GP; what is canonical with 57 bits only is #PF ----
%macro CANON 3+				; name, mode, code
ROW {"not canonical: ", %1}, %2, GP, 0
	GO
	mov rax, NC
	AT
	%3
END
%endmacro
%macro ABSENT 4+			; name, mode, error, code
ROW {"canonical with 57 bits: ", %1}, %2, PF, (%3) | (%2) * 4, WAS_NC
	GO
	mov rax, WAS_NC
	AT
	%4
END
%endmacro
%macro STACKS 5+			; name, mode, register, added to NC, code
ROW {"not canonical: ", %1}, %2, SS_, 0
	GO
	mov %3, NC + (%4)
	AT
	%5
END
%endmacro
%assign m 0
%rep 2
CANON "MOV [RAX]", m, mov ecx, [rax]
CANON "store [RAX]", m, mov [rax], ecx
CANON "ADD [RAX]", m, add [rax], ecx
CANON "SS:[RAX]", m, db 0x36, 0x8b, 0x08
CANON "JMP RAX", m, jmp rax
CANON "CALL RAX", m, call rax
CANON "JMP [RAX]", m, jmp [rax]
CANON "MOVUPS [RAX]", m, movups xmm0, [rax]
CANON "FLD [RAX]", m, fld qword [rax]
CANON "LOCK XADD [RAX]", m, lock xadd [rax], ecx
CANON "PUSH [RAX]", m, push qword [rax]
CANON "8 bytes over the edge", m, mov rcx, [rax - 4]
CANON "upper edge", m, mov rcx, [rax + rax * 2 + 0x7fffffff]
ABSENT "MOV [RAX]", m, 0, mov ecx, [rax]
ABSENT "store [RAX]", m, 2, mov [rax], ecx
ABSENT "LOCK XADD [RAX]", m, 2, lock xadd [rax], ecx
ABSENT "PUSH [RAX]", m, 0, push qword [rax]
ABSENT "FLD [RAX]", m, 0, fld qword [rax]
STACKS "[RBP]", m, rbp, 0, mov ecx, [rbp]
STACKS "[RSP]", m, rsp, 0, mov ecx, [rsp]
STACKS "PUSH", m, rsp, 8, push rax
STACKS "POP", m, rsp, 0, pop rax
STACKS "CALL's push", m, rsp, 8, call $
STACKS "RET's pop", m, rsp, 0, ret
STACKS "LEAVE", m, rbp, 0, leave
STACKS "ENTER", m, rsp, 8, enter 16, 0
STACKS "PUSHF", m, rsp, 8, pushf
ROW "canonical with 57 bits: POP", m, PF, m * 4, WAS_NC
	GO
	mov rsp, WAS_NC
AT
	pop rax
END
ROW "not canonical: RET to it", m, GP, 0
	GO
	mov rax, NC
	push rax
AT
	ret
END
%assign m m + 1
%endrep

section .rows
table_end:
