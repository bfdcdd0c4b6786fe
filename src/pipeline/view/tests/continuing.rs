//! A view that continues another one's counts.

use super::*;

#[test]
fn a_view_with_other_settings_takes_over_the_counts() {
    let by_comm = |max_series| View::new(vec![Label::Comm], max_series);
    let key = |comm: &str| key_of(&[Label::Comm], comm).unwrap();
    let mut view = by_comm(3).reserve([key("a")]);
    for comm in *b"abcd" {
        view.add(&subject(comm, 0), Named::default(), NOW, execs(1));
    }
    let series = |view: &View| {
        let counts = view.counts();
        (*b"abcde").map(|comm| execs_of(&counts, comm))
    };
    let one = Some(1);
    assert_eq!(series(&view), [one, one, one, None, None]);

    // More slots, and `b` is reserved in place of `a`.
    let mut view = by_comm(4)
        .reserve([key("b")])
        .continuing(view, NOW, &Before::default());
    view.add(&subject(b'd', 0), Named::default(), NOW, execs(1));
    assert_eq!(series(&view), [one, one, one, one, None]);
    assert_eq!(view.counts().overflow, execs(1));

    // Fewer slots than series: idle series are evicted, but only when a new one arrives.
    let mut view = by_comm(2)
        .idle_after(NOW)
        .continuing(view, NOW, &Before::default());
    view.show();
    assert_eq!(series(&view), [one, one, one, one, None]);
    view.add(&subject(b'd', 0), Named::default(), NOW * 2, execs(1));
    view.add(&subject(b'e', 0), Named::default(), NOW * 2, execs(1));
    assert_eq!(series(&view), [None, None, None, Some(2), one]);
    assert_eq!(view.counts().yielded, execs(3));
    assert_eq!(view.counts().overflow, execs(1));
}

#[test]
fn one_new_series_evicts_all_series_above_the_limit() {
    const SERIES: u32 = 1000;
    let mut view = View::new(vec![Label::Uid], 2 * SERIES as usize);
    for uid in 0..SERIES {
        view.add(&subject(b'a', uid), Named::default(), NOW, execs(1));
    }
    let mut view =
        View::new(vec![Label::Uid], 3)
            .idle_after(NOW)
            .continuing(view, NOW, &Before::default());
    view.add(&subject(b'a', SERIES), Named::default(), NOW * 2, execs(1));
    let counts = view.counts();
    assert_eq!(counts.series.len(), 3);
    assert_eq!(counts.overflow, execs(u64::from(SERIES) - 2));
}

#[test]
fn an_added_metric_starts_at_the_reload_even_in_older_series() {
    let [begun, added] = [1, 2].map(Timestamp::from_unix_ms);
    let with = |metrics: &[Metric]| View::new(vec![Label::Comm], 3).with_metrics(metrics.to_vec());
    let mut view = with(&[Metric::Execs]).starting(begun);
    view.add(&subject(b'a', 0), Named::default(), NOW, execs(1));
    let view = with(&[Metric::Execs, Metric::Exits])
        .starting(added)
        .continuing(view, NOW, &Before::default());
    let saved = View::resume(view.saved(), NOW).unwrap();
    let resumed = with(&[Metric::Execs, Metric::Exits])
        .starting(begun)
        .continuing(saved, NOW, &Before::default());
    for view in [view, resumed] {
        let counts = view.counts();
        let start = counts.series[0].start;
        assert_eq!(counts.start_of(Metric::Execs, start), begun);
        assert_eq!(counts.start_of(Metric::Exits, start), added);
    }
}

#[test]
fn a_saved_view_with_a_metric_of_another_version_adds_up_by_its_execs() {
    let counted = Counts {
        cpu_ns: 5,
        ..execs(1)
    };
    let before = Before {
        counts: execs(2),
        unattributed: execs(1),
        ..Before::default()
    };
    let mut view = View::new(vec![Label::Comm], 3).beginning_with(&before);
    view.add(&subject(b'a', 0), Named::default(), NOW, counted);
    let mut saved = view.saved();
    let attributed = Counts {
        cpu_ns: 7,
        ..execs(2)
    };
    // A view that this version knows has to have counted all CPU time.
    assert!(!saved.adds_up(attributed, execs(1), &Failures::default()));
    saved
        .metrics
        .push(("of_the_future".to_owned(), Timestamp::default()));
    assert!(saved.adds_up(attributed, execs(1), &Failures::default()));
    assert!(!saved.adds_up(execs(3), execs(1), &Failures::default()));
    assert!(View::resume(saved, NOW).is_none());
}
