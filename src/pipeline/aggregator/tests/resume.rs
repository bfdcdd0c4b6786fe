use std::os::fd::AsFd;

use proptest::prelude::*;

use super::*;
use crate::names::cgroup::Cgroup;
use crate::names::own_label::{OwnLabel, OwnLabels};
use crate::pipeline::saved::State;
use crate::pipeline::view::SeriesCounts;
use crate::sys::state_file::StateFile;

/// What is saved and decoded again.
fn saved(aggregator: &Aggregator) -> Saved {
    state_of(aggregator.saved()).counts
}

fn state_of(counts: Saved) -> State {
    let continuity = Continuity::new(SystemTime::UNIX_EPOCH, KernelSide::default());
    let state = State { continuity, counts };
    State::decode(&state.encode().unwrap()).unwrap()
}

fn own() -> OwnLabel {
    OwnLabel::new("first", "^/([^/]+)")
}

fn views() -> Vec<View> {
    let labels = [
        vec![Label::Comm],
        vec![Label::Uid, Label::User],
        vec![Label::Unit, Label::ParentComm],
        vec![Label::PodUid, Label::Own(own())],
    ];
    labels.map(|labels| View::new(labels, 1000)).into()
}

fn event(comm: u8, uid: u32, is_cpu_time: bool) -> Event {
    let kind = if is_cpu_time {
        Kind::CpuTime
    } else {
        Kind::Exec
    };
    let mut event = Event {
        cpu_ns: 7,
        ..Event::default()
    };
    event.subject.comm[0] = comm;
    event.subject.parent_comm = *b"a whole name....";
    event.subject.uid = uid;
    event.subject.cgroup_id = u64::from(uid);
    event.subject.kind = kind.in_kernel();
    event
}

fn events(events: Vec<Event>) -> Message {
    let labels = OwnLabels::compile([own()]).unwrap();
    let cgroup = Arc::new(Cgroup::labelled(b"/system.slice/ssh.service", &labels));
    let names = Names {
        cgroups: [(1, cgroup)].into(),
        ..Names::default()
    };
    Message::Events(events, names)
}

fn flushed(ledgers: [Ledger; 2]) -> Flush {
    let mut flush = Flush {
        is_scrape: true,
        ..Flush::default()
    };
    for (kind, ledger) in [Kind::Exec, Kind::CpuTime].into_iter().zip(ledgers) {
        flush.before[kind] = ledger;
        flush.after[kind] = ledger;
    }
    flush
}

/// A view's series in order, and its other counts.
fn counts_of(view: &ViewCounts) -> (Vec<SeriesCounts>, [Counts; 3]) {
    let mut series = view.series.clone();
    series.sort_by_key(|series| format!("{:?}", series.key));
    let others = [view.overflow, view.yielded, view.unattributed_before];
    (series, others)
}

fn assert_equal(one: &Aggregator, other: &Aggregator) {
    let (one, other) = (one.snapshot(), other.snapshot());
    let totals = |snapshot: &Snapshot| {
        let recent = snapshot.recent.counts().sum::<u64>();
        (
            [
                snapshot.execs,
                snapshot.unattributed,
                snapshot.missed,
                recent,
            ],
            [snapshot.unattributed_cpu_ns, snapshot.unknown_parents],
            [
                snapshot.unknown_cgroup_execs,
                snapshot.unknown_exe_execs,
                snapshot.flush.undecodable,
            ],
            (snapshot.missed_at_most, snapshot.differences),
        )
    };
    assert_eq!(totals(&one), totals(&other));
    assert_eq!(one.views.len(), other.views.len());
    for (one, other) in one.views.iter().zip(&other.views) {
        assert_eq!(counts_of(one), counts_of(other));
        let recent = |view: &ViewCounts| view.recent_other.counts().sum::<u64>();
        assert_eq!(recent(one), recent(other));
    }
}

proptest! {
    #[test]
    fn counts_go_on_as_if_the_daemon_had_not_been_restarted(
        messages in proptest::collection::vec(
            (proptest::collection::vec((0..20_u8, 0..4_u32, any::<bool>()), 0..20),
                0..3_u64, any::<bool>()),
            1..20,
        ),
    ) {
        let mut uninterrupted = Aggregator::new(views());
        let mut restarted = Aggregator::new(views());
        // The second one continues, so that the restarts happen within its counts.
        restarted.start = uninterrupted.start;
        restarted.flush.began = uninterrupted.flush.began;
        restarted.views = views().into_iter().map(|v| v.starting(restarted.start)).collect();
        let mut unattributed = 0;
        for (subjects, more, restarts) in messages {
            let observed: Vec<_> = subjects.into_iter().map(|(c, u, t)| event(c, u, t)).collect();
            unattributed += more;
            let ledger = Ledger { unattributed, ..Ledger::default() };
            for aggregator in [&mut uninterrupted, &mut restarted] {
                aggregator.apply(events(observed.clone()));
                aggregator.apply(Message::Flushed(Box::new(flushed([ledger; 2]))));
            }
            if restarts {
                restarted = Aggregator::resume(saved(&restarted), views());
            }
            // The kernel side has no ledger of what the test sends.
            prop_assert_eq!(restarted.totals.lost, [0; 4]);
        }
        for aggregator in [&mut uninterrupted, &mut restarted] {
            aggregator.apply(events(vec![event(b'z', 1, false)]));
            aggregator.apply(Message::Flushed(Box::new(flushed([Ledger {
                unattributed,
                ..Ledger::default()
            }; 2]))));
        }
        assert_equal(&uninterrupted, &restarted);
    }
}

#[test]
fn views_with_other_labels_begin_as_after_a_reload() {
    let mut aggregator = Aggregator::new(views());
    aggregator.apply(events(vec![event(b'a', 1, false), event(b'a', 1, true)]));
    aggregator.apply(Message::Flushed(Box::new(flushed([
        Ledger {
            unattributed: 4,
            seen: 5,
            ..Ledger::default()
        },
        Ledger {
            unattributed: 1,
            unattributed_cpu_ns: 9,
            seen: 2,
            ..Ledger::default()
        },
    ]))));
    let views = vec![
        View::new(vec![Label::Comm], 5),
        View::new(vec![Label::Slice], 5),
    ];
    let resumed = Aggregator::resume(saved(&aggregator), views).snapshot();
    let [by_comm, by_slice] = &resumed.views[..] else {
        panic!("two views");
    };
    let one = Counts {
        execs: 1,
        cpu_ns: 7,
        ..Counts::default()
    };
    let without_subject = Counts {
        execs: 4,
        cpu_ns: 9,
        ..Counts::default()
    };
    let mut all = one;
    all += without_subject;
    assert_eq!(keys_and_counts(by_comm)[0].1, one);
    assert_eq!(by_comm.yielded, Counts::default());
    assert_eq!(series::other(by_comm, &resumed), without_subject);
    assert_eq!(by_slice.yielded, all);
    assert_eq!(series::other(by_slice, &resumed), Counts::default());
    assert_eq!(resumed.execs, 5);
    assert_eq!(resumed.differences, [0; 4]);
}

#[test]
fn what_an_earlier_daemon_lost_is_unattributed_exactly_once() {
    let ledger = |seen, unattributed| Ledger {
        seen,
        unattributed,
        ..Ledger::default()
    };
    let mut aggregator = Aggregator::new(views());
    for is_cpu_time in [false, true] {
        aggregator.apply(events(vec![event(b'a', 1, is_cpu_time); 3]));
    }
    let mut undecodable = flushed([ledger(5, 1), ledger(3, 0)]);
    undecodable.undecodable = 1;
    aggregator.apply(Message::Flushed(Box::new(undecodable)));
    assert_eq!(aggregator.snapshot().differences, [0; 4]);
    // A daemon is killed that has received 4 execs and 2 CPU times and has not saved them.
    let mut lost = [0, 0];
    for _ in 0..3 {
        aggregator = Aggregator::resume(saved(&aggregator), views());
        lost[0] += 4;
        lost[1] += 2;
        let counted = aggregator.totals.clone();
        // An exec waits in the buffer, 2 execs in the tally, and one observation is undecodable.
        aggregator.apply(events(vec![event(b'a', 1, false)]));
        let so_far = counted.attributed.execs + 1 + counted.undecodable + 1;
        aggregator.apply(Message::Settled {
            delivered: [
                Some(so_far + lost[0]),
                None,
                Some(0),
                Some(counted.cpu_times + lost[1]),
            ],
            undecodable: 1,
        });
        aggregator.apply(Message::Tally(
            vec![(
                event(b'a', 1, false).subject,
                TallyCount {
                    count: 2,
                    cpu_ns: 0,
                    ..TallyCount::default()
                },
            )],
            Names::default(),
        ));
        let seen = [so_far + lost[0] + 2 + 1, counted.cpu_times + lost[1]];
        let mut flush = flushed([ledger(seen[0], 1), ledger(seen[1], 0)]);
        flush.undecodable = 1;
        aggregator.apply(Message::Flushed(Box::new(flush)));
        let snapshot = aggregator.snapshot();
        assert_eq!(snapshot.differences, [0; 4]);
        assert_eq!(snapshot.execs, seen[0]);
        assert_eq!(snapshot.unattributed, 1 + counted.undecodable + 1 + lost[0]);
        assert_eq!(snapshot.recent.counts().sum::<u64>(), seen[0]);
        assert_eq!(snapshot.unattributed_cpu_ns, 0);
        for view in &snapshot.views {
            assert_eq!(series::other(view, &snapshot).execs, snapshot.unattributed);
        }
    }
}

#[test]
fn times_go_on_and_are_never_in_the_future() {
    // The clock begins when the host boots, so a pause cannot be longer than that was ago.
    let pause = Duration::from_secs(clock::now().as_secs() / 4);
    let by_comm = || vec![View::new(vec![Label::Comm], 1).idle_after(pause)];
    let mut aggregator = Aggregator::new(by_comm());
    aggregator.apply(events(vec![event(b'a', 1, false)]));
    aggregator.apply(Message::Flushed(Box::new(flushed([Ledger::default(); 2]))));
    let has_slot = |aggregator: &Aggregator, comm| {
        let series = &aggregator.snapshot().views[0].series;
        series.iter().any(|series| series.key.comm[0] == comm)
    };
    // Some time passes while no daemon runs.
    let mut state = saved(&aggregator);
    state.began = state.began.saturating_sub(pause);
    let mut resumed = Aggregator::resume(state, by_comm());
    assert!(resumed.began.elapsed() >= pause);
    resumed.apply(events(vec![event(b'b', 1, false)]));
    assert!(has_slot(&resumed, b'b'));
    assert!(resumed.snapshot().recent.since_start() >= pause);

    // The clock is behind the state, as after a boot.
    let mut state = saved(&resumed);
    state.began += 10 * pause;
    let mut resumed = Aggregator::resume(state, by_comm());
    resumed.began -= pause;
    resumed.apply(events(vec![event(b'c', 1, false)]));
    assert!(has_slot(&resumed, b'c'));
}

#[test]
fn the_execs_per_second_go_on_after_a_restart() {
    let mut aggregator = Aggregator::new(views());
    // The clock of the readings begins at 0, long before this test.
    aggregator.per_second = PerSecond::starting(Duration::ZERO);
    let ms = Duration::from_millis;
    let seen = |unchanged_until, at, execs| Message::Seen {
        unchanged_until: ms(unchanged_until),
        at: ms(at),
        execs,
    };
    aggregator.apply(seen(0, 400, 5));
    aggregator.apply(seen(1_000, 1_300, 7));
    // The next daemon does not know when the count was read last.
    let mut resumed = Aggregator::resume(saved(&aggregator), views());
    resumed.apply(seen(0, 3_000, 3_407));
    let mut flush = flushed([
        Ledger {
            seen: 3_500,
            ..Ledger::default()
        },
        Ledger::default(),
    ]);
    flush.ended = ms(3_900);
    resumed.apply(Message::Flushed(Box::new(flush)));

    let mut expected = PerSecond::starting(Duration::ZERO);
    for (at, execs) in [(1_000, 5), (2_000, 1_407), (3_000, 3_407), (3_900, 3_500)] {
        expected.read(ms(at), execs);
    }
    assert_eq!(resumed.snapshot().per_second, expected);
    assert_eq!(expected.execs(), 3_407);
}

#[test]
fn an_implausible_state_is_refused() {
    let mut aggregator = Aggregator::new(views());
    aggregator.apply(events(vec![event(b'a', 1, false), event(b'b', 1, true)]));
    let counts = aggregator.saved();
    let bytes = {
        let continuity = Continuity::new(SystemTime::UNIX_EPOCH, KernelSide::default());
        let counts = counts.clone();
        State { continuity, counts }.encode().unwrap()
    };
    let refused = |bytes: &[u8]| State::decode(bytes).unwrap_err().to_string();
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(refused(&longer), "it has 1 bytes too many");
    assert!(refused(&bytes[..bytes.len() - 1]).starts_with("it cannot be decoded"));
    assert!(refused(&[]).starts_with("it cannot be decoded"));

    let change = |change: &dyn Fn(&mut State)| {
        let continuity = Continuity::new(SystemTime::UNIX_EPOCH, KernelSide::default());
        let mut state = State {
            continuity,
            counts: counts.clone(),
        };
        change(&mut state);
        refused(&state.encode().unwrap())
    };
    let of_view = "the counts of a view are not plausible";
    assert_eq!(
        change(&|state| state.counts.totals.attributed.execs += 1),
        of_view
    );
    assert_eq!(
        change(&|state| state.counts.totals.attributed.cpu_ns += 1),
        of_view
    );
    assert_eq!(
        change(&|state| state.counts.totals.attributed.execs = u64::MAX),
        "the totals are not plausible"
    );
    assert_eq!(
        change(&|state| state.counts.totals.ledgers[Kind::Exit].seen = 1 << 60),
        "the totals are not plausible"
    );
    assert_eq!(
        change(&|state| state.counts.recent.add(Duration::ZERO, 2)),
        "the execs of the last minutes are not plausible"
    );
    assert_eq!(
        change(&|state| state.counts.per_second.read(Duration::ZERO, u64::MAX)),
        "the execs per second are not plausible"
    );
    assert_eq!(
        change(&|state| {
            state.continuity.adopted = u64::MAX;
        }),
        "the counts of the kernel side are not plausible"
    );
}

proptest! {
    #[test]
    fn a_state_with_changed_bytes_is_refused_or_continues(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut aggregator = Aggregator::new(views());
        aggregator.apply(events((0..9).map(|n| event(n, 1, n % 2 == 0)).collect()));
        aggregator.apply(Message::Flushed(Box::new(flushed([Ledger::default(); 2]))));
        let continuity = Continuity::new(SystemTime::UNIX_EPOCH, KernelSide::default());
        let counts = aggregator.saved();
        let mut bytes = State { continuity, counts }.encode().unwrap();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Ok(state) = State::decode(&bytes) {
            let mut resumed = Aggregator::resume(state.counts, views());
            resumed.apply(events((0..9).map(|n| event(n, 1, n % 2 == 0)).collect()));
            resumed.apply(Message::Flushed(Box::new(flushed([Ledger::default(); 2]))));
        }
    }
}

/// Runs an aggregator that saves to `file`, and returns its last snapshot. `and_then` is called when
/// the messages have been sent, but the channel is still open.
fn run(file: StateFile, messages: Vec<Message>, and_then: impl FnOnce()) -> Arc<Snapshot> {
    let continuity = Continuity::new(SystemTime::UNIX_EPOCH, KernelSide::default());
    let aggregator = Aggregator::new(views()).with_saver(Saver::new(file, continuity));
    let (sender, receiver) = mpsc::channel(16);
    let (publish, _snapshots) = watch::channel(Arc::default());
    std::thread::scope(|scope| {
        let running = scope.spawn(|| aggregator.run(receiver, &publish));
        for message in messages {
            sender.blocking_send(message).unwrap();
        }
        and_then();
        drop(sender);
        running.join().unwrap()
    })
}

#[test]
fn counts_are_saved_when_nothing_more_is_observed_and_at_the_end() {
    let file = StateFile::create().unwrap();
    let read = {
        let file = StateFile::from_fd(file.as_fd().try_clone_to_owned().unwrap());
        move || {
            State::decode(&file.read().unwrap())
                .unwrap()
                .counts
                .totals
                .attributed
                .execs
        }
    };
    let exec = || events(vec![event(b'a', 1, false)]);
    let last = run(file, vec![exec(), exec(), Message::Idle, exec()], || {
        let began = Instant::now();
        while read() < 2 {
            assert!(began.elapsed() < Duration::from_secs(60), "not saved");
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    assert_eq!(last.execs, 3);
    assert_eq!(read(), 3);
}

#[test]
fn counts_are_saved_before_a_scrape_shows_them() {
    let file = StateFile::create().unwrap();
    let reader = StateFile::from_fd(file.as_fd().try_clone_to_owned().unwrap());
    let continuity = Continuity::new(SystemTime::UNIX_EPOCH, KernelSide::default());
    let aggregator = Aggregator::new(views()).with_saver(Saver::new(file, continuity));
    let (sender, receiver) = mpsc::channel(16);
    let (publish, mut snapshots) = watch::channel(Arc::default());
    let running = std::thread::spawn(move || aggregator.run(receiver, &publish));
    for request in 1..=3 {
        sender
            .blocking_send(events(vec![event(b'a', 1, false)]))
            .unwrap();
        let flush = Flush {
            request,
            ..flushed([Ledger::default(); 2])
        };
        sender
            .blocking_send(Message::Flushed(Box::new(flush)))
            .unwrap();
        let began = Instant::now();
        while snapshots.borrow_and_update().flush.request < request {
            assert!(began.elapsed() < Duration::from_secs(60), "not published");
            std::thread::yield_now();
        }
        let state = State::decode(&reader.read().unwrap()).unwrap();
        assert_eq!(state.counts.totals.attributed.execs, request);
    }
    drop(sender);
    running.join().unwrap();
}

#[test]
fn a_state_that_cannot_be_written_ends_nothing() {
    let (pipe, _writer) = std::io::pipe().unwrap();
    let file = StateFile::from_fd(pipe.into());
    let messages = vec![events(vec![event(b'a', 1, false)]), Message::Idle];
    assert_eq!(run(file, messages, || ()).execs, 1);
}

#[test]
fn a_view_with_a_label_that_was_defined_anew_begins_after_a_restart_as_after_a_reload() {
    let by = |pattern| {
        vec![View::new(
            vec![Label::Own(OwnLabel::new("first", pattern))],
            5,
        )]
    };
    let mut aggregator = Aggregator::new(by("^/([^/]+)"));
    aggregator.apply(events(vec![event(b'a', 1, false); 3]));
    let saved = saved(&aggregator);
    let same = Aggregator::resume(saved.clone(), by("^/([^/]+)")).snapshot();
    assert_eq!(
        (same.views[0].series.len(), same.views[0].yielded.execs),
        (1, 0)
    );
    let other = Aggregator::resume(saved, by("^/([^/]+)/")).snapshot();
    assert_eq!(
        (other.views[0].series.len(), other.views[0].yielded.execs),
        (0, 3)
    );
}
