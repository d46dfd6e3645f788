#!/bin/sh
# Networks, ports, services, captures, cables and extra ports: what their
# options make of QEMU's arguments, what they refuse, and real traffic.
. "$(dirname "$0")/tap.sh"

need_ktest
fake_setup
build net-guest net-guest.c -static
N=$built
ports 7
p1=$((port + 1)) p2=$((port + 2)) p3=$((port + 3)) p4=$((port + 4))
p5=$((port + 5)) p6=$((port + 6)) p7=$((port + 7))

# -- QEMU's arguments, under KVM and TCG --
args() { # OPTIONS...: what they add to the command line, ports as PORT
	"$KTEST" -qemu qemu -init "$GUEST" -kernel-path "$FAKE_KERNEL" \
	    -n -accel "$on" "$@" -- "$GUEST" 2>"$T/args.err" |
	    sed "s/.*name=ktest.log/ /; s/.*name=ktest.stderr/ /
		s/.*name=ktest.stdout/ /
		s/ -kernel .*-append/ +/; s/ -initrd.*//
		s/ '*reboot=t console=hvc0 quiet panic=-1//; s/'\$//
		s/ tsc_early_khz=[0-9]* tsc=reliable//; s/ earlyprintk=serial//
		s/ no_timer_check//; s/ cryptomgr.notests//
		s/^ *//
		s/127.0.0.1:[0-9]*-:80/127.0.0.1:PORT-:80/
		s/02:4b:[0-9a-f:]*/MAC/g"
}

user="id=usernet0,net=10.42.0.0/24,dhcpstart=10.42.0.10,ipv6=off"
nic="-device virtio-net-device,netdev=usernet0,mac=02:72:82:bf:c3:56"
for on in kvm tcg; do
	is "$(args)" '+' "$on: nothing"
	is "$(args -net none)" '+' "$on: -net none"
	is "$(args -net user)" "-netdev user,$user $nic +" "$on: -net user"
	is "$(args -net user -port 80 -port $p1:81/udp -port $p2:82/tcp)" \
	    "-netdev user,$user,hostfwd=tcp:127.0.0.1:PORT-:80,$(:
	    )hostfwd=udp:127.0.0.1:$p1-:81,$(:
	    )hostfwd=tcp:127.0.0.1:$p2-:82 $nic +" "$on: -port"
	is "$(args -net user -service 10.42.0.50:80=192.0.2.1:8080 \
	    -service 10.42.0.51:81=127.0.0.1:81)" \
	    "-netdev user,$user,$(:
	    )guestfwd=tcp:10.42.0.50:80-tcp:192.0.2.1:8080,$(:
	    )guestfwd=tcp:10.42.0.51:81-tcp:127.0.0.1:81 $nic +" \
	    "$on: -service"
	is "$(args -net user -pcap "$T/a,b c")" \
	    "-netdev user,$user $nic -object '$(:
	    )filter-dump,id=dump0,netdev=usernet0,file=$T/a,,b c' +" \
	    "$on: -pcap"
	is "$(args -link "$T/l1" -link "$T/l2")" "$(:
	    )-netdev socket,id=cable15,fd=15 $(:
	    )-device virtio-net-device,netdev=cable15,mac=MAC $(:
	    )-netdev socket,id=cable16,fd=16 $(:
	    )-device virtio-net-device,netdev=cable16,mac=MAC +" "$on: -link"
	is "$(args -chardev log,1="$T/log file" -chardev b=9 9>"$T/nine")" "$(:
	    )-chardev file,id=extra0,path=/proc/self/fd/15,append=on $(:
	    )-device virtserialport,chardev=extra0,name=log,,1 $(:
	    )-chardev file,id=extra1,path=/proc/self/fd/16,append=on $(:
	    )-device virtserialport,chardev=extra1,name=b +" "$on: -chardev"
	is "$(args -gdb unix:"$T/g,db")" \
	    "-gdb unix:$T/g,,db,server=on,wait=off -S + nokaslr" "$on: -gdb"
	is "$(args -gdb $p3)" "-gdb tcp:127.0.0.1:$p3 -S + nokaslr" \
	    "$on: -gdb PORT"
	is "$("$KTEST" -qemu qemu -init "$GUEST" -kernel-path "$FAKE_KERNEL" \
	    -n -accel "$on" -qemu-arg -name -qemu-arg "a b,c" -- "$GUEST" |
	    sed 's/.*-initrd [^ ]*//')" " -name 'a b,c'" "$on: -qemu-arg"
done
ok 'a dry run makes no file' test ! -e "$T/log file"

# -- What is refused: 125, the option and the value in one line --
refuse '-net maybe: ' -net maybe
refuse '-port: needs -net user' -port 80
refuse '-service: needs -net user' -service 10.42.0.9:1=127.0.0.1:1
refuse '-pcap: needs -net user' -pcap "$T/x"
refuse '-port-file .*: needs a -port' -net user -port-file "$T/x"
for v in 0 65536 -1 80/sctp 80: :80 1:2:3 80,81 x 1.5 99999999999999999999 \
    '80 ' '8,0:80'; do
	refuse "-port $v: is not" -net user -port="$v"
done
refuse "-port 81: .*twice" -net user -port $p4:81 -port 81
refuse '-port: .*empty' -net user -port ''
for v in 10.42.0.9:80 10.42.0.9=127.0.0.1:80 10.42.0.9:80=127.0.0.1 \
    10.42.0.9:0=127.0.0.1:80 10.42.0.9:80=localhost:80 :80=:80 \
    10.42.0.9:80=127.0.0.1:80,x 10.42.0.256:80=127.0.0.1:80 \
    10.42.0.9:80-tcp:1=127.0.0.1:1 '[::1]:80=127.0.0.1:80'; do
	refuse "-service $(echo "$v" | sed 's/[][]/\\&/g'): is not" \
	    -net user -service "$v"
done
for v in 10.42.0.2 10.42.0.3 10.42.0.10 10.42.0.0 10.42.0.255 10.43.0.9 \
    127.0.0.1; do
	refuse "-service $v:80=127.0.0.1:80: .*not in 10.42" \
	    -net user -service "$v:80=127.0.0.1:80"
done
refuse '-pcap /nowhere/x: No such' -net user -pcap /nowhere/x
refuse "-pcap $T: Is a directory" -net user -pcap "$T"
for v in x -1 3x 1,2 99999999999999999999; do
	refuse "-netfd $v: is not" -netfd="$v"
done
refuse '-netfd 99: fd 99: Bad file' -netfd 99
refuse '-netfd 0: .*cannot be written to|-netfd 0: is not a socket' -netfd 0
refuse '-netfd 1: is not a socket' -netfd 1
for v in x =3 a/b=3 a= .=3 "a${nl}b=3" ktest.x=3; do
	refuse '-chardev .*: (is not|names)' -chardev "$v"
done
refuse '-chardev a=98: fd 98: Bad file' -chardev a=98
refuse '-chardev a=/nowhere/x: No such' -chardev a=/nowhere/x
refuse '-chardev a=unix:/nowhere/x: No such' -chardev a=unix:/nowhere/x
refuse "-chardev a=unix:$T/nine: Connection refused" \
    -chardev a=unix:"$T/nine"
refuse '-chardev .*: the name is used' -chardev a="$T/1" -chardev a="$T/2"
refuse '-chardev b=1: the fd is used' -chardev a=1 -chardev b=1
long=$(printf %0200d 0)
refuse '-chardev .*: a socket' -chardev a=unix:/"$long"
refuse '-chardev .*: is not' -chardev "$long=1"
refuse '-link .*: a socket' -link /"$long"
refuse "-link $T/nine: is not a socket" -link "$T/nine"
refuse '-gdb 0: is neither' -gdb 0
refuse '-gdb x: is neither' -gdb x
refuse '-gdb .*: a socket' -gdb unix:
many=
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
	many="$many -chardev p$i=$T/p$i"
done
# shellcheck disable=SC2086 # words
refuse '-chardev p12=.*: is one too many .limit 11' $many
many=
for i in $(seq 65); do
	many="$many -port $i"
done
# shellcheck disable=SC2086
refuse '-port 65: is one too many' -net user $many

many=
for i in 1 2 3 4 5 6 7; do
	many="$many -link $T/l$i"
done
# shellcheck disable=SC2086
run "$KTEST" -snapshot none -qemu "$FAKE" -init "$GUEST" -kernel-path "$FAKE_KERNEL" -n \
    $many -- "$GUEST"
like "$err" '^ktest: -link: too many interfaces .limit 6' \
    'too many interfaces'

# -- A port that is taken --
mkfifo "$T/holds"
"$N" bind $p5 <"$T/holds" 2>"$T/bind.err" &
exec 9>"$T/holds"
until_true grep -q holding "$T/bind.err"
refuse "-port $p5:80: 127.0.0.1:$p5: Address already" -net user \
    -port $p5:80
refuse "-gdb $p5: 127.0.0.1:$p5: Address already" -gdb $p5
exec 9>&-
wait
refuse "-port $p6:81: .*twice" -net user \
    -port $p6:80 -port $p6:81
rule="Could not set up host forwarding rule 'tcp:127.0.0.1:$p7-:80'"
fake "say=qemu:$rule\\n;exit=1" -net user -port $p7:80 -- "$GUEST" exit 0
is "$status" 125 'a fixed port lost to somebody else: 125'
like "$err" "^ktest: -port $p7:80: 127.0.0.1:$p7: .*taken" \
    'a fixed port lost to somebody else: named'

# A QEMU that cannot bind what was chosen, twice, then can.
cat >"$T/unlucky" <<'EOF'
#!/bin/sh
# QEMU, as when somebody took the port that was chosen for it
n=$(cat "$0.n" 2>/dev/null || echo 0)
echo $((n + 1)) >"$0.n"
rule=$(echo "$*" | sed 's/.*hostfwd=\([^, ]*\).*/\1/')
echo "$rule" >>"$0.rules"
if [ "$n" -lt "$UNLUCKY" ]; then
	echo "qemu: Could not set up host forwarding rule '$rule'" >&2
	exit 1
fi
exec "$REAL_QEMU" "$@"
EOF
chmod +x "$T/unlucky"
export REAL_QEMU="$FAKE" UNLUCKY=2
FAKE_DO='hello;clock;go;x=0'
export FAKE_DO
run "$KTEST" -snapshot none -qemu "$T/unlucky" -init "$GUEST" -kernel-path "$FAKE_KERNEL" \
    -accel tcg -net user -port 80 -port-file "$T/pf" -- "$GUEST" exit 0
is "$status" 0 'free ports are chosen anew until QEMU has them'
is "$(sort -u "$T/unlucky.rules" | wc -l)" 3 'each time others'
last=$(sed -n '$s/tcp:\(.*\)-:80/\1/p' "$T/unlucky.rules")
text "$err" "ktest: port 80 -> $last$nl" 'the last are told'
text "$T/pf" "80 ${last#*:}$nl" 'the last are in the port file'
rm "$T/unlucky.n"
UNLUCKY=99
run "$KTEST" -snapshot none -qemu "$T/unlucky" -init "$GUEST" -kernel-path "$FAKE_KERNEL" \
    -accel tcg -net user -port 80 -- "$GUEST" exit 0
is "$status" 125 'but not for ever'

fake 'hello;clock;go;x=0' -net user -port 80 -port-file /nowhere/x -- "$GUEST"
is "$status" 125 'a port file that cannot be written: 125'
like "$err" '^ktest: -port-file /nowhere/x: No such' 'it is named'

fake 'exit=1' -net user -port 80 -port-file "$T/pf" -- "$GUEST"
ok "an earlier run's port file is taken away" test ! -e "$T/pf"
refuse '-port-file /dev/null: .*not a regular file' -net user -port 80 \
    -port-file /dev/null

# -- What QEMU inherits --
inherits() { # WHAT [FD...]: 0 to 10, the monitor's, and these
	inherits_what=$1
	shift
	is "$(sort -n "$T/log/start.1.fds" | sed 's/ .*//' | tr '\n' ' ')" \
	    "$(seq -s ' ' 0 10) 12 $(echo "$* " | sed 's/^ //')" \
	    "QEMU has the fds of $inherits_what"
}

fake 'hello;clock;go;x=0' -- "$GUEST"
inherits 'a plain run'
fake 'hello;clock;go;x=0' -net user -port 80 -port 81/udp -chardev \
    a="$T/a" -chardev b=1 -- "$GUEST"
inherits 'two extra ports' 15 16
export FAKE_DO='hello;clock;go;x=7'
rm -f "$T/log"/*
run "$N" fds-open 300 "$KTEST" -snapshot none -qemu "$FAKE" -init "$GUEST" -kernel-path \
    "$FAKE_KERNEL" -accel tcg -- "$GUEST"
is "$status" 7 'ktest with 300 fds open'
inherits 'it'
for closed in '<&-' '>&-' '2>&-' '<&- >&-' '<&- >&- 2>&-'; do
	rm -f "$T/log"/*
	eval '"$KTEST" -snapshot none -qemu "$FAKE" -init "$GUEST" -kernel-path \
	    "$FAKE_KERNEL" -accel tcg -- "$GUEST"' "$closed"
	is "$?" 7 "ktest with $closed"
	is "$(grep '^10 ' "$T/log/start.1.fds")" \
	    '10 /memfd:ktest (deleted)' "QEMU's fds then"
done

# -- Real traffic --
[ -f "${KTEST_CLOUD:-}" ] || {
	skip 'no KTEST_CLOUD' 'real traffic'
	finish
}

# start NAME OPTIONS...: a guest in the background
start() {
	start_name=$1
	shift
	rm -f "$T/$start_name.port"
	"$KTEST" -kernel-path "$KTEST_CLOUD" -accel "$ACCEL" -memory 256M \
	    -timeout "$guard" "$@" >"$T/$start_name.out" \
	    2>"$T/$start_name.err" </dev/null &
	pid=$!
}

ended() { # NAME WHAT: its status is 0
	wait "$pid"
	err=$T/$1.err
	is "$?" 0 "$2"
}

port_of() { # NAME PORT
	sed -n "s,^$2 ,,p" "$T/$1.port"
}

start in -net user -port 80 -port 80/udp -port-file "$T/in.port" \
    -pcap "$T/in,1 .pcap" -- "$N" serve 0.0.0.0 80 100
until_true test -f "$T/in.port"
port=$(port_of in 80)
run "$N" client 127.0.0.1 "$port" 100 10485760
is "$status" 0 'the host reaches a server in the guest'
text "$out" "100 connections, 10485700 bytes each way$nl" \
    '100 connections, 10 MiB'
ended in 'that guest'
text "$T/in.out" "served 100 connections, 10485700 bytes$nl" 'as it saw it'
like "$T/in.err" "^ktest: port 80 -> 127.0.0.1:$port\$" 'the port was told'
like "$T/in.err" "^ktest: port 80/udp -> 127.0.0.1:$(port_of in 80/udp)\$" \
    'the UDP port was told'
run "$N" handshake "$T/in,1 .pcap" 80
text "$out" "handshake$nl" 'the capture holds the handshake'
if command -v tcpdump >/dev/null; then
	run tcpdump -nr "$T/in,1 .pcap" 'tcp port 80'
	like "$out" '10.42.0.10.80: Flags \[S\]' 'tcpdump reads the capture'
else
	skip 'no tcpdump' 'tcpdump reads the capture'
fi

start udp -net user -port 53/udp -port-file "$T/udp.port" -- \
    "$N" udp-serve 0.0.0.0 53
until_true test -f "$T/udp.port"
run "$N" udp-client 127.0.0.1 "$(port_of udp 53/udp)" 50
text "$out" "50 datagrams$nl" 'UDP into the guest'
ended udp 'that guest'

# out of the guest; the service's server has to be there before QEMU
"$N" serve 127.0.0.1 $p1 3 >"$T/serve.out" 2>"$T/serve.err" &
"$N" serve 127.0.0.1 $p2 1 >"$T/service.out" 2>"$T/service.err" &
"$N" udp-serve 127.0.0.1 $p3 >/dev/null 2>&1 &
until_true grep -q serving "$T/serve.err"
until_true grep -q serving "$T/service.err"
cat >"$T/out.sh" <<EOF
set -e
$N client 10.42.0.2 $p1 3 300000
$N talk 10.42.0.50 80 'a request'
$N udp-client 10.42.0.2 $p3 20
EOF
cloud -net user -service 10.42.0.50:80=127.0.0.1:$p2 -file "$N" \
    -- /bin/sh -c "$(cat "$T/out.sh")"
is "$status" 0 'the guest reaches servers of the host'
text "$out" "3 connections, 300000 bytes each way${nl}a request
20 datagrams$nl" 'through 10.42.0.2, through -service, by UDP'
wait
text "$T/service.out" "served 1 connections, 10 bytes$nl" \
    'the service saw the request'
cloud -net user -service 10.42.0.50:80=127.0.0.1:$p2 -- "$N" fds
is "$status" 125 'a service that nobody serves: 125'
like "$err" "^ktest: .*10.42.0.50:80-tcp:127.0.0.1:$p2.*refused" \
    'it is named'

server=$(sed -n 's/^nameserver //p' /etc/resolv.conf | head -n 1)
if [ -n "$server" ] && "$N" dns "$server" example.org >"$T/dns" 2>&1; then
	cloud -net user -- "$N" dns 10.42.0.3 example.org
	same "$out" "$T/dns" 'DNS in the guest answers as here'
else
	skip 'this host has no DNS' 'DNS in the guest'
fi

# -- The original's mode: a network that its own /init would configure --
if [ -f "${KTEST_TINY:-}" ] && [ -f "$top/init" ]; then
	build mkcpio mkcpio.c
	"$built" "init=$top/init" "tester=$N" >"$T/original.cpio"
	run "$KTEST" -kernel-path "$KTEST_TINY" -accel "$ACCEL" -initrd-path \
	    "$T/original.cpio" -net user -port 80 -port-file "$T/o.port"
	is "$status" 2 "the original's mode with a network"
	like "$T/o.port" '^80 [0-9]*$' 'its port is in the port file'
	like "$err" '^ktest: port 80 -> 127.0.0.1:[0-9]*$' 'its port is told'
else
	skip 'no KTEST_TINY' "the original's mode with a network"
fi

# -- Twenty at once --
kernel=$KTEST_CLOUD
[ ! -f "${KTEST_TINY:-}" ] || kernel=$KTEST_TINY
twenty=
set --
[ -n "${KTEST_SNAPSHOT:-}" ] || [ "${KTEST_RUNS:-}" = all ] || {
	set -- -snapshot "$T/twenty"
	run "$KTEST" -kernel-path "$kernel" -accel "$ACCEL" -memory 128M \
	    -net user "$@" -- "$GUEST" exit 20
	is "$status" 20 'twenty at once: their machine is saved'
}
for i in $(seq 20); do
	"$KTEST" -kernel-path "$kernel" -accel "$ACCEL" -memory 128M \
	    -timeout "$guard" -net user -port 80 -port-file "$T/20.$i" \
	    "$@" -- "$N" say 0.0.0.0 80 "I am $i" 2>"$T/20.$i.err" </dev/null &
	twenty="$twenty $!"
done
right=0 ended=0
for i in $(seq 20); do
	until_true test -f "$T/20.$i"
	[ "$("$N" read 127.0.0.1 "$(sed 's/^80 //' "$T/20.$i")")" != \
	    "I am $i" ] || right=$((right + 1))
done
for pid in $twenty; do
	wait "$pid" && ended=$((ended + 1))
done
is "$right $ended" '20 20' 'twenty at once: each has its own port'
is "$(cat "$T"/20.[0-9] "$T"/20.[0-9][0-9] | sort -u | wc -l)" 20 \
    'twenty at once: twenty ports'

# -- Cables --
start cable1 -link "$T/link" -- "$N" cable 10.9.0.1 serve 0.0.0.0 80 3
cable1=$pid
start cable2 -link "$T/link" -- "$N" cable 10.9.0.2 client 10.9.0.1 80 3 \
    3000000
ended cable2 'two guests on a -link: the client'
pid=$cable1
ended cable1 'the server'
text "$T/cable2.out" "3 connections, 3000000 bytes each way$nl" \
    'TCP across the -link'
ok 'the link is taken away' test ! -e "$T/link"
run "$KTEST" -kernel-path "$KTEST_CLOUD" -accel "$ACCEL" -link "$T/link" \
    -timeout 1 -- "$N" hold
is "$status" 124 'a -link to nobody'
like "$err" '^ktest: -link .*nobody came' 'a -link to nobody: why'
ok 'a -link to nobody: taken away' test ! -e "$T/link"

cat >"$T/cord.sh" <<EOF
k='$KTEST -kernel-path $KTEST_CLOUD -accel $ACCEL -memory 256M -timeout 200'
\$k -netfd 7 -- $N cable 10.9.0.1 serve 0.0.0.0 80 1 </dev/null 8>&- &
\$k -netfd 8 -net user -- $N cable 10.9.0.2 client 10.9.0.1 80 1 500000 \
    7>&- || exit
wait \$!
EOF
run "$N" cord 7 sh "$T/cord.sh"
is "$status" 0 'two guests on a -netfd'
like "$out" '^1 connections, 500000 bytes each way$' 'TCP across the -netfd'

# -- Extra ports --
"$N" unix-talk "$T/sock" 200000 >"$T/sock.out" 2>"$T/sock.err" &
until_true test -S "$T/sock"
cat >"$T/ports.sh" <<EOF
set -e
$N port-echo back 200000
echo to a file >/dev/virtio-ports/file
echo to a fd >/dev/virtio-ports/fd
echo /dev/virtio-ports/*
$N fds
EOF
echo 'was here' >"$T/fd.out"
cloud -chardev back=unix:"$T/sock" -chardev file="$T/file.out" \
    -chardev fd=5 -file "$N" -- /bin/sh -c "$(cat "$T/ports.sh")" \
    5>>"$T/fd.out"
is "$status" 0 'extra ports'
wait
text "$T/sock.out" "200000 bytes each way$nl" 'a unix socket, both ways'
text "$T/file.out" "to a file$nl" 'a file'
text "$T/fd.out" "was here${nl}to a fd$nl" 'a fd'
like "$out" '^/dev/virtio-ports/back /dev/virtio-ports/fd /dev/virtio-ports/file$' \
    'the guest finds them by name'
is "$(grep -c '^[0-9]* [a-z]*:' "$out")" 3 'the program has fds 0, 1 and 2'

cat >"$T/cord.sh" <<EOF
$KTEST -kernel-path $KTEST_CLOUD -accel $ACCEL -timeout 200 \
    -chardev data=7 -- $N port-echo data 3000000 </dev/null 8>&- &
exec 7>&-
$N fd-talk 8 3000000 && wait \$!
EOF
run "$N" cord 7 sh "$T/cord.sh"
text "$out" "3000000 bytes each way$nl" 'a socket, 3 MB both ways'
is "$status" 0 'that guest'

many=
for i in 1 2 3 4 5 6 7 8 9 10 11; do
	many="$many -chardev p$i=$T/many.$i"
done
cat >"$T/most.sh" <<'EOF'
for i in /sys/class/net/*; do
	read -r mac <$i/address
	case $mac in 02:4b:*) echo "$mac" ;; esac
done
for i in /dev/virtio-ports/*; do
	echo "${i##*/}" >$i
done
EOF
run "$N" cord 20 "$N" cord 22 "$N" cord 24 "$KTEST" -kernel-path \
    "$KTEST_CLOUD" -accel "$ACCEL" -netfd 20 -netfd 21 -netfd 22 -netfd 23 \
    -netfd 24 -netfd 25 $many -- /bin/sh -c "$(cat "$T/most.sh")"
is "$status" 0 'six cables and eleven ports'
is "$(sort -u "$out" | wc -l)" 6 'six interfaces, an address each'
is "$(cat "$T"/many.? "$T"/many.?? | sort -t p -k 2n | tr '\n' ' ')" \
    'p1 p2 p3 p4 p5 p6 p7 p8 p9 p10 p11 ' 'eleven ports, each its own'

# -- A debugger --
"$N" gdb unix:"$T/gdb" &
cloud -gdb unix:"$T/gdb" -- "$GUEST" exit 9
is "$status" 9 'a guest that waited for a debugger'
like "$err" "^ktest: the guest waits for gdb: target remote $T/gdb\$" \
    'it says where'
wait
cloud -gdb unix:"$T/gdb2" -timeout 2 -- "$GUEST" exit 9
is "$status" 124 'a guest that waits for a debugger'

finish
