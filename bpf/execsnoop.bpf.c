// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Observe each exec and exit, account for it, and hand it to user space: as an event if
 * the buffer takes it, else as a count in the tally, else as a bare number. Failed execs
 * are counted by errno, apart from all that.
 *
 * Each program is loaded only if user space chose it; see src/capture/select.rs.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "account.h"
#include "describe.h"
#include "exit.h"
#include "syscall.h"
#include "trace.h"
#include "execsnoop.h"

/* What the programs at the end of the system calls are there for. */
const volatile __u8 exec_at_sys_exit = 0;
const volatile __u8 failure_at_sys_exit = 0;

/* Never read. No map holds these types, so without a variable of them the BTF,
 * and with it the skeleton, would not have them. */
const struct event *const volatile btf_event;
const enum kind *const volatile btf_kind;
const struct traced *const volatile btf_traced;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct failures);
} failures SEC(".maps");

/*
 * The tracepoint sched_process_exec fires in exec_binprm() (fs/exec.c), in the
 * task itself, after the new program's name and credentials are in place and
 * before the exec returns: so whoever saw an exec complete can find it here.
 */
static __always_inline int executed_typed(void *ctx, struct task_struct *task,
					  struct linux_binprm *bprm, int rank)
{
	struct ledger *ledger;
	struct event event = {};

	if (!falls_to(rank, KIND_EXEC))
		return 0;
	describe_typed(&event, task);
	if (!is_wanted(&event, task))
		return 0;
	ledger = count_seen(KIND_EXEC);
	if (!ledger)
		return 0;
	if (with_path || with_args)
		emit_detailed(ledger, &event, task, bprm);
	else
		emit(ctx, ledger, &event);
	return 0;
}

#define EXEC_AT(name, rank)                                                              \
	SEC("?tp_btf/sched_process_exec")                                                \
	int BPF_PROG(name, struct task_struct *task, int old_pid,                        \
		     struct linux_binprm *bprm)                                          \
	{                                                                                \
		return executed_typed(ctx, task, bprm, rank);                            \
	}

OF_EACH_RANK(EXEC_AT, exec_tp_btf)

/* The current task has executed a program. */
static __always_inline void executed(void *ctx, int rank)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct ledger *ledger;
	struct event event = {};

	if (!falls_to(rank, KIND_EXEC))
		return;
	describe(&event, task);
	if (!is_wanted(&event, task))
		return;
	ledger = count_seen(KIND_EXEC);
	if (ledger)
		emit(ctx, ledger, &event);
}

/* The same tracepoint where arguments have no types. */
#define EXEC_RAW_AT(name, rank)                                                          \
	SEC("?raw_tp/sched_process_exec")                                                \
	int name(void *ctx)                                                              \
	{                                                                                \
		executed(ctx, rank);                                                     \
		return 0;                                                                \
	}

OF_EACH_RANK(EXEC_RAW_AT, exec_raw_tp)

/* By itself, as 5.10 forgets the bound of an index that was on the stack meanwhile. */
static __noinline int count_errno(__u64 err)
{
	struct failures *counts;
	__u32 zero = 0;

	counts = bpf_map_lookup_elem(&failures, &zero);
	if (counts && err < ERRNO_MAX)
		ADD(counts->by_errno[err], 1);
	return 0;
}

/* The current task's exec has returned an error. The path is where the caller has it. */
static __always_inline void failed(void *ctx, long ret, const char *path, int rank)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct ledger *ledger;
	struct event event = {};

	if (-ret >= ERRNO_MAX)
		return; /* restarted: see ERRNO_MAX */
	if (!falls_to(rank, KIND_FAILURE))
		return;
	if (with_failure_events) {
		describe(&event, task);
		event.subject.retval = ret;
		if (!is_wanted(&event, task))
			return;
	}
	ledger = count_seen(KIND_FAILURE);
	if (!ledger)
		return;
	count_errno(-ret);
	if (with_failure_events && with_path)
		emit_failed(ledger, &event, path);
	else if (with_failure_events)
		emit(ctx, ledger, &event);
}

/*
 * The entry points of the system calls: they return to user space, so that nothing which
 * fails is missed, whatever the kernel's version calls below them. Each architecture and
 * width has its own; each is loaded by itself.
 */
#define FAILURES_AT(name, rank, entry, path)                                             \
	SEC("?fexit/" entry)                                                             \
	int name(unsigned long long *ctx)                                                \
	{                                                                                \
		if (RETURNED(ctx) < 0)                                                   \
			failed(ctx, RETURNED(ctx),                                       \
			       with_path ? path(regs_of_entry(ctx)) : NULL, rank);       \
		return 0;                                                                \
	}

OF_EACH_RANK(FAILURES_AT, fail_execve, ENTRY "execve", path_of_execve)
OF_EACH_RANK(FAILURES_AT, fail_execveat, ENTRY "execveat", path_of_execveat)
OF_EACH_RANK(FAILURES_AT, fail_compat_execve, COMPAT_ENTRY "execve",
	     path_of_compat_execve)
OF_EACH_RANK(FAILURES_AT, fail_compat_execveat, COMPAT_ENTRY "execveat",
	     path_of_compat_execveat)

/* Where fexit cannot be had, on request: these tracepoints slow every system call of
 * every process, by the work the kernel does as soon as one of them is in use. */
#define SYS_EXIT(name, path)                                                             \
	SEC("?tracepoint/syscalls/" #name)                                               \
	int name(struct trace_event_raw_sys_exit *ctx)                                   \
	{                                                                                \
		if (ctx->ret < 0 && failure_at_sys_exit)                                 \
			failed(ctx, ctx->ret,                                            \
			       with_path ? path(regs_of_current()) : NULL, 1);           \
		if (ctx->ret == 0 && exec_at_sys_exit)                                   \
			executed(ctx, 1);                                                \
		return 0;                                                                \
	}

SYS_EXIT(sys_exit_execve, path_of_execve)
SYS_EXIT(sys_exit_execveat, path_of_execveat)

/*
 * The classic mode: the tutorial's program. It counts attempts, at the beginning of the
 * system call, under the first 15 bytes of the path, which is empty where the page that
 * holds it is not in memory.
 */
static __always_inline void attempted(void *ctx, const char *path)
{
	struct ledger *ledger = count_seen(KIND_EXEC);
	struct event event = {};

	if (!ledger)
		return;
	describe(&event, (struct task_struct *)bpf_get_current_task());
	__builtin_memset(event.subject.comm, 0, sizeof(event.subject.comm));
	bpf_probe_read_user_str(event.subject.comm, sizeof(event.subject.comm), path);
	emit(ctx, ledger, &event);
}

SEC("?tracepoint/syscalls/sys_enter_execve")
int sys_enter_execve(struct trace_event_raw_sys_enter *ctx)
{
	attempted(ctx, (const char *)ctx->args[0]);
	return 0;
}

SEC("?tracepoint/syscalls/sys_enter_execveat")
int sys_enter_execveat(struct trace_event_raw_sys_enter *ctx)
{
	attempted(ctx, (const char *)ctx->args[1]);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
