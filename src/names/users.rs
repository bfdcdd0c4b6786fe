//! Names of users from the system's name service (NSS), which may be slow, for example if it asks
//! a directory server.
//!
//! Names are cached and looked up on a separate thread. A scrape waits for a look-up for at most
//! `PATIENCE`, and not at all while an earlier look-up has not finished.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

use crate::sys::clock::Timestamp;
use crate::sys::thread;
use crate::sys::throttle::Throttle;

/// The age at which a name is looked up again.
const REFRESH_AFTER: Duration = Duration::from_secs(300);

/// How long a scrape waits for names that are not in the cache. Look-ups in files or in a local cache
/// take far less. Usual scrape timeouts are far longer.
const PATIENCE: Duration = Duration::from_millis(100);

/// Returns the name of a user if the name service has one.
type LookUp = dyn Fn(u32) -> Option<Vec<u8>> + Send + Sync;

/// The users whose names a snapshot needs.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Increases with each snapshot.
    pub order: u64,
    /// Uids shown together with their names. A later name replaces an earlier one, so that the series
    /// of the new name continues the counts of the old one.
    pub beside_uid: BTreeSet<u32>,
    /// Uids shown only by their names. A name does not change once it has been shown.
    pub alone: BTreeSet<u32>,
}

/// The names for one snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserNames {
    beside_uid: HashMap<u32, Shown>,
    alone: HashMap<u32, Vec<u8>>,
}

/// A name shown together with the uid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Shown {
    name: Vec<u8>,
    /// When the name was first shown in place of another one.
    since: Option<Timestamp>,
}

impl UserNames {
    /// Returns the name shown together with the uid. It is empty if the user has no name or it is
    /// not known yet.
    pub fn beside_uid(&self, uid: u32) -> &[u8] {
        self.beside_uid.get(&uid).map_or(&[], |shown| &shown.name)
    }

    /// Returns when the name shown together with the uid last changed, if it has.
    pub fn changed(&self, uid: u32) -> Option<Timestamp> {
        self.beside_uid.get(&uid)?.since
    }

    /// Returns the name shown instead of the uid: the name that was known when the uid was first
    /// shown in this way. It is empty if none was known.
    pub fn alone(&self, uid: u32) -> &[u8] {
        self.alone.get(&uid).map_or(&[], Vec::as_slice)
    }
}

/// Resolves the names of users.
#[derive(Clone)]
pub struct Users {
    look_up: Arc<LookUp>,
    patience: Duration,
    refresh_after: Duration,
    known: Arc<Mutex<Known>>,
    one_at_a_time: Arc<Semaphore>,
    not_found: Arc<Throttle>,
}

#[derive(Debug, Default)]
struct Known {
    /// The last answers of the name service, by uid.
    names: HashMap<u32, Entry>,
    /// The names shown instead of uids. They do not change, because the counts would move to the
    /// series of the new name, and the counter of the old name could decrease.
    fixed: HashMap<u32, Vec<u8>>,
    /// The names last shown together with uids.
    shown: HashMap<u32, Shown>,
    /// The highest [`Wanted::order`] so far.
    order: u64,
}

#[derive(Debug)]
struct Entry {
    /// Empty for a uid that has no name.
    name: Vec<u8>,
    looked_up: Instant,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users")
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

impl Default for Users {
    /// Uses the system's name service.
    fn default() -> Self {
        let look_up = |uid| uzers::get_user_by_uid(uid).map(|u| u.name().as_bytes().to_vec());
        Self::by(look_up, PATIENCE, REFRESH_AFTER)
    }
}

impl Users {
    /// Uses a function that may be slow. A caller waits for at most `patience`. Names are looked up
    /// again after `refresh_after`.
    pub fn by(
        look_up: impl Fn(u32) -> Option<Vec<u8>> + Send + Sync + 'static,
        patience: Duration,
        refresh_after: Duration,
    ) -> Self {
        Self {
            look_up: Arc::new(look_up),
            patience,
            refresh_after,
            known: Arc::default(),
            one_at_a_time: Arc::new(Semaphore::new(1)),
            not_found: Arc::default(),
        }
    }

    /// Returns the names for a snapshot. Looks up those that are unknown or old, and forgets those
    /// that are not wanted any more.
    ///
    /// If a look-up takes longer than the caller's patience, it goes on, and the name is empty or
    /// the old one until it is done.
    pub async fn resolve(&self, wanted: &Wanted) -> UserNames {
        let due = self.lock().begin(wanted, self.refresh_after);
        if !due.is_empty() {
            self.look_up(due).await;
        }
        self.lock().names(wanted)
    }

    async fn look_up(&self, due: Vec<u32>) {
        // An earlier look-up has not finished and may hang.
        let Ok(permit) = Arc::clone(&self.one_at_a_time).try_acquire_owned() else {
            return;
        };
        let users = self.clone();
        let look_up = thread::run("names", move || {
            let _permit = permit;
            for uid in due {
                let found = (users.look_up)(uid);
                users.lock().learn(uid, found);
            }
        });
        let why = match timeout(self.patience, look_up).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it takes more than {} s", self.patience.as_secs_f64()),
        };
        // This can happen at each scrape.
        if let Some(times) = self.not_found.allow(Instant::now()) {
            warn!(
                why,
                times,
                "looking up user names failed; the labels `user` and `login_user` stay empty until a \
                 look-up succeeds, and permanently in views without the user's ID"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Each change is one insert or remove, so a panic leaves no change half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Forgets names that are not wanted and returns the uids to look up.
    fn begin(&mut self, wanted: &Wanted, refresh_after: Duration) -> Vec<u32> {
        let Wanted {
            order,
            beside_uid,
            alone,
        } = wanted;
        // An earlier snapshot may be shown after a later one. It lacks users of the later one, whose
        // names are still needed.
        if *order >= self.order {
            self.order = *order;
            self.fixed.retain(|uid, _| alone.contains(uid));
            self.shown.retain(|uid, _| beside_uid.contains(uid));
            self.names
                .retain(|uid, _| beside_uid.contains(uid) || alone.contains(uid));
        }
        let unfixed = alone.iter().filter(|uid| !self.fixed.contains_key(uid));
        let needed: BTreeSet<u32> = beside_uid.iter().chain(unfixed).copied().collect();
        let is_due = |uid: &u32| {
            self.names
                .get(uid)
                .is_none_or(|entry| entry.looked_up.elapsed() > refresh_after)
        };
        needed.into_iter().filter(is_due).collect()
    }

    fn learn(&mut self, uid: u32, found: Option<Vec<u8>>) {
        let entry = self.names.entry(uid).or_insert_with(|| Entry {
            name: Vec::new(),
            looked_up: Instant::now(),
        });
        entry.looked_up = Instant::now();
        // If no name was found, the name service may not have answered. A known name is kept, so
        // that its series continues.
        if let Some(name) = found {
            entry.name = name;
        }
    }

    /// Returns the names as they are known now. Those shown alone do not change from now on.
    fn names(&mut self, wanted: &Wanted) -> UserNames {
        let Self {
            names,
            fixed,
            shown,
            ..
        } = self;
        let known = |uid: &u32| names.get(uid).map(|e| e.name.clone()).unwrap_or_default();
        let now = Timestamp::now();
        let beside_uid = wanted.beside_uid.iter().map(|uid| {
            let name = known(uid);
            let shown = shown.entry(*uid).or_insert_with(|| Shown {
                name: name.clone(),
                since: None,
            });
            if shown.name != name {
                *shown = Shown {
                    name,
                    since: Some(now),
                };
            }
            (*uid, shown.clone())
        });
        let alone = wanted.alone.iter();
        UserNames {
            beside_uid: beside_uid.collect(),
            alone: alone
                .map(|uid| {
                    let name = fixed.entry(*uid).or_insert_with(|| known(uid));
                    (*uid, name.clone())
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside_uid(uids: impl IntoIterator<Item = u32>) -> Wanted {
        Wanted {
            beside_uid: uids.into_iter().collect(),
            ..Wanted::default()
        }
    }

    fn alone(order: u64, uids: impl IntoIterator<Item = u32>) -> Wanted {
        Wanted {
            order,
            alone: uids.into_iter().collect(),
            ..Wanted::default()
        }
    }

    #[tokio::test]
    async fn root_has_its_name_and_a_uid_without_an_account_has_none() {
        let names = Users::default()
            .resolve(&beside_uid([0, 3_999_999_999]))
            .await;
        assert_eq!(names.beside_uid(0), b"root");
        assert_eq!(names.beside_uid(3_999_999_999), b"");
    }

    #[tokio::test]
    async fn a_name_shown_alone_is_not_looked_up_again() {
        let users = Users::default();
        users.resolve(&alone(1, [0])).await;
        let long_ago = Instant::now().checked_sub(2 * REFRESH_AFTER).unwrap();
        users.lock().names.get_mut(&0).unwrap().looked_up = long_ago;
        let due = |wanted| users.lock().begin(&wanted, REFRESH_AFTER);
        assert_eq!(due(alone(2, [0])), [0; 0]);
        let both = Wanted {
            beside_uid: BTreeSet::from([0]),
            ..alone(3, [0])
        };
        assert_eq!(due(both), [0]);
    }

    #[tokio::test]
    async fn a_name_service_that_hangs_delays_one_answer_for_a_moment_and_no_other() {
        let (resume, hung) = std::sync::mpsc::channel::<()>();
        let hung = Mutex::new(hung);
        let look_up = move |_| {
            let _ = hung.lock().unwrap().recv();
            Some(b"late".to_vec())
        };
        let an_hour = Duration::from_secs(3600);
        let users = Users::by(look_up, Duration::from_millis(1), an_hour);
        assert_eq!(users.resolve(&beside_uid([1])).await.beside_uid(1), b"");
        // The second look-up is not even begun, so a longer patience makes no difference.
        let patient = Users {
            patience: an_hour,
            ..users.clone()
        };
        assert_eq!(patient.resolve(&beside_uid([1])).await.beside_uid(1), b"");
        drop(resume);
        while users.resolve(&beside_uid([1])).await.beside_uid(1) != b"late" {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn only_names_that_are_asked_for_are_kept() {
        let users = Users::default();
        users.resolve(&beside_uid(0..50)).await;
        users.resolve(&beside_uid([0])).await;
        let known = users.lock();
        assert_eq!(known.names.keys().copied().collect::<Vec<_>>(), [0]);
    }

    #[tokio::test]
    async fn no_name_is_forgotten_when_an_earlier_snapshot_is_shown_late() {
        let users = Users::default();
        users.resolve(&alone(2, [0])).await;
        users.resolve(&alone(1, [])).await;
        assert_eq!(users.lock().fixed.len(), 1);
        users.resolve(&alone(3, [])).await;
        assert_eq!(users.lock().fixed.len(), 0);
    }
}
