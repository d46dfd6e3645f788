/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tap-check: what ktest reads in a program's TAP.
 *
 *     tap-check FILE...     a line for each: "NAME: no TAP", or "NAME: POINTS",
 *                           " skip WHY" and " wrong WHY" if there is such
 *     tap-check -fuzz N     N streams made of pieces of TAP and of noise; 1 if
 *                           one that is wrong is taken for right
 */
#define main ktest_main
#include "../ktest.c"
#undef main

static void read_all(struct tap *t, const char *s, size_t n)
{
	memset(t, 0, sizeof *t);
	for (const char *p = s, *end = s + n; p < end;) {
		const char *line = line_end(p, end);

		(void)tap_line(t, p, (size_t)(line - p));
		p = line + 1;
	}
	for (size_t i = t->depth + 1; t->is && i-- > 0;)
		tap_level_end(t, i);
}

static int check(const char *path)
{
	const char *slash = strrchr(path, '/');
	static struct tap t;
	static char text[1 << 20];
	FILE *f = fopen(path, "r");
	size_t n = f != NULL ? fread(text, 1, sizeof text, f) : 0;

	if (f == NULL || fclose(f) != 0)
		return 1;
	read_all(&t, text, n);
	if (!t.is)
		(void)printf("%s: no TAP\n", slash != NULL ? slash + 1 : path);
	else
		(void)printf("%s: %zu%s%s%s%s\n", slash != NULL ? slash + 1
			     : path, t.points, t.skip[0] != '\0' ? " skip " : "",
			     t.skip, t.why[0] != '\0' ? " wrong " : "", t.why);
	return 0;
}

static const char *const pieces[] = {
	"ok", "not ok", "ok 1", "ok 2 - b", "not ok 3 - c", " # SKIP", " # TODO x",
	" # todo", "#", "1..", "1..2", "1..99999999999999999999", "1..0 # SKIP",
	"TAP version 13", "KTAP version 1", "Bail out!", "\n", "\n", "\n    ",
	"\n  ", "\n                  ", "\r\n", "---", "...", "\t", "-", "\\",
	"\xff\xfe", "\xef\xbf\xbf", "ok \xc2", "x",
};

static unsigned long seed = 1;

static size_t number_below(size_t n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (size_t)(seed >> 33) % n;
}

/* A stream: what holds for each is that a failed point behind it, at the level
 * of its first line, makes it fail. */
static int fuzz_one(void)
{
	static const char last[] = "\nnot ok 1 - last\n";
	static struct tap t;
	char *text;
	size_t n = 0, count = number_below(60);
	int bad;

	text = malloc(60 * 1100 + sizeof last); /* exactly: for sanitizers */
	for (size_t i = 0; i < count; i++) {
		const char *piece = pieces[number_below(COUNT(pieces))];
		size_t times = number_below(40) == 0 ? 1 + number_below(30) : 1;

		for (; times > 0; times--) {
			memcpy(text + n, piece, strlen(piece));
			n += strlen(piece);
		}
		if (number_below(30) == 0)
			text[n++] = (char)number_below(256);
	}
	text = realloc(text, n > 0 ? n : 1);
	read_all(&t, text, n);
	bad = !t.is && (t.points > 0 || t.why[0] != '\0');
	if (t.is) {
		text = realloc(text, n + sizeof last);
		memcpy(text + n, last, sizeof last - 1);
		read_all(&t, text, n + sizeof last - 1);
		bad = t.why[0] == '\0';
	}
	if (bad)
		(void)fwrite(text, 1, n, stdout);
	free(text);
	return bad;
}

int main(int argc, char **argv)
{
	int bad = 0;

	if (argc == 3 && strcmp(argv[1], "-fuzz") == 0) {
		for (long i = atol(argv[2]); i > 0 && !bad; i--)
			bad = fuzz_one();
		return bad;
	}
	for (int i = 1; i < argc; i++)
		bad |= check(argv[i]);
	return bad;
}
