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
#include "facts.h"

/* Whether a view, a filter or a column uses parent_comm. If none does, parent_comm is not
 * read and stays all NUL, which does not split entries of the tally. Set before load. */
const volatile __u8 with_parent_comm = 0;

/* Events say which process it was, and when, for a live stream. If not, both cost no
 * read. Set before load. */
const volatile __u8 with_process = 0;

/*
 * Describe a task that the verifier knows by its BTF type, without its parent. Plain
 * loads then suffice, at a fifth of what a call of bpf_probe_read_kernel() for each field
 * costs (measured).
 */
static __always_inline void describe_self_typed(struct subject *subject,
						struct task_struct *task)
{
	if (with_cgroup) {
		struct cgroup *cgroup = task->cgroups->dfl_cgrp;

		subject->cgroup_id = name_cgroup(cgroup, cgroup->kn->id, cgroup->level);
	}
	subject->uid = task->cred->uid.val;
	/* Bytes after the NUL may be stale; user space clears them. */
	__builtin_memcpy(subject->comm, task->comm, sizeof(subject->comm));
	add_loginuid_typed(subject, task);
}

/* Add what is gone after the exit: the parent and the terminal. The real parent is the
 * thread that has forked; the name is that of its process. */
static __always_inline void add_until_exit_typed(struct subject *subject,
						 struct task_struct *task)
{
	if (with_parent_comm)
		__builtin_memcpy(subject->parent_comm,
				 task->real_parent->group_leader->comm,
				 sizeof(subject->parent_comm));
	add_tty_typed(subject, task);
}

/* Describe a task with its parent and its terminal, and say which process it is. */
static __always_inline void describe_typed(struct event *event, struct task_struct *task)
{
	describe_self_typed(&event->subject, task);
	add_until_exit_typed(&event->subject, task);
	if (with_process) {
		event->time_ns = bpf_ktime_get_ns();
		event->pid = task->tgid;
		event->ppid = task->real_parent->tgid;
	}
}

/* These three do the same for a task whose type the verifier does not know. */
static __always_inline void describe_self(struct subject *subject,
					  struct task_struct *task)
{
	if (with_cgroup) {
		struct cgroup *cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp);

		subject->cgroup_id = name_cgroup(cgroup, BPF_CORE_READ(cgroup, kn, id),
						 BPF_CORE_READ(cgroup, level));
	}
	subject->uid = BPF_CORE_READ(task, cred, uid.val);
	BPF_CORE_READ_STR_INTO(&subject->comm, task, comm);
	add_loginuid(subject, task);
}

static __always_inline void add_until_exit(struct subject *subject,
					   struct task_struct *task)
{
	if (with_parent_comm)
		BPF_CORE_READ_STR_INTO(&subject->parent_comm, task, real_parent,
				       group_leader, comm);
	add_tty(subject, task);
}

static __always_inline void describe(struct event *event, struct task_struct *task)
{
	describe_self(&event->subject, task);
	add_until_exit(&event->subject, task);
	if (with_process) {
		event->time_ns = bpf_ktime_get_ns();
		event->pid = BPF_CORE_READ(task, tgid);
		event->ppid = BPF_CORE_READ(task, real_parent, tgid);
	}
}

#endif /* TASK_H */
