/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The kernel types that the programs use, with only the fields that they read. Written by
 * hand, not dumped: CO-RE relocates each access against the running kernel's BTF, so
 * order and offsets do not matter here.
 */
#ifndef VMLINUX_H
#define VMLINUX_H

typedef unsigned char __u8;
typedef signed char __s8;
typedef signed short __s16;
typedef unsigned short __u16;
typedef signed int __s32;
typedef unsigned int __u32;
typedef signed long long __s64;
typedef unsigned long long __u64;

typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

/* bpf_helper_defs.h names these in prototypes of helpers. */
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

/* include/uapi/linux/bpf.h: part of the kernel's ABI, these numbers never change. */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
};

struct bpf_pidns_info {
	__u32 pid;
	__u32 tgid;
};

enum {
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
};

enum {
	BPF_RB_PROD_POS = 3,
};

enum bpf_func_id {
	BPF_FUNC_get_current_task_btf = 158,
	BPF_FUNC_task_pt_regs = 175,
};

#define BPF_F_CURRENT_CPU 0xffffffffULL

/* include/uapi/asm-generic/errno-base.h */
#define ENOENT 2
#define EAGAIN 11
#define EEXIST 17
#define ENOSPC 28

/* include/linux/preempt.h: how often preemption has been switched off */
#define PREEMPT_MASK 0xff
/* include/linux/sched.h: a thread of the kernel itself */
#define PF_KTHREAD 0x00200000
/* include/linux/sched/signal.h: the group ends with group_exit_code */
#define SIGNAL_GROUP_EXIT 0x00000004

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* include/linux/types.h */
typedef struct {
	int counter;
} atomic_t;

struct list_head {
	struct list_head *next;
};

/* include/linux/uidgid_types.h; uidgid.h before 6.8 */
typedef struct {
	__u32 val;
} kuid_t;

/* include/linux/pid.h; numbers is flexible: one more than level */
struct upid {
	int nr;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

/* include/linux/cred.h */
struct cred {
	kuid_t uid;
};

/* include/linux/kernfs.h */
struct kernfs_node {
	const char *name;
	__u64 id;
};

/* include/linux/cgroup-defs.h */
struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	int level;
	struct kernfs_node *kn;
	__u64 ancestor_ids[1];       /* flexible, before 6.1 */
	struct cgroup *ancestors[1]; /* flexible, since 6.1 */
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

/* include/linux/sched/signal.h */
struct signal_struct {
	struct tty_struct *tty;
	atomic_t live;
	int nr_threads;
	struct list_head thread_head;
	int group_exit_code;
	unsigned int flags;
	__u64 sum_sched_runtime;
	struct mm_struct *oom_mm;
};

/* arch/x86/include/asm/current.h, from 6.2 to 6.14 */
struct pcpu_hot {
	int preempt_count;
};

/* kernel/sched/sched.h */
struct cfs_rq {
	void *rq;
};

/* include/linux/sched.h; cfs_rq with CONFIG_FAIR_GROUP_SCHED */
struct sched_entity {
	__u64 sum_exec_runtime;
	struct cfs_rq *cfs_rq;
};

/* With CONFIG_SCHED_INFO */
struct sched_info {
	unsigned long long run_delay;
};

/* arch/arm64/include/asm/thread_info.h */
struct preempt {
	__u32 count;
};

struct thread_info {
	struct preempt preempt;
};

/* arch/x86/include/asm/ptrace.h, arch/arm64/include/asm/ptrace.h */
struct pt_regs {
#if defined(__TARGET_ARCH_x86)
	unsigned long bx;
	unsigned long cx;
	unsigned long si;
	unsigned long di;
	unsigned long r8;
#elif defined(__TARGET_ARCH_arm64)
	__u64 regs[31];
	__u64 orig_x0;
#endif
};

/* include/linux/mm_types.h */
struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
};

/* include/linux/dcache.h */
struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct qstr d_name;
};

/* include/linux/path.h */
struct path {
	struct dentry *dentry;
};

/* include/linux/fs.h; __i_nlink is in a union with i_nlink, which is constant */
struct super_block {
	unsigned long s_magic;
};

struct inode {
	kuid_t i_uid;
	struct super_block *i_sb;
	unsigned int __i_nlink;
};

struct file {
	struct inode *f_inode;
	struct path f_path;
};

/* include/linux/binfmts.h */
struct linux_binprm {
	unsigned int secureexec : 1;
	struct file *file;
	const char *filename;
};

struct task_struct {
	struct mm_struct *mm;
	struct thread_info thread_info;
	unsigned int flags;
	struct sched_entity se;
	struct sched_info sched_info;
	int exit_state;
	int exit_code;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct list_head thread_node;
	struct pid *thread_pid;
	unsigned long atomic_flags;
	unsigned long nvcsw;
	unsigned long nivcsw;
	__u64 start_time;
	const struct cred *cred;
	char comm[16];
	struct signal_struct *signal;
	__u64 self_exec_id;
	struct css_set *cgroups;
	kuid_t loginuid; /* with CONFIG_AUDIT */
};

#pragma clang attribute pop

/* The context of a classic syscalls tracepoint at its end: the common fields, the
 * system call's number and its return value, as the kernel's documentation has them in
 * trace/events.rst and every kernel's events/syscalls/sys_exit_execve/format. */
struct trace_event_raw_sys_exit {
	__u64 common;
	long id;
	long ret;
};

/* And at its beginning. */
struct trace_event_raw_sys_enter {
	__u64 common;
	long id;
	unsigned long args[6];
};

#endif /* VMLINUX_H */
