#!/bin/sh
# Spawn, supervision and verdict, against a stand-in for QEMU: whatever QEMU
# and the guest do, ktest ends, with the status and the line that it promises,
# and nothing is left behind.
. "$(dirname "$0")/tap.sh"

need_ktest
fake_setup
prog="-- $GUEST exit 0"
well='hello;clock;go'

# A run of the stand-in with the default program.
do_fake() { # SCRIPT [OPTIONS...]
	# shellcheck disable=SC2086 # $GUEST is a path that build() made
	fake "$@" $prog
}

no_verdict() { # WHAT REGEX [STATUS]: 125, a line that says why
	is "$status" "${3:-125}" "$1: status ${3:-125}"
	like "$err" "^ktest: .*($2)" "$1: a line says so"
}

# -- A guest that behaves --
do_fake "$well;say=stdout:out\\n;say=stderr:err\\n;x=3"
is "$status" 3 'verdict: the status passes through'
text "$out" "out$nl" 'verdict: stdout'
text "$err" "err$nl" 'verdict: stderr, and nothing of ours in it'

for n in 0 1 2 64 124 125 126 127 128 143 254 255; do
	do_fake "$well;x=$n"
	is "$status" "$n" "verdict: status $n"
done

do_fake "$well;deaf;x=5"
is "$status" 5 'verdict: a QEMU that ignores SIGTERM is ended'

"$GUEST" random 3000000 1 >"$T/random"
FAKE_DO="$well;cat;x=0"
run_in "$T/random" "$KTEST" -qemu "$FAKE" -init "$GUEST" -kernel-path \
    "$FAKE_KERNEL" -accel tcg -- "$GUEST" exit 0
is "$status" 0 'stdin: status'
same "$out" "$T/random" 'stdin: 3 MB there and back, then EOF'

FAKE_DO="$well;say=stdout:done;x=0"
run_in "$T/random" "$KTEST" -qemu "$FAKE" -init "$GUEST" -kernel-path \
    "$FAKE_KERNEL" -accel tcg -- "$GUEST" exit 0
is "$status" 0 'stdin: one that nobody reads does not matter'
text "$out" done 'stdin: ... and stdout comes'

do_fake "$well;many=stdout:20000000;many=stderr:1000000;x=9"
is "$status" 9 'flood: of stdout and stderr'
is "$(wc -c <"$out") $(wc -c <"$err")" '20000000 1000000' \
    'flood: every byte arrives'

for p in con early qemu; do
	do_fake "$well;many=$p:5000000;say=stdout:end;x=4"
	is "$status" 4 "flood: of $p, the verdict arrives"
	text "$out" end "flood: of $p, stdout is clean"
	empty "$err" "flood: of $p, stderr is clean"
done

# A reader that is in no hurry: nothing is lost, nothing given up.
FAKE_DO="$well;many=stdout:3000000;x=6"
run sh -c '
	{ "$@"; echo $? >"$0/slow.status"; } |
	{ head -c 1000 >"$0/slow.head"; sleep 2; wc -c; } >"$0/slow.count"
' "$T" "$KTEST" -qemu "$FAKE" -init "$GUEST" -kernel-path "$FAKE_KERNEL" \
    -accel tcg -- "$GUEST" exit 0
is "$(cat "$T/slow.status") $(cat "$T/slow.count")" '6 2999000' \
    'slow reader: all bytes and the status'

# -- QEMU fails --
do_fake 'say=qemu:qemu: it is too warm\n;exit=1'
no_verdict 'QEMU exits with 1' 'QEMU ended with status 1: .*too warm'

do_fake 'exit=0'
no_verdict 'QEMU exits with 0 and says nothing' \
    'without an exit code, before init was ready'

do_fake 'say=qemu:ouch\n;die=11'
no_verdict 'QEMU dies' 'QEMU died by signal 11.*: ouch'

do_fake "$well;say=stdout:half;exit=0"
no_verdict 'QEMU exits while the program runs' \
    'without an exit code, while the program ran' 123
text "$out" half 'QEMU exits while the program runs: what came is shown'

do_fake 'many=qemu:3000000;exit=1'
no_verdict 'QEMU floods its stderr and fails' 'QEMU ended with status 1: 000'
ok 'QEMU floods its stderr and fails: a bounded part is shown' \
    [ "$(wc -c <"$err")" -lt 100000 ]

run "$KTEST" -qemu "$T/no such qemu" -init "$GUEST" -kernel-path \
    "$FAKE_KERNEL" -accel tcg -- "$GUEST" exit 0
no_verdict 'QEMU is not there' 'no such qemu: cannot be executed: No such'
one_line "$err" 'QEMU is not there: one line'

# -- It hangs --
for how in '' 'hello;clock;go;' 'deaf;hello;clock;go;say=stdout:x;' \
    'only=none;' 'hello;clock;go;close=control;'; do
	do_fake "${how}stay" -timeout 1
	is "$status" 124 "hang after '$how': status 124"
	like "$err" '^ktest: timeout after ' "hang after '$how': a line says so"
done

# -- The control port says nonsense --
do_fake 'say=control:zzzz;stay'
no_verdict 'garbage' 'nonsense on its control port: byte 0x7a'
do_fake "$well;say=control:zzzz;exit=0"
no_verdict 'garbage after hello' 'nonsense on its control port: byte 0x7a'
do_fake "$well;say=control:x\\0\\0;exit=0"
no_verdict 'a verdict cut short' \
    'without an exit code, while the program ran' 123
do_fake 'say=control:x;exit=0'
no_verdict 'a verdict before hello' 'nonsense on its control port: byte 0x78'
do_fake "$well;say=stdout:abc;promise=100;exit=0"
no_verdict 'less output than announced, QEMU ends' \
    'output was lost: 3 of 103 bytes of stdout'
text "$out" abc 'less output than announced: what came is shown'
do_fake "$well;say=stdout:abc;promise=100;stay"
no_verdict 'less output than announced, QEMU stays' \
    'output was lost: 3 of 103 bytes of stdout'
do_fake "$well;say=stdout:abc;promise=1;close=stdout;stay"
no_verdict 'stdout closes too early' 'output was lost: 3 of 4 bytes of stdout'
do_fake 'say=control:ecannot mount /proc: busy\n;exit=0'
no_verdict 'init gives up' 'init gave up: cannot mount /proc: busy'
do_fake "$well;say=control:eno memory\\n;stay"
no_verdict 'init gives up late, QEMU stays' 'init gave up: no memory'
is "$(starts)" 1 'init gives up late: no second attempt'

# -- The kernel's last words --
do_fake "$well;say=con:Kernel panic - not syncing: testing\\n;exit=0"
no_verdict 'panic' 'the guest panicked: testing' 123
like "$err" '^Kernel panic - not syncing: testing' 'panic: the console is shown'
do_fake 'say=early:early words\nKernel panic - not syncing: early\n;exit=0' \
    -acpi on
no_verdict 'panic before hvc0' 'the guest panicked: early' 123
like "$err" '^early words' 'panic before hvc0: the serial line is shown'

do_fake 'say=con:\e[31mred\e]0title\r\n;many=con:100000;say=con:\e[2Jlast\n;exit=0' \
    -acpi on
ok 'console: no control characters reach the terminal' \
    [ "$(tr -d '\12\40-\176' <"$err" | wc -c)" = 0 ]
like "$err" '\^\[\[2Jlast' 'console: they are made visible'
unlike "$err" 'red' 'console: of a flood, the last part is shown'

do_fake "$well;say=con:secret\\n;x=0"
empty "$err" 'console: not shown after a verdict'
do_fake "$well;say=con:live\\e[2J\\n;x=0" -console
like "$err" 'live\^\[\[2J' '-console: shown live, made visible'

# -- The original's mode: one raw byte --
original() { # SCRIPT [OPTIONS...]
	fake "$@" -initrd-path /dev/null
}
original 'say=con:hello\n;byte=7;exit=0'
is "$status" 7 'original: the byte is the status'
text "$out" "hello$nl" 'original: the console is stdout'
for n in 0 1 128 255; do
	original "byte=$n;exit=0"
	is "$status" "$n" "original: byte $n"
done
original 'byte=0;stay'
is "$status" 0 'original: a byte, then QEMU never ends'
original 'say=con:x;exit=0'
no_verdict 'original: no byte' 'with no byte on its control port'
original 'byte=0;say=qemu:bad\n;exit=1'
no_verdict 'original: a byte, then QEMU fails' 'QEMU ended with status 1: bad'
# a child of the stand-in has the sockets and lives on: that is no leak
original 'after=500;byte=8;exit=0'
is "$code" 8 'original: a byte half a second after the end'
original 'after=4000;byte=0;exit=0'
like "$err" '^ktest: .*with no byte on its control port' \
    'original: a byte four seconds after the end: a line says so'
is "$code" 125 'original: a byte four seconds after the end comes too late'
original 'stay' -timeout 1
is "$status" 124 'original: timeout'
like "$err" '^ktest: timeout after ' 'original: timeout, a line says so'

# -- Another attempt --
unset_attempts() {
	unset FAKE_SANDBOX FAKE_IOAPIC2 FAKE_FSRS FAKE_KVM FAKE_ACPI_OFF FAKE_SGX
}
FAKE_SANDBOX='say=qemu:qemu: -sandbox support is not enabled in this QEMU\n;exit=1'
export FAKE_SANDBOX
do_fake "$well;x=5"
is "$status $(starts)" '5 2' 'no -sandbox in QEMU: the second start is without'
empty "$err" 'no -sandbox in QEMU: not worth a line'
do_fake "$well;x=5" -v
like "$err" '^ktest: .*sandbox' 'no -sandbox in QEMU: said under -v'
do_fake "$well;x=5" -sandbox off
is "$status $(starts)" '5 1' '-sandbox off: without from the start'
unset_attempts

# QEMU 5.2 has one IO-APIC and no word for it, QEMU 7.2 no FSRS.
no_option="' not found\\n;exit=1"
for old in "IOAPIC2 microvm-machine.ioapic2" "FSRS max-x86_64-cpu.fsrs"; do
	# shellcheck disable=SC2086 # words
	set -- $old
	unset_attempts
	export "FAKE_$1=say=qemu:qemu: Property '$2$no_option"
	do_fake "$well;x=5"
	is "$status $(starts)" '5 2' "no $2 in QEMU: the second start is without"
	empty "$err" "no $2 in QEMU: not worth a line"
	do_fake "$well;x=5" -v
	like "$err" "QEMU trips: trying without: ${2#*.}' not found" \
	    "no $2: said under -v"
done
is "$(tr '\0' '\n' <"$T/log/start.2.argv" | sed -n '/^-cpu/{n;p;}')" \
    max,cx16=off 'a QEMU older than 8.0: without cmpxchg16b'
unset_attempts
FAKE_IOAPIC2="say=qemu:qemu: Property 'microvm-machine.ioapic2$no_option"
export FAKE_IOAPIC2
do_fake "$well;x=5" -qemu-arg -M -qemu-arg microvm,ioapic2=off
is "$status $(starts)" '125 2' 'no ioapic2 in QEMU: tried once'
like "$err" "^ktest: .*ioapic2' not found" 'no ioapic2 in QEMU: its own words'
unset_attempts

do_fake "say=qemu:qemu: could not load PC BIOS 'no'\n;exit=1" -bios no
no_verdict '-bios no' '-bios no: is neither a file here nor'

FAKE_ACPI_OFF="$well;x=6"
export FAKE_ACPI_OFF
do_fake 'say=early:no ports\n;exit=0'
is "$status $(starts)" '6 2' 'no ports: tried again the other way'
empty "$err" 'no ports: not worth a line'
do_fake 'say=early:no ports\n;exit=0' -acpi on
is "$status $(starts)" '125 1' '-acpi on: not tried another way'
do_fake 'stay' -acpi off
is "$status $(starts)" '6 1' '-acpi off: given to QEMU'
do_fake "$well;say=stdout:ran\\n;exit=0"
is "$status $(starts)" '123 1' 'a program that may have run is not run again'
FAKE_ACPI_OFF='exit=0'
do_fake 'exit=0'
is "$status $(starts)" '125 2' 'no ports either way: two attempts, not more'
unset_attempts

# KVM is tried only where there is a /dev/kvm that can be opened.
if (: <>/dev/kvm) 2>/dev/null; then
	kvm_end='say=qemu:qemu: error: failed to set MSR 0x10a to 0x0\n'
	FAKE_KVM="$kvm_end;die=6"
	export FAKE_KVM
	do_fake "$well;x=7" -accel auto
	is "$status $(starts)" '7 2' 'KVM aborts: TCG'
	one_line "$err" 'KVM aborts: one line'
	like "$err" 'MSR 0x10a' 'KVM aborts: why'
	do_fake "$well;x=7" -accel kvm
	no_verdict 'KVM aborts, -accel kvm' 'MSR 0x10a'
	is "$(starts)" 1 'KVM aborts, -accel kvm: one attempt'

	FAKE_KVM='say=qemu:KVM internal error. Suberror: 1\nRAX=0000\n;stay'
	do_fake "$well;x=7" -accel auto
	is "$status $(starts)" '7 2' 'KVM stays with an internal error: TCG'
	one_line "$err" 'KVM stays with an internal error: one line'
	like "$err" 'KVM internal error' 'KVM stays with an internal error: why'
	do_fake "$well;x=7" -accel kvm
	no_verdict 'KVM stays, -accel kvm' 'KVM internal error'

	FAKE_KVM="$well;say=stdout:once\\n;$kvm_end;die=6"
	do_fake "$well;x=7" -accel auto
	is "$status $(starts)" '125 1' 'KVM dies under a program: not run again'
	sgx_end='PC_MACHINE: Object 0x55 is not an instance of type generic-pc'
	FAKE_SGX="say=qemu:$sgx_end-machine\n;die=6"
	export FAKE_SGX
	FAKE_KVM="$well;x=8"
	for accel in auto kvm; do
		do_fake "$well;x=7" -accel $accel
		is "$status $(starts)" '8 2' "KVM trips over SGX, $accel: without"
		empty "$err" "KVM trips over SGX, $accel: not worth a line"
	done
	FAKE_KVM=$FAKE_SGX
	do_fake "$well;x=7" -accel kvm
	no_verdict 'KVM trips without SGX, too' 'PC_MACHINE'
	is "$(starts)" 2 'KVM trips without SGX, too: two attempts'
	unset FAKE_SGX
	FAKE_KVM="$well;x=8"
	do_fake "$well;x=7" -accel auto
	is "$status $(starts)" '8 1' 'KVM works: one attempt'
	empty "$err" 'KVM works: no line'

	FAKE_KVM=stay
	do_fake "$well;x=7" -accel auto -timeout 1
	no_verdict 'KVM is dead, -timeout' 'timeout after 1 s: .*, under kvm' 124
	unset_attempts
else
	skip 'no /dev/kvm' 'what KVM does'
fi

# -- What QEMU inherits --
do_fake "$well;x=0"
is "$(cut -d ' ' -f 1 "$T/log/start.1.fds" | sort -n | tr '\n' ' ')" \
    '0 1 2 3 4 5 6 7 8 9 10 12 ' 'QEMU has the descriptors it needs and no others'
run sh -c 'exec "$@" 2>&1' sh "$KTEST" -qemu "$FAKE" -init "$GUEST" \
    -kernel-path "$FAKE_KERNEL" -accel tcg -- "$GUEST" exit 0
is "$status" 0 'stdout and stderr are one file: status'
ok 'stdout and stderr are one file: one port' \
    [ "$(tr '\0' '\n' <"$T/log/start.2.argv" | grep -c ktest.stderr)" = 0 ]
ok 'stdout and stderr are two files: two ports' \
    [ "$(tr '\0' '\n' <"$T/log/start.1.argv" | grep -c ktest.stderr)" = 1 ]

# Started without descriptors 0, 1 and 2, none of ours is taken for them, and
# output that has no place is not lost without a word.
for n in 3 125; do
	FAKE_DO="$well;x=3"
	[ $n = 3 ] || FAKE_DO="$well;say=stdout:lost;x=3"
	run sh -c 'exec "$@" <&- >&- 2>&-' sh "$KTEST" -qemu "$FAKE" -init \
	    "$GUEST" -kernel-path "$FAKE_KERNEL" -accel tcg -- "$GUEST" exit 0
	is "$status" $n "closed stdin, stdout and stderr, '$FAKE_DO'"
done

is "$(ls -A "$T/tmp")" '' 'no temporary file is left'
finish
