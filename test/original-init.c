/*
 * original-init: behaves as the init of Monogon's ktest does, whose launcher
 * and ours have to be able to take each other's place: it mounts, opens
 * /dev/vport1p1, runs "/tester -test.v" with IN_KTEST=true, writes one byte,
 * its exit status (255 for a death by a signal), and restarts the machine.
 *
 * In two things it is kinder, so that a test of ktest does not depend on who is
 * faster: it waits for the port and for the console, which the kernel makes at
 * a moment of its own, and after the byte until the host has taken it, which
 * write() does not (virtio_console.c, port_fops_write(): it only queues).
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The kernel's log is there before any console is. */
static void
complain(const char *what)
{
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		dprintf(fd, "original-init: %s: %s\n", what, strerror(errno));
	close(fd);
}

static int
open_waiting(const char *path)
{
	struct timespec ms = { 0, 1000000 };
	int fd, i;

	for (i = 0; i < 10000; i++) {
		if ((fd = open(path, O_RDWR | O_CLOEXEC)) >= 0)
			return fd;
		nanosleep(&ms, NULL);
	}
	complain(path);
	return -1;
}

static void
mount_all(void)
{
	static const struct {
		const char *dir, *type;
		unsigned long flags;
	} table[] = {
		{ "/sys", "sysfs", MS_NOEXEC | MS_NOSUID | MS_NODEV },
		{ "/proc", "proc", MS_NOEXEC | MS_NOSUID | MS_NODEV },
		{ "/dev", "devtmpfs", MS_NOEXEC | MS_NOSUID },
		{ "/dev/pts", "devpts", MS_NOEXEC | MS_NOSUID },
		{ "/tmp", "tmpfs", 0 },
	};
	size_t i;

	for (i = 0; i < sizeof table / sizeof *table; i++) {
		mkdir(table[i].dir, 0755);
		if (mount(table[i].type, table[i].dir, table[i].type,
		    table[i].flags, "") < 0)
			complain(table[i].dir);
	}
}

int
main(void)
{
	char *argv[] = { "/tester", "-test.v", NULL };
	char *env[] = { "IN_KTEST=true", NULL };
	int control, console, null, status = 0;
	unsigned char byte;
	struct pollfd p;
	pid_t pid;

	mount_all();
	while ((null = open("/dev/null", O_RDWR)) >= 0 && null <= 2)
		;	/* the kernel may have had no console to open */
	close(null);
	if ((control = open_waiting("/dev/vport1p1")) < 0)
		return 1;
	if ((console = open_waiting("/dev/hvc0")) >= 0) {
		dup2(console, 1);
		dup2(console, 2);
	}
	if ((null = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0)
		dup2(null, 0);
	if ((pid = fork()) == 0) {
		execve(argv[0], argv, env);
		_exit(254);
	}
	while (waitpid(pid, &status, 0) != pid)
		;
	byte = WIFEXITED(status) ? (unsigned char)WEXITSTATUS(status) : 255;
	if (write(control, &byte, 1) != 1)
		complain("/dev/vport1p1");
	p.fd = control;
	p.events = POLLOUT;	/* room again: the queue is empty */
	poll(&p, 1, 10000);
	close(control);
	reboot(RB_AUTOBOOT);
	return 1;
}
