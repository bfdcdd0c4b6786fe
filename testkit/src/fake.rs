//! A fake kernel side, for tests that run without BPF.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use execsnoopd::capture::source::{ProgramStats, Source};
use execsnoopd::record::{Event, ExitCounts, FailureCounts, Kind, Ledgers, TallyCount};
use rustix::event::{EventfdFlags, eventfd};

use crate::bytes::{encode_count, encode_subject};

/// The contents of the kernel side. Tests fill it, the reader drains it.
#[derive(Debug, Default)]
pub struct Kernel {
    pub events: VecDeque<Vec<u8>>,
    pub tally: Vec<(Vec<u8>, Vec<u8>)>,
    pub ledgers: Ledgers,
    pub failures: FailureCounts,
    pub exits: ExitCounts,
    /// The paths of cgroups by id.
    pub cgroups: HashMap<u64, Vec<u8>>,
    /// The names of files by id.
    pub exes: HashMap<u64, Vec<u8>>,
    /// What happens before each read of the ledgers.
    pub before_read: Option<fn(&mut Kernel)>,
    /// If set, the next read of the ledgers fails with this error.
    pub ledger_error: Option<io::Error>,
    /// Whether the next drain of the events panics.
    pub panic: bool,
    pub detached: bool,
}

impl Kernel {
    /// Does what a BPF program does when the buffer has room.
    pub fn emit(&mut self, bytes: Vec<u8>) {
        self.emit_as(Kind::Exec, bytes);
    }

    pub fn emit_as(&mut self, kind: Kind, bytes: Vec<u8>) {
        self.ledgers[kind].seen += 1;
        self.ledgers[kind].sent += 1;
        self.events.push_back(bytes);
    }

    /// Does what a BPF program does when the buffer is full.
    pub fn tally(&mut self, key: Vec<u8>, count: u64) {
        self.tally_as(Kind::Exec, key, count, 0);
    }

    pub fn tally_as(&mut self, kind: Kind, key: Vec<u8>, count: u64, cpu_ns: u64) {
        let ledger = &mut self.ledgers[kind];
        ledger.seen += count;
        ledger.buffer_full += count;
        ledger.tallied += count;
        let count = TallyCount {
            count,
            cpu_ns,
            lifetime_ns: 0,
        };
        self.tally.push((key, encode_count(&count)));
    }

    /// Does what a BPF program does when a process exits and a view counts exits.
    pub fn exit_of(&mut self, subject: &Event, wait_status: i32, lifetime_ns: u64) {
        self.exit(wait_status, lifetime_ns);
        self.only_seen(Kind::Exit, -1);
        self.ledgers[Kind::Exit].tallied += 1;
        let count = TallyCount {
            count: 1,
            cpu_ns: 0,
            lifetime_ns,
        };
        let key = encode_subject(subject);
        self.tally.push((key, encode_count(&count)));
    }

    /// Does what a BPF program does when the tally is full, too.
    pub fn fail_to_attribute(&mut self, kind: Kind, count: u64) {
        let ledger = &mut self.ledgers[kind];
        ledger.seen += count;
        ledger.buffer_full += count;
        ledger.unattributed += count;
    }

    /// Does what a BPF program does when a process exits and no view counts exits.
    pub fn exit(&mut self, wait_status: i32, lifetime_ns: u64) {
        self.ledgers[Kind::Exit].seen += 1;
        self.only_seen(Kind::Exit, 1);
        self.exits.add_lifetime(lifetime_ns);
        self.exits.add(wait_status, 1);
    }

    /// Does what a BPF program does when an exec fails and no view counts failed execs.
    pub fn fail(&mut self, errno: i32, count: u64) {
        self.ledgers[Kind::Failure].seen += count;
        self.only_seen(Kind::Failure, count.cast_signed());
        self.failures.add(errno, count);
    }

    /// Does what a BPF program does when an exec of this subject fails and a view counts failed execs.
    pub fn fail_of(&mut self, subject: &Event, count: u64) {
        self.ledgers[Kind::Failure].seen += count;
        self.ledgers[Kind::Failure].tallied += count;
        self.failures.add(-subject.subject.retval, count);
        let count = TallyCount {
            count,
            ..TallyCount::default()
        };
        self.tally
            .push((encode_subject(subject), encode_count(&count)));
    }

    /// Adds to the observations that are not counted by subject.
    pub fn only_seen(&mut self, kind: Kind, more: i64) {
        let sum = self.ledgers.only_seen(kind).checked_add_signed(more);
        self.ledgers
            .set_only_seen(kind, sum.expect("no fewer than 0"));
    }
}

/// A [`Source`] that reads from a [`Kernel`], which it shares with the test.
#[derive(Debug)]
pub struct Fake {
    kernel: Arc<Mutex<Kernel>>,
    wakeup: OwnedFd,
}

impl Fake {
    /// Returns a source, and the kernel side that the test fills.
    pub fn new(kernel: Kernel) -> (Self, Arc<Mutex<Kernel>>) {
        let kernel = Arc::new(Mutex::new(kernel));
        let fake = Self {
            kernel: Arc::clone(&kernel),
            wakeup: eventfd(0, EventfdFlags::empty()).unwrap(),
        };
        (fake, kernel)
    }
}

impl Source for Fake {
    fn wakeup_fd(&self) -> BorrowedFd<'_> {
        self.wakeup.as_fd()
    }

    fn drain_events(&mut self, event: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let events = {
            let mut kernel = self.kernel.lock().unwrap();
            assert!(!kernel.panic, "the test asked for a panic");
            std::mem::take(&mut kernel.events)
        };
        for bytes in &events {
            event(bytes);
        }
        Ok(())
    }

    fn drain_tally(&mut self, entry: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        let tally = std::mem::take(&mut self.kernel.lock().unwrap().tally);
        for (key, count) in &tally {
            entry(key, count);
        }
        Ok(())
    }

    fn peek_tally(&mut self, entry: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        for (key, count) in &self.kernel.lock().unwrap().tally {
            entry(key, count);
        }
        Ok(())
    }

    fn ledgers(&mut self) -> io::Result<Ledgers> {
        let mut kernel = self.kernel.lock().unwrap();
        if let Some(happens) = kernel.before_read {
            happens(&mut kernel);
        }
        match kernel.ledger_error.take() {
            Some(error) => Err(error),
            None => Ok(kernel.ledgers),
        }
    }

    fn failures(&mut self) -> io::Result<FailureCounts> {
        Ok(self.kernel.lock().unwrap().failures)
    }

    fn exits(&mut self) -> io::Result<ExitCounts> {
        Ok(self.kernel.lock().unwrap().exits.clone())
    }

    fn cgroup_path(&mut self, id: u64) -> io::Result<Option<Vec<u8>>> {
        Ok(self.kernel.lock().unwrap().cgroups.get(&id).cloned())
    }

    fn exe_name(&mut self, id: u64) -> io::Result<Option<Vec<u8>>> {
        Ok(self.kernel.lock().unwrap().exes.get(&id).cloned())
    }

    fn programs(&mut self) -> Vec<ProgramStats> {
        Vec::new()
    }

    fn stop(&mut self) {
        self.kernel.lock().unwrap().detached = true;
    }
}

/// The event of an exec of a program by a user. The time is in nanoseconds.
pub fn event(comm: &[u8], uid: u32, time_ns: u64) -> Event {
    let mut event = Event {
        time_ns,
        pid: 2,
        ppid: 1,
        ..Event::default()
    };
    event.subject.comm[..comm.len()].copy_from_slice(comm);
    event.subject.uid = uid;
    event
}
