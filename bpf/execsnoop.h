/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The records that cross from the kernel to execsnoopd.
 *
 * build.rs generates the Rust types from the BTF of the compiled object, so each record
 * is defined here only. Records consist of fixed-width integers, u8 flags and explicit
 * padding; every bit pattern is a valid value. The padding is explicit because the
 * tally's key is compared and hashed byte by byte.
 */
#ifndef EXECSNOOP_H
#define EXECSNOOP_H

/* TASK_COMM_LEN of include/linux/sched.h: 15 bytes of name and a NUL. The user who
 * executes a program chooses its name, which may contain any byte but NUL. */
#define COMM_LEN 16

/* Kinds of observation. Each value is the index of the kind's ledger in `ledgers`. */
enum kind {
	KIND_EXEC = 0,     /* a successful exec */
	KIND_FAILURE = 1,  /* an exec that failed */
	KIND_EXIT = 2,     /* the exit of the last thread of a process */
	KIND_CPU_TIME = 3, /* the CPU time of a process, when the kernel frees it */
	KIND_MAX,
};

/* How a process ended. The first that holds, from the last to the first. */
enum outcome {
	OUTCOME_NONE = 0,    /* not an exit */
	OUTCOME_SUCCESS = 1, /* exit status 0 */
	OUTCOME_ERROR = 2,   /* another exit status */
	OUTCOME_SIGNAL = 3,  /* killed by a signal */
	OUTCOME_CRASH = 4, /* killed by a signal of a fault or of abort(3), or a core was
			    * dumped */
	OUTCOME_OOM = 5,   /* killed by the kernel's OOM killer */
	OUTCOME_MAX,
};

#define OUTCOMES 5

/* Where the file comes from that was executed. The first that holds. */
enum origin {
	ORIGIN_OTHER = 0,         /* none of these, or not asked for */
	ORIGIN_UNLINKED = 1,      /* the file has no name: a memfd, or deleted */
	ORIGIN_TMPFS = 2,         /* it is on a tmpfs or ramfs */
	ORIGIN_OVERLAY_UPPER = 3, /* it is in the upper layer of an overlay */
	ORIGIN_USER_OWNED = 4,    /* its owner is not root */
	ORIGIN_UNKNOWN = 5,       /* the hook does not show the file */
	ORIGIN_MAX,
};

/* Facts that hold or not. */
enum fact {
	FACT_PARENT_UNKNOWN = 0x01,   /* parent_comm is asked for but not known */
	FACT_ELEVATED = 0x02,         /* the exec is privileged: setuid, setgid or file
				       * capabilities */
	FACT_ELEVATED_UNKNOWN = 0x04, /* the hook does not show this */
	FACT_TTY = 0x08,              /* the process has a controlling terminal */
	FACT_TTY_UNKNOWN = 0x10,      /* not known any more */
	FACT_INIT = 0x20,             /* the first process of a pid namespace */
	FACT_INJECTED = 0x40,         /* put into a pid namespace from outside */
};

/* Values of `exe` that do not identify a name. */
enum exe {
	EXE_NONE = 0,    /* not an exec, or not asked for */
	EXE_UNKNOWN = 1, /* the hook does not show the file, or its name is too long */
	EXE_MAX,
};

/* What counters group by; also the key of the tally. What is not asked for is 0. */
struct subject {
	__u64 cgroup_id; /* cgroup v2 id; without cgroup v2, the root's; 0 if not read */
	__u64 exe;    /* of an exec: id of the name of the file that runs, or enum exe */
	__u32 uid;    /* real uid in the initial user namespace */
	__s32 retval; /* of an exec: 0; of a failed exec: the negative errno; of an
		       * exit in the live stream: the status as in wait(2), else 0 */
	__u8 comm[COMM_LEN];        /* name of the program, after the exec */
	__u8 parent_comm[COMM_LEN]; /* name of the real parent process */
	__u32 login; /* uid in the initial user namespace of who logged in, plus 1; 0 of a
		      * process that does not belong to a login */
	__u8 kind;   /* enum kind */
	__u8 outcome; /* enum outcome */
	__u8 origin;  /* enum origin, of an exec */
	__u8 facts;   /* bits of enum fact */
};

/* One observation in detail. */
struct event {
	struct subject subject;
	/* The first three are 0 in the daemon. Only the live stream needs them. */
	__u64 time_ns;     /* CLOCK_MONOTONIC, nanoseconds */
	__u32 pid;         /* process (thread group) id in the initial pid namespace */
	__u32 ppid;        /* the same for the real parent */
	__u64 lifetime_ns; /* of an exit: since the fork; otherwise 0 */
	/* Of KIND_CPU_TIME: CPU time of all threads. Of an exit: as much of it as the
	 * scheduler has accounted for. Otherwise 0. */
	__u64 cpu_ns;
};

/* The longest path and arguments, in bytes, in the live stream of `execsnoopd trace`. */
#define PATH_LEN 512
#define ARGS_LEN 1408

/* The most ancestors in the live stream. */
#define ANCESTORS 8

/* An observation with the details that only the live stream shows. */
struct traced {
	struct event event;
	__u32 path_size;     /* bytes of the path with its NUL; 0: unknown */
	__u32 args_size;     /* bytes of all arguments, each with its NUL; if more than
			      * ARGS_LEN, they are truncated */
	__u8 path_truncated; /* 1 if the path is longer than PATH_LEN */
	__u8 has_family; /* 1 if the next fields but the reserved ones are filled in */
	__u8 ancestors;  /* number of ancestors in these fields */
	__u8 reserved[5];
	__u8 thread_comm[COMM_LEN];        /* of a failed exec: name of the thread */
	__u8 parent_thread_comm[COMM_LEN]; /* name of the thread that has forked */
	__u32 ancestor_pids[ANCESTORS];    /* process ids, the parent first */
	__u8 ancestor_comms[ANCESTORS * COMM_LEN]; /* the names of these processes */
	__u8 path[PATH_LEN];
	__u8 args[ARGS_LEN];
};

/* NAME_MAX of include/uapi/linux/limits.h, and a NUL. */
#define NAME_LEN 256

/* The name of a cgroup in its parent's directory. */
struct cgroup_name {
	__u64 parent_id; /* 0 for the root */
	__u8 name[NAME_LEN];
};

/* The name of a file in its directory, padded with NULs. */
struct exe_name {
	__u8 name[NAME_LEN];
};

/* The slots of `tally_in_use`: that of failed execs is empty if nothing counts them by
 * subject. */
#define TALLY         0
#define FAILURE_TALLY 1
#define TALLIES       2

/* The tally's value for a subject. */
struct tally_count {
	__u64 count;
	__u64 cpu_ns;      /* CPU time, summed over these KIND_CPU_TIME; 0 for others */
	__u64 lifetime_ns; /* lifetimes, summed over these exits; 0 for others */
};

/* The errnos of failed execs are below this. Codes from 512 on are internal to the kernel
 * (include/linux/errno.h), such as those that restart a system call. They are not
 * failures. */
#define ERRNO_MAX 256

/* Failed execs by errno. An array cannot fill up, so even a million failures per second
 * do not affect anything else. */
struct failures {
	__u64 by_errno[ERRNO_MAX];
	__u64 unattributed[ERRNO_MAX]; /* those among them that are unattributed */
};

#define LIFETIME_BUCKETS 16

/* Exits by the status that wait(2) reports, and their lifetimes. An array cannot fill up
 * either. A status is counted after its lifetime. */
struct exits {
	__u64 lifetime_ns;                 /* sum of all lifetimes */
	__u64 oom_kills;                   /* exits with OUTCOME_OOM */
	__u64 core_dumps;                  /* exits with a core dump */
	__u64 lifetimes[LIFETIME_BUCKETS]; /* not cumulative; the last has no bound */
	__u64 by_code[256];                /* exit statuses */
	__u64 by_signal[128];              /* signals */
};

/*
 * The ledger of one CPU and kind. `seen` is counted before anything else can fail, and
 * each observation is then counted in exactly one of sent, tallied and unattributed. With
 * no program in flight,
 *
 *	seen = sent + tallied + unattributed
 *	tallied + unattributed = buffer_full + no_buffer + other
 *
 * The second equation does not hold for CPU times and, in the daemon, exits: they go to
 * the tally first. In the daemon, it does not hold for failures either: they go only to
 * their tally.
 * Exits and failures are counted in arrays of their own as well. If nothing asks for them
 * by subject, their ledgers only have `seen`.
 *
 * `recovered` is about programs with standby copies (standby.h). Each time that the hook
 * of a program fires, at most one copy claims the run. `recovered` is the number of runs
 * that standby copies claimed, minus the number of times that the first copy ran without
 * claiming. The number of times that the kernel skipped the first copy, minus
 * `recovered`, is therefore the number of runs that no copy claimed: each copy was
 * skipped, or its claim was refused. Only the sum over all CPUs has this meaning. The
 * value of one CPU may be negative.
 *
 * `seen` is the last field because an entry is copied to user space in the order of its
 * fields. In that copy, `seen` is never older than the other fields.
 */
struct ledger {
	__u64 sent;         /* events handed to the buffer */
	__u64 tallied;      /* counted in the tally: detail lost, count kept */
	__u64 unattributed; /* the tally was full as well: counted only here */
	__u64 buffer_full;  /* output refused with ENOSPC or EAGAIN */
	__u64 no_buffer;    /* ENOENT: this CPU came online later and has no buffer */
	__u64 other;        /* output refused with any other error */
	__s64 recovered;    /* runs that standby copies claimed; see above */
	__u64 unattributed_cpu_ns; /* CPU time of the unattributed */
	/* Of KIND_EXIT: the unattributed by outcome, from OUTCOME_SUCCESS on, and their
	 * lifetimes. */
	__u64 unattributed_exits[OUTCOMES];
	__u64 unattributed_lifetime_ns;
	__u64 seen; /* all observations */
};

_Static_assert(sizeof(struct subject) == 64, "struct subject is 64 bytes");
_Static_assert(sizeof(struct traced) == 2224, "struct traced is 2224 bytes");
_Static_assert(sizeof(struct cgroup_name) == 264, "struct cgroup_name is 264 bytes");
_Static_assert(sizeof(struct event) == 96, "struct event is 96 bytes");
_Static_assert(sizeof(struct failures) == 4096, "struct failures is 4096 bytes");
_Static_assert(sizeof(struct exits) == 3224, "struct exits is 3224 bytes");
_Static_assert(sizeof(struct ledger) == 120, "struct ledger is 120 bytes");

#endif /* EXECSNOOP_H */
