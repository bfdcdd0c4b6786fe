//! Checks the filters that are names or directories: a filter that can never match is an error.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use rustix::fs::statfs;

use crate::capture::CaptureInfo;
use crate::capture::options::WANTED;
use crate::cli::{Column, Trace};
use crate::names::escape::printable;
use crate::names::parse;
use crate::record::{Kind, NO_LOGIN, nul_terminated};

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
            bail!(
                "{filter} cannot be combined with {other}: it is known only for successful execs"
            );
        }
    }
    Ok(())
}

/// Checks that the kernel keeps who logged in, if `--loginuid` names a user. `process` is a directory of
/// `/proc`, which has the file `loginuid` if it does.
pub(super) fn check_loginuid(args: &Trace, process: &Path) -> anyhow::Result<()> {
    let is_user = args.loginuid.is_some_and(|uid| uid != NO_LOGIN);
    ensure!(
        !is_user || !process.is_dir() || process.join("loginuid").exists(),
        "--loginuid matches nothing on this host: its kernel was built without CONFIG_AUDIT, so it \
         does not record who logged in. Use --uid"
    );
    Ok(())
}

/// Checks that the hook for execs shows the file that is executed, if a filter is on the file.
pub(super) fn check_hook(args: &Trace, info: &CaptureInfo) -> anyhow::Result<()> {
    let of_file = [
        ("--exe", !args.exe.is_empty()),
        ("--origin", !args.origin.is_empty()),
        ("--elevated", args.elevated),
    ];
    if let Some((filter, _)) = of_file.iter().find(|(_, is_given)| *is_given) {
        ensure!(
            info.shows_file(),
            "{filter} matches nothing on this host: the hook for execs, {}, does not show the file. \
             `execsnoopd doctor` says why no other hook is in use",
            info.list(Kind::Exec).unwrap_or_default()
        );
    }
    Ok(())
}

/// Returns a notice if the hook for execs does not show something that is asked for.
pub(super) fn describe_absent_columns(args: &Trace, info: &CaptureInfo) -> Option<String> {
    let of_file = [Column::Exe, Column::Origin, Column::Elevated];
    let shows_file = args.show.iter().any(|column| of_file.contains(column));
    ((args.path || shows_file) && !info.shows_file()).then(|| {
        format!(
            "the hook for execs, {}, does not show the file: paths are absent, and the facts about \
             the file are unknown",
            info.list(Kind::Exec).unwrap_or_default()
        )
    })
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
mod tests;
