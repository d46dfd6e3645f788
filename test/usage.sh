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

# fine OPTIONS...: a run that is to work
fine() { # WHAT OPTIONS...
	fine_what=$1
	shift
	rm -f "$T/log"/*
	run env KTEST_KERNEL="$FAKE_KERNEL" "$KTEST" -qemu "$FAKE" -init \
	    "$GUEST" -accel tcg "$@" -- "$GUEST" exit 0
	is "$status" 42 "works: $fine_what"
}

# refused NAME WHAT OPTIONS...: and the line has NAME in it
refused() {
	refused_name=$1
	refused_what=$2
	shift 2
	rm -f "$T/log"/*
	run env KTEST_KERNEL="$FAKE_KERNEL" "$KTEST" -qemu "$FAKE" -init \
	    "$GUEST" -accel tcg "$@"
	judge_refusal
}

judge_refusal() {
	refused_why=
	[ "$status" = 125 ] || refused_why="status $status; "
	[ ! -s "$out" ] || refused_why="$refused_why something on stdout; "
	[ "$(wc -l <"$err")" = 1 ] || refused_why="$refused_why not one line; "
	grep -q '^ktest: ' "$err" || refused_why="$refused_why no 'ktest: '; "
	[ "$(wc -c <"$err")" -lt 6000 ] || refused_why="$refused_why long; "
	grep -Fq -e "$refused_name" "$err" ||
	    refused_why="$refused_why does not name $refused_name; "
	[ "$(starts)" = 0 ] || refused_why="$refused_why QEMU was started; "
	[ -z "$(ls -A "$T/tmp")" ] || refused_why="$refused_why temporary files"
	is "$refused_why" '' "refused: $refused_what"
}

p="-- $GUEST exit 0"

# -- Help and version --
run "$KTEST" -h
is "$status" 0 '-h: status 0'
empty "$err" '-h: nothing on stderr'
options='kernel-path jobs tap initrd-path cmdline accel memory cpus timeout env cwd
	file modules module init bios qemu n v console acpi sandbox version h'
for o in $options; do
	like "$out" "^ +-$o( |\$)" "-h: has -$o"
done
like "$out" '124 .*time' '-h: the exit statuses'
ok '-h: lines of 80 columns' [ "$(awk 'length > 80' "$out" | wc -l)" = 0 ]
for o in --h -help --help; do
	run "$KTEST" $o
	is "$status" 0 "$o: as -h"
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
fine 'sizes' -memory 1g
fine 'sizes' -memory 128
for d in 1 90 1m 1m30s 1h 500ms 1.5s 1h2m3s; do
	fine "-timeout $d" -timeout "$d"
done
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
refused -nonsense 'an unknown option' -nonsense $p
refused --nonsense 'an unknown option with two dashes' --nonsense=1 $p
refused PROGRAM 'no program and no initrd'
refused PROGRAM 'an empty program' -- ''

# -- Every option that takes a value: missing, empty, too long --
for o in kernel-path initrd-path cmdline accel memory cpus timeout env cwd \
    file modules module init bios qemu acpi sandbox; do
	refused "-$o" "-$o without a value" "-$o"
done
for o in accel memory cpus timeout env cwd file modules module init bios \
    qemu acpi sandbox kernel-path; do
	refused "-$o" "-$o with an empty value" "-$o" '' $p
	refused "-$o" "-$o=" "-$o=" $p
done
for o in accel memory cpus timeout env cwd file modules module init bios \
    qemu acpi sandbox kernel-path initrd-path cmdline; do
	refused "-$o" "-$o with an over-long value" "-$o" "/$long" $p
done
for o in v n console; do
	refused "-$o" "-$o=nonsense" "-$o=nonsense" $p
done

# -- Numbers --
for v in x 1x -1 0 99999999999999999999 1,2 '1 ' ' 1' 0x10 1e3 +1 1.5 -; do
	refused -cpus "-cpus '$v'" -cpus "$v" $p
done
for v in x 1x M -1 -1G 0 0M 1 99999999999999999999 99999999T 1G,2 '1 G' ' 1G' \
    1GB 0x10M 1e3M +1G; do
	refused -memory "-memory '$v'" -memory "$v" $p
done
for v in x 1x s -1 -1s 99999999999999999999 9999999h 1,2 '1 s' ' 1' 1m30 \
    0x10 1e3 +1s .; do
	refused -timeout "-timeout '$v'" -timeout "$v" $p
done
for o in accel acpi sandbox; do
	for v in x AUTO 'kvm,x' -1 99999999999999999999 'on '; do
		refused "-$o" "-$o '$v'" "-$o" "$v" $p
	done
done

# -- Files that are not there, or not what they should be --
for v in "$T/none" "$T/a,b" "$T/tmp" -1 99999999999999999999; do
	refused "$v" "-kernel-path $v" -kernel-path "$v" $p
	refused "$v" "-initrd-path $v" -initrd-path "$v" $p
	refused "$v" "-init $v" -init "$v" $p
	refused "$v" "-modules $v" -modules "$v" $p
done
mkdir "$T/1.2.3"
: >"$T/1.2.3/modules.dep"
refused 'is for kernel 1.2.3' '-modules of another kernel' \
    -modules "$T/1.2.3" $p
for v in -cwd=/ -env=A=b "-file=$GUEST" -module=loop; do
	refused 'needs a PROGRAM' "$v without a program" \
	    -initrd-path "$GUEST" "$v"
done
for v in "$T/none" "$T/a,b" -1 "$T/none:/x" "$GUEST:x" "$GUEST:" ":/x" :; do
	refused -file "-file $v" -file "$v" $p
done
for v in "$T/none" "$T/a,b/c" "$T/tmp/"; do
	refused "$v" "-bios $v" -bios "$v" $p
done
for v in nosuchmodule 'a,b' '../../etc/passwd' -1 "x${nl}y"; do
	refused -module "-module $v" -module "$v" $p
done
for v in '=x' = '=a,b'; do
	refused -env "-env $v" -env "$v" $p
done
refused NOT_SET_ANYWHERE '-env of a variable that is not set' \
    -env NOT_SET_ANYWHERE $p
for v in relative ../x -1 a,b; do
	refused -cwd "-cwd $v" -cwd "$v" $p
done
run "$KTEST" -qemu "$T/none" -init "$GUEST" -kernel-path "$FAKE_KERNEL" \
    -accel tcg $p
refused_name="$T/none" refused_what='-qemu of none' && judge_refusal
run "$KTEST" -qemu "$T/tmp" -init "$GUEST" -kernel-path "$FAKE_KERNEL" \
    -accel tcg $p
refused_name="$T/tmp" refused_what='-qemu of a directory' && judge_refusal
run "$KTEST" -qemu "$FAKE_KERNEL" -init "$GUEST" -kernel-path \
    "$FAKE_KERNEL" -accel tcg $p
refused_name="$FAKE_KERNEL" refused_what='-qemu of a file that is no program' &&
    judge_refusal

# Too much for the kernel, for QEMU's arguments, for a list.
x1000=$(printf '%01000d' 0)
refused -cmdline 'a command line that is too long in parts' -cmdline "$x1000" \
    -cmdline "$x1000" -cmdline "$x1000" $p
set --
i=0
while [ $((i += 1)) -le 300 ]; do set -- "$@" -env "V$i=$i"; done
refused -env '300 variables' "$@" $p
set --
i=0
while [ $((i += 1)) -le 300 ]; do set -- "$@" -module virtio; done
refused -module '300 modules' "$@" $p

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
kernel() { # FILE REGEX
	refused "$T/$1" "a kernel that is: $1" -kernel-path "$T/$1" $p
	like "$err" "$2" "a kernel that is: $1, by name"
}
kernel tmp 'directory'
kernel short 'truncated'
kernel old 'old'
kernel nopvh 'PVH'
kernel arm64elf 'architecture'
kernel arm64 'arm64'
kernel gzip 'gzip'
kernel empty 'empty'
kernel stub '.'
kernel elfstub 'truncated'
kernel script 'script'
kernel zeros 'neither'
kernel fifo '.'
refused /dev/null 'a kernel that is a device' -kernel-path /dev/null $p
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
works_or_named() { # WHAT OPTIONS...
	odd_what=$1
	shift
	rm -f "$T/log"/*
	run env KTEST_KERNEL="$FAKE_KERNEL" "$KTEST" -qemu "$FAKE" -init \
	    "$GUEST" -accel tcg "$@"
	if [ "$status" = 42 ]; then
		pass "an odd name: $odd_what works"
	else
		refused_name=$odd_what
		refused_what="an odd name: $odd_what"
		judge_refusal
	fi
}
works_or_named -kernel-path -kernel-path "$odd/k/boot/vmlinuz-9.9.9-fake" $p
works_or_named -initrd-path -initrd-path "$odd/bios" $p
works_or_named -init -init "$odd/init" $p
works_or_named -bios -bios "$odd/bios" $p
works_or_named -qemu -qemu "$odd/qemu" $p
works_or_named -modules -modules "$odd/k/lib/modules/9.9.9-fake" $p
works_or_named -file -file "$odd/bios" -file "$odd:/opt/$nl,'" $p
works_or_named -cwd -cwd "$odd" $p
works_or_named -cmdline -cmdline "$odd" $p
works_or_named program -- "$odd/prog" exit 0
is "$status" 42 'an odd name: a program works'
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
refused_name="$T/bin/none" refused_what='no init' && judge_refusal
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
		refused_name=$T/zeros refused_what="unreadable -$o" &&
		    judge_refusal
	done
	for v in 0 x "$T/none" -1; do
		rm -f "$T/log"/*
		run $nobody "$T/bin/ktest" -qemu "$T/bin/fake" -kernel-path \
		    "$FAKE_KERNEL" -accel tcg -memory "$v" -- \
		    "$T/bin/guest" exit 0
		refused_name=-memory
		refused_what="without privileges: -memory $v"
		judge_refusal
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
