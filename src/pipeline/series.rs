//! The series of a view with their label values as text, for the metrics and the page.

use std::collections::HashMap;
use std::sync::Arc;

use crate::names::escape;
use crate::names::users::{UserNames, Users, Wanted};
use crate::pipeline::snapshot::Snapshot;
use crate::pipeline::view::{self, Counts, Key, Label, SeriesCounts, StartedFailures, ViewCounts};
use crate::sys::clock::Timestamp;

/// A series of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// The label values, in the order of the view's labels.
    pub values: Vec<String>,
    pub counts: Counts,
    /// Only if there are any.
    pub failures: Option<Arc<StartedFailures>>,
    /// When the series had not counted anything yet. A series that continues the counts of an earlier
    /// one, because the name of its user has changed, has no such time.
    pub start: Option<Timestamp>,
}

/// Looks up the names of the users in all views.
pub async fn resolve(snapshot: &Snapshot, users: &Users) -> UserNames {
    let mut wanted = Wanted {
        order: snapshot.flush.request,
        ..Wanted::default()
    };
    for view in &snapshot.views {
        for label in view.labels.iter().filter(|label| label.is_user_name()) {
            let series = view.series.iter();
            let uids = series.filter_map(|series| series.key.user_of(label));
            if view::grouping(&view.labels).any(|by| by == label) {
                wanted.alone.extend(uids);
            } else {
                wanted.beside_uid.extend(uids);
            }
        }
    }
    users.resolve(&wanted).await
}

/// The counts, the failed execs and the start of series with the same names.
type Merged = (Counts, Option<StartedFailures>, Option<Timestamp>);

/// Returns the series of a view in no particular order. In a view by `user` without `uid`, uids
/// with the same name are one series, which starts with the first of them; likewise by `login_user`
/// without `loginuid`.
pub fn series(view: &ViewCounts, names: &UserNames) -> Vec<Series> {
    let labels = &view.labels;
    let series = view.series.iter();
    if !view::is_by_user_name(labels) {
        return series
            .map(|series| Series {
                values: values(labels, &series.key, names),
                counts: series.counts,
                failures: series.failures.clone(),
                start: start(labels, series, names),
            })
            .collect();
    }
    let mut merged: HashMap<_, Merged> = HashMap::new();
    for one in series {
        let start = start(labels, one, names);
        let entry = merged.entry(values(labels, &one.key, names));
        let (counts, failures, first) = entry.or_insert((Counts::default(), None, start));
        *counts += one.counts;
        if let Some(more) = &one.failures {
            failures.get_or_insert_default().merge(more);
        }
        *first = first.zip(start).map(|(first, start)| first.min(start));
    }
    let series = merged.into_iter();
    series
        .map(|(values, (counts, failures, start))| Series {
            values,
            counts,
            failures: failures.map(Arc::new),
            start,
        })
        .collect()
}

fn start(labels: &[Label], series: &SeriesCounts, names: &UserNames) -> Option<Timestamp> {
    // A name that is shown without its ID never changes.
    let is_alone = |label: &Label| view::grouping(labels).any(|by| by == label);
    let mut beside_ids = labels
        .iter()
        .filter(|label| label.is_user_name() && !is_alone(label));
    let has_old_counts = beside_ids.any(|label| {
        let uid = series.key.user_of(label);
        uid.and_then(|uid| names.changed(uid)) > Some(series.start)
    });
    (!has_old_counts).then_some(series.start)
}

/// Returns the counts of everything that had no series when it was counted, because all slots were
/// taken, the view's filter left it out or the subject is not known. The sum of the series, `other`
/// and [`ViewCounts::yielded`] is the total.
pub fn other(view: &ViewCounts, snapshot: &Snapshot) -> Counts {
    let unattributed = Counts {
        execs: snapshot.unattributed,
        cpu_ns: snapshot.unattributed_cpu_ns,
        exits: snapshot.unattributed_exits,
        lifetime_ns: snapshot.unattributed_lifetime_ns,
    };
    let unattributed = unattributed.only(&view.metrics);
    let mut other = unattributed.saturating_sub(view.unattributed_before);
    other += view.overflow;
    other += view.filtered;
    other
}

fn values(labels: &[Label], key: &Key, names: &UserNames) -> Vec<String> {
    let value = |label: &Label| match key.user_of(label) {
        Some(uid) if !label.is_user_name() => uid.to_string(),
        Some(uid) if view::grouping(labels).any(|by| by == label) => {
            escape::escape(names.alone(uid))
        }
        Some(uid) => escape::escape(names.beside_uid(uid)),
        None if label.is_exe() => escape::escape_or_unknown(key.name_of(label, labels)),
        None => escape::escape(key.name_of(label, labels)),
    };
    labels.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;

    const VIEWS: [&[Label]; 4] = [
        &[Label::User],
        &[Label::User, Label::Comm],
        &[Label::Uid, Label::User],
        &[Label::Uid, Label::User, Label::LoginUser],
    ];

    /// How the name service behaves.
    #[derive(Clone, Copy)]
    enum Service {
        IsSlow,
        Fails,
        Answers(&'static [u8]),
    }

    const PATIENCE: Duration = Duration::from_millis(500);

    /// Returns users whose names come from a name service that the test controls. Names are looked
    /// up again for each snapshot.
    fn users() -> (Users, Arc<Mutex<Service>>) {
        let service = Arc::new(Mutex::new(Service::Fails));
        let asked = Arc::clone(&service);
        let look_up = move |_| {
            let mut is_late = false;
            loop {
                let service = *asked.lock().unwrap();
                match service {
                    Service::IsSlow => is_late = true,
                    _ if is_late => return Some(b"late".to_vec()),
                    Service::Fails => return None,
                    Service::Answers(name) => return Some(name.to_vec()),
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        (Users::by(look_up, PATIENCE, Duration::ZERO), service)
    }

    /// A snapshot with the uids 1 to `uids`, each with `execs` execs in each view, and with 5
    /// unattributed execs.
    fn snapshot(request: u64, uids: u32, execs: u64) -> Snapshot {
        let counts = Counts {
            execs,
            cpu_ns: 0,
            ..Counts::default()
        };
        let series = |uid| SeriesCounts {
            key: Arc::new(Key {
                uid,
                ..Key::default()
            }),
            counts,
            failures: None,
            start: Timestamp::from_unix_ms(u64::from(uid)),
        };
        let view = |labels: &[Label]| ViewCounts {
            labels: labels.to_vec(),
            series: (1..=uids).map(series).collect(),
            ..ViewCounts::default()
        };
        let mut snapshot = Snapshot {
            execs: u64::from(uids) * execs + 5,
            unattributed: 5,
            views: VIEWS.map(view).to_vec(),
            ..Snapshot::default()
        };
        snapshot.flush.request = request;
        snapshot
    }

    #[tokio::test]
    async fn no_series_by_user_alone_decreases_while_the_name_service_is_slow_or_fails() {
        let (users, service) = users();
        let mut shown = [HashMap::<Vec<String>, u64>::new(), HashMap::new()];
        let phases = [
            Service::IsSlow,
            Service::Fails,
            Service::Answers(b"alice"),
            Service::Answers(b"bob"),
            Service::Fails,
        ];
        let mut last = UserNames::default();
        // Two scrapes in each phase: one with a new uid and one without.
        for scrape in 0..10_u32 {
            *service.lock().unwrap() = phases[scrape as usize / 2];
            let snapshot = snapshot(u64::from(scrape), 1 + scrape / 2, u64::from(10 + scrape));
            last = resolve(&snapshot, &users).await;
            for (view, shown) in snapshot.views.iter().zip(&mut shown) {
                let now = series(view, &last);
                let now = now.into_iter().map(|of| (of.values, of.counts.execs));
                let now: HashMap<_, _> = now.collect();
                for (name, before) in shown.iter() {
                    assert!(now.get(name) >= Some(before), "{name:?} in scrape {scrape}");
                }
                let other = other(view, &snapshot).execs;
                assert_eq!(now.values().sum::<u64>() + other, snapshot.execs);
                *shown = now;
            }
            // If the phase has changed, a slow look-up ends now.
            std::thread::sleep(Duration::from_millis(50));
        }
        let alone = [1, 2, 3, 4, 5].map(|uid| last.alone(uid));
        assert_eq!(alone, [&b""[..], b"", b"alice", b"bob", b""]);
        // Where the uid is a label as well, a name can change.
        assert_eq!(last.beside_uid(1), b"bob");
    }

    #[tokio::test]
    async fn a_series_that_continues_under_a_new_name_has_no_start() {
        let (users, service) = users();
        let starts = async |request| {
            let mut snapshot = snapshot(request, 1, 10);
            // A series that begins later.
            let mut later = snapshot.views[2].series[0].clone();
            later.start = Timestamp::from_unix_ms(u64::MAX);
            snapshot.views[2].series.push(later);
            let names = resolve(&snapshot, &users).await;
            // In the last view, series with equal names are one.
            let starts = snapshot.views[2..]
                .iter()
                .flat_map(|view| series(view, &names));
            starts
                .map(|series| series.start.is_some())
                .collect::<Vec<_>>()
        };
        for (request, service_is, expected) in [
            (1, Service::Answers(b"alice"), [true, true, true]),
            (2, Service::Fails, [true, true, true]),
            (3, Service::Answers(b"bob"), [false, true, false]),
            (4, Service::Answers(b"bob"), [false, true, false]),
        ] {
            *service.lock().unwrap() = service_is;
            assert_eq!(starts(request).await, expected, "{request}");
        }
    }
}
