//! Loads and attaches the programs, and reads what they collect. The only module that talks to
//! BPF.
//!
//! [`Options`] come in; bytes go out, through [`Source`](source::Source). The main thread calls
//! [`Capture::start`], which tries the transports in order: a perf buffer, then a ring buffer. The
//! reader's thread reads from it. `select.rs` decides which programs run.

mod attach;
mod base;
mod buffer;
mod error;
mod exe_names;
pub mod facts;
mod fdinfo;
mod handover;
pub mod hook;
pub mod info;
mod kept;
pub mod libbpf_log;
mod maps;
mod note;
mod object;
pub mod options;
pub mod preemption;
mod read;
pub mod select;
mod shortage;
pub mod source;
mod stats;
mod tally;

pub use self::attach::Capture;
pub use self::base::Base;
pub use self::error::Error;
pub use self::handover::{Handover, Refused, Replacement, Resumed};
pub use self::info::CaptureInfo;
pub use self::kept::{Descriptors, KernelSide};
pub use self::note::Note;
pub use self::options::{FailureHooks, Input, Live, Options, TransportKind};
