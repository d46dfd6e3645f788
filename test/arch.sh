#!/bin/sh
# Kernels of other architectures: Debian's for arm64, riscv64 and s390x, each
# in the machine of its row. What is missing here of one is said, and skipped.
# With KTEST_ARCH=all, or the names of some, also what takes long: restores,
# processors, networks, terminals, debuggers, failures, hangs, test runners, and
# a whole Debian.
. "$(dirname "$0")/tap.sh"

need_ktest
all=${KTEST_ARCH:-}
secs=240	# more than a boot takes on a host that is busy
[ -z "$all" ] || guard=7200	# go compiles its library, dpkg unpacks
printf 'of the host\n' >"$T/data"
mkdir "$T/dir"
printf 'mounted\n' >"$T/dir/file"
mkdir "$T/bin"
ln -s "$(command -v xz)" "$T/bin/xz"
"$GUEST" random 300000 3 >"$T/random" 2>/dev/null
"$GUEST" random 100000 4 >"$T/random.err" 2>/dev/null

# row NAME:ARCH: $name, $arch and $qemu; $kernel, $k, a cold ktest with it, and
# $program and $dynamic for it, whether they are there or not
row() {
	name=${1%:*} arch=${1#*:}
	qemu=qemu-system-$arch
	kernel=$(sh "$here/kernels.sh" path "$name" 2>/dev/null) || kernel=
	k="$KTEST -accel tcg -timeout $secs -kernel-path $kernel"
	program=$build_dir/guest-$arch
	dynamic=$build_dir/guest-dyn-$arch
}

# foreign NAME:ARCH: it goes to $have if all of it is here
have=
foreign() {
	row "$1"
	lack=
	[ -n "$kernel" ] || lack="no kernel: test/kernels.sh $name"
	command -v "$qemu" >/dev/null || lack="no $qemu"
	command -v "$arch-linux-gnu-gcc" >/dev/null ||
	    lack="no $arch-linux-gnu-gcc"
	if [ -z "$lack" ]; then
		make -s -C "$top" "init-$arch" >/dev/null 2>&1 ||
		    lack="no init-$arch"
		cross "guest-dyn-$arch" guest.c
		cross "guest-$arch" guest.c -static
	fi
	[ -z "$lack" ] || {
		skip "$lack" "$arch: all of it"
		return
	}
	have="$have $1"
}

cross() { # NAME SOURCE [FLAGS...]: as build does, for $arch
	CC=$arch-linux-gnu-gcc build "$@"
}

each() { # COMMAND...: for each that is here
	for each_row in $have; do
		row "$each_row"
		"$@"
	done
}

# cold, warm NAME OPTIONS... -- PROGRAM...: a job with a boot, or without
# shellcheck disable=SC2086 # $k is words
cold() {
	cold_name=$arch.$1
	shift
	job "$cold_name" $k "$@"
}

warm() {
	warm_name=$1
	shift
	cold "$warm_name" -v -snapshot "$T/$arch.snapshot" "$@"
}

# script NAME TEXT [ARGUMENT...]: a job of the shell's, in which "$@" is $k
# shellcheck disable=SC2086
script() {
	script_name=$arch.$1
	printf '%s\n' "set -e; cd $(quote "$T")" "$2" >"$T/$script_name.sh"
	job "$script_name" sh "$T/$script_name.sh" $k
}

# ended NAME STATUS WHAT: a job's result
ended() {
	result "$arch.$1"
	is "$status" "$2" "$arch: $3"
}

# -- From boot --
cold_jobs() {
	cp "$T/random" "$T/jobs/$arch.both.in"
	warm saved -- "$program" exit 42
	cold both -module loop -file "$T/data:/data" -- "$program" both 100000 4
	cold panic -- "$program" sysrq c
	cold host -mount "$T/dir:/mnt" -file "$T/data:/data" -module \
	    dummy:numdummies=3 -- "$program" show /mnt/file /data \
	    /sys/class/net/dummy2/mtu
}

cold_results() {
	ended saved 42 'a machine is saved'
	like "$err" 'snapshot .*: saved' "$arch: and said so"
	ended both 0 'streams both ways'
	same "$out" "$T/random" "$arch: stdin and stdout"
	same "$err" "$T/random.err" "$arch: stderr"
	ended panic 123 'a panic'
	like "$err" '^ktest: the guest panicked: sysrq' "$arch: a line says so"
	ended host 0 'a mount, a file, a module with a parameter'
	text "$out" "mounted${nl}of the host${nl}1500$nl" "$arch: what they hold"
}

# -- Restored; what hangs takes no processor, and waits beside the others --
codes='0 1 255'
signals='9 11'
[ -z "$all" ] || {
	codes='0 1 2 32 64 124 125 126 127 128 254 255'
	signals='1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 24 25 26 27 29 30 31 34 64'
}

warm_jobs() {
	warm time -timeout 60 -- "$program" hang
	for n in $codes; do
		warm "exit$n" -- "$program" exit "$n"
	done
	for n in $signals; do
		warm "signal$n" -- "$program" raise "$n"
	done
	warm timers -- "$program" timers
	warm dynamic -- "${dynamic%"$arch"}%a" exit 5
}

warm_results() {
	for n in $codes; do
		ended "exit$n" "$n" "exit $n"
		like "$err" 'snapshot .*: fits' "$arch: exit $n: restored"
		unlike "$err" 'snapshot .*: saved' \
		    "$arch: exit $n: not saved anew"
	done
	for n in $signals; do
		ended "signal$n" $((128 + n)) "signal $n"
	done
	ended timers 0 'time passes as it should'
	if command -v "qemu-$arch" >/dev/null; then
		ended dynamic 5 'a dynamic program, by %a'
	else
		skip "no qemu-$arch" "$arch: a dynamic program, by %a"
	fi
	ended time 124 'a timeout'
	like "$err" '^ktest: timeout after 60 s: the program sleeps in ' \
	    "$arch: a line says so, and where it hangs"
	text "$out" "ready$nl" "$arch: what the program said until then"
}

# -- What is refused, or found elsewhere --
refused() { # STATUS WHAT REGEX COMMAND...
	refused_status=$1 refused_what=$2 refused_line=$3
	shift 3
	run "$@"
	is "$status" "$refused_status" "$arch: $refused_what"
	like "$err" "$refused_line" "$arch: $refused_what: said"
}

# shellcheck disable=SC2086
refusals() {
	refused 0 'another command line' "stale because of QEMU's arguments" $k \
	    -n -v -snapshot "$T/$arch.snapshot" -cmdline another=1 -- \
	    "$program" exit 0
	cp "$T/$arch.snapshot" "$T/$arch.damaged"
	printf 'damage' | dd of="$T/$arch.damaged" bs=1 seek=300000 \
	    conv=notrunc 2>/dev/null
	refused 0 'a damaged snapshot' 'stale because of damage' $k -n -v \
	    -snapshot "$T/$arch.damaged" -- "$program" exit 0
	rm "$T/$arch.damaged"
	refused 125 "a program of this host's" \
	    "^ktest: .*/guest: is for $(uname -m), the kernel for $arch\$" $k \
	    -- "$GUEST" exit 0
	refused 125 "an init of this host's" "^ktest: .*is for $(uname -m), the" \
	    $k -init "$GUEST" -- "$program" exit 0
	cp "$KTEST" "$T/ktest"
	refused 125 'no init beside ktest' \
	    "no init-$arch beside ktest.*make ARCHS=$arch" "$T/ktest" -n \
	    -accel tcg -kernel-path "$kernel" -- "$program"
	refused 125 'no QEMU' \
	    "^ktest: $qemu is not installed \(Debian: qemu-system-" env \
	    PATH="$T/bin" $k -- "$program" exit 0
	refused 125 "a dynamic program, no qemu-$arch" \
	    "^ktest: .* dynamically, for $arch: link it statically" env \
	    PATH="$T/bin" $k -- "$dynamic" exit 0
	[ "$arch" = aarch64 ] || refused 125 'no UEFI' \
	    '^ktest: -uefi: there is no firmware known for it; name it' $k \
	    -uefi -- "$program" exit 0
	refused 125 'no KVM for it' '^ktest: ' "$KTEST" -accel kvm -kernel-path \
	    "$kernel" -- "$program" exit 0
}

# -- What takes long --
restores() { # COUNT: how many of them failed
	restores_bad=0
	for restores_i in $(seq "$1"); do
		# shellcheck disable=SC2086
		run $k -v -snapshot "$T/$arch.snapshot" -- "$program" \
		    exit $((restores_i % 100))
		[ "$status" = $((restores_i % 100)) ] &&
		    grep -q 'snapshot .*: fits' "$err" ||
		    restores_bad=$((restores_bad + 1))
	done
	echo "$restores_bad"
}

# sick NAME BYTES: $T/$arch.NAME.ko is Debian's dummy.ko without its signature,
# and begins with these, behind what ftrace replaces. Four zeros are no
# instruction on any of them.
sick() {
	sick_ko=$T/$arch.$1.ko
	xz -dc "$(find "${kernel%/boot/*}/lib/modules/" -name dummy.ko.xz)" \
	    >"$T/dummy.ko"
	"$arch-linux-gnu-objcopy" "$T/dummy.ko" "$sick_ko"
	sick_at=$("$arch-linux-gnu-readelf" -SsW "$sick_ko" | awk '
		$2 == ".init.text" || $3 == ".init.text" {
			sub(/.*PROGBITS */, ""); section = $2 }
		$8 == "init_module" { at = $2 }
		END { print "$((0x" section " + 0x" at " + '"$skip"'))" }')
	# shellcheck disable=SC2059
	printf "$2" | dd of="$sick_ko" bs=1 seek="$(eval "echo $sick_at")" \
	    conv=notrunc 2>/dev/null
}

# What the report begins with, what jumps to itself; riscv64 panics at once
failure() {
	worst=oops
	case $arch in
	aarch64) line='Internal error: Oops' loop='\0\0\0\024' skip=8 ;;
	riscv64) line='Oops' loop='\157\0\0\0' skip=8
		worst=panic ;;
	s390x) line='illegal operation: ' loop='\247\364\0\0' skip=6 ;;
	esac
}

# shellcheck disable=SC2086,SC2016
long_jobs() {
	failure
	cross "net-guest-$arch" net-guest.c -static
	net=$built
	sick oops '\0\0\0\0'
	sick loop "$loop"
	cp "$T/random" "$T/jobs/$arch.packed.in"
	gzip -1 -c "$kernel" >"$T/${kernel##*/}.gz"
	cold cpus -cpus 4 -- "$program" cpus 4
	job "$arch.packed" $KTEST -accel tcg -timeout $secs -modules \
	    "${kernel%/boot/*}/lib/modules/"* -kernel-path \
	    "$T/${kernel##*/}.gz" -- "$program" both 100000 4
	cold disk -disk 16M -memory 2G -- "$program" show \
	    /sys/block/vda/size
	port=$((port + 1))
	script net "'$N' say 127.0.0.1 $port hello & server=\$!
	    \"\$@\" -net user -- '$net' read 10.42.0.2 $port
	    wait \$server"
	warm spin -timeout 60 -- "$program" spin
	cold oops -health warn -file "$T/$arch.oops.ko:/sick.ko" -- "$program" \
	    load /sick.ko
	cold expected -expect $worst -file "$T/$arch.oops.ko:/sick.ko" -- \
	    "$program" load /sick.ko
	cold loop -timeout 90 -file "$T/$arch.loop.ko:/sick.ko" -- "$program" \
	    load /sick.ko
	job "$arch.tty" "$PTY" expect ready raw send '\cC' -- $k -tty -- \
	    "$program" hang
	script port "\"\$@\" -net user -port 80 -port-file $arch.port -- \
	    '$net' serve 0.0.0.0 80 3 & server=\$!
	    until [ -f $arch.port ]; do sleep 0.1; done
	    '$N' client 127.0.0.1 \$(sed 's/^80 //' $arch.port) 3 300000
	    wait \$server"
	script link "\"\$@\" -link $arch.link -- '$net' cable 10.9.0.1 serve \
	    0.0.0.0 80 3 & server=\$!
	    \"\$@\" -link $arch.link -- '$net' cable 10.9.0.2 client \
	    10.9.0.1 80 3 300000
	    wait \$server"
	script chardev "'$N' unix-talk $arch.sock 200000 & talk=\$!
	    until [ -S $arch.sock ]; do sleep 0.1; done
	    \"\$@\" -chardev back=unix:$arch.sock -- '$net' port-echo back 200000
	    wait \$talk"
	script gdb "\"\$@\" -gdb unix:$arch.gdb -- '$program' exit 9 & guest=\$!
	    until [ -S $arch.gdb ]; do sleep 0.1; done
	    gdb-multiarch -nx -batch -ex 'target remote $arch.gdb' -ex 'p \$pc' \
	    -ex stepi -ex 'p \$pc' -ex detach
	    wait \$guest"
	[ "$arch" != aarch64 ] || cold uefi -uefi -- "$program" exit 8
	runner_jobs
}

# Test suites by their own runners
# shellcheck disable=SC2016
runner_jobs() {
	mkdir -p "$T/go" "$T/c.$arch"
	printf 'module m\n' >"$T/go/go.mod"
	cat >"$T/go/m_test.go" <<-end
		package m

		import ("os"; "runtime"; "testing")

		func TestArch(t *testing.T) {
			if runtime.GOARCH != os.Getenv("ARCH") {
				t.Fatal(runtime.GOARCH)
			}
		}

		func TestFails(t *testing.T) { t.Fatal("as it should") }
	end
	for n in pass fail; do
		"$arch-linux-gnu-gcc" -static "$here/runners/$n.c" -o \
		    "$T/c.$arch/$n"
	done
	script go "cd go; export GOARCH=$name CGO_ENABLED=0
	    exec go test -v -exec \"\$* -env ARCH=$name\""
	script prove "cd c.$arch; exec prove -v -e \"\$* -tap --\" ./pass ./fail"
}

# shellcheck disable=SC2059
long_results() {
	failure
	ended cpus 0 'four processors'
	ended packed 0 'a packed kernel'
	same "$out" "$T/random" "$arch: a packed kernel: stdout"
	ended disk 0 'a disk, more memory'
	text "$out" "32768$nl" "$arch: a disk: its sectors"
	ended net 0 'a network'
	text "$out" "hello$nl" "$arch: what this host says there"
	ended spin 124 'a program that spins'
	# where its host is busy, init may not answer in time
	like "$err" " s: (the program runs \(CPU-bound\)|init does not answer, $(:
	    )CPU 0 runs) in user space\$" "$arch: it is said"
	ended oops 123 'an oops'
	like "$err" "^ktest: the kernel failed: $line" "$arch: an oops: said"
	like "$err" '(init_module|dummy).*\[dummy' "$arch: an oops: its trace"
	ended expected 0 "-expect $worst"
	ended loop 124 'a kernel that spins'
	# where init is not let in, the registers say it
	like "$err" '(init does not answer, CPU 0 |_init_module\+)' \
	    "$arch: it is said"
	ended tty 0 'a terminal, Ctrl-C'
	like "$err" '^status 130 modes same' "$arch: a terminal: SIGINT"
	ended port 0 '-port'
	like "$out" '^3 connections, 300000 bytes each way$' "$arch: -port: TCP"
	ended link 0 '-link'
	like "$out" '^3 connections, 300000 bytes each way$' "$arch: -link: TCP"
	ended chardev 0 '-chardev'
	like "$out" '^200000 bytes each way$' "$arch: -chardev: bytes"
	if command -v gdb-multiarch >/dev/null; then
		ended gdb 9 'a debugger'
		is "$(grep -c '^\$[12] = .*0x' "$out")" 2 \
		    "$arch: a debugger: two addresses"
	else
		skip 'no gdb-multiarch' "$arch: a debugger"
	fi
	if [ "$arch" != aarch64 ] || [ ! -d /usr/share/AAVMF ]; then
		skip 'no UEFI for it here' "$arch: -uefi"
	else
		ended uefi 8 '-uefi'
	fi
	ended go 1 'go test'
	like "$out" '^--- PASS: TestArch' "$arch: go test: one passes"
	like "$out" '^--- FAIL: TestFails' "$arch: go test: one fails"
	ended prove 1 'prove, with two C programs'
	like "$out" '^# passed in a guest' "$arch: prove: one passes"
	like "$out" '^# failed in a guest' "$arch: prove: one fails"
	is "$(restores 100)" 0 "$arch: 100 restores"
}

# A Debian that is unpacked here and configures itself there, which takes 15
# minutes of processor time: from an image, whose layer is in memory, as over 9p
# each file takes long; without what nobody reads there.
# shellcheck disable=SC2016,SC2086
debian() {
	[ "$(id -u)" = 0 ] && command -v debootstrap >/dev/null || {
		skip 'no debootstrap, or not root' "$arch: a Debian"
		return
	}
	debootstrap --foreign --arch="$name" --variant=minbase trixie "$T/root" \
	    >"$T/debootstrap" 2>&1
	is $? 0 "$arch: debootstrap --foreign"
	# in a container it takes the host's, which there would be itself
	[ ! -L "$T/root/proc" ] || { rm "$T/root/proc" && mkdir "$T/root/proc"; }
	mkdir -p "$T/root/etc/dpkg/dpkg.cfg.d"
	printf '%s\n' force-unsafe-io 'path-exclude=/usr/share/doc/*' \
	    'path-exclude=/usr/share/man/*' 'path-exclude=/usr/share/locale/*' \
	    >"$T/root/etc/dpkg/dpkg.cfg.d/ktest"
	truncate -s 1G "$T/image"
	mke2fs -q -t ext4 -d "$T/root" "$T/image"
	rm -rf "$T/root"
	run $k -timeout 2h -memory 2G -cpus 2 -rootfs "$T/image" -cwd / -- \
	    /bin/sh -c '/debootstrap/debootstrap --second-stage >&2 &&
	    [ ! -e /debootstrap ] && dpkg --print-architecture &&
	    dpkg --audit && exit 6'
	is "$status $(cat "$out")" "6 $name" \
	    "$arch: its second stage in the guest, then its dpkg is content"
	rm "$T/image"
}

# One call for all kernels, and Monogon mode where no module is needed
several() {
	set --
	for several_row in $have; do
		row "$several_row"
		set -- "$@" -kernel-path "$kernel"
	done
	run "$KTEST" -accel tcg -timeout "$secs" "$@" -- \
	    "${program%"$arch"}%a" exit 7
	is "$status $(grep -c ' failed   7 ' "$err")" "7 $(($# / 2))" \
	    'their kernels in one call'
	[ "$arch" = s390x ] || return 0
	build mkcpio mkcpio.c
	"$built" "init=${KTEST%/*}/init-s390x" "tester=$program" >"$T/cpio"
	run "$KTEST" -accel tcg -timeout "$secs" -kernel-path "$kernel" \
	    -initrd-path "$T/cpio"
	is "$status" 0 's390x in Monogon mode'
	like "$out" '^argument -test.v' 's390x in Monogon mode: its tester'
}

for each_row in arm64:aarch64 riscv64:riscv64 s390x:s390x; do
	case ,${all:-all}, in
	,all, | *,"${each_row%:*}",*) foreign "$each_row" ;;
	esac
done
each cold_jobs
jobs_run
each cold_results
each warm_jobs
jobs_run 3
each warm_results
each refusals
[ -n "$all" ] || finish

build pty pty.c
PTY=$built
ports 3
N=$built
each long_jobs
jobs_run
each long_results
each debian
several
finish
