//! The labels of a view, and the key that distinguishes its series.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::encoding;
use crate::names::own_label::OwnLabel;
use crate::names::parse;
use crate::record::{Comm, Fact, FactValue, nul_terminated};

/// The longest name of a program in bytes: `TASK_COMM_LEN` of `linux/sched.h`, less the NUL byte.
pub const MAX_COMM: usize = size_of::<Comm>() - 1;

/// A label by which a view can group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Label {
    /// The name of the program after the exec.
    Comm,
    /// The name of the file that runs after the exec.
    Exe,
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
    /// The UID of the Kubernetes pod.
    PodUid,
    /// The ID of the user who logged in, or empty if the process does not come from a login.
    Loginuid,
    /// The name of that user, or empty.
    LoginUser,
    Fact(Fact),
    /// A label that the configuration defines.
    Own(OwnLabel),
}

impl Label {
    /// The labels that every configuration has.
    pub const ALL: [Self; 15] = [
        Self::Comm,
        Self::Exe,
        Self::ParentComm,
        Self::Uid,
        Self::User,
        Self::Unit,
        Self::Slice,
        Self::Container,
        Self::PodUid,
        Self::Fact(Fact::Entry),
        Self::Fact(Fact::Origin),
        Self::Fact(Fact::Elevated),
        Self::Fact(Fact::Tty),
        Self::Loginuid,
        Self::LoginUser,
    ];

    /// Returns the name in the configuration, which is also that of the Prometheus label.
    pub fn name(&self) -> &str {
        match self {
            Self::Own(own) => own.name(),
            label => label.fixed_name(),
        }
    }

    /// Returns the [`name`](Self::name) without a copy of it if it is always the same.
    pub fn to_name(&self) -> Cow<'static, str> {
        match self {
            Self::Own(own) => own.name().to_owned().into(),
            label => label.fixed_name().into(),
        }
    }

    /// Returns the name of a label that every configuration has.
    fn fixed_name(&self) -> &'static str {
        match self {
            Self::Comm => "comm",
            Self::Exe => "exe",
            Self::ParentComm => "parent_comm",
            Self::Uid => "uid",
            Self::User => "user",
            Self::Unit => "unit",
            Self::Slice => "slice",
            Self::Container => "container",
            Self::PodUid => "pod_uid",
            Self::Loginuid => "loginuid",
            Self::LoginUser => "login_user",
            Self::Fact(fact) => fact.name(),
            Self::Own(_) => "",
        }
    }

    /// Returns the label of [`ALL`](Self::ALL) with this [`name`](Self::name).
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|label| label.name() == name)
    }

    /// Returns the label as it is saved: its name, and the expression of a label that the
    /// configuration defines. No name contains a `=`.
    pub(in crate::pipeline) fn saved(&self) -> String {
        match self {
            Self::Own(own) => format!("{}={}", own.name(), own.pattern()),
            label => label.name().to_owned(),
        }
    }

    /// Returns the label that was saved, or None if this version does not have it.
    pub(super) fn from_saved(text: &str) -> Option<Self> {
        match text.split_once('=') {
            Some((name, pattern)) => Some(Self::Own(OwnLabel::new(name, pattern))),
            None => Self::named(text),
        }
    }

    /// Returns whether the value comes from the path of the cgroup.
    pub fn is_of_cgroup(&self) -> bool {
        matches!(
            self,
            Self::Unit | Self::Slice | Self::Container | Self::PodUid | Self::Own(_)
        )
    }

    /// Returns whether the value is the name of the file that was executed.
    pub fn is_exe(&self) -> bool {
        *self == Self::Exe
    }

    /// Returns whether the value is the ID or the name of a user.
    pub fn is_of_user(&self) -> bool {
        matches!(
            self,
            Self::Uid | Self::User | Self::Loginuid | Self::LoginUser
        )
    }

    /// Returns whether the value is the ID or the name of the user who logged in. Both can be empty.
    pub fn is_of_login(&self) -> bool {
        matches!(self, Self::Loginuid | Self::LoginUser)
    }

    /// Returns whether the value is the name of a user.
    pub fn is_user_name(&self) -> bool {
        matches!(self, Self::User | Self::LoginUser)
    }

    /// Returns whether the value is known only at an exec, so that nothing else can be counted by it.
    pub fn is_only_at_exec(&self) -> bool {
        match self {
            Self::Exe => true,
            Self::Fact(fact) => fact.is_only_at_exec(),
            _ => false,
        }
    }

    /// Returns the label of the user ID that this label, a name, stands for.
    fn id(&self) -> Option<Self> {
        match self {
            Self::User => Some(Self::Uid),
            Self::LoginUser => Some(Self::Loginuid),
            _ => None,
        }
    }
}

/// Labels are written by their names.
impl Serialize for Label {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

/// A name that is not in [`Label::ALL`] gives a label without an expression. The configuration replaces
/// it with the label that it defines.
impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        Ok(Self::named(&name).unwrap_or_else(|| Self::Own(OwnLabel::new(name, ""))))
    }
}

/// Returns the labels among these that the configuration defines, in the order of [`Key::own`].
pub(super) fn own(labels: &[Label]) -> Vec<OwnLabel> {
    let own = labels.iter().filter_map(|label| match label {
        Label::Own(own) => Some(own.clone()),
        _ => None,
    });
    let mut own: Vec<_> = own.collect();
    own.sort();
    own
}

/// Returns the labels that distinguish series. If `uid` is among the labels, `user` is left out,
/// because a uid has only one name, and likewise `login_user` beside `loginuid`.
pub fn grouping(labels: &[Label]) -> impl Iterator<Item = &Label> {
    let is_beside_id = |label: &Label| label.id().is_some_and(|id| labels.contains(&id));
    labels.iter().filter(move |label| !is_beside_id(label))
}

/// Returns whether the series are distinguished by the name of a user and not by the ID.
pub fn is_by_user_name(labels: &[Label]) -> bool {
    grouping(labels).any(Label::is_user_name)
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
        Label::Exe => key.exe = Some(parse::exe(value)?.into()),
        Label::ParentComm => key.parent_comm = parse::comm(value)?,
        Label::Uid | Label::User => key.uid = parse::uid(value)?,
        Label::Loginuid | Label::LoginUser => key.login = parse::loginuid(value)?.wrapping_add(1),
        Label::Fact(fact) => key.facts[*fact as usize] = parse::fact(*fact, value)?,
        Label::Unit => key.unit = Some(parse::unit(value)?.into()),
        Label::Slice => key.slice = Some(parse::slice(value)?.into()),
        Label::Container => key.container = Some(parse::container(value)?.into()),
        Label::PodUid => key.pod_uid = Some(parse::pod_uid(value)?.into()),
        Label::Own(_) => key.own = Box::new([parse::own(value)?.into()]),
    }
    Ok(key)
}

/// The values of a view's labels. Fields that are not labels of the view are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Key {
    #[serde(with = "encoding::comm")]
    pub comm: Comm,
    /// Empty if it is not known, which no file's name is.
    #[serde(with = "encoding::name")]
    pub exe: Option<Arc<[u8]>>,
    #[serde(with = "encoding::comm")]
    pub parent_comm: Comm,
    pub uid: u32,
    /// The ID of the user who logged in, plus 1, or 0 if the process does not belong to a login.
    pub login: u32,
    /// By the position in [`Fact::ALL`].
    pub facts: [FactValue; Fact::ALL.len()],
    #[serde(with = "encoding::name")]
    pub unit: Option<Arc<[u8]>>,
    #[serde(with = "encoding::name")]
    pub slice: Option<Arc<[u8]>>,
    #[serde(with = "encoding::name")]
    pub container: Option<Arc<[u8]>>,
    #[serde(with = "encoding::name")]
    pub pod_uid: Option<Arc<[u8]>>,
    /// The values of the labels that the configuration defines, in the order of the definitions.
    #[serde(with = "encoding::own")]
    pub own: Box<[Arc<[u8]>]>,
}

impl Key {
    /// Returns whether the key can be that of a series in a view with these labels.
    pub(super) fn is_of(&self, labels: &[Label]) -> bool {
        let has = |label| labels.contains(&label);
        let is_own = |label: &&Label| matches!(label, Label::Own(_));
        (has(Label::Comm) || self.comm == Comm::default())
            && (has(Label::ParentComm) || self.parent_comm == Comm::default())
            && (has(Label::Uid) || has(Label::User) || self.uid == 0)
            && (has(Label::Loginuid) || has(Label::LoginUser) || self.login == 0)
            && Fact::ALL.iter().zip(self.facts).all(|(&fact, value)| {
                let values = if has(Label::Fact(fact)) {
                    fact.values().len()
                } else {
                    1
                };
                usize::from(value) < values
            })
            && has(Label::Exe) == self.exe.is_some()
            && has(Label::Unit) == self.unit.is_some()
            && has(Label::Slice) == self.slice.is_some()
            && has(Label::Container) == self.container.is_some()
            && has(Label::PodUid) == self.pod_uid.is_some()
            && labels.iter().filter(is_own).count() == self.own.len()
    }

    /// Returns the ID of the user whom a label means, or None if nobody has logged in or if it is not the
    /// label of a user.
    pub fn user_of(&self, label: &Label) -> Option<u32> {
        match label {
            Label::Uid | Label::User => Some(self.uid),
            Label::Loginuid | Label::LoginUser => self.login.checked_sub(1),
            _ => None,
        }
    }

    /// Returns the value of one of `labels`, those of the view, which is a name or a word. It is empty
    /// for the label of a user, and of [`Label::Exe`] if it is not known.
    pub fn name_of(&self, label: &Label, labels: &[Label]) -> &[u8] {
        let value = match label {
            Label::Comm => return nul_terminated(&self.comm),
            Label::ParentComm => return nul_terminated(&self.parent_comm),
            Label::Exe => self.exe.as_ref(),
            Label::Unit => self.unit.as_ref(),
            Label::Slice => self.slice.as_ref(),
            Label::Container => self.container.as_ref(),
            Label::PodUid => self.pod_uid.as_ref(),
            Label::Own(_) => {
                let is_before = |other: &&Label| matches!(other, Label::Own(_)) && *other < label;
                self.own.get(labels.iter().filter(is_before).count())
            }
            Label::Fact(fact) => {
                let value = usize::from(self.facts[*fact as usize]);
                return fact.values().get(value).map_or(&[], |text| text.as_bytes());
            }
            Label::Uid | Label::User | Label::Loginuid | Label::LoginUser => None,
        };
        value.map_or(&[], |value| value)
    }
}
