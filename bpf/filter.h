/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Restricts what is observed, for the live stream of `execsnoopd trace`. In the daemon
 * all filters are off, and the verifier drops their code.
 */
#ifndef FILTER_H
#define FILTER_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "cgroup.h"
#include "execsnoop.h"

/* An observation must match all of the filters that are on. Set before load. */
const volatile __u8 only_uid = 0, only_comm = 0, only_parent_comm = 0, only_cgroup = 0;
const volatile __u32 wanted_uid = 0;
const volatile __u8 wanted_comm[COMM_LEN] = {}, wanted_parent_comm[COMM_LEN] = {};
const volatile __u64 wanted_cgroup_id = 0;

/* User space pads the wanted name with NULs; bytes after the first NUL are not compared.
 */
static __always_inline bool is_named(const __u8 *name, const volatile __u8 *wanted)
{
	for (int i = 0; i < COMM_LEN; i++) {
		if (name[i] != wanted[i])
			return false;
		if (!name[i])
			break;
	}
	return true;
}

/* Whether the cgroup has this id, or is below the cgroup that has it. */
static __always_inline bool is_below(struct cgroup *cgroup, __u64 id)
{
	for (int i = 0; i < MAX_CLIMB && cgroup; i++) {
		if (BPF_CORE_READ(cgroup, kn, id) == id)
			return true;
		cgroup = BPF_CORE_READ(cgroup, self.parent, cgroup);
	}
	return false;
}

static __always_inline bool is_wanted(const struct event *event, struct task_struct *task)
{
	const struct subject *subject = &event->subject;

	if (only_uid && subject->uid != wanted_uid)
		return false;
	if (only_comm && !is_named(subject->comm, wanted_comm))
		return false;
	if (only_parent_comm && !is_named(subject->parent_comm, wanted_parent_comm))
		return false;
	return !only_cgroup ||
	       is_below(BPF_CORE_READ(task, cgroups, dfl_cgrp), wanted_cgroup_id);
}

#endif /* FILTER_H */
