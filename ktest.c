/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ktest: run a program inside a real Linux kernel, as if it had run here.
 *
 *     cc ktest.c -o ktest
 *     ktest -kernel-path vmlinuz -- ./mytest -v
 *
 * boots a QEMU microvm, runs ./mytest in it as root, passes stdin, stdout and
 * stderr through, and exits with its status. With -DKTEST_LIB there is no
 * main(): fill a struct ktest_options, call ktest_run().
 *
 * The exit status is the program's, or one of those in exit_table[].
 *
 * The rooms, in which data flows from top to bottom; each reads what those
 * above it made, by const pointer, and calls nothing below it:
 *      0 Interface   what a program that embeds ktest sees
 *      1 Constants   limits, times
 *      2 Types       a run, and what the rooms hand to each other
 *      3 Utilities   text, waiting, messages, files; knows nothing of VMs
 *      4 Options     argv, @FILE, environment -> struct ktest_options
 *      5 Kernel      its file -> struct kernel; packed ones are unpacked
 *      6 Modules     which of them are loaded, and in which order
 *      7 Disks       images -> disks, and a root on one
 *      8 Describe    the files that options name -> struct guest
 *      9 Claim       what a run takes of the host, and gives back
 *     10 Initramfs   what the guest is to hold -> a cpio archive
 *     11 QEMU argv   guest and attempt -> QEMU's and the kernel's arguments
 *     12 Snapshot    the file of a saved machine: search, check, write
 *     13 Spawn       QEMU, and our ends of its fds
 *     14 Health      the kernel's log -> its reports of its own failures
 *     15 Explain     what a guest that hangs does, in a line
 *     16 Monitor     what is said with QEMU: save, restore, dump, explain
 *     17 Supervise   the one poll loop: streams, control port
 *     18 Verdict     another attempt, or the exit status and why
 *     19 Suite       several kernels, many programs
 *     20 main
 */
#ifndef __linux__
#error "ktest runs on Linux: /proc, memfd_create() and more are of no other host"
#endif
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifdef __clang__ /* newer glibc's strchr() and others are _Generic() */
#pragma clang diagnostic ignored "-Wc11-extensions"
#endif

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* ==== 0. Interface ======================================================
 * What a program that embeds ktest sees: compile this file with -DKTEST_LIB
 * and take the lines from here to the end of this room, which need <stdio.h>;
 * or define KTEST_LIB and include it before all other headers.
 */

/* There is no global state: any number of runs at once, each in a thread of
 * its own, which stays in ktest_run() until nothing of the run is left, and
 * has 256 KiB of stack. The caller keeps 0, 1 and 2 open in its process, does
 * not ignore SIGCHLD and does not wait() for children that are not its own.
 * It may ignore SIGPIPE or not: it never comes from here. A write of the
 * program waits for whoever reads it; only timeout and wake_fd end that.
 */
enum {
	KTEST_LIST_MAX = 256, KTEST_TEXT_SIZE = 8192, KTEST_FILES_SIZE = 32768
};

#define KTEST_HOST_MAC "02:72:82:bf:c3:56" /* the user network's interface */

struct ktest_list { /* values of a repeatable option, in order */
	const char *item[KTEST_LIST_MAX];
	size_t count;
};

/* One run's options, as `ktest -h` explains them. ktest_defaults() fills it,
 * ktest_parse() reads a command line into it; strings stay the caller's, but
 * those of an @FILE are kept at its end: they live as long as it does, and a
 * copy of it points to the first. */
struct ktest_options {
	const char *name;  /* for the log */
	const char *kernel_path, *initrd_path, *modules_dir;
	struct ktest_list cmdline, modules;
	char *const *argv; /* the program's, NULL: Monogon mode */
	const char *cwd, *rootfs, *user;
	const char *sysroot; /* libraries for another architecture */
	const char *image; /* FILE[:rw]: the program runs in this system */
	int env_all, tty, shell; /* flags */
	struct ktest_list env, files, mounts;
	const char *qemu, *bios, *init; /* NULL: what the kernel's machine has */
	struct ktest_list qemu_args;
	int accel;         /* 0 auto, 1 kvm, 2 tcg */
	int machine;       /* 0 auto, 1 microvm, 2 q35 */
	int acpi;          /* 0 auto, 1 on, 2 off */
	int unpack;        /* the kernel here: 0 auto, 1 on, 2 off */
	int sandbox;       /* 0 off, 1 on, 2 auto */
	int net;           /* 0 none, 1 user */
	int health;        /* what counts as failure of the kernel: 0 nothing,
			    * 1 oops, 2 warnings and since boot, too */
	struct ktest_list health_ignore; /* texts of reports that do not */
	int kmemleak;      /* flag: nor may it have lost memory */
	int expect;        /* what has to happen: 0 nothing, 1 a panic, 2 an
			    * oops, 3 a warning, 4 a restart */
	struct ktest_list ports, services, netfds, links, chardevs;
	struct ktest_list disks, fw_cfgs;
	const char *port_file, *pcap, *gdb, *dump, *uefi_vars;
	const char *tpm;   /* NULL none, "" a new one, else a DIR with its state */
	int uefi, reboot;  /* flags */
	const char *snapshot; /* a FILE, "auto"; "none" or NULL: cold.
			       * "/proc/self/fd/N": an open file of the
			       * caller's, in which a run with argv NULL saves
			       * the machine, and does no more */
	long long memory;  /* MiB */
	long long cpus;
	long long timeout; /* milliseconds, 0: none */
	int dry_run, verbose, console, help, version; /* flags */
	int stdin_fd, stdout_fd, stderr_fd; /* the program's streams, all
			    * of them open */
	int log_fd;        /* messages; -1: none */
	int wake_fd;       /* readable: end the guest. A byte N that is read is
			    * the signal to end by; SIGCHLD means instead to
			    * look for ended children, SIGWINCH that the
			    * terminal has a new size, SIGTSTP to stop the
			    * guest and this process, until SIGCONT, and that
			    * to forget a SIGTSTP before it; SIGQUIT to say
			    * on log_fd what the guest does. -1: none */
	/* Called for each forwarded port when it is bound, before the program
	 * runs, in the thread of ktest_run(). NULL: not called. */
	void (*on_port)(void *arg, int guest, int udp, int host);
	void *on_port_arg;
	struct ktest_list kernels; /* all of -kernel-path; ktest_run() takes
				    * kernel_path, which is the first */
	/* The suite's. A run asks of them only whether 4 and 77 skip: each */
	int each, tap;     /* flags */
	const char *junit;
	long long jobs, retries; /* jobs 0: as many as suit */
	const char *last_option, *last_value; /* that took a word for value */
	char *file_argv[KTEST_LIST_MAX + 1]; /* argv, begun in an @FILE */
	char file_text[KTEST_FILES_SIZE];
	size_t file_argc, file_len;
};

struct ktest_result {
	int status;      /* the exit status, see exit_table[] */
	int signal;      /* not 0: the run was ended as if by this signal */
	int qemu_status; /* QEMU's, as from waitpid(); -1: it never ran */
	int warm;        /* not 0: the program ran in a restored machine */
	char error[KTEST_TEXT_SIZE]; /* why there is no verdict, else "" */
	char finding[256]; /* what is wrong with the kernel, the first line of
			    * its report and the process; or "" */
	char qemu_stderr[KTEST_TEXT_SIZE]; /* its beginning */
};

struct ktest_key { /* of a QEMU option; without value it stands alone */
	const char *key, *value;
};

/* Runs *o to its end; returns r->status. */
int ktest_run(const struct ktest_options *o, struct ktest_result *r);
void ktest_defaults(struct ktest_options *o);
/* Reads a command line, argv[0] included; -1 and r->error, which is printed,
 * if it is wrong. */
int ktest_parse(struct ktest_options *o, char *const *argv,
		struct ktest_result *r);
void ktest_usage(FILE *f);
/* Both ends of a cable for netfds, or of a vport for chardevs; 0, or -1 and
 * errno. They close on exec. */
int ktest_socket_pair(int fd[2]);
/* Writes "NAME,KEY=VALUE,...", keys in their order up to one that is NULL,
 * commas in values doubled; -1 if out[size] is too small. */
int ktest_encode(char *out, size_t size, const char *name,
		 const struct ktest_key *keys);
/* Prints lines as Monogon's launcher logs: "TT|          test launch ! ..." */
void ktest_log(int fd, const char *fmt, ...);
void ktest_log_args(int fd, const char *name, char *const *argv);
/* ==== end of the interface ============================================= */

/* ==== 1. Constants ======================================================
 * Limits, times and the numbers of the protocols. A limit that is reached is
 * an error that names what was too long, never a truncation.
 */
#define KTEST_VERSION "0.1"

#ifndef KTEST_LIBEXEC /* where `make install` puts init and bios/ */
#define KTEST_LIBEXEC "/usr/local/libexec/ktest"
#endif

#ifndef SYS_close_range /* glibc before 2.32; uapi/asm-generic/unistd.h */
#define SYS_close_range 436
#endif

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define FD_PATH "/proc/self/fd/%d" /* a fd that is opened as a file */
#define IMAGE_DIR "/run/ktest" /* ours in an image, see init.c */

enum { /* ktest's own exit statuses */
	KTEST_KERNEL_FAILED = 123,
	KTEST_TIMEOUT = 124,
	KTEST_NO_VERDICT = 125,
	KTEST_CANNOT_EXECUTE = 126,
	KTEST_NOT_FOUND = 127
};

enum { /* sizes, in bytes unless a name says otherwise */
	LIST_MAX = KTEST_LIST_MAX, /* values of one repeatable option */
	PATH_SIZE = 4096,       /* Linux PATH_MAX */
	PAGE = 4096,            /* of x86's memory */
	MESSAGE_SIZE = 8192,    /* one message: a path and then some */
	CMDLINE_SIZE = 8192,    /* the kernel's own limit is checked as well */
	ARGV_SIZE = 65536,      /* text of QEMU's arguments */
	ARGV_MAX = 512,         /* number of QEMU's arguments */
	ENV_MAX = 2048,         /* number of the program's variables */
	PORTS_MAX = 64,         /* forwarded ports; services, too */
	WIRES_MAX = 32,         /* -netfd, -link and -chardev together */
	PORT_TRIES = 16,        /* times that free ports are chosen anew */
	BOOT_TRIES = 3,         /* boots that may hang */
	MOUNTS_MAX = 6,         /* the root among them */
	DISKS_MAX = MOUNTS_MAX, /* likewise */
	VPORTS_MAX = 17,        /* of the virtio serial device, max_ports */
	NAME_SIZE = 64,         /* of a vport, as init takes it */
	MAC_SIZE = 18,          /* of an address, as text */
	STREAM_SIZE = 65536,    /* one chunk of stdin, stdout or stderr */
	RING_SIZE = 32768,      /* last words of the kernel's console */
	LOG_SIZE = 8192,        /* first words of QEMU's stderr */
	MODULES_SIZE = 16384,   /* paths of the modules to load */
	CONSOLE_PIPE_SIZE = 1 << 20, /* /proc/sys/fs/pipe-max-size */
	EXPLAIN_SIZE = 32768,   /* what a guest that hangs is shown of */
	TASKS_MAX = 256,        /* of its threads, as many as init tells */
	CPUS_MAX = 255,         /* of -cpus */
	SYMBOL_SIZE = 96,       /* a kernel function and its module */
	QUOTE_SIZE = 512,       /* a line of others' in a message of ours */
	DEVICE_ARGS_SIZE = 8 * 40, /* added to the kernel command line */
	SCRIPT_DEPTH = 4,       /* a #! line that leads to a #! line ... */
	ANSWER_SIZE = 56,       /* to init's hello: time, seed, length, boot */
	VERDICT_SIZE = 42,      /* init's: 'x', status, lengths, taints */
	RECORD_SIZE = 8192,     /* of the kernel's log, CONSOLE_EXT_LOG_MAX */
	FINDING_SIZE = 256,     /* the first line of a report */
	REPORT_SIZE = 16384,    /* all of it, and ... */
	REPORT_LINES = 200,     /* ... when it is taken to have ended */
	FRAME_LINES = 12,       /* between "cut here" and what it is about */
	SNAPSHOT_INPUTS = 64,   /* files that a snapshot depends on */
	SNAPSHOTS_MAX = 8,      /* that -snapshot auto keeps */
	SNAPSHOT_ROOM = 128 << 20, /* free on the disk before one is made */
	STATE_MAX = 64 << 20,   /* of devices, if an image's overlay follows */
	FILE_DEPTH = 16,        /* an @FILE in an @FILE ... */
	TREE_DEPTH = 200,       /* directories in each other, of -file */
	MODULES_DEPTH = 16,     /* the same, of modules */
	LINKS_MAX = 40,         /* Linux's own limit for one path */
	DEFAULT_CMDLINE_MAX = 2047 /* x86 COMMAND_LINE_SIZE less the NUL */
};

enum { /* times, in milliseconds */
	BYTE_WAIT_MS = 1000,    /* for the exit byte once QEMU has ended */
	STALL_WAIT_MS = 10000,  /* announced output or QEMU's end: no news */
	KVM_WAIT_MS = 10000,    /* KVM (auto) without a word, before init's */
	CHILD_TICK_MS = 1000,   /* look for QEMU's end without being told */
	TICK_MEASURE_MS = 5,    /* 50 ns of jitter in 5 ms: 10 ppm */
	LINK_WAIT_MS = 60000,   /* for the other end of a -link */
	BOOT_WAIT_MS = 5000,    /* a guest that boots uses more than */
	BOOT_CPU_MS = 100,      /* that much CPU time in this time */
	WRITER_WAIT_MS = 10000, /* for another ktest that saves this machine */
	WRITER_TICK_MS = 10,
	CONNECT_TICK_MS = 10,   /* for a socket whose queue is full */
	KVM_AGE_MS = 2000,      /* of a machine that is saved under KVM */
	SETTLE_MS = 500,        /* from init's hello until it waits, idle */
	ALIVE_WAIT_MS = 10000,  /* for a sign of life of one that is restored */
	MONITOR_WAIT_MS = 30000, /* QEMU's monitor: it answers at once, or never */
	EXPLAIN_MS = 2000,      /* to explain a hang, of which ... */
	EXPLAIN_ASK_MS = 1000,  /* ... so much until init is given up ... */
	EXPLAIN_BOOT_MS = 300,  /* ... and so much for the monitor alone */
	DUMP_WAIT_MS = 30000,   /* for the next bytes of -dump */
	AGENT_TICK_MS = 2000,   /* the guest agent of an image is asked again */
	AGENT_WAIT_MS = 300000, /* for it, while the console says nothing new */
	AGENT_INIT_MS = 300000, /* for its next answer, and for init */
	SHUTDOWN_WAIT_MS = 300000 /* for an image that is to be kept */
};

enum { TICK_TOLERANCE = 2000 }; /* of rates: one in so many */
enum { /* when the kernel is stuck because QEMU is */
	SHARE_WINDOW_MS = 20000, SHARE_LOW = 10 /* percent of a processor */
};

enum { ACCEL_AUTO, ACCEL_KVM, ACCEL_TCG };
enum { ACPI_AUTO, ACPI_ON, ACPI_OFF };
enum { UNPACK_AUTO, UNPACK_ON, UNPACK_OFF };
enum { SANDBOX_OFF, SANDBOX_ON, SANDBOX_AUTO };
static const char *const accel_names[] = { "auto", "kvm", "tcg", NULL };
static const char *const machine_names[] = { "auto", "microvm", "q35", NULL };
static const char *const acpi_names[] = { "auto", "on", "off", NULL };
static const char *const sandbox_names[] = { "off", "on", "auto", NULL };
static const char *const net_names[] = { "none", "user", NULL };
enum { HEALTH_OFF, HEALTH_OOPS, HEALTH_WARN };
enum { EXPECT_NONE, EXPECT_PANIC, EXPECT_OOPS, EXPECT_WARN, EXPECT_RESTART };
static const char *const health_names[] = { "off", "oops", "warn", NULL };
static const char *const expect_names[] = { "none", "panic", "oops", "warn",
					    "restart", NULL };

/* ==== 2. Types ==========================================================
 * What a run needs (struct ktest), and what the rooms hand to each other.
 */
enum machine_row { /* of machines[], see room 5 */
	MICROVM, Q35, ARM64, RISCV64, S390X, MACHINES
};

struct kernel { /* what the kernel's file says of itself */
	enum machine_row machine; /* that starts it, if nobody wants another */
	bool elf;              /* vmlinux with PVH note, else an image */
	bool wrapped;          /* neither: one of these is inside */
	size_t at, size;       /* of what is inside of the file, 0: nothing */
	const char *tool;      /* that unpacks it; NULL: it is not packed */
	unsigned unpack;       /* 1 << ACCEL_...: it is unpacked under that */
	bool is64;
	bool no_acpi, no_pci;  /* known to lack it, see kernel_messages() */
	char version[128];     /* as uname -r, "" if it does not say */
	size_t cmdline_max;    /* bytes, without the NUL */
};

enum boot { /* how the machine comes up */
	BOOT_COLD,
	BOOT_SAVE,     /* until init waits for a job, then it is saved */
	BOOT_RESTORE
};

enum mode { /* how the guest is used */
	MODE_MONOGON,  /* -initrd-path brings /init and what it runs */
	MODE_PROGRAM   /* our init runs a program */
};

enum qemu_age { /* what is known of QEMU */
	QEMU_ANY,
	QEMU_SGX,              /* -cpu host is a PC's alone, where SGX is */
	QEMU_BEFORE_8,         /* cmpxchg16b may leave garbage in EFLAGS */
	QEMU_BEFORE_6          /* ... and BMI2 is wrong; one IO-APIC at most */
};

struct attempt { /* what ktest decides by itself, and may decide anew */
	enum boot boot;
	bool saved;            /* this run has saved its machine already */
	int accel, acpi;
	bool sandbox;
	bool acpi_turned;      /* the other acpi= was tried */
	enum qemu_age age;
	int port_tries;        /* how often free ports were chosen anew */
	int boot_tries;        /* boots that hung */
	unsigned long tick_khz; /* TCG's TSC, 0: not known */
};

struct port { /* one that is forwarded from 127.0.0.1:host */
	int host, guest;
	bool udp, any;         /* any: ktest chose host */
	int fd;                /* keeps a TCP port from others, or -1 */
};

enum wire_kind { WIRE_CABLE, WIRE_SOCKET, WIRE_FILE, WIRE_TTY };

struct wire { /* a fd for QEMU: a network interface's, or a vport's */
	enum wire_kind kind;
	int fd;                /* -1: it is not open yet */
	const char *path;      /* where it is opened; NULL: it is the caller's */
	int listen;            /* of a link whose other end is waited for, or -1 */
	char name[NAME_SIZE];  /* the vport's */
};

struct mount { /* a directory of the host in the guest, over 9p */
	char host[PATH_SIZE], guest[PATH_SIZE];
	bool rw;
};

struct disk { /* a virtio block device */
	const char *option;
	char path[PATH_SIZE];  /* "": it is empty, and gone afterwards */
	uint64_t size;         /* bytes */
	bool rw, qcow2;
	char more[2 * PATH_SIZE]; /* QEMU's options for its backing files */
	int fd;                /* it, open and locked, or -1 */
};

struct guest { /* the description of one machine, all policy */
	enum mode mode;
	enum machine_row machine;
	bool system;                   /* -image: it has its own init */
	struct kernel kernel;
	char kernel_path[PATH_SIZE];
	char init[PATH_SIZE], bios[PATH_SIZE];
	bool own_bios;                 /* the firmware is bios/bios.bin */
	char name[PATH_SIZE];          /* argv[0], if "%a" is replaced in it */
	char vars[PATH_SIZE];          /* UEFI's variables, "": it is no UEFI */
	bool vars_rw;
	char program[PATH_SIZE];       /* absolute path in the guest */
	char copy[PATH_SIZE];          /* of ours in an image, or "" */
	char cwd[PATH_SIZE];           /* its working directory there */
	bool on_host;                  /* program is a file here */
	bool merged;                   /* stderr shares stdout's vport */
	const char *env[ENV_MAX + 1];  /* its environment, NULL at the end */
	char user[48];                 /* "UID GID", "": root */
	char modules_dir[PATH_SIZE];   /* "" when there is none */
	char modules[MODULES_SIZE];    /* to load, a line each: a path, below
					* it unless absolute; '-' before it:
					* it may fail; "\tPARAMETERS" */
	bool no_overlay;               /* its modules_dir has none */
	char modules_link[PATH_SIZE];  /* where /lib/modules/VERSION is to lead
					* in a root of the host's, or "" */
	struct port port[PORTS_MAX];   /* one for each -port */
	size_t port_count;
	char service[PORTS_MAX][64];   /* QEMU's guestfwd= for each -service */
	struct wire wire[WIRES_MAX];
	size_t wire_count;
	struct mount mount[MOUNTS_MAX]; /* with -rootfs DIR the first, at "/" */
	size_t mount_count;
	struct disk disk[DISKS_MAX];   /* with -image the first is that, with
					* -rootfs FILE the last is ... */
	size_t disk_count;
	const char *image_fs;          /* ... one with such in it, or NULL */
	char image[64];                /* its device there, and these */
	bool by_env;                   /* where the program is, env knows */
};

struct text { /* a bounded string; full is set when something did not fit */
	char *at;
	size_t size, len;
	bool full;
};

struct qemu { /* QEMU's arguments and the kernel's, built side by side ... */
	const struct ktest_options *o; /* ... from these */
	const struct guest *g;
	const struct attempt *a;
	struct text args;      /* NUL after each */
	struct text cmdline;
	char *argv[ARGV_MAX + 1];
	size_t argc;
	char args_at[ARGV_SIZE], cmdline_at[CMDLINE_SIZE];
};

struct sink { /* a fd of the caller's to write to */
	int fd;                /* it, or a description of our own of the same */
	bool ours;             /* ... which never blocks */
	size_t chunk;          /* as much may be written when poll() says so */
};

struct stream { /* one direction: read a chunk, write it, read the next */
	int from, to;          /* -1: no more */
	size_t chunk;          /* of one write; see struct sink */
	size_t at, len;        /* what of data is still to be written */
	unsigned long long total; /* bytes read from from */
	char data[STREAM_SIZE];
};

enum ending { /* why the supervisor stopped */
	END_NONE,
	END_VERDICT,           /* it is there, with all output */
	END_QEMU,              /* QEMU ended by itself */
	END_TIMEOUT,
	END_SIGNAL,            /* ktest was signalled, or nobody reads it */
	END_INIT,              /* init gave up and said why */
	END_KVM,               /* an internal error, or no sign of life */
	END_BOOT_HUNG,         /* the guest sleeps, and init has not spoken */
	END_STALL,             /* a verdict, but not all the output */
	END_GARBAGE,           /* the control port made no sense */
	END_LINK,              /* nobody came to the other end of a -link */
	END_LIFELESS,          /* a restored guest has not said that it lives */
	END_SAVED,             /* the machine's memory and state are there */
	END_MONITOR,           /* it could not be saved, or restored */
	END_AGENT,             /* an image has not come to its guest agent */
	END_OUTPUT,            /* output could not be written */
	ENDINGS
};

enum qemu_fd { /* QEMU inherits them from FD_FIRST up, in this order */
	FD_CONSOLE,            /* virtconsole, /dev/hvc0 */
	FD_EARLY,              /* serial line and firmware's debug console */
	FD_CONTROL, FD_STDIN, FD_STDOUT, FD_STDERR, /* vports ktest.NAME ... */
	FD_KLOG,               /* ... and ktest.log */
	FD_INITRAMFS,          /* ... */
	FD_AGENT = FD_INITRAMFS, /* or, of an -image, its agent's vport */
	FD_MEMORY,             /* the guest's memory, with -snapshot */
	FD_MONITOR,            /* QMP */
	FD_STATE,              /* of the devices that are saved or restored */
	FD_KERNEL,             /* what is unpacked here */
	FD_END,                /* wires follow */
	FD_LOG = FD_END,       /* QEMU's stdout and stderr */
	FD_ALL,
	FD_FIRST = 3
};

enum phase { /* how far an attempt is */
	PHASE_LINK,            /* there is no QEMU yet: links are waited for */
	PHASE_BOOT,            /* init has not spoken */
	PHASE_MONITOR,         /* the machine is being saved, or restored */
	PHASE_SAVED,           /* some of its devices' state may be on its way */
	PHASE_JOB,             /* it is restored, and being given its job */
	PHASE_RUN,             /* the program may run */
	PHASE_OUTPUT           /* the verdict is there, its output may not be */
};

struct ring { /* the end of something long */
	uint64_t total;        /* bytes ever put into it */
	char at[RING_SIZE];
};

enum severity { NOTHING, WARNED, FAILED, SEVERITIES };

struct finding { /* a report of the kernel's about itself, see room 14 */
	const struct symptom *symptom; /* NULL: there is none */
	bool excused;          /* it is the host's doing */
	int lines;
	char headline[FINDING_SIZE - 40], process[40]; /* COMM[PID] */
	struct text text;      /* all lines, with their time */
	char text_at[REPORT_SIZE];
};

struct health { /* what the kernel's log has told so far */
	unsigned long long total; /* bytes of it */
	char record[RECORD_SIZE]; /* one, so far */
	size_t record_len;
	uint64_t next;         /* the next record's number, 0: not known */
	unsigned long long lost; /* records */
	char last[RECORD_SIZE]; /* line of the log, as the console shows it */
	struct ring log;       /* its last lines, likewise */
	uint64_t from;         /* where the console is when the program starts */
	struct finding now;    /* a report that has not ended yet */
	struct finding first[SEVERITIES];
	unsigned long count[SEVERITIES]; /* reports ... */
	bool seen[SEVERITIES]; /* ... and also those to be ignored */
	uint64_t taint[2];     /* before the program and after it */
	int happened;          /* EXPECT_...: how the guest died, or NONE */
	struct {
		long long ms;
		uint64_t cpu_ns; /* of QEMU's, until then */
	} sample[2];           /* older ones come first */
};

enum explain_step {
	EXPLAIN_NONE,
	EXPLAIN_ASK,           /* init and QEMU's monitor were asked */
	EXPLAIN_LISTEN,        /* init answers */
	EXPLAIN_NMI            /* it did not: the kernel is made to panic */
};

struct task { /* a thread of the guest, as init tells of it */
	int tid, pid, ppid;
	char state;            /* as in /proc/PID/stat */
	bool stack, user;      /* it has one; it was in no system call */
	bool exits;            /* it was on its way out of the kernel */
	char name[64], where[SYMBOL_SIZE];
};

struct cpu { /* a processor of the guest, as QEMU's monitor shows it */
	bool halted, user, irqs_off;
	bool idles;            /* whether it is halted can be seen */
	unsigned long long ip;
};

struct explanation { /* of what the guest does, see room 15 */
	enum explain_step step;
	bool possible;         /* a guest is being supervised */
	bool wanted;           /* it is to begin */
	bool timeout;          /* with it the run ends: -timeout ran out */
	bool asked, answered;  /* init was, init has */
	long long until;       /* ms */
	uint64_t console;      /* where that is when it begins */
	uint64_t nmi;          /* where it is at our NMI, and 1; 0: none */
	int program;           /* its process */
	size_t task_count, cpu_count;
	struct task task[TASKS_MAX];
	struct cpu cpu[CPUS_MAX];
	struct text said;      /* what is shown below the one line */
	char said_at[EXPLAIN_SIZE];
};

enum agent_step { AGENT_SYNC, AGENT_EXEC, AGENT_INIT };

struct agent { /* the guest agent of an image, see room 16 */
	enum agent_step step;
	long long number;      /* what it is to say, or init's process */
	long long since;       /* ms: the last news */
	uint64_t console;      /* where that was then */
	char said[4096];       /* a line, so far */
	size_t said_len;
};

struct vm { /* one QEMU process and all ends of it that are ours */
	pid_t pid;             /* 0: it was never started */
	pid_t warden;          /* leads its process group; 0: there is none */
	pid_t tpm;             /* swtpm, 0: there is none */
	char tpm_dir[PATH_SIZE]; /* with its state, "": none */
	int leash;             /* its end is the end of warden and group */
	bool ended;            /* QEMU has, and wait_status says how */
	bool restarts;         /* init says hello anew */
	bool reset;            /* QEMU has reset the machine */
	int wait_status;
	enum phase phase;
	int resets;            /* since init said hello */
	long long start;       /* when QEMU was started, ms */
	int fd[FD_ALL];        /* our ends, -1: closed */
	long long deadline[ENDINGS]; /* by what it ends, ms; 0: none */
	char message[1024];    /* of the control port, so far */
	size_t message_len;
	int status;            /* the verdict: a status, and how many bytes */
	unsigned long long want_out, want_err; /* of stdout and stderr ... */
	unsigned long long want_log; /* ... and the kernel's log */
	uint64_t boots;        /* with -reboot, so far; its bytes before the ... */
	uint64_t before_out, before_err, before_log; /* ... last one */
	struct health health;
	const struct monitor_step *step; /* what the monitor is at */
	char reply[4096];      /* of the monitor: a line, so far */
	size_t reply_len;
	bool monitor_open;     /* it takes commands */
	bool paused;           /* the machine is, where it would restart */
	size_t dump_format;    /* that was asked for, see dump_formats[] */
	int dump;              /* the file that memory is written to, or -1 */
	enum ending dumped;    /* it was, and how the run ends; or END_NONE */
	off_t dump_size;       /* at the last look */
	char dump_path[PATH_SIZE]; /* its name until it is complete */
	uint64_t state_len;    /* bytes of the devices' state, so far */
	bool ports_told;       /* ports_report() was called */
	long long hurry_until; /* QEMU is about to end, ms; 0: it is not */
	uint64_t cpu_ns;       /* QEMU's at the last look */
	struct agent agent;
	bool resized;          /* the terminal was: the guest is to know */
	bool raw;              /* the terminal is; it was: */
	struct termios terminal;
	size_t typed;          /* how much of the way to leave it */
	struct stream job, in, out, err; /* last: see vm_reset() */
};

struct input { /* a file that a snapshot depends on */
	char what[48];
	/* as long as these are the same, so is the content */
	uint64_t device, inode, size, mtime;
	uint64_t hash;         /* of the content */
};

struct trailer { /* the end of a snapshot's file, see room 12 */
	char magic[16];
	uint64_t format;       /* of the file, and what init expects */
	uint64_t memory, state; /* bytes of each, from the file's beginning */
	uint64_t disk;         /* bytes of an image's overlay, 0: none */
	uint64_t policy;       /* hash of what auto had to choose from */
	int64_t accel, acpi, sandbox, age; /* and what it chose */
	uint64_t args;         /* hash of QEMU's arguments */
	uint64_t cpu;          /* hash of the host's, for KVM */
	uint64_t tick_khz;     /* of the host's TSC, 0: not known */
	char qemu[256];        /* QEMU's own words about its version */
	uint64_t input_count;
	struct input input[SNAPSHOT_INPUTS];
	uint64_t content;      /* hash of memory and state */
	uint64_t boot, mtime;  /* content was right in this boot of the host,
				* and the file's mtime was this */
	uint64_t check;        /* hash of all above */
};

struct snapshot {
	bool automatic;
	bool refused;          /* the file is not to be touched: an error */
	bool touched;          /* it fits, and its trailer is out of date */
	struct attempt first;  /* what there was to choose from */
	char path[PATH_SIZE];  /* the file that was looked at last */
	char target[PATH_SIZE]; /* the one that this run would write */
	char dir[PATH_SIZE];   /* that it is in */
	int fd;                /* of a file that fits, or -1 */
	int part;              /* of one that is to be written, locked, or -1 */
	char part_path[PATH_SIZE];
	int memory;            /* what a machine to be saved has, or -1 */
	struct trailer now;    /* what this run would save */
	struct trailer saved;  /* what the file says */
	const char *input_path[SNAPSHOT_INPUTS];
	struct text paths;
	char paths_at[MODULES_SIZE * 2];
};

/* One run: its working memory, about 1,000 KiB, all 0 at first. */
struct ktest {
	char error[MESSAGE_SIZE];  /* why there is no verdict, "" if none */
	enum ending end;           /* why the attempt, or the run, is over */
	int signal;                /* END_SIGNAL: by which, 0: by the caller */
	enum ending over;          /* wait for nobody any more: why, or END_NONE */
	long long deadline;        /* of -timeout, ms as now_ms(); 0: none */
	int wake_fd;               /* the caller's, until its end; or -1 */
	struct sink out, err, log; /* where the caller wants bytes */
	struct ring console;       /* its last words */
	char finding[FINDING_SIZE]; /* for the result */
	char said[LOG_SIZE];       /* the beginning of QEMU's stderr */
	size_t said_len;
	int fail_status;           /* the exit status if there is an error */
	const struct ktest_options *o;
	struct ktest_options options; /* *o, with what -shell stands for */
	char *shell[2];            /* its argv */
	long long start;           /* ms, CLOCK_MONOTONIC */
	uint64_t tick_start, tick_start_ns;
	struct guest guest;
	struct attempt attempt;
	int initramfs;             /* or the job of a restored machine, or -1 */
	int initrd;                /* an -initrd-path that is no file, or -1 */
	int kernel;                /* what was unpacked of it, or -1 */
	bool job_said;             /* what is worth a line about the job */
	struct snapshot snapshot;
	struct qemu qemu;
	struct vm vm;
	struct explanation explain;
	char scratch[STREAM_SIZE + PAGE]; /* an Image's head, as well */
};

/* ==== 3. Utilities ======================================================
 * Bounded text, waiting, messages, files, a run's memory. Nothing here knows
 * more of VMs than that their processes can be paused.
 */
static size_t text_room(const struct text *t)
{
	return t->size - t->len;
}

static void text_init(struct text *t, char *at, size_t size)
{
	*t = (struct text){ .at = at, .size = size };
	at[0] = '\0';
}

static void text_bytes(struct text *t, const char *s, size_t n)
{
	if (t->full || n >= text_room(t)) {
		t->full = true;
		return;
	}
	memcpy(t->at + t->len, s, n);
	t->len += n;
	t->at[t->len] = '\0';
}

static void text_add(struct text *t, const char *s)
{
	text_bytes(t, s, strlen(s));
}

/* Appends a value, commas doubled: QEMU's util/keyval.c, "value-expr". */
static void text_value(struct text *t, const char *s)
{
	for (; *s != '\0'; s++)
		text_bytes(t, *s == ',' ? ",," : s, 1 + (*s == ','));
}

static void text_printf(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (t->full)
		return;
	va_start(ap, fmt);
	n = vsnprintf(t->at + t->len, text_room(t), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= text_room(t)) {
		t->at[t->len] = '\0';
		t->full = true;
		return;
	}
	t->len += (size_t)n;
}

/* Whether s[n] is a line of t, each of which ends in a newline. */
static bool text_has_line(const struct text *t, const char *s, size_t n)
{
	for (const char *q = t->at; *q != '\0'; q += strcspn(q, "\n") + 1)
		if (strcspn(q, "\n") == n && memcmp(q, s, n) == 0)
			return true;
	return false;
}

/* Length of the UTF-8 sequence at s, 0 if there is none that a terminal may
 * be shown: RFC 3629, without the C1 controls U+0080 to U+009F, and what XML
 * has not, U+FFFE and U+FFFF. */
static size_t utf8_length(const unsigned char *s, size_t n)
{
	size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;

	if (s[0] < 0xc2 || s[0] > 0xf4 || n < len)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if (s[0] == 0xef && s[1] == 0xbf && s[2] > 0xbd)
		return 0;
	if ((s[0] == 0xc2 && s[1] < 0xa0) || (s[0] == 0xe0 && s[1] < 0xa0)
	    || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90)
	    || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

/* Appends s so that a terminal shows it and does not obey it: controls as
 * ^X, stray bytes as \xNN. Newlines and tabs pass if lines is set, and a
 * carriage return before a newline is dropped. */
static void text_visible(struct text *t, const char *s, size_t n, bool lines)
{
	size_t len;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		if (lines && c == '\r' && (i + 1 == n || s[i + 1] == '\n'))
			continue;
		if ((lines && (c == '\n' || c == '\t'))
		    || (c >= ' ' && c < 0x7f)) {
			text_bytes(t, s + i, 1);
		} else if (c < ' ' || c == 0x7f) {
			text_printf(t, "^%c", c ^ 0x40);
		} else if ((len = utf8_length((const unsigned char *)s + i,
					      n - i)) > 0) {
			text_bytes(t, s + i, len);
			i += len - 1;
		} else {
			text_printf(t, "\\x%02x", c);
		}
	}
}

static uint64_t stat_ns(const struct timespec *t)
{
	return (uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_nsec;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return stat_ns(&t);
}

static long long now_ms(void)
{
	return (long long)(clock_ns(CLOCK_MONOTONIC) / 1000000u);
}

static bool deadline_passed(long long deadline)
{
	return deadline > 0 && now_ms() >= deadline;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

/* -- Waiting --
 * A run waits in run_poll(), for what it waits for and for its own end: the
 * deadline of -timeout, and what the caller's wake_fd says.
 */
static void run_stop(struct ktest *k, enum ending end)
{
	if (k->end == END_NONE)
		k->end = end;
}

/* Sets its modes, also when we run in the background by now. */
static int terminal_set(int fd, const struct termios *t)
{
	sigset_t set, old;
	int result;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTTOU);
	(void)sigprocmask(SIG_BLOCK, &set, &old);
	result = tcsetattr(fd, TCSANOW, t);
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	return result;
}

/* Stops the guest and ourselves, as Ctrl-Z does, until SIGCONT comes. */
static void run_suspend(struct ktest *k)
{
	const struct vm *v = &k->vm;
	struct termios raw;

	if (v->raw && tcgetattr(k->o->stdin_fd, &raw) == 0)
		(void)terminal_set(k->o->stdin_fd, &v->terminal);
	if (v->warden > 0) {
		(void)kill(-v->warden, SIGSTOP);
		(void)kill(v->warden, SIGCONT); /* we may be killed meanwhile */
	}
	(void)raise(SIGSTOP);
	if (v->warden > 0)
		(void)kill(-v->warden, SIGCONT);
	if (v->raw)
		(void)terminal_set(k->o->stdin_fd, &raw);
}

/* The caller's wake_fd: children to look for, a new size of the terminal, a
 * pause, a question, or an end. Its own end, too, is one: nobody could end the
 * guest any more. */
static void run_wake(struct ktest *k)
{
	char bytes[64];
	ssize_t n = read(k->wake_fd, bytes, sizeof bytes);
	bool pause = false;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		k->wake_fd = -1;
		bytes[0] = 0;
	}
	for (ssize_t i = 0; i < (n > 0 ? n : 1); i++)
		if (bytes[i] == SIGWINCH) {
			k->vm.resized = k->o->tty;
		} else if (bytes[i] == SIGTSTP || bytes[i] == SIGCONT) {
			pause = bytes[i] == SIGTSTP;
		} else if (bytes[i] == SIGQUIT) {
			k->explain.wanted = true;
		} else if (bytes[i] != SIGCHLD && !k->over) {
			k->signal = (unsigned char)bytes[i];
			k->over = END_SIGNAL;
			run_stop(k, END_SIGNAL);
		}
	if (pause)
		run_suspend(k);
}

/* Waits until one of n fds is ready, or now_ms() is `until` (0: never). p[0]
 * is filled in here. Returns how many of the others are ready. */
static int wait_fds(struct ktest *k, struct pollfd *p, size_t n,
		    long long until)
{
	long long wait = -1;
	int ready;
	bool idle;

	if (k->deadline > 0 && !k->over && (until == 0 || k->deadline < until))
		until = k->deadline;
	if (until > 0) {
		wait = until - now_ms();
		wait = wait < 0 ? 0 : wait < INT_MAX ? wait : INT_MAX;
	}
	p[0] = (struct pollfd){ .fd = k->wake_fd, .events = POLLIN };
	ready = poll(p, n, (int)wait);
	idle = ready == 0;
	if (ready < 0) { /* EINTR, or no memory: then soon again */
		for (size_t i = 0; i < n; i++)
			p[i].revents = 0;
		ready = 0;
	}
	/* A signal for all of us has ended QEMU, too: poll() sees that first,
	 * and then runs our handler. */
	ready -= p[0].revents != 0;
	if (p[0].revents != 0 || (!idle && poll(p, 1, 0) > 0))
		run_wake(k);
	if (!deadline_passed(k->deadline) || k->over)
		return ready;
	if (k->explain.possible && !k->explain.timeout) {
		/* a guest may say first what it hangs in */
		k->explain.timeout = k->explain.wanted = true;
		k->deadline = now_ms() + EXPLAIN_MS;
	} else {
		k->over = END_TIMEOUT;
		run_stop(k, END_TIMEOUT);
	}
	return ready;
}

/* The same; -1 when the run is to end, and k->end says why. */
static int run_poll(struct ktest *k, struct pollfd *p, size_t n,
		    long long until)
{
	int ready = wait_fds(k, p, n, until);

	return k->end != END_NONE ? -1 : ready;
}

/* Reads as read() does, and waits until there is something. -1 and k->end
 * when the run is to end meanwhile. */
static ssize_t run_read(struct ktest *k, int fd, void *to, size_t n)
{
	struct pollfd p[2] = { { .fd = -1 }, { .fd = fd, .events = POLLIN } };
	ssize_t got;

	do {
		while (p[1].revents == 0)
			if (run_poll(k, p, 2, 0) < 0)
				return -1;
		p[1].revents = 0;
		got = read(fd, to, n);
	} while (got < 0 && (errno == EINTR || errno == EAGAIN));
	return got;
}

/* -- Writing -- */
/* Terminals and pipes are opened anew: a description of our own never blocks,
 * and the caller's, which others share, stays as it is. */
static struct sink sink_open(int fd)
{
	struct sink s = { .fd = fd, .chunk = PIPE_BUF };
	const bool tty = isatty(fd);
	struct stat st;
	char path[32], name[32];
	int own = -1;

	if (fd < 0 || fstat(fd, &st) < 0)
		return s;
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	/* but the master of a pseudoterminal, which would be another one */
	if ((tty && ptsname_r(fd, name, sizeof name) != 0)
	    || S_ISFIFO(st.st_mode))
		own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (own >= 0)
		return (struct sink){ own, true, SIZE_MAX };
	if (tty)
		s.chunk = 64; /* what a terminal has room for, if any */
	else if (S_ISREG(st.st_mode))
		s.chunk = SIZE_MAX;
	return s;
}

static void sink_close(struct sink *s)
{
	if (s->ours)
		close_fd(&s->fd);
	*s = (struct sink){ .fd = -1 };
}

/* Writes all of it, however long that takes. */
static void write_all(int fd, const char *s, size_t n)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	while (n > 0) {
		ssize_t w = write(fd, s, n);

		if (w < 0 && errno == EAGAIN)
			(void)poll(&p, 1, -1);
		else if (w < 0 && errno != EINTR)
			return; /* nowhere left to say so */
		s += w > 0 ? w : 0;
		n -= w > 0 ? (size_t)w : 0;
	}
}

/* Writes all of it to where the caller wants it, and waits for the reader;
 * once the run is over only for a second: then this and all that follows are
 * dropped. -1 and errno if it cannot be written. */
static int sink_write(struct ktest *k, struct sink *to, const char *s, size_t n)
{
	long long give_up = 0;

	while (to->fd >= 0 && n > 0) {
		struct pollfd p[2] = { { .fd = -1 },
			{ .fd = to->fd, .events = POLLOUT } };
		ssize_t w;

		if (k->over && give_up == 0)
			give_up = now_ms() + BYTE_WAIT_MS;
		(void)wait_fds(k, p, 2, give_up);
		if (p[1].revents == 0) {
			if (deadline_passed(give_up))
				sink_close(to);
			continue;
		}
		give_up = 0;
		w = write(to->fd, s, n < to->chunk ? n : to->chunk);
		if (w < 0 && errno != EINTR && errno != EAGAIN)
			return -1;
		s += w > 0 ? w : 0;
		n -= w > 0 ? (size_t)w : 0;
	}
	return 0;
}

/* Prints what others said, made visible, in pieces that fit and that cut no
 * character in two: to fd, or as messages of the run k. */
static void show(struct ktest *k, int fd, const char *s, size_t n, bool lines)
{
	char buf[4096];
	struct text t;

	while (n > 0) {
		size_t part = n < sizeof buf / 5 ? n : sizeof buf / 5;

		for (int i = 0; i < 3 && part < n && part > 1
		     && ((s[part] & 0xc0) == 0x80 || s[part - 1] == '\r'); i++)
			part--;
		text_init(&t, buf, sizeof buf);
		text_visible(&t, s, part, lines);
		if (k != NULL)
			(void)sink_write(k, &k->log, t.at, t.len);
		else
			write_all(fd, t.at, t.len);
		s += part;
		n -= part;
	}
}

/* Prints "ktest: " and one line, whatever the names in it hold. */
static void say_line(struct ktest *k, const char *s)
{
	char buf[MESSAGE_SIZE * 4 + 16];
	struct text t;

	if (k->log.fd < 0)
		return;
	text_init(&t, buf, sizeof buf - 2);
	text_add(&t, "ktest: ");
	text_visible(&t, s, strlen(s), false);
	if (k->vm.raw)
		t.at[t.len++] = '\r';
	t.at[t.len++] = '\n';
	(void)sink_write(k, &k->log, t.at, t.len);
}

static void format(char *out, const char *fmt, va_list ap)
{
	int saved = errno;
	size_t len;

	(void)vsnprintf(out, MESSAGE_SIZE, fmt, ap);
	len = strlen(out);
	if (len > 0 && out[len - 1] == ':')
		(void)snprintf(out + len, MESSAGE_SIZE - len, " %s",
			       strerror(saved));
}

/* Something is wrong, the run goes on. A final ':' gets errno's text. */
static void warn(struct ktest *k, const char *fmt, ...)
{
	char line[MESSAGE_SIZE];
	va_list ap;

	va_start(ap, fmt);
	format(line, fmt, ap);
	va_end(ap);
	say_line(k, line);
}

/* The run cannot go on: the first reason is kept, in the form of warn().
 * Returns -1, so that callers can return it. */
static int fail(struct ktest *k, const char *fmt, ...)
{
	va_list ap;

	if (k->error[0] == '\0') {
		va_start(ap, fmt);
		format(k->error, fmt, ap);
		va_end(ap);
	}
	return -1;
}

/* A step, under -v, with the time since the start. */
static void step(struct ktest *k, const char *fmt, ...)
{
	char line[MESSAGE_SIZE];
	long long ms = now_ms() - k->start;
	int n;
	va_list ap;

	if (!k->o->verbose)
		return;
	n = snprintf(line, sizeof line, "%3lld.%03lld s  ", ms / 1000,
		     ms % 1000);
	va_start(ap, fmt);
	(void)vsnprintf(line + n, sizeof line - (size_t)n, fmt, ap);
	va_end(ap);
	say_line(k, line);
}

static int make_pipe(struct ktest *k, int fd[2])
{
	return pipe2(fd, O_CLOEXEC) < 0 ? fail(k, "pipe:") : 0;
}

int ktest_socket_pair(int fd[2])
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd);
}

/* A formatted path in out[PATH_SIZE]. */
static int path_set(struct ktest *k, char *out, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(out, PATH_SIZE, fmt, ap);
	va_end(ap);
	if (n < 0 || n >= PATH_SIZE)
		return fail(k, "path is too long (limit %d bytes): %.100s...",
			    PATH_SIZE - 1, out);
	return 0;
}

/* Where the last name in a path begins. */
static size_t path_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? (size_t)(slash - path) + 1 : 0;
}

/* Whether what is written to both comes to one place. */
static bool same_file(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0
	       && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* What a path leads to, as S_IFREG and so on; 0: nothing. */
static mode_t file_type(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_mode & S_IFMT : 0;
}

static bool is_file(const char *path)
{
	return file_type(path) == S_IFREG;
}

/* Reads the beginning of a file; its length, -1 if that cannot be done. */
static ssize_t file_head(const char *path, char *to, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd >= 0 ? read(fd, to, size) : -1;

	close_fd(&fd);
	return n;
}

struct dir { /* a directory that is read */
	DIR *at;               /* NULL: it is not open */
	char *path;            /* PATH_SIZE bytes, of what was found last */
	size_t len;            /* of the directory's own path in it */
};

/* Opens the directory `from`, whose paths go to path[PATH_SIZE], which may be
 * it; -1 and errno if it cannot be read, and then nothing is found in it. */
static int dir_open(struct dir *d, const char *from, char *path)
{
	if (path != from)
		(void)snprintf(path, PATH_SIZE, "%s", from);
	*d = (struct dir){ opendir(path), path, strlen(path) };
	return d->at != NULL ? 0 : -1;
}

/* The next name in it, but for "." and "..", whose path is d->path then. NULL
 * at the end, where that is the directory's again, and, with errno, for an
 * error. */
static const char *dir_next(struct dir *d)
{
	const struct dirent *e;
	size_t room = PATH_SIZE - d->len;

	d->path[d->len] = '\0';
	do {
		errno = 0;
		e = d->at != NULL ? readdir(d->at) : NULL;
	} while (e != NULL && (strcmp(e->d_name, ".") == 0
			       || strcmp(e->d_name, "..") == 0));
	if (e == NULL)
		return NULL;
	if (snprintf(d->path + d->len, room, "/%s", e->d_name) < (int)room)
		return d->path + d->len + 1;
	d->path[d->len] = '\0';
	errno = ENAMETOOLONG;
	return NULL;
}

static void dir_close(struct dir *d)
{
	if (d->at != NULL)
		(void)closedir(d->at);
	d->at = NULL;
}

/* The absolute path of a file, symlinks of its directory resolved, its own
 * name kept: what it is called here is what it is called in the guest. */
static int path_absolute(struct ktest *k, const char *path, char *out)
{
	const char *base = path + path_base(path);
	char dir[PATH_SIZE], real[PATH_SIZE];

	if (strcmp(base, "") == 0 || strcmp(base, ".") == 0
	    || strcmp(base, "..") == 0) { /* a directory, no name to keep */
		if (realpath(path, out) == NULL)
			return fail(k, "%s:", path);
		return 0;
	}
	if (path_set(k, dir, "%.*s", base == path ? 1 : (int)(base - path),
		     base == path ? "." : path) < 0)
		return -1;
	if (realpath(dir, real) == NULL)
		return fail(k, "%s:", path);
	return path_set(k, out, "%s/%s", strcmp(real, "/") == 0 ? "" : real,
			base);
}

/* The path here of what is path in a guest whose root is root, a real path;
 * symlinks lead to where they lead there. False if there is none, or it cannot
 * be read. openat2() would do this, where a container does not refuse it. */
static bool root_path(const char *root, const char *path, char *out)
{
	const size_t base = strcmp(root, "/") != 0 ? strlen(root) : 0;
	char left[PATH_SIZE], link[PATH_SIZE], *p = left;
	struct stat st = { .st_mode = S_IFDIR };
	size_t len = base, n;
	int links = 0;

	if (snprintf(left, sizeof left, "%s", path) >= PATH_SIZE)
		return false;
	memcpy(out, root, base);
	for (; *(p += strspn(p, "/")) != '\0'; p += n) {
		ssize_t size;

		n = strcspn(p, "/");
		if (!S_ISDIR(st.st_mode))
			return false;
		if (n <= 2 && strspn(p, ".") == n) { /* "." and ".." */
			while (n == 2 && len > base && out[--len] != '/')
				;
			continue;
		}
		size = snprintf(out + len, PATH_SIZE - len, "/%.*s", (int)n, p);
		if ((size_t)size >= PATH_SIZE - len || lstat(out, &st) < 0)
			return false;
		if (!S_ISLNK(st.st_mode)) {
			len += (size_t)size;
			continue;
		}
		size = readlink(out, link, sizeof link);
		if (size <= 0 || ++links > LINKS_MAX
		    || (size_t)size + strlen(p + n) >= sizeof left)
			return false;
		memmove(left + size, p + n, strlen(p + n) + 1);
		memcpy(left, link, (size_t)size);
		len = link[0] == '/' ? base : len;
		st.st_mode = S_IFDIR;
		p = left;
		n = 0;
	}
	if (len == 0)
		out[len++] = '/';
	out[len] = '\0';
	return access(out, R_OK) == 0;
}

/* Whether path is a program in that root; NULL: here. */
static bool is_program(const char *root, const char *path)
{
	char real[PATH_SIZE];

	if (root != NULL && (path[0] != '/' || !root_path(root, path, real)))
		return false;
	path = root != NULL ? real : path;
	return is_file(path) && access(path, X_OK) == 0;
}

/* Finds the program name in PATH as execvp does, in that root. */
static bool path_search(const char *root, const char *name, char *out)
{
	const char *p = getenv("PATH");

	if (p == NULL)
		p = "/usr/local/bin:/usr/bin:/bin";
	for (;;) {
		size_t n = strcspn(p, ":");
		int len = snprintf(out, PATH_SIZE, "%.*s%s%s", (int)n, p,
				   n > 0 ? "/" : "", name);

		if (len > 0 && len < PATH_SIZE && is_program(root, out))
			return true;
		if (p[n] == '\0')
			return false;
		p += n + 1;
	}
}

struct map { /* a file, readable in memory */
	const char *at;
	size_t size;
};

/* Maps a regular file, open as fd; what says in errors whose value the path
 * is. An empty file gives size 0. */
static int map_fd(struct ktest *k, const char *what, const char *path, int fd,
		  struct map *m)
{
	struct stat st;
	void *at;

	*m = (struct map){ "", 0 };
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return fail(k, "%s %s: is %s, not a file", what, path,
			    S_ISDIR(st.st_mode) ? "a directory" : "a device");
	if (st.st_size == 0)
		return 0;
	at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED)
		return fail(k, "%s %s: mmap:", what, path);
	*m = (struct map){ at, (size_t)st.st_size };
	return 0;
}

static int map_file(struct ktest *k, const char *what, const char *path,
		    struct map *m)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), result;

	*m = (struct map){ "", 0 };
	if (fd < 0)
		return fail(k, "%s %s:", what, path);
	result = map_fd(k, what, path, fd, m);
	(void)close(fd);
	return result;
}

static void unmap_file(struct map *m)
{
	if (m->size > 0)
		(void)munmap((void *)(uintptr_t)m->at, m->size);
	*m = (struct map){ "", 0 };
}

/* Unsigned little endian numbers inside formats. The caller has checked
 * that they are there. */
static uint64_t get_le(const char *p, size_t bytes)
{
	uint64_t v = 0;

	for (size_t i = bytes; i-- > 0;)
		v = v << 8 | (unsigned char)p[i];
	return v;
}

static uint64_t get_be(const char *p, size_t bytes)
{
	uint64_t v = 0;

	for (size_t i = 0; i < bytes; i++)
		v = v << 8 | (unsigned char)p[i];
	return v;
}

static void put_le(char *p, uint64_t v, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		p[i] = (char)(v >> (8 * i) & 0xff);
}

/* Rows and columns of a terminal. */
static void terminal_size(int fd, unsigned size[2])
{
	struct winsize w;
	const bool known = ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_row > 0
			   && w.ws_col > 0;

	size[0] = known ? w.ws_row : 24;
	size[1] = known ? w.ws_col : 80;
}

/* -- Files in memory: lines, and ELF's program headers (System V ABI) -- */
static const char *line_end(const char *p, const char *end)
{
	const char *nl = memchr(p, '\n', (size_t)(end - p));

	return nl != NULL ? nl : end;
}

struct magic { /* bytes by which a format is known */
	const char *bytes;
	size_t len, at;
	const char *what;
};

/* What p[n] is by a table; NULL: nothing in it. */
static const char *magic_find(const struct magic *m, size_t count, const char *p,
			      size_t n)
{
	const char *what = NULL;

	for (; count-- > 0; m++)
		if (m->at + m->len <= n && memcmp(p + m->at, m->bytes, m->len) == 0)
			what = m->what;
	return what;
}

enum {
	ELF_CLASS = 4, ELF_DATA = 5, ELF_MACHINE = 18,
	PT_LOAD_TYPE = 1, PT_DYNAMIC_TYPE = 2, PT_INTERP_TYPE = 3,
	PT_NOTE_TYPE = 4,
	ELF_X86_64 = 62, ELF_I386 = 3 /* machines; machines[] has more */
};

struct elf_segment {
	uint32_t type;
	uint64_t offset, size; /* in the file */
	uint64_t address;      /* in memory */
};

/* A number at `at` in an ELF file, whose order its header says. */
static uint64_t elf_get(const char *elf, size_t at, size_t bytes)
{
	return elf[ELF_DATA] == 2 ? get_be(elf + at, bytes)
				  : get_le(elf + at, bytes);
}

/* How many program headers an ELF file has, of which 64 bytes are there. */
static size_t elf_segments(const char *p)
{
	return (size_t)elf_get(p, p[ELF_CLASS] == 2 ? 56 : 44, 2);
}

/* Program header i of an ELF file of either class; false if it has none, or
 * the header is not all there. System V ABI, chapters 4 and 5. */
static bool elf_segment(const char *p, size_t n, size_t i,
			struct elf_segment *s)
{
	bool wide;
	uint64_t table, entry;
	size_t at;

	if (n < 64 || memcmp(p, "\177ELF", 4) != 0
	    || (p[ELF_DATA] != 1 && p[ELF_DATA] != 2)
	    || (p[ELF_CLASS] != 1 && p[ELF_CLASS] != 2))
		return false;
	wide = p[ELF_CLASS] == 2;
	table = wide ? elf_get(p, 32, 8) : elf_get(p, 28, 4);
	entry = elf_get(p, wide ? 54 : 42, 2);
	if (i >= elf_segments(p) || entry < (wide ? 56 : 32)
	    || table > n || entry * (i + 1) > n - table)
		return false;
	at = (size_t)(table + entry * i);
	s->type = (uint32_t)elf_get(p, at, 4);
	s->offset = wide ? elf_get(p, at + 8, 8) : elf_get(p, at + 4, 4);
	s->address = wide ? elf_get(p, at + 16, 8) : elf_get(p, at + 8, 4);
	s->size = wide ? elf_get(p, at + 32, 8) : elf_get(p, at + 16, 4);
	return true;
}

/* -- A run's memory -- */
static void vm_reset(struct vm *v)
{
	struct stream *const stream[] = { &v->job, &v->in, &v->out, &v->err };

	memset(v, 0, offsetof(struct vm, job)); /* no page of their data */
	for (size_t i = 0; i < COUNT(stream); i++) {
		memset(stream[i], 0, offsetof(struct stream, data));
		stream[i]->from = stream[i]->to = -1;
	}
	v->leash = -1;
	v->dump = -1;
	for (size_t i = 0; i < COUNT(v->fd); i++)
		v->fd[i] = -1;
}

/* A run's working memory; NULL and r->error if there is none. */
static struct ktest *run_begin(const struct ktest_options *o,
			       struct ktest_result *r)
{
	struct ktest *k = mmap(NULL, sizeof *k, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*r = (struct ktest_result){ .qemu_status = -1 };
	if (k == MAP_FAILED) {
		(void)snprintf(r->error, sizeof r->error, "no memory: %s",
			       strerror(errno));
		return NULL;
	}
	k->o = o;
	k->start = now_ms();
	k->deadline = o->timeout > 0 ? k->start + o->timeout : 0;
	k->wake_fd = o->wake_fd;
	k->log = sink_open(o->log_fd);
	k->out = sink_open(o->stdout_fd);
	k->err = sink_open(o->stderr_fd);
	k->initrd = k->initramfs = k->kernel = -1;
	k->snapshot.fd = k->snapshot.memory = k->snapshot.part = -1;
	k->fail_status = KTEST_NO_VERDICT;
	vm_reset(&k->vm);
	return k;
}

/* Takes what a run leaves behind, and frees its memory. */
static void run_end(struct ktest *k, struct ktest_result *r)
{
	memcpy(r->error, k->error, sizeof r->error);
	memcpy(r->finding, k->finding, sizeof r->finding);
	(void)snprintf(r->qemu_stderr, sizeof r->qemu_stderr, "%.*s",
		       (int)k->said_len, k->said);
	r->signal = k->signal;
	if (k->vm.pid > 0)
		r->qemu_status = k->vm.wait_status;
	r->warm = k->vm.phase >= PHASE_RUN && k->attempt.boot == BOOT_RESTORE;
	sink_close(&k->out);
	sink_close(&k->err);
	sink_close(&k->log);
	(void)munmap(k, sizeof *k);
}

/* ==== 4. Options ========================================================
 * argv -> struct ktest_options, by one table, from which the usage is
 * printed as well. The syntax is that of Go's package flag, because existing
 * callers use it: -name value, -name=value, either with two dashes; a flag
 * takes its value only after '='; options end at "--" or at the first word
 * that is none. @FILE among them stands for the lines of FILE.
 */
enum opt_kind {
	OPT_STRING, OPT_LIST, OPT_FLAG, OPT_CHOICE, OPT_SIZE, OPT_COUNT,
	OPT_DURATION,
	OPT_MAYBE             /* a flag, or with '=' a string */
};

enum {
	EMPTY = 1,            /* the value may be empty */
	DASHES = 2,           /* values may look like options */
	ONE = 4,              /* names what one machine can have */
	PROGRAM = 8,          /* says something of a program */
	MACHINE = 16,         /* ... of a machine that an image is not */
	REASON = 32,          /* in a FILE, "#" and why may follow */
	PATH_ALL = 64,        /* the value is a path, or begins with one */
	PATH_NAME = 128,      /* the same, unless it is a name without a slash */
	PATH_OR_SIZE = 256,   /* ... or a size */
	PATH_TARGET = 512     /* [NAME=]unix:PATH, NAME=FILE; no number */
};

struct opt {
	const char *name, *value;     /* no name: help is a title */
	enum opt_kind kind;
	unsigned offset;              /* in struct ktest_options */
	unsigned is;                  /* EMPTY | ... */
	const char *help;
	const char *def;              /* the default, NULL: nothing, off */
	const char *const *choices;   /* OPT_CHOICE */
	long long min, max;           /* OPT_SIZE: MiB, OPT_COUNT */
};

#define AT(field) offsetof(struct ktest_options, field)
static const struct opt opt_table[] = {
	{ .help = "The kernel" },
	{ "kernel-path", "FILE", OPT_LIST, AT(kernels), PATH_ALL,
	  .help = "its file, or its tree",
	  .def = "$KTEST_KERNEL or this host's" },
	{ "jobs", "N", OPT_COUNT, AT(jobs), 0,
	  .help = "so many -kernel-path or -each at once",
	  .def = "1; -each: CPUs", .min = 1, .max = LIST_MAX },
	{ "unpack", "auto|on|off", OPT_CHOICE, AT(unpack), MACHINE,
	  .help = "the kernel, by tools of ours; auto: under tcg",
	  .def = "auto", .choices = acpi_names },
	{ "initrd-path", "FILE", OPT_STRING, AT(initrd_path), PATH_ALL | EMPTY,
	  .help = "initramfs; ours is appended if there is a PROGRAM" },
	{ "cmdline", "STRING", OPT_LIST, AT(cmdline), EMPTY | DASHES,
	  .help = "end of the kernel command line (repeatable)" },
	{ "modules", "DIR", OPT_STRING, AT(modules_dir),
	  PATH_ALL | PROGRAM | MACHINE, .help = "where its modules are",
	  .def = "found by kernel" },
	{ "module", "NAME[:PARAM=VALUE]", OPT_LIST, AT(modules),
	  PATH_NAME | PROGRAM | MACHINE,
	  .help = "load it, or FILE.ko (repeatable)" },
	{ .help = "The program" },
	{ "env", "NAME[=VALUE]", OPT_LIST, AT(env), PROGRAM,
	  .help = "in its environment, ours if no VALUE (repeatable)" },
	{ "env-all", NULL, OPT_FLAG, AT(env_all), PROGRAM,
	  .help = "all of our environment, before -env" },
	{ "user", "UID[:GID]|NAME", OPT_STRING, AT(user), PROGRAM,
	  .help = "whom it runs as; GID is UID if not given", .def = "root" },
	{ "cwd", "DIR", OPT_STRING, AT(cwd), PATH_ALL | PROGRAM,
	  .help = "its working directory, made if missing", .def = "/" },
	{ "file", "HOST[:GUEST]", OPT_LIST, AT(files), PATH_ALL | PROGRAM,
	  .help = "a file or tree to take along (repeatable)" },
	{ "mount", "HOST[:GUEST][:rw]", OPT_LIST, AT(mounts),
	  PATH_ALL | PROGRAM,
	  .help = "a directory of ours to be seen there (repeatable)" },
	{ "rootfs", "DIR[:rw]|FILE[:pN]", OPT_STRING, AT(rootfs),
	  PATH_ALL | PROGRAM | MACHINE,
	  .help = "its root: a directory, an image, or part of one" },
	{ "sysroot", "DIR", OPT_STRING, AT(sysroot), PATH_ALL | PROGRAM,
	  .help = "a foreign program's libraries",
	  .def = "/usr/ARCH-linux-gnu" },
	{ "image", "FILE[:rw]", OPT_STRING, AT(image), PATH_ALL | PROGRAM,
	  .help = "boot this disk, and run it there; rw: it may change" },
	{ "tty", NULL, OPT_FLAG, AT(tty), ONE | PROGRAM,
	  .help = "on a terminal of its own; Enter ~ . leaves it" },
	{ "shell", NULL, OPT_FLAG, AT(shell), ONE,
	  .help = "$SHELL is the program: -tty, and -rootfs / if none" },
	{ "each", NULL, OPT_FLAG, AT(each), 0,
	  .help = "each word is a PROGRAM; without any, stdin's lines" },
	{ "retries", "N", OPT_COUNT, AT(retries), 0,
	  .help = "what failed runs again, up to N times", .def = "0",
	  .max = 100 },
	{ "timeout", "DURATION", OPT_DURATION, AT(timeout), 0,
	  .help = "end the guest after 90, 1m30s, 500ms", .def = "never" },
	{ .help = "The kernel's health" },
	{ "health", "off|oops|warn", OPT_CHOICE, AT(health), 0,
	  .help = "what fails a run: an oops, or a warning, too", .def = "oops",
	  .choices = health_names },
	{ "health-ignore", "TEXT", OPT_LIST, AT(health_ignore),
	  PROGRAM | REASON,
	  .help = "but not a report in which this stands (repeatable)" },
	{ "kmemleak", NULL, OPT_FLAG, AT(kmemleak), PROGRAM,
	  .help = "nor may there be memory that kmemleak finds lost" },
	{ "expect", "panic|oops|warn|restart", OPT_CHOICE, AT(expect), PROGRAM,
	  .help = "0 if PROGRAM brings it about, else 123",
	  .choices = expect_names },
	{ .help = "The machine" },
	{ "accel", "auto|kvm|tcg", OPT_CHOICE, AT(accel), 0,
	  .help = "auto: kvm where it works", .def = "auto",
	  .choices = accel_names },
	{ "snapshot", "FILE|auto|none", OPT_STRING, AT(snapshot), PATH_NAME,
	  .help = "restore the machine, or save it", .def = "$KTEST_SNAPSHOT" },
	{ "memory", "SIZE", OPT_SIZE, AT(memory), 0,
	  .help = "32M to 1T, a bare number is in MiB", .def = "1G", .min = 32,
	  .max = 1 << 20 },
	{ "cpus", "N", OPT_COUNT, AT(cpus), 0, .help = "processors, 1 to 255",
	  .def = "1", .min = 1, .max = 255 },
	{ "machine", "auto|microvm|q35", OPT_CHOICE, AT(machine), 0,
	  .help = "q35: a PC with PCI; auto: if it takes one", .def = "auto",
	  .choices = machine_names },
	{ "uefi", NULL, OPT_FLAG, AT(uefi), 0,
	  .help = "UEFI's firmware starts it: OVMF, or the -bios FILE" },
	{ "uefi-vars", "FILE[:rw]", OPT_STRING, AT(uefi_vars), PATH_ALL,
	  .help = "its variables, changed here with rw", .def = "beside OVMF" },
	{ "tpm", "[=DIR]", OPT_MAYBE, AT(tpm), PATH_ALL | EMPTY,
	  .help = "a TPM 2.0; its state: a copy of swtpm's DIR", .def = "new" },
	{ "reboot", NULL, OPT_FLAG, AT(reboot), PROGRAM | MACHINE,
	  .help = "it may restart: PROGRAM is run anew, KTEST_BOOT=2 ..." },
	{ "acpi", "auto|on|off", OPT_CHOICE, AT(acpi), MACHINE,
	  .help = "how devices are announced", .def = "auto",
	  .choices = acpi_names },
	{ "sandbox", "auto|on|off", OPT_CHOICE, AT(sandbox), 0,
	  .help = "QEMU's seccomp filter; auto: if it has one", .def = "auto",
	  .choices = sandbox_names },
	{ "qemu", "PROGRAM", OPT_STRING, AT(qemu), PATH_NAME,
	  .help = "the emulator", .def = "$KTEST_QEMU or the kernel's" },
	{ "qemu-arg", "ARG", OPT_LIST, AT(qemu_args), DASHES,
	  .help = "passed to QEMU as it is (repeatable)" },
	{ "bios", "FILE", OPT_STRING, AT(bios), PATH_NAME, .help = "firmware",
	  .def = "bios/bios.bin beside ktest" },
	{ "init", "FILE", OPT_STRING, AT(init), PATH_ALL,
	  .help = "process 1 of the guest", .def = "init beside ktest" },
	{ .help = "The network" },
	{ "net", "none|user", OPT_CHOICE, AT(net), 0,
	  .help = "user: 10.42.0.0/24, this host is 10.42.0.2", .def = "none",
	  .choices = net_names },
	{ "port", "[HOST:]GUEST", OPT_LIST, AT(ports), 0,
	  .help = "127.0.0.1:HOST is GUEST[/udp] (repeatable)",
	  .def = "any HOST" },
	{ "port-file", "FILE", OPT_STRING, AT(port_file), PATH_ALL | ONE,
	  .help = "gets a line GUEST HOST for each -port, once bound" },
	{ "service", "GUEST=HOST", OPT_LIST, AT(services), 0,
	  .help = "its IP:PORT is our IP:PORT (repeatable)" },
	{ "pcap", "FILE", OPT_STRING, AT(pcap), PATH_ALL | ONE,
	  .help = "all packets of the user network" },
	{ "netfd", "N", OPT_LIST, AT(netfds), ONE,
	  .help = "the cable of one more interface (repeatable)" },
	{ "link", "PATH", OPT_LIST, AT(links), PATH_ALL | ONE,
	  .help = "a cable to the ktest with the same PATH (repeatable)" },
	{ .help = "More devices" },
	{ "chardev", "NAME=TARGET", OPT_LIST, AT(chardevs), PATH_TARGET | ONE,
	  .help = "a vport: FD, FILE or unix:PATH (repeatable)" },
	{ "disk", "FILE[:rw]|SIZE", OPT_LIST, AT(disks), PATH_OR_SIZE,
	  .help = "/dev/vda ...: an image, or an empty one (repeatable)" },
	{ "fw-cfg", "NAME=FILE", OPT_LIST, AT(fw_cfgs), PATH_TARGET,
	  .help = "a blob of QEMU's fw_cfg device (repeatable)" },
	{ "gdb", "PORT|unix:PATH", OPT_STRING, AT(gdb),
	  PATH_TARGET | ONE | MACHINE,
	  .help = "the guest waits there for a debugger" },
	{ "dump", "FILE", OPT_STRING, AT(dump), PATH_ALL | ONE | PROGRAM,
	  .help = "its memory, if it panics, oopses or hangs, for crash" },
	{ .help = "What is shown" },
	{ "console", NULL, OPT_FLAG, AT(console), 0,
	  .help = "the kernel's console, live on stderr" },
	{ "v", NULL, OPT_FLAG, AT(verbose), 0,
	  .help = "the steps and their times, and QEMU's arguments" },
	{ "tap", NULL, OPT_FLAG, AT(tap), 0,
	  .help = "results as TAP on stdout" },
	{ "junit", "FILE", OPT_STRING, AT(junit), PATH_ALL,
	  .help = "results as JUnit's XML" },
	{ "n", NULL, OPT_FLAG, AT(dry_run), 0,
	  .help = "print the QEMU command line and exit" },
	{ "name", "NAME", OPT_STRING, AT(name), 0,
	  .help = "what -v calls the run", .def = "ktest" },
	{ "version", NULL, OPT_FLAG, AT(version), 0,
	  .help = "print the version and exit" },
	{ "h", NULL, OPT_FLAG, AT(help), 0, .help = "print this and exit" },
};

static const char *const exit_table[] = {
	"0..255  the program's own status; 128+N: signal N ended it",
	"123     the kernel failed: one line on stderr says how, and its trace",
	"124     the timeout ran out",
	"125     no verdict: one line on stderr says what kept it from coming",
	"126     the program could not be executed",
	"127     the program was not found",
};

void ktest_usage(FILE *f)
{
	(void)fprintf(f,
		"usage: ktest [option ...] [--] PROGRAM [ARGUMENT ...]\n"
		"       ktest [option ...]    runs /tester of -initrd-path\n"
		"Runs PROGRAM in a real Linux kernel, as if here. Defaults are"
		" in [brackets].\n@FILE among the options stands for its lines,"
		" an option on each.\n");
	for (size_t i = 0; i < COUNT(opt_table); i++) {
		const struct opt *opt = &opt_table[i];
		char left[64];

		if (opt->name == NULL) {
			(void)fprintf(f, "\n%s\n", opt->help);
			continue;
		}
		(void)snprintf(left, sizeof left, "-%s%s%s", opt->name,
			       opt->value == NULL ? "" : " ",
			       opt->value == NULL ? "" : opt->value);
		(void)fprintf(f, "  %-22s %s", left, opt->help);
		if (opt->def != NULL)
			(void)fprintf(f, " [%s]", opt->def);
		(void)fputc('\n', f);
	}
	(void)fprintf(f, "\nExit status\n");
	for (size_t i = 0; i < COUNT(exit_table); i++)
		(void)fprintf(f, "  %s\n", exit_table[i]);
}

/* Decimal digits at *s, which moves past them. False: none, or too many. */
static bool parse_number(const char **s, long long *out)
{
	const char *p = *s;

	*out = 0;
	while (*p >= '0' && *p <= '9') {
		if (*out > LLONG_MAX / 10 - 1)
			return false;
		*out = *out * 10 + (*p++ - '0');
	}
	if (p == *s)
		return false;
	*s = p;
	return true;
}

/* Cuts ":WORD" off the end of a value, with a number behind WORD if n is given,
 * unless all of it is a name here. */
static bool value_cut(char *s, const char *word, long long *n)
{
	char *colon = strrchr(s, ':');
	const char *rest;

	if (colon == NULL || access(s, F_OK) == 0
	    || strncmp(colon + 1, word, strlen(word)) != 0)
		return false;
	rest = colon + 1 + strlen(word);
	if ((n != NULL && !parse_number(&rest, n)) || *rest != '\0')
		return false;
	*colon = '\0';
	return true;
}

/* "512M", "1G", "2T", or a number of MiB. */
static bool parse_size(const char *s, long long *mib)
{
	static const char units[] = "MGT";
	const char *unit;

	if (!parse_number(&s, mib))
		return false;
	if (*s == '\0')
		return true;
	unit = strchr(units, *s & ~0x20);
	if (unit == NULL || *unit == '\0' || s[1] != '\0')
		return false;
	for (; unit > units; unit--) {
		if (*mib > LLONG_MAX / 1024)
			return false;
		*mib *= 1024;
	}
	return true;
}

/* "90" (seconds), or as Go writes durations: "1h2m3.5s", "500ms". */
static bool parse_duration(const char *s, long long *ms)
{
	static const struct {
		const char *name;
		long long ms;
	} units[] = { { "ms", 1 }, { "h", 3600000 }, { "m", 60000 },
		      { "s", 1000 }, { "", 1000 } };
	const long long max = 366LL * 24 * 3600000;
	bool first = true;

	*ms = 0;
	do {
		long long n, thousandths = 0, place = 1000;
		size_t u = 0;

		if (!parse_number(&s, &n))
			return false;
		if (*s == '.')
			for (s++; *s >= '0' && *s <= '9'; s++)
				thousandths += (*s - '0') * (place /= 10);
		while (strncmp(s, units[u].name, strlen(units[u].name)) != 0)
			u++;
		s += strlen(units[u].name);
		if (n > max / units[u].ms
		    || (units[u].name[0] == '\0' && (!first || *s != '\0')))
			return false; /* it is no number alone */
		*ms += n * units[u].ms + thousandths * units[u].ms / 1000;
		if (*ms > max || (*ms == 0 && place < 1000))
			return false; /* "0.0001s" is not "no timeout" */
		first = false;
	} while (*s != '\0');
	return true;
}

static bool parse_port_number(const char **s, int *out)
{
	long long n;

	if (!parse_number(s, &n) || n < 1 || n > 65535)
		return false;
	*out = (int)n;
	return true;
}

/* "[HOST:]GUEST", then nothing, "/tcp" or "/udp". */
static bool parse_port(const char *s, struct port *p)
{
	*p = (struct port){ .fd = -1 };
	if (!parse_port_number(&s, &p->guest))
		return false;
	p->any = *s != ':';
	if (*s == ':') {
		p->host = p->guest;
		s++;
		if (!parse_port_number(&s, &p->guest))
			return false;
	}
	p->udp = strcmp(s, "/udp") == 0;
	return p->udp || *s == '\0' || strcmp(s, "/tcp") == 0;
}

/* "IP:PORT" at *s, which moves past it; in out the same, normalized. */
static bool parse_address(const char **s, struct in_addr *ip, char *out,
			  size_t size)
{
	char buf[INET_ADDRSTRLEN];
	size_t n = strcspn(*s, ":");
	int port;

	if (n >= sizeof buf || (*s)[n] != ':')
		return false;
	(void)snprintf(buf, sizeof buf, "%.*s", (int)n, *s);
	*s += n + 1;
	if (inet_pton(AF_INET, buf, ip) != 1 || !parse_port_number(s, &port))
		return false;
	return snprintf(out, size, "%s:%d", buf, port) < (int)size;
}

static int opt_number(struct ktest *k, const struct opt *opt, const char *value,
		      long long *out)
{
	static const char *const wanted[] = {
		[OPT_SIZE] = "size (512M, 1G)", [OPT_COUNT] = "number",
		[OPT_DURATION] =
			"duration (90, 1m30s, 500ms; 1 ms to 366 days, 0 for none)",
	};
	const char *s = value;

	if (opt->kind == OPT_DURATION ? !parse_duration(value, out)
	    : opt->kind == OPT_SIZE ? !parse_size(value, out)
	    : !parse_number(&s, out) || *s != '\0')
		return fail(k, "-%s %.100s: is not a %s", opt->name, value,
			    wanted[opt->kind]);
	if (opt->max > 0 && (*out < opt->min || *out > opt->max))
		return fail(k, "-%s %.100s: is not between %lld and %lld%s",
			    opt->name, value, opt->min, opt->max,
			    opt->kind == OPT_SIZE ? " MiB" : "");
	return 0;
}

/* The number of a word in a list that NULL ends; false: it is not in it. */
static bool opt_word(const char *const *words, const char *value, int *out)
{
	for (*out = 0; words[*out] != NULL; ++*out)
		if (strcmp(value, words[*out]) == 0)
			return true;
	return false;
}

static int opt_flag(struct ktest *k, const struct opt *opt, const char *value,
		    int *out)
{
	static const char *const words[] = { "0", "1", "f", "t", "F", "T",
		"false", "true", "FALSE", "TRUE", "False", "True", NULL };

	if (!opt_word(words, value != NULL ? value : "1", out))
		return fail(k, "-%s=%.100s: is not true or false", opt->name,
			    value);
	*out &= 1;
	return 0;
}

static int opt_set(struct ktest *k, struct ktest_options *o,
		   const struct opt *opt, const char *value)
{
	void *field = (char *)o + opt->offset;
	struct ktest_list *list = field;

	if (opt->kind == OPT_FLAG)
		return opt_flag(k, opt, value, field);
	if (opt->kind == OPT_MAYBE && value == NULL)
		value = "";
	if (value == NULL)
		return fail(k, "-%s: needs a value: %s", opt->name, opt->value);
	if (value[0] == '\0' && (opt->is & EMPTY) == 0)
		return fail(k, "-%s: the value is empty, it should be %s",
			    opt->name, opt->value);
	if ((opt->kind == OPT_STRING || (opt->is & PATH_ALL) != 0)
	    && strlen(value) >= PATH_SIZE)
		return fail(k, "-%s %.100s...: is too long (limit %d bytes)",
			    opt->name, value, PATH_SIZE - 1);
	switch (opt->kind) {
	case OPT_STRING:
		*(const char **)field = value[0] != '\0' ? value : NULL;
		return 0;
	case OPT_MAYBE:
		*(const char **)field = value;
		return 0;
	case OPT_LIST:
		if (list->count == LIST_MAX)
			return fail(k, "-%s %.100s: is one too many (limit"
				    " %d)", opt->name, value, LIST_MAX);
		list->item[list->count++] = value;
		return 0;
	case OPT_CHOICE:
		return opt_word(opt->choices, value, field) ? 0
		       : fail(k, "-%s %.100s: is not one of %s", opt->name,
			      value, opt->value);
	default:
		return opt_number(k, opt, value, field);
	}
}

static const struct opt *opt_find(const char *name, size_t len)
{
	for (size_t i = 0; i < COUNT(opt_table); i++)
		if (opt_table[i].name != NULL
		    && strlen(opt_table[i].name) == len
		    && strncmp(opt_table[i].name, name, len) == 0)
			return &opt_table[i];
	return NULL;
}

/* -- Words, and @FILE --
 * A FILE has a word on each line, without the blanks around it; lines that
 * are empty or begin with '#' have none. The value of an option may follow it
 * on its line, after a blank as well as after '='. The words of a FILE stand
 * for @FILE: once options have ended in one, all that comes is the program's.
 */
#define OPTIONS_ENV "KTEST_OPTIONS" /* its words are a FILE's lines */
struct words { /* of the command line, or of a FILE */
	char *const *argv;      /* what is left of the command line */
	const char *file;       /* NULL: the command line; OPTIONS_ENV: that */
	char *at;               /* what is left of the FILE's text */
	int line;               /* the last word's */
	dev_t dev;
	ino_t ino;
};

static char *words_next(struct words *w)
{
	static const char blanks[] = " \t\r";

	if (w->file == NULL)
		return *w->argv != NULL ? *w->argv++ : NULL;
	while (*w->at != '\0') {
		char *word = w->at, *end = word + strcspn(word, "\n");

		w->at = end + (*end != '\0');
		w->line++;
		word += strspn(word, blanks);
		while (end > word && strchr(blanks, end[-1]) != NULL)
			end--;
		*end = '\0';
		if (word[0] != '\0' && word[0] != '#')
			return word;
	}
	return NULL;
}

/* Cuts off what follows a '#' behind a blank, and the blanks. */
static void words_reason(char *value)
{
	for (size_t n; (value = strpbrk(value, " \t")) != NULL; value += n) {
		n = strspn(value, " \t");
		if (value[n] == '#')
			*value = '\0';
	}
}

/* A value in which a path begins at p, NULL: nowhere. A relative one is made
 * one to the FILE's directory. Returns the value, NULL if there is no room. */
static char *words_path(struct ktest *k, struct ktest_options *o,
			const struct words *w, char *value, const char *p)
{
	const char *slash = w->file != NULL ? strrchr(w->file, '/') : NULL;
	struct text t;

	if (slash == NULL || p == NULL || p[0] == '/' || p[0] == '\0')
		return value;
	text_init(&t, o->file_text + o->file_len,
		  sizeof o->file_text - 1 - o->file_len);
	text_bytes(&t, value, (size_t)(p - value));
	text_bytes(&t, w->file, (size_t)(slash + 1 - w->file));
	text_add(&t, p);
	if (t.full) {
		(void)fail(k, "%.100s: is too long (limit %d bytes for all"
			   " FILEs)", value, KTEST_FILES_SIZE);
		return NULL;
	}
	o->file_len += t.len + 1;
	return t.at;
}

/* Takes the text m of w->file into *o. */
static int words_text(struct ktest *k, struct ktest_options *o,
		      struct words *w, const struct map *m)
{
	const char *nul = memchr(m->at, '\0', m->size);

	if (nul != NULL) {
		w->line = 1;
		for (const char *p = m->at; p < nul; p++)
			w->line += *p == '\n';
		return fail(k, "%s:%d: has a NUL byte, it is no text", w->file,
			    w->line);
	}
	if (m->size >= sizeof o->file_text - 1 - o->file_len)
		return fail(k, "@FILE %s: is too long (limit %d bytes for all"
			    " FILEs)", w->file, KTEST_FILES_SIZE);
	w->at = o->file_text + o->file_len;
	memcpy(w->at, m->at, m->size);
	w->at[m->size] = '\0';
	o->file_len += m->size + 1;
	return 0;
}

/* Opens the FILE of @FILE, a word of *w, as w[1]. */
static int words_open(struct ktest *k, struct ktest_options *o,
		      const struct words *stack, struct words *w, char *word)
{
	struct stat st = { 0 };
	struct map m;
	int result;

	word = words_path(k, o, w, word + 1, word + 1);
	if (word == NULL)
		return -1;
	if (word[0] == '\0')
		return fail(k, "@FILE: the name is missing");
	if (w == stack + FILE_DEPTH)
		return fail(k, "@FILE %s: too many FILEs in each other (limit"
			    " %d)", word, FILE_DEPTH);
	for (const struct words *up = w; stat(word, &st) == 0 && up > stack; up--)
		if (up->dev == st.st_dev && up->ino == st.st_ino)
			return fail(k, "@FILE %s: includes itself", word);
	if (map_file(k, "@FILE", word, &m) < 0)
		return -1;
	w[1] = (struct words){ .file = word, .dev = st.st_dev,
			       .ino = st.st_ino };
	result = words_text(k, o, &w[1], &m);
	unmap_file(&m);
	return result;
}

/* Where in a value a path begins, NULL: it has none. */
static const char *opt_path(const struct opt *opt, const char *value)
{
	const char *equals = strchr(value, '=');
	long long mib;

	if ((opt->is & (PATH_ALL | PATH_NAME | PATH_OR_SIZE | PATH_TARGET)) == 0
	    || (opt->is & PATH_OR_SIZE && parse_size(value, &mib))
	    || (opt->is & PATH_NAME && value[strcspn(value, "/:")] != '/'))
		return NULL;
	if ((opt->is & PATH_TARGET) == 0)
		return value;
	if (equals != NULL && strncmp(value, "unix:", 5) != 0)
		value = equals + 1;
	if (strncmp(value, "unix:", 5) == 0)
		return value + 5;
	return value[strspn(value, "0123456789")] != '\0' ? value : NULL;
}

/* An option, which begins with word. Its value may be the next one, but none
 * that looks like an option, or like the end of them, and was hardly meant. */
static int opt_option(struct ktest *k, struct ktest_options *o,
		      struct words *w, char *word)
{
	char *name = word + (word[1] == '-' ? 2 : 1), *value = NULL;
	size_t len = strcspn(name, w->file != NULL ? "= \t" : "=");
	const struct opt *opt = opt_find(name, len);

	if (opt == NULL && len == 4 && strncmp(name, "help", 4) == 0)
		opt = opt_find("h", 1);
	if (opt == NULL)
		return fail(k, "%.100s: no such option (ktest -h lists them)",
			    word);
	if (name[len] == '=')
		value = name + len + 1;
	else if (name[len] != '\0')
		value = name + len + strspn(name + len, " \t");
	else if (opt->kind != OPT_FLAG && opt->kind != OPT_MAYBE)
		value = words_next(w);
	o->last_option = opt->name;
	o->last_value = name[len] == '\0' ? value : NULL;
	if (o->last_value != NULL && value[0] == '-' && value[1] != '\0'
	    && (opt->is & DASHES) == 0)
		return fail(k, "-%s: needs a value: %s; -%s=%.100s if that is"
			    " meant", opt->name, opt->value, opt->name, value);
	if (value != NULL && w->file != NULL && opt->is & REASON)
		words_reason(value);
	if (value != NULL && (value = words_path(k, o, w, value,
					opt_path(opt, value))) == NULL)
		return -1;
	return opt_set(k, o, opt, value);
}

/* The program, or an argument of it, if it began in a FILE. */
static int opt_argument(struct ktest *k, struct ktest_options *o,
			const struct words *w, char *word)
{
	const bool path = o->file_argc == 0 && strchr(word, '/') != NULL;

	if (o->file_argc == KTEST_LIST_MAX)
		return fail(k, "%.100s: is one argument too many (limit %d after"
			    " an @FILE with PROGRAM)", word, KTEST_LIST_MAX);
	word = words_path(k, o, w, word, path ? word : NULL);
	if (word == NULL)
		return -1;
	o->file_argv[o->file_argc++] = word;
	o->file_argv[o->file_argc] = NULL;
	o->argv = o->file_argv;
	return 0;
}

static int opt_words(struct ktest *k, struct ktest_options *o,
		     struct words *stack, struct words *w)
{
	bool ended = false;
	int result = 0;

	while (result == 0) {
		char *word = words_next(w);
		const bool dashes = word != NULL && strcmp(word, "--") == 0;

		if (word == NULL) {
			if (w == stack)
				return 0;
			w--;
		} else if (!ended && word[0] == '@') {
			result = words_open(k, o, stack, w, word);
			w += result == 0;
		} else if (!ended && word[0] == '-' && word[1] != '\0'
			   && !dashes) {
			result = opt_option(k, o, w, word);
		} else if (!ended && w == stack) {
			w->argv -= !dashes;
			if (*w->argv != NULL)
				o->argv = w->argv;
			return 0;
		} else if (!ended && w->dev == 0 && w->ino == 0) {
			result = fail(k, "%.100s: is no option", word);
		} else {
			if (ended || !dashes)
				result = opt_argument(k, o, w, word);
			ended = true;
		}
	}
	if (w->file != NULL) { /* say where */
		(void)snprintf(k->scratch, sizeof k->scratch, "%s:%d: %s",
			       w->file, w->line, k->error);
		memcpy(k->error, k->scratch, sizeof k->error - 1);
	}
	return -1;
}

/* Whether an option was given; a list begins with its first item. */
static bool opt_given(const struct ktest_options *o, const struct opt *opt)
{
	const void *field = (const char *)o + opt->offset;

	return opt->kind == OPT_FLAG || opt->kind == OPT_CHOICE
	       ? *(const int *)field != 0 : *(const char *const *)field != NULL;
}

/* Fails for an option that is such a one. */
static int opt_refuse(struct ktest *k, unsigned is, const char *why)
{
	for (size_t i = 0; i < COUNT(opt_table); i++)
		if (opt_table[i].is & is && opt_given(k->o, &opt_table[i]))
			return fail(k, "-%s: %s", opt_table[i].name, why);
	return 0;
}

/* One machine's things cannot be those of several. */
static int opt_kernels(struct ktest *k, struct ktest_options *o)
{
	if (o->kernels.count > 0)
		o->kernel_path = o->kernels.item[0];
	else if (o->image != NULL) /* $KTEST_KERNEL is not for it */
		o->kernel_path = NULL;
	if (o->kernels.count > 1 && o->snapshot != NULL
	    && o->snapshot[0] != '\0' && strcmp(o->snapshot, "none") != 0
	    && strcmp(o->snapshot, "auto") != 0)
		return fail(k, "-snapshot %s: is for one machine, not for %zu"
			    " -kernel-path (say auto)", o->snapshot,
			    o->kernels.count);
	return o->each ? opt_refuse(k, ONE, "is for one machine, not for -each")
	       : o->kernels.count < 2 ? 0
	       : opt_refuse(k, ONE, "is for one machine, not for several"
				    " -kernel-path");
}

/* Reads the command line into *o; what is left of it is the program. */
static int opt_parse(struct ktest *k, struct ktest_options *o,
		     char *const *argv)
{
	struct words stack[FILE_DEPTH + 1];
	const char *env = getenv(OPTIONS_ENV);
	const struct map text = { env, env != NULL ? strlen(env) : 0 };

	stack[0] = (struct words){ .argv = argv + (argv[0] != NULL) };
	stack[1] = (struct words){ .file = OPTIONS_ENV };
	if (env != NULL && words_text(k, o, &stack[1], &text) < 0)
		return -1;
	for (char *p = stack[1].at; p != NULL && *p != '\0'; p++)
		*p = *p == ' ' || *p == '\t' ? '\n' : *p;
	return opt_words(k, o, stack, stack + (env != NULL)) < 0
	       ? -1 : opt_kernels(k, o);
}

/* Sets every option to its default; the environment's are read here. */
void ktest_defaults(struct ktest_options *o)
{
	*o = (struct ktest_options){
		.name = "ktest", .kernel_path = getenv("KTEST_KERNEL"),
		.qemu = getenv("KTEST_QEMU"),
		.snapshot = getenv("KTEST_SNAPSHOT"),
		.memory = 1024, .cpus = 1,
		.sandbox = SANDBOX_AUTO, .health = HEALTH_OOPS,
		.stdin_fd = 0, .stdout_fd = 1, .stderr_fd = 2, .log_fd = 2,
		.wake_fd = -1,
	};
	if (o->kernel_path != NULL && o->kernel_path[0] == '\0')
		o->kernel_path = NULL;
	if (o->qemu != NULL && o->qemu[0] == '\0')
		o->qemu = NULL;
}

int ktest_parse(struct ktest_options *o, char *const *argv,
		struct ktest_result *r)
{
	struct ktest *k = run_begin(o, r);
	int result = k != NULL ? opt_parse(k, o, argv) : -1;

	if (result < 0 && k != NULL)
		say_line(k, k->error);
	if (k != NULL)
		run_end(k, r);
	r->status = result < 0 ? KTEST_NO_VERDICT : 0;
	return result;
}

/* ==== 5. Kernel =========================================================
 * options + the kernel's file -> struct kernel: what it is and says of itself,
 * and under which accelerators it is unpacked here; for an attempt the file that
 * QEMU starts. The helper programs that unpack, and the files that they write,
 * stand first.
 */

/* -- Temporary files, and helper programs -- */
/* Files without a name: for what may be too large for memory, and for all
 * else. */
static int temporary_on_disk(struct ktest *k)
{
	static const char *const dirs[] = { "/var/tmp", "/tmp", "/dev/shm" };
	const char *first = getenv("TMPDIR");
	char path[PATH_SIZE];
	int fd = -1;

	for (size_t i = 0; fd < 0 && i <= COUNT(dirs); i++) {
		const char *dir = i > 0 ? dirs[i - 1] : first;

		if (dir == NULL || snprintf(path, sizeof path,
			"%s/ktest.XXXXXX", dir) >= (int)sizeof path)
			continue;
		fd = mkostemp(path, O_CLOEXEC);
		if (fd >= 0)
			(void)unlink(path);
	}
	return fd >= 0 ? fd : fail(k, "no temporary file, not in $TMPDIR,"
				   " /tmp, /var/tmp or /dev/shm:");
}

static int temporary_file(struct ktest *k)
{
	int fd = memfd_create("ktest", MFD_CLOEXEC);

	return fd >= 0 ? fd : temporary_on_disk(k);
}

/* A file that will appear complete, or not at all: an older one goes. */
static int file_expect(struct ktest *k, const char *what, const char *path)
{
	struct stat st;

	if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return fail(k, "%s %s: is there, and is not a regular file",
			    what, path);
	if (!k->o->dry_run && unlink(path) < 0 && errno != ENOENT)
		return fail(k, "%s %s:", what, path);
	return 0;
}

enum { UNPACKED_MAX = INT_MAX }; /* bytes that a helper may write to a file */

struct child { /* a helper program whose output we read */
	pid_t pid;
	int out;
};

/* In a child: what main() ignores must not be ignored by QEMU. Handlers end
 * with exec by themselves, and what was ignored before us stays so. */
static void child_signals(void)
{
	sigset_t none;

	(void)signal(SIGPIPE, SIG_DFL);
	(void)signal(SIGTTIN, SIG_DFL);
	(void)signal(SIGXFSZ, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Runs argv with stdin from fd in (-1: /dev/null) and the environment envp
 * (NULL: ours). *c gets its stdout or, where that goes to the fd `to`, its
 * stderr. A program that cannot be executed exits with 127. */
static int child_start(struct ktest *k, char *const *argv, char *const *envp,
		       int in, int to, struct child *c)
{
	const struct rlimit most = { UNPACKED_MAX, UNPACKED_MAX };
	int fd[2], null;

	if (make_pipe(k, fd) < 0)
		return -1;
	c->pid = fork();
	if (c->pid < 0) {
		(void)close(fd[0]);
		(void)close(fd[1]);
		return fail(k, "fork:");
	}
	if (c->pid == 0) {
		child_signals();
		null = open("/dev/null", O_RDWR);
		(void)dup2(in < 0 ? null : in, 0);
		(void)dup2(to < 0 ? fd[1] : to, 1);
		(void)dup2(to < 0 ? null : fd[1], 2);
		if (to >= 0) /* a few bytes may unpack to what fills memory */
			(void)setrlimit(RLIMIT_FSIZE, &most);
		if (envp != NULL)
			(void)execve(argv[0], argv, envp);
		else
			(void)execvp(argv[0], argv);
		_exit(127);
	}
	(void)close(fd[1]);
	c->out = fd[0];
	return 0;
}

/* Waits for the end of a child, if there is one; -1 and errno as waitpid(). */
static pid_t child_wait(pid_t pid, int *status)
{
	pid_t result;

	do
		result = pid > 0 ? waitpid(pid, status, 0) : 0;
	while (result < 0 && errno == EINTR);
	return result;
}

/* Waits for its end; returns its exit status, 128+N for a signal. */
static int child_end(struct child *c)
{
	int status;

	close_fd(&c->out);
	if (child_wait(c->pid, &status) <= 0)
		return 127;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* -- What is packed: kernels and modules --
 * It is unpacked by the host's tool, into a temporary file.
 */
enum { PACK_MAGIC = 6 };

/* The tool for what begins with p[n]; NULL: it is not packed. */
static const char *packed_with(const char *p, size_t n)
{
	static const struct magic packers[] = {
		{ "\x1f\x8b", 2, 0, "gzip" }, { "\xfd" "7zXZ", 5, 0, "xz" },
		{ "\x28\xb5\x2f\xfd", 4, 0, "zstd" },
		{ "\x02\x21\x4c\x18", 4, 0, "lz4" }, { "BZh", 3, 0, "bzip2" },
		{ "\x5d\0\0", 3, 0, "xz" /* lzma */ },
		{ "\x89LZO", 4, 0, "lzop" },
	};

	return magic_find(packers, COUNT(packers), p, n);
}

/* What the tool makes of the fd `in`, from where that stands; -1 and k->error,
 * which begins with the option and the path, or k->end. */
static int unpack(struct ktest *k, const char *option, const char *path,
		  const char *tool, int in)
{
	char *argv[] = { (char *)(uintptr_t)tool, (char *)(uintptr_t)"-dc",
			 NULL }, said[256];
	struct child c = { 0, -1 };
	int fd = temporary_file(k), status;
	ssize_t n, len = 0;

	if (fd < 0 || child_start(k, argv, NULL, in, fd, &c) < 0) {
		close_fd(&fd);
		return -1;
	}
	while ((n = run_read(k, c.out, said, sizeof said)) > 0)
		len = line_end(said, said + n) - said;
	if (n < 0)
		(void)kill(c.pid, SIGKILL);
	status = child_end(&c);
	if (n == 0 && status == 0 && lseek(fd, 0, SEEK_SET) == 0)
		return fd;
	if (n == 0)
		(void)fail(k, "%s%s: cannot be unpacked with %s -dc%s%.*s",
			   option, path, tool, status == 127
			   ? " (is it installed?)" : status == 128 + SIGXFSZ
			   ? ": it has more than 2 GiB" : len > 0 ? ": " : "",
			   (int)len, said);
	close_fd(&fd);
	return -1;
}

/* Opens a file; what is packed is unpacked. -1 and k->error, or k->end. */
static int open_unpacked(struct ktest *k, const char *path)
{
	char magic[PACK_MAGIC];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), packed = fd;
	ssize_t n = fd < 0 ? -1 : pread(fd, magic, sizeof magic, 0);
	const char *tool = n < 0 ? NULL : packed_with(magic, (size_t)n);

	if (fd < 0)
		return fail(k, "%s:", path);
	if (tool == NULL)
		return fd;
	fd = unpack(k, "", path, tool, packed);
	(void)close(packed);
	return fd;
}

/* -- Machines --
 * What QEMU emulates, a row for each: the one place that knows an architecture.
 * Names and numbers are QEMU's (hw/i386, hw/arm, hw/riscv: virt.c, hw/s390x) and
 * ELF's (e_machine, System V ABI).
 */
static const struct machine {
	const char *name;
	const char *arch;      /* the processor's, as uname -m has it ... */
	unsigned elf[2];       /* ... and ELF, of 64 bits and of 32, or 0 */
	const char *image;     /* the kernel where it is built */
	const char *qemu, *package; /* the emulator, and Debian's name for it */
	const char *type[3];   /* -M under each ACCEL_... */
	const char *monogon;   /* the same in Monogon mode under KVM, or NULL */
	const char *cpu[3];    /* -cpu under each; NULL: see qemu_cpu() */
	const char *cpu_net;   /* ... under TCG with a network, or NULL */
	const char *bus;       /* what the names of virtio devices end in */
	const char *module;    /* of the kernel, for that bus */
	size_t slots;          /* for virtio devices */
	const char *serial[3]; /* words: the console until there is hvc0 */
	const char *early;     /* of the kernel's command line, for that ... */
	const char *restart;   /* ... and for how it ends QEMU; or NULL */
	size_t cmdline_max;    /* without the NUL, if the kernel says nothing */
	bool own_bios;         /* our firmware is for it */
	bool acpi;             /* acpi=off is there to be chosen */
	bool tsc;              /* TCG's clock is the host's tick counter */
	bool fw_cfg;           /* for vmcoreinfo */
	bool settles;          /* saving it loses interrupts that are pending */
	const char *uefi;      /* firmware, and Debian's name for it; or NULL */
} machines[MACHINES] = {
	/* Under KVM Monogon's, but that a program's has an RTC, for which a
	 * kernel that looks for one would wait 1 to 3 s (cmos_init()); under TCG
	 * also with the PIT, without which kernels cannot calibrate. They restart
	 * by a triple fault: the other ways need ACPI or a keyboard controller. */
	[MICROVM] = { .name = "microvm", .arch = "x86_64",
		.elf = { ELF_X86_64, ELF_I386 },
		.image = "arch/x86/boot/bzImage",
		.qemu = "qemu-system-x86_64", .package = "qemu-system-x86",
		.type = { [ACCEL_TCG] = "microvm,x-option-roms=off,pit=on,"
					"pic=on,rtc=on,isa-serial=off",
			  [ACCEL_KVM] = "microvm,x-option-roms=off,pic=off,"
					"pit=off,rtc=on,isa-serial=off" },
		.monogon = "microvm,x-option-roms=off,pic=off,pit=off,rtc=off,"
			   "isa-serial=off",
		.cpu = { [ACCEL_KVM] = "host" },
		.bus = "device", .module = "virtio_mmio", .slots = 8,
		.serial = { "-device", "isa-serial,chardev=early0" },
		.early = "earlyprintk=serial", .restart = "reboot=t",
		.cmdline_max = 2047, .own_bios = true, .acpi = true,
		.tsc = true, .fw_cfg = true },
	/* The same with PCI and QEMU's SeaBIOS. */
	[Q35] = { .name = "q35", .arch = "x86_64",
		.elf = { ELF_X86_64, ELF_I386 },
		.image = "arch/x86/boot/bzImage",
		.qemu = "qemu-system-x86_64", .package = "qemu-system-x86",
		.type = { [ACCEL_TCG] = "q35", [ACCEL_KVM] = "q35" },
		.cpu = { [ACCEL_KVM] = "host" },
		.bus = "pci", .module = "virtio_pci", .slots = 24,
		.serial = { "-device", "isa-serial,chardev=early0" },
		.early = "earlyprintk=serial", .restart = "reboot=t",
		.cmdline_max = 2047, .tsc = true, .fw_cfg = true,
		.uefi = "OVMF here (Debian: ovmf)" },
	/* "max" takes twice as long as this, for its pointer authentication. */
	[ARM64] = { .name = "virt", .arch = "aarch64", .elf = { 183, 40 },
		.image = "arch/arm64/boot/Image",
		.qemu = "qemu-system-aarch64", .package = "qemu-system-arm",
		.type = { [ACCEL_TCG] = "virt,gic-version=3",
			  [ACCEL_KVM] = "virt,gic-version=max" },
		.cpu = { [ACCEL_TCG] = "cortex-a76", [ACCEL_KVM] = "host" },
		.bus = "device", .module = "virtio_mmio", .slots = 32,
		.serial = { "-serial", "chardev:early0" }, .early = "earlycon",
		.cmdline_max = 2047, .fw_cfg = true,
		.uefi = "AAVMF here (Debian: qemu-efi-aarch64)" },
	[RISCV64] = { .name = "virt", .arch = "riscv64", .elf = { 243 },
		.image = "arch/riscv/boot/Image",
		.qemu = "qemu-system-riscv64", .package = "qemu-system-misc",
		.type = { [ACCEL_TCG] = "virt", [ACCEL_KVM] = "virt" },
		.cpu = { [ACCEL_TCG] = "rv64", [ACCEL_KVM] = "host" },
		.bus = "device", .module = "virtio_mmio", .slots = 8,
		.serial = { "-serial", "chardev:early0" },
		.early = "earlycon=sbi", .cmdline_max = 1023 },
	/* With QEMU 7.2's vectors Linux 6.12 gets checksums of packets wrong. */
	[S390X] = { .name = "s390-ccw-virtio", .arch = "s390x", .elf = { 22 },
		.image = "arch/s390/boot/bzImage",
		.qemu = "qemu-system-s390x", .package = "qemu-system-misc",
		.type = { [ACCEL_TCG] = "s390-ccw-virtio",
			  [ACCEL_KVM] = "s390-ccw-virtio" },
		.cpu = { [ACCEL_TCG] = "max", [ACCEL_KVM] = "host" },
		.cpu_net = "max,vx=off",
		.bus = "ccw", .module = "virtio_ccw", .slots = 32,
		.serial = { "-device", "sclpconsole,chardev=early0" },
		.early = "earlyprintk", .cmdline_max = 895,
		.settles = true },
};

static const struct machine *guest_machine(const struct guest *g)
{
	return &machines[g->machine];
}

/* Whether the guest's processor is this host's. */
static bool guest_is_native(const struct guest *g)
{
	struct utsname u;

	if (uname(&u) < 0)
		return false;
	if (strcmp(u.machine, "i686") == 0) /* a personality says so */
		return guest_machine(g)->elf[0] == ELF_X86_64;
	return strcmp(u.machine, guest_machine(g)->arch) == 0;
}

static const char *guest_qemu(const struct ktest_options *o,
			      const struct guest *g)
{
	return o->qemu != NULL ? o->qemu : guest_machine(g)->qemu;
}

/* -- The kernel's file --
 * bzImage: Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel
 * Header"; its payload, a packed vmlinux, is payload_offset behind the set-up
 * sectors, and has 4 bytes more (its size), but with gzip. vmlinux: ELF-64, and
 * the note by which QEMU starts it, Xen's public/elfnote.h,
 * XEN_ELFNOTE_PHYS32_ENTRY ("PVH"). A unified kernel image (UAPI Group, UKI) is
 * a PE file (Microsoft, "PE Format") whose section .linux is a bzImage. Image:
 * Documentation/arch/arm64/booting.rst, arch/riscv/boot-image-header.rst; s390's
 * bzImage: arch/s390/include/asm/setup.h, struct parmarea at 0x10400. An Image in
 * an EFI program: drivers/firmware/efi/libstub/zboot-header.S.
 */
enum {
	BZ_SETUP_SECTS = 0x1f1, BZ_SYSSIZE = 0x1f4, BZ_BOOT_FLAG = 0x1fe,
	BZ_MAGIC = 0x202, BZ_PROTOCOL = 0x206, BZ_VERSION = 0x20e,
	BZ_LOADFLAGS = 0x211, BZ_XLOADFLAGS = 0x236, BZ_CMDLINE_SIZE = 0x238,
	BZ_PAYLOAD = 0x248, BZ_PAYLOAD_LENGTH = 0x24c, BZ_HEADER_END = 0x268,
	BZ_LOADED_HIGH = 1, BZ_KERNEL_64 = 1,
	PE_AT = 0x3c, PE_SECTIONS = 6, PE_OPTIONAL_SIZE = 20, PE_HEADER = 24,
	PE_VIRTUAL_SIZE = 8, PE_SIZE = 16, PE_OFFSET = 20, PE_SECTION = 40,
	ELF_NOTE_PVH = 18,
	ZBOOT_PAYLOAD = 8, ZBOOT_LENGTH = 12,
	S390_VERSION = 0x10428, S390_CMDLINE_SIZE = 0x10430,
	IMAGE_HEAD = 0x10440,  /* all of that */
	KERNEL_LAYERS = 4      /* a kernel in a kernel's file ... */
};

/* The first machine that runs an ELF file; NULL if there is none, or it is no
 * such file. */
static const struct machine *elf_machine(const struct map *m)
{
	const bool elf = m->size >= 64 && memcmp(m->at, "\177ELF", 4) == 0;
	const unsigned is = elf ? (unsigned)elf_get(m->at, ELF_MACHINE, 2) : 0;

	for (size_t i = 0; is != 0 && i < MACHINES; i++)
		if (machines[i].elf[0] == is || machines[i].elf[1] == is)
			return &machines[i];
	return NULL;
}

/* Whether the kernel's architecture is that of a program at path, whose own is
 * *arch then. True for what is of no machine that is known. */
static bool guest_runs(const struct guest *g, const char *path,
		       const char **arch)
{
	char head[64] = "";
	const struct map m = { head, sizeof head };
	const struct machine *own = guest_machine(g), *is;
	unsigned number;

	(void)file_head(path, head, sizeof head);
	is = elf_machine(&m);
	number = (unsigned)elf_get(head, ELF_MACHINE, 2);
	*arch = is != NULL ? is->arch : "";
	return is == NULL || number == own->elf[0] || number == own->elf[1];
}

static int guest_refuse(struct ktest *k, const struct guest *g,
			const char *path)
{
	const char *arch;

	return guest_runs(g, path, &arch) ? 0
	       : fail(k, "%s: is for %s, the kernel for %s", path, arch,
		      guest_machine(g)->arch);
}

/* Whether a PT_NOTE segment holds the PVH entry point: notes are name size,
 * descriptor size, type, then both padded to four bytes. */
static bool elf_note_pvh(const char *p, uint64_t n)
{
	while (n >= 12) {
		uint64_t name = get_le(p, 4), desc = get_le(p + 4, 4);
		uint64_t size = 12 + ((name + 3) & ~(uint64_t)3)
				+ ((desc + 3) & ~(uint64_t)3);

		if (get_le(p + 8, 4) == ELF_NOTE_PVH && name == 4 && n >= 16
		    && memcmp(p + 12, "Xen", 4) == 0)
			return true;
		if (size > n)
			break;
		p += size;
		n -= size;
	}
	return false;
}

static void kernel_version(struct kernel *kernel, const char *s, size_t n)
{
	size_t len = 0;

	while (len < n && len < sizeof kernel->version - 1 && s[len] > ' '
	       && s[len] < 0x7f && s[len] != '/')
		len++;
	memcpy(kernel->version, s, len);
	kernel->version[len] = '\0';
}

/* What a vmlinux says: its version, and by its messages what it was built
 * with. They stand together, the version first, so most of the file need not
 * be read. In a bzImage they are compressed. */
static void kernel_messages(struct kernel *kernel, const char *s, size_t n)
{
	static const char banner[] = "Linux version ",
		acpi[] = "Unable to load the System Description",
		pci[] = "No config space access function";
	const char *end = s + n, *p = memmem(s, n, banner, sizeof banner - 1);

	while (p != NULL && p + sizeof banner <= end
	       && !isdigit((unsigned char)p[sizeof banner - 1]))
		p = memmem(p + 1, (size_t)(end - p) - 1, banner,
			   sizeof banner - 1);
	if (p == NULL)
		return;
	n = (size_t)(end - p);
	kernel_version(kernel, p + sizeof banner - 1, n - sizeof banner + 1);
	kernel->no_acpi = memmem(p, n, acpi, sizeof acpi - 1) == NULL;
	kernel->no_pci = memmem(p, n, pci, sizeof pci - 1) == NULL;
}

static int kernel_elf(struct ktest *k, const char *path, const struct map *m,
		      struct kernel *kernel)
{
	struct elf_segment s;
	bool pvh = false;
	uint64_t machine = m->size >= 64 ? elf_get(m->at, ELF_MACHINE, 2) : 0;
	const struct machine *other = elf_machine(m);

	if (m->size < 64)
		return fail(k, "-kernel-path %s: is a truncated ELF file",
			    path);
	if (other != NULL && other != machines)
		return fail(k, "-kernel-path %s: is a vmlinux for %s, which QEMU"
			    " does not start (take %s)", path, other->arch,
			    other->image);
	if (other == NULL)
		return fail(k, "-kernel-path %s: is an ELF file for another"
			    " architecture (machine %u)", path, (unsigned)machine);
	kernel->elf = true;
	kernel->is64 = machine == ELF_X86_64;
	for (size_t i = 0; i < elf_segments(m->at); i++) {
		if (!elf_segment(m->at, m->size, i, &s)
		    || s.offset > m->size || s.size > m->size - s.offset)
			return fail(k, "-kernel-path %s: is truncated: %zu bytes,"
				    " its headers say more", path, m->size);
		if (s.type == PT_NOTE_TYPE)
			pvh = pvh || elf_note_pvh(m->at + s.offset, s.size);
		if (s.type == PT_LOAD_TYPE && kernel->version[0] == '\0')
			kernel_messages(kernel, m->at + s.offset, s.size);
	}
	if (!pvh)
		return fail(k, "-kernel-path %s: is an ELF file without a PVH"
			    " note: not a kernel, or one built without"
			    " CONFIG_PVH", path);
	return 0;
}

static int kernel_bzimage(struct ktest *k, const char *path,
			  const struct map *m, struct kernel *kernel)
{
	size_t setup = (unsigned char)m->at[BZ_SETUP_SECTS];
	size_t body = (size_t)get_le(m->at + BZ_SYSSIZE, 4) * 16;
	size_t want = ((setup == 0 ? 4 : setup) + 1) * 512 + body;
	size_t version = (size_t)get_le(m->at + BZ_VERSION, 2) + 0x200;

	if (get_le(m->at + BZ_PROTOCOL, 2) < 0x20c
	    || !(m->at[BZ_LOADFLAGS] & BZ_LOADED_HIGH))
		return fail(k, "-kernel-path %s: is too old a kernel (boot"
			    " protocol before 2.12, or a zImage)", path);
	if (m->size < want)
		return fail(k, "-kernel-path %s: is truncated: %zu bytes, its"
			    " header says %zu", path, m->size, want);
	kernel->is64 = m->at[BZ_XLOADFLAGS] & BZ_KERNEL_64;
	if (version > 0x200 && version < m->size)
		kernel_version(kernel, m->at + version, m->size - version);
	if (get_le(m->at + BZ_CMDLINE_SIZE, 4) > 0)
		kernel->cmdline_max =
			(size_t)get_le(m->at + BZ_CMDLINE_SIZE, 4);
	kernel->at = want - body + (size_t)get_le(m->at + BZ_PAYLOAD, 4);
	kernel->size = (size_t)get_le(m->at + BZ_PAYLOAD_LENGTH, 4);
	if (kernel->size < 4 || kernel->at > m->size
	    || kernel->size > m->size - kernel->at)
		return 0;
	kernel->tool = packed_with(m->at + kernel->at, kernel->size);
	if (kernel->tool != NULL && strcmp(kernel->tool, "gzip") != 0)
		kernel->size -= 4;
	return 0;
}

/* The .linux section of a PE file. */
static bool kernel_uki(const struct map *m, struct map *linux_at)
{
	size_t pe = m->size >= PE_AT + 4 ? (size_t)get_le(m->at + PE_AT, 4) : 0;
	size_t count, at;

	if (memcmp(m->at, "MZ", m->size < 2 ? 0 : 2) != 0 || pe == 0
	    || m->size < PE_HEADER || pe > m->size - PE_HEADER
	    || memcmp(m->at + pe, "PE\0", 4) != 0)
		return false;
	count = (size_t)get_le(m->at + pe + PE_SECTIONS, 2);
	at = pe + PE_HEADER + (size_t)get_le(m->at + pe + PE_OPTIONAL_SIZE, 2);
	for (; count-- > 0 && at + PE_SECTION <= m->size; at += PE_SECTION) {
		const char *p = m->at + at;
		size_t from = (size_t)get_le(p + PE_OFFSET, 4);
		size_t size = (size_t)get_le(p + PE_SIZE, 4);
		size_t used = (size_t)get_le(p + PE_VIRTUAL_SIZE, 4);

		if (memcmp(p, ".linux\0", 8) != 0 || from > m->size
		    || size > m->size - from)
			continue;
		*linux_at = (struct map){ m->at + from,
					  used < size ? used : size };
		return true;
	}
	return false;
}

/* What a file that is no kernel of ours is instead, by its first bytes. */
static const char *kernel_other(const struct map *m)
{
	static const struct magic others[] = {
		{ "\x27\x05\x19\x56", 4, 0, "a U-Boot image (take what it was"
		  " made of)" },
		{ "070701", 6, 0, "an initramfs (cpio), not a kernel" },
		{ "#!", 2, 0, "a script, not a kernel" },
		{ "MZ", 2, 0, "an EFI program without a Linux header" },
	};
	const char *what = magic_find(others, COUNT(others), m->at, m->size);

	return m->size == 0 ? "empty" : what != NULL ? what
	       : "neither a bzImage nor an Image nor an ELF vmlinux";
}

static bool kernel_is_bzimage(const struct map *m)
{
	return m->size >= BZ_HEADER_END
	       && memcmp(m->at + BZ_MAGIC, "HdrS", 4) == 0
	       && get_le(m->at + BZ_BOOT_FLAG, 2) == 0xaa55;
}

/* The machine for a file that begins as an Image does; MACHINES: none. */
static enum machine_row kernel_row(const struct map *m)
{
	static const struct {
		size_t at;
		const char *magic;
		enum machine_row machine;
	} images[] = {
		{ 56, "ARMd", ARM64 }, { 56, "RSC\x05", RISCV64 },
		{ 0x10008, "S390EP", S390X },
	};

	for (size_t i = 0; i < COUNT(images); i++)
		if (m->size >= images[i].at + 8
		    && memcmp(m->at + images[i].at, images[i].magic,
			      strlen(images[i].magic)) == 0)
			return images[i].machine;
	return MACHINES;
}

static int kernel_image(struct ktest *k, const char *path, const struct map *m,
			struct kernel *kernel)
{
	size_t at, n;

	kernel->machine = kernel_row(m);
	kernel->is64 = true;
	kernel->cmdline_max = machines[kernel->machine].cmdline_max;
	if (kernel->machine != S390X) {
		kernel_messages(kernel, m->at, m->size);
	} else if (m->size >= IMAGE_HEAD) {
		at = (size_t)get_be(m->at + S390_VERSION, 8);
		n = (size_t)get_be(m->at + S390_CMDLINE_SIZE, 8);
		kernel->cmdline_max = n > 1 ? n - 1 : kernel->cmdline_max;
		if (at < m->size)
			kernel_version(kernel, m->at + at, m->size - at);
	}
	return kernel->version[0] != '\0' ? 0 : fail(k, "-kernel-path %s: is"
		" truncated, or no kernel of Linux: it does not say its version",
		path);
}

/* What is packed in an EFI zboot image. */
static bool kernel_zboot(const struct map *m, struct map *in)
{
	size_t at, size;

	if (m->size < 64 || memcmp(m->at, "MZ\0\0zimg", 8) != 0)
		return false;
	at = (size_t)get_le(m->at + ZBOOT_PAYLOAD, 4);
	size = (size_t)get_le(m->at + ZBOOT_LENGTH, 4);
	if (at > m->size || size > m->size - at)
		return false;
	*in = (struct map){ m->at + at, size };
	return packed_with(in->at, in->size) != NULL;
}

static int kernel_parse(struct ktest *k, const char *path,
			const struct map *m, struct kernel *kernel)
{
	struct map in = *m;

	*kernel = (struct kernel){ .cmdline_max = DEFAULT_CMDLINE_MAX };
	if (kernel_is_bzimage(m))
		return kernel_bzimage(k, path, m, kernel);
	if (m->size >= 4 && memcmp(m->at, "\177ELF", 4) == 0)
		return kernel_elf(k, path, m, kernel);
	if (kernel_row(m) != MACHINES)
		return kernel_image(k, path, m, kernel);
	if (packed_with(m->at, m->size) != NULL || kernel_zboot(m, &in))
		kernel->tool = packed_with(in.at, in.size);
	else if (!kernel_uki(m, &in)
		 || (!kernel_is_bzimage(&in) && kernel_row(&in) == MACHINES))
		return fail(k, "-kernel-path %s: is %s", path, kernel_other(m));
	else if ((kernel_is_bzimage(&in) ? kernel_bzimage : kernel_image)(
			k, path, &in, kernel) < 0)
		return -1;
	else
		kernel->tool = NULL;
	kernel->wrapped = true;
	kernel->at = (size_t)(in.at - m->at);
	kernel->size = in.size;
	return 0;
}

/* fd -1: the file at path. */
static int kernel_read(struct ktest *k, const char *path, int fd,
		       struct kernel *kernel)
{
	struct map m;
	int result;

	if ((fd < 0 ? map_file(k, "-kernel-path", path, &m)
	     : map_fd(k, "-kernel-path", path, fd, &m)) < 0)
		return -1;
	result = kernel_parse(k, path, &m, kernel);
	unmap_file(&m);
	return result;
}

/* The machine of a packed kernel, of which no more is unpacked than says so. */
static enum machine_row kernel_peek(struct ktest *k, const char *path,
				    const struct kernel *kernel)
{
	char *argv[] = { (char *)(uintptr_t)kernel->tool,
			 (char *)(uintptr_t)"-dc", NULL };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct child c = { 0, -1 };
	struct map m = { k->scratch, 0 };
	const struct machine *elf;
	ssize_t n = 1;

	if (fd < 0 || lseek(fd, (off_t)kernel->at, SEEK_SET) < 0
	    || child_start(k, argv, NULL, fd, -1, &c) < 0) {
		close_fd(&fd);
		return MACHINES;
	}
	while (n > 0 && m.size < IMAGE_HEAD) {
		n = run_read(k, c.out, k->scratch + m.size,
			     IMAGE_HEAD - m.size);
		m.size += n > 0 ? (size_t)n : 0;
	}
	(void)kill(c.pid, SIGKILL);
	(void)child_end(&c);
	close_fd(&fd);
	elf = elf_machine(&m);
	return kernel_is_bzimage(&m) ? MICROVM : elf == NULL ? kernel_row(&m)
	       : (enum machine_row)(elf - machines);
}

/* What is inside of a kernel's file, as a file; -1 and k->error, or k->end. */
static int kernel_inside(struct ktest *k, const char *path, int from,
			 const struct kernel *kernel)
{
	off_t at = (off_t)kernel->at;
	const off_t end = at + (off_t)kernel->size;
	int fd = temporary_file(k), packed = fd;

	while (fd >= 0 && at < end)
		if (sendfile(fd, from, &at, (size_t)(end - at)) <= 0) {
			(void)fail(k, "-kernel-path %s: temporary file:", path);
			close_fd(&fd);
		}
	if (fd < 0 || kernel->tool == NULL)
		return fd;
	(void)lseek(packed, 0, SEEK_SET);
	fd = unpack(k, "-kernel-path ", path, kernel->tool, packed);
	(void)close(packed);
	return fd;
}

/* Opens a kernel that QEMU can start, unpacked as far as it has to be, and, if
 * payload is set and that works, to the vmlinux in a bzImage. *kernel says what
 * it is. -1 and k->error, or k->end. */
static int kernel_open(struct ktest *k, const char *path, bool payload,
		       struct kernel *kernel)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), inside;
	struct kernel in = { 0 };

	if (fd < 0)
		return fail(k, "-kernel-path %s:", path);
	for (int layer = 0; layer < KERNEL_LAYERS; layer++) {
		if (kernel_read(k, path, fd, kernel) < 0)
			break;
		if (!kernel->wrapped && (kernel->tool == NULL || !payload))
			return fd;
		inside = kernel_inside(k, path, fd, kernel);
		if (!kernel->wrapped && (inside < 0
		    || kernel_read(k, path, inside, &in) < 0 || !in.elf)) {
			step(k, "kernel: it unpacks itself: %s", k->error);
			k->error[0] = '\0';
			close_fd(&inside);
			return fd;
		}
		(void)close(fd);
		fd = inside;
		if (fd < 0 || !kernel->wrapped) {
			*kernel = in;
			return fd;
		}
	}
	(void)close(fd);
	return fail(k, "-kernel-path %s: what is packed in it is no kernel",
		    path);
}

/* The version in a name such as vmlinux-6.4.0-1-default.xz, of a kernel that
 * need not be unpacked then for a machine that is restored. */
static bool kernel_named(struct kernel *kernel, const char *path)
{
	const char *dash = strchr(path + path_base(path), '-');
	const char *dot = strrchr(path, '.');

	if (dash == NULL || dot < dash || dash[1] < '0' || dash[1] > '9')
		return false;
	if (!isalpha((unsigned char)dot[1])) /* it is the version's */
		dot = dash + strlen(dash);
	kernel_version(kernel, dash + 1, (size_t)(dot - dash) - 1);
	kernel->is64 = true;
	return true;
}

/* The kernel of the tree in which it was built, or that its modules are in, at
 * path[PATH_SIZE]: what was made last. */
static int kernel_of_tree(struct ktest *k, char *path)
{
	static const char *const names[] = { "vmlinux", "vmlinuz" };
	char file[PATH_SIZE], found[PATH_SIZE] = "";
	struct stat st;
	uint64_t last = 0;
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		len--;
	for (size_t i = 0; i < MACHINES + COUNT(names); i++) {
		if (path_set(k, file, "%.*s/%s", (int)len, path, i < MACHINES
			     ? machines[i].image : names[i - MACHINES]) < 0)
			return -1;
		if (stat(file, &st) < 0 || stat_ns(&st.st_mtim) < last
		    /* of others than x86 QEMU starts no vmlinux */
		    || (i >= MACHINES && last > 0
			&& strstr(found, machines[0].image) == NULL
			&& strstr(found, names[0]) == NULL))
			continue;
		last = stat_ns(&st.st_mtim);
		memcpy(found, file, sizeof found);
	}
	if (found[0] == '\0')
		return fail(k, "-kernel-path %s: is a directory without %s (or"
			    " another architecture's), %s or %s", path,
			    machines[0].image, names[0], names[1]);
	memcpy(path, found, sizeof found);
	return 0;
}

/* The path of the kernel to run: the option, else the running host's own. */
static int kernel_find(struct ktest *k, char *path)
{
	struct utsname u;

	if (k->o->kernel_path != NULL) {
		if (path_set(k, path, "%s", k->o->kernel_path) < 0)
			return -1;
		return file_type(path) == S_IFDIR ? kernel_of_tree(k, path) : 0;
	}
	(void)uname(&u);
	if (path_set(k, path, "/boot/vmlinuz-%s", u.release) < 0)
		return -1;
	if (access(path, R_OK) != 0
	    && path_set(k, path, "/lib/modules/%s/vmlinuz", u.release) < 0)
		return -1;
	return access(path, R_OK) == 0 ? 0
		: fail(k, "-kernel-path is missing: $KTEST_KERNEL is not set,"
			  " and neither /boot/vmlinuz-%s nor %s can be read",
		       u.release, path);
}

/* Under which accelerators the kernel is unpacked here: always what QEMU could
 * not start; else it pays where the guest's processor is slow. In a machine of
 * Monogon's nothing is changed. */
static unsigned kernel_unpacks(struct ktest *k, const struct kernel *kernel)
{
	const unsigned all = 1u << ACCEL_KVM | 1u << ACCEL_TCG;
	char path[PATH_SIZE];

	if (kernel->wrapped)
		return all;
	if (kernel->tool == NULL || k->o->unpack == UNPACK_OFF || k->o->uefi
	    || k->guest.mode == MODE_MONOGON)
		return 0;
	if (!path_search(NULL, kernel->tool, path)) {
		step(k, "kernel: it unpacks itself: there is no %s here",
		     kernel->tool);
		return 0;
	}
	return k->o->unpack == UNPACK_ON ? all : 1u << ACCEL_TCG;
}

static int guest_kernel(struct ktest *k, struct guest *g)
{
	struct kernel *kernel = &g->kernel;
	char *path = g->kernel_path;
	const char *image;
	enum machine_row row;
	int result, fd;

	if (kernel_find(k, path) < 0)
		return -1;
	result = kernel_read(k, path, -1, kernel);
	if (result == 0 && kernel->wrapped && kernel->tool != NULL
	    && kernel_named(kernel, path)) {
		row = kernel_peek(k, path, kernel);
		kernel->machine = row != MACHINES ? row : kernel->machine;
		if (row != MACHINES)
			kernel->cmdline_max = machines[row].cmdline_max;
	} else if (result == 0 && kernel->wrapped && kernel->tool != NULL) {
		fd = kernel_open(k, path, false, kernel);
		result = fd < 0 ? -1 : 0;
		close_fd(&fd);
		kernel->wrapped = true;
	}
	if (result < 0)
		return -1;
	image = machines[kernel->machine].image;
	kernel->unpack = kernel_unpacks(k, kernel);
	step(k, "kernel: %s, %s %s", path, kernel->elf ? "ELF"
	     : kernel->wrapped ? "packed" : image + path_base(image),
	     kernel->version);
	return 0;
}

/* The fd of the kernel that this attempt starts, if it is to be unpacked. */
static int kernel_attempt(struct ktest *k, const struct guest *g)
{
	const char *image = guest_machine(g)->image;
	const long long start = now_ms();
	struct kernel in;
	int fd = kernel_open(k, g->kernel_path, g->kernel.wrapped
			     ? k->o->unpack == UNPACK_ON
			       || (k->o->unpack == UNPACK_AUTO && !k->o->uefi
				   && k->attempt.accel == ACCEL_TCG)
			     : true, &in);

	if (fd >= 0)
		step(k, "kernel: unpacked in %lld ms, %s (-unpack off: it"
		     " unpacks itself)", now_ms() - start, in.elf
		     ? "starts as vmlinux, its text not moved (KASLR)"
		     : image + path_base(image));
	return fd;
}

/* ==== 6. Modules ========================================================
 * options + struct kernel -> the directory of its modules, and the list of those
 * that are loaded, in their order, with what each needs and its parameters:
 * struct guest's modules_dir and modules.
 */

/* In modules.dep (man depmod) a line for each, "PATH: NEEDS ...", all that it
 * needs, nearest first, so they are loaded from the end of the line; "softdep
 * NAME pre: NAMES post: NAMES" and "alias ALIAS NAME" in modules.softdep and
 * modules.alias. Where depmod has not run there is a list of paths alone: of
 * the files, or a build's modules.order; and what a module needs is among the
 * strings of its .modinfo, "depends=NAME,NAME" and "softdep=..." (include/
 * linux/module.h). modules.builtin: one PATH a line. '-' and '_' are the same
 * in names.
 */
/* What follows name in [p, end), if that begins with it, else NULL. */
static const char *name_skip(const char *p, const char *end, const char *name)
{
	for (; *name != '\0'; p++, name++)
		if (p == end || (*p == '-' ? '_' : *p)
				!= (*name == '-' ? '_' : *name))
			return NULL;
	return p;
}

/* Whether the path [p, end) is that of the module name, or, of a build, of its
 * object. */
static bool module_is(const char *p, const char *end, const char *name)
{
	for (const char *q = p; q < end; q++)
		if (*q == '/')
			p = q + 1;
	p = name_skip(p, end, name);
	return p != NULL && ((end - p == 2 && memcmp(p, ".o", 2) == 0)
			     || (end - p >= 3 && memcmp(p, ".ko", 3) == 0
				 && (end - p == 3 || p[3] == '.')));
}

/* The line of a module in modules.dep or another list of paths. */
static const char *module_line(const struct map *m, const char *name)
{
	const char *end = m->at + m->size, *p = m->at;

	while (p < end) {
		const char *stop = line_end(p, end);
		const char *colon = memchr(p, ':', (size_t)(stop - p));

		if (module_is(p, colon != NULL ? colon : stop, name))
			return p;
		p = stop < end ? stop + 1 : end;
	}
	return NULL;
}

/* The next line "KEY NAME REST" behind *at: its REST is [*at, *end). */
static bool index_next(const struct map *m, const char *key, const char *name,
		       const char **at, const char **end)
{
	const char *stop = m->at + m->size, *p = *at, *rest;

	for (; p < stop; p = *end < stop ? *end + 1 : stop) {
		*end = line_end(p, stop);
		rest = name_skip(p, *end, key);
		rest = rest != NULL ? name_skip(rest, *end, name) : NULL;
		if (rest == NULL || rest == *end || *rest != ' ')
			continue;
		*at = rest + 1;
		return true;
	}
	return false;
}

/* The next value of a key, with its '=', in a module: [*at, *end). */
static bool modinfo_next(const struct map *m, const char *key, const char **at,
			 const char **end)
{
	const char *stop = m->at + m->size, *p;

	do { /* what text is before it is another string */
		p = memmem(*at, (size_t)(stop - *at), key, strlen(key));
		if (p == NULL)
			return false;
		*at = p + strlen(key);
	} while (p > m->at && p[-1] >= ' ' && p[-1] < 0x7f);
	*end = memchr(*at, '\0', (size_t)(stop - *at));
	return *end != NULL;
}

static bool is_below(const char *dir, const char *name)
{
	char path[PATH_SIZE];

	return snprintf(path, sizeof path, "%s/%s", dir, name) < PATH_SIZE
	       && is_file(path);
}

/* The directory of modules at dir is the one. Its name is a version as a rule,
 * but that of a build. */
static int modules_found(struct ktest *k, struct guest *g, const char *dir)
{
	const char *v = g->kernel.version, *base;
	char real[PATH_SIZE];

	if (path_set(k, g->modules_dir, "%s", dir) < 0
	    || realpath(dir, real) == NULL)
		return fail(k, "-modules %s:", dir);
	base = strrchr(real, '/') + 1;
	if (v[0] != '\0' && *base >= '0' && *base <= '9'
	    && strcmp(base, v) != 0 && !is_below(dir, ".config"))
		return fail(k, "-modules %s: is for kernel %s, this one is %s",
			    g->modules_dir, base, v);
	return 0;
}

/* Whether an option asks for a module by its file. */
static bool module_is_file(const char *asked)
{
	const size_t n = strcspn(asked, ":");
	const char *ko = strstr(asked, ".ko");

	return memchr(asked, '/', n) != NULL || (ko != NULL && ko < asked + n);
}

static int modules_none(struct ktest *k, const struct guest *g,
			const char *tried)
{
	const char *v = g->kernel.version, *dir = k->o->modules_dir;
	size_t i = 0;

	while (i < k->o->modules.count && module_is_file(k->o->modules.item[i]))
		i++;
	if (dir == NULL && i == k->o->modules.count) {
		step(k, "modules: none in any of %s", tried);
		return 0;
	}
	return fail(k, "-module%s %s: no modules for kernel %s in any of %s%s",
		    dir != NULL ? "s" : "", dir != NULL ? dir
		    : k->o->modules.item[i], v[0] != '\0' ? v
		    : "of unknown version", tried, dir != NULL ? ""
		    : "; unpack the package that has them there, or name"
		      " their directory with -modules");
}

/* Takes the first of some places that has modules; they begin with base[n], and
 * those that end in '/' are followed by the version. 1 if there is none. */
static int modules_try(struct ktest *k, struct guest *g, const char *base,
		       size_t n, const char *const *place, struct text *tried)
{
	const char *v = g->kernel.version;
	char dir[PATH_SIZE];

	for (size_t len; *place != NULL; place++) {
		len = strlen(*place);
		if (len > 0 && (*place)[len - 1] == '/' && v[0] == '\0')
			continue;
		if (path_set(k, dir, "%.*s%s%s", (int)n, base, *place, len > 0
			     && (*place)[len - 1] == '/' ? v : "") < 0)
			return -1;
		for (len = strlen(dir); len > 1 && dir[len - 1] == '/';)
			dir[--len] = '\0';
		if (len == 0)
			memcpy(dir, ".", 2);
		if (is_below(dir, "modules.dep") || is_below(dir, "modules.order")
		    || is_below(dir, "modules.builtin"))
			return modules_found(k, g, dir);
		text_printf(tried, "%s%s", tried->len > 0 ? ", " : "", dir);
	}
	return 1;
}

/* Finds the directory of modules for the kernel at path: by -modules, else in
 * the tree that the kernel, or what a symlink leads to, stands in, else this
 * host's. Leaves g->modules_dir empty when the kernel has none. */
static int modules_find(struct ktest *k, struct guest *g, const char *path)
{
	static const char *const below[] = { "", "/", "/lib/modules/",
					     "/usr/lib/modules/", NULL },
		*const beside[] = { "", "../lib/modules/", "../usr/lib/modules/",
				    "../../.." /* arch/x86/boot */, NULL },
		*const host[] = { "/lib/modules/", NULL };
	char real[PATH_SIZE], tried_at[6 * PATH_SIZE];
	const char *dir = k->o->modules_dir;
	struct text tried;
	struct stat st;
	int result;

	text_init(&tried, tried_at, sizeof tried_at);
	result = dir != NULL
		? modules_try(k, g, dir, strlen(dir), below, &tried)
		: modules_try(k, g, path, path_base(path), beside, &tried);
	if (result > 0 && dir == NULL && lstat(path, &st) == 0
	    && S_ISLNK(st.st_mode) && realpath(path, real) != NULL)
		result = modules_try(k, g, real, path_base(real), beside,
				     &tried);
	if (result > 0 && dir == NULL)
		result = modules_try(k, g, "", 0, host, &tried);
	return result > 0 ? modules_none(k, g, tried.at) : result;
}

/* Writes the paths of all modules below a directory, a line each. */
static int modules_walk(struct ktest *k, const char *top, int to)
{
	struct dir level[MODULES_DEPTH], *d = level;
	char path[PATH_SIZE];
	const size_t len = strlen(top) + 1;
	struct stat st;

	if (dir_open(d, top, path) < 0)
		return fail(k, "-modules %s:", top);
	while (d >= level) {
		const char *name = dir_next(d);

		if (name == NULL)
			dir_close(d--);
		else if (strstr(name, ".ko") != NULL)
			(void)dprintf(to, "%s\n", path + len);
		else if (d + 1 < level + MODULES_DEPTH && lstat(path, &st) == 0
			 && S_ISDIR(st.st_mode))
			d += dir_open(d + 1, path, path) == 0;
	}
	return 0;
}

/* The list of modules in g->modules_dir: depmod's, a build's, or one that is
 * made here. */
static int modules_list(struct ktest *k, const struct guest *g, struct map *m)
{
	const char *dir = g->modules_dir;
	char path[PATH_SIZE];
	int fd, result;
	const bool dep = is_below(dir, "modules.dep");

	if (dep || is_below(dir, ".config"))
		return path_set(k, path, "%s/modules.%s", dir, dep ? "dep"
				: "order") < 0 ? -1
		       : !is_file(path) ? 0 /* nothing but the kernel is made */
		       : map_file(k, "-modules", path, m);
	step(k, "modules: no modules.dep in %s (depmod makes it)", dir);
	fd = temporary_file(k);
	result = fd < 0 || modules_walk(k, dir, fd) < 0 ? -1
		 : map_fd(k, "-modules", dir, fd, m);
	close_fd(&fd);
	return result;
}

/* -- Which modules are loaded, and in which order -- */
struct plan {
	struct ktest *k;
	struct guest *g;
	struct map list, builtin, soft, alias;
	struct text out;       /* g->modules */
	struct text todo;      /* a stack of lines: their kind, and a module's
				* name or path; with 'e' a line for out */
	struct text seen;      /* names */
	char todo_at[MODULES_SIZE], seen_at[MODULES_SIZE];
	char beside[PATH_SIZE]; /* where the file that is asked for is */
};

enum { /* who wants a module */
	PLAN_OURS = 'o',       /* a device of ours: it may be built in */
	PLAN_ASKED = 'a',      /* an option */
	PLAN_NEEDED = 'n',     /* another module */
	PLAN_SOFT = 's',       /* another one, if it can be had and loads */
	PLAN_EMIT = 'e'
};

static void plan_push(struct plan *p, char kind, const char *s, size_t n)
{
	text_bytes(&p->todo, &kind, 1);
	text_bytes(&p->todo, s, n);
	text_add(&p->todo, "\n");
}

/* The words [s, end), between blanks, controls or commas; `when`: those behind
 * it. */
static void plan_words(struct plan *p, char kind, const char *s,
		       const char *end, const char *when)
{
	bool these = when == NULL;

	for (size_t n; s < end; s += n + (s + n < end)) {
		for (n = 0; s + n < end && s[n] != ','
					&& (unsigned char)s[n] > ' ';)
			n++;
		if (n > 0 && s[n - 1] == ':')
			these = when != NULL && n == strlen(when)
				&& memcmp(s, when, n) == 0;
		else if (n > 0 && these)
			plan_push(p, kind, s, n);
	}
}

/* What is to be loaded before or after a module, if it can be. m is the module,
 * or empty: then modules.softdep knows. */
static void plan_softs(struct plan *p, const char *name, const struct map *m,
		       const char *when)
{
	const char *at = m->size > 0 ? m->at : p->soft.at, *end;

	while (m->size > 0 ? modinfo_next(m, "softdep=", &at, &end)
	       : index_next(&p->soft, "softdep ", name, &at, &end))
		plan_words(p, PLAN_SOFT, at, end, when);
}

/* The name of the module that an option or a line says: from its path to its
 * first '.' or ':', with '_' for '-'. False if it is too long for one. */
static bool module_name(const char *s, char name[NAME_SIZE])
{
	size_t n = strcspn(s, ":\t"), base = n;

	while (base > 0 && s[base - 1] != '/')
		base--;
	n = strcspn(s + base, ".:\t");
	if (n >= NAME_SIZE)
		return false;
	memcpy(name, s + base, n);
	name[n] = '\0';
	for (char *p = name; *p != '\0'; p++)
		*p = *p == '-' ? '_' : *p;
	return true;
}

/* The line of a module to load, with the parameters that options give it. */
static void plan_emit(struct plan *p, char kind, const char *path,
		      const char *name)
{
	const struct ktest_list *asked = &p->k->o->modules;
	char other[NAME_SIZE], before = '\t';

	text_add(&p->todo, kind == PLAN_SOFT ? "e-" : "e");
	text_add(&p->todo, path);
	for (size_t i = 0; i < asked->count; i++) {
		const char *colon = strchr(asked->item[i], ':');

		if (colon == NULL || !module_name(asked->item[i], other)
		    || strcmp(name, other) != 0)
			continue;
		text_bytes(&p->todo, &before, 1);
		text_add(&p->todo, colon + 1);
		before = ' ';
	}
	text_add(&p->todo, "\n");
}

static int module_missing(struct ktest *k, struct guest *g, const char *name,
			  char kind)
{
	if (kind == PLAN_ASKED || (kind == PLAN_NEEDED
				   && g->modules_dir[0] != '\0'))
		return fail(k, "-module %.100s: is not in %s, nor built in%s",
			    name, g->modules_dir, kind == PLAN_NEEDED
			    ? ", and another needs it" : "");
	if ((name[0] == '9' || (g->image_fs != NULL
				&& strcmp(g->image_fs, name) == 0))
	    && g->modules_dir[0] != '\0')
		return fail(k, "-%s: kernel %s has no %s: not in %s",
			    g->image_fs != NULL || k->o->rootfs != NULL
			    ? "rootfs" : "mount", g->kernel.version, name[0] == '9'
			    ? "9p (CONFIG_9P_FS, CONFIG_NET_9P_VIRTIO)" : name,
			    g->modules_dir);
	g->no_overlay = g->no_overlay || strcmp(name, "overlay") == 0;
	return 0; /* built into a kernel whose list does not say so */
}

/* A name that no module has: it is built in, or an alias. That the kernel says
 * "crc32c" for crc32c_generic is known where no list of aliases is. */
static int plan_other(struct plan *p, char kind, const char *name)
{
	const char *at = p->alias.at, *end;
	char generic[NAME_SIZE + 8];
	bool any = false;

	if (module_line(&p->builtin, name) != NULL)
		return 0;
	while (index_next(&p->alias, "alias ", name, &at, &end)) {
		plan_push(p, PLAN_SOFT, at, (size_t)(end - at));
		any = true;
	}
	(void)snprintf(generic, sizeof generic, "%s_generic", name
		       + (strncmp(name, "crypto_", 7) == 0 ? 7 : 0));
	if (!any && p->alias.size == 0
	    && module_line(&p->list, generic) != NULL) {
		plan_push(p, PLAN_SOFT, generic, strlen(generic));
		any = true;
	}
	return any || kind == PLAN_SOFT ? 0
		: module_missing(p->k, p->g, name, kind);
}

/* The FILE of an option that is that module: it goes before all others of the
 * name, whoever needs it, and keeps its name where it is a symlink. */
static bool plan_own(struct plan *p, const char *name, char *path)
{
	const struct ktest_list *asked = &p->k->o->modules;
	char file[PATH_SIZE], real[PATH_SIZE], other[NAME_SIZE];

	for (size_t i = 0; i < asked->count; i++) {
		const char *s = asked->item[i];

		if (!module_is_file(s) || !module_name(s, other)
		    || strcmp(name, other) != 0
		    || snprintf(file, sizeof file, "%.*s",
				(int)strcspn(s, ":"), s) >= PATH_SIZE
		    || realpath(file, real) == NULL)
			continue;
		(void)snprintf(p->beside, sizeof p->beside, "%.*s",
			       (int)(strrchr(real, '/') - real), real);
		return path_absolute(p->k, file, path) == 0
		       && strpbrk(path, "\t\n") == NULL;
	}
	return false;
}

/* The line of g->modules behind the one at p, whose file's path is put in path;
 * NULL if that is too long. */
static const char *module_next(struct ktest *k, const struct guest *g,
			       const char *p, char *path)
{
	const char *end = p + strcspn(p, "\n"), *at = p + (*p == '-');
	const int n = (int)strcspn(at, "\t\n");

	return (at[0] == '/' ? path_set(k, path, "%.*s", n, at)
		: path_set(k, path, "%s/%.*s", g->modules_dir, n, at)) < 0
	       ? NULL : end + 1;
}

/* Puts a module on the stack, what it needs above it, and what is to follow
 * below. */
static int plan_module(struct plan *p, char kind, const char *what)
{
	const char *line, *end, *colon = NULL, *at;
	char name[NAME_SIZE], path[PATH_SIZE], full[PATH_SIZE];
	char beside[PATH_SIZE];
	struct map m = { "", 0 };
	int fd = -1, result = 0, n;
	bool object;

	if (!module_name(what, name))
		return module_missing(p->k, p->g, what, kind);
	if (text_has_line(&p->seen, name, strlen(name)))
		return 0;
	text_printf(&p->seen, "%s\n", name);
	what = plan_own(p, name, beside) ? beside : what;
	line = what[0] != '/' ? module_line(&p->list, name) : NULL;
	if (line == NULL && kind == PLAN_NEEDED && p->beside[0] != '\0'
	    && snprintf(full, sizeof full, "%s/%s.ko", p->beside, what)
	       < PATH_SIZE && is_file(full))
		what = memcpy(beside, full, sizeof full);
	if (line == NULL && what[0] != '/')
		return plan_other(p, kind, name);
	at = line != NULL ? line : what;
	end = line == NULL ? what + strlen(what)
			   : line_end(line, p->list.at + p->list.size);
	if (line != NULL)
		colon = memchr(line, ':', (size_t)(end - line));
	n = (int)((colon != NULL ? colon : end) - at);
	object = n > 2 && memcmp(at + n - 2, ".o", 2) == 0; /* of a build */
	if (path_set(p->k, path, "%.*s%s", n - object, at, object ? "ko" : "")
			< 0)
		return -1;
	if (colon == NULL && (line != NULL || path[0] == '/'))
		result = module_next(p->k, p->g, path, full) == NULL
			 || (fd = open_unpacked(p->k, full)) < 0
			 ? -1 : map_fd(p->k, "-module", full, fd, &m);
	close_fd(&fd);
	plan_softs(p, name, &m, "post:");
	plan_emit(p, kind, path, name);
	plan_softs(p, name, &m, "pre:");
	at = colon != NULL ? colon + 1 : m.at;
	if (colon != NULL || (m.size > 0
			      && modinfo_next(&m, "depends=", &at, &end)))
		plan_words(p, kind == PLAN_SOFT ? PLAN_SOFT : PLAN_NEEDED, at,
			   end, NULL);
	unmap_file(&m);
	return result;
}

/* Plans a module with all that belongs to it. */
static int plan_add(struct plan *p, char kind, const char *what)
{
	char item[2 * PATH_SIZE];
	struct text *t = &p->todo;
	int result = 0;

	plan_push(p, kind, what, strlen(what));
	while (result == 0 && t->len > 0 && !t->full) {
		size_t at = t->len - 1;

		while (at > 0 && t->at[at - 1] != '\n')
			at--;
		(void)snprintf(item, sizeof item, "%.*s",
			       (int)(t->len - 1 - at), t->at + at);
		t->len = at;
		t->at[at] = '\0';
		if (item[0] == PLAN_EMIT)
			text_printf(&p->out, "%s\n", item + 1);
		else
			result = plan_module(p, item[0], item + 1);
	}
	if (result == 0 && (t->full || p->out.full || p->seen.full))
		return fail(p->k, "-module: too many modules (limit %d bytes"
			    " of paths)", MODULES_SIZE);
	return result;
}

/* One -module NAME|FILE[:PARAMETERS]. */
static int plan_asked(struct plan *p, const char *asked)
{
	const size_t n = strcspn(asked, ":");
	char file[PATH_SIZE], real[PATH_SIZE], name[NAME_SIZE];

	if (strpbrk(asked, "\t\n") != NULL)
		return fail(p->k, "-module %.100s: has a tab or a newline",
			    asked);
	if (path_set(p->k, file, "%.*s", (int)n, asked) < 0)
		return -1;
	if (module_is_file(asked)) {
		if (realpath(file, real) == NULL)
			return fail(p->k, "-module %s:", file);
		if (module_name(file, name) && strchr(name, ' ') != NULL)
			return fail(p->k, "-module %s: has a blank in its name",
				    file);
		return plan_add(p, PLAN_ASKED, file);
	}
	if (asked[n] != '\0' && module_name(file, name)
	    && module_line(&p->builtin, name) != NULL)
		return fail(p->k, "-module %s: is built in, say -cmdline"
			    " %s.PARAM=VALUE", asked, name);
	if (plan_add(p, PLAN_ASKED, file) < 0)
		return -1;
	return asked[n] == '\0' || !module_name(file, name)
	       || module_line(&p->list, name) != NULL
	       || plan_own(p, name, real) ? 0
	       : fail(p->k, "-module %s: is an alias, parameters are for a"
		      " module's own name", asked);
}

/* What -rootfs FILE may hold, by its magic: Linux's uapi/linux/magic.h, and the
 * superblocks of fs/ext4/ext4.h, fs/xfs/libxfs/xfs_format.h, fs/btrfs/,
 * fs/squashfs/squashfs_fs.h and fs/erofs/erofs_fs.h. */
static const struct magic filesystems[] = {
	{ "\x53\xef", 2, 1080, "ext4" }, { "XFSB", 4, 0, "xfs" },
	{ "_BHRfS_M", 8, 65600, "btrfs" }, { "hsqs", 4, 0, "squashfs" },
	{ "\xe2\xe1\xf5\xe0", 4, 1024, "erofs" },
};
#define FILESYSTEMS "ext4,xfs,btrfs,squashfs,erofs" /* it is any of them */

/* What our devices need; returns how many. qemu_fw_cfg tells QEMU what a dump
 * has to say of the kernel. */
enum { MODULES_OURS = 16 };

static size_t modules_ours(const struct ktest_options *o,
			   const struct guest *g, const char *ours[MODULES_OURS])
{
	size_t n = 0;

	ours[n++] = guest_machine(g)->module;
	ours[n++] = "virtio_console";
	ours[n++] = "virtio_rng";
	if (o->net || o->netfds.count > 0 || o->links.count > 0)
		ours[n++] = "virtio_net";
	if (g->mount_count > 0) {
		ours[n++] = "9pnet_virtio";
		ours[n++] = "9p";
	}
	if (g->disk_count > 0)
		ours[n++] = "virtio_blk";
	for (size_t i = 0; g->image_fs != NULL && i < COUNT(filesystems); i++)
		if (strstr(g->image_fs, filesystems[i].what) != NULL)
			ours[n++] = filesystems[i].what;
	if (g->mount_count > 0 || g->image_fs != NULL)
		ours[n++] = "overlay";
	if (o->dump != NULL || o->fw_cfgs.count > 0 || o->reboot)
		ours[n++] = "qemu_fw_cfg";
	if (o->tpm != NULL)
		ours[n++] = "tpm_tis";
	return n;
}

/* Fills g->modules: what our vports need and the kernel lacks built in, then
 * what -module names. */
static int modules_plan(struct ktest *k, struct guest *g)
{
	static const char *const more[] = { "builtin", "softdep", "alias" };
	const struct ktest_list *asked = &k->o->modules;
	const char *ours[MODULES_OURS];
	const size_t own = modules_ours(k->o, g, ours);
	const struct map none = { "", 0 };
	struct plan p = { .k = k, .g = g, .list = none, .builtin = none,
			  .soft = none, .alias = none };
	struct map *const maps[] = { &p.builtin, &p.soft, &p.alias };
	char path[PATH_SIZE];
	int result = 0;

	text_init(&p.out, g->modules, sizeof g->modules);
	text_init(&p.todo, p.todo_at, sizeof p.todo_at);
	text_init(&p.seen, p.seen_at, sizeof p.seen_at);
	if (g->modules_dir[0] != '\0')
		result = modules_list(k, g, &p.list);
	for (size_t i = 0; result == 0 && i < COUNT(more); i++) {
		result = path_set(k, path, "%s/modules.%s", g->modules_dir,
				  more[i]);
		if (result == 0 && is_file(path))
			result = map_file(k, "-modules", path, maps[i]);
	}
	if (result == 0 && p.list.size > 0
	    && memchr(p.list.at, '\0', p.list.size) != NULL)
		result = fail(k, "-modules %s: modules.dep is not a text",
			      g->modules_dir);
	for (size_t i = 0; result == 0 && i < own; i++)
		result = plan_add(&p, PLAN_OURS, ours[i]);
	for (size_t i = 0; result == 0 && i < asked->count; i++)
		result = plan_asked(&p, asked->item[i]);
	unmap_file(&p.list);
	for (size_t i = 0; i < COUNT(more); i++)
		unmap_file(maps[i]);
	return result;
}

static void modules_step(struct ktest *k, const struct guest *g)
{
	char names[MODULES_SIZE];
	struct text t;

	text_init(&t, names, sizeof names);
	for (const char *p = g->modules; *p != '\0'; p++)
		text_bytes(&t, *p == '\n' || *p == '\t' ? " " : p, 1);
	step(k, "modules: in %s: %s", g->modules_dir,
	     t.len > 0 ? names : "all that is needed is built in");
}

/* ==== 7. Disks ==========================================================
 * -disk, -rootfs FILE and -fw-cfg -> struct guest's disks. An image is raw or
 * qcow2 (QEMU's docs/interop/qcow2.txt; its numbers are big endian). Whoever made
 * it is not trusted: which other files are opened is decided here, and QEMU is
 * told the format of each.
 */
enum {
	QCOW_VERSION = 4, QCOW_BACKING = 8, QCOW_BACKING_SIZE = 16,
	QCOW_CLUSTER_BITS = 20, QCOW_SIZE = 24, QCOW_L1_SIZE = 36, QCOW_L1 = 40,
	QCOW_REFERENCES = 48, QCOW_REFERENCE_CLUSTERS = 56,
	QCOW_INCOMPATIBLE = 72, QCOW_HEADER = 104,
	QCOW_DATA_FILE = 4, QCOW_EXTENDED = 16, /* of the incompatible features */
	QCOW_LOOK_MAX = 1 << 28, /* bytes of tables that are looked through */
	QCOW_L1_MAX = 1 << 22, /* entries; QEMU's own limit */
	BACKING_MAX = 8,       /* images on each other */
	OVERLAY_BITS = 42,     /* of the size of an image that is saved */
	GPT_PARTITIONS = 128, MBR_PARTITIONS = 4
};

/* Whether all that a table names begins within the file; of a table of tables
 * (below: the bytes of those) what these name, too. An entry has so many bytes,
 * below it 16 where the image has extended ones, of which the last 8 say which
 * parts of a cluster are there. */
static bool qcow2_whole(const struct map *m, uint64_t table, uint64_t bytes,
			uint64_t below, unsigned entry)
{
	const uint64_t offset = 0x00fffffffffffe00, compressed = 1ull << 62;
	uint64_t tables = 0;

	if (table > m->size || bytes > m->size - table)
		return false;
	for (uint64_t i = 0; i < bytes && tables * below < QCOW_LOOK_MAX;
	     i += below > 0 ? 8 : entry) {
		const uint64_t e = get_be(m->at + table + i, 8);

		if ((e & offset) == 0 || (below == 0 && (e & compressed) != 0))
			continue;
		if ((e & offset) >= m->size
		    || (below > 0
			&& !qcow2_whole(m, e & offset, below, 0, entry)))
			return false;
		tables += below > 0;
	}
	return true;
}

/* What is wrong with a qcow2 image, NULL: nothing. The name of its backing file
 * goes to next[PATH_SIZE], "" if it has none. */
static const char *qcow2_header(const struct map *m, uint64_t *size, char *next)
{
	const uint64_t version = get_be(m->at + QCOW_VERSION, 4);
	const uint64_t bits = get_be(m->at + QCOW_CLUSTER_BITS, 4);
	const uint64_t l1 = get_be(m->at + QCOW_L1_SIZE, 4);
	const uint64_t at = get_be(m->at + QCOW_BACKING, 8);
	const uint64_t len = at != 0 ? get_be(m->at + QCOW_BACKING_SIZE, 4) : 0;
	const uint64_t more = version > 2
		? get_be(m->at + QCOW_INCOMPATIBLE, 8) : 0;

	*size = get_be(m->at + QCOW_SIZE, 8);
	if (version < 2 || version > 3)
		return "has a version of qcow2 that is not known";
	if ((more & QCOW_DATA_FILE) != 0)
		return "names a data file outside";
	if (bits < 9 || bits > 21 || len >= 1024 || len > m->size
	    || at > m->size - len || l1 > QCOW_L1_MAX
	    || !qcow2_whole(m, get_be(m->at + QCOW_L1, 8), l1 * 8, 1ull << bits,
			    (more & QCOW_EXTENDED) != 0 ? 16 : 8))
		return "is truncated, or damaged";
	(void)snprintf(next, PATH_SIZE, "%.*s", (int)len, m->at + at);
	return strchr(next, ':') != NULL
	       ? "names a backing file, and not by a path" : NULL;
}

/* What is wrong with an image; otherwise as above. */
static const char *image_header(const struct map *m, bool *qcow2,
				uint64_t *size, char *next)
{
	next[0] = '\0';
	*size = m->size;
	*qcow2 = m->size >= 4 && memcmp(m->at, "QFI\xfb", 4) == 0;
	if (m->size == 0)
		return "is empty";
	if (m->size % 512 != 0 && !*qcow2)
		return "is truncated, or no image: it ends within a sector";
	return !*qcow2 ? NULL : m->size < QCOW_HEADER ? "is truncated"
		: qcow2_header(m, size, next);
}

/* Reads an image, and what it is backed by, if the caller trusts it. */
static int disk_image(struct ktest *k, struct disk *d, bool trusted)
{
	char path[PATH_SIZE], name[PATH_SIZE];
	char before[(BACKING_MAX + 1) * 8 + 1] = "";
	const char *wrong;
	struct text more;
	struct map m;
	uint64_t size;
	size_t at;
	bool qcow2;

	text_init(&more, d->more, sizeof d->more);
	memcpy(path, d->path, sizeof path);
	for (int depth = 0; depth <= BACKING_MAX; depth++) {
		if (map_file(k, d->option, path, &m) < 0)
			return -1;
		wrong = image_header(&m, &qcow2, &size, name);
		unmap_file(&m);
		if (wrong != NULL)
			return fail(k, "%s %s: %s", d->option, path, wrong);
		if (name[0] != '\0' && !trusted)
			return fail(k, "%s %s: names a backing file, %s (%s:backing"
				    " allows it)", d->option, path, name, path);
		if (depth == 0) {
			d->size = size;
			d->qcow2 = qcow2;
		} else {
			text_printf(&more, ",%sdriver=%s,%sfile.driver=file,"
				    "%sfile.filename=", before, qcow2 ? "qcow2"
				    : "raw", before, before);
			text_value(&more, path);
		}
		if (name[0] == '\0')
			return more.full ? fail(k, "%s %s: the paths of its backing"
				" files are too long", d->option, path) : 0;
		(void)snprintf(before + depth * 8, 9, "backing.");
		at = name[0] == '/' ? 0 : path_base(path);
		if (at + strlen(name) >= sizeof path)
			return fail(k, "%s %s: is too long", d->option, name);
		memcpy(path + at, name, strlen(name) + 1);
	}
	return fail(k, "%s %s: has too many backing files (limit %d)",
		    d->option, d->path, BACKING_MAX);
}

/* For virtio devices, beside what every guest has: vports, entropy, the user
 * network and disks. */
static size_t slots_left(const struct ktest_options *o, const struct guest *g)
{
	return guest_machine(g)->slots - 2 - (o->net != 0) - g->disk_count;
}

static int disk_add(struct ktest *k, struct guest *g, const char *option,
		    const char *value)
{
	struct disk *d = &g->disk[g->disk_count];
	long long mib, part = 0;
	bool trusted;

	if (g->disk_count == DISKS_MAX || slots_left(k->o, g) == 0)
		return fail(k, "%s %.100s: is one too many (limit %zu beside the"
			    " other devices)", option, value, g->disk_count);
	*d = (struct disk){ .option = option, .fd = -1 };
	g->disk_count++;
	if (g->image_fs == NULL && value != k->o->image
	    && parse_size(value, &mib)) {
		d->size = (uint64_t)mib << 20;
		return mib > 0 && mib <= 1 << 30 ? 0
		       : fail(k, "%s %.100s: is not between 1M and 1024T", option,
			      value);
	}
	if (path_set(k, d->path, "%s", value) < 0)
		return -1;
	d->rw = value_cut(d->path, "rw", NULL);
	trusted = value_cut(d->path, "backing", NULL);
	d->rw = d->rw || value_cut(d->path, "rw", NULL);
	if (g->image_fs != NULL && value_cut(d->path, "p", &part)
	    && (part < 1 || part > GPT_PARTITIONS))
		return fail(k, "%s %s: there is no partition %lld", option, value,
			    part);
	(void)snprintf(g->image, sizeof g->image, "vd%c%.0lld",
		       'a' + (int)(d - g->disk), part);
	if (g->image_fs != NULL && d->rw)
		return fail(k, "%s %s: an image is never written to, as root",
			    option, value);
	if (disk_image(k, d, trusted) < 0)
		return -1;
	step(k, "/dev/vd%c: %s, %s, %llu bytes%s", 'a' + (int)(d - g->disk),
	     d->path, d->qcow2 ? "qcow2" : "raw", (unsigned long long)d->size,
	     d->rw ? "" : ", thrown away");
	return 0;
}

/* Where in a raw image a partition begins; 0: not known. UEFI specification,
 * "GUID Partition Table (GPT) Disk Layout"; of a MBR the primary ones. */
static uint64_t partition_at(const struct map *m, int n)
{
	const char *gpt = m->at + 512, *mbr = m->at + 446 + 16 * (n - 1) + 8;
	uint64_t at;

	if (m->size < 1024)
		return 0;
	if (memcmp(gpt, "EFI PART", 8) != 0)
		return n > MBR_PARTITIONS ? 0 : get_le(mbr, 4) * 512;
	at = get_le(gpt + 72, 8) * 512 + get_le(gpt + 84, 4) * (uint64_t)(n - 1);
	return at < m->size && m->size - at >= 40
	       ? get_le(m->at + at + 32, 8) * 512 : 0;
}

/* -rootfs FILE: which filesystem it is. That of a qcow2 image, or of a partition
 * which is not found here, may be any. */
static int guest_image(struct ktest *k, struct guest *g)
{
	const struct disk *d = &g->disk[g->disk_count];
	const size_t base = 3; /* of "vdaN" */
	uint64_t at = 0;
	struct map m;
	int part;
	bool known;

	g->image_fs = FILESYSTEMS;
	if (disk_add(k, g, "-rootfs", k->o->rootfs) < 0
	    || map_file(k, "-rootfs", d->path, &m) < 0)
		return -1;
	part = atoi(g->image + base);
	if (part > 0)
		at = partition_at(&m, part);
	known = !d->qcow2 && (part == 0 || at > 0);
	if (known)
		g->image_fs = at > m.size ? NULL
			      : magic_find(filesystems, COUNT(filesystems),
					   m.at + at, m.size - at);
	unmap_file(&m);
	if (g->image_fs == NULL)
		return fail(k, "-rootfs %s: has no filesystem in it (" FILESYSTEMS
			    "; FILE:pN is in partition N)", k->o->rootfs);
	(void)snprintf(g->image + strlen(g->image), sizeof g->image
		       - strlen(g->image), " %s", g->image_fs);
	return 0;
}

static int guest_disks(struct ktest *k, struct guest *g)
{
	const struct ktest_list *disks = &k->o->disks, *blobs = &k->o->fw_cfgs;
	char path[PATH_SIZE];
	long long part;

	if (k->o->image != NULL && disk_add(k, g, "-image", k->o->image) < 0)
		return -1;
	for (size_t i = 0; i < disks->count; i++)
		if (disk_add(k, g, "-disk", disks->item[i]) < 0)
			return -1;
	for (size_t i = 0; i < blobs->count; i++) {
		const char *s = blobs->item[i], *file = strchr(s, '=');

		/* QEMU's FW_CFG_MAX_FILE_PATH */
		if (file == NULL || file == s || file - s > 55)
			return fail(k, "-fw-cfg %.100s: is not NAME=FILE, with a"
				    " NAME of 1 to 55 bytes", s);
		if (!is_file(file + 1) || access(file + 1, R_OK) < 0)
			return fail(k, "-fw-cfg %.100s: is not a readable file", s);
	}
	if (k->o->rootfs == NULL || path_set(k, path, "%s", k->o->rootfs) < 0)
		return k->o->rootfs == NULL ? 0 : -1;
	while (value_cut(path, "rw", NULL) || value_cut(path, "backing", NULL)
	       || value_cut(path, "p", &part))
		;
	return is_file(path) ? guest_image(k, g) : 0;
}

/* ==== 8. Describe =======================================================
 * options + the files they name -> struct guest: which program, init and
 * firmware, what of the host is seen there; and every policy: accelerator, ACPI,
 * sandbox. Reads files and changes nothing, so the caller's fds are looked at
 * before there is one of ours that could be taken for them.
 */

/* -- Our own files: init and the firmware --
 * Beside the executable (a build), else where `make install` lays them.
 */
static bool self_directory(char *out)
{
	char *slash;
	ssize_t n = readlink("/proc/self/exe", out, PATH_SIZE - 1);

	out[n > 0 ? n : 0] = '\0'; /* then only the installed place is searched */
	slash = strrchr(out, '/');
	if (slash != NULL)
		*slash = '\0';
	return slash != NULL;
}

static int find_own(struct ktest *k, const char *name, char *out)
{
	static const char *const beside[] = { "", "/../libexec/ktest" };
	char dir[PATH_SIZE];
	const size_t places = self_directory(dir) ? COUNT(beside) : 0;

	for (size_t i = 0; i < places; i++) {
		if (path_set(k, out, "%s%s/%s", dir, beside[i], name) < 0)
			return -1;
		if (is_file(out))
			return 0;
	}
	(void)path_set(k, out, "%s/%s", KTEST_LIBEXEC, name);
	return is_file(out) ? 0 : 1;
}

/* Our init for that architecture: init-ARCH, or, where that is this host's,
 * init. */
static int guest_own_init(struct ktest *k, struct guest *g)
{
	const char *arch = guest_machine(g)->arch;
	char name[32];
	int result;

	if (guest_is_native(g)) {
		result = find_own(k, "init", g->init);
		if (result <= 0)
			return result;
	}
	(void)snprintf(name, sizeof name, "init-%s", arch);
	result = find_own(k, name, g->init);
	return result <= 0 ? result : fail(k, "-init is missing: there is no"
		" %s beside ktest, nor %s (make ARCHS=%s, or: %s-linux-gnu-gcc"
		" -Os -static -nostdlib -ffreestanding -fno-stack-protector"
		" -fno-pie init.c -o %s)", guest_is_native(g) ? "init" : name,
		g->init, arch, arch, name);
}

static int guest_init(struct ktest *k, struct guest *g)
{
	struct elf_segment s;
	struct map m;
	int result = k->o->init != NULL ? path_set(k, g->init, "%s", k->o->init)
					: guest_own_init(k, g);

	if (result < 0 || map_file(k, "-init", g->init, &m) < 0)
		return -1;
	if (m.size < 4 || memcmp(m.at, "\177ELF", 4) != 0)
		result = fail(k, "-init %s: is not an ELF program", g->init);
	else
		result = guest_refuse(k, g, g->init);
	for (size_t i = 0; elf_segment(m.at, m.size, i, &s); i++)
		if (s.type == PT_INTERP_TYPE)
			result = fail(k, "-init %s: is linked dynamically",
				      g->init);
	unmap_file(&m);
	return result;
}

/* The machine: x86's has two, of which one has what a PC has. */
static int guest_choose(struct ktest *k, struct guest *g)
{
	const struct ktest_options *o = k->o;
	const char *pc = o->tpm != NULL ? "tpm" : o->uefi ? "uefi"
			 : g->system ? "image" : NULL;
	char path[PATH_SIZE];

	g->machine = g->kernel.machine;
	if (g->machine != MICROVM && (o->machine != 0 || o->tpm != NULL))
		return fail(k, "-%s: is for a x86-64 kernel, not %s",
			    o->machine != 0 ? "machine" : "tpm",
			    guest_machine(g)->arch);
	if (g->machine == MICROVM && pc != NULL && o->machine == 1)
		return fail(k, "-%s: needs -machine q35", pc);
	if (g->machine == MICROVM && (o->machine == 2 || pc != NULL))
		g->machine = Q35;
	if (g->machine == Q35 && g->kernel.no_pci)
		return fail(k, "-%s: this kernel has no PCI",
			    pc != NULL ? pc : "machine q35");
	if (o->tpm != NULL && !path_search(NULL, "swtpm", path))
		return fail(k, "-tpm: there is no swtpm in PATH (Debian: swtpm)");
	if (o->reboot && (o->tty || o->dump != NULL
			  || o->expect == EXPECT_RESTART))
		return fail(k, "-reboot: is not for -tty, -shell, -dump, nor"
			    " -expect restart");
	return 0;
}

/* UEFI's firmware and its variables: Debian and Ubuntu, their older releases,
 * Fedora, Arch; or named. */
static int guest_uefi(struct ktest *k, struct guest *g)
{
	static const struct {
		enum machine_row machine;
		const char *code, *vars;
	} places[] = {
		{ Q35, "OVMF/OVMF_CODE_4M.fd", "OVMF/OVMF_VARS_4M.fd" },
		{ Q35, "OVMF/OVMF_CODE.fd", "OVMF/OVMF_VARS.fd" },
		{ Q35, "edk2/ovmf/OVMF_CODE.fd", "edk2/ovmf/OVMF_VARS.fd" },
		{ Q35, "edk2/x64/OVMF_CODE.4m.fd", "edk2/x64/OVMF_VARS.4m.fd" },
		{ ARM64, "AAVMF/AAVMF_CODE.fd", "AAVMF/AAVMF_VARS.fd" },
		{ ARM64, "edk2/aarch64/QEMU_EFI-pflash.raw",
		  "edk2/aarch64/vars-template-pflash.raw" },
		{ ARM64, "edk2/aarch64/QEMU_CODE.fd",
		  "edk2/aarch64/QEMU_VARS.fd" },
	};
	const char *bios = k->o->bios, *vars = k->o->uefi_vars;
	const char *known = guest_machine(g)->uefi;

	for (size_t i = 0; i < COUNT(places) && g->vars[0] == '\0'; i++) {
		if (places[i].machine != g->machine)
			continue;
		(void)snprintf(g->bios, PATH_SIZE, "/usr/share/%s",
			       places[i].code);
		if (is_file(g->bios))
			(void)snprintf(g->vars, PATH_SIZE, "/usr/share/%s",
				       places[i].vars);
	}
	if ((bios != NULL && path_set(k, g->bios, "%s", bios) < 0)
	    || (vars != NULL && path_set(k, g->vars, "%s", vars) < 0))
		return -1;
	g->vars_rw = vars != NULL && value_cut(g->vars, "rw", NULL);
	if (g->vars[0] == '\0' || (bios != NULL && vars == NULL))
		return fail(k, "-uefi: %s%s; name it with -bios FILE and"
			    " -uefi-vars FILE", bios != NULL ? "" : "there is no ",
			    bios != NULL ? "the variables are missing"
			    : known != NULL ? known : "firmware known for it");
	if (g->kernel.elf)
		return fail(k, "-uefi: starts a bzImage, not a vmlinux");
	if (!is_file(g->bios) || access(g->bios, R_OK) < 0)
		return fail(k, "-bios %s: is not a readable file", g->bios);
	return is_file(g->vars) && access(g->vars, g->vars_rw ? W_OK : R_OK) == 0
	       ? 0 : fail(k, "-uefi-vars %s: is not a file that can be %s",
			  g->vars, g->vars_rw ? "written" : "read");
}

static int guest_bios(struct ktest *k, struct guest *g)
{
	int found;

	if (k->o->uefi)
		return guest_uefi(k, g);
	if (k->o->uefi_vars != NULL)
		return fail(k, "-uefi-vars: needs -uefi");
	/* QEMU's own; SeaBIOS may reset a PC for ever that Linux restarts */
	if (k->o->bios == NULL && !guest_machine(g)->own_bios)
		return path_set(k, g->bios, "%s", g->machine == Q35
				&& !g->system ? "qboot.rom" : "");
	if (k->o->bios == NULL) {
		found = find_own(k, "bios/bios.bin", g->bios);
		g->own_bios = found == 0;
		return found > 0 ? path_set(k, g->bios, "qboot.rom") : found;
	}
	/* QEMU itself looks a bare name up among its own firmware */
	if (strchr(k->o->bios, '/') != NULL && !is_file(k->o->bios))
		return fail(k, "-bios %s: is not a readable file", k->o->bios);
	return path_set(k, g->bios, "%s", k->o->bios);
}

/* -- The host's directories -- */
/* Cuts "HOST:GUEST" in two. The colon is the last one that an absolute path
 * follows, unless all of it is a name here: then NULL. */
static char *guest_part(char *s)
{
	char *colon = NULL;

	if (file_type(s) == 0)
		for (char *p = s; (p = strstr(p, ":/")) != NULL; p++)
			colon = p;
	if (colon != NULL)
		*colon++ = '\0';
	return colon;
}

/* Whether path is below what a guest with a root of the host's has of its
 * own. */
static bool guest_hides(const char *path)
{
	static const char *const own[] = { "/dev/", "/proc/", "/run/", "/sys/",
					   "/tmp/" };

	for (size_t i = 0; i < COUNT(own); i++)
		if (strncmp(path, own[i], strlen(own[i])) == 0)
			return true;
	return false;
}

/* Whether the guest's root is a directory of the host's. */
static bool root_is_dir(const struct ktest_options *o, const struct guest *g)
{
	return o->rootfs != NULL && g->image_fs == NULL;
}

/* The guest's root, if it is a directory, and not this host's own. */
static const char *guest_root(const struct ktest_options *o,
			      const struct guest *g)
{
	return root_is_dir(o, g) && strcmp(g->mount[0].host, "/") != 0
	       ? g->mount[0].host : NULL;
}

/* Whether a path of the guest, whatever its dots and slashes, is a directory
 * that the guest has of its own and cannot do without, or below such one. */
static bool guest_needs(const char *path)
{
	char plain[PATH_SIZE + 1];
	size_t len = 0;

	for (size_t n; *path != '\0'; path += n + (path[n] == '/')) {
		n = strcspn(path, "/");
		if (n == 2 && memcmp(path, "..", 2) == 0)
			while (len > 0 && plain[--len] != '/')
				;
		else if (n > 1 || (n == 1 && path[0] != '.'))
			len += (size_t)snprintf(plain + len, sizeof plain - len,
						"/%.*s", (int)n, path);
	}
	memcpy(plain + len, "/", 2);
	return strcmp(plain, "/dev/") == 0 || strncmp(plain, "/proc/", 6) == 0
	       || strncmp(plain, "/sys/", 5) == 0;
}

static int guest_mount(struct ktest *k, struct guest *g, const char *option,
		       const char *value)
{
	const size_t most = slots_left(k->o, g) < MOUNTS_MAX
			    ? slots_left(k->o, g) : MOUNTS_MAX;
	const bool is_root = strcmp(option, "rootfs") == 0;
	struct mount *m = &g->mount[g->mount_count];
	char host[PATH_SIZE], at[PATH_SIZE];
	const char *guest = is_root ? "/" : NULL;

	if (g->mount_count++ == most)
		return fail(k, "-%s %.100s: is one too many (limit %zu beside"
			    " the other devices)", option, value, most);
	if (path_set(k, host, "%s", value) < 0)
		return -1;
	m->rw = value_cut(host, "rw", NULL);
	if (!m->rw)
		(void)value_cut(host, "ro", NULL);
	if (!is_root)
		guest = guest_part(host);
	if (guest != NULL && strchr(guest, ':') != NULL)
		return fail(k, "-%s %s: is not HOST[:GUEST][:rw]", option,
			    value);
	if (realpath(host, m->host) == NULL)
		return fail(k, "-%s %s:", option, value);
	if (file_type(m->host) != S_IFDIR)
		return fail(k, "-%s %s: is not a directory", option, value);
	if (access(m->host, R_OK | X_OK) < 0)
		return fail(k, "-%s %s:", option, value);
	if (path_set(k, m->guest, "%s", guest != NULL ? guest : m->host) < 0)
		return -1;
	if (!is_root && m->guest[strspn(m->guest, "/.")] == '\0')
		return fail(k, "-mount %s: that is what -rootfs is for", value);
	if (!is_root && guest_needs(m->guest))
		return fail(k, "-mount %s: %s is the guest's own", value,
			    m->guest);
	if (root_is_dir(k->o, g) && !guest_hides(m->guest)
	    && root_path(g->mount[0].host, m->guest, at)
	    && file_type(at) != S_IFDIR)
		return fail(k, "-mount %s: %s in the guest is not a"
			    " directory", value, m->guest);
	return 0;
}

static int guest_mounts(struct ktest *k, struct guest *g)
{
	const struct ktest_options *o = k->o;

	if (root_is_dir(o, g) && guest_mount(k, g, "rootfs", o->rootfs) < 0)
		return -1;
	for (size_t i = 0; i < o->mounts.count; i++)
		if (guest_mount(k, g, "mount", o->mounts.item[i]) < 0)
			return -1;
	if (o->net && root_is_dir(o, g) && g->mount[0].rw)
		warn(k, "-net user: /etc/resolv.conf is this host's, because"
		     " -rootfs is rw");
	return 0;
}

/* The modules belong at /lib/modules/VERSION in a root of the host's: they are
 * there, or a link in the layer leads to where the root has them, or they are
 * mounted, if there is room for one more device. Else there are none. */
static int guest_modules(struct ktest *k, struct guest *g)
{
	const struct ktest_options *o = k->o;
	struct mount *m = &g->mount[g->mount_count];
	const size_t most = slots_left(o, g), wires = o->netfds.count
						      + o->links.count;
	char at[PATH_SIZE], there[PATH_SIZE], ours[PATH_SIZE];
	bool found;

	if (!root_is_dir(o, g) || g->modules_dir[0] == '\0' || g->mount[0].rw
	    || g->no_overlay || g->kernel.version[0] == '\0')
		return 0;
	if (path_set(k, at, "/lib/modules/%s", g->kernel.version) < 0)
		return -1;
	found = root_path(g->mount[0].host, at, there);
	if (realpath(g->modules_dir, ours) == NULL
	    || (found && strcmp(there, ours) == 0))
		return 0;
	if (!found && guest_root(o, g) == NULL && !guest_hides(ours)) {
		memcpy(g->modules_link, ours, sizeof ours);
	} else if (g->mount_count + wires < most && g->mount_count < MOUNTS_MAX) {
		memcpy(m->host, ours, sizeof ours);
		memcpy(m->guest, at, sizeof at);
		g->mount_count++;
	}
	return 0;
}

/* -- The program --
 * First what its file says of it.
 */
/* The path of a program's interpreter in out, from its "#!" line or its
 * PT_INTERP; word gets what follows it in a "#!" line. */
static bool program_interpreter(const struct map *m, char *out, char *word,
				bool *script)
{
	const char *end = m->at + m->size, *p = word;
	struct elf_segment s;
	size_t len;

	*script = m->size > 2 && memcmp(m->at, "#!", 2) == 0;
	word[0] = '\0';
	if (*script) {
		len = (size_t)(line_end(m->at, end) - m->at) - 2;
		if (len >= PATH_SIZE)
			return false;
		(void)snprintf(word, PATH_SIZE, "%.*s", (int)len, m->at + 2);
		p += strspn(p, " \t");
		len = strcspn(p, " \t");
		(void)snprintf(out, PATH_SIZE, "%.*s", (int)len, p);
		p += len;
		p += strspn(p, " \t");
		memmove(word, p, strlen(p) + 1);
		return out[0] != '\0';
	}
	for (size_t i = 0; elf_segment(m->at, m->size, i, &s); i++)
		if (s.type == PT_INTERP_TYPE && s.offset < m->size
		    && s.size < PATH_SIZE && s.size <= m->size - s.offset) {
			(void)snprintf(out, PATH_SIZE, "%.*s", (int)s.size,
				       m->at + s.offset);
			return true;
		}
	return false;
}

/* Whether one of n patterns fits. */
static bool path_matches(const char *const *patterns, size_t n, const char *path)
{
	while (n > 0 && fnmatch(patterns[n - 1], path, 0) != 0)
		n--;
	return n > 0;
}

/* Whether an interpreter is a dynamic loader that we know, and no program that
 * somebody calls one: it is executed here. real gets its path. */
static bool loader_known(const char *path, char *real)
{
	static const char *const places[] = { "/lib*", "/usr/lib*",
		"/usr/*-linux-gnu*/lib*",
		"/usr/local/lib*", "/usr/local/musl/lib/*", "/nix/store/*",
		"/gnu/store/*", "/snap/*", "/home/linuxbrew/.linuxbrew/*" };
	static const char *const names[] = { "ld-linux*.so.[0-9]*",
		"ld-musl-*.so.1", "libc.so" /* musl's, by its real name */,
		"ld64.so.[0-9]*", "ld.so.[0-9]*", "ld-[0-9].[0-9]*.so" };
	char magic[4] = "";

	return realpath(path, real) != NULL && is_file(real)
	       && path_matches(places, COUNT(places), real)
	       && path_matches(names, COUNT(names), strrchr(real, '/') + 1)
	       && file_head(real, magic, sizeof magic) > 0
	       && memcmp(magic, "\177ELF", 4) == 0;
}

/* Whether a program asks its loader for libraries that audit it, whose code
 * runs even when libraries are only listed (man rtld-audit; glibc's elf/rtld.c
 * looks at DT_AUDIT and DT_DEPAUDIT). True as well if its dynamic section is
 * not plain to see: the loader finds it by address, in what it has mapped. */
static bool program_audits(const struct map *m)
{
	enum { AUDIT = 0x6ffffefc, DEPAUDIT = 0x6ffffefb };
	const size_t word = m->at[ELF_CLASS] == 2 ? 8 : 4;
	struct elf_segment s, dynamic = { 0 };
	uint64_t at = 0, last = PAGE - 1;
	int dynamics = 0, loads = 0;

	for (size_t i = 0; elf_segment(m->at, m->size, i, &s); i++)
		if (s.type == PT_DYNAMIC_TYPE) {
			dynamic = s;
			dynamics++;
		}
	for (size_t i = 0; elf_segment(m->at, m->size, i, &s); i++) {
		if (s.size > UINT64_MAX - PAGE - s.address)
			return true;
		if (s.type != PT_LOAD_TYPE
		    || (s.address & ~last) >= dynamic.address + dynamic.size
		    || ((s.address + s.size + last) & ~last) <= dynamic.address)
			continue;
		at = s.offset + (dynamic.address - s.address);
		loads++;
	}
	if (dynamics == 0)
		return false;
	if (dynamics > 1 || loads != 1 || at > m->size
	    || dynamic.size > m->size - at)
		return true;
	for (uint64_t i = 0; i + 2 * word <= dynamic.size; i += 2 * word) {
		const uint64_t tag = elf_get(m->at, at + i, word);

		if (tag == 0 || tag == AUDIT || tag == DEPAUDIT)
			return tag != 0;
	}
	return true;
}

/* The loader for a library of this host's processor, which names none. */
static bool library_loader(const struct map *m, char *out)
{
	static const struct {
		unsigned elf;
		const char *path;
	} loaders[] = {
		{ ELF_X86_64, "/lib64/ld-linux-x86-64.so.2" },
		{ ELF_X86_64, "/lib/ld-musl-x86_64.so.1" },
		{ ELF_I386, "/lib/ld-linux.so.2" },
		{ ELF_I386, "/lib/ld-musl-i386.so.1" },
		{ 183, "/lib/ld-linux-aarch64.so.1" },
		{ 183, "/lib/ld-musl-aarch64.so.1" },
		{ 243, "/lib/ld-linux-riscv64-lp64d.so.1" },
		{ 22, "/lib/ld64.so.1" },
	};
	struct elf_segment s = { 0 };
	size_t i = 0;

	while (s.type != PT_DYNAMIC_TYPE)
		if (!elf_segment(m->at, m->size, i++, &s))
			return false;
	for (i = 0; i < COUNT(loaders); i++)
		if (elf_get(m->at, ELF_MACHINE, 2) == loaders[i].elf) {
			(void)snprintf(out, PATH_SIZE, "%s", loaders[i].path);
			if (is_file(out))
				return true;
		}
	return false;
}

/* One that stands in a root that is not ours, or comes with another option. */
static int guest_root_program(struct ktest *k, struct guest *g,
			      const char *root, const char *path)
{
	const struct ktest_options *o = k->o;
	char real[PATH_SIZE];

	/* what an absolute path leads to here says nothing of there */
	if (path[0] == '/' ? path_set(k, g->program, "%s", path) < 0
			   : path_absolute(k, path, g->program) < 0)
		return -1;
	if (root_path(root, g->program, real) && guest_refuse(k, g, real) < 0)
		return -1;
	if (o->files.count > 0 || o->mounts.count > 0
	    || is_program(root, g->program))
		return 0;
	return fail(k, "-rootfs %s: there is no program %s in it", o->rootfs,
		    g->program);
}

/* What PROGRAM is called: "%a" in it is the kernel's architecture, unless there
 * is a file of that name. */
static const char *guest_name(struct ktest *k, struct guest *g)
{
	const char *name = k->o->argv[0], *a = strstr(name, "%a");

	if (a == NULL || is_file(name)
	    || path_set(k, g->name, "%.*s%s%s", (int)(a - name), name,
			guest_machine(g)->arch, a + 2) < 0)
		return name;
	return g->name;
}

static int guest_program(struct ktest *k, struct guest *g)
{
	const char *name = guest_name(k, g), *root = guest_root(k->o, g);
	char path[PATH_SIZE];
	struct stat st;
	bool elsewhere = k->o->initrd_path != NULL || k->o->files.count > 0
			 || k->o->mounts.count > 0;

	if (k->o->shell && (g->image_fs != NULL || !is_program(root, name))) {
		k->shell[0] = (char *)(uintptr_t)"/bin/sh";
		name = k->shell[0];
	}
	if (name[0] == '\0')
		return fail(k, "PROGRAM: the name is empty");
	g->by_env = g->image_fs != NULL && strchr(name, '/') == NULL;
	if (g->image_fs != NULL)
		return g->by_env || name[0] == '/'
		       ? path_set(k, g->program, "%s", g->by_env
				  ? "/usr/bin/env" : name)
		       : path_absolute(k, name, g->program);
	if (strchr(name, '/') == NULL) {
		if (!path_search(root, name, path)) {
			if (root != NULL)
				return fail(k, "-rootfs %s: there is no"
					    " program %.200s in it, in PATH",
					    k->o->rootfs, name);
			k->fail_status = KTEST_NOT_FOUND;
			return fail(k, "%.200s: not found in PATH%s", name,
				    is_file(name) ? " (./ before it?)" : "");
		}
	} else if (path_set(k, path, "%s", name) < 0) {
		return -1;
	}
	if (root != NULL)
		return guest_root_program(k, g, root, path);
	if (stat(path, &st) < 0) {
		if (elsewhere) /* it may come with -file or -initrd-path */
			return path_set(k, g->program, "%s", path);
		k->fail_status = errno == ENOENT || errno == ENOTDIR
			    ? KTEST_NOT_FOUND : KTEST_CANNOT_EXECUTE;
		return fail(k, "%s:", path);
	}
	if (!S_ISREG(st.st_mode) || access(path, X_OK) != 0) {
		k->fail_status = KTEST_CANNOT_EXECUTE;
		return fail(k, "%s: is not an executable file", path);
	}
	g->on_host = true;
	return guest_refuse(k, g, path) < 0
	       ? -1 : path_absolute(k, path, g->program);
}

/* In an -image: a name alone is looked up there, by env, whose statuses are
 * ours. A file of ours goes along, but an absolute path is the image's first:
 * what it means must not depend on this host. */
static int guest_system_program(struct ktest *k, struct guest *g)
{
	const char *name = k->o->argv[0];

	g->by_env = strchr(name, '/') == NULL;
	if (g->by_env)
		return strchr(name, '=') == NULL && name[0] != '\0'
			? path_set(k, g->program, "/usr/bin/env")
			: fail(k, "PROGRAM %.200s: needs its path", name);
	if (name[0] == '/' && !is_program(NULL, name))
		return path_set(k, g->program, "%s", name);
	if (guest_program(k, g) < 0)
		return -1;
	return g->on_host ? path_set(k, g->copy, IMAGE_DIR "/%s",
				     name + path_base(name)) : 0;
}

/* Adds "NAME=VALUE", or takes its place if there is one of that name. */
static int env_set(struct ktest *k, struct guest *g, const char *s)
{
	size_t len = strcspn(s, "=") + 1, i = 0;

	while (g->env[i] != NULL && strncmp(g->env[i], s, len) != 0)
		i++;
	if (i == ENV_MAX)
		return fail(k, "-env %.100s: is one variable too many (limit"
			    " %d)", s, ENV_MAX);
	g->env[i] = s;
	return 0;
}

/* The variable with that name here, as NAME=VALUE, of which getenv() gives the
 * end; NULL: it is not set. */
static const char *env_ours(const char *name)
{
	const char *value = getenv(name);

	return value != NULL ? value - strlen(name) - 1 : NULL;
}

/* The environment: nothing of ours but what -env and -env-all ask for. A
 * later value of a name replaces an earlier one. */
static int guest_env(struct ktest *k, struct guest *g)
{
	static const char *const defaults[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "TERM=linux", "IN_KTEST=true"
	};
	const struct ktest_list *asked = &k->o->env;

	memset(g->env, 0, sizeof g->env);
	for (size_t i = 0; i < COUNT(defaults); i++)
		(void)env_set(k, g, defaults[i]);
	if (k->o->tty && env_ours("TERM") != NULL)
		(void)env_set(k, g, env_ours("TERM"));
	for (char **e = environ; k->o->env_all && *e != NULL; e++)
		if (strchr(*e, '=') != NULL && env_set(k, g, *e) < 0)
			return -1;
	for (size_t i = 0; i < asked->count; i++) {
		const char *s = asked->item[i];

		if (s[0] == '=')
			return fail(k, "-env %.100s: has no name before the"
				    " '='", s);
		if (strchr(s, '=') == NULL && (s = env_ours(s)) == NULL)
			return fail(k, "-env %.100s: is not set in ktest's"
				    " environment", asked->item[i]);
		if (env_set(k, g, s) < 0)
			return -1;
	}
	return 0;
}

/* Whom the program runs as; a name is one of this host's. */
static int guest_user(struct ktest *k, struct guest *g)
{
	const char *s = k->o->user;
	struct passwd pw, *found = NULL;
	long long uid, gid;
	char text[4096];

	if (s == NULL)
		return 0;
	if (parse_number(&s, &uid)) {
		gid = uid;
		if ((*s == ':' && (s++, !parse_number(&s, &gid)))
		    || *s != '\0' || uid >= UINT32_MAX || gid >= UINT32_MAX)
			return fail(k, "-user %.100s: is not UID[:GID] or"
				    " NAME", k->o->user);
	} else {
		(void)getpwnam_r(s, &pw, text, sizeof text, &found);
		if (found == NULL)
			return fail(k, "-user %.100s: there is no user of"
				    " that name", s);
		uid = (long long)pw.pw_uid;
		gid = (long long)pw.pw_gid;
	}
	(void)snprintf(g->user, sizeof g->user, "%lld %lld", uid, gid);
	return 0;
}

/* -- Accelerator -- */
/* Whether /dev/kvm can be opened. That it works is known only once a guest
 * has run: see remedy_kvm(). */
static bool kvm_usable(struct ktest *k)
{
	int fd;

	if (!guest_is_native(&k->guest))
		return false;
	fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		warn(k, "using tcg, because kvm failed: /dev/kvm:");
	return fd >= 0 && close(fd) == 0;
}

/* -- ACPI --
 * With ACPI, devices are found in QEMU's tables; without, QEMU names them on
 * the kernel's command line. A kernel without PCI cannot start its ACPI
 * interpreter ("AE_BAD_PARAMETER, During Region initialization"), but our
 * firmware names the devices to it all the same, if there is one IO-APIC.
 */
static bool guest_serves_both(const struct guest *g, const struct attempt *a)
{
	return g->own_bios && (a->accel == ACCEL_TCG
			       || g->mode == MODE_PROGRAM);
}

static int guest_acpi(const struct guest *g, const struct attempt *a)
{
	return guest_machine(g)->acpi && (g->kernel.no_acpi
		|| (g->kernel.no_pci && !guest_serves_both(g, a)))
	       ? ACPI_OFF : ACPI_ON;
}

/* The working directory, made in the guest if it is not there. A relative one
 * is this host's, by its absolute path; so is that of -rootfs. */
static int guest_cwd(struct ktest *k, struct guest *g)
{
	const char *cwd = k->o->cwd != NULL ? k->o->cwd
			  : root_is_dir(k->o, g) ? "." : "/";

	if (cwd[0] == '/')
		return path_set(k, g->cwd, "%s", cwd);
	return realpath(cwd, g->cwd) != NULL ? 0 : fail(k, "-cwd %s:", cwd);
}

/* Whether a file at -initrd-path begins as what Linux unpacks: cpio, or packed;
 * zeros before it are skipped (init/initramfs.c). A pipe is believed, and who
 * reads a file that cannot be read says why not. */
static int guest_initrd(struct ktest *k)
{
	char magic[PACK_MAGIC] = "";
	const char *path = k->o->initrd_path;
	ssize_t n = 0;

	if (path != NULL && is_file(path))
		n = file_head(path, magic, sizeof magic);
	if (n <= 0 || magic[0] == '\0' || memcmp(magic, "07070", 5) == 0
	    || packed_with(magic, (size_t)n) != NULL)
		return 0;
	return fail(k, "-initrd-path %s: is no initramfs, neither cpio nor"
		    " packed", path);
}

/* The caller's fd that -snapshot names, -1: none. */
static int snapshot_fd(const struct ktest_options *o)
{
	int fd = -1;

	if (o->snapshot != NULL)
		(void)sscanf(o->snapshot, FD_PATH, &fd);
	return fd;
}

/* An -image boots as on a PC, unless there is a kernel for it. */
static int guest_system(struct ktest *k, struct guest *g)
{
	const struct ktest_options *o = k->o;

	if (o->argv == NULL && snapshot_fd(o) < 0)
		return fail(k, "-image: needs a PROGRAM");
	if (opt_refuse(k, MACHINE, "is not for an -image") < 0)
		return -1;
	if (o->kernel_path == NULL && (o->cmdline.count > 0
				       || o->initrd_path != NULL))
		return fail(k, "-%s: an -image needs -kernel-path for it",
			    o->initrd_path != NULL ? "initrd-path" : "cmdline");
	g->system = true;
	g->kernel.is64 = true;
	return o->kernel_path != NULL ? guest_kernel(k, g) : 0;
}

/* Options that say something of a program, when there is none. */
static int guest_monogon(struct ktest *k)
{
	if (k->o->initrd_path == NULL && k->o->last_value != NULL)
		return fail(k, "PROGRAM is missing: -%s has taken %.100s for"
			    " its value", k->o->last_option, k->o->last_value);
	if (k->o->initrd_path == NULL)
		return fail(k, "PROGRAM is missing (or -initrd-path with a"
			    " /tester in it); ktest -h explains");
	return opt_refuse(k, PROGRAM, "needs a PROGRAM");
}

/* Whether what the kernel did before the program counts: with -module it is
 * what is tested. */
static bool health_boot(const struct ktest_options *o)
{
	return o->health == HEALTH_WARN || o->modules.count > 0;
}

/* Whether the kernel's log is looked at. */
static bool health_asked(const struct ktest_options *o)
{
	return o->argv != NULL
	       && (o->health != HEALTH_OFF || o->expect != EXPECT_NONE);
}

/* Options that are not for every machine. */
static int guest_fits(struct ktest *k, const struct guest *g)
{
	const struct ktest_options *o = k->o;

	if (o->accel == ACCEL_KVM && !guest_is_native(g))
		return fail(k, "-accel kvm: runs this host's architecture, not %s",
			    guest_machine(g)->arch);
	if (o->sysroot != NULL && guest_is_native(g))
		return fail(k, "-sysroot %s: is for another architecture than"
			    " %s", o->sysroot, guest_machine(g)->arch);
	if (o->acpi == ACPI_OFF && !guest_machine(g)->acpi)
		return fail(k, "-acpi off: is nothing to choose on %s",
			    guest_machine(g)->name);
	return 0;
}

/* Everything about one machine, before anything is made of it. */
static int guest_describe(struct ktest *k, struct guest *g)
{
	const struct ktest_options *o = k->o;

	g->mode = o->argv != NULL || snapshot_fd(o) >= 0 ? MODE_PROGRAM
							: MODE_MONOGON;
	if ((o->image != NULL ? guest_system(k, g) : guest_kernel(k, g)) < 0)
		return -1;
	if (guest_choose(k, g) < 0 || guest_bios(k, g) < 0
	    || guest_initrd(k) < 0 || guest_disks(k, g) < 0)
		return -1;
	if (g->mode == MODE_PROGRAM) {
		if (!g->kernel.is64)
			return fail(k, "-kernel-path %s: is a 32-bit kernel,"
				    " init is a 64-bit program", g->kernel_path);
		if (guest_cwd(k, g) < 0 || guest_mounts(k, g) < 0)
			return -1;
		if (guest_init(k, g) < 0 || guest_env(k, g) < 0
		    || guest_user(k, g) < 0
		    || (o->argv != NULL && (o->image != NULL
			? guest_system_program(k, g) : guest_program(k, g)) < 0)
		    || (o->image == NULL
			&& (modules_find(k, g, g->kernel_path) < 0
			    || modules_plan(k, g) < 0
			    || guest_modules(k, g) < 0)))
			return -1;
		g->merged = o->tty || same_file(o->stdout_fd, o->stderr_fd);
		if (g->modules_dir[0] != '\0')
			modules_step(k, g);
	} else if (guest_monogon(k) < 0) {
		return -1;
	}
	if (guest_fits(k, g) < 0)
		return -1;
	k->attempt = (struct attempt){
		.accel = o->accel, .acpi = o->acpi,
		.sandbox = o->sandbox != SANDBOX_OFF,
	};
	if (o->accel == ACCEL_AUTO)
		/* breakpoints set before the kernel is mapped fail under KVM */
		k->attempt.accel = o->gdb == NULL && kvm_usable(k) ? ACCEL_KVM
								   : ACCEL_TCG;
	if (o->acpi == ACPI_AUTO)
		k->attempt.acpi = guest_acpi(g, &k->attempt);
	return 0;
}

/* ==== 9. Claim ==========================================================
 * options + struct guest -> what a run takes of the host, and gives back: the
 * clock's rate, the terminal, ports, cables, sockets.
 * claim() takes what the options name, claim_undo() gives all of it back,
 * however the run ends.
 */

/* -- The guest's clock under TCG --
 * Its TSC is the host's tick counter (QEMU's cpu_get_host_ticks(), include/
 * qemu/timer.h): rdtsc on x86, nanoseconds on ARM, something else elsewhere.
 * A guest cannot measure it while the host is busy, so it is told; nor can it
 * check it against timer interrupts, which come late then: it would give it up
 * for a clock of 4 ms (clocksource_watchdog()).
 */
static void tick_read(uint64_t *ticks, uint64_t *ns)
{
#if defined(__x86_64__) || defined(__i386__)
	uint64_t best = 0;

	/* The closest of a few pairs: an interruption spoils only one. */
	for (int i = 0; i < 5; i++) {
		uint32_t lo, hi;
		uint64_t before = clock_ns(CLOCK_MONOTONIC), after;

		__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
		after = clock_ns(CLOCK_MONOTONIC);
		if (i == 0 || after - before < best) {
			best = after - before;
			*ticks = (uint64_t)hi << 32 | lo;
			*ns = before + best / 2;
		}
	}
#else
	*ticks = *ns = clock_ns(CLOCK_MONOTONIC);
#endif
}

/* kHz since k->tick_start, to 100 kHz (20 ppm at 2.5 GHz) so that one host
 * always gives one command line; 0 where the counter is not known, or the
 * clock is too coarse to measure it by. */
static unsigned long tick_khz(struct ktest *k)
{
#if defined(__x86_64__) || defined(__i386__) || defined(__aarch64__) \
	|| defined(__arm__)
	uint64_t ticks, ns, wait = TICK_MEASURE_MS * 1000000u;
	struct timespec grain;

	if (clock_getres(CLOCK_MONOTONIC, &grain) < 0 || grain.tv_nsec > 1000)
		return 0;
	ns = clock_ns(CLOCK_MONOTONIC) - k->tick_start_ns;
	if (ns < wait)
		(void)usleep((useconds_t)((wait - ns) / 1000 + 1));
	tick_read(&ticks, &ns);
	ns -= k->tick_start_ns;
	ticks = ((ticks - k->tick_start) * 10000 + ns / 2) / ns;
	return (unsigned long)ticks * 100;
#else
	(void)k;
	return 0;
#endif
}

/* -- The terminal -- */
/* Every key is the guest's from now on, if the terminal is ours to take. */
static void terminal_take(struct ktest *k)
{
	struct vm *v = &k->vm;
	const int fd = k->o->stdin_fd;
	struct termios t;

	if (!k->o->tty || tcgetattr(fd, &v->terminal) < 0
	    || tcgetpgrp(fd) != getpgrp())
		return;
	t = v->terminal;
	cfmakeraw(&t);
	v->raw = terminal_set(fd, &t) == 0;
	v->typed = 1; /* as if Enter had been pressed */
}

static void terminal_give_back(struct ktest *k)
{
	if (k->vm.raw)
		(void)terminal_set(k->o->stdin_fd, &k->vm.terminal);
	k->vm.raw = false;
}

/* -- Ports and services of the user network -- */
static bool port_is_twice(const struct guest *g, const struct port *p)
{
	for (const struct port *q = g->port; q < p; q++)
		if (q->udp == p->udp && (q->guest == p->guest
					 || (!q->any && q->host == p->host)))
			return true;
	return false;
}

static int ports_read(struct ktest *k, struct guest *g)
{
	const struct ktest_list *asked = &k->o->ports;

	for (size_t i = 0; i < asked->count; i++)
		if (i == PORTS_MAX)
			return fail(k, "-port %.100s: is one too many (limit"
				    " %d)", asked->item[i], PORTS_MAX);
		else if (!parse_port(asked->item[i], &g->port[i]))
			return fail(k, "-port %.100s: is not [HOST:]GUEST or"
				    " [HOST:]GUEST/udp, with ports from 1 to"
				    " 65535", asked->item[i]);
		else if (port_is_twice(g, &g->port[i]))
			return fail(k, "-port %s: a port is there twice",
				    asked->item[i]);
		else
			g->port_count++;
	return 0;
}

static int services_read(struct ktest *k, struct guest *g)
{
	const struct ktest_list *asked = &k->o->services;

	for (size_t i = 0; i < asked->count; i++) {
		const char *s = asked->item[i];
		char guest[24], host[24];
		struct in_addr ip, host_ip;
		unsigned last;

		if (i == PORTS_MAX)
			return fail(k, "-service %.100s: is one too many"
				    " (limit %d)", s, PORTS_MAX);
		if (!parse_address(&s, &ip, guest, sizeof guest) || *s++ != '='
		    || !parse_address(&s, &host_ip, host, sizeof host)
		    || *s != '\0')
			return fail(k, "-service %.100s: is not GUESTIP:PORT="
				    "HOSTIP:PORT, with IPv4 addresses",
				    asked->item[i]);
		/* what libslirp would refuse, or never ask the service for */
		last = ntohl(ip.s_addr) & 255;
		if (ntohl(ip.s_addr) >> 8 != 0x0a2a00 || last == 0
		    || last == 2 || last == 3 || last == 10 || last == 255)
			return fail(k, "-service %.100s: the guest's side is"
				    " not in 10.42.0.0/24, or .2, .3 or .10",
				    asked->item[i]);
		(void)snprintf(g->service[i], sizeof g->service[i],
			       "tcp:%s-tcp:%s", guest, host);
	}
	return 0;
}

static int network_read(struct ktest *k, struct guest *g)
{
	const struct ktest_options *o = k->o;
	const char *needs = o->ports.count > 0 ? "port"
		: o->services.count > 0 ? "service" : o->pcap != NULL ? "pcap"
		: NULL;

	if (!o->net && needs != NULL)
		return fail(k, "-%s: needs -net user", needs);
	if (o->port_file != NULL && o->ports.count == 0)
		return fail(k, "-port-file %s: needs a -port", o->port_file);
	return ports_read(k, g) < 0 ? -1 : services_read(k, g);
}

/* Binds 127.0.0.1:p->host, or any free port if that is 0. A socket that does
 * not listen and has SO_REUSEADDR keeps the port from everyone who asks for a
 * free one, and lets QEMU have it, whose socket has that option too (libslirp
 * src/socket.c, tcpx_listen). UDP has no such thing: see remedy_ports(). */
static int port_bind(struct port *p)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)p->host),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t size = sizeof a;
	int on = 1;

	p->fd = socket(AF_INET, SOCK_CLOEXEC | (p->udp ? SOCK_DGRAM
						       : SOCK_STREAM), 0);
	if (p->fd < 0)
		return -1;
	if (!p->udp)
		(void)setsockopt(p->fd, SOL_SOCKET, SO_REUSEADDR, &on,
				 sizeof on);
	if (bind(p->fd, (struct sockaddr *)&a, size) < 0
	    || getsockname(p->fd, (struct sockaddr *)&a, &size) < 0) {
		on = errno;
		close_fd(&p->fd);
		errno = on;
		return -1;
	}
	p->host = ntohs(a.sin_port);
	return 0;
}

/* QEMU's hostfwd= for it: the guest's address is the first that its DHCP
 * server gives. QEMU names the rule in its error message, too. */
static void port_rule(const struct port *p, char out[64])
{
	(void)snprintf(out, 64, "%s:127.0.0.1:%d-:%d", p->udp ? "udp" : "tcp",
		       p->host, p->guest);
}

static void ports_close(struct guest *g, bool all)
{
	for (size_t i = 0; i < g->port_count; i++)
		if (all || g->port[i].udp)
			close_fd(&g->port[i].fd);
}

/* Chooses the host's side of all ports: those asked for come first, so that
 * none of them is taken for another. */
static int ports_choose(struct ktest *k, struct guest *g)
{
	ports_close(g, true);
	for (int any = 0; any < 2; any++)
		for (size_t i = 0; i < g->port_count; i++) {
			struct port *p = &g->port[i];

			if (p->any != any)
				continue;
			p->host = any ? 0 : p->host;
			if (port_bind(p) < 0)
				return fail(k, "-port %s: 127.0.0.1:%d:",
					    k->o->ports.item[i], p->host);
		}
	ports_close(g, false);
	return 0;
}

/* Writes the port file: complete or not there. */
static int ports_file(struct ktest *k)
{
	const struct guest *g = &k->guest;
	char temporary[PATH_SIZE];
	FILE *f;
	int fd;
	bool ok;

	if (path_set(k, temporary, "%s.XXXXXX", k->o->port_file) < 0)
		return -1;
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0 || (f = fdopen(fd, "w")) == NULL)
		return fail(k, "-port-file %s:", k->o->port_file);
	(void)fchmod(fd, 0644);
	for (size_t i = 0; i < g->port_count; i++)
		(void)fprintf(f, "%d%s %d\n", g->port[i].guest,
			      g->port[i].udp ? "/udp" : "", g->port[i].host);
	ok = !ferror(f);
	if (fclose(f) == 0 && ok && rename(temporary, k->o->port_file) == 0)
		return 0;
	(void)fail(k, "-port-file %s:", k->o->port_file);
	(void)unlink(temporary);
	return -1;
}

/* Tells the ports, once: QEMU has bound them, since the guest runs. */
static void ports_report(struct ktest *k)
{
	const struct guest *g = &k->guest;

	if (k->vm.ports_told)
		return;
	k->vm.ports_told = true;
	for (size_t i = 0; i < g->port_count; i++) {
		const struct port *p = &g->port[i];

		warn(k, "port %d%s -> 127.0.0.1:%d", p->guest,
		     p->udp ? "/udp" : "", p->host);
		if (k->o->on_port != NULL)
			k->o->on_port(k->o->on_port_arg, p->guest, p->udp,
				      p->host);
	}
	if (k->o->port_file != NULL && ports_file(k) < 0)
		run_stop(k, END_OUTPUT);
}

/* -- Wires: cables and extra vports --
 * Each is a fd that QEMU inherits: the caller's, or one that is opened here,
 * at its path.
 */
static int wire_add(struct ktest *k, struct guest *g, const char *option,
		    const char *value, struct wire w)
{
	if (g->wire_count == WIRES_MAX)
		return fail(k, "-%s %.100s: is one too many (limit %d with"
			    " -netfd, -link and -chardev together)", option,
			    value, WIRES_MAX);
	for (size_t i = 0; i < g->wire_count; i++)
		if (w.fd >= 0 && g->wire[i].fd == w.fd)
			return fail(k, "-%s %.100s: the fd is used already",
				    option, value);
		else if (w.name[0] != '\0'
			 && strcmp(g->wire[i].name, w.name) == 0)
			return fail(k, "-%s %.100s: the name is used already",
				    option, value);
	g->wire[g->wire_count++] = w;
	return 0;
}

/* Whether a fd is one of the few that a run has before it opens any: its sinks,
 * and main()'s pipe of signals. */
static bool wire_is_ours(const struct ktest *k, int fd)
{
	return (k->log.ours && fd == k->log.fd) || (k->out.ours && fd == k->out.fd)
	       || (k->err.ours && fd == k->err.fd)
	       || (k->o->wake_fd >= 0 && same_file(fd, k->o->wake_fd))
	       /* the suite's, which is main()'s alone: the caller's came to us */
	       || ((k->o->each || k->o->tap || k->o->junit != NULL)
		   && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
}

/* A fd of the caller's: decimal digits. What it is decides what it can be. */
static int wire_fd(struct ktest *k, const char *option, const char *value,
		   const char *digits, struct wire *w)
{
	struct stat st;
	long long n;
	int mode;

	if (!parse_number(&digits, &n) || *digits != '\0' || n > INT_MAX)
		return fail(k, "-%s %.100s: is not the number of a fd",
			    option, value);
	w->fd = (int)n;
	if (fstat(w->fd, &st) < 0 || (mode = fcntl(w->fd, F_GETFL)) < 0)
		return fail(k, "-%s %.100s: fd %d:", option, value, w->fd);
	if (wire_is_ours(k, w->fd))
		return fail(k, "-%s %.100s: fd %d is ktest's own, not the"
			    " caller's", option, value, w->fd);
	mode &= O_ACCMODE;
	w->kind = S_ISSOCK(st.st_mode) ? WIRE_SOCKET
		  : mode == O_RDWR && S_ISCHR(st.st_mode) ? WIRE_TTY
		  : WIRE_FILE;
	if (w->kind == WIRE_FILE && mode == O_RDONLY)
		return fail(k, "-%s %.100s: fd %d cannot be written to, and"
			    " only sockets and terminals can be read",
			    option, value, w->fd);
	return 0;
}

static const char *unix_path(const char *s)
{
	return strncmp(s, "unix:", 5) == 0 ? s + 5 : NULL;
}

static int unix_address(struct ktest *k, const char *option, const char *path,
			struct sockaddr_un *a)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (path[0] == '\0' || strlen(path) >= sizeof a->sun_path)
		return fail(k, "-%s %.200s: a socket's path has 1 to %zu"
			    " bytes", option, path, sizeof a->sun_path - 1);
	(void)snprintf(a->sun_path, sizeof a->sun_path, "%s", path);
	return 0;
}

static int chardev_read(struct ktest *k, struct guest *g, const char *value)
{
	const char *what = strchr(value, '=');
	struct wire w = { .fd = -1, .listen = -1 };
	size_t n = what != NULL ? (size_t)(what - value) : 0;
	bool plain = n > 0 && n < sizeof w.name && value[0] != '.';

	for (size_t i = 0; i < n; i++)
		plain = plain && value[i] > ' ' && value[i] < 0x7f
			&& value[i] != '/';
	if (!plain || what[1] == '\0')
		return fail(k, "-chardev %.100s: is not NAME=FD, NAME=FILE or"
			    " NAME=unix:PATH, with a NAME of 1 to %zu printing"
			    " characters, no '/', and no '.' first", value,
			    sizeof w.name - 1);
	if (strncmp(value, "ktest.", 6) == 0)
		return fail(k, "-chardev %.100s: names with \"ktest.\" are"
			    " ktest's own", value);
	memcpy(w.name, value, n);
	what++;
	if (what[strspn(what, "0123456789")] != '\0') {
		w.path = what;
		w.kind = unix_path(what) != NULL ? WIRE_SOCKET
			 : file_type(what) == S_IFCHR ? WIRE_TTY : WIRE_FILE;
	} else if (wire_fd(k, "chardev", value, what, &w) < 0) {
		return -1;
	}
	return wire_add(k, g, "chardev", value, w);
}

static int wires_read(struct ktest *k, struct guest *g)
{
	const struct ktest_options *o = k->o;
	const size_t own = g->mode == MODE_PROGRAM ? 6 : 2; /* qemu_vports() */
	const size_t most = slots_left(o, g) - g->mount_count;

	for (size_t i = 0; i < o->netfds.count; i++) {
		struct wire w = { .fd = -1, .listen = -1 };
		const char *fd = o->netfds.item[i];

		if (wire_fd(k, "netfd", fd, fd, &w) < 0)
			return -1;
		if (w.kind != WIRE_SOCKET)
			return fail(k, "-netfd %s: is not a socket", fd);
		w.kind = WIRE_CABLE;
		if (wire_add(k, g, "netfd", fd, w) < 0)
			return -1;
	}
	for (size_t i = 0; i < o->links.count; i++) {
		const struct wire w = { .kind = WIRE_CABLE, .fd = -1,
			.listen = -1, .path = o->links.item[i] };

		if (wire_add(k, g, "link", w.path, w) < 0)
			return -1;
	}
	if (g->wire_count > most)
		return fail(k, "-%s: too many interfaces (limit %zu beside"
			    " the other devices)", o->links.count > 0 ? "link"
			    : "netfd", most);
	for (size_t i = 0; i < o->chardevs.count; i++)
		if (own + i >= VPORTS_MAX)
			return fail(k, "-chardev %.100s: is one too many"
				    " (limit %zu)", o->chardevs.item[i],
				    VPORTS_MAX - own);
		else if (chardev_read(k, g, o->chardevs.item[i]) < 0)
			return -1;
	return 0;
}

static int gdb_read(struct ktest *k)
{
	const char *s = k->o->gdb;
	struct sockaddr_un a;
	int port;

	if (s == NULL || unix_path(s) != NULL)
		return s == NULL ? 0 : unix_address(k, "gdb", unix_path(s), &a);
	return parse_port_number(&s, &port) && *s == '\0' ? 0
		: fail(k, "-gdb %.100s: is neither a port from 1 to 65535 nor"
			  " unix:PATH", k->o->gdb);
}

static int unix_socket(struct ktest *k)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 ? fd : fail(k, "socket:");
}

/* As connect() does; while the queue there is full it waits in run_poll(). -1
 * and k->end if the run is to end meanwhile. */
static int unix_connect(struct ktest *k, int fd, const struct sockaddr_un *a)
{
	struct pollfd p[1];
	int result, why;

	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	do {
		result = connect(fd, (const struct sockaddr *)a, sizeof *a);
		why = errno;
	} while (result < 0 && why == EAGAIN
		 && run_poll(k, p, 1, now_ms() + CONNECT_TICK_MS) >= 0);
	(void)fcntl(fd, F_SETFL, 0);
	errno = why;
	return result;
}

/* FILE as `>` takes it, a terminal both ways, a socket that listens. */
static int wire_open(struct ktest *k, struct wire *w)
{
	struct sockaddr_un a;

	if (w->kind == WIRE_SOCKET) {
		if (unix_address(k, "chardev", unix_path(w->path), &a) < 0
		    || (w->fd = unix_socket(k)) < 0)
			return -1;
		if (unix_connect(k, w->fd, &a) == 0)
			return 0;
		return k->end != END_NONE ? -1 : fail(k, "-chardev %s=%.200s:",
						      w->name, w->path);
	}
	/* O_RDWR: a FIFO without a reader does not hold us up */
	w->fd = open(w->path, O_CLOEXEC | (w->kind == WIRE_TTY
		? O_RDWR | O_NOCTTY
		: file_type(w->path) == S_IFIFO ? O_RDWR
		: O_WRONLY | O_CREAT | O_TRUNC), 0666);
	return w->fd >= 0 ? 0 : fail(k, "-chardev %s=%.200s:", w->name, w->path);
}

/* A cable between the two that come with one path. The first lays a socket
 * down there, which listens already when it appears; it is taken away when
 * the second has connected. */
static int link_open(struct ktest *k, struct wire *w)
{
	char own[PATH_SIZE];
	struct sockaddr_un a, mine;
	bool again = true;

	/* its own name is this thread's: a is on its stack */
	if (unix_address(k, "link", w->path, &a) < 0
	    || path_set(k, own, "%s.%lx.%lx", w->path, (unsigned long)getpid(),
			(unsigned long)(uintptr_t)&a) < 0
	    || unix_address(k, "link", own, &mine) < 0)
		return -1;
	for (int tries = 0; again && tries < 10; tries++) {
		int fd = unix_socket(k);

		w->fd = fd;
		if (fd < 0 || unix_connect(k, fd, &a) == 0)
			return fd < 0 ? -1 : 0;
		if (k->end != END_NONE)
			return -1;
		w->fd = -1;
		if (errno == ECONNREFUSED && file_type(w->path) != S_IFSOCK)
			(void)fail(k, "-link %s: is not a socket", w->path);
		else if (errno != ENOENT)
			(void)fail(k, "-link %s: is there already, and nobody"
				   " waits there (remove it?):", w->path);
		else if (bind(fd, (struct sockaddr *)&mine, sizeof mine) == 0
			 && listen(fd, 1) == 0 && link(own, w->path) == 0)
			w->listen = fd;
		again = w->listen < 0 && k->error[0] == '\0'
			&& errno == EEXIST; /* somebody else was first */
		if (w->listen < 0 && !again)
			(void)fail(k, "-link %s:", w->path);
		(void)unlink(own);
		if (w->listen != fd)
			close_fd(&fd);
	}
	if (w->listen >= 0)
		step(k, "waiting for the other end of -link %s", w->path);
	return k->error[0] == '\0' ? 0 : -1;
}

/* The link is there, or the run ends without it. */
static void link_listen_end(struct wire *w)
{
	if (w->listen >= 0)
		(void)unlink(w->path);
	close_fd(&w->listen);
}

static int link_accept(struct ktest *k, struct wire *w)
{
	w->fd = accept4(w->listen, NULL, NULL, SOCK_CLOEXEC);
	if (w->fd < 0)
		(void)fail(k, "-link %s:", w->path);
	link_listen_end(w);
	return w->fd < 0 ? -1 : 0;
}

/* The number in a cable's MAC address: that of its end of the cable, which no
 * other has on this host. QEMU gives all machines the same. */
static unsigned cable_number(const struct wire *w)
{
	struct stat st = { 0 };

	(void)fstat(w->fd, &st);
	return (unsigned)st.st_ino;
}

static void cable_mac(unsigned n, char out[MAC_SIZE])
{
	(void)snprintf(out, MAC_SIZE, "02:4b:%02x:%02x:%02x:%02x",
		       n >> 24 & 255, n >> 16 & 255, n >> 8 & 255, n & 255);
}

/* Whether FILE could be written, beside which it is until it is complete. An
 * earlier run's goes. */
static int dump_claim(struct ktest *k)
{
	char path[PATH_SIZE];
	int fd;

	if (path_set(k, path, "%s.XXXXXX", k->o->dump) < 0)
		return -1;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -1;
	(void)close(fd);
	return unlink(path);
}

/* Opens a disk, whose lock says whether another ktest writes to it; QEMU's own
 * are on bytes from 100 on (its block/file-posix.c). */
static int disk_claim(struct ktest *k, struct disk *d)
{
	struct flock lock = {
		.l_type = d->rw ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET,
		.l_start = 500, .l_len = 1,
	};

	if (d->path[0] == '\0') {
		d->fd = temporary_on_disk(k);
		if (d->fd >= 0 && ftruncate(d->fd, (off_t)d->size) == 0)
			return 0;
		return fail(k, "-disk %lluM: temporary file:",
			    (unsigned long long)d->size >> 20);
	}
	d->fd = open(d->path, O_CLOEXEC | (d->rw ? O_RDWR : O_RDONLY));
	if (d->fd < 0)
		return fail(k, "%s %s:", d->option, d->path);
	if (fcntl(d->fd, F_OFD_SETLK, &lock) < 0
	    && (errno == EAGAIN || errno == EACCES))
		return fail(k, "%s %s: is in use by another ktest, or named"
			    " twice%s", d->option,
			    d->path, d->rw ? "" : ", which may write to it");
	return 0;
}

/* -- All of it -- */
/* Takes what the options name, all of which is read before: none of ours can
 * be taken for a fd of the caller's. Whoever waits for the port file must not
 * find an earlier run's. */
static int claim(struct ktest *k)
{
	const struct ktest_options *o = k->o;
	struct guest *g = &k->guest;
	struct port gdb = { .fd = -1 };
	int fd;

	if (fcntl(o->stdin_fd, F_GETFD) < 0 || fcntl(o->stdout_fd, F_GETFD) < 0
	    || fcntl(o->stderr_fd, F_GETFD) < 0)
		return fail(k, "stdin_fd, stdout_fd or stderr_fd:");
	if (network_read(k, g) < 0 || wires_read(k, g) < 0 || gdb_read(k) < 0)
		return -1;
	if (o->port_file != NULL
	    && file_expect(k, "-port-file", o->port_file) < 0)
		return -1;
	if (o->dump != NULL && (file_expect(k, "-dump", o->dump) < 0
				|| (!o->dry_run && dump_claim(k) < 0)))
		return k->error[0] != '\0' ? -1 : fail(k, "-dump %s:", o->dump);
	/* a FIFO's reader would take this for its end */
	if (o->pcap != NULL && !o->dry_run && file_type(o->pcap) != S_IFIFO) {
		fd = open(o->pcap, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
		if (fd < 0)
			return fail(k, "-pcap %s:", o->pcap);
		(void)close(fd);
	}
	if (ports_choose(k, g) < 0)
		return -1;
	for (size_t i = 0; i < g->wire_count && !o->dry_run; i++) {
		struct wire *w = &g->wire[i];

		if (w->path != NULL && (w->kind == WIRE_CABLE
		    ? link_open(k, w) : wire_open(k, w)) < 0)
			return -1;
	}
	for (size_t i = 0; i < g->disk_count && !o->dry_run; i++)
		if (disk_claim(k, &g->disk[i]) < 0)
			return -1;
	gdb.host = o->gdb != NULL ? atoi(o->gdb) : 0;
	if (gdb.host != 0 && port_bind(&gdb) < 0)
		return fail(k, "-gdb %d: 127.0.0.1:%d:", gdb.host, gdb.host);
	close_fd(&gdb.fd); /* it was only to be free */
	return 0;
}

static void part_remove(struct snapshot *s)
{
	if (s->part >= 0)
		(void)unlink(s->part_path);
	close_fd(&s->part);
}

static void claim_undo(struct ktest *k)
{
	struct guest *g = &k->guest;

	terminal_give_back(k);
	ports_close(g, true);
	for (size_t i = 0; i < g->wire_count; i++) {
		link_listen_end(&g->wire[i]);
		if (g->wire[i].path != NULL)
			close_fd(&g->wire[i].fd);
	}
	for (size_t i = 0; i < g->disk_count; i++)
		close_fd(&g->disk[i].fd);
	close_fd(&k->initramfs);
	close_fd(&k->initrd);
	close_fd(&k->kernel);
	close_fd(&k->snapshot.fd);
	close_fd(&k->snapshot.memory);
	part_remove(&k->snapshot);
}

/* ==== 10. Initramfs =====================================================
 * struct guest + the files it names -> one unlinked temporary file that QEMU
 * loads as initramfs: the user's -initrd-path, then an archive with what the
 * machine needs (/init, /.ktest/modules, /.ktest/NAME.ko) and, as its member
 * /.ktest/job, a second archive with what this run needs. The kernel unpacks
 * the first, init the second; init.c specifies what is in it ("Job").
 */

/* Both are cpio "newc" (Linux Documentation/driver-api/early-userspace/
 * buffer-format.rst): per member a header of 110 bytes, "070701" and 13
 * numbers of 8 hexadecimal digits; the name with its NUL; the data; header
 * with name, and data, each padded to 4 bytes. "TRAILER!!!" ends it.
 */
struct cpio {
	struct ktest *k;
	int fd;
	uint64_t at;           /* bytes written, buffered ones included */
	size_t buffered;       /* in k->scratch */
	bool failed;           /* so does all that follows */
	uint32_t ino;
	const char *file;      /* the -file that is being added, or NULL */
	bool setuid_said;
	bool optional;         /* what a file needs may be missing */
	const char *sysroot;   /* where files for the guest are, first; or NULL */
	struct text seen;      /* "\n"-terminated names of programs' files */
	char seen_at[16384];
	char libraries[16384]; /* what a loader lists */
};

struct member { /* one that is being written */
	uint64_t header_at, data_at, size; /* size: as its header says */
};

/* Writes what is buffered, unless the run is to end, or the guest would not
 * have room for it: Linux gives the unpacked one half of what the packed one
 * leaves of memory (fs/ramfs, tmpfs on /), and would cut files short. */
static int cpio_flush(struct cpio *c)
{
	struct ktest *k = c->k;
	const char *p = k->scratch;
	struct pollfd none;

	if (c->failed)
		return -1;
	c->failed = true;
	if (run_poll(k, &none, 1, now_ms()) < 0)
		return -1;
	if (c->at / 1024 * 3 > (uint64_t)k->o->memory * 1024)
		return fail(k, "-memory %lldM: is too little for an initramfs that"
			    " has %lluM%s%s and needs three times its size",
			    k->o->memory, (unsigned long long)(c->at >> 20),
			    c->file != NULL ? " with -file " : "",
			    c->file != NULL ? c->file : "");
	while (c->buffered > 0) {
		ssize_t n = write(c->fd, p, c->buffered);

		if (n < 0 && errno != EINTR)
			return fail(k, "temporary file for the initramfs:");
		if (n > 0) {
			p += n;
			c->buffered -= (size_t)n;
		}
	}
	c->failed = false;
	return 0;
}

static void cpio_write(struct cpio *c, const char *s, size_t n)
{
	while (n > 0 && !c->failed) {
		size_t room = sizeof c->k->scratch - c->buffered;
		size_t part = n < room ? n : room;

		memcpy(c->k->scratch + c->buffered, s, part);
		c->buffered += part;
		c->at += part;
		s += part;
		n -= part;
		if (c->buffered == sizeof c->k->scratch)
			(void)cpio_flush(c);
	}
}

static void cpio_pad(struct cpio *c)
{
	cpio_write(c, "\0\0\0", (size_t)(-c->at & 3));
}

/* All of a file, from an open fd. */
static int cpio_copy(struct cpio *c, const char *name, int fd)
{
	for (;;) {
		ssize_t n = run_read(c->k, fd, c->k->scratch + c->buffered,
				     sizeof c->k->scratch - c->buffered);

		if (n < 0)
			return c->k->end != END_NONE ? -1
				: fail(c->k, "%s:", name);
		if (n == 0)
			return 0;
		c->buffered += (size_t)n;
		c->at += (size_t)n;
		if (c->buffered == sizeof c->k->scratch && cpio_flush(c) < 0)
			return -1;
	}
}

#define TRAILER "TRAILER!!!"

/* Starts a member. mode is a st_mode. A size that is not known yet may be
 * anything: cpio_end() corrects it. */
static void cpio_begin(struct cpio *c, struct member *m, const char *name,
		       unsigned mode, time_t mtime, uint64_t size)
{
	const uint32_t console = S_ISCHR(mode); /* the one device: 5, 1 */
	const uint32_t len = (uint32_t)strlen(name) + 1;
	const uint32_t number[] = { /* ino, mode, uid, gid, nlink, mtime, */
		++c->ino, mode, 0, 0, S_ISDIR(mode) ? 2 : 1, (uint32_t)mtime,
		/* filesize, devmajor, devminor, rdevmajor, rdevminor, */
		(uint32_t)size, 0, 0, console * 5, console,
		/* namesize, check */
		len, 0 };
	char header[128];
	struct text t;

	if (strcmp(name, TRAILER) == 0 && mode != 0)
		c->failed = fail(c->k, "/%s: a file of that name would end the"
				 " initramfs", name) < 0;
	m->header_at = c->at;
	m->size = size;
	text_init(&t, header, sizeof header);
	text_add(&t, "070701");
	for (size_t i = 0; i < COUNT(number); i++)
		text_printf(&t, "%08lx", (unsigned long)number[i]);
	cpio_write(c, t.at, t.len);
	cpio_write(c, name, len);
	cpio_pad(c);
	m->data_at = c->at;
}

static int cpio_end(struct cpio *c, const struct member *m, const char *name)
{
	uint64_t size = c->at - m->data_at;
	char digits[9];

	if (size > UINT32_MAX)
		c->failed = fail(c->k, "%s: is larger than 4 GiB, the limit of"
				 " an initramfs", name) < 0;
	(void)snprintf(digits, sizeof digits, "%08lx", (unsigned long)size);
	/* size is the 7th number of the header */
	if (size != m->size && cpio_flush(c) == 0
	    && pwrite(c->fd, digits, 8, (off_t)m->header_at + 6 + 6 * 8) != 8)
		c->failed = fail(c->k, "temporary file for the initramfs:") < 0;
	cpio_pad(c);
	return c->failed ? -1 : 0;
}

static int cpio_member(struct cpio *c, const char *name, unsigned mode,
		       time_t mtime, const char *data, size_t n)
{
	struct member m;

	cpio_begin(c, &m, name, mode, mtime, n);
	cpio_write(c, data, n);
	return cpio_end(c, &m, name);
}

/* What the machine or the run needs has no date. */
static int cpio_text(struct cpio *c, const char *name, unsigned mode,
		     const char *text)
{
	return cpio_member(c, name, mode, 0, text, strlen(text));
}

/* The mode of a file that goes along: all is root's in the guest, and what is
 * setuid or setgid would lead from another -user there. */
static unsigned cpio_mode(struct cpio *c, const char *path, unsigned mode)
{
	const char *user = c->k->guest.user;

	if ((mode & (S_ISUID | S_ISGID)) == 0 || user[0] == '\0'
	    || strncmp(user, "0 ", 2) == 0)
		return mode;
	if (!c->setuid_said && !c->k->job_said)
		warn(c->k, "%s: its setuid and setgid bits are left out, they"
		     " would make -user %s root", path, c->k->o->user);
	c->setuid_said = true;
	return mode & ~(unsigned)(S_ISUID | S_ISGID);
}

/* A file, which is closed then, as the member name; a mode that is not 0 is in
 * place of its own, and of its date. */
static int cpio_fd(struct cpio *c, const char *path, int fd, const char *name,
		   unsigned mode)
{
	struct member m;
	struct stat st = { 0 };
	int result = -1;

	if (fd < 0)
		return -1;
	(void)fstat(fd, &st);
	if (mode != 0)
		st.st_mtime = 0;
	else
		mode = cpio_mode(c, path, st.st_mode);
	cpio_begin(c, &m, name, mode, st.st_mtime, (uint64_t)st.st_size);
	if (cpio_copy(c, path, fd) == 0)
		result = cpio_end(c, &m, path);
	(void)close(fd);
	return result;
}

static int cpio_file(struct cpio *c, const char *path, const char *name,
		     unsigned mode)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? fail(c->k, "%s:", path)
		      : cpio_fd(c, path, fd, name, mode);
}

/* The modules, and their list for init. */
static int initramfs_modules(struct cpio *c, const struct guest *g)
{
	char path[PATH_SIZE], name[PATH_SIZE], list_at[MODULES_SIZE];
	struct text list;

	text_init(&list, list_at, sizeof list_at);
	for (const char *p = g->modules, *next; *p != '\0'; p = next) {
		const char *base, *tab = p + strcspn(p, "\t\n");

		if ((next = module_next(c->k, g, p, path)) == NULL)
			return -1;
		base = path + path_base(path);
		if (path_set(c->k, name, ".ktest/%.*s.ko",
			     (int)strcspn(base, "."), base) < 0
		    || cpio_fd(c, path, open_unpacked(c->k, path), name,
			       S_IFREG | 0644) < 0)
			return -1;
		text_printf(&list, "%s%.*s%s%.*s\n", *p == '-' ? "-" : "",
			    (int)strcspn(base, "."), base, *tab == '\t' ? " "
			    : "", *tab == '\t' ? (int)(next - tab) - 2 : 0,
			    tab + 1);
	}
	return cpio_text(c, ".ktest/modules", S_IFREG | 0644, list.at);
}

/* Nothing for a value that is NULL. */
static void job_string(struct cpio *c, const char *tag, const char *value)
{
	if (value == NULL)
		return;
	cpio_write(c, tag, strlen(tag));
	cpio_write(c, value, strlen(value) + 1);
}

static void limit_text(char out[24], rlim_t limit)
{
	(void)snprintf(out, 24, "%llu", limit == RLIM_INFINITY
		       ? ~0ULL /* init's UNLIMITED */
		       : (unsigned long long)limit);
}

/* What the network and the extra vports add to the record. */
static void job_devices(struct cpio *c, const struct guest *g)
{
	const struct ktest_options *o = c->k->o;
	char value[64], old[MAC_SIZE], new[MAC_SIZE];

	job_string(c, "n", o->net ? KTEST_HOST_MAC " 0a002a0a 00ffffff 02002a0a"
			   : NULL);
	for (size_t i = 0; i < g->port_count; i++) {
		const struct port *p = &g->port[i];

		(void)snprintf(value, sizeof value, "KTEST_PORT_%d%s=%d",
			       p->guest, p->udp ? "_UDP" : "", p->host);
		job_string(c, "e", value);
	}
	for (size_t i = 0; i < g->wire_count; i++) {
		const struct wire *w = &g->wire[i];

		cable_mac((unsigned)i, old);
		cable_mac(cable_number(w), new);
		(void)snprintf(value, sizeof value, "%s %s", old, new);
		if (w->kind == WIRE_CABLE && c->k->attempt.boot != BOOT_COLD)
			job_string(c, "l", value);
		job_string(c, "v", w->name[0] != '\0' ? w->name : NULL);
	}
	job_string(c, "r", g->image_fs != NULL ? g->image : NULL);
	if (root_is_dir(o, g) && guest_root(o, g) == NULL)
		job_string(c, "b", guest_hides(g->cwd) ? g->cwd : NULL);
	for (size_t i = 0; i < g->mount_count; i++) {
		const struct mount *m = &g->mount[i];

		(void)snprintf(value, sizeof value, "h%zu%c", i,
			       m->rw ? 'w' : 'r');
		job_string(c, value, m->guest);
	}
}

static int job_record(struct cpio *c, const struct guest *g)
{
	const struct ktest_options *o = c->k->o;
	char soft[24], hard[24], core[64], tty[32];
	unsigned size[2];
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	struct member m;

	(void)getrlimit(RLIMIT_CORE, &limit);
	limit_text(soft, limit.rlim_cur);
	limit_text(hard, limit.rlim_max);
	(void)snprintf(core, sizeof core, "%s:%s", soft, hard);
	terminal_size(o->stdin_fd, size);
	(void)snprintf(tty, sizeof tty, "%u %u", size[0], size[1]);
	cpio_begin(c, &m, "job", S_IFREG | 0600, 0, 0);
	job_string(c, "p", g->copy[0] != '\0' && o->argv[0][0] != '/'
			   ? g->copy : g->program);
	job_string(c, "i", g->copy[0] != '\0' ? g->copy : NULL);
	job_string(c, "d", g->cwd);
	job_string(c, "c", core);
	job_string(c, "u", g->user[0] != '\0' ? g->user : NULL);
	job_string(c, "t", o->tty ? tty : NULL);
	job_string(c, "m", g->merged ? "" : NULL);
	job_string(c, "k", !health_asked(o) ? NULL : health_boot(o) ? "b" : "");
	job_string(c, "s", o->kmemleak ? "" : NULL);
	job_string(c, "a", g->by_env ? g->program : NULL);
	for (size_t i = 0; o->argv[i] != NULL; i++)
		job_string(c, "a", i == 0 && g->name[0] != '\0' ? g->name
				   : o->argv[i]);
	for (size_t i = 0; g->env[i] != NULL; i++)
		job_string(c, "e", g->env[i]);
	job_devices(c, g);
	return cpio_end(c, &m, "job");
}

/* A file of the host at its own absolute path, once. */
static int job_same_file(struct cpio *c, const char *path)
{
	size_t len = c->sysroot != NULL ? strlen(c->sysroot) : 0;
	char host[PATH_SIZE];

	path += len > 0 && strncmp(path, c->sysroot, len) == 0 ? len : 0;
	if (path_set(c->k, host, "%s%s", len > 0 ? c->sysroot : "", path) < 0)
		return -1;
	if (!is_file(host) && path_set(c->k, host, "%s", path) < 0)
		return -1;
	len = strlen(path);
	if (text_has_line(&c->seen, path, len))
		return 0;
	if (len + 2 < text_room(&c->seen) && strchr(path, '\n') == NULL) {
		text_add(&c->seen, path);
		text_add(&c->seen, "\n");
	}
	return cpio_file(c, host, path + 1, 0);
}

/* One line of what an interpreter lists: "NAME => PATH (ADDRESS)", or "PATH
 * (ADDRESS)" for itself, or "NAME => not found"; a name alone is the vDSO. */
static int job_library(struct cpio *c, const char *program, char *line)
{
	char *arrow = strstr(line, "=> "), *path, *end;

	line += strspn(line, " \t");
	path = arrow != NULL ? arrow + 3 : line;
	if (arrow != NULL && strncmp(path, "not found", 9) == 0)
		return c->optional ? 0 : fail(c->k, "%s: needs the library %.*s,"
			    " which its interpreter does not find", program,
			    (int)strcspn(line, " "), line);
	end = strstr(path, " (0x");
	if (path[0] != '/' || end == NULL)
		return 0;
	*end = '\0';
	return job_same_file(c, path);
}

/* Adds the libraries of a dynamically linked program: its loader is asked, as
 * ldd does, in the environment that the program will have; one for another
 * architecture through qemu, else NULL. */
static int job_libraries(struct cpio *c, const char *program, char *loader,
			 char *qemu)
{
	char *argv[] = { qemu, (char *)(uintptr_t)"-L",
			 (char *)(uintptr_t)c->sysroot, loader,
			 (char *)(uintptr_t)"--list",
			 (char *)(uintptr_t)program, NULL };
	char *text = c->libraries, *line, *next;
	struct child child = { 0, -1 };
	size_t len = 0;
	ssize_t n;
	int status;

	if (child_start(c->k, qemu != NULL ? argv : argv + 3,
			(char *const *)(uintptr_t)c->k->guest.env, -1, -1,
			&child) < 0)
		return -1;
	while ((n = run_read(c->k, child.out, text + len,
			     sizeof c->libraries - 1 - len)) > 0)
		len += (size_t)n;
	if (n < 0)
		(void)kill(child.pid, SIGKILL);
	status = child_end(&child);
	text[len] = '\0';
	if (n < 0)
		return c->k->end != END_NONE ? -1 : fail(c->k, "%s:", loader);
	if (len == sizeof c->libraries - 1)
		return fail(c->k, "%s: has too many libraries", program);
	for (; (line = strtok_r(text, "\n", &next)) != NULL; text = NULL)
		if (job_library(c, program, line) < 0)
			return -1;
	if (status != 0 && !c->optional)
		return fail(c->k, "%s: its interpreter %s --list ended with"
			    " status %d", program, loader, status);
	return 0;
}

/* What a dynamically linked program needs. Nothing that it brings along is
 * executed here, only loaders that we know: loader[PATH_SIZE] gets its path. */
static int job_dynamic(struct cpio *c, const char *path, const char *interp,
		       bool audits, char *loader)
{
	if (c->k->o->initrd_path == NULL && is_file("/etc/ld.so.cache")
	    && job_same_file(c, "/etc/ld.so.cache") < 0)
		return -1;
	if (!audits && loader_known(interp, loader))
		return job_libraries(c, path, loader, NULL);
	if (!c->k->job_said && !c->optional)
		warn(c->k, "%s: its libraries are not looked for (-file brings"
		     " them): %s%s", path, audits ? "it asks for others that"
		     " audit it" : interp, audits ? ""
		     : " is not a dynamic loader that ktest knows");
	return 0;
}

/* The same for one of another architecture, whose loader runs in qemu-user's
 * QEMU and finds all below a directory. What -sysroot names is believed. */
static int job_foreign(struct cpio *c, const char *path, const char *interp,
		       bool audits)
{
	const char *arch = guest_machine(&c->k->guest)->arch;
	const char *asked = c->k->o->sysroot;
	char root[PATH_SIZE], loader[PATH_SIZE], name[32], qemu[PATH_SIZE];
	char real[PATH_SIZE];
	int result;

	(void)snprintf(name, sizeof name, "qemu-%s", arch);
	if ((asked != NULL ? path_set(c->k, root, "%s", asked)
	     : path_set(c->k, root, "/usr/%s-linux-gnu", arch)) < 0
	    || path_set(c->k, loader, "%s%s", root, interp) < 0)
		return -1;
	if (audits || !is_file(loader) || !path_search(NULL, name, qemu)
	    || (!loader_known(loader, real) && asked == NULL))
		return c->optional ? 0 : fail(c->k, "%s: is linked dynamically,"
			" for %s: link it statically, use -rootfs, or install"
			" qemu-user and the libc that has %s (-sysroot DIR)",
			path, arch, loader);
	c->sysroot = root;
	result = job_same_file(c, interp);
	if (result == 0)
		result = job_libraries(c, path, loader, qemu);
	c->sysroot = NULL;
	return result;
}

/* Adds what a program needs to start: interpreter and libraries. One that is
 * missing here is left out: the guest's exec says so. */
static int job_needs(struct cpio *c, const char *path, int depth)
{
	char interp[PATH_SIZE], word[PATH_SIZE], found[PATH_SIZE];
	const char *arch;
	struct map m;
	bool script, any, audits;

	if (c->optional && !guest_runs(&c->k->guest, path, &arch))
		return 0;
	if (guest_refuse(c->k, &c->k->guest, path) < 0
	    || map_file(c->k, "PROGRAM", path, &m) < 0)
		return -1;
	any = program_interpreter(&m, interp, word, &script)
	      || (c->optional && library_loader(&m, interp));
	audits = any && !script && program_audits(&m);
	unmap_file(&m);
	if (any && !script && interp[0] == '/'
	    && !guest_is_native(&c->k->guest))
		return job_foreign(c, path, interp, audits);
	if (!any || interp[0] != '/' || !is_file(interp)
	    || (script && c->optional))
		return 0;
	if (job_same_file(c, interp) < 0)
		return -1;
	if (!script)
		return job_dynamic(c, path, interp, audits, word);
	if (depth == SCRIPT_DEPTH)
		return fail(c->k, "%s: its #! lines lead too far", path);
	if (job_needs(c, interp, depth + 1) < 0)
		return -1;
	word[strcspn(word, " \t")] = '\0';
	if (strcmp(strrchr(interp, '/'), "/env") != 0
	    || strchr(word, '/') != NULL || !path_search(NULL, word, found)
	    || found[0] != '/')
		return 0;
	return job_same_file(c, found) < 0 ? -1
					   : job_needs(c, found, depth + 1);
}

/* What the program needs is in its root, or no use in starting. */
static int job_root_needs(struct cpio *c, const struct guest *g)
{
	char path[PATH_SIZE], next[PATH_SIZE], word[PATH_SIZE];
	const char *root = g->mount[0].host;
	struct map m;
	bool script = true, any;

	if (!root_path(root, g->program, path))
		return 0; /* another option brings it, or exec says why not */
	for (int depth = 0; script && depth < SCRIPT_DEPTH; depth++) {
		if (map_file(c->k, "PROGRAM", path, &m) < 0)
			return -1;
		any = program_interpreter(&m, next, word, &script);
		unmap_file(&m);
		if (!any || next[0] != '/')
			return 0;
		if (!root_path(root, next, path))
			return fail(c->k, "-rootfs %s: %s needs %s, which is"
				    " not in it", c->k->o->rootfs, g->program,
				    next);
	}
	return 0;
}

/* What a file that -file brings needs, if it is a program or a library. One in
 * a tree, or a library, may be there for other reasons than to be loaded: for
 * that is taken what there is. */
static int job_entry_needs(struct cpio *c, const char *path, unsigned mode,
			   bool named)
{
	const struct ktest_options *o = c->k->o;
	const bool library = strstr(strrchr(path, '/'), ".so") != NULL;
	const char *arch;
	int result;

	if ((!library && (mode & 0111) == 0) || o->image != NULL
	    || !guest_runs(&c->k->guest, path, &arch) /* whatever it is for */
	    || (root_is_dir(o, &c->k->guest) && !guest_root(o, &c->k->guest)))
		return 0;
	c->optional = library || !named;
	result = job_needs(c, path, 0);
	c->optional = false;
	return result;
}

/* Adds what stands at host as guest (absolute), symlinks as they are; returns
 * 1 if it is a directory, whose content is to follow. */
static int job_entry(struct cpio *c, const char *host, const char *guest,
		     bool named)
{
	char link[PATH_SIZE];
	struct stat st;
	ssize_t n;

	if (lstat(host, &st) < 0)
		return fail(c->k, "-file %s:", host);
	if (S_ISREG(st.st_mode) && access(host, R_OK) != 0)
		return fail(c->k, "-file %s:", host);
	if (S_ISREG(st.st_mode))
		return cpio_file(c, host, guest + 1, 0) < 0 ? -1
		       : job_entry_needs(c, host, st.st_mode, named);
	if (S_ISDIR(st.st_mode))
		return cpio_member(c, guest + 1, st.st_mode, st.st_mtime, "",
				   0) < 0 ? -1 : 1;
	if (S_ISLNK(st.st_mode)) {
		n = readlink(host, link, sizeof link);
		if (n < 0)
			return fail(c->k, "-file %s:", host);
		return cpio_member(c, guest + 1, S_IFLNK | 0777, st.st_mtime,
				   link, (size_t)n);
	}
	if (!c->k->job_said)
		warn(c->k, "-file %s: is neither a file, a directory nor a"
		     " symlink: left out", host);
	return 0;
}

/* Adds the tree at host[PATH_SIZE] as top. host is always the path of what it is
 * at, so that a level costs but a few bytes of stack. */
static int job_tree(struct cpio *c, char *host, const char *top)
{
	struct dir level[TREE_DEPTH], *d = level;
	char guest[PATH_SIZE];
	const size_t len = strlen(host);
	int result = job_entry(c, host, top, true);

	while (result > 0 || (result == 0 && d > level)) {
		if (result > 0 && d == level + TREE_DEPTH) {
			result = fail(c->k, "-file %s: is too deep (limit %d"
				      " directories in each other)", host,
				      TREE_DEPTH);
		} else if (result > 0) {
			result = dir_open(d, host, host) == 0 ? 0
				 : fail(c->k, "-file %s:", host);
			d += result == 0;
		} else if (dir_next(&d[-1]) == NULL) {
			result = errno == 0 ? 0 : fail(c->k, "-file %s:", host);
			dir_close(--d);
		} else if (snprintf(guest, sizeof guest, "%s%s", top, host + len)
			   >= (int)sizeof guest) {
			result = fail(c->k, "-file %s: its path in the guest is"
				      " too long (limit %d bytes)", host,
				      PATH_SIZE - 1);
		} else {
			result = job_entry(c, host, guest, false);
		}
	}
	while (d > level)
		dir_close(--d);
	return result;
}

/* One -file HOST[:GUEST]. */
static int job_file(struct cpio *c, const char *value)
{
	char host[PATH_SIZE], guest[PATH_SIZE], real[PATH_SIZE];
	const char *to;

	if (strlen(value) >= PATH_SIZE)
		return fail(c->k, "-file %.100s...: is too long (limit %d"
			    " bytes)", value, PATH_SIZE - 1);
	(void)path_set(c->k, host, "%s", value);
	to = guest_part(host);
	if (file_type(host) == 0 && strchr(host, '/') == NULL
	    && path_search(NULL, host, real))
		memcpy(host, real, sizeof host);
	if (file_type(host) == 0)
		return fail(c->k, "-file %s%s:", value, strchr(value, ':')
			    != NULL && to == NULL
			    ? " (GUEST has to be absolute)" : "");
	if (path_absolute(c->k, host, guest) < 0)
		return -1;
	if (to != NULL) {
		const char *base = strrchr(guest, '/');

		if (path_set(c->k, real, "%s%s", to,
			     to[strlen(to) - 1] == '/' ? base + 1 : "") < 0
		    || path_set(c->k, guest, "%s", real) < 0)
			return -1;
	}
	if (realpath(host, real) == NULL)
		return fail(c->k, "-file %s:", host);
	return job_tree(c, real, guest);
}

/* A directory that the run needs, where nothing of the host is touched. */
static int job_dir(struct cpio *c, const struct guest *g, const char *path)
{
	return path[1] == '\0' || (root_is_dir(c->k->o, g) && g->mount[0].rw
				   && !guest_hides(path)) ? 0
	       : cpio_text(c, path + 1, S_IFDIR | 0755, "");
}

/* The root's own directories that lead to others here, as in a merged /usr, do
 * so there: what is named by such a path is found by it. */
static const char *const root_links[] = { "/bin", "/lib", "/lib32", "/lib64",
	"/libx32", "/sbin" };

/* Where one of them leads, "" if it does not. */
static size_t root_link(size_t i, char link[PATH_SIZE])
{
	const ssize_t n = readlink(root_links[i], link, PATH_SIZE - 1);
	const bool leads = n > 0 && link[0] != '/' && link[0] != '.';

	link[leads ? n : 0] = '\0';
	return leads ? (size_t)n : 0;
}

/* What every program finds around it; the kernel makes no parents. */
static void initramfs_skeleton(struct cpio *c)
{
	char link[PATH_SIZE];

	for (size_t i = 0; i < COUNT(root_links); i++) {
		const size_t n = root_link(i, link);

		for (size_t at = 0; at++ < n; )
			if (at == n || link[at] == '/') {
				const char end = link[at];

				link[at] = '\0';
				(void)cpio_text(c, link, S_IFDIR | 0755, "");
				link[at] = end;
			}
		if (n > 0)
			(void)cpio_text(c, root_links[i] + 1, S_IFLNK | 0777,
					link);
	}
	(void)cpio_text(c, ".", S_IFDIR | 0755, ""); /* it was 1777 */
	(void)cpio_text(c, "root", S_IFDIR | 0700, "");
	(void)cpio_text(c, "etc", S_IFDIR | 0755, "");
	(void)cpio_text(c, "etc/hosts", S_IFREG | 0644, "127.0.0.1 localhost"
			" ktest\n::1 localhost\n");
}

/* What this program finds around it. */
static int job_skeleton(struct cpio *c, const struct guest *g)
{
	const struct ktest_options *o = c->k->o;
	char link[PATH_SIZE];

	if (o->initrd_path != NULL && o->rootfs == NULL && o->image == NULL)
		(void)cpio_text(c, "root", S_IFDIR | 0700, "");
	if (o->net && o->image == NULL
	    && (!root_is_dir(o, g) || !g->mount[0].rw))
		(void)cpio_text(c, "etc/resolv.conf", S_IFREG | 0644,
				"nameserver 10.42.0.3\n");
	for (size_t i = 0; i < g->mount_count; i++)
		(void)job_dir(c, g, g->mount[i].guest);
	(void)snprintf(link, sizeof link, "lib/modules/%s", g->kernel.version);
	if (g->modules_link[0] != '\0')
		(void)cpio_text(c, link, S_IFLNK | 0777, g->modules_link);
	return job_dir(c, g, g->cwd);
}

/* The job: a whole archive inside the member that the caller has begun. */
static int job_write(struct cpio *c, const struct guest *g)
{
	const struct ktest_options *o = c->k->o;

	if (job_record(c, g) < 0 || job_skeleton(c, g) < 0)
		return -1;
	if (o->image != NULL) {
		if (g->on_host && cpio_file(c, g->program, g->copy + 1, 0) < 0)
			return -1;
	} else if ((g->on_host
		    && (o->rootfs == NULL || guest_hides(g->program))
		    && job_same_file(c, g->program) < 0)
		   || (root_is_dir(o, g) ? job_root_needs(c, g) < 0
		       : g->on_host && job_needs(c, g->program, 0) < 0)) {
		return -1;
	}
	for (size_t i = 0; i < o->files.count; i++) {
		c->file = o->files.item[i];
		if (job_file(c, c->file) < 0)
			return -1;
	}
	c->k->job_said = true;
	return cpio_text(c, TRAILER, 0, "");
}

/* The user's -initrd-path. One that is no file but, say, a FIFO can be read
 * only once, and is kept in k->initrd for attempts to come. */
static int initramfs_base(struct cpio *c)
{
	struct ktest *k = c->k;
	const char *path = k->o->initrd_path;
	struct stat st = { 0 };
	off_t kept = 0;
	int fd = k->initrd, result;

	if (fd < 0) /* a FIFO that has no writer yet is waited for later */
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0
	    || (fd == k->initrd && lseek(fd, 0, SEEK_SET) < 0))
		result = fail(k, "-initrd-path %s:", path);
	else
		result = cpio_copy(c, path, fd);
	if (fd != k->initrd)
		close_fd(&fd);
	if (result == 0 && !S_ISREG(st.st_mode)) {
		k->initrd = temporary_file(k);
		result = k->initrd < 0 ? -1 : cpio_flush(c);
		while (result == 0 && kept < (off_t)c->at)
			if (sendfile(k->initrd, c->fd, &kept,
				     (size_t)((off_t)c->at - kept)) <= 0)
				result = fail(k, "-initrd-path %s: temporary"
					      " file:", path);
	}
	cpio_pad(c);
	return result;
}

/* The initramfs. The job of a machine that is to be saved is empty: init waits
 * for one. */
static int initramfs_write(struct cpio *c, const struct guest *g)
{
	struct member job;

	if (c->k->o->initrd_path == NULL)
		initramfs_skeleton(c);
	else if (initramfs_base(c) < 0)
		return -1;
	(void)cpio_text(c, "dev", S_IFDIR | 0755, "");
	(void)cpio_text(c, "dev/console", S_IFCHR | 0600, "");
	if (cpio_file(c, g->init, "init", S_IFREG | 0755) < 0
	    || cpio_text(c, ".ktest", S_IFDIR | 0700, "") < 0
	    || initramfs_modules(c, g) < 0)
		return -1;
	cpio_begin(c, &job, ".ktest/job", S_IFREG | 0600, 0, 0);
	if ((c->k->attempt.boot == BOOT_COLD && job_write(c, g) < 0)
	    || cpio_end(c, &job, ".ktest/job") < 0)
		return -1;
	return cpio_text(c, TRAILER, 0, "");
}

/* An archive, or the job alone, for a machine that waits for it; its fd is the
 * caller's. */
static int archive_build(struct ktest *k, const struct guest *g,
			 const char *what,
			 int (*content)(struct cpio *, const struct guest *))
{
	struct cpio c = { .k = k, .fd = temporary_file(k) };

	text_init(&c.seen, c.seen_at, sizeof c.seen_at);
	if (c.fd < 0 || content(&c, g) < 0 || cpio_flush(&c) < 0)
		close_fd(&c.fd);
	else
		step(k, "%s: %llu bytes", what, (unsigned long long)c.at);
	return c.fd;
}

/* ==== 11. QEMU argv =====================================================
 * struct guest -> struct qemu: QEMU's arguments and the kernel's command
 * line. One capability is one function, which writes its part of both.
 * QEMU inherits its fds from 3 up, in the order of enum qemu_fd; what is not
 * there in an attempt leaves its number unused.
 */
enum fd_kind { FD_NONE, FD_SOCKET, FD_FROM_QEMU, FD_TO_QEMU, FD_FILE };

enum { /* what has to be for a fd to exist */
	WITH_PROGRAM = 1, WITH_STDERR = 2, WITH_SNAPSHOT = 4, WITH_RESTORE = 8,
	WITH_KERNEL = 16
};

static const struct {
	enum fd_kind kind;
	unsigned with;
} qemu_fds[FD_END] = {
	[FD_CONSOLE] = { FD_FROM_QEMU, 0 },
	[FD_EARLY] = { FD_FROM_QEMU, 0 },
	[FD_CONTROL] = { FD_SOCKET, 0 },
	[FD_STDIN] = { FD_SOCKET, WITH_PROGRAM },
	[FD_STDOUT] = { FD_SOCKET, WITH_PROGRAM },
	[FD_STDERR] = { FD_SOCKET, WITH_PROGRAM | WITH_STDERR },
	[FD_KLOG] = { FD_SOCKET, WITH_PROGRAM },
	[FD_INITRAMFS] = { FD_FILE, WITH_PROGRAM },
	[FD_MEMORY] = { FD_FILE, WITH_SNAPSHOT },
	[FD_MONITOR] = { FD_SOCKET, WITH_PROGRAM },
	[FD_STATE] = { FD_TO_QEMU, WITH_RESTORE },
	[FD_KERNEL] = { FD_FILE, WITH_KERNEL },
};

/* What that fd is in this attempt, FD_NONE if QEMU does not get it. */
static enum fd_kind fd_kind_of(const struct guest *g, const struct attempt *a,
			       int fd)
{
	const bool warm = a->boot != BOOT_COLD;
	const unsigned have = (g->mode == MODE_PROGRAM ? WITH_PROGRAM : 0u)
		| (!g->merged || warm || g->system ? WITH_STDERR : 0u)
		| (warm ? WITH_SNAPSHOT : 0u)
		| (a->boot == BOOT_RESTORE ? WITH_RESTORE
		   : g->kernel.unpack >> a->accel & 1 ? WITH_KERNEL : 0u);

	if (fd == FD_AGENT && g->system)
		return FD_SOCKET;
	return qemu_fds[fd].with & ~have ? FD_NONE : qemu_fds[fd].kind;
}

static void qemu_arg(struct qemu *q, const char *s)
{
	char *at = q->args.at + q->args.len;

	text_bytes(&q->args, s, strlen(s) + 1);
	if (q->args.full || q->argc == ARGV_MAX) {
		q->args.full = true;
		return;
	}
	q->argv[q->argc++] = at;
	q->argv[q->argc] = NULL;
}

/* Adds to the argument that was added last. */
static void qemu_more(struct qemu *q, const char *s)
{
	q->args.len--; /* its NUL */
	text_bytes(&q->args, s, strlen(s) + 1);
}

int ktest_encode(char *out, size_t size, const char *name,
		 const struct ktest_key *keys)
{
	struct text t;

	if (size == 0)
		return -1;
	text_init(&t, out, size);
	text_add(&t, name);
	for (; keys->key != NULL; keys++) {
		text_printf(&t, "%s%s", t.len > 0 ? "," : "", keys->key);
		if (keys->value == NULL)
			continue;
		text_add(&t, "=");
		text_value(&t, keys->value);
	}
	return t.full ? -1 : (int)t.len;
}

/* Adds "-option VALUE". In fmt %s is a string, whose commas are doubled, and
 * %d an int. */
static void qemu_add(struct qemu *q, const char *option, const char *fmt, ...)
{
	char buf[PATH_SIZE * 2 + 1024];
	struct text t;
	va_list ap;

	text_init(&t, buf, sizeof buf);
	va_start(ap, fmt);
	for (; *fmt != '\0'; fmt++)
		if (*fmt != '%')
			text_bytes(&t, fmt, 1);
		else if (*++fmt == 's')
			text_value(&t, va_arg(ap, const char *));
		else
			text_printf(&t, "%d", va_arg(ap, int));
	va_end(ap);
	qemu_arg(q, option);
	qemu_arg(q, buf);
	q->args.full = q->args.full || t.full;
}

static void qemu_kernel_arg(struct qemu *q, const char *fmt, ...)
{
	char buf[64];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(buf, sizeof buf, fmt, ap);
	va_end(ap);
	if (q->cmdline.len > 0)
		text_add(&q->cmdline, " ");
	text_add(&q->cmdline, buf);
}

/* The processor, which for TCG's x86 depends on what runs it. Before QEMU 8.0
 * an interrupt behind a cmpxchg16b, with which Linux 6.5 and later allocate
 * memory, saves garbage for EFLAGS (set_cc_op() without gen_update_cc_op(),
 * target/i386/tcg/translate.c): a double fault. QEMU 8.0 was the first to know
 * FSRS, which "max" has anyway. With the BMI2 of 5.2 a kernel packed by zstd
 * ends while it unpacks itself. */
static const char *qemu_cpu(const struct qemu *q)
{
	const struct ktest_options *o = q->o;
	const struct machine *m = guest_machine(q->g);
	const char *cpu = m->cpu[q->a->accel];
	int major = 6, minor = 5;

	if (m->cpu_net != NULL && q->a->accel == ACCEL_TCG
	    && (o->net != 0 || o->netfds.count + o->links.count > 0))
		return m->cpu_net;
	if (cpu != NULL)
		return q->a->age == QEMU_SGX ? "host,-sgx" : cpu;
	(void)sscanf(q->g->kernel.version, "%d.%d", &major, &minor);
	return q->a->age == QEMU_BEFORE_6 ? "max,cx16=off,bmi2=off"
	       : major < 6 || (major == 6 && minor < 5) ? "max"
	       : q->a->age == QEMU_BEFORE_8 ? "max,cx16=off" : "max,fsrs=on";
}

static void qemu_machine(struct qemu *q)
{
	const struct ktest_options *o = q->o;
	const struct machine *m = guest_machine(q->g);
	const bool monogon = q->g->mode == MODE_MONOGON
			     && q->a->accel == ACCEL_KVM && m->monogon != NULL;
	const int memory = (int)o->memory;

	qemu_arg(q, "-nodefaults");
	qemu_arg(q, "-no-user-config");
	qemu_arg(q, "-nographic");
	qemu_arg(q, "-no-reboot");
	qemu_add(q, "-accel", "%s", accel_names[q->a->accel]);
	qemu_arg(q, "-cpu");
	qemu_arg(q, qemu_cpu(q));
	if (memory % 1024 == 0)
		qemu_add(q, "-m", "%dG", memory / 1024);
	else
		qemu_add(q, "-m", "%dM", memory);
	if (o->cpus > 1)
		qemu_add(q, "-smp", "%d", (int)o->cpus);
	if (q->g->vars[0] != '\0') {
		qemu_add(q, "-drive", "if=pflash,format=raw,readonly=on,"
			 "file.driver=file,file.filename=%s", q->g->bios);
		qemu_add(q, "-drive", "if=pflash,format=raw,file.driver=file,"
			 "file.filename=%s", q->g->vars);
		qemu_more(q, q->g->vars_rw ? "" : ",snapshot=on");
	} else if (q->g->bios[0] != '\0') {
		qemu_arg(q, "-bios");
		qemu_arg(q, q->g->bios);
	}
	qemu_arg(q, "-M");
	qemu_arg(q, monogon ? m->monogon : m->type[q->a->accel]);
	if (q->a->acpi == ACPI_OFF)
		qemu_more(q, ",acpi=off");
	else if (guest_serves_both(q->g, q->a) && q->a->age < QEMU_BEFORE_6)
		qemu_more(q, ",ioapic2=off");
}

/* What the machine's kernel is told. A panic restarts at once, and -no-reboot
 * ends QEMU. */
static void qemu_kernel_args(struct qemu *q)
{
	const struct machine *m = guest_machine(q->g);
	const bool kvm = q->a->accel == ACCEL_KVM;

	if (q->o->image != NULL) {
		qemu_kernel_arg(q, "console=ttyS0 panic=-1");
		return;
	}
	if (m->restart != NULL)
		qemu_kernel_arg(q, "%s", m->restart);
	qemu_kernel_arg(q, "console=hvc0");
	if (!q->o->console)
		qemu_kernel_arg(q, "quiet");
	qemu_kernel_arg(q, "panic=-1");
	if (!kvm && m->tsc && q->a->tick_khz > 0)
		qemu_kernel_arg(q, "tsc_early_khz=%lu tsc=reliable",
				q->a->tick_khz);
	if (!kvm && m->tsc)
		qemu_kernel_arg(q, "no_timer_check");
	if (!kvm || q->g->mode == MODE_PROGRAM)
		qemu_kernel_arg(q, "cryptomgr.notests");
	qemu_kernel_arg(q, "%s", m->early);
}

/* Monogon's machine has none. */
static void qemu_monitor(struct qemu *q)
{
	if (q->g->mode == MODE_MONOGON)
		return;
	qemu_add(q, "-chardev", "socket,id=qmp0,fd=%d", FD_FIRST + FD_MONITOR);
	qemu_add(q, "-mon", "chardev=qmp0,mode=control");
	if (q->o->dump != NULL && guest_machine(q->g)->fw_cfg)
		qemu_add(q, "-device", "vmcoreinfo");
}

/* Where in the snapshot's file an image's overlay begins. */
static uint64_t overlay_at(const struct ktest_options *o)
{
	return ((uint64_t)o->memory << 20) + STATE_MAX;
}

/* Memory of a machine that is saved or restored. Restored, it writes to a copy
 * of its own of the pages that it changes. */
static void qemu_snapshot(struct qemu *q)
{
	if (q->a->boot == BOOT_COLD)
		return;
	qemu_add(q, "-object", "memory-backend-file,id=ram0,size=%dM,"
		 "mem-path=" FD_PATH ",share=%s", (int)q->o->memory,
		 FD_FIRST + FD_MEMORY, q->a->boot == BOOT_SAVE ? "on" : "off");
	qemu_add(q, "-M", "memory-backend=ram0");
	if (q->a->boot == BOOT_RESTORE)
		qemu_add(q, "-incoming", "defer");
}

static void qemu_sandbox(struct qemu *q)
{
	if (q->a->sandbox)
		qemu_add(q, "-sandbox", "on,obsolete=deny,"
			 "elevateprivileges=deny,spawn=deny,"
			 "resourcecontrol=deny");
}

/* The consoles. What is said before /dev/hvc0 exists comes over the serial
 * line; the firmware writes to the debug console. A console's bytes come one
 * by one and are dropped when there is no room: a socket has room for 280 of
 * them, a pipe for as many as it holds. */
static void qemu_consoles(struct qemu *q)
{
	const struct machine *m = guest_machine(q->g);

	qemu_add(q, "-device", "virtio-rng-%s,max-bytes=1024,period=1000",
		 m->bus);
	qemu_add(q, "-device", "virtio-serial-%s,max_ports=%d", m->bus,
		 VPORTS_MAX);
	qemu_add(q, "-chardev", "file,id=con0,path=" FD_PATH,
		 FD_FIRST + FD_CONSOLE);
	qemu_add(q, "-device", "virtconsole,chardev=con0");
	qemu_add(q, "-chardev", "file,id=early0,path=" FD_PATH,
		 FD_FIRST + FD_EARLY);
	for (size_t i = 0; m->serial[i] != NULL; i++)
		qemu_arg(q, m->serial[i]);
}

static void qemu_vport(struct qemu *q, const char *id, const char *name)
{
	qemu_add(q, "-device", "virtserialport,chardev=%s,name=%s", id, name);
}

static void qemu_socket(struct qemu *q, const char *id, int fd,
			const char *name)
{
	qemu_add(q, "-chardev", "socket,id=%s,fd=%d", id, FD_FIRST + fd);
	qemu_vport(q, id, name);
}

static void qemu_vports(struct qemu *q)
{
	qemu_socket(q, "ctl0", FD_CONTROL, "ktest.control");
	if (q->g->mode == MODE_MONOGON)
		return;
	qemu_socket(q, "in0", FD_STDIN, "ktest.stdin");
	qemu_socket(q, "out0", FD_STDOUT, "ktest.stdout");
	if (fd_kind_of(q->g, q->a, FD_STDERR) != FD_NONE)
		qemu_socket(q, "err0", FD_STDERR, "ktest.stderr");
	qemu_socket(q, "log0", FD_KLOG, "ktest.log");
	if (q->g->system)
		qemu_socket(q, "agent0", FD_AGENT, "org.qemu.guest_agent.0");
}

/* The network of Monogon's launcher, but for the forwarded ports, which are
 * the host's own alone. Without IPv6, which hosts often have not. */
static void qemu_network(struct qemu *q)
{
	const struct ktest_options *o = q->o;
	const struct guest *g = q->g;
	const bool saving = q->a->boot == BOOT_SAVE;
	char rule[64];

	if (!o->net)
		return;
	qemu_add(q, "-netdev", "user,id=usernet0,net=10.42.0.0/24,"
		 "dhcpstart=10.42.0.10,ipv6=off");
	for (size_t i = 0; !saving && i < g->port_count; i++) {
		port_rule(&g->port[i], rule);
		qemu_more(q, ",hostfwd=");
		qemu_more(q, rule);
	}
	for (size_t i = 0; !saving && i < o->services.count; i++) {
		qemu_more(q, ",guestfwd=");
		qemu_more(q, g->service[i]);
	}
	qemu_add(q, "-device", "virtio-net-%s,netdev=usernet0,mac="
		 KTEST_HOST_MAC, guest_machine(g)->bus);
	if (o->pcap != NULL && !saving)
		qemu_add(q, "-object", "filter-dump,id=dump0,netdev=usernet0,"
			 "file=%s", o->pcap);
}

/* One more interface. In a machine that is saved its address is its place,
 * which the job changes, and its cable leads nowhere. */
static void qemu_cable(struct qemu *q, size_t i)
{
	const int fd = FD_FIRST + FD_END + (int)i;
	char mac[MAC_SIZE];

	cable_mac(q->a->boot != BOOT_COLD ? (unsigned)i
		  : cable_number(&q->g->wire[i]), mac);
	qemu_add(q, "-netdev", q->a->boot == BOOT_SAVE
		 ? "hubport,id=cable%d,hubid=%d" : "socket,id=cable%d,fd=%d",
		 fd, fd);
	qemu_add(q, "-device", "virtio-net-%s,netdev=cable%d,mac=%s",
		 guest_machine(q->g)->bus, fd, mac);
}

/* One more vport. In a machine that is saved it leads nowhere. What QEMU opens
 * as a file is appended to: its own position is not QEMU's. */
static void qemu_wire(struct qemu *q, size_t i)
{
	const struct wire *w = &q->g->wire[i];
	char id[32];

	(void)snprintf(id, sizeof id, "extra%zu", i);
	if (q->a->boot == BOOT_SAVE)
		qemu_add(q, "-chardev", "null,id=%s", id);
	else
		qemu_add(q, "-chardev",
			 w->kind == WIRE_SOCKET ? "socket,id=%s,fd=%d"
			 : w->kind == WIRE_TTY ? "pipe,id=%s,path=" FD_PATH
			 : "file,id=%s,path=" FD_PATH ",append=on", id,
			 FD_FIRST + FD_END + (int)i);
	qemu_vport(q, id, w->name);
}

static void qemu_wires(struct qemu *q)
{
	for (size_t i = 0; i < q->g->wire_count; i++)
		if (q->g->wire[i].kind == WIRE_CABLE)
			qemu_cable(q, i);
		else
			qemu_wire(q, i);
}

/* The host's directories. What the guest writes belongs to us, or, for root,
 * to whom the guest says; nothing is hidden in attributes. */
static void qemu_mounts(struct qemu *q)
{
	const bool saving = q->a->boot == BOOT_SAVE;

	for (size_t i = 0; i < q->g->mount_count; i++) {
		const struct mount *m = &q->g->mount[i];

		qemu_add(q, "-fsdev", "local,id=fs%d,path=%s,"
			 "security_model=none,multidevs=remap", (int)i,
			 saving ? "/" : m->host);
		if (saving || !m->rw)
			qemu_more(q, ",readonly=on");
		qemu_add(q, "-device", "virtio-9p-%s,fsdev=fs%d,"
			 "mount_tag=ktest%d", guest_machine(q->g)->bus, (int)i,
			 (int)i);
	}
}

/* swtpm is its server; see tpm_start(). */
static void qemu_tpm(struct qemu *q)
{
	const struct guest *g = q->g;

	if (q->o->tpm == NULL)
		return;
	qemu_add(q, "-chardev", "socket,id=chrtpm,fd=%d", FD_FIRST + FD_END
		 + (int)(g->wire_count + g->disk_count));
	qemu_add(q, "-tpmdev", "emulator,id=tpm0,chardev=chrtpm");
	qemu_add(q, "-device", "tpm-tis,tpmdev=tpm0");
}

/* One disk. That of a machine that is saved reads as zeros, unless it is the
 * image: what was written to that is in the snapshot, an overlay, and what is
 * written to it once restored is thrown away. */
static void qemu_disk(struct qemu *q, int i)
{
	const struct disk *d = &q->g->disk[i];
	const int fd = FD_FIRST + FD_END + (int)q->g->wire_count + i;
	const bool image = i == 0 && q->o->image != NULL;
	const bool overlay = image && q->a->boot != BOOT_COLD;
	const bool saving = q->a->boot == BOOT_SAVE;
	const char *format = d->qcow2 ? "qcow2" : "raw";
	char text[32];

	(void)snprintf(text, sizeof text, "%llu", (unsigned long long)
		       (overlay ? overlay_at(q->o) : d->size));
	if (overlay) {
		qemu_add(q, "-blockdev", "driver=%s,node-name=image,read-only=on"
			 ",file.driver=file,file.filename=" FD_PATH, format, fd);
		qemu_add(q, "-drive", "if=none,id=disk%d,format=qcow2,"
			 "backing=image,file.driver=raw,file.offset=%s,"
			 "file.file.driver=file,file.file.filename=" FD_PATH
			 ",cache=unsafe,werror=report", i, text,
			 FD_FIRST + FD_MEMORY);
	} else if (saving) {
		qemu_add(q, "-drive", "if=none,id=disk%d,driver=null-co,"
			 "read-zeroes=on,size=%s", i, text);
	} else {
		qemu_add(q, "-drive", "if=none,id=disk%d,format=%s,file."
			 "driver=file,file.filename=" FD_PATH ",cache=%s"
			 /* else it waits, without a word */
			 ",werror=report", i, format, fd,
			 d->rw ? "writeback" : "unsafe");
		qemu_more(q, d->more);
	}
	if (!saving && !d->rw && d->path[0] != '\0')
		qemu_more(q, ",snapshot=on");
	qemu_add(q, "-device", "virtio-blk-%s,drive=disk%d",
		 guest_machine(q->g)->bus, i);
	if (image)
		qemu_more(q, ",bootindex=1");
}

/* Disks, and blobs of fw_cfg, among them what kexec needs to start a kernel in
 * which the program is run again. */
static void qemu_disks(struct qemu *q)
{
	const struct ktest_list *blobs = &q->o->fw_cfgs;
	const struct guest *g = q->g;
	char text[PATH_SIZE];

	for (size_t i = 0; i < g->disk_count; i++)
		qemu_disk(q, (int)i);
	for (size_t i = 0; i < blobs->count; i++) {
		const char *s = blobs->item[i];
		const size_t n = strcspn(s, "=");

		(void)snprintf(text, sizeof text, "%.*s", (int)n, s);
		qemu_add(q, "-fw_cfg", "name=%s,file=%s", text, s + n + 1);
	}
	if (q->o->reboot && guest_machine(g)->fw_cfg)
		qemu_add(q, "-fw_cfg", "name=opt/ktest/initrd,file=" FD_PATH,
			 FD_FIRST + FD_INITRAMFS);
}

/* Stops before the first instruction; addresses are those of the symbols. */
static void qemu_gdb(struct qemu *q)
{
	const char *gdb = q->o->gdb;

	if (gdb == NULL)
		return;
	qemu_add(q, "-gdb", unix_path(gdb) == NULL ? "tcp:127.0.0.1:%s"
		 : "%s,server=on,wait=off", gdb);
	qemu_arg(q, "-S");
	qemu_kernel_arg(q, "nokaslr");
}

/* The kernel, whose command line is complete by now, but for what QEMU or
 * our firmware adds: "virtio_mmio.device=512@0xfeb00e00:12" per device. */
static int qemu_kernel(struct ktest *k, struct qemu *q)
{
	const struct ktest_list *more = &q->o->cmdline;
	size_t max = q->g->kernel.cmdline_max;

	if (q->g->kernel_path[0] == '\0') /* it is the image's */
		return 0;
	for (size_t i = 0; i < more->count; i++) {
		if (more->item[i][0] == '\0')
			continue;
		text_add(&q->cmdline, " ");
		text_add(&q->cmdline, more->item[i]);
	}
	if (q->a->acpi == ACPI_OFF || guest_serves_both(q->g, q->a))
		max -= max < DEVICE_ARGS_SIZE ? max : DEVICE_ARGS_SIZE;
	if (q->cmdline.full || q->cmdline.len > max)
		return fail(k, "-cmdline %.100s...: the kernel command line is"
			    " too long for this kernel (limit %zu bytes)",
			    more->count > 0 ? more->item[0] : "",
			    max < CMDLINE_SIZE ? max : CMDLINE_SIZE - 1);
	if (q->a->boot == BOOT_RESTORE) /* all of this is in memory */
		return 0;
	if (fd_kind_of(q->g, q->a, FD_KERNEL) != FD_NONE) {
		qemu_add(q, "-kernel", FD_PATH, FD_FIRST + FD_KERNEL);
	} else {
		qemu_arg(q, "-kernel");
		qemu_arg(q, q->g->kernel_path);
	}
	qemu_arg(q, "-append");
	qemu_arg(q, q->cmdline.at);
	if (fd_kind_of(q->g, q->a, FD_INITRAMFS) == FD_FILE) {
		qemu_add(q, "-initrd", FD_PATH, FD_FIRST + FD_INITRAMFS);
	} else if (q->o->initrd_path != NULL) {
		qemu_arg(q, "-initrd");
		qemu_arg(q, q->o->initrd_path);
	}
	return 0;
}

/* QEMU's arguments for an attempt, in k->qemu. */
static int qemu_build(struct ktest *k, const struct attempt *a)
{
	struct qemu *q = &k->qemu;

	q->o = k->o;
	q->g = &k->guest;
	q->a = a;
	q->argc = 0;
	text_init(&q->args, q->args_at, sizeof q->args_at);
	text_init(&q->cmdline, q->cmdline_at, sizeof q->cmdline_at);
	qemu_arg(q, guest_qemu(k->o, &k->guest));
	qemu_machine(q);
	qemu_kernel_args(q);
	qemu_monitor(q);
	qemu_snapshot(q);
	qemu_sandbox(q);
	qemu_consoles(q);
	qemu_vports(q);
	qemu_network(q);
	qemu_wires(q);
	qemu_mounts(q);
	qemu_disks(q);
	qemu_tpm(q);
	qemu_gdb(q);
	if (qemu_kernel(k, q) < 0)
		return -1;
	for (size_t i = 0; i < k->o->qemu_args.count; i++)
		qemu_arg(q, k->o->qemu_args.item[i]);
	if (q->args.full)
		return fail(k, "-qemu-arg: QEMU's arguments are too long"
			    " (limit %d bytes, %d words)", ARGV_SIZE, ARGV_MAX);
	return 0;
}

/* Prints the arguments so that a shell reads them back as they are. */
static void qemu_print(const struct qemu *q, FILE *f)
{
	for (size_t i = 0; i < q->argc; i++) {
		const char *s = q->argv[i];
		bool plain = *s != '\0' && s[strspn(s, "abcdefghijklmnopqrst"
			"uvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
			"-_./,=:@%+")] == '\0';

		(void)fputs(i > 0 ? " " : "", f);
		if (plain) {
			(void)fputs(s, f);
			continue;
		}
		(void)fputc('\'', f);
		for (; *s != '\0'; s++)
			if (*s == '\'')
				(void)fputs("'\\''", f);
			else
				(void)fputc(*s, f);
		(void)fputc('\'', f);
	}
	(void)fputc('\n', f);
}

/* The beginning of a line in Monogon's format; first: of an entry. */
static void log_begin(struct ktest *k, int fd, bool first)
{
	char line[64];

	(void)snprintf(line, sizeof line, "TT| %20s %c ",
		       first ? "test launch" : "", first ? '!' : '|');
	show(k, fd, line, strlen(line), true);
}

/* One option a line: an argument that starts with '-' begins one. */
static void log_args(struct ktest *k, int fd, const char *name,
		     char *const *argv)
{
	log_begin(k, fd, true);
	show(k, fd, "Running ", 8, false);
	show(k, fd, name, strlen(name), false);
	show(k, fd, ":\n", 2, true);
	for (size_t i = 0; argv[i] != NULL; i++) {
		const bool begins = i <= 1 || argv[i][0] == '-';

		if (begins)
			log_begin(k, fd, false);
		show(k, fd, "  ", 1 + begins, true);
		show(k, fd, argv[i], strlen(argv[i]), false);
		if (i == 0 || argv[i + 1] == NULL || argv[i + 1][0] == '-')
			show(k, fd, "\n", 1, true);
	}
}

void ktest_log(int fd, const char *fmt, ...)
{
	char buf[MESSAGE_SIZE], *s = buf;
	bool first = true;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(buf, sizeof buf, fmt, ap);
	va_end(ap);
	for (size_t n; *s != '\0'; s += n + (s[n] != '\0')) {
		n = strcspn(s, "\n");
		if (n == 0)
			continue;
		log_begin(NULL, fd, first);
		show(NULL, fd, s, n, false);
		show(NULL, fd, "\n", 1, true);
		first = false;
	}
}

void ktest_log_args(int fd, const char *name, char *const *argv)
{
	log_args(NULL, fd, name, argv);
}

/* ==== 12. Snapshot ======================================================
 * struct guest and its files -> the file of a saved machine that fits, or why
 * none does; and a machine that was saved -> such a file. A machine is saved
 * when init waits for a job; restored, it gets one. Nothing here ends a run but
 * a file that is not ours to touch: what fails costs the speed, and is said.
 */

/* The file: the guest's memory from its first byte, pages of zeros left out;
 * the devices' state, as QEMU's migration stream with the capability
 * x-ignore-shared (docs/devel/migration.rst) has it; of an -image a qcow2 of
 * what was written to its disk, STATE_MAX behind the memory; struct trailer, as
 * this host lays it out. All that it was made from is in the trailer: the files by
 * content, where the same device, inode, size and mtime stand for the content
 * that was hashed once; QEMU's arguments as they are for saving, when no part
 * of them is of one run. The file itself is believed unread while its mtime
 * is the trailer's, its ctime, which nobody sets, is not much later, and the
 * host is not booted anew; else it is read and compared once.
 */
#define SNAPSHOT_MAGIC "ktest snapshot\n"
enum { SNAPSHOT_FORMAT = 4, STAMP_SLACK = 3 /* seconds */ };

static uint64_t hash_step(uint64_t h, uint64_t word)
{
	h = (h ^ word) * 0x9e3779b97f4a7c15u;
	return h << 29 | h >> 35;
}

/* Tells contents apart; it does not withstand somebody who looks for two
 * with one hash. Four words at a time, which do not wait for each other. */
static uint64_t hash_bytes(uint64_t h, const void *data, size_t n)
{
	const char *p = data;
	uint64_t lane[4] = { h + n, ~h, h + 1, ~n }, word[4];

	for (; n >= sizeof word; p += sizeof word, n -= sizeof word) {
		memcpy(word, p, sizeof word);
		lane[0] = hash_step(lane[0], word[0]);
		lane[1] = hash_step(lane[1], word[1]);
		lane[2] = hash_step(lane[2], word[2]);
		lane[3] = hash_step(lane[3], word[3]);
	}
	memset(word, 0, sizeof word);
	memcpy(word, p, n);
	for (size_t i = 0; i < 8; i++) /* twice, so that all bits meet */
		h = hash_step(h ^ lane[i % 4], word[i % 4]);
	return hash_step(h ^ h >> 32, 0);
}

static uint64_t hash_string(uint64_t h, const char *s)
{
	return hash_bytes(h, s, strlen(s) + 1);
}

/* -- What the machine is made of -- */
/* The files, whose paths follow each other in s->paths. */
static int input_add(struct ktest *k, const char *what, const char *path)
{
	struct snapshot *s = &k->snapshot;
	struct input *in = &s->now.input[s->now.input_count];
	struct stat st;

	if (s->now.input_count == SNAPSHOT_INPUTS)
		return fail(k, "too many modules (limit %d files)",
			    SNAPSHOT_INPUTS);
	if (stat(path, &st) < 0)
		return fail(k, "%s:", path);
	if (!S_ISREG(st.st_mode)) /* its content would be gone once read */
		return fail(k, "%s: is not a regular file", path);
	(void)snprintf(in->what, sizeof in->what, "%s", what);
	in->device = (uint64_t)st.st_dev;
	in->inode = (uint64_t)st.st_ino;
	in->size = (uint64_t)st.st_size;
	in->mtime = stat_ns(&st.st_mtim);
	s->input_path[s->now.input_count++] = s->paths.at + s->paths.len;
	text_bytes(&s->paths, path, strlen(path) + 1);
	return s->paths.full ? fail(k, "%s: the paths of all files are too"
				    " long (limit %zu bytes)", path,
				    s->paths.size) : 0;
}

static int inputs_find(struct ktest *k, const struct guest *g)
{
	const struct ktest_list *blobs = &k->o->fw_cfgs;
	const char *initrd = k->o->initrd_path, *qemu = guest_qemu(k->o, g);
	struct snapshot *s = &k->snapshot;
	char path[PATH_SIZE];
	const struct {
		const char *what, *path; /* "": there is none */
	} files[] = {
		{ "-image", k->o->image != NULL ? g->disk[0].path : "" },
		{ "the kernel", g->kernel_path }, { "init", g->init },
		{ "the firmware", strchr(g->bios, '/') != NULL ? g->bios : "" },
		{ "UEFI's variables", g->vars },
		{ "the initrd", initrd != NULL ? initrd : "" },
		{ "QEMU", strchr(qemu, '/') != NULL ? qemu : path },
	};

	text_init(&s->paths, s->paths_at, sizeof s->paths_at);
	if (strchr(qemu, '/') == NULL && !path_search(NULL, qemu, path))
		return fail(k, "-qemu %s: is not found", qemu);
	for (size_t i = 0; i < COUNT(files); i++)
		if (files[i].path[0] != '\0'
		    && input_add(k, files[i].what, files[i].path) < 0)
			return -1;
	for (size_t i = 0; i < blobs->count; i++)
		if (input_add(k, "-fw-cfg", strchr(blobs->item[i], '=') + 1) < 0)
			return -1;
	for (const char *p = g->modules; *p != '\0';)
		if ((p = module_next(k, g, p, path)) == NULL
		    || input_add(k, strrchr(path, '/') + 1, path) < 0)
			return -1;
	return 0;
}

/* The content's hash, once per run. */
static int input_hash(struct ktest *k, size_t i)
{
	struct input *in = &k->snapshot.now.input[i];
	struct map m;

	if (in->hash != 0)
		return 0;
	if (strcmp(in->what, "-image") == 0) { /* it is too large to read */
		in->hash = hash_bytes(in->inode, &in->mtime, sizeof in->mtime);
		return 0;
	}
	if (map_file(k, in->what, k->snapshot.input_path[i], &m) < 0)
		return -1;
	in->hash = hash_bytes(1, m.at, m.size);
	unmap_file(&m);
	return 0;
}

/* What -accel auto and its like had to choose from: a KVM that comes, or the
 * host's next kernel, is worth another look. */
static uint64_t policy_hash(const struct ktest *k)
{
	const struct ktest_options *o = k->o;
	const int asked[] = { o->accel, o->acpi, o->sandbox, k->attempt.accel };
	struct utsname u;

	if (k->attempt.accel != ACCEL_KVM || uname(&u) < 0)
		u = (struct utsname){ 0 };
	return hash_string(hash_string(hash_bytes(0, asked, sizeof asked),
				       u.release), u.version);
}

/* The host's processor, which -cpu host passes on: vendor, model, features.
 * Intel SDM volume 2A, CPUID. TCG's -cpu max is the same everywhere. */
static uint64_t cpu_hash(int accel)
{
	uint64_t h = (uint64_t)accel;
#if defined(__x86_64__)
	static const uint32_t leaf[] = { 0, 1, 7, 0x80000001, 0x80000008 };

	for (size_t i = 0; accel == ACCEL_KVM && i < COUNT(leaf); i++) {
		uint32_t r[4];

		__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]),
				 "=d"(r[3]) : "a"(leaf[i]), "c"(0));
		if (leaf[i] == 1)
			r[1] &= 0xffffff; /* which of the processors it is */
		h = hash_bytes(h, r, sizeof r);
	}
#elif defined(__aarch64__)
	char id[32] = ""; /* MIDR_EL1, as text */

	if (accel == ACCEL_KVM)
		(void)file_head("/sys/devices/system/cpu/cpu0/regs/"
				"identification/midr_el1", id, sizeof id);
	h = hash_bytes(h, id, sizeof id);
#endif
	return h;
}

/* QEMU's arguments for saving this machine, but for paths of files whose
 * content counts, and what initramfs_skeleton() finds here. The clock's rate is
 * not measured yet. */
static int args_hash(struct ktest *k, const struct attempt *of, uint64_t *hash)
{
	const struct attempt a = {
		.boot = BOOT_SAVE, .accel = of->accel, .acpi = of->acpi,
		.sandbox = of->sandbox, .age = of->age,
	};
	const struct qemu *q = &k->qemu;
	const char *before = "";
	char link[PATH_SIZE];
	int result = qemu_build(k, &a);

	*hash = hash_string(k->guest.kernel.unpack, k->guest.modules);
	for (size_t i = 0; i < COUNT(root_links); i++) {
		(void)root_link(i, link);
		*hash = hash_string(*hash, link);
	}
	for (size_t i = 1; result == 0 && i < q->argc; i++) {
		if (strcmp(before, "-kernel") != 0
		    && (strcmp(before, "-bios") != 0
			|| strchr(q->argv[i], '/') == NULL))
			*hash = hash_string(*hash, q->argv[i]);
		before = q->argv[i];
	}
	return result;
}

/* The attempt that a saved machine is restored by. */
static struct attempt saved_attempt(const struct trailer *saved)
{
	return (struct attempt){
		.boot = BOOT_RESTORE, .accel = (int)saved->accel,
		.acpi = (int)saved->acpi, .sandbox = saved->sandbox != 0,
		.age = saved->age < 0 || saved->age > QEMU_BEFORE_6 ? QEMU_ANY
		       : (enum qemu_age)saved->age,
	};
}

/* Whether the saved machine is what this run would save; *why: what differs.
 * Files whose stat() differs are read if `deep` is set. */
static bool snapshot_fits(struct ktest *k, bool deep, const char **why)
{
	struct snapshot *s = &k->snapshot;
	const struct trailer *saved = &s->saved, *now = &s->now;
	const struct attempt a = saved_attempt(saved);
	uint64_t args;

	*why = saved->format != now->format ? "ktest's version"
		: saved->memory != now->memory ? "-memory"
		: saved->policy != now->policy
		  ? "-accel, -acpi, -sandbox, or what the host offers"
		: saved->cpu != cpu_hash(a.accel) ? "the processor"
		: saved->input_count != now->input_count ? "the modules"
		: args_hash(k, &a, &args) < 0 || args != saved->args
		  ? "QEMU's arguments or the kernel's command line" : NULL;
	for (size_t i = 0; *why == NULL && i < now->input_count; i++) {
		const struct input *in = &now->input[i];
		const struct input *old = &saved->input[i];

		if (in->device == old->device && in->inode == old->inode
		    && in->size == old->size && in->mtime == old->mtime)
			continue;
		if (strcmp(in->what, old->what) != 0 || in->size != old->size
		    || !deep || input_hash(k, i) < 0 || in->hash != old->hash)
			*why = in->what;
		s->touched = true;
	}
	return *why == NULL;
}

/* -- The file -- */
static uint64_t host_boot(void)
{
	char id[64] = "";

	(void)file_head("/proc/sys/kernel/random/boot_id", id, sizeof id);
	return hash_bytes(0, id, sizeof id);
}

/* How much there is in front of the trailer. */
static uint64_t content_size(const struct trailer *t)
{
	return t->memory + (t->disk > 0 ? STATE_MAX + t->disk : t->state);
}

static uint64_t trailer_check(const struct trailer *t)
{
	return hash_bytes(SNAPSHOT_FORMAT, t, offsetof(struct trailer, check));
}

/* Says in the trailer that the content is right as of now. A second is what
 * any filesystem and archive keeps of a mtime. */
static int trailer_write(struct ktest *k, int fd)
{
	struct trailer *t = &k->snapshot.saved;
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
		{ .tv_sec = (time_t)(clock_ns(CLOCK_REALTIME) / 1000000000) } };

	t->boot = host_boot();
	t->mtime = stat_ns(&times[1]);
	t->check = trailer_check(t);
	errno = ENOSPC; /* a write that is cut short sets none */
	if (pwrite(fd, t, sizeof *t, (off_t)content_size(t)) != sizeof *t
	    || futimens(fd, times) < 0)
		return fail(k, "%s:", k->snapshot.path);
	return 0;
}

/* Reads the first size bytes of a file but for pages of zeros; *hash is that
 * of the others and their places. They are written to the same places in the
 * file `to`, unless that is -1. */
static int image_read(struct ktest *k, int from, int to, uint64_t size,
		      uint64_t *hash)
{
	static const char zeros[PAGE];
	char *p = k->scratch;

	*hash = size;
	for (uint64_t at = 0, part; at < size; at += part) {
		ssize_t n;
		off_t data = lseek(from, (off_t)at, SEEK_DATA);

		if (data < 0 && errno == ENXIO)
			break;
		if (data > 0 && (uint64_t)data > at)
			at = (uint64_t)data & ~(uint64_t)(PAGE - 1);
		if (at >= size)
			break;
		n = pread(from, p, size - at < STREAM_SIZE
			  ? (size_t)(size - at) : STREAM_SIZE, (off_t)at);
		if (n <= 0)
			return fail(k, "%s:", k->snapshot.path);
		for (part = 0; part < (uint64_t)n; part += PAGE) {
			size_t len = (size_t)n - part < PAGE
				     ? (size_t)n - part : PAGE;

			if (memcmp(p + part, zeros, len) == 0)
				continue;
			*hash = hash_bytes(*hash ^ (at + part), p + part, len);
			errno = ENOSPC; /* when less is written */
			if (to >= 0 && pwrite(to, p + part, len,
					      (off_t)(at + part))
					!= (ssize_t)len)
				return fail(k, "%s:", k->snapshot.path);
		}
	}
	return 0;
}

/* Whether the file has one. What somebody else is writing just now is read
 * again. */
static bool trailer_read(int fd, off_t size, struct trailer *t)
{
	int tries = 0;

	while (pread(fd, t, sizeof *t, size - (off_t)sizeof *t) == sizeof *t
	       && t->check != trailer_check(t) && ++tries < 10)
		(void)poll(NULL, 0, 1);
	return size >= (off_t)sizeof *t
	       && memcmp(t->magic, SNAPSHOT_MAGIC, sizeof t->magic) == 0;
}

/* Opens a file and reads its trailer; -1 and *why if it is none of ours, or
 * damaged. A file that others own or can write is an error. */
static int snapshot_open(struct ktest *k, const char *path, struct stat *st,
			 const char **why)
{
	struct trailer *t = &k->snapshot.saved;
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	*why = NULL;
	if (fd < 0 && errno == ENOENT)
		return -1;
	if (fd < 0 || fstat(fd, st) < 0)
		(void)fail(k, "%s:", path);
	else if ((k->snapshot.refused = !S_ISREG(st->st_mode)))
		(void)fail(k, "-snapshot %s: is not a regular file", path);
	else if ((k->snapshot.refused = st->st_uid != geteuid()))
		(void)fail(k, "-snapshot %s: belongs to another user (uid %lu)",
			   path, (unsigned long)st->st_uid);
	else if ((k->snapshot.refused = (st->st_mode & 022) != 0))
		(void)fail(k, "-snapshot %s: others may write it (mode %03o)",
			   path, (unsigned)st->st_mode & 0777);
	else if (!trailer_read(fd, st->st_size, t))
		(void)fail(k, "%s: is not a snapshot, or one that was cut"
			   " short: remove it", path);
	else if (t->check != trailer_check(t)
		 || t->input_count > SNAPSHOT_INPUTS
		 || t->accel < ACCEL_KVM || t->accel > ACCEL_TCG
		 || t->acpi < ACPI_ON || t->acpi > ACPI_OFF
		 || content_size(t) + sizeof *t != (uint64_t)st->st_size)
		*why = "damage";
	else
		return fd;
	close_fd(&fd);
	return -1;
}

/* Takes the file at path if it fits: s->fd is open then. */
static void snapshot_try(struct ktest *k, const char *path, bool deep)
{
	struct snapshot *s = &k->snapshot;
	struct trailer *t = &s->saved;
	struct stat st;
	const char *why;
	uint64_t content;
	int fd = snapshot_open(k, path, &st, &why);

	s->touched = false;
	if (fd < 0 || !snapshot_fits(k, deep, &why)) {
		if (why != NULL && (!s->automatic || (deep
		    && t->input[0].inode == s->now.input[0].inode)))
			step(k, "snapshot %s: stale because of %s", path, why);
		close_fd(&fd);
		return;
	}
	if (t->boot != host_boot() || t->mtime != stat_ns(&st.st_mtim)
	    || stat_ns(&st.st_ctim) / 1000000000 > t->mtime / 1000000000
						   + STAMP_SLACK) {
		step(k, "snapshot %s: reading it all", path);
		if (image_read(k, fd, -1, content_size(t), &content) < 0
		    || content != t->content) {
			step(k, "snapshot %s: stale because of damage", path);
			close_fd(&fd);
			return;
		}
		s->touched = true;
	}
	if (s->touched) {
		for (size_t i = 0; i < t->input_count; i++) {
			s->now.input[i].hash = t->input[i].hash;
			t->input[i] = s->now.input[i];
		}
		(void)trailer_write(k, fd);
	}
	s->fd = fd;
}

/* -- The directory of -snapshot auto -- */
static int auto_directory(struct ktest *k, char *dir)
{
	const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	const bool own = xdg != NULL && xdg[0] == '/';

	home = own ? xdg : home;
	if (home == NULL || home[0] != '/')
		return fail(k, "neither XDG_CACHE_HOME nor HOME is set");
	if (path_set(k, dir, "%s/%sktest", home, own ? "" : ".cache/") < 0)
		return -1;
	for (char *p = dir; (p = strchr(p + 1, '/')) != NULL; *p = '/') {
		*p = '\0';
		(void)mkdir(dir, 0700);
	}
	return mkdir(dir, 0700) == 0 || errno == EEXIST ? 0 : fail(k, "%s:", dir);
}

#define SNAPSHOT_NAME "snapshot-"
#define SNAPSHOT_PART ".ktest-" /* and six letters: one that is written */

static bool auto_has(const char *name)
{
	return strncmp(name, SNAPSHOT_NAME, strlen(SNAPSHOT_NAME)) == 0;
}

/* Looks through the directory for one that fits. */
static void auto_search(struct ktest *k, bool deep)
{
	struct snapshot *s = &k->snapshot;
	const char *name;
	struct dir d;

	(void)dir_open(&d, s->dir, s->path);
	while (s->fd < 0 && (name = dir_next(&d)) != NULL)
		if (auto_has(name) && strstr(name, SNAPSHOT_PART) == NULL)
			snapshot_try(k, s->path, deep);
	k->error[0] = '\0';
	s->refused = false; /* one that others can write is passed over */
	dir_close(&d);
}

/* Looks at the files that are being written here. Those that nobody has locked
 * were left by writers that were killed: they are removed. Returns a fd of one
 * that somebody else writes for our target, or -1. */
static int parts_look(const struct snapshot *s)
{
	const size_t end = strlen(SNAPSHOT_PART) + 6;
	const char *slash = strrchr(s->target, '/'), *name;
	const char *base = slash != NULL ? slash + 1 : s->target;
	char path[PATH_SIZE];
	struct dir d;
	int found = -1;

	(void)dir_open(&d, s->dir, path);
	while ((name = dir_next(&d)) != NULL) {
		const size_t len = strlen(name) < end ? 0 : strlen(name) - end;
		const bool ours = len == strlen(base)
				  && memcmp(name, base, len) == 0;
		int fd;

		if (memcmp(name + len, SNAPSHOT_PART, strlen(SNAPSHOT_PART))
				!= 0
		    || (!ours && (!s->automatic || !auto_has(name))))
			continue;
		fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
			(void)unlink(path);
		else if (ours && found < 0 && errno == EWOULDBLOCK)
			found = fd;
		if (fd != found)
			close_fd(&fd);
	}
	dir_close(&d);
	return found;
}

/* Makes room in the directory of -snapshot auto: the oldest goes. */
static bool auto_room(const struct snapshot *s)
{
	char path[PATH_SIZE], oldest[PATH_SIZE];
	time_t oldest_time = 0;
	const char *name;
	struct stat st;
	struct dir d;
	int count = 0;

	(void)dir_open(&d, s->dir, path);
	while ((name = dir_next(&d)) != NULL)
		if (auto_has(name) && strstr(name, SNAPSHOT_PART) == NULL
		    && stat(path, &st) == 0
		    && (count++ == 0 || st.st_mtime < oldest_time)) {
			oldest_time = st.st_mtime;
			memcpy(oldest, path, sizeof oldest);
		}
	dir_close(&d);
	return count < SNAPSHOTS_MAX || unlink(oldest) < 0;
}

/* Reads the files, which must be as they were before the machine that was
 * made of them was booted. */
static int inputs_hash(struct ktest *k)
{
	struct snapshot *s = &k->snapshot;
	struct stat st;

	for (size_t i = 0; i < s->now.input_count; i++) {
		const struct input *in = &s->now.input[i];

		if (input_hash(k, i) < 0)
			return -1;
		if (stat(s->input_path[i], &st) < 0
		    || in->inode != (uint64_t)st.st_ino
		    || in->size != (uint64_t)st.st_size
		    || in->mtime != stat_ns(&st.st_mtim))
			return fail(k, "%s: it changed meanwhile",
				    s->input_path[i]);
	}
	return 0;
}

/* What the machine that was saved is made of. */
static int snapshot_finish(struct ktest *k)
{
	struct snapshot *s = &k->snapshot;
	struct trailer *t = &s->saved;
	const struct attempt *a = &k->attempt;
	struct stat st;

	if (inputs_hash(k) < 0)
		return -1;
	if (k->o->image != NULL && fstat(s->memory, &st) == 0)
		s->now.disk = (uint64_t)st.st_size - overlay_at(k->o);
	*t = s->now;
	t->accel = a->accel;
	t->acpi = a->acpi;
	t->sandbox = a->sandbox;
	t->age = (int64_t)a->age;
	t->cpu = cpu_hash(a->accel);
	t->state = k->vm.state_len;
	t->tick_khz = a->tick_khz != 0 || !guest_machine(&k->guest)->tsc
		      ? a->tick_khz : tick_khz(k);
	return args_hash(k, a, &t->args);
}

/* A new file beside the target, locked until it is written or given up. */
static int part_open(struct ktest *k)
{
	struct snapshot *s = &k->snapshot;
	struct stat st = { 0 };

	for (int tries = 0; tries < 10 && st.st_nlink == 0; tries++) {
		close_fd(&s->part);
		if (path_set(k, s->part_path, "%s" SNAPSHOT_PART "XXXXXX",
			     s->target) < 0)
			return -1;
		s->part = mkostemp(s->part_path, O_CLOEXEC);
		if (s->part < 0)
			return fail(k, "%s:", s->target);
		(void)flock(s->part, LOCK_EX);
		(void)fstat(s->part, &st); /* removed before it was locked? */
	}
	return 0;
}

/* Writes the snapshot: its file is there complete, or not at all. */
static int snapshot_write(struct ktest *k)
{
	struct snapshot *s = &k->snapshot;
	struct trailer *t = &s->saved;

	while (s->automatic && !auto_room(s))
		;
	if (image_read(k, s->memory, s->part, content_size(t), &t->content) < 0
	    || trailer_write(k, s->part) < 0
	    || (rename(s->part_path, s->target) < 0
		&& fail(k, "%s:", s->target) < 0)) {
		part_remove(s);
		return -1;
	}
	step(k, "snapshot %s: saved", s->target);
	(void)flock(s->part, LOCK_UN); /* somebody may wait for it */
	s->fd = s->part;
	s->part = -1;
	return 0;
}

/* This run goes on as if there were no snapshots. */
static void snapshot_off(struct ktest *k)
{
	const size_t n = k->vm.pid == 0 ? 0 : memmem(k->said, k->said_len,
		"\n", 1) != NULL ? strcspn(k->said, "\n") : k->said_len;

	warn(k, "-snapshot: starting cold: %s%s%.*s", k->error,
	     n > 0 ? ": " : "", (int)n, k->said);
	k->error[0] = '\0';
	part_remove(&k->snapshot);
	k->attempt.boot = BOOT_COLD;
}

/* Why this run cannot be part of a saved machine's life; NULL: it can. */
static const char *snapshot_against(const struct ktest *k)
{
	const struct disk *image = k->o->image != NULL ? &k->guest.disk[0] : NULL;

	return k->guest.mode == MODE_MONOGON ? "a run without PROGRAM"
		: image != NULL && image->rw ? "an -image that is written to"
		: image != NULL && image->more[0] != '\0'
		  ? "an -image with backing files"
		: image != NULL && image->size >> OVERLAY_BITS > 0
		  ? "an -image of 4 TiB and more"
		: k->o->gdb != NULL ? "-gdb, which waits for the first instruction,"
		: k->o->reboot ? "-reboot, which boots again,"
		: k->o->tpm != NULL ? "-tpm, whose state is the run's,"
		: k->guest.vars_rw ? "-uefi-vars, which are written to,"
		: k->o->console ? "-console, which shows the boot," : NULL;
}

/* The memory of a machine that will be saved: zeros and, for an image, its
 * overlay, a qcow2 in which there is nothing (see room 7): the header, the table
 * of blocks of references, the one of these, the table of tables of clusters. */
static int memory_make(struct ktest *k, int fd)
{
	enum { BITS = 16 };    /* of a cluster's size */
	const uint64_t size = k->guest.disk[0].size;
	const struct {
		uint64_t at, value;
		int bytes;
	} numbers[] = {
		{ 0, 0x514649fb, 4 }, { QCOW_VERSION, 2, 4 },
		{ QCOW_CLUSTER_BITS, BITS, 4 }, { QCOW_SIZE, size, 8 },
		{ QCOW_L1_SIZE, (size >> (2 * BITS - 3)) + 1, 4 },
		{ QCOW_L1, 3 << BITS, 8 },
		{ QCOW_REFERENCES, 1 << BITS, 8 },
		{ QCOW_REFERENCE_CLUSTERS, 1, 4 },
		{ 1 << BITS, 2 << BITS, 8 },
		{ 2 << BITS, 0x0001000100010001, 8 }, /* each of the four */
	};
	off_t at = (off_t)k->snapshot.now.memory;

	if (ftruncate(fd, 0) < 0 || ftruncate(fd, at) < 0)
		return -1;
	at += STATE_MAX;
	for (size_t i = 0; k->o->image != NULL && i < COUNT(numbers); i++) {
		char be[8];

		for (int j = 0; j < numbers[i].bytes; j++)
			be[j] = (char)(numbers[i].value
				       >> 8 * (numbers[i].bytes - 1 - j));
		if (pwrite(fd, be, (size_t)numbers[i].bytes,
			   at + (off_t)numbers[i].at) < 0)
			return -1;
	}
	return k->o->image == NULL ? 0 : ftruncate(fd, at + (4 << BITS));
}

/* What this run would save, and as which file: one of -snapshot auto is named
 * by what the machine is made of. */
static int snapshot_target(struct ktest *k)
{
	struct snapshot *s = &k->snapshot;
	const char *name = k->o->snapshot, *slash = strrchr(name, '/');

	s->now = (struct trailer){
		.magic = SNAPSHOT_MAGIC, .format = SNAPSHOT_FORMAT,
		.memory = (uint64_t)k->o->memory << 20,
		.policy = policy_hash(k), .cpu = cpu_hash(k->attempt.accel),
	};
	if (inputs_find(k, &k->guest) < 0
	    || args_hash(k, &k->attempt, &s->now.args) < 0)
		return -1;
	if (!s->automatic)
		return path_set(k, s->target, "%s", name) < 0 ? -1
			: path_set(k, s->dir, "%.*s", slash != NULL
				   ? (int)(slash - name) + 1 : 2,
				   slash != NULL ? name : "./");
	if (auto_directory(k, s->dir) < 0)
		return -1;
	return path_set(k, s->target, "%s/" SNAPSHOT_NAME "%016llx", s->dir,
			(unsigned long long)hash_bytes(0, &s->now,
				offsetof(struct trailer, content)));
}

/* Opens a file that fits, if there is one: s->fd. */
static int snapshot_search(struct ktest *k)
{
	struct snapshot *s = &k->snapshot;

	for (int deep = 0; s->automatic && s->fd < 0 && deep < 2; deep++)
		auto_search(k, deep);
	if (s->automatic)
		return 0;
	memcpy(s->path, s->target, sizeof s->path);
	snapshot_try(k, s->path, true);
	return k->error[0] != '\0' ? -1 : 0;
}

/* Fails unless a snapshot can be written here; checked before a boot is spent
 * on it. */
static int snapshot_room(struct ktest *k)
{
	const struct snapshot *s = &k->snapshot;
	struct statvfs fs;

	if (snapshot_fd(k->o) >= 0)
		return fail(k, "what is saved there is not this machine");
	if (access(s->dir, W_OK | X_OK) < 0 || statvfs(s->dir, &fs) < 0)
		return fail(k, "%s:", s->dir);
	errno = ENOSPC;
	return fs.f_bavail >= SNAPSHOT_ROOM / fs.f_frsize ? 0
		: fail(k, "%s:", s->dir);
}

/* The machine of the file that fits is restored. */
static void snapshot_take(struct ktest *k)
{
	step(k, "snapshot %s: fits", k->snapshot.path);
	k->attempt = saved_attempt(&k->snapshot.saved);
}

/* Waits for a lock, which another ktest may have, not for ever. */
static void lock_await(struct ktest *k, int fd, int how)
{
	const long long end = now_ms() + WRITER_WAIT_MS;
	struct pollfd p[1];

	while (flock(fd, how | LOCK_NB) < 0 && errno == EWOULDBLOCK
	       && now_ms() < end
	       && run_poll(k, p, 1, now_ms() + WRITER_TICK_MS) >= 0)
		;
}

/* Somebody else saves this machine; fd is its file. As long as nothing is in
 * it, their guest boots, and so can ours. Then what is missing takes less time
 * than a boot. */
static void snapshot_await(struct ktest *k, int fd)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && st.st_size > 0) {
		step(k, "snapshot %s: waiting for who writes it",
		     k->snapshot.target);
		lock_await(k, fd, LOCK_SH);
		if (snapshot_search(k) == 0 && k->snapshot.fd >= 0) {
			snapshot_take(k);
			return;
		}
	}
	k->error[0] = '\0';
	step(k, "snapshot %s: somebody else saves it: starting cold",
	     k->snapshot.target);
}

/* Makes this run the one that saves: its file is there, empty and locked,
 * while the machine boots. Who looks for such files, and then makes one, has
 * a lock on the directory. */
static void snapshot_reserve(struct ktest *k)
{
	struct snapshot *s = &k->snapshot;
	int other, dir;
	bool failed;

	k->attempt.boot = BOOT_SAVE;
	if (k->o->dry_run)
		return;
	dir = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	lock_await(k, dir, LOCK_EX);
	other = parts_look(s);
	failed = other < 0 && part_open(k) < 0;
	close_fd(&dir); /* before a line is said, whose reader may pause */
	if (failed)
		snapshot_off(k);
	if (other >= 0) {
		k->attempt.boot = BOOT_COLD;
		snapshot_await(k, other);
	}
	close_fd(&other);
}

/* Chooses between a cold start, restoring a machine, and saving one first. */
static int snapshot_find(struct ktest *k)
{
	struct snapshot *s = &k->snapshot;
	const char *name = k->o->snapshot, *env = getenv("KTEST_SNAPSHOT");
	const char *against = snapshot_against(k);

	if (name == NULL || name[0] == '\0' || strcmp(name, "none") == 0)
		return 0;
	if (against != NULL && k->o->argv == NULL && snapshot_fd(k->o) >= 0)
		return -1; /* it was all to do, and nobody has asked for it */
	if (against != NULL) {
		if (env == NULL || strcmp(env, name) != 0)
			warn(k, "-snapshot: starting cold: %s cannot be part"
			     " of a saved machine", against);
		return 0;
	}
	s->automatic = strcmp(name, "auto") == 0;
	s->first = k->attempt;
	if (k->o->argv == NULL) { /* all that this run is for */
		k->attempt.boot = BOOT_SAVE;
		return snapshot_target(k);
	}
	if (snapshot_target(k) < 0 || snapshot_search(k) < 0
	    || (s->fd < 0 && snapshot_room(k) < 0)) {
		if (s->refused)
			return -1;
		snapshot_off(k);
	} else if (s->fd < 0) {
		snapshot_reserve(k);
	} else {
		snapshot_take(k);
	}
	return 0;
}

/* ==== 13. Spawn =========================================================
 * struct qemu -> a QEMU process, and our ends of its fds in struct vm. QEMU,
 * and what it was started through, are one process group. Its leader is the
 * warden, a child that does nothing but to wait for the end of ktest, however
 * that comes, and then kills the group: a wrapper script does not forward
 * what ends it, and a ktest that is killed forwards nothing.
 */
/* Closes all fds from `first` on. */
static void fds_close(int first)
{
	long max = sysconf(_SC_OPEN_MAX);

	if (syscall(SYS_close_range, first, ~0u, 0u) == 0)
		return;
	if (max < 0 || max > 65536)
		max = 65536;
	for (int fd = first; fd < max; fd++)
		(void)close(fd);
}

/* -- The TPM --
 * swtpm serves it, in QEMU's group, with its state in a directory that is gone
 * with it: these files, by swtpm's swtpm_nvstore_dir.c.
 */
static const char *const tpm_files[] = { "tpm2-00.permall",
	"tpm2-00.volatilestate", "TMP2-00.permall", "TMP2-00.volatilestate",
	".lock" };

/* Also for the warden: nothing but system calls. */
static void tpm_remove(char *dir)
{
	int fd = dir[0] != '\0' ? open(dir, O_DIRECTORY | O_CLOEXEC) : -1;

	for (size_t i = 0; fd >= 0 && i < COUNT(tpm_files); i++)
		(void)unlinkat(fd, tpm_files[i], 0);
	if (dir[0] != '\0')
		(void)rmdir(dir);
	close_fd(&fd);
	dir[0] = '\0';
}

/* Makes the directory, with a copy of what is in the option's. */
static int tpm_prepare(struct ktest *k)
{
	const char *tmp = getenv("TMPDIR"), *from = k->o->tpm;
	char *dir = k->vm.tpm_dir, path[PATH_SIZE];
	const char *why;
	struct map m;
	ssize_t n;
	bool whole;
	int fd;

	if (from == NULL)
		return 0;
	if (path_set(k, dir, "%s/ktest.XXXXXX", tmp != NULL ? tmp : "/tmp") < 0
	    || mkdtemp(dir) == NULL) {
		dir[0] = '\0';
		return fail(k, "-tpm: no directory for it, in $TMPDIR or /tmp:");
	}
	for (size_t i = 0; from[0] != '\0' && i < 2; i++) {
		if (path_set(k, path, "%s/%s", from, tpm_files[i]) < 0)
			return -1;
		if (i > 0 && access(path, F_OK) < 0)
			break;
		if (map_file(k, "-tpm", path, &m) < 0
		    || path_set(k, path, "%s/%s", dir, tpm_files[i]) < 0)
			return -1;
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		n = fd < 0 ? -1 : write(fd, m.at, m.size); /* a few KiB */
		whole = m.size > 0 && n >= 0 && (size_t)n == m.size;
		why = m.size == 0 ? "is empty" : n < 0 ? strerror(errno)
		      : "no space for a copy";
		unmap_file(&m);
		close_fd(&fd);
		if (!whole)
			return fail(k, "-tpm %s/%s: %s", from, tpm_files[i], why);
	}
	return 0;
}

/* The warden: never returns. The other end of leash is ktest's alone. */
static void warden_run(int leash, char *tpm_dir)
{
	sigset_t all;
	char byte;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	(void)setpgid(0, 0);
	(void)dup2(leash, 0);
	fds_close(1);
	while (read(0, &byte, 1) < 0 && errno == EINTR)
		;
	tpm_remove(tpm_dir);
	(void)kill(0, SIGKILL);
	_exit(0);
}

static int warden_start(struct ktest *k)
{
	struct vm *v = &k->vm;
	int leash[2];

	if (make_pipe(k, leash) < 0)
		return -1;
	v->warden = fork();
	if (v->warden == 0)
		warden_run(leash[0], v->tpm_dir);
	(void)close(leash[0]);
	v->leash = leash[1];
	if (v->warden < 0)
		return fail(k, "fork:");
	(void)setpgid(v->warden, v->warden); /* whoever of us is first */
	return 0;
}

/* In the child, between fork and exec: source[i] becomes fd FD_FIRST + i, and
 * every other fd but 0, 1 and 2 is closed. -1: there is no room for them. */
static int spawn_fds(int *source, int count, int *error)
{
	const int end = FD_FIRST + count;

	/* above all targets first, so that none is overwritten unread */
	*error = fcntl(*error, F_DUPFD_CLOEXEC, end + 1);
	if (*error < 0)
		return -1;
	for (int i = 0; i < count; i++)
		if (source[i] >= 0) {
			source[i] = fcntl(source[i], F_DUPFD_CLOEXEC, end + 1);
			if (source[i] < 0)
				return -1;
		}
	for (int i = 0; i < count; i++)
		if (source[i] >= 0)
			(void)dup2(source[i], FD_FIRST + i);
		else
			(void)close(FD_FIRST + i);
	(void)dup3(*error, end, O_CLOEXEC);
	*error = end;
	fds_close(end + 1);
	return 0;
}

/* The child: never returns. Its log is the stdout and stderr of argv; error gets
 * errno if it does not become argv, less than 0 if there was no room for fds. */
static void spawn_child(char *const *argv, int *source, int count, int log,
			int error, pid_t group)
{
	const int first_error = error;
	int why = 0, null = open("/dev/null", O_RDONLY);

	child_signals();
	(void)dup2(null, 0);
	(void)dup2(log, 1);
	(void)dup2(log, 2);
	if (spawn_fds(source, count, &error) < 0)
		why = errno == EINVAL ? -EMFILE : -errno;
	else if (setpgid(0, group) == 0) /* else ktest is gone already */
		(void)execvp(argv[0], argv);
	why = why != 0 ? why : errno;
	write_all(error >= 0 ? error : first_error, (const char *)&why,
		  sizeof why);
	_exit(127);
}

/* Starts swtpm; *theirs is QEMU's end of its socket. */
static int tpm_start(struct ktest *k, int log, int error, int *theirs)
{
	static const char *const words[] = { "swtpm", "socket", "--tpm2",
		"--terminate", "--ctrl", "type=unixio,clientfd=3", "--tpmstate" };
	struct vm *v = &k->vm;
	char *argv[COUNT(words) + 2] = { NULL }, state[PATH_SIZE];
	int fd[2];

	if (path_set(k, state, "dir=%s", v->tpm_dir) < 0)
		return -1;
	for (size_t i = 0; i < COUNT(words); i++)
		argv[i] = (char *)(uintptr_t)words[i];
	argv[COUNT(words)] = state;
	if (ktest_socket_pair(fd) < 0)
		return fail(k, "socketpair:");
	*theirs = fd[1];
	v->tpm = fork();
	if (v->tpm == 0)
		spawn_child(argv, fd, 1, log, error, v->warden);
	(void)close(fd[0]);
	return v->tpm > 0 ? 0 : fail(k, "fork:");
}

/* A socket, a pipe to QEMU, or one from it: as large as an unprivileged user may
 * make it. */
static int spawn_pair(struct ktest *k, enum fd_kind kind, int *ours, int *theirs)
{
	const bool to_qemu = kind == FD_TO_QEMU;
	int fd[2];

	if (kind == FD_SOCKET && ktest_socket_pair(fd) < 0)
		return fail(k, "socketpair:");
	if (kind != FD_SOCKET && make_pipe(k, fd) < 0)
		return -1;
	if (kind == FD_FROM_QEMU)
		(void)fcntl(fd[0], F_SETPIPE_SZ, CONSOLE_PIPE_SIZE);
	*ours = fd[to_qemu];
	*theirs = fd[!to_qemu];
	(void)fcntl(*ours, F_SETFL, O_NONBLOCK);
	return 0;
}

static void vm_close(struct vm *v)
{
	for (size_t i = 0; i < COUNT(v->fd); i++)
		close_fd(&v->fd[i]);
	close_fd(&v->leash);
}

/* Our ends of QEMU's fds in *v, QEMU's in source[]. */
static int vm_open(struct ktest *k, int *source)
{
	struct vm *v = &k->vm;
	const struct snapshot *s = &k->snapshot;
	const bool save = k->attempt.boot == BOOT_SAVE;

	for (int i = 0; i < FD_END; i++) {
		const enum fd_kind kind = fd_kind_of(&k->guest, &k->attempt, i);

		if (kind == FD_FILE)
			source[i] = i == FD_INITRAMFS ? k->initramfs
				    : i == FD_KERNEL ? k->kernel
				    : save ? s->memory : s->fd;
		else if (kind != FD_NONE
			 && spawn_pair(k, kind, &v->fd[i], &source[i]) < 0)
			return -1;
	}
	return spawn_pair(k, FD_FROM_QEMU, &v->fd[FD_LOG], &source[FD_END]);
}

/* The streams between the caller and QEMU. Without a program the console is
 * the output. */
static void vm_streams(struct ktest *k)
{
	struct vm *v = &k->vm;
	struct stat in, null;

	v->out.to = k->out.fd;
	v->out.chunk = k->out.chunk;
	v->err.to = k->err.fd;
	v->err.chunk = k->err.chunk;
	v->in.chunk = v->job.chunk = SIZE_MAX;
	if (k->guest.mode == MODE_MONOGON) {
		v->out.from = v->fd[FD_CONSOLE];
		return;
	}
	v->out.from = v->fd[FD_STDOUT];
	v->err.from = v->fd[FD_STDERR];
	v->in.to = v->fd[FD_STDIN];
	v->in.from = k->o->reboot ? -1 : k->o->stdin_fd; /* has one life */
	v->in.data[v->in.len++] = 'i'; /* "connected", see init.c */
	if (fstat(v->in.from, &in) == 0 && stat("/dev/null", &null) == 0
	    && S_ISCHR(in.st_mode) && in.st_rdev == null.st_rdev) {
		v->in.data[0] = 'e'; /* "empty" */
		v->in.from = -1;
	}
}

/* Hears of the child whether it became QEMU. */
static int spawn_result(struct ktest *k, int error)
{
	int why = 0;

	while (read(error, &why, sizeof why) < 0 && errno == EINTR)
		;
	if (why == 0)
		return 0;
	errno = abs(why);
	if (why == ENOENT && k->o->qemu == NULL)
		return fail(k, "%s is not installed (Debian: %s)",
			    k->qemu.argv[0], guest_machine(&k->guest)->package);
	return fail(k, "-qemu %s: %s:", k->qemu.argv[0], why < 0
		    ? "no room for its fds (ulimit -n)" : "cannot be executed");
}

/* Ends QEMU and its group, and waits for them. A wrapper may have left that
 * for one of its own, as timeout(1) and setsid(1) do. */
static void vm_end(struct vm *v)
{
	if (v->warden > 0)
		(void)kill(-v->warden, SIGKILL);
	if (v->pid > 0 && !v->ended) {
		(void)kill(-v->pid, SIGKILL);
		(void)kill(v->pid, SIGKILL);
		(void)child_wait(v->pid, &v->wait_status);
	}
	(void)child_wait(v->warden, NULL);
	(void)child_wait(v->tpm, NULL);
	v->warden = v->tpm = 0;
	tpm_remove(v->tpm_dir);
}

/* The CPU time that QEMU has used; false if that is not known. A child that is
 * not QEMU (yet) says nothing of the guest. */
static bool vm_cpu(const struct vm *v, uint64_t *ns)
{
	char link[32], exe[PATH_SIZE];
	clockid_t clock;
	ssize_t n;

	(void)snprintf(link, sizeof link, "/proc/%ld/exe", (long)v->pid);
	n = readlink(link, exe, sizeof exe - 1);
	exe[n > 0 ? n : 0] = '\0';
	if (v->ended || strstr(exe, "qemu") == NULL
	    || clock_getcpuclockid(v->pid, &clock) != 0)
		return false;
	*ns = clock_ns(clock);
	return true;
}

/* Whether a thread of QEMU waits for a processor, or for memory, just now: then
 * the host is busy, and the guest is not halted. Adds to *ns how long they have
 * waited so far; half of BOOT_WAIT_MS is worth as much as BOOT_CPU_MS. */
static bool vm_starves(const struct vm *v, uint64_t *ns)
{
	char path[64];
	struct dirent *e;
	bool starves = false;
	DIR *dir;

	(void)snprintf(path, sizeof path, "/proc/%ld/task", (long)v->pid);
	dir = opendir(path);
	while (dir != NULL && (e = readdir(dir)) != NULL) {
		char stat[256] = "", schedstat[64] = "", *s;

		(void)snprintf(path, sizeof path, "/proc/%ld/task/%.16s/stat",
			       (long)v->pid, e->d_name);
		(void)file_head(path, stat, sizeof stat - 1);
		s = strrchr(stat, ')'); /* ") R ...", see proc(5) */
		starves |= s != NULL && strchr("RD", s[2]) != NULL;
		(void)snprintf(path, sizeof path, "/proc/%ld/task/%.16s/"
			       "schedstat", (long)v->pid, e->d_name);
		(void)file_head(path, schedstat, sizeof schedstat - 1);
		(void)strtoull(schedstat, &s, 10);
		*ns += strtoull(s, NULL, 10) * 2 * BOOT_CPU_MS / BOOT_WAIT_MS;
	}
	if (dir != NULL)
		(void)closedir(dir);
	return starves;
}

/* Starts QEMU; on failure nothing is left open or running. */
static int vm_spawn(struct ktest *k)
{
	struct vm *v = &k->vm;
	const struct guest *g = &k->guest;
	const size_t tpm = FD_END + g->wire_count + g->disk_count;
	int source[FD_END + WIRES_MAX + DISKS_MAX + 1], error[2] = { -1, -1 };
	int log, result = -1;

	vm_reset(v);
	for (size_t i = 0; i < COUNT(source); i++)
		source[i] = -1;
	if (vm_open(k, source) == 0 && make_pipe(k, error) == 0
	    && tpm_prepare(k) == 0)
		result = warden_start(k);
	log = source[FD_END];
	source[FD_END] = -1;
	for (size_t i = 0; i < g->wire_count; i++)
		source[FD_END + i] = g->wire[i].fd;
	for (size_t i = 0; i < g->disk_count; i++)
		source[FD_END + g->wire_count + i] = g->disk[i].fd;
	if (result == 0 && k->o->tpm != NULL)
		result = tpm_start(k, log, error[1], &source[tpm]);
	if (result == 0 && (v->pid = fork()) == 0)
		spawn_child(k->qemu.argv, source, (int)tpm + 1, log, error[1],
			    v->warden);
	if (result == 0 && v->pid < 0)
		result = fail(k, "fork:");
	for (int i = 0; i < FD_END; i++)
		if (fd_kind_of(g, &k->attempt, i) != FD_FILE)
			close_fd(&source[i]);
	close_fd(&source[tpm]);
	close_fd(&log);
	close_fd(&error[1]);
	if (result == 0)
		result = spawn_result(k, error[0]);
	close_fd(&error[0]);
	if (result < 0) {
		vm_end(v);
		vm_close(v);
		v->pid = 0;
		return -1;
	}
	v->phase = PHASE_BOOT;
	v->start = now_ms();
	vm_streams(k);
	step(k, "QEMU runs: pid %ld, %s, acpi=%s", (long)v->pid,
	     accel_names[k->attempt.accel], acpi_names[k->attempt.acpi]);
	return 0;
}

/* ==== 14. Health ========================================================
 * What the kernel says -> findings: its reports of its own failures, and what
 * they do to the exit status. Its log comes over a vport, whatever the console
 * shows of it; once the guest is dead, the console has what init could not send
 * any more. A second witness is /proc/sys/kernel/tainted, before the program
 * and after it.
 */
#define PANIC "Kernel panic - not syncing: " /* kernel/panic.c */
#define HEX4 "[0-9a-f][0-9a-f][0-9a-f][0-9a-f]"

/* What the last line of a report begins with. */
#define TRACE "---[ end " /* kernel/panic.c: the trace, or the panic */
#define TASK " </TASK>"   /* arch/x86/kernel/dumpstack.c */
#define FRAME "======"

/* Lines that begin a report, as patterns of fnmatch(); the first row that fits
 * counts. What memory or a task did not survive, and what taints the kernel as
 * died, or for a bad page or a machine check, has FAILED, else it is a warning.
 * In a report only a worse line begins another. */
static const struct symptom {
	const char *line, *end;
	enum severity severity;
	enum {
		ALONE,
		FRAMED,              /* only behind a row that says NOTHING */
		TIMED                /* a host that is busy can cause it */
	} how;
} symptoms[] = {
	/* kernel/panic.c; kernel/locking/lockdep.c, mm/slub.c and others */
	{ "------------[[] cut here ]------------", TRACE, NOTHING, ALONE },
	{ FRAME "*", TRACE, NOTHING, ALONE },
	/* kernel/panic.c, __warn(); lockdep.c; its lookup_chain_cache_add() */
	{ "WARNING: *:[0-9]* at *", TRACE, WARNED, FRAMED },
	{ "WARNING: CPU: *", TRACE, WARNED, FRAMED },
	{ "WARNING: *", TASK, WARNED, FRAMED },
	{ "[[] BUG: *", TASK, WARNED, FRAMED },
	{ "INFO: trying to register non-static key.", TASK, WARNED, ALONE },
	{ "BUG: MAX_* too low!", TASK, WARNED, ALONE },
	/* lib/refcount.c, lib/debugobjects.c, lib/ubsan.c */
	{ "refcount_t: *", TRACE, WARNED, FRAMED },
	{ "ODEBUG: *", TRACE, WARNED, FRAMED },
	{ "UBSAN: * in *", FRAME, WARNED, FRAMED },
	/* kernel/sched/core.c, lib/smp_processor_id.c, kernel/kcsan/report.c */
	{ "BUG: sleeping function called from *", TASK, WARNED, ALONE },
	{ "BUG: scheduling *", TASK, WARNED, ALONE },
	{ "BUG: assuming *", TASK, WARNED, ALONE },
	{ "BUG: using * in preemptible *", TASK, WARNED, ALONE },
	{ "BUG: KCSAN: *", FRAME, WARNED, FRAMED },
	/* kernel/workqueue.c, watchdog.c, watchdog_hld.c, hung_task.c */
	{ "BUG: workqueue leaked lock *", TASK, WARNED, ALONE },
	{ "BUG: workqueue lockup - pool*", TASK, WARNED, TIMED },
	{ "watchdog: BUG: soft lockup - *", TASK, WARNED, TIMED },
	{ "*atchdog: *detected hard LOCKUP on *", TASK, WARNED, TIMED },
	{ "INFO: task *:[0-9]* blocked for more than *", TASK, WARNED, ALONE },
	/* kernel/rcu/tree_stall.h, tree_exp.h, tasks.h */
	{ "*INFO: rcu_* detected *stall*", TASK, WARNED, TIMED },
	{ "*INFO: rcu_* self-detected stall *", TASK, WARNED, TIMED },
	/* mm/kasan/report.c, mm/kfence/report.c, mm/kmsan/report.c */
	{ "BUG: K[A-Z]*AN: *", FRAME, FAILED, FRAMED },
	{ "BUG: KFENCE: *", FRAME, FAILED, FRAMED },
	/* mm/slub.c; mm/page_alloc.c, memory.c, filemap.c, kernel/fork.c */
	{ "BUG [!-~]* (*): *", TASK, FAILED, FRAMED },
	{ "BUG: Bad *", TASK, FAILED, ALONE },
	/* lib/list_debug.c, mm/usercopy.c, lib/string_helpers.c */
	{ "list_[ad][de][dl] corruption*", TRACE, FAILED, ALONE },
	{ "usercopy: Kernel memory * attempt *", TRACE, FAILED, ALONE },
	{ "detected buffer overflow in *", TRACE, FAILED, ALONE },
	/* lib/bug.c; arch/x86/mm/fault.c, traps.c; kernel/locking/ */
	{ "kernel BUG at *", TRACE, FAILED, ALONE },
	{ "BUG: *", TRACE, FAILED, ALONE },
	/* die() and what it calls: arch/x86/kernel/dumpstack.c, s390's;
	 * arm64's traps.c; riscv's */
	{ "*: " HEX4 " [[]#[0-9]*]*", TRACE, FAILED, ALONE },
	{ "*: " HEX4 " ilc:[0-9] [[]#[0-9]*]*", TRACE, FAILED, ALONE },
	{ "Internal error: *[[]#[0-9]*]*", TRACE, FAILED, ALONE },
	{ "Oops* [[]#[0-9]*]*", TRACE, FAILED, ALONE },
	{ "Kernel BUG [[]#[0-9]*]*", TRACE, FAILED, ALONE },
	/* arch/x86/kernel/cpu/mce/core.c, __print_mce(); kernel/panic.c */
	{ "mce: [[]Hardware Error]: CPU *Machine Check*", TRACE, FAILED, ALONE },
	{ PANIC "*", TRACE, FAILED, ALONE },
	/* mm/kmemleak.c, print_unreferenced() */
	{ "unreferenced object 0x*", NULL, FAILED, ALONE },
};

/* -- Lines, and the rings that keep the last of them -- */
static void ring_put(struct ring *r, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		r->at[(r->total + i) % RING_SIZE] = s[i];
	r->total += n;
}

/* The ring in order, in to[RING_SIZE]; returns its length. */
static size_t ring_text(const struct ring *r, char *to)
{
	size_t n = r->total < RING_SIZE ? (size_t)r->total : RING_SIZE;

	for (size_t i = 0; i < n; i++)
		to[i] = r->at[(r->total - n + i) % RING_SIZE];
	return n;
}

/* The line at s, as far as it fits; returns where the next one is, or end. */
static const char *line_copy(const char *s, const char *end, char *out,
			     size_t size)
{
	const char *nl = line_end(s, end);

	(void)snprintf(out, size, "%.*s", (int)(nl - s), s);
	out[strcspn(out, "\r")] = '\0';
	return nl + (nl < end);
}

/* The first line of text in which what stands, from there on. */
static bool find_line(const char *s, size_t n, const char *what, char *out,
		      size_t size)
{
	const char *p = memmem(s, n, what, strlen(what));

	out[0] = '\0';
	if (p != NULL)
		(void)line_copy(p, s + n, out, size);
	return p != NULL;
}

/* The same of what QEMU said, ... */
static bool qemu_said(const struct ktest *k, const char *what,
		      char line[QUOTE_SIZE])
{
	return find_line(k->said, k->said_len, what, line, QUOTE_SIZE);
}

/* ... and of the guest's console, which is in k->scratch then. */
static bool console_said(struct ktest *k, const char *what,
			 char line[QUOTE_SIZE])
{
	const size_t n = ring_text(&k->console, k->scratch);

	return find_line(k->scratch, n, what, line, QUOTE_SIZE);
}

/* What stands behind the time and the caller of a line that the console shows,
 * "[    1.234567][   T12] TEXT" (kernel/printk/printk.c, info_print_prefix());
 * *us is the time, left as it is where there is none. */
static const char *line_text(const char *s, long long *us)
{
	unsigned long sec, part;
	int n = 0;

	if (sscanf(s, "[%lu.%6lu]%n", &sec, &part, &n) < 2 || n == 0)
		return s;
	*us = (long long)(sec % (LLONG_MAX / 2000000) * 1000000 + part);
	if (s[n] == '[' && strchr(s + n, ']') != NULL)
		n += (int)(strchr(s + n, ']') - (s + n)) + 1;
	return s + n + (s[n] == ' ');
}

/* The time of the line at s, before end; `without` if it has none. */
static long long line_time(const char *s, const char *end, long long without)
{
	char head[64]; /* what sscanf() reads has to end */

	(void)line_copy(s, end, head, sizeof head);
	(void)line_text(head, &without);
	return without;
}

/* Where the line s[n] begins in from[], which ends at end; NULL: nowhere. */
static const char *line_find(const char *from, const char *end, const char *s,
			     size_t n)
{
	for (const char *p = from, *nl; p < end; p = nl + (nl < end)) {
		nl = line_end(p, end);
		if (n <= (size_t)(nl - p) && memcmp(p, s, n) == 0
		    && (nl == p + n || p[n] == '\r'))
			return p;
	}
	return NULL;
}

/* -- Reports -- */
/* Looks what share of a processor QEMU has. */
static void health_sample(struct vm *v)
{
	struct health *h = &v->health;
	const long long now = now_ms();

	if (v->phase < PHASE_RUN || (h->sample[1].ms > 0
	    && now - h->sample[1].ms < SHARE_WINDOW_MS))
		return;
	h->sample[0] = h->sample[1];
	if (vm_cpu(v, &h->sample[1].cpu_ns))
		h->sample[1].ms = now;
}

/* Whether QEMU hardly ran in the time that the kernel complains of: what it
 * calls stuck may well be the host's doing. */
static bool health_excuse(const struct vm *v, struct finding *f)
{
	const struct health *h = &v->health;
	const size_t old = h->sample[0].ms > 0 ? 0 : 1;
	const long long ms = now_ms() - h->sample[old].ms;
	uint64_t used;

	if (f->symptom->how != TIMED || h->sample[old].ms == 0 || ms <= 0
	    || !vm_cpu(v, &used))
		return false;
	used = (used - h->sample[old].cpu_ns) / 10000 / (uint64_t)ms;
	if (used >= SHARE_LOW)
		return false;
	(void)snprintf(f->process, sizeof f->process,
		       "QEMU had %d %% of a processor", (int)used);
	return true;
}

/* The report that was being read has ended. */
static void health_end(struct ktest *k)
{
	struct health *h = &k->vm.health;
	struct finding *f = &h->now, *first;
	const struct ktest_list *ignore = &k->o->health_ignore;
	const enum severity is = f->symptom != NULL ? f->symptom->severity
						    : NOTHING;
	size_t i = 0;

	h->seen[is] = true;
	while (i < ignore->count && strstr(f->text_at, ignore->item[i]) == NULL)
		i++;
	if (is != NOTHING && i == ignore->count) {
		first = &h->first[is];
		f->excused = health_excuse(&k->vm, f);
		h->count[is] += !f->excused;
		if (first->symptom == NULL || (first->excused && !f->excused)) {
			*first = *f;
			first->text.at = first->text_at;
		}
	}
	f->symptom = NULL;
}

/* The first row that the line fits; NULL: none. */
static const struct symptom *health_match(const char *line, bool framed)
{
	char head[FINDING_SIZE]; /* a bound for what fnmatch() may try */

	(void)snprintf(head, sizeof head, "%.*s", (int)sizeof head - 1, line);
	for (size_t i = 0; i < COUNT(symptoms); i++)
		if ((framed || symptoms[i].how != FRAMED)
		    && fnmatch(symptoms[i].line, head, 0) == 0)
			return &symptoms[i];
	return NULL;
}

/* "CPU: 0 PID: 70 Comm: cat Not tainted" (lib/dump_stack.c), or "comm "cat",
 * pid 70," (mm/kmemleak.c): whose doing it was. */
static void health_process(struct finding *f, const char *line)
{
	const char *p = strstr(line, "PID: ");
	int pid, n = 0, len;

	if (f->process[0] != '\0')
		return;
	if (p != NULL && sscanf(p, "PID: %d Comm: %n", &pid, &n) == 1 && n > 0) {
		p += n;
		len = (int)strcspn(p, "\n");
		for (const char *q = p; q < p + len; q++)
			if (strncmp(q, " Not tainted", 12) == 0
			    || strncmp(q, " Tainted: ", 10) == 0)
				len = (int)(q - p);
	} else if (sscanf(line, "  comm \"%n%*20[^\"]\", pid %d", &n, &pid) == 1) {
		p = line + n;
		len = (int)strcspn(p, "\"");
	} else {
		return;
	}
	(void)snprintf(f->process, sizeof f->process, "%.*s[%d]",
		       len < 20 ? len : 20, p, pid);
}

/* Takes a line that the kernel wrote: its text, and with its time. */
static void health_line(struct ktest *k, const char *text, const char *line)
{
	struct finding *f = &k->vm.health.now;
	bool framed = f->symptom != NULL && f->symptom->severity == NOTHING;
	const char *end = f->symptom != NULL && !framed ? f->symptom->end : NULL;
	const bool last = end != NULL && strncmp(text, end, strlen(end)) == 0;
	const struct symptom *s = last ? NULL : health_match(text, framed);

	/* of -module: kernel/module/main.c, unknown_module_param_cb() */
	if (k->o->modules.count > 0 && strstr(text, ": unknown parameter '"))
		warn(k, "the kernel says %s", text);
	if (s != NULL && f->symptom != NULL && (s->severity == NOTHING
	    ? f->lines > 1 : !framed && s->severity > f->symptom->severity)) {
		health_end(k);
		framed = false;
	}
	if (s != NULL && f->symptom == NULL) {
		f->lines = 0;
		f->process[0] = '\0';
		text_init(&f->text, f->text_at, sizeof f->text_at);
	}
	if (s != NULL && (f->symptom == NULL || framed)) {
		f->symptom = s;
		(void)snprintf(f->headline, sizeof f->headline, "%.*s",
			       (int)sizeof f->headline - 1, text);
	}
	if (f->symptom == NULL)
		return;
	text_printf(&f->text, "%s\n", line);
	health_process(f, text);
	if (last || f->text.full || ++f->lines == REPORT_LINES
	    || (framed && s == NULL && f->lines == FRAME_LINES))
		health_end(k);
}

/* -- The log -- */
/* A record's text, in which /dev/kmsg has written what is not printable as
 * \xNN (msg_add_ext_text()); each line as the console shows it. */
static void klog_text(struct ktest *k, const char *s, const char *prefix,
		      bool kernel)
{
	struct health *h = &k->vm.health;
	struct text t;
	unsigned c;
	int n;

	do {
		text_init(&t, h->last, sizeof h->last);
		text_add(&t, prefix);
		for (c = 0; *s != '\0' && c != '\n'; s++) {
			c = (unsigned char)*s;
			n = 0;
			if (c == '\\' && sscanf(s, "\\x%2x%n", &c, &n) == 1)
				s += n - 1;
			if (c != '\n' && c != '\0')
				text_bytes(&t, &(char){ (char)c }, 1);
		}
		ring_put(&h->log, t.at, t.len);
		ring_put(&h->log, "\n", 1);
		if (kernel) /* what a process wrote is its own business */
			health_line(k, t.at + strlen(prefix), t.at);
	} while (*s != '\0');
}

/* "PRIORITY,NUMBER,MICROSECONDS,FLAGS[,caller=CALLER];TEXT", see devkmsg_read()
 * in kernel/printk/printk.c. Of a process's PRIORITY bits 3 and up are set. */
static void klog_record(struct ktest *k, const char *s)
{
	struct health *h = &k->vm.health;
	const char *text = strchr(s, ';'), *caller = strstr(s, ",caller=");
	long long priority, number, us;
	char prefix[64];
	int n = 0;

	if (text == NULL || !parse_number(&s, &priority) || *s++ != ','
	    || !parse_number(&s, &number) || *s++ != ','
	    || !parse_number(&s, &us))
		return;
	if (h->next != 0 && (uint64_t)number > h->next)
		h->lost += (uint64_t)number - h->next;
	h->next = (uint64_t)number + 1;
	n = snprintf(prefix, sizeof prefix, "[%5lld.%06lld]", us / 1000000,
		     us % 1000000);
	if (caller != NULL && caller < text)
		n += snprintf(prefix + n, sizeof prefix - (size_t)n, "[%6.*s]",
			      (int)(text - caller - 8 < 12 ? text - caller - 8
				    : 12), caller + 8);
	(void)snprintf(prefix + n, sizeof prefix - (size_t)n, " ");
	klog_text(k, text + 1, prefix, priority < 8);
}

/* The port ktest.log, whose lines init.c specifies. */
static void klog_bytes(struct ktest *k, const char *s, size_t n)
{
	struct health *h = &k->vm.health;
	char *line = h->record;

	h->total += n;
	for (size_t i = 0; i < n; i++) {
		if (s[i] != '\n') {
			if (h->record_len < sizeof h->record - 1)
				line[h->record_len++] = s[i];
			continue;
		}
		line[h->record_len] = '\0';
		h->record_len = 0;
		if (line[0] == '-' && h->next == 0)
			h->lost++; /* at least; else the next number tells */
		else if (strncmp(line, "+unref", 6) == 0)
			health_end(k);
		if (line[0] == '+')
			health_line(k, line + 1, line + 1);
		else
			klog_record(k, line);
	}
}

/* -- The console of a guest that is dead, or was ended -- */
/* Lines that init did not send any more. */
static void console_rest(struct ktest *k)
{
	struct health *h = &k->vm.health;
	const size_t n = ring_text(&k->console, k->scratch);
	const size_t new = k->console.total - h->from < n
			   ? (size_t)(k->console.total - h->from) : n;
	const char *end = k->scratch + n, *p = end - new, *text, *at;
	const uint64_t ours = k->explain.nmi == 0 ? 0 /* a panic of our making */
			      : k->console.total - (k->explain.nmi - 1);
	long long last = -1, us = 0;
	char *line = h->record;

	end -= ours < n ? (size_t)ours : n;
	(void)line_text(h->last, &last);
	while (h->last[0] != '\0'
	       && (at = line_find(p, end, h->last, strlen(h->last))) != NULL) {
		p = line_end(at, end);
		last = -1;
	}
	while (p < end) {
		p = line_copy(p, end, line, sizeof h->record);
		text = line_text(line, &us);
		if (us > last)
			health_line(k, text, line);
	}
}

/* Shows lines, of which the last one may have no end. */
static void show_text(struct ktest *k, const char *s, size_t n)
{
	show(k, -1, s, n, true);
	if (n > 0 && s[n - 1] != '\n')
		show(k, -1, "\n", 1, true);
}

/* Shows what the console said last, and the lines of the log that it was not
 * to show, each once and in order. */
static void show_black_box(struct ktest *k)
{
	const struct ring *log = &k->vm.health.log;
	const char *p = k->scratch, *end = p + ring_text(&k->console, k->scratch);
	const char *s = k->scratch + RING_SIZE, *next, *to;
	const char *s_end = s + ring_text(log, k->scratch + RING_SIZE);
	long long at = 0;

	if (log->total > RING_SIZE) /* its first line is cut */
		s = line_end(s, s_end) + 1;
	for (; s < s_end; s = next + 1) {
		next = line_end(s, s_end);
		if (line_find(p, end, s, (size_t)(next - s)) != NULL)
			continue;
		for (to = p; to < end; to = line_end(to, end) + 1)
			if ((at = line_time(to, end, at)) > line_time(s, s_end, 0))
				break;
		to = to < end ? to : end;
		show(k, -1, p, (size_t)(to - p), true);
		show(k, -1, s, (size_t)(next - s) + (next < s_end), true);
		p = to;
	}
	show_text(k, p, (size_t)(end - p));
}

/* -- Judgement -- */
/* Bits of /proc/sys/kernel/tainted (Documentation/admin-guide/
 * tainted-kernels.rst); others say nothing of the kernel's health. */
static const struct {
	int bit;
	enum severity severity;
	const char *what;
} taints[] = {
	{ 7, FAILED, "D: it had an oops or a BUG" },
	{ 5, FAILED, "B: a bad page, or memory that was misused" },
	{ 4, FAILED, "M: a machine check" },
	{ 9, WARNED, "W: a warning" },
	{ 14, WARNED, "L: a soft lockup" },
};

/* What the log does not tell of. */
static void health_taints(struct ktest *k)
{
	struct health *h = &k->vm.health;
	const uint64_t before = health_boot(k->o) ? 0 : h->taint[0];

	for (size_t i = 0; i < COUNT(taints); i++) {
		struct finding *f = &h->first[taints[i].severity];

		if ((h->taint[1] & ~before & 1u << taints[i].bit) == 0
		    || h->seen[FAILED] || h->seen[taints[i].severity])
			continue;
		h->seen[taints[i].severity] = true;
		h->count[taints[i].severity]++;
		f->symptom = &symptoms[0];
		text_init(&f->text, f->text_at, sizeof f->text_at);
		(void)snprintf(f->headline, sizeof f->headline, "it is tainted"
			       " %s, of which its log says nothing",
			       taints[i].what);
	}
}

/* Whether what was meant to happen has, and nothing worse. */
static int health_expect(struct ktest *k, int status)
{
	const struct health *h = &k->vm.health;
	const int happened = k->vm.phase < PHASE_RUN ? EXPECT_NONE
		: h->happened != EXPECT_NONE ? h->happened
		: h->count[FAILED] > 0 ? EXPECT_OOPS
		: h->count[WARNED] > 0 ? EXPECT_WARN : EXPECT_NONE;

	if (happened != k->o->expect) {
		(void)snprintf(k->finding, sizeof k->finding, "-expect %s: it"
			       " did not happen%s%s", expect_names[k->o->expect],
			       happened != EXPECT_NONE ? ", but " : "",
			       happened != EXPECT_NONE
			       ? expect_names[happened] : "");
		warn(k, "%s", k->finding);
		return KTEST_KERNEL_FAILED;
	}
	step(k, "-expect %s: it happened; status %d", expect_names[happened],
	     status);
	k->error[0] = '\0';
	return 0;
}

/* With -each: kselftest's exit status, and Automake's. */
static bool status_skips(int status)
{
	return status == 4 || status == 77;
}

/* The status of a run whose program has it, or whose guest died. */
static int health_judge(struct ktest *k, int status)
{
	struct health *h = &k->vm.health;
	const struct ktest_options *o = k->o;
	const bool skips = o->each && status_skips(status);

	if (k->end != END_VERDICT && health_asked(o))
		console_rest(k);
	health_end(k);
	if (health_asked(o) && k->end == END_VERDICT)
		health_taints(k);
	if (o->expect != EXPECT_NONE && h->happened == EXPECT_NONE
	    && k->end != END_VERDICT)
		return status;
	if (o->expect != EXPECT_NONE)
		return health_expect(k, status);
	if ((status == 0 || skips) && (h->count[FAILED] > 0
	    || (h->count[WARNED] > 0 && o->health == HEALTH_WARN)))
		return KTEST_KERNEL_FAILED;
	return status;
}

/* What is worth a line and its trace: the first report, and the first that is
 * worse. The last words of a guest that died have the trace already. */
static void health_report(struct ktest *k)
{
	struct health *h = &k->vm.health;
	const bool trace = k->error[0] == '\0' || k->o->console;

	if (h->lost > 0)
		warn(k, "%llu records of the kernel's log were lost", h->lost);
	for (int i = FAILED; i > NOTHING; i--) {
		const struct finding *f = &h->first[i];
		const bool fails = i == FAILED || (k->o->health == HEALTH_WARN
						   && !f->excused);
		char line[FINDING_SIZE + 8], more[48] = "";

		if (f->symptom == NULL || k->o->expect != EXPECT_NONE)
			continue; /* it was meant to happen */
		(void)snprintf(line, sizeof line, "%s%s%s", f->headline,
			       f->process[0] != '\0' ? ", " : "", f->process);
		if (k->finding[0] == '\0')
			(void)snprintf(k->finding, sizeof k->finding, "%.255s",
				       line);
		if (h->happened == EXPECT_PANIC
		    && strncmp(line, PANIC, strlen(PANIC)) == 0)
			continue; /* that line is there */
		if (h->count[i] > 1)
			(void)snprintf(more, sizeof more, " (and %lu more)",
				       h->count[i] - 1);
		warn(k, "the kernel %s: %s%s", fails ? "failed" : "warns", line,
		     more);
		if (trace)
			show(k, -1, f->text.at, f->text.len, true);
	}
	if (k->finding[0] == '\0' && h->happened != EXPECT_NONE)
		(void)snprintf(k->finding, sizeof k->finding, "%.255s", k->error);
}

/* ==== 15. Explain =======================================================
 * What init tells of the guest's tasks, QEMU's monitor of its processors and
 * the kernel on its console -> struct explanation, and from it the one line
 * that says what the guest hangs in. Room 15 asks and listens. Nothing of what
 * comes from the guest is trusted: it may be anything.
 */

/* -- An image that boots -- */
/* What a console shows on the way to the guest agent, the first to come first,
 * by the words of SeaBIOS, OVMF, GRUB, Linux, initramfs-tools, dracut, systemd
 * and agetty; what it means that nothing followed, and after what time. */
static const struct stage {
	const char *text, *reason;
	long long wait;        /* ms */
} stages[] = {
	{ "", "its console (ttyS0) says nothing of how far it came",
	  AGENT_WAIT_MS },
	{ "Booting from Hard Disk", "no boot loader or kernel has spoken",
	  AGENT_WAIT_MS },
	{ "No bootable device", "the BIOS found nothing to boot from", 1000 },
	{ "BdsDxe: failed to load", "UEFI could not start its boot loader",
	  AGENT_WAIT_MS },
	{ "BdsDxe: No bootable option", "UEFI found nothing to boot from",
	  1000 },
	{ "grub> ", "its boot loader waits for a command", 10000 },
	{ "grub rescue> ", "its boot loader did not find its files", 1000 },
	{ "Linux version ", "its kernel has started, and nothing came of it",
	  AGENT_WAIT_MS },
	{ "(initramfs) ", "its initramfs found no root file system", 10000 },
	{ "dracut:/# ", "its initramfs found no root file system", 10000 },
	{ "systemd[1]: ", "its systemd has started, but not the guest agent",
	  AGENT_WAIT_MS },
	{ "in emergency mode", "its systemd is in emergency mode", 30000 },
	{ " login: ", "it is up, but has no guest agent that runs (Debian:"
	  " qemu-guest-agent)", 180000 },
	{ PANIC, "its kernel panicked", 1000 },
};

static const struct stage *image_stage(struct ktest *k)
{
	const size_t n = ring_text(&k->console, k->scratch);
	size_t i = COUNT(stages) - 1;

	while (i > 0 && memmem(k->scratch, n, stages[i].text,
			       strlen(stages[i].text)) == NULL)
		i--;
	return &stages[i];
}

/* What an image does that has not come to its program yet. */
static const char *image_reason(struct ktest *k)
{
	static const char *const steps[] = { [AGENT_EXEC] = "its guest agent"
		" does not answer guest-exec", [AGENT_INIT] = "init was started"
		" in it, and does not speak" };
	const enum agent_step step = k->vm.agent.step;

	return step == AGENT_SYNC ? image_stage(k)->reason : steps[step];
}

/* "NAME.part.0+0x1d/0x24 [MODULE]", as the kernel prints a function (%pS):
 * "NAME [MODULE]". */
static void symbol_take(char out[SYMBOL_SIZE], const char *s)
{
	const char *module = s + strcspn(s, " \r\n");
	size_t len = strncmp(module, " [", 2) == 0
		     ? strcspn(module, "]\r\n") : 0;

	len += len > 0 && module[len] == ']';
	(void)snprintf(out, SYMBOL_SIZE, "%.*s%.*s",
		       (int)strcspn(s, "+. \r\n"), s, (int)len, module);
}

/* A line of init's, see struct explain in init.c. */
static void explain_init_line(struct explanation *e, const char *line)
{
	struct task *t = &e->task[e->task_count], *last = t - 1;
	char wchan[64], call[16];
	int name = 0;

	if (line[0] == '+') {
		text_printf(&e->said, "        %s\n", line + 1);
		if (e->task_count == 0)
			return;
		/* the outermost stays */
		last->exits = last->exits
			|| strncmp(line, "+do_notify_resume+", 18) == 0
			|| strncmp(line, "+irqentry_exit_to_user_mode+", 28)
			   == 0;
		last->user = last->exits || strncmp(line, "+asm_", 5) == 0;
		if (!last->stack)
			symbol_take(last->where, line + 1);
		last->stack = true;
	} else if (sscanf(line, "program %d", &e->program) == 1) {
		return;
	} else if (e->task_count < TASKS_MAX
		   && sscanf(line, "task %d %d %d %c %63s %15s %n", &t->tid,
			     &t->pid, &t->ppid, &t->state, wchan, call, &name)
		      == 6 && name > 0) {
		(void)snprintf(t->name, sizeof t->name, "%s", line + name);
		t->where[0] = '\0';
		t->user = t->stack = t->exits = false;
		text_printf(&e->said, "    %s, pid %d", t->name, t->pid);
		if (t->tid != t->pid)
			text_printf(&e->said, ", thread %d", t->tid);
		text_printf(&e->said, ": state %c, in %s, system call %s\n",
			    t->state, wchan, call);
		if (strcmp(wchan, "-") != 0)
			symbol_take(t->where, wchan);
		e->task_count++;
	} else if (line[0] != '\0') {
		text_printf(&e->said, "    %s\n", line);
	}
}

/* A line of what QEMU's monitor says to "info registers -a": target/i386/
 * cpu-dump.c, "RIP=0 RFL=2 [-------] CPL=0 II=0 ... HLT=0"; s390x/helper.c, the
 * PSW (z/Architecture Principles of Operation, chapter 4); arm/cpu.c and riscv/
 * cpu.c, a line for the address and one for the flags, and nothing of idling. */
static void explain_registers(struct explanation *e, const char *line)
{
	const char *flags = strstr(line, "FL="), *level = strstr(line, "CPL="),
		   *halt = strstr(line, "HLT=");
	struct cpu *c = &e->cpu[e->cpu_count];
	unsigned long long f, ip;

	if (e->cpu_count > 0 && sscanf(line, "PSTATE=%llx", &f) == 1)
		c[-1].irqs_off = (f & 0x80) != 0; /* I */
	else if (e->cpu_count > 0 && sscanf(line, " mstatus %llx", &f) == 1)
		c[-1].irqs_off = (f & 2) == 0; /* SIE */
	if (e->cpu_count == CPUS_MAX)
		return;
	if (flags != NULL && level != NULL && halt != NULL
	    && sscanf(line, "%*3[A-Z]=%llx", &ip) == 1)
		*c = (struct cpu){ .ip = ip, .idles = true,
			.irqs_off = (strtoul(flags + 3, NULL, 16) & 0x200) == 0,
			.user = level[4] == '3', .halted = halt[4] == '1' };
	else if (sscanf(line, "PSW=mask %llx addr %llx", &f, &ip) == 2)
		*c = (struct cpu){ .ip = ip, .idles = true,
			.irqs_off = (f >> 56 & 3) == 0, /* I/O, external */
			.user = f >> 48 & 1, .halted = f >> 49 & 1 };
	else if (sscanf(line, " PC=%llx", &ip) == 1
		 || sscanf(line, " pc %llx", &ip) == 1)
		*c = (struct cpu){ .ip = ip, .user = ip >> 63 == 0 };
	else
		return;
	text_printf(&e->said, "    CPU %zu: %.*s\n", e->cpu_count++,
		    (int)strcspn(line, "\\"), line);
}

struct trace { /* what the kernel printed of a processor */
	int cpu, pid;
	bool irqs_off;
	char symbol[SYMBOL_SIZE];
};

/* The first trace in s[n] of that processor and of that process (-1: of any)
 * that shows it in the kernel. The formats are those of lib/dump_stack.c,
 * dump_stack_print_info(), arch/x86/kernel/dumpstack.c, show_ip(), and
 * process_64.c, __show_regs(). */
static bool trace_find(const char *s, size_t n, int cpu, int pid,
		       struct trace *t)
{
	const char *end = s + n, *p, *q;
	char line[512];

	*t = (struct trace){ .cpu = -1 };
	while (s < end) {
		s = line_copy(s, end, line, sizeof line);
		if ((p = strstr(line, "CPU: ")) != NULL
		    && (q = strstr(p, "PID: ")) != NULL) {
			t->cpu = atoi(p + 5);
			t->pid = atoi(q + 5);
			t->symbol[0] = '\0';
		} else if (t->cpu < 0 || (cpu >= 0 && cpu != t->cpu)
			   || (pid >= 0 && pid != t->pid)) {
			continue;
		} else if (t->symbol[0] == '\0'
			   && (p = strstr(line, "RIP: 0010:")) != NULL) {
			symbol_take(t->symbol, p + 10);
		} else if (t->symbol[0] != '\0'
			   && (p = strstr(line, "EFLAGS: ")) != NULL) {
			t->irqs_off = (strtoul(p + 8, NULL, 16) & 0x200) == 0;
			return true;
		}
	}
	return false;
}

/* The place of its state among some; their number, if it is not one of them. */
static size_t task_state(const struct task *t, const char *states)
{
	return strcspn(states, (char[]){ t->state, '\0' });
}

/* The thread of a process, or of the children of one, that hangs most. */
static const struct task *task_worst(const struct explanation *e, int pid,
				     bool children)
{
	const struct task *worst = NULL;
	size_t best = SIZE_MAX;

	for (size_t i = 0; i < e->task_count; i++) {
		const struct task *t = &e->task[i];
		const size_t rank = task_state(t, "DRS");

		if ((children ? t->ppid : t->pid) == pid && rank < best) {
			worst = t;
			best = rank;
		}
	}
	return worst;
}

static void explain_task(const struct explanation *e, const char *console,
			 size_t n, struct text *t)
{
	static const char *const states[] = {
		"sleeps", "waits uninterruptibly", "is stopped",
		"is stopped by its tracer", "has ended, and nobody waits for it",
		"is in an unknown state",
	};
	const struct task *at = task_worst(e, e->program, false), *child = at;
	struct trace trace;

	if (at == NULL) { /* it has none that the guest told of */
		text_add(t, "the program is not there");
		return;
	}
	for (size_t i = 0; i < TASKS_MAX && child != NULL; i++) {
		at = child;
		child = strncmp(at->where, "do_wait", 7) == 0
			? task_worst(e, at->pid, true) : NULL;
	}
	text_add(t, "the program ");
	if (at->pid != e->program)
		text_printf(t, "waits for %s (pid %d), which ", at->name,
			    at->pid);
	if (at->state != 'R')
		text_printf(t, "%s%s%s", states[task_state(at, "SDTtZ")],
			    at->where[0] != '\0' ? " in " : "", at->where);
	else if (trace_find(console, n, -1, at->tid, &trace))
		text_printf(t, "runs in the kernel: CPU %d spins in %s%s",
			    trace.cpu, trace.symbol, trace.irqs_off
			    ? " with interrupts off" : "");
	else if (at->where[0] == '\0' || at->user)
		text_add(t, "runs (CPU-bound) in user space");
	else
		text_printf(t, "runs in the kernel, in %s", at->where);
}

/* By the registers, and by what the kernel printed at an NMI. A guest that
 * boots need not hang. */
static void explain_cpus(const struct explanation *e, const char *console,
			 size_t n, bool boots, struct text *t)
{
	const struct cpu *c = NULL;
	const char *verb, *off;
	struct trace trace;
	int number = 0, best = -1;

	for (size_t i = 0; i < e->cpu_count; i++) {
		const struct cpu *p = &e->cpu[i];
		const int rank = p->halted ? 0 : p->user ? 1 : 2 + p->irqs_off;

		if (rank > best) {
			c = p;
			best = rank;
			number = (int)i;
		}
	}
	off = c != NULL && c->irqs_off ? " with interrupts off" : "";
	verb = c != NULL && !c->idles ? "is" : boots ? "runs" : "spins";
	if (c == NULL)
		text_add(t, "QEMU's monitor does not answer");
	else if (c->halted)
		text_printf(t, "the kernel is idle%s", off);
	else if (c->user)
		text_printf(t, "CPU %d runs in user space", number);
	else if (trace_find(console, n, number, -1, &trace))
		text_printf(t, "CPU %d %s in %s%s", number, verb, trace.symbol,
			    off);
	else
		text_printf(t, "CPU %d %s in the kernel, at 0x%llx%s", number,
			    verb, c->ip, off);
}

/* The console since the explanation began, in k->scratch; its length. */
static size_t explain_console(struct ktest *k, const char **at)
{
	const size_t n = ring_text(&k->console, k->scratch);
	const uint64_t since = k->console.total - k->explain.console;

	*at = k->scratch + (since < n ? n - (size_t)since : 0);
	return since < n ? (size_t)since : n;
}

/* What the guest hangs in, in one line. */
static void explain_line(struct ktest *k, char *out, size_t size)
{
	const struct explanation *e = &k->explain;
	const struct vm *v = &k->vm;
	const char *console;
	const size_t n = explain_console(k, &console);
	struct text t;

	text_init(&t, out, size);
	if (v->pid == 0) {
		text_add(&t, "there is no guest yet");
	} else if (v->out.len > 0 || v->err.len > 0) {
		text_printf(&t, "nobody reads the program's %s",
			    v->out.len > 0 ? "stdout" : "stderr");
	} else if (v->phase == PHASE_OUTPUT) {
		text_printf(&t, "the program has ended with status %d%s",
			    v->status, v->out.total != v->want_out
			    || v->err.total != v->want_err
			    ? ", but not all of its output is there" : "");
	} else if (k->guest.mode == MODE_MONOGON) {
		text_add(&t, "no verdict");
	} else if (v->phase < PHASE_RUN && k->o->image != NULL
		   && k->attempt.boot != BOOT_RESTORE) {
		text_printf(&t, "the guest still boots: %s", image_reason(k));
	} else if (v->phase < PHASE_RUN) {
		text_add(&t, "the guest still boots");
		if (k->attempt.boot != BOOT_SAVE || e->timeout) {
			text_add(&t, ", ");
			explain_cpus(e, console, n, true, &t);
		}
		if (v->phase == PHASE_BOOT && k->console.total == 0
		    && k->attempt.accel == ACCEL_KVM)
			text_add(&t, ", under kvm, which may not work here"
				 " (-accel tcg)");
	} else if (e->answered && task_worst(e, e->program, false) != NULL) {
		explain_task(e, console, n, &t);
	} else {
		text_add(&t, e->answered ? "init knows no program, "
			 : !e->asked && k->o->reboot ? ""
			 : "init does not answer, ");
		explain_cpus(e, console, n, false, &t);
	}
}

/* Prints what others said, a line at a time: our terminal may be raw. */
static void show_lines(struct ktest *k, const char *s, size_t n)
{
	const char *end = s + n, *next;

	for (; s < end; s = next + (next < end)) {
		next = line_end(s, end);
		show(k, -1, s, (size_t)(next - s)
		     - (next > s && next[-1] == '\r'), false);
		(void)sink_write(k, &k->log, k->vm.raw ? "\r\n" : "\n",
				 1 + k->vm.raw);
	}
}

/* What stands below that line. */
static void explain_show(struct ktest *k)
{
	const struct text *said = &k->explain.said;

	show_lines(k, k->explain.said_at, said->len);
	if (said->full)
		warn(k, "the rest of it is left out");
}

/* ==== 16. Monitor =======================================================
 * What is said with QEMU and, but for its verdict, with init, while a guest is
 * supervised: deadlines, the console, the answer to init's hello; by QEMU's
 * monitor the machine is saved or restored, its memory dumped, and a hang
 * explained. Out: struct vm, k->explain, and k->end when something failed.
 */

/* -- Deadlines: one for each ending that the mere lapse of time causes -- */
static void deadline_set(struct ktest *k, enum ending end, long long ms)
{
	k->vm.deadline[end] = ms > 0 ? now_ms() + ms : 0;
}

/* What runs out when nothing moves, once QEMU has ended, the verdict is there
 * or the job goes to a restored guest, begins anew. */
static void deadlines_move(struct ktest *k)
{
	if (k->vm.deadline[END_QEMU] > 0)
		deadline_set(k, END_QEMU, BYTE_WAIT_MS);
	if (k->vm.deadline[END_STALL] > 0)
		deadline_set(k, END_STALL, STALL_WAIT_MS);
	if (k->vm.deadline[END_LIFELESS] > 0)
		deadline_set(k, END_LIFELESS, ALIVE_WAIT_MS);
}

/* All of them are put off by the time since then, if it is long: we did not run
 * ourselves, or waited for a reader of what we say. */
static void deadlines_pause(struct ktest *k, long long since)
{
	const long long ms = now_ms() - since;

	for (size_t i = 0; i < COUNT(k->vm.deadline); i++)
		if (ms > BYTE_WAIT_MS && k->vm.deadline[i] > 0)
			k->vm.deadline[i] += ms;
}

/* When something has to be looked at without an event. QEMU ends soon when it
 * has closed its stderr, unless it never had ours. */
static long long vm_patience(struct vm *v)
{
	const long long now = now_ms();
	long long until = now + CHILD_TICK_MS;

	if (v->pid > 0 && v->fd[FD_LOG] < 0 && v->hurry_until == 0)
		v->hurry_until = now + BYTE_WAIT_MS;
	if (now < v->hurry_until && !v->ended)
		until = now + 10;
	for (size_t i = 0; i < COUNT(v->deadline); i++)
		if (v->deadline[i] > 0 && v->deadline[i] < until)
			until = v->deadline[i];
	return until;
}

/* -- What QEMU and the kernel say -- */
/* How long KVM may say nothing. An image may be waiting for something. */
static long long kvm_patience(const struct ktest *k)
{
	return k->o->image != NULL ? 6 * KVM_WAIT_MS : KVM_WAIT_MS;
}

/* The black box keeps what the console says. */
static void console_bytes(struct ktest *k, const char *s, size_t n)
{
	ring_put(&k->console, s, n);
	if (k->vm.deadline[END_KVM] > 0) /* a sign of life */
		deadline_set(k, END_KVM, k->guest.system ? 0 : kvm_patience(k));
	if (k->o->console)
		show(k, -1, s, n, true);
}

/* Whether KVM has stopped the guest, for ever, and QEMU stays (its accel/kvm/
 * kvm-all.c, kvm_cpu_exec()): the line that says so. */
static bool kvm_stopped(const struct ktest *k, char line[QUOTE_SIZE])
{
	static const char *const words[] = { "KVM internal error",
		"KVM: entry failed", "KVM: unknown exit", "KVM: exception",
		"kvm run failed" };

	for (size_t i = 0; i < COUNT(words); i++)
		if (qemu_said(k, words[i], line))
			return true;
	return false;
}

/* QEMU's stderr; its beginning is kept. */
static void log_bytes(struct ktest *k, const char *s, size_t n)
{
	size_t room = LOG_SIZE - k->said_len;
	char line[QUOTE_SIZE];

	memcpy(k->said + k->said_len, s, n < room ? n : room);
	k->said_len += n < room ? n : room;
	if (k->o->verbose)
		show(k, -1, s, n, true);
	if (k->attempt.accel == ACCEL_KVM && kvm_stopped(k, line))
		run_stop(k, END_KVM);
}

/* Reads what fd has now and hands it on; closes it at its end. */
static void drain(struct ktest *k, int *fd,
		  void (*bytes)(struct ktest *, const char *, size_t))
{
	ssize_t n = *fd < 0 ? -1 : read(*fd, k->scratch, sizeof k->scratch);

	if (n > 0)
		bytes(k, k->scratch, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		close_fd(fd);
}

/* All that has come by now. */
static void console_drain(struct ktest *k)
{
	for (int i = 0; i < CONSOLE_PIPE_SIZE / STREAM_SIZE; i++)
		drain(k, &k->vm.fd[FD_CONSOLE], console_bytes);
}

/* -- The control port -- */
/* The answer to init's hello, and the job if it has none (-1): once it holds
 * that it says so, and not before may the program run. */
static void control_answer(struct ktest *k, int job)
{
	struct vm *v = &k->vm;
	struct stream *s = &v->job;
	struct stat st = { 0 };

	ports_report(k);
	if (file_head("/dev/urandom", s->data + 8, 32) != 32)
		(void)fail(k, "/dev/urandom:");
	if (job >= 0 && (fstat(job, &st) < 0 || lseek(job, 0, SEEK_SET) < 0))
		(void)fail(k, "the job:");
	if (k->error[0] != '\0')
		run_stop(k, END_OUTPUT);
	put_le(s->data, clock_ns(CLOCK_REALTIME), 8);
	put_le(s->data + 40, (uint64_t)st.st_size, 8);
	put_le(s->data + 48, k->o->reboot ? ++v->boots : 0, 8);
	s->at = 0;
	s->len = ANSWER_SIZE;
	s->from = job;
	s->to = v->fd[FD_CONTROL];
	v->phase = job >= 0 ? PHASE_JOB : PHASE_RUN;
	deadline_set(k, END_LIFELESS, job >= 0 ? ALIVE_WAIT_MS : 0);
	v->health.from = health_boot(k->o) ? 0 : k->console.total;
	deadline_set(k, END_KVM, 0);
	deadline_set(k, END_BOOT_HUNG, 0);
	deadline_set(k, END_AGENT, 0);
	step(k, "init is there");
	terminal_take(k);
	v->resized = k->o->tty; /* it may be, while the guest booted */
}

/* -- The monitor --
 * Saves the machine that runs in QEMU, or has QEMU restore one, by QMP: JSON,
 * one line for each request, each answer and each event (QEMU's docs/interop/
 * qmp-spec.txt). What is asked is fixed; an answer is known by its beginning.
 */
struct monitor_step {
	const char *request;   /* NULL: only the answer is waited for */
	const char *answer;    /* in the line that ends the step; NULL: none */
	int (*then)(struct ktest *k); /* NULL: nothing to do */
};

#define QMP_RETURN "{\"return\":"
#define QMP_EVENT "{\"timestamp\":"
#define QMP_CAPABILITIES "{'execute': 'qmp_capabilities'}\n"

/* Sends a request, and a fd with it (-1: none). */
static int monitor_send(struct ktest *k, const char *request, int fd)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof fd)];
	} u = { .room = { 0 } };
	struct iovec v = { (void *)(uintptr_t)request, strlen(request) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	if (fd >= 0) {
		m.msg_control = u.room;
		m.msg_controllen = sizeof u.room;
		u.header.cmsg_len = CMSG_LEN(sizeof fd);
		u.header.cmsg_level = SOL_SOCKET;
		u.header.cmsg_type = SCM_RIGHTS;
		memcpy(CMSG_DATA(&u.header), &fd, sizeof fd);
	}
	if (sendmsg(k->vm.fd[FD_MONITOR], &m, MSG_NOSIGNAL) < 0)
		return fail(k, "QEMU's monitor:");
	return 0;
}

/* Gives QEMU the pipe that the devices' state will come through. */
static int monitor_give_state(struct ktest *k)
{
	int theirs, result;

	if (spawn_pair(k, FD_FROM_QEMU, &k->vm.fd[FD_STATE], &theirs) < 0)
		return -1;
	result = monitor_send(k, "{'execute': 'getfd', 'arguments':"
			      " {'fdname': 'state'}}\n", theirs);
	(void)close(theirs);
	return result;
}

/* Whether the guest's clock would run right, whose rate was fixed when it was
 * booted, and whether this QEMU is the one that saved it. */
static int monitor_version(struct ktest *k)
{
	const struct trailer *t = &k->snapshot.saved;
	unsigned long now;
	uint64_t off;

	(void)snprintf(k->snapshot.now.qemu, sizeof k->snapshot.now.qemu,
		       "%.255s", k->vm.reply);
	if (k->attempt.boot != BOOT_RESTORE)
		return 0;
	now = t->tick_khz != 0 ? tick_khz(k) : 0;
	off = now > t->tick_khz ? now - t->tick_khz : t->tick_khz - now;
	if (off > t->tick_khz / TICK_TOLERANCE)
		return fail(k, "the host's clock ticks with %lu kHz, the snapshot's"
			    " with %lu", now, (unsigned long)t->tick_khz);
	if (strcmp(t->qemu, k->snapshot.now.qemu) != 0)
		return fail(k, "QEMU's version: %s", k->snapshot.now.qemu);
	return 0;
}

static int monitor_incoming(struct ktest *k)
{
	char request[128];

	(void)snprintf(request, sizeof request, "{'execute':"
		       " 'migrate-incoming', 'arguments': {'uri': 'fd:%d'}}\n",
		       FD_FIRST + FD_STATE);
	return monitor_send(k, request, -1);
}

/* The guest has run until its devices were saved, and never will again; the
 * save is over when their state has come to an end, too. QEMU ends before we
 * close what it would tell the guest of, in memory that is saved by now. */
static int monitor_saved(struct ktest *k)
{
	k->vm.phase = PHASE_SAVED;
	return monitor_send(k, "{'execute': 'quit'}\n", -1);
}

/* Whether nobody else speaks with it. A machine that is to be saved needs its
 * greeting for that; but not if the run ends. */
static bool monitor_free(const struct ktest *k)
{
	const struct vm *v = &k->vm;

	return v->fd[FD_MONITOR] >= 0 && v->phase != PHASE_MONITOR
	       && v->phase != PHASE_SAVED
	       && (k->attempt.boot != BOOT_SAVE || k->explain.timeout);
}

/* Asks QEMU's monitor, when nobody else speaks with it. */
static void monitor_ask(struct ktest *k, const char *request, int fd)
{
	struct vm *v = &k->vm;

	if (!monitor_free(k))
		return;
	if ((!v->monitor_open && monitor_send(k, QMP_CAPABILITIES, -1) < 0)
	    || monitor_send(k, request, fd) < 0)
		k->error[0] = '\0'; /* then it does not answer */
	v->monitor_open = true;
}

/* Has the machine paused where QEMU would end. */
static void dump_prepare(struct ktest *k)
{
	if (k->o->dump != NULL)
		monitor_ask(k, "{'execute': 'set-action', 'id': 'pause',"
			    " 'arguments': {'shutdown': 'pause'}}\n", -1);
}

/* -- Restarts: -reboot --
 * Until init says hello QEMU ends where the guest restarts, as it does without
 * -reboot; then it resets the machine, a few times, since SeaBIOS needs several
 * for one. So what cannot boot does not try for ever.
 */
enum { RESETS_MAX = 3 };

static void reboot_allow(struct ktest *k, bool allow)
{
	k->vm.resets = allow ? 0 : k->vm.resets + 1;
	if (k->o->reboot && (allow || k->vm.resets == RESETS_MAX))
		monitor_ask(k, allow ? "{'execute': 'set-action', 'id': 'reboot',"
			    " 'arguments': {'reboot': 'reset'}}\n"
			    : "{'execute': 'set-action', 'id': 'reboot',"
			    " 'arguments': {'reboot': 'shutdown'}}\n", -1);
}

/* The machine was reset. By a panic, that is the end. */
static void guest_reset(struct ktest *k)
{
	char line[512];

	k->vm.reset = false;
	k->vm.message_len = 0;
	console_drain(k);
	reboot_allow(k, false);
	if (k->attempt.accel == ACCEL_TCG)
		deadline_set(k, END_BOOT_HUNG, BOOT_WAIT_MS);
	if (find_line(k->scratch, ring_text(&k->console, k->scratch), PANIC, line,
		      sizeof line))
		monitor_ask(k, "{'execute': 'quit'}\n", -1);
}

static uint64_t unread(int fd)
{
	int n = 0;

	return fd >= 0 && ioctl(fd, FIONREAD, &n) == 0 ? (uint64_t)n : 0;
}

/* Init says hello anew. All that has come by now is of the guest before. */
static void guest_restarted(struct ktest *k)
{
	struct vm *v = &k->vm;

	v->restarts = false;
	for (int i = 0; i < 16 && unread(v->fd[FD_KLOG]) > 0; i++)
		drain(k, &v->fd[FD_KLOG], klog_bytes);
	v->health.record_len = 0;
	v->health.next = 0;
	v->before_log = v->health.total;
	v->before_out = v->out.total + unread(v->out.from);
	v->before_err = v->err.total + unread(v->err.from);
	console_drain(k);
	if (health_asked(k->o))
		console_rest(k);
	health_end(k);
	v->health.last[0] = '\0';
	step(k, "the guest has restarted");
	control_answer(k, -1);
	reboot_allow(k, true);
}

static int monitor_resumed(struct ktest *k)
{
	deadline_set(k, END_MONITOR, 0);
	k->vm.monitor_open = true;
	control_answer(k, k->initramfs);
	dump_prepare(k);
	return 0;
}

#define MONITOR_BEGIN \
	{ NULL, "{\"QMP\":", monitor_version }, \
	{ QMP_CAPABILITIES, QMP_RETURN, NULL }, \
	{ "{'execute': 'migrate-set-capabilities', 'arguments':" \
	  " {'capabilities': [" \
	  "{'capability': 'x-ignore-shared', 'state': true}," \
	  "{'capability': 'events', 'state': true}]}}\n", QMP_RETURN, NULL }

static const struct monitor_step save_steps[] = {
	MONITOR_BEGIN,
	{ NULL, NULL, monitor_give_state }, { NULL, QMP_RETURN, NULL },
	{ "{'execute': 'migrate', 'arguments': {'uri': 'fd:state'}}\n",
	  QMP_RETURN, NULL },
	{ NULL, "\"MIGRATION\", \"data\": {\"status\": \"completed\"}",
	  monitor_saved },
};

static const struct monitor_step restore_steps[] = {
	MONITOR_BEGIN,
	{ NULL, NULL, monitor_incoming }, { NULL, QMP_RETURN, NULL },
	{ NULL, "\"event\": \"RESUME\"", monitor_resumed },
};

/* Goes on to the next step that has something to wait for. */
static int monitor_next(struct ktest *k)
{
	const struct monitor_step **s = &k->vm.step;

	for (; k->vm.phase == PHASE_MONITOR; ++*s) {
		if ((*s)->request != NULL
		    && monitor_send(k, (*s)->request, -1) < 0)
			return -1;
		if ((*s)->answer != NULL)
			return 0;
		if ((*s)->then(k) < 0)
			return -1;
	}
	return 0;
}

/* A line of the monitor, which is in v->reply; the last step's ends the phase. */
static int monitor_line(struct ktest *k)
{
	struct vm *v = &k->vm;
	const struct monitor_step *s = v->step;

	if (strstr(v->reply, s->answer) != NULL) {
		v->step++;
		return s->then != NULL && s->then(k) < 0 ? -1 : monitor_next(k);
	}
	if (strncmp(v->reply, QMP_EVENT, strlen(QMP_EVENT)) != 0
	    || strstr(v->reply, "\"failed\"") != NULL)
		return fail(k, "QEMU's monitor says %.500s", v->reply);
	return 0;
}

/* Moves some of the devices' state: behind the memory of a machine that is
 * saved, from there to one that is restored. */
static int monitor_move(struct ktest *k)
{
	struct vm *v = &k->vm;
	int *fd = &v->fd[FD_STATE];
	const struct snapshot *s = &k->snapshot;
	const bool save = k->attempt.boot == BOOT_SAVE;
	const off_t at = (off_t)(s->now.memory + v->state_len);
	const uint64_t left = s->saved.state - v->state_len;
	const ssize_t got = save ? read(*fd, k->scratch, STREAM_SIZE)
		: pread(s->fd, k->scratch, left < STREAM_SIZE ? (size_t)left
			: STREAM_SIZE, at);
	ssize_t n = got;

	if (n > 0)
		n = !save ? write(*fd, k->scratch, (size_t)n)
			: k->o->image != NULL && v->state_len + (size_t)n
						 > STATE_MAX ? 0
			: pwrite(s->memory, k->scratch, (size_t)n, at);
	if (save && n >= 0 && n < got) {
		errno = ENOSPC;
		n = -1;
	}
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return fail(k, "the devices' state:");
	if (n > 0)
		v->state_len += (uint64_t)n;
	if (n == 0)
		close_fd(fd);
	return 0;
}

/* Begins to save the machine, or to restore it. A TSC that a guest writes in
 * its first second is one that KVM synchronises with others (Linux bf328e22e472):
 * saved so early, it would be restored wrong. */
static void monitor_start(struct ktest *k)
{
	const long long age = now_ms() - k->vm.start;
	const long long want = k->attempt.accel == ACCEL_KVM ? KVM_AGE_MS
		: guest_machine(&k->guest)->settles ? SETTLE_MS : 0;
	const bool young = k->attempt.boot == BOOT_SAVE && age < want;

	deadline_set(k, END_KVM, 0);
	deadline_set(k, END_BOOT_HUNG, 0);
	deadline_set(k, END_SAVED, young ? want - age : 0);
	if (young)
		return;
	k->vm.phase = PHASE_MONITOR;
	k->vm.step = k->attempt.boot == BOOT_SAVE ? save_steps : restore_steps;
	deadline_set(k, END_MONITOR, MONITOR_WAIT_MS);
	if (monitor_next(k) < 0)
		run_stop(k, END_MONITOR);
}

/* -- The guest's memory: -dump --
 * A machine that restarts is paused instead, and its memory is written by QEMU
 * to a file of ours; the run ends when that is complete, however it would have
 * ended without.
 */
/* What to ask for, one after the other: QEMU has the first since 8.2; the
 * second is "flattened" (crash reads it, makedumpfile -R undoes that); the last
 * is ELF, and as large as the memory. */
static const char *const dump_formats[] = {
	", 'format': 'kdump-raw-zlib'", ", 'format': 'kdump-zlib'", ""
};

static void dump_ask(struct ktest *k)
{
	char request[256];

	(void)snprintf(request, sizeof request, "{'execute':"
		       " 'dump-guest-memory', 'id': 'dump', 'arguments':"
		       " {'paging': false, 'protocol': 'fd:dump'%s}}\n",
		       dump_formats[k->vm.dump_format]);
	monitor_ask(k, "{'execute': 'getfd', 'arguments': {'fdname': 'dump'}}"
		    "\n", k->vm.dump);
	monitor_ask(k, request, -1);
	k->vm.dump_size = 0;
	k->deadline = now_ms() + DUMP_WAIT_MS;
}

/* Ends the run by end, once the guest's memory is written if it is wanted. */
static void dump_or_stop(struct ktest *k, enum ending end)
{
	struct vm *v = &k->vm;

	if (k->o->dump == NULL || v->dumped != END_NONE || v->ended
	    || v->phase == PHASE_MONITOR || v->phase == PHASE_SAVED) {
		run_stop(k, end);
		return;
	}
	(void)snprintf(v->dump_path, sizeof v->dump_path, "%s.XXXXXX",
		       k->o->dump);
	v->dump = mkostemp(v->dump_path, O_CLOEXEC);
	if (v->dump < 0) {
		warn(k, "-dump %s:", k->o->dump);
		run_stop(k, end);
		return;
	}
	step(k, "the guest's memory goes to %s", k->o->dump);
	v->dumped = end;
	memset(v->deadline, 0, sizeof v->deadline);
	k->explain.possible = false; /* k->deadline is the file's now */
	dump_ask(k);
}

/* The file grows, or there is no use in waiting. Nothing else counts now. */
static void dump_watch(struct ktest *k)
{
	struct stat st;

	if (k->vm.ended)
		run_stop(k, k->vm.dumped);
	if (fstat(k->vm.dump, &st) == 0 && st.st_size > k->vm.dump_size) {
		k->vm.dump_size = st.st_size;
		k->deadline = now_ms() + DUMP_WAIT_MS;
	}
}

/* The answer. A QEMU that lacks the format has written nothing. */
static void dump_answer(struct ktest *k, const char *line)
{
	struct vm *v = &k->vm;
	const bool done = strstr(line, "\"return\"") != NULL;
	struct stat st;

	if (v->dump < 0)
		return;
	if (!done && v->dump_format + 1 < COUNT(dump_formats)
	    && fstat(v->dump, &st) == 0 && st.st_size == 0) {
		v->dump_format++;
		dump_ask(k);
		return;
	}
	(void)fchmod(v->dump, 0644);
	if (!done)
		warn(k, "-dump %s: QEMU's monitor says %.500s", k->o->dump,
		     line);
	else if (rename(v->dump_path, k->o->dump) < 0)
		warn(k, "-dump %s:", k->o->dump);
	else
		close_fd(&v->dump);
	run_stop(k, v->dumped);
}

/* QEMU has ended. What was not complete is removed, and how the run ended is
 * what it would have been without. */
static void dump_end(struct ktest *k)
{
	struct vm *v = &k->vm;

	if (v->dumped == END_NONE)
		return;
	if (v->dump >= 0) {
		warn(k, "-dump %s: it is not complete", k->o->dump);
		(void)unlink(v->dump_path);
		close_fd(&v->dump);
	} else {
		warn(k, "the guest's memory is in %s", k->o->dump);
	}
	if (k->end == END_SIGNAL || k->end == END_OUTPUT)
		return;
	k->over = v->dumped == END_TIMEOUT ? END_TIMEOUT : END_NONE;
	k->end = v->dumped;
	if (k->end == END_QEMU) /* it ended as we wanted */
		v->wait_status = 0;
}

/* -- What the guest hangs in --
 * Its init is asked, and the monitor for the registers; if init does not
 * answer, an NMI makes the kernel say more. Each step has its deadline, that of
 * END_TIMEOUT, and all of them EXPLAIN_MS.
 */
static void explain_begin(struct ktest *k)
{
	struct explanation *e = &k->explain;
	const bool possible = e->possible, timeout = e->timeout;

	memset(e, 0, sizeof *e);
	e->possible = possible;
	e->timeout = timeout;
	e->step = EXPLAIN_ASK;
	e->console = k->console.total;
	e->until = now_ms() + EXPLAIN_MS;
	text_init(&e->said, e->said_at, sizeof e->said_at);
	monitor_ask(k, "{'execute': 'human-monitor-command', 'arguments':"
		    " {'command-line': 'info registers -a'}}\n", -1);
	deadline_set(k, END_TIMEOUT, k->vm.phase == PHASE_RUN ? EXPLAIN_ASK_MS
		     : EXPLAIN_BOOT_MS);
}

static void explain_end(struct ktest *k)
{
	struct explanation *e = &k->explain;
	char line[MESSAGE_SIZE / 2];
	const char *console;
	size_t n;

	e->step = EXPLAIN_NONE;
	deadline_set(k, END_TIMEOUT, 0);
	if (e->timeout) {
		dump_or_stop(k, END_TIMEOUT);
		return;
	}
	console_drain(k);
	explain_line(k, line, sizeof line);
	warn(k, "after %.10g s: %s", (double)(now_ms() - k->start) / 1000,
	     line);
	explain_show(k);
	n = explain_console(k, &console);
	if (!k->o->console)
		show_lines(k, console, n);
}

/* The time of a step is over. The NMI is the end of the guest. */
static void explain_next(struct ktest *k)
{
	struct explanation *e = &k->explain;

	if (e->step != EXPLAIN_ASK || !e->timeout
	    || k->vm.phase != PHASE_RUN) {
		explain_end(k);
		return;
	}
	e->step = EXPLAIN_NMI;
	console_drain(k);
	e->nmi = k->console.total + 1;
	monitor_ask(k, "{'execute': 'inject-nmi'}\n", -1);
	k->vm.deadline[END_TIMEOUT] = e->until;
}

/* A line of init's explanation. */
static void explain_told(struct ktest *k, const char *line)
{
	struct explanation *e = &k->explain;

	if (e->step == EXPLAIN_ASK) {
		e->step = EXPLAIN_LISTEN;
		e->answered = true;
		k->vm.deadline[END_TIMEOUT] = e->until;
	}
	if (e->step != EXPLAIN_LISTEN)
		return;
	explain_init_line(e, line);
	if (line[0] == '\0') /* the end: soon, for k->scratch is in use */
		k->vm.deadline[END_TIMEOUT] = now_ms();
}

/* The machine is paused where it would have restarted. */
static void guest_died(struct ktest *k)
{
	char line[QUOTE_SIZE];

	k->vm.paused = false;
	console_drain(k);
	if (k->explain.timeout) /* by our NMI */
		explain_end(k);
	else if (k->vm.phase == PHASE_RUN || console_said(k, PANIC, line))
		dump_or_stop(k, END_QEMU);
	else if (k->vm.phase == PHASE_OUTPUT /* it was shut down */
		 && k->vm.health.count[FAILED] > 0)
		dump_or_stop(k, END_VERDICT);
	else
		(void)monitor_send(k, "{'execute': 'quit'}\n", -1);
}

/* An image that is to be kept is shut down, and QEMU ends then. By guest-exec,
 * since guest-shutdown calls a shutdown that needs logind. */
static bool agent_shuts_down(struct ktest *k)
{
	static const char request[] = "{\"execute\":\"guest-exec\","
		"\"arguments\":{\"path\":\"/sbin/poweroff\"}}\n";
	struct vm *v = &k->vm;

	if (!k->guest.system || !k->guest.disk[0].rw)
		return false;
	if (v->ended && v->deadline[END_VERDICT] > 0 && v->wait_status != 0)
		warn(k, "-image %s: QEMU failed while it shut down, and it may"
		     " not be whole", k->guest.disk[0].path);
	if (v->ended)
		return false;
	if (v->deadline[END_VERDICT] == 0) {
		if (send(v->fd[FD_AGENT], request, sizeof request - 1,
			 MSG_NOSIGNAL) < 0)
			return false;
		step(k, "the image shuts down");
		deadline_set(k, END_STALL, 0);
		deadline_set(k, END_VERDICT, SHUTDOWN_WAIT_MS);
	}
	if (!deadline_passed(v->deadline[END_VERDICT]))
		return true;
	warn(k, "-image %s: it does not shut down, and may not be whole",
	     k->guest.disk[0].path);
	return false;
}

/* The verdict is there; the kernel may have oopsed meanwhile. */
static void guest_done(struct ktest *k)
{
	health_end(k);
	if (agent_shuts_down(k))
		return;
	if (k->o->dump != NULL && k->vm.health.count[FAILED] > 0)
		dump_or_stop(k, END_VERDICT);
	else
		run_stop(k, END_VERDICT);
}

/* What the monitor says while the guest runs: registers, or news of it. */
static void monitor_said(struct ktest *k, const char *line)
{
	const bool dump = strstr(line, "\"id\": \"pause\"") != NULL;

	if (k->explain.step != EXPLAIN_NONE)
		explain_registers(&k->explain, line);
	if (strstr(line, "\"id\": \"dump\"") != NULL) {
		dump_answer(k, line);
	} else if (strstr(line, "\"error\"") != NULL
		   && (dump || strstr(line, "\"id\": \"reboot\"") != NULL)) {
		(void)fail(k, "%s%s: this QEMU cannot: %.500s", dump ? "-dump "
			   : "-reboot", dump ? k->o->dump : "", line);
		run_stop(k, END_OUTPUT);
	} else if (strstr(line, "\"event\": \"SHUTDOWN\"") != NULL
		   || strstr(line, "\"event\": \"GUEST_PANICKED\"") != NULL) {
		k->vm.paused = k->o->dump != NULL; /* the latter is s390x's */
	} else if (strstr(line, "\"event\": \"RESET\"") != NULL) {
		k->vm.reset = k->o->reboot;
	}
}

/* While it only explains, a newline of a text, which is "\n" there, ends a line
 * as well, and one that is too long is cut. What follows the last answer that a
 * save or a restore waits for says nothing. */
static void monitor_bytes(struct ktest *k, const char *s, size_t n)
{
	struct vm *v = &k->vm;
	const bool steps = v->phase == PHASE_MONITOR;

	for (size_t i = 0; i < n && !(steps && k->end != END_NONE); i++) {
		char *end = v->reply + v->reply_len;

		end[0] = s[i];
		end[1] = '\0';
		if (s[i] == '\n' || (!steps && end > v->reply
				     && strcmp(end - 1, "\\n") == 0)) {
			v->reply[strcspn(v->reply, "\r\n")] = '\0';
			v->reply_len = 0;
			if (!steps)
				monitor_said(k, v->reply);
			else if (v->phase == PHASE_MONITOR
				 && monitor_line(k) < 0)
				run_stop(k, END_MONITOR);
		} else if (v->reply_len + 2 < sizeof v->reply) {
			v->reply_len++;
		} else if (steps) {
			(void)fail(k, "QEMU's monitor says too much");
			run_stop(k, END_MONITOR);
		}
	}
}

/* ==== 17. Supervise =====================================================
 * struct vm -> struct vm: moves bytes between QEMU and the caller until there
 * is a reason to stop, k->end; then leaves no process behind. Everything is an
 * event of one loop: vm_poll() waits and hands on, vm_done() judges. The
 * control port is specified in init.c.
 */
/* -- The guest agent of an image --
 * The ladder to init, and no more: it is asked for a sign of life, writes init
 * into a filesystem in memory, which may be executed from whatever /run is, and
 * starts it, in the root of all control groups (of version 1 there are several),
 * for the agent's own are stopped with it. From there a panic ends the machine.
 * JSON, a line for each request and answer (QEMU's docs/interop/qemu-ga-ref).
 * The agent is the image's, and may say anything.
 */
#define AGENT_SYNC_REQUEST \
	"{\"execute\":\"guest-sync\",\"arguments\":{\"id\":%lld}}\n"
#define AGENT_STATUS_REQUEST \
	"{\"execute\":\"guest-exec-status\",\"arguments\":{\"pid\":%lld}}\n"
#define AGENT_EXEC_REQUEST \
	"{\"execute\":\"guest-exec\",\"arguments\":{\"path\":\"/bin/sh\"," \
	"\"capture-output\":true,\"arg\":[\"-c\",\"{ cd /sys/fs/cgroup; " \
	"set -- ./cgroup.procs; [ -e $1 ] || set -- */cgroup.procs; " \
	"for i; do echo 0 >$i; done; echo -1 >/proc/sys/kernel/panic; " \
	"%s; } 2>/dev/null; cd / && umask 0 && mkdir -pm 755 " IMAGE_DIR \
	" && mount -t tmpfs -o mode=755 ktest " IMAGE_DIR " && cat >" IMAGE_DIR \
	"/init && chmod 700 " IMAGE_DIR "/init && exec " IMAGE_DIR "/init\"]," \
	"\"input-data\":\""

#define GUEST_EXEC_FORBIDDEN "-image: its guest agent does not allow" \
	" guest-exec; allow it (RHEL: in its /etc/sysconfig/qemu-ga): %.*s"
#define GUEST_EXEC_FAILED "-image: its guest agent cannot start init: %.*s"

/* What is saved is a system that is up, if it can tell, and has written what it
 * had to write: else each restored one would. */
#define AGENT_SETTLE "timeout 200 systemctl is-system-running --wait >&2; sync"

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	"abcdefghijklmnopqrstuvwxyz0123456789+/"; /* RFC 4648, section 4 */

static void base64_add(struct text *t, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i += 3) {
		char four[4] = "===";
		uint32_t bits = 0;

		for (size_t j = 0; j < 3; j++)
			bits = bits << 8 | (i + j < n ? (unsigned char)s[i + j]
						      : 0u);
		for (size_t j = 0; j < 4; j++, bits <<= 6)
			four[j] = i + j > n ? '='
				: base64_digits[bits >> 18 & 63];
		text_bytes(t, four, sizeof four);
	}
}

/* As much of it as is right, and as there is room for. */
static void base64_read(struct text *t, const char *s)
{
	const char *digit;
	uint32_t bits = 0;
	int have = 0;

	for (; *s != '\0' && (digit = strchr(base64_digits, *s)) != NULL; s++) {
		char byte;

		bits = bits << 6 | (uint32_t)(digit - base64_digits);
		have += 6;
		if (have < 8)
			continue;
		have -= 8;
		byte = (char)(bits >> have & 255);
		text_bytes(t, &byte, 1);
	}
}

/* Behind the name of a member and its colon; NULL if it has none. In a text of
 * JSON quotes have a backslash before them, so this is no part of one. */
static const char *json_member(const char *line, const char *quoted_name)
{
	const char *p = strstr(line, quoted_name);

	if (p == NULL)
		return NULL;
	p += strlen(quoted_name);
	p += strspn(p, " ");
	return *p == ':' ? p + 1 + strspn(p + 1, " ") : NULL;
}

/* The same, if it is a number that is not negative; else -1. */
static long long json_number(const char *line, const char *quoted_name)
{
	const char *p = json_member(line, quoted_name);
	long long n;

	return p != NULL && parse_number(&p, &n) ? n : -1;
}

/* In fmt is one %.*s. */
static void agent_fail(struct ktest *k, const char *fmt, const char *why)
{
	const size_t n = strcspn(why, "\n");

	(void)fail(k, fmt, n < 500 ? (int)n : 500, why);
	run_stop(k, END_OUTPUT);
}

/* Where a request is written: it replaces one that nobody has read. */
static struct text agent_request(struct vm *v)
{
	struct stream *s = &v->job;
	struct text t;

	text_init(&t, s->data, sizeof s->data);
	s->at = s->len = 0;
	s->to = v->fd[FD_AGENT];
	return t;
}

/* Asks for a sign of life, with a number that no other answer has. */
static void agent_sync(struct vm *v)
{
	struct text t;

	if (v->job.len > 0) /* not even the last one was taken */
		return;
	t = agent_request(v);
	v->agent.number = now_ms();
	text_printf(&t, AGENT_SYNC_REQUEST, v->agent.number);
	v->job.len = t.len;
}

static void agent_begin(struct ktest *k)
{
	k->vm.agent = (struct agent){ .since = now_ms() };
	deadline_set(k, END_AGENT, AGENT_TICK_MS);
	agent_sync(&k->vm);
}

/* The next thing is waited for. */
static void agent_step(struct ktest *k, enum agent_step next)
{
	k->vm.agent.step = next;
	k->vm.agent.since = now_ms();
}

static void agent_exec(struct ktest *k)
{
	struct text t = agent_request(&k->vm);
	struct map m;

	if (map_file(k, "-init", k->guest.init, &m) < 0) {
		run_stop(k, END_OUTPUT);
		return;
	}
	text_printf(&t, AGENT_EXEC_REQUEST, k->attempt.boot == BOOT_SAVE
		    ? AGENT_SETTLE : ":");
	base64_add(&t, m.at, m.size);
	text_add(&t, "\"}}\n");
	unmap_file(&m);
	if (t.full)
		agent_fail(k, "-init %.*s: is too large for an -image",
			   k->guest.init);
	k->vm.job.len = t.len;
	agent_step(k, AGENT_EXEC);
}

/* A line of the agent's. Answers to earlier signs of life are passed over. */
static void agent_line(struct ktest *k, const char *line)
{
	struct agent *a = &k->vm.agent;
	const char *p = json_member(line, "\"exited\"");
	char why[512];
	struct text t;

	text_init(&t, why, sizeof why);
	if (k->vm.phase == PHASE_OUTPUT) { /* no such program: no shutdown */
		if (json_member(line, "\"error\"") != NULL)
			deadline_set(k, END_VERDICT, 1);
	} else if (a->step == AGENT_SYNC) {
		if (json_number(line, "\"return\"") == a->number) {
			step(k, "the image's guest agent is there");
			agent_exec(k);
		}
	} else if (json_member(line, "\"error\"") != NULL) {
		p = json_member(line, "\"desc\"");
		if (a->step == AGENT_EXEC) /* else init may well come up */
			agent_fail(k, strstr(line, "\"CommandNotFound\"") != NULL
				   ? GUEST_EXEC_FORBIDDEN : GUEST_EXEC_FAILED,
				   p != NULL ? p : line);
	} else if (a->step == AGENT_EXEC) {
		a->number = json_number(line, "\"pid\"");
		agent_step(k, AGENT_INIT);
		if (a->number < 0)
			agent_fail(k, "-image: its guest agent answers"
				   " guest-exec with %.*s", line);
	} else if (p != NULL && *p == 't') {
		p = json_member(line, "\"err-data\"");
		base64_read(&t, p != NULL && *p == '"' ? p + 1 : "");
		agent_fail(k, "-image: init did not start in it: %.*s",
			   why[0] != '\0' ? why : "it said nothing");
	}
}

static void agent_bytes(struct ktest *k, const char *s, size_t n)
{
	struct agent *a = &k->vm.agent;

	for (size_t i = 0; i < n && k->end == END_NONE
	     && (k->vm.phase == PHASE_BOOT
		 || k->vm.deadline[END_VERDICT] > 0); i++) {
		a->said[a->said_len] = s[i] != '\n' ? s[i] : '\0';
		if (s[i] == '\n') {
			a->said_len = 0;
			agent_line(k, a->said);
		} else if (++a->said_len == sizeof a->said) {
			agent_fail(k, "-image: its guest agent says too"
				   " much: %.*s", "a line of 4096 bytes");
		}
	}
}

/* Whether an image that boots is to be given up: silence is no reason if there
 * is a -timeout. If not, its agent is asked again, or what became of init. */
static bool agent_late(struct ktest *k)
{
	struct vm *v = &k->vm;
	struct agent *a = &v->agent;
	long long wait;
	struct text t;

	deadline_set(k, END_AGENT, AGENT_TICK_MS);
	if (a->step == AGENT_SYNC && a->console != k->console.total) {
		a->console = k->console.total;
		a->since = now_ms();
	}
	wait = a->step == AGENT_SYNC ? image_stage(k)->wait : AGENT_INIT_MS;
	if (now_ms() - a->since >= wait
	    && (wait < AGENT_WAIT_MS || k->o->timeout == 0)) {
		(void)fail(k, "-image: nothing more comes: %s",
			   image_reason(k));
		return true;
	}
	if (a->step == AGENT_SYNC) {
		agent_sync(v);
	} else if (a->step == AGENT_INIT && v->job.len == 0) {
		t = agent_request(v);
		text_printf(&t, AGENT_STATUS_REQUEST, a->number);
		v->job.len = t.len;
	}
	return false;
}

/* -- What init says -- */
static void control_hello(struct ktest *k)
{
	if (guest_machine(&k->guest)->settles)
		k->vm.start = now_ms();
	if (k->attempt.boot == BOOT_SAVE) {
		monitor_start(k);
		return;
	}
	control_answer(k, k->guest.system ? k->initramfs : -1);
	reboot_allow(k, true);
}

static void control_verdict(struct ktest *k, const char *message)
{
	struct vm *v = &k->vm;

	v->status = (unsigned char)message[1];
	v->want_out = v->before_out + get_le(message + 2, 8);
	v->want_err = v->before_err + get_le(message + 10, 8);
	v->want_log = v->before_log + get_le(message + 18, 8);
	v->health.taint[0] = get_le(message + 26, 8);
	v->health.taint[1] = get_le(message + 34, 8);
	v->phase = PHASE_OUTPUT;
	deadline_set(k, END_STALL, STALL_WAIT_MS);
	step(k, "the program ended: status %d, %llu and %llu bytes",
	     v->status, v->want_out, v->want_err);
}

/* One byte of the control port, when there is a program. */
static void control_byte(struct ktest *k, char c)
{
	struct vm *v = &k->vm;
	char is;

	if (k->end != END_NONE || v->phase == PHASE_OUTPUT)
		return;
	if (v->message_len < sizeof v->message)
		v->message[v->message_len++] = c;
	is = v->message[0];
	if ((is == 'e' || (is == 't' && v->phase == PHASE_RUN)) && c != '\n')
		return; /* a line, which has not ended */
	if (is == 'h' && v->phase == PHASE_BOOT) {
		v->message_len = 0;
		control_hello(k);
	} else if (is == 'h' && v->phase == PHASE_RUN && k->o->reboot) {
		v->message_len = 0;
		v->restarts = true;
	} else if (is == 'l' && v->phase == PHASE_JOB) {
		v->message_len = 0;
		v->phase = PHASE_RUN;
		deadline_set(k, END_LIFELESS, 0);
		step(k, "init has the job");
	} else if (is == 'e') {
		run_stop(k, END_INIT);
	} else if (is == 't' && v->phase == PHASE_RUN) {
		v->message[v->message_len - 1] = '\0';
		v->message_len = 0;
		explain_told(k, v->message + 1);
	} else if (is != 'x' || v->phase != PHASE_RUN) {
		run_stop(k, END_GARBAGE);
	} else if (v->message_len == VERDICT_SIZE) {
		control_verdict(k, v->message);
	}
}

static void control_bytes(struct ktest *k, const char *s, size_t n)
{
	struct vm *v = &k->vm;

	if (k->guest.mode == MODE_MONOGON && v->phase != PHASE_OUTPUT) {
		ports_report(k);
		v->phase = PHASE_OUTPUT;
		v->status = (unsigned char)s[0];
		deadline_set(k, END_STALL, STALL_WAIT_MS);
	}
	for (size_t i = 0; k->guest.mode == MODE_PROGRAM && i < n; i++)
		control_byte(k, s[i]);
}

/* -- Streams -- */
/* Looks in what was typed for the keys that leave a guest which does not
 * listen. They are the guest's as well. */
static void terminal_typed(struct ktest *k, const char *s, size_t n)
{
	static const char leave[] = "\r~.";
	struct vm *v = &k->vm;

	for (size_t i = 0; v->raw && i < n && k->end == END_NONE; i++) {
		v->typed = s[i] == leave[v->typed] ? v->typed + 1
						   : s[i] == '\r';
		if (leave[v->typed] == '\0') {
			(void)fail(k, "left by Enter ~ .");
			run_stop(k, END_OUTPUT);
		}
	}
}

static void stream_write(struct ktest *k, struct stream *s)
{
	const size_t len = s->len < s->chunk ? s->len : s->chunk;
	const bool ours = s == &k->vm.in || s == &k->vm.job;
	const ssize_t n = ours
		? send(s->to, s->data + s->at, len, MSG_NOSIGNAL)
		: write(s->to, s->data + s->at, len);

	if (n >= 0) {
		s->at += (size_t)n;
		s->len -= (size_t)n;
		deadlines_move(k);
		return;
	}
	if (errno == EINTR || errno == EAGAIN)
		return;
	s->len = 0;
	if (ours) { /* nobody reads it now */
		s->from = -1;
	} else if (errno == EPIPE) {
		k->signal = k->end == END_NONE ? SIGPIPE : k->signal;
		run_stop(k, END_SIGNAL);
	} else {
		(void)fail(k, "%s:", s == &k->vm.out ? "stdout" : "stderr");
		run_stop(k, END_OUTPUT);
	}
}

static void stream_read(struct ktest *k, struct stream *s)
{
	ssize_t n = read(s->from, s->data, sizeof s->data);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n > 0) {
		s->at = 0;
		s->len = (size_t)n;
		s->total += (uint64_t)n;
		if (s == &k->vm.in)
			terminal_typed(k, s->data, s->len);
		if (k->guest.mode == MODE_MONOGON) /* the guest's console */
			ports_report(k);
		deadlines_move(k);
		return;
	}
	s->from = -1;
	if (s == &k->vm.in) /* QEMU may drop what it has not read at a close() */
		(void)shutdown(s->to, SHUT_WR);
}

/* What has to be waited for before the stream can move on. */
static struct pollfd stream_poll(const struct stream *s)
{
	if (s->len > 0)
		return (struct pollfd){ .fd = s->to, .events = POLLOUT };
	return (struct pollfd){ .fd = s->from, .events = POLLIN };
}

/* The job is a file, which keeps nobody waiting: its next chunk comes at once. */
static void stream_move(struct ktest *k, struct stream *s)
{
	const bool writes = s->len > 0;

	if (writes)
		stream_write(k, s);
	if (!writes || (s == &k->vm.job && s->from >= 0 && s->len == 0))
		stream_read(k, s);
}

/* Tells the guest how large the terminal is now, or asks what it does, behind
 * what it is told already. */
static void control_tell(struct ktest *k)
{
	struct stream *s = &k->vm.job;
	struct explanation *e = &k->explain;
	unsigned size[2];

	if (s->to < 0 || s->from >= 0 || s->len > 0
	    || (k->vm.phase != PHASE_JOB && k->vm.phase != PHASE_RUN))
		return;
	s->at = 0;
	if (k->vm.resized) {
		terminal_size(k->o->stdin_fd, size);
		s->data[0] = 'w';
		put_le(s->data + 1, size[0], 2);
		put_le(s->data + 3, size[1], 2);
		s->len = 5;
		k->vm.resized = false;
	} else if (e->step == EXPLAIN_ASK && !e->asked
		   && (e->timeout || !k->o->reboot)) { /* who hears it? */
		s->data[0] = 'd';
		s->data[1] = k->o->verbose != 0;
		s->len = 2;
		e->asked = true;
	}
}

/* -- The loop -- */
/* Takes QEMU's end, if it has ended. */
static void vm_reap(struct ktest *k)
{
	struct vm *v = &k->vm;
	pid_t pid = v->ended || v->pid == 0 ? 0
		    : waitpid(v->pid, &v->wait_status, WNOHANG);

	if (pid == 0 || (pid < 0 && errno != ECHILD))
		return; /* ECHILD: it ended, and somebody else waited for it */
	v->ended = true;
	deadline_set(k, END_QEMU, BYTE_WAIT_MS);
	step(k, "QEMU ended");
}

/* Whether a guest that should boot sleeps. On a busy host Linux may take the
 * APIC timer for broken, which TCG's ticks then miss (calibrate_APIC_clock()
 * in arch/x86/kernel/apic/apic.c), and have no other that works. */
static bool vm_boot_hung(struct ktest *k)
{
	struct vm *v = &k->vm;
	uint64_t now;
	bool busy;

	deadline_set(k, END_BOOT_HUNG, BOOT_WAIT_MS);
	if (!vm_cpu(v, &now))
		return false;
	busy = vm_starves(v, &now) || now - v->cpu_ns >= BOOT_CPU_MS * 1000000;
	v->cpu_ns = now;
	return !busy;
}

/* Whether there is a reason to stop now; sets k->end then. */
static bool vm_done(struct ktest *k)
{
	struct vm *v = &k->vm;
	const bool program = k->guest.mode == MODE_PROGRAM;
	const bool flushed = v->out.len == 0 && v->err.len == 0;
	const bool all_read = v->fd[FD_CONTROL] < 0 && v->fd[FD_EARLY] < 0
			      && (v->fd[FD_CONSOLE] < 0 || !program)
			      && v->fd[FD_LOG] < 0 && v->fd[FD_KLOG] < 0
			      && v->out.from < 0 && v->err.from < 0;

	if (k->explain.wanted)
		explain_begin(k);
	if (deadline_passed(v->deadline[END_TIMEOUT]))
		explain_next(k);
	if (v->paused)
		guest_died(k);
	if (v->reset)
		guest_reset(k);
	if (v->restarts)
		guest_restarted(k);
	if (v->dump >= 0) {
		dump_watch(k);
		return k->end != END_NONE;
	}
	if (!flushed) /* the reader takes its time */
		deadlines_move(k);
	if (program && v->phase == PHASE_OUTPUT && flushed
	    && v->out.total == v->want_out && v->err.total == v->want_err
	    && v->health.total == v->want_log)
		guest_done(k);
	if (v->phase == PHASE_SAVED && v->fd[FD_STATE] < 0)
		run_stop(k, END_SAVED);
	if (v->ended && flushed && all_read)
		run_stop(k, END_QEMU);
	if (deadline_passed(v->deadline[END_MONITOR]))
		(void)fail(k, "QEMU's monitor does not answer");
	if (deadline_passed(v->deadline[END_SAVED])) /* it is old enough now */
		monitor_start(k);
	for (int i = 0; i < ENDINGS; i++)
		if (i != END_TIMEOUT && deadline_passed(v->deadline[i])
		    && (i != END_BOOT_HUNG || vm_boot_hung(k))
		    && (i != END_AGENT || agent_late(k)))
			run_stop(k, i != END_STALL || program
				 ? (enum ending)i : END_VERDICT);
	return k->end != END_NONE;
}

/* Who reads what comes from QEMU, but for the streams. */
static const struct {
	enum qemu_fd fd;
	void (*bytes)(struct ktest *k, const char *s, size_t n);
} readers[] = {
	/* these two come first: what was said before a message is before it */
	{ FD_CONSOLE, console_bytes }, { FD_EARLY, console_bytes },
	{ FD_CONTROL, control_bytes }, { FD_LOG, log_bytes },
	{ FD_KLOG, klog_bytes }, { FD_MONITOR, monitor_bytes },
	{ FD_AGENT, agent_bytes },
};

enum { /* places in what vm_poll() waits for */
	AT_WAKE, AT_READERS, AT_STATE = AT_READERS + COUNT(readers),
	AT_JOB, AT_IN, AT_OUT, AT_ERR, AT_LINK,
	AT_ALL = AT_LINK + WIRES_MAX
};

/* What is waited for in this phase; returns how many places it takes. */
static size_t vm_events(struct ktest *k, struct pollfd p[AT_ALL])
{
	const struct vm *v = &k->vm;
	const struct guest *g = &k->guest;
	const bool save = k->attempt.boot == BOOT_SAVE;

	for (size_t i = 0; i < COUNT(readers); i++) {
		const enum qemu_fd fd = readers[i].fd;
		/* Monogon's console is the output; a greeting waits for us */
		const bool skip = fd == FD_CONSOLE ? g->mode == MODE_MONOGON
			: fd == FD_MONITOR && v->phase != PHASE_MONITOR
			  && (!monitor_free(k)
			      || (k->explain.step == EXPLAIN_NONE
				  && k->o->dump == NULL && !k->o->reboot));

		p[AT_READERS + i] = (struct pollfd){
			.fd = skip ? -1 : v->fd[fd], .events = POLLIN };
	}
	p[AT_STATE] = (struct pollfd){ .fd = v->fd[FD_STATE],
					 .events = save ? POLLIN : POLLOUT };
	p[AT_JOB] = stream_poll(&v->job);
	p[AT_IN] = stream_poll(&v->in);
	p[AT_OUT] = stream_poll(&v->out);
	p[AT_ERR] = stream_poll(&v->err);
	if (v->phase < PHASE_RUN) /* another attempt may have to start anew */
		p[AT_IN].fd = -1;
	if (v->fd[FD_CONTROL] < 0)
		p[AT_JOB].fd = -1;
	for (size_t i = 0; i < g->wire_count; i++)
		p[AT_LINK + i] = (struct pollfd){ .fd = g->wire[i].listen,
						    .events = POLLIN };
	return AT_LINK + g->wire_count;
}

/* One turn: waits for an event, and hands on what there is. */
static void vm_poll(struct ktest *k)
{
	struct vm *v = &k->vm;
	struct stream *stream[] = { &v->job, &v->in, &v->out, &v->err };
	struct pollfd p[AT_ALL];
	const long long until = vm_patience(v);
	long long woken;

	control_tell(k);
	(void)run_poll(k, p, vm_events(k, p), until);
	deadlines_pause(k, until);
	woken = now_ms();
	for (size_t i = 0; i < COUNT(readers); i++)
		if (p[AT_READERS + i].revents != 0) {
			drain(k, &v->fd[readers[i].fd], readers[i].bytes);
			if (readers[i].fd == FD_KLOG)
				deadlines_move(k); /* it is of the output */
		}
	if (p[AT_STATE].revents != 0 && monitor_move(k) < 0)
		run_stop(k, END_MONITOR);
	if (v->phase == PHASE_MONITOR && v->fd[FD_MONITOR] < 0) {
		(void)fail(k, "QEMU ended");
		run_stop(k, END_MONITOR);
	}
	if (v->fd[FD_CONTROL] < 0) /* closed just now: job.to is nobody's */
		p[AT_JOB].revents = 0;
	for (size_t i = 0; i < COUNT(stream); i++)
		if (p[AT_JOB + i].revents != 0)
			stream_move(k, stream[i]);
	for (size_t i = 0; i < k->guest.wire_count; i++)
		if (p[AT_LINK + i].revents != 0
		    && link_accept(k, &k->guest.wire[i]) < 0)
			run_stop(k, END_OUTPUT);
	deadlines_pause(k, woken);
	health_sample(v);
	vm_reap(k);
}

/* Waits for the other ends of all links; -1 if one does not come. */
static int links_wait(struct ktest *k)
{
	const struct guest *g = &k->guest;
	size_t i = 0;

	k->vm.phase = PHASE_LINK;
	deadline_set(k, END_LINK, k->o->timeout > 0 ? 0 : LINK_WAIT_MS);
	while (i < g->wire_count && !vm_done(k))
		if (g->wire[i].listen >= 0)
			vm_poll(k);
		else
			i++;
	if (k->end == END_LINK || k->end == END_TIMEOUT)
		return fail(k, "-link %s: nobody came to the other end within"
			    " %lld s", g->wire[i].path,
			    (now_ms() - k->start) / 1000);
	return k->end == END_NONE ? 0 : -1;
}

/* A QEMU that has left our group still holds its end of the serial line. Its
 * init ends the machine when the control port hangs up. */
static void vm_stragglers(struct ktest *k)
{
	struct vm *v = &k->vm;
	const long long end = now_ms() + BYTE_WAIT_MS;
	struct pollfd p = { .fd = v->fd[FD_EARLY], .events = POLLIN };

	close_fd(&v->fd[FD_CONTROL]);
	while (v->fd[FD_EARLY] >= 0 && now_ms() < end) {
		(void)poll(&p, 1, 10);
		drain(k, &v->fd[FD_EARLY], console_bytes);
	}
}

/* Supervises until there is an end, then leaves no process behind. */
static void vm_supervise(struct ktest *k)
{
	struct vm *v = &k->vm;
	const struct ktest_options *o = k->o;
	const bool program = k->guest.mode == MODE_PROGRAM;

	if (k->attempt.boot == BOOT_RESTORE)
		monitor_start(k);
	else if (program && o->gdb == NULL) {
		if (o->accel == ACCEL_AUTO && k->attempt.accel == ACCEL_KVM)
			deadline_set(k, END_KVM, kvm_patience(k));
		if (o->image != NULL)
			agent_begin(k);
		else if (k->attempt.accel == ACCEL_TCG)
			deadline_set(k, END_BOOT_HUNG, BOOT_WAIT_MS);
	}
	k->explain.possible = program;
	if (k->attempt.boot == BOOT_COLD)
		dump_prepare(k);
	while (!vm_done(k))
		vm_poll(k);
	k->explain.possible = false;
	if (k->explain.timeout && k->end != END_SIGNAL && k->end != END_OUTPUT)
		k->end = k->over = END_TIMEOUT; /* however it ended then */
	vm_end(v);
	dump_end(k);
	terminal_give_back(k);
	/* last words: all that the pipes can hold */
	for (int i = 0; i < 2 * CONSOLE_PIPE_SIZE / STREAM_SIZE; i++) {
		if (program)
			drain(k, &v->fd[FD_CONSOLE], console_bytes);
		drain(k, &v->fd[FD_EARLY], console_bytes);
		drain(k, &v->fd[FD_LOG], log_bytes);
		drain(k, &v->fd[FD_KLOG], klog_bytes);
	}
	vm_stragglers(k);
	vm_close(v);
	step(k, "the guest is gone; ktest's own CPU time: %llu us",
	     (unsigned long long)clock_ns(CLOCK_PROCESS_CPUTIME_ID) / 1000);
}

/* ==== 18. Verdict =======================================================
 * struct vm -> another attempt, if what ended this one has a remedy, or the
 * exit status; and if there is none, the one line that says why, with what the
 * guest's kernel and QEMU said last. ktest_run() stands here.
 */

static void explain_init(struct ktest *k)
{
	const char *text = k->vm.message + 1; /* behind its 'e' */
	const char *end = line_end(text, text + k->vm.message_len - 1);

	(void)fail(k, "init gave up: %.*s", (int)(end - text), text);
}

/* There is a verdict, but not all the output that came before it. */
static void explain_lost(struct ktest *k)
{
	const struct vm *v = &k->vm;

	if (v->out.total == v->want_out && v->err.total == v->want_err)
		(void)fail(k, "the kernel's log was lost: %llu of %llu bytes"
			   " came", v->health.total, v->want_log);
	else
		(void)fail(k, "output was lost: %llu of %llu bytes of stdout"
			   " and %llu of %llu of stderr came", v->out.total,
			   v->want_out, v->err.total, v->want_err);
}

/* The guest ended before its program could run. */
static void explain_boot(struct ktest *k)
{
	char line[QUOTE_SIZE];

	if (console_said(k, "] ktest: ", line))
		(void)fail(k, "init gave up: %s%s", line + 9,
			   strstr(line, "no virtio") == NULL ? ""
			   : k->guest.modules_dir[0] != '\0'
			   ? " (see -v, -modules, -acpi)"
			   : " (no modules were found for this kernel: unpack the"
			   " package that has them beside it, or name their"
			   " directory with -modules; -v says where they were"
			   " looked for)");
	else if (console_said(k, "firmware: ", line))
		(void)fail(k, "the firmware gave up: %s (-memory is %lldM)",
			   line + 10, k->o->memory);
	else if (k->o->image != NULL)
		(void)fail(k, "-image: it ended or restarted, and before that %s",
			   image_reason(k));
	else
		(void)fail(k, "the guest ended without an exit code, %s",
			   k->guest.mode == MODE_PROGRAM ? "before init was ready"
			   : "or with no byte on its control port");
}

/* QEMU ended, and without a verdict: why, and whose doing it was. */
static int explain_qemu(struct ktest *k)
{
	struct vm *v = &k->vm;
	char line[QUOTE_SIZE], first[QUOTE_SIZE] = "";
	const char *said = k->said, *end = said + k->said_len;

	do /* a warning comes first, but is no reason */
		said = line_copy(said, end, first, sizeof first);
	while (said < end && strstr(first, ": warning: ") != NULL);
	if (first[0] == '\0')
		(void)snprintf(first, sizeof first, "it said nothing");
	if (WIFSIGNALED(v->wait_status)) {
		(void)fail(k, "QEMU died by signal %d (%s): %s",
			   WTERMSIG(v->wait_status),
			   strsignal(WTERMSIG(v->wait_status)), first);
	} else if (WEXITSTATUS(v->wait_status) != 0 && k->o->bios != NULL
		   && strstr(first, " load PC BIOS ") != NULL) {
		(void)fail(k, "-bios %s: is neither a file here nor one of"
			   " QEMU's own firmware", k->o->bios);
	} else if (WEXITSTATUS(v->wait_status) != 0) {
		(void)fail(k, "QEMU ended with status %d: %s",
			   WEXITSTATUS(v->wait_status), first);
	} else if (v->message_len > 0 && v->message[0] == 'e') {
		explain_init(k);
	} else if (console_said(k, PANIC, line)) {
		(void)fail(k, strstr(line, "memory") == NULL
			   ? "the guest panicked: %s"
			   : "the guest panicked: %s (-memory is %lldM)",
			   line + strlen(PANIC), k->o->memory);
		v->health.happened = EXPECT_PANIC;
	} else if (v->phase == PHASE_OUTPUT) {
		explain_lost(k);
	} else if (v->phase == PHASE_RUN) {
		(void)fail(k, "the guest ended without an exit code, while the"
			   " program ran (restarted, powered off, or a triple"
			   " fault)");
		v->health.happened = EXPECT_RESTART;
	} else {
		explain_boot(k);
	}
	return v->health.happened != EXPECT_NONE ? KTEST_KERNEL_FAILED
						 : KTEST_NO_VERDICT;
}

/* The exit status; when it is ktest's own, k->error says why. */
static int verdict(struct ktest *k)
{
	static const char *const words[ENDINGS] = {
		[END_BOOT_HUNG] = "the guest hangs, and before init is ready",
		[END_LIFELESS] =
			"the guest gives no sign of life, and takes no job",
		[END_SAVED] = "the guest spoke before it had a program",
	};
	const struct vm *v = &k->vm;
	char line[MESSAGE_SIZE / 2];

	switch (k->end) {
	case END_VERDICT:
		return v->status;
	case END_SIGNAL:
		if (k->signal != 0)
			return 128 + k->signal;
		(void)fail(k, "the caller ended the run");
		break;
	case END_QEMU:
		if (k->guest.mode == MODE_MONOGON
		    && v->phase == PHASE_OUTPUT && v->wait_status == 0)
			return v->status;
		return explain_qemu(k);
	case END_TIMEOUT:
		explain_line(k, line, sizeof line);
		(void)fail(k, "timeout after %.10g s: %s",
			   (double)k->o->timeout / 1000, line);
		return KTEST_TIMEOUT;
	case END_INIT:
		explain_init(k);
		break;
	case END_KVM:
		(void)fail(k, "kvm failed: %s", kvm_stopped(k, line) ? line
			   : "no sign of life");
		break;
	case END_STALL:
		explain_lost(k);
		break;
	case END_GARBAGE:
		(void)fail(k, "the guest spoke nonsense on its control port:"
			   " byte 0x%02x", (unsigned char)v->message[0]);
		break;
	default: /* else the line is there */
		if (words[k->end] != NULL)
			(void)fail(k, "%s", words[k->end]);
	}
	return KTEST_NO_VERDICT;
}

/* Shows the guest's and QEMU's last words after the line that says why. */
static void last_words(struct ktest *k)
{
	if (k->vm.pid == 0 || k->end == END_OUTPUT)
		return;
	if (k->end == END_TIMEOUT)
		explain_show(k);
	/* its first line was in ours already */
	if (!k->o->verbose && k->said_len > 0
	    && memmem(k->said, k->said_len - 1, "\n", 1) != NULL) {
		warn(k, "QEMU said");
		show_text(k, k->said, k->said_len);
	}
	if (!k->o->console && (k->console.total | k->vm.health.log.total) != 0) {
		warn(k, "the console's last words");
		show_black_box(k);
	}
}

/* -- Attempts --
 * An attempt that came to nothing before a program could run may be followed
 * by another, on another machine. What ended it picks its remedies from the
 * table; the first one that says AGAIN is taken.
 */
enum remedy_word { NO_REMEDY, AGAIN, GIVE_UP /* k->error says why */ };

/* QEMU could not bind a port: somebody took it between our choice and its
 * bind. Others are tried; one that was asked for is named. */
static enum remedy_word remedy_ports(struct ktest *k, struct attempt *a)
{
	struct guest *g = &k->guest;
	char rule[64];

	for (size_t i = 0; i < g->port_count; i++) {
		port_rule(&g->port[i], rule);
		if (memmem(k->said, k->said_len, rule, strlen(rule)) == NULL)
			continue;
		k->error[0] = '\0';
		if (!g->port[i].any || a->port_tries == PORT_TRIES) {
			(void)fail(k, "-port %s: 127.0.0.1:%d: QEMU cannot"
				   " bind it, it is taken",
				   k->o->ports.item[i], g->port[i].host);
			return GIVE_UP;
		}
		step(k, "port %d was taken: trying others", g->port[i].host);
		a->port_tries++;
		return ports_choose(k, g) == 0 ? AGAIN : GIVE_UP;
	}
	return NO_REMEDY;
}

/* This QEMU was built without seccomp. */
static enum remedy_word remedy_sandbox(struct ktest *k, struct attempt *a)
{
	char why[QUOTE_SIZE];

	if (!a->sandbox || (!qemu_said(k, " -sandbox", why)
			    && !qemu_said(k, "seccomp syscall filter", why)))
		return NO_REMEDY;
	if (k->o->sandbox == SANDBOX_ON) {
		(void)fail(k, "-sandbox on: this QEMU has none (-sandbox auto"
			   " goes without):%s", why);
		return GIVE_UP;
	}
	step(k, "QEMU has no sandbox: trying without:%s", why);
	k->error[0] = '\0';
	a->sandbox = false;
	return AGAIN;
}

/* This QEMU lacks something: it goes without. */
static enum remedy_word remedy_lack(struct ktest *k, struct attempt *a)
{
	static const struct {
		const char *said;
		enum qemu_age age;
	} ages[] = {
		{ "ioapic2' not found", QEMU_BEFORE_6 },
		{ "fsrs' not found", QEMU_BEFORE_8 },
		{ "PC_MACHINE", QEMU_SGX },
	};
	char why[QUOTE_SIZE];

	for (size_t i = 0; i < COUNT(ages); i++) {
		if (a->age >= ages[i].age || !qemu_said(k, ages[i].said, why))
			continue;
		step(k, "QEMU trips: trying without: %s", why);
		k->error[0] = '\0';
		a->age = ages[i].age;
		return AGAIN;
	}
	return NO_REMEDY;
}

/* A machine that was not restored, or does not live, is stale: it is saved
 * anew, but once per run. */
static enum remedy_word remedy_stale(struct ktest *k, struct attempt *a)
{
	struct snapshot *s = &k->snapshot;

	if (a->boot != BOOT_RESTORE)
		return NO_REMEDY;
	if (k->error[0] == '\0')
		(void)verdict(k);
	if (a->saved || snapshot_fd(k->o) >= 0) { /* or others use it */
		snapshot_off(k);
		return AGAIN;
	}
	step(k, "snapshot %s: stale because of %s", s->path, k->error);
	k->error[0] = '\0';
	close_fd(&s->fd);
	*a = s->first;
	snapshot_reserve(k);
	return AGAIN;
}

static enum remedy_word remedy_kvm(struct ktest *k, struct attempt *a)
{
	char why[QUOTE_SIZE];

	if (k->o->accel != ACCEL_AUTO || a->accel != ACCEL_KVM)
		return NO_REMEDY;
	if (!kvm_stopped(k, why)
	    && (k->end == END_KVM || !qemu_said(k, "", why) || why[0] == '\0'))
		(void)snprintf(why, sizeof why, "no sign of life (-accel tcg"
			       " spares the attempt)");
	warn(k, "using tcg, because kvm failed: %s", why);
	a->accel = ACCEL_TCG;
	return AGAIN;
}

/* The guest found no vports, and did not panic, or did not say why it ended:
 * its devices are announced the other way. */
static enum remedy_word remedy_acpi(struct ktest *k, struct attempt *a)
{
	char why[QUOTE_SIZE];

	if (k->o->acpi != ACPI_AUTO || a->acpi_turned
	    || !guest_machine(&k->guest)->acpi
	    || k->guest.mode == MODE_MONOGON /* it may have run, silently */
	    || console_said(k, PANIC, why) || console_said(k, "firmware: ", why)
	    || (console_said(k, "] ktest: ", why)
		&& strstr(why, ": no virtio") == NULL))
		return NO_REMEDY;
	a->acpi_turned = true;
	a->acpi = a->acpi == ACPI_ON ? ACPI_OFF : ACPI_ON;
	step(k, "the guest found no ports: trying acpi=%s",
	     acpi_names[a->acpi]);
	return AGAIN;
}

static enum remedy_word remedy_boot_hung(struct ktest *k, struct attempt *a)
{
	step(k, "the guest hangs");
	return k->vm.boots == 0 && ++a->boot_tries < BOOT_TRIES ? AGAIN : NO_REMEDY;
}

/* The machine is saved: now it is restored. If its file cannot be written,
 * that is for this run alone. */
static enum remedy_word remedy_restore(struct ktest *k, struct attempt *a)
{
	struct snapshot *s = &k->snapshot;

	if (snapshot_finish(k) < 0)
		return NO_REMEDY;
	if (k->o->argv == NULL) { /* it was to be no more than saved */
		k->end = trailer_write(k, s->memory) == 0 ? END_VERDICT : k->end;
		return GIVE_UP;
	}
	if (snapshot_write(k) < 0) {
		warn(k, "-snapshot: it is not kept: %s", k->error);
		k->error[0] = '\0';
		s->fd = s->memory;
		s->memory = -1;
	}
	a->boot = BOOT_RESTORE;
	a->saved = true;
	return AGAIN;
}

/* Without snapshots it may do. A guest that ends by itself does so cold, too. */
static enum remedy_word remedy_cold(struct ktest *k, struct attempt *a)
{
	if (a->boot == BOOT_COLD || k->o->argv == NULL
	    || (a->boot == BOOT_SAVE && k->end == END_QEMU
		&& k->vm.wait_status == 0))
		return NO_REMEDY;
	if (k->end != END_SAVED && k->end != END_MONITOR)
		(void)fail(k, "the machine to be saved ended early");
	snapshot_off(k);
	return AGAIN;
}

#define WHEN(end) (1u << (end))
#define GUEST_ENDED WHEN(ENDINGS) /* END_QEMU, which did not fail */
#define QEMU_FAILED (WHEN(END_QEMU) | WHEN(END_KVM) | WHEN(END_MONITOR))
static const struct {
	unsigned ends;         /* that it is for */
	enum remedy_word (*apply)(struct ktest *k, struct attempt *a);
} remedies[] = {
	{ WHEN(END_BOOT_HUNG), remedy_boot_hung },
	{ QEMU_FAILED, remedy_ports },
	{ QEMU_FAILED, remedy_lack },
	{ QEMU_FAILED, remedy_sandbox },
	{ QEMU_FAILED | GUEST_ENDED | WHEN(END_LIFELESS), remedy_stale },
	{ WHEN(END_QEMU) | WHEN(END_KVM), remedy_kvm },
	{ GUEST_ENDED, remedy_acpi },
	{ WHEN(END_SAVED), remedy_restore },
	{ QEMU_FAILED | GUEST_ENDED | WHEN(END_BOOT_HUNG) | WHEN(END_SAVED),
	  remedy_cold },
};

/* Whether to try again: never once a program may have run. */
static bool attempt_next(struct ktest *k)
{
	const struct vm *v = &k->vm;
	const unsigned ends = k->end == END_QEMU && v->wait_status == 0
			      ? GUEST_ENDED : WHEN(k->end);

	if (v->phase == PHASE_RUN || v->phase == PHASE_OUTPUT
	    || v->message_len > 0 || v->out.total > 0)
		return false;
	for (size_t i = 0; i < COUNT(remedies); i++) {
		enum remedy_word word = NO_REMEDY;

		if ((remedies[i].ends & ends) == 0)
			continue;
		if (!k->over)
			word = remedies[i].apply(k, &k->attempt);
		if (k->over) { /* there is no more time for it */
			k->end = k->over;
			k->error[0] = '\0';
			return false;
		}
		if (word != NO_REMEDY)
			return word == AGAIN;
	}
	return false;
}

/* What this attempt's machine needs in files: an initramfs, and memory that
 * is to become a snapshot's. Both hold what only this attempt is about. */
static int attempt_files(struct ktest *k)
{
	struct snapshot *s = &k->snapshot;
	const enum boot boot = k->attempt.boot;

	close_fd(&k->initramfs);
	close_fd(&s->memory);
	close_fd(&k->kernel);
	if (!k->o->dry_run
	    && fd_kind_of(&k->guest, &k->attempt, FD_KERNEL) != FD_NONE
	    && (k->kernel = kernel_attempt(k, &k->guest)) < 0)
		return -1;
	if (k->guest.mode == MODE_MONOGON || k->o->dry_run
	    || boot == BOOT_RESTORE)
		return 0;
	/* what is wrong with the job costs no boot */
	if ((boot == BOOT_SAVE || k->o->image != NULL) && k->o->argv != NULL
	    && (k->initramfs = archive_build(k, &k->guest, "job",
					     job_write)) < 0)
		return -1;
	if (k->o->image == NULL) {
		close_fd(&k->initramfs);
		k->initramfs = archive_build(k, &k->guest, "initramfs",
					     initramfs_write);
		if (k->initramfs < 0)
			return -1;
	}
	if (boot == BOOT_COLD)
		return 0;
	s->memory = k->o->argv != NULL ? temporary_file(k)
		: fcntl(snapshot_fd(k->o), F_DUPFD_CLOEXEC, 0);
	if (s->memory >= 0 && memory_make(k, s->memory) == 0)
		return 0;
	(void)fail(k, "the guest's memory:");
	if (k->o->argv == NULL)
		return -1;
	snapshot_off(k);
	return attempt_files(k);
}

/* Attempts until there is a verdict; its status, or -1. */
static int run_attempts(struct ktest *k)
{
	struct attempt *a = &k->attempt;
	const char *gdb = k->o->gdb;

	do {
		if (!k->over)
			k->end = END_NONE;
		k->said_len = 0;
		if (!a->acpi_turned) /* else both are worth showing */
			k->console.total = 0;
		if (attempt_files(k) < 0)
			return -1;
		if (a->accel == ACCEL_TCG && a->tick_khz == 0
		    && a->boot != BOOT_RESTORE && guest_machine(&k->guest)->tsc)
			a->tick_khz = tick_khz(k);
		if (qemu_build(k, a) < 0)
			return -1;
		if (k->o->dry_run) {
			qemu_print(&k->qemu, stdout);
			return fflush(stdout) == 0 ? 0 : fail(k, "stdout:");
		}
		if (k->o->verbose)
			log_args(k, -1, k->o->name, k->qemu.argv);
		if (k->over || vm_spawn(k) < 0)
			return -1;
		if (gdb != NULL && a->age == QEMU_ANY) /* the first */
			warn(k, "the guest waits for gdb: target remote %s%s",
			     unix_path(gdb) != NULL ? "" : "127.0.0.1:",
			     unix_path(gdb) != NULL ? unix_path(gdb) : gdb);
		/* the job of a restored machine, while QEMU starts */
		if (a->boot == BOOT_RESTORE
		    && (k->initramfs = archive_build(k, &k->guest, "job",
						     job_write)) < 0)
			run_stop(k, END_OUTPUT);
		vm_supervise(k);
	} while (attempt_next(k));
	return health_judge(k, verdict(k));
}

/* What -shell stands for. guest_program() looks whether there is such one. */
static int options_shell(struct ktest *k)
{
	struct ktest_options *o = &k->options;

	if (!k->o->shell)
		return 0;
	if (k->o->argv != NULL)
		return fail(k, "-shell: is the program, there cannot be %.100s"
			    " as well (-tty runs that)", k->o->argv[0]);
	*o = *k->o;
	k->shell[0] = o->image == NULL ? getenv("SHELL") : NULL;
	if (k->shell[0] == NULL)
		k->shell[0] = (char *)(uintptr_t)"/bin/sh";
	o->argv = k->shell;
	o->tty = 1;
	if (o->rootfs == NULL && o->image == NULL)
		o->rootfs = "/";
	k->o = o;
	return 0;
}

/* A reader that is gone is an EPIPE for this run, and no SIGPIPE for the program
 * around it: that signal is blocked, and taken if it came. sigprocmask(), which
 * is the thread's in practice: pthread_sigmask() is in no libc but newer ones. */
int ktest_run(const struct ktest_options *o, struct ktest_result *r)
{
	const struct timespec now = { 0, 0 };
	struct ktest *k = run_begin(o, r);
	int status = -1;
	sigset_t set, pending, old;

	if (k == NULL)
		return r->status = KTEST_NO_VERDICT;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGPIPE);
	(void)sigpending(&pending);
	(void)sigprocmask(SIG_BLOCK, &set, &old);
	tick_read(&k->tick_start, &k->tick_start_ns);
	if (options_shell(k) == 0 && guest_describe(k, &k->guest) == 0
	    && claim(k) == 0 && links_wait(k) == 0 && snapshot_find(k) == 0)
		status = run_attempts(k);
	if (status < 0 && k->over)
		status = verdict(k);
	if (status < 0)
		status = k->fail_status;
	claim_undo(k);
	if (k->error[0] != '\0')
		say_line(k, k->error);
	health_report(k);
	if (k->error[0] != '\0')
		last_words(k);
	run_end(k, r);
	if (!sigismember(&pending, SIGPIPE))
		(void)sigtimedwait(&set, NULL, &now);
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	return r->status = status;
}

/* ==== 19. Suite =========================================================
 * struct ktest_options with several kernels, or programs (-each) -> a run for
 * each pair, as many at a time as -jobs says; what they wrote, whole and in
 * order; who failed, as text, TAP and JUnit's XML. A run is a child process
 * that calls ktest_run(), with no stdin and with its output in files without a
 * name. wait_fds() waits for signals, all the news there is, and for readers.
 */
#ifndef KTEST_LIB
static int signal_pipe[2];

static void signal_handler(int number)
{
	int saved = errno;
	char byte = (char)number;

	(void)!write(signal_pipe[1], &byte, 1);
	errno = saved;
}

/* What was ignored when we were started, as nohup does, stays ignored. */
static void signals_catch(struct ktest_options *o)
{
	static const int caught[] = { SIGCHLD, SIGINT, SIGTERM, SIGHUP,
				      SIGQUIT, SIGWINCH, SIGTSTP, SIGCONT };
	struct sigaction new = { .sa_handler = signal_handler }, old;

	o->wake_fd = -1;
	/* a pipe: wire_fd() knows both ends of it by either */
	if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return;
	o->wake_fd = signal_pipe[0];
	for (size_t i = 0; i < COUNT(caught); i++)
		if (sigaction(caught[i], NULL, &old) == 0
		    && (old.sa_handler != SIG_IGN || caught[i] == SIGCHLD))
			(void)sigaction(caught[i], &new, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGTTIN, SIG_IGN); /* a background job reads EOF */
	(void)signal(SIGXFSZ, SIG_IGN); /* ulimit -f: an error as others */
}

static void die_by(int number) /* 0: not at all */
{
	sigset_t set;

	if (number == 0)
		return;
	(void)signal(number, SIG_DFL);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, number);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
	(void)raise(number);
}

/* -- TAP --
 * What a program's stdout says: TAP (testanything.org) or KTAP (Linux,
 * Documentation/dev-tools/ktap.rst), whose points nest by indentation. It is
 * TAP if its first line, comments and empty ones aside, is a version, a plan
 * or a point with the number 1. The level of that line has to have a plan, and
 * every level that has one has as many points.
 */
enum tap_kind { TAP_COMMENT, TAP_VERSION, KTAP_VERSION, TAP_PLAN, TAP_BAIL_OUT,
		TAP_OK, TAP_NOT_OK, TAP_OTHER };
static const char *const tap_words[] = { "#", "TAP version ", "KTAP version ",
	"1..", "Bail out!", "ok", "not ok", "" };

struct tap {
	struct tap_level {
		size_t indent;
		long long plan, points; /* -1: there is no plan */
	} level[8];             /* what is deeper counts as the last */
	size_t depth, base;     /* of the last line's level, and the first's */
	size_t points;          /* of all levels */
	bool begun, is;
	char line[1024];        /* the last one, as far as it fits */
	const char *name, *directive; /* a point's; "SKIP why", NULL: none */
	char why[256], skip[128]; /* what is wrong; why its plan is 1..0; or "" */
};

static void tap_level_end(struct tap *t, size_t depth)
{
	const struct tap_level *l = &t->level[depth];

	if (t->why[0] == '\0' && l->points != l->plan
	    && (l->plan >= 0 || depth == t->base))
		(void)snprintf(t->why, sizeof t->why, l->plan < 0
			       ? "%lld points and no plan"
			       : "%lld points of %lld", l->points, l->plan);
}

/* The level of a line with that indentation; deeper ones end, 0: all. */
static struct tap_level *tap_level(struct tap *t, size_t indent)
{
	if (!t->begun) { /* maybe nested ones alone, as in debugfs */
		t->base = t->depth = indent > 0;
		t->level[0] = (struct tap_level){ 0, -1, 0 };
		t->level[t->depth] = (struct tap_level){ indent, -1, 0 };
	}
	while (t->depth > 0 && indent < t->level[t->depth].indent)
		tap_level_end(t, t->depth--);
	if (indent > t->level[t->depth].indent
	    && t->depth + 1 < COUNT(t->level))
		t->level[++t->depth] = (struct tap_level){ indent, -1, 0 };
	return &t->level[t->depth];
}

/* The directive of a point, whose text ends before it from now on. "\#" begins
 * none. */
static const char *tap_directive(char *s)
{
	static const char *const words[] = { "SKIP", "TODO", "XFAIL" };

	for (char *p = s; (s = strchr(s, '#')) != NULL; s++)
		for (size_t i = s > p && s[-1] == '\\' ? COUNT(words) : 0;
		     i < COUNT(words); i++) {
			const size_t n = strlen(words[i]);
			const char *word = s + 1 + strspn(s + 1, " ");

			if (strncasecmp(word, words[i], n) == 0
			    && !isalpha((unsigned char)word[n])) {
				*s = '\0';
				return word;
			}
		}
	return NULL;
}

/* Takes the line s[n]; what it is, if this is TAP. */
static enum tap_kind tap_line(struct tap *t, const char *s, size_t n)
{
	enum tap_kind kind = TAP_COMMENT;
	char *p = t->line;
	long long number;
	struct tap_level *l;

	(void)line_copy(s, s + n, p, sizeof t->line);
	p += strspn(p, " ");
	while (strncmp(p, tap_words[kind], strlen(tap_words[kind])) != 0)
		kind++;
	t->name = p + strlen(tap_words[kind]);
	if ((kind == TAP_OK || kind == TAP_NOT_OK) && t->name[0] != ' '
	    && t->name[0] != '\0')
		kind = TAP_OTHER;
	t->name += strspn(t->name, " ");
	if (!parse_number(&t->name, &number) && kind == TAP_PLAN)
		kind = TAP_OTHER;
	t->name += strspn(t->name, " -");
	if (p[0] == '\0' || kind == TAP_COMMENT)
		return TAP_COMMENT;
	if (!t->begun)
		t->is = kind <= TAP_PLAN || (kind < TAP_OTHER && number == 1);
	l = t->is && kind != TAP_OTHER ? tap_level(t, (size_t)(p - t->line))
				       : NULL;
	t->begun = true;
	if (l == NULL)
		return TAP_OTHER;
	t->directive = tap_directive(p);
	if (kind < TAP_PLAN && (l->plan >= 0 || l->points > 0)) {
		tap_level_end(t, t->depth); /* one stream behind another */
		*l = (struct tap_level){ l->indent, -1, 0 };
	} else if (kind == TAP_PLAN && l->plan < 0) {
		l->plan = number;
		if (number == 0 && t->depth == t->base)
			(void)snprintf(t->skip, sizeof t->skip, "%s",
				       t->directive != NULL ? t->directive : p);
	} else if (kind == TAP_PLAN && t->why[0] == '\0' && l->plan != number) {
		(void)snprintf(t->why, sizeof t->why, "two plans, 1..%lld and"
			       " 1..%lld", l->plan, number);
	}
	l->points += kind == TAP_OK || kind == TAP_NOT_OK;
	t->points += kind == TAP_OK || kind == TAP_NOT_OK;
	if (t->why[0] == '\0' && (kind == TAP_BAIL_OUT
		|| (kind == TAP_NOT_OK && t->directive == NULL)))
		(void)snprintf(t->why, sizeof t->why, "%s", p);
	return kind;
}

/* -- Runs -- */
enum fate { FATE_NONE, PASSED, FLAKY, SKIPPED, FATE_FAILED, BROKEN, FATES };
static const struct { /* BROKEN: it has no verdict */
	const char *word, *junit;
} fates[] = { { "not run", NULL }, { "passed", NULL }, { "flaky",
	"flakyFailure" }, { "skipped", "skipped" }, { "failed", "failure" },
	{ "failed", "error" } };

struct run { /* in memory that its child shares with us */
	size_t number;        /* of its kernel */
	const char *kernel;
	char *program;        /* NULL: none, it saves its kernel's machine */
	char label[512];      /* what of these tells it from others */
	pid_t pid;            /* 0: it is not running */
	int out, err;         /* the same one if stdout and stderr are */
	off_t at;             /* in out, where the last attempt began */
	enum fate fate;
	int status;
	long long tries, start, ms;
	bool tap;             /* its stdout is */
	char why[256];        /* it did not pass, or not at once; or "" */
};

enum { RUNS_AHEAD = LIST_MAX, SLOWEST = 5 };

struct runs {
	struct ktest *k;      /* of the suite itself: messages, and its end */
	struct ktest_options *o;
	char *const *program;
	size_t programs, total; /* of them, of them on all kernels, ... */
	size_t count;         /* ... and of runs, with those that save */
	bool judge;           /* their output, as TAP: then stdout is alone */
	bool lines;           /* a program is a line, with its arguments */
	size_t own;           /* 1: each kernel has a snapshot of our own, ... */
	int snapshot;         /* ... the last started kernel's, -1: it failed */
	bool booting;         /* to be saved: nothing else is started */
	struct run *run;      /* RUNS_AHEAD of them, [printed] to [started] */
	size_t started, printed, ended[FATES], cases[FATES];
	size_t points;        /* of -tap, so far */
	long long running, jobs;
	bool told;            /* that k->over: nothing is started any more */
	bool terminal;        /* stderr is one */
	int status;           /* the first failure's */
	struct sink notes, junit; /* the end's lines so far, and -junit's */
	char junit_path[PATH_SIZE];
	struct run slowest[SLOWEST];
	struct ktest_result result; /* the last run's here */
};

/* How much of the kernels' paths is the same, and not worth repeating. */
static size_t runs_prefix(const struct ktest_list *l)
{
	const char *first = l->item[0];
	size_t common = 0;

	for (size_t n = 0; first[n] != '\0'; n++) {
		for (size_t i = 1; i < l->count; i++)
			if (l->item[i][n] != first[n])
				return common;
		if (first[n] == '/')
			common = n + 1;
	}
	return common;
}

/* The programs that stdin names, a line each, as in an @FILE. */
static int programs_read(struct runs *rs)
{
	const int rw = PROT_READ | PROT_WRITE, fd = temporary_file(rs->k);
	struct ktest *k = rs->k;
	struct words w = { .file = "stdin" };
	size_t size = 0;
	ssize_t n;
	char **list;

	while ((n = run_read(k, 0, k->scratch, sizeof k->scratch)) > 0
	       && write(fd, k->scratch, (size_t)n) == n)
		size += (size_t)n;
	if (n != 0 || ftruncate(fd, (off_t)size + 1) < 0
	    || (w.at = mmap(NULL, size + 1, rw, MAP_PRIVATE, fd, 0)) == MAP_FAILED
	    || (list = mmap(NULL, (size / 2 + 2) * sizeof *list, rw, MAP_PRIVATE
			    | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))
		== MAP_FAILED)
		return k->over ? -1 : fail(k, "-each: stdin:");
	(void)close(fd);
	if (memchr(w.at, '\0', size) != NULL)
		return fail(k, "-each: stdin: has a NUL byte, it is no text");
	while ((list[rs->programs] = words_next(&w)) != NULL)
		if (strlen(list[rs->programs++]) >= sizeof k->scratch)
			return fail(k, "-each: stdin:%d: is too long (limit %zu"
				    " bytes)", w.line, sizeof k->scratch - 1);
	rs->program = list;
	rs->lines = true;
	return 0;
}

/* What only one guest at a time may write to, NULL: nothing. */
static const char *rw_given(const struct ktest_options *o)
{
	const struct ktest_list *disks = &o->disks;

	for (size_t i = 0; i < disks->count + 2; i++) {
		const char *s = i < disks->count ? disks->item[i]
				: i == disks->count ? o->image : o->uefi_vars;
		char path[PATH_SIZE];

		(void)snprintf(path, sizeof path, "%s", s != NULL ? s : "");
		if (value_cut(path, "rw", NULL)
		    || (value_cut(path, "backing", NULL)
			&& value_cut(path, "rw", NULL)))
			return s;
	}
	return NULL;
}

static int programs_find(struct runs *rs)
{
	static char tester[] = "/tester", *none[] = { tester, NULL };
	struct ktest_options *o = rs->o;
	const char *rw;
	cpu_set_t cpus;

	rs->jobs = o->jobs > 0 ? o->jobs : 1;
	if (o->each && o->jobs == 0
	    && sched_getaffinity(0, sizeof cpus, &cpus) == 0)
		rs->jobs = CPU_COUNT(&cpus);
	for (size_t i = 0; i < o->kernels.count; i++) /* before any runs */
		if (o->kernels.item[i] != NULL
		    && access(o->kernels.item[i], R_OK) < 0)
			return fail(rs->k, "-kernel-path %s:", o->kernels.item[i]);
	rs->program = o->argv != NULL ? o->argv : none;
	if (o->each && o->argv == NULL && programs_read(rs) < 0)
		return -1;
	while (!rs->lines && rs->program[rs->programs] != NULL
	       && (o->each || rs->programs == 0))
		rs->programs++;
	if (rs->programs == 0)
		return fail(rs->k, "-each: no program, neither as a word nor on"
			    " stdin");
	rs->own = o->each && !o->dry_run && !o->console
		  && (o->snapshot == NULL || o->snapshot[0] == '\0');
	rs->total = o->kernels.count * rs->programs;
	rs->count = rs->total + o->kernels.count * rs->own;
	if (rs->count > 1 && rs->jobs > 1 && (rw = rw_given(o)) != NULL) {
		rs->jobs = 1;
		return o->jobs == 0 ? 0 : fail(rs->k, "-jobs %lld: is for one"
			" guest at a time, that writes to %s", o->jobs, rw);
	}
	return 0;
}

/* Fills in which run number i is. */
static void run_find(const struct runs *rs, size_t i, struct run *r)
{
	const struct ktest_list *kernels = &rs->o->kernels;
	const size_t place = i % (rs->programs + rs->own);
	bool program = rs->o->each && place >= rs->own, kernel;

	*r = (struct run){ .number = i / (rs->programs + rs->own) };
	r->kernel = kernels->item[r->number];
	r->kernel = r->kernel == NULL ? "this host's"
				      : r->kernel + runs_prefix(kernels);
	if (place >= rs->own)
		r->program = rs->program[place - rs->own];
	kernel = !program || kernels->count > 1;
	(void)snprintf(r->label, sizeof r->label, "%s%s%s", kernel ? r->kernel
		       : "", kernel && program ? " " : "",
		       program ? r->program : "");
}

/* Its options; the words of its line stay in k->scratch. */
static int run_options(struct runs *rs, const struct run *r)
{
	static char *argv[LIST_MAX + 1], path[32];
	struct ktest_options *o = rs->o;
	char *p = r->program, *state = NULL;

	o->kernel_path = o->kernels.item[r->number];
	(void)snprintf(path, sizeof path, FD_PATH, rs->snapshot);
	if (rs->own > 0)
		o->snapshot = rs->snapshot >= 0 ? path : NULL;
	if (p == NULL) { /* no test waits for this boot */
		o->argv = NULL;
		o->timeout += o->timeout == 0 ? 0 : o->image != NULL
			      ? AGENT_WAIT_MS : LINK_WAIT_MS;
	} else if (o->each) {
		argv[0] = p;
		o->argv = argv;
	}
	if (p != NULL && rs->lines)
		p = memcpy(rs->k->scratch, p, strlen(p) + 1);
	for (size_t i = 0; p != NULL && rs->lines && i <= LIST_MAX; i++)
		argv[i] = strtok_r(i > 0 ? NULL : p, " \t", &state);
	return argv[LIST_MAX] == NULL ? 0
	       : fail(rs->k, "-each: a line has more than %d words", LIST_MAX);
}

/* -- Results -- */
/* Writes all, unless nobody reads it: then there is no use in going on. */
static void runs_write(struct runs *rs, struct sink *to, const char *s, size_t n)
{
	struct ktest *k = rs->k;

	if (sink_write(k, to, s, n) == 0)
		return;
	if (errno != EPIPE)
		(void)fail(k, "%s:", to == &k->out ? "stdout"
			   : to == &rs->junit ? "-junit" : "stderr");
	else if (!k->over)
		k->signal = SIGPIPE;
	sink_close(to);
	k->over = END_OUTPUT;
}

/* Writes text, in which %s is a string that is made visible, %n so many bytes
 * of one, %z a size_t, %d an int and %t a time in ms. In XML that leaves
 * characters that it has (XML 1.0, 2.2), and some to escape. */
static void runs_print(struct runs *rs, struct sink *to, const char *fmt, ...)
{
	static const char special[] = { '&', '<', '>', '"' };
	const bool xml = to == &rs->junit;
	const char *s;
	struct text t;
	long long ms;
	size_t n, part;
	va_list ap;

	text_init(&t, rs->k->scratch, sizeof rs->k->scratch);
	va_start(ap, fmt);
	for (; *fmt != '\0'; fmt++) {
		if (*fmt != '%') {
			text_bytes(&t, fmt, 1);
		} else if (*++fmt == 'd') {
			text_printf(&t, "%d", va_arg(ap, int));
		} else if (*fmt == 'z') {
			text_printf(&t, "%zu", va_arg(ap, size_t));
		} else if (*fmt == 't') {
			ms = va_arg(ap, long long);
			text_printf(&t, "%lld.%03lld", ms / 1000, ms % 1000);
		} else {
			n = *fmt == 'n' ? va_arg(ap, size_t) : 0;
			s = va_arg(ap, const char *);
			n = *fmt == 's' ? strlen(s) : n;
			for (; n > 0; s += part, n -= part) {
				part = xml ? 0 : n;
				while (part < n && !memchr(special, s[part],
							   sizeof special))
					part++;
				text_visible(&t, s, part,
					     memchr(s, '\n', part) == NULL);
				if (part < n)
					text_printf(&t, "&#%d;", s[part++]);
			}
		}
	}
	va_end(ap);
	runs_write(rs, to, t.at, t.len);
}

/* A case of JUnit's, https://github.com/jenkinsci/xunit-plugin, junit-10.xsd: a
 * run, or the last point of its output. */
static void junit_case(struct runs *rs, const struct run *r,
		       const struct tap *point, enum fate fate)
{
	const size_t n = strnlen(r->program, PATH_SIZE); /* it may be a long line */
	struct sink *to = &rs->junit;

	rs->cases[fate]++;
	runs_print(rs, to, "<testcase classname=\"%s", r->kernel);
	if (point != NULL)
		runs_print(rs, to, ".%n\" name=\"%z %s\"", n, r->program,
			   point->points, point->name);
	else
		runs_print(rs, to, "\" name=\"%n\"", n, r->program);
	runs_print(rs, to, " time=\"%t\">\n", r->ms);
	if (fates[fate].junit != NULL) {
		runs_print(rs, to, "<%s type=\"%s\" message=\"", fates[fate].junit,
			   fate == BROKEN && r->status == KTEST_TIMEOUT
			   ? "timeout" : fates[fate].word);
		if (point != NULL)
			runs_print(rs, to, "%s\"/>\n", point->directive != NULL
				   ? point->directive : "not ok");
		else
			runs_print(rs, to, "status %d%s%s\"/>\n", r->status,
				   r->why[0] != '\0' ? ": " : "", r->why);
	}
	if (point != NULL)
		runs_print(rs, to, "</testcase>\n");
}

/* The beginning. It is written again when the numbers of cases are known, so
 * there is room for them. */
static void junit_head(struct runs *rs)
{
	const size_t *n = rs->cases;
	char head[160], line[sizeof head];

	(void)snprintf(line, sizeof line, "<?xml version=\"1.0\""
		       " encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite"
		       " name=\"ktest\" tests=\"%zu\" failures=\"%zu\""
		       " errors=\"%zu\" skipped=\"%zu\"", n[PASSED]
		       + n[FLAKY] + n[SKIPPED] + n[FATE_FAILED] + n[BROKEN],
		       n[FATE_FAILED], n[BROKEN], n[SKIPPED]);
	(void)snprintf(head, sizeof head, "%-159s", line);
	(void)lseek(rs->junit.fd, 0, SEEK_SET);
	runs_write(rs, &rs->junit, head, strlen(head));
}

/* Begins -junit's file, under another name. */
static int junit_open(struct runs *rs)
{
	const char *path = rs->o->junit;
	int fd;

	rs->junit.fd = -1;
	if (path == NULL || rs->o->dry_run)
		return 0;
	if (file_expect(rs->k, "-junit", path) < 0
	    || path_set(rs->k, rs->junit_path, "%s.XXXXXX", path) < 0
	    || (fd = mkostemp(rs->junit_path, O_CLOEXEC)) < 0)
		return fail(rs->k, "-junit %s:", path);
	(void)fchmod(fd, 0644);
	rs->junit = sink_open(fd);
	junit_head(rs);
	runs_print(rs, &rs->junit, ">\n");
	return 0;
}

/* The end: the file gets its name, or goes. */
static void junit_close(struct runs *rs)
{
	struct ktest *k = rs->k;

	if (rs->junit_path[0] == '\0')
		return;
	runs_print(rs, &rs->junit, "</testsuite>\n</testsuites>\n");
	junit_head(rs);
	if (k->error[0] == '\0' && rename(rs->junit_path, rs->o->junit) < 0)
		(void)fail(k, "-junit %s:", rs->o->junit);
	if (k->error[0] != '\0')
		(void)unlink(rs->junit_path);
}

enum form { FORM_RAW, FORM_NONE, FORM_TAP, FORM_POINTS, FORM_XML };

/* Shows what a run has written to the file from: as it is, under its name; or
 * line by line, all of it or what the last attempt's points are. */
static void run_show(struct runs *rs, const struct run *r, int from,
		     enum form form, struct tap *t)
{
	const bool all = form == FORM_XML || (form == FORM_TAP && !r->tap);
	struct sink *to = from == r->err && from != r->out ? &rs->k->err
							   : &rs->k->out;
	struct map m;
	size_t n, i = all ? 0 : (size_t)r->at;

	if (map_fd(rs->k, "output of", r->label, from, &m) < 0)
		rs->k->over = END_OUTPUT;
	if (form == FORM_RAW && m.size > 0) {
		runs_print(rs, to, "==> %s <==\n", r->label);
		runs_write(rs, to, m.at, m.size);
		runs_write(rs, to, "\n", m.at[m.size - 1] != '\n');
	}
	for (; t != NULL && i < m.size; i += n + (n < PATH_SIZE)) {
		const char *p = m.at + i;
		enum tap_kind kind = TAP_OTHER;

		n = (size_t)(line_end(p, m.at + m.size) - p);
		if (!all && (i == (size_t)r->at || p[-1] == '\n'))
			kind = tap_line(t, p, n);
		n = n < PATH_SIZE ? n : PATH_SIZE;
		if (form == FORM_XML)
			runs_print(rs, &rs->junit, "%n\n", n, p);
		else if (form == FORM_TAP)
			runs_print(rs, to, all ? "# %n\n" : kind == TAP_OTHER
				   || kind == TAP_BAIL_OUT ? "    # %n\n"
				   : "    %n\n", n, p);
		else if (form == FORM_POINTS
			 && (kind == TAP_OK || kind == TAP_NOT_OK))
			junit_case(rs, r, t, t->directive != NULL
				   && (kind == TAP_NOT_OK
				       || (t->directive[0] | 0x20) == 's') ? SKIPPED
				   : kind == TAP_OK ? PASSED : FATE_FAILED);
	}
	unmap_file(&m);
}

/* A line of the end about a run. */
static void run_note(struct runs *rs, const struct run *r, const char *word)
{
	char numbers[64];

	(void)snprintf(numbers, sizeof numbers, "%-6s %3d  %4lld.%03lld s", word,
		       r->status, r->ms / 1000, r->ms % 1000);
	runs_print(rs, &rs->notes, "ktest: %s  %s%s%s\n", numbers, r->label,
		   r->why[0] != '\0' ? ": " : "", r->why);
}

/* A result of TAP 13, https://testanything.org/tap-version-13-specification.
 * A '#' would begin a directive: the name ends before it. */
static void run_tap(struct runs *rs, const struct run *r)
{
	struct tap t = { .begun = false };
	struct sink *to = &rs->k->out;

	if (r->tap) {
		runs_print(rs, to, "# Subtest: %s\n", r->label);
		run_show(rs, r, r->out, FORM_TAP, &t);
	}
	runs_print(rs, to, "%s %z - %n%s\n  ---\n  status: %d\n  seconds: %t\n"
		   "  ...\n", r->fate < FATE_FAILED ? "ok" : "not ok", ++rs->points,
		   strcspn(r->label, "#"), r->label, r->fate == SKIPPED
		   ? " # SKIP" : r->fate == FLAKY ? " # FLAKY" : "", r->status,
		   r->ms);
	if (r->why[0] != '\0')
		runs_print(rs, to, "# %s\n", r->why);
	if (!r->tap)
		run_show(rs, r, r->out, FORM_TAP, &t);
}

static void run_junit(struct runs *rs, const struct run *r)
{
	struct tap t = { .begun = false };

	junit_case(rs, r, NULL, r->fate);
	runs_print(rs, &rs->junit, "<system-out>");
	run_show(rs, r, r->out, FORM_XML, &t);
	runs_print(rs, &rs->junit, "</system-out>\n<system-err>");
	if (r->err != r->out)
		run_show(rs, r, r->err, FORM_XML, &t);
	runs_print(rs, &rs->junit, "</system-err>\n</testcase>\n");
	if (r->tap)
		run_show(rs, r, r->out, FORM_POINTS, &t);
}

/* Shows a run that has ended, in its turn; of one without a program only why
 * that came to nothing. */
static void run_print(struct runs *rs, struct run *r)
{
	const bool program = r->program != NULL, failed = r->fate >= FATE_FAILED;

	if (program && rs->o->tap)
		run_tap(rs, r);
	else if (program || failed)
		run_show(rs, r, r->out, FORM_RAW, NULL);
	if (r->err != r->out && (program || failed))
		run_show(rs, r, r->err, FORM_RAW, NULL);
	if (program && rs->junit.fd >= 0)
		run_junit(rs, r);
	if (program && (!rs->o->each || failed || r->fate == FLAKY))
		run_note(rs, r, fates[r->fate].word);
	if (program && failed && rs->status == 0)
		rs->status = r->status;
	for (size_t i = SLOWEST; i-- > 0 && program && rs->slowest[i].ms < r->ms;) {
		if (i + 1 < SLOWEST)
			rs->slowest[i + 1] = rs->slowest[i];
		rs->slowest[i] = *r;
	}
	if (r->err != r->out)
		close_fd(&r->err);
	close_fd(&r->out);
}

/* -- Children -- */
/* An attempt of the child has ended: what became of it. */
static void run_judge(struct runs *rs, struct run *r,
		      const struct ktest_result *result)
{
	struct tap t = { .begun = false };
	const char *why = result->finding[0] != '\0' ? result->finding
						     : result->error;

	r->status = result->status;
	r->fate = r->status == 0 ? PASSED
		  : result->error[0] != '\0' && why == result->error ? BROKEN
		  : rs->o->each && status_skips(r->status) ? SKIPPED
		  : FATE_FAILED;
	if (rs->judge)
		run_show(rs, r, 1, FORM_NONE, &t);
	r->tap = t.is;
	for (size_t i = t.depth + 1; t.is && i-- > 0;)
		tap_level_end(&t, i);
	if (r->fate <= SKIPPED && t.why[0] != '\0') {
		r->fate = FATE_FAILED;
		r->status = r->status != 0 ? r->status : 1;
	} else if (r->fate == PASSED && t.skip[0] != '\0') {
		r->fate = SKIPPED;
	}
	if (r->fate == PASSED && r->tries > 0) {
		r->fate = FLAKY;
		return; /* and why is what it was */
	}
	(void)snprintf(r->why, sizeof r->why, "%.255s", why[0] != '\0' ? why
		       : t.why[0] != '\0' ? t.why
		       : r->status > 128 && r->status < 128 + 32
		       ? strsignal(r->status - 128) : t.skip);
}

/* The child. A signal that comes before it has a pipe of its own is told to
 * the parent, which tells all its children. */
static int run_child(struct runs *rs, struct run *r, pid_t parent)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), 0);
	(void)dup2(r->out, 1);
	(void)dup2(r->err, 2);
	signals_catch(rs->o);
	if (run_options(rs, r) < 0) {
		(void)dprintf(2, "ktest: %s\n", rs->k->error);
		return KTEST_NO_VERDICT;
	}
	if (getppid() != parent)
		return KTEST_NO_VERDICT;
	do {
		r->start = now_ms();
		r->at = lseek(1, 0, SEEK_END);
		(void)ktest_run(rs->o, &rs->result);
		run_judge(rs, r, &rs->result);
		r->ms = now_ms() - r->start;
	} while (r->fate >= FATE_FAILED && rs->result.signal == 0
		 && r->program != NULL && r->tries++ < rs->o->retries);
	die_by(rs->result.signal);
	return r->status;
}

/* Passes a signal on to the runs. */
static void runs_signal(struct runs *rs, int number)
{
	for (size_t i = rs->printed; i < rs->started; i++)
		if (rs->run[i % RUNS_AHEAD].pid > 0)
			(void)kill(rs->run[i % RUNS_AHEAD].pid, number);
}

static void runs_start(struct runs *rs)
{
	struct run *r = &rs->run[rs->started % RUNS_AHEAD];
	pid_t parent = getpid(), pid = -1;

	run_find(rs, rs->started, r);
	if (rs->o->dry_run) {
		if (run_options(rs, r) < 0) {
			rs->k->over = END_OUTPUT;
			return;
		}
		(void)ktest_run(rs->o, &rs->result);
		rs->status = rs->status != 0 ? rs->status : rs->result.status;
		rs->printed = ++rs->started;
		return;
	}
	r->out = temporary_file(rs->k);
	r->err = !rs->judge && same_file(1, 2) ? r->out : temporary_file(rs->k);
	r->start = now_ms();
	rs->booting = r->program == NULL;
	if (rs->booting) { /* all of the kernel before it have theirs */
		close_fd(&rs->snapshot);
		rs->snapshot = temporary_file(rs->k);
		(void)fchmod(rs->snapshot, 0600);
	}
	if (r->out >= 0 && r->err >= 0 && (pid = fork()) == 0)
		_exit(run_child(rs, r, parent));
	if (pid > 0) {
		r->pid = pid;
		rs->started++;
		rs->running++;
	} else {
		(void)fail(rs->k, "fork:"); /* if it was not the file */
		rs->k->over = END_OUTPUT;
	}
}

/* One line of progress, or none. */
static void runs_progress(struct runs *rs, bool show)
{
	const size_t *n = rs->ended, failed = n[FATE_FAILED] + n[BROKEN];
	char line[128] = "\r\033[K";

	if (!rs->terminal)
		return;
	if (show)
		(void)snprintf(line + 4, sizeof line - 4, "%zu done, %zu failed,"
			" %lld running, %zu left, %lld s", failed + n[PASSED]
			+ n[FLAKY] + n[SKIPPED], failed, rs->running,
			rs->count - rs->started,
			(now_ms() - rs->k->start) / 1000);
	runs_write(rs, &rs->k->err, line, strlen(line));
}

/* Waits for news: signals, and runs that have ended. */
static void runs_wait(struct runs *rs)
{
	struct pollfd p[1];

	runs_progress(rs, true);
	(void)wait_fds(rs->k, p, 1, now_ms() + CHILD_TICK_MS);
	runs_progress(rs, false);
	if (rs->k->explain.wanted)
		runs_signal(rs, SIGQUIT);
	rs->k->explain.wanted = false;
	for (size_t i = rs->printed; i < rs->started; i++) {
		struct run *r = &rs->run[i % RUNS_AHEAD];
		int status = KTEST_NO_VERDICT << 8;

		if (r->pid == 0 || waitpid(r->pid, &status, WNOHANG) == 0)
			continue;
		r->pid = 0;
		rs->running--;
		if (!WIFEXITED(status) || r->fate == FATE_NONE) {
			r->fate = BROKEN;
			r->status = WIFEXITED(status) ? WEXITSTATUS(status)
						      : 128 + WTERMSIG(status);
			r->ms = now_ms() - r->start;
		}
		rs->ended[r->fate] += r->program != NULL;
		rs->booting = rs->booting && r->program != NULL;
		if (r->program == NULL && r->status != 0)
			close_fd(&rs->snapshot); /* they start cold */
	}
}

static void runs_loop(struct runs *rs)
{
	struct ktest *k = rs->k;

	for (;;) {
		while (!k->over && rs->started < rs->count && !rs->booting
		       && rs->running < rs->jobs
		       && rs->started < rs->printed + RUNS_AHEAD)
			runs_start(rs);
		if (k->over && !rs->told) {
			runs_signal(rs, k->signal != 0 && k->signal != SIGPIPE
				    ? k->signal : SIGTERM);
			rs->told = true;
		}
		if (rs->printed == rs->started)
			return;
		if (rs->run[rs->printed % RUNS_AHEAD].pid > 0)
			runs_wait(rs);
		else
			run_print(rs, &rs->run[rs->printed++ % RUNS_AHEAD]);
	}
}

/* The end: who failed, and how many. */
static void runs_summary(struct runs *rs)
{
	const size_t *n = rs->ended, failed = n[FATE_FAILED] + n[BROKEN];
	struct map m;

	for (size_t i = 0; rs->o->verbose && i < SLOWEST; i++)
		if (rs->slowest[i].ms > 0)
			run_note(rs, &rs->slowest[i], "slowest");
	if (rs->o->tap && rs->k->over)
		runs_print(rs, &rs->k->out, "Bail out! ktest was ended\n");
	if (rs->o->tap
	    || map_fd(rs->k, "output of", "ktest", rs->notes.fd, &m) < 0)
		return;
	runs_write(rs, &rs->k->log, m.at, m.size);
	unmap_file(&m);
	warn(rs->k, "%zu runs: %zu passed, %zu flaky, %zu skipped, %zu failed,"
	     " %zu not run", rs->total, n[PASSED], n[FLAKY], n[SKIPPED], failed,
	     rs->total - n[PASSED] - n[FLAKY] - n[SKIPPED] - failed);
}

static int runs_all(struct ktest_options *o)
{
	static struct runs rs;
	struct ktest *k = run_begin(o, &rs.result);

	if (k == NULL)
		return KTEST_NO_VERDICT;
	rs.k = k;
	rs.o = o;
	k->deadline = 0; /* each run has its own */
	rs.snapshot = -1;
	rs.judge = o->each || o->tap || o->junit != NULL;
	rs.terminal = isatty(2);
	rs.notes = sink_open(temporary_file(k));
	rs.run = mmap(NULL, RUNS_AHEAD * sizeof *rs.run, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (o->wake_fd < 0 || rs.run == MAP_FAILED)
		(void)fail(k, "pipe:");
	if (k->error[0] == '\0' && programs_find(&rs) == 0
	    && junit_open(&rs) == 0) {
		if (o->tap && !o->dry_run)
			runs_print(&rs, &k->out, "TAP version 13\n1..%z\n",
				   rs.total);
		runs_loop(&rs);
		if (!o->dry_run && k->out.fd >= 0 && k->err.fd >= 0)
			runs_summary(&rs);
		junit_close(&rs);
	}
	if (k->error[0] != '\0') {
		say_line(k, k->error);
		rs.status = KTEST_NO_VERDICT;
	}
	run_end(k, &rs.result);
	die_by(rs.result.signal);
	return rs.status;
}

/* ==== 20. main ==========================================================
 * argv -> ktest_run(), or the suite; the exit status, or death by the signal
 * that ended the run.
 */
/* 0, 1 and 2 have to be something, or our own fds would be taken for them. In
 * place of a stdout that is closed it is what cannot be written to, either. */
static void standard_fds(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			(void)open("/dev/null", fd == 1 ? O_RDONLY : O_RDWR);
}

int main(int argc, char **argv)
{
	static struct ktest_options o;
	static struct ktest_result r;

	(void)argc;
	standard_fds();
	ktest_defaults(&o);
	if (ktest_parse(&o, argv, &r) < 0)
		return r.status;
	if (o.help || o.version) {
		if (o.help)
			ktest_usage(stdout);
		else
			(void)puts("ktest " KTEST_VERSION);
		return fflush(stdout) == 0 ? 0 : KTEST_NO_VERDICT;
	}
	signals_catch(&o);
	if (o.kernels.count == 0)
		o.kernels.item[o.kernels.count++] = o.kernel_path;
	if (o.each || o.kernels.count > 1
	    || (!o.dry_run && (o.tap || o.junit != NULL || o.retries > 0)))
		return runs_all(&o);
	(void)ktest_run(&o, &r);
	die_by(r.signal);
	return r.status;
}
#endif
