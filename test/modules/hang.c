// SPDX-License-Identifier: GPL-2.0
/*
 * hang: a kernel module whose insmod hangs, how=...
 *
 *	irqoff	spins with interrupts off
 *	spin	spins, with preemption off
 *	mutex	takes a mutex that it has
 *	state	sleeps in state D
 *	oops	writes to address 8
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>

static char *how = "";
module_param(how, charp, 0);
static DEFINE_MUTEX(lock);

static noinline void spin_irqoff(void)
{
	local_irq_disable();
	for (;;)
		cpu_relax();
}

static noinline void spin_nopreempt(void)
{
	preempt_disable();
	for (;;)
		cpu_relax();
}

static noinline void take_twice(void)
{
	mutex_lock(&lock);
	mutex_lock(&lock);
	mutex_unlock(&lock); /* not a tail call: a frame of its own */
}

static noinline void wait_in_d(void)
{
	for (;;)
		schedule_timeout_uninterruptible(HZ);
}

static noinline void write_to_8(void)
{
	*(volatile int *)8 = 1;
}

static const struct {
	const char *name;
	void (*run)(void);
} ways[] = {
	{ "irqoff", spin_irqoff }, { "spin", spin_nopreempt },
	{ "mutex", take_twice }, { "state", wait_in_d },
	{ "oops", write_to_8 },
};

static int __init hang_init(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ways); i++)
		if (!strcmp(how, ways[i].name))
			ways[i].run();
	return -EINVAL;
}

module_init(hang_init);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("hangs");
