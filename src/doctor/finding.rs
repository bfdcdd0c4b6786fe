//! One line of the report.

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    /// Missing but optional.
    Less,
    /// Missing and required.
    Missing,
}

/// The result of one check. Its serialized form is described in docs/doctor.md.
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
