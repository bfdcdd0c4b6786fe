//! Names of users, by the system's name service (NSS), which may be slow: a directory
//! server may be behind it. So names are kept, looked up on a thread of their own, and
//! nobody waits for them for long.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

use crate::sys::thread;
use crate::sys::throttle::Throttle;

/// How long a name is kept before it is looked up again.
const REFRESH_AFTER: Duration = Duration::from_secs(300);

/// How long a scrape waits for names that it does not have.
const PATIENCE: Duration = Duration::from_secs(1);

/// The name of a user, if the name service has one.
type LookUp = dyn Fn(u32) -> Option<Vec<u8>> + Send + Sync;

/// Whose names a snapshot needs.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The number of the snapshot: a later one has a higher number.
    pub order: u64,
    /// Uids shown beside their names: a name that comes later replaces the one before.
    pub beside_uid: BTreeSet<u32>,
    /// Uids shown by their names alone: a name, once shown, stays.
    pub alone: BTreeSet<u32>,
}

/// The names for one snapshot. They do not change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserNames {
    beside_uid: HashMap<u32, Vec<u8>>,
    alone: HashMap<u32, Vec<u8>>,
}

impl UserNames {
    /// The user's name in bytes, to be shown beside the uid; empty if there is none or it is
    /// not known yet.
    pub fn beside_uid(&self, uid: u32) -> &[u8] {
        self.beside_uid.get(&uid).map_or(&[], Vec::as_slice)
    }

    /// The name to be shown instead of the uid: the one that was known, or empty, when the uid
    /// was first shown so.
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
    /// By uid, what the name service said last.
    names: HashMap<u32, Entry>,
    /// By uid, what stands for it where the uid is not shown. Counts that went on under another
    /// name would be missing under this one: a counter would decrease.
    fixed: HashMap<u32, Vec<u8>>,
    /// The latest snapshot so far.
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
    /// By the system's name service.
    fn default() -> Self {
        let look_up = |uid| uzers::get_user_by_uid(uid).map(|u| u.name().as_bytes().to_vec());
        Self::by(look_up, PATIENCE, REFRESH_AFTER)
    }
}

impl Users {
    /// By a function that may be slow: names are waited for no longer than `patience`, and looked
    /// up again after `refresh_after`.
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

    /// The names that are wanted. What is not known, or not recently, is looked up; what is not
    /// wanted any more is forgotten.
    ///
    /// Returns when that is done or patience is over; a name that is not there by then is empty.
    pub async fn resolve(&self, wanted: &Wanted) -> UserNames {
        let due = self.lock().begin(wanted, self.refresh_after);
        if !due.is_empty() {
            self.look_up(due).await;
        }
        self.lock().names(wanted)
    }

    async fn look_up(&self, due: Vec<u32>) {
        // Another look-up is under way, and perhaps hangs: do not add to it.
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
        // At each scrape, for as long as that lasts.
        if let Some(times) = self.not_found.allow(Instant::now()) {
            warn!(
                why,
                times,
                "looking up user names failed; the `user` label stays empty until they come, and \
                 for good where the view has no `uid` label"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Every change is one insert or remove: what a panicked holder left is whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Forget what is not wanted; the uids to look up.
    fn begin(&mut self, wanted: &Wanted, refresh_after: Duration) -> Vec<u32> {
        let Wanted {
            order,
            beside_uid,
            alone,
        } = wanted;
        // An earlier snapshot that is shown late knows nothing of a later one's users.
        if *order >= self.order {
            self.order = *order;
            self.fixed.retain(|uid, _| alone.contains(uid));
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
        // Nobody found may mean nobody answered: a name that is known stays, or its series
        // would end and another begin.
        if let Some(name) = found {
            entry.name = name;
        }
    }

    /// What is known now. It fixes the names of those that are shown alone.
    fn names(&mut self, wanted: &Wanted) -> UserNames {
        let Self { names, fixed, .. } = self;
        let known = |uid: &u32| names.get(uid).map(|e| e.name.clone()).unwrap_or_default();
        let beside_uid = wanted.beside_uid.iter();
        let alone = wanted.alone.iter();
        UserNames {
            beside_uid: beside_uid.map(|uid| (*uid, known(uid))).collect(),
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
    async fn only_names_that_are_asked_for_are_kept() {
        let users = Users::default();
        users.resolve(&beside_uid(0..50)).await;
        users.resolve(&beside_uid([0])).await;
        let known = users.lock();
        assert_eq!(known.names.keys().copied().collect::<Vec<_>>(), [0]);
    }

    #[tokio::test]
    async fn an_earlier_snapshot_shown_late_does_not_make_a_name_be_forgotten() {
        let users = Users::default();
        users.resolve(&alone(2, [0])).await;
        users.resolve(&alone(1, [])).await;
        assert_eq!(users.lock().fixed.len(), 1);
        users.resolve(&alone(3, [])).await;
        assert_eq!(users.lock().fixed.len(), 0);
    }
}
