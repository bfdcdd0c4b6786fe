//! A YAML tree that serde reads into types, with the lines that error messages name.
//!
//! saphyr-parser provides the events. No crate that builds values or types from YAML follows the
//! rules of the toolkit. saphyr 0.3 and marked-yaml 0.8 overflow the stack on deeply nested text.
//! marked-yaml reads `~` as text, does not read `yes` as a boolean, and rejects an empty document.
//! serde-saphyr 1.1, the last version for Rust 1.88, reads `"yes"` as a boolean, rejects a second
//! document, and does not know the line of a section's key.

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserialize, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::config::suggest;

/// The limit on the depth of nesting. The format of the toolkit has three levels.
const MAX_DEPTH: usize = 8;

/// What is wrong in a file, and where.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// A value, and the line of its key. For a value without a key, it is the line of the value.
#[derive(Debug)]
pub(super) struct Node {
    line: usize,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Without quotes. Only plain scalars can be null or booleans.
    Plain(String),
    Quoted(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Parses the first document of a text, as the toolkit does. An empty document is null.
pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    let parser = Parser::new_from_str(text);
    let path = Vec::new();
    let document = Loader { parser, path }.next()?;
    Ok(document.unwrap_or(Node {
        line: 1,
        content: Content::Plain(String::new()),
    }))
}

/// Returns the number of the last line of a text. YAML's line breaks are `\n`, `\r\n` and `\r`
/// (YAML 1.2.2, 5.4). If something is missing at the end of the text, the parser reports the line
/// after the last one.
pub(super) fn last_line(text: &str) -> usize {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.lines().count().max(1)
}

struct Loader<'input> {
    parser: Parser<'input, StrInput<'input>>,
    /// The current key of each map around the next value, and an empty string for each list.
    path: Vec<String>,
}

impl Loader<'_> {
    /// Returns the next value, or `None` at the end of a list, a map or the text.
    fn next(&mut self) -> Result<Option<Node>, Fault> {
        let Some(event) = self.parser.next_event() else {
            return Ok(None);
        };
        let (event, span) = event.map_err(|error| Fault {
            line: error.marker().line(),
            message: error.info().to_owned(),
        })?;
        let line = span.start.line();
        let fault = |message: &str| Fault {
            line,
            message: message.to_owned(),
        };
        let content = match event {
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => return self.next(),
            Event::SequenceEnd | Event::MappingEnd | Event::DocumentEnd | Event::StreamEnd => {
                return Ok(None);
            }
            Event::Alias(_) => {
                return Err(fault(
                    "aliases (`*name`) are not supported; repeat the value",
                ));
            }
            Event::Scalar(text, ScalarStyle::Plain, ..) => Content::Plain(text.into_owned()),
            Event::Scalar(text, ..) => Content::Quoted(text.into_owned()),
            _ if self.path.len() == MAX_DEPTH => return Err(fault("nested too deeply")),
            Event::SequenceStart(..) => Content::List(self.list()?),
            Event::MappingStart(..) => Content::Map(self.map()?),
        };
        Ok(Some(Node { line, content }))
    }

    fn list(&mut self) -> Result<Vec<Node>, Fault> {
        let mut items = Vec::new();
        self.path.push(String::new());
        while let Some(item) = self.next()? {
            items.push(item);
        }
        self.path.pop();
        Ok(items)
    }

    fn map(&mut self) -> Result<Vec<(String, Node)>, Fault> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        self.path.push(String::new());
        while let Some(Node { line, content }) = self.next()? {
            let (Content::Plain(key) | Content::Quoted(key)) = content else {
                let message = "a key must be a single word".to_owned();
                return Err(Fault { line, message });
            };
            self.path.pop();
            self.path.push(key.clone());
            if entries.iter().any(|(other, _)| *other == key) {
                let message = format!("duplicate key `{}`", self.path.join("."));
                return Err(Fault { line, message });
            }
            let Some(value) = self.next()? else { break };
            entries.push((key, Node { line, ..value }));
        }
        self.path.pop();
        Ok(entries)
    }
}

impl Node {
    /// Deserializes the tree. A fault names the key, with its line.
    pub(super) fn read<'de, T: Deserialize<'de>>(&'de self) -> Result<T, Fault> {
        serde_path_to_error::deserialize(self).map_err(|error| {
            let key = suggest::key_at(error.path());
            Fault {
                line: self.line_of(&suggest::keys(error.path())),
                message: match error.inner() {
                    Error::UnknownKey { nearest } => suggest::unknown_key(&key, nearest.as_deref()),
                    Error::Value(message) if key.is_empty() => message.clone(),
                    Error::Value(message) => format!("{key}: {message}"),
                },
            }
        })
    }

    /// Returns a fault of a key's value.
    pub(super) fn fault(&self, keys: &[&str], message: &str) -> Fault {
        Fault {
            line: self.line_of(keys),
            message: format!("{}: {message}", keys.join(".")),
        }
    }

    /// Returns the line of a key. For a key that does not exist, returns the line of the innermost
    /// key on its path.
    pub(super) fn line_of(&self, keys: &[impl AsRef<str>]) -> usize {
        let mut node = self;
        for key in keys.iter().map(AsRef::as_ref) {
            let inner = match &node.content {
                Content::Map(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
                Content::List(items) => key.parse().ok().and_then(|i: usize| items.get(i)),
                Content::Plain(_) | Content::Quoted(_) => None,
            };
            let Some(inner) = inner else { break };
            node = inner;
        }
        node.line
    }

    fn is_null(&self) -> bool {
        let nulls = ["", "~", "null", "Null", "NULL"];
        matches!(&self.content, Content::Plain(text) if nulls.contains(&text.as_str()))
    }

    fn text(&self) -> Result<&str, Error> {
        match &self.content {
            _ if self.is_null() => Ok(""),
            Content::Plain(text) | Content::Quoted(text) => Ok(text),
            Content::List(_) | Content::Map(_) => wrong("expected a single value"),
        }
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    /// Accepts the words of YAML 1.1, as the toolkit does.
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Content::Plain(text) = &self.content else {
            return wrong("expected true or false");
        };
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "on" => visitor.visit_bool(true),
            "false" | "no" | "n" | "off" => visitor.visit_bool(false),
            _ => wrong(format!("`{text}` is not true or false")),
        }
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = if self.is_null() { "0" } else { self.text()? };
        match text.parse() {
            Ok(number) => visitor.visit_u32(number),
            Err(_) => wrong(format!("`{text}` is not a number from 0 to {}", u32::MAX)),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let items = match &self.content {
            Content::List(items) => items.as_slice(),
            _ if self.is_null() => &[],
            _ => return wrong("expected a list"),
        };
        visitor.visit_seq(SeqDeserializer::new(items.iter()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let entries = match &self.content {
            Content::Map(entries) => entries.as_slice(),
            _ if self.is_null() => &[],
            _ => return wrong("expected keys with values"),
        };
        let entries = entries.iter().map(|(key, value)| (key.as_str(), value));
        visitor.visit_map(MapDeserializer::new(entries))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 u8 u16 u64 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct tuple tuple_struct enum identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for &'de Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Why a tree cannot be deserialized. `serde_path_to_error` adds the key.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("unknown key")]
    UnknownKey { nearest: Option<String> },
    #[error("{0}")]
    Value(String),
}

fn wrong<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::Value(message.into()))
}

impl de::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Value(message.to_string())
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let nearest = suggest::nearest(field, expected.iter().copied());
        Self::UnknownKey { nearest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_bounded() {
        for depth in [20, 200_000] {
            let fault = parse(&format!("{}x", "- ".repeat(depth))).unwrap_err();
            assert_eq!(fault.message, "nested too deeply");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
