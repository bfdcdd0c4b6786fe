/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What crosses from the kernel to execsnoopd: the one definition of each record.
 *
 * The Rust side takes these types from the BTF of the compiled object (see
 * build.rs), so they are written here and nowhere else. Records use fixed-width
 * integers, u8 flags and explicit padding; every bit pattern of them is a valid
 * value. They are padded by hand because the tally's key is compared and hashed
 * byte by byte.
 */
#ifndef EXECSNOOP_H
#define EXECSNOOP_H

/* TASK_COMM_LEN of include/linux/sched.h: 15 bytes of name and a NUL. Any byte
 * but NUL may occur in a name, and the user who executes chooses it. */
#define COMM_LEN 16

/* Kinds of observation; the index of each kind's entry in the ledger. */
enum kind {
	KIND_EXEC = 0,    /* a successful exec */
	KIND_FAILURE = 1, /* an exec that failed */
	KIND_EXIT = 2,    /* the end of a process: of the last thread of its group */
	KIND_MAX,
};

/* What counters group by. Also the key of the tally. */
struct subject {
	__u64 cgroup_id; /* cgroup v2 id; the root's without cgroup v2; 0 unless asked for
			  */
	__u32 uid;       /* real uid, as the initial user namespace sees it */
	__s32 retval;    /* of an exec: 0; of an exit: the status of wait(2) */
	__u8 comm[COMM_LEN];        /* name of the program, as it is after the exec */
	__u8 parent_comm[COMM_LEN]; /* name of the real parent; NUL unless asked for */
	__u8 is_exit;               /* 1 for the end of a process, 0 for an exec */
	__u8 reserved[7];           /* 0 */
};

/* One observation with its details. */
struct event {
	struct subject subject;
	__u64 time_ns; /* CLOCK_MONOTONIC, nanoseconds */
	__u32 pid;     /* process (thread group) id in the initial pid namespace */
	__u32 ppid;    /* the same of the real parent */
	/* Of an exit; 0 for an exec. */
	__u64 lifetime_ns; /* since the fork */
	__u64 cpu_ns;      /* CPU time of all its threads */
};

/* How much of a path and of arguments is kept for a live stream. */
#define PATH_LEN 512
#define ARGS_LEN 1408

/* An observation with what only a live stream shows. */
struct traced {
	struct event event;
	__u32 path_size; /* of the path with its NUL; 0: not known */
	__u32 args_size; /* of all arguments, each with its NUL; more than is here: cut */
	__u8 path_cut;   /* 1 if the path is longer than what is here */
	__u8 reserved[7];
	__u8 path[PATH_LEN];
	__u8 args[ARGS_LEN];
};

/* NAME_MAX of include/uapi/linux/limits.h and a NUL. */
#define CGROUP_NAME_LEN 256

/* What a cgroup is called, below its parent. */
struct cgroup_name {
	__u64 parent_id; /* 0: it is the root */
	__u8 name[CGROUP_NAME_LEN];
};

/* What the tally keeps of each subject. */
struct tally_count {
	__u64 count;
	__u64 cpu_ns; /* of exits */
};

/* Errors of execs stay below this: the codes in which the kernel restarts a system call
 * (512 and up in include/linux/errno.h) are no failures, the call goes on. */
#define ERRNO_MAX 256

/* Failed execs by errno. An array has no place to run out of: however many fail, and
 * they can fail a million times a second, nothing else is touched. */
struct failures {
	__u64 by_errno[ERRNO_MAX];
};

/*
 * The account of one CPU and kind. `seen` is added to before anything else is
 * tried, and each observation then ends in exactly one of sent, tallied and
 * unattributed; so, with no program in flight,
 *
 *	seen = sent + tallied + unattributed
 *	tallied + unattributed = buffer_full + no_buffer + other
 *
 * `seen` stands last: user space copies an entry in ascending order, so its copy
 * of `seen` is never older than its copies of the others.
 */
struct ledger {
	__u64 sent;         /* events handed to the buffer */
	__u64 tallied;      /* counted in the tally instead: detail lost, count kept */
	__u64 unattributed; /* not in the tally either: counted here only */
	__u64 buffer_full;  /* output refused with ENOSPC: the buffer was full */
	__u64 no_buffer;    /* with ENOENT: this CPU has no buffer, it came online late */
	__u64 other;        /* with any other error */
	__u64 recovered;    /* taken by a program behind the first, which was skipped */
	__u64 seen;         /* observations */
};

_Static_assert(sizeof(struct subject) == 56, "struct subject is 56 bytes");
_Static_assert(sizeof(struct traced) == 2024, "struct traced is 2024 bytes");
_Static_assert(sizeof(struct cgroup_name) == 264, "struct cgroup_name is 264 bytes");
_Static_assert(sizeof(struct event) == 88, "struct event is 88 bytes");
_Static_assert(sizeof(struct ledger) == 64, "struct ledger is 64 bytes");

#endif /* EXECSNOOP_H */
