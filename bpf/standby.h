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
 * last. bpf_preempt_enable() would reschedule at once, inside the program, if that is
 * due, so it is called with interrupts off. A task can then be preempted only in the
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

/* For each kind of observation, whether standby copies are loaded. Set before load. */
const volatile __u8 has_standby[KIND_MAX] = {};

/* The first pair exists since Linux 6.10, the second since 6.14. The first is used only
 * together with the second: see release_cpu(). */
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
	__u64 copies; /* a bit for each copy that has run for the observation */
};

/* An LRU map, because a claim is left behind if a copy is skipped. User space sets the
 * size of the map: at least 256 entries per CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct claim_key);
	__type(value, struct claim);
} claims SEC(".maps");

/* Identifies an observation: the number of execs of the current thread (self_exec_id,
 * incremented by begin_new_exec() in fs/exec.c), plus its start time in ns, which
 * distinguishes it from earlier threads with the same id. Uses typed loads where the
 * kernel supports them (5.11 and newer), because lockdown refuses
 * bpf_probe_read_kernel(). */
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
 * Each exec and each exit of a thread has a different value of `observation`. The
 * thread's failures share a value until its next successful exec, so a claim that already
 * has the bit of this copy belongs to an earlier failure. A claim that an earlier failure
 * left behind hides a later one only if no copy runs for both.
 *
 * From 6.15 on, the kernel refuses the update if it has waited 250 ms for the lock of a
 * bucket (ETIMEDOUT, kernel/bpf/rqspinlock.c). The map cannot run out of entries: a CPU
 * is inside each copy at most once, and bpf_common_lru_pop_free() takes the entries of
 * other CPUs. A copy whose update is refused must not observe, because the other copies
 * do not find its claim and would observe, too. If the updates of all copies are refused,
 * the observation was missed by every copy according to `recovered` (execsnoop.h), and
 * user space counts it as unattributed, as if every copy had been skipped.
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

/* Run a copy of a program that observes a thread, which need not be the current one. The
 * copy claims every run, even one that turns out to observe nothing, so that the ledger
 * shows how many runs were missed by all copies. */
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
