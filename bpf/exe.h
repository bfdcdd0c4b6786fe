/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Keeps the names of the files that are executed. A subject has the id of a name, which
 * is eight bytes instead of 256. What has the same name has the same id, whichever file
 * it is, so ids need not follow files that are renamed, deleted or linked.
 */
#ifndef EXE_H
#define EXE_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "execsnoop.h"

/* Whether a view, a watch, a filter or a column uses exe, and whether a filter compares
 * it with `wanted_exes`. Set before load. */
const volatile __u8 with_exe = 0, only_exes = 0;

/* The ids of names, and the names by id. Both are LRU maps, so that new names always find
 * room. Each exec uses both entries of its name. User space sets their sizes. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct exe_name);
	__type(value, __u64);
} exe_ids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct exe_name);
} exe_names SEC(".maps");

/* The names that a filter accepts. User space fills it before the programs are attached.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct exe_name);
	__type(value, __u8);
} wanted_exes SEC(".maps");

/* A new id. It is random, because a counter that all CPUs share needs an instruction that
 * kernels before 5.12 do not have. Nobody can choose it, and one of 64 bits does not come
 * twice. */
static __always_inline __u64 new_exe_id(void)
{
	__u64 id = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32();

	return id < EXE_MAX ? id + EXE_MAX : id;
}

/* Return the id of the name of a file, and keep both. A name is found by its id before
 * anything has the id. Either map can evict its entry without the other; the next exec
 * then stores it again. A process that renames the file at this moment may leave parts of
 * both names, which it could as well have given to one file. */
static __noinline __u64 name_exe(struct dentry *dentry)
{
	struct exe_name name = {};
	__u64 id, *known;

	if (bpf_probe_read_kernel_str(name.name, sizeof(name.name),
				      BPF_CORE_READ(dentry, d_name.name)) <= 1)
		return EXE_UNKNOWN;
	if (only_exes && !bpf_map_lookup_elem(&wanted_exes, &name))
		return EXE_UNWANTED;
	known = bpf_map_lookup_elem(&exe_ids, &name);
	if (known) {
		id = *known;
		if (bpf_map_lookup_elem(&exe_names, &id) ||
		    !bpf_map_update_elem(&exe_names, &id, &name, BPF_ANY))
			return id;
		return EXE_UNKNOWN;
	}
	id = new_exe_id();
	if (bpf_map_update_elem(&exe_names, &id, &name, BPF_NOEXIST))
		return EXE_UNKNOWN;
	if (!bpf_map_update_elem(&exe_ids, &name, &id, BPF_NOEXIST))
		return id;
	/* Another CPU has stored the name in the meantime. */
	known = bpf_map_lookup_elem(&exe_ids, &name);
	return known ? *known : EXE_UNKNOWN;
}

#endif /* EXE_H */
