/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Facts about an exec that the name of the program does not show. Each is read only if a
 * view, a watch, a filter or a column uses it. If not, it stays 0, which does not split
 * entries of the tally.
 */
#ifndef FACTS_H
#define FACTS_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "exe.h"
#include "execsnoop.h"

/* Whether each fact is used. Set before load. */
const volatile __u8 with_origin = 0, with_elevated = 0, with_entry = 0, with_tty = 0,
		    with_loginuid = 0;

/* include/uapi/linux/magic.h */
#define RAMFS_MAGIC           0x858458f6
#define TMPFS_MAGIC           0x01021994
#define OVERLAYFS_SUPER_MAGIC 0x794c7630

/* Whether the upper layer of an overlay has the file: it was created or changed there.
 * struct ovl_inode (fs/overlayfs/ovl_entry.h) has the upper dentry right after the inode.
 * It is the type of a module, so its BTF may not be there. */
static __always_inline bool is_in_upper_layer(struct inode *inode)
{
	void *upper = NULL;

	bpf_probe_read_kernel(&upper, sizeof(upper),
			      (void *)inode + bpf_core_type_size(struct inode));
	return upper != NULL;
}

/* Where a file comes from. A memfd, a file of O_TMPFILE and a deleted file have no link.
 */
static __always_inline __u8 origin_of(struct inode *inode, __u32 links, __u64 magic,
				      __u32 owner)
{
	if (!links)
		return ORIGIN_UNLINKED;
	if (magic == TMPFS_MAGIC || magic == RAMFS_MAGIC)
		return ORIGIN_TMPFS;
	if (magic == OVERLAYFS_SUPER_MAGIC && is_in_upper_layer(inode))
		return ORIGIN_OVERLAY_UPPER;
	return owner ? ORIGIN_USER_OWNED : ORIGIN_OTHER;
}

/* Whether a process is the first of a pid namespace, or was put into one, by a parent
 * outside. `level` is the depth of the process's namespace, `parent_level` that of its
 * parent's. The number of a process in its own namespace is the last of its numbers. */
static __always_inline __u8 entry_of(struct pid *pid, __u32 level, __u32 parent_level)
{
	__u32 number = 0;

	if (level <= parent_level)
		return 0;
	bpf_probe_read_kernel(&number, sizeof(number),
			      (void *)pid + bpf_core_field_offset(pid->numbers) +
				      level * bpf_core_type_size(struct upid));
	return number == 1 ? FACT_INIT : FACT_INJECTED;
}

/* Who logged in, as long as the task exists, and whether the process has a terminal,
 * until it exits. The verifier knows the task by its BTF type. */
static __always_inline void add_loginuid_typed(struct subject *subject,
					       struct task_struct *task)
{
	if (!with_loginuid)
		return;
	/* An unset loginuid is -1. */
	if (bpf_core_field_exists(task->loginuid))
		subject->login = task->loginuid.val + 1;
}

static __always_inline void add_tty_typed(struct subject *subject,
					  struct task_struct *task)
{
	if (with_tty && task->signal->tty)
		subject->facts |= FACT_TTY;
}

/* The same if the verifier does not know the task's type. */
static __always_inline void add_loginuid(struct subject *subject,
					 struct task_struct *task)
{
	if (!with_loginuid)
		return;
	if (bpf_core_field_exists(task->loginuid))
		subject->login = BPF_CORE_READ(task, loginuid.val) + 1;
}

static __always_inline void add_tty(struct subject *subject, struct task_struct *task)
{
	if (with_tty && BPF_CORE_READ(task, signal, tty))
		subject->facts |= FACT_TTY;
}

/* include/linux/sched.h: the bit of no_new_privs, with which a file gives no privileges.
 * The kernel sets `secureexec` nevertheless if the file has effective capabilities. */
#define PFA_NO_NEW_PRIVS 0

static __always_inline bool may_elevate(unsigned long atomic_flags)
{
	return !(atomic_flags & 1UL << PFA_NO_NEW_PRIVS);
}

/* The facts that are known only at an exec, from the file that is executed (of a script,
 * the file of the interpreter) and the privileges that it gives. */
static __always_inline void add_exec_typed(struct subject *subject,
					   struct task_struct *task,
					   struct linux_binprm *bprm)
{
	if (with_origin) {
		struct inode *inode = bprm->file->f_inode;

		subject->origin = origin_of(inode, inode->__i_nlink, inode->i_sb->s_magic,
					    inode->i_uid.val);
	}
	if (with_exe)
		subject->exe = name_exe(bprm->file->f_path.dentry);
	if (with_elevated && BPF_CORE_READ_BITFIELD(bprm, secureexec) &&
	    may_elevate(task->atomic_flags))
		subject->facts |= FACT_ELEVATED;
	if (with_entry)
		subject->facts |= entry_of(task->thread_pid, task->thread_pid->level,
					   task->real_parent->thread_pid->level);
}

/* The entry alone: it needs no more than the task. */
static __always_inline void add_entry(struct subject *subject, struct task_struct *task)
{
	if (with_entry)
		subject->facts |=
			entry_of(BPF_CORE_READ(task, thread_pid),
				 BPF_CORE_READ(task, thread_pid, level),
				 BPF_CORE_READ(task, real_parent, thread_pid, level));
}

static __always_inline void add_exec(struct subject *subject, struct task_struct *task,
				     struct linux_binprm *bprm)
{
	if (with_origin) {
		struct inode *inode = BPF_CORE_READ(bprm, file, f_inode);

		subject->origin = origin_of(inode, BPF_CORE_READ(inode, __i_nlink),
					    BPF_CORE_READ(inode, i_sb, s_magic),
					    BPF_CORE_READ(inode, i_uid.val));
	}
	if (with_exe)
		subject->exe = name_exe(BPF_CORE_READ(bprm, file, f_path.dentry));
	if (with_elevated && BPF_CORE_READ_BITFIELD_PROBED(bprm, secureexec) &&
	    may_elevate(BPF_CORE_READ(task, atomic_flags)))
		subject->facts |= FACT_ELEVATED;
	add_entry(subject, task);
}

/* At hooks that do not show the file. */
static __always_inline void add_exec_without_file(struct subject *subject,
						  struct task_struct *task)
{
	if (with_origin)
		subject->origin = ORIGIN_UNKNOWN;
	if (with_exe)
		subject->exe = EXE_UNKNOWN;
	if (with_elevated)
		subject->facts |= FACT_ELEVATED_UNKNOWN;
	add_entry(subject, task);
}

#endif /* FACTS_H */
