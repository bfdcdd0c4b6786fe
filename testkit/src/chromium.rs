//! Headless Chromium.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use crate::dom::{Element, elements};

/// A page as Chromium shows it.
#[derive(Debug)]
pub struct Shown {
    pub elements: Vec<Element>,
    /// The messages on the console, such as violations of the content security policy.
    pub console: Vec<String>,
}

/// Opens a page.
pub fn open(address: SocketAddr, path: &str) -> Shown {
    let output = run(address, path, &["--enable-logging=stderr", "--dump-dom"]);
    let log = String::from_utf8_lossy(&output.stderr);
    let console = log.lines().filter(|line| line.contains(":CONSOLE:"));
    Shown {
        elements: elements(&String::from_utf8(output.stdout).expect("the DOM is UTF-8")),
        console: console.map(str::to_owned).collect(),
    }
}

/// Saves screenshots of a page for people to look at, in the directory that `EXECSNOOPD_PICTURES`
/// names. Does nothing if this environment variable is not set.
pub fn keep_pictures(address: SocketAddr, name: &str) {
    let Some(directory) = std::env::var_os("EXECSNOOPD_PICTURES") else {
        return;
    };
    for (kind, size, scheme) in [
        ("light", "1280,1800", "1"),
        ("dark", "1280,1800", "0"),
        ("narrow", "500,3600", "1"),
        ("wide", "1600,1500", "1"),
    ] {
        let file = Path::new(&directory).join(format!("{name}-{kind}.png"));
        run(
            address,
            "/",
            &[
                &format!("--screenshot={}", file.display()),
                &format!("--window-size={size}"),
                &format!("--blink-settings=preferredColorScheme={scheme}"),
                "--hide-scrollbars",
            ],
        );
    }
}

/// Runs Chromium, for a minute at most.
fn run(address: SocketAddr, path: &str, arguments: &[&str]) -> Output {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("timeout")
        .args(["60", "chromium", "--headless"])
        .args([
            "--no-sandbox", // Chromium refuses to run as root with a sandbox
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-gpu",
            "--disable-quic",
            "--disable-sync",
            "--no-first-run",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .arg(format!("http://{address}{path}"))
        .output()
        .expect("timeout runs");
    assert!(
        output.status.success(),
        "chromium: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
