//! The places that connections are served in, and who gives way when more come.
//!
//! A connection whose request is being answered keeps its place. One that waits for its peer,
//! for a handshake, a head, the next request or until an answer has been read, keeps it until
//! somebody else wants it: who has waited longest goes first. So peers that say nothing, or
//! say it slowly, keep nobody out.

use std::collections::{BTreeSet, HashMap};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout_at};

/// A number of places.
#[derive(Debug)]
pub(super) struct Places {
    number: usize,
    /// How long an answer may take to be read before its connection may be cut for another.
    reading_time: Duration,
    /// How long somebody waits for a place while no request gets its answer.
    patience: Duration,
    table: Mutex<Table>,
    /// A place is free, or its connection began to wait.
    changed: Notify,
}

#[derive(Debug)]
struct Table {
    taken: HashMap<u64, Taken>,
    /// Those of them that wait for their peer and are not promised to anybody, by when they
    /// may be cut.
    waiting: BTreeSet<(Instant, u64)>,
    next_id: u64,
    /// When a request was last answered, or a place given.
    progress: Instant,
}

#[derive(Debug)]
struct Taken {
    /// None while a request is being answered.
    may_be_cut: Option<Instant>,
    /// Who gets the place next.
    heir: Option<oneshot::Sender<Place>>,
    wanted: Arc<Notify>,
}

impl Places {
    pub(super) fn new(number: usize, reading_time: Duration, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            number,
            reading_time,
            patience,
            table: Mutex::new(Table {
                taken: HashMap::new(),
                waiting: BTreeSet::new(),
                next_id: 0,
                progress: Instant::now(),
            }),
            changed: Notify::new(),
        })
    }

    /// A free place, or that of who has waited longest, once it is free. None if requests are
    /// being answered in all of them, and go on to be.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Place> {
        if let Some(place) = self.free() {
            return Some(place);
        }
        // What has come by now is read before it is seen who waits.
        yield_now().await;
        loop {
            if let Some(place) = self.free() {
                return Some(place);
            }
            if let Some(place) = self.claim().await {
                return Some(place);
            }
            let deadline = self.table().progress + self.patience;
            if deadline <= Instant::now() {
                return None;
            }
            // In time or not: what is there now is looked at again.
            let _ = timeout_at(deadline, self.changed.notified()).await;
        }
    }

    fn free(self: &Arc<Self>) -> Option<Place> {
        let mut table = self.table();
        (table.taken.len() < self.number).then(|| self.given(&mut table))
    }

    /// The place of who has waited longest, once it is free. None if nobody waits.
    pub(super) async fn claim(&self) -> Option<Place> {
        let promised = {
            let mut table = self.table();
            let (_, id) = table.waiting.pop_first()?;
            let (heir, promised) = oneshot::channel();
            let taken = table.taken.get_mut(&id)?;
            taken.heir = Some(heir);
            taken.wanted.notify_one();
            promised
        };
        promised.await.ok()
    }

    /// Returns when all places are free.
    pub(super) async fn emptied(&self) {
        while !self.table().taken.is_empty() {
            self.changed.notified().await;
        }
    }

    fn given(self: &Arc<Self>, table: &mut Table) -> Place {
        let now = Instant::now();
        let id = table.next_id;
        table.next_id += 1;
        table.progress = now;
        table.waiting.insert((now, id));
        let wanted = Arc::<Notify>::default();
        let taken = Taken {
            may_be_cut: Some(now),
            heir: None,
            wanted: Arc::clone(&wanted),
        };
        table.taken.insert(id, taken);
        Place {
            places: Arc::clone(self),
            id,
            wanted,
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is taken. It waits for its peer, but for [`answering`](Self::answering).
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    wanted: Arc<Notify>,
}

impl Place {
    /// A request is being answered, for as long as the value lives.
    pub(super) fn answering(&self) -> Answering<'_> {
        self.waits_from(None);
        Answering(self)
    }

    /// Returns when somebody else wants the place: no further request is to be answered in it.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Returns when the peer has had its time, too, to read an answer.
    pub(super) async fn may_be_cut(&self) {
        let at = self.places.table().taken[&self.id].may_be_cut;
        match at {
            Some(at) => sleep_until(at).await,
            None => pending().await,
        }
    }

    fn waits_from(&self, may_be_cut: Option<Instant>) {
        let mut table = self.places.table();
        let table = &mut *table;
        let Some(taken) = table.taken.get_mut(&self.id) else {
            return;
        };
        if let Some(before) = taken.may_be_cut {
            table.waiting.remove(&(before, self.id));
        }
        taken.may_be_cut = may_be_cut;
        if let Some(at) = may_be_cut {
            table.progress = Instant::now();
            if taken.heir.is_none() {
                table.waiting.insert((at, self.id));
                self.places.changed.notify_one();
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let heir = {
            let mut table = self.places.table();
            let taken = table.taken.remove(&self.id);
            if let Some(at) = taken.as_ref().and_then(|taken| taken.may_be_cut) {
                table.waiting.remove(&(at, self.id));
            }
            let heir = taken.and_then(|taken| taken.heir);
            heir.map(|heir| (heir, self.places.given(&mut table)))
        };
        match heir {
            // If it has gone meanwhile, the place comes back, and is free.
            Some((heir, place)) => drop(heir.send(place)),
            None => self.places.changed.notify_one(),
        }
    }
}

/// A request is being answered.
#[derive(Debug)]
pub(super) struct Answering<'a>(&'a Place);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        let place = self.0;
        place.waits_from(Some(Instant::now() + place.places.reading_time));
    }
}
