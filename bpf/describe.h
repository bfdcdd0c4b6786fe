/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What an event says of a task, whatever the hook.
 */
#ifndef DESCRIBE_H
#define DESCRIBE_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "cgroup.h"
#include "execsnoop.h"

/* Set before load. A view by parent_comm asks for it; else it stays all NUL, so
 * that it neither costs a read nor splits the tally's entries. */
const volatile __u8 with_parent_comm = 0;

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

#endif /* DESCRIBE_H */
