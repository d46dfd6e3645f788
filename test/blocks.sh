#!/bin/sh
# blocks.sh: how much of the guest's code QEMU translates in a warm run.
#
#	blocks.sh			a test, as TAP: it does not grow
#	blocks.sh KERNEL [OPTION...]	by phase and function, as a table; with
#					ARCH=aarch64 for such a kernel
#
# Under TCG a warm run is mostly translation, and a count of blocks does not
# depend on the machine as a time does. What is counted is distinct addresses:
# what QEMU translates again, with other flags, depends on where the timer's
# interrupts fall. Phases, by what the guest does first in each:
#
#	arrive	from the restored machine's first step on
#	unpack	ksys_write(): init says that the job is here
#	exec	pipe_release(), pipe_write(): the child that waits is told; or
#		kernel_clone()
#	program	its entry
#	end	do_group_exit(), to ktest's end of the machine
. "$(dirname "$0")/tap.sh"

need_ktest
unset KTEST_SNAPSHOT
cc=${ARCH:+$ARCH-linux-gnu-gcc}
cc=${cc:-${CC:-cc}}
echo 'int main(void) { return 0; }' >"$T/exit.c"
$cc -static -o "$T/exit" "$T/exit.c" || skip_all 'no static programs'
cat >"$T/qemu" <<end
#!/bin/sh
[ -z "\${BLOCKS:-}" ] || set -- "\$@" -trace translate_block -D "\$BLOCKS"
exec qemu-system-${ARCH:-$(uname -m)} "\$@"
end
chmod 755 "$T/qemu"

warm() { # KERNEL OPTION... -- PROGRAM...
	warm_kernel=$1
	shift
	run "$KTEST" -kernel-path "$warm_kernel" -accel tcg -v -qemu "$T/qemu" \
	    -snapshot "$T/snapshot" "$@"
}

# count KERNEL OPTION...: one more run's blocks in $T/blocks, by addresses of 16
# digits, in their order; $blocks is how many
count() {
	rm -f "$T/trace"
	BLOCKS=$T/trace
	export BLOCKS
	warm "$@" -- "$T/exit"
	unset BLOCKS
	[ "$status" = 0 ] && grep -q 'snapshot .*: fits' "$err" || return 1
	sed -n 's/^.*translate_block .*pc:0x\([0-9a-f]*\).*/000000000000000\1/p' \
	    "$T/trace" | sed 's/.*\(.\{16\}\)$/\1/' | awk '!seen[$0]++' \
	    >"$T/blocks"
	blocks=$(wc -l <"$T/blocks")
}

# least KERNEL OPTION...: the same for the run of three that has least
least() {
	least_blocks=
	for least_i in 1 2 3; do
		count "$@" || return 1
		if [ "$blocks" -lt "${least_blocks:-1000000}" ]; then
			least_blocks=$blocks
			mv "$T/blocks" "$T/least"
		fi
	done
	blocks=$least_blocks
}

# functions: $T/least as lines "PHASE FUNCTION", with $T/symbols
functions() {
	entry=$(od -An -t x8 -j 24 -N 8 "$T/exit" | tr -d ' ')
	{
		awk '$2 ~ /^[tTwW]$/ { print $1, 0, $3 }' "$T/symbols"
		awk '{ print $1, NR }' "$T/least"
	} | LC_ALL=C sort -k 1,1 -k 2,2n | awk -v entry="$entry" '
		$2 == 0 { name = $3; next }
		{ print $2, $1 == entry ? "=entry" : $1 < "8" ? "(user)" : name
		}' | sort -n | awk '
		BEGIN { phase = "arrive" }
		$2 == "ksys_write" && phase == "arrive" { phase = "unpack" }
		$2 ~ /^(pipe_write|pipe_release|kernel_clone)$/ && phase == "unpack" { phase = "exec" }
		$2 == "=entry" { phase = "program" }
		$2 == "do_group_exit" { phase = "end" }
		{ print phase, $2 }'
}

table() { # KERNEL OPTION...
	$cc -static -o "$T/guest" "$here/guest.c" || exit
	warm "$@" -- "$T/exit"
	warm "$@" -- "$T/guest" show /proc/kallsyms
	cp "$out" "$T/symbols"
	least "$@" || { show "$err"; exit 1; }
	functions >"$T/functions"
	echo "blocks of a warm run: $blocks"
	for phase in arrive unpack exec program end; do
		printf '%-8s %5d ' $phase \
		    "$(grep -c "^$phase " "$T/functions")"
		grep "^$phase " "$T/functions" | sort | uniq -c | sort -rn |
		    awk 'NR <= 8 { printf " %s %d", $3, $1 } END { print "" }'
	done
	tap_done=1
}

if [ $# -gt 0 ]; then
	table "$@"
	exit
fi

# What it was when this was written, on Debian's 6.1; a fifth more fails.
need_cloud
want=12400
warm "$KTEST_CLOUD" -- "$T/exit"
is "$status" 0 'a machine is saved'
if ! least "$KTEST_CLOUD"; then
	fail 'three warm runs'
	show "$err"
elif [ "$blocks" = 0 ]; then
	skip 'this QEMU traces nothing' 'blocks of a warm run'
else
	ok "a warm run translates $blocks blocks, a fifth more than $want at most" \
	    [ "$blocks" -le $((want * 6 / 5)) ]
fi
finish
