/*
 * From the reset vector to bios_main() in 32-bit flat protected mode.
 *
 * After reset a processor runs 16-bit code at 0xfffffff0: cs has the base
 * 0xffff0000, every other segment base 0.  The image fills the 64 KiB up to
 * 4 GiB, so cs:offset is the place in the image.  Only the first processor
 * comes here: the others wait for the kernel's INIT and SIPI.
 */
	.section .start, "ax"
	.globl	start16
	.code16
start16:
	testl	%esp, %esp
	jnz	again
	lgdtl	%cs:gdt_pointer_16
	movl	%cr0, %eax
	orb	$1, %al                 /* PE */
	movl	%eax, %cr0
	ljmpl	$0x10, $start32

/*
 * After a reset esp is 0.  A kernel that "restarts" by a jump to the BIOS,
 * for want of a better way, comes here with a stack: to QEMU that is no reset,
 * and -no-reboot would not end it.  A triple fault is one.
 */
again:
	lidtl	%cs:no_idt_16
	ud2

	.code32
start32:
	movl	$0x18, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$STACK_TOP, %esp
	jmp	bios_main               /* never returns */

/*
 * The selectors are those that the Linux boot protocol prescribes: code at
 * 0x10, data at 0x18.  "Accessed" is set, so that nothing writes here.  tr is
 * left as reset leaves it: a busy TSS at 0, which is what PVH asks for.
 */
	.balign	8
gdt:
	.quad	0
	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
	.globl	no_idt
no_idt:
	.word	0
	.long	0
	.globl	gdt_pointer
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt

	.section .reset, "ax"
	.code16
	jmp	start16
	.balign	16, 0
