#!/bin/sh
# The original's mode: an initramfs with /init and /tester, one exit byte.
# Our launcher has to work with the original's init, and our init under the
# original's launcher.
. "$(dirname "$0")/tap.sh"

need_ktest
init=${KTEST_INIT:-${KTEST%/*}/init}
[ -f "$init" ] || skip_all "no $init"
build mkcpio mkcpio.c
mkcpio=$built
build original-init original-init.c -static
original=$built
build original-launch original-launch.c
launch=$built

# archive NAME INIT COMMAND: an initramfs; without COMMAND /tester shows its
# surroundings
archive() {
	if [ -n "$3" ]; then
		echo "$3" >"$T/command"
		"$mkcpio" "init=$2" "tester=$GUEST" "tester.cmd=$T/command" \
		    >"$T/$1.cpio"
	else
		"$mkcpio" "init=$2" "tester=$GUEST" >"$T/$1.cpio"
	fi
}

# compat_job NAME INIT COMMAND OPTIONS...
compat_job() {
	archive "$1" "$2" "$3"
	compat_name=$1
	shift 3
	job "$compat_name" "$KTEST" -kernel-path "$KTEST_TINY" -accel \
	    "$ACCEL" -initrd-path "$T/$compat_name.cpio" "$@"
}

# The console is a terminal: it ends lines with CR LF.
console_has() { # LINE WHAT
	tr -d '\r' <"$out" >"$T/console"
	if grep -Fqx -e "$1" "$T/console"; then
		pass "$2"
	else
		fail "$2"
		diag "no line: $1"
		show "$out"
		show "$err"
	fi
}

if [ -f "${KTEST_TINY:-}" ]; then
	compat_job shown "$init" ''
	for n in 0 1 77 128 255; do
		compat_job "ours$n" "$init" "exit $n"
	done
	compat_job ours11 "$init" 'raise 11'
	compat_job lines "$init" 'lines 2000'
	compat_job oursmissing "$init" ''
	"$mkcpio" "init=$init" >"$T/oursmissing.cpio"
	compat_job daemon "$init" 'daemon 21'
	compat_job hang "$init" hang -timeout 10
	compat_job reboot "$init" reboot
	compat_job panic "$init" 'exit 0' -cmdline \
	    'rdinit=/nonexistent init=/nonexistent'
	compat_job packed "$init" 'exit 22'
	gzip -c "$T/packed.cpio" >"$T/packed.gz"
	mv "$T/packed.gz" "$T/packed.cpio"

	compat_job theirshown "$original" ''
	for n in 0 1 255; do
		compat_job "theirs$n" "$original" "exit $n"
	done
	compat_job theirs11 "$original" 'raise 11'

	# Our init under the original's launcher.  Its machine is KVM's, which
	# no guest under TCG survives: only these words differ.
	khz=$("$KTEST" -n -kernel-path "$KTEST_TINY" -accel tcg \
	    -initrd-path "$T/shown.cpio" | sed -n \
	    's/.*\(tsc_early_khz=[0-9]*\).*/\1/p')
	machine=microvm,x-option-roms=off,isa-serial=off,acpi=off
	under_original() { # NAME COMMAND
		archive "$1" "$init" "$2"
		job "$1" "$launch" qemu-system-x86_64 -nodefaults \
		    -no-user-config -nographic -no-reboot -accel tcg -cpu max \
		    -m 1G -bios qboot.rom -M "$machine" \
		    -kernel "$KTEST_TINY" -append \
		    "reboot=t console=hvc0 quiet no_timer_check $khz" -initrd "$T/$1.cpio" \
		    -device virtio-rng-device,max-bytes=1024,period=1000 \
		    -device virtio-serial-device,max_ports=16 \
		    -chardev stdio,id=con0 -device virtconsole,chardev=con0
	}
	under_original launchshown ''
	for n in 0 1 255; do
		under_original "launch$n" "exit $n"
	done
	under_original launch11 'raise 11'
	jobs_run

	result shown
	is "$status" 0 'our init: status'
	console_has 'env IN_KTEST=true' 'our init: the environment'
	is "$(grep -c '^env' "$T/console")" 1 'our init: nothing else in it'
	console_has 'argument -test.v' 'our init: the argument'
	is "$(grep -c '^argument' "$T/console")" 1 'our init: no other'
	is "$(grep '^fd ' "$T/console" | tr '\n' ' ')" 'fd 0 fd 1 fd 2 ' \
	    'our init: three descriptors'
	console_has 'stdin 0' 'our init: stdin is empty'
	console_has end 'our init: the output is whole'
	empty "$err" 'our init: nothing on stderr'
	for n in 0 1 77 128 255; do
		result "ours$n"
		is "$status" "$n" "our init: status $n"
	done
	result ours11
	is "$status" 139 'our init: 128+signal'
	result lines
	i=0
	while [ $((i += 1)) -le 2000 ]; do echo "line $i"; done >"$T/lines"
	tr -d '\r' <"$out" | grep '^line' >"$T/console"
	same "$T/console" "$T/lines" 'our init: 2,000 lines of console'
	result oursmissing
	is "$status" 127 'our init: no /tester'
	result daemon
	is "$status" 21 'our init: a daemon is left behind'
	result hang
	is "$status" 124 'our init: timeout'
	like "$err" '^ktest: .*timeout' 'our init: timeout, a line says so'
	for n in reboot panic; do
		result $n
		is "$status" 125 "our init: $n"
		like "$err" '^ktest: the guest ended .* with no byte on its ' \
		    "our init: $n, a line says so"
	done
	like "$out" 'Kernel panic - not syncing: Requested init' \
	    'our init: panic, on the console'
	result packed
	is "$status" 22 'our init: a compressed initramfs'

	result theirshown
	is "$status" 0 "the original's init: status"
	console_has 'argument -test.v' "the original's init: output"
	console_has end "the original's init: the output is whole"
	for n in 0 1 255; do
		result "theirs$n"
		is "$status" "$n" "the original's init: status $n"
	done
	result theirs11
	is "$status" 255 "the original's init: a signal is 255 there"

	result launchshown
	is "$status" 0 "the original's launcher: status"
	console_has 'env IN_KTEST=true' "the original's launcher: output"
	console_has end "the original's launcher: the output is whole"
	for n in 0 1 255; do
		result "launch$n"
		is "$status" "$n" "the original's launcher: status $n"
	done
	result launch11
	is "$status" 139 "the original's launcher: 128+signal"
else
	skip 'no KTEST_TINY' "the original's mode on a small kernel"
fi

# A distribution's kernel: the initramfs brings the modules, in load order.
if [ -f "${KTEST_CLOUD:-}" ]; then
	version=${KTEST_CLOUD##*/vmlinuz-}
	drivers=${KTEST_CLOUD%/boot/*}/lib/modules/$version/kernel/drivers
	for n in virtio_ring virtio virtio_mmio virtio_console; do
		echo $n
	done >"$T/modules"
	echo 'exit 23' >"$T/command"
	"$mkcpio" "init=$init" "tester=$GUEST" "tester.cmd=$T/command" .ktest/ \
	    ".ktest/modules=$T/modules" \
	    ".ktest/virtio_ring.ko=$drivers/virtio/virtio_ring.ko" \
	    ".ktest/virtio.ko=$drivers/virtio/virtio.ko" \
	    ".ktest/virtio_mmio.ko=$drivers/virtio/virtio_mmio.ko" \
	    ".ktest/virtio_console.ko=$drivers/char/virtio_console.ko" \
	    >"$T/cloud.cpio"
	cloud -initrd-path "$T/cloud.cpio"
	is "$status" 23 'our init on a distribution kernel'
else
	skip 'no KTEST_CLOUD' 'our init on a distribution kernel'
fi
is "$(ls -A "$T/tmp")" '' 'no temporary file is left'
finish
