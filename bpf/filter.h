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
#include "exe.h"
#include "execsnoop.h"

/* The most values of a filter. */
#define WANTED 8

/* An observation must match all of the filters that are on. Set before load. */
const volatile __u8 only_parent_comm = 0, only_cgroup = 0, only_login = 0;
const volatile __u8 wanted_parent_comm[COMM_LEN] = {};
const volatile __u64 wanted_cgroup_id = 0;
const volatile __u32 wanted_login = 0;
/* One of these many values; 0: any. */
const volatile __u32 wanted_uids = 0, wanted_uid[WANTED] = {};
const volatile __u32 wanted_comms = 0;
const volatile __u8 wanted_comm[WANTED * COMM_LEN] = {};
const volatile __u32 wanted_exes = 0;
const volatile __u64 wanted_exe[WANTED] = {};
/* The process with this id, and its descendants; 0: any. */
const volatile __u32 wanted_pid = 0;
/* One of these origins, a bit for each value of enum origin, and all of these facts. */
const volatile __u8 wanted_origins = 0, wanted_facts = 0;
/* Of exits, only those of processes that did not succeed. */
const volatile __u8 only_unsuccessful = 0;

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

static __always_inline bool has_wanted_uid(__u32 uid)
{
	for (__u32 i = 0; i < WANTED && i < wanted_uids; i++)
		if (uid == wanted_uid[i])
			return true;
	return !wanted_uids;
}

static __always_inline bool has_wanted_exe(__u64 exe)
{
	for (__u32 i = 0; i < WANTED && i < wanted_exes; i++)
		if (exe == wanted_exe[i])
			return true;
	return !wanted_exes;
}

static __always_inline bool has_wanted_comm(const __u8 *comm)
{
	for (__u32 i = 0; i < WANTED && i < wanted_comms; i++)
		if (is_named(comm, wanted_comm + i * COMM_LEN))
			return true;
	return !wanted_comms;
}

/* The most generations between a process and its wanted ancestor. */
#define GENERATIONS 128

static __always_inline bool descends_from(struct task_struct *task, __u32 pid)
{
	for (int i = 0; i < GENERATIONS; i++) {
		__u32 id = BPF_CORE_READ(task, tgid);

		if (id == pid)
			return true;
		if (!id)
			break;
		task = BPF_CORE_READ(task, real_parent);
	}
	return false;
}

static __always_inline bool is_wanted(const struct event *event, struct task_struct *task)
{
	const struct subject *subject = &event->subject;

	if (!has_wanted_uid(subject->uid) || !has_wanted_comm(subject->comm))
		return false;
	if (only_login && subject->login != wanted_login)
		return false;
	if (wanted_origins && !(wanted_origins & 1U << subject->origin))
		return false;
	if (!has_wanted_exe(subject->exe))
		return false;
	if ((subject->facts & wanted_facts) != wanted_facts)
		return false;
	if (wanted_pid && !descends_from(task, wanted_pid))
		return false;
	if (only_unsuccessful && subject->kind == KIND_EXIT &&
	    subject->outcome == OUTCOME_SUCCESS)
		return false;
	if (only_parent_comm && !is_named(subject->parent_comm, wanted_parent_comm))
		return false;
	return !only_cgroup ||
	       is_below(BPF_CORE_READ(task, cgroups, dfl_cgrp), wanted_cgroup_id);
}

#endif /* FILTER_H */
