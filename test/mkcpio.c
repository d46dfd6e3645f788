/*
 * mkcpio: an initramfs for the tests, in cpio's "newc" format (Linux's
 * Documentation/driver-api/early-userspace/buffer-format.rst).
 *
 *	mkcpio [NAME=FILE | NAME/]... >ARCHIVE
 *
 * NAME=FILE is a file of mode 0755, NAME/ a directory.  The character device
 * dev/console is always there, as it is for the kernel's first process.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned long written;
static unsigned inode = 1;

static void
put(const void *data, size_t n)
{
	if (fwrite(data, 1, n, stdout) != n)
		exit(1);
	written += n;
}

static void
pad(void)
{
	while (written % 4 != 0)
		put("", 1);
}

static void
head(const char *name, unsigned mode, unsigned long size, int device)
{
	char h[120];

	snprintf(h, sizeof h, "070701%08x%08x%08x%08x%08x%08x%08lx%08x%08x%08x"
	    "%08x%08x%08x", inode++, mode, 0, 0, 1, 0, size, 0, 0,
	    device ? 5 : 0, device ? 1 : 0, (unsigned)strlen(name) + 1, 0);
	put(h, 110);
	put(name, strlen(name) + 1);
	pad();
}

static void
add_file(const char *name, const char *path)
{
	char buf[4096];
	size_t n;
	long size;
	FILE *f = fopen(path, "rb");

	if (!f || fseek(f, 0, SEEK_END) || (size = ftell(f)) < 0) {
		perror(path);
		exit(1);
	}
	rewind(f);
	head(name, 0100755, (unsigned long)size, 0);
	while ((n = fread(buf, 1, sizeof buf, f)) > 0)
		put(buf, n);
	fclose(f);
	pad();
}

int
main(int argc, char **argv)
{
	char *equals;
	int i;

	head("dev", 040755, 0, 0);
	head("dev/console", 020600, 0, 1);
	for (i = 1; i < argc; i++) {
		if ((equals = strchr(argv[i], '='))) {
			*equals = '\0';
			add_file(argv[i], equals + 1);
		} else {
			argv[i][strlen(argv[i]) - 1] = '\0';
			head(argv[i], 040755, 0, 0);
		}
	}
	head("TRAILER!!!", 0, 0, 0);
	return fflush(stdout) != 0;
}
