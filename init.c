/*
 * init.c - process 1 of the machine that ktest starts
 *
 * It makes an empty kernel habitable (mounts, modules, clock, loopback), runs
 * one program, carries its streams through the ports of a virtio serial
 * device, tells ktest how the program ended and restarts the machine, which
 * under QEMU's -no-reboot ends it.
 *
 *   cc -std=c99 -Os -static -nostdlib -ffreestanding -fno-stack-protector \
 *      -fno-pie -s -o init init.c
 *
 * That line works with gcc, clang, musl-gcc and tcc, without any library and
 * without the kernel's headers. A gcc that makes static programs position
 * independent, as some distributions' do, needs -no-pie too. Half the size:
 *
 *   -fno-asynchronous-unwind-tables -fno-ident -fno-jump-tables \
 *   -Wl,-z,noseparate-code -Wl,-z,norelro -Wl,--build-id=none
 *
 * clang's -Os inlines too much for a small file: give it -Oz -fno-inline.
 *
 * What it stands for:
 *  - It never exits. Whatever fails is said (on the control port, before that
 *    in the kernel's log) and the machine restarts. So it does when the host
 *    hangs up, at any time: a ktest that was killed leaves no machine behind.
 *  - It waits without a bound only for the program and for a host that is
 *    there: both may be as slow as they like. All other waits have a limit,
 *    which does not count the time in which the machine was stopped.
 *  - It allocates nothing while the program runs, so it works on in a machine
 *    that is out of memory or out of processes.
 *  - Whatever the program does to its streams, its children or its parent,
 *    the verdict is that of the program itself.
 *
 * Order of the file: protocol, architectures, constants, strings, system
 * calls, waits, reports, mounts, the host's directories, devices, modules,
 * ports, network, job, program, terminal, explanation, relay, health, verdict,
 * entry.
 */

#include <stddef.h>
#include <stdint.h>

/* ======================================================================
 * Protocol
 *
 * What init and ktest say to each other, and the files that ktest lays into
 * the initramfs for init. This is its one specification; that of the job is
 * the table letters[] below. test/protocol.sh holds both sides against it.
 * ====================================================================== */

/*
 * Program mode: /.ktest/job exists. The vports (ports of the virtio serial
 * device), by name:
 *
 *   ktest.control   messages, below
 *   ktest.stdin     its first byte is 'i' and is dropped: a read of 0 bytes
 *                   before it says "not connected yet", after it "the end";
 *                   or it is 'e': nothing will follow
 *   ktest.stdout    the program's bytes, nothing else
 *   ktest.stderr    the same; absent when the job has the letter 'm'
 *   ktest.log       with the letter 'k', lines: records of the kernel's log,
 *                   as /dev/kmsg gives them (dev-kmsg in the kernel's
 *                   Documentation/ABI/testing), from a little before the
 *                   program starts or from the first one there is; "-": some
 *                   were lost before the next; '+' and a line of what kmemleak
 *                   reports
 *
 * In an image, a whole system that has its own process 1, init is an ordinary
 * process: what is mounted, loaded and running there stays as it is. It waits
 * for the job as in a machine to be saved. It is started in IMAGE_DIR, a
 * filesystem in memory, where the job lays what it has no other place for.
 *
 * In the initramfs:
 *   /.ktest/modules   names, one a line, in the order to load them, each with
 *                     a blank and its parameters, if it has any; one with '-'
 *                     before it may fail
 *   /.ktest/NAME.ko   the modules
 *   /.ktest/job       the job, an archive described at its reader below. When
 *                     it is empty, init opens all vports and waits for the
 *                     job as long as it takes: a machine in this state is
 *                     what ktest saves, and restores with -snapshot
 *
 * The host keeps ktest.control open for as long as it wants the machine to
 * run: when it hangs up, init restarts the machine at once.
 *
 * Monogon mode: there is no job. /tester -test.v runs with the console for
 * its output; the control port takes one raw byte, the status. It is the
 * vport with the name above or, under a launcher that gives no names, port 1.
 * A hang-up of the latter means nothing: that launcher's host may close it.
 *
 * Status: the program's own, 128 + the signal that killed it, 126 if it could
 * not be executed, 127 if it or its interpreter does not exist.
 */
#define JOB_DIR      "/.ktest"
#define JOB_FILE     JOB_DIR "/job"
#define MODULE_LIST  "/.ktest/modules"
#define CONTROL_PORT "ktest.control"
#define IMAGE_DIR    "/run/ktest"
#define UNLIMITED    "18446744073709551615"

enum { STATUS_NOT_EXECUTED = 126, STATUS_NOT_FOUND = 127 };

/*
 * The messages of the control port: their first bytes, and what follows. The
 * numbers in it are little endian. The host answers 'h' once, with struct
 * answer; a machine that was restored said its 'h' in its former life. Until
 * it answers, no other message than 'e' follows.
 */
enum message {
	MESSAGE_HELLO = 'h',    /* to the host: nothing; init waits for it */
	MESSAGE_LIVE = 'l',     /* to the host: nothing; the job that came with
				 * the answer is here, and not unpacked yet */
	MESSAGE_ERROR = 'e',    /* to the host: TEXT '\n', init gives up */
	MESSAGE_VERDICT = 'x',  /* to the host: struct verdict */
	MESSAGE_TOLD = 't',     /* to the host: TEXT '\n', see struct explain */
	MESSAGE_WINDOW = 'w',   /* to the guest: struct window */
	MESSAGE_EXPLAIN = 'd'   /* to the guest: struct explain */
};

struct answer {
	uint64_t time;          /* CLOCK_REALTIME in nanoseconds */
	char seed[32];          /* for the kernel's random pool */
	uint64_t length;        /* of the job that follows; 0: the initramfs
				 * has it */
	uint64_t boot;          /* not 0: the machine may restart, and this is
				 * its so-many-th start; stdin is empty */
};

/* The program has ended, all other processes were killed, its pipes were
 * emptied into the vports, the disks were synced and the kernel's log was read
 * to its end. A vport takes bytes before the host has them, so the host reads
 * as many as are named here and then ends the machine. */
struct verdict {
	unsigned char status;
	unsigned char out[8], err[8], log[8]; /* bytes written to stdout ... */
	unsigned char taint[2][8]; /* /proc/sys/kernel/tainted, before the
				    * host said its job, and now */
};

/* While the program runs on a terminal: its size. */
struct window {
	unsigned char rows_columns[4]; /* 2 bytes each */
};

/*
 * While the program runs: the host asks what it hangs in. Init answers at
 * once with messages 't', whose texts are
 *
 *   program PID        the process that is the program
 *   task TID PID PPID STATE WCHAN SYSCALL NAME
 *                      a thread of a process that is not the kernel's own, as
 *                      man proc_pid has it; "-" for what the kernel hides
 *   +FUNCTION ...      of its kernel stack, the innermost first
 *   anything else      to be shown: memory and load
 *
 * Then the kernel prints to its console what its processors do, if there are
 * several, and which tasks are blocked (SysRq l and w). The last text is empty.
 */
struct explain {
	unsigned char tasks;    /* not 0: all tasks as well (SysRq t) */
};

/* ======================================================================
 * Architectures
 *
 * Each is a block that gives the numbers of the system calls and the functions
 * declared here. sys1 to sys6, its own or made of its registers, pass that many
 * arguments and return what the kernel does, a negative errno on failure; sys6
 * is mmap's alone. All are 64-bit: struct layouts below rely on that.
 * ====================================================================== */

/* Its child runs on the parent's stack until it executes a program. */
long sys_vfork(void) __attribute__((returns_twice));
/* Its child shares our memory and goes on where the top of its stack says. */
long sys_clone(long *stack);
/* Where a signal handler returns to. */
void signal_return(void);

#if defined(__x86_64__)

enum {
	SYS_read = 0, SYS_write = 1, SYS_close = 3, SYS_lseek = 8,
	SYS_mmap = 9, SYS_munmap = 11, SYS_rt_sigaction = 13,
	SYS_rt_sigprocmask = 14, SYS_ioctl = 16, SYS_pread64 = 17,
	SYS_getpid = 39, SYS_socket = 41, SYS_execve = 59, SYS_exit = 60,
	SYS_kill = 62, SYS_uname = 63, SYS_fcntl = 72, SYS_fsync = 74,
	SYS_chdir = 80, SYS_fchdir = 81, SYS_fchmod = 91, SYS_fchown = 93,
	SYS_umask = 95, SYS_sysinfo = 99, SYS_setuid = 105, SYS_setgid = 106,
	SYS_setpgid = 109, SYS_setsid = 112, SYS_setgroups = 116,
	SYS_mlockall = 151, SYS_chroot = 161, SYS_sync = 162,
	SYS_mount = 165, SYS_umount2 = 166, SYS_reboot = 169,
	SYS_sethostname = 170, SYS_getdents64 = 217,
	SYS_clock_settime = 227, SYS_clock_gettime = 228, SYS_waitid = 247,
	SYS_openat = 257, SYS_mkdirat = 258, SYS_mknodat = 259, SYS_unlinkat = 263,
	SYS_symlinkat = 266, SYS_fchmodat = 268, SYS_faccessat = 269,
	SYS_ppoll = 271, SYS_utimensat = 280, SYS_fallocate = 285,
	SYS_signalfd4 = 289, SYS_dup3 = 292, SYS_pipe2 = 293,
	SYS_prlimit64 = 302, SYS_finit_module = 313
};

enum { O_DIRECTORY = 0200000, IS_X86 = 1 };

long sys1(long nr, long a);
long sys2(long nr, long a, long b);
long sys3(long nr, long a, long b, long c);
long sys4(long nr, long a, long b, long c, long d);
long sys5(long nr, long a, long b, long c, long d, long e);
long sys6(long nr, long a, long b, long c, long d, long e, long f);

/*
 * C passes arguments in rdi rsi rdx rcx r8 r9 and then on the stack; the
 * kernel takes the number in rax, arguments in rdi rsi rdx r10 r8 r9, returns
 * in rax and spoils rcx and r11, which C calls may spoil too. The kernel does
 * not look at registers beyond a call's arguments, so one stub serves all six.
 * vfork's child overwrites the return address on the stack, so the parent
 * keeps it in a register. 0x111 is CLONE_VM | SIGCHLD.
 * At _start the stack pointer is what the kernel left, 16 byte aligned.
 */
__asm__(
	".text\n"
	".globl sys1, sys2, sys3, sys4, sys5, sys6, sys_vfork\n"
	".globl sys_clone, signal_return, _start\n"
	"sys1:\n"
	"sys2:\n"
	"sys3:\n"
	"sys4:\n"
	"sys5:\n"
	"sys6:\n"
	"	mov %rdi, %rax\n"
	"	mov %rsi, %rdi\n"
	"	mov %rdx, %rsi\n"
	"	mov %rcx, %rdx\n"
	"	mov %r8, %r10\n"
	"	mov %r9, %r8\n"
	"	mov 8(%rsp), %r9\n"
	"	syscall\n"
	"	ret\n"
	"sys_vfork:\n"
	"	pop %rdx\n"
	"	mov $58, %eax\n"
	"	syscall\n"
	"	push %rdx\n"
	"	ret\n"
	"sys_clone:\n"
	"	mov %rdi, %rsi\n"
	"	mov $0x111, %edi\n"
	"	mov $56, %eax\n"
	"	syscall\n"
	"	ret\n"
	"signal_return:\n"
	"	mov $15, %eax\n"
	"	syscall\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	call main\n"
	"	hlt\n"
);

#elif defined(__aarch64__) || (defined(__riscv) && __riscv_xlen == 64)

/* The kernel's asm-generic/unistd.h. */
enum {
	SYS_dup3 = 24, SYS_fcntl = 25, SYS_ioctl = 29, SYS_mknodat = 33,
	SYS_mkdirat = 34, SYS_unlinkat = 35, SYS_symlinkat = 36,
	SYS_umount2 = 39, SYS_mount = 40, SYS_fallocate = 47,
	SYS_faccessat = 48, SYS_chdir = 49, SYS_fchdir = 50, SYS_chroot = 51,
	SYS_fchmod = 52, SYS_fchmodat = 53, SYS_fchown = 55, SYS_openat = 56,
	SYS_close = 57, SYS_pipe2 = 59, SYS_getdents64 = 61, SYS_lseek = 62,
	SYS_read = 63, SYS_write = 64, SYS_pread64 = 67, SYS_ppoll = 73,
	SYS_signalfd4 = 74, SYS_sync = 81, SYS_fsync = 82,
	SYS_utimensat = 88, SYS_exit = 93, SYS_waitid = 95,
	SYS_clock_settime = 112, SYS_clock_gettime = 113, SYS_kill = 129,
	SYS_rt_sigaction = 134, SYS_rt_sigprocmask = 135, SYS_reboot = 142,
	SYS_setgid = 144, SYS_setuid = 146, SYS_setpgid = 154,
	SYS_setsid = 157, SYS_setgroups = 159, SYS_uname = 160,
	SYS_sethostname = 161,
	SYS_umask = 166, SYS_getpid = 172, SYS_sysinfo = 179,
	SYS_socket = 198, SYS_munmap = 215, SYS_execve = 221, SYS_mmap = 222,
	SYS_mlockall = 230, SYS_prlimit64 = 261, SYS_finit_module = 273
};

#ifdef __aarch64__

enum { O_DIRECTORY = 040000, IS_X86 = 0 };

#define SYS_ASM __asm__ volatile
#define SYS_CALL "mov x8, %1\n\tsvc 0"
#define SYS_NUMBER "x8"
#define SYS_A "x0"
#define SYS_B "x1"
#define SYS_C "x2"
#define SYS_D "x3"
#define SYS_E "x4"
#define SYS_F "x5"

/*
 * C passes arguments in x0 to x7 and returns to x30; the kernel takes the
 * number in x8, arguments in x0 to x5, returns in x0 and keeps all others.
 * There is no vfork: 0x4111 is CLONE_VFORK | CLONE_VM | SIGCHLD, with no stack
 * of its own. Calls keep the stack 16 byte aligned, or the processor traps.
 */
__asm__(
	".text\n"
	".globl sys_vfork, sys_clone, signal_return, _start\n"
	"sys_vfork:\n"
	"	mov x1, 0\n"
	"	mov x0, 0x4111\n"
	"	b clone\n"
	"sys_clone:\n"
	"	mov x1, x0\n"
	"	mov x0, 0x111\n"
	"clone:\n"
	"	mov x9, x1\n"
	"	mov x8, 220\n"
	"	svc 0\n"
	"	cbnz x0, 1f\n"
	"	cbz x9, 1f\n"
	"	ldr x30, [x9]\n"
	"1:	ret\n"
	"signal_return:\n"
	"	mov x8, 139\n"
	"	svc 0\n"
	"_start:\n"
	"	mov x29, 0\n"
	"	bl main\n"
	"	brk 0\n"
);

#else

enum { O_DIRECTORY = 0200000, IS_X86 = 0 };

#define SYS_ASM __asm__ volatile
#define SYS_CALL "li a7, %1\n\tecall"
#define SYS_NUMBER "a7"
#define SYS_A "a0"
#define SYS_B "a1"
#define SYS_C "a2"
#define SYS_D "a3"
#define SYS_E "a4"
#define SYS_F "a5"

/*
 * C passes arguments in a0 to a7 and returns to ra; the kernel takes the number
 * in a7, arguments in a0 to a5, returns in a0 and keeps all others. vfork as
 * above. A handler has no restorer: the kernel brings its own. The linker
 * addresses what is near gp by it, which nobody else sets.
 */
__asm__(
	".text\n"
	".globl sys_vfork, sys_clone, signal_return, _start\n"
	"signal_return:\n"
	"	ret\n"
	"sys_vfork:\n"
	"	li a1, 0\n"
	"	li a0, 0x4111\n"
	"	j clone\n"
	"sys_clone:\n"
	"	mv a1, a0\n"
	"	li a0, 0x111\n"
	"clone:\n"
	"	mv t0, a1\n"
	"	li a7, 220\n"
	"	ecall\n"
	"	bnez a0, 1f\n"
	"	beqz t0, 1f\n"
	"	ld ra, (t0)\n"
	"1:	ret\n"
	"_start:\n"
	".option push\n"
	".option norelax\n"
	"	la gp, __global_pointer$\n"
	".option pop\n"
	"	call main\n"
	"	ebreak\n"
);

#endif

#elif defined(__s390x__)

enum {
	SYS_exit = 1, SYS_read = 3, SYS_write = 4, SYS_close = 6,
	SYS_execve = 11, SYS_chdir = 12, SYS_lseek = 19, SYS_getpid = 20,
	SYS_mount = 21, SYS_sync = 36, SYS_kill = 37, SYS_umount2 = 52,
	SYS_ioctl = 54, SYS_fcntl = 55, SYS_setpgid = 57, SYS_umask = 60,
	SYS_chroot = 61, SYS_setsid = 66, SYS_sethostname = 74,
	SYS_reboot = 88, SYS_mmap = 90, SYS_munmap = 91, SYS_fchmod = 94,
	SYS_sysinfo = 116, SYS_fsync = 118, SYS_uname = 122,
	SYS_fchdir = 133, SYS_mlockall = 152, SYS_rt_sigaction = 174,
	SYS_rt_sigprocmask = 175, SYS_pread64 = 180, SYS_setgroups = 206,
	SYS_fchown = 207, SYS_setuid = 213, SYS_setgid = 214,
	SYS_getdents64 = 220, SYS_clock_settime = 259,
	SYS_clock_gettime = 260, SYS_waitid = 281, SYS_openat = 288,
	SYS_mkdirat = 289, SYS_mknodat = 290, SYS_unlinkat = 294,
	SYS_symlinkat = 297, SYS_fchmodat = 299, SYS_faccessat = 300,
	SYS_ppoll = 302, SYS_fallocate = 314, SYS_utimensat = 315,
	SYS_signalfd4 = 322, SYS_pipe2 = 325, SYS_dup3 = 326,
	SYS_prlimit64 = 334, SYS_finit_module = 344, SYS_socket = 359
};

enum { O_DIRECTORY = 0200000, IS_X86 = 0 };

#define WIRE(bits, n) __builtin_bswap##bits(n)

#define SYS_ASM __asm__ __inline__ volatile /* shorter than it looks */
#define SYS_CALL ".if %1 < 256\n\tsvc %1\n\t.else\n\t" \
	"lghi %%r1, %1\n\tsvc 0\n\t.endif"
#define SYS_NUMBER "r1"
#define SYS_A "r2"
#define SYS_B "r3"
#define SYS_C "r4"
#define SYS_D "r5"
#define SYS_E "r6"

/*
 * C passes arguments in r2 to r6 and then on the stack, above the 160 bytes
 * that it leaves to whom it calls, and returns to r14; of the arguments only r6
 * has to be kept. The kernel takes the number in r1 or in the instruction,
 * arguments in r2 to r6, returns in r2 and keeps all others. clone's first two
 * arguments are the other way round.
 */
__asm__(
	".text\n"
	".globl sys_vfork, sys_clone, signal_return, _start\n"
	"sys_vfork:\n"
	"	svc 190\n"
	"	br %r14\n"
	"sys_clone:\n"
	"	lghi %r3, 0x111\n"
	"	svc 120\n"
	"	ltgr %r2, %r2\n"
	"	bnzr %r14\n"
	"	lg %r14, 0(%r15)\n"
	"	aghi %r15, -160\n"
	"	br %r14\n"
	"signal_return:\n"
	"	svc 119\n"
	"_start:\n"
	"	aghi %r15, -160\n"
	"	brasl %r14, main\n"
	"	j .\n"
);

#else
#error "init.c: no block for this architecture: see 'Architectures'"
#endif

#ifdef SYS_CALL

/* In place, which is shorter than a call: the number is part of the instruction
 * or the one before it, and the kernel keeps all registers but the first. */
#define SYS_DEFINE static inline __attribute__((always_inline)) long
#define SYS_IN(name) name##_ __asm__(SYS_##name) = name
#define SYS_RETURN(...) \
	SYS_ASM(SYS_CALL : "+r"(A_) : __VA_ARGS__ : \
	    SYS_NUMBER, "memory"); \
	return A_

SYS_DEFINE sys1(long nr, long A)
{
	register long SYS_IN(A);

	SYS_RETURN("i"(nr));
}

SYS_DEFINE sys2(long nr, long A, long B)
{
	register long SYS_IN(A), SYS_IN(B);

	SYS_RETURN("i"(nr), "r"(B_));
}

SYS_DEFINE sys3(long nr, long A, long B, long C)
{
	register long SYS_IN(A), SYS_IN(B), SYS_IN(C);

	SYS_RETURN("i"(nr), "r"(B_), "r"(C_));
}

SYS_DEFINE sys4(long nr, long A, long B, long C, long D)
{
	register long SYS_IN(A), SYS_IN(B), SYS_IN(C), SYS_IN(D);

	SYS_RETURN("i"(nr), "r"(B_), "r"(C_), "r"(D_));
}

SYS_DEFINE sys5(long nr, long A, long B, long C, long D, long E)
{
	register long SYS_IN(A), SYS_IN(B), SYS_IN(C), SYS_IN(D), SYS_IN(E);

	SYS_RETURN("i"(nr), "r"(B_), "r"(C_), "r"(D_), "r"(E_));
}

SYS_DEFINE sys6(long nr, long A, long B, long C, long D, long E, long F)
{
#ifdef __s390x__ /* mmap takes a pointer to its arguments */
	const long arguments[6] = {A, B, C, D, E, F};

	return sys1(nr, (long)arguments);
#else
	register long SYS_IN(A), SYS_IN(B), SYS_IN(C), SYS_IN(D),
	    SYS_IN(E), SYS_IN(F);

	SYS_RETURN("i"(nr), "r"(B_), "r"(C_), "r"(D_), "r"(E_), "r"(F_));
#endif
}

#endif

/* ======================================================================
 * Constants
 *
 * Of the kernel's interface: the names that its headers use. The numbers are
 * the same on every architecture; those that differ stand in the blocks above.
 * ====================================================================== */

enum {
	EPERM = 1, ENOENT = 2, EINTR = 4, E2BIG = 7, ENOEXEC = 8, ECHILD = 10,
	EAGAIN = 11, ENOMEM = 12, EACCES = 13, EBUSY = 16, EEXIST = 17,
	ENODEV = 19, ENOTDIR = 20, EISDIR = 21, EINVAL = 22, ENOSPC = 28,
	EROFS = 30, EPIPE = 32, ENAMETOOLONG = 36, ETIMEDOUT = 110,
	EKEYREJECTED = 129
};

enum {
	O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, O_CREAT = 0100, O_EXCL = 0200,
	O_NOCTTY = 0400, O_NONBLOCK = 04000, O_CLOEXEC = 02000000,
	O_PATH = 010000000, AT_FDCWD = -100, AT_SYMLINK_NOFOLLOW = 0x100,
	AT_REMOVEDIR = 0x200,
	SEEK_SET = 0, SEEK_END = 2, F_SETFL = 4, F_DUPFD_CLOEXEC = 1030,
	FALLOC_FL_KEEP_SIZE = 1, FALLOC_FL_PUNCH_HOLE = 2
};

enum {
	S_IFMT = 0170000, S_IFDIR = 0040000, S_IFREG = 0100000,
	S_IFLNK = 0120000, S_IFCHR = 0020000
};

enum {
	MS_RDONLY = 1, MS_NOSUID = 2, MS_NODEV = 4, MS_NOEXEC = 8,
	MS_LOCKED = MS_NOSUID | MS_NODEV | MS_NOEXEC,
	MS_BIND = 4096, MS_MOVE = 8192, MNT_DETACH = 2,
	PROT_READ = 1, PROT_WRITE = 2, MAP_SHARED = 1, MAP_PRIVATE = 2,
	MAP_ANONYMOUS = 0x20, MAP_POPULATE = 0x8000, MCL_CURRENT = 1,
	RLIMIT_CORE = 4
};

enum {
	SIGKILL = 9, SIGCHLD = 17, SIG_SETMASK = 2, WNOHANG = 1,
	WEXITED = 4, WCONTINUED = 8, WNOWAIT = 1 << 24,
	CLD_EXITED = 1, CLD_DUMPED = 3,
	SA_NOCLDSTOP = 1, SA_RESTORER = 0x04000000,
	POLLIN = 1, POLLOUT = 4, POLLHUP = 16
};

enum {
	TIOCSCTTY = 0x540e, TIOCSPGRP = 0x5410, TIOCSWINSZ = 0x5414,
	TIOCSPTLCK = 0x40045431, TIOCGPTPEER = 0x5441, BLKRRPART = 0x125f
};

enum {
	AF_INET = 2, SOCK_DGRAM = 2, SOCK_CLOEXEC = 02000000,
	SIOCADDRT = 0x890b, SIOCGIFFLAGS = 0x8913, SIOCSIFFLAGS = 0x8914,
	SIOCSIFADDR = 0x8916, SIOCSIFNETMASK = 0x891c, IFF_UP = 1,
	SIOCSIFHWADDR = 0x8924, ARPHRD_ETHER = 1,
	MAC_LENGTH = 17, RTF_UP = 1, RTF_GATEWAY = 2,
	RNDADDENTROPY = 0x40085203, RNDRESEEDCRNG = 0x5207,
	CLOCK_REALTIME = 0, CLOCK_MONOTONIC = 1
};

#define SIGCHLD_BIT (1ULL << (SIGCHLD - 1))

#define LINUX_REBOOT_MAGIC1        0xfee1deadL
#define LINUX_REBOOT_MAGIC2        672274793L
#define LINUX_REBOOT_CMD_RESTART   0x01234567L
#define LINUX_REBOOT_CMD_POWER_OFF 0x4321fedcL

/* Ours. Times in milliseconds, of which a second has 1024 here: so nothing has
 * to be divided between these and the kernel's. */
enum {
	VPORT_WAIT = 10000,         /* a busy host may need 100 */
	VPORT_POLL = 1,             /* vports raise no event to wait for */
	CONNECT_WAIT = 2000,        /* a name comes with its connection */
	CONSOLE_WAIT = 2000,        /* hvc0's driver is a little behind */
	CONTROL_WAIT = 10000,       /* control messages fit any queue */
	REAP_WAIT = 2000,           /* since the last process that died */
	SYNC_WAIT = 60000,          /* a frozen filesystem never syncs */
	SETTLE_WAIT = 3000,         /* the kernel refines its clock for 1000 */
	LIMIT_STEP = 100,           /* see struct limit */
	REST = 5,                   /* before a vport is tried again */
	LOG_WAIT = 5000,            /* a kernel that never stops to log */
	LEAK_AGE = 5 * 1024,        /* kmemleak.c's MSECS_MIN_AGE */
	RETYPE = 500,               /* between two ends that are typed */

	CHUNK = 16384,              /* what one write hands to a vport */
	RECORD = 8192,              /* kernel's CONSOLE_EXT_LOG_MAX */
	PATH_SIZE = 4098,           /* "/", a name of PATH_MAX bytes, NUL */
	UNPACK_CHUNK = 1 << 20,     /* written, then given back: see unpack */
	RESERVE = 1 << 20,          /* memory for what follows the program */
	MEMORY_LOW = 32 << 20,      /* less free than this is worth a look */
	KMSG_LINE = 300,            /* of a record that is told: all in 1 KiB */
	SHARES = 16                 /* of the host's directories, at most */
};

/* ======================================================================
 * Strings
 *
 * What a C library would bring, as far as it is needed here. struct text is a
 * line being written: what does not fit is cut, which only happens to names
 * of absurd length inside diagnostics.
 * ====================================================================== */

/* Compilers call these two by name; volatile keeps them from calling
 * themselves. */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);

void *memcpy(void *to, const void *from, size_t n)
{
	volatile char *t = to;
	const char *f = from;

	while (n-- > 0)
		*t++ = *f++;
	return to;
}

void *memset(void *to, int byte, size_t n)
{
	volatile char *t = to;

	while (n-- > 0)
		*t++ = (char)byte;
	return to;
}

/* In place, where the size is known and small. */
#define memcpy __builtin_memcpy
#define memset __builtin_memset

static size_t str_length(const char *s)
{
	size_t n = 0;

	while (s[n] != '\0')
		n++;
	return n;
}

static int str_begins(const char *s, const char *prefix)
{
	while (*prefix != '\0' && *s == *prefix) {
		s++;
		prefix++;
	}
	return *prefix == '\0';
}

static int str_equal(const char *a, const char *b)
{
	return str_begins(a, b) && str_length(a) == str_length(b);
}

/* Ends s at the first c; returns what is behind that, or the end. */
static char *str_cut(char *s, char c)
{
	while (*s != '\0' && *s != c)
		s++;
	if (*s != '\0')
		*s++ = '\0';
	return s;
}

/* Digits of the base, at most so many; moves *s behind them. */
static uint64_t str_number(const char **s, unsigned base, int most)
{
	uint64_t value = 0;

	for (; most > 0; most--, (*s)++) {
		unsigned c = (unsigned char)**s, letter = (c | 32) - 'a';
		unsigned digit = letter < 6 ? letter + 10 : c - '0';

		if (digit >= base)
			break;
		value = value * base + digit;
	}
	return value;
}

/* Two decimal numbers, with a character between them. */
static void str_pair(const char *s, long pair[2])
{
	pair[0] = (long)str_number(&s, 10, 20);
	s += *s != '\0';
	pair[1] = (long)str_number(&s, 10, 20);
}

/* Numbers that the host sends and takes are little endian. Where ours are not,
 * this turns one round. */
#ifndef WIRE
#define WIRE(bits, n) (n)
#endif

static void wire_put(unsigned char *to, uint64_t number)
{
	number = WIRE(64, number);
	memcpy(to, &number, sizeof number);
}

struct text {
	size_t length;
	char s[1024];       /* always ends with a NUL */
};

static void text_char(struct text *t, char c)
{
	if (t->length + 2 < sizeof t->s)
		t->s[t->length++] = c;
	t->s[t->length] = '\0';
}

/* The end of a line, for which there is always room. */
static void text_newline(struct text *t)
{
	t->s[t->length++] = '\n';
	t->s[t->length] = '\0';
}

/* Control characters, which no name of ours has, would break a line. */
static void text_add(struct text *t, const char *s)
{
	for (; *s != '\0'; s++)
		text_char(t, (unsigned char)*s < 32 || *s == 127 ? '?' : *s);
}

static void text_begin(struct text *t, const char *s)
{
	t->length = 0;
	text_add(t, s);
}

static void text_join(struct text *t, const char *a, const char *b,
    const char *c)
{
	text_begin(t, a);
	text_add(t, b);
	text_add(t, c);
}

static void text_number(struct text *t, unsigned value)
{
	if (value >= 10)
		text_number(t, value / 10);
	text_char(t, (char)('0' + value % 10));
}

static const struct error {
	unsigned char number;
	char text[26];
} error_table[] = {
	{EPERM, "operation not permitted"},
	{ENOENT, "no such file or directory"},
	{E2BIG, "argument list too long"},
	{ENOEXEC, "exec format error"},
	{ENOMEM, "out of memory"},
	{EACCES, "permission denied"},
	{EBUSY, "device or resource busy"},
	{EEXIST, "file exists"},
	{ENODEV, "no such device"},
	{ENOTDIR, "not a directory"},
	{EISDIR, "is a directory"},
	{EINVAL, "invalid argument"},
	{ENOSPC, "no space left on device"},
	{EROFS, "read-only file system"},
	{ETIMEDOUT, "timed out"},
	{EKEYREJECTED, "key was rejected"},
};

/* ": " and what it means. */
static void text_error(struct text *t, long error)
{
	const struct error *e = error_table;

	text_add(t, ": ");
	for (; e < error_table + sizeof error_table / sizeof *e; e++)
		if (e->number == -error) {
			text_add(t, e->text);
			return;
		}
	text_add(t, "errno ");
	text_number(t, (unsigned)-error);
}

/* ======================================================================
 * System calls
 *
 * The ones that are used in more than one place. They return what the kernel
 * does, a negative errno on failure, and take fds and addresses as long. A
 * file that they open closes on exec.
 * ====================================================================== */

struct timespec {
	int64_t sec, nsec;
};

struct pollfd {
	int32_t fd;
	int16_t events, revents;
};

static long sys_open(const char *path, long flags, long mode)
{
	return sys4(SYS_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC, mode);
}

static void sys_close(long fd)
{
	sys1(SYS_close, fd);
}

static long sys_read(long fd, void *to, size_t size)
{
	return sys3(SYS_read, fd, (long)to, (long)size);
}

static long sys_write(long fd, const void *from, size_t size)
{
	return sys3(SYS_write, fd, (long)from, (long)size);
}

static void dir_make(const char *path)
{
	sys3(SYS_mkdirat, AT_FDCWD, (long)path, 0755);
}

static long sys_unlink(const char *path)
{
	return sys3(SYS_unlinkat, AT_FDCWD, (long)path, 0);
}

static long sys_mount(const char *what, const char *dir, const char *type,
    long flags, const char *options)
{
	return sys5(SYS_mount, (long)what, (long)dir, (long)type, flags,
	    (long)options);
}

static int file_exists(const char *path)
{
	return sys3(SYS_faccessat, AT_FDCWD, (long)path, 0) == 0;
}

static long file_write(const char *path, const char *text)
{
	long fd = sys_open(path, O_WRONLY, 0);
	long n = fd < 0 ? fd : sys_write(fd, text, str_length(text));

	sys_close(fd);
	return n;
}

/* Readable and writable memory, a file's or zeroed. */
static void *sys_map(size_t size, long flags, long fd)
{
	long at = sys6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, flags,
	    fd, 0);

	return at < 0 && at > -4096 ? NULL : (void *)at;
}

static void sys_unmap(void *at, size_t size)
{
	sys2(SYS_munmap, (long)at, (long)size);
}

/* ======================================================================
 * Waits
 *
 * Everything that may wait does it in wait_events, which ends the machine
 * when the host hangs up. The host and the program are waited for as long as
 * they are there; what else is waited for has a struct limit.
 * ====================================================================== */

static long host_port;          /* its hang-up ends the machine; 0: none */
static int in_image;            /* we are not process 1 */
static long child_file;         /* a signalfd: a child has ended; 0: none */

/* Waits for SIGCHLD and for nothing else, so that it works at any time. */
static long poll_events(struct pollfd *fds, size_t n, int64_t ms)
{
	const uint64_t mask = ~SIGCHLD_BIT;
	const struct timespec time = {ms >> 10, (ms & 1023) * 976562};

	return sys5(SYS_ppoll, (long)fds, (long)n,
	    ms < 0 ? 0 : (long)&time, child_file > 0 ? 0 : (long)&mask,
	    sizeof mask);
}

/* Should the kernel refuse to restart, it may still power off; should it
 * refuse that, ktest's timeout ends the machine. One that is not ktest's goes
 * on. */
__attribute__((noreturn))
static void restart(void)
{
	for (;;) {
		if (in_image && host_port <= 0)
			sys1(SYS_exit, 1);
		sys4(SYS_reboot, (long)LINUX_REBOOT_MAGIC1,
		    LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_RESTART, 0);
		sys4(SYS_reboot, (long)LINUX_REBOOT_MAGIC1,
		    LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_POWER_OFF, 0);
		poll_events(NULL, 0, 1000);
	}
}

static int child_ended;         /* child_file says so, and still will */

/* To be followed by a look at the children. Tells whether there is a reason. */
static int child_file_read(void)
{
	static char signal[128]; /* struct signalfd_siginfo */
	int ended = child_ended;

	if (ended)
		sys_read(child_file, signal, sizeof signal);
	child_ended = 0;
	return ended;
}

/*
 * Waits until one of the n fds is ready, a child ends or the time is over; a
 * negative time never is. fds has room for two more. Without a signalfd SIGCHLD
 * is let in here and nowhere else, so the end of a child always ends the wait.
 * But a wait that finds fds ready lets no signal in: the caller asks for dead
 * children between two waits, or does not wait for any.
 */
static void wait_events(struct pollfd *fds, size_t n, int64_t ms)
{
	child_file_read();
	fds[n].fd = host_port > 0 ? (int32_t)host_port : -1;
	fds[n].events = 0; /* POLLHUP comes unasked */
	fds[n].revents = 0;
	fds[n + 1].fd = child_file > 0 ? (int32_t)child_file : -1;
	fds[n + 1].events = POLLIN;
	fds[n + 1].revents = 0;
	poll_events(fds, n + 2, ms);
	if ((fds[n].revents & POLLHUP) != 0)
		restart();
	child_ended = fds[n + 1].revents != 0;
}

static void sleep_ms(int64_t ms)
{
	struct pollfd fds[2];

	wait_events(fds, 0, ms);
}

static int64_t clock_ms(void)
{
	struct timespec now = {0, 0};

	sys2(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now);
	return now.sec * 1024 + (now.nsec * 4398 >> 32);
}

/*
 * A limit for a wait that is done in steps of at most LIMIT_STEP milliseconds.
 * What passes between two of them counts for no more than that: when it took
 * longer, the host had stopped the machine or had no time for it. So the first
 * step may find 0 in `looked`.
 */
struct limit {
	int64_t left, looked;
};

/* A step of so many; 0 instead if the limit has passed. */
static int limit_wait(struct limit *limit, int64_t ms)
{
	int64_t now = clock_ms(), passed = now - limit->looked;

	limit->looked = now;
	limit->left -= passed < LIMIT_STEP ? passed : LIMIT_STEP;
	if (limit->left <= 0)
		return 0;
	sleep_ms(ms);
	return 1;
}

static void wake_up(int signal)
{
	(void)signal;
}

static void signal_mask(uint64_t mask)
{
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, sizeof mask);
}

/*
 * Blocks every signal; wait_events hears of SIGCHLD by a signalfd, which is
 * much less work for the kernel than the handler that it opens the door to
 * where a small kernel was built without. exec resets it for the program, which
 * unblocks everything itself. Where a handler has no restorer, its mask stands
 * in that place: no matter, since all others are blocked anyway.
 */
static void signals_prepare(void)
{
	const uint64_t mask = SIGCHLD_BIT;
	static const struct {
		void (*handler)(int);
		unsigned long flags;
		void (*restorer)(void);
		uint64_t mask;
	} action = {wake_up, SA_NOCLDSTOP | SA_RESTORER, signal_return, ~0ULL};

	signal_mask(~0ULL);
	child_file = sys4(SYS_signalfd4, -1, (long)&mask, sizeof mask,
	    O_CLOEXEC | O_NONBLOCK);
	sys4(SYS_rt_sigaction, SIGCHLD, (long)&action, 0, sizeof action.mask);
}

/* ======================================================================
 * Reports
 *
 * warn says a thing in the kernel's log and goes on, die says it there and on
 * the control port and restarts the machine. Both print "ktest: WHAT NAME:
 * ERROR", without NAME where it is NULL and without ERROR where it is 0.
 * ====================================================================== */

static long control_port;       /* 0: not open yet, that number is taken */

/*
 * Returns 0 if the control port takes nothing. The kernel only queues the
 * bytes (port_fops_write() never waits for them to be taken), but QEMU serves
 * its queues before it ends, so a restart may follow at once.
 */
static int control_write(const void *bytes, size_t size)
{
	struct limit limit = {CONTROL_WAIT, 0};

	while (control_port > 0 && limit.left > 0) {
		if (sys_write(control_port, bytes, size) > 0)
			return 1;
		limit_wait(&limit, VPORT_POLL);
	}
	return 0;
}

/* Sends a message and what follows its first byte; returns as above. */
static int control_send(enum message message, const void *rest, size_t size)
{
	static char frame[1 + sizeof(struct text)];

	frame[0] = (char)message;
	memcpy(frame + 1, rest, size);
	return control_write(frame, 1 + size);
}

/* Writes "<LEVEL>ktest: WHAT NAME: ERROR" and a newline, and logs it. */
static void report(struct text *t, const char *level, const char *what,
    const char *name, long error)
{
	text_begin(t, level);
	text_add(t, what);
	if (name != NULL) {
		text_char(t, ' ');
		text_add(t, name);
	}
	if (error != 0)
		text_error(t, error);
	text_newline(t);
	if (in_image && host_port <= 0) /* the guest agent tells it */
		sys_write(2, t->s + 3, t->length - 3);
	else
		file_write("/dev/kmsg", t->s);
}

static void warn(const char *what, const char *name, long error)
{
	struct text t;

	report(&t, "<3>ktest: ", what, name, error);
}

__attribute__((noreturn))
static void die(const char *what, const char *name, long error)
{
	static const char level[] = "<2>ktest: ";
	struct text t;

	report(&t, level, what, name, error);
	control_send(MESSAGE_ERROR, t.s + sizeof level - 1,
	    t.length - (sizeof level - 1));
	restart();
}

/* ======================================================================
 * Mounts
 *
 * A filesystem that the kernel was built without is no news; every other
 * failure is reported, and ends the run where nothing works without the mount.
 * /dev comes first because reports need it.
 * ====================================================================== */

static const struct mount {
	const char *options;
	char type[9], path[20];
	unsigned char flags;
	unsigned char required; /* nothing works without it */
	unsigned char inside;   /* in another mount, which takes it along */
} mount_table[] = {
	{"", "devtmpfs", "/dev", MS_NOSUID | MS_NOEXEC, 0, 0},
	{"", "sysfs", "/sys", MS_LOCKED, 1, 0},
	{"", "debugfs", "/sys/kernel/debug", MS_LOCKED, 0, 1},
	{"", "tracefs", "/sys/kernel/tracing", MS_LOCKED, 0, 1},
	{"", "cgroup2", "/sys/fs/cgroup", MS_LOCKED, 0, 1},
	{"mode=700", "bpf", "/sys/fs/bpf", MS_LOCKED, 0, 1},
	{"", "proc", "/proc", MS_LOCKED, 0, 0},
	{"mode=620,ptmxmode=666", "devpts", "/dev/pts",
	    MS_NOSUID | MS_NOEXEC, 0, 1},
	{"mode=1777", "tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, 0, 1},
	{"mode=755", "tmpfs", "/run", MS_NOSUID | MS_NODEV, 0, 0},
	{"", "tmpfs", "/tmp", 0, 0, 0},
};

enum { MOUNTS = sizeof mount_table / sizeof *mount_table };

/* What a kernel without devtmpfs does not make in /dev; where it did, making
 * them again fails and changes nothing. Numbers: devices.txt in the kernel's
 * admin guide. */
static const struct node {
	char name[8];
	unsigned char major, minor;
} node_table[] = {
	{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8},
	{"urandom", 1, 9}, {"kmsg", 1, 11}, {"tty", 5, 0}, {"console", 5, 1},
	{"ptmx", 5, 2},
};

/* No udev will make these in /dev, and programs write to /dev/stdout. */
static const struct link {
	char name[7], target[16];
} link_table[] = {
	{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"},
	{"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
};

static void node_make(const char *path, long major, long minor)
{
	sys4(SYS_mknodat, AT_FDCWD, (long)path, S_IFCHR | 0666,
	    major << 8 | (minor & 0xff) | (minor & ~0xff) << 12);
}

static void mount_one(const struct mount *m)
{
	long error;

	dir_make(m->path);
	error = sys_mount(m->type, m->path, m->type, m->flags, m->options);
	if (error == 0)
		return;
	if (m->required)
		die("cannot mount", m->path, error);
	/* sysfs has no place for what the kernel lacks: then ENOENT. */
	if (error != -ENODEV && error != -ENOENT)
		warn("cannot mount", m->path, error);
}

static void mounts_make(void)
{
	size_t i;

	sys1(SYS_umask, 0);
	mount_one(&mount_table[0]);
	sys1(SYS_chdir, (long)"/dev");
	for (i = 0; i < sizeof node_table / sizeof *node_table; i++)
		node_make(node_table[i].name, node_table[i].major,
		    node_table[i].minor);
	for (i = 0; i < sizeof link_table / sizeof *link_table; i++)
		sys3(SYS_symlinkat, (long)link_table[i].target, AT_FDCWD,
		    (long)link_table[i].name);
	sys1(SYS_chdir, (long)"/");
	for (i = 1; i < MOUNTS; i++)
		mount_one(&mount_table[i]);
}

/* ======================================================================
 * The host's directories
 *
 * In: the job's letters 'h' ("shares"), each a 9p device of QEMU's and where
 * it belongs. The one at "/" becomes the root, as root_switch says below.
 * Out: old_root and kept_dir.
 * ====================================================================== */

static long old_root;           /* 0: the initramfs is the root */
static long kept_dir;           /* it stays where it is, seen or not */

/* In the value of 'h', "0rDIR": the number in the tag, r or w, the directory. */
enum { SHARE_TAG, SHARE_ACCESS, SHARE_DIR };

/*
 * Mounts a share at dir, which need not be its own. What may not change
 * underneath is kept in memory for good (cache=loose), else only mapped pages
 * are (cache=mmap), so a write is the host's when it returns.
 */
static void share_mount(const char *share, const char *dir)
{
	const int writable = share[SHARE_ACCESS] == 'w';
	char tag[] = "ktestN";
	struct text options;
	long error;

	tag[5] = share[SHARE_TAG];
	text_join(&options, "trans=virtio,version=9p2000.L,msize=262144,cache=",
	    writable ? "mmap" : "loose", "");
	error = sys_mount(tag, dir, "9p", writable ? 0 : MS_RDONLY, options.s);
	if (error == -ENODEV)
		die("the kernel has no 9p (CONFIG_9P_FS, CONFIG_NET_9P_VIRTIO)",
		    NULL, 0);
	if (error != 0)
		die("cannot mount", share + SHARE_DIR, error);
}

/* Where the new root is to be found: what is written goes to a layer. */
static const char *root_layer(const char *host)
{
	long error;

	dir_make("/.layer");
	sys_mount("tmpfs", "/.layer", "tmpfs", 0, "");
	dir_make("/.layer/new");
	dir_make("/.layer/work");
	dir_make("/.root");
	error = sys_mount("overlay", "/.root", "overlay", 0, "lowerdir=/.host,"
	    "upperdir=/.layer/new,workdir=/.layer/work");
	if (error == 0)
		return "/.root";
	if (error != -ENODEV)
		die("cannot mount", "overlay", error);
	sys_mount("tmpfs", "/.host/var/tmp", "tmpfs", 0, "");
	return host;
}

/*
 * Makes what is mounted at `root` the root. Unless it may be written to, a layer
 * that keeps what is written in memory lies over it, where the kernel has
 * overlayfs; else only the memory filesystems take files. Our own mounts move
 * along, and init with them; the initramfs remains below, reached by old_root.
 * What our mounts would hide of the directory `keep` (NULL: nothing), kept_dir
 * reaches.
 */
static void root_switch(const char *root, int writable, const char *keep)
{
	const struct mount *m;
	long error;

	if (!writable)
		root = root_layer(root);
	old_root = sys_open("/", O_PATH, 0);
	sys1(SYS_chdir, (long)root);
	if (keep != NULL)
		kept_dir = sys_open(keep + 1, O_PATH, 0);
	for (m = mount_table; m < mount_table + MOUNTS; m++) {
		if (m->inside)
			continue;
		dir_make(m->path + 1);
		error = sys_mount(m->path, m->path + 1, NULL, MS_MOVE, NULL);
		if (error != 0)
			die("cannot mount", m->path, error);
	}
	sys_mount(".", "/", NULL, MS_MOVE, NULL);
	sys1(SYS_chroot, (long)".");
}

/* ======================================================================
 * Devices
 *
 * In: what /sys knows of the devices that drivers have taken. Out: names of
 * vports and network interfaces, which the host's numbering does not tell,
 * and open nodes in /dev, made where the kernel has no devtmpfs.
 * ====================================================================== */

struct job;                     /* below */

static const char vports_class[] = "/sys/class/virtio-ports/";
static const char net_class[] = "/sys/class/net/";

/* The beginning of a file as a string, "" if there is none. */
static void file_text(const char *path, char *text, size_t size)
{
	long fd = sys_open(path, O_RDONLY, 0);
	long n = sys_read(fd, text, size - 1);

	text[n > 0 ? n : 0] = '\0';
	sys_close(fd);
}

/* The first line of a small file. */
static void file_line(const char *path, char line[64])
{
	file_text(path, line, 64);
	str_cut(line, '\n');
}

/* The name of the first entry of a directory that `match` accepts, until the
 * next is found; NULL if there is none. */
static const char *dir_find(const char *dir, int (*match)(const char *entry,
    const char *want), const char *want)
{
	static char found[256];
	struct dirent {
		uint64_t inode, offset;
		uint16_t size;
		uint8_t type;
		char name[];
	};
	union {
		uint64_t align;
		char bytes[1024];
	} buffer;
	long fd = sys_open(dir, O_RDONLY | O_DIRECTORY, 0), n, at;
	const char *hit = NULL;

	while (hit == NULL && (n = sys3(SYS_getdents64, fd,
	    (long)buffer.bytes, sizeof buffer.bytes)) > 0) {
		for (at = 0; at < n && hit == NULL; ) {
			struct dirent *d = (void *)(buffer.bytes + at);

			if (match(d->name, want))
				hit = memcpy(found, d->name,
				    str_length(d->name) + 1);
			at += d->size;
		}
	}
	sys_close(fd);
	return hit;
}

static int match_beginning(const char *entry, const char *want)
{
	return str_begins(entry, want);
}

static int match_ending(const char *entry, const char *want)
{
	size_t n = str_length(entry), m = str_length(want);

	return n >= m && str_equal(entry + n - m, want);
}

/* What /sys says in CLASS ENTRY FILE, a path. */
static void attribute(const char *class, const char *entry, const char *file,
    char line[64])
{
	struct text path;

	text_join(&path, class, entry, file);
	file_line(path.s, line);
}

static int match_vport_name(const char *entry, const char *want)
{
	char name[64];

	attribute(vports_class, entry, "/name", name);
	return str_equal(name, want);
}

static int match_mac(const char *entry, const char *want)
{
	char mac[64];

	attribute(net_class, entry, "/address", mac);
	return *mac != '\0' && str_begins(want, mac);
}

/* Opens /dev/NAME, making the node where no devtmpfs does. */
static long device_open(const char *class, const char *name, long flags)
{
	struct text path;
	char numbers[64];
	long pair[2], fd;

	text_join(&path, "/dev/", name, "");
	fd = sys_open(path.s, flags, 0);
	if (fd != -ENOENT)
		return fd;
	attribute(class, name, "/dev", numbers);
	if (*numbers == '\0')
		return fd;
	str_pair(numbers, pair);
	node_make(path.s, pair[0], pair[1]);
	return sys_open(path.s, flags, 0);
}

static int has_disks;           /* of ours: they are there from boot on */

/* Has each disk of ours read its partitions anew, if that is the request, for
 * what a machine that is restored has on them is this run's; or, with 0, flush
 * what a host that ends the machine would not have: sync() leaves that to the
 * filesystems. */
static void disks_each(long request)
{
	char path[] = "/dev/vda";
	long fd;

	for (; has_disks && (fd = sys_open(path, O_RDONLY, 0)) >= 0; path[7]++) {
		if (request != 0)
			sys3(SYS_ioctl, fd, request, 0);
		else
			sys1(SYS_fsync, fd);
		sys_close(fd);
	}
}

/*
 * The kernel gives process 1 a console for fds 0 to 2, or nothing at all when
 * no console is there yet. Either way these numbers must be taken, so that no
 * file of ours ever gets one, and must not lead anywhere.
 */
static void fds_secure(void)
{
	long fd = sys_open("/dev/null", O_RDWR, 0), i;

	for (i = 0; i < 3; i++)
		sys3(SYS_dup3, fd, i, O_CLOEXEC); /* fails where it is fd */
	if (fd > 2)
		sys_close(fd);
}

/* ======================================================================
 * Modules
 *
 * In: the list that ktest wrote. A module that is there already, loaded or
 * built in, is fine; one that does not load ends the run, because what needs
 * it would fail later and less clearly.
 * ====================================================================== */

/* The whole file, which is removed, in memory; NULL if it is not there or
 * empty. */
static char *file_map(const char *path, size_t *size, long *file)
{
	long fd = *file = sys_open(path, O_RDWR, 0);
	long end = sys3(SYS_lseek, fd, 0, SEEK_END);
	char *at = NULL;

	*size = (size_t)end;
	if (end > 0)
		at = sys_map((size_t)end, MAP_SHARED, fd);
	if (at == NULL) {
		sys_close(fd);
		*file = 0;
	}
	sys_unlink(path);
	return at;
}

/* What the kernel has said since kmsg was opened: the text of the last records,
 * each of which is "NUMBERS;TEXT\nMORE" (Documentation/ABI/testing/dev-kmsg); but
 * not that a module "taints" it, which is never the reason. */
static void kmsg_tell(struct text *t, long kmsg)
{
	static char record[2][1024];
	char *s;
	long n, said = 0;

	while ((n = sys_read(kmsg, s = record[said & 1],
	    sizeof *record - 1)) > 0) {
		s[n] = '\0';
		while (*s != '\0' && !str_begins(s, "taint"))
			s++;
		said += *s == '\0';
	}
	for (n = said < 2 ? 0 : said - 2; n < said; n++) {
		s = record[n & 1];
		str_cut(s, '\n');
		s[KMSG_LINE] = '\0';
		text_add(t, ": ");
		text_add(t, str_cut(s, ';'));
	}
}

/* A line of the list, which ends with a NUL. */
static void module_load(char *line)
{
	const int may_fail = *line == '-';
	char *name = line + may_fail, *params = str_cut(name, ' ');
	long kmsg = sys_open("/dev/kmsg", O_RDONLY | O_NONBLOCK, 0), fd, error;
	struct text path, why;

	sys3(SYS_lseek, kmsg, 0, SEEK_END);
	text_join(&path, "/.ktest/", name, ".ko");
	fd = sys_open(path.s, O_RDONLY, 0);
	error = fd < 0 ? fd : sys3(SYS_finit_module, fd, (long)params, 0);
	if (error != 0 && error != -EEXIST && !may_fail) {
		text_begin(&why, "cannot load module ");
		text_add(&why, name);
		kmsg_tell(&why, kmsg);
		text_error(&why, error);
		die(why.s, NULL, 0);
	}
	sys_close(fd);
	sys_close(kmsg);
	sys_unlink(path.s);
}

static void modules_load(void)
{
	size_t size;
	long fd;
	char *list = file_map(MODULE_LIST, &size, &fd), *line, *s;

	if (list == NULL)
		return;
	for (s = line = list; s < list + size; s++)
		if (*s == '\n') {
			*s = '\0';
			if (s > line)
				module_load(line);
			line = s + 1;
		}
	sys_unmap(list, size);
	sys_close(fd);
}

/* ======================================================================
 * Ports of the virtio serial device
 *
 * "Vports". The kernel makes them one by one as the host announces them. In:
 * a name. Out: an open vport that the host is connected to. The source of all
 * this is the kernel's drivers/char/virtio_console.c.
 * ====================================================================== */

/* Without a device that works, no vport will ever come. The first message is
 * what ktest looks for to try the other way of announcing devices. */
static void vports_expect(void)
{
	if (dir_find("/sys/bus/virtio/drivers/virtio_console",
	    match_beginning, "virtio"))
		return;
	if (!dir_find("/sys/bus/virtio/devices", match_beginning, "virtio"))
		die("no virtio device found", NULL, 0);
	die("no virtio console works (CONFIG_VIRTIO_CONSOLE)", NULL, 0);
}

static const char *vport_find(const char *name)
{
	return dir_find(vports_class, match_vport_name, name);
}

static int vport_connected(long fd)
{
	struct pollfd vport = {(int32_t)fd, 0, 0};

	poll_events(&vport, 1, 0);
	return (vport.revents & POLLHUP) == 0;
}

/*
 * Waits for the vport with that name, opens it and waits until the host is
 * connected. If `position` is given, takes one whose device ends with that if
 * none has the name. The host sends a vport's name before it connects, so one
 * that is connected without a name will not get one. A vport can be opened
 * once only, and closing it throws away what has arrived, so one that was
 * opened stays open.
 */
static long vport_open(const char *name, const char *position)
{
	struct limit limit = {VPORT_WAIT, 0};
	char opened[64] = "";
	const char *entry;
	long fd = -1;

	do {
		entry = vport_find(name);
		if (entry == NULL && position != NULL)
			entry = dir_find(vports_class, match_ending, position);
		if (entry != NULL) {
			if (fd >= 0 && !str_equal(entry, opened)) {
				sys_close(fd);
				fd = -1;
			}
			if (fd < 0) {
				fd = device_open(vports_class, entry,
				    O_RDWR | O_NONBLOCK);
				if (fd >= 0 && position == NULL)
					limit.left = CONNECT_WAIT;
			}
			memcpy(opened, entry, sizeof opened);
		}
		if (fd >= 0 && vport_connected(fd))
			return fd;
	} while (limit_wait(&limit, VPORT_POLL));
	die("cannot open port", name, fd < -1 ? fd : -ETIMEDOUT);
}

/* Opens the control port. The host is ktest, whose hang-up ends the machine,
 * if the vport has the name that ktest gives it. */
static void control_open(const char *position)
{
	control_port = vport_open(CONTROL_PORT, position);
	if (vport_find(CONTROL_PORT))
		host_port = control_port;
}

/* Waits for the vport of that name and makes its link, as udev does. */
static void vport_link(struct job *job, char *name)
{
	struct limit limit = {VPORT_WAIT, 0};
	struct text path, target;
	const char *entry;

	(void)job;
	while ((entry = vport_find(name)) == NULL)
		if (!limit_wait(&limit, VPORT_POLL))
			die("cannot open port", name, -ETIMEDOUT);
	text_begin(&path, "/dev/virtio-ports/");
	dir_make(path.s);
	text_add(&path, name);
	text_join(&target, "../", entry, "");
	sys3(SYS_symlinkat, (long)target.s, AT_FDCWD, (long)path.s);
}

/* ======================================================================
 * Network
 *
 * In: the job's letters 'n' and 'l'. Out: lo is up; so is the user network's
 * interface, with its address and the way to everywhere; cables have the MAC
 * addresses of this run.
 * ====================================================================== */

struct address { /* sockaddr_in */
	uint16_t family, port;
	uint8_t ip[4], zero[8];
};

struct ifreq {
	char name[16];
	union {
		struct address address;
		struct {
			uint16_t family;
			uint8_t address[6];
		} hardware;
		int16_t flags;
		char size[24];
	} u;
};

struct route { /* rtentry */
	uint64_t pad1;
	struct address to, gateway, mask;
	uint16_t flags;
	uint64_t pad2[2];
	uint64_t metric, device, mtu, window, rtt;
};

/* 8 hexadecimal digits are the bytes of an address, the last one first. */
static void address_read(struct address *a, const char **s)
{
	const uint32_t ip = WIRE(32, (uint32_t)str_number(s, 16, 8));

	a->family = AF_INET;
	memcpy(a->ip, &ip, sizeof ip);
	(*s)++;
}

static long interface_raise(long fd, struct ifreq *request)
{
	long error = sys3(SYS_ioctl, fd, SIOCGIFFLAGS, (long)request);

	request->u.flags |= IFF_UP;
	return error | sys3(SYS_ioctl, fd, SIOCSIFFLAGS, (long)request);
}

/* A kernel without network has no socket to ask. */
static void loopback_raise(void)
{
	struct ifreq request;
	long fd = sys3(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memset(&request, 0, sizeof request);
	memcpy(request.name, "lo", 2);
	if (fd >= 0 && interface_raise(fd, &request) != 0)
		warn("cannot bring up lo", NULL, 0);
	sys_close(fd);
}

/* A socket to ask about the interface with the MAC that s begins with. */
static long interface_find(struct ifreq *request, const char *s)
{
	const char *name = dir_find(net_class, match_mac, s);

	memset(request, 0, sizeof *request);
	if (name == NULL)
		die("no network interface (CONFIG_VIRTIO_NET)", NULL, 0);
	memcpy(request->name, name, sizeof request->name - 1);
	return sys3(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

/* The interface with the MAC gets the address, comes up and is the way to
 * everywhere; its driver is there by now, since modules_load waits for
 * probes. */
static void network_raise(const char *s)
{
	struct ifreq request;
	struct route route;
	long fd = interface_find(&request, s), error, route_error;

	memset(&route, 0, sizeof route);
	s += MAC_LENGTH + 1;
	address_read(&request.u.address, &s);
	error = sys3(SYS_ioctl, fd, SIOCSIFADDR, (long)&request);
	address_read(&request.u.address, &s);
	error |= sys3(SYS_ioctl, fd, SIOCSIFNETMASK, (long)&request);
	error |= interface_raise(fd, &request);
	address_read(&route.gateway, &s);
	route.to.family = route.mask.family = AF_INET;
	route.flags = RTF_UP | RTF_GATEWAY;
	route_error = sys3(SYS_ioctl, fd, SIOCADDRT, (long)&route);
	if (error != 0 || (route_error != 0 && route_error != -EEXIST))
		die("cannot set up the network", NULL, 0);
	sys_close(fd);
}

/* "MAC NEW": a machine that was restored has the address of the one that was
 * saved, until its driver is told another. */
static void mac_change(struct job *job, char *value)
{
	struct ifreq request;
	const char *s = value;
	long fd = interface_find(&request, s);
	int i;

	(void)job;
	request.u.hardware.family = ARPHRD_ETHER;
	for (s += MAC_LENGTH + 1, i = 0; i < 6; i++, s++)
		request.u.hardware.address[i] = (uint8_t)str_number(&s, 16, 2);
	if (sys3(SYS_ioctl, fd, SIOCSIFHWADDR, (long)&request) != 0)
		die("cannot set the address of", request.name, 0);
	sys_close(fd);
}

/* ======================================================================
 * Job
 *
 * In: the archive that ktest made. Out: struct job, what its first member says;
 * all other members, made at "/" + their names: files, directories and symbolic
 * links. Missing parents are made, links in the path are followed, an existing
 * file is replaced, an existing directory stays as it is.
 * ====================================================================== */

/*
 * The archive is in cpio's "newc" format (buffer-format.rst in the kernel's
 * driver-api/early-userspace): per member a header of 110 characters, the name
 * with its NUL, zeros to a multiple of 4, the data, zeros to a multiple of 4;
 * a member named TRAILER!!! ends it. The header is "070701" and 13 numbers of
 * 8 hexadecimal digits; those of use here are mode, mtime, filesize and
 * namesize.
 *
 * The first member is named "job": strings, each ended by a NUL, each a letter
 * of the table letters[] and its value.
 *
 * The reader takes bytes in memory that may be written to. Where they are a
 * file's, it gives back the space of what it has copied, because the archive
 * and its contents together may not fit into the machine.
 */
enum {
	CPIO_HEADER = 110, CPIO_MODE = 14, CPIO_MTIME = 46, CPIO_SIZE = 54,
	CPIO_NAME_SIZE = 94, CPIO_CHECK = 102
};

struct archive {
	char *bytes;
	size_t size, at;
	long fd;                /* the file behind the bytes, if > 0 */
	const char *name;       /* the last member that was read */
};

struct member {
	char *header, *data;
	char *path;             /* the name, with '/' for the header's last */
	size_t size, data_at;
	uint32_t mode;
	int64_t mtime;
};

/* Values of letters, as they came; NULL where a letter is not there. */
struct job {
	const char *program, *copy, *dir, *core, *user, *tty, *merged, *network;
	const char *keep, *log, *leaks;
	const char *share[SHARES]; /* but the root, which is mounted at once */
	size_t shares;
	char **argv, **envp;       /* each ends with a NULL */
	char **argv_end, **envp_end;
};

__attribute__((noreturn))
static void archive_die(const struct archive *a)
{
	die("the job is damaged after", a->name, 0);
}

static uint32_t header_number(const struct archive *a, size_t offset)
{
	const char *digits = a->bytes + a->at + offset, *s = digits;
	uint64_t value = str_number(&s, 16, 8);

	if (s != digits + 8)
		archive_die(a);
	return (uint32_t)value;
}

static size_t round_up_4(size_t n)
{
	return (n + 3) & ~(size_t)3;
}

/* 1 and the next member, or 0 at the trailer. */
static int archive_next(struct archive *a, struct member *m)
{
	size_t left = a->size - a->at, name_size, data;
	const char *name;

	if (left < CPIO_HEADER || !str_begins(a->bytes + a->at, "070701"))
		archive_die(a);
	name_size = header_number(a, CPIO_NAME_SIZE);
	data = round_up_4(CPIO_HEADER + name_size);
	m->header = a->bytes + a->at;
	m->path = m->header + CPIO_HEADER - 1;
	*m->path = '/';
	name = m->path + 1;
	m->mode = header_number(a, CPIO_MODE);
	m->mtime = header_number(a, CPIO_MTIME);
	m->size = header_number(a, CPIO_SIZE);
	if (name_size == 0 || name_size > PATH_SIZE - 1 || data > left ||
	    (m->size > 0 && m->size >= left - data) ||
	    name[name_size - 1] != '\0' || str_length(name) != name_size - 1)
		archive_die(a);
	m->data_at = a->at + data;
	m->data = a->bytes + m->data_at;
	a->name = name;
	a->at = round_up_4(m->data_at + m->size);
	if (a->at > a->size)
		a->at = a->size;
	return !str_equal(name, "TRAILER!!!");
}

static void take_share(struct job *job, char *value)
{
	if (str_equal(value + SHARE_DIR, "/")) {
		dir_make("/.host");
		share_mount(value, "/.host");
		root_switch("/.host", value[SHARE_ACCESS] == 'w', job->keep);
	} else if (job->shares < SHARES)
		job->share[job->shares++] = value;
	else
		die("too many directories of the host:", value + SHARE_DIR, 0);
}

/* "DEVICE TYPE,TYPE": the first type that fits. */
static void take_image(struct job *job, char *value)
{
	char *type, *rest = str_cut(value, ' ');
	struct text device;
	long error = -EINVAL;

	text_join(&device, "/dev/", value, "");
	dir_make("/.host");
	while (error != 0 && *rest != '\0') {
		type = rest;
		rest = str_cut(type, ',');
		error = sys_mount(device.s, "/.host", type, MS_RDONLY, "");
	}
	if (error != 0)
		die("cannot mount", device.s, error);
	root_switch("/.host", 0, job->keep);
}

/* What is done with a value. Letters may come more than once but for STORE. */
enum take { STORE, APPEND, TAKE_MAC, TAKE_VPORT, TAKE_SHARE, TAKE_IMAGE };

static void (*const takes[])(struct job *job, char *value) = {
	NULL, NULL, mac_change, vport_link, take_share, take_image
};

/* What a job can say. A value is stored in the field of struct job, appended
 * where that points to, or taken by a function. */
static const struct letter {
	char letter;
	unsigned char field, take;
} letters[] = {
	/* PATH: the program */
	{'p', offsetof(struct job, program), STORE},
	/* PATH: the program if there is none at that of 'p' */
	{'i', offsetof(struct job, copy), STORE},
	/* an argument, argv[0] first */
	{'a', offsetof(struct job, argv_end), APPEND},
	/* NAME=VALUE: an environment variable */
	{'e', offsetof(struct job, envp_end), APPEND},
	/* PATH: the working directory, "/" if not there */
	{'d', offsetof(struct job, dir), STORE},
	/* SOFT:HARD: RLIMIT_CORE, in bytes or UNLIMITED */
	{'c', offsetof(struct job, core), STORE},
	/* ROWS COLUMNS: the program has a terminal of that size */
	{'t', offsetof(struct job, tty), STORE},
	/* UID GID: the program's user and group, root if not there */
	{'u', offsetof(struct job, user), STORE},
	/* nothing: stderr goes where stdout goes, through one pipe */
	{'m', offsetof(struct job, merged), STORE},
	/* "b" or nothing: the kernel's log is sent, with "b" from boot on */
	{'k', offsetof(struct job, log), STORE},
	/* nothing: what leaks is looked for with kmemleak, and sent */
	{'s', offsetof(struct job, leaks), STORE},
	/* MAC ADDRESS MASK GATEWAY: the network interface to configure; the
	 * last three in 8 hexadecimal digits, the last byte first */
	{'n', offsetof(struct job, network), STORE},
	/* MAC NEW: the interface with this MAC address gets another */
	{'l', 0, TAKE_MAC},
	/* NAME: a vport that the program finds in /dev/virtio-ports */
	{'v', 0, TAKE_VPORT},
	/* PATH: a directory of the new root that our own mounts must not
	 * hide; comes before 'h' */
	{'b', offsetof(struct job, keep), STORE},
	/* NUMBER ACCESS PATH, without spaces: the host's directory with the
	 * tag ktestNUMBER, a digit, is to be seen at PATH; ACCESS is r or w.
	 * The root ("/") comes first */
	{'h', 0, TAKE_SHARE},
	/* DEVICE TYPES: the root is a filesystem of one of these types, which
	 * have commas between them, on /dev/DEVICE, read-only; before 'h' */
	{'r', 0, TAKE_IMAGE},
};

static void job_line(struct job *job, char *line)
{
	const struct letter *l;
	char *value = line + 1;
	void *field;

	for (l = letters; l < letters + sizeof letters / sizeof *l; l++) {
		if (l->letter != line[0])
			continue;
		field = (char *)job + l->field;
		if (l->take == STORE)
			*(char **)field = value;
		else if (l->take == APPEND)
			*(*(char ***)field)++ = value;
		else
			takes[l->take](job, value);
		return;
	}
	die("the job has a line that this init does not know:", line, 0);
}

/*
 * Memory that is there before the program starts, and mapped anew where the
 * reserve, which memory_hold makes, has no room for it: whoever restores a
 * machine finds it with all its pages.
 */
static char *reserve;
static size_t reserve_taken;

static void *memory_take(size_t size)
{
	void *at;

	size = (size + 15) & ~(size_t)15;
	if (reserve != NULL && size <= RESERVE - reserve_taken) {
		reserve_taken += size;
		return reserve + reserve_taken - size;
	}
	at = sys_map(size, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (at == NULL)
		die("no memory for the job", NULL, 0);
	return at;
}

/* Reads the first member. What the job points to is a copy, so the archive
 * can go; it stays until the program is started. */
static void job_read(struct archive *a, struct job *job)
{
	size_t i, next, strings = 0;
	struct member m;
	char *text;

	if (!archive_next(a, &m) || !str_equal(m.path, "/job") ||
	    m.size == 0 || m.data[m.size - 1] != '\0')
		archive_die(a);
	for (i = 0; i < m.size; i++)
		strings += m.data[i] == '\0';
	strings += 2; /* KTEST_BOOT, the NULL */
	job->argv = memory_take(2 * strings * sizeof *job->argv + m.size);
	job->argv_end = job->argv;
	job->envp = job->envp_end = job->argv + strings;
	text = (char *)(job->envp + strings);
	memcpy(text, m.data, m.size);
	for (i = 0; i < m.size; i = next) {
		next = i + str_length(text + i) + 1;
		job_line(job, text + i); /* which may cut it */
	}
	if (job->program == NULL || job->argv[0] == NULL)
		archive_die(a);
}

/* Makes those that `last`, the path that was here before, does not have. To try
 * without first costs more. */
static void parents_make(char *path, const char *last)
{
	size_t i;
	int same = 1;

	for (i = 1; path[i] != '\0'; i++) {
		same = same && path[i] == last[i];
		if (path[i] == '/' && !same) {
			path[i] = '\0';
			dir_make(path);
			path[i] = '/';
		}
	}
}

static long times_set(long dir, const char *path, int64_t mtime, long flags)
{
	struct timespec times[2] = {{0, 0}, {0, 0}};

	times[0].sec = times[1].sec = mtime;
	return sys4(SYS_utimensat, dir, (long)path, (long)times, flags);
}

static long unpack_file(const struct archive *a, const struct member *m)
{
	const long mode = (m->mode & 0777) | 0600;
	long n, fd = sys4(SYS_openat, AT_FDCWD, (long)m->path,
	    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	size_t done, part;

	if (fd < 0)
		return fd;
	for (done = 0; done < m->size; done += (size_t)n) {
		part = m->size - done;
		n = sys_write(fd, m->data + done,
		    part < UNPACK_CHUNK ? part : UNPACK_CHUNK);
		if (n <= 0) {
			sys_close(fd);
			return n < 0 ? n : -ENOSPC;
		}
		/* Not every filesystem can; nothing is lost where not. */
		if (a->fd > 0)
			sys4(SYS_fallocate, a->fd,
			    FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
			    (long)(m->data_at + done), n);
	}
	if ((m->mode & 07777) != mode)
		sys2(SYS_fchmod, fd, m->mode & 07777);
	times_set(fd, NULL, m->mtime, 0);
	sys_close(fd);
	return 0;
}

static long unpack_link(const struct member *m)
{
	char *end = m->data + m->size, next = *end;
	long error;

	*end = '\0';
	error = sys3(SYS_symlinkat, (long)m->data, AT_FDCWD, (long)m->path);
	*end = next;
	if (error == 0)
		times_set(AT_FDCWD, m->path, m->mtime, AT_SYMLINK_NOFOLLOW);
	return error;
}

/* The header's check field means nothing in this format: it remembers which
 * directories are new, whose times are set when all is in them. */
static long unpack_dir(const struct member *m)
{
	long fd, error = sys3(SYS_mkdirat, AT_FDCWD, (long)m->path,
	    m->mode & 01777);

	if (error == 0) {
		m->header[CPIO_CHECK] = 'n';
		if ((m->mode & 06000) != 0)
			sys3(SYS_fchmodat, AT_FDCWD, (long)m->path,
			    m->mode & 07777);
		return 0;
	}
	if (error != -EEXIST)
		return error;
	m->header[CPIO_CHECK] = '0';
	fd = sys_open(m->path, O_PATH | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	sys_close(fd);
	return 0;
}

static long unpack_member(const struct archive *a, const struct member *m)
{
	switch (m->mode & S_IFMT) {
	case S_IFREG:
		return unpack_file(a, m);
	case S_IFLNK:
		return unpack_link(m);
	case S_IFDIR:
		return unpack_dir(m);
	default:
		return -EINVAL;
	}
}

/* Everything behind the job itself. */
static void job_unpack(struct archive *a)
{
	size_t start = a->at;
	const char *last = "/";
	struct member m;
	long error;

	for (; archive_next(a, &m); last = m.path) {
		parents_make(m.path, last);
		do
			error = unpack_member(a, &m);
		while (error == -EEXIST && (error = sys_unlink(m.path)) == 0);
		if (error != 0)
			die("cannot unpack", m.path, error);
	}
	for (a->at = start; archive_next(a, &m); )
		if ((m.mode & S_IFMT) == S_IFDIR &&
		    m.header[CPIO_CHECK] == 'n')
			times_set(AT_FDCWD, m.path, m.mtime, 0);
}

/* What comes to lie over the directories that were unpacked. */
static void job_mounts(const struct job *job)
{
	size_t i;

	if (kept_dir > 0) {
		sys1(SYS_fchdir, kept_dir);
		sys_mount(".", job->keep, NULL, MS_BIND, NULL);
	}
	for (i = 0; i < job->shares; i++)
		share_mount(job->share[i], job->share[i] + SHARE_DIR);
}

/* ======================================================================
 * Program
 *
 * In: the job and the three fds that it shall have. The child takes nothing
 * else along: every other fd closes on exec, handlers are reset by it, its
 * session is new and its signal mask empty. If it cannot become the program,
 * it says why on what would have been the program's stderr.
 * ====================================================================== */

/* The parts of an ELF file that name its interpreter (elf.h's names). */
struct elf_header {
	unsigned char ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, phoff, shoff;
	uint32_t flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf_segment {
	uint32_t type, flags;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

enum { EI_CLASS = 4, ELFCLASS64 = 2, PT_INTERP = 3, INTERP_SIZE = 256 };

static int elf_interpreter(long fd, const struct elf_header *h, char *name)
{
	struct elf_segment s;
	uint16_t i;

	for (i = 0; i < h->phnum; i++) {
		if (sys4(SYS_pread64, fd, (long)&s, sizeof s,
		    (long)(h->phoff + (uint64_t)i * sizeof s)) != sizeof s)
			return 0;
		if (s.type == PT_INTERP)
			return s.filesz < INTERP_SIZE && sys4(SYS_pread64, fd,
			    (long)name, (long)s.filesz, (long)s.offset) > 0;
	}
	return 0;
}

static int script_interpreter(const char *line, char *name)
{
	size_t n = 0;

	for (line += 2; *line == ' ' || *line == '\t'; line++)
		continue;
	while (*line > ' ' && n < INTERP_SIZE - 1)
		name[n++] = *line++;
	return n > 0;
}

/* Which program runs this one; 0 if it names none that we can tell. */
static int interpreter_find(const char *path, char *name)
{
	union {
		struct elf_header elf;
		char line[INTERP_SIZE];
	} head;
	long fd = sys_open(path, O_RDONLY, 0), n;
	int found = 0;

	memset(&head, 0, sizeof head);
	memset(name, 0, INTERP_SIZE);
	n = sys_read(fd, head.line, sizeof head.line - 1);
	if (n > 2 && head.line[0] == '#' && head.line[1] == '!')
		found = script_interpreter(head.line, name);
	else if (n >= (long)sizeof head.elf &&
	    str_begins(head.line, "\177ELF") &&
	    head.elf.ident[EI_CLASS] == ELFCLASS64 &&
	    head.elf.phentsize == sizeof(struct elf_segment))
		found = elf_interpreter(fd, &head.elf, name);
	sys_close(fd);
	return found;
}

/* "Not found" for a program that is there means that an interpreter is not:
 * its own, or that of its interpreter (a script's shell has one too). */
static void explain_missing(struct text *t, const char *path)
{
	char name[INTERP_SIZE];
	int depth;

	if (!file_exists(path)) {
		text_add(t, "not found in the guest");
		return;
	}
	text_add(t, "its interpreter");
	for (depth = 0; depth < 4 && interpreter_find(path, name); depth++) {
		path = name;
		if (!file_exists(name)) {
			text_char(t, ' ');
			text_add(t, name);
			break;
		}
	}
	text_add(t, " is not found in the guest");
}

__attribute__((noreturn))
static void child_fail(const struct job *job, const char *what,
    const char *dir, long error)
{
	struct text t;
	int status = STATUS_NOT_EXECUTED;

	text_join(&t, "ktest: ", job->argv[0], ": ");
	if (*dir == '\0' && (error == -ENOENT || error == -ENOTDIR)) {
		status = STATUS_NOT_FOUND;
		explain_missing(&t, job->program);
	} else {
		text_add(&t, what);
		text_add(&t, dir);
		text_error(&t, error);
	}
	text_newline(&t);
	sys_write(2, t.s, t.length);
	for (;;)
		sys1(SYS_exit, status);
}

/* The program's streams become its own, too: it may open /dev/stdout. */
static long user_become(const char *s)
{
	long ids[2], i;

	str_pair(s, ids);
	for (i = 0; i < 3; i++)
		sys3(SYS_fchown, i, ids[0], ids[1]);
	return sys2(SYS_setgroups, 0, 0) | sys1(SYS_setgid, ids[1]) |
	    sys1(SYS_setuid, ids[0]);
}

/* What a child does before it knows its job; tty says that it has one. */
static void child_begin(const long fds[3], int tty)
{
	int32_t pid = (int32_t)sys1(SYS_getpid, 0);
	long i;

	for (i = 0; i < 3; i++)
		sys3(SYS_dup3, fds[i], i, 0);
	if (tty) {
		sys2(SYS_setpgid, 0, 0);
		sys3(SYS_ioctl, 0, TIOCSPGRP, (long)&pid);
	} else {
		sys1(SYS_setsid, 0);
	}
	sys1(SYS_umask, 022);
	signal_mask(0);
}

__attribute__((noreturn))
static void child_become(const struct job *job)
{
	long error = 0, core[2]; /* struct rlimit64: soft, hard */

	/* process 1 has this limit, and stands in "/" */
	if (job->core != NULL &&
	    (in_image || !str_equal(job->core, "0:" UNLIMITED))) {
		str_pair(job->core, core);
		sys4(SYS_prlimit64, 0, RLIMIT_CORE, (long)core, 0);
	}
	if (in_image || job->dir[1] != '\0')
		error = sys1(SYS_chdir, (long)job->dir);
	if (error != 0)
		child_fail(job, "cannot enter its working directory ",
		    job->dir, error);
	if (job->user != NULL)
		error = user_become(job->user);
	if (error == 0)
		error = sys3(SYS_execve, (long)job->program,
		    (long)job->argv, (long)job->envp);
	child_fail(job, "cannot be executed", "", error);
}

static long child_start(const struct job *job, const long fds[3])
{
	long pid = sys_vfork(); /* no copy of our memory is made */

	if (pid < 0)
		die("cannot start a process", NULL, pid);
	if (pid == 0) {
		child_begin(fds, job->tty != NULL);
		child_become(job);
	}
	return pid;
}

/* A child that shares our memory, with a stack of its own; it returns from the
 * system call to where that says. */
static long child_clone(void (*run)(void), long *stack_end)
{
	stack_end[-2] = (long)run;
	return sys_clone(stack_end - 2);
}

static long corpse_flag;        /* the program is looked at, but not buried */
static int32_t child_info[32];  /* siginfo_t: [2] code, [4] pid, [6] status */

/* Finds a child by waitid's flags: any, or that with this pid. Returns its pid;
 * 0: none now, negative: none at all. */
static long child_find(long pid, long flags)
{
	long error;

	child_info[4] = 0; /* as Linux before 4.13 leaves it */
	error = sys5(SYS_waitid, pid > 0, pid, (long)child_info,
	    flags | WNOHANG, 0);
	return error < 0 ? error : child_info[4];
}

/* To bury the program is work that nobody needs; but before 5.17 Linux tells
 * who only looks the status of a first thread, not of the process. */
static void corpse_prepare(void)
{
	char names[6][65]; /* struct new_utsname */
	long version[2];

	sys1(SYS_uname, (long)names);
	str_pair(names[2], version);
	if (version[0] * 1000 + version[1] >= 5017)
		corpse_flag = WNOWAIT;
}

/* Buries who has ended until that is the program; who asked to be traced by init
 * and stopped stays so. Returns the program's status, negative: it has none. */
static int children_reap(long program)
{
	long pid;

	do
		while ((pid = child_find(0, WEXITED | corpse_flag)) > 0) {
			if (pid == program && child_info[2] <= CLD_DUMPED)
				return child_info[6] +
				    (child_info[2] == CLD_EXITED ? 0 : 128);
			child_find(pid, WEXITED);
		}
	while (child_file_read());
	return -1;
}

/* ======================================================================
 * Terminal
 *
 * In: the job's letter 't'. Out: a pty whose master takes the place of the
 * program's pipes, and its size, which the host may change while the program
 * runs.
 * ====================================================================== */

static long terminal;           /* the master; 0: there is none */

/* Takes the number of rows and that of columns as struct window has them. */
static void terminal_size(const void *rows_columns)
{
	uint16_t size[4] = {0, 0, 0, 0}; /* struct winsize */

	memcpy(size, rows_columns, 4);
	size[0] = WIRE(16, size[0]);
	size[1] = WIRE(16, size[1]);
	sys3(SYS_ioctl, terminal, TIOCSWINSZ, (long)size);
}

/*
 * Returns the program's end. Init leads the session: were it the program, all
 * that is still on its way to the master would be thrown away when it ends
 * (pty_flush_buffer() in the kernel). For the same reason, and because the
 * master of a pty that nobody has open gives an error, init keeps the
 * program's end open, too.
 */
static long terminal_open(const char *size)
{
	uint16_t winsize[4] = {0, 0, 0, 0};
	long pair[2];
	int32_t locked = 0;
	long fd;

	terminal = sys_open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK, 0);
	sys3(SYS_ioctl, terminal, TIOCSPTLCK, (long)&locked);
	fd = sys3(SYS_ioctl, terminal, TIOCGPTPEER,
	    O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		die("cannot make a terminal (CONFIG_UNIX98_PTYS)", NULL, fd);
	str_pair(size, pair);
	winsize[0] = (uint16_t)pair[0];
	winsize[1] = (uint16_t)pair[1];
	sys3(SYS_ioctl, terminal, TIOCSWINSZ, (long)winsize);
	sys1(SYS_setsid, 0);
	sys3(SYS_ioctl, fd, TIOCSCTTY, 0);
	return fd;
}

/* ======================================================================
 * Explanation
 *
 * In: the host's message 'd'. Out: what struct explain says, and before the
 * program starts the two sysctls by which an NMI explains a processor that
 * takes no interrupts. What a kernel was built without is left out.
 * ====================================================================== */

enum { TASKS_TOLD = 256 };

static long program_pid;
static int tasks_told;

static void tell(struct text *t)
{
	text_newline(t);
	control_send(MESSAGE_TOLD, t->s, t->length);
}

/* What /proc has in PID/task/TID/NAME. */
static void task_file(const char *pid, const char *tid, const char *name,
    char *bytes, size_t size)
{
	struct text path;

	text_join(&path, "/proc/", pid, "/task/");
	text_add(&path, tid);
	text_add(&path, name);
	file_text(path.s, bytes, size);
}

/* Adds the first word of s, "-" where there is none. */
static void text_word(struct text *t, const char *s)
{
	text_char(t, ' ');
	if (*s <= ' ')
		text_char(t, '-');
	while (*s > ' ')
		text_char(t, *s++);
}

/* The kernel's stack: "[<0>] FUNCTION+0x1/0x2 [MODULE]" a line. */
static void stack_tell(char *s)
{
	struct text t;
	char *rest;

	for (; *s != '\0'; s = rest) {
		rest = str_cut(s, '\n');
		text_join(&t, "+", str_cut(s, ' '), "");
		tell(&t);
	}
}

/* Accepts none, so that dir_find goes on to the last. In stat a name, which
 * may hold anything, stands in parentheses; kernel threads are children of
 * process 2. */
static int match_thread(const char *tid, const char *pid)
{
	char stat[256], bytes[2048], *name, *s, *end;
	struct text t;

	if (*tid < '0' || *tid > '9' || tasks_told > TASKS_TOLD)
		return 0;
	task_file(pid, tid, "/stat", stat, sizeof stat);
	name = end = str_cut(stat, '(');
	for (s = name; *s != '\0'; s++)
		if (*s == ')')
			end = s;
	if (str_length(end) < 6 || str_begins(end + 4, "2 ") ||
	    str_equal(pid, "2") || ++tasks_told > TASKS_TOLD)
		return 0;
	*end = '\0';
	text_begin(&t, "task");
	text_word(&t, tid);
	text_word(&t, pid);
	text_word(&t, end + 4);
	text_word(&t, end + 2);
	task_file(pid, tid, "/wchan", bytes, sizeof bytes);
	text_word(&t, str_equal(bytes, "0") ? "" : bytes);
	task_file(pid, tid, "/syscall", bytes, sizeof bytes);
	text_word(&t, bytes);
	text_char(&t, ' ');
	text_add(&t, name);
	tell(&t);
	task_file(pid, tid, "/stack", bytes, sizeof bytes);
	stack_tell(bytes);
	return 0;
}

static int match_process(const char *pid, const char *self)
{
	struct text path;

	text_join(&path, "/proc/", pid, "/task");
	return *pid >= '0' && *pid <= '9' && !str_equal(pid, self) &&
	    dir_find(path.s, match_thread, pid) != NULL;
}

/* The first three lines of meminfo say how much there is, and is left. */
static void memory_tell(void)
{
	char bytes[128], *s = bytes;
	struct text t;
	int lines = 0;

	file_line("/proc/loadavg", bytes);
	text_join(&t, "load ", bytes, "; ");
	file_text("/proc/meminfo", bytes, sizeof bytes);
	for (; *s != '\0' && lines < 3; s++)
		if (*s == '\n')
			text_add(&t, ++lines < 3 ? ", " : "");
		else if (*s > ' ' || s[1] > ' ')
			text_char(&t, *s);
	tell(&t);
}

/* SysRq prints at the level of information, which `quiet` hides. Of a single
 * processor it would only tell what init does. */
static void sysrq_print(int tasks)
{
	char level[64], cpus[64];

	file_line("/proc/sys/kernel/printk", level);
	file_line("/sys/devices/system/cpu/online", cpus);
	file_write("/proc/sys/kernel/printk", "8");
	if (!str_equal(cpus, "0"))
		file_write("/proc/sysrq-trigger", "l");
	file_write("/proc/sysrq-trigger", "w");
	if (tasks)
		file_write("/proc/sysrq-trigger", "t");
	file_write("/proc/sys/kernel/printk", level);
}

static void explain(const void *request)
{
	const struct explain *what = request;
	struct text t;

	text_begin(&t, "program ");
	text_number(&t, (unsigned)program_pid);
	tell(&t);
	tasks_told = 0;
	dir_find("/proc", match_process, "1");
	memory_tell();
	sysrq_print(what->tasks);
	text_begin(&t, "");
	tell(&t);
}

/* An NMI that nobody asked for panics, and the panic says what the processor
 * does. Not with a PMU, which raises such NMIs now and then. */
static void nmi_prepare(void)
{
	if (!IS_X86 || dir_find("/sys/bus/event_source/devices",
	    match_beginning, "cpu"))
		return;
	file_write("/proc/sys/kernel/panic_on_unrecovered_nmi", "1");
	file_write("/proc/sys/kernel/unknown_nmi_panic", "1");
}

/* ======================================================================
 * Relay
 *
 * In: the program's pipes or terminal, and the vports. Out: the bytes of one
 * are in the other, by a flow for each stream. A slow reader slows its writer
 * and nobody else, because a flow reads only when its buffer is empty.
 * ====================================================================== */

enum flow_name { FLOW_IN, FLOW_OUT, FLOW_ERR, FLOW_LOG, FLOWS };

struct flow {
	long from, to;          /* -1: closed */
	size_t at, length;      /* what of the buffer is yet to be written */
	uint64_t written;
	int starts;             /* stdin: its first byte is still to come */
	/* Poll called it ready, but it could not move: a vport that is not
	 * connected, or lost, or a kernel without memory for the copy. It is
	 * left alone for REST milliseconds, so that nothing here spins. */
	int resting;
	char *buffer;           /* CHUNK bytes */
};

/* Nothing more comes, so nobody waits for the other end to close. */
static void flow_end(struct flow *f)
{
	f->from = -1;
	f->length = 0;
}

static void flow_close(struct flow *f)
{
	sys_close(f->from);
	flow_end(f);
}

/* As many records of the kernel's log as there are and as fit: a read takes
 * one, and fails once if those that would be next were overwritten. */
static int flow_read_log(struct flow *f)
{
	long n;

	f->at = f->length = 0;
	while (f->length <= CHUNK - RECORD) {
		n = sys_read(f->from, f->buffer + f->length, RECORD);
		if (n == -EPIPE) {
			memcpy(f->buffer + f->length, "-\n", 2);
			n = 2;
		}
		if (n <= 0)
			break;
		f->length += (size_t)n;
	}
	return f->length > 0;
}

/* 0 if there was nothing to read. The end is an event too. */
static int flow_read(struct flow *f, int final)
{
	long n = sys_read(f->from, f->buffer, CHUNK);

	if (n == -EINTR || n == -ENOMEM || (n == -EAGAIN && !final))
		return 0;
	if (n <= 0) {
		if (f->starts)
			return 0;
		flow_end(f);
		return 1;
	}
	if (f->starts && f->buffer[0] == 'e')
		flow_end(f);
	f->at = f->starts != 0;
	f->length = (size_t)n - f->at;
	f->starts = 0;
	return 1;
}

/* 0 if nothing could be written. Who refuses for good gets nothing more. */
static int flow_write(struct flow *f)
{
	long n = sys_write(f->to, f->buffer + f->at, f->length);

	if (n == -EAGAIN || n == -EINTR || n == -ENOMEM || n == 0)
		return 0;
	if (n < 0) {
		flow_close(f);
		return 1;
	}
	f->at += (size_t)n;
	f->length -= (size_t)n;
	f->written += (uint64_t)n;
	return 1;
}

static int flow_open(const struct flow *f)
{
	return f->length > 0 || f->from >= 0;
}

/* What the host says while the program runs. */
static const struct {
	unsigned char letter, size;
	void (*take)(const void *rest);
} messages[] = {
	{MESSAGE_WINDOW, sizeof(struct window), terminal_size},
	{MESSAGE_EXPLAIN, sizeof(struct explain), explain},
};

/* Takes some of it; a letter that is not known is skipped. */
static void control_take(void)
{
	static unsigned char message[1 + sizeof(struct window)];
	static size_t have, size, i;
	long n = sys_read(control_port, message + have,
	    have > 0 ? 1 + size - have : 1);

	if (n <= 0)
		return;
	if (have == 0)
		for (i = 0, size = 0; i < sizeof messages / sizeof *messages;
		    i++)
			if (messages[i].letter == message[0]) {
				size = messages[i].size;
				break;
			}
	have += (size_t)n;
	if (have < 1 + size)
		return;
	have = 0;
	if (size > 0)
		messages[i].take(message + 1);
}

/*
 * One turn for all flows: wait until one of them can move, or a child ends,
 * or the time is over; move.
 * `final` says that nobody writes into the pipes any more: an empty one is
 * at its end, even if a process that cannot be killed still holds it open.
 */
static void flows_turn(struct flow *flows, int final, int64_t ms)
{
	struct pollfd fds[FLOWS + 3];
	int i;

	for (i = 0; i < FLOWS; i++) {
		struct flow *f = &flows[i];

		fds[i].fd = (int32_t)(f->length > 0 ? f->to : f->from);
		fds[i].events = f->length > 0 ? POLLOUT : POLLIN;
		fds[i].revents = 0;
		if (f->resting) {
			f->resting = 0;
			fds[i].fd = -1;
			if (ms < 0 || ms > REST)
				ms = REST;
		} else if (final && f->length == 0 && f->from >= 0 &&
		    i != FLOW_LOG) {
			ms = 0;
		}
	}
	fds[FLOWS].fd = (int32_t)control_port;
	fds[FLOWS].events = POLLIN;
	fds[FLOWS].revents = 0;
	wait_events(fds, FLOWS + 1, ms);
	if (fds[FLOWS].revents != 0)
		control_take();
	for (i = 0; i < FLOWS; i++) {
		struct flow *f = &flows[i];

		if (f->length > 0 && fds[i].revents != 0)
			f->resting = !flow_write(f);
		else if (i == FLOW_LOG)
			f->resting = fds[i].revents != 0 && !flow_read_log(f);
		else if (f->from >= 0 && (fds[i].revents != 0 || final))
			f->resting = !flow_read(f, final);
	}
}

/* The program's end of a pipe; ours is what the flow has. */
static long pipe_make(long *ours, int ours_reads)
{
	int32_t ends[2];
	long error = sys2(SYS_pipe2, (long)ends, O_CLOEXEC);

	if (error != 0)
		die("cannot make a pipe", NULL, error);
	*ours = ends[!ours_reads];
	sys3(SYS_fcntl, *ours, F_SETFL, O_NONBLOCK);
	return ends[ours_reads];
}

/* What the program has for 0, 1 and 2, and the other ends in the flows. */
static void streams_make(const struct job *job, struct flow *flows, long *fds)
{
	if (job->tty != NULL) {
		fds[0] = fds[1] = fds[2] = terminal_open(job->tty);
		flows[FLOW_IN].to = terminal;
		flows[FLOW_OUT].from = sys3(SYS_fcntl, terminal,
		    F_DUPFD_CLOEXEC, 0);
		return;
	}
	fds[0] = pipe_make(&flows[FLOW_IN].to, 0);
	fds[1] = pipe_make(&flows[FLOW_OUT].from, 1);
	fds[2] = job->merged ? fds[1] : pipe_make(&flows[FLOW_ERR].from, 1);
}

/*
 * The program of a machine that is restored is a child before its job is
 * there: it waits at its stdin, for a byte that says so, or for the end of
 * file. Then it becomes the program if that has no stdin, else it ends. It
 * shares our memory, so it finds the job.
 */
static struct {
	const struct job *job;
	long pid, fds[3], stdin; /* the last: our end */
	volatile int begun, ends;
} waiting;

static void child_wait(void)
{
	char byte;

	sys_close(waiting.stdin);
	child_begin(waiting.fds, 0);
	file_exists("/proc/self/exe"); /* C libraries and Go look there */
	waiting.begun = 1;
	if (sys_read(0, &byte, 1) == 1 || waiting.ends) {
		if (waiting.job->merged != NULL)
			sys3(SYS_dup3, 1, 2, 0);
		if (old_root > 0) {
			sys1(SYS_chdir, (long)"/..");
			sys1(SYS_chroot, (long)".");
		}
		child_become(waiting.job);
	}
	for (;;)
		sys1(SYS_exit, 0);
}

static void child_prepare(const struct job *job, struct flow *flows)
{
	static long stack[1024] __attribute__((aligned(16)));
	int i;

	waiting.job = job;
	streams_make(job, flows, waiting.fds);
	waiting.stdin = flows[FLOW_IN].to;
	waiting.pid = child_clone(child_wait, stack + 1024);
	/* the kernel keeps the memory that it takes for a signal */
	sys2(SYS_kill, sys1(SYS_getpid, 0), SIGCHLD);
	/* its end of its stdin stays open where there is none, so that no
	 * pipe has to be freed when it ends */
	for (i = 1; i < 3; i++)
		sys_close(waiting.fds[i]);
	/* once, and not in each machine that is restored */
	for (i = 0; i < LIMIT_STEP && waiting.pid > 0 && !waiting.begun; i++)
		sleep_ms(VPORT_POLL);
}

static void stdin_close(struct flow *in)
{
	sys_close(in->to);
	in->to = -1;
}

/* The child that waits becomes the program, unless that has a terminal. */
static long program_start(const struct job *job, struct flow *flows)
{
	long fds[3], program = waiting.pid;

	waiting.pid = 0;
	if (program > 0 && (job->merged != NULL || job->tty != NULL))
		flow_close(&flows[FLOW_ERR]);
	if (program > 0 && job->tty == NULL) {
		flows_turn(flows, 0, 0);
		waiting.ends = flows[FLOW_IN].from < 0;
		if (waiting.ends) {
			stdin_close(&flows[FLOW_IN]);
			return program;
		}
		sys_close(waiting.fds[0]);
		sys_write(waiting.stdin, "", 1);
		return program;
	}
	if (program > 0) {
		sys_close(waiting.stdin);
		sys_close(waiting.fds[0]);
		flow_close(&flows[FLOW_OUT]);
	}
	streams_make(job, flows, fds);
	program = child_start(job, fds);
	if (terminal == 0) {
		sys_close(fds[0]);
		sys_close(fds[1]);
		if (!job->merged)
			sys_close(fds[2]);
	}
	return program;
}

/* Runs the program with pipes or a terminal between it and the vports; returns
 * its status as soon as it has ended, whatever else still runs. */
static int program_run(const struct job *job, struct flow *flows)
{
	long program = program_pid = program_start(job, flows);
	int64_t type_at = 0;
	int status;

	while ((status = children_reap(program)) < 0) {
		flows_turn(flows, 0, type_at != 0 ? RETYPE :
		    flow_open(&flows[FLOW_IN]) || flows[FLOW_IN].to < 0 ? -1 : 0);
		if (!flow_open(&flows[FLOW_IN]) && flows[FLOW_IN].to >= 0) {
			/* who has a terminal types an end, and again: a shell
			 * that was not at its prompt yet has missed it */
			if (terminal == 0) {
				stdin_close(&flows[FLOW_IN]);
			} else if (clock_ms() >= type_at) {
				sys_write(terminal, "\4\4", 2);
				type_at = clock_ms() + RETYPE;
			}
		}
	}
	return status;
}

/* ======================================================================
 * Health
 *
 * In: the job's letters 'k' and 's'. Out: the kernel's log, and what kmemleak
 * reports, in ktest.log; whether the kernel is tainted. What it says is the
 * host's to judge.
 * ====================================================================== */

static long taint_file;         /* open for each look: there are two */

static uint64_t taint_read(void)
{
	char line[64] = "";
	const char *s = line;

	sys4(SYS_pread64, taint_file, (long)line, sizeof line - 1, 0);
	return str_number(&s, 10, 20);
}

/* Before the job is there, once for all restored machines. All that is logged
 * from now on is for the console, too: what we cannot send any more, it still
 * has. A kernel without a log has none to read. */
static void log_open(struct flow *log)
{
	log->from = sys_open("/dev/kmsg", O_RDONLY | O_NONBLOCK, 0);
	sys3(SYS_lseek, log->from, 0, SEEK_END);
	file_write("/proc/sys/kernel/printk", "8");
}

static void log_begin(const struct job *job, struct flow *log)
{
	if (job->log == NULL)
		flow_close(log);
	else if (job->log[0] == 'b')
		sys3(SYS_lseek, log->from, 0, SEEK_SET);
}

/* Hands the flow's buffer to the vport; its reader is the host alone. */
static void log_flush(struct flow *log)
{
	while (log->length > 0)
		if (!flow_write(log))
			sleep_ms(VPORT_POLL);
}

static void log_drain(struct flow *log)
{
	struct limit limit = {LOG_WAIT, 0};

	do
		log_flush(log);
	while (log->from >= 0 && flow_read_log(log) && limit_wait(&limit, 0));
	log_flush(log);
}

/*
 * Documentation/dev-tools/kmemleak.rst, "Testing specific sections". An object
 * is reported by the second scan that finds nothing that points to it, if it
 * is as old as LEAK_AGE when that begins; "clear" forgets what was reported.
 */
static const char leaks_file[] = "/sys/kernel/debug/kmemleak";

static void leaks_write(const char *command)
{
	long n = file_write(leaks_file, command);

	if (n < 0)
		die("-kmemleak: cannot use kmemleak (CONFIG_DEBUG_KMEMLEAK)",
		    leaks_file, n);
}

static void leaks_scan(void)
{
	leaks_write("scan");
	sleep_ms(LEAK_AGE);
	leaks_write("scan");
}

static void leaks_forget(const struct job *job)
{
	if (job->leaks == NULL)
		return;
	leaks_scan();
	leaks_write("clear");
}

/* Sends the report, with '+' before each line. */
static void leaks_send(const struct job *job, struct flow *log)
{
	static char text[CHUNK / 2];
	long fd, n, i;
	int begins = 1;

	if (job->leaks == NULL)
		return;
	leaks_scan();
	log_flush(log);
	fd = sys_open(leaks_file, O_RDONLY, 0);
	while ((n = sys_read(fd, text, sizeof text)) > 0) {
		log->at = 0;
		for (i = 0; i < n; i++) {
			if (begins)
				log->buffer[log->length++] = '+';
			log->buffer[log->length++] = text[i];
			begins = text[i] == '\n';
		}
		log_flush(log);
	}
	sys_close(fd);
}

/* ======================================================================
 * Verdict
 *
 * In: the program's status. All other processes are killed, so that nobody is
 * left to write, the pipes are emptied, the disks are synced. Out: what the
 * verdict says. What the guest alone has to do for it has its limit.
 * ====================================================================== */

static void processes_kill(void)
{
	struct limit limit = {REAP_WAIT, 0};
	long pid;

	/* all are our descendants; of what is dead as a whole none can go on */
	if (!in_image && child_find(0, WCONTINUED) == -ECHILD)
		return;
	sys2(SYS_kill, in_image ? -program_pid : -1, SIGKILL);
	do {
		child_file_read();
		pid = child_find(0, WEXITED);
		if (pid == -ECHILD)
			return;
		if (pid > 0)
			limit.left = REAP_WAIT;
	} while (limit_wait(&limit, pid > 0 ? 0 : LIMIT_STEP));
	warn("a process cannot be killed", NULL, 0);
}

/* What the program left in memory filesystems may be all the memory there
 * is; without any, the kernel panics at our next step. */
static void memory_free(void)
{
	struct {
		int64_t uptime;
		uint64_t loads[3], total, free, rest[8];
	} info;
	const struct mount *m;

	if (in_image || (sys1(SYS_sysinfo, (long)&info) == 0 &&
	    info.free >= MEMORY_LOW))
		return;
	if (reserve != NULL)
		sys_unmap(reserve, RESERVE);
	for (m = mount_table; m < mount_table + MOUNTS; m++)
		if (str_equal(m->type, "tmpfs"))
			sys2(SYS_umount2, (long)m->path, MNT_DETACH);
	if (old_root > 0) {
		sys1(SYS_fchdir, old_root);
		sys1(SYS_chroot, (long)".");
		sys2(SYS_umount2, (long)"/..", MNT_DETACH);
	}
}

/* Empties the pipes into the vports, however slow their reader is. */
static void flows_drain(struct flow *flows)
{
	flow_end(&flows[FLOW_IN]);
	while (flow_open(&flows[FLOW_OUT]) || flow_open(&flows[FLOW_ERR]))
		flows_turn(flows, 1, -1);
}

static long mounts_file;        /* 0: none */

static void sync_child(void)
{
	sys1(SYS_sync, 0);
	disks_each(0);
	for (;;)
		sys1(SYS_exit, 0);
}

/* In a process of its own: a frozen filesystem holds it for ever. Not where
 * there is no disk of ours and mounts_file says that nothing was mounted since
 * init had mounted what is memory; a disk of others that is written to without
 * is synced when it is closed. */
static void disks_sync(void)
{
	static __attribute__((aligned(16))) long stack[128];
	struct pollfd mounts = {(int32_t)mounts_file, 0, 0};
	struct limit limit = {SYNC_WAIT, 0};
	long pid;

	poll_events(&mounts, 1, 0);
	if (mounts_file > 0 && mounts.revents == 0 && !has_disks)
		return;
	children_reap(0); /* they may be all there can be */
	pid = child_clone(sync_child, stack + 128);
	while (pid > 0 && children_reap(pid) < 0)
		if (!limit_wait(&limit, LIMIT_STEP))
			pid = -ETIMEDOUT;
	if (pid < 0)
		warn("cannot sync", NULL, pid);
}

/* ======================================================================
 * Entry
 *
 * In: the machine, as the kernel has made it. Program mode, for ktest's own
 * initramfs, and Monogon mode, for one that brings /tester, end in the same
 * way: the machine restarts.
 * ====================================================================== */

/* All of size bytes from the control port, as long as the host is there. */
static void control_read(void *to, size_t size)
{
	struct pollfd vport[3] = {{(int32_t)control_port, POLLIN, 0}};
	char *at = to;
	long n;

	while (size > 0) {
		n = sys_read(control_port, at, size);
		if (n > 0) {
			at += n;
			size -= (size_t)n;
		} else {
			wait_events(vport, 1, -1);
		}
	}
}

static long random_file;

/* Bytes that nobody else has, for the random pool, which a machine that was
 * restored shares with every other that was. */
static void random_seed(const void *seed)
{
	struct {
		int32_t bits, size;
		char bytes[32];
	} pool;

	pool.bits = 256;
	pool.size = sizeof pool.bytes;
	memcpy(pool.bytes, seed, sizeof pool.bytes);
	if ((sys3(SYS_ioctl, random_file, RNDADDENTROPY, (long)&pool) |
	    sys3(SYS_ioctl, random_file, RNDRESEEDCRNG, 0)) != 0)
		warn("cannot seed the random pool", NULL, 0);
}

/* Takes the answer to 'h': the time, the seed and, if it is not there yet,
 * the job. */
static void answer_take(struct archive *a, uint64_t *boot)
{
	struct answer answer;
	struct timespec time;
	long error;

	control_read(&answer, sizeof answer);
	time.sec = (int64_t)(WIRE(64, answer.time) / 1000000000);
	time.nsec = (int64_t)(WIRE(64, answer.time) % 1000000000);
	error = sys2(SYS_clock_settime, CLOCK_REALTIME, (long)&time);
	if (error != 0)
		warn("cannot set the clock", NULL, error);
	random_seed(answer.seed);
	*boot = WIRE(64, answer.boot);
	if (a->bytes != NULL)
		return;
	a->size = (size_t)WIRE(64, answer.length);
	a->bytes = memory_take(a->size);
	control_read(a->bytes, a->size);
	disks_each(BLKRRPART);
	if (!control_send(MESSAGE_LIVE, "", 0))
		restart();
}

static void verdict_make(struct verdict *verdict, int status,
    const struct flow *flows, uint64_t tainted)
{
	verdict->status = (unsigned char)status;
	wire_put(verdict->out, flows[FLOW_OUT].written);
	wire_put(verdict->err, flows[FLOW_ERR].written);
	wire_put(verdict->log, flows[FLOW_LOG].written);
	wire_put(verdict->taint[0], tainted);
	wire_put(verdict->taint[1], taint_read());
}

/* Tells the verdict. The host ends the machine, or hangs up, when it has all
 * the bytes that the vports were given. */
__attribute__((noreturn))
static void verdict_send(int status, const struct flow *flows,
    uint64_t tainted)
{
	struct verdict verdict;

	verdict_make(&verdict, status, flows, tainted);
	if (!control_send(MESSAGE_VERDICT, &verdict, sizeof verdict))
		restart();
	if (in_image) /* which may be shut down now */
		signal_mask(0);
	for (;;)
		sleep_ms(-1);
}

static void streams_open(const struct job *job, struct flow *flows)
{
	static const char names[FLOWS][13] = {
		"ktest.stdin", "ktest.stdout", "ktest.stderr", "ktest.log"
	};
	static char buffers[FLOWS][CHUNK];
	int i;

	memset(flows, 0, FLOWS * sizeof *flows);
	for (i = 0; i < FLOWS; i++) {
		flows[i].buffer = buffers[i];
		flows[i].from = flows[i].to = -1;
		if (i != FLOW_ERR || job->merged == NULL)
			flows[i].to = vport_open(names[i], NULL);
	}
	flows[FLOW_IN].from = flows[FLOW_IN].to;
	flows[FLOW_IN].to = -1;
	flows[FLOW_IN].starts = 1;
	log_open(&flows[FLOW_LOG]);
}

/* Whatever the program does to memory: ours is there, and a little more for
 * the kernel to work with once it has ended. */
static void memory_hold(void)
{
	sys1(SYS_mlockall, MCL_CURRENT);
	reserve = sys_map(RESERVE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1);
}

/* Some time after boot the kernel takes the TSC for good, with timers that
 * are exact, and rewrites code for it: not again in every restored machine. */
static void clock_settle(void)
{
	struct limit limit = {SETTLE_WAIT, 0};
	char name[64];

	if (!IS_X86)
		return;
	do
		file_line("/sys/devices/system/clocksource/clocksource0/"
		    "current_clocksource", name);
	while (str_equal(name, "tsc-early") && limit_wait(&limit, 10));
}

/* Before anything else than memory is mounted. */
static void job_map(struct archive *a)
{
	mounts_file = sys_open("/proc/self/mounts", O_RDONLY, 0);
	a->bytes = file_map(JOB_FILE, &a->size, &a->fd);
	sys3(SYS_unlinkat, AT_FDCWD, (long)JOB_DIR, AT_REMOVEDIR);
}

/* Waits for the answer, and has the job then. The program of a machine that may
 * restart hears which start this is. */
static void job_take(struct archive *a, struct job *job, struct flow *in)
{
	static struct text variable;
	uint64_t boot;

	answer_take(a, &boot);
	if (job->program == NULL)
		job_read(a, job);
	if (boot == 0)
		return;
	flow_close(in);
	text_begin(&variable, "KTEST_BOOT=");
	text_number(&variable, (unsigned)boot);
	*job->envp_end++ = variable.s;
}

__attribute__((noreturn))
static void run_job(void)
{
	struct flow flows[FLOWS];
	struct job job = {.dir = "/"};
	struct archive archive = {.name = "its beginning"};
	uint64_t tainted;
	int status;

	if (!in_image)
		job_map(&archive);
	random_file = sys_open("/dev/urandom", O_RDWR, 0);
	taint_file = sys_open("/proc/sys/kernel/tainted", O_RDONLY, 0);
	if (archive.bytes != NULL)
		job_read(&archive, &job);
	streams_open(&job, flows);
	tainted = taint_read();
	corpse_prepare();
	loopback_raise();
	nmi_prepare();
	if (archive.bytes == NULL) { /* once for all restored machines */
		memory_hold();
		child_prepare(&job, flows);
		clock_settle();
	}
	if (!control_send(MESSAGE_HELLO, "", 0))
		restart();
	job_take(&archive, &job, &flows[FLOW_IN]);
	log_begin(&job, &flows[FLOW_LOG]);
	if (job.network != NULL)
		network_raise(job.network);
	job_unpack(&archive);
	if (archive.bytes != reserve)
		sys_unmap(archive.bytes, archive.size);
	job_mounts(&job);
	if (job.copy != NULL && !file_exists(job.program))
		job.program = job.copy;
	if (archive.fd > 0) {
		sys_close(archive.fd);
		memory_hold();
	}
	leaks_forget(&job);
	status = program_run(&job, flows);
	processes_kill();
	memory_free();
	flows_drain(flows);
	disks_sync();
	leaks_send(&job, &flows[FLOW_LOG]);
	log_drain(&flows[FLOW_LOG]);
	verdict_send(status, flows, tainted);
}

/* Monogon's launcher shows the virtio console; its driver may be some
 * milliseconds behind the control port's. */
static long console_open(void)
{
	struct limit limit = {CONSOLE_WAIT, 0};
	long fd;

	do {
		fd = device_open("/sys/class/tty/", "hvc0", O_RDWR | O_NOCTTY);
		if (fd >= 0)
			return fd;
	} while (limit_wait(&limit, VPORT_POLL));
	fd = sys_open("/dev/console", O_RDWR | O_NOCTTY, 0);
	return fd >= 0 ? fd : 0;
}

static void run_tester(void)
{
	char *argv[] = {"/tester", "-test.v", NULL};
	char *envp[] = {"IN_KTEST=true", NULL};
	const struct job job = {
		.program = "/tester", .dir = "/", .argv = argv, .envp = envp
	};
	long fds[3], program;
	unsigned char byte;
	int status;

	fds[0] = sys_open("/dev/null", O_RDONLY, 0);
	fds[1] = fds[2] = console_open();
	program = child_start(&job, fds);
	while ((status = children_reap(program)) < 0)
		sleep_ms(-1);
	processes_kill();
	disks_sync();
	byte = (unsigned char)status;
	control_write(&byte, 1);
}

static void machine_make(void)
{
	mounts_make();
	fds_secure();
	sys2(SYS_sethostname, (long)"ktest", 5);
	modules_load();
}

int main(void)
{
	int program;

	in_image = sys1(SYS_getpid, 0) != 1;
	program = in_image || file_exists(JOB_FILE);
	if (!in_image)
		machine_make();
	signals_prepare();
	has_disks = file_exists("/dev/vda");
	vports_expect();
	control_open(program ? NULL : "p1");
	if (program)
		run_job();
	else
		run_tester();
	restart();
}
