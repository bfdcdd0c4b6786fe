//! Compares passwords with the bcrypt hashes of the users.
//!
//! bcrypt is slow by design. One hash is computed at a time, on a separate thread. The result is
//! cached under a keyed hash, never under the password itself, so a client whose password has been
//! compared before does not wait. The other requests wait in a short queue, of which one source
//! address can fill at most half. Requests that do not fit into the queue are answered with 429.
//! Wrong passwords do not evict right ones from the cache.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bcrypt::HashParts;
use lru::LruCache;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;
use tracing::error;

use crate::http::connections::Source;
use crate::sys::thread;
use crate::sys::throttle::Throttle;

/// The capacity of the cache: this many right passwords, and as many wrong ones.
const KEPT: NonZeroUsize = NonZeroUsize::new(100).unwrap();

/// The capacity of the queue, in total and for one source. It includes the request for which a hash
/// is being computed.
const MAX_QUEUE: usize = 8;
const MAX_OF_SOURCE: usize = MAX_QUEUE / 2;

/// A keyed hash over the name of a user, whether that user exists, the bcrypt hash, and a password.
type Digest = [u8; 32];

/// Why a password was not compared.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotCompared {
    /// The queue is full.
    Busy,
    /// No thread could be started, it panicked, or there is no [`Passwords::key`].
    Failed,
}

/// The results of earlier comparisons.
#[derive(Debug)]
struct Answers {
    right: LruCache<Digest, ()>,
    wrong: LruCache<Digest, ()>,
}

#[derive(Debug)]
pub(super) struct Passwords {
    /// The random key of the digests. Without it, no password is compared and all are rejected.
    key: Option<hmac::Key>,
    answers: Arc<Mutex<Answers>>,
    queue: Queue,
    one_at_a_time: Arc<Semaphore>,
    not_compared: Throttle,
}

impl Passwords {
    pub(super) fn new() -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok();
        if key.is_none() {
            error!("no random numbers: rejecting all passwords");
        }
        Self {
            key,
            answers: Arc::new(Mutex::new(Answers {
                right: LruCache::new(KEPT),
                wrong: LruCache::new(KEPT),
            })),
            queue: Queue::default(),
            one_at_a_time: Arc::new(Semaphore::new(1)),
            not_compared: Throttle::default(),
        }
    }

    /// Returns whether this is a user with this password. For an unknown user, the comparison takes
    /// as long as for the known user with the costliest hash.
    pub(super) async fn verify(
        &self,
        users: &BTreeMap<String, String>,
        user: &[u8],
        password: Vec<u8>,
        source: Option<Source>,
    ) -> Result<bool, NotCompared> {
        let hash = std::str::from_utf8(user)
            .ok()
            .and_then(|user| users.get(user));
        let known = hash.is_some();
        let Some(hash) = hash.or_else(|| decoy(users)).cloned() else {
            return Ok(false);
        };
        let digest = self
            .digest(user, known, &hash, &password)
            .ok_or(NotCompared::Failed)?;
        if let Some(answer) = lock(&self.answers).get(&digest) {
            return Ok(answer);
        }
        let _place = self.queue.enter(source).ok_or(NotCompared::Busy)?;
        let permit = Arc::clone(&self.one_at_a_time).acquire_owned().await;
        let permit = permit.map_err(|_| NotCompared::Failed)?; // the semaphore is never closed
        // A request ahead of this one in the queue may have had the same password.
        if let Some(answer) = lock(&self.answers).get(&digest) {
            return Ok(answer);
        }
        // If the client disconnects, the thread continues, and its result is cached.
        let answers = Arc::clone(&self.answers);
        let compared = thread::run("passwords", move || {
            let _permit = permit;
            let answer = bcrypt::verify(password, &hash).unwrap_or(false) && known;
            lock(&answers).put(digest, answer);
            answer
        });
        compared.await.map_err(|error| {
            if let Some(times) = self.not_compared.allow(Instant::now()) {
                error!(%error, times, "a password cannot be compared now");
            }
            NotCompared::Failed
        })
    }

    fn digest(&self, user: &[u8], known: bool, hash: &str, password: &[u8]) -> Option<Digest> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        for part in [user, &[u8::from(known)], hash.as_bytes(), password] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        context.sign().as_ref().try_into().ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sources of the requests in the queue.
#[derive(Debug, Default)]
struct Queue(Mutex<Vec<Option<Source>>>);

/// A place in a queue. Dropping the value frees it.
struct Place<'a> {
    queue: &'a Queue,
    source: Option<Source>,
}

impl Queue {
    fn enter(&self, source: Option<Source>) -> Option<Place<'_>> {
        let mut waiting = lock(&self.0);
        let of_source = waiting.iter().filter(|&&other| other == source).count();
        if waiting.len() >= MAX_QUEUE || of_source >= MAX_OF_SOURCE {
            return None;
        }
        waiting.push(source);
        Some(Place {
            queue: self,
            source,
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.queue.0);
        if let Some(index) = waiting.iter().position(|&other| other == self.source) {
            waiting.swap_remove(index);
        }
    }
}

impl Answers {
    fn get(&mut self, digest: &Digest) -> Option<bool> {
        if self.right.get(digest).is_some() {
            Some(true)
        } else {
            self.wrong.get(digest).map(|()| false)
        }
    }

    fn put(&mut self, digest: Digest, answer: bool) {
        let answers = if answer {
            &mut self.right
        } else {
            &mut self.wrong
        };
        answers.put(digest, ());
    }
}

/// Returns the costliest hash. The password of an unknown user is compared with it.
fn decoy(users: &BTreeMap<String, String>) -> Option<&String> {
    let cost = |hash: &&String| HashParts::from_str(hash).map_or(0, |parts| parts.get_cost());
    users.values().max_by_key(cost)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn users(of: &[(&str, &str, u32)]) -> BTreeMap<String, String> {
        of.iter()
            .map(|(user, password, cost)| {
                ((*user).to_owned(), bcrypt::hash(password, *cost).unwrap())
            })
            .collect()
    }

    async fn lets_in(
        passwords: &Passwords,
        users: &BTreeMap<String, String>,
        user: &[u8],
        password: &str,
    ) -> bool {
        let compared = passwords.verify(users, user, password.into(), None).await;
        compared.expect("it is compared")
    }

    #[tokio::test]
    async fn only_a_users_own_password_lets_in() {
        let users = users(&[("a", "secret", 4), ("b", "other", 5)]);
        let passwords = Passwords::new();
        // The second round is answered from the cache.
        for _ in 0..2 {
            for (user, password, answer) in [
                ("a", "secret", true),
                ("a", "other", false),
                ("b", "other", true),
                ("a", "", false),
                // An unknown user is compared with the hash of `b`, but even b's password does not
                // let that user in.
                ("c", "other", false),
                ("", "", false),
            ] {
                let given = lets_in(&passwords, &users, user.as_bytes(), password).await;
                assert_eq!(given, answer, "{user} {password}");
            }
        }
        assert!(!lets_in(&passwords, &users, b"\xff", "secret").await);
    }

    #[tokio::test]
    async fn a_changed_password_applies_at_once() {
        let passwords = Passwords::new();
        let before = users(&[("a", "old", 4)]);
        assert!(lets_in(&passwords, &before, b"a", "old").await);
        let after = users(&[("a", "new", 4)]);
        assert!(!lets_in(&passwords, &after, b"a", "old").await);
        assert!(lets_in(&passwords, &after, b"a", "new").await);
    }

    #[tokio::test]
    async fn a_new_user_with_the_hash_of_another_is_known_at_once() {
        let passwords = Passwords::new();
        let mut users = users(&[("a", "secret", 4)]);
        assert!(!lets_in(&passwords, &users, b"b", "secret").await);
        users.insert("b".to_owned(), users["a"].clone());
        assert!(lets_in(&passwords, &users, b"b", "secret").await);
    }

    #[tokio::test]
    async fn wrong_passwords_do_not_evict_right_ones_from_the_cache() {
        let users = users(&[("a", "secret", 4)]);
        let passwords = Passwords::new();
        assert!(lets_in(&passwords, &users, b"a", "secret").await);
        for n in 0..3 * KEPT.get() {
            let wrong = format!("wrong {n}");
            assert!(!lets_in(&passwords, &users, b"a", &wrong).await);
        }
        let answers = lock(&passwords.answers);
        assert_eq!((answers.right.len(), answers.wrong.len()), (1, KEPT.get()));
    }

    #[tokio::test]
    async fn without_randomness_nothing_is_compared() {
        let users = users(&[("a", "secret", 4)]);
        let mut passwords = Passwords::new();
        passwords.key = None;
        for user in ["a", "b"] {
            let compared = passwords.verify(&users, user.as_bytes(), b"secret".to_vec(), None);
            assert_eq!(compared.await, Err(NotCompared::Failed), "{user}");
        }
    }

    #[tokio::test]
    async fn a_full_queue_rejects_all_passwords_but_those_in_the_cache() {
        let users = users(&[("a", "secret", 4)]);
        let passwords = Passwords::new();
        assert!(lets_in(&passwords, &users, b"a", "secret").await);
        let source = |n| Some(Source::Address(Ipv4Addr::new(192, 0, 2, n).into()));
        let full: Vec<_> = (0..MAX_QUEUE)
            .map(|n| passwords.queue.enter(source(u8::from(n % 2 == 0))).unwrap())
            .collect();
        let verify = async |password: &str| {
            let password = password.as_bytes().to_vec();
            passwords.verify(&users, b"a", password, source(2)).await
        };
        assert_eq!(verify("wrong").await, Err(NotCompared::Busy));
        assert_eq!(verify("secret").await, Ok(true));
        drop(full);
        assert_eq!(verify("wrong").await, Ok(false));
    }

    #[test]
    fn one_source_does_not_fill_the_queue() {
        let queue = Queue::default();
        let mut places = Vec::new();
        while let Some(place) = queue.enter(Some(Source::Loopback)) {
            places.push(place);
        }
        assert_eq!(places.len(), MAX_OF_SOURCE);
        assert!(queue.enter(Some(Source::Unix)).is_some());
    }

    #[test]
    fn an_unknown_user_costs_as_much_as_the_costliest_known_one() {
        let users = users(&[("a", "x", 4), ("b", "y", 6), ("c", "z", 5)]);
        assert_eq!(decoy(&users), users.get("b"));
        assert_eq!(decoy(&BTreeMap::new()), None);
    }
}
