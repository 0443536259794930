; SPDX-License-Identifier: ISC
; irqs32.asm: which interrupt each chip of the PC has, by the PIC (as Windows XP's PIC HAL has them) and by the I/O APIC: what
; each does once or again and again; level-triggered ones come again until their cause is gone (82371AB 4.2, 8259A,
; 82093AA). The PCI functions' go where the PIIX3's router says.
CPUS	equ 1
%include "smp32.inc"
%include "verdict32.inc"
VEC	equ 0x2f
%include "idt32.inc"
IOAPIC	equ 0xfec00000
HPET	equ 0xfed00000			; 100 MHz
PM	equ 0x600
PM_HZ	equ 3579545
PM_RTC	equ 0x400			; in status and enable
LEVEL	equ 0x8000
PCIIRQ	equ 5				; where the guest has the router lead
AGAIN	equ 3				; how often a level-triggered one comes before its cause is taken away

; EAX must be the second; the row counts once by the PIC and once by the I/O APIC.
%macro ROW 2
	mov edx, %2
	mov esi, %%pic
	cmp byte [apic], 0
	je %%go
	mov esi, %%apic
%%go:	call verdict
	section .data
%%pic:	db "PIC: ", %1, 0
%%apic:	db "I/O APIC: ", %1, 0
	section .text
%endmacro
%macro OUT8 2
	mov dx, %1
	mov al, %2
	out dx, al
%endmacro
%macro IN8 1
	mov dx, %1
	in al, dx
%endmacro
; IRQ, I/O APIC's pin, trigger mode, what the handler does about the cause
%macro ARM 4
	mov dword [hits + (%1) * 4], 0
	mov dword [quench + (%1) * 4], %4
	mov ecx, %1
	mov eax, %2
	mov edx, %3
	call arm
%endmacro
%macro AWAIT 2				; IRQ, how often: EAX
	mov ecx, %1
	mov edx, %2
	call await
%endmacro
; IRQ, its frequency as a fraction of the PM timer's: EAX
%macro HELD_UP 3
	mov ecx, %1
	mov esi, %2
	mov edi, %3
	call held_up
%endmacro
%macro DISARM 2
	mov ecx, %1
	mov eax, %2
	call disarm
%endmacro

main:	mov eax, irq0
	xor ecx, ecx
.gate:	mov [idt + 0x100 + ecx * 8], ax	; vectors 20H to 2FH
	mov word [idt + 0x100 + ecx * 8 + 2], 8
	mov dword [idt + 0x100 + ecx * 8 + 4], 0x8e00
	ror eax, 16
	mov [idt + 0x100 + ecx * 8 + 6], ax
	ror eax, 16
	add eax, irq1 - irq0
	inc ecx
	cmp ecx, 16
	jb .gate
	lidt [idtr]
	OUT8 0x20, 0x11
	OUT8 0x21, 0x20
	OUT8 0x21, 4
	OUT8 0x21, 1
	OUT8 0xa0, 0x11
	OUT8 0xa1, 0x28
	OUT8 0xa1, 2
	OUT8 0xa1, 1
	OUT8 0x21, 0xff
	OUT8 0xa1, 0xff
	IN8 0x4d1			; SCI: level
	or al, 2
	out dx, al
	mov dword [LAPIC + 0x350], 0x700
	call find_card
	sti
	call rows
	OUT8 0x21, 0xff
	OUT8 0xa1, 0xff
	mov dword [LAPIC + 0x350], 0x10000
	mov byte [apic], 1
	call rows
	jmp summary
other:	hlt				; there is none
	jmp other

rows:	; 8254: a millisecond each
	ARM 0, 2, 0, nothing
	OUT8 0x43, 0x34
	OUT8 0x40, 1193 & 0xff
	OUT8 0x40, 1193 >> 8
	AWAIT 0, 10
	ROW "8254, counter 0: again and again", 10
	HELD_UP 0, 1, 3579
	ROW "8254: a guest that was held up gets all ticks, and no more", 1
	DISARM 0, 2
	OUT8 0x43, 0x30			; no more of it
	; HPET, timer 0 in the 8254's place: a millisecond, too
	mov dword [HPET + 0x10], 0
	mov dword [HPET + 0xf0], 0
	mov dword [HPET + 0xf4], 0
	mov dword [HPET + 0x100], 0x14c	; enabled, periodic, 32 bits, its accumulator first
	mov dword [HPET + 0x108], 100000
	mov dword [HPET + 0x108], 100000
	ARM 0, 2, 0, nothing
	mov dword [HPET + 0x10], 3	; runs, legacy replacement
	AWAIT 0, 10
	ROW "HPET, legacy replacement: again and again", 10
	HELD_UP 0, 1000, PM_HZ
	ROW "HPET: a guest that was held up gets all ticks, and no more", 1
	DISARM 0, 2
	mov dword [HPET + 0x100], 0
	mov dword [HPET + 0x10], 0
	; RTC, 1024 Hz
	ARM 8, 8, 0, rtc_read
	mov eax, 0x260a
	call cmos
	mov eax, 0x420b
	call cmos
	AWAIT 8, 10
	ROW "RTC, periodic: again and again", 10
	HELD_UP 8, 1024, PM_HZ
	ROW "RTC: a guest that was held up gets all ticks, and no more", 1
	mov eax, 0x020b
	call cmos
	call rtc_read
	DISARM 8, 8
	; 8042: bytes as from the keyboard, the mouse
	OUT8 0x64, 0x60
	call kbc_wait
	OUT8 0x60, 0x43
	call kbc_wait
	ARM 1, 1, 0, kbc_read
	OUT8 0x64, 0xd2
	call kbc_wait
	OUT8 0x60, 0x5a
	AWAIT 1, 1
	ROW "8042, keyboard: once", 1
	movzx eax, byte [seen]
	ROW "its byte", 0x5a
	DISARM 1, 1
	ARM 12, 12, 0, kbc_read
	OUT8 0x64, 0xd3
	call kbc_wait
	OUT8 0x60, 0xa5
	AWAIT 12, 1
	ROW "8042, mouse: once", 1
	movzx eax, byte [seen]
	ROW "its byte", 0xa5
	DISARM 12, 12
	; floppy controller: out of reset
	ARM 6, 6, 0, nothing
	OUT8 0x3f2, 0
	OUT8 0x3f2, 0x0c
	AWAIT 6, 1
	ROW "82078 after a reset: once", 1
	DISARM 6, 6
	call fdc_sense
	; IDE: IDENTIFY DEVICE, IDENTIFY PACKET DEVICE
	OUT8 0x1f6, 0xa0
	OUT8 0x3f6, 0
	ARM 14, 14, 0, ide_status
	OUT8 0x1f7, 0xec
	AWAIT 14, 1
	ROW "IDE, the disk: once", 1
	DISARM 14, 14
	mov dx, 0x1f0
	call ide_drain
	OUT8 0x176, 0xa0
	OUT8 0x376, 0
	ARM 15, 15, 0, ide2_status
	OUT8 0x177, 0xa1
	AWAIT 15, 1
	ROW "IDE, the CD drive: once", 1
	DISARM 15, 15
	mov dx, 0x170
	call ide_drain
	; serial port: its transmitter is empty
	ARM 4, 4, 0, uart_iir
	OUT8 0x3fc, 8
	OUT8 0x3f9, 2
	AWAIT 4, 1
	push eax
	OUT8 0x3f9, 0
	pop eax
	ROW "16550, transmitter empty: once", 1
	DISARM 4, 4
	; parallel port: the printer has taken a byte
	ARM 7, 7, 0, nothing
	OUT8 0x378, 'x'
	OUT8 0x37a, 0x1d
	OUT8 0x37a, 0x1c
	AWAIT 7, 1
	ROW "parallel port, acknowledged: once", 1
	OUT8 0x37a, 0x0c
	DISARM 7, 7
	; SCI: the RTC's alarm, each second
	mov eax, 0xff01
	call cmos
	mov eax, 0xff03
	call cmos
	mov eax, 0xff05
	call cmos
	mov dx, PM + 4
	in ax, dx
	or al, 1
	out dx, ax
	call rtc_status
	ARM 9, 9, LEVEL, pm_clear
	mov dx, PM + 2
	mov ax, PM_RTC
	out dx, ax
	mov eax, 0x220b
	call cmos
	AWAIT 9, AGAIN
	push dword [hits + 9 * 4]
	mov eax, 0x020b
	call cmos
	call settle
	pop eax
	sub eax, [hits + 9 * 4]		; no more
	add eax, AGAIN
	ROW "SCI, RTC's alarm: until its status is cleared", AGAIN
	mov dx, PM + 2
	xor eax, eax
	out dx, ax
	DISARM 9, 9
	; PCI: as the firmware has routed it, and elsewhere
	movzx ecx, byte [card_irq]
	mov eax, ecx
	shr eax, 1
	sub eax, 5			; 10 or 11
	ROW "the firmware's choice for a network card: 10 or 11", 0
	movzx edi, byte [card_irq]
	call pci_rows
	ROW "PCI, where the firmware has routed it: until its cause is read", AGAIN
	mov edi, PCIIRQ * 0x01010101
	call route
	push edi
	IN8 0x4d0
	or al, 1 << PCIIRQ
	out dx, al
	mov edi, PCIIRQ
	call pci_rows
	ROW "PCI, routed to IRQ 5", AGAIN
	movzx eax, byte [card_irq]
	mov eax, [hits + eax * 4]
	ROW "and not to the former", 0
	mov edi, 0x80808080
	call route
	mov edi, PCIIRQ
	mov byte [brief], 1
	call pci_rows
	mov byte [brief], 0
	ROW "PCI, routed nowhere", 0
	mov ecx, [card]
	mov ecx, [ecx + 0xc0]
	pop edi
	call route
	ret

; EDI: the IRQ. EAX: how often
pci_rows:
	movzx ecx, byte [card_irq]
	mov dword [hits + ecx * 4], 0
	ARM edi, edi, LEVEL, card_clear
	mov ebx, [card]
	mov dword [ebx + 0xd0], 4	; IMS: a change of the link
	mov dword [ebx + 0xc8], 4	; ICS: as if there had been one
	AWAIT edi, AGAIN
	call settle
	push dword [hits + edi * 4]
	DISARM edi, edi
	pop eax
	ret

; ---- interrupts ----
%macro STUB 1
irq%1:	push dword %1
	jmp near handler
%endmacro
%assign i 0
%rep 16
	STUB i
	%assign i i + 1
%endrep
handler: pushad
	mov ebx, [esp + 32]
	inc dword [hits + ebx * 4]
	call [quench + ebx * 4]
	cmp byte [apic], 0
	je .pic
	mov dword [LAPIC + 0xb0], 0
	jmp .out
.pic:	mov al, 0x20
	cmp ebx, 8
	jb .first
	out 0xa0, al
.first:	out 0x20, al
.out:	popad
	add esp, 4
	iret

; ECX: IRQ, EAX: pin, EDX: trigger mode
arm:	cmp byte [apic], 0
	je .pic
	lea eax, [eax * 2 + 0x10]
	lea ecx, [ecx + edx + 0x20]
	mov dword [IOAPIC], eax
	mov [IOAPIC + 0x10], ecx
	ret
.pic:	in al, 0xa1
	mov ah, al
	in al, 0x21
	and al, ~4			; the second one's
	btr eax, ecx
	out 0x21, al
	mov al, ah
	out 0xa1, al
	ret
disarm:	cmp byte [apic], 0
	je .pic
	lea eax, [eax * 2 + 0x10]
	mov dword [IOAPIC], eax
	mov dword [IOAPIC + 0x10], 0x10000
	ret
.pic:	OUT8 0xa1, 0xff
	OUT8 0x21, 0xff
	ret

; EAX: hits of IRQ ECX, EDX at most, or as many as come within 2^34 cycles
await:	push edi
	push esi
	mov edi, edx
	rdtsc
	mov esi, edx
.again:	pause
	mov eax, [hits + ecx * 4]
	cmp eax, edi
	jae .there
	rdtsc
	sub edx, esi
	cmp edx, 4
	jae .late
	cmp byte [brief], 0
	je .again
	cmp edx, 1
	jb .again
.late:	mov edi, [hits + ecx * 4]
.there:	mov eax, edi
	pop esi
	pop edi
	ret
; For 10 times 20 ms no interrupt is taken. EAX = 1 when as many of IRQ ECX have come since as there ought to: ESI / EDI of the
; PM timer's ticks. A host that is away for longer than a second makes that false: it is tried 5 times.
held_up: mov byte [tries], 5
.try:	call hold
	test eax, eax
	jnz .good
	dec byte [tries]
	jnz .try
.good:	ret
hold:	push ebp
.late:	mov dword [hits + ecx * 4], 0	; what the host has missed until now
	mov eax, PM_HZ / 50
	call pm_wait
	cmp dword [hits + ecx * 4], 24
	ja .late
	mov dword [hits + ecx * 4], 0
	mov dx, PM + 8
	in eax, dx
	mov ebx, eax
	mov ebp, 10
.hold:	mov eax, PM_HZ / 50
	cli
	call pm_wait
	sti
	mov eax, PM_HZ / 200
	call pm_wait
	dec ebp
	jnz .hold
	rdtsc
	lea ebp, [edx + 4]
.wait:	push dword [hits + ecx * 4]
	mov dx, PM + 8
	in eax, dx
	sub eax, ebx
	mul esi
	div edi				; due
	pop edx
	sub edx, eax			; one is under way; some of before may have come
	cmp edx, 20
	jg .not
	cmp edx, -1
	jge .all
	rdtsc
	cmp edx, ebp
	jb .wait
.not:	xor eax, eax
	pop ebp
	ret
.all:	mov eax, 1
	pop ebp
	ret
; EAX: ticks
pm_wait: push ebx
	push esi
	mov esi, eax
	mov dx, PM + 8
	in eax, dx
	mov ebx, eax
.wait:	in eax, dx
	sub eax, ebx
	and eax, 0xffffff
	cmp eax, esi
	jb .wait
	pop esi
	pop ebx
	ret
settle:	mov ecx, 100000			; for what is not to come
.loop:	pause
	loop .loop
	ret

; ---- causes ----
nothing: ret
rtc_read:
	mov al, 0x0c
	out 0x70, al
	in al, 0x71
.ret:	ret
cmos:	pushf				; AL: register, AH: what goes there
	cli				; the handler uses the index, too
	out 0x70, al
	mov al, ah
	out 0x71, al
	popf
	ret
kbc_wait:
	in al, 0x64
	test al, 2
	jnz kbc_wait
	ret
kbc_read:
	in al, 0x60
	mov [seen], al
	ret
fdc_sense:				; of four drives
	mov ecx, 4
.drive:	OUT8 0x3f5, 8
	IN8 0x3f5
	in al, dx
	loop .drive
	ret
ide_status:
	IN8 0x1f7
	ret
ide2_status:
	IN8 0x177
	ret
ide_drain:
	mov ecx, 256
.word:	in ax, dx
	loop .word
	ret
uart_iir:
	IN8 0x3fa
	ret
pm_clear:
	cmp dword [hits + 9 * 4], AGAIN
	jb rtc_read.ret
rtc_status:
	call rtc_read
	mov dx, PM
	mov ax, PM_RTC
	out dx, ax
	ret
card_clear:
	cmp dword [hits + ebx * 4], AGAIN
	jb .not
	mov ecx, [card]
	mov ecx, [ecx + 0xc0]		; ICR, cleared by reading
.not:	ret

; ---- PCI ----
pci_at:	; EDX: address for CF8H
	mov eax, edx
	mov dx, 0xcf8
	out dx, eax
	mov dx, 0xcfc
	ret
find_card:
	mov ebx, 0x80000000
.slot:	mov edx, ebx
	call pci_at
	in eax, dx
	cmp eax, 0x100e8086		; 82540EM
	je .found
	add ebx, 0x800
	cmp ebx, 0x80010000
	jb .slot
	mov al, 3
	out 0xf4, al
.found:	lea edx, [ebx + 4]
	call pci_at
	mov eax, 6
	out dx, eax
	lea edx, [ebx + 0x10]
	call pci_at
	in eax, dx
	and al, 0xf0
	mov [card], eax
	lea edx, [ebx + 0x3c]
	call pci_at
	in eax, dx
	mov [card_irq], al
	ret
; EDI: the four registers of the router; gives what they were
route:	mov edx, 0x80000860
	call pci_at
	in eax, dx
	xchg eax, edi
	out dx, eax
	ret

section .data
	align 4
hits:	times 16 dd 0
quench:	times 16 dd nothing
card:	dd 0
card_irq: db 0
apic:	db 0
seen:	db 0
tries:	db 0
brief:	db 0			; nothing is expected
