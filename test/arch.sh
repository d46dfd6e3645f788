#!/bin/sh
# Kernels of other architectures: Debian's for arm64, riscv64 and s390x, each
# in the machine of its row. What is missing here of one is said, and skipped.
# With KTEST_ARCH=all also what takes long: restores, processors, a network.
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

# foreign NAME ARCH QEMU: $kernel, $program and what ktest needs for them are
# here; else the reason is in $lack
foreign() {
	lack=
	kernel=$(sh "$here/kernels.sh" path "$1" 2>/dev/null) ||
	    lack="no kernel: test/kernels.sh $1"
	command -v "$3" >/dev/null || lack="no $3"
	command -v "$2-linux-gnu-gcc" >/dev/null || lack="no $2-linux-gnu-gcc"
	[ -z "$lack" ] || return 1
	make -s -C "$top" "init-$2" >/dev/null 2>&1 || lack="no init-$2"
	CC=$2-linux-gnu-gcc build "guest-dyn-$2" guest.c
	dynamic=$built
	CC=$2-linux-gnu-gcc build "guest-$2" guest.c -static
	program=$built
	[ -z "$lack" ]
}

# cold, warm NAME OPTIONS... -- PROGRAM...: a job with a boot, or without
cold() {
	cold_name=$1
	shift
	job "$cold_name" "$KTEST" -accel tcg -timeout "$secs" -kernel-path \
	    "$kernel" "$@"
}

warm() {
	warm_name=$1
	shift
	cold "$warm_name" -v -snapshot "$T/$arch.snapshot" "$@"
}

# restored WHAT: the last result was of a machine that was restored, and not
# saved
restored() {
	like "$err" 'snapshot .*: fits' "$1: restored"
	unlike "$err" 'snapshot .*: saved' "$1: not saved anew"
}

# architecture NAME ARCH QEMU: all that is shown of one
architecture() {
	arch=$2
	foreign "$@" || {
		skip "$lack" "$arch: all of it"
		return
	}
	cp "$T/random" "$T/jobs/$arch.both.in"
	warm "$arch.saved" -- "$program" exit 42
	cold "$arch.both" -module loop -file "$T/data:/data" -- "$program" both \
	    100000 4
	cold "$arch.panic" -- "$program" sysrq c
	cold "$arch.host" -mount "$T/dir:/mnt" -file "$T/data:/data" -module \
	    dummy:numdummies=3 -- "$program" show /mnt/file /data \
	    /sys/class/net/dummy2/mtu
	jobs_run
	result "$arch.saved"
	is "$status" 42 "$arch: a machine is saved"
	like "$err" 'snapshot .*: saved' "$arch: and said so"
	result "$arch.both"
	is "$status" 0 "$arch: streams both ways"
	same "$out" "$T/random" "$arch: stdin and stdout"
	same "$err" "$T/random.err" "$arch: stderr"
	result "$arch.panic"
	is "$status" 123 "$arch: a panic"
	like "$err" '^ktest: the guest panicked: sysrq' "$arch: a line says so"
	result "$arch.host"
	is "$status" 0 "$arch: a mount, a file, a module with a parameter"
	text "$out" "mounted${nl}of the host${nl}1500$nl" "$arch: what they hold"

	for n in 0 1 255; do
		warm "$arch.exit$n" -- "$program" exit "$n"
	done
	for n in 9 11; do
		warm "$arch.signal$n" -- "$program" raise "$n"
	done
	warm "$arch.timers" -- "$program" timers
	warm "$arch.dynamic" -- "${dynamic%"$arch"}%a" exit 5
	warm "$arch.time" -timeout 60 -- "$program" hang
	jobs_run
	for n in 0 1 255; do
		result "$arch.exit$n"
		is "$status" "$n" "$arch: exit $n"
		restored "$arch: exit $n"
	done
	for n in 9 11; do
		result "$arch.signal$n"
		is "$status" $((128 + n)) "$arch: signal $n"
	done
	result "$arch.timers"
	is "$status" 0 "$arch: time passes as it should: $(cat "$out")"
	result "$arch.dynamic"
	if command -v "qemu-$arch" >/dev/null; then
		is "$status" 5 "$arch: a dynamic program, by %a"
	else
		skip "no qemu-$arch" "$arch: a dynamic program, by %a"
	fi
	result "$arch.time"
	is "$status" 124 "$arch: a timeout"
	like "$err" '^ktest: timeout after 60 s: ' "$arch: a line says so"
	text "$out" "ready$nl" "$arch: what the program said until then"

	warm "$arch.stale" -cmdline another=1 -- "$program" show /proc/cmdline
	jobs_run
	result "$arch.stale"
	is "$status" 0 "$arch: another command line"
	like "$err" 'stale because of QEMU.s arguments' "$arch: it is stale"
	like "$out" ' another=1$' "$arch: and saved anew"
	printf 'damage' | dd of="$T/$arch.snapshot" bs=1 seek=300000 \
	    conv=notrunc 2>/dev/null
	run "$KTEST" -n -v -accel tcg -snapshot "$T/$arch.snapshot" \
	    -kernel-path "$kernel" -cmdline another=1 -- "$program" exit 0
	like "$err" 'stale because of damage' "$arch: damage is seen"

	# -- What is refused, or found elsewhere --
	run "$KTEST" -accel tcg -kernel-path "$kernel" -- "$GUEST" exit 0
	is "$status" 125 "$arch: a program of this host's"
	like "$err" "^ktest: .*/guest: is for $(uname -m), the kernel for $arch\$" \
	    "$arch: a line says so"
	run "$KTEST" -accel tcg -kernel-path "$kernel" -init "$GUEST" -- \
	    "$program" exit 0
	is "$status" 125 "$arch: an init of this host's"
	cp "$KTEST" "$T/ktest"
	run "$T/ktest" -n -accel tcg -kernel-path "$kernel" -- "$program"
	is "$status" 125 "$arch: no init beside ktest"
	like "$err" "no init-$arch beside ktest.*make ARCHS=$arch" \
	    "$arch: a line says how it is made"
	run env PATH="$T/bin" "$KTEST" -accel tcg -kernel-path "$kernel" -- \
	    "$program" exit 0
	is "$status" 125 "$arch: no QEMU"
	like "$err" "^ktest: $3 is not installed \(Debian: qemu-system-" \
	    "$arch: a line names its package"
	run env PATH="$T/bin" "$KTEST" -accel tcg -kernel-path "$kernel" -- \
	    "$dynamic" exit 0
	is "$status" 125 "$arch: a dynamic program, no qemu-$arch"
	like "$err" "^ktest: .* dynamically, for $arch: link it statically" \
	    "$arch: a line says what to do"
	run "$KTEST" -accel kvm -kernel-path "$kernel" -- "$program" exit 0
	is "$status" 125 "$arch: no KVM for it"
	[ -z "$all" ] || long "$@"
}

restores() { # COUNT: how many of them failed
	restores_bad=0
	for restores_i in $(seq "$1"); do
		run "$KTEST" -v -accel tcg -timeout "$secs" -snapshot \
		    "$T/$arch.snapshot" -kernel-path "$kernel" -- "$program" \
		    exit $((restores_i % 100))
		[ "$status" = $((restores_i % 100)) ] &&
		    grep -q 'snapshot .*: fits' "$err" ||
		    restores_bad=$((restores_bad + 1))
	done
	echo "$restores_bad"
}

long() {
	rm "$T/$arch.snapshot"
	restores 1 >/dev/null
	is "$(restores 100)" 0 "$arch: 100 restores"
	ports 1
	build net-guest net-guest.c -static
	"$built" say 127.0.0.1 $((port + 1)) hello >/dev/null 2>&1 &
	CC=$2-linux-gnu-gcc build "net-guest-$2" net-guest.c -static
	cold "$arch.cpus" -cpus 4 -- "$program" cpus 4
	cold "$arch.net" -net user -- "$built" read 10.42.0.2 $((port + 1))
	GOARCH=$1 CGO_ENABLED=0
	export GOARCH CGO_ENABLED
	mkdir -p "$T/go"
	printf 'module m\n' >"$T/go/go.mod"
	cat >"$T/go/m_test.go" <<-end
		package m

		import ("runtime"; "testing")

		func TestArch(t *testing.T) {
			if runtime.GOARCH != "$1" { t.Fatal(runtime.GOARCH) }
		}

		func TestFails(t *testing.T) { t.Fatal("as it should") }
	end
	job "$arch.go" sh -c 'cd "$1" && shift && exec "$@"' sh "$T/go" go test \
	    -v -exec "$KTEST -accel tcg -timeout $secs -kernel-path $kernel"
	jobs_run
	unset GOARCH CGO_ENABLED
	result "$arch.cpus"
	is "$status" 0 "$arch: four processors"
	result "$arch.net"
	is "$status" 0 "$arch: a network"
	text "$out" "hello$nl" "$arch: what this host says there"
	result "$arch.go"
	is "$status" 1 "$arch: go test"
	like "$out" '^--- PASS: TestArch' "$arch: go test: one passes"
	like "$out" '^--- FAIL: TestFails' "$arch: go test: one fails"
	[ "$(id -u)" = 0 ] && command -v debootstrap >/dev/null || {
		skip 'no debootstrap, or not root' "$arch: a Debian"
		return
	}
	quiet_log=$T/debootstrap
	debootstrap --foreign --arch="$1" --variant=minbase trixie "$T/root" \
	    >"$quiet_log" 2>&1
	is $? 0 "$arch: debootstrap --foreign"
	run "$KTEST" -accel tcg -timeout 2h -memory 2G -kernel-path "$kernel" \
	    -rootfs "$T/root:rw" -cwd / -- /debootstrap/debootstrap --second-stage
	is "$status" 0 "$arch: its second stage, in the guest"
	run "$KTEST" -accel tcg -timeout "$secs" -kernel-path "$kernel" -rootfs \
	    "$T/root" -cwd / -- /bin/sh -c 'dpkg --print-architecture; exit 6'
	is "$status $(cat "$out")" "6 $1" "$arch: its shell and dpkg"
	rm -rf "$T/root"
}

# One call for all kernels, and Monogon mode where no module is needed
several() {
	set --
	for several_name in arm64 riscv64 s390x; do
		kernel=$(sh "$here/kernels.sh" path "$several_name") || return
		set -- "$@" -kernel-path "$kernel"
	done
	run "$KTEST" -accel tcg -timeout "$secs" "$@" -- \
	    "${program%"$arch"}%a" exit 7
	is "$status $(grep -c ' failed   7 ' "$err")" '7 3' 'three kernels, one call'
	build mkcpio mkcpio.c
	"$built" "init=${KTEST%/*}/init-s390x" "tester=$program" >"$T/cpio"
	run "$KTEST" -accel tcg -timeout "$secs" -kernel-path "$kernel" \
	    -initrd-path "$T/cpio"
	is "$status" 0 's390x in Monogon mode'
	like "$out" '^argument -test.v' 's390x in Monogon mode: its tester'
}

architecture arm64 aarch64 qemu-system-aarch64
architecture riscv64 riscv64 qemu-system-riscv64
architecture s390x s390x qemu-system-s390x
[ -z "$all" ] || [ "$arch $lack" != 's390x ' ] || several
finish
