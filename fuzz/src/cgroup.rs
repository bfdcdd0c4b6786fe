//! Names of cgroups. Every user with a delegated cgroup can choose them.

use execsnoopd::names::cgroup::{Cgroup, path};
use execsnoopd::record::CgroupName;

/// The number of levels below the root up to which [`path`] builds a path.
const DEEPEST: usize = 64;

/// The size of a name in bytes, including its NUL.
const NAME: usize = 256;

/// For any path: unit, slice and container are parts of it, and the path can be rebuilt from the
/// names in it.
pub fn check(bytes: &[u8]) {
    let cgroup = Cgroup::of_path(bytes);
    let names: Vec<&[u8]> = names(bytes).collect();
    let is_in = |part: &[u8]| {
        let mut parts = names.iter();
        parts.any(|name| *name == part || name.strip_prefix(b"_") == Some(part))
    };
    let (unit, slice, container) = (&*cgroup.unit, &*cgroup.slice, &*cgroup.container);
    if !unit.is_empty() {
        let suffixes: [&[u8]; 5] = [b".service", b".scope", b".socket", b".mount", b".swap"];
        assert!(is_in(unit) && suffixes.iter().any(|suffix| unit.ends_with(suffix)));
        assert!(!slice.is_empty(), "a unit is in a slice");
    }
    if !slice.is_empty() && slice != b"-.slice" {
        assert!(is_in(slice) && slice.ends_with(b".slice"));
    }
    if !container.is_empty() {
        assert_eq!(container.len(), 12);
        let is_digit = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        assert!(container.iter().all(is_digit));
        let mut ids = names.iter().flat_map(|name| name.windows(64));
        assert!(ids.any(|id| id.starts_with(container)));
    }

    let canonical = if names.is_empty() {
        b"/".to_vec()
    } else {
        let parts = names.iter().map(|name| [b"/", *name].concat());
        parts.collect::<Vec<_>>().concat()
    };
    assert_eq!(Cgroup::of_path(&canonical), cgroup);
    check_chain(&names, &canonical);
    check_any_parents(bytes);
}

fn names(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty())
}

/// Checks that [`path`] rebuilds a path from a chain of cgroups, each of which is the child of the
/// previous one.
fn check_chain(names: &[&[u8]], whole: &[u8]) {
    let is_name = |name: &&[u8]| name.len() < NAME && !name.contains(&0);
    if !names.iter().all(is_name) {
        return;
    }
    let found = path(names.len() as u64 + 1, |id| {
        let above = usize::try_from(id - 1).expect("few");
        let name = above.checked_sub(1).map_or(&b""[..], |i| names[i]);
        Ok(Some(named(id - 1, name)))
    });
    let expected = (names.len() <= DEEPEST).then(|| whole.to_vec());
    assert_eq!(found.expect("no error"), expected);
}

/// Checks that [`path`] returns for any parents, including loops. Each byte is the ID of a parent,
/// and its index is the ID of the child.
fn check_any_parents(bytes: &[u8]) {
    let mut looked_up = 0;
    let found = path(1, |id| {
        looked_up += 1;
        let parent = usize::try_from(id).ok().and_then(|id| bytes.get(id));
        Ok(parent.map(|&parent| named(u64::from(parent), b"x")))
    });
    assert!(looked_up <= DEEPEST + 2);
    let found = found.expect("no error");
    assert!(found.is_none_or(|path| path.starts_with(b"/") && path.len() <= 2 * DEEPEST));
}

fn named(parent_id: u64, name: &[u8]) -> CgroupName {
    let mut cgroup = CgroupName {
        parent_id,
        name: [0; NAME],
    };
    cgroup.name[..name.len()].copy_from_slice(name);
    cgroup
}
