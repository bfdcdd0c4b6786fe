/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What becomes of an observation, whatever the hook: it is counted in the ledger and
 * handed to the buffer; what does not fit is counted in the tally; what does not fit
 * there either is a bare number.
 */
#ifndef ACCOUNT_H
#define ACCOUNT_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "execsnoop.h"

/* The road: the ring buffer if not 0, and then half its size in bytes. */
const volatile __u64 ring_half = 0;
/* How many bytes at the beginning of each half wake the reader: as many as all CPUs may
 * reserve between one's look at the position and its own reservation, and one more. */
const volatile __u64 ring_wakeup = 0;

/* One road: a slot for each CPU, filled by user space where it has a buffer. */
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

/* The other: one buffer for all CPUs. User space sets its size. */
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
 * The tally: counts by subject of what did not fit the buffer. Two maps take
 * turns: user space puts the empty one into the slot, and the kernel returns from
 * that update only when no program can still be writing to the other
 * (maybe_wait_bpf_programs() in kernel/bpf/syscall.c), which is then read and
 * emptied at leisure.
 */
struct tally {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct subject);
	__type(value, struct tally_count);
};

struct tally tally_a SEC(".maps");
struct tally tally_b SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct tally);
} tally_in_use SEC(".maps") = {
	.values = {[0] = &tally_a},
};

/* Programs can be preempted on some kernels, by another one on the same CPU too:
 * hence atomic, though most of what is added to is the CPU's own. */
#define ADD(counter, n) __sync_fetch_and_add(&(counter), n)

/*
 * Some kernels preempt programs, and skip one that is on its way already on that CPU, in
 * a preempted task (bpf_prog_get_recursion_context() in include/linux/filter.h). There
 * each program is loaded RANKS times, to run one behind the other: whoever is not skipped
 * first takes the observation and leaves a note, by which those behind know; the last
 * removes it. Only who is skipped at all of them is missed: in each another task must
 * have been preempted just then.
 */
#define RANKS 4

/* The programs of one place: AT(name, rank, ...) makes one of them. */
#define OF_EACH_RANK(AT, name, ...)                                                      \
	AT(name, 1, ##__VA_ARGS__)                                                       \
	AT(name##_2, 2, ##__VA_ARGS__)                                                   \
	AT(name##_3, 3, ##__VA_ARGS__)                                                   \
	AT(name##_4, RANKS, ##__VA_ARGS__)

/* By kind: the programs behind the first are there. Set before load. */
const volatile __u8 may_be_skipped[KIND_MAX] = {};

struct note_key {
	__u32 tid;
	__u32 kind;
};

/* That a program has taken an observation. */
struct note {
	/* Which one: execs and exits have each their own number. A thread's failures
	 * share one until it executes a program. */
	__u64 observation;
	/* The last program that knows of it. */
	__u64 rank;
};

/* LRU, as a note stays when the last is skipped. User space sets its size. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct note_key);
	__type(value, struct note);
} notes SEC(".maps");

/* The number of execs of a thread (self_exec_id, which begin_new_exec() in fs/exec.c
 * counts on), made different from that of any other: by its start, in ns. With types, as
 * lockdown refuses bpf_probe_read_kernel(); 5.10 cannot have it with types. */
static __always_inline __u64 observation_of_current(void)
{
	struct task_struct *task;

	if (!bpf_core_enum_value_exists(enum bpf_func_id,
					BPF_FUNC_get_current_task_btf)) {
		task = (struct task_struct *)bpf_get_current_task();
		return BPF_CORE_READ(task, start_time) +
		       BPF_CORE_READ(task, self_exec_id);
	}
	task = bpf_get_current_task_btf();
	return task->start_time + task->self_exec_id;
}

/* Count an observation that a program behind the first has taken. */
static __always_inline void count_recovered(__u32 kind)
{
	struct ledger *ledger = bpf_map_lookup_elem(&ledgers, &kind);

	if (ledger)
		ADD(ledger->recovered, 1);
}

/*
 * Whether an observation falls to the program of this rank, 1 being the first.
 *
 * A note that has stayed cannot mislead at execs and exits. At failures it does only if
 * every program behind its rank was skipped then, and every one up to it is skipped now.
 */
static __always_inline bool falls_to(int rank, __u32 kind)
{
	struct note_key key = {.tid = (__u32)bpf_get_current_pid_tgid(), .kind = kind};
	struct note mine = {.rank = rank}, *left;
	bool is_taken = false;

	if (!may_be_skipped[kind])
		return true;
	mine.observation = observation_of_current();
	if (rank > 1) {
		left = bpf_map_lookup_elem(&notes, &key);
		is_taken = left && left->observation == mine.observation &&
			   left->rank < mine.rank;
		if (is_taken && rank < RANKS)
			left->rank = rank;
	}
	/* Without a note, those behind would take it, too. */
	if (rank == RANKS)
		bpf_map_delete_elem(&notes, &key);
	else if (!is_taken && bpf_map_update_elem(&notes, &key, &mine, BPF_ANY))
		return false;
	if (!is_taken && rank > 1)
		count_recovered(kind);
	return !is_taken;
}

/* Add an entry that is not there yet. Kernels before 6.4 hand the error of a map's own
 * function over in the lower half of the register alone: hence int. */
static __always_inline int add_to(void *map, const void *key, const void *value)
{
	return (int)bpf_map_update_elem(map, key, value, BPF_NOEXIST);
}

/* Count an observation, before anything else. Null only if there is no such kind. */
static __always_inline struct ledger *count_seen(__u32 kind)
{
	struct ledger *ledger = bpf_map_lookup_elem(&ledgers, &kind);

	if (!ledger)
		return NULL;
	ADD(ledger->seen, 1);
	return ledger;
}

/* Count in the tally. False if it is full (or the kernel refuses for any reason). */
static __always_inline bool tally(const struct event *event)
{
	struct tally_count first = {.count = 1, .cpu_ns = event->cpu_ns}, *count;
	const struct subject *subject = &event->subject;
	__u32 slot = 0;
	void *map;

	map = bpf_map_lookup_elem(&tally_in_use, &slot);
	if (!map)
		return false;
	count = bpf_map_lookup_elem(map, subject);
	if (!count) {
		int err = add_to(map, subject, &first);

		if (err != -EEXIST)
			return err == 0;
		/* Another CPU was faster. */
		count = bpf_map_lookup_elem(map, subject);
		if (!count)
			return false;
	}
	ADD(count->count, 1);
	ADD(count->cpu_ns, event->cpu_ns);
	return true;
}

/* The reader is woken only by the first events of each half of the ring buffer: a wakeup
 * costs more than everything else together. */
static __always_inline __u64 ring_flags(void)
{
	__u64 at = bpf_ringbuf_query(&ring, BPF_RB_PROD_POS) & (ring_half - 1);

	return at < ring_wakeup ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* The buffer has refused an event: what remains of it is its count. */
static __always_inline void keep_count(struct ledger *ledger, const struct event *event,
				       long err)
{
	/* The ring buffer says EAGAIN where the perf buffer says ENOSPC. */
	if (err == -ENOSPC || err == -EAGAIN)
		ADD(ledger->buffer_full, 1);
	else if (err == -ENOENT)
		ADD(ledger->no_buffer, 1);
	else
		ADD(ledger->other, 1);
	if (tally(event))
		ADD(ledger->tallied, 1);
	else
		ADD(ledger->unattributed, 1);
}

/* The way out of the kernel, whatever the hook. */
static __always_inline void emit(void *ctx, struct ledger *ledger, struct event *event)
{
	long err;

	if (ring_half)
		err = bpf_ringbuf_output(&ring, event, sizeof(*event), ring_flags());
	else
		err = bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event,
					    sizeof(*event));
	if (err)
		keep_count(ledger, event, err);
	else
		ADD(ledger->sent, 1);
}

#endif /* ACCOUNT_H */
