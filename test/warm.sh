#!/bin/sh
# Guests in machines that were saved and restored: the same as cold ones for
# their programs, but fresh; many at once; builders that are killed; options.
# snapshot.sh has the file.
. "$(dirname "$0")/tap.sh"

need_cloud
[ -f "${KTEST_TINY:-}" ] || skip_all 'no KTEST_TINY'
build net-guest net-guest.c -static
N=$built
ports 1
build snapshot-tool snapshot-tool.c
TOOL=$built
unset KTEST_SNAPSHOT
mkdir "$T/d"
file=$T/d/cloud
tinyfile=$T/d/tiny

tiny() { # OPTIONS...
	run "$KTEST" -kernel-path "$KTEST_TINY" -accel "$ACCEL" "$@"
}

restored() { # WHAT: the last run was in a machine that had been saved before
	if grep -q 'snapshot .*: fits' "$err" &&
	    ! grep -q -e 'snapshot .*: s' -e '^ktest: -snapshot' "$err"; then
		pass "$1: restored"
	else
		fail "$1: restored"
		show "$err"
	fi
}

alone() { # FILE WHAT
	is "$(cd "$T/d" && ls | tr '\n' ' ')" "$1 " "$2: nothing else is left"
}

# -- The same as cold --
cloud -v -snapshot "$file" -- "$GUEST" say first 3
is "$status $(cat "$out")" '3 first' 'no file: the run is right'
like "$err" "snapshot $file: saved" 'no file: it is saved'
built_us=$wall_us
alone cloud 'a run that saves'

"$GUEST" random 3000000 1 >"$T/both"
"$GUEST" random 3000000 2 >"$T/both.err"
for mode in none "$file"; do
	case $mode in none) how=cold ;; *) how=warm ;; esac
	# shellcheck disable=SC2016
	job $how.report sh -c 'ulimit -S -c 64; exec "$@"' sh "$KTEST" \
	    -kernel-path "$KTEST_CLOUD" -accel "$ACCEL" -snapshot "$mode" \
	    -env "ODD=a b'c\"d,e${nl}f" -env HOME=/x -cwd /run/a/b \
	    -file "$top/test:/t" -- "$GUEST" report
	cloud_job $how.files -snapshot "$mode" -file "$top/test:/t" -- \
	    "$GUEST" tree /t
	cloud_job $how.devices -snapshot "$mode" -- "$GUEST" tree /dev
	cloud_job $how.args -snapshot "$mode" -- "$GUEST" args '' 'a b' "$nl"
	cloud_job $how.missing -snapshot "$mode" -file "$top/init:/i" -- /no/x
	cloud_job $how.raise -snapshot "$mode" -- "$GUEST" raise 11
	cloud_job $how.panic -snapshot "$mode" -- "$GUEST" sysrq c
	cloud_job $how.hang -snapshot "$mode" -timeout 5 -- "$GUEST" hang
	cloud_job $how.timers -snapshot "$mode" -- "$GUEST" timers
	cloud_job $how.both -snapshot "$mode" -- "$GUEST" both 3000000 2
	cp "$T/both" "$T/jobs/$how.both.in"
done
jobs_run
# What follows from the memory that is left, and where modules are, is no part
# of it.
for how in cold warm; do
	result $how.report
	sed 's/size=[0-9]*k,nr_inodes=[0-9]*/size/; /^limit nproc/d
	    s/0x[0-9a-f]*$/address/' "$out" >"$T/report"
	mv "$T/report" "$out"
done
for name in report files devices args missing raise; do
	result cold.$name
	cold_status=$status cold_out=$out cold_err=$err
	result warm.$name
	is "$status" "$cold_status" "$name: the same status"
	same "$out" "$cold_out" "$name: the same stdout"
	same "$err" "$cold_err" "$name: the same stderr"
done
result warm.both
is "$status" 0 '3 MB both ways: status'
same "$out" "$T/both" '3 MB both ways: stdin to stdout'
same "$err" "$T/both.err" '3 MB both ways: stderr'
result warm.timers
is "$status" 0 "50 sleeps of 10 ms, in ms: $(cat "$out")"
result warm.panic
is "$status" 123 'a panic'
like "$err" '^ktest: .*panicked: sysrq' 'a panic: a line says so'
result warm.hang
is "$status" 124 'a -timeout'
result warm.report
like "$out" '^cwd /run/a/b' 'the report is there'

# -- Fresh --
for i in 1 2; do
	cloud -v -snapshot "$file" -- "$GUEST" fresh
	restored "fresh $i"
	cp "$out" "$T/fresh$i"
done
cat "$T/fresh1" "$T/fresh2" | sort >"$T/fresh"
is "$(grep '^random' "$T/fresh" | uniq | wc -l)" 2 'getrandom: never the same'
is "$(grep '^stack' "$T/fresh" | uniq | wc -l)" 2 'ASLR: never the same'
like "$T/fresh" '^up [0-9]+$' 'the time since boot is not negative'
before=$(date +%s)
cloud -v -snapshot "$file" -- "$GUEST" clock
after=$(date +%s)
restored 'the time of day'
ok 'the time of day is ours' [ "$(cat "$out")" -ge $before ]
ok 'the time of day is not ahead' [ "$(cat "$out")" -le $after ]
cloud -snapshot "$file" -- "$GUEST" elapse 1000
ok 'a sleep of 1 s is no shorter on the host' [ "$wall_us" -gt 1000000 ]

# -- Many at once --
for i in 1 2 3 4 5 6 7 8; do
	cloud_job "many$i" -v -snapshot "$file" -- "$GUEST" say "guest $i" "$i"
done
jobs_run 8
for i in 1 2 3 4 5 6 7 8; do
	result "many$i"
	is "$status $(cat "$out")" "$i guest $i" "eight at once: number $i"
	restored "eight at once: number $i"
done
touch "$T/d/cloud" # all of them have to read it
for i in 1 2 3 4 5 6 7 8; do
	cloud_job "again$i" -v -snapshot "$file" -- "$GUEST" exit "$i"
done
jobs_run 8
wrong=0
for i in 1 2 3 4 5 6 7 8; do
	result "again$i"
	[ "$status" = "$i" ] || wrong=$((wrong + 1))
done
is $wrong 0 'eight that read the file at once'
alone cloud 'many at once'

for i in 1 2; do
	tiny_job "two$i" -v -snapshot "$tinyfile" -- "$GUEST" say "guest $i" $i
done
jobs_run 2
for i in 1 2; do
	result two$i
	is "$status $(cat "$out")" "$i guest $i" "two builders: number $i"
done
tiny -v -snapshot "$tinyfile" -- "$GUEST" exit 4
is "$status" 4 'after two builders'
restored 'after two builders'
alone 'cloud tiny' 'two builders'

# -- Builders that are killed, from the beginning to the end of a build --
result two1
tiny_us=$wall_us stays=0 i=0 moments=8
[ "${KTEST_RUNS:-}" != all ] || moments=20
while [ $((i += 1)) -le $moments ]; do
	rm "$tinyfile" 2>/dev/null
	at=$((tiny_us / moments * i / 2000)) # two at once took twice as long
	tiny_ms=$(printf '%d.%03d' $((at / 1000)) $((at % 1000)))
	run timeout --foreground -s KILL "$tiny_ms" "$KTEST" -kernel-path \
	    "$KTEST_TINY" -accel "$ACCEL" -snapshot "$tinyfile" -- \
	    "$GUEST" exit 5
	stays=$((stays + stay))
	[ "$status" = 137 ] || [ "$status" = 5 ] || diag "$i: status $status"
done
is $stays 0 "killed at $moments moments: QEMU ends, too"
rm -f "$tinyfile"
tiny -v -snapshot "$tinyfile" -- "$GUEST" exit 6
is "$status" 6 'after they were killed: the run is right'
like "$err" "snapshot $tinyfile: saved" 'after they were killed: saved'
alone 'cloud tiny' 'after they were killed'
is "$(ls -A "$T/tmp")" '' 'after they were killed: no temporary file'

# -- Machines of other kinds, once saved and once restored --
both() { # NAME OPTIONS... -- PROGRAM...
	both_name=$1
	shift
	tiny_job "$both_name.1" -v -snapshot "$T/d/$both_name" "$@"
	echo "$both_name.2" >>"$T/second"
	tiny_job "$both_name.2" -v -snapshot "$T/d/$both_name" "$@"
	sed -i '$d' "$T/jobs/list"
}
: >"$T/second"
both cpus -cpus 2 -- "$GUEST" report
both four -cpus 4 -- "$GUEST" cpus 4
both small -memory 128M -- "$GUEST" report
both large -memory 2G -- "$GUEST" report
both noacpi -acpi off -- "$GUEST" exit 3
both nosandbox -sandbox off -- "$GUEST" exit 3
both chardev -chardev "log=$T/log.port" -file "$GUEST" -- \
    /bin/sh -c 'echo a line >/dev/virtio-ports/log; exit 3'
jobs_run
text "$T/log.port" "a line$nl" '-chardev: what the first wrote'
rm "$T/log.port"
cp "$T/second" "$T/jobs/list"
jobs_run
for name in noacpi nosandbox chardev; do
	result $name.1
	is "$status" 3 "$name: saved"
	result $name.2
	is "$status" 3 "$name: the run is right"
	restored "$name"
done
text "$T/log.port" "a line$nl" '-chardev: what the second wrote'
has() { # NAME LINE
	result "$1.2"
	like "$out" "$2" "$1: $2"
	restored "$1"
}
has cpus '^cpus 2'
result four.2
is "$status" 0 'four processors: each of them sleeps and wakes up'
restored 'four processors'
has small '^pages (9|10|11)[0-9]'
has large '^pages (19|20)[0-9][0-9]'
is "$(stat -c %s "$T/d/large" | cut -c 1-3)" 214 '2 GiB, by its file'
ok '2 GiB: most of it is holes' [ \
    "$(du -k "$T/d/large" | cut -f 1)" -lt 200000 ]
rm "$T/d"/[!ct]* "$T/d/cpus" "$T/d/chardev"

# -- Files that do not fit, each with a machine that is made anew --
# A copy of a good file for each, a change, a run that sees it, one that fits.
mkdir "$T/m"
cp "$KTEST_TINY" "$T/m/vmlinux"
cp "$top/init" "$top/bios/bios.bin" "$T/m"
"$GUEST" random 5000 1 >"$T/text"
build mkcpio mkcpio.c
"$built" "text=$T/text" >"$T/m/initrd"
printf '#!/bin/sh\nexec qemu-system-x86_64 "$@"\n' >"$T/m/qemu"
chmod 755 "$T/m/qemu"
cp -R "$T/m" "$T/m2" # all of it the same, but for one byte that does nothing
printf x | dd of="$T/m2/vmlinux" bs=1 seek=100000 conv=notrunc 2>/dev/null
printf x | dd of="$T/m2/bios.bin" bs=1 seek=1000 conv=notrunc 2>/dev/null
printf x | dd of="$T/m2/initrd" bs=1 seek=2000 conv=notrunc 2>/dev/null
echo >>"$T/m2/init"
echo >>"$T/m2/qemu"

machine="-init $T/m/init -bios $T/m/bios.bin -initrd-path $T/m/initrd"
machine="$machine -qemu $T/m/qemu -memory 128M"
other() { # NAME WHY DIR OPTIONS...
	other_name=$1 other_dir=$3
	echo "$other_name $2" >>"$T/others"
	shift 3
	[ ! -f "$T/d/good" ] || [ -f "$T/d/$other_name" ] ||
	    cp "$T/d/good" "$T/d/$other_name"
	# shellcheck disable=SC2086 # words
	job "$other_name.1" "$KTEST" -kernel-path "$T/$other_dir/vmlinux" \
	    -accel "$ACCEL" $machine -v -snapshot "$T/d/$other_name" "$@" -- \
	    "$GUEST" say "$other_name" 7
	sed 's/ $//' "$T/jobs/$other_name.1.cmd" >"$T/jobs/$other_name.2.cmd"
}
spoil() { # NAME COMMAND...: of snapshot-tool; damage is seen
	spoil_name=$1
	shift
	cp "$T/d/good" "$T/d/$spoil_name"
	"$TOOL" "$T/d/$spoil_name" "$@"
	other "$spoil_name" damage m
}
# unfit NAME WHY DIR OPTIONS...: as other, but what a dry run sees is enough
unfit() {
	[ "${KTEST_RUNS:-}" != all ] || {
		other "$@"
		return
	}
	unfit_name=$1 unfit_why=$2 unfit_dir=$3
	shift 3
	# shellcheck disable=SC2086 # words
	run "$KTEST" -n -v -kernel-path "$T/$unfit_dir/vmlinux" -accel \
	    "$ACCEL" $machine -snapshot "$T/d/good" "$@" -- "$GUEST" exit 0
	like "$err" "stale because of $unfit_why" \
	    "stale, $unfit_name: -v says why"
	unlike "$out" '-incoming' "stale, $unfit_name: QEMU will not see it"
}
damaged_at() { # N of 64, or a negative one from the end
	"$TOOL" "$T/d/good" places 64 | sed -n "$1s/data //p"
}
other good nothing m
jobs_run
result good.1
is "$status $(cat "$out")" '7 good' 'a machine of many parts'
: >"$T/others"
state=$((128 * 1048576 + 20000))
other kernel 'the kernel' m2
other init init m -init "$T/m2/init"
unfit firmware 'the firmware' m -bios "$T/m2/bios.bin"
unfit initrd 'the initrd' m -initrd-path "$T/m2/initrd"
unfit qemu QEMU m -qemu "$T/m2/qemu"
other moremem -memory m -memory 160M
unfit morecpus "QEMU's arguments" m -cpus 2
unfit acpi '-accel, -acpi' m -acpi off
other cmdline "QEMU's arguments" m -cmdline more=1
unfit net "QEMU's arguments" m -net user
spoil page1 flip 100
spoil early flip "$(damaged_at 20)"
[ "${KTEST_RUNS:-}" != all ] || {
	spoil text flip 16777316
	spoil late flip "$(damaged_at 50)"
}
spoil state flip $state
jobs_run
while read -r name why; do
	result "$name.1"
	is "$status $(cat "$out")" "7 $name" "stale, $name: the run is right"
	like "$err" "stale because of $why" "stale, $name: -v says why"
	like "$err" "snapshot $T/d/$name: saved" "stale, $name: saved anew"
	is "$(machines "$err")" 2 "stale, $name: QEMU did not see it"
	echo "$name.2" >>"$T/jobs/list"
done <"$T/others"
jobs_run
while read -r name why; do
	result "$name.2"
	is "$status $(cat "$out")" "7 $name" "then, $name: the run is right"
	restored "then, $name"
	rm "$T/d/$name"
done <"$T/others"
"$TOOL" "$T/d/good" places 64 >"$T/places"
believed=0
while read -r _ at; do
	"$TOOL" "$T/d/good" flip "$at"
	# shellcheck disable=SC2086
	"$KTEST" -n -kernel-path "$T/m/vmlinux" -accel "$ACCEL" $machine \
	    -snapshot "$T/d/good" -- "$GUEST" exit 0 >"$T/n.out" 2>&1
	! grep -q -e '-incoming' "$T/n.out" || believed=$((believed + 1))
	"$TOOL" "$T/d/good" flip "$at"
done <"$T/places"
ok 'damage all over the file: 60 places and more' [ \
    "$(wc -l <"$T/places")" -gt 60 ]
is $believed 0 'damage all over the file: how often it is believed'

# A module that the machine needs
version=${KTEST_CLOUD##*/vmlinuz-}
modules=${KTEST_CLOUD%/boot/*}/lib/modules/$version
(cd "$modules" && cp --parents modules.* kernel/drivers/virtio/*.ko \
    kernel/drivers/char/virtio_console.ko kernel/drivers/char/hw_random/*.ko \
    "$T/m2") 2>/dev/null
for i in 1 2; do
	cloud -v -modules "$T/m2" -snapshot "$file" -- "$GUEST" exit 7
	is "$status" 7 "modules, $i: the run is right"
	[ $i = 2 ] || echo >>"$T/m2/kernel/drivers/virtio/virtio_mmio.ko"
done
like "$err" 'stale because of virtio_mmio.ko' 'a module: -v says which'
like "$err" 'saved' 'a module: made anew'
cloud -v -snapshot "$file" -module dummy -- "$GUEST" show /proc/modules
like "$out" '^dummy ' 'one more module: it is there'
like "$err" 'stale because of the modules' 'one more module: -v says why'
cloud -v -snapshot "$file" -- "$GUEST" exit 8
is "$status" 8 'and without it'

rm "$T/d/good"

# -- Networks --
for i in 1 2; do
	rm -f "$T/port"
	"$KTEST" -v -kernel-path "$KTEST_CLOUD" -accel "$ACCEL" -net user \
	    -port 80 -port-file "$T/port" -snapshot "$T/d/net" -- \
	    "$N" serve 0.0.0.0 80 20 >"$T/net.out" 2>"$T/net.err" \
	    </dev/null &
	pid=$!
	until_true test -f "$T/port"
	run "$N" client 127.0.0.1 "$(sed 's/^80 //' "$T/port")" 20 1000000
	is "$status" 0 "-port, run $i: the host reaches the guest"
	wait "$pid"
	is "$?" 0 "-port, run $i: that guest"
	text "$T/net.out" "served 20 connections, 1000000 bytes$nl" \
	    "-port, run $i: as it saw it"
	like "$T/net.err" '^ktest: port 80 -> 127.0.0.1:[0-9]*$' \
	    "-port, run $i: the port is told"
done
err=$T/net.err
restored '-port'
"$N" serve 127.0.0.1 $((port + 1)) 3 >"$T/serve.out" 2>"$T/serve.err" &
until_true grep -q serving "$T/serve.err"
cloud -v -net user -snapshot "$T/d/net" -- "$N" client 10.42.0.2 $((port + 1)) 3 300000
is "$status" 0 'out of the guest, with another -port'
restored 'with another -port'
wait

cable() { # NAME ADDRESS COMMAND...: a guest on the cable
	cable_name=$1 cable_ip=$2
	shift 2
	cloud_job "$cable_name" -v -link "$T/link" -snapshot "$T/d/link" \
	    -file "$N" -- /bin/sh -c 'read -r mac \
	    </sys/class/net/eth0/address; echo "$mac"; exec "$@"' \
	    sh "$N" cable "$cable_ip" "$@"
}
for i in 1 2; do
	cable "server$i" 10.9.0.1 serve 0.0.0.0 80 3
	cable "client$i" 10.9.0.2 client 10.9.0.1 80 3 300000
	jobs_run 2
done
for name in server2 client2; do
	result $name
	is "$status" 0 "-link: the $name"
	restored "-link: the $name"
	sed -n '/^02:4b/p' "$out" >>"$T/macs"
done
is "$(sort -u "$T/macs" | wc -l)" 2 '-link: two addresses'

# -- Many runs with both processors busy; 300 with KTEST_RUNS=all --
runs=60 i=0
[ "${KTEST_RUNS:-}" != all ] || runs=300
while [ $((i += 1)) -le $runs ]; do
	case $((i % 3)) in
	0) cloud_job "busy$i" -snapshot "$file" -- "$GUEST" exit $((i % 256)) ;;
	1) cloud_job "busy$i" -snapshot "$file" -- "$GUEST" onebyte \
	    $((i % 256)) ;;
	2) cp "$T/both.err" "$T/jobs/busy$i.in"
	   cloud_job "busy$i" -snapshot "$file" -- "$GUEST" both 200000 $i ;;
	esac
done
jobs_run 5
wrong=0 i=0
while [ $((i += 1)) -le $runs ]; do
	result "busy$i"
	want=$((i % 256))
	: >"$T/want.out"
	: >"$T/want.err"
	case $((i % 3)) in
	1) printf x >"$T/want.out" ;;
	2) want=0
	   cp "$T/both.err" "$T/want.out"
	   "$GUEST" random 200000 $i >"$T/want.err" ;;
	esac
	if [ "$status" != $want ] || ! cmp -s "$out" "$T/want.out" ||
	    ! cmp -s "$err" "$T/want.err"; then
		diag "run $i: status $status, not $want"
		show "$err"
		wrong=$((wrong + 1))
	fi
done
is $wrong 0 "$runs warm runs, both processors busy: how many are wrong"
is "$(ls -A "$T/tmp")" '' 'no temporary file is left'
finish
