/*
 * protocol-init: init.c's side of what it and ktest say to each other, for
 * protocol.sh. It is built as init is, without a C library, runs on the host
 * and only prints:
 *
 *	job LETTER			one that init knows
 *	answer SIZE TIME SEED LENGTH	struct answer and where its fields are
 *	window SIZE			struct window, its first byte included
 *	verdict BYTE...			for status 7 after 2 and 3 bytes of output
 *					and 24 of the kernel's log
 */
#define main init_main
#include "../init.c"
#undef main

static void
print(struct text *t)
{
	text_char(t, '\n');
	sys_write(1, t->s, t->length);
}

static void
add_number(struct text *t, unsigned long value)
{
	text_char(t, ' ');
	text_number(t, (unsigned)value);
}

/* What verdict_send() sends, which would wait for ever then. */
static void
print_verdict(void)
{
	static struct flow flows[FLOWS];
	unsigned char bytes[sizeof(struct verdict)];
	struct verdict verdict;
	struct text t;
	size_t i;

	flows[FLOW_OUT].written = 2;
	flows[FLOW_ERR].written = 3;
	flows[FLOW_LOG].written = 24;
	verdict_make(&verdict, 7, flows, ~0ULL);
	memcpy(bytes, &verdict, sizeof bytes);
	text_begin(&t, "verdict");
	add_number(&t, MESSAGE_VERDICT);
	for (i = 0; i < sizeof bytes; i++)
		add_number(&t, bytes[i]);
	print(&t);
}

int
main(void)
{
	struct text t;
	size_t i;

	for (i = 0; i < sizeof letters / sizeof *letters; i++) {
		text_begin(&t, "job ");
		text_char(&t, letters[i].letter);
		print(&t);
	}
	text_begin(&t, "answer");
	add_number(&t, sizeof(struct answer));
	add_number(&t, offsetof(struct answer, time));
	add_number(&t, offsetof(struct answer, seed));
	add_number(&t, offsetof(struct answer, length));
	print(&t);
	text_begin(&t, "window");
	add_number(&t, 1 + sizeof(struct window));
	print(&t);
	print_verdict();
	for (;;)
		sys1(SYS_exit, 0);
}
