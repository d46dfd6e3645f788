/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode: what ktest_encode() writes, QEMU reads back as it was. Gives QEMU
 * an object for every value below, without a machine, asks its monitor for
 * the value, and prints TAP-like lines for encode.sh, one for each value.
 *
 *     encode QEMU
 *
 * The object is authz-simple, whose property "identity" is any string.
 */
#define KTEST_LIB
#include "../ktest.c"


static char longest[4001];

static const char *const values[] = {
	"plain", "", ",", ",,", ",,,", "a,b", ",a", "a,", "a,,b", "a=b", "=",
	"id=x", "x,id=y", ",identity=z", "a b", " a ", "\t", "'", "\"", "\\",
	"\\,", "\"a\"", "{}", "{\"a\":1}", "[", "$HOME", "%s%n", "#", ";",
	"/dev/fd/3", "unix:/a,b,server=on", "on", "off", "0", "-1", "no",
	"\001\002\037\177", "a\nb", "\r\n", "\xc3\xa9", "\xe2\x82\xac,x",
	"\xf0\x9f\x90\xa7", "~", "*", "?", "help", "?,", "&&", longest,
};
enum { VALUES = COUNT(values) };

/* The string after "return": at s, unescaped (RFC 8259, section 7). */
static int json_string(const char *s, char *out, size_t size)
{
	size_t n = 0;

	s = strstr(s, "\"return\": \"");
	if (s == NULL)
		return -1;
	for (s += 11; *s != '"' && *s != '\0' && n < size - 4; s++) {
		static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
		const char *e;
		unsigned long u;
		char hex[5];

		if (*s != '\\') {
			out[n++] = *s;
			continue;
		}
		if (*++s != 'u') {
			e = strchr(from, *s);
			out[n++] = e != NULL ? to[e - from] : *s;
			continue;
		}
		memcpy(hex, s + 1, 4);
		hex[4] = '\0';
		s += 4;
		u = strtoul(hex, NULL, 16);
		if (u >= 0xd800 && u < 0xdc00) { /* the first of a pair */
			memcpy(hex, s + 3, 4);
			s += 6;
			u = 0x10000 + ((u - 0xd800) << 10)
			    + (strtoul(hex, NULL, 16) - 0xdc00);
			out[n++] = (char)(0xf0 | u >> 18);
			out[n++] = (char)(0x80 | (u >> 12 & 63));
		} else if (u >= 0x800) {
			out[n++] = (char)(0xe0 | u >> 12);
		}
		if (u >= 0x800)
			out[n++] = (char)(0x80 | (u >> 6 & 63));
		else if (u >= 0x80)
			out[n++] = (char)(0xc0 | u >> 6);
		out[n++] = (char)(u >= 0x80 ? 0x80 | (u & 63) : u);
	}
	out[n] = '\0';
	return 0;
}

static void child(char *qemu, int in, int out)
{
	static char option[VALUES][10000], id[VALUES][8];
	static char *argv[2 * VALUES + 16];
	int n = 0;

	argv[n++] = qemu;
	argv[n++] = "-nodefaults";
	argv[n++] = "-display";
	argv[n++] = "none";
	argv[n++] = "-M";
	argv[n++] = "none";
	argv[n++] = "-qmp";
	argv[n++] = "stdio";
	for (int i = 0; i < VALUES; i++) {
		const struct ktest_key keys[] = { { "id", id[i] },
			{ "identity", values[i] }, { NULL, NULL } };

		(void)snprintf(id[i], sizeof id[i], "o%d", i);
		if (ktest_encode(option[i], sizeof option[i], "authz-simple",
				 keys) < 0)
			_exit(3);
		argv[n++] = "-object";
		argv[n++] = option[i];
	}
	(void)dup2(in, 0);
	(void)dup2(out, 1);
	(void)execvp(qemu, argv);
	_exit(127);
}

int main(int argc, char **argv)
{
	static char line[65536], got[65536];
	int to[2], from[2], status, right = 0;
	FILE *in, *out;

	memset(longest, ',', sizeof longest - 1);
	if (argc != 2 || pipe(to) < 0 || pipe(from) < 0)
		return 2;
	if (fork() == 0) {
		(void)close(to[1]);
		(void)close(from[0]);
		child(argv[1], to[0], from[1]);
	}
	(void)close(to[0]);
	(void)close(from[1]);
	in = fdopen(from[0], "r");
	out = fdopen(to[1], "w");
	(void)fprintf(out, "{\"execute\":\"qmp_capabilities\"}\n");
	for (int i = 0; i < VALUES; i++)
		(void)fprintf(out, "{\"execute\":\"qom-get\",\"arguments\":{"
			      "\"path\":\"/objects/o%d\",\"property\":"
			      "\"identity\"}}\n", i);
	(void)fprintf(out, "{\"execute\":\"quit\"}\n");
	(void)fflush(out);
	for (int i = 0; i < VALUES && fgets(line, sizeof line, in) != NULL;) {
		if (strstr(line, "QMP") != NULL
		    || strstr(line, "\"return\": {}") != NULL)
			continue;
		if (json_string(line, got, sizeof got) == 0
		    && strcmp(got, values[i]) == 0)
			right++;
		else
			(void)printf("value %d: sent %s, answer %s", i,
				     values[i], line);
		i++;
	}
	(void)wait(&status);
	(void)printf("%d of %d values came back as they were\n", right,
		     (int)VALUES);
	return right != VALUES;
}
