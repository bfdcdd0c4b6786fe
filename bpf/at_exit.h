/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * When the kernel frees a process, its parent and its terminal may be gone. If a view
 * uses them, this keeps the name of the parent and whether there was a terminal, from the
 * exit until then.
 *
 * Each process has a slot, by its id, and takes it from an earlier process of the same
 * slot, which may be a zombie. So the slots take the same memory whatever a user leaves
 * unreaped, and a process that is reaped at once has its own. Slots cost a tenth of what
 * an LRU map costs (measured).
 */
#ifndef AT_EXIT_H
#define AT_EXIT_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "execsnoop.h"
#include "facts.h"
#include "task.h"

struct at_exit {
	__u64 start_time; /* of the process; 0 while its slot is written */
	__u8 parent_comm[COMM_LEN];
	__u8 facts; /* FACT_TTY or 0 */
	__u8 reserved[7];
};

/* The number of slots, a power of two, minus 1. Set before load. */
const volatile __u32 at_exit_mask = 0;

/* User space sets its size. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct at_exit);
} at_exit SEC(".maps");

/* Whether anything is kept. */
static __always_inline bool is_kept_at_exit(void)
{
	return with_parent_comm || with_tty;
}

static __always_inline struct at_exit *slot_of(__u32 tgid)
{
	__u32 slot = tgid & at_exit_mask;

	return bpf_map_lookup_elem(&at_exit, &slot);
}

/* Keep what the subject of an exit says. A process that takes its slot meanwhile must
 * not take half of this one. */
static __always_inline void keep_at_exit(const struct subject *subject, __u32 tgid,
					 __u64 start_time)
{
	struct at_exit *slot = slot_of(tgid);

	if (!slot)
		return;
	slot->start_time = 0;
	barrier();
	__builtin_memcpy(slot->parent_comm, subject->parent_comm,
			 sizeof(slot->parent_comm));
	slot->facts = subject->facts & FACT_TTY;
	barrier();
	slot->start_time = start_time;
}

/* Fill in what was kept of a process that is freed. */
static __always_inline void take_from_exit(struct subject *subject, __u32 tgid,
					   __u64 start_time)
{
	struct at_exit *slot = slot_of(tgid);

	if (slot && slot->start_time == start_time) {
		__builtin_memcpy(subject->parent_comm, slot->parent_comm,
				 sizeof(slot->parent_comm));
		subject->facts |= slot->facts;
		barrier();
		if (slot->start_time == start_time)
			return;
		__builtin_memset(subject->parent_comm, 0, sizeof(slot->parent_comm));
		subject->facts &= ~FACT_TTY;
	}
	if (with_parent_comm)
		subject->facts |= FACT_PARENT_UNKNOWN;
	if (with_tty)
		subject->facts |= FACT_TTY_UNKNOWN;
}

#endif /* AT_EXIT_H */
