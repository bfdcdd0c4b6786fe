//! Escapes names that any user can choose, for label values and for output on a terminal.

use std::fmt::Write;

/// The label value of everything that has no series of its own.
pub const OTHER: &str = "other";

/// The value of a label whose name is not known.
pub const UNKNOWN: &str = "unknown";

/// Returns a label value for these bytes: like [`printable`], but never [`OTHER`]. A program of
/// that name becomes `\x6fther`.
pub fn escape(bytes: &[u8]) -> String {
    but_not(OTHER, bytes)
}

/// Returns the name of a file as printable text. An empty name, which means that the name is not known,
/// becomes [`UNKNOWN`]. A file of that name becomes `\x75nknown`.
pub fn printable_or_unknown(name: &[u8]) -> String {
    if name.is_empty() {
        return UNKNOWN.to_owned();
    }
    but_not(UNKNOWN, name)
}

/// Returns a label value for the name of a file, which is empty if it is not known.
pub fn escape_or_unknown(name: &[u8]) -> String {
    if name == OTHER.as_bytes() {
        return escape(name);
    }
    printable_or_unknown(name)
}

/// Like [`printable`], but escapes the first byte of a word that has a meaning of its own.
fn but_not(word: &str, bytes: &[u8]) -> String {
    if bytes != word.as_bytes() {
        return printable(bytes);
    }
    let mut value = String::new();
    escape_bytes(&mut value, &bytes[..1]);
    value.push_str(&word[1..]);
    value
}

/// Returns text for these bytes. Printable UTF-8 is unchanged, except that each backslash and each
/// other byte becomes `\xNN`. Distinct bytes give distinct text.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c != '\\' && is_printable(c) {
                text.push(c);
            } else {
                escape_bytes(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        escape_bytes(&mut text, chunk.invalid());
    }
    text
}

/// Returns the bytes for which one of these functions returns this text. Text that none can return
/// stands for its own bytes, so that a unit can also be given as systemd writes it: the
/// `\x2d` in `a\x2db.service` is not decoded, because none escapes a `-`.
pub fn unescape(text: &str) -> Vec<u8> {
    let bytes = decode(text);
    let is_shown = [
        printable(&bytes),
        but_not(OTHER, &bytes),
        but_not(UNKNOWN, &bytes),
    ]
    .iter()
    .any(|shown| shown == text);
    if is_shown { bytes } else { text.into() }
}

/// Replaces each `\xNN` by the byte.
fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after.get(..2);
        if let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.extend_from_slice(b"\\x");
            rest = after;
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

fn escape_bytes(value: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String does not fail.
        let _ = write!(value, "\\x{byte:02x}");
    }
}

/// Follows `Debug` for `str` of the standard library, except that quotes are not escaped: control,
/// format, private and unassigned characters and lone combining marks are not printable.
fn is_printable(c: char) -> bool {
    matches!(c, '\'' | '"') || c.escape_debug().eq([c])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn printable_characters_stay_and_all_other_bytes_are_escaped() {
        assert_eq!(escape(b"python3.11"), "python3.11");
        assert_eq!(escape("näme 日本".as_bytes()), "näme 日本");
        assert_eq!(escape(b"a\"b'c"), "a\"b'c");
        assert_eq!(escape(b"a\\b"), "a\\x5cb");
        assert_eq!(escape(b"a\nb\x1b[0m"), "a\\x0ab\\x1b[0m");
        assert_eq!(escape(b"\xff\xfe"), "\\xff\\xfe");
        // a right-to-left override, and the first two bytes of a three-byte character
        assert_eq!(escape("\u{202e}".as_bytes()), "\\xe2\\x80\\xae");
        assert_eq!(escape(&"日".as_bytes()[..2]), "\\xe6\\x97");
        assert_eq!(escape(b""), "");
    }

    #[test]
    fn a_program_named_other_cannot_pass_for_the_rest() {
        assert_eq!(escape(b"other"), "\\x6fther");
        assert_eq!(escape(b"others"), "others");
    }

    #[test]
    fn a_file_named_unknown_cannot_pass_for_one_whose_name_is_not_known() {
        for (name, shown, value) in [
            (&b""[..], "unknown", "unknown"),
            (b"unknown", "\\x75nknown", "\\x75nknown"),
            (b"other", "other", "\\x6fther"),
            (b"ls", "ls", "ls"),
        ] {
            assert_eq!(printable_or_unknown(name), shown);
            assert_eq!(escape_or_unknown(name), value);
            if !name.is_empty() {
                assert_eq!(unescape(shown), name);
                assert_eq!(unescape(value), name);
            }
        }
    }

    proptest! {
        #[test]
        fn distinct_bytes_give_distinct_values(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            let value = escape(&bytes);
            prop_assert_eq!(unescape(&value), &bytes[..]);
            prop_assert_eq!(unescape(&printable(&bytes)), bytes);
            prop_assert!(value != OTHER);
            prop_assert!(!value.chars().any(char::is_control));
        }
    }
}
