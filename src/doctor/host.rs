//! The settings of this host.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::process::{Resource, getrlimit};
use rustix::system::uname;

use super::finding::Finding;
use crate::capture::facts::Tracefs;
use crate::sys::privileges;

/// The inode number of the initial pid namespace (`PROC_PID_INIT_INO` in
/// `include/linux/proc_ns.h`).
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

pub(super) const CAPABILITIES: &str = "capabilities";

pub(super) fn findings() -> Vec<Finding> {
    vec![
        kernel(),
        btf(),
        lockdown(),
        capabilities(),
        memlock(),
        perf_event_paranoid(),
        tracefs(),
        cgroups(),
        pid_namespace(),
    ]
}

fn kernel() -> Finding {
    let name = uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let found = format!("Linux {} on {}", text(name.release()), text(name.machine()));
    Finding::ok("kernel", found)
}

fn btf() -> Finding {
    const PATH: &str = "/sys/kernel/btf/vmlinux";
    match fs::File::open(PATH) {
        Ok(_) => Finding::ok("BTF", PATH),
        Err(error) => Finding::missing(
            "BTF",
            format!("{PATH}: {error}"),
            "the programs cannot be adapted to this kernel",
        )
        .fix(
            "a kernel with CONFIG_DEBUG_INFO_BTF=y, as in current distributions; in a container, \
             mount /sys",
        ),
    }
}

fn lockdown() -> Finding {
    const PATH: &str = "/sys/kernel/security/lockdown";
    match fs::read_to_string(PATH) {
        Ok(levels) if levels.contains("[confidentiality]") => Finding::less(
            "lockdown",
            "confidentiality",
            "programs may not read kernel memory through helpers: exits are not counted",
        )
        .fix("boot with lockdown=integrity"),
        Ok(levels) => {
            let level = levels.split(['[', ']']).nth(1).unwrap_or("unknown");
            Finding::ok("lockdown", level)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Finding::ok(
            "lockdown",
            "none visible (securityfs is not mounted, or the kernel has no lockdown)",
        ),
        Err(error) => Finding::ok("lockdown", format!("unknown ({PATH}: {error})")),
    }
}

fn capabilities() -> Finding {
    match privileges::raise_for_bpf() {
        Ok(missing) if missing.is_empty() => Finding::ok(CAPABILITIES, "CAP_BPF and CAP_PERFMON"),
        Ok(missing) => Finding::missing(
            CAPABILITIES,
            format!("{} missing", missing.join(" and ")),
            "no program can be loaded",
        )
        .fix(
            "sudo execsnoopd doctor; AmbientCapabilities=CAP_BPF CAP_PERFMON in a unit; the \
             capabilities BPF and PERFMON, or SYS_ADMIN, for a container",
        ),
        Err(error) => Finding::missing(
            CAPABILITIES,
            error.to_string(),
            "the capabilities of this process cannot be read",
        ),
    }
}

/// Kernels before 5.11 charge the memory of maps and programs to the limit of locked memory.
fn memlock() -> Finding {
    match getrlimit(Resource::Memlock).current {
        None => Finding::ok("locked memory", "unlimited"),
        Some(bytes) => Finding::ok(
            "locked memory",
            format!(
                "{} KiB, which matters before Linux 5.11 only (LimitMEMLOCK=infinity)",
                bytes / 1024
            ),
        ),
    }
}

fn perf_event_paranoid() -> Finding {
    const NAME: &str = "perf_event_paranoid";
    match fs::read_to_string(format!("/proc/sys/kernel/{NAME}")) {
        Ok(level) => {
            let level = level.trim();
            if level.parse().is_ok_and(|level: i32| level > 2) {
                Finding::less(
                    NAME,
                    level,
                    "with only CAP_BPF and CAP_PERFMON, as in the systemd unit, the daemon uses the ring \
                     buffer",
                )
                .fix("optional: sysctl kernel.perf_event_paranoid=2 allows the perf buffer")
            } else {
                Finding::ok(NAME, level)
            }
        }
        Err(error) => Finding::ok(NAME, format!("unknown ({error})")),
    }
}

fn tracefs() -> Finding {
    match Tracefs::find() {
        Tracefs::Readable(path) => Finding::ok("tracefs", path.display().to_string()),
        Tracefs::NotReadable(_) | Tracefs::NotMounted => Finding::less(
            "tracefs",
            "not mounted, or not readable by this user",
            "only capture.classic and capture.failures = \"tracepoint\" need it",
        )
        .fix("mount -t tracefs nodev /sys/kernel/tracing"),
    }
}

fn cgroups() -> Finding {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    // The fields of a line are device, directory, type and others (`proc(5)`).
    let of_type = |kind: &str| {
        let mut mounts = mounts.lines().map(|line| line.split(' '));
        mounts.find_map(|mut fields| {
            let directory = fields.nth(1)?;
            (fields.next() == Some(kind)).then(|| directory.to_owned())
        })
    };
    match (of_type("cgroup2"), of_type("cgroup")) {
        (Some(directory), None) => Finding::ok("cgroups", format!("version 2 at {directory}")),
        (Some(directory), Some(_)) => {
            Finding::ok("cgroups", format!("hybrid, version 2 at {directory}"))
        }
        (None, Some(_)) => Finding::less(
            "cgroups",
            "version 1 alone",
            "the labels unit, slice and container are empty: BPF programs cannot see the cgroups of \
             version 1",
        )
        .fix("boot with systemd.unified_cgroup_hierarchy=1"),
        (None, None) => Finding::less(
            "cgroups",
            "none mounted here",
            "the labels unit, slice and container are known only if the host has version 2",
        ),
    }
}

fn pid_namespace() -> Finding {
    match fs::metadata("/proc/self/ns/pid").map(|metadata| metadata.ino()) {
        Ok(FIRST_PID_NAMESPACE) => Finding::ok("pid namespace", "the host's"),
        Ok(_) => Finding::ok(
            "pid namespace",
            "a container's; the daemon still counts the whole host, and trace shows the host's pids",
        ),
        Err(error) => Finding::ok("pid namespace", format!("unknown ({error})")),
    }
}
