//! Hostile clients. During an attack, every honest scrape is answered and exact. After it, no
//! connection is left, and the daemon has grown little.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Instant;

use testkit::attacks::{ATTACKS, Attack, Target};
use testkit::certificates::Authority;
use testkit::daemon::{Daemon, configured};
use testkit::http::{Scrape, connect, request};
use testkit::programs::{Programs, exec_times};
use testkit::tls::Client;
use testkit::web::{ALICE, COSTLY_SECRET, TLS, WebDir, full_view};

/// A view in which the program `honest` always has a series, and whose answers stay small.
const VIEW: &str = "[[view]]\nlabels = [\"comm\"]\nmax_series = 50\nalways = [\"honest\"]\n";

/// The honest scrapes during an attack.
const SCRAPES: u32 = 5;

/// How much the memory of the daemon may grow: for connections, for the budget of unread answers, and
/// for texts that are being rendered.
const MAX_GROWTH_KIB: u64 = 16 << 10;

/// The user and group that a daemon becomes if root starts it.
const OVERFLOW_ID: u32 = 65_534;

/// The log message of a failed accept.
const NOT_ACCEPTED: &str = "accepting a connection failed";

/// A daemon and an honest client.
struct Site {
    daemon: Daemon,
    tls: Option<Client>,
    headers: &'static str,
    _dir: WebDir,
}

impl Site {
    fn start(target: Target) -> Self {
        let authority = Authority::new("ours");
        let users = format!("basic_auth_users:\n  alice: {COSTLY_SECRET}\n");
        let web_config = match target {
            Target::Plain | Target::FullViews => "",
            Target::Tls => TLS,
            Target::Users => &users,
        };
        let dir = WebDir::tls(web_config, &authority);
        let views = match target {
            Target::FullViews => full_view(),
            _ => VIEW.to_owned(),
        };
        let web_config = dir.web_config();
        let config = format!("[web]\nconfig_file = \"{}\"\n{views}", web_config.display());
        dir.write("config.toml", &config);
        let file = dir.path().join("config.toml");
        Self {
            daemon: Daemon::start(&["--config", file.to_str().unwrap()]),
            tls: (target == Target::Tls).then(|| Client::trusting(&authority.pem)),
            headers: if target == Target::Users { ALICE } else { "" },
            _dir: dir,
        }
    }

    /// Scrapes once, without a second try.
    #[track_caller]
    fn scrape(&self) -> Scrape {
        let address = self.daemon.address;
        let answer = match &self.tls {
            None => request(address, "GET", "/metrics", self.headers),
            Some(client) => client
                .get(address, "/metrics")
                .expect("the handshake succeeds"),
        };
        assert_eq!(answer.status, 200);
        Scrape::parse(&answer.text())
    }
}

#[track_caller]
fn assert_withstood(name: &str) {
    let attack = ATTACKS.iter().find(|attack| attack.name == name);
    let attack: &Attack = attack.expect("there is an attack of this name");
    let programs = Programs::new();
    let program = programs.named("honest");
    let site = Site::start(attack.target);
    let descriptors = site.daemon.descriptors();
    site.scrape();
    let peak = site.daemon.peak_kib();
    let traffic = attack.start(site.daemon.address);
    for n in 1..=SCRAPES {
        exec_times(&program, 10);
        let scrape = site.scrape();
        assert_eq!(scrape.execs_of("honest"), f64::from(10 * n));
        scrape.assert_ledger_closes();
    }
    drop(traffic);
    site.daemon.await_descriptors(descriptors);
    let execs = site.scrape().execs_of("honest");
    assert_eq!(execs, f64::from(10 * SCRAPES));
    let grown = site.daemon.peak_kib() - peak;
    assert!(grown < MAX_GROWTH_KIB, "grew by {grown} KiB");
    assert_quiet(&site.daemon.stop_logging());
}

/// Asserts that there are neither panics nor warnings.
#[track_caller]
fn assert_quiet(log: &[String]) {
    for line in log {
        assert!(line.contains("\"level\":\"INFO\""), "{line}");
    }
}

#[test]
fn silent_clients_prevent_no_scrape() {
    assert_withstood("1000 silent clients");
}

#[test]
fn slow_clients_prevent_no_scrape() {
    assert_withstood("1000 slow clients that send a byte at a time");
}

#[test]
fn giant_heads_prevent_no_scrape() {
    assert_withstood("heads of 1 MB");
}

#[test]
fn endless_heads_prevent_no_scrape() {
    assert_withstood("endless heads");
}

#[test]
fn garbage_after_a_request_prevents_no_scrape() {
    assert_withstood("a request followed by garbage");
}

#[test]
fn pipelined_requests_prevent_no_scrape() {
    assert_withstood("100 pipelined requests on each of 32 connections");
}

#[test]
fn a_flood_of_scrapes_prevents_no_other_scrape() {
    assert_withstood("128 scrapers, a connection per scrape");
}

#[test]
fn a_flood_of_scrapes_on_persistent_connections_prevents_no_other_scrape() {
    assert_withstood("128 scrapers on persistent connections");
}

#[test]
fn clients_that_read_nothing_prevent_no_scrape() {
    assert_withstood("1000 clients that send 100 requests and read no answer");
}

#[test]
fn reset_connections_prevent_no_scrape() {
    assert_withstood("connections that are reset");
}

#[test]
fn partial_handshakes_prevent_no_scrape() {
    assert_withstood("TLS: 1000 ClientHellos followed by silence");
}

#[test]
fn garbage_on_a_tls_port_prevents_no_scrape() {
    assert_withstood("TLS: records of garbage");
}

#[test]
fn handshakes_that_start_again_and_again_prevent_no_scrape() {
    assert_withstood("TLS: 250 clients that send a ClientHello and start again");
}

#[test]
fn wrong_passwords_prevent_no_scrape_whose_password_is_known() {
    assert_withstood("250 clients with wrong passwords");
}

#[test]
fn compressed_scrapes_of_full_views_prevent_no_scrape() {
    assert_withstood("full views: 250 scrapers with gzip");
}

#[test]
fn unread_answers_of_full_views_prevent_no_scrape() {
    assert_withstood("full views: 500 clients that read no answer");
}

#[test]
fn exhausted_descriptors_prevent_no_scrape_and_are_logged_once_per_minute() {
    let began = Instant::now();
    let programs = Programs::new();
    let program = programs.named("honest");
    let (mut daemon, _config) = configured(&format!("[web]\nmax_connections = 1000\n{VIEW}"));
    let descriptors = daemon.descriptors();
    // The limit is lower than the number of connections that the configuration permits.
    let limit = descriptors + 16;
    // As the daemon's user: changing its limits as another user needs CAP_SYS_RESOURCE (prlimit(2)).
    let mut prlimit = Command::new("prlimit");
    prlimit
        .args(["--pid", &daemon.pid().to_string()])
        .arg(format!("--nofile={limit}:{limit}"))
        .uid(OVERFLOW_ID)
        .gid(OVERFLOW_ID);
    assert!(prlimit.status().unwrap().success());
    let clients: Vec<_> = (0..100).map(|_| connect(daemon.address)).collect();
    for n in 1..=SCRAPES {
        exec_times(&program, 5);
        let scrape = daemon.scrape();
        assert_eq!(scrape.execs_of("honest"), f64::from(5 * n));
        scrape.assert_ledger_closes();
    }
    daemon.await_log(NOT_ACCEPTED);
    drop(clients);
    daemon.await_descriptors(descriptors);
    assert_eq!(daemon.scrape().execs_of("honest"), f64::from(5 * SCRAPES));
    let log = daemon.stop_logging();
    let (again, rest): (Vec<_>, Vec<_>) = log
        .into_iter()
        .partition(|line| line.contains(NOT_ACCEPTED));
    let minutes = began.elapsed().as_secs() / 60;
    assert!(again.len() as u64 <= minutes, "{again:#?}");
    assert_quiet(&rest);
}
