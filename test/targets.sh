#!/bin/sh
# What a [[target]] of vmtest says, and what ktest is told instead: a row for each
# field of one with a kernel, run. Those with an image are in image.sh.
. "$(dirname "$0")/tap.sh"

need_ktest
[ -f "${KTEST_TINY:-}" ] || skip_all 'no KTEST_TINY'
build disks disks.c -static
DISKS=$built
build pty pty.c
PTY=$built
PS1='ready $ ' SHELL=/bin/sh CALLER=mine
export PS1 SHELL CALLER
unset ENV
mkdir -p "$T/root/bin" "$T/here" "$T/more"
cd "$T/here" || exit 1
cp "$DISKS" "$T/root/bin/disks"
echo seen >"$T/more/file"
printf '#!/bin/sh\nexec qemu-system-x86_64 "$@"\n' >"$T/my-qemu"
chmod +x "$T/my-qemu"
printf -- '-kernel-path %s\n-rootfs /\n' "$KTEST_TINY" >"$T/one-target"

# Theirs | the options | the program, or for "-" what is typed | what is seen
cat >"$T/rows" <<EOF
name | @$T/one-target | echo the target | ^the target$
kernel | -kernel-path $KTEST_TINY -rootfs / | uname -r | ^6\\.
kernel_args | -cmdline theirs=1 -rootfs / | cat /proc/cmdline | theirs=1
rootfs | -rootfs $T/root:rw | disks fill /kept 1 | 1048576$
qemu_command | -v -qemu $T/my-qemu -rootfs / | exit 0 | $T/my-qemu$
command | -rootfs / | id -u; exit 0 | ^0$
"-" | -env PS1 -shell | tty; exit 0\\r | /dev/
vm.num_cpus | -cpus 2 -rootfs / | nproc | ^2$
vm.memory | -memory 2G -rootfs / | cat /proc/meminfo | MemTotal: *(19|20)[0-9]{5} kB
vm.extra_args | -qemu-arg -device -qemu-arg virtio-rng-device -rootfs / | cat /sys/class/misc/hw_random/rng_available | virtio_rng.0 virtio_rng.1
vm.bios | -v -bios qboot.rom -rootfs / | exit 0 | -bios qboot.rom
vm.mounts | -mount $T/more:/mnt -rootfs / | cat /mnt/file; ! touch /mnt/file | ^seen$
vm.mounts, writable | -mount $T/more:/mnt:rw -rootfs / | cp /mnt/file /mnt/new; echo \$? | ^0$
/mnt/vmtest | -mount .:/mnt/vmtest:rw -cwd /mnt/vmtest -rootfs / | pwd; echo made >made | ^/mnt/vmtest$
the environment | -env-all -rootfs / | echo \$CALLER | ^mine$
EOF
n=0
while IFS='|' read -r field options program seen; do
	n=$((n + 1))
	case $field in
	'"-"'*) set -- "$PTY" expect '$ ' send "${program# }" -- ;;
	*) set -- ;;
	esac
	case $options in
	*one-target* | *-kernel-path*) ;;
	*) options="-kernel-path $KTEST_TINY $options" ;;
	esac
	# shellcheck disable=SC2086 # words
	set -- "$@" "$KTEST" -accel "$ACCEL" $options
	# shellcheck disable=SC2086
	case $field$program in
	'"-"'*) ;;
	*' disks '*) set -- "$@" -- $program ;;
	*) set -- "$@" -- sh -c "$program" ;;
	esac
	job "$n" "$@"
done <"$T/rows"
kernel=$(sh "$here/kernels.sh" path arm64 2>/dev/null)
lack=
[ -f "$kernel" ] && command -v qemu-system-aarch64 >/dev/null &&
    command -v aarch64-linux-gnu-gcc >/dev/null || lack='no arm64 here'
if [ -z "$lack" ]; then
	make -s -C "$top" init-aarch64 >/dev/null 2>&1
	CC=aarch64-linux-gnu-gcc build guest-aarch64 guest.c -static
	job arch "$KTEST" -accel tcg -kernel-path "$kernel" -init \
	    "$top/init-aarch64" -- "$built" exit 0
fi
jobs_run
n=0
while IFS='|' read -r field options program seen; do
	n=$((n + 1))
	result $n
	is "$status" 0 "$field: status"
	cat "$out" "$err" | tr -d '\r' >"$T/both"
	like "$T/both" "${seen# }" "$field: $options"
done <"$T/rows"
if [ -z "$lack" ]; then
	result arch
	is "$status" 0 'arch: the kernel says it'
else
	skip "$lack" 'arch: the kernel says it'
fi
is "$(wc -c <"$T/root/kept") $(cat "$T/more/new" made | tr '\n' ' ')" \
    '1048576 seen made ' 'what is written is kept here'
finish
