/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disks: what disk.sh and machine.sh run in guests.
 *
 *     disks show FILE N ...    "NAME N BYTES": the first N bytes of each file
 *     disks fill FILE MIB      writes so much of it, prints its sum
 *     disks sum FILE           "SUM BYTES"
 *     disks qcow               sums of /dev/vdb, and of /dev/vda once its first
 *                              2 MiB are written, not synced
 *     disks root               of an image: reads, writes, tells where it is
 *     disks fsync FILE         writes "synced", says so when it is, stays
 *     disks boot FILE N        restarts until its N-th start; counts in FILE
 *     disks launch             looks for what launch.c has given it
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/reboot.h>
#include <unistd.h>

static char buf[1 << 16];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int open_file(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd < 0)
		die(path);
	return fd;
}

static void show(const char *path, size_t n)
{
	int fd = open_file(path, O_RDONLY);
	ssize_t got = read(fd, buf, n);

	printf("%s %zu ", strrchr(path, '/') + 1, n);
	for (ssize_t i = 0; i < got; i++)
		printf(buf[i] != '\0' ? "%c" : "\\0", buf[i]);
	putchar('\n');
	close(fd);
}

/* FNV-1a over 64-bit words, and how many bytes there were. */
static uint64_t sum(const char *path, uint64_t *bytes)
{
	int fd = open_file(path, O_RDONLY);
	uint64_t h = 0xcbf29ce484222325u, word;
	ssize_t n;

	for (*bytes = 0; (n = read(fd, buf, sizeof buf)) > 0; *bytes += (uint64_t)n)
		for (ssize_t i = 0; i + 8 <= n; i += 8) {
			memcpy(&word, buf + i, 8);
			h = (h ^ word) * 0x100000001b3u;
		}
	if (n < 0)
		die(path);
	close(fd);
	return h;
}

static void print_sum(const char *name, const char *path)
{
	uint64_t bytes, h = sum(path, &bytes);

	if (name != NULL)
		printf("%s: %016llx\n", name, (unsigned long long)h);
	else
		printf("%016llx %llu\n", (unsigned long long)h,
		       (unsigned long long)bytes);
}

static void fill(const char *path, long mib)
{
	int fd = open_file(path, O_WRONLY | O_CREAT);
	uint64_t x = 88172645463325252u;

	for (long i = 0; i < mib * 16; i++) {
		for (size_t j = 0; j < sizeof buf; j += 8) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			memcpy(buf + j, &x, 8);
		}
		if (write(fd, buf, sizeof buf) != sizeof buf)
			die(path);
	}
	close(fd);
}

static void root(void)
{
	char cwd[64];
	struct stat st;

	if (stat("/bin/disks", &st) < 0 || st.st_size == 0)
		die("/bin/disks");
	close(open_file("/bin/new", O_WRONLY | O_CREAT));
	printf("read, written, %s\n", getcwd(cwd, sizeof cwd));
}

static void synced(const char *path)
{
	int fd = open_file(path, O_WRONLY);

	if (write(fd, "synced", 6) != 6 || fsync(fd) < 0)
		die(path);
	printf("synced\n");
	fflush(stdout);
	for (;;)
		pause();
}

/* Its state is a byte of the disk. */
static int boot(const char *path, int last)
{
	int fd = open_file(path, O_RDWR);
	char count = 0;

	if (pread(fd, &count, 1, 0) != 1)
		die(path);
	count++;
	if (pwrite(fd, &count, 1, 0) != 1
	    || pwrite(fd, getenv("KTEST_BOOT"), 1, count) != 1 || fsync(fd) < 0)
		die(path);
	if (count == last) {
		if (pread(fd, buf, (size_t)last + 1, 0) != last + 1)
			die(path);
		printf("KTEST_BOOT was %.*s, stdin %zd\n", last, buf + 1,
		       read(0, buf, 1));
		return 7;
	}
	reboot(RB_AUTOBOOT);
	pause();
	return 1;
}

/* How many entries of a directory begin so. */
static int count(const char *dir, const char *name)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	while (d != NULL && (e = readdir(d)) != NULL)
		n += strncmp(e->d_name, name, strlen(name)) == 0;
	return n;
}

/* A frame each way, by the interface that nobody has set up. What waits there
 * comes as soon as it is up. */
static void cable(void)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
		.sll_protocol = htons(0x88b5) };
	static const char frame[60] = "\377\377\377\377\377\377\2\113\0\0\0\1"
		"\210\265from there";
	int fd = socket(AF_PACKET, SOCK_RAW, htons(0x88b5));
	struct ifreq r = { .ifr_name = "eth1" };

	if (fd < 0 || ioctl(fd, SIOCGIFINDEX, &r) < 0)
		die("eth1");
	to.sll_ifindex = r.ifr_ifindex;
	if (bind(fd, (struct sockaddr *)&to, sizeof to) < 0)
		die("bind");
	r.ifr_flags = IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &r) < 0
	    || (read(fd, buf, sizeof frame) < 20 /* it was down until now */
		&& read(fd, buf, sizeof frame) < 20)
	    || write(fd, frame, sizeof frame) != sizeof frame)
		die("eth1");
	printf("by cable: %.9s\n", buf + 14);
}

static void launch(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(8080) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), peer = -1;

	if (strcmp(getenv("KTEST_BOOT"), "1") == 0)
		reboot(RB_AUTOBOOT);
	printf("start %s\n", getenv("KTEST_BOOT"));
	printf("%d processors, %d interfaces, EFI %d\n",
	       (int)sysconf(_SC_NPROCESSORS_ONLN), count("/sys/class/net", "eth"),
	       count("/sys/firmware/efi", "systab"));
	show("/sys/devices/system/cpu/cpu0/topology/core_siblings_list", 8);
	show("/sys/class/net/eth0/address", 17);
	show("/sys/class/net/eth1/address", 5);
	cable();
	show("/sys/class/tpm/tpm0/tpm_version_major", 1);
	show("/dev/vda", 4);
	show("/sys/firmware/qemu_fw_cfg/by_name/com.nexantic.smalltown/"
	     "enrolment.pb/raw", 4);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 1) < 0
	    || (peer = accept(fd, NULL, NULL)) < 0)
		die("8080");
	if (write(peer, "from the guest\n", 15) != 15)
		die("8080");
	close(peer);
	sleep(1); /* it is on its way */
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(argv[0], "/usr/bin/env") == 0) /* our own: env PROGRAM ... */
		return argc > 2 && strcmp(argv[2], "root") == 0 ? root(), 0 : 9;
	for (int i = 2; strcmp(what, "show") == 0 && i + 1 < argc; i += 2)
		show(argv[i], strtoul(argv[i + 1], NULL, 10));
	if (strcmp(what, "fill") == 0) {
		fill(argv[2], atol(argv[3]));
		print_sum(NULL, argv[2]);
	} else if (strcmp(what, "sum") == 0) {
		print_sum(NULL, argv[2]);
	} else if (strcmp(what, "qcow") == 0) {
		print_sum("vdb", "/dev/vdb");
		fill("/dev/vda", 2);
		print_sum("vda", "/dev/vda");
	} else if (strcmp(what, "root") == 0) {
		root();
	} else if (strcmp(what, "fsync") == 0) {
		synced(argv[2]);
	} else if (strcmp(what, "launch") == 0) {
		launch();
	} else if (strcmp(what, "boot") == 0) {
		return boot(argv[2], atoi(argv[3]));
	}
	return 0;
}
