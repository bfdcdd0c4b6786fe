/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Keeps the names of cgroups. A name is kept when its cgroup is first seen, because the
 * cgroup may be gone before user space could look it up.
 */
#ifndef CGROUP_H
#define CGROUP_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "execsnoop.h"

/* Whether a view, a filter or a column uses a label from the cgroup. Set before load. */
const volatile __u8 with_cgroup = 0;

/* The greatest depth at which cgroups are named; the root is at depth 0. A deeper cgroup
 * counts as its ancestor at this depth, because slice, unit and container depend only on
 * cgroups nearer to the root. Nested containers in a user's session are at depth ten. */
#define NAMED_DEPTH 64

/* The largest number of steps from a cgroup towards the root. The verifier requires a
 * bound. */
#define MAX_CLIMB 1024

/* Names by cgroup id. An LRU map, because nothing reports which cgroups are gone. User
 * space sets its size. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct cgroup_name);
} cgroup_names SEC(".maps");

static __noinline int keep_name(struct cgroup *cgroup, __u64 id)
{
	struct cgroup_name name = {};
	struct cgroup *parent = BPF_CORE_READ(cgroup, self.parent, cgroup);

	if (parent)
		name.parent_id = BPF_CORE_READ(parent, kn, id);
	bpf_probe_read_kernel_str(name.name, sizeof(name.name),
				  BPF_CORE_READ(cgroup, kn, name));
	return bpf_map_update_elem(&cgroup_names, &id, &name, BPF_NOEXIST);
}

/* Keep the names of a cgroup and of all its ancestors. The cgroup's own name is stored
 * last, so that its presence shows that its ancestors' names were stored, too. */
static __always_inline void keep_names(struct cgroup *cgroup, __u64 id)
{
	struct cgroup *above = cgroup;

	for (int i = 0; i < NAMED_DEPTH; i++) {
		__u64 id_above;

		above = BPF_CORE_READ(above, self.parent, cgroup);
		if (!above)
			break;
		id_above = BPF_CORE_READ(above, kn, id);
		if (!bpf_map_lookup_elem(&cgroup_names, &id_above))
			keep_name(above, id_above);
	}
	keep_name(cgroup, id);
}

/* Keep the names of the ancestor at NAMED_DEPTH of a cgroup that is `below` levels
 * deeper, and return that ancestor's id. An array in struct cgroup holds pointers to all
 * ancestors since 6.1, and their ids before. Older kernels therefore climb to the
 * ancestor, but only if its name is not kept yet. */
static __always_inline __u64 name_ancestor(struct cgroup *cgroup, int below)
{
	void *at = cgroup;
	__u64 id;

	if (bpf_core_field_exists(cgroup->ancestors)) {
		at += bpf_core_field_offset(cgroup->ancestors);
		bpf_probe_read_kernel(&cgroup, sizeof(cgroup),
				      at + NAMED_DEPTH * sizeof(cgroup));
		id = BPF_CORE_READ(cgroup, kn, id);
		below = 0;
	} else {
		at += bpf_core_field_offset(cgroup->ancestor_ids);
		bpf_probe_read_kernel(&id, sizeof(id), at + NAMED_DEPTH * sizeof(id));
	}
	if (bpf_map_lookup_elem(&cgroup_names, &id))
		return id;
	for (int i = 0; i < MAX_CLIMB && i < below; i++)
		cgroup = BPF_CORE_READ(cgroup, self.parent, cgroup);
	if (below <= MAX_CLIMB)
		keep_names(cgroup, id);
	return id;
}

/* Keep the names of a cgroup and its ancestors. Returns the id under which the cgroup
 * counts: its own, or that of its ancestor at NAMED_DEPTH. */
static __always_inline __u64 name_cgroup(struct cgroup *cgroup, __u64 id, int level)
{
	if (level > NAMED_DEPTH)
		return name_ancestor(cgroup, level - NAMED_DEPTH);
	if (!bpf_map_lookup_elem(&cgroup_names, &id))
		keep_names(cgroup, id);
	return id;
}

#endif /* CGROUP_H */
