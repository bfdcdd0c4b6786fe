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

/// The tally of failed execs. The object has it only if failed execs are counted by subject.
pub(super) const FAILURE_TALLY: [&str; 2] = ["failure_tally_a", "failure_tally_b"];

/// The maps of [`Maps`] that only some options need.
pub(super) const OPTIONAL: [&str; 5] = [
    "failures",
    "cgroup_names",
    "exe_names",
    FAILURE_TALLY[0],
    FAILURE_TALLY[1],
];

/// The maps of a loaded object, through duplicated descriptors that outlive the object. Those that
/// others use as well are shared, because each descriptor counts against a limit.
#[derive(Debug)]
pub(super) struct Maps {
    /// `events` or `ring`, depending on the transport.
    pub(super) buffer: Arc<MapHandle>,
    pub(super) ledgers: MapHandle,
    /// If failed execs are observed.
    pub(super) failures: Option<MapHandle>,
    pub(super) exits: MapHandle,
    /// If the names of cgroups are kept.
    pub(super) cgroup_names: Option<MapHandle>,
    /// If the names of files are kept.
    pub(super) exe_names: Option<MapHandle>,
    pub(super) tally_in_use: Arc<MapHandle>,
    pub(super) tally_a: Arc<MapHandle>,
    pub(super) tally_b: Arc<MapHandle>,
    /// The maps of [`FAILURE_TALLY`].
    pub(super) failure_tally: Option<[Arc<MapHandle>; 2]>,
    /// Its first word is `paused_since` (`bpf/ledger.h`).
    bss: MapHandle,
}

/// Returns the names of the maps of [`Maps`] that are not [`OPTIONAL`].
pub(super) fn names(transport: TransportKind) -> [&'static str; 7] {
    let buffer = match transport {
        TransportKind::Perf => "events",
        TransportKind::Ring => "ring",
    };
    [
        buffer,
        "ledgers",
        "exits",
        "tally_in_use",
        "tally_a",
        "tally_b",
        BSS,
    ]
}

impl Maps {
    /// Duplicates the descriptors of the object's maps. `is_needed` decides about those that are
    /// [`OPTIONAL`].
    pub(super) fn of(
        skel: &ExecsnoopSkel<'_>,
        transport: TransportKind,
        is_needed: impl Fn(&str) -> bool,
    ) -> Result<Self, Error> {
        let own = |map: &MapMut<'_>| {
            MapHandle::try_from(map)
                .map_err(|e| Error::setup("duplicating the descriptor of a BPF map", &e))
        };
        let maps = &skel.maps;
        let optional = |name, map| is_needed(name).then(|| own(map)).transpose();
        let failure_tally = if is_needed(FAILURE_TALLY[0]) {
            let (a, b) = (own(&maps.failure_tally_a)?, own(&maps.failure_tally_b)?);
            Some([a.into(), b.into()])
        } else {
            None
        };
        Ok(Self {
            buffer: own(match transport {
                TransportKind::Perf => &maps.events,
                TransportKind::Ring => &maps.ring,
            })?
            .into(),
            ledgers: own(&maps.ledgers)?,
            failures: optional("failures", &maps.failures)?,
            exits: own(&maps.exits)?,
            cgroup_names: optional("cgroup_names", &maps.cgroup_names)?,
            exe_names: optional("exe_names", &maps.exe_names)?,
            tally_in_use: own(&maps.tally_in_use)?.into(),
            tally_a: own(&maps.tally_a)?.into(),
            tally_b: own(&maps.tally_b)?.into(),
            failure_tally,
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
            } else if FAILURE_TALLY.contains(&name.as_str()) {
                map.set_autocreate(false)
                    .map_err(failed("leaving out a map of the BPF object"))?;
            }
        }
        let skel = open
            .load()
            .map_err(failed("adopting the maps of the BPF object"))?;
        Self::of(&skel, transport, |name| kept.contains_key(name))
            .map_err(|error| error.to_string())
    }

    /// Returns the descriptors with their names.
    pub(super) fn descriptors(
        &self,
        transport: TransportKind,
    ) -> impl Iterator<Item = (&'static str, BorrowedFd<'_>)> {
        let maps: [&MapHandle; 7] = [
            &self.buffer,
            &self.ledgers,
            &self.exits,
            &self.tally_in_use,
            &self.tally_a,
            &self.tally_b,
            &self.bss,
        ];
        let maps = names(transport).into_iter().zip(maps.map(AsFd::as_fd));
        let tally = self.failure_tally.iter().flatten();
        let tally = FAILURE_TALLY.into_iter().zip(tally.map(|map| map.as_fd()));
        let optional = [
            ("failures", &self.failures),
            ("cgroup_names", &self.cgroup_names),
            ("exe_names", &self.exe_names),
        ];
        let optional = optional
            .into_iter()
            .filter_map(|(name, map)| Some((name, map.as_ref()?.as_fd())));
        maps.chain(optional).chain(tally)
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
