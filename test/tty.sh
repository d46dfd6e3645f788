#!/bin/sh
# A terminal in the guest: -tty and -shell, driven by pty.c, which is somebody
# at a terminal here; and what a program sees that has none here.
. "$(dirname "$0")/tap.sh"

need_ktest
[ -f "${KTEST_TINY:-}" ] || skip_all 'no KTEST_TINY'
build pty pty.c
PTY=$built
K="$KTEST -accel $ACCEL -kernel-path $KTEST_TINY"
W=$K	# a machine that is restored
[ -n "${KTEST_SNAPSHOT:-}" ] || [ "${KTEST_RUNS:-}" = all ] ||
    W="$K -snapshot $T/warm"
SHELL=/bin/sh
PS1='ready $ '
export SHELL PS1
unset ENV
cd / || exit 1

# at NAME STEP... -- COMMAND...: somebody does this at a terminal
at() {
	at_name=$1
	shift
	job "$at_name" "$PTY" "$@"
}

# Prints 1111 when it runs and 1234 when it runs on: keys that come earlier
# would be the shell's.
go='sh -c "trap \"expr 1000 + 234\" CONT; expr 1000 + 111; while :; do sleep 1; done"\r'
# shellcheck disable=SC2086 # $K is words
{
	at shell expect '$ ' raw send 'stty size\r' expect '24 80' \
	    expect '$ ' size 50 132 send 'stty size\r' expect '50 132' \
	    expect '$ ' send "$go" expect 1111 send '\cC' expect '$ ' \
	    send "$go" expect 1111 send '\cZ' expect Stopped expect '$ ' \
	    send 'fg\r' expect 1234 send '\cC' expect '$ ' \
	    send 'echo $0 $TERM; exit 42\r' -- $K -env PS1 -shell
	at winch expect ready size 30 100 expect '30 100' send x -- \
	    $W -rootfs / -tty -- sh -c 'trap "stty size; exit 3" WINCH
		echo ready; read x; read x'
	at killed expect ready kill-child -- $K -rootfs / -tty -- sh -c \
	    "echo ready; sleep 1000"
	at left raw send '~.' -- $K -rootfs / -tty -- sleep 1000
	at left-later expect '$ ' send 'ls ~.; echo s""till\r' expect still \
	    send 'x\r~.' -- $W -env PS1 -shell
	at timeout raw -- $K -timeout 15 -rootfs / -tty -- sleep 1000
	at term raw signal 15 -- $K -rootfs / -tty -- sleep 1000
	at quit expect ready signal 3 expect 'the program sleeps in' \
	    signal 15 -- $K -rootfs / -tty -- sh -c 'echo ready; read x'
	at hup raw hangup -- $W -rootfs / -tty -- sleep 1000
	at boot expect 'QEMU runs' cooked send '\cC' -- $K -v -rootfs / \
	    -tty -- sleep 1000
	at panic raw -- $W -rootfs / -tty -- sh -c \
	    'sleep 1; echo c >/proc/sysrq-trigger'
	at missing -- $W -rootfs / -tty -- /no/such
	at bytes expect ready send '\cA\cD\cS\cQ\c\\cV\r' -- $W -rootfs / -tty -- \
	    sh -c 'stty raw -echo; echo rea""dy; head -c 7 | od -An -tx1'

	job no-tty $W -rootfs / -tty -- sh -c 'test -t 0 && test -t 1 &&
	    test -t 2 && tty && stty size; echo err >&2; exit 5'
	job stdin $W -rootfs / -tty -- sh -c 'cat; echo end'
	printf 'one\ntwo' >"$T/jobs/stdin.in"
	job much $K -rootfs / -tty -- seq 200000
	job user $W -rootfs / -tty -user nobody -- sh -c \
	    ': >/dev/tty && : >$(tty) && echo mine'
	job default $K -shell
	echo 'echo "SHELL is $0"; exit 7' >"$T/jobs/default.in"
	job no-shell env SHELL=/no/such $W -shell
	echo 'echo "then $0"; exit 8' >"$T/jobs/no-shell.in"
	job both $K -shell -- true
}
jobs_run

# ended NAME STATUS WHAT: its status, and the terminal as it was
ended() {
	result "$1"
	is "$code" 0 "$3: all steps"
	is "$(tail -n 1 "$err")" "status $2 modes same" \
	    "$3: status $2, the terminal as before"
}

ended shell 42 'a shell'
like "$out" '/bin/sh ' 'a shell: it is $SHELL'
ended winch 3 'SIGWINCH'
ended killed 125 'QEMU killed'
like "$out" 'QEMU died by signal 9' 'QEMU killed: said'
ended left 125 'Enter ~ . first'
ended left-later 125 'Enter ~ . later'
like "$out" 'ktest: left by Enter ~ .' 'Enter ~ .: said'
ended timeout 124 '-timeout'
ended term 143 'SIGTERM'
ended quit 143 'SIGQUIT, then SIGTERM'
ended hup 129 'the terminal is gone'
ended boot 130 'Ctrl-C while it boots'
ended panic 123 'a panic'
ended missing 127 'no such program'
ended bytes 0 'keys'
like "$out" '01 04 13 11 1c 16 0d' 'keys: as they are'

result no-tty
is "$status" 5 'no terminal here: status'
is "$(tr '\r\n' '  ' <"$out")" '/dev/pts/0  24 80  err  ' \
    'no terminal here: one there'
result stdin
like "$out" 'two(\^D..)*end.?$' 'stdin ends: an end is typed'
result much
seq 200000 | sed 's/$/\r/' >"$T/much"
same "$out" "$T/much" 'no output is lost'
result user
like "$out" '^mine' '-user: the terminal is its own'
result default
is "$status" 7 '-shell from a file: status'
like "$out" 'SHELL is /bin/sh' '-shell from a file: runs'
result no-shell
is "$status" 8 'no such SHELL: status'
like "$out" 'then /bin/sh' 'no such SHELL: /bin/sh'
result both
is "$status" 125 '-shell and a program: status'
one_line "$err" '-shell and a program: one line'
finish
