/*
 * The firmware on the host, with a hostile fw_cfg.  bios.c runs whole, from
 * bios_main() to the kernel's entry or to its last words; what it may touch is
 * checked here at every access to memory and every DMA.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -o fuzz bios-fuzz.c
 *
 * fw_cfg starts out valid; the input changes it, eight bytes at a time (struct
 * change), so that every byte of the input reaches a parser.
 */
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOW_SIZE = 0xa0000, VIRTIO_BASE = 0xfeb00000, ITEM_SIZE = 8192 };

static uint8_t *low;            /* RAM below 640 KiB */
static uint32_t slots[8 * 128]; /* virtio-mmio */
static jmp_buf out;
static size_t said;
static uint32_t high_ram;       /* end of the RAM at 1 MiB, as e820 says */
static uint32_t high_used[4][2];
static int high_count;

static struct item {
	uint16_t key;
	uint32_t size;
	uint8_t data[ITEM_SIZE];
} items[16];
static int item_count;

static void broken(const char *rule, uint32_t addr, uint32_t size)
{
	fprintf(stderr, "broken rule: %s: %x, %x bytes\n", rule, addr, size);
	abort();
}

/* bios.c's areas below 640 KiB are 64 KiB each: nothing crosses their ends. */
static void *phys(uint32_t addr, uint32_t size)
{
	uint32_t last = addr + (size ? size - 1 : 0);

	if (addr >= VIRTIO_BASE && last < VIRTIO_BASE + sizeof slots)
		return (uint8_t *)slots + (addr - VIRTIO_BASE);
	if (last < addr || last >= LOW_SIZE)
		broken("memory below 640 KiB", addr, size);
	if (addr >> 16 != last >> 16)
		broken("one area", addr, size);
	return low + addr;
}

static void high_dma(uint32_t addr, uint32_t size)
{
	int i;

	if (addr < 0x100000 || addr > high_ram || size > high_ram - addr)
		broken("DMA into RAM", addr, size);
	for (i = 0; i < high_count; i++)
		if (addr < high_used[i][1] && high_used[i][0] < addr + size)
			broken("DMA over what was loaded", addr, size);
	high_used[high_count][0] = addr;
	high_used[high_count++][1] = addr + size;
}

static void dma(uint32_t key, uint32_t addr, uint32_t size)
{
	uint8_t *to;
	int i;

	if (addr >= LOW_SIZE) {
		high_dma(addr, size);
		return;
	}
	to = phys(addr, size);
	memset(to, 0, size);
	for (i = 0; i < item_count; i++)
		if (items[i].key == key)
			memcpy(to, items[i].data, size < items[i].size ?
				size : items[i].size);
}

static void cpu_out8(uint16_t port, uint8_t value)
{
	if (port == 0x3f8 && value != '\n')
		said++;
}

static void cpu_out32(uint16_t port, uint32_t value)
{
	uint32_t *d = phys(__builtin_bswap32(value), 16);

	if (port != 0x518 || d[2])
		broken("fw_cfg's port", port, value);
	dma(__builtin_bswap32(d[0]) >> 16, __builtin_bswap32(d[3]),
		__builtin_bswap32(d[1]));
	d[0] = 0;
}

static uint32_t cpu_in32(uint16_t port)
{
	return port == 0x514 ? 0x554d4551 : 0;
}

static _Noreturn void cpu_shutdown(void)
{
	if (said <= strlen("firmware: "))
		broken("last words", 0, 0);
	longjmp(out, 1);
}

static _Noreturn void cpu_enter(uint32_t entry, uint32_t esi, uint32_t ebx)
{
	if (entry < 0x100000 || entry >= high_ram)
		broken("entry in RAM", entry, 0);
	if (esi + ebx != 0x10000)
		broken("parameters", esi, ebx);
	longjmp(out, 1);
}

#define BIOS_HOST
#include "../bios/bios.c"

/* ---- a valid fw_cfg ---------------------------------------------------- */

static struct item *item_add(uint16_t key, uint32_t size)
{
	struct item *i = &items[item_count++];

	memset(i, 0, sizeof *i);
	i->key = key;
	i->size = size;
	return i;
}

static void item_number(uint16_t key, uint32_t value)
{
	memcpy(item_add(key, 4)->data, &value, 4);
}

static void file_add(struct item *dir, const char *name, const void *data,
		     uint32_t size)
{
	struct fw_dir *d = (struct fw_dir *)dir->data;
	uint32_t n = be32(d->count);
	uint16_t key = (uint16_t)(0x20 + n);

	d->count = be32(n + 1);
	d->file[n].size = be32(size);
	d->file[n].key = __builtin_bswap16(key);
	strcpy(d->file[n].name, name);
	dir->size += (uint32_t)sizeof d->file[n];
	memcpy(item_add(key, size)->data, data, size);
}

static void files_add(void)
{
	static const char r[] = "etc/acpi/rsdp", t[] = "etc/acpi/tables";
	struct item *dir = item_add(FW_FILE_DIR, 4);
	struct e820 map[2] = { { 0, 0x8000000, 1 }, { 1ull << 32, 4096, 1 } };
	uint32_t tables[27] = { 0x43495041, 64 }, rsdp[9] = { 0 };
	struct loader_entry e[6];

	tables[11] = 0x0800;                    /* a processor, an IO-APIC */
	tables[13] = 0x0c01;
	tables[16] = 0x54445358;
	tables[17] = 44;
	rsdp[6] = 64;
	memset(e, 0, sizeof e);
	e[0].command = e[1].command = CMD_ALLOCATE;
	strcpy(e[0].alloc.file, r);
	strcpy(e[1].alloc.file, t);
	e[1].alloc.align = 64;
	e[2].command = e[3].command = CMD_ADD_POINTER;
	strcpy(e[2].pointer.dest, t);
	strcpy(e[2].pointer.src, t);
	e[2].pointer.offset = 100;
	strcpy(e[3].pointer.dest, r);
	strcpy(e[3].pointer.src, t);
	e[3].pointer.offset = 24;
	e[2].pointer.size = e[3].pointer.size = 8;
	e[4].command = e[5].command = CMD_ADD_CHECKSUM;
	strcpy(e[4].checksum.file, t);
	e[4].checksum.offset = 73;
	e[4].checksum.start = 64;
	e[4].checksum.length = 44;
	strcpy(e[5].checksum.file, r);
	e[5].checksum.offset = 32;
	e[5].checksum.length = 36;
	file_add(dir, "etc/e820", map, sizeof map);
	file_add(dir, "etc/table-loader", e, sizeof e);
	file_add(dir, r, rsdp, sizeof rsdp);
	file_add(dir, t, tables, sizeof tables);
}

static void fw_cfg_reset(void)
{
	struct boot_params *b;

	item_count = 0;
	item_number(FW_CPUS, 2);
	item_number(FW_KERNEL_ADDR, 0x100000);
	item_number(FW_KERNEL_SIZE, 0x100000);
	item_number(FW_INITRD_SIZE, 0x2345);
	item_number(FW_KERNEL_ENTRY, 0);
	item_number(FW_CMDLINE_SIZE, 20);
	item_add(FW_CMDLINE_DATA, 20);
	b = (struct boot_params *)item_add(FW_SETUP_DATA, 1024)->data;
	b->header_size = 0x6a;
	b->magic = SETUP_MAGIC;
	b->version = 0x20f;
	b->loadflags = LOADED_HIGH;
	b->initrd_max = 0x7fffffff;
	b->cmdline_size = 2047;
	b->pref_address = 0x1000000;
	b->init_size = 0x100000;
	files_add();
}

/* ---- what the input changes -------------------------------------------- */

struct change {
	uint8_t item, kind;     /* kind: 0 size, 1 to 4 bytes of value */
	uint16_t offset;
	uint32_t value;
};

static void change(const struct change *c)
{
	struct item *i = &items[c->item % item_count];
	uint32_t width = c->kind % 5, offset = c->offset % (ITEM_SIZE - 4);

	if (c->item == 255)
		slots[c->offset % (sizeof slots / 4)] = c->value;
	else if (width == 0)
		i->size = c->value % ITEM_SIZE;
	else
		memcpy(i->data + offset, &c->value, width);
}

/* As QEMU would have it: the RAM that is there is what e820 says. */
static void find_high_ram(void)
{
	const struct item *i;
	const struct e820 *e;

	high_ram = 0;
	for (i = items; i < items + item_count; i++) {
		e = (const struct e820 *)i->data;
		for (; (const uint8_t *)(e + 1) <= i->data + ITEM_SIZE; e++)
			if (i->key >= 0x20 && e->type == E820_RAM &&
			    e->addr == 0 && e->size > high_ram)
				high_ram = e->size < RAM_MAX ?
					(uint32_t)e->size : RAM_MAX;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct change c;

	if (!low)
		low = malloc(LOW_SIZE);
	memset(low, 0, LOW_SIZE);
	memset(slots, 0, sizeof slots);
	slots[7 * 128] = VIRTIO_MAGIC;
	slots[7 * 128 + 2] = 4;
	said = 0;
	high_count = 0;
	fw_cfg_reset();
	for (; size >= sizeof c; size -= sizeof c, data += sizeof c) {
		memcpy(&c, data, sizeof c);
		change(&c);
	}
	find_high_ram();
	if (!setjmp(out))
		bios_main();
	return 0;
}
