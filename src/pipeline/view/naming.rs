//! The names under which a view counts: from a subject and its cgroup to the key of a series.

use std::sync::{Arc, LazyLock};

use super::key::{self, Key, Label};
use crate::names::cgroup::Cgroup;
use crate::names::own_label::OwnLabel;
use crate::names::rename::{Renamer, Rules};
use crate::pipeline::name_cache::Named;
use crate::record::{Comm, Subject, nul_terminated};

/// The value of each label that comes from a cgroup whose name is not known. No unit, slice, container
/// or pod has this name.
static UNKNOWN: LazyLock<Arc<[u8]>> = LazyLock::new(|| b"unknown".as_slice().into());

#[derive(Debug)]
pub(super) struct Naming {
    pub(super) labels: Vec<Label>,
    /// The labels among these that the configuration defines, in the order of [`Key::own`].
    own: Vec<OwnLabel>,
    renamed: Vec<(Label, Renamer)>,
}

impl Naming {
    pub(super) fn by(labels: Vec<Label>) -> Self {
        Self {
            own: key::own(&labels),
            labels,
            renamed: Vec::new(),
        }
    }

    /// Sets the rules for the values of a label.
    pub(super) fn rename(&mut self, label: Label, rules: Rules) {
        self.renamed.push((label, Renamer::new(rules)));
    }

    /// Returns the key of a subject's series. `names` are what the ids in it stand for.
    pub(super) fn key(&mut self, subject: &Subject, names: Named<'_>) -> Key {
        let cgroup = names.cgroup;
        let of_cgroup = |value: fn(&Cgroup) -> &Arc<[u8]>| {
            let value = cgroup.map_or(&*UNKNOWN, value);
            Some(Arc::clone(value))
        };
        let mut key = Key::default();
        for label in &self.labels {
            match label {
                Label::Comm => key.comm = subject.comm,
                Label::Exe => key.exe = Some(names.exe.map_or_else(Arc::default, Arc::clone)),
                Label::ParentComm => key.parent_comm = subject.parent_comm,
                Label::Uid | Label::User => key.uid = subject.uid,
                Label::Unit => key.unit = of_cgroup(|cgroup| &cgroup.unit),
                Label::Slice => key.slice = of_cgroup(|cgroup| &cgroup.slice),
                Label::Container => key.container = of_cgroup(|cgroup| &cgroup.container),
                Label::PodUid => key.pod_uid = of_cgroup(|cgroup| &cgroup.pod_uid),
                Label::Loginuid | Label::LoginUser => key.login = subject.login,
                Label::Fact(fact) => key.facts[*fact as usize] = fact.of(subject),
                Label::Own(_) => {} // all of them below
            }
        }
        if !self.own.is_empty() {
            let value = |own| {
                cgroup
                    .and_then(|cgroup| cgroup.own(own))
                    .unwrap_or(&UNKNOWN)
            };
            key.own = self.own.iter().map(|own| Arc::clone(value(own))).collect();
        }
        self.rename_key(&mut key);
        key
    }

    /// Applies the rules to the values of a key.
    pub(super) fn rename_key(&mut self, key: &mut Key) {
        for (label, renamer) in &mut self.renamed {
            match label {
                Label::Comm => rename_comm(&mut key.comm, renamer),
                Label::ParentComm => rename_comm(&mut key.parent_comm, renamer),
                Label::Exe => rename_exe(key.exe.as_mut(), renamer),
                Label::Unit => rename_known(key.unit.as_mut(), renamer),
                Label::Slice => rename_known(key.slice.as_mut(), renamer),
                Label::Container => rename_known(key.container.as_mut(), renamer),
                Label::PodUid => rename_known(key.pod_uid.as_mut(), renamer),
                Label::Own(own) => {
                    let at = self.own.iter().position(|label| label == own);
                    rename_known(at.and_then(|at| key.own.get_mut(at)), renamer);
                }
                // Numbers and words, for which a view has no rules.
                Label::Uid | Label::User | Label::Loginuid | Label::LoginUser | Label::Fact(_) => {}
            }
        }
    }
}

fn rename_comm(comm: &mut Comm, renamer: &mut Renamer) {
    let new = renamer.rename(nul_terminated(comm));
    // The rules limit its length, so that it is terminated as well.
    *comm = Comm::default();
    for (byte, new) in comm.iter_mut().zip(&*new) {
        *byte = *new;
    }
}

/// Renames a file, if its name is known: not empty. If the new name would be empty, the old one is kept.
fn rename_exe(exe: Option<&mut Arc<[u8]>>, renamer: &mut Renamer) {
    if let Some(exe) = exe.filter(|exe| !exe.is_empty()) {
        let new = renamer.rename(exe);
        if !new.is_empty() {
            *exe = new;
        }
    }
}

/// Renames the value of a label from a cgroup, if the name of the cgroup is known. If
/// the new name would be `unknown`, the value for unknown cgroups, the old name is kept.
fn rename_known(value: Option<&mut Arc<[u8]>>, renamer: &mut Renamer) {
    if let Some(value) = value
        && !Arc::ptr_eq(value, &UNKNOWN)
    {
        let new = renamer.rename(value);
        if new != *UNKNOWN {
            *value = new;
        }
    }
}
