//! The reader thread: wait, drain, decode, order, send.
//!
//! It is the only one that touches the source. When the channel is full it waits, the
//! buffers fill up, and the kernel counts in its tally instead: so the kernel side is
//! the one place where an event's detail can be lost.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::clock;
use crate::event::{
    self, Event, FailureCounts, Kind, Ledger, Ledgers, Observation, Subject, TallyCount,
};
use crate::source::{ProgramStats, Source};

mod cgroups;

pub use self::cgroups::Cgroups;

/// How long events may lie in the buffers when nothing wakes the reader.
const IDLE_TICK: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// How often a flush looks again for what the kernel has seen but not yet delivered: a
/// program that was between its two steps, or an event younger than the drain.
const FLUSH_ATTEMPTS: u32 = 20;
const FLUSH_PAUSE: Duration = Duration::from_micros(50);

/// What crosses the channel to the aggregator.
#[derive(Debug)]
pub enum Message<O = Event> {
    /// Execs and exits, in the order of their time across all CPUs, and their cgroups.
    Events(Vec<O>, Cgroups),
    /// Execs and exits of which only the count is left, by subject, and their cgroups.
    Tally(Vec<(Subject, TallyCount)>, Cgroups),
    /// All that had been observed when the flush began is before this message.
    Flushed(Box<Flush>),
}

/// The state of the stages before the aggregator at the end of a flush.
#[derive(Debug, Clone, Default)]
pub struct Flush {
    /// The highest request that this flush answers; see [`Control::request_flush`].
    pub request: u64,
    /// The kernel's account when the flush began: at least its `seen` is accounted for.
    pub before: Ledgers,
    /// The kernel's account when it ended: at most its `seen` is accounted for.
    pub after: Ledgers,
    /// Failed execs.
    pub failures: FailureCounts,
    /// Events and tallied counts that could not be decoded.
    pub undecodable: u64,
    /// How often the reader woke up.
    pub wakeups: u64,
    /// How many messages with events or counts it has sent.
    pub batches: u64,
    /// The programs' own account when the flush began.
    pub programs: Vec<ProgramStats>,
}

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

/// How others talk to the reader thread.
#[derive(Debug, Clone)]
pub struct Control(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    eventfd: OwnedFd,
    requested: AtomicU64,
    stop: AtomicBool,
}

impl Control {
    /// Fails when no file descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Shared {
            eventfd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            requested: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        })))
    }

    /// Ask for a flush that begins after this call. It has been made when a
    /// [`Flush::request`] is at least the number returned; requests that the reader
    /// finds together are answered by one flush.
    pub fn request_flush(&self) -> u64 {
        let request = self.0.requested.fetch_add(1, Ordering::AcqRel) + 1;
        self.wake();
        request
    }

    /// Ask the reader to detach, flush once more and end.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // The only error is EAGAIN, of a counter at its maximum: it is readable then.
        let _ = rustix::io::write(&self.0.eventfd, &1_u64.to_ne_bytes());
    }

    fn acknowledge(&self) {
        // EAGAIN: nothing to acknowledge.
        let _ = rustix::io::read(&self.0.eventfd, &mut [0; 8]);
    }
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
    cgroups: cgroups::Known,
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
            cgroups: cgroups::Known::default(),
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
        while !self.control.0.stop.load(Ordering::Acquire) {
            let request = self.control.0.requested.load(Ordering::Acquire);
            if request > self.answered {
                self.flush(request, FLUSH_ATTEMPTS)?;
            } else {
                self.drain()?;
            }
            self.wait()?;
        }
        self.source.detach();
        self.stopping = true;
        let request = self.control.0.requested.load(Ordering::Acquire);
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
            PollFd::from_borrowed_fd(self.control.0.eventfd.as_fd(), PollFlags::IN),
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
                let count = event::tally_count(value).map_or(1, |value| value.count);
                tallied += count;
                match O::decode_subject(key).and_then(|s| Ok((s, event::tally_count(value)?))) {
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
