/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net-guest: both ends of what the tests of networks and ports talk about;
 * the same program serves in the guest and on the host.
 *
 *     net-guest serve IP PORT COUNT      echo COUNT TCP connections, to EOF
 *     net-guest client IP PORT COUNT BYTES [MS]
 *                                        COUNT connections in turn, BYTES in
 *                                        each way over all; MS between them
 *     net-guest udp-serve IP PORT        echo datagrams, to one of one byte
 *     net-guest udp-client IP PORT COUNT send, wait for each echo
 *     net-guest say IP PORT TEXT         tell TEXT to the first who connects
 *     net-guest read IP PORT             all that the server says, to stdout
 *     net-guest talk IP PORT TEXT        send a line, print the one that comes
 *     net-guest dns SERVER NAME          ask for an A record
 *     net-guest cable IP COMMAND...      set up the interface of a cable, then
 *     net-guest port-echo NAME BYTES     echo BYTES of a port, in the guest
 *     net-guest fd-talk FD BYTES         the other end of it, on a socket
 *     net-guest unix-talk PATH BYTES     the same, for the first to connect
 *     net-guest gdb unix:PATH|PORT       as a debugger: continue
 *     net-guest cord FD COMMAND...       with a socket pair on FD and FD + 1
 *     net-guest fds-open COUNT COMMAND... with so many files open
 *     net-guest fds [PID]                its open fds, one a line
 *     net-guest bind PORT                take 127.0.0.1:PORT until stdin ends
 *     net-guest lease COUNT              print PORT: it, taken until stdin ends,
 *                                        and COUNT free ones behind it
 *     net-guest handshake FILE PORT      find one with PORT in a capture
 *     net-guest hold                     wait until stdin ends
 *
 * A client waits for its server: it connects again until WAIT_S are over.
 */
#define _DEFAULT_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_S = 240 }; /* a guest boots meanwhile, on a host that is busy */

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void nap(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	(void)nanosleep(&t, NULL);
}

static struct sockaddr_in address(const char *ip, const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET };

	a.sin_port = htons((uint16_t)atoi(port));
	if (inet_pton(AF_INET, ip, &a.sin_addr) != 1) {
		fprintf(stderr, "%s: not an address\n", ip);
		exit(2);
	}
	return a;
}

static int bound(int type, const char *ip, const char *port)
{
	struct sockaddr_in a = address(ip, port);
	int fd = socket(AF_INET, type, 0), on = 1;

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0
	    || (type == SOCK_STREAM && listen(fd, 64) < 0))
		die("bind");
	return fd;
}

static void put(int fd, const char *s, size_t n)
{
	while (n > 0) {
		ssize_t w = write(fd, s, n);

		if (w < 0)
			die("write");
		s += w;
		n -= (size_t)w;
	}
}

/* Until the other side has acknowledged all of it: our machine may be gone
 * next. */
static void close_all_sent(int fd)
{
	time_t end = time(NULL) + WAIT_S;
	struct tcp_info info;
	socklen_t size = sizeof info;

	(void)shutdown(fd, SHUT_WR);
	while (time(NULL) < end) {
		if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0
		    || info.tcpi_state == TCP_CLOSE
		    || info.tcpi_state == TCP_TIME_WAIT
		    || info.tcpi_state == TCP_FIN_WAIT2)
			break;
		nap(1);
	}
	(void)close(fd);
}

static void serve(const char *ip, const char *port, int count)
{
	int listener = bound(SOCK_STREAM, ip, port);
	unsigned long long total = 0;
	static char buf[65536];

	fprintf(stderr, "serving\n");
	for (int done = 0; done < count;) {
		int fd = accept(listener, NULL, NULL);
		ssize_t n;
		int any = 0;

		if (fd < 0)
			die("accept");
		while ((n = read(fd, buf, sizeof buf)) > 0) {
			put(fd, buf, (size_t)n);
			total += (unsigned long long)n;
			any = 1;
		}
		close_all_sent(fd);
		done += any; /* a probe that says nothing does not count */
	}
	printf("served %d connections, %llu bytes\n", count, total);
}

static char pattern(uint64_t i)
{
	return (char)(i * 2654435761u >> 13);
}

/* One connection: n bytes there, the same back. False: nobody is there. */
static int exchange(const struct sockaddr_in *a, uint64_t n)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	static char buf[65536];
	uint64_t out = 0, in = 0;

	if (fd < 0 || connect(fd, (const struct sockaddr *)a, sizeof *a) < 0) {
		(void)close(fd);
		return 0;
	}
	while (in < n) {
		struct pollfd p = { fd, (short)(out < n ? POLLIN | POLLOUT
						: POLLIN), 0 };
		ssize_t got;

		if (poll(&p, 1, WAIT_S * 1000) <= 0)
			die("poll");
		if (p.revents & POLLOUT) {
			size_t part = n - out < 4096 ? (size_t)(n - out) : 4096;

			for (size_t i = 0; i < part; i++)
				buf[i] = pattern(out + i);
			got = send(fd, buf, part, MSG_DONTWAIT | MSG_NOSIGNAL);
			if (got < 0 && errno != EAGAIN && in == 0) {
				(void)close(fd);
				return 0;
			}
			if (got > 0)
				out += (uint64_t)got;
			if (out == n)
				(void)shutdown(fd, SHUT_WR);
		}
		if (!(p.revents & ~POLLOUT))
			continue;
		got = recv(fd, buf, sizeof buf, 0);
		if (got <= 0 && in == 0) {
			(void)close(fd);
			return 0;
		}
		if (got <= 0)
			die("recv");
		for (ssize_t i = 0; i < got; i++)
			if (buf[i] != pattern(in + (uint64_t)i)) {
				fprintf(stderr, "wrong byte\n");
				exit(1);
			}
		in += (uint64_t)got;
	}
	if (recv(fd, buf, 1, 0) != 0)
		die("no EOF");
	(void)close(fd);
	return 1;
}

static void client(char **arg)
{
	struct sockaddr_in a = address(arg[0], arg[1]);
	int count = atoi(arg[2]);
	uint64_t bytes = (uint64_t)atoll(arg[3]) / (uint64_t)count;

	for (int i = 0; i < count; i++) {
		time_t end = time(NULL) + WAIT_S;

		while (!exchange(&a, bytes)) {
			if (time(NULL) > end)
				die("connect");
			nap(50);
		}
		if (arg[4] != NULL)
			nap(atoi(arg[4]));
	}
	printf("%d connections, %llu bytes each way\n", count,
	       (unsigned long long)(bytes * (uint64_t)count));
}

static void udp_serve(const char *ip, const char *port)
{
	int fd = bound(SOCK_DGRAM, ip, port);
	char buf[2048];

	fprintf(stderr, "serving\n");
	for (;;) {
		struct sockaddr_in from;
		socklen_t size = sizeof from;
		ssize_t n = recvfrom(fd, buf, sizeof buf, 0,
				     (struct sockaddr *)&from, &size);

		if (n == 1)
			break;
		if (n < 0 || sendto(fd, buf, (size_t)n, 0,
				    (struct sockaddr *)&from, size) != n)
			die("udp");
	}
}

static void udp_client(char **arg)
{
	struct sockaddr_in a = address(arg[0], arg[1]);
	int fd = socket(AF_INET, SOCK_DGRAM, 0), count = atoi(arg[2]);
	time_t end = time(NULL) + WAIT_S;

	if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
		die("connect");
	for (int i = 0; i < count;) {
		struct pollfd p = { fd, POLLIN, 0 };
		int got = -1;

		(void)!send(fd, &i, sizeof i, 0);
		if (poll(&p, 1, 200) > 0)
			(void)!recv(fd, &got, sizeof got, 0);
		i += got == i;
		if (time(NULL) > end) {
			fprintf(stderr, "no answer to datagram %d\n", i);
			exit(1);
		}
	}
	for (int i = 0; i < 3; i++)
		(void)!send(fd, "", 1, 0);
	printf("%d datagrams\n", count);
}

static void say(const char *ip, const char *port, const char *text)
{
	int listener = bound(SOCK_STREAM, ip, port);
	int fd = accept(listener, NULL, NULL);

	if (fd < 0)
		die("accept");
	put(fd, text, strlen(text));
	put(fd, "\n", 1);
	close_all_sent(fd);
}

static int connected(const char *ip, const char *port)
{
	struct sockaddr_in a = address(ip, port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

/* A forwarded port takes connections before anybody listens in the guest. */
static void read_all(const char *ip, const char *port)
{
	time_t end = time(NULL) + WAIT_S;
	char buf[4096];
	ssize_t n, all = 0;

	while (all == 0) {
		int fd = connected(ip, port);

		while (fd >= 0 && (n = read(fd, buf, sizeof buf)) > 0) {
			put(1, buf, (size_t)n);
			all += n;
		}
		if (fd >= 0)
			(void)close(fd);
		if (all == 0 && time(NULL) > end)
			die("read");
		if (all == 0)
			nap(50);
	}
}

static void talk(const char *ip, const char *port, const char *text)
{
	int fd = connected(ip, port);
	char c = 0;

	if (fd < 0)
		die("connect");
	put(fd, text, strlen(text));
	put(fd, "\n", 1);
	while (c != '\n' && read(fd, &c, 1) == 1)
		put(1, &c, 1);
}

/* RFC 1035, 4.1: a header of 12 bytes, the name in labels, type, class. */
static void dns(const char *server, const char *name)
{
	unsigned char q[512] = { 0x4b, 0x54, 1, 0, 0, 1 };
	struct sockaddr_in a = address(server, "53");
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	size_t n = 12;

	while (*name != '\0' && n < 400) {
		size_t len = strcspn(name, ".");

		q[n++] = (unsigned char)len;
		memcpy(q + n, name, len);
		n += len;
		name += len + (name[len] == '.');
	}
	q[n + 2] = q[n + 4] = 1;
	n += 5;
	for (int i = 0; i < 5; i++) {
		struct pollfd p = { fd, POLLIN, 0 };
		unsigned char r[512];

		(void)!sendto(fd, q, n, 0, (struct sockaddr *)&a, sizeof a);
		if (poll(&p, 1, 1000) > 0 && recv(fd, r, sizeof r, 0) >= 12
		    && r[0] == q[0] && r[1] == q[1]) {
			printf("rcode %d, %d answers\n", r[3] & 15, r[7]);
			return;
		}
	}
	printf("no answer\n");
	exit(1);
}

/* The interface whose address starts as ktest makes them for cables. */
static void cable(const char *ip)
{
	struct ifreq r = { 0 };
	struct sockaddr_in a = address(ip, "0"), mask;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	DIR *dir = opendir("/sys/class/net");
	struct dirent *e;

	mask = address("255.255.255.0", "0");
	while (dir != NULL && (e = readdir(dir)) != NULL) {
		char path[300], mac[32] = "";
		FILE *f;

		(void)snprintf(path, sizeof path,
			       "/sys/class/net/%.200s/address", e->d_name);
		f = fopen(path, "r");
		if (f != NULL && fgets(mac, sizeof mac, f) != NULL
		    && strncmp(mac, "02:4b:", 6) == 0)
			(void)snprintf(r.ifr_name, sizeof r.ifr_name, "%.15s",
				       e->d_name);
		if (f != NULL)
			(void)fclose(f);
	}
	memcpy(&r.ifr_addr, &a, sizeof a);
	if (r.ifr_name[0] == '\0' || ioctl(fd, SIOCSIFADDR, &r) < 0)
		die("cable");
	memcpy(&r.ifr_netmask, &mask, sizeof mask);
	if (ioctl(fd, SIOCSIFNETMASK, &r) < 0
	    || ioctl(fd, SIOCGIFFLAGS, &r) < 0)
		die("cable");
	r.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &r) < 0)
		die("cable");
	(void)close(fd);
}

static void port_echo(const char *name, uint64_t left)
{
	char path[300], buf[4096];
	int fd;

	(void)snprintf(path, sizeof path, "/dev/virtio-ports/%s", name);
	fd = open(path, O_RDWR);
	if (fd < 0)
		die(path);
	while (left > 0) {
		ssize_t n = read(fd, buf, sizeof buf);

		if (n <= 0)
			die("read");
		put(fd, buf, (size_t)n);
		left -= (uint64_t)n;
	}
}

/* n bytes there, the same back. */
static void fd_talk(int fd, uint64_t n)
{
	uint64_t out = 0, in = 0;
	char buf[4096];

	while (in < n) {
		struct pollfd p = { fd, (short)(out < n ? POLLIN | POLLOUT
						: POLLIN), 0 };
		ssize_t got;

		if (poll(&p, 1, WAIT_S * 1000) <= 0)
			die("poll");
		if (p.revents & POLLOUT) {
			size_t part = n - out < sizeof buf ? (size_t)(n - out)
							   : sizeof buf;

			for (size_t i = 0; i < part; i++)
				buf[i] = pattern(out + i);
			got = send(fd, buf, part, MSG_DONTWAIT | MSG_NOSIGNAL);
			if (got > 0)
				out += (uint64_t)got;
		}
		if (!(p.revents & ~POLLOUT))
			continue;
		got = recv(fd, buf, sizeof buf, 0);
		if (got <= 0)
			die("recv");
		for (ssize_t i = 0; i < got; i++)
			if (buf[i] != pattern(in + (uint64_t)i)) {
				fprintf(stderr, "wrong byte\n");
				exit(1);
			}
		in += (uint64_t)got;
	}
	printf("%llu bytes each way\n", (unsigned long long)n);
}

static void unix_talk(const char *path, uint64_t n)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), other = -1;

	(void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 1) < 0
	    || (other = accept(fd, NULL, NULL)) < 0)
		die(path);
	fd_talk(other, n);
}

/* GDB's remote protocol: '$', the command, '#', its sum in hexadecimal. */
static void gdb(const char *where)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	time_t end = time(NULL) + WAIT_S;
	int fd = -1;

	while (fd < 0) {
		if (strncmp(where, "unix:", 5) != 0) {
			fd = connected("127.0.0.1", where);
		} else {
			(void)snprintf(a.sun_path, sizeof a.sun_path, "%s",
				       where + 5);
			fd = socket(AF_UNIX, SOCK_STREAM, 0);
			if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
				(void)close(fd);
				fd = -1;
			}
		}
		if (fd < 0 && time(NULL) > end)
			die(where);
		nap(20);
	}
	put(fd, "+$c#63", 6);
	while (read(fd, &a, 1) > 0)
		;
}

static void cord(int fd, char **argv)
{
	int pair[2], high[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		die("socketpair");
	for (int i = 0; i < 2; i++) {
		high[i] = fcntl(pair[i], F_DUPFD, 100);
		(void)close(pair[i]);
	}
	for (int i = 0; i < 2; i++) {
		(void)dup2(high[i], fd + i);
		(void)close(high[i]);
	}
	(void)execvp(argv[0], argv);
	die(argv[0]);
}

static void fds_open(int count, char **argv)
{
	while (count-- > 0)
		(void)!dup(2);
	(void)execvp(argv[0], argv);
	die(argv[0]);
}

static void fds(const char *pid)
{
	char path[64], link[300];
	DIR *dir;
	struct dirent *e;

	(void)snprintf(path, sizeof path, "/proc/%s/fd", pid);
	dir = opendir(path);
	if (dir == NULL)
		die(path);
	while ((e = readdir(dir)) != NULL) {
		char full[400];
		ssize_t n;

		(void)snprintf(full, sizeof full, "%s/%s", path, e->d_name);
		n = readlink(full, link, sizeof link - 1);
		if (n < 0 || (strcmp(pid, "self") == 0
			      && atoi(e->d_name) == dirfd(dir)))
			continue;
		link[n] = '\0';
		printf("%s %s\n", e->d_name, link);
	}
}

/* pcap: a header of 24 bytes; 16 before each packet, the third number of
 * which is the length that follows. Ethernet, IPv4, TCP. */
static void handshake(const char *file, int port)
{
	FILE *f = fopen(file, "rb");
	unsigned char h[24], p[65536];
	uint32_t n, magic, seq = 0, ack = 0;
	int state = 0;

	if (f == NULL || fread(h, 1, 24, f) != 24)
		die(file);
	memcpy(&magic, h, 4);
	if (magic != 0xa1b2c3d4u || h[20] != 1) {
		printf("not a capture of Ethernet\n");
		exit(1);
	}
	while (fread(h, 1, 16, f) == 16) {
		unsigned char *t;
		int from, to, flags;
		uint32_t s, a;

		memcpy(&n, h + 8, 4);
		if (n > sizeof p || fread(p, 1, n, f) != n)
			die("a cut packet");
		if (n < 54 || p[12] != 8 || p[13] != 0 || p[23] != 6)
			continue;
		t = p + 14 + (p[14] & 15) * 4;
		from = t[0] << 8 | t[1];
		to = t[2] << 8 | t[3];
		memcpy(&s, t + 4, 4);
		memcpy(&a, t + 8, 4);
		flags = t[13] & 0x17;
		if (state < 2 && to == port && flags == 2) {
			seq = ntohl(s);
			state = 1;
		} else if (state == 1 && from == port && flags == 0x12
			   && ntohl(a) == seq + 1) {
			ack = ntohl(s);
			state = 2;
		} else if (state == 2 && to == port && flags & 0x10
			   && ntohl(a) == ack + 1) {
			printf("handshake\n");
			return;
		}
	}
	printf("no handshake, got as far as %d\n", state);
	exit(1);
}

static void hold(void)
{
	char c;

	fprintf(stderr, "holding\n");
	while (read(0, &c, 1) > 0)
		;
}

/* A socket on a port of this host; -1 when somebody has it. */
static int take(int type, int port)
{
	char text[8];
	struct sockaddr_in a;
	int fd = socket(AF_INET, type, 0), on = 1;

	(void)snprintf(text, sizeof text, "%d", port);
	a = address("127.0.0.1", text);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (fd < 0)
		die("socket");
	if (bind(fd, (struct sockaddr *)&a, sizeof a) == 0
	    && (type != SOCK_STREAM || listen(fd, 1) == 0))
		return fd;
	(void)close(fd);
	return -1;
}

/* Whoever leases ports takes the first of a row of COUNT + 1, below those that
 * the kernel hands out: so no two have the same, wherever they were started. */
static void lease(int count)
{
	for (int port = 7400; port + count < 32768; port += count + 1) {
		int fd = take(SOCK_STREAM, port), other = fd, i;

		for (i = 1; i <= count && other >= 0; i++) {
			other = take(SOCK_STREAM, port + i);
			if (other >= 0 && close(other) == 0)
				other = take(SOCK_DGRAM, port + i);
			if (other >= 0)
				(void)close(other);
		}
		if (other >= 0) {
			(void)printf("%d\n", port);
			(void)fflush(stdout);
			hold();
			return;
		}
		if (fd >= 0)
			(void)close(fd);
	}
	die("lease");
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "cable") == 0 && argc > 3) {
		cable(argv[2]);
		argc -= 2;
		argv += 2;
		what = argv[1];
	}
	if (strcmp(what, "serve") == 0 && argc == 5)
		serve(argv[2], argv[3], atoi(argv[4]));
	else if (strcmp(what, "client") == 0 && (argc == 6 || argc == 7))
		client(argv + 2);
	else if (strcmp(what, "udp-serve") == 0 && argc == 4)
		udp_serve(argv[2], argv[3]);
	else if (strcmp(what, "udp-client") == 0 && argc == 5)
		udp_client(argv + 2);
	else if (strcmp(what, "say") == 0 && argc == 5)
		say(argv[2], argv[3], argv[4]);
	else if (strcmp(what, "talk") == 0 && argc == 5)
		talk(argv[2], argv[3], argv[4]);
	else if (strcmp(what, "fd-talk") == 0 && argc == 4)
		fd_talk(atoi(argv[2]), strtoull(argv[3], NULL, 10));
	else if (strcmp(what, "unix-talk") == 0 && argc == 4)
		unix_talk(argv[2], strtoull(argv[3], NULL, 10));
	else if (strcmp(what, "gdb") == 0 && argc == 3)
		gdb(argv[2]);
	else if (strcmp(what, "cord") == 0 && argc > 3)
		cord(atoi(argv[2]), argv + 3);
	else if (strcmp(what, "fds-open") == 0 && argc > 3)
		fds_open(atoi(argv[2]), argv + 3);
	else if (strcmp(what, "read") == 0 && argc == 4)
		read_all(argv[2], argv[3]);
	else if (strcmp(what, "dns") == 0 && argc == 4)
		dns(argv[2], argv[3]);
	else if (strcmp(what, "port-echo") == 0 && argc == 4)
		port_echo(argv[2], strtoull(argv[3], NULL, 10));
	else if (strcmp(what, "fds") == 0)
		fds(argc == 3 ? argv[2] : "self");
	else if (strcmp(what, "bind") == 0 && argc == 3)
		(void)bound(SOCK_STREAM, "127.0.0.1", argv[2]), hold();
	else if (strcmp(what, "lease") == 0 && argc == 3)
		lease(atoi(argv[2]));
	else if (strcmp(what, "handshake") == 0 && argc == 4)
		handshake(argv[2], atoi(argv[3]));
	else if (strcmp(what, "hold") == 0)
		hold();
	else
		return 2;
	return fflush(stdout) == 0 ? 0 : 1;
}
