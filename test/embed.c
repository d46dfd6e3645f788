/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embed: ktest_run() as a program around it sees it.
 *
 *     embed WHAT OPTIONS... -- PROGRAM...
 *
 * reads the options as ktest does, changes what WHAT says (see main), runs,
 * and prints the result. embed.sh builds and calls it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* Each fd that the library makes is looked at when it is made: it has to
 * close on exec from the first moment on, since another thread may fork and
 * exec in the next one. What a child makes between fork and exec is its own. */
static int made, inherited;

static int look(int fd)
{
	made++;
	if (fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0)
		inherited++;
	return fd;
}

static int look_pair(int result, const int *fd)
{
	if (result == 0)
		(void)(look(fd[0]) + look(fd[1]));
	return result;
}

static FILE *look_file(FILE *f)
{
	if (f != NULL)
		(void)look(fileno(f));
	return f;
}

#define open(...) look(open(__VA_ARGS__))
#define openat(...) look(openat(__VA_ARGS__))
#define socket(...) look(socket(__VA_ARGS__))
#define accept(...) look(accept(__VA_ARGS__))
#define accept4(...) look(accept4(__VA_ARGS__))
#define dup(...) look(dup(__VA_ARGS__))
#define mkstemp(...) look(mkstemp(__VA_ARGS__))
#define mkostemp(...) look(mkostemp(__VA_ARGS__))
#define memfd_create(...) look(memfd_create(__VA_ARGS__))
#define fopen(...) look_file(fopen(__VA_ARGS__))
#define pipe(fd) look_pair(pipe(fd), fd)
#define pipe2(fd, flags) look_pair(pipe2(fd, flags), fd)
#define socketpair(a, b, c, fd) look_pair(socketpair(a, b, c, fd), fd)

#define KTEST_LIB
#include "../ktest.c"

static struct ktest_options options;
static struct ktest_result result;
static int cancel_pipe[2]; /* a pipe to cancel by */

static void nap(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	(void)nanosleep(&t, NULL);
}

static void report(const struct ktest_result *r)
{
	(void)printf("status %d signal %d", r->status, r->signal);
	if (r->qemu_status == -1)
		(void)printf(" qemu none");
	else if (WIFSIGNALED(r->qemu_status))
		(void)printf(" qemu killed %d", WTERMSIG(r->qemu_status));
	else
		(void)printf(" qemu exit %d", WEXITSTATUS(r->qemu_status));
	(void)printf("\nerror: %s\nstderr: %s\n", r->error, r->qemu_stderr);
}

static void run(void)
{
	(void)ktest_run(&options, &result);
	report(&result);
}

static int count(const char *path)
{
	DIR *dir = opendir(path);
	int n = 0;

	while (dir != NULL && readdir(dir) != NULL)
		n++;
	if (dir != NULL)
		(void)closedir(dir);
	return n;
}

static int lines(const char *path)
{
	FILE *f = fopen(path, "r");
	int c, n = 0;

	while (f != NULL && (c = getc(f)) != EOF)
		n += c == '\n';
	if (f != NULL)
		(void)fclose(f);
	return n;
}

/* Runs again and again: what is left of them, fds, maps and children? */
static void many(int times)
{
	int fds, maps, wrong = 0;

	(void)ktest_run(&options, &result);
	fds = count("/proc/self/fd");
	maps = lines("/proc/self/maps");
	for (int i = 0; i < times; i++)
		wrong += ktest_run(&options, &result) != 5;
	(void)printf("%d runs, %d wrong, fds %+d, maps %+d, children %s\n",
		     times, wrong, count("/proc/self/fd") - fds,
		     lines("/proc/self/maps") - maps,
		     waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD
		     ? "none" : "left");
}

struct worker {
	pthread_t thread;
	struct ktest_result result;
	int wrong;
};

static void *work(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < 20; i++)
		w->wrong += ktest_run(&options, &w->result) != 5;
	return NULL;
}

static void threads(void)
{
	static struct worker w[8];
	int wrong = 0;

	for (int i = 0; i < 8; i++)
		(void)pthread_create(&w[i].thread, NULL, work, &w[i]);
	for (int i = 0; i < 8; i++) {
		(void)pthread_join(w[i].thread, NULL);
		wrong += w[i].wrong;
	}
	(void)printf("160 runs in 8 threads, %d wrong\n", wrong);
}

/* A run of each kind; while it went on, another thread could have started a
 * program at any moment. */
static void siblings(void)
{
	made = inherited = 0;
	run();
	(void)printf("%s fds, %d of them another thread's program's, too\n",
		     made > 10 ? "many" : "few", inherited);
}

static void *cancel_byte(void *arg)
{
	nap(300);
	(void)!write(cancel_pipe[1], arg != NULL ? "\17" : "", 1);
	return NULL;
}

static void *cancel_close(void *arg)
{
	(void)arg;
	nap(300);
	(void)close(cancel_pipe[1]);
	return NULL;
}

static void on_alarm(int number)
{
	char byte = (char)number;

	(void)!write(cancel_pipe[1], &byte, 1);
}

static void on_port(void *arg, int guest, int udp, int host)
{
	(void)printf("%s %d%s is %s\n", (const char *)arg, guest,
		     udp ? "/udp" : "", host > 0 ? "bound" : "not");
}

/* stdout goes to a pipe: its other end is closed, or nobody reads it. */
static void to_pipe(int closed)
{
	struct sigaction action;
	sigset_t pending;
	int fd[2];

	(void)!pipe(fd);
	if (closed)
		(void)close(fd[0]);
	options.stdout_fd = fd[1];
	run();
	(void)sigaction(SIGPIPE, NULL, &action);
	(void)sigpending(&pending);
	(void)printf("SIGPIPE: %s, %s\n", action.sa_handler == SIG_DFL
		     ? "default" : "changed", sigismember(&pending, SIGPIPE)
		     ? "pending" : "none");
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	pthread_t t;

	ktest_defaults(&options);
	if (ktest_parse(&options, argv + 1, &result) < 0) {
		report(&result);
		return 0;
	}
	if (pipe(cancel_pipe) < 0)
		return 1;
	if (strncmp(what, "cancel", 6) == 0)
		options.wake_fd = cancel_pipe[0];
	if (strcmp(what, "run") == 0) {
		run();
	} else if (strcmp(what, "many") == 0) {
		many(100);
	} else if (strcmp(what, "threads") == 0) {
		threads();
	} else if (strcmp(what, "siblings") == 0) {
		siblings();
	} else if (strcmp(what, "cancel-signal") == 0) {
		(void)pthread_create(&t, NULL, cancel_byte, argv[0]);
		run();
	} else if (strcmp(what, "cancel-zero") == 0) {
		(void)pthread_create(&t, NULL, cancel_byte, NULL);
		run();
	} else if (strcmp(what, "cancel-close") == 0) {
		(void)pthread_create(&t, NULL, cancel_close, NULL);
		run();
	} else if (strcmp(what, "cancel-handler") == 0) {
		(void)signal(SIGALRM, on_alarm);
		(void)alarm(1);
		run();
	} else if (strcmp(what, "cancel-before") == 0) {
		on_alarm(SIGTERM);
		run();
	} else if (strcmp(what, "pipe-closed") == 0) {
		to_pipe(1);
	} else if (strcmp(what, "pipe-unread") == 0) {
		to_pipe(0);
	} else if (strcmp(what, "ports") == 0) {
		options.on_port = on_port;
		options.on_port_arg = (char *)"port";
		run();
	} else if (strcmp(what, "sigchld-ignored") == 0) {
		(void)signal(SIGCHLD, SIG_IGN);
		run();
	} else if (strcmp(what, "log") == 0) {
		ktest_log(1, "one %d\n\ntwo\n", 1);
		ktest_log_args(1, "it", (char *[]){ "qemu", "-a", "b", "c",
			"-d", NULL });
	} else {
		return 2;
	}
	return 0;
}
