//! Parses answers of Prometheus.

/// The values in the JSON answer to a query, in the order of the answer. Each value is the second
/// element of an array `[time,"value"]`.
pub fn values(answer: &str) -> Vec<f64> {
    let pairs = answer.split(",\"").skip(1);
    pairs
        .filter_map(|rest| rest.split_once("\"]")?.0.parse().ok())
        .collect()
}

/// The number of samples in the text format.
pub fn sample_count(text: &str) -> usize {
    samples(text).count()
}

/// The samples of a family in the text format: the labels with their braces, and the value.
pub fn family<'a>(text: &'a str, name: &str) -> Vec<(&'a str, f64)> {
    samples(text)
        .filter_map(|sample| sample.strip_prefix(name)?.rsplit_once(' '))
        .filter(|(labels, _)| labels.is_empty() || labels.starts_with('{'))
        .filter_map(|(labels, value)| Some((labels, value.parse().ok()?)))
        .collect()
}

/// The value of a label, given the labels with their braces.
pub fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let labels = labels.strip_prefix('{')?.strip_suffix("\"}")?;
    let pairs = labels
        .split("\",")
        .filter_map(|pair| pair.split_once("=\""));
    pairs
        .filter(|(label, _)| *label == name)
        .map(|(_, value)| value)
        .next()
}

fn samples(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#'))
}
