//! Decides which tests of one test program may run at the same time.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static HOST: RwLock<()> = RwLock::new(());

/// Waits for exclusive use of the host, and keeps it until the guard is dropped. A test needs this if
/// the execs of other tests would change its counts, or if other tests would slow it down too much.
pub fn exclusive() -> RwLockWriteGuard<'static, ()> {
    HOST.write().unwrap_or_else(PoisonError::into_inner)
}

/// Shares the host with other tests, except for those that need it [exclusively](exclusive). A test
/// needs this if it keeps the CPUs busy.
pub fn shared() -> RwLockReadGuard<'static, ()> {
    HOST.read().unwrap_or_else(PoisonError::into_inner)
}
