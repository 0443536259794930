; SPDX-License-Identifier: ISC
; triple.asm: a fault whose handler, double-fault handler and all are absent: the guest has crashed.
%include "elf.inc"
start:	lidt [none]
	ud2
none:	dw 0
	dd 0
