#!/bin/sh
# lint.sh: the sources under several compilers and checkers, as TAP.
# KTEST_LINT=all (`make lint`) also has what takes minutes for ktest.c: clang's
# analyzer, and gcc's optimizer for each program that it is a part of.

. "${0%/*}/tap.sh"

sources='ktest.c init.c bios/bios.c'
flags='-std=c99 -O2 -Wall -Wextra -Wpedantic -Wshadow -Wconversion'

# What every line of this house would trip over, or -Wconversion says better
tidy="-*,clang-analyzer-*,bugprone-*\
,-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling\
,-clang-analyzer-deadcode.DeadStores\
,-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier\
,-bugprone-implicit-widening-of-multiplication-result\
,-bugprone-misplaced-widening-cast,-bugprone-narrowing-conversions\
,-bugprone-signed-char-misuse"

all=
[ "${KTEST_LINT:-}" != all ] || all=all

# How a source is compiled, besides the warnings
way() {
	case $1 in
	init.c) echo "$(init_flags)" ;;
	bios/*) echo "-m32 -ffreestanding -fno-pie -Wno-pedantic" ;;
	# These go beyond C99 or include what does, or are for 32 bits.
	test/bios-fuzz.c) echo "-std=gnu11 -Wno-pedantic -Wno-shadow" ;;
	test/bios-guest.c) echo "-m32 -ffreestanding" ;;
	esac
}

# The Makefile's, as one line and without what only the linker wants
init_flags() {
	make -s -f - flags <<-'end' | sed 's/-Wl,[^ ]*//g; s/ -s / /'
		include Makefile
		flags: ; @echo '$(INIT_CFLAGS)'
	end
}

tidy() {
	tidy_checks=$tidy
	[ -n "$all" ] || [ "$1" != ktest.c ] ||
		tidy_checks="$tidy,-clang-analyzer-*"
	clang-tidy --quiet -checks="$tidy_checks" "$1" -- -std=c99 $(way "$1") \
	    >"$T/tidy" 2>&1
	tidy_status=$?
	grep -E ': (warning|error): ' "$T/tidy"
	return "$tidy_status"
}

# -- How large what may be, and which rooms there are --
columns=84		# of a line; 80 as a rule
function_lines=50	# of a function;
rule_lines=40		# this as a rule, one in twenty may have more;
median_lines=16		# half of them have no more
room_lines=900
banners='3 8'		# lines: purpose, input, output
ktest_lines=12253	# of what is planned; 8,000 is the aim
init_lines=3414
init_bytes=20480	# of each architecture
bios_lines=900		# one room
ktest_rooms='0._Interface 1._Constants 2._Types 3._Utilities
	4._Options 5._Kernel 6._Modules 7._Disks 8._Describe 9._Claim
	10._Initramfs 11._QEMU_argv 12._Snapshot 13._Spawn 14._Health
	15._Explain 16._Monitor 17._Supervise 18._Verdict 19._Suite
	20._Main'
# and some more between them
init_rooms='... Protocol Architecture Strings Sys Reports Mounts Modules Ports
	Job Program Relay Health Verdict Entry'

# faults FILE LIMIT...: what style.awk says of it, with these
faults() {
	faults_file=$1
	shift
	for faults_limit; do
		set -- "$@" -v "$faults_limit"
		shift
	done
	awk "$@" -f "$here/style.awk" "$faults_file"
}

# measure FILE LINES MARK [ROOMS]: all of it
measure() {
	quiet "$1: lines of at most $columns columns" faults "$1" \
	    columns=$columns
	quiet "$1: functions of at most $function_lines lines" faults "$1" \
	    function_lines=$function_lines
	quiet "$1: of $rule_lines lines as a rule, half of at most"\
" $median_lines" faults "$1" rule_lines=$rule_lines median_lines=$median_lines
	quiet "$1: rooms of at most $room_lines lines" faults "$1" "mark=$3" \
	    room_lines=$room_lines
	quiet "$1: banners of $(echo "$banners" | sed 's/ / to /') lines" \
	    faults "$1" "mark=$3" "banners=$banners"
	quiet "$1: at most $2 lines" faults "$1" file_lines="$2"
	[ -z "${4:-}" ] || quiet "$1: its rooms, in order" faults "$1" \
	    "mark=$3" "rooms=$(echo $4)"
}

# A sample of a source is printed by these.
fn() { # LINES [NAME]: a function
	printf '\nstatic int %s(int a,\n\t\tint b)\n{\n' "${2:-fn}"
	awk -v n=$(($1 - 4)) 'BEGIN { while (n-- > 0) print "\ta += b;" }'
	echo '}'
}

fns() { # COUNT LINES
	fns_n=$1
	while [ $((fns_n -= 1)) -ge 0 ]; do fn "$2"; done
}

banner() { # TITLE [LINES]
	printf '/* ==== %s ====\n' "$1"
	awk -v n=$((${2:-3} - 2)) 'BEGIN { while (n-- > 0) print " * text" }'
	echo ' */'
}

blank() { # LINES
	awk -v n="$1" 'BEGIN { while (n-- > 0) print "" }'
}

# sample LIMIT WANTED COMMAND: what is said of the source that it prints: the
# fault, or nothing
sample() {
	eval "$3" >"$T/sample.c"
	is "$(faults "$T/sample.c" mark==== "$1" | sed "s|$T/||")" "$2" \
	    "a sample, ${1%%=*}: $3"
}

test_samples() {
	long=$(printf %083d 0)
	sample columns=84 '' 'echo "${long}0"; printf "\t%076d\n" 0'
	sample columns=84 'sample.c:1: has 85 columns, not at most 84' \
	    'echo "${long}00"'
	sample columns=84 'sample.c:2: has 85 columns, not at most 84' \
	    'echo; printf "x\t%077d\n" 0'
	sample function_lines=50 '' 'fns 3 50'
	sample function_lines=50 \
	    'sample.c:3: static int fn(int a, has 51 lines, not at most 50' \
	    'echo; fn 51; fn 50'
	sample function_lines=50 '' \
	    'echo "static int a[] = {"; blank 60; echo "};"'
	sample rule_lines=40 '' 'fns 40 20; fns 2 41'
	sample rule_lines=40 \
	    "sample.c:946: 3 of 42 functions have more than 40 lines, $(:
	    )not one in twenty" 'fns 39 20; fns 3 41; echo'
	sample median_lines=16 '' 'fns 3 16; fns 3 17'
	sample median_lines=16 \
	    'sample.c:88: half of the functions have more than 16 lines' \
	    'fns 2 16; fns 3 17'
	sample room_lines=900 '' 'banner a; blank 897; banner b; blank 897'
	sample room_lines=900 \
	    'sample.c:1: room "a" has 901 lines, not at most 900' \
	    'banner a; blank 898; banner b; blank 897'
	sample room_lines=900 \
	    'sample.c:901: room "b" has 901 lines, not at most 900' \
	    'banner a; blank 897; banner b; blank 898'
	sample 'banners=3 8' '' 'banner a 3; banner b 8'
	sample 'banners=3 8' \
	    'sample.c:4: the banner of "b" has 2 lines, not 3 to 8' \
	    'banner a 3; banner b 2'
	sample 'banners=3 8' \
	    'sample.c:1: the banner of "a" has 1 lines, not 3 to 8' \
	    'echo "/* ==== a ==== */"'
	sample 'banners=3 8' \
	    'sample.c:1: the banner of "a" has 9 lines, not 3 to 8' \
	    'banner a 9; banner b'
	sample 'banners=3 8' \
	    'sample.c:1: the banner of "a" has 9 lines, not 3 to 8' \
	    'echo "/* ===="; echo " * a"; blank 6; echo " */"'
	sample file_lines=8000 '' 'blank 8000'
	sample file_lines=8000 \
	    'sample.c:8001: has 8001 lines, not at most 8000' 'blank 8001'
	sample 'rooms=1._A 2._B_c' '' 'banner "1. a"; banner "2. B c, d"'
	sample 'rooms=1._A 2._B' 'sample.c:3: there is no room "1._A"' \
	    'banner "2. B"'
	sample 'rooms=1._A 2._B' \
	    'sample.c:3: there is no room "2._B" behind "1. A"' 'banner "1. A"'
	sample 'rooms=1._A 2._B' \
	    'sample.c:4: no room has the name "3. C", or not here' \
	    'banner "1. A"; banner "3. C"; banner "2. B"'
	sample 'rooms=1._A 2._B' \
	    'sample.c:7: no room has the name "3. C", or not here' \
	    'banner "1. A"; banner "2. B"; banner "3. C"'
	sample 'rooms=1._A 2._B 3._C' \
	    'sample.c:9: there is no room "2._B" behind "1. A"' \
	    'banner "1. A"; banner "3. C"; blank 3'
	sample 'rooms=1._A 2._B' "$(:
	    )sample.c:1: no room has the name \"2. B\", or not here
sample.c:6: there is no room \"2._B\" behind \"1. A\"" \
	    'banner "2. B"; banner "1. A"'
	sample 'rooms=... A C' '' 'banner A; banner B; banner C'
	sample 'rooms=... A C' 'sample.c:6: there is no room "C" behind "A"' \
	    'banner A; banner B'
	sample 'rooms=... A C' 'sample.c:9: there is no room "C" behind "A"' \
	    'banner C; banner A; banner B'
}

cd "$top" || exit 1

test_samples
measure ktest.c $ktest_lines '====' "$ktest_rooms"
measure init.c $init_lines '====' "$init_rooms"
measure bios/bios.c $bios_lines '----'

# clang warns before it optimizes; gcc of some while it does, once for ktest.c.
for cc in gcc clang; do
	for source in $sources test/*.c; do
		make="-c -o $T/o"
		if [ $cc = clang ] || { [ -z "$all" ] &&
		    grep -q '^#include "../ktest.c"' "$source"; }; then
			make=-fsyntax-only
		fi
		quiet "$cc: $source has no warnings" $cc $flags \
		    $(way "$source") $make "$source"
	done
	quiet "$cc: ktest.c as a library has no warnings" $cc $flags \
	    -DKTEST_LIB -fsyntax-only ktest.c
done

for cc in gcc clang tcc musl-gcc; do
	quiet "$cc: builds ktest.c without a flag" $cc ktest.c -o "$T/ktest"
	ok "$cc: that runs" "$T/ktest" -version
done
for cc in gcc clang musl-gcc; do
	quiet "$cc: builds init" $cc $(init_flags) init.c -o "$T/init"
done

# How large init may be: 20 KiB
init_size() { # NAME
	rm -f "$T/$1"
	cp init.c "$T"
	make -s -C "$T" -f "$top/Makefile" "$1" >"$T/made"
	ok "$1 is built, of at most $init_bytes bytes" \
	    [ "$(wc -c <"$T/$1")" -le $init_bytes ]
}
[ "$(uname -m)" != x86_64 ] || init_size init

# The other architectures' init. lld knows s390x since its version 18.
for arch in aarch64 riscv64 s390x; do
	for cc in $arch-linux-gnu-gcc "clang --target=$arch-linux-gnu"; do
		quiet "$cc: init.c has no warnings" $cc $flags $(init_flags) \
		    -c -o "$T/o" init.c
	done
	init_size init-$arch
	if [ "$arch" = s390x ] && ld.lld -m elf64_s390 2>&1 | grep -q unknown
	then
		skip 'an old lld' 'clang with lld builds init-s390x'
		continue
	fi
	quiet "clang with lld builds init-$arch" clang --target=$arch-linux-gnu \
	    -fuse-ld=lld -Oz $(init_flags) init.c -o "$T/init"
done

for source in $sources; do
	quiet "clang-tidy: $source" tidy "$source"
done
# Not init.c: cppcheck takes names that it defines for the C library's macros.
# It knows _Noreturn by the older name only, and does not see that a name ends.
for source in ktest.c bios/bios.c; do
	quiet "cppcheck: $source" cppcheck -q --std=c11 -D__linux__ --inline-suppr \
	    '-D_Noreturn=__attribute__((noreturn))' \
	    --suppress=arrayIndexOutOfBounds:bios/bios.c \
	    --enable=warning,performance,portability --error-exitcode=1 \
	    "$source"
done
for script in .ci/run test/*.sh; do
	quiet "$script is a shell script" dash -n "$script"
done
finish
