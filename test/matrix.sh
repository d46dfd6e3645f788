#!/bin/sh
# matrix.sh: ktest in Debian's releases: each with its own C library, compilers
# and QEMU, and each QEMU with the kernels of them all.
#
#	test/matrix.sh [SUITE...]
#
# Prints TAP as it goes, then the table that README has. It runs as root, in a
# mount namespace of its own, so that no mount outlives it, and leaves
#
#	build/matrix/SUITE/	that release, by debootstrap from the mirror that
#				apt uses here; in it
#	    ktest/		a copy of these sources, built there
#	    ktest/build/kernels/	its kernels, as kernels.sh has them
#	build/matrix/table	the table
#
# A release that is there is used as it is, with the sources of now. One that is
# not starts with nothing but make: what else it needs is for `make demo` to
# fetch. To have that again, or newer packages, remove build/matrix/SUITE. With
# SUITEs named only these are there, and only their QEMUs and kernels are tried.

# shellcheck disable=SC2034 # for tap.sh
guard=3600
[ "$(id -u)" = 0 ] || {
	echo 'matrix.sh: debootstrap and chroot need root; try: sudo make matrix' >&2
	exit 1
}
[ -n "${MATRIX_INSIDE:-}" ] || {
	MATRIX_INSIDE=yes
	export MATRIX_INSIDE
	unshare --mount true || {
		echo 'matrix.sh: this root may not mount (in a container?)' >&2
		exit 1
	}
	exec unshare --mount sh "$0" "$@"
}
KTEST_GUARD=$guard
. "$(dirname "$0")/tap.sh"

matrix=$top/build/matrix
suites=${*:-bullseye bookworm trixie unstable}
flags='-std=c99 -Wall -Wextra -Wpedantic -Wshadow -Wconversion'
modes='cold warm rootfs net'
path=/usr/sbin:/usr/bin:/sbin:/bin

die() {
	echo "matrix.sh: $*" >&2
	exit 1
}

# mirror: where apt has Debian itself from
mirror() {
	apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' \
	    'Created-By: Packages' | sed -n 's/^Debian [a-z]* //p' | head -n 1
}

# debian SUITE: that release, fresh. What this machine's apt makes of proxies
# and clocks is true there, too.
debian() {
	command -v debootstrap >/dev/null ||
	    die 'there is no debootstrap; try: apt-get install debootstrap'
	from=$(mirror)
	[ -n "$from" ] || {
		apt-get -q update >"$T/log" 2>&1
		from=$(mirror)
	}
	[ -n "$from" ] || die "apt's sources name no mirror of Debian"
	diag "debootstrap $1"
	rm -rf --one-file-system "$matrix/new"
	debootstrap --variant=minbase --include=make "$1" "$matrix/new" \
	    "$from" >"$T/log" 2>&1 </dev/null || {
		tail -n 15 "$T/log" | sed 's/^/    /' >&2
		die "debootstrap $1 failed"
	}
	apt-config dump | grep -E '^Acquire::(Check|ForceIP|http)' \
	    >"$matrix/new/etc/apt/apt.conf.d/50machine"
	mv "$matrix/new" "$matrix/$1" || exit 1
}

# sources SUITE: ours, but for what is built of them
sources() {
	mkdir -p "$matrix/$1/ktest/build/kernels" || exit 1
	find "$matrix/$1/ktest" -mindepth 1 -maxdepth 1 ! -name build \
	    -exec rm -rf {} +
	tar -C "$top" -cf - --exclude=./build --exclude=./.git \
	    --exclude=./ktest --exclude=./init . |
	    tar -C "$matrix/$1/ktest" -xf - || exit 1
}

# mounts SUITE: /dev, /proc, and the kernels of all
mounts() {
	mount --rbind /dev "$matrix/$1/dev" &&
	    mount -t proc proc "$matrix/$1/proc" ||
	    die "$1: cannot mount /dev and /proc"
	for kind in $suites; do
		mkdir -p "$matrix/$1/kernels/$kind" &&
		    mount --bind "$matrix/$kind/ktest/build/kernels" \
		    "$matrix/$1/kernels/$kind" || exit 1
	done
}

# inside SUITE COMMAND: the shell's command, where the sources are
inside() {
	chroot "$matrix/$1" env -i HOME=/root LC_ALL=C PATH="$path" \
	    DEBIAN_FRONTEND=noninteractive sh -c "cd /ktest && $2"
}

# silent SUITE WHAT COMMAND: it succeeds without a word
silent() {
	quiet "$1: $2" inside "$1" "$3"
}

# in_release SUITE: the demo from what is there, and everything built. What it
# is made of comes into $T/SUITE.is, for the table.
in_release() {
	begun=$(date +%s)
	err=$T/err
	inside "$1" 'make demo' >"$T/demo" 2>"$err"
	is "$? $(grep -c 'exit code 42' "$T/demo")" '0 3' \
	    "$1: make demo, $(($(date +%s) - begun)) s"
	[ -f "$matrix/$1/ktest/ktest" ] || { show "$T/demo"; return 1; }
	inside "$1" '{ command -v clang ||
		apt-get -q -y --no-install-recommends install clang; } &&
		apt-get clean && sh test/kernels.sh full' >"$T/log" 2>&1
	ok "$1: its full kernel, and clang" [ $? = 0 ]
	init_flags=$(inside "$1" 'make -s -f - flags <<-end
		include Makefile
		flags: ; @echo \$(INIT_CFLAGS)
	end')
	for cc in gcc clang; do
		silent "$1" "no warning of $cc: ktest.c" \
		    "$cc -O2 $flags -c -o build/o ktest.c"
		silent "$1" "no warning of $cc: -DKTEST_LIB ktest.c" \
		    "$cc $flags -DKTEST_LIB -fsyntax-only ktest.c"
		silent "$1" "no warning of $cc: init.c" \
		    "$cc -O2 $flags $init_flags -o build/init-$cc init.c"
		silent "$1" "unit.c, compiled by $cc" "
		    $cc $flags test/unit.c -o build/unit &&
			build/unit >build/said ||
			grep -A 3 '^not ok' build/said"
	done
	silent "$1" 'init is below 20 KiB' '[ "$(wc -c <init)" -lt 20480 ]'
	# README's own line
	silent "$1" 'init by one line' 'cc -std=c99 -Os -static -nostdlib \
	    -ffreestanding -fno-stack-protector -fno-pie -s -o build/init-cc \
	    init.c'
	silent "$1" "the tests' programs" '
	    cc -static -o build/guest test/guest.c &&
	    cc -static -o build/net-guest test/net-guest.c'
	inside "$1" 'cat /etc/debian_version
		gcc -dumpfullversion
		clang -dumpversion
		qemu-system-x86_64 -version | sed -n "s/.*version \([0-9.]*\).*/\1/p"
		cd build/kernels/full/boot
		echo vmlinuz-* | sed "s/vmlinuz-//; s/\.[0-9]*[-+].*//"' \
	    >"$T/$1.is"
}

# What a cell of the table is: MODE SUITE PORT, a kind of run, whose kernel and
# a port of the machine's that is free. It ends with 0, or says what is wrong.
cat >"$T/cell.sh" <<'end'
cd /ktest || exit 1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"; [ -z "$server" ] || kill "$server"' EXIT
trap 'exit 1' HUP INT TERM
server=
flavour=cloud
[ "$1" != rootfs ] || flavour=full	# which has 9p
kernel=$(echo "/kernels/$2/$flavour/boot/vmlinuz-"*)
version=${kernel##*/vmlinuz-}

guest() {
	./ktest -accel "$ACCEL" -timeout 10m -kernel-path "$kernel" "$@" \
	    >"$tmp/out" 2>"$tmp/err"
}
is() { # WHAT GOT WANT
	[ "$2" = "$3" ] && return
	echo "$1: $2, not $3"
	tail -n 8 "$tmp/err"
	exit 1
}
case $1 in
cold)
	echo hello | guest -- build/demo
	is status $? 42
	is kernel "$(sed -n 's/^Linux \([^,]*\),.*/\1/p' "$tmp/out")" "$version"
	is stdin "$(grep -c '^stdin says: hello$' "$tmp/out")" 1
	is stderr "$(cat "$tmp/err")" 'and this goes to stderr' ;;
warm)
	guest -snapshot "$tmp/snapshot" -- build/guest exit 7
	is 'saved: status' $? 7
	is 'saved: stderr' "$(cat "$tmp/err")" ''
	guest -v -snapshot "$tmp/snapshot" -- build/guest timers
	is 'restored: status' $? 0
	is restored "$(sed -n 's/.* snapshot .*: //p' "$tmp/err")" fits
	guest -snapshot "$tmp/snapshot" -- build/guest thread 9
	is 'a second thread: status' $? 9 ;;
rootfs)
	guest -rootfs / -- sh -c 'uname -r; cat /etc/debian_version; exit 4'
	is status $? 4
	is files "$(cat "$tmp/out")" "$version
$(cat /etc/debian_version)"
	is stderr "$(cat "$tmp/err")" '' ;;
net)
	build/net-guest serve 127.0.0.1 "$3" 1 >"$tmp/served" 2>&1 &
	server=$!
	guest -net user -- build/net-guest client 10.42.0.2 "$3" 1 200000
	is status $? 0
	wait $server
	server=
	is bytes "$(tail -n 1 "$tmp/served")" 'served 1 connections, 200000 bytes'
	is stderr "$(cat "$tmp/err")" '' ;;
init-*)
	guest -init "build/$1" -- build/guest exit 9
	is status $? 9
	is stderr "$(cat "$tmp/err")" '' ;;
esac
end

# cell SUITE KERNEL'S-SUITE MODE: notes one as a job
cell() {
	job "$1.$2.$3" chroot "$matrix/$1" env -i HOME=/root LC_ALL=C \
	    PATH="$path" ACCEL="$ACCEL" \
	    sh /cell.sh "$3" "$2" "$port"
}

# row SUITE: its QEMU on all kernels, and what its compilers make of init
row() {
	cp "$T/cell.sh" "$matrix/$1/cell.sh"
	for init in gcc clang cc; do
		cell "$1" "$1" init-$init
	done
	for kernel in $suites; do
		port=$((port + 1))
		for mode in $modes; do
			cell "$1" "$kernel" $mode
		done
	done
	jobs_run
	for init in gcc clang cc; do
		result "$1.$1.init-$init"
		is "$status$(cat "$out")" 0 "$1: runs init as built by $init"
	done
	# shellcheck disable=SC2046 # one word each
	printf '%-11s %-7s %-7s %-8s' $(sed '$d' "$T/$1.is") >>"$T/table"
	width=11
	for kernel in $suites; do
		verdict=
		for mode in $modes; do
			result "$1.$kernel.$mode"
			is "$status$(cat "$out")" 0 \
			    "$1: QEMU $(sed -n 4p "$T/$1.is"), Linux $(:
			    )$(sed -n 5p "$T/$kernel.is"), $mode"
			[ "$status" = 0 ] || verdict="$verdict,$mode"
		done
		verdict=${verdict#,}
		printf " %-${width}s" "${verdict:-ok}" >>"$T/table"
		width=5
	done
	echo >>"$T/table"
}

mkdir -p "$matrix" && exec 9>"$matrix/lock" && flock 9 || exit 1
ports 16
for suite in $suites; do
	[ -d "$matrix/$suite" ] || debian "$suite"
	sources "$suite"
done
found=
for suite in $suites; do
	mounts "$suite"
	in_release "$suite" && found="$found $suite"
done
suites=$found
printf '%-11s %-7s %-7s %-8s' Debian gcc clang QEMU >"$T/table"
width=11 word='Linux '
for suite in $suites; do
	printf " %-${width}s" "$word$(sed -n 5p "$T/$suite.is")" >>"$T/table"
	width=5 word=
done
echo >>"$T/table"
for suite in $suites; do
	row "$suite"
done
sed 's/ *$//' "$T/table" >"$matrix/table"
diag "$(cat "$matrix/table")"
finish
