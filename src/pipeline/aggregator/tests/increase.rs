//! What Prometheus makes of the counts: random observations, scrapes and reloads, and a model of
//! `increase()`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;

use crate::names::rename::Rules;
use crate::pipeline::aggregator::Aggregator;
use crate::pipeline::flush::Flush;
use crate::pipeline::matcher::{Condition, Matcher};
use crate::pipeline::message::Message;
use crate::pipeline::name_cache::Names;
use crate::pipeline::series;
use crate::pipeline::snapshot::Snapshot;
use crate::pipeline::view::{Counts, Failures, Key, Label, Metric, View, ViewCounts, key_of, name};
use crate::record::{Kind, Outcome, Subject, TallyCount};

#[derive(Debug, Clone)]
enum Step {
    Count {
        comm: u8,
        uid: u32,
        what: What,
        times: u64,
    },
    Unattributed(u64),
    Flush {
        is_scrape: bool,
    },
    Pass(u64),
    Reload(Vec<Settings>),
}

#[derive(Debug, Clone, Copy)]
enum What {
    Exec,
    CpuTime,
    Exit(Outcome),
    Failure(i32),
}

#[derive(Debug, Clone)]
struct Settings {
    labels: Vec<Label>,
    metrics: Vec<Metric>,
    max_series: usize,
    idle_after: u64,
    user_share: f64,
    always: Vec<&'static str>,
    is_filtered: bool,
    is_renamed: bool,
}

const LABELS: [&[Label]; 6] = [
    &[Label::Comm],
    &[Label::Uid],
    &[Label::Uid, Label::User],
    &[Label::User],
    &[Label::Comm, Label::Uid],
    &[Label::Uid, Label::Comm],
];

impl Settings {
    fn view(&self) -> View {
        // Only a view by `comm` can have these values.
        let always = self.always.iter();
        let reserved = always.filter_map(|value| key_of(&self.labels, value).ok());
        let mut view = View::new(self.labels.clone(), self.max_series)
            .with_metrics(self.metrics.clone())
            .idle_after(Duration::from_secs(self.idle_after))
            .user_share(self.user_share)
            .reserve(reserved);
        if self.is_filtered {
            let condition = Condition::of_names(Label::Comm, true, &["b", "f"]).unwrap();
            view = view.only(Matcher::new(vec![condition]));
        }
        if self.is_renamed && self.labels.contains(&Label::Comm) {
            view = view.renaming(Label::Comm, Rules::compile([("[b-d]", "a")], 15).unwrap());
        }
        view
    }
}

fn settings() -> impl Strategy<Value = Vec<Settings>> {
    let labels = proptest::sample::select(LABELS.to_vec());
    let always = proptest::sample::subsequence(vec!["a", "b"], 0..=2);
    let metrics = proptest::sample::subsequence(Metric::ALL.to_vec(), 1..=Metric::ALL.len());
    let names = (always, any::<bool>(), any::<bool>());
    let view = (labels, metrics, 2_usize..5, 0_u64..3, 0.1..=1.0, names);
    let view = view.prop_map(
        |(labels, metrics, max_series, idle_after, user_share, names)| Settings {
            labels: labels.to_vec(),
            metrics,
            max_series,
            idle_after,
            user_share,
            always: names.0,
            is_filtered: names.1,
            is_renamed: names.2,
        },
    );
    proptest::collection::vec(view, 0..4).prop_map(|mut views| {
        // A configuration in which two views have metrics of the same name is rejected.
        let mut names = HashSet::new();
        views.retain(|view| names.insert(name(&view.labels)));
        views
    })
}

fn step() -> impl Strategy<Value = Step> {
    let what = prop_oneof![
        2 => Just(What::Exec),
        1 => Just(What::CpuTime),
        1 => proptest::sample::select(Outcome::ALL.to_vec()).prop_map(What::Exit),
        1 => (1..4).prop_map(What::Failure),
    ];
    let count =
        (b'a'..b'g', 0_u32..4, what, 1_u64..8).prop_map(|(comm, uid, what, times)| Step::Count {
            comm,
            uid,
            what,
            times,
        });
    prop_oneof![
        20 => count,
        1 => (0_u64..3).prop_map(Step::Unattributed),
        10 => any::<bool>().prop_map(|is_scrape| Step::Flush { is_scrape }),
        4 => (0_u64..40).prop_map(Step::Pass),
        1 => settings().prop_map(Step::Reload),
    ]
}

/// What distinguishes the series of a view for Prometheus: the name of the metric and the labels.
type Identity = (String, BTreeSet<Label>, Vec<&'static str>);

fn identity(labels: &[Label], metrics: &[Metric]) -> Identity {
    let metrics = metrics.iter().map(|metric| metric.name());
    let set = labels.iter().cloned().collect();
    (name(labels), set, metrics.collect())
}

/// A Prometheus that scrapes one view. Each series begins at 0 for it, as with start timestamps.
#[derive(Debug, Default)]
struct Prometheus {
    /// The last sample of each series, however long ago. `None` is the series `other`.
    samples: HashMap<Option<Key>, Counts>,
    /// The same of failed execs, by error. Not every scrape has a sample.
    failures: HashMap<(Option<Key>, Option<i32>), u64>,
    /// The series in the last scrape.
    present: HashSet<Option<Key>>,
    /// The sum of `increase()` over all series since the first scrape, without extrapolation.
    increase: Counts,
    failures_increase: u64,
    yielded: Counts,
    /// The most execs that are not in `increase`, because a series that was shown with one exec was
    /// evicted and has returned with at least one.
    hidden: u64,
    /// What was counted before the view existed.
    before: Counts,
    failures_before: u64,
}

impl Prometheus {
    /// Prometheus detects a counter reset only if a counter decreases.
    fn scrape(&mut self, view: &ViewCounts, snapshot: &Snapshot) {
        let is_first = self.samples.is_empty();
        if is_first {
            self.before = view.yielded;
            self.failures_before = view.failures.yielded.total();
        }
        let has_evicted = !is_first && view.yielded.execs != self.yielded.execs;
        self.yielded = view.yielded;
        let others = view
            .series
            .iter()
            .map(|of| (Some(Key::clone(&of.key)), of.counts));
        let series: Vec<_> = others
            .chain([(None, series::other(view, snapshot))])
            .collect();
        for (key, now) in &series {
            let last = self.samples.insert(key.clone(), *now).unwrap_or_default();
            let since = |last, now| if now < last { now } else { now - last };
            self.increase.execs += since(last.execs, now.execs);
            self.increase.cpu_ns += since(last.cpu_ns, now.cpu_ns);
            self.increase.lifetime_ns += since(last.lifetime_ns, now.lifetime_ns);
            let exits = last.exits.into_iter().zip(now.exits);
            for (sum, (last, now)) in self.increase.exits.iter_mut().zip(exits) {
                *sum += since(last, now);
            }
            let may_have_returned = !self.present.contains(key) || has_evicted;
            self.hidden += u64::from(may_have_returned && last.execs == 1 && now.execs > 0);
        }
        let others = view.series.iter().filter_map(|of| {
            let failures = of.failures.as_deref()?;
            Some((Some(Key::clone(&of.key)), failures.numbers))
        });
        let other = view.failures.other(&snapshot.unattributed_failures);
        for (key, failures) in others.chain([(None, other)]) {
            for (errno, now) in failures.iter() {
                let last = self.failures.insert((key.clone(), errno), now).unwrap_or(0);
                self.failures_increase += if now < last { now } else { now - last };
            }
        }
        self.present = series.into_iter().map(|(key, _)| key).collect();
    }
}

/// Asserts that the counts of a view sum up to the total, and so do the failed execs if it counts them.
fn check(view: &ViewCounts, snapshot: &Snapshot, total: Counts, total_failures: &Failures) {
    let of_series = view.series.iter().filter_map(|of| of.failures.as_deref());
    let mut failures = view.failures.other(&snapshot.unattributed_failures);
    failures += &view.failures.yielded;
    of_series.for_each(|of| failures += &of.numbers);
    if view.metrics.contains(&Metric::Failures) {
        assert_eq!(&failures, total_failures, "{view:?}");
    }
    let mut sum = series::other(view, snapshot);
    sum += view.yielded;
    for series in &view.series {
        sum += series.counts;
    }
    let counted = |counts: Counts| counts.only(&view.metrics);
    assert_eq!(counted(sum), counted(total), "{view:?}");
}

proptest! {
    #[test]
    fn the_increase_of_a_view_is_that_of_the_total_in_any_sequence_of_scrapes(
        first in settings(),
        steps in proptest::collection::vec(step(), 0..300),
    ) {
        let mut aggregator = Aggregator::new(first.iter().map(Settings::view).collect());
        let mut flush = Flush::default();
        let (mut total, mut failures) = (Counts::default(), Failures::default());
        let mut scraped: HashMap<Identity, Prometheus> = HashMap::new();
        for step in steps {
            match step {
                Step::Count { comm, uid, what, times } => {
                    let mut subject = Subject { uid, ..Subject::default() };
                    subject.comm[0] = comm;
                    let mut count = TallyCount { count: times, ..TallyCount::default() };
                    match what {
                        What::Exec => total.execs += times,
                        What::CpuTime => {
                            subject.kind = Kind::CpuTime.in_kernel();
                            count.cpu_ns = times;
                            total.cpu_ns += times;
                        }
                        What::Exit(outcome) => {
                            subject.kind = Kind::Exit.in_kernel();
                            subject.outcome = outcome.in_kernel();
                            count.lifetime_ns = 2 * times;
                            total.exits[outcome.index()] += times;
                            total.lifetime_ns += 2 * times;
                        }
                        What::Failure(errno) => {
                            subject.kind = Kind::Failure.in_kernel();
                            subject.retval = -errno;
                            failures += &Failures::of(errno, times);
                        }
                    }
                    let tally = vec![(subject, count)];
                    aggregator.apply(Message::Tally(tally, Names::default()));
                }
                Step::Unattributed(times) => {
                    flush.after[Kind::Exec].unattributed += times;
                    flush.after[Kind::CpuTime].unattributed_cpu_ns += 3 * times;
                    let exits = &mut flush.after[Kind::Exit];
                    exits.unattributed += times;
                    exits.unattributed_exits[Outcome::Crash.index()] += times;
                    exits.unattributed_lifetime_ns += 5 * times;
                    total.execs += times;
                    total.cpu_ns += 3 * times;
                    total.exits[Outcome::Crash.index()] += times;
                    total.lifetime_ns += 5 * times;
                    flush.failures.add_unattributed(2, times);
                    failures += &Failures::of(2, times);
                    aggregator.apply(Message::Flushed(Box::new(flush.clone())));
                }
                Step::Pass(seconds) => aggregator.began -= Duration::from_secs(seconds),
                Step::Reload(views) => {
                    aggregator.change_views(views.iter().map(Settings::view).collect());
                    // A view that was removed, and is added again later, begins anew.
                    scraped.retain(|labels, _| {
                        views.iter().any(|view| identity(&view.labels, &view.metrics) == *labels)
                    });
                }
                Step::Flush { is_scrape } => {
                    let flush = Flush { is_scrape, ..flush.clone() };
                    aggregator.apply(Message::Flushed(Box::new(flush)));
                    let snapshot = aggregator.snapshot();
                    prop_assert_eq!(snapshot.execs, total.execs);
                    for view in &snapshot.views {
                        check(view, &snapshot, total, &failures);
                        if !is_scrape {
                            continue;
                        }
                        let prometheus = scraped
                            .entry(identity(&view.labels, &view.metrics))
                            .or_default();
                        prometheus.scrape(view, &snapshot);
                        let expected = total.only(&view.metrics) - prometheus.before;
                        let increase = prometheus.increase;
                        let all_but_execs = |counts: Counts| Counts { execs: 0, ..counts };
                        prop_assert_eq!(all_but_execs(increase), all_but_execs(expected));
                        prop_assert!(increase.execs <= expected.execs);
                        let missing = expected.execs - increase.execs;
                        prop_assert!(missing <= prometheus.hidden, "{missing}");
                        if view.metrics.contains(&Metric::Failures) {
                            let expected = failures.total() - prometheus.failures_before;
                            prop_assert_eq!(prometheus.failures_increase, expected);
                        }
                    }
                }
            }
        }
    }
}
