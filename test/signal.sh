#!/bin/sh
# Signals, closed pipes and neighbours: however ktest ends, its guest ends
# with it.  The guests are real where a kernel is there, so that what is left
# behind would be a real QEMU.
. "$(dirname "$0")/tap.sh"

need_ktest
need_cloud
fake_setup
restore_most

# start NAME COMMAND...: in the background; its pid is $pid, hold's $holder
start() {
	start_base=$T/jobs/$1
	rm -f "$start_base".*
	mkfifo "$start_base.fifo"
	shift
	"$HOLD" -o "$start_base.report" -p "$start_base.pid" -t "$guard" "$@" \
	    </dev/null >"$start_base.fifo" 2>"$start_base.err" &
	holder=$!
	exec 4<"$start_base.fifo"
	until_true [ -s "$start_base.pid" ]
	pid=$(cat "$start_base.pid")
	: >"$start_base.out"
}

started_guest() { # NAME: waits for the guest's first line
	read -r line <&4
	is "$line" ready "$1: the guest runs"
}

cloud_start() {
	start_name=$1
	shift
	start "$start_name" "$KTEST" -kernel-path "$KTEST_CLOUD" \
	    -accel "$ACCEL" "$@"
}

# -- SIGINT, SIGTERM, SIGHUP --
for n in 2 15 1; do
	set --
	[ "$n" != 15 ] || set -- -snapshot none
	cloud_start "sig$n" "$@" -- "$GUEST" hang
	started_guest "signal $n"
	kill -"$n" "$pid"
	wait "$holder"
	exec 4<&-
	result "sig$n"
	is "$signal" "$n" "signal $n: ktest ends by it"
	is "$left" 0 "signal $n: no QEMU is left"
	empty "$err" "signal $n: no line is needed"
done

# Before the guest says anything, and while QEMU ignores what it is told.
for script in stay 'deaf;hello;clock;stay'; do
	rm -f "$T/log"/*
	FAKE_DO=$script
	export FAKE_DO
	start early "$KTEST" -snapshot none -qemu "$FAKE" -init "$GUEST" -kernel-path \
	    "$FAKE_KERNEL" -accel tcg -- "$GUEST" exit 0
	until_true [ -s "$T/log/start.1.fds" ]
	kill -15 "$pid"
	wait "$holder"
	exec 4<&-
	result early
	is "$signal $left" '15 0' "SIGTERM, the guest does '$script'"
done

# Ignored from the start, as under nohup: the run goes on.
FAKE_DO='hello;clock;go;say=stdout:ready\n;sleep=1000;x=9'
start nohup "$HOLD" -i 1 -o "$T/jobs/inner.report" -p "$T/jobs/inner.pid" \
    "$KTEST" -snapshot none -qemu "$FAKE" -init "$GUEST" -kernel-path "$FAKE_KERNEL" \
    -accel tcg -- "$GUEST" exit 0
started_guest nohup
kill -1 "$(cat "$T/jobs/inner.pid")"
wait "$holder"
exec 4<&-
result nohup
is "$status" 9 'SIGHUP ignored at the start stays ignored'

# -- kill -9 --
cloud_start kill9 -snapshot none -- "$GUEST" hang
started_guest 'kill -9'
kill -9 "$pid"
wait "$holder"
exec 4<&-
result kill9
is "$signal $stay" '9 0' 'kill -9: QEMU ends with ktest'
is "$(ls -A "$T/tmp")" '' 'kill -9: no temporary file is left'

# -- QEMU is killed by somebody else --
FAKE_DO='hello;clock;go;say=stdout:ready\n;stay'
rm -f "$T/log"/*
start qemu9 "$KTEST" -snapshot none -qemu "$FAKE" -init "$GUEST" -kernel-path \
    "$FAKE_KERNEL" -accel tcg -- "$GUEST" exit 0
started_guest 'QEMU is killed'
kill -9 "$(cat "$T/log/start.1.pid")"
wait "$holder"
exec 4<&-
result qemu9
is "$status" 125 'QEMU is killed: status 125'
like "$err" '^ktest: .*QEMU.*signal 9' 'QEMU is killed: a line says so'

# -- Closed pipes --
cloud_start pipe -snapshot none -- "$GUEST" yes
read -r line <&4
is "$line" yes 'closed stdout: the guest runs'
exec 4<&-
wait "$holder"
result pipe
is "$signal $left" '13 0' 'closed stdout: ends as any filter does'

FAKE_DO='hello;clock;go;say=stdout:ready\n;many=stderr:10000000;x=0'
# shellcheck disable=SC2016
start stderr sh -c '{ "$@" 2>&1 >&3 | head -c 100 >&2; } 3>&1' sh \
    "$HOLD" -o "$T/jobs/inner.report" "$KTEST" -snapshot none -qemu "$FAKE" -init "$GUEST" \
    -kernel-path "$FAKE_KERNEL" -accel tcg -- "$GUEST" exit 0
started_guest 'closed stderr'
wait "$holder"
exec 4<&-
result inner
is "$signal $left" '13 0' 'closed stderr: ends as any filter does'

# A full disk is told, not ignored.
if [ -w /dev/full ]; then
	FAKE_DO='hello;clock;go;say=stdout:x;x=0'
	# shellcheck disable=SC2016
	run sh -c 'exec "$@" >/dev/full' sh "$KTEST" -snapshot none -qemu "$FAKE" -init \
	    "$GUEST" -kernel-path "$FAKE_KERNEL" -accel tcg -- "$GUEST" exit 0
	is "$status" 125 'stdout is full: status 125'
	one_line "$err" 'stdout is full: a line says so'
	run sh -c 'exec "$@" >/dev/full' sh "$KTEST" -h
	is "$status" 125 '-h and stdout is full: status 125'
else
	skip 'no /dev/full' 'stdout is full'
fi

# -- Stopped and continued --
cloud_start stop -- "$GUEST" dying
started_guest 'stopped and continued'
kill -STOP "$pid"
until_true grep -q '^State:.*T' "/proc/$pid/status"
kill -CONT "$pid"
kill -TERM "$pid"
wait "$holder"
exec 4<&-
result stop
is "$signal $left" '15 0' 'stopped and continued, then ended'

# -- Neighbours --
for n in 1 2 3; do
	cloud_job "beside$n" -- "$GUEST" say "guest $n" "$n"
done
jobs_run 3
for n in 1 2 3; do
	result "beside$n"
	is "$status $(cat "$out")" "$n guest $n" \
	    "three at once from one directory: number $n"
done

# -- The terminal --
# The modes of the terminal are afterwards what they were.
if command -v script >/dev/null; then
	FAKE_DO='hello;clock;go;say=stdout:shown\n;x=4'
	{
		echo "stty -a >'$T/stty.before'"
		printf '%s ' "$KTEST" -snapshot none -qemu "$FAKE" -init "$GUEST" \
		    -kernel-path "$FAKE_KERNEL" -accel tcg -- "$GUEST" exit 0
		echo "; echo status \$?"
		echo "stty -a >'$T/stty.after'"
	} >"$T/session"
	run script -qec "sh $T/session" /dev/null
	like "$out" 'shown' 'on a terminal: output'
	like "$out" 'status 4' 'on a terminal: status'
	same "$T/stty.after" "$T/stty.before" \
	    'on a terminal: its modes are what they were'
else
	skip 'no script(1)' 'on a terminal'
fi

# -- Signals that mean little, while something is read or written --
# SIGWINCH has a handler: it interrupts what waits, and nothing may be lost.
build reader reader.c
READER=$built
storm() { # NAME READER-OPTIONS COMMAND...
	storm_name=$1 storm_reader=$2
	shift 2
	# shellcheck disable=SC2086 # options are words
	job "$storm_name" "$READER" -w $storm_reader "$@"
}
FAKE_DO='say=qemu:oops\n;exit=1'
storm winch-message '-e -f 0 1000' "$KTEST" -snapshot none -qemu "$FAKE" \
    -init "$GUEST" -kernel-path "$FAKE_KERNEL" -accel tcg -- "$GUEST" exit 0
for n in 1 2 3 4 5 6 7 8 9 10; do
	storm winch-exec$n '-e 0 0' "$KTEST" -snapshot none -qemu \
	    "$T/no-qemu" -init "$GUEST" -kernel-path "$FAKE_KERNEL" \
	    -accel tcg -- "$GUEST" exit 0
done
jobs_run 2
result winch-message
is "$status" 125 'SIGWINCH and a full stderr: status'
text "$err" "ktest: QEMU ended with status 1: oops$nl" \
    'SIGWINCH and a full stderr: the line is whole'
wrong=0
for n in 1 2 3 4 5 6 7 8 9 10; do
	result winch-exec$n
	[ "$status" = 125 ] && grep -q "^ktest: -qemu $T/no-qemu: cannot be \
executed: No such file or directory$" "$err" && continue
	wrong=$((wrong + 1))
	show "$err"
done
is $wrong 0 'SIGWINCH and no QEMU: why, in 10 runs'
is "$(ls -A "$T/tmp")" '' 'no temporary file is left'
finish
