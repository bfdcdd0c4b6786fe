//! The same facts at all hooks for execs, and what a hook does not show.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use execsnoopd::capture::hook::{EXEC_RAW_TP, EXEC_TP_BTF};
use execsnoopd::capture::{Capture, Input, Live, Options, TransportKind};
use execsnoopd::config::{Config, ViewConfig};
use execsnoopd::pipeline::view::Label;
use execsnoopd::record::{Comm, Fact, Kind};
use testkit::compiled::nop;
use testkit::mounts::with_tracefs;
use testkit::programs::{Programs, exec, exec_as};
use testkit::service::run_on;

use super::{assert_only, copy, entry, exe, on_disk, origin};

#[test]
fn the_raw_tracepoint_shows_the_same_facts() {
    let programs = Programs::new();
    for hook in [EXEC_TP_BTF, EXEC_RAW_TP] {
        let capture = Capture::start(&Options {
            exec_hooks: vec![vec![hook]],
            inputs: [
                Input::Exe,
                Input::Fact(Fact::Entry),
                Input::Fact(Fact::Origin),
                Input::Fact(Fact::Elevated),
            ]
            .into(),
            ..Options::default()
        })
        .unwrap();
        let info = capture.info().clone();
        let facts = [Fact::Origin, Fact::Entry, Fact::Elevated].map(Label::Fact);
        let labels = facts.into_iter().chain([Label::Exe]);
        let config = Config {
            view: labels
                .map(|label| ViewConfig::by(&[label, Label::Comm]))
                .collect(),
            ..Config::default()
        };
        let service = run_on(capture, &info, &config);
        let dir = on_disk();
        let origins = origin::execute_from_everywhere(dir.path());
        let setuid = dir.path().join("el-raw");
        copy(nop(), &setuid, 0);
        fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755)).unwrap();
        exec_as(&setuid, Some(710_030));
        exec(&setuid);
        let names = exe::execute_all_kinds(dir.path());
        let scrape = service.scrape();
        exe::assert_counted(&scrape, &names);
        assert_only(&scrape, Fact::Origin, &origins);
        let elevated = [("el-raw", "true", 1.0), ("el-raw", "false", 1.0)];
        assert_only(&scrape, Fact::Elevated, &elevated);
        if hook == EXEC_RAW_TP {
            let entries = entry::enter_namespaces(&programs);
            assert_only(&service.scrape(), Fact::Entry, &entries);
        }
        assert_eq!(service.stop().unwrap().differences, [0; 4]);
    }
}

#[test]
fn a_hook_that_does_not_show_the_file_says_so() {
    const USER: u32 = 710_040;
    let programs = Programs::new();
    let (daemon, _config) = with_tracefs(
        "[capture]\nclassic = true\n[[view]]\nlabels = [\"exe\", \"origin\", \"elevated\", \"entry\", \"uid\"]\n",
    );
    exec_as(&programs.named("un-known"), Some(USER));
    let scrape = daemon.scrape();
    let labels = format!(
        "exe=\"unknown\",origin=\"unknown\",elevated=\"unknown\",entry=\"\",uid=\"{USER}\""
    );
    let name = "execsnoop_execs_by_exe_origin_elevated_entry_uid_total";
    assert_eq!(scrape.value(&format!("{name}{{{labels}}}")), 1.0);
    scrape.assert_ledger_closes();
}

/// The kernels bound the stack of a program and of the functions that it calls.
#[test]
fn everything_can_be_asked_for_at_once() {
    // Keeps other tests from executing programs: a SIGCHLD that arrives while a thread blocks it, as
    // posix_spawn(3) does, goes to another thread, and a signal makes the verifier give up with EAGAIN.
    let _programs = Programs::new();
    let mut inputs: BTreeSet<_> = Fact::ALL.map(Input::Fact).into();
    inputs.extend([
        Input::ParentComm,
        Input::Cgroup,
        Input::Exe,
        Input::Loginuid,
    ]);
    let daemon = Options {
        inputs: inputs.clone(),
        with_exits: true,
        with_failures: true,
        ..Options::default()
    };
    let live = Live {
        uids: vec![0; 8],
        comms: vec![Comm::default(); 8],
        parent_comm: Some(Comm::default()),
        cgroup_id: Some(1),
        pid: Some(1),
        loginuid: Some(0),
        exes: vec![b"any".to_vec(); 8],
        process: true,
        exits: true,
        only_unsuccessful: true,
        path: true,
        args: true,
        family: true,
        ..Live::default()
    };
    let trace = Options {
        transports: vec![TransportKind::Ring],
        live,
        ..daemon.clone()
    };
    for options in [daemon, trace] {
        for hook in [EXEC_TP_BTF, EXEC_RAW_TP] {
            let options = Options {
                exec_hooks: vec![vec![hook]],
                ..options.clone()
            };
            let capture = Capture::start(&options).unwrap();
            assert!(capture.info().list(Kind::Exit).is_some());
        }
    }
}
