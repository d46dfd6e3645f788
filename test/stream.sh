#!/bin/sh
# The streams: byte-exact both ways, any size, in order, and whole even when
# the program ends at once.
. "$(dirname "$0")/tap.sh"

need_cloud
restore_most
build guest-dyn guest.c

# -- 16 MiB each way at the same time --
size=16777216
"$GUEST" random $size 1 >"$T/jobs/both.in"
"$GUEST" random $size 2 >"$T/stderr"
cloud_job both -snapshot none -- "$GUEST" both $size 2

# -- Order, values, ends --
cloud_job lines -- "$GUEST" lines 10000
i=0
while [ $((i += 1)) -le 10000 ]; do echo "line $i"; done >"$T/lines"
cloud_job allbytes -- "$GUEST" allbytes
"$GUEST" allbytes >"$T/allbytes" 2>/dev/null
cp "$T/allbytes" "$T/jobs/echoed.in"
cloud_job echoed -snapshot none -- "$GUEST" cat
cloud_job eof -- "$GUEST" eof
printf 'abc' >"$T/jobs/eof3.in"
cloud_job eof3 -- "$GUEST" eof
cp "$T/jobs/both.in" "$T/jobs/late.in"
cloud_job late -- "$GUEST" late 10
cloud_job nonblock -- "$GUEST" nonblock 1000000 3
"$GUEST" random 1000000 3 >"$T/nonblock"
cloud_job reopen -- "$GUEST" reopen
cloud_job big -- "$GUEST" random 67108864 4
cloud_job closed -file "$GUEST" -- /bin/sh -c \
    "exec >&-; exec \"$GUEST\" exit 4"

# stdout and stderr as one file: their order is kept
i=0
while [ $((i += 1)) -le 3000 ]; do echo "$i"; done >"$T/order"
# shellcheck disable=SC2016
job order sh -c 'exec "$@" 2>&1' sh "$KTEST" -kernel-path "$KTEST_CLOUD" \
    -accel "$ACCEL" -snapshot none -- "$GUEST" order 3000
# shellcheck disable=SC2016
job orderpipe sh -c '{ "$@" 2>&1; echo "status $?"; } | cat' sh "$KTEST" \
    -kernel-path "$KTEST_CLOUD" -accel "$ACCEL" -- "$GUEST" order 3000
{ cat "$T/order"; echo 'status 0'; } >"$T/orderpipe"
# appended to a file that has something already
# shellcheck disable=SC2016
job append sh -c 'echo before >"$1/a"; shift; exec "$@"' sh "$T" sh -c \
    'exec "$@" >>"$0/a" 2>>"$0/a"' "$T" "$KTEST" -kernel-path \
    "$KTEST_CLOUD" -accel "$ACCEL" -- "$GUEST" order 100
{ echo before; head -n 100 "$T/order"; } >"$T/append"
jobs_run

result both
is "$status" 0 '16 MiB both ways: status'
same "$out" "$T/jobs/both.in" '16 MiB both ways: stdin to stdout'
same "$err" "$T/stderr" '16 MiB both ways: stderr'
result lines
is "$status" 0 '10,000 lines: status'
same "$out" "$T/lines" '10,000 lines: in order'
result allbytes
is "$status" 0 'all 256 values: status'
same "$out" "$T/allbytes" 'all 256 values: stdout'
same "$err" "$T/allbytes" 'all 256 values: stderr'
result echoed
same "$out" "$T/allbytes" 'all 256 values: through stdin'
result eof
is "$status $(cat "$out")" '0 0 0 0' 'EOF: at once from an empty stdin'
result eof3
is "$status $(cat "$out")" '0 3 0 0' 'EOF: after three bytes'
result late
is "$status" 5 'a program that ends before its input does'
result nonblock
is "$status" 0 'O_NONBLOCK on stdout: status'
same "$out" "$T/nonblock" 'O_NONBLOCK on stdout: all bytes'
result reopen
is "$status" 0 '/dev/stdout and /dev/stderr can be opened'
text "$out" "to stdout${nl}to fd 1$nl" '/dev/stdout: what was written'
text "$err" "to stderr$nl" '/dev/stderr: what was written'
result big
"$GUEST" random 67108864 4 >"$T/big"
is "$status" 0 '64 MiB: status'
same "$out" "$T/big" '64 MiB: all bytes'
rm "$T/big" "$out"
result closed
is "$status" 4 'a program that closes its stdout'
result order
is "$status" 0 'one file: status'
same "$out" "$T/order" 'one file: the order of stdout and stderr is kept'
result orderpipe
same "$out" "$T/orderpipe" 'one pipe: the order of stdout and stderr is kept'
result append
is "$status" 0 'opened twice for appending: status'
same "$T/a" "$T/append" 'opened twice for appending: in order'

# -- Streamed as they come --
# A conversation: each line is answered before the next is sent.
mkfifo "$T/to" "$T/from"
"$HOLD" -o "$T/jobs/talk.report" -t "$guard" "$KTEST" -kernel-path \
    "$KTEST_CLOUD" -accel "$ACCEL" -- "$GUEST" echo \
    <"$T/to" >"$T/from" 2>"$T/jobs/talk.err" &
talk=$!
exec 3>"$T/to" 4<"$T/from"
: >"$T/jobs/talk.out"
for word in one two three; do
	echo $word >&3
	read -r answer <&4
	is "$answer" "got $word" "a conversation: $word"
done
exec 3>&- 4<&-
wait "$talk"
result talk
is "$status" 0 'a conversation: ends when stdin does'

# -- One byte and gone, 60 times, a quarter of them cold; 100 times, and all of
# them, with KTEST_RUNS=all.  Five guests at a time keep both cores busy: each of
# them waits for the processor more than half of its time. --
cloud_runs=12 tiny_runs=48
[ "${KTEST_RUNS:-}" != all ] || cloud_runs=20 tiny_runs=80
[ -f "${KTEST_TINY:-}" ] || cloud_runs=$((cloud_runs + tiny_runs)) tiny_runs=0
i=0
while [ $((i += 1)) -le $((cloud_runs + tiny_runs)) ]; do
	one=tiny_job
	[ $i -gt $cloud_runs ] || one=cloud_job
	set --
	[ $((i % 4)) != 0 ] || set -- -snapshot none
	$one "one$i" "$@" -- "$GUEST" onebyte $((i % 250 + 1))
done
jobs_run 5

lost=0 wrong=0 hung=0 runs=0
i=0
while [ $((i += 1)) -le $((cloud_runs + tiny_runs)) ]; do
	result "one$i"
	runs=$((runs + 1))
	hung=$((hung + hang))
	if [ "$(cat "$out")" != x ]; then
		lost=$((lost + 1))
		diag "run $i: wrong output"
		show "$out"
	fi
	if [ "$status" != $((i % 250 + 1)) ]; then
		wrong=$((wrong + 1))
		diag "run $i: status $status"
		show "$err"
	fi
done
is "$runs runs, $lost lost, $wrong wrong, $hung hung" \
    "$((cloud_runs + tiny_runs)) runs, 0 lost, 0 wrong, 0 hung" 'one byte and gone, cores busy'
is "$(ls -A "$T/tmp")" '' 'no temporary file is left'
finish
