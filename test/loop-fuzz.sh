#!/bin/sh
# ktest's poll loop under sanitizers, against a stand-in for QEMU that sends
# right, nearly right and random bytes over all that it has (loop-fuzz.c).
#
#	KTEST_FUZZ_SECONDS=600 sh test/run.sh test/loop-fuzz.sh
#
# looks for longer than the usual 20 seconds; KTEST_FUZZ_SEED is the first
# seed (1).
. "$(dirname "$0")/tap.sh"

unset KTEST_SNAPSHOT
seconds=${KTEST_FUZZ_SECONDS:-20}
first=${KTEST_FUZZ_SEED:-1}
# shellcheck disable=SC2034 # for tap.sh
guard=$((seconds + 120))
source=${KTEST_SOURCE:-$top/ktest.c}

# The library that is tested is the one of this tree, or of $KTEST_SOURCE.
mkdir -p "$T/src/test"
cp "$source" "$T/src/ktest.c"
cp "$here/loop-fuzz.c" "$T/src/test/"
sanitize='-fsanitize=address,undefined -fno-sanitize-recover=all'
built=
for cc in clang gcc; do
	command -v $cc >/dev/null || continue
	# shellcheck disable=SC2086 # words
	if $cc -g -O1 $sanitize -DSANITIZED "$T/src/test/loop-fuzz.c" -o \
	    "$T/loop-fuzz" -lpthread >"$T/cc.out" 2>&1; then
		built=$cc
		break
	fi
	show "$T/cc.out"
done
[ -n "$built" ] || skip_all 'no compiler with sanitizers'
"${CC:-cc}" -O1 -DSTAND_IN -static "$T/src/test/loop-fuzz.c" -o "$T/stand-in" ||
    exit
"${CC:-cc}" -O1 "$here/mkkernel.c" -o "$T/mkkernel" || exit
mkdir -p "$T/k/boot"
"$T/mkkernel" bzimage 9.9.9-fake >"$T/k/boot/vmlinuz-9.9.9-fake" || exit
# A program that is small: it is packed for each run.
echo 'void _start(void) { for (;;); }' >"$T/init.c"
"${CC:-cc}" -static -nostdlib -ffreestanding -s "$T/init.c" -o "$T/init" ||
    exit

workers=8
n=0
while [ $((n += 1)) -le $workers ]; do
	mkdir "$T/$n"
	job fuzz$n "$T/loop-fuzz" "$T/$n" "$T/k/boot/vmlinuz-9.9.9-fake" \
	    "$T/init" "$T/stand-in" $((first + n - 1)) $workers "$seconds"
done
jobs_run $workers
: >"$T/counts"
n=0
while [ $((n += 1)) -le $workers ]; do
	result fuzz$n
	is "$status" 0 "worker $n: no run is wrong, nothing is left"
	diag "$(cat "$out")"
	[ "$code" = 0 ] || diag "$(grep -a -e 'ERROR: ' -e 'runtime error' \
	    -e 'loop-fuzz: ' -e '    #[0-7] ' "$err" | head -n 20)"
	cat "$out" >>"$T/counts"
done
# What was not reached was not tested.
for what in verdicts signals timeouts errors warm saved; do
	some=$(sed "s/.* \([0-9]*\) $what.*/\1/" "$T/counts" |
	    awk '{ n += $1 } END { print n + 0 }')
	ok "some of the runs: $what" [ "$some" -gt 0 ]
done
is "$(ls -A "$T/tmp")" '' 'no temporary file is left'
finish
