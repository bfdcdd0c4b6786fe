//! A flag that ends the threads of a scope.

use std::sync::atomic::{AtomicBool, Ordering};

/// Sets the flag when dropped, also after a failed assertion. Otherwise the scope would wait for its
/// threads forever, and the test would not fail but hang.
#[derive(Debug)]
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
