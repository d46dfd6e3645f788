/*
 * mkkernel: files that look like kernels, or nearly, for the tests.
 *
 *	mkkernel KIND VERSION >FILE
 *
 * Kinds: bzimage (a header that Linux's Documentation/arch/x86/boot.rst
 * describes, 2.15, with VERSION as its version string and an empty body),
 * short (the same without its last 100 bytes), old (protocol 2.02), pvh (an
 * ELF vmlinux with Xen's PVH entry note), nopvh (one without), arm64elf,
 * arm64 (an Image), gzip, and uki: a PE file, whose section .linux, the second,
 * is what is read from stdin.
 */
#include <stdio.h>
#include <string.h>

enum { SETUP_SECTORS = 1, BODY = 4096, HEADER = (SETUP_SECTORS + 1) * 512 };

static unsigned char file[1 << 25];

static void
le(size_t at, unsigned long long value, int bytes)
{
	int i;

	for (i = 0; i < bytes; i++)
		file[at + (size_t)i] = (unsigned char)(value >> i * 8);
}

static size_t
bzimage(const char *version, unsigned protocol)
{
	memcpy(file, "MZ", 2);
	le(0x1f1, SETUP_SECTORS, 1);
	le(0x1f4, BODY / 16, 4);	/* syssize */
	le(0x1fe, 0xaa55, 2);		/* boot_flag */
	memcpy(file + 0x202, "HdrS", 4);
	le(0x206, protocol, 2);
	le(0x20e, 0x300 - 0x200, 2);	/* kernel_version */
	le(0x211, 1, 1);		/* loadflags: LOADED_HIGH */
	le(0x236, 1, 2);		/* xloadflags: XLF_KERNEL_64 */
	le(0x238, 2047, 4);		/* cmdline_size */
	snprintf((char *)file + 0x300, 200, "%s (tests)", version);
	return HEADER + BODY;
}

/* ELF-64: a header, one PT_NOTE, the note, and a banner with the version. */
static size_t
elf(const char *version, unsigned machine, unsigned note)
{
	memcpy(file, "\177ELF\2\1\1", 7);
	le(16, 2, 2);			/* ET_EXEC */
	le(18, machine, 2);
	le(20, 1, 4);
	le(32, 64, 8);			/* e_phoff */
	le(52, 64, 2);
	le(54, 56, 2);			/* e_phentsize */
	le(56, 1, 2);			/* e_phnum */
	le(64, 4, 4);			/* PT_NOTE */
	le(72, 256, 8);			/* p_offset */
	le(96, 24, 8);			/* p_filesz */
	le(104, 24, 8);
	le(256, 4, 4);
	le(260, 8, 4);
	le(264, note, 4);
	memcpy(file + 268, "Xen", 4);
	snprintf((char *)file + 512, 200, "Linux version %s (tests)", version);
	return 4096;
}

static size_t
uki(void)
{
	const size_t body = 1024;
	size_t n = fread(file + body, 1, sizeof file - body, stdin);

	memcpy(file, "MZ", 2);
	le(0x3c, 128, 4);
	memcpy(file + 128, "PE\0", 4);
	le(128 + 6, 2, 2);		/* sections */
	le(128 + 20, 16, 2);		/* of the optional header */
	memcpy(file + 168, ".osrel", 6);
	memcpy(file + 208, ".linux", 6);
	le(208 + 8, n, 4);		/* VirtualSize */
	le(208 + 16, (n + 511) & ~511u, 4);
	le(208 + 20, body, 4);
	return body + ((n + 511) & ~511u);
}

int
main(int argc, char **argv)
{
	const char *kind = argc > 1 ? argv[1] : "";
	const char *version = argc > 2 ? argv[2] : "";
	size_t n = 0;

	if (!strcmp(kind, "bzimage")) {
		n = bzimage(version, 0x20f);
	} else if (!strcmp(kind, "short")) {
		n = bzimage(version, 0x20f) - 100;
	} else if (!strcmp(kind, "old")) {
		n = bzimage(version, 0x202);
	} else if (!strcmp(kind, "pvh")) {
		n = elf(version, 62, 18);
	} else if (!strcmp(kind, "nopvh")) {
		n = elf(version, 62, 1);
	} else if (!strcmp(kind, "arm64elf")) {
		n = elf(version, 183, 18);
	} else if (!strcmp(kind, "arm64")) {
		memcpy(file, "MZ", 2);
		memcpy(file + 56, "ARMd", 4);
		n = 4096;
	} else if (!strcmp(kind, "uki")) {
		n = uki();
	} else if (!strcmp(kind, "gzip")) {
		memcpy(file, "\37\213\10", 3);
		n = 4096;
	}
	return n == 0 || fwrite(file, 1, n, stdout) != n || fflush(stdout);
}
