//! A cache of the cgroups by which execs are labelled.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use tracing::debug;

use crate::capture::source::Source;
use crate::names::cgroup::Cgroup;
use crate::names::own_label::OwnLabels;

/// The number of cgroups in the cache. Few hosts use more at the same time.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(8192).unwrap();

/// Cgroups by id.
pub type Cgroups = HashMap<u64, Arc<Cgroup>>;

#[derive(Debug)]
pub(super) struct CgroupCache {
    known: LruCache<u64, Arc<Cgroup>>,
    labels: OwnLabels,
}

impl Default for CgroupCache {
    fn default() -> Self {
        // Unlike `LruCache::new`, this allocates no memory in advance.
        let mut known = LruCache::unbounded();
        known.resize(REMEMBERED);
        Self {
            known,
            labels: OwnLabels::default(),
        }
    }
}

impl CgroupCache {
    /// Sets the labels that the configuration defines. They are evaluated again for every cgroup.
    pub(super) fn set_labels(&mut self, labels: OwnLabels) {
        self.known.clear();
        self.labels = labels;
    }

    /// Returns the cgroups with these ids, except those whose name is not known. The id 0 stands
    /// for no cgroup.
    pub(super) fn among(
        &mut self,
        ids: impl IntoIterator<Item = u64>,
        source: &mut impl Source,
    ) -> Cgroups {
        let mut found = Cgroups::new();
        for id in ids {
            if id == 0 || found.contains_key(&id) {
                continue;
            }
            if let Some(cgroup) = self.get(id, source) {
                found.insert(id, cgroup);
            }
        }
        found
    }

    fn get(&mut self, id: u64, source: &mut impl Source) -> Option<Arc<Cgroup>> {
        if let Some(cgroup) = self.known.get(&id) {
            return Some(Arc::clone(cgroup));
        }
        let path = source.cgroup_path(id).unwrap_or_else(|error| {
            debug!(%error, id, "cannot read the name of a cgroup");
            None
        })?;
        let cgroup = Arc::new(Cgroup::labelled(&path, &self.labels));
        self.known.put(id, Arc::clone(&cgroup));
        Some(cgroup)
    }
}
