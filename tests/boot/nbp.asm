; SPDX-License-Identifier: ISC
; nbp.asm: a network bootstrap program. It finds the !PXE structure at ES:BX behind it (PXE 2.1, 4.4.3),
; and ends the VM by port F4H with status 33; 35: what started it is no PXE.
bits 16
org 0x7c00
	push ss
	pop ds
	mov bp, sp
	les bx, [bp + 4]	; the caller's far return address is at the top
	cmp dword [es:bx], '!PXE'
	mov al, 33 >> 1
	je end
	mov al, 35 >> 1
end:
	out 0xf4, al
	hlt
	times 3000 - ($ - $$) db 0x90	; several blocks
