#!/bin/sh
# kernels.sh: the kernels that the demo and the tests boot.
#
#	test/kernels.sh [path] NAME...
#
#	cloud	Debian's kernel for virtual machines
#	full	Debian's kernel for everything
#	tiny	a small one without PCI and modules, built from Debian's kernel
#		source with the fragment tiny.config
#	debug	the same with debug.config merged over it: sanitizers, lock
#		debugging, and triggers for whatever a kernel can suffer from
#	symbols	cloud's, for crash; half a gigabyte
#	arm64, riscv64, s390x	Debian 13's kernels of these architectures, from
#		the mirror that apt uses here, without most drivers
#
# Makes what is missing and prints the kernels' files, one a line; with `path`
# it makes nothing. What it makes:
#
#	build/kernels/cloud/boot/vmlinuz-VERSION
#	build/kernels/cloud/lib/modules/VERSION/
#	build/kernels/full/		likewise
#	build/kernels/arm64/		likewise, and so on
#	build/kernels/symbols/vmlinux-VERSION
#	build/kernels/tiny/vmlinux	and vmlinux.config, what it was built from
#	build/kernels/debug/		likewise, and two modules
#	build/kernels/NAME/from		the package it came from, or packages
#
# What is there is used as it is, without a look at the network; only what was
# built is built again, when its fragments or the recipe below changed. To move
# on to newer packages remove build/kernels. Each appears complete or not at
# all.

set -u
LC_ALL=C
export LC_ALL
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
umask 022
PATH=$PATH:/usr/sbin:/sbin	# depmod, for users other than root

test=$(cd "$(dirname "$0")" && pwd) || exit 1
kernels=${test%/*}/build/kernels
work=

die() {
	echo "kernels.sh: $*" >&2
	exit 1
}

# What the tools say goes to a log, of which the end is shown on failure.
fail() {
	[ ! -s "$work/log" ] || tail -n 15 "$work/log" | sed 's/^/    /' >&2
	die "$@"
}

clean_up() {
	[ -z "$work" ] || rm -rf "$work"
}

# needed PACKAGE...: the packages linux-KIND-VERSION that they depend on
needed() {
	apt-cache depends "$@" 2>/dev/null |
	    sed -n 's/^ *Depends: \(linux-[a-z]*-[0-9].*\)$/\1/p' | sort -u
}

# From Debian 14 on linux-image-VERSION is empty: it depends on others.
try_fetch() {
	packages=
	more=$(needed "$1")
	while [ -n "$more" ]; do
		packages="$packages $more"
		# shellcheck disable=SC2086 # one word a package
		more=$(needed $more)
	done
	[ -n "$packages" ] || return 1
	rm -f "$work"/*.deb
	# shellcheck disable=SC2086
	(cd "$work" && apt-get -q download $packages) >>"$work/log" 2>&1
}

mirror() {
	apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' \
	    'Created-By: Packages' 2>/dev/null | sed -n 's/^Debian Debian //p' |
	    head -n 1
}

# foreign ARCHITECTURE: what apt-get and apt-cache know from now on is Debian 13
# of that architecture; root is not needed, and this machine's lists stay
foreign() {
	uri=$(mirror)
	[ -n "$uri" ] || [ "$(id -u)" != 0 ] || {
		apt-get -q update >>"$work/log" 2>&1
		uri=$(mirror)
	}
	[ -n "$uri" ] || fail "$1: apt's sources name no mirror of Debian"
	mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
	: >"$work/apt/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
	    "$uri trixie main" >"$work/apt/list"
	cat >"$work/apt/conf" <<-end
		Dir::Etc::sourcelist "$work/apt/list";
		Dir::Etc::sourceparts "-";
		Dir::State "$work/apt";
		Dir::State::status "$work/apt/status";
		Dir::Cache "$work/apt/cache";
		APT::Architecture "$1";
		APT::Architectures { "$1"; };
		APT::Sandbox::User "root";
		Acquire::Languages "none";
		Acquire::Retries "0";
		Acquire::http::Timeout "20";
	end
	APT_CONFIG=$work/apt/conf
	export APT_CONFIG
	apt-get -q update >>"$work/log" 2>&1 ||
	    fail "$1: cannot fetch the list of Debian 13's packages"
}

# fetch METAPACKAGE: $work/*.deb are then the packages that it stands for
fetch() {
	command -v apt-get >/dev/null ||
	    die "$1: there is no apt-get here; this needs Debian"
	echo "kernels.sh: fetching $1" >&2
	if ! try_fetch "$1"; then	# the package lists may be old or missing
		[ "$(id -u)" = 0 ] ||
		    fail "cannot download $1; try: sudo apt-get update"
		apt-get -q update >>"$work/log" 2>&1
		try_fetch "$1" || fail "cannot download $1"
	fi
	from=$(cd "$work" && ls -- *.deb)
}

# unpack METAPACKAGE [PATTERN...]: Debian's kernel, without what the patterns
# name, with the modules' index, which the package's installation would have
# made. From Debian 14 on the kernel's file is among the modules.
unpack() {
	command -v depmod >/dev/null || die "$1: there is no depmod (kmod)"
	fetch "$1"
	package=$1
	shift
	new=$work/new
	mkdir "$new"
	for deb in "$work"/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" |
		    tar -xC "$new" --exclude='./usr/share' "$@" 2>>"$work/log" ||
		    fail "$package: cannot unpack"
	done
	[ -d "$new/lib/modules" ] || ln -s usr/lib "$new/lib"
	version=$(ls "$new/lib/modules")
	if [ -f "$new/lib/modules/$version/vmlinuz" ]; then
		mkdir -p "$new/boot"
		mv "$new/lib/modules/$version/vmlinuz" \
		    "$new/boot/vmlinuz-$version"
	fi
	ls "$new"/boot/vmlinu[xz]-"$version" >/dev/null 2>&1 ||
	    fail "$package: no kernel in it"
	depmod -b "$new" "$version" 2>>"$work/log" ||
	    fail "$package: depmod failed"
}

unpack_symbols() {
	fetch linux-image-cloud-amd64-dbg
	mkdir "$new"
	dpkg-deb --fsys-tarfile "$work"/*.deb | tar -xC "$new" --wildcards \
	    --strip-components=5 './usr/lib/debug/boot/vmlinux-*' ||
	    fail 'symbols: cannot unpack'
}

# unpack_foreign ARCHITECTURE: without what QEMU has nothing of, most of it
unpack_foreign() {
	package=linux-image-$1
	set --
	for dir in sound drivers/gpu drivers/media drivers/scsi drivers/usb \
	    drivers/net/ethernet drivers/net/wireless; do
		set -- "$@" --exclude="*/kernel/$dir"
	done
	unpack "$package" "$@" --exclude='*.dtb'
}

# The lines of the fragments that did not make it into the configuration, but
# for those of the first that the second has otherwise
lost_lines() {
	cat "$@" | tac | awk '
		{ name = $1 == "#" ? $2 : $1; sub("=.*", "", name) }
		name ~ /^CONFIG_/ && !seen[name]++' | while read -r line; do
		case $line in
		CONFIG_*)
			grep -qxF "$line" .config || echo "$line" ;;
		'# CONFIG_'*' is not set')
			option=${line#\# }
			option=${option%% *}
			! grep -q "^$option=" .config || echo "$line" ;;
		esac
	done
}

fragments() {
	echo "$test/tiny.config"
	[ "$1" = tiny ] || echo "$test/$1.config"
}

# Under KASAN, what runs before it does: the PVH entry, and memcmp() for it
uninstrument() {
	echo 'KASAN_SANITIZE := n' >>arch/x86/platform/pvh/Makefile &&
	echo 'KASAN_SANITIZE_string.o := n' >>lib/Makefile
}

build_source() { # NAME
	tree=$work/tree
	mkdir "$tree" "$new"
	dpkg-deb --fsys-tarfile "$work"/*.deb |
	    tar -xO --wildcards './usr/src/linux-source-*.tar.xz' |
	    xz -dc -T0 | tar -x --strip-components=1 -C "$tree" \
	    --exclude='*/drivers/gpu/*.[ch]' &&	# half a gigabyte, unused
	    rm "$work"/*.deb && cd "$tree" ||
	    fail "$1: cannot unpack the source"
	uninstrument
	# shellcheck disable=SC2046 # names without blanks
	{
		make ARCH=x86_64 tinyconfig &&
		scripts/kconfig/merge_config.sh -m .config $(fragments "$1") &&
		make ARCH=x86_64 olddefconfig
	} >>"$work/log" 2>&1 </dev/null || fail "$1: cannot be configured"
	# shellcheck disable=SC2046
	lost=$(lost_lines $(fragments "$1"))
	[ -z "$lost" ] || die "$1: not possible in this kernel:" $lost
	targets=vmlinux
	! grep -q '=m$' .config || targets='vmlinux modules'
	# shellcheck disable=SC2086 # words
	make -j"$(nproc)" ARCH=x86_64 $targets KBUILD_BUILD_USER=ktest \
	    KBUILD_BUILD_HOST=ktest >>"$work/log" 2>&1 </dev/null ||
	    fail "$1: the build failed"
	mv vmlinux "$new/vmlinux"
	mv .config "$new/vmlinux.config"
	[ "$1" = tiny ] ||
	    mv samples/kmemleak/kmemleak-test.ko lib/list-test.ko "$new"
	cd "$test"
}

# What one of these is made from, but for the source
recipe() {
	{
		# shellcheck disable=SC2046
		cat $(fragments "$1") | grep -e '^CONFIG_' -e '^# CONFIG_'
		sed -n '/^uninstrument/,/^}/p; /^build_source/,/^}/p' \
		    "$test/kernels.sh"
	} | cksum
}

# kernel NAME: the kernel's file, if it is there and of use
kernel() {
	dir=$kernels/$1
	case $1 in
	tiny | debug)
		[ -f "$dir/vmlinux" ] &&
		    grep -qxF "recipe $(recipe "$1")" "$dir/from" &&
		    echo "$dir/vmlinux" ;;
	cloud | full | arm64 | riscv64 | s390x)
		[ -f "$dir/from" ] && ls "$dir"/boot/vmlinu[xz]-* ;;
	symbols)
		[ -f "$dir/from" ] && ls "$dir"/vmlinux-* ;;
	*)
		die "there is no kernel called $1" ;;
	esac
}

make_kernel() {
	work=$(mktemp -d "$kernels/new.XXXXXX") || exit 1
	new=$work/new
	case $1 in
	cloud) unpack linux-image-cloud-amd64 ;;
	full) unpack linux-image-amd64 ;;
	symbols) unpack_symbols ;;
	arm64 | riscv64 | s390x)
		foreign "$1"
		unpack_foreign "$1"
		unset APT_CONFIG ;;
	tiny | debug)
		fetch linux-source
		echo "kernels.sh: building $1, some minutes" >&2
		build_source "$1" ;;
	esac
	echo "$from" >"$new/from"
	[ ! -f "$new/vmlinux" ] || echo "recipe $(recipe "$1")" >>"$new/from"
	rm -rf "${kernels:?}/$1"
	mv "$new" "$kernels/$1" || exit 1
	clean_up
	work=
}

build=yes
[ "${1:-}" != path ] || { build= && shift; }
[ $# -gt 0 ] || die "usage: test/kernels.sh [path] $(:
    )cloud|full|tiny|debug|symbols|arm64|riscv64|s390x..."
trap clean_up EXIT
trap 'exit 1' HUP INT TERM
for name; do
	kernel "$name" >/dev/null || {
		[ -n "$build" ] ||
		    die "$name is not there; make it: test/kernels.sh $name"
		mkdir -p "$kernels" && [ -w "$kernels" ] ||
		    die "cannot write to $kernels"
		exec 9>"$kernels/lock"
		flock 9
		kernel "$name" >/dev/null || make_kernel "$name"
	}
	kernel "$name"
done
