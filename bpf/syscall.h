/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The entry points of the system calls: their names on each architecture, and where their
 * arguments are.
 */
#ifndef SYSCALL_H
#define SYSCALL_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* In the context of fexit the return value follows the only argument, pt_regs. */
#define RETURNED(ctx) ((long)(ctx)[1])

/* Copy pt_regs out of the context: 5.10 refuses to load a program that uses an argument
 * whose type is only declared in BTF. */
static __always_inline const struct pt_regs *regs_of_entry(const void *ctx)
{
	const struct pt_regs *regs = NULL;

	bpf_probe_read_kernel(&regs, sizeof(regs), ctx);
	return regs;
}

/* The registers with which the current task entered the kernel. Kernels before 5.15 do
 * not provide them. */
static __always_inline const struct pt_regs *regs_of_current(void)
{
	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return NULL;
	return (const void *)bpf_task_pt_regs(bpf_get_current_task_btf());
}

#if defined(__TARGET_ARCH_x86)
#define ENTRY               "__x64_sys_"
#define COMPAT_ENTRY        "__ia32_compat_sys_"
#define FIRST(regs)         BPF_CORE_READ(regs, di)
#define SECOND(regs)        BPF_CORE_READ(regs, si)
#define COMPAT_FIRST(regs)  (__u32) BPF_CORE_READ(regs, bx)
#define COMPAT_SECOND(regs) (__u32) BPF_CORE_READ(regs, cx)
#define FIFTH(regs)         BPF_CORE_READ(regs, r8)
#define COMPAT_FIFTH(regs)  BPF_CORE_READ(regs, di)
#elif defined(__TARGET_ARCH_arm64)
#define ENTRY               "__arm64_sys_"
#define COMPAT_ENTRY        "__arm64_compat_sys_"
#define FIRST(regs)         BPF_CORE_READ(regs, orig_x0)
#define SECOND(regs)        BPF_CORE_READ(regs, regs[1])
#define COMPAT_FIRST(regs)  (__u32) FIRST(regs)
#define COMPAT_SECOND(regs) (__u32) SECOND(regs)
#define FIFTH(regs)         BPF_CORE_READ(regs, regs[4])
#define COMPAT_FIFTH(regs)  FIFTH(regs)
#else
#error "no names and arguments of system call entries for this architecture"
#endif

/* AT_EXECVE_CHECK of include/uapi/linux/fcntl.h. With it, execveat(2) checks whether a
 * file may be executed, and executes nothing. A successful exec clears the registers, so
 * the flag is never found after one. */
static __always_inline bool is_check(unsigned long flags)
{
	return flags & 0x10000;
}

/* The caller's path: execve(path, …), execveat(directory, path, …). */
#define PATH(name, argument)                                                             \
	static __always_inline const char *path_of_##name(const struct pt_regs *regs)    \
	{                                                                                \
		return (const char *)(unsigned long)argument(regs);                      \
	}

PATH(execve, FIRST)
PATH(execveat, SECOND)
PATH(compat_execve, COMPAT_FIRST)
PATH(compat_execveat, COMPAT_SECOND)

#endif /* SYSCALL_H */
