//! Notifies systemd of the daemon's state, if systemd asks for it (`sd_notify(3)`).

use sd_notify::NotifyState;
use tracing::debug;

/// Reports that the daemon counts and serves.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Reports that a reload has begun. A call of [`ready`] must follow.
pub fn reloading() {
    let mut states = vec![
        NotifyState::Reloading,
        NotifyState::Status("Reading the configuration"),
    ];
    // Units with `Type=notify-reload` require the time.
    states.extend(NotifyState::monotonic_usec_now());
    notify(&states);
}

/// Reports that the daemon is about to stop.
pub fn stopping() {
    notify(&[
        NotifyState::Stopping,
        NotifyState::Status("Stopping: counting what is left"),
    ]);
}

pub(super) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "cannot notify systemd");
    }
}
