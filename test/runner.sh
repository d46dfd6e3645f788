#!/bin/sh
# runner.sh: does run.sh sum up rightly, and take nothing half for a pass?

. "${0%/*}/tap.sh"

# script NAME LINE...: a test of these lines
script() {
	script_name=$1
	shift
	printf '%s\n' "$@" >"$T/$script_name.sh"
}

# sums STATUS LINE WHAT: run.sh's exit status and last line
sums() {
	is "$status, $(tail -n 1 "$out")" "$1, $2" "$3"
}

runner() {
	run sh "$here/run.sh" -t 2 "$@"
}

script good 'echo ok 1 - a' 'echo ok 2 - b' 'echo 1..2'
script skips 'echo ok 1 - a' 'echo "ok 2 - b # SKIP no tool"' 'echo 1..2'
script skip_all 'echo "1..0 # SKIP no kvm"'
script bad 'echo ok 1 - a' 'echo not ok 2 - b' 'echo "# got x"' \
    'echo ok 3 - c' 'echo 1..3' 'exit 1'
script dies 'echo ok 1 - a' 'kill -9 $$'
script few 'echo ok 1 - a' 'echo 1..2'
script many 'echo ok 1 - a' 'echo ok 2 - b' 'echo 1..1'
script status 'echo ok 1 - a' 'echo 1..1' 'exit 3'
script hangs 'echo ok 1 - a' 'echo 1..1' 'sleep 100'
script nothing 'echo 1..0'
script numbers 'echo ok 1 - a' 'echo ok 1 - b' 'echo 1..2'
script mute 'echo what >&2'
script world 'ls -A "$TMPDIR" | grep . && exit 1' 'read x && exit 1' \
    'mkdir "$TMPDIR/x" && chmod 0 "$TMPDIR/x"' \
    'echo ok 1 - "$TMPDIR" >&3; echo ok 1 - a; echo 1..1'

runner "$T/good.sh" "$T/good.sh"
sums 0 '4 passed, 0 failed' 'two good tests'
runner "$T/skips.sh"
sums 0 '1 passed, 0 failed, 1 skipped' 'a skipped check'
like "$out" 'no tool' 'its reason is shown'
runner "$T/skip_all.sh"
sums 1 '0 passed, 0 failed, 1 skipped' 'only skips are no success'
runner "$T/skip_all.sh" "$T/good.sh"
sums 0 '2 passed, 0 failed, 1 skipped' 'a skipped script'
runner "$T/bad.sh"
sums 1 '2 passed, 1 failed' 'a failure counts once'
like "$out" 'got x' 'it is shown with the lines after it'
for way in dies few status hangs numbers; do
	runner "$T/$way.sh"
	like "$out" '^[1-9]* passed, 1 failed$' "one that $way is a failure"
	is "$status" 1 "one that $way: exit status"
done
runner "$T/many.sh"
sums 1 '2 passed, 1 failed' 'more results than planned'
runner "$T/nothing.sh"
sums 1 '0 passed, 1 failed' 'an empty plan is a failure'
runner "$T/mute.sh"
sums 1 '0 passed, 1 failed' 'no TAP is a failure'
like "$out" '[|] what' 'what it said is shown'
runner "$T/absent.sh"
sums 1 '0 passed, 1 failed' 'a test that does not exist is a failure'

cp "$T/good.sh" "$T/program"
sed -i '1i #!/bin/sh' "$T/program"
chmod +x "$T/program"
runner "$T/program"
sums 0 '2 passed, 0 failed' 'a test that is a program'

exec 3>"$T/where"
runner "$T/world.sh" "$T/world.sh"
sums 0 '2 passed, 0 failed' 'each has an empty TMPDIR and no stdin'
where=$(sed -n '1s/ok 1 - //p' "$T/where")
ok 'it had a TMPDIR' [ -n "$where" ]
ok 'which is gone afterwards' [ ! -e "$where" ]
finish
