//! Notifies systemd of the daemon's state (`sd_notify(3)`). Does nothing without `NOTIFY_SOCKET`.

use sd_notify::NotifyState;
use tracing::debug;

/// Reports that the daemon is counting and answers requests.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Reports that a reload has begun. [`ready`] must follow.
pub fn reloading() {
    let mut states = vec![
        NotifyState::Reloading,
        NotifyState::Status("Reading the configuration"),
    ];
    // In units with `Type=notify-reload`, systemd requires this timestamp.
    states.extend(NotifyState::monotonic_usec_now());
    notify(&states);
}

/// Reports that the daemon is about to exit.
pub fn stopping() {
    notify(&[
        NotifyState::Stopping,
        NotifyState::Status("Stopping: counting the remaining events"),
    ]);
}

pub(super) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "systemd not notified");
    }
}
