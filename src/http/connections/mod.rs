//! Decides which connections are served, and which one is closed to make room for another.
//!
//! A connection takes a slot for reading when it is accepted. When its first request has arrived,
//! it leaves this slot and is charged to the budget for unread answers until it is closed. The
//! charge is a fixed cost for what the kernel may hold, plus the text of its answer until the
//! kernel has accepted all of it. A text that several connections send is charged once. Then the
//! request waits, first come, first served, until fewer than `max_connections` requests are being
//! answered.
//!
//! If all slots for reading are taken, or if the budget is used up, the server closes one
//! connection that is waiting for its client: of the source with the most connections, the one that
//! has waited longest. If the new client is from a source with fewer connections, this happens at
//! once. Otherwise, the connection is first given time to make progress: `grace` to send its
//! request, or `stall` to read a part of its answer, but no more than `reading_time` for all of it.
//! A connection whose request is being answered is never closed for another one. `table` decides
//! all this, and is independent of sockets.

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
    /// Notified when a connection has begun to wait for its client, holds less, or is gone.
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

    /// Waits for a slot for a new connection. Its first deadline is `timeout` after it got the
    /// slot.
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

    /// Closes a connection that is waiting for its client, to free a descriptor. Returns whether
    /// there was one.
    pub(super) fn free_descriptor(&self) -> bool {
        self.table().cut_any(Instant::now())
    }

    /// Returns when no connection is left.
    pub(super) async fn emptied(&self) {
        self.retry(|table, _| if table.is_empty() { Ok(()) } else { Err(None) })
            .await;
    }

    /// Calls `attempt` until it succeeds. Its second argument is a time: all sockets that were
    /// ready then have been served since. What a client did not do after this time is not held
    /// against it, because the server may have been slow.
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
            // Lets the runtime poll the sockets, and run the tasks that this wakes, before this
            // task continues.
            yield_now().await;
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The slot of a connection. Dropping the value frees the slot.
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

    /// Returns when the connection must be closed to make room for another one.
    pub(super) async fn cut(&self) {
        self.cut.notified().await;
    }

    /// Returns the time at which the current phase must be over.
    pub(super) fn deadline(&self) -> Instant {
        let table = self.connections.table();
        let entry = table.entries.get(&self.id);
        entry.map_or_else(Instant::now, |entry| entry.deadline)
    }

    /// Records that the TLS handshake is done.
    pub(super) fn shaken(&self) {
        let deadline = Instant::now() + self.connections.limits.head_timeout;
        self.update(|entry| entry.deadline = deadline);
    }

    /// Waits until the request that has arrived can be answered. Returns `None` if this takes too
    /// long.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let connections = &self.connections;
        let deadline = Instant::now() + connections.limits.request_timeout;
        self.update(|entry| {
            entry.phase = Phase::Answering;
            entry.deadline = deadline;
        });
        let turn = async {
            // A request is charged first, and then waits for a permit of `answering`. In the
            // opposite order, requests with a permit could wait for budget that is held by requests
            // without one.
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

    /// Records that the answer is ready, and that the client has to read it from now on.
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

    /// Records the text of the answer.
    pub(super) fn hold(&self, text: &[u8]) {
        let text = (text.as_ptr().addr(), text.len());
        self.connections.table().hold_text(self.id, text);
    }

    /// Records that the kernel has accepted a part of the answer.
    pub(super) fn progress(&self) {
        let now = Instant::now();
        self.update(|entry| {
            if let Phase::Answered { progress, .. } = &mut entry.phase {
                *progress = now;
            }
        });
    }

    /// Records that the last part of the answer has been generated.
    pub(super) fn body_sent(&self) {
        self.update(|entry| {
            if let Phase::Answered { is_sent, .. } = &mut entry.phase {
                *is_sent = true;
            }
        });
    }

    /// Records that the kernel has accepted everything that has been generated so far.
    pub(super) fn flushed(&self) {
        let timeout = self.connections.limits.head_timeout;
        let mut table = self.connections.table();
        if table.flushed(self.id, timeout, Instant::now()) {
            drop(table);
            self.connections.changed.notify_waiters();
        }
    }

    /// Gives the client `time` from now on to close the connection.
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
