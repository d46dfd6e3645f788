#!/bin/sh
# -each: a guest for each program, -retries, -junit, and the points of TAP and
# KTAP. QEMU is the stand-in first, then suites run in real guests.
. "$(dirname "$0")/tap.sh"

need_ktest
fake_setup
sanitize=
if echo 'int main(void) { return 0; }' | clang -x c -fsanitize=address,undefined \
    -o "$T/sanitized" - 2>/dev/null && "$T/sanitized"; then
	sanitize='-g -fsanitize=address,undefined -fno-sanitize-recover=all'
	CC=clang
fi
# shellcheck disable=SC2086 # flags
build tap-check tap-check.c $sanitize
tap_check=$built

# -- What is TAP, and what is wrong with it --
mkdir "$T/tap"
# tap WANTED TEXT: what is read in that
tap() {
	printf "$2" >"$T/tap/x"
	is "$("$tap_check" "$T/tap/x")" "x: $1" \
	    "TAP: $(printf '%s' "$2" | tr '#' '%')"
}
tap 'no TAP' ''
tap 'no TAP' 'hello\n1..1\nok 1\n'
tap 'no TAP' 'ok\nok 2\n'
tap 'no TAP' 'okay 1\n'
tap 'no TAP' '1..x\n'
tap 2 '\n# first\n1..2\nok 1\nok 2 - b\n'
tap 2 'ok 1 - a\nnoise\n\tok 9\nok 2 - b\n1..2\n'
tap 1 'TAP version 13\r\n1..1\r\nok 1\r\n'
tap '1 wrong 1 points of 2' 'TAP version 13\n1..2\nok 1\n'
tap '2 wrong 2 points of 1' '1..1\nok 1\nok 2\n'
tap '1 wrong 1 points and no plan' 'TAP version 14\nok 1\n'
tap '1 wrong 1 points and no plan' 'not ok 1 # TODO\n'
tap '0 wrong 0 points and no plan' 'KTAP version 1\n'
tap '0 wrong 0 points and no plan' 'KTAP version 1\n1..99999999999999999999\n'
tap '2 wrong not ok 2 - b' '1..2\nok 1\nnot ok 2 - b\n'
tap '3' '1..3\nnot ok 1 # SKIP x\nnot ok 2 - a # todo b\nnot ok 3 #xfail\n'
tap '1 wrong not ok 1 - a # TODOs' '1..1\nnot ok 1 - a # TODOs\n'
tap '1 wrong Bail out!  disk' '1..1\nok 1\nBail out!  disk\n'
tap '1 wrong not ok 1 - a \# TODO' '1..1\nnot ok 1 - a \\# TODO\n'
tap '2 wrong two plans, 1..2 and 1..3' '1..2\nok 1\nok 2\n1..3\n'
tap '0 skip SKIP no such device' '1..0 # SKIP no such device\n'
tap '0 skip 1..0' 'TAP version 13\n1..0\n'
tap '1 skip 1..0 wrong 1 points of 0' '1..0\nok 1\n'
tap '3' 'KTAP version 1\n1..1\n  KTAP version 1\n  1..2\n  ok 1 a\n  ok 2 b\nok 1 c\n'
tap '3 wrong not ok 2 b' '1..1\n  1..2\n  ok 1 a\n  not ok 2 b\nok 1 c\n'
tap '2 wrong 1 points of 2' '1..1\n  1..2\n  ok 1 a\nok 1 c\n'
tap '2' '1..1\n  ok 1 a\nok 1 c\n'
tap '3' '    # Subtest: s\n    1..2\n    ok 1 a\n    ok 2 b\nok 1 - s\n'
tap '2 wrong 1 points of 2' '    # Subtest: s\n    1..2\n    ok 1 a\nok 1 - s\n'
tap '2' 'TAP version 13\n1..1\nok 1\nTAP version 13\n1..1\nok 1\n'
tap '2 wrong 1 points of 2' '1..2\nok 1\nTAP version 13\n1..1\nok 1\n'
ok 'TAP: 20,000 hostile streams' "$tap_check" -fuzz 20000

# -- Fates, one after another: the Nth QEMU does what the Nth line says --
cat >"$T/qemu" <<-'end'
	#!/bin/sh
	n=0
	until [ ! -d "$FAKE_TURN/$((n += 1))" ] &&
	    mkdir "$FAKE_TURN/$n" 2>/dev/null; do
		:
	done
	FAKE_DO=$(sed -n "${n}p" "$FAKE_LINES")
	export FAKE_DO
	exec "$FAKE" "$@"
end
chmod 755 "$T/qemu"
FAKE_TURN=$T/turn FAKE_LINES=$T/lines
export FAKE FAKE_TURN FAKE_LINES

# lines SCRIPT...: for the QEMUs to come
lines() {
	rm -rf "$T/turn" "$T/log"/*
	mkdir "$T/turn"
	printf 'hello;clock;go;%s\n' "$@" >"$T/lines"
}

# each OPTIONS... [-- PROGRAM...]: in guests of the stand-in
each() {
	rm -f "$T/r.xml"
	run "$KTEST" -each -qemu "$T/qemu" -init "$GUEST" -kernel-path \
	    "$FAKE_KERNEL" -accel tcg -snapshot none "$@"
}

# valid WHAT: -junit's file is what it should be
valid() {
	if command -v xmllint >/dev/null; then
		ok "$1: -junit is valid" xmllint --noout --schema \
		    "$here/junit.xsd" "$T/r.xml"
	else
		skip 'no xmllint' "$1: -junit is valid"
	fi
	is "$(ls -A "$T" | grep -c '^r\.xml\.')" 0 "$1: no other file beside it"
}

# counts WHAT TESTS FAILURES ERRORS SKIPPED
counts() {
	is "$(sed -n 's/.*tests="\([0-9]*\)" failures="\([0-9]*\)"'\
' errors="\([0-9]*\)" skipped="\([0-9]*\)".*/\1 \2 \3 \4/p' "$T/r.xml")" \
	    "$2 $3 $4 $5" \
	    "$1: numbers in -junit"
}

for n in 1 2 3 4 5 6 7 8 9; do
	cp "$GUEST" "$T/p$n"
done
cd "$T" || exit 1
eight='say=stdout:one\n;say=stderr:E\n;x=0
x=3
x=4
x=77
x=139
die=9
say=stdout:1..2\nok 1 - a<b>&"\nnot ok 2 - c # TODO d\nnoise\n;x=0
say=stdout:TAP version 13\n1..3\nok 1\nBail out! now\n;x=0'
set_eight() {
	IFS=$nl
	# shellcheck disable=SC2086 # lines
	lines $eight
	unset IFS
}
set_eight
each -jobs 1 -junit r.xml -- ./p1 ./p2 ./p3 ./p4 ./p5 ./p6 ./p7 ./p8 ./none
is "$status" 3 'fates: the first failure'\''s status'
sed 's/ [0-9]*\.[0-9]* s / T /' "$err" | grep -v '^==> \|console' >"$T/end"
text "$T/end" "E
ktest: QEMU died by signal 9 (Killed): it said nothing
ktest: ./none: No such file or directory
ktest: failed   3     T  ./p2
ktest: failed 139     T  ./p5: Segmentation fault
ktest: failed 125     T  ./p6: QEMU died by signal 9 (Killed): it said nothing
ktest: failed   1     T  ./p8: Bail out! now
ktest: failed 127     T  ./none: ./none: No such file or directory
ktest: 9 runs: 2 passed, 0 flaky, 2 skipped, 5 failed, 0 not run
" 'fates: the end'
like "$out" '^==> \./p7 <==' 'fates: labels'
valid fates
counts fates 12 3 2 3
like r.xml 'name="./p2" time="[0-9.]*">$' 'fates: a case in -junit'
like r.xml '^<failure type="failed" message="status 3"/>' 'fates: why in -junit'
like r.xml '^<error type="failed" message="status 125: QEMU died' \
    'fates: no verdict is an error'
like r.xml 'classname=".*fake\.\./p7" name="1 a&#60;b&#62;&#38;&#34;"' \
    'fates: a point in -junit'
like r.xml '^<skipped type="skipped" message="TODO d"/>' \
    'fates: TODO in -junit'
fake 'hello;clock;go;stay' -timeout 1 -junit "$T/r.xml" -- "$GUEST" exit 0
is "$status" 124 '-timeout: status'
like r.xml '^<error type="timeout" message="status 124: timeout after 1 s' \
    '-timeout: in -junit'
set_eight
each -jobs 1 -tap -- ./p1 ./p2 ./p3 ./p4 ./p5 ./p6 ./p7 ./p8 ./none
sed 's/seconds: .*/seconds: T/' "$out" >"$T/seconds"
# result OK N NAME STATUS
result_is() {
	printf '%s %s - %s\n  ---\n  status: %s\n  seconds: T\n  ...\n' "$@"
}
{
	echo 'TAP version 13'
	echo 1..9
	result_is ok 1 ./p1 0
	echo '# one'
	result_is 'not ok' 2 ./p2 3
	result_is ok 3 './p3 # SKIP' 4
	result_is ok 4 './p4 # SKIP' 77
	result_is 'not ok' 5 ./p5 139
	echo '# Segmentation fault'
	result_is 'not ok' 6 ./p6 125
	echo '# QEMU died by signal 9 (Killed): it said nothing'
	echo '# Subtest: ./p7'
	printf '    %s\n' 1..2 'ok 1 - a<b>&"' 'not ok 2 - c # TODO d' '# noise'
	result_is ok 7 ./p7 0
	echo '# Subtest: ./p8'
	printf '    %s\n' 'TAP version 13' 1..3 'ok 1' '# Bail out! now'
	result_is 'not ok' 8 ./p8 1
	echo '# Bail out! now'
	result_is 'not ok' 9 ./none 127
	echo '# ./none: No such file or directory'
} >"$T/want"
same "$T/seconds" "$T/want" 'fates: -tap'

# What a guest sends is no XML, and may be much.
lines "$(printf 'say=stdout:\\0\\e\001a ]]> <b> \377\302 &amp\ttab\\n;say=stderr:]]>\\n;x=1')" \
    'many=stdout:300000;x=0'
each -jobs 1 -junit r.xml -- ./p1 ./p2
valid 'hostile output'
like r.xml '\^\[.*\]\]&#62; &#60;b&#62; .*&#38;amp	tab' \
    'hostile output: escaped'
lines "$(printf 'say=stdout:1..1\\nok 1 - \\e\\0 ]]> & "\357\277\277\360\\n;x=0')"
each -junit r.xml -- ./p1
valid 'hostile points'

# -- Retries --
lines x=1 x=0 x=2 x=2 x=2 x=0
each -jobs 1 -retries 2 -junit r.xml -- ./p1 ./p2 ./p3
is "$status $(starts)" '2 6' '-retries 2: as often as that'
like "$err" '^ktest: flaky    0 .* \./p1$' '-retries 2: flaky is named'
like "$err" '3 runs: 1 passed, 1 flaky, 0 skipped, 1 failed' '-retries 2: counts'
valid '-retries 2'
like r.xml '^<flakyFailure type="flaky"' '-retries 2: flaky in -junit'
lines x=1 x=0
each -jobs 1 -retries 1 -tap -- ./p1
is "$status" 0 '-retries 1: passes then'
like "$out" '^ok 1 - \./p1 # FLAKY$' '-retries 1: flaky in -tap'
lines 'say=stdout:1..1\nnot ok 1\n;x=0' 'say=stdout:1..1\nok 1\n;x=0'
each -retries 1 -- ./p1
is "$status" 0 '-retries 1: of points'
lines die=9 x=0
each -retries 1 -- ./p1
like "$err" 'flaky .*p1: QEMU died by signal 9' '-retries 1: of a killed QEMU'

# -- Where programs come from --
lines x=0 x=0 x=0
printf '# comment\n\n./p1 a  b\t c\n  ./p2  \n./p3' >"$T/given"
each_in() { # FILE OPTIONS...
	each_file=$1
	shift
	run_in "$each_file" "$KTEST" -each -qemu "$T/qemu" -init "$GUEST" \
	    -kernel-path "$FAKE_KERNEL" -accel tcg -snapshot none "$@"
}
each_in "$T/given" -tap -jobs 1
is "$status $(grep -c '^ok' "$out")" '0 3' 'stdin: a program on each line'
like "$out" '^ok 1 - \./p1 a  b	 c$' 'stdin: with its arguments'
each_in "$T/given" -n
is "$status $(wc -l <"$out")" '0 3' '-n: a command for each'
lines x=0 x=0
printf '%s\n' '-each' -- ./p1 ./p2 >"$T/target"
run "$KTEST" @target -qemu "$T/qemu"
lines x=0 x=0
run "$KTEST" -qemu "$T/qemu" -init "$GUEST" -kernel-path "$FAKE_KERNEL" \
    -accel tcg -snapshot none -tap @target
is "$status $(grep -c '^ok' "$out")" '0 2' '@FILE: a program on each line'
: >"$T/none.in"
printf 'a\0b\n' >"$T/nul.in"
printf './p1\n%070000d\n' 0 >"$T/long.in"
# refused FILE REGEX WHAT OPTIONS...
refused() {
	refused_file=$1 refused_line=$2 refused_what=$3
	shift 3
	rm -f "$T/log"/*
	each_in "$refused_file" "$@"
	is "$status $(starts)" '125 0' "refused: $refused_what"
	one_line "$err" "refused: $refused_what: one line"
	like "$err" "^ktest: $refused_line" "refused: $refused_what: why"
}
refused "$T/none.in" '-each: no program' 'no program'
refused "$T/nul.in" '-each: stdin: has a NUL' 'a NUL byte'
refused "$T/long.in" '-each: stdin:2: is too long' 'a long line'
refused "$T/given" '-junit .*/r: No such' 'a -junit in no directory' -junit no/r
refused "$T/given" '-junit /dev/null: .*regular' '-junit /dev/null' -junit \
    /dev/null
refused "$T/given" '-tty: .*not for -each' '-each -tty' -tty
ok '/dev/null is what it was' [ -c /dev/null ]
awk 'BEGIN { printf "./p1"; while (i++ < 300) printf " a"; print "" }' \
    >"$T/words.in"
each_in "$T/words.in"
is "$status" 125 'a line of 300 words'
like "$err" 'more than 256 words' 'a line of 300 words: why'
refused "$T/words.in" '-each: a line has more' 'a line of 300 words, -n' -n
awk 'BEGIN { printf "./p1 "; while (i++ < 60000) printf "\001"; print "" }' \
    >"$T/words.in"
lines 'say=stdout:1..1\nok 1 # skip why\n;x=0'
each_in "$T/words.in" -junit r.xml
valid 'a line of 60,000 bytes, each of which is shown as more'
counts 'skip in small letters' 2 0 0 1

# -- Many, in order, while the first takes its time --
awk 'BEGIN { while (i++ < 400) print "./p1 " i }' >"$T/many.in"
{
	printf '%s\n' 'hello;clock;go;sleep=3000;x=0'
	awk 'BEGIN { while (i++ < 400) print "hello;clock;go;x=0" }'
} >"$T/lines"
rm -rf "$T/turn"; mkdir "$T/turn"
rm -f "$T/log"/*
# shellcheck disable=SC2016
run_in "$T/many.in" sh -c 'ulimit -n 600; unset FAKE_LOG; exec "$@"' sh "$KTEST" \
    -each -qemu "$T/qemu" -init "$GUEST" -kernel-path "$FAKE_KERNEL" -accel tcg \
    -snapshot none -tap -jobs 4
is "$status" 0 '400 programs, few descriptors'
sed -n 's/^ok .* //p' "$out" >"$T/order"
seq 400 >"$T/want"
same "$T/order" "$T/want" '400 programs: in order'

# -- Ends --
lines 'say=stdout:early\n;x=0' stay x=0
rm -f "$T/r.xml"
"$HOLD" -o "$T/jobs/int.report" -p "$T/jobs/int.pid" -t "$guard" "$KTEST" -each \
    -qemu "$T/qemu" -init "$GUEST" -kernel-path "$FAKE_KERNEL" -accel tcg \
    -snapshot none -jobs 1 -junit r.xml -- ./p1 ./p2 ./p3 ./p4 </dev/null \
    >"$T/jobs/int.out" 2>"$T/jobs/int.err" &
holder=$!
second_runs() {
	[ "$(starts)" = 2 ] && grep -q early "$T/jobs/int.out"
}
until_true second_runs
kill -2 "$(cat "$T/jobs/int.pid")"
wait "$holder"
result int
is "$signal $left" '2 0' 'SIGINT: ends by it, nothing is left'
like "$err" '4 runs: 1 passed, .* 1 failed, 2 not run' 'SIGINT: the results so far'
valid SIGINT
counts SIGINT 2 0 1 0
if [ -w /dev/full ] && [ "$(id -u)" = 0 ] && mkdir "$T/full" &&
    mount -t tmpfs -o size=64k none "$T/full" 2>/dev/null; then
	lines 'many=stdout:300000;x=0'
	each -junit full/r.xml -- ./p1
	is "$status $(ls -A full)" '125 ' '-junit on a full disk: no file'
	like "$err" '^ktest: -junit' '-junit on a full disk: why'
	umount "$T/full"
else
	skip 'no tmpfs can be mounted' '-junit on a full disk'
fi

# One line of progress on a terminal, which is gone at the end
build pty pty.c
lines x=0 x=3 'sleep=300;x=0'
run "$built" -- "$KTEST" -each -qemu "$T/qemu" -init "$GUEST" -kernel-path \
    "$FAKE_KERNEL" -accel tcg -snapshot none -jobs 1 -- ./p1 ./p2 ./p3
tr '\r' '\n' <"$out" >"$T/screen"
like "$T/screen" '2 done, 1 failed, 1 running, 0 left, [0-9]* s' 'progress'
unlike "$T/screen" 's.*ktest: ' 'progress: makes room for the end'
# -- Real guests: each kernel is booted once, its copies share a snapshot --
if [ ! -f "${KTEST_CLOUD:-}" ] || [ ! -f "${KTEST_TINY:-}" ]; then
	skip 'no KTEST_CLOUD or KTEST_TINY' 'real guests'
	finish
fi
unset KTEST_SNAPSHOT
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do
	echo "$GUEST say token 0"
done >"$T/real.in"
cat >>"$T/real.in" <<-end
	$GUEST exit 3
	$GUEST raise 11
	$GUEST exit 77
	$GUEST reboot
	$GUEST killinit 9
end
real() { # OPTIONS...
	"$HOLD" -o "$T/jobs/real.report" -p "$T/jobs/real.pid" -t 900 "$KTEST" \
	    -each -accel "$ACCEL" -timeout 5m "$@" <"$T/real.in" >"$T/jobs/real.out" \
	    2>"$T/jobs/real.err"
}
real -kernel-path "$KTEST_CLOUD" -kernel-path "$KTEST_TINY" -v -junit r.xml
result real
is "$status" 3 'real guests: the first failure'\''s status'
like "$err" '60 runs: 50 passed, 0 flaky, 2 skipped, 8 failed, 0 not run' \
    'real guests: all verdicts'
is "$(grep -cx token "$out")" 50 'real guests: what they print'
is "$(grep -c 'snapshot /proc/self/fd/[0-9]*: fits' "$err")" 60 \
    'real guests: all are restored'
unlike "$err" 'starting cold' 'real guests: none starts cold'
like "$err" '^ktest: slowest' 'real guests: the slowest, with -v'
valid 'real guests'
counts 'real guests' 60 8 0 2

# Killed QEMUs: their runs are named, and none passes that did not run.
children() {
	cat "/proc/$1/task/$1/children" 2>/dev/null
}
# kill_some PID: while that is there, some third of the QEMUs that it starts,
# when they were seen one to four times, and the second that is seen at all, so
# that one is killed on any host; prints their numbers
kill_some() {
	some='' first='' second=''
	while kill -0 "$1" 2>/dev/null; do
		for child in $(children "$1"); do
			for q in $(children "$child"); do
				grep -q '^qemu' "/proc/$q/comm" || continue
				[ "${first:=$q}" = "$q" ] || : "${second:=$q}"
				if [ "$second" = "$q" ]; then
					! kill -9 "$q" || echo "$q"
					continue
				fi
				[ $((q / 7 % 3)) = 0 ] || continue
				some="$some $q"
				[ "$(echo "$some" | tr ' ' '\n' |
				    grep -cx "$q")" -le $((q % 4)) ] ||
				    ! kill -9 "$q" || echo "$q"
			done
		done
		sleep 0.1
	done 2>/dev/null
}
rm -f "$T/jobs/real.pid"
real -kernel-path "$KTEST_TINY" -retries 1 &
holder=$!
until_true [ -s "$T/jobs/real.pid" ]
kill_some "$(cat "$T/jobs/real.pid")" >"$T/killed"
wait "$holder"
result real
is "$left $hang" '0 0' 'killed QEMUs: nothing is left'
ok "killed QEMUs: $(sort -u "$T/killed" | wc -l) of them" [ -s "$T/killed" ]
sed -n '/^ktest: 30 runs:/s/[^0-9]*30[^0-9]*\|[^0-9][^0-9]*/ /gp' "$err" \
    >"$T/numbers"
read -r passed flaky skipped failed not_run <"$T/numbers"
is "$((passed + flaky + skipped + failed)) $not_run" '30 0' \
    'killed QEMUs: all 30 are counted'
ok 'killed QEMUs: who passed has run' \
    [ "$(grep -cx token "$out")" -ge $((passed + flaky)) ]
is "$(grep -c '^ktest: failed' "$err") $(grep -c '^ktest: flaky' "$err")" \
    "$failed $flaky" 'killed QEMUs: each is named'

# A kernel that does not come up is told once, before its tests.
: >"$T/k/boot/empty"
run "$KTEST" -each -kernel-path "$T/k/boot/empty" -accel tcg -- ./p1 ./p2
is "$status $(grep -c '^==> empty <==' "$err")" '125 1' \
    'no snapshot: told once, by its kernel'
like "$err" '2 runs: 0 passed, .* 2 failed' 'no snapshot: no test passes'
run "$KTEST" -kernel-path "$KTEST_TINY" -accel "$ACCEL" -junit r.xml -- "$GUEST" \
    say token 0
is "$status $(sed -n 's/.* name="\([^"]*\)" time.*/\1/p' r.xml)" "0 $GUEST" \
    '-junit alone: its program is the case'
is "$(ls -A "$T/tmp")" '' 'no temporary file is left'
finish
