/* demo: says where it runs, reads a line, ends with a status of its own. */
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

int
main(void)
{
	struct utsname u;
	char line[80];

	if (uname(&u) < 0)
		return 1;
	printf("%s %s, %s\n", u.sysname, u.release, u.version);
	printf("user %ld, process %ld, its parent is %ld\n", (long)getuid(),
	    (long)getpid(), (long)getppid());
	if (!fgets(line, sizeof line, stdin))
		return 1;
	printf("stdin says: %s", line);
	fprintf(stderr, "and this goes to stderr\n");
	return 42;
}
