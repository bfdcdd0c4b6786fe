//! The places that connections are served in, and who gives way when more come.
//!
//! A connection whose request is being answered keeps its place. One that waits for its peer,
//! for a handshake, a head, the next request or until an answer has been read, keeps it until
//! somebody else wants it: who has waited longest goes first. So peers that say nothing, or
//! say it slowly, keep nobody out. Nor do those that never cease to ask: where none waits, one
//! gives way after its answer.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};

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
    /// Those of them that were not asked to give way, in the order in which they will be.
    unasked: BTreeSet<(Turn, u64)>,
    /// How many of those that were asked wait for their peer, and so leave at once or soon.
    leaving: usize,
    /// Who gets the next places: one of each listener at most, and first who came first.
    newcomers: VecDeque<oneshot::Sender<Place>>,
    next_id: u64,
    /// When a request was last answered, or a place given.
    progress: Instant,
}

#[derive(Debug)]
struct Taken {
    turn: Turn,
    is_asked: bool,
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

impl Turn {
    fn waits(self) -> bool {
        matches!(self, Self::Waits(_))
    }
}

impl Table {
    /// Have as many leave as there are newcomers: those who wait, and for who cannot be found
    /// so, one after its answer.
    fn ask(&mut self) {
        self.newcomers.retain(|newcomer| !newcomer.is_closed());
        let asked = self.taken.len() - self.unasked.len();
        let mut after_answer = self.newcomers.len().saturating_sub(asked);
        while self.leaving < self.newcomers.len() {
            match self.unasked.first().copied() {
                Some((turn, id)) if turn.waits() || after_answer > 0 => {
                    after_answer = after_answer.saturating_sub(1);
                    self.leaving += usize::from(turn.waits());
                    self.unasked.remove(&(turn, id));
                    if let Some(taken) = self.taken.get_mut(&id) {
                        taken.is_asked = true;
                        taken.wanted.notify_one();
                    }
                }
                Some(_) | None => return,
            }
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(taken) = self.taken.remove(&id) else {
            return;
        };
        if taken.is_asked {
            self.leaving -= usize::from(taken.turn.waits());
        } else {
            self.unasked.remove(&(taken.turn, id));
        }
    }
}

impl Places {
    pub(super) fn new(number: usize, reading_time: Duration, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            number,
            reading_time,
            patience,
            table: Mutex::new(Table {
                taken: HashMap::new(),
                unasked: BTreeSet::new(),
                leaving: 0,
                newcomers: VecDeque::new(),
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
        if let Some(place) = self.free() {
            return Some(place);
        }
        self.next().await
    }

    /// Free the place of who has waited longest. False if nobody waits.
    pub(super) async fn vacate(self: &Arc<Self>) -> bool {
        let somebody_waits = {
            let table = self.table();
            let first = table.unasked.first();
            table.leaving > 0 || first.is_some_and(|(turn, _)| turn.waits())
        };
        somebody_waits && self.next().await.is_some()
    }

    fn free(self: &Arc<Self>) -> Option<Place> {
        let mut table = self.table();
        (table.taken.len() < self.number).then(|| self.given(&mut table))
    }

    /// The place of who leaves next, after those who came before. None if for a while no
    /// request gets its answer, and nobody waits.
    async fn next(self: &Arc<Self>) -> Option<Place> {
        let (newcomer, mut place) = oneshot::channel();
        self.table().newcomers.push_back(newcomer);
        self.table().ask();
        loop {
            tokio::select! {
                place = &mut place => return place.ok(),
                () = self.stalled() => {}
            }
            let leaving = {
                let mut table = self.table();
                table.ask();
                table.leaving
            };
            if leaving == 0 {
                return None;
            }
            // They are cut once their peers have had the time to read.
            if let Ok(place) = timeout(self.reading_time, &mut place).await {
                return place.ok();
            }
        }
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
            is_asked: false,
            wanted: Arc::clone(&wanted),
        };
        table.unasked.insert((taken.turn, id));
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
        let table = &mut *table;
        let Some(taken) = table.taken.get_mut(&self.id) else {
            return;
        };
        let before = std::mem::replace(&mut taken.turn, turn);
        if taken.is_asked {
            table.leaving += usize::from(turn.waits());
            table.leaving -= usize::from(before.waits());
            if turn.waits() {
                taken.wanted.notify_one();
            }
        } else {
            table.unasked.remove(&(before, self.id));
            table.unasked.insert((turn, self.id));
        }
        if turn.waits() {
            table.progress = Instant::now();
        }
        table.ask();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = {
            let mut table = self.places.table();
            table.remove(self.id);
            table.newcomers.retain(|newcomer| !newcomer.is_closed());
            let newcomer = table.newcomers.pop_front();
            newcomer.map(|newcomer| (newcomer, self.places.given(&mut table)))
        };
        match next {
            // If it has gone meanwhile, the place comes back, and is free.
            Some((newcomer, place)) => drop(newcomer.send(place)),
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

#[cfg(test)]
mod tests {
    use super::*;

    const AN_HOUR: Duration = Duration::from_secs(3600);

    async fn taken(places: &Arc<Places>) -> Place {
        places.take().await.expect("a place")
    }

    /// Somebody who asks for a place, and whom it is not there for yet.
    async fn newcomer(places: &Arc<Places>) -> tokio::task::JoinHandle<Option<Place>> {
        let before = places.table().newcomers.len();
        let all = Arc::clone(places);
        let newcomer = tokio::spawn(async move { all.take().await });
        while places.table().newcomers.len() == before {
            yield_now().await;
        }
        newcomer
    }

    #[tokio::test]
    async fn a_newcomer_gets_whichever_place_comes_free_first() {
        let places = Places::new(2, AN_HOUR, AN_HOUR);
        let (slow, quick) = (taken(&places).await, taken(&places).await);
        let slow_answer = slow.answering();
        let quick_answer = quick.answering();
        let newcomer = newcomer(&places).await;
        slow.wanted().await; // it is the one whose turn it is, should it come to an end
        drop(quick_answer);
        quick.wanted().await;
        drop(quick);
        assert!(newcomer.await.unwrap().is_some());
        drop(slow_answer);
    }

    #[tokio::test]
    async fn who_comes_to_another_listener_gets_the_place_after_who_came_before() {
        let places = Places::new(1, Duration::ZERO, Duration::from_millis(10));
        let silent = taken(&places).await;
        let first = newcomer(&places).await;
        let second = newcomer(&places).await;
        silent.wanted().await;
        drop(silent);
        let first = first.await.unwrap().unwrap();
        // It is silent, too.
        first.wanted().await;
        drop(first);
        let second = second.await.unwrap().unwrap();
        drop(second);
        let table = places.table();
        assert!(table.taken.is_empty() && table.unasked.is_empty() && table.newcomers.is_empty());
        assert_eq!(table.leaving, 0);
    }

    #[tokio::test]
    async fn who_is_refused_leaves_nobody_marked_twice() {
        let places = Places::new(2, AN_HOUR, Duration::ZERO);
        let (one, two) = (taken(&places).await, taken(&places).await);
        let answers = [one.answering(), two.answering()];
        for _ in 0..5 {
            assert!(places.take().await.is_none());
        }
        assert_eq!(
            places.table().unasked.len(),
            1,
            "one of them keeps its place"
        );
        drop(answers);
    }
}
