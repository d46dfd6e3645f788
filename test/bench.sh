#!/bin/sh
# bench.sh [RUNS]: what ktest costs, beside what QEMU and the kernel cost.
#
# For each kernel, in turn and RUNS (11) times, a program that ends at once:
#
#	cold	ktest
#	bare	the same QEMU command line (ktest -n) without ktest, with the
#		kernel as it was given; its guest's init restarts at once
#	boot	the same with the kernel that ktest has unpacked
#	warm	ktest -snapshot, with a file that fits
#	start	QEMU with that machine and kernel and -S, told to quit by its
#		monitor
#
# First, by blocks.sh, the blocks of guest code that QEMU translates when warm, a
# measure that noise does not touch, by phase: of these kernels, of those that
# matrix.sh has left, and of arm64's; with KTEST set to another ktest, its own.
# Medians and ratios; the processor time of ktest alone when cold. Then, warm on
# the first kernel: by memory; eight at once against one after another; QEMU's
# memory. The same rows with the host's root over 9p, where bare QEMU has that
# device, too, but runs nothing from it, and how fast files are that way
# (files.c). Sizes of ktest and init. Prints tables; the figures are for
# comparing, so the exit status says only whether all of it ran.
lib=$(dirname "$0")/tap # not itself a test: run.sh looks for the literal name
. "$lib.sh"

need_ktest
for name in cloud full tiny; do
	path=$(sh "$(dirname "$0")/kernels.sh" path $name)
	case $name in
	cloud) : "${KTEST_CLOUD=$path}" ;;
	full) : "${KTEST_FULL=$path}" ;;
	tiny) : "${KTEST_TINY=$path}" ;;
	esac
done
unset KTEST_SNAPSHOT
runs=${1:-11}
build bare bare.c
BARE=$built
build reboot-init reboot-init.c -static
REBOOT=$built
build mkcpio mkcpio.c
MKCPIO=$built
"$MKCPIO" "init=$REBOOT" >"$T/reboot.cpio"

cat >"$T/qemu" <<end
#!/bin/sh
for arg; do
	case \$arg in
	/proc/self/fd/*) [ "\$last" != -kernel ] || cat "\$arg" >"$T/kernel" ;;
	esac
	last=\$arg
done
exec qemu-system-$(uname -m) "\$@"
end
chmod 755 "$T/qemu"

median() { # FILE: of its lines, numbers
	sort -n "$1" | sed -n "$(($(wc -l <"$1") / 2 + 1))p"
}

decimal() { # MICROSECONDS: as milliseconds
	printf '%d.%d' $(($1 / 1000)) $(($1 % 1000 / 100))
}

ratio() { # A B: A/B
	printf '%d.%03d' $(($1 / $2)) $(($1 * 1000 / $2 % 1000))
}

rounds() { # A B: the median of A/B in each round: both met the same noise
	paste "$T/$1" "$T/$2" | awk '{ printf "%.3f\n", $1 / $2 }' >"$T/rounds"
	median "$T/rounds"
}

timed() { # FILE STATUS COMMAND...: adds its time to the file
	timed_file=$1 timed_status=$2
	shift 2
	run "$@"
	if [ "$status" != "$timed_status" ]; then
		echo "$timed_file: it ended with status $status"
		show "$err"
		exit 1
	fi
	echo "$wall_us" >>"$T/$timed_file"
}

# shellcheck disable=SC2086 # a program and its arguments
timed_ktest() { # FILE KERNEL OPTIONS...: $program
	timed_file=$1 timed_kernel=$2
	shift 2
	timed "$timed_file" 0 "$KTEST" -kernel-path "$timed_kernel" \
	    -accel "$ACCEL" "$@" -- $program
}

# qemu_command KERNEL OPTIONS...: $command is ktest's; where that unpacks the
# kernel, it is the file that $T/qemu keeps
# shellcheck disable=SC2086
qemu_command() {
	qemu_kernel=$1
	shift
	command=$("$KTEST" -n -kernel-path "$qemu_kernel" -accel "$ACCEL" \
	    "$@" -- $program 2>/dev/null |
	    sed "s,-kernel /proc/[^ ]*,-kernel $T/kernel,")
}

kernel() { # NAME FILE [OPTION...]: a row
	kernel_name=$1 kernel_file=$2
	shift 2
	if [ ! -f "$kernel_file" ]; then
		printf '%-7s no such kernel here\n' "$kernel_name"
		return
	fi
	rm -f "$T/cold" "$T/bare" "$T/boot" "$T/warm" "$T/start" "$T/cpu"
	timed_ktest saved "$kernel_file" -snapshot "$T/$kernel_name.snapshot" \
	    "$@"
	qemu_command "$kernel_file" "$@"
	case $command in
	*"-kernel $T/kernel "*)
		timed_ktest saved "$kernel_file" -qemu "$T/qemu" "$@" ;;
	esac
	kernel_i=0
	while [ $((kernel_i += 1)) -le "$runs" ]; do
		timed_ktest cold "$kernel_file" "$@"
		echo "$cpu_us" >>"$T/cpu"
		timed_ktest warm "$kernel_file" \
		    -snapshot "$T/$kernel_name.snapshot" "$@"
		# the rate of the counter is part of it: asked each time
		qemu_command "$kernel_file" -unpack off "$@"
		timed bare 0 "$BARE" "$T/reboot.cpio" "exec $command"
		qemu_command "$kernel_file" "$@"
		timed boot 0 "$BARE" "$T/reboot.cpio" "exec $command"
		timed start 0 sh -c "echo quit | $(echo "$command" |
		    sed 's/ -device .*-kernel/ -kernel/; s/ -append.*//
			s/ -chardev [^ ]* -mon [^ ]*//
			') -S -monitor stdio >/dev/null"
	done
	printf '%-7s' "$kernel_name"
	for kernel_i in cold bare boot cpu warm start; do
		printf ' %7s' "$(decimal "$(median "$T/$kernel_i")")"
	done
	printf ' %9s %9s %9s %10s\n' "$(rounds cold bare)" \
	    "$(rounds cold boot)" "$(rounds warm cold)" \
	    "$(rounds warm start)"
}

by_memory() { # KERNEL
	for size in 128M 512M 2G; do
		timed_ktest saved "$1" -memory $size -snapshot "$T/$size"
		rm -f "$T/warm.$size"
	done
	by_i=0
	while [ $((by_i += 1)) -le "$runs" ]; do
		for size in 128M 512M 2G; do
			timed_ktest warm.$size "$1" -memory $size \
			    -snapshot "$T/$size"
		done
	done
	printf 'warm, by -memory:'
	for size in 128M 512M 2G; do
		printf '  %s %s' $size "$(decimal "$(median "$T/warm.$size")")"
		rm "$T/$size"
	done
	echo
}

at_once() { # KERNEL SNAPSHOT: medians of what eight take
	rm -f "$T/row" "$T/once"
	# shellcheck disable=SC2016
	for i in 1 2 3 4 5 6 7; do
		timed row 0 sh -c 'for i in 1 2 3 4 5 6 7 8; do
			"$@" || exit; done' sh "$KTEST" -kernel-path "$1" \
		    -accel "$ACCEL" -snapshot "$2" -- "$GUEST" exit 0
		timed once 0 sh -c 'p=
			for i in 1 2 3 4 5 6 7 8; do "$@" & p="$p $!"; done
			for i in $p; do wait $i || exit; done' sh "$KTEST" \
		    -kernel-path "$1" -accel "$ACCEL" -snapshot "$2" -- \
		    "$GUEST" exit 0
	done
	once_a=$(median "$T/row") once_b=$(median "$T/once")
	printf 'warm, eight:  one after another %s, at once %s, ratio %s\n' \
	    "$(decimal "$once_a")" "$(decimal "$once_b")" \
	    "$(ratio "$once_a" "$once_b")"
}

waiting() { # COUNT KERNEL SNAPSHOT: KiB of so many QEMUs whose guests wait
	waiting_pids= waiting_sum=0 waiting_i=0
	while [ $((waiting_i += 1)) -le "$1" ]; do
		"$KTEST" -v -kernel-path "$2" -accel "$ACCEL" -snapshot "$3" \
		    -- "$GUEST" hang >"$T/w.$waiting_i" 2>"$T/v.$waiting_i" \
		    </dev/null &
		waiting_pids="$waiting_pids $!"
	done
	waiting_i=0
	while [ $((waiting_i += 1)) -le "$1" ]; do
		until_true grep -q ready "$T/w.$waiting_i"
	done
	waiting_i=0
	while [ $((waiting_i += 1)) -le "$1" ]; do
		waiting_qemu=$(sed -n 's/.*QEMU runs: pid \([0-9]*\).*/\1/p' \
		    "$T/v.$waiting_i" | tail -n 1)
		waiting_sum=$((waiting_sum + $(sed -n \
		    's/^Pss: *\([0-9]*\) kB/\1/p' \
		    "/proc/$waiting_qemu/smaps_rollup")))
	done
	# shellcheck disable=SC2086 # numbers
	{ kill $waiting_pids; wait $waiting_pids; } 2>/dev/null
}

memory() { # KERNEL SNAPSHOT
	waiting 1 "$@"
	memory_one=$waiting_sum
	waiting 8 "$@"
	printf "QEMU's memory (Pss, MiB):  one %s, each of seven more %s\n" \
	    "$(ratio $memory_one 1024)" \
	    "$(ratio $(((waiting_sum - memory_one) / 7)) 1024)"
}

program="$GUEST exit 0"
blocks() { # NAME KERNEL
	[ ! -f "$2" ] || { printf '%s, ' "$1"; sh "$here/blocks.sh" "$2"; }
}
blocks cloud "${KTEST_CLOUD:-}"
blocks full "${KTEST_FULL:-}"
blocks tiny "${KTEST_TINY:-}"
for path in "$top"/build/matrix/*/ktest/build/kernels/cloud/boot/vmlinuz-*; do
	blocks "${path##*/vmlinuz-}" "$path"
done
command -v aarch64-linux-gnu-gcc >/dev/null &&
    make -s -C "$top" init-aarch64 >/dev/null 2>&1 && (
	export ARCH=aarch64
	blocks arm64 "$(sh "$here/kernels.sh" path arm64)"
)
echo "medians of $runs runs, milliseconds, -accel $ACCEL"
printf '%-7s %7s %7s %7s %7s %7s %7s %9s %9s %9s %10s\n' kernel cold bare boot CPU \
    warm start cold/bare cold/boot warm/cold warm/start
kernel cloud "${KTEST_CLOUD:-}"
kernel full "${KTEST_FULL:-}"
kernel tiny "${KTEST_TINY:-}"
program=true
kernel full-9p "${KTEST_FULL:-}" -rootfs / -cwd /
kernel tiny-9p "${KTEST_TINY:-}" -rootfs / -cwd /
for name in arm64:aarch64 riscv64:riscv64 s390x:s390x; do
	arch=${name#*:} name=${name%:*}
	path=$(sh "$here/kernels.sh" path $name) || continue
	command -v "$arch-linux-gnu-gcc" >/dev/null &&
	    make -s -C "$top" "init-$arch" >/dev/null 2>&1 || continue
	CC=$arch-linux-gnu-gcc build "reboot-init-$arch" reboot-init.c -static
	"$MKCPIO" "init=$built" >"$T/reboot.cpio"
	CC=$arch-linux-gnu-gcc build "guest-$arch" guest.c -static
	program="$built exit 0"
	kernel $name "$path"
done
program="$GUEST exit 0"
for name in cloud full tiny; do
	[ -f "$T/$name.snapshot" ] || continue
	case $name in
	cloud) first=$KTEST_CLOUD ;;
	full) first=$KTEST_FULL ;;
	tiny) first=$KTEST_TINY ;;
	esac
	by_memory "$first"
	at_once "$first" "$T/$name.snapshot"
	memory "$first" "$T/$name.snapshot"
	break
done
# nine_p WHAT UNIT N OPTION... -- PROGRAM...: N of them a second, boot included
nine_p() {
	nine_what=$1 nine_unit=$2 nine_n=$3
	shift 3
	run "$KTEST" -kernel-path "$KTEST_TINY" -accel "$ACCEL" "$@"
	if [ "$status" != 0 ]; then
		echo "9p, $nine_what: status $status"
		exit 1
	fi
	printf '9p, %-24s %8d %s\n' "$nine_what" \
	    $((nine_n * 1000000 / wall_us)) "$nine_unit"
}

if [ -f "${KTEST_TINY:-}" ]; then
	build files files.c -static
	mkdir "$T/9p" "$T/many"
	"$built" fill "$T/9p/read" 1024 >/dev/null
	"$built" make "$T/many" 20000
	nine_p 'read' MiB/s 1024 -mount "$T/9p:/d" -- "$built" sum /d/read
	nine_p 'read, rw' MiB/s 1024 -mount "$T/9p:/d:rw" -- "$built" \
	    sum /d/read
	nine_p 'written, rw' MiB/s 1024 -mount "$T/9p:/d:rw" -- "$built" \
	    fill /d/write 1024
	nine_p 'listed' names/s 20000 -mount "$T/many:/d" -- "$built" list /d
	nine_p 'opened and read' files/s 20000 -mount "$T/many:/d" -- \
	    "$built" tree /d
fi
for file in "$KTEST" "${KTEST%/*}/init"; do
	[ ! -f "$file" ] ||
	    printf '%-8s %10d bytes\n' "${file##*/}" "$(wc -c <"$file")"
done
tap_done=1
