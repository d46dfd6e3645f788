#!/bin/sh
# What BUILD asks for, seen from the guest

is() {
	[ "$1" = "$2" ] && return
	echo "got '$1', wanted '$2'"
	exit 1
}

is "$#, $1, $2" '2, one, two words'
read -r cmdline </proc/cmdline
cmdline="${cmdline##* all=} "
is "${cmdline%%\' *}'" "'two words'"
is "$QUOTED" "it's \$HOME"
data=${TEST_SRCDIR:-..}/${TEST_WORKSPACE:-__main__}
for name in ktest/BUILD "$data/ktest/BUILD" /src/pass.c /src/fail.c \
    /swapped /twice; do
	is "$name $([ -s "$name" ] && echo there)" "$name there"
done
# This shell's child is not init's.
is "$('/opt/a name')" 'not in a guest'
is "$(/opt/fail; echo $?)" 'failed in a guest
3'
read -r name memory unit </proc/meminfo
is "$name $((memory < 310000)) $unit" 'MemTotal: 1 kB'
