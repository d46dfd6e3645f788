#!/bin/sh
# -disk, -rootfs FILE and -fw-cfg: what they make of QEMU's arguments, what they
# refuse, what a guest sees of a disk, and what is left of it.
#
#	KTEST_MACHINES=all	also what takes long: 1 GiB, more filesystems, crashes
. "$(dirname "$0")/tap.sh"

need_ktest
fake_setup
cd "$T" || exit 1

# The offset of a header's field in decimal, and bytes as \NNN.
poke() { # FILE OFFSET BYTES
	printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

truncate -s 4M raw
cp raw other
have_qcow=
if command -v qemu-img >/dev/null; then
	have_qcow=1
	head -c 3000000 /dev/urandom >noise
	truncate -s 4M noise
	qemu-img convert -O qcow2 noise "$T/q.qcow2"
	qemu-img create -q -f qcow2 -b q.qcow2 -F qcow2 top.qcow2
	mkdir sub
	qemu-img create -q -f qcow2 -b ../top.qcow2 -F qcow2 sub/t,op.qcow2
fi

# -- QEMU's arguments --
args() { # OPTIONS...: what they add to the command line
	"$KTEST" -qemu qemu -init "$GUEST" -kernel-path "$FAKE_KERNEL" -n \
	    -accel tcg "$@" -- "$GUEST" 2>"$T/args.err" |
	    sed 's/.*name=ktest.log *//; s/ -kernel .*//'
}
drive=if=none,file.driver=file
fd() { # N
	echo "file.driver=file,file.filename=/proc/self/fd/$1"
}
is "$(args -disk raw -disk 8 -disk other:rw)" "$(:
    )-drive if=none,id=disk0,format=raw,$(fd 15),cache=unsafe,werror=report,snapshot=on $(:
    )-device virtio-blk-device,drive=disk0 $(:
    )-drive if=none,id=disk1,format=raw,$(fd 16),cache=unsafe,werror=report $(:
    )-device virtio-blk-device,drive=disk1 $(:
    )-drive if=none,id=disk2,format=raw,$(fd 17),cache=writeback,werror=report $(:
    )-device virtio-blk-device,drive=disk2" 'an image, an empty one, :rw'
if [ -n "$have_qcow" ]; then
	b=backing. f=file.driver=file,
	is "$(args -disk sub/t,op.qcow2:backing)" "$(:
	    )-drive if=none,id=disk0,format=qcow2,$(fd 15),cache=unsafe,werror=report,$(:
	    )${b}driver=qcow2,$b$f${b}file.filename=sub/../top.qcow2,$(:
	    )$b${b}driver=qcow2,$b$b$f$b${b}file.filename=sub/../q.qcow2,$(:
	    )snapshot=on -device virtio-blk-device,drive=disk0" \
	    'qcow2, its backing files by path and format'
else
	skip 'no qemu-img' 'qcow2, its backing files by path and format'
fi
is "$(args -fw-cfg com.x/y=raw)" '-fw_cfg name=com.x/y,file=raw' '-fw-cfg'
printf -- '-disk raw\n-disk 8M\n' >sub/options
like "$(cd / && args "@$T/sub/options" >"$T/args.out"
    echo "$T/args.err")" 'raw: No such file' 'in a FILE: relative to it'

# -- What is refused: 125, the option and the value in one line --
: >empty
head -c 700 /dev/zero >half
head -c 1048576 /dev/urandom >junk
refuse '-disk no/such: No such' -disk no/such
refuse '-disk /: is a directory' -disk /
refuse '-disk empty: is empty' -disk empty
refuse '-disk half: is truncated' -disk half
refuse '-disk 0: is not between' -disk 0
refuse '-disk raw: is one too many' -disk 1 -disk 2 -disk 3 -disk 4 -disk 5 \
    -disk 6 -disk raw
refuse '-disk raw: is in use' -disk raw:rw -disk raw
refuse '-rootfs junk: has no filesystem' -rootfs junk
refuse '-rootfs junk:p129: there is no partition' -rootfs junk:p129
refuse '-rootfs junk:rw: .* never written' -rootfs junk:rw
refuse '-fw-cfg x: is not NAME=FILE' -fw-cfg x
refuse '-fw-cfg x=no: is not a readable' -fw-cfg x=no
refuse '-mount /: is one too many' -disk 1 -disk 1 -disk 1 -disk 1 -disk 1 \
    -mount /usr -mount /
refuse '-jobs 2: is for one guest at a time, that writes to raw:rw' \
    -kernel-path "$FAKE_KERNEL" -jobs 2 -disk raw:rw
fake 'say=qemu:q: warning: x\nq: duplicate\n;exit=1' -fw-cfg a=raw -- "$GUEST"
is "$status $(head -n 1 "$err")" \
    '125 ktest: QEMU ended with status 1: q: duplicate' 'a warning is no reason'
fake 'hello;clock;go;x=0' -each -disk raw:rw -- "$GUEST" "$GUEST" "$GUEST"
is "$status" 0 '-each with :rw: one after the other'
if [ -n "$have_qcow" ]; then
	refuse '-disk top.qcow2: names a backing file, q.qcow2' -disk top.qcow2
	refuse '-rootfs top.qcow2: names a backing file' -rootfs top.qcow2
	head -c 900000 q.qcow2 >cut
	refuse '-disk cut: is truncated' -disk cut
	head -c 80 q.qcow2 >cut
	refuse '-disk cut: is truncated' -disk cut
	if qemu-img convert -O qcow2 -o extended_l2=on noise ext.qcow2 \
	    2>/dev/null; then
		like "$(args -disk ext.qcow2 >ext; echo ext)" format=qcow2, \
		    'qcow2 with subclusters'
		head -c 900000 ext.qcow2 >cut
		refuse '-disk cut: is truncated' -disk cut
	fi
	for try in '7 \001 has.a.version' '23 \077 is.truncated' \
	    '36 \377 is.truncated' '40 \377 is.truncated' \
	    '79 \004 names.a.data.file' '8 \377 is.truncated'; do
		# shellcheck disable=SC2086 # three words
		set -- $try
		cp top.qcow2 bad
		poke bad "$1" "$2"
		refuse "-disk bad: $3" -disk bad:backing
	done
	qemu-img create -q -u -f qcow2 -b json:evil -F raw evil 1M 2>/dev/null ||
		{ cp top.qcow2 evil && poke evil "$(:
		)$(grep -abo q.qcow2 evil | head -n 1 | cut -d: -f1)" 'a:qcow2'; }
	refuse '-disk evil: names a backing file, and not by a path' \
	    -disk evil:backing
	cp top.qcow2 loop
	poke loop "$(grep -abo q.qcow2 loop | head -n 1 | cut -d: -f1)" './.loop'
	ln -s loop .loop
	refuse '-disk loop: has too many backing files' -disk loop:backing
else
	skip 'no qemu-img' 'qcow2: what is refused'
fi
if [ "$(id -u)" = 0 ] && su nobody -s /bin/sh -c "test -x '$KTEST' &&
    test -r '${KTEST%/*}/init'" 2>/dev/null; then
	chmod 600 other
	run su nobody -s /bin/sh -c "cd '$T' && exec '$KTEST' -init \
	    '$GUEST' -kernel-path '$FAKE_KERNEL' -disk other -- '$GUEST'"
	is "$status" 125 'an image that cannot be read: refused'
	like "$err" '^ktest: -disk other: Permission denied' 'it is said'
else
	skip 'needs root' 'an image that cannot be read'
fi

# Two ktests and one file.
mkfifo go
export FAKE_DO
held() { # MODE OF THE FIRST, OF THE SECOND, STATUS OF THE SECOND
	rm -f "$T/log"/*
	FAKE_DO='hello;clock;go;line;x=0'
	"$KTEST" -qemu "$FAKE" -init "$GUEST" -kernel-path "$FAKE_KERNEL" \
	    -accel tcg -snapshot none -disk "raw$1" -- "$GUEST" <go \
	    >/dev/null 2>&1 &
	held_pid=$!
	exec 4>go
	until_true [ -s "$T/log/start.1.pid" ]
	FAKE_DO='hello;clock;go;x=0'
	run "$KTEST" -qemu "$FAKE" -init "$GUEST" -kernel-path "$FAKE_KERNEL" \
	    -accel tcg -snapshot none -disk "raw$2" -- "$GUEST" </dev/null
	echo >&4
	exec 4>&-
	wait "$held_pid"
	is "$status" "$3" "one file, held '$1', wanted '$2'"
}
held :rw :rw 125
like "$err" '^ktest: -disk raw: is in use by another ktest, or named twice$' 'the second is told'
held :rw '' 125
held '' :rw 125
held '' '' 0
is "$(ls -A "$T/tmp")" '' 'no temporary file is left'

if [ ! -f "${KTEST_CLOUD:-}" ]; then
	skip 'no KTEST_CLOUD' 'guests'
	finish
fi

# -- Guests --
build disks disks.c -static
DISKS=$built
modules_root() { # a root with nothing but the program
	mkdir -p root/bin root/usr/bin
	cp "$DISKS" root/bin/disks
	cp "$DISKS" root/usr/bin/env
}
modules_root
# A table of partitions (MBR): two primary ones, of 1 and of 12 MiB.
truncate -s 16M parts
poke parts 446 '\000\000\000\000\203\000\000\000\000\010\000\000\000\010\000\000'
poke parts 462 '\000\000\000\000\203\000\000\000\000\020\000\000\000\140\000\000'
poke parts 510 '\125\252'
poke parts 1048576 'first'
cp parts before
cloud_job seen -disk parts -disk 3M -disk raw -fw-cfg com.x/y=sub/options \
    -- "$DISKS" show /dev/vda1 5 /dev/vdb 1 /dev/vdc 1 "$(:
    )/sys/firmware/qemu_fw_cfg/by_name/com.x/y/raw" 9
cloud_job write -disk parts -- "$DISKS" fill /dev/vda 8
cloud_job keep -disk other:rw -- "$DISKS" fill /dev/vda 4
[ -z "$have_qcow" ] || { cp ext.qcow2 own.qcow2 2>/dev/null ||
	cp q.qcow2 own.qcow2; cloud_job qcow -disk own.qcow2:rw \
    -disk sub/t,op.qcow2:backing -- "$DISKS" qcow; }
if command -v mke2fs >/dev/null; then
	mke2fs -q -F -t ext4 -d root ext4.img 12M
	dd if=ext4.img of=parts bs=1M seek=2 conv=notrunc 2>/dev/null
	cp parts before
	cloud_job ext4 -rootfs parts:p2 -disk raw -- disks root
	[ -z "$have_qcow" ] || { qemu-img convert -c -O qcow2 ext4.img e.qcow2 &&
		cloud_job any -rootfs e.qcow2 -- /bin/disks root; }
fi
if command -v mksquashfs >/dev/null; then
	mksquashfs root squashfs.img -quiet -no-progress >/dev/null
	cloud_job squashfs -rootfs squashfs.img -- disks root
fi
jobs_run

done_is() { # NAME STATUS WHAT
	result "$1"
	is "$status" "$2" "$3: status"
}

done_is seen 0 'disks'
text "$out" "vda1 5 first${nl}vdb 1 \\0${nl}vdc 1 \\0${nl}raw 9 -disk raw$nl" \
    'disks: in their order; partitions; a blob'
done_is write 0 'written to'
same parts before 'the file is unchanged'
done_is keep 0 ':rw'
"$DISKS" sum other >sum
same "$out" sum ':rw: the file has it'
if [ -n "$have_qcow" ]; then
	done_is qcow 0 'qcow2'
	qemu-img convert -O raw own.qcow2 q.raw
	like "$out" "^vdb: $("$DISKS" sum noise | cut -d' ' -f1)\$" \
	    'qcow2: what it is backed by is read'
	"$DISKS" sum q.raw >sum
	like "$out" "^vda: $(cut -d' ' -f1 sum)\$" \
	    'qcow2:rw: what was written is there, though nobody flushed it'
	quiet 'qcow2:rw: the image is sound' qemu-img check -q own.qcow2
fi
for fs in ext4 squashfs any; do
	if [ -f "$T/jobs/$fs.report" ]; then
		done_is $fs 0 "-rootfs FILE, $fs"
		text "$out" "read, written, /$nl" "-rootfs FILE, $fs: a layer"
	else
		skip 'not made here' "-rootfs FILE, $fs"
	fi
done
same parts before '-rootfs FILE: the file is unchanged'

# -- Warm: the disk is the run's, whatever the snapshot had --
warm() { # OPTIONS...
	"$KTEST" -v -kernel-path "$KTEST_CLOUD" -accel "$ACCEL" -snapshot \
	    "$T/snap" "$@" >"$T/warm.out" 2>"$T/warm.err"
	status=$? out=$T/warm.out err=$T/warm.err
}
poke parts 1048576 'one..'
warm -disk parts:rw -- "$DISKS" show /dev/vda1 5
is "$status $(cat "$out")" '0 vda1 5 one..' 'warm: saved and restored'
poke parts 1048576 'two..'
poke parts 455 '\020'	# the first begins where the second does
poke parts 2097152 'three'
warm -disk parts:rw -- "$DISKS" show /dev/vda1 5
is "$status $(cat "$out")" '0 vda1 5 three' 'warm: as it is now, partitions, too'
like "$err" 'snapshot .*: fits' 'warm: it was restored'
warm -disk parts -disk 1M -- "$DISKS" show /dev/vdb 1
is "$status $(cat "$out")" '0 vdb 1 \0' 'warm: another number of disks'
like "$err" 'stale because of QEMU' 'warm: that is another machine'
rm -f "$T/snap"

# fsync() means what it says: QEMU dies by SIGKILL once it has returned.
"$KTEST" -kernel-path "$KTEST_CLOUD" -accel "$ACCEL" -snapshot none \
    -disk raw:rw -v -- "$DISKS" fsync /dev/vda >"$T/fsync.out" 2>"$T/fsync.err" &
fsync_pid=$!
until_true grep -q synced "$T/fsync.out"
kill -9 "$(sed -n 's/.*QEMU runs: pid \([0-9]*\),.*/\1/p' "$T/fsync.err")"
wait "$fsync_pid"
is "$?" 125 'fsync: QEMU was killed'
is "$(head -c 6 raw)" 'synced' 'fsync: what was written is there'
is "$(ls -A "$T/tmp")" '' 'nothing is left'
[ "${KTEST_MACHINES:-}" = all ] || finish

guard=1200
# -- At length: 1 GiB, the other filesystems, a machine that crashes --
rm -f raw parts before
cloud_job big -disk 1G -- "$DISKS" fill /dev/vda 1024
truncate -s 1G big
cloud_job bigrw -disk big:rw -- "$DISKS" fill /dev/vda 1024
truncate -s 512M xfs.img btrfs.img
mkfs.btrfs -q -r root btrfs.img >/dev/null 2>&1
mkfs.erofs erofs.img root >/dev/null 2>&1
for fs in btrfs erofs; do
	cloud_job $fs -rootfs $fs.img -- disks root
done
jobs_run
for fs in btrfs erofs; do
	done_is $fs 0 "-rootfs FILE, $fs"
	text "$out" "read, written, /$nl" "-rootfs FILE, $fs: a layer"
done
"$DISKS" sum big >sum
done_is big 0 '1 GiB'
same "$out" sum '1 GiB written, then read: the sum'
done_is bigrw 0 '1 GiB, :rw'
same "$out" sum '1 GiB, :rw: the sum'
is "$(cut -d' ' -f2 sum)" \
    1073741824 '1 GiB: all of it'
rm -f big

# Two runs on one :rw disk: what was synced before `echo b` is there after it.
if [ -f "${KTEST_FULL:-}" ]; then
	mke2fs -q -F -t ext4 ext4.img 256M
	mkfs.xfs -q xfs.img
	mkfs.btrfs -q -f btrfs.img >/dev/null 2>&1
	for fs in ext4 xfs btrfs; do
		crash() { # COMMAND
			run "$KTEST" -kernel-path "$KTEST_FULL" -accel "$ACCEL" \
			    -rootfs / -disk "$T/$fs.img:rw" -module $fs -expect \
			    "$1" -- sh -c "mount -t $fs /dev/vda /mnt && $2"
		}
		crash restart 'echo kept >/mnt/a && sync /mnt/a &&
		    echo b >/proc/sysrq-trigger; sleep 60'
		is "$status" 0 "$fs: crashed"
		crash none 'cat /mnt/a && umount /mnt'
		is "$status $(cat "$out")" '0 kept' "$fs: its log is replayed"
	done
fi
finish
