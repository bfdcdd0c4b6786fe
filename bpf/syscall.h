/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The entry points of the system calls: what each architecture calls them, and where they
 * find their arguments.
 */
#ifndef SYSCALL_H
#define SYSCALL_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* In the context of fexit the return value follows the one argument, pt_regs. */
#define RETURNED(ctx) ((long)(ctx)[1])

/* That argument. Copied, as 5.10 refuses to load a program that touches an argument of
 * which its BTF knows no more than the name. */
static __always_inline const struct pt_regs *regs_of_entry(const void *ctx)
{
	const struct pt_regs *regs = NULL;

	bpf_probe_read_kernel(&regs, sizeof(regs), ctx);
	return regs;
}

/* What the current task came into the kernel with; not known before 5.15. */
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
#elif defined(__TARGET_ARCH_arm64)
#define ENTRY               "__arm64_sys_"
#define COMPAT_ENTRY        "__arm64_compat_sys_"
#define FIRST(regs)         BPF_CORE_READ(regs, orig_x0)
#define SECOND(regs)        BPF_CORE_READ(regs, regs[1])
#define COMPAT_FIRST(regs)  (__u32) FIRST(regs)
#define COMPAT_SECOND(regs) (__u32) SECOND(regs)
#else
#error "what are the system calls' entries called here, and where are their arguments?"
#endif

/* Where the caller has the path: execve(path, …), execveat(directory, path, …). */
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
