#!/bin/sh
# bench.sh [RUNS]: what ktest costs, beside what QEMU and the kernel cost.
#
# For each kernel, in turn and RUNS (11) times: ktest with a program that ends
# at once, and the same QEMU command line (ktest -n) without ktest, whose
# guest's init restarts at once.  Medians, and their ratio; the processor time
# of ktest alone; the sizes of ktest and init.  Prints a table; the figures
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

bench() { # NAME KERNEL
	if [ ! -f "$2" ]; then
		printf '%-8s no such kernel here\n' "$1"
		return
	fi
	: >"$T/ktest"
	: >"$T/bare"
	: >"$T/cpu"
	bench_i=0
	while [ $((bench_i += 1)) -le "$runs" ]; do
		run "$KTEST" -kernel-path "$2" -accel "$ACCEL" -- "$GUEST" \
		    exit 7
		if [ "$status" != 7 ]; then
			echo "$1: ktest ended with status $status"
			show "$err"
			exit 1
		fi
		echo "$wall_us" >>"$T/ktest"
		echo "$cpu_us" >>"$T/cpu"
		# the rate of the counter is part of it: asked each time
		command=$("$KTEST" -n -kernel-path "$2" -accel "$ACCEL" -- \
		    "$GUEST" exit 7 2>/dev/null)
		run "$BARE" "$T/reboot.cpio" "exec $command"
		if [ "$status" != 0 ]; then
			echo "$1: QEMU ended with status $status"
			show "$err"
			exit 1
		fi
		echo "$wall_us" >>"$T/bare"
	done
	bench_k=$(median "$T/ktest") bench_b=$(median "$T/bare")
	bench_r=$((bench_k * 1000 / bench_b))
	printf '%-8s %10s %10s %7d.%03d %12s\n' "$1" "$(decimal "$bench_k")" \
	    "$(decimal "$bench_b")" $((bench_r / 1000)) $((bench_r % 1000)) \
	    "$(decimal "$(median "$T/cpu")")"
}

echo "medians of $runs runs, milliseconds, -accel $ACCEL"
printf '%-8s %10s %10s %11s %12s\n' kernel ktest 'bare QEMU' ratio \
    "ktest's CPU"
bench cloud "${KTEST_CLOUD:-}"
bench full "${KTEST_FULL:-}"
bench tiny "${KTEST_TINY:-}"
for file in "$KTEST" "${KTEST%/*}/init"; do
	[ ! -f "$file" ] ||
	    printf '%-8s %10d bytes\n' "${file##*/}" "$(wc -c <"$file")"
done
tap_done=1
