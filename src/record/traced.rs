//! Observations with the details that only `trace` shows.

use std::mem::size_of;

use super::bytes::{DecodeError, exact, padded};
use super::event::{Comm, Event, Observation, Subject, checked, nul_terminated};
use crate::bpf::types;

/// An exec, a failed exec or an exit in the live stream of `execsnoopd trace`.
#[derive(Debug, Clone)]
pub struct Traced {
    event: Event,
    /// The path of the program, if it was asked for and could be read.
    pub path: Option<Text>,
    /// The arguments, each followed by a NUL, if they were asked for and could be read.
    pub args: Option<Text>,
    /// Where the process comes from, if it was asked for.
    pub family: Option<Family>,
}

/// The threads and processes from which a process descends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// The name of the thread that has failed to execute a program. Empty for an exec.
    pub thread_comm: Comm,
    /// The name of the thread that has forked.
    pub parent_thread_comm: Comm,
    /// Process IDs and names of the nearest ancestors, the parent first.
    pub ancestors: Vec<(u32, Comm)>,
}

/// A text that may have been truncated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub bytes: Vec<u8>,
    pub is_truncated: bool,
}

impl Observation for Traced {
    const TALLY_PENDING: u64 = 1;

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() < size_of::<types::traced>() {
            let mut event: Event = padded(bytes)?;
            event.subject = checked(event.subject)?;
            return Ok(Self {
                event,
                path: None,
                args: None,
                family: None,
            });
        }
        let mut traced: types::traced = padded(bytes)?;
        traced.event.subject = checked(traced.event.subject)?;
        let path = Text {
            bytes: nul_terminated(&traced.path).to_vec(),
            is_truncated: traced.path_truncated != 0,
        };
        let size = traced.args_size as usize;
        let kept = size.min(traced.args.len());
        let args = Text {
            bytes: traced.args[..kept].to_vec(),
            is_truncated: size > kept,
        };
        Ok(Self {
            event: traced.event,
            path: (traced.path_size > 0).then_some(path),
            args: (size > 0).then_some(args),
            family: family(&traced),
        })
    }

    fn decode_subject(bytes: &[u8]) -> Result<Subject, DecodeError> {
        checked(exact(bytes)?)
    }

    fn event(&self) -> &Event {
        &self.event
    }
}

/// Returns the family, or None if the kernel side was not asked for it. The first process of the host has
/// no ancestors.
fn family(traced: &types::traced) -> Option<Family> {
    let comms = traced.ancestor_comms.as_chunks().0;
    let ancestors = traced.ancestor_pids.iter().zip(comms);
    let ancestors = ancestors.take(usize::from(traced.ancestors));
    let family = Family {
        thread_comm: terminated(&traced.thread_comm),
        parent_thread_comm: terminated(&traced.parent_thread_comm),
        ancestors: ancestors
            .map(|(pid, comm)| (*pid, terminated(comm)))
            .collect(),
    };
    (traced.has_family > 0).then_some(family)
}

/// Clears the bytes after the first NUL, which can be stale.
fn terminated(comm: &Comm) -> Comm {
    let mut cleared = Comm::default();
    let name = nul_terminated(comm);
    cleared[..name.len()].copy_from_slice(name);
    cleared
}
