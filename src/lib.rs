//! execsnoopd counts every program that a Linux host executes, each exactly once, and serves
//! the counts to Prometheus.
//!
//! # The data flow
//!
//! Data flows in one direction, and a stage knows only the stages before it:
//!
//! ```text
//! bpf/           programs observe execs, exits and CPU times. The event of an exec goes to a
//!   |            buffer (perf or ring); if the buffer is full, the event is counted in the
//!   |            tally. The tally also sums up CPU times and, if a view asks for them, exits.
//!   |            Failed execs and exits are counted by errno and by status. The ledger accounts
//!   |            for every observation
//! capture        opens, loads and attaches the programs, then reads their output as bytes
//!   |
//! record         turns bytes into typed records
//!   |
//! pipeline       reader thread: waits, drains, decodes, orders, looks up cgroup names
//!   |            bounded channel: when it is full, the reader waits
//!   |            aggregator thread: counts, by view; publishes a snapshot at each flush
//!   |
//! metrics, page  one snapshot -> Prometheus formats; one snapshot -> HTML
//!   |
//! http           requests -> answers, on the runtime's thread
//! ```
//!
//! [`daemon`] connects the stages, and starts, reloads and stops them. [`trace`] is another
//! consumer of the same flow: it prints what the reader sends. [`doctor`] tries out on this host
//! what [`capture`] needs, and reports what works.
//!
//! Two things flow upstream. A scrape requests a flush ([`pipeline::flush::Control`]) and waits
//! for the snapshot that answers it, so that the answer contains every exec that completed
//! before the scrape began. A reload sends new views to the aggregator ([`daemon::reload`]).
//!
//! # The modules, in the order of the flow
//!
//! A module uses only the modules above it; the test tier `integration` checks that.
//!
//! - [`sys`]: the operating system: clocks, privileges, threads, memory, the log
//! - [`bpf`]: the generated skeletons of `bpf/`
//! - [`record`]: bytes to typed records
//! - [`names`]: names of users, errors and cgroups, from the kernel's numbers and bytes
//! - [`capture`]: the kernel side; the only module that talks to BPF
//! - [`pipeline`]: from bytes to counts
//! - [`config`]: files to validated values
//! - [`page`]: a snapshot to HTML
//! - [`metrics`]: a snapshot to Prometheus formats
//! - [`http`]: requests to answers
//! - [`cli`]: the command line
//! - [`daemon`]: start, reload, stop
//! - [`trace`]: the live table
//! - [`doctor`]: the report on this host
//!
//! # Terms
//!
//! - *ledger*: the kernel's account: per kind, how many observations were seen and what became
//!   of each
//! - *subject*: what distinguishes counts in the kernel: program, parent, user and cgroup, and how an
//!   exit ended or an exec failed
//! - *tally*: a hash map in the kernel that, by subject, sums up CPU times and exits, and counts the
//!   events that did not fit the buffer. Failed execs have one of their own
//! - *outcome*: how a process ended: `success`, `error`, `signal`, `crash` or `oom`
//! - *unattributed*: counted in a total, but without a subject: neither the buffer nor the tally
//!   had room
//! - *view*: counters grouped by a set of labels, with a limited number of slots, one for each
//!   series
//! - *watch*: a counter of the execs that match conditions on labels
//! - *overflow*: what a view counts as `other` because all its slots are taken
//! - *yielded*: what scrapes have shown under series of a view that have since been evicted, and
//!   what was counted before the view existed
//! - *flush*: the reader drains everything that the kernel has seen so far, and the aggregator
//!   counts it
//! - *snapshot*: all counts after one flush
//!
//! # Invariants
//!
//! 1. The ledger closes. The kernel counts what it sees before it tries anything else. Every
//!    exec and CPU time seen is counted from an event, from the tally, or as unattributed; every
//!    failed exec is counted by its errno, and every exit by its status. Failed execs and exits that a
//!    view counts are accounted for in the same way as execs.
//!    `execsnoop_ledger_difference` is the number missing.
//! 2. If an event is lost, its details are lost, but it is still counted.
//! 3. Only the aggregator counts. The reader knows nothing of metrics, and HTTP knows nothing of
//!    events.
//! 4. Events can be lost in only one place, the kernel side, and are counted there. In user
//!    space, a full channel makes the reader wait.
//! 5. Counters only go up, and only when something happened. For each view, the sum of its series,
//!    `other` and the yielded counts is the total. No count that a scrape has shown moves, and the
//!    increases of all series of a view between two scrapes add up to that of the total.
//! 6. Everything is bounded, whatever is executed and whatever clients send.
//! 7. The daemon never keeps running without one of its stages: if a stage fails, the process
//!    exits with a non-zero status.
//!
//! # Unsafe code
//!
//! Four modules contain unsafe code: `capture/buffer/perf.rs` for libbpf's C interface,
//! `record/bytes.rs` to turn bytes into the generated records, `sys/inherited.rs` to own the
//! descriptors that systemd passes, and `sys/malloc.rs` for `malloc_trim(3)`. So does the generated
//! skeleton.

pub mod bpf;
pub mod capture;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod doctor;
pub mod http;
pub mod metrics;
pub mod names;
pub mod page;
pub mod pipeline;
pub mod record;
pub mod sys;
pub mod trace;
