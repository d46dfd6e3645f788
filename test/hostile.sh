#!/bin/sh
# Guests that misbehave: each run ends, with the status and the line that the
# table of exit statuses promises, and leaves nothing behind.
. "$(dirname "$0")/tap.sh"

need_cloud
restore_most
build guest-dyn guest.c

# -- Panics, restarts --
# no init at all, once that the kernel finds none, once that it is garbage
cloud_job noinit -snapshot none -acpi on \
    -cmdline 'rdinit=/nonexistent init=/nonexistent' -- "$GUEST" exit 0
printf '\177ELFgarbage' >"$T/garbage"
cloud_job badinit -snapshot none -acpi on -init "$T/garbage" -- \
    "$GUEST" exit 0
cloud_job noinitauto -snapshot none \
    -cmdline 'rdinit=/nonexistent init=/nonexistent' -- "$GUEST" exit 0
{
	printf 070701
	"$GUEST" random 100000 6
} >"$T/noise"
cloud_job badinitrd -snapshot none -acpi on -initrd-path "$T/noise" -- \
    "$GUEST" exit 0
cloud_job panic -snapshot none -- "$GUEST" sysrq c
cloud_job terminal -- "$GUEST" terminal
cloud_job sysrqkill -- "$GUEST" sysrq i
cloud_job sysrqreset -- "$GUEST" sysrq b
cloud_job reboot -snapshot none -- "$GUEST" reboot
cloud_job poweroff -timeout 200 -- "$GUEST" poweroff
cloud_job halt -timeout 20 -- "$GUEST" halt

# -- Hangs --
cloud_job hang -snapshot none -timeout 10 -- "$GUEST" hang
cloud_job spin -timeout 10 -- "$GUEST" spin
cloud_job stop -timeout 10 -- "$GUEST" stop
cloud_job early -snapshot none -timeout 200ms -- "$GUEST" exit 0
cloud_job intime -snapshot none -timeout 4m59s -- "$GUEST" exit 12

# -- Greed --
cloud_job forkbomb -- "$GUEST" forkbomb 1000
cloud_job forkdead -console -- "$GUEST" forkbomb 1000 /mnt
cloud_job forkoom -snapshot none -memory 192M -- "$GUEST" forkbomb
cloud_job fill -snapshot none -memory 192M -- "$GUEST" fill
cloud_job fillfork -snapshot none -memory 192M -- /bin/sh -c 'while :; do
	x="$x$x aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"; done'
cloud_job toosmall -snapshot none -memory 32M -timeout 60 -- "$GUEST" exit 0

# -- Noise, and attacks on init --
# A guest is left for every 16 bytes of its console.
flood=10000
[ "${KTEST_RUNS:-}" != all ] || flood=50000
cloud_job kmsg -- "$GUEST" kmsg $flood
cloud_job console -snapshot none -- "$GUEST" console $flood
cloud_job daemons -- /bin/sh -c 'i=0; while [ $i -lt 50 ]; do
	(trap "" TERM HUP; while :; do echo x; done) & i=$((i + 1)); done
	exit 13'
cloud_job killedall -- "$GUEST" killedall
cloud_job killrest -- /bin/sh -c 'sleep 1000 & kill -9 -1; exit 14'
jobs_run

no_verdict() { # NAME STATUS REGEX
	result "$1"
	is "$status" "$2" "$1: status $2"
	like "$err" "^ktest: .*($3)" "$1: a line says so"
	is "$(grep -c '^ktest: ' "$err")" "${4:-2}" \
	    "$1: one line, and one above the console's last words"
}

console_shown() { # NAME REGEX
	like "$err" "$2" "$1: the console is shown"
	ok "$1: without control characters" \
	    [ "$(tr -d '\11\12\40-\176' <"$err" | wc -c)" = 0 ]
}

no_verdict noinit 123 panicked
console_shown noinit 'Kernel panic - not syncing'
no_verdict badinit 123 panicked
console_shown badinit 'Kernel panic - not syncing'
no_verdict noinitauto 123 'panicked|without'
result badinitrd
is "$status" 123 'badinitrd: status 123, the kernel panics'
no_verdict panic 123 panicked
console_shown panic 'Kernel panic - not syncing: sysrq'
no_verdict terminal 123 panicked
console_shown terminal '\^\[\]0;owned\^G\^\[\[2J\^\[\[31mred'
result sysrqkill
is "$status" 137 'sysrqkill: the program dies, init does not'
for n in sysrqreset reboot; do
	result $n
	is "$status" 123 "$n: status 123"
	like "$err" '^ktest: .*without' "$n: a line says so"
done
result poweroff
is "$status" 123 'poweroff: status 123'
result halt
is "$status" 124 'halt: status 124'

for n in hang spin stop; do
	result $n
	is "$status" 124 "$n: status 124"
	like "$err" '^ktest: .*timeout' "$n: a line says so"
done
result hang
for seconds in 40 160; do # a busy host may not have got that far
	[ -s "$out" ] || cloud -timeout $seconds -- "$GUEST" hang
done
is "$status" 124 'hang: and nothing else ended it'
text "$out" "ready$nl" 'hang: what was said before is there'
result early
is "$status" 124 'a timeout before the kernel is up: status 124'
result intime
is "$status" 12 'a timeout that is not reached'
empty "$err" 'a timeout that is not reached: no line'

result forkbomb
is "$status" 3 'forks until that fails: status'
text "$out" "forks many$nl" 'forks until that fails: output'
result forkdead
is "$status" 3 'leaves as many dead as there can be: status'
text "$out" "forks many$nl" 'leaves as many dead as there can be: output'
is "$(grep -c 'Linux version\|cannot sync' "$err")" 1 \
    'leaves as many dead as there can be: the disks are synced'
result forkoom
ok "forks until there is no memory: status $status" \
    either "$status" 137 3
result fill
is "$status" 137 'fills memory: killed'
empty "$out" 'fills memory: nothing on stdout'
result fillfork
ok "a shell fills memory: status $status" \
    either "$status" 137 2
result toosmall
ok "no memory to start with: status $status" \
    either "$status" 125 124
like "$err" '^ktest: (the firmware gave up: .*larger than memory|timeout: )' \
    'no memory to start with: a line says so'

for n in kmsg console; do
	result $n
	is "$status" 0 "floods $n: status"
	empty "$out" "floods $n: stdout is clean"
	empty "$err" "floods $n: stderr is clean"
done
result daemons
is "$status" 13 'leaves 50 noisy daemons: status'
unlike "$out" '[^x]' 'leaves 50 noisy daemons: no line but theirs'
result killedall
is "$status" 137 'a child kills all: status'
result killrest
is "$status" 14 'kill -9 -1 from a shell, which that spares: status'
is "$(ls -A "$T/tmp")" '' 'no temporary file is left'
finish
