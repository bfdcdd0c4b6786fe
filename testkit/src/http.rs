//! A plain HTTP client, and scrapes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a server may send nothing before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// An HTTP response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("the answer is UTF-8")
    }

    /// The value of a header. Its name has to be in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Connects, with a time limit on reads. Sets `TCP_NODELAY`, as Prometheus and other Go programs do:
/// without it, the first request over TLS waits 40 ms for the acknowledgement of the handshake's
/// last message.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends bytes and reads the answer until the server closes the connection.
pub fn send(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = connect(address);
    stream.write_all(request).expect("the server reads");
    answer(&mut stream)
}

/// Reads an answer until the server closes the connection.
pub fn answer(stream: &mut impl Read) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the server answers");
    parsed(&bytes)
}

pub fn parsed(bytes: &[u8]) -> Answer {
    let end = bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(bytes)));
    let head = String::from_utf8(bytes[..end].to_vec()).expect("the head is UTF-8");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("no status in {head}"));
    Answer {
        status,
        head,
        body: bytes[end + 4..].to_vec(),
    }
}

/// Sends a request with headers on a new connection. Each header in `headers` has to end in `\r\n`.
pub fn request(address: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
    );
    send(address, request.as_bytes())
}

pub fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path, "")
}

/// The samples of a scrape by name and labels: `name{label="value",...}`.
#[derive(Debug, PartialEq)]
pub struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    pub fn of(address: SocketAddr) -> Self {
        let answer = get(address, "/metrics");
        assert_eq!(answer.status, 200, "{}", answer.text());
        Self::parse(&answer.text())
    }

    pub fn parse(text: &str) -> Self {
        let samples = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let (sample, value) = line.rsplit_once(' ').expect("a sample has a value");
                (
                    sample.to_owned(),
                    value.parse().expect("a value is a number"),
                )
            });
        Self(samples.collect())
    }

    /// The value of a sample. Panics if there is no such sample.
    #[track_caller]
    pub fn value(&self, sample: &str) -> f64 {
        self.find(sample)
            .unwrap_or_else(|| panic!("no {sample} in {:#?}", self.0))
    }

    pub fn find(&self, sample: &str) -> Option<f64> {
        self.0.get(sample).copied()
    }

    /// The execs of a program by its label `comm`, or 0 if it has no series.
    pub fn execs_of(&self, comm: &str) -> f64 {
        self.find(&format!("execsnoop_execs_by_comm_total{{comm=\"{comm}\"}}"))
            .unwrap_or(0.0)
    }

    /// The sum of the samples of a family.
    pub fn sum(&self, family: &str) -> f64 {
        self.family(family).map(|(_, value)| value).sum()
    }

    /// All samples.
    pub fn all(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0
            .iter()
            .map(|(sample, value)| (sample.as_str(), *value))
    }

    /// The samples of a family.
    pub fn family(&self, family: &str) -> impl Iterator<Item = (&str, f64)> {
        self.all()
            .filter(move |(sample, _)| sample.split('{').next() == Some(family))
    }

    /// Asserts that every exec is accounted for, in the ledger and in every view.
    #[track_caller]
    pub fn assert_ledger_closes(&self) {
        for (sample, difference) in self.family("execsnoop_ledger_difference") {
            assert_eq!(difference, 0.0, "{sample}");
        }
        let total = self.value("execsnoop_execs_total");
        let views = self.sums_of_views();
        let exits = self.of_views("exits");
        assert!(!views.is_empty() || !exits.is_empty(), "no view");
        for (view, sum) in views {
            assert_eq!(sum, total, "{view}");
        }
        let cpu = self.cpu_of_views();
        let of_first = cpu.values().next();
        assert!(cpu.values().all(|sum| Some(sum) == of_first), "{cpu:?}");
        // The difference of exits above compares their sum with what the kernel saw. The total is by
        // status, from arrays that are read after the views, so it can already have later exits.
        let of_first = exits.values().next();
        assert!(exits.values().all(|sum| Some(sum) == of_first), "{exits:?}");
        if let Some(sum) = of_first {
            let without_outcome = self.value("execsnoop_exits_without_outcome_total");
            let total = self.sum("execsnoop_exits_total");
            assert!(
                sum + without_outcome <= total,
                "{sum} + {without_outcome} of {total}"
            );
        }
        // The same holds for failed execs.
        let failures = self.of_views("exec_failures");
        let of_first = failures.values().next();
        assert!(
            failures.values().all(|sum| Some(sum) == of_first),
            "{failures:?}"
        );
        if let Some(sum) = of_first {
            let total = self.sum("execsnoop_exec_failures_total");
            assert!(*sum <= total, "{sum} of {total}");
        }
        let lifetimes = self.of_views("lifetime_seconds");
        let of_first = lifetimes.values().next();
        let are_equal = lifetimes.values().all(|sum| Some(sum) == of_first);
        assert!(are_equal, "{lifetimes:?}");
    }

    /// The execs that scrapes have shown in series evicted since, and those before the view existed.
    #[track_caller]
    pub fn yielded(&self, view: &str) -> f64 {
        self.value(&yielded("execs", view))
    }

    /// The execs of each view, including [yielded](Self::yielded) ones, by the name of its family.
    pub fn sums_of_views(&self) -> BTreeMap<&str, f64> {
        self.of_views("execs")
    }

    /// The CPU time of each view in nanoseconds, including yielded CPU time, by the name of its
    /// family.
    pub fn cpu_of_views(&self) -> BTreeMap<&str, f64> {
        self.of_views("cpu_seconds")
    }

    fn of_views(&self, what: &str) -> BTreeMap<&str, f64> {
        // CPU time is counted in whole nanoseconds, whose sum does not depend on the order.
        let exact = |value: f64| match what {
            "cpu_seconds" | "lifetime_seconds" => (value * 1e9).round(),
            _ => value,
        };
        let (prefix, mut sums) = (format!("execsnoop_{what}_by_"), BTreeMap::new());
        for (sample, value) in &self.0 {
            if let Some((family, _)) = sample.split_once('{')
                && family.starts_with(&prefix)
            {
                *sums.entry(family).or_default() += exact(*value);
            }
        }
        for (family, sum) in &mut sums {
            let view = family.strip_prefix(&prefix);
            let view = view.and_then(|view| view.strip_suffix("_total"));
            let view = view.expect("the family of a view");
            let of_view = |(name, value): (&str, f64)| {
                let view = format!("{{view=\"{view}\"");
                name.contains(&view).then(|| exact(value))
            };
            let yielded = format!("execsnoop_series_yielded_{what}_total");
            *sum += self.family(&yielded).filter_map(of_view).sum::<f64>();
        }
        sums
    }

    /// What `increase()` makes of a counter from an earlier scrape to this one, without
    /// extrapolation. A series that is not in the earlier scrape begins at 0, as with start
    /// timestamps.
    pub fn increase(&self, earlier: &Self, family: &str) -> f64 {
        let series = self.family(family).map(|(sample, now)| {
            let before = earlier.find(sample).unwrap_or(0.0);
            if now < before { now } else { now - before }
        });
        series.sum()
    }
}

fn yielded(what: &str, view: &str) -> String {
    format!("execsnoop_series_yielded_{what}_total{{view=\"{view}\"}}")
}
