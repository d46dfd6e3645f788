/*
 * The machine as bios.c sees it: I/O ports, physical memory, and the two ways
 * out.  A test that includes bios.c on the host brings its own versions.
 */
#ifndef BIOS_X86_H
#define BIOS_X86_H

static inline void cpu_out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void cpu_out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint32_t cpu_in32(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

/*
 * Physical memory is mapped as it is.  size is what the caller will touch:
 * the host's version checks it.
 */
static inline void *phys(uint32_t addr, uint32_t size)
{
	(void)size;
	__asm__("" : "+r"(addr));       /* no object of C: do not reason on it */
	return (void *)addr;
}

/* A triple fault: QEMU, started with -no-reboot, ends. */
static inline _Noreturn void cpu_shutdown(void)
{
	static const struct { uint16_t limit; uint32_t base; }
	__attribute__((packed)) no_idt = { 0, 0 };

	__asm__ volatile("lidt %0; ud2" : : "m"(no_idt));
	__builtin_unreachable();
}

/*
 * Both entries want 32-bit flat segments, paging and interrupts off.  Linux
 * wants its boot_params in esi and ebp, edi and ebx zero (boot.rst, "32-bit
 * Boot Protocol"); PVH wants its start_info in ebx.
 */
static inline _Noreturn void cpu_enter(uint32_t entry, uint32_t esi,
				       uint32_t ebx)
{
	__asm__ volatile("push %0; xor %%ebp, %%ebp; ret"
		: : "r"(entry), "S"(esi), "b"(ebx), "D"(0));
	__builtin_unreachable();
}

#endif
