/* SPDX-License-Identifier: ISC */
/* entry.S: from the boot loader to metal_main(). Multiboot2 (GRUB) and PVH (a hypervisor's -kernel)
 * both start the bootstrap processor in 32-bit protected mode, without paging; the further ones come
 * in real mode through the trampoline at the end. Both go to long mode on boot_tables, which map the
 * first 4 GiB as they are and the first GiB once more in the upper half. */
#define IMAGE_BASE 0xffffffff80000000
#define PHYS(x)	   ((x) - IMAGE_BASE)
#define CR4_PAE	   (1 << 5)
#define MSR_EFER   0xc0000080
#define EFER_BITS  0x901	/* SCE, LME, NXE */
#define CR0_BITS   0x80010033	/* PG, WP, NE, ET, MP, PE */

	.section .boot.header, "a"
	.balign 8
header:
	.long 0xe85250d6, 0, header_end - header, 0x100000000 - (0xe85250d6 + header_end - header)
	.short 5, 1			/* a frame buffer of any size, or none */
	.long 20, 0, 0, 32, 0
	.short 0, 0
	.long 8
header_end:

	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 8, 18			/* name, value, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.quad start_pvh

	.section .boot.text, "ax"
	.code32
	.globl start_multiboot
start_multiboot:
	mov $1, %edi
	cmp $0x36d76289, %eax
	je 1f
	xor %edi, %edi
	jmp 1f
start_pvh:
	mov $2, %edi
1:	cli
	cld
	rdtsc
	mov %eax, PHYS(boot_tsc)
	mov %edx, PHYS(boot_tsc) + 4
	mov %ebx, %esi			/* the loader's information */
	mov $PHYS(boot_stack_end), %esp
	mov $0x80000000, %eax
	cpuid
	cmp $0x80000001, %eax
	jb no_long_mode
	mov $0x80000001, %eax
	cpuid
	bt $29, %edx
	jnc no_long_mode

	/* Four page directories of 2 MiB pages */
	mov $PHYS(boot_pd), %ecx
	mov $0x83, %eax
2:	mov %eax, (%ecx)
	movl $0, 4(%ecx)
	add $8, %ecx
	add $0x200000, %eax
	jnc 2b
	mov $PHYS(boot_pd) + 3, %eax
	mov $PHYS(boot_pdpt), %ecx
3:	mov %eax, (%ecx)
	add $8, %ecx
	add $0x1000, %eax
	cmp $PHYS(boot_pdpt) + 32, %ecx
	jb 3b
	movl $PHYS(boot_pd) + 3, PHYS(boot_pdpt_high) + 510 * 8
	movl $PHYS(boot_pdpt) + 3, PHYS(boot_tables)
	movl $PHYS(boot_pdpt_high) + 3, PHYS(boot_tables) + 511 * 8

	mov $PHYS(boot_tables), %eax
	mov %eax, %cr3
	mov $CR4_PAE, %eax
	mov %eax, %cr4
	mov $MSR_EFER, %ecx
	xor %edx, %edx
	mov $EFER_BITS, %eax
	wrmsr
	mov $CR0_BITS, %eax
	mov %eax, %cr0
	lgdt boot_gdt_ptr
	ljmp $8, $4f
	.code64
4:	xor %eax, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %eax, %fs
	mov %eax, %gs
	mov $boot_stack_end, %rsp
	xor %ebp, %ebp
	mov $metal_main, %rax
	call *%rax			/* edi: how we came; esi: information */
5:	hlt
	jmp 5b

	.code32
no_long_mode:
	mov $no_long_mode_text, %esi
	mov $0xb8000, %edi
6:	lodsb
	test %al, %al
	jz 7f
	mov $0x4f, %ah
	stosw
	mov $0x3f8, %dx
	outb %al, %dx
	jmp 6b
7:	hlt
	jmp 7b
no_long_mode_text:
	.asciz "vigia: this processor has no 64-bit mode "

	.balign 8
boot_gdt:
	.quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
boot_gdt_ptr:
	.short 23
	.long boot_gdt

	/* ---- further processors: copied to ap_page, which is below 640 KiB ---- */
	.section .rodata
	.globl ap_start, ap_end
	.code16
ap_start:
	cli
	cld
	mov %cs, %ax
	mov %ax, %ds
	lgdtl ap_gdt_ptr - ap_start
	mov $PHYS(boot_tables), %eax
	mov %eax, %cr3
	mov $CR4_PAE, %eax
	mov %eax, %cr4
	mov $MSR_EFER, %ecx
	xor %edx, %edx
	mov $EFER_BITS, %eax
	wrmsr
	mov $CR0_BITS, %eax
	mov %eax, %cr0
	ljmpl $8, $ap_long
ap_gdt_ptr:
	.short 23
	.long boot_gdt
ap_end:

	.section .boot.text, "ax"
	.code64
ap_long:
	xor %eax, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %eax, %fs
	mov %eax, %gs
	mov $ap_stack, %rax		/* the stack's end, and what belongs to this processor */
	mov (%rax), %rsp
	mov $ap_argument, %rax
	mov (%rax), %rdi
	xor %ebp, %ebp
	mov $ap_first, %rax
	jmp *%rax

	/* ap_stack is in the new address space: tables first, from code that both map. */
	.text
ap_first:
	mov ap_tables(%rip), %rax
	mov %rax, %cr3
	call ap_main
8:	hlt
	jmp 8b

	.bss
	.balign 4096
	.globl boot_tables
boot_tables:
	.skip 4096
boot_pdpt:
	.skip 4096
boot_pdpt_high:
	.skip 4096
boot_pd:
	.skip 4 * 4096
	.skip 16384
boot_stack_end:

	/* When the loader let go */
	.globl boot_tsc
	.balign 8
boot_tsc:
	.skip 8

	.section .note.GNU-stack, "", @progbits
