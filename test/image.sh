#!/bin/sh
# -image: a program in the system that is on a disk. First with a guest agent
# that is played, and does what it should not; then, with $KTEST_IMAGE, the
# directory that images.sh makes (`make image`), in a Debian of its own.
[ -z "${KTEST_IMAGE:-}" ] || KTEST_GUARD=1800
. "$(dirname "$0")/tap.sh"

need_ktest
fake_setup
truncate -s 1M "$T/disk.raw"

# played SCRIPT OPTIONS...: a run whose QEMU follows the script
played() {
	rm -f "$T/log"/*
	FAKE_DO=$1
	export FAKE_DO
	shift
	run "$KTEST" -qemu "$FAKE" -accel tcg -image \
	    "$T/disk.raw" "$@"
}

# fails STATUS WANTED WHAT: that status and that line, and no process is left
fails() {
	is "$status" "$1" "$3: status"
	like "$err" "^ktest: $2" "$3: said"
}

asked='sync;hear=agent:input-data;hear=agent:"}}'
pid='say=agent:{"return": {"pid": 7}}\n'
job="hello;keep=0:$T/job;say=control:l;go"

# -- As it should be --
cp "$GUEST" "$T/mine"
KTEST_KERNEL=/nowhere
export KTEST_KERNEL
played "sync=-1;$asked;$pid;$job;say=stdout:out;say=stderr:err;x=42" \
    -env A=B -- "$T/mine" one
unset KTEST_KERNEL
is "$status" 42 'an agent that answers: status'
text "$out" out 'its program writes'
text "$err" err 'its program complains'
strings=$(tr '\0' '\n' <"$T/job")
for string in pRUN aone eA=B; do
	wanted=$(echo "$string" | sed "s|RUN|$T/mine|")
	ok "the job says $string" [ "$(echo "$strings" |
	    grep -c -x -e "$wanted" -e ".*job.$wanted")" -gt 0 ]
done
like "$T/log/start.1.argv" 'bootindex=1' 'the disk is what it boots from'
like "$T/log/start.1.argv" 'snapshot=on' 'what is written is not kept'
unlike "$T/log/start.1.argv" '-kernel|-append|-initrd' 'no kernel of ours'

# -- What an agent may do --
# As QEMU's qapi/qmp-dispatch.c says it, the newest second
error='{"error": {"class": '
forbidden='its guest agent does not allow guest-exec; allow it [(]RHEL: in its '\
'/etc/sysconfig/qemu-ga[)]: '
while read -r answer; do
	played "$asked;say=agent:$error\"CommandNotFound\", \"desc\": "\
"\"$answer\"}}\\n;stay" -- sh
	fails 125 "-image: $forbidden\"$answer" "$answer"
done <<'END'
The command guest-exec has not been found
Command guest-exec has been disabled: the command is not allowed
The command guest-exec has been disabled for this instance
END
played "$asked;say=agent:$error"'"GenericError", "desc": "Guest agent command '\
'failed"}}\n;stay' -- sh
fails 125 '-image: its guest agent cannot start init: "Guest agent command fail' \
    'guest-exec fails'
played "$asked;$pid;hear=agent:exec-status;say=agent:$error"'"CommandNotFound"'\
"}}\\n;$job;x=4" -- sh
is "$status" 4 'guest-exec-status is forbidden: init is there all the same'
exited='{"return": {"exitcode": 32, "err-data": "bW91bnQ6IG5vCg==", '
played "$asked;$pid;hear=agent:exec-status;"\
"say=agent:$exited"'"exited": true}}\n;stay' -- sh
fails 125 '-image: init did not start in it: mount: no$' 'init does not start'
played "$asked;many=agent:10000000;stay" -- sh
fails 125 '-image: its guest agent answers guest-exec with 0000' 'a flood'
played "sync;say=agent:$(printf '%05000d' 0);stay" -- sh
fails 125 '-image: its guest agent says too much: ' 'a line without an end'
played "say=agent:\\0\\e{}[]]\\n\"return\\n{\"return\": 1}\\n;$asked;"\
'say=agent:{"return": {"pid" : 1}}\n{"return": {"exited": true, "err-data": "****"}}\n;'\
'stay' -- sh
fails 125 '-image: init did not start in it: it said nothing$' 'nonsense'
played "$asked;stay" -timeout 2 -- sh
fails 124 'timeout after 2 s: the guest still boots: its guest agent does not '\
'answer guest-exec$' 'an agent that hangs'
played "stay" -timeout 2 -- sh
fails 124 'timeout after 2 s: the guest still boots: its console' 'no agent'
played "close=agent;stay" -timeout 2 -- sh
fails 124 'timeout after 2 s: the guest still boots' 'an agent that hangs up'

# -- How far it came, by its console --
while IFS='|' read -r text reason; do
	played "say=early:Booting from Hard Disk...\\n$text;stay" -- sh
	fails 125 "-image: nothing more comes: $reason" "$text"
done <<'END'
No bootable device.\n|the BIOS found nothing to boot from$
grub rescue> |its boot loader did not find its files$
\n[    1.0] Kernel panic - not syncing: VFS\n|its kernel panicked$
END
played 'say=early:image login: ;exit=0' -- sh
fails 125 '-image: it ended or restarted, and before that it is up' \
    'it powers off'

# -- What is kept is shut down --
shutdown='hear=agent:/sbin/poweroff"}'
played "$asked;$pid;$job;x=7;$shutdown;sleep=11000;exit=0" \
    -image "$T/disk.raw:rw" -- sh
is "$status" 7 ':rw: status'
unlike "$T/log/start.1.argv" 'snapshot=on' ':rw: what is written is kept'
empty "$err" ':rw: without a word'

oops='0,9,3,-\sBUG: kernel NULL pointer dereference, address: 8\n'
power='hear=qmp:pause;say=qmp:{"timestamp": 1, "event": "SHUTDOWN"}\n'
played "$asked;$pid;$job;say=log:$oops;x=0;$shutdown;$power;"\
'hear=qmp:dump-guest-memory;say=qmp:{"return": {}, "id": "dump"}\n;stay' \
    -dump "$T/dump" -image "$T/disk.raw:rw" -- sh
fails 123 "the guest's memory is in $T/dump\$" ':rw, an oops'
ok ':rw, an oops: a dump where it powers off' [ -f "$T/dump" ]

# -- Saved once it is up, and restored --
none='{"return": {}}\n'
monitor="say=qmp:{\"QMP\": 1}\n$none$none"
event='{"timestamp": 1, "event": "'
FAKE_MONITOR="$asked;$pid;hello;$monitor$none$none"
FAKE_MONITOR="$FAKE_MONITOR${event}MIGRATION\", \"data\": {\"status\": "
FAKE_MONITOR="$FAKE_MONITOR\"completed\"}}\n;state=abc;stay"
FAKE_INCOMING="$monitor$none${event}RESUME\"}\n;${job#*;};say=stdout:hi;x=5"
export FAKE_MONITOR FAKE_INCOMING
# warm WHAT STATUS STARTS REGEX OPTIONS...
warm() {
	warm_what=$1 warm_status=$2 warm_starts=$3 warm_said=$4
	shift 4
	played "$asked;$pid;$job;say=stdout:cold;x=9" -v -timeout 99 -memory 32M \
	    -snapshot "$T/saved" "$@" -- sh
	is "$status $(ls "$T/log" | grep -c argv)" \
	    "$warm_status $warm_starts" "$warm_what: status, QEMUs"
	like "$err" "$warm_said" "$warm_what: said"
}
at=$(((32 + 64) << 20))
warm 'saved' 5 2 ': saved$'
like "$T/log/start.1.argv" "format=qcow2,backing=image,.*file.offset=$at" \
    'saved: to an overlay'
unlike "$T/log/start.1.argv" 'snapshot=on' 'saved: that is kept'
like "$T/log/start.2.argv" "file.offset=$at.*snapshot=on" \
    'restored: what it writes is not kept'
run qemu-img check --image-opts "driver=qcow2,file.driver=raw,\
file.offset=$at,file.file.driver=file,file.file.filename=$T/saved"
is "$status" 0 'the overlay that is given to QEMU: a qcow2'
warm 'restored' 5 1 ': fits$'
touch -d 2001-01-01 "$T/disk.raw"
warm 'the image changed' 5 2 'saved: stale because of -image$'
printf X | dd of="$T/saved" bs=1 seek=$((at + 9)) conv=notrunc 2>/dev/null
warm 'a damaged overlay' 5 2 'saved: stale because of damage$'
warm 'another processor count' 5 2 'stale because of QEMU' -cpus 2
played "$asked;$pid;$job;x=7;$shutdown;exit=0" -snapshot "$T/saved" -image \
    "$T/disk.raw:rw" -- sh
fails 7 '-snapshot: starting cold: an -image that is written to cannot be '\
'part of a saved machine$' ':rw with -snapshot'
rm -f "$T/log"/*
run "$KTEST" -qemu "$FAKE" -accel tcg -memory 32M -image "$T/disk.raw" -each \
    -jobs 1 -- sh ls
is "$(ls "$T/log" | grep -c argv) $(grep -c -- -incoming "$T"/log/*.argv |
    grep -c ':1')" '3 2' '-each: one is saved, and each gets it restored'
rm -f "$T/log"/*
run "$KTEST" -qemu "$FAKE" -accel tcg -memory 32M -image "$T/disk.raw:rw" \
    -each -- sh ls
is "$(find "$T/log" -name '*argv*' | wc -l)" 2 '-each, :rw: none is started to be saved'
unlike "$err" 'starting cold' '-each, :rw: nobody has asked for that'
unset FAKE_MONITOR FAKE_INCOMING

# -- What is refused --
# refused LINE OPTIONS...
refused() {
	refused_line=$1
	shift
	run "$KTEST" "$@"
	is "$status" 125 "$refused_line: status"
	one_line "$err" "$refused_line: one line"
	like "$err" "^ktest: $refused_line" "$refused_line: said"
}
refused '-image: needs a PROGRAM' -image "$T/disk.raw"
refused '-module: is not for an -image' -image "$T/disk.raw" -module x -- sh
refused '-rootfs: is not for an -image' -image "$T/disk.raw" -rootfs / -- sh
refused '-cmdline: an -image needs -kernel-path for it' -image "$T/disk.raw" \
    -cmdline a -- sh
refused '-image /none: No such file' -image /none -- sh
refused 'PROGRAM a=b: needs its path' -image "$T/disk.raw" -- a=b

# -- A Debian --
if [ -z "${KTEST_IMAGE:-}" ]; then
	skip '`make image` has one' 'a Debian'
	finish
fi

# debian FILE OPTIONS...: of $in
in=/dev/null
debian() {
	debian_file=$1
	shift
	run_in "$in" "$KTEST" -accel "$ACCEL" -timeout 1200 -image \
	    "$debian_file" "$@"
}

cat >"$T/mine" <<'END'
#!/bin/sh
echo "$0 $*|$A|$(pwd)|$(id -u)|$(cat /proc/1/comm)|$(cat /etc/hostname)"
cat /srv/tree/one /proc/self/cgroup
grep -c '00000000	02002A0A' /proc/net/route
echo complaint >&2
sleep 1000 &
cat
exit 42
END
chmod +x "$T/mine"
mkdir "$T/tree"
echo 1 >"$T/tree/one"
echo ours >"$T/hostname"
head -c 300000 /dev/urandom >"$T/bytes"
in=$T/bytes
sum=$(cksum <"$KTEST_IMAGE/debian.qcow2")
debian "$KTEST_IMAGE/debian.qcow2" -file "$T/tree:/srv/tree" -file \
    "$T/hostname:/etc/hostname" -env 'A=x y' -cwd /srv/new -net user -- \
    "$T/mine" one two
is "$status" 42 'qcow2: status'
printf '%s\n' '/run/ktest/mine one two|x y|/srv/new|0|systemd|ours' 1 0::/ 1 |
    cat - "$T/bytes" >"$T/wanted"
same "$out" "$T/wanted" 'qcow2: what it finds there, and all its bytes'
is "$(cat "$err")" complaint 'qcow2: its stderr'
is "$(cksum <"$KTEST_IMAGE/debian.qcow2")" "$sum" 'qcow2: it is as it was'
in=/dev/null

cp --sparse=always "$KTEST_IMAGE/debian.raw" "$T/copy.raw"
debian "$T/copy.raw:rw" -- sh -c 'echo kept >/root/kept; exit 3'
is "$status" 3 'raw, :rw: status'
disk="$T/copy.raw?offset=$((34816 * 512))"
is "$(debugfs -R 'cat /root/kept' "$disk" 2>/dev/null)" kept \
    'raw, :rw: what it wrote is kept'
dumpe2fs -h "$disk" >"$T/super" 2>/dev/null
like "$T/super" '^Filesystem state: *clean' 'raw, :rw: it is one that is clean'
unlike "$T/super" needs_recovery \
    'raw, :rw: it was shut down'

# -- Another kernel for it: its own, with control groups of version 1 --
for file in vmlinuz initrd.img; do
	debugfs -R "dump /boot/$(grep "^$file-" "$KTEST_IMAGE/from") $T/$file" \
	    "$KTEST_IMAGE/debian.raw?offset=$((34816 * 512))" 2>/dev/null
done
debian "$KTEST_IMAGE/debian.raw" -kernel-path "$T/vmlinuz" -initrd-path \
    "$T/initrd.img" -cmdline root=/dev/vda2 -cmdline \
    systemd.unified_cgroup_hierarchy=0 -- cat /proc/self/cgroup
is "$status" 0 '-kernel-path, control groups of version 1: status'
like "$out" '^[0-9]+:name=systemd:/$' '... it is in the root of one'
unlike "$out" ':/.' '... and of all others'

# -- Restored: a target of vmtest's with all its fields, as README has them --
cat >"$T/command" <<'END'
[ ! -e /root/mine ] || echo another run wrote here
echo mine >/root/mine
cat /proc/sys/kernel/random/uuid >&2
pwd; nproc; cat read/one
grep -c 'MemTotal: *[12][09][0-9]\{5\} kB' /proc/meminfo
grep -c '00000000	02002A0A' /proc/net/route
date +%s >written && ! echo no 2>/dev/null >read/no
END
mkdir "$T/work" "$T/work/read"
# target WHAT FILE OPTIONS...: $ms, and what differs in $err
target() {
	target_what=$1 target_file=$2
	shift 2
	rm -f "$T/work/written"
	ms=$(date +%s%N)
	run "$KTEST" -accel "$ACCEL" -timeout 1200 \
	    -snapshot "$T/debian" -image "$target_file" -cpus 2 -memory 2G \
	    -net user -qemu-arg -name -qemu-arg it "$@" \
	    -mount "$T/work:/mnt/vmtest:rw" -cwd /mnt/vmtest \
	    -mount "$T/tree:/mnt/vmtest/read" -- sh -c "$(cat "$T/command")"
	ms=$((($(date +%s%N) - ms) / 1000000))
	is "$status" 0 "$target_what: status"
	is "$(cat "$out")" "$(printf '%s\n' /mnt/vmtest 2 1 1 1)" \
	    "$target_what: what it finds"
	ok "$target_what: what it wrote is its time, which is ours" \
	    [ $((($(date +%s) - $(cat "$T/work/written" || echo 0)) / 60)) = 0 ]
}
target 'saved' "$KTEST_IMAGE/debian.qcow2"
cold=$ms
before=$(cat "$err")
target 'restored' "$KTEST_IMAGE/debian.qcow2"
is "$(cat "$err" | wc -w)" 1 'restored: one number'
ok 'restored: its random numbers are its own' [ "$(cat "$err")" != "$before" ]
in=/dev/null
run "$KTEST" -accel "$ACCEL" -timeout 1200 -snapshot "$T/plain" -image \
    "$KTEST_IMAGE/debian.qcow2" -- true
is "$status" 0 'a program that does nothing: status'
for ms in 1 2 3; do
	ms=$(date +%s%N)
	run "$KTEST" -accel "$ACCEL" -snapshot "$T/plain" -image \
	    "$KTEST_IMAGE/debian.qcow2" -- true
	diag "restored: $((($(date +%s%N) - ms) / 1000000)) ms, the first time" \
	    "$cold ms"
done
is "$status" 0 'a program that does nothing, restored: status'
ok 'restored: a tenth of the first time' \
    [ $((($(date +%s%N) - ms) / 1000000)) -lt $((cold / 10)) ]

# -- -each: five, of which one fails, and none sees what another wrote --
mkdir "$T/each"
for n in 1 2 3 4 5; do
	cat >"$T/each/t$n" <<-END
		#!/bin/sh
		cat /etc/hostname
		[ ! -e /root/mine ] || exit 5
		echo >/root/mine
		exit $((n == 3 ? 9 : 0))
	END
done
chmod +x "$T/each"/*
run "$KTEST" -accel "$ACCEL" -snapshot "$T/plain" -v -tap -image \
    "$KTEST_IMAGE/debian.qcow2" -each -- "$T/each"/t*
is "$status" 9 '-each: the status is that of the one that fails'
is "$(sed -n 's/^\(.*ok [0-9]\) - .*each.t[0-9]$/\1/p' "$out" | tr '\n' ' ')" \
    'ok 1 ok 2 not ok 3 ok 4 ok 5 ' '-each: five results'
is "$(grep -c '^# *image$' "$out")" 5 '-each: each ran in the Debian'
is "$(machines "$err")" 5 '-each: each is restored'

debian "$KTEST_IMAGE/debian.raw" -uefi -snapshot "$T/uefi" -- \
    ls -d /sys/firmware/efi
is "$status" 0 'UEFI: status'
is "$(cat "$out")" /sys/firmware/efi 'UEFI: it is'
debian "$KTEST_IMAGE/debian.raw" -uefi -snapshot "$T/uefi" -v -- \
    ls -d /sys/firmware/efi
is "$status" 0 'UEFI, restored: status'
is "$(cat "$out")" /sys/firmware/efi 'UEFI, restored: it is'
like "$err" 'uefi: fits' 'UEFI, restored: it was'
finish
