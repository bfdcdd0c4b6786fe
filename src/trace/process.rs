//! What earlier rows have shown of processes that still run: their places in the tree, and their paths
//! and arguments for the rows of their exits.

use std::num::NonZeroUsize;

use lru::LruCache;

use super::row::Row;
use crate::cli::Trace;
use crate::record::{Kind, Observation, Text, Traced, kind};

/// The most processes that are remembered. The one that was not seen for longest is forgotten. With paths
/// and arguments, each takes up to 2 KiB.
const PROCESSES: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// The deepest place in the tree that is shown.
const DEEPEST: usize = 12;

#[derive(Debug)]
pub(super) struct Processes {
    known: LruCache<u32, Process>,
    is_tree: bool,
    has_exits: bool,
}

#[derive(Debug)]
struct Process {
    parent: u32,
    /// When it executed the program.
    exec_ns: u64,
    depth: usize,
    path: Option<Text>,
    args: Option<Text>,
}

impl Processes {
    pub(super) fn new(args: &Trace) -> Self {
        Self {
            known: LruCache::new(PROCESSES),
            is_tree: args.tree,
            has_exits: args.exits.is_some(),
        }
    }

    /// Remembers the process of a row, and adds to the row what is known of it: its place in the tree
    /// and, at its exit, its path and its arguments.
    pub(super) fn complete(&mut self, row: &mut Row, traced: &Traced) {
        if !self.is_tree && !self.has_exits {
            return;
        }
        let event = traced.event();
        let kind = kind(&event.subject);
        // Another process can have got the ID since.
        let is_same = |process: &Process| match kind {
            Kind::Exit => process.exec_ns >= event.time_ns.saturating_sub(event.lifetime_ns),
            _ => process.parent == event.ppid,
        };
        if self.known.get(&event.pid).is_some_and(|of| !is_same(of)) {
            self.known.pop(&event.pid);
        }
        row.depth = self.depth(traced);
        match kind {
            Kind::Exec => {
                let kept = |text: &Option<Text>| text.clone().filter(|_| self.has_exits);
                let process = Process {
                    parent: event.ppid,
                    exec_ns: event.time_ns,
                    depth: row.depth,
                    path: kept(&traced.path),
                    args: kept(&traced.args),
                };
                self.known.put(event.pid, process);
            }
            Kind::Exit => {
                if let Some(process) = self.known.pop(&event.pid) {
                    row.set_details(process.path.as_ref(), process.args.as_ref());
                }
            }
            Kind::Failure | Kind::CpuTime => {}
        }
    }

    /// Forgets all paths and arguments, because a process may have executed another program without a
    /// row.
    pub(super) fn forget_details(&mut self) {
        for (_, process) in &mut self.known {
            (process.path, process.args) = (None, None);
        }
    }

    /// Returns the depth of a process: its own if it has executed a program before, or else one more than
    /// that of its nearest known ancestor.
    fn depth(&mut self, traced: &Traced) -> usize {
        let event = traced.event();
        if let Some(process) = self.known.get(&event.pid) {
            return process.depth;
        }
        let family = traced.family.as_ref();
        let ancestors = family.map_or(&[][..], |family| &family.ancestors);
        let ancestors = ancestors.iter().map(|(pid, _)| *pid);
        let mut nearest = [event.ppid].into_iter().chain(ancestors);
        let depth = nearest.find_map(|pid| Some(self.known.get(&pid)?.depth + 1));
        depth.unwrap_or_default().min(DEEPEST)
    }
}
