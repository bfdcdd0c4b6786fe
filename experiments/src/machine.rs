//! The machine that the measurements ran on.

use std::fs;
use std::path::Path;
use std::process::Command;

#[derive(Debug)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub is_virtual: bool,
    pub kernel: String,
    pub date: String,
    /// The load average of the previous minute.
    pub load: String,
}

impl Machine {
    pub fn here() -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let cpu = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map_or("unknown CPU", |line| {
                line.trim_start_matches([' ', '\t', ':'])
            });
        Self {
            cpu: cpu.trim().to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            is_virtual: cpuinfo.contains(" hypervisor"),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            date: today(),
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
        }
    }

    /// The subtitle of a chart.
    pub fn caption(&self) -> String {
        let Self {
            cpu, cores, kernel, ..
        } = self;
        format!("{cpu}, {cores} CPUs, Linux {kernel}")
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn today() -> String {
    let date = Command::new("date").args(["-u", "+%F"]).output();
    let text = date.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// Mounts tracefs, where the tools that execsnoopd is compared with look up their tracepoints. If this
/// fails, these tools report errors themselves.
pub fn mount_tracefs() {
    let mount_point = "/sys/kernel/tracing";
    if Path::new(mount_point).join("events").exists() {
        return;
    }
    let mounted = Command::new("mount")
        .args(["-t", "tracefs", "nodev", mount_point])
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("cannot mount tracefs on {mount_point}: tools that need it will fail");
    }
}
