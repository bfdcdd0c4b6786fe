//! Which connections are served, and which is closed when another one needs what it holds.
//!
//! A connection takes a slot for reading when it is accepted. When its first request has arrived, it
//! is charged to the budget for unread answers instead: a fixed cost, for what the kernel may hold,
//! and the text of its answer, once per text, until all of it is with the kernel. It stays charged.
//! Then the request waits, in order, until fewer than `max_connections` requests are being answered.
//!
//! If all slots for reading are taken, or if the budget is used up, one connection that waits for
//! its client is closed: of the source with the most connections, the one that has waited longest.
//! For a client of a source with fewer connections, that happens at once. Otherwise the connection
//! first has a moment to go on: `grace` to send its request, or `stall` to read a part of its
//! answer, but no more than `reading_time` for all of it. A request that is being answered is never
//! cut. `table` decides this without any socket.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore, SemaphorePermit};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};

pub use self::patience::Patience;
pub(super) use self::source::Source;
pub use self::table::Limits;
use self::table::{Entry, NotBefore, Phase, Table};

mod patience;
mod source;
mod table;
#[cfg(test)]
mod tests;

/// The connections of a server.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    started: Instant,
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
            started: Instant::now(),
            table: Mutex::new(Table::new(limits)),
            changed: Notify::new(),
            answering: Semaphore::new(limits.max_connections),
            next: AsyncMutex::new(()),
        })
    }

    /// Returns a slot for a new connection, whose first deadline is `timeout` from then on.
    pub(super) async fn admit(self: &Arc<Self>, source: Source, timeout: Duration) -> Arc<Slot> {
        let admit =
            |table: &mut Table, served| table.admit(source, timeout, served, Instant::now());
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
        self.retry(|table, _| if table.is_empty() { Ok(()) } else { Err(None) })
            .await;
    }

    /// Calls `attempt` until it succeeds. It is given a time at which no socket was ready that has
    /// not been served since. A client has not been slow if the server was.
    async fn retry<T>(
        &self,
        mut attempt: impl FnMut(&mut Table, Instant) -> Result<T, NotBefore>,
    ) -> T {
        let mut served = self.started;
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let result = attempt(&mut self.table(), served);
            match result {
                Ok(value) => return value,
                Err(None) => changed.await,
                Err(Some(at)) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(at) => {}
                },
            }
            served = Instant::now();
            // The runtime looks for events, and runs the tasks that they wake, before this one.
            yield_now().await;
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
            // Requests that wait to be answered have their share of the budget already. In the other
            // order, some could wait for what others hold.
            let is_charged = connections.table().is_charged(self.id);
            if !is_charged {
                let _next = connections.next.lock().await;
                let charge = |table: &mut Table, served| table.charge(self.id, served);
                connections.retry(charge).await;
            }
            connections.answering.acquire().await.ok()
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
        self.connections.table().leave(self.id);
        self.connections.changed.notify_waiters();
    }
}
