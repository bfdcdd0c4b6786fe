//! The configurations of docs/cookbook.md do what the page says.

use std::collections::BTreeMap;
use std::path::Path;

use execsnoopd::config::Config;
use execsnoopd::pipeline::view;
use testkit::bytes::encode;
use testkit::docs::{COOKBOOK, fenced};
use testkit::fake::event;
use testkit::http::Scrape;
use testkit::service::Service;

/// What `ID` stands for in the paths.
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The cells of a row of a table, without backticks.
fn cells(row: &str) -> Vec<String> {
    let inner = row.trim().trim_matches('|');
    let cells = inner.split('|');
    cells
        .map(|cell| cell.trim().trim_matches('`').to_owned())
        .collect()
}

/// Checks a section whose table lists paths and, for each label of the view, the value there.
fn check_section(section: &str) -> usize {
    let title = section.lines().next().unwrap();
    let [text] = &fenced(section, "toml")[..] else {
        panic!("{title}: one configuration");
    };
    let config = Config::parse(text, Path::new("docs/cookbook.md")).expect(title);
    let labels: Vec<_> = config.view[0]
        .labels
        .iter()
        .map(|label| label.name().to_owned())
        .collect();
    for label in &config.label {
        assert!(
            labels.contains(&label.name),
            "{title}: {} is not used",
            label.name
        );
    }
    let metric = format!(
        "execsnoop_execs_by_{}_total",
        view::name(&config.view[0].labels)
    );
    let mut rows = section
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(cells);
    let heading = rows.next().expect("a table");
    assert_eq!(heading[1..], labels, "{title}");
    let rows: Vec<_> = rows.skip(1).collect();

    let service = Service::start(&config);
    let mut expected = BTreeMap::new();
    service.kernel(|kernel| {
        for (id, row) in (1..).zip(&rows) {
            let path = row[0].replace("ID", ID);
            kernel.cgroups.insert(id, path.into_bytes());
            let mut event = event(b"sh", 0, 1);
            event.subject.cgroup_id = id;
            kernel.emit(encode(&event));
            *expected.entry(row[1..].to_vec()).or_default() += 1.0;
        }
    });
    let scrape = Scrape::of(service.address);
    for (values, execs) in expected {
        let pairs = labels.iter().zip(&values);
        // The text format escapes backslashes.
        let pairs =
            pairs.map(|(name, value)| format!("{name}=\"{}\"", value.replace('\\', "\\\\")));
        let pairs: Vec<_> = pairs.collect();
        let sample = format!("{metric}{{{}}}", pairs.join(","));
        assert_eq!(scrape.find(&sample), Some(execs), "{title}: {sample}");
    }
    service.stop().unwrap();
    rows.len()
}

#[test]
fn each_path_of_the_cookbook_has_the_labels_that_it_documents() {
    let chapter = COOKBOOK
        .split("\n## ")
        .find(|part| part.starts_with("Labels from cgroups\n"));
    let mut sections = chapter.expect("the chapter").split("\n### ");
    let introduction = fenced(sections.next().unwrap(), "toml");
    for text in introduction {
        Config::parse(&text, Path::new("docs/cookbook.md")).unwrap();
    }
    let sections: Vec<_> = sections.collect();
    let titles: Vec<_> = sections.iter().filter_map(|s| s.lines().next()).collect();
    for system in [
        "LXC",
        "Incus",
        "systemd-nspawn",
        "Slurm",
        "Nomad",
        "Snaps",
        "Kubernetes",
    ] {
        assert!(
            titles.iter().any(|title| title.contains(system)),
            "{system}"
        );
    }
    for section in sections {
        assert!(check_section(section) >= 4, "too few paths");
    }
}
