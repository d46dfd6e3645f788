#!/bin/sh
# images.sh: a disk with a Debian on it, for -image.
#
#	test/images.sh [path]
#
# Makes what is missing and prints the directory that it is in; with `path` it
# makes nothing. There are then
#
#	build/image/debian.raw		a DOS partition table; GRUB for a BIOS in
#					front of partition 1, an ESP with GRUB for
#					UEFI; partition 2, ext4, is Debian: systemd,
#					qemu-guest-agent, a kernel with 9p; what it
#					says comes over the serial line
#	build/image/debian.qcow2	the same
#	build/image/from		what it was made of
#
# No block device, mount or loop is needed, but root is, for debootstrap's
# chroot. What is there is used as it is, unless the recipe below has changed.

set -u
LC_ALL=C
export LC_ALL
umask 022
PATH=$PATH:/usr/sbin:/sbin

test=$(cd "$(dirname "$0")" && pwd) || exit 1
image=${test%/*}/build/image
suite=bookworm
work=

die() {
	echo "images.sh: $*" >&2
	exit 1
}

# What the tools say goes to a log, of which the end is shown on failure.
run() {
	"$@" >>"$work/log" 2>&1 </dev/null || {
		tail -n 15 "$work/log" | sed 's/^/    /' >&2
		die "$1 failed"
	}
}

clean_up() {
	[ -z "$work" ] || rm -rf --one-file-system "$work"
}

# mirror: where apt has Debian itself from
mirror() {
	apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' \
	    'Created-By: Packages' | sed -n 's/^Debian Debian //p' | head -n 1
}

# What a test needs of the kernel's modules, and what of systemd's units it does
# not: without KVM every one costs a part of a second at each boot.
modules='virtio|autofs|9p|netfs|fscache|ext4|jbd2|mbcache|crc|failover|fuse|overlay'
units='apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer
    fstrim.timer e2scrub_all.timer e2scrub_reap.service getty-static.service
    getty@tty1.service systemd-journal-flush.service
    systemd-random-seed.service systemd-update-utmp.service
    systemd-sysusers.service systemd-pstore.service systemd-fsckd.socket
    systemd-networkd.service systemd-binfmt.service
    systemd-update-utmp-runlevel.service systemd-tmpfiles-clean.timer
    dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount
    sys-kernel-tracing.mount sys-kernel-config.mount
    sys-fs-fuse-connections.mount modprobe@configfs.service
    modprobe@dm_mod.service modprobe@drm.service modprobe@efi_pstore.service
    modprobe@fuse.service modprobe@loop.service'

# debian: the system, in $root
debian() {
	from=$(mirror)
	[ -n "$from" ] || die "apt's sources name no mirror of Debian"
	run debootstrap --variant=minbase --include=systemd-sysv,udev,\
qemu-guest-agent,linux-image-amd64,initramfs-tools,zstd \
	    "$suite" "$root" "$from"
	echo '/dev/vda2 / ext4 defaults 0 1' >"$root/etc/fstab"
	echo image >"$root/etc/hostname"
	echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
	# shellcheck disable=SC2086 # words
	run chroot "$root" systemctl mask $units
	find "$root/lib/modules" -name '*.ko' | grep -vE "/[^/]*($modules)[^/]*$" |
	    xargs rm -f
	run depmod -b "$root" "$(ls "$root/lib/modules")"
	printf '%s\n' virtio_pci virtio_blk ext4 \
	    >"$root/etc/initramfs-tools/modules"
	echo MODULES=list >"$root/etc/initramfs-tools/conf.d/ktest"
	run chroot "$root" update-initramfs -u
	rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* \
	    "$root"/usr/share/doc "$root"/usr/share/man \
	    "$root"/usr/share/locale
}

# grub FORMAT FILE PREFIX MODULE...: GRUB in one file, with its modules
grub() {
	format=$1 file=$2 prefix=$3
	shift 3
	run grub-mkimage -O "$format" -o "$file" -p "$prefix" \
	    ext2 part_msdos normal configfile linux serial terminal "$@"
}

# GRUB's first sector reads the second, which is told by grub-mkimage how many
# follow: all are in front of partition 1, where Linux looks for nothing.
boot_loaders() {
	mkdir -p "$root/boot/grub"
	cat >"$root/boot/grub/grub.cfg" <<-'END'
		serial --unit=0 --speed=115200
		terminal_output serial
		set timeout=0
		menuentry Debian {
			linux /vmlinuz root=/dev/vda2 console=ttyS0 quiet cryptomgr.notests
			initrd /initrd.img
		}
	END
	grub i386-pc "$work/core.img" '(hd0,msdos2)/boot/grub' biosdisk
	grub x86_64-efi "$work/bootx64.efi" '(hd0,msdos2)/boot/grub' \
	    part_gpt fat
}

# disk: $new/debian.raw of $root and the boot loaders
disk() {
	run truncate -s 1G "$new/debian.raw"
	printf '%s\n' 'label: dos' 'start=2048, size=32768, type=ef' \
	    'start=34816, type=83, bootable' |
	    sfdisk -q "$new/debian.raw" >>"$work/log" 2>&1 ||
	    die 'sfdisk failed'
	run dd if=/usr/lib/grub/i386-pc/boot.img of="$new/debian.raw" \
	    bs=440 count=1 conv=notrunc
	run dd if="$work/core.img" of="$new/debian.raw" bs=512 seek=1 \
	    conv=notrunc
	run mformat -i "$new/debian.raw@@1M" -T 32768 -h 64 -s 32 ::
	run mmd -i "$new/debian.raw@@1M" ::EFI ::EFI/BOOT
	run mcopy -i "$new/debian.raw@@1M" "$work/bootx64.efi" \
	    ::EFI/BOOT/BOOTX64.EFI
	run mke2fs -q -F -t ext4 -E offset=$((34816 * 512)) -d "$root" \
	    "$new/debian.raw" $((1024 * 1024 - 17408))k
	run qemu-img convert -O qcow2 "$new/debian.raw" "$new/debian.qcow2"
}

recipe() {
	sed -n '/^suite=/p; /^modules=/,/^recipe() {/p' "$0" | cksum
}

present() {
	[ -f "$image/from" ] && grep -qxF "recipe $(recipe)" "$image/from"
}

make_image() {
	echo "images.sh: making a Debian, some minutes" >&2
	work=$(mktemp -d "$image.XXXXXX") || exit 1
	root=$work/root
	new=$work/new
	mkdir "$new"
	debian
	boot_loaders
	disk
	{
		ls "$root/boot"
		echo "recipe $(recipe)"
	} >"$new/from"
	rm -rf "$image"
	mv "$new" "$image" || exit 1
	clean_up
	work=
}

trap clean_up EXIT
trap 'exit 1' HUP INT TERM
present || {
	[ "${1:-}" != path ] || die 'there is none; make it: make image'
	[ "$(id -u)" = 0 ] || die 'debootstrap needs root; try: sudo make image'
	mkdir -p "${image%/*}" || exit 1
	exec 9>"$image.lock"
	flock 9
	present || make_image
}
echo "$image"
