//! The reader thread: it waits, drains, decodes, orders and sends.
//!
//! Only this thread uses the source. If the channel is full, the reader waits, the buffers
//! fill up, and the kernel side counts in its tally instead. The kernel side is therefore the
//! only place where details can be lost.

use std::io;
use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::sync::mpsc;

use crate::capture::source::Source;
use crate::names::own_label::OwnLabels;
use crate::pipeline::change::Changes;
use crate::pipeline::flush::{Control, Flush};
use crate::pipeline::message::Message;
use crate::pipeline::name_cache::NameCache;
use crate::pipeline::seen::{Seen, until_next_second};
use crate::record::{self, Event, Kind, Ledgers, Observation, Subject};
use crate::sys::clock::{self, Timestamp};

mod drain;
mod settle;

/// How long events can stay in the buffers if nothing wakes the reader.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// The pause before the second drain of a flush. One drain can miss observations that the ledger has
/// as seen: a program has not sent the event yet, or the event is newer than the drain. Each pause
/// is twice as long as the previous one, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// How long the last flush waits for such observations.
const LAST_FLUSH: Duration = Duration::from_secs(1);

/// An error that ends the reader.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}: {error}")]
    Source {
        what: &'static str,
        error: io::Error,
    },
    #[error("the aggregator has ended")]
    Closed,
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::Source { what, error }
}

/// Of which kinds of observation it is known how much an earlier daemon has received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    Nothing,
    AllButFailures,
    /// Also if there was no earlier daemon.
    All,
}

/// The reader. [`run`](Self::run) is the body of its thread.
#[derive(Debug)]
pub struct Reader<S, O = Event> {
    source: S,
    control: Control,
    channel: mpsc::Sender<Message<O>>,
    tick: Duration,
    seen: Seen,
    /// Events that happened after the drain that read them had begun. They wait for the next
    /// drain, because a buffer that was read before theirs may by now contain older events.
    held_back: Vec<O>,
    names: NameCache,
    changes: Changes,
    /// By kind, in the order of [`Kind::ALL`]: observations received from the buffers and the tally,
    /// except those in `held_back`.
    delivered: [u64; Kind::ALL.len()],
    /// How many observations the ledgers had as tallied before the last drain of the tally.
    tallied: u64,
    answered: u64,
    settled: Settled,
    /// Whether a message was sent after the last [`Message::Idle`].
    has_sent: bool,
    stopping: bool,
    undecodable: u64,
    wakeups: u64,
    batches: u64,
}

impl<S: Source, O: Observation> Reader<S, O> {
    pub fn new(source: S, control: Control, channel: mpsc::Sender<Message<O>>) -> Self {
        Self {
            source,
            control,
            channel,
            tick: IDLE_TICK,
            seen: Seen::default(),
            held_back: Vec::new(),
            names: NameCache::default(),
            changes: Changes::default(),
            delivered: [0; Kind::ALL.len()],
            tallied: 0,
            answered: 0,
            settled: Settled::All,
            has_sent: false,
            stopping: false,
            undecodable: 0,
            wakeups: 0,
            batches: 0,
        }
    }

    /// Sets whether the source also has what an earlier daemon has counted.
    #[must_use]
    pub fn continuing(self, continues: bool) -> Self {
        let settled = if continues {
            Settled::Nothing
        } else {
            Settled::All
        };
        Self { settled, ..self }
    }

    /// Sets the labels that the configuration defines.
    #[must_use]
    pub fn with_labels(mut self, labels: OwnLabels) -> Self {
        self.names.set_labels(labels);
        self
    }

    /// Makes the reader take up what is in `changes`, if anything, before each drain.
    #[must_use]
    pub fn with_changes(self, changes: Changes) -> Self {
        Self { changes, ..self }
    }

    /// Sets how long events can stay in the buffers if nothing wakes the reader. The default is
    /// a second.
    #[must_use]
    pub fn with_tick(self, tick: Duration) -> Self {
        Self { tick, ..self }
    }

    /// Reads until [`Control::stop`], then stops the source, flushes once more and drops the sender of
    /// the channel.
    pub fn run(mut self) -> Result<(), Error> {
        while !self.control.is_stopped() {
            // A flush that is requested after a change shows the change.
            let request = self.control.requested();
            self.take_up_change()?;
            let sent = self.batches;
            if request > self.answered {
                self.flush(request, Duration::MAX)?;
            } else {
                self.drain(O::TALLY_PENDING)?;
                if self.batches == sent && self.has_sent {
                    self.send(Message::Idle)?;
                    self.has_sent = false;
                }
            }
            self.wait()?;
        }
        self.source.stop();
        self.stopping = true;
        let request = self.control.requested();
        self.flush(request, LAST_FLUSH)
    }

    /// Flushes on the caller's thread, before [`run`](Self::run). The channel needs room for ten
    /// messages, because there is no receiver yet.
    pub fn flush_now(&mut self) -> Result<(), Error> {
        self.flush(self.answered, Duration::ZERO)
    }

    /// Passes on new views in the order of the messages, so that they count only cgroups with their own
    /// labels.
    fn take_up_change(&mut self) -> Result<(), Error> {
        let changes = self.changes.lock();
        let change = changes.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(change) = change {
            self.names.set_labels(change.labels);
            self.send(Message::Change(change.views, change.watches))?;
        }
        Ok(())
    }

    /// Sleeps until a buffer is half full, there is a request, the tick has passed, or a second ends.
    fn wait(&mut self) -> Result<(), Error> {
        let buffers = self.source.wakeup_fd();
        let mut fds = [
            PollFd::from_borrowed_fd(buffers, PollFlags::IN),
            PollFd::from_borrowed_fd(self.control.wakeup_fd(), PollFlags::IN),
        ];
        let timeout = self.tick.min(until_next_second(clock::now()));
        let timeout = Timespec::try_from(timeout).ok();
        match poll(&mut fds, timeout.as_ref()) {
            // EINTR: a signal handler ran. An early drain does no harm.
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("cannot wait for events")(errno.into())),
        }
        self.control.acknowledge();
        self.wakeups += 1;
        Ok(())
    }

    /// Sends everything that was observed before now, and the state of the ledgers, as soon as
    /// nothing is missing or `patience` is over. A stop ends the flush without an answer.
    fn flush(&mut self, request: u64, patience: Duration) -> Result<(), Error> {
        let began = Timestamp::now();
        let is_scrape = self.control.is_scraped();
        let programs = self.source.programs();
        let before = self.ledgers()?;
        let waiting_since = Instant::now();
        let mut pause = FIRST_PAUSE;
        let (failures, exits, after, ended) = loop {
            self.drain(1)?;
            if self.settled == Settled::Nothing {
                // The second drain takes what an earlier daemon had begun to drain.
                self.drain_tally()?;
                self.drain_tally()?;
                self.settle()?;
            }
            let failures = self.source.failures();
            let failures = failures.map_err(failed("cannot read the counts of failed execs"))?;
            let exits = self.source.exits();
            let exits = exits.map_err(failed("cannot read the counts of exits"))?;
            let ended = clock::now();
            let after = self.ledgers()?;
            self.note_seen(ended, &after)?;
            let all = self.settled != Settled::Nothing
                && self.has_received(&before, &after)
                && failures.total() >= before[Kind::Failure].seen
                && exits.total() >= before[Kind::Exit].seen;
            let is_over = waiting_since.elapsed() >= patience;
            if all || (is_over && self.settled != Settled::Nothing) {
                break (failures, exits, after, ended);
            }
            if is_over || (!self.stopping && self.control.is_stopped()) {
                return Ok(());
            }
            thread::sleep(pause);
            pause = LONGEST_PAUSE.min(pause * 2);
        };
        self.answered = request;
        self.settle_failures(&before, &after)?;
        let flush = Flush {
            request,
            is_scrape,
            began,
            before,
            after,
            ended,
            failures,
            exits,
            undecodable: self.undecodable,
            wakeups: self.wakeups,
            batches: self.batches,
            programs,
        };
        self.send(Message::Flushed(Box::new(flush)))
    }

    fn note_seen(&mut self, now: Duration, ledgers: &Ledgers) -> Result<(), Error> {
        let message = self.seen.read(now, ledgers[Kind::Exec].seen);
        message.map_or(Ok(()), |message| self.send(message))
    }

    fn ledgers(&mut self) -> Result<Ledgers, Error> {
        self.source
            .ledgers()
            .map_err(failed("cannot read the ledgers"))
    }

    fn send(&mut self, message: Message<O>) -> Result<(), Error> {
        self.batches += u64::from(matches!(message, Message::Events(..) | Message::Tally(..)));
        self.has_sent = true;
        self.channel
            .blocking_send(message)
            .map_err(|_| Error::Closed)
    }
}

/// Returns the position of a subject's kind in [`Kind::ALL`].
fn index_of(subject: &Subject) -> usize {
    record::kind(subject).index() as usize
}
