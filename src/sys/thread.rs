//! What may block, beside the runtime: on a thread of its own, which may not be to be had.
//!
//! Not by tokio's `spawn_blocking`, which panics where the system gives it no thread; and
//! that is when there is most to count: while something starts all the processes it can.

use std::io;
use std::thread;

use tokio::sync::oneshot;

/// What `work` returns. It goes on when this is dropped.
pub(crate) async fn run<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    let work = move || {
        // Nobody waits any more: then nobody need know.
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
    async fn what_panics_is_an_error_for_who_waits() {
        assert_eq!(run("sums", || 1 + 1).await.unwrap(), 2);
        let error = run("sums", || panic!("on request")).await.unwrap_err();
        assert_eq!(error.to_string(), "the thread for sums panicked");
    }
}
