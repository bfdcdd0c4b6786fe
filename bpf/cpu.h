/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The programs that observe the CPU time of processes.
 *
 * sched_process_free fires for each thread in delayed_put_task_struct() (kernel/exit.c),
 * an RCU grace period after the thread was released. The leader of a group is released
 * last, when its parent waits for it or ignores it, and by then every thread has added
 * what it used to signal->sum_sched_runtime (__exit_signal()): this is what wait4(2)
 * returns. A leader that was replaced in de_thread() (fs/exec.c) has another pid than
 * tgid.
 *
 * Name, credentials and cgroup of the leader are those of the exit: nobody else can
 * change them, a task that exits does not migrate (cgroup_migrate_add_task()), and the
 * kernel puts them only after the tracepoint (__put_task_struct()). But the parent and
 * the terminal may be gone (at_exit.h).
 */
#ifndef CPU_H
#define CPU_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "at_exit.h"
#include "execsnoop.h"
#include "ledger.h"
#include "standby.h"
#include "task.h"

/* Whether a thread is the leader of a process. */
static __always_inline bool is_process(__u32 pid, __u32 tgid, __u32 flags)
{
	return pid == tgid && !(flags & PF_KTHREAD);
}

/* On a busy machine, the task has left the caches since its exit. Most of
 * what is read of it is read before `seen` is counted, because an atomic operation would
 * make the CPU wait for one cache miss after the other. */
static __always_inline void observe_free_typed(void *ctx, struct task_struct *task)
{
	struct ledger *ledger;
	struct event event = {.subject.kind = KIND_CPU_TIME};

	if (!is_process(task->pid, task->tgid, task->flags))
		return;
	event.cpu_ns = task->signal->sum_sched_runtime;
	describe_self_typed(&event.subject, task);
	ledger = count_seen(KIND_CPU_TIME);
	if (!ledger)
		return;
	if (is_kept_at_exit())
		take_from_exit(&event.subject, task->tgid, task->start_time);
	sum_up(ctx, ledger, &event);
}

#define CPU_AT(name, copy)                                                               \
	SEC("?tp_btf/sched_process_free")                                                \
	int BPF_PROG(name, struct task_struct *task)                                     \
	{                                                                                \
		AS_COPY_FOR(copy, KIND_CPU_TIME, task->pid, task->start_time,            \
			    observe_free_typed(ctx, task));                              \
		return 0;                                                                \
	}

FOR_EACH_COPY(CPU_AT, cpu_tp_btf)

static __always_inline void observe_free(void *ctx, struct task_struct *task)
{
	struct ledger *ledger;
	struct event event = {.subject.kind = KIND_CPU_TIME};

	if (!is_process(BPF_CORE_READ(task, pid), BPF_CORE_READ(task, tgid),
			BPF_CORE_READ(task, flags)))
		return;
	event.cpu_ns = BPF_CORE_READ(task, signal, sum_sched_runtime);
	describe_self(&event.subject, task);
	ledger = count_seen(KIND_CPU_TIME);
	if (!ledger)
		return;
	if (is_kept_at_exit())
		take_from_exit(&event.subject, BPF_CORE_READ(task, tgid),
			       BPF_CORE_READ(task, start_time));
	sum_up(ctx, ledger, &event);
}

/* The same tracepoint, with an argument whose type the verifier does not know. */
#define CPU_RAW_AT(name, copy)                                                           \
	SEC("?raw_tp/sched_process_free")                                                \
	int BPF_PROG(name, struct task_struct *task)                                     \
	{                                                                                \
		AS_COPY_FOR(copy, KIND_CPU_TIME, BPF_CORE_READ(task, pid),               \
			    BPF_CORE_READ(task, start_time), observe_free(ctx, task));   \
		return 0;                                                                \
	}

FOR_EACH_COPY(CPU_RAW_AT, cpu_raw_tp)

#endif /* CPU_H */
