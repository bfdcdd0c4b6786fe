//! A cache of what the ids in subjects stand for: the cgroups by which observations are labelled, and the
//! names of the files that were executed.

use std::collections::HashMap;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use tracing::debug;

use crate::capture::source::Source;
use crate::names::cgroup::Cgroup;
use crate::names::own_label::OwnLabels;
use crate::record::{Subject, exe_id};

/// The number of cgroups, and of files, in the cache. Few hosts use more at the same time.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(8192).unwrap();

/// What the ids in the subjects of a message stand for, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct Names {
    pub cgroups: HashMap<u64, Arc<Cgroup>>,
    pub exes: HashMap<u64, Arc<[u8]>>,
}

/// What the ids in a subject stand for, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Named<'a> {
    pub cgroup: Option<&'a Cgroup>,
    /// The name of the file that was executed.
    pub exe: Option<&'a Arc<[u8]>>,
}

impl Names {
    /// Returns what the ids in this subject stand for.
    pub fn of(&self, subject: &Subject) -> Named<'_> {
        let cgroup = self.cgroups.get(&subject.cgroup_id);
        Named {
            cgroup: cgroup.map(Arc::as_ref),
            exe: self.exes.get(&subject.exe),
        }
    }
}

impl<'a> Named<'a> {
    /// Names for a subject that has no `exe`, and whose cgroup may be unknown.
    pub fn in_cgroup(cgroup: impl Into<Option<&'a Cgroup>>) -> Self {
        Self {
            cgroup: cgroup.into(),
            exe: None,
        }
    }
}

#[derive(Debug)]
pub(super) struct NameCache {
    cgroups: LruCache<u64, Arc<Cgroup>>,
    exes: LruCache<u64, Arc<[u8]>>,
    labels: OwnLabels,
}

impl Default for NameCache {
    fn default() -> Self {
        Self {
            cgroups: empty(),
            exes: empty(),
            labels: OwnLabels::default(),
        }
    }
}

/// Returns a cache that, unlike that of `LruCache::new`, allocates no memory in advance.
fn empty<T>() -> LruCache<u64, T> {
    let mut cache = LruCache::unbounded();
    cache.resize(REMEMBERED);
    cache
}

impl NameCache {
    /// Sets the labels that the configuration defines. They are evaluated again for every cgroup.
    pub(super) fn set_labels(&mut self, labels: OwnLabels) {
        self.cgroups.clear();
        self.labels = labels;
    }

    /// Returns what the ids in these subjects stand for.
    pub(super) fn of<'a>(
        &mut self,
        subjects: impl IntoIterator<Item = &'a Subject>,
        source: &mut impl Source,
    ) -> Names {
        let mut names = Names::default();
        for subject in subjects {
            let id = subject.cgroup_id;
            if id != 0 && !names.cgroups.contains_key(&id) {
                let path = |id| source.cgroup_path(id);
                let labelled = |path: Vec<u8>| Arc::new(Cgroup::labelled(&path, &self.labels));
                let cgroup = look_up(&mut self.cgroups, id, path, labelled);
                names.cgroups.extend(cgroup.map(|cgroup| (id, cgroup)));
            }
            if let Some(id) = exe_id(subject)
                && !names.exes.contains_key(&id)
            {
                let exe = look_up(&mut self.exes, id, |id| source.exe_name(id), Arc::from);
                names.exes.extend(exe.map(|exe| (id, exe)));
            }
        }
        names
    }
}

/// Returns what an id stands for, from the cache or else from `read`.
fn look_up<T: ?Sized>(
    cache: &mut LruCache<u64, Arc<T>>,
    id: u64,
    read: impl FnOnce(u64) -> io::Result<Option<Vec<u8>>>,
    convert: impl FnOnce(Vec<u8>) -> Arc<T>,
) -> Option<Arc<T>> {
    if let Some(known) = cache.get(&id) {
        return Some(Arc::clone(known));
    }
    let bytes = read(id).unwrap_or_else(|error| {
        debug!(%error, id, "cannot read the name of a cgroup or of a file");
        None
    })?;
    let found = convert(bytes);
    cache.put(id, Arc::clone(&found));
    Some(found)
}
