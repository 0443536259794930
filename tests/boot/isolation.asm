; SPDX-License-Identifier: ISC
; isolation.asm: a guest of 64 bits that looks for what is not its own: multiboot 1, 16 MiB. Each page of the machine's memory by
; its address, and far above; the processor's extensions for hypervisors with operands that would do; control registers and MSRs
; of theirs; page tables, descriptor tables, code and a stack where no memory is. Says for each whether it was held.
%include "long.inc"
RAM	equ 16 << 20
MACHINE	equ 160 << 20			; what the machine below has
WINDOW	equ 0x100000000			; a page behind what is mapped, and its table
PD	equ 0x410000
OWN	equ 0x140000000			; of the attempts' own
FREE	equ 0x500000			; a page for operands
OUTSIDE	equ 0x20000000			; no memory, no device

begin:	mov edi, PD
	mov ecx, 512
	xor eax, eax
	rep stosq
	mov dword [PDPT + 4 * 8], PD + 3

	; ---- memory
	attempt "each page of the machine's memory", NONE
	mov ebx, RAM
.pages:	call touch
	cmp eax, -1
	jne broken
	test ebx, 0xff000		; each MiB is written to, too
	jnz .next
	call foreign
	jne broken
.next:	add ebx, 0x1000
	cmp ebx, MACHINE
	jb .pages
	done
	attempt "up to 3 GiB", NONE
	mov ebx, MACHINE
.mib:	call foreign
	jne broken
	add ebx, 1 << 20
	cmp ebx, 0xc0000000
	jb .mib
	done
	attempt "holes for devices", NONE	; where devices are anything may be read
	mov ebx, 0xc0000000
.hole:	call touch
	add ebx, 1 << 16
	test ebx, ebx
	jnz .hole
	done
	attempt "far above", NONE
	mov eax, 0x80000008
	cpuid
	mov [width], al
	mov cl, 32
.far:	mov eax, 1
	shl rax, cl
	mov rbx, rax
	call foreign
	jne broken
	sub rbx, 0x1000
	cmp cl, 32
	je .more			; there is the firmware's place
	call foreign
	jne broken
.more:	inc cl
	cmp cl, [width]
	jb .far
	done
	attempt "anywhere above", NONE
	mov ebp, 3000
.any:	call random
	mov rbx, rax
	mov cl, 64
	sub cl, [width]
	shl rbx, cl
	shr rbx, cl
	and rbx, ~0xfff
	mov rax, rbx
	shr rax, 32
	jz .low
	call foreign
	jne broken
.low:	dec ebp
	jnz .any
	done
	attempt "physical addresses that CPUID says are not there", PF
	movzx ecx, byte [width]
	cmp cl, 52
	jae .all
	mov eax, 1
	shl rax, cl
	mov rbx, rax
	call touch
	jmp broken
.all:	mov byte [got], PF
	done

	; ---- the extensions, with operands in memory that is ours
%macro svm 2
	attempt %1, UD
	mov eax, FREE
	xor ecx, ecx
	db 0x0f, 0x01, %2
	done
%endmacro
	svm "VMRUN", 0xd8
	svm "VMMCALL", 0xd9
	svm "VMLOAD", 0xda
	svm "VMSAVE", 0xdb
	svm "STGI", 0xdc
	svm "CLGI", 0xdd
	svm "SKINIT", 0xde
	svm "INVLPGA", 0xdf
	svm "VMCALL", 0xc1
	svm "VMLAUNCH", 0xc2
	svm "VMRESUME", 0xc3
	svm "VMXOFF", 0xc4
	svm "VMFUNC", 0xd4
	attempt "VMXON", UD
	mov qword [FREE + 0x800], FREE
	db 0xf3, 0x0f, 0xc7, 0x34, 0x25
	dd FREE + 0x800
	done
	attempt "VMPTRLD", UD
	db 0x0f, 0xc7, 0x34, 0x25
	dd FREE + 0x800
	done
	attempt "VMPTRST", UD
	db 0x0f, 0xc7, 0x3c, 0x25
	dd FREE + 0x800
	done
	attempt "VMCLEAR", UD
	db 0x66, 0x0f, 0xc7, 0x34, 0x25
	dd FREE + 0x800
	done
	attempt "VMREAD", UD
	db 0x0f, 0x78, 0xc8
	done
	attempt "VMWRITE", UD
	db 0x0f, 0x79, 0xc8
	done
	attempt "INVEPT", UD
	db 0x66, 0x0f, 0x38, 0x80, 0x0c, 0x25
	dd FREE
	done
	attempt "INVVPID", UD
	db 0x66, 0x0f, 0x38, 0x81, 0x0c, 0x25
	dd FREE
	done
	attempt "GETSEC", UD
	xor eax, eax
	db 0x0f, 0x37
	done
	attempt "CR4.VMXE", GP
	mov rax, cr4
	bts eax, 13
	mov cr4, rax
	done
	attempt "CR4.SMXE", GP
	mov rax, cr4
	bts eax, 14
	mov cr4, rax
	done
	attempt "EFER.SVME", GP
	mov ecx, 0xc0000080
	rdmsr
	bts eax, 12
	wrmsr
	done
	attempt "MSRs of hypervisors", NONE
	mov esi, msrs
.msr:	lodsd
	test eax, eax
	jz .msrs
	mov ecx, eax
	mov eax, FREE
	xor edx, edx
	mov dword [resume], .refused
	wrmsr
	jmp broken
.refused:
	cmp byte [got], GP
	mov byte [got], NONE
	jne broken
	jmp .msr
.msrs:
	done

	; ---- the processor's own tables where no memory is
	attempt "page tables without memory", NONE
	mov dword [PDPT + 5 * 8], OUTSIDE + 3	; all ones there, so reserved bits
	mov dword [resume], .walked
	mov rbx, OWN
	mov rax, [rbx]
	jmp broken
.walked: cmp byte [got], PF
	mov byte [got], NONE
	jne broken
	done
	attempt "page tables that are the local APIC", NONE
	mov dword [PDPT + 5 * 8], 0xfee00003
	mov rax, cr3
	mov cr3, rax
	mov dword [resume], .apic
	mov ecx, 512
	mov rbx, OWN
.walk:	mov rax, [rbx]
	mov [rbx], rax
.apic:	mov byte [got], NONE
	add ebx, 2 << 20
	dec ecx
	jnz .walk
	mov dword [PDPT + 5 * 8], 0
	mov rax, cr3
	mov cr3, rax
	done
	attempt "code without memory", UD	; FFH FFH
	mov eax, OUTSIDE
	jmp rax
	done
	attempt "a stack without memory", NONE
	mov esp, OUTSIDE + 0x800
	push rax
	pop rax
	cmp rax, -1
	mov esp, stack
	jne broken
	done
	attempt "an exception whose frame goes nowhere", NONE	; and whose vector comes back as ones
	mov esp, OUTSIDE + 0x800
	ud2
	done
	attempt "a descriptor table without memory", NONE	; all ones: a code segment that may be read
	mov rax, (OUTSIDE << 16) | 0xffff
	mov [FREE], rax
	mov qword [FREE + 8], 0
	lgdt [FREE]
	mov eax, 24
	mov fs, eax
	xor eax, eax
	mov fs, eax
	lgdt [gdtr]
	done
	attempt "strings from no memory to no memory", NONE
	mov esi, OUTSIDE
	mov edi, OUTSIDE + 0x1ff0
	mov ecx, 300
	rep movsq
	done
	call outcome
	hlt
	jmp $

; rbx: an address. touch: it is read and written; foreign: ZF: it reads all ones, whatever is written
touch:	mov rax, rbx
	and rax, -(2 << 20)
	or rax, 0x83
	mov [PD], rax
	mov rdx, WINDOW
	invlpg [rdx]
	mov rax, rbx
	and eax, (2 << 20) - 1
	or rdx, rax
	mov eax, [rdx]
	ret
foreign: call touch
	cmp eax, -1
	jne .ret
	mov dword [rdx], 0x5a5a5a5a
	cmp dword [rdx], -1
.ret:	ret
random:	mov rax, [seed]
	mov rdx, rax
	shl rdx, 13
	xor rax, rdx
	mov rdx, rax
	shr rdx, 7
	xor rax, rdx
	mov rdx, rax
	shl rdx, 17
	xor rax, rdx
	mov [seed], rax
	ret
	align 8
seed:	dq 0x9e3779b97f4a7c15
width:	db 0
msrs:	dd 0x3a, 0x9b, 0x480, 0x481, 0x48b, 0x491	; FEATURE_CONTROL, SMM_MONITOR_CTL, capabilities of VMX
	dd 0xc0010117, 0xc0010118, 0			; VM_HSAVE_PA, SVM_KEY
end:
