# ktest: `cc ktest.c -o ktest` builds it; this wraps that and what is around.
#
#	make			ktest, and init, process 1 of its guests; with
#				ARCHS="aarch64 riscv64 s390x" theirs, too
#	make demo		a program in Debian's kernel, from nothing
#	make check		all tests
#	make long		the same, hundreds of runs, both cold and restored
#	make arch		more of guests of other architectures
#	make health		all triggers of kernel failures that we know,
#				and a dump in crash, with the kernel's symbols
#	make kvm		guests under KVM, in a guest under TCG
#	make machines		disks, PCs, TPMs and restarts, at length
#	make suite		-each with 1,000 programs, Linux's selftests, Slurm
#	make image		-image, in a Debian that is made for it; as root
#	make bench		what ktest costs, in ratios to bare QEMU
#	make matrix		Debian 11 to unstable: its QEMUs and kernels; as root
#	make lint		the sources under several compilers and checkers,
#				and clang's analyzer
#	make bios		bios/bios.bin anew; the one that is here will do
#	make install		DESTDIR, PREFIX
#	make uninstall		the same DESTDIR and PREFIX
#	make clean		all but the kernels, which take minutes to make
#	make distclean		these too

CC = cc
CFLAGS = -O2
PREFIX = /usr/local
CLANG = clang
ARCHS =

# Init runs without a C library; init.c has the short line. The last four
# lines halve the file.
INIT_CFLAGS = -std=c99 -static -nostdlib -ffreestanding \
	-fno-stack-protector -fno-pie -s \
	-fno-asynchronous-unwind-tables -fno-unwind-tables \
	-fomit-frame-pointer -fno-ident -fno-jump-tables \
	-Wl,-z,noseparate-code -Wl,-z,norelro -Wl,--build-id=none

FOREIGN = arm64 riscv64 s390x # whose kernels are tested with

bin = $(DESTDIR)$(PREFIX)/bin
libexec = $(DESTDIR)$(PREFIX)/libexec/ktest

all: ktest init $(ARCHS:%=init-%)

ktest: ktest.c
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) ktest.c -o ktest

# What makes it smaller still, with gcc. It has -Oz since its version 12.
INIT_GCC = -fno-inline-functions-called-once -mpreferred-stack-boundary=3 \
	-malign-data=abi -fmerge-all-constants

init: init.c
	$(CC) -Oz $(INIT_CFLAGS) $(INIT_GCC) init.c -o init 2>/dev/null || \
		$(CC) -Oz $(INIT_CFLAGS) init.c -o init 2>/dev/null || \
		$(CC) -Os $(INIT_CFLAGS) init.c -o init

# That of another architecture, by its gcc (Debian: gcc-aarch64-linux-gnu and so
# on) or by clang with lld, which knows s390x since its version 18. Near data is
# smaller: two architectures have a name for that.
init-aarch64 init-riscv64 init-s390x init-x86_64: init.c
	@arch=$@; arch=$${arch#init-}-linux-gnu; \
	for cc in $$arch-gcc "$(CLANG) --target=$$arch -fuse-ld=lld"; do \
		for o in '-Oz -mcmodel=tiny' '-Oz -msmall-exec -mtune=z13' -Oz -Os; do \
			set -- $$cc $$o $(INIT_CFLAGS) init.c -o $@; \
			"$$@" 2>/dev/null && echo "$$@" && exit; \
		done; \
	done; \
	echo "$@: needs $$arch-gcc, or clang with lld" >&2; exit 1

bios:
	$(MAKE) -C bios

# Set-up comes first: a fresh machine has no compiler yet.
demo:
	@sh test/setup.sh demo
	@sh test/kernels.sh cloud >/dev/null
	@$(MAKE) --no-print-directory all
	@sh test/demo.sh

check:
	@sh test/setup.sh check
	@sh test/kernels.sh cloud full tiny debug >/dev/null
	@-for k in $(FOREIGN); do sh test/kernels.sh $$k >/dev/null; done
	@$(MAKE) --no-print-directory all
	@sh test/run.sh

long:
	@KTEST_RUNS=all $(MAKE) --no-print-directory check

arch:
	@sh test/setup.sh check
	@sh test/setup.sh arch
	@sh test/kernels.sh $(FOREIGN) >/dev/null
	@$(MAKE) --no-print-directory all
	@KTEST_ARCH=all sh test/run.sh -t 7200 test/arch.sh

health:
	@sh test/setup.sh check
	@sh test/kernels.sh cloud full tiny debug symbols >/dev/null
	@$(MAKE) --no-print-directory all
	@KTEST_HEALTH=all sh test/run.sh -t 3000 test/health.sh test/hang.sh

kvm:
	@sh test/setup.sh check
	@sh test/kernels.sh cloud full tiny >/dev/null
	@$(MAKE) --no-print-directory all
	@KTEST_KVM=all sh test/run.sh -t 5400 test/kvm.sh

machines:
	@sh test/setup.sh machines
	@sh test/kernels.sh cloud full tiny >/dev/null
	@$(MAKE) --no-print-directory all
	@KTEST_MACHINES=all sh test/run.sh -j 1 -t 7200 test/disk.sh \
		test/machine.sh

suite:
	@sh test/setup.sh suite
	@sh test/kernels.sh cloud full tiny debug >/dev/null
	@$(MAKE) --no-print-directory all
	@sh test/run.sh -t 7200 test/suite.sh

image:
	@sh test/setup.sh image
	@sh test/images.sh >/dev/null
	@$(MAKE) --no-print-directory all
	@KTEST_IMAGE=$$(sh test/images.sh path) \
		sh test/run.sh -t 5400 test/image.sh

bench:
	@sh test/setup.sh bench
	@sh test/kernels.sh cloud full tiny >/dev/null
	@-for k in $(FOREIGN); do sh test/kernels.sh $$k >/dev/null; done
	@$(MAKE) --no-print-directory all
	@sh test/bench.sh
	@KTEST_CLOUD=$$(sh test/kernels.sh path cloud) sh test/bios-bench.sh

matrix:
	@sh test/setup.sh matrix
	@sh test/matrix.sh

lint:
	@sh test/setup.sh lint
	@KTEST_LINT=all sh test/run.sh test/lint.sh

# Where ktest looks, seen from its own place: ../libexec/ktest.
install: all
	mkdir -p "$(bin)" "$(libexec)/bios"
	cp ktest "$(bin)/ktest"
	cp init "$(libexec)/init"
	cp bios/bios.bin "$(libexec)/bios/bios.bin"
	for i in $(ARCHS:%=init-%); do \
		cp $$i "$(libexec)/$$i" && chmod 755 "$(libexec)/$$i" || \
			exit; \
	done
	chmod 755 "$(bin)/ktest" "$(libexec)/init"
	chmod 644 "$(libexec)/bios/bios.bin"

uninstall:
	rm -f "$(bin)/ktest" "$(libexec)/init" "$(libexec)"/init-* \
		"$(libexec)/bios/bios.bin"
	-rmdir "$(libexec)/bios" "$(libexec)"

clean:
	rm -rf ktest init init-aarch64 init-riscv64 init-s390x init-x86_64 \
		build/test build/demo build/demo.snapshot

distclean: clean
	rm -rf build

.PHONY: all bios demo check long arch health kvm machines suite image \
	bench matrix lint install uninstall clean distclean
