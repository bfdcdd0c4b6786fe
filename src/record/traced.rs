//! Observations with the details that only `trace` shows.

use std::mem::size_of;

use super::bytes::{DecodeError, exact, padded};
use super::event::{Event, Observation, Subject, checked, nul_terminated};
use crate::bpf::types;

/// An exec, a failed exec or an exit in the live stream of `execsnoopd trace`.
#[derive(Debug, Clone)]
pub struct Traced {
    event: Event,
    /// The path of the program, if it was asked for and could be read.
    pub path: Option<Text>,
    /// The arguments, each followed by a NUL, if they were asked for and could be read.
    pub args: Option<Text>,
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
            let (path, args) = (None, None);
            return Ok(Self { event, path, args });
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
        })
    }

    fn decode_subject(bytes: &[u8]) -> Result<Subject, DecodeError> {
        checked(exact(bytes)?)
    }

    fn event(&self) -> &Event {
        &self.event
    }
}
