//! Names of users, by the system's name service (NSS), which may be slow: a directory
//! server may be behind it. So names are kept, looked up on a thread of their own, and
//! nobody waits for them for long.

use std::collections::{BTreeSet, HashMap};
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

/// The names of the users that were asked for.
#[derive(Debug, Clone)]
pub struct Users {
    names: Arc<Mutex<HashMap<u32, Entry>>>,
    one_at_a_time: Arc<Semaphore>,
    not_found: Arc<Throttle>,
}

#[derive(Debug, Clone)]
struct Entry {
    /// Empty for a uid that has no name.
    name: Vec<u8>,
    looked_up: Instant,
    /// It stays what it is.
    is_kept: bool,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            names: Arc::default(),
            one_at_a_time: Arc::new(Semaphore::new(1)),
            not_found: Arc::default(),
        }
    }
}

impl Users {
    /// Look up what is not known, or not recently, of these uids, and forget all others.
    ///
    /// Returns when it is done or after a second; a name that is not there by then is
    /// [`name`](Self::name)d once it is.
    pub async fn resolve(&self, uids: BTreeSet<u32>) {
        let due = self.forget_others_and_find_due(&uids);
        if due.is_empty() {
            return;
        }
        // Another look-up is under way, and perhaps hangs: do not add to it.
        let Ok(permit) = Arc::clone(&self.one_at_a_time).try_acquire_owned() else {
            return;
        };
        let users = self.clone();
        let look_up = thread::run("names", move || {
            let _permit = permit;
            for uid in due {
                let found = uzers::get_user_by_uid(uid);
                let mut names = users.lock();
                let entry = names.entry(uid).or_insert_with(|| Entry {
                    name: Vec::new(),
                    looked_up: Instant::now(),
                    is_kept: false,
                });
                entry.looked_up = Instant::now();
                // Nobody found may mean nobody answered: a name that is known stays, or
                // its series would end and another begin.
                if let Some(user) = found {
                    entry.name = user.name().as_bytes().to_vec();
                }
            }
        });
        let why = match timeout(PATIENCE, look_up).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it takes more than {} s", PATIENCE.as_secs()),
        };
        // At each scrape, for as long as that lasts.
        if let Some(times) = self.not_found.allow(Instant::now()) {
            warn!(
                why,
                times, "looking up user names failed; the `user` label stays empty until they come"
            );
        }
    }

    /// The user's name in bytes; empty if there is none or it is not known yet.
    pub fn name(&self, uid: u32) -> Vec<u8> {
        self.lock()
            .get(&uid)
            .map(|entry| entry.name.clone())
            .unwrap_or_default()
    }

    /// From now on, the name of a uid that has been looked up stays what it is.
    pub fn keep(&self, uid: u32) {
        if let Some(entry) = self.lock().get_mut(&uid) {
            entry.is_kept = true;
        }
    }

    fn forget_others_and_find_due(&self, uids: &BTreeSet<u32>) -> Vec<u32> {
        let mut names = self.lock();
        names.retain(|uid, _| uids.contains(uid));
        uids.iter()
            .copied()
            .filter(|uid| {
                names
                    .get(uid)
                    .is_none_or(|entry| !entry.is_kept && entry.looked_up.elapsed() > REFRESH_AFTER)
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Entry>> {
        // Every change is one insert or remove: what a panicked holder left is whole.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn root_has_its_name_and_a_uid_without_an_account_has_none() {
        let users = Users::default();
        users.resolve(BTreeSet::from([0, 3_999_999_999])).await;
        assert_eq!(users.name(0), b"root");
        assert_eq!(users.name(3_999_999_999), b"");
    }

    #[tokio::test]
    async fn a_name_that_is_kept_is_not_looked_up_again() {
        let users = Users::default();
        users.resolve(BTreeSet::from([0])).await;
        users.keep(0);
        let long_ago = Instant::now().checked_sub(2 * REFRESH_AFTER).unwrap();
        users.lock().get_mut(&0).unwrap().looked_up = long_ago;
        let due = users.forget_others_and_find_due(&BTreeSet::from([0]));
        assert!(due.is_empty());
    }

    #[tokio::test]
    async fn only_names_that_are_asked_for_are_kept() {
        let users = Users::default();
        users.resolve((0..50).collect()).await;
        users.resolve(BTreeSet::from([0])).await;
        assert_eq!(users.lock().keys().copied().collect::<Vec<_>>(), [0]);
    }
}
