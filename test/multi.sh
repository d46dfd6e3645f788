#!/bin/sh
# Options from files, and one program on several kernels: order, labels and
# wholeness of what is printed, statuses, TAP, signals. QEMU is the stand-in
# but for a few runs at the end.
. "$(dirname "$0")/tap.sh"

need_ktest
fake_setup

# Kernels a to d, and a QEMU that does for each what do_as says. It starts no
# process, which would be left behind when it is killed.
for k in a b c d; do
	cp "$FAKE_KERNEL" "$T/k/boot/$k"
done
mkdir "$T/do"
cat >"$T/qemu" <<-'end'
	#!/bin/sh
	for arg; do
		[ "${before:-}" != -kernel ] || kernel=${arg##*/}
		before=$arg
	done
	alive=0
	for file in "$FAKE_ALIVE"/*; do
		[ ! -f "$file" ] || ! read -r pid <"$file" ||
		    ! kill -0 "$pid" 2>/dev/null || alive=$((alive + 1))
	done
	echo "$alive" >>"$FAKE_ALIVE.counts"
	echo $$ >"$FAKE_ALIVE/$kernel"
	for other in ${FAKE_WAIT:-}; do
		until [ -f "$FAKE_ALIVE/$other" ]; do
			sleep 0.05
		done
	done
	read -r FAKE_DO <"$FAKE_SCRIPTS/$kernel"
	export FAKE_DO
	exec "$FAKE" "$@"
end
chmod 755 "$T/qemu"
FAKE_ALIVE=$T/alive FAKE_SCRIPTS=$T/do
export FAKE FAKE_ALIVE FAKE_SCRIPTS

do_as() { # KERNEL SCRIPT
	printf '%s\n' "hello;clock;go;$2" >"$T/do/$1"
}

# multi KERNELS OPTIONS...: a run with these, e.g. "a b"
multi() {
	multi_kernels=$1
	shift
	for k in $multi_kernels; do
		set -- -kernel-path "$T/k/boot/$k" "$@"
	done
	rm -rf "$T/alive" "$T/alive.counts" "$T/log"/*
	mkdir "$T/alive"
	run "$KTEST" -qemu "$T/qemu" -init "$GUEST" -accel tcg "$@"
}

# seconds FILE: without the times in it
seconds() {
	sed 's/ [0-9]*\.[0-9]* s / T /; s/seconds: .*/seconds: T/' "$1" \
	    >"$T/seconds"
}

p="-- $GUEST exit 0"

# -- Several kernels: the arguments of multi come last kernel first --
do_as a 'say=stdout:A\n;say=stderr:one\n;sleep=400;x=0'
do_as b 'say=stdout:B;x=3'
do_as c 'say=stderr:three;sleep=100;x=5'
do_as d 'x=0'
for jobs in 1 2 4; do
	multi 'd c b a' -jobs $jobs $p
	is "$status" 3 "-jobs $jobs: the status of the first failure"
	text "$out" "==> a <==${nl}A${nl}==> b <==${nl}B$nl" \
	    "-jobs $jobs: stdout whole, in order, with labels"
	seconds "$err"
	text "$T/seconds" "==> a <==${nl}one${nl}==> c <==${nl}three
ktest: passed   0     T  a
ktest: failed   3     T  b
ktest: failed   5     T  c
ktest: passed   0     T  d
ktest: 4 runs: 2 passed, 0 flaky, 0 skipped, 2 failed, 0 not run
" "-jobs $jobs: stderr, too, and a summary"
	is "$(sort -n "$T/alive.counts" | tail -n 1 |
	    awk -v n="$jobs" '{ print ($1 < n) }')" 1 \
	    "-jobs $jobs: not more at a time"
done
FAKE_WAIT='a b c d'
export FAKE_WAIT
multi 'd c b a' -jobs 4 $p
is "$status" 3 '-jobs 4: four at a time'
FAKE_WAIT='a b'
multi 'd c b a' -jobs 2 $p
is "$status" 3 '-jobs 2: two at a time'
unset FAKE_WAIT
multi 'd a' $p
is "$status" 0 'all pass: status 0'

for k in a b c d; do
	do_as $k 'many=stdout:1000000;many=stderr:128000;x=0'
done
multi 'd c b a' -jobs 4 $p
is "$status" 0 'much output at once'
for stream in "out $out 1000000" "err $err 128000"; do
	# shellcheck disable=SC2086
	set -- $stream
	awk '/^==> / { n = 0; runs++; next } /^ktest: / { next }
	    { n += length($0) + 1 } n == '"$3"' { whole++ }
	    END { print runs, whole }' "$2" >"$T/whole"
	is "$(cat "$T/whole")" '4 4' "much output at once: std$1 is whole"
done

# The programs have no stdin, ours is not read.
do_as a 'cat;x=0'
do_as b 'cat;x=0'
echo given >"$T/given"
# shellcheck disable=SC2016
run_in "$T/given" sh -c '"$@" >/dev/null 2>&1; cat' sh "$KTEST" -qemu \
    "$T/qemu" -init "$GUEST" -accel tcg -kernel-path "$T/k/boot/a" \
    -kernel-path "$T/k/boot/b" $p
is "$status $(cat "$out")" '0 given' 'stdin is not read'

# One place for both streams is one label.
do_as b 'say=stdout:B\n;x=0'
# shellcheck disable=SC2016
run sh -c 'exec "$@" 2>&1' sh "$KTEST" -qemu "$T/qemu" -init "$GUEST" -accel \
    tcg -kernel-path "$T/k/boot/b" -kernel-path "$T/k/boot/d" $p
is "$(grep -c '==> b <==' "$out")" 1 'with 2>&1: one label'

# Names: what of the paths is not the same.
mkdir -p "$T/k/other"
cp "$FAKE_KERNEL" "$T/k/other/a"
do_as a 'x=0'
run "$KTEST" -qemu "$T/qemu" -init "$GUEST" -accel tcg -kernel-path \
    "$T/k/boot/a" -kernel-path "$T/k/other/a" $p
like "$err" '^ktest: passed .* boot/a$' 'names: each its own'
like "$err" ' other/a$' 'names: each its own, the other one'

# A timeout is each run's; one without a verdict does not keep the rest.
echo stay >"$T/do/a"
do_as b 'sleep=300;x=0'
multi 'b a' -timeout 6s $p
is "$status" 124 '-timeout: status 124'
like "$err" '^ktest: timeout' '-timeout: said by the run'
like "$err" '^ktest: passed .* b$' '-timeout: the next has its own'
: >"$T/k/boot/none"
multi 'b none' $p
is "$status" 125 'a kernel that is none: status 125'
like "$err" '^ktest: failed 125 .* none: ' 'a kernel that is none: in the summary'
like "$err" '^ktest: passed .* b$' 'a kernel that is none: the next one runs'
do_as a 'x=0'
multi 'b a' -n $p
is "$status $(wc -l <"$out") $(starts)" '0 2 0' '-n: a command for each'

# What can be only one machine's.
for o in "-pcap $T/p -net user" "-port-file $T/p -net user -port 80" \
    "-chardev x=$T/p" "-link $T/p" '-netfd 0' '-gdb 1234'; do
	# shellcheck disable=SC2086
	multi 'b a' $o $p
	is "$status $(starts)" '125 0' "${o%% *} with two kernels: refused"
	one_line "$err" "${o%% *} with two kernels: a line"
	like "$err" "^ktest: ${o%% *}: " "${o%% *} with two kernels: by name"
	ok "${o%% *} with two kernels: nothing is left" [ ! -e "$T/p" ]
done

multi 'b a' -kernel-path "$T/k/boot/nosuch" $p
is "$status $(starts)" '125 0' 'a kernel that is not there: none is started'
one_line "$err" 'a kernel that is not there: one line'
like "$err" '^ktest: -kernel-path .*/nosuch: No such file' \
    'a kernel that is not there: which'

multi 'b a' -snapshot file $p
is "$status $(starts)" '125 0' '-snapshot FILE with two kernels: refused'
like "$err" '^ktest: -snapshot file: .*say auto' '-snapshot FILE: why'

# -- TAP --
cp "$FAKE_KERNEL" "$T/k/boot/x # TODO y"
do_as a 'say=stdout:ok 7\n\n\eend;say=stderr:E;x=0'
do_as 'x # TODO y' 'x=3'
multi a -tap -kernel-path "$T/k/boot/x # TODO y" $p
is "$status" 3 '-tap: the status is the same'
seconds "$out"
cat >"$T/want" <<-'end'
	TAP version 13
	1..2
	ok 1 - a
	  ---
	  status: 0
	  seconds: T
	  ...
	# ok 7
	# 
	# ^[end
	not ok 2 - x 
	  ---
	  status: 3
	  seconds: T
	  ...
end
same "$T/seconds" "$T/want" '-tap: stdout'
text "$err" "==> a <==${nl}E$nl" '-tap: stderr has no summary'
do_as a 'x=0'
multi a -tap $p
like "$out" '^ok 1 - a$' '-tap with one kernel'
run env KTEST_KERNEL="$FAKE_KERNEL" "$KTEST" -qemu "$T/none" -init "$GUEST" \
    -accel tcg -tap $p
is "$status" 125 '-tap with $KTEST_KERNEL'
like "$out" '^not ok 1 - vmlinuz-9.9.9-fake$' '-tap with $KTEST_KERNEL: named'
printf 'hello;clock;go;say=stdout:%05000d;x=0\n' 0 >"$T/do/a"
multi a -tap $p
is "$(sed -n 's/^# //p' "$out" | tr -d '\n' | wc -c) $(wc -l <"$out")" '5000 9' \
    '-tap: a long line is whole, in two'
do_as a 'x=0'
if command -v prove >/dev/null; then
	{
		printf 'exec '
		for arg in "$KTEST" -qemu "$T/qemu" -init "$GUEST" -accel \
		    tcg -tap -kernel-path "$T/k/boot/a"; do
			quote "$arg"
		done | tr '\n' ' '
	} >"$T/pass.t"
	{
		cat "$T/pass.t"
		printf '%s' "-kernel-path '$T/k/boot/x # TODO y'"
	} >"$T/fail.t"
	echo " $p" | tee -a "$T/pass.t" >>"$T/fail.t"
	run prove -e sh "$T/pass.t"
	is "$status" 0 'prove: a pass'
	like "$out" '^Result: PASS' 'prove: a pass is one'
	run prove -e sh "$T/fail.t"
	is "$status" 1 'prove: a failure'
	like "$out" 'Failed test: +2' 'prove: knows which'
	like "$out" 'Non-zero exit status: 3' 'prove: and how'
	unlike "$out" 'TODO passed|Parse error' 'prove: obeys no name'
else
	skip 'no prove' 'prove reads -tap'
fi

# -- Signals while several run --
# begin NAME COMMAND...: in the background
begin() {
	begin_base=$T/jobs/$1
	shift
	rm -rf "$begin_base".* "$T/alive" "$T/alive.counts" "$T/log"/*
	mkdir "$T/alive"
	"$HOLD" -o "$begin_base.report" -p "$begin_base.pid" -t "$guard" "$@" \
	    </dev/null >"$begin_base.out" 2>"$begin_base.err" &
	holder=$!
	until_true [ -s "$begin_base.pid" ]
	pid=$(cat "$begin_base.pid")
}

parent() {
	sed 's/.*) [A-Z] \([0-9]*\).*/\1/' "/proc/$1/stat"
}

two_run() {
	[ "$(find "$T/log" -name '*.fds' | wc -l)" = 2 ]
}

set -- "$KTEST" -qemu "$T/qemu" -init "$GUEST" -accel tcg -jobs 2 \
    -kernel-path "$T/k/boot/a" -kernel-path "$T/k/boot/b" -kernel-path \
    "$T/k/boot/c" $p
do_as a 'say=stdout:ready\n;stay'
do_as b 'deaf;stay'
for n in 2 15 1; do
	begin "sig$n" "$@"
	until_true two_run
	until_true [ -s "/proc/$(parent "$(cat "$T/alive/a")")/fd/1" ]
	kill -$n "$pid"
	wait "$holder"
	result "sig$n"
	is "$signal $left" "$n 0" "signal $n: ktest ends by it, nothing is left"
	is "$(find "$T/log" -name '*.pid' | wc -l)" 2 \
	    "signal $n: starts no other"
	like "$err" '3 runs: 0 passed, 0 flaky, 0 skipped, 2 failed, 1 not run' \
	    "signal $n: the summary says so"
done
like "$out" '^ready' 'a signal: what was written is shown'
begin kill9 "$@"
until_true two_run
kill -9 "$pid"
wait "$holder"
result kill9
is "$signal $stay" '9 0' 'kill -9: all QEMUs end with ktest'

# A run is killed: it has no verdict, and the others have theirs.
do_as b 'sleep=100;x=0'
begin child9 "$@"
until_true two_run
kill -9 "$(cat "$T/alive/a")"
wait "$holder"
result child9
is "$status" 125 'a QEMU is killed: status 125'
like "$err" '^ktest: passed .* b$' 'a QEMU is killed: the next is not'

# -- Closed pipes, full disks --
for k in a b c; do
	do_as $k 'many=stdout:1000000;x=0'
done
# shellcheck disable=SC2016
run sh -c '{ "$@" || echo "$?" >&3; } | head -c 100 >/dev/null' sh "$HOLD" \
    -o "$T/jobs/inner.report" "$@" 3>&1
result inner
is "$signal $left" '13 0' 'closed stdout: ends as any filter does'
if [ -w /dev/full ]; then
	for o in -tap -tap=0; do
		# shellcheck disable=SC2016 # $1 is the ktest
		run sh -c 'ktest=$1; shift; exec "$ktest" "$0" "$@" >/dev/full' \
		    $o "$@"
		is "$status" 125 "stdout is full, $o: status 125"
		like "$err" '^ktest: stdout: ' "stdout is full, $o: a line"
	done
else
	skip 'no /dev/full' 'stdout is full'
fi

# Nobody reads, and nobody closes: a signal ends it all the same.
for to in '>"$0"' '>"$0" 2>&1'; do
	mkfifo "$T/fifo"
	exec 5<>"$T/fifo"
	begin stuck sh -c "exec \"\$@\" $to" "$T/fifo" "$@"
	until_true [ -e "$T/alive/c" ] # then a has ended, and is being printed
	kill -15 "$pid"
	wait "$holder"
	exec 5<&-
	rm "$T/fifo"
	result stuck
	is "$signal $left" '15 0' "nobody reads, $to: a signal ends it"
done

# -- @FILE --
mkdir -p "$T/p/targets/more" "$T/p/data"
echo data >"$T/p/data/file"
cat >"$T/p/targets/fake" <<-'end'
	# What all of these have in common
	@more/common

	-kernel-path ../../k/boot/a
	  -kernel-path=../../k/boot/b
	-file
	../data:/data
	-timeout 1m
end
cat >"$T/p/targets/more/common" <<-end
	-qemu=../../../qemu
	-init $GUEST
	-accel tcg
end
do_as a 'say=stdout:A\n;x=4'
do_as b 'say=stdout:B\n;x=0'
for dir in "$T/p" "$T/p/targets" / ; do
	file=$T/p/targets/fake
	[ "$dir" = / ] || file=${file#"$dir/"}
	rm -rf "$T/alive" && mkdir "$T/alive"
	# shellcheck disable=SC2016
	run sh -c 'cd "$0" && exec "$@"' "$dir" "$KTEST" "@$file" \
	    -jobs 2 $p
	is "$status $(tr '\n' ' ' <"$out")" '4 ==> a <== A ==> b <== B ' \
	    "@$file in $dir"
done
# argv FILE WORDS...: the options of FILE and the words, run as -n
argv() {
	run sh -c 'cd "$0" && exec "$@"' "$T/p" "$KTEST" -n -v "$@"
}
cp "$GUEST" "$T/p/data/prog"
printf '%s\n' @fake -- ../data/prog 'exit 5' >"$T/p/targets/run"
argv @targets/run more
is "$status $(wc -l <"$out")" '0 2' '@FILE that has the program'
run "$KTEST" -qemu "$FAKE" -init "$GUEST" -kernel-path "$FAKE_KERNEL" -accel \
    tcg -- @none
is "$status" 127 'a PROGRAM with @ is none of ours'
like "$err" '@none: not found' 'a PROGRAM with @ is named'

# wrong REGEX WHAT @FILE: one line, 125, nothing started
wrong() {
	wrong_line=$1
	wrong_what=$2
	shift 2
	rm -f "$T/log"/*
	argv "$@" $p
	is "$status $(starts)" '125 0' "@FILE: $wrong_what"
	one_line "$err" "@FILE: $wrong_what: one line"
	like "$err" "$wrong_line" "@FILE: $wrong_what: it says where"
}
cd "$T/p" || exit 1
wrong '^ktest: @FILE targets/none: No such' missing @targets/none
wrong '^ktest: @FILE targets: is a directory' 'a directory' @targets
wrong '^ktest: @FILE: the name' 'no name' @
echo '@me' >me
wrong '^ktest: me:1: @FILE me: includes itself' 'itself' @me
printf '\n@targets/two\n' >one
echo '@../one' >targets/two
wrong '^ktest: targets/two:1: @FILE targets/../one: includes itself' \
    'itself, through another' @one
printf -- '-v\n@no\n' >names
wrong '^ktest: names:2: @FILE no: No such' 'names one that is missing' @names
printf -- '-memory 1G\n# x\n-cpus\nmany\n' >bad
wrong '^ktest: bad:4: -cpus many: is not a number' 'a bad value' @bad
printf -- '-v\na\0b\n' >nul
wrong '^ktest: nul:2: has a NUL' 'a NUL byte' @nul
wrong '^ktest: .*: has a NUL' 'a program' "@$GUEST"
awk 'BEGIN { while (i++ < 5000) print "-env A=1" }' >long
wrong '^ktest: @FILE long: is too long' 'too long' @long
awk 'BEGIN { while (i++ < 300) print "-env A=1" }' >many
wrong '^ktest: many:257: -env A=1: is one too many' 'too many' @many
cd "$T" || exit 1

# -- Real kernels --
if [ -f "${KTEST_CLOUD:-}" ] && [ -f "${KTEST_TINY:-}" ]; then
	run sh -c 'exec "$@" 2>&1' sh "$KTEST" -kernel-path "$KTEST_CLOUD" \
	    -kernel-path "$KTEST_TINY" -accel "$ACCEL" -jobs 2 -- "$GUEST" \
	    say hello 6
	is "$status" 6 'two real kernels: status'
	is "$(grep -cx hello "$out")" 2 'two real kernels: output'
	begin real "$KTEST" -kernel-path "$KTEST_CLOUD" -kernel-path \
	    "$KTEST_TINY" -accel "$ACCEL" -jobs 2 -- "$GUEST" hang
	two_ready() { # both of its children have output
		ready=
		for child in $(grep -ls "^PPid:[^0-9]*$pid\$" \
		    /proc/[0-9]*/status); do
			[ ! -s "${child%/status}/fd/1" ] || ready="$ready."
		done
		[ "$ready" = .. ]
	}
	until_true two_ready
	kill -15 "$pid"
	wait "$holder"
	result real
	is "$signal $left" '15 0' 'two real kernels: a signal ends both'
else
	skip 'no KTEST_CLOUD or KTEST_TINY' 'real kernels'
fi
is "$(ls -A "$T/tmp")" '' 'no temporary file is left'
finish
