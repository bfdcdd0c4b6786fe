//! The real Prometheus, as a child process, and its promtool.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;

use crate::http::{get, request, send};
use crate::paths::repository;

/// How long a query may be without a result before a test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// What we ship for Prometheus.
pub fn packaging() -> PathBuf {
    repository().join("packaging/prometheus")
}

/// What promtool says to these arguments, in a directory; it must be content.
#[track_caller]
pub fn promtool(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("promtool")
        .args(args)
        .current_dir(dir)
        .output()
        .expect("promtool runs");
    let said = said(&output);
    assert!(output.status.success(), "{args:?}: {said}");
    said
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes))
        .join("")
}

/// A Prometheus on a free port, ended with the value.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    pub address: SocketAddr,
    _dir: TempDir,
}

impl Prometheus {
    /// With this configuration, to which `rules/` is the directory that we ship.
    pub fn start(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(packaging().join("rules"), dir.path().join("rules")).unwrap();
        Self::start_in(dir, config, &[])
    }

    /// With this configuration in a directory that has what it names, and in `data/` what is
    /// stored already; with further arguments.
    pub fn start_in(dir: TempDir, config: &str, args: &[&str]) -> Self {
        let file = dir.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let data = dir.path().join("data");
        let address = free_address();
        let child = Command::new("prometheus")
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

    /// The answer to a query as soon as it has a result.
    #[track_caller]
    pub fn query_until_there(&self, query: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Until it listens, nobody can be asked.
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

    /// The answer to a query over so much time until now, by seconds; or as of now.
    #[track_caller]
    pub fn answer(&self, query: &str, over: Option<Duration>) -> String {
        // The last scrape is not later than this.
        let now = SystemTime::now() + Duration::from_secs(1);
        let now = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
        let (query, end) = (escaped(query), format!("&end={now}&time={now}"));
        let path = match over {
            Some(over) => format!("query_range?step=1&start={}", now - over.as_secs()),
            None => "query?".to_owned(),
        };
        // HTTP/1.0 knows no chunks.
        let request = format!("GET /api/v1/{path}&query={query}{end} HTTP/1.0\r\n\r\n");
        let answer = send(self.address, request.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// The labels of each result that a query has now.
    #[track_caller]
    pub fn labels(&self, query: &str) -> Vec<BTreeMap<String, String>> {
        let answer: Value = serde_json::from_str(&self.answer(query, None)).unwrap();
        let results = answer["data"]["result"].as_array().expect("results");
        let labels = |result: &Value| serde_json::from_value(result["metric"].clone()).unwrap();
        results.iter().map(labels).collect()
    }

    /// What it says of itself.
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

/// A query as it may stand in a URL.
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
