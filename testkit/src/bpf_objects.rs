//! BPF objects that an exited daemon may have left in the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use libbpf_rs::query::{LinkInfoIter, MapInfoIter, ProgInfoIter, ProgInfoQueryOptions};

/// How long the kernel may take to free objects that no process holds any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// A BPF object: its kind, as named in `/proc/PID/fdinfo`, and its id.
type Object = (&'static str, u32);

/// Programs, maps and links that no process holds, such as some of systemd's.
#[derive(Debug)]
pub struct Unheld(BTreeSet<Object>);

impl Unheld {
    /// The unheld objects that exist now.
    pub fn now() -> Self {
        let mut objects = BTreeSet::new();
        let with_maps = ProgInfoQueryOptions::default().include_map_ids(true);
        let programs: Vec<_> = ProgInfoIter::with_query_opts(with_maps).collect();
        objects.extend(programs.iter().map(|program| ("prog_id", program.id)));
        objects.extend(MapInfoIter::default().map(|map| ("map_id", map.id)));
        objects.extend(LinkInfoIter::default().map(|link| ("link_id", link.id)));
        let held = held();
        objects.retain(|object| !held.contains(object));
        // The maps of a held program are held by the program.
        for program in programs {
            if held.contains(&("prog_id", program.id)) {
                for map in program.map_ids {
                    objects.remove(&("map_id", map));
                }
            }
        }
        Self(objects)
    }

    /// Waits until the kernel has freed each unheld object that exists now and is not in this set.
    /// Ignores objects that appear in the meantime, because other tests stop daemons, too.
    #[track_caller]
    pub fn await_no_others(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut more = &Self::now().0 - &self.0;
        while !more.is_empty() {
            assert!(Instant::now() < deadline, "left behind: {more:?}");
            sleep(Duration::from_millis(20));
            more = &more & &Self::now().0;
        }
    }
}

/// The objects that descriptors of any process refer to.
fn held() -> BTreeSet<Object> {
    let mut held = BTreeSet::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        // This is not the directory of a process, or the process has just exited.
        let Ok(descriptors) = fs::read_dir(process.path().join("fdinfo")) else {
            continue;
        };
        for descriptor in descriptors.flatten() {
            let text = fs::read_to_string(descriptor.path()).unwrap_or_default();
            for line in text.lines() {
                for kind in ["prog_id", "map_id", "link_id"] {
                    let id = line.strip_prefix(kind).and_then(|l| l.strip_prefix(":\t"));
                    held.extend(id.and_then(|id| Some((kind, id.parse().ok()?))));
                }
            }
        }
    }
    held
}
