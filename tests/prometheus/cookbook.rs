//! The questions of docs/cookbook.md: the configurations and the queries of the page give the results
//! that it shows, but for the values.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use testkit::cgroups::Cgroup;
use testkit::compiled::ways;
use testkit::docs::{COOKBOOK, fenced};
use testkit::limits::Limited;
use testkit::mounts::with_tracefs;
use testkit::programs::Programs;
use testkit::prometheus::Prometheus;

const POD: &str = "5d1c7a0e-3f52-4f0c-9a7e-0d4b1f6a2c33";

/// What replaces the day of `offset`, in seconds. The host has been scraped for longer before a new program is
/// executed.
const DAY: u64 = 40;

/// Executes a program once in the cgroup at this path, by a shell that is executed outside of it.
fn exec_in(mut shell: Command, path: &str, program: &Path, args: &[&str]) {
    let cgroup = Cgroup::new(path);
    let script = "echo 0 >\"$0/cgroup.procs\" && exec \"$@\"";
    let status = shell
        .args(["-c", script])
        .arg(cgroup.directory())
        .arg(program)
        .args(args)
        .status();
    status.expect("sh can be executed");
}

/// Runs what the questions are about.
fn run() {
    let programs = Programs::new();
    let program = |name: &str| programs.copied(ways(), name);
    let sh = || Command::new("sh");
    let shop = "system.slice/shop.service";
    for (way, n) in [("exit", "0"), ("signal", "11")] {
        exec_in(sh(), shop, &program("checkout"), &[way, "-", n]);
    }
    exec_in(sh(), shop, &program("mailer"), &["ENOENT", "-", "3"]);
    let limited = Limited::memory(16 << 20);
    exec_in(
        limited.command("sh"),
        shop,
        &program("resizer"),
        &["hog", "-", "0"],
    );
    let backup = "system.slice/backup.service";
    exec_in(sh(), backup, &program("restic"), &["exit", "-", "0"]);
    let cron = "system.slice/cron.service";
    exec_in(sh(), cron, &program("nightly-report"), &["exit", "-", "3"]);
    let pod = format!("kubepods/pod{POD}");
    let probe = programs.named("pg_isready");
    let probe = ["posix_spawn", probe.to_str().unwrap(), "1"];
    exec_in(sh(), &pod, &program("containerd-shim"), &probe);
    for (tool, ms) in [("gcc-12", "100"), ("gcc-13", "100"), ("ld", "20")] {
        exec_in(sh(), "ci.slice", &program(tool), &["burn", "-", ms]);
    }
    let status = Command::new(programs.named("xmrig")).status();
    assert!(status.unwrap().success());
}

/// The rows of a section's table: labels with their values, without the last column.
fn rows(section: &str) -> Vec<BTreeMap<String, String>> {
    let cells = |row: &str| -> Vec<String> {
        let cells = row.trim_matches('|').split('|');
        cells
            .map(|cell| cell.trim().trim_matches('`').to_owned())
            .collect()
    };
    let mut rows = section
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(cells);
    let heading = rows.next().expect("a table");
    let labels = &heading[..heading.len() - 1];
    let rows = rows.skip(1);
    rows.map(|row| labels.iter().cloned().zip(row).collect())
        .collect()
}

#[test]
fn the_queries_of_the_cookbook_answer_its_questions() {
    let chapters = COOKBOOK.split("\n## ");
    let mut chapters = chapters.filter(|chapter| chapter.starts_with("Questions\n"));
    let chapter = chapters.next().expect("the chapter");
    let (daemon, _config) = with_tracefs(&fenced(chapter, "toml").concat());
    let prometheus = Prometheus::start(&format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs:\n  - job_name: execsnoopd\n    static_configs:\n      \
         - targets: ['{}']\n",
        daemon.address
    ));
    // In the first round, series begin; in the second, they increase.
    for _ in 0..2 {
        run();
        sleep(Duration::from_secs(3));
        let execs = daemon.scrape().value("execsnoop_execs_total");
        prometheus.query_until_there(&format!("execsnoop_execs_total >= {execs}"));
    }
    prometheus.query_until_there(&format!("execsnoop_execs_total offset {DAY}s"));
    let programs = Programs::new();
    let status = Command::new(programs.named("new-tool")).status();
    assert!(status.unwrap().success());
    prometheus.query_until_there("execsnoop_execs_by_comm_total{comm=\"new-tool\"}");

    let sections: Vec<_> = chapter.split("\n### ").skip(1).collect();
    assert!(sections.len() >= 8);
    for section in sections {
        let title = section.lines().next().unwrap();
        let [query] = &fenced(section, "promql")[..] else {
            panic!("{title}: one query");
        };
        let query = query.replace("offset 1d", &format!("offset {DAY}s"));
        prometheus.query_until_there(&query);
        let mut answer = prometheus.labels(&query);
        println!("{title}\n{}", prometheus.answer(&query, None));
        for labels in &mut answer {
            for name in ["__name__", "instance", "job"] {
                labels.remove(name);
            }
        }
        for row in rows(section) {
            assert!(
                answer.contains(&row),
                "{title}: {row:?} is not in {answer:?}"
            );
        }
    }
    daemon.stop();
}
