#!/bin/sh
# -machine, -uefi, -tpm and -reboot: arguments, what is refused, what a PC
# brings, and that nothing is left of it.
#
#	KTEST_MACHINES=all	also what takes long, or more packages
. "$(dirname "$0")/tap.sh"

need_ktest
fake_setup
build disks disks.c -static
DISKS=$built
cd "$T" || exit 1

# -- QEMU's arguments --
args() { # OPTIONS...: all of them, a word a line
	env KTEST_KERNEL="$FAKE_KERNEL" "$KTEST" -qemu qemu -init "$GUEST" \
	    -n -accel tcg "$@" -- "$GUEST" 2>"$T/args.err" | tr ' ' '\n'
}
args -machine q35 -net user -disk 8 -disk 8 >q35
is "$(grep -A 1 -x -e -M q35 | tail -n 1)" q35 'q35: the machine'
is "$(grep -A 1 -x -e -bios q35 | tail -n 1)" qboot.rom 'q35: its firmware'
is "$(grep -c '^virtio-.*-pci,' q35) $(grep -c 'virtio-.*-device' q35)" '5 0' \
    'q35: its devices are on PCI'
: >code
: >vars
args -uefi -bios code -uefi-vars vars >uefi
is "$(grep if=pflash uefi | tr '\n' ' ')" "$(:
    )if=pflash,format=raw,readonly=on,file.driver=file,file.filename=code $(:
    )if=pflash,format=raw,file.driver=file,file.filename=vars,snapshot=on " \
    '-uefi: two drives, the variables thrown away'
unlike uefi '^-bios$' '-uefi: no other firmware'
like uefi '^q35$' '-uefi: a PC'
args -uefi -bios code -uefi-vars vars:rw >uefi
like uefi 'filename=vars$' '-uefi-vars :rw: kept'
have_tpm=
command -v swtpm >/dev/null && have_tpm=1
if [ -n "$have_tpm" ]; then
	args -tpm >tpm
	is "$(grep 'tpm' tpm | tr '\n' ' ')" "socket,id=chrtpm,fd=15 -tpmdev $(:
	    )emulator,id=tpm0,chardev=chrtpm tpm-tis,tpmdev=tpm0 " '-tpm'
	is "$(ls -A "$TMPDIR")" '' '-tpm: -n makes no directory'
fi

# -- What is refused: 125, one line --
refuse '-machine pc: is not one of' -machine pc
refuse '-uefi: needs -machine q35' -uefi -machine microvm
refuse '-uefi-vars: needs -uefi' -uefi-vars vars
refuse '-uefi: the variables are missing; name' -uefi -bios code
refuse '-bios no: is not a readable file' -uefi -bios no -uefi-vars vars
refuse '-uefi-vars no: is not a file that can be read' -uefi -uefi-vars no
refuse '-uefi-vars no: is not a file that can be written' -uefi \
    -uefi-vars no:rw
refuse '-reboot: is not for -tty' -reboot -tty
refuse '-reboot: is not for .*restart$' -reboot -expect restart
if [ -n "$have_tpm" ]; then
	refuse '-tpm: needs -machine q35' -tpm -machine microvm
	refuse '-tpm no/tpm2-00.permall: No such' -tpm=no
	mkdir state
	: >state/tpm2-00.permall
	refuse '-tpm state/tpm2-00.permall: is empty' -tpm=state
	echo x >state/tpm2-00.permall
	mkfifo state/tpm2-00.volatilestate
	refuse '-tpm state/tpm2-00.volatilestate: is a device' -tpm=state
	rm -r state
fi
fake 'hello;clock;hear=qmp:set-action;say=qmp:{"QMP": {}}\n{"return": {}}\n{"id":'\
' "reboot", "error": {"desc": "no such"}}\n;stay' -reboot -- "$GUEST"
is "$status" 125 '-reboot: a QEMU that cannot'
like "$err" '^ktest: -reboot: this QEMU cannot: [{].*no such.*[}]$' \
    '-reboot: a QEMU that cannot: said'
mkdir none
run env PATH="$T/none" "$KTEST" -qemu "$FAKE" -init "$GUEST" -kernel-path \
    "$FAKE_KERNEL" -tpm -- "$GUEST"
like "$err" '^ktest: -tpm: there is no swtpm in PATH' '-tpm without swtpm'

# -- swtpm goes with the run, however that ends --
swtpms() {
	ps -eo args | grep -c "^swtpm socket.*$T/"
}
if [ -n "$have_tpm" ]; then
	fake 'hello;clock;go;x=3' -tpm -- "$GUEST"
	is "$status $(swtpms) $(ls -A "$TMPDIR")" '3 0 ' '-tpm: nothing is left'
	fake 'exit=1' -tpm -- "$GUEST"
	is "$status $(swtpms) $(ls -A "$TMPDIR")" '125 0 ' \
	    '-tpm: nothing is left of QEMU that failed'
	fake '' -tpm -qemu "$T/no-qemu" -- "$GUEST"
	is "$status $(swtpms) $(ls -A "$TMPDIR")" '125 0 ' \
	    '-tpm: nothing is left without a QEMU'
	rm -f "$T/log"/*
	FAKE_DO='hello;stay' "$KTEST" -qemu "$FAKE" -init "$GUEST" \
	    -kernel-path "$FAKE_KERNEL" -accel tcg -snapshot none -tpm \
	    -- "$GUEST" </dev/null >/dev/null 2>&1 &
	pid=$!
	until_true [ -s "$T/log/start.1.pid" ]
	is "$(swtpms)" 1 '-tpm: swtpm runs'
	kill -9 $pid
	wait $pid
	gone() { [ "$(swtpms)$(ls -A "$TMPDIR")" = 0 ]; }
	ok '-tpm: nothing is left of a ktest that was killed' until_true gone
else
	skip 'no swtpm' '-tpm'
fi

if [ ! -f "${KTEST_CLOUD:-}" ]; then
	skip 'no KTEST_CLOUD' 'guests'
	finish
fi

# -- Guests --
pc() { # NAME OPTIONS...
	pc_name=$1
	shift
	cloud_job "$pc_name" -machine q35 "$@"
}
echo input >"$T/jobs/pc.in"
pc pc -qemu-arg -device -qemu-arg edu -net user -disk 1M -file /bin/cat -- \
    /bin/sh -c 'for d in /sys/bus/pci/devices/*; do
	read v <$d/vendor; read i <$d/device; echo "$v $i"; done
	[ -b /dev/vda ] && echo disk; [ -e /sys/class/net/eth0 ] && echo net
	cat; echo error >&2; exit 42'
pc snap -snapshot "$T/snap" -cpus 2 -- "$GUEST" exit 7
if [ -f "${KTEST_FULL:-}" ]; then
	job full "$KTEST" -kernel-path "$KTEST_FULL" -accel "$ACCEL" -machine \
	    q35 -rootfs / -- sh -c 'uname -r; exit 5'
fi
truncate -s 1M count
cloud_job reboot -reboot -disk count:rw -- "$DISKS" boot /dev/vda 3
[ ! -f "${KTEST_TINY:-}" ] || tiny_job nopci -machine q35 -- "$GUEST" exit 0
have_ovmf=
args -uefi | grep -q pflash && have_ovmf=1
[ -z "$have_ovmf" ] || cloud_job uefi -uefi ${have_tpm:+-tpm} -- \
    "$DISKS" show /sys/firmware/efi/fw_platform_size 2 ${have_tpm:+$(:
    )/sys/class/tpm/tpm0/tpm_version_major 1 $(:
    )/sys/class/tpm/tpm0/pcr-sha256/0 64}
jobs_run

done_is() { # NAME STATUS WHAT
	result "$1"
	is "$status" "$2" "$3: status"
}
done_is pc 42 q35
like "$out" '^0x1234 0x11e8$' 'q35: the edu device'
is "$(tail -n 3 "$out" | tr '\n' ' ')" 'disk net input ' 'q35: devices, stdin'
text "$err" "error$nl" 'q35: stderr'
done_is snap 7 'q35: saved, and restored'
run "$KTEST" -v -kernel-path "$KTEST_CLOUD" -accel "$ACCEL" -machine q35 \
    -snapshot "$T/snap" -cpus 2 -- "$GUEST" exit 9
is "$status" 9 'q35: restored again'
like "$err" 'snapshot .*: fits' 'q35: it was'
rm -f "$T/snap"
if [ -f "${KTEST_FULL:-}" ]; then
	done_is full 5 'q35, full: -rootfs /'
	text "$out" "${KTEST_FULL##*/vmlinuz-}$nl" 'q35, full: 9p'
fi
done_is reboot 7 -reboot
text "$out" "KTEST_BOOT was 123, stdin 0$nl" '-reboot: the program runs each time'
if [ -f "${KTEST_TINY:-}" ]; then
	done_is nopci 125 'q35 without PCI'
	text "$err" "ktest: -machine q35: this kernel has no PCI$nl" 'it is said'
	run "$KTEST" -n -kernel-path "$KTEST_TINY" -uefi -- "$GUEST"
	text "$err" "ktest: -uefi: this kernel has no PCI$nl" '-uefi: likewise'
fi
if [ -n "$have_ovmf" ]; then
	done_is uefi 0 '-uefi'
	like "$out" '^fw_platform_size 2 64' '-uefi: it is UEFI'
	if [ -n "$have_tpm" ]; then
		like "$out" '^tpm_version_major 1 2' '-tpm: TPM 2.0'
		like "$out" '^0 64 [0-9A-F]{64}$' '-tpm: a PCR'
		unlike "$out" '^0 64 0{64}$' '-tpm: the firmware measured into it'
	fi
else
	skip 'no OVMF' '-uefi'
fi
is "$(ls -A "$TMPDIR")" '' 'nothing is left'
[ "${KTEST_MACHINES:-}" = all ] || finish

# -- At length: the older Launch, tpm2-tools, UEFI that is saved, kexec --
guard=3000 # kexec reads what it needs at a snail's pace
library_flags='-O1 -std=c99'
# shellcheck disable=SC2086 # words
quiet 'launch is built' "${CC:-cc}" $library_flags "$here/launch.c" -o launch
printf disk | dd of=count conv=notrunc 2>/dev/null
printf blob >blob
run ./launch "$KTEST_CLOUD" "$top/init" count blob "$DISKS" launch
is "$status" 0 'the older Launch: status'
for line in 'from the guest' '4 processors, 2 interfaces, EFI 1' \
    'core_siblings_list 8 0-3' 'start 2' \
    'address 17 02:72:82:bf:c3:56' 'address 5 02:4b' 'by cable: from here' \
    'by cable: from there' 'tpm_version_major 1 2' 'vda 4 disk' \
    'raw 4 blob'; do
	like "$out" "^$line\$" "the older Launch: $line"
done
mkdir state
swtpm_setup --tpm2 --tpmstate "$T/state" >"$T/said" 2>&1
ok 'a TPM with its state' [ -s state/tpm2-00.permall ]
"$DISKS" sum state/tpm2-00.permall >before
if [ -f "${KTEST_FULL:-}" ]; then
	run "$KTEST" -kernel-path "$KTEST_FULL" -accel "$ACCEL" -uefi \
	    "-tpm=$T/state" -rootfs / -- sh -c 'tpm2_pcrread sha256:16 &&
	    tpm2_pcrextend 16:sha256='"$(printf %064d 1)"' &&
	    tpm2_pcrread sha256:16 && echo read &&
	    tpm2_pcrread sha256:0,1,2,3,4,5,6,7,9 && echo log &&
	    mount -t securityfs none /sys/kernel/security &&
	    tpm2_eventlog /sys/kernel/security/tpm0/binary_bios_measurements'
	is "$status" 0 'tpm2-tools: status'
	is "$(grep -c '^ *16' "$out") $(grep '^ *16' "$out" | sort -u | wc -l)" \
	    '2 2' 'tpm2-tools: a PCR is extended'
	pcrs() { sed -n "/^$1\$/,/^$2\$/s/^ *\([0-9]\) *: 0x/\1 /p" "$out" |
		tr a-f A-F; }
	pcrs read log >pcrs
	pcrs pcrs: none >replayed
	is "$(wc -l <pcrs)" 9 'tpm2-tools: what the boot measures into'
	same replayed pcrs 'a measured boot: its log explains each PCR'
	like "$out" 'EV_EFI_BOOT_SERVICES_APPLICATION' 'the kernel is in it'
	"$DISKS" sum state/tpm2-00.permall >after
	same after before "-tpm=DIR: it was a copy"
	mkfs=/sys/firmware/qemu_fw_cfg/by_name/opt/ktest/initrd/raw
	cp "$KTEST_FULL" kernel
	run "$KTEST" -kernel-path "$KTEST_FULL" -accel "$ACCEL" -machine q35 \
	    -reboot -rootfs / -mount "$T:/mnt" -- sh -c 'echo "boot $KTEST_BOOT"
	    [ "$KTEST_BOOT" = 1 ] || { cat /proc/cmdline; exit 4; }
	    cp '"$mkfs"' /tmp/initrd; sleep 1
	    kexec -l /mnt/kernel --initrd=/tmp/initrd --append="$(cat \
	    /proc/cmdline) again" && kexec -e'
	is "$status" 4 '-reboot: kexec'
	like "$out" '^boot 2$' '-reboot: kexec is a start, too'
	like "$out" ' again$' '-reboot: with the command line that it was given'
fi
for n in 1 2; do
	cloud -v -uefi -snapshot "$T/snap" -- "$GUEST" exit $n
	is "$status" "$n" "-uefi: saved, restored ($n)"
done
like "$err" 'snapshot .*: fits' '-uefi: it was'
cp /usr/share/OVMF/OVMF_VARS_4M.fd vars 2>/dev/null && {
	"$DISKS" sum vars >before
	cloud -uefi -uefi-vars vars:rw -- "$GUEST" exit 0
	"$DISKS" sum vars >after
	ok '-uefi-vars :rw: what the firmware notes is there' \
	    sh -c '! cmp -s before after'
}
is "$(ls -A "$TMPDIR")" '' 'nothing is left'
finish
