#!/bin/sh
# What stands around QEMU: a -qemu that is a script, which may not exec, may
# start it late, in another process group or session; signals that are sent
# to all of a group; Ctrl-Z; few fds; a chroot. However a run ends, nothing
# of it is left some seconds later.
. "$(dirname "$0")/tap.sh"
# shellcheck disable=SC2034 # for tap.sh
guard=${KTEST_GUARD:-60}	# what hangs here, hangs for ever

need_ktest
fake_setup
unset KTEST_SNAPSHOT
log=$FAKE_LOG
unset FAKE_LOG
build pty pty.c
PTY=$built
init=${KTEST_INIT:-${KTEST%/*}/init}
tiny=
[ ! -f "${KTEST_TINY:-}" ] || [ ! -f "$init" ] || tiny=1
go='hello;clock;go'

# wrapper NAME COMMANDS: $T/NAME-fake and $T/NAME-real, scripts; in COMMANDS
# $qemu is the stand-in and the real one
wrapper() {
	for wrapper_kind in fake real; do
		wrapper_qemu=$FAKE
		[ $wrapper_kind = fake ] ||
			wrapper_qemu=$(command -v qemu-system-x86_64)
		{
			echo '#!/bin/sh'
			echo "qemu=$(quote "$wrapper_qemu")"
			echo "$2"
		} >"$T/$1-$wrapper_kind"
		chmod +x "$T/$1-$wrapper_kind"
	done
}
# shellcheck disable=SC2016
{
	wrapper plain '"$qemu" "$@"; exit $?'
	wrapper exec 'exec "$qemu" "$@"'
	wrapper late 'sleep 6; "$qemu" "$@"; exit $?'
	wrapper timeout 'timeout 600 "$qemu" "$@"; exit $?'
	wrapper setsid 'setsid "$qemu" "$@"; exit $?'
	wrapper leads 'exec timeout 600 "$qemu" "$@"'
}

# wrapped NAME KIND SCRIPT BEFORE [OPTIONS...]: the stand-in behind a wrapper;
# BEFORE are words before ktest
wrapped() {
	wrapped_name=$1 wrapped_kind=$2 wrapped_do=$3 wrapped_before=$4
	shift 4
	# shellcheck disable=SC2086 # words
	job "$wrapped_name" env "FAKE_DO=$wrapped_do" $wrapped_before "$KTEST" \
	    -qemu "$T/$wrapped_kind-fake" -init "$GUEST" -kernel-path \
	    "$FAKE_KERNEL" -accel tcg "$@" -- "$GUEST" exit 0
}

# Runs a ktest until it has written a line, sends it a signal.
cat >"$T/end" <<'END'
number=$1 said=$2
shift 2
"$@" >"$said" &
pid=$!
until [ -s "$said" ]; do
	kill -0 $pid || exit 50
	sleep 0.05
done
kill -"$number" $pid
wait $pid
END

real() { # NAME KIND BEFORE [OPTIONS...] -- PROGRAM...: a guest
	real_name=$1 real_kind=$2 real_before=$3
	shift 3
	# shellcheck disable=SC2086 # words
	job "$real_name" $real_before "$KTEST" -qemu "$T/$real_kind-real" \
	    -kernel-path "$KTEST_TINY" -accel "$ACCEL" "$@"
}

# -- A verdict, -timeout, kill -9, SIGTERM --
for kind in plain exec late; do
	end="$go;say=stdout:ready\\n;stay"
	wrapped $kind-verdict $kind "$go;say=stdout:hi;x=7" ''
	wrapped $kind-failed $kind 'say=qemu:oops\n;exit=3' ''
	wrapped $kind-deadline $kind stay '' -timeout 2
	wrapped $kind-kill9 $kind "$end" "sh $T/end 9 $T/$kind-9"
	wrapped $kind-term $kind "$end" "sh $T/end 15 $T/$kind-15"
done
# one that has become the leader of a group of its own
wrapped leads-verdict leads "$go;say=stdout:hi;x=7" ''
wrapped leads-deadline leads stay '' -timeout 2
wrapped leads-term leads "$go;say=stdout:ready\\n;stay" \
    "sh $T/end 15 $T/leads-15"
jobs_run 18

# gone NAME WANTED WHAT: its status, and what it left ends by itself
gone() {
	result "$1"
	is "$code, hang $hang, left $stay: $names" \
	    "$2, hang 0, left 0: $names" "$3: status $2, nothing is left"
}
for kind in plain exec late; do
	gone $kind-verdict 7 "$kind: a verdict"
	text "$out" hi "$kind: a verdict: stdout"
	empty "$err" "$kind: a verdict: stderr"
	gone $kind-failed 125 "$kind: QEMU fails"
	text "$err" "ktest: QEMU ended with status 3: oops$nl" \
	    "$kind: QEMU fails: why"
	gone $kind-deadline 124 "$kind: -timeout"
	ok "$kind: -timeout: in time" [ "$wall_us" -lt 120000000 ]
	gone $kind-kill9 137 "$kind: kill -9"
	gone $kind-term 143 "$kind: SIGTERM"
done
gone leads-verdict 7 'a group of its own: a verdict'
gone leads-deadline 124 'a group of its own: -timeout'
ok 'a group of its own: -timeout: in time' [ "$wall_us" -lt 120000000 ]
gone leads-term 143 'a group of its own: SIGTERM'

# With guests: QEMU in another group or session ends since init, whose control
# port hangs up, restarts the machine.
if [ -n "$tiny" ]; then
	for kind in plain timeout setsid late; do
		real $kind-real-verdict $kind '' -- "$GUEST" say hi 7
		real $kind-real-deadline $kind '' -timeout 12 -- "$GUEST" hang
		real $kind-real-kill9 $kind "sh $T/end 9 $T/$kind-real-9" -- \
		    "$GUEST" hang
	done
	jobs_run 2
	for kind in plain timeout setsid late; do
		gone $kind-real-verdict 7 "$kind, a guest: a verdict"
		text "$out" "hi$nl" "$kind, a guest: stdout"
		gone $kind-real-deadline 124 "$kind, a guest: -timeout"
		ok "$kind, a guest: -timeout in time" \
		    [ "$wall_us" -lt 120000000 ]
		gone $kind-real-kill9 137 "$kind, a guest: kill -9"
	done
else
	skip 'no KTEST_TINY' 'wrappers and guests'
fi

# -- Signals for all of a process group, which were ignored at the start --
# The command gets a session of its own; its group gets the signal.
cat >"$T/group" <<'END'
number=$1 said=$2
shift 2
mkfifo "$said.in" || exit
setsid sh -c 'trap "" "$0"; echo $$ >"$1.new"; mv "$1.new" "$1.pid"
	shift; exec "$@"' "$number" "$said" "$@" <"$said.in" >"$said" &
exec 3>"$said.in"
until [ -s "$said" ]; do
	kill -0 $! || exit 50
	sleep 0.05
done
kill -"$number" -"$(cat "$said.pid")"
echo go >&3
exec 3>&-
wait $!
END
for n in 1 2; do
	for kind in exec plain; do
		wrapped group$n-$kind $kind \
		    "handlers;$go;say=stdout:ready\\n;line;x=9" \
		    "sh $T/group $n $T/group$n-$kind"
		[ -z "$tiny" ] || real group$n-$kind-real $kind \
		    "sh $T/group $n $T/group$n-$kind-real" -- \
		    /bin/sh -c 'echo ready; read x; [ "$x" = go ] && exit 9'
	done
done
jobs_run 2
for n in 1 2; do
	for kind in exec plain; do
		gone group$n-$kind 9 "$kind: signal $n, ignored, for the group"
		[ -z "$tiny" ] || gone group$n-$kind-real 9 \
		    "$kind, a guest: signal $n, ignored, for the group"
	done
done

# -- SIGTSTP, as Ctrl-Z sends it, and fg --
# QEMU stops with ktest, and goes on with it. At a terminal, since a group
# that no shell looks after is not stopped by this signal.
cat >"$T/pause" <<'END'
set -m
said=$1 log=$2
shift 2
mkfifo "$said.in" || exit
# Its parent waits for its end alone, which tells how it was.
(
	set +m
	sh -c 'echo $$ >"$0"; exec "$@"' "$said.pid" "$@" <"$said.in" >"$said"
	echo $? >"$said.status"
) &
exec 3>"$said.in"
state() { # PID STATE: waits, at most 2 min
	n=2400
	until grep -q "^State:.$2" "/proc/$1/status"; do
		[ $((n -= 1)) -gt 0 ] || return 1
		sleep 0.05
	done
}
until [ -s "$said" ]; do
	[ ! -s "$said.status" ] || exit 50
	sleep 0.05
done
pid=$(cat "$said.pid")
qemu=$(cat "$log".1.pid)
kill -TSTP $pid
state $pid T || exit 51
state "$qemu" T || { kill -CONT $pid; exit 52; }
sleep 12
kill -CONT $pid
state "$qemu" '[RSD]' || exit 53
echo go >&3
exec 3>&-
until [ -s "$said.status" ]; do
	sleep 0.05
done
exit "$(cat "$said.status")"
END
for kind in exec plain; do
	wrapped pause-$kind $kind \
	    "$go;say=stdout:ready\\n;line;many=stdout:140000;x=9" \
	    "$PTY gone -- env FAKE_LOG=$log-$kind sh $T/pause $T/pause-$kind \
	    $log-$kind"
done
# What somebody types.
{
	printf '%s\n' "FAKE_LOG=$log-keys" \
	    "FAKE_DO='$go;say=stdout:ready\\n;line;x=9'"
	echo 'export FAKE_LOG FAKE_DO'
	echo "exec '$KTEST' -qemu '$T/plain-fake' -init '$GUEST' \
	    -kernel-path '$FAKE_KERNEL' -accel tcg -- '$GUEST' exit 0"
} >"$T/keys"
cat >"$T/look" <<END
n=2400
until grep '^State:.T' /proc/\$(cat $log-keys.1.pid)/status; do
	[ \$((n -= 1)) -gt 0 ] || exit
	sleep 0.05
done
END
job pause-keys "$PTY" expect '% ' send "sh $T/keys\\r" expect ready \
    send '\cZ' expect topped expect '% ' send "sh $T/look\\r" \
    expect 'T (stopped)' expect '% ' send 'fg\r' send 'go\r' \
    expect '% ' send 'echo status $?\r' expect 'status 9' send 'exit\r' -- \
    env ENV= PS1='% ' sh -i
jobs_run 3
for kind in exec plain; do
	result pause-$kind
	is "$status $(tail -n 1 "$err")" '0 status 9 modes same' \
	    "$kind: SIGTSTP stops QEMU, too, for 12 s"
	is "$(wc -c <"$T/pause-$kind")" 140006 "$kind: then all bytes come"
done
gone pause-keys 0 'Ctrl-Z and fg in a shell'

# -- Few fds: it works, or a line says why not --
few() { # N COMMAND...
	# shellcheck disable=SC2016
	run sh -c 'ulimit -n "$0"; exec "$@"' "$@"
	case $status in
	7)
		[ ! -s "$err" ] || return 1
		few_work=$((few_work + 1)) ;;
	125)
		[ "$(grep -c '^ktest: ' "$err")" = 1 ] &&
		    grep -Eiq 'too many open files|file descr|nofile|ulimit' \
		    "$err" ;;
	*) return 1 ;;
	esac
}
build fake-static fake-qemu.c -static
FAKE_DO="$go;x=7"
export FAKE_DO
wrong='' few_work=0
n=9
while [ $((n += 1)) -le 40 ]; do
	few $n "$KTEST" -qemu "$built" -init "$GUEST" -kernel-path \
	    "$FAKE_KERNEL" -accel tcg -- "$GUEST" exit 0 && continue
	wrong="$wrong $n"
	diag "$n fds: status $status"
	show "$err"
done
is "$wrong" '' 'from 10 to 40 fds: each works, or one line says why not'
ok '40 fds are enough' [ "$few_work" -gt 0 ]
if [ -n "$tiny" ]; then
	wrong='' few_work=0
	for n in 20 22 23 24 25 26 27 28 30 40 60; do
		few $n "$KTEST" -kernel-path "$KTEST_TINY" -accel "$ACCEL" -- \
		    "$GUEST" exit 7 && continue
		wrong="$wrong $n"
		diag "$n fds: status $status"
		show "$err"
	done
	is "$wrong" '' 'few fds and a guest: it works, or one line says why'
	ok '60 fds are enough for a guest' [ "$few_work" -gt 0 ]
fi

# -- In a chroot --
# rooted WHAT COMMAND...: the command where /dev has no fd, and, as WHAT says,
# proc or nothing is at /proc
cat >"$T/rooted" <<'END'
what=$1 root=$2
shift 2
mkdir -p "$root" && mount --rbind / "$root" &&
    mount -t tmpfs none "$root/dev" || exit 60
for n in null zero urandom; do
	cp -a "/dev/$n" "$root/dev/$n" || exit 60
done
if [ "$what" != proc ]; then
	mount -t tmpfs none "$root/proc" || exit 60
fi
exec chroot "$root" "$@"
END
rooted() {
	run unshare -m sh "$T/rooted" "$1" "$T/root" "$KTEST" -kernel-path \
	    "$KTEST_TINY" -accel "$ACCEL" -init "$init" -- "$GUEST" say hi 7
}
if [ -z "$tiny" ]; then
	skip 'no KTEST_TINY' 'in a chroot'
elif ! unshare -m sh "$T/rooted" proc "$T/root" true 2>/dev/null; then
	skip 'no mount namespace' 'in a chroot'
else
	rooted proc
	is "$status" 7 'without /dev/fd: status'
	text "$out" "hi$nl" 'without /dev/fd: stdout'
	empty "$err" 'without /dev/fd: stderr'
	rooted nothing
	is "$status" 125 'without /proc: status'
	one_line "$err" 'without /proc: one line'
	like "$err" '/proc' 'without /proc: it says so'
fi
is "$(ls -A "$T/tmp")" '' 'no temporary file is left'
finish
