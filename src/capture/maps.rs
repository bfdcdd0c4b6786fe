//! The maps of the BPF object that user space uses.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapMut, OpenMapMut};

use super::error::Error;
use super::options::TransportKind;
use crate::bpf::{ExecsnoopSkel, ExecsnoopSkelBuilder};
use crate::sys::clock;

/// libbpf's name of the section with the variables that change: the beginning of the object's name,
/// and `.bss`.
const BSS: &str = "execsnoo.bss";
/// The only entry of that map.
const BSS_KEY: [u8; 4] = 0_u32.to_ne_bytes();

/// The number of maps of [`Maps`].
const NUMBER: usize = 12;

/// The maps of a loaded object, through duplicated descriptors that outlive the object. Those that
/// others use as well are shared, because each descriptor counts against a limit.
#[derive(Debug)]
pub(super) struct Maps {
    /// `events` or `ring`, depending on the transport.
    pub(super) buffer: Arc<MapHandle>,
    pub(super) ledgers: MapHandle,
    pub(super) failures: MapHandle,
    pub(super) exits: MapHandle,
    pub(super) cgroup_names: MapHandle,
    pub(super) tally_in_use: Arc<MapHandle>,
    pub(super) tally_a: Arc<MapHandle>,
    pub(super) tally_b: Arc<MapHandle>,
    pub(super) failure_tally_in_use: Arc<MapHandle>,
    pub(super) failure_tally_a: Arc<MapHandle>,
    pub(super) failure_tally_b: Arc<MapHandle>,
    /// Its first word is `paused_since` (`bpf/ledger.h`).
    bss: MapHandle,
}

/// Returns the names of the maps of [`Maps`].
pub(super) fn names(transport: TransportKind) -> [&'static str; NUMBER] {
    let buffer = match transport {
        TransportKind::Perf => "events",
        TransportKind::Ring => "ring",
    };
    [
        buffer,
        "ledgers",
        "failures",
        "exits",
        "cgroup_names",
        "tally_in_use",
        "tally_a",
        "tally_b",
        "failure_tally_in_use",
        "failure_tally_a",
        "failure_tally_b",
        BSS,
    ]
}

impl Maps {
    /// Duplicates the descriptors of the object's maps.
    pub(super) fn of(skel: &ExecsnoopSkel<'_>, transport: TransportKind) -> Result<Self, Error> {
        let own = |map: &MapMut<'_>| {
            MapHandle::try_from(map)
                .map_err(|e| Error::setup("duplicating the descriptor of a BPF map", &e))
        };
        let maps = &skel.maps;
        Ok(Self {
            buffer: own(match transport {
                TransportKind::Perf => &maps.events,
                TransportKind::Ring => &maps.ring,
            })?
            .into(),
            ledgers: own(&maps.ledgers)?,
            failures: own(&maps.failures)?,
            exits: own(&maps.exits)?,
            cgroup_names: own(&maps.cgroup_names)?,
            tally_in_use: own(&maps.tally_in_use)?.into(),
            tally_a: own(&maps.tally_a)?.into(),
            tally_b: own(&maps.tally_b)?.into(),
            failure_tally_in_use: own(&maps.failure_tally_in_use)?.into(),
            failure_tally_a: own(&maps.failure_tally_a)?.into(),
            failure_tally_b: own(&maps.failure_tally_b)?.into(),
            bss: own(&maps.bss)?,
        })
    }

    /// Makes maps of descriptors that an earlier daemon left, by their name. A descriptor of
    /// another kind of map is an error.
    pub(super) fn adopt(
        kept: &BTreeMap<&str, OwnedFd>,
        transport: TransportKind,
    ) -> Result<Self, String> {
        let mut object = MaybeUninit::uninit();
        let failed = |what: &'static str| move |e: libbpf_rs::Error| format!("{what}: {e:#}");
        let mut open = ExecsnoopSkelBuilder::default()
            .open(&mut object)
            .map_err(failed("opening the BPF object"))?;
        for mut program in open.open_object_mut().progs_mut() {
            program.set_autoload(false);
        }
        for mut map in open.open_object_mut().maps_mut() {
            let name = map.name().to_string_lossy().into_owned();
            if let Some(descriptor) = kept.get(name.as_str()) {
                reuse(&mut map, descriptor).map_err(|error| format!("map {name}: {error}"))?;
            }
        }
        let skel = open
            .load()
            .map_err(failed("adopting the maps of the BPF object"))?;
        Self::of(&skel, transport).map_err(|error| error.to_string())
    }

    /// Returns the descriptors in the order of [`names`].
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; NUMBER] {
        let maps: [&MapHandle; NUMBER] = [
            &self.buffer,
            &self.ledgers,
            &self.failures,
            &self.exits,
            &self.cgroup_names,
            &self.tally_in_use,
            &self.tally_a,
            &self.tally_b,
            &self.failure_tally_in_use,
            &self.failure_tally_a,
            &self.failure_tally_b,
            &self.bss,
        ];
        maps.map(AsFd::as_fd)
    }

    /// Makes the programs observe nothing from now on. Returns the time since when they do not, which
    /// is earlier if they have been paused before.
    pub(super) fn pause(&self) -> io::Result<Duration> {
        let since = match self.paused_since()? {
            0 => u64::try_from(clock::now().as_nanos()).unwrap_or(u64::MAX),
            since => since,
        };
        self.set_paused_since(since)?;
        Ok(Duration::from_nanos(since))
    }

    /// Makes the programs observe again. Returns for how long they did not.
    pub(super) fn unpause(&self) -> io::Result<Duration> {
        let since = match self.paused_since()? {
            0 => return Ok(Duration::ZERO),
            since => Duration::from_nanos(since),
        };
        self.set_paused_since(0)?;
        Ok(clock::now().saturating_sub(since))
    }

    fn paused_since(&self) -> io::Result<u64> {
        let bss = self.bss.lookup(&BSS_KEY, MapFlags::ANY);
        let bss = bss.map_err(io::Error::other)?.unwrap_or_default();
        let word = bss.first_chunk();
        Ok(word.map_or(0, |word| u64::from_ne_bytes(*word)))
    }

    fn set_paused_since(&self, since: u64) -> io::Result<()> {
        let mut bss = vec![0; self.bss.value_size() as usize];
        if let Some(word) = bss.first_chunk_mut() {
            *word = since.to_ne_bytes();
        }
        let set = self.bss.update(&BSS_KEY, &bss, MapFlags::ANY);
        set.map_err(io::Error::other)
    }
}

fn reuse(map: &mut OpenMapMut<'_>, descriptor: &OwnedFd) -> Result<(), String> {
    let expected = (map.map_type(), map.key_size(), map.value_size());
    map.reuse_fd(descriptor.as_fd())
        .map_err(|error| format!("not a BPF map: {error:#}"))?;
    let found = (map.map_type(), map.key_size(), map.value_size());
    if found != expected {
        return Err(format!("{found:?} instead of {expected:?}"));
    }
    Ok(())
}
