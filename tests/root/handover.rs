//! Programs that outlive the process that attached them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use execsnoopd::capture::source::Source;
use execsnoopd::capture::{
    Capture, Descriptors, Handover, Input, KernelSide, Options, Resumed, TransportKind,
};
use execsnoopd::record::{self, Event, Kind, Observation, nul_terminated};
use testkit::programs::{Programs, exec_times};

/// Stops a capture like a daemon that stops, and returns what a store keeps of it.
fn leave(mut capture: Capture) -> (Descriptors, KernelSide) {
    let kernel_side = capture.kernel_side().unwrap();
    let kept = capture.keep();
    let kept = kept
        .iter()
        .map(|(name, descriptor)| (name.clone(), descriptor.try_clone_to_owned().unwrap()))
        .collect();
    capture.stop();
    (kept, kernel_side)
}

/// Continues with what a store has kept, and completes a replacement.
fn resume(options: &Options, kept: Descriptors, of: &KernelSide) -> (Capture, Handover) {
    match Capture::resume(options, kept, of).unwrap() {
        Resumed::Adopted(capture, unobserved) => (*capture, Handover::Adopted(unobserved)),
        Resumed::Prepared(replacement) => {
            let (capture, unobserved) = replacement.complete().unwrap();
            (capture, Handover::Replaced(unobserved))
        }
    }
}

/// Takes everything out of the buffer and the tally, and returns the number of execs by program.
fn execs(capture: &mut Capture) -> HashMap<String, u64> {
    let mut execs = HashMap::new();
    let mut count = |subject: &record::Subject, count: u64| {
        if record::kind(subject) == Kind::Exec {
            let name = String::from_utf8_lossy(nul_terminated(&subject.comm)).into_owned();
            *execs.entry(name).or_default() += count;
        }
    };
    capture
        .drain_events(&mut |bytes| count(&Event::decode(bytes).unwrap().subject, 1))
        .unwrap();
    // What a killed process had begun to drain comes with the second drain.
    for _ in 0..2 {
        capture
            .drain_tally(&mut |key, value| {
                let value = record::decode_tally_count(value).unwrap();
                count(&Event::decode_subject(key).unwrap(), value.count);
            })
            .unwrap();
    }
    execs
}

fn options(transport: TransportKind) -> Options {
    Options {
        transports: vec![transport],
        buffer_pages: 8,
        ..Options::default()
    }
}

#[test]
fn a_later_daemon_adopts_the_same_programs_and_finds_what_they_counted_in_between() {
    for transport in TransportKind::ALL {
        let programs = Programs::new();
        let program = |name| programs.named(name);
        let options = options(transport);
        let mut capture = Capture::start(&options).unwrap();
        exec_times(&program("before"), 3);
        assert_eq!(execs(&mut capture)["before"], 3, "{transport:?}");
        let (kept, kernel_side) = leave(capture);
        exec_times(&program("between"), 4);
        let (mut capture, handover) = resume(&options, kept, &kernel_side);
        assert_eq!(handover, Handover::Adopted(Duration::ZERO));
        exec_times(&program("after"), 5);
        let found = execs(&mut capture);
        assert_eq!((found["between"], found["after"]), (4, 5), "{transport:?}");
        assert_eq!(found.get("before"), None, "{transport:?}");
    }
}

#[test]
fn other_options_replace_the_programs_and_what_the_old_ones_counted_is_kept() {
    for transport in TransportKind::ALL {
        let programs = Programs::new();
        let program = |name| programs.named(name);
        let mut capture = Capture::start(&options(transport)).unwrap();
        exec_times(&program("before"), 3);
        assert_eq!(execs(&mut capture)["before"], 3, "{transport:?}");
        let seen = capture.ledgers().unwrap()[Kind::Exec].seen;
        let exits = capture.exits().unwrap().total();
        let (kept, kernel_side) = leave(capture);
        exec_times(&program("between"), 4);
        let other = Options {
            inputs: [Input::ParentComm].into(),
            ..options(transport)
        };
        let (mut capture, handover) = resume(&other, kept, &kernel_side);
        assert!(matches!(handover, Handover::Replaced(_)), "{handover:?}");
        exec_times(&program("after"), 5);
        let found = execs(&mut capture);
        assert_eq!((found["between"], found["after"]), (4, 5), "{transport:?}");
        assert!(capture.ledgers().unwrap()[Kind::Exec].seen >= seen + 9);
        assert!(capture.exits().unwrap().total() >= exits + 9);
        println!("{transport:?}: {handover:?}");
    }
}

#[test]
fn programs_can_be_replaced_again_after_a_replacement_that_was_not_saved() {
    for transport in TransportKind::ALL {
        let programs = Programs::new();
        let program = |name| programs.named(name);
        let mut capture = Capture::start(&options(transport)).unwrap();
        exec_times(&program("before"), 3);
        assert_eq!(execs(&mut capture)["before"], 3, "{transport:?}");
        let seen = capture.ledgers().unwrap()[Kind::Exec].seen;
        let (kept, kernel_side) = leave(capture);
        let other = Options {
            inputs: [Input::ParentComm].into(),
            ..options(transport)
        };

        // A daemon that is killed before its programs observe has changed nothing.
        drop(Capture::resume(&other, duplicates(&kept), &kernel_side).unwrap());
        exec_times(&program("prepared"), 4);
        // One that is killed afterwards has.
        let (capture, handover) = resume(&other, duplicates(&kept), &kernel_side);
        let Handover::Replaced(first) = handover else {
            panic!("{handover:?}")
        };
        drop(capture);
        exec_times(&program("unobserved"), 5);
        let (mut capture, handover) = resume(&other, kept, &kernel_side);
        let Handover::Replaced(second) = handover else {
            panic!("{handover:?}")
        };
        assert!(second > first, "{transport:?}: {second:?}, then {first:?}");
        exec_times(&program("after"), 6);
        let found = execs(&mut capture);
        assert_eq!(found["after"], 6, "{transport:?}");
        assert_eq!(found.get("unobserved"), None, "{transport:?}");
        // The killed daemon has taken these out of the kernel. They are in the ledger.
        assert_eq!(found.get("prepared"), None, "{transport:?}");
        assert!(capture.ledgers().unwrap()[Kind::Exec].seen >= seen + 4 + 6);
    }
}

#[test]
fn paused_programs_continue_if_no_others_replace_them_after_all() {
    for transport in TransportKind::ALL {
        let programs = Programs::new();
        let program = |name| programs.named(name);
        let options = options(transport);
        let (kept, kernel_side) = leave(Capture::start(&options).unwrap());
        let other = Options {
            inputs: [Input::ParentComm].into(),
            ..options.clone()
        };
        // This daemon is killed when its programs have replaced the old ones, but are not saved.
        let (capture, _) = resume(&other, duplicates(&kept), &kernel_side);
        drop(capture);
        let unobserved = Instant::now();
        exec_times(&program("unobserved"), 5);
        let at_least = unobserved.elapsed();
        let (mut capture, handover) = resume(&options, kept, &kernel_side);
        let Handover::Adopted(paused) = handover else {
            panic!("{handover:?}")
        };
        assert!(paused > at_least, "{paused:?}, {at_least:?}");
        exec_times(&program("after"), 6);
        let found = execs(&mut capture);
        assert_eq!(found["after"], 6, "{transport:?}");
        assert_eq!(found.get("unobserved"), None, "{transport:?}");
    }
}

#[test]
fn descriptors_of_something_else_are_refused() {
    let options = options(TransportKind::Ring);
    let (kept, kernel_side) = leave(Capture::start(&options).unwrap());
    for name in kept.keys() {
        let mut missing: Descriptors = duplicates(&kept);
        missing.remove(name);
        let error = Capture::resume(&options, missing, &kernel_side).unwrap_err();
        assert_eq!(error.to_string(), format!("descriptor {name} is missing"));

        let mut foreign = duplicates(&kept);
        let null = std::fs::File::open("/dev/null").unwrap();
        foreign.insert(name.clone(), null.into());
        let error = Capture::resume(&options, foreign, &kernel_side).unwrap_err();
        let expected = format!("descriptor {name} is not what its name says");
        assert_eq!(error.to_string(), expected);
    }
}

fn duplicates(descriptors: &Descriptors) -> Descriptors {
    let duplicate = descriptors.iter().map(|(name, descriptor)| {
        let duplicate = descriptor.try_clone().unwrap();
        (name.clone(), duplicate)
    });
    duplicate.collect()
}
