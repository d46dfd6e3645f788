/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unit tests: every stage of ktest that can be asked without a guest.
 *
 *     cc test/unit.c -o unit && ./unit [ARCHIVE]
 *
 * Prints TAP; exit status 1 when something failed. The initramfs that it
 * makes is left as the file ARCHIVE, for other readers of cpio. Writes below
 * $TMPDIR only and takes that away again.
 *
 * The order is that of ktest.c. A section has tables, then what runs them.
 */
#define KTEST_LIB
#include "../ktest.c"

/* ==== TAP ===============================================================
 * One case is one line. is_int(), is_text(), is_true() and is_error() check a
 * field; those that follow each other down the page with one name are a case.
 * A failure tells the line (HERE), the field, what it was and has to be.
 */
#define HERE __LINE__

static struct {
	int count, failed; /* cases */
	int line;          /* of the last check */
	bool open;         /* the case at hand is not printed: all is well */
	char name[512];
} tap;

static struct ktest k;
static struct ktest_options o;

static void tap_print(const char *result)
{
	(void)printf("%s %d - ", result, tap.count);
	for (const char *s = tap.name; *s != '\0'; s++)
		if (*s == '#' || *s == '\\')
			(void)printf("\\%c", *s);
		else
			(void)putchar(*s >= ' ' && *s < 0x7f ? *s : '?');
	(void)putchar('\n');
	tap.open = false;
}

/* The case at hand has no more fields. */
static void tap_end(void)
{
	if (tap.open)
		tap_print("ok");
}

/* A field; false when it is wrong, for what is to follow. */
static bool tap_field(int line, bool ok, const char *field, const char *name)
{
	if (line <= tap.line || strcmp(name, tap.name) != 0) {
		tap_end();
		tap.count++;
		tap.open = true;
		(void)snprintf(tap.name, sizeof tap.name, "%s", name);
	}
	tap.line = line;
	if (ok)
		return true;
	if (tap.open) {
		tap.failed++;
		tap_print("not ok");
	}
	(void)printf("# at %s:%d: %s\n", __FILE__, line, field);
	return false;
}

static void tap_value(const char *title, const char *s)
{
	(void)printf("# %s ", title);
	if (s == NULL)
		(void)printf("nothing");
	else
		for (; *s != '\0'; s++)
			(void)printf(*s >= ' ' && *s < 0x7f ? "%c" : "\\x%02x",
				     (unsigned char)*s);
	(void)putchar('\n');
}

static bool field_int(int line, const char *field, long long got,
		      long long want, const char *name)
{
	if (tap_field(line, got == want, field, name))
		return true;
	(void)printf("# got %lld, want %lld\n", got, want);
	return false;
}

static bool field_text(int line, const char *field, const char *got,
		       const char *want, const char *name)
{
	bool same = got == NULL || want == NULL ? got == want
						: strcmp(got, want) == 0;

	if (tap_field(line, same, field, name))
		return true;
	tap_value("got ", got);
	tap_value("want", want);
	return false;
}

#define is_true(line, ok, name) tap_field(line, ok, #ok, name)
#define is_int(line, got, want, name) field_int(line, #got, got, want, name)
#define is_text(line, got, want, name) field_text(line, #got, got, want, name)

/* The error of the last call has to hold what; NULL: there is none. */
static bool is_error(int line, const char *what, const char *name)
{
	bool ok = what == NULL ? k.error[0] == '\0'
			       : strstr(k.error, what) != NULL;

	if (tap_field(line, ok, "k.error", name))
		return true;
	tap_value("got ", k.error);
	tap_value("want", what == NULL ? "" : what);
	return false;
}

/* ==== What the tests share ============================================== */

/* Working memory and options as they are before a run. */
static void fresh(void)
{
	memset(&k, 0, sizeof k);
	ktest_defaults(&o);
	o.log_fd = -1;
	k.o = &o;
	k.wake_fd = -1;
	k.log.fd = k.initrd = k.initramfs = k.kernel = -1;
	k.snapshot.fd = k.snapshot.memory = k.snapshot.part = -1;
	vm_reset(&k.vm);
}

static char *word(const char *s)
{
	return (char *)(uintptr_t)s;
}

/* A name of a test, from parts. */
static const char *name_of(const char *fmt, ...)
{
	static char name[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(name, sizeof name, fmt, ap);
	va_end(ap);
	return name;
}

/* n times c, for values that are too long. */
static const char *many(char c, size_t n)
{
	static char text[ARGV_SIZE + 16];

	if (n >= sizeof text)
		abort();
	memset(text, c, n);
	text[n] = '\0';
	return text;
}

/* A copy with nothing behind it, for sanitizers and valgrind to watch. */
static struct map map_copy(const char *s, size_t n)
{
	char *p = malloc(n > 0 ? n : 1);

	if (p == NULL)
		abort();
	memcpy(p, s, n);
	return (struct map){ p, n };
}

static void map_free(struct map *m)
{
	free((void *)(uintptr_t)m->at);
}

static void make_file(const char *path, const char *data, size_t n,
		      mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);

	if (fd < 0 || write(fd, data, n) != (ssize_t)n || close(fd) < 0
	    || chmod(path, mode) < 0) {
		(void)printf("Bail out! %s: %s\n", path, strerror(errno));
		exit(1);
	}
}

static void make_text(const char *path, const char *text)
{
	make_file(path, text, strlen(text), 0644);
}

static void make_directory(const char *path)
{
	if (mkdir(path, 0755) < 0 && errno != EEXIST) {
		(void)printf("Bail out! %s: %s\n", path, strerror(errno));
		exit(1);
	}
}

/* All of a file from its beginning, NUL at the end; the caller frees it. */
static char *read_fd(int fd, size_t *n)
{
	off_t size = lseek(fd, 0, SEEK_END);
	char *p = malloc((size_t)size + 1);

	if (p == NULL || pread(fd, p, (size_t)size, 0) != (ssize_t)size)
		abort();
	p[size] = '\0';
	*n = (size_t)size;
	return p;
}

/* Numbers that are the same on every machine. */
static unsigned next_random(void)
{
	static uint32_t state = 1;

	state = state * 1664525u + 1013904223u;
	return state >> 16;
}

/* ==== Utilities ========================================================= */
static const struct {
	const char *in, *want;
	bool lines;
} visible_table[] = {
	{ "plain ~", "plain ~", false },
	{ "a\tb\nc\r\n", "a^Ib^Jc^M^J", false },
	{ "a\tb\nc\r\n", "a\tb\nc\n", true },
	{ "a\rb\r", "a^Mb", true },
	{ "\033[2J\a\b\177", "^[[2J^G^H^?", true },
	{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0"
	  "\x9f\x98\x80", false },
	{ "\x9b" "31m", "\\x9b31m", true },             /* C1, bare */
	{ "\xc2\x9b" "31m", "\\xc2\\x9b31m", true },    /* C1 as UTF-8 */
	{ "\xc2\xa0", "\xc2\xa0", true },               /* the first after */
	{ "\xc0\xaf", "\\xc0\\xaf", true },             /* overlong '/' */
	{ "\xe0\x9f\xbf", "\\xe0\\x9f\\xbf", true },    /* overlong */
	{ "\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf", true },
	{ "\xed\xa0\x80", "\\xed\\xa0\\x80", true },    /* surrogate */
	{ "\xed\x9f\xbf", "\xed\x9f\xbf", true },       /* the last before */
	{ "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf", true }, /* U+10FFFF */
	{ "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", true },
	{ "\xf5\xff\xfe", "\\xf5\\xff\\xfe", true },
	{ "\xe2\x82", "\\xe2\\x82", true },             /* cut */
	{ "\xe2\x82" "x", "\\xe2\\x82x", true },
	{ "", "", true },
};

static void test_visible(void)
{
	char at[256];
	struct text t;

	for (size_t i = 0; i < COUNT(visible_table); i++) {
		size_t n = strlen(visible_table[i].in);
		struct map m = map_copy(visible_table[i].in, n);

		text_init(&t, at, sizeof at);
		text_visible(&t, m.at, n, visible_table[i].lines);
		is_text(HERE, t.at, visible_table[i].want,
			name_of("visible: %s", visible_table[i].want));
		map_free(&m);
	}
	text_init(&t, at, sizeof at);
	text_visible(&t, "a\0b", 3, false);
	is_text(HERE, t.at, "a^@b", "visible: NUL");
}

/* However small the buffer: what is there is a beginning of the whole, full
 * tells whether it is all, and nothing behind the buffer is touched. */
static void test_text_bounds(void)
{
	static const char in[] = "ab\033\xc3\xa4\xff\xe2\x82\xac\n\001z";
	char all_at[64], at[64];
	struct text all, t;
	bool prefix = true, full = true, inside = true, ended = true;

	text_init(&all, all_at, sizeof all_at);
	text_visible(&all, in, sizeof in - 1, false);
	text_printf(&all, "%d", 12345);
	text_add(&all, "end");
	for (size_t size = 1; size < sizeof at; size++) {
		memset(at, '#', sizeof at);
		text_init(&t, at, size);
		text_visible(&t, in, sizeof in - 1, false);
		text_printf(&t, "%d", 12345);
		text_add(&t, "end");
		prefix = prefix && t.len < size
			 && memcmp(at, all.at, t.len) == 0;
		full = full && t.full == (all.len >= size);
		ended = ended && at[t.len] == '\0';
		for (size_t i = size; i < sizeof at; i++)
			inside = inside && at[i] == '#';
	}
	is_true(HERE, prefix, "text: a full one is a beginning of the whole");
	is_true(HERE, full, "text: full is set when something did not fit");
	is_true(HERE, ended, "text: ends with NUL");
	is_true(HERE, inside, "text: stays inside its buffer");
}

static void test_path_set(void)
{
	static char out[PATH_SIZE];

	fresh();
	is_int(HERE, path_set(&k, out, "%s", many('p', PATH_SIZE - 1)), 0,
	       "path_set: 4095 bytes fit");
	is_int(HERE, path_set(&k, out, "%s", many('p', PATH_SIZE)), -1,
	       "path_set: 4096 bytes do not");
	is_error(HERE, "path is too long (limit 4095 bytes): ppp",
		 "path_set: says so");
}

static const struct {
	const char *in, *want; /* "~" stands for the scratch directory */
	const char *error;
} absolute_table[] = {
	{ "file", "~/file", NULL },
	{ "./file", "~/file", NULL },
	{ "link", "~/link", NULL },                /* its own name is kept */
	{ "dir/../file", "~/file", NULL },
	{ "dirlink/inner", "~/dir/inner", NULL },  /* its directory is not */
	{ "not-there", "~/not-there", NULL },
	{ "a b,c'd\n\xc3\xa4", "~/a b,c'd\n\xc3\xa4", NULL },
	{ ".", "~", NULL },
	{ "dir/..", "~", NULL },
	{ "dir/", "~/dir", NULL },
	{ "/", "/", NULL },
	{ "/etc", "/etc", NULL },
	{ "/../etc", "/etc", NULL },
	{ "no/file", NULL, "no/file: No such file" },
	{ "no/", NULL, "no/: No such file" },
	{ "file/x", NULL, "file/x: Not a directory" },
};

static void test_path_absolute(const char *scratch)
{
	static char out[PATH_SIZE], want[PATH_SIZE * 2];

	for (size_t i = 0; i < COUNT(absolute_table); i++) {
		const char *to = absolute_table[i].want;
		const char *name = name_of("path_absolute: %s",
					   absolute_table[i].in);
		int result;

		fresh();
		result = path_absolute(&k, absolute_table[i].in, out);
		if (to == NULL) {
			is_error(HERE, absolute_table[i].error, name);
			continue;
		}
		(void)snprintf(want, sizeof want, "%s%s",
			       *to == '~' ? scratch : "",
			       *to == '~' ? to + 1 : to);
		is_text(HERE, result == 0 ? out : k.error, want, name);
	}
	fresh();
	is_int(HERE, path_absolute(&k, many('x', 5000), out), -1,
	       "path_absolute: a long name is refused");
}

static const struct {
	const char *path, *name, *want; /* want NULL: not found */
} search_table[] = {
	{ "bin", "tool", "bin/tool" },
	{ "no:bin", "tool", "bin/tool" },
	{ "no:", "exe", "exe" },                   /* an empty part is . */
	{ ":bin", "tool", "bin/tool" },
	{ "", "exe", "exe" },
	{ ".", "file", NULL },                     /* not executable */
	{ ".", "dir", NULL },
	{ "no", "tool", NULL },
	{ "bin", "", NULL },
};

static void test_path_search(void)
{
	static char out[PATH_SIZE];
	char *saved = strdup(getenv("PATH") != NULL ? getenv("PATH") : "");

	for (size_t i = 0; i < COUNT(search_table); i++) {
		bool found;

		(void)setenv("PATH", search_table[i].path, 1);
		found = path_search(NULL, search_table[i].name, out);
		is_text(HERE, found ? out : NULL, search_table[i].want,
			name_of("path_search: %s in %s", search_table[i].name,
				search_table[i].path));
	}
	(void)setenv("PATH", many('d', 5000), 1);
	is_true(HERE, !path_search(NULL, "tool", out),
		"path_search: a long directory is passed over");
	(void)unsetenv("PATH");
	is_true(HERE, path_search(NULL, "env", out), "path_search: without PATH");
	(void)setenv("PATH", saved, 1);
	free(saved);
}

static const struct {
	const char *path, *error;
	size_t size;
} map_table[] = {
	{ "file", NULL, 5 },
	{ "empty", NULL, 0 },
	{ "dir", "-x dir: is a directory, not a file", 0 },
	{ "/dev/null", "-x /dev/null: is a device, not a file", 0 },
	{ "fifo", "-x fifo: is a device, not a file", 0 },
	{ "no", "-x no: No such file", 0 },
};

static void test_map_file(void)
{
	struct map m;

	for (size_t i = 0; i < COUNT(map_table); i++) {
		fresh();
		(void)map_file(&k, "-x", map_table[i].path, &m);
		is_error(HERE, map_table[i].error,
			 name_of("map_file: %s", map_table[i].path));
		is_int(HERE, (long long)m.size, (long long)map_table[i].size,
		       name_of("map_file: %s", map_table[i].path));
		unmap_file(&m);
	}
}

/* A message: one line, visible, whole, with errno's text after a ':'. */
static void test_messages(void)
{
	static char path[PATH_SIZE];
	char *got;
	size_t n;
	int fd;

	fresh();
	fd = o.log_fd = open("log", O_RDWR | O_CREAT | O_TRUNC, 0644);
	k.log = sink_open(fd);
	errno = ENOENT;
	warn(&k, "%s:", "a\nb\033");
	got = read_fd(fd, &n);
	is_text(HERE, got, "ktest: a^Jb^[: No such file or directory\n",
		"warn: one visible line");
	free(got);
	(void)ftruncate(fd, 0);
	(void)lseek(fd, 0, SEEK_SET);
	memset(path, 0xff, sizeof path - 1);
	warn(&k, "%s: the reason", path);
	got = read_fd(fd, &n);
	is_true(HERE, n > 11 && strcmp(got + n - 12, " the reason\n") == 0,
		"warn: the reason stands behind the longest path");
	free(got);
	(void)fail(&k, "first");
	is_int(HERE, fail(&k, "second"), -1, "fail: returns -1");
	is_error(HERE, "first", "fail: the first reason is kept");
	(void)close(fd);
}

/* What a guest says in several languages comes out as it went in. */
static void test_show(void)
{
	static char in[8192];
	struct text t;
	char *got;
	size_t n;

	fresh();
	text_init(&t, in, sizeof in);
	while (text_room(&t) > 8)
		text_add(&t, "\xe2\x82\xac\r\n");
	o.log_fd = open("log", O_RDWR | O_CREAT | O_TRUNC, 0644);
	k.log = sink_open(o.log_fd);
	show(&k, -1, t.at, t.len, true);
	got = read_fd(o.log_fd, &n);
	is_int(HERE, (long long)n, (long long)t.len / 5 * 4,
	       "show: no line or letter is cut in two");
	free(got);
	(void)close(o.log_fd);
}

/* ==== Options =========================================================== */
#define W(...) .words = { "ktest", __VA_ARGS__ }
#define INT(f, v) .field = #f, .kind = 'i', .at = AT(f), .number = (v)
#define LONG(f, v) .field = #f, .kind = 'l', .at = AT(f), .number = (v)
#define STR(f, v) .field = #f, .kind = 's', .at = AT(f), .text = (v)
/* the last one of a list */
#define ITEM(f, v) .field = #f, .kind = 'L', .at = AT(f), .text = (v)
#define ERROR(v) .error = (v)
#define PROGRAM(v) .program = (v)
#define F(v) .words = { "ktest", "@args/f" }, .file = (v)

static const struct opt_case {
	const char *words[8];
	const char *error;   /* in the message; NULL: no error */
	const char *field;
	char kind;
	size_t at;
	long long number;
	const char *text;
	const char *program; /* argv[0] of what is left; NULL: nothing */
	const char *file;    /* what is in args/f */
} opt_cases[] = {
	{ W(NULL), LONG(memory, 1024) },
	{ W(NULL), STR(qemu, NULL) },
	{ W(NULL), INT(sandbox, SANDBOX_AUTO) },
	/* the syntax of Go's package flag */
	{ W("-memory", "512"), LONG(memory, 512) },
	{ W("--memory", "512"), LONG(memory, 512) },
	{ W("-memory=512"), LONG(memory, 512) },
	{ W("--memory=512"), LONG(memory, 512) },
	{ W("-memory", "512", "-memory=64"), LONG(memory, 64) },
	{ W("-cmdline=a=b"), ITEM(cmdline, "a=b") },
	{ W("-cmdline", "-v"), ITEM(cmdline, "-v") },
	{ W("-cmdline", "--"), ITEM(cmdline, "--") },
	{ W("---memory", "1"), ERROR("---memory: no such option") },
	{ W("-=1"), ERROR("-=1: no such option") },
	{ W("--=1"), ERROR("--=1: no such option") },
	{ W("-Memory", "1"), ERROR("-Memory: no such option") },
	{ W("-mem", "1"), ERROR("-mem: no such option") },
	{ W("-halt"), ERROR("-halt: no such option") },
	{ W("-memoryx", "1"), ERROR("-memoryx: no such option") },
	{ W("-h"), INT(help, 1) },
	{ W("--help"), INT(help, 1) },
	/* the next word is no value if it looks like an option */
	{ W("-snapshot", "--", "x"), ERROR("-snapshot: needs a value: FILE|auto"
					   "|none; -snapshot=-- if that is") },
	{ W("-name", "-v"), ERROR("-name: needs a value: NAME; -name=-v if") },
	{ W("-memory", "-1"), ERROR("-memory: needs a value: SIZE; -memory=-1"
				    " if that is meant") },
	{ W("-name=-v"), STR(name, "-v") },
	{ W("-snapshot=--"), STR(snapshot, "--") },
	{ W("-name", "-"), STR(name, "-") },
	{ W("-qemu-arg", "-v"), ITEM(qemu_args, "-v") },
	{ W("-qemu-arg", "--"), ITEM(qemu_args, "--") },
	{ F("-name\n--"), ERROR("args/f:2: -name: needs a value: NAME;") },
	{ F("-name -v"), STR(name, "-v") },
	/* where options end */
	{ W("prog", "-v"), INT(verbose, 0), PROGRAM("prog") },
	{ W("-v", "prog", "-n"), INT(dry_run, 0), PROGRAM("prog") },
	{ W("-", "-v"), INT(verbose, 0), PROGRAM("-") },
	{ W("--", "-v"), INT(verbose, 0), PROGRAM("-v") },
	{ W("--", "--", "x"), PROGRAM("--") },
	{ W("", "-v"), INT(verbose, 0), PROGRAM("") },
	{ W("--") },
	{ W("-v", "--"), INT(verbose, 1) },
	/* flags take a value only after '=' */
	{ W("-v"), INT(verbose, 1) },
	{ W("-v", "false"), INT(verbose, 1), PROGRAM("false") },
	{ W("-v", "-v=false"), INT(verbose, 0) },
	{ W("-v=1"), INT(verbose, 1) },
	{ W("-v=0"), INT(verbose, 0) },
	{ W("-v=t"), INT(verbose, 1) },
	{ W("-v=T"), INT(verbose, 1) },
	{ W("-v=F"), INT(verbose, 0) },
	{ W("--console=TRUE"), INT(console, 1) },
	{ W("-console=False"), INT(console, 0) },
	{ W("-n=True"), INT(dry_run, 1) },
	{ W("-version=FALSE"), INT(version, 0) },
	{ W("-v="), ERROR("-v=: is not true or false") },
	{ W("-v=yes"), ERROR("-v=yes: is not true or false") },
	{ W("-v=tRUE"), ERROR("-v=tRUE: is not true or false") },
	/* every kind with good values */
	{ W("-kernel-path", "a,b c"), STR(kernel_path, "a,b c") },
	{ W("-initrd-path", "x"), STR(initrd_path, "x") },
	{ W("-initrd-path", "x", "-initrd-path="), STR(initrd_path, NULL) },
	{ W("-cmdline="), ITEM(cmdline, "") },
	{ W("-cmdline", "a", "-cmdline", "b,c"), ITEM(cmdline, "b,c") },
	{ W("-modules", "/m"), STR(modules_dir, "/m") },
	{ W("-module", "ext4"), ITEM(modules, "ext4") },
	{ W("-env", "A=1,2"), ITEM(env, "A=1,2") },
	{ W("-cwd", "/a b"), STR(cwd, "/a b") },
	{ W("-file", "a:/b"), ITEM(files, "a:/b") },
	{ W("-qemu", "./q"), STR(qemu, "./q") },
	{ W("-qemu-arg", "-s"), ITEM(qemu_args, "-s") },
	{ W("-bios", "b"), STR(bios, "b") },
	{ W("-init", "i"), STR(init, "i") },
	{ W("-accel", "auto"), INT(accel, ACCEL_AUTO) },
	{ W("-accel", "kvm"), INT(accel, ACCEL_KVM) },
	{ W("-accel=tcg"), INT(accel, ACCEL_TCG) },
	{ W("-accel", "KVM"), ERROR("-accel KVM: is not one of auto|kvm|tcg") },
	{ W("-accel", "kvm,x"), ERROR("-accel kvm,x: is not one of") },
	{ W("-accel", "kv"), ERROR("-accel kv: is not one of") },
	{ W("-acpi", "on"), INT(acpi, ACPI_ON) },
	{ W("-acpi", "off"), INT(acpi, ACPI_OFF) },
	{ W("-acpi", "1"), ERROR("-acpi 1: is not one of auto|on|off") },
	{ W("-sandbox", "off"), INT(sandbox, SANDBOX_OFF) },
	{ W("-sandbox=on"), INT(sandbox, SANDBOX_ON) },
	{ W("-sandbox=on", "-sandbox=auto"), INT(sandbox, SANDBOX_AUTO) },
	{ W("-sandbox=1"), ERROR("-sandbox 1: is not one of auto|on|off") },
	{ W("-memory", "32M"), LONG(memory, 32) },
	{ W("-memory", "31M"), ERROR("-memory 31M: is not between 32 and "
				     "1048576 MiB") },
	{ W("-memory", "0"), ERROR("-memory 0: is not between") },
	{ W("-memory", "1T"), LONG(memory, 1048576) },
	{ W("-memory", "2T"), ERROR("-memory 2T: is not between") },
	{ W("-memory", "1k"), ERROR("-memory 1k: is not a size") },
	{ W("-cpus", "1"), LONG(cpus, 1) },
	{ W("-cpus", "255"), LONG(cpus, 255) },
	{ W("-cpus", "0"), ERROR("-cpus 0: is not between 1 and 255") },
	{ W("-cpus", "256"), ERROR("-cpus 256: is not between 1 and 255") },
	{ W("-cpus", "0x2"), ERROR("-cpus 0x2: is not a number") },
	{ W("-cpus", "2 "), ERROR("-cpus 2 : is not a number") },
	{ W("-cpus", "+2"), ERROR("-cpus +2: is not a number") },
	{ W("-cpus", "1.0"), ERROR("-cpus 1.0: is not a number") },
	{ W("-timeout", "90"), LONG(timeout, 90000) },
	{ W("-timeout", "1m30s"), LONG(timeout, 90000) },
	{ W("-timeout", "0"), LONG(timeout, 0) },
	{ W("-timeout", "soon"), ERROR("-timeout soon: is not a duration") },
	/* several kernels, and what they cannot share */
	{ W("-kernel-path", "a", "-kernel-path=b"), STR(kernel_path, "a") },
	{ W("-kernel-path", "a", "-kernel-path=b"), ITEM(kernels, "b") },
	{ W("-jobs", "256"), LONG(jobs, 256) },
	{ W("-jobs", "0"), ERROR("-jobs 0: is not between 1 and 256") },
	{ W("-each", "-junit", "r.xml"), STR(junit, "r.xml") },
	{ W("-each"), INT(each, 1) },
	{ W("-each", "-pcap", "p"),
	  ERROR("-pcap: is for one machine, not for -each") },
	{ W("-retries", "2"), LONG(retries, 2) },
	{ W("-retries", "101"), ERROR("-retries 101: is not between 0 and 100") },
	{ W("-tap"), INT(tap, 1) },
	{ W("-pcap", "p", "-kernel-path=b"), STR(pcap, "p") },
	{ W("-pcap", "p", "-kernel-path=a", "-kernel-path=b"),
	  ERROR("-pcap: is for one machine, not for several -kernel-path") },
	{ W("-kernel-path=a", "-kernel-path=b", "-netfd", "3"),
	  ERROR("-netfd: is for one machine") },
	{ W("-kernel-path=a", "-kernel-path=b", "-tty"),
	  ERROR("-tty: is for one machine, not for several -kernel-path") },
	{ W("-shell", "-kernel-path=a", "-kernel-path=b"),
	  ERROR("-shell: is for one machine, not for several -kernel-path") },
	{ W("-kernel-path=a", "-kernel-path=b", "-tty", "-tty=false"),
	  INT(tty, 0) },
	/* @FILE: its lines are words */
	{ F("-memory=512"), LONG(memory, 512) },
	{ F("-memory\n512\n"), LONG(memory, 512) },
	{ F("-memory 512\n"), LONG(memory, 512) },
	{ F(" \t--memory \t 512 \r\n"), LONG(memory, 512) },
	{ F("\n \n# -memory 1\n  # x\n-memory\n\n# y\n512"),
	  LONG(memory, 512) },
	{ F("-cmdline=a b=c "), ITEM(cmdline, "a b=c") },
	{ F("-cmdline a=b c"), ITEM(cmdline, "a=b c") },
	{ F("-cmdline\n-v x\n"), ITEM(cmdline, "-v x") },
	{ F("-cmdline\n@x\n"), ITEM(cmdline, "@x") },
	{ F("-cmdline=#x"), ITEM(cmdline, "#x") },
	{ F("-v false"), INT(verbose, 0) },
	{ F(""), INT(verbose, 0) },
	{ F("\n#"), INT(verbose, 0) },
	{ W("-memory=64", "@args/f", "-cpus=2"), .file = "-memory=512",
	  LONG(memory, 512) },
	{ W("@args/f", "-memory=64", "x"), .file = "-memory=512",
	  LONG(memory, 64), PROGRAM("x") },
	{ W("-cmdline", "@args/f"), .file = "", ITEM(cmdline, "@args/f") },
	{ W("--", "@args/f"), .file = "-v", INT(verbose, 0),
	  PROGRAM("@args/f") },
	/* and its paths are relative to it */
	{ F("-kernel-path a,b c"), STR(kernel_path, "args/a,b c") },
	{ F("-kernel-path=../k"), STR(kernel_path, "args/../k") },
	{ F("-kernel-path=/k"), STR(kernel_path, "/k") },
	{ F("-initrd-path=x"), STR(initrd_path, "args/x") },
	{ F("-initrd-path="), STR(initrd_path, NULL) },
	{ F("-modules m"), STR(modules_dir, "args/m") },
	{ F("-module m"), ITEM(modules, "m") },
	{ F("-cwd ."), STR(cwd, "args/.") },
	{ F("-file a:/b"), ITEM(files, "args/a:/b") },
	{ F("-init i"), STR(init, "args/i") },
	{ F("-qemu q"), STR(qemu, "q") },
	{ F("-qemu ./q"), STR(qemu, "args/./q") },
	{ F("-bios b"), STR(bios, "b") },
	{ F("-bios b/c"), STR(bios, "args/b/c") },
	{ F("-port-file p"), STR(port_file, "args/p") },
	{ F("-pcap p"), STR(pcap, "args/p") },
	{ F("-link l"), ITEM(links, "args/l") },
	{ F("-chardev n=f=g"), ITEM(chardevs, "n=args/f=g") },
	{ F("-chardev n=3"), ITEM(chardevs, "n=3") },
	{ F("-chardev n=/3"), ITEM(chardevs, "n=/3") },
	{ F("-chardev n=unix:s"), ITEM(chardevs, "n=unix:args/s") },
	{ F("-gdb 1234"), STR(gdb, "1234") },
	{ F("-gdb unix:a=b"), STR(gdb, "unix:args/a=b") },
	{ F("-gdb unix:/s"), STR(gdb, "unix:/s") },
	{ W("@f"), .file = "", ERROR("@FILE f: No such file") },
	/* it may hold the program, and what follows is the program's */
	{ F("x\n-v"), INT(verbose, 0), PROGRAM("x") },
	{ F("--\n-x\n-v"), INT(verbose, 0), PROGRAM("-x") },
	{ F("-v\n./x"), INT(verbose, 1), PROGRAM("args/./x") },
	{ F("/x"), PROGRAM("/x") },
	{ F("--"), PROGRAM(NULL) },
	{ W("@args/f", "-v", "x/y"), .file = "--", INT(verbose, 0),
	  PROGRAM("-v") },
	{ W("@args/f", "./x"), .file = "--", PROGRAM("./x") },
	/* what is wrong is told with its place */
	{ F("-memory"), ERROR("args/f:1: -memory: needs a value: SIZE") },
	{ W("@args/f", "512"), .file = "-memory",
	  ERROR("args/f:1: -memory: needs a value") },
	{ F("\n\n-memory x"), ERROR("args/f:3: -memory x: is not a size") },
	{ F("#\n-memory\nx"), ERROR("args/f:3: -memory x: is not a size") },
	{ F("-v\n-nope 3"), ERROR("args/f:2: -nope 3: no such option") },
	{ F("-memory = 3"), ERROR("args/f:1: -memory = 3: is not a size") },
	{ F("@"), ERROR("args/f:1: @FILE: the name is missing") },
	{ F("\n@no"), ERROR("args/f:2: @FILE args/no: No such file") },
	{ F("@f"), ERROR("args/f:1: @FILE args/f: includes itself") },
	{ F("@../args/./f"), ERROR("args/f:1: @FILE args/../args/./f: "
				   "includes itself") },
	{ F("@to-f"), ERROR("args/to-f:2: @FILE args/../args/f: includes "
			    "itself") },
	{ F("@nul"), ERROR("args/f:1: args/nul:3: has a NUL byte") },
	{ F("@."), ERROR("args/f:1: @FILE args/.: is a directory") },
	{ W("@fifo"), ERROR("@FILE fifo: is a device, not a file") },
	{ W("@"), ERROR("@FILE: the name is missing") },
	{ F("@deep/14"), LONG(memory, 77) },
	{ F("@deep/15"), ERROR("args/deep/1:1: @FILE args/deep/0: too many "
			       "FILEs in each other (limit 16)") },
};

static void check_field(int line, const struct opt_case *c, const char *name)
{
	const char *field = (const char *)&o + c->at;
	const struct ktest_list *list = (const void *)field;
	const void *at = field;

	if (c->kind == 'i')
		field_int(line, c->field, *(const int *)at, c->number, name);
	else if (c->kind == 'l')
		field_int(line, c->field, *(const long long *)at, c->number,
			  name);
	else if (c->kind == 's')
		field_text(line, c->field, *(const char *const *)at, c->text,
			   name);
	else if (c->kind == 'L')
		field_text(line, c->field, list->count == 0 ? NULL
			   : list->item[list->count - 1], c->text, name);
}

static void test_opt_cases(void)
{
	for (size_t i = 0; i < COUNT(opt_cases); i++) {
		const struct opt_case *c = &opt_cases[i];
		char *argv[9], name[128];
		struct text t;
		size_t n;

		text_init(&t, name, sizeof name);
		text_add(&t, "options:");
		for (n = 0; n < COUNT(c->words) && c->words[n] != NULL; n++) {
			argv[n] = word(c->words[n]);
			if (n > 0)
				text_printf(&t, " '%s'", c->words[n]);
		}
		argv[n] = NULL;
		if (c->file != NULL) {
			text_printf(&t, " '%s'", c->file);
			make_text("args/f", c->file);
		}
		fresh();
		is_int(HERE, opt_parse(&k, &o, argv),
		       c->error != NULL ? -1 : 0, name);
		if (!is_error(HERE, c->error, name) || c->error != NULL)
			continue;
		check_field(HERE, c, name);
		is_text(HERE, o.argv != NULL ? o.argv[0] : NULL, c->program,
			name);
	}
}

/* Every option of the table with one bad value; what has to be in the error
 * for each kind, NULL where the value is a good one. */
static const struct {
	const char *value; /* NULL: missing */
	const char *string, *list, *choice, *size, *count, *duration;
} bad_values[] = {
	{ NULL, "needs a value", "needs a value", "needs a value",
	  "needs a value", "needs a value", "needs a value" },
	{ "", "is empty", "is empty", "is empty", "is empty", "is empty",
	  "is empty" },
	{ "x,y", NULL, NULL, "is not one of", "is not a size",
	  "is not a number", "is not a duration" },
	{ "-1", "needs a value", "needs a value", "needs a value",
	  "needs a value", "needs a value", "needs a value" },
	{ "99999999999999999999", NULL, NULL, "is not one of",
	  "is not a size", "is not a number", "is not a duration" },
	{ "9223372036854775807", NULL, NULL, "is not one of",
	  "is not a size", "is not a number", "is not a duration" },
	{ "999999999999", NULL, NULL, "is not one of", "is not between",
	  "is not between", "is not a duration" },
	{ "\xff\033\n", NULL, NULL, "is not one of", "is not a size",
	  "is not a number", "is not a duration" },
};

static const char *bad_error(size_t i, const struct opt *opt)
{
	if ((opt->is & EMPTY) != 0 && bad_values[i].value != NULL
	    && bad_values[i].value[0] == '\0')
		return NULL;
	if ((opt->is & DASHES) != 0 && bad_values[i].value != NULL
	    && bad_values[i].value[0] == '-')
		return NULL;
	switch (opt->kind) {
	case OPT_STRING: return bad_values[i].string;
	case OPT_LIST: return bad_values[i].list;
	case OPT_CHOICE: return bad_values[i].choice;
	case OPT_SIZE: return bad_values[i].size;
	case OPT_COUNT: return bad_values[i].count;
	default: return bad_values[i].duration;
	}
}

static void test_opt_bad(const struct opt *opt)
{
	char dashed[64], *argv[] = { word("ktest"), dashed, NULL, NULL };

	(void)snprintf(dashed, sizeof dashed, "-%s", opt->name);
	for (size_t i = 0; opt->kind != OPT_MAYBE && i < COUNT(bad_values);
	     i++) {
		const char *error = bad_error(i, opt);
		const char *name = name_of("options: -%s with bad value %zu",
					   opt->name, i);

		argv[2] = word(bad_values[i].value);
		fresh();
		(void)opt_parse(&k, &o, argv);
		if (is_error(HERE, error, name) && error != NULL)
			is_true(HERE, strncmp(k.error, dashed,
					      strlen(dashed)) == 0, name);
	}
}

static void test_opt_long(const struct opt *opt)
{
	static char at[2 * PATH_SIZE];
	char *argv[] = { word("ktest"), at, NULL };
	int head = snprintf(at, sizeof at, "-%s=", opt->name), result;
	const char *name = name_of("options: -%s with a value of 4096 bytes",
				   opt->name);

	fresh();
	(void)snprintf(at + head, sizeof at - (size_t)head, "%s",
		       many('1', PATH_SIZE));
	result = opt_parse(&k, &o, argv);
	is_int(HERE, result, opt->kind == OPT_LIST && (opt->is & PATH_ALL) == 0
	       ? 0 : -1, name);
	is_true(HERE, strlen(k.error) < 300, name);
	if (opt->kind != OPT_STRING)
		return;
	fresh();
	at[head + PATH_SIZE - 1] = '\0';
	is_int(HERE, opt_parse(&k, &o, argv), 0,
	       name_of("options: -%s with a value of 4095", opt->name));
}

static void test_opt_many(const struct opt *opt)
{
	static char *argv[LIST_MAX + 3];
	char value[64];

	(void)snprintf(value, sizeof value, "-%s=x", opt->name);
	argv[0] = word("ktest");
	for (size_t i = 1; i <= LIST_MAX; i++)
		argv[i] = value;
	argv[LIST_MAX + 1] = NULL;
	fresh();
	is_int(HERE, opt_parse(&k, &o, argv), 0,
	       name_of("options: -%s 256 times", opt->name));
	argv[LIST_MAX + 1] = value;
	fresh();
	(void)opt_parse(&k, &o, argv);
	is_error(HERE, "is one too many (limit 256)",
		 name_of("options: -%s 257 times", opt->name));
}

/* What the words of FILEs and of the command line come to, in their order. */
static void test_opt_file_words(void)
{
	static char *many_words[LIST_MAX + 3];
	char *argv[] = { word("ktest"), word("@args/f"), word("@4"),
			 word("-5"), word("--"), NULL };
	static const char *const want[] = { "args/./x", "@1", "2 -v", "./3",
					    "@4", "-5", "--" };
	size_t i;

	make_text("args/f", "@g\n 2 -v\n./3\n");
	make_text("args/g", "-cpus 3\n--\n./x\n@1\n");
	fresh();
	is_int(HERE, opt_parse(&k, &o, argv), 0, "@FILE: its program");
	for (i = 0; i < COUNT(want); i++)
		is_text(HERE, o.argv[i], want[i], "@FILE: its program's words");
	is_true(HERE, o.argv[i] == NULL, "@FILE: no word more");
	is_int(HERE, o.cpus, 3, "@FILE: and the options before it");

	many_words[0] = word("ktest");
	many_words[1] = word("@args/f");
	for (i = 2; i <= LIST_MAX; i++)
		many_words[i] = word("w");
	make_text("args/f", "x");
	fresh();
	is_int(HERE, opt_parse(&k, &o, many_words), 0, "@FILE: 256 words");
	many_words[LIST_MAX + 1] = word("w");
	fresh();
	(void)opt_parse(&k, &o, many_words);
	is_error(HERE, "w: is one argument too many (limit 256",
		 "@FILE: 257 words");
}

/* The texts of all FILEs, with the paths in them, have one place. */
static void test_opt_file_room(void)
{
	static char text[KTEST_FILES_SIZE + 1];
	char *argv[] = { word("ktest"), word("@args/f"), NULL };
	size_t n;

	memset(text, '\n', KTEST_FILES_SIZE - 2);
	make_text("args/f", text);
	fresh();
	is_int(HERE, opt_parse(&k, &o, argv), 0, "@FILE: as long as it may be");
	text[KTEST_FILES_SIZE - 2] = '\n';
	make_text("args/f", text);
	fresh();
	(void)opt_parse(&k, &o, argv);
	is_error(HERE, "@FILE args/f: is too long (limit 32768",
		 "@FILE: longer");
	for (n = 20; n > 0; n--) { /* the path needs 7 bytes */
		char *end = text + KTEST_FILES_SIZE - n - 8;

		memset(text, '\n', sizeof text);
		(void)strcpy(end, "-init=i");
		make_text("args/f", text);
		fresh();
		if (opt_parse(&k, &o, argv) < 0)
			break;
		is_text(HERE, o.init, "args/i", "@FILE: a path at its end");
	}
	is_int(HERE, (long long)n, 7, "@FILE: no room for a path");
	is_error(HERE, ": i: is too long (limit 32768 bytes for all FILEs)",
		 "@FILE: no room for a path");
}

static void test_options(void)
{
	char *none[] = { NULL };

	test_opt_cases();
	test_opt_file_words();
	test_opt_file_room();
	for (size_t i = 0; i < COUNT(opt_table); i++) {
		const struct opt *opt = &opt_table[i];

		if (opt->name == NULL)
			continue;
		test_opt_long(opt);
		if (opt->kind != OPT_FLAG)
			test_opt_bad(opt);
		if (opt->kind == OPT_LIST)
			test_opt_many(opt);
	}
	fresh();
	is_int(HERE, opt_parse(&k, &o, none), 0, "options: no argv[0]");
}

static void test_defaults(void)
{
	(void)setenv("KTEST_KERNEL", "kk", 1);
	(void)setenv("KTEST_QEMU", "qq", 1);
	fresh();
	is_text(HERE, o.kernel_path, "kk", "defaults: $KTEST_KERNEL");
	is_text(HERE, o.qemu, "qq", "defaults: $KTEST_QEMU");
	(void)setenv("KTEST_KERNEL", "", 1);
	(void)setenv("KTEST_QEMU", "", 1);
	fresh();
	is_text(HERE, o.kernel_path, NULL, "defaults: empty $KTEST_KERNEL");
	is_text(HERE, o.qemu, NULL, "defaults: empty $KTEST_QEMU");
	(void)unsetenv("KTEST_KERNEL");
	(void)unsetenv("KTEST_QEMU");
}

/* Usage names every option and every exit status, in 80 columns. */
static void test_usage(void)
{
	FILE *f = fopen("usage", "w+");
	char line[256], left[64];
	bool fits = true, all = true;
	char *text;
	size_t n;

	ktest_usage(f);
	(void)fflush(f);
	text = read_fd(fileno(f), &n);
	for (size_t i = 0; i < COUNT(opt_table); i++) {
		(void)snprintf(left, sizeof left, "\n  -%s ",
			       opt_table[i].name != NULL ? opt_table[i].name
							 : "memory");
		all = all && strstr(text, left) != NULL;
	}
	rewind(f);
	while (fgets(line, sizeof line, f) != NULL)
		fits = fits && strlen(line) <= 80;
	is_true(HERE, all, "usage: every option");
	is_true(HERE, fits, "usage: in 80 columns");
	is_true(HERE, strstr(text, "124") != NULL && strstr(text, "125")
		!= NULL, "usage: exit statuses");
	free(text);
	(void)fclose(f);
}

static const struct {
	const char *in;
	long long want; /* -1: refused */
} size_table[] = {
	{ "1", 1 }, { "0", 0 }, { "007", 7 }, { "512M", 512 },
	{ "512m", 512 }, { "1G", 1024 }, { "1g", 1024 }, { "2T", 2097152 },
	{ "2t", 2097152 }, { "", -1 }, { "M", -1 }, { "1K", -1 },
	{ "1MB", -1 }, { "1GG", -1 }, { "1 G", -1 }, { " 1", -1 },
	{ "-1", -1 }, { "+1", -1 }, { "1.5G", -1 }, { "1,5", -1 },
	{ "0x10", -1 }, { "1 ", -1 }, { "1\r", -1 },
	{ "922337203685477579", 922337203685477579LL },
	{ "9223372036854775807G", -1 }, { "9223372036854775808", -1 },
	{ "18446744073709551617", -1 }, { "9007199254740991T", -1 },
	{ "8796093022207T", 8796093022207LL * 1048576 },
	{ "99999999999999999999999999M", -1 },
}, duration_table[] = {
	{ "90", 90000 }, { "0", 0 }, { "1s", 1000 }, { "1m30s", 90000 },
	{ "1h2m3.5s", 3723500 }, { "500ms", 500 }, { "1.5", 1500 },
	{ "1.5h", 5400000 }, { "0.25s", 250 }, { "1m1m", 120000 },
	{ "1.0019s", 1001 }, { "1.", 1000 }, { "366h", 1317600000 },
	{ "31622400", 31622400000LL }, { "31622401", -1 },
	{ "8784h", 31622400000LL },
	{ "8785h", -1 }, { "8784h1ms", -1 }, { "", -1 }, { "s", -1 },
	{ "-1", -1 }, { "-1s", -1 }, { "+1s", -1 }, { "1 s", -1 },
	{ "1x", -1 }, { "1us", -1 }, { "1d", -1 }, { "1S", -1 },
	{ "1,5s", -1 }, { "1m30", -1 }, { "0m30", -1 }, { "1e3", -1 },
	{ "9223372036854775807", -1 }, { "9223372036854775807h", -1 },
	{ "99999999999999999999s", -1 }, { "2562047788015h", -1 },
	{ "0ms", 0 }, { "0.0001s", -1 }, { "0.5ms", -1 },
};

static void test_numbers(void)
{
	long long got;

	for (size_t i = 0; i < COUNT(size_table); i++)
		is_int(HERE, parse_size(size_table[i].in, &got) ? got : -1,
		       size_table[i].want,
		       name_of("size: %s", size_table[i].in));
	for (size_t i = 0; i < COUNT(duration_table); i++)
		is_int(HERE, parse_duration(duration_table[i].in, &got)
		       ? got : -1, duration_table[i].want,
		       name_of("duration: %s", duration_table[i].in));
}

/* ==== Kernels ===========================================================
 * Images that are as small as the formats allow; each case changes some
 * bytes of a good one.
 */
enum { BZ_SIZE = 1024 + 32 * 16, ELF_SIZE = 512, NOTE_AT = 64 + 3 * 56 };

/* One sector of set-up, 32 paragraphs of kernel, the version at 0x300. */
static void make_bzimage(char *p)
{
	memset(p, 0, BZ_SIZE);
	p[0x1f1] = 1;
	put_le(p + 0x1f4, 32, 4);
	put_le(p + 0x1fe, 0xaa55, 2);
	memcpy(p + 0x202, "HdrS", 4);
	put_le(p + 0x206, 0x20f, 2);
	put_le(p + 0x20e, 0x100, 2);
	p[0x211] = 1;
	p[0x236] = 1;
	put_le(p + 0x238, 2047, 4);
	(void)strcpy(p + 0x300, "6.1.0-9-unit (build@host) #1 SMP");
}

static void make_segment(char *p, unsigned type, uint64_t offset,
			 uint64_t size)
{
	put_le(p, type, 4);
	put_le(p + 8, offset, 8);
	put_le(p + 32, size, 8);
}

/* PT_NOTE with a GNU and a PVH note, PT_LOAD with messages, PT_GNU_STACK */
static void make_elf(char *p)
{
	static const char text[] = "..Linux version 6.6.1-x_y (gcc)\n\0"
		"No config space access function found\0"
		"Unable to load the System Description Tables";

	memset(p, 0, ELF_SIZE);
	memcpy(p, "\177ELF\2\1\1", 7);
	put_le(p + 16, 2, 2);
	put_le(p + 18, 62, 2);
	put_le(p + 32, 64, 8);
	put_le(p + 54, 56, 2);
	put_le(p + 56, 3, 2);
	make_segment(p + 64, 4, NOTE_AT, 20 + 24);
	make_segment(p + 64 + 56, 1, 320, ELF_SIZE - 320);
	make_segment(p + 64 + 112, 0x6474e551, 0, 0);
	put_le(p + NOTE_AT, 4, 4);          /* GNU, 5 bytes in 8 */
	put_le(p + NOTE_AT + 4, 4, 4);
	put_le(p + NOTE_AT + 8, 3, 4);
	memcpy(p + NOTE_AT + 12, "GNU", 4);
	put_le(p + NOTE_AT + 20, 4, 4);     /* Xen, the entry point */
	put_le(p + NOTE_AT + 24, 8, 4);
	put_le(p + NOTE_AT + 28, 18, 4);
	memcpy(p + NOTE_AT + 32, "Xen", 4);
	memcpy(p + 320, text, sizeof text);
}

/* Bytes of a good image that are overwritten; NULL: none of what it says. */
static const struct kernel_case {
	const char *name;
	bool elf;
	size_t at, bytes;
	uint64_t value;
	const char *error;
} kernel_cases[] = {
	{ "bzImage", false, 0, 0, 0, NULL },
	{ "bzImage, no version", false, 0x20e, 2, 0, NULL },
	{ "bzImage, version behind its end", false, 0x20e, 2, 0xffff, NULL },
	{ "bzImage, version at its end", false, 0x20e, 2, BZ_SIZE - 0x201,
	  NULL },
	{ "bzImage, endless version", false, 0x300, 1, 'x', NULL },
	{ "bzImage, no command line size", false, 0x238, 4, 0, NULL },
	{ "bzImage, huge command line size", false, 0x238, 4, 0xffffffff,
	  NULL },
	{ "bzImage, protocol 2.12", false, 0x206, 2, 0x20c, NULL },
	{ "bzImage, protocol 2.11", false, 0x206, 2, 0x20b, "is too old" },
	{ "zImage", false, 0x211, 1, 0, "is too old" },
	{ "bzImage, 32-bit", false, 0x236, 1, 0, NULL },
	{ "bzImage, a byte more claimed", false, 0x1f4, 4, 33,
	  "is truncated: 1536 bytes, its header says 1552" },
	{ "bzImage, 64 GiB claimed", false, 0x1f4, 4, 0xffffffff,
	  "is truncated" },
	{ "bzImage, 255 sectors of set-up", false, 0x1f1, 1, 255,
	  "is truncated" },
	{ "bzImage, 0 sectors mean 4", false, 0x1f1, 1, 0,
	  "is truncated: 1536 bytes, its header says 3072" },
	{ "no boot flag", false, 0x1fe, 2, 0, "is neither" },
	{ "no magic", false, 0x202, 1, 'h', "is neither" },
	{ "MZ without Linux", false, 0, 2, 0x5a4d, NULL },
	{ "ELF", true, 0, 0, 0, NULL },
	{ "ELF, machine i386", true, 18, 2, 3, NULL },
	{ "ELF, arm64", true, 18, 2, 183, "is a vmlinux for aarch64, which"
	  " QEMU does not start (take arch/arm64/boot/Image)" },
	{ "ELF, machine 0", true, 18, 2, 0, "another architecture" },
	{ "ELF, big endian", true, 5, 1, 2, "(machine 15872)" },
	{ "ELF, class 3", true, 4, 1, 3, "without a PVH note" },
	{ "ELF, class 0", true, 4, 1, 0, "without a PVH note" },
	{ "ELF, no program headers", true, 56, 2, 0, "without a PVH note" },
	{ "ELF, headers of 55 bytes", true, 54, 2, 55, "is truncated" },
	{ "ELF, headers of 0 bytes", true, 54, 2, 0, "is truncated" },
	{ "ELF, headers of 65535 bytes", true, 54, 2, 65535,
	  "is truncated" },
	{ "ELF, table at the end", true, 32, 8, ELF_SIZE,
	  "is truncated" },
	{ "ELF, table behind the end", true, 32, 8, ELF_SIZE + 1,
	  "is truncated" },
	{ "ELF, table at 2^64-1", true, 32, 8, UINT64_MAX,
	  "is truncated" },
	{ "ELF, table at 2^64-56", true, 32, 8, UINT64_MAX - 55,
	  "is truncated" },
	{ "ELF, table at 2^63", true, 32, 8, 1ull << 63,
	  "is truncated" },
	{ "ELF, segment at 2^64-1", true, 64 + 8, 8, UINT64_MAX,
	  "is truncated" },
	{ "ELF, segment at 2^64-16", true, 64 + 8, 8, UINT64_MAX - 15,
	  "is truncated" },
	{ "ELF, segment of 2^64-1 bytes", true, 64 + 32, 8, UINT64_MAX,
	  "is truncated" },
	{ "ELF, last segment a byte too long", true, 64 + 56 + 32, 8,
	  ELF_SIZE - 319, "is truncated: 512 bytes, its headers say more" },
	{ "ELF, an empty segment at the end", true, 64 + 112 + 8, 8, ELF_SIZE,
	  NULL },
	{ "ELF, an empty segment behind it", true, 64 + 112 + 8, 8,
	  ELF_SIZE + 1, "is truncated" },
	{ "ELF, the notes end in the first", true, 64 + 32, 8, 19,
	  "without a PVH note" },
	{ "ELF, the notes end before the name", true, 64 + 32, 8, 20 + 15,
	  "without a PVH note" },
	{ "ELF, note with a name of 2^32-1", true, NOTE_AT, 4, 0xffffffff,
	  "without a PVH note" },
	{ "ELF, note of 2^32-1 bytes", true, NOTE_AT + 4, 4, 0xffffffff,
	  "without a PVH note" },
	{ "ELF, another owner's note", true, NOTE_AT + 32, 4, 0x6e6558,
	  NULL },
	{ "ELF, an owner that begins with Xen", true, NOTE_AT + 32, 4,
	  0x216e6558, "without a PVH note" },
	{ "ELF, another Xen note", true, NOTE_AT + 28, 4, 17,
	  "without a PVH note" },
	{ "ELF, no note segment", true, 64, 4, 1, "without a PVH note" },
};

static void test_kernel_cases(void)
{
	static char image[BZ_SIZE];

	for (size_t i = 0; i < COUNT(kernel_cases); i++) {
		const struct kernel_case *c = &kernel_cases[i];
		struct kernel kernel;
		struct map m;
		int result;

		(c->elf ? make_elf : make_bzimage)(image);
		put_le(image + c->at, c->value, c->bytes);
		m = map_copy(image, c->elf ? ELF_SIZE : BZ_SIZE);
		fresh();
		result = kernel_parse(&k, "K", &m, &kernel);
		is_int(HERE, result, c->error != NULL ? -1 : 0,
		       name_of("kernel: %s", c->name));
		is_error(HERE, c->error, name_of("kernel: %s", c->name));
		map_free(&m);
	}
}

/* No part of a kernel is a kernel, and none is read behind its end. */
static void test_kernel_truncated(void)
{
	static char image[BZ_SIZE];

	for (int elf = 0; elf < 2; elf++) {
		size_t size = elf ? ELF_SIZE : BZ_SIZE, n;
		bool refused = true;

		(elf ? make_elf : make_bzimage)(image);
		for (n = 0; n < size && refused; n++) {
			struct kernel kernel;
			struct map m = map_copy(image, n);

			fresh();
			refused = kernel_parse(&k, "K", &m, &kernel) < 0
				  && k.error[0] != '\0';
			map_free(&m);
		}
		if (!is_true(HERE, refused, elf
			     ? "kernel: ELF truncated at every length"
			     : "kernel: bzImage truncated at every length"))
			(void)printf("# taken with %zu bytes\n", n - 1);
	}
}

static const struct {
	const char *file;
	size_t size;
	const char *error;
} other_table[] = {
	{ "", 0, "-kernel-path K: is empty" },
	{ "x", 1, "is neither a bzImage nor an Image nor an ELF" },
	{ "\177EL", 3, "is neither a bzImage" },
	{ "\177ELF", 4, "is a truncated ELF" },
	{ "\x28\xb5\x2f", 3, "is neither" },
	{ "070701", 6, "is an initramfs" },
	{ "#!/bin/sh\n", 10, "is a script" },
	{ "MZ", 2, "is an EFI program" },
	{ "\x27\x05\x19\x56", 4, "is a U-Boot image" },
};

static void test_kernel_other(void)
{
	for (size_t i = 0; i < COUNT(other_table); i++) {
		struct kernel kernel;
		struct map m = map_copy(other_table[i].file,
					other_table[i].size);

		fresh();
		(void)kernel_parse(&k, "K", &m, &kernel);
		is_error(HERE, other_table[i].error,
			 name_of("kernel: instead: %s", other_table[i].error));
		map_free(&m);
	}
}

/* Images of other architectures: a magic word, and text somewhere. */
static const struct image_case {
	const char *name;
	size_t at;
	const char *magic, *text;
	size_t text_at, size;
	enum machine_row machine;
	const char *version, *error;
} image_cases[] = {
#define SAYS "Linux version 6.12.1-a+b (x"
	{ "arm64", 56, "ARMd", SAYS, 100, 4096, ARM64, "6.12.1-a+b", NULL },
	{ "arm64, behind a format", 56, "ARMd", "Linux version %s" SAYS, 99,
	  4096, ARM64, "6.12.1-a+b", NULL },
	{ "arm64, text cut off", 56, "ARMd", SAYS, 50, 64, ARM64, NULL,
	  "-kernel-path K: is truncated, or no kernel" },
	{ "arm64, a banner at its end", 56, "ARMd", "Linux version ", 100, 114,
	  ARM64, NULL, "is truncated, or no kernel" },
	{ "arm64, cut off in its header", 56, "ARMd", "", 0, 63, ARM64, NULL,
	  "is neither" },
	{ "riscv64", 56, "RSC\005", SAYS, 4000, 4096, RISCV64, "6.12.1-a+b",
	  NULL },
	{ "s390x", 0x10008, "S390EP", "6.12.1-s (x", 0x11000, 0x11100, S390X,
	  "6.12.1-s", NULL },
	{ "s390x, its version cut off", 0x10008, "S390EP", "6", 0x11000,
	  0x11000, S390X, NULL, "is truncated, or no kernel" },
	{ "s390x, cut off in its header", 0x10008, "S390EP", "", 0, 0x1043f,
	  S390X, NULL, "is truncated, or no kernel" },
};

static void test_kernel_images(void)
{
	static char image[0x12000];

	for (size_t i = 0; i < COUNT(image_cases); i++) {
		const struct image_case *c = &image_cases[i];
		const char *name = name_of("image: %s", c->name);
		struct kernel kernel;
		struct map m;

		memset(image, 0, sizeof image);
		memcpy(image + c->text_at, c->text, strlen(c->text));
		memcpy(image + c->at, c->magic, strlen(c->magic));
		if (c->machine == S390X) { /* big endian */
			image[0x1042d] = 1;
			image[0x1042e] = 0x10;
			image[0x10436] = 0x10;
		}
		m = map_copy(image, c->size);
		fresh();
		is_int(HERE, kernel_parse(&k, "K", &m, &kernel),
		       c->error != NULL ? -1 : 0, name);
		is_error(HERE, c->error, name);
		map_free(&m);
		if (c->error != NULL)
			continue;
		is_int(HERE, (long long)kernel.machine, (long long)c->machine,
		       name);
		is_text(HERE, kernel.version, c->version, name);
		is_int(HERE, (long long)kernel.cmdline_max,
		       c->machine == ARM64 ? 2047 : c->machine == S390X ? 4095
		       : 1023, name);
		/* packed, of which no more is unpacked than says so */
		make_file("image", image, sizeof image, 0644);
		(void)!system("gzip -c image >image.gz");
		kernel = (struct kernel){ .tool = "gzip" };
		is_int(HERE, (long long)kernel_peek(&k, "image.gz", &kernel),
		       (long long)c->machine, name);
	}
}

/* What is packed in an EFI program, by its header. */
static void test_kernel_zboot(void)
{
	static const struct {
		const char *name;
		uint64_t offset, length;
		const char *magic, *error;
	} cases[] = {
		{ "gzip", 100, 20, "\x1f\x8b", NULL },
		{ "to the end", 100, 156, "\x28\xb5\x2f\xfd", NULL },
		{ "a byte more", 100, 157, "\x1f\x8b", "is an EFI program" },
		{ "behind the end", 257, 1, "\x1f\x8b", "is an EFI program" },
		{ "of 2^32-1", 100, 0xffffffff, "\x1f\x8b", "is an EFI" },
		{ "not packed", 100, 20, "none", "is an EFI program" },
	};
	char image[256];

	for (size_t i = 0; i < COUNT(cases); i++) {
		const char *name = name_of("zboot: %s", cases[i].name);
		struct kernel kernel;
		struct map m;

		memset(image, 0, sizeof image);
		memcpy(image, "MZ\0\0zimg", 8);
		put_le(image + 8, cases[i].offset, 4);
		put_le(image + 12, cases[i].length, 4);
		memcpy(image + 100, cases[i].magic, strlen(cases[i].magic));
		m = map_copy(image, sizeof image);
		fresh();
		(void)kernel_parse(&k, "K", &m, &kernel);
		if (is_error(HERE, cases[i].error, name)
		    && cases[i].error == NULL)
			is_true(HERE, kernel.wrapped && kernel.tool != NULL
				&& kernel.at == 100
				&& kernel.size == cases[i].length, name);
		map_free(&m);
	}
}

static void parse_image(struct kernel *kernel, const char *image, size_t n)
{
	struct map m = map_copy(image, n);

	fresh();
	(void)kernel_parse(&k, "K", &m, kernel);
	is_error(HERE, NULL, "kernel: is taken");
	map_free(&m);
}

static void test_kernel_facts(void)
{
	static char image[BZ_SIZE];
	struct kernel kernel;

	make_bzimage(image);
	parse_image(&kernel, image, BZ_SIZE);
	is_text(HERE, kernel.version, "6.1.0-9-unit", "bzImage: version");
	is_true(HERE, kernel.is64 && !kernel.elf && !kernel.no_acpi,
		"bzImage: 64 bits");
	is_int(HERE, (long long)kernel.cmdline_max, 2047, "bzImage: cmdline");
	image[0x236] = 0;
	put_le(image + 0x238, 0, 4);
	(void)strcpy(image + 0x300, "../../x");
	parse_image(&kernel, image, BZ_SIZE);
	is_text(HERE, kernel.version, "..", "bzImage: a version has no '/'");
	is_true(HERE, !kernel.is64, "bzImage: 32 bits");
	is_int(HERE, (long long)kernel.cmdline_max, 2047,
	       "bzImage: cmdline of a kernel that does not say");
	memset(image + 0x300, 'v', BZ_SIZE - 0x300);
	parse_image(&kernel, image, BZ_SIZE);
	is_int(HERE, (long long)strlen(kernel.version), 127,
	       "bzImage: a version that does not end");
	make_elf(image);
	parse_image(&kernel, image, ELF_SIZE);
	is_text(HERE, kernel.version, "6.6.1-x_y", "ELF: version");
	is_true(HERE, kernel.is64 && kernel.elf && !kernel.no_acpi,
		"ELF: 64 bits, ACPI");
	image[320 + 35] = 'X'; /* "No config ..." */
	parse_image(&kernel, image, ELF_SIZE);
	is_true(HERE, kernel.no_pci && !kernel.no_acpi, "ELF: without PCI");
	put_le(image + 64 + 56, 2, 4);
	parse_image(&kernel, image, ELF_SIZE);
	is_text(HERE, kernel.version, "", "ELF: messages are in PT_LOAD");
	put_le(image + 64 + 56, 1, 4);
	memset(image + 320, 'z', ELF_SIZE - 320);
	memcpy(image + ELF_SIZE - 14, "Linux version ", 14);
	parse_image(&kernel, image, ELF_SIZE);
	is_text(HERE, kernel.version, "", "ELF: no version behind its banner");
}

/* A bzImage's payload, as its header says: one outside of the file is none. */
static const struct {
	const char *name;
	uint64_t offset, length;
	const char *magic, *tool;
	size_t size;
} payload_table[] = {
	{ "gzip", 0x20, 100, "\x1f\x8b\x08", "gzip", 100 },
	{ "xz", 0x20, 100, "\xfd" "7zXZ", "xz", 96 },
	{ "zstd", 0x20, 100, "\x28\xb5\x2f\xfd", "zstd", 96 },
	{ "lz4", 0x20, 100, "\x02\x21\x4c\x18", "lz4", 96 },
	{ "bzip2", 0x20, 100, "BZh9", "bzip2", 96 },
	{ "lzo", 0x20, 100, "\x89LZO", "lzop", 96 },
	{ "none", 0x20, 100, "ELF", NULL, 100 },
	{ "3 bytes", 0x20, 3, "BZh", NULL, 3 },
	{ "to the end", 0x20, BZ_SIZE - 1024 - 0x20, "BZh", "bzip2",
	  BZ_SIZE - 1024 - 0x24 },
	{ "a byte more", 0x20, BZ_SIZE - 1024 - 0x1f, "BZh", NULL, 0 },
	{ "behind the end", 0x10000, 100, "BZh", NULL, 100 },
	{ "at 2^32-1", 0xffffffff, 100, "BZh", NULL, 100 },
	{ "of 2^32-1", 0x20, 0xffffffff, "BZh", NULL, 0 },
};

static void test_kernel_payload(void)
{
	static char image[BZ_SIZE];
	struct kernel kernel;

	for (size_t i = 0; i < COUNT(payload_table); i++) {
		const char *name = name_of("payload: %s",
					   payload_table[i].name);

		make_bzimage(image);
		put_le(image + 0x248, payload_table[i].offset, 4);
		put_le(image + 0x24c, payload_table[i].length, 4);
		memcpy(image + 1024 + 0x20, payload_table[i].magic,
		       strlen(payload_table[i].magic));
		parse_image(&kernel, image, BZ_SIZE);
		is_text(HERE, kernel.tool, payload_table[i].tool, name);
		if (payload_table[i].tool != NULL)
			is_int(HERE, (long long)kernel.size,
			       (long long)payload_table[i].size, name);
	}
}

enum { UKI_SIZE = 1024 + BZ_SIZE };

/* A PE file with two sections, of which the second, at 208, is .linux. */
static void make_uki(char *p)
{
	memset(p, 0, UKI_SIZE);
	memcpy(p, "MZ", 2);
	put_le(p + 0x3c, 128, 4);
	memcpy(p + 128, "PE", 2);
	put_le(p + 134, 2, 2);
	put_le(p + 148, 16, 2);
	memcpy(p + 208, ".linux", 6);
	put_le(p + 216, BZ_SIZE, 4);
	put_le(p + 224, BZ_SIZE, 4);
	put_le(p + 228, 1024, 4);
	make_bzimage(p + 1024);
}

/* Bytes of it that are overwritten, and whether it is one still. */
static const struct {
	const char *name;
	size_t at, bytes;
	uint64_t value;
	bool taken;
} uki_table[] = {
	{ "as it is", 0, 0, 0, true },
	{ "a larger VirtualSize", 216, 4, 0xffffffff, true },
	{ "a VirtualSize too small for a kernel", 216, 4, 8, false },
	{ "no PE", 128, 1, 0, false },
	{ "PE at the end", 0x3c, 4, UKI_SIZE - 24, false },
	{ "PE behind the end", 0x3c, 4, UKI_SIZE, false },
	{ "PE at 2^32-1", 0x3c, 4, 0xffffffff, false },
	{ "one section", 134, 2, 1, false },
	{ "65535 sections", 134, 2, 65535, true },
	{ "65535 bytes of options", 148, 2, 65535, false },
	{ "another name", 214, 1, '2', false },
	{ "a byte too long", 224, 4, BZ_SIZE + 1, false },
	{ "at 2^32-1", 228, 4, 0xffffffff, false },
	{ "itself inside", 228, 4, 0, false },
};

static void test_kernel_uki(void)
{
	static char image[UKI_SIZE];
	struct kernel kernel;

	for (size_t i = 0; i < COUNT(uki_table); i++) {
		const char *name = name_of("uki: %s", uki_table[i].name);
		struct map m;

		make_uki(image);
		put_le(image + uki_table[i].at, uki_table[i].value,
		       uki_table[i].bytes);
		m = map_copy(image, UKI_SIZE);
		fresh();
		if (is_int(HERE, kernel_parse(&k, "K", &m, &kernel),
			   uki_table[i].taken ? 0 : -1, name)
		    && uki_table[i].taken)
			is_text(HERE, kernel.wrapped && kernel.at == 1024
				? kernel.version : "", "6.1.0-9-unit", name);
		map_free(&m);
	}
}

/* Versions that names say, so that nothing need be unpacked to know it. */
static void test_kernel_named(void)
{
	struct kernel kernel = { 0 };

	is_true(HERE, kernel_named(&kernel, "a-9.b/vmlinux-6.4.0-1-default.xz"),
		"named: a version");
	is_text(HERE, kernel.version, "6.4.0-1-default", "named: a version");
	is_true(HERE, kernel_named(&kernel, "vmlinuz-6.8.0-31-generic"),
		"named: without a suffix");
	is_text(HERE, kernel.version, "6.8.0-31-generic",
		"named: without a suffix");
	is_true(HERE, !kernel_named(&kernel, "a-9.b/vmlinux.xz")
		&& !kernel_named(&kernel, "vmlinux-debug.xz")
		&& !kernel_named(&kernel, "vmlinux-6"), "named: none");
}

/* Which file is taken: the option, and how it is named when it is none. */
static void test_guest_kernel(void)
{
	static char image[BZ_SIZE];
	static struct guest g;

	make_bzimage(image);
	make_file("kernel,x", image, BZ_SIZE, 0644);
	fresh();
	o.kernel_path = "kernel,x";
	is_int(HERE, guest_kernel(&k, &g), 0, "guest_kernel: a file");
	is_text(HERE, g.kernel_path, "kernel,x", "guest_kernel: its path");
	o.kernel_path = "dir";
	(void)guest_kernel(&k, &g);
	is_error(HERE, "-kernel-path dir: is a directory without arch/",
		 "guest_kernel: a directory");
	fresh();
	o.kernel_path = "no";
	(void)guest_kernel(&k, &g);
	is_error(HERE, "-kernel-path no: No such file or directory",
		 "guest_kernel: no file");
}

/* ==== Modules =========================================================== */
static const struct {
	const char *path, *name;
	bool want;
} is_table[] = {
	{ "kernel/a/x.ko", "x", true }, { "x.ko", "x", true },
	{ "x.ko.xz", "x", true }, { "x.ko.zst", "x", true },
	{ "virtio-rng.ko", "virtio_rng", true },
	{ "virtio_rng.ko", "virtio-rng", true },
	{ "a-b_c.ko", "a_b-c", true }, { "xx.ko", "x", false },
	{ "x.ko", "xx", false }, { "x.kox", "x", false },
	{ "x.k", "x", false }, { "x", "x", false }, { "x/y.ko", "x", false },
	{ "x.ko/y.ko", "x", false }, { "X.ko", "x", false },
	{ ".ko", "", true }, { "", "x", false }, { "x.ko", "x.ko", false },
	{ "a/x.ko", "a/x", false },
};

static void test_module_is(void)
{
	for (size_t i = 0; i < COUNT(is_table); i++) {
		struct map m = map_copy(is_table[i].path,
					strlen(is_table[i].path));

		is_int(HERE, module_is(m.at, m.at + m.size, is_table[i].name),
		       is_table[i].want,
		       name_of("module: %s in %s", is_table[i].name,
			       is_table[i].path));
		map_free(&m);
	}
}

static const char dep_text[] =
	"kernel/d/virtio_mmio.ko: kernel/d/virtio.ko kernel/d/virtio_ring.ko\n"
	"kernel/d/virtio_console.ko: kernel/d/virtio.ko"
	" kernel/d/virtio_ring.ko\n"
	"kernel/d/virtio.ko:\nkernel/d/virtio_ring.ko:\nkernel/first.ko:\n"
	"kernel/fs/mbcache.ko.xz:\nkernel/lib/crc16.ko.xz:\nkernel/snd/snd.ko:\n"
	"kernel/fs/ext4.ko.xz: kernel/fs/mbcache.ko.xz kernel/fs/jbd2.ko.xz"
	" kernel/lib/crc16.ko.xz\n"
	"kernel/fs/jbd2.ko.xz: kernel/lib/crc16.ko.xz\n"
	"kernel/snd/snd-hda.ko:  kernel/snd/snd.ko \n"
	"kernel/soft.ko: kernel/first.ko\n"
	"kernel/aliased.ko:\nkernel/after.ko:\n"
	"kernel/last.ko: kernel/first.ko";
static const char soft_text[] =
	"# comment\nsoftdep other pre: nope\nsoftdep softer pre: nope\n"
	"softdep soft pre: crc_32 loop gone post: after\nsoftdep soft last";
static const char alias_text[] =
	"alias pci:v* last\nalias crc-32 aliased\nalias crc-32 soft\n"
	"alias by_alias aliased\nalias by_alias after\nalias by_alias gone\n"
	"alias gone crc-32\n";
static const char builtin_text[] =
	"kernel/c/virtio-rng.ko\nkernel/c/loop.ko\nkernel/c/tail.ko";

#define OURS "kernel/d/virtio_ring.ko\nkernel/d/virtio.ko\n" \
	"kernel/d/virtio_mmio.ko\nkernel/d/virtio_console.ko\n"
static const struct {
	const char *asked[3];
	const char *want, *error;
} plan_table[] = {
	{ { NULL }, OURS, NULL },
	{ { "ext4" }, OURS "kernel/lib/crc16.ko.xz\nkernel/fs/jbd2.ko.xz\n"
	  "kernel/fs/mbcache.ko.xz\nkernel/fs/ext4.ko.xz\n", NULL },
	{ { "jbd2", "ext4" }, OURS "kernel/lib/crc16.ko.xz\n"
	  "kernel/fs/jbd2.ko.xz\nkernel/fs/mbcache.ko.xz\n"
	  "kernel/fs/ext4.ko.xz\n", NULL },
	{ { "snd_hda", "snd-hda" }, OURS "kernel/snd/snd.ko\n"
	  "kernel/snd/snd-hda.ko\n", NULL },
	{ { "last" }, OURS "kernel/first.ko\nkernel/last.ko\n", NULL },
	{ { "loop", "virtio_rng", "tail" }, OURS, NULL },
	{ { "virtio_mmio" }, OURS, NULL },
	{ { "soft" }, OURS "kernel/first.ko\n-kernel/aliased.ko\nkernel/soft.ko\n"
	  "-kernel/after.ko\n", NULL },
	{ { "by-alias" }, OURS "-kernel/first.ko\n-kernel/soft.ko\n"
	  "-kernel/after.ko\n-kernel/aliased.ko\n", NULL },
	{ { "last:a=1", "last:b=x y" }, OURS "kernel/first.ko\n"
	  "kernel/last.ko\ta=1 b=x y\n", NULL },
	{ { "loop:a=1" }, NULL, "is built in, say -cmdline loop.PARAM=VALUE" },
	{ { "last:a\nb" }, NULL, "has a tab or a newline" },
	{ { "nope" }, NULL, "-module nope: is not in mods" },
	{ { "crc7" }, NULL, "-module crc7: is not in mods" },
	{ { "ext4.ko" }, NULL, "-module ext4.ko: No such file" },
	{ { "fs/ext4" }, NULL, "-module fs/ext4: No such file" },
};

static void test_modules_plan(void)
{
	static struct guest g;

	make_directory("mods");
	make_text("mods/modules.dep", dep_text);
	make_text("mods/modules.builtin", builtin_text);
	make_text("mods/modules.softdep", soft_text);
	make_text("mods/modules.alias", alias_text);
	for (size_t i = 0; i < COUNT(plan_table); i++) {
		const char *name = name_of("modules: plan for %s",
			plan_table[i].asked[0] == NULL ? "our ports"
			: plan_table[i].asked[0]);

		fresh();
		(void)strcpy(g.modules_dir, "mods");
		while (o.modules.count < 3
		       && plan_table[i].asked[o.modules.count] != NULL) {
			o.modules.item[o.modules.count] =
				plan_table[i].asked[o.modules.count];
			o.modules.count++;
		}
		(void)modules_plan(&k, &g);
		if (is_error(HERE, plan_table[i].error, name)
		    && plan_table[i].want != NULL)
			is_text(HERE, g.modules, plan_table[i].want, name);
	}
}

/* 9p and what it needs come with a mount, or the kernel has none. */
static void test_modules_9p(void)
{
	static struct guest g;

	make_directory("mods9");
	make_text("mods9/modules.dep", "k/9p.ko.xz: k/9pnet.ko k/netfs.ko\n"
		  "k/9pnet_virtio.ko: k/9pnet.ko\nk/9pnet.ko:\nk/netfs.ko:\n");
	make_text("mods9/modules.builtin", "");
	fresh();
	(void)strcpy(g.modules_dir, "mods9");
	g.mount_count = 1;
	is_int(HERE, modules_plan(&k, &g), 0, "modules: 9p");
	is_text(HERE, g.modules, "k/9pnet.ko\nk/9pnet_virtio.ko\n"
		"k/netfs.ko\nk/9p.ko.xz\n", "modules: 9p, no overlay");
	(void)strcpy(g.modules_dir, "mods");
	(void)strcpy(g.kernel.version, "1.2");
	o.rootfs = "/";
	is_int(HERE, modules_plan(&k, &g), -1, "modules: no 9p");
	is_error(HERE, "-rootfs: kernel 1.2 has no 9p (CONFIG_9P_FS,"
		 " CONFIG_NET_9P_VIRTIO): not in mods", "modules: no 9p");
}

/* More modules than fit are an error; so is a modules.dep that is gone. */
static void test_modules_limits(void)
{
	static struct guest g;
	char line[128];
	FILE *f;

	make_directory("huge");
	f = fopen("huge/modules.dep", "w");
	(void)fputs("all.ko:", f);
	for (int i = 0; i < 500; i++) {
		(void)snprintf(line, sizeof line, " kernel/%030d.ko", i);
		(void)fputs(line, f);
	}
	(void)fputs("\n", f);
	(void)fclose(f);
	fresh();
	(void)strcpy(g.modules_dir, "huge");
	o.modules.item[o.modules.count++] = "all";
	is_int(HERE, modules_plan(&k, &g), -1, "modules: too many");
	is_error(HERE, "-module: too many modules (limit 16384 bytes",
		 "modules: too many");
	fresh();
	(void)strcpy(g.modules_dir, "no");
	is_int(HERE, modules_plan(&k, &g), -1, "modules: no directory");
	make_file("huge/modules.dep", "", 0, 0644);
	fresh();
	(void)strcpy(g.modules_dir, "huge");
	is_int(HERE, modules_plan(&k, &g), 0, "modules: empty modules.dep");
	is_text(HERE, g.modules, "", "modules: empty modules.dep");
	make_file("huge/modules.dep", "virtio_mmio.ko: a\0b.ko\n", 23, 0644);
	fresh();
	o.modules.item[o.modules.count++] = "virtio_mmio";
	if (modules_plan(&k, &g) == 0)
		is_true(HERE, strstr(g.modules, "virtio_mmio.ko") != NULL,
			"modules: a NUL in modules.dep hides none");
	else
		is_error(HERE, "modules.dep", "modules: a NUL is refused");
}

static const struct {
	const char *option, *kernel, *module; /* -modules, path, -module */
	const char *want, *error;
} find_table[] = {
	{ "tree/direct", "K", NULL, "tree/direct", NULL },
	{ "tree/lib/modules", "K", NULL, "tree/lib/modules/1.2", NULL },
	{ "tree", "K", NULL, "tree/lib/modules/1.2", NULL },
	{ "dir", "K", NULL, NULL, "-modules dir: no modules for kernel 1.2"
	  " in any of dir, dir/1.2, dir/lib/modules/1.2" },
	{ NULL, "tree/boot/vmlinuz", NULL, "tree/boot/../lib/modules/1.2",
	  NULL },
	{ NULL, "tree/direct/vmlinuz", NULL, "tree/direct", NULL },
	{ NULL, "dir/K", NULL, "", NULL },
	{ NULL, "dir/K", "ext4", NULL, "-module ext4: no modules for kernel"
	  " 1.2 in any of dir, " },
};

static void test_modules_find(void)
{
	static const char *const dirs[] = { "tree", "tree/direct", "tree/boot",
		"tree/lib", "tree/lib/modules", "tree/lib/modules/1.2" };
	static struct guest g;

	for (size_t i = 0; i < COUNT(dirs); i++)
		make_directory(dirs[i]);
	make_text("tree/direct/modules.dep", "");
	make_text("tree/lib/modules/1.2/modules.dep", "");
	for (size_t i = 0; i < COUNT(find_table); i++) {
		const char *name = name_of("modules: found, %zu", i);

		fresh();
		g.modules_dir[0] = '\0';
		(void)strcpy(g.kernel.version, "1.2");
		o.modules_dir = find_table[i].option;
		if (find_table[i].module != NULL)
			o.modules.item[o.modules.count++] =
				find_table[i].module;
		(void)modules_find(&k, &g, find_table[i].kernel);
		if (is_error(HERE, find_table[i].error, name)
		    && find_table[i].want != NULL)
			is_text(HERE, g.modules_dir, find_table[i].want, name);
	}
}

/* ==== Environment, program, init, firmware ============================== */
#define PATH_WANT \
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
#define REST_WANT "HOME=/root\nTERM=linux\nIN_KTEST=true\n"
static const struct {
	const char *asked[4];
	const char *want, *error;
} env_table[] = {
	{ { NULL }, PATH_WANT REST_WANT, NULL },
	{ { "A=1", "B=" }, PATH_WANT REST_WANT "A=1\nB=\n", NULL },
	{ { "A=1", "A=2" }, PATH_WANT REST_WANT "A=2\n", NULL },
	{ { "PATH=/x" }, "PATH=/x\n" REST_WANT, NULL },
	{ { "PAT=/x" }, PATH_WANT REST_WANT "PAT=/x\n", NULL },
	{ { "A=x=y,z" }, PATH_WANT REST_WANT "A=x=y,z\n", NULL },
	{ { "UNIT_SET" }, PATH_WANT REST_WANT "UNIT_SET=from=here\n", NULL },
	{ { "UNIT_SET=1", "UNIT_SET" }, PATH_WANT REST_WANT
	  "UNIT_SET=from=here\n", NULL },
	{ { "UNIT_S" }, NULL, "-env UNIT_S: is not set in ktest's" },
	{ { "UNIT_EMPTY" }, PATH_WANT REST_WANT "UNIT_EMPTY=\n", NULL },
	{ { "=x" }, NULL, "-env =x: has no name before the '='" },
	{ { "=" }, NULL, "-env =: has no name" },
};

static void test_env(void)
{
	static struct guest g;
	static char got[4096];
	struct text t;

	(void)setenv("UNIT_SET", "from=here", 1);
	(void)setenv("UNIT_EMPTY", "", 1);
	for (size_t i = 0; i < COUNT(env_table); i++) {
		const char *first = env_table[i].asked[0];
		const char *name = name_of("env: %s", first != NULL ? first
								    : "");

		fresh();
		while (env_table[i].asked[o.env.count] != NULL) {
			o.env.item[o.env.count] =
				env_table[i].asked[o.env.count];
			o.env.count++;
		}
		(void)guest_env(&k, &g);
		if (!is_error(HERE, env_table[i].error, name)
		    || env_table[i].want == NULL)
			continue;
		text_init(&t, got, sizeof got);
		for (size_t j = 0; g.env[j] != NULL; j++)
			text_printf(&t, "%s\n", g.env[j]);
		is_text(HERE, got, env_table[i].want, name);
	}
}

static void test_env_full(void)
{
	static struct guest g;
	static char names[LIST_MAX][8];
	size_t n = 0;

	fresh();
	for (; o.env.count < LIST_MAX; o.env.count++) {
		(void)snprintf(names[o.env.count], 8, "V%zu=", o.env.count);
		o.env.item[o.env.count] = names[o.env.count];
	}
	is_int(HERE, guest_env(&k, &g), 0, "env: as many as there may be");
	while (g.env[n] != NULL)
		n++;
	is_int(HERE, (long long)n, LIST_MAX + 4, "env: all are there");
}

static const struct {
	const char *program, *file; /* -file, so that it may be elsewhere */
	int status;                 /* 0: found */
	bool on_host;
	const char *want, *error;   /* "~": the scratch directory */
} program_table[] = {
	{ "./exe", NULL, 0, true, "~/exe", NULL },
	{ "bin/tool", NULL, 0, true, "~/bin/tool", NULL },
	{ "tool", NULL, 0, true, "~/bin/tool", NULL },
	{ "a b,c", NULL, 0, true, "~/bin/a b,c", NULL },
	{ "nope", NULL, 127, false, NULL, "nope: not found in PATH" },
	{ "exe", NULL, 127, false, NULL, "exe: not found in PATH (./ before" },
	{ "./nope", NULL, 127, false, NULL, "./nope: No such file" },
	{ "file/x", NULL, 127, false, NULL, "file/x: Not a directory" },
	{ "./file", NULL, 126, false, NULL, "is not an executable file" },
	{ "./dir", NULL, 126, false, NULL, "is not an executable file" },
	{ "/", NULL, 126, false, NULL, "is not an executable file" },
	{ "/dev/null", NULL, 126, false, NULL, "is not an executable file" },
	{ "./loop", NULL, 126, false, NULL, "./loop: " },
	{ "", NULL, 0, false, NULL, "PROGRAM: the name is empty" },
	{ "/there", "x", 0, false, "/there", NULL },
};

static void test_program(const char *scratch)
{
	static struct guest g;
	static char want[PATH_SIZE];
	char *saved = strdup(getenv("PATH")), *argv[] = { NULL, NULL };

	(void)setenv("PATH", "no:bin", 1);
	for (size_t i = 0; i < COUNT(program_table); i++) {
		const char *to = program_table[i].want;
		const char *name = name_of("program: '%s'",
					   program_table[i].program);

		fresh();
		g.on_host = false;
		argv[0] = word(program_table[i].program);
		o.argv = argv;
		if (program_table[i].file != NULL)
			o.files.item[o.files.count++] = program_table[i].file;
		(void)guest_program(&k, &g);
		is_error(HERE, program_table[i].error, name);
		is_int(HERE, k.fail_status, program_table[i].status, name);
		is_int(HERE, g.on_host, program_table[i].on_host, name);
		if (to == NULL)
			continue;
		(void)snprintf(want, sizeof want, "%s%s",
			       *to == '~' ? scratch : "",
			       *to == '~' ? to + 1 : to);
		is_text(HERE, g.program, want, name);
	}
	(void)setenv("PATH", saved, 1);
	free(saved);
}

static void test_own_files(void)
{
	static struct guest g;

	fresh();
	o.init = "file";
	(void)guest_init(&k, &g);
	is_error(HERE, "-init file: is not an ELF program", "init: no ELF");
	fresh();
	o.init = "no";
	(void)guest_init(&k, &g);
	is_error(HERE, "-init no: No such file", "init: no file");
	fresh();
	o.bios = "qboot.rom"; /* QEMU knows where */
	is_int(HERE, guest_bios(&k, &g), 0, "bios: a bare name");
	is_text(HERE, g.bios, "qboot.rom", "bios: a bare name");
	o.bios = "./no";
	(void)guest_bios(&k, &g);
	is_error(HERE, "-bios ./no: is not a readable file", "bios: no file");
}

/* The whole description; -accel always is given, so that /dev/kvm is not
 * asked. */
static const struct describe_case {
	const char *words[9];
	const char *error;
	int acpi, merged; /* merged: stdout and stderr are one file */
	const char *modules;
	size_t at, value; /* a byte of the kernel that is changed */
} describe_cases[] = {
	{ { "./exe" }, NULL, ACPI_ON, 0, "", 0, 0 },
	{ { "./exe" }, NULL, ACPI_ON, 1, "", 0, 0 },
	{ { "-acpi=on", "./exe" }, NULL, ACPI_ON, 0, "", 0, 0 },
	{ { "-acpi=off", "./exe" }, NULL, ACPI_OFF, 0, "", 0, 0 },
	{ { "-modules=mods", "./exe" }, NULL, ACPI_ON, 0, OURS, 0, 0 },
	{ { "-modules=mods", "-module=last", "./exe" }, NULL, ACPI_ON, 0,
	  OURS "kernel/first.ko\nkernel/last.ko\n", 0, 0 },
	{ { "-modules=mods", "-module=no", "./exe" }, "-module no: is not in",
	  0, 0, NULL, 0, 0 },
	{ { "./exe" }, "is a 32-bit kernel, init is", 0, 0, NULL, 0x236, 0 },
	{ { "-initrd-path=x" }, NULL, ACPI_ON, 0, "", 0x236, 0 },
	{ { "-initrd-path=x", "-acpi=off" }, NULL, ACPI_OFF, 0, "", 0, 0 },
	{ { "-v" }, "PROGRAM is missing", 0, 0, NULL, 0, 0 },
	{ { "-cwd=no", "./exe" }, "-cwd no: No such", 0, 0, NULL, 0, 0 },
	{ { "-initrd-path=x", "-cwd=/" }, "-cwd: needs a PROGRAM", 0, 0, NULL,
	  0, 0 },
	{ { "-initrd-path=x", "-env=A=b" }, "-env: needs a PROGRAM", 0, 0,
	  NULL, 0, 0 },
	{ { "-initrd-path=x", "-file=f" }, "-file: needs a PROGRAM", 0, 0,
	  NULL, 0, 0 },
	{ { "-bios=./no", "./exe" }, "-bios ./no: is not", 0, 0, NULL, 0, 0 },
};

/* The guest of some options, and what is claimed for it: claimed and given
 * back. */
static int describe_claim(struct guest *g)
{
	int result = guest_describe(&k, g);

	if (result == 0) {
		k.guest = *g;
		result = claim(&k);
		claim_undo(&k);
	}
	return result;
}

static void describe(int line, const struct describe_case *c, struct guest *g,
		     const char *name)
{
	static char image[BZ_SIZE];
	char *argv[13] = { word("ktest"), word("-accel=tcg"),
		word("-kernel-path=kernel-d"), word("-init=init-elf") };

	make_bzimage(image);
	if (c->at != 0)
		image[c->at] = (char)c->value;
	make_file("kernel-d", image, BZ_SIZE, 0644);
	make_elf(image);
	make_file("init-elf", image, ELF_SIZE, 0755);
	for (size_t i = 0; i < 9 && c->words[i] != NULL; i++)
		argv[i + 4] = word(c->words[i]);
	fresh();
	memset(g, 0, sizeof *g);
	if (opt_parse(&k, &o, argv) < 0)
		return;
	o.stdout_fd = open("out", O_WRONLY | O_CREAT, 0644);
	o.stderr_fd = open(c->merged ? "out" : "err", O_WRONLY | O_CREAT,
			   0644);
	is_int(line, describe_claim(g), c->error != NULL ? -1 : 0,
	       name);
	close_fd(&o.stdout_fd);
	close_fd(&o.stderr_fd);
}

static void test_describe(void)
{
	static struct guest g;

	for (size_t i = 0; i < COUNT(describe_cases); i++) {
		const struct describe_case *c = &describe_cases[i];
		const char *name = name_of("guest: %s %s", c->words[0],
			c->words[1] != NULL ? c->words[1] : "");

		describe(HERE, c, &g, name);
		is_error(HERE, c->error, name);
		if (c->error != NULL)
			continue;
		is_int(HERE, k.attempt.accel, ACCEL_TCG, name);
		is_int(HERE, k.attempt.acpi, c->acpi, name);
		is_int(HERE, k.attempt.sandbox, 1, name);
		is_int(HERE, g.merged, c->merged, name);
		is_text(HERE, g.modules, c->modules, name);
	}
}

/* ==== cpio ==============================================================
 * What was written is read back by a reader that shares nothing with the
 * writer; unit.sh asks cpio(1) as well.
 */
struct entry {
	const char *name, *data;
	unsigned long mode, mtime, size, nlink, ino;
};

struct archive {
	struct entry entry[64];
	size_t count;
	const char *end;       /* behind the trailer, padded */
	bool valid;
};

static unsigned long hex(const char *p)
{
	char digits[9];

	memcpy(digits, p, 8);
	digits[8] = '\0';
	if (strspn(digits, "0123456789abcdefABCDEF") != 8)
		return ULONG_MAX;
	return strtoul(digits, NULL, 16);
}

static size_t padded(size_t n)
{
	return (n + 3) / 4 * 4;
}

/* newc: "070701", then 8 digits each of ino, mode, uid, gid, nlink, mtime,
 * size, 4 of devices, length of the name, check. */
static void read_archive(struct archive *a, const char *p, size_t n)
{
	const char *start = p;

	memset(a, 0, sizeof *a);
	while (a->count < COUNT(a->entry)) {
		struct entry *e = &a->entry[a->count];
		size_t left = n - (size_t)(p - start), name;

		if (left < 110 || memcmp(p, "070701", 6) != 0)
			return;
		e->ino = hex(p + 6);
		e->mode = hex(p + 14);
		e->nlink = hex(p + 38);
		e->mtime = hex(p + 46);
		e->size = hex(p + 54);
		name = hex(p + 94);
		e->name = p + 110;
		if (hex(p + 22) != 0 || hex(p + 30) != 0 || name > left - 110
		    || name < 2 || strlen(e->name) != name - 1)
			return;
		e->data = p + padded(110 + name);
		if (e->size > left || padded(110 + name) + e->size > left)
			return;
		p = e->data + padded(e->size);
		if (strcmp(e->name, "TRAILER!!!") == 0) {
			a->end = p;
			a->valid = e->size == 0;
			return;
		}
		a->count++;
	}
}

static const struct entry *find_entry(const struct archive *a,
				      const char *name)
{
	for (size_t i = 0; i < a->count; i++)
		if (strcmp(a->entry[i].name, name) == 0)
			return &a->entry[i];
	return NULL;
}

/* A regular file of the archive has these bytes. */
static bool is_entry(int line, const struct archive *a, const char *name,
		     unsigned long mode, const char *data, size_t n)
{
	const struct entry *e = find_entry(a, name);

	return is_true(line, e != NULL && e->mode == mode && e->size == n
		       && memcmp(e->data, data, n) == 0,
		       name_of("cpio: member %s", name));
}

static void cpio_start(struct cpio *c)
{
	fresh();
	memset(c, 0, sizeof *c);
	c->k = &k;
	c->fd = temporary_file(&k);
	text_init(&c->seen, c->seen_at, sizeof c->seen_at);
}

/* Names and data of every length modulo 4, and sizes that are not known
 * before, larger than the buffer. */
static void test_cpio_members(void)
{
	static struct archive a;
	static struct cpio c;
	struct member m;
	const char *name = "aaaaaaa", *data = "ddddddd";
	char *got;
	size_t n;

	cpio_start(&c);
	for (size_t i = 0; i < 7; i++)
		(void)cpio_member(&c, name + i, S_IFREG | 0640, (time_t)i + 1,
				  data + 6 - i, i + 1);
	cpio_begin(&c, &m, "big", S_IFREG | 0600, 0, 0);
	for (int i = 0; i < 5; i++)
		cpio_write(&c, many('b', 50000), 50000);
	is_int(HERE, cpio_end(&c, &m, "big"), 0, "cpio: a size told late");
	is_int(HERE, cpio_text(&c, TRAILER, 0, ""), 0, "cpio: trailer");
	(void)cpio_flush(&c);
	got = read_fd(c.fd, &n);
	read_archive(&a, got, n);
	is_true(HERE, a.valid && a.end == got + n && n == c.at,
		"cpio: an archive");
	is_int(HERE, (long long)a.count, 8, "cpio: members");
	for (size_t i = 0; i < 7; i++)
		is_entry(HERE, &a, name + i, 0100640, data + 6 - i, i + 1);
	is_int(HERE, (long long)a.entry[6].mtime, 7, "cpio: mtime");
	is_int(HERE, (long long)a.entry[7].size, 250000, "cpio: late size");
	free(got);
	close_fd(&c.fd);
}

static void test_cpio_errors(void)
{
	static struct cpio c;
	struct member m;

	cpio_start(&c);
	cpio_begin(&c, &m, "huge", S_IFREG, 0, 0);
	c.at += 1ull << 32;
	is_int(HERE, cpio_end(&c, &m, "huge"), -1, "cpio: 4 GiB");
	is_error(HERE, "huge: is larger than 4 GiB", "cpio: 4 GiB");
	close_fd(&c.fd);
	cpio_start(&c);
	close_fd(&c.fd);
	c.fd = open("/dev/full", O_WRONLY);
	(void)cpio_member(&c, "x", S_IFREG, 0, "x", 1);
	is_int(HERE, cpio_flush(&c), -1, "cpio: no space");
	is_error(HERE, "temporary file for the initramfs: No space",
		 "cpio: no space");
	close_fd(&c.fd);
	cpio_start(&c);
	is_int(HERE, cpio_file(&c, "no", "n", 0), -1, "cpio: no file");
	is_error(HERE, "no: No such file", "cpio: no file");
	fresh();
	is_int(HERE, cpio_file(&c, "dir", "n", 0), -1, "cpio: a directory");
	is_error(HERE, "dir: Is a directory", "cpio: a directory");
	close_fd(&c.fd);
}

/* Packing ends with the run, and where memory does. */
static void test_cpio_stops(void)
{
	static struct cpio c;
	char term = SIGTERM;
	int fd[2] = { -1, -1 };

	cpio_start(&c);
	o.memory = 32;
	c.file = "F:/x";
	c.at = 32 * 1024 / 3 * 1024;
	is_int(HERE, cpio_flush(&c), 0, "cpio: as much as fits");
	c.at += 1024;
	is_int(HERE, cpio_flush(&c), -1, "cpio: more than fits");
	is_error(HERE, "-memory 32M: is too little for an initramfs that has"
		 " 10M with -file F:/x and needs three", "cpio: more than fits");
	close_fd(&c.fd);
	cpio_start(&c);
	k.deadline = now_ms() - 1;
	is_int(HERE, cpio_file(&c, "exe", "n", 0), -1, "cpio: -timeout");
	is_true(HERE, k.end == END_TIMEOUT && k.error[0] == '\0',
		"cpio: -timeout");
	close_fd(&c.fd);
	cpio_start(&c);
	(void)make_pipe(&k, fd);
	k.wake_fd = fd[0];
	(void)!write(fd[1], &term, 1);
	is_int(HERE, cpio_flush(&c), -1, "cpio: a signal");
	is_true(HERE, k.end == END_SIGNAL && k.signal == SIGTERM
		&& k.error[0] == '\0', "cpio: a signal");
	close_fd(&c.fd);
	close_fd(&fd[0]);
	close_fd(&fd[1]);
}

/* Setuid and setgid bits, told once in a run. */
static const struct {
	const char *user;
	mode_t mode, want;
} setuid_table[] = {
	{ "", 04755, 04755 }, { "0 0", 06755, 06755 }, { "0 7", 02755, 02755 },
	{ "7 7", 04755, 0755 }, { "7 0", 02711, 0711 }, { "7 7", 06777, 0777 },
	{ "7 7", 0755, 0755 }, { "7 7", 01644, 01644 }, { "00", 04755, 0755 },
};

static void test_setuid(void)
{
	static struct archive a;
	static struct cpio c;
	size_t n;

	for (size_t i = 0; i < COUNT(setuid_table); i++) {
		const mode_t mode = setuid_table[i].mode;
		const bool said = mode != setuid_table[i].want;
		const char *name = name_of("setuid: %03o for '%s'",
					   (unsigned)mode, setuid_table[i].user);
		char *got, *log;

		make_file("setuid", "x", 1, mode);
		cpio_start(&c);
		(void)strcpy(k.guest.user, setuid_table[i].user);
		o.user = "U";
		k.log = (struct sink){ temporary_file(&k), false, SIZE_MAX };
		(void)job_same_file(&c, "setuid");
		(void)cpio_file(&c, "setuid", "n", 0);
		(void)cpio_text(&c, TRAILER, 0, "");
		(void)cpio_flush(&c);
		got = read_fd(c.fd, &n);
		read_archive(&a, got, n);
		is_int(HERE, (long long)a.entry[0].mode & 07777,
		       setuid_table[i].want, name);
		is_int(HERE, (long long)a.entry[1].mode & 07777,
		       setuid_table[i].want, name);
		free(got);
		log = read_fd(k.log.fd, &n);
		is_text(HERE, log, said ? "ktest: setuid: its setuid and setgid"
			" bits are left out, they would make -user U root\n"
			: "", name);
		free(log);
		close_fd(&k.log.fd);
		close_fd(&c.fd);
	}
}

/* ==== Interpreters ====================================================== */
static const struct {
	const char *text, *interp, *rest; /* interp NULL: none */
} script_table[] = {
	{ "#!/bin/sh\n", "/bin/sh", "" },
	{ "#!/bin/sh", "/bin/sh", "" },
	{ "#! \t/bin/sh \t-e -x\nx", "/bin/sh", "-e -x" },
	{ "#!/usr/bin/env python3\n", "/usr/bin/env", "python3" },
	{ "#!sh\n", "sh", "" },
	{ "#!\n/bin/sh\n", NULL, NULL },
	{ "#!  \t\n", NULL, NULL },
	{ "#!", NULL, NULL }, { "#", NULL, NULL }, { "", NULL, NULL },
	{ " #!/bin/sh\n", NULL, NULL }, { "echo\n", NULL, NULL },
};

static void test_scripts(void)
{
	static char interp[PATH_SIZE], rest[PATH_SIZE];
	bool script, any;
	struct map m;

	for (size_t i = 0; i < COUNT(script_table); i++) {
		const char *name = name_of("interpreter: %s",
					   script_table[i].text);

		m = map_copy(script_table[i].text,
			     strlen(script_table[i].text));
		any = program_interpreter(&m, interp, rest, &script);
		is_text(HERE, any ? interp : NULL, script_table[i].interp,
			name);
		if (any)
			is_text(HERE, rest, script_table[i].rest, name);
		map_free(&m);
	}
	m = map_copy(many('x', 5000), 5000);
	memcpy((char *)(uintptr_t)m.at, "#!/", 3);
	is_true(HERE, !program_interpreter(&m, interp, rest, &script),
		"interpreter: a line that does not end");
	map_free(&m);
}

/* An ELF program of either class with PT_INTERP as its second header. */
static size_t make_program(char *p, bool wide)
{
	static const char interp[] = "/lib/ld.so";
	size_t head = wide ? 56 : 32, table = 64, at = table + 2 * head;

	memset(p, 0, 512);
	memcpy(p, wide ? "\177ELF\2\1\1" : "\177ELF\1\1\1", 7);
	put_le(p + (wide ? 32 : 28), table, wide ? 8 : 4);
	put_le(p + (wide ? 54 : 42), head, 2);
	put_le(p + (wide ? 56 : 44), 2, 2);
	put_le(p + table, 1, 4);
	p += table + head;
	put_le(p, 3, 4);
	put_le(p + (wide ? 8 : 4), at, wide ? 8 : 4);
	put_le(p + (wide ? 32 : 16), sizeof interp, wide ? 8 : 4);
	memcpy(p + head, interp, sizeof interp);
	return at + sizeof interp;
}

static void test_elf_interpreter(void)
{
	static char image[512], interp[PATH_SIZE], rest[PATH_SIZE];
	static const uint64_t hostile[] = { 0, 4096, 1ull << 32, 1ull << 63,
					    UINT64_MAX - 8, UINT64_MAX };
	bool script, refused;

	for (int wide = 0; wide < 2; wide++) {
		size_t size = make_program(image, wide), head = 64
			+ (wide ? 56 : 32);
		struct map m = map_copy(image, size);

		is_true(HERE, program_interpreter(&m, interp, rest, &script)
			&& !script, "interpreter: ELF");
		is_text(HERE, interp, "/lib/ld.so", "interpreter: ELF");
		map_free(&m);
		refused = true;
		for (size_t n = 0; n < size; n++) {
			m = map_copy(image, n);
			refused = refused && !program_interpreter(&m, interp,
							rest, &script);
			map_free(&m);
		}
		is_true(HERE, refused, "interpreter: ELF, truncated");
		for (size_t i = 0; i < 2 * COUNT(hostile); i++) {
			(void)make_program(image, wide);
			put_le(image + head + (i & 1 ? wide ? 32 : 16
					       : wide ? 8 : 4),
			       hostile[i / 2], wide ? 8 : 4);
			m = map_copy(image, size);
			(void)program_interpreter(&m, interp, rest, &script);
			is_true(HERE, memchr(interp, '\0', sizeof interp)
				!= NULL, "interpreter: ELF, hostile numbers");
			map_free(&m);
		}
	}
}

static const struct {
	const char *line, *want, *error; /* want: the file that is added */
} library_table[] = {
	{ "\tlinux-vdso.so.1 (0x7fff)", NULL, NULL },
	{ "\tlibx.so => ~/file (0x7f00)", "~/file", NULL },
	{ "\t~/file (0x7f00)", "~/file", NULL },
	{ "\tlibx.so => ~/a (0x b (0x7f00)", NULL, "No such file" },
	{ "\tlibx.so => not found", NULL, "P: needs the library libx.so," },
	{ "\tlibx.so => ~/no (0x7f00)", NULL, "/no: No such file" },
	{ "\tlibx.so => file (0x7f00)", NULL, NULL },
	{ "\tlibx.so =>  (0x7f00)", NULL, NULL },
	{ "\tstatically linked", NULL, NULL },
	{ "", NULL, NULL },
};

static void test_libraries(const char *scratch)
{
	static char line[2 * PATH_SIZE], want[2 * PATH_SIZE];
	static struct cpio c;

	for (size_t i = 0; i < COUNT(library_table); i++) {
		const char *name = name_of("library: %s",
					   library_table[i].line);
		struct text t;

		text_init(&t, line, sizeof line);
		for (const char *p = library_table[i].line; *p != '\0'; p++)
			text_bytes(&t, *p == '~' ? scratch : p,
				   *p == '~' ? strlen(scratch) : 1);
		(void)snprintf(want, sizeof want, "%s/file\n", scratch);
		cpio_start(&c);
		(void)job_library(&c, "P", line);
		is_error(HERE, library_table[i].error, name);
		if (library_table[i].error == NULL)
			is_text(HERE, c.seen.at, library_table[i].want != NULL
				? want : "", name);
		close_fd(&c.fd);
	}
}

/* A program of three headers, whose dynamic section is at 0x180 in the file and
 * at 0x10180 in memory: four tags with values, 1, 5, the end, 1. What is
 * changed: a word of it, or what the header says of its place. */
enum { AUDIT_SIZE = 512, DYNAMIC_AT = 0x180 };

static const struct {
	const char *name;
	size_t tag;        /* which word of the section, from 0 */
	char head;         /* o, a, s: the header's offset, address, size */
	uint64_t value;
	bool want;
} audit_table[] = {
	{ "none", 0, 0, 1, false },
	{ "DT_AUDIT", 2, 0, 0x6ffffefc, true },
	{ "DT_DEPAUDIT", 0, 0, 0x6ffffefb, true },
	{ "DT_CONFIG", 2, 0, 0x6ffffefa, false },
	{ "a value like it", 1, 0, 0x6ffffefc, false },
	{ "DT_AUDIT behind the end", 6, 0, 0x6ffffefc, false },
	{ "no end", 4, 0, 1, true },
	{ "the file's offset lies", 2, 'o', 0x6ffffefc, true },
	{ "an address of no segment", 0, 'a', 0x20000, true },
	{ "behind the file", 0, 'a', 0x10ff8, true },
	{ "an address that wraps", 0, 'a', UINT64_MAX - 16, true },
	{ "a size that wraps", 0, 's', UINT64_MAX - 16, true },
	{ "a size of nothing", 0, 's', 0, true },
	{ "a second segment over it", 0, 0, 2, true },
};

static bool audits(size_t i, bool wide)
{
	static char image[AUDIT_SIZE];
	const size_t word = wide ? 8 : 4, head = wide ? 56 : 32;
	char *table = image + 64, *dynamic = table + head;
	struct map m;
	bool result;

	(void)make_program(image, wide);
	put_le(image + (wide ? 56 : 44), 3, 2);
	for (size_t h = 0; h < 3; h++) { /* LOAD, DYNAMIC, INTERP or LOAD */
		char *p = table + h * head;

		put_le(p, h == 1 ? PT_DYNAMIC_TYPE : h == 0
		       || strstr(audit_table[i].name, "second") != NULL
		       ? PT_LOAD_TYPE : PT_INTERP_TYPE, 4);
		put_le(p + word, h == 1 ? DYNAMIC_AT : 0, word);
		put_le(p + 2 * word, 0x10000 + (h == 1 ? DYNAMIC_AT : 0), word);
		put_le(p + (wide ? 32 : 16), h == 1 ? 8 * word : AUDIT_SIZE,
		       word);
	}
	memset(image + DYNAMIC_AT, 0, AUDIT_SIZE - DYNAMIC_AT);
	put_le(image + DYNAMIC_AT, 1, word);
	put_le(image + DYNAMIC_AT + 2 * word, 5, word);
	put_le(image + DYNAMIC_AT + 6 * word, 1, word);
	if (audit_table[i].head == 'o') /* of harmless bytes */
		put_le(dynamic + word, DYNAMIC_AT + 4 * word, word);
	if (audit_table[i].head == 'a')
		put_le(dynamic + 2 * word, audit_table[i].value, word);
	else if (audit_table[i].head == 's')
		put_le(dynamic + (wide ? 32 : 16), audit_table[i].value, word);
	else
		put_le(image + DYNAMIC_AT + audit_table[i].tag * word,
		       audit_table[i].value, word);
	m = map_copy(image, AUDIT_SIZE);
	result = program_audits(&m);
	map_free(&m);
	return result;
}

static void test_audits(void)
{
	for (size_t i = 0; i < COUNT(audit_table); i++) {
		const char *name = name_of("audit: %s", audit_table[i].name);

		is_int(HERE, audits(i, true), audit_table[i].want, name);
		is_int(HERE, audits(i, false), audit_table[i].want, name);
	}
}

static const struct {
	const char *path; /* "~": the scratch directory */
	bool known;
} loader_table[] = {
	{ "~/file", false }, { "~/no", false }, { "/bin/sh", false },
	{ "~/ld.so.1", false }, { "~/to-loader", true },
	{ "/lib64/ld-linux-x86-64.so.2", true },
	{ "/lib64/../lib64/ld-linux-x86-64.so.2", true },
	{ "/usr/lib/os-release", false }, { "/lib64", false },
};

static void test_loaders(const char *scratch)
{
	static char path[2 * PATH_SIZE], real[PATH_SIZE];
	static const char loader[] = "/lib64/ld-linux-x86-64.so.2";

	if (!is_file(loader))
		return;
	(void)!symlink(loader, "to-loader");
	make_file("ld.so.1", "\177ELF", 4, 0755);
	for (size_t i = 0; i < COUNT(loader_table); i++) {
		const char *p = loader_table[i].path;

		(void)snprintf(path, sizeof path, "%s%s", *p == '~' ? scratch
			       : "", p + (*p == '~'));
		is_int(HERE, loader_known(path, real), loader_table[i].known,
		       name_of("loader: %s", p));
	}
}

/* ==== Initramfs ========================================================= */

static void test_limit_text(void)
{
	char out[24];

	limit_text(out, RLIM_INFINITY);
	is_text(HERE, out, "18446744073709551615", "limit: none");
	limit_text(out, 0);
	is_text(HERE, out, "0", "limit: 0");
	limit_text(out, (rlim_t)1 << 40);
	is_text(HERE, out, "1099511627776", "limit: a number");
}

/* What the job's record has to be, "|" for each NUL; "~": scratch. */
static void is_record(const struct archive *job, const char *scratch,
		      const char *want)
{
	static char expected[16384], got[16384];
	struct text t, g;
	struct rlimit limit;
	char soft[24], hard[24];

	(void)getrlimit(RLIMIT_CORE, &limit);
	limit_text(soft, limit.rlim_cur);
	limit_text(hard, limit.rlim_max);
	text_init(&t, expected, sizeof expected);
	for (; *want != '\0'; want++)
		if (*want == '~')
			text_add(&t, scratch);
		else if (*want == '@')
			text_printf(&t, "%s:%s", soft, hard);
		else
			text_bytes(&t, want, 1);
	text_init(&g, got, sizeof got);
	for (size_t i = 0; i < job->entry[0].size; i++)
		text_bytes(&g, job->entry[0].data[i] == '\0' ? "|"
			   : job->entry[0].data + i, 1);
	is_text(HERE, got, expected, "job: its record");
}

/* A program that is a script, with its interpreter, files, modules packed
 * and not, and the user's own initramfs before it all. */
static void make_run(struct guest *g, const char *scratch)
{
	static char script[PATH_SIZE + 16];
	static char *argv[] = { NULL, NULL, NULL, NULL };
	int n = snprintf(script, sizeof script, "#! %s/interp -x\n", scratch);

	make_file("prog,1", script, (size_t)n, 0755);
	make_file("interp", "no ELF", 6, 0755);
	make_file("base", "user", 5, 0644);
	make_text("mods/m.ko", "a module");
	(void)!system("printf unpacked | gzip -c >mods/c-2.ko.gz");
	memset(g, 0, sizeof *g);
	fresh();
	argv[0] = word("./prog,1");
	argv[1] = word("");
	argv[2] = word("a\nb\xff=|c");
	o.argv = argv;
	(void)strcpy(g->cwd, "/work/dir");
	o.init = "exe";
	o.initrd_path = "base";
	o.env.item[o.env.count++] = "A=1,2";
	o.files.item[o.files.count++] = "dir";
	o.files.item[o.files.count++] = "link:/etc/other";
	o.files.item[o.files.count++] = "dirlink:/opt/";
	(void)strcpy(g->init, "exe");
	(void)strcpy(g->modules_dir, "mods");
	(void)strcpy(g->modules, "m.ko\nc-2.ko.gz\n");
	g->merged = true;
	is_int(HERE, guest_env(&k, g), 0, "initramfs: environment");
	is_int(HERE, guest_program(&k, g), 0, "initramfs: program");
}

static int built(const struct guest *g)
{
	return archive_build(&k, g, "initramfs", initramfs_write);
}

static void check_machine(const struct archive *a)
{
	const struct entry *e = find_entry(a, "dev/console");

	is_true(HERE, a->valid, "initramfs: an archive");
	is_true(HERE, e != NULL && e->mode == 020600
		&& hex(e->name - 110 + 78) == 5 && hex(e->name - 110 + 86)
		== 1, "initramfs: /dev/console is 5, 1");
	is_entry(HERE, a, "init", 0100755, "#!/no/such\n", 11);
	is_entry(HERE, a, ".ktest/modules", 0100644, "m\nc-2\n", 6);
	is_entry(HERE, a, ".ktest/m.ko", 0100644, "a module", 8);
	is_entry(HERE, a, ".ktest/c-2.ko", 0100644, "unpacked", 8);
	e = find_entry(a, ".ktest");
	is_true(HERE, e != NULL && e->mode == 040700 && e->nlink == 2,
		"initramfs: /.ktest");
}

static void check_job(const struct archive *job, const char *scratch)
{
	static const char *const names[] = { "job", "root", "work/dir",
		"~/prog,1", "~/interp", "~/dir", "~/dir/inner", "etc/other",
		"opt/dirlink", "opt/dirlink/inner" };
	static char want[2 * PATH_SIZE];

	is_true(HERE, job->valid, "job: an archive");
	is_int(HERE, (long long)job->count, COUNT(names), "job: members");
	for (size_t i = 0; i < COUNT(names) && i < job->count; i++) {
		(void)snprintf(want, sizeof want, "%s%s", names[i][0] == '~'
			       ? scratch + 1 : "", names[i]
			       + (names[i][0] == '~'));
		is_text(HERE, job->entry[i].name, want, "job: a member");
		is_int(HERE, (long long)job->entry[i].ino, (long long)
		       (job->entry[0].ino + i), "job: a member");
	}
	(void)snprintf(want, sizeof want, "%s/interp", scratch + 1);
	is_entry(HERE, job, want, 0100755, "no ELF", 6);
	is_entry(HERE, job, "etc/other", 0100644, "12345", 5);
	is_entry(HERE, job, "work/dir", 040755, "", 0);
	is_record(job, scratch, "p~/prog,1|d/work/dir|c" "@|m|k|a./prog,1|a|a"
		  "a\nb\xff=|c|ePATH=/usr/local/sbin:/usr/local/bin:/usr/sbin"
		  ":/usr/bin:/sbin:/bin|eHOME=/root|eTERM=linux"
		  "|eIN_KTEST=true|eA=1,2|");
}

static void test_initramfs(const char *scratch, const char *copy)
{
	static struct archive a, job;
	static struct guest g;
	const struct entry *e;
	size_t n;
	char *got;
	int fd;

	make_run(&g, scratch);
	fd = built(&g);
	if (!is_true(HERE, fd >= 0, "initramfs: is built")) {
		tap_value("error", k.error);
		return;
	}
	got = read_fd(fd, &n);
	is_true(HERE, memcmp(got, "user\0\0\0\0", 8) == 0,
		"initramfs: the user's comes first, padded");
	read_archive(&a, got + 8, n - 8);
	check_machine(&a);
	is_true(HERE, a.end == got + n, "initramfs: nothing behind it");
	e = find_entry(&a, ".ktest/job");
	if (is_true(HERE, e != NULL && e->mode == 0100600, "job: is there")) {
		read_archive(&job, e->data, e->size);
		check_job(&job, scratch);
	}
	if (copy != NULL)
		make_file(copy, got + 8, n - 8, 0644);
	free(got);
	(void)close(fd);
}

static const struct {
	const char *file, *module; /* -file, a module to load */
	const char *error;
} broken_table[] = {
	{ "no", NULL, "-file no: No such file" },
	{ "no:/x", NULL, "-file no:/x: No such file" },
	{ "file:x", NULL, "-file file:x (GUEST has to be absolute)" },
	{ "file:/TRAILER!!!", NULL, "/TRAILER!!!: a file of " },
	{ NULL, "no.ko\n", "mods/no.ko: No such file" },
	{ NULL, "no.ko.gz\n", "mods/no.ko.gz: No such file" },
	{ NULL, "bad.ko.gz\n", "mods/bad.ko.gz: cannot be unpacked with gzip" },
};

static void test_initramfs_errors(const char *scratch)
{
	static struct guest g;

	for (size_t i = 0; i < COUNT(broken_table); i++) {
		int fd;

		make_run(&g, scratch);
		make_text("mods/bad.ko.gz", "\x1f\x8b no gzip");
		if (broken_table[i].file != NULL)
			o.files.item[o.files.count++] = broken_table[i].file;
		if (broken_table[i].module != NULL)
			(void)strcpy(g.modules, broken_table[i].module);
		fd = built(&g);
		is_int(HERE, fd, -1, name_of("initramfs: error %zu", i));
		is_error(HERE, broken_table[i].error,
			 name_of("initramfs: error %zu", i));
	}
	make_run(&g, scratch);
	o.files.item[o.files.count++] = many('f', PATH_SIZE);
	is_int(HERE, built(&g), -1, "initramfs: a long -file");
	is_error(HERE, "fff...: is too long (limit 4095", "initramfs: a long"
		 " -file");
	make_run(&g, scratch);
	o.initrd_path = "no";
	is_int(HERE, built(&g), -1, "initramfs: no -initrd-path");
	is_error(HERE, "-initrd-path no: No such file",
		 "initramfs: no -initrd-path");
}

/* "#!" lines that lead in a circle end with an error, and a dynamically
 * linked program of this host brings what it needs. */
static void test_job_needs(const char *scratch)
{
	static char script[PATH_SIZE + 16];
	static const char loader[] = "/lib64/ld-linux-x86-64.so.2";
	static struct cpio c;
	int n = snprintf(script, sizeof script, "#!%s/circle\n", scratch);

	make_file("circle", script, (size_t)n, 0755);
	cpio_start(&c);
	is_int(HERE, job_needs(&c, "circle", 0), -1, "needs: a circle");
	is_error(HERE, "its #! lines lead too far", "needs: a circle");
	close_fd(&c.fd);
	if (!is_file(loader) || !is_file("/bin/sh"))
		return;
	cpio_start(&c);
	k.guest.env[0] = NULL;
	is_int(HERE, job_needs(&c, "/bin/sh", 0), 0, "needs: /bin/sh");
	is_error(HERE, NULL, "needs: /bin/sh");
	is_true(HERE, strstr(c.seen.at, loader) != NULL, "needs: its loader");
	is_true(HERE, strstr(c.seen.at, "libc.so") != NULL, "needs: its libc");
	close_fd(&c.fd);
}

/* ==== QEMU's arguments ================================================== */
static const struct {
	const char *name;
	struct ktest_key keys[4];
	const char *want;
} option_table[] = {
	{ "microvm", { { "pit", "on" }, { "x", "off" } },
	  "microvm,pit=on,x=off" },
	{ "microvm", { { NULL, NULL } }, "microvm" },
	{ "", { { "id", "a" }, { "b", "c" } }, "id=a,b=c" },
	{ "", { { NULL, NULL } }, "" },
	{ "n", { { "quiet", NULL } }, "n,quiet" },
	{ "n", { { "quiet", NULL }, { "a", "b" } }, "n,quiet,a=b" },
	{ "n", { { "a", "" }, { "b", "" } }, "n,a=,b=" },
	{ "n", { { "a", "," } }, "n,a=,," },
	{ "n", { { "a", "1,2,,3" }, { "b", ",4" } }, "n,a=1,,2,,,,3,b=,,4" },
	{ "n", { { "a", "b=c" } }, "n,a=b=c" },
	{ "n", { { "a", " '\"\\\n\xff" } }, "n,a= '\"\\\n\xff" },
};

static void qemu_reset(struct qemu *q)
{
	memset(q, 0, sizeof *q);
	text_init(&q->args, q->args_at, sizeof q->args_at);
	text_init(&q->cmdline, q->cmdline_at, sizeof q->cmdline_at);
}

static void test_qemu_option(void)
{
	static struct qemu q;
	char got[64];

	for (size_t i = 0; i < COUNT(option_table); i++) {
		const char *name = name_of("option: %s", option_table[i].want);

		is_int(HERE, ktest_encode(got, sizeof got,
					  option_table[i].name,
					  option_table[i].keys),
		       (long long)strlen(option_table[i].want), name);
		is_text(HERE, got, option_table[i].want, name);
	}
	qemu_reset(&q);
	qemu_add(&q, "-M", "n,a=%s,b=%d", "1,2,,3", -4);
	qemu_more(&q, ",c");
	is_text(HERE, q.argv[0], "-M", "option: its name");
	is_text(HERE, q.argv[1], "n,a=1,,2,,,,3,b=-4,c", "option: its value");
	is_int(HERE, (long long)q.argc, 2, "option: two words");
	qemu_add(&q, "-M", "n,a=%s", many(',', 6000));
	is_true(HERE, q.args.full, "option: one that is too long is an error");
	qemu_reset(&q);
	qemu_add(&q, "-M", "n,a=%s", many('x', PATH_SIZE - 1));
	is_true(HERE, !q.args.full && strlen(q.argv[1]) == PATH_SIZE + 3,
		"option: a path fits");
	qemu_reset(&q);
	qemu_add(&q, "-M", "n,a=%s", many(',', PATH_SIZE - 1));
	is_true(HERE, !q.args.full && strlen(q.argv[1]) == 2 * PATH_SIZE + 2,
		"option: a path of commas fits");
	is_int(HERE, ktest_encode(got, 3, "abc", option_table[1].keys), -1,
	       "encode: no room");
}

/* Options as a test wants them, and a guest that goes with them. */
static void qemu_start(struct guest *g, bool program, int accel)
{
	static char word_at[] = "prog", *argv[] = { word_at, NULL };

	fresh();
	memset(g, 0, sizeof *g);
	g->kernel.cmdline_max = DEFAULT_CMDLINE_MAX;
	k.attempt = (struct attempt){ .accel = accel, .acpi = ACPI_ON,
		.sandbox = true, .tick_khz = 2500000 };
	g->mode = program ? MODE_PROGRAM : MODE_MONOGON;
	(void)strcpy(g->kernel_path, "KERNEL");
	(void)strcpy(g->bios, "BIOS");
	o.argv = program ? argv : NULL;
	o.initrd_path = program ? NULL : "INITRD";
}

/* The vector of k.attempt's machine, in k.qemu. */
static int build(const struct guest *g)
{
	if (g != &k.guest)
		k.guest = *g;
	return qemu_build(&k, &k.attempt);
}

#define STDERR_WANT "-chardev\nsocket,id=err0,fd=8\n" \
	"-device\nvirtserialport,chardev=err0,name=ktest.stderr\n"
#define SNAPSHOT_ARGS(share) "-object\nmemory-backend-file,id=ram0," \
	"size=1024M,mem-path=/proc/self/fd/11,share=" share "\n" \
	"-M\nmemory-backend=ram0\n"

/* What a vector has more than that of a cold boot, and less. Whole vectors
 * are in test/golden. */
static const struct boot_case {
	const char *name;
	enum boot boot;
	bool merged; /* of no effect when the machine is saved */
	const char *more, *less, *end; /* end: where the restored one ends */
} boot_cases[] = {
	{ "stderr with stdout", BOOT_COLD, true, "", STDERR_WANT, NULL },
	{ "to be saved", BOOT_SAVE, false, SNAPSHOT_ARGS("on"), "", NULL },
	{ "to be saved, stderr with stdout", BOOT_SAVE, true,
	  SNAPSHOT_ARGS("on"), "", NULL },
	{ "to be restored", BOOT_RESTORE, false,
	  SNAPSHOT_ARGS("off") "-incoming\ndefer\n", "", "-kernel\n" },
	{ "to be restored, stderr with stdout", BOOT_RESTORE, true,
	  SNAPSHOT_ARGS("off") "-incoming\ndefer\n", "", "-kernel\n" },
};

/* The vector without some of its lines, which it has to have once, up to
 * end. */
static void vector(struct guest *g, const char *without, const char *end,
		   char out[ARGV_SIZE])
{
	struct text t;
	char *at;

	(void)build(g);
	text_init(&t, out, ARGV_SIZE);
	for (size_t i = 0; i < k.qemu.argc; i++)
		text_printf(&t, "%s\n", k.qemu.argv[i]);
	at = strstr(out, without);
	if (at == NULL)
		(void)strcpy(out, "they are not there");
	else
		memmove(at, at + strlen(without),
			strlen(at + strlen(without)) + 1);
	if (end != NULL && (at = strstr(out, end)) != NULL)
		*at = '\0';
}

static void test_boots(void)
{
	static struct guest g;
	static char got[ARGV_SIZE], want[ARGV_SIZE];

	for (size_t i = 0; i < 2 * COUNT(boot_cases); i++) {
		const struct boot_case *c = &boot_cases[i / 2];
		int accel = i % 2 == 0 ? ACCEL_KVM : ACCEL_TCG;

		qemu_start(&g, true, accel);
		vector(&g, c->less, c->end, want);
		g.merged = c->merged;
		k.attempt.boot = c->boot;
		vector(&g, c->more, NULL, got);
		is_text(HERE, got, want, name_of("argv: %s under %s", c->name,
			accel == ACCEL_KVM ? "KVM" : "TCG"));
	}
}

/* The words of one boot's vector behind the machine's. */
static const char *snapshot_words(struct guest *g, enum boot boot)
{
	static char got[ARGV_SIZE];
	struct text t;
	size_t i = 0;

	k.attempt.boot = boot;
	(void)build(g);
	text_init(&t, got, sizeof got);
	while (i < k.qemu.argc && strstr(k.qemu.argv[i], "ktest.log") == NULL)
		i++;
	while (++i < k.qemu.argc && strcmp(k.qemu.argv[i], "-kernel") != 0)
		text_printf(&t, "%s\n", k.qemu.argv[i]);
	return got;
}

/* Nothing of the run is in a machine that is saved; restored, it has all of
 * it, and the same devices. */
static void test_golden_run(void)
{
	static struct guest g;

	qemu_start(&g, true, ACCEL_TCG);
	o.net = 1;
	o.pcap = "P";
	g.port_count = 1;
	g.port[0] = (struct port){ .host = 1234, .guest = 80, .fd = -1 };
	g.wire_count = 2;
	g.wire[0] = (struct wire){ .kind = WIRE_CABLE, .fd = -1 };
	g.wire[1] = (struct wire){ .kind = WIRE_SOCKET, .fd = -1,
				   .name = "log" };
	g.mount_count = 1;
	(void)strcpy(g.mount[0].host, "/here");
	g.mount[0].rw = true;
	is_text(HERE, snapshot_words(&g, BOOT_SAVE),
		"-netdev\nuser,id=usernet0,net=10.42.0.0/24,"
		"dhcpstart=10.42.0.10,ipv6=off\n"
		"-device\nvirtio-net-device,netdev=usernet0,mac="
		KTEST_HOST_MAC "\n-netdev\nhubport,id=cable15,hubid=15\n"
		"-device\nvirtio-net-device,netdev=cable15,"
		"mac=02:4b:00:00:00:00\n-chardev\nnull,id=extra1\n"
		"-device\nvirtserialport,chardev=extra1,name=log\n"
		"-fsdev\nlocal,id=fs0,path=/,security_model=none,"
		"multidevs=remap,readonly=on\n"
		"-device\nvirtio-9p-device,fsdev=fs0,mount_tag=ktest0\n",
		"argv: to be saved");
	is_text(HERE, snapshot_words(&g, BOOT_RESTORE),
		"-netdev\nuser,id=usernet0,net=10.42.0.0/24,"
		"dhcpstart=10.42.0.10,ipv6=off,"
		"hostfwd=tcp:127.0.0.1:1234-:80\n"
		"-device\nvirtio-net-device,netdev=usernet0,mac="
		KTEST_HOST_MAC "\n-object\n"
		"filter-dump,id=dump0,netdev=usernet0,file=P\n"
		"-netdev\nsocket,id=cable15,fd=15\n"
		"-device\nvirtio-net-device,netdev=cable15,"
		"mac=02:4b:00:00:00:00\n-chardev\nsocket,id=extra1,fd=16\n"
		"-device\nvirtserialport,chardev=extra1,name=log\n"
		"-fsdev\nlocal,id=fs0,path=/here,security_model=none,"
		"multidevs=remap\n"
		"-device\nvirtio-9p-device,fsdev=fs0,mount_tag=ktest0\n",
		"argv: to be restored");
}

/* How one option shows in the vector: the word behind a word. NULL: the
 * first is not there at all. */
static const struct change {
	const char *words[5]; /* of ktest's command line */
	int accel;
	const char *option, *want;
} change_table[] = {
	{ { "-memory", "512" }, ACCEL_KVM, "-m", "512M" },
	{ { "-memory", "1025M" }, ACCEL_KVM, "-m", "1025M" },
	{ { "-memory", "2048M" }, ACCEL_KVM, "-m", "2G" },
	{ { "-memory", "1T" }, ACCEL_KVM, "-m", "1024G" },
	{ { "-memory", "1536" }, ACCEL_KVM, "-m", "1536M" },
	{ { "-cpus", "1" }, ACCEL_KVM, "-smp", NULL },
	{ { "-cpus", "4" }, ACCEL_KVM, "-smp", "4" },
	{ { "-acpi", "on" }, ACCEL_KVM, "-M", "microvm,x-option-roms=off,"
	  "pic=off,pit=off,rtc=on,isa-serial=off" },
	{ { "-acpi", "off" }, ACCEL_KVM, "-M", "microvm,x-option-roms=off,"
	  "pic=off,pit=off,rtc=on,isa-serial=off,acpi=off" },
	{ { "-acpi", "off" }, ACCEL_TCG, "-M", "microvm,x-option-roms=off,"
	  "pit=on,pic=on,rtc=on,isa-serial=off,acpi=off" },
	{ { "-sandbox", "off" }, ACCEL_KVM, "-sandbox", NULL },
	{ { "-qemu", "a, b" }, ACCEL_KVM, "a, b", "-nodefaults" },
	{ { "-qemu-arg", "-s", "-qemu-arg", "x,y" }, ACCEL_KVM, "-s", "x,y" },
	{ { "-console" }, ACCEL_KVM, "-append",
	  "reboot=t console=hvc0 panic=-1 cryptomgr.notests"
	  " earlyprintk=serial" },
	{ { "-cmdline", "a,b", "-cmdline=", }, ACCEL_KVM, "-append",
	  "reboot=t console=hvc0 quiet panic=-1 cryptomgr.notests"
	  " earlyprintk=serial a,b" },
	{ { "-cmdline", "a  b", "-cmdline", "c" }, ACCEL_KVM, "-append",
	  "reboot=t console=hvc0 quiet panic=-1 cryptomgr.notests"
	  " earlyprintk=serial a  b c" },
};

static void test_changes(void)
{
	static struct guest g;

	for (size_t i = 0; i < COUNT(change_table); i++) {
		const struct change *c = &change_table[i];
		const char *name = name_of("argv: %s %s", c->words[0],
			c->words[1] != NULL ? c->words[1] : "");
		char *argv[7] = { word("ktest") };
		const char *got = NULL;

		for (size_t j = 0; j < 5 && c->words[j] != NULL; j++)
			argv[j + 1] = word(c->words[j]);
		qemu_start(&g, true, c->accel);
		(void)opt_parse(&k, &o, argv);
		k.attempt.sandbox = o.sandbox != SANDBOX_OFF;
		k.attempt.acpi = o.acpi != ACPI_AUTO ? o.acpi : ACPI_ON;
		is_int(HERE, build(&g), 0, name);
		for (size_t j = 0; j < k.qemu.argc && got == NULL; j++)
			if (strcmp(k.qemu.argv[j], c->option) == 0)
				got = k.qemu.argv[j + 1];
		is_text(HERE, got, c->want, name);
	}
	qemu_start(&g, true, ACCEL_TCG);
	k.attempt.tick_khz = 0;
	(void)build(&g);
	is_true(HERE, strstr(k.qemu.cmdline.at, "tsc_early") == NULL,
		"argv: a tick that is not known is not told");
}

/* What the rows make of a vector: its words that are not a microvm's. */
static const struct row_case {
	enum machine_row row;
	int accel;
	const char *want; /* each stands there, in this order */
} row_cases[] = {
	{ Q35, ACCEL_TCG, "qemu-system-x86_64|max,fsrs=on|-M|q35|"
	  "virtio-rng-pci,max-bytes=1024,period=1000|virtio-serial-pci,"
	  "max_ports=17|isa-serial,chardev=early0|virtio-net-pci,netdev=usernet0,"
	  "mac=" KTEST_HOST_MAC "|virtio-9p-pci,fsdev=fs0,mount_tag=ktest0|"
	  "-kernel" },
	{ ARM64, ACCEL_TCG, "qemu-system-aarch64|-cpu|cortex-a76|-m|1G|-M|"
	  "virt,gic-version=3|virtio-rng-device,max-bytes=1024,period=1000|"
	  "-serial|chardev:early0|virtio-net-device,netdev=usernet0,mac="
	  KTEST_HOST_MAC "|-append|console=hvc0 quiet panic=-1"
	  " cryptomgr.notests earlycon" },
	{ ARM64, ACCEL_KVM, "-cpu|host|-m|1G|-M|virt,gic-version=max" },
	{ RISCV64, ACCEL_TCG, "qemu-system-riscv64|-M|virt|-append|console=hvc0"
	  " quiet panic=-1 cryptomgr.notests earlycon=sbi" },
	{ S390X, ACCEL_TCG, "qemu-system-s390x|-cpu|max,vx=off|-M|"
	  "s390-ccw-virtio|"
	  "virtio-serial-ccw,max_ports=17|sclpconsole,chardev=early0|"
	  "virtio-net-ccw,netdev=usernet0,mac=" KTEST_HOST_MAC "|"
	  "virtio-9p-ccw,fsdev=fs0,mount_tag=ktest0" },
};

static void test_rows(void)
{
	static struct guest g;

	for (size_t i = 0; i < COUNT(row_cases); i++) {
		const struct row_case *c = &row_cases[i];
		const char *p = c->want;
		size_t at = 0, n;

		qemu_start(&g, true, c->accel);
		g.machine = c->row;
		g.bios[0] = '\0';
		g.mount_count = 1;
		o.net = 1;
		(void)build(&g);
		for (; *p != '\0'; p += n + (p[n] == '|')) {
			n = strcspn(p, "|");
			while (at < k.qemu.argc
			       && (strlen(k.qemu.argv[at]) != n
				   || memcmp(k.qemu.argv[at], p, n) != 0))
				at++;
			if (at == k.qemu.argc)
				break;
		}
		is_text(HERE, p, "", name_of("row: %s under %s",
			machines[c->row].name, accel_names[c->accel]));
	}
}

/* One byte more than fits is an error, never a shorter command line. */
static void test_cmdline_limits(void)
{
	static const struct {
		size_t kernel_max;
		int acpi;
		size_t max;
	} limits[] = {
		{ 2047, ACPI_ON, 2047 }, { 2047, ACPI_OFF, 2047 - 320 },
		{ 255, ACPI_ON, 255 }, { 0xffffffff, ACPI_ON, 8191 },
	};
	static struct guest g;

	for (size_t i = 0; i < 2 * COUNT(limits); i++) {
		static char long_one[CMDLINE_SIZE + 1];
		size_t base, over = i & 1;
		const char *name = name_of("cmdline: limit %zu, %zu too many",
					   limits[i / 2].max, over);

		qemu_start(&g, true, ACCEL_KVM);
		g.kernel.cmdline_max = limits[i / 2].kernel_max;
		k.attempt.acpi = limits[i / 2].acpi;
		(void)build(&g);
		base = k.qemu.cmdline.len;
		(void)strcpy(long_one, many('c', limits[i / 2].max - base - 1
					    + over));
		o.cmdline.item[o.cmdline.count++] = long_one;
		is_int(HERE, build(&g), over ? -1 : 0,
		       name);
		if (over)
			is_error(HERE, "the kernel command line is too long",
				 name);
		else
			is_int(HERE, (long long)k.qemu.cmdline.len, (long long)
			       limits[i / 2].max, name);
	}
	qemu_start(&g, true, ACCEL_KVM);
	g.kernel.cmdline_max = 100;
	k.attempt.acpi = ACPI_OFF;
	is_int(HERE, build(&g), -1,
	       "cmdline: a limit of less than 128 bytes");
}

static void test_qemu_limits(void)
{
	static struct guest g;

	qemu_start(&g, true, ACCEL_KVM);
	o.qemu_args.item[o.qemu_args.count++] = many('q', ARGV_SIZE);
	is_int(HERE, build(&g), -1, "argv: 64 KiB");
	is_error(HERE, "-qemu-arg: QEMU's arguments are too long",
		 "argv: 64 KiB");
	qemu_start(&g, true, ACCEL_KVM);
	while (o.qemu_args.count < LIST_MAX)
		o.qemu_args.item[o.qemu_args.count++] = "-x";
	is_int(HERE, build(&g), 0, "argv: 256 -qemu-arg");
	qemu_reset(&k.qemu);
	for (int i = 0; i < ARGV_MAX; i++)
		qemu_arg(&k.qemu, "");
	is_true(HERE, !k.qemu.args.full && k.qemu.argc == ARGV_MAX,
		"argv: 512 words");
	qemu_arg(&k.qemu, "");
	is_true(HERE, k.qemu.args.full && k.qemu.argc == ARGV_MAX
		&& k.qemu.argv[ARGV_MAX] == NULL, "argv: 513 are too many");
	qemu_reset(&k.qemu);
	qemu_arg(&k.qemu, many('q', ARGV_SIZE - 2));
	is_true(HERE, !k.qemu.args.full && k.qemu.argc == 1,
		"argv: one that just fits");
	qemu_reset(&k.qemu);
	qemu_arg(&k.qemu, many('q', ARGV_SIZE));
	is_true(HERE, k.qemu.args.full && k.qemu.argc == 0,
		"argv: one that does not");
}

/* A shell makes of the printed line the words that it was made of. */
static void test_qemu_print(void)
{
	static const char *const words[] = { "plain-_./,=:@%+09AZaz", "", " ",
		"it's", "''", "a\nb", "\n", "$HOME `x` \\ \"q\"", "*?[a]",
		"~", "#x", "\xff\xc3\xa4", "-a=b,c", "!x", "a;b&c|d(e)<f>",
		"\t", "x=1", "{a,b}" };
	static struct qemu q;
	FILE *script = fopen("script", "w"), *shell;
	char got[4096];
	size_t n, at = 0;
	bool same = true;

	qemu_reset(&q);
	for (size_t i = 0; i < COUNT(words); i++)
		qemu_arg(&q, words[i]);
	(void)fputs("set -- ", script);
	qemu_print(&q, script);
	(void)fputs("printf '%s\\0' \"$@\"\n", script);
	(void)fclose(script);
	shell = popen("sh script", "r");
	n = fread(got, 1, sizeof got, shell);
	is_int(HERE, pclose(shell), 0, "print: a shell takes it");
	for (size_t i = 0; i < COUNT(words); i++) {
		size_t len = strlen(words[i]) + 1;

		same = same && at + len <= n
		       && memcmp(got + at, words[i], len) == 0;
		at += len;
	}
	is_true(HERE, same && at == n, "print: the words are the same");
}

static void test_qemu_log(void)
{
	static struct qemu q;
	const char *const words[] = { "qemu", "-nodefaults", "-m", "1G",
		"-append", "a\nb c", "-x", "", "-" };
	char *got;
	size_t n;

	fresh();
	o.log_fd = open("log", O_RDWR | O_CREAT | O_TRUNC, 0644);
	qemu_reset(&q);
	for (size_t i = 0; i < COUNT(words); i++)
		qemu_arg(&q, words[i]);
	ktest_log_args(o.log_fd, o.name, q.argv);
	got = read_fd(o.log_fd, &n);
	is_text(HERE, got,
		"TT|          test launch ! Running ktest:\n"
		"TT|                      |   qemu\n"
		"TT|                      |   -nodefaults\n"
		"TT|                      |   -m 1G\n"
		"TT|                      |   -append a^Jb c\n"
		"TT|                      |   -x \n"
		"TT|                      |   -\n",
		"log: one option a line");
	free(got);
	(void)ftruncate(o.log_fd, 0);
	(void)lseek(o.log_fd, 0, SEEK_SET);
	qemu_reset(&q);
	qemu_arg(&q, many('\001', 30000));
	ktest_log_args(o.log_fd, o.name, q.argv);
	got = read_fd(o.log_fd, &n);
	is_true(HERE, n > 60000 && got[n - 1] == '\n',
		"log: a long argument is whole");
	free(got);
	(void)close(o.log_fd);
}

/* ==== The control port ================================================== */
#define LE8(n) n "\0\0\0\0\0\0\0"
#define REST LE8("\3") LE8("\x41") LE8("\xff") /* the log, and taints */
static const struct control_case {
	const char *name;
	bool program;
	const char *bytes;
	size_t n;
	enum ending end;
	bool hello, have_status;
	int status;
	uint64_t out, err;
	const char *init_error; /* behind its 'e' */
} control_cases[] = {
#define BYTES(s) s, sizeof(s) - 1
	{ "hello", true, BYTES("h"), END_NONE, true, false, 0, 0, 0, NULL },
	{ "a verdict", true, BYTES("hx\x2a" LE8("\5") LE8("\7") REST), END_NONE,
	  true, true, 42, 5, 7, NULL },
	{ "status 255, many bytes", true, BYTES("hx\xff" "\1\2\3\4\5\6\7\x88"
	  "\xff\xff\xff\xff\xff\xff\xff\xff" REST), END_NONE, true, true, 255,
	  0x8807060504030201, UINT64_MAX, NULL },
	{ "status 0", true, BYTES("hx\0" LE8("\0") LE8("\0") REST), END_NONE,
	  true, true, 0, 0, 0, NULL },
	{ "a verdict but for a byte", true,
	  BYTES("hx\x2a" LE8("\5") LE8("\7") LE8("\3") LE8("\x41") "\xff\0\0\0"
	  "\0\0\0"), END_NONE, true, false,
	  0, 0, 0, NULL },
	{ "what follows a verdict", true,
	  BYTES("hx\1" LE8("\5") LE8("\7") REST "hxqqe\nx\2" LE8("\1") LE8("\1")),
	  END_NONE, true, true, 1, 5, 7, NULL },
	{ "init gives up", true, BYTES("eno ports\n"), END_INIT, false, false,
	  0, 0, 0, "no ports" },
	{ "init gives up after hello", true, BYTES("heno\n"), END_INIT, true,
	  false, 0, 0, 0, "no" },
	{ "init gives up, unfinished", true, BYTES("eno po"), END_NONE, false,
	  false, 0, 0, 0, "no po" },
	{ "init gives up without a word", true, BYTES("e\n"), END_INIT, false,
	  false, 0, 0, 0, "" },
	{ "no verdict behind an error", true,
	  BYTES("he\nx\1" LE8("\5") LE8("\7")), END_INIT, true, false, 0, 0,
	  0, NULL },
	{ "garbage", true, BYTES("q"), END_GARBAGE, false, false, 0, 0, 0,
	  NULL },
	{ "NUL", true, BYTES("\0"), END_GARBAGE, false, false, 0, 0, 0, NULL },
	{ "two hellos", true, BYTES("hh"), END_GARBAGE, true, false, 0, 0, 0,
	  NULL },
	{ "a verdict without hello", true,
	  BYTES("x\1" LE8("\5") LE8("\7")), END_GARBAGE, false, false, 0, 0,
	  0, NULL },
	{ "a verdict behind garbage", true,
	  BYTES("hqx\1" LE8("\5") LE8("\7")), END_GARBAGE, true, false, 0, 0,
	  0, NULL },
	{ "an exit byte is no verdict", true, BYTES("\7"), END_GARBAGE, false,
	  false, 0, 0, 0, NULL },
	{ "the original: 0", false, BYTES("\0"), END_NONE, false, true, 0, 0,
	  0, NULL },
	{ "the original: 255", false, BYTES("\xff"), END_NONE, false, true,
	  255, 0, 0, NULL },
	{ "the original: the first byte", false, BYTES("\1\2\3"), END_NONE,
	  false, true, 1, 0, 0, NULL },
	{ "the original: 'h' is a status", false, BYTES("h"), END_NONE, false,
	  true, 'h', 0, 0, NULL },
};

/* A run that has come so far. */
static void as_in(bool program, bool hello, bool have_status)
{
	k.guest.mode = program ? MODE_PROGRAM : MODE_MONOGON;
	k.vm.phase = have_status ? PHASE_OUTPUT : hello ? PHASE_RUN
							: PHASE_BOOT;
}

/* In pieces of any length. */
static void test_control(void)
{
	for (size_t i = 0; i < COUNT(control_cases); i++) {
		const struct control_case *c = &control_cases[i];
		const struct vm *v = &k.vm;
		bool ok = true;

		for (size_t step_len = 1; step_len <= c->n; step_len++) {
			fresh();
			as_in(c->program, false, false);
			for (size_t at = 0; at < c->n; at += step_len)
				control_bytes(&k, c->bytes + at,
					      c->n - at < step_len
					      ? c->n - at : step_len);
			ok = ok && k.end == c->end && v->phase == (c->have_status
			     ? PHASE_OUTPUT : c->hello ? PHASE_RUN
			     : PHASE_BOOT)
			     && v->status == c->status
			     && v->want_out == c->out && v->want_err == c->err;
			if (c->init_error != NULL)
				ok = ok && v->message[0] == 'e'
				     && v->message_len >= 1
					+ strlen(c->init_error)
				     && memcmp(v->message + 1, c->init_error,
					       strlen(c->init_error)) == 0;
		}
		is_true(HERE, ok, name_of("control: %s", c->name));
	}
}

/* A guest that says too much changes nothing but what it may. */
static void test_control_flood(void)
{
	static const char *const first[] = { "q", "hq", "x", "hh", "e", "he" };

	for (size_t i = 0; i < COUNT(first); i++) {
		fresh();
		as_in(true, false, false);
		k.deadline = 12345;
		control_bytes(&k, first[i], strlen(first[i]));
		control_bytes(&k, many('x', ARGV_SIZE), ARGV_SIZE);
		is_true(HERE, k.vm.message_len <= sizeof k.vm.message
			&& k.deadline == 12345
			&& k.vm.phase != PHASE_OUTPUT,
			name_of("control: 64 KiB behind '%s'", first[i]));
	}
}

/* The answer to hello, once: the time of day, a seed, no job. */
static void test_control_answer(void)
{
	const char *p = k.vm.job.data;
	uint64_t before = clock_ns(CLOCK_REALTIME), told;
	char seed[32];
	int theirs = -1;

	fresh();
	as_in(true, false, false);
	(void)spawn_pair(&k, FD_SOCKET, &k.vm.fd[FD_CONTROL], &theirs);
	control_bytes(&k, "hx", 2);
	is_int(HERE, (long long)k.vm.job.len, ANSWER_SIZE,
	       "control: the answer");
	is_int(HERE, k.vm.job.from, -1, "control: and no more");
	told = get_le(p, 8);
	is_true(HERE, told >= before && told <= clock_ns(CLOCK_REALTIME),
		"control: it tells the time of day");
	is_int(HERE, (long long)get_le(p + 40, 8), 0, "control: and no job");
	memcpy(seed, p + 8, sizeof seed);
	control_answer(&k, -1);
	is_true(HERE, memcmp(seed, p + 8, sizeof seed) != 0,
		"control: another seed at every answer");
	k.vm.job.chunk = SIZE_MAX;
	stream_move(&k, &k.vm.job);
	is_int(HERE, recv(theirs, seed, sizeof seed, MSG_DONTWAIT), 32,
	       "control: the answer is sent");
	close_fd(&k.vm.fd[FD_CONTROL]);
	close_fd(&theirs);
}

/* ==== Supervising ======================================================= */
enum { PAST = 1 }; /* a deadline; every clock is later than this */

/* A guest that has yet to boot and a QEMU that does nothing: it hangs. Only
 * what is QEMU by its name is asked. */
static void test_asleep(void)
{
	static const struct {
		const char *name, *program, *script;
		bool asleep;
	} cases[] = {
		{ "an idle QEMU", "./qemu-sh", "read x", true },
		{ "a busy QEMU", "./qemu-sh", "while :; do :; done", false },
		{ "a wrapper", "./wrapper", "read x", false },
	};
	struct map shell;
	clockid_t clock;
	uint64_t waited = 0;
	int fd[2] = { -1, -1 };

	(void)map_file(&k, "shell", "/bin/sh", &shell);
	make_file("qemu-sh", shell.at, shell.size, 0755);
	make_file("wrapper", shell.at, shell.size, 0755);
	unmap_file(&shell);
	for (size_t i = 0; i < COUNT(cases); i++) {
		const bool busy = strncmp(cases[i].script, "while", 5) == 0;

		fresh();
		(void)!pipe(fd);
		k.vm.pid = fork();
		if (k.vm.pid == 0) {
			(void)dup2(fd[0], 0);
			(void)close(fd[1]);
			(void)execl(cases[i].program, "sh", "-c",
				    cases[i].script, (char *)NULL);
			_exit(127);
		}
		close_fd(&fd[0]);
		while (busy && (clock_getcpuclockid(k.vm.pid, &clock) != 0
				|| clock_ns(clock) < BOOT_CPU_MS * 1500000u))
			continue;
		while (cases[i].asleep && !vm_boot_hung(&k))
			(void)poll(NULL, 0, 1); /* exec() takes its time */
		is_int(HERE, vm_boot_hung(&k), cases[i].asleep,
		       name_of("asleep: %s", cases[i].name));
		is_true(HERE, k.vm.deadline[END_BOOT_HUNG] > now_ms(),
			"asleep: asked again later");
		(void)kill(k.vm.pid, SIGKILL);
		(void)waitpid(k.vm.pid, NULL, 0);
		close_fd(&fd[1]);
	}
	fresh();
	k.vm.pid = getpid();
	(void)poll(NULL, 0, 1); /* it waits then, if only for nanoseconds */
	is_true(HERE, vm_starves(&k.vm, &waited), "asleep: not what would run");
	is_true(HERE, waited > 0, "asleep: not what has waited for a processor");
	k.vm.pid = 0;
	k.end = END_BOOT_HUNG;
	for (int i = 1; i <= BOOT_TRIES; i++)
		is_int(HERE, attempt_next(&k),
		       i < BOOT_TRIES, "asleep: booted again, but not for ever");
}

/* An image's silence counts until -timeout, if there is one. */
static void test_agent_late(void)
{
	for (int with = 0; with < 2; with++)
		for (int step = AGENT_SYNC; step <= AGENT_INIT; step++) {
			fresh();
			o.timeout = with;
			k.vm.agent.step = (enum agent_step)step;
			k.vm.agent.since = now_ms() - AGENT_WAIT_MS;
			is_int(HERE, agent_late(&k), !with,
			       name_of("agent: silence, step %d", step));
			is_int(HERE, k.error[0] != '\0', !with, "agent: said");
		}
}

static const struct done_case {
	const char *name;
	bool program, have_status, ended, open, pending;
	uint64_t want, came;   /* bytes of stdout */
	long long end_deadline, kvm_deadline, stall_deadline;
	enum ending end;
} done_cases[] = {
	{ .name = "nothing yet", .program = true, .open = true },
	{ .name = "a verdict, all is here", .program = true, .open = true,
	  .have_status = true, .want = 5, .came = 5, .end = END_VERDICT },
	{ .name = "a verdict, not written yet", .program = true, .open = true,
	  .have_status = true, .want = 5, .came = 5, .pending = true },
	{ .name = "a verdict, a byte is missing", .program = true,
	  .open = true, .have_status = true, .want = 5, .came = 4 },
	{ .name = "a verdict, a byte too many", .program = true, .open = true,
	  .have_status = true, .want = 5, .came = 6 },
	{ .name = "a byte is missing for long", .program = true, .open = true,
	  .have_status = true, .want = 5, .came = 4, .stall_deadline = PAST,
	  .end = END_STALL },
	{ .name = "a byte is missing, QEMU ended", .program = true,
	  .have_status = true, .want = 5, .came = 4, .ended = true,
	  .end = END_QEMU },
	{ .name = "QEMU ended, more may come", .program = true, .open = true,
	  .ended = true },
	{ .name = "QEMU ended, nothing more may", .program = true,
	  .ended = true, .end = END_QEMU },
	{ .name = "QEMU ended, and waited for", .program = true, .open = true,
	  .ended = true, .end_deadline = PAST, .end = END_QEMU },
	{ .name = "QEMU ended, not written yet", .program = true,
	  .ended = true, .end_deadline = PAST, .pending = true },
	{ .name = "QEMU ended, all is here", .program = true, .ended = true,
	  .have_status = true, .end = END_VERDICT },
	{ .name = "no word under KVM", .program = true, .open = true,
	  .kvm_deadline = PAST, .end = END_KVM },
	{ .name = "original: a byte", .open = true, .have_status = true },
	{ .name = "original: a byte, QEMU ended", .have_status = true,
	  .ended = true, .end = END_QEMU },
	{ .name = "original: a byte, QEMU stays", .have_status = true,
	  .open = true, .stall_deadline = PAST, .end = END_VERDICT },
};

static void test_done(void)
{
	for (size_t i = 0; i < COUNT(done_cases); i++) {
		const struct done_case *c = &done_cases[i];
		struct vm *v = &k.vm;

		fresh();
		as_in(c->program, false, c->have_status);
		v->ended = c->ended;
		v->fd[FD_CONTROL] = c->open ? 99 : -1;
		v->out.len = c->pending;
		v->out.total = c->came;
		v->want_out = c->want;
		v->deadline[END_QEMU] = c->end_deadline;
		v->deadline[END_KVM] = c->kvm_deadline;
		v->deadline[END_STALL] = c->stall_deadline;
		is_int(HERE, vm_done(&k), c->end != END_NONE,
		       name_of("done: %s", c->name));
		is_int(HERE, (int)k.end, (int)c->end,
		       name_of("done: %s", c->name));
	}
}

static void test_patience(void)
{
	struct vm *v = &k.vm;

	fresh();
	v->pid = 1;
	v->fd[FD_LOG] = 99;
	is_true(HERE, vm_patience(v) > now_ms() + CHILD_TICK_MS / 2
		&& vm_patience(v) <= now_ms() + CHILD_TICK_MS,
		"patience: no deadline");
	v->deadline[END_KVM] = PAST;
	is_int(HERE, vm_patience(v), PAST, "patience: one that has passed");
	v->deadline[END_KVM] = now_ms() + 366LL * 24 * 3600000;
	is_true(HERE, vm_patience(v) <= now_ms() + CHILD_TICK_MS,
		"patience: one that is far away");
	v->fd[FD_LOG] = -1;
	is_true(HERE, vm_patience(v) <= now_ms() + 10,
		"patience: QEMU is about to end");
	deadlines_pause(&k, now_ms() - BYTE_WAIT_MS - 1);
	is_true(HERE, v->deadline[END_KVM] > now_ms() + 366LL * 24 * 3600000
		&& v->deadline[END_STALL] == 0,
		"patience: a time in which we did not run is added");
}

/* The end of a run: its own deadline, or the caller's word; both end every
 * wait, and what is written after them is not waited for. */
static void test_wait(void)
{
	struct pollfd p[1];
	int fd[2] = { -1, -1 }, null;
	long long start;
	char byte;

	fresh();
	is_int(HERE, run_poll(&k, p, 1, now_ms() + 20), 0, "wait: until then");
	k.deadline = now_ms() + 20;
	is_int(HERE, run_poll(&k, p, 1, 0), -1, "wait: or the end");
	is_true(HERE, k.end == END_TIMEOUT && k.over, "wait: -timeout");
	fresh();
	(void)make_pipe(&k, fd);
	k.deadline = now_ms() + 20;
	is_int(HERE, run_read(&k, fd[0], &byte, 1), -1,
	       "wait: a read that nobody answers");
	is_int(HERE, k.end, END_TIMEOUT, "wait: ... ends with the run");
	(void)fcntl(fd[1], F_SETPIPE_SZ, 4096);
	k.log = sink_open(fd[1]);
	start = now_ms();
	(void)sink_write(&k, &k.log, many('x', 20000), 20000);
	is_true(HERE, now_ms() >= start + BYTE_WAIT_MS && k.log.fd < 0,
		"wait: a message after the end is dropped in a second");
	sink_close(&k.log);
	fresh();
	null = k.wake_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	k.log = sink_open(fd[1]);
	(void)sink_write(&k, &k.log, many('x', 20000), 20000);
	is_true(HERE, k.end == END_SIGNAL && k.log.fd < 0,
		"wait: ... also when the caller's pipe has ended");
	is_int(HERE, run_poll(&k, p, 1, now_ms() + 20) < 0 && p[0].fd < 0, 1,
	       "wait: ... and that is not looked at again");
	close_fd(&null);
	close_fd(&fd[0]);
	close_fd(&fd[1]);
}

/* The master of a pseudoterminal, opened anew, would be another one. */
static void test_sink_master(void)
{
	const int fd = posix_openpt(O_RDWR | O_NOCTTY);
	struct sink s = sink_open(fd);

	is_true(HERE, fd >= 0 && s.fd == fd && !s.ours,
		"sink: a terminal's master is used as it is");
	sink_close(&s);
	(void)close(fd);
}

/* A socket whose queue is full is waited for until the run is to end. */
static void test_connect(void)
{
	const struct sockaddr_un a = { .sun_family = AF_UNIX,
				       .sun_path = "queue" };
	const struct sockaddr *to = (const struct sockaddr *)&a;
	int fd[8], listener, count = 0;

	fresh();
	listener = unix_socket(&k);
	(void)bind(listener, to, sizeof a);
	(void)listen(listener, 0);
	do {
		fd[count] = unix_socket(&k);
		(void)fcntl(fd[count], F_SETFL, O_NONBLOCK);
	} while (connect(fd[count++], to, sizeof a) == 0 && count < 7);
	fd[count] = unix_socket(&k);
	k.deadline = now_ms() + 50;
	is_int(HERE, unix_connect(&k, fd[count], &a), -1,
	       "connect: the queue is full");
	is_int(HERE, k.end, END_TIMEOUT, "connect: the queue is full");
	fresh();
	(void)close(accept(listener, NULL, NULL));
	is_int(HERE, unix_connect(&k, fd[count], &a), 0,
	       "connect: there is room");
	is_int(HERE, fcntl(fd[count], F_GETFL) & O_NONBLOCK, 0,
	       "connect: there is room");
	for (int i = 0; i <= count; i++)
		(void)close(fd[i]);
	(void)close(listener);
}

/* A child that has ended does not end the wait for a lock. */
static void test_reserve(void)
{
	const char byte = SIGCHLD;
	int fd[2] = { -1, -1 }, dir;

	fresh();
	(void)make_pipe(&k, fd);
	k.wake_fd = fd[0];
	(void)!write(fd[1], &byte, 1);
	dir = open(".", O_RDONLY | O_CLOEXEC);
	(void)flock(dir, LOCK_EX);
	(void)strcpy(k.snapshot.dir, ".");
	(void)strcpy(k.snapshot.target, "./reserved");
	k.deadline = now_ms() + 50;
	snapshot_reserve(&k);
	is_int(HERE, k.over, END_TIMEOUT, "reserve: waits for the directory");
	part_remove(&k.snapshot);
	(void)close(dir);
	close_fd(&fd[0]);
	close_fd(&fd[1]);
}

/* A stream whose far end fails: what that means for the run. */
static void test_streams(void)
{
	struct vm *v = &k.vm;
	int fd[2] = { -1, -1 }, theirs = -1;
	char byte;

	(void)signal(SIGPIPE, SIG_IGN);
	fresh();
	(void)!pipe(fd);
	close_fd(&fd[0]);
	v->out.to = fd[1];
	v->out.chunk = PIPE_BUF;
	v->out.len = 5;
	stream_move(&k, &v->out);
	is_true(HERE, k.end == END_SIGNAL && k.signal == SIGPIPE,
		"stream: nobody reads stdout");
	close_fd(&fd[1]);
	fresh();
	v->err.chunk = SIZE_MAX;
	v->err.to = open("/dev/full", O_WRONLY);
	v->err.len = 5;
	stream_move(&k, &v->err);
	is_int(HERE, k.end, END_OUTPUT, "stream: no space");
	is_error(HERE, "stderr: No space left on device", "stream: no space");
	close_fd(&v->err.to);
	fresh();
	(void)spawn_pair(&k, FD_SOCKET, &v->in.to, &theirs);
	v->in.from = open("empty", O_RDONLY);
	stream_move(&k, &v->in);
	is_true(HERE, v->in.from == -1 && v->in.to >= 0
		&& recv(theirs, &byte, 1, MSG_DONTWAIT) == 0,
		"stream: stdin's end is passed on");
	close_fd(&theirs);
	v->in.from = 0;
	v->in.chunk = SIZE_MAX;
	v->in.len = 5;
	stream_move(&k, &v->in);
	is_true(HERE, v->in.from == -1 && v->in.len == 0
		&& k.end == END_NONE, "stream: nobody reads stdin");
	close_fd(&v->in.to);
}

/* A pipe with little room is not waited for, and nothing is lost. */
static void test_stream_pipe(void)
{
	struct vm *v = &k.vm;
	int fd[2] = { -1, -1 };
	size_t first;

	fresh();
	(void)!pipe(fd);
	v->out.to = fd[1];
	v->out.chunk = PIPE_BUF;
	v->out.len = 3 * PIPE_BUF;
	stream_move(&k, &v->out);
	first = v->out.at;
	is_true(HERE, first > 0 && first <= PIPE_BUF
		&& v->out.len == 3 * PIPE_BUF - first,
		"stream: a pipe gets what poll promises");
	v->out.to = open("out", O_WRONLY | O_CREAT | O_TRUNC, 0644);
	v->out.chunk = sink_open(v->out.to).chunk;
	stream_move(&k, &v->out);
	is_true(HERE, v->out.len == 0, "stream: a file gets all at once");
	close_fd(&v->out.to);
	v->out.from = fd[0];
	stream_move(&k, &v->out);
	is_true(HERE, v->out.len == first && v->out.total == first
		&& v->out.at == 0, "stream: what was read is counted");
	v->out.len = 0;
	close_fd(&fd[1]);
	stream_move(&k, &v->out);
	is_true(HERE, v->out.from == -1 && v->out.total == first,
		"stream: the guest's end is the end");
}

static void test_wake(void)
{
	static const char bytes[] = { SIGCHLD, SIGCHLD, SIGTERM, SIGINT };
	int fd[2] = { -1, -1 };

	fresh();
	(void)make_pipe(&k, fd);
	(void)fcntl(fd[0], F_SETFL, O_NONBLOCK);
	k.wake_fd = fd[0];
	(void)!write(fd[1], bytes, 2);
	run_wake(&k);
	is_int(HERE, k.end, END_NONE, "wake: a child");
	(void)!write(fd[1], bytes, sizeof bytes);
	run_wake(&k);
	is_true(HERE, k.end == END_SIGNAL && k.signal == SIGTERM,
		"wake: the first signal counts");
	close_fd(&fd[0]);
	close_fd(&fd[1]);
}

/* Who is told to go on before he has stopped does not stop. */
static void test_wake_pause(void)
{
	static const char bytes[] = { SIGTSTP, SIGCONT, SIGTSTP };

	for (size_t n = 2; n <= sizeof bytes; n++) {
		int fd[2] = { -1, -1 }, status = 0;
		pid_t pid;

		fresh();
		(void)make_pipe(&k, fd);
		k.wake_fd = fd[0];
		(void)!write(fd[1], bytes, n);
		pid = fork();
		if (pid == 0) {
			run_wake(&k);
			_exit(0);
		}
		(void)waitpid(pid, &status, WUNTRACED);
		is_int(HERE, WIFSTOPPED(status), n == 3,
		       name_of("wake: a pause, %zu signals", n));
		if (WIFSTOPPED(status)) {
			(void)kill(pid, SIGKILL);
			(void)waitpid(pid, NULL, 0);
		}
		close_fd(&fd[0]);
		close_fd(&fd[1]);
	}
}

static void test_ring(void)
{
	static char in[3 * RING_SIZE];
	static const size_t cuts[] = { 1, 1000, RING_SIZE - 1, RING_SIZE,
				       RING_SIZE + 1, STREAM_SIZE };
	bool same = true;

	for (size_t i = 0; i < sizeof in; i++)
		in[i] = (char)next_random();
	for (size_t i = 0; i < COUNT(cuts); i++) {
		size_t at = 0, n;

		fresh();
		for (size_t part = cuts[i]; at + part <= sizeof in;
		     at += part) {
			size_t want = at + part < RING_SIZE ? at + part
							    : RING_SIZE;

			console_bytes(&k, in + at, part);
			if (part == 1 && at % 997 != 0)
				continue;
			n = ring_text(&k.console, k.scratch);
			same = same && n == want
			       && memcmp(k.scratch, in + at + part - n, n) == 0;
		}
	}
	is_true(HERE, same, "ring: keeps the last bytes in order");
}

static const char *const kvm_words[] = {
	"KVM internal error. Suberror: 1", "KVM: entry failed, hardware error",
	"KVM: unknown exit, hardware reason 31",
	"KVM: exception 6 exit (error code 0x0)",
	"kvm run failed Bad address",
};

static void test_log_bytes(void)
{
	for (size_t i = 0; i < COUNT(kvm_words); i++) {
		const char *s = kvm_words[i];
		const char *name = name_of("log: %s", s);
		char want[128];

		fresh();
		k.attempt.accel = ACCEL_KVM;
		as_in(true, true, false); /* also while the program runs */
		log_bytes(&k, "qemu: ", 6);
		log_bytes(&k, s, 8);
		is_int(HERE, k.end, END_NONE, name);
		log_bytes(&k, s + 8, strlen(s) - 8);
		log_bytes(&k, "\nRAX=0\n", 7);
		is_int(HERE, k.end, END_KVM, name);
		is_int(HERE, verdict(&k), 125, name);
		(void)snprintf(want, sizeof want, "kvm failed: %s", s);
		is_error(HERE, want, name);
	}
	fresh();
	k.attempt.accel = ACCEL_TCG;
	log_bytes(&k, kvm_words[0], strlen(kvm_words[0]));
	is_int(HERE, k.end, END_NONE, "log: such words under TCG");
	fresh();
	log_bytes(&k, many('l', LOG_SIZE - 1), LOG_SIZE - 1);
	log_bytes(&k, "xyz", 3);
	log_bytes(&k, "xyz", 3);
	is_true(HERE, k.said_len == LOG_SIZE && k.said[LOG_SIZE - 1] == 'x',
		"log: keeps the first bytes");
}

static const struct {
	const char *text, *what, *want; /* NULL: not found */
} line_table[] = {
	{ "a\nbc d\r\ne", "c", "c d" }, { "abc", "abc", "abc" },
	{ "abc", "x", NULL }, { "abc\n", "", "abc" }, { "\n", "", "" },
	{ "", "", "" }, { "", "x", NULL }, { "0123456789", "12", "1234567" },
};

static void test_find_line(void)
{
	char out[8];

	for (size_t i = 0; i < COUNT(line_table); i++) {
		size_t n = strlen(line_table[i].text);
		struct map m = map_copy(line_table[i].text, n);
		bool found = find_line(m.at, n, line_table[i].what, out,
				       sizeof out);

		is_text(HERE, found ? out : NULL, line_table[i].want,
			name_of("find_line: %s in %s", line_table[i].what,
				line_table[i].text));
		map_free(&m);
	}
}

/* ==== The guest agent of an image ======================================= */
static const struct { /* RFC 4648, section 10, and what is none */
	const char *plain, *coded;
} base64_table[] = {
	{ "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" },
	{ "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" },
	{ "foobar", "Zm9vYmFy" }, { "\xff\xfe\xfd", "//79" },
};

static void test_base64(void)
{
	char at[16];
	struct text t;

	for (size_t i = 0; i < COUNT(base64_table); i++) {
		const char *plain = base64_table[i].plain;

		text_init(&t, at, sizeof at);
		base64_add(&t, plain, strlen(plain));
		is_text(HERE, at, base64_table[i].coded,
			name_of("base64 of %s", base64_table[i].coded));
		text_init(&t, at, sizeof at);
		base64_read(&t, base64_table[i].coded);
		is_text(HERE, at, plain, name_of("base64, back from %s",
						 base64_table[i].coded));
	}
	text_init(&t, at, sizeof at);
	base64_read(&t, "Zm9v\\u0000Zm9v");
	is_text(HERE, at, "foo", "base64: up to what is none");
	text_init(&t, at, 3);
	base64_read(&t, "Zm9vYmFy");
	is_text(HERE, at, "fo", "base64: as much as there is room for");
}

static const struct {
	const char *line, *name;
	long long want;
} json_table[] = {
	{ "{\"return\": 12}", "\"return\"", 12 },
	{ "{\"return\":{\"pid\" :7}}", "\"pid\"", 7 },
	{ "{\"return\": -1}", "\"return\"", -1 },
	{ "{\"return\": {}}", "\"return\"", -1 },
	{ "{\"return\"", "\"return\"", -1 },
	{ "{\"return\": 99999999999999999999}", "\"return\"", -1 },
	{ "{\"desc\": \"\\\"return\\\": 1\"}", "\"return\"", -1 },
	{ "", "\"return\"", -1 },
};

static void test_json(void)
{
	for (size_t i = 0; i < COUNT(json_table); i++)
		is_int(HERE, json_number(json_table[i].line,
					 json_table[i].name),
		       json_table[i].want, name_of("json: %s in %s",
			json_table[i].name, json_table[i].line));
}

/* The last of these words counts, wherever they stand. */
static void test_stage(void)
{
	static const char text[] = "GRUB\n[    1.0] Linux version 6\n"
		"image login: \n";

	fresh();
	is_text(HERE, image_stage(&k)->text, "", "stage: nothing is said");
	ring_put(&k.console, text, sizeof text - 1);
	is_text(HERE, image_stage(&k)->text, " login: ", "stage: it is up");
}

/* ==== Another attempt =================================================== */
#define EXITED(n) ((n) << 8) /* as wait() encodes it */

/* From what is here to no other attempt, unless to says which: a for another
 * acpi=, t for TCG, s for no sandbox, 8 and 6 for a QEMU older than that; - to
 * none, with an error. */
static const struct next_case {
	const char *name;
	char to;
	bool original, hello, have_status, turned, no_sandbox, sandbox_asked;
	const char *init_error, *log, *ring;
	uint64_t out;
	int accel_asked, acpi_asked, accel, end, wait_status;
} next_cases[] = {
	{ "KVM: internal error", 't', .accel = ACCEL_KVM, .end = END_KVM,
	  .log = "KVM internal error. Suberror: 1\n" },
	{ "KVM: no sign of life", 't', .accel = ACCEL_KVM, .end = END_KVM },
	{ "KVM: QEMU failed", 't', .accel = ACCEL_KVM, .end = END_QEMU,
	  .wait_status = EXITED(1), .log = "qemu: Could not access KVM\n" },
	{ "KVM: QEMU aborted", 't', .accel = ACCEL_KVM, .end = END_QEMU,
	  .wait_status = SIGABRT },
	{ "KVM asked for: QEMU aborted", 0, .accel = ACCEL_KVM,
	  .accel_asked = ACCEL_KVM, .end = END_QEMU, .wait_status = SIGABRT },
	{ "KVM asked for: internal error", 0, .accel = ACCEL_KVM,
	  .accel_asked = ACCEL_KVM, .end = END_KVM },
	{ "KVM: after hello", 0, .accel = ACCEL_KVM, .end = END_KVM,
	  .hello = true },
	{ "KVM: original's mode, output came", 0, .accel = ACCEL_KVM,
	  .end = END_KVM, .original = true, .out = 1 },
	{ "KVM: original's mode, QEMU failed", 't', .accel = ACCEL_KVM,
	  .end = END_QEMU, .original = true, .wait_status = EXITED(1) },
	{ "TCG: QEMU failed", 0, .accel = ACCEL_TCG, .end = END_QEMU,
	  .wait_status = EXITED(1), .log = "qemu: no such file\n" },
	{ "TCG: QEMU knows no sandbox", 's', .accel = ACCEL_TCG,
	  .end = END_QEMU, .wait_status = EXITED(1),
	  .log = "qemu: -sandbox: sandbox support is not compiled in\n" },
	{ "TCG: QEMU knows no FSRS", '8', .accel = ACCEL_TCG,
	  .end = END_QEMU, .wait_status = EXITED(1),
	  .log = "qemu: Property 'max-x86_64-cpu.fsrs' not found\n" },
	{ "TCG: QEMU knows no ioapic2, seen by its monitor", '6',
	  .accel = ACCEL_TCG, .end = END_MONITOR,
	  .log = "qemu: Property 'microvm-machine.ioapic2' not found\n" },
	{ "a QEMU that succeeds knows FSRS", 0, .accel = ACCEL_TCG,
	  .end = END_QEMU, .hello = true, .have_status = true,
	  .log = "qemu: Property 'max-x86_64-cpu.fsrs' not found\n" },
	{ "KVM: QEMU fails at seccomp", 's', .accel = ACCEL_KVM,
	  .end = END_QEMU, .wait_status = EXITED(1),
	  .log = "qemu: failed to install seccomp syscall filter\n" },
	{ "sandbox asked for: QEMU knows none", '-', .accel = ACCEL_TCG,
	  .end = END_QEMU, .wait_status = EXITED(1), .sandbox_asked = true,
	  .log = "qemu: -sandbox: sandbox support is not compiled in\n" },
	{ "sandbox asked for: KVM failed", 't', .accel = ACCEL_KVM,
	  .end = END_QEMU, .wait_status = EXITED(1), .sandbox_asked = true,
	  .log = "qemu: Could not access KVM\n" },
	{ "no sandbox left to drop", 0, .accel = ACCEL_TCG, .end = END_QEMU,
	  .wait_status = EXITED(1), .log = "sandbox", .no_sandbox = true },
	{ "the guest ended early", 'a', .accel = ACCEL_TCG, .end = END_QEMU },
	{ "the guest ended early under KVM", 'a', .accel = ACCEL_KVM,
	  .end = END_QEMU },
	{ "the guest ended early again", 0, .accel = ACCEL_TCG,
	  .end = END_QEMU, .turned = true },
	{ "the guest ended early, acpi asked", 0, .accel = ACCEL_TCG,
	  .end = END_QEMU, .acpi_asked = ACPI_ON },
	{ "the guest panicked", 0, .accel = ACCEL_TCG, .end = END_QEMU,
	  .ring = "[1] Kernel panic - not syncing: no\n" },
	{ "the guest ended after hello", 0, .accel = ACCEL_TCG,
	  .end = END_QEMU, .hello = true },
	{ "init gave up", 0, .accel = ACCEL_TCG, .end = END_INIT,
	  .init_error = "eno\n" },
	{ "init gave up, unfinished", 0, .accel = ACCEL_TCG, .end = END_QEMU,
	  .init_error = "eno" },
	{ "a verdict", 0, .accel = ACCEL_TCG, .end = END_VERDICT,
	  .hello = true, .have_status = true },
	{ "original: a byte", 0, .accel = ACCEL_TCG, .end = END_QEMU,
	  .original = true, .have_status = true },
	{ "original: it may have run, silently", 0, .accel = ACCEL_TCG,
	  .end = END_QEMU, .original = true },
	{ "timeout", 0, .accel = ACCEL_KVM, .end = END_TIMEOUT },
	{ "a signal", 0, .accel = ACCEL_KVM, .end = END_SIGNAL },
	{ "garbage", 0, .accel = ACCEL_KVM, .end = END_GARBAGE },
	{ "output failed", 0, .accel = ACCEL_KVM, .end = END_OUTPUT },
	{ "output stalled", 0, .accel = ACCEL_KVM, .end = END_STALL,
	  .hello = true, .have_status = true },
};

static void next_start(const struct next_case *c)
{
	struct vm *v = &k.vm;

	fresh();
	as_in(!c->original, c->hello, c->have_status);
	o.accel = c->accel_asked;
	o.acpi = c->acpi_asked;
	o.sandbox = c->sandbox_asked ? SANDBOX_ON : SANDBOX_AUTO;
	k.attempt = (struct attempt){ .accel = c->accel, .acpi = ACPI_ON,
		.sandbox = !c->no_sandbox, .acpi_turned = c->turned };
	v->out.total = c->out;
	k.end = (enum ending)c->end;
	v->wait_status = c->wait_status;
	if (c->init_error != NULL) {
		(void)strcpy(v->message, c->init_error);
		v->message_len = strlen(c->init_error);
	}
	if (c->log != NULL) {
		k.said_len = strlen(c->log);
		memcpy(k.said, c->log, k.said_len);
	}
	if (c->ring != NULL)
		console_bytes(&k, c->ring, strlen(c->ring));
}

static void test_next(void)
{
	for (size_t i = 0; i < COUNT(next_cases); i++) {
		const struct next_case *c = &next_cases[i];
		const char *name = name_of("attempt: %s", c->name);
		const struct attempt *a = &k.attempt;

		next_start(c);
		is_int(HERE, attempt_next(&k), c->to != 0 && c->to != '-',
		       name);
		is_error(HERE, c->to == '-' ? "-sandbox on: this QEMU has none"
			 : NULL, name);
		is_int(HERE, a->accel, c->to == 't' ? ACCEL_TCG : c->accel,
		       name);
		is_int(HERE, a->acpi, c->to == 'a' ? ACPI_OFF : ACPI_ON, name);
		is_int(HERE, a->sandbox, c->to != 's' && !c->no_sandbox, name);
		is_int(HERE, a->age, c->to == '6' ? QEMU_BEFORE_6
		       : c->to == '8' ? QEMU_BEFORE_8 : QEMU_ANY, name);
		is_int(HERE, a->acpi_turned, c->to == 'a' || c->turned, name);
	}
}

/* -timeout while the line that says so is not read. */
static void test_next_late(void)
{
	int fd[2] = { -1, -1 };

	next_start(&(struct next_case){ "", .accel = ACCEL_TCG,
					.end = END_BOOT_HUNG });
	(void)make_pipe(&k, fd);
	k.log = sink_open(fd[1]);
	o.verbose = 1;
	k.deadline = now_ms();
	is_int(HERE, attempt_next(&k), 0, "attempt: the time is over");
	is_int(HERE, k.end, END_TIMEOUT, "attempt: the time is over");
	sink_close(&k.log);
	close_fd(&fd[0]);
	close_fd(&fd[1]);
}

/* ==== What a guest hangs in ============================================= */
static const struct {
	const char *text, *want;
} symbol_cases[] = {
	{ "take_twice+0x1d/0x24 [hangmod]", "take_twice [hangmod]" },
	{ "spin.isra.0+0xd/0xf79 [m]\r", "spin [m]" },
	{ "__mutex_lock.constprop.0+0x39d/0x720", "__mutex_lock" },
	{ "do_wait", "do_wait" }, { "x+0x1/0x2 [", "x [" },
	{ "x [m\n]", "x [m" }, { "", "" }, { "+", "" }, { " [m]", " [m]" },
};

/* What the kernel printed at an NMI, and at SysRq l. */
#define NMI_TEXT \
	"[    3.396221] Kernel panic - not syncing: NMI: Not continuing\r\n" \
	"[    3.396221] CPU: 0 PID: 85 Comm: insmod Tainted: G  OE  6.1.0\r\n" \
	"[    3.396221]  end_repeat_nmi+0x16/0x67\r\n" \
	"[    3.396221] RIP: 0010:spin_irqoff.isra.0+0xd/0xf79 [hang]\r\n" \
	"[    3.396221] Code: c0 e8\r\n" \
	"[    3.396221] RSP: 0018:ff61df7d005c7d08 EFLAGS: 00000046\r\n" \
	"[    3.396221] RIP: 0033:0x7f9e19387829\r\n" \
	"[    3.396221] RSP: 002b:00007ffd1daa3298 EFLAGS: 00000246\r\n"
#define SYSRQ_TEXT \
	"[   10.530606] CPU: 0 PID: 1 Comm: init Tainted: G           OE\r\n" \
	"[   10.530606] RIP: 0033:0x400334\r\n" \
	"[   10.530606] RSP: 002b:00007fff8d06f670 EFLAGS: 00000246\r\n" \
	"[   10.054868] CPU: 1 UID: 0 PID: 91 Comm: insmod\r\n" \
	"[   10.054868] RIP: 0010:spin+0xd/0xf79 [hang]\r\n" \
	"[   10.054868] RSP: 0018:ff471635c03ef9f0 EFLAGS: 00000246\r\n"

static const struct {
	const char *text;
	int cpu, pid;
	const char *want; /* "": there is none */
	bool irqs_off;
} trace_cases[] = {
	{ NMI_TEXT, 0, -1, "spin_irqoff [hang]", true },
	{ NMI_TEXT, -1, 85, "spin_irqoff [hang]", true },
	{ NMI_TEXT, 1, -1, "", false }, { NMI_TEXT, -1, 84, "", false },
	{ SYSRQ_TEXT, 1, -1, "spin [hang]", false },
	{ SYSRQ_TEXT, -1, 91, "spin [hang]", false },
	{ SYSRQ_TEXT, 0, -1, "", false },
	{ "RIP: 0010:x EFLAGS: 46", -1, -1, "", false },
	{ "CPU: PID: \nRIP: 0010:\nEFLAGS: ", -1, -1, "", false },
};

#define TASKS "program 7\ntask 7 7 1 S do_wait 61 sh\n+do_wait+0x1/0x2\n"
#define REGISTERS(ip, flags, cpl, hlt) "CPU#0\\r\\nRIP=" ip " RFL=" flags \
	" [-------] CPL=" cpl " II=0 A20=1 SMM=0 HLT=" hlt "\\r\\n"
static const struct {
	const char *name, *init, *monitor, *console, *want;
} hang_cases[] = {
	{ "a sleeper", "program 7\ntask 7 7 1 S hrtimer_nanosleep 230 a\n"
	  "+hrtimer_nanosleep+0x1/0x2\n+do_syscall_64+0x5d/0x90\n", "", "",
	  "the program sleeps in hrtimer_nanosleep" },
	{ "no stack", "program 7\ntask 7 7 1 D lock_page 0 a\n", "", "",
	  "the program waits uninterruptibly in lock_page" },
	{ "no stack and no wchan", "program 7\ntask 7 7 1 D - - a\n", "", "",
	  "the program waits uninterruptibly" },
	{ "its child", TASKS "task 8 8 7 T - - a b\n", "", "",
	  "the program waits for a b (pid 8), which is stopped" },
	{ "the child that hangs most", TASKS "task 8 8 7 S x 0 a\n"
	  "task 9 9 7 D y 0 b\ntask 10 10 7 R - - c\n", "", "",
	  "the program waits for b (pid 9), which waits uninterruptibly in y" },
	{ "a thread", "program 7\ntask 7 7 1 S futex 0 a\ntask 8 7 1 D x 0 a\n",
	  "", "", "the program waits uninterruptibly in x" },
	{ "a child's child", TASKS "task 8 8 7 S do_wait 61 b\n"
	  "task 9 9 8 Z - - c\n", "", "", "the program waits for c (pid 9),"
	  " which has ended, and nobody waits for it" },
	{ "its own parent", "program 7\ntask 7 7 7 S do_wait 61 sh\n", "", "",
	  "the program sleeps in do_wait" },
	{ "in user space", "program 7\ntask 7 7 1 R - running a\n"
	  "+exit_to_user_mode_prepare+0x1/0x2\n+asm_sysvec_x+0x1/0x2\n", "",
	  "", "the program runs (CPU-bound) in user space" },
	{ "in the kernel", "program 7\ntask 7 7 1 R - running a\n"
	  "+read_zero+0x1/0x2\n+entry_SYSCALL_64_after_hwframe+0x1/0x2\n", "",
	  "", "the program runs in the kernel, in read_zero" },
	{ "on another CPU", "program 91\ntask 91 91 1 R - running a\n", "",
	  SYSRQ_TEXT, "the program runs in the kernel: CPU 1 spins in spin"
	  " [hang]" },
	{ "a state that is new", "program 7\ntask 7 7 1 ? - - a\n", "", "",
	  "the program is in an unknown state" },
	{ "no program", "program 7\n", REGISTERS("0", "246", "0", "1"), "",
	  "init knows no program, the kernel is idle" },
	{ "an NMI", NULL, REGISTERS("ffffffffc027c094", "00000046", "0", "0"),
	  NMI_TEXT, "init does not answer, CPU 0 spins in spin_irqoff [hang]"
	  " with interrupts off" },
	{ "idle", NULL, REGISTERS("1", "00000246", "0", "1"), NMI_TEXT,
	  "init does not answer, the kernel is idle" },
	{ "user space", NULL, REGISTERS("1", "00000246", "3", "0"), "",
	  "init does not answer, CPU 0 runs in user space" },
	{ "the second CPU", NULL, REGISTERS("1", "00000246", "0", "1")
	  REGISTERS("ffffffff81000000", "00000246", "0", "0"), "", "init does"
	  " not answer, CPU 1 spins in the kernel, at 0xffffffff81000000" },
	{ "nothing", NULL, "", "", "init does not answer, QEMU's monitor does"
	  " not answer" },
	{ "arm64", NULL, " PC=ffffb4eba333a8cc X00=0\nPSTATE=604000c5 -ZC- EL1h"
	  "\n", "", "init does not answer, CPU 0 is in the kernel, at"
	  " 0xffffb4eba333a8cc with interrupts off" },
	{ "arm64, user space", NULL, " PC=0000aaaa X00=0\nPSTATE=60000000 EL0t"
	  "\n", "", "init does not answer, CPU 0 runs in user space" },
	{ "riscv64", NULL, " pc       ffffffff8027e6d2\n mstatus  0000000a00000182"
	  "\n", "", "init does not answer, CPU 0 is in the kernel, at"
	  " 0xffffffff8027e6d2" },
	{ "s390x", NULL, "PSW=mask 0400d00180000000 addr 000003fffe9286ee cc 0\n",
	  "", "init does not answer, CPU 0 spins in the kernel, at 0x3fffe9286ee"
	  " with interrupts off" },
	{ "s390x, idle", NULL, "PSW=mask 0706c00180000000 addr 000003ffe cc 0\n",
	  "", "init does not answer, the kernel is idle" },
	{ "s390x, user space", NULL, "PSW=mask 0705000180000000 addr 03 cc 0\n",
	  "", "init does not answer, CPU 0 runs in user space" },
	{ "in user space, arm64", "program 7\ntask 7 7 1 R - running a\n"
	  "+do_notify_resume+0x1/0x2\n", "", "",
	  "the program runs (CPU-bound) in user space" },
	{ "in user space, s390x", "program 7\ntask 7 7 1 R - running a\n"
	  "+irqentry_exit_to_user_mode+0x1/0x2\n+ext_int_handler+0x1/0x2\n", "",
	  "", "the program runs (CPU-bound) in user space" },
};

/* What the lines of s are told to, one by one. */
static void told_lines(const char *s,
		       void (*take)(struct explanation *, const char *))
{
	char line[1024];

	for (; *s != '\0'; s += strcspn(s, "\n") + 1) {
		(void)snprintf(line, sizeof line, "%.*s",
			       (int)strcspn(s, "\n"), s);
		take(&k.explain, line);
	}
}

/* An explanation has begun while a program runs. */
static void explain_start(void)
{
	fresh();
	as_in(true, true, false);
	k.vm.pid = 1;
	memset(&k.explain, 0, sizeof k.explain);
	text_init(&k.explain.said, k.explain.said_at,
		  sizeof k.explain.said_at);
}

static void test_hostile(void)
{
	static const char *const words[] = { "task ", "program ", "+", "-1 ",
		"99999999999999999999 ", "R ", "RIP=", " RFL=", " CPL=3",
		" HLT=", "asm_", "PSTATE=", " pc ", " PC=", "PSW=mask ", " addr ",
		" mstatus ", "do_wait", "\033[2J", "%s%n", "\377", "CPU: ",
		"PID: ", "RIP: 0010:", "EFLAGS: ", " [", "]", "1 ", "7 " };
	char line[1024], out[4096];
	unsigned seed = 1;

	explain_start();
	for (int n = 0; n < 20000; n++) {
		struct text t;

		text_init(&t, line, sizeof line);
		for (int i = 0; i < 60; i++) {
			seed = seed * 1103515245 + 12345;
			text_add(&t, words[(seed >> 16) % COUNT(words)]);
		}
		explain_init_line(&k.explain, line);
		explain_registers(&k.explain, line);
		console_bytes(&k, line, strlen(line));
		if (n % 100 == 0)
			explain_line(&k, out, sizeof out);
		monitor_bytes(&k, line, strlen(line));
	}
	is_true(HERE, k.explain.task_count <= TASKS_MAX
		&& k.explain.cpu_count <= CPUS_MAX
		&& k.explain.said.len < EXPLAIN_SIZE,
		"hang: what is told has its bounds");
}

static void test_explain(void)
{
	char out[4096];
	struct trace t;

	for (size_t i = 0; i < COUNT(symbol_cases); i++) {
		char symbol[SYMBOL_SIZE];

		symbol_take(symbol, symbol_cases[i].text);
		is_text(HERE, symbol, symbol_cases[i].want,
			name_of("symbol: %s", symbol_cases[i].text));
	}
	for (size_t i = 0; i < COUNT(trace_cases); i++) {
		const char *name = name_of("trace %zu", i);
		bool found = trace_find(trace_cases[i].text,
					strlen(trace_cases[i].text),
					trace_cases[i].cpu, trace_cases[i].pid,
					&t);

		is_text(HERE, found ? t.symbol : "", trace_cases[i].want, name);
		is_int(HERE, found && t.irqs_off, trace_cases[i].irqs_off,
		       name);
	}
	for (size_t i = 0; i < COUNT(hang_cases); i++) {
		explain_start();
		k.explain.answered = hang_cases[i].init != NULL;
		if (hang_cases[i].init != NULL)
			told_lines(hang_cases[i].init, explain_init_line);
		k.explain.step = EXPLAIN_ASK;
		monitor_bytes(&k, hang_cases[i].monitor,
			      strlen(hang_cases[i].monitor));
		console_bytes(&k, hang_cases[i].console,
			      strlen(hang_cases[i].console));
		explain_line(&k, out, sizeof out);
		is_text(HERE, out, hang_cases[i].want,
			name_of("hang: %s", hang_cases[i].name));
	}
	test_hostile();
}

/* ==== The verdict ======================================================= */
static const struct verdict_case {
	const char *name;
	enum ending end;
	int want;
	const char *error;     /* NULL: none */
	int wait_status, status;
	bool original, have_status, hello;
	const char *log, *ring, *init_error;
} verdict_cases[] = {
	{ "0", END_VERDICT, 0, NULL, .have_status = true },
	{ "255", END_VERDICT, 255, NULL, .have_status = true, .status = 255 },
	{ "124 of its own", END_VERDICT, 124, NULL, .have_status = true,
	  .status = 124 },
	{ "SIGINT", END_SIGNAL, 130, .error = NULL },
	{ "timeout", END_TIMEOUT, 124,
	  .error = "timeout after 1.5 s: there is no guest yet" },
	{ "init", END_INIT, 125, "init gave up: no ports",
	  .init_error = "eno ports" },
	{ "init, no word", END_INIT, 125, "init gave up: ",
	  .init_error = "e" },
	{ "init, unfinished", END_QEMU, 125, "init gave up: no po",
	  .init_error = "eno po" },
	{ "KVM", END_KVM, 125, "kvm failed: KVM internal error",
	  .log = "KVM internal error" },
	{ "KVM is silent", END_KVM, 125,
	  .error = "kvm failed: no sign of life" },
	{ "stall", END_STALL, 125, "output was lost:"
	  " 3 of 5 bytes of stdout and 0 of 7 of stderr came",
	  .have_status = true },
	{ "garbage", END_GARBAGE, 125, .error = "the guest spoke"
	  " nonsense on its control port: byte 0x71" },
	{ "QEMU by signal", END_QEMU, 125, "QEMU died by signal 6 (Aborted):"
	  " it said nothing", .wait_status = SIGABRT },
	{ "QEMU with a status", END_QEMU, 125, "QEMU ended with status 1:"
	  " qemu: no", .wait_status = EXITED(1), .log = "qemu: no\nmore\n" },
	{ "QEMU failed behind a verdict", END_QEMU, 125, "QEMU died by",
	  .wait_status = SIGSEGV, .have_status = true },
	{ "lost output", END_QEMU, 125, "output was lost: 3 of 5 bytes of"
	  " stdout and 0 of 7 of stderr came", .have_status = true,
	  .hello = true },
	{ "panic", END_QEMU, 123, "the guest panicked: VFS: no root",
	  .ring = "[ 1.0] Kernel panic - not syncing: VFS: no root\r\nx" },
	{ "firmware", END_QEMU, 125, "the firmware gave up: no kernel",
	  .ring = "firmware: no kernel\n" },
	{ "init without ports", END_QEMU, 125, "init gave up: no port",
	  .ring = "[    2.1] ktest: no port\n" },
	{ "early end", END_QEMU, 125, .error = "the guest ended"
	  " without an exit code, before init was ready" },
	{ "end while it ran", END_QEMU, 123, "the guest ended without an exit"
	  " code, while the program ran", .hello = true },
	{ "original: 0", END_QEMU, 0, NULL, .original = true,
	  .have_status = true },
	{ "original: 7", END_QEMU, 7, NULL, .original = true,
	  .have_status = true, .status = 7 },
	{ "original: 7, QEMU stayed", END_VERDICT, 7, NULL, .original = true,
	  .have_status = true, .status = 7 },
	{ "original: 0, QEMU died", END_QEMU, 125, "QEMU died by signal 11",
	  .original = true, .have_status = true, .wait_status = SIGSEGV },
	{ "original: no byte", END_QEMU, 125, "the guest ended without an exit"
	  " code, or with no byte on its control port", .original = true },
	{ "original: panic", END_QEMU, 123, "the guest panicked: x",
	  .original = true, .ring = "Kernel panic - not syncing: x" },
};

static void verdict_start(const struct verdict_case *c)
{
	struct vm *v = &k.vm;

	fresh();
	as_in(!c->original, c->hello, c->have_status);
	o.timeout = 1500;
	k.end = c->end;
	k.signal = c->end == END_SIGNAL ? SIGINT : 0;
	v->wait_status = c->wait_status;
	v->status = c->status;
	v->message[0] = 'q';
	v->message_len = 1;
	v->out.total = 3;
	v->want_out = 5;
	v->want_err = 7;
	if (c->init_error != NULL) {
		v->message_len = strlen(c->init_error);
		memcpy(v->message, c->init_error, v->message_len);
	}
	if (c->log != NULL) {
		k.said_len = strlen(c->log);
		memcpy(k.said, c->log, k.said_len);
	}
	if (c->ring != NULL)
		console_bytes(&k, c->ring, strlen(c->ring));
}

static void test_verdict(void)
{
	for (size_t i = 0; i < COUNT(verdict_cases); i++) {
		const struct verdict_case *c = &verdict_cases[i];
		const char *name = name_of("verdict: %s", c->name);

		verdict_start(c);
		is_int(HERE, verdict(&k), c->want, name);
		is_error(HERE, c->error, name);
	}
	verdict_start(&verdict_cases[0]);
	k.end = END_OUTPUT;
	errno = ENOSPC;
	(void)fail(&k, "stdout:");
	is_int(HERE, verdict(&k), 125, "verdict: output failed");
	is_error(HERE, "stdout: No space left on device",
		 "verdict: output failed");
}

/* ==== Health ============================================================ */
/* A record of the log, as /dev/kmsg has it. */
static uint64_t record_number;

static void log_record(int priority, const char *text)
{
	static char line[RECORD_SIZE + 100];
	const int n = snprintf(line, sizeof line, "%d,%llu,1%06u,-;%s\n"
			       " SUBSYSTEM=cpu\n", priority,
			       (unsigned long long)record_number,
			       (unsigned)record_number, text);

	record_number++;
	for (int i = 0, part; i < n; i += part) {
		part = 1 + (int)(next_random() % 50);
		part = part < n - i ? part : n - i;
		klog_bytes(&k, line + i, (size_t)part);
	}
}

/* Lines, each a record. */
static void log_report(int priority, const char *text)
{
	for (const char *p = text; *p != '\0'; p += strcspn(p, "\n") + 1) {
		char line[512];

		(void)snprintf(line, sizeof line, "%.*s",
			       (int)strcspn(p, "\n"), p);
		log_record(priority, line);
	}
}

#define CUT "------------[ cut here ]------------\n"
#define BAR "=====================================================\n"
#define CPU "CPU: 0 PID: 85 Comm: my cat Tainted: G           OE      6.1.0\n"
#define CPU_612 "CPU: 1 UID: 0 PID: 85 Comm: my cat Not tainted 6.12.1 #1\n"
#define STACK "Call Trace:\n <TASK>\n dump_stack_lvl+0x44/0x5c\n </TASK>\n"
#define END "---[ end trace 0000000000000000 ]---\n"

/* Reports as kernels write them: 6.1 if nothing else is said. */
static const struct report_case {
	enum severity severity;
	const char *headline; /* its beginning; NULL: the report's first line */
	const char *text;
} report_cases[] = {
	{ WARNED, "WARNING: CPU: 0 PID: 85 at drivers/misc/lkdtm/bugs.c:112 ",
	  CUT "WARNING: CPU: 0 PID: 85 at drivers/misc/lkdtm/bugs.c:112"
	  " lkdtm_WARNING+0x16/0x20\nModules linked in:\n" CPU STACK END },
	{ WARNED, "WARNING: CPU: 1 PID: 85 at drivers/misc/lkdtm/bugs.c:117 ",
	  CUT "Warning message trigger count: 2\nWARNING: CPU: 1 PID: 85 at"
	  " drivers/misc/lkdtm/bugs.c:117 x+0x16/0x20\n" CPU_612 STACK END },
	/* 6.18 */
	{ WARNED, "WARNING: mm/slub.c:12 at foo+0x1/0x2, CPU#0: cat/85",
	  CUT "WARNING: mm/slub.c:12 at foo+0x1/0x2, CPU#0: cat/85\n" CPU_612
	  STACK END },
	{ WARNED, "refcount_t: underflow; use-after-free.", CUT
	  "refcount_t: underflow; use-after-free.\nWARNING: CPU: 0 PID: 85 at"
	  " lib/refcount.c:28 refcount_warn_saturate+0x1/0x2\n" CPU STACK END },
	{ WARNED, "ODEBUG: free active (active state 0) object type: timer_",
	  CUT "ODEBUG: free active (active state 0) object type: timer_list"
	  " hint: foo+0x0/0x10\nWARNING: CPU: 0 PID: 85 at lib/debugobjects.c:"
	  "505 debug_print_object+0x1/0x2\n" CPU STACK END },
	{ WARNED, "WARNING: possible circular locking dependency detected",
	  BAR "WARNING: possible circular locking dependency detected\n6.1.0"
	  " Not tainted\n------------------------------------------------------"
	  "\ncat/85 is trying to acquire lock:\nstack backtrace:\n" CPU STACK },
	{ WARNED, "WARNING: possible recursive locking detected", BAR
	  "WARNING: possible recursive locking detected\n" CPU STACK },
	{ WARNED, "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order", BAR
	  "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected\n" CPU
	  STACK },
	{ WARNED, "WARNING: inconsistent lock state", BAR
	  "WARNING: inconsistent lock state\n" CPU STACK },
	{ WARNED, "WARNING: bad unlock balance detected!", BAR
	  "WARNING: bad unlock balance detected!\n" CPU STACK },
	{ WARNED, "WARNING: cat/85 still has locks held!", BAR
	  "WARNING: cat/85 still has locks held!\n" CPU STACK },
	{ WARNED, "WARNING: suspicious RCU usage", BAR
	  "WARNING: suspicious RCU usage\n" CPU STACK },
	{ WARNED, "[ BUG: Invalid wait context ]", BAR
	  "[ BUG: Invalid wait context ]\n" CPU STACK },
	{ WARNED, NULL, "INFO: trying to register non-static key.\n" CPU STACK },
	{ WARNED, NULL, "BUG: MAX_LOCKDEP_CHAINS too low!\n" CPU STACK },
	{ WARNED, NULL, "BUG: sleeping function called from invalid context at"
	  " kernel/locking/mutex.c:580\nin_atomic(): 1, irqs_disabled(): 0\n"
	  CPU STACK },
	{ WARNED, NULL, "BUG: scheduling while atomic: cat/85/0x00000002\n" CPU
	  STACK },
	{ WARNED, NULL, "BUG: using smp_processor_id() in preemptible"
	  " [00000000] code: cat/85\n" CPU STACK },
	{ WARNED, "UBSAN: array-index-out-of-bounds in drivers/misc/lkdtm/", BAR
	  "UBSAN: array-index-out-of-bounds in drivers/misc/lkdtm/bugs.c:342:16"
	  "\nindex 8 is out of range for type 'char [8]'\n" CPU STACK BAR },
	{ WARNED, "BUG: KCSAN: data-race in foo / bar", BAR
	  "BUG: KCSAN: data-race in foo / bar\n\n" CPU BAR },
	{ WARNED, NULL, "watchdog: BUG: soft lockup - CPU#0 stuck for 26s!"
	  " [cat:85]\nModules linked in:\n" CPU STACK },
	{ WARNED, NULL, "NMI watchdog: Watchdog detected hard LOCKUP on cpu 0\n"
	  CPU STACK },
	{ WARNED, NULL, "watchdog: CPU3: Watchdog detected hard LOCKUP on cpu"
	  " 2\n" CPU_612 STACK }, /* 6.12 */
	{ WARNED, NULL, "INFO: task cat:85 blocked for more than 120 seconds.\n"
	  "      Not tainted 6.1.0 #1\n\"echo 0 > /proc/sys/kernel/hung_task_"
	  "timeout_secs\" disables this message.\ntask:cat             state:D"
	  " stack:27856 pid:85    ppid:1      flags:0x00004000\n" STACK },
	{ WARNED, NULL, "rcu: INFO: rcu_preempt self-detected stall on CPU\n"
	  "rcu: \t0-....: (2599 ticks this GP) idle=8b14/1/0x4000000000000000\n"
	  CPU STACK },
	{ WARNED, NULL, "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:\n"
	  CPU STACK },
	{ WARNED, NULL, "rcu: INFO: rcu_preempt detected expedited stalls on"
	  " CPUs/tasks: { 1-.... } 27 jiffies s: 197 root: 0x2/.\n" STACK },
	{ WARNED, NULL, "INFO: rcu_tasks detected stalls on tasks:\n" STACK },
	{ WARNED, NULL, "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0"
	  " nice=0 stuck for 34s!\nShowing busy workqueues and worker pools:\n" },
	{ FAILED, NULL, "BUG: kernel NULL pointer dereference, address:"
	  " 0000000000000008\n#PF: supervisor write access in kernel mode\n"
	  "Oops: 0002 [#1] PREEMPT SMP NOPTI\n" CPU STACK "CR2: 0\n" END },
	{ FAILED, NULL, "BUG: unable to handle page fault for address: ffff88\n"
	  "Oops: 0000 [#2] PREEMPT SMP\n" CPU STACK END },
	{ FAILED, NULL, "general protection fault, probably for non-canonical"
	  " address 0xdead000000000100: 0000 [#1] PREEMPT SMP\n" CPU STACK END },
	{ FAILED, NULL, "Oops: general protection fault, probably for non-"
	  "canonical address 0xdead000000000100: 0000 [#1] SMP\n" CPU_612 STACK
	  END }, /* 6.10 */
	{ FAILED, NULL, "divide error: 0000 [#1] PREEMPT SMP KASAN\n" CPU STACK
	  END },
	{ FAILED, "kernel BUG at drivers/misc/lkdtm/bugs.c:105!", CUT
	  "kernel BUG at drivers/misc/lkdtm/bugs.c:105!\ninvalid opcode: 0000"
	  " [#1] PREEMPT SMP\n" CPU STACK END },
	{ FAILED, "list_add corruption. next->prev should be prev (ffff), but",
	  CUT "list_add corruption. next->prev should be prev (ffff), but was 0."
	  " (next=ffff).\nWARNING: CPU: 0 PID: 85 at lib/list_debug.c:25 x\n"
	  CPU STACK END },
	{ FAILED, NULL, "list_del corruption. prev->next should be ffff, but was"
	  " 0\n" CUT "kernel BUG at lib/list_debug.c:56!\ninvalid opcode: 0000"
	  " [#1] SMP\n" CPU STACK END },
	{ FAILED, NULL, "usercopy: Kernel memory exposure attempt detected from"
	  " SLUB object 'foo' (offset 0, size 9)!\n" CUT "kernel BUG at"
	  " mm/usercopy.c:101!\n" CPU STACK END },
	{ FAILED, NULL, "detected buffer overflow in memcpy\n" CUT "kernel BUG"
	  " at lib/string_helpers.c:1048!\n" CPU STACK END },
	{ FAILED, "BUG: KASAN: slab-use-after-free in lkdtm_WRITE_AFTER_FREE", BAR
	  "BUG: KASAN: slab-use-after-free in lkdtm_WRITE_AFTER_FREE+0x1/0x2\n"
	  "Write of size 8 at addr ffff888004 by task cat/85\n\n" CPU STACK
	  "\nAllocated by task 85:\n kasan_save_stack+0x1/0x2\n" BAR },
	{ FAILED, "BUG: KFENCE: use-after-free read in foo+0x1/0x2", BAR
	  "BUG: KFENCE: use-after-free read in foo+0x1/0x2\n\n" CPU BAR },
	{ FAILED, "BUG: KMSAN: uninit-value in foo+0x1/0x2", BAR
	  "BUG: KMSAN: uninit-value in foo+0x1/0x2\n" CPU BAR },
	{ FAILED, "BUG kmalloc-64 (Tainted: G    B     ): Poison overwritten",
	  BAR "BUG kmalloc-64 (Tainted: G    B     ): Poison overwritten\n" CPU
	  STACK },
	{ FAILED, NULL, "BUG: Bad page state in process cat  pfn:02a3c\n" CPU
	  STACK },
	{ FAILED, NULL, "BUG: Bad page map in process cat  pte:8 pmd:9\n" CPU
	  STACK },
	{ FAILED, NULL, "BUG: Bad rss-counter state mm:ffff type:MM_FILEPAGES"
	  " val:1\n" },
	{ FAILED, NULL, "BUG: TASK stack guard page was hit at ffffc9 (stack is"
	  " ffff..ffff)\n" CPU STACK END },
	{ FAILED, NULL, "BUG: spinlock bad magic on CPU#0, cat/85\n" CPU STACK },
	{ FAILED, NULL, "mce: [Hardware Error]: CPU 0: Machine Check Exception:"
	  " 5 Bank 4: b200000000070f0f\n" },
	{ FAILED, NULL, PANIC "VFS: Unable to mount root fs\n" CPU STACK
	  "---[ end Kernel panic - not syncing: VFS: Unable ]---\n" },
	/* arm64, riscv, s390 */
	{ FAILED, NULL, "Internal error: Oops - BUG: 00000000f2000800 [#1] SMP\n"
	  CPU STACK END },
	{ FAILED, NULL, "Oops [#1]\n" CPU STACK END },
	{ FAILED, NULL, "Kernel BUG [#1]\n" CPU STACK END },
	{ FAILED, NULL, "illegal operation: 0001 ilc:1 [#1] SMP \n" CPU STACK
	  END },
};

/* What only looks like one, whatever is around it. */
static const char *const harmless[] = {
	"BUGS: none", "debug: BUG: quoted", "the BUG: is here",
	"x86/cpu: WARNING: CPU: 0 PID: 1 at", "WARNING: Spectre v2 mitigation"
	" leaves CPU vulnerable to RETBleed attacks, data leaks possible!",
	"WARNING: possible circular locking", "Oops", "Oopsie [x]",
	"INFO: lockdep is turned off.", "INFO: task x blocked",
	"systemd[1]: Starting kernel BUG: reporter", "refcount_t: saturated",
	"clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc' as"
	" unstable because the skew is too large:",
	"hrtimer: interrupt took 4214231 ns",
	"sched: RT throttling activated", "mce: CPU0: Thermal monitoring",
	"mce: [Hardware Error]: Machine check events logged",
	"tsc: Marking TSC unstable due to clocksource watchdog",
	"perf: interrupt took too long (2503 > 2500), lowering",
	"rcu: Hierarchical SRCU implementation.",
	"rcu: \tRCU restricting CPUs from NR_CPUS=8192 to nr_cpu_ids=1.",
	"Freeing unused kernel image (initmem) memory: 2788K [#x]",
	"kmemleak: Kernel memory leak detector initialized (mem pool: 15679)",
	"---[ end trace 0000000000000000 ]---", "Call Trace:", " </TASK>",
	"kernel panic - not syncing: quoted", "list_add: corruption",
	"watchdog: Delayed init of the lockup detector failed: -19",
	"KASAN: null-ptr-deref in range [0x0-0x7]", "UBSAN: disabled in kernel",
	"ODEBUG: Out of memory. ODEBUG disabled", "BUG", "",
};

static void health_start(int health)
{
	fresh();
	o.health = health;
	k.end = END_VERDICT;
	k.vm.phase = PHASE_OUTPUT;
	record_number = 7;
}

static void test_reports(void)
{
	for (size_t i = 0; i < COUNT(report_cases); i++) {
		const struct report_case *c = &report_cases[i];
		const struct finding *f = &k.vm.health.first[c->severity];
		const char *head = c->headline != NULL ? c->headline : c->text;
		const char *name = name_of("report: %.60s", head);

		health_start(HEALTH_OOPS);
		log_report(4, "Run /init as init process\n");
		log_report(4, c->text);
		log_report(4, "all is well\n");
		is_int(HERE, health_judge(&k, 0),
		       c->severity == FAILED ? 123 : 0, name);
		is_int(HERE, health_judge(&k, 7), 7, name);
		is_true(HERE, k.vm.health.count[c->severity] == 1
			&& !k.vm.health.seen[WARNED + FAILED - c->severity],
			name);
		is_true(HERE, f->symptom != NULL
			&& strncmp(f->headline, head, strcspn(head, "\n")) == 0,
			name);
		is_text(HERE, f->process, strstr(c->text, "Comm: ") != NULL
			? "my cat[85]" : "", name);
		is_true(HERE, strstr(f->text_at, "init process") == NULL
			&& f->text.len >= strlen(c->text), name);
		health_start(HEALTH_WARN);
		log_report(4, c->text);
		is_int(HERE, health_judge(&k, 0), 123, name);
		/* a process wrote it: facility 1, and a later one */
		health_start(HEALTH_WARN);
		log_report(12, c->text);
		is_int(HERE, health_judge(&k, 0), 0, name);
	}
}

static void test_harmless(void)
{
	for (size_t i = 0; i < COUNT(harmless); i++) {
		health_start(HEALTH_WARN);
		log_record(3, harmless[i]);
		log_record(3, "something else");
		is_int(HERE, health_judge(&k, 0), 0,
		       name_of("harmless: %.60s", harmless[i]));
		is_true(HERE, !k.vm.health.seen[WARNED]
			&& !k.vm.health.seen[FAILED],
			name_of("harmless: %.60s", harmless[i]));
	}
}

#define WARN_REPORT CUT "WARNING: CPU: 0 PID: 85 at a.c:1 foo+0x1/0x2\n" CPU \
	STACK END
#define OOPS_REPORT "BUG: kernel NULL pointer dereference, address: 8\n" \
	"Oops: 0002 [#1] SMP\n" CPU STACK END

static const struct judge_case {
	const char *name;
	const char *text;
	int health, expect, status, want;
	const char *ignore, *finding;
	uint64_t before, after; /* tainted */
	int happened;
} judge_cases[] = {
	{ "nothing", "", HEALTH_WARN, 0, 0, 0, NULL, "", 0, 0x3000, 0 },
	{ "off", OOPS_REPORT, HEALTH_OFF, 0, 0, 0, NULL, "", 0, 0x80, 0 },
	{ "a warning", WARN_REPORT, HEALTH_OOPS, 0, 0, 0, NULL,
	  "WARNING: CPU: 0 PID: 85 at a.c:1 foo+0x1/0x2, my cat[85]", 0, 0x200,
	  0 },
	{ "a warning counts", WARN_REPORT, HEALTH_WARN, 0, 0, 123, NULL,
	  "WARNING: CPU: 0", 0, 0x200, 0 },
	{ "both", WARN_REPORT OOPS_REPORT, HEALTH_OOPS, 0, 0, 123, NULL,
	  "BUG: kernel NULL pointer dereference, address: 8, my cat[85]", 0,
	  0x280, 0 },
	{ "the program's own", OOPS_REPORT, HEALTH_OOPS, 0, 3, 3, NULL, "BUG: k",
	  0, 0x80, 0 },
	{ "ignored by its first line", OOPS_REPORT, HEALTH_WARN, 0, 0, 0,
	  "NULL pointer", "", 0, 0x80, 0 },
	{ "ignored by its trace", WARN_REPORT, HEALTH_WARN, 0, 0, 0,
	  "dump_stack_lvl", "", 0, 0x200, 0 },
	{ "another is ignored", WARN_REPORT OOPS_REPORT, HEALTH_OOPS, 0, 0, 123,
	  "a.c:1", "BUG: kernel NULL", 0, 0x280, 0 },
	{ "it comes behind one that is ignored", WARN_REPORT CUT "WARNING: CPU:"
	  " 0 PID: 85 at b.c:2 bar\n" CPU END, HEALTH_WARN, 0, 0, 123, "a.c:1",
	  "WARNING: CPU: 0 PID: 85 at b.c:2 bar, my cat[85]", 0, 0x200, 0 },
	{ "died, and the log does not know", "", HEALTH_OOPS, 0, 0, 123, NULL,
	  "it is tainted D", 0x3000, 0x3080, 0 },
	{ "bad page", "", HEALTH_OOPS, 0, 0, 123, NULL, "it is tainted B", 0,
	  0x20, 0 },
	{ "machine check", "", HEALTH_OOPS, 0, 0, 123, NULL, "it is tainted M",
	  0, 0x10, 0 },
	{ "tainted W", "", HEALTH_OOPS, 0, 0, 0, NULL, "it is tainted W", 0,
	  0x200, 0 },
	{ "tainted L", "", HEALTH_WARN, 0, 0, 123, NULL, "it is tainted L", 0,
	  0x4000, 0 },
	{ "it was already", "", HEALTH_OOPS, 0, 0, 0, NULL, "", 0x2b0, 0x2b0,
	  0 },
	{ "since boot", "", HEALTH_WARN, 0, 0, 123, NULL, "it is tainted W",
	  0x200, 0x200, 0 },
	{ "out of tree, unsigned, forced, live patch", "", HEALTH_WARN, 0, 0, 0,
	  NULL, "", 0, 0xb00f, 0 },
	{ "-expect oops", OOPS_REPORT, HEALTH_OOPS, EXPECT_OOPS, 137, 0, NULL,
	  "", 0, 0x80, 0 },
	{ "-expect oops, none", "", HEALTH_OOPS, EXPECT_OOPS, 0, 123, NULL,
	  "-expect oops", 0, 0, 0 },
	{ "-expect oops, off", OOPS_REPORT, HEALTH_OFF, EXPECT_OOPS, 0, 0, NULL,
	  "", 0, 0, 0 },
	{ "-expect oops, a warning", WARN_REPORT, HEALTH_OOPS, EXPECT_OOPS, 0,
	  123, NULL, "-expect oops", 0, 0, 0 },
	{ "-expect warn", WARN_REPORT, HEALTH_WARN, EXPECT_WARN, 5, 0, NULL, "",
	  0, 0, 0 },
	{ "-expect warn, an oops", WARN_REPORT OOPS_REPORT, HEALTH_OOPS,
	  EXPECT_WARN, 0, 123, NULL, "-expect warn", 0, 0, 0 },
	{ "-expect panic", OOPS_REPORT, HEALTH_OOPS, EXPECT_PANIC, 123, 0, NULL,
	  "", 0, 0, EXPECT_PANIC },
	{ "-expect panic, a restart", "", HEALTH_OOPS, EXPECT_PANIC, 123, 123,
	  NULL, "-expect panic", 0, 0, EXPECT_RESTART },
	{ "-expect restart", "", HEALTH_OOPS, EXPECT_RESTART, 123, 0, NULL, "",
	  0, 0, EXPECT_RESTART },
	{ "-expect oops, a panic", OOPS_REPORT, HEALTH_OOPS, EXPECT_OOPS, 123,
	  123, NULL, "-expect oops", 0, 0, EXPECT_PANIC },
};

static void test_judge(void)
{
	static char word[] = "prog", *argv[] = { word, NULL };

	for (size_t i = 0; i < COUNT(judge_cases); i++) {
		const struct judge_case *c = &judge_cases[i];
		const char *name = name_of("judge: %s", c->name);

		health_start(c->health);
		o.argv = argv;
		o.expect = c->expect;
		if (c->ignore != NULL)
			o.health_ignore.item[o.health_ignore.count++] = c->ignore;
		k.vm.health.taint[0] = c->before;
		k.vm.health.taint[1] = c->after;
		k.vm.health.happened = c->happened;
		if (c->happened != EXPECT_NONE)
			k.end = END_QEMU;
		if (health_asked(&o)) /* else init sends nothing */
			log_report(4, c->text);
		is_int(HERE, health_judge(&k, c->status), c->want, name);
		health_report(&k);
		is_true(HERE, strncmp(k.finding, c->finding, strlen(c->finding))
			== 0 && (k.finding[0] == '\0') == (c->finding[0] == '\0'),
			name);
	}
	health_start(HEALTH_OOPS);
	o.argv = argv;
	o.expect = EXPECT_OOPS;
	k.end = END_TIMEOUT;
	is_int(HERE, health_judge(&k, 124), 124, "judge: -expect, a timeout");
}

/* Numbers, texts and lengths that no kernel would send. */
static void test_log(void)
{
	struct health *h = &k.vm.health;
	char bytes[4096];

	health_start(HEALTH_WARN);
	log_record(6, "one");
	record_number += 3;
	log_record(6, "two");
	is_int(HERE, (int)h->lost, 3, "log: a gap");
	klog_bytes(&k, "-\n", 2);
	record_number += 2;
	log_record(6, "three");
	is_int(HERE, (int)h->lost, 5, "log: a gap that init saw, too");
	health_start(HEALTH_WARN);
	klog_bytes(&k, "-\n", 2);
	log_record(6, "one");
	is_int(HERE, (int)h->lost, 1, "log: records before the first");
	log_record(6, "a\\x0ab\\x5cc\\x00d\\xzz");
	is_text(HERE, h->last, "[    1.000008] b\\cd\\xzz", "log: escapes");
	is_true(HERE, h->log.total == strlen("[    1.000007] one\n") * 2 - 2
		+ strlen(h->last) + 1, "log: a record of two lines");
	klog_bytes(&k, "6,9,5,-,caller=T12;x\n", 21);
	is_text(HERE, h->last, "[    0.000005][   T12] x", "log: a caller");
	klog_bytes(&k, "6,9,5,-;a stale end\n6,9,5,-;a\\x4\n", 33);
	is_text(HERE, h->last, "[    0.000005] a\4", "log: half an escape");
	klog_bytes(&k, "6,9,5,-,caller=TTTTTTTTTTTTTTTTTTTTTTTT;x\n", 42);
	is_text(HERE, h->last, "[    0.000005][TTTTTTTTTTTT] x",
		"log: a caller that is too long");
	for (const char *const *s = (const char *const[]){ "6,", ";", "6,7,;\n",
		"99999999999999999999,1,1,-;x\n", "a,b,c;d\n", ",,,;\n", "\n",
		"\0;\n", "6,9223372036854775807,1,-;x\n", NULL }; *s != NULL; s++)
		klog_bytes(&k, *s, strlen(*s));
	is_text(HERE, h->last, "[    0.000005][TTTTTTTTTTTT] x",
		"log: what is no record is none");
	for (int i = 0; i < 200; i++) {
		for (size_t n = 0; n < sizeof bytes; n++)
			bytes[n] = i < 100 ? (char)next_random()
				   : "6,7;\\x0a[]-+\nBUG: "[next_random() % 17];
		klog_bytes(&k, bytes, sizeof bytes);
	}
	klog_bytes(&k, "\n6,1,1,-;", 9);
	for (int i = 0; i < 20; i++)
		klog_bytes(&k, many('x', 4000), 4000);
	klog_bytes(&k, "\n", 1);
	is_true(HERE, strlen(h->last) < sizeof h->last,
		"log: a line without an end");
	(void)health_judge(&k, 0);
	health_start(HEALTH_OOPS);
	for (int i = 0; i < 1000; i++)
		log_report(4, i % 2 == 0 ? WARN_REPORT : CUT);
	is_int(HERE, health_judge(&k, 0), 0, "log: many warnings");
	is_int(HERE, (int)h->count[WARNED], 500, "log: many warnings");
	log_report(4, OOPS_REPORT);
	is_int(HERE, health_judge(&k, 0), 123, "log: an oops behind them");
}

/* The lines of a dead guest: what init sent, and what only the console has. */
static void test_black_box(void)
{
	static const char console[] = "early\n[    1.000001] seen\r\n"
		"[    1.000007] one\r\n[    1.000009] both\r\n"
		"[    1.000020] BUG: kernel NULL pointer dereference\r\n"
		"[    1.000021] " PANIC "x";
	static const char want[] = "early\n[    1.000001] seen\n"
		"[    1.000007] one\n[    1.000008] hidden\n"
		"[    1.000009] both\n[    1.000010] hidden, too\n"
		"[    1.000020] BUG: kernel NULL pointer dereference\n"
		"[    1.000021] " PANIC "x\n";
	static char word[] = "prog", *argv[] = { word, NULL };
	char got[1024] = "";
	int fd[2];

	health_start(HEALTH_OOPS);
	o.argv = argv;
	(void)make_pipe(&k, fd);
	k.log.fd = fd[1];
	k.log.chunk = PIPE_BUF;
	console_bytes(&k, console, sizeof console - 1);
	log_record(6, "one");
	log_record(7, "hidden");
	log_record(3, "both");
	log_record(7, "hidden, too");
	k.end = END_QEMU;
	is_int(HERE, health_judge(&k, 123), 123, "black box: status");
	is_text(HERE, k.vm.health.first[FAILED].headline,
		"BUG: kernel NULL pointer dereference", "black box: finding");
	show_black_box(&k);
	is_true(HERE, read(fd[0], got, sizeof got - 1) > 0, "black box: shown");
	is_text(HERE, got, want, "black box: each line once, in order");
	close_fd(&fd[0]);
	close_fd(&fd[1]);
	k.log.fd = -1;
	/* on a line that the log has, too, nothing is found twice */
	health_start(HEALTH_OOPS);
	o.argv = argv;
	log_record(1, "BUG: kernel NULL pointer dereference");
	log_record(1, "BUG: kernel NULL pointer dereference");
	console_bytes(&k, "[    1.000007] BUG: kernel NULL pointer dereference\r\n"
		      "[    1.000008] BUG: kernel NULL pointer dereference\r\n",
		      106);
	k.end = END_QEMU;
	(void)health_judge(&k, 123);
	is_int(HERE, (int)k.vm.health.count[FAILED], 1, "black box: once");
	/* both rings are full, of whatever a guest may send */
	for (int i = 0; i < 50; i++) {
		char bytes[2000];

		for (size_t n = 0; n < sizeof bytes; n++)
			bytes[n] = "[1]. \n\r9"[next_random() % 8];
		console_bytes(&k, bytes, sizeof bytes);
		log_record(4, many('[', 2000));
		klog_bytes(&k, bytes, sizeof bytes);
	}
	show_black_box(&k);
	(void)health_judge(&k, 123);
}

/* What cannot be run is said before anything is started. */
static const struct {
	const char *words[6];
	int want;
	const char *error;
} run_table[] = {
	{ { "-kernel-path", "no", "./exe" }, 125, "-kernel-path no: No such" },
	{ { "-kernel-path", "kernel,x" }, 125, "PROGRAM is missing" },
	{ { "-kernel-path", "kernel,x", "-init=no", "./exe" }, 125,
	  "-init no: No such" },
	{ { "-kernel-path", "kernel,x", "-init=init-elf", "./no" }, 127,
	  "./no: No such" },
	{ { "-kernel-path", "kernel,x", "-init=init-elf", "./file" }, 126,
	  "./file: is not an executable file" },
	{ { "-kernel-path", "kernel,x", "-cwd=no", "./exe" }, 125,
	  "-cwd no: No such" },
	{ { "-kernel-path", "kernel,x", "-init=init-elf", "-env=UNSET_X",
	    "./exe" }, 125, "-env UNSET_X: is not set" },
	{ { "-kernel-path", "kernel,x", "-init=init-elf", "-modules=dir",
	    "./exe" }, 125, "-modules dir: no modules for kernel 6.1.0-9" },
};

static void test_run_refused(void)
{
	for (size_t i = 0; i < COUNT(run_table); i++) {
		const char *name = name_of("run: %s", run_table[i].error);
		static struct ktest_result r;
		char *argv[8] = { word("ktest") };

		for (size_t j = 0; j < 6 && run_table[i].words[j] != NULL; j++)
			argv[j + 1] = word(run_table[i].words[j]);
		fresh();
		o.qemu = "/nonexistent/qemu";
		(void)opt_parse(&k, &o, argv);
		is_int(HERE, ktest_run(&o, &r), run_table[i].want, name);
		(void)snprintf(k.error, sizeof k.error, "%s", r.error);
		is_error(HERE, run_table[i].error, name);
	}
}

/* ==== main ============================================================== */

/* The files that the tests above name. */
static void make_scratch(void)
{
	make_directory("dir");
	make_directory("bin");
	make_text("file", "12345");
	make_text("empty", "");
	make_text("dir/inner", "inner");
	make_directory("args");
	make_directory("args/deep");
	make_text("args/to-f", "#\n@../args/f");
	make_file("args/nul", "-v\n#\nx\0y\n", 9, 0644);
	make_text("args/deep/0", "-memory 77");
	for (int i = 1; i <= 15; i++) {
		char path[32], text[32];

		(void)snprintf(path, sizeof path, "args/deep/%d", i);
		(void)snprintf(text, sizeof text, "@%d", i - 1);
		make_text(path, text);
	}
	make_file("exe", "#!/no/such\n", 11, 0755);
	make_file("bin/tool", "x", 1, 0755);
	make_file("bin/a b,c", "x", 1, 0755);
	if (symlink("file", "link") < 0 || symlink("dir", "dirlink") < 0
	    || symlink("loop", "loop") < 0 || mkfifo("fifo", 0600) < 0) {
		(void)printf("Bail out! symlink: %s\n", strerror(errno));
		exit(1);
	}
}

/* ==== The host's directories, users, terminals ========================== */
static const struct {
	const char *path, *want; /* below the scratch directory; NULL: none */
} root_table[] = {
	{ "/prog", "/jail/prog" },
	{ "prog", "/jail/prog" },
	{ "/abs", "/jail/prog" },         /* -> /prog: of the root */
	{ "/up/../../../prog", NULL },    /* up is no directory */
	{ "/../../prog", "/jail/prog" },
	{ "/away", NULL },                /* -> /file, which is outside */
	{ "/", "/jail" },
	{ "/./sub//../abs", "/jail/prog" },
	{ "/sub/up", "/jail/prog" },      /* -> ../../.././prog */
	{ "/sub/here/up", "/jail/prog" }, /* here -> ./ */
	{ "/prog/../prog", NULL },        /* a file is no directory */
	{ "/abs/x", NULL },
	{ "/sub/loop", NULL },            /* -> loop */
	{ "/sub/...", "/jail/sub/..." },
};

/* Has the kernel refuse openat2() from now on, as filters of containers do:
 * EPERM. Linux include/uapi/linux/filter.h, seccomp.h. */
static bool refuse_openat2(void)
{
	static const struct {
		uint16_t code;
		uint8_t yes, no;
		uint32_t k;
	} filter[] = {
		{ 0x20, 0, 0, 0 },                  /* the call's number */
		{ 0x15, 0, 1, 437 },                /* openat2's? */
		{ 0x06, 0, 0, 0x00050000 | EPERM }, /* SECCOMP_RET_ERRNO */
		{ 0x06, 0, 0, 0x7fff0000 },         /* SECCOMP_RET_ALLOW */
	};
	const struct {
		unsigned short len;
		const void *filter;
	} program = { COUNT(filter), filter };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
	       && prctl(PR_SET_SECCOMP, 2, &program, 0, 0) == 0;
}

static void test_root_refused(const char *jail)
{
	static char out[PATH_SIZE];
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(!refuse_openat2() ? 2
		      : !root_path(jail, "/abs", out) || strstr(out, "/jail/prog")
			== NULL || root_path(jail, "/away", out));
	(void)waitpid(pid, &status, 0);
	is_int(HERE, status == 2 << 8 ? 0 : status, 0,
	       "root: where openat2() is refused");
}

static void test_root(const char *scratch)
{
	static char jail[PATH_SIZE + 8], want[2 * PATH_SIZE], out[PATH_SIZE];

	(void)snprintf(jail, sizeof jail, "%s/jail", scratch);
	make_directory("jail");
	make_file("jail/prog", "x", 1, 0755);
	make_file("jail/data", "x", 1, 0644);
	(void)!symlink("/prog", "jail/abs");
	(void)!symlink("/file", "jail/away");
	make_directory("jail/sub");
	make_text("jail/sub/...", "x");
	(void)!symlink("../../.././prog", "jail/sub/up");
	(void)!symlink("./", "jail/sub/here");
	(void)!symlink("loop", "jail/sub/loop");
	test_root_refused(jail);
	for (size_t i = 0; i < COUNT(root_table); i++) {
		const char *to = root_table[i].want;
		bool found = root_path(jail, root_table[i].path, out);

		(void)snprintf(want, sizeof want, "%s%s", scratch,
			       to != NULL ? to : "");
		is_text(HERE, found ? out : NULL, to != NULL ? want : NULL,
			name_of("root: %s", root_table[i].path));
	}
	is_true(HERE, is_program(jail, "/abs"), "root: a program by a link");
	is_true(HERE, !is_program(jail, "/data"), "root: data is none");
	is_true(HERE, !is_program(jail, "prog"), "root: relative to what?");
	is_true(HERE, is_program(NULL, "bin/tool"), "no root: ours");
	is_true(HERE, guest_hides("/tmp/x") && !guest_hides("/tmp")
		&& !guest_hides("/tmpx/y") && guest_hides("/dev/shm/x"),
		"root: what is hidden");
}

static const struct {
	const char *value, *root, *host, *guest, *error;
	bool rw;
} mount_table[] = {
	{ "dir", NULL, "/dir", "~/dir", NULL, false },
	{ "dir:rw", NULL, "/dir", "~/dir", NULL, true },
	{ "dir:/x", NULL, "/dir", "/x", NULL, false },
	{ "dir:/x:rw", NULL, "/dir", "/x", NULL, true },
	{ "a:rw", NULL, "/a:rw", "~/a:rw", NULL, false },
	{ "a:rw:rw", NULL, "/a:rw", "~/a:rw", NULL, true },
	{ "dirlink:/x/", NULL, "/dir", "/x/", NULL, false },
	{ "no:/x", NULL, NULL, NULL, "-mount no:/x: No such file", false },
	{ "file:/x", NULL, NULL, NULL, "file:/x: is not a dir", false },
	{ "dir:x", NULL, NULL, NULL, "-mount dir:x: No such file", false },
	{ "dir:/", NULL, NULL, NULL, "that is what -rootfs is for", false },
	{ "dir:/./..", NULL, NULL, NULL, "that is what -rootfs is", false },
	{ "dir:/dev", NULL, NULL, NULL, "-mount dir:/dev: /dev is the guest's"
	  " own", false },
	{ "dir:/dev/x", NULL, "/dir", "/dev/x", NULL, false },
	{ "dir:/proc", "jail", NULL, NULL, "/proc is the guest's own", false },
	{ "dir://sys/./:rw", NULL, NULL, NULL, "//sys/./ is the g", false },
	{ "dir:/sys/fs/bpf", NULL, NULL, NULL, "/sys/fs/bpf is the g", false },
	{ "dir:/x/../proc/1", NULL, NULL, NULL, "/x/../proc/1 is the", false },
	{ "dir:/../.././dev", NULL, NULL, NULL, "/../.././dev is the", false },
	{ "/proc/self/fd", NULL, NULL, NULL, "is the guest's own", false },
	{ "dir:/proc/../x", NULL, "/dir", "/proc/../x", NULL, false },
	{ "dir:/system", NULL, "/dir", "/system", NULL, false },
	{ "dir:/prog", "jail", NULL, NULL, "is not a directory", false },
	{ "dir:/new", "jail", "/dir", "/new", NULL, false },
};

static void test_mounts(const char *scratch)
{
	static struct guest g;
	static char want[PATH_SIZE];

	make_directory("a:rw");
	for (size_t i = 0; i < COUNT(mount_table); i++) {
		const char *to = mount_table[i].guest;
		const char *name = name_of("mount: %s", mount_table[i].value);
		const size_t at = mount_table[i].root != NULL;

		fresh();
		g.mount_count = 0;
		o.rootfs = mount_table[i].root;
		o.mounts.item[o.mounts.count++] = mount_table[i].value;
		(void)guest_mounts(&k, &g);
		if (!is_error(HERE, mount_table[i].error, name) || to == NULL)
			continue;
		(void)snprintf(want, sizeof want, "%s%s", scratch,
			       mount_table[i].host);
		is_text(HERE, g.mount[at].host, want, name);
		(void)snprintf(want, sizeof want, "%s%s",
			       *to == '~' ? scratch : "",
			       *to == '~' ? to + 1 : to);
		is_text(HERE, g.mount[at].guest, want, name);
		is_int(HERE, g.mount[at].rw, mount_table[i].rw, name);
	}
	fresh();
	g.mount_count = 0;
	o.net = 1;
	while (o.mounts.count < MOUNTS_MAX)
		o.mounts.item[o.mounts.count++] = "dir";
	(void)guest_mounts(&k, &g);
	is_error(HERE, "-mount dir: is one too many (limit 5 ", "mounts: six");
}

/* What -chardev and -netfd refuse; fd 40 is the run's wake_fd, 41 its other
 * end, 42 a file of the caller's. Nothing stays open. */
static const struct {
	const char *words[4], *error;
} wire_table[] = {
	{ { "-chardev=a=42" }, NULL },
	{ { "-chardev=a=out", "-chardev=b=out" }, NULL },
	{ { "-chardev=a=out", "-chardev=a=out" },
	  "-chardev a=out: the name is used already" },
	{ { "-chardev=a=42", "-chardev=b=42" }, "b=42: the fd is used already" },
	{ { "-chardev=a=out", "-chardev=b=42", "-chardev=c=42" },
	  "c=42: the fd is used already" },
	{ { "-chardev=a=out", "-chardev=x=40" },
	  "-chardev x=40: fd 40 is ktest's own" },
	{ { "-chardev=x=41" }, "-chardev x=41: fd 41 is ktest's own" },
	{ { "-netfd=40" }, "-netfd 40: fd 40 is ktest's own" },
	{ { "-netfd=42" }, "-netfd 42: is not a socket" },
	{ { "-chardev=a=out", "-chardev=x=43" }, "x=43: fd 43: Bad file" },
};

static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 64; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_wires(void)
{
	int fd[2] = { -1, -1 };

	fresh();
	(void)make_pipe(&k, fd);
	(void)dup2(fd[0], 40);
	(void)dup2(fd[1], 41);
	close_fd(&fd[0]);
	fd[0] = open("/dev/null", O_WRONLY);
	(void)dup2(fd[0], 42);
	for (size_t i = 0; i < COUNT(wire_table); i++) {
		const char *name = name_of("wires: %s and %zu",
					   wire_table[i].words[0], i);
		char *argv[6] = { word("ktest") };
		int before;

		for (size_t j = 0; j < 4 && wire_table[i].words[j] != NULL; j++)
			argv[j + 1] = word(wire_table[i].words[j]);
		fresh();
		o.wake_fd = 40;
		(void)opt_parse(&k, &o, argv);
		before = open_fds();
		(void)claim(&k);
		is_error(HERE, wire_table[i].error, name);
		claim_undo(&k);
		is_int(HERE, open_fds(), before, name);
	}
	for (int i = 40; i <= 42; i++)
		(void)close(i);
	close_fd(&fd[0]);
	close_fd(&fd[1]);
}

static const struct {
	const char *user, *want, *error;
} user_table[] = {
	{ NULL, "", NULL },
	{ "root", "0 0", NULL },
	{ "0", "0 0", NULL },
	{ "7", "7 7", NULL },
	{ "7:8", "7 8", NULL },
	{ "4294967294", "4294967294 4294967294", NULL },
	{ "4294967295", NULL, "-user 4294967295: is not UID[:GID]" },
	{ "1:4294967295", NULL, "is not UID[:GID]" },
	{ "7:", NULL, "is not UID[:GID]" },
	{ "7:x", NULL, "is not UID[:GID]" },
	{ "7x", NULL, "is not UID[:GID]" },
	{ "no such", NULL, "-user no such: there is no user of that name" },
};

static void test_user(void)
{
	static struct guest g;

	for (size_t i = 0; i < COUNT(user_table); i++) {
		const char *name = name_of("user: %s", user_table[i].user
				? user_table[i].user : "none");

		fresh();
		o.user = user_table[i].user;
		g.user[0] = '\0';
		(void)guest_user(&k, &g);
		if (is_error(HERE, user_table[i].error, name)
		    && user_table[i].want != NULL)
			is_text(HERE, g.user, user_table[i].want, name);
	}
}

static const struct {
	const char *keys;
	bool leaves;
} typed_table[] = {
	{ "~.", true }, { "x~.", false }, { "\r~.", true },
	{ "x\r\r~.", true }, { "\r~~.", false }, { "\r~x.", false },
	{ "\r~\r~.", true }, { "\n~.", false }, { "", false },
	{ "~", false },
};

/* The keys come as they please: all at once, or one by one. */
static void test_typed(void)
{
	for (size_t i = 0; i < 2 * COUNT(typed_table); i++) {
		const char *keys = typed_table[i / 2].keys;
		size_t n = strlen(keys), part = i % 2 == 0 ? n : 1;

		fresh();
		vm_reset(&k.vm);
		k.vm.raw = true;
		k.vm.typed = 1;
		for (size_t at = 0; at < n; at += part)
			terminal_typed(&k, keys + at, part);
		is_int(HERE, k.end == END_OUTPUT, typed_table[i / 2].leaves,
		       name_of("typed: %s", keys));
		k.vm.raw = false;
		k.end = END_NONE;
	}
}

static void test_all(const char *scratch, const char *copy)
{
	test_visible();
	test_text_bounds();
	test_path_set();
	test_path_absolute(scratch);
	test_path_search();
	test_map_file();
	test_messages();
	test_show();
	test_options();
	test_defaults();
	test_usage();
	test_numbers();
	test_kernel_cases();
	test_kernel_truncated();
	test_kernel_other();
	test_kernel_images();
	test_kernel_zboot();
	test_kernel_facts();
	test_kernel_payload();
	test_kernel_uki();
	test_kernel_named();
	test_guest_kernel();
	test_module_is();
	test_modules_plan();
	test_modules_9p();
	test_modules_limits();
	test_modules_find();
	test_env();
	test_env_full();
	test_program(scratch);
	test_own_files();
	test_describe();
	test_cpio_members();
	test_cpio_errors();
	test_cpio_stops();
	test_setuid();
	test_scripts();
	test_elf_interpreter();
	test_libraries(scratch);
	test_audits();
	test_loaders(scratch);
	test_limit_text();
	test_initramfs(scratch, copy);
	test_initramfs_errors(scratch);
	test_job_needs(scratch);
	test_root(scratch);
	test_mounts(scratch);
	test_wires();
	test_user();
	test_typed();
}

static void test_machine(void)
{
	test_qemu_option();
	test_boots();
	test_golden_run();
	test_changes();
	test_rows();
	test_cmdline_limits();
	test_qemu_limits();
	test_qemu_print();
	test_qemu_log();
	test_control();
	test_control_flood();
	test_control_answer();
	test_asleep();
	test_agent_late();
	test_done();
	test_patience();
	test_wait();
	test_sink_master();
	test_connect();
	test_reserve();
	test_streams();
	test_stream_pipe();
	test_wake();
	test_wake_pause();
	test_ring();
	test_log_bytes();
	test_find_line();
	test_base64();
	test_json();
	test_stage();
	test_next();
	test_next_late();
	test_explain();
	test_verdict();
	test_reports();
	test_harmless();
	test_judge();
	test_log();
	test_black_box();
	test_run_refused();
}

int main(int argc, char **argv)
{
	static char scratch[PATH_SIZE], real[PATH_SIZE], remove[2 * PATH_SIZE];
	const char *tmp = getenv("TMPDIR");

	(void)setvbuf(stdout, NULL, _IOLBF, 0); /* to show where it died */
	(void)snprintf(scratch, sizeof scratch, "%s/ktest-unit.XXXXXX",
		       tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(scratch) == NULL || chdir(scratch) < 0
	    || realpath(".", real) == NULL) {
		(void)printf("Bail out! %s: %s\n", scratch, strerror(errno));
		return 1;
	}
	(void)unsetenv("KTEST_KERNEL");
	(void)unsetenv("KTEST_QEMU");
	(void)umask(022);
	make_scratch();
	test_all(real, argc > 1 ? argv[1] : NULL);
	test_machine();
	(void)snprintf(remove, sizeof remove, "cd .. && rm -rf ./%s",
		       strrchr(real, '/') + 1);
	(void)!system(remove);
	tap_end();
	(void)printf("1..%d\n", tap.count);
	return tap.failed > 0;
}
