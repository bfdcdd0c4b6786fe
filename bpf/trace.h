/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What a live stream asks for: only some observations, and more of each. All of it is off
 * in the daemon, and the verifier then drops the code.
 */
#ifndef TRACE_H
#define TRACE_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "account.h"
#include "cgroup.h"

/* Only what has all of these. Set before load. */
const volatile __u8 only_uid = 0, only_comm = 0, only_parent_comm = 0, only_cgroup = 0;
const volatile __u32 wanted_uid = 0;
const volatile __u8 wanted_comm[COMM_LEN] = {}, wanted_parent_comm[COMM_LEN] = {};
const volatile __u64 wanted_cgroup_id = 0;

/* Failed execs as events, too. Set before load. */
const volatile __u8 with_failure_events = 0;
/* The path and the arguments of an exec, over the ring buffer. Set before load. */
const volatile __u8 with_path = 0, with_args = 0;

/* As user space pads the wanted one with NULs, so far only is it compared. */
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

/* The cgroup, or one below it. */
static __always_inline bool is_below(struct cgroup *cgroup, __u64 id)
{
	for (int i = 0; i < CGROUP_DEPTH && cgroup; i++) {
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

/* Room for an observation with its details, in the ring buffer; without, it is counted.
 */
static __always_inline struct traced *reserve(struct ledger *ledger, struct event *event)
{
	struct traced *traced = bpf_ringbuf_reserve(&ring, sizeof(*traced), 0);

	if (!traced) {
		keep_count(ledger, event, -ENOSPC);
		return NULL;
	}
	traced->event = *event;
	traced->path_size = 0;
	traced->path_cut = 0;
	traced->args_size = 0;
	__builtin_memset(traced->reserved, 0, sizeof(traced->reserved));
	return traced;
}

static __always_inline void submit(struct ledger *ledger, struct traced *traced)
{
	ADD(ledger->sent, 1);
	bpf_ringbuf_submit(traced, ring_flags());
}

/* An exec with its path, as it was given (of a script, the script's), and its arguments,
 * as the new program finds them. */
static __always_inline void emit_detailed(struct ledger *ledger, struct event *event,
					  struct task_struct *task,
					  struct linux_binprm *bprm)
{
	struct traced *traced = reserve(ledger, event);
	unsigned long start, size;
	const char *path;
	long copied = 0;
	__u8 last = 0;

	if (!traced)
		return;
	if (with_path) {
		path = BPF_CORE_READ(bprm, filename);
		copied = bpf_probe_read_kernel_str(traced->path, PATH_LEN, path);
		traced->path_size = copied > 0 ? copied : 0;
		if (copied == PATH_LEN)
			bpf_probe_read_kernel(&last, 1, path + PATH_LEN - 1);
		traced->path_cut = last != 0;
	}
	if (with_args) {
		start = BPF_CORE_READ(task, mm, arg_start);
		size = BPF_CORE_READ(task, mm, arg_end) - start;
		traced->args_size = size;
		if (size > ARGS_LEN)
			size = ARGS_LEN;
		if (bpf_probe_read_user(traced->args, size, (void *)start))
			traced->args_size = 0;
	}
	submit(ledger, traced);
}

/* A failed exec with its path, from the caller's memory: as it is now, so another thread
 * may have changed it, and of an exec that failed late it is gone. */
static __always_inline void emit_failed(struct ledger *ledger, struct event *event,
					const char *path)
{
	struct traced *traced = reserve(ledger, event);
	long copied;
	__u8 last = 0;

	if (!traced)
		return;
	copied = bpf_probe_read_user_str(traced->path, PATH_LEN, path);
	traced->path_size = copied > 0 ? copied : 0;
	if (copied == PATH_LEN)
		bpf_probe_read_user(&last, 1, path + PATH_LEN - 1);
	traced->path_cut = last != 0;
	submit(ledger, traced);
}

#endif /* TRACE_H */
