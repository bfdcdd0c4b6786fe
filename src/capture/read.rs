//! What the reader's thread reads of the attached programs.

use std::io;
use std::os::fd::BorrowedFd;

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use tracing::{debug, warn};

use super::attach::Capture;
use super::exe_names;
use super::maps::Maps;
use super::source::{ProgramStats, Source};
use crate::names::cgroup;
use crate::record::{self, ExitCounts, FailureCounts, Kind, Ledger, Ledgers};

impl Source for Capture {
    fn wakeup_fd(&self) -> BorrowedFd<'_> {
        self.buffer.wakeup_fd()
    }

    fn drain_events(&mut self, event: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.leftover
            .events
            .drain(..)
            .for_each(|bytes| event(&bytes));
        self.buffer.drain(event)
    }

    fn drain_tally(&mut self, entry: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        if self.leftover.events.is_empty() && self.leftover.tally.is_empty() {
            // Nothing that is still to be read has an id of these.
            self.leftover.exe_names = None;
        }
        for (subject, count) in self.leftover.tally.drain(..) {
            entry(&subject, &count);
        }
        self.tally.drain(entry)?;
        if let Some(failures) = &mut self.failure_tally {
            let tallied = Some(ledger(&self.maps, Kind::Failure)?.tallied);
            if failures.tallied != [tallied; 2] {
                failures.tally.drain(entry)?;
                failures.tallied = [failures.tallied[1], tallied];
            }
        }
        Ok(())
    }

    fn peek_tally(&mut self, entry: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        for (subject, count) in &self.leftover.tally {
            entry(subject, count);
        }
        self.tally.peek(entry)
    }

    fn ledgers(&mut self) -> io::Result<Ledgers> {
        let mut ledgers = Ledgers::default();
        add_ledgers(&self.maps, &mut ledgers)?;
        for kind in Kind::ALL {
            if !self.by_subject.contains(&kind) {
                ledgers.set_only_seen(kind, ledgers[kind].seen);
            }
        }
        ledgers += self.base.ledgers;
        Ok(ledgers)
    }

    fn failures(&mut self) -> io::Result<FailureCounts> {
        let mut sums = self.base.failures;
        add_failures(&self.maps, &mut sums)?;
        Ok(sums)
    }

    fn exits(&mut self) -> io::Result<ExitCounts> {
        let mut sums = self.base.exits.clone();
        add_exits(&self.maps, &mut sums)?;
        Ok(sums)
    }

    fn cgroup_path(&mut self, id: u64) -> io::Result<Option<Vec<u8>>> {
        let own = self.maps.cgroup_names.as_ref();
        let earlier = self.leftover.cgroup_names.as_ref();
        let path = cgroup::path(id, |id| {
            let mut name = None;
            for names in [own, earlier].into_iter().flatten() {
                if name.is_none() {
                    let found = names.lookup(&id.to_ne_bytes(), MapFlags::ANY);
                    name = found.map_err(io::Error::other)?;
                }
            }
            let decode =
                |bytes: Vec<u8>| record::decode_cgroup_name(&bytes).map_err(io::Error::other);
            name.map(decode).transpose()
        })?;
        if let (None, Some(names)) = (&path, own) {
            // The LRU map has evicted the name of the cgroup or of an ancestor. If the cgroup's own
            // name is absent, the programs store all of these names again at the next exec or exit
            // in the cgroup. (An error, ENOENT, means that it is absent already.)
            let _ = names.delete(&id.to_ne_bytes());
        }
        Ok(path)
    }

    fn exe_name(&mut self, id: u64) -> io::Result<Option<Vec<u8>>> {
        let own = self.maps.exe_names.as_ref();
        let own = own.map(|names| (names, self.exe_key));
        let earlier = self.leftover.exe_names.as_ref();
        let earlier = earlier.map(|(names, key)| (names, *key));
        for (names, key) in [own, earlier].into_iter().flatten() {
            if let Some(name) = exe_names::look_up(names, key, id)? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    fn programs(&mut self) -> Vec<ProgramStats> {
        let stats = self.programs.iter_mut().filter_map(|program| {
            program
                .stats()
                .inspect_err(|error| debug!(%error, "no statistics of a program"))
                .ok()
        });
        stats.collect()
    }

    fn stop(&mut self) {
        if self.is_kept {
            self.buffer.close();
            // A program that is running may still put its event into the buffer.
            if let Err(error) = self.tally.await_programs() {
                warn!(%error, "events that arrive now may be counted without a name");
            }
        } else {
            self.links.clear();
        }
    }
}

pub(super) fn add_ledgers(maps: &Maps, sums: &mut Ledgers) -> io::Result<()> {
    for kind in Kind::ALL {
        sums[kind] += ledger(maps, kind)?;
    }
    Ok(())
}

/// Returns the sum of a kind's ledgers over all CPUs.
fn ledger(maps: &Maps, kind: Kind) -> io::Result<Ledger> {
    let mut sum = Ledger::default();
    for bytes in per_cpu(&maps.ledgers, kind.index())? {
        sum += record::decode_ledger(&bytes).map_err(io::Error::other)?;
    }
    Ok(sum)
}

pub(super) fn add_failures(maps: &Maps, sums: &mut FailureCounts) -> io::Result<()> {
    let Some(failures) = &maps.failures else {
        return Ok(());
    };
    for bytes in per_cpu(failures, 0)? {
        *sums += record::decode_failures(&bytes).map_err(io::Error::other)?;
    }
    Ok(())
}

pub(super) fn add_exits(maps: &Maps, sums: &mut ExitCounts) -> io::Result<()> {
    for bytes in per_cpu(&maps.exits, 0)? {
        *sums += record::decode_exits(&bytes).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Each CPU's value of an entry of a per-CPU array.
fn per_cpu(map: &MapHandle, index: u32) -> io::Result<Vec<Vec<u8>>> {
    map.lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY)
        .map_err(io::Error::other)?
        .ok_or_else(|| io::Error::other(format!("a BPF array has no entry {index}")))
}
