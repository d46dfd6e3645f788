/*
 * reader: somebody who reads what a command prints, and takes his time.
 *
 *	reader [-e] [-n] [-f] [-s] [-w] [-k SIGNAL] BYTES MS COMMAND [ARG...]
 *
 * The command's stdout is a pipe. Reads BYTES of it, pauses for MS
 * milliseconds (-1: until the command has ended, at most 60 seconds), reads
 * the rest, and ends with the command's status, 128+N when signal N ended it.
 * What is read goes to stdout.
 *
 *	-e	stderr is the pipe, and what is read goes there
 *	-n	the pipe's writing end is O_NONBLOCK
 *	-f	it is full when the command starts; what filled it is not
 *		counted and goes nowhere
 *	-s	the pause begins when the pipe is full, 64 KiB; the command
 *		is stopped meanwhile (SIGSTOP)
 *	-w	the command gets SIGWINCH again and again, all the time
 *	-k	the command gets this signal when the pause begins
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 60000, TICK_MS = 10, FULL = 65536 - 4096 + 1 };

static int end_pipe[2] = { -1, -1 }, to = 1;
static size_t filler; /* bytes in the pipe that are nobody's */

static void die(const char *what)
{
	fprintf(stderr, "reader: %s: %s\n", what, strerror(errno));
	exit(99);
}

static void nap_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

static void fill(void)
{
	static const char block[4096];
	ssize_t n;

	(void)fcntl(end_pipe[1], F_SETFL, O_NONBLOCK);
	while ((n = write(end_pipe[1], block, sizeof block)) > 0)
		filler += (size_t)n;
	(void)fcntl(end_pipe[1], F_SETFL, 0);
}

/* Copies at most n bytes; 0 at the end. */
static int copy(size_t n)
{
	char block[4096];
	ssize_t got;

	while (n > 0) {
		got = read(end_pipe[0], block,
			   n + filler < sizeof block ? n + filler
						     : sizeof block);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return 0;
		if (filler >= (size_t)got) {
			filler -= (size_t)got;
			continue;
		}
		got -= (ssize_t)filler;
		if (write(to, block + filler, (size_t)got) != got)
			die("write");
		filler = 0;
		n -= (size_t)got;
	}
	return 1;
}

static int has_ended(pid_t child)
{
	siginfo_t info = { .si_pid = 0 };

	return waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT)
		       == 0 && info.si_pid == child;
}

static void wait_for_pause(pid_t child, long ms)
{
	if (ms >= 0) {
		nap_ms(ms);
		return;
	}
	for (ms = 0; !has_ended(child); ms += TICK_MS) {
		if (ms > PATIENCE_MS) {
			(void)kill(child, SIGKILL);
			fprintf(stderr, "reader: it does not end\n");
			exit(98);
		}
		nap_ms(TICK_MS);
	}
}

/* What was read has left its page: that much less is full, too. */
static void wait_for_full(pid_t child, size_t was_read)
{
	int held = 0;

	while ((size_t)held + was_read % 4096 < FULL && !has_ended(child)) {
		nap_ms(TICK_MS);
		if (ioctl(end_pipe[0], FIONREAD, &held) < 0)
			die("FIONREAD");
	}
}

static pid_t start(char **argv, int fd)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid > 0)
		return pid;
	(void)dup2(end_pipe[1], fd);
	(void)close(end_pipe[0]);
	(void)close(end_pipe[1]);
	(void)execvp(argv[0], argv);
	die(argv[0]);
	return -1;
}

static pid_t storm(pid_t child)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	while (kill(child, SIGWINCH) == 0 && getppid() != 1) {
		struct timespec t = { 0, 20000 };

		(void)nanosleep(&t, NULL);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	int c, nonblock = 0, full = 0, stop = 0, number = 0, winch = 0;
	int status;
	pid_t child, helper = 0;

	while ((c = getopt(argc, argv, "+enfswk:")) != -1)
		switch (c) {
		case 'e': to = 2; break;
		case 'n': nonblock = 1; break;
		case 'f': full = 1; break;
		case 's': stop = 1; break;
		case 'w': winch = 1; break;
		case 'k': number = atoi(optarg); break;
		default: return 97;
		}
	if (argc - optind < 3 || pipe(end_pipe) < 0)
		return 97;
	if (full)
		fill();
	if (nonblock)
		(void)fcntl(end_pipe[1], F_SETFL, O_NONBLOCK);
	child = start(argv + optind + 2, to);
	(void)close(end_pipe[1]);
	if (winch)
		helper = storm(child);
	if (copy((size_t)atol(argv[optind]))) {
		if (stop) {
			wait_for_full(child, (size_t)atol(argv[optind]));
			(void)kill(child, SIGSTOP);
		}
		if (number > 0)
			(void)kill(child, number);
		wait_for_pause(child, atol(argv[optind + 1]));
		if (stop)
			(void)kill(child, SIGCONT);
		while (copy(1 << 20))
			;
	}
	if (helper > 0) {
		while (!has_ended(child))
			nap_ms(TICK_MS);
		(void)kill(helper, SIGKILL);
		(void)waitpid(helper, NULL, 0);
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status)
				 : 128 + WTERMSIG(status);
}
