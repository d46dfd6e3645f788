#!/bin/sh
# The file of a saved machine: when it is made, believed, made anew, refused;
# what becomes of one that is stale, damaged or somebody else's; builders that
# fail or are killed; a monitor that does not do what it should.  Most of it
# needs no guest: a stand-in for QEMU (fake-qemu.c), or -n, whose command line
# has -incoming when there is a file that fits.  warm.sh has the guests.
. "$(dirname "$0")/tap.sh"

need_ktest
fake_setup
build snapshot-tool snapshot-tool.c
TOOL=$built
unset KTEST_SNAPSHOT
FAKE_WARM=
root=
[ "$(id -u)" != 0 ] || root=1

# -- The stand-in --
# The program ends with 5 in a restored machine, with 9 in another. What there
# was is `status starts`: 5 1 restored, 5 2 saved and restored, 9 1 cold.
greeting='{"QMP": {"version": "1"}}\n'
none='{"return": {}}\n'
event='{"timestamp": 1, "event": "MIGRATION", "data": {"status": "'
saved=$none$event'completed"}}\n'
resumed=$none'{"timestamp": 1, "event": "RESUME"}\n'
live=say=control:l
good_save="hello;say=qmp:$greeting$none$none$none$saved;state=abc;stay"
good_restore="say=qmp:$greeting$none$none$resumed;clock;$live;go;say=stdout:hi;x=5"
FAKE_MONITOR=$good_save FAKE_INCOMING=$good_restore
export FAKE_MONITOR FAKE_INCOMING
cold='hello;clock;go;say=stdout:hi;x=9'

in=$T/in	# what the machine is made of
mkdir "$in" "$T/d"
cp "$FAKE" "$in/qemu"
cp "$GUEST" "$in/init"
head -c 65536 /dev/zero >"$in/bios"
head -c 5000 /dev/zero >"$in/initrd"
file=$T/d/file

stand() { # OPTIONS...: a run with these
	fake "$cold" -v -memory 32M -qemu "$in/qemu" -init "$in/init" \
	    -bios "$in/bios" -initrd-path "$in/initrd" "$@" -- \
	    "$GUEST" exit 0
}

warm() { # WHAT WANTED [OPTIONS...]
	warm_what=$1 warm_want=$2
	shift 2
	stand -snapshot "$file" "$@"
	is "$status $(starts)" "$warm_want" "$warm_what"
}

alone() { # WHAT: the file, and nothing beside it
	is "$(ls -A "$T/d")" file "$1: nothing is left beside the file"
}

# -- Made once, then restored --
warm 'no file: it is made' '5 2'
text "$out" hi 'no file: stdout'
like "$err" "snapshot $file: saved" 'no file: -v says that it is saved'
is "$(ls -l "$file" | cut -c 1-10)" -rw------- 'its mode is 0600'
alone 'made'
warm 'a file: it is restored' '5 1'
like "$err" "snapshot $file: fits" 'a file: -v says that it fits'
warm '-snapshot none: a cold start' '9 1' -snapshot none
warm "-snapshot '': refused" '125 0' -snapshot ''
KTEST_SNAPSHOT=$file
export KTEST_SNAPSHOT
stand
is "$status $(starts)" '5 1' '$KTEST_SNAPSHOT'
stand -snapshot none
is "$status $(starts)" '9 1' '-snapshot none against $KTEST_SNAPSHOT'
stand -console
is "$status $(starts)" '9 1' '$KTEST_SNAPSHOT and -console: a cold start'
unlike "$err" starting '$KTEST_SNAPSHOT and -console: silently'
KTEST_SNAPSHOT=
stand
is "$status $(starts)" '9 1' '$KTEST_SNAPSHOT is empty: a cold start'
unset KTEST_SNAPSHOT
(
	cd "$T/d" && "$KTEST" -qemu "$in/qemu" -init "$in/init" -kernel-path \
	    "$FAKE_KERNEL" -accel tcg -memory 32M -bios "$in/bios" \
	    -initrd-path "$in/initrd" -snapshot file -- "$GUEST" exit 0
) >"$T/relative" </dev/null
is "$?" 5 'a FILE without a slash'
# A QEMU that lacks something is started once more; the file still fits.
FAKE_SANDBOX='say=qemu:qemu: -sandbox support is not enabled in this QEMU\n;exit=1'
FAKE_IOAPIC2="say=qemu:qemu: Property 'microvm-machine.ioapic2' not found\\n;exit=1"
export FAKE_SANDBOX FAKE_IOAPIC2
warm 'a file, and no -sandbox in QEMU: it is restored' '5 2'
unset FAKE_SANDBOX
fake "$cold" -memory 32M -snapshot "$T/d/old" -- "$GUEST" exit 0
is "$status $(starts)" '5 3' 'no ioapic2 in QEMU: saved'
fake "$cold" -memory 32M -snapshot "$T/d/old" -- "$GUEST" exit 0
is "$status $(starts)" '5 1' 'no ioapic2 in QEMU: restored, which is known'
empty "$err" 'no ioapic2 in QEMU, restored: not worth a line'
unset FAKE_IOAPIC2
rm -f "$T/d/old"
lib() { # SNAPSHOT WARM: what a program around ktest_run() is told
	FAKE_DO=$cold "$TOOL" run -qemu "$in/qemu" -init "$in/init" \
	    -kernel-path "$FAKE_KERNEL" -accel tcg -snapshot "$1" -- \
	    "$GUEST" exit 0 >"$T/lib" </dev/null
	like "$T/lib" "warm $2\$" "ktest_result.warm is $2"
}
lib none 0
lib "$T/d/lib" 1
rm -f "$T/d/lib"

# -- What cannot be part of a saved machine --
cannot() { # WHAT REGEX COMMAND...
	cannot_what=$1 cannot_re=$2
	shift 2
	"$@"
	is "$(starts)" 1 "$cannot_what: a cold start"
	is "$(grep -c "^ktest: -snapshot: starting cold: $cannot_re" "$err")" \
	    1 "$cannot_what: one line says so"
}
cannot -gdb -gdb fake "$cold" -gdb "unix:$T/gdb" -snapshot "$file" -- "$GUEST"
cannot -console -console fake "$cold" -console -snapshot "$file" -- "$GUEST"
cannot 'no PROGRAM' 'a run without PROGRAM' fake 'byte=0;exit=0' \
    -initrd-path "$in/initrd" -snapshot "$file"

# -- Stale: contents --
stale() { # WHY WHAT [OPTIONS...]: now it is made anew, and that is believed
	stale_why=$1 stale_what=$2
	shift 2
	warm "$stale_what: made anew" '5 2' "$@"
	like "$err" "stale because of $stale_why" "$stale_what: -v says why"
	warm "$stale_what: then restored" '5 1' "$@"
}

changed() { # FILE: when its trailer was written last
	stat -c %z "$1"
}

touched() { # WHAT WAY: the same contents: read once, and no more
	warm "$1, $2: restored" '5 1'
	touched_at=$(changed "$file")
	warm "$1, $2: and again" '5 1'
	is "$(changed "$file")" "$touched_at" "$1, $2: not read again"
}

input() { # FILE WHAT: each change of it
	printf 'x' | dd of="$1" bs=1 seek=4500 conv=notrunc 2>/dev/null
	stale "$2" "$2 has another byte"
	touch -d 2001-02-03 "$1"
	input_at=$(changed "$file")
	touched "$2" 'another mtime'
	ok "$2, another mtime: read once" [ "$(changed "$file")" != "$input_at" ]
	cp "$1" "$T/copy"
	mv "$T/copy" "$1"
	touched "$2" 'another inode'
}
cp "$in/qemu" "$T/qemu.good"
input "$FAKE_KERNEL" 'the kernel'
input "$in/init" init
input "$in/bios" 'the firmware'
input "$in/initrd" 'the initrd'
# the stand-in has to work: grown, not broken
echo x >>"$in/qemu"
stale QEMU 'QEMU is another'
touch -d 2001-02-03 "$in/qemu"
touched QEMU 'another mtime'

# -- Stale: the rest --
policy='-accel, -acpi, -sandbox'
arguments="QEMU's arguments"
stale -memory '-memory' -memory 64M
stale -memory '-memory, as before'
stale "$arguments" '-cpus' -cpus 2
stale "$policy" '-acpi' -acpi off
stale "$policy" '-sandbox' -sandbox off
stale "$policy" '-sandbox, as before'
stale "$arguments" '-cmdline' -cmdline other=1
stale "$arguments" '-net' -net user
stale "$arguments" '-qemu-arg' -qemu-arg -nodefaults
stale "$arguments" '-chardev' -chardev "a=$T/a"
stale "$arguments" 'nothing of these'
warm 'another program, -env, -cwd, -file: restored' '5 1' -env A=b -cwd /x \
    -file "$in/bios:/b" -timeout 100

edit() { # WHY FIELD VALUE
	"$TOOL" "$file" set "$2" "$3"
	"$TOOL" "$file" age 0 # believed unread, so it is the field that counts
	stale "$1" "the file says $2 $3"
}
edit "ktest's version" format 99
edit "$policy" policy 1
edit 'the processor' cpu 1
edit "$arguments" args 1
edit 'the modules' input_count 3
"$TOOL" "$file" set 'input[0].hash' 1
touch "$FAKE_KERNEL"
stale 'the kernel' 'the file has another hash of the kernel'

# Only QEMU can tell: it is started once more.
"$TOOL" "$file" set qemu '{"QMP": {"version": "0"}}'
warm "QEMU's version: made anew" '5 3'
like "$err" "stale because of QEMU's version: .*\"version\": \"1\"" \
    "QEMU's version: -v says why"
tick=$("$TOOL" "$file" show | sed -n 's/^tick_khz //p')
"$TOOL" "$file" set tick_khz $((tick + tick / 100))
warm "the clock's rate: made anew" '5 3'
like "$err" "stale because of the host's clock ticks" \
    "the clock's rate: -v says why"
# The host was booted anew, or the file was copied: it is read, once.
for field in boot mtime; do
	"$TOOL" "$file" set $field 1000000000
	warm "$field is another: restored" '5 1'
	like "$err" 'reading it all' "$field is another: read"
	warm "$field is another: and again" '5 1'
	unlike "$err" 'reading it all' "$field is another: not read again"
done
alone 'stale files'

# -- Damage: none of it reaches QEMU --
fits() { # FILE: whether ktest would restore it
	"$KTEST" -n -v -memory 32M -qemu "$in/qemu" -init "$in/init" -bios \
	    "$in/bios" -initrd-path "$in/initrd" -kernel-path "$FAKE_KERNEL" \
	    -accel tcg -snapshot "$1" -- "$GUEST" exit 0 >"$T/n.out" \
	    2>"$T/n.err"
	fits_status=$?
	grep -q -e '-incoming defer' "$T/n.out"
}

whole=$T/whole
cp "$file" "$whole"
ok 'a copy fits' fits "$whole"
printf 'some text\n' | dd of="$whole" bs=1 seek=9000 conv=notrunc 2>/dev/null
ok 'memory of zeros that has a word' eval '! fits "$whole"'

believed=0 places=0
cp "$file" "$whole"
"$TOOL" "$whole" fields >"$T/places"
for at in 0 1 4095 4096 1000000 33554431 33554432 33554433 33554434; do
	echo "byte $at"
done >>"$T/places"
while read -r what at; do
	"$TOOL" "$whole" flip "$at"
	if fits "$whole"; then
		diag "$what at $at is believed"
		believed=$((believed + 1))
	fi
	"$TOOL" "$whole" flip "$at"
	places=$((places + 1))
done <"$T/places"
is "$believed of $places" "0 of 33" 'one bit changed in each field and region'
ok 'changed back, it fits' fits "$whole"

# With a right check sum, too
for edit in 'memory 0' 'memory 18446744073709551615' 'memory 67108864' \
    'state 0' 'state 4' 'state 18446744073709551615' 'input_count 0' \
    'input_count 65' 'input_count 18446744073709551615' \
    'accel 0' 'accel 3' 'accel 100000' 'accel -1' 'acpi 3' 'acpi -100000'; do
	cp "$file" "$whole"
	# shellcheck disable=SC2086 # a field and a value
	"$TOOL" "$whole" set $edit
	case $edit in accel*) "$TOOL" "$whole" set cpu "${edit#* }" ;; esac
	if fits "$whole"; then
		fail "a hostile trailer: $edit"
	else
		is "$fits_status" 0 "a hostile trailer: $edit"
	fi
done
cp "$file" "$whole"
"$TOOL" "$whole" set content 1
"$TOOL" "$whole" age 10
ok 'a hostile trailer: another hash' eval '! fits "$whole"'

# From the longest to the shortest, all in one copy
size=$(wc -c <"$file")
cp "$file" "$whole"
believed=0
for n in $((size - 1)) $((size - 8)) $((size - 100)) $((size - 5000)) \
    33554436 33554435 33554434 33554432 33554431 16777216 4096 4095 1 0; do
	truncate -s $n "$whole"
	fits "$whole" && believed=$((believed + 1))
	grep -q 'is not a snapshot' "$T/n.err" || diag "$n: $(cat "$T/n.err")"
done
is $believed 0 'cut at 14 lengths'
cp "$file" "$whole"
truncate -s $((size + 1)) "$whole"
ok 'longer by a byte' eval '! fits "$whole"'
for at in 33554433 33554435 $((size - 4000)); do
	cp "$file" "$whole"
	"$TOOL" "$whole" wipe $at
	ok "zeros from $at" eval '! fits "$whole"'
done

"$TOOL" "$file" flip 33554433
warm 'a damaged file: made anew' '5 2'
like "$err" 'stale because of damage' 'a damaged file: -v says why'
warm 'a damaged file: then restored' '5 1'
"$TOOL" "$file" flip 4096
touch -d "@$("$TOOL" "$file" show | sed -n 's/^mtime \(.*\).\{9\}$/\1/p')" \
    "$file" # what an editor would not do
"$TOOL" "$file" age 10
warm 'damaged, with its old mtime: made anew' '5 2'

# -- Files that are not to be touched --
refused() { # WHAT REGEX: ends the run
	stand -snapshot "$file"
	is "$status $(starts)" '125 0' "$1: refused"
	like "$err" "^ktest: -snapshot $file: $2" "$1: a line says why"
	is "$(grep -vc -e '^ktest:   ' "$err")" 1 "$1: one line"
}
for mode in 620 602 666; do
	chmod $mode "$file"
	refused "mode $mode" "others may write it .mode $mode."
done
chmod 600 "$file"
if [ -n "$root" ]; then
	chown 65534 "$file"
	refused "another user's" 'belongs to another user .uid 65534.'
	chown 0 "$file"
else
	skip 'not root' "another user's"
fi
mv "$file" "$T/good"
mkfifo "$file"
refused 'a FIFO' 'is not a regular file'
rm "$file"

foreign() { # WHAT: a cold start, one line, the file as it was
	cp "$file" "$T/before"
	stand -snapshot "$file"
	is "$status $(starts)" '9 1' "$1: a cold start"
	is "$(grep -c '^ktest: -snapshot: starting cold: .*not a snap' "$err")" \
	    1 "$1: one line says so"
	same "$file" "$T/before" "$1: not written to"
	alone "$1"
}
echo 'a text that matters' >"$file"
foreign 'a short text'
cp "$GUEST" "$file"
foreign 'a program'
: >"$file"
foreign 'an empty file'
head -c $((size - 1000)) "$T/good" >"$file"
foreign 'a file that was cut short'
rm "$file"

cold_line() { # WHAT REGEX [OPTIONS...]: no file; that costs only the speed
	cold_what=$1 cold_re=$2
	shift 2
	stand "$@"
	is "$status" 9 "$cold_what: the run is right"
	is "$(grep -v -e '^ktest:  ' -e '^TT' "$err" | wc -l)" 1 \
	    "$cold_what: one line"
	like "$err" "^ktest: -snapshot: starting cold: $cold_re" \
	    "$cold_what: says why"
}
mkdir "$file"
cold_line 'a directory' '.*Is a directory' -snapshot "$file"
rmdir "$file"
cold_line 'a directory that is not there' '.*No such file' \
    -snapshot "$T/nowhere/file"
ln -s "$T/good" "$file"
warm 'behind a symlink' '5 1'
rm "$file"
mv "$T/good" "$file"

if [ -n "$root" ] && mount -t tmpfs -o size=4k none "$T/d" 2>/dev/null; then
	cold_line 'a full disk' '.*No space left' -snapshot "$file"
	XDG_CACHE_HOME=$T/d
	export XDG_CACHE_HOME
	cold_line 'a full disk, auto' '.*No space left' -snapshot auto
	is "$(find "$T/d" -type f)" '' 'a full disk: nothing is left'
	mkdir -p "$T/d/ktest"
	: >"$T/d/ktest/snapshot-0123456789abcdef"
	chmod 666 "$T/d/ktest"/*
	cold_line 'a full disk, auto, and a file that others can write' \
	    '.*No space left' -snapshot auto
	rm -r "$T/d/ktest"
	mount -o remount,ro "$T/d"
	cold_line 'a read-only disk' '.*Read-only' -snapshot "$file"
	rm -f "$T/tmp"/*
	umount "$T/d"
else
	skip 'mount is refused' 'a full disk'
fi

# -- -snapshot auto --
file=auto
XDG_CACHE_HOME=$T/xdg HOME=$T/home
export XDG_CACHE_HOME HOME
kept=$T/xdg/ktest
warm 'auto: made' '5 2'
like "$err" "snapshot $kept/snapshot-[0-9a-f]{16}: saved" 'auto: where'
is "$(stat -c %a "$kept" "$kept"/* | tr '\n' ' ')" '700 600 ' 'auto: modes'
warm 'auto: restored' '5 1'
warm 'auto: another machine is made' '5 2' -cmdline x
warm 'auto: the first is still there' '5 1'
warm 'auto: the other, too' '5 1' -cmdline x
touch "$FAKE_KERNEL"
warm 'auto: after a touch' '5 1'
echo mine >"$kept/mine"
echo mine >"$kept/snapshot-mine"
: >"$kept/snapshot-0123456789abcdef.ktest-killed"
touch -d 2001-02-03 "$kept"/snapshot-????????????????
ls "$kept" | grep '^snapshot-.\{16\}$' >"$T/old"
i=0
while [ $((i += 1)) -le 6 ]; do # with snapshot-mine, nine
	warm "auto: machine $i" '5 2' -cmdline "n=$i"
	touch -d "2002-02-0$i" "$kept/$(ls -t "$kept" | head -n 1)"
done
is "$(ls "$kept" | grep -c '^snapshot-')" 8 'auto: eight are kept'
is "$(ls "$kept" | grep -cxFf "$T/old")" 1 'auto: one of the oldest went'
text "$kept/mine" "mine$nl" 'auto: other files are none of ours'
is "$(ls "$kept" | grep -c ktest-)" 0 'auto: what was left is removed'
for n in 1 2 3; do # as builders side by side may leave
	echo mine >"$kept/snapshot-more$n"
	touch -d 2001-02-03 "$kept/snapshot-more$n"
done
warm 'auto: one more machine' '5 2' -cmdline n=6 -cpus 2
is "$(ls "$kept" | grep -c '^snapshot-')" 8 'auto: eight are kept of more'
for n in 2 3 4 5 6; do
	warm "auto: machine $n is still there" '5 1' -cmdline "n=$n"
done
"$TOOL" "$(ls "$kept"/snapshot-????????????????)" flip 0 2>/dev/null
for n in "$kept"/snapshot-????????????????; do
	"$TOOL" "$n" flip 33554434
done
warm 'auto: all are damaged' '5 2' -cmdline n=2
warm 'auto: and there is a good one' '5 1' -cmdline n=2
chmod 666 "$kept"/snapshot-????????????????
warm 'auto: all are open to others' '5 2' -cmdline n=2
rm -r "$kept"
XDG_CACHE_HOME=relative
warm 'auto: a relative XDG_CACHE_HOME' '5 2'
like "$err" "snapshot $HOME/.cache/ktest/snapshot-[0-9a-f]{16}: saved" \
    'auto: below HOME'
unset XDG_CACHE_HOME
warm 'auto: without XDG_CACHE_HOME' '5 1'
rm -r "$HOME"
: >"$HOME"
cold_line 'auto: HOME is a file' '.*/.cache/ktest: Not a directory' \
    -snapshot auto
unset HOME
cold_line 'auto: no HOME' '.*HOME' -snapshot auto
HOME=$T

# -- Builders side by side, and what they leave --
# One of them boots and saves; the others wait for it, or start cold.
# builders WHAT SNAPSHOT: four first runs at once
round=0
builders() {
	i=0 round=$((round + 1))
	while [ $((i += 1)) -le 4 ]; do
		job "beside$round$i" env "FAKE_DO=$cold" "$KTEST" -v -memory 32M \
		    -qemu "$FAKE" -init "$GUEST" -kernel-path "$FAKE_KERNEL" \
		    -accel tcg -snapshot "$2" -- "$GUEST" exit 0
	done
	jobs_run 4
	i=0 saves=0
	while [ $((i += 1)) -le 4 ]; do
		result "beside$round$i"
		ok "$1: verdict and stdout of number $i" \
		    either "$status $(cat "$out")" '5 hi' '9 hi'
		saves=$((saves + $(grep -c '^ktest: .*: saved$' "$err")))
	done
	is $saves 1 "$1: one saves"
}
file=$T/d/file
FAKE_MONITOR="sleep=1500;$good_save"
builders 'four builders' "$file"
alone 'four builders'
export XDG_CACHE_HOME="$T/xdg"
builders 'four builders, auto' auto
is "$(ls "$kept" | grep -c '^snapshot-')" 1 'four builders, auto: one file'
rm -r "$T/xdg"
unset XDG_CACHE_HOME
# One that is killed holds nobody up.
rm "$file"
FAKE_MONITOR='stay'
rm -f "$T/log"/*
FAKE_DO=$cold "$KTEST" -memory 32M -qemu "$FAKE" -init "$GUEST" -kernel-path \
    "$FAKE_KERNEL" -accel tcg -snapshot "$file" -- "$GUEST" exit 0 \
    </dev/null >/dev/null 2>&1 &
killed=$!
until_true [ -s "$T/log/start.1.fds" ]
kill -9 $killed
wait $killed 2>/dev/null
FAKE_MONITOR="sleep=1500;$good_save"
builders 'four, after one that was killed' "$file"
alone 'four, after one that was killed'
FAKE_MONITOR=$good_save
warm 'another machine' '5 2'
: >"$file.ktest-killed"
: >"$file.ktest-locked"
: >"$file.ktest-another"
: >"$T/d/other.ktest-killed"
exec 9>"$file.ktest-locked"
if flock -n 9 2>/dev/null; then
	stand -snapshot "$file" -cmdline y
	ok 'beside a builder and what killed ones left' \
	    either "$status $(starts)" '5 2' '9 1'
	is "$(ls -A "$T/d" | tr '\n' ' ')" \
	    'file file.ktest-another file.ktest-locked other.ktest-killed ' \
	    'what killed builders left is removed, and no more'
else
	skip 'no flock(1)' 'what killed builders left'
fi
exec 9>&-
rm "$T/d"/*

# -- A monitor that does not what it should --
error='{"error": {"class": "GenericError", "desc": "it is too warm"}}\n'
long=$(printf %05000d 0)
bad_save() { # WHAT SCRIPT REGEX
	FAKE_MONITOR=$2
	cold_line "saving, $1" "$3" -snapshot "$file"
	is "$(starts)" 2 "saving, $1: tried once"
	is "$(ls -A "$T/d")" '' "saving, $1: nothing is left"
}
monitor_bad() { # BAD BEFORE: what there is, before and after the greeting
	for when in "" "$greeting" "$greeting$none" "$greeting$none$none$2"; do
		"$1" "nonsense after '$when'" "say=qmp:${when}nonsense\\n" \
		    "QEMU's monitor says nonsense"
		"$1" "an error after '$when'" "say=qmp:$when$error" \
		    "QEMU's monitor says .*it is too warm"
		"$1" "the end after '$when'" "say=qmp:$when;close=qmp" \
		    'QEMU'
	done
	"$1" 'an endless line' "say=qmp:$long" "QEMU's monitor says too much"
	"$1" 'NULs' "say=qmp:\\0\\0nonsense\\0\\n$error" "QEMU's monitor says"
}
save_after_hello() {
	bad_save "$1" "hello;$2;stay" "$3"
}
monitor_bad save_after_hello "$none$none"
bad_save 'QEMU fails at once' 'exit=1' 'the machine to be saved ended early'
bad_save 'QEMU fails then' 'hello;exit=1' 'QEMU'
bad_save 'a migration that fails' \
    "hello;say=qmp:$greeting$none$none$none$none${event}failed\"}}\\n;stay" \
    "QEMU's monitor says .*failed"
# what the guest itself ends of needs no second boot to be told
FAKE_MONITOR='say=control:eno memory\n;stay'
stand -snapshot "$file"
is "$status $(starts)" '125 1' 'saving, init gives up: once'
like "$err" '^ktest: init gave up: no memory' 'saving, init gives up: why'
is "$(ls -A "$T/d")" '' 'saving, init gives up: nothing is left'

silent() { # WHAT: -timeout, and a signal
	stand -snapshot "$file" -timeout 300ms
	is "$status" 124 "$1: -timeout ends it"
	is "$left" 0 "$1: no process is left"
	FAKE_DO=$cold
	run timeout --foreground -s TERM 0.3 "$KTEST" -qemu "$in/qemu" -init \
	    "$in/init" -bios "$in/bios" -initrd-path "$in/initrd" \
	    -kernel-path "$FAKE_KERNEL" -accel tcg -memory 32M -snapshot \
	    "$file" -- "$GUEST" exit 0
	is "$status $left" '124 0' "$1: a signal ends it"
}
for when in "" "$greeting" "$greeting$none$none$none$none"; do
	FAKE_MONITOR="hello;say=qmp:$when;stay"
	silent "saving, nothing after '$when'"
	is "$(ls -A "$T/d")" '' "saving, nothing after '$when': nothing is left"
done

FAKE_MONITOR=$good_save
warm 'a good one' '5 2'
bad_restore() { # WHAT SCRIPT REGEX: the file is made anew; that is as bad
	FAKE_INCOMING="$2;stay"
	cold_line "restoring, $1" "$3" -snapshot "$file"
	is "$(starts)" 4 "restoring, $1: tried, made anew, tried"
	alone "restoring, $1"
}
monitor_bad bad_restore ""
bad_restore 'QEMU fails at once' 'exit=1' \
    "(the devices' state: Broken pipe|the machine .* ended early|QEMU)"
bad_restore 'silence' "say=qmp:$greeting$none$none$resumed" \
    '.*the guest gives no sign of life, and takes no job'
for when in "" "$greeting" "$greeting$none$none"; do
	FAKE_INCOMING="say=qmp:$when;stay"
	silent "restoring, nothing after '$when'"
	alone "restoring, nothing after '$when'"
done
for how in exit=0 exit=1 die=6; do
	bad_restore "no sign of life, $how" \
	    "say=qmp:$greeting$none$none$resumed;clock;$how" \
	    '.*(guest|QEMU) (ended|died)'
done
FAKE_INCOMING="say=qmp:$greeting$none$none$resumed;clock;$live;exit=1"
stand -snapshot "$file"
is "$status $(starts)" '125 1' 'it ends once the program may have run: 125'
FAKE_INCOMING=$good_restore
warm 'and the file is good' '5 1'
is "$(ls -A "$T/tmp")" '' 'no temporary file is left'
finish
