#!/bin/sh
# From reset to the kernel's entry: our firmware beside QEMU's qboot.rom.
#
#     instructions   executed by the guest under -icount shift=0, where its TSC
#                    counts them: the guest's first one reads it.  Exact.
#     time           of that TSC without icount (the host's ticks since the
#                    machine started), the least of RUNS, because load only
#                    adds; the last column is that of whole QEMU processes.
#                    Only the ratios travel.
#
# qboot enters a bzImage at its 16-bit code and leaves the way to protected
# mode to the kernel: that is not counted for it.
# KTEST_CLOUD, if it names a vmlinuz, gives the bzImage its true size.
set -u
here=$(cd "$(dirname "$0")" && pwd)
qemu=${QEMU:-qemu-system-x86_64}
cc=${CC:-cc}
runs=${RUNS:-15}
tmp=$(mktemp -d "${TMPDIR:-/tmp}/bios-bench.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM HUP
ours=$here/../bios/bios.bin
theirs=${QBOOT:-qboot.rom}

. "$here/bios-guest.sh"

# firmware kernel acpi qemu-arguments...: the counter at the kernel's entry
measure() {
	bios=$1 kernel=$2 acpi=$3
	shift 3
	timeout 20 "$qemu" -M "microvm,x-option-roms=off,ioapic2=off,acpi=$acpi" \
		-accel tcg -m 512 -nodefaults -display none -no-reboot \
		-bios "$bios" -kernel "$kernel" -initrd "$tmp/initrd" \
		-append short -device virtio-rng-device \
		-device virtio-serial-device -chardev "file,id=fw,path=$tmp/tsc" \
		-device isa-debugcon,iobase=0x3f8,chardev=fw "$@" \
		</dev/null >/dev/null 2>&1
	printf '%d\n' "0x$(sed 's/.* //' "$tmp/tsc" | head -n 1)"
}

least() {
	sort -n | head -n 1
}

now() {         # nanoseconds
	date +%s%N
}

# firmware kernel acpi name: adds to $tmp/name.tsc.all and $tmp/name.wall.all
sample() {
	start=$(now)
	measure "$1" "$2" "$3" >>"$tmp/$4.tsc.all"
	echo $((($(now) - start) / 1000)) >>"$tmp/$4.wall.all"
}

row() {         # name kernel acpi
	n=$(measure "$ours" "$2" "$3" -icount shift=0,sleep=off)
	q=$(measure "$theirs" "$2" "$3" -icount shift=0,sleep=off)
	rm -f "$tmp"/*.all
	i=0
	while [ $i -lt "$runs" ]; do
		sample "$ours" "$2" "$3" ours
		sample "$theirs" "$2" "$3" theirs
		i=$((i + 1))
	done
	echo "$1 $n $q $(least <"$tmp/ours.tsc.all") \
$(least <"$tmp/theirs.tsc.all") $(least <"$tmp/ours.wall.all") \
$(least <"$tmp/theirs.wall.all")" | awk '{
		printf "%-22s %12d %8d %7.2f %10.2f %12.2f\n",
			$1, $2, $3, $2 / $3, $4 / $5, $6 / $7 }'
}

build_guest || { cat "$tmp/out"; exit 1; }
head -c 1000000 /dev/zero >"$tmp/initrd"
if [ -r "${KTEST_CLOUD:-}" ]; then
	tail -c +"$(($(wc -c <"$tmp/guest.bz") + 1))" "$KTEST_CLOUD" \
		>>"$tmp/guest.bz"
fi
printf '%-22s %12s %8s %7s %10s %12s\n' row instructions qboot ratio \
	'time ratio' 'process ratio'
for acpi in on off; do
	row "bzImage,acpi=$acpi" "$tmp/guest.bz" $acpi
	row "ELF,acpi=$acpi" "$tmp/guest.elf" $acpi
done
