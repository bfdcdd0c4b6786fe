//! Decodes bytes into typed records.
//!
//! Bytes come from the buffers and maps of the kernel side; values of the records that
//! `bpf/execsnoop.h` defines go out. Pure: no I/O, no clock, and no panic, whatever the bytes
//! are. The reader's thread runs it. `bytes.rs` decides which bytes are a record.

mod bytes;
mod event;
mod exits;
mod facts;
mod failures;
mod kind;
mod ledger;
mod outcome;
mod traced;

pub use self::bytes::DecodeError;
pub use self::event::{
    CgroupName, Comm, Event, ExeName, Observation, Subject, TallyCount, decode_cgroup_name,
    decode_exe_name, decode_tally_count, kind, nul_terminated,
};
pub use self::exits::{ExitCounts, LIFETIME_BUCKETS, WaitStatus, decode_exits, lifetime_bounds_ns};
pub use self::facts::{Fact, FactValue, NO_LOGIN, exe_id, is_parent_unknown, loginuid};
pub use self::failures::{FailureCounts, decode_failures};
pub use self::kind::Kind;
pub use self::ledger::{Ledger, Ledgers, decode_ledger};
pub use self::outcome::Outcome;
pub use self::traced::{Family, Text, Traced};

#[cfg(test)]
mod tests;
