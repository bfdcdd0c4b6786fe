//! Commands to a running daemon, and the order in which it executes them.

use std::fmt;
use std::pin::pin;

use tokio::sync::mpsc;

use crate::config::{self, Resolved};
use crate::daemon::reload::Reloader;

/// Reads a configuration. Runs on a thread of its own, because it can block.
pub type Load = Box<dyn FnOnce() -> Result<Resolved, config::Error> + Send>;

/// A command to a running daemon.
pub enum Command {
    /// Reads a configuration and applies it.
    Reload(Load),
    /// Counts the remaining events and exits. Dropping the last sender of commands means the same.
    Stop,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reload(_) => "Reload",
            Self::Stop => "Stop",
        })
    }
}

/// Executes reloads one after the other. Returns as soon as a command to stop arrives, even during
/// a reload.
pub(super) async fn obey(mut commands: mpsc::UnboundedReceiver<Command>, reloader: &mut Reloader) {
    let (queue, mut queued) = mpsc::unbounded_channel();
    let mut reloads = pin!(async {
        while let Some(load) = queued.recv().await {
            reloader.reload(load).await;
        }
    });
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                // The receiver lives in `reloads`.
                Some(Command::Reload(load)) => drop(queue.send(load)),
                Some(Command::Stop) | None => return,
            },
            () = &mut reloads => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{channel, sync_channel};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::config::Config;

    fn reload(load: impl FnOnce() -> Config + Send + 'static) -> Command {
        Command::Reload(Box::new(move || Ok(load().resolve()?)))
    }

    #[tokio::test]
    async fn reloads_run_one_after_the_other_and_a_stop_does_not_wait_for_them() {
        let (views, _changes) = sync_channel(1);
        let successful = prometheus::Gauge::new("successful", "help").unwrap();
        let status = "Counting".to_owned();
        let mut reloader = Reloader::new(Config::default(), views, successful.clone(), status);
        let (commands, commanded) = mpsc::unbounded_channel();
        let (started, starts) = channel();
        let (release, held) = channel::<()>();
        commands.send(reload(Config::default)).unwrap();
        commands
            .send(reload(move || {
                started.send(()).unwrap();
                let _ = held.recv();
                Config::default()
            }))
            .unwrap();
        let stop = async {
            while starts.try_recv().is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            commands.send(Command::Stop).unwrap();
        };
        let obeyed = async { tokio::join!(obey(commanded, &mut reloader), stop) };
        // A reload that hangs times out after 10 s.
        timeout(Duration::from_secs(5), obeyed).await.unwrap();
        assert_eq!(successful.get(), 1.0, "the first one was applied");
        drop(release);
    }
}
