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

/* A view uses unit, slice or container. Set before load. */
const volatile __u8 with_cgroup = 0;

/* Cgroups below this depth have no name. Nested containers in a user's session are at
 * depth ten. */
#define CGROUP_DEPTH 16

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

	if (bpf_map_lookup_elem(&cgroup_names, &id))
		return;
	for (int i = 0; i < CGROUP_DEPTH; i++) {
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

#endif /* CGROUP_H */
