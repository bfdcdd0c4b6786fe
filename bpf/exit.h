/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The programs that observe the exits of processes, that is, of the last thread of each
 * thread group.
 */
#ifndef EXIT_H
#define EXIT_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "at_exit.h"
#include "detail.h"
#include "execsnoop.h"
#include "filter.h"
#include "ledger.h"
#include "standby.h"
#include "task.h"

/* Whether exits are also sent as events, for the live stream of `execsnoopd trace`. Set
 * before load. */
const volatile __u8 with_exit_events = 0;
/* Whether exits are also summed up by subject, because a view or a watch counts them. Set
 * before load. */
const volatile __u8 with_exits = 0;
/* Upper bounds of the buckets of lifetimes in ns, ascending. The last bucket has none.
 * Set before load. */
const volatile __u64 lifetime_bounds[LIFETIME_BUCKETS - 1] = {};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exits);
} exits SEC(".maps");

/* Identifies a thread group, even after its id has been reused. */
struct group {
	__u64 start_time;
	__u32 tgid;
	__u32 reserved;
};

/* The groups whose exit was recently observed while they had several threads: see
 * is_last(). User space sets the size of the map. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct group);
	__type(value, __u8);
} exited_groups SEC(".maps");

/* CPU time of a process with several threads, for the live stream. The kernel keeps the
 * sum for the threads that were released; the others (of which at most 64 are read) are
 * in the list. Repeat if a thread has moved from the list to the sum in the meantime
 * (__exit_signal() in kernel/exit.c). A function of its own: the stacks of a program and
 * of keep_name() together have to fit into 512 bytes. */
static __noinline __u64 cpu_of_group(struct task_struct *task,
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

static __always_inline __u64 run_time(__u64 lifetime_ns, __u64 waited_ns)
{
	return waited_ns < lifetime_ns ? lifetime_ns - waited_ns : 0;
}

/*
 * The same of a process that never had a second thread. The scheduler updates
 * sum_exec_runtime at each tick and each switch but not at the exit, so a process shorter
 * than a tick would appear to cost nothing. A process that was never switched out has run
 * since its fork, except for its first wait for a CPU, which the kernel has measured
 * (run_delay).
 */
static __always_inline __u64 cpu_of_one(struct task_struct *task, __u64 lifetime_ns)
{
	__u64 switches = BPF_CORE_READ(task, nvcsw) + BPF_CORE_READ(task, nivcsw);

	if (switches || !bpf_core_field_exists(task->sched_info))
		return BPF_CORE_READ(task, se.sum_exec_runtime);
	return run_time(lifetime_ns, BPF_CORE_READ(task, sched_info.run_delay));
}

/* The bits of a status as in wait(2): the signal, or 0 for an exit status, and whether a
 * core was dumped. */
#define SIGNAL_BITS 0x7f
#define CORE_BIT    0x80

#define SIGKILL 9
/* SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV and SIGSYS, which have the same
 * numbers on all architectures with BPF but MIPS (include/uapi/asm-generic/signal.h). */
#define CRASHES (1U << 4 | 1U << 5 | 1U << 6 | 1U << 7 | 1U << 8 | 1U << 11 | 1U << 31)

/* `is_victim` says whether the OOM killer has chosen the process: mark_oom_victim() in
 * mm/oom_kill.c sets oom_mm, which stays until signal_struct is freed. A process that
 * shares the memory of the victim is killed without this mark. */
static __always_inline __u8 outcome_of(__u32 status, bool is_victim)
{
	__u32 signal = status & SIGNAL_BITS;

	if (!signal)
		return status >> 8 & 0xff ? OUTCOME_ERROR : OUTCOME_SUCCESS;
	if (signal == SIGKILL && is_victim)
		return OUTCOME_OOM;
	if (status & CORE_BIT || (signal < 32 && 1U << signal & CRASHES))
		return OUTCOME_CRASH;
	return OUTCOME_SIGNAL;
}

/* A function of its own, like count_errno(). */
static __noinline int count_exit(__u32 status, __u64 lifetime_ns, __u8 outcome)
{
	__u32 zero = 0, bucket = 0, signal = status & SIGNAL_BITS,
	      code = status >> 8 & 0xff;
	struct exits *counts = bpf_map_lookup_elem(&exits, &zero);

	if (!counts)
		return 0;
	while (bucket < LIFETIME_BUCKETS - 1 && lifetime_ns > lifetime_bounds[bucket])
		bucket++;
	ADD(counts->lifetimes[bucket], 1);
	ADD(counts->lifetime_ns, lifetime_ns);
	if (outcome == OUTCOME_OOM)
		ADD(counts->oom_kills, 1);
	if (signal && status & CORE_BIT)
		ADD(counts->core_dumps, 1);
	if (signal)
		ADD(counts->by_signal[signal], 1);
	else
		ADD(counts->by_code[code], 1);
	return 0;
}

/* The current task is the last thread of its process, so the status that wait(2) will
 * return is final (wait_task_zombie() in kernel/exit.c). */
static __always_inline void observe_exit(void *ctx, struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	__u64 start_time = BPF_CORE_READ(leader, start_time);
	struct ledger *ledger;
	struct event event = {};
	__s32 status;

	if (BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT)
		status = BPF_CORE_READ(signal, group_exit_code);
	else
		status = BPF_CORE_READ(leader, exit_code);
	/* Before 5.17 a leader that exits at the same time as this thread may not have
	 * stored its code yet. Threads that exit together have the same code. */
	if (!status && !BPF_CORE_READ(leader, exit_state))
		status = BPF_CORE_READ(task, exit_code);
	event.subject.kind = KIND_EXIT;
	event.subject.outcome = outcome_of(status, BPF_CORE_READ(signal, oom_mm) != NULL);
	if (with_exit_events) {
		describe(&event, leader);
		if (!is_wanted(&event, leader))
			return;
	}
	ledger = count_seen(KIND_EXIT);
	if (!ledger)
		return;
	event.lifetime_ns = bpf_ktime_get_ns() - start_time;
	count_exit(status, event.lifetime_ns, event.subject.outcome);
	if (with_exit_events) {
		bool alone = BPF_CORE_READ(signal, nr_threads) == 1 &&
			     BPF_CORE_READ(signal, sum_sched_runtime) == 0;

		event.subject.retval = status;
		event.cpu_ns = alone ? cpu_of_one(task, event.lifetime_ns)
				     : cpu_of_group(task, signal);
		emit_exit(ctx, ledger, &event, leader);
		return;
	}
	if (with_exits) {
		describe(&event, leader);
		sum_up(ctx, ledger, &event);
	}
	if (is_kept_at_exit()) {
		if (!with_exits)
			add_until_exit(&event.subject, leader);
		keep_at_exit(&event.subject, BPF_CORE_READ(leader, tgid), start_time);
	}
}

/*
 * sched_process_exit fires in do_exit() (kernel/exit.c) for every thread. From 6.16 on
 * its second argument says whether the thread is the last of its group. Older kernels
 * refuse to load a program that reads that argument.
 */
static __always_inline void observe_exit_typed(void *ctx, struct task_struct *task,
					       bool group_dead)
{
	struct signal_struct *signal;
	struct task_struct *leader;
	struct ledger *ledger;
	struct event event = {};
	__s32 status;

	if (!group_dead || task->flags & PF_KTHREAD)
		return;
	signal = task->signal;
	leader = task->group_leader;
	status = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code
						   : leader->exit_code;
	event.subject.kind = KIND_EXIT;
	event.subject.outcome = outcome_of(status, signal->oom_mm != NULL);
	if (with_exit_events) {
		describe_typed(&event, leader);
		if (!is_wanted(&event, leader))
			return;
	}
	ledger = count_seen(KIND_EXIT);
	if (!ledger)
		return;
	event.lifetime_ns = bpf_ktime_get_ns() - leader->start_time;
	count_exit(status, event.lifetime_ns, event.subject.outcome);
	if (with_exit_events) {
		event.subject.retval = status;
		if (signal->nr_threads != 1 || signal->sum_sched_runtime != 0)
			event.cpu_ns = cpu_of_group(task, signal);
		else if (task->nvcsw + task->nivcsw != 0 ||
			 !bpf_core_field_exists(task->sched_info))
			event.cpu_ns = task->se.sum_exec_runtime;
		else
			event.cpu_ns =
				run_time(event.lifetime_ns, task->sched_info.run_delay);
		emit_exit(ctx, ledger, &event, leader);
		return;
	}
	if (with_exits) {
		describe_typed(&event, leader);
		sum_up(ctx, ledger, &event);
	}
	if (is_kept_at_exit()) {
		if (!with_exits)
			add_until_exit_typed(&event.subject, leader);
		keep_at_exit(&event.subject, leader->tgid, leader->start_time);
	}
}

#define EXIT_AT(name, copy)                                                              \
	SEC("?tp_btf/sched_process_exit")                                                \
	int BPF_PROG(name, struct task_struct *task, bool group_dead)                    \
	{                                                                                \
		AS_COPY(copy, KIND_EXIT, observe_exit_typed(ctx, task, group_dead));     \
		return 0;                                                                \
	}

FOR_EACH_COPY(EXIT_AT, exit_tp_btf)

/*
 * On older kernels the last thread is the one that finds signal->live at 0. Two threads
 * can both find this, if both have decremented it before either runs this program, and
 * only one of them may report the exit. While both are in the group (nr_threads > 1), a
 * thread reports only if it is the first to record the group. A thread that is alone in
 * its group reports only if there is no record. (Only the record shows that there was
 * another thread: what a thread adds to signal_struct when it is released can be 0.)
 */
static __always_inline bool is_last(struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct group group = {};
	__u8 exited = 1;

	if (BPF_CORE_READ(signal, live.counter) != 0 ||
	    BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return false;
	group.tgid = BPF_CORE_READ(task, tgid);
	group.start_time = BPF_CORE_READ(task, group_leader, start_time);
	if (BPF_CORE_READ(signal, nr_threads) == 1)
		return !bpf_map_lookup_elem(&exited_groups, &group);
	return insert(&exited_groups, &group, &exited) != -EEXIST;
}

static __always_inline void observe_thread_exit(void *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	if (is_last(task))
		observe_exit(ctx, task);
}

#define EXIT_LIVE_AT(name, copy, type)                                                   \
	SEC("?" type "/sched_process_exit")                                              \
	int name(void *ctx)                                                              \
	{                                                                                \
		AS_COPY(copy, KIND_EXIT, observe_thread_exit(ctx));                      \
		return 0;                                                                \
	}

FOR_EACH_COPY(EXIT_LIVE_AT, exit_live_tp_btf, "tp_btf")
FOR_EACH_COPY(EXIT_LIVE_AT, exit_live_raw_tp, "raw_tp")

#endif /* EXIT_H */
