/*
 * Tries TIMES times to execute a program that does not exist, with each exec system call in
 * turn, then exits with STATUS. The compiler's command line defines both macros. Uses no C
 * library.
 */
#define HERE -100L /* AT_FDCWD */

#if defined(__x86_64__)
static long call(long number, long a, long b)
{
	register long r10 __asm__("r10") = 0, r8 __asm__("r8") = 0;

	__asm__ volatile("syscall"
			 : "+a"(number)
			 : "D"(a), "S"(b), "d"(0L), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return number;
}

/*
 * The system call interface of 32-bit programs. A 64-bit program can use it, too, if the
 * addresses that it passes are below 4 GiB.
 */
static long compat_call(long number, long a, long b)
{
	__asm__ volatile("int $0x80"
			 : "+a"(number)
			 : "b"(a), "c"(b), "d"(0L), "S"(0L), "D"(0L)
			 : "memory");
	return number;
}

static void execute(long way, const char *path)
{
	switch (way % 4) {
	case 0:
		call(59, (long)path, 0);
		break;
	case 1:
		call(322, HERE, (long)path);
		break;
	case 2:
		compat_call(11, (long)path, 0);
		break;
	case 3:
		compat_call(358, HERE, (long)path);
		break;
	}
}

static void end(long status)
{
	call(60, status, 0);
}
#elif defined(__aarch64__)
static long call(long number, long a, long b)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a, x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = 0, x3 __asm__("x3") = 0, x4 __asm__("x4") = 0;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4)
			 : "memory");
	return x0;
}

static void execute(long way, const char *path)
{
	if (way % 2 == 0)
		call(221, (long)path, 0);
	else
		call(281, HERE, (long)path);
}

static void end(long status)
{
	call(93, status, 0);
}
#else
#error "no system calls for this architecture"
#endif

void _start(void)
{
	for (long i = 0; i < TIMES; i++)
		execute(i, "/absent");
	end(STATUS);
}
