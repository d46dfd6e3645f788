# Sourced by bios.sh and bios-bench.sh: builds the guest that is not Linux as
# $tmp/guest.elf and $tmp/guest.bz; what the compiler says goes to $tmp/out.

build_guest() {
	( cd "$here" && o=$tmp/guest &&
	"$cc" -m32 -march=i686 -mno-sse -Os -std=c99 -ffreestanding -fno-pic \
		-fno-pie -fno-stack-protector -fcf-protection=none \
		-fno-asynchronous-unwind-tables -Wall -Wextra \
		-c -o "$o.c.o" bios-guest.c &&
	"$cc" -m32 -c -o "$o.s.o" bios-guest.S &&
	ld -m elf_i386 -T bios-guest.ld --build-id=none -z noexecstack \
		--no-warn-rwx-segments -o "$o.elf" "$o.s.o" "$o.c.o" &&
	objcopy -O binary -j .setup --set-section-flags \
		.setup=alloc,load,contents "$o.elf" "$o.setup" &&
	objcopy -O binary -j .text "$o.elf" "$o.text" &&
	cat "$o.setup" "$o.text" >"$o.bz" ) >"$tmp/out" 2>&1
}
