/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Names of cgroups, kept from the moment when one is first seen: it may be gone when user
 * space looks.
 */
#ifndef CGROUP_H
#define CGROUP_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "execsnoop.h"

/* A view by unit, slice or container asks for it. Set before load. */
const volatile __u8 with_cgroup = 0;

/* Deeper ones have no name: containers in containers in a user's session are at ten. */
#define CGROUP_DEPTH 16

/* By id. LRU, as nobody tells us which are gone. User space sets its size. */
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

/* Keep the names of a cgroup and of all above it. Its own comes last: whoever finds that
 * one finds the others. */
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
