//! Names of the kinds of observation, for headings and in sentences.

use crate::record::Kind;

/// Returns the heading for the count of execs.
pub(super) fn execs(is_classic: bool) -> &'static str {
    if is_classic { "Attempts" } else { "Execs" }
}

/// Returns the words for one observation of a kind.
pub(super) fn one(kind: Kind, is_classic: bool) -> &'static str {
    match kind {
        Kind::Exec if is_classic => "attempt to exec",
        Kind::Exec => "exec",
        Kind::Failure => "failed exec",
        Kind::Exit => "process exit",
        Kind::CpuTime => "CPU time of a process",
    }
}

/// Returns the words for several observations of a kind.
pub(super) fn several(kind: Kind, is_classic: bool) -> &'static str {
    match kind {
        Kind::Exec if is_classic => "attempts to exec",
        Kind::Exec => "execs",
        Kind::Failure => "failed execs",
        Kind::Exit => "process exits",
        Kind::CpuTime => "CPU times of processes",
    }
}
