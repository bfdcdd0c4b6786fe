//! What systemd is told, where it asks (`sd_notify(3)`).

use sd_notify::NotifyState;
use tracing::debug;

/// The service counts and answers.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The service takes up a changed configuration; to be followed by [`ready`].
pub fn reloading() {
    let mut states = vec![
        NotifyState::Reloading,
        NotifyState::Status("Reading the configuration"),
    ];
    // When, which units of `Type=notify-reload` ask for.
    states.extend(NotifyState::monotonic_usec_now());
    notify(&states);
}

/// The service is about to end.
pub fn stopping() {
    notify(&[
        NotifyState::Stopping,
        NotifyState::Status("Stopping: counting what is left"),
    ]);
}

pub(super) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "systemd not notified");
    }
}
