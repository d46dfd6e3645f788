#!/bin/sh
# Readers in no hurry: slow, paused, stopped ones of stdout and stderr, pipes
# and terminals. What was written arrives whole with the status that belongs
# to it, however long the reader takes; and what ends a run, -timeout or a
# signal, ends it in time, though nobody reads.
. "$(dirname "$0")/tap.sh"

need_ktest
fake_setup
unset FAKE_LOG KTEST_SNAPSHOT
build reader reader.c
READER=$built
build pty pty.c
PTY=$built
build mkcpio mkcpio.c
mkcpio=$built
init=${KTEST_INIT:-${KTEST%/*}/init}

go='hello;clock;go'
size=140000	# more than a pipe and a buffer hold, the rest fits a socket
longer=600000
awk -v n=$longer 'BEGIN { while (i * 64 < n) printf "%063d\n", i++ }' \
    >"$T/longer"
head -c $size "$T/longer" >"$T/whole"
: >"$T/initrd"

# slow NAME SCRIPT READER-OPTIONS [OPTIONS...]: the stand-in, before a reader
slow() {
	slow_name=$1 slow_do=$2 slow_reader=$3
	shift 3
	# shellcheck disable=SC2086 # options are words
	job "$slow_name" "$READER" $slow_reader env "FAKE_DO=$slow_do" \
	    "$KTEST" -qemu "$FAKE" -init "$GUEST" -kernel-path \
	    "$FAKE_KERNEL" -accel tcg "$@"
}

slow_program() {
	slow "$@" -- "$GUEST" exit 0
}

slow_monogon() {
	slow "$@" -initrd-path "$T/initrd"
}

# at NAME SCRIPT STEP... -- [OPTIONS...]: the stand-in at somebody's terminal
at() {
	at_name=$1 at_do=$2 at_steps=
	shift 2
	while [ "$1" != -- ]; do
		at_steps="$at_steps $1"
		shift
	done
	shift
	# shellcheck disable=SC2086 # steps are words
	job "$at_name" "$PTY" $at_steps -- env "FAKE_DO=$at_do" "$KTEST" \
	    -qemu "$FAKE" -init "$GUEST" -kernel-path "$FAKE_KERNEL" \
	    -accel tcg "$@" -- "$GUEST" exit 0
}

# -- Pauses longer than any patience of ktest's, all at the same time --
out_x="$go;many=stdout:$size"
slow_program paused "$out_x;x=7" '1000 12000'
slow_program stopped "$out_x;x=7" '-s 1000 12000'
slow_program gone "$out_x;x=7;exit=0" '1000 3000'
slow_program gone-long "$out_x;x=7;exit=0" '1000 12000'
slow_program gone-stopped "$out_x;x=7;exit=0" '-s 1000 3000'
slow_program gone-early "$out_x;exit=0" '1000 3000'
slow_program failed "$out_x;exit=1" '1000 3000'
slow_program stderr "$go;many=stderr:$size;x=7" '-e 1000 12000'
slow_program stderr-gone "$go;many=stderr:$size;x=7;exit=0" '-e 1000 3000'
slow_program between "$go;many=con:61440;sleep=500;promise=5;many=con:40960;\
sleep=500;say=stdout:12345;stay" '-e 0 13000' -console
slow_monogon monogon "many=con:$longer;byte=7;exit=0" '1000 3000'
slow_monogon monogon-long "many=con:$longer;byte=7;exit=0" '1000 12000'
slow_monogon monogon-stays "many=con:$longer;byte=7;stay" '1000 12000'
slow_monogon monogon-failed "many=con:$longer;exit=1" '1000 3000'
at ctrl-s "$go;say=stdout:ready\\n;line;many=stdout:99968;x=7" \
    expect ready send '\cSgo\r' unread 12000 send '\cQ' --

# -- Nobody reads, and the run is to end --
quick='-timeout 2'
# shellcheck disable=SC2086 # words
{
	slow_program console "$go;many=con:3000000;stay" '-e 0 -1' $quick \
	    -console
	slow_program verbose "$go;many=qemu:3000000;stay" '-e 0 -1' $quick -v
	slow_program unread "$go;many=stdout:3000000;stay" '0 -1' $quick
	slow_program unread-err "$go;many=stderr:3000000;stay" '-e 0 -1' $quick
	slow_program gone-unread "$out_x;x=7;exit=0" '0 -1' $quick
	slow_monogon monogon-unread "many=con:$longer;byte=0;exit=0" '0 -1' \
	    $quick
	slow_program term-console "$go;many=con:3000000;stay" \
	    '-e -k 15 1000 -1' -console
	at tty "$go;many=stdout:3000000;stay" gone -- $quick
	at tty-ctrl-s "$go;say=stdout:ready\\n;line;many=stdout:99968;stay" \
	    expect ready send '\cSgo\r' gone -- -timeout 12
	at tty-raw "$go;many=stdout:3000000;stay" gone -- -tty $quick
	at tty-console "$go;many=con:3000000;stay" gone -- -console $quick
	at tty-term "$go;say=stdout:ready\\n;many=stdout:3000000;stay" \
	    expect ready signal 15 gone --
}

# -- A stderr that is full and does not block, whose reader comes later --
slow_program full 'say=qemu:oops\n;exit=1' '-e -n -f 0 3000'
slow_program full-console "$go;many=con:$size;say=stdout:end;x=7" \
    '-e -n 0 3000' -console
slow_program full-verbose "$go;many=qemu:$size;say=stdout:end;x=7" \
    '-e -n -f 0 3000' -v

# -- stdout is closed --
closed() { # NAME SCRIPT [OPTIONS...]
	closed_name=$1 closed_do=$2
	shift 2
	# shellcheck disable=SC2016
	job "$closed_name" env "FAKE_DO=$closed_do" sh -c 'exec "$@" >&-' sh \
	    "$KTEST" -qemu "$FAKE" -init "$GUEST" -kernel-path \
	    "$FAKE_KERNEL" -accel tcg "$@"
}
closed closed "$go;say=stdout:x;x=7" -- "$GUEST" exit 0
closed closed-quiet "$go;say=stderr:x;x=7" -- "$GUEST" exit 0
closed closed-monogon 'say=con:x;byte=0;exit=0' -initrd-path "$T/initrd"
jobs_run 41

# whole NAME STATUS FILE WHAT: its status and its output
whole() {
	result "$1"
	is "$status" "$2" "$4: status"
	same "$out" "$3" "$4: all bytes"
}

whole paused 7 "$T/whole" 'a pause of 12 s after the verdict'
whole stopped 7 "$T/whole" 'ktest is stopped for 12 s'
whole gone 7 "$T/whole" 'a pause of 3 s, the guest has ended by itself'
whole gone-long 7 "$T/whole" 'a pause of 12 s, the guest has ended by itself'
whole gone-stopped 7 "$T/whole" 'ktest is stopped, the guest ends by itself'
whole gone-early 123 "$T/whole" 'a pause, the guest ended without a verdict'
like "$err" '^ktest: the guest ended without an exit code' \
    'a pause, the guest ended without a verdict: why'
whole failed 125 "$T/whole" 'a pause, QEMU failed'
like "$err" '^ktest: QEMU ended with status 1' 'a pause, QEMU failed: why'
result stderr
is "$status" 7 'a pause of 12 s on stderr: status'
same "$err" "$T/whole" 'a pause of 12 s on stderr: all bytes'
result stderr-gone
is "$status" 7 'a pause on stderr, the guest has ended: status'
same "$err" "$T/whole" 'a pause on stderr, the guest has ended: all bytes'
result between
is "$status" 0 'the console unread between verdict and output: status'
text "$out" 12345 'the console unread between verdict and output: all bytes'
whole monogon 7 "$T/longer" 'Monogon mode, a pause of 3 s'
whole monogon-long 7 "$T/longer" 'Monogon mode, a pause of 12 s'
whole monogon-stays 7 "$T/longer" 'Monogon mode, a pause, QEMU stays'
whole monogon-failed 125 "$T/longer" 'Monogon mode, a pause, QEMU failed'
result ctrl-s
is "$code $(tail -n 1 "$err")" '0 status 7 modes same' \
    'Ctrl-S, and 12 s later Ctrl-Q: status'
tr -d '\r' <"$out" | grep '^0' >"$T/shown"
head -c 99968 "$T/longer" >"$T/wanted"
same "$T/shown" "$T/wanted" 'Ctrl-S, and 12 s later Ctrl-Q: all bytes'

# ended NAME WANTED WHAT: in time, and nothing is left
ended() {
	result "$1"
	is "$status" "$2" "$3: status $2"
	ok "$3: in time" [ "$wall_us" -lt 120000000 ]
}
ended console 124 'nobody reads the console, -timeout'
ended verbose 124 'nobody reads -v, -timeout'
ended unread 124 'nobody reads stdout, -timeout'
ended unread-err 124 'nobody reads stderr, -timeout'
ended gone-unread 124 'nobody reads what a guest left, -timeout'
ended monogon-unread 124 'Monogon mode, nobody reads, -timeout'
ended term-console 143 'nobody reads the console, SIGTERM'
for n in tty tty-ctrl-s tty-raw tty-console; do
	ended $n 0 "$n: a terminal that nobody reads"
	is "$(tail -n 1 "$err")" 'status 124 modes same' "$n: -timeout"
done
ended tty-term 0 'a terminal that nobody reads'
is "$(tail -n 1 "$err")" 'status 143 modes same' \
    'a terminal that nobody reads: SIGTERM'

result full
is "$status" 125 'a full stderr: status'
text "$err" "ktest: QEMU ended with status 1: oops$nl" \
    'a full stderr: the line is there later'
result full-console
is "$status $(cat "$out")" '7 end' 'a full stderr and -console: status'
same "$err" "$T/whole" 'a full stderr and -console: all bytes'
result full-verbose
is "$status $(cat "$out")" '7 end' 'a full stderr and -v: status'
# ktest's own lines may stand between any two bytes of QEMU's
sed '/^TT|/d; s/ktest: .*//' "$err" | tr -d '\n' >"$T/shown"
tr -d '\n' <"$T/whole" >"$T/wanted"
same "$T/shown" "$T/wanted" 'a full stderr and -v: all bytes'

result closed
is "$status" 125 'stdout is closed: status'
text "$err" "ktest: stdout: Bad file descriptor$nl" 'stdout is closed: why'
result closed-quiet
is "$status $(cat "$err")" '7 x' 'stdout is closed, and nothing written'
result closed-monogon
is "$status" 125 'Monogon mode, stdout is closed: status'
text "$err" "ktest: stdout: Bad file descriptor$nl" \
    'Monogon mode, stdout is closed: why'

# -- The same with real guests --
if [ ! -f "${KTEST_TINY:-}" ] || [ ! -f "$init" ]; then
	skip 'no KTEST_TINY' 'real guests before slow readers'
	finish
fi
real() { # NAME READER-OPTIONS [OPTIONS...] [-- PROGRAM...]
	real_name=$1 real_reader=$2
	shift 2
	# shellcheck disable=SC2086 # options are words
	job "$real_name" "$READER" $real_reader "$KTEST" -kernel-path \
	    "$KTEST_TINY" -accel "$ACCEL" "$@"
}
# what a pipe, a virtio port's queue, QEMU and a socket do not hold
"$GUEST" random 12000000 1 >"$T/random"
head -c 100000 "$T/random" >"$T/little"
"$GUEST" lines 40000 >"$T/lines"
echo 'lines 40000' >"$T/command"
"$mkcpio" "init=$init" "tester=$GUEST" "tester.cmd=$T/command" >"$T/m.cpio"
real real-paused '1000 12000' -- "$GUEST" random 12000000 1
real real-little '1000 12000' -- "$GUEST" random 100000 1
real real-stopped '-s 1000 12000' -- "$GUEST" random 100000 1
real real-monogon '1000 12000' -initrd-path "$T/m.cpio"
# The reader itself is stopped, as by Ctrl-Z.
# shellcheck disable=SC2016
job real-cat sh -c '
	mkfifo "$0/fifo" || exit
	cat "$0/fifo" &
	cat=$!
	"$@" >"$0/fifo" &
	ktest=$!
	until [ -s "$0/jobs/real-cat.out" ]; do sleep 0.05; done
	kill -STOP $cat; sleep 12; kill -CONT $cat
	wait $ktest; status=$?
	wait $cat
	exit $status
' "$T" "$KTEST" -kernel-path "$KTEST_TINY" -accel "$ACCEL" -- "$GUEST" \
    random 12000000 1
# A guest whose clock runs 200 times too fast: 12 seconds are 40 minutes.
khz=$("$KTEST" -n -kernel-path "$KTEST_TINY" -accel tcg -- "$GUEST" exit 0 |
    sed -n 's/.*tsc_early_khz=\([0-9]*\).*/\1/p')
fast=
if [ "$ACCEL" = tcg ] && [ -n "$khz" ]; then
	fast="tsc_early_khz=$((khz / 200)) tsc=reliable nohz=off"
	real real-lunch '1000 12000' -cmdline "$fast" -- \
	    "$GUEST" random 12000000 1
	real real-lunch-little '1000 12000' -cmdline "$fast" -- \
	    "$GUEST" random 100000 1
fi
jobs_run 2

whole real-paused 0 "$T/random" 'a guest: a pause of 12 s'
whole real-little 0 "$T/little" 'a guest: a pause of 12 s at the end'
whole real-stopped 0 "$T/little" 'a guest: ktest is stopped for 12 s'
whole real-cat 0 "$T/random" 'a guest: its reader is stopped for 12 s'
result real-monogon
is "$status" 0 'a guest in Monogon mode, a pause of 12 s: status'
tr -d '\r' <"$out" | grep '^line' >"$T/console"
same "$T/console" "$T/lines" \
    'a guest in Monogon mode, a pause of 12 s: all lines'
if [ -n "$fast" ]; then
	whole real-lunch 0 "$T/random" 'a guest: a pause of 40 minutes'
	whole real-lunch-little 0 "$T/little" \
	    'a guest: a pause of 40 minutes at the end'
else
	skip 'no TCG' 'a guest: a pause of 40 minutes'
fi
is "$(ls -A "$T/tmp")" '' 'no temporary file is left'
finish
