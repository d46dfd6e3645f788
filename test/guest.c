/*
 * guest: the programs that the tests run, most of them inside the guest.
 *
 *	guest COMMAND [ARG...]
 *
 * The table at the end names the commands; each says above its function what
 * it does.  Built static and dynamic.  Unless said otherwise a command ends
 * with 0 when what it is about held and with 1, after a line on stderr, when
 * it did not.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int
bad(const char *what)
{
	fprintf(stderr, "guest: %s: %s\n", what, strerror(errno));
	return 1;
}

static int
number(char **arg)
{
	return *arg ? atoi(*arg) : 0;
}

static void
nap_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

static void
for_ever(void)
{
	for (;;)
		pause();
}

static int
write_all(int fd, const void *data, size_t n)
{
	const char *p = data;

	while (n > 0) {
		ssize_t k = write(fd, p, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -1;
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

static int
write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write_all(fd, text, strlen(text)) < 0)
		return bad(path);
	close(fd);
	return 0;
}

/* Bytes from a xorshift generator: the same for the same seed. */
static int
write_random(int fd, long n, unsigned seed)
{
	uint64_t x = 0x9e3779b97f4a7c15u ^ seed;
	unsigned char buf[4096];
	size_t i, k;

	for (; n > 0; n -= (long)k) {
		k = n < (long)sizeof buf ? (size_t)n : sizeof buf;
		for (i = 0; i < k; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			buf[i] = (unsigned char)(x >> 32);
		}
		if (write_all(fd, buf, k) < 0)
			return -1;
	}
	return 0;
}

static int
copy(int from, int to)
{
	static char buf[65536];
	ssize_t n;

	while ((n = read(from, buf, sizeof buf)) > 0)
		if (write_all(to, buf, (size_t)n) < 0)
			return bad("write");
	return n < 0 ? bad("read") : 0;
}

/* exit N */
static int
do_exit(char **arg)
{
	return number(arg);
}

/* raise SIGNAL: dies of it */
static int
do_raise(char **arg)
{
	raise(number(arg));
	return 99;
}

/* cat: stdin to stdout */
static int
do_cat(char **arg)
{
	(void)arg;
	return copy(0, 1);
}

/* random N SEED: to stdout */
static int
do_random(char **arg)
{
	return write_random(1, atol(arg[0]), (unsigned)number(arg + 1)) < 0;
}

/* both N SEED: stdin to stdout while N random bytes go to stderr */
static int
do_both(char **arg)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return bad("fork");
	if (pid == 0)
		_exit(write_random(2, atol(arg[0]), (unsigned)number(arg + 1))
		    < 0);
	if (copy(0, 1))
		return 1;
	return waitpid(pid, &status, 0) != pid || status != 0;
}

/* lines N: a write each */
static int
do_lines(char **arg)
{
	char line[32];
	int i, n = number(arg);

	for (i = 1; i <= n; i++) {
		snprintf(line, sizeof line, "line %d\n", i);
		if (write_all(1, line, strlen(line)) < 0)
			return 1;
	}
	return 0;
}

/* order N: lines to stdout and stderr in turn, a write each */
static int
do_order(char **arg)
{
	char line[32];
	int i, n = number(arg);

	for (i = 1; i <= n; i++) {
		snprintf(line, sizeof line, "%d\n", i);
		if (write_all(1 + i % 2, line, strlen(line)) < 0)
			return 1;
	}
	return 0;
}

/* onebyte N: one byte, and ends at once with status N */
static int
do_onebyte(char **arg)
{
	if (write(1, "x", 1) != 1)
		_exit(99);
	_exit(number(arg));
}

/* allbytes: the 256 values, in order */
static int
do_allbytes(char **arg)
{
	unsigned char b[256];
	int i;

	(void)arg;
	for (i = 0; i < 256; i++)
		b[i] = (unsigned char)i;
	return write_all(1, b, sizeof b) < 0 || write_all(2, b, sizeof b) < 0;
}

/* args ARG...: each with a NUL behind it */
static int
do_args(char **arg)
{
	for (; *arg; arg++)
		if (write_all(1, *arg, strlen(*arg) + 1) < 0)
			return 1;
	return 0;
}

/* env: each variable with a NUL behind it */
static int
do_env(char **arg)
{
	(void)arg;
	return do_args(environ);
}

/* say TEXT STATUS: TEXT and a newline to stdout, then ends */
static int
do_say(char **arg)
{
	printf("%s\n", arg[0]);
	return number(arg + 1);
}

static int
compare_int(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* "fd N" for each open descriptor, in order */
static void
report_fds(void)
{
	int fds[256], n = 0, i;
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;

	if (!d) {
		bad("/proc/self/fd");
		return;
	}
	while ((e = readdir(d)) && n < 256)
		if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(d))
			fds[n++] = atoi(e->d_name);
	closedir(d);
	qsort(fds, (size_t)n, sizeof *fds, compare_int);
	for (i = 0; i < n; i++)
		printf("fd %d\n", fds[i]);
}

/* The lines of /proc/self/status that begin with one of the names. */
static void
report_status(void)
{
	static const char *const want[] = { "SigBlk", "SigIgn", "SigCgt",
	    "SigPnd", "ShdPnd", "Umask", "NoNewPrivs", "Seccomp", "CapEff" };
	char line[256];
	size_t i;
	FILE *f = fopen("/proc/self/status", "r");

	if (!f) {
		bad("/proc/self/status");
		return;
	}
	while (fgets(line, sizeof line, f))
		for (i = 0; i < sizeof want / sizeof *want; i++)
			if (!strncmp(line, want[i], strlen(want[i]))
			    && line[strlen(want[i])] == ':')
				fputs(line, stdout);
	fclose(f);
}

static void
report_limit(const char *name, int what)
{
	struct rlimit r;

	if (getrlimit((__rlimit_resource_t)what, &r) < 0)
		bad(name);
	printf("limit %s %lld %lld\n", name, (long long)r.rlim_cur,
	    (long long)r.rlim_max);
}

static void
report_file(const char *tag, const char *path)
{
	char line[512];
	FILE *f = fopen(path, "r");

	if (!f) {
		bad(path);
		return;
	}
	while (fgets(line, sizeof line, f))
		printf("%s %s", tag, line);
	fclose(f);
}

/* "lo up" when the loopback interface is, "lo works" when a connection to
   127.0.0.1 goes through */
static void
report_lo(void)
{
	struct ifreq ifr;
	struct sockaddr_in a;
	socklen_t len = sizeof a;
	int s = socket(AF_INET, SOCK_STREAM, 0);
	int c = socket(AF_INET, SOCK_STREAM, 0);

	if (s < 0 || c < 0) {
		printf("lo none\n");
		return;
	}
	memset(&ifr, 0, sizeof ifr);
	strcpy(ifr.ifr_name, "lo");
	if (ioctl(s, SIOCGIFFLAGS, &ifr) == 0 && (ifr.ifr_flags & IFF_UP))
		printf("lo up\n");
	memset(&a, 0, sizeof a);
	a.sin_family = AF_INET;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(s, (struct sockaddr *)&a, len) == 0 && listen(s, 1) == 0
	    && getsockname(s, (struct sockaddr *)&a, &len) == 0
	    && connect(c, (struct sockaddr *)&a, len) == 0)
		printf("lo works\n");
	close(s);
	close(c);
}

/* report: the surroundings, a fact a line */
static int
do_report(char **arg)
{
	struct utsname u;
	char buf[4096];
	ssize_t n;

	(void)arg;
	setvbuf(stdout, NULL, _IOFBF, 65536);
	report_fds();
	printf("ppid %d\n", (int)getppid());
	printf("session %s\n", getsid(0) == getpid() ? "own" : "other");
	printf("group %s\n", getpgrp() == getpid() ? "own" : "other");
	printf("uid %d gid %d\n", (int)getuid(), (int)getgid());
	printf("tty %d %d %d\n", isatty(0), isatty(1), isatty(2));
	printf("cwd %s\n", getcwd(buf, sizeof buf) ? buf : "none");
	if ((n = readlink("/proc/self/exe", buf, sizeof buf - 1)) >= 0) {
		buf[n] = '\0';
		printf("exe %s\n", buf);
	}
	printf("cpus %ld\n", sysconf(_SC_NPROCESSORS_ONLN));
	printf("pages %lld\n", (long long)sysconf(_SC_PHYS_PAGES)
	    * sysconf(_SC_PAGESIZE) / 1048576);
	if (uname(&u) == 0)
		printf("kernel %s\n", u.release);
	report_status();
	report_limit("core", RLIMIT_CORE);
	report_limit("nofile", RLIMIT_NOFILE);
	report_limit("stack", RLIMIT_STACK);
	report_limit("nproc", RLIMIT_NPROC);
	report_limit("memlock", RLIMIT_MEMLOCK);
	for (n = 0; environ[n]; n++)
		printf("env %s\n", environ[n]);
	report_file("oom", "/proc/self/oom_score_adj");
	report_file("mount", "/proc/mounts");
	report_file("filesystem", "/proc/filesystems");
	report_file("module", "/proc/modules");
	report_lo();
	printf("end\n");
	return 0;
}

/* clock: seconds since 1970 */
static int
do_clock(char **arg)
{
	(void)arg;
	printf("%lld\n", (long long)time(NULL));
	return 0;
}

/* fresh: what no two runs have in common, and how long the kernel is up */
static int
do_fresh(char **arg)
{
	unsigned char bytes[32];
	struct timespec up;
	size_t i;

	if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes
	    || clock_gettime(CLOCK_MONOTONIC, &up) < 0)
		return bad("getrandom");
	printf("random ");
	for (i = 0; i < sizeof bytes; i++)
		printf("%02x", bytes[i]);
	printf("\nstack %p\nup %lld\n", (void *)&arg, (long long)up.tv_sec);
	return 0;
}

/* timers: 50 sleeps of 10 ms take at least half a second, and time runs as
   fast for CLOCK_REALTIME as for CLOCK_MONOTONIC; prints milliseconds */
static int
do_timers(char **arg)
{
	struct timespec a, b, c, d;
	long long mono, real;
	int i;

	(void)arg;
	clock_gettime(CLOCK_MONOTONIC, &a);
	clock_gettime(CLOCK_REALTIME, &c);
	for (i = 0; i < 50; i++)
		nap_ms(10);
	clock_gettime(CLOCK_REALTIME, &d);
	clock_gettime(CLOCK_MONOTONIC, &b);
	mono = (b.tv_sec - a.tv_sec) * 1000LL + (b.tv_nsec - a.tv_nsec)
	    / 1000000;
	real = (d.tv_sec - c.tv_sec) * 1000LL + (d.tv_nsec - c.tv_nsec)
	    / 1000000;
	printf("%lld %lld\n", mono, real);
	return mono < 500 || real < mono - 100 || real > mono + 100;
}

/* cpus N: there are N processors, and each of them sleeps well */
static int
do_cpus(char **arg)
{
	int n = number(arg), cpu, status = 0;
	cpu_set_t set;

	if (sysconf(_SC_NPROCESSORS_ONLN) != n) {
		fprintf(stderr, "guest: %ld processors\n",
		    sysconf(_SC_NPROCESSORS_ONLN));
		return 1;
	}
	for (cpu = 0; cpu < n; cpu++)
		if (fork() == 0) {
			CPU_ZERO(&set);
			CPU_SET((size_t)cpu, &set);
			if (sched_setaffinity(0, sizeof set, &set) < 0)
				_exit(bad("sched_setaffinity"));
			_exit(do_timers(arg));
		}
	while (wait(&cpu) > 0)
		status |= cpu;
	return status != 0;
}

/* elapse MS: sleeps that long; the host compares with its own clock */
static int
do_elapse(char **arg)
{
	printf("start\n");
	fflush(stdout);
	nap_ms(atol(arg[0]));
	printf("end\n");
	return 0;
}

static int
tree(const char *path, const char *name)
{
	char sub[4096], link[4096] = "";
	struct dirent **list;
	struct stat st;
	ssize_t k;
	int i, n;

	if (lstat(path, &st) < 0)
		return bad(path);
	if (S_ISLNK(st.st_mode)) {
		if ((k = readlink(path, link, sizeof link - 1)) < 0)
			return bad(path);
		link[k] = '\0';
		printf("%s link %s\n", name, link);
		return 0;
	}
	printf("%s %o %lld %lld\n", name, (unsigned)st.st_mode,
	    S_ISREG(st.st_mode) ? (long long)st.st_size : 0,
	    S_ISREG(st.st_mode) ? (long long)st.st_mtime : 0);
	if (!S_ISDIR(st.st_mode))
		return 0;
	if ((n = scandir(path, &list, NULL, alphasort)) < 0)
		return bad(path);
	for (i = 0; i < n; i++) {
		snprintf(sub, sizeof sub, "%s/%s", path, list[i]->d_name);
		if (strcmp(list[i]->d_name, ".")
		    && strcmp(list[i]->d_name, "..")
		    && tree(sub, list[i]->d_name))
			return 1;
	}
	return 0;
}

/* tree PATH...: type, mode, size, time of what is there, without PATH
   itself, so that a copy elsewhere prints the same */
static int
do_tree(char **arg)
{
	for (; *arg; arg++)
		if (tree(*arg, "."))
			return 1;
	return 0;
}

/* show PATH...: the files' bytes, one after the other */
static int
do_show(char **arg)
{
	for (; *arg; arg++) {
		int fd = open(*arg, O_RDONLY);

		if (fd < 0)
			return bad(*arg);
		if (copy(fd, 1))
			return 1;
		close(fd);
	}
	return 0;
}

/* forkbomb [MAX [DIR]]: forks until that fails, ends with 3 and leaves them all
   there; MAX is a limit for the whole system. With DIR they have ended, and a
   filesystem that is to be synced is there. */
static int
do_forkbomb(char **arg)
{
	const char *dir = arg[0] ? arg[1] : NULL;
	long n = 0;

	if (arg[0] && write_file("/proc/sys/kernel/threads-max", arg[0]))
		return 1;
	if (dir && (mkdir(dir, 0755) || mount("none", dir, "tmpfs", 0, NULL)))
		return bad(dir);
	for (;;) {
		pid_t pid = fork();

		if (pid == 0 && dir)
			_exit(0);
		if (pid == 0)
			for_ever();
		if (pid < 0)
			break;
		n++;
	}
	dprintf(1, "forks %s\n", n > 100 ? "many" : "few");
	return 3;
}

static int
thread_end(void *status)
{
	nap_ms(50);
	syscall(SYS_exit_group, *(int *)status);
	return 0;
}

/* thread N: the first thread ends with 0, another the process with N */
static int
do_thread(char **arg)
{
	static long stack[4096];
	static int status;

	status = number(arg);
	if (clone(thread_end, stack + 4000, CLONE_VM | CLONE_FS | CLONE_FILES |
	    CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, &status) < 0)
		return bad("clone");
	syscall(SYS_exit, 0);
	return 1;
}

/* fill: writes to memory until the kernel has none left and kills it */
static int
do_fill(char **arg)
{
	size_t n = 1 << 20;

	(void)arg;
	for (;;) {
		char *p = mmap(NULL, n, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			return 4;
		memset(p, 1, n);
	}
}

/* daemon N: ends with status N at once; what it leaves behind ignores polite
   requests, keeps the pipes open and writes to them for ever */
static int
do_daemon(char **arg)
{
	char ready;
	int i, p[2];

	if (pipe(p) < 0)
		return bad("pipe");
	if (fork() == 0) {
		setsid();
		for (i = 1; i < 32; i++)
			signal(i, SIG_IGN);
		if (fork() != 0)
			_exit(0);
		write_all(p[1], "r", 1);
		for (;;) {
			write_all(1, "daemon\n", 7);
			nap_ms(20);
		}
	}
	return read(p[0], &ready, 1) == 1 ? number(arg) : 1;
}

/* quietdaemon N: as daemon, but its child holds the pipes and is silent */
static int
do_quietdaemon(char **arg)
{
	if (fork() == 0) {
		setsid();
		for_ever();
	}
	return number(arg);
}

/* closefds N: ends with status N without any descriptor */
static int
do_closefds(char **arg)
{
	close(0);
	close(1);
	close(2);
	nap_ms(200);
	return number(arg);
}

/* kmsg N: N lines into the kernel's log, which the console shows */
static int
do_kmsg(char **arg)
{
	int i, n = number(arg);
	FILE *f;

	if (write_file("/proc/sys/kernel/printk_devkmsg", "on\n"))
		return 1;
	if (!(f = fopen("/dev/kmsg", "w")))
		return bad("/dev/kmsg");
	setvbuf(f, NULL, _IOLBF, 0);
	for (i = 0; i < n; i++)
		fprintf(f, "<1>flood %d\n", i);
	return fclose(f) ? bad("/dev/kmsg") : 0;
}

/* console N: N lines to the console itself */
static int
do_console(char **arg)
{
	int i, n = number(arg);
	FILE *f = fopen("/dev/console", "w");

	if (!f)
		return bad("/dev/console");
	for (i = 0; i < n; i++)
		fprintf(f, "console %d\n", i);
	return fclose(f) ? bad("/dev/console") : 0;
}

/* FILE: a child loads the module, whatever becomes of it. */
static int
do_load(char **arg)
{
	int fd = open(arg[0], O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return bad(arg[0]);
	if (fork() == 0)
		_exit(syscall(SYS_finit_module, fd, "", 0) < 0 && bad(arg[0]));
	wait(NULL);
	return 0;
}

/* terminal: what would drive a terminal, into the kernel's log and to the
   console, then a panic */
static int
do_terminal(char **arg)
{
	static const char seq[] = "\033]0;owned\007\033[2J\033[31mred\n";
	int fd = open("/dev/console", O_WRONLY);

	(void)arg;
	if (fd < 0 || write_all(fd, seq, sizeof seq - 1) < 0)
		return bad("/dev/console");
	return write_file("/proc/sys/kernel/sysrq", "1")
	    || write_file("/proc/sysrq-trigger", "c");
}

/* sysrq LETTER: c panics, i kills everything but init, b resets */
static int
do_sysrq(char **arg)
{
	if (write_file("/proc/sys/kernel/sysrq", "1"))
		return 1;
	if (write_file("/proc/sysrq-trigger", arg[0]))
		return 1;
	nap_ms(60000);
	return 98;
}

/* reboot, halt, poweroff: from inside, behind init's back */
static int
do_reboot(char **arg)
{
	(void)arg;
	reboot(RB_AUTOBOOT);
	return bad("reboot");
}

static int
do_halt(char **arg)
{
	(void)arg;
	reboot((int)RB_HALT_SYSTEM);
	return bad("halt");
}

static int
do_poweroff(char **arg)
{
	(void)arg;
	reboot(RB_POWER_OFF);
	return bad("poweroff");
}

/* hang: sleeps for ever, after a line */
static int
do_hang(char **arg)
{
	(void)arg;
	write_all(1, "ready\n", 6);
	for_ever();
	return 1;
}

/* spin: as hang, but busy; on the host it is the load of a loaded machine */
static int
do_spin(char **arg)
{
	volatile unsigned long n = 0;

	(void)arg;
	while (n++ < ~0ul)
		;
	return 1;
}

/* futex: waits for one that nobody wakes, in a child that it waits for */
static int
do_futex(char **arg)
{
	int word = 0;

	(void)arg;
	if (fork() == 0)
		syscall(SYS_futex, &word, 0 /* FUTEX_WAIT */, 0, NULL, NULL, 0);
	wait(NULL);
	return 1;
}

/* stop: stops itself, and nobody continues it */
static int
do_stop(char **arg)
{
	(void)arg;
	write_all(1, "ready\n", 6);
	raise(SIGSTOP);
	return 1;
}

/* killall N: SIGKILL for all but init and itself; ends with N */
static int
do_killall(char **arg)
{
	if (kill(-1, SIGKILL) < 0 && errno != ESRCH)
		return bad("kill -1");
	return number(arg);
}

/* killedall: a child does it, so the program dies too */
static int
do_killedall(char **arg)
{
	(void)arg;
	if (fork() == 0) {
		kill(-1, SIGKILL);
		_exit(0);
	}
	for_ever();
	return 1;
}

/* killinit N: every signal to PID 1, which outlives them all */
static int
do_killinit(char **arg)
{
	int i;

	for (i = 1; i < 65; i++)
		if (i != 32 && i != 33)
			kill(1, i);
	nap_ms(200);
	return number(arg);
}

/* Whether a process of that number is there, be it as a zombie. */
static int
exists(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d", (int)pid);
	return access(path, F_OK) == 0;
}

/* orphan: one that ends as a child of init is reaped by it */
static int
do_orphan(char **arg)
{
	pid_t pid = -1;
	int p[2], i;

	(void)arg;
	if (pipe(p) < 0)
		return bad("pipe");
	if (fork() == 0) {
		if ((pid = fork()) == 0) {
			while (getppid() != 1)
				nap_ms(1);
			_exit(0);
		}
		write_all(p[1], &pid, sizeof pid);
		_exit(0);
	}
	if (read(p[0], &pid, sizeof pid) != sizeof pid || wait(NULL) < 0)
		return bad("orphan");
	for (i = 0; i < 1000 && exists(pid); i++)
		nap_ms(10);
	printf("%s\n", exists(pid) ? "zombie" : "reaped");
	return exists(pid);
}

/* reopen: /dev/stdout and /dev/stderr lead where 1 and 2 do */
static int
do_reopen(char **arg)
{
	(void)arg;
	return write_file("/dev/stdout", "to stdout\n")
	    || write_file("/dev/stderr", "to stderr\n")
	    || write_file("/proc/self/fd/1", "to fd 1\n");
}

/* nonblock N SEED: N random bytes through an O_NONBLOCK stdout, as programs
   with an event loop do */
static int
do_nonblock(char **arg)
{
	static char buf[1 << 20];
	size_t n, at = 0;
	int p[2];

	if (pipe(p) < 0)
		return bad("pipe");
	if (fork() == 0)
		_exit(write_random(p[1], atol(arg[0]), (unsigned)number(arg + 1))
		    < 0);
	close(p[1]);
	for (n = 0; n < sizeof buf; ) {
		ssize_t k = read(p[0], buf + n, sizeof buf - n);

		if (k <= 0)
			break;
		n += (size_t)k;
	}
	if (fcntl(1, F_SETFL, O_NONBLOCK) < 0)
		return bad("O_NONBLOCK");
	while (at < n) {
		ssize_t k = write(1, buf + at, n - at);
		struct pollfd pfd = { 1, POLLOUT, 0 };

		if (k > 0)
			at += (size_t)k;
		else if (errno != EAGAIN || poll(&pfd, 1, -1) < 0)
			return bad("write");
	}
	return 0;
}

/* eof: how many bytes stdin had, and that a second read gives 0 again */
static int
do_eof(char **arg)
{
	char b[4096];
	long n = 0;
	ssize_t k;

	(void)arg;
	while ((k = read(0, b, sizeof b)) > 0)
		n += k;
	printf("%ld %d %d\n", n, (int)k, (int)read(0, b, 1));
	return 0;
}

/* echo: answers each line of stdin at once, until EOF */
static int
do_echo(char **arg)
{
	char line[256];

	(void)arg;
	while (fgets(line, sizeof line, stdin)) {
		printf("got %s", line);
		fflush(stdout);
	}
	return 0;
}

/* late N: N bytes of stdin, then ends with 5 although more is to come */
static int
do_late(char **arg)
{
	char b;
	int n = number(arg);

	while (n-- > 0)
		if (read(0, &b, 1) != 1)
			return 1;
	return 5;
}

/* yes: a line for ever */
static int
do_yes(char **arg)
{
	(void)arg;
	while (write_all(1, "yes\n", 4) == 0)
		;
	return 1;
}

/* pipeend: SIGPIPE has its default effect */
static int
do_pipeend(char **arg)
{
	int p[2];

	(void)arg;
	if (pipe(p) < 0)
		return bad("pipe");
	close(p[0]);
	write_all(p[1], "x", 1);
	return 1;
}

/* nofile PATH: it is not there */
static int
do_nofile(char **arg)
{
	if (access(arg[0], F_OK) == 0) {
		fprintf(stderr, "guest: %s is there\n", arg[0]);
		return 1;
	}
	return 0;
}

/* dying: SIGTERM is answered with a line; the host side sees who asked */
static int
do_dying(char **arg)
{
	sigset_t set;
	int sig;

	(void)arg;
	sigfillset(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	write_all(1, "ready\n", 6);
	sigwait(&set, &sig);
	dprintf(1, "signal %d\n", sig);
	return 0;
}

/* -test.v: what stands as /tester in an initramfs of the original's kind.
   /tester.cmd, if it is there, holds a command and its argument for it;
   else it shows its surroundings. */
static int run_command(char **argv);

static int
do_tester(char **arg)
{
	static char line[256];
	char *argv[4] = { NULL, NULL, NULL, NULL };
	FILE *f = fopen("/tester.cmd", "r");
	int i;

	if (f) {
		if (!fgets(line, sizeof line, f))
			return bad("/tester.cmd");
		fclose(f);
		argv[1] = strtok(line, " \n");
		argv[2] = strtok(NULL, " \n");
		return run_command(argv);
	}
	for (i = 0; environ[i]; i++)
		printf("env %s\n", environ[i]);
	for (i = -1; arg[i]; i++)
		printf("argument %s\n", arg[i]);
	report_fds();
	printf("stdin %d\n", (int)read(0, line, 1));
	printf("end\n");
	return 0;
}

static const struct command {
	const char *name;
	int (*run)(char **arg);
	int args;	/* at least that many */
} commands[] = {
	{ "-test.v", do_tester, 0 },
	{ "allbytes", do_allbytes, 0 },
	{ "args", do_args, 0 },
	{ "both", do_both, 2 },
	{ "cat", do_cat, 0 },
	{ "clock", do_clock, 0 },
	{ "closefds", do_closefds, 1 },
	{ "console", do_console, 1 },
	{ "cpus", do_cpus, 1 },
	{ "daemon", do_daemon, 1 },
	{ "dying", do_dying, 0 },
	{ "echo", do_echo, 0 },
	{ "elapse", do_elapse, 1 },
	{ "env", do_env, 0 },
	{ "eof", do_eof, 0 },
	{ "exit", do_exit, 1 },
	{ "fill", do_fill, 0 },
	{ "forkbomb", do_forkbomb, 0 },
	{ "fresh", do_fresh, 0 },
	{ "futex", do_futex, 0 },
	{ "halt", do_halt, 0 },
	{ "hang", do_hang, 0 },
	{ "killall", do_killall, 1 },
	{ "killedall", do_killedall, 0 },
	{ "killinit", do_killinit, 1 },
	{ "kmsg", do_kmsg, 1 },
	{ "late", do_late, 1 },
	{ "lines", do_lines, 1 },
	{ "load", do_load, 1 },
	{ "nofile", do_nofile, 1 },
	{ "nonblock", do_nonblock, 2 },
	{ "onebyte", do_onebyte, 1 },
	{ "order", do_order, 1 },
	{ "orphan", do_orphan, 0 },
	{ "pipeend", do_pipeend, 0 },
	{ "poweroff", do_poweroff, 0 },
	{ "quietdaemon", do_quietdaemon, 1 },
	{ "raise", do_raise, 1 },
	{ "random", do_random, 2 },
	{ "reboot", do_reboot, 0 },
	{ "reopen", do_reopen, 0 },
	{ "report", do_report, 0 },
	{ "say", do_say, 2 },
	{ "show", do_show, 1 },
	{ "spin", do_spin, 0 },
	{ "stop", do_stop, 0 },
	{ "sysrq", do_sysrq, 1 },
	{ "terminal", do_terminal, 0 },
	{ "thread", do_thread, 1 },
	{ "timers", do_timers, 0 },
	{ "tree", do_tree, 1 },
	{ "yes", do_yes, 0 },
};

static int
run_command(char **argv)
{
	size_t i;
	int n = 0;

	while (argv[1] && argv[2 + n])
		n++;
	for (i = 0; argv[1] && i < sizeof commands / sizeof *commands; i++)
		if (!strcmp(argv[1], commands[i].name)
		    && n >= commands[i].args)
			return commands[i].run(argv + 2);
	fprintf(stderr, "guest: no such command\n");
	return 99;
}

int
main(int argc, char **argv)
{
	(void)argc;
	return run_command(argv);
}
