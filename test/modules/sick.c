/* SPDX-License-Identifier: GPL-2.0 */
/*
 * sick: a module in which the kernel does what is written to /proc/sick: warn,
 * oops, or panic; with later=1 a worker of it oopses once it is loaded.
 */
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

static int later;
module_param(later, int, 0);

static void
sick_work(struct work_struct *work)
{
	*(volatile int *)8 = 1;
}

static DECLARE_WORK(work, sick_work);

static ssize_t
sick_write(struct file *file, const char __user *from, size_t n, loff_t *at)
{
	char what[16] = "";

	if (n >= sizeof what || copy_from_user(what, from, n))
		return -EINVAL;
	if (!strncmp(what, "warn", 4))
		WARN(1, "sick of it\n");
	if (!strncmp(what, "oops", 4))
		*(volatile int *)8 = 1;
	if (!strncmp(what, "panic", 5))
		panic("sick of it");
	return n;
}

static const struct proc_ops sick_ops = { .proc_write = sick_write };

static int __init
sick_init(void)
{
	if (later)
		schedule_work(&work);
	return proc_create("sick", 0600, NULL, &sick_ops) ? 0 : -ENOMEM;
}

module_init(sick_init);
MODULE_LICENSE("GPL");
