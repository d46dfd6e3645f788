#!/bin/sh
# The kernel's health: what it reports of its own failures, and what that does
# to the exit status. Reports by the stand-in for QEMU; then real ones, by the
# triggers of the debug kernel (LKDTM) and by a module on Debian's kernel; and
# none where nothing is wrong. KTEST_HEALTH=all has more triggers, each at all
# levels, and kmemleak.
. "$(dirname "$0")/tap.sh"

need_ktest
fake_setup
unset KTEST_SNAPSHOT

# -- Without a guest --
well='hello;clock;go'
cut='4,8,2,-\s------------[ cut here ]------------\n'
cpu='4,10,4,-\sCPU: 0 PID: 85 Comm: my cat Tainted: G    6.1.0\n'
end='4,11,5,-\s---[ end trace 0000000000000000 ]---\n'
warning="${cut}4,9,3,-\\sWARNING: CPU: 0 PID: 85 at a.c:1 foo+0x1/0x2\\n$cpu$end"
oops="0,9,3,-\\sBUG: kernel NULL pointer dereference, address: 8\\n$cpu$end"
panic='Kernel panic - not syncing: tried\n'

# told STATUS WHAT SCRIPT OPTIONS...
told() {
	told_status=$1 told_what=$2 told_script=$3
	shift 3
	fake "$well;$told_script" "$@" -- "$GUEST" exit 0
	is "$status" "$told_status" "$told_what: status $told_status"
}
told 123 'an oops' "say=log:$oops;taint=0x80;x=0"
like "$err" '^ktest: the kernel failed: BUG: kernel NULL .*, my cat\[85\]$' \
    'an oops: a line says so'
is "$(sed -n '2p;$p' "$err")" "[    0.000003] BUG: kernel NULL pointer$(:
    ) dereference, address: 8${nl}[    0.000005] ---[ end trace$(:
    ) 0000000000000000 ]---" 'an oops: then its trace'
told 7 "an oops, the program's own status" "say=log:$oops;x=7"
like "$err" '^ktest: the kernel failed: BUG' 'the own status: it is said, too'
told 123 'an oops, and -each: a status that skips is none' \
    "say=log:$oops;x=77" -each
told 0 'an oops, -health off' "say=log:;taint=0x80;x=0" -health off
empty "$err" 'an oops, -health off: not a word'
told 0 'a warning' "say=log:$warning;taint=0x200;x=0"
like "$err" '^ktest: the kernel warns: WARNING: CPU: 0 .*, my cat\[85\]$' \
    'a warning: a line says so'
told 123 'a warning, -health warn' "say=log:$warning;x=0" -health warn
like "$err" '^ktest: the kernel failed: WARNING' 'a warning, -health warn: said'
told 123 'tainted, and not a word' 'taint=0x80;x=0'
like "$err" '^ktest: the kernel failed: it is tainted D' 'tainted: said'
told 0 'of an out-of-tree module' 'taint=0x3000;x=0' -health warn
empty "$err" 'of an out-of-tree module: not a word'
told 0 'records are lost' 'say=log:6,1,1,-\sa\n6,5,1,-\sb\n;x=0'
like "$err" '^ktest: 3 records of the kernel.s log were lost$' 'records are lost: said'
told 0 "a program's own BUG" "say=log:$(echo "$oops" | sed 's/^0,/9,/');x=0"
empty "$err" "a program's own BUG: not a word"

told 0 'a parameter that a module has not' \
    "say=log:4,9,3,-\\sm: unknown parameter 'p' ignored\\n;x=0" -module virtio
text "$err" "ktest: the kernel says m: unknown parameter 'p' ignored$nl" \
    'a parameter that a module has not: it is said'

told 0 '-health-ignore' "say=log:$oops;taint=0x80;x=0" -health-ignore \
    'NULL pointer'
cat >"$T/known" <<-end
	-health-ignore nothing like this
	-health-ignore a.c:1 foo	# since last year
	-health=warn
end
told 0 '-health-ignore in a FILE, with a reason' "say=log:$warning;x=0" \
    "@$T/known"
empty "$err" '-health-ignore: not a word'

told 0 '-expect oops' "say=log:$oops;x=137" -expect oops
empty "$err" '-expect oops: not a word'
told 123 '-expect oops, and none' "x=0" -expect oops
like "$err" '^ktest: -expect oops: it did not happen' '-expect oops: said'
told 0 '-expect warn' "say=log:$warning;x=0" -expect warn -health off
told 123 '-expect warn, and an oops' "say=log:$warning$oops;x=0" -expect warn
told 0 '-expect panic' "say=con:$panic;exit=0" -expect panic
empty "$err" '-expect panic: not a word'
told 123 '-expect panic, a restart' 'exit=0' -expect panic
told 0 '-expect restart' 'exit=0' -expect restart
told 124 '-expect panic, a timeout' 'stay' -expect panic -timeout 1
fake "say=con:$panic;exit=0" -acpi on -expect panic -- "$GUEST" exit 0
is "$status" 123 '-expect panic, before the program: status'
told 123 'a panic: both witnesses are there' \
    "say=log:$oops;say=con:[    0.000004] $panic;exit=0"
like "$err" '^ktest: the guest panicked: tried' 'a panic: said'
like "$err" '^ktest: the kernel failed: BUG: kernel NULL' 'a panic: and what led to it'
is "$(grep -c 'end trace' "$err")" 1 'a panic: the log is shown once'

run "$KTEST" -tap -snapshot none -qemu "$FAKE" -init "$GUEST" -kernel-path \
    "$FAKE_KERNEL" -accel tcg -- "$GUEST" exit 0
FAKE_DO="$well;say=log:${cut}4,9,3,-\\sWARNING: CPU: 0 PID: 1 at it's:1\\n$end;x=0"
run "$KTEST" -tap -snapshot none -qemu "$FAKE" -init "$GUEST" -kernel-path \
    "$FAKE_KERNEL" -accel tcg -health warn -- "$GUEST" exit 0
like "$out" "^not ok 1 - " '-tap: not ok'
like "$out" "^# WARNING: CPU: 0 PID: 1 at it's:1$" '-tap: the finding'
run "$KTEST" -snapshot none -qemu "$FAKE" -init "$GUEST" -accel tcg \
    -kernel-path "$FAKE_KERNEL" -kernel-path "$FAKE_KERNEL" -- "$GUEST" exit 0
like "$err" '^ktest: passed   0 .*: WARNING: CPU: 0 PID: 1' 'two kernels: the finding'

for bad in '-health bad' '-expect bad' '-health-ignore='; do
	# shellcheck disable=SC2086 # words
	run "$KTEST" $bad -kernel-path "$FAKE_KERNEL" -- "$GUEST" exit 0
	is "$status" 125 "$bad: status"
	one_line "$err" "$bad: a line"
done
for option in '-expect oops' '-kmemleak' '-health-ignore x'; do
	# shellcheck disable=SC2086 # words
	run "$KTEST" $option -kernel-path "$FAKE_KERNEL" -initrd-path /dev/null
	is "$status" 125 "$option without a program: status"
	like "$err" "^ktest: ${option%% *}: needs a PROGRAM" "$option: a line"
done

# git bisect run skips what is 125: a commit whose kernel panics is bad.
if command -v git >/dev/null; then
	mkdir "$T/git" && cd "$T/git" || exit
	git init -q .
	for n in 1 2 3 4 5 6 7 8; do
		echo "$well;x=0" >script
		[ $n -lt 6 ] || echo "$well;say=con:$panic;exit=0" >script
		[ $n != 4 ] || echo 'exit=0' >script	# nobody can tell
		git add script
		git -c user.name=a -c user.email=a@b -c commit.gpgsign=false \
		    commit -q --allow-empty -m $n
	done
	git bisect start HEAD HEAD~7 >"$T/bisect"
	git bisect run sh -c 'FAKE_DO=$(cat script) exec "$@"' sh "$KTEST" \
	    -snapshot none -qemu "$FAKE" -init "$GUEST" -kernel-path \
	    "$FAKE_KERNEL" -accel tcg -acpi on -- "$GUEST" exit 0 \
	    >>"$T/bisect" 2>&1
	is "$(git log -1 --format=%s refs/bisect/bad)" 6 \
	    'git bisect run finds the kernel that panics'
	cd "$top" || exit
else
	skip 'no git' 'git bisect run'
fi

# -- Healthy guests: from boot on, all levels, not a word --
healthy=
for name in cloud full tiny debug; do
	case $name in
	cloud) kernel=${KTEST_CLOUD:-} ;;
	full) kernel=${KTEST_FULL:-} ;;
	tiny) kernel=${KTEST_TINY:-} ;;
	debug) kernel=${KTEST_DEBUG:-} ;;
	esac
	[ -f "$kernel" ] || { skip "no $name" "$name: healthy"; continue; }
	healthy="$healthy $name"
	for how in cold warm; do
		snapshot=none
		[ $how = cold ] || snapshot=$T/$name.snapshot
		job healthy.$name.$how "$KTEST" -accel "$ACCEL" -kernel-path \
		    "$kernel" -memory 256M -timeout 240 -health warn \
		    -snapshot $snapshot -- "$GUEST" exit 3
	done
done

# -- Triggers: of the debug kernel --
cat >"$T/trigger" <<'end'
#!/bin/sh
# trigger NAME [REPORT]: with REPORT, waits until the log has it
echo 1 >/proc/sys/kernel/watchdog_thresh
echo 2 >/proc/sys/kernel/hung_task_timeout_secs
echo 3 >/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout
(echo "$1" >/sys/kernel/debug/provoke-crash/DIRECT) &
[ -n "$2" ] || wait
until [ -z "$2" ] || dmesg | grep -q "$2"; do sleep 0.3; done
exit 0
end
chmod +x "$T/trigger"

# NAME OFF OOPS WARN HEADLINE: the status at each level
triggers='
WARNING		0 0 123		WARNING: CPU: 0 PID: [0-9]+ at drivers/misc/lkdtm
BUG		0 123 123	kernel BUG at drivers/misc/lkdtm/bugs.c:
EXCEPTION	0 123 123	general protection fault
ARRAY_BOUNDS	0 0 123		UBSAN: array-index-out-of-bounds in drivers/misc
CORRUPT_LIST_ADD 0 123 123	list_add corruption
WRITE_AFTER_FREE 0 123 123	BUG: KASAN: use-after-free in lkdtm_WRITE_AFTER
REFCOUNT_DEC_ZERO 0 0 123	refcount_t: decrement hit 0
EXHAUST_STACK	123 123 123	BUG: TASK stack guard page was hit
PANIC		123 123 123	the guest panicked: dumptest'
more_triggers='
WARNING_MESSAGE	0 0 123		WARNING: CPU: 0 PID: [0-9]+ at drivers/misc/lkdtm
CORRUPT_STACK	0 123 123	BUG: KASAN: stack-out-of-bounds in
CORRUPT_LIST_DEL 0 123 123	list_del corruption
SLAB_LINEAR_OVERFLOW 0 123 123	BUG: KASAN: slab-out-of-bounds in
READ_AFTER_FREE	0 123 123	BUG: KASAN: use-after-free in
SLAB_FREE_DOUBLE 0 123 123	BUG: KASAN: double-free in
VMALLOC_LINEAR_OVERFLOW 0 123 123	detected buffer overflow in memset
WRITE_RO	0 123 123	BUG: unable to handle page fault for address
EXEC_DATA	0 123 123	BUG: unable to handle page fault for address
EXEC_NULL	0 123 123	BUG: kernel NULL pointer dereference
ACCESS_NULL	0 123 123	general protection fault
USERCOPY_KERNEL	0 123 123	usercopy: Kernel memory exposure attempt
FORTIFY_STR_OBJECT 0 123 123	detected buffer overflow in strncpy
REFCOUNT_INC_OVERFLOW 0 0 123	refcount_t: saturated
SPINLOCKUP	0 0 123		BUG: scheduling while atomic'
# What hangs a processor, or a task, leaves another to the program.
hangs='
HUNG_TASK	INFO:.task INFO: task sh|INFO: task .*:[0-9]+ blocked for more
SOFTLOCKUP	soft.lockup watchdog: BUG: soft lockup - CPU#'
more_hangs='
HARDLOCKUP	stall rcu: INFO: rcu_.* stall'
if [ "${KTEST_HEALTH:-}" = all ]; then
	triggers=$triggers$more_triggers
	hangs=$hangs$more_hangs
fi

# debug_job NAME OPTIONS... -- TRIGGER [REPORT]
debug_job() {
	debug_name=$1
	shift
	job "$debug_name" "$KTEST" -accel "$ACCEL" -kernel-path "$KTEST_DEBUG" \
	    -memory 256M -file "$T/trigger:/trigger" -file /bin/sh \
	    -file "$(command -v dmesg)" -file "$(command -v grep)" \
	    -file "$(command -v sleep)" -timeout 280 "$@"
}

# each TABLE COMMAND: COMMAND NAME AND THE REST for each line
each() {
	echo "$1" | grep . >"$T/each"
	while read -r each_line; do
		# shellcheck disable=SC2086 # words
		$2 $each_line
	done <"$T/each"
}

# ways TRIGGER: the levels at which it is tried, and whether cold, too
ways() {
	case ${KTEST_HEALTH:-}/$1 in
	all/WARNING | all/BUG | all/PANIC) echo off oops warn cold ;;
	all/* | /BUG | /WARNING) echo off oops warn ;;
	/PANIC) echo oops cold ;;
	*) echo oops ;;
	esac
}

trigger_jobs() {
	for way in $(ways "$1"); do
		level=$way snapshot=$T/debug.snapshot
		[ $way != cold ] || level=oops snapshot=none
		debug_job "$1.$way" -health $level -snapshot $snapshot -- \
		    /trigger "$1"
	done
}

# verdict NAME STATUS SEVERITY HEADLINE
verdict() {
	result "$1"
	is "$status" "$2" "$1: status $2"
	if [ "$3" = off ]; then
		unlike "$err" 'the kernel (failed|warns)' "$1: no finding"
	else
		like "$err" "^ktest: (the kernel $3: )?($4)" "$1: its first line"
	fi
}

trigger_results() {
	trigger=$1 at_off=$2 at_oops=$3 at_warn=$4
	shift 4
	word=failed
	[ "$at_oops" = 123 ] || word=warns
	for way in $(ways "$trigger"); do
		case $way in
		off) verdict "$trigger.off" "$at_off" off ;;
		warn) verdict "$trigger.warn" "$at_warn" failed "$*" ;;
		*) verdict "$trigger.$way" "$at_oops" $word "$*" ;;
		esac
	done
}

hang_jobs() {
	debug_job "$1.hang" -health warn -cpus 2 -snapshot "$T/two.snapshot" -- \
	    /trigger "$1" "$2"
}

hang_results() {
	hang=$1
	shift 2
	verdict "$hang.hang" 123 failed "$*"
}

if [ -f "${KTEST_DEBUG:-}" ]; then
	each "$triggers" trigger_jobs
	each "$hangs" hang_jobs
	leaky=${KTEST_DEBUG%/*}/kmemleak-test.ko
	[ "${KTEST_HEALTH:-}" = all ] || leaky=
	if [ -f "$leaky" ]; then
		debug_job leak -timeout 900 -snapshot "$T/debug.snapshot" \
		    -kmemleak -file "$leaky:/leak.ko" \
		    -file "$(command -v insmod)" -- /bin/sh -c 'insmod /leak.ko'
		debug_job clean -timeout 900 -snapshot "$T/debug.snapshot" \
		    -kmemleak -- "$GUEST" exit 0
	fi
fi

# -- A module, on Debian's kernel, restored --
version=${KTEST_CLOUD##*/vmlinuz-}
headers=/usr/src/linux-headers-$version
sick=
if [ ! -f "${KTEST_CLOUD:-}" ] || [ ! -d "$headers" ]; then
	skip "no ${headers##*/}" 'a module'
elif cp "$here/modules/sick.c" "$T/sick.c" && echo 'obj-m := sick.o' >"$T/Kbuild" &&
    make -s -C "$headers" M="$T" modules >"$T/said" 2>&1; then
	sick=yes
	cat >"$T/sicken" <<-'end'
		#!/bin/sh
		insmod /sick.ko || exit 1
		for what; do
			[ $what != say ] || echo 'BUG: a lie' >/dev/kmsg
			[ $what = say ] || (echo $what >/proc/sick)
		done
		exit 0
	end
	chmod +x "$T/sicken"
	while read -r name words; do
		# shellcheck disable=SC2086 # words
		cloud_job "sick.$name" -snapshot "$T/cloud.snapshot" -memory 256M \
		    -file "$T/sick.ko:/sick.ko" -file "$T/sicken:/sicken" \
		    -file /bin/sh -file "$(command -v insmod)" -- /sicken $words
	done <<-'end'
		none
		warn warn
		oops oops
		both warn oops
		panic warn panic
		write say
	end
	cloud_job sick.loaded -memory 256M -module "$T/sick.ko:later=1" -- \
	    "$GUEST" exit 0
	cloud_job sick.not -memory 256M -module "$T/sick.ko:later=x" -- \
	    "$GUEST" exit 0
else
	fail 'a module is built'
	show "$T/said"
fi

[ ! -f "${KTEST_CLOUD:-}" ] ||
    cloud_job noleak -snapshot "$T/cloud.snapshot" -memory 256M -kmemleak \
	-- "$GUEST" exit 0
jobs_run

for name in $healthy; do
	for how in cold warm; do
		result healthy.$name.$how
		is "$status" 3 "$name, $how: healthy"
		empty "$err" "$name, $how: not a word"
	done
done
[ ! -f "${KTEST_DEBUG:-}" ] || {
	each "$triggers" trigger_results
	each "$hangs" hang_results
	if [ -f "$leaky" ]; then
		verdict leak 123 failed 'unreferenced object .*, insmod\['
		like "$err" '^  backtrace:$' 'leak: its backtrace'
		verdict clean 0 off
	fi
}
[ ! -f "${KTEST_CLOUD:-}" ] || {
	result noleak
	is "$status" 125 'no kmemleak: status'
	like "$err" '^ktest: init gave up: -kmemleak: ' 'no kmemleak: a line'
}
if [ -n "$sick" ]; then
	result sick.none
	is "$status" 0 'a module without a signature: status'
	empty "$err" 'a module without a signature: not a word'
	verdict sick.warn 0 warns 'WARNING: CPU: 0 .* sick_write.*, sicken\[[0-9]*\]$'
	like "$err" '\] sick of it$' 'sick.warn: what was told to WARN()'
	verdict sick.oops 123 failed 'BUG: kernel NULL pointer dereference'
	verdict sick.both 123 failed 'BUG: kernel NULL pointer dereference'
	like "$err" '^ktest: the kernel warns: WARNING' 'sick.both: the warning, too'
	verdict sick.panic 123 warns 'WARNING: CPU: 0'
	like "$err" '^ktest: the guest panicked: sick of it' 'sick.panic: said'
	is "$(grep -c '\] sick of it' "$err") $(grep -c 'end trace' "$err")" '1 1' \
	    'sick.panic: what init could not send is there, and once'
	result sick.write
	is "$status" 0 "a program's own BUG: status"
	empty "$err" "a program's own BUG: not a word"
	verdict sick.loaded 123 failed 'BUG: kernel NULL pointer dereference.*'
	result sick.not
	is "$status" 125 'a module that does not load: status'
	like "$err" "cannot load module sick: sick: .x. invalid for $(:
	    )parameter .later.: invalid argument$" \
	    'a module that does not load: the reason, not what taints'
fi
finish
