/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Accounts for each observation, whatever the hook. The ledger counts it as seen, and its
 * event goes into the buffer. An event that does not fit the buffer overflows to the
 * tally, which keeps its count by subject. If the tally is full as well, the observation
 * is unattributed: only its number is known.
 *
 * CPU times and, in the daemon, exits go to the tally first, and into the buffer only if
 * the tally is full. Failed execs have a tally of their own, because one process
 * can cause a million of them per second, each under a new name, and would fill the tally
 * of the other kinds.
 */
#ifndef LEDGER_H
#define LEDGER_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "execsnoop.h"

/* Since when nothing is observed, because other programs observe in place of these
 * (src/capture/handover.rs): CLOCK_MONOTONIC in ns. 0: the programs observe. In every
 * version of this object, it is the first word of .bss, so that any version can pause the
 * programs of any other. */
volatile __u64 paused_since;

/* Half the size of the ring buffer in bytes. 0 selects the perf buffer. */
const volatile __u64 ring_half = 0;
/* An event within this many bytes of the beginning of a half wakes the reader. The size
 * is two records per CPU and one more: after a program has read the position, a program
 * on each other CPU and one in a softirq on its own CPU may reserve room before it does,
 * and so may one in a softirq on each other CPU. */
const volatile __u64 ring_wakeup = 0;

/* The perf buffer, a ring per CPU. User space puts each ring into the slot of its CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

/* The ring buffer, shared by all CPUs. User space sets its size. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KIND_MAX);
	__type(key, __u32);
	__type(value, struct ledger);
} ledgers SEC(".maps");

/*
 * The tally counts by subject. Two maps take turns: user space puts the empty one into
 * the slot, and the kernel returns from that update only when no program can still write
 * to the other (maybe_wait_bpf_programs() in kernel/bpf/syscall.c). User space then reads
 * and empties the other one. It also puts the first one into the slot, before the
 * programs are attached.
 */
struct tally {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct subject);
	__type(value, struct tally_count);
};

struct tally tally_a SEC(".maps");
struct tally tally_b SEC(".maps");
/* Of failed execs. User space creates these two only if a view counts failed execs. */
struct tally failure_tally_a SEC(".maps");
struct tally failure_tally_b SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, TALLIES);
	__type(key, __u32);
	__array(values, struct tally);
} tally_in_use SEC(".maps");

/* Atomic even for per-CPU values: an interrupt, and on some kernels another task, can run
 * a program between the load and the store. */
#define ADD(counter, n) __sync_fetch_and_add(&(counter), n)

/* Insert an entry that must not exist yet. Kernels before 6.4 return the error in the
 * lower half of the register only, hence the cast to int. */
static __always_inline int insert(void *map, const void *key, const void *value)
{
	return (int)bpf_map_update_elem(map, key, value, BPF_NOEXIST);
}

/* Count an observation before anything else can fail. Returns NULL only if the programs
 * are paused, because every kind has a ledger. */
static __always_inline struct ledger *count_seen(__u32 kind)
{
	struct ledger *ledger;

	if (paused_since)
		return NULL;
	ledger = bpf_map_lookup_elem(&ledgers, &kind);
	if (!ledger)
		return NULL;
	ADD(ledger->seen, 1);
	return ledger;
}

/* Returns false if the tally is full or the kernel refuses the entry for another reason.
 */
static __always_inline bool count_in_tally(__u32 slot, const struct event *event)
{
	struct tally_count first = {
		.count = 1,
		.cpu_ns = event->cpu_ns,
		.lifetime_ns = event->lifetime_ns,
	};
	struct tally_count *count;
	const struct subject *subject = &event->subject;
	void *map;

	map = bpf_map_lookup_elem(&tally_in_use, &slot);
	if (!map)
		return false;
	count = bpf_map_lookup_elem(map, subject);
	if (!count) {
		int err = insert(map, subject, &first);

		if (err != -EEXIST)
			return err == 0;
		/* Another CPU has inserted it in the meantime. */
		count = bpf_map_lookup_elem(map, subject);
		if (!count)
			return false;
	}
	ADD(count->count, 1);
	/* Of a constant 0, the compiler drops the addition. */
	if (event->cpu_ns)
		ADD(count->cpu_ns, event->cpu_ns);
	if (event->lifetime_ns)
		ADD(count->lifetime_ns, event->lifetime_ns);
	return true;
}

/* Only the first events of each half of the ring buffer wake the reader, because a wakeup
 * costs more than the rest of a program. */
static __always_inline __u64 ring_flags(void)
{
	__u64 at = bpf_ringbuf_query(&ring, BPF_RB_PROD_POS) & (ring_half - 1);

	return at < ring_wakeup ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Keep what is known of an exit that is unattributed. The constant indexes need no bounds
 * check, which the verifier of 5.10 would forget (see count_errno()). */
static __always_inline void keep_outcome(struct ledger *ledger, const struct event *event)
{
	ADD(ledger->unattributed_lifetime_ns, event->lifetime_ns);
#pragma unroll
	for (int i = 0; i < OUTCOMES; i++)
		if (event->subject.outcome == OUTCOME_SUCCESS + i)
			ADD(ledger->unattributed_exits[i], 1);
}

/* Account for an event that the buffer has refused. */
static __always_inline void overflow(struct ledger *ledger, const struct event *event,
				     long err)
{
	/* A full ring buffer returns EAGAIN, a full perf buffer returns ENOSPC. */
	if (err == -ENOSPC || err == -EAGAIN)
		ADD(ledger->buffer_full, 1);
	else if (err == -ENOENT)
		ADD(ledger->no_buffer, 1);
	else
		ADD(ledger->other, 1);
	if (count_in_tally(TALLY, event)) {
		ADD(ledger->tallied, 1);
	} else {
		ADD(ledger->unattributed, 1);
		ADD(ledger->unattributed_cpu_ns, event->cpu_ns);
		if (event->subject.kind == KIND_EXIT)
			keep_outcome(ledger, event);
	}
}

/* Send an event to user space, over the transport in use. */
static __always_inline void emit(void *ctx, struct ledger *ledger, struct event *event)
{
	long err;

	if (ring_half)
		err = bpf_ringbuf_output(&ring, event, sizeof(*event), ring_flags());
	else
		err = bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event,
					    sizeof(*event));
	if (err)
		overflow(ledger, event, err);
	else
		ADD(ledger->sent, 1);
}

/* Account for an observation of which user space needs only the sum by subject. This
 * costs less than an event. If the tally is full, an event has the sum of one. */
static __always_inline void sum_up(void *ctx, struct ledger *ledger, struct event *event)
{
	if (count_in_tally(TALLY, event))
		ADD(ledger->tallied, 1);
	else
		emit(ctx, ledger, event);
}

#endif /* LEDGER_H */
