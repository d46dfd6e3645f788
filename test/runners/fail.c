/* A test that fails, with a line and a status to be found again. */
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
	printf("%s in a guest\n", getenv("IN_KTEST") ? "failed" : "not");
	return 3;
}
