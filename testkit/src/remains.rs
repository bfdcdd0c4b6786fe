//! What is left in the kernel of a daemon that has ended.

use std::collections::BTreeSet;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use libbpf_rs::query::{LinkInfoIter, MapInfoIter, ProgInfoIter};

/// How long the kernel may take to free what nobody holds any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// A BPF object: as `/proc/PID/fdinfo` calls its kind, and its id.
type Object = (&'static str, u32);

/// The programs, maps and links that no process holds: of others (systemd has some), and of a
/// daemon that left them behind.
#[derive(Debug)]
pub struct Unheld(BTreeSet<Object>);

impl Unheld {
    /// Those that there are now.
    pub fn now() -> Self {
        let mut objects = BTreeSet::new();
        let programs: Vec<_> = ProgInfoIter::default().collect();
        objects.extend(programs.iter().map(|program| ("prog_id", program.id)));
        objects.extend(MapInfoIter::default().map(|map| ("map_id", map.id)));
        objects.extend(LinkInfoIter::default().map(|link| ("link_id", link.id)));
        let held = held();
        objects.retain(|object| !held.contains(object));
        // Of a program that is held, so are its maps.
        for program in programs {
            if held.contains(&("prog_id", program.id)) {
                for map in program.map_ids {
                    objects.remove(&("map_id", map));
                }
            }
        }
        Self(objects)
    }

    /// Wait until those are gone that there are now beside these. Others may come meanwhile: of
    /// daemons that end elsewhere.
    #[track_caller]
    pub fn await_no_more(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut more = &Self::now().0 - &self.0;
        while !more.is_empty() {
            assert!(Instant::now() < deadline, "left behind: {more:?}");
            sleep(Duration::from_millis(20));
            more = &more & &Self::now().0;
        }
    }
}

/// What the descriptors of all processes stand for.
fn held() -> BTreeSet<Object> {
    let mut held = BTreeSet::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        // Not of a process, or it has just ended.
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
