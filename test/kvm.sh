#!/bin/sh
# KVM for real, on any machine: TCG emulates AMD's SVM, so a guest of Debian's
# full kernel with the host's root has a /dev/kvm that works, and ktest in it
# runs guests of its own. A result per line is printed there and judged here.
#
#	KTEST_KVM_RESTORES=200 make kvm
#
# restores more often than the usual 10 times.
. "$(dirname "$0")/tap.sh"

need_ktest
[ -f "${KTEST_FULL:-}" ] || skip_all 'no KTEST_FULL'
need_cloud
[ -f "${KTEST_TINY:-}" ] || skip_all 'no KTEST_TINY'
unset KTEST_SNAPSHOT
# shellcheck disable=SC2034 # for tap.sh
guard=$((1600 + 10 * ${KTEST_KVM_RESTORES:-10}))

# What runs in the outer guest. Lines "NAME: GOT: WANT" are the results.
cat >"$T/inner.sh" <<'end'
tiny() {
	"$KTEST" -timeout 5m -accel kvm -memory 256M -kernel-path "$KTEST_TINY" \
	    "$@" 2>"$tmp/err"
}
cloud() {
	"$KTEST" -timeout 5m -accel kvm -memory 512M -kernel-path \
	    "$KTEST_CLOUD" "$@" 2>"$tmp/err"
}
is() { # NAME GOT WANT
	echo "$1: $2: $3"
	[ "$2" = "$3" ] || sed 's/^/# /' "$tmp/err"
}
sum() {
	cksum | cut -d ' ' -f 1
}
tmp=$(mktemp -d)
chmod 755 "$tmp"
[ -w /dev/kvm ] || { echo "kvm: none: a /dev/kvm"; exit; }
for n in 0 1 42 126 255; do
	tiny -- "$GUEST" exit $n
	is "exit $n" $? $n
done
tiny -- "$GUEST" raise 9
is 'signal 9' $? 137
tiny -- "$GUEST" random 1000000 7 >"$tmp/out"
is 'output, status' $? 0
is 'output, bytes' "$(sum <"$tmp/out")" "$("$GUEST" random 1000000 7 | sum)"
"$GUEST" random 1000000 8 >"$tmp/in"
is 'stdin, bytes' "$(tiny -- "$GUEST" cat <"$tmp/in" | sum)" "$(sum <"$tmp/in")"
tiny -- "$GUEST" sysrq c
is 'panic, status' $? 123
is 'panic, told' "$(grep -c '^ktest: the guest panicked' "$tmp/err")" 1
tiny -timeout 12 -- "$GUEST" hang
is 'timeout' $? 124
for n in 2 4; do
	tiny -cpus $n -- "$GUEST" cpus $n >"$tmp/out"
	is "$n processors" $? 0
done
for size in 2G 3584M; do
	"$KTEST" -timeout 5m -accel kvm -memory $size -kernel-path \
	    "$KTEST_TINY" -- "$GUEST" exit 3 2>"$tmp/err"
	is "-memory $size" $? 3
done
tiny -rootfs / -- sh -c 'echo "$0"; exit 4' root >"$tmp/out"
is '-rootfs /, status' $? 4
is '-rootfs /, its shell' "$(cat "$tmp/out")" root
tiny -net user -rootfs / -- sh -c 'cat /proc/net/route' >"$tmp/out"
is '-net user, a route' "$(grep -c '^eth0.00000000' "$tmp/out")" 1
cloud -- "$GUEST" timers >"$tmp/out"
is 'cloud, cold' $? 0
cloud -snapshot "$tmp/snap" -- "$GUEST" exit 7
is 'cloud, saved' $? 7
n=0 right=0
while [ $n -lt "$RESTORES" ]; do
	n=$((n + 1))
	cloud -v -snapshot "$tmp/snap" -- "$GUEST" timers >"$tmp/out" &&
	    grep -q fits "$tmp/err" && right=$((right + 1)) ||
	    sed 's/^/# /' "$tmp/err"
done
is 'cloud, restored' "$right" "$RESTORES"
"$KTEST" -v -memory 256M -kernel-path "$KTEST_TINY" -- "$GUEST" exit 5 \
    2>"$tmp/err"
is '-accel auto, status' $? 5
is '-accel auto, kvm' "$(grep -c 'QEMU runs: .*, kvm,' "$tmp/err")" 1
is '-gdb, tcg' "$("$KTEST" -n -gdb 1234 -kernel-path "$KTEST_TINY" -- \
    "$GUEST" exit 5 2>"$tmp/err" | grep -c -e '-accel tcg')" 1
chmod 600 /dev/kvm
setpriv --reuid 65534 --regid 65534 --clear-groups "$KTEST" -n -kernel-path \
    "$KTEST_TINY" -- "$GUEST" exit 5 >"$tmp/out" 2>"$tmp/err"
is 'no permission, tcg' "$(grep -c -e '-accel tcg' "$tmp/out")" 1
is 'no permission, told' "$(tr : ';' <"$tmp/err")" \
    'ktest; using tcg, because kvm failed; /dev/kvm; Permission denied'
echo 'end: reached: reached'
end
cp "$GUEST" "$T/guest"
# A vCPU that enters or leaves a nested guest changes its pending interrupts
# without a lock (helper_vmrun() and do_vmexit() in QEMU's
# target/i386/tcg/sysemu/svm_helper.c), and loses one now and then: for ever,
# if it was the one that would have set the timer anew. A clock that ticks by
# itself, without nohz and highres, makes up for it.
cd "$top" || exit 1	# it is seen in the guest, even if it is in /tmp
run "$KTEST" -accel tcg -cpus 2 -memory 6G -timeout $((guard - 60)) \
    -kernel-path "$KTEST_FULL" \
    -rootfs / -mount "$T" -module kvm-amd -cmdline 'nohz=off highres=off' \
    -env KTEST="$KTEST" -env GUEST="$T/guest" \
    -env KTEST_TINY="$KTEST_TINY" -env KTEST_CLOUD="$KTEST_CLOUD" \
    -env RESTORES="${KTEST_KVM_RESTORES:-10}" -- sh "$T/inner.sh"
is "$status" 0 'the outer guest: status'
[ "$(grep -c '^end: ' "$out")" = 1 ] || show "$out"
like "$out" '^end: reached' 'the outer guest: all was tried'
grep -v -e '^end: ' -e '^# ' "$out" >"$T/results"
ok 'the outer guest: nothing but results' [ "$(grep -vc ': .*: ' \
    "$T/results")" = 0 ]
while IFS=: read -r name got want; do
	is "$got" "$want" "kvm: $name"
done <"$T/results"
grep '^# ' "$out"
finish
