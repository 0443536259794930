; SPDX-License-Identifier: ISC
; metaltime.asm: a guest that measures itself by the TSC: multiboot 1, so that the bare machine, the bare-metal
; hypervisor and KVM all start it. A line on the serial port for each row of the table below, "time NAME TICKS": of the
; fastest of RUNS, ticks of one of the things that the row counts. Then "time end 0", and it halts.
RUNS	equ 200
AREA	equ 0x800000		; 4 MiB that the rows on memory walk
%include "multiboot.inc"
start:	mov esp, stack
	mov edi, directory	; 4 MiB pages, as they are
	mov eax, 0x83
.page:	stosd
	add eax, 0x400000
	jnc .page
	mov eax, directory
	mov cr3, eax
	mov eax, cr4
	or eax, 0x10
	mov cr4, eax
	mov eax, cr0
	or eax, 0x80000000
	mov cr0, eax
	mov esi, rows
.row:	cmp dword [esi], 0
	je .end
	mov dword [best], -1
	mov dword [left], RUNS
.run:	push esi
	mov ecx, [esi + 4]
	mov ebp, [esi]
	lfence
	rdtsc
	mov [began], eax
	mov [began + 4], edx
	call ebp
	lfence
	rdtsc
	pop esi
	sub eax, [began]
	sbb edx, [began + 4]
	div dword [esi + 4]
	cmp eax, [best]
	jae .slower
	mov [best], eax
.slower:
	dec dword [left]
	jnz .run
	call report
	add esi, 16
	jmp .row
.end:	mov dword [best], 0
	call report
.halt:	cli
	hlt
	jmp .halt

; esi: the row
report:	push esi
	mov esi, word_time
	call say
	pop esi
	push esi
	add esi, 8
	call say
	mov al, ' '
	call char
	mov eax, [best]
	mov edi, digits_end
	mov ebx, 10
.digit:	xor edx, edx
	div ebx
	add dl, '0'
	dec edi
	mov [edi], dl
	test eax, eax
	jnz .digit
	mov esi, edi
	call say
	pop esi
	ret

%include "say.inc"

; ---- what is measured: ecx times; any register may change but ESP

do_cpuid:
	mov edi, ecx
.again:	xor eax, eax
	cpuid
	dec edi
	jnz .again
	ret

do_port:
	mov dx, 0x80
.again:	out dx, al
	dec ecx
	jnz .again
	ret

; a thousand turns: what a tick of the TSC is too short for
do_integer:
	mov edx, 1000
.again:	imul eax, eax, 1103515245
	add eax, 12345
	mov ebx, eax
	shr ebx, 16
	xor edi, ebx
	ror edi, 5
	dec edx
	jnz .again
	dec ecx
	jnz do_integer
	ret

do_calls:
	mov edx, 1000
.again:	call .leaf
	dec edx
	jnz .again
	dec ecx
	jnz do_calls
	ret
.leaf:	add eax, edx
	ret

; name, stride: 1000 loads and stores so many bytes apart
%macro LOADS_STORES 2
%1:	mov edx, 1000
	mov edi, AREA
.again:	mov eax, [edi]
	add eax, edx
	mov [edi + 8], eax
	add edi, %2
	dec edx
	jnz .again
	dec ecx
	jnz %1
	ret
%endmacro

LOADS_STORES do_memory, 64	; in 64 KiB
LOADS_STORES do_pages, 4096	; each in a page of its own of the 4 MiB

; 64 pages after the TLB has been emptied
do_flush:
	mov eax, cr3
	mov cr3, eax
	mov edi, AREA
	mov edx, 64
.again:	mov eax, [edi]
	add edi, 4096
	dec edx
	jnz .again
	dec ecx
	jnz do_flush
	ret

%macro row 3
	dd %1, %2
%%name:	db %3, 0
	times 8 - ($ - %%name) db 0
%endmacro
rows:	row do_cpuid, 20, "cpuid"
	row do_port, 20, "port"
	row do_integer, 100, "integer"
	row do_calls, 100, "calls"
	row do_memory, 100, "memory"
	row do_pages, 20, "pages"
	row do_flush, 20, "flush"
	row 0, 0, "end"
word_time: db "time ", 0
digits:	times 10 db '0'
digits_end: db 10, 0
	align 8
began:	dq 0
best:	dd 0
left:	dd 0
	align 4096
directory: times 4096 db 0
	times 512 db 0
stack:
end:
