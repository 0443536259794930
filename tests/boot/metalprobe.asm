; SPDX-License-Identifier: ISC
; metalprobe.asm: a guest that tries to get out: multiboot 1, 32-bit, 16 MiB. Says on the serial port for
; each attempt whether it was answered as the manuals say, and at the end whether all were.
	bits 32
	org 0x100000
MAGIC	equ 0x1badb002
FLAGS	equ 0x00010000
header:	dd MAGIC, FLAGS, -(MAGIC + FLAGS), header, header, end, end, start

NONE	equ 0xff			; no exception
UD	equ 6
GP	equ 13

; attempt NAME, VECTOR: what follows up to "done" must raise VECTOR
%macro attempt 2
	mov byte [want], %2
	mov byte [got], NONE
	mov dword [name], %%name
	mov dword [resume], %%after
	jmp %%go
%%name:	db %1, 0
%%after:
	call verdict
	jmp %%next
%%go:
%define after %%after
%define next %%next
%endmacro
%macro done 0
	jmp after
next:
%endmacro

start:	mov esp, stack
	; an IDT whose 32 gates lead to entries of 8 bytes
	xor ecx, ecx
.gate:	lea eax, [ecx * 8 + entries]
	mov [idt + ecx * 8], ax
	mov word [idt + ecx * 8 + 2], cs
	mov word [idt + ecx * 8 + 4], 0x8e00
	shr eax, 16
	mov [idt + ecx * 8 + 6], ax
	inc ecx
	cmp ecx, 32
	jb .gate
	lidt [idtr]

	; the extension that the hypervisor itself stands on
	attempt "VMRUN", UD
	xor eax, eax
	db 0x0f, 0x01, 0xd8		; vmrun
	done
	attempt "VMLOAD", UD
	xor eax, eax
	db 0x0f, 0x01, 0xda		; vmload
	done
	attempt "VMSAVE", UD
	xor eax, eax
	db 0x0f, 0x01, 0xdb		; vmsave
	done
	attempt "STGI", UD
	db 0x0f, 0x01, 0xdc		; stgi
	done
	attempt "CLGI", UD
	db 0x0f, 0x01, 0xdd		; clgi
	done
	attempt "VMMCALL", UD
	db 0x0f, 0x01, 0xd9		; vmmcall
	done
	attempt "SKINIT", UD
	xor eax, eax
	db 0x0f, 0x01, 0xde		; skinit
	done
	attempt "INVLPGA", UD
	xor eax, eax
	xor ecx, ecx
	db 0x0f, 0x01, 0xdf		; invlpga
	done
	attempt "VMXON", UD
	db 0xf3, 0x0f, 0xc7, 0x35	; VMXON [dword]
	dd stack
	done
	attempt "VMCALL", UD
	db 0x0f, 0x01, 0xc1
	done
	attempt "EFER.SVME", GP
	mov ecx, 0xc0000080
	rdmsr
	or eax, 1 << 12
	wrmsr
	done
	attempt "host save area", GP
	mov ecx, 0xc0010117
	xor eax, eax
	xor edx, edx
	wrmsr
	done
	attempt "an MSR beyond all", GP
	mov ecx, 0x4badbeef
	rdmsr
	done

	; memory that is not ours: nobody's answer is ones, and writes go nowhere
	attempt "memory", NONE
	mov esi, 16 << 20
.mem:	mov dword [esi], 0x5a5a5a5a
	cmp dword [esi], -1
	jne .bad
	add esi, 2 << 20
	cmp esi, 0xc0000000
	jb .mem
	jmp .mem_ok
.bad:	mov byte [got], 0
.mem_ok:
	done

	; the PCI host bridge of the machine below (Intel's of QEMU's q35)
	attempt "PCI", NONE
	mov dx, 0xcf8
	mov eax, 0x80000000
	out dx, eax
	mov dx, 0xcfc
	in eax, dx
	cmp eax, 0x29c08086
	jne .pci_ok
	mov byte [got], 0
.pci_ok:
	done

	mov esi, held
	cmp byte [failed], 0
	je .end
	mov esi, escaped
.end:	call say
	hlt
	jmp $

; what a gate leads to: the vector, then back to resume; stacks are not unwound
entries:
%assign v 0
%rep 32
	db 0x6a, v			; push v
	db 0xe9				; jmp caught
	dd caught - ($ + 4)
	db 0x90
%assign v v + 1
%endrep
caught:	pop eax
	mov [got], al
	mov esp, stack
	jmp [resume]

verdict:
	mov esi, ok
	mov al, [got]
	cmp al, [want]
	je .say
	mov esi, bad
	inc byte [failed]
.say:	call say
	mov esi, [name]
	call say
	mov al, 10
	jmp char

say:	lodsb
	test al, al
	jz .done
	call char
	jmp say
.done:	ret
char:	mov dx, 0x3f8
	out dx, al
	ret

ok:	db "held: ", 0
bad:	db "NOT HELD: ", 0
held:	db "all attempts held", 10, 0
escaped: db "NOT all attempts held", 10, 0
failed:	db 0
want:	db 0
got:	db 0
	align 8
name:	dd 0
resume:	dd 0
idtr:	dw 32 * 8 - 1
	dd idt
idt:	times 32 dq 0
	times 512 db 0
stack:	dd 0
end:
