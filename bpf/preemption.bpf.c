// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Finds out whether the kernel preempts programs: a program at each kind of attach point
 * reads the preemption count. A thread triggers both programs by setting its name to the
 * name that it already has; see src/capture/preemption.rs.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

/* The id of the asking thread in its own pid namespace, and the device and inode of
 * /proc/self/ns/pid, which identify that namespace. Set before load. */
const volatile __u32 asking_tid = 0;
const volatile __u64 namespace_dev = 0;
const volatile __u64 namespace_ino = 0;

struct answer {
	__u32 has_run;
	__s32 disabled;    /* the preemption count on entry; -1: unknown */
	__s32 disabled_by; /* the count after the program has disabled preemption */
};

struct answer at_tracepoint;
struct answer at_fexit;

/* Offset from a CPU's run queue to its preemption count on x86, where the count is a
 * per-CPU variable. From 6.2 to 6.14, the offset to pcpu_hot, which contains the count.
 * User space takes the offset from BTF, because kernels without CONFIG_KALLSYMS_ALL do
 * not resolve these variables. 0: unknown. */
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

static __always_inline int answer(struct answer *answer)
{
	struct bpf_pidns_info ids = {};

	if (bpf_get_ns_current_pid_tgid(namespace_dev, namespace_ino, &ids,
					sizeof(ids)) ||
	    ids.pid != asking_tid)
		return 0;
	answer->disabled = preempt_count();
	if (bpf_ksym_exists(bpf_preempt_disable)) {
		bpf_preempt_disable();
		answer->disabled_by = preempt_count();
		bpf_preempt_enable();
	}
	answer->has_run = 1;
	return 0;
}

#if defined(__TARGET_ARCH_x86)
#define PRCTL "__x64_sys_prctl"
#elif defined(__TARGET_ARCH_arm64)
#define PRCTL "__arm64_sys_prctl"
#endif

SEC("?tp_btf/task_rename")
int tracepoint(void *ctx)
{
	return answer(&at_tracepoint);
}

SEC("?fexit/" PRCTL)
int fexit(void *ctx)
{
	return answer(&at_fexit);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
