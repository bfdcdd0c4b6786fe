//! One line of the report.

use serde::Serialize;

/// How a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// As it should be.
    Ok,
    /// Something is missing that can be done without.
    Less,
    /// The daemon needs it.
    Missing,
}

/// One thing that was looked at or tried. As it is serialized, it is the schema that
/// docs/doctor.md describes.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) status: Status,
    pub(super) found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) means: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fix: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            status: Status::Ok,
            found: found.into(),
            means: None,
            fix: None,
        }
    }

    pub(super) fn less(check: &'static str, found: impl Into<String>, means: &str) -> Self {
        Self {
            status: Status::Less,
            means: Some(means.to_owned()),
            ..Self::ok(check, found)
        }
    }

    pub(super) fn missing(check: &'static str, found: impl Into<String>, means: &str) -> Self {
        Self {
            status: Status::Missing,
            ..Self::less(check, found, means)
        }
    }

    pub(super) fn fix(self, fix: &str) -> Self {
        let fix = Some(fix.to_owned());
        Self { fix, ..self }
    }
}
