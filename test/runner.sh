#!/bin/sh
# runner.sh: does run.sh sum up rightly, and take nothing half for a pass? Do
# tests that run side by side leave each other alone, and end when it ends?

. "${0%/*}/tap.sh"

# script NAME LINE...: a test of these lines
script() {
	script_name=$1
	shift
	printf '%s\n' "$@" >"$T/$script_name.sh"
}

# sums STATUS LINE WHAT: run.sh's exit status and last line
sums() {
	is "$status, $(tail -n 1 "$out")" "$1, $2" "$3"
}

runner() {
	run sh "$here/run.sh" -t "${limit:-200}" "$@"
}

script good 'echo ok 1 - a' 'echo ok 2 - b' 'echo 1..2'
script skips 'echo ok 1 - a' 'echo "ok 2 - b # SKIP no tool"' 'echo 1..2'
script skip_all 'echo "1..0 # SKIP no kvm"'
script bad 'echo ok 1 - a' 'echo not ok 2 - b' 'echo "# got x"' \
    'echo ok 3 - c' 'echo 1..3' 'exit 1'
script dies 'echo ok 1 - a' 'kill -9 $$'
script few 'echo ok 1 - a' 'echo 1..2'
script many 'echo ok 1 - a' 'echo ok 2 - b' 'echo 1..1'
script status 'echo ok 1 - a' 'echo 1..1' 'exit 3'
script hangs 'echo ok 1 - a' 'echo 1..1' 'sleep 100'
script nothing 'echo 1..0'
script numbers 'echo ok 1 - a' 'echo ok 1 - b' 'echo 1..2'
script mute 'echo what >&2'
script world 'ls -A "$TMPDIR" | grep . && exit 1' 'read x && exit 1' \
    'mkdir "$TMPDIR/x" && chmod 0 "$TMPDIR/x"' \
    'echo ok 1 - "$TMPDIR" >&3; echo ok 1 - a; echo 1..1'

runner "$T/good.sh" "$T/good.sh"
sums 0 '4 passed, 0 failed' 'two good tests'
runner "$T/skips.sh"
sums 0 '1 passed, 0 failed, 1 skipped' 'a skipped check'
like "$out" 'no tool' 'its reason is shown'
runner "$T/skip_all.sh"
sums 1 '0 passed, 0 failed, 1 skipped' 'only skips are no success'
runner "$T/skip_all.sh" "$T/good.sh"
sums 0 '2 passed, 0 failed, 1 skipped' 'a skipped script'
runner "$T/bad.sh"
sums 1 '2 passed, 1 failed' 'a failure counts once'
like "$out" 'got x' 'it is shown with the lines after it'
for way in dies few status hangs numbers; do
	limit=
	[ $way != hangs ] || limit=3
	runner "$T/$way.sh"
	like "$out" '^[1-9]* passed, 1 failed$' "one that $way is a failure"
	is "$status" 1 "one that $way: exit status"
done
limit=
runner "$T/many.sh"
sums 1 '2 passed, 1 failed' 'more results than planned'
runner "$T/nothing.sh"
sums 1 '0 passed, 1 failed' 'an empty plan is a failure'
runner "$T/mute.sh"
sums 1 '0 passed, 1 failed' 'no TAP is a failure'
like "$out" '[|] what' 'what it said is shown'
runner "$T/absent.sh"
sums 1 '0 passed, 1 failed' 'a test that does not exist is a failure'

cp "$T/good.sh" "$T/program"
sed -i '1i #!/bin/sh' "$T/program"
chmod +x "$T/program"
runner "$T/program"
sums 0 '2 passed, 0 failed' 'a test that is a program'

exec 3>"$T/where"
runner "$T/world.sh" "$T/world.sh"
sums 0 '2 passed, 0 failed' 'each has an empty TMPDIR and no stdin'
where=$(sed -n '1s/ok 1 - //p' "$T/where")
ok 'it had a TMPDIR' [ -n "$where" ]
ok 'which is gone afterwards' [ ! -e "$where" ]

# -- Side by side --
# meets NAME OTHER: one that ends when both run
meets() {
	script "$1" ": >'$T/is-$1'" "until [ -e '$T/is-$2' ]; do" \
	    'sleep 0.05; done' 'echo ok 1; echo 1..1'
}
meets one other
meets other one
runner -j 2 "$T/one.sh" "$T/other.sh"
sums 0 '2 passed, 0 failed' '-j 2: two at once'
rm "$T"/is-*
runner -j 1 -t 10 "$T/one.sh" "$T/other.sh"
sums 1 '1 passed, 1 failed' '-j 1: the first waits in vain'
rm "$T"/is-*

# How many there are when each begins, and again before it ends
count="ls '$T/alive' | wc -l >>'$T/counts'"
script counted "mkdir '$T/alive/'\$\$" "$count" 'sleep 0.1' "$count" \
    "rmdir '$T/alive/'\$\$" 'echo ok 1; echo 1..1'
mkdir "$T/alive"
: >"$T/counts"
set --
while [ $# -lt 12 ]; do set -- "$@" "$T/counted.sh"; done
runner -j 3 "$@"
sums 0 '12 passed, 0 failed' '-j 3: twelve tests'
is "$(sort -nu "$T/counts" | tail -n 1)" 3 '-j 3: three at once, not more'

# The first fails at length, and ends when the second, which does so too, has
# ended. What they say is whole and in order.
script slow "until [ -e '$T/is-quick' ]; do sleep 0.05; done" \
    'echo not ok 1 - a; echo "# slow, 1"; echo "# slow, 2"' \
    'echo ok 2 - b; echo 1..2; exit 1'
script quick 'echo not ok 1 - c; echo "# quick, 1"; sleep 0.1' \
    'echo "# quick, 2"; echo 1..1' ": >'$T/is-quick'" 'exit 1'
runner -j 2 "$T/slow.sh" "$T/quick.sh" "$T/skips.sh"
sed 's/[0-9]* s, CPU [0-9]* s/T/' "$out" >"$T/said"
text "$T/said" 'slow.sh                     1 passed, 1 failed, 0 skipped  (T)
    not ok 1 - a
    # slow, 1
    # slow, 2
quick.sh                    0 passed, 1 failed, 0 skipped  (T)
    not ok 1 - c
    # quick, 1
    # quick, 2
skips.sh                    1 passed, 0 failed, 1 skipped  (T)
    ok 2 - b # SKIP no tool
T
2 passed, 2 failed, 1 skipped
' 'the output of each is whole, in the order of the list'

# One works for a second and more, the other waits for two.
# shellcheck disable=SC2016
script works 'until times >"$0.t"; grep -q "^0m[1-9]" "$0.t"; do' \
    'i=0; while [ $((i += 1)) -lt 10000 ]; do :; done; done' \
    'echo ok 1; echo 1..1'
script sleeps 'sleep 2; echo ok 1; echo 1..1'
runner -j 1 "$T/sleeps.sh" "$T/works.sh"
like "$out" '^sleeps.sh .* \(([2-9]|[0-9]{2,}) s, CPU 0 s\)$' \
    'the time that a test waits is told'
like "$out" '^works.sh .* CPU [1-9][0-9]* s\)$' 'the time that one works is told'
is "$(sed -n 's/^works.*CPU \(.*\) s)/\1/p; s/^[0-9]* s, CPU \(.*\) s$/\1/p' \
    "$out" | uniq | wc -l)" 1 '... and is in the sum'

# Of these only the last can end by itself: it is among those that take long.
script waits "until [ -e '$T/is-warm' ]; do sleep 0.05; done" \
    'echo ok 1; echo 1..1'
script warm ": >'$T/is-warm'" 'echo ok 1; echo 1..1'
runner -j 2 "$T/waits.sh" "$T/waits.sh" "$T/warm.sh"
sums 0 '3 passed, 0 failed' 'what takes long is begun first'
is "$(sed -n '3s/ .*//p' "$out")" warm.sh '... and printed in its place'

for n in 0 -1 x; do
	runner -j "$n" "$T/good.sh"
	is "$status" 1 "-j $n: refused"
	unlike "$out" passed "-j $n: nothing is run"
done

# -- All tests: the second round, in machines that are restored --
mkdir "$T/all"
cp "$here/run.sh" "$T/all"
echo exit 1 >"$T/all/kernels.sh"
for name in exit guest hostile net rootfs signal stream tty alone; do
	# shellcheck disable=SC2016
	printf '%s\n' 'echo "${KTEST_SNAPSHOT-none}" \' \
	    '"${XDG_CACHE_HOME-none}" >>"$0.said"' 'echo ok 1; echo 1..1' \
	    >"$T/all/$name.sh"
done
run env -u XDG_CACHE_HOME -u KTEST_RUNS KTEST_SNAPSHOT=ours \
    sh "$T/all/run.sh" -j 3
sums 0 '9 passed, 0 failed' 'all tests'
is "$(cat "$T/all"/*.said | sort -u)" 'none none' 'all tests: without snapshots'
rm "$T/all"/*.said
run env -u XDG_CACHE_HOME KTEST_RUNS=all KTEST_SNAPSHOT=ours \
    sh "$T/all/run.sh" -j 3
sums 0 '17 passed, 0 failed' 'KTEST_RUNS=all: eight of them warm, too'
is "$(sed '/^[0-9]* s,/d; s/ .*//' "$out" | uniq -c | sed 's/^ *//' | tr '\n' ' ')" \
    '1 alone.sh 1 exit.sh 1 guest.sh 1 hostile.sh 1 net.sh 1 rootfs.sh '"$(:
    )1 signal.sh 1 stream.sh 1 tty.sh 8 warm 1 17 " 'the second round is printed last'
is "$(cat "$T/all/alone.sh.said")" 'none none' 'the first: without snapshots'
is "$(sort -u "$T/all"/[!a]*.said | sed 's/ .*//' | tr '\n' ' ')" \
    'auto none ' 'the second: with them'
is "$(grep -h auto "$T/all"/*.said | sort -u | wc -l)" 1 \
    'the second: one cache'
unlike "$T/all/exit.sh.said" "auto (none|$HOME)" 'the second: not the user'"'s"

# -- Ends --
# Each test and what it starts tell their pids; one does not end when asked to.
# shellcheck disable=SC2016
script stays 'echo $$ >>"$0.pids"; sleep 1000 & echo $! >>"$0.pids"' \
    ': >"$TMPDIR/file"; wait'
# shellcheck disable=SC2016
script deaf 'trap "" TERM; sleep 1000 & echo $! >>"$0.pids"' \
    'echo $$ >>"$0.pids"; while :; do sleep 1; done'
all_began() {
	[ "$(cat "$T"/*.pids | wc -l)" = 4 ]
}
gone() { # PID...
	for gone_pid; do
		! kill -0 "$gone_pid" 2>/dev/null || return 1
	done
}
for sig in TERM HUP INT; do
	rm -f "$T"/*.pids
	other=stays
	[ $sig != TERM ] || other=deaf
	"$HOLD" -o "$T/jobs/ends.report" -p "$T/ends.pid" sh "$here/run.sh" \
	    -j 2 "$T/stays.sh" "$T/$other.sh" "$T/good.sh" \
	    >"$T/jobs/ends.out" 2>"$T/jobs/ends.err" &
	until_true all_began
	kill -s $sig "$(cat "$T/ends.pid")"
	wait $!
	result ends
	is "$status" 1 "SIG$sig: status 1, and no process is left"
	unlike "$out" passed "SIG$sig: no sums"
	# shellcheck disable=SC2046 # numbers
	ok "SIG$sig: the tests have ended" gone $(cat "$T"/*.pids)
done
is "$(ls -A "$T/tmp")" '' 'no directory of theirs is left'

# What runs the tests is killed by one of them.
# shellcheck disable=SC2016
script kills 'read -r _ _ _ ppid _ <"/proc/$PPID/stat"; kill -9 "$ppid"' \
    'echo ok 1; echo 1..1'
for j in 1 2; do
	runner -j $j "$T/good.sh" "$T/kills.sh" "$T/good.sh"
	is "$status" 1 "-j $j, a test kills its runner: status 1"
	like "$err" 'only . of 3 tests' "-j $j, a test kills its runner: said"
done
finish
