//! The road in user space, without a kernel: how fast events become counts, and counts
//! become an answer.

use std::hint::black_box;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use execsnoopd::capture::hook::{EXEC_TP_BTF, EXIT_TP_BTF};
use execsnoopd::capture::source::{ProgramStats, Source};
use execsnoopd::capture::{CaptureInfo, TransportKind};
use execsnoopd::config::Config;
use execsnoopd::metrics::Metrics;
use execsnoopd::names::users::Users;
use execsnoopd::pipeline::aggregator::Aggregator;
use execsnoopd::pipeline::cgroup_cache::Cgroups;
use execsnoopd::pipeline::flush::Control;
use execsnoopd::pipeline::message::Message;
use execsnoopd::pipeline::reader::Reader;
use execsnoopd::pipeline::snapshot::Snapshot;
use execsnoopd::pipeline::view::{Counts, Key, ViewCounts};
use execsnoopd::record::{Event, FailureCounts, Kind, Ledgers, Observation};
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::{mpsc, watch};

#[path = "../tests/common/bytes.rs"]
mod bytes;

/// What a wakeup finds at the least: half a buffer of 64 pages, at 104 bytes for each
/// event with its perf record.
const EVENTS: usize = 1250;

/// How many programs take part: a quiet server, a busy one, all that the default budget
/// has room for.
const COMMS: [u64; 3] = [50, 200, 1000];

/// How many users do.
const UIDS: u64 = 16;

/// Two CPUs' events in the order they come out of the buffers: sorted for each CPU. A
/// few programs make most execs, as on a real host.
fn events(comms: u64) -> Vec<Event> {
    let mut state = 1_u64;
    let mut random = move || {
        // Knuth's MMIX generator: the same events in every run.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut events: Vec<_> = (0..EVENTS as u64)
        .map(|n| {
            let mut event = Event {
                time_ns: n,
                pid: 1000,
                ppid: 1,
                ..Event::default()
            };
            // The smaller of two: low numbers are more frequent.
            let comm = (random() % comms).min(random() % comms);
            let name = format!("program-{comm}");
            event.subject.comm[..name.len()].copy_from_slice(name.as_bytes());
            event.subject.uid = u32::try_from(random() % UIDS).unwrap();
            event
        })
        .collect();
    events.sort_by_key(|event| (event.time_ns % 2, event.time_ns));
    events
}

fn aggregator() -> Aggregator {
    Aggregator::new(Config::default().resolve().unwrap().views)
}

fn decode(c: &mut Criterion) {
    let encoded: Vec<_> = events(200).iter().map(bytes::encode).collect();
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(EVENTS as u64));
    group.bench_function("events", |b| {
        b.iter(|| {
            for bytes in &encoded {
                black_box(Event::decode(black_box(bytes)).unwrap());
            }
        });
    });
    group.finish();
}

fn aggregate(c: &mut Criterion) {
    let mut group = c.benchmark_group("aggregate");
    group.throughput(Throughput::Elements(EVENTS as u64));
    for comms in COMMS {
        let events = events(comms);
        let mut aggregator = aggregator();
        group.bench_function(BenchmarkId::from_parameter(comms), |b| {
            b.iter_batched(
                || Message::Events(events.clone(), Cgroups::new()),
                |message| aggregator.apply(message),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn decode_and_aggregate(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode_and_aggregate");
    group.throughput(Throughput::Elements(EVENTS as u64));
    for comms in COMMS {
        let encoded: Vec<_> = events(comms).iter().map(bytes::encode).collect();
        let mut aggregator = aggregator();
        group.bench_function(BenchmarkId::from_parameter(comms), |b| {
            b.iter(|| {
                let decoded = encoded
                    .iter()
                    .map(|bytes| Event::decode(black_box(bytes)).unwrap())
                    .collect();
                aggregator.apply(Message::Events(decoded, Cgroups::new()))
            });
        });
    }
    group.finish();
}

/// Buffers that are found with the same events in them each time.
struct Refilled {
    wakeup: OwnedFd,
    events: Vec<Vec<u8>>,
    ledgers: Ledgers,
}

impl Source for Refilled {
    fn wakeup_fd(&self) -> BorrowedFd<'_> {
        self.wakeup.as_fd()
    }

    fn drain_events(&mut self, event: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.events.iter().for_each(|bytes| event(bytes));
        self.ledgers[Kind::Exec].seen += self.events.len() as u64;
        self.ledgers[Kind::Exec].sent += self.events.len() as u64;
        Ok(())
    }

    fn drain_tally(&mut self, _: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        Ok(())
    }

    fn ledgers(&mut self) -> io::Result<Ledgers> {
        Ok(self.ledgers)
    }

    fn failures(&mut self) -> io::Result<FailureCounts> {
        Ok(FailureCounts::default())
    }

    fn cgroup_path(&mut self, _: u64) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn programs(&mut self) -> Vec<ProgramStats> {
        Vec::new()
    }

    fn detach(&mut self) {}
}

/// The shipped road on one thread: drain, decode, order across CPUs, channel, count.
fn road(c: &mut Criterion) {
    let mut group = c.benchmark_group("road");
    group.throughput(Throughput::Elements(EVENTS as u64));
    for comms in COMMS {
        let source = Refilled {
            wakeup: eventfd(0, EventfdFlags::empty()).unwrap(),
            events: events(comms).iter().map(bytes::encode).collect(),
            ledgers: Ledgers::default(),
        };
        let (sender, mut messages) = mpsc::channel(16);
        let mut reader = Reader::new(source, Control::new().unwrap(), sender);
        let mut aggregator = aggregator();
        group.bench_function(BenchmarkId::from_parameter(comms), |b| {
            b.iter(|| {
                reader.flush_now().unwrap();
                while let Ok(message) = messages.try_recv() {
                    aggregator.apply(message);
                }
            });
        });
    }
    group.finish();
}

/// Counts that make as many series, over the two default views: each key makes two, of its
/// execs and of its CPU time.
fn snapshot(series: u32) -> Snapshot {
    let uids = u32::try_from(UIDS).unwrap();
    let key_of_comm = |n: u32| {
        let mut key = Key::default();
        let name = format!("program-{n}");
        key.comm[..name.len()].copy_from_slice(name.as_bytes());
        key
    };
    let key_of_uid = |uid: u32| Key {
        uid,
        ..Key::default()
    };
    let views = Config::default().view;
    let counts = Counts {
        execs: 123_456,
        cpu_ns: 123_456_789_000,
    };
    let keys: [Vec<Key>; 2] = [
        (0..series / 2 - uids).map(key_of_comm).collect(),
        (0..uids).map(key_of_uid).collect(),
    ];
    Snapshot {
        views: views
            .into_iter()
            .zip(keys)
            .map(|(view, keys)| ViewCounts {
                nameless: Counts::default(),
                labels: view.labels,
                max_series: keys.len(),
                series: keys.into_iter().map(|key| (key, counts)).collect(),
                overflow: Counts::default(),
            })
            .collect(),
        ..Snapshot::default()
    }
}

fn scrape(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let means = CaptureInfo {
        hooks: vec![EXEC_TP_BTF, EXIT_TP_BTF],
        transport: TransportKind::Perf,
        buffer_bytes: 4096,
    };
    let mut group = c.benchmark_group("scrape");
    for series in [100, 1_000, 10_000] {
        let snapshot = Arc::new(snapshot(series));
        let (_sender, receiver) = watch::channel(Arc::clone(&snapshot));
        let (channel, _messages) = mpsc::channel(1);
        let metrics = Metrics::new(
            means.clone(),
            receiver,
            channel.downgrade(),
            Users::default(),
        )
        .unwrap();
        group.throughput(Throughput::Elements(u64::from(series)));
        group.bench_function(BenchmarkId::from_parameter(series), |b| {
            b.iter(|| runtime.block_on(metrics.encode(&snapshot)).unwrap());
        });
    }
    group.finish();
}

criterion_group! {
    name = pipeline;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = decode, aggregate, decode_and_aggregate, road, scrape
}
criterion_main!(pipeline);
