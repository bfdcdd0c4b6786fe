//! Views with all that the kernel numbers or leaves raw spelled out: their series as
//! [`metrics`](crate::metrics) and [`summary`](crate::page::summary) both show them.

use std::collections::{BTreeSet, HashMap};

use crate::names::escape;
use crate::names::users::Users;
use crate::pipeline::snapshot::Snapshot;
use crate::pipeline::view::{self, Counts, Key, Label, ViewCounts};
use crate::record::nul_terminated;

/// The values of a view's labels, in their order, and what was counted of them.
pub type Series = (Vec<String>, Counts);

/// Look up the names of the users that the views have.
pub async fn resolve(snapshot: &Snapshot, users: &Users) {
    let views = snapshot.views.iter();
    let by_name = views.filter(|view| view.labels.contains(&Label::User));
    let uids: BTreeSet<u32> = by_name
        .flat_map(|view| view.series.iter().map(|(key, _)| key.uid))
        .collect();
    users.resolve(uids).await;
}

/// The series of a view, in no order. Those that are told apart by something that is no
/// label, the uid behind a user's name, are one.
pub fn series(view: &ViewCounts, users: &Users) -> Vec<Series> {
    let labels = &view.labels;
    let series = view.series.iter();
    if !view::is_by_user_alone(labels) {
        return series
            .map(|(key, counts)| (values(labels, key, users), *counts))
            .collect();
    }
    let mut merged: HashMap<Vec<String>, Counts> = HashMap::new();
    for (key, counts) in series {
        // Counts that went to another name would go back where they were.
        users.keep(key.uid);
        *merged.entry(values(labels, key, users)).or_default() += *counts;
    }
    merged.into_iter().collect()
}

/// What has no series of its own in this view, for want of a place or of a name. The sum of
/// it and of the series is the total.
pub fn other(view: &ViewCounts, snapshot: &Snapshot) -> Counts {
    let mut rest = Counts {
        execs: snapshot.unattributed,
        cpu_ns: 0,
    };
    rest += view.overflow;
    rest += view.nameless;
    rest
}

fn values(labels: &[Label], key: &Key, users: &Users) -> Vec<String> {
    let value = |label: &Label| match label {
        Label::Comm => escape::escape(nul_terminated(&key.comm)),
        Label::ParentComm => escape::escape(nul_terminated(&key.parent_comm)),
        Label::Uid => key.uid.to_string(),
        Label::User => escape::escape(&users.name(key.uid)),
        Label::Unit => escape::escape(key.unit.as_deref().unwrap_or_default()),
        Label::Slice => escape::escape(key.slice.as_deref().unwrap_or_default()),
        Label::Container => escape::escape(key.container.as_deref().unwrap_or_default()),
    };
    labels.iter().map(value).collect()
}
