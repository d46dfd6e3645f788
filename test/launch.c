/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch: Monogon's older Launch, a whole machine, by ktest as a library.
 *
 *     launch KERNEL INIT IMAGE BLOB PROGRAM ARGUMENT ...
 *
 * The guest's port 8080 is read once, and what it says is printed; by its cable
 * a frame goes there, and what comes is printed. Exits as the program does.
 */
#define KTEST_LIB
#include "../ktest.c"

/* As on QEMU's sockets: the length, big endian, then the frame. */
static void cable_send(int fd)
{
	static const char frame[4 + 60] = "\0\0\0\74\377\377\377\377\377\377"
		"\2\113\0\0\0\2\210\265from here";

	(void)send(fd, frame, sizeof frame, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Ports, in a process of its own, until somebody answers. A frame that comes
 * before the guest restarts is lost. */
static void on_port(void *arg, int guest, int udp, int host)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)host),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	char text[64];
	ssize_t n = 0;

	(void)guest, (void)udp;
	if (fork() != 0)
		return;
	while (n <= 0 && getppid() != 1) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
			n = read(fd, text, sizeof text);
		(void)close(fd);
		cable_send(*(int *)arg);
		(void)poll(NULL, 0, 100);
	}
	_exit(write(1, text, n > 0 ? (size_t)n : 0) == n ? 0 : 1);
}

static void cable_print(int fd)
{
	char text[65536];
	ssize_t n = recv(fd, text, sizeof text, MSG_DONTWAIT);
	const bool came = n > 0 && memmem(text, (size_t)n, "from there", 10) != NULL;

	printf("by cable: %s\n", came ? "from there" : "nothing");
}

int main(int argc, char **argv)
{
	static struct ktest_options o;
	static struct ktest_result r;
	const char *accel = getenv("KTEST_ACCEL");
	char cable[16], blob[4200];
	int end[2];

	if (argc < 6 || ktest_socket_pair(end) < 0)
		return 2;
	(void)snprintf(cable, sizeof cable, "%d", end[0]);
	(void)snprintf(blob, sizeof blob,
		       "com.nexantic.smalltown/enrolment.pb=%s", argv[4]);
	ktest_defaults(&o);
	o.kernel_path = argv[1];
	o.init = argv[2];
	o.accel = accel != NULL && *accel == 'k' ? 1 : 2;
	o.machine = 2;                          /* q35 */
	o.memory = 2048;
	o.cpus = 4;
	o.qemu_args.item[o.qemu_args.count++] = "-smp";
	o.qemu_args.item[o.qemu_args.count++] = "sockets=1,cores=2,threads=2";
	o.uefi = 1;                             /* OVMF, its variables thrown away */
	o.tpm = "";
	o.disks.item[o.disks.count++] = argv[3];
	o.fw_cfgs.item[o.fw_cfgs.count++] = blob; /* EnrolmentConfig */
	o.net = 1;
	o.ports.item[o.ports.count++] = "8080"; /* conflict-free; "8080:8080" */
	o.on_port = on_port;
	o.on_port_arg = &end[1];
	o.netfds.item[o.netfds.count++] = cable; /* ConnectToSocket */
	o.reboot = 1;                           /* AllowReboot */
	o.argv = argv + 5;
	(void)ktest_run(&o, &r);
	cable_print(end[1]);
	return r.status;
}
