/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Copies of a program that stand by for it where the kernel may skip it.
 *
 * A kernel that preempts programs skips a program that a preempted task on the same CPU
 * is still in (bpf_prog_get_recursion_context() in include/linux/bpf.h). There each
 * program is loaded COPIES times, and the copies run one after the other. The first copy
 * that is not skipped claims the observation; the later ones find its claim and leave it
 * alone; the last one deletes the claim. An observation is missed only if every copy is
 * skipped.
 */
#ifndef STANDBY_H
#define STANDBY_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "execsnoop.h"
#include "ledger.h"

#define COPIES 4

/* Define the copies of a program, each by DEFINE(name, copy, ...). */
#define FOR_EACH_COPY(DEFINE, name, ...)                                                 \
	DEFINE(name, 1, ##__VA_ARGS__)                                                   \
	DEFINE(name##_2, 2, ##__VA_ARGS__)                                               \
	DEFINE(name##_3, 3, ##__VA_ARGS__)                                               \
	DEFINE(name##_4, COPIES, ##__VA_ARGS__)

/* By kind: whether the copies are loaded. Set before load. */
const volatile __u8 has_standby[KIND_MAX] = {};

struct claim_key {
	__u32 tid;
	__u32 kind;
};

struct claim {
	/* Which observation of the thread. A thread's failures share one number until it
	 * executes a program. */
	__u64 observation;
	/* The last copy that has run for it. */
	__u64 copy;
};

/* LRU, because a claim stays if the last copy is skipped. User space sets its size. */
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

static __always_inline void count_recovered(__u32 kind)
{
	struct ledger *ledger = bpf_map_lookup_elem(&ledgers, &kind);

	if (ledger)
		ADD(ledger->recovered, 1);
}

/*
 * Whether this copy is the one that accounts for the observation.
 *
 * A claim that has stayed cannot mislead at execs and exits. At failures it does only if
 * every later copy was skipped then, and every copy up to this one is skipped now.
 */
static __always_inline bool claim(int copy, __u32 kind)
{
	struct claim_key key = {.tid = (__u32)bpf_get_current_pid_tgid(), .kind = kind};
	struct claim own = {.copy = copy}, *earlier;
	bool is_claimed = false;

	if (!has_standby[kind])
		return true;
	own.observation = observation_of_current();
	if (copy > 1) {
		earlier = bpf_map_lookup_elem(&claims, &key);
		is_claimed = earlier && earlier->observation == own.observation &&
			     earlier->copy < own.copy;
		if (is_claimed && copy < COPIES)
			earlier->copy = copy;
	}
	/* Without its claim in the map, later copies would account for it as well. */
	if (copy == COPIES)
		bpf_map_delete_elem(&claims, &key);
	else if (!is_claimed && bpf_map_update_elem(&claims, &key, &own, BPF_ANY))
		return false;
	if (!is_claimed && copy > 1)
		count_recovered(kind);
	return !is_claimed;
}

#endif /* STANDBY_H */
