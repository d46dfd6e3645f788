# tap.sh: what the test scripts share; sourced, not run.
#
#	. "$(dirname "$0")/tap.sh"
#
# Every script prints TAP: one `ok` or `not ok` line per check and the plan
# `1..N` at its end.  One that dies on the way prints "Bail out!" and ends
# with a status other than 0, so that a missing half is never a pass.
#
# From the environment, all of it optional:
#	KTEST		the ktest to be tested (./ktest)
#	KTEST_CLOUD	a distribution's kernel, everything virtio a module
#	KTEST_FULL	a distribution's kernel, slower to unpack
#	KTEST_TINY	a small ELF kernel without PCI and modules
#	KTEST_DEBUG	the same, which finds its own faults (debug.config)
#	KTEST_ACCEL	kvm or tcg (tcg): what the guests run on
#	TMPDIR		where the script may write; it makes its own when unset
#	CC		the compiler (cc)
#
# The script finds in $T a directory of its own, in $out, $err, $status,
# $signal, $hang, $left and $stay what `run` or `result` saw last (hold.c
# says what they are); $code is the status as a number, whatever else was wrong.

set -u
LC_ALL=C
export LC_ALL
umask 022
unset KTEST_KERNEL KTEST_QEMU KTEST_OPTIONS

here=$(cd "$(dirname "$0")" && pwd)
top=${here%/*}
case ${KTEST:=$top/ktest} in
*/*) KTEST=$(cd "$(dirname "$KTEST")" && pwd)/${KTEST##*/} ;;
esac
ACCEL=${KTEST_ACCEL:-tcg}
guard=${KTEST_GUARD:-300}	# seconds after which a run counts as hung
nl='
'

tap_n=0
tap_bad=0
tap_done=

T=${TMPDIR:-/tmp}
T=$(mktemp -d "$T/ktest-test.XXXXXX") || exit 1
chmod 755 "$T"
mkdir "$T/jobs" "$T/tmp"
TMPDIR=$T/tmp	# what is started here leaves nothing in it
export TMPDIR

tap_exit() {
	tap_status=$?
	trap - 0 1 2 15
	rm -rf "$T"
	if [ -z "$tap_done" ]; then
		echo "Bail out! ${0##*/} ended early, status $tap_status"
		exit 1
	fi
	[ "$tap_bad" = 0 ] || exit 1
}
trap tap_exit 0
trap 'exit 129' 1
trap 'exit 130' 2
trap 'exit 143' 15

# finish: prints the plan; the last line of a script
finish() {
	echo "1..$tap_n"
	tap_done=1
	exit
}

# skip_all REASON: the script cannot run here
skip_all() {
	echo "1..0 # SKIP $1"
	tap_done=1
	exit
}

diag() {
	printf '%s\n' "$*" | sed 's/^/# /'
}

pass() {
	tap_n=$((tap_n + 1))
	printf 'ok %d - %s\n' "$tap_n" "$1"
}

fail() {
	tap_n=$((tap_n + 1))
	tap_bad=$((tap_bad + 1))
	printf 'not ok %d - %s\n' "$tap_n" "$1"
}

# skip REASON WHAT
skip() {
	tap_n=$((tap_n + 1))
	printf 'ok %d - %s # SKIP %s\n' "$tap_n" "$2" "$1"
}

# show FILE: a few lines of it as diagnostics
show() {
	[ -s "$1" ] || { diag "${1##*/}: empty"; return; }
	diag "${1##*/}, $(wc -c <"$1") bytes:"
	tail -n 12 "$1" | cut -c 1-300 | tr -c '\12\40-\176' '?' | sed 's/^/#   /'
}

# quiet WHAT COMMAND...: the command succeeds and says nothing
quiet() {
	quiet_what=$1
	shift
	if "$@" >"$T/said" 2>&1 && [ ! -s "$T/said" ]; then
		pass "$quiet_what"
	else
		fail "$quiet_what"
		diag "failed or not silent: $*"
		show "$T/said"
	fi
}

# ok WHAT COMMAND...: the command succeeds
ok() {
	ok_what=$1
	shift
	if "$@"; then
		pass "$ok_what"
	else
		fail "$ok_what"
		diag "failed: $*"
		show "$err"
	fi
}

# is GOT WANT WHAT: two strings are equal
is() {
	if [ "$1" = "$2" ]; then
		pass "$3"
	else
		fail "$3"
		diag "got:    $1"
		diag "wanted: $2"
		show "$err"
	fi
}

# like FILE REGEX WHAT: a line of the file matches
like() {
	if grep -Eq -e "$2" "$1"; then
		pass "$3"
	else
		fail "$3"
		diag "no line like: $2"
		show "$1"
	fi
}

# unlike FILE REGEX WHAT: no line of the file matches
unlike() {
	if grep -Eq -e "$2" "$1"; then
		fail "$3"
		diag "a line like: $2"
		show "$1"
	else
		pass "$3"
	fi
}

# same GOT WANT WHAT: two files have the same bytes
same() {
	if cmp -s "$1" "$2"; then
		pass "$3"
	else
		fail "$3"
		diag "$(cmp "$1" "$2" 2>&1)"
		show "$1"
		show "$err"
	fi
}

# text FILE STRING WHAT: the file is the string, byte for byte
text() {
	printf '%s' "$2" >"$T/text"
	same "$1" "$T/text" "$3"
}

# empty FILE WHAT
empty() {
	text "$1" '' "$2"
}

# one_line FILE WHAT: one line that starts with "ktest: "
one_line() {
	if [ "$(wc -l <"$1")" = 1 ] && grep -q '^ktest: .' "$1"; then
		pass "$2"
	else
		fail "$2"
		show "$1"
	fi
}

# quote STRING: as one word of the shell
quote() {
	printf '%s\n' "$1" | sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/'/"
}

# result NAME: what became of the job; $status says so when it hung or left
# processes behind, so that no comparison with a number holds then
result() {
	out=$T/jobs/$1.out
	err=$T/jobs/$1.err
	status=none signal=0 hang=0 wall_us=0 cpu_us=0 left=0 stay=0 names=
	[ -f "$T/jobs/$1.report" ] && . "$T/jobs/$1.report"
	code=$status
	[ "$hang" = 0 ] || status=hang
	[ "$left" = 0 ] || status="$status, left behind: $names"
}

# run_in FILE COMMAND...: the command with FILE as its stdin
run_in() {
	run_stdin=$1
	shift
	rm -f "$T/jobs/run.report"
	"$HOLD" -o "$T/jobs/run.report" -t "$guard" "$@" <"$run_stdin" \
	    >"$T/jobs/run.out" 2>"$T/jobs/run.err"
	result run
}

run() {
	run_in /dev/null "$@"
}

# job NAME COMMAND...: notes a command for jobs_run; $T/jobs/NAME.in may be
# laid down as its stdin
job() {
	job_name=$1
	shift
	for job_arg; do
		printf '%s ' "$(quote "$job_arg")"
	done >"$T/jobs/$job_name.cmd"
	echo "$job_name" >>"$T/jobs/list"
}

jobs_worker() {
	while read -r job_name; do
		mkdir "$T/jobs/$job_name.taken" 2>/dev/null || continue
		job_base=$T/jobs/$job_name
		job_in=/dev/null
		[ ! -f "$job_base.in" ] || job_in=$job_base.in
		eval "set -- $(cat "$job_base.cmd")"
		"$HOLD" -o "$job_base.report" -t "$guard" "$@" <"$job_in" \
		    >"$job_base.out" 2>"$job_base.err"
	done <"$T/jobs/list"
}

# jobs_run [N]: runs all noted jobs, N (2) at a time, and waits for them. Other
# scripts may do so beside this one: two guests on one processor take no more
# of its time than one after the other, and what waits leaves it to the rest.
jobs_run() {
	jobs_n=${1:-2} jobs_pids=
	while [ $((jobs_n -= 1)) -gt 0 ]; do
		jobs_worker &
		jobs_pids="$jobs_pids $!"
	done
	jobs_worker
	# shellcheck disable=SC2086 # a list of numbers
	wait $jobs_pids
	rm "$T/jobs/list"
}

# build NAME SOURCE [FLAGS...]: build/test/NAME, made anew when older than
# its source, or than ktest.c when that is part of it; $built is its path. Other
# scripts may build the same meanwhile: what is there is whole, and stays.
build() {
	build_dir=$top/build/test
	mkdir -p "$build_dir" 2>/dev/null && [ -w "$build_dir" ] || build_dir=$T
	built=$build_dir/$1
	build_src=$here/$2
	shift 2
	build_than=$build_src
	! grep -q '^#include "../ktest.c"' "$build_src" ||
		build_than=$top/ktest.c
	[ -z "$(find "$built" -newer "$build_src" -newer "$build_than" \
	    2>/dev/null)" ] || return 0
	if ! ${CC:-cc} -O1 -o "$built.$$" "$build_src" "$@"; then
		echo "Bail out! $build_src does not compile"
		exit 1
	fi
	mv "$built.$$" "$built"
}

build hold hold.c
HOLD=$built
build guest guest.c -static
GUEST=$built
err=/dev/null

# The wait for an event: `until_true COMMAND...` runs it every 50 ms until it
# succeeds; after $guard seconds that is a failure.
until_true() {
	until_n=$((guard * 20))
	while ! "$@" 2>/dev/null; do
		until_n=$((until_n - 1))
		[ "$until_n" -gt 0 ] || return 1
		sleep 0.05
	done
}

# ports COUNT: $port + 1 to $port + COUNT are free ports of 127.0.0.1, TCP and
# UDP, that no other script has until this one ends (it holds fd 6 till then)
ports() {
	build net-guest net-guest.c -static
	mkfifo "$T/lease"
	("$built" lease "$1" <"$T/lease" >"$T/port" 2>/dev/null &)
	exec 6>"$T/lease"
	until_true [ -s "$T/port" ] || exit
	port=$(cat "$T/port")
}

# need_ktest, need_cloud, need_tiny, need_full
need_ktest() {
	[ -x "$KTEST" ] || skip_all "no $KTEST"
}

need_cloud() {
	need_ktest
	[ -f "${KTEST_CLOUD:-}" ] || skip_all 'no KTEST_CLOUD'
}

# restore_most: from here on a guest's machine is restored, but where the script
# has -snapshot none; with KTEST_RUNS=all all of them are cold (and run.sh runs
# the script again, warm)
restore_most() {
	[ -z "${KTEST_SNAPSHOT:-}" ] && [ "${KTEST_RUNS:-}" != all ] ||
		return 0
	KTEST_SNAPSHOT=auto
	XDG_CACHE_HOME=$T/cache
	export KTEST_SNAPSHOT XDG_CACHE_HOME
}

# cloud OPTIONS... -- PROGRAM...: a guest with the distribution kernel
cloud() {
	run "$KTEST" -kernel-path "$KTEST_CLOUD" -accel "$ACCEL" "$@"
}

# cloud_job NAME OPTIONS... -- PROGRAM...
cloud_job() {
	cloud_name=$1
	shift
	job "$cloud_name" "$KTEST" -kernel-path "$KTEST_CLOUD" \
	    -accel "$ACCEL" "$@"
}

tiny_job() {
	tiny_name=$1
	shift
	job "$tiny_name" "$KTEST" -kernel-path "$KTEST_TINY" \
	    -accel "$ACCEL" "$@"
}

# fake_setup: $FAKE, a stand-in for QEMU (fake-qemu.c), and $FAKE_KERNEL, a
# file that looks like a bzImage, with modules.dep where it belongs
fake_setup() {
	build fake-qemu fake-qemu.c
	FAKE=$built
	build mkkernel mkkernel.c
	mkkernel=$built
	mkdir -p "$T/k/boot" "$T/k/lib/modules/9.9.9-fake"
	FAKE_KERNEL=$T/k/boot/vmlinuz-9.9.9-fake
	"$mkkernel" bzimage 9.9.9-fake >"$FAKE_KERNEL"
	: >"$T/k/lib/modules/9.9.9-fake/modules.dep"
	for fake_module in drivers/virtio/virtio drivers/virtio/virtio_ring \
	    drivers/virtio/virtio_mmio drivers/char/virtio_console \
	    drivers/char/hw_random/virtio-rng; do
		echo "kernel/$fake_module.ko"
	done >"$T/k/lib/modules/9.9.9-fake/modules.builtin"
	FAKE_LOG=$T/log/start
	export FAKE_LOG
	mkdir -p "$T/log"
}

# fake SCRIPT [OPTIONS...] -- PROGRAM...: a run with that stand-in, cold unless
# $FAKE_WARM is set, to nothing
fake() {
	rm -f "$T/log"/*
	FAKE_DO=$1
	export FAKE_DO
	shift
	run "$KTEST" -qemu "$FAKE" -init "$GUEST" -kernel-path \
	    "$FAKE_KERNEL" -accel tcg ${FAKE_WARM--snapshot none} "$@"
}

# machines FILE: how many ran, in what -v said; an old QEMU is asked for one that
# it does not know first
machines() {
	echo $(($(grep -c 'QEMU runs' "$1") - $(grep -c 'QEMU trips' "$1")))
}

# starts: how often the stand-in was started
starts() {
	find "$T/log" -name '*.pid' | wc -l
}

# refuse REGEX OPTIONS...: they end in 125 and one line, and nothing is started
refuse() {
	refuse_what=$1
	shift
	fake 'hello;clock;go;x=0' "$@" -- "${prog:-$GUEST}"
	refuse_name=$(echo "$*" | tr '\n' ' ')
	is "$status $(starts)" '125 0' "refused: $refuse_name"
	like "$err" "^ktest: $refuse_what" "refused with a reason: $refuse_name"
	one_line "$err" "refused in one line: $refuse_name"
}

# either VALUE WANTED...: the value is one of those
either() {
	either_value=$1
	shift
	for either_word; do
		[ "$either_value" != "$either_word" ] || return 0
	done
	return 1
}
