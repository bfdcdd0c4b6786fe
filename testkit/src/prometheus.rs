//! Prometheus as a child process, and promtool.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;

use crate::http::{get, request, send};
use crate::paths::repository;

/// How long a query may have no result before a test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// The directory of our packages' files for Prometheus.
pub fn packaging() -> PathBuf {
    repository().join("packaging/prometheus")
}

/// Runs promtool in a directory and returns its output. Panics if promtool fails.
#[track_caller]
pub fn promtool(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("promtool")
        .args(args)
        .current_dir(dir)
        .output()
        .expect("promtool runs");
    let printed = printed(&output);
    assert!(output.status.success(), "{args:?}: {printed}");
    printed
}

fn printed(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes))
        .join("")
}

/// A command that runs Prometheus in agent mode, with its data in this directory.
pub fn agent(data: &Path) -> Command {
    let help = Command::new("prometheus").arg("--help").output();
    let help = printed(&help.expect("prometheus runs"));
    // Agent mode has a flag since Prometheus 3, and was an optional feature before.
    let flag = if help.contains("--[no-]agent") || help.contains("--agent") {
        "--agent"
    } else {
        "--enable-feature=agent"
    };
    let mut command = Command::new("prometheus");
    command.arg(flag);
    command.arg(format!("--storage.agent.path={}", data.display()));
    command
}

/// A release of Prometheus, by the Debian suite from which `.ci/install` has unpacked it.
#[derive(Debug, Clone, Copy)]
pub struct Release(pub &'static str);

/// The releases that know start timestamps: 2.53, and 3.5 or later.
pub const RELEASES: [Release; 2] = [Release("trixie"), Release("forky")];

impl Release {
    /// The path of the program. Panics if it is not there.
    #[track_caller]
    fn program(self) -> PathBuf {
        let suite = repository().join("target/tools/prometheus").join(self.0);
        let program = suite.join("usr/bin/prometheus");
        assert!(
            program.exists(),
            "`.ci/install test` unpacks {}",
            program.display()
        );
        program
    }

    /// What `prometheus --version` prints, such as "prometheus, version 3.5.3".
    #[track_caller]
    pub fn version(self) -> String {
        let output = Command::new(self.program()).arg("--version").output();
        let printed = printed(&output.expect("prometheus runs"));
        printed.split(" (").next().unwrap().to_owned()
    }

    /// Starts this Prometheus with this configuration and these arguments.
    #[track_caller]
    pub fn start(self, config: &str, args: &[&str]) -> Prometheus {
        let dir = tempfile::tempdir().unwrap();
        Prometheus::spawn(&self.program(), dir, config, args)
    }
}

/// A Prometheus on a free port, killed when the value is dropped.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    pub address: SocketAddr,
    _dir: TempDir,
}

impl Prometheus {
    /// Starts Prometheus with this configuration. In it, `rules/` stands for the directory with the
    /// rules of our packages.
    pub fn start(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(packaging().join("rules"), dir.path().join("rules")).unwrap();
        Self::start_in(dir, config, &[])
    }

    /// Starts Prometheus with this configuration and these arguments. The directory contains the
    /// files that the configuration names. Prometheus keeps its database there, in `data/`.
    pub fn start_in(dir: TempDir, config: &str, args: &[&str]) -> Self {
        Self::spawn(Path::new("prometheus"), dir, config, args)
    }

    fn spawn(program: &Path, dir: TempDir, config: &str, args: &[&str]) -> Self {
        let file = dir.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let data = dir.path().join("data");
        let address = free_address();
        let child = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address={address}"))
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus runs");
        Self {
            child,
            address,
            _dir: dir,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a query has a result and returns the answer.
    #[track_caller]
    pub fn query_until_there(&self, query: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Prometheus may not listen yet.
            if TcpStream::connect(self.address).is_ok() {
                let path = format!("/api/v1/query?query={}", escaped(query));
                let answer = request(self.address, "GET", &path, "");
                if answer.status == 200 && answer.text().contains("\"metric\"") {
                    return answer.text();
                }
            }
            assert!(
                Instant::now() < deadline,
                "no result of {query} within {PATIENCE:?}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The answer to a query, evaluated now or, in steps of a second, over this time until now.
    #[track_caller]
    pub fn answer(&self, query: &str, over: Option<Duration>) -> String {
        // Rounded up to a whole second, so that no sample is later.
        let now = SystemTime::now() + Duration::from_secs(1);
        let now = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
        let (query, end) = (escaped(query), format!("&end={now}&time={now}"));
        let path = match over {
            Some(over) => format!("query_range?step=1&start={}", now - over.as_secs()),
            None => "query?".to_owned(),
        };
        self.api(&format!("{path}&query={query}{end}"))
    }

    #[track_caller]
    fn api(&self, path: &str) -> String {
        // Answers over HTTP/1.0 are not chunked.
        let request = format!("GET /api/v1/{path} HTTP/1.0\r\n\r\n");
        let answer = send(self.address, request.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// The types and help texts of all metrics that Prometheus has scraped, by name.
    #[track_caller]
    pub fn metadata(&self) -> Value {
        let mut answer: Value = serde_json::from_str(&self.api("metadata")).unwrap();
        answer["data"].take()
    }

    /// The labels of each result of a query that is evaluated now.
    #[track_caller]
    pub fn labels(&self, query: &str) -> Vec<BTreeMap<String, String>> {
        let answer: Value = serde_json::from_str(&self.answer(query, None)).unwrap();
        let results = answer["data"]["result"].as_array().expect("results");
        let labels = |result: &Value| serde_json::from_value(result["metric"].clone()).unwrap();
        results.iter().map(labels).collect()
    }

    /// The samples of the only series that a query for a range selects: times, in seconds since the
    /// epoch, and values.
    #[track_caller]
    pub fn samples(&self, query: &str) -> Vec<(f64, f64)> {
        let answer: Value = serde_json::from_str(&self.answer(query, None)).unwrap();
        let results = answer["data"]["result"].as_array().expect("results");
        assert!(results.len() == 1, "not one series by {query}: {answer}");
        let samples = results[0]["values"].as_array().expect("a range");
        let number = |value: &Value| value.as_str().unwrap().parse().unwrap();
        let sample = |sample: &Value| (sample[0].as_f64().unwrap(), number(&sample[1]));
        samples.iter().map(sample).collect()
    }

    /// The value of the only result of a query that is evaluated now.
    #[track_caller]
    pub fn value(&self, query: &str) -> f64 {
        let answer: Value = serde_json::from_str(&self.answer(query, None)).unwrap();
        let results = answer["data"]["result"].as_array().expect("results");
        assert!(results.len() == 1, "not one result of {query}: {answer}");
        results[0]["value"][1].as_str().unwrap().parse().unwrap()
    }

    /// The metrics of Prometheus itself.
    pub fn metrics(&self) -> String {
        get(self.address, "/metrics").text()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A query, escaped for a URL.
pub fn escaped(query: &str) -> String {
    query
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'_' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}
