/* A test that passes only as root, a child of a ktest guest's process 1. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
	const char *in = getenv("IN_KTEST");

	if (in == NULL || strcmp(in, "true") != 0 || getppid() != 1
	    || getuid() != 0) {
		puts("not in a guest");
		return 1;
	}
	puts("passed in a guest");
	return 0;
}
