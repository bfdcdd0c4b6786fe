//! Measures what hostile clients cost honest scrapes and the daemon, and writes the results into
//! docs/reliability.md. The tests run the same attacks.
//!
//! Takes two minutes and needs root. Attackers, scraper and daemon share the CPUs and use loopback.

mod report;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use experiments::machine::Machine;
use experiments::process;
use testkit::attacks::{ATTACKS, Attack};
use testkit::certificates::Authority;
use testkit::daemon::Daemon;
use testkit::http::{Answer, Scrape, parsed};
use testkit::tls::Client;
use testkit::traffic::Traffic;
use testkit::web::{TLS, WebDir};

use crate::report::Row;

/// Number of honest scrapes per attack, and the time from one to the next.
const SCRAPES: usize = 50;
const INTERVAL: Duration = Duration::from_millis(100);

/// Timeout of an honest scrape: the default of Prometheus.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    experiments::require_release_build()?;
    experiments::require_root()?;
    let machine = Machine::here();
    let mut rows = vec![measure(None, false)?, measure(None, true)?];
    for attack in &ATTACKS {
        rows.push(measure(Some(attack), attack.over_tls)?);
    }
    let path = report::write(&rows, &machine)?;
    println!("{}\nwritten: {path}", report::text(&rows, &machine));
    Ok(())
}

/// Measures one attack, or none. Each has a daemon of its own, so that the peak of its memory belongs
/// to the attack.
fn measure(attack: Option<&Attack>, over_tls: bool) -> Result<Row> {
    let authority = Authority::new("ours");
    let dir = WebDir::tls(if over_tls { TLS } else { "" }, &authority);
    let file = format!("--web.config.file={}", dir.web_config().display());
    let daemon = Daemon::start(&["--config=/dev/null", &file]);
    let client = over_tls.then(|| Client::trusting(&authority.pem));
    let scrape = || scrape(daemon.address, client.as_ref());
    scrape()?;
    let resident_before = process::resident_kib(daemon.pid())?;
    let traffic = attack.map(|attack| attack.start(daemon.address));
    let done = || traffic.as_ref().map_or(0, Traffic::done);
    let (began, done_before) = (Instant::now(), done());
    let cpu_before = process::cpu_ns(daemon.pid())?;
    let mut answered = Vec::new();
    for n in 0..SCRAPES {
        let due = INTERVAL * u32::try_from(n)?;
        sleep(due.saturating_sub(began.elapsed()));
        let asked = Instant::now();
        match scrape() {
            Ok(()) => answered.push(asked.elapsed()),
            Err(error) => println!("{}: {error}", attack.map_or("quiet", |attack| attack.name)),
        }
    }
    let elapsed = began.elapsed().as_secs_f64();
    let cpu = process::cpu_ns(daemon.pid())? - cpu_before;
    let rate = (done() - done_before) as f64 / elapsed;
    drop(traffic);
    let peak_kib = daemon.peak_kib();
    daemon.stop();
    Ok(Row {
        name: attack.map_or(if over_tls { "TLS: none" } else { "none" }, |a| a.name),
        answer: attack.map_or("–", |a| a.defence),
        rate,
        asked: SCRAPES,
        answered,
        cpu_share: cpu as f64 / 1e9 / elapsed,
        resident_kib: resident_before,
        peak_kib,
    })
}

/// One honest scrape on a new connection.
fn scrape(address: SocketAddr, client: Option<&Client>) -> io::Result<()> {
    let answer = match client {
        Some(client) => client.get(address, "/metrics")?,
        None => get(address)?,
    };
    if answer.status != 200 {
        return Err(io::Error::other(format!("answered {}", answer.status)));
    }
    Scrape::parse(&answer.text()).assert_ledger_closes();
    Ok(())
}

fn get(address: SocketAddr) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(parsed(&bytes))
}
