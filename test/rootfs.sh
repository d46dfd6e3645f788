#!/bin/sh
# The host's directories in the guest: -rootfs, -mount, -env-all, -user; what
# they make of QEMU's arguments, what they refuse, and files over 9p.
. "$(dirname "$0")/tap.sh"

need_ktest
fake_setup
build files files.c -static
FILES=$built

# -- QEMU's arguments, under KVM and TCG --
args() { # OPTIONS...: what they add to the command line
	(cd / && "$KTEST" -qemu qemu -init "$GUEST" -kernel-path \
	    "$FAKE_KERNEL" -n -accel "$on" "$@" -- "$GUEST" 2>"$T/args.err") |
	    sed "s/.*name=ktest.log/ /; s/.*name=ktest.stderr/ /; s/ -kernel .*//; s/^ *//"
}

none=security_model=none,multidevs=remap
mkdir "$T/a,b" "$T/w"
dep=$T/k/lib/modules/9.9.9-fake/modules
printf 'kernel/%s.ko:\n' 9p 9pnet_virtio >"$dep.dep"
mkdir "${dep%/*}/kernel"
: >"${dep%/*}/kernel/9p.ko"
: >"${dep%/*}/kernel/9pnet_virtio.ko"
for on in kvm tcg; do
	is "$(args -rootfs /)" "-fsdev $(:
	    )local,id=fs0,path=/,$none,readonly=on -device $(:
	    )virtio-9p-device,fsdev=fs0,mount_tag=ktest0" "$on: -rootfs /"
	is "$(args -rootfs /:rw -mount "$T/a,b")" "-fsdev $(:
	    )local,id=fs0,path=/,$none -device $(:
	    )virtio-9p-device,fsdev=fs0,mount_tag=ktest0 -fsdev $(:
	    )local,id=fs1,path=$T/a,,b,$none,readonly=on -device $(:
	    )virtio-9p-device,fsdev=fs1,mount_tag=ktest1" \
	    "$on: -rootfs /:rw -mount"
	is "$(args -mount "$T/w:/x:rw")" "-fsdev $(:
	    )local,id=fs0,path=$T/w,$none -device $(:
	    )virtio-9p-device,fsdev=fs0,mount_tag=ktest0" "$on: -mount :rw"
done

# -- What is refused: 125, the option and the value in one line --
mkdir -p "$T/r/bin" "$T/r/data" "$T/r/lib64" "$T/r/var/tmp"
refuse '-rootfs /no/such: No such' -rootfs /no/such
refuse '-rootfs /etc/passwd: (is truncated, or no image|has no filesystem)' \
    -rootfs /etc/passwd
refuse '-mount /no/such:/x: No such' -mount /no/such:/x
refuse '-mount /etc/passwd: is not a directory' -mount /etc/passwd
refuse '-mount /usr:/etc/passwd: /etc/passwd in the guest is not a dir' \
    -rootfs / -mount /usr:/etc/passwd
refuse '-mount /usr:/: that is what -rootfs is for' -mount /usr:/
refuse '-mount /: is one too many' -mount /usr -mount /usr -mount /usr \
    -mount /usr -mount /usr -mount /usr -mount /
prog=sh refuse '-rootfs .*: there is no program sh in it' -rootfs "$T/r"
prog=/bin/sh refuse '-rootfs .*: there is no program /bin/sh in it' \
    -rootfs "$T/r"
cp /bin/true "$T/r/bin/"
prog=true refuse '-rootfs .*: /.*bin/true needs /.*, which is not in it' \
    -rootfs "$T/r"
refuse '-user nosuchuser: there is no user' -user nosuchuser
refuse '-user 1:x: is not UID' -user 1:x
refuse '-user 4294967295: is not UID' -user 4294967295
: >"$dep.dep"
refuse '-rootfs: kernel 9.9.9-fake has no 9p .CONFIG_9P_FS' -rootfs /
refuse '-mount: kernel 9.9.9-fake has no 9p' -mount /usr
if [ -f "${KTEST_CLOUD:-}" ]; then
	run "$KTEST" -kernel-path "$KTEST_CLOUD" -rootfs / -- true
	is "$status" 125 'cloud: has no 9p'
	one_line "$err" 'cloud: one line says so'
else
	skip 'no KTEST_CLOUD' 'cloud: has no 9p'
fi

if [ ! -f "${KTEST_TINY:-}" ]; then
	skip 'no KTEST_TINY' 'guests'
	finish
fi

# -- Guests --
tiny() { # NAME OPTIONS...
	tiny_job "$@"
}

rooted() { # NAME OPTIONS...: of one machine, which is restored
	rooted_name=$1
	shift
	[ -n "${KTEST_SNAPSHOT:-}" ] || [ "${KTEST_RUNS:-}" = all ] ||
	    set -- -snapshot "$T/rooted" "$@"
	tiny_job "$rooted_name" "$@"
}

full() { # NAME OPTIONS...
	full_name=$1
	shift
	[ -f "${KTEST_FULL:-}" ] || return 0
	job "$full_name" "$KTEST" -kernel-path "$KTEST_FULL" -accel \
	    "$ACCEL" "$@"
}

cp "$FILES" "$T/r/bin/files"
mkdir "$T/r/here" "$T/r/layer"
"$FILES" ops "$T/r/here" >"$T/ops"
mkdir "$T/many" "$T/ops.d" "$T/big" "$T/rwroot" "$T/rwroot/bin"
cp "$FILES" "$T/rwroot/bin/"
"$FILES" make "$T/many" 100000
"$FILES" fill "$T/big/read" 1024 >"$T/read.sum"
"$FILES" tree "$T/r" >"$T/before"
head -c 4096 /dev/zero >"$T/big/mapped"
chmod 777 "$T/ops.d"

tiny uname -rootfs / -- sh -c 'uname -r; pwd; cat /proc/mounts'
full uname-full -rootfs / -- sh -c 'uname -r; pwd; cat /proc/mounts'
tiny own -rootfs / -- sh -c 'for d in proc sys dev tmp run dev/shm; do
	[ ! -e "/$d/ktest-was-here" ] || echo "not own: $d"
	touch "/$d/ktest-was-here" 2>/dev/null && echo "took: $d"; done; [ -c /dev/null ] && echo null
	[ -d /dev/pts ] && [ -d /proc/1 ] && [ -d /sys/class ] && echo all'
tiny ops -mount "$T/ops.d:/d:rw" -- "$FILES" ops /d
full ops-full -rootfs "$T/r" -- files ops /data
tiny layer -rootfs "$T/r" -- files ops /layer
tiny change -rootfs "$T/r" -- files fill /here/two 1
tiny many -mount "$T/many:/d" -- "$FILES" list /d
tiny read -mount "$T/big:/d" -- "$FILES" sum /d/read
tiny write -mount "$T/big:/d:rw" -- "$FILES" fill /d/write 1024
tiny keep -mount "$T/big:/d:rw" -- "$FILES" keep /d/mapped
tiny rwroot -rootfs "$T/rwroot:rw" -cwd / -- files make /bin 3
rooted env -rootfs / -env-all -env LAST=1 -- sh -c 'echo "$MINE $LAST $IN_KTEST"'
rooted clean -rootfs / -- sh -c 'echo "$MINE $HOME"'
rooted user -rootfs / -user 1234:567 -- sh -c 'id -u; id -g
	grep Groups: /proc/self/status; echo to >/dev/stderr'
rooted name -rootfs / -user nobody -- id -un
tiny readonly -rootfs / -mount "$T/big:/mnt" -- sh -c 'echo x >/mnt/x'
rooted cwd -rootfs / -- sh -c 'pwd; ls files.c; touch written && ls written'
rooted hidden -rootfs / -- "$T/own.sh"
printf '#!/bin/sh\necho "from $0"\n' >"$T/own.sh"
chmod 755 "$T/own.sh"
tiny net -rootfs / -net user -- cat /etc/resolv.conf
MINE=ours
export MINE
cd "$here" || exit 1
if [ -n "${KTEST_FULL_MODULES:-}" ]; then
	# what this kernel would be without overlayfs
	mods=$T/mods/${KTEST_FULL##*/vmlinuz-}
	mkdir -p "$mods"
	ln -s "$KTEST_FULL_MODULES/kernel" "$mods/kernel"
	grep -v '/overlay\.ko' "$KTEST_FULL_MODULES/modules.dep" \
	    >"$mods/modules.dep"
	cp "$KTEST_FULL_MODULES/modules.builtin" "$mods/"
	full bare -modules "$mods" -rootfs / -- sh -c 'cat /proc/mounts
		touch /tmp/x /run/x /var/tmp/x && echo written
		touch /etc/x || echo refused'
fi
mkdir "$T/shared"
if [ "$(id -u)" = 0 ] && su nobody -s /bin/sh -c "test -x '$KTEST' &&
    test -r '$KTEST_TINY' && test -r '${KTEST%/*}/init'" 2>/dev/null; then
	as_nobody=1
	chmod 777 "$T/shared"
	job nobody su nobody -s /bin/sh -c "cd / && exec '$KTEST' -accel \
	    $ACCEL -kernel-path '$KTEST_TINY' -rootfs / -mount \
	    '$T/shared:/mnt:rw' -- sh -c 'id -u; echo x >/mnt/new
	    cat /etc/shadow || echo refused; touch /etc/new && echo made'"
fi
jobs_run

done_is() { # NAME STATUS WHAT
	result "$1"
	is "$status" "$2" "$3: status"
}

ops_good() { # NAME WHAT
	done_is "$1" 0 "$2"
	unlike "$out" '^not ok' "$2: none failed"
	is "$(grep -c '^ok ' "$out")" "$(grep -c '^ok ' "$T/ops")" \
	    "$2: all were tried"
}

done_is uname 0 '-rootfs /'
like "$out" '^[0-9]+\.[0-9]' '-rootfs /: uname'
like "$out" "^$here\$" '-rootfs /: the working directory'
like "$out" '^overlay / overlay rw' '-rootfs /: a layer over it'
if [ -f "${KTEST_FULL:-}" ]; then
	done_is uname-full 0 'full: -rootfs /'
	is "$(head -n 1 "$out")" "${KTEST_FULL##*/vmlinuz-}" 'full: uname'
	like "$out" '^overlay / overlay rw' 'full: a layer over it'
	ops_good ops-full 'full: files in the layer'
fi
done_is own 0 'own directories'
is "$(tail -n 2 "$out" | tr '\n' ' ')" 'null all ' 'own directories: all there'
is "$(grep -c '^took: ' "$out")" 4 'own directories: four can be written to'
ops_good ops 'files over 9p'
ops_good layer 'files in the layer'
done_is change 0 'a file of the host changed in the layer'
"$FILES" tree "$T/r" >"$T/after"
same "$T/after" "$T/before" 'the layer leaves no trace on the host'
is "$(cat "$T/ops.d/mapped" | tr -d '\000')" 'across a page' \
    'what was mapped in the guest is here'
done_is many 0 '100,000 files'
text "$out" "100000$nl" '100,000 files: all seen'
done_is read 0 '1 GiB read'
same "$out" "$T/read.sum" '1 GiB read: the sum'
done_is write 0 '1 GiB written'
"$FILES" sum "$T/big/write" >"$T/write.sum"
same "$out" "$T/write.sum" '1 GiB written: the sum'
done_is keep 137 'a mapping, killed'
is "$(head -c 6 "$T/big/mapped")" mapped 'a mapping, killed: it is here'
done_is rwroot 0 '-rootfs DIR:rw'
ok '-rootfs DIR:rw: written through' test -f "$T/rwroot/bin/file-2"
done_is env 0 '-env-all'
text "$out" "ours 1 true$nl" '-env-all: ours, then -env'
done_is clean 0 'no -env-all'
text "$out" " /root$nl" 'no -env-all: a clean environment'
done_is user 0 '-user'
is "$(head -n 2 "$out" | tr '\n' ' ')" '1234 567 ' '-user: UID and GID'
like "$out" '^Groups:[[:space:]]*$' '-user: no other groups'
text "$err" "to$nl" '-user: may open its streams'
done_is name 0 '-user NAME'
text "$out" "nobody$nl" '-user NAME: it is'
done_is readonly 2 '-mount without rw'
like "$err" 'Read-only file system' '-mount without rw: is read-only'
done_is cwd 0 'the working directory'
is "$(tr '\n' ' ' <"$out")" "$here files.c written " \
    'the working directory: ours, in the layer'
ok 'the working directory: nothing written here' test ! -e "$here/written"
done_is hidden 0 'a program in /tmp'
text "$out" "from $T/own.sh$nl" 'a program in /tmp: runs'
done_is net 0 '-net user'
text "$out" "nameserver 10.42.0.3$nl" '-net user: its name server'
if [ -f "${KTEST_FULL:-}" ]; then
	done_is bare 0 'no overlayfs'
	like "$out" '^ktest0 / 9p ro' 'no overlayfs: the root is read-only'
	like "$out" '^written' 'no overlayfs: /tmp, /run, /var/tmp are not'
	like "$out" '^refused' 'no overlayfs: nothing else is'
fi
if [ -n "${as_nobody:-}" ]; then
	done_is nobody 0 'unprivileged'
	is "$(tr '\n' ' ' <"$out")" '0 refused made ' \
	    'unprivileged: root there, nobody here'
	is "$(cat "$T/shared/new")" x 'unprivileged: rw'
	# shellcheck disable=SC2012 # its owner
	is "$(ls -l "$T/shared/new" | awk '{ print $3 }')" nobody \
	    'unprivileged: it owns what it made'
else
	skip 'needs root, and files that all can read' 'unprivileged'
fi
finish
