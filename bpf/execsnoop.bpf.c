// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The programs that observe execs and failed execs; exit.h has those for exits, cpu.h
 * those for CPU time. ledger.h accounts for each observation and sends it to user space.
 * src/capture/select.rs selects the programs to load.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "cpu.h"
#include "detail.h"
#include "execsnoop.h"
#include "exit.h"
#include "facts.h"
#include "filter.h"
#include "ledger.h"
#include "standby.h"
#include "syscall.h"
#include "task.h"

/* Whether the programs at sys_exit_execve and sys_exit_execveat observe execs, and
 * whether they observe failures. Set before load. */
const volatile __u8 exec_at_sys_exit = 0;
const volatile __u8 failure_at_sys_exit = 0;
/* Whether failed execs are also summed up by subject, because a view counts them. Set
 * before load. */
const volatile __u8 with_failures = 0;

/* Never read. No map contains these types, so only a variable puts them into the BTF and
 * thereby into the skeleton. */
const struct event *const volatile btf_event;
const enum kind *const volatile btf_kind;
const enum outcome *const volatile btf_outcome;
const enum origin *const volatile btf_origin;
const enum fact *const volatile btf_fact;
const enum exe *const volatile btf_exe;
const struct traced *const volatile btf_traced;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct failures);
} failures SEC(".maps");

/*
 * The tracepoint sched_process_exec fires in exec_binprm() (fs/exec.c), in the task
 * itself, after the new program's name and credentials are in place and before the exec
 * returns. So an exec is counted before anybody can see that it has completed.
 */
static __always_inline void observe_exec_typed(void *ctx, struct task_struct *task,
					       struct linux_binprm *bprm)
{
	struct ledger *ledger;
	struct event event = {};

	describe_typed(&event, task);
	add_exec_typed(&event.subject, task, bprm);
	if (!is_wanted(&event, task))
		return;
	ledger = count_seen(KIND_EXEC);
	if (!ledger)
		return;
	if (is_detailed())
		emit_detailed(ledger, &event, task, bprm);
	else
		emit(ctx, ledger, &event);
}

#define EXEC_AT(name, copy)                                                              \
	SEC("?tp_btf/sched_process_exec")                                                \
	int BPF_PROG(name, struct task_struct *task, int old_pid,                        \
		     struct linux_binprm *bprm)                                          \
	{                                                                                \
		AS_COPY(copy, KIND_EXEC, observe_exec_typed(ctx, task, bprm));           \
		return 0;                                                                \
	}

FOR_EACH_COPY(EXEC_AT, exec_tp_btf)

/* At a hook that does not show what is executed, `bprm` is NULL. */
static __always_inline void observe_exec(void *ctx, struct task_struct *task,
					 struct linux_binprm *bprm)
{
	struct ledger *ledger;
	struct event event = {};

	describe(&event, task);
	if (bprm)
		add_exec(&event.subject, task, bprm);
	else
		add_exec_without_file(&event.subject, task);
	if (!is_wanted(&event, task))
		return;
	ledger = count_seen(KIND_EXEC);
	if (!ledger)
		return;
	if (is_detailed())
		emit_detailed(ledger, &event, task, bprm);
	else
		emit(ctx, ledger, &event);
}

/* The same tracepoint, with arguments whose types the verifier does not know. */
#define EXEC_RAW_AT(name, copy)                                                          \
	SEC("?raw_tp/sched_process_exec")                                                \
	int BPF_PROG(name, struct task_struct *task, int old_pid,                        \
		     struct linux_binprm *bprm)                                          \
	{                                                                                \
		AS_COPY(copy, KIND_EXEC, observe_exec(ctx, task, bprm));                 \
		return 0;                                                                \
	}

FOR_EACH_COPY(EXEC_RAW_AT, exec_raw_tp)

/* Not inlined: the verifier of 5.10 forgets the bound of an index that is spilled to the
 * stack. */
static __noinline int count_errno(__u64 err)
{
	struct failures *counts;
	__u32 zero = 0;

	counts = bpf_map_lookup_elem(&failures, &zero);
	if (counts && err < ERRNO_MAX)
		ADD(counts->by_errno[err], 1);
	return 0;
}

/* A function of its own, like count_errno(). */
static __noinline int count_unattributed_errno(__u64 err)
{
	struct failures *counts;
	__u32 zero = 0;

	counts = bpf_map_lookup_elem(&failures, &zero);
	if (counts && err < ERRNO_MAX)
		ADD(counts->unattributed[err], 1);
	return 0;
}

/* Account for a failed exec of which user space needs only the number by subject. */
static __always_inline void sum_up_failure(struct ledger *ledger, struct event *event)
{
	if (count_in_tally(FAILURE_TALLY, event)) {
		ADD(ledger->tallied, 1);
	} else {
		count_unattributed_errno(-event->subject.retval);
		ADD(ledger->unattributed, 1);
	}
}

/* Observe an exec of the current task if it returned an error. `path` is in the caller's
 * memory. */
static __always_inline void observe_return(void *ctx, long ret, const char *path)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct ledger *ledger;
	struct event event = {.subject.kind = KIND_FAILURE};

	if (ret >= 0 || -ret >= ERRNO_MAX)
		return; /* succeeded, or restarted: see ERRNO_MAX */
	if (with_failure_events || with_failures) {
		describe(&event, task);
		/* A thread can have a name of its own; this is the process's. */
		BPF_CORE_READ_STR_INTO(&event.subject.comm, task, group_leader, comm);
		event.subject.retval = ret;
	}
	if (with_failure_events && !is_wanted(&event, task))
		return;
	ledger = count_seen(KIND_FAILURE);
	if (!ledger)
		return;
	count_errno(-ret);
	if (with_failure_events && is_detailed())
		emit_failed(ledger, &event, task, path);
	else if (with_failure_events)
		emit(ctx, ledger, &event);
	else if (with_failures)
		sum_up_failure(ledger, &event);
}

/*
 * These programs run when an entry point of the system calls returns. Every failure
 * passes through an entry point, whichever functions a kernel's version calls inside it.
 * Each architecture and word size has its own entry points.
 */
#define FAILURES_AT(name, copy, entry, path, check)                                      \
	SEC("?fexit/" entry)                                                             \
	int name(unsigned long long *ctx)                                                \
	{                                                                                \
		AS_COPY(copy, KIND_FAILURE,                                              \
			if (!(check)) observe_return(                                    \
				ctx, RETURNED(ctx),                                      \
				with_path ? path(regs_of_entry(ctx)) : NULL));           \
		return 0;                                                                \
	}

FOR_EACH_COPY(FAILURES_AT, fail_execve, ENTRY "execve", path_of_execve, false)
FOR_EACH_COPY(FAILURES_AT, fail_execveat, ENTRY "execveat", path_of_execveat,
	      is_check(FIFTH(regs_of_entry(ctx))))
FOR_EACH_COPY(FAILURES_AT, fail_compat_execve, COMPAT_ENTRY "execve",
	      path_of_compat_execve, false)
FOR_EACH_COPY(FAILURES_AT, fail_compat_execveat, COMPAT_ENTRY "execveat",
	      path_of_compat_execveat, is_check(COMPAT_FIFTH(regs_of_entry(ctx))))

/* For execs, the last fallback. For failures, used only on request, on kernels without
 * fexit. The kernel does extra work in every system call of every process as soon as one
 * of these tracepoints is in use. */
#define SYS_EXIT(name, path, check)                                                      \
	SEC("?tracepoint/syscalls/" #name)                                               \
	int name(struct trace_event_raw_sys_exit *ctx)                                   \
	{                                                                                \
		if (check)                                                               \
			return 0;                                                        \
		if (failure_at_sys_exit)                                                 \
			observe_return(ctx, ctx->ret,                                    \
				       with_path ? path(regs_of_current()) : NULL);      \
		if (ctx->ret == 0 && exec_at_sys_exit)                                   \
			observe_exec(ctx, (void *)bpf_get_current_task(), NULL);         \
		return 0;                                                                \
	}

SYS_EXIT(sys_exit_execve, path_of_execve, false)
SYS_EXIT(sys_exit_execveat, path_of_execveat, is_check(FIFTH(regs_of_current())))

/*
 * The classic mode counts attempts as the execsnoop of tutorials does: at the beginning
 * of the system call, by the first 15 bytes of the path. The path is empty if the page
 * that holds it is not in memory.
 */
static __always_inline void observe_attempt(void *ctx, const char *path)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct ledger *ledger = count_seen(KIND_EXEC);
	struct event event = {};

	if (!ledger)
		return;
	describe(&event, task);
	add_exec_without_file(&event.subject, task);
	__builtin_memset(event.subject.comm, 0, sizeof(event.subject.comm));
	bpf_probe_read_user_str(event.subject.comm, sizeof(event.subject.comm), path);
	emit(ctx, ledger, &event);
}

SEC("?tracepoint/syscalls/sys_enter_execve")
int sys_enter_execve(struct trace_event_raw_sys_enter *ctx)
{
	observe_attempt(ctx, (const char *)ctx->args[0]);
	return 0;
}

SEC("?tracepoint/syscalls/sys_enter_execveat")
int sys_enter_execveat(struct trace_event_raw_sys_enter *ctx)
{
	if (!is_check(ctx->args[4]))
		observe_attempt(ctx, (const char *)ctx->args[1]);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
