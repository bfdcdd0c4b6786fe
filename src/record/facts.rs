//! Facts about processes that the names of programs do not show.

use crate::bpf::types::{self, subject as Subject};

/// The loginuid of a process that does not belong to a login, as in `/proc/PID/loginuid`.
pub const NO_LOGIN: u32 = u32::MAX;

/// Returns the ID of the user who logged in, or [`NO_LOGIN`].
pub fn loginuid(subject: &Subject) -> u32 {
    subject.login.wrapping_sub(1)
}

/// Returns the id of the name of the file that was executed, or None if it has none, because the name was
/// not asked for or is not known.
pub fn exe_id(subject: &Subject) -> Option<u64> {
    Some(subject.exe).filter(|exe| *exe >= u64::from(types::exe::EXE_MAX.0))
}

/// A fact that has one of a few values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fact {
    /// Whether the process came into a container from outside, and how.
    Entry,
    /// Where the file comes from that was executed.
    Origin,
    /// Whether the exec is privileged.
    Elevated,
    /// Whether the process has a controlling terminal.
    Tty,
}

/// The position of a value in [`Fact::values`].
pub type FactValue = u8;

impl Fact {
    pub const ALL: [Self; 4] = [Self::Entry, Self::Origin, Self::Elevated, Self::Tty];

    /// Returns the name of the label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Origin => "origin",
            Self::Elevated => "elevated",
            Self::Tty => "tty",
        }
    }

    /// Returns all values. New ones are added at the end, because positions are saved.
    pub fn values(self) -> &'static [&'static str] {
        match self {
            Self::Entry => &["", "init", "injected"],
            Self::Origin => &[
                "",
                "unlinked",
                "tmpfs",
                "overlay_upper",
                "user_owned",
                "unknown",
            ],
            Self::Elevated | Self::Tty => &["false", "true", "unknown"],
        }
    }

    /// Returns whether the fact is known only at an exec, and not at an exit.
    pub fn is_only_at_exec(self) -> bool {
        self != Self::Tty
    }

    /// Returns the value that a subject has, if the kernel side was asked for the fact.
    pub fn of(self, subject: &Subject) -> FactValue {
        let has = |bit: types::fact| u32::from(subject.facts) & bit.0 != 0;
        let first = |bits: [types::fact; 2]| match bits.map(has) {
            [true, _] => 1,
            [_, true] => 2,
            _ => 0,
        };
        match self {
            Self::Entry => first([types::fact::FACT_INIT, types::fact::FACT_INJECTED]),
            Self::Origin => subject.origin,
            Self::Elevated => first([
                types::fact::FACT_ELEVATED,
                types::fact::FACT_ELEVATED_UNKNOWN,
            ]),
            Self::Tty => first([types::fact::FACT_TTY, types::fact::FACT_TTY_UNKNOWN]),
        }
    }

    /// Returns the bit of `subject.facts` that is set if the fact has this value, or 0 if there is none.
    pub fn bit(self, value: FactValue) -> u8 {
        let bit = match (self, value) {
            (Self::Entry, 1) => types::fact::FACT_INIT.0,
            (Self::Entry, 2) => types::fact::FACT_INJECTED.0,
            (Self::Elevated, 1) => types::fact::FACT_ELEVATED.0,
            (Self::Tty, 1) => types::fact::FACT_TTY.0,
            _ => 0,
        };
        bit.to_le_bytes()[0]
    }

    /// Returns the text of the value that a subject has.
    pub fn text_of(self, subject: &Subject) -> &'static str {
        let value = usize::from(self.of(subject));
        self.values().get(value).copied().unwrap_or_default()
    }

    /// Returns the value with this text.
    pub fn value(self, text: &str) -> Option<FactValue> {
        let mut values = (0..).zip(self.values());
        values.find_map(|(value, known)| (*known == text).then_some(value))
    }
}

/// Returns whether the name of the parent was asked for but is not known.
pub fn is_parent_unknown(subject: &Subject) -> bool {
    u32::from(subject.facts) & types::fact::FACT_PARENT_UNKNOWN.0 != 0
}

/// Returns whether this is a value of `enum origin`.
pub(super) fn is_origin(value: u8) -> bool {
    u32::from(value) < types::origin::ORIGIN_MAX.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_of_the_kernel_has_a_text() {
        let origins = [
            (types::origin::ORIGIN_OTHER, ""),
            (types::origin::ORIGIN_UNLINKED, "unlinked"),
            (types::origin::ORIGIN_TMPFS, "tmpfs"),
            (types::origin::ORIGIN_OVERLAY_UPPER, "overlay_upper"),
            (types::origin::ORIGIN_USER_OWNED, "user_owned"),
            (types::origin::ORIGIN_UNKNOWN, "unknown"),
        ];
        assert_eq!(origins.len(), types::origin::ORIGIN_MAX.0 as usize);
        for (origin, text) in origins {
            let subject = Subject {
                origin: u8::try_from(origin.0).unwrap(),
                ..Subject::default()
            };
            assert_eq!(Fact::Origin.text_of(&subject), text);
        }
        for (bits, texts) in [
            (0, ["", "", "false", "false"]),
            (
                types::fact::FACT_INIT.0 | types::fact::FACT_TTY.0,
                ["init", "", "false", "true"],
            ),
            (
                types::fact::FACT_INJECTED.0 | types::fact::FACT_ELEVATED.0,
                ["injected", "", "true", "false"],
            ),
            (
                types::fact::FACT_ELEVATED_UNKNOWN.0 | types::fact::FACT_TTY_UNKNOWN.0,
                ["", "", "unknown", "unknown"],
            ),
            (
                types::fact::FACT_PARENT_UNKNOWN.0,
                ["", "", "false", "false"],
            ),
        ] {
            let subject = Subject {
                facts: u8::try_from(bits).unwrap(),
                ..Subject::default()
            };
            assert_eq!(Fact::ALL.map(|fact| fact.text_of(&subject)), texts);
            let is_unknown = bits == types::fact::FACT_PARENT_UNKNOWN.0;
            assert_eq!(is_parent_unknown(&subject), is_unknown);
        }
    }

    #[test]
    fn each_text_has_its_value() {
        for fact in Fact::ALL {
            for (value, text) in (0..).zip(fact.values()) {
                assert_eq!(fact.value(text), Some(value), "{} {text}", fact.name());
            }
            assert_eq!(fact.value("yes"), None);
        }
    }
}
