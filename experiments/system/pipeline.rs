//! The results of the benchmark `pipeline`, from the files that criterion writes.

use std::fs;
use std::time::Duration;

use testkit::paths::scratch;

/// The maximum age of results. Older ones may belong to another version of the program.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// A benchmark's median.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Estimate {
    /// Nanoseconds per iteration.
    pub(crate) ns: f64,
    /// Elements, as criterion calls them, per second.
    pub(crate) per_second: f64,
}

/// The estimates by group and parameter. None where there is no result of the last hour.
#[derive(Debug, Default)]
pub(crate) struct Pipeline(Vec<(&'static str, &'static str, Option<Estimate>)>);

impl Pipeline {
    pub(crate) fn read() -> Self {
        let all = [
            ("decode", "events"),
            ("aggregate", "50"),
            ("aggregate", "200"),
            ("aggregate", "1000"),
            ("decode_and_aggregate", "50"),
            ("decode_and_aggregate", "200"),
            ("decode_and_aggregate", "1000"),
            ("data_flow", "50"),
            ("data_flow", "200"),
            ("data_flow", "1000"),
            ("scrape", "100"),
            ("scrape", "1000"),
            ("scrape", "10000"),
        ];
        Self(
            all.map(|(group, parameter)| (group, parameter, estimate(group, parameter)))
                .into(),
        )
    }

    pub(crate) fn get(&self, group: &str, parameter: &str) -> Option<Estimate> {
        self.0
            .iter()
            .find(|(g, p, _)| *g == group && *p == parameter)
            .and_then(|(_, _, estimate)| *estimate)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str, Option<Estimate>)> {
        self.0.iter().copied()
    }
}

fn estimate(group: &str, parameter: &str) -> Option<Estimate> {
    let criterion = scratch().with_file_name("criterion");
    let dir = criterion.join(group).join(parameter).join("new");
    let file = dir.join("estimates.json");
    if fs::metadata(&file).ok()?.modified().ok()?.elapsed().ok()? > MAX_AGE {
        return None;
    }
    let estimates = fs::read_to_string(file).ok()?;
    let benchmark = fs::read_to_string(dir.join("benchmark.json")).ok()?;
    let ns = number_after(&estimates, &["\"median\":", "\"point_estimate\":"])?;
    let elements = number_after(&benchmark, &["\"Elements\":"])?;
    Some(Estimate {
        ns,
        per_second: elements / ns * 1e9,
    })
}

/// The number after the last of these keys, each of which is searched for after the previous one.
fn number_after(json: &str, keys: &[&str]) -> Option<f64> {
    let mut rest = json;
    for key in keys {
        rest = rest.split_once(key)?.1;
    }
    rest.split([',', '}']).next()?.trim().parse().ok()
}
