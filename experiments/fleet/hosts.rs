//! The hosts: the real service, with synthetic events.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use execsnoopd::config::Config;
use execsnoopd::record::{Event, Kind};
use experiments::prometheus_answer::sample_count;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use testkit::bytes::encode;
use testkit::fake::event;
use testkit::http::{get, request};
use testkit::service::Service;

/// Execs per second of each host, each of a different program.
const RATE: usize = 5;

/// Number of users of each host.
const USERS: usize = 16;

/// An error whose series exists only after the error has occurred. With this series, a host can have
/// an odd number of series.
const EPERM: i32 = 1;

pub(crate) struct Hosts {
    services: Vec<Service>,
    /// Number of programs of each host.
    programs: usize,
    executed: usize,
}

impl Hosts {
    /// Starts the hosts, each with exactly this number of series.
    pub(crate) fn start(hosts: usize, series: usize) -> Result<Self> {
        allow_descriptors()?;
        let services = (0..hosts).map(|_| Service::start(&Config::default()));
        let mut hosts = Self {
            services: services.collect(),
            programs: USERS,
            executed: 0,
        };
        hosts.execute_all();
        let missing = series
            .checked_sub(hosts.series(0))
            .context("an idle host already has more series")?;
        // Each program has two series: execs and CPU time.
        hosts.programs += missing / 2;
        hosts.execute_all();
        for host in 0..hosts.services.len() {
            if missing % 2 == 1 {
                hosts.services[host].kernel(|kernel| kernel.fail(EPERM, 1));
            }
            let has = hosts.series(host);
            ensure!(has == series, "host {host} has {has} series");
        }
        Ok(hosts)
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        let addresses = self.services.iter().map(|service| service.address);
        addresses
            .map(|address: SocketAddr| address.to_string())
            .collect()
    }

    /// Lets every host execute programs until this time.
    pub(crate) fn execute_until(&mut self, end: Instant) {
        while Instant::now() < end {
            let programs = (self.executed..self.executed + RATE).map(|n| n % self.programs);
            let programs: Vec<_> = programs.collect();
            for host in 0..self.services.len() {
                self.execute(host, programs.iter().copied());
            }
            self.executed += RATE;
            sleep(Duration::from_secs(1));
        }
    }

    /// The size of a compressed scrape with its headers, in bytes.
    pub(crate) fn scrape_bytes(&self) -> usize {
        let headers = "Accept-Encoding: gzip\r\n";
        let answer = request(self.services[0].address, "GET", "/metrics", headers);
        answer.head.len() + answer.body.len()
    }

    fn series(&self, host: usize) -> usize {
        sample_count(&get(self.services[host].address, "/metrics").text())
    }

    fn execute_all(&self) {
        for host in 0..self.services.len() {
            self.execute(host, 0..self.programs);
        }
    }

    fn execute(&self, host: usize, programs: impl Iterator<Item = usize>) {
        self.services[host].kernel(|kernel| {
            for program in programs {
                let start = execution(host, program);
                let mut end = start;
                end.subject.kind = Kind::CpuTime.in_kernel();
                end.cpu_ns = 1_000_000 + program as u64 * 1000;
                kernel.emit_as(Kind::Exec, encode(&start));
                kernel.exit(0, 3_000_000);
                kernel.emit_as(Kind::CpuTime, encode(&end));
            }
        });
    }
}

/// The event of an exec. Three quarters of the programs exist on every host, the others on one host
/// only.
fn execution(host: usize, program: usize) -> Event {
    let name = match program % 4 {
        0 => format!("own-{host}-{program}"),
        _ => format!("program-{program}"),
    };
    let uid = u32::try_from(program % USERS).unwrap();
    event(name.as_bytes(), uid, 0)
}

/// Raises the limit of open files: each host needs several.
fn allow_descriptors() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}
