// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Observe each exec and exit, account for it, and hand it to user space: as an event if
 * the buffer takes it, else as a count in the tally, else as a bare number. Failed execs
 * are counted by errno, apart from all that.
 *
 * Each program is loaded only if user space chose it; see src/capture/hooks.rs.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "account.h"
#include "cgroup.h"
#include "syscall.h"
#include "trace.h"
#include "execsnoop.h"

/* Set before load. A view by parent_comm asks for it; else it stays all NUL, so
 * that it neither costs a read nor splits the tally's entries. */
const volatile __u8 with_parent_comm = 0;
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

/* Groups of several threads whose end has been seen, lately. User space sets its size. */
struct group {
	__u64 start_time;
	__u32 tgid;
	__u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct group);
	__type(value, __u8);
} ended_groups SEC(".maps");

/*
 * Who a task is. Arguments typed by BTF may be followed by plain loads, at a fifth of
 * what a call of bpf_probe_read_kernel() for each costs (measured).
 */
static __always_inline void describe_typed(struct event *event, struct task_struct *task)
{
	struct task_struct *parent = task->real_parent;

	if (with_cgroup) {
		struct cgroup *cgroup = task->cgroups->dfl_cgrp;

		event->subject.cgroup_id = cgroup->kn->id;
		keep_names(cgroup, event->subject.cgroup_id);
	}
	event->subject.uid = task->cred->uid.val;
	/* What stands behind the NUL may be stale; user space cuts it off. */
	__builtin_memcpy(event->subject.comm, task->comm, sizeof(event->subject.comm));
	if (with_parent_comm)
		__builtin_memcpy(event->subject.parent_comm, parent->comm,
				 sizeof(event->subject.parent_comm));
	event->time_ns = bpf_ktime_get_ns();
	event->pid = task->tgid;
	event->ppid = parent->tgid;
}

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
	ledger = count_seen(rank, KIND_EXEC);
	if (!ledger)
		return 0;
	if (with_path || with_args)
		emit_detailed(ledger, &event, task, bprm);
	else
		emit(ctx, ledger, &event);
	return 0;
}

#define EXEC(name, rank)                                                                 \
	SEC("?tp_btf/sched_process_exec")                                                \
	int BPF_PROG(name, struct task_struct *task, int old_pid,                        \
		     struct linux_binprm *bprm)                                          \
	{                                                                                \
		return executed_typed(ctx, task, bprm, rank);                            \
	}

EXEC(exec_tp_btf, 1)
EXEC(exec_tp_btf_2, 2)
EXEC(exec_tp_btf_3, RANKS)

/* The same where the verifier does not know the type. */
static __always_inline void describe(struct event *event, struct task_struct *task)
{
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);

	if (with_cgroup) {
		struct cgroup *cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp);

		event->subject.cgroup_id = BPF_CORE_READ(cgroup, kn, id);
		keep_names(cgroup, event->subject.cgroup_id);
	}
	event->subject.uid = BPF_CORE_READ(task, cred, uid.val);
	BPF_CORE_READ_STR_INTO(&event->subject.comm, task, comm);
	if (with_parent_comm)
		BPF_CORE_READ_STR_INTO(&event->subject.parent_comm, parent, comm);
	event->time_ns = bpf_ktime_get_ns();
	event->pid = BPF_CORE_READ(task, tgid);
	event->ppid = BPF_CORE_READ(parent, tgid);
}

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
	ledger = count_seen(rank, KIND_EXEC);
	if (ledger)
		emit(ctx, ledger, &event);
}

/* The same tracepoint where arguments have no types. */
#define EXEC_RAW(name, rank)                                                             \
	SEC("?raw_tp/sched_process_exec")                                                \
	int name(void *ctx)                                                              \
	{                                                                                \
		executed(ctx, rank);                                                     \
		return 0;                                                                \
	}

EXEC_RAW(exec_raw_tp, 1)
EXEC_RAW(exec_raw_tp_2, 2)
EXEC_RAW(exec_raw_tp_3, RANKS)

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
	ledger = count_seen(rank, KIND_FAILURE);
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
#define FAILURES_AT(name, entry, path, rank)                                             \
	SEC("?fexit/" entry)                                                             \
	int name(unsigned long long *ctx)                                                \
	{                                                                                \
		if (RETURNED(ctx) < 0)                                                   \
			failed(ctx, RETURNED(ctx),                                       \
			       with_path ? path(regs_of_entry(ctx)) : NULL, rank);       \
		return 0;                                                                \
	}

#define FAILURES(name, entry, path)                                                      \
	FAILURES_AT(name, entry, path, 1)                                                \
	FAILURES_AT(name##_2, entry, path, 2)                                            \
	FAILURES_AT(name##_3, entry, path, RANKS)

FAILURES(fail_execve, ENTRY "execve", path_of_execve)
FAILURES(fail_execveat, ENTRY "execveat", path_of_execveat)
FAILURES(fail_compat_execve, COMPAT_ENTRY "execve", path_of_compat_execve)
FAILURES(fail_compat_execveat, COMPAT_ENTRY "execveat", path_of_compat_execveat)

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

/* CPU time of a group of threads that end together: of those that have been released the
 * kernel keeps the sum, the others are in the list. Again, if one moved from the one to
 * the other meanwhile (__exit_signal() in kernel/exit.c). */
static __always_inline __u64 cpu_of_group(struct task_struct *task,
					  struct signal_struct *signal)
{
	struct list_head *head = &signal->thread_head, *node;
	__u64 cpu_ns = 0;

	for (int attempt = 0; attempt < 3; attempt++) {
		int threads = BPF_CORE_READ(signal, nr_threads);

		cpu_ns = 0;
		node = BPF_CORE_READ(signal, thread_head.next);
		for (int i = 0; i < 64 && node != head; i++) {
			struct task_struct *thread =
				(void *)node - bpf_core_field_offset(task->thread_node);

			cpu_ns += BPF_CORE_READ(thread, se.sum_exec_runtime);
			node = BPF_CORE_READ(node, next);
		}
		cpu_ns += BPF_CORE_READ(signal, sum_sched_runtime);
		if (BPF_CORE_READ(signal, nr_threads) == threads)
			break;
	}
	return cpu_ns;
}

static __always_inline __u64 all_but(__u64 lifetime_ns, __u64 waited_ns)
{
	return waited_ns < lifetime_ns ? lifetime_ns - waited_ns : 0;
}

/*
 * CPU time of a process that never had a second thread. The scheduler brings
 * sum_exec_runtime up to date at each tick and each switch, not at the end: a program
 * shorter than a tick would cost nothing. One that was never switched away from has run
 * all its life but for the wait at its beginning, though, and that is known exactly.
 */
static __always_inline __u64 cpu_of_one(struct task_struct *task, __u64 lifetime_ns)
{
	__u64 switches = BPF_CORE_READ(task, nvcsw) + BPF_CORE_READ(task, nivcsw);

	if (switches || !bpf_core_field_exists(task->sched_info))
		return BPF_CORE_READ(task, se.sum_exec_runtime);
	return all_but(lifetime_ns, BPF_CORE_READ(task, sched_info.run_delay));
}

/* The process of the current task has ended; what wait(2) will say is settled
 * (wait_task_zombie() in kernel/exit.c). */
static __always_inline void ended(void *ctx, struct task_struct *task, int rank)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct ledger *ledger;
	struct event event = {};
	bool alone;

	describe(&event, leader);
	if (!is_wanted(&event, leader))
		return;
	ledger = count_seen(rank, KIND_EXIT);
	if (!ledger)
		return;
	event.subject.is_exit = 1;
	if (BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT)
		event.subject.retval = BPF_CORE_READ(signal, group_exit_code);
	else
		event.subject.retval = BPF_CORE_READ(leader, exit_code);
	/* Before 5.17 the leader, if it leaves at the same time, may not have put its
	 * code there yet: who leave together leave alike. */
	if (!event.subject.retval && !BPF_CORE_READ(leader, exit_state))
		event.subject.retval = BPF_CORE_READ(task, exit_code);
	event.lifetime_ns = event.time_ns - BPF_CORE_READ(leader, start_time);
	alone = BPF_CORE_READ(signal, nr_threads) == 1 &&
		BPF_CORE_READ(signal, sum_sched_runtime) == 0;
	event.cpu_ns =
		alone ? cpu_of_one(task, event.lifetime_ns) : cpu_of_group(task, signal);
	emit(ctx, ledger, &event);
}

/*
 * sched_process_exit fires in do_exit() (kernel/exit.c) for every thread. From 6.16 on it
 * says itself which one is the last of its group, once and for all; older kernels refuse
 * to load a program that reads this second argument.
 */
static __always_inline int ended_typed(void *ctx, struct task_struct *task,
				       bool group_dead, int rank)
{
	struct signal_struct *signal;
	struct task_struct *leader;
	struct ledger *ledger;
	struct event event = {};

	if (!group_dead || task->flags & PF_KTHREAD)
		return 0;
	if (!falls_to(rank, KIND_EXIT))
		return 0;
	signal = task->signal;
	leader = task->group_leader;
	describe_typed(&event, leader);
	if (!is_wanted(&event, leader))
		return 0;
	ledger = count_seen(rank, KIND_EXIT);
	if (!ledger)
		return 0;
	event.subject.is_exit = 1;
	event.subject.retval = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code
								 : leader->exit_code;
	event.lifetime_ns = event.time_ns - leader->start_time;
	if (signal->nr_threads != 1 || signal->sum_sched_runtime != 0)
		event.cpu_ns = cpu_of_group(task, signal);
	else if (task->nvcsw + task->nivcsw != 0 ||
		 !bpf_core_field_exists(task->sched_info))
		event.cpu_ns = task->se.sum_exec_runtime;
	else
		event.cpu_ns = all_but(event.lifetime_ns, task->sched_info.run_delay);
	emit(ctx, ledger, &event);
	return 0;
}

#define EXIT(name, rank)                                                                 \
	SEC("?tp_btf/sched_process_exit")                                                \
	int BPF_PROG(name, struct task_struct *task, bool group_dead)                    \
	{                                                                                \
		return ended_typed(ctx, task, group_dead, rank);                         \
	}

EXIT(exit_tp_btf, 1)
EXIT(exit_tp_btf_2, 2)
EXIT(exit_tp_btf_3, RANKS)

/*
 * Before that, the last thread is the one that finds no other alive. Two may find so:
 * both have left the count of the live ones before either comes here. Then the first one
 * speaks, and leaves a note; and as it was not alone yet, one that is alone looks for
 * that note. (Nothing else tells that it ever had company: what other threads leave
 * behind in signal_struct may all be 0.)
 */
static __always_inline bool is_last(struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct group group = {};
	__u8 ended = 1;

	if (BPF_CORE_READ(signal, live.counter) != 0 ||
	    BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return false;
	group.tgid = BPF_CORE_READ(task, tgid);
	group.start_time = BPF_CORE_READ(task, group_leader, start_time);
	if (BPF_CORE_READ(signal, nr_threads) == 1)
		return !bpf_map_lookup_elem(&ended_groups, &group);
	return add_to(&ended_groups, &group, &ended) != -EEXIST;
}

#define EXIT_LIVE(type, name, rank)                                                      \
	SEC("?" type "/sched_process_exit")                                              \
	int name(void *ctx)                                                              \
	{                                                                                \
		struct task_struct *task = (struct task_struct *)bpf_get_current_task(); \
                                                                                         \
		if (falls_to(rank, KIND_EXIT) && is_last(task))                          \
			ended(ctx, task, rank);                                          \
		return 0;                                                                \
	}

EXIT_LIVE("tp_btf", exit_live_tp_btf, 1)
EXIT_LIVE("tp_btf", exit_live_tp_btf_2, 2)
EXIT_LIVE("tp_btf", exit_live_tp_btf_3, RANKS)
EXIT_LIVE("raw_tp", exit_live_raw_tp, 1)
EXIT_LIVE("raw_tp", exit_live_raw_tp_2, 2)
EXIT_LIVE("raw_tp", exit_live_raw_tp_3, RANKS)

/*
 * The classic mode: the tutorial's program. It counts attempts, at the beginning of the
 * system call, under the first 15 bytes of the path, which is empty where the page that
 * holds it is not in memory.
 */
static __always_inline void attempted(void *ctx, const char *path)
{
	struct ledger *ledger = count_seen(1, KIND_EXEC);
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
