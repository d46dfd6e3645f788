/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options: the options of ktest as its own table has them, for scripts.
 *
 *     options [KIND]
 *
 * A line for each: NAME KIND; KIND+ when an empty value is one, too. With a
 * KIND only the name of the first that is exactly that.
 */
#define KTEST_LIB
#include "../ktest.c"

static const char *const kinds[] = {
	[OPT_FLAG] = "flag", [OPT_STRING] = "string", [OPT_LIST] = "list",
	[OPT_CHOICE] = "choice", [OPT_SIZE] = "size", [OPT_COUNT] = "count",
	[OPT_DURATION] = "duration",
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < COUNT(opt_table); i++) {
		const struct opt *opt = &opt_table[i];

		if (opt->name == NULL)
			continue;
		if (argc < 2) {
			(void)printf("%s %s%s\n", opt->name, kinds[opt->kind],
				     (opt->is & EMPTY) != 0 ? "+" : "");
		} else if ((opt->is & EMPTY) == 0
			   && strcmp(argv[1], kinds[opt->kind]) == 0) {
			(void)printf("%s\n", opt->name);
			return 0;
		}
	}
	return argc > 1;
}
