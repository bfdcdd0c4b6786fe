/* A program that exits with 0 immediately. Uses no C library. */
__attribute__((naked)) void _start(void)
{
#if defined(__x86_64__)
	__asm__("xor %edi, %edi\n\tmov $60, %eax\n\tsyscall"); /* exit(0) */
#elif defined(__i386__)
	__asm__("xor %ebx, %ebx\n\tmov $1, %eax\n\tint $0x80");
#elif defined(__aarch64__)
	__asm__("mov x0, #0\n\tmov x8, #93\n\tsvc #0");
#else
#error "no _start for this architecture"
#endif
}
