#!/bin/sh
# KVM for real, on any machine: TCG emulates AMD's SVM, so a guest of Debian's
# full kernel with the host's root has a /dev/kvm that works, and ktest in it
# runs guests of its own. A result per line is printed there and judged here.
#
#	KTEST_KVM=all		as `make kvm` sets it: more of each kind
#	KTEST_KVM_RESTORES=200 make kvm
#
# restores 200 times and not just 10.
#
# That emulation is not perfect (target/i386/tcg/sysemu/svm_helper.c in QEMU):
# - helper_vmrun() does not load the interrupt shadow that do_vmexit() saved. If
#   the guest of KVM is stopped between its idle loop's sti and hlt, an interrupt
#   comes before the hlt, which then sleeps although there is work. A guest whose
#   clock always ticks (nohz=off) goes on with the next tick.
# - Both change a processor's pending interrupts without a lock. If one is lost
#   in the outer guest, the next tick makes up for it, too: no nohz, no highres.
# - Once in some hundred runs an outer guest of two processors stopped as a whole,
#   spinning. So it has one, works in parts, and a part whose outer guest stopped
#   is tried again, twice at most. ktest in the outer guest ends a guest of KVM
#   that hangs much earlier, and that is a result; one that did not even come up
#   in two minutes is started once more (once in some hundred boots the kernel
#   found nonsense where ACPI's tables are).
. "$(dirname "$0")/tap.sh"

need_ktest
[ -f "${KTEST_FULL:-}" ] || skip_all 'no KTEST_FULL'
need_cloud
[ -f "${KTEST_TINY:-}" ] || skip_all 'no KTEST_TINY'
unset KTEST_SNAPSHOT
all=
[ "${KTEST_KVM:-}" != all ] || all=all
# shellcheck disable=SC2034 # for tap.sh
guard=500

# What runs in the outer guest, a part at a time: functions, which try more if
# $ALL is not empty. Lines "NAME: GOT: WANT" are the results.
cat >"$T/inner.sh" <<'end'
# A guest of KVM, started once more if it did not even come up: see above.
guest() { # OPTIONS...
	for guest_try in 1 2; do
		"$KTEST" -timeout 2m -accel kvm "$@" 2>"$tmp/err"
		guest_status=$?
		grep -q 'after 120 s: the guest still boots' "$tmp/err" || break
		sed "s/^/# try $guest_try: /" "$tmp/err" >&3
	done
	return $guest_status
}
tiny() {
	guest -memory 256M -kernel-path "$KTEST_TINY" "$@"
}
cloud() {
	guest -memory 512M -kernel-path "$KTEST_CLOUD" "$@"
}
is() { # NAME GOT WANT
	echo "$1: $2: $3"
	[ "$2" = "$3" ] || sed 's/^/# /' "$tmp/err"
}
sum() {
	cksum | cut -d ' ' -f 1
}
exits() {
	for n in 0 1 42 126 255; do
		tiny -- "$GUEST" exit $n
		is "exit $n" $? $n
	done
}
ends() {
	tiny -- "$GUEST" raise 9
	is 'signal 9' $? 137
	tiny -- "$GUEST" sysrq c
	is 'panic, status' $? 123
	is 'panic, told' "$(grep -c '^ktest: the guest panicked' "$tmp/err")" 1
	tiny -timeout 12 -- "$GUEST" hang >"$tmp/out"
	is 'timeout' $? 124
}
streams() {
	"$GUEST" random 1000000 8 >"$tmp/in"
	is 'stdin, bytes' "$(tiny -- "$GUEST" cat <"$tmp/in" | sum)" \
	    "$(sum <"$tmp/in")"
	[ -n "$ALL" ] || return
	tiny -- "$GUEST" random 1000000 7 >"$tmp/out"
	is 'output, status' $? 0
	is 'output, bytes' "$(sum <"$tmp/out")" \
	    "$("$GUEST" random 1000000 7 | sum)"
}
roots() {
	tiny -net user -rootfs / -- sh -c 'cat /proc/net/route; echo "$0"
	    exit 4' root >"$tmp/out"
	is '-rootfs /, status' $? 4
	is '-rootfs /, its shell' "$(tail -n 1 "$tmp/out")" root
	is '-net user, a route' "$(grep -c '^eth0.00000000' "$tmp/out")" 1
}
sizes() {
	for n in 2 4; do
		tiny -cpus $n -- "$GUEST" cpus $n >"$tmp/out"
		is "$n processors" $? 0
	done
	for size in ${ALL:+2G 3584M}; do
		tiny -memory $size -- "$GUEST" exit 3
		is "-memory $size" $? 3
	done
}
took() { # WHAT: how long it is since the last time
	then=${now:-}
	now=$(date +%s%N)
	[ -z "$1" ] || echo "# $1: $(((now - then) / 1000000)) ms"
}
restores() {
	took ''
	[ -z "$ALL" ] || {
		cloud -- "$GUEST" exit 7
		is 'cloud, cold' $? 7
		took cold
		cloud -- "$GUEST" timers >"$tmp/out"
		is 'cloud, timers' $? 0
		took 'cold, timers'
	}
	cloud -snapshot "$tmp/snap" -- "$GUEST" exit 7
	is 'cloud, saved' $? 7
	took saved
	cloud -snapshot "$tmp/snap" -- "$GUEST" exit 7
	is 'cloud, restored once' $? 7
	took restored
	n=0 right=0
	while [ $n -lt 10 ]; do
		n=$((n + 1))
		cloud -v -snapshot "$tmp/snap" -- "$GUEST" timers >"$tmp/out" &&
		    grep -q fits "$tmp/err" && right=$((right + 1)) ||
		    sed 's/^/# /' "$tmp/err"
	done
	is 'cloud, restored' "$right" 10
	took 'restored 10 times, timers'
}
choice() {
	"$KTEST" -v -timeout 2m -memory 256M -kernel-path "$KTEST_TINY" -- \
	    "$GUEST" exit 5 2>"$tmp/err"
	is '-accel auto, status' $? 5
	is '-accel auto, kvm' \
	    "$(grep -c 'QEMU runs: .*, kvm,' "$tmp/err")" 1
	[ -z "$LEAN" ] || {
		tiny -qemu "$LEAN" -- "$GUEST" exit 6
		is 'a QEMU for microvms alone' $? 6
	}
	is '-gdb, tcg' "$("$KTEST" -n -gdb 1234 -kernel-path "$KTEST_TINY" \
	    -- "$GUEST" exit 5 2>"$tmp/err" | grep -c -e '-accel tcg')" 1
	chmod 600 /dev/kvm
	setpriv --reuid 65534 --regid 65534 --clear-groups "$KTEST" -n \
	    -kernel-path "$KTEST_TINY" -- "$GUEST" exit 5 >"$tmp/out" \
	    2>"$tmp/err"
	is 'no permission, tcg' "$(grep -c -e '-accel tcg' "$tmp/out")" 1
	is 'no permission, told' "$(tr : ';' <"$tmp/err")" \
	    'ktest; using tcg, because kvm failed; /dev/kvm; Permission denied'
}
tmp=$(mktemp -d)
chmod 755 "$tmp"
exec 3>&1
[ -w /dev/kvm ] || { echo "kvm: none: a /dev/kvm"; exit; }
for part; do $part; done
echo 'end: reached: reached'
end
lean=$(command -v qemu-system-x86_64-microvm) ||
    skip 'no qemu-system-x86_64-microvm' 'a QEMU for microvms alone'
cp "$GUEST" "$T/guest"
cd "$top" || exit 1	# it is seen in the guest, even if it is in /tmp

# part NAME...: runs these functions in an outer guest, judges their results
part() {
	tries=1
	while
		run "$KTEST" -v -accel tcg -memory 6G -timeout 400 -snapshot \
		    "$T/outer" -kernel-path "$KTEST_FULL" -rootfs / -mount "$T" \
		    -module kvm-amd -cmdline 'nohz=off highres=off' \
		    -env KTEST="$KTEST" -env GUEST="$T/guest" \
		    -env KTEST_TINY="$KTEST_TINY" \
		    -env KTEST_CLOUD="$KTEST_CLOUD" \
		    -env ALL="$all" -env LEAN="$lean" \
		    -env KTEST_OPTIONS='-cmdline nohz=off' \
		    -- sh "$T/inner.sh" "$@"
		[ "$status" = 124 ] && [ "$tries" -lt 3 ]
	do
		diag "$*: the outer guest hung, try $tries"
		show "$out"
		show "$err"
		tries=$((tries + 1))
	done
	is "$status" 0 "$*: status"
	like "$out" '^end: reached' "$*: all was tried"
	grep -v -e '^end: ' -e '^# ' "$out" >"$T/results"
	ok "$*: nothing but results" [ "$(grep -vc ': .*: ' "$T/results")" = 0 ]
	while IFS=: read -r name got want; do
		is "$got" "$want" "$*: $name"
	done <"$T/results"
	grep '^# ' "$out"
	diag "$*: $((wall_us / 1000000)) s"
}

if [ -z "$all" ]; then
	part exits
	part ends streams roots
	part sizes choice
	part restores
	finish
fi
for part in exits ends streams roots sizes choice; do
	part $part
done
restored=0
while [ $restored -lt "${KTEST_KVM_RESTORES:-10}" ]; do
	part restores
	restored=$((restored + 10))
done
finish
