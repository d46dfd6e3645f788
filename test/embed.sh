#!/bin/sh
# ktest as a library: its interface as README shows it, runs in threads,
# cancellation, callers that misbehave, what is left behind; the example.
. "$(dirname "$0")/tap.sh"

need_ktest
fake_setup
build net-guest net-guest.c -static
N=$built

strict='-std=c99 -Wall -Wextra -Wpedantic -Werror'

# library NAME CC FLAGS...: a program of this directory, with the library
library() {
	lib_name=$1
	rm -f "$T/$lib_name"
	shift
	"$@" "$here/$lib_name.c" -o "$T/$lib_name" -lpthread \
	    >"$T/cc.out" 2>&1
}

# The example with the declarations alone, and the library beside it
{
	echo '#define _POSIX_C_SOURCE 200809L'
	echo '#include <stdio.h>'
	sed -n '/==== 0. Interface/,/end of the interface/p' "$top/ktest.c"
	sed '/KTEST_LIB/d; /ktest.c"/d' "$here/pair.c"
} >"$T/apart.c"
err=$T/cc.out
for cc in gcc clang musl-gcc; do
	if ! command -v $cc >/dev/null; then
		skip "no $cc" "$cc: the library and its example"
		continue
	fi
	# shellcheck disable=SC2086 # words
	ok "$cc: the example" library pair $cc $strict
	ok "$cc: the library beside it" sh -c "$cc $strict -DKTEST_LIB \
	    '$top/ktest.c' '$T/apart.c' -o '$T/apart' -lpthread >'$err' 2>&1"
done
"${CC:-cc}" -DKTEST_LIB -c "$top/ktest.c" -o "$T/ktest.o"
nm -g --defined-only "$T/ktest.o" | sed 's/.* //' | grep -v '^ktest_' \
    >"$T/names"
empty "$T/names" 'the library gives no names but ktest_...'
is "$(size -A "$T/ktest.o" | awk '$1 ~ /^\.(data|bss)$/ { n += $2 }
    END { print n + 0 }')" 0 'and has no variables'

sanitize='-g -fsanitize=address,undefined -fno-sanitize-recover=all'
# shellcheck disable=SC2086
library embed "${CC:-cc}" $sanitize || library embed "${CC:-cc}" -g
E=$T/embed

embed() { # SCRIPT WHAT OPTIONS...
	FAKE_DO=$1
	export FAKE_DO
	embed_what=$2
	shift 2
	rm -f "$T/log"/*
	run "$E" "$embed_what" -qemu "$FAKE" -init "$GUEST" -kernel-path \
	    "$FAKE_KERNEL" -accel tcg "$@" -- "$GUEST" exit 0
	is "$status" 0 "$embed_what: the program goes on"
}

well='hello;clock;go'
embed "$well;x=3" run
like "$out" '^status 3 signal 0 qemu killed 9$' 'a run'
like "$out" '^error: $' 'a run: no error'
embed "say=qemu:oops\\n;exit=4" run
like "$out" '^status 125 signal 0 qemu exit 4$' 'QEMU fails: its status'
like "$out" '^stderr: oops$' 'QEMU fails: its stderr'
like "$out" '^error: QEMU ended with status 4: oops$' 'QEMU fails: why'
like "$err" '^ktest: QEMU ended with status 4: oops$' 'QEMU fails: printed'
embed "$well;x=3" run -no-such-option
like "$out" '^status 125 signal 0 qemu none$' 'a wrong option'
like "$out" '^error: -no-such-option: no such option' 'a wrong option: why'
embed "$well;x=3" run -netfd 77
like "$out" '^error: -netfd 77: fd 77: Bad file' 'a closed fd'
embed "$well;x=3" run -chardev a=77
like "$out" '^error: -chardev a=77: fd 77: Bad file' 'a closed fd of a port'
embed "$well;x=3" ports -net user -port 80 -port 81/udp
is "$(grep bound "$out")" "port 80 is bound${nl}port 81/udp is bound" \
    'the ports are told'

embed "$well;stay" cancel-signal
like "$out" '^status 143 signal 15 qemu killed 9$' 'cancelled by a thread'
embed "$well;stay" cancel-zero
like "$out" '^status 125 signal 0 qemu killed 9$' 'cancelled without a signal'
like "$out" '^error: the caller ended the run$' 'cancelled: why'
embed "$well;stay" cancel-close
like "$out" '^error: the caller ended the run$' 'cancelled by closing the fd'
embed "$well;stay" cancel-handler
like "$out" '^status 142 signal 14 qemu killed 9$' \
    'cancelled by a signal handler'
embed "$well;stay" cancel-before
like "$out" '^status 143 signal 15 ' 'cancelled before it began'
embed "$well;stay" run -timeout 300ms
like "$out" '^status 124 signal 0 qemu killed 9$' 'a deadline'

embed "$well;many=stdout:1000000;x=0" pipe-closed
like "$out" '^status 141 signal 13 ' 'a caller that closed its end'
like "$out" '^SIGPIPE: default, none$' 'it is not killed for it'
embed "$well;many=stdout:1000000;x=0" pipe-unread -timeout 1
like "$out" '^status 124 signal 0 ' 'a caller that forgets to read'
embed 'exit=3' sigchld-ignored
like "$out" '^status 125 ' 'a caller that ignores SIGCHLD'

embed "$well;x=5" many
text "$out" "100 runs, 0 wrong, fds +0, maps +0, children none$nl" \
    'nothing is left of 100 runs'
embed 'exit=1' many
text "$out" "100 runs, 100 wrong, fds +0, maps +0, children none$nl" \
    'nor of 100 that failed'
embed "$well;x=5" threads
text "$out" "160 runs in 8 threads, 0 wrong$nl" 'runs in threads'
siblings() { # WHAT OPTIONS...
	siblings_what=$1
	shift
	embed "$well;x=5" siblings "$@"
	like "$out" '^status 5 ' "another thread's programs, $siblings_what"
	like "$out" "^many fds, 0 of them another thread's program's, too$" \
	    "another thread's programs, $siblings_what: get no fds"
}
siblings 'a cold run'
siblings 'ports and a port file' -net user -port 80 -port 81/udp -port-file \
    "$T/ports"
ok 'the port file is there' [ -s "$T/ports" ]
siblings 'a file as a port' -chardev "a=$T/port"
FAKE_MONITOR='hello;exit=1'
export FAKE_MONITOR
siblings 'a snapshot that cannot be made' -snapshot "$T/snapshot"
unset FAKE_MONITOR
embed '' log
text "$out" 'TT|          test launch ! one 1
TT|                      | two
TT|          test launch ! Running it:
TT|                      |   qemu
TT|                      |   -a b c
TT|                      |   -d
' 'the log is in the original format'
if command -v valgrind >/dev/null && library embed "${CC:-cc}" -g; then
	FAKE_DO="$well;x=3"
	run valgrind -q --leak-check=full --track-fds=yes --error-exitcode=9 \
	    "$E" run -qemu "$FAKE" -init "$GUEST" -kernel-path \
	    "$FAKE_KERNEL" -accel tcg -net user -port 80 -- "$GUEST" exit 0
	is "$status" 0 'clean under valgrind'
	like "$out" '^status 3 ' 'under valgrind: a run'
else
	skip 'no valgrind' 'clean under valgrind'
fi

# -- What we encode, QEMU reads back --
if command -v qemu-system-x86_64 >/dev/null; then
	library encode "${CC:-cc}" -g
	run "$T/encode" qemu-system-x86_64
	is "$status" 0 'QEMU reads back what ktest_encode wrote'
	diag "$(tail -n 1 "$out")"
else
	skip 'no qemu-system-x86_64' 'QEMU reads back what ktest_encode wrote'
fi

# -- The example: two machines, a cable, a megabyte --
if [ -f "${KTEST_CLOUD:-}" ] && [ -x "$top/init" ]; then
	with=
	for flags in "$sanitize" -g; do
		# shellcheck disable=SC2086
		ok "the example is built with $flags" library pair \
		    "${CC:-cc}" $flags
		[ "$flags" != -g ] || ! command -v valgrind >/dev/null ||
		    with='valgrind -q --leak-check=full --error-exitcode=9'
		# shellcheck disable=SC2086
		run $with "$T/pair" "$KTEST_CLOUD" "$top/init" "$N"
		is "$status" 0 "the example, built with $flags: $with"
		like "$out" '^1 connections, 1048576 bytes each way$' \
		    'the example: a megabyte and back'
	done
else
	skip 'no KTEST_CLOUD' 'the example'
fi

finish
