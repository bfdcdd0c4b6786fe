//! Scrapes over a Unix socket. A test chooses the path, and does not read it from the daemon's log.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::http::{Scrape, parsed};

const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the daemon listens, and scrapes it.
#[track_caller]
pub fn scrape(socket: &Path) -> Scrape {
    let deadline = Instant::now() + PATIENCE;
    let bytes = loop {
        match get(socket) {
            Ok(bytes) => break bytes,
            Err(error) => assert!(Instant::now() < deadline, "no answer: {error}"),
        }
        sleep(Duration::from_millis(20));
    };
    let answer = parsed(&bytes);
    assert_eq!(answer.status, 200, "{}", answer.text());
    Scrape::parse(&answer.text())
}

fn get(socket: &Path) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}
