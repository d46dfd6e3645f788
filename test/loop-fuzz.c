/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop-fuzz: what QEMU and a guest may send, through ktest's own poll loop.
 *
 *     loop-fuzz DIR KERNEL INIT STAND-IN FIRST STEP SECONDS
 *
 * calls ktest_run() for the seeds FIRST, FIRST+STEP, ... until SECONDS have
 * passed. A seed says what kind of run it is (cold, saving, restoring, in
 * Monogon mode), its options, which signals come over wake_fd and when, and
 * what the stand-in for QEMU does, which is this file built with -DSTAND_IN:
 * it writes right, nearly right and random messages to control port,
 * consoles, stderr, the program's streams and the monitor, in pieces, closes
 * them, ends. Which of them meet in one turn of the loop is up to the
 * scheduler; the rest is the seed's.
 *
 * After each run these hold: the status is the caller's signal, one that was
 * promised on the control port with just the bytes that came, or 124 or 125
 * with one line that says why; stdout has what was written, in order; no
 * child and no fd is left. The sanitizers see to the rest.
 *
 *     loop-fuzz DIR KERNEL INIT STAND-IN SEED 1 0
 *
 * is one seed again, with ktest's own lines on stderr.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint64_t random_state;

static void random_seed(uint64_t seed)
{
	random_state = (seed + 1) * 0x9e3779b97f4a7c15u;
}

static unsigned below(unsigned n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)(random_state >> 33) % n;
}

static void nap_us(long us)
{
	struct timespec t = { us / 1000000, us % 1000000 * 1000 };

	(void)nanosleep(&t, NULL);
}

/* Byte i of what the stand-in writes to stdout, or without a program to the
 * console. */
static char pattern(uint64_t i)
{
	return (char)(i * 31 + i / 251);
}

#define MESSAGE 42 /* 'x', the status, three counts, two taints: init.c */

#ifdef STAND_IN
/* -- The stand-in: argv is QEMU's, LOOP_SEED the seed (0: well-behaved),
 * LOOP_DIR has the files `record`, which gets all that is sent on the control
 * port, and `base`: how long `out` and `err` were when it started -- */
enum { CONTROL, IN, OUT, ERR, CONSOLE, EARLY, MONITOR, LOG, KLOG, PORTS };

static int port[PORTS] = { -1, -1, -1, -1, -1, -1, -1, 2, -1 };
static uint64_t sent[PORTS];
static int record, state_fd = -1, program, restoring, resumed;

/* The fd behind the chardev that `device` names. */
static int chardev_fd(char **argv, const char *device)
{
	char id[64] = "", begin[80], *at;
	int fd = -1;

	at = strstr(device, "chardev=");
	if (at == NULL || sscanf(at, "chardev=%63[^,]", id) != 1)
		return -1;
	(void)snprintf(begin, sizeof begin, ",id=%s,", id);
	for (; *argv != NULL; argv++)
		if ((at = strstr(*argv, begin)) != NULL
		    && sscanf(at + strlen(begin), "fd=%d", &fd) != 1
		    && sscanf(at + strlen(begin), "path=/dev/fd/%d", &fd) != 1)
			(void)sscanf(at + strlen(begin),
				     "path=/proc/self/fd/%d", &fd);
	return fd;
}

static void find_ports(char **argv)
{
	static const struct {
		const char *begin, *part;
		int port;
	} known[] = {
		{ "virtserialport", "name=ktest.control", CONTROL },
		{ "virtserialport", "name=ktest.stdin", IN },
		{ "virtserialport", "name=ktest.stdout", OUT },
		{ "virtserialport", "name=ktest.stderr", ERR },
		{ "virtserialport", "name=ktest.log", KLOG },
		{ "virtconsole", "", CONSOLE },
		{ "isa-serial", "", EARLY },
		{ "chardev=", "mode=control", MONITOR },
	};

	for (char **a = argv; *a != NULL; a++) {
		for (size_t i = 0; i < sizeof known / sizeof *known; i++)
			if (strncmp(*a, known[i].begin, strlen(known[i].begin))
			    == 0 && strstr(*a, known[i].part) != NULL)
				port[known[i].port] = chardev_fd(argv, *a);
		restoring |= strcmp(*a, "-incoming") == 0;
	}
	program = port[IN] >= 0;
}

static uint64_t file_size(const char *name)
{
	struct stat st;

	return stat(name, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void send_bytes(int to, const char *s, size_t n)
{
	if (port[to] < 0)
		return;
	if (to == CONTROL && write(record, s, n) != (ssize_t)n)
		_exit(90);
	while (n > 0) {
		size_t part = 1 + below((unsigned)n);
		ssize_t done;

		if (below(2) == 0)
			part = n;
		done = write(port[to], s, part);
		if (done <= 0)
			return;
		s += done;
		n -= (size_t)done;
		sent[to] += (uint64_t)done;
	}
}

static void send_text(int to, const char *s)
{
	send_bytes(to, s, strlen(s));
}

static void send_pattern(int to, size_t n)
{
	char bytes[20000];

	for (size_t i = 0; i < n; i++)
		bytes[i] = pattern(sent[to] + i);
	send_bytes(to, bytes, n);
}

static void send_random(int to, size_t n)
{
	char bytes[6000];

	for (size_t i = 0; i < n; i++)
		bytes[i] = (char)below(256);
	send_bytes(to, bytes, n);
}

/* A verdict: what was written, and sometimes not. */
static void send_verdict(int status, uint64_t more)
{
	char m[MESSAGE] = { 'x', (char)status };

	for (int i = 0; i < 8; i++) {
		m[2 + i] = (char)((sent[OUT] + more) >> 8 * i);
		m[10 + i] = (char)(sent[ERR] >> 8 * i);
		m[18 + i] = (char)(sent[KLOG] >> 8 * i);
	}
	send_bytes(CONTROL, m, sizeof m);
}

static void send_control(void)
{
	char many[100];

	switch (below(11)) {
	case 0: case 1:
		send_text(CONTROL, "h");
		break;
	case 2: case 3:
		send_verdict((int)below(256), 0);
		break;
	case 4:
		send_verdict((int)below(256), below(2) ? 1 + below(9) : -1ull);
		break;
	case 5:
		send_random(CONTROL, 1 + below(80));
		break;
	case 6: case 7: case 8: /* more than any message, in one write */
		memset(many, "xhe\nz\0"[below(6)], sizeof many);
		many[0] = "hhex"[below(4)];
		send_bytes(CONTROL, many, 1 + below(sizeof many));
		break;
	case 9:
		send_text(CONTROL, "e");
		send_random(CONTROL, below(2000));
		send_text(CONTROL, below(2) ? "\n" : "");
		break;
	default:
		send_bytes(CONTROL, "x\0\0\0\0\0", 1 + below(5));
	}
}

static void send_words(int to)
{
	static const char *const words[] = {
		"[    1.0] Kernel panic - not syncing: oops\n",
		"[    0.5] ktest: mount: no virtio device found\n",
		"firmware: no kernel\r\n", "\033[2J\033]0;x\007", "\n",
		"qemu: KVM internal error. Suberror: 1\n",
		"qemu: -sandbox on: seccomp\n", "\xc3", "\xe2\x82\xac\n",
		"could not set up host forwarding rule\n",
		"4,7,5,-;------------[ cut here ]------------\n",
		"4,8,6,-,caller=T1;WARNING: CPU: 0 PID: 1 at a.c:1\n", "-\n",
		"1,99999999999999999999,7,-;BUG: bad\\x0a\\x0a\n", "+unref\n",
		"1,12,8,-;BUG: kernel NULL pointer dereference\n",
	};

	if (below(3) == 0)
		send_random(to, 1 + below(5000));
	else
		send_text(to, words[below(sizeof words / sizeof *words)]);
}

#define EVENT "{\"timestamp\": 1, \"event\": \"MIGRATION\", \"data\":" \
	" {\"status\": \"%s\"}}\n"

/* Reads a request of the monitor's, and the fd that may come with it. */
static size_t monitor_read(char *out, size_t size)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} u;
	struct iovec v = { out, size - 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1,
		.msg_control = u.room, .msg_controllen = sizeof u.room };
	ssize_t n = recvmsg(port[MONITOR], &m, MSG_DONTWAIT);

	out[n > 0 ? n : 0] = '\0';
	if (n > 0 && m.msg_controllen >= sizeof u.header)
		memcpy(&state_fd, CMSG_DATA(&u.header), sizeof state_fd);
	return n > 0 ? (size_t)n : 0;
}

static void monitor_answer(int well)
{
	char request[4096], event[128];

	if (port[MONITOR] < 0
	    || monitor_read(request, sizeof request) == 0)
		return;
	send_text(MONITOR, well || below(20) ? "{\"return\": {}}\n"
		  : below(2) ? "{\"error\": {}}\n" : "\0{\"return\"\n\n");
	if (strstr(request, "'migrate-incoming'") != NULL) {
		send_text(MONITOR, "{\"timestamp\": 1, \"event\":"
			  " \"RESUME\"}\n");
		resumed = 1;
		return;
	}
	if (strstr(request, "'migrate'") == NULL)
		return;
	if (state_fd >= 0)
		(void)!write(state_fd, request, well ? 9 : below(2000));
	if (well || below(10))
		(void)close(state_fd);
	(void)snprintf(event, sizeof event, EVENT, well || below(10)
		       ? "completed" : below(2) ? "active" : "failed");
	send_text(MONITOR, event);
}

static void send_monitor(void)
{
	static const char *const lines[] = {
		"{\"return\": {}}\n", "{\"return\": ", "\n", "{\"QMP\": {}}\n",
		"{\"timestamp\": {}, \"event\": \"STOP\"}\n", "\"failed\"\n",
		"{\"timestamp\": 1, \"event\": \"RESUME\"}\n", "{}",
	};

	if (below(3) > 0)
		send_text(MONITOR, lines[below(sizeof lines / sizeof *lines)]);
	else
		send_random(MONITOR, 1 + below(6000));
}

static void take(int from)
{
	char bytes[5000];

	if (port[from] >= 0)
		(void)recv(port[from], bytes, below(sizeof bytes) + 1,
			   MSG_DONTWAIT);
}

static void close_port(int which)
{
	if (port[which] >= 0)
		(void)close(port[which]);
	port[which] = -1;
}

static void end_somehow(void)
{
	unsigned how = below(4);

	if (how == 3)
		(void)raise((int)(below(2) ? SIGSEGV : SIGKILL));
	_exit(how < 2 ? 0 : (int)below(256));
}

static void act(void)
{
	switch (below(24)) {
	case 0: case 1: case 2: case 3:
		send_control();
		break;
	case 4: case 5: case 6:
		if (program)
			send_pattern(OUT, 1 + below(20000));
		else
			send_pattern(CONSOLE, 1 + below(20000));
		break;
	case 7: case 8:
		send_random(ERR, 1 + below(3000));
		break;
	case 9: case 10:
		if (program)
			send_words(CONSOLE);
		break;
	case 11: send_words(EARLY); break;
	case 12: send_words(LOG); break;
	case 13: send_words(KLOG); break;
	case 14: case 15: send_monitor(); break;
	case 16: take(IN); take(CONTROL); break;
	case 17: close_port((int)below(PORTS)); break;
	case 18:
		if (below(6) == 0)
			end_somehow();
		break;
	default:
		nap_us((long)below(2000));
	}
}

/* As QEMU and init do it: the seed 0, and how most of the others begin. */
static void behave(int all)
{
	char answer[56];

	if (port[MONITOR] >= 0)
		send_text(MONITOR, "{\"QMP\": {\"version\": 1}}\n");
	if (!restoring)
		send_text(CONTROL, program ? "h" : "");
	for (int i = 0; port[MONITOR] >= 0 && !resumed
	     && (all || (i < 100 && below(30) > 0)); i++) {
		struct pollfd p = { .fd = port[MONITOR], .events = POLLIN };

		(void)poll(&p, 1, all ? -1 : 20);
		monitor_answer(all || below(5) > 0);
	}
	if (restoring && resumed && (all || below(5) > 0)) {
		if (recv(port[CONTROL], answer, sizeof answer, MSG_WAITALL)
		    == sizeof answer)
			send_text(CONTROL, "l");
		if (all)
			send_verdict(0, 0);
	}
	if (!all)
		return;
	if (!restoring && recv(port[CONTROL], answer, sizeof answer,
			       MSG_WAITALL) == sizeof answer)
		send_verdict(0, 0);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	const char *seed = getenv("LOOP_SEED");
	uint64_t base[2];

	(void)argc;
	(void)signal(SIGPIPE, SIG_IGN);
	find_ports(argv);
	if (seed == NULL || chdir(getenv("LOOP_DIR")) < 0)
		return 91;
	base[0] = file_size("out");
	base[1] = file_size("err");
	record = open("base", O_WRONLY);
	if (write(record, base, sizeof base) != sizeof base)
		return 92;
	(void)close(record);
	record = open("record", O_WRONLY | O_APPEND);
	random_seed(strtoull(seed, NULL, 10) * 4
		    + (port[MONITOR] >= 0) + (unsigned)restoring);
	(void)below(1);
	if (strcmp(seed, "0") == 0 || below(4) > 0)
		behave(strcmp(seed, "0") == 0);
	for (unsigned n = below(40); n > 0; n--) {
		monitor_answer(0);
		act();
	}
	if (below(4) > 0)
		end_somehow();
	for (;;)
		pause();
}

#else
/* -- The runs -- */
#define KTEST_LIB
#include "../ktest.c"

#include <pthread.h>

enum kind { COLD, SAVE, RESTORE, MONOGON, KINDS };

static struct ktest_options options;
static struct ktest_result result;
static unsigned long long seed;
static int record, base, out_fd, err_fd, wake_pipe[2], wakes;
static char *dir, snapshot[4096];
static unsigned counts[6];
enum { VERDICTS, SIGNALS, TIMEOUTS, ERRORS, WARM, SAVED };

static void wrong(const char *what)
{
	(void)fprintf(stderr, "loop-fuzz: seed %llu: %s: status %d signal %d,"
		      " error: %s\n", seed, what, result.status, result.signal,
		      result.error);
	exit(1);
}

#ifdef SANITIZED
void __sanitizer_set_death_callback(void (*callback)(void));

static void on_death(void)
{
	(void)fprintf(stderr, "loop-fuzz: seed %llu\n", seed);
}
#endif

static int fd_count(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d != NULL && readdir(d) != NULL)
		n++;
	if (d != NULL)
		(void)closedir(d);
	return n;
}

static int file_new(const char *name)
{
	char path[4096];
	int fd;

	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC,
		  0600);
	if (fd < 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

/* Signals, as a program around it or ktest's own handler passes them on. */
static void *wake_often(void *arg)
{
	static const char bytes[] = { SIGCHLD, SIGWINCH, SIGCHLD, SIGWINCH,
		SIGCHLD, SIGTERM, SIGINT, 0 };
	uint64_t random = *(uint64_t *)arg;

	for (int i = 0; i < wakes; i++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		nap_us((long)(random >> 33) % 6000);
		(void)!write(wake_pipe[1], bytes + (random >> 50)
			     % (i < wakes - 1 ? 5 : sizeof bytes), 1);
	}
	return NULL;
}

/* How much stdout (0) or stderr (1) has that is not of an earlier attempt of
 * the same run; *from: where it begins. */
static uint64_t file_part(int which, uint64_t *from)
{
	uint64_t begin[2] = { 0, 0 };
	struct stat st;

	(void)!pread(base, begin, sizeof begin, 0);
	if (fstat(which == 0 ? out_fd : err_fd, &st) < 0
	    || (uint64_t)st.st_size < begin[which])
		return 0;
	*from = begin[which];
	return (uint64_t)st.st_size - begin[which];
}

/* Whether stdout is what was written, from its beginning. */
static void check_pattern(void)
{
	uint64_t from = 0, n = file_part(0, &from);
	char bytes[4096];
	ssize_t got;

	for (uint64_t at = 0; at < n; at += (uint64_t)got) {
		got = pread(out_fd, bytes, sizeof bytes, (off_t)(from + at));
		if (got <= 0)
			wrong("no stdout");
		for (ssize_t i = 0; i < got; i++)
			if (bytes[i] != pattern(at + (uint64_t)i))
				wrong("another stdout");
	}
}

/* Whether this status was sent, with just the bytes that are there. */
static bool promised(enum kind kind)
{
	static char said[1 << 16];
	/* a kernel that failed turns a 0 into 123 */
	char want[18] = { 'x', (char)(result.status == 123
		&& result.finding[0] != '\0' ? 0 : result.status) };
	ssize_t n = pread(record, said, sizeof said, 0);
	uint64_t from;

	if (kind == MONOGON)
		return n > 0 && (unsigned char)said[0] == result.status;
	put_le(want + 2, file_part(0, &from), 8);
	put_le(want + 10, file_part(1, &from), 8);
	return n > 0 && memmem(said, (size_t)n, want, sizeof want) != NULL;
}

static void check(enum kind kind, int fds)
{
	bool verdict = promised(kind);

	counts[WARM] += result.warm != 0;
	check_pattern();
	if (result.status < 0 || result.status > 255)
		wrong("no such status");
	if (waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD)
		wrong("a child is left");
	if (fd_count() != fds)
		wrong("fds are left");
	if (strchr(result.error, '\n') != NULL)
		wrong("two lines of error");
	if (result.signal != 0 && result.status == 128 + result.signal) {
		counts[SIGNALS]++;
	} else if (result.error[0] != '\0') {
		if (result.status < 123 || result.status > 125)
			wrong("an error and another status");
		counts[result.status == 124 ? TIMEOUTS : ERRORS]++;
	} else if (!verdict) {
		wrong("nobody promised this");
	} else {
		counts[VERDICTS]++;
	}
}

static void run(enum kind kind)
{
	uint64_t wake_random = random_state;
	int fds = fd_count(), size;
	pthread_t thread;

	out_fd = options.stdout_fd = file_new("out");
	err_fd = options.stderr_fd = file_new("err");
	record = file_new("record");
	base = file_new("base");
	if (ktest_socket_pair(wake_pipe) < 0)
		exit(1);
	(void)fcntl(wake_pipe[0], F_SETFL, O_NONBLOCK);
	options.wake_fd = wake_pipe[0];
	size = fd_count() - fds;
	(void)pthread_create(&thread, NULL, wake_often, &wake_random);
	(void)ktest_run(&options, &result);
	(void)pthread_join(thread, NULL);
	check(kind, fds + size);
	(void)close(out_fd);
	(void)close(err_fd);
	(void)close(record);
	(void)close(base);
	(void)close(wake_pipe[0]);
	(void)close(wake_pipe[1]);
}

static void stand_in_seed(unsigned long long n)
{
	char text[32];

	(void)snprintf(text, sizeof text, "%llu", n);
	(void)setenv("LOOP_SEED", text, 1);
	seed = n;
}

/* A snapshot that is right, made by one who behaves. */
static void make_snapshot(void)
{
	unsigned long long mine = seed;

	if (access(snapshot, F_OK) == 0)
		return;
	stand_in_seed(0);
	options.timeout = 20000;
	wakes = 0;
	run(RESTORE);
	if (result.status != 0 || access(snapshot, F_OK) < 0)
		wrong("no snapshot");
	stand_in_seed(mine);
}

static void run_seed(char *kernel, char **argv)
{
	enum kind kind;
	int fd = open(below(2) ? "/dev/null" : kernel, O_RDONLY | O_CLOEXEC);

	random_seed(seed);
	kind = (enum kind)below(KINDS);
	options.argv = kind != MONOGON ? argv : NULL;
	options.initrd_path = kind == MONOGON ? kernel : NULL;
	options.snapshot = kind == SAVE || kind == RESTORE ? snapshot : NULL;
	options.tty = kind != MONOGON && below(4) == 0;
	options.console = 0;
	options.verbose = below(2) == 0;
	options.stdin_fd = fd;
	if (kind == SAVE)
		(void)unlink(snapshot);
	if (kind == RESTORE)
		make_snapshot();
	random_seed(seed + (1ull << 40));
	options.console = options.snapshot == NULL && below(4) == 0;
	options.timeout = 30 + (long long)below(120);
	wakes = below(3) == 0 ? 0 : (int)below(12);
	run(kind);
	counts[SAVED] += kind == SAVE && access(snapshot, F_OK) == 0;
	(void)close(fd);
}

int main(int argc, char **argv)
{
	long long end;
	char *program[] = { NULL, NULL };
	unsigned long long step, runs = 0;

	if (argc != 8)
		return 2;
#ifdef SANITIZED
	__sanitizer_set_death_callback(on_death);
#endif
	dir = argv[1];
	program[0] = argv[3];
	seed = strtoull(argv[5], NULL, 10);
	step = strtoull(argv[6], NULL, 10);
	end = now_ms() + atoll(argv[7]) * 1000;
	(void)snprintf(snapshot, sizeof snapshot, "%s/snapshot", dir);
	(void)setenv("LOOP_DIR", dir, 1);
	ktest_defaults(&options);
	options.kernel_path = options.bios = argv[2];
	options.init = argv[3];
	options.qemu = argv[4];
	options.accel = ACCEL_TCG;
	options.memory = 32;
	options.log_fd = 2;
	if (atoll(argv[7]) > 0)
		options.log_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	do {
		stand_in_seed(seed);
		run_seed(argv[2], program);
		seed += step;
		runs++;
	} while (now_ms() < end);
	(void)printf("%llu runs: %u verdicts, %u signals, %u timeouts,"
		     " %u errors, %u warm, %u saved\n", runs, counts[VERDICTS],
		     counts[SIGNALS], counts[TIMEOUTS], counts[ERRORS],
		     counts[WARM], counts[SAVED]);
	return 0;
}
#endif
