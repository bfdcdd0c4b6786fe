/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Sends the path, the arguments and the ancestors of an exec, for the live stream of
 * `execsnoopd trace`. In the daemon they are off, and the verifier drops the code.
 */
#ifndef DETAIL_H
#define DETAIL_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "execsnoop.h"
#include "ledger.h"

/* Send failed execs as events. The daemon only counts them. Set before load. */
const volatile __u8 with_failure_events = 0;
/* Send paths, arguments, and who the process descends from. All need the ring buffer. Set
 * before load. */
const volatile __u8 with_path = 0, with_args = 0, with_family = 0;

static __always_inline bool is_detailed(void)
{
	return with_path || with_args || with_family;
}

/* Reserve room in the ring buffer. If there is none, the observation overflows. */
static __always_inline struct traced *reserve(struct ledger *ledger, struct event *event)
{
	struct traced *traced = bpf_ringbuf_reserve(&ring, sizeof(*traced), 0);

	if (!traced) {
		overflow(ledger, event, -ENOSPC);
		return NULL;
	}
	traced->event = *event;
	traced->path_size = 0;
	traced->path_truncated = 0;
	traced->has_family = 0;
	traced->ancestors = 0;
	traced->args_size = 0;
	__builtin_memset(traced->reserved, 0, sizeof(traced->reserved));
	__builtin_memset(traced->thread_comm, 0, sizeof(traced->thread_comm));
	__builtin_memset(traced->parent_thread_comm, 0,
			 sizeof(traced->parent_thread_comm));
	return traced;
}

/* Fill in the names of the thread that has forked, and of the ancestors, up to the first
 * process. */
static __always_inline void add_family(struct traced *traced, struct task_struct *task)
{
	if (!with_family)
		return;
	traced->has_family = 1;
	task = BPF_CORE_READ(task, real_parent);
	BPF_CORE_READ_STR_INTO(&traced->parent_thread_comm, task, comm);
	for (int i = 0; i < ANCESTORS; i++) {
		__u32 pid = BPF_CORE_READ(task, tgid);

		if (!pid)
			break;
		task = BPF_CORE_READ(task, group_leader);
		traced->ancestor_pids[i] = pid;
		bpf_probe_read_kernel_str(traced->ancestor_comms + i * COMM_LEN, COMM_LEN,
					  (void *)task +
						  bpf_core_field_offset(task->comm));
		traced->ancestors = i + 1;
		task = BPF_CORE_READ(task, real_parent);
	}
}

static __always_inline void submit(struct ledger *ledger, struct traced *traced)
{
	ADD(ledger->sent, 1);
	bpf_ringbuf_submit(traced, ring_flags());
}

/* Send an exec with its path as the caller gave it (for a script, the path of the script,
 * not of its interpreter), and its arguments as the new program finds them. At a hook
 * that does not show what is executed, `bprm` is NULL, and there is no path. */
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
	if (with_path && bprm) {
		path = BPF_CORE_READ(bprm, filename);
		copied = bpf_probe_read_kernel_str(traced->path, PATH_LEN, path);
		traced->path_size = copied > 0 ? copied : 0;
		if (copied == PATH_LEN)
			bpf_probe_read_kernel(&last, 1, path + PATH_LEN - 1);
		traced->path_truncated = last != 0;
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
	add_family(traced, task);
	submit(ledger, traced);
}

/* Send an exit, with the ancestors of the process if they are asked for. */
static __always_inline void emit_exit(void *ctx, struct ledger *ledger,
				      struct event *event, struct task_struct *task)
{
	struct traced *traced;

	if (!with_family) {
		emit(ctx, ledger, event);
		return;
	}
	traced = reserve(ledger, event);
	if (!traced)
		return;
	add_family(traced, task);
	submit(ledger, traced);
}

/* Send a failed exec with its path. The path is read from the caller's memory after the
 * call. Another thread may have changed it by then, and it is gone if the exec failed
 * after the kernel had replaced that memory. */
static __always_inline void emit_failed(struct ledger *ledger, struct event *event,
					struct task_struct *task, const char *path)
{
	struct traced *traced = reserve(ledger, event);
	long copied;
	__u8 last = 0;

	if (!traced)
		return;
	if (with_path) {
		copied = bpf_probe_read_user_str(traced->path, PATH_LEN, path);
		traced->path_size = copied > 0 ? copied : 0;
		if (copied == PATH_LEN)
			bpf_probe_read_user(&last, 1, path + PATH_LEN - 1);
		traced->path_truncated = last != 0;
	}
	BPF_CORE_READ_STR_INTO(&traced->thread_comm, task, comm);
	add_family(traced, task);
	submit(ledger, traced);
}

#endif /* DETAIL_H */
