#!/bin/sh
# demo.sh: one ordinary program, once here and once in Debian's kernel.

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

say 'uname -sr'
say 'cc test/demo.c -o build/demo' || exit 1
say "echo hello | ./ktest -kernel-path $kernel -- build/demo"
status=$?
echo
echo "exit code $status"
[ "$status" = 42 ] || {
	echo 'demo.sh: it was to be 42' >&2
	exit 1
}
