//! The data flow in user space, without a kernel: from events to counts, and from counts to the
//! answer of a scrape.

use std::hint::black_box;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use execsnoopd::capture::hook::{CPU_TP_BTF, EXEC_TP_BTF, EXIT_TP_BTF};
use execsnoopd::capture::source::{ProgramStats, Source};
use execsnoopd::capture::{CaptureInfo, KernelSide, TransportKind};
use execsnoopd::config::Config;
use execsnoopd::metrics::{Format, Metrics};
use execsnoopd::names::users::Users;
use execsnoopd::pipeline::aggregator::Aggregator;
use execsnoopd::pipeline::continuity::Continuity;
use execsnoopd::pipeline::flush::Control;
use execsnoopd::pipeline::message::Message;
use execsnoopd::pipeline::name_cache::Names;
use execsnoopd::pipeline::reader::Reader;
use execsnoopd::pipeline::saved::State;
use execsnoopd::pipeline::series;
use execsnoopd::pipeline::snapshot::Snapshot;
use execsnoopd::pipeline::view::{Counts, Key, SeriesCounts, ViewCounts};
use execsnoopd::record::{
    Event, ExitCounts, FailureCounts, Kind, Ledgers, Observation, TallyCount,
};
use execsnoopd::sys::clock::Timestamp;
use execsnoopd::sys::state_file::StateFile;
use rustix::event::{EventfdFlags, eventfd};
use testkit::bytes::encode;
use tokio::sync::mpsc;

/// The number of events after which the reader is woken: half a buffer of 64 pages, at 104 bytes
/// per event with its perf record.
const EVENTS: usize = 1250;

/// Numbers of programs: those of a quiet server, those of a busy one, and as many as a view has slots
/// by default.
const COMMS: [u64; 3] = [50, 200, 1000];

/// The number of users.
const UIDS: u64 = 16;

/// Events of two CPUs, in the order in which their buffers are drained: sorted by time only within
/// each CPU. As on a real host, some programs are executed more often than others.
fn events(comms: u64) -> Vec<Event> {
    let mut state = 1_u64;
    let mut random = move || {
        // Knuth's MMIX generator, so that every run has the same events.
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
            // The minimum of two random numbers makes low numbers more frequent.
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
    let encoded: Vec<_> = events(200).iter().map(encode).collect();
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
                || Message::Events(events.clone(), Names::default()),
                |message| aggregator.apply(message),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// Names that are seen once, while all slots are taken: the most expensive execs that users can
/// cause.
fn aggregate_new_names(c: &mut Criterion) {
    let mut group = c.benchmark_group("aggregate_new_names");
    group.throughput(Throughput::Elements(EVENTS as u64));
    for max_series in [1_000, 100_000] {
        let mut config = Config::default();
        config.view[0].max_series = max_series;
        let mut aggregator = Aggregator::new(config.resolve().unwrap().views);
        let mut number = 0_u64;
        let mut new_names = |events: usize| {
            let events = (0..events).map(|_| {
                let mut event = Event::default();
                number += 1;
                event.subject.comm[..8].copy_from_slice(&number.to_be_bytes());
                event
            });
            Message::Events(events.collect(), Names::default())
        };
        aggregator.apply(new_names(max_series));
        group.bench_function(BenchmarkId::from_parameter(max_series), |b| {
            b.iter_batched(
                || new_names(EVENTS),
                |message| aggregator.apply(message),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// A view with twenty rules for new names, the last of which applies. Names that were seen before have
/// known new names, so the rules are evaluated for new names only.
fn aggregate_renamed(c: &mut Criterion) {
    let rule = |n| match n {
        20 => "[\"^program-([0-9]+)$\", \"p-$1\"]".to_owned(),
        n => format!("[\"^tool{n}-[0-9a-f]+[.][0-9]+$\", \"tool{n}\"]"),
    };
    let mut group = c.benchmark_group("aggregate_renamed");
    group.throughput(Throughput::Elements(EVENTS as u64));
    for rules in [0, 20] {
        let rules: Vec<String> = (21 - rules..=20).map(rule).collect();
        let rename = match rules.len() {
            0 => String::new(),
            _ => format!("rename = {{ comm = [{}] }}\n", rules.join(", ")),
        };
        let text = format!("[[view]]\nlabels = [\"comm\"]\n{rename}");
        let config = Config::parse(&text, Path::new("bench.toml")).expect("it is valid");
        // More names than the last ones whose new names are kept.
        for comms in [200, 1_000_000] {
            let events = events(comms);
            let views = config.clone().resolve().expect("it names no users").views;
            let mut aggregator = Aggregator::new(views);
            let id = BenchmarkId::new(format!("{} rules", rules.len()), comms);
            group.bench_function(id, |b| {
                b.iter_batched(
                    || Message::Events(events.clone(), Names::default()),
                    |message| aggregator.apply(message),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

fn decode_and_aggregate(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode_and_aggregate");
    group.throughput(Throughput::Elements(EVENTS as u64));
    for comms in COMMS {
        let encoded: Vec<_> = events(comms).iter().map(encode).collect();
        let mut aggregator = aggregator();
        group.bench_function(BenchmarkId::from_parameter(comms), |b| {
            b.iter(|| {
                let decoded = encoded
                    .iter()
                    .map(|bytes| Event::decode(black_box(bytes)).unwrap())
                    .collect();
                aggregator.apply(Message::Events(decoded, Names::default()))
            });
        });
    }
    group.finish();
}

/// A source whose buffers contain the same events at each drain.
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

    fn peek_tally(&mut self, _: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        Ok(())
    }

    fn ledgers(&mut self) -> io::Result<Ledgers> {
        Ok(self.ledgers)
    }

    fn failures(&mut self) -> io::Result<FailureCounts> {
        Ok(FailureCounts::default())
    }

    fn exits(&mut self) -> io::Result<ExitCounts> {
        Ok(ExitCounts::default())
    }

    fn cgroup_path(&mut self, _: u64) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn exe_name(&mut self, _: u64) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn programs(&mut self) -> Vec<ProgramStats> {
        Vec::new()
    }

    fn stop(&mut self) {}
}

/// Runs the daemon's reader and aggregator on one thread: they drain, decode, sort across CPUs, send
/// through the channel, and count.
fn data_flow(c: &mut Criterion) {
    let mut group = c.benchmark_group("data_flow");
    group.throughput(Throughput::Elements(EVENTS as u64));
    for comms in COMMS {
        let source = Refilled {
            wakeup: eventfd(0, EventfdFlags::empty()).unwrap(),
            events: events(comms).iter().map(encode).collect(),
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

/// Saves the counts, as the daemon does at most once per second: copies, encodes and writes them. Then
/// reads and continues them, as the daemon does when it starts.
fn save(c: &mut Criterion) {
    let kernel = KernelSide::default();
    let continuity = Continuity::new(SystemTime::UNIX_EPOCH, kernel);
    let mut group = c.benchmark_group("save");
    for series in [2_000_u64, 10_000] {
        let mut config = Config::default();
        config.view[0].max_series = usize::try_from(series).unwrap();
        let views = || config.clone().resolve().unwrap().views;
        let mut aggregator = Aggregator::new(views());
        // Counts of the size that a program has after a while.
        let tallied = (0..2 * series).map(|n| {
            let mut subject = Event::default().subject;
            let name = format!("program-{}", n / 2);
            subject.comm[..name.len()].copy_from_slice(name.as_bytes());
            let kind = if n % 2 == 0 {
                Kind::Exec
            } else {
                Kind::CpuTime
            };
            subject.kind = kind.in_kernel();
            let count = TallyCount {
                count: 123_456,
                cpu_ns: 123_456_789_000,
                ..TallyCount::default()
            };
            (subject, count)
        });
        aggregator.apply(Message::Tally(tallied.collect(), Names::default()));
        let mut file = StateFile::create().unwrap();
        let mut save = || {
            let state = State {
                continuity: continuity.clone(),
                counts: aggregator.saved(),
            };
            let encoded = state.encode().unwrap();
            file.write(&encoded).unwrap();
            encoded.len()
        };
        println!("{series} series take {} bytes", save());
        group.throughput(Throughput::Elements(series));
        group.bench_function(BenchmarkId::from_parameter(series), |b| b.iter(&mut save));
        group.bench_function(BenchmarkId::new("resume", series), |b| {
            b.iter_batched(
                views,
                |views| {
                    let state = State::decode(&file.read().unwrap()).unwrap();
                    Aggregator::resume(state.counts, views)
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// Returns a snapshot of the two default views with this number of Prometheus series in all. Each
/// key of a view has two, one for execs and one for CPU time.
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
        ..Counts::default()
    };
    let series_of =
        |key: Key| SeriesCounts::new(key, counts, Timestamp::from_unix_ms(1_764_000_000_000));
    let keys: [Vec<Key>; 2] = [
        (0..series / 2 - uids).map(key_of_comm).collect(),
        (0..uids).map(key_of_uid).collect(),
    ];
    Snapshot {
        views: views
            .into_iter()
            .zip(keys)
            .map(|(view, keys)| ViewCounts {
                labels: view.labels,
                max_series: keys.len(),
                series: keys.into_iter().map(series_of).collect(),
                ..ViewCounts::default()
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
    let info = CaptureInfo {
        hooks: vec![EXEC_TP_BTF, EXIT_TP_BTF, CPU_TP_BTF],
        transport: TransportKind::Perf,
        buffer_bytes: 4096,
    };
    let mut group = c.benchmark_group("scrape");
    for series in [100, 1_000, 10_000] {
        let snapshot = snapshot(series);
        let metrics = Metrics::new(info.clone()).unwrap();
        let users = Users::default();
        let scrape = async |format| {
            let names = series::resolve(&snapshot, &users).await;
            metrics.encode(&snapshot, &names, format)
        };
        group.throughput(Throughput::Elements(u64::from(series)));
        group.bench_function(BenchmarkId::from_parameter(series), |b| {
            b.iter(|| runtime.block_on(scrape(Format::Text)));
        });
        group.bench_function(BenchmarkId::new("protobuf", series), |b| {
            b.iter(|| runtime.block_on(scrape(Format::Protobuf)));
        });
    }
    group.finish();
}

criterion_group! {
    name = pipeline;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = decode, aggregate, aggregate_new_names, aggregate_renamed, decode_and_aggregate,
        data_flow, save, scrape
}
criterion_main!(pipeline);
