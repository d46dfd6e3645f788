#!/bin/sh
# bench.sh [RUNS]: what ktest costs, beside what QEMU and the kernel cost.
#
# For each kernel, in turn and RUNS (11) times: ktest with a program that ends
# at once, and the same QEMU command line (ktest -n) without ktest, whose
# guest's init restarts at once.  Medians, and their ratio; the processor time
# of ktest alone; the sizes of ktest and init.  The same with the host's root
# over 9p, where bare QEMU has that device, too, but runs nothing from it; and
# how fast files are that way (files.c).  Prints a table; the figures
# are for comparing, so the exit status says only whether all of it ran.
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
runs=${1:-11}
build bare bare.c
BARE=$built
build reboot-init reboot-init.c -static
REBOOT=$built
build mkcpio mkcpio.c
"$built" "init=$REBOOT" >"$T/reboot.cpio"

median() { # FILE: of its lines, numbers
	sort -n "$1" | sed -n "$(($(wc -l <"$1") / 2 + 1))p"
}

decimal() { # MICROSECONDS: as milliseconds
	printf '%d.%d' $(($1 / 1000)) $(($1 % 1000 / 100))
}

bench() { # NAME KERNEL [OPTION... -- PROGRAM, which ends with 0]
	bench_name=$1 bench_kernel=$2 bench_want=0
	shift 2
	if [ ! -f "$bench_kernel" ]; then
		printf '%-8s no such kernel here\n' "$bench_name"
		return
	fi
	if [ $# = 0 ]; then
		bench_want=7
		set -- -- "$GUEST" exit 7
	fi
	: >"$T/ktest"
	: >"$T/bare"
	: >"$T/cpu"
	bench_i=0
	while [ $((bench_i += 1)) -le "$runs" ]; do
		run "$KTEST" -kernel-path "$bench_kernel" -accel "$ACCEL" "$@"
		if [ "$status" != "$bench_want" ]; then
			echo "$bench_name: ktest ended with status $status"
			show "$err"
			exit 1
		fi
		echo "$wall_us" >>"$T/ktest"
		echo "$cpu_us" >>"$T/cpu"
		# the rate of the counter is part of it: asked each time
		command=$("$KTEST" -n -kernel-path "$bench_kernel" -accel \
		    "$ACCEL" "$@" 2>/dev/null)
		run "$BARE" "$T/reboot.cpio" "exec $command"
		if [ "$status" != 0 ]; then
			echo "$bench_name: QEMU ended with status $status"
			show "$err"
			exit 1
		fi
		echo "$wall_us" >>"$T/bare"
	done
	bench_k=$(median "$T/ktest") bench_b=$(median "$T/bare")
	bench_r=$((bench_k * 1000 / bench_b))
	printf '%-8s %10s %10s %7d.%03d %12s\n' "$bench_name" \
	    "$(decimal "$bench_k")" "$(decimal "$bench_b")" $((bench_r / 1000)) $((bench_r % 1000)) \
	    "$(decimal "$(median "$T/cpu")")"
}

echo "medians of $runs runs, milliseconds, -accel $ACCEL"
printf '%-8s %10s %10s %11s %12s\n' kernel ktest 'bare QEMU' ratio \
    "ktest's CPU"
bench cloud "${KTEST_CLOUD:-}"
bench full "${KTEST_FULL:-}"
bench tiny "${KTEST_TINY:-}"
bench full-9p "${KTEST_FULL:-}" -rootfs / -cwd / -- true
bench tiny-9p "${KTEST_TINY:-}" -rootfs / -cwd / -- true

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
