#!/bin/sh
# What options and the files that they name come to before a guest runs: what
# goes along, what is left here, and what ends a run that is still packing.
. "$(dirname "$0")/tap.sh"

need_ktest
fake_setup

# refuse REGEX OPTIONS...: 125, one line, and QEMU was not started
refuse() {
	refuse_what=$1
	shift
	fake 'hello;clock;go;x=0' "$@"
	is "$status $(starts)" '125 0' "refused: $*"
	like "$err" "^ktest: $refuse_what" "refused with a reason: $*"
	one_line "$err" "refused in one line: $*"
}

# -- Values that are options --
cd "$T" || exit 1
refuse '-snapshot: needs a value: FILE.auto.none; -snapshot=-- if that' \
    -snapshot -- "$GUEST"
ok 'no snapshot is named --' [ ! -e "$T/--" ]
refuse '-mount /proc: /proc is the guest.s own' -mount /proc -- "$GUEST"
refuse '-shell: is for one machine, not for 2' -kernel-path "$FAKE_KERNEL" \
    -shell

# -- -sandbox: asked for by name it is there, or the run ends --
FAKE_SANDBOX='say=qemu:qemu: -sandbox support is not enabled in this QEMU\n;exit=1'
export FAKE_SANDBOX
fake 'hello;clock;go;x=5' -sandbox on -- "$GUEST"
is "$status $(starts)" '125 1' '-sandbox on, QEMU has none'
like "$err" '^ktest: -sandbox on: this QEMU has none' '-sandbox on: says so'
one_line "$err" '-sandbox on: in one line'
FAKE_WARM="-snapshot $T/snapshot" fake 'hello;clock;go;x=5' -sandbox on -- \
    "$GUEST"
is "$status $(starts)" '125 1' '-sandbox on, with a snapshot'
one_line "$err" '-sandbox on, with a snapshot: one line'
fake 'hello;clock;go;x=5' -sandbox auto -v -- "$GUEST"
is "$status $(starts)" '5 2' '-sandbox auto: the second start is without'
like "$err" 'QEMU has no sandbox: trying without' '-sandbox auto: -v says so'
unset FAKE_SANDBOX

# -- fds: the caller's, none of our own --
# closed OPTIONS...: with no fds but 0, 1 and 2
closed() {
	fake 'hello;clock;go;x=0' -net user -port 80 -port 53/udp \
	    -port-file "$T/ports" "$@" -- "$GUEST"
}
real_ktest=$KTEST
printf '#!/bin/sh\nexec "%s" "$@" 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-\n' \
    "$KTEST" >"$T/closed"
chmod 755 "$T/closed"
KTEST=$T/closed
own=0
for fd in 3 4 5 6 7 8 9; do
	for o in "-netfd $fd" "-chardev x=$fd" "-tap -chardev x=$fd"; do
		# shellcheck disable=SC2086 # words
		closed $o
		is "$status $(starts)" '125 0' "$o: not the caller's"
		like "$err" "^ktest: -(netfd|chardev) (x=)?$fd: fd $fd(:$(:
		    ) Bad file descriptor| is ktest's own)" "$o: says so"
		own=$((own + $(grep -c "is ktest's own" "$err")))
	done
done
is "$own" 6 'two of them, three times: the signals'
KTEST=$real_ktest

# -- A tree of -file, on the 256 KiB of stack that a run may take --
# deep N: a directory with N directories in each other, a file in the last
deep() {
	deep_dir=$T/deep$1/$(printf "%0$(($1 - 1))d" 0 | sed 's|0|d/|g')
	mkdir -p "$deep_dir"
	echo bottom >"$deep_dir/file"
}

# small OPTIONS...: with little stack
small() {
	fake 'hello;clock;go;x=0' -file "$@" -- "$GUEST"
}
printf '#!/bin/sh\nulimit -s 256\nexec "%s" "$@"\n' "$KTEST" >"$T/small"
chmod 755 "$T/small"
KTEST=$T/small
for n in 25 150 200; do
	deep $n
	small "$T/deep$n:/d"
	is "$status $(starts)" '0 1' "$n directories in each other"
done
for n in 201 1000; do
	deep $n
	small "$T/deep$n:/d"
	is "$status $(starts)" '125 0' "$n directories: refused"
	like "$err" '^ktest: -file /.*/d: is too deep .limit 200 ' \
	    "$n directories: named"
	one_line "$err" "$n directories: in one line"
done
KTEST=$real_ktest
mkdir -p "$T/many/a/b" "$T/many/c"
i=0
while [ $((i += 1)) -le 300 ]; do : >"$T/many/a/b/$i"; : >"$T/many/c/$i"; done
small "$T/many" -v
like "$err" 'job: |initramfs: ' 'a wide tree is packed'
long=$(printf '%0250d' 0)
guest=
i=0
while [ $((i += 1)) -le 16 ]; do guest=$guest/$long; done
: >"$T/many/c/$long"
small "many:$guest"
like "$err" '^ktest: -file /.*: its path in the guest is too long .limit 4095' \
    'a path that is too long only there'

finish
