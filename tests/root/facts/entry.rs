//! How a process came into its pid namespace.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use execsnoopd::record::Fact;
use testkit::daemon::with_transport;
use testkit::programs::{Programs, exec, go};

use super::assert_only;

testkit::over_both_transports! {
    the_first_process_of_a_namespace_and_one_put_into_it_are_told_apart
}

/// A pid namespace with a process that sleeps.
pub(crate) struct Namespace {
    outside: Child,
    first: u32,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let outside = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "sleep", "1000"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let children = format!("/proc/{0}/task/{0}/children", outside.id());
        let first = loop {
            let children = fs::read_to_string(&children).unwrap();
            if let Some(child) = children.split_whitespace().next() {
                break child.parse().unwrap();
            }
        };
        Self { outside, first }
    }

    /// The arguments of nsenter(1) for a program in the namespace.
    pub(crate) fn enter(&self) -> [String; 4] {
        let target = self.first.to_string();
        ["-t".to_owned(), target, "-p".to_owned(), "--".to_owned()]
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let pid = self.first.to_string();
        let _ = Command::new("kill").args(["-9", &pid]).status();
        let _ = self.outside.wait();
    }
}

/// Executes programs in pid namespaces. Returns the programs and how each came into its namespace.
pub(super) fn enter_namespaces(programs: &Programs) -> Vec<(&'static str, &'static str, f64)> {
    let [
        outside,
        first,
        child,
        again,
        inner,
        injected,
        orphan,
        grandchild,
    ] = [
        "en-outside",
        "en-first",
        "en-child",
        "en-again",
        "en-inner",
        "en-injected",
        "en-orphan",
        "en-grandchild",
    ]
    .map(|name| programs.named(name));
    let unshare = |script: &str, arguments: &[&Path]| {
        let mut command = Command::new("unshare");
        command
            .args(["--pid", "--fork", "sh", "-c", script])
            .args(arguments);
        assert!(command.status().unwrap().success(), "{script}");
    };
    exec(&outside);
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork"]).arg(&first);
    assert!(command.status().unwrap().success());
    // A child of the first process, and the first process again.
    unshare("\"$0\"; \"$0\"; exec \"$1\"", &[&child, &again]);
    // A namespace in a namespace.
    unshare("unshare --pid --fork \"$0\"; true", &[&inner]);
    let namespace = Namespace::new();
    let nsenter = |arguments: &[&str]| {
        let mut command = Command::new("nsenter");
        command.args(namespace.enter()).args(arguments);
        assert!(command.status().unwrap().success(), "{arguments:?}");
    };
    nsenter(&[injected.to_str().unwrap()]);
    let script = "\"$0\"; true";
    nsenter(&["sh", "-c", script, grandchild.to_str().unwrap()]);
    let status = go("injected-orphan", &orphan, namespace.first);
    assert!(status.success(), "{status}");
    vec![
        ("en-outside", "", 1.0),
        ("en-first", "init", 1.0),
        ("en-child", "", 2.0),
        ("en-again", "init", 1.0),
        ("en-inner", "init", 1.0),
        ("en-injected", "injected", 1.0),
        ("en-orphan", "injected", 1.0),
        ("en-grandchild", "", 1.0),
    ]
}

fn the_first_process_of_a_namespace_and_one_put_into_it_are_told_apart(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "[[view]]\nlabels = [\"entry\", \"comm\"]\n");
    let expected = enter_namespaces(&programs);
    assert_only(&daemon.scrape(), Fact::Entry, &expected);
}
