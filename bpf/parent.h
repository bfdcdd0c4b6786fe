/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Keeps the name of each process's parent from the exit of the process until the kernel
 * frees it, if a view uses the name.
 *
 * Each process has a slot, by its id, and takes it from an earlier process of the same
 * slot, which may be a zombie. So the names take the same memory whatever a user leaves
 * unreaped, and a process that is reaped at once has its name. Slots cost a tenth of what
 * an LRU map costs (measured).
 */
#ifndef PARENT_H
#define PARENT_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "execsnoop.h"

struct parent {
	__u64 start_time; /* of the process whose parent it is; 0 while the name is
			     written */
	__u8 comm[COMM_LEN];
};

/* The number of slots, a power of two, minus 1. Set before load. */
const volatile __u32 parents_mask = 0;

/* User space sets its size. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct parent);
} parents SEC(".maps");

static __always_inline struct parent *parent_slot(__u32 tgid)
{
	__u32 slot = tgid & parents_mask;

	return bpf_map_lookup_elem(&parents, &slot);
}

/* The slot of a process, for the name of its parent, or NULL. A process that takes its
 * name meanwhile must not take half of this one. */
static __always_inline struct parent *begin_parent(__u32 tgid)
{
	struct parent *slot = parent_slot(tgid);

	if (slot)
		slot->start_time = 0;
	barrier();
	return slot;
}

static __always_inline void end_parent(struct parent *slot, __u64 start_time)
{
	barrier();
	slot->start_time = start_time;
}

/* Fill in the name of the parent of a process that is freed. */
static __always_inline void take_parent(struct subject *subject, __u32 tgid,
					__u64 start_time)
{
	struct parent *slot = parent_slot(tgid);

	if (slot && slot->start_time == start_time) {
		__builtin_memcpy(subject->parent_comm, slot->comm, sizeof(slot->comm));
		barrier();
		if (slot->start_time == start_time)
			return;
		__builtin_memset(subject->parent_comm, 0, sizeof(slot->comm));
	}
	subject->is_parent_unknown = 1;
}

#endif /* PARENT_H */
