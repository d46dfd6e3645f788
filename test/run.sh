#!/bin/sh
# run.sh: runs tests that print TAP, and sums up.
#
#	test/run.sh [-j N] [-t SECONDS] [TEST...]
#
# A test is a shell script (NAME.sh) or a program. Without any: the scripts
# beside this one but the few named below. N of them run side by side (as many
# as there are processors), those that take longest first; what they have to
# say is printed whole and in the order of the list. Each has an empty $TMPDIR
# of its own, no stdin, at most SECONDS (1800), and
#
#	KTEST				the ktest to be tested (./ktest)
#	KTEST_CLOUD, KTEST_FULL, KTEST_TINY, KTEST_DEBUG	kernels
#	KTEST_CLOUD_MODULES, KTEST_FULL_MODULES		lib/modules/VERSION
#
# each unless it is set already; a kernel that was not made is left out. With
# KTEST_RUNS=all scripts do all that they know, hundreds of runs; what runs
# programs in real guests has cold starts alone then, and runs a second time in
# machines that are restored ("warm"): with $KTEST_SNAPSHOT and a cache of its
# own.
#
# What failed is shown with the lines that follow it, what was skipped with
# its reason. A test also fails as a whole, and counts one failure for it,
# when its status is not 0 although every result is ok, or when its plan is
# missing or names another number of results than it printed. A test's seconds
# are those from its beginning to its end, and those that it and its children had
# of the processors; then come the sums of both. The last line
# is "N passed, N failed", with ", N skipped" if any was. Exit status: 0 when
# something passed and nothing failed, else 1.

set -u

here=$(cd "$(dirname "$0")" && pwd) || exit 1
top=${here%/*}
limit=1800

die() {
	echo "run.sh: $*" >&2
	exit 1
}

kernel() {
	sh "$here/kernels.sh" path "$1" 2>/dev/null
}

modules() {
	[ -z "$1" ] || echo "${1%/boot/*}/lib/modules/${1##*/vmlinuz-}"
}

# judge STATUS WHOLE: reads a test's TAP; prints what is worth a line, then
# "counts PASSED FAILED SKIPPED". WHOLE is the file with all of the output.
judge() {
	awk -v status="$1" -v limit="$limit" '
	function wrong(why) {
		print "not ok - " why
		failed++
		broken = 1
	}
	/^(not )?ok( |$)/ {
		seen++
		number = ($1 == "not") ? $3 : $2
		if (number ~ /^[0-9]+$/ && number != seen && !misnumbered)
			misnumbered = "result " seen " has the number " number
		show = 0
		if ($1 == "not") {
			failed++
			show = 1
		} else if (match($0, /# [Ss][Kk][Ii][Pp]/)) {
			skipped++
			print
		} else
			passed++
	}
	/^1\.\.[0-9]+/ {
		plans++
		split($1, plan, /\.\./)
		show = 0
		if (plan[2] == 0 && match($0, /# [Ss][Kk][Ii][Pp]/)) {
			skipped++
			all_skipped = 1
			print
		}
	}
	/^Bail out!/ { show = 1 }
	show
	END {
		if (status == 124)
			wrong("still ran after " limit " s")
		else if (plans != 1)
			wrong("printed " (plans + 0) " plans, not 1; " \
			    "ended with status " status)
		else if (plan[2] != seen)
			wrong("planned " plan[2] " results, printed " \
			    (seen + 0))
		else if (misnumbered)
			wrong(misnumbered)
		else if (seen == 0 && !all_skipped)
			wrong("ran nothing")
		else if (status != 0 && !failed)
			wrong("ended with status " status)
		if (broken)
			print "whole"
		print "counts", passed + 0, failed + 0, skipped + 0
	}' "$2"
}

# run_one N TEST: runs it in $work/N, and leaves there what is to be printed
# (said) and added up (counts)
run_one() {
	dir=$work/$1 name=${2##*/} file=${2#*:}
	case $2 in
	warm:*)
		name="warm $name"
		set -- env KTEST_SNAPSHOT=auto XDG_CACHE_HOME="$work/cache" ;;
	*) set -- env ;;
	esac
	case $file in
	*.sh) set -- "$@" sh "$file" ;;
	*/*) set -- "$@" "$file" ;;
	*) set -- "$@" "./$file" ;;
	esac
	mkdir "$dir/tmp"
	start=$(date +%s)
	times >"$dir/before"
	TMPDIR=$dir/tmp timeout -k 10 "$limit" "$@" >"$dir/out" 2>&1 \
	    </dev/null &
	child=$!
	wait "$child"
	status=$?
	child=
	chmod -R u+rwx "$dir/tmp" 2>/dev/null
	rm -rf "$dir/tmp"
	times >"$dir/after"
	judge "$status" "$dir/out" >"$dir/verdict"
	echo "$(sed -n 's/^counts //p' "$dir/verdict") $(cpu_used "$dir")" \
	    >"$dir/counts"
	report "$name" "$dir" $(cat "$dir/counts") >"$dir/said"
}

# cpu_used DIRECTORY: the seconds that the children had of the processors
# between two calls of times: its second line, of theirs, is "1m2.3s 4m5.6s"
cpu_used() {
	awk -F '[ms ]+' 'FNR == 2 {
		sum = 60 * ($1 + $3) + $2 + $4 - sum
	}
	END { printf "%d\n", sum }' "$1/before" "$1/after"
}

# report NAME DIRECTORY PASSED FAILED SKIPPED CPU-SECONDS
report() {
	printf '%-24s %4d passed, %d failed, %d skipped  (%d s, CPU %d s)\n' \
	    "$1" "$3" "$4" "$5" "$(($(date +%s) - start))" "$6"
	grep -v -e '^counts ' -e '^whole$' "$2/verdict" | sed 's/^/    /'
	if grep -qx whole "$2/verdict"; then
		echo '    the end of its output:'
		tail -n 40 "$2/out" | sed 's/^/    | /'
	fi
}

# A signal ends a test that runs as its own time limit would.
stop_test() {
	trap '' HUP INT TERM
	[ -z "$child" ] || { kill "$child" && wait "$child"; } 2>/dev/null
	exit 1
}

# worker TEST...: runs those that no other worker has begun, and prints the
# number of each that has ended
worker() {
	child=
	trap stop_test HUP INT TERM
	for n in $order; do
		mkdir "$work/$n" 2>/dev/null || continue
		eval "run_one $n \"\${$n}\""
		echo "$n"
	done
}

stop() {
	trap '' HUP INT TERM
	kill $workers 2>/dev/null
	wait
	exit 1
}

# print_ended: all that have ended, up to the first that has not
print_ended() {
	while [ -f "$work/$((printed + 1))/ended" ]; do
		printed=$((printed + 1))
		cat "$work/$printed/said"
		read -r p f s c <"$work/$printed/counts"
		passed=$((passed + p)) failed=$((failed + f))
		skipped=$((skipped + s)) cpu=$((cpu + c))
	done
}

# in_turn TEST...: their numbers in the order in which they are begun
in_turn() {
	for first in $longest; do
		n=0
		for test; do
			n=$((n + 1))
			case $test in
			"${first%%:*}":*/"${first#*:}".sh) echo "$n" ;;
			esac
		done
	done
	seq $#
}

at_once=$(getconf _NPROCESSORS_ONLN 2>/dev/null) || at_once=1
while getopts j:t: option; do
	case $option in
	j) at_once=$OPTARG ;;
	t) limit=$OPTARG ;;
	*) exit 1 ;;
	esac
done
shift $((OPTIND - 1))
[ "$at_once" -gt 0 ] || die "-j $at_once: is not a number above 0"

# Those of a minute and more
longest='cold:kvm cold:arch cold:lint cold:health cold:warm cold:stream
	cold:hostile cold:net cold:guest cold:runners cold:hang cold:each
	cold:bios cold:kernel cold:machine cold:disk cold:embed cold:wrapper
	cold:unit cold:reader cold:exit cold:auto cold:rootfs cold:verdict
	warm:stream warm:net warm:rootfs'
warm=
[ $# -gt 0 ] || {
	unset KTEST_SNAPSHOT
	[ "${KTEST_RUNS:-}" != all ] ||
		warm='exit guest hostile net rootfs signal stream tty'
}
[ $# -gt 0 ] || for script in "$here"/*.sh; do
	case ${script##*/} in
	bench.sh | bios-bench.sh | bios-guest.sh | demo.sh | images.sh) ;;
	kernels.sh) ;;
	matrix.sh | suite.sh) ;;
	run.sh | setup.sh | tap.sh) ;;
	*) set -- "$@" "$script" ;;
	esac
done
for test; do
	shift
	set -- "$@" "cold:$test"
done
for name in $warm; do
	set -- "$@" "warm:$here/$name.sh"
done
[ "$at_once" -le $# ] || at_once=$#

: "${KTEST:=$top/ktest}"
: "${KTEST_CLOUD=$(kernel cloud)}" "${KTEST_FULL=$(kernel full)}"
: "${KTEST_TINY=$(kernel tiny)}" "${KTEST_DEBUG=$(kernel debug)}"
: "${KTEST_CLOUD_MODULES=$(modules "$KTEST_CLOUD")}"
: "${KTEST_FULL_MODULES=$(modules "$KTEST_FULL")}"
export KTEST KTEST_CLOUD KTEST_FULL KTEST_TINY KTEST_DEBUG
export KTEST_CLOUD_MODULES KTEST_FULL_MODULES

printed=0 passed=0 failed=0 skipped=0 cpu=0 workers=
begun=$(date +%s)
work=$(mktemp -d "${TMPDIR:-/tmp}/ktest-run.XXXXXX") || die "no place to work"
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
trap stop HUP INT TERM
order=
[ "$at_once" = 1 ] || order=$(in_turn "$@")
[ -n "$order" ] || order=$(seq $#)

# The workers' end of this pipe is all that is open for writing when the first
# line is read: it ends with the last of them.
mkfifo "$work/ended"
exec 8<>"$work/ended"
n=0
while [ $((n += 1)) -le "$at_once" ]; do
	worker "$@" >&8 8>&- &
	workers="$workers $!"
done
exec 9<"$work/ended" 8>&-
while read -r n <&9; do
	: >"$work/$n/ended"
	print_ended
done
[ "$printed" = $# ] || die "only $printed of $# tests were run to their end"
echo "$(($(date +%s) - begun)) s, CPU $cpu s"
[ "$skipped" = 0 ] || some=", $skipped skipped"
echo "$passed passed, $failed failed${some:-}"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
