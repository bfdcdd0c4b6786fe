//! Figures of a process from `/proc`; see `proc(5)`.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// A process that has been quiet for this long has started.
pub const SET_UP: Duration = Duration::from_millis(400);
/// A process that has been quiet for this long has processed its backlog. This is longer than the
/// daemon's idle tick, after which the daemon has emptied its buffers.
pub const DRAINED: Duration = Duration::from_millis(1300);
/// A process is quiet while it uses at most this share of a CPU.
const QUIET_SHARE: f64 = 0.05;
/// The interval over which the CPU share is measured.
const LOOK: Duration = Duration::from_millis(100);
/// How long a process may take to become quiet. bpftrace compiles for a few seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// CPU time of all threads, in nanoseconds.
pub fn cpu_ns(pid: u32) -> io::Result<u64> {
    sum_over_tasks(pid, "schedstat", |text| {
        text.split(' ').next()?.parse().ok()
    })
}

/// Voluntary context switches of all threads.
pub fn voluntary_switches(pid: u32) -> io::Result<u64> {
    sum_over_tasks(pid, "status", |text| field(text, "voluntary_ctxt_switches"))
}

/// Resident memory, in KiB.
pub fn resident_kib(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    field(&status, "VmRSS").ok_or_else(|| io::Error::other("no VmRSS: the process has exited"))
}

/// Waits until a process has been quiet for this long: it has used almost no CPU time, opened or
/// closed no file, and written nothing to its output.
pub fn settle(pid: u32, output: Option<&Path>, quiet: Duration) -> Result<()> {
    let began = Instant::now();
    let mut state = None;
    let mut cpu = cpu_ns(pid)?;
    let mut quiet_since = Instant::now();
    while quiet_since.elapsed() < quiet {
        if began.elapsed() > PATIENCE {
            bail!("was not quiet within {PATIENCE:?}");
        }
        let looked = Instant::now();
        thread::sleep(LOOK);
        let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        let written = output.map(fs::metadata).transpose()?.map(|m| m.len());
        let now = Some((files, written));
        let used = cpu_ns(pid)?;
        // The time of a thread that has exited is no longer in the sum.
        let used_share = Duration::from_nanos(used.saturating_sub(cpu)).as_secs_f64()
            / looked.elapsed().as_secs_f64();
        if now != state || used_share > QUIET_SHARE {
            quiet_since = Instant::now();
        }
        (state, cpu) = (now, used);
    }
    Ok(())
}

fn sum_over_tasks(pid: u32, file: &str, value: impl Fn(&str) -> Option<u64>) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may exit between the two reads.
        if let Ok(text) = fs::read_to_string(task?.path().join(file)) {
            sum += value(&text).unwrap_or(0);
        }
    }
    Ok(sum)
}

/// The number in a line of the form `name:\t  number`.
pub fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.split_whitespace().next()?.parse().ok())
}
