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
