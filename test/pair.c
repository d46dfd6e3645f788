/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pair: an example of ktest inside another program. Two machines, a cable
 * between them, a megabyte through it and back.
 *
 *     cc test/pair.c -o pair -lpthread
 *     ./pair KERNEL INIT NET-GUEST
 *
 * Each machine is a thread that stays in ktest_run(). NET-GUEST is the
 * program that runs in both, net-guest.c beside this file, linked statically
 * or not.
 */
#define KTEST_LIB
#include "../ktest.c"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct end {
	struct ktest_options options;
	struct ktest_result result;
	char fd[16]; /* its end of the cable */
	pthread_t thread;
};

static void *end_run(void *arg)
{
	struct end *m = arg;

	(void)ktest_run(&m->options, &m->result);
	return NULL;
}

static void end_start(struct end *m, char **argv, const char *name,
		      int cable, char *const *program)
{
	const char *accel = getenv("KTEST_ACCEL");

	ktest_defaults(&m->options);
	m->options.name = name;
	m->options.kernel_path = argv[1];
	m->options.init = argv[2];
	m->options.argv = program;
	m->options.accel = accel != NULL && *accel == 'k' ? 1 : 2;
	m->options.memory = 256;
	m->options.timeout = 100 * 1000;
	(void)snprintf(m->fd, sizeof m->fd, "%d", cable);
	m->options.netfds.item[m->options.netfds.count++] = m->fd;
	if (pthread_create(&m->thread, NULL, end_run, m) != 0)
		exit(1);
}

int main(int argc, char **argv)
{
	static struct end server, client;
	int cable[2];

	if (argc != 4) {
		(void)fprintf(stderr, "usage: pair KERNEL INIT NET-GUEST\n");
		return 2;
	}
	if (ktest_socket_pair(cable) < 0) {
		perror("pair");
		return 1;
	}
	end_start(&server, argv, "server", cable[0], (char *[]){ argv[3],
		"cable", "10.1.0.1", "serve", "0.0.0.0", "7000", "1", NULL });
	end_start(&client, argv, "client", cable[1], (char *[]){ argv[3],
		"cable", "10.1.0.2", "client", "10.1.0.1", "7000", "1",
		"1048576", NULL });
	(void)pthread_join(client.thread, NULL);
	(void)pthread_join(server.thread, NULL);
	(void)close(cable[0]);
	(void)close(cable[1]);
	(void)printf("server: status %d%s%s\nclient: status %d%s%s\n",
		     server.result.status, *server.result.error ? ": " : "",
		     server.result.error, client.result.status,
		     *client.result.error ? ": " : "", client.result.error);
	return server.result.status != 0 || client.result.status != 0;
}
