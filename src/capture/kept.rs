//! The descriptors of the kernel side. As long as somebody holds them, the programs observe, even if
//! no daemon runs.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::{BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::base::Base;
use super::exe_names;
use super::fdinfo;
use super::hook::{self, Hook};
use super::maps;
use super::options::TransportKind;
use crate::record::Kind;

/// Descriptors by name: `map.<map>`, `link.<kind>.<program>` and `program.<kind>.<program>`.
pub type Descriptors = BTreeMap<String, OwnedFd>;

/// What the descriptors of a daemon belong to. It is saved with the counts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KernelSide {
    /// The object and the options with which it was loaded.
    pub(super) fingerprint: String,
    /// The name of the transport.
    pub(super) transport: String,
    /// The kernel's ids of what the descriptors refer to. None if it has no id.
    pub(super) ids: BTreeMap<String, Option<u32>>,
    /// Of the ids of file names.
    pub(super) exe_key: exe_names::Key,
    /// What earlier programs have counted.
    pub(super) base: Base,
}

impl KernelSide {
    /// Returns whether no count is above `largest`.
    pub fn is_plausible(&self, largest: u64) -> bool {
        self.base.is_plausible(largest)
    }
}

/// The descriptors of one program.
#[derive(Debug)]
pub(super) struct KeptProgram {
    pub(super) hook: Hook,
    pub(super) link: OwnedFd,
    pub(super) program: OwnedFd,
}

/// Descriptors that are what their names say.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) transport: TransportKind,
    pub(super) programs: Vec<KeptProgram>,
    pub(super) maps: maps::Maps,
    pub(super) exe_key: exe_names::Key,
}

pub(super) fn link(hook: &Hook) -> String {
    format!("link.{}.{}", hook.kind.name(), hook.program)
}

pub(super) fn program(hook: &Hook) -> String {
    format!("program.{}.{}", hook.kind.name(), hook.program)
}

pub(super) fn map(name: &str) -> String {
    format!("map.{name}")
}

/// Returns the kernel's ids of what the descriptors refer to.
pub(super) fn ids(
    descriptors: &[(String, BorrowedFd<'_>)],
) -> std::io::Result<BTreeMap<String, Option<u32>>> {
    let ids = descriptors
        .iter()
        .map(|(name, descriptor)| Ok((name.clone(), fdinfo::id(descriptor)?)));
    ids.collect()
}

impl Kept {
    /// Checks that `descriptors` are those of `kernel_side`. The error says which one is not.
    pub(super) fn check(
        mut descriptors: Descriptors,
        kernel_side: &KernelSide,
    ) -> Result<Self, String> {
        for (name, id) in &kernel_side.ids {
            let descriptor = descriptors
                .get(name)
                .ok_or_else(|| format!("descriptor {name} is missing"))?;
            let found = fdinfo::id(descriptor)
                .map_err(|error| format!("descriptor {name} cannot be examined: {error}"))?;
            if found != *id {
                return Err(format!("descriptor {name} is not what its name says"));
            }
        }
        let transport = TransportKind::ALL
            .into_iter()
            .find(|transport| transport.name() == kernel_side.transport)
            .ok_or_else(|| format!("the transport {:?} is not known", kernel_side.transport))?;
        let mut maps = BTreeMap::new();
        for name in maps::names(transport) {
            let descriptor = descriptors.remove(&map(name));
            let descriptor = descriptor.ok_or_else(|| format!("map {name} is missing"))?;
            maps.insert(name, descriptor);
        }
        for name in maps::OPTIONAL {
            if let Some(descriptor) = descriptors.remove(&map(name)) {
                maps.insert(name, descriptor);
            }
        }
        let named: HashSet<_> = kernel_side
            .ids
            .keys()
            .filter_map(|name| kind(name))
            .collect();
        let mut programs = Vec::new();
        for hook in hook::named(&named) {
            let (Some(link), Some(program)) = (
                descriptors.remove(&link(&hook)),
                descriptors.remove(&program(&hook)),
            ) else {
                return Err(format!("program {} is missing", hook.program));
            };
            programs.push(KeptProgram {
                hook,
                link,
                program,
            });
        }
        if programs.len() != named.len() {
            return Err("a program is not known".to_owned());
        }
        Ok(Self {
            transport,
            programs,
            maps: maps::Maps::adopt(&maps, transport)?,
            exe_key: kernel_side.exe_key,
        })
    }
}

/// Returns the kind and the program of a link's name.
fn kind(name: &str) -> Option<(Kind, String)> {
    let (kind, program) = name.strip_prefix("link.")?.split_once('.')?;
    let kind = Kind::ALL.into_iter().find(|k| k.name() == kind)?;
    Some((kind, program.to_owned()))
}
