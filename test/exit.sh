#!/bin/sh
# The exit matrix on a distribution's kernel: every status a program can end
# with, every signal it can die of, and what cannot be executed.
. "$(dirname "$0")/tap.sh"

need_cloud
restore_most

# -- Statuses --
codes='0 1 2 32 64 77 124 125 126 127 128 129 137 143 254 255'
for n in $codes; do
	cloud_job "exit$n" -- "$GUEST" exit "$n"
done
cold_codes='0 77 125 255'
for n in $cold_codes; do
	cloud_job "exit$n.cold" -snapshot none -- "$GUEST" exit "$n"
done

# -- Signals: all whose default is to end the process, and some real-time
# ones; 32 and 33 are the C library's. --
signals='1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 24 25 26 27 29 30 31 34 64'
for n in $signals; do
	cloud_job "signal$n" -- "$GUEST" raise "$n"
done
for n in 9 11; do
	cloud_job "signal$n.cold" -snapshot none -- "$GUEST" raise "$n"
done
cloud_job thread -- "$GUEST" thread 9
cloud_job nocore -- /bin/sh -c 'kill -s SEGV $$'

# -- Cannot be executed (126), is not there (127) --
printf 'not a program\n' >"$T/text"
printf '\177ELF rest' >"$T/broken"
printf '#!/no/such/interpreter\n' >"$T/orphaned"
printf '#!\n' >"$T/nameless"
cp "$GUEST" "$T/plain"
chmod 755 "$T/text" "$T/broken" "$T/orphaned" "$T/nameless"
chmod 644 "$T/plain"
for n in text broken orphaned nameless plain; do
	cloud_job "$n" -- "$T/$n" a b
done
cloud_job text.cold -snapshot none -- "$T/text" a b
cloud_job orphaned.cold -snapshot none -- "$T/orphaned" a b
cloud_job directory -- "$T/tmp"
cloud_job missing -- "$T/no such program" a b
cloud_job nodir -- "$T/plain/below a file"
cloud_job unnamed -- no-such-program-anywhere
# one that only the guest can miss: -file says that files come from elsewhere
cloud_job inside -snapshot none -file "$T/text:/text" -- /no/such/program/inside
cloud_job inside126 -file "$T/plain:/opt/plain" -- /opt/plain
cloud_job inside0 -file "$GUEST:/opt/guest" -- /opt/guest exit 9

jobs_run
[ "${XDG_CACHE_HOME:-}" != "$T/cache" ] ||
    is "$(find "$T/cache" -name '*.*' -prune -o -type f -print | wc -l)" 1 \
	'one machine for all of them'

for job in $codes $(printf '%s.cold ' $cold_codes); do
	n=${job%.cold}
	result "exit$job"
	is "$status" "$n" "exit $job"
	if [ -s "$out" ] || [ -s "$err" ]; then
		fail "exit $job: no output of ours"
		show "$out"
		show "$err"
	fi
done
for job in $signals 9.cold 11.cold; do
	n=${job%.cold}
	result "signal$job"
	is "$status" "$((128 + n))" "signal $job: status 128+$n"
	is "$signal" 0 "signal $job: ktest itself ends normally"
done
result thread
is "$status" 9 'a process that its second thread ends'
result nocore
is "$status" 139 'a shell that kills itself'

says() { # NAME STATUS REGEX
	result "$1"
	is "$status" "$2" "$1: status $2"
	like "$err" "$3" "$1: a line says so"
	is "$(wc -l <"$err")" 1 "$1: one line"
	empty "$out" "$1: nothing on stdout"
}
for n in broken nameless; do
	says "$n" 126 "/$n"
done
for cold in '' .cold; do
	says orphaned$cold 127 "/no/such/interpreter"
	says text$cold 126 '/text'
done
says plain 126 '/plain'
says directory 126 '/tmp'
says missing 127 'no such program'
says nodir 127 'below a file'
says unnamed 127 'no-such-program-anywhere'
says inside 127 '/no/such/program/inside'
says inside126 126 '/opt/plain'
result inside0
is "$status" 9 'a program that comes with -file'
finish
