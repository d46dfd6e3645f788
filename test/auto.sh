#!/bin/sh
# Without -accel: KVM where it works, else TCG, and the run never fails or
# hangs for it.  What KVM does here is this machine's; verdict.sh plays the
# other ways through.
. "$(dirname "$0")/tap.sh"

need_cloud
cloud_guest() { # OPTIONS...
	run "$KTEST" -kernel-path "$KTEST_CLOUD" "$@" -- "$GUEST" say out 31
}

cloud_guest
is "$status" 31 'auto: status'
text "$out" "out$nl" 'auto: stdout'
cp "$err" "$T/auto.err"
ok 'auto: at most one line' [ "$(wc -l <"$T/auto.err")" -le 1 ]
if [ -s "$T/auto.err" ]; then
	like "$T/auto.err" '^ktest: .*tcg.*kvm' 'auto: it says which and why'
	# KVM is there and fails: asked for by name, that is an error
	cloud_guest -accel kvm -timeout 60
	ok "-accel kvm: no pass without KVM, status $status" \
	    either "$status" 125 124
	like "$err" '^ktest: (kvm failed|QEMU (died|ended)|timeout)' \
	    '-accel kvm: a line says so'
	# the other ending of a KVM that does not work: QEMU stays for ever
	cat >"$T/qemu" <<\EOF
#!/bin/sh
for word; do
	shift
	[ "$word" != host ] || word=host,-arch-capabilities
	set -- "$@" "$word"
done
exec qemu-system-x86_64 "$@"
EOF
	chmod 755 "$T/qemu"
	run "$KTEST" -kernel-path "$KTEST_CLOUD" -qemu "$T/qemu" -- \
	    "$GUEST" say out 32
	is "$status" 32 'auto: another processor model, status'
	ok 'auto: another processor model, at most one line' \
	    [ "$(wc -l <"$err")" -le 1 ]
elif [ -e /dev/kvm ] && (: <>/dev/kvm) 2>/dev/null; then
	cloud_guest -accel kvm
	is "$status" 31 'KVM works: asked for by name'
else
	skip 'no KVM here' 'KVM asked for by name'
fi

cloud_guest -accel tcg
is "$status" 31 '-accel tcg: status'
empty "$err" '-accel tcg: not worth a line'

# Every kernel runs without being told how devices are announced.
for kernel in "${KTEST_TINY:-}" "${KTEST_FULL:-}"; do
	if [ -f "$kernel" ]; then
		run "$KTEST" -kernel-path "$kernel" -accel "$ACCEL" -- \
		    "$GUEST" say out 33
		is "$status $(cat "$out")" '33 out' "${kernel##*/}"
		empty "$err" "${kernel##*/}: nothing on stderr"
	else
		skip 'no kernel' 'one of KTEST_TINY, KTEST_FULL'
	fi
done
if [ -f "${KTEST_TINY:-}" ]; then
	run "$KTEST" -kernel-path "$KTEST_TINY" -accel "$ACCEL" -acpi off -- \
	    "$GUEST" exit 34
	is "$status" 34 'a kernel without ACPI, -acpi off'
	run "$KTEST" -v -kernel-path "$KTEST_TINY" -accel "$ACCEL" -- \
	    "$GUEST" exit 35
	is "$(machines "$err")" 1 \
	    'a kernel without ACPI needs one start'
fi

# Two processors, and memory on both sides of the hole below 4 GiB.
# TCG may lose what one processor sends another: the next tick makes up for it.
run "$KTEST" -kernel-path "$KTEST_CLOUD" -accel "$ACCEL" -cpus 2 -memory 5G \
    -cmdline nohz=off -- "$GUEST" report
is "$status" 0 '-cpus 2 -memory 5G: status'
like "$out" '^cpus 2$' '-cpus 2 -memory 5G: both are there'
ok '-cpus 2 -memory 5G: all of it' \
    [ "$(sed -n 's/^pages //p' "$out")" -gt 4500 ]
is "$(ls -A "$T/tmp")" '' 'no temporary file is left'
finish
