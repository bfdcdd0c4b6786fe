//! Runs blocking work on a new thread, outside the runtime.
//!
//! Tokio's `spawn_blocking` panics if the system cannot start a thread. That is likely while
//! something starts as many processes as it can, which is when there is most to count.

use std::io;
use std::thread;

use tokio::sync::oneshot;

/// Returns the result of `work`, which continues if the future is dropped.
///
/// Fails if no thread can be started or if `work` panics.
pub(crate) async fn run<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    let work = move || {
        // Fails only if the future was dropped.
        let _ = done.send(work());
    };
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| io::Error::new(error.kind(), format!("no thread for {name}: {error}")))?;
    result
        .await
        .map_err(|_| io::Error::other(format!("the thread for {name} panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_for_the_caller() {
        assert_eq!(run("sums", || 1 + 1).await.unwrap(), 2);
        let error = run("sums", || panic!("on request")).await.unwrap_err();
        assert_eq!(error.to_string(), "the thread for sums panicked");
    }
}
