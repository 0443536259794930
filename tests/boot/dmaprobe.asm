; SPDX-License-Identifier: ISC
; dmaprobe.asm: a guest whose descriptors point where they must not: multiboot 1, 16 MiB, with a virtio disk of zeros. A row of
; the table below is a chain of three: header, data, status. Each must be refused: the device asks for a reset, or says that the
; request has failed. Says so for each on the serial port, and at the end whether all were, and whether the disk is as it was.
%include "multiboot.inc"

RAM	equ 16 << 20
DESC	equ 0x400000			; the queue's parts, and what descriptors may have
AVAIL	equ 0x401000
USED	equ 0x402000
REQ	equ 0x403000			; type, sector
STATE	equ 0x403100
DATA	equ 0x404000
TEXT	equ 48				; of a row
TABLE	equ TEXT + 4 + 48 + 4
NEXT	equ 1
WRITE	equ 2
INDIRECT equ 4

start:	mov esp, stack
	call find
	mov esi, rows
.row:	cmp byte [esi], 0
	je .disk
	call attempt
	add esi, ROW
	jmp .row
.disk:	call reset			; and now as it should be: a read of the first sector
	mov esi, good
	call chain
	call submit
	jnc .silent
	cmp byte [STATE], 0
	jne .silent
	mov edi, DATA
	mov ecx, 128
	xor eax, eax
	repe scasd
	jne .silent
	mov esi, held
	cmp byte [failed], 0
	je .end
.silent: mov esi, escaped
.end:	call say
	hlt
	jmp $

; esi: row. The device asks for a reset (bit 6 of the status), or the request's status is an error
attempt:
	push esi
	call reset
	mov esi, [esp]
	call chain
	mov byte [STATE], 0xee
	call submit
	setc al
	mov ebx, [regs]
	test byte [ebx + STATUS], 0x40
	jnz .ok
	test al, al
	jz .bad				; neither
	cmp byte [STATE], 0
	jne .ok
.bad:	inc byte [failed]
	mov esi, bad
	jmp .say
.ok:	mov esi, ok
.say:	call say
	mov esi, [esp]
	call say
	mov al, 10
	call char
	pop esi
	ret

; a chain from esi's row: text, type, then three descriptors, the head, the table's address if not DESC
chain:	mov eax, [esi + TEXT]
	mov [REQ], eax
	xor eax, eax
	mov [REQ + 4], eax
	mov [REQ + 8], eax
	mov [REQ + 12], eax
	push esi
	add esi, TEXT + 4
	mov edi, DESC
	mov ecx, 12
	rep movsd
	lodsd
	movzx ebx, word [AVAIL + 2]
	and ebx, [mask]
	mov [AVAIL + 4 + ebx * 2], ax
	pop esi
	ret

; notifies, and waits; carry: it is used
submit:	mov ax, [USED + 2]
	push eax
	inc word [AVAIL + 2]
	mov ebx, [notify]
	mov word [ebx], 0
	pop eax
	mov ecx, 3000000
.wait:	cmp [USED + 2], ax
	jne .used
	mov ebx, [regs]
	test byte [ebx + STATUS], 0x40
	jnz .not
	dec ecx
	jnz .wait
.not:	clc
	ret
.used:	stc
	ret

reset:	push esi
	call reset_disk
	pop esi
	push esi
	cmp dword [esi + TABLE], 0		; a table elsewhere
	je .here
	mov eax, [esi + TABLE]
	mov [ebx + Q_DESC], eax
	mov dword [ebx + Q_DESC + 4], 0x7f
.here:	mov word [ebx + Q_ON], 1
	mov byte [ebx + STATUS], 15
	pop esi
	ret

%include "virtiodisk.inc"
%include "say.inc"

; text, type, address of the data (low, high), its length, its flags and next, head, table
%macro row 8
%%text:	db %1, 0
	times TEXT - ($ - %%text) db 0
	dd %2
	dd REQ, 0, 16, NEXT | 1 << 16
	dd %3, %4, %5, %6
	dd STATE, 0, 1, WRITE
	dd %7, %8
%endmacro
T_IN	equ 0
T_OUT	equ 1
TO_STATE equ NEXT | 2 << 16
	align 4
rows:	row "a read to behind the memory", T_IN, RAM, 0, 512, WRITE | TO_STATE, 0, 0
ROW	equ $ - rows
	row "a write from behind the memory", T_OUT, RAM, 0, 512, TO_STATE, 0, 0
	row "a read over the memory's end", T_IN, RAM - 256, 0, 512, WRITE | TO_STATE, 0, 0
	row "a write from far above", T_OUT, 0, 0x7f, 512, TO_STATE, 0, 0
	row "a read to the local APIC", T_IN, 0xfee00000, 0, 512, WRITE | TO_STATE, 0, 0
	row "a read to configuration space", T_IN, 0xe0000000, 0, 512, WRITE | TO_STATE, 0, 0
	row "addresses that begin again at zero", T_IN, 0xfffff000, 0xffffffff, 0x2000, WRITE | TO_STATE, 0, 0
	row "4 GiB at once", T_IN, DATA, 0, 0xfffffe00, WRITE | TO_STATE, 0, 0
	row "a descriptor that is not there", T_IN, DATA, 0, 512, WRITE | NEXT | 0xffff << 16, 0, 0
	row "a chain without an end", T_IN, DATA, 0, 512, WRITE | NEXT | 1 << 16, 0, 0
	row "a head that is not there", T_IN, DATA, 0, 512, WRITE | TO_STATE, 0xffff, 0
	row "a table of descriptors that is not there", T_IN, RAM, 0, 0x1000, INDIRECT, 1, 0
	row "descriptors behind the memory", T_IN, DATA, 0, 512, WRITE | TO_STATE, 0, 0x1000
	db 0
good:	row "as it should be", T_IN, DATA, 0, 512, WRITE | TO_STATE, 0, 0
ok:	db "refused: ", 0
bad:	db "NOT REFUSED: ", 0
held:	db "all descriptors refused, the disk is as it was", 10, 0
escaped: db "NOT all descriptors refused", 10, 0
failed:	db 0
	times 512 db 0
stack:
end:
