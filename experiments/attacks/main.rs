//! Measures what hostile clients cost honest scrapes and the daemon, and writes the results into
//! docs/reliability.md. The tests run the same attacks. Fails if an honest scrape is not answered
//! within 2 s.
//!
//! Takes some minutes and needs root, iproute2 and unshare(1). Attackers, scraper and daemon share
//! the CPUs. They run in a separate network namespace, in which attackers can have many addresses.

mod report;

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use experiments::machine::Machine;
use experiments::process;
use testkit::attacks::{ATTACKS, Attack, Target};
use testkit::certificates::Authority;
use testkit::daemon::Daemon;
use testkit::http::{Answer, Scrape, parsed};
use testkit::paths;
use testkit::tls::Client;
use testkit::traffic::{MANY, Traffic};
use testkit::web::{ALICE, COSTLY_SECRET, TLS, WebDir, full_view};

use crate::report::Row;

/// Number of honest scrapes per attack, and the time from one to the next.
const SCRAPES: usize = 20;
const INTERVAL: Duration = Duration::from_millis(100);

/// Timeout of an honest scrape.
const PATIENCE: Duration = Duration::from_secs(2);

/// The port of the daemon at [`MANY`].
const PORT: u16 = 10190;

/// The environment variable that tells this program that it runs in the new network namespace.
const INSIDE: &str = "EXECSNOOPD_ATTACKS_NAMESPACE";

fn main() -> Result<()> {
    experiments::require_release_build()?;
    experiments::require_root()?;
    if std::env::var_os(INSIDE).is_none() {
        return in_network_namespace();
    }
    let machine = Machine::here();
    let mut rows = Vec::new();
    for target in [Target::Plain, Target::FullViews, Target::Users, Target::Tls] {
        rows.push(measure(None, target, IpAddr::V4(Ipv4Addr::LOCALHOST))?);
    }
    for attack in &ATTACKS {
        for address in [Ipv4Addr::LOCALHOST, MANY] {
            let row = measure(Some(attack), attack.target, address.into())?;
            println!("{row:?}");
            rows.push(row);
        }
    }
    let path = report::write(&rows, &machine)?;
    println!("{}\nwritten: {path}", report::text(&rows, &machine));
    let missed = rows.iter().filter(|row| row.answered.len() < row.asked);
    let missed: Vec<_> = missed.map(|row| row.name).collect();
    ensure!(missed.is_empty(), "scrapes were missed during: {missed:?}");
    Ok(())
}

/// Executes this program again in a network namespace in which 198.18.0.0/16 is local.
fn in_network_namespace() -> Result<()> {
    let script = "ip link set lo up && ip address add 198.18.0.1/16 dev lo && exec \"$0\"";
    let status = Command::new("unshare")
        .args(["--net", "sh", "-c", script])
        .arg(std::env::current_exe()?)
        .env(INSIDE, "1")
        .status()
        .context("cannot execute unshare(1)")?;
    if !status.success() {
        bail!("the measurement failed: {status}");
    }
    Ok(())
}

/// A daemon that is attacked, and what an honest client needs to scrape it.
struct Site {
    daemon: Daemon,
    address: SocketAddr,
    tls: Option<Client>,
    headers: &'static str,
    _dir: WebDir,
}

impl Site {
    fn start(target: Target, address: IpAddr) -> Self {
        let authority = Authority::new("ours");
        let users = format!("basic_auth_users:\n  alice: {COSTLY_SECRET}\n");
        let dir = WebDir::tls(
            match target {
                Target::Plain | Target::FullViews => "",
                Target::Tls => TLS,
                Target::Users => &users,
            },
            &authority,
        );
        let views = match target {
            Target::FullViews => full_view(),
            Target::Plain | Target::Tls | Target::Users => String::new(),
        };
        let web_config = dir.web_config();
        let config = format!("[web]\nconfig_file = \"{}\"\n{views}", web_config.display());
        dir.write("config.toml", &config);
        let mut command = Command::new(paths::daemon());
        command.arg("--config").arg(dir.path().join("config.toml"));
        let daemon = Daemon::spawn_with(command, |command| {
            command.arg(format!("--web.listen-address={MANY}:{PORT}"));
        });
        Self {
            address: if address == MANY {
                SocketAddr::new(address, PORT)
            } else {
                daemon.address
            },
            daemon,
            tls: (target == Target::Tls).then(|| Client::trusting(&authority.pem)),
            headers: if target == Target::Users { ALICE } else { "" },
            _dir: dir,
        }
    }

    /// One honest scrape on a new connection.
    fn scrape(&self) -> io::Result<()> {
        let answer = match &self.tls {
            Some(client) => client.get(self.address, "/metrics")?,
            None => get(self.address, self.headers)?,
        };
        if answer.status != 200 {
            return Err(io::Error::other(format!("answered {}", answer.status)));
        }
        Scrape::parse(&answer.text()).assert_ledger_closes();
        Ok(())
    }

    /// The memory that the kernel holds for the daemon's connections, in bytes. Connections in the
    /// backlog are included.
    fn socket_memory(&self) -> Result<u64> {
        let port = format!(":{}", self.address.port());
        let output = Command::new("ss")
            .args(["-tmnH", "state", "connected", "sport", "=", &port])
            .output()
            .context("cannot execute ss(8)")?;
        let text = String::from_utf8(output.stdout)?;
        let fields = text.split("skmem:(").skip(1).flat_map(|memory| {
            let fields = memory.split(')').next().unwrap_or_default().split(',');
            // Memory of received data (r), of sent data (t), reserved (f), and of data that waits
            // to be sent (w): see ss(8).
            fields.filter_map(|field| {
                let (name, bytes) = field.split_at_checked(1)?;
                "rtfw".contains(name).then(|| bytes.parse::<u64>().ok())?
            })
        });
        Ok(fields.sum())
    }
}

/// Measures one attack, or the daemon without an attack. Each measurement starts a new daemon, so that
/// the peak of its memory belongs to this attack.
fn measure(attack: Option<&Attack>, target: Target, address: IpAddr) -> Result<Row> {
    let site = Site::start(target, address);
    site.scrape()?;
    let pid = site.daemon.pid();
    let resident_before = process::resident_kib(pid)?;
    let traffic = attack.map(|attack| attack.start(site.address));
    let done = || traffic.as_ref().map_or(0, Traffic::done);
    let (began, done_before) = (Instant::now(), done());
    let cpu_before = process::cpu_ns(pid)?;
    let mut answered = Vec::new();
    let mut sockets = 0;
    for n in 0..SCRAPES {
        let due = INTERVAL * u32::try_from(n)?;
        sleep(due.saturating_sub(began.elapsed()));
        let asked = Instant::now();
        match site.scrape() {
            Ok(()) if asked.elapsed() <= PATIENCE => answered.push(asked.elapsed()),
            Ok(()) => println!("{target:?}: took {:?}", asked.elapsed()),
            Err(error) => println!("{target:?}: {error}"),
        }
        sockets = sockets.max(site.socket_memory()?);
    }
    let elapsed = began.elapsed().as_secs_f64();
    let cpu = process::cpu_ns(pid)? - cpu_before;
    let rate = (done() - done_before) as f64 / elapsed;
    drop(traffic);
    let peak_kib = site.daemon.peak_kib();
    site.daemon.stop();
    Ok(Row {
        name: match (attack, target) {
            (Some(attack), _) => attack.name,
            (None, Target::Plain) => "none",
            (None, Target::FullViews) => "full views: none",
            (None, Target::Users) => "users: none",
            (None, Target::Tls) => "TLS: none",
        },
        answer: attack.map_or("–", |attack| attack.defence),
        from_many: address == MANY,
        rate,
        asked: SCRAPES,
        answered,
        cpu_share: cpu as f64 / 1e9 / elapsed,
        resident_kib: resident_before,
        peak_kib,
        sockets,
    })
}

fn get(address: SocketAddr, headers: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request =
        format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(parsed(&bytes))
}
