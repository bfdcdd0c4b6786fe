//! Parses enough of `PromQL` to find the selectors in a query. The query must be valid, which
//! promtool checks. Strings that contain brackets are not supported.

/// A selector of series, and the function that it is an argument of:
/// `function(metric{matchers}[range])`.
#[derive(Debug, PartialEq)]
pub struct Selector<'a> {
    pub metric: &'a str,
    pub matchers: Vec<&'a str>,
    pub range: Option<&'a str>,
    pub function: Option<&'a str>,
}

const KEYWORDS: [&str; 4] = ["and", "or", "unless", "bool"];

/// The keywords before a list of labels.
const GROUPINGS: [&str; 5] = ["by", "on", "without", "ignoring", "group_left"];

/// The selectors of a query. Panics if one of them has no braces.
#[track_caller]
pub fn selectors(query: &str) -> Vec<Selector<'_>> {
    assert_eq!(bare_words(query), [""; 0], "without matchers in {query}");
    let openings = query.match_indices('{');
    openings.map(|(at, _)| selector(query, at)).collect()
}

fn selector(query: &str, opening: usize) -> Selector<'_> {
    let metric = last_word(&query[..opening]);
    let before = &query[..opening - metric.len()];
    let (matchers, after) = query[opening + 1..]
        .split_once('}')
        .expect("the bracket is closed");
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

/// The metrics without braces: words that are not a function, keyword, label or number.
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
            || word.starts_with('$') // a Grafana variable
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

/// Removes the text in brackets and quotes, and the closing brackets and quotes.
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
        rest = rest[at + 1..]
            .split_once(close)
            .expect("the bracket is closed")
            .1;
    }
    kept + rest
}

fn without_lists_of_labels(query: &str) -> String {
    let mut query = query.to_owned();
    for grouping in GROUPINGS {
        let opening = format!("{grouping} (");
        while let Some(at) = query.find(&opening) {
            let end = at + query[at..].find(')').expect("the bracket is closed");
            query.replace_range(at..=end, "");
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_found_with_their_range_and_function() {
        let query = "sum by (a) (rate(x{b=\"c\", d!=\"\"}[5m])) * on (e) f{g=\"h\"} or vector(0)";
        let expected = [
            Selector {
                metric: "x",
                matchers: vec!["b=\"c\"", "d!=\"\""],
                range: Some("5m"),
                function: Some("rate"),
            },
            Selector {
                metric: "f",
                matchers: vec!["g=\"h\""],
                range: None,
                function: None,
            },
        ];
        assert_eq!(selectors(query), expected);
    }

    #[test]
    fn metrics_without_matchers_are_found() {
        let query = "sum(x) / on (y) z[5m] > 1.5 or a{b=\"c\"} or label_replace(d{e=\"f\"}, \"g\", \"h\", \"\", \"\")";
        assert_eq!(bare_words(query), ["x", "z"]);
    }
}
