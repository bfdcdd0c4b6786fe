//! Parses messages about unknown keys ("did you mean").

/// Returns the unknown key that a message names, and the key that it suggests.
pub(crate) fn of(message: &str) -> Option<(&str, Option<&str>)> {
    let rest = message.strip_prefix("unknown key `")?;
    match rest.rsplit_once("`; did you mean `") {
        Some((key, nearest)) => Some((key, Some(nearest.strip_suffix("`?")?))),
        None => Some((rest.strip_suffix('`')?, None)),
    }
}
