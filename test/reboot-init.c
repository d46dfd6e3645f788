/* reboot-init: an init that restarts the machine at once, for bench.sh. */
#define _DEFAULT_SOURCE
#include <sys/reboot.h>

int
main(void)
{
	return reboot(RB_AUTOBOOT);
}
