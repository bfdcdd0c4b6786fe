//! The origin of the file that runs.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use execsnoopd::record::Fact;
use rustix::fs::statfs;
use testkit::compiled::{nop, ways};
use testkit::daemon::with_transport;
use testkit::programs::Programs;

use super::{assert_only, copy, on_disk, sh};

testkit::over_both_transports! {
    the_origin_is_that_of_the_file_that_runs
}

/// `include/uapi/linux/magic.h`
const OVERLAYFS: u64 = 0x794c_7630;
const TMPFS: u64 = 0x0102_1994;

/// What the origin of a file of root in this directory must be. It has none, except in a container.
fn ordinary(dir: &Path) -> &'static str {
    #[allow(clippy::cast_sign_loss)] // signed on some architectures
    match statfs(dir).unwrap().f_type as u64 {
        OVERLAYFS => "overlay_upper",
        TMPFS => "tmpfs",
        _ => "",
    }
}

/// Executes files from everywhere. Returns the programs and their origins.
pub(super) fn execute_from_everywhere(dir: &Path) -> Vec<(&'static str, &'static str, f64)> {
    let ordinary = ordinary(dir);
    copy(nop(), &dir.join("or-root"), 0);
    copy(nop(), &dir.join("or-owned"), 65_534);
    for place in ["memory", "lower", "upper", "work", "merged"] {
        fs::create_dir(dir.join(place)).unwrap();
    }
    sh(
        dir,
        "./or-root; ./or-owned
         mount -t tmpfs none memory
         cp \"$0\" memory/or-tmpfs; memory/or-tmpfs
         cp \"$0\" memory/or-tmpfs-own; chown 65534 memory/or-tmpfs-own; memory/or-tmpfs-own
         echo \"#!$PWD/or-owned\" >memory/or-script; chmod +x memory/or-script; memory/or-script",
    );
    let owned = match ordinary {
        "" => "user_owned",
        ordinary => ordinary,
    };
    let mut expected = vec![
        ("or-root", ordinary, 1.0),
        ("or-owned", owned, 1.0),
        ("or-tmpfs", "tmpfs", 1.0),
        ("or-tmpfs-own", "tmpfs", 1.0),
        // The origin of the interpreter, under the name of the script.
        ("or-script", owned, 1.0),
    ];
    sh(
        dir,
        "cp \"$0\" lower/or-lower; cp \"$0\" lower/or-lower-own; chown 65534 lower/or-lower-own
         cp \"$0\" lower/or-changed; cp \"$0\" lower/or-deleted
         mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none merged
         merged/or-lower; merged/or-lower-own
         merged/or-changed; chown 65534 merged/or-changed; merged/or-changed
         cp \"$0\" merged/or-upper; merged/or-upper
         umount merged
         mount -t overlay -o lowerdir=upper:lower none merged; merged/or-changed; merged/or-lower",
    );
    expected.extend([
        ("or-lower", "", 2.0),
        ("or-lower-own", "user_owned", 1.0),
        ("or-changed", "", 1.0),
        ("or-changed", "overlay_upper", 1.0),
        // In a lower layer of the second overlay.
        ("or-changed", "user_owned", 1.0),
        ("or-upper", "overlay_upper", 1.0),
    ]);
    expected
}

const ORIGIN: &str = "[[view]]\nlabels = [\"origin\", \"comm\"]\n\
                      [[view]]\nlabels = [\"origin\", \"uid\"]\n";

/// The users who execute files without a name. The program's name is then a number on some kernels.
const NAMELESS: [(u32, &str); 3] = [
    (710_001, "memfd"),
    (710_002, "tmpfile"),
    (710_003, "deleted"),
];

fn execute_without_a_name(dir: &Path) {
    for (uid, way) in NAMELESS {
        let place = dir.join(way);
        fs::create_dir(&place).unwrap();
        chown(&place, Some(uid), Some(uid)).unwrap();
        // As root, and then as the user.
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={uid}"), "--clear-groups"]);
        command.arg(ways()).args([way]).arg(nop()).arg("40");
        assert!(
            command.current_dir(place).status().unwrap().success(),
            "{way}"
        );
    }
}

fn by_uid(origin: &str, uid: u32) -> String {
    format!("execsnoop_execs_by_origin_uid_total{{origin=\"{origin}\",uid=\"{uid}\"}}")
}

fn the_origin_is_that_of_the_file_that_runs(transport: &str) {
    let _programs = Programs::new();
    let (daemon, _config) = with_transport(transport, ORIGIN);
    let dir = on_disk();
    let expected = execute_from_everywhere(dir.path());
    execute_without_a_name(dir.path());
    let scrape = daemon.scrape();
    assert_only(&scrape, Fact::Origin, &expected);
    for (uid, way) in NAMELESS {
        assert_eq!(scrape.value(&by_uid("unlinked", uid)), 1.0, "{way}");
    }
}
