/*
 * Usage: ways WAY PROGRAM [N]. Depending on WAY, executes PROGRAM, fails to execute it, or
 * ignores it and only uses CPU time or exits. The exec happens in this process, or in a child
 * that it waits for. N is a number for WAY, 1 by default. If WAY is not possible on this host,
 * prints the reason and exits with 99.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef AT_EXECVE_CHECK
#define AT_EXECVE_CHECK 0x10000
#endif

static char *none[] = {NULL};

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(99);
}

static int execat(int dir, const char *path, int flags)
{
	char *argv[] = {(char *)path, NULL};

	return syscall(SYS_execveat, dir, path, argv, none, flags);
}

static int run(const char *program)
{
	char *argv[] = {(char *)program, NULL};

	return execve(program, argv, none);
}

static int wait_for(pid_t child)
{
	int status = 0;

	if (child < 0 || waitpid(child, &status, 0) < 0)
		fail("child");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void *spin(void *unused)
{
	for (;;)
		sched_yield();
	return unused;
}

static void *run_in_thread(void *program)
{
	run(program);
	fail("execve in a thread");
	return NULL;
}

static void *run_in_child_of_thread(void *program)
{
	prctl(PR_SET_NAME, "pool-worker");
	/* Fails in the thread, and succeeds in its child. */
	run("/does/not/exist");
	pid_t child = fork();
	if (!child) {
		run(program);
		_exit(99);
	}
	if (wait_for(child))
		fail("exec in a child of a thread");
	return NULL;
}

static volatile int told;

static void *leave_when_told(void *status)
{
	told = 1;
	while (told != 2)
		;
	syscall(SYS_exit, (long)status);
	return NULL;
}

static void *burn(void *ms)
{
	struct timespec now;

	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	while (now.tv_sec * 1000 + now.tv_nsec / 1000000 < (long)ms);
	return NULL;
}

/* Uses CPU time for 1 ms, and then waits for the exit of the process. */
static void *burn_and_wait(void *unused)
{
	burn((void *)1);
	for (;;)
		pause();
	return unused;
}

/* Exits by a system call, because the C library calls exit(0) when its last thread returns. */
static void *burn_and_exit(void *ms)
{
	burn(ms);
	syscall(SYS_exit, (long)ms + 1);
	return NULL;
}

/* Copies the program to an open file, closes it, and opens it at this descriptor. */
static int copied(const char *program, int to, int at)
{
	char buffer[65536];
	int from = open(program, O_RDONLY);
	ssize_t n;

	if (from < 0 || to < 0)
		fail("copy");
	while ((n = read(from, buffer, sizeof(buffer))) > 0)
		if (write(to, buffer, n) != n)
			fail("write");
	/* exec fails with ETXTBSY while the file is open for writing: open it again to read. */
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", to);
	int fresh = open(path, O_RDONLY);
	if (fresh < 0 || dup2(fresh, at) < 0)
		fail("copy");
	close(to);
	close(fresh);
	return at;
}

static int in_memory(const char *program, int at)
{
	char name[16];

	snprintf(name, sizeof(name), "in-%d", at);
	return copied(program, memfd_create(name, 0), at);
}

/* In a file of the current directory that never had a name. */
static int without_name(const char *program, int at)
{
	return copied(program, open(".", O_TMPFILE | O_RDWR, 0755), at);
}

/* In a file that loses its name. */
static int deleted(const char *program, int at)
{
	char name[32];

	snprintf(name, sizeof(name), "deleted-%d", getpid());
	copied(program, open(name, O_CREAT | O_EXCL | O_RDWR, 0755), at);
	unlink(name);
	return at;
}

/* Puts the child of a child into the pid namespace of process N. Its parent exits, so that a
 * process outside of the namespace adopts it before it executes the program. */
static int injected_orphan(const char *program, int n)
{
	char path[64];
	int namespace, status, pipe_ends[2];

	if (pipe(pipe_ends))
		fail("pipe");
	if (prctl(PR_SET_CHILD_SUBREAPER, 1))
		fail("subreaper");
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", n);
	namespace = open(path, O_RDONLY);
	pid_t child = fork();
	if (!child) {
		if (setns(namespace, CLONE_NEWPID))
			fail("setns");
		if (fork())
			_exit(0);
		/* Until the parent has been reaped. */
		close(pipe_ends[1]);
		if (read(pipe_ends[0], path, 1) != 0)
			fail("read");
		run(program);
		_exit(99);
	}
	wait_for(child);
	close(pipe_ends[1]);
	if (wait(&status) < 0)
		fail("orphan");
	return WEXITSTATUS(status);
}

static void forbid_exec(unsigned int action)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {.len = 4, .filter = filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		fail("seccomp");
}

/* Tries to execute the program this many times. Each exec has to fail with the expected error. */
static int fail_times(const char *program, long times, int expected)
{
	for (long i = 0; i < times; i++)
		if (run(program) != -1 || errno != expected)
			fail("an exec that should fail otherwise");
	return 0;
}

static long long cpu_ns_of(int who)
{
	struct rusage used;

	if (getrusage(who, &used))
		fail("getrusage");
	return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000LL +
	       (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000LL;
}

static void run_on_cpu(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		fail("sched_setaffinity");
}

/*
 * Returns the CPU on which a process ran last. A zombie may not have left it yet, and then uses
 * CPU time that wait4(2) does not report. It has left the CPU once the caller runs there.
 */
static int cpu_of(pid_t pid)
{
	char path[32], stat[1024] = "";
	FILE *file;
	char *field;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "r");
	if (!file || !fgets(stat, sizeof(stat), file))
		fail(path);
	fclose(file);
	/* The name is field 2, and can contain spaces. The CPU is field 39. */
	field = strrchr(stat, ')');
	for (int i = 2; i < 39; i++)
		field = strchr(field + 1, ' ');
	return atoi(field);
}

/*
 * Run a program this often, one run after the other, and wait for all of its descendants.
 * Prints the CPU time that wait4(2) reports for them, in ns: the kernel adds up what it
 * reports, so that nothing is rounded. `is_held`: the program stays a zombie until there
 * is input.
 */
static int measure(char **argv, long times, int is_held)
{
	cpu_set_t cpus;
	siginfo_t info;

	if (prctl(PR_SET_CHILD_SUBREAPER, 1))
		fail("subreaper");
	if (sched_getaffinity(0, sizeof(cpus), &cpus))
		fail("sched_getaffinity");
	for (long i = 0; i < times; i++) {
		if (sched_setaffinity(0, sizeof(cpus), &cpus))
			fail("sched_setaffinity");
		pid_t child = fork();
		if (!child) {
			execv(argv[0], argv);
			fail(argv[0]);
		}
		if (is_held) {
			if (waitid(P_PID, child, &info, WEXITED | WNOWAIT))
				fail("waitid");
			puts("held");
			fflush(stdout);
			getchar();
		}
		while (!waitid(P_ALL, 0, &info, WEXITED | WNOWAIT | __WALL)) {
			run_on_cpu(cpu_of(info.si_pid));
			if (wait4(info.si_pid, NULL, __WALL, NULL) != info.si_pid)
				fail("wait4");
		}
	}
	printf("%lld\n", cpu_ns_of(RUSAGE_CHILDREN));
	return 0;
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Executes the program repeatedly on CPU 0 for this time. Prints the number of execs. */
static int storm(const char *program, long ms)
{
	long until = now_ms() + ms, execs = 0;

	run_on_cpu(0);
	for (; now_ms() < until; execs++) {
		pid_t child = vfork();
		if (!child) {
			run(program);
			_exit(99);
		}
		wait_for(child);
	}
	printf("%ld\n", execs);
	return 0;
}

int main(int argc, char **argv)
{
	const char *way = argc > 2 ? argv[1] : "", *program = argv[2];
	long n = argc > 3 ? atol(argv[3]) : 1;

#define WAY(name) if (!strcmp(way, name))
	WAY("execve") run(program);
	WAY("execveat") execat(AT_FDCWD, program, 0);
	WAY("execveat-dirfd") {
		char *slash = strrchr(program, '/');
		*slash = 0;
		execat(open(program, O_PATH | O_DIRECTORY), slash + 1, 0);
	}
	WAY("fexecve") {
		dup2(open(program, O_PATH), n);
		execat(n, "", AT_EMPTY_PATH);
	}
	WAY("memfd") execat(in_memory(program, n), "", AT_EMPTY_PATH);
	WAY("tmpfile") execat(without_name(program, n), "", AT_EMPTY_PATH);
	WAY("deleted") execat(deleted(program, n), "", AT_EMPTY_PATH);
	WAY("injected-orphan") return injected_orphan(program, n);
	WAY("pool") {
		/* A thread of a pool, which has its own name, forks and executes. */
		pthread_t thread;
		pthread_create(&thread, NULL, run_in_child_of_thread, (void *)program);
		pthread_join(thread, NULL);
		return 0;
	}
	WAY("thread") {
		pthread_t threads[4];
		for (int i = 0; i < 3; i++)
			pthread_create(&threads[i], NULL, spin, NULL);
		pthread_create(&threads[3], NULL, run_in_thread, (void *)program);
		pause();
	}
	WAY("posix_spawn") {
		char *args[] = {(char *)program, NULL};
		pid_t child;
		if ((errno = posix_spawn(&child, program, NULL, NULL, args, none)))
			fail("posix_spawn");
		return wait_for(child);
	}
	WAY("vfork") {
		pid_t child = vfork();
		if (!child) {
			run(program);
			_exit(99);
		}
		return wait_for(child);
	}
	WAY("namespaces") {
		if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS))
			fail("unshare");
		pid_t child = fork();
		if (!child) {
			run(program);
			_exit(99);
		}
		return wait_for(child);
	}
	WAY("renamed") {
		prctl(PR_SET_NAME, "by-another-name");
		run(program);
	}
	WAY("seccomp-kill") {
		forbid_exec(SECCOMP_RET_KILL_PROCESS);
		run(program);
	}
	WAY("seccomp-errno") {
		forbid_exec(SECCOMP_RET_ERRNO | EPERM);
		return run(program) == -1 && errno == EPERM ? 0 : 99;
	}
	WAY("check") {
		/* Executes nothing. Fails with EINVAL before Linux 6.14, which added the flag. */
		int ret = execat(AT_FDCWD, program, AT_EXECVE_CHECK);
		return ret == 0 || errno == EINVAL ? 0 : 99;
	}
	WAY("failing-check") {
		for (int i = 0; i < n; i++)
			if (execat(AT_FDCWD, program, AT_EXECVE_CHECK) != -1)
				return 99;
		return 0;
	}
	/* Ways to exit. N is the exit status, the signal, or the CPU time to use, in ms. */
	WAY("exit") _exit(n);
	WAY("signal") {
		signal(n, SIG_DFL);
		raise(n);
	}
	WAY("hog") {
		/* Until the OOM killer comes. */
		for (volatile char *block; (block = malloc(1 << 20));)
			for (long i = 0; i < 1 << 20; i += 4096)
				block[i] = 1;
		return 98;
	}
	WAY("burn") {
		burn((void *)n);
		return 0;
	}
	WAY("measure") return measure(argv + 4, n, 0);
	WAY("measure-held") return measure(argv + 4, n, 1);
	WAY("threads-joined") {
		/* N threads, some of them longer than a tick. */
		pthread_t threads[n];
		for (long i = 0; i < n; i++)
			pthread_create(&threads[i], NULL, burn, (void *)(i % 8));
		for (long i = 0; i < n; i++)
			pthread_join(threads[i], NULL);
		return 0;
	}
	WAY("threads-running") {
		/* N threads, two of which use a CPU when the process exits. With more of them, an
		 * emulator needs minutes to create the rest. */
		pthread_t thread;
		for (long i = 0; i < n; i++)
			pthread_create(&thread, NULL, i < 2 ? spin : burn_and_wait, NULL);
		usleep(100000);
		exit(0);
	}
	WAY("burn-and-signal") {
		burn((void *)20);
		signal(n, SIG_DFL);
		raise(n);
	}
	WAY("zombies") {
		/* N children that are reaped when there is input. */
		for (long i = 0; i < n; i++) {
			pid_t child = fork();
			if (!child)
				_exit(0);
			if (child < 0)
				fail("fork");
		}
		puts("held");
		fflush(stdout);
		getchar();
		while (wait(NULL) > 0)
			;
		return 0;
	}
	WAY("orphan") {
		/* A child that uses N ms after its parent has exited. */
		pid_t parent = getpid();
		if (fork())
			_exit(0);
		while (getppid() == parent)
			;
		burn((void *)n);
		return 0;
	}
	WAY("ignored") {
		/* Children that nobody waits for. Prints the CPU time that they used. */
		long long used, all = 0;
		int ends[2];
		signal(SIGCHLD, SIG_IGN);
		if (pipe(ends))
			fail("pipe");
		for (long i = 0; i < n; i++) {
			pid_t child = fork();
			if (!child) {
				burn((void *)2000);
				used = cpu_ns_of(RUSAGE_SELF);
				if (write(ends[1], &used, sizeof(used)) != sizeof(used))
					fail("write");
				_exit(0);
			}
			if (read(ends[0], &used, sizeof(used)) != sizeof(used))
				fail("read");
			all += used;
		}
		while (wait(NULL) > 0)
			;
		printf("%lld\n", all);
		return 0;
	}
	WAY("leader-first") {
		/*
		 * The main thread exits with N. The other thread uses CPU time for N ms, then exits
		 * with N + 1. The exit status of the process is N or, on newer kernels, N + 1.
		 */
		pthread_t thread;
		pthread_create(&thread, NULL, burn_and_exit, (void *)n);
		syscall(SYS_exit, n);
	}
	WAY("exit-group-in-thread") {
		pthread_t threads[3];
		for (int i = 0; i < 3; i++)
			pthread_create(&threads[i], NULL, spin, NULL);
		exit(n);
	}
	WAY("end-together") {
		/* Two threads exit at the same time, without exit_group(). */
		pthread_t thread;
		pthread_create(&thread, NULL, leave_when_told, (void *)n);
		while (!told)
			;
		told = 2;
		syscall(SYS_exit, n);
	}
	WAY("names") {
		/* Executes N programs, each with a new name that begins with PROGRAM, as up to a
		 * thousand users. */
		char name[4096];
		for (long i = 0; i < n; i++) {
			snprintf(name, sizeof(name), "%.4000s-%d-%ld", program, getpid(), i);
			if (symlink("nop", name))
				fail(name);
			pid_t child = vfork();
			if (!child) {
				syscall(SYS_setresuid, 800000 + i % 1000, -1, -1);
				run(name);
				_exit(99);
			}
			if (wait_for(child) || unlink(name))
				fail(name);
		}
		return 0;
	}
	WAY("forks") {
		/* Forks N children that rename themselves and execute nothing. */
		char name[16];
		for (long i = 0; i < n; i++) {
			pid_t child = fork();
			if (!child) {
				snprintf(name, sizeof(name), "fork-%ld", i);
				prctl(PR_SET_NAME, name);
				_exit(0);
			}
			if (wait_for(child))
				fail("fork");
		}
		return 0;
	}
	WAY("users") {
		/* Executes PROGRAM N times, each time as a different user. */
		for (long i = 0; i < n; i++) {
			pid_t child = vfork();
			if (!child) {
				syscall(SYS_setresuid, 900000 + i, -1, -1);
				run(program);
				_exit(99);
			}
			if (wait_for(child))
				fail(program);
		}
		return 0;
	}
	WAY("short") {
		/* Forks N children that compute for about 0.3 ms and exit. */
		for (long i = 0; i < n; i++) {
			pid_t child = fork();
			if (!child) {
				for (volatile long k = 0; k < 200000; k++)
					;
				_exit(0);
			}
			wait_for(child);
		}
		return 0;
	}
	WAY("storm") return storm(program, n);
	WAY("idle-storm") {
		struct sched_param none = {0};
		if (sched_setscheduler(0, SCHED_IDLE, &none))
			fail("SCHED_IDLE");
		return storm(program, n);
	}
	WAY("bursts") {
		/* Alternates between up to 20 ms of work and up to 60 ms of sleep, on CPU 0 and for
		 * N ms. */
		long until = now_ms() + n;
		run_on_cpu(0);
		srand(getpid());
		while (now_ms() < until) {
			long busy_until = now_ms() + rand() % 20;
			while (now_ms() < busy_until)
				;
			usleep(rand() % 60000);
		}
		return 0;
	}
	WAY("sleep") {
		usleep(n * 1000);
		return 0;
	}
	WAY("crash") {
		prctl(PR_SET_DUMPABLE, 1);
		abort();
	}
	/* Ways to fail: N execs fail with the error that the way is named after. */
	WAY("ENOENT") return fail_times("/nonexistent/program", n, ENOENT);
	WAY("EACCES") return fail_times("/etc/passwd", n, EACCES);
	WAY("ENOEXEC") return fail_times(program, n, ENOEXEC);
	WAY("ETXTBSY") {
		if (open(program, O_WRONLY) < 0)
			fail("open for writing");
		return fail_times(program, n, ETXTBSY);
	}
	WAY("names-that-fail") {
		/* Fails to execute PROGRAM, which is a symbolic link to itself, N times, each time
		 * under a new name. */
		char name[16];
		for (long i = 0; i < n; i++) {
			snprintf(name, sizeof(name), "fails-%ld", i);
			prctl(PR_SET_NAME, name);
			if (fail_times(program, 1, ELOOP))
				return 99;
		}
		return 0;
	}
	WAY("ELOOP") return fail_times(program, n, ELOOP);
	WAY("ENAMETOOLONG") {
		static char name[8192];
		memset(name, 'a', sizeof(name) - 1);
		return fail_times(name, n, ENAMETOOLONG);
	}
	WAY("EFAULT") return fail_times((const char *)8, n, EFAULT);
	WAY("E2BIG") {
		/* An argument longer than MAX_ARG_STRLEN, which is 32 pages. */
		char *big = malloc(200000), *args[] = {big, NULL};
		memset(big, 'a', 199999);
		big[199999] = 0;
		for (long i = 0; i < n; i++)
			if (execve(program, args, none) != -1 || errno != E2BIG)
				fail("E2BIG");
		return 0;
	}
	fail(way);
}
