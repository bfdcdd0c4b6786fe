//! What a killed daemon had received and not saved.

use super::*;

#[test]
fn lost_failures_are_known_once_none_is_in_progress() {
    let view = || vec![View::new(vec![Label::Comm], 5).with_metrics(vec![Metric::Failures])];
    let mut failed = Event::default();
    failed.subject.kind = Kind::Failure.in_kernel();
    failed.subject.retval = -2;
    let fail = |times| {
        let count = TallyCount {
            count: times,
            ..TallyCount::default()
        };
        Message::Tally(vec![(failed.subject, count)], Names::default())
    };
    let flushed = |tallied| {
        let mut flush = Flush::default();
        flush.failures.add(2, tallied);
        for ledgers in [&mut flush.before, &mut flush.after] {
            ledgers[Kind::Failure].seen = tallied;
            ledgers[Kind::Failure].tallied = tallied;
        }
        Message::Flushed(Box::new(flush))
    };
    let mut aggregator = Aggregator::new(view());
    aggregator.apply(fail(10));
    aggregator.apply(flushed(10));
    let mut aggregator = Aggregator::resume(aggregator.saved(), view());
    // The killed daemon had received 3 more, and others follow.
    let settled = |failures| Message::Settled {
        delivered: [Some(0), failures, Some(0), Some(0)],
        undecodable: 0,
    };
    aggregator.apply(settled(None));
    aggregator.apply(fail(5));
    aggregator.apply(flushed(18));
    let snapshot = aggregator.snapshot();
    assert_eq!(snapshot.differences, [0; 4]);
    assert_eq!(snapshot.failures_without_subject, 0);
    aggregator.apply(settled(Some(18)));
    aggregator.apply(flushed(18));
    let snapshot = aggregator.snapshot();
    assert_eq!(snapshot.differences, [0; 4]);
    assert_eq!(snapshot.failures_without_subject, 3);
}
