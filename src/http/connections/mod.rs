//! Which connections are served, and which is closed when another needs its slot.
//!
//! A connection takes a slot for reading when it is accepted. When its first request has arrived,
//! the request waits, in order, until fewer than `max_connections` requests are being answered
//! and the budget has room for one more answer. From then on the connection is charged to the
//! budget: a send buffer for what the kernel may hold, and the text of its answer, once per text,
//! until the text has been handed to the kernel.
//!
//! If all slots for reading are taken, or if the budget is used up, one connection that waits for
//! its client is closed: of the source address with the most connections, the one that has waited
//! longest. It is closed at once for a client at an address with fewer connections. Otherwise it
//! first has a moment to go on: `grace` to send its request, or `stall` to read some of its
//! answer, but no more than `reading_time` for all of it. A request that is being answered is
//! never cut.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout};

pub(super) use self::source::Source;
use self::table::{Entry, NotBefore, Phase, Table};
pub use self::table::{Limits, Patience};

mod source;
mod table;
#[cfg(test)]
mod tests;

/// The connections of a server.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    table: Mutex<Table>,
    /// A connection has begun to wait for its client, holds less, or is gone.
    changed: Notify,
    answering: Semaphore,
    /// Held by the request that is next to be charged.
    next: AsyncMutex<()>,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            table: Mutex::new(Table::new(limits)),
            changed: Notify::new(),
            answering: Semaphore::new(limits.max_connections),
            next: AsyncMutex::new(()),
        })
    }

    /// Returns a slot for a new connection, whose first deadline is `timeout` from then on.
    pub(super) async fn admit(self: &Arc<Self>, source: Source, timeout: Duration) -> Arc<Slot> {
        let admit = |table: &mut Table| table.admit(source, timeout, Instant::now());
        let id = self.retry(admit).await;
        let cut = self.table().entries.get(&id).map(|e| Arc::clone(&e.cut));
        Arc::new(Slot {
            connections: Arc::clone(self),
            id,
            source,
            cut: cut.unwrap_or_default(),
        })
    }

    /// Closes a connection that waits for its client, to free a descriptor. Returns whether there
    /// is one.
    pub(super) fn free_descriptor(&self) -> bool {
        self.table().cut_any(Instant::now())
    }

    /// Returns when there is no connection.
    pub(super) async fn emptied(&self) {
        self.retry(|table| if table.is_empty() { Ok(()) } else { Err(None) })
            .await;
    }

    async fn retry<T>(&self, mut attempt: impl FnMut(&mut Table) -> Result<T, NotBefore>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let result = attempt(&mut self.table());
            match result {
                Ok(value) => return value,
                Err(None) => changed.await,
                Err(Some(at)) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(at) => {}
                },
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The slot of a connection. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Slot {
    connections: Arc<Connections>,
    id: u64,
    source: Source,
    cut: Arc<Notify>,
}

impl Slot {
    pub(super) fn source(&self) -> Source {
        self.source
    }

    /// Returns when the connection has to be closed for another.
    pub(super) async fn cut(&self) {
        self.cut.notified().await;
    }

    /// The time at which the current phase has to be over.
    pub(super) fn deadline(&self) -> Instant {
        let table = self.connections.table();
        let entry = table.entries.get(&self.id);
        entry.map_or_else(Instant::now, |entry| entry.deadline)
    }

    /// The TLS handshake is done.
    pub(super) fn shaken(&self) {
        let deadline = Instant::now() + self.connections.limits.head_timeout;
        self.update(|entry| entry.deadline = deadline);
    }

    /// Returns when the request that has arrived can be answered, or `None` if it has waited too
    /// long.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let connections = &self.connections;
        let deadline = Instant::now() + connections.limits.request_timeout;
        self.update(|entry| {
            entry.phase = Phase::Answering;
            entry.deadline = deadline;
        });
        let turn = async {
            let permit = connections.answering.acquire().await.ok()?;
            let _next = connections.next.lock().await;
            let charge = |table: &mut Table| table.charge(self.id, Instant::now());
            connections.retry(charge).await;
            Some(permit)
        };
        timeout(connections.limits.patience, turn).await.ok()?
    }

    /// The answer is ready. Its client has to read it.
    pub(super) fn answered(&self) {
        let now = Instant::now();
        let deadline = now + self.connections.limits.request_timeout;
        self.update(|entry| {
            entry.deadline = deadline;
            entry.phase = if entry.is_charged {
                Phase::Answered {
                    since: now,
                    progress: now,
                    is_sent: false,
                }
            } else {
                Phase::Reading { since: now }
            };
        });
        self.connections.changed.notify_waiters();
    }

    /// The answer consists of this text.
    pub(super) fn hold(&self, text: &[u8]) {
        let text = (text.as_ptr().addr(), text.len());
        self.connections.table().hold_text(self.id, text);
    }

    /// The client has read a part of the answer.
    pub(super) fn progress(&self) {
        let now = Instant::now();
        self.update(|entry| {
            if let Phase::Answered { progress, .. } = &mut entry.phase {
                *progress = now;
            }
        });
    }

    /// The last part of the answer has been generated.
    pub(super) fn body_sent(&self) {
        self.update(|entry| {
            if let Phase::Answered { is_sent, .. } = &mut entry.phase {
                *is_sent = true;
            }
        });
    }

    /// Everything that has been generated is with the kernel.
    pub(super) fn flushed(&self) {
        let timeout = self.connections.limits.head_timeout;
        let mut table = self.connections.table();
        if table.flushed(self.id, timeout, Instant::now()) {
            drop(table);
            self.connections.changed.notify_waiters();
        }
    }

    /// The client has `time` from now on to close the connection.
    pub(super) fn closing(&self, time: Duration) {
        let deadline = Instant::now() + time;
        self.update(|entry| entry.deadline = entry.deadline.min(deadline));
    }

    fn update(&self, change: impl FnOnce(&mut Entry)) {
        let mut table = self.connections.table();
        if let Some(entry) = table.entries.get_mut(&self.id) {
            change(entry);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.table().remove(self.id);
        self.connections.changed.notify_waiters();
    }
}
