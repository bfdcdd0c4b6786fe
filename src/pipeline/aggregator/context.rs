//! What the observations of a message have in common.

use std::time::Duration;

use crate::pipeline::name_cache::Names;
use crate::sys::clock::Timestamp;

pub(super) struct Context<'a> {
    /// Time since the start.
    pub(super) now: Duration,
    /// The same as a wall-clock time.
    pub(super) time: Timestamp,
    pub(super) names: &'a Names,
}

impl<'a> Context<'a> {
    pub(super) fn new(now: Duration, names: &'a Names) -> Self {
        let time = Timestamp::now();
        Self { now, time, names }
    }
}
