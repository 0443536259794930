; SPDX-License-Identifier: ISC
; boot.asm: a boot sector that starts a suite on a board with a BIOS, as elf.inc's head would be started:
; the SECTORS that follow on the disk go to 1 MiB, their ELF entry is entered in 32-bit protected mode.
	BITS 16
	org 0x7c00
BUFFER	equ 0x10000			; at most 512 sectors, to below the usual SMBASE and the EBDA
TARGET	equ 0x100000
ENTRY	equ 24				; of the ELF header
start:	cli
	xor ax, ax
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov sp, 0x7c00
	sti
	mov cx, SECTORS
.read:	mov ah, 0x42
	mov si, packet
	push cx
	int 0x13
	pop cx
	jc .stop
	add word [packet.to + 2], 0x20
	inc dword [packet.lba]
	loop .read
	cli
	lgdt [gdtr]
	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp 8:.wide
.stop:	hlt
	jmp .stop
	BITS 32
.wide:	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov esi, BUFFER
	mov edi, TARGET
	mov ecx, SECTORS * 128
	cld
	rep movsd
	jmp [TARGET + ENTRY]

	align 4
packet:	db 16, 0
	dw 1
.to:	dw 0, BUFFER >> 4
.lba:	dq 1
	align 8
gdt:	dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:	dw 23
	dd gdt
	times 510 - ($ - $$) db 0
	dw 0xaa55
