/*
 * The firmware: from the reset vector to a Linux kernel that QEMU's microvm
 * offers over fw_cfg.  It does nothing else.
 *
 *     reset.S     reset vector, 32-bit flat protected mode, then bios_main()
 *     bios.c      this file, in the order in which it runs, main last
 *     x86.h       ports, memory and the ways out of bios.c
 *     bios.ld     where the image lies, and how large it may become
 *
 * It finds the memory, loads QEMU's ACPI tables, writes an MP table, loads the
 * kernel and starts it: a bzImage at its 32-bit entry, an ELF at its PVH entry.
 * QEMU must be a microvm with x-option-roms=off and -kernel.  With
 * acpi=on,ioapic2=off one configuration serves kernels that find virtio devices
 * by ACPI and kernels that cannot (see "devices without an ACPI interpreter");
 * a kernel without any ACPI needs acpi=off.  Everything else may be on or off.
 *
 * What it cannot do is one line on I/O port 0x3f8 (COM1, whose speed QEMU does
 * not ask for), then the machine ends; when all is well it says nothing.  QEMU's
 * word is checked before anything is written where it points.
 */
#include <stddef.h>
#include <stdint.h>

#ifndef BIOS_HOST
#include "x86.h"
#endif

#define PACKED __attribute__((packed))

/* ---- memory ------------------------------------------------------------
 * RAM below 1 MiB is ours until the kernel runs.  What it needs from there it
 * copies early; what must stay lies in the "EBDA", which the memory map calls
 * reserved, and whose first KiB the kernel searches for the MP table and the
 * RSDP: the one is first, and the other is the first that QEMU allocates.
 */
enum {
	BDA_EBDA        = 0x0040e,      /* where a BIOS leaves the EBDA's segment */
	DMA             = 0x08000,      /* after the stack: struct fw_dma */
	WORD            = 0x08020,      /* one small fw_cfg item */
	PARAMS          = 0x10000,      /* boot_params, or PVH's start_info */
	CMDLINE         = 0x20000,
	DIR             = 0x30000,      /* fw_cfg's directory */
	LOADER          = 0x40000,      /* etc/table-loader */
	E820            = 0x50000,      /* etc/e820 */
	EBDA            = 0x90000,
	EBDA_END        = 0xa0000,
	AREA            = 0x10000,      /* size of each of the last five */
	ROM             = 0xf0000,
	HIGH            = 0x100000,
	PAGE            = 4096,
	MP_POINTER_SIZE = 16
};

#define RAM_MAX 0xe0000000u     /* devices are above */

struct e820 {
	uint64_t addr, size;
	uint32_t type;
} PACKED;

struct machine {
	uint32_t e820_size;     /* of QEMU's map at E820, in bytes */
	const struct e820 *ram; /* its entry with the byte at 1 MiB */
	uint32_t ram_end;       /* of the RAM that begins at 1 MiB */
	uint32_t ebda;          /* next free byte there */
	uint32_t rsdp;          /* 0: no ACPI */
	uint32_t cmdline;       /* bytes at CMDLINE, before QEMU's part */
	uint32_t initrd, initrd_size;
};

static _Noreturn void die(const char *why)
{
	const char *p;

	for (p = "firmware: "; *p; p++)
		cpu_out8(0x3f8, (uint8_t)*p);
	for (p = why; *p; p++)
		cpu_out8(0x3f8, (uint8_t)*p);
	cpu_out8(0x3f8, '\n');
	cpu_shutdown();
}

static uint32_t page_down(uint32_t addr)
{
	return addr & ~(uint32_t)(PAGE - 1);
}

static uint32_t end_of(uint32_t start, uint32_t size)
{
	if (start > RAM_MAX || size > RAM_MAX - start)
		die("kernel and initrd larger than memory");
	return start + size;
}

static void copy_bytes(void *to, const void *from, uint32_t size)
{
	uint8_t *t = to;
	const uint8_t *f = from;

	while (size--)
		*t++ = *f++;
}

/* What makes the sum of all bytes zero; four at a time, in two pairs. */
static uint8_t sum_negate(const void *bytes, uint32_t size)
{
	const struct {
		uint32_t v;
	} PACKED *w = bytes;
	uint32_t sum = 0, pairs;

	for (; size >= 4; size -= 4, w++) {
		pairs = (w->v & 0xff00ff) + (w->v >> 8 & 0xff00ff);
		sum -= pairs * 0x10001 >> 16;
	}
	for (bytes = w; size--; )
		sum -= ((const uint8_t *)bytes)[size];
	return (uint8_t)sum;
}

static void ebda_init(struct machine *m)
{
	m->ebda = EBDA + MP_POINTER_SIZE;
	*(uint16_t *)phys(BDA_EBDA, 2) = EBDA >> 4;
}

/* align is a power of two. */
static uint32_t ebda_alloc(struct machine *m, uint32_t size, uint32_t align)
{
	uint32_t at = (m->ebda + align - 1) & -align;

	if (at < EBDA || at > EBDA_END || size > EBDA_END - at)
		die("tables larger than 64 KiB");
	m->ebda = at + size;
	return at;
}

/* ---- fw_cfg ------------------------------------------------------------
 * QEMU's docs/specs/fw_cfg: items have a 16-bit key; a DMA request is a
 * structure whose address is written to a port.  All its numbers are big
 * endian.  Reading past the end of an item, or one that is absent, gives
 * zeros: that is also how memory is cleared here.
 */
enum fw_key {
	FW_SIGNATURE    = 0x00,
	FW_CPUS         = 0x05,
	FW_KERNEL_ADDR  = 0x07,
	FW_KERNEL_SIZE  = 0x08,
	FW_INITRD_SIZE  = 0x0b,
	FW_KERNEL_ENTRY = 0x10,         /* PVH's, of an ELF */
	FW_KERNEL_DATA  = 0x11,
	FW_INITRD_DATA  = 0x12,
	FW_CMDLINE_SIZE = 0x14,
	FW_CMDLINE_DATA = 0x15,
	FW_SETUP_SIZE   = 0x17,
	FW_SETUP_DATA   = 0x18,
	FW_FILE_DIR     = 0x19,
	FW_NONE         = 0x1f          /* below the files, never used */
};

enum { FW_DMA_ERROR = 1, FW_DMA_READ = 2, FW_DMA_SELECT = 8 };
enum { FW_PORT_DMA_HIGH = 0x514, FW_PORT_DMA_LOW = 0x518 };

struct fw_dma {
	uint32_t control, length, address_high, address;
};

struct fw_file {
	uint32_t size;
	uint16_t key, reserved;
	char name[56];
};

struct fw_dir {
	uint32_t count;
	struct fw_file file[];
};

static uint32_t be32(uint32_t v)
{
	return __builtin_bswap32(v);
}

static void fw_read(uint32_t key, uint32_t to, uint32_t size)
{
	volatile struct fw_dma *dma = phys(DMA, sizeof *dma);

	dma->control = be32(key << 16 | FW_DMA_SELECT | FW_DMA_READ);
	dma->length = be32(size);
	dma->address_high = 0;
	dma->address = be32(to);
	cpu_out32(FW_PORT_DMA_LOW, be32(DMA));
	if (dma->control)
		die("fw_cfg DMA failed");
}

static uint32_t fw_number(uint32_t key)
{
	fw_read(key, WORD, 4);
	return *(uint32_t *)phys(WORD, 4);
}

static void fw_check(void)
{
	if (cpu_in32(FW_PORT_DMA_HIGH) != 0x554d4551)   /* "QEMU" */
		die("no fw_cfg DMA: not QEMU's microvm?");
}

static const struct fw_dir *fw_load_dir(void)
{
	uint32_t size = be32(fw_number(FW_FILE_DIR));

	if (size > (AREA - 4) / sizeof(struct fw_file))
		die("fw_cfg directory too large");
	size = (uint32_t)(4 + size * sizeof(struct fw_file));
	fw_read(FW_FILE_DIR, DIR, size);
	return phys(DIR, size);
}

/* Names are 56 bytes in every structure; one that does not end is malformed. */
static int fw_same_name(const char *a, const char *b)
{
	int i;

	for (i = 0; i < 56; i++) {
		if (a[i] != b[i])
			return 0;
		if (!a[i])
			return 1;
	}
	return 0;
}

static const struct fw_file *fw_find(const struct fw_dir *dir, const char *name)
{
	uint32_t i, count = be32(dir->count);

	for (i = 0; i < count; i++)
		if (fw_same_name(dir->file[i].name, name))
			return &dir->file[i];
	return NULL;
}

static void fw_clear(uint32_t at, uint32_t size)
{
	fw_read(FW_NONE, at, size);
}

static void fw_read_file(const struct fw_file *f, uint32_t to)
{
	fw_read((uint32_t)__builtin_bswap16(f->key), to, be32(f->size));
}

/* ---- memory map --------------------------------------------------------
 * QEMU's etc/e820 holds (address, size, type) and knows nothing of the hole
 * below 1 MiB nor of what we put anywhere.  Both kernels' maps have the same
 * entries at different distances.  Types: ACPI specification, "Address Range
 * Types"; Linux sorts the map itself.
 */
enum { E820_RAM = 1, E820_RESERVED = 2, E820_ENTRIES = 100 };

struct map {
	uint32_t at, stride, count;
};

/*
 * The kernel and all it needs go to the RAM that begins at 0 and reaches past
 * 1 MiB.  What it has above RAM_MAX is not used.
 */
static void mem_find_ram(struct machine *m, const struct fw_dir *dir)
{
	const struct fw_file *f = fw_find(dir, "etc/e820");
	const struct e820 *e;
	uint32_t i;

	m->e820_size = f ? be32(f->size) : 0;
	if (m->e820_size > E820_ENTRIES * sizeof *e)
		die("no usable memory in etc/e820");
	if (f)
		fw_read_file(f, E820);
	e = phys(E820, m->e820_size);
	for (i = 0; i < m->e820_size / sizeof *e; i++) {
		if (e[i].type != E820_RAM || e[i].addr != 0)
			continue;
		m->ram = &e[i];
		m->ram_end = RAM_MAX;
		if (e[i].size < RAM_MAX)
			m->ram_end = page_down((uint32_t)e[i].size);
	}
	if (m->ram_end <= HIGH)
		die("no usable memory in etc/e820");
}

static struct e820 *map_next(struct map *map)
{
	return phys(map->at + map->stride * map->count++, sizeof(struct e820));
}

static void map_add(struct map *map, uint32_t addr, uint32_t end, uint32_t type)
{
	struct e820 *e = map_next(map);

	e->addr = addr;
	e->size = end - addr;
	e->type = type;
}

/* At most three entries more than QEMU's: both maps have room for 128. */
static void map_fill(struct map *map, const struct machine *m)
{
	const struct e820 *e = phys(E820, m->e820_size);
	uint32_t i;

	for (i = 0; i < m->e820_size / sizeof *e; i++)
		if (e + i != m->ram)
			copy_bytes(map_next(map), e + i, sizeof *e);
	map_add(map, 0, EBDA, E820_RAM);
	map_add(map, EBDA, EBDA_END, E820_RESERVED);
	map_add(map, ROM, HIGH, E820_RESERVED);
	map_add(map, HIGH, m->ram_end, E820_RAM);
}

/* ---- ACPI --------------------------------------------------------------
 * QEMU builds the tables and says in etc/table-loader what to do with them:
 * entries of 128 bytes (QEMU's hw/acpi/bios-linker-loader.c).  Each file is
 * allocated once, before it is named by another command.
 */
enum { CMD_ALLOCATE = 1, CMD_ADD_POINTER, CMD_ADD_CHECKSUM, CMD_WRITE_POINTER };
enum { BLOBS = 8, RSDP_SIZE = 36 };

struct loader_entry {
	uint32_t command;
	union {
		struct {
			char file[56];
			uint32_t align;
			uint8_t zone;
		} PACKED alloc;
		struct {
			char dest[56], src[56];
			uint32_t offset;
			uint8_t size;
		} PACKED pointer;
		struct {
			char file[56];
			uint32_t offset, start, length;
		} PACKED checksum;
		char pad[124];
	};
} PACKED;

struct blobs {
	uint32_t count;
	struct blob {
		const char *name;
		uint32_t at, size;
	} blob[BLOBS];
};

static const struct blob *blob_find(const struct blobs *b, const char *name)
{
	uint32_t i;

	for (i = 0; i < b->count; i++)
		if (fw_same_name(b->blob[i].name, name))
			return &b->blob[i];
	die("ACPI loader: bad entry");
}

static void loader_allocate(struct machine *m, struct blobs *b,
			    const struct fw_dir *dir,
			    const struct loader_entry *e)
{
	const struct fw_file *f = fw_find(dir, e->alloc.file);
	uint32_t align = e->alloc.align ? e->alloc.align : 1;
	struct blob *n = &b->blob[b->count];

	if (!f || b->count == BLOBS || align & (align - 1))
		die("ACPI loader: bad entry");
	n->name = e->alloc.file;
	n->size = be32(f->size);
	n->at = ebda_alloc(m, n->size, align);
	b->count++;
	fw_read_file(f, n->at);
	if (fw_same_name(n->name, "etc/acpi/rsdp") &&
	    n->size >= RSDP_SIZE)
		m->rsdp = n->at;
}

static void loader_add_pointer(const struct blobs *b,
			       const struct loader_entry *e)
{
	const struct blob *dest = blob_find(b, e->pointer.dest);
	const struct blob *src = blob_find(b, e->pointer.src);
	uint32_t offset = e->pointer.offset, size = e->pointer.size;
	uint32_t *p;

	if ((size != 4 && size != 8) || size > dest->size ||
	    offset > dest->size - size)
		die("ACPI loader: bad entry");
	p = phys(dest->at + offset, size);
	if (p[0] > src->size || (size == 8 && p[1]))
		die("ACPI loader: bad entry");
	p[0] += src->at;
}

static void loader_add_checksum(const struct blobs *b,
				const struct loader_entry *e)
{
	const struct blob *f = blob_find(b, e->checksum.file);
	uint32_t start = e->checksum.start, length = e->checksum.length;
	uint8_t *p;

	if (e->checksum.offset >= f->size || start > f->size ||
	    length > f->size - start)
		die("ACPI loader: bad entry");
	p = phys(f->at + e->checksum.offset, 1);
	*p = (uint8_t)(*p + sum_negate(phys(f->at + start, length), length));
}

static void acpi_load(struct machine *m, const struct fw_dir *dir)
{
	const struct fw_file *f = fw_find(dir, "etc/table-loader");
	const struct loader_entry *e, *end;
	struct blobs b;
	uint32_t size;

	if (!f)
		return;
	size = be32(f->size);
	if (size > AREA || size % sizeof *e)
		die("ACPI loader: bad entry");
	fw_read_file(f, LOADER);
	b.count = 0;
	e = phys(LOADER, size);
	for (end = e + size / sizeof *e; e < end; e++) {
		if (e->command == CMD_ALLOCATE)
			loader_allocate(m, &b, dir, e);
		else if (e->command == CMD_ADD_POINTER)
			loader_add_pointer(&b, e);
		else if (e->command == CMD_ADD_CHECKSUM)
			loader_add_checksum(&b, e);
		else if (e->command == CMD_WRITE_POINTER)
			die("ACPI loader: write pointer refused");
		else
			die("ACPI loader: unknown command");
	}
}

/* ---- devices without an ACPI interpreter -------------------------------
 * Gives the MADT an override for each virtio-mmio interrupt, and the command
 * line a name for each device, for kernels that find neither by ACPI.
 */

/* Linux with ACPI but without PCI reads the MADT and then cannot start its
 * interpreter (ACPICA 20220331: AE_BAD_PARAMETER "During Region
 * initialization", whatever the tables hold).  It never learns of the devices
 * in the DSDT, and since these tables are "hardware reduced", it gives no
 * interrupt a number that nobody asked ACPI for -- but for those that the MADT
 * overrides: they get numbers in the order of their pins, from the first one
 * above all pins.  The command line names each device with the number that
 * follows.  A kernel whose interpreter works finds the same pins with the same
 * properties in the DSDT.
 *
 * Only done if there is one IO-APIC (ioapic2=off): it does not happen for the
 * pins of a second one.  microvm's layout: QEMU's hw/i386/microvm.c.
 */
enum { MADT_IOAPIC = 1, MADT_OVERRIDE = 2, MADT_HEADER = 44 };
enum { VIRTIO_SLOTS = 8, VIRTIO_PIN = 16, VIRTIO_SIZE = 512, PINS = 24 };
enum { LEVEL_HIGH = 0x0d };     /* of MADT and MP table */

#define VIRTIO_ADDR 0xfeb00000u
#define VIRTIO_MAGIC 0x74726976u

struct acpi_header {
	uint32_t signature, length;
	uint8_t revision, checksum;
	char ids[26];
};

struct acpi_rsdp {
	char signature[8], ids[16];
	uint32_t xsdt, xsdt_high, checksum;
};

struct madt_override {
	uint8_t type, length, bus, irq;
	uint32_t gsi;
	uint16_t flags;
} PACKED;

static struct acpi_header *acpi_table(const struct machine *m, uint32_t at)
{
	struct acpi_header *t;

	if (at < EBDA || at > m->ebda - sizeof *t)
		die("ACPI: bad table");
	t = phys(at, sizeof *t);
	if (t->length < MADT_HEADER || t->length > m->ebda - at)
		die("ACPI: bad table");
	return t;
}

static void acpi_sum(struct acpi_header *t)
{
	t->checksum = (uint8_t)(t->checksum + sum_negate(t, t->length));
}

/* How many overrides there are; none to add if there are two IO-APICs. */
static uint32_t madt_overrides(const struct acpi_header *t)
{
	const uint8_t *p = (const uint8_t *)t + MADT_HEADER;
	const uint8_t *end = (const uint8_t *)t + t->length;
	uint32_t ioapics = 0, overrides = 0;

	for (; end - p >= 2; p += p[1]) {
		if (p[1] < 2)
			die("ACPI: bad table");
		ioapics += p[0] == MADT_IOAPIC;
		overrides += p[0] == MADT_OVERRIDE;
	}
	return ioapics == 1 ? overrides : PINS;
}

/* ISA interrupts that microvm does not use stand for the virtio pins. */
static uint32_t madt_extend(struct machine *m, const struct acpi_header *old)
{
	static const uint8_t irq[VIRTIO_SLOTS] = { 5, 6, 7, 10, 11, 12, 14, 15 };
	uint32_t length = old->length, i;
	uint32_t size = length + VIRTIO_SLOTS *
		(uint32_t)sizeof(struct madt_override);
	uint32_t at = ebda_alloc(m, size, 8);
	struct acpi_header *t = phys(at, size);
	struct madt_override *o = phys(at + length, size - length);

	copy_bytes(t, old, length);
	for (i = 0; i < VIRTIO_SLOTS; i++)
		*o++ = (struct madt_override){ MADT_OVERRIDE, sizeof *o, 0,
			irq[i], VIRTIO_PIN + i, LEVEL_HIGH };
	t->length = size;
	acpi_sum(t);
	return at;
}

/* QEMU fills the slots from the highest downwards. */
static void cmdline_add_devices(struct machine *m, uint32_t first_irq)
{
	static const char arg[] = "virtio_mmio.device=512@0xfeb00?00:?? ";
	enum { SLOT = 30, IRQ = 34 };
	uint32_t slot, irq;
	const volatile uint32_t *regs;
	char *p;

	for (slot = VIRTIO_SLOTS; slot--; ) {
		regs = phys(VIRTIO_ADDR + slot * VIRTIO_SIZE, VIRTIO_SIZE);
		if (regs[0] != VIRTIO_MAGIC || regs[2] == 0)
			continue;
		p = phys(CMDLINE + m->cmdline, sizeof arg);
		copy_bytes(p, arg, sizeof arg);
		p[SLOT] = "02468ace"[slot];
		irq = first_irq + slot;
		p[IRQ] = (char)('0' + irq / 10);
		p[IRQ + 1] = (char)('0' + irq % 10);
		m->cmdline += (uint32_t)sizeof arg - 1;
	}
}

static void acpi_add_devices(struct machine *m)
{
	const struct acpi_rsdp *rsdp = phys(m->rsdp, sizeof *rsdp);
	struct acpi_header *xsdt, *t;
	uint32_t *entry, *end, overrides;

	if (!m->rsdp)
		return;
	xsdt = acpi_table(m, rsdp->xsdt);
	entry = (uint32_t *)(xsdt + 1);
	end = entry + (xsdt->length - sizeof *xsdt) / 8 * 2;
	for (; entry < end; entry += 2) {
		t = acpi_table(m, *entry);
		if (t->signature != 0x43495041)         /* "APIC" */
			continue;
		overrides = madt_overrides(t);
		if (overrides >= VIRTIO_PIN)
			return;
		*entry = madt_extend(m, t);
		acpi_sum(xsdt);
		cmdline_add_devices(m, PINS + overrides);
		return;
	}
}

/* ---- MP table ----------------------------------------------------------
 * MultiProcessor Specification 1.4, chapter 4: for kernels without ACPI.  The
 * floating pointer stands in the EBDA's first KiB, where kernels look.  ISA
 * interrupts go to the IO-APIC's pin of the same number, except the timer's,
 * which QEMU wires to pin 2.  With acpi=off microvm's virtio devices have
 * interrupts 5 to 12, level triggered: an edge could be lost while a driver
 * acknowledges the last one.
 */
enum { MP_PROCESSOR, MP_BUS, MP_IOAPIC, MP_INTERRUPT, MP_LOCAL };
enum { MP_NMI = 1, MP_EXTINT = 3 };

#define IOAPIC_ADDR 0xfec00000u
#define LAPIC_ADDR 0xfee00000u

struct mp_pointer {
	uint32_t signature, table;
	uint8_t length, version, checksum, features[5];
};

struct mp_table {
	uint32_t signature;
	uint16_t length;
	uint8_t version, checksum;
	char oem[8], product[12];
	uint32_t oem_table;
	uint16_t oem_size, count;
	uint32_t lapic, extended;
};

enum { MP_FIXED = 1 + 1 + 15 + 2 };      /* entries, but for processors */

/* Every entry but a processor's is two words of bytes, lowest first. */
static uint32_t *mp_entry(uint32_t *p, uint32_t low, uint32_t high)
{
	*p++ = low;
	*p++ = high;
	return p;
}

static uint32_t *mp_processor(uint32_t *p, uint32_t apic)
{
	uint32_t flags = apic ? 1 : 3;  /* usable, and the one that boots */

	p = mp_entry(p, MP_PROCESSOR | apic << 8 | 0x14 << 16 | flags << 24, 0);
	p = mp_entry(p, 0, 0);
	*p++ = 0;
	return p;
}

static uint32_t *mp_interrupt(uint32_t *p, uint32_t irq)
{
	uint32_t flags = irq < 5 ? 0 : LEVEL_HIGH;
	uint32_t pin = irq ? irq : 2;

	return mp_entry(p, MP_INTERRUPT | flags << 16, irq << 8 | pin << 24);
}

static void mp_write(struct machine *m)
{
	uint32_t i, cpus = fw_number(FW_CPUS);
	uint32_t size = (uint32_t)sizeof(struct mp_table) + cpus * 20 +
		MP_FIXED * 8;
	struct mp_pointer *f;
	struct mp_table *t;
	uint32_t *p;

	if (cpus > 255)
		die("more than 255 processors");
	f = phys(EBDA, sizeof *f);
	f->table = ebda_alloc(m, size, 16);
	t = phys(f->table, size);
	fw_clear(f->table, sizeof *t);

	f->signature = 0x5f504d5f;                      /* "_MP_" */
	f->length = 1;
	f->version = 4;
	f->checksum = 0;
	f->features[0] = f->features[1] = 0;
	f->checksum = sum_negate(f, sizeof *f);

	t->signature = 0x504d4350;                      /* "PCMP" */
	t->length = (uint16_t)size;
	t->version = 4;
	t->count = (uint16_t)(cpus + MP_FIXED);
	t->lapic = LAPIC_ADDR;
	p = (uint32_t *)(t + 1);
	for (i = 0; i < cpus; i++)
		p = mp_processor(p, i);
	p = mp_entry(p, MP_BUS | 'I' << 16 | 'S' << 24, 0x20202041);
	p = mp_entry(p, MP_IOAPIC | 0x20 << 16 | 1 << 24, IOAPIC_ADDR);
	p = mp_interrupt(p, 0);
	p = mp_interrupt(p, 1);
	for (i = 3; i < 16; i++)
		p = mp_interrupt(p, i);
	p = mp_entry(p, MP_LOCAL | MP_EXTINT << 8, 0);
	p = mp_entry(p, MP_LOCAL | MP_NMI << 8, 0x01ff0000);    /* LINT1, all */
	t->checksum = sum_negate(t, size);
}

/* ---- kernel ------------------------------------------------------------
 * What QEMU offers: an ELF is in memory already, and its PVH entry is an item
 * of fw_cfg; a bzImage comes as setup header and kernel.
 */
static void load_cmdline(struct machine *m, uint32_t limit)
{
	uint32_t size = fw_number(FW_CMDLINE_SIZE);

	if (size > limit || m->cmdline > limit - size)
		die("command line longer than this kernel takes");
	fw_read(FW_CMDLINE_DATA, CMDLINE + m->cmdline, size);
	*(char *)phys(CMDLINE + m->cmdline + size, 1) = '\0';
}

/* As high as it may be. */
static void load_initrd(struct machine *m, uint32_t kernel_end, uint32_t max)
{
	uint32_t end = page_down(max < m->ram_end ? max : m->ram_end);
	uint32_t size = fw_number(FW_INITRD_SIZE);

	m->initrd = page_down(end - size);
	m->initrd_size = size;
	if (size > end || m->initrd < kernel_end)
		die("kernel and initrd larger than memory");
	fw_read(FW_INITRD_DATA, m->initrd, size);
}

/* ---- PVH ---------------------------------------------------------------
 * Xen's "x86/HVM direct boot ABI": ebx holds start_info, version 1.
 */
struct pvh_start_info {
	uint32_t magic, version, flags, modules;
	uint64_t module_list, cmdline, rsdp, map;
	uint32_t map_entries, reserved;
};

struct pvh_params {
	struct pvh_start_info info;
	struct {
		uint64_t addr, size, cmdline, reserved;
	} module;
	struct {
		struct e820 entry;
		uint32_t reserved;
	} map[128];
};

static _Noreturn void pvh_start(struct machine *m, uint32_t entry)
{
	struct pvh_params *b = phys(PARAMS, sizeof *b);
	struct map map = { PARAMS + offsetof(struct pvh_params, map),
		sizeof b->map[0], 0 };
	uint32_t start = fw_number(FW_KERNEL_ADDR);
	uint32_t end = end_of(start, fw_number(FW_KERNEL_SIZE));

	if (start < HIGH || entry < start || entry >= end)
		die("ELF kernel not in memory above 1 MiB");
	load_initrd(m, end, m->ram_end);
	load_cmdline(m, AREA - 1);
	fw_clear(PARAMS, sizeof *b);
	map_fill(&map, m);
	b->info.magic = 0x336ec578;
	b->info.version = 1;
	b->info.modules = m->initrd_size != 0;
	b->info.module_list = PARAMS + offsetof(struct pvh_params, module);
	b->info.cmdline = CMDLINE;
	b->info.rsdp = m->rsdp;
	b->info.map = map.at;
	b->info.map_entries = map.count;
	b->module.addr = m->initrd;
	b->module.size = m->initrd_size;
	cpu_enter(entry, 0, PARAMS);
}

/* ---- bzImage -----------------------------------------------------------
 * Linux's Documentation/arch/x86/boot.rst.  The header is copied into
 * boot_params, whose other bytes must be zero.  Offsets are those of
 * boot_params (zero-page.rst).
 */
enum {
	SETUP_MAGIC = 0x53726448,       /* "HdrS" */
	SETUP_START = 0x1f1,
	SETUP_END = 0x290,              /* room for it in boot_params */
	LOADED_HIGH = 1,
	XLF_CAN_BE_LOADED_ABOVE_4G = 2
};

struct boot_params {
	uint8_t pad0[0x70];
	uint64_t rsdp;
	uint8_t pad1[0x1e8 - 0x78];
	uint8_t e820_entries;
	uint8_t pad2[0x201 - 0x1e9];
	uint8_t header_size;            /* its end is at 0x202 + this */
	uint32_t magic;
	uint16_t version;
	uint8_t pad3[0x211 - 0x208];
	uint8_t loadflags;
	uint8_t pad4[0x218 - 0x212];
	uint32_t initrd, initrd_size;
	uint8_t pad5[0x228 - 0x220];
	uint32_t cmdline, initrd_max;
	uint8_t pad6[0x236 - 0x230];
	uint16_t xloadflags;
	uint32_t cmdline_size;
	uint8_t pad7[0x258 - 0x23c];
	uint32_t pref_address, pref_address_high;
	uint32_t init_size;
	uint8_t pad8[0x2d0 - 0x264];
	struct e820 e820[128];
	uint8_t pad9[0x1000 - 0x2d0 - 128 * 20];
} PACKED;

_Static_assert(offsetof(struct boot_params, magic) == 0x202, "boot_params");
_Static_assert(offsetof(struct boot_params, cmdline_size) == 0x238,
	"boot_params");
_Static_assert(sizeof(struct boot_params) == PAGE, "boot_params");

static void linux_check_setup(const struct boot_params *b)
{
	if (b->magic != SETUP_MAGIC)
		die("kernel neither bzImage nor ELF with PVH");
	if (b->version < 0x20a || !(b->loadflags & LOADED_HIGH))
		die("kernel older than boot protocol 2.10");
	if (b->pref_address_high)
		die("kernel and initrd larger than memory");
}

/* The end of what the kernel uses before it reads the memory map. */
static uint32_t linux_end(const struct boot_params *b, uint32_t size)
{
	uint32_t loaded = end_of(HIGH, size);
	uint32_t run = b->pref_address > HIGH ? b->pref_address : HIGH;

	run = end_of(run, b->init_size);
	return run > loaded ? run : loaded;
}

static _Noreturn void linux_start(struct machine *m)
{
	struct boot_params *b = phys(PARAMS, sizeof *b);
	struct map map = { PARAMS + offsetof(struct boot_params, e820),
		sizeof(struct e820), 0 };
	uint32_t size = fw_number(FW_KERNEL_SIZE), end, initrd_max;

	if (size == 0)
		die("no kernel: start QEMU with -kernel");
	fw_read(FW_SETUP_DATA, PARAMS, SETUP_END);
	linux_check_setup(b);
	end = 0x202 + (uint32_t)b->header_size;
	if (end > SETUP_END)
		end = SETUP_END;
	fw_clear(PARAMS, SETUP_START);
	fw_clear(PARAMS + end, PAGE - end);

	initrd_max = b->initrd_max;
	if (b->xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G)
		initrd_max = RAM_MAX;
	load_initrd(m, linux_end(b, size), initrd_max);
	load_cmdline(m, b->cmdline_size < AREA ? b->cmdline_size : AREA - 1);
	fw_read(FW_KERNEL_DATA, HIGH, size);

	map_fill(&map, m);
	b->e820_entries = (uint8_t)map.count;
	b->rsdp = m->rsdp;
	b->cmdline = CMDLINE;
	b->initrd = m->initrd_size ? m->initrd : 0;
	b->initrd_size = m->initrd_size;
	cpu_enter(HIGH, PARAMS, 0);
}

/* ---- main --------------------------------------------------------------
 * Each step leaves in m what the later ones need; the last starts the kernel.
 */
_Noreturn void bios_main(void)
{
	struct machine m = { 0 };
	const struct fw_dir *dir;
	uint32_t pvh_entry;

	fw_check();
	dir = fw_load_dir();
	mem_find_ram(&m, dir);
	ebda_init(&m);
	acpi_load(&m, dir);
	acpi_add_devices(&m);
	mp_write(&m);
	pvh_entry = fw_number(FW_KERNEL_ENTRY);
	if (pvh_entry)
		pvh_start(&m, pvh_entry);
	linux_start(&m);
}
