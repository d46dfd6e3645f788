/*
 * files.c: what programs do to files, done in a guest and here.
 *
 *	files ops DIR		all kinds of them in DIR, "ok WHAT" for each
 *	files list DIR		how many entries DIR has
 *	files make DIR N	N empty files
 *	files fill FILE MIB	writes as much, says its sum
 *	files sum FILE		says the sum of what it reads
 *	files tree DIR		a line about each file below, all that lstat and
 *				read tell: equal lines, equal trees
 *	files keep FILE		holds a shared, written-to mapping of it when it
 *				is killed by its own hand
 */
#define _DEFAULT_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t block[1 << 17]; /* 1 MiB */

static void check(int good, const char *what)
{
	if (good)
		printf("ok %s\n", what);
	else
		printf("not ok %s: %s\n", what, strerror(errno));
}

static void put(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	check(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text)
	      && close(fd) == 0, name);
}

static int holds(const char *name, const char *text)
{
	char buf[256];
	int fd = open(name, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof buf);

	close(fd);
	return n == (ssize_t)strlen(text) && memcmp(buf, text, (size_t)n) == 0;
}

static void links(void)
{
	struct stat a, b;
	char buf[64];
	ssize_t n;

	put("one", "1");
	check(symlink("one", "soft") == 0, "symlink");
	n = readlink("soft", buf, sizeof buf);
	check(n == 3 && memcmp(buf, "one", 3) == 0 && holds("soft", "1"),
	      "readlink");
	check(link("one", "hard") == 0 && stat("one", &a) == 0
	      && stat("hard", &b) == 0 && a.st_ino == b.st_ino, "link");
	check(b.st_nlink == 2, "nlink");
	check(symlink("/nowhere/at/all", "dangling") == 0
	      && lstat("dangling", &a) == 0 && S_ISLNK(a.st_mode),
	      "dangling symlink");
}

static void names(void)
{
	char name[257];

	memset(name, 'n', 255);
	name[255] = '\0';
	check(creat(name, 0600) >= 0 && access(name, F_OK) == 0,
	      "a name of 255 bytes");
	memset(name, 'n', 256);
	name[256] = '\0';
	check(creat(name, 0600) < 0 && errno == ENAMETOOLONG,
	      "not one of 256");
	put("a name with spaces, \xc3\xa4 and \\", "x");
}

static void attributes(void)
{
	struct timespec t[2] = { { 1000000000, 5 }, { 1234567890, 123456789 } };
	struct stat st;

	put("two", "22");
	check(chmod("two", 04751) == 0 && stat("two", &st) == 0
	      && (st.st_mode & 07777) == 04751, "chmod");
	/* Linux's 9p (6.1) cuts it to seconds */
	check(utimensat(AT_FDCWD, "two", t, 0) == 0 && stat("two", &st) == 0
	      && st.st_mtim.tv_sec == 1234567890
	      && (st.st_mtim.tv_nsec == 123456789
		  || st.st_mtim.tv_nsec == 0), "mtime");
	check(truncate("two", 1) == 0 && stat("two", &st) == 0
	      && st.st_size == 1, "truncate");
	/* QEMUs since 2023 open nothing on the host that is special */
	check(mkfifo("fifo", 0600) == 0 ? stat("fifo", &st) == 0
	      && S_ISFIFO(st.st_mode) : errno == ENXIO, "fifo");
}

static void renames(void)
{
	put("from", "from");
	put("to", "to");
	check(rename("from", "to") == 0 && holds("to", "from")
	      && access("from", F_OK) < 0, "rename over a file");
	check(mkdir("dir", 0755) == 0 && mkdir("dir/sub", 0700) == 0,
	      "mkdir");
	put("dir/sub/file", "deep");
	check(rmdir("dir") < 0 && (errno == ENOTEMPTY || errno == EEXIST),
	      "rmdir: not empty");
	check(rename("dir/sub", "moved") == 0 && holds("moved/file", "deep"),
	      "rename a directory");
	check(rmdir("dir") == 0 && access("dir", F_OK) < 0, "rmdir");
}

/* Whether another process gets the lock. */
static int other_gets(const char *name, int posix)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
		int fd = open(name, O_RDWR);

		_exit(posix ? fcntl(fd, F_SETLK, &lock) == 0
			    : flock(fd, LOCK_EX | LOCK_NB) == 0);
	}
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status);
}

static void locks(void)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd;

	put("locked", "x");
	fd = open("locked", O_RDWR);
	check(fcntl(fd, F_SETLK, &lock) == 0 && !other_gets("locked", 1),
	      "fcntl lock");
	lock.l_type = F_UNLCK;
	check(fcntl(fd, F_SETLK, &lock) == 0 && other_gets("locked", 1),
	      "fcntl unlock");
	check(flock(fd, LOCK_EX) == 0 && !other_gets("locked", 0), "flock");
	close(fd);
}

static void maps(void)
{
	int fd = open("mapped", O_RDWR | O_CREAT, 0644);
	char *at;

	check(ftruncate(fd, 3 * 4096) == 0, "ftruncate");
	at = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(at != MAP_FAILED, "mmap, shared");
	if (at != MAP_FAILED) {
		memcpy(at + 4090, "across a page", 13);
		check(munmap(at, 3 * 4096) == 0, "munmap");
	}
	at = mmap(NULL, 3 * 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	check(at != MAP_FAILED && memcmp(at + 4090, "across a page", 13) == 0,
	      "mmap, private");
	close(fd);
}

static void opens(void)
{
	char buf[8] = "";
	int fd = open("appended", O_WRONLY | O_CREAT | O_APPEND, 0644);

	check(write(fd, "a", 1) == 1 && write(fd, "b", 1) == 1
	      && holds("appended", "ab"), "append");
	close(fd);
	check(open("appended", O_WRONLY | O_CREAT | O_EXCL, 0644) < 0
	      && errno == EEXIST, "O_EXCL");
	put("gone", "still");
	fd = open("gone", O_RDONLY);
	check(unlink("gone") == 0 && read(fd, buf, 8) == 5
	      && memcmp(buf, "still", 5) == 0, "read what was unlinked");
	close(fd);
}

static uint64_t sum_block(uint64_t sum, size_t n)
{
	for (size_t i = 0; i < (n + 7) / 8; i++)
		sum = (sum ^ block[i]) * 0x9e3779b97f4a7c15u + i;
	return sum;
}

static uint64_t sum_file(const char *name)
{
	uint64_t sum = 0;
	size_t have = 0;
	ssize_t n;
	int fd = open(name, O_RDONLY);

	for (;;) { /* whole blocks, however they come */
		n = read(fd, (char *)block + have, sizeof block - have);
		if (n > 0 && (have += (size_t)n) < sizeof block)
			continue;
		for (size_t i = have; i % 8 != 0; i++)
			((char *)block)[i] = 0;
		sum = sum_block(sum, have);
		have = 0;
		if (n <= 0)
			break;
	}
	close(fd);
	return n < 0 ? 0 : sum;
}

static uint64_t fill(const char *name, long mib)
{
	uint64_t x = 88172645463325252u, sum = 0;
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	for (size_t i = 0; i < sizeof block / 8; i++) { /* xorshift */
		x ^= x << 13;
		x ^= x >> 7;
		block[i] = x ^= x << 17;
	}
	for (long m = 0; m < mib; m++) {
		block[m & 131071]++;
		sum = sum_block(sum, sizeof block);
		if (write(fd, block, sizeof block) != sizeof block)
			return 0;
	}
	return close(fd) == 0 ? sum : 0;
}

static void tree(const char *dir)
{
	struct dirent **e;
	int n = scandir(dir, &e, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		char path[4096], to[4096] = "";
		struct stat st;

		if (strcmp(e[i]->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, e[i]->d_name);
		if (lstat(path, &st) < 0)
			continue;
		if (S_ISLNK(st.st_mode) && readlink(path, to, sizeof to - 1)
		    < 0)
			to[0] = '?';
		printf("%s %o %d:%d %d %lld %lld.%09ld %llx %s\n", path,
		       st.st_mode, (int)st.st_uid, (int)st.st_gid,
		       (int)st.st_nlink, (long long)st.st_size,
		       (long long)st.st_mtime, st.st_mtim.tv_nsec,
		       S_ISREG(st.st_mode) ? (long long)sum_file(path) : 0,
		       to);
		if (S_ISDIR(st.st_mode) && strcmp(e[i]->d_name, ".") != 0)
			tree(path);
	}
}

static long list(const char *name)
{
	long n = 0;
	DIR *dir = opendir(name);

	while (dir != NULL && readdir(dir) != NULL)
		n++;
	return n - 2;
}

static int ops(const char *dir)
{
	if (chdir(dir) < 0) {
		perror(dir);
		return 1;
	}
	links();
	names();
	attributes();
	renames();
	locks();
	maps();
	opens();
	return 0;
}

static void keep(const char *name)
{
	int fd = open(name, O_RDWR);
	char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at != MAP_FAILED)
		memcpy(at, "mapped", 6);
	kill(getpid(), SIGKILL);
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "", *name = argv[2];

	umask(022);
	if (strcmp(what, "ops") == 0)
		return ops(name);
	if (strcmp(what, "list") == 0)
		printf("%ld\n", list(name));
	else if (strcmp(what, "sum") == 0)
		printf("%016llx\n", (unsigned long long)sum_file(name));
	else if (strcmp(what, "fill") == 0 && argc > 3)
		printf("%016llx\n",
		       (unsigned long long)fill(name, atol(argv[3])));
	else if (strcmp(what, "tree") == 0)
		tree(name);
	else if (strcmp(what, "keep") == 0)
		keep(name);
	else if (strcmp(what, "make") == 0 && argc > 3) {
		for (long i = 0; i < atol(argv[3]); i++) {
			char path[4096];

			snprintf(path, sizeof path, "%s/file-%ld", name, i);
			close(creat(path, 0644));
		}
	} else
		return 2;
	return fflush(stdout) == 0 ? 0 : 1;
}
