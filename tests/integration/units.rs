//! Checks of the systemd units with systemd's own tools, which do not need a running systemd.

use std::process::{Command, Output};

const UNITS: [(&str, &str); 2] = [
    (
        "execsnoopd.service",
        include_str!("../../systemd/execsnoopd.service"),
    ),
    (
        "execsnoopd.socket",
        include_str!("../../systemd/execsnoopd.socket"),
    ),
];

/// The highest exposure level of the service that is accepted, in tenths. `systemd-analyze security`
/// rates services from 0.0 (fully confined) to 10.0.
const EXPOSURE: &str = "20";

fn systemd_analyze(args: &[&str], unit: &std::path::Path) -> Output {
    Command::new("systemd-analyze")
        .args(args)
        .arg(unit)
        .output()
        .expect("systemd-analyze runs")
}

fn assert_clean(output: &Output) {
    let printed = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{}{}", printed[0], printed[1]);
}

#[test]
fn the_units_are_valid() {
    // The program is not installed, so the units name the one that was built.
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in UNITS {
        let text = text.replace("/usr/bin/execsnoopd", env!("CARGO_BIN_EXE_execsnoopd"));
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    for (name, _) in UNITS {
        let output = systemd_analyze(&["verify", "--man=no"], &dir.path().join(name));
        assert_clean(&output);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

#[test]
fn the_service_is_confined() {
    let unit = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/execsnoopd.service");
    let threshold = format!("--threshold={EXPOSURE}");
    assert_clean(&systemd_analyze(
        &["security", "--offline=true", &threshold],
        &unit,
    ));
}
