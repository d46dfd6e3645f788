#!/bin/sh
# suite.sh: -each at its size (`make suite`, not part of `make check`):
# SUITE_PROGRAMS (1000) programs in a guest each, the kernel's own selftests on
# three kernels, KUnit, and the two recipes for more than one machine, with
# sshd and with Slurm on 127.0.0.1. Figures are printed as comments.
. "$(dirname "$0")/tap.sh"

need_cloud
[ -f "${KTEST_TINY:-}" ] && [ -f "${KTEST_FULL:-}" ] ||
	skip_all 'no KTEST_TINY or KTEST_FULL'
unset KTEST_SNAPSHOT
programs=${SUITE_PROGRAMS:-1000}
parts=${SUITE_PARTS:-programs selftests peers kunit ssh slurm}
cd "$T" || exit 1
PATH=$PATH:/usr/sbin:/sbin

part() { # NAME: whether it is asked for
	case " $parts " in
	*" $1 "*) return 0 ;;
	esac
	return 1
}

have() {
	for have_tool; do
		command -v "$have_tool" >/dev/null || return 1
	done
}

# field NAME: of what GNU time has written
field() {
	sed -n "s/^$1 //p" "$T/time"
}

# -- Programs of a millisecond, every tenth of which fails in its own way --
list() { # N
	awk -v n="$1" -v g="$GUEST" 'BEGIN {
		split("exit 3;raise 11;exit 77;reboot;exit 255;raise 6;exit 4;" \
		    "poweroff;exit 1;exit 254", way, ";")
		while (i++ < n)
			print g, i % 10 ? "say token 0" : way[i / 10 % 10 + 1]
	}'
}

# suite N OPTIONS...: runs that many; its times are in $T/time, and the most
# memory that was used for files without a name, in KiB, in $T/shmem
suite() {
	suite_n=$1
	shift
	list "$suite_n" >"$T/list"
	(
		while sleep 0.3; do
			sed -n 's/^Shmem: *\([0-9]*\).*/\1/p' /proc/meminfo
		done >"$T/shmem.all" &
		watch=$!
		"$TIME" -o "$T/time" -f 'wall %e\nuser %U\nsystem %S\nrss %M' \
		    "$KTEST" -each -kernel-path "$KTEST_CLOUD" -accel "$ACCEL" -timeout 10m \
		    "$@" <"$T/list" >"$T/out" 2>"$T/err"
		echo $? >"$T/status"
		kill "$watch"
	)
	suite_each=$(field wall | awk -v n="$suite_n" '{ print $1 / n }')
	sort -n "$T/shmem.all" | sed -n '1h; $ { H; g; s/\n/ /; p; }' >"$T/shmem"
	out=$T/out err=$T/err status=$(cat "$T/status")
}

# judge_programs N WHAT: the verdicts of list N
judge_programs() {
	judge_tenth=$(($1 / 10)) judge_skips=$(($1 / 10 / 10 * 2))
	[ "$1" -ge 100 ] || judge_skips=0
	like "$err" "^ktest: $1 runs: $(($1 - judge_tenth)) passed, 0 flaky,"\
" $judge_skips skipped, $((judge_tenth - judge_skips)) failed, 0 not run" \
	    "$2: all verdicts"
	is "$(grep -cx token "$out")" $(($1 - judge_tenth)) "$2: all outputs"
}

# cpu: seconds of it that were used; show_suite: what one has cost
cpu() {
	echo "$(field user) $(field system)" | awk '{ print $1 + $2 }'
}

show_suite() {
	echo "$(tr '\n' ' ' <"$T/time"); Shmem before and at most, KiB:" \
	    "$(cat "$T/shmem")"
}

TIME=$(command -v time) || TIME=/usr/bin/time
if part programs && [ -x "$TIME" ]; then
	export XDG_CACHE_HOME="$T/cache"
	load=$(cut -d ' ' -f 1 /proc/loadavg)
	busy=${load%.*}
	single() {
		"$TIME" -o "$T/time" -f 'wall %e\nuser %U\nsystem %S' "$KTEST" \
		    -kernel-path "$KTEST_CLOUD" -accel "$ACCEL" -snapshot auto \
		    -- "$GUEST" say token 0 >/dev/null 2>&1
		field wall
	}
	single >/dev/null # which saves it
	singles() {
		for i in 1 2 3 4 5 6 7 8 9; do
			single
			cpu >>"$T/single.cpu"
		done >>"$T/single"
	}
	singles
	suite 10
	judge_programs 10 '10 programs'
	ten=$(cpu)
	diag "10 programs: $(show_suite)"
	suite 30 -v
	own=$(grep -ho "ktest's own CPU time: [0-9]*" "$out" "$err" |
	    sed 's/.* //' | sort -n |
	    awk '{ t[NR] = $1 } END { print t[int((NR + 1) / 2)] }')
	diag "ktest's own CPU time for a test, in its child, median: $own us"
	ok 'at most 8 ms of CPU time of ktest'\''s own for each' \
	    [ "$own" -le 8000 ]
	suite "$programs" -junit r.xml
	judge_programs "$programs" "$programs programs"
	diag "$programs programs: $(show_suite)"
	all=$(cpu)
	singles
	diag "$(paste -s -d ' ' "$T/single") s: alone, restored"
	alone=$(sort -n "$T/single" | sed -n 9p)
	diag "CPU seconds a test, after the first 10: $(echo "$ten $all" |
	    awk -v n="$programs" '{ print ($2 - $1) / (n - 10) }'); alone:" \
	    "$(sort -n "$T/single.cpu" | sed -n 9p)"
	diag "seconds a test: $suite_each; alone: $alone"
	# Others' load keeps a second job from its second processor.
	if [ "$busy" -gt 0 ]; then
		skip "the machine was busy: load $load before it" \
		    'a test takes at most 0.6 of one that runs alone'
	else
		ok 'a test takes at most 0.6 of one that runs alone' [ "$(awk \
		    -v a="$alone" -v e="$suite_each" \
		    'BEGIN { print (e <= 0.6 * a) }')" = 1 ]
	fi
fi

# -- The kernel's selftests, from the distribution's source --
source_tree() { # the headers and selftests of linux-source, unpacked
	package=$(apt-cache depends linux-source 2>/dev/null |
	    sed -n 's/^ *Depends: \(linux-source-[0-9.]*\)$/\1/p')
	[ -n "$package" ] && apt-get -q download "$package" >"$T/log" 2>&1 &&
	    mkdir "$T/src" && dpkg-deb --fsys-tarfile "$package"_*.deb |
	    tar -xO --wildcards './usr/src/linux-source-*.tar.xz' | xz -dc |
	    tar -x --strip-components=1 -C "$T/src" --exclude='*/drivers/*' \
	    --exclude='*/sound/*' --exclude='*/fs/*/*' &&
	    make -s -C "$T/src" ARCH=x86_64 headers >"$T/log" 2>&1
}

selftests() { # builds some; their paths are in $T/selftests
	src=${SUITE_SOURCE:-$T/src}
	[ -d "$src" ] || source_tree || return 1
	for t in size timers futex/functional splice pidfd sigaltstack rlimits \
	    openat2 kcmp membarrier mincore nsfs prctl proc timens sync sched \
	    exec core ptrace rseq mqueue clone3; do
		make -s -C "$src/tools/testing/selftests/$t" >"$T/log" 2>&1
		find "$src/tools/testing/selftests/$t" -maxdepth 1 -type f \
		    -perm -100 ! -name '*.*' |
		    while read -r file; do
			head -c 4 "$file" | grep -q ELF && echo "$file"
		    done
	done | sort -u >"$T/selftests"
	n=$(wc -l <"$T/selftests")
}

if ! part selftests && ! part peers; then
	:
elif ! selftests; then
	skip "no kernel source: $(tail -n 1 "$T/log")" selftests
elif part selftests; then
	ok "selftests: $n binaries" [ "$n" -ge 60 ]
	run_in "$T/selftests" "$KTEST" -each -kernel-path "$KTEST_CLOUD" \
	    -kernel-path "$KTEST_FULL" -kernel-path "$KTEST_TINY" \
	    -accel "$ACCEL" -timeout "${SUITE_TIMEOUT:-60s}" -junit s.xml
	grep -a '^ktest: ' "$err" | tail -n 400 | cut -c 1-150 | diag "$(cat)"
	like "$err" "^ktest: $((3 * n)) runs: .* 0 not run" \
	    'selftests: on three kernels, each has a verdict'
	is "$(grep -c "^<testcase classname=\"[^.]*[^\"]*\" name=\"$src" \
	    s.xml)" $((3 * n)) 'selftests: a case for each'
fi

# -- The first hundred of them in three ways: a guest each, one guest with a
# loop, a boot each under virtme-ng. The figures are whatever they are. --
spent() { # WHAT N COMMAND...: how long the N of them took, by the command
	spent_what=$1 spent_n=$2
	shift 2
	"$TIME" -o "$T/time" -f 'wall %e' "$@" >"$T/spent" 2>&1 <"$T/some"
	diag "$spent_what: $spent_n in $(field wall) s, each $(field wall |
	    awk -v n="$spent_n" '{ print $1 / n }') s"
}
if part peers && have vng && [ -s "$T/selftests" ]; then
	head -n 100 "$T/selftests" >"$T/some"
	n=$(wc -l <"$T/some")
	spent 'ktest -each' "$n" "$KTEST" -each -kernel-path "$KTEST_FULL" \
	    -accel "$ACCEL" -timeout 60
	like "$T/spent" "^ktest: $n runs: .* 0 not run" 'peers: -each'
	unlike "$T/spent" '^ktest: failed 125' 'peers: -each, a verdict for each'
	spent 'ktest, a loop in one guest' "$n" "$KTEST" -kernel-path \
	    "$KTEST_FULL" -accel "$ACCEL" -rootfs / -timeout 1h -- sh -c \
	    'while read -r t; do timeout 60 "$t" </dev/null; echo "end: $?"; done'
	is "$(grep -c '^end: ' "$T/spent")" "$n" 'peers: a loop'
	boots=${SUITE_BOOTS:-10}
	sed -i "$boots q" "$T/some"
	spent virtme-ng "$boots" sh -c 'while read -r t; do vng --disable-kvm \
	    --run "$0" -- "timeout 60 $t; echo end: \$?" </dev/null; done' \
	    "$KTEST_FULL"
	is "$(grep -c '^end: ' "$T/spent")" "$boots" 'peers: virtme-ng'
else
	! part peers || skip 'no virtme-ng (Debian 13 has it), or no selftests' \
	    'three ways side by side'
fi

# -- KUnit: a kernel that has it, with its test of lists built in or a module --
kunit=$(dirname "$KTEST_TINY")/../debug/vmlinux
if ! part kunit; then
	:
elif grep -q '^CONFIG_KUNIT_DEBUGFS=y' "$kunit.config" 2>/dev/null &&
    test=$(grep '^CONFIG_LIST_KUNIT_TEST=' "$kunit.config"); then
	module=
	[ "${test#*=}" = y ] || module="-module ${kunit%/*}/list-test.ko"
	# shellcheck disable=SC2086 # two words
	run "$KTEST" -kernel-path "$kunit" -accel "$ACCEL" $module -junit \
	    k.xml -- /bin/cat /sys/kernel/debug/kunit/list-kunit-test/results
	is "$status" 0 'KUnit: status'
	ok 'KUnit: its tests are cases' [ "$(grep -c \
	    'name="[0-9]* list_test_' k.xml)" -ge 30 ]
else
	skip 'no kernel with KUNIT_DEBUGFS and LIST_KUNIT_TEST' KUnit
fi

# -- GNU parallel over ssh, as README has it --
ports 4
if part ssh && have sshd parallel ssh-keygen; then
	sshd=$(command -v sshd)
	ssh-keygen -q -t ed25519 -N '' -f "$T/host" &&
	    ssh-keygen -q -t ed25519 -N '' -f "$T/user"
	cp user.pub authorized
	cat >sshd.conf <<-end
		Port $port
		ListenAddress 127.0.0.1
		HostKey $T/host
		AuthorizedKeysFile $T/authorized
		StrictModes no
		UsePAM no
		PidFile $T/sshd.pid
	end
	mkdir -p /run/sshd
	"$sshd" -D -f "$T/sshd.conf" -E "$T/sshd.log" &
	sshd_pid=$!
	cat >ssh.conf <<-end
		Host one two
			HostName 127.0.0.1
			Port $port
			IdentityFile $T/user
			StrictHostKeyChecking no
			UserKnownHostsFile $T/known
			LogLevel ERROR
	end
	until_true ssh -F "$T/ssh.conf" one true
	for i in 1 2 3 4 5 6; do
		printf '#!/bin/sh\nexit %d\n' $((i == 4)) >"$T/t$i"
		chmod 755 "$T/t$i"
	done
	export PARALLEL_SSH="ssh -F $T/ssh.conf"
	run parallel --will-cite --sshlogin 1/one,1/two --workdir "$T" --joblog \
	    "$T/joblog" "$KTEST -kernel-path $KTEST_TINY -accel $ACCEL" \
	    "-junit $T/{#}.xml -- ./{}" ::: t1 t2 t3 t4 t5 t6
	is "$status" 1 'parallel: one of six fails'
	is "$(awk 'NR > 1 && $7 == 0' "$T/joblog" | wc -l)" 5 'parallel: five pass'
	is "$(awk 'NR > 1 { print $2 }' "$T/joblog" | sort -u | wc -l)" 2 \
	    'parallel: both machines took part'
	is "$(cat [1-6].xml | grep -c '^<testcase')" 6 'parallel: six -junit files'
	kill "$sshd_pid"
	wait "$sshd_pid"
else
	! part ssh || skip 'no sshd or GNU parallel' 'GNU parallel over ssh'
fi

# -- A Slurm job array, as README has it: one node, this one --
slurm_end() {
	kill $slurm_pids 2>/dev/null
	wait $slurm_pids
}
if part slurm && have slurmctld slurmd sbatch munged && [ "$(id -u)" = 0 ]; then
	mkdir -p s/state s/spool s/munge
	chmod 700 s/munge
	dd if=/dev/urandom of=s/munge/key bs=1024 count=1 2>/dev/null
	chmod 400 s/munge/key
	host=$(hostname -s)
	cat >s/slurm.conf <<-end
		ClusterName=ktest
		SlurmctldHost=$host(127.0.0.1)
		SlurmUser=root
		AuthType=auth/munge
		AuthInfo=socket=$T/s/munge/socket
		CryptoType=crypto/munge
		SlurmctldPort=$((port + 1))
		SlurmdPort=$((port + 2))
		StateSaveLocation=$T/s/state
		SlurmdSpoolDir=$T/s/spool
		SlurmctldPidFile=$T/s/ctld.pid
		SlurmdPidFile=$T/s/d.pid
		SlurmctldLogFile=$T/s/ctld.log
		SlurmdLogFile=$T/s/d.log
		ProctrackType=proctrack/linuxproc
		TaskPlugin=task/none
		SelectType=select/cons_tres
		SelectTypeParameters=CR_CPU
		ReturnToService=2
		MpiDefault=none
		JobAcctGatherType=jobacct_gather/none
		NodeName=$host NodeAddr=127.0.0.1 CPUs=2
		PartitionName=all Nodes=ALL Default=YES State=UP
	end
	export SLURM_CONF="$T/s/slurm.conf"
	munged -F --key-file "$T/s/munge/key" --socket "$T/s/munge/socket" \
	    --pid-file "$T/s/munge/pid" --log-file "$T/s/munge/log" \
	    --seed-file "$T/s/munge/seed" --force >/dev/null 2>&1 &
	slurm_pids=$!
	until_true [ -S "$T/s/munge/socket" ]
	slurmctld -D >/dev/null 2>&1 &
	slurm_pids="$slurm_pids $!"
	slurmd -D -N "$host" >/dev/null 2>&1 &
	slurm_pids="$slurm_pids $!"
	idle() {
		sinfo -h -o %t 2>/dev/null | grep -q idle
	}
	until_true idle
	mkdir results
	for i in 1 2 3 4 5 6; do
		echo "$GUEST exit $((i == 4))"
	done >list
	cat >array.sh <<-end
		#!/bin/sh
		sed -n "\${SLURM_ARRAY_TASK_ID}~3p" list | $KTEST -each \
		    -kernel-path $KTEST_TINY -accel $ACCEL \
		    -junit results/\$SLURM_ARRAY_TASK_ID.xml
	end
	run sbatch -W -a 1-3 -o "$T/results/%a.log" array.sh
	is "$status" 1 'Slurm: the array fails as one of its tests does'
	is "$(cat results/*.xml | grep -c '^<testcase')" 6 \
	    'Slurm: all six tests, in three files'
	is "$(cat results/*.xml | grep -c '^<failure')" 1 'Slurm: one has failed'
	slurm_end
else
	! part slurm || skip 'no Slurm, or not root' 'a Slurm job array'
fi
finish
