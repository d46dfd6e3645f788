/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot-tool: looks into the file of a saved machine, and spoils it.
 *
 *     snapshot-tool FILE show              its trailer: "FIELD VALUE" a line
 *     snapshot-tool FILE set FIELD VALUE   with a right check sum
 *     snapshot-tool FILE age SECONDS       its trailer as of so long ago
 *     snapshot-tool FILE fields            "FIELD OFFSET" a line
 *     snapshot-tool FILE places COUNT      "data OFFSET": so many, spread over
 *                                          what the file has no holes for
 *     snapshot-tool FILE flip OFFSET       changes one byte
 *     snapshot-tool FILE wipe OFFSET       zeros from there to the end
 *     snapshot-tool run OPTIONS...         ktest; then "warm 0" or "warm 1"
 */
#define KTEST_LIB
#include "../ktest.c"

#ifndef SEEK_HOLE
#define SEEK_HOLE 4 /* linux/fs.h */
#endif

#define FIELD(f) { #f, offsetof(struct trailer, f), sizeof t.f }

static struct trailer t;
static const struct field {
	const char *name;
	size_t at, size;
} fields[] = {
	FIELD(magic), FIELD(format), FIELD(memory), FIELD(state),
	FIELD(policy), FIELD(accel), FIELD(acpi), FIELD(sandbox), FIELD(age),
	FIELD(args), FIELD(cpu), FIELD(tick_khz), FIELD(qemu), FIELD(input_count),
	FIELD(input[0].what), FIELD(input[0].device), FIELD(input[0].inode),
	FIELD(input[0].size), FIELD(input[0].mtime), FIELD(input[0].hash),
	FIELD(content), FIELD(boot), FIELD(mtime), FIELD(check),
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static off_t file_size(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		die("fstat");
	return st.st_size;
}

static off_t trailer_at(int fd)
{
	return file_size(fd) - (off_t)sizeof t;
}

static void show_field(const struct field *f)
{
	uint64_t n;

	(void)printf("%s ", f->name);
	if (f->size == sizeof n) {
		memcpy(&n, (char *)&t + f->at, sizeof n);
		(void)printf("%llu\n", (unsigned long long)n);
	} else {
		(void)printf("%.*s\n", (int)strcspn((char *)&t + f->at, "\r\n"),
			     (char *)&t + f->at);
	}
}

static void set_field(const struct field *f, const char *value)
{
	uint64_t n = strtoull(value, NULL, 10);

	if (f->size == sizeof n)
		memcpy((char *)&t + f->at, &n, sizeof n);
	else
		(void)snprintf((char *)&t + f->at, f->size, "%s", value);
}

/* The trailer with a right check sum; the file's mtime is what it says. */
static void trailer_put(int fd)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
		{ .tv_sec = (time_t)(t.mtime / 1000000000) } };

	t.check = trailer_check(&t);
	if (pwrite(fd, &t, sizeof t, trailer_at(fd)) != sizeof t
	    || futimens(fd, times) < 0)
		die("the trailer");
}

/* The first byte of data at or after `at`. */
static off_t data_at(int fd, off_t at)
{
	off_t data = lseek(fd, at, SEEK_DATA);

	return data < 0 ? at : data;
}

static void places(int fd, int count)
{
	off_t end = (off_t)(t.memory + t.state), data = 0, at, hole, next = 0;

	for (at = data_at(fd, 0); at < end; at = data_at(fd, hole)) {
		hole = lseek(fd, at, SEEK_HOLE);
		data += (hole < end ? hole : end) - at;
	}
	for (at = data_at(fd, 0); at < end; at = data_at(fd, hole)) {
		hole = lseek(fd, at, SEEK_HOLE);
		hole = hole < end ? hole : end;
		for (; next < hole - at; next += data / count)
			(void)printf("data %lld\n", (long long)(at + next));
		next -= hole - at;
	}
}

static void flip(int fd, off_t at)
{
	char c;

	if (pread(fd, &c, 1, at) != 1)
		die("flip");
	c = (char)(c ^ 0x10);
	if (pwrite(fd, &c, 1, at) != 1)
		die("flip");
}

static void wipe(int fd, off_t at)
{
	off_t size = file_size(fd);

	if (ftruncate(fd, at) < 0 || ftruncate(fd, size) < 0)
		die("wipe");
}

static int run(char **argv)
{
	static struct ktest_options o;
	static struct ktest_result r;

	ktest_defaults(&o);
	if (ktest_parse(&o, argv, &r) < 0 || ktest_run(&o, &r) < 0)
		return r.status;
	(void)printf("warm %d\n", r.warm);
	return r.status;
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[2] : "";
	const char *value = argc > 3 ? argv[3] : "";
	int fd;

	if (argc > 1 && strcmp(argv[1], "run") == 0)
		return run(argv + 1);
	fd = argc > 2 ? open(argv[1], O_RDWR) : -1;
	if (fd < 0 || pread(fd, &t, sizeof t, trailer_at(fd)) != sizeof t)
		die(argc > 1 ? argv[1] : "usage");
	if (strcmp(what, "places") == 0)
		places(fd, atoi(value));
	else if (strcmp(what, "flip") == 0)
		flip(fd, (off_t)atoll(value));
	else if (strcmp(what, "wipe") == 0)
		wipe(fd, (off_t)atoll(value));
	for (size_t i = 0; i < COUNT(fields); i++)
		if (strcmp(what, "show") == 0)
			show_field(&fields[i]);
		else if (strcmp(what, "fields") == 0)
			(void)printf("%s %lld\n", fields[i].name,
				     (long long)trailer_at(fd)
				     + (long long)fields[i].at);
		else if (strcmp(value, fields[i].name) == 0 && argc > 4)
			set_field(&fields[i], argv[4]);
	if (strcmp(what, "age") == 0)
		t.mtime -= (uint64_t)atoll(value) * 1000000000u;
	if (strcmp(what, "set") == 0 || strcmp(what, "age") == 0)
		trailer_put(fd);
	return 0;
}
