//! What earlier rows have shown of processes that still run: their places in the tree and their
//! arguments.

use std::num::NonZeroUsize;

use lru::LruCache;

use super::row::Row;
use crate::record::{Kind, Observation, Traced, kind};

/// The most processes that are remembered. The one that was not seen for longest is forgotten.
const PROCESSES: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// The deepest place in the tree that is shown.
const DEEPEST: usize = 12;

#[derive(Debug)]
pub(super) struct Processes(LruCache<u32, Process>);

#[derive(Debug, Default)]
struct Process {
    depth: usize,
    path: Option<String>,
    path_cut: bool,
    args: Option<Vec<String>>,
    args_cut: bool,
}

impl Processes {
    pub(super) fn new() -> Self {
        Self(LruCache::new(PROCESSES))
    }

    /// Remembers the process of a row, and adds to the row what is known of it: its place in the tree
    /// and, at its exit, its path and its arguments.
    pub(super) fn complete(&mut self, row: &mut Row, traced: &Traced) {
        row.depth = self.depth(row.pid, row.ppid, traced);
        match kind(&traced.event().subject) {
            Kind::Exec => {
                let process = Process {
                    depth: row.depth,
                    path: row.path.clone(),
                    path_cut: row.path_cut,
                    args: row.args.clone(),
                    args_cut: row.args_cut,
                };
                self.0.put(row.pid, process);
            }
            Kind::Exit => {
                let process = self.0.pop(&row.pid).unwrap_or_default();
                (row.path, row.path_cut) = (process.path, process.path_cut);
                (row.args, row.args_cut) = (process.args, process.args_cut);
            }
            Kind::Failure | Kind::CpuTime => {}
        }
    }

    /// Forgets the arguments of all processes, because a process may have executed another program
    /// without a row.
    pub(super) fn forget_arguments(&mut self) {
        for (_, process) in &mut self.0 {
            (process.path, process.args) = (None, None);
        }
    }

    /// Returns the depth of a process: its own if it has executed a program before, or else one more than
    /// that of its nearest known ancestor.
    fn depth(&mut self, pid: u32, parent: u32, traced: &Traced) -> usize {
        if let Some(process) = self.0.get(&pid) {
            return process.depth;
        }
        let family = traced.family.as_ref();
        let ancestors = family.map_or(&[][..], |family| &family.ancestors);
        let ancestors = ancestors.iter().map(|(pid, _)| *pid);
        let mut nearest = [parent].into_iter().chain(ancestors);
        let depth = nearest.find_map(|pid| Some(self.0.get(&pid)?.depth + 1));
        depth.unwrap_or_default().min(DEEPEST)
    }
}
