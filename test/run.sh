#!/bin/sh
# run.sh: runs tests that print TAP, and sums up.
#
#	test/run.sh [-t SECONDS] [TEST...]
#
# A test is a shell script (NAME.sh) or a program. Without any: the scripts
# beside this one but the few named below. They run one after the other, each with
# an empty $TMPDIR of its own, no stdin, at most SECONDS (900), and
#
#	KTEST				the ktest to be tested (./ktest)
#	KTEST_CLOUD, KTEST_FULL, KTEST_TINY		kernels
#	KTEST_CLOUD_MODULES, KTEST_FULL_MODULES		lib/modules/VERSION
#
# each unless it is set already; a kernel that was not made is left out. What
# runs programs in real guests runs a second time, unchanged, in machines that
# are restored ("warm"): with $KTEST_SNAPSHOT and a cache of its own.
#
# What failed is shown with the lines that follow it, what was skipped with
# its reason. A test also fails as a whole, and counts one failure for it,
# when its status is not 0 although every result is ok, or when its plan is
# missing or names another number of results than it printed. The last line
# is "N passed, N failed", with ", N skipped" if any was. Exit status: 0 when
# something passed and nothing failed, else 1.

set -u

here=$(cd "$(dirname "$0")" && pwd) || exit 1
top=${here%/*}
limit=900

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

# run_one TEST: runs it, prints a line about it and what there is to say, and
# adds to the sums
run_one() {
	case $1 in
	*.sh) set -- "$1" sh "$1" ;;
	*/*) set -- "$1" "$1" ;;
	*) set -- "$1" "./$1" ;;
	esac
	mkdir "$work/tmp"
	start=$(date +%s)
	name=$1
	shift
	TMPDIR=$work/tmp timeout -k 10 "$limit" "$@" \
	    >"$work/out" 2>&1 </dev/null &
	child=$!
	wait "$child"
	status=$?
	child=
	chmod -R u+rwx "$work/tmp" 2>/dev/null
	rm -rf "$work/tmp"
	judge "$status" "$work/out" >"$work/verdict"
	counts=$(sed -n 's/^counts //p' "$work/verdict")
	report "${KTEST_SNAPSHOT:+warm }${name##*/}" $counts
}

report() {
	printf '%-24s %4d passed, %d failed, %d skipped  (%d s)\n' "$1" "$2" \
	    "$3" "$4" "$(($(date +%s) - start))"
	grep -v -e '^counts ' -e '^whole$' "$work/verdict" | sed 's/^/    /'
	if grep -qx whole "$work/verdict"; then
		echo '    the end of its output:'
		tail -n 40 "$work/out" | sed 's/^/    | /'
	fi
	passed=$((passed + $2))
	failed=$((failed + $3))
	skipped=$((skipped + $4))
}

# A signal ends the test that runs, as its own time limit would.
stop() {
	trap '' HUP INT TERM
	[ -z "$child" ] || { kill "$child" && wait "$child"; } 2>/dev/null
	exit 1
}

if [ "${1:-}" = -t ]; then
	limit=${2:?seconds}
	shift 2
fi
warm=
[ $# -gt 0 ] || {
	unset KTEST_SNAPSHOT
	warm='exit guest net rootfs signal stream tty'
}
[ $# -gt 0 ] || for script in "$here"/*.sh; do
	case ${script##*/} in
	bench.sh | bios-bench.sh | bios-guest.sh | demo.sh | kernels.sh) ;;
	run.sh | setup.sh | tap.sh) ;;
	*) set -- "$@" "$script" ;;
	esac
done

: "${KTEST:=$top/ktest}"
: "${KTEST_CLOUD=$(kernel cloud)}" "${KTEST_FULL=$(kernel full)}"
: "${KTEST_TINY=$(kernel tiny)}"
: "${KTEST_CLOUD_MODULES=$(modules "$KTEST_CLOUD")}"
: "${KTEST_FULL_MODULES=$(modules "$KTEST_FULL")}"
export KTEST KTEST_CLOUD KTEST_FULL KTEST_TINY
export KTEST_CLOUD_MODULES KTEST_FULL_MODULES

passed=0 failed=0 skipped=0 child=
work=$(mktemp -d "${TMPDIR:-/tmp}/ktest-run.XXXXXX") || die "no place to work"
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
trap stop HUP INT TERM
for test; do
	run_one "$test"
done
for name in $warm; do
	export KTEST_SNAPSHOT=auto XDG_CACHE_HOME="$work/cache"
	run_one "$here/$name.sh"
done
[ "$skipped" = 0 ] || some=", $skipped skipped"
echo "$passed passed, $failed failed${some:-}"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
