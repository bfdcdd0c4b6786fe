//! "did you mean": what messages about unknown keys say.

/// The unknown key of a message, and the key that is named instead.
pub(crate) fn of(message: &str) -> Option<(&str, Option<&str>)> {
    let rest = message.strip_prefix("unknown key `")?;
    match rest.rsplit_once("`; did you mean `") {
        Some((key, nearest)) => Some((key, Some(nearest.strip_suffix("`?")?))),
        None => Some((rest.strip_suffix('`')?, None)),
    }
}
