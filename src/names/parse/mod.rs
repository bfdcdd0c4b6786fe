//! Parses names that users write in filters and in the configuration.
//!
//! The results have the form of the kernel. Each name can be written as it is printed
//! ([`unescape`]). For a name that can never match, the error says what would match.

use super::cgroup::{CONTAINER_ID, SHORT_ID, UNITS};
use super::escape::{UNKNOWN, printable, unescape};
use super::own_label::MAX_VALUE;
use crate::record::{Comm, Fact, FactValue, NO_LOGIN};

/// The longest name of a file or of a cgroup in bytes (`NAME_MAX`).
const MAX_NAME: usize = 255;

/// The types of units that have no processes (`systemd.unit(5)`). Slices contain units.
const WITHOUT_PROCESSES: [&str; 6] = [
    ".target",
    ".device",
    ".automount",
    ".timer",
    ".path",
    ".slice",
];

/// Parses the name of a program.
pub fn comm(text: &str) -> Result<Comm, String> {
    let name = unescape(text);
    let mut comm = Comm::default();
    let kept = comm.len() - 1;
    if name.contains(&0) {
        return Err(format!("{text:?} has a NUL byte, which no name has"));
    }
    let Some(bytes) = comm[..kept].get_mut(..name.len()) else {
        let start = if text.starts_with('/') {
            name.iter()
                .rposition(|&byte| byte == b'/')
                .map_or(0, |slash| slash + 1)
        } else {
            0
        };
        let last = &name[start..];
        return Err(format!(
            "{text:?} is longer than the {kept} bytes that the kernel keeps of a name; use {:?}",
            printable(&last[..last.len().min(kept)])
        ));
    };
    bytes.copy_from_slice(&name);
    Ok(comm)
}

/// Parses the name of a file, without its directories. The result is empty for `unknown`, which stands for
/// the files whose name is not known.
pub fn exe(text: &str) -> Result<Vec<u8>, String> {
    if text == UNKNOWN {
        return Ok(Vec::new());
    }
    let name = unescape(text);
    if name.is_empty() {
        return Err(format!(
            "no file has an empty name; {UNKNOWN:?} stands for names that are not known"
        ));
    }
    if name.contains(&0) {
        return Err(format!("{text:?} has a NUL byte, which no name has"));
    }
    // The names of files in memory can contain slashes.
    let slash = name.iter().rposition(|&byte| byte == b'/');
    if let Some(slash) = slash.filter(|_| !name.starts_with(b"memfd:")) {
        return Err(format!(
            "{text:?} is a path; use the name of the file, {:?}",
            printable(&name[slash + 1..])
        ));
    }
    if name.len() > MAX_NAME {
        return Err(format!(
            "{text:?} is longer than the {MAX_NAME} bytes that a file's name can have"
        ));
    }
    Ok(name)
}

/// Parses a user, given by uid or by name. Looks the name up (NSS), which can block.
pub fn uid(text: &str) -> Result<u32, String> {
    let named = || uzers::get_user_by_name(text).map(|user| user.uid());
    let uid = text.parse().ok().or_else(named);
    // setuid(2) refuses -1, so no process has it.
    let uid = uid.filter(|&uid| uid != u32::MAX);
    uid.ok_or_else(|| format!("{text:?} is neither a uid nor the name of a user"))
}

/// Parses a user who logged in, like [`uid`]. The empty name stands for processes that do not belong to
/// a login.
pub fn loginuid(text: &str) -> Result<u32, String> {
    if text.is_empty() {
        return Ok(NO_LOGIN);
    }
    uid(text)
}

/// Parses a value of a fact.
pub fn fact(fact: Fact, text: &str) -> Result<FactValue, String> {
    let values = || fact.values().iter().map(|value| format!("{value:?}"));
    fact.value(text).ok_or_else(|| {
        let values: Vec<_> = values().collect();
        format!(
            "{text:?} is no value of `{}`: use one of {}",
            fact.name(),
            values.join(", ")
        )
    })
}

/// Parses the name of a systemd unit. A name without a type is a service, as in systemctl. The
/// empty name stands for processes outside any unit.
pub fn unit(text: &str) -> Result<Vec<u8>, String> {
    if let Some(kind) = WITHOUT_PROCESSES.iter().find(|kind| text.ends_with(**kind)) {
        let such = UNITS.map(|kind| String::from_utf8_lossy(kind).into_owned());
        return Err(format!(
            "{text:?} has no processes: a unit with processes ends with {}, not with {kind}",
            such.join(", ")
        ));
    }
    cgroup_name(text, &UNITS, "service")
}

/// Parses the name of a systemd slice. The suffix can be left out. The empty name stands for
/// processes outside any slice.
pub fn slice(text: &str) -> Result<Vec<u8>, String> {
    let is_unit = |name: &[u8]| UNITS.iter().any(|suffix| name.ends_with(suffix));
    if is_unit(text.as_bytes()) {
        return Err(format!("{text:?} is not a slice: a slice ends with .slice"));
    }
    cgroup_name(text, &[b".slice"], "slice")
}

fn cgroup_name(text: &str, suffixes: &[&[u8]], default: &str) -> Result<Vec<u8>, String> {
    let mut name = unescape(text);
    if name.is_empty() {
        return Ok(name);
    }
    if let Some(byte) = name.iter().find(|byte| b"/\0\n".contains(byte)) {
        return Err(format!(
            "{text:?} is not the name of a {default}: it contains {:?}",
            char::from(*byte)
        ));
    }
    if !suffixes.iter().any(|suffix| name.ends_with(suffix)) {
        name.push(b'.');
        name.extend_from_slice(default.as_bytes());
    }
    if suffixes.contains(&&name[..]) {
        return Err(format!("{text:?} has nothing before its type"));
    }
    if name.len() > MAX_NAME {
        return Err(format!(
            "{text:?} is longer than the {MAX_NAME} bytes that a unit's name can have"
        ));
    }
    Ok(name)
}

/// Parses the ID of a container, which is shortened to 12 digits. The empty ID stands
/// for processes outside any container.
pub fn container(text: &str) -> Result<Vec<u8>, String> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    match text.len() {
        0 => Ok(Vec::new()),
        SHORT_ID | CONTAINER_ID if text.bytes().all(is_digit) => {
            Ok(text.as_bytes()[..SHORT_ID].to_vec())
        }
        _ => Err(format!(
            "{text:?} is not a container ID: it has {SHORT_ID} or {CONTAINER_ID} digits from 0 to \
             9 and a to f"
        )),
    }
}

/// Parses the UID of a pod, as Kubernetes' API writes it. The empty UID stands for processes outside any
/// pod.
pub fn pod_uid(text: &str) -> Result<Vec<u8>, String> {
    let is_of_uid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if text.bytes().all(is_of_uid) && text.len() <= MAX_NAME {
        return Ok(text.into());
    }
    Err(format!(
        "{text:?} is not the UID of a pod, which is written as \
         123e4567-e89b-12d3-a456-426614174000 (metadata.uid)"
    ))
}

/// Parses a value of a label that the configuration defines.
pub fn own(text: &str) -> Result<Vec<u8>, String> {
    let value = unescape(text);
    if value.len() > MAX_VALUE {
        return Err(format!(
            "{text:?} is longer than the {MAX_VALUE} bytes that a value can have"
        ));
    }
    Ok(value)
}

/// Returns why a unit of this name is unlikely to have processes. A cgroup with this name can
/// exist, but systemd does not create it.
pub fn doubt_unit(name: &[u8]) -> Option<&'static str> {
    if name.iter().any(|byte| b"*?[".contains(byte)) {
        Some("names of units are compared as a whole, without wildcards")
    } else if name.windows(2).any(|pair| pair == b"@.") {
        Some("this is a template; only its instances have processes, for example getty@tty1")
    } else {
        None
    }
}

/// Returns the last component of an absolute path. Users may write a path instead of a program's
/// name.
pub fn program_of_path(text: &str) -> Option<&str> {
    let path = text.strip_prefix('/')?;
    Some(path.rsplit('/').next().unwrap_or(path))
}

#[cfg(test)]
mod tests;
