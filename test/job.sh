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
refuse '-shell: is for one machine, not for several' -kernel-path "$FAKE_KERNEL" \
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
# stderr is a pipe, of which a run has a description of its own
printf '#!/bin/sh\n{ "%s" "$@" 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-
	echo $? >"%s/code"; } 2>&1 >/dev/null | cat >&2\nexit "$(cat "%s/code")"' \
    "$KTEST" "$T" "$T" >"$T/closed"
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
ok "the pipe of signals, and stderr anew: $own times" [ "$own" -ge 8 ]
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
script=/bin/sh
for n in 1 2 3 4; do
	echo "#!$script" >"$T/script$n"
	chmod 755 "$T/script$n"
	script=$T/script$n
done
fake 'hello;clock;go;x=0' -v -file "$script:/bin/script" -- "$script"
is "$status $(starts)" '0 1' 'four scripts that lead to each other'
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

# -- Interpreters: what a program names is not run here unless we know it --
cat >"$T/x.c" <<'end'
int main(void)
{
	return 0;
}
end
cat >"$T/audit.c" <<'end'
#include <fcntl.h>

unsigned la_version(unsigned version)
{
	(void)open(WAS_RUN, O_CREAT | O_WRONLY, 0644);
	return version;
}
end
printf '#!/bin/sh\n: >"%s/was-run"\nsleep 20\n' "$T" >"$T/ld-linux-x86-64.so.2"
chmod 755 "$T/ld-linux-x86-64.so.2"

# compile NAME FLAGS...: x.c as $T/NAME
compile() {
	compile_name=$1
	shift
	"${CC:-cc}" -o "$T/$compile_name" "$T/x.c" "$@"
}

# left_alone NAME WHAT REGEX: nothing of it is run here, and one line says so
left_alone() {
	fake 'hello;clock;go;x=0' -- "$T/$1"
	is "$status $(starts)" '0 1' "$2: goes along"
	ok "$2: is not run here" [ ! -e "$T/was-run" ]
	like "$err" "^ktest: /.*/$1: its libraries are not looked for $(:
	    )\(-file brings them\): $3" "$2: said"
	one_line "$err" "$2: said once"
}

# A loader as the host has it, whose name says what it is, and its libc
compile plain
loader=$("${READELF:-readelf}" -l "$T/plain" |
    sed -n 's/.*program interpreter: \(.*\)]/\1/p')
fake 'hello;clock;go;x=0' -v -- "$T/plain"
is "$status" 0 "$loader: is known"
unlike "$err" 'not looked for' "$loader: lists its libraries"
ln -s "$loader" "$T/some-loader"
compile linked "-Wl,--dynamic-linker=$T/some-loader"
fake 'hello;clock;go;x=0' -v -- "$T/linked"
is "$status" 0 'a link to a loader: is known'
unlike "$err" 'not looked for' 'a link to a loader: lists its libraries'
compile odd "-Wl,--dynamic-linker=$T/ld-linux-x86-64.so.2"
left_alone odd 'a loader of somebody else' \
    '/.*/ld-linux-x86-64.so.2 is not a dynamic loader that ktest knows'
ln -s /bin/true "$T/ld-musl-x.so.1"
compile true "-Wl,--dynamic-linker=$T/ld-musl-x.so.1"
left_alone true 'a program called a loader' '/.*/ld-musl-x.so.1 is not a dyn'
cc_audit() { # NAME FLAG
	compile "$1" "-Wl,$2,$T/audit.so" 2>"$T/cc.err"
}
if "${CC:-cc}" -shared -fPIC "-DWAS_RUN=\"$T/was-run\"" -o "$T/audit.so" \
    "$T/audit.c" && cc_audit audit --audit && cc_audit depaudit --depaudit
then
	left_alone audit 'a program with DT_AUDIT' 'it asks for others that audit'
	left_alone depaudit 'a program with DT_DEPAUDIT' 'it asks for others that'
else
	skip 'a linker without --audit' 'audit libraries'
fi
if command -v musl-gcc >/dev/null; then
	CC=musl-gcc compile musl
	fake 'hello;clock;go;x=0' -v -- "$T/musl"
	is "$status" 0 "musl's loader: is known"
	unlike "$err" 'not looked for' "musl's loader: lists its libraries"
else
	skip 'no musl-gcc' "musl's loader"
fi

# Signals while a loader lists libraries, which takes long in many directories
# shellcheck disable=SC2016
printf '#!/bin/sh\n"%s" "$@" &\nfor i in %s; do kill -WINCH $! 2>&-; sleep 0.005
done; wait $!\n' "$KTEST" "$(echo 1 2 3 4 5 6 7 8 9 | sed 'p;p;p;p;p' |
    tr '\n' ' ')" >"$T/storm"
chmod 755 "$T/storm"
paths=$(awk 'BEGIN { while (i++ < 4000) printf "/nonexistent/%d:", i }')
KTEST=$T/storm fake 'hello;clock;go;x=3' -env "LD_LIBRARY_PATH=$paths" -- \
    "$T/plain"
is "$status $(starts)" '3 1' 'SIGWINCH while libraries are listed: no harm'
empty "$err" 'SIGWINCH while libraries are listed: no word'

# -- What is read takes no longer than the run, and is read once --
mkfifo "$T/fifo"
echo user >"$T/user"
fake 'hello;clock;go;x=0' -initrd-path "$T/fifo" -timeout 500ms -- "$GUEST"
is "$status $(starts)" '124 0' '-initrd-path of a FIFO: -timeout'
like "$err" '^ktest: timeout after 0.5 s: ' '-timeout: is named'
one_line "$err" '-timeout: in one line'
# shellcheck disable=SC2016
printf '#!/bin/sh\n"%s" "$@" &\nuntil grep -q "modules: " "%s/jobs/run.err"
do sleep 0.05; done; kill -TERM $!; wait $!\n' "$KTEST" "$T" >"$T/killed"
chmod 755 "$T/killed"
KTEST=$T/killed fake 'hello;clock;go;x=0' -initrd-path "$T/fifo" -v -- "$GUEST"
is "$status $(starts)" '143 0' '-initrd-path of a FIFO: SIGTERM'

# A second attempt has what the first has read; one writer.
FAKE_ACPI_OFF='hello;clock;go;x=7'
export FAKE_ACPI_OFF
{
	printf 070701
	for n in 1 2 3 4 5 6 7 8 9; do head -c 99999 "$KTEST"; done
} >"$T/large"
fake 'exit=0' -initrd-path "$T/large" -v -- "$GUEST"
size=$(sed -n 's/.*initramfs: \([0-9]*\) bytes/\1/p' "$err" | sort -u)
cat "$T/large" >"$T/fifo" &
fake 'exit=0' -initrd-path "$T/fifo" -timeout 1m -v -- "$GUEST"
wait $!
is "$status $(starts)" '7 2' '-initrd-path of a FIFO: two attempts'
is "$(sed -n 's/.*initramfs: \([0-9]*\) bytes/\1/p' "$err" | tr '\n' ' ')" \
    "$size $size " '-initrd-path of a FIFO: all of it, twice'
# shellcheck disable=SC2016
printf '#!/bin/sh\ncat "%s" | { "%s" "$@" 3<&0 </dev/null; }\n' "$T/large" \
    "$KTEST" >"$T/piped"
chmod 755 "$T/piped"
KTEST=$T/piped fake 'exit=0' -initrd-path /dev/fd/3 -timeout 1m -v -- "$GUEST"
is "$status $(starts)" '7 2' '-initrd-path of a pipe: two attempts'
is "$(sed -n 's/.*initramfs: \([0-9]*\) bytes/\1/p' "$err" | tr '\n' ' ')" \
    "$size $size " '-initrd-path of a pipe: all of it, twice'
unset FAKE_ACPI_OFF

# -- Memory: what does not fit is found while it is packed --
head -c 200000000 /dev/zero >"$T/big"
fake 'hello;clock;go;x=0' -memory 32M -file "$T/user" -file "$T/big" -file \
    "$T/many" -- "$GUEST"
is "$status $(starts)" '125 0' '-memory: too little'
like "$err" "^ktest: -memory 32M: is too little for an initramfs that has $(:
    )10M with -file /.*/big and needs three" '-memory: -file is named, early'
one_line "$err" '-memory: in one line'

finish
