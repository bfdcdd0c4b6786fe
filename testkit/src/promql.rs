//! As much of the query language as it takes to check queries. That they are queries at all
//! is promtool's to say; strings with brackets in them are not understood here.

/// A selector of series: `function(metric{matchers}[range]`.
#[derive(Debug, PartialEq)]
pub struct Selector<'a> {
    pub metric: &'a str,
    pub matchers: Vec<&'a str>,
    pub range: Option<&'a str>,
    pub function: Option<&'a str>,
}

const KEYWORDS: [&str; 4] = ["and", "or", "unless", "bool"];

/// What stands before a list of labels.
const GROUPINGS: [&str; 5] = ["by", "on", "without", "ignoring", "group_left"];

/// The selectors of a query. Each must have its braces, and so its matchers.
#[track_caller]
pub fn selectors(query: &str) -> Vec<Selector<'_>> {
    assert_eq!(bare_words(query), [""; 0], "without matchers in {query}");
    let openings = query.match_indices('{');
    openings.map(|(at, _)| selector(query, at)).collect()
}

fn selector(query: &str, opening: usize) -> Selector<'_> {
    let metric = last_word(&query[..opening]);
    let before = &query[..opening - metric.len()];
    let (matchers, after) = query[opening + 1..].split_once('}').expect("it is closed");
    let range = after
        .strip_prefix('[')
        .and_then(|range| range.split_once(']'));
    Selector {
        metric,
        matchers: matchers.split(", ").collect(),
        range: range.map(|(range, _)| range),
        function: before.strip_suffix('(').map(last_word),
    }
}

fn is_in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.' | '$')
}

fn last_word(text: &str) -> &str {
    let end = text.trim_end_matches(is_in_word);
    &text[end.len()..]
}

/// Words that are no function, keyword, label or number, and have no braces.
pub fn bare_words(query: &str) -> Vec<String> {
    let query = without_lists_of_labels(&without_brackets_and_strings(query));
    let mut bare = Vec::new();
    let mut rest = query.as_str();
    while let Some(start) = rest.find(is_in_word) {
        rest = &rest[start..];
        let after = rest.trim_start_matches(is_in_word);
        let word = &rest[..rest.len() - after.len()];
        let is_something = after.starts_with('{')
            || after.trim_start().starts_with('(')
            || word.starts_with('$') // a variable of Grafana's
            || KEYWORDS.contains(&word)
            || GROUPINGS.contains(&word)
            || word.parse::<f64>().is_ok();
        if !is_something {
            bare.push(word.to_owned());
        }
        rest = after;
    }
    bare
}

/// Of each pair of brackets or quotes only the opening one stays.
fn without_brackets_and_strings(query: &str) -> String {
    let mut kept = String::new();
    let mut rest = query;
    while let Some(at) = rest.find(['{', '[', '"']) {
        let close = match rest.as_bytes()[at] {
            b'{' => '}',
            b'[' => ']',
            _ => '"',
        };
        kept.push_str(&rest[..=at]);
        rest = rest[at + 1..].split_once(close).expect("it is closed").1;
    }
    kept + rest
}

fn without_lists_of_labels(query: &str) -> String {
    let mut query = query.to_owned();
    for grouping in GROUPINGS {
        let opening = format!("{grouping} (");
        while let Some(at) = query.find(&opening) {
            let end = at + query[at..].find(')').expect("it is closed");
            query.replace_range(at..=end, "");
        }
    }
    query
}
