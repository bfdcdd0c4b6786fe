// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Observe each exec, account for it, and hand it to user space: as an event if
 * the buffer takes it, else as a count in the tally, else as a bare number.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "execsnoop.h"

/* Set before load. A view by parent_comm asks for it; else it stays all NUL, so
 * that it neither costs a read nor splits the tally's entries. */
const volatile __u8 with_parent_comm = 0;

/* Never read. No map holds these types, so without a variable of them the BTF,
 * and with it the skeleton, would not have them. */
const struct event *const volatile btf_event;
const enum kind *const volatile btf_kind;

/* The road: one slot a CPU, filled by user space for each CPU it has a buffer on. */
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KIND_MAX);
	__type(key, __u32);
	__type(value, struct ledger);
} ledgers SEC(".maps");

/*
 * The tally: counts by subject of what did not fit the buffer. Two maps take
 * turns: user space puts the empty one into the slot, and the kernel returns from
 * that update only when no program can still be writing to the other
 * (maybe_wait_bpf_programs() in kernel/bpf/syscall.c), which is then read and
 * emptied at leisure.
 */
struct tally {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct subject);
	__type(value, __u64);
};

struct tally tally_a SEC(".maps");
struct tally tally_b SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct tally);
} tally_in_use SEC(".maps") = {
	.values = {[0] = &tally_a},
};

/* Programs can be preempted on some kernels, by another one on the same CPU too:
 * hence atomic, though the entry is the CPU's own. */
#define ADD(counter) __sync_fetch_and_add(&(counter), 1)

/* Count in the tally. False if it is full (or the kernel refuses for any reason). */
static __always_inline bool tally(const struct subject *subject)
{
	__u32 slot = 0;
	__u64 one = 1, *count;
	void *map;

	map = bpf_map_lookup_elem(&tally_in_use, &slot);
	if (!map)
		return false;
	count = bpf_map_lookup_elem(map, subject);
	if (!count) {
		long err = bpf_map_update_elem(map, subject, &one, BPF_NOEXIST);

		if (err != -EEXIST)
			return err == 0;
		/* Another CPU was faster. */
		count = bpf_map_lookup_elem(map, subject);
		if (!count)
			return false;
	}
	ADD(*count);
	return true;
}

/* The one way out of the kernel, whatever the hook. */
static __always_inline void emit(void *ctx, struct ledger *ledger, struct event *event)
{
	long err;

	err = bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event,
				    sizeof(*event));
	if (!err) {
		ADD(ledger->sent);
		return;
	}
	if (err == -ENOSPC)
		ADD(ledger->buffer_full);
	else if (err == -ENOENT)
		ADD(ledger->no_buffer);
	else
		ADD(ledger->other);
	if (tally(&event->subject))
		ADD(ledger->tallied);
	else
		ADD(ledger->unattributed);
}

/* Count an observation, before anything else. Null only if there is no such kind. */
static __always_inline struct ledger *see(__u32 kind)
{
	struct ledger *ledger = bpf_map_lookup_elem(&ledgers, &kind);

	if (ledger)
		ADD(ledger->seen);
	return ledger;
}

/*
 * The tracepoint sched_process_exec fires in exec_binprm() (fs/exec.c), in the
 * task itself, after the new program's name and credentials are in place and
 * before the exec returns: so whoever saw an exec complete can find it here.
 *
 * Arguments typed by BTF may be followed by plain loads, at a fifth of what a call
 * of bpf_probe_read_kernel() for each costs (measured).
 */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(exec_tp_btf, struct task_struct *task)
{
	struct ledger *ledger = see(KIND_EXEC);
	struct event event = {};
	struct task_struct *parent;

	if (!ledger)
		return 0;
	parent = task->real_parent;
	event.subject.cgroup_id = task->cgroups->dfl_cgrp->kn->id;
	event.subject.uid = task->cred->uid.val;
	/* What stands behind the NUL may be stale; user space cuts it off. */
	__builtin_memcpy(event.subject.comm, task->comm, sizeof(event.subject.comm));
	if (with_parent_comm)
		__builtin_memcpy(event.subject.parent_comm, parent->comm,
				 sizeof(event.subject.parent_comm));
	event.time_ns = bpf_ktime_get_ns();
	event.pid = task->tgid;
	event.ppid = parent->tgid;
	emit(ctx, ledger, &event);
	return 0;
}

/* The same where arguments have no types. */
SEC("raw_tp/sched_process_exec")
int BPF_PROG(exec_raw_tp, struct task_struct *task)
{
	struct ledger *ledger = see(KIND_EXEC);
	struct event event = {};
	struct task_struct *parent;

	if (!ledger)
		return 0;
	parent = BPF_CORE_READ(task, real_parent);
	event.subject.cgroup_id = bpf_get_current_cgroup_id();
	event.subject.uid = bpf_get_current_uid_gid();
	BPF_CORE_READ_STR_INTO(&event.subject.comm, task, comm);
	if (with_parent_comm)
		BPF_CORE_READ_STR_INTO(&event.subject.parent_comm, parent, comm);
	event.time_ns = bpf_ktime_get_ns();
	event.pid = BPF_CORE_READ(task, tgid);
	event.ppid = BPF_CORE_READ(parent, tgid);
	emit(ctx, ledger, &event);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
