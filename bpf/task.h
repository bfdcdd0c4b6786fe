/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Fills in what an event says about a task, whatever the hook.
 */
#ifndef TASK_H
#define TASK_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "cgroup.h"
#include "execsnoop.h"

/* A view or a filter uses parent_comm. If not, it stays all NUL: it costs no read and
 * does not split entries of the tally. Set before load. */
const volatile __u8 with_parent_comm = 0;

/*
 * Describe a task that the verifier knows by its BTF type, without its parent. Plain
 * loads then suffice, at a fifth of what a call of bpf_probe_read_kernel() for each field
 * costs (measured).
 */
static __always_inline void describe_self_typed(struct event *event,
						struct task_struct *task)
{
	if (with_cgroup) {
		struct cgroup *cgroup = task->cgroups->dfl_cgrp;

		event->subject.cgroup_id =
			name_cgroup(cgroup, cgroup->kn->id, cgroup->level);
	}
	event->subject.uid = task->cred->uid.val;
	/* Bytes after the NUL may be stale; user space clears them. */
	__builtin_memcpy(event->subject.comm, task->comm, sizeof(event->subject.comm));
	event->time_ns = bpf_ktime_get_ns();
	event->pid = task->tgid;
}

/* The same with its parent. */
static __always_inline void describe_typed(struct event *event, struct task_struct *task)
{
	struct task_struct *parent = task->real_parent;

	describe_self_typed(event, task);
	if (with_parent_comm)
		__builtin_memcpy(event->subject.parent_comm, parent->comm,
				 sizeof(event->subject.parent_comm));
	event->ppid = parent->tgid;
}

/* Describe a task whose type the verifier does not know, without its parent. */
static __always_inline void describe_self(struct event *event, struct task_struct *task)
{
	if (with_cgroup) {
		struct cgroup *cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp);

		event->subject.cgroup_id =
			name_cgroup(cgroup, BPF_CORE_READ(cgroup, kn, id),
				    BPF_CORE_READ(cgroup, level));
	}
	event->subject.uid = BPF_CORE_READ(task, cred, uid.val);
	BPF_CORE_READ_STR_INTO(&event->subject.comm, task, comm);
	event->time_ns = bpf_ktime_get_ns();
	event->pid = BPF_CORE_READ(task, tgid);
}

/* The same with its parent. */
static __always_inline void describe(struct event *event, struct task_struct *task)
{
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);

	describe_self(event, task);
	if (with_parent_comm)
		BPF_CORE_READ_STR_INTO(&event->subject.parent_comm, parent, comm);
	event->ppid = BPF_CORE_READ(parent, tgid);
}

#endif /* TASK_H */
