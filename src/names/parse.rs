//! Parses names that users write in filters and in the configuration.
//!
//! The results have the form of the kernel. Each name can be written as it is printed
//! ([`unescape`]). For a name that can never match, the error says what would match.

use super::cgroup::{CONTAINER_ID, SHORT_ID, UNITS};
use super::escape::{printable, unescape};
use super::own_label::MAX_VALUE;
use crate::record::{Comm, Fact, FactValue, NO_LOGIN};

/// The longest name of a cgroup in bytes (`NAME_MAX`).
const MAX_CGROUP_NAME: usize = 255;

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
    if name.len() > MAX_CGROUP_NAME {
        return Err(format!(
            "{text:?} is longer than the {MAX_CGROUP_NAME} bytes that a unit's name can have"
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
    if text.bytes().all(is_of_uid) && text.len() <= MAX_CGROUP_NAME {
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::names::cgroup::Cgroup;
    use crate::names::escape::escape;
    use crate::record::nul_terminated;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_unit_is_completed_as_systemctl_does() {
        for (text, name) in [
            ("ssh", "ssh.service"),
            ("ssh.service", "ssh.service"),
            ("snap.lxd.daemon", "snap.lxd.daemon.service"),
            ("snap.lxd.daemon.service", "snap.lxd.daemon.service"),
            ("dbus.socket", "dbus.socket"),
            ("session-3.scope", "session-3.scope"),
            (
                "dev-disk-by\\x2dlabel-swap.swap",
                "dev-disk-by\\x2dlabel-swap.swap",
            ),
            (
                "dev-disk-by\\x5cx2dlabel.swap",
                "dev-disk-by\\x2dlabel.swap",
            ),
            ("foo.Service", "foo.Service.service"),
            ("service", "service.service"),
            ("", ""),
        ] {
            assert_eq!(unit(text).as_deref(), Ok(name.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_unit_that_no_process_can_be_in_is_refused() {
        for (text, says) in [
            (
                "logrotate.timer",
                "ends with .service, .scope, .socket, .mount, .swap",
            ),
            ("multi-user.target", "not with .target"),
            ("system.slice", "not with .slice"),
            ("dev-sda.device", "not with .device"),
            ("/system.slice/ssh.service", "contains '/'"),
            ("a\\x0ab", "contains '\\n'"),
            (".service", "nothing before its type"),
            (&"x".repeat(248), "255 bytes"),
        ] {
            let error = unit(text).expect_err(text);
            assert!(error.contains(says), "{error}");
        }
        assert!(unit(&"x".repeat(247)).is_ok());
    }

    #[test]
    fn a_slice_is_completed_or_refused() {
        for (text, name) in [
            ("system", "system.slice"),
            ("user-1000.slice", "user-1000.slice"),
            ("-.slice", "-.slice"),
            ("", ""),
        ] {
            assert_eq!(slice(text).as_deref(), Ok(name.as_bytes()), "{text}");
        }
        for text in ["ssh.service", "session-3.scope", ".slice", "a/b"] {
            assert!(slice(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_container_is_an_id_of_12_or_64_digits() {
        for text in [ID, &ID[..12]] {
            assert_eq!(container(text).as_deref(), Ok(&ID.as_bytes()[..12]));
        }
        assert_eq!(container("").as_deref(), Ok(&b""[..]));
        let upper = ID.to_uppercase();
        for text in [
            &ID[..11],
            &ID[..13],
            &ID[..63],
            &upper,
            "web",
            "ß123456789a",
        ] {
            assert!(container(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_impossible_name_of_a_program_is_refused_with_a_possible_one() {
        let error = comm("gnome-shell-calendar-server").unwrap_err();
        assert!(error.ends_with("use \"gnome-shell-cal\""), "{error}");
        let error = comm("/usr/libexec/gnome-shell-calendar-server").unwrap_err();
        assert!(error.ends_with("use \"gnome-shell-cal\""), "{error}");
        // The kernel truncates names even within a character.
        let error = comm("ääääääää").unwrap_err();
        assert!(error.ends_with("use \"äääääää\\\\xc3\""), "{error}");
        assert!(comm("äääääää\\xc3").is_ok());
        assert!(comm("a\\x00b").unwrap_err().contains("NUL"));
        assert!(comm("fifteen-bytes-a").is_ok());
        assert_eq!(program_of_path("/usr/bin/true"), Some("true"));
        assert_eq!(program_of_path("kworker/0:1"), None);
    }

    #[test]
    fn a_uid_is_below_the_one_that_the_kernel_reserves() {
        assert_eq!(uid("0"), Ok(0));
        assert_eq!(uid("root"), Ok(0));
        assert_eq!(uid("4294967294"), Ok(u32::MAX - 1));
        for text in ["4294967295", "4294967296", "-1", "", "no-such-user"] {
            assert!(uid(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_or_a_template_is_unlikely_to_be_a_unit() {
        for (name, is_unlikely) in [
            ("ssh*.service", true),
            ("getty@.service", true),
            ("getty@tty1.service", false),
            ("snap.lxd.daemon.service", false),
        ] {
            assert_eq!(doubt_unit(name.as_bytes()).is_some(), is_unlikely, "{name}");
        }
    }

    /// Generates names in which escapes, and characters of more than one byte, are frequent.
    fn name(max: usize) -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            any::<char>().prop_map(|c| c.to_string().into_bytes()),
            prop::sample::select(vec![
                "\\x2d", "\\x5c", "\\", "\\x5cx2d", "\\x6f", "other", "x", "."
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
        ];
        prop::collection::vec(part, 0..8).prop_map(move |parts| {
            let mut name = parts.concat();
            name.retain(|byte| !b"\0/\n".contains(byte));
            name.truncate(max);
            name
        })
    }

    proptest! {
        #[test]
        fn the_name_of_a_program_is_parsed_as_it_is_printed(name in name(15)) {
            for text in [printable(&name), escape(&name)] {
                let comm = comm(&text).unwrap();
                prop_assert_eq!(nul_terminated(&comm), &name[..]);
            }
        }

        #[test]
        fn a_unit_and_a_slice_are_parsed_as_they_are_printed(
            outer in name(100),
            inner in name(100),
            kind in prop::sample::select(UNITS.to_vec()),
        ) {
            let path = [b"/", &outer[..], b".slice/", &inner, kind].concat();
            let cgroup = Cgroup::of_path(&path);
            for show in [printable, escape] {
                prop_assert_eq!(unit(&show(&cgroup.unit)).unwrap(), &cgroup.unit[..]);
                prop_assert_eq!(slice(&show(&cgroup.slice)).unwrap(), &cgroup.slice[..]);
                prop_assert_eq!(container(&show(&cgroup.container)).unwrap(), &cgroup.container[..]);
            }
        }
    }
}
