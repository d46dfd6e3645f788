/*
 * bare: runs a QEMU command line that `ktest -n` printed, without ktest.
 *
 *	bare INITRAMFS COMMAND
 *
 * COMMAND is for a shell.  It expects pipes as fds 3 and 4, sockets as 5 to 9
 * and 12, and an initramfs as 10: their other ends are read here and what comes
 * is dropped.
 */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PIPES = 2, ENDS = 8, HIGH = 64 };
/* the fds of the ends, and behind them the initramfs's */
static const int targets[ENDS + 1] = { 3, 4, 5, 6, 7, 8, 9, 12, 10 };

int
main(int argc, char **argv)
{
	struct pollfd p[ENDS];
	int i, open_ends = ENDS, status = 1;
	char drop[4096];
	pid_t pid;

	if (argc != 3 || (i = open(argv[1], O_RDONLY)) < 0
	    || dup2(i, HIGH + ENDS) < 0)
		return 1;
	for (i = 0; i < ENDS; i++) {
		int fd[2];

		if (i < PIPES ? pipe(fd) < 0
		    : socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0)
			return 1;
		p[i].fd = fcntl(fd[0], F_DUPFD_CLOEXEC, 2 * HIGH);
		p[i].events = POLLIN;
		dup2(fd[1], HIGH + i);
		close(fd[0]);
		close(fd[1]);
	}
	if ((pid = fork()) == 0) {
		for (i = 0; i <= ENDS; i++) {
			dup2(HIGH + i, targets[i]);
			close(HIGH + i);
		}
		execl("/bin/sh", "sh", "-c", argv[2], (char *)0);
		_exit(127);
	}
	for (i = 0; i < ENDS; i++)
		close(HIGH + i);
	while (open_ends > 0 && poll(p, ENDS, -1) > 0)
		for (i = 0; i < ENDS; i++)
			if (p[i].revents
			    && read(p[i].fd, drop, sizeof drop) <= 0) {
				p[i].fd = -1;
				open_ends--;
			}
	if (waitpid(pid, &status, 0) != pid)
		return 1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
