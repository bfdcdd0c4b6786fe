//! The labels of a view, and the key that distinguishes its series.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::encoding;
use crate::names::parse;
use crate::record::Comm;

/// A label by which a view can group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// The name of the program after the exec.
    Comm,
    /// The name of the real parent process.
    ParentComm,
    /// The real user ID.
    Uid,
    /// The name of the real user, or empty if the user has none.
    User,
    /// The systemd unit.
    Unit,
    /// The systemd slice.
    Slice,
    /// The short ID of the container.
    Container,
}

impl Label {
    pub const ALL: [Self; 7] = [
        Self::Comm,
        Self::ParentComm,
        Self::Uid,
        Self::User,
        Self::Unit,
        Self::Slice,
        Self::Container,
    ];

    /// Returns the name in the configuration, which is also that of the Prometheus label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Comm => "comm",
            Self::ParentComm => "parent_comm",
            Self::Uid => "uid",
            Self::User => "user",
            Self::Unit => "unit",
            Self::Slice => "slice",
            Self::Container => "container",
        }
    }

    /// Returns the label with this [`name`](Self::name).
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|label| label.name() == name)
    }

    /// Returns whether the value comes from the name of the cgroup.
    pub fn is_of_cgroup(self) -> bool {
        matches!(self, Self::Unit | Self::Slice | Self::Container)
    }
}

/// Returns the labels that distinguish series. If `uid` is among the labels, `user` is left out,
/// because a uid has only one name.
pub fn grouping(labels: &[Label]) -> impl Iterator<Item = Label> {
    let by_uid = labels.contains(&Label::Uid);
    let labels = labels.iter().copied();
    labels.filter(move |&label| label != Label::User || !by_uid)
}

/// Returns whether `user` is among the labels and `uid` is not.
pub fn is_by_user_alone(labels: &[Label]) -> bool {
    labels.contains(&Label::User) && !labels.contains(&Label::Uid)
}

/// Returns the name of a view with these labels: the `<labels>` in the names of its metrics.
pub fn name(labels: &[Label]) -> String {
    let names: Vec<_> = grouping(labels).map(Label::name).collect();
    names.join("_")
}

/// Returns the key of the series with this label value, in a view in which a single label
/// distinguishes series. A user is given by name or by uid. The error says what is wrong.
pub fn key_of(labels: &[Label], value: &str) -> Result<Key, String> {
    let mut grouping = grouping(labels);
    let (Some(label), None) = (grouping.next(), grouping.next()) else {
        return Err("only a view with one label can have values".to_owned());
    };
    let mut key = Key::default();
    match label {
        Label::Comm => key.comm = parse::comm(value)?,
        Label::ParentComm => key.parent_comm = parse::comm(value)?,
        Label::Uid | Label::User => key.uid = parse::uid(value)?,
        Label::Unit => key.unit = Some(parse::unit(value)?.into()),
        Label::Slice => key.slice = Some(parse::slice(value)?.into()),
        Label::Container => key.container = Some(parse::container(value)?.into()),
    }
    Ok(key)
}

/// The values of a view's labels. Fields that are not labels of the view are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Key {
    #[serde(with = "encoding::comm")]
    pub comm: Comm,
    #[serde(with = "encoding::comm")]
    pub parent_comm: Comm,
    pub uid: u32,
    #[serde(with = "encoding::cgroup_name")]
    pub unit: Option<Arc<[u8]>>,
    #[serde(with = "encoding::cgroup_name")]
    pub slice: Option<Arc<[u8]>>,
    #[serde(with = "encoding::cgroup_name")]
    pub container: Option<Arc<[u8]>>,
}

impl Key {
    /// Returns whether the key can be that of a series in a view with these labels.
    pub(super) fn is_of(&self, labels: &[Label]) -> bool {
        let has = |label| labels.contains(&label);
        (has(Label::Comm) || self.comm == Comm::default())
            && (has(Label::ParentComm) || self.parent_comm == Comm::default())
            && (has(Label::Uid) || has(Label::User) || self.uid == 0)
            && has(Label::Unit) == self.unit.is_some()
            && has(Label::Slice) == self.slice.is_some()
            && has(Label::Container) == self.container.is_some()
    }
}
