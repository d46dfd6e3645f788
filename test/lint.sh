#!/bin/sh
# lint.sh: the sources under several compilers and checkers, as TAP.

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
	clang-tidy --quiet -checks="$tidy" "$1" -- -std=c99 $(way "$1") \
	    >"$T/tidy" 2>&1
	tidy_status=$?
	grep -E ': (warning|error): ' "$T/tidy"
	return "$tidy_status"
}

# The functions of more than 60 lines: where, and how many
long_functions() {
	awk '/^[a-z_].*\(.*[^;]$/ { start = FNR; name = $0 }
	    /^}/ {
		if (start && FNR - start > 60)
			print FILENAME ":" start ": " FNR - start " lines"
		start = 0
	    }' "$@"
}

cd "$top" || exit 1

for cc in gcc clang; do
	for source in $sources test/*.c; do
		quiet "$cc: $source has no warnings" $cc $flags \
		    $(way "$source") -c -o "$T/o" "$source"
	done
	quiet "$cc: ktest.c as a library has no warnings" $cc $flags \
	    -DKTEST_LIB -c -o "$T/o" ktest.c
done

for cc in gcc clang tcc musl-gcc; do
	quiet "$cc: builds ktest.c without a flag" $cc ktest.c -o "$T/ktest"
	ok "$cc: that runs" "$T/ktest" -version
done
for cc in gcc clang musl-gcc; do
	quiet "$cc: builds init" $cc $(init_flags) init.c -o "$T/init"
done

for source in $sources; do
	quiet "clang-tidy: $source" tidy "$source"
done
# Not init.c: cppcheck takes names that it defines for the C library's macros.
# It knows _Noreturn by the older name only, and does not see that a name ends.
for source in ktest.c bios/bios.c; do
	quiet "cppcheck: $source" cppcheck -q --std=c11 --inline-suppr \
	    '-D_Noreturn=__attribute__((noreturn))' \
	    --suppress=arrayIndexOutOfBounds:bios/bios.c \
	    --enable=warning,performance,portability --error-exitcode=1 \
	    "$source"
done
quiet 'no function is longer than 60 lines' long_functions $sources

for script in .ci/run test/*.sh; do
	quiet "$script is a shell script" dash -n "$script"
done
finish
