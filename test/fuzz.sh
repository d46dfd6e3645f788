#!/bin/sh
# fuzz.sh: fuzzing of what ktest parses and encodes, see fuzz.c.
#
#	test/fuzz.sh [SECONDS]
#
# First all of test/corpus, then new inputs for SECONDS (5) on one core. An
# input that breaks something is printed; it goes to test/corpus, under a
# name that says what it is, together with what repairs it. Without clang's
# libFuzzer only the corpus is run, with the sanitizers that there are.

. "$(dirname "$0")/tap.sh"
cd "$top" || exit 1
seconds=${1:-5}
san=address,undefined
flags='-std=c99 -g -O1 -fno-sanitize-recover=all'

# broken: what the fuzzer said last, and its input
broken() {
	grep -E -A 12 'runtime error|ERROR|does not hold' "$T/said" |
	    head -n 30 | cut -c 1-200 | sed 's/^/# /'
	for broken_input in "$T"/found-*; do
		[ -f "$broken_input" ] || continue
		diag "${broken_input##*/}, for base64 -d:"
		base64 "$broken_input" | sed 's/^/#   /'
	done
}

# runs WHAT COMMAND...
runs() {
	runs_what=$1
	shift
	if nice "$@" >"$T/said" 2>&1; then
		pass "$runs_what"
	else
		fail "$runs_what"
		broken
	fi
}

if clang $flags -fsanitize=fuzzer,$san test/fuzz.c -o "$T/fuzz" \
    2>"$T/said"; then
	set -- -artifact_prefix="$T/found-" -timeout=20 -max_len=4096
	runs 'the corpus, with sanitizers' "$T/fuzz" "$@" -runs=0 test/corpus
	mkdir "$T/new"
	runs "new inputs for $seconds s" "$T/fuzz" "$@" -seed=1 \
	    -max_total_time="$seconds" "$T/new" test/corpus
	diag "$(grep '^Done ' "$T/said")"
elif ${CC:-cc} $flags -fsanitize=$san -DFUZZ_REPLAY test/fuzz.c \
    -o "$T/fuzz" 2>"$T/said"; then
	runs 'the corpus, with sanitizers' "$T/fuzz" test/corpus/*
	skip 'no libFuzzer' 'new inputs'
elif ${CC:-cc} -g -DFUZZ_REPLAY test/fuzz.c -o "$T/fuzz" 2>"$T/said"; then
	runs 'the corpus' "$T/fuzz" test/corpus/*
	skip 'no libFuzzer' 'new inputs'
else
	fail 'fuzz.c compiles'
	show "$T/said"
fi
finish
