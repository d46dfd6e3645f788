/*
 * pty.c: somebody at a terminal. Runs a command on a pty of its own and does,
 * step by step, what its arguments say.
 *
 *	pty STEP... -- COMMAND [ARGUMENT...]
 *
 *	expect TEXT	wait until the command has printed TEXT, since the
 *			last such step
 *	send TEXT	type it; \r is Enter, \cX is Ctrl-X
 *	size ROWS COLS	the window's new size (24 80 at first)
 *	signal N	for the command
 *	kill-child	SIGKILL for the one child that the command has: QEMU
 *	raw, cooked	wait until the terminal is so
 *	hangup		close the terminal
 *	unread MS	read nothing of what is printed for so long
 *	gone		the command has ended, while nothing was read
 *
 * What the command prints goes to stdout. At the end a line on stderr:
 *
 *	status N modes same|changed
 *
 * where a signal N counts 128+N, and the modes are the terminal's, compared
 * with what they were before. A step that takes longer than a minute, or
 * that the command does not live to see, is an error: status 1 and a line.
 */
#define _XOPEN_SOURCE 700
#define _DEFAULT_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE = 60 };

static int master, slave;
static struct termios before; /* the terminal's modes, as it was made */
static pid_t child;
static char seen[1 << 20];      /* what the command printed */
static size_t seen_len, looked; /* how much; and how far expect has come */

static void die(const char *what, const char *which)
{
	fprintf(stderr, "pty: %s %s\n", what, which);
	if (child > 0)
		kill(child, SIGKILL);
	exit(1);
}

/* Reads what there is within ms; 0 when nobody has the terminal any more. */
static int listen_for(int ms)
{
	struct pollfd p = { .fd = master, .events = POLLIN };
	ssize_t n;

	if (poll(&p, 1, ms) <= 0)
		return 1;
	n = read(master, seen + seen_len, sizeof seen - 1 - seen_len);
	if (n <= 0)
		return 0;
	if (write(1, seen + seen_len, (size_t)n) < 0)
		return 0;
	seen_len += (size_t)n;
	seen[seen_len] = '\0';
	return 1;
}

static int is_raw(void)
{
	struct termios t;

	return tcgetattr(slave, &t) == 0 && !(t.c_lflag & (ICANON | ISIG));
}

static int is_there(const char *text)
{
	const char *at = strstr(seen + looked, text);

	if (at == NULL)
		return 0;
	looked = (size_t)(at - seen) + strlen(text);
	return 1;
}

static int has_ended(void)
{
	siginfo_t info = { .si_pid = 0 };

	return waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT)
		       == 0 && info.si_pid == child;
}

static void await(const char *step, const char *text)
{
	time_t end = time(NULL) + PATIENCE;
	int heard;

	for (;;) {
		if (strcmp(step, "expect") == 0 ? is_there(text)
		    : is_raw() == (strcmp(step, "raw") == 0))
			return;
		heard = listen_for(50);
		if (has_ended()) {
			(void)listen_for(200); /* its last words */
			if (is_there(text))
				return;
			die("it ended before:", text);
		}
		if (time(NULL) > end || !heard)
			die("in vain:", text);
	}
}

static void type(const char *s)
{
	for (char c; *s != '\0'; s++) {
		c = *s;
		if (c == '\\' && s[1] == 'r') {
			c = '\r';
			s++;
		} else if (c == '\\' && s[1] == 'c') {
			c = (char)(s[2] & 31);
			s += 2;
		}
		if (write(master, &c, 1) != 1)
			die("cannot type", s);
	}
}

static void resize(const char *rows, const char *cols)
{
	struct winsize w = { .ws_row = (unsigned short)atoi(rows),
			     .ws_col = (unsigned short)atoi(cols) };

	if (ioctl(master, TIOCSWINSZ, &w) < 0)
		die("cannot set the size", rows);
}

/* The process whose parent is the command. */
static pid_t grandchild(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *e;
	int pid, parent;
	pid_t found = 0;

	while (dir != NULL && (e = readdir(dir)) != NULL) {
		char path[300];
		FILE *f;

		snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
		if ((f = fopen(path, "r")) == NULL)
			continue;
		if (fscanf(f, "%d (%*[^)]) %*c %d", &pid, &parent) == 2
		    && parent == child)
			found = pid;
		fclose(f);
	}
	if (dir != NULL)
		closedir(dir);
	return found;
}

static void nap_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	(void)nanosleep(&t, NULL);
}

static void await_end(void)
{
	time_t end = time(NULL) + PATIENCE;

	while (!has_ended()) {
		if (time(NULL) > end)
			die("it does not", "end");
		nap_ms(20);
	}
}

static char **step(char **arg)
{
	if (strcmp(arg[0], "kill-child") == 0) {
		pid_t pid = grandchild();

		if (pid == 0 || kill(pid, SIGKILL) < 0)
			die("no child", "to kill");
		return arg + 1;
	}
	if (strcmp(arg[0], "raw") == 0 || strcmp(arg[0], "cooked") == 0) {
		await(arg[0], arg[0]);
		return arg + 1;
	}
	if (strcmp(arg[0], "gone") == 0) {
		await_end();
		return arg + 1;
	}
	if (strcmp(arg[0], "hangup") == 0) {
		close(slave);
		close(master);
		return arg + 1;
	}
	if (arg[1] == NULL)
		die("no value for", arg[0]);
	if (strcmp(arg[0], "expect") == 0)
		await(arg[0], arg[1]);
	else if (strcmp(arg[0], "send") == 0)
		type(arg[1]);
	else if (strcmp(arg[0], "signal") == 0)
		kill(child, atoi(arg[1]));
	else if (strcmp(arg[0], "unread") == 0)
		nap_ms(atol(arg[1]));
	else if (strcmp(arg[0], "size") != 0 || arg[2] == NULL)
		die("no such step:", arg[0]);
	else
		resize(arg[1], arg[2]);
	return arg + (strcmp(arg[0], "size") == 0 ? 3 : 2);
}

static void start(char **argv)
{
	int fd;

	master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0
	    || (slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC))
		       < 0)
		die("no", "pty");
	resize("24", "80");
	(void)tcgetattr(slave, &before);
	child = fork();
	if (child != 0)
		return;
	setsid();
	fd = open(ptsname(master), O_RDWR);
	for (int i = 0; i < 3; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
	execvp(argv[0], argv);
	_exit(127);
}

int main(int argc, char **argv)
{
	struct termios after;
	char **arg = argv + 1, **command = argv + 1;
	int status = 0;

	(void)argc;
	while (*command != NULL && strcmp(*command, "--") != 0)
		command++;
	if (*command == NULL || command[1] == NULL)
		die("no", "command");
	*command = NULL;
	start(command + 1);
	while (*arg != NULL)
		arg = step(arg);
	for (time_t end = time(NULL) + PATIENCE;
	     waitpid(child, &status, WNOHANG) == 0;) {
		if (time(NULL) > end)
			die("it does not", "end");
		if (fcntl(master, F_GETFD) < 0 || !listen_for(50))
			usleep(50000);
	}
	if (fcntl(master, F_GETFD) >= 0) {
		size_t len;

		do { /* what the terminal still holds */
			len = seen_len;
			(void)listen_for(200);
		} while (seen_len > len);
		(void)tcgetattr(slave, &after);
	} else {
		after = before;
	}
	child = 0;
	fprintf(stderr, "status %d modes %s\n", WIFEXITED(status)
		? WEXITSTATUS(status) : 128 + WTERMSIG(status),
		before.c_iflag == after.c_iflag
		&& before.c_oflag == after.c_oflag
		&& before.c_lflag == after.c_lflag
		&& before.c_cflag == after.c_cflag
		&& memcmp(before.c_cc, after.c_cc, sizeof before.c_cc) == 0
		? "same" : "changed");
	return 0;
}
