//! execsnoopd counts every program that a Linux host executes, each exactly once, and serves
//! the counts to Prometheus.
//!
//! # The data flow
//!
//! Data flows in one direction, and a stage knows only the stages before it:
//!
//! ```text
//! bpf/           programs observe execs and exits. The event of an exec goes to a buffer (perf
//!   |            or ring); if the buffer is full, its count goes to the tally. CPU time goes
//!   |            to the tally. The ledger accounts for every observation. Failed execs and
//!   |            exits are only counted, by errno and by status
//! capture        opens, loads and attaches the programs; then it is a source of bytes
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
//! [`daemon`] connects the stages, starts, reloads and stops them. [`trace`] is another
//! consumer of the same flow: it prints what the reader sends. [`doctor`] tries what
//! [`capture`] would and reports it.
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
//! - [`names`]: text for what the kernel numbers or leaves raw
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
//! - *tally*: a hash map in the kernel that sums up CPU time, by subject, and counts the events
//!   that did not fit the buffer
//! - *unattributed*: counted in a total, without a name: neither the buffer nor the tally had
//!   room
//! - *view*: counters grouped by a set of labels, with a bounded number of series
//! - *overflow*: what a view counts as `other` because the name gets no slot for a series
//! - *yielded*: what a view counted under series that have been evicted since
//! - *flush*: the reader drains everything that the kernel has seen so far and the aggregator
//!   counts it
//! - *snapshot*: all counts after one flush
//!
//! # Invariants
//!
//! 1. The ledger closes. The kernel counts what it sees before it tries anything else. Every
//!    exec and CPU time seen is counted from an event, from the tally, or as unattributed; every
//!    failed exec is counted by its errno, every exit by its status. `execsnoop_ledger_difference` is what is missing.
//! 2. Loss takes detail, not counts.
//! 3. Only the aggregator counts. The reader knows no metric, HTTP knows no event.
//! 4. Detail can be lost in one place, the kernel side, and is counted there. In user space, a
//!    full channel makes the reader wait.
//! 5. Counters only go up, and only when something happened. For each view, the sum of the series,
//!    `other` and what has yielded is the total.
//! 6. Everything is bounded, whatever is executed and whatever clients send.
//! 7. No half-death: when a stage ends, the process ends with a non-zero status.
//!
//! # Unsafe code
//!
//! Three modules contain unsafe code: `capture/buffer/perf.rs` for libbpf's C interface,
//! `record/bytes.rs` to turn bytes into the generated records, and `sys/malloc.rs` for
//! `malloc_trim(3)`. So does the generated skeleton.

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
