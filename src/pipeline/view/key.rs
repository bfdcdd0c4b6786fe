//! What a view groups by: labels, and the values of a subject that they stand for.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::record::Comm;

/// By what a view may group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// Name of the program, after the exec.
    Comm,
    /// Name of the program's real parent.
    ParentComm,
    /// Real user id.
    Uid,
    /// The user's name.
    User,
    /// systemd's unit.
    Unit,
    /// systemd's slice.
    Slice,
    /// The container's short id.
    Container,
}

impl Label {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Comm,
        Self::ParentComm,
        Self::Uid,
        Self::User,
        Self::Unit,
        Self::Slice,
        Self::Container,
    ];

    /// As it stands in the configuration and as a Prometheus label.
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

    /// Whether it comes from the name of the cgroup.
    pub fn is_of_cgroup(self) -> bool {
        matches!(self, Self::Unit | Self::Slice | Self::Container)
    }
}

/// Those of these labels that tell series apart: beside `uid`, `user` only names it.
pub fn grouping(labels: &[Label]) -> impl Iterator<Item = Label> {
    let by_uid = labels.contains(&Label::Uid);
    let labels = labels.iter().copied();
    labels.filter(move |&label| label != Label::User || !by_uid)
}

/// Whether uids are told apart that no label tells apart.
pub fn is_by_user_alone(labels: &[Label]) -> bool {
    labels.contains(&Label::User) && !labels.contains(&Label::Uid)
}

/// The name of a view of these labels, the `<labels>` in its metrics' names.
pub fn name(labels: &[Label]) -> String {
    let names: Vec<_> = grouping(labels).map(Label::name).collect();
    names.join("_")
}

/// The key of the series with this value of the one label that tells series apart; of a
/// user, the name or the uid. Or what is wrong with it.
pub fn key_of(labels: &[Label], value: &str) -> Result<Key, String> {
    let mut grouping = grouping(labels);
    let (Some(label), None) = (grouping.next(), grouping.next()) else {
        return Err("only a view by one label can have it".to_owned());
    };
    let mut key = Key::default();
    match label {
        Label::Comm => key.comm = comm(value)?,
        Label::ParentComm => key.parent_comm = comm(value)?,
        Label::Uid | Label::User => key.uid = uid(value)?,
        Label::Unit => key.unit = Some(value.as_bytes().into()),
        Label::Slice => key.slice = Some(value.as_bytes().into()),
        Label::Container => key.container = Some(value.as_bytes().into()),
    }
    Ok(key)
}

/// A program's name as the kernel keeps it, or what is wrong with it.
pub fn comm(value: &str) -> Result<Comm, String> {
    let mut comm = Comm::default();
    let kept = comm.len() - 1;
    let Some(bytes) = comm
        .get_mut(..value.len())
        .filter(|bytes| bytes.len() <= kept)
    else {
        return Err(format!(
            "{value:?} has more than the {kept} bytes that the kernel keeps"
        ));
    };
    bytes.copy_from_slice(value.as_bytes());
    Ok(comm)
}

/// The uid of a user, given as it is or by name, or what is wrong with it.
pub fn uid(value: &str) -> Result<u32, String> {
    let named = || uzers::get_user_by_name(value).map(|user| user.uid());
    let uid = value.parse().ok().or_else(named);
    uid.ok_or_else(|| format!("{value:?} is neither a uid nor the name of a user"))
}

/// The fields that a view groups by; the others are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Key {
    /// See [`Label::Comm`].
    pub comm: Comm,
    /// See [`Label::ParentComm`].
    pub parent_comm: Comm,
    /// See [`Label::Uid`] and [`Label::User`].
    pub uid: u32,
    /// See [`Label::Unit`].
    pub unit: Option<Arc<[u8]>>,
    /// See [`Label::Slice`].
    pub slice: Option<Arc<[u8]>>,
    /// See [`Label::Container`].
    pub container: Option<Arc<[u8]>>,
}
