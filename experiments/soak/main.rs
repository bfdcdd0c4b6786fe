//! Runs the daemon for an hour on a busy host, with its default views and two more. Programs with
//! new names start hundreds of times per second, services and users come and go, and there are
//! storms of execs. Meanwhile the daemon is scraped, visited, stopped and reloaded. The run fails
//! unless every exec is counted, the ledger is closed in every sample, and nothing has grown.
//!
//! [`schedule`] decides what happens at which time. [`load`] executes the programs and keeps the true
//! counts. [`disturb`] stops and reloads the daemon and connects to it. [`sample`] records its
//! resources and metrics. [`results`] contains the checks. [`report`] writes into
//! `docs/reliability.md`. `docs/pictures/charts.py` draws `docs/soak.svg` from the
//! [`figures`](experiments::figures) in `docs/data`.
//!
//! Needs root, cgroup v2 and Debian's package `prometheus`. Takes `SOAK_MINUTES`, 60 by default.

mod disturb;
mod load;
mod report;
mod results;
mod sample;
mod schedule;

use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use experiments::machine::Machine;
use experiments::{busy, figures, process, prometheus_answer};
use rustix::param::clock_ticks_per_second;
use rustix::process::Pid;
use testkit::cgroups::Cgroup;
use testkit::daemon::{Daemon, configured};
use testkit::http::get;
use testkit::paths::scratch;
use testkit::programs::Programs;
use testkit::prometheus::Prometheus;

use crate::disturb::{Target, VIEWS};
use crate::load::Load;
use crate::results::{Cpu, Rest, Results};
use crate::sample::Sample;
use crate::schedule::Schedule;

pub(crate) const SCRAPE_EVERY: Duration = Duration::from_secs(5);

/// Number of samples in a run. A short run has fewer: at most one every two seconds.
const SAMPLES: u32 = 360;
const SAMPLE_EVERY: Duration = Duration::from_secs(2);

/// How long the daemon may take to release closed connections.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    experiments::require_release_build()?;
    experiments::require_root()?;
    let minutes = match env::var("SOAK_MINUTES") {
        Ok(minutes) => minutes.parse().context("SOAK_MINUTES is not a number")?,
        Err(_) => 60,
    };
    ensure!(minutes >= 2, "SOAK_MINUTES must be at least 2");
    let results = run(Duration::from_secs(minutes * 60))?;
    println!("{}", report::text(&results));
    figures::write("soak", &results.figures())?;
    let page = report::write(&results)?;
    println!("written: docs/data/soak.json, {page}");
    let verdicts = results.judge();
    for verdict in &verdicts {
        println!(
            "{}: {}",
            if verdict.holds { "ok" } else { "FAILED" },
            verdict.what
        );
    }
    ensure!(
        verdicts.iter().all(|verdict| verdict.holds),
        "at least one check failed"
    );
    Ok(())
}

fn run(length: Duration) -> Result<Results> {
    let machine = Machine::here();
    let programs = Programs::new();
    let mut load = Load::new(&programs);
    let (daemon, directory) = configured(VIEWS);
    let target = Target {
        pid: Pid::from_raw(daemon.pid().cast_signed()).context("the daemon has no pid")?,
        address: daemon.address,
    };
    // The first answers allocate memory that the daemon keeps.
    daemon.scrape();
    get(daemon.address, "/");
    process::settle(daemon.pid(), None, process::SET_UP)?;
    let rest_before = rest(daemon.pid())?;

    let prometheus = Prometheus::start(&scraping(&daemon));
    prometheus.query_until_there("up == 1");
    let unit = load.unit();
    let cgroup = Cgroup::new(&format!("system.slice/{unit}"));
    let inside = cgroup.enter();
    load.introduce()?;
    daemon.scrape();

    let used_before = used(&daemon, &prometheus)?;
    let schedule = Schedule::begin(length);
    println!("{} minutes begin", length.as_secs() / 60);
    let (samples, truth, connections) = thread::scope(|scope| {
        let schedule = &schedule;
        let config = directory.path().join("config.toml");
        let load = scope.spawn(move || schedule.part(|| load.run(schedule).expect("the load")));
        let acts = scope.spawn(move || {
            schedule.part(|| disturb::act(schedule, target, &config).expect("stop and reload"));
        });
        let visits = scope.spawn(move || {
            schedule.part(|| disturb::visit(schedule, target.address).expect("visits"))
        });
        let samples = schedule.part(|| sample_all(schedule, &daemon).expect("samples"));
        acts.join().expect("no panic");
        (
            samples,
            load.join().expect("no panic"),
            visits.join().expect("no panic"),
        )
    });
    let cpu = used(&daemon, &prometheus)?.since(used_before);
    drop(inside);
    let scrape = daemon.scrape();
    let (scrapes, version) = known_to(&prometheus, length)?;
    drop(prometheus);
    let rest_after = await_rest(daemon.pid(), rest_before)?;
    daemon.stop();
    Ok(Results {
        machine,
        length,
        samples,
        storms: schedule.storms(),
        acts: schedule.acts(),
        truth,
        unit,
        scrape,
        rest_before,
        rest_after,
        cpu,
        connections,
        scrapes,
        version,
    })
}

/// The scrapes that Prometheus made and those that were answered in time, and its version.
fn known_to(prometheus: &Prometheus, length: Duration) -> Result<((f64, f64), String)> {
    let over = length.as_secs() + 60;
    let number = |query: &str| -> Result<f64> {
        let values = prometheus_answer::values(&prometheus.query_until_there(query));
        values.first().copied().context("Prometheus has no data")
    };
    let made = number(&format!("count_over_time(up[{over}s])"))?;
    let answered = number(&format!("sum_over_time(up[{over}s])"))?;
    let own = prometheus.metrics();
    let build = prometheus_answer::family(&own, "prometheus_build_info");
    let (labels, _) = build.first().context("Prometheus has no build info")?;
    let version =
        prometheus_answer::label(labels, "version").context("Prometheus has no version")?;
    let version = version.split('+').next().unwrap_or_default();
    Ok(((made, answered), version.to_owned()))
}

/// Samples the daemon until the end of the run, and writes each sample to `soak.csv` immediately.
fn sample_all(schedule: &Schedule, daemon: &Daemon) -> Result<Vec<Sample>> {
    let path = scratch().join("soak.csv");
    let mut file = File::create(&path)?;
    println!("samples: {}", path.display());
    writeln!(file, "{}", sample::COLUMNS)?;
    let step = SAMPLE_EVERY.max(schedule.length / SAMPLES);
    let mut samples = Vec::new();
    let mut next = Duration::ZERO;
    while schedule.wait_until(next) {
        let at = schedule.elapsed();
        let sample = Sample::take(at.as_secs_f64(), daemon.pid(), daemon.address)?;
        writeln!(file, "{}", sample.line())?;
        samples.push(sample);
        next = at + step;
    }
    Ok(samples)
}

fn rest(pid: u32) -> Result<Rest> {
    Ok(Rest {
        descriptors: sample::descriptors(pid)?,
        threads: sample::threads(pid)?,
    })
}

/// Waits until the idle daemon has as few descriptors and threads as before, or until the wait takes
/// too long. Returns the last figures in either case.
fn await_rest(pid: u32, before: Rest) -> Result<Rest> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = rest(pid)?;
        let is_as_before = now.descriptors == before.descriptors && now.threads <= before.threads;
        if is_as_before || Instant::now() > deadline {
            return Ok(now);
        }
        sleep(Duration::from_millis(200));
    }
}

/// CPU time used so far.
fn used(daemon: &Daemon, prometheus: &Prometheus) -> Result<Cpu> {
    // The fields 12 to 15 after the name in parentheses are the times of this process and of its
    // children that have exited (`proc_pid_stat(5)`).
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat
        .rsplit_once(") ")
        .context("no name in /proc/self/stat")?;
    let ticks = fields.split(' ').skip(11).take(4);
    let ticks: u64 = ticks.filter_map(|n| n.parse::<u64>().ok()).sum();
    let seconds = |pid| anyhow::Ok(process::cpu_ns(pid)? as f64 / 1e9);
    Ok(Cpu {
        all: busy::busy_seconds()?,
        daemon: seconds(daemon.pid())?,
        prometheus: seconds(prometheus.pid())?,
        load: ticks as f64 / clock_ticks_per_second() as f64,
    })
}

/// The configuration of the Prometheus that scrapes the daemon.
fn scraping(daemon: &Daemon) -> String {
    let every = SCRAPE_EVERY.as_secs();
    format!(
        "global: {{scrape_interval: {every}s, scrape_timeout: {every}s}}\n\
         scrape_configs:\n\
         - job_name: execsnoopd\n  \
           static_configs: [{{targets: [\"{}\"]}}]\n",
        daemon.address
    )
}
