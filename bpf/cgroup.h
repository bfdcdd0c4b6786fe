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

/* Whether a view uses unit, slice or container. Set before load. */
const volatile __u8 with_cgroup = 0;

/* The depth of the last cgroups that have names; the root is at depth 0. Deeper ones
 * count as their ancestor at this depth, because slice, unit and container are decided
 * above it. Nested containers in a user's session are at depth ten. */
#define NAMED_DEPTH 64

/* The number of levels that a search for an ancestor climbs at most. */
#define MAX_CLIMB 1024

/* By id. LRU, because nothing reports which cgroups are gone. User space sets its size.
 */
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

/* Keep the names of a cgroup and of all its ancestors. Its own name comes last, so where
 * that one is present, the others are too. */
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
 * deeper, and return its id. struct cgroup has an array of its ancestors, so this does
 * not depend on the depth. Before 6.1 the array has ids only, and the names are found by
 * climbing. */
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

/* Keep the names of a cgroup. Returns the id of the cgroup as which it counts. */
static __always_inline __u64 name_cgroup(struct cgroup *cgroup, __u64 id, int level)
{
	if (level > NAMED_DEPTH)
		return name_ancestor(cgroup, level - NAMED_DEPTH);
	if (!bpf_map_lookup_elem(&cgroup_names, &id))
		keep_names(cgroup, id);
	return id;
}

#endif /* CGROUP_H */
