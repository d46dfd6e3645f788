#!/bin/sh
# The command line: what is refused is refused with one line that names it
# and status 125, before anything was started; odd names work.
. "$(dirname "$0")/tap.sh"

need_ktest
fake_setup
build guest-dyn guest.c
FAKE_DO='hello;clock;go;say=stdout:ran\n;x=42'
export FAKE_DO
long=$(printf '%05000d' 0)

# works WHAT OPTIONS... -- PROGRAM...: a run that is to work
works() {
	works_what=$1
	shift
	rm -f "$T/log"/*
	run env KTEST_KERNEL="$FAKE_KERNEL" "$KTEST" -qemu "$FAKE" -init \
	    "$GUEST" -accel tcg "$@"
	is "$status" 42 "works: $works_what"
}

# fine WHAT OPTIONS...: with them
fine() {
	works "$@" -- "$GUEST" exit 0
}

# refused TEXT WHAT OPTIONS...: the line has TEXT in it: what, and why
refused() {
	refused_text=$1
	refused_what=$2
	shift 2
	rm -f "$T/log"/*
	run env KTEST_KERNEL="$FAKE_KERNEL" "$KTEST" -qemu "$FAKE" -init \
	    "$GUEST" -accel tcg "$@"
	judge_refusal "$refused_text" "$refused_what"
}

# judge_refusal TEXT WHAT: the last run was refused
judge_refusal() {
	refused_why=
	[ "$status" = 125 ] || refused_why="status $status; "
	[ ! -s "$out" ] || refused_why="$refused_why something on stdout; "
	[ "$(wc -l <"$err")" = 1 ] || refused_why="$refused_why not one line; "
	grep -q '^ktest: ' "$err" || refused_why="$refused_why no 'ktest: '; "
	[ "$(wc -c <"$err")" -lt 6000 ] || refused_why="$refused_why long; "
	grep -Fq -e "$1" "$err" ||
	    refused_why="$refused_why does not say '$1'; "
	[ "$(starts)" = 0 ] || refused_why="$refused_why QEMU was started; "
	[ -z "$(ls -A "$T/tmp")" ] || refused_why="$refused_why temporary files"
	is "$refused_why" '' "refused: $2"
}

p="-- $GUEST exit 0"

# -- Help and version --
build options options.c
OPTIONS=$built
run "$KTEST" -h
is "$status" 0 '-h: status 0'
empty "$err" '-h: nothing on stderr'
"$OPTIONS" >"$T/options"
ok '-h: there are options' [ "$(wc -l <"$T/options")" -gt 40 ]
is "$(sed -n 's/^  -\([a-z-]*\) .*/\1/p' "$out" | tr '\n' ' ')" \
    "$(sed 's/ .*//' "$T/options" | tr '\n' ' ')" '-h: each, in order'
for n in '0..255 ' '123  .*kernel' '124  .*time' '125  .*line' '126  .*not be exec' \
    '127  .*not found'; do
	like "$out" "^  $n" "-h: the exit status ${n%% *}"
done
ok '-h: lines of 80 columns' [ "$(awk 'length > 80' "$out" | wc -l)" = 0 ]
cp "$out" "$T/help"
for o in --h -help --help; do
	run "$KTEST" $o
	is "$status" 0 "$o: status 0"
	same "$out" "$T/help" "$o: as -h"
done
for o in -version --version; do
	run "$KTEST" $o
	is "$status $(wc -l <"$out")" '0 1' "$o: a line on stdout"
done
run "$KTEST"
is "$status" 125 'no arguments: status 125'
one_line "$err" 'no arguments: one line'

# -- The syntax of Go's package flag --
fine 'nothing more'
fine '-name=value' -memory=512M -cpus=2 -timeout=1m30s
fine '--name value' --memory 512M --cpus 2 --timeout 90
fine '--name=value' --memory=512M
fine 'a flag with a value' -v=false -console=0
is "$(wc -c <"$err")" 0 'a flag that is false'
fine 'an empty -cmdline' -cmdline ''
run "$KTEST" -qemu "$FAKE" -init "$GUEST" -kernel-path "$FAKE_KERNEL" \
    -accel tcg "$GUEST" -memory nonsense --
is "$status" 42 'options end at the first word that is none'
run "$KTEST" -qemu "$FAKE" -init "$GUEST" -kernel-path "$FAKE_KERNEL" \
    -accel tcg -- "$GUEST" -h
is "$status" 42 'options end at --'
run env KTEST_QEMU="$FAKE" KTEST_KERNEL="$FAKE_KERNEL" "$KTEST" -init \
    "$GUEST" -accel tcg -- "$GUEST"
is "$status" 42 'KTEST_QEMU and KTEST_KERNEL'
refused '-nonsense: no such option' 'an unknown option' -nonsense $p
refused '--nonsense=1: no such option' 'an unknown option with two dashes' \
    --nonsense=1 $p
refused 'PROGRAM is missing' 'no program and no initrd'
refused 'PROGRAM: the name is empty' 'an empty program' -- ''

# -- Bad values: one option of each kind; unit.c has all of them --
first() { # KIND: $o is the first option of that kind
	o=$("$OPTIONS" "$1") || o=
	ok "there is an option that takes a $1" [ -n "$o" ]
}
for kind in string list choice size count duration; do
	first $kind
	refused "-$o: needs a value" "a $kind: missing" "-$o"
	refused "-$o: the value is empty" "a $kind: empty" "-$o" '' $p
	refused "-$o: the value is empty" "a $kind: -$o=" "-$o=" $p
done
first string
refused "-$o /0000" "a string: too long" "-$o" "/$long" $p
refused 'is too long (limit' "a string: too long, why" "-$o" "/$long" $p
first choice
refused "-$o x,y: is not one of " 'a choice: none of it' "-$o" x,y $p
first size
refused "-$o 1 G: is not a size" 'a size: none' "-$o" '1 G' $p
refused "-$o 0: is not between " 'a size: out of bounds' "-$o" 0 $p
first count
refused "-$o 1e3: is not a number" 'a count: none' "-$o" 1e3 $p
refused "-$o 0: is not between " 'a count: out of bounds' "-$o" 0 $p
first duration
refused "-$o 1m30: is not a duration" 'a duration: none' "-$o" 1m30 $p
first flag
refused "-$o=x: is not true or false" 'a flag: none' "-$o=x" $p

# -- Files that are not there, or not what they should be --
for v in "$T/none" "$T/a,b"; do
	for o in kernel-path initrd-path init file; do
		refused "-$o $v: No such file" "-$o $v" "-$o" "$v" $p
	done
	refused "-modules $v: no modules for kernel" "-modules $v" \
	    -modules "$v" $p
	refused "-bios $v: is not a readable file" "-bios $v" -bios "$v" $p
done
for o in kernel-path init; do
	refused "-$o $T/tmp: is a directory" "-$o of a directory" "-$o" \
	    "$T/tmp" $p
done
refused "$T/tmp: Is a directory" '-initrd-path of a directory' \
    -initrd-path "$T/tmp" $p
refused "-modules $T/tmp: no modules" '-modules of a directory without' \
    -modules "$T/tmp" $p
refused "-bios $T/tmp/: is not a readable file" '-bios of a directory' \
    -bios "$T/tmp/" $p
mkdir "$T/1.2.3"
: >"$T/1.2.3/modules.dep"
refused 'is for kernel 1.2.3' '-modules of another kernel' \
    -modules "$T/1.2.3" $p
for v in -cwd=/ -env=A=b "-file=$GUEST" -module=loop; do
	refused "${v%%=*}: needs a PROGRAM" "${v%%=*} without a program" \
	    -initrd-path /dev/null "$v"
done
for v in "$T/none:/x" :/x; do
	refused "-file $v: No such file" "-file $v" -file "$v" $p
done
for v in "$GUEST:x" "$GUEST:" :; do
	refused "-file $v (GUEST has to be absolute)" "-file $v" -file "$v" $p
done
refused "-initrd-path $GUEST: is no initramfs, neither cpio nor packed" \
    'an initrd that is a program' -initrd-path "$GUEST" $p
for v in ../../no/such.ko such.ko /no/such; do
	refused "-module $v: No such file" "-module $v" -module "$v" $p
done
for v in nosuchmodule 'a,b'; do
	refused "-module $v: is not in " "-module $v" -module "$v" $p
done
refused '-module x^Jy: has a tab or a newline' '-module of two lines' \
    -module "x${nl}y" $p
for v in '=x' '=a,b'; do
	refused "-env $v: has no name" "-env $v" -env "$v" $p
done
refused '-env NOT_SET_ANYWHERE: is not set' '-env of what is not set' \
    -env NOT_SET_ANYWHERE $p
for v in relative ../x a,b; do
	refused "-cwd $v: No such file" "-cwd $v" -cwd "$v" $p
done
for v in "$T/none" "$T/tmp" "$FAKE_KERNEL"; do # no file, no program
	run "$KTEST" -qemu "$v" -init "$GUEST" -kernel-path "$FAKE_KERNEL" \
	    -accel tcg $p
	judge_refusal "-qemu $v: cannot be executed" "-qemu ${v##*/}"
done

# Too much for the kernel, for QEMU's arguments, for a list.
x1000=$(printf '%01000d' 0)
refused 'the kernel command line is too long' 'a command line that is too long in parts' -cmdline "$x1000" \
    -cmdline "$x1000" -cmdline "$x1000" $p
set --
i=0
while [ $((i += 1)) -le 300 ]; do set -- "$@" -env "V$i=$i"; done
refused '-env V257=257: is one too many' '300 variables' "$@" $p
set --
i=0
while [ $((i += 1)) -le 300 ]; do set -- "$@" -module virtio; done
refused '-module virtio: is one too many' '300 modules' "$@" $p

# -- Kernels that are none --
for kind in short old nopvh arm64elf arm64 gzip; do
	"$mkkernel" $kind 9.9.9-fake >"$T/$kind"
done
: >"$T/empty"
head -c 300 "$FAKE_KERNEL" >"$T/stub"
head -c 40 "$T/nopvh" >"$T/elfstub"
printf '#!/bin/sh\n' >"$T/script"
head -c 4096 /dev/zero >"$T/zeros"
mkfifo "$T/fifo"
kernel() { # FILE REASON
	refused "-kernel-path $T/$1: $2" "a kernel that is: $1" -kernel-path \
	    "$T/$1" $p
}
kernel short 'is truncated: '
kernel old 'is too old a kernel'
kernel nopvh 'is an ELF file without a PVH note'
kernel arm64elf 'is a vmlinux for aarch64, which QEMU does not start (take'
kernel arm64 'is truncated, or no kernel of Linux'
kernel gzip 'cannot be unpacked with gzip'
kernel empty 'is empty'
kernel stub 'is an EFI program without a Linux header'
kernel elfstub 'is a truncated ELF file'
kernel script 'is a script'
kernel zeros 'is neither a bzImage nor an Image nor an ELF vmlinux'
kernel fifo 'is a device, not a file'
refused '-kernel-path /dev/null: is a device' 'a kernel that is a device' \
    -kernel-path /dev/null $p
"$mkkernel" pvh 9.9.9-fake >"$T/k/boot/vmlinux"
fine 'an ELF kernel with a PVH note' -kernel-path "$T/k/boot/vmlinux"

# -- Odd names --
odd="$T/a b,c,,d'e\"f
g-ä=\$x\\y"
mkdir -p "$odd/k/boot" "$odd/k/lib"
cp -r "$T/k/lib/modules" "$odd/k/lib"
cp "$FAKE_KERNEL" "$odd/k/boot/vmlinuz-9.9.9-fake"
cp "$GUEST" "$odd/init"
cp "$GUEST" "$odd/prog"
cp "$FAKE" "$odd/qemu"
: >"$odd/bios"
for o in "kernel-path $odd/k/boot/vmlinuz-9.9.9-fake" \
    "initrd-path $odd/bios" "init $odd/init" "bios $odd/bios" \
    "qemu $odd/qemu" "modules $odd/k/lib/modules/9.9.9-fake" \
    "cwd $odd" "cmdline $odd" "file $odd:/opt/$nl,'"; do
	fine "an odd name: -${o%% *}" "-${o%% *}" "${o#* }"
done
works 'an odd name: PROGRAM' -- "$odd/prog" exit 0
rm -f "$T/log"/*
run "$KTEST" -qemu "$FAKE" -kernel-path "$odd/k/boot/vmlinuz-9.9.9-fake" \
    -initrd-path "$odd/bios" -accel tcg -timeout 1 -bios "$odd/bios"
tr '\0' '\1' <"$T/log/start.1.argv" >"$T/argv"
printf '%s\1' -kernel "$odd/k/boot/vmlinuz-9.9.9-fake" >"$T/argv.want"
ok 'an odd name: QEMU gets the kernel as it is' \
    [ "$(tr '\12' '\2' <"$T/argv" | grep -cFe "$(tr '\12' '\2' <"$T/argv.want")")" = 1 ]

# -- ktest through PATH, a symlink, from a read-only directory --
mkdir "$T/bin" "$T/bin2" "$T/readonly" "$T/libexec"
cp "$KTEST" "$T/bin/ktest"
cp "$GUEST" "$T/bin/init"
ln -s ../bin/ktest "$T/bin2/kt"
chmod 555 "$T/readonly"
run env PATH="$T/bin:$PATH" ktest -qemu "$FAKE" -kernel-path "$FAKE_KERNEL" \
    -accel tcg $p
is "$status" 42 'started through PATH: finds its init'
run "$T/bin2/kt" -qemu "$FAKE" -kernel-path "$FAKE_KERNEL" -accel tcg $p
is "$status" 42 'started through a symlink: finds its init'
mv "$T/bin/init" "$T/bin/init.away"
rm -f "$T/log"/*
run "$T/bin/ktest" -qemu "$FAKE" -kernel-path "$FAKE_KERNEL" -accel tcg \
    -init "$T/bin/none" $p
judge_refusal "-init $T/bin/none: No such file" 'no init'
mv "$T/bin/init.away" "$T/bin/init"

# -- As a user without privileges, from a directory that is read-only --
if [ "$(id -u)" = 0 ]; then
	as_nobody() {
		setpriv --reuid 65534 --regid 65534 --clear-groups -- "$@"
	}
	nobody='setpriv --reuid 65534 --regid 65534 --clear-groups --'
else
	as_nobody() {
		"$@"
	}
	nobody=
fi
cp "$GUEST" "$T/bin/guest"
cp "$FAKE" "$T/bin/fake"
chmod 777 "$T/log" "$T/tmp"
if as_nobody test -x "$T/bin/ktest"; then
	for accel in tcg auto; do
		rm -f "$T/log"/*
		# shellcheck disable=SC2016
		run sh -c 'cd "$1" && shift && exec "$@"' sh "$T/readonly" \
		    $nobody "$T/bin/ktest" -qemu "$T/bin/fake" -kernel-path \
		    "$FAKE_KERNEL" -accel $accel -- "$T/bin/guest" exit 0
		is "$status $(cat "$out")" '42 ran' \
		    "without privileges, read-only directory: -accel $accel"
		ok "... at most one line: $(cat "$err")" \
		    [ "$(wc -l <"$err")" -le 1 ]
	done
	chmod 000 "$T/zeros"
	for o in kernel-path initrd-path init file; do
		rm -f "$T/log"/*
		run env KTEST_KERNEL="$FAKE_KERNEL" $nobody "$T/bin/ktest" \
		    -qemu "$T/bin/fake" -accel tcg "-$o" "$T/zeros" -- \
		    "$T/bin/guest" exit 0
		judge_refusal "-$o $T/zeros: Permission denied" \
		    "unreadable -$o"
	done
	if [ -f "${KTEST_CLOUD:-}" ] && [ -f "${KTEST%/*}/init" ] &&
	    as_nobody test -r "$KTEST_CLOUD"; then
		cp "${KTEST%/*}/init" "$T/bin/init.real"
		# shellcheck disable=SC2016
		run sh -c 'cd "$1" && shift && exec "$@"' sh "$T/readonly" \
		    $nobody "$T/bin/ktest" -init "$T/bin/init.real" \
		    -kernel-path "$KTEST_CLOUD" -accel tcg -- \
		    "$T/bin/guest" say hello 43
		is "$status $(cat "$out")" '43 hello' \
		    'without privileges: a real guest'
	else
		skip 'no KTEST_CLOUD that everyone may read' \
		    'without privileges: a real guest'
	fi
else
	skip "$T is not reachable for others" 'without privileges'
fi
chmod 755 "$T/readonly"
is "$(ls -A "$T/tmp")" '' 'no temporary file is left'
finish
