#!/bin/sh
# Kernels as people have them: as a package unpacks, as a build leaves them,
# packed in one way or another; their modules; what -file brings; bisecting.
. "$(dirname "$0")/tap.sh"

need_ktest
fake_setup
build kernel-show kernel-show.c -static
SHOW=$built

# -- Which file and which modules are taken, without a machine --
# A module is for ktest what its strings say.
module() { # FILE [STRING...]
	module_file=$1
	shift
	mkdir -p "${module_file%/*}"
	printf '%s\0' ELF "$@" >"$module_file"
}

# modules OPTIONS...: what -v says that is loaded, without directories: $said
modules() {
	rm -f "$T/log"/*
	FAKE_DO='hello;clock;go;x=0'
	export FAKE_DO
	run "$KTEST" -qemu "$FAKE" -init "$GUEST" -accel tcg -v \
	    -snapshot none "$@" -- "$GUEST" exit 0
	said=$(sed -n 's/^ktest: .* modules: in [^:]*: //p' "$err" |
	    tr ' ' '\n' | sed 's|.*/||; s|\.ko||' | tr '\n' ' ')
	said=${said% }
}

D=$T/d
v=9.9.9-fake
pkg=$D/usr/lib/modules/$v
mkdir -p "$D/boot" "$pkg"
"$mkkernel" bzimage $v >"$D/boot/vmlinuz-$v"
cp "$D/boot/vmlinuz-$v" "$pkg/vmlinuz"
: >"$pkg/modules.order"
echo kernel/c/virtio_rng.ko >"$pkg/modules.builtin"
ln -s "$D" "$pkg/build"		# a way round in a circle, and the sources
module "$pkg/kernel/v/virtio.ko" depends=virtio_ring
module "$pkg/kernel/v/virtio_ring.ko" depends=
module "$pkg/kernel/v/virtio-mmio.ko" depends=virtio,virtio_ring
module "$pkg/kernel/c/virtio_console.ko" depends=virtio
module "$pkg/kernel/x/circle.ko" depends=circle2
module "$pkg/kernel/x/circle2.ko" depends=circle
module "$pkg/kernel/x/soft.ko" 'softdep=pre: gone crypto-crc32c post: after' \
    depends=
module "$pkg/kernel/x/after.ko" depends=
module "$pkg/kernel/x/crc32c_generic.ko" depends=
module "$pkg/kernel/x/lost.ko" depends=nowhere
module "$T/own/own.ko" depends=virtio,beside license=GPL
module "$T/own/beside.ko" depends=
ours='virtio_ring virtio virtio-mmio virtio_console '

modules -kernel-path "$D/boot/vmlinuz-$v"
is "$said" "$ours" 'a package as it unpacks, without modules.dep'
modules -kernel-path "$pkg/vmlinuz"
is "$said" "$ours" 'a kernel beside its modules'
modules -kernel-path "$pkg/"
is "$said" "$ours" 'the directory of both'
ln -s "$D/boot/vmlinuz-$v" "$T/link"
modules -kernel-path "$T/link"
is "$said" "$ours" 'a symlink to a kernel'
modules -kernel-path "$FAKE_KERNEL" -modules "$D"
is "$said" "$ours" '-modules of a whole tree'
modules -kernel-path "$T/link" -module circle
is "$said" "${ours}circle2 circle " 'modules that need each other'
modules -kernel-path "$T/link" -module soft
is "$said" "${ours}crc32c_generic soft after " 'softdep: before, after, and gone'
like "$err" ' -kernel/x/crc32c_generic\.ko kernel/x/soft' \
    'softdep: what may fail'
modules -kernel-path "$T/link" -module "$T/own/own.ko:a=1 b=2" -module \
    own:c=3
is "$said" "${ours}beside own a=1 b=2 c=3 " \
    'a module by its file, what is beside it, parameters'
ln -s own.ko "$T/own/alias.ko"
module "$T/own/virtio.ko" depends=virtio_ring
modules -kernel-path "$T/link" -module "$T/own/alias.ko:a=1" -module \
    "$T/own/virtio.ko"
is "$said" "${ours}beside alias a=1 " 'a module by a symlink, its parameters'
like "$err" " $T/own/virtio\.ko " 'a module by its file, which others need, too'
module "$T/own/odd.ko" "parm=xdepends=no" "$(printf 'depends=beside\ne/etc/passwd')"
modules -kernel-path "$T/link" -module "$T/own/odd.ko"
is "$said" '' 'a module that needs a line: nothing'
like "$err" '^ktest: -module passwd: is not in .*another needs it$' \
    'a module that needs a line: why'
module "$T/own/a b.ko" depends=
modules -kernel-path "$T/link" -module "$T/own/a b.ko"
like "$err" '^ktest: -module .*has a blank in its name' 'a blank in a name'
modules -kernel-path "$T/link" -module lost
like "$err" '^ktest: -module nowhere: is not in .*another needs it$' \
    'what a module needs is missing'
modules -kernel-path "$T/link" -module virtio-rng:x=1
like "$err" 'built in, say -cmdline virtio_rng\.PARAM=VALUE' \
    'parameters of what is built in'
rm -r "$pkg/modules.order" "$pkg/modules.builtin"
modules -kernel-path "$T/link" -module soft
like "$err" 'no modules for kernel 9.9.9-fake .*unpack the package' \
    'no modules: what can be done'

# A build: the newest of its kernels, modules by modules.order, of which one
# line is of older sources.
B=$T/9.8	# no version of modules: a directory of sources
mkdir -p "$B/arch/x86/boot" "$B/kernel"
"$mkkernel" pvh 9.9.9-elf >"$B/vmlinux"
touch -d '1 hour ago' "$B/vmlinux"
"$mkkernel" bzimage 9.9.9-bz >"$B/arch/x86/boot/bzImage"
: >"$B/.config"
printf '%s\n' drivers/v/virtio_mmio.o drivers/v/virtio_console.ko >"$B/modules.order"
module "$B/drivers/v/virtio_mmio.ko" depends=
module "$B/drivers/v/virtio_console.ko" depends=
modules -kernel-path "$B"
is "$said" 'virtio_mmio virtio_console ' 'a build'
like "$err" 'kernel: .*/arch/x86/boot/bzImage, bzImage 9.9.9-bz' \
    'a build: after make'
touch "$B/vmlinux"
modules -kernel-path "$B"
is "$said" 'virtio_mmio virtio_console ' \
    'a build: make vmlinux'
like "$err" 'kernel: .*/vmlinux, ELF ' 'a build: the newest kernel'

# -- KTEST_OPTIONS --
export KTEST_OPTIONS
options() { # WANTED WHAT ARGUMENTS...
	options_want=$1 options_what=$2
	shift 2
	run "$KTEST" -n -kernel-path "$FAKE_KERNEL" -init "$GUEST" "$@"
	like "$out" "$options_want" "KTEST_OPTIONS: $options_what"
}
KTEST_OPTIONS='  -memory 300M	-cmdline=a=b -accel tcg '
options '-m 300M .*a=b' 'its words' -- "$GUEST"
options '-m 2G .*a=b c' 'the command line comes later' -memory 2G -cmdline c \
    -- "$GUEST"
echo '-cpus 3' >"$T/args"
KTEST_OPTIONS="-accel tcg @$T/args"
options '-smp 3' 'an @FILE' "$GUEST"
for KTEST_OPTIONS in '-v prog' '-v --'; do
	run "$KTEST" -n -kernel-path "$FAKE_KERNEL" "$GUEST"
	like "$err" 'KTEST_OPTIONS:2: .*: is no option' \
	    "KTEST_OPTIONS: ${KTEST_OPTIONS#* }"
done
unset KTEST_OPTIONS
for o in file env; do
	run "$KTEST" -kernel-path "$FAKE_KERNEL" "-$o" "$GUEST"
	like "$err" "PROGRAM is missing: -$o has taken $GUEST for" \
	    "-$o takes the program for its value"
done

# -- Machines --
[ -f "${KTEST_CLOUD:-}" ] || { skip 'no KTEST_CLOUD' machines; finish; exit; }

# A package of the full kernel, unpacked by hand, its modules packed; links
# stand for those that nobody will read. xz counts how often it runs.
mkdir "$T/bin"
for tool in xz zstd gzip; do
	real=$(command -v $tool) || continue
	printf '#!/bin/sh\necho >>"%s"\nexec "%s" "$@"\n' "$T/ran.$tool" \
	    "$real" >"$T/bin/$tool"
	chmod 755 "$T/bin/$tool"
done
PATH=$T/bin:$PATH
pack() { # TOOL SUFFIX MODULE...
	pack_tool=$1 pack_suffix=$2
	shift 2
	command -v "$pack_tool" >/dev/null || return
	for pack_name; do
		pack_file=$(find "$F/usr" -name "$pack_name.ko")
		"$pack_tool" -c "$(readlink "$pack_file")" \
		    >"$pack_file$pack_suffix"
		rm "$pack_file"
	done
}
F=$T/full
if [ -f "${KTEST_FULL:-}" ]; then
	version=${KTEST_FULL##*/vmlinuz-}
	mkdir -p "$F/boot" "$F/usr/lib/modules/$version"
	cp "$KTEST_FULL" "$F/boot"
	(cd "$KTEST_FULL_MODULES" && cp -rs "$PWD/kernel" "$PWD"/modules.order \
	    "$PWD"/modules.builtin "$F/usr/lib/modules/$version")
	pack xz .xz virtio virtio_ring
	pack zstd .zst virtio_mmio
	pack gzip .gz virtio_console virtio-rng dummy
	own=$(find "$KTEST_FULL_MODULES" -name dummy.ko)
	cp "$own" "$T/ünser.ko"
	M='-module ext4 -module btrfs -module xfs -module nf_conntrack'
	# shellcheck disable=SC2086
	job depmod "$KTEST" -accel "$ACCEL" -kernel-path "$KTEST_FULL" $M \
	    -v -- "$SHOW" modules
	# shellcheck disable=SC2086
	job nodepmod "$KTEST" -accel "$ACCEL" -kernel-path \
	    "$F/boot/vmlinuz-$version" $M -v -unpack off \
	    -module 'dummy:numdummies=3' -- "$SHOW" modules interfaces
	job badparam "$KTEST" -accel "$ACCEL" -kernel-path "$KTEST_FULL" \
	    -module "$T/ünser.ko:numdummies=many" -- "$SHOW"
	# shellcheck disable=SC2016
	job modprobe "$KTEST" -accel "$ACCEL" -kernel-path "$KTEST_FULL" \
	    -rootfs / -- sh -c 'modprobe dummy numdummies=2 && hostname &&
	    ls /sys/class/net'
fi
if [ -f "${KTEST_TINY:-}" ]; then
	xz -0 -c "$KTEST_TINY" >"$T/vmlinux.xz"
	gzip -1 -c "$KTEST_TINY" >"$T/vmlinux.gz"
	for n in xz gz; do
		job "tiny$n" "$KTEST" -accel "$ACCEL" -kernel-path \
		    "$T/vmlinux.$n" -v -- "$SHOW"
	done
fi
"$mkkernel" uki <"$KTEST_CLOUD" >"$T/linux.efi"
job uki "$KTEST" -accel "$ACCEL" -kernel-path "$T/linux.efi" -modules \
    "$KTEST_CLOUD_MODULES" -v -- "$SHOW" hostname

# -- What -file brings --
mkdir "$T/tree"
cp "$(command -v cat)" "$T/tree"
echo 'int x(void) { return 0; }' >"$T/x.c"
"${CC:-cc}" -shared -o "$T/tree/libx.so" "$T/x.c" -lm -Wl,--no-as-needed
printf '\177ELF\2\1\1 broken' >"$T/tree/libbroken.so"
printf '#!/no/such\n' >"$T/tree/script"
chmod 755 "$T/tree/script"
cloud_job file -file /bin/sh -file ls -file "$T/tree:/tree" -- /bin/sh -c \
    'echo a; /usr/bin/sh -c "echo b"; /bin/ls /bin/sh; /tree/cat /etc/hosts'
jobs_run

# good NAME STATUS WANTED WHAT
good() {
	result "$1"
	is "$status" "$2" "$4: status"
	like "$out" "$3" "$4"
}
if [ -f "${KTEST_FULL:-}" ]; then
	for n in depmod nodepmod; do
		for m in ext4 btrfs xfs nf_conntrack libcrc32c crc32c_generic; do
			good $n 0 "^$m " "$n: -module: $m"
		done
	done
	like "$out" '^dummy2' 'a packed module, and its parameter'
	unlike "$err" 'unpacked in' '-unpack off'
	result depmod
	like "$err" 'unpacked in .*its text not moved' \
	    'a bzImage is unpacked under TCG'
	result badparam
	like "$err" 'ünser: dummy: .many. invalid for .*: invalid argument$' \
	    'a module that does not load: the reason of the kernel'
	unlike "$err" 'see -v' '... and nothing else'
	good modprobe 0 '^dummy1' '-rootfs: modprobe'
	like "$out" '^ktest$' 'the name of the host'
fi
if [ -f "${KTEST_TINY:-}" ]; then
	good tinyxz 0 '^6\.' 'a vmlinux.xz'
	good tinygz 0 '^6\.' 'a vmlinux.gz'
fi
good uki 0 '^ktest$' 'a unified kernel image'
like "$err" 'starts as vmlinux' 'a unified kernel image: the vmlinux in it'
result file
is "$status" 0 '-file: programs run'
text "$out" "a${nl}b${nl}/bin/sh${nl}127.0.0.1 localhost ktest$nl::1 $(:
    )localhost$nl" '-file: by each path, with libraries, one from a tree'
empty "$err" '-file: what is no program in a tree is no news'

# -- A machine that is restored unpacks nothing; what cannot be unpacked --
if [ -f "${KTEST_FULL:-}" ]; then
	mkdir "$T/empty"
	for n in 1 broken; do
		run env "PATH=$T/empty" "$KTEST" -accel tcg -qemu "$FAKE" -v \
		    -init "$GUEST" -kernel-path "$KTEST_FULL" -unpack on \
		    -timeout 1 -snapshot none -- "$GUEST"
		like "$err" 'kernel: it unpacks itself: ' \
		    "a kernel that cannot be unpacked here: $n"
		printf '#!/bin/sh\necho no memory >&2\nexit 1\n' >"$T/empty/xz"
		chmod 755 "$T/empty/xz"
	done
	like "$err" 'cannot be unpacked with xz -dc: no memory$' '... why'
	for n in save warm; do
		: >"$T/ran.xz"
		run "$KTEST" -accel "$ACCEL" -kernel-path "$KTEST_FULL" \
		    -snapshot "$T/snapshot" -v -- "$SHOW" hostname
		is "$status $(wc -l <"$T/ran.xz")" "0 $([ $n = warm ]; echo $?)" \
		    "-snapshot: $n: how often xz runs"
	done
	like "$err" 'snapshot .*: fits' '-snapshot: it was restored'
	run "$KTEST" -n -accel "$ACCEL" -kernel-path "$KTEST_FULL" -v \
	    -snapshot "$T/snapshot" -unpack off -- "$SHOW"
	like "$err" 'stale' '-snapshot: -unpack is part of what is saved'
fi

# -- git bisect: 125 is "skip" for both --
if [ ! -f "${KTEST_TINY:-}" ] || ! command -v git >/dev/null; then
	skip 'no git, or no KTEST_TINY' 'git bisect run'
	finish
	exit
fi
R=$T/repo
mkdir "$R"
cd "$R" || exit
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t \
    GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@t
git init -q .
# A kernel of this "source" says its version; that of the third does not boot.
cat >make <<'end'
read n <version
[ "$n" = 3 ] && { head -c 99999 "$TINY" >vmlinux; exit; }
LC_ALL=C sed "s/6\.1\.[0-9][0-9][0-9]/6.1.90$n/g" "$TINY" >vmlinux
end
git add make
for n in 1 2 3 4 5 6 7 8; do
	echo $n >version
	git add version
	git commit -qm "version $n"
done
export TINY="$KTEST_TINY" KTEST ACCEL SHOW
bad=$(git rev-parse HEAD~2)
git bisect start HEAD HEAD~7 >/dev/null 2>&1
# shellcheck disable=SC2016
run git bisect run sh -c 'sh make || exit 125
	"$KTEST" -accel "$ACCEL" -kernel-path . -timeout 2m -- "$SHOW" before 906
	s=$?; exit $((s > 127 ? 1 : s))'
like "$out" "^$bad is the first bad commit" 'git bisect run'
cd /
finish
