/*
 * hold: run a command under watch, for the tests.
 *
 *	hold [-o REPORT] [-p PIDFILE] [-t SECONDS] [-i SIGNAL] COMMAND [ARG...]
 *
 * The command starts with default signal dispositions and an empty mask
 * (a shell's background jobs ignore SIGINT); -i has it ignore SIGNAL.
 * hold is a child subreaper, so that a process which the command leaves
 * behind becomes hold's child and is found.  REPORT is read by the shell:
 *
 *	status   exit status, 128+N for a death by signal N
 *	signal   N, or 0
 *	hang     1 when SECONDS passed; everything was killed then
 *	wall_us  from fork to the end
 *	cpu_us   user and system time of the command alone, not of its children
 *	left     processes alive at the moment when the command had ended
 *	stay     of these, alive a minute later (killed then)
 *	names    what they were called
 *
 * hold's own exit status is `status`.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { GRACE_SECONDS = 60, SIGNALS = 65 };

struct result {
	int status, sig, hang, left, stay;
	long long wall_us, cpu_us;
	char names[256];
};

static void
die(const char *what)
{
	fprintf(stderr, "hold: %s: %s\n", what, strerror(errno));
	exit(125);
}

static long long
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

/* The first figure of schedstat(5): nanoseconds on a CPU.  It is still there
   while the process is a zombie, and leaves its children out. */
static long long
cpu_us(pid_t pid)
{
	char path[64];
	unsigned long long ns = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
	if (!(f = fopen(path, "r")))
		return -1;
	if (fscanf(f, "%llu", &ns) != 1)
		ns = 0;
	fclose(f);
	return (long long)(ns / 1000);
}

/* Counts our living children, adds their names to `names` if that is given,
   sends them `sig` if that is not 0. */
static int
each_child(int sig, char *names, size_t size)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	int n = 0;

	if (!d)
		die("/proc");
	while ((e = readdir(d))) {
		char path[300], comm[64], state;
		int pid, ppid;
		FILE *f;

		if (e->d_name[0] < '1' || e->d_name[0] > '9')
			continue;
		snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
		if (!(f = fopen(path, "r")))
			continue;
		if (fscanf(f, "%d (%63[^)]) %c %d", &pid, comm, &state, &ppid) == 4
		    && ppid == getpid() && state != 'Z') {
			n++;
			if (names && strlen(names) + strlen(comm) + 2 < size) {
				strcat(names, strchr(comm, '\'') ? "?" : comm);
				strcat(names, " ");
			}
			if (sig)
				kill(pid, sig);
		}
		fclose(f);
	}
	closedir(d);
	return n;
}

/* Reaps what has ended.  Returns 1 once `child` is among it, and fills r. */
static int
reap(pid_t child, struct result *r)
{
	siginfo_t si;
	int seen = 0;

	for (;;) {
		si.si_pid = 0;
		if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) < 0
		    || si.si_pid == 0)
			return seen;
		if (si.si_pid == child) {
			seen = 1;
			r->cpu_us = cpu_us(child);
			r->sig = si.si_code == CLD_EXITED ? 0 : si.si_status;
			r->status = r->sig ? 128 + r->sig : si.si_status;
		}
		waitpid(si.si_pid, NULL, 0);
	}
}

/* Waits for SIGCHLD until `end`; 0 when that has passed.  A request to end
   takes the command and everything below it along. */
static int
wait_child(const sigset_t *set, long long end, pid_t child)
{
	long long us = end - now_us();
	struct timespec t;
	int sig;

	if (us <= 0)
		return 0;
	t.tv_sec = us / 1000000;
	t.tv_nsec = us % 1000000 * 1000;
	sig = sigtimedwait(set, NULL, &t);
	if (sig < 0)
		return errno == EINTR;
	if (sig != SIGCHLD) {
		kill(child, SIGKILL);
		while (each_child(SIGKILL, NULL, 0) > 0)
			waitpid(-1, NULL, 0);
		_exit(128 + sig);
	}
	return 1;
}

static void
watch(pid_t child, const sigset_t *set, long seconds, struct result *r)
{
	long long start = now_us(), end = start + seconds * 1000000LL;

	while (!reap(child, r))
		if (!wait_child(set, end, child)) {
			r->hang = 1;
			while (!reap(child, r)) {
				each_child(SIGKILL, NULL, 0);
				wait_child(set, now_us() + 1000000, child);
			}
			break;
		}
	r->wall_us = now_us() - start;
	r->left = each_child(0, r->names, sizeof r->names);
	end = now_us() + GRACE_SECONDS * 1000000LL;
	while (each_child(0, NULL, 0) > 0) {
		if (!wait_child(set, end, child))
			break;
		reap(0, r);
	}
	r->stay = each_child(0, NULL, 0);
	while (each_child(SIGKILL, NULL, 0) > 0)
		waitpid(-1, NULL, 0);
	reap(0, r); /* whoever looks next finds none of them */
}

static pid_t
start(char **argv, const sigset_t *set, int ignore)
{
	pid_t pid;
	int i;

	sigprocmask(SIG_BLOCK, set, NULL);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		die("subreaper");
	if ((pid = fork()) < 0)
		die("fork");
	if (pid)
		return pid;
	for (i = 1; i < SIGNALS; i++)
		signal(i, i == ignore ? SIG_IGN : SIG_DFL);
	sigprocmask(SIG_UNBLOCK, set, NULL);
	execvp(argv[0], argv);
	die(argv[0]);
	return -1;
}

/* Whoever waits for the file finds it whole. */
static void
write_pid(const char *path, pid_t pid)
{
	char tmp[4096];
	FILE *f;

	snprintf(tmp, sizeof tmp, "%s.new", path);
	if (!(f = fopen(tmp, "w")))
		die(tmp);
	fprintf(f, "%d\n", (int)pid);
	if (fclose(f) || rename(tmp, path))
		die(path);
}

static void
write_report(const char *path, const struct result *r)
{
	FILE *f = fopen(path, "w");

	if (!f)
		die(path);
	fprintf(f, "status=%d\nsignal=%d\nhang=%d\nwall_us=%lld\ncpu_us=%lld\n"
	    "left=%d\nstay=%d\nnames='%s'\n", r->status, r->sig, r->hang,
	    r->wall_us, r->cpu_us, r->left, r->stay, r->names);
	if (fclose(f))
		die(path);
}

int
main(int argc, char **argv)
{
	const char *report = NULL, *pidfile = NULL;
	struct result r = { 0 };
	long seconds = 300;
	int c, ignore = 0;
	sigset_t set;
	pid_t pid;

	while ((c = getopt(argc, argv, "+o:p:t:i:")) != -1) {
		switch (c) {
		case 'o': report = optarg; break;
		case 'p': pidfile = optarg; break;
		case 't': seconds = atol(optarg); break;
		case 'i': ignore = atoi(optarg); break;
		default: return 125;
		}
	}
	if (optind == argc)
		return 125;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pid = start(argv + optind, &set, ignore);
	if (pidfile)
		write_pid(pidfile, pid);
	watch(pid, &set, seconds, &r);
	if (report)
		write_report(report, &r);
	return r.status;
}
