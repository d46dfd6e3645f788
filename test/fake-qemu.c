/*
 * fake-qemu: stands in for QEMU, so that spawning, supervision and verdict
 * are tested without a guest.  ktest starts it as -qemu; it finds in its
 * arguments the sockets behind the console and the ports
 *
 *	-chardev socket,id=ID,fd=N...
 *	-chardev file,id=ID,path=/proc/self/fd/N...   or /dev/fd/N
 *	-device virtconsole,chardev=ID          the port "con"
 *	-device virtserialport,chardev=ID,name=ktest.NAME   "control", ...
 *	-device virtserialport,chardev=ID,name=org.qemu.guest_agent.0   "agent"
 *	-device isa-serial,chardev=ID           the port "early"
 *	-mon chardev=ID                         the port "qmp"
 *
 * and does what a script says: steps separated by ';', each STEP or
 * STEP=VALUE or STEP=PORT:VALUE.  In a text \n, \e, \0, \\ and \s (a ;) are
 * understood.
 *
 *	hello		'h' on the control port
 *	clock		reads the 56 bytes that answer it
 *	keep=N:FILE	reads the answer, the job that it brings and N bytes
 *			more, and writes them into FILE
 *	go		reads the first byte of stdin, which is 'i' or 'e'
 *	say=PORT:TEXT	writes TEXT; PORT may also be qemu, which is its stderr
 *	many=PORT:N	writes N bytes, lines of 63 digits
 *	line		reads stdin up to the end of a line
 *	hear=PORT:TEXT	reads what comes there up to TEXT
 *	sync=N		answers the guest-sync that the port agent gets, with
 *			the number it has, plus N
 *	cat		stdin to stdout until its end, through the ports
 *	state=TEXT	writes TEXT to a fd that comes over the port qmp, and
 *			closes it
 *	x=STATUS	'x' with that status and what was written so far
 *	taint=N		the verdict's: how the kernel is tainted in the end
 *	promise=N	... and N bytes more than were written to stdout
 *	byte=STATUS	the original's exit byte: one raw byte
 *	close=PORT	closes the port's socket
 *	only=PORT	closes all but this one
 *	sleep=MS
 *	deaf		ignores SIGTERM, SIGINT and SIGHUP
 *	handlers	ends with status 0 at any of these, as QEMU does
 *	after=MS	ends now with status 0; a child that has the sockets
 *			goes on with the script MS later
 *	wait		reads the control port until its other end closes
 *	exit=STATUS	ends
 *	die=SIGNAL	dies of it
 *	stay		for ever; also what follows the last step
 *
 * Which script: the first of these environment variables that is set and
 * whose condition the arguments meet.
 *
 *	FAKE_SANDBOX	-sandbox is given
 *	FAKE_IOAPIC2	the machine has ioapic2=off
 *	FAKE_FSRS	the processor has fsrs=on
 *	FAKE_INCOMING	-incoming is given
 *	FAKE_MONITOR	the memory is in a file: it is saved, or restored
 *	FAKE_SGX	-cpu host, with all that it has
 *	FAKE_KVM	-accel kvm
 *	FAKE_ACPI_OFF	the machine has acpi=off
 *	FAKE_DO
 *
 * With FAKE_LOG=PREFIX the K-th start leaves PREFIX.K.argv (NUL after each),
 * PREFIX.K.fds (an open descriptor a line) and PREFIX.K.pid.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PORTS = 16, CHARDEVS = 16 };

struct port {
	char name[32];
	int fd;
	unsigned long long written;
};

static struct port ports[PORTS];
static int port_count;
static unsigned long long taint;

static void
die(const char *what)
{
	fprintf(stderr, "fake-qemu: %s: %s\n", what, strerror(errno));
	_exit(90);
}

static void
nap_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

/* The value of `key` in the comma-separated option, "" when it has none. */
static const char *
option(const char *text, const char *key, char *out, size_t size)
{
	size_t len = strlen(key), n;
	const char *p = text;

	*out = '\0';
	for (; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (!strncmp(p, key, len) && p[len] == '=') {
			n = strcspn(p + len + 1, ",");
			snprintf(out, size, "%.*s", (int)n, p + len + 1);
			break;
		}
	return out;
}

/* The fd of the chardev `id`, a socket's or a pipe's; -1: there is none. */
static int
chardev_fd(char **argv, const char *id)
{
	char got[64], fd[64];
	int n;

	for (; *argv; argv++) {
		if (strcmp(*argv, "-chardev") || !argv[1]
		    || strcmp(option(argv[1], "id", got, sizeof got), id))
			continue;
		if (*option(argv[1], "fd", fd, sizeof fd))
			return atoi(fd);
		option(argv[1], "path", fd, sizeof fd);
		return sscanf(fd, "/proc/self/fd/%d", &n) == 1
		    || sscanf(fd, "/dev/fd/%d", &n) == 1 ? n : -1;
	}
	return -1;
}

static void
add_port(char **argv, const char *name, const char *id)
{
	int fd = chardev_fd(argv, id);

	if (fd < 0 || port_count == PORTS)
		return;
	snprintf(ports[port_count].name, sizeof ports->name, "%s", name);
	ports[port_count++].fd = fd;
}

static void
find_ports(char **argv)
{
	char **a, id[64], name[64];

	for (a = argv; *a; a++) {
		if (!strcmp(*a, "-mon") && a[1])
			add_port(argv, "qmp", option(a[1], "chardev", id,
			    sizeof id));
		if (strcmp(*a, "-device") || !a[1])
			continue;
		option(a[1], "chardev", id, sizeof id);
		option(a[1], "name", name, sizeof name);
		if (!strncmp(a[1], "virtconsole", 11))
			add_port(argv, "con", id);
		else if (!strncmp(a[1], "isa-serial", 10))
			add_port(argv, "early", id);
		else if (!strncmp(a[1], "virtserialport", 14))
			add_port(argv, !strncmp(name, "ktest.", 6) ? name + 6
			    : !strncmp(name, "org.", 4) ? "agent" : "control",
			    id);
	}
}

static struct port *
port(const char *name, size_t len)
{
	static struct port qemu = { "qemu", 2, 0 };
	int i;

	if (len == 4 && !strncmp(name, "qemu", 4))
		return &qemu;
	for (i = 0; i < port_count; i++)
		if (strlen(ports[i].name) == len
		    && !strncmp(ports[i].name, name, len))
			return &ports[i];
	fprintf(stderr, "fake-qemu: no port %.*s\n", (int)len, name);
	_exit(91);
}

static void
put(struct port *p, const void *data, size_t n)
{
	const char *at = data;

	while (n > 0) {
		ssize_t k = write(p->fd, at, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)	/* the other end is gone: QEMU drops it, too */
			return;
		at += k;
		n -= (size_t)k;
		p->written += (unsigned long long)k;
	}
}

static void
get(struct port *p, void *data, size_t n)
{
	char *at = data;

	while (n > 0) {
		ssize_t k = read(p->fd, at, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			die("no bytes where some were due");
		at += k;
		n -= (size_t)k;
	}
}

/* What ktest says on the control port, from the answer on. */
static void
keep(const char *path, long more)
{
	unsigned char buf[4096];
	unsigned long long left = 0;
	struct port *p = port("control", 7);
	size_t n = 56;
	FILE *f = fopen(path, "we");
	int i;

	if (!f)
		die(path);
	get(p, buf, n);
	for (i = 8; i-- > 0; )
		left = left << 8 | buf[40 + i];
	left += (unsigned long long)more;
	fwrite(buf, 1, n, f);
	for (; left > 0; left -= n) {
		n = left < sizeof buf ? (size_t)left : sizeof buf;
		get(p, buf, n);
		fwrite(buf, 1, n, f);
	}
	if (fclose(f))
		die(path);
}

static void
say(struct port *p, const char *text)
{
	for (; *text; text++) {
		char c = *text;

		if (c == '\\' && text[1]) {
			c = *++text;
			c = c == 'n' ? '\n' : c == 'e' ? '\033'
			    : c == 'r' ? '\r' : c == 's' ? ';'
			    : c == '0' ? '\0' : c;
		}
		put(p, &c, 1);
	}
}

/* Reads up to text, of less than 64 bytes. */
static void
hear(struct port *p, const char *text)
{
	char last[65] = "";
	size_t n = strlen(text);

	while (strcmp(last, text)) {
		memmove(last, last + (strlen(last) == n), n);
		get(p, last + strlen(last), 1);
	}
}

static void
sync_agent(long more)
{
	struct port *p = port("agent", 5);
	char number[32] = "", text[64];
	size_t n = 0;

	hear(p, "\"id\":");
	do
		get(p, number + n, 1);
	while (number[n] != '}' && ++n < sizeof number - 1);
	hear(p, "\n");
	snprintf(text, sizeof text, "{\"return\": %lld}\n",
	    atoll(number) + more);
	put(p, text, strlen(text));
}

/* In large pieces: a socket has room for some 300, whatever their size. */
static void
many(struct port *p, long long n)
{
	char lines[4096 + 1];
	long long i = 0;
	size_t at;

	for (; n > 0; n -= 4096) {
		for (at = 0; at < 4096; at += 64)
			snprintf(lines + at, sizeof lines - at, "%063lld\n",
			    i++);
		put(p, lines, n < 4096 ? (size_t)n : 4096);
	}
}

static void
verdict(int status, unsigned long long more)
{
	unsigned char m[42] = { 'x', (unsigned char)status };
	unsigned long long count[5] = { 0, 0, 0, 0, taint };
	int i;

	for (i = 0; i < port_count; i++) {
		if (!strcmp(ports[i].name, "stdout"))
			count[0] = ports[i].written + more;
		if (!strcmp(ports[i].name, "stderr"))
			count[1] = ports[i].written;
		if (!strcmp(ports[i].name, "log"))
			count[2] = ports[i].written;
	}
	for (i = 0; i < 40; i++)
		m[2 + i] = (unsigned char)(count[i / 8] >> i % 8 * 8);
	put(port("control", 7), m, sizeof m);
}

static void
echo_stdin(void)
{
	struct port *in = port("stdin", 5), *out = port("stdout", 6);
	char buf[4096];
	ssize_t n;

	while ((n = read(in->fd, buf, sizeof buf)) > 0)
		put(out, buf, (size_t)n);
}

/* Reads the monitor's requests up to the one that brings a fd. */
static void
state(const char *text)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} u;
	struct port to = { "", -1, 0 };
	char requests[4096];
	struct iovec v = { requests, sizeof requests };

	while (to.fd < 0) {
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1,
		    .msg_control = u.room, .msg_controllen = sizeof u.room };

		if (recvmsg(port("qmp", 3)->fd, &m, MSG_CMSG_CLOEXEC) <= 0)
			die("no fd came over the monitor");
		if (m.msg_controllen >= sizeof u.header)
			memcpy(&to.fd, CMSG_DATA(&u.header), sizeof to.fd);
	}
	say(&to, text);
	close(to.fd);
}

static void
wait_close(void)
{
	struct port *p = port("control", 7);
	char c;

	while (read(p->fd, &c, 1) > 0)
		;
}

static void
stay(void)
{
	for (;;)
		pause();
}

static void
close_ports(const char *name, int others)
{
	int i;

	for (i = 0; i < port_count; i++)
		if (others != !strcmp(ports[i].name, name)) {
			close(ports[i].fd);
			if (others)
				shutdown(ports[i].fd, SHUT_RDWR);
		}
}

static void
end_at(int number)
{
	(void)number;
	_exit(0);
}

static void
step(char *name)
{
	char *value = strchr(name, '='), *text, c;

	if (value)
		*value++ = '\0';
	else
		value = name + strlen(name);
	text = strchr(value, ':');
	text = text ? text + 1 : value;
	if (!strcmp(name, "hello")) put(port("control", 7), "h", 1);
	else if (!strcmp(name, "clock")) get(port("control", 7), (char[56]){ 0 }, 56);
	else if (!strcmp(name, "keep")) keep(text, atol(value));
	else if (!strcmp(name, "go")) {
		get(port("stdin", 5), &c, 1);
		if (c == 'e') /* nothing will follow */
			shutdown(port("stdin", 5)->fd, SHUT_RD);
		else if (c != 'i')
			die("stdin does not begin with i or e");
	}
	else if (!strcmp(name, "line")) {
		do
			get(port("stdin", 5), &c, 1);
		while (c != '\n');
	}
	else if (!strcmp(name, "say")) say(port(value, strcspn(value, ":")), text);
	else if (!strcmp(name, "hear")) hear(port(value, strcspn(value, ":")), text);
	else if (!strcmp(name, "sync")) sync_agent(atol(value));
	else if (!strcmp(name, "many")) many(port(value, strcspn(value, ":")), atoll(text));
	else if (!strcmp(name, "cat")) echo_stdin();
	else if (!strcmp(name, "state")) state(value);
	else if (!strcmp(name, "taint")) taint = strtoull(value, NULL, 0);
	else if (!strcmp(name, "x")) verdict(atoi(value), 0);
	else if (!strcmp(name, "promise")) verdict(0, (unsigned long long)atoll(value));
	else if (!strcmp(name, "byte")) {
		c = (char)atoi(value);
		put(port("control", 7), &c, 1);
	}
	else if (!strcmp(name, "close")) close_ports(value, 0);
	else if (!strcmp(name, "only")) close_ports(value, 1);
	else if (!strcmp(name, "sleep")) nap_ms(atol(value));
	else if (!strcmp(name, "deaf")) {
		signal(SIGTERM, SIG_IGN);
		signal(SIGINT, SIG_IGN);
		signal(SIGHUP, SIG_IGN);
	}
	else if (!strcmp(name, "handlers")) {
		signal(SIGTERM, end_at);
		signal(SIGINT, end_at);
		signal(SIGHUP, end_at);
	}
	else if (!strcmp(name, "after")) {
		if (fork() != 0)
			_exit(0);
		nap_ms(atol(value));
	}
	else if (!strcmp(name, "wait")) wait_close();
	else if (!strcmp(name, "exit")) _exit(atoi(value));
	else if (!strcmp(name, "die")) {
		signal(atoi(value), SIG_DFL);
		raise(atoi(value));
	}
	else if (!strcmp(name, "stay")) stay();
	else {
		fprintf(stderr, "fake-qemu: no such step: %s\n", name);
		_exit(92);
	}
}

static FILE *
log_open(const char *prefix, int k, const char *what)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof path, "%s.%d.%s", prefix, k, what);
	if (!(f = fopen(path, "wxe")) && errno != EEXIST)
		die(path);
	return f;
}

static void
log_start(char **argv)
{
	const char *prefix = getenv("FAKE_LOG");
	char link[4096], path[300];
	struct dirent *e;
	FILE *f;
	DIR *d;
	int k = 1;

	if (!prefix)
		return;
	while (!(f = log_open(prefix, k, "pid")))
		k++;
	fprintf(f, "%d\n", (int)getpid());
	fclose(f);
	f = log_open(prefix, k, "argv");
	for (; *argv; argv++)
		fwrite(*argv, 1, strlen(*argv) + 1, f);
	fclose(f);
	f = log_open(prefix, k, "fds");
	if (!(d = opendir("/proc/self/fd")))
		die("/proc/self/fd");
	while ((e = readdir(d))) {
		int fd = atoi(e->d_name);
		ssize_t n;

		if (e->d_name[0] == '.' || fd == dirfd(d) || fd == fileno(f))
			continue;
		snprintf(path, sizeof path, "/proc/self/fd/%s", e->d_name);
		n = readlink(path, link, sizeof link - 1);
		fprintf(f, "%d %.*s\n", fd, n < 0 ? 0 : (int)n, link);
	}
	closedir(d);
	fclose(f);
}

/* Whether `word` follows `option` among the arguments, as all of it or up to
   a comma; "" matches any, "KEY=VALUE" anywhere between commas. */
static int
given(char **argv, const char *name, const char *word)
{
	const char *is = strchr(word, '=');
	char key[64], value[64];

	snprintf(key, sizeof key, "%.*s", is ? (int)(is - word) : 0, word);
	for (; *argv; argv++) {
		if (strcmp(*argv, name) || !argv[1])
			continue;
		if (!*word || (!strncmp(argv[1], word, strlen(word))
		    && (argv[1][strlen(word)] == ',' || !argv[1][strlen(word)])))
			return 1;
		if (is && !strcmp(option(argv[1], key, value, sizeof value),
		    is + 1))
			return 1;
	}
	return 0;
}

static const char *
script(char **argv)
{
	const char *s;

	if ((s = getenv("FAKE_SANDBOX")) && given(argv, "-sandbox", ""))
		return s;
	if ((s = getenv("FAKE_IOAPIC2")) && given(argv, "-M", "ioapic2=off"))
		return s;
	if ((s = getenv("FAKE_FSRS")) && given(argv, "-cpu", "fsrs=on"))
		return s;
	if ((s = getenv("FAKE_INCOMING")) && given(argv, "-incoming", ""))
		return s;
	if ((s = getenv("FAKE_MONITOR"))
	    && given(argv, "-M", "memory-backend=ram0"))
		return s;
	if ((s = getenv("FAKE_SGX")) && given(argv, "-cpu", "host")
	    && !given(argv, "-cpu", "host,-sgx"))
		return s;
	if ((s = getenv("FAKE_KVM")) && given(argv, "-accel", "kvm"))
		return s;
	if ((s = getenv("FAKE_ACPI_OFF"))
	    && (given(argv, "-M", "acpi=off")
	    || given(argv, "-machine", "acpi=off")))
		return s;
	if ((s = getenv("FAKE_DO")))
		return s;
	fprintf(stderr, "fake-qemu: no script\n");
	_exit(93);
}

int
main(int argc, char **argv)
{
	char *text, *next;

	(void)argc;
	signal(SIGPIPE, SIG_IGN);
	find_ports(argv);
	log_start(argv);
	if (!(text = strdup(script(argv))))
		die("script");
	for (; text && *text; text = next) {
		if ((next = strchr(text, ';')))
			*next++ = '\0';
		step(text);
	}
	stay();
	return 0;
}
