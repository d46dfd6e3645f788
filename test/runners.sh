#!/bin/sh
# runners.sh: ktest where build systems and test runners start programs. One
# small project each (runners/NAME), built and run in guests: what passes, and
# then what fails, whose line and status 3 the tool has to show.
. "$(dirname "$0")/tap.sh"

need_ktest
kernel=${KTEST_TINY:-${KTEST_CLOUD:-}}
[ -f "$kernel" ] || skip_all 'no KTEST_TINY'

# A rustup's cargo finds its compiler by these.
RUSTUP_HOME=${RUSTUP_HOME:-${HOME:-}/.rustup}
export RUSTUP_HOME
HOME=$T/home
export HOME
mkdir "$HOME" "$T/bin"
printf '#!/bin/sh\nexec %s -accel %s "$@"\n' "$(quote "$KTEST")" "$ACCEL" \
    >"$T/bin/ktest"
chmod +x "$T/bin/ktest"
PATH=$T/bin:$PATH
ktest="ktest -kernel-path $kernel"

# project NAME TOOL...: goes to a copy of runners/NAME, with the two C tests;
# when one of the tools is missing that is all of it
project() {
	name=$1
	shift
	for tool; do
		command -v "$tool" >/dev/null && continue
		skip "no $tool" "$name"
		return 1
	done
	cp -R "$here/runners/$name" "$T/$name"
	cp "$here/runners/pass.c" "$here/runners/fail.c" "$T/$name"
	cd "$T/$name" || exit 1
}

# passes COMMAND...
passes() {
	run "$@"
	is "$status" 0 "$name: passes"
	[ "$status" = 0 ] || show "$out"
}

# fails REGEX COMMAND...: in its output are the test's line and REGEX
fails() {
	fails_line=$1
	shift
	run "$@"
	cat "$err" >>"$out"
	case $status in
	0 | *[!0-9]*)
		fail "$name: fails"
		diag "status $status"
		show "$out" ;;
	*) pass "$name: fails" ;;
	esac
	like "$out" '^(.*[^a-z])?failed in a guest$' \
	    "$name: the test's line is seen"
	like "$out" "$fails_line" "$name: its status is seen"
}

if project go go; then
	GOFLAGS='-mod=mod -vet=off' GOPROXY=off CGO_ENABLED=0
	export GOFLAGS GOPROXY CGO_ENABLED
	exec="$ktest -file . -cwd ."
	passes go test -exec "$exec" .
	cd broken || exit 1
	fails '^exit status 3$' go test -exec "$exec"
	cd ..
	fails '^FAIL.*/broken' go test -exec "$exec" ./...
	like "$out" '^ok .*guest' "$name: the package that passes, too"
	passes go test -count=1 -exec "$ktest -rootfs /" .
fi

if project cargo cargo cc; then
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$ktest -file testdata -cwd ."
	export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER
	passes cargo test --offline --lib
	fails 'exit status: 3' cargo test --offline
fi

if project cmake cmake ctest make cc; then
	emulator=$(echo "$ktest --" | tr ' ' ';')
	run cmake -DCMAKE_CROSSCOMPILING_EMULATOR="$emulator" .
	run cmake --build .
	passes ctest -R pass
	fails '50% tests passed' ctest --output-on-failure
fi

if project meson meson ninja cc; then
	KTEST_KERNEL=$kernel
	export KTEST_KERNEL
	run meson setup --cross-file guest.ini build
	passes meson test -t 10 -C build pass
	fails 'exit status 3' meson test -t 10 -C build --print-errorlogs
	unset KTEST_KERNEL
fi

if project make make cc; then
	passes make check tests=pass TESTS_ENVIRONMENT="$ktest --"
	fails 'Error 3$' make -k -j2 check TESTS_ENVIRONMENT="$ktest --"
fi

if project automake autoreconf automake make cc; then
	run autoreconf -i
	run ./configure -q
	passes make check TESTS=pass LOG_COMPILER="$ktest --"
	fails 'exit status: 3' make check VERBOSE=1 LOG_COMPILER="$ktest --"
fi

# Debian's Bazel lacks only what coverage is merged with. Its sandbox hides our
# sources, the network and the user.
if project bazel bazel cc; then
	cp "$top/ktest.c" "$top/init.c" "$top/bios/bios.bin" ktest
	mkdir coverage
	echo 'filegroup(name = "coverage_report_generator",
	    visibility = ["//visibility:public"])' >coverage/BUILD
	: >coverage/WORKSPACE
	set -- bazel --batch --output_user_root="$T/out" test \
	    --override_repository=remote_coverage_tools="$PWD/coverage" \
	    --test_output=errors --nocache_test_results --nosandbox_debug \
	    --test_timeout=300
	cloud=
	if [ -f "${KTEST_CLOUD:-}" ]; then
		mkdir cloud/boot
		cp "$KTEST_CLOUD" cloud/boot
		cp -R "${KTEST_CLOUD%/boot/*}/lib" cloud
		cloud=--//ktest:kernel=//cloud
	fi
	if [ -f "${KTEST_TINY:-}" ]; then
		cp "$KTEST_TINY" ktest/vmlinuz
	else
		set -- "$@" "$cloud"
	fi
	passes "$@" --sandbox_default_allow_network=false \
	    --sandbox_fake_username --sandbox_fake_hostname \
	    --sandbox_block_path="$top" //:pass //:attributes
	if grep -q ' linux-sandbox' "$err"; then
		pass "$name: in its sandbox"
	else
		skip 'linux-sandbox does not work here' "$name: in its sandbox"
	fi
	# What a machine far away gets: the inputs, as files, in another place
	cp -RL bazel-bin/attributes.runfiles "$T/far"
	cp -L bazel-bin/attributes "$T/far"
	fails '^//:fail +FAILED' "$@" $cloud --spawn_strategy=local \
	    //:pass //:fail
	like "$out" '^//:pass +PASSED' "$name: the one that passes, too"
	like bazel-testlogs/fail/test.xml 'exited with error code 3' \
	    "$name: the status is in test.xml"
	chmod -R u+w "$T/out" "$T/far"
	rm -rf "$T/out" "$T/bazel"
	cd "$T/far/__main__" || exit 1
	name="$name: its inputs elsewhere"
	passes ../attributes one 'two words'
fi

cd "$T" || exit 1
finish
