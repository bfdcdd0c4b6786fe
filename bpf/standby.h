/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Copies of a program that stand by for it where the kernel may skip it.
 *
 * A kernel that preempts programs skips a program while a preempted task on the same CPU
 * is inside it (bpf_prog_get_recursion_context() in include/linux/bpf.h). Each program is
 * therefore loaded COPIES times. The first copy that runs claims the observation; the
 * others find the claim and do nothing; the last one to run deletes the claim. An
 * observation is missed only if every copy is skipped.
 *
 * To make that rare, each copy disables preemption from its first instruction to its
 * last. bpf_preempt_enable() reschedules if that is due, which would happen inside the
 * program, so it is called with interrupts off. A task can then be preempted only in the
 * kernel's few instructions before and after the program.
 */
#ifndef STANDBY_H
#define STANDBY_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "execsnoop.h"
#include "ledger.h"

#define COPIES     3
#define FIRST_COPY 1
#define ALL_COPIES ((1 << COPIES) - 1)

/* Define the copies of a program, each by DEFINE(name, copy, ...). */
#define FOR_EACH_COPY(DEFINE, name, ...)                                                 \
	DEFINE(name, FIRST_COPY, ##__VA_ARGS__)                                          \
	DEFINE(name##_2, 2, ##__VA_ARGS__)                                               \
	DEFINE(name##_3, COPIES, ##__VA_ARGS__)

/* By kind: whether the copies are loaded. Set before load. */
const volatile __u8 has_standby[KIND_MAX] = {};

/* Linux 6.10 has the first pair, 6.14 the second, without which the first is of no use.
 */
extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;
extern void bpf_local_irq_save(unsigned long *flags) __ksym __weak;
extern void bpf_local_irq_restore(unsigned long *flags) __ksym __weak;

static __always_inline void hold_cpu(__u32 kind)
{
	if (has_standby[kind] && bpf_ksym_exists(bpf_local_irq_save))
		bpf_preempt_disable();
}

static __always_inline void release_cpu(__u32 kind)
{
	unsigned long flags;

	if (has_standby[kind] && bpf_ksym_exists(bpf_local_irq_save)) {
		bpf_local_irq_save(&flags);
		bpf_preempt_enable();
		bpf_local_irq_restore(&flags);
	}
}

struct claim_key {
	__u32 tid;
	__u32 kind;
};

struct claim {
	__u64 observation;
	__u64 copies; /* a bit for each copy that has run for it */
};

/* LRU, because a claim stays if a copy is skipped. User space sets its size: at least 256
 * for each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct claim_key);
	__type(value, struct claim);
} claims SEC(".maps");

/* The number of execs of a thread (self_exec_id, incremented by begin_new_exec() in
 * fs/exec.c), plus its start time in ns, which tells it from other threads of the same
 * id. Typed loads where the kernel allows them: lockdown refuses bpf_probe_read_kernel().
 * 5.10 does not allow them here. */
static __always_inline __u64 observation_of_current(void)
{
	struct task_struct *task;

	if (!bpf_core_enum_value_exists(enum bpf_func_id,
					BPF_FUNC_get_current_task_btf)) {
		task = (struct task_struct *)bpf_get_current_task();
		return BPF_CORE_READ(task, start_time) +
		       BPF_CORE_READ(task, self_exec_id);
	}
	task = bpf_get_current_task_btf();
	return task->start_time + task->self_exec_id;
}

/*
 * Whether this copy is the first to run for the observation. Copies may run in any order.
 *
 * Each exec and each exit has a number of its own. Failures share one until the thread
 * executes a program, so a claim that already has the bit of this copy belongs to an
 * earlier failure. A claim that was left over hides a failure only if none of the copies
 * that ran for the earlier one runs for this one.
 *
 * The kernel may refuse the update from 6.15 on, if it waits 250 ms for the lock of a
 * bucket (ETIMEDOUT, kernel/bpf/rqspinlock.c). It cannot run out of entries: a CPU is
 * inside each copy at most once, and bpf_common_lru_pop_free() takes the entries of other
 * CPUs. A copy that is refused must not observe, because without its claim the others
 * would, too. If all are refused, `recovered` counts the observation as missed by every
 * copy (execsnoop.h), and so user space counts it as unattributed, like a skipped one.
 */
static __always_inline bool is_first_to_run(int copy, __u32 kind, __u32 tid,
					    __u64 observation)
{
	struct claim_key key = {.tid = tid, .kind = kind};
	struct claim own = {.observation = observation, .copies = 1 << (copy - 1)};
	struct claim *found;

	found = bpf_map_lookup_elem(&claims, &key);
	if (found && found->observation == own.observation &&
	    !(found->copies & own.copies)) {
		found->copies |= own.copies;
		if (found->copies == ALL_COPIES)
			bpf_map_delete_elem(&claims, &key);
		return false;
	}
	return bpf_map_update_elem(&claims, &key, &own, BPF_ANY) == 0;
}

/* Whether this copy is the one that observes. */
static __always_inline bool claim(int copy, __u32 kind, __u32 tid, __u64 observation)
{
	struct ledger *ledger;
	bool is_claimed;

	is_claimed = is_first_to_run(copy, kind, tid, observation);
	if (is_claimed != (copy == FIRST_COPY)) {
		ledger = bpf_map_lookup_elem(&ledgers, &kind);
		if (ledger)
			ADD(ledger->recovered, is_claimed ? 1 : -1);
	}
	return is_claimed;
}

/* Run a copy of a program that observes a thread, which need not be the current one. It
 * claims every run, also those that turn out to observe nothing, so that the ledger shows
 * how many runs every copy has missed. */
#define AS_COPY_FOR(copy, kind, tid, observation, observe)                               \
	do {                                                                             \
		hold_cpu(kind);                                                          \
		if (!has_standby[kind] || claim(copy, kind, tid, observation))           \
			observe;                                                         \
		release_cpu(kind);                                                       \
	} while (0)

/* The same for the current thread. */
#define AS_COPY(copy, kind, observe)                                                     \
	AS_COPY_FOR(copy, kind, (__u32)bpf_get_current_pid_tgid(),                       \
		    observation_of_current(), observe)

#endif /* STANDBY_H */
