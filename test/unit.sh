#!/bin/sh
# unit.sh: ktest.c compiled every way it has to be, and the tests of unit.c.
#
# The results of unit.c itself are those of its build with sanitizers; each
# further build, and valgrind, is one result more.

. "$(dirname "$0")/tap.sh"
cd "$top" || exit 1
warn='-std=c99 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror'

have() {
	command -v "$1" >/dev/null 2>&1
}

# renumber FILE: the results in it, as ours
renumber() {
	awk -v n="$tap_n" '
	/^(not )?ok / { sub(/ok [0-9]*/, "ok " ++n) }
	!/^1\.\./ { print }' "$1"
	tap_n=$((tap_n + $(grep -c -E '^(not )?ok ' "$1")))
	tap_bad=$((tap_bad + $(grep -c '^not ok ' "$1")))
}

# whole FILE STATUS: the output of unit.c is all there, and it passed
whole() {
	[ "$2" = 0 ] && ! grep -q '^not ok ' "$1" &&
	    [ "$(tail -n 1 "$1")" = "1..$(grep -c '^ok ' "$1")" ]
}

# unit NAME COMMAND...: one result for a whole run
unit() {
	unit_what=$1
	shift
	"$@" >"$T/unit.out" 2>"$T/unit.err"
	if whole "$T/unit.out" $?; then
		pass "$unit_what: $(grep -c '^ok ' "$T/unit.out") checks"
		return
	fi
	fail "$unit_what"
	grep -A 3 '^not ok ' "$T/unit.out" | head -n 40 | sed 's/^/# /'
	show "$T/unit.err"
}

# compile COMPILER FLAGS...: unit.c as $T/COMPILER
compile() {
	cc_name=$1
	shift
	"$cc_name" "$@" test/unit.c -o "$T/$cc_name" 2>"$T/said"
}

# Some of gcc's warnings come as it optimizes; once is enough.
optimize() {
	[ "$1" != gcc ] || echo -O1
}

# ktest.c alone, as a program and as a library; lint.sh looks closer

for cc_name in gcc clang musl-gcc; do
	for define in '' -DKTEST_LIB; do
		cc_what="$cc_name compiles ktest.c${define:+ with $define}"
		if have "$cc_name"; then
			quiet "$cc_what" "$cc_name" $warn $define \
			    -fsyntax-only ktest.c
		else
			skip "no $cc_name" "$cc_what"
		fi
	done
done
if have tcc; then
	quiet 'tcc compiles ktest.c' tcc -Wall -c ktest.c -o "$T/ktest.o"
	quiet 'tcc compiles ktest.c with -DKTEST_LIB' tcc -Wall -DKTEST_LIB \
	    -c ktest.c -o "$T/ktest.o"
else
	skip 'no tcc' 'tcc compiles ktest.c'
fi

# Other hosts are refused in so many words.
"${CC:-cc}" -U__linux__ -E ktest.c >"$T/E" 2>"$T/said"
like "$T/said" 'error:.*ktest runs on Linux' \
    'another host than Linux: the reason is said'

# unit.c with sanitizers: its own results

sanitize='-g -fsanitize=address,undefined -fno-sanitize-recover=all'
if have clang && compile clang -std=c99 $sanitize; then
	sanitized=$T/clang
elif have gcc && compile gcc -std=c99 $sanitize; then
	sanitized=$T/gcc
else
	sanitized=
	skip 'no compiler with sanitizers' 'unit.c with sanitizers'
fi
if [ -n "$sanitized" ]; then
	"$sanitized" "$T/initramfs" >"$T/out" 2>"$T/err"
	code=$?
	renumber "$T/out"
	if ! whole "$T/out" "$code" && ! grep -q '^not ok ' "$T/out"; then
		fail "unit.c with sanitizers, status $code"
		tail -n 3 "$T/out" | sed 's/^/# /'
		tail -n 40 "$T/err" | sed 's/^/# /'
	fi
fi

# and as each compiler builds it

for cc_name in gcc clang musl-gcc; do
	if ! have "$cc_name"; then
		skip "no $cc_name" "unit.c with $cc_name"
	elif compile "$cc_name" $warn $(optimize "$cc_name"); then
		unit "unit.c with $cc_name" "$T/$cc_name" "$T/initramfs"
	else
		fail "unit.c with $cc_name"
		show "$T/said"
	fi
done
if ! have tcc; then
	skip 'no tcc' 'unit.c with tcc'
elif compile tcc -Wall; then
	unit 'unit.c with tcc' "$T/tcc"
else
	fail 'unit.c with tcc'
	show "$T/said"
fi

if have valgrind && compile "${CC:-cc}" -g -O1; then
	unit 'unit.c under valgrind' valgrind -q --error-exitcode=9 \
	    "$T/${CC:-cc}"
else
	skip 'no valgrind' 'unit.c under valgrind'
fi

# another reader of the archives

members='dev
dev/console
init
.ktest
.ktest/m.ko
.ktest/c-2.ko
.ktest/modules
.ktest/job'
if have cpio && [ -s "$T/initramfs" ]; then
	is "$(cpio -it <"$T/initramfs" 2>"$T/err")" "$members" \
	    'cpio -t lists the initramfs'
	mkdir "$T/unpacked"
	(cd "$T/unpacked" && cpio -id .ktest/job .ktest/c-2.ko \
	    <"$T/initramfs" 2>"$T/err")
	is "$(cat "$T/unpacked/.ktest/c-2.ko")" unpacked 'cpio unpacks it'
	is "$(cpio -it <"$T/unpacked/.ktest/job" 2>"$T/err" |
	    sed 's|.*/ktest-unit[^/]*/|~/|' | tr '\n' ' ')" \
	    'job root work/dir ~/prog,1 ~/interp ~/dir ~/dir/inner '"\
etc/other opt/dirlink opt/dirlink/inner " 'cpio -t lists the job'
else
	skip 'no cpio' 'cpio -t lists the initramfs'
fi
finish
