/*
 * See bios-guest.S.  Output, one "name=value" a line, all numbers hexadecimal:
 *     tsc=       the processor's counter at the kernel's entry
 *     entry=     pvh or linux
 *     cmdline=   as given
 *     initrd=    its size and the sum of its bytes, or none
 *     map=       address, end and type of each entry of the memory map
 *     rsdp=      none, or ok when it and all it leads to have right checksums
 *     madt=      its processors, IO-APICs and overrides
 *     mp=        none, bad, or its processors and ISA interrupts
 *     ebda=ok    the memory map keeps the tables from the kernel
 *     end=ok     nothing was cut off
 * With "short" as the command line it stops after tsc=.
 */
#include <stdint.h>

struct start_info {
	uint32_t magic, version, flags, modules;
	uint64_t module_list, cmdline, rsdp, map;
	uint32_t map_entries, reserved;
};

struct map_entry {
	uint64_t addr, size;
	uint32_t type;
};

struct what {
	const char *entry, *cmdline;
	uint32_t initrd, initrd_size, rsdp, map, map_entries, map_stride;
};

static void put_char(char c)
{
	__asm__ volatile("outb %0, %1" : : "a"(c), "Nd"((uint16_t)0x3f8));
}

static void put(const char *s)
{
	while (*s)
		put_char(*s++);
}

static void put_hex(uint64_t v)
{
	int shift = 60;

	put_char(' ');
	while (shift && !(v >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		put_char("0123456789abcdef"[v >> shift & 15]);
}

static void end(void)
{
	static const struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) none = { 0, 0 };

	__asm__ volatile("lidt %0; ud2" : : "m"(none));
}

static void *at(uint64_t addr)
{
	uint32_t a = (uint32_t)addr;

	__asm__("" : "+r"(a));
	return (void *)a;
}

static uint32_t word(uint32_t addr)
{
	return *(uint32_t *)at(addr);
}

static uint8_t sum(uint32_t addr, uint32_t size)
{
	uint8_t s = 0;

	while (size--)
		s = (uint8_t)(s + *(uint8_t *)at(addr++));
	return s;
}

static struct what what_pvh(const struct start_info *s)
{
	uint64_t *module = at(s->module_list);
	struct what w = { "pvh", at(s->cmdline), 0, 0, (uint32_t)s->rsdp,
		(uint32_t)s->map, s->map_entries, 24 };

	if (s->magic != 0x336ec578 || s->version != 1)
		w.entry = "bad start_info";
	if (s->modules) {
		w.initrd = (uint32_t)module[0];
		w.initrd_size = (uint32_t)module[1];
	}
	return w;
}

static struct what what_linux(uint32_t b)
{
	struct what w = { "linux", at(word(b + 0x228)), word(b + 0x218),
		word(b + 0x21c), word(b + 0x70), b + 0x2d0,
		*(uint8_t *)at(b + 0x1e8), 20 };

	if (word(b + 0x202) != 0x53726448 || *(uint8_t *)at(b + 0x1ef))
		w.entry = "bad boot_params";
	return w;
}

static void say_madt(uint32_t madt)
{
	uint32_t p = madt + 44, last = madt + word(madt + 4);
	uint32_t count[3] = { 0 };

	for (; p < last; p += *(uint8_t *)at(p + 1))
		if (*(uint8_t *)at(p) < 3)
			count[*(uint8_t *)at(p)]++;
	put("\nmadt=");
	put_hex(count[0]);
	put_hex(count[1]);
	put_hex(count[2]);
}

static void say_acpi(uint32_t rsdp)
{
	uint32_t xsdt, t, i, bad = 0, madt = 0;

	put("\nrsdp=");
	if (!rsdp) {
		put("none");
		return;
	}
	xsdt = word(rsdp + 24);
	bad = sum(rsdp, 20) | sum(rsdp, 36) | sum(xsdt, word(xsdt + 4));
	for (i = 36; i < word(xsdt + 4); i += 8) {
		t = word(xsdt + i);
		bad |= sum(t, word(t + 4));
		if (word(t) == 0x43495041)              /* "APIC" */
			madt = t;
		if (word(t) == 0x50434146) {            /* "FACP": its DSDT */
			t = word(t + 140);
			bad |= sum(t, word(t + 4)) | (word(t) - 0x54445344);
		}
	}
	put(bad ? "bad" : "ok");
	if (madt)
		say_madt(madt);
}

static void say_mp(void)
{
	uint32_t p = (uint32_t)*(uint16_t *)at(0x40e) << 4, t, i, n;
	uint32_t cpus = 0, irqs = 0;

	for (i = 0; i < 1024 && word(p) != 0x5f504d5f; i += 16)
		p += 16;
	put("\nmp=");
	if (i == 1024) {
		put("none");
		return;
	}
	t = word(p + 4);
	n = word(t + 4) & 0xffff;
	if (sum(p, 16) | sum(t, n) | (word(t) - 0x504d4350)) {
		put("bad");
		return;
	}
	for (p = t + 44; p < t + n; p += *(uint8_t *)at(p) ? 8 : 20) {
		cpus += *(uint8_t *)at(p) == 0;
		irqs += *(uint8_t *)at(p) == 3;
	}
	put_hex(cpus);
	put_hex(irqs);
}

static void say_map(const struct what *w)
{
	uint32_t i, ebda = (uint32_t)*(uint16_t *)at(0x40e) << 4;
	int kept = 0;

	for (i = 0; i < w->map_entries; i++) {
		struct map_entry *e = at(w->map + i * w->map_stride);

		put("\nmap=");
		put_hex(e->addr);
		put_hex(e->addr + e->size);
		put_hex(e->type);
		if (e->addr == ebda && e->type == 2)
			kept = e->addr + e->size == 0xa0000;
	}
	put(kept ? "\nebda=ok" : "\nebda=bad");
}

void guest_main(uint64_t tsc, struct start_info *pvh, uint32_t boot_params)
{
	struct what w = pvh ? what_pvh(pvh) : what_linux(boot_params);

	put("tsc=");
	put_hex(tsc);
	if (w.cmdline[0] == 's' && w.cmdline[1] == 'h') {
		put_char('\n');
		end();
	}
	put("\nentry=");
	put(w.entry);
	put("\ncmdline=");
	put(w.cmdline);
	put("\ninitrd=");
	if (w.initrd) {
		put_hex(w.initrd_size);
		put_hex(sum(w.initrd, w.initrd_size));
	} else {
		put("none");
	}
	say_map(&w);
	say_acpi(w.rsdp);
	say_mp();
	put("\nend=ok\n");
	end();
}
