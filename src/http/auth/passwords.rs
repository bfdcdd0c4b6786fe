//! Whether a password is a user's.
//!
//! bcrypt is made to be slow, so one is computed at a time, on a thread of its own, and its
//! result is kept. What is kept is a keyed hash, never a password, and a flood of wrong
//! passwords does not push out the right ones.

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

use crate::sys::thread;
use crate::sys::throttle::Throttle;

/// How many right and how many wrong answers are kept.
const KEPT: NonZeroUsize = NonZeroUsize::new(100).unwrap();

/// A user, whether it is known, the hash of the password, and a password, in 32 bytes.
type Digest = [u8; 32];

/// There is no answer: no thread to find it on, one that panicked, or no [`Passwords::key`] to keep
/// it by.
#[derive(Debug)]
pub(super) struct NotCompared;

/// Answers that were given already.
#[derive(Debug)]
struct Answers {
    right: LruCache<Digest, ()>,
    wrong: LruCache<Digest, ()>,
}

/// Compares passwords.
#[derive(Debug)]
pub(super) struct Passwords {
    /// Drawn at the start; without randomness, nobody gets in.
    key: Option<hmac::Key>,
    answers: Arc<Mutex<Answers>>,
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
            one_at_a_time: Arc::new(Semaphore::new(1)),
            not_compared: Throttle::default(),
        }
    }

    /// Whether this is a user and this the password. An unknown user takes as long as the
    /// known one whose password takes longest.
    pub(super) async fn verify(
        &self,
        users: &BTreeMap<String, String>,
        user: &[u8],
        password: Vec<u8>,
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
            .ok_or(NotCompared)?;
        if let Some(answer) = lock(&self.answers).get(&digest) {
            return Ok(answer);
        }
        let permit = Arc::clone(&self.one_at_a_time).acquire_owned().await;
        let permit = permit.map_err(|_| NotCompared)?; // it is never closed
        // Another request may have asked the same while this one waited.
        if let Some(answer) = lock(&self.answers).get(&digest) {
            return Ok(answer);
        }
        // Goes on if the client leaves: the answer is there when it comes again.
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
            NotCompared
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

fn lock(answers: &Mutex<Answers>) -> MutexGuard<'_, Answers> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
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

/// What the password of an unknown user is compared with: the costliest hash there is.
fn decoy(users: &BTreeMap<String, String>) -> Option<&String> {
    let cost = |hash: &&String| HashParts::from_str(hash).map_or(0, |parts| parts.get_cost());
    users.values().max_by_key(cost)
}

#[cfg(test)]
mod tests {
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
        let compared = passwords.verify(users, user, password.into()).await;
        compared.expect("a thread is to be had")
    }

    #[tokio::test]
    async fn only_a_users_own_password_lets_in() {
        let users = users(&[("a", "secret", 4), ("b", "other", 5)]);
        let passwords = Passwords::new();
        // The second time from what is kept.
        for _ in 0..2 {
            for (user, password, answer) in [
                ("a", "secret", true),
                ("a", "other", false),
                ("b", "other", true),
                ("a", "", false),
                // The decoy's own password does not let an unknown user in.
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
    async fn a_changed_password_counts_at_once() {
        let passwords = Passwords::new();
        let before = users(&[("a", "old", 4)]);
        assert!(lets_in(&passwords, &before, b"a", "old").await);
        let after = users(&[("a", "new", 4)]);
        assert!(!lets_in(&passwords, &after, b"a", "old").await);
        assert!(lets_in(&passwords, &after, b"a", "new").await);
    }

    #[tokio::test]
    async fn a_new_user_is_known_at_once_even_by_the_hash_of_another() {
        let passwords = Passwords::new();
        let mut users = users(&[("a", "secret", 4)]);
        assert!(!lets_in(&passwords, &users, b"b", "secret").await);
        users.insert("b".to_owned(), users["a"].clone());
        assert!(lets_in(&passwords, &users, b"b", "secret").await);
    }

    #[tokio::test]
    async fn wrong_passwords_do_not_push_out_right_ones() {
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
            let compared = passwords.verify(&users, user.as_bytes(), b"secret".to_vec());
            assert!(matches!(compared.await, Err(NotCompared)), "{user}");
        }
    }

    #[test]
    fn an_unknown_user_costs_as_much_as_the_costliest_known_one() {
        let users = users(&[("a", "x", 4), ("b", "y", 6), ("c", "z", 5)]);
        assert_eq!(decoy(&users), users.get("b"));
        assert_eq!(decoy(&BTreeMap::new()), None);
    }
}
