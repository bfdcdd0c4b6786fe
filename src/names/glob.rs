//! Patterns over names.

use std::fmt;

use super::escape::printable;

/// A pattern for a whole name, in which `*` stands for any bytes and `?` for any one character. Each
/// other character stands for itself. Bytes are written as they are printed, and `\x2a` and `\x3f` are
/// a `*` and a `?` that stand for themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<Token>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`
    One,
    /// `*`
    Any,
}

impl Glob {
    /// Parses a pattern. Any text is one.
    pub fn parse(text: &str) -> Self {
        let mut tokens = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            let escaped = escaped_byte(rest).filter(|&byte| is_escaped(byte));
            let token = match byte {
                b'*' => Token::Any,
                b'?' => Token::One,
                _ => Token::Byte(escaped.unwrap_or(byte)),
            };
            rest = if escaped.is_some() { &rest[4..] } else { after };
            // More than one `*` in a row has the same meaning as one.
            if token != Token::Any || tokens.last() != Some(&Token::Any) {
                tokens.push(token);
            }
        }
        Self(tokens)
    }

    /// Returns the pattern that only this name matches.
    pub fn literal(name: &[u8]) -> Self {
        Self(name.iter().copied().map(Token::Byte).collect())
    }

    /// Returns whether text has a `*` or a `?` that does not stand for itself.
    pub fn is_pattern(text: &str) -> bool {
        text.contains(['*', '?'])
    }

    /// Returns the length of the shortest name that matches, in bytes.
    pub fn min_len(&self) -> usize {
        self.0.iter().filter(|token| **token != Token::Any).count()
    }

    /// Returns whether a whole name matches. Takes at most time in proportion to the product of the
    /// lengths of the pattern and the name.
    pub fn matches(&self, name: &[u8]) -> bool {
        let tokens = &self.0;
        let (mut token, mut at) = (0, 0);
        // After the last `*`: the next token, and the end of the bytes that it stands for.
        let mut last_any = None;
        loop {
            match tokens.get(token) {
                Some(Token::Any) => {
                    token += 1;
                    last_any = Some((token, at));
                    continue;
                }
                Some(Token::Byte(byte)) if name.get(at) == Some(byte) => {
                    token += 1;
                    at += 1;
                    continue;
                }
                Some(Token::One) if at < name.len() => {
                    token += 1;
                    at += char_len(&name[at..]);
                    continue;
                }
                None if at == name.len() => return true,
                _ => {}
            }
            match &mut last_any {
                Some((next, end)) if *end < name.len() => {
                    *end += 1;
                    (token, at) = (*next, *end);
                }
                _ => return false,
            }
        }
    }
}

/// Writes the text from which [`Glob::parse`] makes the same pattern.
impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut literal = Vec::new();
        for token in &self.0 {
            let wildcard = match token {
                Token::Byte(byte) if !b"*?".contains(byte) => {
                    literal.push(*byte);
                    continue;
                }
                Token::Byte(byte) => format!("\\x{byte:02x}"),
                Token::One => "?".to_owned(),
                Token::Any => "*".to_owned(),
            };
            f.write_str(&printable(&std::mem::take(&mut literal)))?;
            f.write_str(&wildcard)?;
        }
        f.write_str(&printable(&literal))
    }
}

/// Returns the byte of a `\xNN` at the start.
fn escaped_byte(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"\\x")?.get(..2)?;
    let is_lower = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    let digits = digits.iter().all(is_lower).then_some(digits)?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Returns whether `\xNN` stands for this byte. Other bytes are never printed in this way, so that a
/// unit can be given as systemd writes it: the `\x2d` in `a\x2db.service` is not decoded.
fn is_escaped(byte: u8) -> bool {
    b"*?".contains(&byte) || printable(&[byte]) != char::from(byte).to_string()
}

/// Returns the length of the first character, or 1 if the bytes do not start with one.
fn char_len(bytes: &[u8]) -> usize {
    let first = bytes[..bytes.len().min(4)].utf8_chunks().next();
    let char = first.and_then(|chunk| chunk.valid().chars().next());
    char.map_or(1, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &[u8]) -> bool {
        Glob::parse(pattern).matches(name)
    }

    #[test]
    fn a_pattern_matches_whole_names() {
        for (pattern, name) in [
            ("sh", "sh"),
            ("*sh", "sh"),
            ("*sh", "bash"),
            ("sh*", "sh"),
            ("python3.?", "python3.9"),
            ("python3.?", "python3.ä"),
            ("a*b*c", "a-b-b-c"),
            ("**", ""),
            ("*", "anything"),
            ("", ""),
            ("nginx@*.service", "nginx@blue.service"),
        ] {
            assert!(matches(pattern, name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("sh", "bash"),
            ("sh", "sh2"),
            ("*sh", "shell"),
            ("python3.?", "python3.11"),
            ("?", ""),
            ("a*b*c", "a-c-b"),
            ("", "x"),
            ("SH", "sh"),
            ("[a-z]", "a"),
        ] {
            assert!(!matches(pattern, name.as_bytes()), "{pattern} {name}");
        }
    }

    #[test]
    fn bytes_are_written_as_they_are_printed_and_wildcards_can_be_escaped() {
        assert!(matches("a\\xff*", b"a\xffb"));
        assert!(matches("a\\x5cx2db.*", b"a\\x2db.service"));
        assert!(matches("a\\x2db.*", b"a\\x2db.service"));
        assert!(matches("\\x2a", b"*"));
        assert!(!matches("\\x2a", b"a"));
        assert!(matches("\\x3f?", b"?a"));
        assert!(matches("a\\x", b"a\\x"));
    }

    #[test]
    fn many_wildcards_do_not_take_exponential_time() {
        let pattern = "*a".repeat(100) + "b";
        assert!(!matches(&pattern, &[b'a'; 255]));
    }

    /// The definition of a pattern, which takes exponential time.
    fn is_match(tokens: &[Token], name: &[u8]) -> bool {
        match tokens.split_first() {
            None => name.is_empty(),
            Some((Token::Any, rest)) => (0..=name.len()).any(|n| is_match(rest, &name[n..])),
            Some((Token::One, rest)) => !name.is_empty() && is_match(rest, &name[char_len(name)..]),
            Some((Token::Byte(byte), rest)) => {
                name.first() == Some(byte) && is_match(rest, &name[1..])
            }
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_as_defined(pattern in "[ab*?]{0,6}", name in "[abä]{0,8}") {
            let glob = Glob::parse(&pattern);
            prop_assert_eq!(glob.matches(name.as_bytes()), is_match(&glob.0, name.as_bytes()));
        }

        #[test]
        fn a_pattern_is_written_as_it_is_parsed(
            text in "(\\\\|x|2|a|f|\\*|\\?|ä|\\PC){0,12}",
            name in proptest::collection::vec(any::<u8>(), 0..12),
        ) {
            let glob = Glob::parse(&text);
            prop_assert_eq!(&Glob::parse(&glob.to_string()), &glob);
            let literal = Glob::literal(&name);
            prop_assert!(literal.matches(&name));
            prop_assert_eq!(&Glob::parse(&literal.to_string()), &literal);
        }
    }
}
