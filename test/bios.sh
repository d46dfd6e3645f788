#!/bin/sh
# The firmware: its blob, what it hands over, real kernels, hostile input.
#
#     KTEST_CLOUD, KTEST_FULL   vmlinuz of Debian's kernels, with lib/modules
#                               beside boot/; a missing one is skipped
#     KTEST_TINY                ELF vmlinux without PCI
#     QEMU, CC, CLANG           programs
. "$(dirname "$0")/tap.sh"
bios=$top/bios
qemu=${QEMU:-qemu-system-x86_64}
cc=${CC:-cc}
clang=${CLANG:-clang}
tmp=$T		# as bios-guest.sh calls it
err=$T/out	# what is shown when a check fails

# judge STATUS WHAT
judge() {
	ok "$2" [ "$1" = 0 ]
}

# Everything goes to $tmp/out: what the machine says, and QEMU's complaints.
machine() {     # machine-options accelerator qemu-arguments...
	options=microvm,x-option-roms=off$1 accel=$2
	shift 2
	timeout "${limit:-60}" "$qemu" -M "$options" -accel "$accel" -nodefaults \
		-display none -no-reboot -bios "$bios/bios.bin" \
		-chardev "file,id=fw,path=$tmp/out" \
		-device isa-debugcon,iobase=0x3f8,chardev=fw \
		"$@" </dev/null >"$tmp/err" 2>&1
	status=$?
	cat "$tmp/err" >>"$tmp/out"
	[ $status = 0 ]
}

# ---- the blob ----------------------------------------------------------

test_blob() {
	name='bios.bin is what make -C bios builds'
	version=$("$cc" -dumpfullversion 2>/dev/null)
	case $("$cc" --version 2>/dev/null | head -n 1) in
	*'(Debian 12.2.0-14'*)  ;;
	*)      skip "needs Debian 12's gcc 12.2.0, have ${version:-none}" "$name"
		return ;;
	esac
	make -C "$bios" CC="$cc" BUILD="$tmp/build" OUT="$tmp/bios.bin" \
		>"$tmp/out" 2>&1 && cmp "$tmp/bios.bin" "$bios/bios.bin" \
		>>"$tmp/out" 2>&1
	judge $? "$name"
}

test_clang() {
	name='clang builds a firmware of at most 4 KiB'
	command -v "$clang" >/dev/null || { skip 'no clang' "$name"; return; }
	make -C "$bios" CC="$clang" BUILD="$tmp/clang" OUT="$tmp/clang.bin" \
		>"$tmp/out" 2>&1
	judge $? "$name"
}

# ---- a guest that is not Linux -----------------------------------------

. "$here/bios-guest.sh"

says() {        # line...: the guest said each, and came to its end
	for line in "$@" 'end=ok' 'ebda=ok'; do
		grep -qx -e "$line" "$tmp/out" || return 1
	done
}

# name machine-options accelerator kernel expected-lines(;) arguments...
guest_row() {
	row=$1 m=$2 a=$3 k=$4 want=$5
	shift 5
	rm -f "$tmp/out"
	machine "$m" "$a" -kernel "$tmp/guest.$k" -append 'a=1 b' "$@" && (
		IFS=';'
		set -f
		says $want )
	judge $? "guest: $row"
}

acpi_on='rsdp=ok;madt= 1 1 8;mp= 1 f;cmdline=a=1 b'
acpi_off='rsdp=none;mp= 1 f;cmdline=a=1 b'
two='rsdp=ok;madt= 1 2 0;mp= 1 f;cmdline=a=1 b'
m256='map= 100000 10000000 1'

test_guest() {
	for a in tcg kvm; do
		if ! echo quit | timeout 60 "$qemu" -M none -accel $a \
			-display none -monitor stdio >/dev/null 2>&1; then
			skip "QEMU cannot use $a here" "guest: $a"
			continue
		fi
		for k in elf bz; do
			e="entry=$([ $k = elf ] && echo pvh || echo linux)"
			guest_row "$a $k acpi=on,ioapic2=off, no initrd" \
				,acpi=on,ioapic2=off $a $k \
				"$e;$acpi_on;initrd=none;$m256" -m 256
			guest_row "$a $k acpi=on, initrd" ,acpi=on $a $k \
				"$e;$two;initrd= 5 f6;$m256" -m 256 \
				-initrd "$tmp/initrd"
			guest_row "$a $k acpi=off, initrd" ,acpi=off $a $k \
				"$e;$acpi_off;initrd= 5 f6;$m256" -m 256 \
				-initrd "$tmp/initrd"
		done
	done
	test_guest_ktest
	test_guest_sizes
}

# ktest's own arguments, under the real KVM: all of them but the processor,
# which some hosts' KVM does not let QEMU have.
test_guest_ktest() {
	name="guest: ktest's arguments, kvm"
	if ! echo quit | timeout 60 "$qemu" -M none -accel kvm \
		-display none -monitor stdio >/dev/null 2>&1; then
		skip 'QEMU cannot use kvm here' "$name"
		return
	fi
	cat >"$tmp/qemu" <<-EOF
		#!/bin/sh
		for word; do
			shift
			[ "\$word" != host ] || word=qemu64
			set -- "\$@" "\$word"
		done
		exec $qemu "\$@"
	EOF
	chmod 755 "$tmp/qemu"
	"$KTEST" -accel kvm -qemu "$tmp/qemu" \
		-bios "$bios/bios.bin" -kernel-path "$tmp/guest.elf" \
		-initrd-path "$tmp/cpio" -timeout 60 >"$tmp/stdout" \
		2>"$tmp/out" </dev/null
	[ $? = 125 ] && says entry=pvh 'initrd= 6 2f' \
		'cmdline=reboot=t console=hvc0 quiet panic=-1 .*'
	judge $? "$name"
}

test_guest_sizes() {
	on=,acpi=on,ioapic2=off
	guest_row '16 processors, acpi=on' $on tcg bz \
		'rsdp=ok;madt= 10 1 8;mp= 10 f' -smp 16
	guest_row '255 processors, acpi=off' ,acpi=off tcg elf \
		'mp= ff f' -smp 255
	guest_row '32 MiB' $on tcg elf 'map= 100000 2000000 1' -m 32
	guest_row '3 GiB' $on tcg bz 'map= 100000 c0000000 1' -m 3G
	guest_row '6 GiB, initrd' $on tcg bz \
		'map= 100000 c0000000 1;map= 100000000 1c0000000 1;initrd= 5 f6' \
		-m 6G -initrd "$tmp/initrd"
	for m in pic=off pit=off rtc=off isa-serial=off \
		pic=off,pit=off,rtc=off,isa-serial=off; do
		guest_row "$m" "$on,$m" tcg elf "$acpi_on" -m 256
	done
	dev='virtio_mmio.device=512@0xfeb00e00:31 '
	dev="${dev}virtio_mmio.device=512@0xfeb00c00:30 "
	guest_row 'devices are announced both ways' $on tcg elf \
		"cmdline=${dev}a=1 b" -device virtio-rng-device \
		-device virtio-serial-device
	guest_row 'eight devices' $on tcg bz \
		'cmdline=.*@0xfeb00000:24 a=1 b' \
		$(for i in 1 2 3 4 5 6 7 8; do echo -device virtio-rng-device; done)
}

# ---- what cannot be done is said ---------------------------------------

# reason machine-options arguments...
error_row() {
	why=$1 m=$2
	shift 2
	rm -f "$tmp/out"
	machine "$m" tcg "$@" && grep -q "^firmware: $why\$" "$tmp/out"
	judge $? "error: $why"
}

# An entry of etc/table-loader: command as an octal escape, the rest zeros.
loader_entry() {
	printf "\\$1\\000\\000\\000"
	head -c 124 /dev/zero
}

test_errors() {
	g="-kernel $tmp/guest.bz"
	error_row 'no kernel: start QEMU with -kernel' ''
	error_row "no fw_cfg DMA: not QEMU's microvm?" '' $g \
		-global fw_cfg_io.dma_enabled=off
	error_row 'kernel and initrd larger than memory' '' $g -m 2 \
		-initrd "$tmp/large"
	head -c 3000 /dev/zero | tr '\0' x >"$tmp/long"
	error_row 'command line longer than this kernel takes' '' $g \
		-append "$(cat "$tmp/long")"
	loader_entry 4 >"$tmp/write"
	error_row 'ACPI loader: write pointer refused' ,acpi=off $g \
		-fw_cfg "name=etc/table-loader,file=$tmp/write"
	loader_entry 11 >"$tmp/unknown"
	error_row 'ACPI loader: unknown command' ,acpi=off $g \
		-fw_cfg "name=etc/table-loader,file=$tmp/unknown"
	loader_entry 1 >"$tmp/bad"
	error_row 'ACPI loader: bad entry' ,acpi=off $g \
		-fw_cfg "name=etc/table-loader,file=$tmp/bad"
	{ head -c 514 "$tmp/guest.bz"; printf 'HdrS\002\002'
		tail -c +521 "$tmp/guest.bz"; } >"$tmp/old"
	error_row 'kernel older than boot protocol 2.10' '' -kernel "$tmp/old"
	rm -f "$tmp/out"
	timeout 60 "$qemu" -M microvm -accel tcg -nodefaults -display none \
		-no-reboot -bios "$bios/bios.bin" >"$tmp/out" 2>&1
	judge $? 'error: without a debug console the machine still ends'
}

# ---- Linux -------------------------------------------------------------

pad() {         # size: NULs up to a multiple of four
	n=$(((4 - $1 % 4) % 4))
	head -c $n /dev/zero
}

newc() {        # mode name [file]: a cpio member
	size=0
	[ $# = 3 ] && size=$(wc -c <"$3")
	printf '070701%08X%08X%08X%08X%08X%08X%08X' 0 "0$1" 0 0 1 0 "$size"
	printf '%08X%08X%08X%08X%08X%08X' 0 0 0 0 $((${#2} + 1)) 0
	printf '%s\0' "$2"
	pad $((110 + ${#2} + 1))
	[ $# = 3 ] && cat "$3"
	pad "$size"
}

build_initrd() {        # file [module...]
	to=$1 i=0
	shift
	{
		newc 040755 dev
		newc 040755 sys
		newc 040755 m
		newc 0100755 init "$tmp/init"
		for module in "$@"; do
			newc 0100644 m/$i.ko "$module"
			i=$((i + 1))
		done
		newc 0 'TRAILER!!!'
	} >"$to"
}

# name machine-options kernel initrd expected-lines arguments...
linux_row() {
	row=$1 m=$2 k=$3 rd=$4 want=$5
	shift 5
	rm -f "$tmp/out"
	limit=200 machine "$m" tcg -kernel "$k" -initrd "$rd" -append \
		"reboot=t panic=-1 no_timer_check tsc_early_khz=$khz \
cryptomgr.notests" -device virtio-rng-device "$@" &&
	for line in $want end=ok; do
		grep -qx -e "$line" "$tmp/out" || { status=1; break; }
	done
	judge $status "linux: $row"
}

# variable name: the rows of a distribution's kernel
test_debian() {
	eval "k=\${$1:-}"
	if ! [ -r "$k" ]; then
		skip "$1 names no kernel" "linux: $2"
		return
	fi
	v=${k##*/vmlinuz-}
	d=${k%/boot/*}/lib/modules/$v/kernel/drivers
	build_initrd "$tmp/$2.cpio" "$d/virtio/virtio_ring.ko" \
		"$d/virtio/virtio.ko" "$d/virtio/virtio_mmio.ko" \
		"$d/char/hw_random/virtio-rng.ko"
	linux_row "$2 bzImage, acpi=on,ioapic2=off" ,acpi=on,ioapic2=off \
		"$k" "$tmp/$2.cpio" 'cpus=2 random=1' -m 512 -smp 2
	[ "$2" = full ] && return
	linux_row "$2 bzImage, acpi=on, 6 GiB" ,acpi=on \
		"$k" "$tmp/$2.cpio" 'cpus=1 random=1 mib=5[0-9]*' -m 6G
}

test_tiny() {
	k=${KTEST_TINY:-} rd=$tmp/tiny.cpio
	if ! [ -r "$k" ]; then
		skip 'KTEST_TINY names no kernel' 'linux: tiny'
		return
	fi
	build_initrd "$rd"
	linux_row 'tiny ELF, acpi=on,ioapic2=off' ,acpi=on,ioapic2=off \
		"$k" "$rd" 'cpus=2 random=1' -m 256 -smp 2
	linux_row 'tiny ELF, acpi=off' ,acpi=off \
		"$k" "$rd" 'cpus=1 random=1' -m 256
	linux_row 'tiny ELF, acpi=off, 16 processors, 6 GiB' ,acpi=off \
		"$k" "$rd" 'cpus=16 random=1 mib=5[0-9]*' -m 6G -smp 16
	linux_row 'tiny ELF, acpi=on,ioapic2=off, pic, rtc and serial off' \
		,acpi=on,ioapic2=off,pic=off,rtc=off,isa-serial=off \
		"$k" "$rd" 'cpus=1 random=1' -m 64
}

test_linux() {
	"$cc" -static -Os -o "$tmp/init" "$here/bios-init.c" >"$tmp/out" 2>&1 ||
		{ fail 'linux: build an init'; show "$err"; return; }
	khz=$("$tmp/init")
	test_debian KTEST_CLOUD cloud
	test_debian KTEST_FULL full
	test_tiny
}

# ---- hostile input -----------------------------------------------------

test_fuzz() {
	name='fuzz: hostile fw_cfg'
	command -v "$clang" >/dev/null || { skip 'no clang' "$name"; return; }
	if ! "$clang" -g -O1 -std=c99 -fsanitize=fuzzer,address,undefined \
		-fno-sanitize=alignment -fno-sanitize-recover=all -o "$tmp/fuzz" "$here/bios-fuzz.c" \
		>"$tmp/out" 2>&1; then
		skip 'clang without libFuzzer and sanitizers' "$name"
		return
	fi
	mkdir "$tmp/corpus"
	runs=50000
	[ "${KTEST_RUNS:-}" != all ] || runs=200000
	"$tmp/fuzz" -seed=1 -runs=$runs -max_len=1024 -len_control=0 -timeout=10 \
		-artifact_prefix="$tmp/" "$tmp/corpus" >"$tmp/out" 2>&1
	judge $? "$name"
}

# ---- main --------------------------------------------------------------

if ! command -v "$qemu" >/dev/null; then
	skip_all "no $qemu"
fi
printf abcde | tr abcde '\001\002\003\160\200' >"$tmp/initrd"
printf 070701 >"$tmp/cpio"
head -c 1500000 /dev/zero >"$tmp/large"
test_blob
test_clang
if build_guest; then
	test_guest
	test_errors
else
	fail 'guest: build'
	show "$err"
fi
test_linux
test_fuzz
finish
