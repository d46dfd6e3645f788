/*
 * A guest that is not Linux: it says over the debug console what the firmware
 * handed to it, and ends by a triple fault.  One text for both doors: the ELF
 * has a PVH note; .setup and .text behind each other are a bzImage.
 * The first instruction tells how long the way from reset was.
 */
	.section .setup, ""
setup:
	.code16
	.org	0x1f1
	.byte	1                       /* setup_sects: 1 KiB in all */
	.org	0x1fe
	.word	0xaa55
	jmp	real
	.ascii	"HdrS"
	.word	0x020f
	.org	0x211
	.byte	1                       /* LOADED_HIGH */
	.org	0x214
	.long	0x100000
	.org	0x22c
	.long	0x7fffffff              /* initrd_addr_max */
	.long	0x1000                  /* kernel_alignment */
	.byte	0, 0
	.word	2                       /* XLF_CAN_BE_LOADED_ABOVE_4G */
	.long	2047                    /* cmdline_size */
	.org	0x258
	.quad	0x100000                /* pref_address */
	.long	0x100000                /* init_size */
	.org	0x268
/* qboot comes in here.  The last line of it is all that it says. */
real:
	rdtsc
	movl	%eax, %ebx
	movb	$8, %cl
	movw	$0x3f8, %dx
digit:
	roll	$4, %ebx
	movb	%bl, %al
	andb	$15, %al
	cmpb	$10, %al
	sbbb	$0x69, %al              /* to ASCII, with das */
	das
	outb	%al, %dx
	decb	%cl
	jnz	digit
	movb	$10, %al
	outb	%al, %dx
	lidtl	%cs:none - setup
	ud2
none:
	.word	0
	.long	0
	.org	0x400

	.section .note.pvh, "a", @note
	.long	4, 4, 18                /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	start

	.section .start, "ax"
	.code32
	.globl	start
start:
	rdtsc
	movl	$stack_end, %esp
	pushl	%esi
	pushl	%ebx
	pushl	%edx
	pushl	%eax
	call	guest_main              /* (tsc, start_info, boot_params) */

	.bss
	.space	4096
stack_end:
	.section .note.GNU-stack, ""
