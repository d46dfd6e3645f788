/*
 * PID 1 of test/bios.sh's Linux guests: loads /m/0.ko, /m/1.ko, ..., says over
 * the debug console (the one output that needs no driver) what it sees, and
 * restarts the machine.  Run on the host it prints the TSC's kHz, which is also
 * that of a guest under TCG, where Linux cannot always measure it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

static void say(const char *format, ...)
{
	char line[256], *p;
	va_list ap;

	va_start(ap, format);
	vsnprintf(line, sizeof line, format, ap);
	va_end(ap);
	for (p = line; *p; p++)
		outb((unsigned char)*p, 0x3f8);
}

static void load_modules(void)
{
	char path[24];
	int i, fd;

	for (i = 0; ; i++) {
		snprintf(path, sizeof path, "/m/%d.ko", i);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return;
		if (syscall(SYS_finit_module, fd, "", 0))
			say("module %d: %m\n", i);
		close(fd);
	}
}

/* Bytes from the virtio-rng: its interrupt works. */
static int read_random(void)
{
	char b[8];
	int i, n = -1, fd = -1;

	for (i = 0; i < 100 && n <= 0; i++) {
		if (fd < 0)
			fd = open("/dev/hwrng", O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			n = (int)read(fd, b, sizeof b);
		if (n <= 0)
			usleep(10000);
	}
	return n > 0;
}

static unsigned long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (unsigned long long)t.tv_sec * 1000000000 +
		(unsigned long long)t.tv_nsec;
}

static int print_tsc_khz(void)
{
	unsigned long long t = now(), tsc = __builtin_ia32_rdtsc();

	usleep(100000);
	tsc = __builtin_ia32_rdtsc() - tsc;
	printf("%llu\n", tsc * 1000000 / (now() - t));
	return 0;
}

int main(void)
{
	struct sysinfo si;

	if (getpid() != 1)
		return print_tsc_khz();

	mount("dev", "/dev", "devtmpfs", 0, "");
	mount("sys", "/sys", "sysfs", 0, "");
	if (ioperm(0x3f8, 1, 1))
		reboot(RB_AUTOBOOT);
	load_modules();
	sysinfo(&si);
	say("cpus=%ld\n", sysconf(_SC_NPROCESSORS_ONLN));
	say("mib=%lu\n", si.totalram / 1048576 * si.mem_unit);
	say("random=%d\n", read_random());
	say("end=ok\n");
	reboot(RB_AUTOBOOT);
	return 0;
}
