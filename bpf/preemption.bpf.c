// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * What the kernel does with programs: can it preempt them, and in which order does it run
 * two that are attached to one place? Asked once, before anything is captured, by a
 * thread that renames itself to the name it has; see src/capture/probe.rs.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

/* Who asks: its thread id in its own pid namespace, and which that is, by device and
 * inode of /proc/self/ns/pid. Set before load. */
const volatile __u32 asking_tid = 0;
const volatile __u64 namespace_dev = 0;
const volatile __u64 namespace_ino = 0;

struct answer {
	__u32 ran;         /* how many of the two have run */
	__u32 first;       /* which of them did first */
	__s32 disabled;    /* how often preemption was switched off there; -1: unknown */
	__s32 disabled_by; /* and with the program switching it off once more */
};

struct answer at_tracepoint;
struct answer at_fexit;

/* From a CPU's run queue to its preemption count, where the count is a variable of each
 * CPU: x86. From 6.2 to 6.14 to the variable that it is a member of. User space takes it
 * from BTF, as kernels without CONFIG_KALLSYMS_ALL do not resolve such variables. 0:
 * unknown. */
const volatile __s64 preempt_count_from_rq = 0;

extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;

static __always_inline int preempt_count(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	void *rq, *at;
	__u32 count;

	if (bpf_core_field_exists(task->thread_info.preempt.count))
		return BPF_CORE_READ(task, thread_info.preempt.count) & PREEMPT_MASK;
	if (!preempt_count_from_rq || !bpf_core_field_exists(task->se.cfs_rq))
		return -1;
	rq = BPF_CORE_READ(task, se.cfs_rq, rq);
	at = rq + preempt_count_from_rq;
	if (bpf_core_type_exists(struct pcpu_hot))
		at += bpf_core_field_offset(struct pcpu_hot, preempt_count);
	if (bpf_probe_read_kernel(&count, sizeof(count), at))
		return -1;
	return count & PREEMPT_MASK;
}

static __always_inline int look(struct answer *answer, __u32 which)
{
	struct bpf_pidns_info ids = {};

	if (bpf_get_ns_current_pid_tgid(namespace_dev, namespace_ino, &ids,
					sizeof(ids)) ||
	    ids.pid != asking_tid || answer->ran++)
		return 0;
	answer->first = which;
	answer->disabled = preempt_count();
	if (bpf_ksym_exists(bpf_preempt_disable)) {
		bpf_preempt_disable();
		answer->disabled_by = preempt_count();
		bpf_preempt_enable();
	}
	return 0;
}

#if defined(__TARGET_ARCH_x86)
#define PRCTL "__x64_sys_prctl"
#elif defined(__TARGET_ARCH_arm64)
#define PRCTL "__arm64_sys_prctl"
#endif

SEC("?tp_btf/task_rename")
int tracepoint_1(void *ctx)
{
	return look(&at_tracepoint, 1);
}

SEC("?tp_btf/task_rename")
int tracepoint_2(void *ctx)
{
	return look(&at_tracepoint, 2);
}

SEC("?fexit/" PRCTL)
int fexit_1(void *ctx)
{
	return look(&at_fexit, 1);
}

SEC("?fexit/" PRCTL)
int fexit_2(void *ctx)
{
	return look(&at_fexit, 2);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
