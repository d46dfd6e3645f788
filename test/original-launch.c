/*
 * original-launch: starts QEMU as the launcher of Monogon's ktest does and
 * ends with the byte that the guest's init writes.
 *
 *	original-launch QEMU [ARG...]
 *
 * The control port is one end of a socket pair, which QEMU has as fd 3 and
 * treats as a pipe: -add-fd, -chardev pipe, -device virtserialport, without a
 * name.  After QEMU's end the byte has a second to come; without one, or when
 * QEMU failed, the status is 1 as log.Fatal's is.
 */
#define _POSIX_C_SOURCE 200809L
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGS = 100 };

int
main(int argc, char **argv)
{
	static char *port[] = { "-add-fd", "set=0,fd=3", "-chardev",
	    "pipe,id=extra0,path=/dev/fdset/0", "-device",
	    "virtserialport,chardev=extra0", NULL };
	char *args[ARGS + 8];
	struct pollfd p;
	unsigned char byte;
	int fd[2], status;
	pid_t pid;

	if (argc < 2 || argc > ARGS
	    || socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0)
		return 1;
	memcpy(args, argv + 1, sizeof *argv * (size_t)(argc - 1));
	memcpy(args + argc - 1, port, sizeof port);
	if ((pid = fork()) == 0) {
		dup2(fd[1], 3);
		if (fd[0] != 3)
			close(fd[0]);
		execvp(args[0], args);
		_exit(1);
	}
	close(fd[1]);
	if (waitpid(pid, &status, 0) != pid || status != 0) {
		fprintf(stderr, "Failed to run ktest VM\n");
		return 1;
	}
	p.fd = fd[0];
	p.events = POLLIN;
	if (poll(&p, 1, 1000) != 1 || read(fd[0], &byte, 1) != 1) {
		fprintf(stderr, "Failed to get an error code back\n");
		return 1;
	}
	return byte;
}
