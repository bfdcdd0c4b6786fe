//! Names that any user can choose, as label values and in the columns of `execsnoopd trace`.

use execsnoopd::names::escape::{self, OTHER, escape, printable};

/// For any name: the escaped text is printable, and the name can be recovered from it.
pub fn check(bytes: &[u8]) {
    let (value, text) = (escape(bytes), printable(bytes));
    assert_eq!(unescape(&value), bytes);
    assert_eq!(unescape(&text), bytes);
    assert_eq!(escape::unescape(&value), bytes);
    assert_eq!(escape::unescape(&text), bytes);
    assert_ne!(value, OTHER);
    for c in text.chars() {
        // A line break would end a sample of the metrics. Escape sequences and format characters
        // would change what a terminal shows.
        let is_format = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
        assert!(!c.is_control() && !is_format, "{c:?} in {text:?}");
    }
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'\\';
    if bytes.iter().all(is_plain) {
        assert_eq!(text.as_bytes(), bytes);
    }
}

/// Reverses the escaping.
fn unescape(value: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = value;
    while let Some((plain, escaped)) = rest.split_once("\\x") {
        bytes.extend(plain.as_bytes());
        let (digits, further) = escaped.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
        rest = further;
    }
    assert!(!rest.contains('\\'), "a backslash without an escape");
    bytes.extend(rest.as_bytes());
    bytes
}
