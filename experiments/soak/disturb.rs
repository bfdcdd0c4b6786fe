//! Disturbs the daemon: stops it for a while with SIGSTOP, reloads it, and connects to it.

use std::collections::VecDeque;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use testkit::http::{Scrape, connect, get};

use crate::schedule::{Act, STOP, Schedule};

/// The default views and two more.
pub(crate) const VIEWS: &str = "\
    [[view]]\nlabels = [\"comm\"]\n\
    [[view]]\nlabels = [\"uid\", \"user\"]\n\
    [[view]]\nlabels = [\"parent_comm\", \"comm\"]\n\
    [[view]]\nlabels = [\"unit\", \"container\"]\n";

/// A view that is added by every other reload and removed by the next.
const ANOTHER: &str = "[[view]]\nlabels = [\"slice\"]\n";
const ITS_SERIES: &str = "execsnoop_series{view=\"slice\"}";

/// How long a reload may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Number of silent connections that are open at the same time.
const SILENT: usize = 8;

/// Seconds between two visits to the page.
const PAGE_EVERY: u64 = 5;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) pid: Pid,
    pub(crate) address: SocketAddr,
}

/// Stops and reloads the daemon at the scheduled times.
pub(crate) fn act(schedule: &Schedule, target: Target, config: &Path) -> Result<()> {
    let mut has_another = false;
    for (at, act) in schedule.acts() {
        if !schedule.wait_until(at) {
            break;
        }
        match act {
            Act::Stop => {
                kill_process(target.pid, Signal::STOP)?;
                sleep(STOP);
                kill_process(target.pid, Signal::CONT)?;
            }
            Act::Reload => {
                has_another = !has_another;
                let another = if has_another { ANOTHER } else { "" };
                fs::write(config, format!("{VIEWS}{another}"))?;
                kill_process(target.pid, Signal::HUP)?;
                let deadline = Instant::now() + PATIENCE;
                while Scrape::of(target.address).find(ITS_SERIES).is_some() != has_another {
                    ensure!(
                        Instant::now() < deadline,
                        "not reloaded within {PATIENCE:?}"
                    );
                    sleep(Duration::from_millis(200));
                }
            }
        }
    }
    Ok(())
}

/// Visits the page, opens silent connections, and opens connections that close in the middle of a
/// request. Returns the number of connections.
pub(crate) fn visit(schedule: &Schedule, address: SocketAddr) -> Result<u64> {
    let mut silent = VecDeque::new();
    let mut connections = 0;
    let mut second = 0;
    while schedule.wait_until(Duration::from_secs(second)) {
        silent.push_back(connect(address));
        if silent.len() > SILENT {
            silent.pop_front();
        }
        connect(address).write_all(b"GET /metr")?;
        connections += 2;
        if second.is_multiple_of(PAGE_EVERY) {
            let status = get(address, "/").status;
            ensure!(status == 200, "the page: {status}");
            connections += 1;
        }
        second = schedule.elapsed().as_secs() + 1;
    }
    Ok(connections)
}
