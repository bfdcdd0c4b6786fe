//! The reader thread: wait, drain, decode, order, send.
//!
//! It is the only one that touches the source. When the channel is full it waits, the
//! buffers fill up, and the kernel counts in its tally instead: so the kernel side is
//! the one place where an event's detail can be lost.

use std::io;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::capture::source::Source;
use crate::pipeline::cgroup_cache::CgroupCache;
use crate::pipeline::flush::{Control, Flush};
use crate::pipeline::message::Message;
use crate::record::{self, Event, Kind, Ledger, Ledgers, Observation};
use crate::sys::clock;

/// How long events may lie in the buffers when nothing wakes the reader.
const IDLE_TICK: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// How often a flush looks again for what the kernel has seen but not yet delivered: a
/// program that was between its two steps, or an event younger than the drain.
const FLUSH_ATTEMPTS: u32 = 20;
const FLUSH_PAUSE: Duration = Duration::from_micros(50);

/// The reader cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused something that it granted before.
    #[error("{what}: {error}")]
    Source {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
    /// Nobody receives.
    #[error("the aggregator has ended")]
    Closed,
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::Source { what, error }
}

/// The reader's state. [`run`](Self::run) is the body of its thread.
#[derive(Debug)]
pub struct Reader<S, O = Event> {
    source: S,
    control: Control,
    channel: mpsc::Sender<Message<O>>,
    tick: Timespec,
    /// Drained, but younger than the moment their drain began.
    held_back: Vec<O>,
    cgroups: CgroupCache,
    /// Execs and exits received in whatever form, held back ones not among them.
    delivered: u64,
    tallied: u64,
    answered: u64,
    stopping: bool,
    undecodable: u64,
    wakeups: u64,
    batches: u64,
}

impl<S: Source, O: Observation> Reader<S, O> {
    /// A reader that sends to `channel` what comes out of `source`.
    pub fn new(source: S, control: Control, channel: mpsc::Sender<Message<O>>) -> Self {
        Self {
            source,
            control,
            channel,
            tick: IDLE_TICK,
            held_back: Vec::new(),
            cgroups: CgroupCache::default(),
            delivered: 0,
            tallied: 0,
            answered: 0,
            stopping: false,
            undecodable: 0,
            wakeups: 0,
            batches: 0,
        }
    }

    /// How long events may lie in the buffers when nothing wakes the reader, else a second.
    #[must_use]
    pub fn with_tick(mut self, tick: Duration) -> Self {
        self.tick = Timespec::try_from(tick).unwrap_or(IDLE_TICK);
        self
    }

    /// Read until [`Control::stop`]; then detach, flush a last time, and drop the
    /// channel's sender.
    pub fn run(mut self) -> Result<(), Error> {
        while !self.control.is_stopped() {
            let request = self.control.requested();
            if request > self.answered {
                self.flush(request, FLUSH_ATTEMPTS)?;
            } else {
                self.drain()?;
            }
            self.wait()?;
        }
        self.source.detach();
        self.stopping = true;
        let request = self.control.requested();
        self.flush(request, FLUSH_ATTEMPTS)
    }

    /// Flush on the caller's thread, before [`run`](Self::run). The channel must have room
    /// for three messages: nobody receives yet.
    pub fn flush_now(&mut self) -> Result<(), Error> {
        self.flush(self.answered, 1)
    }

    /// Sleep until a buffer is half full, somebody asks for something, or the tick.
    fn wait(&mut self) -> Result<(), Error> {
        let buffers = self.source.wakeup_fd();
        let mut fds = [
            PollFd::from_borrowed_fd(buffers, PollFlags::IN),
            PollFd::from_borrowed_fd(self.control.wakeup_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, Some(&self.tick)) {
            // A signal handler ran (EINTR); all there is to do is look what is there.
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("waiting for events")(errno.into())),
        }
        self.control.acknowledge();
        self.wakeups += 1;
        Ok(())
    }

    /// Send on everything that was executed before now, and the account of it.
    fn flush(&mut self, request: u64, attempts: u32) -> Result<(), Error> {
        let programs = self.source.programs();
        let before = self.ledgers()?;
        let mut made = 0;
        let (failures, after) = loop {
            self.drain()?;
            let failures = self.source.failures();
            let failures = failures.map_err(failed("reading the counts of failed execs"))?;
            let after = self.ledgers()?;
            let delivered = self.delivered + of_all::<O>(&after, |ledger| ledger.unattributed);
            let all = delivered >= of_all::<O>(&before, |ledger| ledger.seen)
                && failures.total() >= before[Kind::Failure].seen;
            made += 1;
            if all || made == attempts {
                break (failures, after);
            }
            thread::sleep(FLUSH_PAUSE);
        };
        self.answered = request;
        let flush = Flush {
            request,
            before,
            after,
            failures,
            undecodable: self.undecodable,
            wakeups: self.wakeups,
            batches: self.batches,
            programs,
        };
        self.send(Message::Flushed(Box::new(flush)))
    }

    /// Empty the buffers and, if anything is in it, the tally.
    fn drain(&mut self) -> Result<(), Error> {
        self.drain_events()?;
        if of_all::<O>(&self.ledgers()?, |ledger| ledger.tallied) == self.tallied {
            return Ok(());
        }
        self.drain_tally()
    }

    fn drain_events(&mut self) -> Result<(), Error> {
        let began = if self.stopping {
            u64::MAX // there is no later drain to hold anything back for
        } else {
            u64::try_from(clock::now().as_nanos()).unwrap_or(u64::MAX)
        };
        let events = &mut self.held_back;
        let mut undecodable = 0;
        let drained = self
            .source
            .drain_events(&mut |bytes| match O::decode(bytes) {
                Ok(event) => events.push(event),
                Err(error) => {
                    debug!(%error, "undecodable event");
                    undecodable += 1;
                }
            });
        if let Err(error) = drained {
            // Its bytes stay in the buffer: the next drain tries again, and what the
            // kernel cannot put there meanwhile goes to the tally.
            warn!(%error, "reading a buffer failed");
        }
        self.undecodable += undecodable;
        self.delivered += undecodable;

        // Each CPU's events come in order, so this merges a few sorted runs.
        events.sort_by_key(|observed| observed.event().time_ns);
        let ready = events.partition_point(|observed| observed.event().time_ns <= began);
        let younger = events.split_off(ready);
        let events = std::mem::replace(&mut self.held_back, younger);
        if events.is_empty() {
            return Ok(());
        }
        self.delivered += events.len() as u64;
        let ids = events
            .iter()
            .map(|observed| observed.event().subject.cgroup_id);
        let cgroups = self.cgroups.among(ids, &mut self.source);
        self.send(Message::Events(events, cgroups))
    }

    fn drain_tally(&mut self) -> Result<(), Error> {
        let mut counts = Vec::new();
        let mut undecodable = 0;
        let mut tallied = 0;
        self.source
            .drain_tally(&mut |key, value| {
                // A value without a length of its own stands for one observation.
                let count = record::decode_tally_count(value).map_or(1, |value| value.count);
                tallied += count;
                match O::decode_subject(key)
                    .and_then(|s| Ok((s, record::decode_tally_count(value)?)))
                {
                    Ok(entry) => counts.push(entry),
                    Err(error) => {
                        debug!(%error, "undecodable entry of the tally");
                        undecodable += count;
                    }
                }
            })
            .map_err(failed("reading the tally"))?;
        self.tallied += tallied;
        self.delivered += tallied;
        self.undecodable += undecodable;
        if counts.is_empty() {
            return Ok(());
        }
        let ids = counts.iter().map(|(subject, _)| subject.cgroup_id);
        let cgroups = self.cgroups.among(ids, &mut self.source);
        self.send(Message::Tally(counts, cgroups))
    }

    fn ledgers(&mut self) -> Result<Ledgers, Error> {
        self.source.ledgers().map_err(failed("reading the ledger"))
    }

    fn send(&mut self, message: Message<O>) -> Result<(), Error> {
        self.batches += u64::from(!matches!(message, Message::Flushed(_)));
        self.channel
            .blocking_send(message)
            .map_err(|_| Error::Closed)
    }
}

/// The sum over the kinds that take the road.
fn of_all<O: Observation>(ledgers: &Ledgers, field: impl Fn(&Ledger) -> u64) -> u64 {
    O::KINDS.iter().map(|&kind| field(&ledgers[kind])).sum()
}
