//! Hooks and standby programs that this kernel may not need: they count the same execs as the others.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread::scope;

use execsnoopd::capture::hook::{EXEC_RAW_TP, EXEC_TP_BTF};
use execsnoopd::capture::source::Source;
use execsnoopd::capture::{Capture, Input, Live, Options, TransportKind};
use execsnoopd::config::Config;
use execsnoopd::names::parse;
use execsnoopd::record::{Observation, Traced};
use testkit::programs::{Programs, exec_as};
use testkit::service::run_on;
use testkit::standby::always_skipping;

fn uid_sample(uid: u32) -> String {
    format!("execsnoop_execs_by_uid_total{{uid=\"{uid}\",user=\"\"}}")
}

#[test]
fn the_raw_tracepoint_counts_exactly() {
    const EACH: u32 = 200;
    let programs = Programs::new();
    let capture = Capture::start(&Options {
        buffer_pages: 1,
        inputs: [Input::ParentComm].into(),
        exec_hooks: vec![vec![EXEC_RAW_TP]],
        ..Options::default()
    })
    .unwrap();
    let means = capture.info().clone();
    let service = run_on(capture, &means, &Config::default());
    let storms: Vec<PathBuf> = (0..4).map(|i| programs.named(format!("raw{i}"))).collect();
    scope(|scope| {
        for program in &storms {
            scope.spawn(|| (0..EACH).for_each(|_| exec_as(program, Some(700_100))));
        }
    });
    let scrape = service.scrape();
    for i in 0..4 {
        assert_eq!(scrape.execs_of(&format!("raw{i}")), f64::from(EACH));
    }
    assert_eq!(scrape.value(&uid_sample(700_100)), f64::from(4 * EACH));
    assert_eq!(
        scrape.value("execsnoop_hook_info{event=\"exec\",program=\"exec_raw_tp\",type=\"raw_tp\"}"),
        1.0
    );
    scrape.assert_ledger_closes();
    assert_eq!(service.stop().unwrap().differences, [0; 4]);
}

#[test]
fn standby_programs_count_nothing_twice() {
    const EACH: u32 = 200;
    let programs = Programs::new();
    let storms: Vec<PathBuf> = (0..4).map(|i| programs.named(format!("copy{i}"))).collect();
    for (hook, uid) in [(EXEC_TP_BTF, 700_200), (EXEC_RAW_TP, 700_201)] {
        let capture = Capture::start(&Options {
            exec_hooks: vec![vec![hook]],
            may_skip: always_skipping,
            ..Options::default()
        })
        .unwrap();
        let means = capture.info().clone();
        let service = run_on(capture, &means, &Config::default());
        scope(|scope| {
            for program in &storms {
                scope.spawn(|| (0..EACH).for_each(|_| exec_as(program, Some(uid))));
            }
        });
        let scrape = service.scrape();
        for i in 0..4 {
            assert_eq!(scrape.execs_of(&format!("copy{i}")), f64::from(EACH));
        }
        assert_eq!(scrape.value(&uid_sample(uid)), f64::from(4 * EACH));
        for copy in ["", "_2", "_3"] {
            let program = format!("{}{copy}", hook.program);
            let missed = format!("execsnoop_program_missed_runs_total{{program=\"{program}\"}}");
            assert!(scrape.find(&missed).is_some(), "{program} is not there");
        }
        scrape.assert_ledger_closes();
        assert_eq!(service.stop().unwrap().differences, [0; 4]);
    }
}

#[test]
fn the_raw_tracepoint_has_the_path_the_arguments_and_the_ancestors() {
    let programs = Programs::new();
    let program = programs.named("raw-detail");
    let mut capture = Capture::start(&Options {
        exec_hooks: vec![vec![EXEC_RAW_TP]],
        transports: vec![TransportKind::Ring],
        live: Live {
            comms: vec![parse::comm("raw-detail").unwrap()],
            process: true,
            path: true,
            args: true,
            family: true,
            ..Live::default()
        },
        ..Options::default()
    })
    .unwrap();
    let mut child = Command::new(&program).arg("one two").spawn().unwrap();
    assert!(child.wait().unwrap().success());
    let mut seen = Vec::new();
    let mut decode = |bytes: &[u8]| seen.push(Traced::decode(bytes).unwrap());
    capture.drain_events(&mut decode).unwrap();
    let [exec] = &seen[..] else {
        panic!("{seen:?}");
    };
    let path = program.as_os_str().as_bytes();
    assert_eq!(exec.path.as_ref().unwrap().bytes, path);
    let args = [path, b"\0one two\0"].concat();
    assert_eq!(exec.args.as_ref().unwrap().bytes, args);
    let (parent, _) = exec.family.as_ref().unwrap().ancestors[0];
    assert_eq!(parent, std::process::id());
}
