; SPDX-License-Identifier: ISC
; metalprobe.asm: a guest that tries to get out: multiboot 1, 32-bit, 16 MiB. Says on the serial port for
; each attempt whether it was answered as the manuals say, and at the end whether all were.
%include "multiboot.inc"
%include "attempt.inc"

start:	mov esp, stack
	call attempts

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
	jne broken
	add esi, 2 << 20
	cmp esi, 0xc0000000
	jb .mem
	done

	; the PCI host bridge of the machine below (Intel's of QEMU's q35)
	attempt "PCI", NONE
	mov dx, 0xcf8
	mov eax, 0x80000000
	out dx, eax
	mov dx, 0xcfc
	in eax, dx
	cmp eax, 0x29c08086
	je broken
	done

	call outcome
	hlt
	jmp $
end:
