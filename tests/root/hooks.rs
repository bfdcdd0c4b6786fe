//! Hooks and standby programs that this kernel may not need: they count the same execs as the others.

use std::path::PathBuf;
use std::thread::scope;

use execsnoopd::capture::hook::{EXEC_RAW_TP, EXEC_TP_BTF};
use execsnoopd::capture::{Capture, Input, Options};
use execsnoopd::config::Config;
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
