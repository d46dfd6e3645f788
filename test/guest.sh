#!/bin/sh
# What a program finds around it in the guest, and what it may leave there.
. "$(dirname "$0")/tap.sh"

need_cloud
restore_most
build guest-dyn guest.c
DYN=$built

# -- Surroundings --
# 64 blocks of 512 bytes are the limit that the guest's program gets.
# shellcheck disable=SC2016
job report sh -c 'ulimit -S -c 64; exec "$@"' sh "$KTEST" -kernel-path \
    "$KTEST_CLOUD" -accel "$ACCEL" -snapshot none -- "$GUEST" report
# started with signals blocked and ignored, which must not reach the guest
# shellcheck disable=SC2016
job odd sh -c 'trap "" PIPE INT USR1; umask 077; exec "$@"' sh "$KTEST" \
    -kernel-path "$KTEST_CLOUD" -accel "$ACCEL" -snapshot none -memory 300M \
    -cpus 2 -cwd /tmp -- "$GUEST" report
for size in 2G 3584M; do
	cloud_job memory$size -snapshot none -memory $size -- "$GUEST" report
done
cloud_job env -- "$GUEST" env
job envs env GIVEN='from outside' NOT=passed "$KTEST" -kernel-path \
    "$KTEST_CLOUD" -accel "$ACCEL" -env GIVEN -env HOME=/tmp -env EMPTY= \
    -snapshot none -env "ODD=a b'c\"d,e${nl}f" -env GIVEN2=x=y -- "$GUEST" env
cloud_job args -- "$GUEST" args '' ' ' 'a b' "it's" '"' '\' '$HOME' '*' \
    "two${nl}lines" 'a,b' -n -- 'äöü' '-v=1'
printf '%s\0' '' ' ' 'a b' "it's" '"' '\' '$HOME' '*' \
    "two${nl}lines" 'a,b' -n -- 'äöü' '-v=1' >"$T/args"
# more than any kernel command line would hold
i=0
set --
while [ $((i += 1)) -le 2000 ]; do set -- "$@" "argument number $i"; done
printf '%s\0' "$@" >"$T/manyargs"
cloud_job manyargs -snapshot none -- "$GUEST" args "$@"
before=$(date +%s)
cloud_job clock -snapshot none -- "$GUEST" clock
cloud_job timers -snapshot none -- "$GUEST" timers
cloud_job elapse -- "$GUEST" elapse 2000

# -- Programs --
cloud_job dynamic -snapshot none -- "$DYN" exit 5
printf '#!/bin/sh\necho "script $0 $1"\nexit 6\n' >"$T/script"
printf '#!/usr/bin/env sh\necho "$#"\nexit 7\n' >"$T/envscript"
chmod 755 "$T/script" "$T/envscript"
cloud_job script -- "$T/script" arg
cloud_job envscript -- "$T/envscript" a b c
cloud_job bysearch -- sh -c 'echo "$0"; exit 8'
odd="$T/a b,c'd\"e
f-ä"
cp "$GUEST" "$odd"
cloud_job oddname -- "$odd" say odd 9
(cd "$T" && ln -s "$GUEST" link) || exit 1
cloud_job bylink -- "$T/link" say link 10
# a relative path: argv[0] as typed, the file at its absolute path
# shellcheck disable=SC2016
job relative sh -c 'cd "$1"; shift; exec "$@"' sh "$T" "$KTEST" \
    -kernel-path "$KTEST_CLOUD" -accel "$ACCEL" -- ./script x

# -- -file --
tree=$T/tree
mkdir -p "$tree/sub/empty" "$tree/.hidden"
echo one >"$tree/one"
printf '#!/bin/sh\n' >"$tree/sub/run"
: >"$tree/nothing"
"$GUEST" random 100001 5 >"$tree/sub/odd size"
echo "n" >"$tree/new${nl}line"
ln -s sub/run "$tree/good"
ln -s /no/such/file "$tree/dangling"
ln -s sub "$tree/dirlink"
chmod 4755 "$tree/sub/run"
chmod 600 "$tree/one"
chmod 700 "$tree/.hidden"
touch -t 200102030405.06 "$tree/one" "$tree/sub/odd size"
"$GUEST" tree "$tree" | sed '1d' >"$T/tree.want"
cloud_job tree -snapshot none -file "$tree:/opt/a/b" -- "$GUEST" tree /opt/a/b
cloud_job samepath -file "$tree" -- "$GUEST" tree "$tree"
cloud_job files -file "$tree/one" -file "$tree/sub/odd size:/odd" \
    -file "$tree/good:/good" -- "$GUEST" show "$tree/one" /odd /good \
    /etc/hosts
cp "$GUEST" "$T/suid"
chmod 6755 "$T/suid"
for n in root 0:7 1234:0; do
	cloud_job "suid-$n" -user $n -file "$T/suid:/suid" -- "$T/suid" tree \
	    /suid "$T/suid"
done
{
	cat "$tree/one" "$tree/sub/odd size" "$tree/good"
	printf '127.0.0.1 localhost ktest\n::1 localhost\n'
} >"$T/files"

# -- Modules --
cloud_job module -snapshot none -module dummy -module loop -- "$GUEST" show /proc/modules

# -- An initramfs of the user's, and a program --
build mkcpio mkcpio.c
"$built" etc/ "etc/marker=$tree/one" >"$T/user.cpio"
gzip -c "$T/user.cpio" >"$T/user.gz"
cloud_job initrd -snapshot none -initrd-path "$T/user.cpio" -- "$GUEST" show /etc/marker
cloud_job initrdgz -snapshot none -initrd-path "$T/user.gz" -- "$GUEST" show /etc/marker
cloud_job inside -snapshot none -initrd-path "$T/user.cpio" \
    -file "$GUEST:/bin/g" -- /bin/g show /etc/marker

# -- What a program may leave behind --
for n in daemon quietdaemon closefds killall killinit; do
	cloud_job $n -- "$GUEST" $n 11
done
cloud_job modes -snapshot none -- stat -c %a / /root /etc /tmp
cloud_job orphan -- "$GUEST" orphan
cloud_job pipeend -- "$GUEST" pipeend
cloud_job cmdline -snapshot none -cmdline 'ktest.first=1' \
    -cmdline 'ktest.second="a b"' -- "$GUEST" show /proc/cmdline
jobs_run
after=$(date +%s)

has() { # LINE WHAT: the output has this line
	if grep -Fqx -e "$1" "$out"; then
		pass "$2"
	else
		fail "$2"
		diag "no line: $1"
		diag "$(grep -e "^${1%% *}" "$out" | head -n 40)"
	fi
}

result report
is "$status" 0 'surroundings: status'
has end 'surroundings: told to the end'
is "$(grep '^fd ' "$out" | tr '\n' ' ')" 'fd 0 fd 1 fd 2 ' \
    'surroundings: three descriptors'
has 'ppid 1' 'surroundings: a child of init'
has 'session own' 'surroundings: a session of its own'
has 'group own' 'surroundings: a process group of its own'
has 'uid 0 gid 0' 'surroundings: root'
has 'tty 0 0 0' 'surroundings: no terminal'
has 'cwd /' 'surroundings: working directory'
has "exe $GUEST" 'surroundings: the program stands at its own path'
has 'cpus 1' 'surroundings: one processor'
ok 'surroundings: 1 GiB of memory' [ \
    "$(sed -n 's/^pages //p' "$out")" -gt 900 ]
has "kernel $(echo "${KTEST_CLOUD##*/}" | sed 's/^vmlinuz-//')" \
    'surroundings: this kernel'
for n in SigBlk SigIgn SigCgt SigPnd ShdPnd; do
	is "$(sed -n "s/^$n:[[:space:]]*//p" "$out")" 0000000000000000 \
	    "surroundings: $n"
done
is "$(sed -n 's/^Umask:[[:space:]]*//p' "$out")" 0022 'surroundings: umask'
like "$out" '^limit core 32768 ' 'surroundings: RLIMIT_CORE is ours'
has 'oom 0' 'surroundings: the OOM killer may take it'
for n in /proc /sys /dev /dev/pts /tmp /dev/shm /run; do
	like "$out" "^mount [^ ]+ $n " "mounted: $n"
done
mounted_if() { # FILESYSTEM PATH
	if grep -Eq "^filesystem .*[[:space:]]$1\$" "$out"; then
		like "$out" "^mount [^ ]+ $2 $1 " "mounted: $2"
	else
		skip "this kernel has no $1" "mounted: $2"
	fi
}
mounted_if cgroup2 /sys/fs/cgroup
mounted_if bpf /sys/fs/bpf
mounted_if tracefs /sys/kernel/tracing
has 'lo up' 'surroundings: lo is up'
has 'lo works' 'surroundings: 127.0.0.1 answers'
empty "$err" 'surroundings: nothing on stderr'

result odd
is "$status" 0 'odd start: status'
for n in SigBlk SigIgn; do
	is "$(sed -n "s/^$n:[[:space:]]*//p" "$out")" 0000000000000000 \
	    "odd start: $n"
done
has 'cwd /tmp' '-cwd'
has 'cpus 2' '-cpus 2'
ok '-memory 300M' [ "$(sed -n 's/^pages //p' "$out")" -gt 200 ]
ok '-memory 300M: not more' [ "$(sed -n 's/^pages //p' "$out")" -le 300 ]

for size in 2048:2G 3584:3584M; do
	result "memory${size#*:}"
	mib=$(sed -n 's/^pages //p' "$out")
	ok "-memory ${size#*:}: all of it" [ "$mib" -gt $((${size%:*} - 200)) ]
	ok "-memory ${size#*:}: not more" [ "$mib" -le "${size%:*}" ]
done

result env
is "$(tr '\0' '\n' <"$out" | cut -d = -f 1 | sort | tr '\n' ' ')" \
    'HOME IN_KTEST PATH TERM ' 'environment: these four'
is "$(tr '\0' '\n' <"$out" | grep '^IN_KTEST')" 'IN_KTEST=true' \
    'environment: IN_KTEST'
result envs
{
	printf 'EMPTY=\0GIVEN2=x=y\0GIVEN=from outside\0HOME=/tmp\0'
	printf 'IN_KTEST=true\0'
} >"$T/envs.want"
sort -z "$out" | grep -zv -e '^PATH=' -e '^TERM=' -e '^ODD=' >"$T/envs"
same "$T/envs" "$T/envs.want" '-env: given, set, empty, replaced'
printf "ODD=a b'c\"d,e\nf\0" >"$T/odd.want"
grep -z '^ODD=' "$out" >"$T/odd"
same "$T/odd" "$T/odd.want" '-env: any bytes'
result args
same "$out" "$T/args" 'arguments: any bytes'
result manyargs
same "$out" "$T/manyargs" 'arguments: 2,000 of them'

result clock
ok 'clock: the time of day is ours' [ "$(cat "$out")" -ge "$before" ]
ok 'clock: ... and not ahead' [ "$(cat "$out")" -le "$((after + 2))" ]
result timers
is "$status" 0 "50 sleeps of 10 ms, in ms: $(cat "$out")"
result elapse
ok 'a sleep of 2 s is no shorter on the host' [ "$wall_us" -gt 2000000 ]
is "$status" 0 'a sleep of 2 s: status'

result dynamic
is "$status" 5 'a dynamically linked program'
result script
is "$status" 6 'a script'
text "$out" "script $T/script arg$nl" 'a script: its arguments'
result envscript
is "$status $(cat "$out")" '7 3' 'a script through env'
result bysearch
is "$status" 8 'a program found in PATH'
text "$out" "sh$nl" 'a program found in PATH: argv[0] as typed'
result oddname
is "$status $(cat "$out")" '9 odd' \
    'a program whose name has blanks, commas, quotes, a newline'
result bylink
is "$status $(cat "$out")" '10 link' 'a program behind a symlink'
result relative
is "$status" 6 'a relative path: status'
like "$out" "^script ($T)?(\\./)?/?script x" 'a relative path: arguments'

result tree
is "$status" 0 '-file DIR:GUEST: status'
sed '1d' "$out" >"$T/tree.got"
same "$T/tree.got" "$T/tree.want" '-file DIR:GUEST: modes, links, times'
result samepath
sed '1d' "$out" >"$T/tree.got"
same "$T/tree.got" "$T/tree.want" '-file DIR: stands at its own path'
result files
same "$out" "$T/files" '-file: single files, one of them a symlink'

for n in root 0:7 1234:0; do
	result "suid-$n"
	is "$status" 0 "-user $n: a setuid file"
	mode=106755 lines=0
	[ $n != 1234:0 ] || mode=100755 lines=1
	is "$(awk '{ print $2 }' "$out" | tr '\n' ' ')" "$mode $mode " \
	    "-user $n: its mode, of -file and of the program"
	is "$(grep -c 'suid: its setuid and setgid bits are left out' "$err")" \
	    $lines "-user $n: lines about it"
done

result module
is "$status" 0 '-module: status'
like "$out" '^dummy ' '-module: the first'
like "$out" '^loop ' '-module: the second'
result initrd
text "$out" "one$nl" 'an initramfs and a program'
result initrdgz
text "$out" "one$nl" 'a compressed initramfs and a program'
result inside
text "$out" "one$nl" 'a program that only the guest has'

for n in daemon quietdaemon closefds killall killinit; do
	result $n
	is "$status" 11 "leaves behind: $n"
	empty "$err" "leaves behind: $n, nothing on stderr"
done
result modes
text "$out" "755${nl}700${nl}755${nl}1777$nl" 'modes of the guest'\''s own directories'
result orphan
is "$status $(cat "$out")" '0 reaped' 'an orphan is reaped'
result pipeend
is "$status" 141 'SIGPIPE has its default effect'
result cmdline
like "$out" 'ktest.first=1 ktest.second="a b"$' '-cmdline: last, in order'
is "$(ls -A "$T/tmp")" '' 'no temporary file is left'
finish
