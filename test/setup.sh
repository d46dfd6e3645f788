#!/bin/sh
# setup.sh: the Debian packages that the Makefile's targets need.
#
#	test/setup.sh demo|check|arch|machines|suite|bench|lint|matrix|image
#
# Looks for the tools themselves, however they came here, and installs the
# packages of those that are missing. A user other than root is told the one
# command that does it, and the exit status is 125.

set -u

# One line each: for what purposes, what must be there (a command, or a file
# of a library), its package. Every purpose needs what the demo needs.
tools='
demo		cc				gcc
demo		/usr/include/stdio.h		libc6-dev
demo		make				make
demo		qemu-system-x86_64		qemu-system-x86
demo		depmod				kmod
demo		xz				xz-utils
check,suite,bench	flex				flex
check,suite,bench	bison				bison
check,suite,bench	bc				bc
check,suite,bench /usr/include/libelf.h		libelf-dev
check		zstd				zstd
check		lz4				lz4
check		git				git
check		cpio				cpio
check		xmllint				libxml2-utils
check,machines,image qemu-img			qemu-utils
check,machines	mke2fs				e2fsprogs
check,machines	mksquashfs			squashfs-tools
check,machines	swtpm				swtpm
check,machines	ps				procps
check,machines	/usr/share/OVMF			ovmf
machines	mkfs.xfs			xfsprogs
machines	mkfs.btrfs			btrfs-progs
machines	mkfs.erofs			erofs-utils
machines	tpm2_pcrread			tpm2-tools
machines	swtpm_setup			swtpm-tools
machines	kexec				kexec-tools
suite		parallel			parallel
suite		sshd				openssh-server
suite		slurmctld			slurmctld
suite		slurmd				slurmd
suite		sbatch				slurm-client
suite		munged				munge
suite		time				time
check		headers*-cloud-amd64		linux-headers-cloud-amd64
check		crash				crash
check		tcpdump				tcpdump
check		valgrind			valgrind
check		libclang_rt.asan-x86_64.a	libclang-rt-dev
check		go				golang-go
check		cargo				cargo
check		cmake				cmake
check		meson				meson
check		automake			automake
check		autoreconf			autoconf
check		bazel				bazel-bootstrap
check,bench	qemu-system-aarch64		qemu-system-arm
check,bench	qemu-system-riscv64		qemu-system-misc
check		qemu-aarch64			qemu-user
check,bench,lint aarch64-linux-gnu-gcc		gcc-aarch64-linux-gnu
check,bench,lint riscv64-linux-gnu-gcc		gcc-riscv64-linux-gnu
check,bench,lint s390x-linux-gnu-gcc		gcc-s390x-linux-gnu
check,bench	/usr/aarch64-linux-gnu/include/stdio.h	libc6-dev-arm64-cross
check,bench	/usr/riscv64-linux-gnu/include/stdio.h	libc6-dev-riscv64-cross
check,bench	/usr/s390x-linux-gnu/include/stdio.h	libc6-dev-s390x-cross
check,lint	clang				clang
check,lint	ld.lld				lld
check,lint	tcc				tcc
check,lint	musl-gcc			musl-tools
check,lint	cppcheck			cppcheck
check,lint	clang-tidy			clang-tidy
matrix,image,arch debootstrap			debootstrap
arch		gdb-multiarch			gdb-multiarch
arch		/usr/share/AAVMF		qemu-efi-aarch64
arch		prove				perl
image		sfdisk				fdisk
image		mformat				mtools
image		grub-mkimage			grub-common
image		/usr/lib/grub/i386-pc/boot.img	grub-pc-bin
image		/usr/lib/grub/x86_64-efi/linux.mod	grub-efi-amd64-bin
image		/usr/share/ovmf/OVMF.fd		ovmf
'
# qemu-img to ovmf are for disk.sh and machine.sh, to kexec for all of them;
# parallel to munge are for what suite.sh runs on several machines;
# flex to libelf-dev build the tiny kernel; xz to lz4 unpack kernels and modules,
# git bisects some; headers are for modules that oops and hang, crash reads dumps;
# cpio reads our archives and tcpdump our captures; clang's runtime is for
# sanitizers and fuzzing; go to bazel start programs by ktest (runners.sh); what
# follows is for guests of other architectures.

PATH=$PATH:/usr/sbin:/sbin	# depmod, for users other than root

present() {
	case $1 in
	/*) [ -e "$1" ] ;;
	headers*) ls -d /usr/src/linux-$1 >/dev/null 2>&1 ;;
	libclang*) [ -e "$(clang -print-file-name="$1" 2>/dev/null)" ] ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

missing() {
	echo "$tools" | while read -r purposes tool package; do
		case ,$purposes, in
		*,demo,* | *,"$1",*)
			present "$tool" || printf ' %s' "$package" ;;
		esac
	done
}

install() {
	apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 \
	    install "$@" </dev/null
}

case ${1:-} in
demo | check | arch | machines | suite | bench | lint | matrix | image) ;;
*)
	echo "usage: test/setup.sh $(:
	    )demo|check|arch|machines|suite|bench|lint|matrix|image" >&2
	exit 125 ;;
esac
packages=$(missing "$1")
[ -n "$packages" ] || exit 0
command -v apt-get >/dev/null || {
	echo "setup.sh: missing, by Debian's names:$packages" >&2
	exit 125
}
[ "$(id -u)" = 0 ] || {
	echo "setup.sh: first run: sudo apt-get install" \
	    "--no-install-recommends$packages" >&2
	exit 125
}
echo "setup.sh: installing$packages" >&2
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # one word a package
install $packages >/dev/null 2>&1 || {
	# The lists of packages may be missing, or older than the archive.
	apt-get -q update && install $packages
} >&2 || {
	echo "setup.sh: these could not be installed:$packages" >&2
	exit 125
}
packages=$(missing "$1")
[ -z "$packages" ] || {
	echo "setup.sh: installed, yet not found:$packages" >&2
	exit 125
}
