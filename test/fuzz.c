/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzing of what ktest reads from others: argv, kernels, modules.dep,
 * programs, what a guest says; and of what it writes for others to parse.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined test/fuzz.c -o fuzz
 *     ./fuzz test/corpus
 *
 * The first byte of an input selects the target (targets[] below), the rest
 * is the target's. A target demands more than no crash: it decodes what was
 * encoded, or computes the same thing in the plainest way. Without libFuzzer:
 *     cc -DFUZZ_REPLAY test/fuzz.c -o replay && ./replay test/corpus/...
 */
#define KTEST_LIB
#include "../ktest.c"

#define REQUIRE(what) \
	((what) ? (void)0 : broken(__FILE__, __LINE__, #what))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct ktest k;
static struct ktest_options o;

static void broken(const char *file, int line, const char *what)
{
	(void)fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

/* A copy with nothing behind it, so that reading further is noticed. */
static char *copy(const char *s, size_t n)
{
	char *p = malloc(n > 0 ? n : 1);

	if (p == NULL)
		abort();
	memcpy(p, s, n);
	return p;
}

static const char *naive_find(const char *s, size_t n, const char *what,
			      size_t len)
{
	for (size_t i = 0; i + len <= n; i++)
		if (memcmp(s + i, what, len) == 0)
			return s + i;
	return NULL;
}

/* ==== a: argv, and QEMU's argv that follows from it ==================== */

/* Reads back one line of qemu_print() as a shell would: words of plain
 * characters, '...', and \' */
static size_t unquote(char *line, char **words, size_t max)
{
	char *from = line, *to = line;
	size_t count = 0;

	while (*from != '\n' || from[1] != '\0') {
		char *word = to;

		REQUIRE(count < max);
		for (; *from != ' ' && (*from != '\n' || from[1] != '\0');) {
			if (*from == '\\') {
				from++;
				*to++ = *from++;
			} else if (*from != '\'') {
				*to++ = *from++;
			} else {
				for (from++; *from != '\'';)
					*to++ = *from++;
				from++;
			}
		}
		if (*from == ' ')
			from++;
		if (to < from) /* "''" and blanks leave room for it */
			*to++ = '\0';
		words[count++] = word;
	}
	*to = '\0';
	return count;
}

static void check_print(const struct qemu *q)
{
	static char *words[ARGV_MAX + 1];
	char *line = NULL;
	size_t size = 0, count;
	FILE *f = open_memstream(&line, &size);

	if (f == NULL)
		abort();
	qemu_print(q, f);
	(void)fclose(f);
	count = unquote(line, words, ARGV_MAX + 1);
	REQUIRE(count == q->argc);
	for (size_t i = 0; i < count; i++)
		REQUIRE(strcmp(words[i], q->argv[i]) == 0);
	free(line);
}

static void check_options(char **argv, size_t count)
{
	REQUIRE(o.memory >= 32 && o.memory <= 1 << 20);
	REQUIRE(o.cpus >= 1 && o.cpus <= 255);
	REQUIRE(o.timeout >= 0 && o.timeout <= 366LL * 24 * 3600000);
	REQUIRE(o.accel >= 0 && o.accel <= ACCEL_TCG);
	REQUIRE(o.acpi >= 0 && o.acpi <= ACPI_OFF);
	REQUIRE(o.sandbox >= 0 && o.sandbox <= SANDBOX_AUTO);
	REQUIRE(o.qemu == NULL || o.qemu[0] != '\0');
	REQUIRE(o.argv == NULL || (o.argv == o.file_argv && o.file_argc > 0)
		|| ((char **)(uintptr_t)o.argv > argv
		    && (char **)(uintptr_t)o.argv < argv + count));
}

/* What the options ask for must stand in the vector, whole. */
static void check_qemu(void)
{
	struct guest *g = &k.guest;
	const struct qemu *q = &k.qemu;
	const struct ktest_list *more = &o.qemu_args;
	size_t i;

	g->kernel.cmdline_max = DEFAULT_CMDLINE_MAX;
	g->mode = o.argv != NULL ? MODE_PROGRAM : MODE_MONOGON;
	k.attempt = (struct attempt){ .accel = o.accel != ACCEL_AUTO
		? o.accel : ACCEL_TCG, .acpi = o.acpi,
		.sandbox = o.sandbox != SANDBOX_OFF };
	(void)strcpy(g->bios, "qboot.rom");
	(void)strcpy(g->kernel_path, "vmlinuz");
	if (o.argv == NULL && o.initrd_path == NULL)
		return;
	if (qemu_build(&k, &k.attempt) < 0) {
		REQUIRE(k.error[0] != '\0');
		return;
	}
	REQUIRE(q->argc <= ARGV_MAX && q->argv[q->argc] == NULL);
	REQUIRE(strcmp(q->argv[0], guest_qemu(&o, g)) == 0);
	for (i = 0; i < more->count; i++)
		REQUIRE(strcmp(q->argv[q->argc - more->count + i],
			       more->item[i]) == 0);
	for (i = 1; strcmp(q->argv[i], "-append") != 0; i++)
		;
	REQUIRE(strlen(q->argv[i + 1]) <= DEFAULT_CMDLINE_MAX);
	for (size_t j = 0; j < o.cmdline.count; j++)
		REQUIRE(strstr(q->argv[i + 1], o.cmdline.item[j]) != NULL);
	check_print(q);
}

static void fuzz_argv(const char *s, size_t n)
{
	static char *argv[600];
	char *words = malloc(n + 1), *p;
	size_t count = 0;
	int result;

	if (words == NULL)
		abort();
	memcpy(words, s, n);
	words[n] = '\0';
	for (p = words; p < words + n && count < COUNT(argv) - 1;
	     p += strlen(p) + 1)
		argv[count++] = p;
	argv[count] = NULL;
	ktest_defaults(&o);
	k.o = &o;
	result = opt_parse(&k, &o, argv);
	REQUIRE(result == (k.error[0] != '\0' ? -1 : 0));
	if (result == 0) {
		check_options(argv, count);
		check_qemu();
	}
	free(words);
}

/* ==== w: the words of an @FILE ========================================= */

static bool is_ours(const char *s)
{
	return s >= o.file_text && s + strlen(s) < o.file_text + o.file_len;
}

/* Nothing but the caller's strings and those of the FILE, and all of it. */
static void fuzz_words(const char *s, size_t n)
{
	char name[32], last[] = "last", *argv[] = { last, name, last, NULL };
	int fd, result;

	ktest_defaults(&o);
	k.o = &o;
	fd = temporary_file(&k);
	if (fd < 0)
		abort();
	(void)snprintf(name, sizeof name, "@/dev/fd/%d", fd);
	write_all(fd, s, n);
	result = opt_parse(&k, &o, argv);
	(void)close(fd);
	REQUIRE(result == (k.error[0] != '\0' ? -1 : 0));
	REQUIRE(o.file_len < sizeof o.file_text);
	REQUIRE(o.file_len > n || result < 0);
	REQUIRE(result == 0 || strncmp(k.error, name + 1, strlen(name + 1))
		== 0 || strncmp(k.error, "@FILE", 5) == 0
		|| strstr(k.error, ": is for one machine") != NULL
		|| strncmp(k.error, last, 4) == 0); /* one too many */
	for (size_t i = 0; i < o.files.count; i++)
		REQUIRE(is_ours(o.files.item[i]) && o.files.item[i][0] == '/');
	for (size_t i = 0; i + 1 < o.file_argc; i++)
		REQUIRE(is_ours(o.file_argv[i]));
	if (result < 0)
		return;
	check_options(argv, 3);
	REQUIRE(o.argv != NULL);
	for (s = *o.argv; *o.argv != NULL; o.argv++)
		s = *o.argv;
	REQUIRE(s == last);
}

/* ==== q: -option NAME,KEY=VALUE,... ==================================== */

/* The next "KEY" or "KEY=VALUE" of what QEMU is given, as its util/keyval.c
 * reads it; returns where the one after it begins, NULL at the end. */
static const char *decode_key(const char *p, char *key, char *value,
			      bool *has_value)
{
	while (*p != '\0' && *p != '=' && *p != ',')
		*key++ = *p++;
	*key = '\0';
	*has_value = *p == '=';
	if (*has_value)
		for (p++; *p != '\0' && (*p != ',' || p[1] == ',');
		     p += *p == ',' ? 2 : 1)
			*value++ = *p;
	*value = '\0';
	return *p == ',' ? p + 1 : NULL;
}

static void check_option(const char *p, const char *name,
			 const struct ktest_key *keys)
{
	static char key[ARGV_SIZE], value[ARGV_SIZE];
	bool has_value;

	if (name[0] != '\0') {
		REQUIRE(strncmp(p, name, strlen(name)) == 0);
		p += strlen(name);
		REQUIRE(*p == (keys->key != NULL ? ',' : '\0'));
		p = keys->key != NULL ? p + 1 : NULL;
	} else if (keys->key == NULL) {
		p = NULL;
	}
	for (; keys->key != NULL; keys++) {
		REQUIRE(p != NULL);
		p = decode_key(p, key, value, &has_value);
		REQUIRE(strcmp(key, keys->key) == 0);
		REQUIRE(has_value == (keys->value != NULL));
		REQUIRE(!has_value || strcmp(value, keys->value) == 0);
	}
	REQUIRE(p == NULL);
}

/* Words, NUL after each: the name, then KEY or KEY=VALUE. */
static void fuzz_option(const char *s, size_t n)
{
	static struct qemu q;
	static char out[65536];
	struct ktest_key keys[32] = { { NULL, NULL } };
	char *words = malloc(n + 1), *p, *equals;
	size_t count = 0;

	if (words == NULL)
		abort();
	memcpy(words, s, n);
	words[n] = '\0';
	for (p = words + strlen(words) + 1; p < words + n && count < 31;
	     p += strlen(p) + 1) {
		keys[count].key = p;
		equals = strchr(p, '=');
		if (equals == p || strcspn(p, ",=") < strcspn(p, "=")
		    || *p == '\0')
			break; /* names of keys are ours, and have none */
		keys[count++].value = equals != NULL ? equals + 1 : NULL;
		if (equals != NULL) {
			*equals = '\0';
			p = equals + 1;
		}
	}
	keys[count].key = NULL;
	q.argc = 0;
	text_init(&q.args, q.args_at, sizeof q.args_at);
	if (ktest_encode(out, sizeof out, words, keys) >= 0
	    && strchr(words, ',') == NULL)
		check_option(out, words, keys);
	qemu_add(&q, "-M", "a=%s,b=%d", words, (int)n);
	REQUIRE(q.args.full || (q.argc == 2 && strcmp(q.argv[0], "-M") == 0));
	free(words);
}

/* ==== k: kernels ======================================================= */
static void fuzz_kernel(const char *s, size_t n)
{
	struct kernel kernel;
	struct map m = { copy(s, n), n };
	int result;

	k.o = &o;
	result = kernel_parse(&k, "vmlinuz", &m, &kernel);
	REQUIRE(result == (k.error[0] != '\0' ? -1 : 0));
	REQUIRE(memchr(kernel.version, '\0', sizeof kernel.version) != NULL);
	for (const char *p = kernel.version; *p != '\0'; p++)
		REQUIRE(*p > ' ' && *p < 0x7f && *p != '/');
	REQUIRE(result < 0 || kernel.cmdline_max > 0);
	free((void *)(uintptr_t)m.at);
}

/* ==== m: modules.dep =================================================== */

/* Whether the list has a module's file, or the FILE.o of a build for it. */
static bool is_listed(const struct map *list, const char *path, size_t n)
{
	char object[PATH_SIZE];

	if (naive_find(list->at, list->size, path, n) != NULL)
		return true;
	memcpy(object, path, n);
	object[n - 2] = 'o';
	return naive_find(list->at, list->size, object, n - 1) != NULL;
}

/* The plan holds paths of the list only, whole and once. */
static void check_modules(const struct text *out, const struct map *list)
{
	const char *end = out->at + out->len, *stop;

	for (const char *p = out->at; p < end; p = stop + 1) {
		const char *path = p + (*p == '-');

		stop = memchr(p, '\n', (size_t)(end - p));
		REQUIRE(stop != NULL && stop > path + 1);
		REQUIRE(is_listed(list, path, (size_t)(stop - path)));
		for (const char *q = out->at; q < p;
		     q = (const char *)memchr(q, '\n', (size_t)(end - q)) + 1)
			REQUIRE(memcmp(q, p, (size_t)(stop - p) + 1) != 0);
	}
}

/* The size of the plan / 16; the module's name, NUL; modules.dep, and the same
 * text as every other list. */
static void fuzz_modules(const char *s, size_t n)
{
	static struct guest g;
	static struct plan p;
	const char *nul = n > 1 ? memchr(s + 1, '\0', n - 1) : NULL;
	struct map list;

	if (nul == NULL || nul == s + 1 || module_is_file(s + 1)
	    || strpbrk(s + 1, "\t\n") != NULL	/* refused as options */
	    || memchr(nul + 1, ':', n - (size_t)(nul + 1 - s)) == NULL)
		return;
	list.size = n - (size_t)(nul + 1 - s);
	list.at = copy(nul + 1, list.size);
	k.o = &o;
	o.modules.count = 0;	/* another input's are gone */
	p = (struct plan){ .k = &k, .g = &g };
	p.list = p.builtin = p.soft = p.alias = list;
	text_init(&p.out, g.modules, s[0] == 0 ? sizeof g.modules
		  : (size_t)(unsigned char)s[0] * 16);
	text_init(&p.todo, p.todo_at, sizeof p.todo_at);
	text_init(&p.seen, p.seen_at, sizeof p.seen_at);
	if (plan_add(&p, PLAN_ASKED, s + 1) == 0
	    && memchr(list.at, '\0', list.size) == NULL)
		check_modules(&p.out, &list);
	REQUIRE(p.out.len < p.out.size && p.out.at[p.out.len] == '\0');
	free((void *)(uintptr_t)list.at);
}

/* ==== i: a program's interpreter ======================================= */
static void fuzz_interpreter(const char *s, size_t n)
{
	static char out[PATH_SIZE], word[PATH_SIZE];
	struct map m = { copy(s, n), n };
	bool script;

	memset(out, '#', sizeof out);
	memset(word, '#', sizeof word);
	if (program_interpreter(&m, out, word, &script)) {
		REQUIRE(memchr(out, '\0', sizeof out) != NULL);
		REQUIRE(memchr(word, '\0', sizeof word) != NULL);
		REQUIRE(naive_find(s, n, out, strlen(out)) != NULL);
		REQUIRE(naive_find(s, n, word, strlen(word)) != NULL);
		REQUIRE(script || word[0] == '\0');
		REQUIRE(!script || (n > 2 && s[0] == '#'));
		if (!script)
			(void)program_audits(&m);
	}
	free((void *)(uintptr_t)m.at);
}

/* ==== t: console text ================================================== */

/* What a terminal may be sent: no control but '\n' and '\t', and valid
 * UTF-8 without C1 controls. Decodes code points, for another way to see it
 * than text_visible's. */
static void check_visible(const unsigned char *p, size_t n, bool lines)
{
	while (n > 0) {
		size_t len = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
		uint32_t code = len == 1 ? *p : *p & (0x7fu >> len);

		REQUIRE(*p < 0x80 || (*p >= 0xc0 && *p < 0xf8));
		REQUIRE(len <= n);
		for (size_t i = 1; i < len; i++) {
			REQUIRE((p[i] & 0xc0) == 0x80);
			code = code << 6 | (p[i] & 0x3f);
		}
		REQUIRE(code >= 0x20 || (lines && (code == '\n'
						   || code == '\t')));
		REQUIRE(code < 0x7f || code >= 0xa0);
		REQUIRE(len < 2 || code >= 0x80);
		REQUIRE(len < 3 || code >= 0x800);
		REQUIRE(len < 4 || code >= 0x10000);
		REQUIRE(code <= 0x10ffff && (code < 0xd800 || code > 0xdfff));
		p += len;
		n -= len;
	}
}

/* lines; the size of a small buffer; the text. */
static void fuzz_text(const char *s, size_t n)
{
	static char all_at[16384], small_at[256];
	struct text all, small;
	bool lines;
	char *p;

	if (n < 2 || n > sizeof all_at / 4)
		return;
	lines = s[0] & 1;
	text_init(&all, all_at, sizeof all_at);
	text_init(&small, small_at, (size_t)(unsigned char)s[1] + 1);
	p = copy(s + 2, n - 2);
	text_visible(&all, p, n - 2, lines);
	text_visible(&small, p, n - 2, lines);
	REQUIRE(!all.full && all.at[all.len] == '\0');
	check_visible((const unsigned char *)all.at, all.len, lines);
	REQUIRE(small.len < small.size && small.at[small.len] == '\0');
	REQUIRE(memcmp(small.at, all.at, small.len) == 0);
	REQUIRE(small.full == (all.len >= small.size));
	free(p);
}

/* ==== c: the control port ============================================== */
struct heard { /* what control_bytes() made of it */
	enum ending end;
	enum phase phase;
	int status;
	uint64_t out, err;
	size_t message_len;
	char message[sizeof ((struct vm *)0)->message];
};

/* Hears all of s in pieces of step bytes. */
static void hear(struct heard *h, const char *s, size_t n, size_t step_len)
{
	struct vm *v = &k.vm;

	vm_reset(v);
	v->phase = PHASE_BOOT;
	k.end = END_NONE;
	for (size_t at = 0; at < n; at += step_len) {
		size_t part = n - at < step_len ? n - at : step_len;
		char *p = copy(s + at, part);

		control_bytes(&k, p, part);
		free(p);
	}
	REQUIRE(v->message_len <= sizeof v->message);
	memset(h, 0, sizeof *h);
	h->end = k.end;
	h->phase = v->phase;
	h->status = v->status;
	h->out = v->want_out;
	h->err = v->want_err;
	h->message_len = v->message_len;
	memcpy(h->message, v->message, v->message_len);
}

/* With a program or without; the size of pieces; what the guest says. */
static void fuzz_control(const char *s, size_t n)
{
	static struct heard one, pieces;

	if (n < 2)
		return;
	ktest_defaults(&o);
	k.o = &o;
	k.guest.mode = s[0] & 1 ? MODE_PROGRAM : MODE_MONOGON;
	hear(&one, s + 2, n - 2, n);
	hear(&pieces, s + 2, n - 2, (size_t)(unsigned char)s[1] + 1);
	REQUIRE(memcmp(&one, &pieces, sizeof one) == 0);
	if (k.guest.mode == MODE_MONOGON) {
		REQUIRE(n == 2 || (one.phase == PHASE_OUTPUT
				   && one.status == (unsigned char)s[2]));
		return;
	}
	REQUIRE(one.phase < PHASE_RUN || s[2] == 'h');
	REQUIRE(one.end == END_NONE || one.end == END_INIT
		|| one.end == END_GARBAGE);
}

/* ==== f: search, and the console's ring ================================ */

/* What a console says, so that its ring wraps. */
static void fuzz_ring(const char *s, size_t n)
{
	const size_t half = n / 2;

	ktest_defaults(&o);
	k.o = &o;
	k.console.total = RING_SIZE - half;
	console_bytes(&k, s, half);
	console_bytes(&k, s + half, n - half);
	REQUIRE(ring_text(&k.console, k.scratch) == RING_SIZE);
	REQUIRE(memcmp(k.scratch + RING_SIZE - n, s, n) == 0);
}

/* ==== l: the kernel's log, and the console of a guest that died ========= */

/* Pieces, each behind its length, in turns of the log and of the console. */
static void fuzz_log(const char *s, size_t n)
{
	static char word[] = "prog", *argv[] = { word, NULL };
	const struct health *h = &k.vm.health;

	ktest_defaults(&o);
	k.o = &o;
	o.argv = argv;
	k.log.fd = -1;
	k.console.total = 0;
	k.finding[0] = '\0';
	vm_reset(&k.vm);
	k.vm.phase = PHASE_RUN;
	k.end = END_QEMU;
	for (int turn = 0; n > 0; turn++) {
		size_t part = 1u + (unsigned char)s[0] < n
			      ? (unsigned char)s[0] : n - 1;
		char *p = copy(s + 1, part);

		(turn % 2 == 0 ? klog_bytes : console_bytes)(&k, p, part);
		free(p);
		s += 1 + part;
		n -= 1 + part;
	}
	REQUIRE(health_judge(&k, 0) == (h->count[FAILED] > 0 ? 123 : 0));
	for (int i = WARNED; i <= FAILED; i++)
		REQUIRE((h->count[i] > 0) == (h->first[i].symptom != NULL)
			&& strlen(h->first[i].text_at) == h->first[i].text.len);
	health_report(&k);
	show_black_box(&k);
	REQUIRE((k.finding[0] != '\0') == (h->count[WARNED] + h->count[FAILED]
					   > 0));
}

static const struct {
	char letter;
	void (*run)(const char *s, size_t n);
} targets[] = {
	{ 'l', fuzz_log },
	{ 'a', fuzz_argv }, { 'w', fuzz_words }, { 'q', fuzz_option },
	{ 'k', fuzz_kernel }, { 'm', fuzz_modules }, { 'i', fuzz_interpreter },
	{ 't', fuzz_text }, { 'c', fuzz_control }, { 'f', fuzz_ring },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n < 1 || n > 16384)
		return 0;
	k.error[0] = '\0';
	for (size_t i = 0; i < COUNT(targets); i++)
		if (targets[i].letter == (char)data[0])
			targets[i].run((const char *)data + 1, n - 1);
	return 0;
}

#ifdef FUZZ_REPLAY
int main(int argc, char **argv)
{
	static uint8_t data[65536];

	for (int i = 1; i < argc; i++) {
		FILE *f = fopen(argv[i], "rb");
		size_t n;

		if (f == NULL) {
			perror(argv[i]);
			return 1;
		}
		n = fread(data, 1, sizeof data, f);
		(void)fclose(f);
		(void)LLVMFuzzerTestOneInput(data, n);
	}
	return 0;
}
#endif
