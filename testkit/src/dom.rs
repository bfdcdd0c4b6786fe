//! The DOM of a page, parsed from what Chromium prints. Chromium escapes every `<`, `>`, `&` and `"`
//! that is not markup.

use std::collections::BTreeMap;

/// An HTML element.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    pub name: String,
    pub attributes: BTreeMap<String, String>,
    /// The text between its start tag and the next tag.
    pub text: String,
}

impl Element {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }
}

/// All elements, in document order.
pub fn elements(document: &str) -> Vec<Element> {
    let starts = document.split('<').skip(1);
    starts
        .filter(|tag| !tag.starts_with(['/', '!']))
        .map(|tag| {
            let (start, text) = tag.split_once('>').expect("a tag ends");
            let (name, attributes) = start.split_once(' ').unwrap_or((start, ""));
            Element {
                name: name.to_owned(),
                attributes: attributes_of(attributes),
                text: unescaped(text),
            }
        })
        .collect()
}

/// Parses attributes of the form `name="value"`.
fn attributes_of(mut rest: &str) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::new();
    while let Some((name, more)) = rest.split_once("=\"") {
        let (value, more) = more.split_once('"').expect("a value ends");
        attributes.insert(name.trim_start().to_owned(), unescaped(value));
        rest = more;
    }
    assert_eq!(rest.trim(), "");
    attributes
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">");
    let text = text.replace("&quot;", "\"").replace("&nbsp;", "\u{a0}");
    text.replace("&amp;", "&")
}

/// The rows of the table with this `aria-labelledby`, each with its names and its numbers.
pub fn rows(elements: &[Element], labelled_by: &str) -> Vec<(Vec<String>, Vec<f64>)> {
    let is_table =
        |e: &&Element| e.name == "table" && e.attribute("aria-labelledby") == Some(labelled_by);
    let table = elements.iter().position(|e| is_table(&e));
    let table = &elements[table.unwrap_or_else(|| panic!("no table of {labelled_by}")) + 1..];
    let end = table
        .iter()
        .position(|e| e.name == "table" || e.name == "section");
    let mut rows: Vec<(Vec<String>, Vec<f64>)> = Vec::new();
    for element in &table[..end.unwrap_or(table.len())] {
        match (&*element.name, rows.last_mut()) {
            ("tr", _) => rows.push(<_>::default()),
            ("bdi", Some((names, _))) => names.push(element.text.clone()),
            ("i", Some((names, _))) => names.push(String::new()),
            ("th" | "td", Some((names, _))) if !element.text.is_empty() => {
                let is_name = element.attribute("scope") == Some("row")
                    || element.attribute("class") == Some("rest");
                if is_name {
                    names.push(element.text.clone());
                }
            }
            ("data", Some((_, numbers))) => numbers.push(value(element)),
            _ => {}
        }
    }
    rows.remove(0); // the header row
    rows
}

/// The exact number of a `<data>` element, whose text may be rounded.
pub fn value(element: &Element) -> f64 {
    element.attribute("value").unwrap().parse().unwrap()
}
