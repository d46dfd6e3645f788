#!/bin/sh
# demo.sh: one ordinary program in Debian's kernel, which is booted for it, then
# booted and saved, then restored.

set -u
cd "$(dirname "$0")/.." || exit 1
kernel=$(sh test/kernels.sh path cloud) || exit 1
kernel=${kernel#"$PWD/"}

# say COMMAND: prints it and runs it
say() {
	echo
	echo "\$ $1"
	eval "$1"
}

# timed WHAT COMMAND...: its exit code and how long it took
timed() {
	timed_what=$1
	shift
	start=$(date +%s%N)
	"$@"
	status=$?
	took=$((($(date +%s%N) - start) / 1000000))
	echo
	printf '%s: exit code %d, %d.%03d s\n' "$timed_what" $status \
	    $((took / 1000)) $((took % 1000))
	[ "$status" = 42 ] || {
		echo 'demo.sh: it was to be 42' >&2
		exit 1
	}
}

unset KTEST_SNAPSHOT
run="./ktest -kernel-path $kernel"
say 'uname -sr'
say 'cc test/demo.c -o build/demo' || exit 1
rm -f build/demo.snapshot
timed 'from boot' say "echo hello | $run -- build/demo"
warm="echo hello | $run -snapshot build/demo.snapshot -- build/demo"
timed 'booted and saved' say "$warm"
timed 'restored' say "$warm"
