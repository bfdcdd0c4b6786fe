//! Notifications that a daemon sends to systemd (`sd_notify(3)`).

use std::fs::{Permissions, set_permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::paths::public_dir;

/// The notifications of a daemon.
#[derive(Debug)]
pub struct Notified {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Notified {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let dir = public_dir();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        // Every user may write to systemd's socket as well.
        set_permissions(path, Permissions::from_mode(0o777)).unwrap();
        let patience = Some(Duration::from_secs(60));
        socket.set_read_timeout(patience).unwrap();
        Self { socket, dir }
    }

    /// Lets a daemon send its notifications here.
    pub fn by(&self, command: &mut Command) {
        command.env("NOTIFY_SOCKET", self.dir.path().join("notify"));
    }

    /// Waits for the next notification.
    pub fn receive(&self) -> String {
        let mut buffer = [0; 4096];
        let length = loop {
            match self.socket.recv(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.expect("a notification in time"),
            }
        };
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Waits for a notification with this line.
    pub fn await_line(&self, line: &str) -> String {
        loop {
            let message = self.receive();
            if message.lines().any(|l| l == line) {
                return message;
            }
        }
    }

    /// Forgets the notifications that have arrived.
    pub fn discard(&self) {
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut [0; 4096]).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
    }
}
