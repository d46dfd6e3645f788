#!/bin/sh
# -n: the command line that is printed is the one that is run, quoted so that
# a shell reads it back; and it is the one that test/golden/ holds.
. "$(dirname "$0")/tap.sh"

need_ktest
fake_setup
FAKE_DO='hello;clock;go;x=0'
export FAKE_DO

# The counter's rate is measured anew by every run.
plain_rate() {
	sed 's/tsc_early_khz=[0-9]*/tsc_early_khz=RATE/g'
}

# same_argv WHAT OPTIONS...: -n, given to a shell, starts the stand-in with
# the words that a run starts it with
same_argv() {
	argv_what=$1
	shift
	rm -f "$T/log"/*
	run env KTEST_KERNEL="$FAKE_KERNEL" "$KTEST" -qemu "$FAKE" -init \
	    "$GUEST" "$@"
	run env KTEST_KERNEL="$FAKE_KERNEL" "$KTEST" -n -qemu "$FAKE" -init \
	    "$GUEST" "$@"
	is "$status $(starts)" '0 1' "$argv_what: -n starts nothing"
	empty "$err" "$argv_what: -n, nothing on stderr"
	cp "$out" "$T/command"
	run env FAKE_DO=exit=0 sh "$T/command"
	is "$(starts)" 2 "$argv_what: what -n prints can be run"
	plain_rate <"$T/log/start.1.argv" >"$T/argv.1"
	plain_rate <"$T/log/start.2.argv" >"$T/argv.2" 2>/dev/null
	same "$T/argv.2" "$T/argv.1" "$argv_what: -n is what is run"
}

printf 070701 >"$T/initrd"
odd="$T/a b,c,,d'e\"f
g-ä=\$x\\y"
mkdir -p "$odd/boot"
cp "$FAKE_KERNEL" "$odd/boot/vmlinuz-9.9.9-fake"
same_argv plain -accel tcg -- "$GUEST" exit 0
same_argv 'odd names' -accel tcg -kernel-path \
    "$odd/boot/vmlinuz-9.9.9-fake" -cmdline "it's \"quoted\" \$HOME \`x\` \\" \
    -- "$GUEST" exit 0
same_argv 'more of everything' -accel tcg -acpi off -memory 3G -cpus 4 \
    -sandbox off -cmdline a=b -- "$GUEST" exit 0
FAKE_DO='byte=0;exit=0'
same_argv "the original's mode" -accel tcg -initrd-path "$T/initrd"
if (: <>/dev/kvm) 2>/dev/null; then
	same_argv "the original's mode under KVM" -accel kvm -initrd-path \
	    "$T/initrd"
else
	skip 'no /dev/kvm' "the original's mode under KVM"
fi

: >"$T/rom"
# golden NAME OPTIONS...: a word a line; names that depend on where this runs
# are replaced.  UPDATE_GOLDEN=1 writes the files anew, to be reviewed.
golden() {
	golden_name=$1
	shift
	run "$KTEST" -n -qemu QEMU -init "$GUEST" -bios "$T/rom" \
	    -kernel-path "$FAKE_KERNEL" "$@"
	is "$status" 0 "golden $golden_name: status"
	eval "set -- $(cat "$out")"
	printf '%s\n' "$@" | plain_rate |
	    sed "s|$FAKE_KERNEL|KERNEL|; s|$T|DIR|g" >"$T/golden"
	[ -z "${UPDATE_GOLDEN:-}" ] ||
	    cp "$T/golden" "$here/golden/$golden_name"
	if cmp -s "$here/golden/$golden_name" "$T/golden"; then
		pass "golden $golden_name"
	else
		fail "golden $golden_name"
		diff "$here/golden/$golden_name" "$T/golden" | sed 's/^/# /'
	fi
}
golden kvm -accel kvm -- "$GUEST" exit 0
golden kvm-original -accel kvm -initrd-path "$T/initrd"
golden kvm-acpi-off -accel kvm -acpi off -cpus 2 -memory 512M -- \
    "$GUEST" exit 0
golden tcg -accel tcg -- "$GUEST" exit 0
golden tcg-original -accel tcg -initrd-path "$T/initrd" -cmdline 'a b' \
    -cmdline c
golden tcg-plain -accel tcg -acpi off -sandbox off -console -memory 1500 -- \
    "$GUEST" exit 0

# Under -v the same words stand in the log, in the original's format.
rm -f "$T/log"/*
FAKE_DO='hello;clock;go;x=0'
run "$KTEST" -v -qemu "$FAKE" -init "$GUEST" -kernel-path "$FAKE_KERNEL" \
    -accel tcg -- "$GUEST" exit 0
like "$err" '^TT\| .*-nodefaults' '-v: the arguments in the log'
like "$err" '^TT\| .*\|   -accel tcg$' '-v: an option a line'
finish
