/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The kernel types that execsnoop.bpf.c reads, and of these only the fields that
 * it reads: written by hand, not dumped. CO-RE relocates each access against the
 * running kernel's BTF, so order, offsets and missing fields do not matter here.
 */
#ifndef VMLINUX_H
#define VMLINUX_H

typedef unsigned char __u8;
typedef signed short __s16;
typedef unsigned short __u16;
typedef signed int __s32;
typedef unsigned int __u32;
typedef signed long long __s64;
typedef unsigned long long __u64;

typedef _Bool bool;
#define true 1
#define false 0

/* bpf_helper_defs.h names these in prototypes of helpers. */
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

/* include/uapi/linux/bpf.h: part of the kernel's ABI, these numbers never change. */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
};

enum {
	BPF_NOEXIST = 1,
};

#define BPF_F_CURRENT_CPU 0xffffffffULL

/* include/uapi/asm-generic/errno-base.h */
#define ENOENT 2
#define EEXIST 17
#define ENOSPC 28

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* include/linux/uidgid_types.h; uidgid.h before 6.8 */
typedef struct {
	__u32 val;
} kuid_t;

/* include/linux/cred.h */
struct cred {
	kuid_t uid;
};

/* include/linux/kernfs.h */
struct kernfs_node {
	__u64 id;
};

/* include/linux/cgroup-defs.h */
struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

/* include/linux/sched.h */
struct task_struct {
	int tgid;
	struct task_struct *real_parent;
	const struct cred *cred;
	char comm[16];
	struct css_set *cgroups;
};

#pragma clang attribute pop

#endif /* VMLINUX_H */
