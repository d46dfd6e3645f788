/*
 * kernel-show: what the kernel that runs says of itself, to stdout.
 *
 *	kernel-show WORD...	modules, interfaces, hostname
 *	kernel-show before N	1 if the version ends in .N or a later number
 *
 * Without a word the version.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

static void
file(const char *path)
{
	char buf[4096];
	size_t n;
	FILE *f = fopen(path, "r");

	if (f == NULL) {
		perror(path);
		exit(2);
	}
	while ((n = fread(buf, 1, sizeof buf, f)) > 0)
		fwrite(buf, 1, n, stdout);
	fclose(f);
}

static void
names(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
		puts(e->d_name);
	if (d != NULL)
		closedir(d);
}

int
main(int argc, char **argv)
{
	struct utsname u;
	int i;

	uname(&u);
	if (argc > 2 && strcmp(argv[1], "before") == 0)
		return atoi(strrchr(u.release, '.') + 1) >= atoi(argv[2]);
	if (argc == 1)
		puts(u.release);
	for (i = 1; i < argc; i++)
		if (strcmp(argv[i], "modules") == 0)
			file("/proc/modules");
		else if (strcmp(argv[i], "interfaces") == 0)
			names("/sys/class/net");
		else
			puts(u.nodename);
	return fflush(stdout) != 0;
}
