//! Cgroups with limits, of version 1 or 2, depending on which version has the controller.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// A cgroup with a limit, removed when the value is dropped. By then, its processes must have exited
/// or have been [`released`](Self::release).
#[derive(Debug)]
pub struct Limited {
    directory: PathBuf,
    version: u8,
}

impl Limited {
    /// Creates a cgroup with a limit on memory, in bytes.
    pub fn memory(bytes: u64) -> Self {
        let limited = Self::new("memory");
        let files = ["memory.limit_in_bytes", "memory.max"];
        limited.write(files, &bytes.to_string());
        limited
    }

    /// Creates a cgroup with a limit on CPU time, in thousandths of one CPU.
    pub fn cpu(thousandths: u32) -> Self {
        let limited = Self::new("cpu");
        let quota = thousandths * 100;
        if limited.version == 1 {
            limited.write(["cpu.cfs_period_us", ""], "100000");
        }
        let files = ["cpu.cfs_quota_us", "cpu.max"];
        limited.write(files, &quota.to_string());
        limited
    }

    fn new(controller: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let root = Path::new("/sys/fs/cgroup");
        let of_version_1 = root.join(controller);
        let version = if of_version_1.join("cgroup.procs").exists() {
            1
        } else {
            let enabled = fs::write(
                root.join("cgroup.subtree_control"),
                format!("+{controller}"),
            );
            enabled.unwrap_or_else(|error| panic!("no controller {controller}: {error}"));
            2
        };
        let parent = if version == 1 { &of_version_1 } else { root };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = parent.join(format!("execsnoopd-{}-{number}", std::process::id()));
        fs::create_dir(&directory).expect("cgroups can be created");
        Self { directory, version }
    }

    /// Writes to the first file in a cgroup of version 1, to the second one in version 2.
    fn write(&self, files: [&str; 2], value: &str) {
        let file = self.directory.join(files[usize::from(self.version - 1)]);
        fs::write(&file, value).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// A command that runs a program in the cgroup.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo 0 >\"$0/cgroup.procs\" && exec \"$@\""])
            .arg(&self.directory)
            .arg(program);
        command
    }

    /// Makes the OOM killer kill all processes of the cgroup together. Only version 2 can do it.
    pub fn kill_as_a_group(&self) {
        assert_eq!(
            self.version, 2,
            "cgroups of version 1 have no memory.oom.group"
        );
        self.write(["", "memory.oom.group"], "1");
    }

    /// Moves a process into the cgroup.
    pub fn add(&self, pid: u32) {
        fs::write(self.directory.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    /// Moves a process into the parent cgroup.
    pub fn release(&self, pid: u32) {
        let parent = self.directory.parent().unwrap();
        fs::write(parent.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    /// The memory in use, in bytes: that of the processes, and what the kernel holds for them.
    pub fn memory_usage(&self) -> u64 {
        self.number(["memory.usage_in_bytes", "memory.current"])
    }

    /// The highest memory usage so far, in bytes. Cgroups of version 2 have it since Linux 5.19.
    pub fn peak_memory_usage(&self) -> u64 {
        self.number(["memory.max_usage_in_bytes", "memory.peak"])
    }

    /// Reads a number from the file of version 1 or of version 2.
    fn number(&self, files: [&str; 2]) -> u64 {
        let file = self.directory.join(files[usize::from(self.version - 1)]);
        let text = fs::read_to_string(file).unwrap();
        text.trim().parse().unwrap()
    }

    /// The number of processes killed for lack of memory.
    pub fn oom_kills(&self) -> u64 {
        let file = ["memory.oom_control", "memory.events"][usize::from(self.version - 1)];
        let text = fs::read_to_string(self.directory.join(file)).unwrap();
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.expect("the kernel counts them").parse().unwrap()
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // A process that was waited for may not have left the cgroup yet.
        for _ in 0..1000 {
            if fs::remove_dir(&self.directory).is_ok() {
                return;
            }
            sleep(Duration::from_millis(5));
        }
    }
}
