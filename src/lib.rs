//! execsnoopd: counts every program that a Linux host executes, each exactly once, and
//! serves the counts to Prometheus.
//!
//! # The road
//!
//! Data goes one way, and a stage knows only what comes before it:
//!
//! ```text
//! bpf/execsnoop.bpf.c      programs observe; an event goes to the buffer (perf or ring) or,
//!        |                 if that is full, as a count to the tally; the ledger accounts
//!        |                 for it. Failed execs are only counted, by errno
//!    [capture]             opens, loads, attaches; then is a [source] of bytes
//!        |
//!    [reader] -> [event]   a thread: waits, drains, decodes, orders; adds what each
//!        |                 [cgroup] stands for
//!    bounded channel       full: the reader waits
//!        |
//!    [aggregator]          a thread: counts, by [view]
//!        |
//!    [snapshot]            one for each [flush]
//!        |
//!    [named]               the views with all names spelled out
//!        |
//!    [metrics], [summary]  families and text; what the page shows
//!        |
//!    [http]                answers
//! ```
//!
//! [trace] is another end of the same road: it prints what the reader sends. [doctor] only
//! tries what [capture] would.
//!
//! Against the stream goes only a number: a scrape asks the reader for a flush
//! ([`reader::Control`]) and waits for the snapshot that answers it, so that every exec
//! that completed before the scrape began is in its answer. And, when the configuration has
//! changed, other views for the aggregator to go on with ([`reload`]).
//!
//! [`service`] puts the stages together, starts and stops them.
//!
//! # Invariants
//!
//! 1. The ledger closes: the kernel counts what it sees before it tries anything else,
//!    and every exec and exit seen is counted from an event, or from the tally, or as
//!    unattributed; every failed exec by its errno. `execsnoop_ledger_difference` is what is missing.
//! 2. Loss takes detail, not counts.
//! 3. Only the [`aggregator`] counts. The reader knows no metric, HTTP no event.
//! 4. There is one place where detail can be lost, the kernel side, and it is counted
//!    there. In user space a full channel makes the reader wait.
//! 5. Nothing grows without bound, whatever is executed and whatever clients send.
//! 6. No half-death: when a stage ends, the process ends, with a non-zero status.
//!
//! # Unsafe code
//!
//! Only `capture/perf_buffer.rs`, for libbpf's C interface, [`event`], for turning
//! bytes into the generated records, and `memory.rs`, for `malloc_trim(3)`; and the generated
//! skeleton itself.

pub mod aggregator;
mod blocking;
mod bpf;
pub mod capture;
pub mod cgroup;
pub mod cli;
mod clock;
pub mod config;
pub mod doctor;
pub mod errno;
pub mod event;
pub mod exits;
pub mod flush;
pub mod http;
pub mod label;
pub mod log;
mod memory;
pub mod metrics;
pub mod named;
pub mod privileges;
pub mod reader;
pub mod recent;
pub mod reload;
mod seldom;
pub mod service;
pub mod snapshot;
pub mod source;
pub mod summary;
pub mod systemd;
pub mod trace;
pub mod users;
pub mod view;
