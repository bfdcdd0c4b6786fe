//! Checks the filters that are names or directories: a filter that can never match is an error.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use rustix::fs::statfs;

use crate::capture::options::WANTED;
use crate::cli::Trace;
use crate::names::escape::printable;
use crate::names::parse;
use crate::record::nul_terminated;

/// How deep below the root cgroup a unit of a system or of a user is looked for.
const UNIT_DEPTH: u32 = 8;

/// `PROC_PID_INIT_INO` of `include/linux/proc_ns.h`.
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// The magic numbers of the cgroup file systems (`include/uapi/linux/magic.h`).
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
const CGROUP_SUPER_MAGIC: u64 = 0x0027_e0eb;

/// Checks that the units of processes can be known on this host, if `--unit` names one.
pub(super) fn check_unit(args: &Trace) -> anyhow::Result<()> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let is_named = args.unit.iter().any(|unit| !unit.0.is_empty());
    ensure!(
        !is_named || !is_version_1_alone(&cgroups),
        "--unit matches nothing on this host: it uses cgroup version 1 alone, and BPF programs \
         cannot read these cgroups. Boot with systemd.unified_cgroup_hierarchy=1"
    );
    Ok(())
}

/// Returns whether `/proc/self/cgroup` has lines, but none of version 2 (`cgroups(7)`).
fn is_version_1_alone(cgroups: &str) -> bool {
    !cgroups.is_empty() && !cgroups.lines().any(|line| line.starts_with("0::"))
}

/// Checks that an event that is shown can have the name of `--comm`. A program's name at its exec
/// is the last component of its path (`begin_new_exec()` in fs/exec.c). The process can change it
/// later, so process exits and failed execs can have any name.
pub(super) fn check_comm(args: &Trace) -> anyhow::Result<()> {
    if args.exits.is_some() || args.failed {
        return Ok(());
    }
    for comm in &args.comm {
        let name = printable(nul_terminated(&comm.0));
        ensure!(
            !name.is_empty(),
            "no exec has an empty name; with --exits or --failed, --comm can be empty"
        );
        if let Some((_, last)) = name.rsplit_once('/') {
            bail!(
                "--comm {name:?} matches no exec: use the program's name without directories, \
                 {last:?}"
            );
        }
    }
    Ok(())
}

/// Checks that a filter has not more values than the kernel side compares.
pub(super) fn check_numbers(args: &Trace) -> anyhow::Result<()> {
    let numbers = [
        ("--uid", args.uid.len()),
        ("--comm", args.comm.len()),
        ("--exe", args.exe.len()),
    ];
    for (flag, number) in numbers {
        ensure!(
            number <= WANTED,
            "{flag} is given {number} times, but at most {WANTED} values can be compared: run \
             several traces"
        );
    }
    Ok(())
}

/// Checks that what is shown can have the facts of the filters: some are known of an exec alone.
pub(super) fn check_facts(args: &Trace) -> anyhow::Result<()> {
    let only_at_exec = [
        ("--exe", !args.exe.is_empty()),
        ("--origin", !args.origin.is_empty()),
        ("--entry", args.entry.is_some()),
        ("--elevated", args.elevated),
    ];
    let others = [("--failed", args.failed), ("--exits", args.exits.is_some())];
    for (filter, _) in only_at_exec.iter().filter(|(_, is_given)| *is_given) {
        if let Some((other, _)) = others.iter().find(|(_, is_given)| *is_given) {
            bail!("{filter} cannot be combined with {other}: only an exec has this fact");
        }
    }
    Ok(())
}

/// Checks that the process of `--pid` exists. Its ID is that of the initial pid namespace, as in the
/// rows, so other namespaces cannot tell.
pub(super) fn check_pid(args: &Trace) -> anyhow::Result<()> {
    let Some(pid) = args.pid else {
        return Ok(());
    };
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let can_tell = namespace == Path::new(INITIAL_PID_NAMESPACE);
    if !can_tell {
        return Ok(());
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    let process = process.map(str::trim);
    ensure!(
        process.is_some(),
        "--pid {pid} matches nothing: no process has this ID"
    );
    ensure!(
        process == Some(&pid.to_string()),
        "--pid {pid} matches nothing: this is a thread of the process {}",
        process.unwrap_or_default()
    );
    Ok(())
}

/// Returns notices about filters that can match, but are unlikely to be what was meant.
pub(super) fn doubts(args: &Trace) -> Vec<String> {
    let units = args.unit.iter().filter_map(|unit| {
        let doubt = parse::doubt_unit(&unit.0).or_else(|| absence(&unit.0))?;
        Some(format!("--unit {:?}: {doubt}", printable(&unit.0)))
    });
    let parent = args.parent.iter().filter_map(|parent| {
        let parent = printable(nul_terminated(&parent.0));
        let name = parse::program_of_path(&parent)?;
        Some(format!(
            "--parent {parent:?} is a path; the name of that program is {name:?}"
        ))
    });
    units.chain(parent).collect()
}

/// Returns why nothing in this unit can be shown yet, if no cgroup has its name.
fn absence(unit: &[u8]) -> Option<&'static str> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mount = Path::new(cgroup2_mount(&mounts)?);
    let is_absent = !unit.is_empty() && !has_below(mount, OsStr::from_bytes(unit), UNIT_DEPTH);
    is_absent.then_some("no cgroup has this name now, so there are no rows until the unit starts")
}

/// Returns whether a directory with this name is at most `depth` levels below `directory`, with nothing
/// but slices in between. The unit of a process is the outermost one.
fn has_below(directory: &Path, name: &OsStr, depth: u32) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut below = entries.filter(|entry| entry.file_type().is_ok_and(|of| of.is_dir()));
    below.any(|entry| {
        let found = entry.file_name();
        found == name
            || (found.as_bytes().ends_with(b".slice") && has_below(&entry.path(), name, depth))
    })
}

/// Returns the id of a cgroup, which is its directory's inode number (`cgroup_id()` in
/// `include/linux/cgroup.h`). The kernel side compares the ids of version 2 cgroups. Directories of
/// version 1 are refused, because they can have the same inode numbers.
pub(super) fn cgroup_id(directory: &Path) -> anyhow::Result<u64> {
    let shown = directory.display();
    let metadata = directory
        .metadata()
        .with_context(|| format!("cannot find the cgroup {shown}"))?;
    let file_system = statfs(directory).with_context(|| format!("cannot examine {shown}"))?;
    #[allow(clippy::cast_sign_loss)] // signed on some architectures
    let magic = file_system.f_type as u64;
    if magic == CGROUP2_SUPER_MAGIC && metadata.is_dir() {
        return Ok(metadata.ino());
    }
    let found = match magic {
        CGROUP_SUPER_MAGIC => " of version 2 but of version 1",
        _ => "",
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    match cgroup2_mount(&mounts) {
        Some(mount) => bail!("{shown} is not the directory of a cgroup{found}; use one in {mount}"),
        None => bail!(
            "{shown} is not the directory of a cgroup{found}; to see those of version 2, run \
             `mount -t cgroup2 none DIRECTORY`"
        ),
    }
}

/// Returns the directory where cgroups of version 2 are mounted, from `/proc/self/mountinfo`
/// (`proc(5)`).
fn cgroup2_mount(mounts: &str) -> Option<&str> {
    mounts.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let is_cgroup2 = file_system.starts_with("cgroup2 ");
        mount.split(' ').nth(4).filter(|_| is_cgroup2)
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(args: &[&str]) -> Trace {
        let args = [&["execsnoopd", "trace"], args].concat();
        match Cli::parse_from(args).command {
            Some(Command::Trace(trace)) => trace,
            other => panic!("expected trace: {other:?}"),
        }
    }

    #[test]
    fn a_name_that_no_exec_has_is_refused_unless_other_events_are_shown() {
        for (args, is_ok) in [
            (&["--comm", "true"][..], true),
            (&["--comm", "/usr/bin/true"], false),
            (&["--comm", "kworker/0:1"], false),
            (&["--comm", ""], false),
            (&["--comm", "/usr/bin/true", "--failed"], true),
            (&["--comm", "", "--exits"], true),
            (&["--parent", ""], true),
        ] {
            assert_eq!(check_comm(&parse(args)).is_ok(), is_ok, "{args:?}");
        }
        let error = check_comm(&parse(&["--comm", "/usr/bin/true"])).unwrap_err();
        assert!(error.to_string().ends_with("\"true\""), "{error}");
    }

    #[test]
    fn a_filter_that_nothing_shown_can_match_is_refused() {
        for (args, says) in [
            (
                &["--origin", "tmpfs", "--exits"][..],
                "--origin cannot be combined with --exits",
            ),
            (
                &["--elevated", "--failed"],
                "--elevated cannot be combined with --failed",
            ),
            (
                &["--entry", "init", "--exits=failed"],
                "--entry cannot be combined with --exits",
            ),
        ] {
            let error = check_facts(&parse(args)).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(check_facts(&parse(&["--tty", "--exits", "--loginuid", "-"])).is_ok());
        let many: Vec<_> = (0..9).flat_map(|_| ["--uid", "0"]).collect();
        assert!(check_numbers(&parse(&many[..16])).is_ok());
        let error = check_numbers(&parse(&many)).unwrap_err().to_string();
        assert!(error.contains("--uid is given 9 times"), "{error}");
    }

    #[test]
    fn a_pattern_a_template_and_a_path_cause_a_notice() {
        for (args, has_notice) in [
            (&["--unit", "ssh*"][..], true),
            (&["--unit", "getty@"], true),
            (&["--unit", "-"], false),
            (&["--parent", "/bin/sh"], true),
            (&["--parent", "kworker/0:1"], false),
        ] {
            assert_eq!(!doubts(&parse(args)).is_empty(), has_notice, "{args:?}");
        }
    }

    #[test]
    fn the_hierarchy_of_version_2_is_found_among_the_mounts() {
        let mounts = "25 1 0:22 / /proc rw - proc proc rw\n\
                      30 25 0:27 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
                      31 25 0:28 / /sys/fs/cgroup/unified rw,relatime shared:10 - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2_mount(mounts), Some("/sys/fs/cgroup/unified"));
        assert_eq!(cgroup2_mount(""), None);
    }

    #[test]
    fn a_host_with_version_1_alone_is_recognized() {
        for (cgroups, is_alone) in [
            ("2:cpu:/\n1:name=systemd:/init.scope\n", true),
            ("1:name=systemd:/init.scope\n0::/init.scope\n", false),
            ("0::/init.scope\n", false),
            ("", false),
        ] {
            assert_eq!(is_version_1_alone(cgroups), is_alone, "{cgroups}");
        }
    }

    #[test]
    fn a_directory_of_another_file_system_is_no_cgroup() {
        let dir = tempfile::tempdir().unwrap();
        let error = cgroup_id(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("is not the directory of a cgroup"),
            "{error}"
        );
        let error = cgroup_id(&dir.path().join("absent")).unwrap_err();
        assert!(format!("{error:#}").contains("No such file"), "{error:#}");
    }
}
