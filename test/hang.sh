#!/bin/sh
# Hangs that explain themselves: what ktest says when -timeout ends a run, and
# at SIGQUIT, and the memory that -dump keeps; with guests that sleep, spin and
# deadlock, by a module of Debian's headers, and with a QEMU that says nothing,
# nonsense or too much when it is asked.
. "$(dirname "$0")/tap.sh"

need_ktest
fake_setup

# -- A QEMU that is asked in vain: ktest ends all the same --
# asked SCRIPT: a run that ends after a second, or after twenty where the host
# was too busy for a hello within one
asked() {
	for asked_s in 1 20; do
		fake "$1" -timeout $asked_s -- "$GUEST" exit 0
		grep -q 'the guest still boots' "$err" || break
	done
}
# in_time: within the two seconds, and what a busy host takes
in_time() {
	is "$status" 124 "$1: status"
	ok "$1: ends in time" [ "$wall_us" -lt 60000000 ]
}
registers='say=qmp:{"return": "\\r\\nCPU#0\\r\\nRAX=0\\r\\n'
says() { # RIP RFL CPL HLT
	echo "$registers""RIP=$1 RFL=$2 [-------] CPL=$3 II=0 A20=1 SMM=0" \
	    "HLT=$4\\r\\n\"}\\n"
}
asked 'hello;clock;stay'
in_time 'no answer'
like "$err" "^ktest: timeout after [0-9]+ s: init does not answer, QEMU's monitor "\
'does not answer$' 'no answer: said'
fake 'stay' -timeout 1 -- "$GUEST" exit 0
in_time 'no hello'
like "$err" '^ktest: timeout after 1 s: the guest still boots, ' \
    'no hello: said'
asked "hello;clock;$(says ffffffff81000000 00000246 0 1);stay"
like "$err" 'init does not answer, the kernel is idle$' 'all CPUs halted'
asked "hello;clock;$(says ffffffffc0001234 00000046 0 0);stay"
like "$err" 'CPU 0 spins in the kernel, at 0xffffffffc0001234 with '\
'interrupts off$' 'a CPU without interrupts'
asked "hello;clock;$(says 400000 00000246 3 0);stay"
like "$err" 'CPU 0 runs in user space$' 'a CPU in user space'
asked 'hello;clock;many=qmp:50000000;stay'
in_time 'the monitor says too much'
asked 'hello;clock;say=qmp:\0\e{"return": "RIP=zFL=CPL=HLT=\n;stay'
in_time 'the monitor says nonsense'
asked 'hello;clock;close=qmp;stay'
in_time 'the monitor hangs up'
nmi='say=con:BUG: mine\n;hear=qmp:inject-nmi;say=con:Kernel panic - not'
asked "hello;clock;$nmi syncing: NMI\n;stay"
in_time 'a panic by our NMI'
like "$err" '^ktest: the kernel failed: BUG: mine$' 'what came before it counts'
unlike "$err" '^ktest: the kernel failed: .*(panic|more)' 'the panic does not'
told='hear=control:d;say=control:tprogram 7\nttask 7 7 1'
asked "hello;clock;$told"' S do_wait 61 sh\nt+do_wait+0x1/0x2\n'\
'ttask 8 8 7 D x 0 a b\nt+lock+0x1/0x2 [m]\nt\n;stay'
in_time 'init answers'
like "$err" 'the program waits for a b \(pid 8\), which waits uninterruptibly '\
'in lock \[m\]$' 'init answers: the child that hangs'
like "$err" '^    a b, pid 8: state D, in x, system call 0$' 'its task'
asked "hello;clock;$told"' R - running x\n;sleep=300;x=0'
is "$status" 124 'a verdict after -timeout comes too late'
asked 'hello;clock;hear=control:d;many=control:1;stay'
is "$status" 124 'nonsense from init meanwhile'
asked "hello;clock;$told"' \e[31m - - \e\n\0\nt+\e[2Jx\n;stay'
in_time 'init says nonsense'
unlike "$err" "$(printf '\033')" 'init says nonsense: it is made visible'
fake 'hello;clock;go;say=control:tx\nt\n;x=3' -- "$GUEST" exit 0
is "$status $(cat "$err")" '3 ' 'an explanation that nobody wanted'

# -- Several kernels: each run is asked --
cp "$FAKE_KERNEL" "$FAKE_KERNEL.2"
rm -f "$T/log"/*
FAKE_DO='hello;clock;go;hear=control:d;say=control:tx\nt\n;x=0'
"$HOLD" -o "$T/jobs/suite.report" -p "$T/jobs/suite.pid" -t "$guard" "$KTEST" \
    -snapshot none -qemu "$FAKE" -init "$GUEST" -kernel-path "$FAKE_KERNEL" \
    -kernel-path "$FAKE_KERNEL.2" -modules "$T/k" -jobs 2 -accel tcg -- \
    "$GUEST" exit 0 </dev/null >"$T/jobs/suite.out" 2>"$T/jobs/suite.err" &
holder=$!
until_true [ -s "$T/log/start.2.pid" ]
# again and again: one that boots is not asked
while [ ! -s "$T/jobs/suite.report" ]; do
	kill -QUIT "$(cat "$T/jobs/suite.pid")" 2>"$T/said"
	sleep 0.1
done
wait "$holder"
result suite
is "$status" 0 'several kernels: SIGQUIT goes to each run'
is "$(grep -c '^    x$' "$err")" 2 'several kernels: what both say'

# -- -dump --
dumps='hear=qmp:set-action;say=qmp:{"QMP": {}}\n{"return": {}}\n'
event='{"timestamp": 1, "event": "SHUTDOWN", "data": {"guest": true}}\n'
asked='hear=qmp:dump-guest-memory;say=qmp:'
fake "hello;clock;go;x=4" -dump "$T/dump" -- "$GUEST" exit 0
is "$status $(ls -A "$T" | grep -c dump)" '4 0' '-dump: nothing to keep'
fake "hello;clock;say=con:Kernel panic - not syncing: x\\n;$dumps$event;$asked"\
'{"return": {}, "id": "dump"}\n;stay' -dump "$T/dump" -- "$GUEST" exit 0
is "$code $(ls "$T/dump")" "123 $T/dump" '-dump: a panic'
like "$err" "the guest's memory is in $T/dump" '-dump: said'
like "$err" 'the guest panicked: x' '-dump: the verdict is that of the panic'
fake "hello;clock;$dumps$event;$asked"'{"error": 1, "id": "dump"}\n;'"$asked"\
'{"id": "dump", "error": 2}\n;'"$asked"'{"error": "no room", "id": "dump"}\n;'\
'stay' -dump "$T/dump" -- "$GUEST" exit 0
is "$code $(ls -A "$T" | grep -c dump)" '123 0' '-dump: QEMU fails'
like "$err" "^ktest: -dump $T/dump: QEMU's monitor says [{].*no room.*[}]\$" \
    '-dump: QEMU fails: said'
fake "hello;clock;$dumps"'{"error": {"desc": "no such"}, "id": "pause"}\n;stay' \
    -dump "$T/dump" -- "$GUEST" exit 0
is "$code" 125 '-dump: a QEMU that cannot'
like "$err" "^ktest: -dump $T/dump: this QEMU cannot: [{].*no such.*[}]\$" \
    '-dump: a QEMU that cannot: said'
fake "hello;clock;$dumps$event;hear=qmp:dump-guest-memory;exit=0" \
    -dump "$T/dump" -- "$GUEST" exit 0
is "$code $(ls -A "$T" | grep -c dump)" '123 0' '-dump: QEMU ends meanwhile'
# a machine that is saved needs the greeting, which comes long before that
event='{"timestamp": 1, "event": "MIGRATION", "data": {"status": "'
none='{"return": {}}\n'
FAKE_MONITOR='say=qmp:{"QMP": {}}\n;sleep=200;hello;say=qmp:'
FAKE_MONITOR=$FAKE_MONITOR$none$none$none$none$event'completed"}}\n;state=abc;stay'
FAKE_INCOMING='say=qmp:{"QMP": {}}\n'$none$none$none\
'{"timestamp": 1, "event": "RESUME"}\n;clock;say=control:l;go;x=5'
export FAKE_MONITOR FAKE_INCOMING
FAKE_WARM=
fake 'hello;clock;go;x=9' -snapshot "$T/machine" -dump "$T/dump" -- "$GUEST" exit 0
is "$status $(starts)" '5 2' '-dump: a machine that is saved first'
unset FAKE_MONITOR FAKE_INCOMING FAKE_WARM
fake stay -dump "$T/no/dump" -- "$GUEST" exit 0
is "$code $(starts)" '125 0' '-dump: no such directory'
one_line "$err" '-dump: no such directory: one line'
run "$KTEST" -kernel-path "$FAKE_KERNEL" -initrd-path "$GUEST" -dump "$T/dump"
is "$code" 125 '-dump without a program'
one_line "$err" '-dump without a program: one line'

# -- Guests that hang --
[ -f "${KTEST_CLOUD:-}" ] || finish
version=${KTEST_CLOUD##*/vmlinuz-}
headers=/usr/src/linux-headers-$version
module=$T/module/hang.ko
mkdir "$T/module"
cp "$here/modules/hang.c" "$T/module"
echo 'obj-m := hang.o' >"$T/module/Makefile"
why=
if [ ! -d "$headers" ]; then
	why="no $headers (apt-get install linux-headers-$version)"
elif ! make -s -C "$headers" M="$T/module" modules >"$T/make" 2>&1; then
	why='the module does not build'
	show "$T/make"
fi
snapshot=$T/snapshot
hangs() { # NAME OPTIONS... -- PROGRAM...
	hangs_name=$1
	shift
	cloud_job "$hangs_name" -memory 128M -snapshot "$snapshot" "$@"
}
module() { # HOW OPTIONS...
	module_how=$1
	shift
	[ -n "$why" ] || hangs "$module_how" -file "$module:/hang.ko" "$@" -- \
	    /sbin/insmod /hang.ko "how=$module_how"
}
cloud -memory 128M -snapshot "$snapshot" -- "$GUEST" exit 0
is "$status" 0 'a machine is saved'
cloud -memory 128M -snapshot "$snapshot.dump" -dump "$T/none.dump" -- "$GUEST" \
    exit 0
is "$status" 0 'another is saved, for -dump'
hangs pause -- "$GUEST" hang
hangs futex -- "$GUEST" futex
hangs user -- "$GUEST" spin
hangs stop -- "$GUEST" stop
module mutex
module state
module spin
module irqoff -snapshot "$snapshot.dump" -dump "$T/irqoff.dump"
[ -n "$why" ] || cloud_job oops -timeout 280 -memory 128M -snapshot "$snapshot.dump" \
    -dump "$T/oops.dump" -file "$module:/hang.ko" -- /sbin/insmod /hang.ko \
    how=oops
cloud_job panic -timeout 280 -memory 128M -snapshot "$snapshot.dump" \
    -dump "$T/panic.dump" -- "$GUEST" sysrq c
KTEST_OPTIONS='-timeout 10'
export KTEST_OPTIONS
jobs_run

# hung NAME LINE: the one line that names it; a busy host may need longer
hung() {
	result "$1"
	hung_line="^ktest: timeout after [0-9]+ s: $2$"
	grep -Eq "$hung_line" "$err" || {
		rmdir "$T/jobs/$1.taken"
		echo "$1" >"$T/jobs/list"
		KTEST_OPTIONS='-timeout 250'
		jobs_run
		result "$1"
	}
	is "$status" 124 "$1: status"
	like "$err" "$hung_line" "$1: what it hangs in"
}
hung pause 'the program sleeps in .*'
like "$err" '^        __(x64|do)_sys_[a-z]+\+' "pause: the kernel's stack"
like "$err" '^    load .* MemAvailable: ' 'pause: load and memory'
hung futex 'the program waits for guest \(pid [0-9]+\), which sleeps in futex_.*'
hung user 'the program runs \(CPU-bound\) in user space'
hung stop 'the program is stopped.*'
if [ -n "$why" ]; then
	skip "$why" 'hangs in a module'
else
	hung mutex 'the program waits uninterruptibly in take_twice \[hang\]'
	like "$err" '__mutex_lock' 'mutex: the blocked tasks (SysRq w)'
	hung state 'the program waits uninterruptibly in wait_in_d \[hang\]'
	hung spin 'init does not answer, CPU 0 spins in spin_nopreempt \[hang\]'
	hung irqoff 'init does not answer, CPU 0 spins in spin_irqoff \[hang\]'\
' with interrupts off'
	like "$err" 'hang_init\+' 'irqoff: its caller'
	ok 'irqoff: -dump' [ -s "$T/irqoff.dump" ]
	result oops
	is "$code" 137 'oops: status'
	ok 'oops: -dump' [ -s "$T/oops.dump" ]
fi
result panic
like "$err" 'the guest panicked: sysrq triggered crash' 'panic: said'
for dump in panic irqoff; do
	[ -s "$T/$dump.dump" ] || continue
	head -c 200000 "$T/$dump.dump" | tr -c '[:print:]' '\n' >"$T/note"
	like "$T/note" "^OSRELEASE=$version" "$dump: the dump has a vmcoreinfo"
done

unset KTEST_OPTIONS

# -- SIGQUIT: the run goes on --
mkfifo "$T/stdin"
"$HOLD" -o "$T/jobs/quit.report" -p "$T/jobs/quit.pid" -t "$guard" "$KTEST" \
    -accel "$ACCEL" -memory 128M -snapshot "$snapshot" -kernel-path \
    "$KTEST_CLOUD" -- "$GUEST" echo <"$T/stdin" >"$T/jobs/quit.out" \
    2>"$T/jobs/quit.err" &
holder=$!
exec 5>"$T/stdin"
echo one >&5
until_true grep -q one "$T/jobs/quit.out"
kill -QUIT "$(cat "$T/jobs/quit.pid")"
until_true grep -q 'sysrq: Show Blocked State' "$T/jobs/quit.err"
echo two >&5
until_true grep -q two "$T/jobs/quit.out"
exec 5>&-
wait "$holder"
result quit
is "$status" 0 'SIGQUIT: the run goes on'
like "$err" '^ktest: after [0-9.]+ s: the program sleeps in pipe_read$' \
    'SIGQUIT: what it does'
like "$out" 'two' 'SIGQUIT: what comes then'

# -- crash opens a dump, given the kernel with its symbols --
vmlinux=$(sh "$here/kernels.sh" path symbols 2>/dev/null)
if ! command -v crash >/dev/null || [ "${vmlinux##*/}" != "vmlinux-$version" ]; then
	skip "\`make health\` has crash, and the symbols of $version" 'crash'
else
	printf 'bt\nquit\n' | crash -s "$vmlinux" "$T/panic.dump" >"$T/crash" 2>&1
	like "$T/crash" 'PID: .*COMMAND: "guest"' 'crash: the task that panicked'
	like "$T/crash" 'sysrq_handle_crash' 'crash: its stack'
fi
finish
