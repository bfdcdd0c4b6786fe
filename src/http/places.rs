//! The places that connections are served in, and who gives way when more come.
//!
//! A connection whose request is being answered keeps its place. One that waits for its peer,
//! for a handshake, a head, the next request or until an answer has been read, keeps it until
//! somebody else wants it: who has waited longest goes first. So peers that say nothing, or
//! say it slowly, keep nobody out. Nor do those that never cease to ask: where none waits, one
//! gives way after its answer.

use std::collections::{BTreeSet, HashMap};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

/// A number of places.
#[derive(Debug)]
pub(super) struct Places {
    number: usize,
    /// How long an answer may take to be read before its connection may be cut for another.
    reading_time: Duration,
    /// How long somebody waits for a place while no request gets its answer.
    patience: Duration,
    table: Mutex<Table>,
    /// A place came free.
    freed: Notify,
}

#[derive(Debug)]
struct Table {
    taken: HashMap<u64, Taken>,
    /// Those of them that are promised to nobody, in the order in which they give way.
    unpromised: BTreeSet<(Turn, u64)>,
    next_id: u64,
    /// When a request was last answered, or a place given.
    progress: Instant,
}

#[derive(Debug)]
struct Taken {
    turn: Turn,
    /// Who gets the place next.
    heir: Option<oneshot::Sender<Place>>,
    wanted: Arc<Notify>,
}

/// When a connection gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// It waits for its peer, and may be cut from then on.
    Waits(Instant),
    /// A request is being answered that came then.
    Answers(Instant),
}

impl Places {
    pub(super) fn new(number: usize, reading_time: Duration, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            number,
            reading_time,
            patience,
            table: Mutex::new(Table {
                taken: HashMap::new(),
                unpromised: BTreeSet::new(),
                next_id: 0,
                progress: Instant::now(),
            }),
            freed: Notify::new(),
        })
    }

    /// A free place, or that of who has waited longest. None if requests are being answered in
    /// all of them, and for a while none gets its answer.
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
            match self.promise() {
                Some((Turn::Waits(_), promised)) => {
                    if let Ok(place) = promised.await {
                        return Some(place);
                    }
                }
                Some((Turn::Answers(_), promised)) => tokio::select! {
                    Ok(place) = promised => return Some(place),
                    () = self.stalled() => return None,
                },
                // Others are before us.
                None => tokio::select! {
                    () = self.freed.notified() => {}
                    () = self.stalled() => return None,
                },
            }
        }
    }

    /// Free the place of who has waited longest. False if nobody waits.
    pub(super) async fn vacate(&self) -> bool {
        match self.promise() {
            Some((Turn::Waits(_), promised)) => promised.await.is_ok(),
            // Soon.
            Some((Turn::Answers(_), _)) | None => false,
        }
    }

    fn free(self: &Arc<Self>) -> Option<Place> {
        let mut table = self.table();
        (table.taken.len() < self.number).then(|| self.given(&mut table))
    }

    /// The place of whose turn it is, to be had once it is free.
    fn promise(&self) -> Option<(Turn, oneshot::Receiver<Place>)> {
        let mut table = self.table();
        let (turn, id) = table.unpromised.pop_first()?;
        let taken = table.taken.get_mut(&id)?;
        let (heir, promised) = oneshot::channel();
        taken.heir = Some(heir);
        taken.wanted.notify_one();
        Some((turn, promised))
    }

    /// Returns when for a while no request got its answer.
    async fn stalled(&self) {
        loop {
            let end = self.table().progress + self.patience;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }

    /// Returns when all places are free.
    pub(super) async fn emptied(&self) {
        while !self.table().taken.is_empty() {
            self.freed.notified().await;
        }
    }

    fn given(self: &Arc<Self>, table: &mut Table) -> Place {
        let now = Instant::now();
        let id = table.next_id;
        table.next_id += 1;
        table.progress = now;
        let wanted = Arc::<Notify>::default();
        let taken = Taken {
            turn: Turn::Waits(now),
            heir: None,
            wanted: Arc::clone(&wanted),
        };
        table.unpromised.insert((taken.turn, id));
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

/// A place that is taken. Its connection waits for its peer, but for while it is
/// [`answering`](Self::answering).
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    wanted: Arc<Notify>,
}

impl Place {
    /// A request is being answered, for as long as the value lives.
    pub(super) fn answering(&self) -> Answering<'_> {
        self.turns(Turn::Answers(Instant::now()));
        Answering(self)
    }

    /// Returns when somebody else wants the place: no further request is to be answered in it.
    /// And again, when a request has got its answer since.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Returns when the peer has had its time, too, to read an answer.
    pub(super) async fn may_be_cut(&self) {
        let turn = self.places.table().taken.get(&self.id).map(|t| t.turn);
        match turn {
            Some(Turn::Waits(until)) => sleep_until(until).await,
            Some(Turn::Answers(_)) | None => pending().await,
        }
    }

    fn turns(&self, turn: Turn) {
        let mut table = self.places.table();
        let Table {
            taken,
            unpromised,
            progress,
            ..
        } = &mut *table;
        let Some(taken) = taken.get_mut(&self.id) else {
            return;
        };
        if unpromised.remove(&(taken.turn, self.id)) {
            unpromised.insert((turn, self.id));
        }
        taken.turn = turn;
        if matches!(turn, Turn::Waits(_)) {
            *progress = Instant::now();
            if taken.heir.is_some() {
                taken.wanted.notify_one();
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let heir = {
            let mut table = self.places.table();
            let taken = table.taken.remove(&self.id);
            if let Some(taken) = &taken {
                table.unpromised.remove(&(taken.turn, self.id));
            }
            let heir = taken.and_then(|taken| taken.heir);
            heir.map(|heir| (heir, self.places.given(&mut table)))
        };
        match heir {
            // If it has gone meanwhile, the place comes back, and is free.
            Some((heir, place)) => drop(heir.send(place)),
            None => self.places.freed.notify_one(),
        }
    }
}

/// A request is being answered.
#[derive(Debug)]
pub(super) struct Answering<'a>(&'a Place);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        let read_until = Instant::now() + self.0.places.reading_time;
        self.0.turns(Turn::Waits(read_until));
    }
}
