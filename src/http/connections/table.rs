//! Keeps account of what the connections hold, and chooses the one that is closed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::patience::Patience;
use super::source::Source;

/// What the kernel and the server may hold for an unread answer in addition to its text, in bytes:
/// the send buffer, and one chunk that is being written or encrypted.
const COST: usize = 48 << 10;

/// The budget for unread answers is this many bytes for each request that can be answered at a time
/// (`max_connections`).
const BUDGET: usize = 64 << 10;

/// The number of unread answers that are allowed whatever their size, so that a few clients can
/// read large texts slowly.
const ALWAYS: usize = 4;

/// Slots for reading: this many for each request that can be answered at a time, within these limits.
/// With its request, a connection takes some 20 KiB for hyper's buffers.
const READING: usize = 2;
const MIN_READING: usize = 4;
const MAX_READING: usize = 4096;

/// The limits of the server. Tests shorten the times.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests that are answered at a time, on all listeners together.
    pub max_connections: usize,
    /// The time limit for a TLS handshake.
    pub handshake_timeout: Duration,
    /// The time limit for a client to send the head of a request, also on an idle connection.
    pub head_timeout: Duration,
    /// The time limit for generating an answer, and the one for the client to read it.
    pub request_timeout: Duration,
    /// How long a connection can take to send its request if others need its slot.
    pub grace: Patience,
    /// The longest pause in the reading of an answer if the budget is used up.
    pub stall: Patience,
    /// The time to read an answer if the budget is used up.
    pub reading_time: Duration,
    /// How long a request waits for its turn before it is answered with 503.
    pub patience: Duration,
}

impl Limits {
    pub fn new(max_connections: usize) -> Self {
        Self {
            max_connections,
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            grace: Patience::new(100, 700),
            stall: Patience::new(20, 160),
            reading_time: Duration::from_millis(500),
            patience: Duration::from_secs(5),
        }
    }
}

/// What a connection is waiting for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    /// Its client, to send the first request.
    Reading { since: Instant },
    /// The server, to answer a request.
    Answering,
    /// Its client, to read the answer.
    Answered {
        since: Instant,
        progress: Instant,
        /// Whether all of the answer has been generated.
        is_sent: bool,
    },
    /// Its client, to send the next request. The kernel may still hold a part of the answer.
    Idle { since: Instant },
}

#[derive(Debug)]
pub(super) struct Entry {
    source: Source,
    pub(super) phase: Phase,
    pub(super) deadline: Instant,
    /// Whether the connection is charged to the budget for unread answers. Otherwise it has a slot
    /// for reading.
    pub(super) is_charged: bool,
    text: Option<Text>,
    pub(super) cut: Arc<Notify>,
}

/// The text of an answer by its address and length.
pub(super) type Text = (usize, usize);

#[derive(Debug)]
pub(super) struct Table {
    limits: Limits,
    pub(super) entries: HashMap<u64, Entry>,
    next_id: u64,
    reading: Pool,
    charged: Pool,
    /// The texts of unread answers, with the number of connections that hold each.
    texts: HashMap<Text, usize>,
}

/// The number of connections by source.
#[derive(Debug, Default)]
struct Pool {
    total: usize,
    by_source: HashMap<Source, usize>,
}

impl Pool {
    fn of(&self, source: Source) -> usize {
        self.by_source.get(&source).copied().unwrap_or(0)
    }

    fn add(&mut self, source: Source) {
        self.total += 1;
        *self.by_source.entry(source).or_default() += 1;
    }

    fn remove(&mut self, source: Source) {
        self.total -= 1;
        let left = self.of(source).saturating_sub(1);
        if left == 0 {
            self.by_source.remove(&source);
        } else {
            self.by_source.insert(source, left);
        }
    }
}

/// The time before which no connection can be closed, unless one changes its phase. None: no
/// connection can be closed until one changes its phase.
pub(super) type NotBefore = Option<Instant>;

impl Table {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
            next_id: 0,
            reading: Pool::default(),
            charged: Pool::default(),
            texts: HashMap::new(),
        }
    }

    /// Adds a connection, whose first deadline is `timeout` from now on. Closes another one for it
    /// if all slots for reading are taken. All sockets that were ready at `served` have been served
    /// since.
    pub(super) fn admit(
        &mut self,
        source: Source,
        timeout: Duration,
        served: Instant,
        now: Instant,
    ) -> Result<u64, NotBefore> {
        let slots = (READING * self.limits.max_connections).clamp(MIN_READING, MAX_READING);
        while self.reading.total >= slots {
            let victim = self.victim(false, source, served)?;
            self.cut(victim);
            self.limits.grace.shrink();
        }
        let id = self.next_id;
        self.next_id += 1;
        self.reading.add(source);
        let entry = Entry {
            source,
            phase: Phase::Reading { since: now },
            deadline: now + timeout,
            is_charged: false,
            text: None,
            cut: Arc::default(),
        };
        self.entries.insert(id, entry);
        Ok(id)
    }

    pub(super) fn is_charged(&self, id: u64) -> bool {
        self.entries.get(&id).is_none_or(|entry| entry.is_charged)
    }

    /// Charges a connection to the budget. Closes others until there is room. All sockets that were
    /// ready at `served` have been served since.
    pub(super) fn charge(&mut self, id: u64, served: Instant) -> Result<(), NotBefore> {
        let source = match self.entries.get(&id) {
            Some(entry) if !entry.is_charged => entry.source,
            Some(_) | None => return Ok(()),
        };
        let budget = BUDGET * self.limits.max_connections;
        while self.charged.total >= ALWAYS && self.held() + COST > budget {
            let victim = self.victim(true, source, served)?;
            self.cut(victim);
            self.limits.stall.shrink();
        }
        self.limits.grace.grow();
        self.reading.remove(source);
        self.charged.add(source);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.is_charged = true;
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.texts.is_empty()
            && self.reading.by_source.is_empty()
            && self.charged.by_source.is_empty()
    }

    /// Returns what is charged for unread answers, in bytes.
    pub(super) fn held(&self) -> usize {
        let texts: usize = self.texts.keys().map(|(_, length)| length).sum();
        self.charged.total * COST + texts
    }

    /// Closes a connection that is waiting for its client, even if it has time left. Returns
    /// whether there was one.
    pub(super) fn cut_any(&mut self, now: Instant) -> bool {
        let unprotected = now + self.limits.grace.most() + self.limits.reading_time;
        let victim = self.victim(false, Source::Unix, unprotected);
        let victim = victim.or_else(|_| self.victim(true, Source::Unix, unprotected));
        if let Ok(victim) = victim {
            self.cut(victim);
        }
        victim.is_ok()
    }

    /// Chooses the connection to close for a client at `source`: a charged one if `is_charged`, else
    /// one with a slot for reading. The error is the time before which none can be closed.
    fn victim(&self, is_charged: bool, source: Source, now: Instant) -> Result<u64, NotBefore> {
        let pool = if is_charged {
            &self.charged
        } else {
            &self.reading
        };
        let entries = self.entries.iter();
        let waiting = entries.filter(|(_, entry)| entry.is_charged == is_charged);
        let waiting = waiting.filter_map(|(&id, entry)| {
            let (since, protected_until) = match entry.phase {
                Phase::Reading { since } => (since, since + self.limits.grace.now()),
                Phase::Answering => return None,
                Phase::Answered {
                    since, progress, ..
                } => {
                    let stalled = progress + self.limits.stall.now();
                    (progress, stalled.min(since + self.limits.reading_time))
                }
                Phase::Idle { since } => (since, since + self.limits.stall.now()),
            };
            let connections = pool.of(entry.source);
            Some((connections, since, protected_until, id))
        });
        let first = waiting.max_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)).then(b.3.cmp(&a.3)));
        let (connections, _, protected_until, id) = first.ok_or(None)?;
        if connections > pool.of(source) + 1 || protected_until <= now {
            Ok(id)
        } else {
            Err(Some(protected_until))
        }
    }

    /// Removes a connection that has ended. If its last answer was complete, the client has most
    /// likely read it, so the time limit `stall` grows.
    pub(super) fn leave(&mut self, id: u64) {
        let phase = self.entries.get(&id).map(|entry| entry.phase);
        if let Some(Phase::Idle { .. }) = phase {
            self.limits.stall.grow();
        }
        self.remove(id);
    }

    /// Removes a connection and makes its task close it.
    pub(super) fn cut(&mut self, id: u64) {
        if let Some(entry) = self.entries.get(&id) {
            entry.cut.notify_one();
        }
        self.remove(id);
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.release_text(id);
        if let Some(entry) = self.entries.remove(&id) {
            if entry.is_charged {
                self.charged.remove(entry.source);
            } else {
                self.reading.remove(entry.source);
            }
        }
    }

    /// Records that the kernel has accepted everything generated so far. If this completes the
    /// answer, the connection is idle, its deadline is `timeout` from now on, and the result is
    /// true.
    pub(super) fn flushed(&mut self, id: u64, timeout: Duration, now: Instant) -> bool {
        let entry = self.entries.get_mut(&id);
        let Some(entry) =
            entry.filter(|e| matches!(e.phase, Phase::Answered { is_sent: true, .. }))
        else {
            return false;
        };
        entry.phase = Phase::Idle { since: now };
        entry.deadline = now + timeout;
        self.release_text(id);
        true
    }

    pub(super) fn hold_text(&mut self, id: u64, text: Text) {
        self.release_text(id);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.text = Some(text);
            *self.texts.entry(text).or_default() += 1;
        }
    }

    pub(super) fn release_text(&mut self, id: u64) {
        let text = self.entries.get_mut(&id).and_then(|e| e.text.take());
        if let Some(text) = text
            && let Some(holders) = self.texts.get_mut(&text)
        {
            *holders -= 1;
            if *holders == 0 {
                self.texts.remove(&text);
            }
        }
    }
}
