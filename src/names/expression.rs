//! Regular expressions of the configuration.
//!
//! They are matched in linear time, on bytes, and their compiled size is limited.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

/// The largest size of a compiled expression in bytes. Matching takes time in proportion to it.
const MAX_COMPILED: usize = 64 << 10;

/// Why an expression cannot be used. The text continues a sentence that begins with the expression.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfit(pub(super) String);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Compiles an expression, in which classes such as `\d` are those of ASCII.
pub(super) fn compile(pattern: &str) -> Result<Regex, Unfit> {
    RegexBuilder::new(pattern)
        .unicode(false)
        .size_limit(MAX_COMPILED)
        .build()
        .map_err(|error| Unfit(describe(&error)))
}

/// Describes an error in one line. The crate shows the expression, with a mark below it, in several.
fn describe(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => format!(
            "is too large: compiled, it has more than {MAX_COMPILED} bytes; use fewer or smaller \
             counted repetitions"
        ),
        error => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            let reason = last.strip_prefix("error: ").unwrap_or(last);
            format!("is not a regular expression: {reason}")
        }
    }
}
