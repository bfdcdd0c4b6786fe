//! YAML values with their lines, which error messages name.
//!
//! saphyr-parser provides the events. No crate that builds values or types from YAML follows the
//! rules of the toolkit. saphyr 0.3 and marked-yaml 0.8 overflow the stack on deeply nested text.
//! marked-yaml reads `~` as text, does not read `yes` as a boolean, and rejects an empty document.
//! serde-saphyr 1.1, the last version for Rust 1.88, reads `"yes"` as a boolean, rejects a second
//! document, and does not know the line of a section's key.

use std::time::Duration;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use crate::config::suggest::nearest;

/// The limit of nesting. The format has three levels.
const MAX_DEPTH: usize = 8;

/// What is wrong in a file, and where.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// A value, its line, and the path of its key, for example `tls_server_config.cert_file`.
#[derive(Debug)]
pub(super) struct Node {
    path: String,
    pub(super) line: usize,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Null,
    /// Quoted scalars are always text. Plain ones can be null or booleans.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Parses the first document of a text, as the toolkit does. An empty document is null.
pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    Loader(Parser::new_from_str(text)).document()
}

/// Returns the number of the last line of a text. YAML's line breaks are `\n`, `\r\n` and `\r`
/// (YAML 1.2.2, 5.4). The parser reports what is missing at the end on the line after it.
pub(super) fn last_line(text: &str) -> usize {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.lines().count().max(1)
}

struct Loader<'input>(Parser<'input, StrInput<'input>>);

impl<'input> Loader<'input> {
    fn document(&mut self) -> Result<Node, Fault> {
        loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
                (Event::StreamEnd | Event::DocumentEnd, span) => {
                    return Ok(Node {
                        path: String::new(),
                        line: span.start.line(),
                        content: Content::Null,
                    });
                }
                (event, span) => return self.node(event, span, String::new(), 0),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'input>, Span), Fault> {
        match self.0.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(syntax(&error)),
            None => Err(Fault {
                line: 1,
                message: "the document is not complete".to_owned(),
            }),
        }
    }

    fn node(
        &mut self,
        event: Event<'input>,
        span: Span,
        path: String,
        depth: usize,
    ) -> Result<Node, Fault> {
        let line = span.start.line();
        let fault = |message: &str| Fault {
            line,
            message: message.to_owned(),
        };
        if depth > MAX_DEPTH {
            return Err(fault("nested too deeply"));
        }
        let content = match event {
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                match text.as_ref() {
                    "" | "~" | "null" | "Null" | "NULL" if plain => Content::Null,
                    _ => Content::Scalar {
                        text: text.into_owned(),
                        plain,
                    },
                }
            }
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break Content::List(items),
                        (event, span) => {
                            items.push(self.node(event, span, path.clone(), depth + 1)?);
                        }
                    }
                }
            }
            Event::MappingStart(..) => self.mapping(&path, depth)?,
            Event::Alias(_) => {
                return Err(fault(
                    "aliases (`*name`) are not supported; repeat the value",
                ));
            }
            _ => return Err(fault("expected a value")),
        };
        Ok(Node {
            path,
            line,
            content,
        })
    }

    fn mapping(&mut self, path: &str, depth: usize) -> Result<Content, Fault> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let line = span.start.line();
            let key = match event {
                Event::MappingEnd => return Ok(Content::Map(entries)),
                Event::Scalar(key, ..) => key.into_owned(),
                _ => {
                    return Err(Fault {
                        line,
                        message: "a key must be a single word".to_owned(),
                    });
                }
            };
            let path = match path {
                "" => key.clone(),
                path => format!("{path}.{key}"),
            };
            if entries.iter().any(|(other, _)| *other == key) {
                return Err(Fault {
                    line,
                    message: format!("duplicate key `{path}`"),
                });
            }
            let (event, span) = self.next()?;
            let mut value = self.node(event, span, path, depth + 1)?;
            value.line = line;
            entries.push((key, value));
        }
    }
}

fn syntax(error: &ScanError) -> Fault {
    Fault {
        line: error.marker().line(),
        message: error.info().to_owned(),
    }
}

impl Node {
    /// Returns a fault of this value.
    pub(super) fn fault(&self, message: impl std::fmt::Display) -> Fault {
        let message = match self.path.as_str() {
            "" => message.to_string(),
            path => format!("{path}: {message}"),
        };
        Fault {
            line: self.line,
            message,
        }
    }

    /// Returns keys and values. Null has none.
    pub(super) fn entries(self) -> Result<Vec<(String, Self)>, Fault> {
        match self.content {
            Content::Null => Ok(Vec::new()),
            Content::Map(entries) => Ok(entries),
            _ => Err(self.fault("expected keys with values")),
        }
    }

    /// Like [`entries`](Self::entries), with only known keys. Keys whose value is null are left
    /// out.
    pub(super) fn fields(self, known: &[&str]) -> Result<Vec<(String, Self)>, Fault> {
        if let Content::Map(entries) = &self.content {
            let unknown = entries
                .iter()
                .find(|(key, _)| !known.contains(&key.as_str()));
            if let Some((key, node)) = unknown {
                let mut message = format!("unknown key `{}`", node.path);
                if let Some(nearest) = nearest(key, known.iter().copied()) {
                    message = format!("{message}; did you mean `{nearest}`?");
                }
                return Err(Fault {
                    line: node.line,
                    message,
                });
            }
        }
        let mut fields = self.entries()?;
        fields.retain(|(_, node)| !matches!(node.content, Content::Null));
        Ok(fields)
    }

    pub(super) fn list(self) -> Result<Vec<Self>, Fault> {
        match self.content {
            Content::List(items) => Ok(items),
            Content::Null => Ok(Vec::new()),
            _ => Err(self.fault("expected a list")),
        }
    }

    pub(super) fn text(&self) -> Result<&str, Fault> {
        match &self.content {
            Content::Scalar { text, .. } => Ok(text),
            Content::Null => Ok(""),
            _ => Err(self.fault("expected a single value")),
        }
    }

    /// Accepts the words of YAML 1.1, as the toolkit does.
    pub(super) fn boolean(&self) -> Result<bool, Fault> {
        match &self.content {
            Content::Scalar { text, plain: true } => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "y" | "on" => Ok(true),
                "false" | "no" | "n" | "off" => Ok(false),
                _ => Err(self.fault(format_args!("`{text}` is not true or false"))),
            },
            _ => Err(self.fault("expected true or false")),
        }
    }

    pub(super) fn number(&self) -> Result<u32, Fault> {
        let text = self.text()?;
        text.parse().map_err(|_| {
            self.fault(format_args!(
                "`{text}` is not a number from 0 to {}",
                u32::MAX
            ))
        })
    }

    /// Reads a duration as Go writes it, for example `1m30s` or `1.5s`. A number without a unit is
    /// in nanoseconds.
    pub(super) fn duration(&self) -> Result<Duration, Fault> {
        let text = self.text()?;
        duration(text).ok_or_else(|| {
            self.fault(format_args!(
                "`{text}` is not a duration such as 500ms, 1s or 1m30s"
            ))
        })
    }
}

/// A unit precedes those that are a prefix of it.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// humantime has other units and no fractions, and go-parse-duration 0.1 panics on `1µs`.
fn duration(text: &str) -> Option<Duration> {
    if let Ok(nanoseconds) = text.parse() {
        return Some(Duration::from_nanos(nanoseconds));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, unit) = rest.split_at(rest.find(|c: char| c != '.' && !c.is_ascii_digit())?);
        let (name, seconds) = UNITS.iter().find(|(name, _)| unit.starts_with(name))?;
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = &unit[name.len()..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_form_of_go() {
        for (text, milliseconds) in [
            ("0", 0),
            ("1s", 1000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("2ms3000µs1000000ns", 6),
            ("1000000", 1),
        ] {
            assert_eq!(
                duration(text),
                Some(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in ["", "s", "1", "1d", "-1s", "1 s", "1e400s", "1sms", "1s1"] {
            let nanosecond = (text == "1").then_some(Duration::from_nanos(1));
            assert_eq!(duration(text), nanosecond, "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        for depth in [20, 200_000] {
            let fault = parse(&format!("{}x", "- ".repeat(depth))).unwrap_err();
            assert_eq!(fault.message, "nested too deeply");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
