//! Processes that load the system, each pinned to one CPU. A worker is another instance of this
//! program. It lives as long as the run, so that all storms come from the same processes, whatever
//! tool is attached.

use std::env;
use std::io::{BufRead, BufReader, Write, stdin};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::getppid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The argument that makes this program a worker. The number of a CPU follows.
pub(crate) const ROLE: &str = "worker";

/// A storm that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a worker does and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Job<'a> {
    /// Executes the program this many times, one after another.
    Exec(u64, &'a Path),
    /// Calls `getppid` this many times.
    Getppid(u64),
}

impl Job<'_> {
    pub(crate) fn times(self) -> u64 {
        match self {
            Self::Exec(times, _) | Self::Getppid(times) => times,
        }
    }

    /// The line that is sent to the worker's standard input. The name of the program must not be in
    /// the worker's own command line, which a tool may print.
    fn line(self) -> String {
        match self {
            Self::Exec(times, program) => format!("exec {times} {}\n", program.display()),
            Self::Getppid(times) => format!("getppid {times}\n"),
        }
    }

    fn parse(line: &str) -> Option<Job<'_>> {
        let mut words = line.splitn(3, ' ');
        let kind = words.next()?;
        let times = words.next()?.parse().ok()?;
        match kind {
            "exec" => Some(Job::Exec(times, Path::new(words.next()?))),
            "getppid" => Some(Job::Getppid(times)),
            _ => None,
        }
    }

    fn run(self) -> Result<Duration> {
        match self {
            Self::Exec(times, program) => {
                // posix_spawn() without an environment: vfork, execve and nothing more.
                let mut command = Command::new(program);
                command.env_clear();
                let began = Instant::now();
                for _ in 0..times {
                    let status = command.status()?;
                    ensure!(status.success(), "{}: {status}", program.display());
                }
                Ok(began.elapsed())
            }
            Self::Getppid(times) => {
                let began = Instant::now();
                for _ in 0..times {
                    let _ = getppid(); // rustix enters the kernel each time, without libc
                }
                Ok(began.elapsed())
            }
        }
    }
}

/// Runs the worker: each line of standard input is a job, and is answered with its duration in
/// nanoseconds.
pub(crate) fn serve(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus).context("cannot pin to a CPU")?;
    for line in stdin().lines() {
        let line = line?;
        let job = Job::parse(&line).with_context(|| format!("not a job: {line}"))?;
        println!("{}", job.run()?.as_nanos());
    }
    Ok(())
}

#[derive(Debug)]
struct Worker {
    child: Child,
    jobs: ChildStdin,
    answers: Receiver<String>,
}

impl Worker {
    fn start(cpu: usize) -> Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .args([ROLE, &cpu.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a worker")?;
        let (Some(jobs), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("a worker has no pipes");
        };
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            jobs,
            answers,
        })
    }

    fn begin(&mut self, job: Job<'_>) -> Result<()> {
        self.jobs.write_all(job.line().as_bytes())?;
        Ok(())
    }

    fn finish(&mut self) -> Result<Duration> {
        let answer = self
            .answers
            .recv_timeout(PATIENCE)
            .context("a worker does not answer")?;
        Ok(Duration::from_nanos(answer.parse()?))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One worker for each CPU.
#[derive(Debug)]
pub(crate) struct Workers(Vec<Worker>);

impl Workers {
    /// Starts a worker on each CPU that this process may use.
    pub(crate) fn start() -> Result<Self> {
        let cpus = sched_getaffinity(None)?;
        let workers: Vec<_> = (0..CpuSet::MAX_CPU)
            .filter(|&cpu| cpus.is_set(cpu))
            .map(Worker::start)
            .collect::<Result<_>>()?;
        Ok(Self(workers))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Runs the job on the last CPU, because the first one handles the most interrupts. Returns the
    /// nanoseconds of one repetition.
    pub(crate) fn one(&mut self, job: Job<'_>) -> Result<f64> {
        let Some(worker) = self.0.last_mut() else {
            bail!("no CPU to use");
        };
        worker.begin(job)?;
        let took = worker.finish()?;
        Ok(per_time(took, job))
    }

    /// Runs the job on all CPUs at once. Returns the time of the slowest.
    pub(crate) fn all(&mut self, job: Job<'_>) -> Result<Duration> {
        for worker in &mut self.0 {
            worker.begin(job)?;
        }
        let mut slowest = Duration::ZERO;
        for worker in &mut self.0 {
            slowest = slowest.max(worker.finish()?);
        }
        Ok(slowest)
    }
}

fn per_time(took: Duration, job: Job<'_>) -> f64 {
    took.as_nanos() as f64 / job.times() as f64
}
